/* test_relay_carry.c: what went by hand: only the word of who took it releases, and only what it speaks of. */
#include "test/unit/relay_makers.h"

#define BOX struct box *box = *state
#define OTHER_DESK 901           /* behind CP_A too */
#define STRANGER 7777            /* no way leads there */

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

/* Authored here for DESK and OTHER_DESK: one row for CP_A. */
static struct message_id for_two(struct box *box)
{
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK);

	header.nodes[header.node_count++] = OTHER_DESK;
	author(box, &header);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE), 1);
	return header.id;
}

static struct relay_row row_for(const struct box *box, uint32_t link)
{
	for (size_t i = 0; i < box->row_count; i++)
		if (box->rows[i].link == link)
			return box->rows[i].row;
	fail_msg("no row for %u", (unsigned)link);
	return (struct relay_row){ .destination = 0 };
}

/* `who` took what stands in that row of the queue of `link`, as it was offered. */
static void carried_offer(struct box *box, uint32_t who, uint32_t link, const struct relay_row *row, uint32_t retry)
{
	struct relay_event event = { .type = RELAY_CARRIED, .link = who, .ref = row->ref, .row_link = link, .row_destination = row->destination, .retry = retry };

	assert_int_equal(play(box, &event), CPD_OK);
}

static void carried(struct box *box, uint32_t who, uint32_t link, const struct relay_row *row)
{
	carried_offer(box, who, link, row, 0);
}

static void a_neighbours_word_releases_what_waited_for_it(void **state)
{
	BOX;
	struct message_id id = for_two(box);
	struct relay_row row = row_for(box, CP_A);

	carried(box, CP_A, CP_A, &row);
	assert_int_equal(box_recipient(box, &id, DESK)->hop, HOP_PASSED);
	assert_int_equal(box_recipient(box, &id, OTHER_DESK)->hop, HOP_PASSED);
	assert_int_equal(box->row_count, 0);
	assert_true(is_silent(box, CP_A));
	assert_int_equal(journal_of(box, JOURNAL_PASSED), 1);
	/* an origin keeps it until it is signed for */
	assert_true(box_has_envelope(box, &id));
	/* told again, it finds nothing */
	carried(box, CP_A, CP_A, &row);
	assert_int_equal(effects_of(box, EFFECT_PUT_CUSTODY), 0);
}

static void an_addressees_word_releases_its_own_copy_alone(void **state)
{
	BOX;
	struct message_id id = for_two(box);
	struct relay_row row = row_for(box, CP_A);

	carried(box, DESK, CP_A, &row);
	assert_int_equal(box_recipient(box, &id, DESK)->hop, HOP_PASSED);
	assert_int_equal(box_recipient(box, &id, DESK)->via, DESK);
	assert_int_equal(box_recipient(box, &id, OTHER_DESK)->hop, HOP_QUEUED);
	assert_int_equal(box->row_count, 1);
	carried(box, OTHER_DESK, CP_A, &row);
	assert_int_equal(box->row_count, 0);
}

static void nobody_takes_what_was_for_others(void **state)
{
	BOX;
	struct message_id id = for_two(box);
	struct relay_row row = row_for(box, CP_A);

	carried(box, CP_B, CP_A, &row);
	carried(box, NSP_A, CP_A, &row);
	assert_int_equal(box_recipient(box, &id, DESK)->hop, HOP_QUEUED);
	assert_int_equal(box_recipient(box, &id, OTHER_DESK)->hop, HOP_QUEUED);
	assert_int_equal(box->row_count, 1);
}

/* It was offered anew since, because its origin heard nothing: the older word does not answer that. */
static void the_word_on_an_older_offer_leaves_the_newer_waiting(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct relay_row row;

	arrive(box, NSP_A, &header, 0);
	row = row_for(box, CP_A);
	arrive(box, NSP_A, &header, 1);
	carried_offer(box, CP_A, CP_A, &row, 0);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
	assert_int_equal(box->row_count, 1);
	carried_offer(box, CP_A, CP_A, &row, 1);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_PASSED);
	assert_int_equal(box->row_count, 0);
	/* a relay needs its bytes no longer */
	assert_false(box_has_envelope(box, &header.id));
}

/* An addressee lost its disk since: what was offered for the old one is not what waits. */
static void the_word_on_an_offer_of_before_a_lost_disk_releases_nothing(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, DESK);
	struct trailer trailer = trailer_by(NSP_A, 0);
	struct relay_row row;

	arrive(box, NSP_A, &header, 0);
	row = row_for(box, CP_A);
	trailer.after_epoch = 2;
	arrive_with(box, NSP_A, &header, &trailer);
	carried(box, CP_A, CP_A, &row);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
	assert_int_equal(box->row_count, 1);
}

static void a_word_on_a_row_that_has_moved_releases_nothing(void **state)
{
	BOX;
	struct message_id id = for_two(box);
	struct relay_row row = row_for(box, CP_A);

	row.ref.counter += 1000;
	carried(box, CP_A, CP_A, &row);
	assert_int_equal(box_recipient(box, &id, DESK)->hop, HOP_QUEUED);
	assert_int_equal(box->row_count, 1);
}

static void what_waits_without_a_route_goes_by_hand(void **state)
{
	BOX;
	struct message_id id = authored_text(box, STRANGER);
	struct relay_row row = row_for(box, 0);
	struct trailer trailer;

	assert_int_equal(box_recipient(box, &id, STRANGER)->hop, HOP_UNROUTED);
	assert_int_equal(relay_carry_trailer(box->relay, box_held(box, &id), &row.ref, 0, STRANGER, &box->now, &trailer), CPD_OK);
	assert_int_equal(trailer.recipient_count, 1);
	trailer_clear(&trailer);
	carried(box, STRANGER, 0, &row);
	assert_int_equal(box_recipient(box, &id, STRANGER)->hop, HOP_PASSED);
	assert_int_equal(box->row_count, 0);
}

/* The link came up in between, and the item is under way on it. */
static void a_word_while_the_link_sends_it_is_no_trouble(void **state)
{
	BOX;
	struct message_id id = for_two(box);
	struct relay_row row = row_for(box, CP_A);
	struct item_ref ref = taken(box, CP_A);

	carried(box, CP_A, CP_A, &row);
	assert_int_equal(box->row_count, 0);
	answer_of(box, RELAY_ACKED, CP_A, ref, REFUSED_NONE);
	assert_int_equal(box_recipient(box, &id, DESK)->hop, HOP_PASSED);
	answer_of(box, RELAY_RETURNED, CP_A, ref, REFUSED_NONE);
	assert_true(is_silent(box, CP_A));
}

static void the_copy_of_one_recipient_names_it_alone(void **state)
{
	BOX;
	struct message_id id = for_two(box);
	struct relay_row row = row_for(box, CP_A);
	struct trailer trailer;

	assert_int_equal(relay_carry_trailer(box->relay, box_held(box, &id), &row.ref, CP_A, 0, &box->now, &trailer), CPD_OK);
	assert_int_equal(trailer.recipient_count, 2);
	trailer_clear(&trailer);
	assert_int_equal(relay_carry_trailer(box->relay, box_held(box, &id), &row.ref, CP_A, OTHER_DESK, &box->now, &trailer), CPD_OK);
	assert_int_equal(trailer.recipient_count, 1);
	assert_int_equal(trailer.recipients[0], OTHER_DESK);
	trailer_clear(&trailer);
	assert_int_equal(relay_carry_trailer(box->relay, box_held(box, &id), &row.ref, CP_A, NSP_A, &box->now, &trailer), CPD_ERR_NOT_FOUND);
}

static void receipts_that_went_by_hand_are_let_go(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, NSP_A, 1, SELF);
	struct relay_row row;

	arrive(box, NSP_A, &header, 0);
	assert_int_equal(rows_of(box, NSP_A, ITEM_TYPE_RECEIPTS), 1);
	row = row_for(box, NSP_A);
	carried(box, NSP_B, NSP_A, &row);
	assert_int_equal(rows_of(box, NSP_A, ITEM_TYPE_RECEIPTS), 1);
	carried(box, NSP_A, NSP_A, &row);
	assert_int_equal(rows_of(box, NSP_A, ITEM_TYPE_RECEIPTS), 0);
}

static void presence_for_a_stick_is_made_at_once(void **state)
{
	BOX;
	const struct relay_event event = { .type = RELAY_ANNOUNCE };

	assert_int_equal(play(box, &event), CPD_OK);
	assert_int_equal(effects_of(box, EFFECT_ANNOUNCE), 1);
	assert_int_equal(effect_of(box, EFFECT_ANNOUNCE)->presence.node, SELF);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_box, close_box)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_neighbours_word_releases_what_waited_for_it),
		CASE(an_addressees_word_releases_its_own_copy_alone),
		CASE(nobody_takes_what_was_for_others),
		CASE(the_word_on_an_older_offer_leaves_the_newer_waiting),
		CASE(the_word_on_an_offer_of_before_a_lost_disk_releases_nothing),
		CASE(a_word_on_a_row_that_has_moved_releases_nothing),
		CASE(what_waits_without_a_route_goes_by_hand),
		CASE(a_word_while_the_link_sends_it_is_no_trouble),
		CASE(the_copy_of_one_recipient_names_it_alone),
		CASE(receipts_that_went_by_hand_are_let_go),
		CASE(presence_for_a_stick_is_made_at_once),
	};
	return RUN_FED_AND_HUNGRY(tests);
}
