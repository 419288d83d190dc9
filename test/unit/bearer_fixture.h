/*
 * bearer_fixture.h: bearers on loopback in one process and one event loop, and raw ZeroMQ peers that need not
 * keep the rules. Every wait has a bound; no callback may come while a bearer_* call is under way. Included by
 * the tests of bearer_zmq.
 */
#ifndef CPD_TEST_BEARER_FIXTURE_H
#define CPD_TEST_BEARER_FIXTURE_H

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zmq.h>

#include "crypto/crypto.h"
#include "daemon/bearer_zmq.h"
#include "daemon/clock.h"
#include "daemon/log.h"

#define BOUND_MS 10000
#define PEERS 256

struct key { uint8_t public_key[32], secret_key[32]; };

struct peer { uint64_t session; uint32_t node; bool is_up; };

/* One bearer with what it was told. */
struct side {
	struct bearer_zmq *bearer;
	struct key key;
	struct { uint8_t key[32]; uint32_t node; } roster[PEERS];
	size_t roster_count;
	struct peer last;                  /* the session told last */
	unsigned ups, downs, frames, writables, live;
	unsigned strangers;                /* ups with node 0 */
	uint64_t down_session;
	size_t bytes;
	uint8_t text[64]; size_t text_len; /* the last frame, cut off */
	bool echoes;                       /* sends each frame back */
	bool ends_at_frame;
	uint64_t order;                    /* of ups and downs, as digits: 1 up, 2 down */
};

static struct event_base *base;
static bool is_inside;                     /* a bearer_* call is under way: no callback may come */
static bool is_expired;
static struct event *bound;

#define CALL(statement) do { is_inside = true; statement; is_inside = false; } while (0)
#define WAIT(condition) do { start_waiting(BOUND_MS); \
	while (!(condition) && !is_expired) event_base_loop(base, EVLOOP_ONCE); \
	assert_true(condition); } while (0)

static inline void on_bound(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
	is_expired = true;
}

static inline void start_waiting(int ms)
{
	struct timeval when = { ms / 1000, (ms % 1000) * 1000 };

	is_expired = false;
	event_add(bound, &when);
}

/* Lets the loop run for a while in which nothing should happen, or between two things. */
static inline void quiet(int ms)
{
	start_waiting(ms);
	while (!is_expired)
		event_base_loop(base, EVLOOP_ONCE);
}

static inline struct key key_new(void)
{
	char public_text[41], secret_text[41];
	struct key key;

	assert_int_equal(zmq_curve_keypair(public_text, secret_text), 0);
	assert_non_null(zmq_z85_decode(key.public_key, public_text));
	assert_non_null(zmq_z85_decode(key.secret_key, secret_text));
	return key;
}

/* ---------------------------------------------------------------- what the node is told */
static inline uint32_t roster(void *context, const uint8_t key[32])
{
	struct side *side = context;

	for (size_t i = 0; i < side->roster_count; i++) {
		if (memcmp(side->roster[i].key, key, 32) == 0)
			return side->roster[i].node;
	}
	return 0;
}

static inline void know(struct side *side, const struct key *key, uint32_t node)
{
	for (size_t i = 0; i < side->roster_count; i++) {
		if (memcmp(side->roster[i].key, key->public_key, 32) == 0) {
			side->roster[i].node = node;
			return;
		}
	}
	assert_true(side->roster_count < PEERS);
	memcpy(side->roster[side->roster_count].key, key->public_key, 32);
	side->roster[side->roster_count++].node = node;
}

static inline void up(void *context, uint32_t node, uint64_t session)
{
	struct side *side = context;

	assert_false(is_inside);
	side->last = (struct peer){ session, node, true };
	side->ups++;
	side->live++;
	side->strangers += node == 0;
	side->order = side->order * 10 + 1;
}

static inline void frame(void *context, uint32_t node, uint64_t session, struct slice bytes)
{
	struct side *side = context;

	(void)node;
	assert_false(is_inside);
	side->frames++;
	side->bytes += bytes.len;
	side->text_len = bytes.len < sizeof(side->text) ? bytes.len : sizeof(side->text);
	memcpy(side->text, bytes.data, side->text_len);
	if (side->echoes) {
		enum cpd_error error;

		CALL(error = bearer_zmq_send(side->bearer, session, bytes));
		assert_true(error == CPD_OK || error == CPD_ERR_BUSY);
	}
	if (side->ends_at_frame)
		CALL(bearer_zmq_end(side->bearer, session, "a test"));
}

static inline void writable(void *context, uint32_t node, uint64_t session)
{
	struct side *side = context;

	(void)node;
	(void)session;
	assert_false(is_inside);
	side->writables++;
}

static inline void down(void *context, uint32_t node, uint64_t session, const char *why)
{
	struct side *side = context;

	(void)node;
	assert_false(is_inside);
	assert_true(why[0] != '\0');
	side->downs++;
	side->live--;
	side->down_session = session;
	side->order = side->order * 10 + 2;
	if (side->last.session == session)
		side->last.is_up = false;
}

static inline void side_open(struct side *side, const char *listen)
{
	struct bearer_options options = { .base = base, .listen = listen, .listen_fd = -1,
		.events = { side, roster, up, frame, writable, down } };
	char problem[256];

	memcpy(options.public_key, side->key.public_key, 32);
	memcpy(options.secret_key, side->key.secret_key, 32);
	if (bearer_zmq_open(&options, &side->bearer, problem) != CPD_OK)
		fail_msg("%s", problem);
}

static inline struct side *side_new(const char *listen)
{
	struct side *side = calloc(1, sizeof(*side));

	assert_non_null(side);
	side->key = key_new();
	side_open(side, listen);
	return side;
}

static inline void side_free(struct side *side)
{
	bearer_zmq_close(side->bearer);
	free(side);
}

/* ---------------------------------------------------------------- pairs and raw peers */
struct pair { struct side *cp, *nsp; };

static inline void call_cp(struct side *nsp, const struct side *cp)
{
	char address[64];

	snprintf(address, sizeof(address), "tcp://127.0.0.1:%u", bearer_zmq_port(cp->bearer));
	assert_int_equal(bearer_zmq_call(nsp->bearer, 901, address, cp->key.public_key), CPD_OK);
}

/* 901 listens, 344003 calls; both know each other. */
static inline struct pair pair_new(void)
{
	struct pair pair = { side_new("tcp://127.0.0.1:0"), side_new(NULL) };

	assert_true(bearer_zmq_port(pair.cp->bearer) > 0);
	know(pair.cp, &pair.nsp->key, 344003);
	know(pair.nsp, &pair.cp->key, 901);
	return pair;
}

static inline void pair_free(struct pair *pair)
{
	side_free(pair->nsp);
	side_free(pair->cp);
}

static inline enum cpd_error say(struct side *side, const char *text)
{
	enum cpd_error error;

	CALL(error = bearer_zmq_send(side->bearer, side->last.session, (struct slice){ (const uint8_t *)text, strlen(text) }));
	return error;
}

static inline bool heard(const struct side *side, const char *text)
{
	return side->text_len == strlen(text) && memcmp(side->text, text, side->text_len) == 0;
}

static inline void meet(struct pair *pair)
{
	call_cp(pair->nsp, pair->cp);
	WAIT(pair->nsp->last.is_up);
	assert_int_equal(pair->nsp->last.node, 901);
	assert_int_equal(say(pair->nsp, "hello"), CPD_OK);
	WAIT(pair->cp->frames == 1);
	assert_int_equal(pair->cp->ups, 1);
	assert_int_equal(pair->cp->last.node, 344003);
}

static inline void *raw_new(void *zmq, const struct side *cp, const struct key *key)
{
	void *socket = zmq_socket(zmq, ZMQ_DEALER);
	char address[64];
	int zero = 0;

	assert_non_null(socket);
	snprintf(address, sizeof(address), "tcp://127.0.0.1:%u", bearer_zmq_port(cp->bearer));
	assert_int_equal(zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof(zero)), 0);
	assert_int_equal(zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, cp->key.public_key, 32), 0);
	assert_int_equal(zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, key->public_key, 32), 0);
	assert_int_equal(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, key->secret_key, 32), 0);
	assert_int_equal(zmq_connect(socket, address), 0);
	return socket;
}

static inline int start(void **state)
{
	(void)state;
	log_start(LOG_EMERG);
	if (crypto_start() != CPD_OK)
		return -1;
	base = event_base_new();
	bound = base ? evtimer_new(base, on_bound, NULL) : NULL;
	return bound ? 0 : -1;
}

static inline int stop(void **state)
{
	(void)state;
	event_free(bound);
	event_base_free(base);
	return 0;
}

#endif
