/*
 * test_wycheproof.c: crypto/verify.h verify_raw agrees with every Ed25519 case of Project Wycheproof, and
 * refuses what a lenient verifier takes: added multiples of L, small order, other encodings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>
#include <sodium.h>

#include "crypto/verify.h"

#define MESSAGE_MAX 4096
#define CASES_EXPECTED 140 /* the file of 2023 has 150, later ones more: fewer means it was not read */

/* Returns false when the text is no hex or does not fit: then the case tests nothing and that is a failure. */
static bool unhex(const char *text, uint8_t *out, size_t size, size_t *len)
{
	return sodium_hex2bin(out, size, text, strlen(text), NULL, len, NULL) == 0;
}

/* A signature of another length than 64 cannot be handed to verify_raw: the decoders refuse it before. */
static bool is_accepted(const uint8_t key[32], const char *message_hex, const char *signature_hex)
{
	uint8_t message[MESSAGE_MAX], signature[256];
	size_t message_len, signature_len;

	assert_true(unhex(message_hex, message, sizeof(message), &message_len));
	assert_true(unhex(signature_hex, signature, sizeof(signature), &signature_len));
	if (signature_len != 64)
		return false;
	return verify_raw(key, (struct slice){ message, message_len }, signature);
}

static size_t check_group(const json_t *group, size_t *disagreed)
{
	const char *key_hex = json_string_value(json_object_get(json_object_get(group, "publicKey"), "pk"));
	const json_t *test;
	uint8_t key[32];
	size_t index, len;

	assert_non_null(key_hex);
	assert_true(unhex(key_hex, key, sizeof(key), &len));
	assert_int_equal(len, sizeof(key));
	json_array_foreach(json_object_get(group, "tests"), index, test) {
		const char *result = json_string_value(json_object_get(test, "result"));
		const char *message = json_string_value(json_object_get(test, "msg"));
		const char *signature = json_string_value(json_object_get(test, "sig"));

		assert_true(result != NULL && message != NULL && signature != NULL);
		if (is_accepted(key, message, signature) == (strcmp(result, "valid") == 0))
			continue;
		print_error("case %lld disagrees: expected %s\n",
		    (long long)json_integer_value(json_object_get(test, "tcId")), result);
		(*disagreed)++;
	}
	return index;
}

static void every_wycheproof_case_has_the_expected_result(void **state)
{
	const char *data = getenv("CPD_TEST_DATA");
	char path[1024];
	json_error_t problem;
	json_t *file;
	const json_t *group;
	size_t index, count = 0, disagreed = 0;

	(void)state;
	if (data == NULL) {
		print_message("skipped: CPD_TEST_DATA does not name the folder that holds wycheproof/ed25519_test.json\n");
		skip();
	}
	snprintf(path, sizeof(path), "%s/wycheproof/ed25519_test.json", data);
	file = json_load_file(path, 0, &problem);
	if (file == NULL)
		fail_msg("%s: line %d: %s", path, problem.line, problem.text);
	json_array_foreach(json_object_get(file, "testGroups"), index, group)
		count += check_group(group, &disagreed);
	assert_int_equal(count, json_integer_value(json_object_get(file, "numberOfTests")));
	assert_true(count >= CASES_EXPECTED);
	assert_int_equal(disagreed, 0);
	json_decref(file);
}

/* ---------------------------------------------------------------- tests of our own */

/* S + L for every S: the same equation, other bytes; two envelopes for one message if it passed. */
static void a_signature_with_l_added_is_refused(void **state)
{
	static const uint8_t order[32] = { 0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2,
		0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10 };
	struct slice bytes = { (const uint8_t *)"malleable", 9 };
	uint8_t public_key[32], secret[64], signature[64];

	(void)state;
	for (uint8_t turn = 0; turn < 16; turn++) {
		uint8_t seed[32] = { turn };

		crypto_sign_seed_keypair(public_key, secret, seed);
		crypto_sign_detached(signature, NULL, bytes.data, bytes.len, secret);
		assert_true(verify_raw(public_key, bytes, signature));
		/* Up to 2^256: L fits fifteen times. */
		for (unsigned times = 1; times <= 14; times++) {
			sodium_add(signature + 32, order, 32);
			assert_false(verify_raw(public_key, bytes, signature));
		}
	}
}

/* The eight points of small order and their other encodings. With such a key, S = 0 and a fitting R,
 * one signature stands under every message, or under one in eight. */
static const char *const small_order[] = {
	"0100000000000000000000000000000000000000000000000000000000000000", /* 1 */
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* 2 */
	"0000000000000000000000000000000000000000000000000000000000000000", /* 4 */
	"0000000000000000000000000000000000000000000000000000000000000080", /* 4 */
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", /* 8 */
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85", /* 8 */
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", /* 8 */
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa", /* 8 */
	"0100000000000000000000000000000000000000000000000000000000000080", /* 1, -0 */
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", /* 2, -0 */
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* 1, y + p */
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", /* 1, y + p, -0 */
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* 4, y + p */
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", /* 4, y + p */
};
#define SMALL_COUNT (sizeof(small_order) / sizeof(small_order[0]))

static void small_order_keys_sign_nothing(void **state)
{
	uint8_t key[32], signature[64] = { 0 };
	size_t len;

	(void)state;
	for (size_t k = 0; k < SMALL_COUNT; k++) {
		assert_true(unhex(small_order[k], key, sizeof(key), &len));
		for (size_t r = 0; r < SMALL_COUNT; r++) {
			assert_true(unhex(small_order[r], signature, 32, &len));
			/* 64 messages: an equation that holds for one in eight is met by chance (1 in 5,000 misses). */
			for (uint8_t message = 0; message < 64; message++)
				assert_false(verify_raw(key, (struct slice){ &message, 1 }, signature));
		}
	}
}

/* h * secret for the signature (R, S) over one message, as Ed25519 defines h. */
static void answer(uint8_t s[32], const uint8_t r[32], const uint8_t key[32], const uint8_t scalar[32], struct slice bytes)
{
	uint8_t input[64 + 16], hash[64], h[32];

	memcpy(input, r, 32);
	memcpy(input + 32, key, 32);
	memcpy(input + 64, bytes.data, bytes.len);
	crypto_hash_sha512(hash, input, 64 + bytes.len);
	crypto_core_ed25519_scalar_reduce(h, hash);
	crypto_core_ed25519_scalar_mul(s, h, scalar);
}

/* A good key whose owner makes R the neutral point (r = 0): S = h * secret fits the equation, so only the
 * check on R refuses it; and the same R in its non-canonical encodings. */
static void small_order_and_non_canonical_r_are_refused(void **state)
{
	struct slice bytes = { (const uint8_t *)"small r", 7 };
	uint8_t seed[32] = { 5 }, hash[64], scalar[32], key[32], secret[64], signature[64];
	size_t len;

	(void)state;
	crypto_sign_seed_keypair(key, secret, seed);
	crypto_hash_sha512(hash, seed, 32);
	memcpy(scalar, hash, 32);
	scalar[0] &= 248;
	scalar[31] = (uint8_t)((scalar[31] & 127) | 64);
	memset(hash, 0, sizeof(hash));
	memcpy(hash, scalar, 32);
	crypto_core_ed25519_scalar_reduce(scalar, hash);
	for (size_t r = 0; r < SMALL_COUNT; r++) {
		assert_true(unhex(small_order[r], signature, 32, &len));
		answer(signature + 32, signature, key, scalar, bytes);
		assert_false(verify_raw(key, bytes, signature));
	}
	/* The proof that `answer` is right, or the above would pass for nothing: with R = S0 * B it is a signature. */
	{
		uint8_t nonce[32] = { 9 }, s[32];

		assert_int_equal(crypto_scalarmult_ed25519_base_noclamp(signature, nonce), 0);
		answer(s, signature, key, scalar, bytes);
		crypto_core_ed25519_scalar_add(signature + 32, s, nonce);
		assert_true(verify_raw(key, bytes, signature));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_wycheproof_case_has_the_expected_result),
		cmocka_unit_test(a_signature_with_l_added_is_refused),
		cmocka_unit_test(small_order_keys_sign_nothing),
		cmocka_unit_test(small_order_and_non_canonical_r_are_refused),
	};

	if (crypto_start() != CPD_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
