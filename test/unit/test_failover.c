/*
 * test_failover.c: a noodsteunpunt homed on two CPs, one of which falls silent: its real relay and the real
 * links to both, in virtual time, with the times that cpd has outside of tests. The CPs are links that commit
 * at once what they get; nothing is assumed of TCP, for a CP that hangs may keep it open for hours.
 */
#include "test/unit/relay_makers.h"

#define STEP_MS 100
#define FAILOVER_MS 60000        /* what is promised: the traffic of a silent CP is at the other within this */
#define MESSAGES 64

struct home {
	uint32_t cp;
	struct link *near, *far;
	bool is_silent;              /* nothing passes either way, and nobody is told */
	bool is_up;                  /* as the relay was told */
	unsigned downs;
	uint64_t turn;
	uint64_t held[MESSAGES]; size_t held_count;
};
struct place { struct box *box; struct home homes[2]; };

static void near_events(struct place *place, struct home *home)
{
	struct link_event event;

	while (link_next_event(home->near, &event)) {
		if (event.type == LINK_EVENT_UP) {
			home->is_up = true;
			link_is(place->box, home->cp, true);
		} else if (event.type == LINK_EVENT_ACKED) {
			answer_of(place->box, RELAY_ACKED, home->cp, event.ref, REFUSED_NONE);
		} else if (event.type == LINK_EVENT_RETURNED) {
			answer_of(place->box, RELAY_RETURNED, home->cp, event.ref, REFUSED_NONE);
		}
		pump(place->box);
	}
}

static void far_events(struct home *home)
{
	struct link_event event;

	while (link_next_event(home->far, &event)) {
		if (event.type != LINK_EVENT_ITEM)
			continue;
		assert_true(home->held_count < MESSAGES);
		assert_int_equal(event.bytes.len, 9);
		memcpy(&home->held[home->held_count++], event.bytes.data + 1, 8);
		link_settle(home->far, event.serial, REFUSED_NONE, ++home->turn);
	}
	link_committed(home->far, home->turn);
}

static bool frame_passes(struct home *home, struct link *from, struct link *to, int64_t now_ms)
{
	uint8_t frame[LIMIT_FRAME];
	size_t len;

	assert_int_equal(link_next_frame(from, frame, &len, now_ms), CPD_OK);
	if (len && !home->is_silent)
		assert_int_equal(link_receive(to, (struct slice){ frame, len }, now_ms), CPD_OK);
	return len > 0;
}

static void fill(struct place *place, struct home *home)
{
	for (int p = PRECEDENCE_COUNT - 1; p >= 0; p--) {
		struct item_ref ref;

		while (home->is_up && link_can_send(home->near, (enum precedence)p) && gives(place->box, home->cp, (enum precedence)p, &ref)) {
			uint8_t bytes[9] = { 'I' };
			memcpy(bytes + 1, &ref.id.sequence, 8);
			assert_int_equal(link_send(home->near, &ref, (struct slice){ bytes, sizeof(bytes) }, place->box->now.custody_ms), CPD_OK);
		}
	}
}

static void settle_down(struct place *place)
{
	int64_t now_ms = place->box->now.custody_ms;
	bool moved = true;

	while (moved) {
		moved = false;
		for (size_t i = 0; i < 2; i++) {
			struct home *home = &place->homes[i];

			near_events(place, home);
			fill(place, home);
			moved = frame_passes(home, home->near, home->far, now_ms) || moved;
			far_events(home);
			moved = frame_passes(home, home->far, home->near, now_ms) || moved;
			near_events(place, home);
		}
	}
}

static void home_down(struct place *place, struct home *home)
{
	link_disconnected(home->near, place->box->now.custody_ms);
	near_events(place, home);
	if (home->is_up) {
		home->is_up = false;
		home->downs++;
		link_is(place->box, home->cp, false);
		pump(place->box);
	}
}

static void home_connect(struct place *place, struct home *home)
{
	const struct link_greeting greeting = { .clock_ms = -1 };

	link_connected(home->near, &greeting, place->box->now.custody_ms);
	link_connected(home->far, &greeting, place->box->now.custody_ms);
	settle_down(place);
}

static void run(struct place *place, int64_t ms)
{
	for (int64_t at = 0; at < ms; at += STEP_MS) {
		pass_time(place->box, STEP_MS);
		for (size_t i = 0; i < 2; i++) {
			struct home *home = &place->homes[i];
			bool is_dead = false;

			link_tick(home->near, place->box->now.custody_ms, &is_dead);
			if (is_dead)
				home_down(place, home);
			link_tick(home->far, place->box->now.custody_ms, &is_dead);
		}
		settle_down(place);
	}
}

static bool is_held(const struct home *home, uint64_t sequence)
{
	for (size_t i = 0; i < home->held_count; i++)
		if (home->held[i] == sequence)
			return true;
	return false;
}

static int open_place(void **state)
{
	static const uint32_t cps[] = { CP_A, CP_B };
	struct place *place = calloc(1, sizeof(*place));

	assert_non_null(place);
	place->box = box_open();
	for (size_t i = 0; i < 2; i++) {
		struct link_config config = { .self = SELF, .peer = cps[i], .self_epoch = SELF_EPOCH,
			.profile = link_profile_between(&link_profile_ip, true, false) };

		place->homes[i].cp = cps[i];
		link_is(place->box, cps[i], false);
		place->homes[i].near = link_new(&config);
		config.self = cps[i];
		config.peer = SELF;
		config.profile = link_profile_between(&link_profile_ip, false, true);
		place->homes[i].far = link_new(&config);
		assert_true(place->homes[i].near && place->homes[i].far);
	}
	for (size_t i = 0; i < 2; i++) {
		home_connect(place, &place->homes[i]);
		assert_true(place->homes[i].is_up);
	}
	*state = place;
	return 0;
}

static int close_place(void **state)
{
	struct place *place = *state;

	for (size_t i = 0; i < 2; i++) {
		link_free(place->homes[i].near);
		link_free(place->homes[i].far);
	}
	box_close(place->box);
	free(place);
	return 0;
}

static uint64_t call_for_help(struct place *place)
{
	struct header header = header_of(KIND_CALL, SELF, 1, DESK);

	author(place->box, &header);
	return header.id.sequence;
}

/* A FLASH under way to the silent one, others behind it, and one written while nobody knows yet. */
static void the_traffic_of_a_silent_cp_is_at_the_other_within_a_minute(void **state)
{
	struct place *place = *state;
	struct home *first = &place->homes[0], *second = &place->homes[1];

	/* The worst moment: anywhere between two words of the CP. */
	for (int64_t spoken_ms = 0; spoken_ms <= 40000; spoken_ms += 8000) {
		uint64_t sequences[4];
		size_t behind;

		run(place, spoken_ms + STEP_MS);
		first->is_silent = true;
		sequences[0] = call_for_help(place);
		for (size_t i = 1; i < 3; i++)
			sequences[i] = authored_text(place->box, DESK).sequence;
		settle_down(place);
		run(place, 20000);
		sequences[3] = authored_text(place->box, DESK).sequence;
		run(place, FAILOVER_MS - 20000);
		for (size_t i = 0; i < 4; i++)
			assert_true(is_held(second, sequences[i]));
		assert_false(first->is_up);
		assert_int_equal(second->downs, 0);      /* made before the other broke, and kept */
		assert_true(second->is_up);

		/* Back to the first: the second stays up, and what it has is not asked back. */
		first->is_silent = false;
		behind = second->held_count;
		home_connect(place, first);
		assert_true(first->is_up);
		sequences[0] = call_for_help(place);
		run(place, 5000);
		assert_true(is_held(first, sequences[0]));
		assert_int_equal(second->held_count, behind);
		assert_int_equal(second->downs, 0);
		first->held_count = second->held_count = 0;
	}
	assert_int_equal(first->downs, 6);
}

/* What TCP tells of is not waited for: ten seconds, in which a short cut moves no queue. */
static void a_cut_that_tcp_tells_of_moves_the_traffic_in_ten_seconds(void **state)
{
	struct place *place = *state;
	uint64_t sequence;

	place->homes[0].is_silent = true;
	sequence = call_for_help(place);
	settle_down(place);
	home_down(place, &place->homes[0]);
	run(place, place->box->config.reroute_ms + STEP_MS);
	assert_true(is_held(&place->homes[1], sequence));
	assert_int_equal(place->homes[1].downs, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_traffic_of_a_silent_cp_is_at_the_other_within_a_minute, open_place, close_place),
		cmocka_unit_test_setup_teardown(a_cut_that_tcp_tells_of_moves_the_traffic_in_ten_seconds, open_place, close_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
