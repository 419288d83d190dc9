/*
 * vault.h: records that can be erased for good: wrapped under the key of a period, which is destroyed when their time is over.
 *
 * A disk gives back what was deleted: freed pages of the store, an older image, a backup. So what must one day be gone is never stored
 * but wrapped: a key of its own for each record, wrapped with the key of the period in which it is written (XChaCha20-Poly1305). Period
 * keys stand in files of mode 0600 in a folder beside the store, never in it and in no backup. Who destroys the key of a period has
 * made every record of it, wherever a copy lies, unreadable.
 *
 * A wrapped record: 0, 1 (version), period (4), nonce (24), wrapped key (48), sealed content; bound to the place where it stands.
 * No envelope begins with a 0. It decides nothing and asks no clock. Called on the loop's thread, by daemon/node_vault.c.
 */
#ifndef CPD_CRYPTO_VAULT_H
#define CPD_CRYPTO_VAULT_H

#include "crypto/crypto.h"

#define VAULT_EXTRA (2 + 4 + 24 + 48 + 16) /* what wrapping adds */
#define LIMIT_VAULT_PLACE 80

struct vault;
/* Makes the folder (0700) when it is absent. IO, STATE (others may write there), NOMEM; crypto_problem() tells. */
MUST_CHECK enum cpd_error vault_open(const char *dir, struct vault **out);
void vault_close(struct vault *vault);   /* NULL is fine; wipes the keys in memory */

/* The key of that period is on disk afterwards. IO, NOMEM. */
MUST_CHECK enum cpd_error vault_prepare(struct vault *vault, uint32_t period);
/* Under the key of that period, which is made, on disk, before anything is wrapped under it; when it cannot be made, under the newest
 * there is. *out is malloc'ed. IO: no key at all; NOMEM, TOO_LARGE (place). */
MUST_CHECK enum cpd_error vault_wrap(struct vault *vault, uint32_t period, struct slice place, struct slice content, uint8_t **out, size_t *len);
/* NOT_FOUND: the key of its period is not here: destroyed, or of another machine; DAMAGED: not what was wrapped, or not there; NOMEM, IO. */
MUST_CHECK enum cpd_error vault_unwrap(struct vault *vault, struct slice place, struct slice wrapped, uint8_t **out, size_t *len);
bool vault_is_wrapped(struct slice bytes);
uint32_t vault_period_of(struct slice wrapped);

/* The oldest and the newest period of which there is a key. False: there is none. */
bool vault_periods(const struct vault *vault, uint32_t *oldest, uint32_t *newest);
/* Overwrites the key, durably, and leaves a mark that says so until vault_told. IO: try again. */
MUST_CHECK enum cpd_error vault_destroy(struct vault *vault, uint32_t period);
/* A period whose key was destroyed and of which vault_told has not said that it is written down. */
bool vault_destroyed(const struct vault *vault, uint32_t *period);
MUST_CHECK enum cpd_error vault_told(struct vault *vault, uint32_t period);

#endif
