/* test_link.c: custody of a hop, precedence, loss within a session, bounds and credit. */
#include "test/unit/link_pair.h"

/* ---------------------------------------------------------------- custody of a hop */

static void item_passes_and_is_acknowledged(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 500), CPD_OK);
	settle_down();
	assert_int_equal(b.raised[1], 1);
	assert_int_equal(a.fate[1], UNDER_WAY); /* the acknowledgement waits for company */
	pass_ms(20);
	assert_int_equal(a.fate[1], PASSED);
}

/* What the watchdog of a queue goes by. */
static void progress_is_what_the_peer_says_and_takes_in(void **state)
{
	struct link_progress progress;

	(void)state;
	b.holds_commits = true;
	link_progress(a.link, &progress);
	assert_false(progress.waits[PRECEDENCE_PRIORITY]);
	assert_int_equal(send(&a, 1, PRECEDENCE_PRIORITY, 12000), CPD_OK);
	link_progress(a.link, &progress);
	assert_true(progress.waits[PRECEDENCE_PRIORITY]);
	assert_true(progress.is_going[PRECEDENCE_PRIORITY]);
	assert_int_equal(progress.taken_bytes, 0);
	settle_down();
	pass_ms(1000);
	link_progress(a.link, &progress);
	assert_true(progress.waits[PRECEDENCE_PRIORITY]);
	assert_false(progress.is_going[PRECEDENCE_PRIORITY]); /* it has left whole */
	assert_true(progress.taken_bytes > 0 && progress.taken_bytes <= 12000);
	assert_int_equal(progress.answered[PRECEDENCE_PRIORITY], 0);
	assert_false(progress.waits[PRECEDENCE_FLASH]);
	assert_int_equal(send(&a, 2, PRECEDENCE_PRIORITY, 12000), CPD_OK);
	link_progress(a.link, &progress);
	assert_false(progress.is_going[PRECEDENCE_PRIORITY]); /* a newer one is: the older is no nearer to its answer for that */
	settle_down();
	commit(&b);
	pass_ms(1000);
	link_progress(a.link, &progress);
	assert_false(progress.waits[PRECEDENCE_PRIORITY]);
	assert_int_equal(progress.answered[PRECEDENCE_PRIORITY], 2);
}

#define COMPANY (LIMIT_UNACKED / 16)

/* So many are on disk: waiting for company would only slow it down. */
static void many_items_are_acknowledged_at_once(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < COMPANY - 1; i++) {
		assert_int_equal(send(&a, i, PRECEDENCE_ROUTINE, 30), CPD_OK);
		settle_down();
	}
	assert_int_equal(a.fate[0], UNDER_WAY);
	assert_int_equal(send(&a, COMPANY, PRECEDENCE_ROUTINE, 30), CPD_OK);
	settle_down();
	assert_int_equal(a.fate[0], PASSED);
	assert_int_equal(a.fate[COMPANY], PASSED);
}

static void acknowledgement_is_not_visible_before_commit(void **state)
{
	(void)state;
	b.holds_commits = true;
	assert_int_equal(send(&a, 1, PRECEDENCE_FLASH, 500), CPD_OK);
	settle_down();
	pass_ms(100);
	for (int i = 0; i < 5; i++) /* nor when it is sent again, nor in a keepalive */
		pass_ms(link_profile_ip.retransmit_ms);
	assert_int_equal(b.raised[1], 1);
	assert_int_equal(a.fate[1], UNDER_WAY);
	commit(&b);
	settle_down(); /* FLASH: at once */
	assert_int_equal(a.fate[1], PASSED);
}

static void commit_of_an_earlier_turn_acknowledges_nothing_of_a_later_one(void **state)
{
	(void)state;
	b.holds_commits = true;
	b.turn = 10;
	assert_int_equal(send(&a, 1, PRECEDENCE_FLASH, 50), CPD_OK);
	settle_down();
	b.is_on_disk[1] = 0;
	link_committed(b.link, 10);
	pass_ms(100);
	assert_int_equal(a.fate[1], UNDER_WAY);
	commit(&b);
	settle_down();
	assert_int_equal(a.fate[1], PASSED);
}

static void hello_waits_for_the_commit_of_what_is_settled(void **state)
{
	(void)state;
	b.holds_commits = true;
	assert_int_equal(send(&a, 1, PRECEDENCE_FLASH, 50), CPD_OK);
	settle_down();
	cut();
	connect_side(&b);
	assert_int_equal(emit(&b), 0);
	commit(&b);
	assert_true(emit(&b) > 0);
	assert_int_equal(peek(&b, 0).hello.received, 1);
}

static void stored_circuit_holds_what_is_settled_at_once(void **state)
{
	struct link_circuit circuit;

	(void)state;
	b.holds_commits = true;
	assert_int_equal(send(&a, 1, PRECEDENCE_FLASH, 50), CPD_OK);
	settle_down();
	assert_true(link_circuit_is_dirty(b.link));
	link_circuit(b.link, &circuit);
	assert_int_equal(circuit.received, 1);
	assert_int_equal(circuit.self_epoch, 1);
	assert_int_equal(circuit.peer_epoch, 1);
	link_circuit_saved(b.link);
	assert_false(link_circuit_is_dirty(b.link));
}

static void settling_an_item_of_an_ended_session_acknowledges_nothing(void **state)
{
	uint64_t old;

	(void)state;
	b.holds_settling = true;
	assert_int_equal(send(&a, 1, PRECEDENCE_FLASH, 50), CPD_OK);
	settle_down();
	old = b.last_serial;
	cut();
	restart(&a); /* without memory it takes the same serial again */
	reconnect();
	assert_int_equal(send(&a, 2, PRECEDENCE_FLASH, 50), CPD_OK);
	settle_down();
	assert_int_equal(b.last_number, 2);
	link_settle(b.link, old, REFUSED_NONE, ++b.turn);
	commit(&b);
	pass_ms(100);
	assert_int_equal(a.fate[2], UNDER_WAY);
}

static void refused_item_comes_back_with_the_reason_and_frees_its_serial(void **state)
{
	struct link_circuit circuit;

	(void)state;
	b.refuse_first = REFUSED_FULL;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 400), CPD_OK);
	settle_down();
	assert_int_equal(a.fate[1], TURNED_DOWN);
	pass_ms(20);
	link_circuit(b.link, &circuit);
	assert_int_equal(circuit.received, 1);
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 400), CPD_OK);
	settle_down();
	pass_ms(20);
	assert_int_equal(a.fate[1], PASSED);
}

static void refusal_lost_with_its_session_does_not_read_as_custody(void **state)
{
	(void)state;
	b.refuse_first = REFUSED_FULL;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 400), CPD_OK);
	emit_all(&a);
	assert_int_equal(deliver(&a, &b, 0), CPD_OK);
	drain(&b);
	emit_all(&b);
	assert_true(peek(&b, 0).has & FRAME_REFUSAL);
	cut(); /* and with it the refusal */
	reconnect();
	assert_int_equal(a.returned, 1);
	assert_int_equal(a.fate[1], UNSENT);
}

static void lost_refusal_is_said_again(void **state)
{
	(void)state;
	b.refuse_first = REFUSED_FULL;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 400), CPD_OK);
	emit_all(&a);
	assert_int_equal(deliver(&a, &b, 0), CPD_OK);
	drain(&b);
	emit_all(&b);
	wire_clear(&b.out);
	pass_ms(link_profile_ip.retransmit_ms);
	assert_int_equal(a.fate[1], TURNED_DOWN);
	assert_int_equal(b.raised[1], 1);
}

/* ---------------------------------------------------------------- precedence */

static void flash_preempts_bulk_after_one_piece(void **state)
{
	struct frame frame;

	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 16 * 1024), CPD_OK);
	assert_true(emit(&a) > 0);
	frame = peek(&a, 0);
	assert_true(frame.data.piece.len <= LIMIT_PIECE_MIN);
	assert_int_equal(frame.data.serial, 1);
	assert_int_equal(send(&a, 2, PRECEDENCE_FLASH, 600), CPD_OK);
	for (size_t i = 1; i <= 3; i++) {
		assert_true(emit(&a) > 0);
		frame = peek(&a, i);
		assert_int_equal(frame.data.precedence, PRECEDENCE_FLASH);
		assert_int_equal(frame.data.serial, 2);
	}
	settle_down();
	assert_int_equal(a.fate[2], PASSED);
	assert_int_equal(b.raised[1], 1);
	assert_int_equal(b.gaps, 0); /* serial 1 was under way: no gap */
	pass_ms(20);
	assert_int_equal(a.fate[1], PASSED);
}

static void higher_precedence_goes_first(void **state)
{
	static const enum precedence handed[] = { PRECEDENCE_ROUTINE, PRECEDENCE_IMMEDIATE, PRECEDENCE_PRIORITY, PRECEDENCE_FLASH };

	(void)state;
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(send(&a, i, handed[i], 300), CPD_OK);
	emit_all(&a);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(peek(&a, i).data.precedence, PRECEDENCE_FLASH - (int)i);
		assert_int_equal(peek(&a, i).data.serial, i + 1);
		assert_int_equal(peek(&a, i).data.total, 300);
	}
}

static void second_item_of_a_precedence_waits_until_the_first_is_out(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 300), CPD_OK);
	assert_false(link_can_send(a.link, PRECEDENCE_ROUTINE));
	assert_int_equal(send(&a, 2, PRECEDENCE_ROUTINE, 300), CPD_ERR_BUSY);
	assert_true(link_can_send(a.link, PRECEDENCE_FLASH));
	emit_all(&a);
	assert_true(link_can_send(a.link, PRECEDENCE_ROUTINE));
}

static void less_urgent_item_does_not_eat_the_credit_that_another_waits_for(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_PRIORITY, 156), CPD_OK);
	emit_all(&a); /* 100 bytes of credit are left: too few for a piece of the next */
	wire_clear(&a.out);
	assert_int_equal(send(&a, 2, PRECEDENCE_IMMEDIATE, 600), CPD_OK);
	assert_int_equal(send(&a, 3, PRECEDENCE_ROUTINE, 50), CPD_OK);
	assert_int_equal(emit(&a), 0);
	assert_int_equal(send(&a, 4, PRECEDENCE_FLASH, 50), CPD_OK);
	assert_true(emit(&a) > 0);
	assert_int_equal(peek(&a, 0).data.precedence, PRECEDENCE_FLASH);
}

static void presence_is_not_starved_by_bulk_nor_bulk_by_presence(void **state)
{
	static const uint8_t record[100] = { 1 };

	(void)state;
	for (int i = 0; i < 100; i++)
		link_send_presence(a.link, (struct slice){ record, sizeof(record) }, 5);
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 1000), CPD_OK);
	assert_true(emit(&a) > 0 && emit(&a) > 0);
	assert_true(peek(&a, 0).has & FRAME_PRESENCE);
	assert_true(peek(&a, 1).has & FRAME_DATA);
	settle_down();
	assert_int_equal(b.presences, 64); /* bounded */
}

/* ---------------------------------------------------------------- loss within a session */

static void lost_acknowledgement_is_repaired_while_the_link_stays_up(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_FLASH, 300), CPD_OK);
	emit_all(&a);
	assert_int_equal(deliver(&a, &b, 0), CPD_OK);
	drain(&b);
	emit_all(&b);
	wire_clear(&b.out);
	pass_ms(link_profile_ip.retransmit_ms - 1);
	assert_int_equal(a.fate[1], UNDER_WAY);
	pass_ms(1);
	assert_int_equal(a.fate[1], PASSED);
	assert_int_equal(b.raised[1], 1);
	assert_int_equal(a.ups, 1);
}

static void lost_item_is_noticed_and_sent_again_at_once(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 300), CPD_OK);
	emit_all(&a);
	wire_clear(&a.out);
	assert_int_equal(send(&a, 2, PRECEDENCE_ROUTINE, 300), CPD_OK);
	settle_down();
	assert_int_equal(b.gaps, 1);
	assert_int_equal(b.gap_first, 1);
	assert_int_equal(b.gap_last, 1);
	pass_ms(20);
	pass_ms(20);
	assert_int_equal(a.fate[1], PASSED);
	assert_int_equal(a.fate[2], PASSED);
	assert_int_equal(b.gaps, 1);
}

/* On the wire: the acknowledgement of what came names what did not. By the clock it would come after an hour. */
static void what_is_missing_is_asked_for(void **state)
{
	struct link_profile profile = link_profile_ip;
	struct frame frame = { .has = 0 };

	(void)state;
	profile.retransmit_ms = profile.keepalive_ms = 3600000;
	profile.dead_ms = 7200000;
	link_set_profile(a.link, &profile);
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 300), CPD_OK);
	emit_all(&a);
	wire_clear(&a.out);
	assert_int_equal(send(&a, 2, PRECEDENCE_ROUTINE, 300), CPD_OK);
	emit_all(&a);
	assert_int_equal(deliver(&a, &b, 0), CPD_OK);
	drain(&b);
	now += 20;
	emit_all(&b);
	frame = wire_peek(&b.out, b.out.count - 1);
	assert_true(frame.has & FRAME_ACK);
	assert_int_equal(frame.ack_received, 0);
	assert_int_equal(frame.ack_bitmap.len, 1);
	assert_int_equal(frame.ack_bitmap.bits[0], 2);  /* serial 1 is missing, 2 is here */
	pass_ms(20);
	pass_ms(20);
	assert_int_equal(a.fate[1], PASSED);
}

static void slow_decision_about_bulk_is_not_taken_for_loss(void **state)
{
	struct link_figures figures;
	uint64_t bulk;

	(void)state;
	b.holds_settling = true;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 9000), CPD_OK);
	settle_down();
	bulk = b.last_serial;
	b.holds_settling = false;
	assert_int_equal(send(&a, 2, PRECEDENCE_FLASH, 300), CPD_OK);
	settle_down();
	assert_int_equal(a.fate[2], PASSED);
	link_figures(a.link, &figures);
	assert_true(figures.sent_bytes < 2 * 9000);
	b.has[1] = 1;
	link_settle(b.link, bulk, REFUSED_NONE, ++b.turn);
	commit(&b);
	pass_ms(20);
	assert_int_equal(a.fate[1], PASSED);
}

static void lost_piece_of_an_item_is_repaired(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 700), CPD_OK);
	assert_true(emit(&a) > 0);
	wire_clear(&a.out); /* the first piece; the sender stalls on credit half-way */
	settle_down();
	assert_int_equal(b.raised[1], 0);
	for (int i = 0; i < 4 && a.fate[1] != PASSED; i++) {
		pass_ms(link_profile_thin.retransmit_ms);
		pass_ms(20);
	}
	assert_int_equal(a.fate[1], PASSED);
}

static void pump_with_faults(uint32_t loss, uint32_t doubling, uint32_t reordering)
{
	struct side *sides[2] = { &a, &b };

	for (int i = 0; i < 2; i++) {
		struct side *from = sides[i], *to = sides[1 - i];

		emit_all(from);
		while (from->out.count) {
			size_t at = chance(100) < reordering ? chance((uint32_t)from->out.count) : 0;
			struct parcel copy = from->out.parcels[at];

			if (chance(100) < loss) {
				free(wire_take(&from->out, at).bytes);
				continue;
			}
			if (chance(100) < doubling)
				assert_int_equal(link_receive(to->link, (struct slice){ copy.bytes, copy.len }, now), CPD_OK);
			assert_int_equal(deliver(from, to, at), CPD_OK);
			if (chance(3) == 0)
				drain(to);
		}
		drain(to);
	}
}

static void soak(uint32_t count, uint32_t cuts_in_1000)
{
	uint32_t next = 0, done = 0;

	for (int step = 0; step < 60000 && done < count; step++) {
		done = 0;
		for (uint32_t i = 0; i < count; i++)
			done += a.fate[i] == PASSED;
		for (uint32_t tries = 0; tries < 8; tries++) {
			uint32_t number = next++ % count;

			if (a.fate[number] == UNSENT || a.fate[number] == TURNED_DOWN)
				(void)!send(&a, number, (enum precedence)(number % 4), 8 + (number * 37) % 3000);
		}
		pump_with_faults(10, 10, 10);
		now += chance(200);
		tick(&a);
		tick(&b);
		if (chance(1000) < cuts_in_1000) {
			cut();
			if (chance(3) == 0)
				restart(chance(2) ? &a : &b);
			reconnect();
		}
	}
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(a.fate[i], PASSED);
		assert_true(b.is_on_disk[i]);
	}
}

static void every_item_is_raised_once_over_a_lossy_doubling_reordering_bearer(void **state)
{
	struct link_figures figures;

	(void)state;
	for (uint64_t run = 1; run <= 4; run++) {
		uint32_t count = run % 2 ? 500 : 60;

		close_both(NULL);
		open_both(run % 2 ? &link_profile_ip : &link_profile_thin);
		seed = run;
		soak(count, 0);
		for (uint32_t i = 0; i < count; i++)
			assert_int_equal(b.raised[i], 1);
		link_figures(a.link, &figures);
		assert_int_equal(figures.unacked_bytes, 0);
		assert_int_equal(a.ups, 1);
	}
}

static void nothing_is_lost_through_cuts_restarts_and_refusals(void **state)
{
	(void)state;
	for (uint64_t run = 11; run <= 13; run++) {
		close_both(NULL);
		open_both(&link_profile_ip);
		b.refuse_first = REFUSED_BUSY;
		seed = run;
		soak(500, 60);
		assert_int_equal(a.rolled_back + b.rolled_back, 0);
	}
}

/* ---------------------------------------------------------------- bounds */

static void unacknowledged_window_is_bounded_and_keeps_room_for_flash(void **state)
{
	struct link_figures figures;
	uint32_t bulk = 0, flash = 0;

	(void)state;
	b.holds_settling = true;
	while (send(&a, bulk, PRECEDENCE_ROUTINE, 20) == CPD_OK) {
		bulk++;
		settle_down();
	}
	assert_int_equal(bulk, 240);
	while (send(&a, bulk + flash, PRECEDENCE_FLASH, 20) == CPD_OK) {
		flash++;
		settle_down();
	}
	assert_int_equal(flash, 16);
	assert_int_equal(link_under_way(a.link), 240);
	link_figures(a.link, &figures);
	assert_int_equal(figures.unacked, LIMIT_UNACKED);
}

static void unacknowledged_bytes_are_bounded_apart_for_flash(void **state)
{
	struct link_figures figures;
	uint32_t bulk = 0, flash = 0;

	(void)state;
	b.holds_settling = true;
	while (send(&a, bulk, PRECEDENCE_ROUTINE, LIMIT_ITEM) == CPD_OK) {
		bulk++;
		settle_down();
	}
	link_figures(a.link, &figures);
	assert_true(bulk >= 1 && figures.unacked_bytes <= LIMIT_UNACKED_BYTES);
	while (send(&a, bulk + flash, PRECEDENCE_FLASH, 10 * 1024) == CPD_OK) {
		flash++;
		settle_down();
	}
	assert_true(flash >= 6);
	assert_int_equal(b.raised[bulk + flash - 2], 1);
}

/* A guess of 10 Mbit/s over a wire that carries 12 kB/s must not put a minute of bulk ahead of a FLASH. */
static void wrong_guess_of_the_rate_puts_little_ahead_of_flash(void **state)
{
	struct link_figures figures;
	uint32_t i = 0;

	(void)state;
	while (send(&a, i, PRECEDENCE_ROUTINE, 2000) == CPD_OK) {
		i++;
		while (emit(&a))
			;
	}
	link_figures(a.link, &figures);
	assert_in_range(figures.sent_bytes, 2000, 12 * 1024); /* all of it before anything was answered */
}

/* What a receiver that never answers is sent stays within what it granted in its hello. */
static void credit_is_honoured_by_the_sender(void **state)
{
	uint64_t sent[2] = { 0, 0 };
	struct frame_hello hello = a.hello;
	struct link_figures figures;

	(void)state;
	for (uint32_t i = 0; i < 400; i++) {
		(void)!send(&a, i, i % 2 ? PRECEDENCE_FLASH : PRECEDENCE_ROUTINE, 2000);
		while (emit(&a)) {
			struct frame frame = peek(&a, 0);

			sent[frame.data.precedence == PRECEDENCE_FLASH] += frame.data.piece.len;
			wire_clear(&a.out);
		}
	}
	assert_true(sent[0] > 0 && sent[0] <= hello.credit_bulk);
	assert_true(sent[1] > 0 && sent[1] <= hello.credit_urgent);
	link_figures(a.link, &figures);
	assert_true(figures.credit_stalls >= 1);
}

static void slow_host_is_granted_no_more_until_it_settles(void **state)
{
	uint32_t raised = 0;

	(void)state;
	b.holds_settling = true;
	for (uint32_t i = 0; i < 50; i++) {
		(void)!send(&a, i, PRECEDENCE_ROUTINE, 600);
		settle_down();
	}
	for (uint32_t i = 0; i < 50; i++)
		raised += b.raised[i];
	assert_in_range(raised, 1, 2); /* window of a thin link: one chunk */
	b.holds_settling = false;
	b.has[b.last_number] = 1;
	link_settle(b.link, b.last_serial, REFUSED_NONE, ++b.turn);
	commit(&b);
	pass_ms(20);
	assert_int_equal(a.fate[b.last_number], PASSED);
}

static void rate_is_measured_from_what_the_peer_takes(void **state)
{
	struct link_figures figures;

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(send(&a, i, PRECEDENCE_ROUTINE, 4000), CPD_OK);
		for (int step = 0; step < 40; step++) { /* 256 bytes in 512 ms: 4,000 bit/s */
			emit_all(&a); /* the bearer's buffers take it at once and give a frame every 512 ms */
			now += 512;
			if (a.out.count)
				assert_int_equal(deliver(&a, &b, 0), CPD_OK);
			drain(&b);
			emit_all(&b);
			while (b.out.count)
				assert_int_equal(deliver(&b, &a, 0), CPD_OK);
			drain(&a);
		}
	}
	link_figures(a.link, &figures);
	assert_in_range(figures.rate_bps, 3500, 4500);
}

static void item_waiting_for_its_leaves_does_not_block_them(void **state)
{
	struct message_id id = { 9, 1, 1 };

	(void)state;
	b.holds_settling = true;
	assert_int_equal(send(&a, 0, PRECEDENCE_ROUTINE, 300), CPD_OK);
	settle_down();
	b.holds_settling = false;
	assert_int_equal(link_want(b.link, b.last_serial, &id, (struct slice){ NULL, 0 }, ++b.turn), CPD_OK);
	drain(&b);
	settle_down();
	assert_int_equal(a.wants, 1);
	for (uint32_t i = 1; i < 700; i++) {
		assert_int_equal(send(&a, i, PRECEDENCE_ROUTINE, 4100), CPD_OK);
		settle_down();
		if (i % 20 == 0)
			pass_ms(20);
	}
	pass_ms(20);
	for (uint32_t i = 1; i < 700; i++)
		assert_int_equal(a.fate[i], PASSED);
	assert_int_equal(a.fate[0], PASSED);
	assert_int_equal(b.raised[0], 2); /* offered again under a new serial, and settled under that one */
}

static void lost_want_is_said_again_after_commit(void **state)
{
	struct message_id id = { 9, 1, 1 };

	(void)state;
	b.holds_settling = b.holds_commits = true;
	assert_int_equal(send(&a, 0, PRECEDENCE_ROUTINE, 300), CPD_OK);
	settle_down();
	assert_int_equal(link_want(b.link, b.last_serial, &id, (struct slice){ (const uint8_t *)"\5", 1 }, ++b.turn), CPD_OK);
	pass_ms(100);
	assert_int_equal(a.wants, 0);
	assert_int_equal(link_under_way(a.link), 1);
	commit(&b);
	emit_all(&b);
	assert_true(peek(&b, 0).has & FRAME_WANT);
	wire_clear(&b.out);
	pass_ms(link_profile_ip.retransmit_ms);
	assert_int_equal(a.wants, 1);
	assert_int_equal(b.raised[0], 1);
	assert_int_equal(a.fate[0], UNDER_WAY);
	assert_int_equal(link_under_way(a.link), 0); /* it waits for its leaves, which must not wait for it */
	pass_ms(link_profile_ip.retransmit_ms);
	assert_int_equal(a.wants, 1); /* and is then left alone */
	assert_int_equal(link_want(b.link, b.last_serial + 1, &id, (struct slice){ NULL, 0 }, 1), CPD_ERR_NOT_FOUND);
}

/* Seed 50 of the simulator: the peer never repeats an item it was told the missing leaves of, so a lost
 * refusal of it must come again by itself. */
static void lost_refusal_of_an_item_that_waits_for_its_leaves_is_said_again(void **state)
{
	struct message_id id = { 9, 1, 1 };

	(void)state;
	b.holds_settling = true;
	assert_int_equal(send(&a, 0, PRECEDENCE_ROUTINE, 300), CPD_OK);
	settle_down();
	assert_int_equal(link_want(b.link, b.last_serial, &id, (struct slice){ NULL, 0 }, ++b.turn), CPD_OK);
	drain(&b);
	settle_down();
	assert_int_equal(a.wants, 1);
	b.refuse_first = REFUSED_BUSY;
	link_settle(b.link, b.last_serial, REFUSED_BUSY, ++b.turn);
	drain(&b);
	emit_all(&b);
	assert_true(peek(&b, 0).has & FRAME_REFUSAL);
	wire_clear(&b.out);
	pass_ms(link_profile_ip.keepalive_ms + 1000);
	assert_int_equal(a.fate[0], TURNED_DOWN);
	assert_int_equal(b.raised[0], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		IP(item_passes_and_is_acknowledged),
		IP(progress_is_what_the_peer_says_and_takes_in),
		IP(many_items_are_acknowledged_at_once),
		IP(acknowledgement_is_not_visible_before_commit),
		IP(commit_of_an_earlier_turn_acknowledges_nothing_of_a_later_one),
		IP(hello_waits_for_the_commit_of_what_is_settled),
		IP(stored_circuit_holds_what_is_settled_at_once),
		IP(settling_an_item_of_an_ended_session_acknowledges_nothing),
		IP(refused_item_comes_back_with_the_reason_and_frees_its_serial),
		IP(refusal_lost_with_its_session_does_not_read_as_custody),
		IP(lost_refusal_is_said_again),
		THIN(flash_preempts_bulk_after_one_piece),
		IP(higher_precedence_goes_first),
		IP(second_item_of_a_precedence_waits_until_the_first_is_out),
		THIN(less_urgent_item_does_not_eat_the_credit_that_another_waits_for),
		IP(presence_is_not_starved_by_bulk_nor_bulk_by_presence),
		IP(lost_acknowledgement_is_repaired_while_the_link_stays_up),
		IP(lost_item_is_noticed_and_sent_again_at_once),
		IP(what_is_missing_is_asked_for),
		IP(slow_decision_about_bulk_is_not_taken_for_loss),
		THIN(lost_piece_of_an_item_is_repaired),
		IP(every_item_is_raised_once_over_a_lossy_doubling_reordering_bearer),
		IP(nothing_is_lost_through_cuts_restarts_and_refusals),
		IP(unacknowledged_window_is_bounded_and_keeps_room_for_flash),
		IP(unacknowledged_bytes_are_bounded_apart_for_flash),
		IP(wrong_guess_of_the_rate_puts_little_ahead_of_flash),
		IP(credit_is_honoured_by_the_sender),
		THIN(credit_is_honoured_by_the_sender),
		THIN(slow_host_is_granted_no_more_until_it_settles),
		THIN(rate_is_measured_from_what_the_peer_takes),
		IP(item_waiting_for_its_leaves_does_not_block_them),
		IP(lost_want_is_said_again_after_commit),
		IP(lost_refusal_of_an_item_that_waits_for_its_leaves_is_said_again),
	};

	return RUN_FED_AND_HUNGRY(tests);
}
