/* test_wycheproof.c: crypto/verify.h verify_raw agrees with every Ed25519 case of Project Wycheproof. */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_wycheproof_case_has_the_expected_result),
	};

	if (crypto_start() != CPD_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
