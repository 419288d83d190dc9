/* test_relay_custody.c: a message arrives at a relay or an addressee: when it is acknowledged, when it is
 * taken again, when it is refused. */
#include "test/unit/relay_makers.h"

#define BOX struct box *box = *state

static int open_box(void **state)
{
	*state = box_open();
	return 0;
}

static int close_box(void **state)
{
	box_close(*state);
	return 0;
}

static void no_settle_effect_before_the_turn_that_keeps_the_message(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct item_ref ref;
	struct trailer trailer = trailer_by(NSP_A, 0);
	struct relay_event event = { .type = RELAY_MESSAGE, .link = NSP_A, .serial = 9, .message = make_message(box, &header),
		.trailer = &trailer, .store_admits = true };

	box_clear(box);
	turn_begin(box);
	assert_int_equal(hand(box, &event), CPD_OK);
	assert_int_equal(box->effect_count, 0);
	turn_end(box);
	/* one list: what is kept and what is settled belong to the same turn */
	assert_int_equal(settled(box, 9), REFUSED_NONE);
	assert_int_equal(effects_of(box, EFFECT_PUT_ENVELOPE), 1);
	assert_int_equal(effects_of(box, EFFECT_PUT_ROW), 1);
	assert_non_null(box_held(box, &header.id));
	/* and nothing leaves before its commit */
	assert_false(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
	commit(box);
	assert_true(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
	assert_true(message_id_equal(&ref.id, &header.id));
}

static void an_uncommitted_row_is_never_given_to_a_link(void **state)
{
	BOX;
	struct header first = header_of(KIND_TEXT, NSP_A, 1, DESK), second = header_of(KIND_TEXT, NSP_A, 2, DESK);
	struct trailer trailer = trailer_by(NSP_A, 0);
	struct relay_event event = { .type = RELAY_MESSAGE, .link = NSP_A, .serial = 1, .message = make_message(box, &first),
		.trailer = &trailer, .store_admits = true };
	struct item_ref ref;

	turn_begin(box);
	assert_int_equal(hand(box, &event), CPD_OK);
	turn_end(box);
	event.message = make_message(box, &second);
	turn_begin(box);
	assert_int_equal(hand(box, &event), CPD_OK);
	turn_end(box);
	relay_committed(box->relay, box->turn - 1);  /* the first turn only */
	assert_true(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
	assert_int_equal(ref.id.sequence, 1);
	assert_false(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
	commit(box);
	assert_true(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
	assert_int_equal(ref.id.sequence, 2);
}

static void a_turn_not_yet_committed_is_known_although_the_store_does_not_hold_it(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct trailer trailer = trailer_by(NSP_A, 0);
	struct relay_event event = { .type = RELAY_MESSAGE, .link = NSP_A, .serial = 1, .message = make_message(box, &header),
		.trailer = &trailer, .store_admits = true };
	const struct relay_facts nothing = { .holds_receipts = false };

	turn_begin(box);
	assert_int_equal(hand(box, &event), CPD_OK);
	turn_end(box);
	relay_committed(box->relay, box->turn - 1);
	turn_begin(box);
	event.serial = 2;
	assert_int_equal(relay_handle(box->relay, &event, &nothing, &box->now), CPD_OK);
	turn_end(box);
	assert_int_equal(settled(box, 2), REFUSED_NONE);
	assert_int_equal(box->row_count, 1);
}

static void each_copy_names_its_own_recipients(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	uint32_t one[] = { DESK }, other[] = { DESK + 1 };
	struct trailer trailer = trailer_by(NSP_A, 0), out;

	header.nodes[header.node_count++] = DESK + 1;
	trailer.recipient_count = 1;
	for (uint32_t i = 0; i < 2; i++) {
		trailer.recipients = i ? other : one;
		assert_int_equal(arrive_with(box, i ? NSP_B : NSP_A, &header, &trailer), REFUSED_NONE);
	}
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 2);
	for (uint32_t i = 0; i < 2; i++) {
		struct item_ref ref = taken(box, CP_A);
		assert_int_equal(relay_make_trailer(box->relay, box_held(box, &header.id), &ref, CP_A, &box->now, &out), CPD_OK);
		assert_int_equal(out.recipient_count, 1);
		assert_int_equal(out.recipients[0], DESK + i);
		trailer_clear(&out);
		answer_of(box, RELAY_ACKED, CP_A, ref, REFUSED_NONE);
		assert_int_equal(relay_make_trailer(box->relay, box_held(box, &header.id), &ref, CP_A, &box->now, &out), CPD_ERR_NOT_FOUND);
		assert_int_equal(box_recipient(box, &header.id, DESK + 1)->hop, i ? HOP_PASSED : HOP_QUEUED);
	}
	assert_false(box_has_envelope(box, &header.id));
}

static void a_relay_lets_its_copy_go_when_the_next_hop_has_it(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	assert_true(box_has_envelope(box, &header.id));
	passed(box, CP_A);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_PASSED);
	assert_false(box_has_envelope(box, &header.id));
	assert_int_equal(box->row_count, 0);
	assert_int_equal(box->timer_count, 0);
	/* the same offer by another way is known */
	assert_int_equal(arrive(box, NSP_B, &header, 0), REFUSED_NONE);
	assert_int_equal(journal_of(box, JOURNAL_DUPLICATE), 1);
	assert_int_equal(box->row_count, 0);
}

static void a_reoffer_with_a_higher_retry_is_taken_into_custody_again(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	arrive(box, NSP_A, &header, 0);
	passed(box, CP_A);
	assert_int_equal(arrive(box, NSP_A, &header, 1), REFUSED_NONE);
	assert_true(box_has_envelope(box, &header.id));
	assert_int_equal(rows_of(box, CP_B, ITEM_TYPE_MESSAGE), 1);  /* a first hop not tried */
	assert_int_equal(box_recipient(box, &header.id, DESK)->retry, 1);
	passed(box, CP_B);
	/* each retry once */
	assert_int_equal(arrive(box, NSP_B, &header, 1), REFUSED_NONE);
	assert_int_equal(box->row_count, 0);
}

static void a_reoffer_that_finds_the_copy_waiting_only_raises_its_number(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct custody *custody;
	struct trailer trailer;
	struct item_ref ref;

	arrive(box, NSP_A, &header, 0);
	assert_int_equal(arrive(box, NSP_A, &header, 3), REFUSED_NONE);
	assert_int_equal(box->row_count, 1);
	ref = taken(box, CP_A);
	custody = box_held(box, &header.id);
	assert_int_equal(relay_make_trailer(box->relay, custody, &ref, CP_A, &box->now, &trailer), CPD_OK);
	assert_int_equal(trailer.retry, 3);
	assert_int_equal(trailer.recipient_count, 1);
	assert_int_equal(trailer.recipients[0], DESK);
	assert_int_equal(trailer.hop_limit, 7);
	assert_int_equal(trailer.trace_count, 2);
	assert_int_equal(trailer.trace[1].node, SELF);
	trailer_clear(&trailer);
}

static void a_message_that_comes_back_to_a_node_in_its_trace_is_taken_again(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct trailer trailer = trailer_by(NSP_A, 0);

	arrive(box, NSP_A, &header, 0);
	passed(box, CP_A);
	/* CP_A lost its way and gives it back: custody is ours again, by the other way */
	trailer.trace[1].node = SELF;
	trailer.trace[2].node = CP_A;
	trailer.trace_count = 3;
	assert_int_equal(arrive_with(box, CP_A, &header, &trailer), REFUSED_NONE);
	assert_true(box_has_envelope(box, &header.id));
	assert_int_equal(rows_of(box, CP_B, ITEM_TYPE_MESSAGE), 1);
}

static void other_content_under_a_known_id_is_refused_as_id_conflict(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	arrive(box, NSP_A, &header, 0);
	header.body = (struct slice){ (const uint8_t *)"\n\4ja!!", 6 };
	assert_int_equal(arrive(box, NSP_B, &header, 1), REFUSED_ID_CONFLICT);
	assert_int_equal(journal_of(box, JOURNAL_ID_CONFLICT), 1);
	assert_int_equal(box->row_count, 1);
	assert_int_equal(box_recipient(box, &header.id, DESK)->retry, 0);
}

static void a_full_store_refuses_what_is_new_but_not_what_it_holds(void **state)
{
	BOX;
	struct header held = header_of(KIND_TEXT, NSP_A, 1, DESK), fresh = header_of(KIND_TEXT, NSP_A, 2, DESK);

	arrive(box, NSP_A, &held, 0);
	box->store_admits = false;
	assert_int_equal(arrive(box, NSP_A, &fresh, 0), REFUSED_FULL);
	assert_null(box_held(box, &fresh.id));
	assert_int_equal(arrive(box, NSP_A, &held, 0), REFUSED_NONE);
	box->store_admits = true;
	assert_int_equal(arrive(box, NSP_A, &fresh, 0), REFUSED_NONE);
}

static void an_offer_for_whom_the_message_is_not_is_refused(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	uint32_t recipients[] = { DESK + 1 };
	struct trailer trailer = trailer_by(NSP_A, 0);

	trailer.recipients = recipients;
	trailer.recipient_count = 1;
	assert_int_equal(arrive_with(box, NSP_A, &header, &trailer), REFUSED_NOT_ADDRESSED);
	assert_null(box_held(box, &header.id));
}

static void the_hop_limit_ends_a_copy_that_would_go_on(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK), here = header_of(KIND_TEXT, NSP_A, 2, SELF);
	struct trailer trailer = trailer_by(NSP_A, 0);

	trailer.hop_limit = 1;
	assert_int_equal(arrive_with(box, NSP_A, &header, &trailer), REFUSED_HOP_LIMIT);
	assert_null(box_held(box, &header.id));
	assert_int_equal(arrive_with(box, NSP_A, &here, &trailer), REFUSED_NONE);  /* its last hop is us */
	trailer.hop_limit = 0;
	here.id.sequence = 3;
	assert_int_equal(arrive_with(box, NSP_A, &here, &trailer), REFUSED_HOP_LIMIT);
}

/* What was refused here is not known as served: a later offer with hops left goes on, also in one turn. */
static void an_offer_that_died_of_its_hop_limit_is_taken_when_it_comes_with_hops_left(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	uint32_t first[] = { DESK }, second[] = { DESK + 1 };
	struct trailer trailer = trailer_by(NSP_A, 0);
	struct relay_event event = { .type = RELAY_MESSAGE, .link = NSP_B, .trailer = &trailer, .store_admits = true };

	header.nodes[header.node_count++] = DESK + 1;
	event.message = make_message(box, &header);
	trailer.recipients = first;
	trailer.recipient_count = 1;
	assert_int_equal(arrive_with(box, NSP_A, &header, &trailer), REFUSED_NONE);
	trailer.recipients = second;
	turn_begin(box);
	event.serial = 71;
	trailer.hop_limit = 1;
	assert_int_equal(hand(box, &event), CPD_OK);
	event.serial = 72;
	trailer.hop_limit = 8;
	assert_int_equal(hand(box, &event), CPD_OK);
	turn_end(box);
	assert_int_equal(settled(box, 71), REFUSED_HOP_LIMIT);
	assert_int_equal(settled(box, 72), REFUSED_NONE);
	assert_int_equal(box_recipient(box, &header.id, DESK + 1)->hop, HOP_QUEUED);
}

static void an_old_state_outlives_a_newer_one_that_died_of_its_hop_limit(void **state)
{
	BOX;
	struct header old = header_of(KIND_STATUS, NSP_A, 1, DESK), newer = header_of(KIND_STATUS, NSP_A, 2, DESK);
	struct trailer trailer = trailer_by(NSP_B, 0);

	arrive(box, NSP_A, &old, 0);
	trailer.hop_limit = 1;
	assert_int_equal(arrive_with(box, NSP_B, &newer, &trailer), REFUSED_HOP_LIMIT);
	assert_non_null(box_held(box, &old.id));
	assert_int_equal(box->row_count, 1);
}

static void a_newer_state_that_only_passes_does_not_take_away_the_one_that_is_shown_here(void **state)
{
	BOX;
	struct header shown = header_of(KIND_STATUS, NSP_A, 1, SELF), passing = header_of(KIND_STATUS, NSP_A, 2, DESK);
	struct header after = header_of(KIND_STATUS, NSP_A, 3, SELF);

	arrive(box, NSP_A, &shown, 0);
	assert_int_equal(effects_of(box, EFFECT_PUT_LATEST), 1);
	arrive(box, NSP_A, &passing, 0);
	assert_int_equal(effects_of(box, EFFECT_PUT_LATEST), 0);
	assert_true(box_held(box, &shown.id)->flags & CUSTODY_HAS_ENVELOPE);
	arrive(box, NSP_A, &shown, 0);                   /* older than what passed: no effect */
	assert_int_equal(effects_of(box, EFFECT_PUT_LATEST), 0);
	assert_non_null(box_held(box, &shown.id));
	arrive(box, NSP_A, &after, 0);
	assert_int_equal(effects_of(box, EFFECT_PUT_LATEST), 1);
	assert_null(box_held(box, &shown.id));
	assert_null(box_held(box, &passing.id));
	assert_true(box_held(box, &after.id)->flags & CUSTODY_HAS_ENVELOPE);
}

static void a_state_that_passed_first_and_then_is_for_us_is_shown(void **state)
{
	BOX;
	uint32_t desk = DESK, self = SELF;
	struct header old = header_of(KIND_STATUS, NSP_A, 1, SELF), newer = header_of(KIND_STATUS, NSP_A, 2, SELF);
	struct trailer for_desk = trailer_by(NSP_B, 0), for_us = trailer_by(NSP_A, 0);

	newer.nodes[newer.node_count++] = DESK;
	for_desk.recipient_count = for_us.recipient_count = 1;
	for_desk.recipients = &desk;
	for_us.recipients = &self;
	arrive(box, NSP_A, &old, 0);
	arrive_with(box, NSP_B, &newer, &for_desk);
	assert_non_null(box_held(box, &old.id));
	arrive_with(box, NSP_A, &newer, &for_us);
	assert_int_equal(effects_of(box, EFFECT_PUT_LATEST), 1);
	assert_null(box_held(box, &old.id));
	assert_true(box_held(box, &newer.id)->flags & CUSTODY_IS_ADDRESSEE);
}

/* ---------------------------------------------------------------- addressee */

static void an_addressee_answers_a_duplicate_with_a_fresh_receipt_and_shows_it_once(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, SELF);

	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	assert_int_equal(effects_of(box, EFFECT_PUT_INBOX), 1);
	assert_int_equal(box->witnessed_count, 1);
	assert_int_equal(box->witnessed[0].level, LEVEL_DELIVERED);
	assert_int_equal(rows_of(box, NSP_A, ITEM_TYPE_RECEIPTS), 1);
	/* a hop's duplicate says nothing new, a retry asks for the receipt again */
	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	assert_int_equal(box->witnessed_count, 0);
	operate(box, &header.id, ACT_READ);
	assert_int_equal(arrive(box, NSP_A, &header, 1), REFUSED_NONE);
	assert_int_equal(effects_of(box, EFFECT_PUT_INBOX), 0);
	assert_int_equal(journal_of(box, JOURNAL_DELIVERED_HERE), 0);
	assert_int_equal(box->witnessed_count, 1);
	assert_int_equal(box->witnessed[0].level, LEVEL_READ);       /* the furthest it has gone */
}

static void the_receipt_leaves_with_the_commit_that_keeps_its_message(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, SELF);
	struct trailer trailer = trailer_by(NSP_A, 0);
	struct relay_event event = { .type = RELAY_MESSAGE, .link = NSP_A, .serial = 1, .message = make_message(box, &header),
		.trailer = &trailer, .store_admits = true };

	turn_begin(box);
	assert_int_equal(hand(box, &event), CPD_OK);
	turn_end(box);
	assert_true(is_silent(box, NSP_A));
	commit(box);
	assert_int_equal(taken(box, NSP_A).type, ITEM_TYPE_RECEIPTS);
}

static void what_an_addressee_does_not_know_is_kept_and_told_as_not_understood(void **state)
{
	BOX;
	struct header header = header_of(99, NSP_A, 1, SELF);

	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	assert_int_equal(box->witnessed[0].level, LEVEL_NOT_UNDERSTOOD);
	assert_true(box_has_envelope(box, &header.id));
	assert_int_equal(effects_of(box, EFFECT_PUT_INBOX), 1);
}

static void what_comes_after_its_lifetime_is_shown_as_late(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, SELF);
	struct trailer trailer = trailer_by(NSP_A, 0);

	trailer.age_s = header.lifetime_s + 1;
	assert_int_equal(arrive_with(box, NSP_A, &header, &trailer), REFUSED_NONE);
	assert_true(box_held(box, &header.id)->flags & CUSTODY_IS_LATE);
	assert_int_equal(box->witnessed[0].level, LEVEL_DELIVERED);
}

static void a_message_for_us_and_for_another_is_delivered_and_passed_on(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, SELF);

	header.nodes[header.node_count++] = DESK;
	arrive(box, NSP_A, &header, 0);
	assert_int_equal(box->witnessed_count, 1);
	passed(box, CP_A);
	assert_true(box_has_envelope(box, &header.id));              /* we show it */
	assert_true(box_held(box, &header.id)->flags & CUSTODY_IS_ADDRESSEE);
}

/* ---------------------------------------------------------------- state kinds */

/* Its words take more memory to open than the little that is always there: without it, nobody may sign anything. */
static void a_long_message_for_us_is_understood(void **state)
{
	BOX;
	static uint8_t body[3 + 4000] = { 0x0a, 0xa0, 0x1f };        /* Text.text */
	struct header header = header_of(KIND_TEXT, NSP_A, 1, SELF);

	for (size_t i = 3; i < sizeof(body); i += 2)
		memcpy(body + i, "\xc3\xa9", 2);                       /* e acute */
	header.body = (struct slice){ body, sizeof(body) };
	arrive(box, NSP_A, &header, 0);
	assert_int_equal(box->witnessed_count, 1);
	assert_int_equal(box->witnessed[0].level, LEVEL_DELIVERED);
}

static void status_of_an_older_sequence_never_replaces_a_newer(void **state)
{
	BOX;
	struct header newer = header_of(KIND_STATUS, NSP_A, 5, SELF), older = header_of(KIND_STATUS, NSP_A, 4, SELF);

	assert_int_equal(arrive(box, NSP_A, &newer, 0), REFUSED_NONE);
	assert_int_equal(arrive(box, NSP_A, &older, 0), REFUSED_NONE);  /* known to be overtaken: no custody needed */
	assert_null(box_held(box, &older.id));
	assert_int_equal(effects_of(box, EFFECT_PUT_LATEST), 0);
	older.id.sequence = 6;
	assert_int_equal(arrive(box, NSP_A, &older, 0), REFUSED_NONE);
	assert_int_equal(effect_of(box, EFFECT_PUT_LATEST)->id.sequence, 6);
	assert_null(box_held(box, &newer.id));
	assert_false(box_has_envelope(box, &newer.id));
	assert_int_equal(box->witnessed_count, 0);                      /* no receipt of a state */
}

static void a_newer_status_takes_the_place_of_the_older_in_the_queue(void **state)
{
	BOX;
	struct header header = header_of(KIND_STATUS, NSP_A, 1, DESK);

	for (header.id.sequence = 1; header.id.sequence <= 20; header.id.sequence++)
		assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	assert_int_equal(box->row_count, 1);
	assert_int_equal(box->custody_count, 1);
	assert_int_equal(passed(box, CP_A).id.sequence, 20);
	assert_int_equal(box->custody_count, 0);
	assert_int_equal(box->timer_count, 0);
}

/* ---------------------------------------------------------------- age */

static void a_relay_drops_for_age_what_a_trusted_clock_says_is_over_and_tells_the_origin(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	link_is(box, CP_A, false);
	link_is(box, CP_B, false);
	arrive(box, NSP_A, &header, 0);
	pass_time(box, 73 * (int64_t)HOUR_MS);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_ENDED);
	assert_int_equal(journal_of(box, JOURNAL_EXPIRED), 1);
	assert_int_equal(box->witnessed_count, 1);
	assert_int_equal(box->witnessed[0].level, LEVEL_EXPIRED);
	assert_int_equal(rows_of(box, NSP_A, ITEM_TYPE_RECEIPTS), 1);
	assert_false(box_has_envelope(box, &header.id));
}

static void a_relay_with_an_untrusted_clock_drops_nothing_for_age(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	link_is(box, CP_A, false);
	link_is(box, CP_B, false);
	box->now.quality = CLOCK_MANUAL;
	arrive(box, NSP_A, &header, 0);
	pass_time(box, 100 * (int64_t)HOUR_MS);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
	assert_int_equal(box->witnessed_count, 0);
	/* nor one whose author had no clock */
	box->now.quality = CLOCK_GNSS;
	header.id.sequence = 2;
	header.clock_quality = CLOCK_UNKNOWN;
	arrive(box, NSP_A, &header, 0);
	pass_time(box, 100 * (int64_t)HOUR_MS);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
}

static void flash_is_never_dropped_in_transit(void **state)
{
	BOX;
	struct header header = header_of(KIND_CALL, NSP_A, 1, DESK);

	link_is(box, CP_A, false);
	link_is(box, CP_B, false);
	arrive(box, NSP_A, &header, 0);
	pass_time(box, 1000 * (int64_t)HOUR_MS);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
	assert_true(box_has_envelope(box, &header.id));
	link_is(box, CP_A, true);
	assert_true(message_id_equal(&(struct message_id){ NSP_A, 1, 1 }, &(struct message_id){ NSP_A, 1, taken(box, CP_A).id.sequence }));
}

/* ---------------------------------------------------------------- damage */

static void lose(struct box *box, const struct message_id *id)
{
	struct relay_event event = { .type = RELAY_LOST, .id = *id };

	assert_int_equal(play(box, &event), CPD_OK);
}

/* The origin keeps it: its next offer must find a relay that takes it, not one that thinks it has it. */
static void a_relay_whose_copy_is_damaged_takes_the_next_offer(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	lose(box, &header.id);
	assert_int_equal(box->row_count, 0);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_NONE);
	assert_int_equal(arrive(box, NSP_A, &header, 1), REFUSED_NONE);
	assert_true(box_has_envelope(box, &header.id));
	assert_int_equal(passed(box, CP_A).id.sequence, 1);
}

static void an_origin_whose_copy_is_damaged_tells_its_author(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK);

	author(box, &header);
	lose(box, &header.id);
	assert_int_equal(journal_of(box, JOURNAL_UNDELIVERABLE), 1);
	assert_int_equal(box_recipient(box, &header.id, DESK)->level, LEVEL_UNDELIVERABLE);
	assert_true(box_held(box, &header.id)->flags & CUSTODY_IS_CLOSED);
	assert_int_equal(box->row_count, 0);
	/* a copy that got away before may still arrive, and says so itself */
	receipt(box, &header, (struct told){ .link = CP_A, .witness = DESK, .epoch = 1, .counter = 1, .level = LEVEL_DELIVERED });
	assert_int_equal(box_recipient(box, &header.id, DESK)->level, LEVEL_DELIVERED);
	lose(box, &header.id);                       /* said twice */
	assert_int_equal(journal_of(box, JOURNAL_UNDELIVERABLE), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_box, close_box)
	const struct CMUnitTest tests[] = {
		CASE(no_settle_effect_before_the_turn_that_keeps_the_message),
		CASE(an_uncommitted_row_is_never_given_to_a_link),
		CASE(a_turn_not_yet_committed_is_known_although_the_store_does_not_hold_it),
		CASE(each_copy_names_its_own_recipients),
		CASE(a_relay_lets_its_copy_go_when_the_next_hop_has_it),
		CASE(a_reoffer_with_a_higher_retry_is_taken_into_custody_again),
		CASE(a_reoffer_that_finds_the_copy_waiting_only_raises_its_number),
		CASE(a_message_that_comes_back_to_a_node_in_its_trace_is_taken_again),
		CASE(other_content_under_a_known_id_is_refused_as_id_conflict),
		CASE(a_full_store_refuses_what_is_new_but_not_what_it_holds),
		CASE(an_offer_for_whom_the_message_is_not_is_refused),
		CASE(the_hop_limit_ends_a_copy_that_would_go_on),
		CASE(an_offer_that_died_of_its_hop_limit_is_taken_when_it_comes_with_hops_left),
		CASE(an_old_state_outlives_a_newer_one_that_died_of_its_hop_limit),
		CASE(a_newer_state_that_only_passes_does_not_take_away_the_one_that_is_shown_here),
		CASE(a_state_that_passed_first_and_then_is_for_us_is_shown),
		CASE(an_addressee_answers_a_duplicate_with_a_fresh_receipt_and_shows_it_once),
		CASE(the_receipt_leaves_with_the_commit_that_keeps_its_message),
		CASE(what_an_addressee_does_not_know_is_kept_and_told_as_not_understood),
		CASE(what_comes_after_its_lifetime_is_shown_as_late),
		CASE(a_message_for_us_and_for_another_is_delivered_and_passed_on),
		CASE(a_long_message_for_us_is_understood),
		CASE(status_of_an_older_sequence_never_replaces_a_newer),
		CASE(a_newer_status_takes_the_place_of_the_older_in_the_queue),
		CASE(a_relay_drops_for_age_what_a_trusted_clock_says_is_over_and_tells_the_origin),
		CASE(a_relay_with_an_untrusted_clock_drops_nothing_for_age),
		CASE(flash_is_never_dropped_in_transit),
		CASE(a_relay_whose_copy_is_damaged_takes_the_next_offer),
		CASE(an_origin_whose_copy_is_damaged_tells_its_author),
	};
	return RUN_FED_AND_HUNGRY(tests);
}
