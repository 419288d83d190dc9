/* test_relay_window.c: what a neighbour refuses for now holds up nobody behind it, and costs few offers. */
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

static void fill(struct box *box, uint64_t count, enum precedence precedence)
{
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	header.precedence = precedence;
	header.lifetime_s = 7 * 24 * 3600;
	for (uint64_t i = 0; i < count; i++, header.id.sequence++)
		assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
}

/* Offers and refusals until the relay offers nothing now. */
static unsigned refuse_all(struct box *box, enum cpd_reason reason)
{
	unsigned offers = 0;
	struct item_ref ref;

	for (int p = PRECEDENCE_COUNT - 1; p >= 0; p--)
		while (gives(box, CP_A, (enum precedence)p, &ref)) {
			answer_of(box, RELAY_REFUSED, CP_A, ref, reason);
			pump(box);
			offers++;
		}
	return offers;
}

static unsigned refuse_for(struct box *box, int64_t ms, enum cpd_reason reason)
{
	int64_t end = box->now.custody_ms + ms;
	unsigned offers = refuse_all(box, reason);

	while (box->now.custody_ms < end) {
		pass_time(box, 1000);
		offers += refuse_all(box, reason);
	}
	return offers;
}

static unsigned pass_all(struct box *box)
{
	unsigned offers = 0;
	struct item_ref ref;

	while (gives(box, CP_A, PRECEDENCE_ROUTINE, &ref)) {
		answer_of(box, RELAY_ACKED, CP_A, ref, REFUSED_NONE);
		pump(box);
		offers++;
	}
	return offers;
}

static void rows_refused_for_now_hold_up_nobody_behind_them(void **state)
{
	BOX;
	struct item_ref ref;

	fill(box, LIMIT_WINDOW + 40, PRECEDENCE_ROUTINE);
	for (int i = 0; i < LIMIT_WINDOW; i++) {
		ref = taken(box, CP_A);
		answer_of(box, RELAY_REFUSED, CP_A, ref, REFUSED_UNKNOWN_GROUP);
		pump(box);
	}
	assert_int_equal(pass_all(box), 40);             /* no time has passed */
	pass_time(box, box->config.refusal_wait_ms);
	assert_int_equal(pass_all(box), LIMIT_WINDOW);
}

static void so_many_rows_may_be_refused_and_none_is_lost(void **state)
{
	BOX;
	unsigned offers;

	fill(box, LIMIT_WINDOW + LIMIT_REFUSED + 300, PRECEDENCE_ROUTINE);
	offers = refuse_all(box, REFUSED_UNKNOWN_GROUP);
	assert_int_equal(offers, LIMIT_WINDOW + LIMIT_REFUSED);
	pass_time(box, box->config.refusal_wait_ms);
	assert_int_equal(pass_all(box), LIMIT_WINDOW + LIMIT_REFUSED + 300);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 0);
}

/* An hour of a neighbour without room: 300 rows, each refused every 320 s, were 3,600 offers over a thin line. */
static void a_neighbour_without_room_is_asked_seldom(void **state)
{
	BOX;
	unsigned offers;

	fill(box, 300, PRECEDENCE_ROUTINE);
	offers = refuse_for(box, HOUR_MS, REFUSED_FULL);
	print_message("offers in an hour: %u\n", offers);
	assert_in_range(offers, 10, 7 + 3600 / 320);
	pass_time(box, 320 * 1000);
	assert_true(pass_all(box) >= 290);               /* the first that is taken lets the others go; a few wait for their own time */
	pass_time(box, 320 * 1000);
	pass_all(box);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 0);
}

static void a_flash_waits_for_no_row_of_others_and_at_most_20_s_for_room(void **state)
{
	BOX;
	struct header flash = header_of(KIND_CALL, NSP_A, 5000, DESK);
	unsigned offers;

	fill(box, 300, PRECEDENCE_ROUTINE);
	refuse_for(box, HOUR_MS, REFUSED_FULL);
	flash.precedence = PRECEDENCE_FLASH;
	assert_int_equal(arrive(box, NSP_A, &flash, 0), REFUSED_NONE);
	assert_int_equal(taken(box, CP_A).id.sequence, 5000);
	answer_of(box, RELAY_REFUSED, CP_A, (struct item_ref){ .type = ITEM_TYPE_MESSAGE, .precedence = PRECEDENCE_FLASH, .id = flash.id,
	    .counter = box_recipient(box, &flash.id, DESK)->row }, REFUSED_FULL);
	offers = refuse_for(box, 10 * MINUTE_MS, REFUSED_FULL);
	assert_in_range(offers, 25, 40);
	pass_time(box, 20000);
	assert_int_equal(taken(box, CP_A).id.sequence, 5000);
}

/* Only large bodies find no room: the small ones behind them go. */
static void a_small_message_gets_its_turn_while_a_large_one_is_refused(void **state)
{
	BOX;
	struct item_ref ref;
	uint64_t refused = 0;
	size_t left;

	fill(box, 20, PRECEDENCE_ROUTINE);
	for (int64_t s = 0; s < 3600; s++) {
		while (gives(box, CP_A, PRECEDENCE_ROUTINE, &ref)) {
			answer_of(box, ref.id.sequence == 1 ? RELAY_REFUSED : RELAY_ACKED, CP_A, ref, ref.id.sequence == 1 ? REFUSED_FULL : REFUSED_NONE);
			refused += ref.id.sequence == 1;
		}
		left = rows_of(box, CP_A, ITEM_TYPE_MESSAGE);
		if (s == 10)
			assert_int_equal(left, 1);
		pass_time(box, 1000);
	}
	assert_in_range(refused, 10, 20);
}

static void a_neighbour_that_comes_back_is_asked_at_once(void **state)
{
	BOX;

	fill(box, 300, PRECEDENCE_ROUTINE);
	refuse_for(box, HOUR_MS, REFUSED_FULL);
	link_is(box, CP_A, false);
	link_is(box, CP_A, true);
	assert_true(pass_all(box) >= 290);
}

static bool is_due(const struct box *box, enum precedence precedence)
{
	return relay_is_due(box->relay, CP_A, precedence, &box->now);
}

/* For the watchdog: what may not go is not due, or a full neighbour would be called a stalled one. */
static void what_waits_after_a_refusal_or_is_with_the_link_is_not_due(void **state)
{
	BOX;
	struct item_ref ref;

	assert_false(is_due(box, PRECEDENCE_ROUTINE));
	fill(box, 2, PRECEDENCE_ROUTINE);
	assert_true(is_due(box, PRECEDENCE_ROUTINE));
	assert_false(is_due(box, PRECEDENCE_FLASH));
	assert_true(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
	assert_true(is_due(box, PRECEDENCE_ROUTINE));   /* the second */
	answer_of(box, RELAY_REFUSED, CP_A, ref, REFUSED_UNKNOWN_GROUP);
	pump(box);
	assert_true(is_due(box, PRECEDENCE_ROUTINE));
	assert_true(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
	assert_false(is_due(box, PRECEDENCE_ROUTINE));  /* one waits, one is under way */
	answer_of(box, RELAY_REFUSED, CP_A, ref, REFUSED_FULL);
	pump(box);
	assert_false(is_due(box, PRECEDENCE_ROUTINE));
	pass_time(box, 60000);
	assert_true(is_due(box, PRECEDENCE_ROUTINE));
	assert_true(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref)); /* the one that asks whether there is room */
	assert_false(is_due(box, PRECEDENCE_ROUTINE));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_box, close_box)
	const struct CMUnitTest tests[] = {
		T(rows_refused_for_now_hold_up_nobody_behind_them),
		T(so_many_rows_may_be_refused_and_none_is_lost),
		T(a_neighbour_without_room_is_asked_seldom),
		T(a_flash_waits_for_no_row_of_others_and_at_most_20_s_for_room),
		T(a_small_message_gets_its_turn_while_a_large_one_is_refused),
		T(a_neighbour_that_comes_back_is_asked_at_once),
		cmocka_unit_test_setup_teardown(what_waits_after_a_refusal_or_is_with_the_link_is_not_due, open_box, close_box),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
