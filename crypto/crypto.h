/*
 * crypto.h: start of libsodium, hashing, randomness. The only users of libsodium are in crypto/.
 */
#ifndef CPD_CRYPTO_CRYPTO_H
#define CPD_CRYPTO_CRYPTO_H

#include "proto/types.h"

/* Once, before anything else of crypto/. IO when libsodium cannot start. */
MUST_CHECK enum cpd_error crypto_start(void);
/* BLAKE2b, out_len 16..64 bytes, unkeyed. Also given to store/ and proto/tree as their hash. */
void crypto_hash(uint8_t *out, size_t out_len, const uint8_t *data, size_t len);
/* hash8 of Envelope.signed. */
struct hash8 crypto_hash8(struct slice signed_bytes);
void crypto_random(uint8_t *out, size_t len);
uint32_t crypto_random_below(uint32_t bound);
#endif
