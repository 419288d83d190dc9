/*
 * test_tree.c: the hash tree of large bodies, and the check words that use the same hash.
 * Roots and bits were computed by another implementation (Python's hashlib) from the text of
 * tree.h and checkwords.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/checkwords.h"
#include "proto/tree.h"
#include "test/unit/hungry_proto.h"

static void blake2b(uint8_t *out, size_t out_len, const uint8_t *data, size_t len)
{
	crypto_generichash(out, out_len, data, len, NULL, 0);
}

static struct slice make_body(size_t len)
{
	uint8_t *data = malloc(len);

	assert_non_null(data);
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7 + i / LIMIT_LEAF);
	return (struct slice){ data, len };
}

static void body_free(struct slice body)
{
	free((void *)(uintptr_t)body.data);
}

static struct slice leaf_of(struct slice body, uint32_t index)
{
	return (struct slice){ body.data + (size_t)index * LIMIT_LEAF, tree_leaf_length((uint32_t)body.len, index) };
}

static void roots_are_those_of_the_other_implementation(void **state)
{
	static const struct { size_t len; const char *root; } vectors[] = {
		{ 1, "9ee6dfb61a2fb903df487c401663825643bb825d41695e63df8af6162ab145a6" },
		{ 4080, "6e4c453ed3cd1f3e9debb52221ed0554995eb9f8d7fbf142c131744b9e499fd7" },
		{ 4081, "22311e557b92071a7eb93245884201a3b20b0551b6533cce947354c3be15dd70" },
		{ 20417, "e929c373a1e57ef6b800dd5ba33bb2ec0b118d963db948d83b662210ed67d5eb" },
		{ 28560, "0ec80c98f0dd34f3ab925cf36c9fbb92499fa5ed1fcd711a32a4070d6132899b" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct slice body = make_body(vectors[i].len);
		struct tree *tree;
		uint8_t root[TREE_HASH_LEN];
		char hex[2 * TREE_HASH_LEN + 1];

		assert_int_equal(tree_of_body(body, blake2b, &tree), CPD_OK);
		assert_int_equal(tree_root(tree, root), CPD_OK);
		assert_string_equal(sodium_bin2hex(hex, sizeof(hex), root, sizeof(root)), vectors[i].root);
		tree_free(tree);
		body_free(body);
	}
}

static void every_leaf_of_every_small_tree_is_verified_by_its_path(void **state)
{
	(void)state;
	for (uint32_t leaves = 1; leaves <= 18; leaves++) {
		struct slice body = make_body((size_t)leaves * LIMIT_LEAF - 11);
		uint32_t length = (uint32_t)body.len;
		struct tree *tree;
		uint8_t root[TREE_HASH_LEN];

		assert_int_equal(tree_of_body(body, blake2b, &tree), CPD_OK);
		assert_int_equal(tree_root(tree, root), CPD_OK);
		for (uint32_t i = 0; i < leaves; i++) {
			struct tree_path path;

			assert_int_equal(tree_path(tree, i, &path), CPD_OK);
			assert_int_equal(tree_verify_leaf(root, length, i, leaf_of(body, i), &path, blake2b), CPD_OK);
		}
		tree_free(tree);
		body_free(body);
	}
}

static void no_changed_leaf_path_place_or_length_is_verified(void **state)
{
	struct slice body = make_body(11 * LIMIT_LEAF + 100);
	uint32_t length = (uint32_t)body.len;
	struct tree *tree;
	uint8_t root[TREE_HASH_LEN];

	(void)state;
	assert_int_equal(tree_of_body(body, blake2b, &tree), CPD_OK);
	assert_int_equal(tree_root(tree, root), CPD_OK);
	for (uint32_t i = 0; i < 12; i++) {
		struct slice leaf = leaf_of(body, i);
		struct tree_path path, other;
		uint8_t copy[LIMIT_LEAF];

		assert_int_equal(tree_path(tree, i, &path), CPD_OK);
		memcpy(copy, leaf.data, leaf.len);
		copy[leaf.len / 2] ^= 1;
		assert_int_equal(tree_verify_leaf(root, length, i, (struct slice){ copy, leaf.len }, &path, blake2b), CPD_ERR_DAMAGED);
		for (size_t step = 0; step < path.count; step++) {
			other = path;
			other.hashes[step][31] ^= 0x80;
			assert_int_equal(tree_verify_leaf(root, length, i, leaf, &other, blake2b), CPD_ERR_DAMAGED);
		}
		other = path;
		other.count--;
		assert_int_equal(tree_verify_leaf(root, length, i, leaf, &other, blake2b), CPD_ERR_RANGE);
		other.count = path.count + 1;
		assert_int_equal(tree_verify_leaf(root, length, i, leaf, &other, blake2b), CPD_ERR_RANGE);
		other.count = SIZE_MAX;
		assert_int_equal(tree_verify_leaf(root, length, i, leaf, &other, blake2b), CPD_ERR_RANGE);
		for (uint32_t j = 0; j < 14; j++)
			if (j != i)
				assert_int_not_equal(tree_verify_leaf(root, length, j, leaf, &path, blake2b), CPD_OK);
		assert_int_equal(tree_verify_leaf(root, length, i, (struct slice){ leaf.data, leaf.len - 1 }, &path, blake2b), CPD_ERR_RANGE);
	}
	assert_int_equal(tree_verify_leaf(root, 0, 0, leaf_of(body, 0), &(struct tree_path){ 0 }, blake2b), CPD_ERR_RANGE);
	assert_int_equal(tree_verify_leaf(root, UINT32_MAX, 0, leaf_of(body, 0), &(struct tree_path){ 0 }, blake2b), CPD_ERR_RANGE);
	tree_free(tree);
	body_free(body);
}

/* Without the first byte, a leaf that holds two hashes would pass for the node above them. */
static void a_node_does_not_pass_for_a_leaf(void **state)
{
	struct slice body = make_body(2 * LIMIT_LEAF);
	uint8_t root[TREE_HASH_LEN], forged[2 * TREE_HASH_LEN];
	struct tree *tree;
	struct tree_path left, right;

	(void)state;
	assert_int_equal(tree_of_body(body, blake2b, &tree), CPD_OK);
	assert_int_equal(tree_root(tree, root), CPD_OK);
	assert_int_equal(tree_path(tree, 1, &left), CPD_OK);
	assert_int_equal(tree_path(tree, 0, &right), CPD_OK);
	memcpy(forged, left.hashes[0], TREE_HASH_LEN);
	memcpy(forged + TREE_HASH_LEN, right.hashes[0], TREE_HASH_LEN);
	assert_int_equal(tree_verify_leaf(root, sizeof(forged), 0, (struct slice){ forged, sizeof(forged) },
	    &(struct tree_path){ 0 }, blake2b), CPD_ERR_DAMAGED);
	tree_free(tree);
	body_free(body);
}

static void a_repeated_last_leaf_changes_the_root(void **state)
{
	uint8_t *data = calloc(4, LIMIT_LEAF);
	struct tree *three, *four;
	uint8_t root3[TREE_HASH_LEN], root4[TREE_HASH_LEN];

	(void)state;
	assert_non_null(data);
	assert_int_equal(tree_of_body((struct slice){ data, 3 * LIMIT_LEAF }, blake2b, &three), CPD_OK);
	assert_int_equal(tree_of_body((struct slice){ data, 4 * LIMIT_LEAF }, blake2b, &four), CPD_OK);
	assert_int_equal(tree_root(three, root3), CPD_OK);
	assert_int_equal(tree_root(four, root4), CPD_OK);
	assert_memory_not_equal(root3, root4, TREE_HASH_LEN);
	tree_free(three);
	tree_free(four);
	free(data);
}

static void leaves_are_taken_in_order_and_whole(void **state)
{
	struct slice body = make_body(2 * LIMIT_LEAF + 5);
	struct tree *tree;
	struct tree_path path;
	uint8_t root[TREE_HASH_LEN];

	(void)state;
	assert_int_equal(tree_new((uint32_t)body.len, blake2b, &tree), CPD_OK);
	assert_int_equal(tree_add_leaf(tree, leaf_of(body, 2)), CPD_ERR_RANGE);
	assert_int_equal(tree_add_leaf(tree, leaf_of(body, 0)), CPD_OK);
	assert_int_equal(tree_add_leaf(tree, leaf_of(body, 1)), CPD_OK);
	assert_int_equal(tree_root(tree, root), CPD_ERR_STATE);
	assert_int_equal(tree_path(tree, 0, &path), CPD_ERR_STATE);
	assert_int_equal(tree_add_leaf(tree, leaf_of(body, 2)), CPD_OK);
	assert_int_equal(tree_add_leaf(tree, leaf_of(body, 2)), CPD_ERR_STATE);
	assert_int_equal(tree_root(tree, root), CPD_OK);
	assert_int_equal(tree_path(tree, 3, &path), CPD_ERR_RANGE);
	assert_int_equal(path.count, 0);
	tree_free(tree);
	body_free(body);
}

static void the_largest_body_fits_its_bounds_and_no_larger_one_is_taken(void **state)
{
	const uint32_t leaves = (LIMIT_LARGE_BODY + LIMIT_LEAF - 1) / LIMIT_LEAF;
	struct slice body = make_body(LIMIT_LARGE_BODY);
	struct tree *tree;
	struct tree_path path;
	uint8_t root[TREE_HASH_LEN];

	(void)state;
	assert_int_equal(tree_leaf_count(LIMIT_LARGE_BODY), leaves);
	assert_int_equal(tree_leaf_count(LIMIT_LARGE_BODY + 1), 0);
	assert_int_equal(tree_leaf_length(LIMIT_LARGE_BODY, leaves), 0);
	assert_int_equal(tree_of_body(body, blake2b, &tree), CPD_OK);
	assert_int_equal(tree_root(tree, root), CPD_OK);
	for (uint32_t i = 0; i < leaves; i += 37) {
		assert_int_equal(tree_path(tree, i, &path), CPD_OK);
		assert_true(path.count <= LIMIT_TREE_DEPTH);
		assert_int_equal(tree_verify_leaf(root, LIMIT_LARGE_BODY, i, leaf_of(body, i), &path, blake2b), CPD_OK);
	}
	tree_free(tree);
	assert_int_equal(tree_new(0, blake2b, &tree), CPD_ERR_RANGE);
	assert_null(tree);
	assert_int_equal(tree_new(LIMIT_LARGE_BODY + 1, blake2b, &tree), CPD_ERR_TOO_LARGE);
	assert_null(tree);
	assert_int_equal(tree_of_body((struct slice){ body.data, SIZE_MAX }, blake2b, &tree), CPD_ERR_TOO_LARGE);
	body_free(body);
}

static void check_words_are_those_of_the_other_implementation(void **state)
{
	static const struct { struct spoken_call call; uint32_t bits; } vectors[] = {
		{ { 41, 4, 1, "3512JE", "14", NULL }, 659856 },
		{ { 41, 4, 1, " 3512 je ", "1 4", "" }, 659856 },
		{ { 41, 4, 1, NULL, NULL, "achter de kerk te Breukelen" }, 605008 },
		{ { 9999, 7, 0, "3512JE", "14-2 hs", "caf\xc3\x89" }, 31706 },
		{ { 41, 4, 1, "3512JE", "14", "caf\xc3\xa9" }, 633085 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		uint32_t bits;

		assert_int_equal(check_words_bits(&vectors[i].call, blake2b, &bits), CPD_OK);
		assert_int_equal(bits, vectors[i].bits);
		assert_true(bits <= CHECK_WORDS_MAX);
	}
}

static void a_misheard_field_changes_the_check_words(void **state)
{
	const struct spoken_call said = { 41, 4, 1, "3512JE", "14", "achterom" };
	const struct spoken_call heard[] = {
		{ 42, 4, 1, "3512JE", "14", "achterom" }, { 41, 5, 1, "3512JE", "14", "achterom" },
		{ 41, 4, 2, "3512JE", "14", "achterom" }, { 41, 4, 1, "3512JG", "14", "achterom" },
		{ 41, 4, 1, "3512JE", "40", "achterom" }, { 41, 4, 1, "3512JE", "14", "voorom" },
		{ 41, 4, 1, "3512JE", NULL, "14achterom" },
	};
	uint32_t bits, other;

	(void)state;
	assert_int_equal(check_words_bits(&said, blake2b, &bits), CPD_OK);
	for (size_t i = 0; i < sizeof(heard) / sizeof(heard[0]); i++) {
		assert_int_equal(check_words_bits(&heard[i], blake2b, &other), CPD_OK);
		assert_int_not_equal(bits, other);
	}
}

static void check_words_over_endless_text_are_refused(void **state)
{
	char *text = malloc(LIMIT_TEXT + 1);
	struct spoken_call call = { 41, 4, 1, NULL, NULL, text };
	uint32_t bits;

	(void)state;
	assert_non_null(text);
	memset(text, 'a', LIMIT_TEXT);
	text[LIMIT_TEXT] = '\0';
	assert_int_equal(check_words_bits(&call, blake2b, &bits), CPD_ERR_TOO_LARGE);
	assert_int_equal(bits, 0);
	text[LIMIT_TEXT - 8] = '\0'; /* "41|4|1||" and this: one byte too much, with the third bar */
	assert_int_equal(check_words_bits(&call, blake2b, &bits), CPD_ERR_TOO_LARGE);
	text[LIMIT_TEXT - 9] = '\0';
	assert_int_equal(check_words_bits(&call, blake2b, &bits), CPD_OK);
	free(text);
}

static void a_whole_leaf_is_read_as_it_was_written(void **state)
{
	static uint8_t bytes[LIMIT_LEAF], item[LIMIT_ITEM];
	const struct message_id id = { 344003, 1, 7 };
	const struct tree_path path = { .count = 0 };
	struct message_id read_id;
	struct tree_path read_path;
	struct slice leaf;
	uint32_t index;
	size_t len;

	(void)state;
	memset(bytes, 7, sizeof(bytes));
	assert_int_equal(leaf_item_encode(&id, 3, (struct slice){ bytes, sizeof(bytes) }, &path, item, &len), CPD_OK);
	assert_int_equal(leaf_item_decode((struct slice){ item, len }, &read_id, &index, &leaf, &read_path), CPD_OK);
	assert_int_equal(index, 3);
	assert_int_equal(leaf.len, sizeof(bytes));
	assert_memory_equal(leaf.data, bytes, sizeof(bytes));
	assert_memory_equal(&read_id, &id, sizeof(id));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roots_are_those_of_the_other_implementation),
		cmocka_unit_test(every_leaf_of_every_small_tree_is_verified_by_its_path),
		cmocka_unit_test(no_changed_leaf_path_place_or_length_is_verified),
		cmocka_unit_test(a_node_does_not_pass_for_a_leaf),
		cmocka_unit_test(a_repeated_last_leaf_changes_the_root),
		cmocka_unit_test(leaves_are_taken_in_order_and_whole),
		cmocka_unit_test(a_whole_leaf_is_read_as_it_was_written),
		cmocka_unit_test(the_largest_body_fits_its_bounds_and_no_larger_one_is_taken),
		cmocka_unit_test(check_words_are_those_of_the_other_implementation),
		cmocka_unit_test(a_misheard_field_changes_the_check_words),
		cmocka_unit_test(check_words_over_endless_text_are_refused),
	};

	return sodium_init() < 0 ? 1 : RUN_FED_AND_HUNGRY(tests);
}
