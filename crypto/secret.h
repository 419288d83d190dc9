/*
 * secret.h: the signing keys inside an identity and an authority, for sign.c; and how secrets are
 * read, written and held. Never included outside crypto/.
 */
#ifndef CPD_CRYPTO_SECRET_H
#define CPD_CRYPTO_SECRET_H

#include "crypto/identity.h"
#include "crypto/keyfile.h"

/* Ed25519 secret key, 64 bytes, in locked memory of the owner. */
const uint8_t *identity_signing_secret(const struct identity *identity);
/* X25519, 32 bytes, the same. */
const uint8_t *identity_sealing_secret(const struct identity *identity);
const uint8_t *authority_signing_secret(const struct authority *authority);

/* Signing seed, sealing and transport secret, one after another. */
#define IDENTITY_SECRETS 96
void identity_stored_secrets(const struct identity *identity, uint8_t out[IDENTITY_SECRETS]);
/* An identity of no folder from them. NOMEM. */
MUST_CHECK enum cpd_error identity_from_secrets(const uint8_t secrets[IDENTITY_SECRETS], struct identity **out);

/* Guarded, locked memory, wiped by secret_free. NULL: no memory. */
void *secret_new(size_t len);
void secret_free(void *secret);
/* One key file: 64 hex digits and a newline. MALFORMED names the file, not its content. KEYFILE_PUBLIC: whatever its rights. */
MUST_CHECK enum cpd_error secret_read(const char *dir, const char *name, enum keyfile_mode mode, uint8_t key[32]);
MUST_CHECK enum cpd_error secret_write(const char *dir, const char *name, const uint8_t key[32]);

#endif
