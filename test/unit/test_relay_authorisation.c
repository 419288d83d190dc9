/* test_relay_authorisation.c: to whom a kind may be addressed: each cell of PROTOCOL.md section 8.1, at the addressee. */
#include "test/unit/relay_makers.h"
#include "test/unit/kind_table.h"

#define BOX struct box *box = *state
#define KIND_LATER 9000 /* of a later version */

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

static void we_are(struct box *box, size_t role)
{
	struct certificate certificate = { .node = SELF, .role = (enum node_role)(ROLE_ID_NSP + role), .key_number = 1, .name = "wij" };
	struct directory_update update = { .number = directory_version(box->directory) + 1, .created_s = 1, .certificates = &certificate, .certificate_count = 1 };

	assert_int_equal(directory_apply(box->directory, &update), CPD_OK);
}

/* How often this was signed here since the last time. */
static size_t signed_here(struct box *box, enum level level, enum cpd_reason reason)
{
	size_t count = 0;

	for (size_t i = 0; i < box->witnessed_count; i++)
		count += box->witnessed[i].level == level && box->witnessed[i].reason == reason;
	box->witnessed_count = 0;
	return count;
}

static void every_cell_of_whom_a_kind_is_for_is_what_the_table_says(void **state)
{
	BOX;
	struct table_row rows[TABLE_ROWS];
	size_t count = table_read(rows), shown = 0, refused = 0;
	uint64_t sequence = 0;

	for (size_t role = 0; role < TABLE_ROLES; role++) {
		we_are(box, role);
		for (size_t i = 0; i < count; i++) {
			struct header header = header_of(rows[i].number, NSP_A, ++sequence, SELF);
			bool may = table_names(rows[i].to, role), is_state = rows[i].state[0], is_shown;

			box->witnessed_count = 0;
			assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
			is_shown = box_held(box, &header.id) && box_held(box, &header.id)->flags & CUSTODY_IS_ADDRESSEE;
			if (is_shown != may || signed_here(box, LEVEL_UNDELIVERABLE, REFUSED_ROLE) != (!may && !is_state))
				fail_msg("%s for a %s", rows[i].name, table_roles[role]);
			shown += may;
			refused += !may;
		}
	}
	assert_int_equal(shown + refused, 27 * TABLE_ROLES);
	assert_true(refused > 10);
}

static void a_kind_of_a_later_version_is_for_anyone(void **state)
{
	BOX;
	struct header header = header_of(KIND_LATER, NSP_A, 1, SELF);

	we_are(box, 0);
	arrive(box, NSP_A, &header, 0);
	assert_true(box_held(box, &header.id)->flags & CUSTODY_IS_ADDRESSEE);
	assert_int_equal(signed_here(box, LEVEL_NOT_UNDERSTOOD, REFUSED_NONE), 1);
}

/* It is named beside others: they get it, and its own refusal is told again to who asks again. */
static void who_may_not_have_it_passes_it_on_to_those_who_may(void **state)
{
	BOX;
	struct header header = header_of(KIND_CALL, NSP_A, 1, SELF);

	we_are(box, 0);                                      /* an NSP: no call is for it */
	header.nodes[header.node_count++] = DESK;
	assert_int_equal(arrive(box, NSP_A, &header, 0), REFUSED_NONE);
	assert_int_equal(signed_here(box, LEVEL_UNDELIVERABLE, REFUSED_ROLE), 1);
	assert_int_equal(box_recipient(box, &header.id, DESK)->hop, HOP_QUEUED);
	assert_true(box_has_envelope(box, &header.id));
	assert_int_equal(arrive(box, NSP_A, &header, 1), REFUSED_NONE);
	assert_int_equal(signed_here(box, LEVEL_UNDELIVERABLE, REFUSED_ROLE), 1);
}

static void what_was_shown_stays_when_the_role_changes(void **state)
{
	BOX;
	struct header header = header_of(KIND_CALL, NSP_A, 1, SELF);

	we_are(box, 1);
	arrive(box, NSP_A, &header, 0);
	we_are(box, 0);
	box->witnessed_count = 0;
	arrive(box, NSP_A, &header, 1);
	assert_int_equal(signed_here(box, LEVEL_DELIVERED, REFUSED_NONE), 1);
}

/* Of a message for two, the one that refuses speaks of itself. */
static void the_origin_hears_which_addressee_may_not_have_it(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, 1, DESK);
	struct told told = { .link = CP_A, .witness = DESK, .epoch = 1, .counter = 7, .level = LEVEL_UNDELIVERABLE, .reason = REFUSED_ROLE };

	header.nodes[header.node_count++] = NSP_B;
	author(box, &header);
	assert_int_equal(receipt(box, &header, told), REFUSED_NONE);
	assert_int_equal(box_recipient(box, &header.id, DESK)->level, LEVEL_UNDELIVERABLE);
	assert_int_equal(box_recipient(box, &header.id, DESK)->reason, REFUSED_ROLE);
	assert_int_equal(box_recipient(box, &header.id, NSP_B)->level, LEVEL_NONE);
}

/* Until people have signed. */
static void a_draft_is_kept_and_waits_in_no_queue_until_it_is_let_go(void **state)
{
	BOX;
	struct header header = header_of(KIND_TEXT, SELF, relay_next_sequence(box->relay), DESK);
	struct relay_event event = { .type = RELAY_MESSAGE, .is_draft = true, .store_admits = true };
	struct relay_event release = { .type = RELAY_OPERATE, .act = ACT_RELEASE };

	header.id.epoch = box->config.epoch;
	event.message = make_message(box, &header);
	assert_int_equal(play(box, &event), CPD_OK);
	assert_true(box_has_envelope(box, &header.id));
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE) + rows_of(box, CP_B, ITEM_TYPE_MESSAGE), 0);
	box_restart(box);
	pass_time(box, HOUR_MS);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE) + rows_of(box, CP_B, ITEM_TYPE_MESSAGE), 0);
	release.id = header.id;
	assert_int_equal(play(box, &release), CPD_OK);
	assert_int_equal(rows_of(box, CP_A, ITEM_TYPE_MESSAGE) + rows_of(box, CP_B, ITEM_TYPE_MESSAGE), 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_box, close_box)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(every_cell_of_whom_a_kind_is_for_is_what_the_table_says),
		CASE(a_kind_of_a_later_version_is_for_anyone),
		CASE(who_may_not_have_it_passes_it_on_to_those_who_may),
		CASE(what_was_shown_stays_when_the_role_changes),
		CASE(the_origin_hears_which_addressee_may_not_have_it),
		CASE(a_draft_is_kept_and_waits_in_no_queue_until_it_is_let_go),
	};

	return RUN_FED_AND_HUNGRY(tests);
}
