/*
 * quota.h: how much of this node one other may use before it has to wait, so that one that was taken over, or has gone
 * mad, slows nobody else. Pure: allowances that refill with time, in memory only; after a start all are full.
 *
 * Nothing is lost by a quota: a message beyond it is refused for now and stays with who has it, and a precedence beyond it is
 * only queued lower. A call for help is never refused because there were many: what it costs is what all messages cost.
 * Called by accept.c, receipts.c and body.c. Never used for what is written here.
 */
#ifndef CPD_RELAY_QUOTA_H
#define CPD_RELAY_QUOTA_H

#include "proto/types.h"

/* Of each: the most at once, and how long one more takes (limits.h). */
enum quota_kind {
	QUOTA_MESSAGES,      /* new messages of an origin */
	QUOTA_KIB,           /* what they take on this disk, in KiB */
	QUOTA_PRIORITY, QUOTA_IMMEDIATE, QUOTA_FLASH, /* of an origin, queued as such */
	QUOTA_OFFERS,        /* offers over a link of what was passed on already */
	QUOTA_FOREKNOWN,     /* receipts of a witness for messages that have not come here */
	QUOTA_CONFLICTS,     /* a node's word that an id of ours is another's */
	QUOTA_EPOCHS,        /* a node's word that it has seen more of us than we know */
	QUOTA_ANSWERS,       /* answers to an origin that offers again under an old number */
	QUOTA_KINDS
};

struct quota;            /* of one node */
struct quotas;           /* of all */

struct quotas *quotas_new(int64_t bytes); /* bytes: what an origin may put on this disk before it must wait; NULL: no memory */
void quotas_free(struct quotas *quotas);
/* Takes `count` of what `node` has left. FULL: it has not that much, and nothing was taken. NOMEM: there is no memory to count it in. */
MUST_CHECK enum cpd_error quota_take(struct quotas *quotas, uint32_t node, enum quota_kind kind, uint32_t count, int64_t now_ms);

#endif
