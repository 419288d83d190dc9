/*
 * kind.h: the table of message kinds: name, default precedence, life, closing level, who may send
 * it to whom. One row a kind; nothing elsewhere switches on a kind for these facts.
 */
#ifndef CPD_PROTO_KIND_H
#define CPD_PROTO_KIND_H

#include "proto/message.h"

#define ROLE_BIT(role) (1u << (role))

struct kind {
	message_kind number;
	const char *name;             /* "emergency-call": cpctl and API */
	const char *schema_name;      /* "EmergencyCall" */
	const char *dutch;            /* "Noodhulpmelding" */
	enum precedence precedence;   /* default */
	uint32_t lifetime_s;          /* default */
	enum level closing_level;     /* default: the origin keeps it until every addressee signed for this */
	bool is_state;                /* last value wins; no receipt, no notice of each version */
	unsigned from_roles;          /* ROLE_BITs that may author it */
	unsigned to_roles;            /* ROLE_BITs it may be addressed to */
	bool has_body;                /* the body's schema is known to this version */
	unsigned releases;            /* persons who must have signed it, each with a key of their own; 0: none need to */
};

/* NULL when this version does not know the kind. */
const struct kind *kind_find(message_kind number);
const struct kind *kind_find_name(const char *name); /* name or schema name, any letter case */
/* Iterates the table: index from 0; NULL past the end. */
const struct kind *kind_at(size_t index);

#endif
