/*
 * tree.h: the hash tree of a large body (PROTOCOL.md section 4.5), so that each leaf can be checked
 * against the signed root before it is stored, from whichever neighbour it comes.
 *
 * The body is cut into leaves of LIMIT_LEAF bytes; the last one may be shorter, none is empty.
 *   leaf:  H(0x00 || bytes of the leaf)
 *   node:  H(0x01 || left || right)
 *   A node without a right neighbour is carried up to the next level unchanged, not hashed with
 *   itself: so a body and the same body with its last leaf repeated have different roots.
 * H is BLAKE2b with 32 bytes out, no key. The first byte keeps a leaf from passing for a node. The
 * root alone does not fix the length: the header signs both, and tree_verify_leaf asks for both.
 *
 * Never hashes by itself: proto/ knows no libsodium, the caller lends the hash (crypto/). Called by
 * daemon/ when it authors, passes on or takes in a large body.
 */
#ifndef CPD_PROTO_TREE_H
#define CPD_PROTO_TREE_H

#include "proto/limits.h"
#include "proto/types.h"

#define TREE_HASH_LEN 32

/* BLAKE2b without key over data, out_len bytes out. Cannot fail. */
typedef void tree_hash(uint8_t *out, size_t out_len, const uint8_t *data, size_t len);

/* Sibling hashes from the leaf up. Levels where the node is carried have none. */
struct tree_path {
	size_t count;
	uint8_t hashes[LIMIT_TREE_DEPTH][TREE_HASH_LEN];
};

/* Number of leaves of a body; 0 when length is 0 or above LIMIT_LARGE_BODY. */
uint32_t tree_leaf_count(uint32_t length);
/* Bytes of one leaf; 0 when there is no such leaf. */
size_t tree_leaf_length(uint32_t length, uint32_t index);

struct tree;
/* An empty tree for a body of this length: 64 bytes a leaf. RANGE for length 0, TOO_LARGE above
 * LIMIT_LARGE_BODY, NOMEM. `hash` must outlive the tree. */
MUST_CHECK enum cpd_error tree_new(uint32_t length, tree_hash *hash, struct tree **out);
void tree_free(struct tree *tree); /* NULL is fine */
/* The next leaf, in order from 0. RANGE when its length is not tree_leaf_length; STATE when the
 * tree is complete already. */
MUST_CHECK enum cpd_error tree_add_leaf(struct tree *tree, struct slice leaf);
/* A complete tree over a body in memory. The errors of tree_new. */
MUST_CHECK enum cpd_error tree_of_body(struct slice body, tree_hash *hash, struct tree **out);
/* STATE while leaves are missing. */
MUST_CHECK enum cpd_error tree_root(const struct tree *tree, uint8_t root[TREE_HASH_LEN]);
/* STATE while leaves are missing; RANGE when there is no such leaf. */
MUST_CHECK enum cpd_error tree_path(const struct tree *tree, uint32_t index, struct tree_path *out);

/* Checks one leaf of a body of `length` bytes against its root. RANGE: no such leaf, or a leaf or
 * path of the wrong length; DAMAGED: it does not lead to the root. Hashes at most LIMIT_LEAF bytes
 * and LIMIT_TREE_DEPTH pairs, whatever it is given. */
MUST_CHECK enum cpd_error tree_verify_leaf(const uint8_t root[TREE_HASH_LEN], uint32_t length, uint32_t index,
    struct slice leaf, const struct tree_path *path, tree_hash *hash);

#endif
