/* body.c: see body.h. */
#include "test/sim/body.h"

#include <string.h>

#include "proto/body.pb-c.h"

static char filler_text[281];

static char *text_of(uint32_t filler, uint32_t most)
{
	uint32_t len = filler < most ? filler : most;
	memset(filler_text, 'n', sizeof(filler_text));
	filler_text[len > 0 ? len : 1] = '\0';
	return filler_text;
}

static size_t write_status(uint32_t number, uint8_t *buf)
{
	Cpd__NspStatus status = CPD__NSP_STATUS__INIT;
	status.phase = CPD__PHASE__OPEN;
	status.persons = number % 200;
	status.staff_present = 3;
	status.staff_needed = 4;
	status.power = CPD__POWER__BATTERY;
	status.autonomy_min = 300;
	status.safety = CPD__COLOUR__GREEN;
	return cpd__nsp_status__pack(&status, buf);
}

static size_t write_report(uint32_t number, uint32_t filler, uint8_t *buf)
{
	Cpd__SituationReport report = CPD__SITUATION_REPORT__INIT;
	Cpd__Point point = CPD__POINT__INIT;
	point.colour = CPD__COLOUR__AMBER;
	point.text = text_of(filler, 200);
	report.number = number;
	report.version = 1;
	report.from_ms = 1000;
	report.to_ms = 2000;
	report.people = report.means = report.connections = report.communication = report.logistics = report.society = &point;
	report.core = point.text;
	report.drawn_up_by = (char[]){"operator"};
	return cpd__situation_report__pack(&report, buf);
}

static size_t write_call(uint32_t number, uint32_t filler, uint8_t *buf)
{
	Cpd__EmergencyCall call = CPD__EMERGENCY_CALL__INIT;
	call.number = number;
	call.check_words = number % 1000;
	call.services = 4;
	call.nature = CPD__NATURE__MEDICAL;
	call.location = text_of(filler, 100);
	return cpd__emergency_call__pack(&call, buf);
}

static size_t write_instruction(uint32_t number, uint32_t filler, uint8_t *buf)
{
	Cpd__Instruction instruction = CPD__INSTRUCTION__INIT;
	instruction.number = number;
	instruction.on_behalf_of = (char[]){"ROT"};
	instruction.what = text_of(filler, 250);
	instruction.why = (char[]){"stroomuitval"};
	instruction.by_when_ms = 5000;
	instruction.required_level = CPD__REQUIRED_LEVEL__REQUIRED_ACCEPTED;
	return cpd__instruction__pack(&instruction, buf);
}

static size_t write_text(uint32_t filler, uint8_t *buf)
{
	char text[LIMIT_TEXT_CHARACTERS + 1];
	Cpd__Text body = CPD__TEXT__INIT;
	uint32_t len = filler < 1 ? 1 : filler > LIMIT_TEXT_CHARACTERS ? LIMIT_TEXT_CHARACTERS : filler;
	memset(text, 't', len);
	text[len] = '\0';
	body.text = text;
	return cpd__text__pack(&body, buf);
}

void body_write(message_kind kind, uint32_t number, uint32_t filler, uint8_t *buf, size_t *len)
{
	Cpd__EmergencyProgress progress = CPD__EMERGENCY_PROGRESS__INIT;
	progress.step = CPD__CALL_STEP__RECEIVED;
	switch (kind) {
	case 1: *len = write_status(number, buf); break;
	case 2: *len = write_report(number + 1, filler, buf); break;
	case 3: *len = write_call(number % 999 + 1, filler, buf); break;
	case 4: *len = cpd__emergency_progress__pack(&progress, buf); break;
	case 5: *len = write_instruction(number + 1, filler, buf); break;
	default: *len = write_text(filler, buf); break;
	}
}
