/* fields.c: see fields.h. */
#include "daemon/cpctl/fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "daemon/cpctl/arguments.h"
#include "proto/types.h"

#define PATH_MAX_BYTES 96

/* ---------------------------------------------------------------- moments */

static bool parse_rfc3339(const char *text, int64_t *ms)
{
	struct tm parts = { .tm_isdst = 0 };
	unsigned offset_h = 0, offset_m = 0;
	int used = 0;
	char zone[8] = "";
	int64_t seconds;

	if (sscanf(text, "%4d-%2d-%2d%*1[T ]%2d:%2d%n", &parts.tm_year, &parts.tm_mon, &parts.tm_mday, &parts.tm_hour, &parts.tm_min, &used) != 5)
		return false;
	text += used;
	if (*text == ':') {
		if (sscanf(text, ":%2d%n", &parts.tm_sec, &used) != 1)
			return false;
		text += used;
	}
	if (*text == '.')
		text += 1 + strspn(text + 1, "0123456789");
	if (parts.tm_mon < 1 || parts.tm_mon > 12 || parts.tm_mday < 1 || parts.tm_mday > 31 || parts.tm_hour > 23 || parts.tm_min > 59 || parts.tm_sec > 60)
		return false;
	parts.tm_year -= 1900;
	parts.tm_mon -= 1;
	snprintf(zone, sizeof(zone), "%s", text);
	/* Without a zone it would be anybody's guess which one was meant. */
	if (strcmp(zone, "Z") && (strlen(text) != 6 || !strchr("+-", zone[0]) || sscanf(zone + 1, "%2u:%2u", &offset_h, &offset_m) != 2))
		return false;
	seconds = (int64_t)timegm(&parts) - CPD_TIME_ZERO_S;
	seconds -= (zone[0] == '-' ? -1 : 1) * (int64_t)(offset_h * 3600 + offset_m * 60);
	*ms = seconds * 1000;
	return true;
}

bool parse_moment(const char *text, int64_t *ms)
{
	int64_t now_ms = ((int64_t)time(NULL) - CPD_TIME_ZERO_S) * 1000;
	uint64_t number;

	if (!strcasecmp(text, "now"))
		*ms = now_ms;
	else if (*text == '+' && parse_duration(text + 1, &number))
		*ms = now_ms + (int64_t)number * 1000;
	else if (*text == '-' && parse_duration(text + 1, &number))
		*ms = now_ms - (int64_t)number * 1000;
	else if (parse_number(text, INT64_MAX, &number))
		*ms = (int64_t)number;
	else if (!parse_rfc3339(text, ms))
		return false;
	return *ms >= 0;
}

/* ---------------------------------------------------------------- one value */

static bool is_moment(const ProtobufCFieldDescriptor *field)
{
	size_t len = strlen(field->name);

	return field->type == PROTOBUF_C_TYPE_UINT64 && len > 3 && !strcmp(field->name + len - 3, "_ms");
}

static json_t *enum_value(const struct call *call, const ProtobufCEnumDescriptor *descriptor, const char *path, const char *text)
{
	const char *tail = NULL;
	unsigned tails = 0;
	char known[160] = "";

	for (unsigned i = 0; i < descriptor->n_values; i++) {
		const char *name = descriptor->values[i].name, *low = strchr(name, '_');

		if (!strcasecmp(name, text))
			return json_string(name);
		/* READ for REQUIRED_READ: the schema's words must differ between lists, a person's need not. */
		if (descriptor->values[i].value && low && !strcasecmp(low + 1, text)) {
			tail = name;
			tails++;
		}
		/* 0 is "unknown": a program may say it, nobody is told to. */
		if (descriptor->values[i].value && strlen(known) + strlen(name) + 3 < sizeof(known))
			snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s", *known ? ", " : "", name);
	}
	if (tails == 1)
		return json_string(tail);
	say_usage(call, "--%s: \"%s\" is not one of %s", path, text, known);
	return NULL;
}

static json_t *number_value(const struct call *call, const ProtobufCFieldDescriptor *field, const char *path, const char *text)
{
	bool is_negative = *text == '-' && field->type == PROTOBUF_C_TYPE_SINT32;
	uint64_t most = field->type == PROTOBUF_C_TYPE_UINT64 ? INT64_MAX : field->type == PROTOBUF_C_TYPE_SINT32 ? INT32_MAX : UINT32_MAX, number;
	int64_t ms;

	if (is_moment(field)) {
		if (parse_moment(text, &ms))
			return json_integer(ms);
		say_usage(call, "--%s: \"%s\" is not a moment since 2026; write now, +2h, -30m or 2026-11-24T12:00:00Z", path, text);
		return NULL;
	}
	if (parse_number(text + is_negative, most, &number))
		return json_integer(is_negative ? -(json_int_t)number : (json_int_t)number);
	say_usage(call, "--%s: \"%s\" is not a whole number up to %llu", path, text, (unsigned long long)most);
	return NULL;
}

static json_t *flag_value(const struct call *call, const char *path, const char *text)
{
	if (!strcasecmp(text, "true") || !strcasecmp(text, "yes") || !strcasecmp(text, "ja"))
		return json_true();
	if (!strcasecmp(text, "false") || !strcasecmp(text, "no") || !strcasecmp(text, "nee"))
		return json_false();
	say_usage(call, "--%s: \"%s\" is neither true nor false", path, text);
	return NULL;
}

static json_t *one_value(const struct call *call, const ProtobufCFieldDescriptor *field, const char *path, const char *text)
{
	const ProtobufCMessageDescriptor *inner;
	json_t *json;

	switch (field->type) {
	case PROTOBUF_C_TYPE_UINT32: case PROTOBUF_C_TYPE_SINT32: case PROTOBUF_C_TYPE_UINT64:
		return number_value(call, field, path, text);
	case PROTOBUF_C_TYPE_BOOL:
		return flag_value(call, path, text);
	case PROTOBUF_C_TYPE_ENUM:
		return enum_value(call, field->descriptor, path, text);
	case PROTOBUF_C_TYPE_MESSAGE:
		inner = field->descriptor;
		json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
		if (json_is_object(json))
			return json;
		json_decref(json);
		say_usage(call, "--%s has fields of its own: write --%s.%s VALUE, or a JSON object", path, path, inner->fields[0].name);
		return NULL;
	default:
		json = json_string(text);
		if (!json)
			say_usage(call, "--%s: the text is not UTF-8", path);
		return json;
	}
}

/* ---------------------------------------------------------------- where it goes */

static bool unknown_field(const struct call *call, const ProtobufCMessageDescriptor *descriptor, const char *before, const char *name)
{
	const char *best = NULL;
	size_t distance = 0;
	char hint[PATH_MAX_BYTES * 2];

	for (unsigned i = 0; i < descriptor->n_fields; i++)
		nearest(name, descriptor->fields[i].name, &best, &distance);
	for (const struct option_rule *rule = *before ? NULL : call->verb->options; rule && rule->name; rule++)
		nearest(name, rule->name, &best, &distance);
	say_usage(call, "--%s%s is neither an option nor a field of %s%s; `cpctl send --help %s` lists them", before, name, descriptor->short_name,
	    nearest_hint(name, "--", best, distance, hint, sizeof(hint)), call->words[0]);
	return false;
}

/* The object inside which the rest of the path goes. In a list: a new entry when the last one has that
 * field already, so that --services.code a --services.colour RED --services.code b makes two. */
static json_t *inner_object(json_t *object, const ProtobufCFieldDescriptor *field, const char *rest)
{
	json_t *held = json_object_get(object, field->name), *last;
	char name[PATH_MAX_BYTES];

	if (field->label != PROTOBUF_C_LABEL_REPEATED) {
		if (!json_is_object(held)) {
			held = json_object();
			json_object_set_new(object, field->name, held);
		}
		return held;
	}
	if (!json_is_array(held)) {
		held = json_array();
		json_object_set_new(object, field->name, held);
	}
	last = json_array_get(held, json_array_size(held) - 1);
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(rest, "."), rest);
	if (last && !json_object_get(last, name))
		return last;
	last = json_object();
	return last && !json_array_append_new(held, last) ? last : NULL;
}

static bool set_value(const struct call *call, json_t *object, const ProtobufCFieldDescriptor *field, const char *path, const char *text)
{
	json_t *value, *held = json_object_get(object, field->name);

	if (held && field->label != PROTOBUF_C_LABEL_REPEATED) {
		say_usage(call, "--%s is given twice; keep one", path);
		return false;
	}
	value = one_value(call, field, path, text);
	if (!value)
		return false;
	if (field->label != PROTOBUF_C_LABEL_REPEATED)
		return !json_object_set_new(object, field->name, value);
	if (!held) {
		held = json_array();
		json_object_set_new(object, field->name, held);
	}
	return !json_array_append_new(held, value);
}

static bool read_field(const struct call *call, const ProtobufCMessageDescriptor *descriptor, json_t *object, const char *given, const char *text)
{
	char path[PATH_MAX_BYTES];
	char *at = path;

	snprintf(path, sizeof(path), "%s", !strncmp(given, "body.", 5) ? given + 5 : given);
	for (char *dash = path; *dash; dash++)
		if (*dash == '-')
			*dash = '_';
	for (;;) {
		char *dot = strchr(at, '.'), before[PATH_MAX_BYTES];
		const ProtobufCFieldDescriptor *field;

		snprintf(before, sizeof(before), "%.*s", (int)(at - path), path);
		if (dot)
			*dot = '\0';
		field = protobuf_c_message_descriptor_get_field_by_name(descriptor, at);
		if (!field)
			return unknown_field(call, descriptor, before, at);
		if (!dot)
			return set_value(call, object, field, path, text);
		if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
			say_usage(call, "--%s has no fields of its own", path);
			return false;
		}
		object = inner_object(object, field, dot + 1);
		if (!object) {
			say_usage(call, "memory is used up");
			return false;
		}
		*dot = '.';
		at = dot + 1;
		descriptor = field->descriptor;
	}
}

/* What was given by flags wins; objects are merged field by field. */
static void merge(json_t *into, json_t *from)
{
	const char *name;
	json_t *value;

	json_object_foreach(from, name, value) {
		json_t *held = json_object_get(into, name);

		if (json_is_object(held) && json_is_object(value))
			merge(held, value);
		else
			json_object_set(into, name, value);
	}
}

bool fields_read(const struct call *call, const ProtobufCMessageDescriptor *descriptor, json_t *body)
{
	json_t *flags = json_object();
	bool is_good = flags != NULL;

	for (size_t i = 0; is_good && i < call->field_count; i++)
		is_good = read_field(call, descriptor, flags, call->fields[i].name, call->fields[i].value);
	if (is_good)
		merge(body, flags);
	json_decref(flags);
	return is_good;
}

/* ---------------------------------------------------------------- help */

/* What a number counts, where the name does not tell. */
static const char *number_note(const char *name)
{
	static const char *const notes[][2] = {
		{ "services", "1 police, 2 fire, 4 ambulance; added up" }, { "latitude_e5", "5209083 is 52.09083" },
		{ "longitude_e5", "512222 is 5.12222" },
	};

	for (size_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++)
		if (!strcmp(notes[i][0], name))
			return notes[i][1];
	return "number";
}

static void type_text(const ProtobufCFieldDescriptor *field, char *out, size_t size)
{
	const ProtobufCEnumDescriptor *words = field->descriptor;
	size_t used = 0;

	out[0] = '\0';
	if (field->type == PROTOBUF_C_TYPE_ENUM) {
		for (unsigned i = 0; i < words->n_values; i++)
			if (words->values[i].value && used < size)
				used += (size_t)snprintf(out + used, size - used, "%s%s", used ? "|" : "", words->values[i].name);
		return;
	}
	snprintf(out, size, "%s", is_moment(field) ? "moment: now, +2h, -30m, 2026-11-24T12:00:00Z"
	    : field->type == PROTOBUF_C_TYPE_STRING ? "text" : field->type == PROTOBUF_C_TYPE_BOOL ? "true or false" : number_note(field->name));
}

static void print_field(const ProtobufCFieldDescriptor *field, const char *before, bool is_inner_required)
{
	/* The daemon computes the check words of a call. */
	bool is_required = field->label == PROTOBUF_C_LABEL_REQUIRED && is_inner_required && strcmp(field->name, "check_words");
	char name[PATH_MAX_BYTES], type[200];

	if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
		const ProtobufCMessageDescriptor *inner = field->descriptor;

		if (*before) {   /* a whole status inside a report: too long to be typed as flags */
			printf("    --%s%s JSON\n", before, field->name);
			return;
		}
		snprintf(name, sizeof(name), "%s.", field->name);
		for (unsigned i = 0; i < inner->n_fields; i++)
			print_field(&inner->fields[i], name, is_required);
		return;
	}
	snprintf(name, sizeof(name), "--%s%s", before, field->name);
	type_text(field, type, sizeof(type));
	if (strlen(name) > 24 || strlen(type) > (field->label == PROTOBUF_C_LABEL_REPEATED ? 32 : 48))
		printf("  %s %s\n      %s", is_required ? "*" : " ", name, type);
	else
		printf("  %s %-24s %s", is_required ? "*" : " ", name, type);
	printf("%s\n", field->label == PROTOBUF_C_LABEL_REPEATED ? "; again for more" : "");
}

void fields_help(const ProtobufCMessageDescriptor *descriptor)
{
	for (unsigned i = 0; i < descriptor->n_fields; i++)
		print_field(&descriptor->fields[i], "", true);
}
