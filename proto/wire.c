/* wire.c: a bounded walk over protobuf fields, and the strictness that protobuf-c lacks. */
#include "proto/wire.h"

#include <string.h>

#include "proto/text.h"

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

#define FIELD_NUMBER_MAX 0x1fffffffu

struct wire_field {
	uint32_t number;
	enum wire_type type;
	uint64_t value;        /* of a varint */
	struct slice bytes;    /* of a length-delimited one */
};

/* Takes one varint off the head. One number has one form: an overlong one would give the same
 * message many encodings. */
static bool varint_take(struct slice *from, uint64_t *out)
{
	uint64_t value = 0;

	for (size_t i = 0; i < from->len && i < 10; i++) {
		uint8_t byte = from->data[i];

		if ((i == 9 && byte > 1) || (i > 0 && byte == 0))
			return false;
		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (byte < 0x80) {
			from->data += i + 1;
			from->len -= i + 1;
			*out = value;
			return true;
		}
	}
	return false;
}

static bool bytes_take(struct slice *from, uint64_t len, struct slice *out)
{
	if (len > from->len)
		return false;
	out->data = from->data;
	out->len = (size_t)len;
	from->data += len;
	from->len -= (size_t)len;
	return true;
}

static bool field_take(struct slice *from, struct wire_field *out)
{
	uint64_t tag;

	memset(out, 0, sizeof(*out));
	if (!varint_take(from, &tag) || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX)
		return false;
	out->number = (uint32_t)(tag >> 3);
	out->type = (enum wire_type)(tag & 7);
	switch (out->type) {
	case WIRE_VARINT:
		return varint_take(from, &out->value);
	case WIRE_64:
		return bytes_take(from, 8, &out->bytes);
	case WIRE_32:
		return bytes_take(from, 4, &out->bytes);
	case WIRE_BYTES:
		return varint_take(from, &out->value) && bytes_take(from, out->value, &out->bytes);
	}
	return false;
}

static enum wire_type type_on_wire(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return WIRE_64;
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return WIRE_32;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return WIRE_BYTES;
	default:
		return WIRE_VARINT;
	}
}

/* protobuf-c cuts off what does not fit its field, and then we and others read different numbers. */
static bool value_fits(ProtobufCType type, uint64_t value)
{
	switch (type) {
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_SINT32:
		return value <= UINT32_MAX;
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_ENUM:
		return value <= INT32_MAX || value >= (uint64_t)INT64_C(-0x80000000);
	case PROTOBUF_C_TYPE_BOOL:
		return value <= 1;
	default:
		return true;
	}
}

static enum cpd_error packed_check(const ProtobufCFieldDescriptor *field, struct slice bytes)
{
	enum wire_type type = type_on_wire(field->type);

	if (type == WIRE_64 || type == WIRE_32)
		return bytes.len % (type == WIRE_64 ? 8 : 4) ? CPD_ERR_MALFORMED : CPD_OK;
	while (bytes.len) {
		uint64_t value;

		if (!varint_take(&bytes, &value))
			return CPD_ERR_MALFORMED;
		if (!value_fits(field->type, value))
			return CPD_ERR_RANGE;
	}
	return CPD_OK;
}

static enum cpd_error field_check(const ProtobufCFieldDescriptor *field, const struct wire_field *found)
{
	enum wire_type type = type_on_wire(field->type);

	if (found->type == WIRE_BYTES && type != WIRE_BYTES && field->label == PROTOBUF_C_LABEL_REPEATED)
		return packed_check(field, found->bytes);
	if (found->type != type)
		return CPD_ERR_MALFORMED;
	switch (field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return wire_check(field->descriptor, found->bytes);
	case PROTOBUF_C_TYPE_STRING:
		return text_check(found->bytes, SIZE_MAX, SIZE_MAX, TEXT_LINES);
	default:
		return type != WIRE_VARINT || value_fits(field->type, found->value) ? CPD_OK : CPD_ERR_RANGE;
	}
}

enum cpd_error wire_check(const ProtobufCMessageDescriptor *descriptor, struct slice bytes)
{
	uint64_t seen = 0; /* bit i: descriptor->fields[i]; no message of ours has 64 fields */

	if (descriptor->n_fields > 64)
		return CPD_ERR_STATE;
	while (bytes.len) {
		const ProtobufCFieldDescriptor *field;
		struct wire_field found;
		enum cpd_error error;
		uint64_t bit;

		if (!field_take(&bytes, &found))
			return CPD_ERR_MALFORMED;
		field = protobuf_c_message_descriptor_get_field(descriptor, found.number);
		if (!field)
			continue;
		bit = UINT64_C(1) << (field - descriptor->fields);
		if (field->label != PROTOBUF_C_LABEL_REPEATED && (seen & bit))
			return CPD_ERR_MALFORMED;
		seen |= bit;
		error = field_check(field, &found);
		if (error)
			return error;
	}
	for (unsigned i = 0; i < descriptor->n_fields; i++)
		if (descriptor->fields[i].label == PROTOBUF_C_LABEL_REQUIRED && !(seen & UINT64_C(1) << i))
			return CPD_ERR_MISSING;
	return CPD_OK;
}

enum cpd_error wire_unpack(const ProtobufCMessageDescriptor *descriptor, struct slice bytes,
    struct arena *arena, void *out)
{
	static const uint8_t nothing[1];
	ProtobufCMessage *message;
	enum cpd_error error = wire_check(descriptor, bytes);

	memset(out, 0, sizeof(void *));
	if (error)
		return error;
	message = protobuf_c_message_unpack(descriptor, &arena->allocator, bytes.len,
	    bytes.len ? bytes.data : nothing);
	if (!message)
		return !arena->is_exhausted ? CPD_ERR_MALFORMED : arena->is_over_budget ? CPD_ERR_TOO_LARGE : CPD_ERR_NOMEM;
	memcpy(out, &message, sizeof(message));
	return CPD_OK;
}

struct slice wire_find(struct slice bytes, uint32_t number)
{
	struct wire_field field;

	while (bytes.len && field_take(&bytes, &field))
		if (field.number == number && field.type == WIRE_BYTES)
			return field.bytes;
	return (struct slice){ NULL, 0 };
}

enum cpd_error wire_pack(const ProtobufCMessage *message, uint8_t *buf, size_t max, size_t *len)
{
	size_t size = protobuf_c_message_get_packed_size(message);

	*len = 0;
	if (size > max)
		return CPD_ERR_TOO_LARGE;
	*len = protobuf_c_message_pack(message, buf);
	return CPD_OK;
}

ProtobufCBinaryData wire_bytes(struct slice bytes)
{
	/* protobuf-c has no const in its structs; the packer only reads. */
	return (ProtobufCBinaryData){ .len = bytes.len, .data = (uint8_t *)(uintptr_t)bytes.data };
}
