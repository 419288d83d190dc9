/*
 * claim.h: which copy of an identity this folder is: the file `claim` beside the keys.
 *
 * An identity folder that is copied to a spare laptop is the same node twice. Neighbours let the newer claim win
 * (PROTOCOL.md section 7.12); this file is what a copy knows of its own: its claim, how often it was started, where it
 * was last time, whether it was told to take over, and by whom it was fenced. Called by daemon/node_claim.c and
 * `cpctl node claim`. Never decides who wins: that is daemon/relay.
 *
 * A copy is noticed at its start when the file stands on another machine, or was made anew there: the time of birth of
 * a file is its file system's, and no copying brings it along. A whole disk copied block by block is not noticed; its
 * starts are told apart by their instance.
 */
#ifndef CPD_CRYPTO_CLAIM_H
#define CPD_CRYPTO_CLAIM_H

#include "proto/presence.h"

#define CLAIM_MACHINE 32           /* hexadecimal digits that name a machine */

struct claim_file {
	uint32_t claim, starts;            /* starts: under this claim */
	bool takes_over;                   /* it was told to: a higher claim from before its start is outbid */
	struct claim fenced_by;            /* instance 0: it is not */
	char machine[CLAIM_MACHINE + 1];   /* "-": not known */
	int64_t born_s; uint32_t born_ns;  /* of signing.key in this folder; 0: not known */
};
/* NOT_FOUND: it was never started. MALFORMED, IO; crypto_problem() names the file and the cure. */
MUST_CHECK enum cpd_error claim_read(const char *dir, struct claim_file *out);
/* Durably. IO. */
MUST_CHECK enum cpd_error claim_write(const char *dir, const struct claim_file *file);
/* A start: counted, and on disk before anybody is told of it. A moved copy gets the next claim, unless it is fenced.
 * machine: "" when it is not known. *instance is never 0. */
MUST_CHECK enum cpd_error claim_begin(const char *dir, const char *machine, struct claim_file *out, uint64_t *instance, bool *is_moved);
/* The copy in dir is the one from now on: above its own claim, above the one that fenced it, and above what it hears
 * at its next start of the time before. A damaged file is made anew. RANGE: claims are used up; IO. */
MUST_CHECK enum cpd_error claim_take_over(const char *dir, struct claim_file *out);

#endif
