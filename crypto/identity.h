/*
 * identity.h: a node's own keys and epoch, and the region's authority key, as files of mode 0600.
 *
 * Layout of an identity folder (0700): signing.key, sealing.key, transport.key (32-byte seeds or
 * secret keys in hex, one line), epoch (decimal), node (number), region.pub (region anchor).
 * Secrets live in locked memory (sodium_malloc, grouped) and are wiped by identity_free; they never
 * stand in a log or an error text. Every write is temporary file, fsync, rename, fsync of the folder.
 */
#ifndef CPD_CRYPTO_IDENTITY_H
#define CPD_CRYPTO_IDENTITY_H

#include "proto/directory.h"

/* What everyone in a network knows: who may sign the directory. Text file region.pub. */
struct region_anchor {
	char network[33];          /* network id in every signature: "nl" */
	char region[8];            /* "VR09" */
	char name[LIMIT_NAME + 1]; /* "Utrecht" */
	uint8_t authority_key[32]; /* Ed25519 */
};
MUST_CHECK enum cpd_error region_anchor_load(const char *path, struct region_anchor *out);
MUST_CHECK enum cpd_error region_anchor_save(const char *path, const struct region_anchor *anchor);

struct authority;              /* anchor and secret key */
/* Makes DIR (0700) with authority.key, region.pub; EXISTS when there is one. */
MUST_CHECK enum cpd_error authority_create(const char *dir, const struct region_anchor *names, struct authority **out);
MUST_CHECK enum cpd_error authority_load(const char *dir, struct authority **out);
void authority_free(struct authority *authority);
const struct region_anchor *authority_anchor(const struct authority *authority);

struct identity;
/* Makes keys and epoch 1 in DIR. node 0: not yet known (a request). EXISTS when there are keys. */
MUST_CHECK enum cpd_error identity_create(const char *dir, uint32_t node, struct identity **out);
/* IO, MALFORMED, STATE (a key file others may read; *problem names it, static or in the identity). */
MUST_CHECK enum cpd_error identity_load(const char *dir, struct identity **out, const char **problem);
void identity_free(struct identity *identity);
uint32_t identity_node(const struct identity *identity);
uint32_t identity_epoch(const struct identity *identity);
uint32_t identity_key_number(const struct identity *identity);
const struct region_anchor *identity_anchor(const struct identity *identity);
/* Durably raises the epoch before it is used; never lowers (STATE). */
MUST_CHECK enum cpd_error identity_set_epoch(struct identity *identity, uint32_t epoch);
/* Installs node number, key number and anchor into the folder (cpctl node install). */
MUST_CHECK enum cpd_error identity_install(struct identity *identity, uint32_t node, uint32_t key_number, const struct region_anchor *anchor);
/* Fills the three public keys of a certificate. */
void identity_public_keys(const struct identity *identity, struct certificate *out);
/* CURVE key pair for ZeroMQ, 32 bytes each; the caller wipes the secret. */
void identity_transport_keys(const struct identity *identity, uint8_t public_key[32], uint8_t secret_key[32]);
void crypto_wipe(void *data, size_t len);

#endif
