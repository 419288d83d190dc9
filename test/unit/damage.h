/*
 * damage.h: what every decoder must survive: bytes cut short at every length, and every byte
 * changed. Each try gets the bytes in a block of exactly their length, so that a sanitizer sees the
 * first byte read past them. Included by unit tests only.
 */
#ifndef CPD_TEST_DAMAGE_H
#define CPD_TEST_DAMAGE_H

#include <stdlib.h>
#include <string.h>

#include "proto/types.h"

/* Decodes, looks at the result, frees it; returns the decoder's error. */
typedef enum cpd_error damage_try(struct slice bytes);

static inline enum cpd_error damage_run(const uint8_t *data, size_t len, damage_try *try_bytes)
{
	uint8_t *block = malloc(len ? len : 1);
	enum cpd_error error;

	assert_non_null(block);
	memcpy(block, data, len);
	error = try_bytes((struct slice){ block, len });
	free(block);
	return error;
}

/* How many of the cut forms were taken. */
static inline size_t damage_every_length(struct slice bytes, damage_try *try_bytes)
{
	size_t taken = 0;

	for (size_t len = 0; len < bytes.len; len++)
		taken += damage_run(bytes.data, len, try_bytes) == CPD_OK;
	return taken;
}

/* Every byte among the first `bound` takes some values that differ by a bit, a tag or a length. */
static inline size_t damage_every_byte(struct slice bytes, size_t bound, damage_try *try_bytes)
{
	static const uint8_t changes[] = { 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff, 0x7f };
	uint8_t *copy = malloc(bytes.len);
	size_t taken = 0;

	assert_non_null(copy);
	memcpy(copy, bytes.data, bytes.len);
	for (size_t i = 0; i < bytes.len && i < bound; i++) {
		for (size_t c = 0; c < sizeof(changes); c++) {
			copy[i] = bytes.data[i] ^ changes[c];
			taken += damage_run(copy, bytes.len, try_bytes) == CPD_OK;
		}
		copy[i] = bytes.data[i];
	}
	free(copy);
	return taken;
}

#endif
