/*
 * make_verified.h: the simulator's own maker of verified objects, with signatures and hashes that cost
 * nothing: a 64-byte "signature" repeats a hash of signer and bytes, so a changed byte still shows.
 * Linked into test/sim only. The bytes themselves are those of proto/.
 */
#ifndef CPD_SIM_MAKE_VERIFIED_H
#define CPD_SIM_MAKE_VERIFIED_H

#include "proto/verified.h"

void cheap_hash(uint8_t *out, size_t out_len, const uint8_t *data, size_t len); /* a tree_hash */
struct hash8 cheap_hash8(struct slice signed_bytes);

/* bytes are borrowed for the life of *out. */
MUST_CHECK enum cpd_error make_verified_message(struct slice bytes, struct verified_message *out);
MUST_CHECK enum cpd_error make_verified_receipts(struct slice bytes, struct verified_receipts *out);
MUST_CHECK enum cpd_error make_verified_presence(struct slice bytes, struct verified_presence *out);

/* buf holds LIMIT_ENVELOPE. */
MUST_CHECK enum cpd_error cheap_sign_message(const struct header *header, uint8_t *buf, size_t *len);
/* Wraps signed bytes of `signer` into a SignedRecord. */
MUST_CHECK enum cpd_error cheap_sign_record(struct slice signed_bytes, uint32_t signer, uint8_t *buf, size_t buf_len, size_t *len);

#endif
