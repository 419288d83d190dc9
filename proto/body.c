/*
 * body.c: see body.h. wire.c says whether everything is there and text is text; then, unpacked, the
 * walk along the descriptors with the tables of body_rules.c.
 */
#include "proto/body.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/arena.h"
#include "proto/body_path.h"
#include "proto/text.h"
#include "proto/wire.h"

_Static_assert(sizeof(((struct body_problem *)0)->field) == BODY_PATH_MAX, "the path is written in place");

struct inspection {
	bool strict;
	struct body_problem *problem;  /* `field` holds the path walked so far */
	size_t used;                   /* bytes of that path */
};

__attribute__((format(printf, 3, 4)))
static enum cpd_error fault(struct inspection *inspection, enum cpd_error error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(inspection->problem->text, sizeof(inspection->problem->text), format, arguments);
	va_end(arguments);
	return error;
}

__attribute__((format(printf, 2, 3)))
static void step_into(struct inspection *inspection, const char *format, ...)
{
	size_t room = sizeof(inspection->problem->field) - inspection->used;
	va_list arguments;
	int wrote;

	va_start(arguments, format);
	wrote = vsnprintf(inspection->problem->field + inspection->used, room, format, arguments);
	va_end(arguments);
	if (wrote > 0)
		inspection->used += (size_t)wrote < room ? (size_t)wrote : room - 1;
}

static void step_back(struct inspection *inspection, size_t used)
{
	inspection->used = used;
	inspection->problem->field[used] = '\0';
}

/* ---- one value ---- */

static enum cpd_error inspect_number(struct inspection *inspection, const struct body_rule *rule, int64_t value,
    bool is_beyond)
{
	if (!is_beyond && value >= rule->min && value <= rule->max)
		return CPD_OK;
	return fault(inspection, CPD_ERR_RANGE, "must be a number from %lld to %lld: correct it", (long long)rule->min,
	    (long long)rule->max);
}

static enum cpd_error inspect_enum(struct inspection *inspection, const struct body_rule *rule,
    const ProtobufCEnumDescriptor *values, int value)
{
	if (!inspection->strict)
		return CPD_OK;
	if (!protobuf_c_enum_descriptor_get_value(values, value))
		return fault(inspection, CPD_ERR_RANGE, "has the value %d, which this version does not know: choose another", value);
	if (value == 0 && (rule->flags & RULE_KNOWN))
		return fault(inspection, CPD_ERR_RANGE, "says unknown: choose a value");
	return CPD_OK;
}

static enum cpd_error inspect_text(struct inspection *inspection, const struct body_rule *rule, const char *text)
{
	struct slice bytes = { (const uint8_t *)text, strlen(text) };

	if (!(rule->flags & RULE_LINES) && text_check(bytes, SIZE_MAX, SIZE_MAX, TEXT_ONE_LINE))
		return fault(inspection, CPD_ERR_TEXT, "must be one line: take out the new lines and tabs");
	if ((rule->flags & RULE_FILLED) && text[strspn(text, " \n\t")] == '\0')
		return fault(inspection, CPD_ERR_MISSING, "is empty: fill it in");
	if (text_characters(bytes) > rule->characters)
		return fault(inspection, CPD_ERR_RANGE, "is %zu characters long and may be %u: shorten it",
		    text_characters(bytes), (unsigned)rule->characters);
	return CPD_OK;
}

static enum cpd_error inspect_message(struct inspection *inspection, const ProtobufCMessage *message);

/* `value` points at one value of the field's own C type. */
static enum cpd_error inspect_value(struct inspection *inspection, const ProtobufCFieldDescriptor *field,
    const struct body_rule *rule, const void *value)
{
	uint64_t wide;

	switch (field->type) {
	case PROTOBUF_C_TYPE_UINT32:
		return inspect_number(inspection, rule, *(const uint32_t *)value, false);
	case PROTOBUF_C_TYPE_SINT32:
		return inspect_number(inspection, rule, *(const int32_t *)value, false);
	case PROTOBUF_C_TYPE_UINT64:
		wide = *(const uint64_t *)value;
		return inspect_number(inspection, rule, (int64_t)(wide & INT64_MAX), wide > INT64_MAX);
	case PROTOBUF_C_TYPE_BOOL:
		return CPD_OK;
	case PROTOBUF_C_TYPE_ENUM:
		return inspect_enum(inspection, rule, field->descriptor, *(const int *)value);
	case PROTOBUF_C_TYPE_STRING:
		return inspect_text(inspection, rule, *(char *const *)value);
	case PROTOBUF_C_TYPE_MESSAGE:
		return inspect_message(inspection, *(ProtobufCMessage *const *)value);
	default:
		/* No body has such a field; test_body.c proves it. */
		return fault(inspection, CPD_ERR_MALFORMED, "is of a type that no rule knows");
	}
}

static size_t value_size(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_UINT64:
		return sizeof(uint64_t);
	case PROTOBUF_C_TYPE_ENUM:
		return sizeof(int);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	default:
		return sizeof(uint32_t);
	}
}

/* ---- fields and messages ---- */

static enum cpd_error inspect_list(struct inspection *inspection, const ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, const struct body_rule *rule)
{
	const uint8_t *base = (const uint8_t *)message;
	size_t count = *(const size_t *)(const void *)(base + field->quantifier_offset);
	const uint8_t *values = *(uint8_t *const *)(const void *)(base + field->offset);
	size_t used = inspection->used;
	enum cpd_error error;

	if (count > rule->entries) {
		step_into(inspection, "%s%s", used ? "." : "", field->name);
		return fault(inspection, CPD_ERR_RANGE, "has %zu entries and may have %u: leave some out", count,
		    (unsigned)rule->entries);
	}
	for (size_t i = 0; i < count; i++) {
		step_into(inspection, "%s%s[%zu]", used ? "." : "", field->name, i);
		error = inspect_value(inspection, field, rule, values + i * value_size(field));
		if (error)
			return error;
		step_back(inspection, used);
	}
	return CPD_OK;
}

static bool is_present(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	const uint8_t *base = (const uint8_t *)message;

	if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE)
		return *(void *const *)(const void *)(base + field->offset) != NULL;
	return field->label == PROTOBUF_C_LABEL_REQUIRED ||
	    *(const protobuf_c_boolean *)(const void *)(base + field->quantifier_offset);
}

static enum cpd_error inspect_field(struct inspection *inspection, const ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, const struct body_rule *rule)
{
	size_t used = inspection->used;
	enum cpd_error error;

	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return inspect_list(inspection, message, field, rule);
	if (!is_present(message, field))
		return CPD_OK;
	step_into(inspection, "%s%s", used ? "." : "", field->name);
	error = inspect_value(inspection, field, rule, (const uint8_t *)message + field->offset);
	if (!error)
		step_back(inspection, used);
	return error;
}

static enum cpd_error inspect_between(struct inspection *inspection, const struct body_schema *schema,
    const ProtobufCMessage *message)
{
	struct body_problem found = { "", "" };
	enum cpd_error error = schema->check ? schema->check(message, inspection->strict, &found) : CPD_OK;

	if (error) {
		step_into(inspection, "%s%s", inspection->used ? "." : "", found.field);
		return fault(inspection, error, "%s", found.text);
	}
	return CPD_OK;
}

/* Recursion is bounded by the schema's depth. On error the path stays where the problem is. */
static enum cpd_error inspect_message(struct inspection *inspection, const ProtobufCMessage *message)
{
	const struct body_schema *schema = body_schema_find(message->descriptor);

	if (!schema)
		return fault(inspection, CPD_ERR_MALFORMED, "is a message that no rule knows");
	if (inspection->strict && message->n_unknown_fields > 0)
		return fault(inspection, CPD_ERR_RANGE, "has a field %u that this version does not know: leave it out",
		    (unsigned)message->unknown_fields[0].tag);
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
		const struct body_rule *rule = body_rule_find(schema, field->name);
		enum cpd_error error;

		if (!rule)
			return fault(inspection, CPD_ERR_MALFORMED, "has a field that no rule knows: %s", field->name);
		error = inspect_field(inspection, message, field, rule);
		if (error)
			return error;
	}
	return inspect_between(inspection, schema, message);
}

/* ---- the body ---- */

static const char *wire_fault_text(enum cpd_error error)
{
	switch (error) {
	case CPD_ERR_MISSING:
		return "is missing: fill it in";
	case CPD_ERR_TOO_LARGE:
		return "asks too much memory to open: make it smaller";
	case CPD_ERR_NOMEM:
		return "finds no memory here to open it: try again";
	case CPD_ERR_RANGE:
		return "holds a number too large for its field: correct it";
	case CPD_ERR_TEXT:
		return "holds a control character or is not UTF-8: type it again";
	default:
		return "is not encoded as its schema says: send it again";
	}
}

static enum cpd_error inspect_bytes(struct inspection *inspection, const ProtobufCMessageDescriptor *descriptor,
    struct slice body)
{
	struct arena arena;
	ProtobufCMessage *message;
	enum cpd_error error;

	/* The budget of the longest body for each: short lists in a short body ask more than 8 bytes a byte. */
	arena_init(&arena, LIMIT_ARENA(LIMIT_BODY));
	error = wire_unpack(descriptor, body, &arena, &message);
	if (!error)
		error = inspect_message(inspection, message);
	else
		error = fault(inspection, error, "%s", wire_fault_text(error));
	arena_clear(&arena);
	if (error == CPD_ERR_MISSING || error == CPD_ERR_TEXT) {
		/* Found by wire_unpack: it tells no place. Found by us: the path stands. */
		if (inspection->problem->field[0] == '\0')
			body_path_find(descriptor, body, inspection->problem->field);
	}
	return error;
}

enum cpd_error body_validate(message_kind kind, struct slice body, bool strict, struct body_problem *problem)
{
	const ProtobufCMessageDescriptor *descriptor = body_descriptor(kind);
	struct body_problem unasked;
	struct inspection inspection = { strict, problem ? problem : &unasked, 0 };

	memset(inspection.problem, 0, sizeof(*inspection.problem));
	if (!descriptor)
		return fault(&inspection, CPD_ERR_NOT_FOUND, "is of kind %u, which has no body that this version knows", (unsigned)kind);
	if (body.len > LIMIT_BODY)
		return fault(&inspection, CPD_ERR_TOO_LARGE, "is %zu bytes long and may be %d: shorten the texts", body.len, LIMIT_BODY);
	return inspect_bytes(&inspection, descriptor, body);
}

enum cpd_error body_sealed_validate(message_kind kind, uint32_t audience, struct slice content, bool strict, struct body_problem *problem)
{
	const ProtobufCMessageDescriptor *descriptor = body_sealed_descriptor(kind, audience);
	struct body_problem unasked;
	struct inspection inspection = { strict, problem ? problem : &unasked, 0 };

	memset(inspection.problem, 0, sizeof(*inspection.problem));
	if (!descriptor)
		return fault(&inspection, CPD_ERR_NOT_FOUND, "is for an audience that this version does not know");
	if (content.len > LIMIT_SEALED_CONTENT)
		return fault(&inspection, CPD_ERR_TOO_LARGE, "is %zu bytes long and may be %d: shorten the texts", content.len, LIMIT_SEALED_CONTENT);
	return inspect_bytes(&inspection, descriptor, content);
}
