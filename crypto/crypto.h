/*
 * crypto.h: start of libsodium, hashing, randomness. The only users of libsodium are in crypto/.
 */
#ifndef CPD_CRYPTO_CRYPTO_H
#define CPD_CRYPTO_CRYPTO_H

#include "proto/types.h"

/* Once, before anything else of crypto/. IO when libsodium cannot start, or is a build (ED25519_COMPAT)
 * that takes small-order and malleable signatures. */
MUST_CHECK enum cpd_error crypto_start(void);
/* BLAKE2b, out_len 16..64 bytes, unkeyed. Also given to store/ and proto/tree as their hash.
 * (Not crypto_hash: libsodium exports a function of that name.) */
void crypto_digest(uint8_t *out, size_t out_len, const uint8_t *data, size_t len);
/* hash8 of Envelope.signed. */
struct hash8 crypto_hash8(struct slice signed_bytes);
void crypto_random(uint8_t *out, size_t len);
uint32_t crypto_random_below(uint32_t bound);
void crypto_wipe(void *data, size_t len);
/* What was wrong with which file, and what to do: one sentence about the last error that a function on
 * files (identity, authority, region, kit) returned on this thread. Never a secret; "" when none. */
const char *crypto_problem(void);
#endif
