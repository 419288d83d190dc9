/*
 * api_courier.c: courier files, for who stands at the stick.
 *
 * The daemon sees no stick: its sandbox hides them, and a slow one must not hold the loop. Bytes come in by pieces, and are
 * taken in only when they are all here; bytes go out whole. One file each way is kept, until the next one
 * takes its place; what is done meanwhile is asked for with GET /v1/courier.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/api_internal.h"
#include "proto/limits.h"

#define TOKEN_MAX 40

struct api_courier {
	struct api *api;                  /* NULL: the API has gone, and a job is still under way */
	char token[TOKEN_MAX + 1];        /* of the upload; "": none */
	uint8_t *upload; size_t len, capacity;
	uint64_t job;
	bool is_working, is_read;
	json_t *report;                   /* owned; NULL: none yet */
	json_t *error;                    /* owned; NULL: it went well */
	uint8_t *file; size_t file_len;   /* owned: what was written last */
	uint64_t number;
};

static struct api_courier *courier_of(struct api *api, struct evhttp_request *request)
{
	if (!api->courier)
		api->courier = calloc(1, sizeof(*api->courier));
	if (!api->courier)
		api_error_of(request, CPD_ERR_NOMEM, NULL);
	else
		api->courier->api = api;
	return api->courier;
}

static void courier_free(struct api_courier *courier)
{
	free(courier->upload);
	free(courier->file);
	json_decref(courier->report);
	json_decref(courier->error);
	free(courier);
}

void api_courier_end(struct api *api)
{
	struct api_courier *courier = api->courier;

	api->courier = NULL;
	if (courier && courier->is_working)
		courier->api = NULL;      /* its callback frees it */
	else if (courier)
		courier_free(courier);
}

/* ---------------------------------------------------------------- what a job came to */

static json_t *report_json(struct api *api, const struct courier_report *report)
{
	if (report->is_read)
		return json_pack("{s:I,s:o,s:I,s:I,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s*,s:I,s:b}", "writer", (json_int_t)report->writer,
		    "name", json_node_name(api, report->writer), "epoch", (json_int_t)report->epoch, "number", (json_int_t)report->number,
		    "read_before", (int)report->was_read, "updates", (json_int_t)report->updates, "taken", (json_int_t)report->taken,
		    "known", (json_int_t)report->known, "receipts", (json_int_t)report->receipts, "others", (json_int_t)report->others,
		    "refused", (json_int_t)report->refused, "later", (json_int_t)report->later,
		    "reason", report->reason ? reason_name(report->reason) : NULL, "released", (json_int_t)report->released,
		    "fenced", (int)report->is_fenced);
	return json_pack("{s:I,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b}", "to", (json_int_t)report->to, "name", json_node_name(api, report->to),
	    "readers", (json_int_t)report->readers, "writer", (json_int_t)node_self(api->node), "number", (json_int_t)report->number,
	    "bytes", (json_int_t)report->len, "messages", (json_int_t)report->messages, "receipts", (json_int_t)report->receipts_out,
	    "acknowledged", (json_int_t)report->acks, "updates", (json_int_t)report->updates_out, "left", (json_int_t)report->left,
	    "fenced", (int)report->is_fenced);
}

static const char *code_of(enum cpd_error error)
{
	switch (error) {
	case CPD_ERR_MALFORMED: return "no-courier-file";
	case CPD_ERR_VERSION: return "later-version";
	case CPD_ERR_DAMAGED: case CPD_ERR_TOO_LARGE: case CPD_ERR_RANGE: case CPD_ERR_BAD_SIGNATURE: return "damaged";
	case CPD_ERR_STATE: return "own-file";
	case CPD_ERR_NOT_FOUND: return "for-others";
	case CPD_ERR_CONFLICT: return "older-key";
	case CPD_ERR_UNKNOWN_SIGNER: return "unknown-signer";
	case CPD_ERR_REVOKED: return "revoked";
	case CPD_ERR_BUSY: return "busy";
	default: return "failed";
	}
}

static void couriered(void *context, enum cpd_error error, const char *why, struct courier_report *report)
{
	struct api_courier *courier = context;

	courier->is_working = false;
	if (!courier->api) {
		free(report->file);
		courier_free(courier);
		return;
	}
	courier->report = report_json(courier->api, report);
	if (error)
		courier->error = json_pack("{s:s,s:s}", "code", report->is_dropped ? "started-anew"
		    : report->is_read ? code_of(error) : error == CPD_ERR_NOT_FOUND ? "not-found" : code_of(error), "message", why ? why : cpd_error_text(error));
	if (error || report->is_read)
		return;
	free(courier->file);
	courier->file = report->file;
	courier->file_len = report->len;
	courier->number = report->number;
}

void api_courier(struct api *api, struct evhttp_request *request)
{
	struct api_courier *courier = courier_of(api, request);
	size_t at, of;
	json_t *json;

	if (!courier)
		return;
	(void)node_courier_progress(api->node, &at, &of);
	json = json_pack("{s:I,s:s,s:I,s:I}", "job", (json_int_t)courier->job, "state",
	    courier->is_working ? "working" : courier->error ? "failed" : courier->job ? "done" : "idle", "at", (json_int_t)at, "of", (json_int_t)of);
	if (json && !courier->is_working && courier->report)
		json_object_set(json, courier->is_read ? "read" : "written", courier->report);
	if (json && courier->error)
		json_object_set(json, "error", courier->error);
	api_reply(request, 200, json);
}

/* ---------------------------------------------------------------- bytes in */

static bool upload_grow(struct api_courier *courier, size_t len)
{
	size_t capacity = courier->capacity ? courier->capacity : API_BODY_MAX;
	uint8_t *larger;

	while (capacity < len)
		capacity *= 2;
	if (capacity == courier->capacity)
		return true;
	larger = realloc(courier->upload, capacity);
	if (!larger)
		return false;
	courier->upload = larger;
	courier->capacity = capacity;
	return true;
}

static void upload_drop(struct api_courier *courier)
{
	free(courier->upload);
	courier->upload = NULL;
	courier->len = courier->capacity = 0;
	courier->token[0] = '\0';
}

static bool read_token(struct evhttp_request *request, char out[TOKEN_MAX + 1])
{
	char *text = api_query_text(request, "file");
	bool is_good = text && *text && strlen(text) <= TOKEN_MAX;

	for (const char *at = text; is_good && *at; at++)
		is_good = *at > 0x20 && *at < 0x7f;
	if (is_good)
		strcpy(out, text);
	else
		api_error(request, 400, "bad-field", "file", "must be 1 to 40 characters", "use a random text for each file");
	free(text);
	return is_good;
}

void api_courier_upload(struct api *api, struct evhttp_request *request)
{
	struct evbuffer *buffer = evhttp_request_get_input_buffer(request);
	struct api_courier *courier = courier_of(api, request);
	size_t len = evbuffer_get_length(buffer);
	uint64_t offset = 0;
	char token[TOKEN_MAX + 1];

	if (!courier || !read_token(request, token) || !api_query_number(request, "offset", LIMIT_COURIER, &offset))
		return;
	if (!offset) {
		upload_drop(courier);
		strcpy(courier->token, token);
	}
	if (!len || len > API_BODY_MAX || offset + len > LIMIT_COURIER) {
		upload_drop(courier);
		api_error(request, 413, "too-large", NULL, "a piece is 1 byte to 256 KiB, and a courier file at most 10 MiB", "it is no courier file");
	} else if (strcmp(courier->token, token) || offset != courier->len) {
		api_error(request, 409, "wrong-state", "offset", "another file is being read here, or a piece is missing", "begin again at offset 0");
	} else if (!upload_grow(courier, courier->len + len)) {
		upload_drop(courier);
		api_error_of(request, CPD_ERR_NOMEM, NULL);
	} else {
		evbuffer_copyout(buffer, courier->upload + courier->len, len);
		courier->len += len;
		api_reply(request, 200, json_pack("{s:I}", "bytes", (json_int_t)courier->len));
	}
}

/* ---------------------------------------------------------------- jobs */

/* False: the error was sent. */
static bool job_begin(struct api_courier *courier, struct evhttp_request *request, bool is_read)
{
	if (courier->is_working) {
		api_error(request, 503, "busy", NULL, "another stick is being read or written here", "wait until that is done");
		return false;
	}
	json_decref(courier->report);
	json_decref(courier->error);
	courier->report = courier->error = NULL;
	courier->job++;
	courier->is_working = true;
	courier->is_read = is_read;
	return true;
}

static void answer_job(const struct api_courier *courier, struct evhttp_request *request)
{
	api_reply(request, 202, json_pack("{s:I}", "job", (json_int_t)courier->job));
}

void api_courier_read(struct api *api, struct evhttp_request *request)
{
	struct api_courier *courier = courier_of(api, request);
	char token[TOKEN_MAX + 1];
	uint64_t more = 0;
	uint8_t *file;
	size_t len;

	if (!courier || !read_token(request, token) || !api_query_number(request, "more", 1, &more))
		return;
	if (strcmp(courier->token, token) || !courier->len) {
		api_error(request, 409, "wrong-state", "file", "its bytes are not here", "send them with POST /v1/courier/upload first");
		return;
	}
	if (!job_begin(courier, request, true))
		return;
	file = courier->upload;
	len = courier->len;
	courier->upload = NULL;
	upload_drop(courier);
	answer_job(courier, request);
	node_courier_read(api->node, file, len, more, couriered, courier);
}

void api_courier_write(struct api *api, struct evhttp_request *request)
{
	struct api_courier *courier = courier_of(api, request);
	uint64_t to = 0, limit = LIMIT_COURIER;

	if (!courier || !api_query_number(request, "to", UINT32_MAX, &to) || !api_query_number(request, "limit", LIMIT_COURIER, &limit))
		return;
	if (limit < LIMIT_COURIER_MIN) {
		api_error(request, 400, "bad-field", "limit", "is too small for one message and the directory's news", "give 65536 bytes or more");
		return;
	}
	if (!job_begin(courier, request, false))
		return;
	free(courier->file);
	courier->file = NULL;
	courier->file_len = 0;
	answer_job(courier, request);
	node_courier_write(api->node, (uint32_t)to, (size_t)limit, couriered, courier);
}

/* ---------------------------------------------------------------- bytes out */

void api_courier_file(struct api *api, struct evhttp_request *request)
{
	struct api_courier *courier = courier_of(api, request);
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct evbuffer *buffer;
	char about[32];
	uint64_t number = 0;

	if (!courier || !api_query_number(request, "number", UINT64_MAX, &number))
		return;
	if (!courier->file || courier->number != number) {
		api_error(request, 404, "not-found", "number", "that file is not here any more", "let it be written again: what it held waits still");
		return;
	}
	buffer = evbuffer_new();
	if (!buffer || evbuffer_add(buffer, courier->file, courier->file_len)) {
		if (buffer)
			evbuffer_free(buffer);
		api_error_of(request, CPD_ERR_NOMEM, NULL);
		return;
	}
	snprintf(about, sizeof(about), "%zu", courier->file_len);
	evhttp_add_header(headers, "Content-Type", "application/octet-stream");
	evhttp_add_header(headers, "Cache-Control", "no-store");
	evhttp_add_header(headers, "X-Bytes-About", about);
	evhttp_send_reply(request, 200, NULL, buffer);
	evbuffer_free(buffer);
}
