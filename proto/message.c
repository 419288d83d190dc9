/* message.c: header and envelope (PROTOCOL.md section 4). */
#include "proto/message.h"

#include <string.h>

#include "proto/cpd.pb-c.h"
#include "proto/kind.h"
#include "proto/text.h"
#include "proto/wire.h"

#define SIGNATURE_LEN 64
#define ROOT_LEN 32
#define FIELD_SIGNED 1   /* Envelope */
#define FIELD_BODY 10    /* Message */
#define FIELD_AUTHOR 14
#define FIELD_SEALED 16

/* A kind of a later version that names no lifetime: as long as the region plans to be without power. */
#define LIFETIME_UNKNOWN_S (72 * 3600)

/* Where each value stands in the flags field (section 4.2); the bits above are reserved. */
enum flag_place {
	FLAG_PRECEDENCE = 0, FLAG_CLOSING = 2, FLAG_CLOCK = 5, FLAG_MODE = 7,
	FLAG_CONFIDENTIALITY = 9, FLAG_ENTRY = 11, FLAG_RETENTION = 14
};

/* Closing levels in the order of their codes; code 0 is the kind's own. */
static const enum level closing_codes[] = { LEVEL_NONE, LEVEL_DELIVERED, LEVEL_READ, LEVEL_ACCEPTED, LEVEL_DONE };
#define CLOSING_CODES (sizeof(closing_codes) / sizeof(closing_codes[0]))

static enum level closing_default(message_kind number)
{
	const struct kind *kind = kind_find(number);

	return kind ? kind->closing_level : LEVEL_DELIVERED;
}

static uint32_t lifetime_default(message_kind number)
{
	const struct kind *kind = kind_find(number);

	return kind ? kind->lifetime_s : LIFETIME_UNKNOWN_S;
}

/* Code of a closing level; CLOSING_CODES when no message may close at it. */
static uint32_t closing_code(enum level level)
{
	uint32_t code = 0;

	while (code < CLOSING_CODES && closing_codes[code] != level)
		code++;
	return code;
}

uint32_t header_flags_pack(const struct header *header)
{
	uint32_t closing = closing_code(header->closing_level);

	if (closing >= CLOSING_CODES || header->closing_level == closing_default(header->kind))
		closing = 0;
	return ((uint32_t)header->precedence & 3) << FLAG_PRECEDENCE | closing << FLAG_CLOSING |
	       ((uint32_t)header->clock_quality & 3) << FLAG_CLOCK | ((uint32_t)header->mode & 3) << FLAG_MODE |
	       ((uint32_t)header->confidentiality & 3) << FLAG_CONFIDENTIALITY |
	       ((uint32_t)header->entry_mode & 7) << FLAG_ENTRY |
	       ((uint32_t)header->retention_class & 7) << FLAG_RETENTION;
}

void header_flags_unpack(uint32_t flags, struct header *header)
{
	uint32_t closing = flags >> FLAG_CLOSING & 7;

	header->precedence = (enum precedence)(flags >> FLAG_PRECEDENCE & 3);
	header->clock_quality = (enum clock_quality)(flags >> FLAG_CLOCK & 3);
	header->mode = (enum mode)(flags >> FLAG_MODE & 3);
	header->confidentiality = (enum confidentiality)(flags >> FLAG_CONFIDENTIALITY & 3);
	header->entry_mode = (enum entry_mode)(flags >> FLAG_ENTRY & 7);
	header->retention_class = (uint8_t)(flags >> FLAG_RETENTION & 7);
	header->closing_level = closing > 0 && closing < CLOSING_CODES ? closing_codes[closing] :
	    closing_default(header->kind);
}

bool header_names_node(const struct header *header, uint32_t node)
{
	for (size_t i = 0; i < header->node_count; i++)
		if (header->nodes[i] == node)
			return true;
	return false;
}

/* ---------------------------------------------------------------- validation */

static enum cpd_error destinations_validate(const struct header *header)
{
	if (header->node_count > LIMIT_DESTINATION_NODES || header->group_count > LIMIT_DESTINATION_GROUPS)
		return CPD_ERR_TOO_LARGE;
	if (header->node_count + header->group_count == 0)
		return CPD_ERR_MISSING;
	for (size_t i = 0; i < header->node_count; i++) {
		if (header->nodes[i] == 0)
			return CPD_ERR_RANGE;
		for (size_t j = 0; j < i; j++)
			if (header->nodes[j] == header->nodes[i])
				return CPD_ERR_MALFORMED;
	}
	for (size_t i = 0; i < header->group_count; i++) {
		if (header->groups[i].number == 0 || header->groups[i].version == 0)
			return CPD_ERR_RANGE;
		for (size_t j = 0; j < i; j++)
			if (header->groups[j].number == header->groups[i].number)
				return CPD_ERR_MALFORMED;
	}
	return CPD_OK;
}

/* sequence 0: none. A message cannot answer or replace itself. */
static bool reference_is_good(const struct message_id *reference, const struct message_id *self)
{
	if (reference->sequence == 0)
		return true;
	return reference->origin != 0 && reference->epoch != 0 && !message_id_equal(reference, self);
}

static enum cpd_error content_validate(const struct header *header)
{
	bool has_body = header->body.data != NULL, is_large = header->large_length != 0;

	if (!has_body && header->body.len)
		return CPD_ERR_USAGE;
	if (has_body && is_large)
		return CPD_ERR_MALFORMED;
	if (!has_body && !is_large)
		return CPD_ERR_MISSING;
	if (header->body.len > LIMIT_BODY || header->large_length > LIMIT_LARGE_BODY)
		return CPD_ERR_TOO_LARGE;
	return CPD_OK;
}

enum cpd_error header_validate(const struct header *header)
{
	enum cpd_error error;

	if (header->id.origin == 0 || header->id.epoch == 0 || header->id.sequence == 0 || header->kind == 0)
		return CPD_ERR_RANGE;
	error = destinations_validate(header);
	if (error)
		return error;
	if (header->lifetime_s < LIMIT_LIFETIME_MIN_S || header->lifetime_s > LIMIT_LIFETIME_MAX_S)
		return CPD_ERR_RANGE;
	if ((unsigned)header->precedence >= PRECEDENCE_COUNT || (unsigned)header->mode > 3 ||
	    (unsigned)header->clock_quality > CLOCK_GNSS || (unsigned)header->confidentiality > 3 ||
	    (unsigned)header->entry_mode > 7 || header->retention_class > 7 ||
	    closing_code(header->closing_level) >= CLOSING_CODES)
		return CPD_ERR_RANGE;
	if (!reference_is_good(&header->in_reply_to, &header->id) ||
	    !reference_is_good(&header->supersedes, &header->id) ||
	    !reference_is_good(&header->incident, &(struct message_id){ 0, 0, 0 }))
		return CPD_ERR_RANGE;
	error = content_validate(header);
	if (error)
		return error;
	return text_check(header->author, LIMIT_FUNCTION, LIMIT_FUNCTION, TEXT_ONE_LINE);
}

/* ---------------------------------------------------------------- decoding */

static enum cpd_error reference_from_wire(const Cpd__Reference *wire, uint32_t origin, struct message_id *out)
{
	if (!wire)
		return CPD_OK;
	if (wire->sequence == 0 || (wire->has_hash && wire->hash.len != HASH8_LEN))
		return CPD_ERR_MALFORMED; /* absent is how a message says "none" */
	out->origin = wire->has_origin ? wire->origin : origin;
	out->epoch = wire->epoch;
	out->sequence = wire->sequence;
	return CPD_OK;
}

static enum cpd_error supersedes_from_wire(const Cpd__Reference *wire, uint32_t origin, struct header *out)
{
	enum cpd_error error = reference_from_wire(wire, origin, &out->supersedes);

	out->has_supersedes_hash = !error && wire && wire->has_hash;
	if (out->has_supersedes_hash)
		memcpy(out->supersedes_hash.bytes, wire->hash.data, HASH8_LEN);
	return error;
}

static enum cpd_error destinations_from_wire(const Cpd__Message *wire, struct header *out)
{
	if (wire->n_groups % 2)
		return CPD_ERR_MALFORMED;
	if (wire->n_nodes > LIMIT_DESTINATION_NODES || wire->n_groups / 2 > LIMIT_DESTINATION_GROUPS)
		return CPD_ERR_TOO_LARGE;
	for (size_t i = 0; i < wire->n_nodes; i++)
		out->nodes[i] = wire->nodes[i];
	out->node_count = wire->n_nodes;
	for (size_t i = 0; i < wire->n_groups / 2; i++)
		out->groups[i] = (struct group_ref){ wire->groups[2 * i], wire->groups[2 * i + 1] };
	out->group_count = wire->n_groups / 2;
	return CPD_OK;
}

static enum cpd_error large_from_wire(const Cpd__LargeBody *wire, struct header *out)
{
	if (!wire)
		return CPD_OK;
	if (wire->root.len != ROOT_LEN)
		return CPD_ERR_MALFORMED;
	if (wire->length == 0)
		return CPD_ERR_RANGE;
	out->large_length = wire->length;
	memcpy(out->large_root, wire->root.data, ROOT_LEN);
	return CPD_OK;
}

/* Where they stand in the bytes, in their order. What is in them is for their readers to judge: who passes them on cannot open them. */
static void sealed_from_bytes(struct slice bytes, struct header *out)
{
	while (out->sealed_count < LIMIT_SEALED_PARTS) {
		struct slice part = wire_find(bytes, FIELD_SEALED);

		if (!part.data)
			return;
		out->sealed[out->sealed_count++] = part;
		bytes = (struct slice){ part.data + part.len, (size_t)(bytes.data + bytes.len - part.data) - part.len };
	}
}

static enum cpd_error header_from_wire(const Cpd__Message *wire, struct slice bytes, struct header *out)
{
	enum cpd_error error;

	out->id = (struct message_id){ wire->origin, wire->epoch, wire->sequence };
	out->kind = wire->kind;
	header_flags_unpack(wire->flags, out);
	out->created_s = wire->created_s;
	out->lifetime_s = wire->has_lifetime_s ? wire->lifetime_s : lifetime_default(wire->kind);
	out->body = wire_find(bytes, FIELD_BODY);
	out->author = wire_find(bytes, FIELD_AUTHOR);
	sealed_from_bytes(bytes, out);
	error = destinations_from_wire(wire, out);
	if (!error)
		error = reference_from_wire(wire->in_reply_to, wire->origin, &out->in_reply_to);
	if (!error)
		error = supersedes_from_wire(wire->supersedes, wire->origin, out);
	if (!error)
		error = reference_from_wire(wire->incident, wire->origin, &out->incident);
	if (!error)
		error = large_from_wire(wire->large, out);
	return error ? error : header_validate(out);
}

static enum cpd_error header_decode(struct slice bytes, struct header *out)
{
	struct arena arena;
	Cpd__Message *wire;
	enum cpd_error error;

	arena_init(&arena, LIMIT_ARENA(bytes.len));
	error = wire_unpack(&cpd__message__descriptor, bytes, &arena, &wire);
	if (!error)
		error = header_from_wire(wire, bytes, out);
	arena_clear(&arena);
	return error;
}

/* The signer is known only after the header: 0 stands for the origin until then. */
static enum cpd_error signatures_from_wire(const Cpd__Envelope *wire, struct message *out)
{
	if (wire->n_signatures == 0)
		return CPD_ERR_MISSING;
	if (wire->n_signatures > LIMIT_SIGNATURES)
		return CPD_ERR_TOO_LARGE;
	for (size_t i = 0; i < wire->n_signatures; i++) {
		const Cpd__Signature *signature = wire->signatures[i];

		if (signature->signature.len != SIGNATURE_LEN)
			return CPD_ERR_MALFORMED;
		if (signature->key_number == 0 || (signature->has_signer && signature->signer == 0))
			return CPD_ERR_RANGE;
		out->signatures[i].signer = signature->signer;
		out->signatures[i].key_number = signature->key_number;
		memcpy(out->signatures[i].bytes, signature->signature.data, SIGNATURE_LEN);
	}
	out->signature_count = wire->n_signatures;
	return CPD_OK;
}

static enum cpd_error releases_from_wire(const Cpd__Envelope *wire, struct message *out)
{
	if (wire->n_releases > LIMIT_RELEASES)
		return CPD_ERR_TOO_LARGE;
	for (size_t i = 0; i < wire->n_releases; i++) {
		if (wire->releases[i]->signature.len != SIGNATURE_LEN)
			return CPD_ERR_MALFORMED;
		if (wire->releases[i]->function == 0)
			return CPD_ERR_RANGE;
		out->releases[i].function = wire->releases[i]->function;
		memcpy(out->releases[i].bytes, wire->releases[i]->signature.data, SIGNATURE_LEN);
	}
	out->release_count = wire->n_releases;
	return CPD_OK;
}

enum cpd_error message_decode(struct slice bytes, struct message *out)
{
	struct arena arena;
	Cpd__Envelope *wire;
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	if (bytes.len > LIMIT_ENVELOPE)
		return CPD_ERR_TOO_LARGE;
	arena_init(&arena, LIMIT_ARENA(bytes.len));
	error = wire_unpack(&cpd__envelope__descriptor, bytes, &arena, &wire);
	if (!error)
		error = signatures_from_wire(wire, out);
	if (!error)
		error = releases_from_wire(wire, out);
	arena_clear(&arena);
	if (!error) {
		out->bytes = bytes;
		out->signed_bytes = wire_find(bytes, FIELD_SIGNED);
		error = header_decode(out->signed_bytes, &out->header);
	}
	if (error) {
		memset(out, 0, sizeof(*out));
		return error;
	}
	for (size_t i = 0; i < out->signature_count; i++)
		if (out->signatures[i].signer == 0)
			out->signatures[i].signer = out->header.id.origin;
	return CPD_OK;
}

bool message_is_sealed(struct slice envelope)
{
	return wire_find(wire_find(envelope, FIELD_SIGNED), FIELD_SEALED).data != NULL;
}

/* ---------------------------------------------------------------- encoding */

/* NULL: none. */
static Cpd__Reference *reference_to_wire(const struct message_id *id, uint32_t origin, Cpd__Reference *out)
{
	cpd__reference__init(out);
	if (id->sequence == 0)
		return NULL;
	out->origin = id->origin;
	out->has_origin = id->origin != origin;
	out->epoch = id->epoch;
	out->has_epoch = id->epoch != 1;
	out->sequence = id->sequence;
	return out;
}

static Cpd__Reference *supersedes_to_wire(const struct header *header, Cpd__Reference *out)
{
	Cpd__Reference *wire = reference_to_wire(&header->supersedes, header->id.origin, out);

	if (wire && header->has_supersedes_hash) {
		wire->has_hash = true;
		wire->hash = wire_bytes((struct slice){ header->supersedes_hash.bytes, HASH8_LEN });
	}
	return wire;
}

static void scalars_to_wire(const struct header *header, Cpd__Message *out)
{
	const struct kind *kind = kind_find(header->kind);

	out->origin = header->id.origin;
	out->epoch = header->id.epoch;
	out->has_epoch = header->id.epoch != 1;
	out->sequence = header->id.sequence;
	out->kind = header->kind;
	WIRE_PUT(out, flags, header_flags_pack(header));
	out->created_s = header->created_s;
	out->lifetime_s = header->lifetime_s;
	/* For a kind we do not know, others may know another life. */
	out->has_lifetime_s = !kind || kind->lifetime_s != header->lifetime_s;
	out->has_body = header->body.data != NULL;
	out->body = wire_bytes(header->body);
}

enum cpd_error message_encode_signed(const struct header *header, uint8_t *buf, size_t *len)
{
	Cpd__Message wire = CPD__MESSAGE__INIT;
	Cpd__Reference in_reply_to, supersedes, incident;
	Cpd__LargeBody large = CPD__LARGE_BODY__INIT;
	uint32_t nodes[LIMIT_DESTINATION_NODES], groups[2 * LIMIT_DESTINATION_GROUPS];
	char author[LIMIT_FUNCTION + 1] = "";
	ProtobufCBinaryData sealed[LIMIT_SEALED_PARTS];
	enum cpd_error error = header_validate(header);

	*len = 0;
	if (error)
		return error;
	if (header->sealed_count > LIMIT_SEALED_PARTS)
		return CPD_ERR_TOO_LARGE;
	scalars_to_wire(header, &wire);
	for (size_t i = 0; i < header->node_count; i++)
		nodes[i] = header->nodes[i];
	wire.nodes = nodes;
	wire.n_nodes = header->node_count;
	for (size_t i = 0; i < header->group_count; i++) {
		groups[2 * i] = header->groups[i].number;
		groups[2 * i + 1] = header->groups[i].version;
	}
	wire.groups = groups;
	wire.n_groups = 2 * header->group_count;
	wire.in_reply_to = reference_to_wire(&header->in_reply_to, header->id.origin, &in_reply_to);
	wire.supersedes = supersedes_to_wire(header, &supersedes);
	wire.incident = reference_to_wire(&header->incident, header->id.origin, &incident);
	if (header->author.len) {
		memcpy(author, header->author.data, header->author.len);
		wire.author = author;
	}
	if (header->large_length) {
		large.length = header->large_length;
		large.root = wire_bytes((struct slice){ header->large_root, ROOT_LEN });
		wire.large = &large;
	}
	for (size_t i = 0; i < header->sealed_count; i++)
		sealed[i] = wire_bytes(header->sealed[i]);
	wire.sealed = sealed;
	wire.n_sealed = header->sealed_count;
	return wire_pack(&wire.base, buf, LIMIT_ENVELOPE, len);
}

enum cpd_error message_encode_released(struct slice signed_bytes, uint32_t origin, const struct message_signature *signatures,
    size_t count, const struct message_release *releases, size_t release_count, uint8_t *buf, size_t *len)
{
	Cpd__Envelope wire = CPD__ENVELOPE__INIT;
	Cpd__Signature rows[LIMIT_SIGNATURES], *pointers[LIMIT_SIGNATURES];
	Cpd__Release persons[LIMIT_RELEASES], *person_pointers[LIMIT_RELEASES];

	*len = 0;
	if (count == 0)
		return CPD_ERR_MISSING;
	if (count > LIMIT_SIGNATURES || release_count > LIMIT_RELEASES)
		return CPD_ERR_TOO_LARGE;
	for (size_t i = 0; i < count; i++) {
		if (signatures[i].signer == 0 || signatures[i].key_number == 0)
			return CPD_ERR_RANGE;
		cpd__signature__init(&rows[i]);
		rows[i].signer = signatures[i].signer;
		rows[i].has_signer = signatures[i].signer != origin;
		rows[i].key_number = signatures[i].key_number;
		rows[i].has_key_number = signatures[i].key_number != 1;
		rows[i].signature = wire_bytes((struct slice){ signatures[i].bytes, SIGNATURE_LEN });
		pointers[i] = &rows[i];
	}
	wire.signed_ = wire_bytes(signed_bytes);
	wire.signatures = pointers;
	wire.n_signatures = count;
	for (size_t i = 0; i < release_count; i++) {
		if (releases[i].function == 0)
			return CPD_ERR_RANGE;
		cpd__release__init(&persons[i]);
		persons[i].function = releases[i].function;
		persons[i].signature = wire_bytes((struct slice){ releases[i].bytes, SIGNATURE_LEN });
		person_pointers[i] = &persons[i];
	}
	wire.releases = person_pointers;
	wire.n_releases = release_count;
	return wire_pack(&wire.base, buf, LIMIT_ENVELOPE, len);
}

enum cpd_error message_encode_envelope(struct slice signed_bytes, uint32_t origin,
    const struct message_signature *signatures, size_t count, uint8_t *buf, size_t *len)
{
	return message_encode_released(signed_bytes, origin, signatures, count, NULL, 0, buf, len);
}
