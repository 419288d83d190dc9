/*
 * checkwords.c: see checkwords.h.
 */
#include "proto/checkwords.h"

#include <stdio.h>

/* Appends a bar and the normalised field; false when it does not fit. Not toupper(): that asks the
 * locale, and both sides must get the same bytes. */
static bool append_field(char *text, size_t size, size_t *used, const char *field)
{
	if (*used == size)
		return false;
	text[(*used)++] = '|';
	for (; field && *field != '\0'; field++) {
		char c = *field;

		if (c == ' ')
			continue;
		if (*used == size)
			return false;
		text[(*used)++] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
	}
	return true;
}

enum cpd_error check_words_bits(const struct spoken_call *call, tree_hash *hash, uint32_t *bits)
{
	char text[LIMIT_TEXT];
	uint8_t digest[TREE_HASH_LEN];
	size_t used;

	*bits = 0;
	used = (size_t)snprintf(text, sizeof(text), "%u|%u|%u", (unsigned)call->number, (unsigned)call->services,
	    (unsigned)call->nature);
	if (!append_field(text, sizeof(text), &used, call->postcode) ||
	    !append_field(text, sizeof(text), &used, call->house_number) ||
	    !append_field(text, sizeof(text), &used, call->location))
		return CPD_ERR_TOO_LARGE;
	hash(digest, sizeof(digest), (const uint8_t *)text, used);
	*bits = (uint32_t)digest[0] << 12 | (uint32_t)digest[1] << 4 | (uint32_t)digest[2] >> 4;
	return CPD_OK;
}
