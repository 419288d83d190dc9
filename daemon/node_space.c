/* node_space.c: who is taken into a store that fills up, and how the operator sees it coming. */
#include "daemon/node_space.h"

#include "daemon/log.h"
#include "daemon/node_internal.h"

#define CURE "cure=\"space comes back when links are up; free disk space, or raise limit_mib under [store] and restart\""
#define ROOM_TEXT 96

static const char *room_text(struct node *node, enum precedence precedence, char out[ROOM_TEXT])
{
	struct store_space space;

	store_space(node->store, &space);
	snprintf(out, ROOM_TEXT, "%zu of %zu MiB, it may use %zu", (space.used_bytes + space.waiting_bytes) >> 20, space.limit_bytes >> 20,
	    store_admission_bytes(node->store, precedence) >> 20);
	return out;
}

bool turn_admits(struct node *node, enum precedence precedence, size_t more)
{
	char room[ROOM_TEXT];

	if (store_admits_more(node->store, precedence, node->turn_bytes + (node->held ? node->held->bytes : 0) + more))
		return true;
	/* One large body may be too much where there is room for all else. */
	if (more <= LIMIT_ITEM && space_watch_refused(&node->space, precedence))
		log_limited(LOG_ERR, "store-refuses", (uint32_t)precedence, node_ms(node), "precedence=%s used=\"%s\" " CURE, precedence_name(precedence), room_text(node, precedence, room));
	return false;
}

void space_look(struct node *node)
{
	struct store_space space;
	enum space_state state;
	char room[ROOM_TEXT];

	store_space(node->store, &space);
	for (int p = 0; p < PRECEDENCE_COUNT; p++) {
		const enum space_state before = node->space.states[p];

		if (!space_watch_look(&node->space, (enum precedence)p, space.used_bytes + space.waiting_bytes,
		    store_admission_bytes(node->store, (enum precedence)p), &state))
			continue;
		if (state == SPACE_FILLING && before == SPACE_FREE)
			log_line(LOG_WARNING, "store-filling", "precedence=%s used=\"%s\" " CURE, precedence_name((enum precedence)p), room_text(node, (enum precedence)p, room));
		else
			log_limited(LOG_NOTICE, "store-has-room", (uint32_t)p, node_ms(node), "precedence=%s used=\"%s\"", precedence_name((enum precedence)p), room_text(node, (enum precedence)p, room));
	}
}
