/* test_link_session.c: sessions, restarts and epochs of a link, hostile peers, small traffic and time. */
#include "test/unit/link_pair.h"

/* ---------------------------------------------------------------- sessions */

static void cut_session_tells_what_was_held_and_what_was_not(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 300), CPD_OK);
	emit_all(&a);
	assert_int_equal(send(&a, 2, PRECEDENCE_ROUTINE, 300), CPD_OK);
	emit_all(&a);
	free(wire_take(&a.out, 0).bytes); /* 1 is lost, 2 arrives, nothing comes back */
	assert_int_equal(deliver(&a, &b, 0), CPD_OK);
	drain(&b);
	assert_int_equal(send(&a, 3, PRECEDENCE_ROUTINE, 300), CPD_OK); /* never sent */
	cut();
	assert_int_equal(a.fate[3], UNSENT);
	assert_int_equal(a.fate[1], UNDER_WAY);
	reconnect();
	assert_int_equal(a.fate[1], UNSENT);
	assert_int_equal(a.fate[2], PASSED);
	assert_int_equal(a.returned, 2);
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 300), CPD_OK);
	settle_down();
	pass_ms(20);
	assert_int_equal(a.fate[1], PASSED);
	assert_int_equal(b.gaps, 1); /* of the first session */
}

/* A serial voided by the peer's hello was never held: our own hello may not claim it. */
static void hello_does_not_claim_what_the_peers_hello_voids(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 300), CPD_OK);
	emit_all(&a);
	cut();
	connect_side(&a);
	connect_side(&b);
	emit_all(&a);
	assert_int_equal(deliver(&a, &b, 0), CPD_OK); /* before b's own hello left */
	settle_down();
	assert_int_equal(a.fate[1], UNSENT);
}

static void either_side_restarts_with_its_stored_circuit(void **state)
{
	(void)state;
	pass_some(1, 5);
	cut();
	restart(&b);
	reconnect();
	pass_some(6, 2);
	assert_int_equal(b.last_serial & 0xffff, 7);
	cut();
	restart(&a);
	reconnect();
	assert_int_equal(a.hello.received, 7);
	pass_some(8, 2);
	assert_int_equal(b.last_serial & 0xffff, 9);
	cut();
	restart(&a);
	restart(&b);
	reconnect();
	pass_some(10, 2);
	assert_int_equal(b.last_serial & 0xffff, 11);
	assert_int_equal(a.rolled_back + b.rolled_back, 0);
	assert_int_equal(b.gaps, 0);
}

static void new_epoch_starts_serials_again(void **state)
{
	struct link_circuit circuit;

	(void)state;
	pass_some(1, 5);
	cut();
	link_set_epoch(b.link, 2);
	reconnect();
	assert_int_equal(a.hello.epoch, 2);
	pass_some(6, 1);
	assert_int_equal(b.last_serial & 0xffff, 1);
	link_circuit(b.link, &circuit);
	assert_int_equal(circuit.self_epoch, 2);
	cut();
	a.config.self_epoch = 7;
	restart(&a);
	reconnect();
	pass_some(7, 2);
	assert_int_equal(b.last_serial & 0xffff, 2);
	link_circuit(b.link, &circuit);
	assert_int_equal(circuit.peer_epoch, 7);
	assert_int_equal(a.rolled_back + b.rolled_back, 0);
}

static void rolled_back_peer_is_noticed(void **state)
{
	struct link_circuit old;

	(void)state;
	pass_some(1, 2);
	old = b.stored;
	pass_some(3, 2);
	cut();
	b.stored = old;
	restart(&b);
	reconnect();
	assert_int_equal(a.rolled_back, 1);
	assert_int_equal(b.rolled_back, 0);
	pass_some(5, 2);
	cut();
	reconnect();
	assert_int_equal(a.rolled_back, 1); /* said once */
}

static void peer_that_lost_its_circuit_within_its_epoch_is_still_understood(void **state)
{
	(void)state;
	pass_some(1, 150);
	pass_some(151, 150);
	cut();
	memset(&b.stored, 0, sizeof(b.stored));
	restart(&b);
	reconnect();
	assert_int_equal(a.rolled_back, 1);
	pass_some(301, 2);
}

/* ---------------------------------------------------------------- hostile peers */

static struct frame hello_frame(void)
{
	struct frame frame = { .has = FRAME_HELLO };

	frame.hello = (struct frame_hello){ .version = 1, .version_min = 1, .epoch = 1, .clock_ms = -1 };
	return frame;
}

static void breach_of_a_rule_ends_the_session(void **state)
{
	const struct message_id id = { 9, 1, 1 };
	struct frame type_changed = piece_frame(1, PRECEDENCE_ROUTINE, 100, 10, 10);
	const struct { const char *what; struct frame first, second; } breaches[] = {
		{ "second hello", { 0 }, hello_frame() },
		{ "window", { 0 }, piece_frame(LIMIT_UNACKED + 1, PRECEDENCE_ROUTINE, 100, 0, 100) },
		{ "bulk credit", { 0 }, piece_frame(1, PRECEDENCE_ROUTINE, LIMIT_ITEM, 0, 5000) },
		{ "bulk credit by offset", { 0 }, piece_frame(1, PRECEDENCE_ROUTINE, LIMIT_ITEM, LIMIT_ITEM - 10, 10) },
		{ "precedence changed", piece_frame(1, PRECEDENCE_ROUTINE, 100, 0, 10), piece_frame(1, PRECEDENCE_PRIORITY, 100, 10, 10) },
		{ "total changed", piece_frame(1, PRECEDENCE_ROUTINE, 100, 0, 10), piece_frame(1, PRECEDENCE_ROUTINE, 101, 10, 10) },
		{ "type changed", piece_frame(1, PRECEDENCE_ROUTINE, 100, 0, 10), type_changed },
		{ "ack of nothing", { 0 }, { .has = FRAME_ACK, .ack_received = 1 } },
		{ "ack bit of nothing", { 0 }, { .has = FRAME_ACK, .ack_bitmap = { { 1 }, 1 } } },
		{ "refusal of nothing", { 0 }, { .has = FRAME_REFUSAL, .refusal = { 1, REFUSED_FULL } } },
		{ "want of nothing", { 0 }, { .has = FRAME_WANT, .want = { 1, id, { NULL, 0 } } } },
		{ "late introduction", { 0 }, { .has = FRAME_INTRODUCTION, .introduction = { (const uint8_t *)"x", 1 } } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(breaches) / sizeof(breaches[0]); i++) {
		struct frame second = breaches[i].second;

		if (strcmp(breaches[i].what, "type changed") == 0)
			second.data.type = ITEM_TYPE_LEAF;
		close_both(NULL);
		open_both(&link_profile_thin);
		if (breaches[i].first.has)
			assert_int_equal(forge(&breaches[i].first), CPD_OK);
		if (forge(&second) != CPD_ERR_PROTOCOL)
			fail_msg("%s is let through", breaches[i].what);
		assert_false(link_is_up(b.link));
		assert_int_equal(link_deadline(b.link), INT64_MAX);
		assert_int_equal(emit(&b), 0);
	}
}

static void other_version_and_data_before_hello_are_refused(void **state)
{
	struct frame hello = hello_frame(), data = piece_frame(1, PRECEDENCE_FLASH, 20, 0, 20);

	(void)state;
	cut();
	connect_side(&b);
	hello.hello.version = hello.hello.version_min = 2;
	assert_int_equal(forge(&hello), CPD_ERR_VERSION);
	connect_side(&b);
	emit_all(&b);
	assert_int_equal(forge(&data), CPD_ERR_PROTOCOL);
	connect_side(&b);
	hello.hello.version_min = 1; /* speaks ours too */
	assert_int_equal(forge(&hello), CPD_OK);
}

static void mutated_frames_never_crash(void **state)
{
	uint8_t buf[LIMIT_FRAME];
	uint32_t sent = 0;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		if (!link_is_up(a.link) || !link_is_up(b.link)) {
			close_both(NULL); /* what was said under mutation binds neither to the other */
			now = 0;
			side_open(&a, 1, 2, &link_profile_ip);
			side_open(&b, 2, 1, &link_profile_ip);
			connect_side(&a);
			connect_side(&b);
			settle_down();
			b.holds_settling = true;
		}
		sent = (sent + 1) % ITEMS;
		(void)!send(&a, sent, (enum precedence)chance(4), 8 + chance(600));
		emit_all(&a);
		while (a.out.count) {
			struct parcel parcel = wire_take(&a.out, 0);
			struct link_event event;
			enum cpd_error err;

			memcpy(buf, parcel.bytes, parcel.len);
			for (uint32_t i = chance(4); i > 0; i--)
				buf[chance((uint32_t)(parcel.len < 24 ? parcel.len : 24))] = (uint8_t)chance(256);
			err = link_receive(b.link, (struct slice){ buf, chance(20) ? parcel.len : parcel.len / 2 }, now);
			free(parcel.bytes);
			assert_true(err == CPD_OK || !link_is_up(b.link));
			while (link_next_event(b.link, &event))
				if (event.type == LINK_EVENT_ITEM)
					link_settle(b.link, event.serial, chance(4) ? REFUSED_NONE : REFUSED_BUSY, 1);
			link_committed(b.link, (uint64_t)round);
		}
		emit_all(&b);
		while (b.out.count) {
			struct link_event event;

			(void)!deliver(&b, &a, 0);
			while (link_next_event(a.link, &event))
				;
		}
	}
}

static void memory_that_runs_out_ends_the_session_cleanly(void **state)
{
	(void)state;
	if (!alloc_fault_works)
		skip();
	for (unsigned long fail_at = 1; fail_at < 60; fail_at++) {
		enum cpd_error err;
		bool hit;

		close_both(NULL);
		open_both(&link_profile_ip);
		assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 3000), CPD_OK);
		emit_all(&a);
		alloc_fault_arm(fail_at);
		err = link_receive(b.link, (struct slice){ a.out.parcels[0].bytes, a.out.parcels[0].len }, now);
		hit = alloc_fault_disarm();
		if (!hit) {
			assert_int_equal(err, CPD_OK);
			assert_true(fail_at > 3);
			return;
		}
		assert_int_equal(err, CPD_ERR_NOMEM);
		assert_false(link_is_up(b.link));
		cut();
		reconnect();
		assert_int_equal(a.fate[1], UNSENT);
		pass_some(1, 1);
	}
	fail();
}

/* ---------------------------------------------------------------- small traffic and time */

static void idle_link_wakes_only_for_its_keepalive(void **state)
{
	uint32_t wakes = 0, frames = 0, turns = 0;
	int64_t end = now + 10 * 60 * 1000;

	(void)state;
	pass_some(1, 1);
	pass_ms(1);
	for (;;) {
		int64_t at = link_deadline(a.link), other = link_deadline(b.link);

		now = at < other ? at : other;
		if (now >= end)
			break;
		wakes += at <= other;
		assert_true(++turns < 1000);
		tick(&a);
		tick(&b);
		emit_all(&a);
		frames += (uint32_t)a.out.count;
		settle_down();
	}
	assert_in_range(wakes, 600000 / link_profile_ip.keepalive_ms - 1, 600000 / link_profile_ip.keepalive_ms + 1);
	assert_in_range(frames, 600000 / link_profile_ip.keepalive_ms - 1, 600000 / link_profile_ip.keepalive_ms + 1);
}

/* Nobody is given up for being as silent as it may be; and a CP that is gone is noticed well within the minute in
 * which an NSP has to be on its second one. */
static void who_speaks_seldom_is_given_up_late_and_a_cp_soon(void **state)
{
	const struct link_profile *profiles[] = { &link_profile_ip, &link_profile_thin };

	(void)state;
	for (int i = 0; i < 2; i++)
		for (int self = 0; self < 2; self++)
			for (int peer = 0; peer < 2; peer++) {
				struct link_profile ours = link_profile_between(profiles[i], self, peer), theirs = link_profile_between(profiles[i], peer, self);

				assert_true(ours.keepalive_ms + 8000 <= theirs.dead_ms);
				assert_true(theirs.keepalive_ms + 8000 <= ours.dead_ms);
			}
	assert_true(link_profile_between(&link_profile_ip, true, false).dead_ms <= 50000);
	assert_true(link_profile_between(&link_profile_ip, true, false).keepalive_ms > 60000); /* its presence is word enough */
}

static void deadline_stays_honest_while_the_bearer_takes_nothing(void **state)
{
	(void)state;
	now = link_deadline(a.link);
	tick(&a); /* the keepalive is due, but the bearer is busy */
	assert_true(link_deadline(a.link) > now);
}

static void silent_peer_is_given_up(void **state)
{
	bool dead = false;

	(void)state;
	now += link_profile_ip.dead_ms - 1;
	link_tick(a.link, now, &dead);
	assert_false(dead);
	link_tick(a.link, ++now, &dead);
	assert_true(dead);
	assert_int_equal(link_deadline(a.link), INT64_MAX);
}

static void introduction_stands_alone_before_hello(void **state)
{
	static const uint8_t record[] = "certificate";

	(void)state;
	cut();
	link_send_introduction(a.link, (struct slice){ record, sizeof(record) });
	emit_all(&a);
	assert_int_equal(a.out.count, 1);
	assert_int_equal(peek(&a, 0).has, FRAME_INTRODUCTION);
	assert_int_equal(deliver(&a, &b, 0), CPD_OK);
	drain(&b);
	assert_int_equal(b.introductions, 1);
	assert_false(link_is_up(b.link));
	reconnect();
	assert_int_equal(a.ups, 2);
}

static void changed_directory_is_told(void **state)
{
	struct link_figures figures;

	(void)state;
	assert_int_equal(b.hello.directory, 3);
	link_directory_changed(a.link, 4);
	settle_down();
	assert_int_equal(b.directories, 1);
	link_figures(b.link, &figures);
	assert_int_equal(figures.peer_directory, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IP(cut_session_tells_what_was_held_and_what_was_not),
		IP(hello_does_not_claim_what_the_peers_hello_voids),
		IP(either_side_restarts_with_its_stored_circuit),
		IP(new_epoch_starts_serials_again),
		IP(rolled_back_peer_is_noticed),
		IP(peer_that_lost_its_circuit_within_its_epoch_is_still_understood),
		THIN(breach_of_a_rule_ends_the_session),
		IP(other_version_and_data_before_hello_are_refused),
		IP(mutated_frames_never_crash),
		IP(memory_that_runs_out_ends_the_session_cleanly),
		IP(idle_link_wakes_only_for_its_keepalive),
		IP(who_speaks_seldom_is_given_up_late_and_a_cp_soon),
		IP(deadline_stays_honest_while_the_bearer_takes_nothing),
		IP(silent_peer_is_given_up),
		IP(introduction_stands_alone_before_hello),
		IP(changed_directory_is_told),
	};

	return RUN_FED_AND_HUNGRY(tests);
}
