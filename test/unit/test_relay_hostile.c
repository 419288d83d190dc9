/* test_relay_hostile.c: what a certified neighbour that was taken over may do to a relay, and what it may not. One test an attack. */
#include "daemon/relay/quota.h"
#include "test/unit/relay_makers.h"

#define BOX struct box *box = *state
#define BY_DESK(counter_, level_) (struct told){ .link = CP_A, .witness = DESK, .epoch = 1, .counter = (counter_), .level = (level_) }
#define ROUTINE_RETRY_MS (30 * MINUTE_MS)

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

static void start_with_bytes(struct box *box, int64_t bytes)
{
	static const struct relay_counters counters = { 0 };

	relay_free(box->relay);
	box->config.quota_bytes = bytes;
	box_start(box, &counters);
}

/* Towards the desk two ways lead; each time another is taken first. */
static size_t waiting(const struct box *box)
{
	return rows_of(box, CP_A, ITEM_TYPE_MESSAGE) + rows_of(box, CP_B, ITEM_TYPE_MESSAGE);
}

static void pass_on(struct box *box)
{
	const uint32_t link = rows_of(box, CP_A, ITEM_TYPE_MESSAGE) ? CP_A : CP_B;

	assert_int_equal(waiting(box), 1);
	answer_of(box, RELAY_ACKED, link, taken(box, link), REFUSED_NONE);
}

/* ---------------------------------------------------------------- numbers that nobody signs */

static void a_number_far_too_high_keeps_no_later_offer_back(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	pass_on(box);
	/* it plays the message again, under a number that the origin never reaches */
	assert_int_equal(arrive(box, NSP_B, &header, UINT32_MAX), REFUSED_NONE);
	pass_on(box);
	assert_int_equal(arrive(box, NSP_A, &header, 1), REFUSED_NONE);
	assert_int_equal(waiting(box), 0);
	/* what was passed on did not arrive; the origin offers again, as it does */
	pass_time(box, ROUTINE_RETRY_MS);
	assert_int_equal(arrive(box, NSP_A, &header, 2), REFUSED_NONE);
	assert_int_equal(waiting(box), 1);
	pass_on(box);
	/* and from then on its own numbers count again: not twice, and not only after a while */
	assert_int_equal(arrive(box, NSP_A, &header, 2), REFUSED_NONE);
	assert_int_equal(waiting(box), 0);
	assert_int_equal(arrive(box, NSP_A, &header, 3), REFUSED_NONE);
	assert_int_equal(waiting(box), 1);
}

static void a_number_far_too_high_silences_no_addressee(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, SELF);

	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	assert_int_equal(arrive(box, NSP_B, &header, UINT32_MAX), REFUSED_NONE);
	pass_time(box, ROUTINE_RETRY_MS);
	assert_int_equal(arrive(box, NSP_A, &header, 1), REFUSED_NONE);
	assert_int_equal(box->witnessed_count, 1);
	assert_int_equal(journal_of(box, JOURNAL_DELIVERED_HERE), 0);
}

static void an_addressee_does_not_answer_without_end(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, SELF);
	size_t answers = 0;

	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	pass_time(box, ROUTINE_RETRY_MS);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(arrive(box, NSP_B, &header, 0), REFUSED_NONE);
		answers += box->witnessed_count;
	}
	assert_int_equal(answers, LIMIT_QUOTA_ANSWERS);
}

/* ---------------------------------------------------------------- receipts for what nobody wrote */

static void a_receipt_for_other_words_stops_no_message(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK), other = header;

	/* it knows which id comes next */
	other.lifetime_s++;
	receipt(box, &other, (struct told){ .link = NSP_B, .witness = NSP_B, .epoch = 1, .counter = 1, .level = LEVEL_DELIVERED });
	receipt(box, &other, (struct told){ .link = NSP_B, .witness = DESK, .epoch = 1, .counter = 1, .level = LEVEL_DONE });
	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 1);
	assert_memory_equal(&box_held(box, &header.id)->hash, &make_message(box, &header)->hash, sizeof(struct hash8));
	assert_null(custody_recipient(box_held(box, &header.id), NSP_B));
	/* once the message is here its hash is its own */
	assert_int_equal(arrive(box, NSP_B, &other, 0), REFUSED_ID_CONFLICT);
}

static void a_receipt_for_other_words_stops_no_large_body(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK), other = header;
	const uint8_t held = 0;
	struct trailer trailer = trailer_by(NSP_A, 0);
	struct relay_event event = { .type = RELAY_MESSAGE, .link = NSP_A, .serial = ++box->serial, .trailer = &trailer, .store_admits = true, .held = { &held, 1 } };

	header.body = (struct slice){ 0 };
	header.large_length = 3 * LIMIT_LEAF;
	receipt(box, &other, (struct told){ .link = NSP_B, .witness = DESK, .epoch = 1, .counter = 1, .level = LEVEL_DONE });
	event.message = make_message(box, &header);
	assert_int_equal(play(box, &event), CPD_OK);
	assert_int_equal(effects_of(box, EFFECT_WANT), 1);
	assert_memory_equal(&box_held(box, &header.id)->hash, &event.message->hash, sizeof(struct hash8));
	assert_null(custody_recipient(box_held(box, &header.id), DESK));
}

static void receipts_for_invented_ids_leave_a_bounded_number_of_records(void **state)
{
	BOX;
	struct receipts receipts = { .witness = NSP_B, .epoch = 1, .origin = NSP_A };
	const unsigned records = 2 * LIMIT_QUOTA_FOREKNOWN / LIMIT_RECEIPT_ENTRIES;

	for (unsigned r = 0; r < records; r++) {
		struct relay_event event = { .type = RELAY_RECEIPTS, .link = NSP_B, .serial = ++box->serial };

		receipts.counter = r + 1;
		receipts.count = LIMIT_RECEIPT_ENTRIES;
		for (unsigned i = 0; i < LIMIT_RECEIPT_ENTRIES; i++)
			receipts.entries[i] = (struct receipt_entry){ .subject = { NSP_A, 1, 1000 + r * LIMIT_RECEIPT_ENTRIES + i }, .level = LEVEL_DELIVERED };
		event.receipts = make_receipts(box, &receipts);
		assert_int_equal(play(box, &event), CPD_OK);
		assert_int_equal(settled(box, event.serial), REFUSED_NONE);     /* it is no fault to know more than we do */
	}
	assert_int_equal(box->custody_count, LIMIT_QUOTA_FOREKNOWN);
	/* another's receipts are remembered as ever */
	{
		struct header header = header_of(KIND_TEXT, NSP_A, 9, DESK);

		receipt(box, &header, BY_DESK(1, LEVEL_DONE));
		assert_non_null(box_held(box, &header.id));
	}
}

/* ---------------------------------------------------------------- advice that makes work */

static void words_of_conflict_make_a_bounded_number_of_new_messages(void **state)
{
	BOX;
	size_t reissues = 0;

	for (unsigned i = 0; i < LIMIT_QUOTA_CONFLICTS + 20; i++) {
		struct header header = header_of(KIND_TEXT, SELF, 1, DESK);

		author(box, &header);
		receipt(box, &header, (struct told){ .link = NSP_B, .witness = NSP_B, .epoch = 1, .counter = i + 1, .level = LEVEL_UNDELIVERABLE, .reason = REFUSED_ID_CONFLICT });
		reissues += effects_of(box, EFFECT_REISSUE);
	}
	assert_int_equal(reissues, LIMIT_QUOTA_CONFLICTS);
}

static void a_neighbour_that_refuses_all_as_conflict_is_offered_them_later(void **state)
{
	BOX;
	size_t reissues = 0;

	for (unsigned i = 0; i < LIMIT_QUOTA_CONFLICTS + 5; i++) {
		authored_text(box, DESK);
		answer_of(box, RELAY_REFUSED, CP_A, taken(box, CP_A), REFUSED_ID_CONFLICT);
		reissues += effects_of(box, EFFECT_REISSUE);
	}
	assert_int_equal(reissues, LIMIT_QUOTA_CONFLICTS);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 5);     /* they wait, and nobody is told that they are lost */
}

static void receipts_for_own_messages_to_come_use_up_no_epochs(void **state)
{
	BOX;
	size_t raises = 0;

	for (unsigned i = 0; i < 20; i++) {
		struct header header = header_of(KIND_TEXT, SELF, 5, DESK);

		header.id.epoch = i < 10 ? UINT32_MAX - 1 : SELF_EPOCH + 3;
		receipt(box, &header, (struct told){ .link = NSP_B, .witness = NSP_B, .epoch = 1, .counter = i + 1, .level = LEVEL_DELIVERED });
		raises += effects_of(box, EFFECT_RAISE_EPOCH);
		if (i < 10)
			assert_int_equal(raises, 0);
	}
	assert_int_equal(raises, LIMIT_QUOTA_EPOCHS);
}

/* ---------------------------------------------------------------- floods */

static enum precedence queued_as(const struct box *box, uint32_t link, const struct message_id *id)
{
	for (size_t i = 0; i < box->row_count; i++)
		if (box->rows[i].link == link && message_id_equal(&box->rows[i].row.ref.id, id))
			return box->rows[i].row.ref.precedence;
	fail_msg("it has no row");
	return PRECEDENCE_ROUTINE;
}

static void who_marks_all_as_flash_is_queued_lower_and_never_refused(void **state)
{
	BOX;
	struct header header;

	for (unsigned i = 1; i <= LIMIT_QUOTA_FLASH + LIMIT_QUOTA_IMMEDIATE + 10; i++) {
		enum precedence expected = i <= LIMIT_QUOTA_FLASH ? PRECEDENCE_FLASH
		    : i <= LIMIT_QUOTA_FLASH + LIMIT_QUOTA_IMMEDIATE ? PRECEDENCE_IMMEDIATE : PRECEDENCE_PRIORITY;

		header = header_of(KIND_CALL, NSP_B, i, DESK);
		assert_int_equal(arrive(box, NSP_B, &header, 0), REFUSED_NONE);
		assert_int_equal(queued_as(box, CP_A, &header.id), expected);
		assert_int_equal(box_held(box, &header.id)->precedence, PRECEDENCE_FLASH);  /* it is what it says, wherever it is shown */
	}
	/* another's call is not behind it */
	header = header_of(KIND_CALL, NSP_A, 1, DESK);
	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	assert_int_equal(queued_as(box, CP_A, &header.id), PRECEDENCE_FLASH);
	/* and one of its own a little later goes as what it is again */
	pass_time(box, LIMIT_QUOTA_FLASH_MS);
	header = header_of(KIND_CALL, NSP_B, 5000, DESK);
	assert_int_equal(arrive(box, NSP_B, &header, 0), REFUSED_NONE);
	assert_int_equal(queued_as(box, CP_A, &header.id), PRECEDENCE_FLASH);
	/* a row that was lowered is held, freed and passed on like any other: the fixture looks that none is left over */
	header.id.sequence = LIMIT_QUOTA_FLASH + 1;
	assert_int_equal(operate(box, &header.id, ACT_HOLD), CPD_OK);
	assert_int_equal(operate(box, &header.id, ACT_RELEASE), CPD_OK);
	assert_int_equal(queued_as(box, CP_A, &header.id), PRECEDENCE_IMMEDIATE);
}

static void who_fills_the_disk_waits_and_nobody_else(void **state)
{
	BOX;
	struct header header;
	unsigned taken_in = 0, refused = 0;

	start_with_bytes(box, 64 * 1024);
	for (unsigned i = 1; i <= 100; i++) {
		header = header_of(KIND_TEXT, NSP_B, i, DESK);
		int reason = arrive(box, NSP_B, &header, 0);

		assert_true(reason == REFUSED_NONE || reason == REFUSED_QUOTA);
		taken_in += reason == REFUSED_NONE;
		refused += reason == REFUSED_QUOTA;
		if (reason)
			assert_null(box_held(box, &header.id));
	}
	assert_int_equal(taken_in, 64);
	assert_int_equal(refused, 36);
	assert_true(reason_is_retryable(REFUSED_QUOTA));
	/* what it had taken in before is served all the same */
	header = header_of(KIND_TEXT, NSP_B, 1, DESK);
	assert_int_equal(arrive(box, NSP_B, &header, 1), REFUSED_NONE);
	header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	authored_text(box, DESK);
	/* in time it may again */
	pass_time(box, LIMIT_QUOTA_BYTES_MS / 64 + MINUTE_MS);
	header = header_of(KIND_TEXT, NSP_B, 200, DESK);
	assert_int_equal(arrive(box, NSP_B, &header, 0), REFUSED_NONE);
}

/* ---------------------------------------------------------------- allowances themselves */

static void an_allowance_is_what_it_says_and_comes_back_with_time(void **state)
{
	static const struct { enum quota_kind kind; int64_t most, ms; } kinds[] = {
		{ QUOTA_MESSAGES, LIMIT_QUOTA_MESSAGES, LIMIT_QUOTA_MESSAGE_MS }, { QUOTA_PRIORITY, LIMIT_QUOTA_PRIORITY, LIMIT_QUOTA_PRIORITY_MS },
		{ QUOTA_IMMEDIATE, LIMIT_QUOTA_IMMEDIATE, LIMIT_QUOTA_IMMEDIATE_MS }, { QUOTA_FLASH, LIMIT_QUOTA_FLASH, LIMIT_QUOTA_FLASH_MS },
		{ QUOTA_OFFERS, LIMIT_QUOTA_OFFERS, LIMIT_QUOTA_OFFER_MS }, { QUOTA_FOREKNOWN, LIMIT_QUOTA_FOREKNOWN, LIMIT_QUOTA_FOREKNOWN_MS },
		{ QUOTA_CONFLICTS, LIMIT_QUOTA_CONFLICTS, LIMIT_QUOTA_CONFLICT_MS }, { QUOTA_EPOCHS, LIMIT_QUOTA_EPOCHS, LIMIT_QUOTA_EPOCH_MS },
		{ QUOTA_ANSWERS, LIMIT_QUOTA_ANSWERS, LIMIT_QUOTA_ANSWER_MS }, { QUOTA_KIB, 1024, LIMIT_QUOTA_BYTES_MS / 1024 + 1 },
	};
	struct quotas *quotas = quotas_new(1024 * 1024);

	(void)state;
	assert_int_equal(sizeof(kinds) / sizeof(kinds[0]), QUOTA_KINDS);
	for (size_t k = 0; k < QUOTA_KINDS; k++) {
		int64_t at_ms = 1000;

		for (int64_t i = 0; i < kinds[k].most; i++)
			assert_int_equal(quota_take(quotas, NSP_A, kinds[k].kind, 1, at_ms), CPD_OK);
		assert_int_equal(quota_take(quotas, NSP_A, kinds[k].kind, 1, at_ms), CPD_ERR_FULL);
		assert_int_equal(quota_take(quotas, NSP_B, kinds[k].kind, 1, at_ms), CPD_OK);
		/* a clock that goes back gives nothing and takes nothing */
		assert_int_equal(quota_take(quotas, NSP_A, kinds[k].kind, 1, at_ms - 500), CPD_ERR_FULL);
		assert_int_equal(quota_take(quotas, NSP_A, kinds[k].kind, 1, at_ms + kinds[k].ms - 1), CPD_ERR_FULL);
		assert_int_equal(quota_take(quotas, NSP_A, kinds[k].kind, 1, at_ms + kinds[k].ms), CPD_OK);
		assert_int_equal(quota_take(quotas, NSP_A, kinds[k].kind, 1, at_ms + kinds[k].ms), CPD_ERR_FULL);
	}
	/* one that is larger than all is let through when nothing is used, else it would wait for ever */
	assert_int_equal(quota_take(quotas, DESK, QUOTA_KIB, 5000, 1000), CPD_OK);
	assert_int_equal(quota_take(quotas, DESK, QUOTA_KIB, 1, 1000), CPD_ERR_FULL);
	quotas_free(quotas);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_box, close_box)
	const struct CMUnitTest tests[] = {
		CASE(a_number_far_too_high_keeps_no_later_offer_back),
		CASE(a_number_far_too_high_silences_no_addressee),
		CASE(an_addressee_does_not_answer_without_end),
		CASE(a_receipt_for_other_words_stops_no_message),
		CASE(a_receipt_for_other_words_stops_no_large_body),
		CASE(receipts_for_invented_ids_leave_a_bounded_number_of_records),
		CASE(words_of_conflict_make_a_bounded_number_of_new_messages),
		CASE(a_neighbour_that_refuses_all_as_conflict_is_offered_them_later),
		CASE(receipts_for_own_messages_to_come_use_up_no_epochs),
		CASE(who_marks_all_as_flash_is_queued_lower_and_never_refused),
		CASE(who_fills_the_disk_waits_and_nobody_else),
		cmocka_unit_test(an_allowance_is_what_it_says_and_comes_back_with_time),
	};
	return RUN_FED_AND_HUNGRY(tests);
}
