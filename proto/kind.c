/* kind.c: one row a kind, in the order of Kind in cpd.proto. */
#include "proto/kind.h"

#include <strings.h>

#define HOUR 3600u
#define DAY (24 * HOUR)

#define NSP ROLE_BIT(ROLE_ID_NSP)
#define CP ROLE_BIT(ROLE_ID_CP)
#define DESK ROLE_BIT(ROLE_ID_DESK)
#define PARTNER ROLE_BIT(ROLE_ID_PARTNER)
#define ANY (NSP | CP | DESK | PARTNER)

/*
 * Lives. 3,600 s: a status is greyed after half an hour and not counted after two, so an older one
 * only burdens the link. 24 h: overtaken by the next of its sort. 72 h: the power cut the region
 * plans for; a question of life or a task must outlast any link. 7 days: the market place. 30 days:
 * what the evaluation and the register need however late it comes.
 */
static const struct kind kinds[] = {
	{ 1, "nsp-status", "NspStatus", "Toestand", PRECEDENCE_ROUTINE, HOUR, LEVEL_DELIVERED, true,
	  NSP, CP | DESK, true, 0 },
	{ 2, "situation-report", "SituationReport", "Situatierapport", PRECEDENCE_PRIORITY, DAY, LEVEL_DELIVERED, false,
	  NSP | CP, CP | DESK, true, 0 },
	{ 3, "emergency-call", "EmergencyCall", "Noodhulpmelding", PRECEDENCE_FLASH, 3 * DAY, LEVEL_DONE, false,
	  NSP, CP | DESK, true, 0 },
	{ 4, "emergency-progress", "EmergencyProgress", "Voortgang", PRECEDENCE_IMMEDIATE, 3 * DAY, LEVEL_DELIVERED, false,
	  CP | DESK, NSP | CP, true, 0 },
	{ 5, "instruction", "Instruction", "Opdracht", PRECEDENCE_PRIORITY, 3 * DAY, LEVEL_ACCEPTED, false,
	  CP | DESK, NSP | CP | PARTNER, true, 0 },
	{ 6, "text", "Text", "Bericht", PRECEDENCE_ROUTINE, 3 * DAY, LEVEL_DELIVERED, false,
	  ANY, ANY, true, 0 },
	{ 7, "bulletin", "Bulletin", "Publieksbericht", PRECEDENCE_PRIORITY, 3 * DAY, LEVEL_DELIVERED, false,
	  DESK, ANY, true, 2 },
	{ 8, "question", "Question", "Uitvraag", PRECEDENCE_PRIORITY, DAY, LEVEL_DELIVERED, false,
	  CP | DESK, ANY, false, 0 },
	{ 9, "answer", "Answer", "Antwoord", PRECEDENCE_PRIORITY, DAY, LEVEL_DELIVERED, false,
	  ANY, CP | DESK, false, 0 },
	{ 10, "question-tally", "QuestionTally", "Vragentelling", PRECEDENCE_ROUTINE, DAY, LEVEL_DELIVERED, false,
	  NSP, CP | DESK, false, 0 },
	{ 11, "resource-request", "ResourceRequest", "Middelenverzoek", PRECEDENCE_PRIORITY, 3 * DAY, LEVEL_DELIVERED, false,
	  ANY, ANY, false, 0 },
	{ 12, "promise", "Promise", "Toezegging", PRECEDENCE_PRIORITY, 3 * DAY, LEVEL_DELIVERED, false,
	  ANY, ANY, false, 0 },
	{ 13, "delivery", "Delivery", "Levering", PRECEDENCE_PRIORITY, 3 * DAY, LEVEL_DELIVERED, false,
	  ANY, ANY, false, 0 },
	{ 14, "offer", "Offer", "Aanbod", PRECEDENCE_ROUTINE, 7 * DAY, LEVEL_DELIVERED, false,
	  NSP | DESK | PARTNER, ANY, false, 0 },
	{ 15, "need", "Need", "Behoefte", PRECEDENCE_ROUTINE, 7 * DAY, LEVEL_DELIVERED, false,
	  NSP | DESK | PARTNER, ANY, false, 0 },
	{ 16, "match", "Match", "Koppeling", PRECEDENCE_ROUTINE, 7 * DAY, LEVEL_DELIVERED, false,
	  NSP | DESK | PARTNER, ANY, false, 0 },
	{ 17, "signal", "Signal", "Signaal", PRECEDENCE_PRIORITY, DAY, LEVEL_DELIVERED, false,
	  NSP | CP | DESK, NSP | CP | DESK, false, 0 },
	{ 18, "activation", "Activation", "Alarmering", PRECEDENCE_FLASH, 3 * DAY, LEVEL_DELIVERED, false,
	  CP, NSP, false, 0 },
	{ 19, "handover", "Handover", "Overdracht", PRECEDENCE_ROUTINE, 3 * DAY, LEVEL_DELIVERED, false,
	  ANY, ANY, false, 0 },
	{ 20, "document", "Document", "Document", PRECEDENCE_ROUTINE, 30 * DAY, LEVEL_DELIVERED, false,
	  DESK, ANY, false, 0 },
	{ 21, "log-entry", "LogEntry", "Logboekregel", PRECEDENCE_ROUTINE, 30 * DAY, LEVEL_DELIVERED, false,
	  ANY, ANY, false, 0 },
	{ 22, "decision", "Decision", "Besluit", PRECEDENCE_ROUTINE, 30 * DAY, LEVEL_DELIVERED, false,
	  ANY, ANY, false, 0 },
	{ 23, "lesson", "Lesson", "Leerpunt", PRECEDENCE_ROUTINE, 30 * DAY, LEVEL_DELIVERED, false,
	  ANY, ANY, false, 0 },
	{ 24, "cost-line", "CostLine", "Kostenregel", PRECEDENCE_ROUTINE, 30 * DAY, LEVEL_DELIVERED, false,
	  ANY, ANY, false, 0 },
	{ 25, "nsp-profile", "NspProfile", "Profiel", PRECEDENCE_ROUTINE, 30 * DAY, LEVEL_DELIVERED, false,
	  NSP | CP | DESK, CP | DESK, false, 0 },
	{ 26, "minimize", "Minimize", "Alleen spoed", PRECEDENCE_FLASH, DAY, LEVEL_DELIVERED, false,
	  CP, ANY, false, 0 },
	{ 27, "link-test", "LinkTest", "Verbindingstoets", PRECEDENCE_ROUTINE, HOUR, LEVEL_DELIVERED, false,
	  ANY, ANY, false, 0 },
};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

const struct kind *kind_at(size_t index)
{
	return index < KIND_COUNT ? &kinds[index] : NULL;
}

const struct kind *kind_find(message_kind number)
{
	return number ? kind_at((size_t)number - 1) : NULL;
}

const struct kind *kind_find_name(const char *name)
{
	for (size_t i = 0; name && i < KIND_COUNT; i++)
		if (!strcasecmp(kinds[i].name, name) || !strcasecmp(kinds[i].schema_name, name))
			return &kinds[i];
	return NULL;
}
