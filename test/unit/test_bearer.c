/* test_bearer.c: bearers that keep the rules: frames, bursts, restarts, slow readers, many sessions. */
#include "test/unit/bearer_fixture.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(certified_peers_pass_frames_both_ways_also_after_a_pause),
		cmocka_unit_test(a_send_does_not_swallow_what_is_coming_in),
		cmocka_unit_test(a_large_burst_arrives_whole),
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
