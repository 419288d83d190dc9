/*
 * persons.h: persons with keys of their own, who release messages: made of a letter, so that each is always the same.
 */
#ifndef CPD_TEST_PERSONS_H
#define CPD_TEST_PERSONS_H

#include <sodium.h>

#include "crypto/verify.h"

struct person { uint8_t public_key[32], secret_key[64]; };

static inline struct person person_of(char letter)
{
	uint8_t seed[32];
	struct person person;

	memset(seed, letter, sizeof(seed));
	crypto_sign_seed_keypair(person.public_key, person.secret_key, seed);
	return person;
}

/* The region's word on a function; applied as the next update. */
static inline void person_certify(struct directory *directory, const struct function_certificate *function)
{
	struct function_certificate copy = *function;
	struct directory_update update = { .number = directory_version(directory) + 1, .created_s = 1000, .functions = &copy, .function_count = 1 };

	assert_int_equal(directory_apply(directory, &update), CPD_OK);
}

static inline struct function_certificate function_of(uint32_t number, uint32_t node, char letter)
{
	struct function_certificate function = { .number = number, .node = node, .function = "informatiemanager" };

	memcpy(function.signing_key, person_of(letter).public_key, 32);
	return function;
}

static inline struct message_release release_by(uint32_t number, char letter, struct slice content)
{
	static uint8_t over[LIMIT_SIGN_OVER];
	struct message_release release = { .function = number };
	struct person person = person_of(letter);
	size_t len;

	assert_int_equal(sign_over(SIGN_MESSAGE, "nl", content, over, &len), CPD_OK);
	crypto_sign_detached(release.bytes, NULL, over, len, person.secret_key);
	return release;
}

#endif
