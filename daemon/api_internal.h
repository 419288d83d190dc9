/*
 * api_internal.h: what the API's own files share. Included by daemon/api*.c only.
 *
 * api.c         socket, credentials, limits, dispatch, errors
 * api_status.c  status, queue, directory
 * api_metrics.c figures for Prometheus, health
 * api_message.c inbox, outbox, one message, its trace
 * api_order.c   author, act, import
 * api_events.c  live updates
 * api_journal.c the journal's lines, whole
 * api_admin.c   backup
 * api_courier.c files on a stick: their bytes in, their bytes out
 * api_check.c   proves the store while it runs
 * api_self.c    this process, its keys, what it believes of the time
 * api_sealed.c  what only some may read: into an order, out of a message
 * api_guard.c   how many callers, and for how long
 */
#ifndef CPD_API_INTERNAL_H
#define CPD_API_INTERNAL_H

#include <event2/buffer.h>
#include <event2/http.h>
#include <jansson.h>

#include "daemon/api.h"
#include "daemon/body_json.h"

/* A request's body at the most. */
#define API_BODY_MAX (256 * 1024)
/* A page of a list at the most. */
#define API_PAGE 500
#define API_STREAMS 16

/* A request whose answer waits for a commit; request NULL: the caller has gone. */
struct api_pending {
	struct api *api;
	struct evhttp_request *request;
	struct evhttp_connection *connection;
	struct message_id id;
	int64_t since_ms;                 /* clock_boot_ms */
	struct api_pending *next;
};

struct api_stream;
struct api_backup;
struct api_caller;
struct api_check;
struct api_courier;
struct api {
	struct event_base *base;
	struct node *node;
	const struct config *config;
	struct evhttp *http;
	struct evconnlistener *listener;
	gid_t group; bool has_group;
	struct api_pending *pending;      /* owned by their callbacks */
	struct api_stream *streams;       /* owned */
	size_t stream_count;
	struct event *beat;
	struct api_caller *callers, *connecting; /* owned by api_guard.c */
	size_t caller_count;
	struct event *sweep;
	int64_t opened_ms;                /* clock_boot_ms */
	struct api_check *check;          /* owned; NULL: none is under way */
	struct api_backup *backup;        /* owned; NULL: none is under way */
	struct api_courier *courier;      /* owned; NULL: nobody asked yet */
};

/* api_guard.c */
bool guard_open(struct api *api);         /* before the first caller; false: no memory */
void guard_close(struct api *api);
void guard_asked(struct api *api, struct evhttp_request *request);    /* its time begins again */
void guard_follows(struct api *api, struct evhttp_request *request);  /* who answers it watches it */

/* api.c */
void api_reply(struct evhttp_request *request, int status, json_t *take_json);
void api_error(struct evhttp_request *request, int status, const char *code, const char *field, const char *message, const char *remedy);
/* What an error of the node means to a caller. */
void api_error_of(struct evhttp_request *request, enum cpd_error error, const char *why);
/* Query parameter as a number; false: the error was sent. Absent: *out stays. */
bool api_query_number(struct evhttp_request *request, const char *name, uint64_t max, uint64_t *out);
/* `limit`: rows of a page, 1 to API_PAGE. */
bool api_query_limit(struct evhttp_request *request, uint64_t *out);
/* malloc'ed; NULL: absent. */
char *api_query_text(struct evhttp_request *request, const char *name);
/* In a close callback, of the request that its connection was busy with: when the caller hung up evhttp has let go of it, and it is
 * ours to free; when we close, evhttp frees it. NULL is fine. */
void api_request_gone(struct evhttp_request *request);
struct api_pending *api_pending_new(struct api *api, struct evhttp_request *request);   /* NULL: the error was sent */
/* The request to answer, or NULL; frees the pending. */
struct evhttp_request *api_pending_take(struct api_pending *pending);

json_t *json_time(int64_t wall_ms);                                /* null when not after 2026 */
json_t *json_id(const struct message_id *id);                      /* null when sequence is 0 */
json_t *json_node_name(struct api *api, uint32_t node);            /* null: not in the directory */
json_t *json_age(int64_t age_s);                                   /* null when negative */

json_t *api_news(const struct node_news *news);                    /* a line of the journal */
void api_hex(char *out, const uint8_t *bytes, size_t len);         /* 2 * len + 1 */

/* handlers */
void api_status(struct api *api, struct evhttp_request *request);
void api_version(struct api *api, struct evhttp_request *request);
void api_queue(struct api *api, struct evhttp_request *request);
void api_directory(struct api *api, struct evhttp_request *request);
void api_metrics(struct api *api, struct evhttp_request *request);
void api_health(struct api *api, struct evhttp_request *request);
void api_inbox(struct api *api, struct evhttp_request *request);
void api_outbox(struct api *api, struct evhttp_request *request);
void api_show(struct api *api, struct evhttp_request *request, const struct message_id *id);
void api_trace(struct api *api, struct evhttp_request *request, const struct message_id *id);
void api_author(struct api *api, struct evhttp_request *request);
void api_act(struct api *api, struct evhttp_request *request, const struct message_id *id, const char *act);
void api_import(struct api *api, struct evhttp_request *request);
void api_events(struct api *api, struct evhttp_request *request);
void api_streams_end(struct api *api);
void api_journal(struct api *api, struct evhttp_request *request);
void api_check(struct api *api, struct evhttp_request *request);
void api_check_end(struct api *api);
void api_self(struct api *api, struct evhttp_request *request);
void api_backup(struct api *api, struct evhttp_request *request);
void api_admin_end(struct api *api);
void api_courier(struct api *api, struct evhttp_request *request);
void api_courier_upload(struct api *api, struct evhttp_request *request);
void api_courier_read(struct api *api, struct evhttp_request *request);
void api_courier_write(struct api *api, struct evhttp_request *request);
void api_courier_file(struct api *api, struct evhttp_request *request);
void api_courier_end(struct api *api);

/* api_sealed.c */
/* `personal` of an order, if it is there. False: the error was sent. */
bool api_read_personal(struct evhttp_request *request, const json_t *personal, struct author_request *order);
/* What is sealed in a message, and for whom, without opening it; NULL: nothing is. A new reference. */
json_t *api_sealed(struct api *api, const struct header *header);
void api_unseal(struct api *api, struct evhttp_request *request, const struct message_id *id);

/* api_message.c */
/* "verdacht: na intrekking": noted when it came in, or by the revocations held now. message NULL: its bytes are gone. */
bool api_is_suspect(const struct api *api, const struct custody *custody, const struct message *message);
/* The custody record and decoded message; *bytes is malloc'ed and holds what *message leads into; bytes NULL
 * when the envelope is gone. The caller clears custody and frees bytes. */
MUST_CHECK enum cpd_error api_load(struct api *api, const struct message_id *id, struct custody *custody, struct message *message, uint8_t **bytes);

#endif
