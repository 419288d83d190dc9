/* authority.c: the region's own signing key; see identity.h. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/keyfile.h"
#include "crypto/passphrase.h"
#include "crypto/secret.h"

struct authority_secrets {
	uint8_t seed[32];
	uint8_t signing[64];
};

struct authority {
	struct region_anchor anchor;
	struct authority_secrets *secrets;
};

static struct authority *authority_new(void)
{
	struct authority *authority = calloc(1, sizeof(*authority));

	if (authority == NULL)
		return NULL;
	authority->secrets = secret_new(sizeof(*authority->secrets));
	if (authority->secrets == NULL) {
		free(authority);
		return NULL;
	}
	return authority;
}

void authority_free(struct authority *authority)
{
	if (authority == NULL)
		return;
	secret_free(authority->secrets);
	free(authority);
}

static void derive_keys(struct authority *authority, uint8_t public_key[32])
{
	crypto_sign_seed_keypair(public_key, authority->secrets->signing, authority->secrets->seed);
	sodium_mprotect_readonly(authority->secrets);
}

/* The key last: from then on there is an authority. */
static enum cpd_error write_new(const char *dir, const struct authority *authority, struct slice passphrase)
{
	char key_path[KEYFILE_PATH_MAX], anchor_path[KEYFILE_PATH_MAX];
	enum cpd_error error;

	if ((error = keyfile_path(dir, "authority.key", key_path)) != CPD_OK)
		return error;
	if ((error = keyfile_path(dir, "region.pub", anchor_path)) != CPD_OK)
		return error;
	if (keyfile_exists(key_path)) {
		keyfile_problem("%s exists: this region has an authority; a new key would cut off every node", key_path);
		return CPD_ERR_EXISTS;
	}
	if ((error = region_anchor_save(anchor_path, &authority->anchor)) != CPD_OK)
		return error;
	if (passphrase.len)
		return sealed_key_write(key_path, passphrase, authority->secrets->seed);
	return secret_write(dir, "authority.key", authority->secrets->seed);
}

enum cpd_error authority_create(const char *dir, const struct region_anchor *names, struct slice passphrase, struct authority **out)
{
	struct authority *authority;
	enum cpd_error error;
	int lock;

	*out = NULL;
	if ((error = keyfile_folder(dir)) != CPD_OK)
		return error;
	if ((error = keyfile_lock(dir, &lock)) != CPD_OK)
		return error;
	authority = authority_new();
	if (authority == NULL) {
		error = CPD_ERR_NOMEM;
		goto out;
	}
	authority->anchor = *names;
	crypto_random(authority->secrets->seed, sizeof(authority->secrets->seed));
	derive_keys(authority, authority->anchor.authority_key);
	if ((error = write_new(dir, authority, passphrase)) != CPD_OK)
		goto out;
	*out = authority;
	authority = NULL;
out:
	authority_free(authority);
	keyfile_unlock(lock);
	return error;
}

bool authority_is_sealed(const char *dir)
{
	char path[KEYFILE_PATH_MAX];

	return !keyfile_path(dir, "authority.key", path) && sealed_key_is(path);
}

static enum cpd_error read_authority(const char *dir, struct slice passphrase, struct authority *authority)
{
	char path[KEYFILE_PATH_MAX];
	uint8_t public_key[32];
	enum cpd_error error;

	if ((error = keyfile_folder_check(dir)) != CPD_OK)
		return error;
	if ((error = keyfile_path(dir, "authority.key", path)) != CPD_OK)
		return error;
	error = sealed_key_is(path) ? sealed_key_read(path, passphrase, authority->secrets->seed) : secret_read(dir, "authority.key", KEYFILE_SECRET, authority->secrets->seed);
	if (error != CPD_OK)
		return error;
	derive_keys(authority, public_key);
	if ((error = keyfile_path(dir, "region.pub", path)) != CPD_OK)
		return error;
	if ((error = region_anchor_load(path, &authority->anchor)) != CPD_OK)
		return error;
	if (memcmp(public_key, authority->anchor.authority_key, sizeof(public_key)) != 0) {
		keyfile_problem("%s is not of the authority.key beside it: put back the copy of this folder", path);
		return CPD_ERR_MALFORMED;
	}
	return CPD_OK;
}

enum cpd_error authority_load(const char *dir, struct slice passphrase, struct authority **out)
{
	struct authority *authority = authority_new();
	enum cpd_error error;

	*out = NULL;
	if (authority == NULL)
		return CPD_ERR_NOMEM;
	error = read_authority(dir, passphrase, authority);
	if (error != CPD_OK) {
		authority_free(authority);
		return error;
	}
	*out = authority;
	return CPD_OK;
}

enum cpd_error authority_seal(const char *dir, const struct authority *authority, struct slice passphrase)
{
	char path[KEYFILE_PATH_MAX];
	enum cpd_error error = keyfile_path(dir, "authority.key", path);

	return error ? error : sealed_key_write(path, passphrase, authority->secrets->seed);
}

const struct region_anchor *authority_anchor(const struct authority *authority)
{
	return &authority->anchor;
}

const uint8_t *authority_signing_secret(const struct authority *authority)
{
	return authority->secrets->signing;
}
