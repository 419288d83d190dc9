/*
 * region.h: how a node comes into a region: its request, and the directory updates its authority signs.
 *
 *   request: SignedRecord of a Certificate, signed with the very key it asks to have certified, for the
 *            purpose "request" and the network "" (the node may not know its network yet). It proves
 *            possession of the signing key and nothing else: a person compares the
 *            fingerprint by another way before the authority signs.
 *   update:  SignedRecord of a DirectoryUpdate, signed by the authority.
 *
 * Never decides whom to admit and keeps no files of its own. Called by cpctl and tests.
 */
#ifndef CPD_CRYPTO_REGION_H
#define CPD_CRYPTO_REGION_H

#include "crypto/verify.h"

/* A signed update: the update and its wrapping. */
#define LIMIT_UPDATE_RECORD (LIMIT_DIRECTORY_UPDATE + LIMIT_RECORD_EXTRA)
#define FINGERPRINT_TEXT_MAX 40 /* eight groups of four hex digits, blanks between, NUL */

/* buf holds LIMIT_CERTIFICATE. `name`: the wished name. TEXT, TOO_LARGE, MISSING for the name. */
MUST_CHECK enum cpd_error region_make_request(const struct identity *identity, const char *name, uint8_t *buf, size_t *len);
/* Fills node (0: not known), name, key number and the three public keys; all else is 0. MALFORMED,
 * TOO_LARGE, MISSING, RANGE, TEXT, BAD_SIGNATURE (also for keys that are no good points). */
MUST_CHECK enum cpd_error region_check_request(struct slice record, struct certificate *out);
/* buf holds LIMIT_UPDATE_RECORD. The errors of directory_update_encode. */
MUST_CHECK enum cpd_error region_make_update(const struct authority *authority, const struct directory_update *update,
    uint8_t *buf, size_t *len);
/* For reading over a telephone: "1f3a 77c0 ...", first 16 bytes of BLAKE2b-256 over the three public keys
 * of a certificate, signing, sealing, transport. Returns out. */
const char *certificate_fingerprint(const struct certificate *certificate, char out[FINGERPRINT_TEXT_MAX]);
/* The same over network, NUL, region, NUL, authority key of an anchor. */
const char *region_anchor_fingerprint(const struct region_anchor *anchor, char out[FINGERPRINT_TEXT_MAX]);

#endif
