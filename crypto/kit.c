/* kit.c: see kit.h. */
#include "crypto/kit.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/keyfile.h"

#define HASH_LEN 32
static const char magic[] = "cpd-kit 1\n";
#define MAGIC_LEN (sizeof(magic) - 1)
#define MAGIC_NAME_LEN 8 /* "cpd-kit " */

/* ---------------------------------------------------------------- write */

struct writer {
	uint8_t *bytes;
	size_t len;
};

static void put_bytes(struct writer *writer, const void *data, size_t len)
{
	memcpy(writer->bytes + writer->len, data, len);
	writer->len += len;
}

static void put_number(struct writer *writer, uint32_t number)
{
	uint8_t bytes[4] = { (uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number };

	put_bytes(writer, bytes, sizeof(bytes));
}

/* 0: more than a kit holds. */
static size_t kit_size(size_t anchor_len, const struct slice *updates, size_t count)
{
	size_t size = MAGIC_LEN + 4 + anchor_len + 12 + HASH_LEN;

	for (size_t i = 0; i < count; i++) {
		if (updates[i].len > LIMIT_ITEM)
			return 0;
		size += 4 + updates[i].len;
		if (size > LIMIT_KIT)
			return 0;
	}
	return size;
}

enum cpd_error kit_encode(const struct region_anchor *anchor, uint32_t node, uint32_t key_number,
    const struct slice *updates, size_t count, uint8_t **out, size_t *len)
{
	struct writer writer = { .len = 0 };
	uint8_t hash[HASH_LEN];
	char text[LIMIT_ANCHOR];
	size_t text_len, size;
	enum cpd_error error;

	*out = NULL;
	*len = 0;
	if (node == 0 || key_number == 0)
		return CPD_ERR_RANGE;
	if ((error = region_anchor_format(anchor, text, &text_len)) != CPD_OK)
		return error;
	size = count <= LIMIT_KIT_UPDATES ? kit_size(text_len, updates, count) : 0;
	if (size == 0)
		return CPD_ERR_TOO_LARGE;
	writer.bytes = malloc(size);
	if (writer.bytes == NULL)
		return CPD_ERR_NOMEM;
	put_bytes(&writer, magic, MAGIC_LEN);
	put_number(&writer, (uint32_t)text_len);
	put_bytes(&writer, text, text_len);
	put_number(&writer, node);
	put_number(&writer, key_number);
	put_number(&writer, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		put_number(&writer, (uint32_t)updates[i].len);
		put_bytes(&writer, updates[i].data, updates[i].len);
	}
	crypto_digest(hash, sizeof(hash), writer.bytes, writer.len);
	put_bytes(&writer, hash, sizeof(hash));
	*out = writer.bytes;
	*len = writer.len;
	return CPD_OK;
}

enum cpd_error kit_write(const char *path, const struct region_anchor *anchor, uint32_t node,
    uint32_t key_number, const struct slice *updates, size_t count)
{
	uint8_t *bytes;
	size_t len;
	enum cpd_error error = kit_encode(anchor, node, key_number, updates, count, &bytes, &len);

	if (error == CPD_OK)
		error = keyfile_write(path, KEYFILE_PUBLIC, bytes, len);
	free(bytes);
	return error;
}

/* ---------------------------------------------------------------- read */

static bool take_bytes(struct slice *from, size_t len, struct slice *out)
{
	if (from->len < len)
		return false;
	*out = (struct slice){ from->data, len };
	from->data += len;
	from->len -= len;
	return true;
}

static bool take_number(struct slice *from, uint32_t *number)
{
	struct slice bytes;

	if (!take_bytes(from, 4, &bytes))
		return false;
	*number = (uint32_t)bytes.data[0] << 24 | (uint32_t)bytes.data[1] << 16 |
	    (uint32_t)bytes.data[2] << 8 | bytes.data[3];
	return true;
}

static bool take_framed(struct slice *from, struct slice *out)
{
	uint32_t len;

	return take_number(from, &len) && take_bytes(from, len, out);
}

/* The name of the format, then its hash, then its version: an older cpctl must be able to tell a
 * later kit from a broken one. */
static enum cpd_error check_whole(struct slice file, struct slice *content)
{
	uint8_t hash[HASH_LEN];

	if (file.len < MAGIC_LEN + HASH_LEN || memcmp(file.data, magic, MAGIC_NAME_LEN) != 0)
		return CPD_ERR_DAMAGED;
	crypto_digest(hash, sizeof(hash), file.data, file.len - HASH_LEN);
	if (memcmp(hash, file.data + file.len - HASH_LEN, HASH_LEN) != 0)
		return CPD_ERR_DAMAGED;
	if (memcmp(file.data, magic, MAGIC_LEN) != 0)
		return CPD_ERR_VERSION;
	*content = (struct slice){ file.data + MAGIC_LEN, file.len - MAGIC_LEN - HASH_LEN };
	return CPD_OK;
}

static enum cpd_error take_updates(struct slice *content, uint32_t count, struct kit *kit)
{
	if (count > LIMIT_KIT_UPDATES)
		return CPD_ERR_TOO_LARGE;
	kit->updates = calloc(count + 1, sizeof(*kit->updates));
	if (kit->updates == NULL)
		return CPD_ERR_NOMEM;
	for (; kit->update_count < count; kit->update_count++)
		if (!take_framed(content, &kit->updates[kit->update_count]))
			return CPD_ERR_MALFORMED;
	return content->len == 0 ? CPD_OK : CPD_ERR_MALFORMED;
}

static enum cpd_error parse_kit(struct slice file, struct kit *kit)
{
	struct slice content, text;
	uint32_t count;
	enum cpd_error error = check_whole(file, &content);

	if (error != CPD_OK)
		return error;
	if (!take_framed(&content, &text))
		return CPD_ERR_MALFORMED;
	if ((error = region_anchor_parse(text, &kit->anchor)) != CPD_OK)
		return error;
	if (!take_number(&content, &kit->node) || !take_number(&content, &kit->key_number) ||
	    !take_number(&content, &count) || kit->node == 0 || kit->key_number == 0)
		return CPD_ERR_MALFORMED;
	return take_updates(&content, count, kit);
}

enum cpd_error kit_decode(uint8_t *take_bytes, size_t len, struct kit *out)
{
	struct kit kit = { .bytes = take_bytes };
	enum cpd_error error = len <= LIMIT_KIT ? parse_kit((struct slice){ take_bytes, len }, &kit) : CPD_ERR_TOO_LARGE;

	memset(out, 0, sizeof(*out));
	if (error != CPD_OK)
		kit_clear(&kit);
	else
		*out = kit;
	return error;
}

enum cpd_error kit_read(const char *path, struct kit *out)
{
	uint8_t *bytes = malloc(LIMIT_KIT);
	enum cpd_error error;
	size_t len;

	memset(out, 0, sizeof(*out));
	if (bytes == NULL)
		return CPD_ERR_NOMEM;
	error = keyfile_read(path, KEYFILE_PUBLIC, bytes, LIMIT_KIT, &len);
	if (error != CPD_OK) {
		free(bytes);
		return error;
	}
	error = kit_decode(bytes, len, out);
	if (error == CPD_ERR_VERSION)
		keyfile_problem("%s is a kit of a later version: install a newer cpd", path);
	else if (error != CPD_OK && error != CPD_ERR_NOMEM)
		keyfile_problem("%s is not a whole kit (%s): copy it again from the region; nothing was changed",
		    path, cpd_error_text(error));
	return error;
}

void kit_clear(struct kit *kit)
{
	if (kit == NULL)
		return;
	free(kit->updates);
	free(kit->bytes);
	memset(kit, 0, sizeof(*kit));
}

/* ---------------------------------------------------------------- check */

static bool same_keys(const struct certificate *certificate, const struct certificate *own)
{
	return memcmp(certificate->signing_key, own->signing_key, sizeof(own->signing_key)) == 0 &&
	    memcmp(certificate->sealing_key, own->sealing_key, sizeof(own->sealing_key)) == 0 &&
	    memcmp(certificate->transport_key, own->transport_key, sizeof(own->transport_key)) == 0;
}

static enum cpd_error check_own(const struct directory *directory, const struct kit *kit, const struct identity *identity)
{
	const struct certificate *certificate = directory_certificate_key(directory, kit->node, kit->key_number);
	struct certificate own = { .node = 0 };

	if (certificate == NULL) {
		keyfile_problem("the kit holds no certificate of node %u key %u: ask the region to make it again",
		    kit->node, kit->key_number);
		return CPD_ERR_NOT_FOUND;
	}
	identity_public_keys(identity, &own);
	if (!same_keys(certificate, &own)) {
		keyfile_problem("the kit is for node %u with other keys than this machine has: "
		    "take the kit that was made from this machine's request", kit->node);
		return CPD_ERR_CONFLICT;
	}
	if (directory_revocation(directory, kit->node, kit->key_number) != NULL) {
		keyfile_problem("key %u of node %u is revoked: make a new request", kit->key_number, kit->node);
		return CPD_ERR_REVOKED;
	}
	return CPD_OK;
}

static enum cpd_error apply_record(struct directory *directory, const struct region_anchor *anchor, struct slice record)
{
	struct directory_update update;
	enum cpd_error error = verify_directory_update(anchor, record, &update);

	if (error == CPD_OK)
		error = directory_apply(directory, &update);
	directory_update_clear(&update);
	return error;
}

enum cpd_error kit_check(const struct kit *kit, const struct identity *identity)
{
	struct directory *directory = directory_new();
	enum cpd_error error = CPD_OK;

	if (directory == NULL)
		return CPD_ERR_NOMEM;
	for (size_t i = 0; error == CPD_OK && i < kit->update_count; i++) {
		error = apply_record(directory, &kit->anchor, kit->updates[i]);
		if (error != CPD_OK && error != CPD_ERR_NOMEM)
			keyfile_problem("update %zu of the kit is refused (%s): ask the region to make it again",
			    i + 1, cpd_error_text(error));
	}
	if (error == CPD_OK)
		error = check_own(directory, kit, identity);
	directory_free(directory);
	return error;
}
