/* bearer_zmq: two bearers on loopback in one process, and raw ZeroMQ peers that do not keep the rules. */
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

static void on_bound(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
	is_expired = true;
}

static void start_waiting(int ms)
{
	struct timeval when = { ms / 1000, (ms % 1000) * 1000 };

	is_expired = false;
	event_add(bound, &when);
}

/* Lets the loop run for a while in which nothing should happen, or between two things. */
static void quiet(int ms)
{
	start_waiting(ms);
	while (!is_expired)
		event_base_loop(base, EVLOOP_ONCE);
}

static struct key key_new(void)
{
	char public_text[41], secret_text[41];
	struct key key;

	assert_int_equal(zmq_curve_keypair(public_text, secret_text), 0);
	assert_non_null(zmq_z85_decode(key.public_key, public_text));
	assert_non_null(zmq_z85_decode(key.secret_key, secret_text));
	return key;
}

/* ---------------------------------------------------------------- what the node is told */
static uint32_t roster(void *context, const uint8_t key[32])
{
	struct side *side = context;

	for (size_t i = 0; i < side->roster_count; i++) {
		if (memcmp(side->roster[i].key, key, 32) == 0)
			return side->roster[i].node;
	}
	return 0;
}

static void know(struct side *side, const struct key *key, uint32_t node)
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

static void up(void *context, uint32_t node, uint64_t session)
{
	struct side *side = context;

	assert_false(is_inside);
	side->last = (struct peer){ session, node, true };
	side->ups++;
	side->live++;
	side->strangers += node == 0;
	side->order = side->order * 10 + 1;
}

static void frame(void *context, uint32_t node, uint64_t session, struct slice bytes)
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

static void writable(void *context, uint32_t node, uint64_t session)
{
	struct side *side = context;

	(void)node;
	(void)session;
	assert_false(is_inside);
	side->writables++;
}

static void down(void *context, uint32_t node, uint64_t session, const char *why)
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

static void side_open(struct side *side, const char *listen)
{
	struct bearer_options options = { .base = base, .listen = listen, .listen_fd = -1,
		.events = { side, roster, up, frame, writable, down } };
	char problem[256];

	memcpy(options.public_key, side->key.public_key, 32);
	memcpy(options.secret_key, side->key.secret_key, 32);
	if (bearer_zmq_open(&options, &side->bearer, problem) != CPD_OK)
		fail_msg("%s", problem);
}

static struct side *side_new(const char *listen)
{
	struct side *side = calloc(1, sizeof(*side));

	assert_non_null(side);
	side->key = key_new();
	side_open(side, listen);
	return side;
}

static void side_free(struct side *side)
{
	bearer_zmq_close(side->bearer);
	free(side);
}

/* ---------------------------------------------------------------- pairs and raw peers */
struct pair { struct side *cp, *nsp; };

static void call_cp(struct side *nsp, const struct side *cp)
{
	char address[64];

	snprintf(address, sizeof(address), "tcp://127.0.0.1:%u", bearer_zmq_port(cp->bearer));
	assert_int_equal(bearer_zmq_call(nsp->bearer, 901, address, cp->key.public_key), CPD_OK);
}

/* 901 listens, 344003 calls; both know each other. */
static struct pair pair_new(void)
{
	struct pair pair = { side_new("tcp://127.0.0.1:0"), side_new(NULL) };

	assert_true(bearer_zmq_port(pair.cp->bearer) > 0);
	know(pair.cp, &pair.nsp->key, 344003);
	know(pair.nsp, &pair.cp->key, 901);
	return pair;
}

static void pair_free(struct pair *pair)
{
	side_free(pair->nsp);
	side_free(pair->cp);
}

static enum cpd_error say(struct side *side, const char *text)
{
	enum cpd_error error;

	CALL(error = bearer_zmq_send(side->bearer, side->last.session, (struct slice){ (const uint8_t *)text, strlen(text) }));
	return error;
}

static bool heard(const struct side *side, const char *text)
{
	return side->text_len == strlen(text) && memcmp(side->text, text, side->text_len) == 0;
}

static void meet(struct pair *pair)
{
	call_cp(pair->nsp, pair->cp);
	WAIT(pair->nsp->last.is_up);
	assert_int_equal(pair->nsp->last.node, 901);
	assert_int_equal(say(pair->nsp, "hello"), CPD_OK);
	WAIT(pair->cp->frames == 1);
	assert_int_equal(pair->cp->ups, 1);
	assert_int_equal(pair->cp->last.node, 344003);
}

static void *raw_new(void *zmq, const struct side *cp, const struct key *key)
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

/* ---------------------------------------------------------------- the tests */
static void certified_peers_pass_frames_both_ways_also_after_a_pause(void **state)
{
	struct pair pair = pair_new();
	char text[32];

	(void)state;
	meet(&pair);
	/* Single messages with silence between them: here a lost edge stands still for ever. */
	for (unsigned i = 0; i < 12; i++) {
		snprintf(text, sizeof(text), "up %u", i);
		assert_int_equal(say(pair.nsp, text), CPD_OK);
		WAIT(heard(pair.cp, text));
		quiet(i % 3 == 0 ? 40 : 3);
		snprintf(text, sizeof(text), "down %u", i);
		assert_int_equal(say(pair.cp, text), CPD_OK);
		WAIT(heard(pair.nsp, text));
		quiet(i % 4 == 0 ? 40 : 0);
	}
	/* Both at once: each send may eat the edge of what is coming in. */
	pair.cp->echoes = true;
	for (unsigned i = 0; i < 30; i++) {
		unsigned before = pair.nsp->frames;

		assert_int_equal(say(pair.nsp, "echo"), CPD_OK);
		assert_int_equal(say(pair.cp, "across"), CPD_OK);
		WAIT(pair.nsp->frames == before + 2);
	}
	assert_int_equal(pair.cp->ups, 1);
	assert_int_equal(pair.cp->downs + pair.nsp->downs, 0);
	pair_free(&pair);
}

/* A frame has come in, the loop does not know yet, and then we send: the send takes the notice away. */
static void a_send_does_not_swallow_what_is_coming_in(void **state)
{
	struct pair pair = pair_new();
	char text[32];

	(void)state;
	meet(&pair);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(text, sizeof(text), "down %u", i);
		assert_int_equal(say(pair.cp, text), CPD_OK);
		poll(NULL, 0, 20); /* time for ZeroMQ's threads, none for the loop */
		assert_int_equal(say(pair.nsp, "up"), CPD_OK);
		WAIT(heard(pair.nsp, text));
		quiet(5);
		snprintf(text, sizeof(text), "up %u", i);
		assert_int_equal(say(pair.nsp, text), CPD_OK);
		poll(NULL, 0, 20);
		assert_int_equal(say(pair.cp, "down"), CPD_OK);
		WAIT(heard(pair.cp, text));
		quiet(5);
		/* every second frame brings a notice of its own (room again): change which one does */
		if (i % 2 == 0)
			assert_int_equal(say(pair.cp, "odd"), CPD_OK);
		if (i % 3 == 0)
			assert_int_equal(say(pair.nsp, "odd"), CPD_OK);
		quiet(5);
	}
	pair_free(&pair);
}

static void a_large_burst_arrives_whole(void **state)
{
	struct pair pair = pair_new();
	uint8_t *large = calloc(1, LIMIT_FRAME);
	unsigned sent = 0;

	(void)state;
	meet(&pair);
	start_waiting(BOUND_MS);
	while (sent < 300 && !is_expired) {
		enum cpd_error error;

		CALL(error = bearer_zmq_send(pair.nsp->bearer, pair.nsp->last.session, (struct slice){ large, LIMIT_FRAME }));
		if (error == CPD_OK) {
			sent++;
			continue;
		}
		assert_int_equal(error, CPD_ERR_BUSY);
		{
			unsigned before = pair.nsp->writables;

			WAIT(pair.nsp->writables > before);
		}
	}
	WAIT(pair.cp->bytes == 5 + 300 * (size_t)LIMIT_FRAME);
	assert_true(pair.nsp->writables > 0);
	assert_int_equal(pair.cp->downs, 0);
	CALL(assert_int_equal(bearer_zmq_send(pair.nsp->bearer, pair.nsp->last.session, (struct slice){ large, LIMIT_FRAME + 1 }), CPD_ERR_TOO_LARGE));
	free(large);
	pair_free(&pair);
}

static void a_stranger_says_hello_and_introduces_itself_and_no_more(void **state)
{
	struct side *cp = side_new("tcp://127.0.0.1:0");
	void *zmq = zmq_ctx_new();
	struct key key = key_new();
	void *raw = raw_new(zmq, cp, &key);

	(void)state;
	zmq_send(raw, "hello", 5, 0);
	WAIT(cp->frames == 1);
	quiet(50);
	assert_int_equal(cp->live, 1);
	zmq_send(raw, "certificate", 11, 0);
	zmq_send(raw, "and more", 8, 0);
	WAIT(cp->downs == 1);
	assert_int_equal(cp->strangers, 1);
	assert_int_equal(cp->frames, 2);
	assert_true(heard(cp, "certificate"));
	zmq_close(raw);
	/* too large for an introduction: cut without being told of */
	raw = raw_new(zmq, cp, &key);
	{
		static uint8_t large[2049];
		unsigned ups = cp->ups, frames = cp->frames;

		zmq_send(raw, large, sizeof(large), 0);
		quiet(300);
		assert_int_equal(cp->ups, ups);
		assert_int_equal(cp->frames, frames);
		/* nor as its second words */
		zmq_close(raw);
		raw = raw_new(zmq, cp, &key);
		zmq_send(raw, "hello", 5, 0);
		zmq_send(raw, large, sizeof(large), 0);
		WAIT(cp->downs == 2);
		assert_int_equal(cp->frames, frames + 1);
	}
	zmq_close(raw);
	zmq_ctx_term(zmq);
	side_free(cp);
}

static void strangers_are_bounded_and_certified_peers_still_get_in(void **state)
{
	struct pair pair = pair_new();
	void *zmq = zmq_ctx_new(), *raw[30];

	(void)state;
	for (size_t i = 0; i < 30; i++) {
		struct key key = key_new();

		raw[i] = raw_new(zmq, pair.cp, &key);
		zmq_send(raw[i], "hello", 5, ZMQ_DONTWAIT);
		zmq_send(raw[i], "certificate", 11, ZMQ_DONTWAIT);
	}
	WAIT(pair.cp->strangers >= 8);
	quiet(500);
	assert_true(pair.cp->strangers <= 10);
	assert_int_equal(pair.cp->live, 0);
	pair.cp->frames = pair.cp->ups = 0;
	meet(&pair);
	for (size_t i = 0; i < 30; i++)
		zmq_close(raw[i]);
	zmq_ctx_term(zmq);
	pair_free(&pair);
}

static void strangers_one_after_the_other_are_bounded_too(void **state)
{
	struct side *cp = side_new("tcp://127.0.0.1:0");
	void *zmq = zmq_ctx_new(), *raw[16];

	(void)state;
	for (unsigned i = 0; i < 16; i++) {
		struct key key = key_new();

		raw[i] = raw_new(zmq, cp, &key);
		zmq_send(raw[i], "hello", 5, ZMQ_DONTWAIT);
		zmq_send(raw[i], "certificate", 11, ZMQ_DONTWAIT);
		if (i < 10)
			WAIT(cp->downs == i + 1);
	}
	quiet(300);
	assert_in_range(cp->strangers, 10, 11); /* one more in six seconds */
	for (unsigned i = 0; i < 16; i++)
		zmq_close(raw[i]);
	zmq_ctx_term(zmq);
	side_free(cp);
}

static void a_revoked_key_is_refused(void **state)
{
	struct pair pair = pair_new();

	(void)state;
	know(pair.cp, &pair.nsp->key, UINT32_MAX);
	call_cp(pair.nsp, pair.cp);
	quiet(700);
	assert_int_equal(pair.cp->ups, 0);
	assert_int_equal(pair.nsp->ups, 0);
	/* it keeps calling: once it is wanted, it comes */
	know(pair.cp, &pair.nsp->key, 344003);
	WAIT(pair.nsp->last.is_up);
	pair_free(&pair);
}

static void a_change_of_the_roster_cuts_a_live_session(void **state)
{
	struct pair pair = pair_new();
	unsigned frames;

	(void)state;
	meet(&pair);
	know(pair.cp, &pair.nsp->key, UINT32_MAX);
	frames = pair.cp->frames;
	assert_int_equal(say(pair.nsp, "too late"), CPD_OK);
	poll(NULL, 0, 20); /* it has come in, and is not handed over any more */
	CALL(bearer_zmq_roster_changed(pair.cp->bearer));
	WAIT(pair.cp->downs == 1 && pair.nsp->downs == 1);
	assert_int_equal(pair.cp->frames, frames);
	assert_int_equal(say(pair.cp, "gone"), CPD_ERR_NOT_FOUND);
	pair_free(&pair);
}

static void a_called_neighbour_that_is_revoked_is_cut(void **state)
{
	struct pair pair = pair_new();

	(void)state;
	meet(&pair);
	know(pair.nsp, &pair.cp->key, UINT32_MAX);
	CALL(bearer_zmq_roster_changed(pair.nsp->bearer));
	WAIT(pair.cp->downs == 1 && pair.nsp->downs == 1);
	pair_free(&pair);
}

static void a_multipart_message_cuts_its_sender_and_nobody_else(void **state)
{
	struct pair pair = pair_new();
	void *zmq = zmq_ctx_new();
	struct key key = key_new();
	void *raw = raw_new(zmq, pair.cp, &key);

	(void)state;
	meet(&pair);
	know(pair.cp, &key, 902);
	zmq_send(raw, "hello", 5, 0);
	WAIT(pair.cp->ups == 2);
	zmq_send(raw, "a", 1, ZMQ_SNDMORE);
	zmq_send(raw, "b", 1, ZMQ_SNDMORE);
	zmq_send(raw, "c", 1, 0);
	WAIT(pair.cp->downs == 1);
	assert_int_equal(pair.cp->frames, 2);
	zmq_close(raw);
	/* as its first words: never told of */
	raw = raw_new(zmq, pair.cp, &key);
	zmq_send(raw, "a", 1, ZMQ_SNDMORE);
	zmq_send(raw, "b", 1, 0);
	quiet(300);
	assert_int_equal(pair.cp->ups, 2);
	assert_int_equal(say(pair.nsp, "still here"), CPD_OK);
	WAIT(heard(pair.cp, "still here"));
	assert_true(pair.nsp->last.is_up);
	zmq_close(raw);
	zmq_ctx_term(zmq);
	pair_free(&pair);
}

static void one_that_chooses_its_routing_id_is_cut(void **state)
{
	struct side *cp = side_new("tcp://127.0.0.1:0");
	void *zmq = zmq_ctx_new(), *raw = zmq_socket(zmq, ZMQ_DEALER);
	struct key key = key_new();
	char address[64];
	int zero = 0;

	(void)state;
	know(cp, &key, 902);
	snprintf(address, sizeof(address), "tcp://127.0.0.1:%u", bearer_zmq_port(cp->bearer));
	zmq_setsockopt(raw, ZMQ_LINGER, &zero, sizeof(zero));
	zmq_setsockopt(raw, ZMQ_ROUTING_ID, "mine!", 5);
	zmq_setsockopt(raw, ZMQ_CURVE_SERVERKEY, cp->key.public_key, 32);
	zmq_setsockopt(raw, ZMQ_CURVE_PUBLICKEY, key.public_key, 32);
	zmq_setsockopt(raw, ZMQ_CURVE_SECRETKEY, key.secret_key, 32);
	assert_int_equal(zmq_connect(raw, address), 0);
	zmq_send(raw, "hello", 5, 0);
	quiet(300);
	assert_int_equal(cp->ups, 0);
	zmq_close(raw);
	zmq_ctx_term(zmq);
	side_free(cp);
}

static void a_frame_too_large_cuts_its_sender(void **state)
{
	struct side *cp = side_new("tcp://127.0.0.1:0");
	void *zmq = zmq_ctx_new();
	struct key key = key_new();
	void *raw = raw_new(zmq, cp, &key);
	uint8_t *large = calloc(1, LIMIT_FRAME + 1);

	(void)state;
	know(cp, &key, 902);
	zmq_send(raw, "hello", 5, 0);
	WAIT(cp->ups == 1);
	zmq_send(raw, large, LIMIT_FRAME + 1, 0);
	WAIT(cp->downs == 1);
	assert_int_equal(cp->frames, 1);
	free(large);
	zmq_close(raw);
	zmq_ctx_term(zmq);
	side_free(cp);
}

static void a_peer_that_restarts_gets_a_new_session(void **state)
{
	struct pair pair = pair_new();
	uint64_t first;

	(void)state;
	meet(&pair);
	first = pair.cp->last.session;
	bearer_zmq_close(pair.nsp->bearer);
	pair.nsp->last.is_up = false;
	side_open(pair.nsp, NULL);
	WAIT(pair.cp->downs == 1);
	assert_true(pair.cp->down_session == first);
	call_cp(pair.nsp, pair.cp);
	WAIT(pair.nsp->last.is_up);
	assert_int_equal(say(pair.nsp, "again"), CPD_OK);
	WAIT(heard(pair.cp, "again"));
	assert_int_equal(pair.cp->ups, 2);
	assert_true(pair.cp->last.session != first);
	assert_int_equal(say(pair.cp, "welcome"), CPD_OK);
	WAIT(heard(pair.nsp, "welcome"));
	pair_free(&pair);
}

static void a_second_call_of_a_node_takes_the_place_of_the_first(void **state)
{
	struct side *cp = side_new("tcp://127.0.0.1:0");
	void *zmq = zmq_ctx_new();
	struct key key = key_new();
	void *first = raw_new(zmq, cp, &key), *second;

	(void)state;
	know(cp, &key, 902);
	zmq_send(first, "one", 3, 0);
	WAIT(cp->ups == 1);
	second = raw_new(zmq, cp, &key);
	zmq_send(second, "two", 3, 0);
	WAIT(cp->frames == 2);
	assert_int_equal(cp->order, 121); /* down of the old one comes before up of the new one */
	assert_int_equal(cp->live, 1);
	zmq_close(first);
	zmq_close(second);
	zmq_ctx_term(zmq);
	side_free(cp);
}

static void a_server_that_restarts_is_called_again(void **state)
{
	struct pair pair = pair_new();
	char address[64];

	(void)state;
	meet(&pair);
	snprintf(address, sizeof(address), "tcp://127.0.0.1:%u", bearer_zmq_port(pair.cp->bearer));
	bearer_zmq_close(pair.cp->bearer);
	WAIT(pair.nsp->downs == 1);
	side_open(pair.cp, address);
	pair.cp->last.is_up = false;
	WAIT(pair.nsp->ups == 2);
	assert_int_equal(say(pair.nsp, "back"), CPD_OK);
	WAIT(heard(pair.cp, "back"));
	pair_free(&pair);
}

static void an_ended_session_is_told_once_and_called_again(void **state)
{
	struct pair pair = pair_new();

	(void)state;
	meet(&pair);
	CALL(bearer_zmq_end(pair.nsp->bearer, pair.nsp->last.session, "dead peer");
	     bearer_zmq_end(pair.nsp->bearer, pair.nsp->last.session, "again"));
	assert_int_equal(say(pair.nsp, "x"), CPD_ERR_NOT_FOUND);
	WAIT(pair.cp->downs == 1 && pair.nsp->downs == 1);
	WAIT(pair.nsp->ups == 2);
	assert_int_equal(pair.nsp->downs, 1);
	/* and from inside a callback, at the other side */
	pair.cp->ends_at_frame = true;
	assert_int_equal(say(pair.nsp, "hello"), CPD_OK);
	WAIT(pair.cp->downs == 2 && pair.nsp->downs == 2);
	CALL(bearer_zmq_stop_calling(pair.nsp->bearer, 901));
	quiet(50);
	assert_int_equal(pair.nsp->downs, 2);
	pair_free(&pair);
}

static void who_is_no_longer_called_goes_down_and_stays_down(void **state)
{
	struct pair pair = pair_new();

	(void)state;
	meet(&pair);
	CALL(bearer_zmq_stop_calling(pair.nsp->bearer, 901));
	WAIT(pair.nsp->downs == 1 && pair.cp->downs == 1);
	quiet(1300); /* longer than the first backoff */
	assert_int_equal(pair.nsp->ups, 1);
	call_cp(pair.nsp, pair.cp);
	assert_int_equal(bearer_zmq_call(pair.nsp->bearer, 901, "tcp://127.0.0.1:1", pair.cp->key.public_key), CPD_ERR_EXISTS);
	WAIT(pair.nsp->ups == 2);
	pair_free(&pair);
}

static void a_slow_reader_makes_busy_and_then_writable(void **state)
{
	struct side *cp = side_new("tcp://127.0.0.1:0");
	void *zmq = zmq_ctx_new();
	struct key key = key_new();
	void *raw = raw_new(zmq, cp, &key);
	uint8_t *large = calloc(1, LIMIT_FRAME);
	enum cpd_error error = CPD_OK;
	unsigned sent = 0, received = 0, busy = 0;

	(void)state;
	know(cp, &key, 902);
	zmq_send(raw, "hello", 5, 0);
	WAIT(cp->ups == 1);
	/* its reader stands still: marks of 1,000 frames at the raw end, so fill until BUSY lasts */
	while (busy < 5 && sent < 5000) {
		CALL(error = bearer_zmq_send(cp->bearer, cp->last.session, (struct slice){ large, LIMIT_FRAME }));
		if (error == CPD_OK) {
			sent++;
			busy = 0;
			continue;
		}
		assert_int_equal(error, CPD_ERR_BUSY);
		busy++;
		{
			unsigned before = cp->writables;

			WAIT(cp->writables > before);
		}
	}
	assert_int_equal(error, CPD_ERR_BUSY);
	start_waiting(BOUND_MS);
	while (received < sent + 1 && !is_expired) {
		if (zmq_recv(raw, large, LIMIT_FRAME, ZMQ_DONTWAIT) > 0)
			received++;
		else
			event_base_loop(base, EVLOOP_NONBLOCK);
		if (received == sent) {
			CALL(error = bearer_zmq_send(cp->bearer, cp->last.session, (struct slice){ large, 10 }));
			if (error == CPD_OK)
				break;
		}
	}
	assert_int_equal(error, CPD_OK);
	assert_int_equal(received, sent); /* nothing that was taken is lost */
	assert_int_equal(cp->downs, 0);
	free(large);
	zmq_close(raw);
	zmq_ctx_term(zmq);
	side_free(cp);
}

static void two_hundred_sessions_live_side_by_side(void **state)
{
	struct side *cp = side_new("tcp://127.0.0.1:0");
	void *zmq = zmq_ctx_new(), *raw[200];
	uint8_t buf[16];

	(void)state;
	cp->echoes = true;
	for (uint32_t i = 0; i < 200; i++) {
		struct key key = key_new();

		know(cp, &key, 1000 + i);
		raw[i] = raw_new(zmq, cp, &key);
		zmq_send(raw[i], &i, sizeof(i), ZMQ_DONTWAIT);
	}
	WAIT(cp->frames == 200);
	assert_int_equal(cp->live, 200);
	for (uint32_t i = 0; i < 200; i++) {
		uint32_t back;

		start_waiting(BOUND_MS);
		while (zmq_recv(raw[i], buf, sizeof(buf), ZMQ_DONTWAIT) != 4 && !is_expired)
			event_base_loop(base, EVLOOP_NONBLOCK);
		memcpy(&back, buf, sizeof(back));
		assert_int_equal(back, i); /* each its own */
	}
	for (uint32_t i = 0; i < 200; i++)
		zmq_close(raw[i]);
	WAIT(cp->live == 0);
	assert_int_equal(cp->downs, 200);
	zmq_ctx_term(zmq);
	side_free(cp);
}

static void names_and_taken_ports_are_refused_with_a_cure(void **state)
{
	struct pair pair = pair_new();
	struct bearer_options options = { .base = base, .listen_fd = -1, .events = pair.nsp->bearer ? (struct bearer_events){ pair.nsp, roster, up, frame, writable, down } : (struct bearer_events){ 0 } };
	struct bearer_zmq *bearer;
	char problem[256], address[64];

	(void)state;
	memcpy(options.public_key, pair.nsp->key.public_key, 32);
	memcpy(options.secret_key, pair.nsp->key.secret_key, 32);
	assert_int_equal(bearer_zmq_call(pair.nsp->bearer, 901, "tcp://localhost:5600", pair.cp->key.public_key), CPD_ERR_USAGE);
	options.listen = "tcp://localhost:5600";
	assert_int_equal(bearer_zmq_open(&options, &bearer, problem), CPD_ERR_USAGE);
	assert_non_null(strstr(problem, "not a numeric address"));
	snprintf(address, sizeof(address), "tcp://127.0.0.1:%u", bearer_zmq_port(pair.cp->bearer));
	options.listen = address;
	assert_int_equal(bearer_zmq_open(&options, &bearer, problem), CPD_ERR_IO);
	assert_non_null(strstr(problem, "another program"));
	assert_null(bearer);
	pair_free(&pair);
}

static int start(void **state)
{
	(void)state;
	log_start(LOG_EMERG);
	if (crypto_start() != CPD_OK)
		return -1;
	base = event_base_new();
	bound = base ? evtimer_new(base, on_bound, NULL) : NULL;
	return bound ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	event_free(bound);
	event_base_free(base);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(certified_peers_pass_frames_both_ways_also_after_a_pause),
		cmocka_unit_test(a_send_does_not_swallow_what_is_coming_in),
		cmocka_unit_test(a_large_burst_arrives_whole),
		cmocka_unit_test(a_stranger_says_hello_and_introduces_itself_and_no_more),
		cmocka_unit_test(strangers_are_bounded_and_certified_peers_still_get_in),
		cmocka_unit_test(strangers_one_after_the_other_are_bounded_too),
		cmocka_unit_test(a_revoked_key_is_refused),
		cmocka_unit_test(a_change_of_the_roster_cuts_a_live_session),
		cmocka_unit_test(a_called_neighbour_that_is_revoked_is_cut),
		cmocka_unit_test(a_multipart_message_cuts_its_sender_and_nobody_else),
		cmocka_unit_test(one_that_chooses_its_routing_id_is_cut),
		cmocka_unit_test(a_frame_too_large_cuts_its_sender),
		cmocka_unit_test(a_peer_that_restarts_gets_a_new_session),
		cmocka_unit_test(a_second_call_of_a_node_takes_the_place_of_the_first),
		cmocka_unit_test(a_server_that_restarts_is_called_again),
		cmocka_unit_test(an_ended_session_is_told_once_and_called_again),
		cmocka_unit_test(who_is_no_longer_called_goes_down_and_stays_down),
		cmocka_unit_test(a_slow_reader_makes_busy_and_then_writable),
		cmocka_unit_test(two_hundred_sessions_live_side_by_side),
		cmocka_unit_test(names_and_taken_ports_are_refused_with_a_cure),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
