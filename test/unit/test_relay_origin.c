/* test_relay_origin.c: who authored a message keeps it until its addressees have signed, or tells its end. */
#include "test/unit/relay_makers.h"

#define BOX struct box *box = *state
#define DAY_MS (24 * (int64_t)HOUR_MS)

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

static int by_desk(struct box *box, const struct header *header, uint32_t epoch, uint64_t counter, enum level level)
{
	return receipt(box, header, (struct told){ .link = CP_A, .witness = DESK, .epoch = epoch, .counter = counter, .level = level });
}

static void desk_is_heard(struct box *box, uint32_t epoch, uint64_t counter)
{
	heard(box, CP_A, &(struct presence){ .node = DESK, .epoch = epoch, .counter = counter, .homes = { CP_A }, .home_count = 1 });
}

static void the_origin_keeps_a_message_until_the_closing_level_and_its_grace(void **state)
{
	BOX;
	struct header header = header_of(KIND_CALL, SELF, 1, DESK);

	author(box, &header);
	passed(box, CP_A);
	by_desk(box, &header, 1, 1, LEVEL_ACCEPTED);
	assert_false(box_held(box, &header.id)->flags & CUSTODY_IS_CLOSED);
	assert_true(box_has_envelope(box, &header.id));
	by_desk(box, &header, 1, 2, LEVEL_DONE);
	assert_true(box_held(box, &header.id)->flags & CUSTODY_IS_CLOSED);
	pass_time(box, 3 * DAY_MS - 1);
	assert_true(box_has_envelope(box, &header.id));
	pass_time(box, 1);
	assert_false(box_has_envelope(box, &header.id));
	assert_int_equal(journal_of(box, JOURNAL_RELEASED), 1);
	assert_int_equal(relay_counters(box->relay)->floor, 2);
	assert_int_equal(effect_of(box, EFFECT_PURGE_BELOW)->sequence, 2);
}

static void an_acknowledgement_of_the_next_hop_does_not_release_the_origin(void **state)
{
	BOX;
	struct message_id id = authored_text(box, DESK);

	passed(box, CP_A);
	assert_true(box_has_envelope(box, &id));
	pass_time(box, 30 * MINUTE_MS);
	assert_int_equal(journal_of(box, JOURNAL_RETRY), 1);
	assert_int_equal(box_recipient(box, &id, DESK)->retry, 1);
}

static void retry_prefers_a_first_hop_not_tried(void **state)
{
	BOX;
	struct message_id id = authored_text(box, DESK);

	passed(box, CP_A);
	pass_time(box, 30 * MINUTE_MS);
	assert_int_equal(box_recipient(box, &id, DESK)->via, CP_B);
	passed(box, CP_B);
	pass_time(box, HOUR_MS);
	assert_int_equal(box_recipient(box, &id, DESK)->via, CP_A);      /* all tried: the preferred one */
}

static void flash_is_offered_again_sooner_than_routine(void **state)
{
	BOX;
	struct header flash = header_of(KIND_CALL, SELF, 1, DESK);
	struct message_id routine = authored_text(box, DESK);

	author(box, &flash);
	passed(box, CP_A);
	passed(box, CP_A);
	pass_time(box, 31000);
	assert_int_equal(box_recipient(box, &flash.id, DESK)->hop, HOP_QUEUED);
	assert_int_equal(box_recipient(box, &routine, DESK)->hop, HOP_PASSED);
}

static void a_copy_that_waits_is_not_queued_twice_by_a_retry(void **state)
{
	BOX;

	authored_text(box, DESK);
	pass_time(box, 10 * HOUR_MS);
	assert_int_equal(box->row_count, 1);
	assert_int_equal(journal_of(box, JOURNAL_RETRY), 0);
}

static void expiry_at_the_origin_ends_with_a_journal_line_for_each_recipient(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK);

	header.nodes[header.node_count++] = DESK + 1;
	header.nodes[header.node_count++] = NSP_A;
	author(box, &header);
	by_desk(box, &header, 1, 1, LEVEL_DELIVERED);
	pass_time(box, 3 * DAY_MS + 2000);
	assert_int_equal(journal_of(box, JOURNAL_EXPIRED), 2);           /* not the one who signed */
	assert_int_equal(journal_of(box, JOURNAL_CLOSED), 1);
	assert_int_equal(box_recipient(box, &header.id, NSP_A)->level, LEVEL_EXPIRED);
	assert_int_equal(box_recipient(box, &header.id, DESK)->level, LEVEL_DELIVERED);
	assert_true(box_held(box, &header.id)->flags & CUSTODY_IS_EXPIRED);
	assert_int_equal(box->row_count, 0);
	/* DELIVERED beats EXPIRED when it comes late */
	receipt(box, &header, (struct told){ .link = NSP_A, .witness = NSP_A, .epoch = 1, .counter = 1, .level = LEVEL_DELIVERED });
	assert_int_equal(box_recipient(box, &header.id, NSP_A)->level, LEVEL_DELIVERED);
}

static void the_origin_decides_on_expiry_without_any_clock(void **state)
{
	BOX;
	struct message_id id;

	box->now.quality = CLOCK_UNKNOWN;
	id = authored_text(box, DESK);
	pass_time(box, 3 * DAY_MS + 2000);
	assert_true(box_held(box, &id)->flags & CUSTODY_IS_EXPIRED);
}

/* A neighbour whose own way leads through us gives our message back to us. */
static void what_the_origin_has_ended_is_not_sent_when_it_comes_round(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK);
	struct trailer trailer = trailer_by(SELF, 0);

	author(box, &header);
	assert_int_equal(passed(box, CP_A).id.sequence, header.id.sequence);
	assert_int_equal(operate(box, &header.id, ACT_WITHDRAW), CPD_OK);
	trailer.trace[trailer.trace_count++].node = CP_A;
	assert_int_equal(arrive_with(box, CP_A, &header, &trailer), REFUSED_NONE);
	assert_int_equal(box->row_count, 0);
	assert_true(is_silent(box, CP_B));
}

static void what_is_refused_to_its_author_takes_no_number(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK);
	uint64_t next = relay_next_sequence(box->relay);

	header.node_count = 0;
	header.groups[header.group_count++] = (struct group_ref){ 40, 1 };
	author(box, &header);
	assert_null(box_held(box, &header.id));
	assert_int_equal(relay_next_sequence(box->relay), next);
}

static void withdrawal_ends_what_waits_and_is_told(void **state)
{
	BOX;
	struct message_id id = authored_text(box, DESK);

	assert_int_equal(operate(box, &id, ACT_WITHDRAW), CPD_OK);
	assert_int_equal(journal_of(box, JOURNAL_WITHDRAWN), 1);
	assert_int_equal(box->row_count, 0);
	assert_int_equal(box_recipient(box, &id, DESK)->level, LEVEL_WITHDRAWN);
	assert_true(is_silent(box, CP_A));
	assert_int_equal(operate(box, &id, ACT_WITHDRAW), CPD_OK);          /* asked again: done already */
	assert_int_equal(journal_of(box, JOURNAL_WITHDRAWN), 0);
	pass_time(box, 4 * DAY_MS);
	assert_int_equal(journal_of(box, JOURNAL_RETRY), 0);
	assert_int_equal(relay_counters(box->relay)->floor, 2);
}

static void a_newer_message_supersedes_the_one_it_names(void **state)
{
	BOX;
	struct message_id old = authored_text(box, DESK);
	struct header newer = header_of(KIND_TEXT, SELF, 1, DESK);

	newer.supersedes = old;
	author(box, &newer);
	assert_int_equal(journal_of(box, JOURNAL_SUPERSEDED), 1);
	assert_int_equal(box_recipient(box, &old, DESK)->level, LEVEL_SUPERSEDED);
	assert_int_equal(box->row_count, 1);
	assert_int_equal(taken(box, CP_A).id.sequence, newer.id.sequence);
}

static void nobody_supersedes_anothers_message(void **state)
{
	BOX;
	struct message_id old = authored_text(box, DESK);
	struct header forged = header_of(KIND_TEXT, NSP_A, 1, DESK);

	forged.supersedes = old;
	arrive(box, NSP_A, &forged, 0);
	assert_int_equal(journal_of(box, JOURNAL_SUPERSEDED), 0);
	assert_int_equal(box_recipient(box, &old, DESK)->hop, HOP_QUEUED);
}

/* The hash of other words than those under its id here: as after a machine was put back. */
static struct header newer_than(const struct message_id *old, struct hash8 hash)
{
	struct header newer = header_of(KIND_TEXT, old->origin, 1, DESK);

	newer.id.epoch = old->epoch + 1;
	newer.supersedes = *old;
	newer.supersedes_hash = hash;
	newer.has_supersedes_hash = true;
	return newer;
}

static void other_words_under_the_id_that_is_superseded_go_on(void **state)
{
	BOX;
	struct header old = header_of(KIND_TEXT, NSP_A, 1, DESK), newer;

	arrive(box, NSP_A, &old, 0);
	newer = newer_than(&old.id, (struct hash8){ { 1, 2, 3, 4, 5, 6, 7, 8 } });
	assert_int_equal(arrive(box, NSP_A, &newer, 0), REFUSED_NONE);
	assert_int_equal(journal_of(box, JOURNAL_SUPERSEDED), 0);
	assert_false(box_held(box, &old.id)->flags & CUSTODY_IS_SUPERSEDED);
	assert_int_equal(box_recipient(box, &old.id, DESK)->hop, HOP_QUEUED);
	assert_int_equal(box->row_count, 2);
}

static void the_words_that_are_meant_are_superseded_by_their_hash(void **state)
{
	BOX;
	struct header old = header_of(KIND_TEXT, NSP_A, 1, DESK), newer;

	arrive(box, NSP_A, &old, 0);
	newer = newer_than(&old.id, box_held(box, &old.id)->hash);
	assert_int_equal(arrive(box, NSP_A, &newer, 0), REFUSED_NONE);
	assert_int_equal(journal_of(box, JOURNAL_SUPERSEDED), 1);
	assert_int_equal(box_recipient(box, &old.id, DESK)->hop, HOP_ENDED);
	assert_int_equal(box->row_count, 1);
}

static void other_words_in_the_inbox_are_not_marked_superseded(void **state)
{
	BOX;
	struct header old = header_of(KIND_TEXT, NSP_A, 1, SELF), newer;

	arrive(box, NSP_A, &old, 0);
	newer = newer_than(&old.id, (struct hash8){ { 8 } });
	newer.nodes[0] = SELF;
	assert_int_equal(arrive(box, NSP_A, &newer, 0), REFUSED_NONE);
	assert_false(box_held(box, &old.id)->flags & CUSTODY_IS_SUPERSEDED);
	newer = newer_than(&old.id, box_held(box, &old.id)->hash);
	newer.nodes[0] = SELF;
	newer.id.sequence = 2;
	assert_int_equal(arrive(box, NSP_A, &newer, 0), REFUSED_NONE);
	assert_true(box_held(box, &old.id)->flags & CUSTODY_IS_SUPERSEDED);
}

/* What an earlier life of this node wrote comes back; what it replaced there is not what is under that id here. */
static void an_earlier_life_of_the_origin_supersedes_nothing_of_this_one(void **state)
{
	BOX;
	struct message_id own = authored_text(box, DESK);
	struct header newer = newer_than(&own, (struct hash8){ { 9 } });

	newer.id.epoch = own.epoch;
	newer.id.sequence = 1000;
	assert_int_equal(arrive(box, CP_A, &newer, 0), REFUSED_NONE);
	assert_int_equal(journal_of(box, JOURNAL_SUPERSEDED), 0);
	assert_int_equal(box_recipient(box, &own, DESK)->hop, HOP_QUEUED);
}

/* Only a receipt told of it here, and of other words: when they come they are not superseded. */
static void what_a_receipt_told_of_is_compared_too(void **state)
{
	BOX;
	struct header old = header_of(KIND_TEXT, NSP_A, 1, DESK), newer = newer_than(&old.id, (struct hash8){ { 7 } });

	by_desk(box, &old, 1, 1, LEVEL_DELIVERED);
	assert_int_equal(arrive(box, NSP_A, &newer, 0), REFUSED_NONE);
	assert_false(box_held(box, &old.id)->flags & CUSTODY_IS_SUPERSEDED);
}

/* ---------------------------------------------------------------- hold */

static void a_held_message_stays_and_goes_when_it_is_freed(void **state)
{
	BOX;
	struct message_id id = authored_text(box, DESK);

	assert_int_equal(operate(box, &id, ACT_HOLD), CPD_OK);
	assert_true(is_silent(box, CP_A));
	assert_int_equal(box->row_count, 0);
	assert_int_equal(operate(box, &id, ACT_HOLD), CPD_OK);
	assert_int_equal(journal_of(box, JOURNAL_HELD), 0);
	pass_time(box, 5 * HOUR_MS);
	assert_true(is_silent(box, CP_A));
	assert_int_equal(operate(box, &id, ACT_RELEASE), CPD_OK);
	assert_int_equal(journal_of(box, JOURNAL_FREED), 1);
	assert_int_equal(operate(box, &id, ACT_RELEASE), CPD_OK);
	assert_int_equal(journal_of(box, JOURNAL_FREED), 0);
	assert_int_equal(taken(box, CP_A).id.sequence, id.sequence);
}

static void a_held_message_that_is_offered_again_stays_held(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	arrive(box, NSP_A, &header, 0);
	passed(box, CP_A);
	assert_int_equal(operate(box, &header.id, ACT_HOLD), CPD_OK);
	assert_int_equal(arrive(box, NSP_A, &header, 1), REFUSED_NONE);  /* taken again, but it stands still */
	assert_true(box_has_envelope(box, &header.id));
	assert_int_equal(box->row_count, 0);
	assert_int_equal(operate(box, &header.id, ACT_RELEASE), CPD_OK);
	assert_int_equal(box->row_count, 1);
}

static void a_held_message_is_not_retried(void **state)
{
	BOX;
	struct message_id id = authored_text(box, DESK);

	passed(box, CP_A);
	operate(box, &id, ACT_HOLD);
	pass_time(box, 5 * HOUR_MS);
	assert_int_equal(journal_of(box, JOURNAL_RETRY), 0);
	assert_int_equal(box_recipient(box, &id, DESK)->hop, HOP_PASSED);
	operate(box, &id, ACT_RELEASE);
	pass_time(box, 5 * HOUR_MS);
	assert_int_equal(journal_of(box, JOURNAL_RETRY), 1);
}

static void a_held_message_expires_at_its_origin(void **state)
{
	BOX;
	struct message_id id = authored_text(box, DESK);

	operate(box, &id, ACT_HOLD);
	pass_time(box, 3 * DAY_MS + 2000);
	assert_int_equal(journal_of(box, JOURNAL_EXPIRED), 1);
}

/* ---------------------------------------------------------------- a lost disk */

static void an_addressee_with_a_new_epoch_is_offered_again_what_is_in_retention(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK);
	struct trailer trailer;
	struct item_ref ref;

	desk_is_heard(box, 1, 1);
	author(box, &header);
	passed(box, CP_A);
	by_desk(box, &header, 1, 1, LEVEL_DELIVERED);
	assert_true(box_held(box, &header.id)->flags & CUSTODY_IS_CLOSED);
	desk_is_heard(box, 2, 1);
	pump(box);
	assert_false(box_held(box, &header.id)->flags & CUSTODY_IS_CLOSED);
	ref = taken(box, CP_B);
	assert_int_equal(relay_make_trailer(box->relay, box_held(box, &header.id), &ref, CP_B, &box->now, &trailer), CPD_OK);
	assert_int_equal(trailer.after_epoch, 2);
	trailer_clear(&trailer);
	answer_of(box, RELAY_ACKED, CP_B, ref, REFUSED_NONE);
	by_desk(box, &header, 2, 1, LEVEL_DELIVERED);
	assert_true(box_held(box, &header.id)->flags & CUSTODY_IS_CLOSED);
	/* once */
	desk_is_heard(box, 2, 2);
	pump(box);
	assert_int_equal(box->row_count, 0);
}

/* The word of the old disk was still under way when its node came with a new one. Found by seed 2976 of the simulator. */
static void a_late_receipt_of_a_lost_disk_closes_nothing(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK);
	struct trailer trailer;
	struct item_ref ref;

	desk_is_heard(box, 1, 1);
	author(box, &header);
	passed(box, CP_A);
	desk_is_heard(box, 2, 1);
	pump(box);
	by_desk(box, &header, 1, 1, LEVEL_DELIVERED);
	assert_int_equal(box_held(box, &header.id)->recipients[0].level, LEVEL_DELIVERED);
	assert_false(box_held(box, &header.id)->flags & CUSTODY_IS_CLOSED);
	pass_time(box, 3 * HOUR_MS);
	ref = taken(box, CP_B);
	assert_int_equal(relay_make_trailer(box->relay, box_held(box, &header.id), &ref, CP_B, &box->now, &trailer), CPD_OK);
	assert_int_equal(trailer.after_epoch, 2);
	trailer_clear(&trailer);
	answer_of(box, RELAY_ACKED, CP_B, ref, REFUSED_NONE);
	by_desk(box, &header, 2, 1, LEVEL_DELIVERED);
	assert_true(box_held(box, &header.id)->flags & CUSTODY_IS_CLOSED);
}

/* The question for what is in retention is lost with the process: it must be asked again. */
static void a_new_epoch_is_not_forgotten_over_a_restart(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK);
	struct presence stored = { .node = DESK, .epoch = 1, .counter = 1, .homes = { CP_A }, .home_count = 1 };

	desk_is_heard(box, 1, 1);
	author(box, &header);
	passed(box, CP_A);
	by_desk(box, &header, 1, 1, LEVEL_DELIVERED);
	desk_is_heard(box, 2, 1);                       /* the answer never comes */
	if (effect_of(box, EFFECT_PUT_PRESENCE))
		stored.epoch = 2;
	box_restart(box);
	assert_int_equal(relay_restore_presence(box->relay, &stored, box->now.custody_ms), CPD_OK);
	desk_is_heard(box, 2, 2);
	pump(box);
	assert_false(box_held(box, &header.id)->flags & CUSTODY_IS_CLOSED);
	assert_int_equal(box->row_count, 1);
	/* and when all is answered it is known for good */
	pass_time(box, 11 * MINUTE_MS);
	box_clear(box);
	desk_is_heard(box, 2, 3);
	assert_int_equal(effects_of(box, EFFECT_PUT_PRESENCE), 1);
	assert_int_equal(effects_of(box, EFFECT_WANT_OWN), 0);
}

static void what_its_author_ended_is_not_offered_to_a_new_epoch(void **state)
{
	BOX;
	struct header header = header_of(KIND_CALL, SELF, 1, DESK);

	desk_is_heard(box, 1, 1);
	author(box, &header);
	passed(box, CP_A);
	by_desk(box, &header, 1, 1, LEVEL_DELIVERED);
	operate(box, &header.id, ACT_WITHDRAW);
	desk_is_heard(box, 2, 1);
	pump(box);
	assert_int_equal(box->row_count, 0);
}

/* ---------------------------------------------------------------- floor */

static void the_floor_stops_at_the_first_message_that_is_not_final(void **state)
{
	BOX;
	struct header headers[3];

	for (int i = 0; i < 3; i++) {
		headers[i] = header_of(KIND_TEXT, SELF, 1, DESK);
		headers[i].lifetime_s = 30 * 24 * 3600;
		author(box, &headers[i]);
		passed(box, CP_A);
	}
	by_desk(box, &headers[0], 1, 1, LEVEL_DELIVERED);
	by_desk(box, &headers[2], 1, 2, LEVEL_DELIVERED);
	pass_time(box, 4 * DAY_MS);
	assert_int_equal(relay_counters(box->relay)->floor, 2);
	by_desk(box, &headers[1], 1, 3, LEVEL_DELIVERED);
	pass_time(box, 4 * DAY_MS);
	assert_int_equal(relay_counters(box->relay)->floor, 4);
}

static void the_floor_passes_more_messages_than_one_answer_holds(void **state)
{
	BOX;
	struct header header;

	for (uint64_t i = 1; i <= 150; i++) {
		header = header_of(KIND_TEXT, SELF, 1, DESK);
		author(box, &header);
		by_desk(box, &header, 1, i, LEVEL_DELIVERED);
	}
	pass_time(box, 4 * DAY_MS);
	assert_int_equal(relay_counters(box->relay)->floor, 151);
}

static void an_own_message_of_a_sequence_never_given_raises_the_epoch(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 40, DESK);

	header.id.epoch = SELF_EPOCH;
	arrive(box, CP_A, &header, 0);
	assert_int_equal(effect_of(box, EFFECT_RAISE_EPOCH)->epoch, SELF_EPOCH + 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_box, close_box)
	const struct CMUnitTest tests[] = {
		CASE(the_origin_keeps_a_message_until_the_closing_level_and_its_grace),
		CASE(an_acknowledgement_of_the_next_hop_does_not_release_the_origin),
		CASE(retry_prefers_a_first_hop_not_tried),
		CASE(flash_is_offered_again_sooner_than_routine),
		CASE(a_copy_that_waits_is_not_queued_twice_by_a_retry),
		CASE(expiry_at_the_origin_ends_with_a_journal_line_for_each_recipient),
		CASE(the_origin_decides_on_expiry_without_any_clock),
		CASE(what_the_origin_has_ended_is_not_sent_when_it_comes_round),
		CASE(what_is_refused_to_its_author_takes_no_number),
		CASE(withdrawal_ends_what_waits_and_is_told),
		CASE(a_newer_message_supersedes_the_one_it_names),
		CASE(nobody_supersedes_anothers_message),
		CASE(other_words_under_the_id_that_is_superseded_go_on),
		CASE(the_words_that_are_meant_are_superseded_by_their_hash),
		CASE(other_words_in_the_inbox_are_not_marked_superseded),
		CASE(an_earlier_life_of_the_origin_supersedes_nothing_of_this_one),
		CASE(what_a_receipt_told_of_is_compared_too),
		CASE(a_held_message_stays_and_goes_when_it_is_freed),
		CASE(a_held_message_that_is_offered_again_stays_held),
		CASE(a_held_message_is_not_retried),
		CASE(a_held_message_expires_at_its_origin),
		CASE(an_addressee_with_a_new_epoch_is_offered_again_what_is_in_retention),
		CASE(a_late_receipt_of_a_lost_disk_closes_nothing),
		CASE(a_new_epoch_is_not_forgotten_over_a_restart),
		CASE(what_its_author_ended_is_not_offered_to_a_new_epoch),
		CASE(the_floor_stops_at_the_first_message_that_is_not_final),
		CASE(the_floor_passes_more_messages_than_one_answer_holds),
		CASE(an_own_message_of_a_sequence_never_given_raises_the_epoch),
	};
	return RUN_FED_AND_HUNGRY(tests);
}
