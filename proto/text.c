/* text.c: UTF-8 as the Unicode standard's table 3-7 has it, less the control characters. */
#include "proto/text.h"

#include <string.h>

static bool is_continuation(uint8_t byte)
{
	return (byte & 0xc0) == 0x80;
}

/* Length of the character at the head of at[0..left), and its code point; 0: not UTF-8. */
static size_t character_read(const uint8_t *at, size_t left, uint32_t *code)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len;

	if (at[0] < 0x80) {
		*code = at[0];
		return 1;
	}
	if (at[0] < 0xc2 || at[0] > 0xf4)
		return 0;
	len = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
	if (left < len)
		return 0;
	*code = at[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if (!is_continuation(at[i]))
			return 0;
		*code = *code << 6 | (at[i] & 0x3fu);
	}
	if (*code < smallest[len] || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff))
		return 0;
	return len;
}

static bool is_control(uint32_t code, enum text_shape shape)
{
	if (shape == TEXT_LINES && (code == '\n' || code == '\t'))
		return false;
	return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

enum cpd_error text_check(struct slice text, size_t max_bytes, size_t max_characters, enum text_shape shape)
{
	size_t characters = 0, at = 0;

	if (text.len > max_bytes)
		return CPD_ERR_TOO_LARGE;
	while (at < text.len) {
		uint32_t code;
		size_t len = character_read(text.data + at, text.len - at, &code);

		if (!len || is_control(code, shape))
			return CPD_ERR_TEXT;
		at += len;
		characters++;
	}
	return characters > max_characters ? CPD_ERR_TOO_LARGE : CPD_OK;
}

enum cpd_error text_check_string(const char *text, size_t max_bytes, size_t max_characters,
    enum text_shape shape)
{
	struct slice slice = { (const uint8_t *)text, text ? strlen(text) : 0 };

	return text_check(slice, max_bytes, max_characters, shape);
}

size_t text_characters(struct slice text)
{
	size_t characters = 0;

	for (size_t i = 0; i < text.len; i++)
		characters += !is_continuation(text.data[i]);
	return characters;
}
