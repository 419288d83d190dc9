/* courier.h: sticks that people carry. Called by world.c, node.c, effects.c, decide.c. */
#ifndef CPD_SIM_COURIER_H
#define CPD_SIM_COURIER_H

#include "test/sim/sim.h"

void courier_plan(struct world *world);
void courier_writes(struct world *world);
void courier_reads(struct world *world, size_t index);
void courier_returns(struct world *world, size_t index);
bool courier_is_serial(uint64_t serial);
uint32_t courier_away_s(const struct world *world, uint64_t serial, const struct moment *now);
void courier_settled(struct sim_node *node, uint64_t serial, enum cpd_reason reason);
void courier_clear(struct world *world);

#endif
