/*
 * sealed.h: a sealed part of a message (PROTOCOL.md section 4.6): its bytes, and what its seal is bound to.
 *
 * Pure: it seals and opens nothing (crypto/seal.h does). Only readers and the origin look inside: who passes a
 * message on keeps the bytes as they came, whatever they are. Called by crypto/seal.c, daemon/ and tests.
 */
#ifndef CPD_PROTO_SEALED_H
#define CPD_PROTO_SEALED_H

#include "proto/message.h"

#define SEALED_KEY_LEN 48       /* the content key for one reader: 32 bytes and their tag */
#define SEALED_EPHEMERAL_LEN 32
#define SEALED_TAG_LEN 16
#define SEALED_BLOCK 64         /* who passes it on learns the length of what is inside to this */
#define LIMIT_SEALED_PART (64 + LIMIT_SEALED_READERS * (SEALED_KEY_LEN + 10) + LIMIT_SEALED_CONTENT + SEALED_BLOCK + SEALED_TAG_LEN)
#define LIMIT_SEALED_BOUND 2048

/* Same values as Audience in cpd.proto. */
enum audience { AUDIENCE_ID_CONTACT = 1, AUDIENCE_ID_CARE = 2 };

struct sealed_reader { uint32_t node, key_number; };

/* Owns nothing: the slices lead into the bytes it was decoded from. */
struct sealed_part {
	uint32_t audience;
	struct sealed_reader readers[LIMIT_SEALED_READERS]; /* ascending by node */
	size_t reader_count;
	uint8_t ephemeral[SEALED_EPHEMERAL_LEN];
	struct slice keys;      /* SEALED_KEY_LEN for each reader, in their order */
	struct slice content;
};

/* MALFORMED, MISSING, TOO_LARGE, RANGE (a zero; readers that do not ascend), NOMEM. An unknown audience passes. */
MUST_CHECK enum cpd_error sealed_part_decode(struct slice bytes, struct sealed_part *out);
/* buf holds LIMIT_SEALED_PART. The same errors. */
MUST_CHECK enum cpd_error sealed_part_encode(const struct sealed_part *part, uint8_t *buf, size_t *len);

/* What the seal is bound to: network, message id, kind, destinations, audience, readers. So a part cannot be moved to another
 * message, or shown to be for other readers. buf holds LIMIT_SEALED_BOUND. TOO_LARGE. */
MUST_CHECK enum cpd_error sealed_part_bound(const struct sealed_part *part, const struct header *header, const char *network,
    uint8_t *buf, size_t *len);

/* The place of this node among the readers; reader_count: it is none. */
size_t sealed_part_reader(const struct sealed_part *part, uint32_t node);

#endif
