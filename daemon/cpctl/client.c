/* client.c: see client.h. */
#include "daemon/cpctl/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ANSWER_MAX (64u * 1024 * 1024)  /* a message of 8 MiB as JSON stays below it */
#define CONNECT_S 5L
#define ANSWER_S 60L                    /* a commit on a worn SD card takes seconds */
#define SILENCE_S 65L                   /* the daemon says something every 20 s on a live stream */
#define EVENT_MAX 4096

/* ---------------------------------------------------------------- one question */

struct sink { char *bytes; size_t len; };

static size_t take_bytes(char *data, size_t size, size_t count, void *context)
{
	struct sink *sink = context;
	size_t len = size * count;
	char *bytes;

	if (len > ANSWER_MAX - sink->len)
		return 0;
	bytes = realloc(sink->bytes, sink->len + len + 1);
	if (!bytes)
		return 0;
	memcpy(bytes + sink->len, data, len);
	sink->bytes = bytes;
	sink->len += len;
	bytes[sink->len] = '\0';
	return len;
}

static void say_why(const struct call *call, CURL *curl, CURLcode code, struct answer *answer)
{
	long number = 0;

	curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &number);
	if (code == CURLE_COULDNT_CONNECT && number == EACCES)
		snprintf(answer->problem, sizeof(answer->problem), "you may not use %.150s: be in the group of [api] group in cpd.conf, or use sudo", call->socket);
	else if (code == CURLE_COULDNT_CONNECT)
		snprintf(answer->problem, sizeof(answer->problem), "no cpd answers at %.120s (%.40s): is it running (systemctl status cpd)? --socket or CPD_SOCKET names another socket",
		    call->socket, number ? strerror((int)number) : "no connection");
	else
		snprintf(answer->problem, sizeof(answer->problem), "the connection to %.120s broke (%.80s)", call->socket, curl_easy_strerror(code));
}

/* Before anything was sent, nothing can have been done. */
static enum outcome outcome_of(CURLcode code)
{
	if (code == CURLE_OK)
		return OUTCOME_ANSWER;
	return code == CURLE_COULDNT_CONNECT || code == CURLE_FAILED_INIT || code == CURLE_OUT_OF_MEMORY ? OUTCOME_UNREACHABLE : OUTCOME_BROKEN;
}

static bool add_header(struct curl_slist **list, const char *text)
{
	struct curl_slist *longer = curl_slist_append(*list, text);

	if (longer)
		*list = longer;
	return longer != NULL;
}

static struct curl_slist *headers_of(const struct request *request)
{
	struct curl_slist *list = NULL;
	char line[128];
	/* Without an Expect a large body is not held back for a second. */
	bool is_whole = add_header(&list, "Expect:");

	if (is_whole && request->type) {
		snprintf(line, sizeof(line), "Content-Type: %.100s", request->type);
		is_whole = add_header(&list, line);
	}
	if (is_whole && request->key) {
		snprintf(line, sizeof(line), "Idempotency-Key: %.100s", request->key);
		is_whole = add_header(&list, line);
	}
	if (is_whole)
		return list;
	curl_slist_free_all(list);
	return NULL;
}

static CURL *open_handle(const struct call *call, const char *path)
{
	CURL *curl = curl_easy_init();
	char url[600];

	if (!curl)
		return NULL;
	snprintf(url, sizeof(url), "http://cpd%s", path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, call->socket);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");      /* http_proxy in the environment is not meant for us */
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "cpctl");
	return curl;
}

enum outcome client_ask(const struct call *call, const struct request *request, struct answer *answer)
{
	CURL *curl = open_handle(call, request->path);
	struct curl_slist *headers = headers_of(request);
	struct sink sink = { NULL, 0 };
	CURLcode code = CURLE_OUT_OF_MEMORY;

	memset(answer, 0, sizeof(*answer));
	if (curl && headers) {
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(curl, CURLOPT_TIMEOUT, ANSWER_S);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes);
		curl_easy_setopt(curl, CURLOPT_WRITEDATA, &sink);
		if (!strcmp(request->method, "POST")) {
			curl_easy_setopt(curl, CURLOPT_POST, 1L);
			curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
			curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body_len ? request->body : "");
		}
		code = curl_easy_perform(curl);
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
	}
	if (code)
		say_why(call, curl, code, answer);
	else
		answer->json = json_loadb(sink.bytes ? sink.bytes : "", sink.len, 0, NULL);
	free(sink.bytes);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return outcome_of(code);
}

void answer_clear(struct answer *answer)
{
	json_decref(answer->json);
	memset(answer, 0, sizeof(*answer));
}

int say_unreachable(const struct answer *answer)
{
	fprintf(stderr, "cpctl: %s\n", answer->problem);
	return EXIT_UNREACHABLE;
}

int say_answer(const struct answer *answer)
{
	const json_t *error = json_object_get(answer->json, "error");
	const char *field = json_string_value(json_object_get(error, "field")), *message = json_string_value(json_object_get(error, "message"));
	const char *remedy = json_string_value(json_object_get(error, "remedy"));

	if (!message)
		return say_refused("the daemon answered %ld without a reason: see journalctl -u cpd", answer->status);
	say_refused("%s%s%s", field ? field : "", field ? ": " : "", message);
	if (remedy)
		fprintf(stderr, "  %s\n", remedy);
	return EXIT_REFUSED;
}

static int ask_once(const struct call *call, const struct request *request, json_t **out)
{
	struct answer answer;
	int status = EXIT_DONE;

	*out = NULL;
	if (client_ask(call, request, &answer) != OUTCOME_ANSWER)
		status = say_unreachable(&answer);
	else if (answer.status >= 300)
		status = say_answer(&answer);
	else if (!answer.json)
		status = say_refused("what answers at %s is not cpd: it is no JSON", call->socket);
	else
		*out = json_incref(answer.json);
	answer_clear(&answer);
	return status;
}

int client_get(const struct call *call, const char *path, json_t **out)
{
	struct request request = { .method = "GET", .path = path };

	return ask_once(call, &request, out);
}

int client_post(const struct call *call, const char *path, const json_t *body, json_t **out)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct request request = { .method = "POST", .path = path, .type = body ? "application/json" : NULL,
		.body = text, .body_len = text ? strlen(text) : 0 };
	int status;

	*out = NULL;
	if (body && !text)
		return say_refused("memory is used up");
	status = ask_once(call, &request, out);
	free(text);
	return status;
}

/* ---------------------------------------------------------------- live updates */

struct follower {
	CURL *curl;
	stream_take *take;
	void *context;
	char line[EVENT_MAX], id[32], event[64], data[EVENT_MAX];
	size_t len;
	bool is_over, is_stopped;        /* is_over: this line is longer than the bound, and is dropped */
	struct sink refusal;
};

/* One line of text/event-stream; an empty line ends an event. */
static bool take_line(struct follower *follower)
{
	const char *line = follower->line, *colon = strchr(line, ':');
	const char *value = colon ? colon + 1 + (colon[1] == ' ') : "";

	if (!*line) {
		struct stream_event event = { follower->id, follower->event, follower->data };
		bool goes_on = !*follower->data || follower->take(follower->context, &event);

		follower->event[0] = follower->data[0] = '\0';
		return goes_on;
	}
	if (!strncmp(line, "id:", 3))
		snprintf(follower->id, sizeof(follower->id), "%.31s", value);
	else if (!strncmp(line, "event:", 6))
		snprintf(follower->event, sizeof(follower->event), "%.63s", value);
	else if (!strncmp(line, "data:", 5))
		snprintf(follower->data, sizeof(follower->data), "%s", value);
	return true;
}

static size_t take_stream(char *data, size_t size, size_t count, void *context)
{
	struct follower *follower = context;
	size_t len = size * count;
	long status = 0;

	curl_easy_getinfo(follower->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return follower->refusal.len + len > EVENT_MAX ? 0 : take_bytes(data, size, count, &follower->refusal);
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\r')
			continue;
		if (data[i] != '\n') {
			follower->is_over |= follower->len + 1 >= sizeof(follower->line);
			if (!follower->is_over)
				follower->line[follower->len++] = data[i];
			continue;
		}
		follower->line[follower->is_over ? 0 : follower->len] = '\0';
		follower->len = 0;
		if (!follower->is_over && !take_line(follower)) {
			follower->is_stopped = true;
			return 0;
		}
		follower->is_over = false;
	}
	return len;
}

enum outcome client_follow(const struct call *call, const char *after, stream_take *take, void *context, struct answer *answer)
{
	struct follower *follower = calloc(1, sizeof(*follower));
	CURL *curl = open_handle(call, "/v1/events");
	struct curl_slist *headers = NULL;
	CURLcode code = CURLE_OUT_OF_MEMORY;
	char line[64];

	memset(answer, 0, sizeof(*answer));
	snprintf(line, sizeof(line), "Last-Event-ID: %.31s", after ? after : "");
	if (follower && curl && (!after || add_header(&headers, line))) {
		follower->curl = curl;
		follower->take = take;
		follower->context = context;
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, SILENCE_S);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_stream);
		curl_easy_setopt(curl, CURLOPT_WRITEDATA, follower);
		code = curl_easy_perform(curl);
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
		if (follower->is_stopped)
			code = CURLE_OK;
		answer->json = json_loadb(follower->refusal.bytes ? follower->refusal.bytes : "", follower->refusal.len, 0, NULL);
		free(follower->refusal.bytes);
	}
	if (code)
		say_why(call, curl, code, answer);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	free(follower);
	return outcome_of(code);
}

/* ---------------------------------------------------------------- long answers */

struct download {
	CURL *curl;
	download_take *take;
	void *context;
	uint64_t about;
	struct sink refusal;
};

static size_t take_header(char *data, size_t size, size_t count, void *context)
{
	static const char name[] = "X-Bytes-About: ";
	struct download *download = context;
	char line[64];

	snprintf(line, sizeof(line), "%.*s", (int)(size * count < 63 ? size * count : 63), data);
	if (!strncasecmp(line, name, strlen(name)))
		download->about = strtoull(line + strlen(name), NULL, 10);
	return size * count;
}

static size_t take_download(char *data, size_t size, size_t count, void *context)
{
	struct download *download = context;
	long status = 0;

	curl_easy_getinfo(download->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return download->refusal.len + size * count > EVENT_MAX ? 0 : take_bytes(data, size, count, &download->refusal);
	return download->take(download->context, data, size * count, download->about) ? size * count : 0;
}

enum outcome client_download(const struct call *call, const char *path, download_take *take, void *context, struct answer *answer)
{
	struct download download = { .curl = open_handle(call, path), .take = take, .context = context };
	CURLcode code = CURLE_OUT_OF_MEMORY;

	memset(answer, 0, sizeof(*answer));
	if (download.curl) {
		curl_easy_setopt(download.curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(download.curl, CURLOPT_LOW_SPEED_TIME, SILENCE_S);
		curl_easy_setopt(download.curl, CURLOPT_HEADERFUNCTION, take_header);
		curl_easy_setopt(download.curl, CURLOPT_HEADERDATA, &download);
		curl_easy_setopt(download.curl, CURLOPT_WRITEFUNCTION, take_download);
		curl_easy_setopt(download.curl, CURLOPT_WRITEDATA, &download);
		code = curl_easy_perform(download.curl);
		curl_easy_getinfo(download.curl, CURLINFO_RESPONSE_CODE, &answer->status);
		answer->json = json_loadb(download.refusal.bytes ? download.refusal.bytes : "", download.refusal.len, 0, NULL);
		free(download.refusal.bytes);
	}
	if (code)
		say_why(call, download.curl, code, answer);
	curl_easy_cleanup(download.curl);
	return outcome_of(code);
}
