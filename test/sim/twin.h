/* twin.h: two live copies of one identity, and who stands on a wire. Called by world.c, node.c, net.c, check.c. */
#ifndef CPD_SIM_TWIN_H
#define CPD_SIM_TWIN_H

#include "test/sim/sim.h"

void twin_plan(struct world *world);
void twin_image(struct sim_node *node);
void twin_starts(struct sim_node *twin);
void twin_calls(struct sim_node *copy);         /* takes the wires, as whoever calls last has the session */
bool is_plugged(const struct sim_end *end);
void twin_plug(struct sim_end *end);
struct sim_node *twin_in_use(struct sim_node *node, uint64_t dice); /* the copy that a person stands before */
bool twin_hello(struct sim_end *end, struct slice bytes); /* true: it is of an older copy, or tells that we are one */
void twin_fence(struct sim_node *node);
void twin_check(struct world *world);

#endif
