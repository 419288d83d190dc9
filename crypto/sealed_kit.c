/* sealed_kit.c: see sealed_kit.h. */
#include "crypto/sealed_kit.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/keyfile.h"
#include "crypto/secret.h"

#define KEY_LEN 32
#define HASH_LEN 32
#define SALT_LEN crypto_pwhash_argon2id_SALTBYTES
#define NONCE_LEN crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_LEN crypto_aead_xchacha20poly1305_ietf_ABYTES
#define SLOT_LEN (NONCE_LEN + KEY_LEN + TAG_LEN)
static const char magic[] = "cpd-sealed-kit 1\n";
#define MAGIC_LEN (sizeof(magic) - 1)
#define MAGIC_NAME_LEN 15 /* "cpd-sealed-kit " */
/* Where the parts begin. */
#define AT_NODE MAGIC_LEN
#define AT_COST (AT_NODE + 4)
#define AT_SALT (AT_COST + 8)
#define AT_SLOTS (AT_SALT + SALT_LEN)
#define AT_NONCE (AT_SLOTS + KIT_SLOTS * SLOT_LEN)
#define AT_CONTENT (AT_NONCE + NONCE_LEN)
#define LEAST_LEN (AT_CONTENT + TAG_LEN + HASH_LEN)
/* A kit from anywhere must not make a small machine swap, or wait for minutes. */
#define PASSES_MAX 16u
#define MEMORY_MAX_KIB (256u * 1024u)
#define MEMORY_MIN_KIB 8u
/* What the seal adds to the kit. */
#define CONTENT_EXTRA (IDENTITY_SECRETS + 4 + 4 * LIMIT_HOMES)
#define LIMIT_SEALED_KIT (LIMIT_KIT + CONTENT_EXTRA + LEAST_LEN)

/* libsodium's INTERACTIVE: a small board has 64 MiB to spare, and hundreds of kits are sealed in minutes. The code is 80
 * bits of chance: the cost is there for the one of which half was seen. */
const struct kit_cost kit_cost_usual = { 2, 64 * 1024 };

static void put_number(uint8_t *at, uint32_t number)
{
	at[0] = (uint8_t)(number >> 24);
	at[1] = (uint8_t)(number >> 16);
	at[2] = (uint8_t)(number >> 8);
	at[3] = (uint8_t)number;
}

static uint32_t get_number(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static bool cost_is_good(struct kit_cost cost)
{
	return cost.passes >= 1 && cost.passes <= PASSES_MAX && cost.memory_kib >= MEMORY_MIN_KIB && cost.memory_kib <= MEMORY_MAX_KIB;
}

/* The key that a code makes, in locked memory. False: the memory that it costs is not there. */
static bool stretch(const struct code *code, struct kit_cost cost, const uint8_t *salt, uint8_t key[KEY_LEN])
{
	return !crypto_pwhash_argon2id(key, KEY_LEN, code->signs, sizeof(code->signs), salt, cost.passes, (size_t)cost.memory_kib * 1024,
	    crypto_pwhash_argon2id_ALG_ARGON2ID13);
}

/* The bytes that a slot's seal vouches for: all before the slots, and which slot it is. */
static void slot_head(const uint8_t *file, unsigned slot, uint8_t out[AT_SLOTS + 1])
{
	memcpy(out, file, AT_SLOTS);
	out[AT_SLOTS] = (uint8_t)slot;
}

/* ---------------------------------------------------------------- content */

/* malloc'ed, and wiped by who frees it: a node's secrets stand in it. */
static enum cpd_error encode_content(const struct kit *kit, const struct sealed_part *part, uint8_t **out, size_t *len)
{
	uint8_t *kit_bytes, *content;
	size_t kit_len, at = IDENTITY_SECRETS;
	enum cpd_error error;

	*out = NULL;
	if (part->home_count > LIMIT_HOMES)
		return CPD_ERR_RANGE;
	error = kit_encode(&kit->anchor, kit->node, kit->key_number, kit->updates, kit->update_count, &kit_bytes, &kit_len);
	if (error != CPD_OK)
		return error;
	*len = IDENTITY_SECRETS + 4 + 4 * part->home_count + kit_len;
	content = malloc(*len);
	if (content == NULL) {
		free(kit_bytes);
		return CPD_ERR_NOMEM;
	}
	identity_stored_secrets(part->identity, content);
	put_number(content + at, (uint32_t)part->home_count);
	at += 4;
	for (size_t i = 0; i < part->home_count; i++, at += 4)
		put_number(content + at, part->homes[i]);
	memcpy(content + at, kit_bytes, kit_len);
	free(kit_bytes);
	*out = content;
	return CPD_OK;
}

enum cpd_error sealed_kit_content(struct slice content, struct kit *kit, struct sealed_part *part)
{
	size_t at = IDENTITY_SECRETS + 4;
	uint32_t count;
	uint8_t *copy;
	enum cpd_error error;

	if (content.len < at)
		return CPD_ERR_MALFORMED;
	count = get_number(content.data + IDENTITY_SECRETS);
	if (count > LIMIT_HOMES || content.len < at + 4 * count)
		return CPD_ERR_MALFORMED;
	for (part->home_count = 0; part->home_count < count; part->home_count++, at += 4) {
		part->homes[part->home_count] = get_number(content.data + at);
		if (part->homes[part->home_count] == 0)
			return CPD_ERR_MALFORMED;
	}
	copy = malloc(content.len - at + 1);
	if (copy == NULL)
		return CPD_ERR_NOMEM;
	memcpy(copy, content.data + at, content.len - at);
	error = kit_decode(copy, content.len - at, kit);
	return error != CPD_OK ? error : identity_from_secrets(content.data, &part->identity);
}

/* ---------------------------------------------------------------- seal */

static enum cpd_error seal_slots(uint8_t *file, const struct code codes[KIT_SLOTS], struct kit_cost cost, const uint8_t key[KEY_LEN])
{
	uint8_t head[AT_SLOTS + 1], *stretched = secret_new(KEY_LEN);
	enum cpd_error error = stretched ? CPD_OK : CPD_ERR_NOMEM;

	for (unsigned slot = 0; error == CPD_OK && slot < KIT_SLOTS; slot++) {
		uint8_t *at = file + AT_SLOTS + slot * SLOT_LEN;

		if (!stretch(&codes[slot], cost, file + AT_SALT, stretched)) {
			error = CPD_ERR_NOMEM;
			break;
		}
		slot_head(file, slot, head);
		crypto_random(at, NONCE_LEN);
		crypto_aead_xchacha20poly1305_ietf_encrypt(at + NONCE_LEN, NULL, key, KEY_LEN, head, sizeof(head), NULL, at, stretched);
	}
	secret_free(stretched);
	return error;
}

static void seal_content(uint8_t *file, struct slice content, const uint8_t key[KEY_LEN])
{
	unsigned long long box_len;
	uint8_t *hash;

	crypto_random(file + AT_NONCE, NONCE_LEN);
	crypto_aead_xchacha20poly1305_ietf_encrypt(file + AT_CONTENT, &box_len, content.data, content.len, file, AT_NONCE, NULL, file + AT_NONCE, key);
	hash = file + AT_CONTENT + box_len;
	crypto_digest(hash, HASH_LEN, file, (size_t)(hash - file));
}

enum cpd_error sealed_kit_seal(const struct kit *kit, const struct sealed_part *part, const struct code codes[KIT_SLOTS],
    struct kit_cost cost, uint8_t **out, size_t *len)
{
	uint8_t *content = NULL, *file = NULL, *key = NULL;
	size_t content_len = 0;
	enum cpd_error error;

	*out = NULL;
	*len = 0;
	if (!cost_is_good(cost))
		return CPD_ERR_RANGE;
	error = encode_content(kit, part, &content, &content_len);
	if (error != CPD_OK)
		return error;
	file = malloc(LEAST_LEN + content_len);
	key = secret_new(KEY_LEN);
	if (file == NULL || key == NULL) {
		error = CPD_ERR_NOMEM;
		goto out;
	}
	crypto_random(key, KEY_LEN);
	memcpy(file, magic, MAGIC_LEN);
	put_number(file + AT_NODE, kit->node);
	put_number(file + AT_COST, cost.passes);
	put_number(file + AT_COST + 4, cost.memory_kib);
	crypto_random(file + AT_SALT, SALT_LEN);
	error = seal_slots(file, codes, cost, key);
	if (error != CPD_OK)
		goto out;
	seal_content(file, (struct slice){ content, content_len }, key);
	*out = file;
	*len = LEAST_LEN + content_len;
	file = NULL;
out:
	crypto_wipe(content, content_len);
	free(content);
	free(file);
	secret_free(key);
	return error;
}

/* ---------------------------------------------------------------- open */

/* STATE: another kind of file. The hash before the version, as in kit.c. */
static enum cpd_error check_whole(struct slice file)
{
	uint8_t hash[HASH_LEN];

	if (file.len < MAGIC_NAME_LEN || memcmp(file.data, magic, MAGIC_NAME_LEN) != 0)
		return CPD_ERR_STATE;
	if (file.len < LEAST_LEN)
		return CPD_ERR_DAMAGED;
	crypto_digest(hash, sizeof(hash), file.data, file.len - HASH_LEN);
	if (memcmp(hash, file.data + file.len - HASH_LEN, HASH_LEN) != 0)
		return CPD_ERR_DAMAGED;
	return memcmp(file.data, magic, MAGIC_LEN) != 0 ? CPD_ERR_VERSION : CPD_OK;
}

static enum cpd_error open_slot(struct slice file, const struct code *code, uint8_t key[KEY_LEN], enum kit_slot *opened)
{
	struct kit_cost cost = { get_number(file.data + AT_COST), get_number(file.data + AT_COST + 4) };
	uint8_t head[AT_SLOTS + 1], *stretched;
	enum cpd_error error = CPD_ERR_BAD_SIGNATURE;

	if (!cost_is_good(cost))
		return CPD_ERR_RANGE;
	stretched = secret_new(KEY_LEN);
	if (stretched == NULL || !stretch(code, cost, file.data + AT_SALT, stretched)) {
		secret_free(stretched);
		return CPD_ERR_NOMEM;
	}
	for (unsigned slot = 0; error != CPD_OK && slot < KIT_SLOTS; slot++) {
		const uint8_t *at = file.data + AT_SLOTS + slot * SLOT_LEN;

		slot_head(file.data, slot, head);
		if (crypto_aead_xchacha20poly1305_ietf_decrypt(key, NULL, NULL, at + NONCE_LEN, KEY_LEN + TAG_LEN, head, sizeof(head), at, stretched) == 0) {
			*opened = (enum kit_slot)slot;
			error = CPD_OK;
		}
	}
	secret_free(stretched);
	return error;
}

static enum cpd_error open_content(struct slice file, const uint8_t key[KEY_LEN], struct kit *kit, struct sealed_part *part)
{
	size_t box_len = file.len - AT_CONTENT - HASH_LEN, content_len = box_len - TAG_LEN;
	uint8_t *content = malloc(content_len + 1);
	enum cpd_error error = CPD_ERR_BAD_SIGNATURE;

	if (content == NULL)
		return CPD_ERR_NOMEM;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(content, NULL, NULL, file.data + AT_CONTENT, box_len, file.data, AT_NONCE, file.data + AT_NONCE, key) == 0)
		error = sealed_kit_content((struct slice){ content, content_len }, kit, part);
	crypto_wipe(content, content_len + 1);
	free(content);
	/* The outside is what people were told; the inside is what the region certified. */
	return error == CPD_OK && kit->node != get_number(file.data + AT_NODE) ? CPD_ERR_MALFORMED : error;
}

enum cpd_error sealed_kit_open(struct slice file, const struct code *code, struct kit *kit, struct sealed_part *part)
{
	uint8_t *key;
	enum cpd_error error;

	memset(kit, 0, sizeof(*kit));
	memset(part, 0, sizeof(*part));
	error = check_whole(file);
	if (error != CPD_OK)
		return error;
	key = secret_new(KEY_LEN);
	if (key == NULL)
		return CPD_ERR_NOMEM;
	error = open_slot(file, code, key, &part->slot);
	if (error == CPD_OK)
		error = open_content(file, key, kit, part);
	secret_free(key);
	if (error != CPD_OK) {
		kit_clear(kit);
		sealed_part_clear(part);
	}
	return error;
}

void sealed_part_clear(struct sealed_part *part)
{
	identity_free(part->identity);
	memset(part, 0, sizeof(*part));
}

/* ---------------------------------------------------------------- files */

const char *sealed_kit_mark(struct slice file, char out[SEALED_KIT_MARK_MAX])
{
	const uint8_t *hash = file.data + file.len - HASH_LEN;

	snprintf(out, SEALED_KIT_MARK_MAX, "%02x%02x %02x%02x", hash[0], hash[1], hash[2], hash[3]);
	return out;
}

enum cpd_error sealed_kit_load(const char *path, uint8_t **out, size_t *len, uint32_t *node)
{
	uint8_t *file = malloc(LIMIT_SEALED_KIT);
	enum cpd_error error;

	*out = NULL;
	*node = 0;
	if (file == NULL)
		return CPD_ERR_NOMEM;
	error = keyfile_read(path, KEYFILE_PUBLIC, file, LIMIT_SEALED_KIT, len);
	if (error == CPD_OK) {
		error = check_whole((struct slice){ file, *len });
		if (error == CPD_ERR_VERSION)
			keyfile_problem("%s is a kit of a later version: install a newer cpd", path);
		else if (error != CPD_OK)
			keyfile_problem("%s is not a whole kit (%s): copy it again from the region; nothing was changed", path, cpd_error_text(error));
	}
	if (error != CPD_OK) {
		free(file);
		*len = 0;
		return error;
	}
	*node = get_number(file + AT_NODE);
	*out = file;
	return CPD_OK;
}
