/*
 * message.h: the header of a message as a plain struct, and the exact bytes it came from.
 *
 * Encoding happens once, at the origin; after the first signature the bytes are frozen and only
 * decoded. Never re-encodes what came from elsewhere. Called by crypto/ (verify), daemon/ (author,
 * show) and tests. The byte layout is PROTOCOL.md section 4.
 */
#ifndef CPD_PROTO_MESSAGE_H
#define CPD_PROTO_MESSAGE_H

#include "proto/limits.h"
#include "proto/types.h"

/* Same values as Kind in cpd.proto (proto/kind.h has the table of what each means). */
typedef uint32_t message_kind;

struct group_ref { uint32_t number, version; };

/* Levels of Level in cpd.proto; LEVEL_* below are the wire values. */
enum level {
	LEVEL_NONE = 0, LEVEL_EXPIRED = 1, LEVEL_UNDELIVERABLE = 2, LEVEL_DELIVERED = 3,
	LEVEL_NOT_UNDERSTOOD = 4, LEVEL_READ = 5, LEVEL_REFUSED = 6, LEVEL_ACCEPTED = 7,
	LEVEL_DONE = 8, LEVEL_SUPERSEDED = 9, LEVEL_WITHDRAWN = 10, LEVEL_COUNT = 11
};

/* Decoded header. Owns nothing: pointers lead into the encoded bytes it was decoded from. */
struct header {
	struct message_id id;
	uint32_t nodes[LIMIT_DESTINATION_NODES];
	size_t node_count;
	struct group_ref groups[LIMIT_DESTINATION_GROUPS];
	size_t group_count;
	message_kind kind;
	enum precedence precedence;
	enum mode mode;
	enum clock_quality clock_quality;
	enum confidentiality confidentiality;
	enum entry_mode entry_mode;
	enum level closing_level;        /* DELIVERED, READ, ACCEPTED or DONE: what releases the origin */
	uint8_t retention_class;         /* 0: the kind's own */
	uint32_t created_s;
	uint32_t lifetime_s;             /* filled in from the kind when absent on the wire */
	struct message_id in_reply_to;   /* sequence 0: none */
	struct message_id supersedes;
	bool has_supersedes_hash;        /* only the message with this hash8 under that id is meant: other words stay */
	struct hash8 supersedes_hash;
	struct message_id incident;
	struct slice author;             /* UTF-8 function; len 0: none */
	struct slice body;               /* encoded body; data NULL for a large one */
	uint32_t large_length;           /* 0: not large */
	uint8_t large_root[32];
	struct slice sealed[LIMIT_SEALED_PARTS]; /* encoded SealedParts (proto/sealed.h), as they came; more than these are only passed on */
	size_t sealed_count;
};

struct message_signature {
	uint32_t signer;                 /* filled in with the origin when absent */
	uint32_t key_number;
	uint8_t bytes[64];
};

/* A person's signature, over the same bytes (PROTOCOL.md section 4.7). */
struct message_release { uint32_t function; uint8_t bytes[64]; };

/* A decoded envelope. Owns nothing: everything leads into `bytes`, which must outlive it. */
struct message {
	struct slice bytes;              /* the encoded Envelope, exactly as it came */
	struct slice signed_bytes;       /* Envelope.signed inside it */
	struct message_signature signatures[LIMIT_SIGNATURES];
	size_t signature_count;
	struct message_release releases[LIMIT_RELEASES];
	size_t release_count;
	struct header header;
};

/* Decodes and validates the envelope and its header (not the body, not the signatures).
 * `bytes` is borrowed for as long as *out lives. MALFORMED, TOO_LARGE, MISSING, RANGE, TEXT, NOMEM.
 * Unknown kinds, fields and enum values pass; unknown fields stay in the bytes. */
MUST_CHECK enum cpd_error message_decode(struct slice bytes, struct message *out);

/* True when it has a sealed part. Looks for the field only, in an envelope that decodes. */
bool message_is_sealed(struct slice envelope);

/* Encodes Envelope.signed from a header. buf holds LIMIT_ENVELOPE. Lifetime equal to the kind's own
 * and every default are omitted. The header is validated first; the same errors. */
MUST_CHECK enum cpd_error message_encode_signed(const struct header *header, uint8_t *buf, size_t *len);

/* Puts signed bytes and signatures (signer equal to `origin`: omitted) into an Envelope. */
MUST_CHECK enum cpd_error message_encode_envelope(struct slice signed_bytes, uint32_t origin,
    const struct message_signature *signatures, size_t count, uint8_t *buf, size_t *len);
/* The same with releases of persons beside them. */
MUST_CHECK enum cpd_error message_encode_released(struct slice signed_bytes, uint32_t origin, const struct message_signature *signatures,
    size_t count, const struct message_release *releases, size_t release_count, uint8_t *buf, size_t *len);

/* What holds for every header, authored or received: no zero in the id, some destination and none
 * twice, bounds of limits.h, a body or a large one, references whole, author in good text.
 * MISSING, RANGE, TOO_LARGE, MALFORMED, TEXT. */
MUST_CHECK enum cpd_error header_validate(const struct header *header);

/* Packs and unpacks the flags field (PROTOCOL.md section 4.2). From the lowest bit: precedence 2,
 * closing level 3 (0: the kind's own, 1 DELIVERED, 2 READ, 3 ACCEPTED, 4 DONE), clock quality 2,
 * mode 2, confidentiality 2, entry mode 3, retention class 3. Higher bits are reserved: they stay in
 * the bytes and are ignored, as are closing codes 5 to 7. Both need header->kind: closing_level
 * becomes a real level, DELIVERED for an unknown kind. */
uint32_t header_flags_pack(const struct header *header);
void header_flags_unpack(uint32_t flags, struct header *header);

/* True when node stands in the explicit destinations (groups not opened). */
bool header_names_node(const struct header *header, uint32_t node);

#endif
