/*
 * person.h: the key of a person who releases messages: one file that only a passphrase opens (passphrase.h). It is made and used where
 * the person sits, by cpctl; no daemon ever has it. Errors of files: crypto_problem() names the file and the cure.
 */
#ifndef CPD_CRYPTO_PERSON_H
#define CPD_CRYPTO_PERSON_H

#include "crypto/sign.h"

/* EXISTS: a file is there; RANGE: an empty passphrase; NOMEM, IO. */
MUST_CHECK enum cpd_error person_create(const char *path, struct slice passphrase, uint8_t public_key[32]);
/* Over the content of a message, as a node signs it (PROTOCOL.md section 4.7). BAD_SIGNATURE: not this passphrase; as sealed_key_read,
 * and TOO_LARGE. On error the outputs are zero. */
MUST_CHECK enum cpd_error person_sign(const char *path, struct slice passphrase, const char *network, struct slice content,
    uint8_t public_key[32], uint8_t signature[64]);

#endif
