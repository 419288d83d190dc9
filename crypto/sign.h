/*
 * sign.h: making signatures. Every signature covers "cpd/1/<purpose>" NUL, one length byte and the
 * network id, 4 bytes big-endian length, the bytes (PROTOCOL.md section 3): plain Ed25519 over the
 * concatenation, not Ed25519ph, so that any library can check it.
 */
#ifndef CPD_CRYPTO_SIGN_H
#define CPD_CRYPTO_SIGN_H

#include "crypto/identity.h"

enum sign_purpose { SIGN_MESSAGE, SIGN_RECEIPTS, SIGN_PRESENCE, SIGN_DIRECTORY, SIGN_REQUEST, SIGN_COURIER, SIGN_PURPOSE_COUNT };
const char *sign_purpose_name(enum sign_purpose purpose); /* "message", "receipts", "presence", "directory", "request", "courier" */

/* What is signed: prefix and the largest object, which is an envelope's content or a directory update. */
#define LIMIT_SIGN_BYTES LIMIT_ENVELOPE
#define LIMIT_SIGN_OVER (LIMIT_SIGN_BYTES + 64)
/* The bytes a signature covers. buf holds LIMIT_SIGN_OVER. TOO_LARGE (bytes, or network), RANGE (purpose). */
MUST_CHECK enum cpd_error sign_over(enum sign_purpose purpose, const char *network, struct slice bytes,
    uint8_t *buf, size_t *len);

/* In the network of the identity. STATE before it is installed, but for SIGN_REQUEST, which is made before and
 * therefore always signed for the network "". TOO_LARGE. */
MUST_CHECK enum cpd_error sign_bytes(const struct identity *identity, enum sign_purpose purpose, struct slice bytes, uint8_t signature[64]);
MUST_CHECK enum cpd_error authority_sign(const struct authority *authority, enum sign_purpose purpose, struct slice bytes, uint8_t signature[64]);
#endif
