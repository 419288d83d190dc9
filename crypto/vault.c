/* vault.c: see vault.h. Files: NUMBER.key, 64 hex digits and a newline; NUMBER.destroyed, empty. */
#include "crypto/vault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/keyfile.h"
#include "crypto/secret.h"

#define VERSION 1
#define NONCE_LEN crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_LEN crypto_aead_xchacha20poly1305_ietf_ABYTES
#define WRAPPED_KEY_LEN (32 + TAG_LEN)
#define HEAD_LEN (2 + 4)
#define CONTENT_AT (HEAD_LEN + NONCE_LEN + WRAPPED_KEY_LEN)
#define KEYS 4           /* in memory: the present period, and one being read or emptied */
#define KEY_FILE_LEN 65
#define NAME_LEN 24

_Static_assert(VAULT_EXTRA == CONTENT_AT + TAG_LEN, "what wrapping adds");

struct held_key { bool is_held; uint32_t period; uint8_t key[32]; };
struct vault {
	char dir[KEYFILE_PATH_MAX - 64];
	struct held_key *keys;   /* KEYS of them, in locked memory */
	size_t next;
};

enum cpd_error vault_open(const char *dir, struct vault **out)
{
	struct vault *vault;
	enum cpd_error error;

	*out = NULL;
	if (strlen(dir) >= sizeof(vault->dir))
		return CPD_ERR_TOO_LARGE;
	error = keyfile_folder(dir);
	if (error)
		return error;
	vault = calloc(1, sizeof(*vault));
	if (vault)
		vault->keys = secret_new(KEYS * sizeof(*vault->keys));
	if (!vault || !vault->keys) {
		free(vault);
		return CPD_ERR_NOMEM;
	}
	memset(vault->keys, 0, KEYS * sizeof(*vault->keys));
	strcpy(vault->dir, dir);
	*out = vault;
	return CPD_OK;
}

void vault_close(struct vault *vault)
{
	if (!vault)
		return;
	secret_free(vault->keys);
	free(vault);
}

/* ---------------------------------------------------------------- the folder */

/* Exactly the names that are written here: no sign, no leading zero. */
static bool name_of(const char *name, const char *end, uint32_t *period)
{
	char text[NAME_LEN];
	char *rest;
	unsigned long number;

	if (name[0] < '0' || name[0] > '9')
		return false;
	errno = 0;
	number = strtoul(name, &rest, 10);
	if (errno || number > UINT32_MAX)
		return false;
	snprintf(text, sizeof(text), "%lu%s", number, end);
	*period = (uint32_t)number;
	return !strcmp(rest, end) && !strcmp(text, name);
}

static bool look(const struct vault *vault, const char *end, uint32_t *lowest, uint32_t *highest)
{
	DIR *folder = opendir(vault->dir);
	struct dirent *entry;
	bool found = false;
	uint32_t period;

	while (folder && (entry = readdir(folder))) {
		if (!name_of(entry->d_name, end, &period))
			continue;
		if (!found || period < *lowest)
			*lowest = period;
		if (!found || period > *highest)
			*highest = period;
		found = true;
	}
	if (folder)
		closedir(folder);
	return found;
}

bool vault_periods(const struct vault *vault, uint32_t *oldest, uint32_t *newest)
{
	return look(vault, ".key", oldest, newest);
}

bool vault_destroyed(const struct vault *vault, uint32_t *period)
{
	uint32_t newest;

	return look(vault, ".destroyed", period, &newest);
}

/* ---------------------------------------------------------------- keys */

static void forget(struct vault *vault, uint32_t period)
{
	for (size_t i = 0; i < KEYS; i++)
		if (vault->keys[i].period == period)
			sodium_memzero(&vault->keys[i], sizeof(vault->keys[i]));
}

/* Borrowed until the next call. NOT_FOUND: there is none. */
static enum cpd_error key_find(struct vault *vault, uint32_t period, const uint8_t **out)
{
	struct held_key *held;
	char name[NAME_LEN];
	uint8_t key[32];
	enum cpd_error error;

	for (size_t i = 0; i < KEYS; i++)
		if (vault->keys[i].is_held && vault->keys[i].period == period) {
			*out = vault->keys[i].key;
			return CPD_OK;
		}
	snprintf(name, sizeof(name), "%u.key", period);
	error = secret_read(vault->dir, name, KEYFILE_SECRET, key);
	if (error)
		return error;
	held = &vault->keys[vault->next++ % KEYS];
	held->is_held = true;
	held->period = period;
	memcpy(held->key, key, sizeof(key));
	sodium_memzero(key, sizeof(key));
	*out = held->key;
	return CPD_OK;
}

static enum cpd_error key_make(struct vault *vault, uint32_t period, const uint8_t **out)
{
	char name[NAME_LEN];
	uint8_t key[32];
	enum cpd_error error;

	randombytes_buf(key, sizeof(key));
	snprintf(name, sizeof(name), "%u.key", period);
	error = secret_write(vault->dir, name, key);
	sodium_memzero(key, sizeof(key));
	return error ? error : key_find(vault, period, out);
}

enum cpd_error vault_prepare(struct vault *vault, uint32_t period)
{
	const uint8_t *key;
	enum cpd_error error = key_find(vault, period, &key);

	return error == CPD_ERR_NOT_FOUND ? key_make(vault, period, &key) : error;
}

/* ---------------------------------------------------------------- wrapping */

static enum cpd_error bound_make(const uint8_t *head, struct slice place, uint8_t *bound, size_t *len)
{
	static const char purpose[] = "cpd/1/record";

	if (place.len > LIMIT_VAULT_PLACE)
		return CPD_ERR_TOO_LARGE;
	memcpy(bound, purpose, sizeof(purpose));
	memcpy(bound + sizeof(purpose), head, HEAD_LEN);
	memcpy(bound + sizeof(purpose) + HEAD_LEN, place.data, place.len);
	*len = sizeof(purpose) + HEAD_LEN + place.len;
	return CPD_OK;
}

enum cpd_error vault_wrap(struct vault *vault, uint32_t period, struct slice place, struct slice content, uint8_t **out, size_t *len)
{
	/* Each record has a key of its own, used once. */
	static const uint8_t zeros[NONCE_LEN];
	uint8_t bound[16 + HEAD_LEN + LIMIT_VAULT_PLACE], record_key[32], *bytes;
	const uint8_t *key;
	uint32_t oldest, newest;
	size_t bound_len;
	enum cpd_error error = vault_prepare(vault, period);

	*out = NULL;
	*len = 0;
	if (error && vault_periods(vault, &oldest, &newest)) {
		period = newest;
		error = CPD_OK;
	}
	if (!error)
		error = key_find(vault, period, &key);
	if (error)
		return error;
	bytes = malloc(VAULT_EXTRA + content.len);
	if (!bytes)
		return CPD_ERR_NOMEM;
	bytes[0] = 0;
	bytes[1] = VERSION;
	for (int i = 0; i < 4; i++)
		bytes[2 + i] = (uint8_t)(period >> (24 - 8 * i));
	error = bound_make(bytes, place, bound, &bound_len);
	if (error) {
		free(bytes);
		return error;
	}
	randombytes_buf(bytes + HEAD_LEN, NONCE_LEN);
	randombytes_buf(record_key, sizeof(record_key));
	crypto_aead_xchacha20poly1305_ietf_encrypt(bytes + HEAD_LEN + NONCE_LEN, NULL, record_key, sizeof(record_key), bound, bound_len, NULL, bytes + HEAD_LEN, key);
	crypto_aead_xchacha20poly1305_ietf_encrypt(bytes + CONTENT_AT, NULL, content.data, content.len, bound, bound_len, NULL, zeros, record_key);
	sodium_memzero(record_key, sizeof(record_key));
	*out = bytes;
	*len = VAULT_EXTRA + content.len;
	return CPD_OK;
}

bool vault_is_wrapped(struct slice bytes)
{
	return bytes.len >= VAULT_EXTRA && bytes.data[0] == 0;
}

uint32_t vault_period_of(struct slice wrapped)
{
	uint32_t period = 0;

	for (int i = 0; i < 4; i++)
		period = period << 8 | wrapped.data[2 + i];
	return period;
}

enum cpd_error vault_unwrap(struct vault *vault, struct slice place, struct slice wrapped, uint8_t **out, size_t *len)
{
	static const uint8_t zeros[NONCE_LEN];
	uint8_t bound[16 + HEAD_LEN + LIMIT_VAULT_PLACE], record_key[32], *content;
	const uint8_t *key;
	size_t bound_len;
	enum cpd_error error;

	*out = NULL;
	*len = 0;
	if (!vault_is_wrapped(wrapped) || wrapped.data[1] != VERSION)
		return CPD_ERR_DAMAGED;
	error = bound_make(wrapped.data, place, bound, &bound_len);
	if (!error)
		error = key_find(vault, vault_period_of(wrapped), &key);
	if (error)
		return error;
	content = malloc(wrapped.len - VAULT_EXTRA + 1);
	if (!content)
		return CPD_ERR_NOMEM;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(record_key, NULL, NULL, wrapped.data + HEAD_LEN + NONCE_LEN, WRAPPED_KEY_LEN, bound, bound_len,
	    wrapped.data + HEAD_LEN, key) ||
	    crypto_aead_xchacha20poly1305_ietf_decrypt(content, NULL, NULL, wrapped.data + CONTENT_AT, wrapped.len - CONTENT_AT, bound, bound_len, zeros, record_key)) {
		free(content);
		return CPD_ERR_DAMAGED;
	}
	sodium_memzero(record_key, sizeof(record_key));
	*out = content;
	*len = wrapped.len - VAULT_EXTRA;
	return CPD_OK;
}

/* ---------------------------------------------------------------- destroying */

/* In place, before the name goes: what a file system keeps of a deleted file has nothing in it then. */
static enum cpd_error overwrite(const char *path)
{
	static const char zeros[KEY_FILE_LEN];
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	bool good;

	if (fd < 0)
		return errno == ENOENT ? CPD_ERR_NOT_FOUND : CPD_ERR_IO;
	good = pwrite(fd, zeros, sizeof(zeros), 0) == (ssize_t)sizeof(zeros) && !fsync(fd) && !ftruncate(fd, 0) && !fsync(fd);
	return close(fd) || !good ? CPD_ERR_IO : CPD_OK;
}

enum cpd_error vault_destroy(struct vault *vault, uint32_t period)
{
	char from[KEYFILE_PATH_MAX], to[KEYFILE_PATH_MAX];
	enum cpd_error error;

	snprintf(from, sizeof(from), "%s/%u.key", vault->dir, period);
	snprintf(to, sizeof(to), "%s/%u.destroyed", vault->dir, period);
	forget(vault, period);
	error = overwrite(from);
	if (!error && rename(from, to))
		error = CPD_ERR_IO;
	return error ? error : keyfile_sync_folder(vault->dir);
}

enum cpd_error vault_told(struct vault *vault, uint32_t period)
{
	char path[KEYFILE_PATH_MAX];

	snprintf(path, sizeof(path), "%s/%u.destroyed", vault->dir, period);
	return unlink(path) && errno != ENOENT ? CPD_ERR_IO : keyfile_sync_folder(vault->dir);
}
