/*
 * courier.h: the bytes of a courier file: what one node owes others, on a stick (PROTOCOL.md section 7.11).
 *
 * Two layers, both pure: the file (who wrote it, for whom it is sealed, the sealed content, the signature)
 * and the content (parts: directory updates, presence, acknowledgements, items). Never seals, opens or
 * verifies: crypto/courier.h does. Called by crypto/, daemon/node_courier*.c and tests. All decoding is of
 * (bytes, length) alone and keeps nothing.
 *
 *   file     "cpd-courier 1\n", then big-endian numbers: writer, key number, epoch (4 each), number (8), directory (4),
 *            time_s (4), clock quality (1), count of readers (2); each reader: node, key number (4 each),
 *            sealed content key (80); nonce (24); length of the sealed content (4) and its bytes; signature (64)
 *   content  parts until its end: type (1), length (4), bytes
 */
#ifndef CPD_PROTO_COURIER_H
#define CPD_PROTO_COURIER_H

#include "proto/frame.h"

#define COURIER_READER_LEN 88     /* node, key number, sealed content key */
#define COURIER_SEALED_KEY 80     /* crypto_box_seal of 32 bytes */
#define COURIER_NONCE 24
#define COURIER_SIGNATURE 64
#define COURIER_SEAL_EXTRA 16     /* the authenticator behind the sealed bytes */
#define COURIER_HEAD_LEN 45       /* before the readers */
#define COURIER_PART_HEAD 5
#define COURIER_TAG_LEN 37

struct courier_head {
	uint32_t writer, key_number, epoch;   /* none 0; epoch of the writer's store */
	uint64_t number;                      /* of this file, from 1 on within the epoch */
	uint32_t directory;                   /* version the writer held */
	uint32_t time_s;                      /* its clock; 0: unknown */
	enum clock_quality clock_quality;
	size_t reader_count;                  /* 1 to LIMIT_COURIER_READERS */
};

/* A decoded file. Owns nothing: everything leads into the bytes. */
struct courier_file {
	struct courier_head head;
	struct slice readers;                 /* reader_count times COURIER_READER_LEN */
	struct slice bound;                   /* all before the sealed bytes: bound to them by the seal */
	const uint8_t *nonce;
	struct slice sealed;
	struct slice over;                    /* all before the signature: what its digest is taken of */
	const uint8_t *signature;
};

/* Strict: every byte has its place. MALFORMED (no courier file), VERSION (of a later cpd), DAMAGED (it begins as one, and
 * is half or changed), TOO_LARGE. On error *out is zero. */
MUST_CHECK enum cpd_error courier_decode(struct slice file, struct courier_file *out);
/* The content key sealed for this key of a node, COURIER_SEALED_KEY bytes inside the file. NULL: not for it. */
const uint8_t *courier_key_for(const struct courier_file *file, uint32_t node, uint32_t key_number);
/* True when the file is sealed to any key of that node. */
bool courier_names(const struct courier_file *file, uint32_t node);
/* Of everything but the content. */
size_t courier_overhead(size_t readers);
/* The head into buf, which holds COURIER_HEAD_LEN; readers, nonce and length follow. RANGE. */
MUST_CHECK enum cpd_error courier_head_encode(const struct courier_head *head, uint8_t *buf);

/* ---------------------------------------------------------------- content */

/* In this order in the content. */
enum courier_part_type { COURIER_UPDATE = 1, COURIER_PRESENCE = 2, COURIER_ACKS = 3, COURIER_ITEM = 4 };

/* Names a row of the writer's queue, for the writer alone: the reader hands it back as it came. */
struct courier_tag {
	uint32_t link;                        /* whose queue; 0: without a route */
	uint64_t counter;                     /* 0: a leaf, which has no row */
	enum item_type type;
	enum precedence precedence;
	struct message_id id;                 /* as in an item_ref */
	uint32_t retry, after_epoch;          /* of the offer */
};
struct courier_ack { struct courier_tag tag; enum cpd_reason reason; };  /* NONE: it is in custody */

struct courier_part {
	enum courier_part_type type;          /* 0: one of a later version */
	struct slice bytes;                   /* UPDATE, PRESENCE: SignedRecord; ITEM: the item; ACKS: see courier_ack_at */
	uint32_t age_s;                       /* PRESENCE */
	uint32_t next;                        /* ITEM: who is to take it; 0: each of its recipients, for itself */
	struct courier_tag tag;               /* ITEM */
	uint32_t writer, epoch;               /* ACKS: whose file it answers, of which of its epochs */
	size_t ack_count;                     /* ACKS */
};

/* The whole content, before anything of it is taken: parts whole and in order, each in its bounds. MALFORMED, TOO_LARGE (more
 * than LIMIT_COURIER_ITEMS), RANGE. *items (may be NULL): how many of them. */
MUST_CHECK enum cpd_error courier_check(struct slice content, size_t *items);
/* The first part of *content, which moves on behind it. False: at the end. Only on content that courier_check found good. */
bool courier_next(struct slice *content, struct courier_part *out);
/* The acknowledgement i of a part ACKS. */
struct courier_ack courier_ack_at(const struct courier_part *part, size_t i);

/* ---- making: appends to a buffer that grows up to `most` bytes */
struct courier_writer { uint8_t *bytes; size_t len, capacity, most; };   /* bytes: owned; all zero but most: empty */
void courier_writer_clear(struct courier_writer *writer);
/* FULL: it would be above `most`; NOMEM; RANGE. On error nothing was appended. */
MUST_CHECK enum cpd_error courier_put_update(struct courier_writer *writer, struct slice record);
MUST_CHECK enum cpd_error courier_put_presence(struct courier_writer *writer, struct slice record, uint32_t age_s);
MUST_CHECK enum cpd_error courier_put_acks(struct courier_writer *writer, uint32_t node, uint32_t epoch, const struct courier_ack *acks, size_t count);
MUST_CHECK enum cpd_error courier_put_item(struct courier_writer *writer, uint32_t next, const struct courier_tag *tag, struct slice item);

#endif
