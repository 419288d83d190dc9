/* api.c: socket, credentials, limits, dispatch, errors. */
#include "daemon/api_internal.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/credentials.h"

#define HEADERS_MAX 8192
#define TIMEOUT_S 30

/* ---------------------------------------------------------------- answers */

void api_reply(struct evhttp_request *request, int status, json_t *take_json)
{
	struct evbuffer *buffer = evbuffer_new();
	char *text = take_json ? json_dumps(take_json, JSON_INDENT(1) | JSON_PRESERVE_ORDER) : NULL;

	json_decref(take_json);
	if (!buffer || !text) {
		free(text);
		if (buffer)
			evbuffer_free(buffer);
		evhttp_send_error(request, 503, "out of memory");
		return;
	}
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "application/json; charset=utf-8");
	evhttp_add_header(evhttp_request_get_output_headers(request), "Cache-Control", "no-store");
	evbuffer_add(buffer, text, strlen(text));
	evbuffer_add(buffer, "\n", 1);
	evhttp_send_reply(request, status, NULL, buffer);
	evbuffer_free(buffer);
	free(text);
}

void api_error(struct evhttp_request *request, int status, const char *code, const char *field, const char *message, const char *remedy)
{
	api_reply(request, status, json_pack("{s:{s:s,s:s*,s:s,s:s*}}", "error", "code", code, "field", field,
	    "message", message, "remedy", remedy));
}

void api_error_of(struct evhttp_request *request, enum cpd_error error, const char *why)
{
	static const struct { enum cpd_error error; int status; const char *code, *remedy; } table[] = {
		{ CPD_ERR_NOT_FOUND, 404, "not-found", "look at `cpctl inbox` and `cpctl outbox` for what is held here" },
		{ CPD_ERR_STATE, 409, "wrong-state", "look at `cpctl trace ID` for where it stands" },
		{ CPD_ERR_EXISTS, 409, "exists", NULL },
		{ CPD_ERR_ROLE, 403, "role", "let a node send it whose role may" },
		{ CPD_ERR_REVOKED, 403, "revoked", "ask the region to admit this node again" },
		{ CPD_ERR_UNKNOWN_SIGNER, 403, "unknown-signer", "import the directory update that holds this node's certificate" },
		{ CPD_ERR_UNKNOWN_GROUP, 400, "bad-field", "`cpctl directory` lists the groups" },
		{ CPD_ERR_BAD_SIGNATURE, 403, "bad-signature", "use the file exactly as the region's authority made it" },
		{ CPD_ERR_FULL, 503, "store-full", "free space, or send it with a higher precedence" },
		{ CPD_ERR_BUSY, 503, "busy", "try again in a moment" },
		{ CPD_ERR_IO, 503, "store-failed", "see the log: journalctl -u cpd" },
		{ CPD_ERR_NOMEM, 503, "busy", "try again in a moment" },
		{ CPD_ERR_TOO_LARGE, 413, "too-large", "shorten it" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].error == error) {
			api_error(request, table[i].status, table[i].code, NULL, why && *why ? why : cpd_error_text(error), table[i].remedy);
			return;
		}
	api_error(request, 400, "refused", NULL, why && *why ? why : cpd_error_text(error), NULL);
}

json_t *json_time(int64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / 1000 + CPD_TIME_ZERO_S);
	struct tm parts;
	char text[32];

	if (wall_ms <= 0 || !gmtime_r(&seconds, &parts))
		return json_null();
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
	return json_string(text);
}

json_t *json_id(const struct message_id *id)
{
	char text[MESSAGE_ID_TEXT_MAX];

	return id->sequence ? json_string(message_id_format(id, text)) : json_null();
}

json_t *json_node_name(struct api *api, uint32_t node)
{
	const struct certificate *certificate = directory_certificate(node_directory(api->node), node);

	return certificate ? json_string(certificate->name) : json_null();
}

void api_hex(char *out, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

json_t *json_age(int64_t age_s)
{
	return age_s < 0 ? json_null() : json_integer(age_s);
}

/* ---------------------------------------------------------------- requests */

char *api_query_text(struct evhttp_request *request, const char *name)
{
	struct evkeyvalq values;
	const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request)), *value;
	char *copy = NULL;

	if (!query || evhttp_parse_query_str(query, &values))
		return NULL;
	value = evhttp_find_header(&values, name);
	if (value)
		copy = strdup(value);
	evhttp_clear_headers(&values);
	return copy;
}

bool api_query_number(struct evhttp_request *request, const char *name, uint64_t max, uint64_t *out)
{
	char *text = api_query_text(request, name), *end = NULL;
	uint64_t value;

	if (!text)
		return true;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value > max) {
		free(text);
		api_error(request, 400, "bad-field", name, "is not a number in range", "leave it out, or give a whole number");
		return false;
	}
	free(text);
	*out = value;
	return true;
}

bool api_query_limit(struct evhttp_request *request, uint64_t *out)
{
	if (!api_query_number(request, "limit", API_PAGE, out))
		return false;
	if (*out)
		return true;
	api_error(request, 400, "bad-field", "limit", "is zero", "ask for 1 to 500");
	return false;
}

void api_request_gone(struct evhttp_request *request)
{
	if (request && !evhttp_request_get_connection(request))
		evhttp_request_free(request);
}

static void connection_gone(struct evhttp_connection *connection, void *context)
{
	struct api *api = context;

	for (struct api_pending *pending = api->pending; pending; pending = pending->next) {
		if (pending->connection != connection)
			continue;
		api_request_gone(pending->request);
		pending->request = NULL;
	}
}

struct api_pending *api_pending_new(struct api *api, struct evhttp_request *request)
{
	struct api_pending *pending = calloc(1, sizeof(*pending));

	if (!pending) {
		api_error_of(request, CPD_ERR_NOMEM, NULL);
		return NULL;
	}
	pending->api = api;
	pending->request = request;
	pending->connection = evhttp_request_get_connection(request);
	pending->since_ms = clock_boot_ms();
	pending->next = api->pending;
	api->pending = pending;
	evhttp_connection_set_closecb(pending->connection, connection_gone, api);
	return pending;
}

struct evhttp_request *api_pending_take(struct api_pending *pending)
{
	struct evhttp_request *request = pending->request;

	if (pending->api) {
		struct api_pending **at = &pending->api->pending;
		while (*at != pending)
			at = &(*at)->next;
		*at = pending->next;
	}
	free(pending);
	return request;
}

/* The socket's mode has kept out the rest already; this holds when somebody has loosened it. */
static bool is_welcome(const struct api *api, struct evhttp_request *request)
{
	struct bufferevent *stream = evhttp_connection_get_bufferevent(evhttp_request_get_connection(request));

	return credentials_allow(bufferevent_getfd(stream), api->has_group, api->group);
}

/* "344003/2/118/read": the id and what follows it; *rest "" when nothing does. */
static bool parse_message_path(const char *path, struct message_id *id, const char **rest)
{
	char text[MESSAGE_ID_TEXT_MAX];
	const char *end = path;

	for (int slashes = 0; *end; end++)
		if (*end == '/' && ++slashes == 3)
			break;
	if ((size_t)(end - path) >= sizeof(text))
		return false;
	memcpy(text, path, (size_t)(end - path));
	text[end - path] = '\0';
	*rest = *end ? end + 1 : "";
	return !message_id_parse(text, id);
}

static void dispatch_message(struct api *api, struct evhttp_request *request, const char *path, bool is_post)
{
	struct message_id id;
	const char *rest;

	if (!parse_message_path(path, &id, &rest))
		api_error(request, 400, "bad-id", "id", "is not a message id", "write it as ORIGIN/EPOCH/SEQUENCE, like 344003/2/118");
	else if (is_post && !strcmp(rest, "open"))
		api_unseal(api, request, &id);
	else if (is_post)
		api_act(api, request, &id, rest);
	else if (!*rest)
		api_show(api, request, &id);
	else if (!strcmp(rest, "trace"))
		api_trace(api, request, &id);
	else
		api_error(request, 404, "not-found", NULL, "there is no such path", "docs/API.md lists them");
}

static void on_request(struct evhttp_request *request, void *context)
{
	static const struct { const char *path; void (*handle)(struct api *, struct evhttp_request *); bool is_post; } table[] = {
		{ "/v1", api_version, false }, { "/v1/status", api_status, false }, { "/v1/inbox", api_inbox, false }, { "/v1/outbox", api_outbox, false },
		{ "/v1/queue", api_queue, false }, { "/v1/directory", api_directory, false }, { "/healthz", api_health, false },
		{ "/metrics", api_metrics, false },
		{ "/v1/events", api_events, false }, { "/v1/backup", api_backup, false }, { "/v1/self", api_self, false }, { "/v1/journal", api_journal, false }, { "/v1/check", api_check, false }, { "/v1/messages", api_author, true },
		{ "/v1/courier", api_courier, false }, { "/v1/courier/file", api_courier_file, false }, { "/v1/courier/upload", api_courier_upload, true },
		{ "/v1/courier/read", api_courier_read, true }, { "/v1/courier/write", api_courier_write, true }, { "/v1/directory", api_import, true },
	};
	struct api *api = context;
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));
	enum evhttp_cmd_type command = evhttp_request_get_command(request);
	bool is_post = command == EVHTTP_REQ_POST, path_known = false;

	guard_asked(api, request);
	if (!is_welcome(api, request)) {
		api_error(request, 403, "not-allowed", NULL, "this user may not use the API", "call it as root, or as a member of the group in [api] group");
		return;
	}
	if (command != EVHTTP_REQ_GET && !is_post) {
		api_error(request, 405, "bad-method", NULL, "only GET and POST are understood", "docs/API.md lists them");
		return;
	}
	for (size_t i = 0; path && i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(path, table[i].path))
			continue;
		path_known = true;
		if (table[i].is_post == is_post) {
			table[i].handle(api, request);
			return;
		}
	}
	if (path && !strncmp(path, "/v1/messages/", 13))
		dispatch_message(api, request, path + 13, is_post);
	else
		api_error(request, path_known ? 405 : 404, path_known ? "bad-method" : "not-found", NULL,
		    path_known ? "not with this method" : "there is no such path", "docs/API.md lists them");
}

/* ---------------------------------------------------------------- socket */

/* Where it is the group's already nothing is asked: the unit's system call filter refuses every chown. */
static bool give_to_group(const struct api *api, const char *path)
{
	struct stat status;

	if (!api->has_group)
		return true;
	return !stat(path, &status) && (status.st_gid == api->group || !chown(path, (uid_t)-1, api->group));
}

static int listen_on(struct api *api, const char *path, char problem[256])
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, probe;

	if (strlen(path) >= sizeof(address.sun_path)) {
		snprintf(problem, 256, "[api] socket: the path is longer than %zu characters; choose a shorter one", sizeof(address.sun_path) - 1);
		return -1;
	}
	strcpy(address.sun_path, path);
	/* A socket file that nobody serves is left from a crash and may go; one that answers may not. */
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (probe >= 0 && !connect(probe, (struct sockaddr *)&address, sizeof(address))) {
		close(probe);
		snprintf(problem, 256, "%.180s is served by another process; stop that one first", path);
		return -1;
	}
	if (probe >= 0)
		close(probe);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 64)) {
		snprintf(problem, 256, "%.150s: %s; make its folder and let the daemon's user write there", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	if (chmod(path, 0660) || !give_to_group(api, path)) {
		snprintf(problem, 256, "%.120s: cannot give it to the group in [api] group: %s; add the daemon's user to that group", path, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

enum cpd_error api_open(struct event_base *base, struct node *node, const struct config *config, struct api **out, char problem[256])
{
	struct api *api = calloc(1, sizeof(*api));
	int fd;

	*out = NULL;
	if (!api)
		return CPD_ERR_NOMEM;
	api->base = base;
	api->node = node;
	api->config = config;
	api->opened_ms = clock_boot_ms();
	if (config->api_group[0]) {
		if (!credentials_group(config->api_group, &api->group)) {
			snprintf(problem, 256, "[api] group: there is no group %s; make it with `groupadd --system %s`", config->api_group, config->api_group);
			free(api);
			return CPD_ERR_USAGE;
		}
		api->has_group = true;
	}
	fd = listen_on(api, config->api_socket, problem);
	if (fd < 0) {
		free(api);
		return CPD_ERR_IO;
	}
	api->http = evhttp_new(base);
	api->listener = evconnlistener_new(base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!api->http || !api->listener || !guard_open(api) || !evhttp_bind_listener(api->http, api->listener)) {
		snprintf(problem, 256, "the API cannot start: out of memory");
		if (!api->listener)
			close(fd);
		api_close(api);
		return CPD_ERR_NOMEM;
	}
	evhttp_set_max_headers_size(api->http, HEADERS_MAX);
	/* Somewhat more is read, so that too much can be told in words; beyond that evhttp hangs up. */
	evhttp_set_max_body_size(api->http, 4 * API_BODY_MAX);
	evhttp_set_timeout(api->http, TIMEOUT_S);
	/* The others are let in to be refused in JSON; libevent answers a page. */
	evhttp_set_allowed_methods(api->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE | EVHTTP_REQ_PATCH | EVHTTP_REQ_OPTIONS);
	evhttp_set_gencb(api->http, on_request, api);
	*out = api;
	return CPD_OK;
}

void api_close(struct api *api)
{
	if (!api)
		return;
	api_streams_end(api);
	api_admin_end(api);
	api_check_end(api);
	api_courier_end(api);
	for (struct api_pending *pending = api->pending; pending; pending = pending->next) {
		pending->request = NULL;
		pending->api = NULL;
	}
	if (api->http)
		evhttp_free(api->http);
	guard_close(api);
	unlink(api->config->api_socket);
	free(api);
}
