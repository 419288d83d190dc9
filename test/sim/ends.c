/* ends.c: what the author of each message knows of each recipient when all is over, counted by the faults that the message met.
 * NONE, a silent end, never stands there: check.c fails at it. */
#include "test/sim/sim.h"

static bool is_on(const struct sim_wire *wire, const struct sim_node *node)
{
	return wire->ends[0].node == node || wire->ends[1].node == node;
}

/* It was there while the message was not closed, at its author, its addressee, a wire of theirs, or a coordinatiepunt. */
static bool met(const struct world *world, const struct sim_message *message, const struct sim_node *recipient, const struct sim_fault *fault)
{
	const struct sim_node *node = &world->nodes[fault->node];
	const struct sim_wire *wire = &world->wires[fault->wire];
	if (fault->at_ms > message->closed_ms || fault->at_ms + fault->lasts_ms < message->created_ms)
		return false;
	switch (fault->type) {
	case FAULT_CUT: case FAULT_BLACK_HOLE: case FAULT_ONE_WAY: case FAULT_LOSSY: case FAULT_LIAR: case FAULT_MUTE:
		return is_on(wire, message->origin) || is_on(wire, recipient);
	default:
		return node == message->origin || node == recipient || node->role == ROLE_ID_CP;
	}
}

void ends_count(struct world *world, const struct sim_message *message, const struct sim_outcome *outcome)
{
	const struct sim_node *recipient = world_node(world, outcome->node);
	bool has_met[FAULT_TYPE_COUNT] = {false};
	bool has_met_any = false;
	if (recipient == message->origin)
		return;
	for (size_t i = 0; i < world->fault_count; i++)
		if (!plan_leaves_out(world->options.no_faults, i) && met(world, message, recipient, &world->faults[i]))
			has_met[world->faults[i].type] = has_met_any = true;
	for (int f = 0; f < FAULT_TYPE_COUNT; f++)
		world->figures->ends[f][outcome->level] += has_met[f];
	world->figures->ends[FAULT_TYPE_COUNT][outcome->level] += !has_met_any;
}
