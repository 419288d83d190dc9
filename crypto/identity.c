/* identity.c: see identity.h. */
#include "crypto/identity.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "crypto/keyfile.h"
#include "crypto/secret.h"

/* All secrets of a node in one guarded block: sodium_malloc takes four pages each time. Only bytes:
 * its end, not its start, is what sodium_malloc aligns. */
struct secrets {
	uint8_t signing_seed[32];
	uint8_t signing[64];
	uint8_t sealing[32];
	uint8_t transport[32];
};

struct identity {
	char dir[KEYFILE_PATH_MAX];
	uint32_t node, key_number, epoch;
	bool is_installed;
	struct region_anchor anchor;
	struct secrets *secrets; /* read-only once the keys are derived */
	uint8_t signing_public[32], sealing_public[32], transport_public[32];
};

static enum cpd_error identity_new(const char *dir, struct identity **out)
{
	struct identity *identity;

	*out = NULL;
	if (strlen(dir) >= sizeof(identity->dir))
		return CPD_ERR_TOO_LARGE;
	identity = calloc(1, sizeof(*identity));
	if (identity == NULL)
		return CPD_ERR_NOMEM;
	identity->secrets = secret_new(sizeof(*identity->secrets));
	if (identity->secrets == NULL) {
		free(identity);
		return CPD_ERR_NOMEM;
	}
	memcpy(identity->dir, dir, strlen(dir) + 1);
	identity->key_number = 1;
	*out = identity;
	return CPD_OK;
}

void identity_free(struct identity *identity)
{
	if (identity == NULL)
		return;
	secret_free(identity->secrets);
	free(identity);
}

/* From the three stored secrets: the Ed25519 pair and the public halves. */
static void derive_keys(struct identity *identity)
{
	struct secrets *secrets = identity->secrets;

	crypto_sign_seed_keypair(identity->signing_public, secrets->signing, secrets->signing_seed);
	crypto_scalarmult_base(identity->sealing_public, secrets->sealing);
	crypto_scalarmult_base(identity->transport_public, secrets->transport);
	sodium_mprotect_readonly(secrets);
}

/* ---------------------------------------------------------------- number files */

/* Reads exactly "a\n" or "a b\n" as printed below: parsed, printed again and compared, so that no
 * sign, blank or leading zero passes. */
static enum cpd_error read_numbers(const char *dir, const char *name, uint32_t *first, uint32_t *second)
{
	char path[KEYFILE_PATH_MAX], text[32], again[32];
	enum cpd_error error = keyfile_path(dir, name, path);
	uint32_t a = 0, b = 0;
	size_t len;

	if (error == CPD_OK)
		error = keyfile_read(path, KEYFILE_PUBLIC, (uint8_t *)text, sizeof(text) - 1, &len);
	if (error != CPD_OK && error != CPD_ERR_TOO_LARGE)
		return error;
	if (error == CPD_OK) {
		text[len] = '\0';
		if (second == NULL && sscanf(text, "%10" SCNu32, &a) == 1)
			snprintf(again, sizeof(again), "%" PRIu32 "\n", a);
		else if (second != NULL && sscanf(text, "%10" SCNu32 " %10" SCNu32, &a, &b) == 2)
			snprintf(again, sizeof(again), "%" PRIu32 " %" PRIu32 "\n", a, b);
		else
			again[0] = '\0';
		if (again[0] != '\0' && strlen(text) == len && strcmp(text, again) == 0) {
			*first = a;
			if (second != NULL)
				*second = b;
			return CPD_OK;
		}
	}
	keyfile_problem("%s is damaged (it must hold %s): put back the copy of this folder",
	    path, second == NULL ? "one number" : "node number and key number");
	return CPD_ERR_MALFORMED;
}

static enum cpd_error write_numbers(const char *dir, const char *name, uint32_t first, const uint32_t *second)
{
	char path[KEYFILE_PATH_MAX], text[32];
	enum cpd_error error = keyfile_path(dir, name, path);
	int len;

	if (error != CPD_OK)
		return error;
	len = second == NULL ? snprintf(text, sizeof(text), "%" PRIu32 "\n", first)
	    : snprintf(text, sizeof(text), "%" PRIu32 " %" PRIu32 "\n", first, *second);
	return keyfile_write(path, KEYFILE_SECRET, (const uint8_t *)text, (size_t)len);
}

/* ---------------------------------------------------------------- create */

static enum cpd_error write_new(const struct identity *identity)
{
	const struct secrets *secrets = identity->secrets;
	const char *dir = identity->dir;
	enum cpd_error error;

	if ((error = secret_write(dir, "sealing.key", secrets->sealing)) != CPD_OK)
		return error;
	if ((error = secret_write(dir, "transport.key", secrets->transport)) != CPD_OK)
		return error;
	if ((error = write_numbers(dir, "epoch", identity->epoch, NULL)) != CPD_OK)
		return error;
	if ((error = write_numbers(dir, "node", identity->node, &identity->key_number)) != CPD_OK)
		return error;
	/* Last: from here on there is an identity. */
	return secret_write(dir, "signing.key", secrets->signing_seed);
}

static enum cpd_error refuse_existing(const char *dir)
{
	char path[KEYFILE_PATH_MAX];
	enum cpd_error error = keyfile_path(dir, "signing.key", path);

	if (error != CPD_OK)
		return error;
	if (!keyfile_exists(path))
		return CPD_OK;
	keyfile_problem("%s exists: this node has keys already; move the folder away to begin anew", path);
	return CPD_ERR_EXISTS;
}

static void make_keys(struct identity *identity)
{
	crypto_random(identity->secrets->signing_seed, sizeof(identity->secrets->signing_seed));
	crypto_random(identity->secrets->sealing, sizeof(identity->secrets->sealing));
	crypto_random(identity->secrets->transport, sizeof(identity->secrets->transport));
	derive_keys(identity);
}

enum cpd_error identity_generate(struct identity **out)
{
	enum cpd_error error = identity_new("", out);

	if (error == CPD_OK)
		make_keys(*out);
	return error;
}

enum cpd_error identity_from_secrets(const uint8_t secrets[IDENTITY_SECRETS], struct identity **out)
{
	enum cpd_error error = identity_new("", out);

	if (error != CPD_OK)
		return error;
	memcpy((*out)->secrets->signing_seed, secrets, 32);
	memcpy((*out)->secrets->sealing, secrets + 32, 32);
	memcpy((*out)->secrets->transport, secrets + 64, 32);
	derive_keys(*out);
	return CPD_OK;
}

void identity_stored_secrets(const struct identity *identity, uint8_t out[IDENTITY_SECRETS])
{
	memcpy(out, identity->secrets->signing_seed, 32);
	memcpy(out + 32, identity->secrets->sealing, 32);
	memcpy(out + 64, identity->secrets->transport, 32);
}

enum cpd_error identity_create(const char *dir, uint32_t node, struct identity **out)
{
	struct identity *identity = NULL;
	enum cpd_error error;
	int lock = -1;

	*out = NULL;
	if ((error = keyfile_folder(dir)) != CPD_OK)
		return error;
	if ((error = keyfile_lock(dir, &lock)) != CPD_OK)
		return error;
	if ((error = refuse_existing(dir)) != CPD_OK)
		goto out;
	if ((error = identity_new(dir, &identity)) != CPD_OK)
		goto out;
	identity->node = node;
	make_keys(identity);
	if ((error = write_new(identity)) != CPD_OK)
		goto out;
	*out = identity;
	identity = NULL;
out:
	identity_free(identity);
	keyfile_unlock(lock);
	return error;
}

/* ---------------------------------------------------------------- load */

static const char *const key_names[2][3] = {
	{ "signing.key", "sealing.key", "transport.key" },
	{ "cpd.signing.key", "cpd.sealing.key", "cpd.transport.key" }, /* as systemd hands them over */
};

static enum cpd_error read_keys(struct identity *identity, const char *dir, enum keyfile_mode mode)
{
	const char *const *names = key_names[mode == KEYFILE_CREDENTIAL];
	struct secrets *secrets = identity->secrets;
	enum cpd_error error;

	if ((error = secret_read(dir, names[0], mode, secrets->signing_seed)) != CPD_OK)
		return error;
	if ((error = secret_read(dir, names[1], mode, secrets->sealing)) == CPD_OK)
		error = secret_read(dir, names[2], mode, secrets->transport);
	if (error == CPD_OK)
		derive_keys(identity);
	return error;
}

static enum cpd_error read_state(struct identity *identity)
{
	char path[KEYFILE_PATH_MAX];
	enum cpd_error error;

	if ((error = read_numbers(identity->dir, "epoch", &identity->epoch, NULL)) != CPD_OK)
		return error;
	if ((error = read_numbers(identity->dir, "node", &identity->node, &identity->key_number)) != CPD_OK)
		return error;
	if (identity->key_number == 0) {
		keyfile_problem("%s/node is damaged (key number 0): put back the copy of this folder", identity->dir);
		return CPD_ERR_MALFORMED;
	}
	if ((error = keyfile_path(identity->dir, "region.pub", path)) != CPD_OK)
		return error;
	error = region_anchor_load(path, &identity->anchor);
	identity->is_installed = error == CPD_OK;
	/* Not enrolled yet is no fault; whoever needs the region asks identity_anchor. */
	return error == CPD_ERR_NOT_FOUND ? CPD_OK : error;
}

/* Keys there, but a companion gone: that is damage, not "no identity here". */
static enum cpd_error damaged_if_missing(const char *keys, enum keyfile_mode mode, enum cpd_error error)
{
	char path[KEYFILE_PATH_MAX];

	if (error != CPD_ERR_NOT_FOUND || keyfile_path(keys, key_names[mode == KEYFILE_CREDENTIAL][0], path) != CPD_OK || !keyfile_exists(path))
		return error;
	return CPD_ERR_MALFORMED;
}

/* The keys stand in `keys`, all else in `dir`. */
static enum cpd_error load(const char *dir, const char *keys, enum keyfile_mode mode, struct identity **out)
{
	struct identity *identity = NULL;
	enum cpd_error error = identity_new(dir, &identity);

	*out = NULL;
	if (error != CPD_OK)
		return error;
	if (mode != KEYFILE_PUBLIC)
		error = keyfile_folder_check(dir);
	if (error == CPD_OK)
		error = read_keys(identity, keys, mode);
	if (error == CPD_OK)
		error = read_state(identity);
	if (error != CPD_OK) {
		identity_free(identity);
		return damaged_if_missing(keys, mode, error);
	}
	*out = identity;
	return CPD_OK;
}

enum cpd_error identity_load(const char *dir, struct identity **out, const char **problem)
{
	if (problem != NULL)
		*problem = crypto_problem();
	return load(dir, dir, KEYFILE_SECRET, out);
}

bool identity_in_credentials(const char *credentials)
{
	char path[KEYFILE_PATH_MAX];

	return credentials && keyfile_path(credentials, key_names[1][0], path) == CPD_OK && keyfile_exists(path);
}

enum cpd_error identity_load_with(const char *dir, const char *credentials, struct identity **out, const char **problem)
{
	if (problem != NULL)
		*problem = crypto_problem();
	if (!identity_in_credentials(credentials))
		return load(dir, dir, KEYFILE_SECRET, out);
	return load(dir, credentials, KEYFILE_CREDENTIAL, out);
}

bool identity_is_locked(const struct identity *identity)
{
	/* What is locked already is locked once more; sodium_malloc itself tells nobody that it could not. */
	return mlock(identity->secrets, sizeof(*identity->secrets)) == 0;
}

bool identity_has_open_keys(const char *dir)
{
	char path[KEYFILE_PATH_MAX];

	for (size_t i = 0; i < 3; i++)
		if (keyfile_path(dir, key_names[0][i], path) == CPD_OK && keyfile_exists(path))
			return true;
	return false;
}

/* ---------------------------------------------------------------- a copy from a safe */

enum cpd_error identity_load_copy(const char *dir, struct identity **out)
{
	return load(dir, dir, KEYFILE_PUBLIC, out);
}

/* Whoever had the machine before may have used any epoch from the copy's on, and a message of its own must not meet one
 * of that life under the same id: some neighbours may never have heard of either. */
static uint32_t next_life(uint32_t epoch)
{
	return (epoch / IDENTITY_LIFE_EPOCHS + 1) * IDENTITY_LIFE_EPOCHS;
}

static enum cpd_error place(struct identity *identity, const char *dir, uint32_t epoch)
{
	char path[KEYFILE_PATH_MAX];
	enum cpd_error error = keyfile_path(dir, "region.pub", path);
	int lock = -1;

	if (error == CPD_OK)
		error = keyfile_folder(dir);
	if (error == CPD_OK)
		error = keyfile_lock(dir, &lock);
	if (error != CPD_OK)
		return error;
	error = refuse_existing(dir);
	if (error == CPD_OK && identity->is_installed)
		error = region_anchor_save(path, &identity->anchor);
	if (error == CPD_OK) {
		identity->epoch = epoch;
		memcpy(identity->dir, dir, strlen(dir) + 1);
		error = write_new(identity);
	}
	keyfile_unlock(lock);
	return error;
}

enum cpd_error identity_put(struct identity *identity, const char *dir)
{
	if (identity->epoch > UINT32_MAX - 2 * IDENTITY_LIFE_EPOCHS)
		return CPD_ERR_RANGE;
	return place(identity, dir, next_life(identity->epoch));
}

enum cpd_error identity_place(struct identity *identity, const char *dir)
{
	return place(identity, dir, identity->epoch);
}

/* ---------------------------------------------------------------- change and read */

enum cpd_error identity_set_epoch(struct identity *identity, uint32_t epoch)
{
	enum cpd_error error;

	if (epoch < identity->epoch) {
		keyfile_problem("epoch %" PRIu32 " is behind %" PRIu32 ": an epoch never falls", epoch, identity->epoch);
		return CPD_ERR_STATE;
	}
	if (epoch == identity->epoch)
		return CPD_OK;
	if ((error = write_numbers(identity->dir, "epoch", epoch, NULL)) != CPD_OK)
		return error;
	identity->epoch = epoch;
	return CPD_OK;
}

enum cpd_error identity_install(struct identity *identity, uint32_t node, uint32_t key_number,
    const struct region_anchor *anchor)
{
	char path[KEYFILE_PATH_MAX];
	enum cpd_error error;

	if (node == 0 || key_number == 0) {
		keyfile_problem("node number and key number start at 1");
		return CPD_ERR_RANGE;
	}
	if ((error = keyfile_path(identity->dir, "region.pub", path)) != CPD_OK)
		return error;
	if ((error = region_anchor_save(path, anchor)) != CPD_OK)
		return error;
	if (!identity->epoch && key_number > 1 && key_number < UINT32_MAX / IDENTITY_LIFE_EPOCHS &&
	    (error = identity_set_epoch(identity, (key_number - 1) * IDENTITY_LIFE_EPOCHS)) != CPD_OK)
		return error;
	if ((error = write_numbers(identity->dir, "node", node, &key_number)) != CPD_OK)
		return error;
	identity->node = node;
	identity->key_number = key_number;
	identity->anchor = *anchor;
	identity->is_installed = true;
	return CPD_OK;
}

uint32_t identity_node(const struct identity *identity)
{
	return identity->node;
}

uint32_t identity_epoch(const struct identity *identity)
{
	return identity->epoch;
}

uint32_t identity_key_number(const struct identity *identity)
{
	return identity->key_number;
}

const struct region_anchor *identity_anchor(const struct identity *identity)
{
	return identity->is_installed ? &identity->anchor : NULL;
}

void identity_public_keys(const struct identity *identity, struct certificate *out)
{
	memcpy(out->signing_key, identity->signing_public, sizeof(out->signing_key));
	memcpy(out->sealing_key, identity->sealing_public, sizeof(out->sealing_key));
	memcpy(out->transport_key, identity->transport_public, sizeof(out->transport_key));
}

void identity_transport_keys(const struct identity *identity, uint8_t public_key[32], uint8_t secret_key[32])
{
	memcpy(public_key, identity->transport_public, 32);
	memcpy(secret_key, identity->secrets->transport, 32);
}

const uint8_t *identity_signing_secret(const struct identity *identity)
{
	return identity->secrets->signing;
}

const uint8_t *identity_sealing_secret(const struct identity *identity)
{
	return identity->secrets->sealing;
}
