/*
 * api_admin.c: what an administrator asks of a running node: a backup of its store.
 *
 * A backup goes out at the caller's pace: one piece is read from the store's copy when the last one has
 * left. It is written nowhere here: a caller that is root, or not, chooses no path for the daemon. A caller
 * that stands still, or a commit that needs room, ends it; the bytes then lack their tail.
 */
#include <event2/bufferevent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/backup.h"
#include "daemon/api_internal.h"
#include "daemon/clock.h"
#include "daemon/log.h"
#include "daemon/version.h"

#define PIECE (128 * 1024)
#define STILL_S 120               /* a slow stick is waited for so long */

struct api_backup {
	struct api *api;
	struct evhttp_request *request;
	struct evhttp_connection *connection;
	struct backup_sum *sum;           /* owned; NULL: the tail is out */
	struct event *readable;
	uint64_t len;
	int fd;
};

static void backup_free(struct api_backup *backup)
{
	enum cpd_error error = store_copy_end(node_store(backup->api->node));

	if (backup->sum)
		log_line(LOG_WARNING, "backup-broken", "bytes=%llu why=\"%s\"", (unsigned long long)backup->len,
		    error == CPD_ERR_BUSY ? "the store needed room for messages" : error == CPD_ERR_STATE ? "the caller has gone, or stood still" : cpd_error_text(error));
	else
		log_line(LOG_INFO, "backup", "bytes=%llu", (unsigned long long)backup->len);
	if (backup->readable)
		event_free(backup->readable);
	backup_sum_free(backup->sum);
	close(backup->fd);
	backup->api->backup = NULL;
	free(backup);
}

static void backup_gone(struct evhttp_connection *connection, void *context)
{
	struct api_backup *backup = context;

	(void)connection;
	api_request_gone(backup->request);
	backup_free(backup);
}

static void backup_sent(struct evhttp_connection *connection, void *context)
{
	struct api_backup *backup = context;

	(void)connection;
	event_add(backup->readable, NULL);
}

/* The end of the copy's bytes: the tail goes out only when they were all. */
static void backup_finish(struct api_backup *backup)
{
	struct evhttp_request *request = backup->request;
	struct evhttp_connection *connection = backup->connection;
	struct evbuffer *buffer = evbuffer_new();
	uint8_t tail[BACKUP_TAIL];

	/* Broken: the caller sees it by the missing end, and the log says why. */
	if (!buffer || !store_copy_is_whole(node_store(backup->api->node))) {
		if (buffer)
			evbuffer_free(buffer);
		evhttp_connection_free(connection);   /* backup_gone frees the rest */
		return;
	}
	backup_end(backup->sum, tail);
	backup->sum = NULL;
	evhttp_connection_set_closecb(connection, NULL, NULL);
	backup_free(backup);
	evbuffer_add(buffer, tail, sizeof(tail));
	evhttp_send_reply_chunk(request, buffer);
	evhttp_send_reply_end(request);
	evbuffer_free(buffer);
}

static void backup_read(evutil_socket_t fd, short what, void *context)
{
	struct api_backup *backup = context;
	struct evbuffer *buffer;
	uint8_t bytes[PIECE];
	ssize_t got = read(fd, bytes, sizeof(bytes));

	(void)what;
	if (got < 0) {
		event_add(backup->readable, NULL);
		return;
	}
	if (!got) {
		backup_finish(backup);
		return;
	}
	buffer = evbuffer_new();
	if (!buffer || evbuffer_add(buffer, bytes, (size_t)got)) {
		if (buffer)
			evbuffer_free(buffer);
		evhttp_connection_free(backup->connection);
		return;
	}
	backup_add(backup->sum, bytes, (size_t)got);
	backup->len += (uint64_t)got;
	evhttp_send_reply_chunk_with_cb(backup->request, buffer, backup_sent, backup);
	evbuffer_free(buffer);
}

static struct evbuffer *backup_head_of(struct api *api, struct api_backup *backup)
{
	const struct region_anchor *anchor = identity_anchor(node_identity(api->node));
	struct backup_head head = { .node = node_self(api->node), .epoch = identity_epoch(node_identity(api->node)), .schema = STORE_SCHEMA };
	struct evbuffer *buffer = evbuffer_new();
	uint8_t bytes[BACKUP_HEAD_MAX];
	size_t len;

	snprintf(head.network, sizeof(head.network), "%s", anchor ? anchor->network : "-");
	snprintf(head.region, sizeof(head.region), "%s", anchor ? anchor->region : "-");
	snprintf(head.version, sizeof(head.version), "%s", CPD_VERSION);
	clock_text(head.made);
	backup->sum = buffer ? backup_begin(&head, bytes, &len) : NULL;
	if (!backup->sum || evbuffer_add(buffer, bytes, len)) {
		if (buffer)
			evbuffer_free(buffer);
		return NULL;
	}
	return buffer;
}

void api_backup(struct api *api, struct evhttp_request *request)
{
	struct api_backup *backup = calloc(1, sizeof(*backup));
	enum cpd_error error = backup ? store_copy_begin(node_store(api->node), &backup->fd) : CPD_ERR_NOMEM;
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct store_space space;
	struct evbuffer *head;
	char about[32];

	if (error) {
		free(backup);
		if (error == CPD_ERR_BUSY)
			api_error(request, 503, "busy", NULL, "a backup is being made already", "wait until it is done");
		else
			api_error_of(request, error, NULL);
		return;
	}
	backup->api = api;
	backup->request = request;
	backup->connection = evhttp_request_get_connection(request);
	api->backup = backup;
	head = backup_head_of(api, backup);
	backup->readable = head ? event_new(api->base, backup->fd, EV_READ, backup_read, backup) : NULL;
	if (!backup->readable) {
		if (head)
			evbuffer_free(head);
		backup_free(backup);
		api_error_of(request, CPD_ERR_NOMEM, NULL);
		return;
	}
	store_space(node_store(api->node), &space);
	snprintf(about, sizeof(about), "%zu", space.used_bytes);
	evhttp_add_header(headers, "Content-Type", "application/octet-stream");
	evhttp_add_header(headers, "Cache-Control", "no-store");
	evhttp_add_header(headers, "X-Bytes-About", about);
	guard_follows(api, request);
	evhttp_connection_set_timeout(backup->connection, STILL_S);
	evhttp_connection_set_closecb(backup->connection, backup_gone, backup);
	log_line(LOG_INFO, "backup-begun", "bytes_about=%s", about);
	evhttp_send_reply_start(request, 200, NULL);
	evhttp_send_reply_chunk_with_cb(request, head, backup_sent, backup);
	evbuffer_free(head);
}

void api_admin_end(struct api *api)
{
	if (!api->backup)
		return;
	evhttp_connection_set_closecb(api->backup->connection, NULL, NULL);
	backup_free(api->backup);
}
