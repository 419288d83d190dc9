/* anchor.c: the region anchor as text and as file; see identity.h. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crypto/identity.h"
#include "crypto/keyfile.h"
#include "proto/text.h"

#define CHECK_LEN 8

static bool consists_of(const char *text, size_t size, const char *letters)
{
	size_t len = strnlen(text, size);

	return len > 0 && len < size && strspn(text, letters) == len;
}

static bool names_are_good(const struct region_anchor *anchor)
{
	return consists_of(anchor->network, sizeof(anchor->network), "abcdefghijklmnopqrstuvwxyz0123456789-") &&
	    consists_of(anchor->region, sizeof(anchor->region), "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") &&
	    memchr(anchor->name, '\0', sizeof(anchor->name)) != NULL && anchor->name[0] != '\0' &&
	    text_check_string(anchor->name, LIMIT_NAME, LIMIT_NAME, TEXT_ONE_LINE) == CPD_OK;
}

enum cpd_error region_anchor_format(const struct region_anchor *anchor, char out[LIMIT_ANCHOR], size_t *len)
{
	char key[65], check[2 * CHECK_LEN + 1];
	uint8_t hash[32];
	int used;

	*len = 0;
	out[0] = '\0';
	if (!names_are_good(anchor) || crypto_core_ed25519_is_valid_point(anchor->authority_key) != 1)
		return CPD_ERR_RANGE;
	sodium_bin2hex(key, sizeof(key), anchor->authority_key, sizeof(anchor->authority_key));
	used = snprintf(out, LIMIT_ANCHOR, "cpd-region 1\nnetwork %s\nregion %s\nname %s\nauthority-key %s\n",
	    anchor->network, anchor->region, anchor->name, key);
	/* The anchor is carried by hand and typed over: a slip must not become another key. */
	crypto_digest(hash, sizeof(hash), (const uint8_t *)out, (size_t)used);
	sodium_bin2hex(check, sizeof(check), hash, CHECK_LEN);
	*len = (size_t)used + (size_t)snprintf(out + used, LIMIT_ANCHOR - (size_t)used, "check %s\n", check);
	return CPD_OK;
}

/* Takes "label value\n" from the front; value without NUL, shorter than size. */
static bool take_line(struct slice *text, const char *label, char *value, size_t size)
{
	size_t label_len = strlen(label), len;
	const uint8_t *end;

	if (text->len < label_len || memcmp(text->data, label, label_len) != 0)
		return false;
	end = memchr(text->data, '\n', text->len);
	if (end == NULL)
		return false;
	len = (size_t)(end - text->data) - label_len;
	if (len >= size)
		return false;
	memcpy(value, text->data + label_len, len);
	value[len] = '\0';
	text->len -= label_len + len + 1;
	text->data = end + 1;
	return true;
}

enum cpd_error region_anchor_parse(struct slice text, struct region_anchor *out)
{
	struct region_anchor anchor = { .network = "" };
	struct slice rest = text;
	char key[65], again[LIMIT_ANCHOR], none[1];
	size_t len;

	memset(out, 0, sizeof(*out));
	if (!take_line(&rest, "cpd-region 1", none, sizeof(none)) ||
	    !take_line(&rest, "network ", anchor.network, sizeof(anchor.network)) ||
	    !take_line(&rest, "region ", anchor.region, sizeof(anchor.region)) ||
	    !take_line(&rest, "name ", anchor.name, sizeof(anchor.name)) ||
	    !take_line(&rest, "authority-key ", key, sizeof(key)))
		return CPD_ERR_MALFORMED;
	if (sodium_hex2bin(anchor.authority_key, sizeof(anchor.authority_key), key, strlen(key), NULL, &len, NULL) != 0 ||
	    len != sizeof(anchor.authority_key))
		return CPD_ERR_MALFORMED;
	/* Written again it must be the same text: check line, nothing after it, no NUL, no other spelling. */
	if (region_anchor_format(&anchor, again, &len) != CPD_OK || len != text.len || memcmp(again, text.data, len) != 0)
		return CPD_ERR_MALFORMED;
	*out = anchor;
	return CPD_OK;
}

enum cpd_error region_anchor_load(const char *path, struct region_anchor *out)
{
	uint8_t text[LIMIT_ANCHOR];
	size_t len;
	enum cpd_error error = keyfile_read(path, KEYFILE_PUBLIC, text, sizeof(text), &len);

	memset(out, 0, sizeof(*out));
	if (error == CPD_OK)
		error = region_anchor_parse((struct slice){ text, len }, out);
	else if (error == CPD_ERR_TOO_LARGE)
		error = CPD_ERR_MALFORMED;
	if (error == CPD_ERR_MALFORMED)
		keyfile_problem("%s is no whole region anchor, or was changed: copy it again from the region", path);
	return error;
}

enum cpd_error region_anchor_save(const char *path, const struct region_anchor *anchor)
{
	char text[LIMIT_ANCHOR];
	size_t len;
	enum cpd_error error = region_anchor_format(anchor, text, &len);

	if (error != CPD_OK) {
		keyfile_problem("network (a-z, 0-9, '-'), region (A-Z, 0-9), name or key of the region is not allowed");
		return error;
	}
	return keyfile_write(path, KEYFILE_PUBLIC, (const uint8_t *)text, len);
}
