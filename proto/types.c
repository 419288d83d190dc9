/* types.c: names and text forms of the small values (PROTOCOL.md sections 2 and 4.2). */
#include "proto/types.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int message_id_compare(const struct message_id *a, const struct message_id *b)
{
	if (a->origin != b->origin)
		return a->origin < b->origin ? -1 : 1;
	if (a->epoch != b->epoch)
		return a->epoch < b->epoch ? -1 : 1;
	if (a->sequence != b->sequence)
		return a->sequence < b->sequence ? -1 : 1;
	return 0;
}

bool message_id_equal(const struct message_id *a, const struct message_id *b)
{
	return message_id_compare(a, b) == 0;
}

const char *message_id_format(const struct message_id *id, char *out)
{
	snprintf(out, MESSAGE_ID_TEXT_MAX, "%" PRIu32 "/%" PRIu32 "/%" PRIu64, id->origin, id->epoch, id->sequence);
	return out;
}

/* One decimal number up to `max`, ended by `end`. strtoull would take signs, spaces and zeros, and
 * then one message had many names. */
static bool number_parse(const char **text, char end, uint64_t max, uint64_t *out)
{
	const char *at = *text;
	uint64_t number = 0;

	if (*at < '0' || *at > '9' || (at[0] == '0' && at[1] != end))
		return false;
	for (; *at >= '0' && *at <= '9'; at++) {
		unsigned digit = (unsigned)(*at - '0');

		if (number > (max - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	if (*at != end)
		return false;
	*text = end == '\0' ? at : at + 1;
	*out = number;
	return true;
}

enum cpd_error message_id_parse(const char *text, struct message_id *out)
{
	uint64_t origin, epoch, sequence;

	memset(out, 0, sizeof(*out));
	if (!text || !number_parse(&text, '/', UINT32_MAX, &origin) ||
	    !number_parse(&text, '/', UINT32_MAX, &epoch) || !number_parse(&text, '\0', UINT64_MAX, &sequence))
		return CPD_ERR_MALFORMED;
	out->origin = (uint32_t)origin;
	out->epoch = (uint32_t)epoch;
	out->sequence = sequence;
	return CPD_OK;
}

static const char *const precedence_names[] = { "ROUTINE", "PRIORITY", "IMMEDIATE", "FLASH" };
static const char *const mode_names[] = { "REAL", "EXERCISE", "TEST" };
static const char *const role_names[] = { "unknown", "nsp", "cp", "desk", "partner" };

/* Index of `text` in names from `first` on, in any letter case; -1: none. */
static int name_find(const char *const *names, size_t first, size_t count, const char *text)
{
	for (size_t i = first; text && i < count; i++)
		if (!strcasecmp(names[i], text))
			return (int)i;
	return -1;
}

const char *precedence_name(enum precedence precedence)
{
	return (unsigned)precedence < COUNT(precedence_names) ? precedence_names[precedence] : "UNKNOWN";
}

bool precedence_parse(const char *text, enum precedence *out)
{
	int index = name_find(precedence_names, 0, COUNT(precedence_names), text);

	*out = index < 0 ? PRECEDENCE_ROUTINE : (enum precedence)index;
	return index >= 0;
}

const char *mode_name(enum mode mode)
{
	return (unsigned)mode < COUNT(mode_names) ? mode_names[mode] : "UNKNOWN";
}

bool mode_parse(const char *text, enum mode *out)
{
	int index = name_find(mode_names, 0, COUNT(mode_names), text);

	*out = index < 0 ? MODE_REAL : (enum mode)index;
	return index >= 0;
}

const char *node_role_name(enum node_role role)
{
	return (unsigned)role < COUNT(role_names) ? role_names[role] : "unknown";
}

bool node_role_parse(const char *text, enum node_role *out)
{
	int index = name_find(role_names, ROLE_ID_NSP, COUNT(role_names), text);

	*out = index < 0 ? ROLE_ID_UNKNOWN : (enum node_role)index;
	return index >= 0;
}

const char *reason_name(enum cpd_reason reason)
{
	switch (reason) {
	case REFUSED_NONE: return "NONE";
	case REFUSED_MALFORMED: return "MALFORMED";
	case REFUSED_TOO_LARGE: return "TOO-LARGE";
	case REFUSED_BAD_SIGNATURE: return "BAD-SIGNATURE";
	case REFUSED_REVOKED: return "REVOKED";
	case REFUSED_ROLE: return "ROLE";
	case REFUSED_ID_CONFLICT: return "ID-CONFLICT";
	case REFUSED_EXPIRED: return "EXPIRED";
	case REFUSED_HOP_LIMIT: return "HOP-LIMIT";
	case REFUSED_NOT_ADDRESSED: return "NOT-ADDRESSED";
	case REFUSED_BELOW_FLOOR: return "BELOW-FLOOR";
	case REFUSED_NO_ROUTE: return "NO-ROUTE";
	case REFUSED_UNKNOWN_SIGNER: return "UNKNOWN-SIGNER";
	case REFUSED_UNKNOWN_GROUP: return "UNKNOWN-GROUP";
	case REFUSED_FULL: return "FULL";
	case REFUSED_BUSY: return "BUSY";
	case REFUSED_QUOTA: return "QUOTA";
	}
	return "UNKNOWN";
}

enum cpd_reason reason_of_error(enum cpd_error error)
{
	switch (error) {
	case CPD_OK: return REFUSED_NONE;
	case CPD_ERR_MALFORMED:
	case CPD_ERR_MISSING:
	case CPD_ERR_RANGE:
	case CPD_ERR_TEXT:
	case CPD_ERR_VERSION:
	case CPD_ERR_PROTOCOL:
	case CPD_ERR_USAGE: return REFUSED_MALFORMED;
	case CPD_ERR_TOO_LARGE: return REFUSED_TOO_LARGE;
	case CPD_ERR_BAD_SIGNATURE: return REFUSED_BAD_SIGNATURE;
	case CPD_ERR_REVOKED: return REFUSED_REVOKED;
	case CPD_ERR_ROLE: return REFUSED_ROLE;
	case CPD_ERR_CONFLICT: return REFUSED_ID_CONFLICT;
	case CPD_ERR_UNKNOWN_SIGNER: return REFUSED_UNKNOWN_SIGNER;
	case CPD_ERR_UNKNOWN_GROUP: return REFUSED_UNKNOWN_GROUP;
	case CPD_ERR_FULL: return REFUSED_FULL;
	/* Trouble of our own is never the peer's fault: it must come again, late and not lost. */
	case CPD_ERR_NOMEM:
	case CPD_ERR_NOT_FOUND:
	case CPD_ERR_EXISTS:
	case CPD_ERR_IO:
	case CPD_ERR_DAMAGED:
	case CPD_ERR_STATE:
	case CPD_ERR_SCHEMA:
	case CPD_ERR_BUSY: return REFUSED_BUSY;
	}
	return REFUSED_BUSY;
}
