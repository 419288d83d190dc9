/* secret.c: see secret.h. */
#include "crypto/secret.h"

#include <sodium.h>
#include <string.h>

#define KEY_LEN 32
#define HEX_LEN (2 * KEY_LEN)

void *secret_new(size_t len)
{
	return sodium_malloc(len);
}

void secret_free(void *secret)
{
	/* sodium_free makes the pages writable again and wipes them itself. */
	sodium_free(secret);
}

/* Lower case only: one key has one text, so a changed case bit of a damaged disk is seen too. */
static bool hex_to_key(const char text[HEX_LEN], uint8_t key[KEY_LEN])
{
	size_t len;

	for (size_t i = 0; i < HEX_LEN; i++)
		if (text[i] >= 'A' && text[i] <= 'F')
			return false;
	return sodium_hex2bin(key, KEY_LEN, text, HEX_LEN, NULL, &len, NULL) == 0 && len == KEY_LEN;
}

enum cpd_error secret_read(const char *dir, const char *name, enum keyfile_mode mode, uint8_t key[32])
{
	char path[KEYFILE_PATH_MAX], text[HEX_LEN + 1];
	enum cpd_error error = keyfile_path(dir, name, path);
	size_t len;

	if (error == CPD_OK)
		error = keyfile_read(path, mode, (uint8_t *)text, sizeof(text), &len);
	if (error == CPD_ERR_TOO_LARGE ||
	    (error == CPD_OK && (len != sizeof(text) || text[HEX_LEN] != '\n' || !hex_to_key(text, key)))) {
		sodium_memzero(key, KEY_LEN);
		keyfile_problem("%s is damaged (not one line of %d hex digits): put back the copy of this "
		    "folder, or move the folder away and ask for a new certificate", path, HEX_LEN);
		error = CPD_ERR_MALFORMED;
	}
	sodium_memzero(text, sizeof(text));
	return error;
}

enum cpd_error secret_write(const char *dir, const char *name, const uint8_t key[32])
{
	char path[KEYFILE_PATH_MAX], text[HEX_LEN + 1];
	enum cpd_error error = keyfile_path(dir, name, path);

	if (error != CPD_OK)
		return error;
	sodium_bin2hex(text, sizeof(text), key, KEY_LEN);
	text[HEX_LEN] = '\n';
	error = keyfile_write(path, KEYFILE_SECRET, (const uint8_t *)text, sizeof(text));
	sodium_memzero(text, sizeof(text));
	return error;
}
