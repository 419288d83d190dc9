#include "daemon/body_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "proto/body.pb-c.h"
#include "proto/checkwords.h"
#include "proto/cpd.pb-c.h"

#define DEPTH 4   /* bodies nest two deep */

static enum cpd_error complain(struct body_problem *problem, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static enum cpd_error complain(struct body_problem *problem, const char *path, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	snprintf(problem->field, sizeof(problem->field), "%s", path);
	vsnprintf(problem->text, sizeof(problem->text), format, arguments);
	va_end(arguments);
	return CPD_ERR_RANGE;
}

/* ---------------------------------------------------------------- from JSON */

static enum cpd_error message_from(const ProtobufCMessageDescriptor *descriptor, const json_t *json, const char *path,
    int depth, ProtobufCMessage **out, struct body_problem *problem);

static void *member(ProtobufCMessage *message, unsigned offset)
{
	return (uint8_t *)message + offset;
}

static enum cpd_error number_from(const json_t *json, int64_t low, uint64_t high, const char *path, uint64_t *out, struct body_problem *problem)
{
	json_int_t value = json_integer_value(json);

	if (!json_is_integer(json))
		return complain(problem, path, "must be a whole number");
	if (value < low || (value > 0 && (uint64_t)value > high))
		return complain(problem, path, "is out of range: %lld to %llu", (long long)low, (unsigned long long)high);
	*out = (uint64_t)value;
	return CPD_OK;
}

static enum cpd_error enum_from(const ProtobufCEnumDescriptor *descriptor, const json_t *json, const char *path, uint32_t *out, struct body_problem *problem)
{
	const ProtobufCEnumValue *value;
	char known[120] = "";

	if (json_is_string(json)) {
		for (unsigned i = 0; i < descriptor->n_values; i++) {
			if (!strcasecmp(descriptor->values[i].name, json_string_value(json))) {
				*out = (uint32_t)descriptor->values[i].value;
				return CPD_OK;
			}
		}
	}
	for (unsigned i = 0; i < descriptor->n_values; i++) {
		value = &descriptor->values[i];
		if (value->value && strlen(known) + strlen(value->name) + 3 < sizeof(known))
			snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s", *known ? ", " : "", value->name);
	}
	return complain(problem, path, "must be one of %s", known);
}

/* Writes one value at `at`, which has the size of the field's type. */
static enum cpd_error value_from(const ProtobufCFieldDescriptor *field, const json_t *json, const char *path, int depth,
    void *at, struct body_problem *problem)
{
	enum cpd_error error;
	uint64_t number;

	switch (field->type) {
	case PROTOBUF_C_TYPE_UINT32:
		error = number_from(json, 0, UINT32_MAX, path, &number, problem);
		if (!error)
			*(uint32_t *)at = (uint32_t)number;
		return error;
	case PROTOBUF_C_TYPE_SINT32:
		error = number_from(json, INT32_MIN, INT32_MAX, path, &number, problem);
		if (!error)
			*(int32_t *)at = (int32_t)(int64_t)number;
		return error;
	case PROTOBUF_C_TYPE_UINT64:
		error = number_from(json, 0, INT64_MAX, path, &number, problem);
		if (!error)
			*(uint64_t *)at = number;
		return error;
	case PROTOBUF_C_TYPE_BOOL:
		if (!json_is_boolean(json))
			return complain(problem, path, "must be true or false");
		*(protobuf_c_boolean *)at = json_is_true(json);
		return CPD_OK;
	case PROTOBUF_C_TYPE_ENUM: {
		uint32_t value = 0;
		error = enum_from(field->descriptor, json, path, &value, problem);
		if (!error)
			*(uint32_t *)at = value;
		return error;
	}
	case PROTOBUF_C_TYPE_STRING:
		if (!json_is_string(json))
			return complain(problem, path, "must be text");
		*(char **)at = strdup(json_string_value(json));
		return *(char **)at ? CPD_OK : CPD_ERR_NOMEM;
	case PROTOBUF_C_TYPE_MESSAGE:
		return message_from(field->descriptor, json, path, depth + 1, at, problem);
	default:
		return complain(problem, path, "cannot be given in JSON");
	}
}

static size_t size_of(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_UINT64:
		return sizeof(uint64_t);
	case PROTOBUF_C_TYPE_STRING: case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	default:
		return sizeof(uint32_t);
	}
}

static enum cpd_error list_from(const ProtobufCFieldDescriptor *field, const json_t *json, const char *path, int depth,
    ProtobufCMessage *message, struct body_problem *problem)
{
	size_t count = json_array_size(json), size = size_of(field);
	uint8_t *values;

	if (!json_is_array(json))
		return complain(problem, path, "must be a list");
	if (count > LIMIT_LIST)
		return complain(problem, path, "has more than %d entries", LIMIT_LIST);
	if (!count)
		return CPD_OK;
	values = calloc(count, size);
	if (!values)
		return CPD_ERR_NOMEM;
	*(void **)member(message, field->offset) = values;
	for (size_t i = 0; i < count; i++) {
		char inner[96];
		enum cpd_error error;

		snprintf(inner, sizeof(inner), "%s[%zu]", path, i);
		error = value_from(field, json_array_get(json, i), inner, depth, values + i * size, problem);
		/* What was made so far is freed with the message: it counts what it holds. */
		if (error)
			return error;
		*(size_t *)member(message, field->quantifier_offset) = i + 1;
	}
	return CPD_OK;
}

static enum cpd_error field_from(const ProtobufCFieldDescriptor *field, const json_t *json, const char *path, int depth,
    ProtobufCMessage *message, struct body_problem *problem)
{
	enum cpd_error error;

	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return list_from(field, json, path, depth, message, problem);
	error = value_from(field, json, path, depth, member(message, field->offset), problem);
	if (!error && field->label == PROTOBUF_C_LABEL_OPTIONAL
	    && field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE)
		*(protobuf_c_boolean *)member(message, field->quantifier_offset) = 1;
	return error;
}

static void path_join(char *out, size_t size, const char *path, const char *name)
{
	snprintf(out, size, "%s%s%s", path, *path ? "." : "", name);
}

static enum cpd_error message_from(const ProtobufCMessageDescriptor *descriptor, const json_t *json, const char *path,
    int depth, ProtobufCMessage **out, struct body_problem *problem)
{
	ProtobufCMessage *message;
	enum cpd_error error = CPD_OK;
	char inner[64];
	const char *name;
	json_t *value;

	*out = NULL;
	if (!json_is_object(json) || depth > DEPTH)
		return complain(problem, path, "must be an object with fields");
	json_object_foreach((json_t *)(uintptr_t)json, name, value) {
		if (protobuf_c_message_descriptor_get_field_by_name(descriptor, name))
			continue;
		path_join(inner, sizeof(inner), path, name);
		return complain(problem, inner, "is not a field of %s; `cpctl send --help KIND` lists them", descriptor->short_name);
	}
	message = calloc(1, descriptor->sizeof_message);
	if (!message)
		return CPD_ERR_NOMEM;
	protobuf_c_message_init(descriptor, message);
	for (unsigned i = 0; !error && i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];

		path_join(inner, sizeof(inner), path, field->name);
		value = json_object_get(json, field->name);
		if (value && !json_is_null(value))
			error = field_from(field, value, inner, depth, message, problem);
		else if (field->label == PROTOBUF_C_LABEL_REQUIRED)
			error = complain(problem, inner, "is required");
	}
	if (error) {
		protobuf_c_message_free_unpacked(message, NULL);
		return error;
	}
	*out = message;
	return CPD_OK;
}

/* The two check words of a call are computed, so that nobody has to. */
static const json_t *with_check_words(message_kind kind, const json_t *json, json_t **made)
{
	*made = NULL;
	if (kind != CPD__KIND__KIND_EMERGENCY_CALL || !json_is_object(json) || json_object_get(json, "check_words"))
		return json;
	*made = json_copy((json_t *)(uintptr_t)json);
	if (!*made)
		return json;
	json_object_set_new(*made, "check_words", json_integer(0));
	return *made;
}

enum cpd_error body_from_json(message_kind kind, const json_t *json, uint8_t *buf, size_t *len, struct body_problem *problem)
{
	const ProtobufCMessageDescriptor *descriptor = body_descriptor(kind);
	ProtobufCMessage *message = NULL;
	json_t *made;
	enum cpd_error error;

	*len = 0;
	*problem = (struct body_problem){ "", "" };
	if (!descriptor)
		return complain(problem, "kind", "has no form in this version");
	json = with_check_words(kind, json, &made);
	error = message_from(descriptor, json, "", 0, &message, problem);
	if (!error && made) {
		Cpd__EmergencyCall *call = (Cpd__EmergencyCall *)message;
		struct spoken_call spoken = { call->number, call->services, (uint32_t)call->nature, call->postcode,
		    call->house_number, call->location };
		error = check_words_bits(&spoken, crypto_digest, &call->check_words);
	}
	json_decref(made);
	if (!error && protobuf_c_message_get_packed_size(message) > LIMIT_BODY)
		error = complain(problem, "", "is too long; shorten the texts");
	if (!error) {
		*len = protobuf_c_message_pack(message, buf);
		error = body_validate(kind, (struct slice){ buf, *len }, true, problem);
	}
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
	return error;
}

enum cpd_error body_sealed_from_json(message_kind kind, uint32_t audience, const json_t *json, uint8_t *buf, size_t *len, struct body_problem *problem)
{
	const ProtobufCMessageDescriptor *descriptor = body_sealed_descriptor(kind, audience);
	ProtobufCMessage *message = NULL;
	enum cpd_error error;

	*len = 0;
	*problem = (struct body_problem){ "", "" };
	if (!descriptor)
		return complain(problem, "", "is not for this kind of message");
	error = message_from(descriptor, json, "", 0, &message, problem);
	if (!error && protobuf_c_message_get_packed_size(message) > LIMIT_SEALED_CONTENT)
		error = complain(problem, "", "is too long; shorten the texts");
	if (!error) {
		*len = protobuf_c_message_pack(message, buf);
		error = body_sealed_validate(kind, audience, (struct slice){ buf, *len }, true, problem);
	}
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
	return error;
}

/* ---------------------------------------------------------------- to JSON */

static json_t *message_to(const ProtobufCMessage *message);

static json_t *value_to(const ProtobufCFieldDescriptor *field, const void *at)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_UINT32:
		return json_integer(*(const uint32_t *)at);
	case PROTOBUF_C_TYPE_SINT32:
		return json_integer(*(const int32_t *)at);
	case PROTOBUF_C_TYPE_UINT64:
		return json_integer((json_int_t)*(const uint64_t *)at);
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)at);
	case PROTOBUF_C_TYPE_STRING:
		return json_string(*(char *const *)at);
	case PROTOBUF_C_TYPE_ENUM: {
		const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(field->descriptor, (int)*(const uint32_t *)at);
		return value ? json_string(value->name) : json_integer(*(const uint32_t *)at);
	}
	case PROTOBUF_C_TYPE_MESSAGE:
		return message_to(*(ProtobufCMessage *const *)at);
	default:
		return json_null();
	}
}

static json_t *message_to(const ProtobufCMessage *message)
{
	json_t *json = json_object();
	const uint8_t *base = (const uint8_t *)message;

	for (unsigned i = 0; json && i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
		const void *at = base + field->offset;

		if (field->label == PROTOBUF_C_LABEL_REPEATED) {
			size_t count = *(const size_t *)(const void *)(base + field->quantifier_offset);
			json_t *list = count ? json_array() : NULL;
			const uint8_t *values = *(uint8_t *const *)at;

			for (size_t j = 0; list && j < count; j++)
				json_array_append_new(list, value_to(field, values + j * size_of(field)));
			if (list)
				json_object_set_new(json, field->name, list);
			continue;
		}
		if (field->label == PROTOBUF_C_LABEL_OPTIONAL) {
			bool is_pointer = field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
			if (is_pointer ? !*(void *const *)at : !*(const protobuf_c_boolean *)(base + field->quantifier_offset))
				continue;
		}
		json_object_set_new(json, field->name, value_to(field, at));
	}
	return json;
}

/* Of bytes that were validated: that bounds what unpacking may ask. */
static json_t *packed_to(const ProtobufCMessageDescriptor *descriptor, struct slice bytes)
{
	ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, NULL, bytes.len, bytes.data);
	json_t *json = message ? message_to(message) : NULL;

	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
	return json;
}

json_t *body_to_json(message_kind kind, struct slice body)
{
	const ProtobufCMessageDescriptor *descriptor = body_descriptor(kind);

	return descriptor && !body_validate(kind, body, false, NULL) ? packed_to(descriptor, body) : NULL;
}

json_t *body_sealed_to_json(message_kind kind, uint32_t audience, struct slice content)
{
	const ProtobufCMessageDescriptor *descriptor = body_sealed_descriptor(kind, audience);

	return descriptor && !body_sealed_validate(kind, audience, content, false, NULL) ? packed_to(descriptor, content) : NULL;
}

void body_line(message_kind kind, struct slice body, char *out, size_t size)
{
	/* The field that says most, for each kind; the first that is there. */
	static const char *const telling[] = { "core", "what", "text", "access", "location", "phase", "step" };
	json_t *json = body_to_json(kind, body);
	const char *text = NULL;

	out[0] = '\0';
	for (size_t i = 0; json && !text && i < sizeof(telling) / sizeof(telling[0]); i++)
		text = json_string_value(json_object_get(json, telling[i]));
	if (json && kind == CPD__KIND__KIND_EMERGENCY_CALL) {
		const char *postcode = json_string_value(json_object_get(json, "postcode"));
		const char *house = json_string_value(json_object_get(json, "house_number"));
		const char *nature = json_string_value(json_object_get(json, "nature"));

		snprintf(out, size, "%03lld %s%s%s%s%s%s%s", (long long)json_integer_value(json_object_get(json, "number")),
		    nature ? nature : "", postcode ? " " : "", postcode ? postcode : "", house ? " " : "", house ? house : "",
		    text ? ": " : "", text ? text : "");
	} else if (text) {
		snprintf(out, size, "%s", text);
	}
	for (char *at = out; *at; at++)
		if (*at == '\n' || *at == '\t')
			*at = ' ';
	/* A character cut in two at the end is left out. */
	for (size_t length = strlen(out); length && length == size - 1; length = 0) {
		while (length && ((uint8_t)out[length - 1] & 0xC0) == 0x80)
			length--;
		if (length)
			out[length - 1] = '\0';
	}
	json_decref(json);
}
