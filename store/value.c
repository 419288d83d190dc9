/* value.c: the fixed binary forms of small values; big-endian like the keys (STORE.md section 2). */
#include <string.h>

#include "store/internal.h"

#define VALUE_ID 16
#define VALUE_REF (1 + 1 + VALUE_ID + 4 + 4)
#define VALUE_CIRCUIT (4 + 4 + 8 + 1) /* and the bitmap */

static void value_add(struct store_value *value, uint64_t number, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		value->bytes[value->len++] = (uint8_t)(number >> (8 * (bytes - 1 - i)));
}

static uint64_t value_take(const uint8_t **bytes, size_t count)
{
	uint64_t number = 0;

	for (size_t i = 0; i < count; i++)
		number = number << 8 | *(*bytes)++;
	return number;
}

static void value_add_id(struct store_value *value, const struct message_id *id)
{
	value_add(value, id->origin, 4);
	value_add(value, id->epoch, 4);
	value_add(value, id->sequence, 8);
}

static void value_take_id(const uint8_t **bytes, struct message_id *out)
{
	out->origin = (uint32_t)value_take(bytes, 4);
	out->epoch = (uint32_t)value_take(bytes, 4);
	out->sequence = value_take(bytes, 8);
}

struct store_value store_value_id(const struct message_id *id)
{
	struct store_value value = { .len = 0 };

	value_add_id(&value, id);
	return value;
}

struct store_value store_value_ref(const struct item_ref *ref, uint32_t destination)
{
	struct store_value value = { .len = 0 };

	value_add(&value, ref->type, 1);
	value_add(&value, ref->precedence, 1);
	value_add_id(&value, &ref->id);
	value_add(&value, ref->index, 4);
	value_add(&value, destination, 4);
	return value;
}

struct store_value store_value_circuit(const struct link_circuit *circuit)
{
	struct store_value value = { .len = 0 };
	size_t bits = circuit->received_bitmap.len;

	if (bits > LIMIT_ACK_BITMAP)
		bits = LIMIT_ACK_BITMAP;
	value_add(&value, circuit->self_epoch, 4);
	value_add(&value, circuit->peer_epoch, 4);
	value_add(&value, circuit->received, 8);
	value_add(&value, bits, 1);
	memcpy(value.bytes + value.len, circuit->received_bitmap.bits, bits);
	value.len += bits;
	return value;
}

struct store_value store_value_u64(uint64_t number)
{
	struct store_value value = { .len = 0 };

	value_add(&value, number, 8);
	return value;
}

enum cpd_error store_value_read_id(struct slice value, struct message_id *out)
{
	const uint8_t *at = value.data;

	memset(out, 0, sizeof(*out));
	if (value.len != VALUE_ID)
		return CPD_ERR_MALFORMED;
	value_take_id(&at, out);
	return CPD_OK;
}

enum cpd_error store_value_read_ref(struct slice value, struct item_ref *out, uint32_t *destination)
{
	const uint8_t *at = value.data;

	memset(out, 0, sizeof(*out));
	*destination = 0;
	if (value.len != VALUE_REF || at[0] < ITEM_TYPE_MESSAGE || at[0] > ITEM_TYPE_LEAF || at[1] >= PRECEDENCE_COUNT)
		return CPD_ERR_MALFORMED;
	out->type = (enum item_type)value_take(&at, 1);
	out->precedence = (enum precedence)value_take(&at, 1);
	value_take_id(&at, &out->id);
	out->index = (uint32_t)value_take(&at, 4);
	*destination = (uint32_t)value_take(&at, 4);
	return CPD_OK;
}

enum cpd_error store_value_read_circuit(struct slice value, struct link_circuit *out)
{
	const uint8_t *at = value.data;

	memset(out, 0, sizeof(*out));
	if (value.len < VALUE_CIRCUIT || at[VALUE_CIRCUIT - 1] > LIMIT_ACK_BITMAP ||
	    value.len != VALUE_CIRCUIT + (size_t)at[VALUE_CIRCUIT - 1])
		return CPD_ERR_MALFORMED;
	out->self_epoch = (uint32_t)value_take(&at, 4);
	out->peer_epoch = (uint32_t)value_take(&at, 4);
	out->received = value_take(&at, 8);
	out->received_bitmap.len = (size_t)value_take(&at, 1);
	memcpy(out->received_bitmap.bits, at, out->received_bitmap.len);
	return CPD_OK;
}

enum cpd_error store_value_read_u64(struct slice value, uint64_t *out)
{
	const uint8_t *at = value.data;

	*out = 0;
	if (value.len != 8)
		return CPD_ERR_MALFORMED;
	*out = value_take(&at, 8);
	return CPD_OK;
}
