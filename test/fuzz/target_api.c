/*
 * target_api.c: the HTTP API of a whole node, over its Unix socket: request lines, paths, queries, headers, JSON orders,
 * directory updates, callers that stop halfway. The node is 344003 of the vectors, alone, with a store in memory.
 *
 * Every answer that says it is JSON is JSON, and what is refused says why.
 */
#include "test/fuzz/targets.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "daemon/api_internal.h"
#include "daemon/log.h"
#include "test/fuzz/vectors.h"

#define RUNS_A_NODE 2000       /* then a new one, with an empty store */
#define PATIENCE_MS 400        /* for an order to come on disk */

static struct event_base *base;
static struct event *ticker;
static struct config config;
static struct node *node;
static struct api *api;
static unsigned runs;

static void tick(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
}

static int64_t clock_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void seed_store(void)
{
	const struct store_options options = { .path = config.store, .hash = crypto_digest };
	const struct store_key key = store_key_number(1);
	struct store_batch *batch = store_batch_new(1);
	struct store *store;
	const char *problem;

	files_empty(config.store);
	FUZZ_CHECK(batch && !store_open(&options, &store, &problem));
	FUZZ_CHECK(!store_batch_put(batch, TABLE_DIRECTORY, &key, seed_named("directory-update-record")));
	FUZZ_CHECK(!store_commit_now(store, batch));
	store_close(store);
}

static void start(void)
{
	const struct timeval period = { 0, 5000 };
	char problem[512] = "";

	if (!base) {
		signal(SIGPIPE, SIG_IGN);
		log_start(LOG_EMERG);
		config.number = 344003;
		config.role = ROLE_ID_NSP;
		config.store_limit_mib = 64;
		config.time_scale = 1;
		config.log_level = LOG_EMERG;
		strcpy(config.clock_quality, "ntp");
		relay_config_init(&config.timers);
		snprintf(config.identity, sizeof(config.identity), "%s", vector_identity_folder("344003"));
		snprintf(config.store, sizeof(config.store), "%s", files_path("api-store"));
		snprintf(config.api_socket, sizeof(config.api_socket), "%s", files_path("api.sock"));
		base = event_base_new();
		ticker = base ? event_new(base, -1, EV_PERSIST, tick, NULL) : NULL;
		FUZZ_CHECK(ticker && !event_add(ticker, &period));
	}
	seed_store();
	if (node_open(base, &config, &node, problem) || api_open(base, node, &config, &api, problem)) {
		fprintf(stderr, "%s\n", problem);
		FUZZ_CHECK(!"the node does not start");
	}
}

static void stop(void)
{
	api_close(api);
	node_close(node);
	api = NULL;
	node = NULL;
}

/* ---------------------------------------------------------------- one caller */

struct answer { char bytes[256 * 1024]; size_t len; bool is_ended; };

/* True: something came. */
static bool receive(int fd, struct answer *answer)
{
	ssize_t got;

	if (answer->is_ended || answer->len == sizeof(answer->bytes) - 1)
		return false;
	got = recv(fd, answer->bytes + answer->len, sizeof(answer->bytes) - 1 - answer->len, MSG_DONTWAIT);
	answer->is_ended = got == 0 || (got < 0 && errno != EAGAIN);
	if (got > 0)
		answer->len += (size_t)got;
	answer->bytes[answer->len] = '\0';
	return got > 0;
}

static bool is_busy(void)
{
	return api->pending || api->check || api->backup;
}

/* Until nothing moves. */
static void pump(int fd, struct answer *answer)
{
	const int64_t end = clock_now_ms() + PATIENCE_MS;

	for (unsigned quiet = 0; quiet < 3 && !answer->is_ended; quiet++) {
		event_base_loop(base, is_busy() ? EVLOOP_ONCE : EVLOOP_NONBLOCK);
		if (receive(fd, answer) || (is_busy() && clock_now_ms() < end))
			quiet = 0;
	}
	FUZZ_CHECK(!node_has_failed(node));
}

/* The first answer; on one connection there may be several. */
static void check_answer(struct answer *answer)
{
	char *body = strstr(answer->bytes, "\r\n\r\n"), *length = strcasestr(answer->bytes, "\r\nContent-Length: ");
	json_t *json, *error;
	long status;

	if (!body || strncmp(answer->bytes, "HTTP/1.", 7) || !length || length > body)
		return;
	status = strtol(answer->bytes + 9, NULL, 10);
	FUZZ_CHECK(status == 200 || status == 201 || (status >= 400 && status < 500) || status == 501 || status == 503);
	*body = '\0';
	if (!strcasestr(answer->bytes, "Content-Type: application/json"))
		return;
	body += 4;
	if (strtoul(length + 18, NULL, 10) > answer->len - (size_t)(body - answer->bytes))
		return;
	json = json_loadb(body, strtoul(length + 18, NULL, 10), 0, NULL);
	FUZZ_CHECK(json);
	error = json_object_get(json, "error");
	FUZZ_CHECK((status >= 400) == (error != NULL));
	if (error) {
		FUZZ_CHECK(json_string_length(json_object_get(error, "code")) && json_string_length(json_object_get(error, "message")));
		FUZZ_CHECK(status < 400 || status == 404 || json_string_value(json_object_get(error, "code")));
	}
	json_decref(json);
}

static int call(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%.107s", config.api_socket);
	FUZZ_CHECK(fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address)));
	return fd;
}

/* First byte: 1: the caller sends in two parts; 2: it stops sending before it reads; 4: it goes without reading. */
void run_http(struct slice input)
{
	static struct answer answer;
	const unsigned how = (unsigned)input_number(&input, 1);
	struct slice first = how & 1 ? input_bytes(&input, input.len / 2) : input_bytes(&input, input.len);
	int fd;

	if (!api)
		start();
	fd = call();
	answer.len = 0;
	answer.is_ended = false;
	answer.bytes[0] = '\0';
	(void)!send(fd, first.data, first.len, MSG_NOSIGNAL);
	if (how & 1) {
		event_base_loop(base, EVLOOP_NONBLOCK);
		(void)!send(fd, input.data, input.len, MSG_NOSIGNAL);
	}
	if (how & 2)
		shutdown(fd, SHUT_WR);
	if (!(how & 4))
		pump(fd, &answer);
	close(fd);
	for (int i = 0; i < 3; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	check_answer(&answer);
	if (++runs % RUNS_A_NODE == 0)
		stop();
}

/* ---------------------------------------------------------------- seeds */

static void add_text(fuzz_add *add, void *context, uint8_t how, const char *head, struct slice body)
{
	static uint8_t bytes[8192];
	int len = snprintf((char *)bytes + 1, sizeof(bytes) - 1, "%s\r\n\r\n", head);

	if (body.len)
		len = snprintf((char *)bytes + 1, sizeof(bytes) - 1, "%s\r\nContent-Length: %zu\r\n\r\n", head, body.len);
	FUZZ_CHECK(len > 0 && (size_t)len + body.len + 1 <= sizeof(bytes));
	bytes[0] = how;
	if (body.len)
		memcpy(bytes + 1 + len, body.data, body.len);
	add(context, (struct slice){ bytes, 1 + (size_t)len + body.len });
}

void seeds_http(fuzz_add *add, void *context)
{
	static const char *const asked[] = { "", "/status", "/inbox?after=3&limit=2&unread=1", "/outbox?after=344003/3/1&limit=5", "/queue?after=901/FLASH/1&limit=9&link=0",
		"/directory", "/self", "/messages/344003/3/1", "/messages/344003/3/1/trace", "/events", "/backup", "/check", "/nothing", "/inbox?limit=0", "/messages/x" };
	static const char *const acts[] = { "read", "accept", "refuse", "done", "withdraw", "hold", "release" };
	const char *json = "{\"remark\":\"kan niet\"}";
	char head[512], order[2048];

	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		snprintf(head, sizeof(head), "GET /v1%s HTTP/1.1\r\nHost: cpd%s", asked[i], i == 9 ? "\r\nLast-Event-ID: 1" : "");
		add_text(add, context, 0, head, (struct slice){ NULL, 0 });
	}
	add_text(add, context, 0, "GET /metrics HTTP/1.0", (struct slice){ NULL, 0 });
	add_text(add, context, 2, "GET /healthz HTTP/1.1", (struct slice){ NULL, 0 });
	add_text(add, context, 4, "DELETE /v1/status HTTP/1.1", (struct slice){ NULL, 0 });
	for (const struct seed_body *body = seed_bodies; body->kind; body++) {
		snprintf(order, sizeof(order), "{\"kind\":\"%s\",\"to\":[901,\"group:1\",\"alle-nsp\"],\"body\":%s,\"precedence\":\"FLASH\",\"mode\":\"TEST\",\"lifetime_s\":3600,"
		    "\"closing_level\":\"READ\",\"author\":\"coordinator\",\"entry\":\"voice\",\"supersedes\":null,\"in_reply_to\":\"901/1/7\"}", body->kind, body->json);
		snprintf(head, sizeof(head), "POST /v1/messages HTTP/1.1\r\nContent-Type: application/json\r\nIdempotency-Key: k%s", body->kind);
		add_text(add, context, (uint8_t)(body - seed_bodies) & 1, head, (struct slice){ (const uint8_t *)order, strlen(order) });
	}
	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		snprintf(head, sizeof(head), "POST /v1/messages/344003/3/1/%s HTTP/1.1\r\nContent-Type: application/json", acts[i]);
		add_text(add, context, 0, head, (struct slice){ (const uint8_t *)json, strlen(json) });
	}
	add_text(add, context, 0, "POST /v1/directory HTTP/1.1\r\nContent-Type: application/octet-stream", seed_named("introduction-update-record"));
}
