/*
 * passphrase.h: one 32-byte key in a file that only a passphrase opens.
 *
 *   "cpd-sealed-key 1 argon2id OPS MEM\n"                 what the passphrase costs: passes, bytes of memory
 *   salt (16 bytes), nonce (24), sealed key (48), in hex with blanks between, "\n"
 *
 * The key that seals is Argon2id over the passphrase's bytes as they were typed; the seal is XChaCha20-Poly1305 with the
 * first line as associated data. Exactly one text for one content. Called only inside crypto/.
 */
#ifndef CPD_CRYPTO_PASSPHRASE_H
#define CPD_CRYPTO_PASSPHRASE_H

#include "proto/types.h"

#define SEALED_KEY_MAX 320 /* bytes of the file */

/* Writes it durably. RANGE: an empty passphrase; NOMEM: the 256 MiB that it takes are not there; IO. */
MUST_CHECK enum cpd_error sealed_key_write(const char *path, struct slice passphrase, const uint8_t key[32]);
/* Is this a file of that kind, whatever it holds? */
bool sealed_key_is(const char *path);
/* BAD_SIGNATURE: another passphrase, or the seal was changed; MALFORMED (damaged, or it asks for more than 1 GiB or 16 passes);
 * NOT_FOUND, IO, STATE (others may read it), NOMEM. The key is in the caller's locked memory, zero on error. */
MUST_CHECK enum cpd_error sealed_key_read(const char *path, struct slice passphrase, uint8_t key[32]);

#endif
