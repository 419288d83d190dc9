/*
 * seal.h: seals a part of a message for its readers, and opens one (PROTOCOL.md section 4.6).
 *
 * One random content key for each part, used once; for each reader it is sealed with what X25519 makes of one ephemeral key and
 * the reader's sealing key. Both seals are XChaCha20-Poly1305 and bound to the message (proto/sealed.h), so a part opens nowhere
 * but in its own message. Who sealed it is told by the signature over the message, not by the seal.
 * It decides nothing and keeps nothing. Called by daemon/node_seal.c.
 */
#ifndef CPD_CRYPTO_SEAL_H
#define CPD_CRYPTO_SEAL_H

#include "crypto/identity.h"
#include "proto/sealed.h"

/* An encoded SealedPart for the message of `header` (id, kind and destinations are looked at). readers: certificates, ascending by
 * node. content_key: the key that was made, which opens the content (the origin keeps it, wrapped); the caller wipes it. buf holds LIMIT_SEALED_PART.
 * RANGE (readers; a sealing key of which nobody has the secret), TOO_LARGE. */
MUST_CHECK enum cpd_error seal_part(const struct header *header, const char *network, uint32_t audience,
    const struct certificate *const *readers, size_t reader_count, struct slice content, uint8_t content_key[32], uint8_t *buf, size_t *len);
/* The same with keys of the caller's choice, of 32 bytes, for byte vectors only: a content key may seal once. */
MUST_CHECK enum cpd_error seal_part_with(const struct header *header, const char *network, uint32_t audience,
    const struct certificate *const *readers, size_t reader_count, struct slice content, const uint8_t content_key[32],
    const uint8_t ephemeral_secret[32], uint8_t *buf, size_t *len);

/* The content key, with this node's sealing key; the caller wipes it. NOT_FOUND: sealed for others; CONFLICT: for another key of
 * this node; BAD_SIGNATURE: changed, of another message, or sealed wrong; STATE: not installed; TOO_LARGE. On error key is zero. */
MUST_CHECK enum cpd_error seal_open_key(const struct identity *identity, const struct header *header, const struct sealed_part *part,
    uint8_t key[32]);
/* What is inside. buf holds LIMIT_SEALED_CONTENT + SEALED_BLOCK, and the caller wipes it. BAD_SIGNATURE, TOO_LARGE. */
MUST_CHECK enum cpd_error seal_open_content(const struct header *header, const char *network, const struct sealed_part *part,
    const uint8_t key[32], uint8_t *buf, size_t *len);

#endif
