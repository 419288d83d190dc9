/* test_send_window.c: what is sent ahead of the neighbour's word is bounded by time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/send_window.h"

#define QUEUE SEND_WINDOW_MOST

/* A neighbour that takes one item each `every` us, whose word about it travels for `way_ms`. */
struct peer { struct item_ref refs[QUEUE]; int64_t done_us[QUEUE]; size_t head, tail; int64_t free_us; };

static struct item_ref ref_of(uint64_t sequence, enum precedence precedence)
{
	return (struct item_ref){ .type = ITEM_TYPE_MESSAGE, .precedence = precedence, .id = { 7, 1, sequence } };
}

/* Sends whatever the window allows for so long. Returns how many were taken; *longest_ms: of the last half, until the word. */
static size_t pour(struct send_window *window, int64_t every_us, int64_t way_ms, int64_t for_ms, int64_t *longest_ms)
{
	static struct peer peer;
	static int64_t sent_ms[QUEUE];
	uint64_t sequence = 0;
	size_t taken = 0;

	peer = (struct peer){ .free_us = 0 };
	*longest_ms = 0;
	for (int64_t now_ms = 1; now_ms <= for_ms; now_ms++) {
		while (peer.head != peer.tail && peer.done_us[peer.head % QUEUE] + way_ms * 1000 <= now_ms * 1000) {
			size_t at = peer.head++ % QUEUE;

			taken++;
			if (now_ms > for_ms / 2 && now_ms - sent_ms[at] > *longest_ms)
				*longest_ms = now_ms - sent_ms[at];
			send_window_heard(window, &peer.refs[at], true, now_ms);
		}
		while (peer.tail - peer.head < QUEUE && send_window_may(window, peer.tail - peer.head)) {
			size_t at = peer.tail++ % QUEUE;

			peer.refs[at] = ref_of(++sequence, PRECEDENCE_ROUTINE);
			sent_ms[at] = now_ms;
			peer.free_us = (peer.free_us > now_ms * 1000 ? peer.free_us : now_ms * 1000) + every_us;
			peer.done_us[at] = peer.free_us;
			send_window_sent(window, &peer.refs[at], now_ms);
		}
	}
	return taken;
}

static void a_busy_neighbour_is_not_given_more_than_it_takes_in_a_moment(void **state)
{
	struct send_window window;
	int64_t longest_ms;
	size_t taken;

	(void)state;
	send_window_reset(&window, 0);
	taken = pour(&window, 333, 5, 4000, &longest_ms); /* 3,000 a second: 240 of them are 80 ms */
	assert_true(taken > 4000 * 3 * 95 / 100);
	assert_in_range(longest_ms, 5, 5 + 11 + 2 * SEND_DELAY_MS); /* 11 ms: the least that is sent at this pace */
}

static void a_fast_neighbour_far_away_is_used_fully(void **state)
{
	struct send_window window;
	int64_t longest_ms;

	(void)state;
	send_window_reset(&window, 0);
	/* 10,000 a second, 20 ms away: 200 under way */
	assert_true(pour(&window, 100, 20, 4000, &longest_ms) > 4000 * 10 * 85 / 100);
	assert_true(window.most > 150);
}

static void a_slow_neighbour_always_has_the_least(void **state)
{
	struct send_window window;
	int64_t longest_ms;

	(void)state;
	send_window_reset(&window, 0);
	assert_true(pour(&window, 250000, 600, 100000, &longest_ms) >= 390); /* 4 a second */
	assert_true(window.most >= SEND_WINDOW_LEAST);
	assert_true(send_window_may(&window, SEND_WINDOW_LEAST - 1));
}

/* The way became a longer one: what was the shortest time is so no more. */
static void a_shortest_time_is_not_believed_for_ever(void **state)
{
	struct send_window window;
	struct item_ref ref = ref_of(1, PRECEDENCE_ROUTINE);
	int64_t now_ms = 1;

	(void)state;
	send_window_reset(&window, 0);
	send_window_sent(&window, &ref, now_ms);
	send_window_heard(&window, &ref, true, now_ms + 5);
	for (; now_ms < 3 * SEND_SHORTEST_MS; now_ms += 200) {
		(void)send_window_may(&window, window.most);
		send_window_sent(&window, &ref, now_ms);
		send_window_heard(&window, &ref, true, now_ms + 200);
	}
	assert_true(window.most > SEND_WINDOW_LEAST + 50);
}

static void what_came_back_or_was_more_urgent_tells_no_time(void **state)
{
	struct send_window window;
	struct item_ref flash = ref_of(1, PRECEDENCE_FLASH), first = ref_of(2, PRECEDENCE_ROUTINE), second = ref_of(3, PRECEDENCE_ROUTINE);

	(void)state;
	send_window_reset(&window, 0);
	send_window_sent(&window, &flash, 10);
	send_window_heard(&window, &flash, true, 11);
	send_window_sent(&window, &first, 20);
	send_window_sent(&window, &second, 21);
	send_window_heard(&window, &second, true, 22); /* another one is timed */
	send_window_heard(&window, &first, false, 23);
	assert_true(window.shortest_ms == INT64_MAX);
	send_window_sent(&window, &second, 30);
	send_window_heard(&window, &second, true, 37);
	assert_true(window.shortest_ms == 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_busy_neighbour_is_not_given_more_than_it_takes_in_a_moment),
		cmocka_unit_test(a_fast_neighbour_far_away_is_used_fully),
		cmocka_unit_test(a_slow_neighbour_always_has_the_least),
		cmocka_unit_test(a_shortest_time_is_not_believed_for_ever),
		cmocka_unit_test(what_came_back_or_was_more_urgent_tells_no_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
