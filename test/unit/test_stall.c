/* test_stall.c: a queue that should move and does not is an alarm; one that moves, however slowly, or may not, is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/relay/stall.h"

#define BOUND 100000
#define EVERY 20000              /* looks */

/* What happens at each look. */
enum way {
	IDLE,                        /* nothing waits */
	DUE,                         /* a row is due, and the link does not take it */
	UNANSWERED,                  /* the neighbour has it whole and says nothing */
	GOING,                       /* an item is leaving, and bytes of it are taken in */
	STUCK,                       /* an item is leaving, and none are */
	ANSWERED,                    /* one is answered between any two looks, and more waits */
	ANSWERED_FLASH,              /* the same at FLASH; what is looked at waits behind it */
	ANSWERED_ROUTINE,            /* the same at ROUTINE */
	GOING_ROUTINE,               /* unanswered, while bytes of ROUTINE are taken in */
	DOWN,                        /* unanswered, and the link is down */
	OWN_DISK,                    /* unanswered, while the own disk stands still */
	FLAPPING,                    /* unanswered; the link is up at every other pair of looks */
	WAYS
};

static void see(enum way way, enum precedence precedence, int look, struct stall_view *view)
{
	const uint64_t n = (uint64_t)look;

	memset(&view->is_due, 0, sizeof(view->is_due));
	memset(&view->progress.waits, 0, sizeof(view->progress.waits));
	memset(&view->progress.is_going, 0, sizeof(view->progress.is_going));
	view->is_up = way != DOWN && (way != FLAPPING || look % 4 < 2);
	view->is_excused = way == OWN_DISK;
	view->is_due[precedence] = way == DUE;
	view->progress.waits[precedence] = way != DUE && way != IDLE;
	view->progress.is_going[precedence] = way == GOING || way == STUCK;
	if (way == GOING || way == GOING_ROUTINE)
		view->progress.taken_bytes = 100 * n;
	if (way == GOING_ROUTINE)
		view->progress.waits[PRECEDENCE_ROUTINE] = view->progress.is_going[PRECEDENCE_ROUTINE] = true;
	if (way == ANSWERED)
		view->progress.answered[precedence] = n;
	if (way == ANSWERED_FLASH)
		view->progress.answered[PRECEDENCE_FLASH] = n;
	if (way == ANSWERED_ROUTINE)
		view->progress.answered[PRECEDENCE_ROUTINE] = n;
}

static void only_what_should_move_and_does_not_is_an_alarm(void **state)
{
	static const struct { enum way way; enum precedence precedence; int64_t alarm_ms; } rows[] = {
		{ IDLE, PRECEDENCE_FLASH, 0 },
		{ DUE, PRECEDENCE_FLASH, BOUND },
		{ DUE, PRECEDENCE_ROUTINE, BOUND },
		{ UNANSWERED, PRECEDENCE_FLASH, BOUND },
		{ UNANSWERED, PRECEDENCE_ROUTINE, BOUND },
		{ GOING, PRECEDENCE_ROUTINE, 0 },
		{ STUCK, PRECEDENCE_ROUTINE, BOUND },
		{ ANSWERED, PRECEDENCE_PRIORITY, 0 },
		{ ANSWERED_FLASH, PRECEDENCE_ROUTINE, 0 },
		{ ANSWERED_ROUTINE, PRECEDENCE_FLASH, BOUND },
		{ GOING_ROUTINE, PRECEDENCE_FLASH, BOUND },
		{ DOWN, PRECEDENCE_FLASH, 0 },
		{ OWN_DISK, PRECEDENCE_FLASH, 0 },
		{ FLAPPING, PRECEDENCE_FLASH, 17 * EVERY }, /* one time in four between two looks it was up all along */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct stall stall = { .was_looked = false };
		struct stall_view view = { .is_up = true };
		int64_t alarm_ms = 0;

		for (int look = 0; look < 40 && !alarm_ms; look++) {
			see(rows[i].way, rows[i].precedence, look, &view);
			if (stall_look(&stall, &view, BOUND, 1000 + (int64_t)look * EVERY) == STALL_BEGAN)
				alarm_ms = look * EVERY;
		}
		if (alarm_ms != rows[i].alarm_ms)
			fail_msg("row %zu: alarm after %lld ms", i, (long long)alarm_ms);
		if (alarm_ms) {
			assert_true(stall.is_stalled);
			assert_int_equal(stall.precedence, rows[i].precedence);
			assert_int_equal(stall.resets, 1);
		}
	}
}

/* 1,200 bit/s, two-second chunks, a queue for a day: bytes of it are taken in, and every few minutes an item is answered. */
static void a_thin_wire_with_a_long_queue_is_no_stall(void **state)
{
	const int64_t bound_ms = stall_bound_ms(&link_profile_thin);
	struct stall stall = { .was_looked = false };
	struct stall_view view = { .is_up = true };

	(void)state;
	for (int64_t second = 0; second < 86400; second += 10) {
		const uint64_t bytes = (uint64_t)second * 150;

		view.is_due[PRECEDENCE_ROUTINE] = view.progress.waits[PRECEDENCE_ROUTINE] = true;
		view.progress.is_going[PRECEDENCE_ROUTINE] = bytes % LIMIT_ITEM < LIMIT_ITEM - 3000;
		view.progress.taken_bytes = bytes;
		view.progress.answered[PRECEDENCE_ROUTINE] = bytes / LIMIT_ITEM;
		assert_int_equal(stall_look(&stall, &view, bound_ms, second * 1000), STALL_NONE);
	}
}

static void the_bound_follows_from_the_link(void **state)
{
	struct link_profile profile;

	(void)state;
	profile = link_profile_between(&link_profile_ip, false, false);
	assert_int_equal(stall_bound_ms(&profile), 100000);
	profile = link_profile_between(&link_profile_ip, false, true);
	assert_int_equal(stall_bound_ms(&profile), 230000);
	assert_int_equal(stall_bound_ms(&link_profile_thin), 800000);
	for (int battery = 0; battery < 2; battery++) {
		profile = link_profile_between(&link_profile_thin, battery, battery);
		assert_true(stall_bound_ms(&profile) > 2 * (int64_t)profile.keepalive_ms); /* it is looked at that often at least */
		assert_true(stall_bound_ms(&profile) > (int64_t)profile.dead_ms);
	}
}

static void a_reset_that_does_not_help_waits_twice_as_long_for_the_next(void **state)
{
	struct stall stall = { .was_looked = false };
	struct stall_view view = { .is_up = true };
	int64_t resets[8] = { 0 }, at_ms = 0;
	size_t count = 0;

	(void)state;
	view.progress.waits[PRECEDENCE_IMMEDIATE] = true;
	for (; count < 8; at_ms += 1000) {
		enum stall_verdict verdict = stall_look(&stall, &view, BOUND, at_ms);

		assert_true(at_ms < 200 * BOUND);
		if (verdict != STALL_NONE) {
			assert_int_equal(verdict, count ? STALL_LASTS : STALL_BEGAN);
			resets[count++] = at_ms;
		}
	}
	assert_int_equal(resets[0], BOUND);
	for (size_t i = 1; i < 8; i++)
		assert_int_equal(resets[i] - resets[i - 1], BOUND << (i < 4 ? i : 4));
	assert_int_equal(stall.since_ms, 0);
}

/* Four items of 6 KiB at 1,200 bit/s, of which a wire that loses a piece in ten brings one over every few minutes. */
static void what_takes_long_to_send_again_is_waited_for(void **state)
{
	static const struct { int64_t resend_ms, alarm_ms; } rows[] = {
		{ 0, BOUND }, { 5000, BOUND + 40000 }, { 164000, 10 * BOUND + BOUND }, { INT64_C(1000000000), 10 * BOUND + BOUND },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct stall stall = { .was_looked = false };
		struct stall_view view = { .is_up = true };
		int64_t at_ms = 0;

		view.progress.waits[PRECEDENCE_FLASH] = true;
		view.progress.resend_ms = rows[i].resend_ms;
		while (stall_look(&stall, &view, BOUND, at_ms) != STALL_BEGAN) {
			at_ms += EVERY;
			assert_true(at_ms < 100 * BOUND);
		}
		assert_int_equal(at_ms, rows[i].alarm_ms);
	}
}

static void it_is_over_when_it_moves_or_nothing_waits(void **state)
{
	(void)state;
	for (int how = 0; how < 4; how++) {
		struct stall stall = { .was_looked = false };
		struct stall_view view = { .is_up = true };
		int64_t at_ms = 0;

		view.progress.waits[PRECEDENCE_PRIORITY] = true;
		while (stall_look(&stall, &view, BOUND, at_ms) != STALL_BEGAN) {
			at_ms += EVERY;
			assert_true(at_ms < 100 * BOUND);
		}
		view.is_up = false;                     /* the reset */
		assert_int_equal(stall_look(&stall, &view, BOUND, at_ms += 10), STALL_NONE);
		view.is_up = true;
		view.progress.answered[PRECEDENCE_ROUTINE]++;  /* of less, it says nothing of this */
		assert_int_equal(stall_look(&stall, &view, BOUND, at_ms += 1000), STALL_NONE);
		assert_true(stall.is_stalled);
		if (how == 0)
			view.progress.answered[PRECEDENCE_PRIORITY]++;
		else if (how == 1)
			view.progress.answered[PRECEDENCE_FLASH]++;
		else
			view.progress.waits[PRECEDENCE_PRIORITY] = false;
		view.is_up = how != 3;                  /* or it went another way while the link was down */
		assert_int_equal(stall_look(&stall, &view, BOUND, at_ms += 1000), STALL_OVER);
		assert_false(stall.is_stalled);
		assert_int_equal(stall_look(&stall, &view, BOUND, at_ms += 1000), STALL_NONE);
		assert_int_equal(stall.resets, 0);
	}
}

static void it_is_looked_at_only_while_something_waits(void **state)
{
	struct stall stall = { .was_looked = false };
	struct stall_view view = { .is_up = true };

	(void)state;
	(void)stall_look(&stall, &view, BOUND, 5000);
	assert_int_equal(stall_deadline(&stall, BOUND), INT64_MAX);
	view.is_due[PRECEDENCE_ROUTINE] = true;
	(void)stall_look(&stall, &view, BOUND, 6000);
	assert_int_equal(stall_deadline(&stall, BOUND), 6000 + BOUND / 4);
	view.is_up = false;
	(void)stall_look(&stall, &view, BOUND, 7000);
	assert_int_equal(stall_deadline(&stall, BOUND), INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_should_move_and_does_not_is_an_alarm),
		cmocka_unit_test(a_thin_wire_with_a_long_queue_is_no_stall),
		cmocka_unit_test(the_bound_follows_from_the_link),
		cmocka_unit_test(a_reset_that_does_not_help_waits_twice_as_long_for_the_next),
		cmocka_unit_test(what_takes_long_to_send_again_is_waited_for),
		cmocka_unit_test(it_is_over_when_it_moves_or_nothing_waits),
		cmocka_unit_test(it_is_looked_at_only_while_something_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
