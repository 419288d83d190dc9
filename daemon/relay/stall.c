#include "daemon/relay/stall.h"

#define LOOKS 4                  /* within the bound, while something waits */
#define DOUBLINGS 4
#define RESENDS 8
#define RESEND_BOUNDS 10         /* but no longer than so many bounds: a rate may be measured wrong */

int64_t stall_bound_ms(const struct link_profile *profile)
{
	const int64_t dead_ms = 2 * (int64_t)profile->dead_ms, retransmit_ms = 10 * (int64_t)profile->retransmit_ms;

	return dead_ms > retransmit_ms ? dead_ms : retransmit_ms;
}

/* A wire that loses pieces sends an item many times before it is whole over there; meanwhile no byte counts anew. */
int64_t stall_patience_ms(const struct stall *stall, const struct stall_view *view, int64_t bound_ms)
{
	const unsigned doublings = stall->resets < DOUBLINGS ? stall->resets : DOUBLINGS;
	int64_t resend_ms = RESENDS * view->progress.resend_ms;

	if (resend_ms > RESEND_BOUNDS * bound_ms)
		resend_ms = RESEND_BOUNDS * bound_ms;
	return (bound_ms + resend_ms) << doublings;
}

static bool waits(const struct stall_view *view, int precedence)
{
	return view->is_due[precedence] || view->progress.waits[precedence];
}

/* Since the last look something was heard that means progress for this precedence. */
static bool has_moved(const struct stall *stall, const struct stall_view *view, int precedence)
{
	const struct link_progress *before = &stall->last.progress, *now = &view->progress;

	for (int p = precedence; p < PRECEDENCE_COUNT; p++) {
		if (now->answered[p] != before->answered[p])
			return true;
		/* All of it has left: then only an answer is progress. */
		if (now->taken_bytes != before->taken_bytes && (before->is_going[p] || now->is_going[p]))
			return true;
	}
	return false;
}

static void count(struct stall *stall, const struct stall_view *view, int precedence, int64_t now_ms)
{
	const bool was_counting = stall->last.is_up && !stall->last.is_excused && waits(&stall->last, precedence);

	if (!waits(view, precedence) || has_moved(stall, view, precedence))
		stall->still_ms[precedence] = 0;
	else if (was_counting && view->is_up && !view->is_excused)
		stall->still_ms[precedence] += now_ms - stall->looked_ms;
}

static enum stall_verdict judge(struct stall *stall, const struct stall_view *view, int64_t bound_ms, int64_t now_ms)
{
	const int64_t patience_ms = stall_patience_ms(stall, view, bound_ms);

	for (int p = PRECEDENCE_COUNT - 1; view->is_up && p >= 0; p--) {
		const bool is_first = !stall->is_stalled;

		if (stall->still_ms[p] < patience_ms)
			continue;
		if (is_first) {
			stall->is_stalled = true;
			stall->since_ms = now_ms - stall->still_ms[p];
			stall->precedence = (enum precedence)p;
		}
		stall->resets++;
		for (int each = 0; each < PRECEDENCE_COUNT; each++)
			stall->still_ms[each] = 0;
		return is_first ? STALL_BEGAN : STALL_LASTS;
	}
	return STALL_NONE;
}

enum stall_verdict stall_look(struct stall *stall, const struct stall_view *view, int64_t bound_ms, int64_t now_ms)
{
	enum stall_verdict verdict = STALL_NONE;

	if (stall->was_looked) {
		if (stall->is_stalled && (!waits(view, stall->precedence) || has_moved(stall, view, stall->precedence))) {
			stall->is_stalled = false;
			stall->resets = 0;
			verdict = STALL_OVER;
		}
		for (int p = 0; p < PRECEDENCE_COUNT; p++)
			count(stall, view, p, now_ms);
		if (verdict == STALL_NONE)
			verdict = judge(stall, view, bound_ms, now_ms);
	}
	stall->was_looked = true;
	stall->last = *view;
	stall->looked_ms = now_ms;
	return verdict;
}

int64_t stall_deadline(const struct stall *stall, int64_t bound_ms)
{
	for (int p = 0; p < PRECEDENCE_COUNT; p++)
		if (stall->last.is_up && waits(&stall->last, p))
			return stall->looked_ms + bound_ms / LOOKS;
	return INT64_MAX;
}
