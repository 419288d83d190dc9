/* test_relay_receipts.c: receipts pass through, answer for their addressee, and end what waits. */
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

#define BY_DESK(counter_, level_) (struct told){ .link = CP_A, .witness = DESK, .epoch = 1, .counter = (counter_), .level = (level_) }

static void a_relay_with_the_closing_receipt_answers_with_it(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct item_ref ref;

	arrive(box, NSP_A, &header, 0);
	passed(box, CP_A);
	assert_int_equal(receipt(box, &header, BY_DESK(7, LEVEL_DELIVERED)), REFUSED_NONE);
	passed(box, NSP_A);
	assert_int_equal(box->row_count, 0);
	/* the origin did not get it and asks again */
	assert_int_equal(arrive(box, NSP_A, &header, 1), REFUSED_NONE);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE) + rows_of(box, CP_B, ITEM_TYPE_MESSAGE), 0);
	assert_false(box_has_envelope(box, &header.id));
	ref = taken(box, NSP_A);
	assert_int_equal(ref.type, ITEM_TYPE_RECEIPTS);
	assert_true(message_id_equal(&ref.id, &(struct message_id){ DESK, 1, 7 }));
}

static void a_relay_whose_receipt_does_not_close_the_message_passes_it_on(void **state)
{
	BOX;
	struct header header = header_of(KIND_CALL, NSP_A, 1, DESK);

	arrive(box, NSP_A, &header, 0);
	passed(box, CP_A);
	receipt(box, &header, BY_DESK(7, LEVEL_READ));      /* a call closes at DONE */
	assert_int_equal(arrive(box, NSP_A, &header, 1), REFUSED_NONE);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
}

/* Whoever has the stolen machine signs that it has all, and has done all. */
static void a_receipt_of_a_revoked_key_ends_nobodys_wait_and_is_passed_on(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct told told = BY_DESK(7, LEVEL_DONE);

	told.is_suspect = true;
	arrive(box, NSP_A, &header, 0);
	assert_int_equal(receipt(box, &header, told), REFUSED_NONE);
	assert_int_equal(box_recipient(box, &header.id, DESK)->level, LEVEL_NONE);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
	assert_true(box_has_envelope(box, &header.id));
	assert_int_equal(journal_of(box, JOURNAL_RECEIPT_DOUBTED), 1);
	assert_int_equal(rows_of(box, NSP_A, ITEM_TYPE_RECEIPTS), 1);
	/* what the one who took its place signs does end it */
	assert_int_equal(receipt(box, &header, BY_DESK(8, LEVEL_DONE)), REFUSED_NONE);
	assert_int_equal(box_recipient(box, &header.id, DESK)->level, LEVEL_DONE);
}

static void the_state_that_a_revoked_key_tells_takes_no_ones_place(void **state)
{
	BOX;
	struct header first = header_of(KIND_STATUS, NSP_A, 1, SELF), stolen = header_of(KIND_STATUS, NSP_A, 2, SELF);
	struct relay_event event = { .type = RELAY_MESSAGE, .link = NSP_A, .store_admits = box->store_admits };
	struct trailer trailer = trailer_by(NSP_A, 0);

	arrive(box, NSP_A, &first, 0);
	event.serial = ++box->serial;
	event.message = make_message(box, &stolen);
	event.trailer = &trailer;
	((struct verified_message *)(uintptr_t)event.message)->is_suspect = true;
	assert_int_equal(play(box, &event), CPD_OK);
	assert_int_equal(settled(box, event.serial), REFUSED_NONE);
	assert_true(box_has_envelope(box, &first.id));       /* the newest that is trusted stands */
	assert_true(box_has_envelope(box, &stolen.id));      /* and the other is kept, to be shown as what it is */
	assert_true(box_held(box, &stolen.id)->flags & CUSTODY_IS_SUSPECT);
	assert_false(box_held(box, &first.id)->flags & CUSTODY_IS_SUPERSEDED);
}

static void a_receipt_of_an_older_epoch_than_the_offer_names_answers_nothing(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct trailer trailer = trailer_by(NSP_A, 1);

	arrive(box, NSP_A, &header, 0);
	passed(box, CP_A);
	receipt(box, &header, BY_DESK(7, LEVEL_DELIVERED));
	trailer.after_epoch = 2;                             /* the desk burnt down since */
	assert_int_equal(arrive_with(box, NSP_A, &header, &trailer), REFUSED_NONE);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
}

static void a_receipt_goes_to_its_origin_once_and_is_not_passed_round(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	arrive(box, NSP_A, &header, 0);
	assert_int_equal(receipt(box, &header, BY_DESK(7, LEVEL_DELIVERED)), REFUSED_NONE);
	assert_int_equal(effects_of(box, EFFECT_PUT_RECEIPTS), 1);
	assert_int_equal(rows_of(box, NSP_A, ITEM_TYPE_RECEIPTS), 1);
	passed(box, NSP_A);
	assert_int_equal(receipt(box, &header, BY_DESK(7, LEVEL_DELIVERED)), REFUSED_NONE);
	assert_int_equal(rows_of(box, NSP_A, ITEM_TYPE_RECEIPTS), 0);
	/* later again, since what was passed on may have burnt */
	pass_time(box, MINUTE_MS);
	assert_int_equal(receipt(box, &header, BY_DESK(7, LEVEL_DELIVERED)), REFUSED_NONE);
	assert_int_equal(rows_of(box, NSP_A, ITEM_TYPE_RECEIPTS), 1);
}

static void a_receipt_is_settled_only_with_the_turn_that_keeps_it(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	receipt(box, &header, BY_DESK(7, LEVEL_DELIVERED));
	assert_int_equal(effects_of(box, EFFECT_PUT_RECEIPTS), 1);
	assert_int_equal(effects_of(box, EFFECT_SETTLE), 1);
	assert_int_equal(effects_of(box, EFFECT_PUT_ROW), 1);
}

static void the_closing_receipt_ends_a_copy_that_waits(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	arrive(box, NSP_A, &header, 0);
	receipt(box, &header, BY_DESK(7, LEVEL_DELIVERED));
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_ENDED);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 0);
	assert_false(box_has_envelope(box, &header.id));
	assert_int_equal(box->timer_count, 0);
}

static void a_receipt_that_comes_before_its_message_is_remembered(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	receipt(box, &header, BY_DESK(7, LEVEL_DONE));       /* the message went by another way */
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_NONE);
	passed(box, NSP_A);
	assert_int_equal(arrive(box, NSP_A, &header, 1), REFUSED_NONE);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 0);
	assert_int_equal(rows_of(box, NSP_A, ITEM_TYPE_RECEIPTS), 1);
}

static void levels_only_move_forward_whatever_the_order(void **state)
{
	BOX;
	struct header header = header_of(KIND_CALL, SELF, 1, DESK);

	author(box, &header);
	receipt(box, &header, BY_DESK(3, LEVEL_ACCEPTED));
	assert_int_equal(box_recipient(box, &header.id, DESK)->level, LEVEL_ACCEPTED);
	receipt(box, &header, BY_DESK(1, LEVEL_DELIVERED));
	assert_int_equal(box_recipient(box, &header.id, DESK)->level, LEVEL_ACCEPTED);
	assert_int_equal(journal_of(box, JOURNAL_RECEIPT), 0);
	receipt(box, &header, BY_DESK(4, LEVEL_DONE));
	assert_int_equal(box_recipient(box, &header.id, DESK)->level, LEVEL_DONE);
	assert_int_equal(journal_of(box, JOURNAL_CLOSED), 1);
}

static void a_receipt_of_another_content_changes_nothing(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK), other;

	author(box, &header);
	other = header;
	other.body = (struct slice){ (const uint8_t *)"\n\4ja!!", 6 };
	receipt(box, &other, BY_DESK(1, LEVEL_DELIVERED));
	assert_int_equal(journal_of(box, JOURNAL_ID_CONFLICT), 1);
	assert_int_equal(box_recipient(box, &header.id, DESK)->level, LEVEL_NONE);
}

static void one_who_is_no_addressee_signs_for_nobody(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK);

	author(box, &header);
	receipt(box, &header, (struct told){ .link = CP_A, .witness = CP_A, .epoch = 1, .counter = 1, .level = LEVEL_DONE });
	assert_int_equal(box_held(box, &header.id)->recipient_count, 1);
	assert_false(box_held(box, &header.id)->flags & CUSTODY_IS_CLOSED);
}

static void a_relays_word_is_advice_and_ends_no_retry(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK);

	author(box, &header);
	passed(box, CP_A);
	receipt(box, &header, (struct told){ .link = CP_A, .witness = CP_A, .epoch = 1, .counter = 1, .level = LEVEL_UNDELIVERABLE, .reason = REFUSED_HOP_LIMIT });
	assert_int_equal(journal_of(box, JOURNAL_UNDELIVERABLE), 1);
	assert_false(box_held(box, &header.id)->flags & CUSTODY_IS_CLOSED);
	pass_time(box, HOUR_MS);
	assert_true(journal_of(box, JOURNAL_RETRY) >= 1);
	receipt(box, &header, BY_DESK(1, LEVEL_DELIVERED));
	assert_int_equal(box_recipient(box, &header.id, DESK)->level, LEVEL_DELIVERED);
}

static void a_receipt_for_what_we_never_said_raises_the_epoch(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 900, DESK);

	header.id.epoch = SELF_EPOCH;
	receipt(box, &header, BY_DESK(1, LEVEL_DELIVERED));
	assert_int_equal(effect_of(box, EFFECT_RAISE_EPOCH)->epoch, SELF_EPOCH + 1);
	assert_null(box_held(box, &header.id));
}

/* ---------------------------------------------------------------- refusals */

static void a_retryable_refusal_waits_and_comes_again(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct item_ref ref, again;

	arrive(box, NSP_A, &header, 0);
	ref = taken(box, CP_A);
	answer_of(box, RELAY_REFUSED, CP_A, ref, REFUSED_FULL);
	assert_true(is_silent(box, CP_A));
	assert_int_equal(box->witnessed_count, 0);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
	pass_time(box, box->config.refusal_wait_ms - 1);
	assert_true(is_silent(box, CP_A));
	pass_time(box, 1);
	again = taken(box, CP_A);
	assert_true(message_id_equal(&again.id, &ref.id));
}

static void what_a_dropped_link_returns_comes_again_at_once(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct item_ref ref;

	arrive(box, NSP_A, &header, 0);
	ref = taken(box, CP_A);
	assert_true(is_silent(box, CP_A));
	answer_of(box, RELAY_RETURNED, CP_A, ref, REFUSED_NONE);
	assert_int_equal(taken(box, CP_A).counter, ref.counter);
}

static void a_final_refusal_at_a_relay_tells_the_origin(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	arrive(box, NSP_A, &header, 0);
	answer_of(box, RELAY_REFUSED, CP_A, taken(box, CP_A), REFUSED_TOO_LARGE);
	assert_int_equal(box->witnessed_count, 1);
	assert_int_equal(box->witnessed[0].level, LEVEL_UNDELIVERABLE);
	assert_int_equal(box->witnessed[0].reason, REFUSED_TOO_LARGE);
	assert_int_equal(rows_of(box, NSP_A, ITEM_TYPE_RECEIPTS), 1);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 0);
	assert_false(box_has_envelope(box, &header.id));
}

static void a_final_refusal_at_the_origin_is_told_and_does_not_end_it(void **state)
{
	BOX;
	struct message_id id = authored_text(box, DESK);

	answer_of(box, RELAY_REFUSED, CP_A, taken(box, CP_A), REFUSED_HOP_LIMIT);
	assert_int_equal(journal_of(box, JOURNAL_UNDELIVERABLE), 1);
	assert_int_equal(box_recipient(box, &id, DESK)->level, LEVEL_UNDELIVERABLE);
	assert_int_equal(box_recipient(box, &id, DESK)->reason, REFUSED_HOP_LIMIT);
	assert_true(box_has_envelope(box, &id));
	pass_time(box, HOUR_MS);
	assert_int_equal(passed(box, CP_B).id.sequence, id.sequence);    /* by the other way */
}

static void below_the_floor_is_no_refusal_to_tell(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	arrive(box, NSP_A, &header, 0);
	answer_of(box, RELAY_REFUSED, CP_A, taken(box, CP_A), REFUSED_BELOW_FLOOR);
	assert_int_equal(box->witnessed_count, 0);
	assert_int_equal(box->row_count, 0);
}

static void a_conflict_told_by_a_neighbour_asks_for_another_id(void **state)
{
	BOX;
	struct message_id id = authored_text(box, DESK);

	answer_of(box, RELAY_REFUSED, CP_A, taken(box, CP_A), REFUSED_ID_CONFLICT);
	assert_true(message_id_equal(&effect_of(box, EFFECT_REISSUE)->id, &id));
}

static void a_conflict_told_by_a_relay_further_on_asks_for_another_id(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK);

	author(box, &header);
	passed(box, CP_A);
	receipt(box, &header, (struct told){ .link = CP_A, .witness = CP_B, .epoch = 1, .counter = 1, .level = LEVEL_UNDELIVERABLE, .reason = REFUSED_ID_CONFLICT });
	assert_true(message_id_equal(&effect_of(box, EFFECT_REISSUE)->id, &header.id));
}

/* The refusal of a copy that has moved meanwhile says nothing of the copy that waits elsewhere. */
static void a_refusal_of_a_row_that_has_moved_tells_nobody(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct item_ref ref;

	arrive(box, NSP_A, &header, 0);
	ref = taken(box, CP_A);
	link_is(box, CP_A, false);
	pass_time(box, MINUTE_MS);
	assert_int_equal(box_recipient(box, &header.id, DESK)->via, CP_B);
	answer_of(box, RELAY_REFUSED, CP_A, ref, REFUSED_HOP_LIMIT);
	assert_int_equal(box->witnessed_count, 0);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
}

/* ---------------------------------------------------------------- operators at an addressee */

static void each_act_of_a_person_is_witnessed_once(void **state)
{
	BOX;
	struct header header = header_of(KIND_CALL, NSP_A, 1, SELF);

	arrive(box, NSP_A, &header, 0);
	assert_int_equal(operate(box, &header.id, ACT_READ), CPD_OK);
	assert_int_equal(box->witnessed[0].level, LEVEL_READ);
	assert_int_equal(operate(box, &header.id, ACT_READ), CPD_OK);
	assert_int_equal(box->witnessed_count, 0);
	assert_int_equal(operate(box, &header.id, ACT_DONE), CPD_OK);
	assert_int_equal(box->witnessed[0].level, LEVEL_DONE);
	assert_int_equal(operate(box, &header.id, ACT_ACCEPT), CPD_OK);     /* gone further already */
	assert_int_equal(box->witnessed_count, 0);
	assert_int_equal(box_held(box, &header.id)->local_level, LEVEL_DONE);
}

static void nobody_acts_on_what_is_not_here(void **state)
{
	BOX;
	struct header transit = header_of(KIND_TEXT, NSP_A, 1, DESK);

	assert_int_equal(operate(box, &transit.id, ACT_READ), CPD_ERR_NOT_FOUND);
	arrive(box, NSP_A, &transit, 0);
	assert_int_equal(operate(box, &transit.id, ACT_READ), CPD_ERR_STATE);
	assert_int_equal(operate(box, &transit.id, ACT_WITHDRAW), CPD_ERR_STATE);
	assert_int_equal(operate(box, &transit.id, ACT_RELEASE), CPD_OK);   /* it is not held */
	assert_int_equal(box->effect_count, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_box, close_box)
	const struct CMUnitTest tests[] = {
		CASE(a_relay_with_the_closing_receipt_answers_with_it),
		CASE(a_relay_whose_receipt_does_not_close_the_message_passes_it_on),
		CASE(a_receipt_of_an_older_epoch_than_the_offer_names_answers_nothing),
		CASE(a_receipt_of_a_revoked_key_ends_nobodys_wait_and_is_passed_on),
		CASE(the_state_that_a_revoked_key_tells_takes_no_ones_place),
		CASE(a_receipt_goes_to_its_origin_once_and_is_not_passed_round),
		CASE(a_receipt_is_settled_only_with_the_turn_that_keeps_it),
		CASE(the_closing_receipt_ends_a_copy_that_waits),
		CASE(a_receipt_that_comes_before_its_message_is_remembered),
		CASE(levels_only_move_forward_whatever_the_order),
		CASE(a_receipt_of_another_content_changes_nothing),
		CASE(one_who_is_no_addressee_signs_for_nobody),
		CASE(a_relays_word_is_advice_and_ends_no_retry),
		CASE(a_receipt_for_what_we_never_said_raises_the_epoch),
		CASE(a_retryable_refusal_waits_and_comes_again),
		CASE(what_a_dropped_link_returns_comes_again_at_once),
		CASE(a_final_refusal_at_a_relay_tells_the_origin),
		CASE(a_final_refusal_at_the_origin_is_told_and_does_not_end_it),
		CASE(below_the_floor_is_no_refusal_to_tell),
		CASE(a_conflict_told_by_a_neighbour_asks_for_another_id),
		CASE(a_conflict_told_by_a_relay_further_on_asks_for_another_id),
		CASE(a_refusal_of_a_row_that_has_moved_tells_nobody),
		CASE(each_act_of_a_person_is_witnessed_once),
		CASE(nobody_acts_on_what_is_not_here),
	};
	return RUN_FED_AND_HUNGRY(tests);
}
