/* key.c: keys are big-endian, so that the order of bytes is the order of numbers. */
#include <string.h>

#include "store/internal.h"

static void key_add(struct store_key *key, uint64_t value, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		key->bytes[key->len++] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static uint64_t key_take(const uint8_t *bytes, size_t count)
{
	uint64_t value = 0;

	for (size_t i = 0; i < count; i++)
		value = value << 8 | bytes[i];
	return value;
}

static void key_add_id(struct store_key *key, const struct message_id *id)
{
	key_add(key, id->origin, 4);
	key_add(key, id->epoch, 4);
	key_add(key, id->sequence, 8);
}

static void key_take_id(const uint8_t *bytes, struct message_id *out)
{
	out->origin = (uint32_t)key_take(bytes, 4);
	out->epoch = (uint32_t)key_take(bytes + 4, 4);
	out->sequence = key_take(bytes + 8, 8);
}

struct store_key store_key_id(const struct message_id *id)
{
	struct store_key key = { .len = 0 };

	key_add_id(&key, id);
	return key;
}

/* FLASH is the highest value and must come first, so the key holds its distance to the top. */
struct store_key store_key_queue(uint32_t link, enum precedence precedence, uint64_t counter)
{
	struct store_key key = { .len = 0 };

	key_add(&key, link, 4);
	key_add(&key, (uint64_t)(PRECEDENCE_COUNT - 1) - (uint64_t)precedence, 1);
	key_add(&key, counter, 8);
	return key;
}

/* The sign bit is turned, so that negative times come first. */
struct store_key store_key_timer(int64_t due_ms, const struct message_id *id)
{
	struct store_key key = { .len = 0 };

	key_add(&key, (uint64_t)due_ms ^ (UINT64_C(1) << 63), 8);
	key_add_id(&key, id);
	return key;
}

struct store_key store_key_record(uint32_t witness, uint32_t epoch, uint64_t counter)
{
	const struct message_id id = { witness, epoch, counter };

	return store_key_id(&id);
}

struct store_key store_key_counter(uint64_t counter)
{
	struct store_key key = { .len = 0 };

	key_add(&key, counter, 8);
	return key;
}

struct store_key store_key_latest(uint32_t origin, message_kind kind)
{
	struct store_key key = { .len = 0 };

	key_add(&key, origin, 4);
	key_add(&key, kind, 4);
	return key;
}

struct store_key store_key_leaf(const struct message_id *id, uint32_t index)
{
	struct store_key key = { .len = 0 };

	key_add_id(&key, id);
	key_add(&key, index, 4);
	return key;
}

struct store_key store_key_number(uint32_t number)
{
	struct store_key key = { .len = 0 };

	key_add(&key, number, 4);
	return key;
}

struct store_key store_key_name(const char *name)
{
	const struct slice bytes = { (const uint8_t *)name, strlen(name) };

	return store_key_bytes(bytes);
}

/* Too long gives an empty key, which every call refuses: cutting it off would make two keys one. */
struct store_key store_key_bytes(struct slice bytes)
{
	struct store_key key = { .len = 0 };

	if (bytes.len > 0 && bytes.len <= STORE_KEY_MAX) {
		memcpy(key.bytes, bytes.data, bytes.len);
		key.len = bytes.len;
	}
	return key;
}

enum cpd_error store_key_read_id(const struct store_key *key, struct message_id *out)
{
	memset(out, 0, sizeof(*out));
	if (key->len != 16)
		return CPD_ERR_MALFORMED;
	key_take_id(key->bytes, out);
	return CPD_OK;
}

enum cpd_error store_key_read_queue(const struct store_key *key, uint32_t *link, enum precedence *precedence, uint64_t *counter)
{
	*link = 0;
	*precedence = PRECEDENCE_ROUTINE;
	*counter = 0;
	if (key->len != 13 || key->bytes[4] >= PRECEDENCE_COUNT)
		return CPD_ERR_MALFORMED;
	*link = (uint32_t)key_take(key->bytes, 4);
	*precedence = (enum precedence)(PRECEDENCE_COUNT - 1 - key->bytes[4]);
	*counter = key_take(key->bytes + 5, 8);
	return CPD_OK;
}

enum cpd_error store_key_read_timer(const struct store_key *key, int64_t *due_ms, struct message_id *out)
{
	uint64_t due;

	*due_ms = 0;
	memset(out, 0, sizeof(*out));
	if (key->len != 24)
		return CPD_ERR_MALFORMED;
	due = key_take(key->bytes, 8) ^ (UINT64_C(1) << 63);
	memcpy(due_ms, &due, sizeof(due)); /* a cast of a large value is implementation-defined */
	key_take_id(key->bytes + 8, out);
	return CPD_OK;
}

uint64_t store_key_read_counter(const struct store_key *key)
{
	return key->len == 8 ? key_take(key->bytes, 8) : 0;
}
