/*
 * turn.h: one turn of a simulated host. What decide.c and effects.c share with node.c; never used by others.
 */
#ifndef CPD_SIM_TURN_H
#define CPD_SIM_TURN_H

#include "test/sim/sim.h"

struct decision { struct sim_node *node; struct sim_batch *batch; struct moment now; };

/* decide.c */
void decide_input(struct decision *turn, struct sim_input *input);
/* The rows that a RELAY_ROWS asks for, as they are committed now. */
void decide_read_rows(struct sim_node *node, struct sim_input *input);
/* Signs what the relay witnessed, grouped by origin, and hands it in; until nothing is left. */
void decide_witnesses(struct decision *turn);

/* effects.c */
struct sim_end *decision_end(struct sim_node *node, uint32_t peer); /* NULL: no such neighbour */
/* An item of a link is answered with this turn. */
void decision_settle(struct decision *turn, uint32_t peer, uint64_t serial, enum cpd_reason reason);
/* All that the relay decided in this turn. */
void effects_take(struct decision *turn);

#endif
