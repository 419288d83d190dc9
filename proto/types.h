/*
 * types.h: the small values that every part of cpd speaks of: message id, precedence, level,
 * role, clock. Pure: no I/O, no clock reading.
 */
#ifndef CPD_PROTO_TYPES_H
#define CPD_PROTO_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/error.h"

/* Seconds from 1970-01-01 to 2026-01-01, the zero of every time on the wire. */
#define CPD_TIME_ZERO_S INT64_C(1767225600)

/* origin/epoch/sequence: short, speakable, the key of everything. */
struct message_id {
	uint32_t origin;
	uint32_t epoch;
	uint64_t sequence;
};

#define MESSAGE_ID_TEXT_MAX 48 /* "4294967295/4294967295/18446744073709551615" and NUL */
int message_id_compare(const struct message_id *a, const struct message_id *b);
bool message_id_equal(const struct message_id *a, const struct message_id *b);
/* Writes "344003/2/118"; out holds MESSAGE_ID_TEXT_MAX. Returns out. */
const char *message_id_format(const struct message_id *id, char *out);
/* Accepts exactly what message_id_format writes (no sign, no space, no leading zero). */
MUST_CHECK enum cpd_error message_id_parse(const char *text, struct message_id *out);

/* Wire values. Higher goes first, always. */
enum precedence {
	PRECEDENCE_ROUTINE = 0,
	PRECEDENCE_PRIORITY = 1,
	PRECEDENCE_IMMEDIATE = 2,
	PRECEDENCE_FLASH = 3,
	PRECEDENCE_COUNT = 4
};
const char *precedence_name(enum precedence precedence);           /* "FLASH" */
bool precedence_parse(const char *text, enum precedence *out); /* any letter case */

enum mode { MODE_REAL = 0, MODE_EXERCISE = 1, MODE_TEST = 2 };
const char *mode_name(enum mode mode);
bool mode_parse(const char *text, enum mode *out);

/* How far a clock may be believed. Wire values. TRUSTED(q) is q >= CLOCK_NTP. */
enum clock_quality { CLOCK_UNKNOWN = 0, CLOCK_MANUAL = 1, CLOCK_NTP = 2, CLOCK_GNSS = 3 };
static inline bool clock_is_trusted(enum clock_quality quality) { return quality >= CLOCK_NTP; }

/* The moment a pure part is told. `custody_ms` never jumps back and never stops while the machine
 * is on or suspended; it is kept in the store, so it goes on after a restart from where it was
 * (time powered off is not in it). `wall_ms` counts from CPD_TIME_ZERO_S and is believed as far as
 * `quality` says; it may be negative when a clock starts in 1970. */
struct moment {
	int64_t custody_ms;
	int64_t wall_ms;
	enum clock_quality quality;
};

enum entry_mode { ENTRY_SCREEN = 0, ENTRY_VOICE = 1, ENTRY_PAPER = 2, ENTRY_COURIER = 3, ENTRY_AUTOMATIC = 4 };
enum confidentiality { CONFIDENTIALITY_OPEN = 0, CONFIDENTIALITY_INTERNAL = 1, CONFIDENTIALITY_PERSONAL = 2 };

/* Same values as Role in cpd.proto. */
enum node_role { ROLE_ID_UNKNOWN = 0, ROLE_ID_NSP = 1, ROLE_ID_CP = 2, ROLE_ID_DESK = 3, ROLE_ID_PARTNER = 4 };
const char *node_role_name(enum node_role role); /* "nsp", "cp", "desk", "partner" */
bool node_role_parse(const char *text, enum node_role *out);

/* Same values as Reason in cpd.proto: what a peer is told. */
enum cpd_reason {
	REFUSED_NONE = 0, REFUSED_MALFORMED = 1, REFUSED_TOO_LARGE = 2, REFUSED_BAD_SIGNATURE = 3,
	REFUSED_REVOKED = 4, REFUSED_ROLE = 5, REFUSED_ID_CONFLICT = 6, REFUSED_EXPIRED = 7,
	REFUSED_HOP_LIMIT = 8, REFUSED_NOT_ADDRESSED = 9, REFUSED_BELOW_FLOOR = 10, REFUSED_NO_ROUTE = 11,
	REFUSED_UNKNOWN_SIGNER = 32, REFUSED_UNKNOWN_GROUP = 33, REFUSED_FULL = 34, REFUSED_BUSY = 35, REFUSED_QUOTA = 36
};
static inline bool reason_is_retryable(enum cpd_reason reason) { return reason >= REFUSED_UNKNOWN_SIGNER; }
const char *reason_name(enum cpd_reason reason); /* "UNKNOWN-SIGNER"; unknown values: "REASON-n" is not made, "UNKNOWN" is */
enum cpd_reason reason_of_error(enum cpd_error error);

/* First 8 bytes of BLAKE2b-256 of Envelope.signed; tells two messages with one id apart. */
#define HASH8_LEN 8
struct hash8 { uint8_t bytes[HASH8_LEN]; };

/* Bytes that somebody else owns. */
struct slice { const uint8_t *data; size_t len; };

#endif
