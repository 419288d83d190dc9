/*
 * tree.c: see tree.h. All levels stand in one array, leaves first; a level of n nodes has
 * (n + 1) / 2 above it.
 */
#include "proto/tree.h"

#include <stdlib.h>
#include <string.h>

struct tree {
	tree_hash *hash;
	uint32_t length;
	uint32_t leaf_count;
	uint32_t leaves_held;
	uint8_t (*nodes)[TREE_HASH_LEN];
};

uint32_t tree_leaf_count(uint32_t length)
{
	if (length > LIMIT_LARGE_BODY)
		return 0;
	return (length + LIMIT_LEAF - 1) / LIMIT_LEAF;
}

size_t tree_leaf_length(uint32_t length, uint32_t index)
{
	uint32_t count = tree_leaf_count(length);

	if (index >= count)
		return 0;
	return index + 1 < count ? LIMIT_LEAF : length - index * (uint32_t)LIMIT_LEAF;
}

static void hash_leaf(tree_hash *hash, struct slice leaf, uint8_t out[TREE_HASH_LEN])
{
	uint8_t framed[1 + LIMIT_LEAF];

	framed[0] = 0x00;
	memcpy(framed + 1, leaf.data, leaf.len);
	hash(out, TREE_HASH_LEN, framed, 1 + leaf.len);
}

static void hash_pair(tree_hash *hash, const uint8_t *left, const uint8_t *right, uint8_t out[TREE_HASH_LEN])
{
	uint8_t framed[1 + 2 * TREE_HASH_LEN];

	framed[0] = 0x01;
	memcpy(framed + 1, left, TREE_HASH_LEN);
	memcpy(framed + 1 + TREE_HASH_LEN, right, TREE_HASH_LEN);
	hash(out, TREE_HASH_LEN, framed, sizeof(framed));
}

static size_t node_count(uint32_t leaf_count)
{
	size_t total = 1;

	for (uint32_t width = leaf_count; width > 1; width = (width + 1) / 2)
		total += width;
	return total;
}

enum cpd_error tree_new(uint32_t length, tree_hash *hash, struct tree **out)
{
	struct tree *tree;

	*out = NULL;
	if (length == 0)
		return CPD_ERR_RANGE;
	if (length > LIMIT_LARGE_BODY)
		return CPD_ERR_TOO_LARGE;
	tree = calloc(1, sizeof(*tree));
	if (!tree)
		return CPD_ERR_NOMEM;
	tree->hash = hash;
	tree->length = length;
	tree->leaf_count = tree_leaf_count(length);
	tree->nodes = calloc(node_count(tree->leaf_count), TREE_HASH_LEN);
	if (!tree->nodes) {
		free(tree);
		return CPD_ERR_NOMEM;
	}
	*out = tree;
	return CPD_OK;
}

void tree_free(struct tree *tree)
{
	if (!tree)
		return;
	free(tree->nodes);
	free(tree);
}

/* Hashes every level above the leaves, once all leaves are there. */
static void raise_levels(struct tree *tree)
{
	uint8_t (*level)[TREE_HASH_LEN] = tree->nodes;

	for (uint32_t width = tree->leaf_count; width > 1; width = (width + 1) / 2) {
		uint8_t (*above)[TREE_HASH_LEN] = level + width;

		for (uint32_t i = 0; i + 1 < width; i += 2)
			hash_pair(tree->hash, level[i], level[i + 1], above[i / 2]);
		if (width % 2 == 1)
			memcpy(above[width / 2], level[width - 1], TREE_HASH_LEN);
		level = above;
	}
}

enum cpd_error tree_add_leaf(struct tree *tree, struct slice leaf)
{
	if (tree->leaves_held == tree->leaf_count)
		return CPD_ERR_STATE;
	if (leaf.len != tree_leaf_length(tree->length, tree->leaves_held))
		return CPD_ERR_RANGE;
	hash_leaf(tree->hash, leaf, tree->nodes[tree->leaves_held]);
	tree->leaves_held++;
	if (tree->leaves_held == tree->leaf_count)
		raise_levels(tree);
	return CPD_OK;
}

enum cpd_error tree_of_body(struct slice body, tree_hash *hash, struct tree **out)
{
	struct tree *tree;
	enum cpd_error error;

	*out = NULL;
	if (body.len > LIMIT_LARGE_BODY)
		return CPD_ERR_TOO_LARGE;
	error = tree_new((uint32_t)body.len, hash, &tree);
	for (uint32_t i = 0; !error && i < tree->leaf_count; i++) {
		struct slice leaf = { body.data + (size_t)i * LIMIT_LEAF, tree_leaf_length(tree->length, i) };

		error = tree_add_leaf(tree, leaf);
	}
	if (error) {
		tree_free(tree);
		return error;
	}
	*out = tree;
	return CPD_OK;
}

enum cpd_error tree_root(const struct tree *tree, uint8_t root[TREE_HASH_LEN])
{
	memset(root, 0, TREE_HASH_LEN);
	if (tree->leaves_held < tree->leaf_count)
		return CPD_ERR_STATE;
	memcpy(root, tree->nodes[node_count(tree->leaf_count) - 1], TREE_HASH_LEN);
	return CPD_OK;
}

enum cpd_error tree_path(const struct tree *tree, uint32_t index, struct tree_path *out)
{
	uint8_t (*level)[TREE_HASH_LEN] = tree->nodes;

	memset(out, 0, sizeof(*out));
	if (tree->leaves_held < tree->leaf_count)
		return CPD_ERR_STATE;
	if (index >= tree->leaf_count)
		return CPD_ERR_RANGE;
	for (uint32_t width = tree->leaf_count; width > 1; width = (width + 1) / 2) {
		uint32_t sibling = index ^ 1;

		if (sibling < width)
			memcpy(out->hashes[out->count++], level[sibling], TREE_HASH_LEN);
		level += width;
		index /= 2;
	}
	return CPD_OK;
}

enum cpd_error tree_verify_leaf(const uint8_t root[TREE_HASH_LEN], uint32_t length, uint32_t index,
    struct slice leaf, const struct tree_path *path, tree_hash *hash)
{
	uint8_t node[TREE_HASH_LEN];
	size_t used = 0;

	if (index >= tree_leaf_count(length) || leaf.len != tree_leaf_length(length, index))
		return CPD_ERR_RANGE;
	hash_leaf(hash, leaf, node);
	for (uint32_t width = tree_leaf_count(length); width > 1; width = (width + 1) / 2) {
		if ((index ^ 1) < width) {
			const uint8_t *sibling;

			if (used == path->count) /* so `used` stays below the depth, whatever count says */
				return CPD_ERR_RANGE;
			sibling = path->hashes[used++];
			if (index % 2 == 0)
				hash_pair(hash, node, sibling, node);
			else
				hash_pair(hash, sibling, node, node);
		}
		index /= 2;
	}
	if (used != path->count)
		return CPD_ERR_RANGE;
	/* The root is public: no need of a constant-time comparison. */
	return memcmp(node, root, TREE_HASH_LEN) == 0 ? CPD_OK : CPD_ERR_DAMAGED;
}
