/*
 * custody.h: what one node knows about one message: for whom it must still serve it, what the
 * recipients have signed, how old it is. The record that daemon/relay decides on and store/ keeps.
 *
 * It stands in proto/ because relay/ and store/ never include each other and both must read it
 * (docs/decisions). It never travels between nodes. Pure.
 */
#ifndef CPD_PROTO_CUSTODY_H
#define CPD_PROTO_CUSTODY_H

#include "proto/message.h"
#include "proto/trailer.h"

/* What has become of one recipient's copy at this node. */
enum hop_state {
	HOP_NONE = 0,      /* known from a receipt only; not ours to serve */
	HOP_LOCAL = 1,     /* the recipient is this node */
	HOP_UNROUTED = 2,  /* no neighbour leads there; waits in the queue of link 0 */
	HOP_QUEUED = 3,    /* waits in the queue row `row` of neighbour `via` */
	HOP_PASSED = 4,    /* neighbour `via` has acknowledged custody */
	HOP_ENDED = 5      /* expired, refused for good, withdrawn or superseded here */
};

#define LIMIT_TRIED 4

struct recipient {
	uint32_t node;
	enum hop_state hop;
	uint32_t via;                 /* neighbour; 0: none */
	uint64_t row;                 /* counter of the queue row that serves it */
	uint32_t retry;               /* highest end-to-end retry number taken for it */
	uint32_t after_epoch;         /* as offered: only a receipt of this witness epoch or later answers */
	uint32_t tried[LIMIT_TRIED];  /* first hops that passed it on, newest first */
	enum level level;             /* the furthest it signed, merged by level_merge */
	enum cpd_reason reason;       /* with REFUSED, UNDELIVERABLE */
	uint32_t level_s;             /* the witness's time of that level */
	uint32_t witness_epoch;       /* epoch of the newest receipt of its own (not a relay's advice) */
	uint64_t witness_counter;     /* (node, witness_epoch, witness_counter): the record to answer with; 0: none */
};

enum custody_flag {
	CUSTODY_IS_ORIGIN = 1 << 0,     /* authored here: retained until closed, and its grace */
	CUSTODY_IS_ADDRESSEE = 1 << 1,  /* delivered here */
	CUSTODY_HAS_ENVELOPE = 1 << 2,  /* the envelopes table holds its bytes */
	CUSTODY_IS_HELD = 1 << 3,       /* an operator stopped its sending */
	CUSTODY_IS_WITHDRAWN = 1 << 4,
	CUSTODY_IS_SUPERSEDED = 1 << 5,
	CUSTODY_IS_PARTIAL = 1 << 6,    /* leaves of a large body are missing: no custody yet */
	CUSTODY_IS_SUSPECT = 1 << 7,    /* signed after the last trusted sequence of a revoked key */
	CUSTODY_IS_LATE = 1 << 8,       /* came after its lifetime: shown as "te laat binnengekomen" */
	CUSTODY_IS_STATE = 1 << 9,      /* kind of which the last value wins */
	CUSTODY_IS_CLOSED = 1 << 10,    /* origin: every addressee closed it, or it ended */
	CUSTODY_IS_FINAL = 1 << 11,     /* origin: closed and its grace over: below the floor as soon as its elders are */
	CUSTODY_IS_EXPIRED = 1 << 12,
	CUSTODY_IS_DATED = 1 << 13      /* created_s came from a trusted clock */
};

struct custody {
	struct message_id id;
	struct hash8 hash;
	unsigned flags;
	message_kind kind;
	enum precedence precedence;
	unsigned lowered;             /* so much below it its rows are queued here: its origin has said too much (daemon/relay/quota.h) */
	enum mode mode;
	enum level closing_level;
	uint32_t created_s, lifetime_s;
	uint32_t envelope_len;
	uint32_t large_length;
	struct group_ref group;           /* the first group addressed, for the trailer's bitmap; number 0: none */
	struct message_id in_reply_to;    /* sequence 0: none */
	struct message_id supersedes;     /* sequence 0: none */
	/* Age: age_s when it came here, and that moment. See custody_age_s. */
	uint32_t age_s;
	struct moment since;
	uint32_t from;                    /* neighbour it came from; 0: authored here */
	uint32_t hop_limit;               /* left when it came */
	struct hop trace[LIMIT_TRACE];
	size_t trace_count;
	uint32_t retry;                   /* origin: number of the last offer */
	int64_t timer_ms;                 /* custody_ms of its row in the timers table; 0: none */
	/* As addressee. */
	enum level local_level;           /* what this node has signed for */
	uint32_t local_retry;             /* highest retry number answered */
	uint64_t inbox;                   /* counter of its inbox row; 0: none */
	struct recipient *recipients;     /* ascending by node; owned */
	size_t recipient_count;
};

void custody_init(struct custody *custody);
void custody_clear(struct custody *custody);    /* frees recipients; NULL is fine */
MUST_CHECK enum cpd_error custody_copy(const struct custody *from, struct custody *to); /* to: initialised here */
/* NULL: not a recipient. */
struct recipient *custody_recipient(const struct custody *custody, uint32_t node);
/* Finds or inserts. NULL: no memory, or LIMIT_RECIPIENTS. */
struct recipient *custody_add_recipient(struct custody *custody, uint32_t node);
/* The precedence of its rows in the queues here. */
static inline enum precedence custody_queue(const struct custody *custody)
{
	return (enum precedence)(custody->precedence - custody->lowered);
}
/* Age now: what it had, plus the larger of custody time and (between two trusted clocks) wall time. */
uint32_t custody_age_s(const struct custody *custody, const struct moment *now);
/* Bytes for the store; *buf is malloc'ed and the caller's. */
MUST_CHECK enum cpd_error custody_encode(const struct custody *custody, uint8_t **buf, size_t *len);
MUST_CHECK enum cpd_error custody_decode(struct slice bytes, struct custody *out);

#endif
