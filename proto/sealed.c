/* sealed.c: see sealed.h. */
#include "proto/sealed.h"

#include <string.h>

#include "proto/cpd.pb-c.h"
#include "proto/wire.h"

#define NETWORK_MAX 32
#define FIELD_KEYS 4      /* SealedPart */
#define FIELD_CONTENT 5

static enum cpd_error part_validate(const struct sealed_part *part)
{
	if (part->audience == 0 || part->reader_count == 0)
		return CPD_ERR_RANGE;
	if (part->reader_count > LIMIT_SEALED_READERS || part->content.len > LIMIT_SEALED_CONTENT + SEALED_BLOCK + SEALED_TAG_LEN)
		return CPD_ERR_TOO_LARGE;
	for (size_t i = 0; i < part->reader_count; i++)
		if (part->readers[i].key_number == 0 || part->readers[i].node <= (i ? part->readers[i - 1].node : 0))
			return CPD_ERR_RANGE;
	if (part->keys.len != part->reader_count * SEALED_KEY_LEN || part->content.len < SEALED_BLOCK + SEALED_TAG_LEN ||
	    (part->content.len - SEALED_TAG_LEN) % SEALED_BLOCK)
		return CPD_ERR_MALFORMED;
	return CPD_OK;
}

static enum cpd_error part_from_wire(const Cpd__SealedPart *wire, struct slice bytes, struct sealed_part *out)
{
	if (wire->n_readers % 2 || wire->ephemeral.len != SEALED_EPHEMERAL_LEN)
		return CPD_ERR_MALFORMED;
	if (wire->n_readers / 2 > LIMIT_SEALED_READERS)
		return CPD_ERR_TOO_LARGE;
	out->audience = wire->audience;
	out->reader_count = wire->n_readers / 2;
	for (size_t i = 0; i < out->reader_count; i++)
		out->readers[i] = (struct sealed_reader){ wire->readers[2 * i], wire->readers[2 * i + 1] };
	memcpy(out->ephemeral, wire->ephemeral.data, SEALED_EPHEMERAL_LEN);
	out->keys = wire_find(bytes, FIELD_KEYS);
	out->content = wire_find(bytes, FIELD_CONTENT);
	return part_validate(out);
}

enum cpd_error sealed_part_decode(struct slice bytes, struct sealed_part *out)
{
	struct arena arena;
	Cpd__SealedPart *wire;
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	if (bytes.len > LIMIT_SEALED_PART)
		return CPD_ERR_TOO_LARGE;
	arena_init(&arena, LIMIT_ARENA(bytes.len));
	error = wire_unpack(&cpd__sealed_part__descriptor, bytes, &arena, &wire);
	if (!error)
		error = part_from_wire(wire, bytes, out);
	arena_clear(&arena);
	if (error)
		memset(out, 0, sizeof(*out));
	return error;
}

enum cpd_error sealed_part_encode(const struct sealed_part *part, uint8_t *buf, size_t *len)
{
	Cpd__SealedPart wire = CPD__SEALED_PART__INIT;
	uint32_t readers[2 * LIMIT_SEALED_READERS];
	enum cpd_error error = part_validate(part);

	*len = 0;
	if (error)
		return error;
	for (size_t i = 0; i < part->reader_count; i++) {
		readers[2 * i] = part->readers[i].node;
		readers[2 * i + 1] = part->readers[i].key_number;
	}
	wire.audience = part->audience;
	wire.readers = readers;
	wire.n_readers = 2 * part->reader_count;
	wire.ephemeral = wire_bytes((struct slice){ part->ephemeral, SEALED_EPHEMERAL_LEN });
	wire.keys = wire_bytes(part->keys);
	wire.content = wire_bytes(part->content);
	return wire_pack(&wire.base, buf, LIMIT_SEALED_PART, len);
}

/* ---------------------------------------------------------------- what it is bound to */

static uint8_t *put_number(uint8_t *at, uint64_t number, int bytes)
{
	for (int i = 0; i < bytes; i++)
		*at++ = (uint8_t)(number >> (8 * (bytes - 1 - i)));
	return at;
}

enum cpd_error sealed_part_bound(const struct sealed_part *part, const struct header *header, const char *network,
    uint8_t *buf, size_t *len)
{
	static const char purpose[] = "cpd/1/sealed";
	const size_t network_len = strnlen(network, NETWORK_MAX + 1);
	uint8_t *at = buf;

	*len = 0;
	if (network_len > NETWORK_MAX || header->node_count > LIMIT_DESTINATION_NODES || header->group_count > LIMIT_DESTINATION_GROUPS
	    || part->reader_count > LIMIT_SEALED_READERS)
		return CPD_ERR_TOO_LARGE;
	memcpy(at, purpose, sizeof(purpose));
	at += sizeof(purpose);
	*at++ = (uint8_t)network_len;
	memcpy(at, network, network_len);
	at += network_len;
	at = put_number(at, header->id.origin, 4);
	at = put_number(at, header->id.epoch, 4);
	at = put_number(at, header->id.sequence, 8);
	at = put_number(at, header->kind, 4);
	at = put_number(at, header->node_count, 2);
	for (size_t i = 0; i < header->node_count; i++)
		at = put_number(at, header->nodes[i], 4);
	at = put_number(at, header->group_count, 2);
	for (size_t i = 0; i < header->group_count; i++)
		at = put_number(put_number(at, header->groups[i].number, 4), header->groups[i].version, 4);
	at = put_number(at, part->audience, 4);
	at = put_number(at, part->reader_count, 2);
	for (size_t i = 0; i < part->reader_count; i++)
		at = put_number(put_number(at, part->readers[i].node, 4), part->readers[i].key_number, 4);
	*len = (size_t)(at - buf);
	return CPD_OK;
}

/* The longest of all, with room to spare. */
_Static_assert(13 + 1 + NETWORK_MAX + 16 + 4 + 2 + 4 * LIMIT_DESTINATION_NODES + 2 + 8 * LIMIT_DESTINATION_GROUPS + 4 + 2 +
    8 * LIMIT_SEALED_READERS <= LIMIT_SEALED_BOUND, "what a seal is bound to");

size_t sealed_part_reader(const struct sealed_part *part, uint32_t node)
{
	size_t i = 0;

	while (i < part->reader_count && part->readers[i].node != node)
		i++;
	return i;
}
