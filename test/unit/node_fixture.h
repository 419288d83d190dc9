/*
 * node_fixture.h: two whole nodes in one loop over loopback, for test_node*.c. Each program uses a part.
 */
#ifndef CPD_TEST_NODE_FIXTURE_H
#define CPD_TEST_NODE_FIXTURE_H

#pragma GCC diagnostic ignored "-Wunused-function"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <errno.h>
#include <netinet/in.h>

#include <cmocka.h>

#include "crypto/region.h"
#include "daemon/log.h"
#include "daemon/node_internal.h"
#include "proto/tree.h"
#include "store/internal.h"
/* store/internal.h has a struct of that name too. */
#define scratch test_scratch
#include "test/unit/scratch.h"
#undef scratch

#define NSP 344003u
#define DESK 900u
#define PATIENCE_MS 20000

static struct event_base *base;
static struct event *ticker;
static struct node *nodes[2];
static struct config configs[2];
static struct config_link links[2];
static struct relay_route routes[2];
static uint8_t update_record[LIMIT_UPDATE_RECORD];
static size_t update_len;
static char problem[256];

static void tick(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
}

/* Waits for a condition, with a bound. */
#define UNTIL(condition) do { \
	int64_t end_ = clock_ms() + PATIENCE_MS; \
	while (!(condition)) { \
		if (clock_ms() > end_) \
			fail_msg("not in time: %s", #condition); \
		event_base_loop(base, EVLOOP_ONCE); \
	} \
} while (0)

static int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void run_ms(int64_t ms)
{
	for (int64_t end = clock_ms() + ms; clock_ms() < end;)
		event_base_loop(base, EVLOOP_ONCE);
}

static void seed_store(const char *path)
{
	const struct store_options options = { .path = path, .hash = crypto_digest };
	struct store_key key = store_key_number(1);
	struct store_batch *batch = store_batch_new(1);
	struct store *store;
	const char *why;

	assert_int_equal(store_open(&options, &store, &why), CPD_OK);
	assert_int_equal(store_batch_put(batch, TABLE_DIRECTORY, &key, (struct slice){ update_record, update_len }), CPD_OK);
	assert_int_equal(store_commit_now(store, batch), CPD_OK);
	store_close(store);
}

static uint16_t free_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	close(fd);
	return ntohs(address.sin_port);
}

static void configure(int which, uint32_t number, enum node_role role, uint32_t other, uint16_t port)
{
	struct config *config = &configs[which];

	memset(config, 0, sizeof(*config));
	config->number = number;
	config->role = role;
	snprintf(config->identity, sizeof(config->identity), "%u-identity", number);
	snprintf(config->store, sizeof(config->store), "%u-store", number);
	strcpy(config->state, ".");
	config->store_limit_mib = 64;
	strcpy(config->clock_quality, "ntp");
	config->time_scale = 1;
	relay_config_init(&config->timers);
	for (int p = 0; p < PRECEDENCE_COUNT; p++)
		config->timers.retry_ms[p] = 3000;
	config->timers.refusal_wait_ms = 300;
	memset(&links[which], 0, sizeof(links[which]));
	links[which].node = other;
	strcpy(links[which].profile, "ip");
	if (which)
		snprintf(config->listen, sizeof(config->listen), "tcp://127.0.0.1:%u", port);
	else
		snprintf(links[which].address, sizeof(links[which].address), "tcp://127.0.0.1:%u", port);
	routes[which] = (struct relay_route){ .via = { other }, .via_count = 1 };
	config->links = &links[which];
	config->link_count = 1;
	config->routes = &routes[which];
	config->route_count = 1;
}

static void start(int which)
{
	if (node_open(base, &configs[which], &nodes[which], problem))
		fail_msg("%s", problem);
}

static void stop(int which)
{
	node_close(nodes[which]);
	nodes[which] = NULL;
}

static bool is_linked(int which)
{
	struct node_link_status status;

	return nodes[which] && node_links(nodes[which], &status, 1) == 1 && status.is_up;
}

static int setup(void **state)
{
	const uint32_t numbers[2] = { NSP, DESK };
	const enum node_role roles[2] = { ROLE_ID_NSP, ROLE_ID_DESK };
	struct region_anchor names = { .network = "test", .region = "VR99", .name = "Proefregio" };
	struct certificate certificates[2];
	struct directory_update update = { .number = 1, .created_s = 1, .certificates = certificates, .certificate_count = 2 };
	struct timeval period = { 0, 20000 };
	struct authority *authority;
	uint16_t port = free_port();

	if (scratch_make(state) || crypto_start())
		return -1;
	log_start(getenv("VERBOSE") ? LOG_DEBUG : LOG_EMERG);
	memset(certificates, 0, sizeof(certificates));
	assert_int_equal(authority_create("authority", &names, (struct slice){ NULL, 0 }, &authority), CPD_OK);
	for (int i = 0; i < 2; i++) {
		struct identity *identity;

		configure(i, numbers[i], roles[i], numbers[!i], port);
		assert_int_equal(identity_create(configs[i].identity, numbers[i], &identity), CPD_OK);
		certificates[i] = (struct certificate){ .node = numbers[i], .role = roles[i], .key_number = 1 };
		snprintf(certificates[i].name, sizeof(certificates[i].name), "node %u", numbers[i]);
		identity_public_keys(identity, &certificates[i]);
		assert_int_equal(identity_install(identity, numbers[i], 1, authority_anchor(authority)), CPD_OK);
		identity_free(identity);
	}
	assert_int_equal(region_make_update(authority, &update, update_record, &update_len), CPD_OK);
	authority_free(authority);
	base = event_base_new();
	ticker = event_new(base, -1, EV_PERSIST, tick, NULL);
	event_add(ticker, &period);
	for (int i = 0; i < 2; i++) {
		seed_store(configs[i].store);
		start(i);
	}
	UNTIL(is_linked(0) && is_linked(1));
	return 0;
}

static int teardown(void **state)
{
	for (int i = 0; i < 2; i++)
		stop(i);
	event_free(ticker);
	event_base_free(base);
	return scratch_remove(state);
}

/* ---------------------------------------------------------------- authoring */

struct answer { int calls; enum cpd_error error; struct message_id id; bool existing; bool was_stored; int node; };

static bool holds(int which, enum store_table table, const struct message_id *id)
{
	struct store_key key = store_key_id(id);
	uint8_t *value;
	size_t len;

	if (store_get(node_store(nodes[which]), table, &key, &value, &len))
		return false;
	free(value);
	return true;
}

static void answered(void *context, enum cpd_error error, const char *why, const struct message_id *id, bool existing)
{
	struct answer *answer = context;

	assert_non_null(why);
	answer->calls++;
	answer->error = error;
	answer->id = *id;
	answer->existing = existing;
	answer->was_stored = !error && holds(answer->node, TABLE_CUSTODY, id) && holds(answer->node, TABLE_ENVELOPES, id);
}

static void author_as(enum precedence precedence, int from, uint32_t to, struct slice body, message_kind kind, const char *key,
    struct answer *answer)
{
	struct author_request request = { .kind = kind, .body = body, .nodes = { to }, .node_count = 1, .mode = MODE_TEST,
		.has_precedence = true, .precedence = precedence };

	if (key) {
		request.key_len = strlen(key);
		memcpy(request.key, key, request.key_len);
	}
	*answer = (struct answer){ .node = from };
	node_author(nodes[from], &request, answered, answer);
	assert_int_equal(answer->calls, 0);
}

static void author(int from, uint32_t to, struct slice body, message_kind kind, const char *key, struct answer *answer)
{
	author_as(PRECEDENCE_ROUTINE, from, to, body, kind, key, answer);
}

/* Text { text: "..." } */
static struct slice text(const char *words)
{
	static uint8_t buf[64];

	buf[0] = 0x0a;
	buf[1] = (uint8_t)strlen(words);
	memcpy(buf + 2, words, strlen(words));
	return (struct slice){ buf, strlen(words) + 2 };
}

static bool has_level(int which, const struct message_id *id, uint32_t recipient, enum level level)
{
	struct store_key key = store_key_id(id);
	struct custody custody;
	uint8_t *value;
	size_t len;
	bool has = false;

	if (store_get(node_store(nodes[which]), TABLE_CUSTODY, &key, &value, &len))
		return false;
	if (!custody_decode((struct slice){ value, len }, &custody)) {
		const struct recipient *found = custody_recipient(&custody, recipient);
		has = found && found->level == level;
	}
	custody_clear(&custody);
	free(value);
	return has;
}


static void send_and_wait(int from, uint32_t to, const char *words, struct answer *answer)
{
	author(from, to, text(words), 6, NULL, answer);
	UNTIL(answer->calls);
	assert_int_equal(answer->error, CPD_OK);
	UNTIL(has_level(from, &answer->id, to, LEVEL_DELIVERED));
}

static void copy_store(const char *from, const char *to)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -rf '%.80s' && cp -a '%.80s' '%.80s'", to, from, to);
	assert_int_equal(system(command), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
