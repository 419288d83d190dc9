/*
 * test_body.c: bodies: what a person may author, what a receiver lets pass, and what each refusal says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/body.h"
#include "proto/body.pb-c.h"
#include "proto/cpd.pb-c.h"
#include "proto/kind.h"
#include "test/unit/hungry_proto.h"

static char *text(const char *literal)
{
	return (char *)(uintptr_t)literal;
}

/* ---- good bodies, built anew for each test so that it may spoil them ---- */

static Cpd__ServiceState service;
static Cpd__Skill skill;
static Cpd__Supply supply;
static Cpd__BearerState bearer;
static Cpd__Local local;
static Cpd__ServiceState *services[LIMIT_LIST + 1];
static Cpd__Skill *skills[LIMIT_LIST + 1];
static Cpd__Supply *supplies[LIMIT_LIST + 1];
static Cpd__BearerState *bearers[LIMIT_LIST + 1];
static Cpd__Local *locals[LIMIT_LOCAL + 1];
static Cpd__Equipment equipment[9];
static char *lines[4];
static Cpd__Point points[6];
static Cpd__NspStatus status;
static Cpd__SituationReport report;
static Cpd__EmergencyCall call;
static Cpd__EmergencyProgress progress;
static Cpd__Bulletin bulletin;
static Cpd__Instruction instruction;
static Cpd__Text note;
static char long_text[LIMIT_TEXT + 16];

static void set_up_parts(void)
{
	cpd__service_state__init(&service);
	service.code = text("water");
	service.colour = CPD__COLOUR__AMBER;
	service.remark = text("tank half vol");
	cpd__skill__init(&skill);
	skill.code = text("ehbo");
	skill.count = 3;
	cpd__supply__init(&supply);
	supply.code = text("dekens");
	supply.amount = 40;
	cpd__bearer_state__init(&bearer);
	bearer.name = text("satelliet");
	cpd__local__init(&local);
	local.key = text("wijk");
	local.value = text("Overvecht");
	for (size_t i = 0; i <= LIMIT_LIST; i++) {
		services[i] = &service;
		skills[i] = &skill;
		supplies[i] = &supply;
		bearers[i] = &bearer;
	}
	for (size_t i = 0; i <= LIMIT_LOCAL; i++)
		locals[i] = &local;
	for (size_t i = 0; i < 9; i++)
		equipment[i] = CPD__EQUIPMENT__OXYGEN;
	for (size_t i = 0; i < 4; i++)
		lines[i] = text("te weinig brandstof");
}

static void set_up_status(void)
{
	cpd__nsp_status__init(&status);
	status.phase = CPD__PHASE__OPEN;
	status.power = CPD__POWER__GENERATOR;
	status.safety = CPD__COLOUR__GREEN;
	status.persons = 57;
	status.staff_present = 5;
	status.staff_needed = 6;
	status.autonomy_min = 300;
	status.services = services;
	status.n_services = 3;
	status.skills = skills;
	status.n_skills = 2;
	status.supplies = supplies;
	status.n_supplies = 2;
	status.bearers = bearers;
	status.n_bearers = 2;
	status.local = locals;
	status.n_local = 1;
}

static void set_up_report(void)
{
	Cpd__Point **slots[] = { &report.people, &report.means, &report.connections, &report.communication,
		&report.logistics, &report.society };

	cpd__situation_report__init(&report);
	report.number = 4;
	report.version = 1;
	report.from_ms = 1000;
	report.to_ms = 2000;
	for (size_t i = 0; i < 6; i++) {
		cpd__point__init(&points[i]);
		points[i].colour = CPD__COLOUR__GREEN;
		points[i].text = text("rustig,\nen druk bij de koffie");
		*slots[i] = &points[i];
	}
	report.core = text("Het loopt, brandstof tot zes uur");
	report.bottlenecks = lines;
	report.n_bottlenecks = 3;
	report.needs = lines;
	report.n_needs = 3;
	report.drawn_up_by = text("operator");
	report.status = &status;
}

static int set_up(void **state)
{
	static char *area[2];
	(void)state;
	set_up_parts();
	set_up_status();
	set_up_report();
	cpd__emergency_call__init(&call);
	call.number = 41;
	call.check_words = 0xfffff;
	call.services = 4;
	call.nature = CPD__NATURE__MEDICAL;
	call.postcode = text("3512JE");
	call.house_number = text("14");
	call.equipment = equipment;
	call.n_equipment = 2;
	call.caller_waits = 1;
	cpd__emergency_progress__init(&progress);
	progress.step = CPD__CALL_STEP__DISPATCHED;
	progress.text = text("ambulance onderweg");
	cpd__instruction__init(&instruction);
	instruction.number = 12;
	instruction.on_behalf_of = text("ROT");
	instruction.what = text("Tel de aggregaten.\nMeld het aantal.");
	instruction.why = text("Verdeling van brandstof");
	instruction.by_when_ms = 5000;
	instruction.required_level = CPD__REQUIRED_LEVEL__REQUIRED_DONE;
	area[0] = text("GM0344");
	area[1] = text("VR09");
	cpd__bulletin__init(&bulletin);
	bulletin.bulletin = 3;
	bulletin.version = 1;
	bulletin.title = text("Geen stroom tot vannacht");
	bulletin.core = text("De stroom is uit in heel Utrecht.");
	bulletin.do_this = text("Blijf binnen.\nKijk naar uw buren om.");
	bulletin.valid_from_ms = 5000;
	bulletin.valid_to_ms = 9000;
	bulletin.next_update_ms = 8000;
	bulletin.urgency = CPD__URGENCY__IMMEDIATE;
	bulletin.severity = CPD__SEVERITY__SEVERE;
	bulletin.certainty = CPD__ALERT_CERTAINTY__OBSERVED;
	bulletin.area = area;
	bulletin.n_area = 2;
	bulletin.authority = text("burgemeester van Utrecht");
	cpd__text__init(&note);
	note.text = text("Zijn jullie er nog?");
	memset(long_text, 'x', sizeof(long_text) - 1);
	return 0;
}

static const struct { message_kind kind; ProtobufCMessage *message; } bodies[] = {
	{ CPD__KIND__KIND_NSP_STATUS, &status.base },
	{ CPD__KIND__KIND_SITUATION_REPORT, &report.base },
	{ CPD__KIND__KIND_EMERGENCY_CALL, &call.base },
	{ CPD__KIND__KIND_EMERGENCY_PROGRESS, &progress.base },
	{ CPD__KIND__KIND_INSTRUCTION, &instruction.base },
	{ CPD__KIND__KIND_TEXT, &note.base },
	{ CPD__KIND__KIND_BULLETIN, &bulletin.base },
};
#define BODY_COUNT (sizeof(bodies) / sizeof(bodies[0]))

/* The body in memory of exactly its size, so that a sanitizer sees one byte too far. */
static struct slice pack(const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *data = malloc(len ? len : 1);

	assert_non_null(data);
	protobuf_c_message_pack(message, data);
	return (struct slice){ data, len };
}

static enum cpd_error validate(const ProtobufCMessage *message, bool strict, struct body_problem *problem)
{
	struct slice body = pack(message);
	enum cpd_error error = CPD_ERR_NOT_FOUND;

	for (size_t i = 0; i < BODY_COUNT; i++)
		if (bodies[i].message == message)
			error = body_validate(bodies[i].kind, body, strict, problem);
	free((void *)(uintptr_t)body.data);
	return error;
}

/* ---- tests ---- */

static void good_bodies_pass_both_ways(void **state)
{
	(void)state;
	for (size_t i = 0; i < BODY_COUNT; i++) {
		for (int strict = 0; strict < 2; strict++) {
			struct body_problem problem = { "x", "x" };
			enum cpd_error error = validate(bodies[i].message, strict, &problem);

			if (error)
				fail_msg("%s: %s %s", bodies[i].message->descriptor->short_name, problem.field, problem.text);
			assert_string_equal(problem.field, "");
			assert_string_equal(problem.text, "");
		}
	}
}

static void check_rules_of(const ProtobufCMessageDescriptor *descriptor)
{
	const struct body_schema *schema = body_schema_find(descriptor);

	if (!schema)
		fail_msg("%s has no rules", descriptor->name);
	assert_int_equal(schema->rule_count, descriptor->n_fields);
	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
		const struct body_rule *rule = body_rule_find(schema, field->name);

		if (!rule)
			fail_msg("%s.%s has no rule", descriptor->name, field->name);
		assert_int_equal(rule->entries > 0, field->label == PROTOBUF_C_LABEL_REPEATED);
		assert_int_equal(rule->characters > 0, field->type == PROTOBUF_C_TYPE_STRING);
		switch (field->type) {
		case PROTOBUF_C_TYPE_UINT32:
		case PROTOBUF_C_TYPE_SINT32:
		case PROTOBUF_C_TYPE_UINT64:
		case PROTOBUF_C_TYPE_BOOL:
			assert_true(rule->max > rule->min);
			break;
		case PROTOBUF_C_TYPE_MESSAGE:
			check_rules_of(field->descriptor);
			break;
		case PROTOBUF_C_TYPE_STRING:
			/* An answer that the schema requires must not be blank. */
			if (field->label == PROTOBUF_C_LABEL_REQUIRED && strcmp(field->name, "value") != 0)
				assert_true(rule->flags & RULE_FILLED);
			break;
		case PROTOBUF_C_TYPE_ENUM:
			break;
		default:
			fail_msg("%s.%s is of a type that no rule knows", descriptor->name, field->name);
		}
	}
}

static void every_field_of_every_body_has_its_rule(void **state)
{
	(void)state;
	for (size_t i = 0; kind_at(i); i++) {
		const ProtobufCMessageDescriptor *descriptor = body_descriptor(kind_at(i)->number);

		assert_int_equal(kind_at(i)->has_body, descriptor != NULL);
		if (descriptor) {
			assert_string_equal(descriptor->short_name, kind_at(i)->schema_name);
			check_rules_of(descriptor);
		}
	}
}

static void what_is_inside_a_sealed_part_has_its_rules(void **state)
{
	/* Fields 1 and 2 of a contact, of 2 and 81 characters; nothing; a field of a later version. */
	static const uint8_t good[] = "\x0a\x02Jo", later[] = "\x4a\x01x", empty[] = "\x0a\x00";
	uint8_t long_name[83] = { 0x0a, 81 };
	struct body_problem problem;

	(void)state;
	check_rules_of(body_sealed_descriptor(3, 1));
	check_rules_of(body_sealed_descriptor(3, 2));
	assert_null(body_sealed_descriptor(3, 3));
	assert_null(body_sealed_descriptor(6, 1));
	memset(long_name + 2, 'x', 81);
	assert_int_equal(body_sealed_validate(3, 1, (struct slice){ good, 4 }, true, NULL), CPD_OK);
	assert_int_equal(body_sealed_validate(3, 1, (struct slice){ long_name, 83 }, true, &problem), CPD_ERR_RANGE);
	assert_string_equal(problem.field, "name");
	assert_int_equal(body_sealed_validate(3, 1, (struct slice){ empty, 2 }, true, &problem), CPD_ERR_MISSING);
	assert_int_equal(body_sealed_validate(3, 2, (struct slice){ good, 0 }, true, &problem), CPD_ERR_MISSING);
	assert_int_equal(body_sealed_validate(3, 2, (struct slice){ later, 3 }, false, NULL), CPD_OK);
	assert_int_equal(body_sealed_validate(3, 2, (struct slice){ later, 3 }, true, NULL), CPD_ERR_RANGE);
	assert_int_equal(body_sealed_validate(3, 9, (struct slice){ good, 4 }, false, NULL), CPD_ERR_NOT_FOUND);
}

static void a_kind_without_a_schema_is_told(void **state)
{
	struct body_problem problem;

	(void)state;
	assert_null(body_descriptor(4711));
	assert_int_equal(body_validate(4711, (struct slice){ NULL, 0 }, false, &problem), CPD_ERR_NOT_FOUND);
	assert_int_equal(body_validate(4711, (struct slice){ NULL, 0 }, true, NULL), CPD_ERR_NOT_FOUND);
	assert_non_null(strstr(problem.text, "4711"));
}

struct spoil {
	const char *field;
	enum cpd_error error;
	const ProtobufCMessage *message;
	void (*apply)(void);
};
#define SPOIL(name, statement) static void name(void) { statement; }

SPOIL(number_zero, call.number = 0)
SPOIL(number_unspeakable, call.number = 10000)
SPOIL(check_words_21_bits, call.check_words = 0x100000)
SPOIL(no_service, call.services = 0)
SPOIL(postcode_space, call.postcode = text("3512 JE"))
SPOIL(postcode_small, call.postcode = text("3512je"))
SPOIL(postcode_short, call.postcode = text("3512J"))
SPOIL(postcode_long, call.postcode = text("3512JE1"))
SPOIL(postcode_digits, call.postcode = text("35A2JE"))
SPOIL(no_house_number, call.house_number = NULL)
SPOIL(no_place, (call.postcode = NULL, call.house_number = NULL))
SPOIL(blank_place, (call.postcode = text(""), call.location = text("  ")))
SPOIL(only_house_number, call.postcode = NULL)
SPOIL(only_latitude, call.has_latitude_e5 = 1)
SPOIL(only_longitude, call.has_longitude_e5 = 1)
SPOIL(far_north, (call.has_latitude_e5 = call.has_longitude_e5 = 1, call.latitude_e5 = 9000001))
SPOIL(far_west, (call.has_latitude_e5 = call.has_longitude_e5 = 1, call.longitude_e5 = -18000001))
SPOIL(long_access, (call.access = long_text, long_text[81] = '\0'))
SPOIL(access_two_lines, call.access = text("achterom\ndan links"))
SPOIL(much_equipment, call.n_equipment = 9)
SPOIL(hazard_escape, call.hazards = text("gas\x1b[2J"))
SPOIL(hazard_utf8, call.hazards = text("gas\xc3"))
SPOIL(closed_early, (status.has_opened_ms = status.has_closed_ms = 1, status.opened_ms = 9, status.closed_ms = 8))
SPOIL(opened_early, (status.has_alerted_ms = status.has_opened_ms = 1, status.alerted_ms = 9, status.opened_ms = 8))
SPOIL(no_time, (status.has_relief_ms = 1, status.relief_ms = 0))
SPOIL(endless_time, (status.has_relief_ms = 1, status.relief_ms = UINT64_MAX))
SPOIL(time_with_a_sign, (status.has_relief_ms = 1, status.relief_ms = (UINT64_C(1) << 63) + 5))
SPOIL(too_many_people, status.persons = 100001)
SPOIL(too_many_services, status.n_services = LIMIT_LIST + 1)
SPOIL(too_many_locals, status.n_local = LIMIT_LOCAL + 1)
SPOIL(blank_code, service.code = text(" "))
SPOIL(code_two_lines, skill.code = text("eh\nbo"))
SPOIL(long_key, (local.key = long_text, long_text[33] = '\0'))
SPOIL(period_empty, report.to_ms = 1000)
SPOIL(period_backward, report.to_ms = 999)
SPOIL(four_bottlenecks, report.n_bottlenecks = 4)
SPOIL(four_needs, report.n_needs = 4)
SPOIL(blank_need, lines[1] = text(""))
SPOIL(long_point, (points[0].text = long_text, long_text[281] = '\0'))
SPOIL(blank_point, points[5].text = text("\n"))
SPOIL(long_core, (report.core = long_text, long_text[281] = '\0'))
SPOIL(nobody, report.drawn_up_by = text(""))
SPOIL(nested_status, (status.has_opened_ms = status.has_closed_ms = 1, status.opened_ms = 9, status.closed_ms = 8))
SPOIL(no_what, instruction.what = text(""))
SPOIL(no_why, instruction.why = text("   "))
SPOIL(no_deadline, instruction.by_when_ms = 0)
SPOIL(long_text_2001, (note.text = long_text, long_text[2001] = '\0'))
SPOIL(blank_text, note.text = text(" \n"))
SPOIL(long_progress, (progress.text = long_text, long_text[281] = '\0'))

static const struct spoil spoils[] = {
	{ "number", CPD_ERR_RANGE, &call.base, number_zero },
	{ "number", CPD_ERR_RANGE, &call.base, number_unspeakable },
	{ "check_words", CPD_ERR_RANGE, &call.base, check_words_21_bits },
	{ "services", CPD_ERR_RANGE, &call.base, no_service },
	{ "postcode", CPD_ERR_RANGE, &call.base, postcode_space },
	{ "postcode", CPD_ERR_RANGE, &call.base, postcode_small },
	{ "postcode", CPD_ERR_RANGE, &call.base, postcode_short },
	{ "postcode", CPD_ERR_RANGE, &call.base, postcode_long },
	{ "postcode", CPD_ERR_RANGE, &call.base, postcode_digits },
	{ "house_number", CPD_ERR_MISSING, &call.base, no_house_number },
	{ "location", CPD_ERR_MISSING, &call.base, no_place },
	{ "location", CPD_ERR_MISSING, &call.base, blank_place },
	{ "location", CPD_ERR_MISSING, &call.base, only_house_number },
	{ "longitude_e5", CPD_ERR_MISSING, &call.base, only_latitude },
	{ "latitude_e5", CPD_ERR_MISSING, &call.base, only_longitude },
	{ "latitude_e5", CPD_ERR_RANGE, &call.base, far_north },
	{ "longitude_e5", CPD_ERR_RANGE, &call.base, far_west },
	{ "access", CPD_ERR_RANGE, &call.base, long_access },
	{ "access", CPD_ERR_TEXT, &call.base, access_two_lines },
	{ "equipment", CPD_ERR_RANGE, &call.base, much_equipment },
	{ "hazards", CPD_ERR_TEXT, &call.base, hazard_escape },
	{ "hazards", CPD_ERR_TEXT, &call.base, hazard_utf8 },
	{ "closed_ms", CPD_ERR_RANGE, &status.base, closed_early },
	{ "opened_ms", CPD_ERR_RANGE, &status.base, opened_early },
	{ "relief_ms", CPD_ERR_RANGE, &status.base, no_time },
	{ "relief_ms", CPD_ERR_RANGE, &status.base, endless_time },
	{ "relief_ms", CPD_ERR_RANGE, &status.base, time_with_a_sign },
	{ "persons", CPD_ERR_RANGE, &status.base, too_many_people },
	{ "services", CPD_ERR_RANGE, &status.base, too_many_services },
	{ "local", CPD_ERR_RANGE, &status.base, too_many_locals },
	{ "services[0].code", CPD_ERR_MISSING, &status.base, blank_code },
	{ "skills[0].code", CPD_ERR_TEXT, &status.base, code_two_lines },
	{ "local[0].key", CPD_ERR_RANGE, &status.base, long_key },
	{ "to_ms", CPD_ERR_RANGE, &report.base, period_empty },
	{ "to_ms", CPD_ERR_RANGE, &report.base, period_backward },
	{ "bottlenecks", CPD_ERR_RANGE, &report.base, four_bottlenecks },
	{ "needs", CPD_ERR_RANGE, &report.base, four_needs },
	{ "bottlenecks[1]", CPD_ERR_MISSING, &report.base, blank_need },
	{ "people.text", CPD_ERR_RANGE, &report.base, long_point },
	{ "society.text", CPD_ERR_MISSING, &report.base, blank_point },
	{ "core", CPD_ERR_RANGE, &report.base, long_core },
	{ "drawn_up_by", CPD_ERR_MISSING, &report.base, nobody },
	{ "status.closed_ms", CPD_ERR_RANGE, &report.base, nested_status },
	{ "what", CPD_ERR_MISSING, &instruction.base, no_what },
	{ "why", CPD_ERR_MISSING, &instruction.base, no_why },
	{ "by_when_ms", CPD_ERR_RANGE, &instruction.base, no_deadline },
	{ "text", CPD_ERR_RANGE, &note.base, long_text_2001 },
	{ "text", CPD_ERR_MISSING, &note.base, blank_text },
	{ "text", CPD_ERR_RANGE, &progress.base, long_progress },
};

static void each_fault_is_refused_by_field_and_with_what_to_do(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++) {
		for (int strict = 0; strict < 2; strict++) {
			struct body_problem problem;
			enum cpd_error error;

			set_up(NULL);
			spoils[i].apply();
			error = validate(spoils[i].message, strict, &problem);
			if (error != spoils[i].error || strcmp(problem.field, spoils[i].field) != 0)
				fail_msg("case %zu, %s: error %d field '%s' text '%s'", i, spoils[i].field, error, problem.field, problem.text);
			assert_non_null(strchr(problem.text, ':')); /* what is wrong: what to do */
		}
	}
}

static void any_one_way_to_name_the_place_is_enough(void **state)
{
	(void)state;
	assert_int_equal(validate(&call.base, true, NULL), CPD_OK);
	call.postcode = call.house_number = NULL;
	call.location = text("achter de kerk");
	assert_int_equal(validate(&call.base, true, NULL), CPD_OK);
	call.location = NULL;
	call.has_latitude_e5 = call.has_longitude_e5 = 1;
	call.latitude_e5 = 5209000;
	call.longitude_e5 = 512000;
	assert_int_equal(validate(&call.base, true, NULL), CPD_OK);
}

static void texts_at_their_bound_pass_counted_in_characters(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2000; i++)
		memcpy(long_text + 4 * i, "\xf0\x9f\x9a\x91", 4); /* an ambulance: one character, four bytes */
	long_text[8000] = '\0';
	note.text = long_text;
	assert_int_equal(validate(&note.base, true, NULL), CPD_OK);
	memcpy(long_text + 8000, "x", 2);
	assert_int_equal(validate(&note.base, true, NULL), CPD_ERR_RANGE);
	long_text[280 * 4] = '\0';
	points[2].text = long_text;
	assert_int_equal(validate(&report.base, true, NULL), CPD_OK);
}

static void the_fullest_status_opens_within_its_budget(void **state)
{
	(void)state;
	service.remark = NULL;
	service.code = skill.code = supply.code = bearer.name = local.key = text("a");
	local.value = text("");
	status.n_services = status.n_skills = status.n_supplies = status.n_bearers = LIMIT_LIST;
	status.n_local = LIMIT_LOCAL;
	assert_int_equal(validate(&status.base, true, NULL), CPD_OK);
}

static void values_of_a_later_version_pass_a_receiver_and_not_an_author(void **state)
{
	struct body_problem problem;

	(void)state;
	status.phase = (Cpd__Phase)42;
	service.colour = (Cpd__Colour)-7;
	assert_int_equal(validate(&status.base, false, NULL), CPD_OK);
	assert_int_equal(validate(&status.base, true, &problem), CPD_ERR_RANGE);
	assert_string_equal(problem.field, "phase");
	assert_non_null(strstr(problem.text, "42"));
	status.phase = CPD__PHASE__OPEN;
	assert_int_equal(validate(&status.base, true, &problem), CPD_ERR_RANGE);
	assert_string_equal(problem.field, "services[0].colour");
	equipment[1] = (Cpd__Equipment)99;
	call.services = 8;
	assert_int_equal(validate(&call.base, false, NULL), CPD_OK);
	assert_int_equal(validate(&call.base, true, &problem), CPD_ERR_RANGE);
	assert_string_equal(problem.field, "equipment[1]");
	equipment[1] = CPD__EQUIPMENT__INSULIN;
	assert_int_equal(validate(&call.base, true, &problem), CPD_ERR_RANGE);
	assert_string_equal(problem.field, "services");
}

static void an_author_may_not_answer_unknown_where_it_matters(void **state)
{
	(void)state;
	status.phase = CPD__PHASE__PHASE_UNKNOWN;
	assert_int_equal(validate(&status.base, false, NULL), CPD_OK);
	assert_int_equal(validate(&status.base, true, NULL), CPD_ERR_RANGE);
	instruction.required_level = CPD__REQUIRED_LEVEL__REQUIRED_UNKNOWN;
	assert_int_equal(validate(&instruction.base, true, NULL), CPD_ERR_RANGE);
	progress.step = CPD__CALL_STEP__CALL_STEP_UNKNOWN;
	assert_int_equal(validate(&progress.base, true, NULL), CPD_ERR_RANGE);
	/* What ails a stranger may well be unknown. */
	call.nature = CPD__NATURE__NATURE_UNKNOWN;
	assert_int_equal(validate(&call.base, true, NULL), CPD_OK);
}

static void fields_of_a_later_version_pass_a_receiver_and_not_an_author(void **state)
{
	static const uint8_t later[] = { 0x0a, 2, 'j', 'a', 0xf8, 0x06, 1 }; /* text = "ja"; field 111 = 1 */
	struct slice body = { later, sizeof(later) };
	struct body_problem problem;

	(void)state;
	assert_int_equal(body_validate(CPD__KIND__KIND_TEXT, body, false, NULL), CPD_OK);
	assert_int_equal(body_validate(CPD__KIND__KIND_TEXT, body, true, &problem), CPD_ERR_RANGE);
	assert_non_null(strstr(problem.text, "111"));
}

static void a_nul_in_a_text_is_seen(void **state)
{
	static const uint8_t nul[] = { 0x0a, 5, 'j', 'a', 0, 'n', 'e' };
	struct body_problem problem;

	(void)state;
	assert_int_equal(body_validate(CPD__KIND__KIND_TEXT, (struct slice){ nul, sizeof(nul) }, false, &problem), CPD_ERR_TEXT);
	assert_string_equal(problem.field, "text");
}

static void an_absent_field_is_named(void **state)
{
	static const struct { message_kind kind; uint8_t bytes[16]; size_t len; const char *field; } cases[] = {
		{ CPD__KIND__KIND_TEXT, { 0 }, 0, "text" },
		{ CPD__KIND__KIND_TEXT, { 0x0a, 1, 'a', 0x1a, 3, 0x0a, 1, 'k' }, 8, "local[0].value" },
		{ CPD__KIND__KIND_SITUATION_REPORT, { 0x2a, 2, 0x08, 1 }, 4, "people.text" },
		{ CPD__KIND__KIND_EMERGENCY_CALL, { 0x08, 41, 0x10, 1, 0x18, 4 }, 6, "nature" },
		{ CPD__KIND__KIND_NSP_STATUS, { 0x7a, 5, 0x0a, 1, 'w', 0x10, 1, 0x7a, 2, 0x10, 1 }, 11, "services[1].code" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct body_problem problem;

		assert_int_equal(body_validate(cases[i].kind, (struct slice){ cases[i].bytes, cases[i].len }, true, &problem), CPD_ERR_MISSING);
		assert_string_equal(problem.field, cases[i].field);
		assert_string_equal(problem.text, "is missing: fill it in");
	}
}

static void a_body_above_its_bound_is_not_opened(void **state)
{
	static uint8_t large[LIMIT_BODY + 1];

	(void)state;
	assert_int_equal(body_validate(CPD__KIND__KIND_TEXT, (struct slice){ large, sizeof(large) }, false, NULL), CPD_ERR_TOO_LARGE);
}

/* 2,700 empty Locals: small on the wire, large in memory. */
static void a_body_that_swells_is_refused(void **state)
{
	size_t len = 3 + 6 * 2700;
	uint8_t *swell = malloc(len);
	struct body_problem problem;

	(void)state;
	assert_non_null(swell);
	memcpy(swell, "\x0a\x01" "a", 3);
	for (size_t i = 3; i < len; i += 6)
		memcpy(swell + i, "\x1a\x04\x0a\x00\x12\x00", 6);
	assert_int_equal(body_validate(CPD__KIND__KIND_TEXT, (struct slice){ swell, len }, false, &problem), CPD_ERR_TOO_LARGE);
	free(swell);
}

static void cut_and_changed_bodies_never_harm(void **state)
{
	(void)state;
	for (size_t i = 0; i < BODY_COUNT; i++) {
		struct slice body = pack(bodies[i].message);
		uint8_t *bytes = (uint8_t *)(uintptr_t)body.data;
		struct body_problem problem;
		size_t refused = 0;

		for (size_t cut = 0; cut < body.len; cut++) {
			uint8_t *exact = malloc(cut ? cut : 1);

			assert_non_null(exact);
			memcpy(exact, bytes, cut);
			refused += body_validate(bodies[i].kind, (struct slice){ exact, cut }, false, &problem) != CPD_OK;
			free(exact);
		}
		assert_true(refused > body.len / 2);
		for (size_t at = 0; at < body.len; at++) {
			for (unsigned bit = 0; bit < 8; bit++) {
				enum cpd_error error;

				bytes[at] ^= (uint8_t)(1u << bit);
				error = body_validate(bodies[i].kind, body, bit % 2, &problem);
				assert_int_equal(error != CPD_OK, problem.text[0] != '\0');
				bytes[at] ^= (uint8_t)(1u << bit);
			}
		}
		free(bytes);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(good_bodies_pass_both_ways, set_up),
		cmocka_unit_test(every_field_of_every_body_has_its_rule),
		cmocka_unit_test(a_kind_without_a_schema_is_told),
		cmocka_unit_test(what_is_inside_a_sealed_part_has_its_rules),
		cmocka_unit_test_setup(each_fault_is_refused_by_field_and_with_what_to_do, set_up),
		cmocka_unit_test_setup(any_one_way_to_name_the_place_is_enough, set_up),
		cmocka_unit_test_setup(texts_at_their_bound_pass_counted_in_characters, set_up),
		cmocka_unit_test_setup(the_fullest_status_opens_within_its_budget, set_up),
		cmocka_unit_test_setup(values_of_a_later_version_pass_a_receiver_and_not_an_author, set_up),
		cmocka_unit_test_setup(an_author_may_not_answer_unknown_where_it_matters, set_up),
		cmocka_unit_test(fields_of_a_later_version_pass_a_receiver_and_not_an_author),
		cmocka_unit_test(a_nul_in_a_text_is_seen),
		cmocka_unit_test(an_absent_field_is_named),
		cmocka_unit_test(a_body_above_its_bound_is_not_opened),
		cmocka_unit_test(a_body_that_swells_is_refused),
		cmocka_unit_test_setup(cut_and_changed_bodies_never_harm, set_up),
	};

	return RUN_FED_AND_HUNGRY(tests);
}
