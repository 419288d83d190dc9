/*
 * receipt.h: receipts records: a witness tells what became of messages (PROTOCOL.md section 6), and
 * the one table by which levels move.
 */
#ifndef CPD_PROTO_RECEIPT_H
#define CPD_PROTO_RECEIPT_H

#include "proto/message.h"

struct receipt_entry {
	struct message_id subject;
	struct hash8 hash;             /* of the subject's signed bytes */
	enum level level;              /* one this version does not know decodes as LEVEL_NONE; the record's bytes keep it */
	enum cpd_reason reason;        /* for UNDELIVERABLE and REFUSED (0: see remark) */
	char remark[LIMIT_REMARK + 1]; /* "" : none */
};

struct receipts {
	uint32_t witness, epoch;
	uint64_t counter;
	uint32_t time_s;
	uint32_t origin;               /* of every subject: the record's one destination */
	size_t count;
	struct receipt_entry entries[LIMIT_RECEIPT_ENTRIES];
};

/* SignedRecord wrapping, used by receipts, presence and directory updates alike. */
struct signed_record {
	struct slice bytes;            /* the encoded SignedRecord, as it came */
	struct slice signed_bytes;
	uint8_t signature[64];
	uint32_t key_number;
};
MUST_CHECK enum cpd_error signed_record_decode(struct slice bytes, size_t max, struct signed_record *out);
MUST_CHECK enum cpd_error signed_record_encode(struct slice signed_bytes, const uint8_t signature[64],
    uint32_t key_number, uint8_t *buf, size_t buf_len, size_t *len);

/* Every subject has `origin`; entries carry no remark, or all have one on the wire ("" for none).
 * MALFORMED, MISSING (no entry), RANGE (a zero number, or LEVEL_NONE on encoding), TEXT, TOO_LARGE, NOMEM. */
MUST_CHECK enum cpd_error receipts_decode(struct slice signed_bytes, struct receipts *out);
/* buf holds LIMIT_RECEIPTS. */
MUST_CHECK enum cpd_error receipts_encode(const struct receipts *receipts, uint8_t *buf, size_t *len);

/* The level that holds when `told` arrives at one who holds `held`: commutative, associative,
 * idempotent: states only move forward whatever the order of arrival. From low to high: NONE,
 * UNDELIVERABLE, EXPIRED, SUPERSEDED, WITHDRAWN, DELIVERED, READ, NOT_UNDERSTOOD, REFUSED, ACCEPTED,
 * DONE. A level this version does not know counts as NONE. */
enum level level_merge(enum level held, enum level told);
/* True when an addressee that signed `level` has closed a message with this closing level: it
 * reached it, or REFUSED or did NOT_UNDERSTAND it, which close whatever was asked. */
bool level_closes(enum level level, enum level closing);
/* True for levels only an addressee may witness (DELIVERED and above, but SUPERSEDED and WITHDRAWN
 * are the origin's); EXPIRED and UNDELIVERABLE any relay may tell. */
bool level_is_addressees(enum level level);
const char *level_name(enum level level);      /* "DELIVERED" */

#endif
