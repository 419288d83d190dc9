/* test_relay_claim.c: one identity, one live copy: who is fenced, who begins an epoch, and who is told (PROTOCOL.md section 7.12). */
#include "test/unit/relay_makers.h"

#define BOX struct box *box = *state
#define CLAIM 4
#define INSTANCE ((UINT64_C(7) << 32) + 1000)
#define UP_MS (20 * MINUTE_MS)       /* since this process began */

static void start_as(struct box *box, uint32_t claim, uint64_t instance, bool takes_over)
{
	static const struct relay_counters counters = { 0 };

	relay_free(box->relay);
	box->config.claim = claim;
	box->config.instance = instance;
	box->config.takes_over = takes_over;
	box->config.started_ms = box->now.custody_ms;
	box_start(box, &counters);
	pass_time(box, UP_MS);
}

static int open_box(void **state)
{
	struct box *box = box_open();

	start_as(box, CLAIM, INSTANCE, false);
	*state = box;
	return 0;
}

static int close_box(void **state)
{
	box_close(*state);
	return 0;
}

static void told(struct box *box, uint32_t link, const struct presence *presence, uint32_t age_s)
{
	struct { uint8_t bytes[LIMIT_PRESENCE + 128]; struct verified_presence verified; } *made = box_alloc(box, sizeof(*made));
	struct relay_event event = { .type = RELAY_HEARD, .link = link, .presence = &made->verified, .presence_age_s = age_s };
	uint8_t bytes[LIMIT_PRESENCE];
	size_t len;

	assert_int_equal(presence_encode(presence, bytes, sizeof(bytes), &len), CPD_OK);
	assert_int_equal(cheap_sign_record((struct slice){ bytes, len }, presence->node, made->bytes, sizeof(made->bytes), &len), CPD_OK);
	assert_int_equal(make_verified_presence((struct slice){ made->bytes, len }, &made->verified), CPD_OK);
	assert_int_equal(play(box, &event), CPD_OK);
}

static struct presence word_of(uint32_t node, uint32_t claim, uint32_t epoch, uint64_t instance)
{
	return (struct presence){ .node = node, .epoch = epoch, .counter = 1, .claim = claim, .instance = instance };
}

enum verdict { NOTHING, FENCED, EPOCH };
struct trial { const char *what; uint32_t claim, epoch; uint64_t instance; uint32_t age_s; bool takes_over; enum verdict verdict; uint32_t raised_claim; };

static void the_newer_copy_wins_and_what_is_past_is_no_copy(void **state)
{
	static const uint32_t up_s = UP_MS / 1000;
	static const struct trial trials[] = {
		{ "a copy that moved, alive", CLAIM + 1, SELF_EPOCH + 1, 1, 5, false, FENCED, 0 },
		{ "a copy that moved, long silent: the laptop from the drawer is not to take the node back", CLAIM + 1, SELF_EPOCH + 1, 1, up_s + 86400, false, FENCED, 0 },
		{ "the same, but this one was told to take over", CLAIM + 1, SELF_EPOCH + 1, 1, up_s + 86400, true, EPOCH, CLAIM + 2 },
		{ "told to take over, but the other came after it", CLAIM + 1, SELF_EPOCH + 1, 1, 5, true, FENCED, 0 },
		{ "a whole disk copied, started later and alive", CLAIM, SELF_EPOCH, INSTANCE + (UINT64_C(1) << 32), 5, false, FENCED, 0 },
		{ "two at once, and the other drew the higher lot", CLAIM, SELF_EPOCH, INSTANCE + 1, 5, false, FENCED, 0 },
		{ "this store was put back: its later word is past", CLAIM, SELF_EPOCH, INSTANCE + (UINT64_C(1) << 32), up_s + 5, false, EPOCH, 0 },
		{ "the whole box was put back", CLAIM, SELF_EPOCH + 3, INSTANCE - 1, up_s + 5, false, EPOCH, 0 },
		{ "a copy that began an epoch above ours, alive", CLAIM, SELF_EPOCH + 1, INSTANCE - 1, 5, false, FENCED, 0 },
		{ "an age that may be a little too low proves no copy", CLAIM, SELF_EPOCH + 1, INSTANCE - 1, up_s - 100, false, EPOCH, 0 },
		{ "an older copy, alive: it may give ids of our epoch", CLAIM, SELF_EPOCH, INSTANCE - 1, 5, false, EPOCH, 0 },
		{ "an older copy in an epoch above ours", CLAIM - 1, SELF_EPOCH + 4, INSTANCE + 1, 5, false, EPOCH, 0 },
		{ "an older copy in an epoch below ours", CLAIM - 1, SELF_EPOCH - 1, 1, 5, false, NOTHING, 0 },
		{ "our own last word before we were started", CLAIM, SELF_EPOCH, INSTANCE - (UINT64_C(1) << 32), up_s + 1, false, NOTHING, 0 },
		{ "our own word", CLAIM, SELF_EPOCH, INSTANCE, 5, false, NOTHING, 0 },
		{ "of a cpd that tells no copies", 0, SELF_EPOCH + 1, 0, 5, false, EPOCH, 0 },
	};
	BOX;

	for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
		const struct trial *trial = &trials[i];
		const struct presence presence = word_of(SELF, trial->claim, trial->epoch, trial->instance);
		size_t fences, raises;

		start_as(box, CLAIM, INSTANCE, trial->takes_over);
		told(box, CP_A, &presence, trial->age_s);
		fences = effects_of(box, EFFECT_FENCED);
		raises = effects_of(box, EFFECT_RAISE_EPOCH);
		if (fences != (trial->verdict == FENCED) || raises != (trial->verdict == EPOCH))
			fail_msg("%s: fenced %zu, epoch %zu", trial->what, fences, raises);
		if (raises) {
			assert_int_equal(effect_of(box, EFFECT_RAISE_EPOCH)->epoch, trial->epoch + 1);
			assert_int_equal(effect_of(box, EFFECT_RAISE_EPOCH)->claim, trial->raised_claim);
		}
		assert_int_equal(journal_of(box, JOURNAL_FENCED), fences);
		if (fences)
			assert_true(effect_of(box, EFFECT_FENCED)->presence.instance == trial->instance);
	}
}

/* Whoever wins among two, wins whichever of them is asked, and never both. */
static void of_two_copies_exactly_one_yields(void **state)
{
	static const struct claim copies[] = { { 1, 5, 10 }, { 1, 5, 11 }, { 1, 6, 3 }, { 2, 4, 1 }, { 2, 6, 9 } };
	static const size_t count = sizeof(copies) / sizeof(copies[0]);
	BOX;

	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < count; j++) {
			const struct presence other = word_of(SELF, copies[j].claim, copies[j].epoch, copies[j].instance);

			if (i == j)
				continue;
			box->config.epoch = copies[i].epoch;
			start_as(box, copies[i].claim, copies[i].instance, false);
			told(box, CP_A, &other, 5);
			assert_int_equal(effects_of(box, EFFECT_FENCED), i < j);
		}
	box->config.epoch = SELF_EPOCH;
}

static bool passes_to(const struct box *box, uint32_t link)
{
	for (size_t i = 0; i < box->effect_count; i++)
		if (box->effects[i].type == EFFECT_PRESENCE && box->effects[i].link == link)
			return true;
	return false;
}

static void a_neighbour_keeps_the_highest_claim_and_tells_the_older_copy(void **state)
{
	BOX;
	struct presence older = word_of(NSP_A, 1, 3, 70), newer = word_of(NSP_A, 2, 4, 5), held;
	int64_t heard_ms;

	older.counter = 900;
	told(box, NSP_A, &older, 0);
	told(box, CP_A, &newer, 0);                      /* the new copy is homed elsewhere; the old one is on our link */
	assert_true(passes_to(box, NSP_A));
	assert_true(relay_presence(box->relay, NSP_A, &held, &heard_ms));
	assert_int_equal(held.claim, 2);
	older.counter = 901;
	older.epoch = 9;                                 /* an epoch is no claim */
	told(box, NSP_A, &older, 0);
	assert_true(passes_to(box, NSP_A));
	assert_true(relay_presence(box->relay, NSP_A, &held, &heard_ms));
	assert_int_equal(held.claim, 2);
	told(box, CP_B, &older, 0);                      /* not from itself: nobody to tell */
	assert_int_equal(effects_of(box, EFFECT_PRESENCE), 0);
	newer.counter = 2;                               /* each minute's word of the one that is in use is not echoed to it */
	told(box, CP_A, &newer, 0);
	assert_false(passes_to(box, NSP_A));
}

static void own_presence_tells_which_copy_speaks(void **state)
{
	BOX;
	const struct relay_effect *announced;

	link_is(box, CP_A, false);
	pass_time(box, 5000);
	announced = effect_of(box, EFFECT_ANNOUNCE);
	assert_non_null(announced);
	assert_int_equal(announced->presence.claim, CLAIM);
	assert_true(announced->presence.instance == INSTANCE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_newer_copy_wins_and_what_is_past_is_no_copy, open_box, close_box),
		cmocka_unit_test_setup_teardown(of_two_copies_exactly_one_yields, open_box, close_box),
		cmocka_unit_test_setup_teardown(a_neighbour_keeps_the_highest_claim_and_tells_the_older_copy, open_box, close_box),
		cmocka_unit_test_setup_teardown(own_presence_tells_which_copy_speaks, open_box, close_box),
	};

	return RUN_FED_AND_HUNGRY(tests);
}
