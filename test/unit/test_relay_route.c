/* test_relay_route.c: the way a message takes, queues and their windows, groups, presence and floors. */
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

static void node_is_heard(struct box *box, uint32_t link, uint32_t node, uint64_t counter, uint32_t home, uint64_t floor)
{
	struct presence presence = { .node = node, .epoch = 1, .counter = counter, .homes = { home }, .home_count = 1 };

	presence.floors[0] = (struct epoch_floor){ 1, floor };
	presence.floor_count = floor ? 1 : 0;
	heard(box, link, &presence);
}

/* ---------------------------------------------------------------- ways */

static void the_longest_prefix_leads(void **state)
{
	static const struct relay_route routes[] = { { "", { CP_B }, 1 }, { "9", { CP_A }, 1 }, { "90", { NSP_A }, 1 } };
	static const struct relay_counters counters = { 0 };
	BOX;

	relay_free(box->relay);
	box->config.routes = routes;
	box->config.route_count = 3;
	box_start(box, &counters);
	assert_int_equal(relay_route_to(box->relay, 900), NSP_A);
	assert_int_equal(relay_route_to(box->relay, 91), CP_A);
	assert_int_equal(relay_route_to(box->relay, 800), CP_B);
	assert_int_equal(relay_route_to(box->relay, NSP_B), NSP_B);      /* a neighbour is its own way */
	link_is(box, NSP_A, false);
	assert_int_equal(relay_route_to(box->relay, 900), CP_A);         /* a way that is up before one that is down */
	link_is(box, CP_A, false);
	link_is(box, CP_B, false);
	assert_int_equal(relay_route_to(box->relay, 900), NSP_A);        /* a way that is down before none */
}

static void a_message_never_goes_back_the_way_it_came(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, 901, 1, DESK);

	assert_int_equal(arrive(box, CP_A, &header, 0), REFUSED_NONE);
	assert_int_equal(box_recipient(box, &header.id, DESK)->via, CP_B);
}

static void what_has_no_way_waits_for_one(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, 555);

	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	assert_int_equal(box_recipient(box, &header.id, 555)->hop, HOP_UNROUTED);
	assert_int_equal(rows_of(box, 0, ITEM_TYPE_MESSAGE), 1);
	node_is_heard(box, CP_B, 555, 1, CP_B, 0);
	pass_time(box, 2000);
	assert_int_equal(box_recipient(box, &header.id, 555)->via, CP_B);
	assert_int_equal(taken(box, CP_B).id.sequence, 1);
	assert_int_equal(box->row_count, 1);
}

static void a_queue_moves_when_presence_shows_another_home(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, 555);

	node_is_heard(box, CP_A, 555, 1, CP_A, 0);
	link_is(box, CP_A, false);
	for (header.id.sequence = 1; header.id.sequence <= 100; header.id.sequence++)
		arrive(box, NSP_A, &header, 0);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 100);
	node_is_heard(box, CP_B, 555, 2, CP_B, 0);
	pass_time(box, 30000);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 0);
	assert_int_equal(rows_of(box, CP_B, ITEM_TYPE_MESSAGE), 100);
	assert_int_equal(journal_of(box, JOURNAL_REROUTED), 100);
	for (uint64_t i = 1; i <= 100; i++)
		assert_int_equal(passed(box, CP_B).id.sequence, i);
}

static void a_short_cut_moves_no_queue(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	arrive(box, NSP_A, &header, 0);
	link_is(box, CP_A, false);
	pass_time(box, box->config.reroute_ms - 1);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 1);
	link_is(box, CP_A, true);
	pass_time(box, HOUR_MS);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 1);
	link_is(box, CP_A, false);
	pass_time(box, box->config.reroute_ms);
	assert_int_equal(rows_of(box, CP_B, ITEM_TYPE_MESSAGE), 1);
}

static void older_presence_changes_nothing(void **state)
{
	BOX;

	node_is_heard(box, CP_A, 555, 7, CP_A, 0);
	node_is_heard(box, CP_B, 555, 6, CP_B, 0);
	assert_int_equal(box->effect_count, 0);
	assert_int_equal(relay_route_to(box->relay, 555), CP_A);
}

static void presence_is_passed_on_with_its_age_but_not_back(void **state)
{
	BOX;

	node_is_heard(box, CP_A, 555, 1, CP_A, 0);
	assert_int_equal(effects_of(box, EFFECT_PRESENCE), 3);
	for (size_t i = 0; i < box->effect_count; i++)
		assert_false(box->effects[i].type == EFFECT_PRESENCE && box->effects[i].link == CP_A);
	link_is(box, NSP_A, false);
	pass_time(box, 90000);
	link_is(box, NSP_A, true);
	assert_int_equal(effects_of(box, EFFECT_PRESENCE), 1);
	assert_int_equal(effect_of(box, EFFECT_PRESENCE)->age_s, 90);
}

/* ---------------------------------------------------------------- floors */

static void an_offer_below_the_floor_is_refused(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 9, SELF);

	node_is_heard(box, NSP_A, NSP_A, 1, SELF, 10);
	assert_int_equal(effect_of(box, EFFECT_PURGE_BELOW)->sequence, 10);
	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_BELOW_FLOOR);
	assert_null(box_held(box, &header.id));
	header.id.sequence = 10;
	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	header.id = (struct message_id){ NSP_A, 2, 1 };              /* a floor is of its epoch */
	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
}

static void a_falling_floor_is_ignored_and_told(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 9, SELF);

	node_is_heard(box, NSP_A, NSP_A, 1, SELF, 10);
	node_is_heard(box, NSP_A, NSP_A, 2, SELF, 4);
	assert_int_equal(journal_of(box, JOURNAL_FLOOR_FELL), 1);
	assert_int_equal(effects_of(box, EFFECT_PURGE_BELOW), 0);
	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_BELOW_FLOOR);
}

static void own_presence_of_a_later_epoch_raises_ours(void **state)
{
	BOX;

	heard(box, CP_A, &(struct presence){ .node = SELF, .epoch = SELF_EPOCH - 1, .counter = 99 });
	assert_int_equal(effects_of(box, EFFECT_RAISE_EPOCH), 0);
	heard(box, CP_A, &(struct presence){ .node = SELF, .epoch = SELF_EPOCH + 3, .counter = 1 });
	assert_int_equal(effect_of(box, EFFECT_RAISE_EPOCH)->epoch, SELF_EPOCH + 4);
}

/* ---------------------------------------------------------------- queues */

static void flash_is_given_before_routine(void **state)
{
	BOX;
	struct header routine = header_of(KIND_TEXT, NSP_A, 1, DESK), flash = header_of(KIND_CALL, NSP_A, 500, DESK);
	struct item_ref ref;

	for (routine.id.sequence = 1; routine.id.sequence <= 300; routine.id.sequence++)
		arrive(box, NSP_A, &routine, 0);
	arrive(box, NSP_A, &flash, 0);
	assert_true(gives(box, CP_A, PRECEDENCE_FLASH, &ref));        /* also when the window of the others is full */
	assert_int_equal(ref.id.sequence, 500);
	assert_false(gives(box, CP_A, PRECEDENCE_FLASH, &ref));
	assert_true(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
}

static void a_window_is_bounded_and_rows_beyond_it_are_asked_for(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct item_ref refs[LIMIT_WINDOW], ref;

	for (header.id.sequence = 1; header.id.sequence <= 2 * LIMIT_WINDOW; header.id.sequence++)
		arrive(box, NSP_A, &header, 0);
	assert_int_equal(box->question_count, 0);
	for (size_t i = 0; i < LIMIT_WINDOW; i++)
		assert_true(gives(box, CP_A, PRECEDENCE_ROUTINE, &refs[i]));
	assert_false(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));     /* the rest stands in the store */
	for (size_t i = 0; i < LIMIT_WINDOW / 2 - 1; i++)
		answer_of(box, RELAY_ACKED, CP_A, refs[i], REFUSED_NONE);
	assert_int_equal(box->question_count, 0);
	answer_of(box, RELAY_ACKED, CP_A, refs[LIMIT_WINDOW / 2 - 1], REFUSED_NONE);
	assert_int_equal(effects_of(box, EFFECT_WANT_ROWS), 1);
	assert_int_equal(effect_of(box, EFFECT_WANT_ROWS)->counter, refs[LIMIT_WINDOW - 1].counter);
	pump(box);
	assert_true(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
	assert_int_equal(ref.id.sequence, LIMIT_WINDOW + 1);          /* none is skipped */
	answer_of(box, RELAY_ACKED, CP_A, ref, REFUSED_NONE);
	for (size_t i = LIMIT_WINDOW / 2; i < LIMIT_WINDOW; i++)
		answer_of(box, RELAY_ACKED, CP_A, refs[i], REFUSED_NONE);
	pump(box);
	for (uint64_t s = LIMIT_WINDOW + 2; s <= 2 * LIMIT_WINDOW; s++) {
		assert_int_equal(passed(box, CP_A).id.sequence, s);
		pump(box);
	}
	assert_int_equal(box->row_count, 0);
	assert_true(is_silent(box, CP_A));
}

/* An answer that was read before a row was committed does not tell the end of the queue. */
static void an_answer_without_an_uncommitted_row_is_not_the_end(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct trailer trailer = trailer_by(NSP_A, 0);
	struct relay_event event = { .type = RELAY_MESSAGE, .link = NSP_A, .serial = 1, .trailer = &trailer, .store_admits = true },
		answer = { .type = RELAY_ROWS, .link = CP_A, .precedence = PRECEDENCE_ROUTINE, .rows_end = true };
	struct relay_row row;

	for (header.id.sequence = 1; header.id.sequence <= LIMIT_WINDOW + 1; header.id.sequence++)
		arrive(box, NSP_A, &header, 0);
	for (int i = 0; i < LIMIT_WINDOW; i++)
		passed(box, CP_A);
	assert_int_equal(box->question_count, 1);
	row = box->rows[0].row;
	answer.rows = &row;
	answer.row_count = 1;
	event.message = make_message(box, &header);
	box->question_count = 0;                 /* it is answered here */
	turn_begin(box);
	assert_int_equal(hand(box, &event), CPD_OK);
	assert_int_equal(hand(box, &answer), CPD_OK);
	turn_end(box);
	commit(box);
	assert_int_equal(passed(box, CP_A).id.sequence, LIMIT_WINDOW + 1);
	pump(box);
	pass_time(box, 10);
	assert_int_equal(passed(box, CP_A).id.sequence, LIMIT_WINDOW + 2);
}

/* The store is read when the turn of the question is on disk, and the answer may be handed in later: a row of a
 * turn in between is not in it, also when that turn is on disk by then. */
static void a_row_put_behind_a_question_is_not_forgotten(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct relay_event answer = { .type = RELAY_ROWS, .link = CP_A, .precedence = PRECEDENCE_ROUTINE, .rows_end = true };
	struct relay_row row;

	for (header.id.sequence = 1; header.id.sequence <= LIMIT_WINDOW + 1; header.id.sequence++)
		arrive(box, NSP_A, &header, 0);
	for (int i = 0; i < LIMIT_WINDOW; i++)
		passed(box, CP_A);
	assert_int_equal(box->question_count, 1);
	box->question_count = 0;
	row = box->rows[0].row;
	answer.rows = &row;
	answer.row_count = 1;
	arrive(box, NSP_A, &header, 0);
	play(box, &answer);
	pump(box);
	assert_int_equal(passed(box, CP_A).id.sequence, LIMIT_WINDOW + 1);
	pump(box);
	assert_int_equal(passed(box, CP_A).id.sequence, LIMIT_WINDOW + 2);
}

/* While more comes in turn after turn, what is on disk goes out all the same. */
static void a_queue_that_is_filled_all_the_time_moves(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct trailer trailer = trailer_by(NSP_A, 0);
	struct item_ref ref;

	for (header.id.sequence = 1; header.id.sequence <= 2 * LIMIT_WINDOW; header.id.sequence++)
		arrive(box, NSP_A, &header, 0);
	for (int i = 0; i < LIMIT_WINDOW; i++) {
		struct relay_event event = { .type = RELAY_MESSAGE, .link = NSP_A, .serial = 1, .trailer = &trailer, .store_admits = true };
		struct relay_event acked = { .type = RELAY_ACKED, .link = CP_A };

		assert_true(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
		acked.ref = ref;
		header.id.sequence++;
		event.message = make_message(box, &header);
		turn_begin(box);
		assert_int_equal(hand(box, &acked), CPD_OK);
		assert_int_equal(hand(box, &event), CPD_OK);
		turn_end(box);
		relay_committed(box->relay, box->turn - 1); /* the turn at hand is always still on its way */
	}
	assert_int_equal(box->question_count, 1);
	pump(box);
	assert_true(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
	assert_int_equal(ref.id.sequence, LIMIT_WINDOW + 1);
}

static void one_question_at_a_time(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	for (header.id.sequence = 1; header.id.sequence <= LIMIT_WINDOW + 10; header.id.sequence++)
		arrive(box, NSP_A, &header, 0);
	for (int i = 0; i < LIMIT_WINDOW; i++)
		passed(box, CP_A);
	assert_int_equal(box->question_count, 1);
	pass_time(box, 1000);
	assert_int_equal(box->question_count, 0);
	assert_true(relay_next_deadline(box->relay) > box->now.custody_ms);
}

/* Rows the host could not build leave the window, and those behind them come in without waiting for
 * some other event. */
static void void_rows_do_not_stop_a_queue(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct item_ref ref;

	for (header.id.sequence = 1; header.id.sequence <= LIMIT_WINDOW + 10; header.id.sequence++)
		arrive(box, NSP_A, &header, 0);
	for (int i = 0; i < LIMIT_WINDOW; i++) {
		assert_true(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
		relay_item_gone(box->relay, CP_A, &ref);
	}
	assert_false(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
	assert_true(relay_next_deadline(box->relay) <= box->now.custody_ms);
	pass_time(box, 10);
	assert_true(gives(box, CP_A, PRECEDENCE_ROUTINE, &ref));
	assert_int_equal(ref.id.sequence, LIMIT_WINDOW + 1);
}

static void a_restart_finds_the_queue_in_the_store(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);

	for (header.id.sequence = 1; header.id.sequence <= 300; header.id.sequence++)
		arrive(box, NSP_A, &header, 0);
	taken(box, CP_A);
	box_restart(box);
	for (uint64_t i = 1; i <= 300; i++) {
		assert_int_equal(passed(box, CP_A).id.sequence, i);
		pump(box);
	}
	assert_int_equal(box->row_count, 0);
}

static void a_link_that_is_down_is_given_nothing(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, NSP_B);

	link_is(box, NSP_B, false);
	arrive(box, NSP_A, &header, 0);
	assert_true(is_silent(box, NSP_B));
	link_is(box, NSP_B, true);
	assert_int_equal(taken(box, NSP_B).id.sequence, 1);
}

/* ---------------------------------------------------------------- groups */

static void group_is(struct box *box, uint32_t version, size_t count, uint32_t *members)
{
	struct group group = { .number = 40, .version = version, .members = members, .member_count = count };
	struct directory_update update = { .number = version, .created_s = 1, .groups = &group, .group_count = 1 };

	strcpy(group.name, "alle nsp");
	assert_int_equal(directory_apply(box->directory, &update), CPD_OK);
}

/* Recipients stand in a list, or as a bitmap over the members of the group. */
static size_t named_by(const struct trailer *trailer)
{
	size_t count = trailer->recipient_count;

	for (size_t i = 0; i < trailer->member_bitmap_len * 8; i++)
		count += trailer->member_bitmap[i / 8] >> (i % 8) & 1;
	return count;
}

static void a_group_of_300_goes_in_one_row_for_each_link(void **state)
{
	BOX;
	uint32_t members[300];
	struct header header = header_of(KIND_TEXT, SELF, 1, 1);
	struct trailer trailer;
	struct item_ref ref;

	for (uint32_t i = 0; i < 300; i++)
		members[i] = i < 200 ? 9000 + i : 1000 + i;
	for (uint32_t i = 200; i < 300; i++)
		node_is_heard(box, NSP_B, 1000 + i, 1, NSP_B, 0);
	group_is(box, 1, 300, members);
	header.node_count = 0;
	header.groups[0] = (struct group_ref){ 40, 1 };
	header.group_count = 1;
	author(box, &header);
	assert_int_equal(box_held(box, &header.id)->recipient_count, 300);
	assert_int_equal(box->row_count, 2);
	ref = taken(box, CP_A);
	assert_int_equal(relay_make_trailer(box->relay, box_held(box, &header.id), &ref, CP_A, &box->now, &trailer), CPD_OK);
	assert_int_equal(named_by(&trailer), 200);
	trailer_clear(&trailer);
	answer_of(box, RELAY_ACKED, CP_A, ref, REFUSED_NONE);
	assert_int_equal(box->row_count, 1);
	ref = taken(box, NSP_B);
	assert_int_equal(relay_make_trailer(box->relay, box_held(box, &header.id), &ref, NSP_B, &box->now, &trailer), CPD_OK);
	assert_int_equal(named_by(&trailer), 100);
	trailer_clear(&trailer);
}

static void an_unknown_group_is_refused_for_now(void **state)
{
	BOX;
	uint32_t members[] = { SELF, DESK };
	struct header header = header_of(KIND_TEXT, NSP_A, 1, 1);
	int reason;

	header.node_count = 0;
	header.groups[0] = (struct group_ref){ 40, 1 };
	header.group_count = 1;
	reason = arrive(box, NSP_A, &header, 0);
	assert_int_equal(reason, REFUSED_UNKNOWN_GROUP);
	assert_true(reason_is_retryable((enum cpd_reason)reason));
	assert_null(box_held(box, &header.id));
	group_is(box, 1, 2, members);
	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	assert_int_equal(box->witnessed_count, 1);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
}

static void a_bitmap_names_the_members_to_serve(void **state)
{
	BOX;
	uint32_t members[] = { SELF, DESK, DESK + 1, DESK + 2 };
	struct header header = header_of(KIND_TEXT, NSP_A, 1, 1);
	struct trailer trailer = trailer_by(NSP_A, 0);

	group_is(box, 1, 4, members);
	header.node_count = 0;
	header.groups[0] = (struct group_ref){ 40, 1 };
	header.group_count = 1;
	trailer.member_bitmap[0] = 1 << 2;
	trailer.member_bitmap_len = 1;
	assert_int_equal(arrive_with(box, NSP_A, &header, &trailer), REFUSED_NONE);
	assert_int_equal(box_held(box, &header.id)->recipient_count, 1);
	assert_int_equal(box->witnessed_count, 0);
	/* and the rest by another way */
	trailer.member_bitmap[0] = 1 << 0 | 1 << 1;
	assert_int_equal(arrive_with(box, NSP_B, &header, &trailer), REFUSED_NONE);
	assert_int_equal(box_held(box, &header.id)->recipient_count, 2);
	assert_int_equal(box->witnessed_count, 1);
	assert_int_equal(box->row_count, 2 + 1);                      /* two copies and a receipt */
}

/* A stranger's receipts fill the record of a message; its own recipients find room all the same. */
static void receipts_of_strangers_leave_room_for_the_recipients(void **state)
{
	BOX;
	uint32_t members[LIMIT_RECIPIENTS];
	struct header header = header_of(KIND_TEXT, NSP_A, 1, 1);

	for (uint32_t i = 0; i < LIMIT_RECIPIENTS; i++)
		members[i] = 90000 + i;
	group_is(box, 1, LIMIT_RECIPIENTS, members);
	header.node_count = 0;
	header.groups[0] = (struct group_ref){ 40, 1 };
	header.group_count = 1;
	receipt(box, &header, (struct told){ .link = CP_A, .witness = 77, .epoch = 1, .counter = 1, .level = LEVEL_DONE });
	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	assert_int_equal(box_held(box, &header.id)->recipient_count, LIMIT_RECIPIENTS);
	for (uint32_t i = 0; i < LIMIT_RECIPIENTS; i++)
		assert_int_equal(box_recipient(box, &header.id, members[i])->hop, HOP_QUEUED);
}

/* ---------------------------------------------------------------- a store that was set back */

static void own_word_is_heard(struct box *box, uint32_t epoch, uint64_t counter)
{
	heard(box, CP_A, &(struct presence){ .node = SELF, .epoch = epoch, .counter = counter });
}

/* It has authored nothing since, so that no hello tells; but every word of it would be taken for an old one. */
static void a_node_that_hears_a_later_word_of_its_own_begins_an_epoch(void **state)
{
	BOX;
	uint64_t counter;

	pass_time(box, 1000);
	counter = effect_of(box, EFFECT_ANNOUNCE)->presence.counter;
	own_word_is_heard(box, SELF_EPOCH, counter);
	assert_null(effect_of(box, EFFECT_RAISE_EPOCH));
	own_word_is_heard(box, SELF_EPOCH - 1, counter + 1000);
	assert_null(effect_of(box, EFFECT_RAISE_EPOCH));
	own_word_is_heard(box, SELF_EPOCH, counter + 1);
	assert_non_null(effect_of(box, EFFECT_RAISE_EPOCH));
	assert_int_equal(effect_of(box, EFFECT_RAISE_EPOCH)->epoch, SELF_EPOCH + 1);
}

static void a_neighbour_is_told_its_own_last_word_when_a_session_begins(void **state)
{
	BOX;
	const struct relay_effect *told;

	node_is_heard(box, NSP_A, NSP_A, 7, SELF, 0);
	for (size_t i = 0; i < box->effect_count; i++)
		assert_false(box->effects[i].type == EFFECT_PRESENCE && box->effects[i].link == NSP_A);
	link_is(box, NSP_A, false);
	link_is(box, NSP_A, true);
	told = effect_of(box, EFFECT_PRESENCE);
	assert_non_null(told);
	assert_int_equal(told->link, NSP_A);
	assert_int_equal(told->node, NSP_A);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_box, close_box)
	const struct CMUnitTest tests[] = {
		CASE(the_longest_prefix_leads),
		CASE(a_message_never_goes_back_the_way_it_came),
		CASE(what_has_no_way_waits_for_one),
		CASE(a_queue_moves_when_presence_shows_another_home),
		CASE(a_short_cut_moves_no_queue),
		CASE(older_presence_changes_nothing),
		CASE(presence_is_passed_on_with_its_age_but_not_back),
		CASE(an_offer_below_the_floor_is_refused),
		CASE(a_falling_floor_is_ignored_and_told),
		CASE(own_presence_of_a_later_epoch_raises_ours),
		CASE(flash_is_given_before_routine),
		CASE(a_window_is_bounded_and_rows_beyond_it_are_asked_for),
		CASE(an_answer_without_an_uncommitted_row_is_not_the_end),
		CASE(a_row_put_behind_a_question_is_not_forgotten),
		CASE(a_queue_that_is_filled_all_the_time_moves),
		CASE(one_question_at_a_time),
		CASE(void_rows_do_not_stop_a_queue),
		CASE(a_restart_finds_the_queue_in_the_store),
		CASE(a_link_that_is_down_is_given_nothing),
		CASE(a_group_of_300_goes_in_one_row_for_each_link),
		CASE(an_unknown_group_is_refused_for_now),
		CASE(a_bitmap_names_the_members_to_serve),
		CASE(receipts_of_strangers_leave_room_for_the_recipients),
		CASE(a_node_that_hears_a_later_word_of_its_own_begins_an_epoch),
		CASE(a_neighbour_is_told_its_own_last_word_when_a_session_begins),
	};
	return RUN_FED_AND_HUNGRY(tests);
}
