/* stall.c: the watchdog of the links in the simulator: the same object as in daemon/node_stall.c. It must not call when no
 * fault explains it, and must call when a neighbour keeps its sessions alive and acknowledges nothing. */
#include <string.h>

#include "test/sim/sim.h"

#define EXPLAINS_MS 120000       /* sessions need some time to come back when a fault is over */

/* What a neighbour that does not acknowledge sends in its stead: an acknowledgement of before its first word. */
void stall_mute(uint8_t *buf, size_t *len)
{
	static struct frame frame;
	static uint8_t copy[LIMIT_FRAME];
	memcpy(copy, buf, *len);
	if (frame_decode((struct slice){copy, *len}, &frame) != CPD_OK || frame.has & FRAME_HELLO || !(frame.has & (FRAME_ACK | FRAME_REFUSAL | FRAME_WANT)))
		return;
	frame.has = (frame.has & ~(unsigned)(FRAME_REFUSAL | FRAME_WANT)) | FRAME_ACK;
	frame.ack_received = 0;
	memset(&frame.ack_bitmap, 0, sizeof(frame.ack_bitmap));
	if (frame_encode(&frame, buf, len) != CPD_OK)
		*len = 0;
}

static bool touches(const struct world *world, const struct sim_fault *fault, const struct sim_end *end)
{
	switch (fault->type) {
	case FAULT_CUT: case FAULT_BLACK_HOLE: case FAULT_ONE_WAY: case FAULT_LIAR: case FAULT_MUTE:
		return &world->wires[fault->wire] == end->wire;
	case FAULT_ALONE:
		return &world->nodes[fault->node] == end->node || &world->nodes[fault->node] == end->other->node;
	default:
		return false; /* a full neighbour, a slow or lost disk, a crash, a lossy wire: all that is no stall */
	}
}

static bool is_explained(const struct sim_end *end, int64_t patience_ms)
{
	const struct world *world = end->node->world;
	int64_t from_ms = world->now_ms - patience_ms - EXPLAINS_MS;
	for (size_t i = 0; i < world->fault_count; i++) {
		const struct sim_fault *fault = &world->faults[i];
		int64_t until_ms = fault->at_ms + fault->lasts_ms;
		if (world->is_healed && until_ms > world->active_ms)
			until_ms = world->active_ms;
		if (!plan_leaves_out(world->options.no_faults, i) && touches(world, fault, end) && fault->at_ms <= world->now_ms && until_ms >= from_ms)
			return true;
	}
	return false;
}

static bool waits(const struct stall_view *view)
{
	for (int p = 0; p < PRECEDENCE_COUNT; p++)
		if (view->progress.waits[p])
			return true;
	return false;
}

/* By what the events told, not by what the watchdog counts. */
static void check_it_calls(struct sim_end *end, const struct stall_view *view, int64_t bound_ms, enum stall_verdict verdict)
{
	struct world *world = end->node->world;
	if (!end->other->is_mute || !view->is_up || !waits(view) || verdict != STALL_NONE || end->is_answered)
		end->quiet_since_ms = world->now_ms;
	end->is_answered = false;
	if (world->now_ms - end->quiet_since_ms > 2 * stall_patience_ms(&end->stall, view, bound_ms))
		fail(world, end->node, NULL, "%u has acknowledged nothing for %lld s, and nobody was told", end->peer, (long long)(world->now_ms - end->quiet_since_ms) / 1000);
}

void stall_watch(struct sim_end *end)
{
	struct sim_node *node = end->node;
	struct world *world = node->world;
	struct stall_view view = {.is_up = link_is_up(end->link)};
	int64_t bound_ms = stall_bound_ms(&world->profile);
	struct moment now;
	node_now(node, &now);
	for (int p = 0; p < PRECEDENCE_COUNT; p++)
		view.is_due[p] = relay_is_due(node->relay, end->peer, (enum precedence)p, &now);
	link_progress(end->link, &view.progress);
	int64_t patience_ms = stall_patience_ms(&end->stall, &view, bound_ms);
	enum stall_verdict verdict = stall_look(&end->stall, &view, bound_ms, world->now_ms);
	check_it_calls(end, &view, bound_ms, verdict);
	if (verdict == STALL_OVER)
		world->figures->branches[BRANCH_STALL_OVER]++;
	if (verdict != STALL_BEGAN && verdict != STALL_LASTS)
		return;
	world->figures->branches[end->other->is_mute ? BRANCH_STALL_MUTE : BRANCH_STALL]++;
	trace(world, node, NULL, "what waits for %u stands still: the link is begun anew", end->peer);
	if (!is_explained(end, patience_ms))
		fail(world, node, NULL, "the watchdog calls %s to %u a stall, and no fault explains it", precedence_name(end->stall.precedence), end->peer);
	end_close(end, true);
}
