/*
 * body_rules.c: what each field of each body may hold, as tables, and the rules between fields.
 * Every field has its row; test_body.c proves it. Bounds are on what a tired person could mean:
 * wide enough for any real place, narrow enough to catch a slip of the finger.
 */
#include "proto/body.h"

#include <string.h>

#include "proto/body.pb-c.h"
#include "proto/checkwords.h"
#include "proto/cpd.pb-c.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define TIME_MAX (INT64_C(100) * 366 * 24 * 3600 * 1000) /* ms: a century after 2026 */
#define PEOPLE_MAX 100000
#define NUMBER_MAX 9999                                  /* speakable in one breath */
#define YEAR_MIN (366 * 24 * 60)                         /* a year in minutes: "no end in sight" */
#define CODE 32                                          /* characters of a code of a data file */
#define LINE LIMIT_LINE
#define FUNCTION LIMIT_FUNCTION

#define RULE_NUMBER(name, low, high) { .field = name, .min = low, .max = high }
#define RULE_TIME(name) { .field = name, .min = 1, .max = TIME_MAX }
#define RULE_FLAG(name) { .field = name, .min = 0, .max = 1 }
#define RULE_ENUM(name, bits) { .field = name, .flags = bits }
#define RULE_TEXT(name, most, bits) { .field = name, .characters = most, .flags = bits }
#define RULE_LIST(name, most) { .field = name, .entries = most }
#define RULE_LOCAL { .field = "local", .entries = LIMIT_LOCAL }

static const struct body_rule local_rules[] = {
	RULE_TEXT("key", CODE, RULE_FILLED),
	RULE_TEXT("value", LINE, RULE_LINES),
};

static const struct body_rule service_state_rules[] = {
	RULE_TEXT("code", CODE, RULE_FILLED),
	RULE_ENUM("colour", 0),
	RULE_TEXT("remark", LINE, 0),
};

static const struct body_rule skill_rules[] = {
	RULE_TEXT("code", CODE, RULE_FILLED),
	RULE_NUMBER("count", 0, PEOPLE_MAX),
};

static const struct body_rule supply_rules[] = {
	RULE_TEXT("code", CODE, RULE_FILLED),
	RULE_NUMBER("amount", 0, 100000000),
	RULE_TEXT("unit", CODE, 0),
	RULE_NUMBER("hours_left", 0, 366 * 24),
};

static const struct body_rule bearer_state_rules[] = {
	RULE_TEXT("name", CODE, RULE_FILLED),
	RULE_TEXT("state", CODE, 0),
	RULE_TIME("last_good_ms"),
	RULE_NUMBER("queued", 0, UINT32_MAX),
};

static const struct body_rule nsp_status_rules[] = {
	RULE_ENUM("phase", RULE_KNOWN),
	RULE_TIME("alerted_ms"),
	RULE_TIME("opened_ms"),
	RULE_TIME("closed_ms"),
	RULE_NUMBER("persons", 0, PEOPLE_MAX),
	RULE_NUMBER("visitors_last_hour", 0, PEOPLE_MAX),
	RULE_NUMBER("capacity", 0, PEOPLE_MAX),
	RULE_NUMBER("staff_present", 0, PEOPLE_MAX),
	RULE_NUMBER("staff_needed", 0, PEOPLE_MAX),
	RULE_TIME("relief_ms"),
	RULE_ENUM("power", 0),
	RULE_NUMBER("autonomy_min", 0, YEAR_MIN),
	RULE_NUMBER("fuel_l", 0, 1000000),
	RULE_ENUM("safety", RULE_KNOWN),
	RULE_LIST("services", LIMIT_LIST),
	RULE_LIST("skills", LIMIT_LIST),
	RULE_LIST("supplies", LIMIT_LIST),
	RULE_LIST("bearers", LIMIT_LIST),
	RULE_TEXT("bulletin_on_wall", CODE, 0),
	RULE_LOCAL,
	RULE_NUMBER("base_sequence", 1, INT64_MAX),
};

static const struct body_rule point_rules[] = {
	RULE_ENUM("colour", 0),
	RULE_ENUM("trend", 0),
	RULE_TEXT("text", LINE, RULE_FILLED | RULE_LINES),
	RULE_ENUM("certainty", 0),
	RULE_TEXT("waits_for", LINE, 0),
};

/* A single message: the row says only that it is known. */
#define RULE_MESSAGE(name) { .field = name }

static const struct body_rule situation_report_rules[] = {
	RULE_NUMBER("number", 1, NUMBER_MAX),
	RULE_NUMBER("version", 1, NUMBER_MAX),
	RULE_TIME("from_ms"),
	RULE_TIME("to_ms"),
	RULE_MESSAGE("people"),
	RULE_MESSAGE("means"),
	RULE_MESSAGE("connections"),
	RULE_MESSAGE("communication"),
	RULE_MESSAGE("logistics"),
	RULE_MESSAGE("society"),
	RULE_TEXT("core", LINE, RULE_FILLED | RULE_LINES),
	{ .field = "bottlenecks", .characters = LINE, .entries = 3, .flags = RULE_FILLED },
	{ .field = "needs", .characters = LINE, .entries = 3, .flags = RULE_FILLED },
	RULE_TEXT("outlook", LINE, RULE_LINES),
	RULE_TEXT("drawn_up_by", FUNCTION, RULE_FILLED),
	RULE_TEXT("confirmed_by", FUNCTION, 0),
	RULE_MESSAGE("status"),
	RULE_LOCAL,
};

static const struct body_rule emergency_call_rules[] = {
	RULE_NUMBER("number", 1, NUMBER_MAX),
	RULE_NUMBER("check_words", 0, CHECK_WORDS_MAX),
	RULE_NUMBER("services", 1, UINT32_MAX),
	RULE_ENUM("nature", 0),
	RULE_TEXT("postcode", 16, 0), /* the pattern below says it better than a length */
	RULE_TEXT("house_number", 16, 0),
	RULE_NUMBER("latitude_e5", -9000000, 9000000),
	RULE_NUMBER("longitude_e5", -18000000, 18000000),
	RULE_NUMBER("accuracy_m", 0, 100000),
	RULE_TEXT("location", 140, 0),
	RULE_NUMBER("persons", 0, PEOPLE_MAX),
	RULE_ENUM("conscious", 0),
	RULE_ENUM("breathing", 0),
	{ .field = "equipment", .entries = 8 },
	RULE_NUMBER("battery_min", 0, YEAR_MIN),
	RULE_TEXT("hazards", LINE, RULE_LINES),
	RULE_TEXT("access", 80, 0),
	RULE_FLAG("caller_waits"),
	RULE_LOCAL,
};

static const struct body_rule call_contact_rules[] = {
	RULE_TEXT("name", 80, RULE_FILLED),
	RULE_TEXT("contact", 120, RULE_FILLED),
};

static const struct body_rule call_care_rules[] = {
	RULE_TEXT("address", 120, RULE_FILLED),
	RULE_TEXT("equipment", 160, RULE_FILLED),
	RULE_TEXT("health", LINE, RULE_FILLED | RULE_LINES),
};

static const struct body_rule emergency_progress_rules[] = {
	RULE_ENUM("step", RULE_KNOWN),
	RULE_TEXT("text", LINE, RULE_LINES),
	RULE_TIME("expected_ms"),
	RULE_LOCAL,
};

static const struct body_rule instruction_rules[] = {
	RULE_NUMBER("number", 1, NUMBER_MAX),
	RULE_TEXT("on_behalf_of", FUNCTION, RULE_FILLED),
	RULE_TEXT("what", LIMIT_TEXT_CHARACTERS, RULE_FILLED | RULE_LINES),
	RULE_TEXT("why", LIMIT_TEXT_CHARACTERS, RULE_FILLED | RULE_LINES),
	RULE_TIME("by_when_ms"),
	RULE_ENUM("required_level", RULE_KNOWN),
	RULE_TIME("report_back_ms"),
	RULE_TEXT("basis", LINE, RULE_LINES),
	RULE_LOCAL,
};

static const struct body_rule bulletin_rules[] = {
	RULE_NUMBER("bulletin", 1, NUMBER_MAX),
	RULE_NUMBER("version", 1, NUMBER_MAX),
	RULE_TEXT("title", 80, RULE_FILLED),
	RULE_TEXT("core", LINE, RULE_FILLED | RULE_LINES),
	RULE_TEXT("do_this", LINE, RULE_FILLED | RULE_LINES),
	RULE_TEXT("detail", LIMIT_TEXT_CHARACTERS, RULE_LINES),
	RULE_TEXT("radio_text", LIMIT_TEXT_CHARACTERS, RULE_LINES),
	RULE_TIME("valid_from_ms"),
	RULE_TIME("valid_to_ms"),
	RULE_TIME("next_update_ms"),
	RULE_ENUM("urgency", RULE_KNOWN),
	RULE_ENUM("severity", RULE_KNOWN),
	RULE_ENUM("certainty", RULE_KNOWN),
	{ .field = "categories", .characters = CODE, .entries = 8, .flags = RULE_FILLED },
	{ .field = "area", .characters = 8, .entries = LIMIT_LIST, .flags = RULE_FILLED },
	RULE_TEXT("authority", FUNCTION, RULE_FILLED),
	RULE_TEXT("audience", 80, 0),
	RULE_TEXT("language", CODE, 0),
	RULE_FLAG("hang_up"),
	RULE_LOCAL,
};

static const struct body_rule text_rules[] = {
	RULE_TEXT("text", LIMIT_TEXT_CHARACTERS, RULE_FILLED | RULE_LINES),
	RULE_TEXT("subject", 80, 0),
	RULE_LOCAL,
};

/* ---- rules between fields ---- */

static enum cpd_error fault(struct body_problem *problem, enum cpd_error error, const char *field, const char *text)
{
	strncpy(problem->field, field, sizeof(problem->field) - 1);
	strncpy(problem->text, text, sizeof(problem->text) - 1);
	return error;
}

static enum cpd_error check_nsp_status(const ProtobufCMessage *message, bool strict, struct body_problem *problem)
{
	const Cpd__NspStatus *status = (const Cpd__NspStatus *)message;

	(void)strict;
	if (status->has_alerted_ms && status->has_opened_ms && status->opened_ms < status->alerted_ms)
		return fault(problem, CPD_ERR_RANGE, "opened_ms", "is before the alert: correct one of the two times");
	if (status->has_opened_ms && status->has_closed_ms && status->closed_ms < status->opened_ms)
		return fault(problem, CPD_ERR_RANGE, "closed_ms", "is before the opening: correct one of the two times");
	return CPD_OK;
}

static enum cpd_error check_situation_report(const ProtobufCMessage *message, bool strict, struct body_problem *problem)
{
	const Cpd__SituationReport *report = (const Cpd__SituationReport *)message;

	(void)strict;
	if (report->to_ms <= report->from_ms)
		return fault(problem, CPD_ERR_RANGE, "to_ms", "is not after the start of the period: correct the period");
	return CPD_OK;
}

/* 3512JE: four digits, two capitals, no space. */
static bool is_postcode(const char *text)
{
	if (strlen(text) != 6 || strspn(text, "0123456789") != 4)
		return false;
	return strspn(text + 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 2;
}

static bool is_given(const char *text)
{
	return text && text[strspn(text, " ")] != '\0';
}

static enum cpd_error check_emergency_call(const ProtobufCMessage *message, bool strict, struct body_problem *problem)
{
	const Cpd__EmergencyCall *call = (const Cpd__EmergencyCall *)message;

	/* A later version may know a fourth service. */
	if (strict && call->services > 7)
		return fault(problem, CPD_ERR_RANGE, "services", "names a service that does not exist: choose police, fire or ambulance");
	if (is_given(call->postcode) && !is_postcode(call->postcode))
		return fault(problem, CPD_ERR_RANGE, "postcode", "is not a postcode: write four digits and two capitals, like 3512JE");
	if (call->has_latitude_e5 && !call->has_longitude_e5)
		return fault(problem, CPD_ERR_MISSING, "longitude_e5", "is missing: give both coordinates or none");
	if (call->has_longitude_e5 && !call->has_latitude_e5)
		return fault(problem, CPD_ERR_MISSING, "latitude_e5", "is missing: give both coordinates or none");
	if (call->has_latitude_e5 || is_given(call->location))
		return CPD_OK;
	if (is_given(call->postcode) && !is_given(call->house_number))
		return fault(problem, CPD_ERR_MISSING, "house_number", "is missing: a postcode needs its house number, or describe the place");
	if (!is_given(call->postcode))
		return fault(problem, CPD_ERR_MISSING, "location", "is missing: give postcode and house number, coordinates or a description");
	return CPD_OK;
}

/* About a minute of speech. */
static size_t words_of(const char *text)
{
	size_t count = 0;

	for (text += strspn(text, " \n\t"); *text; text += strspn(text, " \n\t")) {
		count++;
		text += strcspn(text, " \n\t");
	}
	return count;
}

static bool is_area(const char *text)
{
	return (!strncmp(text, "GM", 2) && strlen(text) == 6 && strspn(text + 2, "0123456789") == 4) ||
	    (!strncmp(text, "VR", 2) && strlen(text) == 4 && strspn(text + 2, "0123456789") == 2);
}

static enum cpd_error check_bulletin(const ProtobufCMessage *message, bool strict, struct body_problem *problem)
{
	const Cpd__Bulletin *bulletin = (const Cpd__Bulletin *)message;

	if (bulletin->valid_to_ms <= bulletin->valid_from_ms)
		return fault(problem, CPD_ERR_RANGE, "valid_to_ms", "is not after the beginning: correct one of the two times");
	if (!bulletin->n_area)
		return fault(problem, CPD_ERR_MISSING, "area", "is missing: name a municipality (GM0344) or a region (VR09)");
	if (bulletin->radio_text && words_of(bulletin->radio_text) > 150)
		return fault(problem, CPD_ERR_TOO_LARGE, "radio_text", "has more than 150 words: shorten it to a minute");
	/* A later version may know other areas. */
	for (size_t i = 0; strict && i < bulletin->n_area; i++)
		if (!is_area(bulletin->area[i]))
			return fault(problem, CPD_ERR_RANGE, "area", "is not a CBS code: write GM and four digits, or VR and two");
	return CPD_OK;
}

/* All fields are texts: nothing at all needs no seal. What a later version put there counts. */
static enum cpd_error check_not_empty(const ProtobufCMessage *message, bool strict, struct body_problem *problem)
{
	(void)strict;
	for (unsigned i = 0; i < message->descriptor->n_fields; i++)
		if (*(char *const *)(const void *)((const uint8_t *)message + message->descriptor->fields[i].offset))
			return CPD_OK;
	return message->n_unknown_fields ? CPD_OK : fault(problem, CPD_ERR_MISSING, "", "is empty: fill in a field, or leave it out");
}

/* ---- the tables together ---- */

#define SCHEMA(name, table, function) { &cpd__##name##__descriptor, table, COUNT(table), function }

static const struct body_schema schemas[] = {
	SCHEMA(local, local_rules, NULL),
	SCHEMA(service_state, service_state_rules, NULL),
	SCHEMA(skill, skill_rules, NULL),
	SCHEMA(supply, supply_rules, NULL),
	SCHEMA(bearer_state, bearer_state_rules, NULL),
	SCHEMA(nsp_status, nsp_status_rules, check_nsp_status),
	SCHEMA(point, point_rules, NULL),
	SCHEMA(situation_report, situation_report_rules, check_situation_report),
	SCHEMA(emergency_call, emergency_call_rules, check_emergency_call),
	SCHEMA(call_contact, call_contact_rules, check_not_empty),
	SCHEMA(call_care, call_care_rules, check_not_empty),
	SCHEMA(emergency_progress, emergency_progress_rules, NULL),
	SCHEMA(instruction, instruction_rules, NULL),
	SCHEMA(bulletin, bulletin_rules, check_bulletin),
	SCHEMA(text, text_rules, NULL),
};

static const struct { message_kind kind; const ProtobufCMessageDescriptor *descriptor; } bodies[] = {
	{ CPD__KIND__KIND_NSP_STATUS, &cpd__nsp_status__descriptor },
	{ CPD__KIND__KIND_SITUATION_REPORT, &cpd__situation_report__descriptor },
	{ CPD__KIND__KIND_EMERGENCY_CALL, &cpd__emergency_call__descriptor },
	{ CPD__KIND__KIND_EMERGENCY_PROGRESS, &cpd__emergency_progress__descriptor },
	{ CPD__KIND__KIND_INSTRUCTION, &cpd__instruction__descriptor },
	{ CPD__KIND__KIND_TEXT, &cpd__text__descriptor },
	{ CPD__KIND__KIND_BULLETIN, &cpd__bulletin__descriptor },
};

const ProtobufCMessageDescriptor *body_sealed_descriptor(message_kind kind, uint32_t audience)
{
	if (kind != CPD__KIND__KIND_EMERGENCY_CALL)
		return NULL;
	return audience == CPD__AUDIENCE__AUDIENCE_CONTACT ? &cpd__call_contact__descriptor :
	    audience == CPD__AUDIENCE__AUDIENCE_CARE ? &cpd__call_care__descriptor : NULL;
}

const ProtobufCMessageDescriptor *body_descriptor(message_kind kind)
{
	for (size_t i = 0; i < COUNT(bodies); i++)
		if (bodies[i].kind == kind)
			return bodies[i].descriptor;
	return NULL;
}

const struct body_schema *body_schema_find(const ProtobufCMessageDescriptor *descriptor)
{
	for (size_t i = 0; i < COUNT(schemas); i++)
		if (schemas[i].descriptor == descriptor)
			return &schemas[i];
	return NULL;
}

const struct body_rule *body_rule_find(const struct body_schema *schema, const char *field)
{
	for (size_t i = 0; i < schema->rule_count; i++)
		if (strcmp(schema->rules[i].field, field) == 0)
			return &schema->rules[i];
	return NULL;
}
