/*
 * body_path.c: see body_path.h.
 */
#include "proto/body_path.h"

#include <stdio.h>

#include "proto/text.h"

/* More fields than any message of our schema has; bounds the count per field kept on the stack. */
#define FIELDS_MAX 64

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static bool take_varint(struct slice *in, uint64_t *value)
{
	*value = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte;

		if (in->len == 0)
			return false;
		byte = *in->data++;
		in->len--;
		*value |= (uint64_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return true;
	}
	return false;
}

static bool take_bytes(struct slice *in, uint64_t len, struct slice *out)
{
	if (len > in->len)
		return false;
	*out = (struct slice){ in->data, (size_t)len };
	in->data += len;
	in->len -= (size_t)len;
	return true;
}

/* One field: its number, wire type and, for WIRE_BYTES, what it holds. */
static bool take_field(struct slice *in, uint32_t *number, unsigned *type, struct slice *held)
{
	uint64_t tag, value;

	*held = (struct slice){ NULL, 0 };
	if (!take_varint(in, &tag) || tag > UINT32_MAX)
		return false;
	*number = (uint32_t)(tag >> 3);
	*type = tag & 7;
	switch (*type) {
	case WIRE_VARINT:
		return take_varint(in, &value);
	case WIRE_FIXED64:
		return take_bytes(in, 8, held);
	case WIRE_FIXED32:
		return take_bytes(in, 4, held);
	case WIRE_BYTES:
		return take_varint(in, &value) && take_bytes(in, value, held);
	default:
		return false;
	}
}

/* Grows on the way down and is cut back on the way up. */
struct walk {
	char *path;
	size_t used;
};

static void walk_enter(struct walk *walk, const ProtobufCFieldDescriptor *field, size_t index)
{
	char step[BODY_PATH_MAX];
	const char *dot = walk->used ? "." : "";

	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		snprintf(step, sizeof(step), "%s%s[%zu]", dot, field->name, index);
	else
		snprintf(step, sizeof(step), "%s%s", dot, field->name);
	for (const char *c = step; *c != '\0' && walk->used + 1 < BODY_PATH_MAX; c++)
		walk->path[walk->used++] = *c;
	walk->path[walk->used] = '\0';
}

static void walk_leave(struct walk *walk, size_t used)
{
	walk->used = used;
	walk->path[used] = '\0';
}

static bool find_in_message(const ProtobufCMessageDescriptor *schema, struct slice bytes, struct walk *walk);

static bool find_in_value(const ProtobufCFieldDescriptor *field, unsigned type, struct slice held, struct walk *walk)
{
	if (type != WIRE_BYTES)
		return false;
	if (field->type == PROTOBUF_C_TYPE_STRING)
		return text_check(held, SIZE_MAX, SIZE_MAX, TEXT_LINES) != CPD_OK;
	return field->type == PROTOBUF_C_TYPE_MESSAGE && find_in_message(field->descriptor, held, walk);
}

static bool find_missing(const ProtobufCMessageDescriptor *schema, const uint32_t *seen, struct walk *walk)
{
	for (unsigned i = 0; i < schema->n_fields; i++) {
		if (schema->fields[i].label == PROTOBUF_C_LABEL_REQUIRED && seen[i] == 0) {
			walk_enter(walk, &schema->fields[i], 0);
			return true;
		}
	}
	return false;
}

/* True: the walk stays where the fault is. */
static bool find_in_message(const ProtobufCMessageDescriptor *schema, struct slice bytes, struct walk *walk)
{
	uint32_t seen[FIELDS_MAX] = { 0 };

	if (schema->n_fields > FIELDS_MAX)
		return false;
	while (bytes.len > 0) {
		const ProtobufCFieldDescriptor *field;
		struct slice held;
		uint32_t number;
		unsigned type;
		size_t used = walk->used;

		if (!take_field(&bytes, &number, &type, &held))
			return false;
		field = protobuf_c_message_descriptor_get_field(schema, number);
		if (!field)
			continue;
		walk_enter(walk, field, seen[field - schema->fields]++);
		if (find_in_value(field, type, held, walk))
			return true;
		walk_leave(walk, used);
	}
	return find_missing(schema, seen, walk);
}

void body_path_find(const ProtobufCMessageDescriptor *schema, struct slice bytes, char path[BODY_PATH_MAX])
{
	struct walk walk = { path, 0 };

	path[0] = '\0';
	if (!find_in_message(schema, bytes, &walk))
		path[0] = '\0';
}
