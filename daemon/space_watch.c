#include "daemon/space_watch.h"

bool space_watch_refused(struct space_watch *watch, enum precedence precedence)
{
	const bool is_first = watch->states[precedence] != SPACE_REFUSES;

	watch->states[precedence] = SPACE_REFUSES;
	return is_first;
}

static enum space_state next_state(enum space_state state, uint64_t used, uint64_t admission)
{
	if (state == SPACE_REFUSES && used >= admission / 100 * SPACE_ROOM_PERCENT)
		return SPACE_REFUSES;
	if (used >= admission / 100 * SPACE_FILLING_PERCENT)
		return SPACE_FILLING;
	return state != SPACE_FREE && used >= admission / 100 * SPACE_FREE_PERCENT ? SPACE_FILLING : SPACE_FREE;
}

bool space_watch_look(struct space_watch *watch, enum precedence precedence, uint64_t used, uint64_t admission, enum space_state *out)
{
	enum space_state *state = &watch->states[precedence];

	*out = next_state(*state, used, admission);
	if (*out == *state)
		return false;
	*state = *out;
	return true;
}
