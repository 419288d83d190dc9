/* test_bearer_hostile.c: strangers, revoked keys, and peers that do not keep the rules of the bearer. */
#include "test/unit/bearer_fixture.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stranger_says_hello_and_introduces_itself_and_no_more),
		cmocka_unit_test(strangers_are_bounded_and_certified_peers_still_get_in),
		cmocka_unit_test(strangers_one_after_the_other_are_bounded_too),
		cmocka_unit_test(a_revoked_key_is_refused),
		cmocka_unit_test(a_change_of_the_roster_cuts_a_live_session),
		cmocka_unit_test(a_called_neighbour_that_is_revoked_is_cut),
		cmocka_unit_test(a_multipart_message_cuts_its_sender_and_nobody_else),
		cmocka_unit_test(one_that_chooses_its_routing_id_is_cut),
		cmocka_unit_test(a_frame_too_large_cuts_its_sender),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
