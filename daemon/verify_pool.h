/*
 * verify_pool.h: signatures are checked beside the loop: max(1, cores - 2) threads take jobs from two
 * bounded rings, FLASH before all others, and the results of each ring come back on the loop thread in the
 * order of submission, whichever thread was done first. It decides nothing and keeps nothing. Called by daemon/node.c only.
 *
 * The loop never waits for a thread, but for two moments: verify_pool_lock_directory (as long as one
 * verification) and verify_pool_free.
 */
#ifndef CPD_VERIFY_POOL_H
#define CPD_VERIFY_POOL_H

#include <event2/event.h>

#include "crypto/verify.h"

/* Jobs submitted and not yet handed back. */
#define VERIFY_POOL_JOBS 256
/* Of these, kept for FLASH. */
#define VERIFY_POOL_FLASH_ONLY 52
/* Words the caller gives with a job and finds back in its result: node, session, serial, ... */
#define VERIFY_CONTEXT 4

enum verify_kind { VERIFY_MESSAGE, VERIFY_RECEIPTS, VERIFY_PRESENCE, VERIFY_DIRECTORY };

/* Owned by whoever was given it. Everything verified leads into bytes. Never copy the struct: only as
 * much of the union as the kind needs is allocated. */
struct verify_result {
	enum verify_kind kind;
	enum precedence precedence;
	uint64_t context[VERIFY_CONTEXT];
	enum cpd_error error;              /* OK, or what verify_* said; then the union is empty */
	struct slice bytes;                /* a copy of what was submitted; part of the result */
	union {
		struct verified_message message;
		struct verified_receipts receipts;
		struct verified_presence presence;
		struct directory_update directory;
	};
};
/* Frees the result, its bytes and what the directory update owns. NULL is fine. */
void verify_result_free(struct verify_result *result);

/* On the loop thread; takes the result. It may submit more jobs. */
typedef void verify_done(void *context, struct verify_result *take_result);

struct verify_pool;
/* directory and anchor are borrowed for the pool's life. threads 0: max(1, cores - 2). IO, NOMEM. */
MUST_CHECK enum cpd_error verify_pool_new(struct event_base *base, const struct directory *directory,
    const struct region_anchor *anchor, unsigned threads, verify_done *done, void *context, struct verify_pool **out);
/* Waits for the threads; results not handed back are dropped (nothing was acknowledged for them). */
void verify_pool_free(struct verify_pool *pool);

/* Copies bytes. BUSY: the ring is full for this precedence (the last fifth is FLASH's): stop granting
 * credit and try again after a result; TOO_LARGE above LIMIT_ITEM; NOMEM. */
MUST_CHECK enum cpd_error verify_pool_submit(struct verify_pool *pool, enum verify_kind kind, struct slice bytes,
    enum precedence precedence, const uint64_t context[VERIFY_CONTEXT]);
/* Jobs under way. */
size_t verify_pool_pending(const struct verify_pool *pool);
/* Goes up with every job done by a thread: the watchdog is petted only when the pool advances. */
uint64_t verify_pool_progress(struct verify_pool *pool);

/* Around directory_apply, on the loop thread: no verification runs in between. Keep it short. */
void verify_pool_lock_directory(struct verify_pool *pool);
void verify_pool_unlock_directory(struct verify_pool *pool);

#endif
