/*
 * node_vault.h: what a node can read of personal data lies on its disk wrapped, and can be erased for good (crypto/vault.h).
 * Included by daemon/node*.c only.
 *
 * Two things let a node read what is sealed: an envelope with a part for it, with its own sealing key; and the content keys of what it
 * wrote itself. Both are wrapped. An envelope that is only passed on, or that was written here, opens with no key of this node and lies
 * as it came: custody of it rests on no period key.
 */
#ifndef CPD_NODE_VAULT_H
#define CPD_NODE_VAULT_H

#include "crypto/vault.h"
#include "daemon/node_internal.h"

/* Opens STATE/periods and makes the key of the present period. *problem: what is wrong and what to do. */
MUST_CHECK enum cpd_error records_open(struct node *node, char problem[256]);

/* The envelope into the turn: wrapped when a part of it is sealed for this node. */
MUST_CHECK enum cpd_error record_put_envelope(struct node *node, struct turn *turn, const struct message_id *id, struct slice envelope, const struct moment *now);
/* A row of envelopes as it was loaded: what was wrapped takes the place of *value. NOT_FOUND: erased; *value is freed on any error. */
MUST_CHECK enum cpd_error record_unwrap(struct node *node, const struct store_key *key, uint8_t **value, size_t *len);

/* The content keys of the sealed parts of an own message, 32 bytes each. Get: NOT_FOUND when there are none, or they were erased. */
MUST_CHECK enum cpd_error record_put_keys(struct node *node, struct turn *turn, const struct message_id *id, const uint8_t *keys, size_t count, const struct moment *now);
MUST_CHECK enum cpd_error record_get_keys(struct node *node, const struct message_id *id, uint8_t keys[LIMIT_SEALED_PARTS * 32], size_t *count);
/* The next own message after `after` (sequence 0: the first) of which content keys are held. NOT_FOUND: none. */
MUST_CHECK enum cpd_error record_next_keys(struct node *node, const struct message_id *after, struct message_id *out);
MUST_CHECK enum cpd_error record_delete_keys(struct node *node, struct turn *turn, const struct message_id *id);

/* A piece of the pass over periods whose time is over: what still stands under one is wrapped anew under the present one, and when
 * nothing does any more its key is destroyed, with a line in the journal. Only with nothing under way but `turn`. */
MUST_CHECK enum cpd_error records_sweep(struct node *node, struct turn *turn, const struct moment *now, bool *is_end);

#endif
