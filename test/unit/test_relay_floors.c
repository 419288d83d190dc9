/* test_relay_floors.c: floors of elder epochs, own and others'. */
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

/* Two own messages, one open and one final, and then a new epoch over the same store. */
static struct header epoch_rises_over_an_open_message(struct box *box)
{
	struct header open = header_of(KIND_TEXT, SELF, 1, DESK), final = header_of(KIND_TEXT, SELF, 1, DESK);

	author(box, &final);
	passed(box, CP_A);
	receipt(box, &final, (struct told){ .link = CP_A, .witness = DESK, .epoch = 1, .counter = 1, .level = LEVEL_DELIVERED });
	open.lifetime_s = 30 * 24 * 3600;
	author(box, &open);
	passed(box, CP_A);
	pass_time(box, 4 * DAY_MS);
	assert_int_equal(relay_counters(box->relay)->floor, open.id.sequence);
	box->config.epoch++;
	box_restart(box);
	return open;
}

static void a_new_epoch_keeps_the_floor_of_the_one_before(void **state)
{
	BOX;
	struct header open = epoch_rises_over_an_open_message(*state);
	const struct relay_counters *counters = relay_counters(box->relay);

	assert_int_equal(counters->floor, counters->next_sequence);
	assert_int_equal(counters->elders[0].epoch, open.id.epoch);
	assert_int_equal(counters->elders[0].floor, open.id.sequence);
	assert_int_equal(counters->elders[0].end, open.id.sequence + 1);
}

static void the_floor_of_an_elder_epoch_rises_to_its_end_and_is_told(void **state)
{
	BOX;
	struct header open = epoch_rises_over_an_open_message(*state);
	const struct relay_effect *told;

	authored_text(box, DESK);
	receipt(box, &open, (struct told){ .link = CP_A, .witness = DESK, .epoch = 1, .counter = 2, .level = LEVEL_DELIVERED });
	pass_time(box, 3 * DAY_MS);
	assert_int_equal(relay_counters(box->relay)->elders[0].floor, open.id.sequence + 1);
	box_restart(box);
	assert_int_equal(relay_counters(box->relay)->elders[0].floor, open.id.sequence + 1);
	box_clear(box);
	pass_time(box, 2 * DAY_MS);
	told = effect_of(box, EFFECT_ANNOUNCE);
	assert_int_equal(told->presence.floor_count, 2);
	assert_int_equal(told->presence.floors[1].epoch, open.id.epoch);
	assert_int_equal(told->presence.floors[1].floor, open.id.sequence + 1);
}

static void no_more_epochs_have_a_floor_than_a_presence_holds(void **state)
{
	BOX;
	const struct relay_counters *counters;

	for (int i = 0; i < LIMIT_FLOORS + 2; i++) {
		authored_text(box, DESK);
		box->config.epoch++;
		box_restart(box);
	}
	counters = relay_counters(box->relay);
	for (uint32_t i = 0; i < RELAY_ELDERS; i++)
		assert_int_equal(counters->elders[i].epoch, box->config.epoch - 1 - i);
}

static void a_floor_waits_for_a_message_that_is_not_committed_yet(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK);
	struct relay_event authored = { .type = RELAY_MESSAGE, .store_admits = true };
	struct relay_event answer = { .type = RELAY_OWN, .own_node = SELF, .own_end = true,
		.id = { SELF, box->config.epoch, 1 } };

	header.id = (struct message_id){ SELF, box->config.epoch, 1 };
	authored.message = make_message(box, &header);
	turn_begin(box);
	assert_int_equal(hand(box, &authored), CPD_OK);
	turn_end(box);
	turn_begin(box);             /* the store was read before the commit of that turn */
	assert_int_equal(hand(box, &answer), CPD_OK);
	turn_end(box);
	commit(box);
	assert_int_equal(relay_counters(box->relay)->floor, 1);
}

static void heard_of_nsp(struct box *box, uint32_t epoch, uint64_t counter, uint64_t floor, uint64_t elder)
{
	struct presence presence = { .node = NSP_A, .epoch = epoch, .counter = counter, .homes = { SELF }, .home_count = 1 };

	presence.floors[presence.floor_count++] = (struct epoch_floor){ epoch, floor };
	if (elder)
		presence.floors[presence.floor_count++] = (struct epoch_floor){ epoch - 1, elder };
	heard(box, NSP_A, &presence);
}

static void an_elder_floor_that_was_told_stays_when_a_store_put_back_tells_less(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 9, SELF);

	heard_of_nsp(box, 1, 1, 10, 0);
	heard_of_nsp(box, 2, 2, 5, 5);
	heard_of_nsp(box, 2, 3, 6, 5);
	assert_int_equal(journal_of(box, JOURNAL_FLOOR_FELL), 0);
	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_BELOW_FLOOR);
	header.id.sequence = 10;
	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
}

static void an_elder_floor_is_known_after_a_restart(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 9, SELF);
	struct presence last = { .node = NSP_A, .epoch = 2, .counter = 3, .floors = { { 2, 6 }, { 1, 5 } }, .floor_count = 2 };
	struct relay_effect stored;

	heard_of_nsp(box, 1, 1, 10, 0);
	assert_int_equal(effects_of(box, EFFECT_PUT_FLOORS), 0);
	heard_of_nsp(box, 2, 2, 5, 5);
	heard_of_nsp(box, 2, 3, 6, 5);
	stored = *effect_of(box, EFFECT_PUT_FLOORS);
	assert_int_equal(stored.node, NSP_A);
	for (unsigned i = 0; i < 2; i++) {
		box_restart(box);
		assert_int_equal(relay_restore_presence(box->relay, &last, box->now.custody_ms), CPD_OK);
		relay_restore_floors(box->relay, NSP_A, stored.presence.floors, stored.presence.floor_count);
		box_clear(box);
		heard_of_nsp(box, 2, 4, 7 + i, 5);
		stored = *effect_of(box, EFFECT_PUT_FLOORS);    /* what is stored next holds it too */
		assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_BELOW_FLOOR);
	}
}

/* Its presence is stored only when what it lacks was looked through; its floors already took records away. */
static void a_floor_told_with_a_new_epoch_is_stored_at_once(void **state)
{
	BOX;

	heard_of_nsp(box, 1, 1, 10, 0);
	box_clear(box);
	box->forgets = true;
	heard_of_nsp(box, 2, 2, 20, 10);
	assert_int_equal(effects_of(box, EFFECT_PUT_PRESENCE), 0);
	assert_int_equal(effect_of(box, EFFECT_PUT_FLOORS)->presence.floors[0].floor, 20);
}

static void records_of_elder_epochs_go_after_the_longest_lifetime(void **state)
{
	BOX;

	heard_of_nsp(box, 2, 1, 5, 0);
	assert_int_equal(effects_of(box, EFFECT_PURGE_ELDERS), 0);
	box->now.custody_ms += 31 * DAY_MS;
	box_clear(box);
	heard_of_nsp(box, 2, 2, 6, 0);
	assert_int_equal(effect_of(box, EFFECT_PURGE_ELDERS)->epoch, 2);
	assert_int_equal(effect_of(box, EFFECT_PURGE_ELDERS)->at_ms, box->now.custody_ms - 30 * DAY_MS);
}

/* The number under which the copy that waits for CP A would go now. */
static uint32_t offer_of(struct box *box, const struct message_id *id)
{
	const struct recipient *recipient = box_recipient(box, id, DESK);
	struct item_ref ref = { .type = ITEM_TYPE_MESSAGE, .id = *id, .counter = recipient->row };
	struct trailer trailer;
	uint32_t retry;

	assert_int_equal(recipient->via, CP_A);
	assert_int_equal(relay_make_trailer(box->relay, box_held(box, id), &ref, CP_A, &box->now, &trailer), CPD_OK);
	retry = trailer.retry;
	trailer_clear(&trailer);
	return retry;
}

/* A store that was put back counts its offers from an old number, which its addressee has answered long ago. */
static void an_offer_of_an_elder_epoch_is_above_all_that_were_made_in_it(void **state)
{
	BOX;
	struct message_id id = authored_text(box, DESK);

	assert_int_equal(offer_of(box, &id), 0);
	box->config.epoch += 2;
	box_restart(box);
	assert_int_equal(offer_of(box, &id), 2 * LIMIT_OFFERS);
}

static bool forgets(struct box *box, const struct message_id *id)
{
	const struct relay_event event = { .type = RELAY_FORGET, .id = *id };

	assert_int_equal(play(box, &event), CPD_OK);
	assert_int_equal(!effects_of(box, EFFECT_DELETE_INBOX), box_has_envelope(box, id));
	assert_int_equal(!effects_of(box, EFFECT_DELETE_INBOX), box_held(box, id) != NULL);
	return effects_of(box, EFFECT_DELETE_INBOX) == 1;
}

static void a_message_goes_when_it_was_read_done_final_and_past_its_term_and_not_before(void **state)
{
	BOX;
	struct header call = header_of(KIND_CALL, NSP_A, 9, SELF);

	assert_int_equal(arrive(box, NSP_A, &call, 0), REFUSED_NONE);
	pass_time(box, 91 * DAY_MS);
	heard_of_nsp(box, 1, 1, 10, 0);
	assert_false(forgets(box, &call.id));            /* nobody read it */
	assert_int_equal(operate(box, &call.id, ACT_READ), CPD_OK);
	assert_false(forgets(box, &call.id));            /* it asks for more */
	assert_int_equal(operate(box, &call.id, ACT_DONE), CPD_OK);
	assert_true(forgets(box, &call.id));
	/* What comes of it still is harmless. */
	assert_int_equal(arrive(box, NSP_A, &call, 1), REFUSED_BELOW_FLOOR);
	assert_int_equal(receipt(box, &call, (struct told){ .link = CP_A, .witness = DESK, .epoch = 1, .counter = 1, .level = LEVEL_DONE }), REFUSED_NONE);
	assert_null(box_held(box, &call.id));
}

static void a_message_waits_for_its_origin_to_be_done_with_it_and_for_its_term(void **state)
{
	BOX;
	struct header old = header_of(KIND_TEXT, NSP_A, 9, SELF), young = header_of(KIND_TEXT, NSP_A, 10, SELF);

	assert_int_equal(arrive(box, NSP_A, &old, 0), REFUSED_NONE);
	assert_int_equal(operate(box, &old.id, ACT_READ), CPD_OK);
	pass_time(box, 91 * DAY_MS);
	assert_int_equal(arrive(box, NSP_A, &young, 0), REFUSED_NONE);
	assert_false(forgets(box, &old.id));             /* no floor was told */
	heard_of_nsp(box, 1, 1, 11, 0);
	assert_true(forgets(box, &old.id));
	assert_int_equal(operate(box, &young.id, ACT_READ), CPD_OK);
	assert_false(forgets(box, &young.id));           /* it came today */
	pass_time(box, 91 * DAY_MS);
	assert_true(forgets(box, &young.id));
}

static void a_message_that_only_asks_to_be_delivered_stays_until_it_was_read(void **state)
{
	BOX;
	struct header text = header_of(KIND_TEXT, NSP_A, 9, SELF);

	assert_int_equal(arrive(box, NSP_A, &text, 0), REFUSED_NONE);
	pass_time(box, 91 * DAY_MS);
	heard_of_nsp(box, 1, 1, 10, 0);
	assert_false(forgets(box, &text.id));
	assert_int_equal(operate(box, &text.id, ACT_READ), CPD_OK);
	assert_true(forgets(box, &text.id));
}

static void a_message_that_still_waits_for_others_is_not_forgotten(void **state)
{
	BOX;
	struct header call = header_of(KIND_CALL, NSP_A, 9, SELF);

	call.nodes[call.node_count++] = DESK;
	assert_int_equal(arrive(box, NSP_A, &call, 0), REFUSED_NONE);
	assert_int_equal(operate(box, &call.id, ACT_DONE), CPD_OK);
	pass_time(box, 91 * DAY_MS);
	heard_of_nsp(box, 1, 1, 10, 0);
	assert_false(forgets(box, &call.id));
	passed(box, CP_A);
	assert_true(forgets(box, &call.id));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_box, close_box)
	const struct CMUnitTest tests[] = {
		T(a_new_epoch_keeps_the_floor_of_the_one_before),
		T(an_offer_of_an_elder_epoch_is_above_all_that_were_made_in_it),
		T(the_floor_of_an_elder_epoch_rises_to_its_end_and_is_told),
		T(no_more_epochs_have_a_floor_than_a_presence_holds),
		T(a_floor_waits_for_a_message_that_is_not_committed_yet),
		T(an_elder_floor_that_was_told_stays_when_a_store_put_back_tells_less),
		T(an_elder_floor_is_known_after_a_restart),
		T(a_floor_told_with_a_new_epoch_is_stored_at_once),
		T(records_of_elder_epochs_go_after_the_longest_lifetime),
		T(a_message_goes_when_it_was_read_done_final_and_past_its_term_and_not_before),
		T(a_message_waits_for_its_origin_to_be_done_with_it_and_for_its_term),
		T(a_message_that_only_asks_to_be_delivered_stays_until_it_was_read),
		T(a_message_that_still_waits_for_others_is_not_forgotten),
	};

	return RUN_FED_AND_HUNGRY(tests);
}
