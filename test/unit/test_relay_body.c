/* test_relay_body.c: a large body travels leaf by leaf; custody begins with the last one. */
#include "test/unit/relay_makers.h"

#define BOX struct box *box = *state
#define LEAVES 3
#define LENGTH (LEAVES * LIMIT_LEAF - 100)

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

static struct header large_of(uint32_t origin, uint64_t sequence, uint32_t destination)
{
	struct header header = header_of(KIND_TEXT, origin, sequence, destination);

	header.body = (struct slice){ 0 };
	header.large_length = LENGTH;
	memset(header.large_root, 0x5a, sizeof(header.large_root));
	return header;
}

static struct relay_event offer_of(struct box *box, uint32_t link, const struct header *header, const struct trailer *trailer,
    const uint8_t *held)
{
	return (struct relay_event){ .type = RELAY_MESSAGE, .link = link, .serial = ++box->serial, .message = make_message(box, header),
		.trailer = trailer, .store_admits = true, .held = { held, 1 } };
}

/* held: leaves that the host finds on disk, as bits. */
static int offer(struct box *box, uint32_t link, const struct header *header, uint32_t retry, uint8_t held)
{
	struct trailer trailer = trailer_by(link, retry);
	struct relay_event event = offer_of(box, link, header, &trailer, &held);

	assert_int_equal(play(box, &event), CPD_OK);
	return settled(box, event.serial);
}

static int leaf(struct box *box, uint32_t link, const struct header *header, uint32_t index)
{
	static const uint8_t bytes[LIMIT_LEAF];
	struct relay_event event = { .type = RELAY_LEAF, .link = link, .serial = ++box->serial, .id = header->id, .leaf_index = index,
		.leaf = { bytes, tree_leaf_length(LENGTH, index) } };

	assert_int_equal(play(box, &event), CPD_OK);
	return settled(box, event.serial);
}

static uint8_t wanted_bits(const struct box *box)
{
	const struct relay_effect *want = effect_of(box, EFFECT_WANT);

	assert_non_null(want);
	assert_int_equal(want->bytes.len, 1);
	return want->bytes.data[0];
}

static void no_settle_before_the_last_leaf(void **state)
{
	BOX;
	struct header header = large_of(NSP_A, 1, DESK);
	uint64_t serial;

	assert_int_equal(offer(box, NSP_A, &header, 0, 0), NOT_SETTLED);
	serial = box->serial;
	assert_int_equal(wanted_bits(box), 0);
	assert_true(box_held(box, &header.id)->flags & CUSTODY_IS_PARTIAL);
	assert_int_equal(leaf(box, NSP_A, &header, 1), REFUSED_NONE);
	assert_int_equal(effects_of(box, EFFECT_PUT_LEAF), 1);
	assert_int_equal(settled(box, serial), NOT_SETTLED);
	assert_int_equal(leaf(box, NSP_A, &header, 0), REFUSED_NONE);
	assert_int_equal(settled(box, serial), NOT_SETTLED);
	assert_int_equal(leaf(box, NSP_A, &header, 0), REFUSED_NONE);     /* twice the same is no second one */
	assert_int_equal(effects_of(box, EFFECT_PUT_LEAF), 0);
	assert_int_equal(settled(box, serial), NOT_SETTLED);
	assert_int_equal(box->row_count, 0);
	assert_int_equal(leaf(box, NSP_A, &header, 2), REFUSED_NONE);
	assert_int_equal(settled(box, serial), REFUSED_NONE);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 1);
	assert_false(box_held(box, &header.id)->flags & CUSTODY_IS_PARTIAL);
	assert_true(box_has_envelope(box, &header.id));
}

static void half_a_body_goes_on_from_another_neighbour(void **state)
{
	BOX;
	struct header header = large_of(901, 1, DESK);
	uint64_t first, second;

	assert_int_equal(offer(box, NSP_A, &header, 0, 0), NOT_SETTLED);
	first = box->serial;
	leaf(box, NSP_A, &header, 0);
	assert_int_equal(offer(box, NSP_B, &header, 0, 1), NOT_SETTLED);
	second = box->serial;
	assert_int_equal(wanted_bits(box), 1);
	leaf(box, NSP_B, &header, 1);
	leaf(box, NSP_B, &header, 2);
	assert_int_equal(settled(box, first), REFUSED_NONE);
	assert_int_equal(settled(box, second), REFUSED_NONE);
}

static void half_a_body_goes_on_after_a_restart(void **state)
{
	BOX;
	struct header header = large_of(NSP_A, 1, SELF);

	offer(box, NSP_A, &header, 0, 0);
	leaf(box, NSP_A, &header, 2);
	box_restart(box);
	assert_int_equal(leaf(box, NSP_A, &header, 1), REFUSED_NONE);      /* of no offer we know */
	assert_int_equal(effects_of(box, EFFECT_PUT_LEAF), 0);
	assert_int_equal(offer(box, NSP_A, &header, 0, 1 << 2), NOT_SETTLED);
	assert_int_equal(wanted_bits(box), 1 << 2);
	leaf(box, NSP_A, &header, 0);
	assert_int_equal(box->witnessed_count, 0);
	leaf(box, NSP_A, &header, 1);
	assert_int_equal(box->witnessed_count, 1);
}

/* The copy was let go in a turn whose commit is still under way, so the host finds its leaves on disk. */
static void leaves_that_are_being_deleted_do_not_count_as_held(void **state)
{
	BOX;
	struct header header = large_of(NSP_A, 1, DESK);
	struct trailer trailer = trailer_by(NSP_A, 1);
	const uint8_t all = 7;
	struct relay_event acked = { .type = RELAY_ACKED, .link = CP_A }, again = offer_of(box, NSP_A, &header, &trailer, &all);

	offer(box, NSP_A, &header, 0, 0);
	for (uint32_t i = 0; i < LEAVES; i++)
		leaf(box, NSP_A, &header, i);
	acked.ref = taken(box, CP_A);
	box_clear(box);
	turn_begin(box);
	assert_int_equal(hand(box, &acked), CPD_OK);
	turn_end(box);
	assert_int_equal(effects_of(box, EFFECT_DELETE_ENVELOPE), 1);
	turn_begin(box);
	assert_int_equal(hand(box, &again), CPD_OK);
	turn_end(box);
	assert_int_equal(settled(box, again.serial), NOT_SETTLED);
	assert_int_equal(effects_of(box, EFFECT_WANT), 1);
	assert_int_equal(effect_of(box, EFFECT_WANT)->bytes.data[0], 0);
	/* nor when it comes a second time, by another neighbour */
	again.link = NSP_B;
	again.serial = ++box->serial;
	turn_begin(box);
	assert_int_equal(hand(box, &again), CPD_OK);
	turn_end(box);
	assert_int_equal(settled(box, again.serial), NOT_SETTLED);
	commit(box);
}

static void a_body_that_nobody_goes_on_with_leaves_its_place_to_another(void **state)
{
	BOX;
	struct header header = large_of(NSP_A, 1, DESK), other = large_of(NSP_B, 1, DESK);

	for (header.id.sequence = 1; header.id.sequence <= 64; header.id.sequence++)
		assert_int_equal(offer(box, NSP_A, &header, 0, 0), NOT_SETTLED);
	assert_int_equal(offer(box, NSP_B, &other, 0, 0), REFUSED_BUSY);
	pass_time(box, 3 * HOUR_MS);
	assert_int_equal(offer(box, NSP_B, &other, 0, 0), NOT_SETTLED);
	assert_int_equal(effects_of(box, EFFECT_WANT), 1);
	/* and what stopped goes on where it was */
	header.id.sequence = 1;
	assert_int_equal(offer(box, NSP_A, &header, 0, 1), NOT_SETTLED);
	assert_int_equal(wanted_bits(box), 1);
}

static void a_receipt_does_not_stop_the_timer_of_half_a_body(void **state)
{
	BOX;
	struct header header = large_of(NSP_A, 1, DESK);

	offer(box, NSP_A, &header, 0, 0);
	assert_int_equal(box->timer_count, 1);
	receipt(box, &header, (struct told){ .link = CP_A, .witness = DESK, .epoch = 1, .counter = 1, .level = LEVEL_DELIVERED });
	assert_int_equal(box->timer_count, 1);
	pass_time(box, 80 * (int64_t)HOUR_MS);
	assert_false(box_has_envelope(box, &header.id));
	assert_int_equal(box->timer_count, 0);
}

static void a_large_body_that_may_not_go_on_is_refused_before_its_leaves(void **state)
{
	BOX;
	struct header header = large_of(NSP_A, 1, DESK);
	uint32_t stranger[] = { DESK + 1 };
	struct trailer trailer = trailer_by(NSP_A, 0);

	trailer.recipients = stranger;
	trailer.recipient_count = 1;
	assert_int_equal(arrive_with(box, NSP_A, &header, &trailer), REFUSED_NOT_ADDRESSED);
	assert_null(box_held(box, &header.id));
	header.node_count = 0;
	header.groups[0] = (struct group_ref){ 40, 1 };
	header.group_count = 1;
	assert_int_equal(offer(box, NSP_A, &header, 0, 0), REFUSED_UNKNOWN_GROUP);
	assert_null(box_held(box, &header.id));
}

/* Each of two neighbours is told that we have its copies: so we must have those of both. */
static void two_offers_of_half_a_body_are_both_served(void **state)
{
	BOX;
	struct header header = large_of(901, 1, DESK);
	uint32_t first[] = { DESK }, second[] = { DESK + 1 };
	struct trailer by_a = trailer_by(NSP_A, 0), by_b = trailer_by(NSP_B, 0);
	const uint8_t none = 0;
	struct relay_event one, two;

	header.nodes[header.node_count++] = DESK + 1;
	by_a.recipients = first;
	by_b.recipients = second;
	by_a.recipient_count = by_b.recipient_count = 1;
	one = offer_of(box, NSP_A, &header, &by_a, &none);
	assert_int_equal(play(box, &one), CPD_OK);
	two = offer_of(box, NSP_B, &header, &by_b, &none);
	assert_int_equal(play(box, &two), CPD_OK);
	for (uint32_t i = 0; i < LEAVES; i++)
		leaf(box, NSP_B, &header, i);
	assert_int_equal(settled(box, one.serial), REFUSED_NONE);
	assert_int_equal(settled(box, two.serial), REFUSED_NONE);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
	assert_int_equal(box_recipient(box, &header.id, DESK + 1)->hop, HOP_QUEUED);
}

static void a_whole_large_message_stops_the_one_it_supersedes(void **state)
{
	BOX;
	struct header old = header_of(KIND_TEXT, NSP_A, 1, DESK), header = large_of(NSP_A, 2, DESK);

	assert_int_equal(arrive(box, NSP_A, &old, 0), REFUSED_NONE);
	header.supersedes = old.id;
	offer(box, NSP_A, &header, 0, 0);
	for (uint32_t i = 0; i < LEAVES; i++)
		leaf(box, NSP_A, &header, i);
	assert_int_equal(box_recipient(box, &old.id, DESK)->hop, HOP_ENDED);
	assert_int_equal(box->row_count, 1);
}

static void a_whole_large_state_takes_the_place_of_the_last(void **state)
{
	BOX;
	struct header old = header_of(KIND_STATUS, NSP_A, 1, DESK), header = header_of(KIND_STATUS, NSP_A, 2, DESK);

	assert_int_equal(arrive(box, NSP_A, &old, 0), REFUSED_NONE);
	header.body = (struct slice){ 0 };
	header.large_length = LENGTH;
	offer(box, NSP_A, &header, 0, 0);
	for (uint32_t i = 0; i < LEAVES; i++)
		leaf(box, NSP_A, &header, i);
	assert_null(box_held(box, &old.id));
	assert_int_equal(box->row_count, 1);
}

static void a_flash_body_takes_the_place_of_a_lesser_one(void **state)
{
	BOX;
	struct header header = large_of(NSP_A, 1, DESK), flash = large_of(NSP_B, 1, DESK), more = large_of(NSP_B, 2, DESK);
	uint64_t first;

	assert_int_equal(offer(box, NSP_A, &header, 0, 0), NOT_SETTLED);
	first = box->serial;
	for (header.id.sequence = 2; header.id.sequence <= 64; header.id.sequence++)
		assert_int_equal(offer(box, NSP_A, &header, 0, 0), NOT_SETTLED);
	flash.precedence = PRECEDENCE_FLASH;
	assert_int_equal(offer(box, NSP_B, &flash, 0, 0), NOT_SETTLED);
	assert_int_equal(effects_of(box, EFFECT_WANT), 1);
	/* the other is told to come again; which it is does not matter, but it is one */
	assert_int_equal(effects_of(box, EFFECT_SETTLE), 1);
	assert_true(effect_of(box, EFFECT_SETTLE)->serial >= first);
	assert_int_equal(effect_of(box, EFFECT_SETTLE)->reason, REFUSED_BUSY);
	assert_int_equal(offer(box, NSP_B, &more, 0, 0), REFUSED_BUSY);
}

/* ---------------------------------------------------------------- sending */

static void want(struct box *box, uint32_t link, struct item_ref ref, uint8_t held)
{
	struct relay_event event = { .type = RELAY_WANTED, .link = link, .ref = ref, .held = { &held, 1 } };

	assert_int_equal(play(box, &event), CPD_OK);
}

static struct header sends_large(struct box *box)
{
	struct header header = large_of(SELF, 1, DESK);
	const uint8_t all = 7;
	struct relay_event event;

	header.id = (struct message_id){ SELF, SELF_EPOCH, relay_next_sequence(box->relay) };
	event = offer_of(box, 0, &header, NULL, &all);
	assert_int_equal(play(box, &event), CPD_OK);
	assert_int_equal(box->row_count, 1);
	return header;
}

static void an_own_large_body_needs_no_place_among_those_that_come_in(void **state)
{
	BOX;
	struct header header = large_of(NSP_A, 1, DESK), own;

	for (header.id.sequence = 1; header.id.sequence <= 64; header.id.sequence++)
		assert_int_equal(offer(box, NSP_A, &header, 0, 0), NOT_SETTLED);
	own = sends_large(box);
	assert_non_null(box_held(box, &own.id));
	assert_true(box_has_envelope(box, &own.id));
}

static void a_neighbour_is_sent_the_leaves_it_lacks(void **state)
{
	BOX;
	struct header header = sends_large(box);
	struct item_ref ref, first, second;

	ref = taken(box, CP_A);
	assert_int_equal(ref.type, ITEM_TYPE_MESSAGE);
	assert_true(is_silent(box, CP_A));
	want(box, CP_A, ref, 1 << 1);
	first = taken(box, CP_A);
	second = taken(box, CP_A);
	assert_int_equal(first.type, ITEM_TYPE_LEAF);
	assert_int_equal(first.index, 0);
	assert_int_equal(second.index, 2);
	assert_true(is_silent(box, CP_A));
	want(box, CP_A, ref, 1 << 1);                /* said again: what is under way does not go twice */
	assert_true(is_silent(box, CP_A));
	/* one is lost with the session, and goes again */
	answer_of(box, RELAY_ACKED, CP_A, first, REFUSED_NONE);
	answer_of(box, RELAY_RETURNED, CP_A, second, REFUSED_NONE);
	assert_int_equal(taken(box, CP_A).index, 2);
	answer_of(box, RELAY_ACKED, CP_A, ref, REFUSED_NONE);
	assert_true(is_silent(box, CP_A));
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_PASSED);
}

static void without_its_header_no_leaf_goes(void **state)
{
	BOX;
	struct item_ref ref;

	sends_large(box);
	ref = taken(box, CP_A);
	want(box, CP_A, ref, 0);
	answer_of(box, RELAY_RETURNED, CP_A, ref, REFUSED_NONE);     /* the session ended */
	assert_int_equal(taken(box, CP_A).type, ITEM_TYPE_MESSAGE);
	assert_true(is_silent(box, CP_A));
}

/* Half a body has a timer whatever its precedence; a whole FLASH is not dropped by it. */
static void a_large_flash_is_never_dropped_in_transit(void **state)
{
	BOX;
	struct header header = large_of(NSP_A, 1, DESK);

	header.precedence = PRECEDENCE_FLASH;
	link_is(box, CP_A, false);
	link_is(box, CP_B, false);
	offer(box, NSP_A, &header, 0, 0);
	for (uint32_t i = 0; i < LEAVES; i++) {
		box->now.custody_ms += header.lifetime_s * 1000 / 2;         /* the last comes late */
		box->now.wall_ms += header.lifetime_s * 1000 / 2;
		leaf(box, NSP_A, &header, i);
	}
	pass_time(box, 1000 * (int64_t)HOUR_MS);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
	assert_true(box_has_envelope(box, &header.id));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_box, close_box)
	const struct CMUnitTest tests[] = {
		CASE(no_settle_before_the_last_leaf),
		CASE(half_a_body_goes_on_from_another_neighbour),
		CASE(half_a_body_goes_on_after_a_restart),
		CASE(leaves_that_are_being_deleted_do_not_count_as_held),
		CASE(a_body_that_nobody_goes_on_with_leaves_its_place_to_another),
		CASE(a_receipt_does_not_stop_the_timer_of_half_a_body),
		CASE(a_large_body_that_may_not_go_on_is_refused_before_its_leaves),
		CASE(two_offers_of_half_a_body_are_both_served),
		CASE(a_whole_large_message_stops_the_one_it_supersedes),
		CASE(a_whole_large_state_takes_the_place_of_the_last),
		CASE(a_flash_body_takes_the_place_of_a_lesser_one),
		CASE(an_own_large_body_needs_no_place_among_those_that_come_in),
		CASE(a_neighbour_is_sent_the_leaves_it_lacks),
		CASE(without_its_header_no_leaf_goes),
		CASE(a_large_flash_is_never_dropped_in_transit),
	};
	return RUN_FED_AND_HUNGRY(tests);
}
