/*
 * identity.h: a node's own keys and epoch, and the region's authority key, as files of mode 0600.
 *
 * Layout of an identity folder (0700): signing.key, sealing.key, transport.key (32-byte seed or
 * secret keys in hex, one line), epoch (decimal), node (node number, blank, key number), region.pub
 * (region anchor). Of an authority folder: authority.key, region.pub.
 * Secrets live in locked memory (sodium_malloc, grouped) and are wiped by identity_free; they never
 * stand in a log or an error text. Every write is temporary file, fsync, rename, fsync of the folder;
 * signing.key (authority.key) is written last, so that half a creation is no identity and is simply
 * done again; `node` is the last of an installation.
 * After an error of a function on files, crypto_problem() names the file and the cure.
 */
#ifndef CPD_CRYPTO_IDENTITY_H
#define CPD_CRYPTO_IDENTITY_H

#include "crypto/crypto.h"
#include "proto/directory.h"

#define LIMIT_NETWORK 32 /* bytes of a network id: its length stands in one byte of every signature */
#define LIMIT_ANCHOR 512 /* bytes of region.pub */
#define IDENTITY_LIFE_EPOCHS 100 /* epochs set apart for each key, and for each life with a copy of it: a node begins few in its life */

/* What everyone in a network knows: who may sign the directory. Text file region.pub. */
struct region_anchor {
	char network[LIMIT_NETWORK + 1]; /* network id in every signature: "nl"; a-z, 0-9, '-' */
	char region[8];                  /* "VR09"; A-Z, 0-9 */
	char name[LIMIT_NAME + 1];       /* "Utrecht" */
	uint8_t authority_key[32];       /* Ed25519 */
};
/* NOT_FOUND, IO, MALFORMED. */
MUST_CHECK enum cpd_error region_anchor_load(const char *path, struct region_anchor *out);
/* RANGE when a field is not as above, IO. */
MUST_CHECK enum cpd_error region_anchor_save(const char *path, const struct region_anchor *anchor);
/* The text of region.pub: exactly one text for one anchor, with a check line. */
MUST_CHECK enum cpd_error region_anchor_format(const struct region_anchor *anchor, char out[LIMIT_ANCHOR], size_t *len);
/* MALFORMED for anything but what region_anchor_format writes, to the byte. */
MUST_CHECK enum cpd_error region_anchor_parse(struct slice text, struct region_anchor *out);

struct authority;              /* anchor and secret key */
/* Makes DIR (0700) with authority.key, region.pub; EXISTS when there is one. The authority_key of
 * `names` is not read. The key is sealed with the passphrase (crypto/passphrase.h); when that is empty it lies open. */
MUST_CHECK enum cpd_error authority_create(const char *dir, const struct region_anchor *names, struct slice passphrase, struct authority **out);
/* Does its key want a passphrase? */
bool authority_is_sealed(const char *dir);
/* NOT_FOUND, IO, MALFORMED (also when key and region.pub are not of each other), STATE (others may read the key),
 * BAD_SIGNATURE (not this passphrase). The passphrase of a key that lies open is not looked at. */
MUST_CHECK enum cpd_error authority_load(const char *dir, struct slice passphrase, struct authority **out);
/* Seals the key with another passphrase, also one that lay open. RANGE: an empty one; NOMEM, IO. */
MUST_CHECK enum cpd_error authority_seal(const char *dir, const struct authority *authority, struct slice passphrase);
void authority_free(struct authority *authority);
const struct region_anchor *authority_anchor(const struct authority *authority);

struct identity;
/* Makes keys in DIR, with epoch 0: no store has spoken for it. node 0: not yet known (a request). EXISTS when there are keys. */
MUST_CHECK enum cpd_error identity_create(const char *dir, uint32_t node, struct identity **out);
/* New keys in memory, of no folder: for a kit. NOMEM. */
MUST_CHECK enum cpd_error identity_generate(struct identity **out);
/* Writes keys that no machine used yet into DIR (0700), which is its folder from then on; the epoch stays 0. EXISTS when there
 * are keys; IO, BUSY. */
MUST_CHECK enum cpd_error identity_place(struct identity *identity, const char *dir);
/* NOT_FOUND (no identity there), IO, MALFORMED, STATE (a key file others may read; *problem says which
 * and the cure; valid until the next function on files on this thread). problem may be NULL. */
MUST_CHECK enum cpd_error identity_load(const char *dir, struct identity **out, const char **problem);
/* As identity_load; the three keys are taken from `credentials` ($CREDENTIALS_DIRECTORY of systemd's LoadCredentialEncrypted=)
 * when cpd.signing.key stands there; NULL: there is none. Epoch, node and anchor are always of DIR. */
MUST_CHECK enum cpd_error identity_load_with(const char *dir, const char *credentials, struct identity **out, const char **problem);
bool identity_in_credentials(const char *credentials);
/* Do keys lie open in this folder? */
bool identity_has_open_keys(const char *dir);
/* Are the keys kept from being swapped out? No: RLIMIT_MEMLOCK is too small. */
bool identity_is_locked(const struct identity *identity);
/* As identity_load, of a copy that was kept elsewhere, whatever the rights of its files: a stick has none. */
MUST_CHECK enum cpd_error identity_load_copy(const char *dir, struct identity **out);
/* Writes a loaded identity into DIR (0700), which is its folder from then on, with an epoch that no life of the node
 * since the copy has reached: nobody has to tell it first. EXISTS when there are keys; IO, BUSY. */
MUST_CHECK enum cpd_error identity_put(struct identity *identity, const char *dir);
void identity_free(struct identity *identity);
uint32_t identity_node(const struct identity *identity);
uint32_t identity_epoch(const struct identity *identity);
uint32_t identity_key_number(const struct identity *identity);
/* NULL: not installed in a region yet. */
const struct region_anchor *identity_anchor(const struct identity *identity);
/* Durably raises the epoch before it is used; never lowers (STATE). The same: nothing is done. */
MUST_CHECK enum cpd_error identity_set_epoch(struct identity *identity, uint32_t epoch);
/* Installs node number, key number and anchor into the folder (cpctl node install). Keys that never had an epoch and
 * take the place of others begin above all epochs of those. RANGE for a 0. */
MUST_CHECK enum cpd_error identity_install(struct identity *identity, uint32_t node, uint32_t key_number, const struct region_anchor *anchor);
/* Fills the three public keys of a certificate. */
void identity_public_keys(const struct identity *identity, struct certificate *out);
/* CURVE key pair for ZeroMQ, 32 bytes each; the caller wipes the secret. */
void identity_transport_keys(const struct identity *identity, uint8_t public_key[32], uint8_t secret_key[32]);

#endif
