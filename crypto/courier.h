/*
 * courier.h: seals, signs, verifies and opens courier files (proto/courier.h has the bytes).
 *
 * One random content key for each file, sealed apart for each reader's sealing key; XChaCha20-Poly1305 binds
 * the content to all before it, the writer included; the writer signs the whole. So a file cannot be read by
 * others, changed, or passed off as another's. It decides nothing and keeps nothing. Called by daemon/node_courier.c.
 */
#ifndef CPD_CRYPTO_COURIER_H
#define CPD_CRYPTO_COURIER_H

#include "crypto/verify.h"
#include "proto/courier.h"

/* readers: certificates, ascending by node; the writer's part of the head is filled in, but for number, directory and time.
 * *file is malloc'ed and the caller's. RANGE (head, readers), TOO_LARGE, STATE (not installed), NOMEM. */
MUST_CHECK enum cpd_error courier_seal(const struct identity *identity, const struct courier_head *head,
    const struct certificate *const *readers, size_t reader_count, struct slice content, uint8_t **file, size_t *len);

/* Proves the whole file and opens it in place: *content leads into it, and courier_check has found it good. On error nothing
 * of it may be used, and the bytes may have changed. Besides those of courier_decode (out->head is set after these, for words):
 * UNKNOWN_SIGNER, BAD_SIGNATURE (changed on its way, or not its writer's), REVOKED (the writer's key),
 * STATE (this node wrote it), NOT_FOUND (sealed to others), CONFLICT (sealed to another key of this node),
 * and what courier_check says of a content that its writer made wrong. */
MUST_CHECK enum cpd_error courier_open(const struct identity *identity, const struct directory *directory,
    uint8_t *file, size_t len, struct courier_file *out, struct slice *content, size_t *items);

#endif
