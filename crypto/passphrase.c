/* passphrase.c: see passphrase.h. */
#include "crypto/passphrase.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "crypto/keyfile.h"
#include "crypto/secret.h"

#define KEY_LEN 32
#define SALT_LEN crypto_pwhash_argon2id_SALTBYTES
#define NONCE_LEN crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define BOX_LEN (KEY_LEN + crypto_aead_xchacha20poly1305_ietf_ABYTES)
#define OPS_MAX 16u
#define MEM_MIN crypto_pwhash_argon2id_MEMLIMIT_MIN
#define MEM_MAX (1024u * 1024u * 1024u)

struct sealed { unsigned ops, mem; uint8_t salt[SALT_LEN], nonce[NONCE_LEN], box[BOX_LEN]; };

static int format_head(const struct sealed *sealed, char out[SEALED_KEY_MAX])
{
	return snprintf(out, SEALED_KEY_MAX, "cpd-sealed-key 1 argon2id %u %u\n", sealed->ops, sealed->mem);
}

static size_t format(const struct sealed *sealed, char out[SEALED_KEY_MAX])
{
	size_t at = (size_t)format_head(sealed, out);
	const struct { const uint8_t *bytes; size_t len; char end; } parts[] = {
		{ sealed->salt, SALT_LEN, ' ' }, { sealed->nonce, NONCE_LEN, ' ' }, { sealed->box, BOX_LEN, '\n' } };

	for (size_t i = 0; i < 3; i++) {
		sodium_bin2hex(out + at, 2 * parts[i].len + 1, parts[i].bytes, parts[i].len);
		at += 2 * parts[i].len;
		out[at++] = parts[i].end;
	}
	return at;
}

static bool parse_hex(const char **at, const char *end, uint8_t *out, size_t len)
{
	size_t got;

	if ((size_t)(end - *at) < 2 * len + 1 || sodium_hex2bin(out, len, *at, 2 * len, NULL, &got, NULL) || got != len)
		return false;
	*at += 2 * len + 1;
	return true;
}

/* Only the very text that format() writes. */
static bool parse(const char *text, size_t len, struct sealed *out)
{
	char again[SEALED_KEY_MAX], head[SEALED_KEY_MAX];
	const char *at, *end = text + len;
	int head_len;

	if (len >= SEALED_KEY_MAX || memchr(text, 0, len))
		return false;
	memcpy(head, text, len);
	head[len] = 0;
	if (sscanf(head, "cpd-sealed-key 1 argon2id %9u %10u", &out->ops, &out->mem) != 2)
		return false;
	head_len = format_head(out, again);
	if ((size_t)head_len > len || memcmp(again, text, (size_t)head_len))
		return false;
	at = text + head_len;
	return parse_hex(&at, end, out->salt, SALT_LEN) && parse_hex(&at, end, out->nonce, NONCE_LEN) && parse_hex(&at, end, out->box, BOX_LEN) &&
	    format(out, again) == len && !memcmp(again, text, len) && out->ops && out->ops <= OPS_MAX && out->mem >= MEM_MIN && out->mem <= MEM_MAX;
}

/* In locked memory, to be freed with secret_free. NULL: no memory for what it takes. */
static uint8_t *stretch(const struct sealed *sealed, struct slice passphrase)
{
	uint8_t *key = secret_new(KEY_LEN);
	/* an empty one may be NULL, which libsodium's declaration forbids */
	const char *text = passphrase.len ? (const char *)passphrase.data : "";

	if (key && crypto_pwhash_argon2id(key, KEY_LEN, text, passphrase.len, sealed->salt, sealed->ops, sealed->mem,
	    crypto_pwhash_argon2id_ALG_ARGON2ID13)) {
		secret_free(key);
		key = NULL;
	}
	return key;
}

enum cpd_error sealed_key_write(const char *path, struct slice passphrase, const uint8_t key[32])
{
	struct sealed sealed = { .ops = crypto_pwhash_argon2id_OPSLIMIT_MODERATE, .mem = crypto_pwhash_argon2id_MEMLIMIT_MODERATE };
	char text[SEALED_KEY_MAX];
	uint8_t *stretched;

	if (!passphrase.len)
		return CPD_ERR_RANGE;
	randombytes_buf(sealed.salt, SALT_LEN);
	randombytes_buf(sealed.nonce, NONCE_LEN);
	stretched = stretch(&sealed, passphrase);
	if (!stretched)
		return CPD_ERR_NOMEM;
	crypto_aead_xchacha20poly1305_ietf_encrypt(sealed.box, NULL, key, KEY_LEN, (const uint8_t *)text, (unsigned long long)format_head(&sealed, text),
	    NULL, sealed.nonce, stretched);
	secret_free(stretched);
	return keyfile_write(path, KEYFILE_SECRET, (const uint8_t *)text, format(&sealed, text));
}

bool sealed_key_is(const char *path)
{
	static const char head[] = "cpd-sealed-key";
	char text[SEALED_KEY_MAX] = "";
	size_t len;

	return !keyfile_read(path, KEYFILE_SECRET, (uint8_t *)text, sizeof(text), &len) && len >= sizeof(head) - 1 && !memcmp(text, head, sizeof(head) - 1);
}

enum cpd_error sealed_key_read(const char *path, struct slice passphrase, uint8_t key[32])
{
	struct sealed sealed;
	char text[SEALED_KEY_MAX], head[SEALED_KEY_MAX];
	uint8_t *stretched;
	size_t len;
	enum cpd_error error = keyfile_read(path, KEYFILE_SECRET, (uint8_t *)text, sizeof(text), &len);

	sodium_memzero(key, KEY_LEN);
	if (error == CPD_ERR_TOO_LARGE || (!error && !parse(text, len, &sealed))) {
		keyfile_problem("%s is damaged, or of a later version: put back the copy of this folder", path);
		return CPD_ERR_MALFORMED;
	}
	if (error)
		return error;
	stretched = stretch(&sealed, passphrase);
	if (!stretched) {
		keyfile_problem("%s takes %u MiB of memory to open, which are not there: close other programs", path, sealed.mem >> 20);
		return CPD_ERR_NOMEM;
	}
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(key, NULL, NULL, sealed.box, BOX_LEN, (const uint8_t *)head,
	    (unsigned long long)format_head(&sealed, head), sealed.nonce, stretched)) {
		sodium_memzero(key, KEY_LEN);
		keyfile_problem("%s does not open with this passphrase: look at capitals and blanks, and type it again", path);
		error = CPD_ERR_BAD_SIGNATURE;
	}
	secret_free(stretched);
	return error;
}
