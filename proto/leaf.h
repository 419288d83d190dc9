/*
 * leaf.h: one leaf of a large body as it travels: whose it is, its place, its bytes and the hashes that
 * lead to the signed root (PROTOCOL.md section 4.5). Checks form only; tree_verify_leaf checks content.
 * Called by daemon/ and test/sim.
 */
#ifndef CPD_PROTO_LEAF_H
#define CPD_PROTO_LEAF_H

#include "proto/tree.h"

/* *leaf leads into `item`. MALFORMED, MISSING (also an absent origin), TOO_LARGE, RANGE, NOMEM. */
MUST_CHECK enum cpd_error leaf_item_decode(struct slice item, struct message_id *id, uint32_t *index, struct slice *leaf,
    struct tree_path *path);
/* buf holds LIMIT_ITEM. */
MUST_CHECK enum cpd_error leaf_item_encode(const struct message_id *id, uint32_t index, struct slice leaf,
    const struct tree_path *path, uint8_t *buf, size_t *len);

#endif
