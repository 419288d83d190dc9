/*
 * presence.h: a node's own signed word that it is there, where it is homed, and below which
 * sequence it will never offer anything again (PROTOCOL.md section 7.5); and which copy of its identity
 * speaks (section 7.12).
 */
#ifndef CPD_PROTO_PRESENCE_H
#define CPD_PROTO_PRESENCE_H

#include "proto/limits.h"
#include "proto/types.h"

#define JOURNAL_HEAD_LEN 16

struct epoch_floor { uint32_t epoch; uint64_t floor; };

/*
 * Which copy of a node's identity speaks. `claim` rises when a copy is found to have been moved, or is told to take
 * over. `instance` is made at each start: the number of the start in its high half, chance in its low half.
 * instance 0: not told, by a cpd before claims.
 */
struct claim { uint32_t claim, epoch; uint64_t instance; };
/* <0, 0, >0 by claim, epoch, instance. By epoch alone when one of them tells no instance. */
int claim_compare(const struct claim *a, const struct claim *b);

struct presence {
	uint32_t node, epoch, claim;
	uint64_t instance;
	uint64_t counter;
	uint32_t homes[LIMIT_HOMES];
	size_t home_count;
	struct epoch_floor floors[LIMIT_FLOORS];
	size_t floor_count;
	uint32_t time_s;              /* 0: not told */
	enum clock_quality clock_quality;
	/* The newest line of its journal and the first bytes of that line's chain value; number 0: not told. */
	struct { uint64_t number; uint8_t bytes[JOURNAL_HEAD_LEN]; } journal;
};

MUST_CHECK enum cpd_error presence_decode(struct slice signed_bytes, struct presence *out);
MUST_CHECK enum cpd_error presence_encode(const struct presence *presence, uint8_t *buf, size_t buf_len, size_t *len);
struct claim presence_claim(const struct presence *presence);
/* <0, 0, >0 by claim, then counter. */
int presence_compare(const struct presence *a, const struct presence *b);

#endif
