/*
 * mutate.c: signed things, changed; none may be taken. Messages, receipts, presences and directory updates of a small
 * region are signed with real keys, then changed in many ways, and given to the verification that a node uses.
 *
 *   mutate [--count N] [--seed S]
 *
 * What decodes to bytes and signatures of an original is no change (another wrapping of the same message: an unknown
 * field beside what is signed, the signer told though it is the origin): it is counted apart and does not make up the
 * number. Last line: N passed, M failed.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/verify.h"
#include "proto/kind.h"

#define NETWORK "nl"
#define ORIGINALS 512
#define BYTES LIMIT_ENVELOPE

/* ---------------------------------------------------------------- chance */

static uint64_t state;

static uint32_t chance(uint32_t below)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(state >> 33) % below;
}

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "mutate: %s\n", what);
	exit(2);
}

/* ---------------------------------------------------------------- the region */

enum { AUTHORITY, CP, NSP, DESK, STRANGER, PARTIES };
static struct party { uint32_t node; enum node_role role; uint8_t public_key[32], secret[64]; } parties[PARTIES] = {
	{ 0, ROLE_ID_UNKNOWN, { 0 }, { 0 } }, { 901, ROLE_ID_CP, { 0 }, { 0 } }, { 344003, ROLE_ID_NSP, { 0 }, { 0 } },
	{ 911, ROLE_ID_DESK, { 0 }, { 0 } }, { 555, ROLE_ID_NSP, { 0 }, { 0 } },
};
static struct region_anchor anchor = { .network = NETWORK, .region = "VR09", .name = "Utrecht" };
static struct directory *directory;

static void region_make(void)
{
	struct certificate certificates[STRANGER - CP];
	struct directory_update update = { .number = 1, .created_s = 1, .certificates = certificates, .certificate_count = STRANGER - CP };

	memset(certificates, 0, sizeof(certificates));
	for (int i = 0; i < PARTIES; i++) {
		uint8_t seed[32] = { 7, (uint8_t)i };

		crypto_sign_seed_keypair(parties[i].public_key, parties[i].secret, seed);
		if (i < CP || i >= STRANGER)
			continue;
		certificates[i - CP] = (struct certificate){ .node = parties[i].node, .role = parties[i].role, .key_number = 1, .name = "node" };
		memcpy(certificates[i - CP].signing_key, parties[i].public_key, 32);
		crypto_scalarmult_base(certificates[i - CP].sealing_key, parties[i].public_key);
		crypto_scalarmult_base(certificates[i - CP].transport_key, parties[i].secret);
	}
	memcpy(anchor.authority_key, parties[AUTHORITY].public_key, 32);
	directory = directory_new();
	must(directory && !directory_apply(directory, &update), "the region cannot be made");
}

static void sign(const struct party *party, enum sign_purpose purpose, const char *network, struct slice bytes, uint8_t signature[64])
{
	static uint8_t over[LIMIT_SIGN_OVER];
	size_t len;

	must(!sign_over(purpose, network, bytes, over, &len), "sign_over");
	crypto_sign_detached(signature, NULL, over, len, party->secret);
}

/* ---------------------------------------------------------------- originals */

/* A signed thing in parts: what is signed, and the signatures beside it. */
struct thing {
	enum sign_purpose purpose;
	size_t party;                  /* whose it is */
	uint32_t origin;
	size_t len, signature_count;
	uint8_t content[BYTES];
	struct message_signature signatures[LIMIT_SIGNATURES];
};
static struct thing *originals[ORIGINALS];

static message_kind some_kind(enum node_role role)
{
	for (;;) {
		size_t count = 0;
		const struct kind *kind;

		while (kind_at(count))
			count++;
		kind = kind_at(chance((uint32_t)count));
		/* One that persons must sign too is refused for want of them. */
		if (kind->from_roles & ROLE_BIT(role) && !kind->releases)
			return kind->number;
	}
}

static void make_message(struct thing *thing, uint64_t number)
{
	static uint8_t body[4096];
	const struct party *party = &parties[thing->party];
	struct header header = { .id = { party->node, 1 + chance(3), 1 + number }, .precedence = (enum precedence)chance(4), .mode = (enum mode)chance(3),
		.clock_quality = (enum clock_quality)chance(4), .closing_level = chance(2) ? LEVEL_DELIVERED : LEVEL_READ, .created_s = 1000 + chance(1000000),
		.lifetime_s = 60 + chance(100000) };

	header.kind = some_kind(party->role);
	header.nodes[header.node_count++] = 901;
	if (chance(2))
		header.nodes[header.node_count++] = 911;
	if (chance(3) == 0)
		header.groups[header.group_count++] = (struct group_ref){ 1, 1 };
	if (chance(3) == 0)
		header.in_reply_to = (struct message_id){ 901, 1, 1 + chance(100) };
	header.body = (struct slice){ body, 1 + chance(chance(20) ? 200 : sizeof(body)) };
	randombytes_buf_deterministic(body, header.body.len, (const uint8_t[randombytes_SEEDBYTES]){ (uint8_t)number, (uint8_t)(number >> 8) });
	must(!message_encode_signed(&header, thing->content, &thing->len), "a message cannot be encoded");
	thing->origin = party->node;
}

static void make_record(struct thing *thing, uint64_t number)
{
	static struct receipts receipts;
	struct presence presence = { .node = parties[thing->party].node, .epoch = 1, .counter = 1 + number, .homes = { 901 }, .home_count = 1 };
	struct certificate certificate = { .node = 700 + (uint32_t)number, .role = ROLE_ID_NSP, .key_number = 1, .name = "new" };
	struct directory_update update = { .number = 2 + (uint32_t)number, .created_s = 9, .certificates = &certificate, .certificate_count = 1 };

	if (thing->purpose == SIGN_RECEIPTS) {
		receipts = (struct receipts){ .witness = parties[thing->party].node, .epoch = 1, .counter = 1 + number, .time_s = 5, .origin = 901, .count = 1 + chance(5) };
		for (size_t i = 0; i < receipts.count; i++)
			receipts.entries[i] = (struct receipt_entry){ .subject = { 901, 1, 1 + i }, .hash = { { (uint8_t)i } }, .level = LEVEL_READ };
		must(!receipts_encode(&receipts, thing->content, &thing->len), "receipts cannot be encoded");
	} else if (thing->purpose == SIGN_PRESENCE) {
		must(!presence_encode(&presence, thing->content, BYTES, &thing->len), "presence cannot be encoded");
	} else {
		memcpy(certificate.signing_key, parties[STRANGER].public_key, 32);
		crypto_scalarmult_base(certificate.sealing_key, parties[STRANGER].secret);
		crypto_scalarmult_base(certificate.transport_key, parties[STRANGER].public_key);
		must(!directory_update_encode(&update, thing->content, &thing->len), "an update cannot be encoded");
	}
}

static void put_signature(struct thing *thing, size_t party, enum sign_purpose purpose, const char *network)
{
	struct message_signature *signature = &thing->signatures[thing->signature_count++];

	*signature = (struct message_signature){ .signer = parties[party].node, .key_number = 1 };
	sign(&parties[party], purpose, network, (struct slice){ thing->content, thing->len }, signature->bytes);
}

static void originals_make(void)
{
	for (uint64_t i = 0; i < ORIGINALS; i++) {
		struct thing *thing = originals[i] = calloc(1, sizeof(*thing));

		must(thing, "out of memory");
		/* Of eight five are messages. */
		thing->purpose = i % 8 < 5 ? SIGN_MESSAGE : (enum sign_purpose)(SIGN_RECEIPTS + (i % 8 - 5));
		thing->party = thing->purpose == SIGN_DIRECTORY ? AUTHORITY : CP + i % 3;
		if (thing->purpose == SIGN_MESSAGE)
			make_message(thing, i);
		else
			make_record(thing, i);
		put_signature(thing, thing->party, thing->purpose, NETWORK);
		if (thing->purpose == SIGN_MESSAGE && i % 16 == 0)
			put_signature(thing, CP + (i + 1) % 3, thing->purpose, NETWORK);
	}
}

/* ---------------------------------------------------------------- as bytes, and verified */

struct bytes { uint8_t data[2 * BYTES]; size_t len; };

static bool thing_encode(const struct thing *thing, struct bytes *out)
{
	const struct slice content = { thing->content, thing->len };

	if (thing->purpose == SIGN_MESSAGE)
		return !message_encode_envelope(content, thing->origin, thing->signatures, thing->signature_count, out->data, &out->len);
	return !signed_record_encode(content, thing->signatures[0].bytes, thing->signatures[0].key_number, out->data, sizeof(out->data), &out->len);
}

static enum cpd_error verify(enum sign_purpose purpose, struct slice bytes)
{
	static struct verified_message message;
	static struct verified_receipts receipts;
	struct verified_presence presence;
	struct directory_update update;
	enum cpd_error error;

	if (purpose == SIGN_MESSAGE)
		return verify_message(directory, NETWORK, bytes, &message);
	if (purpose == SIGN_RECEIPTS)
		return verify_receipts(directory, NETWORK, bytes, &receipts);
	if (purpose == SIGN_PRESENCE)
		return verify_presence(directory, NETWORK, bytes, &presence);
	error = verify_directory_update(&anchor, bytes, &update);
	if (!error)
		directory_update_clear(&update);
	return error;
}

static bool has_signature(const struct thing *thing, const struct message_signature *signature)
{
	for (size_t i = 0; i < thing->signature_count; i++)
		if (!memcmp(thing->signatures[i].bytes, signature->bytes, 64) && thing->signatures[i].key_number == signature->key_number &&
		    (thing->purpose != SIGN_MESSAGE || thing->signatures[i].signer == signature->signer))
			return true;
	return false;
}

/* Is it an original in another wrapping? The content byte for byte, and only signatures that its signers made of it. */
static bool is_same(enum sign_purpose purpose, struct slice bytes)
{
	struct message message = { .signature_count = 1 };
	struct signed_record record;

	if (purpose == SIGN_MESSAGE) {
		if (message_decode(bytes, &message))
			return false;
	} else {
		if (signed_record_decode(bytes, LIMIT_DIRECTORY_UPDATE + LIMIT_RECORD_EXTRA, &record))
			return false;
		message.signed_bytes = record.signed_bytes;
		message.signatures[0].key_number = record.key_number;
		memcpy(message.signatures[0].bytes, record.signature, 64);
	}
	for (size_t i = 0; i < ORIGINALS; i++) {
		const struct thing *thing = originals[i];
		bool is_it = thing->purpose == purpose && thing->len == message.signed_bytes.len && message.signature_count &&
		    !memcmp(thing->content, message.signed_bytes.data, thing->len);

		for (size_t j = 0; is_it && j < message.signature_count; j++)
			is_it = has_signature(thing, &message.signatures[j]);
		if (is_it)
			return true;
	}
	return false;
}

/* ---------------------------------------------------------------- changes of the bytes */

/* Each changes `bytes`, or `thing` before it is encoded. `other` is another original of the same purpose. */
typedef void change_bytes(struct bytes *bytes, const struct bytes *other);
typedef void change_thing(struct thing *thing, const struct thing *other);

static void bit_flips(struct bytes *bytes, const struct bytes *other)
{
	(void)other;
	for (uint32_t i = 1 + (chance(2) ? 0 : chance(4)); i; i--)
		bytes->data[chance((uint32_t)bytes->len)] ^= (uint8_t)(1u << chance(8));
}

static void cut_short(struct bytes *bytes, const struct bytes *other)
{
	(void)other;
	bytes->len = chance((uint32_t)bytes->len);
}

static void bytes_out_or_in(struct bytes *bytes, const struct bytes *other)
{
	const size_t at = chance((uint32_t)bytes->len), count = 1 + chance(8);

	if (chance(2) && at + count <= bytes->len) {
		memmove(bytes->data + at, bytes->data + at + count, bytes->len - at - count);
		bytes->len -= count;
		return;
	}
	memmove(bytes->data + at + count, bytes->data + at, bytes->len - at);
	memcpy(bytes->data + at, other->data, count);
	bytes->len += count;
}

static void splice_of_bytes(struct bytes *bytes, const struct bytes *other)
{
	const size_t at = chance((uint32_t)bytes->len), from = chance(2) && at < other->len ? at : chance((uint32_t)other->len);

	bytes->len = at + other->len - from;
	memcpy(bytes->data + at, other->data + from, other->len - from);
}

/* The varint of a length: the first tag of a length-delimited field in sight, more or less. */
static void other_length(struct bytes *bytes, const struct bytes *other)
{
	size_t at = chance(2) ? 1 : chance((uint32_t)bytes->len - 1);

	(void)other;
	while (at + 2 < bytes->len && (bytes->data[at - (at > 0)] & 7) != 2)
		at++;
	bytes->data[at] = (uint8_t)(bytes->data[at] + 1 + chance(254));
}

static void more_behind(struct bytes *bytes, const struct bytes *other)
{
	const size_t count = 1 + chance(40);

	for (size_t i = 0; i < count; i++)
		bytes->data[bytes->len + i] = chance(2) ? other->data[i] : (uint8_t)chance(256);
	bytes->len += count;
}

/* Fields that a later version may have: outside what is signed they change nothing. */
static void other_wrapping(struct bytes *bytes, const struct bytes *other)
{
	static const uint8_t later[] = { 0xc2, 0x3e, 2, 0xff, 0xfe };

	(void)other;
	memcpy(bytes->data + bytes->len, later, sizeof(later));
	bytes->len += sizeof(later);
}

/* ---------------------------------------------------------------- changes of the parts */

static void contents_swapped(struct thing *thing, const struct thing *other)
{
	memcpy(thing->content, other->content, other->len);
	thing->len = other->len;
}

static void signatures_swapped(struct thing *thing, const struct thing *other)
{
	memcpy(thing->signatures[chance((uint32_t)thing->signature_count)].bytes, other->signatures[0].bytes, 64);
}

static void boundary_moved(struct thing *thing, const struct thing *other)
{
	(void)other;
	if (chance(2) && thing->len + 8 < BYTES)
		memset(thing->content + thing->len, (int)chance(256), 8), thing->len += 1 + chance(8);
	else
		thing->len -= 1 + chance(thing->len > 8 ? 8 : 1);
}

static void header_changed(struct thing *thing, const struct thing *other)
{
	static struct bytes bytes;
	static uint8_t content[BYTES];
	struct message message;
	struct header *header = &message.header;

	(void)other;
	if (thing->purpose != SIGN_MESSAGE || !thing_encode(thing, &bytes) || message_decode((struct slice){ bytes.data, bytes.len }, &message)) {
		thing->content[chance((uint32_t)thing->len)] ^= 1;
		return;
	}
	switch (chance(9)) {
	case 0: header->precedence = (enum precedence)((header->precedence + 1) % 4); break;
	case 1: header->mode = (enum mode)((header->mode + 1) % 3); break;
	case 2: header->id.sequence++; break;
	case 3: header->id.epoch++; break;
	case 4: header->nodes[0] = 912; break;
	case 5: header->kind = some_kind(parties[thing->party].role); break;
	case 6: header->created_s++; break;
	case 7: header->lifetime_s += 60; break;
	default: header->body.len -= header->body.len > 1; break;
	}
	if (message_encode_signed(header, content, &thing->len))
		thing->len = 0;
	memcpy(thing->content, content, thing->len);
	if (!thing->len)
		thing->content[thing->len++] = 0;
}

struct field { size_t at, len; };

static size_t varint_end(const struct thing *thing, size_t at)
{
	while (at < thing->len && thing->content[at] & 0x80)
		at++;
	return at + 1;
}

/* Its fields in order; false when it is none that we know how to walk. */
static size_t fields_of(const struct thing *thing, struct field fields[64])
{
	size_t count = 0, at = 0;

	while (at < thing->len && count < 64) {
		const unsigned type = thing->content[at] & 7;
		size_t end = varint_end(thing, at), len = 0;

		if (type == 2) {
			const size_t from = end;

			end = varint_end(thing, end);
			for (size_t i = from; i < end; i++)
				len |= (size_t)(thing->content[i] & 0x7f) << 7 * (i - from);
			end += len;
		} else {
			end = type == 0 ? varint_end(thing, end) : type == 5 ? end + 4 : end + 8;
		}
		fields[count++] = (struct field){ at, end - at };
		at = end;
	}
	return count;
}

/* The same fields and values in other bytes: another order, a field more, a longer varint, a default told. */
static void encoded_again(struct thing *thing, const struct thing *other)
{
	static uint8_t content[BYTES + 64];
	struct field fields[64], swap;
	const size_t count = fields_of(thing, fields), a = chance((uint32_t)count), b = chance((uint32_t)count);
	const unsigned how = chance(4);
	size_t len = 0;

	(void)other;
	swap = fields[a];
	if (how == 0) {
		fields[a] = fields[b];
		fields[b] = swap;
	}
	for (size_t i = 0; i < count; i++) {
		memcpy(content + len, thing->content + fields[i].at, fields[i].len);
		len += fields[i].len;
		if (how == 1 && i == a && (thing->content[fields[i].at] & 7) == 0) {
			content[len - 1] |= 0x80;
			content[len++] = 0;
		}
	}
	if (how > 1)
		memcpy(content + len, how == 2 ? (const uint8_t[]){ 0xc0, 0x3e, 1 } : (const uint8_t[]){ 0x38, 0x00, 0 }, 3), len += how == 2 ? 3 : 2;
	if (len > BYTES)
		return;
	memcpy(thing->content, content, len);
	thing->len = len;
}

/* ---------------------------------------------------------------- changes of a signature */

/* S and S + L make the same equation; only one may be taken. */
static void s_plus_l(struct thing *thing, const struct thing *other)
{
	static const uint8_t order[32] = { 0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10 };
	uint8_t *s = thing->signatures[0].bytes + 32;
	unsigned times = 1 + chance(14), carry;

	(void)other;
	for (; times; times--) {
		carry = 0;
		for (int i = 0; i < 32; i++) {
			carry += (unsigned)s[i] + order[i];
			s[i] = (uint8_t)carry;
			carry >>= 8;
		}
	}
}

/* R moved by a point of small order, or such a point itself with S = 0, or nothing at all. */
static void other_r(struct thing *thing, const struct thing *other)
{
	static const uint8_t small[][32] = {
		{ 1 }, { 0 },
		{ 0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f },
		{ 0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		  0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05 },
		{ 0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		  0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a },
	};
	uint8_t *signature = thing->signatures[0].bytes, sum[32];
	const uint8_t *point = small[chance(sizeof(small) / sizeof(small[0]))];

	(void)other;
	if (chance(2) && !crypto_core_ed25519_add(sum, signature, point) && memcmp(sum, signature, 32)) {
		memcpy(signature, sum, 32);
		return;
	}
	memcpy(signature, point, 32);
	if (chance(2))
		memset(signature + 32, 0, 32);
	signature[31] ^= (uint8_t)(chance(2) << 7);
}

static size_t another_party(const struct thing *thing)
{
	const size_t party = CP + chance(STRANGER - CP);

	return party == thing->party ? CP + (party - CP + 1) % (STRANGER - CP) : party;
}

/* Another's honest signature where the author's should stand; told as its own, or as the author's. */
static void signed_by_another(struct thing *thing, const struct thing *other)
{
	const size_t party = chance(4) ? another_party(thing) : STRANGER;

	(void)other;
	thing->signature_count = 0;
	put_signature(thing, party, thing->purpose, NETWORK);
	if (chance(2))
		thing->signatures[0].signer = parties[thing->party].node;
}

static void signer_renamed(struct thing *thing, const struct thing *other)
{
	struct message_signature *signature = &thing->signatures[chance((uint32_t)thing->signature_count)];

	(void)other;
	if (thing->purpose != SIGN_MESSAGE || chance(2))
		signature->key_number += 1 + chance(3);
	else
		signature->signer = parties[another_party(thing)].node;
}

/* The author's own honest signature, under what its role may not say. */
static void beyond_its_role(struct thing *thing, const struct thing *other)
{
	static struct bytes bytes;
	struct message message;
	const unsigned role = ROLE_BIT(parties[thing->party].role);
	const struct kind *kind = kind_at(0);

	if (thing->purpose != SIGN_MESSAGE) {
		signed_by_another(thing, other);
		return;
	}
	for (size_t i = chance(2) ? 0 : 1; kind && kind->from_roles & role; i++)
		kind = kind_at(i);
	must(kind && thing_encode(thing, &bytes) && !message_decode((struct slice){ bytes.data, bytes.len }, &message), "a role may say everything");
	message.header.kind = kind->number;
	message.header.lifetime_s = 3600;
	must(!message_encode_signed(&message.header, thing->content, &thing->len), "a message cannot be encoded");
	thing->signature_count = 0;
	put_signature(thing, thing->party, SIGN_MESSAGE, NETWORK);
}

/* The author's own key, for another network or purpose: what holds there holds not here. */
static void of_another_network(struct thing *thing, const struct thing *other)
{
	static const char *const networks[] = { "", "n", "nl2", "nk", "be", "NL" };

	(void)other;
	thing->signature_count = 0;
	put_signature(thing, thing->party, thing->purpose, networks[chance(6)]);
}

static void for_another_purpose(struct thing *thing, const struct thing *other)
{
	(void)other;
	thing->signature_count = 0;
	put_signature(thing, thing->party, (enum sign_purpose)((thing->purpose + 1 + chance(SIGN_PURPOSE_COUNT - 1)) % SIGN_PURPOSE_COUNT), NETWORK);
}

/* A good signature does not carry a bad one, in either place. */
static void one_more_that_is_bad(struct thing *thing, const struct thing *other)
{
	struct message_signature bad = other->signatures[0], good = thing->signatures[0];

	if (thing->purpose != SIGN_MESSAGE) {
		memcpy(thing->signatures[0].bytes + 32, other->signatures[0].bytes + 32, 32);
		return;
	}
	bad.signer = parties[chance(2) ? another_party(thing) : thing->party].node;
	thing->signatures[0] = good;
	thing->signatures[1] = bad;
	thing->signature_count = 2;
	if (chance(2)) {
		thing->signatures[0] = bad;
		thing->signatures[1] = good;
	}
}

static void none_at_all(struct thing *thing, const struct thing *other)
{
	(void)other;
	if (thing->purpose == SIGN_MESSAGE && chance(2))
		thing->signature_count = 0;
	else
		memset(thing->signatures[0].bytes, chance(2) ? 0 : 0xff, 64);
}

/* ---------------------------------------------------------------- counting */

#define OF_BYTES(name) { #name, name, NULL, { 0 } }
#define OF_THING(name) { #name, NULL, name, { 0 } }
enum { SAME, FORM, SIGNER, SIGNATURE, ROLE, ACCEPTED, OUTCOMES };
static struct change { const char *name; change_bytes *bytes; change_thing *thing; uint64_t count[OUTCOMES]; } changes[] = {
	OF_BYTES(bit_flips), OF_BYTES(bit_flips), OF_BYTES(cut_short), OF_BYTES(bytes_out_or_in), OF_BYTES(splice_of_bytes), OF_BYTES(other_length),
	OF_BYTES(more_behind), OF_BYTES(other_wrapping), OF_THING(contents_swapped), OF_THING(signatures_swapped), OF_THING(boundary_moved),
	OF_THING(header_changed), OF_THING(encoded_again), OF_THING(s_plus_l), OF_THING(other_r), OF_THING(signed_by_another), OF_THING(signer_renamed), OF_THING(beyond_its_role),
	OF_THING(of_another_network), OF_THING(for_another_purpose), OF_THING(one_more_that_is_bad), OF_THING(none_at_all),
};
#define CHANGES (sizeof(changes) / sizeof(changes[0]))

static int outcome_of(enum cpd_error error)
{
	switch (error) {
	case CPD_OK: return ACCEPTED;
	case CPD_ERR_UNKNOWN_SIGNER: return SIGNER;
	case CPD_ERR_BAD_SIGNATURE: return SIGNATURE;
	case CPD_ERR_ROLE: case CPD_ERR_REVOKED: return ROLE;
	default: return FORM;
	}
}

static const struct thing *another(const struct thing *thing)
{
	for (;;) {
		const struct thing *other = originals[chance(ORIGINALS)];

		if (other != thing && other->purpose == thing->purpose)
			return other;
	}
}

/* True: it counts. */
static bool change_one(void)
{
	static struct bytes bytes, other_bytes;
	static struct thing thing;
	struct change *change = &changes[chance(CHANGES)];
	const struct thing *original = originals[chance(ORIGINALS)], *other = another(original);
	struct slice slice;
	int outcome;

	thing = *original;
	if (change->thing)
		change->thing(&thing, other);
	if (!thing_encode(&thing, &bytes))
		return false;   /* our own encoder refuses to say such a thing */
	if (change->bytes && thing_encode(other, &other_bytes))
		change->bytes(&bytes, &other_bytes);
	slice = (struct slice){ bytes.data, bytes.len };
	outcome = is_same(thing.purpose, slice) ? SAME : outcome_of(verify(thing.purpose, slice));
	change->count[outcome]++;
	if (outcome == ACCEPTED && change->count[ACCEPTED] <= 3) {
		printf("ACCEPTED (%s, %s): ", change->name, sign_purpose_name(thing.purpose));
		for (size_t i = 0; i < bytes.len && i < 600; i++)
			printf("%02x", bytes.data[i]);
		printf("\n");
	}
	return outcome != SAME;
}

static unsigned report(uint64_t total, unsigned *passed)
{
	uint64_t sums[OUTCOMES] = { 0 };
	unsigned failed = 0;

	printf("%-22s %9s %9s %9s %9s %9s | %s\n", "change", "form", "signer", "signature", "role", "ACCEPTED", "same message, not counted");
	for (size_t i = 0; i < CHANGES; i++) {
		const struct change *change = &changes[i];
		uint64_t made = 0;

		for (int j = 0; j < OUTCOMES; j++) {
			sums[j] += change->count[j];
			made += change->count[j];
		}
		printf("%-22s %9llu %9llu %9llu %9llu %9llu | %llu\n", change->name, (unsigned long long)change->count[FORM], (unsigned long long)change->count[SIGNER],
		    (unsigned long long)change->count[SIGNATURE], (unsigned long long)change->count[ROLE], (unsigned long long)change->count[ACCEPTED],
		    (unsigned long long)change->count[SAME]);
		/* A change that never changes anything tries nothing: so it is where a network or a purpose is not signed. */
		*(made > (change->bytes == other_wrapping ? 0 : change->count[SAME]) && !change->count[ACCEPTED] ? passed : &failed) += 1;
	}
	printf("figure: %llu changed: %llu refused by form, %llu by signer, %llu by signature, %llu by role, %llu accepted; %llu the same message, not counted\n",
	    (unsigned long long)total, (unsigned long long)sums[FORM], (unsigned long long)sums[SIGNER], (unsigned long long)sums[SIGNATURE],
	    (unsigned long long)sums[ROLE], (unsigned long long)sums[ACCEPTED], (unsigned long long)sums[SAME]);
	/* Else the form alone was tried. */
	*(sums[SIGNATURE] > total / 4 ? passed : &failed) += 1;
	return failed;
}

int main(int argc, char **argv)
{
	uint64_t count = 20000, seed = 1, made = 0;
	unsigned passed = 0, failed = 0;
	static struct bytes bytes;

	for (int i = 1; i + 1 < argc; i += 2) {
		must(!strcmp(argv[i], "--count") || !strcmp(argv[i], "--seed"), "usage: mutate [--count N] [--seed S]");
		*(strcmp(argv[i], "--seed") ? &count : &seed) = strtoull(argv[i + 1], NULL, 10);
	}
	must(!crypto_start() && count, "usage: mutate [--count N] [--seed S]");
	state = seed;
	region_make();
	originals_make();
	/* Each of them is good, or what follows proves nothing. */
	for (size_t i = 0; i < ORIGINALS; i++)
		must(thing_encode(originals[i], &bytes) && !verify(originals[i]->purpose, (struct slice){ bytes.data, bytes.len }), "an original is refused");
	while (made < count)
		made += change_one();
	failed = report(made, &passed);
	for (size_t i = 0; i < ORIGINALS; i++)
		free(originals[i]);
	directory_free(directory);
	printf("mutated messages (seed %llu): %u passed, %u failed\n", (unsigned long long)seed, passed, failed);
	return failed != 0;
}
