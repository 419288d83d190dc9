/*
 * sign.h: making signatures. Every signature covers "cpd/1/<purpose>" NUL, one length byte and the
 * network id, 4 bytes big-endian length, the bytes (PROTOCOL.md section 3): plain Ed25519 over the
 * concatenation, not Ed25519ph, so that any library can check it.
 */
#ifndef CPD_CRYPTO_SIGN_H
#define CPD_CRYPTO_SIGN_H

#include "crypto/identity.h"

enum sign_purpose { SIGN_MESSAGE, SIGN_RECEIPTS, SIGN_PRESENCE, SIGN_DIRECTORY, SIGN_REQUEST };
const char *sign_purpose_name(enum sign_purpose purpose); /* "message", "receipts", "presence", "directory", "request" */

MUST_CHECK enum cpd_error sign_bytes(const struct identity *identity, enum sign_purpose purpose, struct slice bytes, uint8_t signature[64]);
MUST_CHECK enum cpd_error authority_sign(const struct authority *authority, enum sign_purpose purpose, struct slice bytes, uint8_t signature[64]);
#endif
