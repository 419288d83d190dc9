/*
 * verify.h: the only maker of verified things. Pure computation over borrowed bytes: safe on worker
 * threads as long as the directory does not change meanwhile (the caller holds a read lock).
 * Refuses malleable signatures (S >= L), small-order and non-canonical keys and points.
 * Validity dates are never looked at: a wrong clock must not cut a region off; only revocation cuts.
 *
 * What a revoked key signed is judged by where its revocation draws the line (PROTOCOL.md section 9):
 *   no last epoch (0)                          REVOKED: nothing of that key is trusted
 *   message, up to last epoch/sequence         good
 *   message, beyond it                         good signature, is_suspect: kept and shown as such, so
 *                                              that no relay loses what it holds; the relay decides
 *   receipts, epoch before the last            good
 *   receipts, last epoch or later              is_suspect: their counter does not count messages
 *   co-signature on another's message          REVOKED: its epoch/sequence is the other's
 *   presence                                   REVOKED: it is always about now
 */
#ifndef CPD_CRYPTO_VERIFY_H
#define CPD_CRYPTO_VERIFY_H

#include "crypto/sign.h"
#include "proto/verified.h"

/* What SignedRecord adds to the bytes that it wraps, at the most. */
#define LIMIT_RECORD_EXTRA 80

/* May this person release this message: its function certificate is of the message's origin, stands, and had not run out
 * when the message was created, and the signature is good. UNKNOWN_SIGNER (retryable), REVOKED, ROLE (another node's, or run
 * out), BAD_SIGNATURE. Dates are held against the message's own time, so that every node finds the same. */
MUST_CHECK enum cpd_error verify_release(const struct directory *directory, const char *network, const struct header *header,
    struct slice signed_bytes, const struct message_release *release);

/* UNKNOWN_SIGNER (retryable), BAD_SIGNATURE, REVOKED (above), ROLE (certificate_allows of the origin: it is the
 * author; what a co-signature is worth, the addressee judges), and every error of message_decode. Every
 * signature and every release (verify_release) must hold, no two releases be of one person (ROLE), no fewer than the kind
 * asks for (ROLE), and the first must be the origin's. On error *out is zero. */
MUST_CHECK enum cpd_error verify_message(const struct directory *directory, const char *network,
    struct slice envelope, struct verified_message *out);
/* What this node is writing and persons have yet to release: *missing are the releases that the kind still asks for. Only the
 * node's own relay may have it, held. Else as verify_message. */
MUST_CHECK enum cpd_error verify_draft(const struct directory *directory, const char *network, struct slice envelope, size_t *missing,
    struct verified_message *out);
MUST_CHECK enum cpd_error verify_receipts(const struct directory *directory, const char *network,
    struct slice record, struct verified_receipts *out);
/* A record that this node makes itself: signs it, and makes the verified thing without checking the signature just
 * made; the directory must hold this identity's own key. *len bytes of record, which out leads into. UNKNOWN_SIGNER,
 * REVOKED as above, TOO_LARGE, STATE, and every error of receipts_decode. */
MUST_CHECK enum cpd_error verify_own_receipts(const struct directory *directory, const struct identity *identity,
    struct slice signed_bytes, uint8_t *record, size_t record_len, size_t *len, struct verified_receipts *out);
MUST_CHECK enum cpd_error verify_presence(const struct directory *directory, const char *network,
    struct slice record, struct verified_presence *out);
/* Signed by the region's authority. *out is owned by the caller. UNKNOWN_SIGNER for an authority key number
 * other than 1, BAD_SIGNATURE, and every error of directory_update_decode. */
MUST_CHECK enum cpd_error verify_directory_update(const struct region_anchor *anchor,
    struct slice record, struct directory_update *out);
/* One signature, for vectors and requests. True: good. */
bool verify_bytes(const uint8_t public_key[32], enum sign_purpose purpose, const char *network,
    struct slice bytes, const uint8_t signature[64]);
/* Raw Ed25519 as Wycheproof tests it. */
bool verify_raw(const uint8_t public_key[32], struct slice bytes, const uint8_t signature[64]);
#endif
