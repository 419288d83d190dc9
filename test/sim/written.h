/*
 * written.h: the registry of what people wrote: the truth that disks and links are judged by. Filled in by
 * plan.c, kept and read by check.c.
 */
#ifndef CPD_SIM_WRITTEN_H
#define CPD_SIM_WRITTEN_H

#include "proto/tree.h"
#include "proto/types.h"

struct sim_node;

struct sim_outcome {                 /* of one recipient */
	uint32_t node;
	enum level level;                /* as committed at the origin */
	enum cpd_reason reason;
};
struct sim_message {
	struct sim_message *next;        /* the same bucket */
	struct message_id id;
	struct hash8 hash;
	struct sim_node *origin;
	uint8_t *envelope; size_t envelope_len;
	uint8_t *body; uint32_t body_len;        /* large body; NULL: none */
	struct tree *tree;
	uint8_t root[32];
	message_kind kind;
	enum precedence precedence;
	enum level closing_level;
	bool is_state;
	bool is_committed;               /* the origin promised it to a person */
	bool is_replaced;                /* its origin wrote a newer one in its place */
	bool is_lost;                    /* its origin lost its disk, and it with it */
	struct sim_message *successor, *reissue_of; /* the same words under another id: this one was taken */
	unsigned flags;                  /* custody flags seen at the origin, collected */
	uint32_t held_mask;              /* nodes that have committed it at any time */
	int64_t created_ms, lifetime_ms, closed_ms;
	int64_t dropped_ms, final_ms;    /* at the origin: envelope deleted; grace over. INT64_MAX: not */
	struct sim_outcome *outcomes;
	size_t outcome_count;
};

#endif
