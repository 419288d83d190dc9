/*
 * verify.h: the only maker of verified things. Pure computation over borrowed bytes: safe on worker
 * threads as long as the directory does not change meanwhile (the caller holds a read lock).
 * Refuses malleable signatures (S >= L), small-order and non-canonical keys and points.
 */
#ifndef CPD_CRYPTO_VERIFY_H
#define CPD_CRYPTO_VERIFY_H

#include "crypto/sign.h"
#include "proto/verified.h"

/* UNKNOWN_SIGNER (retryable), BAD_SIGNATURE, REVOKED (signed by a revoked key with an epoch/sequence
 * that cannot be judged), ROLE (certificate_allows), and every error of message_decode. Every
 * signature of the message must hold, and the first must be the origin's. */
MUST_CHECK enum cpd_error verify_message(const struct directory *directory, const char *network,
    struct slice envelope, struct verified_message *out);
MUST_CHECK enum cpd_error verify_receipts(const struct directory *directory, const char *network,
    struct slice record, struct verified_receipts *out);
MUST_CHECK enum cpd_error verify_presence(const struct directory *directory, const char *network,
    struct slice record, struct verified_presence *out);
/* Signed by the region's authority. *out is owned by the caller. */
MUST_CHECK enum cpd_error verify_directory_update(const struct region_anchor *anchor,
    struct slice record, struct directory_update *out);
/* One signature, for vectors and requests. True: good. */
bool verify_bytes(const uint8_t public_key[32], enum sign_purpose purpose, const char *network,
    struct slice bytes, const uint8_t signature[64]);
/* Raw Ed25519 as Wycheproof tests it. */
bool verify_raw(const uint8_t public_key[32], struct slice bytes, const uint8_t signature[64]);
#endif
