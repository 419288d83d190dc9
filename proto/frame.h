/*
 * frame.h: link frames, encoded and decoded (PROTOCOL.md section 7). One bearer message is one frame.
 */
#ifndef CPD_PROTO_FRAME_H
#define CPD_PROTO_FRAME_H

#include "proto/message.h"

enum item_type { ITEM_TYPE_MESSAGE = 1, ITEM_TYPE_RECEIPTS = 2, ITEM_TYPE_DIRECTORY = 3, ITEM_TYPE_LEAF = 4 };

struct bitmap { uint8_t bits[LIMIT_ACK_BITMAP]; size_t len; }; /* bit i: base + 1 + i */

struct frame_hello {
	uint32_t version, version_min;
	uint32_t epoch, your_epoch;
	uint64_t received; struct bitmap received_bitmap;
	uint64_t next_serial;
	uint32_t seen_epoch; uint64_t seen_sequence;
	uint32_t directory;
	int64_t clock_ms; enum clock_quality clock_quality;  /* clock_ms -1: not told */
	uint64_t credit_bulk, credit_urgent;
	uint32_t claim; uint64_t instance;                   /* proto/presence.h; 0: not told */
	struct slice superseded; uint32_t superseded_age_s;  /* what a newer copy of the receiver signed; len 0: nothing */
};
struct frame_data {
	uint64_t serial;
	enum item_type type;
	enum precedence precedence;
	uint32_t total, offset;
	struct slice piece;
};
struct frame_refusal { uint64_t serial; enum cpd_reason reason; };
struct frame_credit { uint64_t consumed, bulk, urgent; };
struct frame_want { uint64_t serial; struct message_id message; struct slice held; };
struct frame_presence { struct slice record; uint32_t age_s; };

/* Decoded frame; slices lead into the bytes it was decoded from. `has` says which parts stand in it. */
enum frame_part {
	FRAME_HELLO = 1 << 0, FRAME_DATA = 1 << 1, FRAME_ACK = 1 << 2, FRAME_REFUSAL = 1 << 3,
	FRAME_CREDIT = 1 << 4, FRAME_PRESENCE = 1 << 5, FRAME_WANT = 1 << 6, FRAME_INTRODUCTION = 1 << 7,
	FRAME_DIRECTORY = 1 << 8
};
struct frame {
	unsigned has;
	struct frame_hello hello;
	struct frame_data data;
	uint64_t ack_received; struct bitmap ack_bitmap;
	struct frame_refusal refusal;
	struct frame_credit credit;
	struct frame_presence presence;
	struct frame_want want;
	struct slice introduction;
	uint32_t directory;
};

/* MALFORMED, TOO_LARGE, RANGE, NOMEM; also when the parts may not stand together. */
MUST_CHECK enum cpd_error frame_decode(struct slice bytes, struct frame *out);
/* buf holds LIMIT_FRAME. */
MUST_CHECK enum cpd_error frame_encode(const struct frame *frame, uint8_t *buf, size_t *len);

#endif
