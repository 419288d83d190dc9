/*
 * trailer.h: the hop trailer, outside the signature, rewritten by each hop (PROTOCOL.md section 5),
 * and the message item that puts it beside the envelope.
 */
#ifndef CPD_PROTO_TRAILER_H
#define CPD_PROTO_TRAILER_H

#include "proto/message.h"

struct hop { uint32_t node, received_s, sent_s; }; /* times 0: not told */

struct trailer {
	uint32_t age_s;                          /* time since authoring that some node counted */
	uint32_t retry;                          /* end-to-end retry number; 0 is the first offer */
	uint32_t *recipients;                    /* nodes this neighbour must serve, ascending; owned */
	size_t recipient_count;
	uint8_t member_bitmap[LIMIT_GROUP_MEMBERS / 8];
	size_t member_bitmap_len;                /* bytes; 0: recipients stand in the list */
	struct hop trace[LIMIT_TRACE];
	size_t trace_count;
	uint32_t hop_limit;
	uint32_t after_epoch;                    /* 0: any receipt answers */
};

void trailer_init(struct trailer *trailer);
void trailer_clear(struct trailer *trailer);   /* frees recipients; NULL is fine */

/* MessageItem: envelope bytes as they came, with the trailer. *envelope leads into `item`. */
MUST_CHECK enum cpd_error message_item_decode(struct slice item, struct slice *envelope, struct trailer *out);
/* buf holds LIMIT_ITEM. TOO_LARGE when envelope and trailer exceed their budgets. */
MUST_CHECK enum cpd_error message_item_encode(struct slice envelope, const struct trailer *trailer,
    uint8_t *buf, size_t *len);

#endif
