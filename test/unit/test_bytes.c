/*
 * test_bytes.c: what a message costs on a thin link: a realistic example of each kind with a body,
 * as a whole Envelope. Prints the table and holds the goals of the design, trailer apart.
 *
 * The author's function is optional text of the author's own choosing, up to 64 bytes. The table
 * counts it apart from the overhead, in the open; the goal for the emergency call counts it in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/body.h"
#include "proto/body.pb-c.h"
#include "proto/cpd.pb-c.h"
#include "proto/kind.h"
#include "proto/message.h"

#define GOAL_OVERHEAD 104
#define GOAL_EMERGENCY_CALL 233

#define NSP 344003u
#define CP 900001u
#define DESK 900112u
#define EPOCH 12u
#define NOW_S 28512000u           /* the end of November 2026 */
#define NOW_MS (NOW_S * UINT64_C(1000))
#define AN_HOUR_MS UINT64_C(3600000)

static char *text(const char *literal)
{
	return (char *)(uintptr_t)literal;
}

struct example {
	message_kind kind;
	const ProtobufCMessage *body;
	uint32_t from, to;
	const char *author;            /* NULL: sent by the machine */
};

struct cost { size_t body, author, overhead, envelope; };

/* Encodes the example as its author would, with a signature of the right length. */
static struct cost cost_of(const struct example *example)
{
	static uint8_t body[LIMIT_BODY], signed_bytes[LIMIT_ENVELOPE], envelope[LIMIT_ENVELOPE];
	const struct kind *kind = kind_find(example->kind);
	struct message_signature signature = { .signer = example->from, .key_number = 1 };
	struct header header = { .id = { example->from, EPOCH, 2118 }, .nodes = { example->to }, .node_count = 1,
		.kind = example->kind, .mode = MODE_REAL, .clock_quality = CLOCK_NTP,
		.confidentiality = CONFIDENTIALITY_INTERNAL, .created_s = NOW_S };
	struct body_problem problem;
	struct message back;
	size_t body_len, signed_len, len;

	assert_non_null(kind);
	header.precedence = kind->precedence;
	header.closing_level = kind->closing_level;
	header.lifetime_s = kind->lifetime_s;
	header.entry_mode = example->author ? ENTRY_SCREEN : ENTRY_AUTOMATIC;
	if (example->author)
		header.author = (struct slice){ (const uint8_t *)example->author, strlen(example->author) };
	body_len = protobuf_c_message_pack(example->body, body);
	if (body_validate(example->kind, (struct slice){ body, body_len }, true, &problem))
		fail_msg("%s: %s %s", kind->name, problem.field, problem.text);
	header.body = (struct slice){ body, body_len };
	memset(signature.bytes, 0xa5, sizeof(signature.bytes));
	assert_int_equal(message_encode_signed(&header, signed_bytes, &signed_len), CPD_OK);
	assert_int_equal(message_encode_envelope((struct slice){ signed_bytes, signed_len }, example->from, &signature, 1,
	    envelope, &len), CPD_OK);
	/* It must be a message, or its length says nothing. */
	assert_int_equal(message_decode((struct slice){ envelope, len }, &back), CPD_OK);
	assert_int_equal(back.header.body.len, body_len);
	{
		size_t author_len = example->author ? 2 + strlen(example->author) : 0;

		return (struct cost){ body_len, author_len, len - body_len - author_len, len };
	}
}

#define SERVICE(code, colour, remark) \
	{ PROTOBUF_C_MESSAGE_INIT(&cpd__service_state__descriptor), (char *)(uintptr_t)code, colour, remark }
static Cpd__ServiceState services[] = {
	SERVICE("water", CPD__COLOUR__GREEN, NULL),
	SERVICE("laden", CPD__COLOUR__AMBER, (char *)(uintptr_t)"rij van 40 min"),
	SERVICE("ehbo", CPD__COLOUR__GREEN, NULL),
};
static Cpd__ServiceState *service_pointers[] = { &services[0], &services[1], &services[2] };

static Cpd__NspStatus make_status(void)
{
	Cpd__NspStatus status = CPD__NSP_STATUS__INIT;

	status.phase = CPD__PHASE__OPEN;
	status.has_alerted_ms = status.has_opened_ms = 1;
	status.alerted_ms = NOW_MS - 5 * AN_HOUR_MS;
	status.opened_ms = NOW_MS - 4 * AN_HOUR_MS;
	status.persons = 57;
	status.has_visitors_last_hour = status.has_capacity = 1;
	status.visitors_last_hour = 83;
	status.capacity = 150;
	status.staff_present = 5;
	status.staff_needed = 6;
	status.has_relief_ms = 1;
	status.relief_ms = NOW_MS + 3 * AN_HOUR_MS;
	status.power = CPD__POWER__GENERATOR;
	status.autonomy_min = 540;
	status.has_fuel_l = 1;
	status.fuel_l = 38;
	status.safety = CPD__COLOUR__GREEN;
	status.services = service_pointers;
	status.n_services = 3;
	return status;
}

/* Its personal part is a sealed message of its own. */
static Cpd__EmergencyCall make_call(void)
{
	static Cpd__Equipment ventilator[] = { CPD__EQUIPMENT__VENTILATOR };
	Cpd__EmergencyCall call = CPD__EMERGENCY_CALL__INIT;

	call.number = 41;
	call.check_words = 659856;
	call.services = 4;
	call.nature = CPD__NATURE__MEDICAL;
	call.postcode = text("3512JE");
	call.house_number = text("14");
	call.has_persons = call.has_conscious = call.has_breathing = call.has_battery_min = 1;
	call.persons = 1;
	call.conscious = CPD__TRI__YES;
	call.breathing = CPD__TRI__YES;
	call.equipment = ventilator;
	call.n_equipment = 1;
	call.battery_min = 90;
	call.access = text("achterom via de steeg, 2e deur");
	call.caller_waits = 1;
	return call;
}

static struct cost measure(const struct example *example)
{
	struct cost cost = cost_of(example);

	printf("  %-20s %6zu %8zu %9zu %9zu\n", kind_find(example->kind)->schema_name, cost.body, cost.author,
	    cost.overhead, cost.envelope);
	return cost;
}

static void every_kind_stays_within_the_overhead_goal(void **state)
{
	static Cpd__Point points[6];
	Cpd__NspStatus status = make_status();
	Cpd__EmergencyCall call = make_call();
	Cpd__EmergencyProgress progress = CPD__EMERGENCY_PROGRESS__INIT;
	Cpd__Instruction instruction = CPD__INSTRUCTION__INIT;
	Cpd__SituationReport report = CPD__SITUATION_REPORT__INIT;
	Cpd__Text note = CPD__TEXT__INIT;
	char *bottleneck[] = { text("Brandstof tot 06:00, levering nog niet bevestigd") };
	char *need[] = { text("60 liter diesel, 20 veldbedden") };
	static const char *const said[] = { "Rustig, veel ouderen uit de flat", "Aggregaat draait, 38 liter", "Satelliet goed, 4G weg",
		"Bulletin 3 hangt, veel vragen over water", "Soep tot morgenochtend", "Winkels dicht, geen onrust" };
	const struct example examples[] = {
		{ CPD__KIND__KIND_NSP_STATUS, &status.base, NSP, CP, NULL },
		{ CPD__KIND__KIND_SITUATION_REPORT, &report.base, NSP, CP, "operator" },
		{ CPD__KIND__KIND_EMERGENCY_CALL, &call.base, NSP, DESK, "operator" },
		{ CPD__KIND__KIND_EMERGENCY_PROGRESS, &progress.base, DESK, NSP, "meldkamer" },
		{ CPD__KIND__KIND_INSTRUCTION, &instruction.base, DESK, NSP, "ROT" },
		{ CPD__KIND__KIND_TEXT, &note.base, CP, NSP, "operator" },
	};

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		cpd__point__init(&points[i]);
		points[i].colour = i == 1 ? CPD__COLOUR__AMBER : CPD__COLOUR__GREEN;
		points[i].text = text(said[i]);
	}
	report.number = 4;
	report.version = 1;
	report.from_ms = NOW_MS - 4 * AN_HOUR_MS;
	report.to_ms = NOW_MS;
	report.people = &points[0];
	report.means = &points[1];
	report.connections = &points[2];
	report.communication = &points[3];
	report.logistics = &points[4];
	report.society = &points[5];
	report.core = text("Alles loopt, brandstof is de zorg voor vannacht");
	report.n_bottlenecks = report.n_needs = 1;
	report.bottlenecks = bottleneck;
	report.needs = need;
	report.drawn_up_by = text("operator");
	report.status = &status;
	progress.step = CPD__CALL_STEP__DISPATCHED;
	progress.text = text("Ambulance onderweg, 12 minuten");
	progress.has_expected_ms = 1;
	progress.expected_ms = NOW_MS + AN_HOUR_MS / 5;
	instruction.number = 12;
	instruction.on_behalf_of = text("ROT Utrecht");
	instruction.what = text("Tel de aggregaten en meld liters brandstof");
	instruction.why = text("Verdeling van de levering van 22:00");
	instruction.by_when_ms = NOW_MS + 2 * AN_HOUR_MS;
	instruction.required_level = CPD__REQUIRED_LEVEL__REQUIRED_DONE;
	note.text = text("Zijn jullie er nog? Graag een bericht als de satelliet het doet.");

	printf("  %-20s %6s %8s %9s %9s\n", "kind", "body", "author", "overhead", "envelope");
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		struct cost cost = measure(&examples[i]);

		assert_true(cost.overhead <= GOAL_OVERHEAD);
	}
}

static void an_emergency_call_without_its_personal_part_stays_within_its_goal(void **state)
{
	Cpd__EmergencyCall call = make_call();
	struct cost cost = cost_of(&(struct example){ CPD__KIND__KIND_EMERGENCY_CALL, &call.base, NSP, DESK, "operator" });

	(void)state;
	assert_true(cost.envelope <= GOAL_EMERGENCY_CALL);
}

/* Every number at its longest that a century could bring: the goal does not hold, a bound does. */
static void the_highest_numbers_cost_at_most_sixteen_bytes_more(void **state)
{
	static uint8_t signed_bytes[LIMIT_ENVELOPE], envelope[LIMIT_ENVELOPE];
	static const uint8_t body[200];
	struct message_signature signature = { .signer = UINT32_MAX, .key_number = 200 };
	struct header header = { .id = { UINT32_MAX, 20000, UINT64_C(1) << 40 }, .nodes = { UINT32_MAX - 1 }, .node_count = 1,
		.kind = CPD__KIND__KIND_TEXT, .precedence = PRECEDENCE_FLASH, .mode = MODE_EXERCISE, .clock_quality = CLOCK_GNSS,
		.confidentiality = CONFIDENTIALITY_PERSONAL, .entry_mode = ENTRY_AUTOMATIC, .closing_level = LEVEL_DONE,
		.created_s = UINT32_MAX, .lifetime_s = LIMIT_LIFETIME_MAX_S, .body = { body, sizeof(body) } };
	size_t signed_len, len;

	(void)state;
	assert_int_equal(message_encode_signed(&header, signed_bytes, &signed_len), CPD_OK);
	assert_int_equal(message_encode_envelope((struct slice){ signed_bytes, signed_len }, UINT32_MAX, &signature, 1, envelope, &len), CPD_OK);
	printf("  %-20s %6zu %8d %9zu %9zu\n", "(highest numbers)", sizeof(body), 0, len - sizeof(body), len);
	assert_true(len - sizeof(body) <= GOAL_OVERHEAD + 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_stays_within_the_overhead_goal),
		cmocka_unit_test(an_emergency_call_without_its_personal_part_stays_within_its_goal),
		cmocka_unit_test(the_highest_numbers_cost_at_most_sixteen_bytes_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
