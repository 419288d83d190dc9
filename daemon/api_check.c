/*
 * api_check.c: GET /v1/check: proves every record of the running store, on a thread of its own by short reads, and tells
 * how far it is, one JSON value a line. A caller that goes away ends it.
 */
#include "daemon/api_internal.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/log.h"

#define TELL_MS 200
#define FINDINGS 1000             /* more are counted only */
#define REST_NS 1000000           /* between two reads: the disk is the messages' first */

struct api_check {
	struct api *api;
	struct evhttp_request *request;
	struct evhttp_connection *connection;
	struct event *beat;
	pthread_t thread;
	atomic_bool stop;
	pthread_mutex_t lock;             /* guards what follows */
	bool is_done;
	uint64_t done, of;
	json_t *findings;                 /* owned: not told yet */
	size_t finding_count;
	enum cpd_error error;
	struct store_check result;
};

static void take_finding(void *context, const char *line)
{
	struct api_check *check = context;

	pthread_mutex_lock(&check->lock);
	if (check->finding_count++ < FINDINGS)
		json_array_append_new(check->findings, json_string(line));
	pthread_mutex_unlock(&check->lock);
}

static bool take_step(void *context, uint64_t done, uint64_t of)
{
	const struct timespec rest = { 0, REST_NS };
	struct api_check *check = context;

	pthread_mutex_lock(&check->lock);
	check->done = done;
	check->of = of;
	pthread_mutex_unlock(&check->lock);
	nanosleep(&rest, NULL);
	return !atomic_load(&check->stop);
}

static void *check_main(void *argument)
{
	struct api_check *check = argument;
	struct store_check result;
	enum cpd_error error = store_verify_running(node_store(check->api->node), take_finding, take_step, check, &result);

	pthread_mutex_lock(&check->lock);
	check->error = error;
	check->result = result;
	check->is_done = true;
	pthread_mutex_unlock(&check->lock);
	return NULL;
}

/* Waits for the thread: one short read. */
static void check_free(struct api_check *check)
{
	atomic_store(&check->stop, true);
	pthread_join(check->thread, NULL);
	pthread_mutex_destroy(&check->lock);
	json_decref(check->findings);
	if (check->beat)
		event_free(check->beat);
	check->api->check = NULL;
	free(check);
}

static void check_gone(struct evhttp_connection *connection, void *context)
{
	struct api_check *check = context;

	(void)connection;
	api_request_gone(check->request);
	check_free(check);
}

static void tell(struct api_check *check, json_t *take_json)
{
	char *text = take_json ? json_dumps(take_json, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
	struct evbuffer *buffer = text ? evbuffer_new() : NULL;

	json_decref(take_json);
	if (buffer) {
		evbuffer_add_printf(buffer, "%s\n", text);
		evhttp_send_reply_chunk(check->request, buffer);
		evbuffer_free(buffer);
	}
	free(text);
}

static json_t *result_to_json(const struct api_check *check)
{
	uint64_t rows = 0, damaged = 0;

	for (int i = 0; i < TABLE_COUNT; i++) {
		rows += check->result.rows[i];
		damaged += check->result.damaged[i];
	}
	return json_pack("{s:{s:b,s:I,s:I,s:I,s:s?}}", "result", "sound", (int)(!check->error && !damaged && !check->result.broken_invariants),
	    "records", (json_int_t)rows, "damaged", (json_int_t)damaged, "broken_rules", (json_int_t)check->result.broken_invariants,
	    "error", check->error ? cpd_error_text(check->error) : NULL);
}

static void on_beat(evutil_socket_t fd, short what, void *context)
{
	struct api_check *check = context;
	struct evhttp_request *request = check->request;
	json_t *findings, *line;
	uint64_t done, of;
	size_t index;
	bool is_done;

	(void)fd;
	(void)what;
	pthread_mutex_lock(&check->lock);
	findings = check->findings;
	check->findings = json_array();
	done = check->done;
	of = check->of;
	is_done = check->is_done;
	pthread_mutex_unlock(&check->lock);
	json_array_foreach(findings, index, line)
		tell(check, json_pack("{s:O}", "finding", line));
	json_decref(findings);
	if (!is_done) {
		tell(check, json_pack("{s:{s:I,s:I}}", "progress", "done", (json_int_t)done, "of", (json_int_t)of));
		return;
	}
	tell(check, result_to_json(check));
	log_line(LOG_INFO, "store-checked", "findings=%zu", check->finding_count);
	evhttp_connection_set_closecb(check->connection, NULL, NULL);
	check_free(check);
	evhttp_send_reply_end(request);
}

static bool check_start(struct api_check *check)
{
	const struct timeval every = { 0, TELL_MS * 1000 };
	sigset_t all, before;
	int rc;

	check->findings = json_array();
	check->beat = event_new(check->api->base, -1, EV_PERSIST, on_beat, check);
	if (!check->findings || !check->beat || pthread_mutex_init(&check->lock, NULL))
		return false;
	sigfillset(&all); /* signals belong to the loop thread */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&check->thread, NULL, check_main, check);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return !rc && !event_add(check->beat, &every);
}

void api_check(struct api *api, struct evhttp_request *request)
{
	struct api_check *check;

	if (api->check) {
		api_error(request, 503, "busy", NULL, "the store is being checked already", "wait until that is done");
		return;
	}
	check = calloc(1, sizeof(*check));
	if (check) {
		check->api = api;
		check->request = request;
		check->connection = evhttp_request_get_connection(request);
	}
	if (!check || !check_start(check)) {
		if (check && check->beat)
			event_free(check->beat);
		if (check)
			json_decref(check->findings);
		free(check);
		api_error_of(request, CPD_ERR_NOMEM, NULL);
		return;
	}
	api->check = check;
	guard_follows(api, request);      /* a large store takes its time */
	evhttp_connection_set_closecb(check->connection, check_gone, check);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "application/x-ndjson");
	evhttp_add_header(evhttp_request_get_output_headers(request), "Cache-Control", "no-store");
	evhttp_send_reply_start(request, 200, NULL);
}

void api_check_end(struct api *api)
{
	if (!api->check)
		return;
	evhttp_connection_set_closecb(api->check->connection, NULL, NULL);
	check_free(api->check);
}
