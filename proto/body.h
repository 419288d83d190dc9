/*
 * body.h: is this the body of that kind, and is every field within its bounds? (PROTOCOL.md
 * section 8; the bounds of each field stand in body_rules.c.)
 *
 * Never changes a body and keeps nothing of it. Called by daemon/ when a person authors (strict)
 * and when a message is delivered here (lenient); relays never call it: they pass on what they do
 * not understand.
 */
#ifndef CPD_PROTO_BODY_H
#define CPD_PROTO_BODY_H

#include <protobuf-c/protobuf-c.h>

#include "proto/message.h"

/* What is wrong, for the person who fills in the form. Both "" when nothing is. */
struct body_problem {
	char field[64];   /* "people.text", "services[2].code"; "" : the body as a whole */
	char text[160];   /* English: what is wrong and what to do */
};

/* NULL when this version has no schema for the kind's body. */
const ProtobufCMessageDescriptor *body_descriptor(message_kind kind);
/* The same of what is inside a sealed part of such a message; audience: proto/sealed.h. */
const ProtobufCMessageDescriptor *body_sealed_descriptor(message_kind kind, uint32_t audience);

/* strict: as its author, refuses enum values and fields this version does not know and the values
 * that only say "unknown" where the schema wants an answer. Not strict: as its receiver, lets those
 * pass, because a later version may have made it.
 * `problem` may be NULL. NOT_FOUND: no schema for this kind (an addressee shows "onbekend bericht");
 * TOO_LARGE: above LIMIT_BODY, or unpacking asks more than the arena's budget; MALFORMED; MISSING; RANGE: a number,
 * length, count or a rule between fields; TEXT; NOMEM: no word on the body. */
MUST_CHECK enum cpd_error body_validate(message_kind kind, struct slice body, bool strict,
    struct body_problem *problem);

/* The same for what is inside a sealed part. */
MUST_CHECK enum cpd_error body_sealed_validate(message_kind kind, uint32_t audience, struct slice content, bool strict,
    struct body_problem *problem);

/* ---- body_rules.c: the bounds as data ---- */

enum body_rule_flag {
	RULE_FILLED = 1 << 0,  /* string: something other than spaces and newlines in it */
	RULE_LINES = 1 << 1,   /* string: newlines may stand in it */
	RULE_KNOWN = 1 << 2    /* enum: an author may not say 0, "unknown" */
};

struct body_rule {
	const char *field;
	int64_t min, max;      /* numbers, inclusive */
	uint32_t characters;   /* strings: the most Unicode characters */
	uint32_t entries;      /* repeated: the most entries */
	unsigned flags;
};

struct body_schema {
	const ProtobufCMessageDescriptor *descriptor;
	const struct body_rule *rules;
	size_t rule_count;
	/* Rules between fields of one message; NULL: none. Returns CPD_OK, or RANGE or MISSING with the
	 * field (relative to the message) and the text filled in. */
	enum cpd_error (*check)(const ProtobufCMessage *message, bool strict, struct body_problem *problem);
};

/* NULL: a message that stands in no body. */
const struct body_schema *body_schema_find(const ProtobufCMessageDescriptor *descriptor);
/* NULL: no such rule (a test proves that every field of every body has one). */
const struct body_rule *body_rule_find(const struct body_schema *schema, const char *field);

#endif
