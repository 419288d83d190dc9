#include "daemon/send_window.h"

#include <string.h>

#define STEP 8                   /* items more, when there was room to spare */

void send_window_reset(struct send_window *window, int64_t now_ms)
{
	memset(window, 0, sizeof(*window));
	window->most = SEND_WINDOW_LEAST;
	window->shortest_ms = window->before_ms = INT64_MAX;
	window->span_ms = now_ms;
}

bool send_window_may(struct send_window *window, size_t under_way)
{
	if (under_way < window->most)
		return true;
	window->was_full = true;
	return false;
}

void send_window_sent(struct send_window *window, const struct item_ref *ref, int64_t now_ms)
{
	if (window->is_timing || ref->precedence == PRECEDENCE_FLASH)
		return;
	window->is_timing = true;
	window->timed = *ref;
	window->timed_ms = now_ms;
}

static bool is_same(const struct item_ref *a, const struct item_ref *b)
{
	return a->type == b->type && a->precedence == b->precedence && a->index == b->index && message_id_equal(&a->id, &b->id);
}

static int64_t note_shortest(struct send_window *window, int64_t took_ms, int64_t now_ms)
{
	if (now_ms - window->span_ms >= SEND_SHORTEST_MS) {
		window->before_ms = window->shortest_ms;
		window->shortest_ms = INT64_MAX;
		window->span_ms = now_ms;
	}
	if (took_ms < window->shortest_ms)
		window->shortest_ms = took_ms;
	return window->shortest_ms < window->before_ms ? window->shortest_ms : window->before_ms;
}

void send_window_heard(struct send_window *window, const struct item_ref *ref, bool has_taken, int64_t now_ms)
{
	const int64_t took_ms = now_ms - window->timed_ms;

	if (!window->is_timing || !is_same(ref, &window->timed))
		return;
	window->is_timing = false;
	if (!has_taken)
		return;
	if (took_ms > note_shortest(window, took_ms, now_ms) + SEND_DELAY_MS)
		window->most -= window->most / 4;
	else if (window->was_full)
		window->most += STEP;
	window->was_full = false;
	if (window->most < SEND_WINDOW_LEAST)
		window->most = SEND_WINDOW_LEAST;
	if (window->most > SEND_WINDOW_MOST)
		window->most = SEND_WINDOW_MOST;
}
