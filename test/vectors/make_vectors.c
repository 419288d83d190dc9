/*
 * make_vectors.c: makes test/vectors/protocol.json, the byte vectors of PROTOCOL.md section 11, from fixed
 * seeds. Included by test/unit/test_vectors.c, which holds the committed file against what it makes, and
 * writes it anew after a change on purpose: test_vectors --write
 *
 * What stands in "fields" is written by hand, not taken from a decoder: other implementations are compared
 * with it, and so is this one. Bytes are in hex, enumerations are numbers.
 */
#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/region.h"
#include "crypto/seal.h"
#include "proto/body.h"
#include "proto/body.pb-c.h"
#include "proto/checkwords.h"
#include "proto/frame.h"
#include "proto/kind.h"
#include "proto/leaf.h"
#include "proto/trailer.h"

#define NETWORK "nl"
#define CREATED 28100000u       /* 2026-11-22T05:33:20Z */
#define LARGE (2u * LIMIT_LEAF + 1)

struct bytes { uint8_t data[LIMIT_FRAME]; size_t len; };
struct party {
	const char *name;
	uint32_t node;
	uint8_t seed[32], secret[64], signing[32], sealing_secret[32], sealing[32], transport_secret[32], transport[32];
};

static struct party authority = { .name = "authority" }, cp = { .name = "901", .node = 901 },
	desk = { .name = "911", .node = 911 }, nsp = { .name = "344003", .node = 344003 };
static json_t *vectors;
static struct hash8 call_hash; /* of the call: the receipts speak of it */
static struct hash8 text_hash; /* of the text: it is superseded */

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "make_vectors: %s failed\n", what);
	abort();
}

static struct slice slice_of(const struct bytes *bytes)
{
	return (struct slice){ bytes->data, bytes->len };
}

/* Several may stand in one call. */
static const char *hex(const void *data, size_t len)
{
	static char texts[8][2 * LIMIT_FRAME + 1];
	static unsigned at;
	char *text = texts[at++ % 8];

	return sodium_bin2hex(text, sizeof(texts[0]), data, len);
}

static const char *hex_of(const struct bytes *bytes)
{
	return hex(bytes->data, bytes->len);
}

static struct bytes bytes_of(const char *text)
{
	struct bytes bytes = { .len = 0 };

	must(!sodium_hex2bin(bytes.data, sizeof(bytes.data), text, strlen(text), " ", &bytes.len, NULL), text);
	return bytes;
}

/* ---------------------------------------------------------------- keys and signatures */

static void seed_of(const struct party *party, const char *use, uint8_t seed[32])
{
	char text[64];
	int len = snprintf(text, sizeof(text), "cpd vectors %s %s", party->name, use);

	crypto_digest(seed, 32, (const uint8_t *)text, (size_t)len);
}

static json_t *party_make(struct party *party)
{
	seed_of(party, "signing", party->seed);
	seed_of(party, "sealing", party->sealing_secret);
	seed_of(party, "transport", party->transport_secret);
	crypto_sign_seed_keypair(party->signing, party->secret, party->seed);
	crypto_scalarmult_base(party->sealing, party->sealing_secret);
	crypto_scalarmult_base(party->transport, party->transport_secret);
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "who", party->name, "signing_seed", hex(party->seed, 32), "signing_key",
	    hex(party->signing, 32), "sealing_secret", hex(party->sealing_secret, 32), "sealing_key", hex(party->sealing, 32),
	    "transport_secret", hex(party->transport_secret, 32), "transport_key", hex(party->transport, 32));
}

static void sign(const struct party *party, enum sign_purpose purpose, struct slice bytes, uint8_t signature[64])
{
	static uint8_t over[LIMIT_SIGN_OVER];
	size_t len;

	must(!sign_over(purpose, NETWORK, bytes, over, &len), "sign_over");
	crypto_sign_detached(signature, NULL, over, len, party->secret);
}

/* ---------------------------------------------------------------- vectors */

static json_t *vector(const char *name, const char *type, const struct bytes *bytes, json_t *take_fields)
{
	json_t *made = json_pack("{s:s,s:s,s:i,s:s,s:o}", "name", name, "type", type, "length", (int)bytes->len, "hex", hex_of(bytes),
	    "fields", take_fields);

	must(made && !json_array_append_new(vectors, made), name);
	return made;
}

/* The content as a vector, then the record around it. */
static void vector_signed(const char *name, const char *type, const struct party *party, enum sign_purpose purpose,
    const struct bytes *content, json_t *take_fields, struct bytes *record)
{
	uint8_t signature[64];
	char record_name[64];
	json_t *made;

	vector(name, type, content, take_fields);
	sign(party, purpose, slice_of(content), signature);
	must(!signed_record_encode(slice_of(content), signature, 1, record->data, sizeof(record->data), &record->len), name);
	snprintf(record_name, sizeof(record_name), "%s-record", name);
	made = vector(record_name, "SignedRecord", record, json_pack("{s:s,s:s}", "signed", hex_of(content), "signature", hex(signature, 64)));
	json_object_set_new(made, "purpose", json_string(sign_purpose_name(purpose)));
	json_object_set_new(made, "signer", json_string(party->name));
}

/* ---------------------------------------------------------------- directory */

static struct certificate certificate_of(const struct party *party, enum node_role role, const char *name)
{
	struct certificate certificate = { .node = party->node, .role = role, .key_number = 1 };

	snprintf(certificate.name, sizeof(certificate.name), "%s", name);
	memcpy(certificate.signing_key, party->signing, 32);
	memcpy(certificate.sealing_key, party->sealing, 32);
	memcpy(certificate.transport_key, party->transport, 32);
	return certificate;
}

static json_t *certificate_fields(const struct party *party, int role, const char *name)
{
	return json_pack("{s:i,s:i,s:s,s:s,s:s,s:s}", "node", (int)party->node, "role", role, "name", name, "signing_key",
	    hex(party->signing, 32), "sealing_key", hex(party->sealing, 32), "transport_key", hex(party->transport, 32));
}

static void vector_update(const char *name, const struct directory_update *update, json_t *take_fields, struct bytes *record)
{
	static struct bytes content;

	must(!directory_update_encode(update, content.data, &content.len), name);
	vector_signed(name, "DirectoryUpdate", &authority, SIGN_DIRECTORY, &content, take_fields, record);
}

static void make_directory(struct bytes *introduction)
{
	static struct bytes record;
	struct certificate certificates[2] = { certificate_of(&cp, ROLE_ID_CP, "Coördinatiepunt Utrecht"), certificate_of(&nsp, ROLE_ID_NSP, "NSP Lombok") };
	uint32_t members[] = { 344003 };
	struct group group = { 1, 1, "alle-nsp", members, 1 };
	struct revocation revocation = { 344003, 1, 2, 118, "laptop gestolen" };
	struct directory_update update = { .number = 1, .created_s = 28000000, .certificates = certificates, .certificate_count = 2,
		.groups = &group, .group_count = 1 };
	json_t *first = certificate_fields(&cp, 2, certificates[0].name), *second = certificate_fields(&nsp, 1, certificates[1].name);

	memcpy(certificates[0].region, "VR09", 5);
	memcpy(certificates[0].address, "tcp://192.0.2.1:5600", 21);
	memcpy(certificates[1].municipality, "GM0344", 7);
	certificates[1].latitude_e5 = 5209250;
	certificates[1].longitude_e5 = 510400;
	certificates[1].not_after_s = 60000000;
	json_object_update_new(first, json_pack("{s:s,s:s}", "region", "VR09", "address", "tcp://192.0.2.1:5600"));
	json_object_update_new(second, json_pack("{s:s,s:i,s:i,s:i}", "municipality", "GM0344", "latitude_e5", 5209250, "longitude_e5", 510400,
	    "not_after_s", 60000000));
	vector_update("directory-update", &update, json_pack("{s:i,s:i,s:[o,o],s:[{s:i,s:i,s:s,s:[i]}]}", "number", 1, "created_s", 28000000,
	    "certificates", first, second, "groups", "number", 1, "version", 1, "name", "alle-nsp", "members", 344003), &record);
	certificates[0] = certificate_of(&desk, ROLE_ID_DESK, "Meldkamer");
	update = (struct directory_update){ .number = 2, .created_s = 28050000, .certificates = certificates, .certificate_count = 1 };
	vector_update("introduction-update", &update, json_pack("{s:i,s:i,s:[o]}", "number", 2, "created_s", 28050000, "certificates",
	    certificate_fields(&desk, 3, "Meldkamer")), introduction);
	update = (struct directory_update){ .number = 3, .created_s = 28200000, .revocations = &revocation, .revocation_count = 1 };
	vector_update("revocation-update", &update, json_pack("{s:i,s:i,s:[{s:i,s:i,s:i,s:s}]}", "number", 3, "created_s", 28200000, "revocations",
	    "node", 344003, "last_epoch", 2, "last_sequence", 118, "reason", "laptop gestolen"), &record);
}

static json_t *make_fingerprints(void)
{
	struct certificate certificate = certificate_of(&nsp, ROLE_ID_NSP, "NSP Lombok");
	struct region_anchor anchor = { .network = NETWORK, .region = "VR09", .name = "Utrecht" };
	char of_certificate[FINGERPRINT_TEXT_MAX], of_anchor[FINGERPRINT_TEXT_MAX], text[LIMIT_ANCHOR];
	size_t len;

	memcpy(anchor.authority_key, authority.signing, 32);
	must(!region_anchor_format(&anchor, text, &len), "region_anchor_format");
	return json_pack("{s:s,s:s,s:s}", "certificate_344003", certificate_fingerprint(&certificate, of_certificate), "anchor",
	    region_anchor_fingerprint(&anchor, of_anchor), "region.pub", text);
}

/* ---------------------------------------------------------------- messages */

static void vector_message(const char *name, const struct party *party, const struct header *header, json_t *take_fields,
    json_t *take_header, struct bytes *envelope)
{
	static struct bytes content;
	struct message_signature signature = { .signer = party->node, .key_number = 1 };
	struct hash8 hash;
	char message_name[64];
	json_t *made;

	must(!message_encode_signed(header, content.data, &content.len), name);
	sign(party, SIGN_MESSAGE, slice_of(&content), signature.bytes);
	must(!message_encode_envelope(slice_of(&content), party->node, &signature, 1, envelope->data, &envelope->len), name);
	hash = crypto_hash8(slice_of(&content));
	if (!strcmp(name, "call"))
		call_hash = hash;
	if (!strcmp(name, "text"))
		text_hash = hash;
	snprintf(message_name, sizeof(message_name), "%s-signed", name);
	made = vector(message_name, "Message", &content, take_fields);
	json_object_set_new(made, "header", take_header);
	made = vector(name, "Envelope", envelope, json_pack("{s:s,s:[{s:s}]}", "signed", hex_of(&content), "signatures", "signature",
	    hex(signature.bytes, 64)));
	json_object_set_new(made, "purpose", json_string("message"));
	json_object_set_new(made, "signer", json_string(party->name));
	json_object_set_new(made, "hash8", json_string(hex(hash.bytes, HASH8_LEN)));
}

static struct bytes call_body(uint32_t words)
{
	Cpd__EmergencyCall call = CPD__EMERGENCY_CALL__INIT;
	Cpd__Equipment equipment[] = { CPD__EQUIPMENT__VENTILATOR };
	struct bytes body = { .len = 0 };

	call.number = 41;
	call.check_words = words;
	call.services = 4;
	call.nature = CPD__NATURE__MEDICAL;
	call.postcode = (char *)(uintptr_t)"3512JE";
	call.house_number = (char *)(uintptr_t)"12";
	call.has_persons = true;
	call.persons = 2;
	call.has_conscious = call.has_breathing = true;
	call.conscious = call.breathing = CPD__TRI__YES;
	call.equipment = equipment;
	call.n_equipment = 1;
	call.has_battery_min = true;
	call.battery_min = 40;
	call.caller_waits = true;
	body.len = cpd__emergency_call__pack(&call, body.data);
	return body;
}

static void make_call(struct bytes *envelope)
{
	const struct spoken_call spoken = { 41, 4, 1, "3512JE", "12", NULL };
	struct header header = { .id = { 344003, 2, 118 }, .nodes = { 901 }, .node_count = 1, .kind = 3, .precedence = PRECEDENCE_FLASH,
		.clock_quality = CLOCK_NTP, .closing_level = LEVEL_DONE, .created_s = CREATED, .lifetime_s = 259200 };
	struct bytes body;
	uint32_t words;

	must(!check_words_bits(&spoken, crypto_digest, &words), "check words");
	body = call_body(words);
	header.body = slice_of(&body);
	must(!body_validate(3, header.body, true, NULL), "body of the call");
	vector("call-body", "EmergencyCall", &body, json_pack("{s:i,s:i,s:i,s:i,s:s,s:s,s:i,s:i,s:i,s:[i],s:i,s:b}", "number", 41, "check_words",
	    (int)words, "services", 4, "nature", 1, "postcode", "3512JE", "house_number", "12", "persons", 2, "conscious", 1, "breathing", 1,
	    "equipment", 1, "battery_min", 40, "caller_waits", 1));
	vector_message("call", &nsp, &header, json_pack("{s:i,s:i,s:i,s:[i],s:i,s:i,s:i,s:s}", "origin", 344003, "epoch", 2, "sequence", 118,
	    "nodes", 901, "kind", 3, "flags", 67, "created_s", (int)CREATED, "body", hex_of(&body)),
	    json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:i,s:s,s:i}", "id", "344003/2/118", "precedence", "FLASH", "mode", "REAL", "closing_level", "DONE",
	    "clock_quality", 2, "confidentiality", 0, "entry_mode", 0, "kind_name", "emergency-call", "lifetime_s", 259200), envelope);
}

/* A call with a part for its addressees and one for the desk. The keys are the digests of texts, as those of the nodes. */
static json_t *make_sealed(void)
{
	static const struct { const char *name, *type; uint32_t audience; size_t reader_count; const char *field[2], *text[2]; } rows[] = {
		{ "call-contact", "CallContact", AUDIENCE_ID_CONTACT, 3, { "name", "contact" }, { "J. de Wit", "06 12345678" } },
		{ "call-care", "CallCare", AUDIENCE_ID_CARE, 2, { "equipment", "health" }, { "beademing, accu tot 15.30", "kan niet liggen" } },
	};
	const struct spoken_call spoken = { 42, 4, 1, "3512JE", "12", NULL };
	const struct certificate certificates[] = { certificate_of(&cp, ROLE_ID_CP, "CP"), certificate_of(&desk, ROLE_ID_DESK, "desk"), certificate_of(&nsp, ROLE_ID_NSP, "NSP") };
	struct header header = { .id = { 344003, 2, 119 }, .nodes = { 901, 911 }, .node_count = 2, .kind = 3, .precedence = PRECEDENCE_FLASH,
		.clock_quality = CLOCK_NTP, .closing_level = LEVEL_DONE, .created_s = CREATED, .lifetime_s = 259200 };
	json_t *made = json_array();
	static struct bytes parts[2], content, body, envelope;
	uint32_t words;

	must(!check_words_bits(&spoken, crypto_digest, &words), "check words");
	body.len = 0;
	{
		Cpd__EmergencyCall call = CPD__EMERGENCY_CALL__INIT;

		call.number = 42;
		call.check_words = words;
		call.services = 4;
		call.nature = CPD__NATURE__MEDICAL;
		call.postcode = (char *)(uintptr_t)"3512JE";
		call.house_number = (char *)(uintptr_t)"12";
		call.caller_waits = true;
		body.len = cpd__emergency_call__pack(&call, body.data);
	}
	header.body = slice_of(&body);
	for (size_t i = 0; i < 2; i++) {
		const struct certificate *readers[3] = { &certificates[i ? 1 : 0], &certificates[i ? 2 : 1], &certificates[2] };
		uint8_t key[32], secret[32], bound[LIMIT_SEALED_BOUND];
		char text[64];
		struct sealed_part part;
		json_t *pairs = json_array();
		size_t bound_len;

		/* Two texts, fields 1 and 2, or 2 and 3. */
		content.len = 0;
		for (size_t j = 0; j < 2; j++) {
			content.data[content.len++] = (uint8_t)((i + j + 1) << 3 | 2);
			content.data[content.len++] = (uint8_t)strlen(rows[i].text[j]);
			memcpy(content.data + content.len, rows[i].text[j], strlen(rows[i].text[j]));
			content.len += strlen(rows[i].text[j]);
		}
		must(!body_sealed_validate(3, rows[i].audience, slice_of(&content), true, NULL), rows[i].name);
		snprintf(text, sizeof(text), "cpd vectors %s content", rows[i].name);
		crypto_digest(key, 32, (const uint8_t *)text, strlen(text));
		snprintf(text, sizeof(text), "cpd vectors %s ephemeral", rows[i].name);
		crypto_digest(secret, 32, (const uint8_t *)text, strlen(text));
		must(!seal_part_with(&header, NETWORK, rows[i].audience, readers, rows[i].reader_count, slice_of(&content), key, secret,
		    parts[i].data, &parts[i].len), rows[i].name);
		must(!sealed_part_decode(slice_of(&parts[i]), &part), rows[i].name);
		must(!sealed_part_bound(&part, &header, NETWORK, bound, &bound_len), rows[i].name);
		vector(rows[i].name, rows[i].type, &content, json_pack("{s:s,s:s}", rows[i].field[0], rows[i].text[0], rows[i].field[1], rows[i].text[1]));
		for (size_t j = 0; j < part.reader_count; j++) {
			json_array_append_new(pairs, json_integer((json_int_t)part.readers[j].node));
			json_array_append_new(pairs, json_integer((json_int_t)part.readers[j].key_number));
		}
		snprintf(text, sizeof(text), "%s-sealed", rows[i].name);
		vector(text, "SealedPart", &parts[i], json_pack("{s:i,s:o,s:s,s:s,s:s}", "audience", (int)rows[i].audience, "readers", pairs,
		    "ephemeral", hex(part.ephemeral, 32), "keys", hex(part.keys.data, part.keys.len), "content", hex(part.content.data, part.content.len)));
		header.sealed[header.sealed_count++] = slice_of(&parts[i]);
		json_array_append_new(made, json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "message", "sealed-call", "part", text, "inside", rows[i].name,
		    "content_key", hex(key, 32), "ephemeral_secret", hex(secret, 32), "bound", hex(bound, bound_len)));
	}
	vector_message("sealed-call", &nsp, &header, json_pack("{s:i,s:i,s:i,s:[i,i],s:i,s:i,s:i,s:s,s:[s,s]}", "origin", 344003, "epoch", 2, "sequence", 119,
	    "nodes", 901, 911, "kind", 3, "flags", 67, "created_s", (int)CREATED, "body", hex_of(&body), "sealed", hex_of(&parts[0]), hex_of(&parts[1])),
	    json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:i,s:s,s:i}", "id", "344003/2/119", "precedence", "FLASH", "mode", "REAL", "closing_level", "DONE",
	    "clock_quality", 2, "confidentiality", 0, "entry_mode", 0, "kind_name", "emergency-call", "lifetime_s", 259200), &envelope);
	return made;
}

static void make_text(void)
{
	struct header header = { .id = { 901, 1, 7 }, .groups = { { 1, 1 } }, .group_count = 1, .kind = 6, .precedence = PRECEDENCE_IMMEDIATE,
		.mode = MODE_EXERCISE, .clock_quality = CLOCK_GNSS, .confidentiality = CONFIDENTIALITY_INTERNAL, .entry_mode = ENTRY_AUTOMATIC,
		.closing_level = LEVEL_READ, .retention_class = 5, .created_s = CREATED + 60, .lifetime_s = 7200,
		.in_reply_to = { 344003, 2, 118 }, .supersedes = { 901, 1, 6 }, .incident = { 901, 1, 1 },
		.author = { (const uint8_t *)"coordinator", 11 } };
	struct bytes body = bytes_of("0a 0e 4f 65 66 65 6e 69 6e 67 3a 20 68 6f 6f 69"), envelope;

	header.body = slice_of(&body);
	must(!body_validate(6, header.body, true, NULL), "body of the text");
	vector("text-body", "Text", &body, json_pack("{s:s}", "text", "Oefening: hooi"));
	vector_message("text", &cp, &header, json_pack("{s:i,s:i,s:[i,i],s:i,s:i,s:i,s:i,s:s,s:{s:i,s:i,s:i},s:{s:i},s:{s:i},s:s}", "origin", 901,
	    "sequence", 7, "groups", 1, 1, "kind", 6, "flags", 2 | 2 << 2 | 3 << 5 | 1 << 7 | 1 << 9 | 4 << 11 | 5 << 14, "created_s", (int)CREATED + 60,
	    "lifetime_s", 7200, "body", hex_of(&body), "in_reply_to", "origin", 344003, "epoch", 2, "sequence", 118, "supersedes", "sequence", 6,
	    "incident", "sequence", 1, "author", "coordinator"),
	    json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:i,s:s,s:i}", "id", "901/1/7", "precedence", "IMMEDIATE", "mode", "EXERCISE", "closing_level", "READ",
	    "clock_quality", 3, "confidentiality", 1, "entry_mode", 4, "kind_name", "text", "lifetime_s", 7200), &envelope);
}

/* The words of 901/1/7 once more, under a new id: another 901/1/7 stays as it is. */
static void make_reissue(void)
{
	struct header header = { .id = { 901, 2, 1 }, .nodes = { 344003 }, .node_count = 1, .kind = 6, .closing_level = LEVEL_DELIVERED,
		.clock_quality = CLOCK_NTP, .created_s = CREATED + 120, .lifetime_s = 259200, .supersedes = { 901, 1, 7 }, .has_supersedes_hash = true };
	struct bytes body = bytes_of("0a 0e 4f 65 66 65 6e 69 6e 67 3a 20 68 6f 6f 69"), envelope;

	header.body = slice_of(&body);
	header.supersedes_hash = text_hash;
	vector_message("reissue", &cp, &header, json_pack("{s:i,s:i,s:i,s:[i],s:i,s:i,s:i,s:s,s:{s:i,s:s}}", "origin", 901, "epoch", 2, "sequence", 1,
	    "nodes", 344003, "kind", 6, "flags", 64, "created_s", (int)CREATED + 120, "body", hex_of(&body), "supersedes", "sequence", 7,
	    "hash", hex(text_hash.bytes, HASH8_LEN)),
	    json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:i,s:s,s:i}", "id", "901/2/1", "precedence", "ROUTINE", "mode", "REAL", "closing_level", "DELIVERED",
	    "clock_quality", 2, "confidentiality", 0, "entry_mode", 0, "kind_name", "text", "lifetime_s", 259200), &envelope);
}

/* Three leaves: the last one is one byte, and is carried up unhashed to the level below the root. */
static void make_large(void)
{
	static uint8_t body[LARGE];
	static struct bytes item;
	struct bytes envelope;
	struct header header = { .id = { 344003, 2, 119 }, .nodes = { 901, 911 }, .node_count = 2, .kind = 6, .closing_level = LEVEL_DELIVERED,
		.clock_quality = CLOCK_MANUAL, .created_s = CREATED + 90, .lifetime_s = 259200, .large_length = LARGE };
	struct tree *tree;
	struct tree_path path;

	for (size_t i = 0; i < LARGE; i++)
		body[i] = (uint8_t)(i * 7 + i / LIMIT_LEAF);
	must(!tree_of_body((struct slice){ body, LARGE }, crypto_digest, &tree) && !tree_root(tree, header.large_root), "tree");
	vector_message("large", &nsp, &header, json_pack("{s:i,s:i,s:i,s:[i,i],s:i,s:i,s:i,s:{s:i,s:s}}", "origin", 344003, "epoch", 2, "sequence", 119,
	    "nodes", 901, 911, "kind", 6, "flags", 32, "created_s", (int)CREATED + 90, "large", "length", (int)LARGE, "root", hex(header.large_root, 32)),
	    json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:i,s:s,s:i}", "id", "344003/2/119", "precedence", "ROUTINE", "mode", "REAL", "closing_level", "DELIVERED",
	    "clock_quality", 1, "confidentiality", 0, "entry_mode", 0, "kind_name", "text", "lifetime_s", 259200), &envelope);
	for (uint32_t index = 0; index < 3; index += 2) {
		struct slice leaf = { body + index * LIMIT_LEAF, tree_leaf_length(LARGE, index) };
		json_t *hashes = json_array();

		must(!tree_path(tree, index, &path) && !leaf_item_encode(&header.id, index, leaf, &path, item.data, &item.len), "leaf");
		for (size_t i = 0; i < path.count; i++)
			json_array_append_new(hashes, json_string(hex(path.hashes[i], TREE_HASH_LEN)));
		vector(index ? "leaf-2" : "leaf-0", "Leaf", &item, json_pack("{s:{s:i,s:i,s:i},s:i,s:s,s:o}", "message", "origin", 344003, "epoch", 2,
		    "sequence", 119, "index", (int)index, "bytes", hex(leaf.data, leaf.len), "path", hashes));
	}
	tree_free(tree);
}

static void make_item(const struct bytes *envelope, struct bytes *item)
{
	uint32_t recipients[] = { 901 };
	struct trailer trailer;

	trailer_init(&trailer);
	trailer.age_s = 42;
	trailer.retry = 1;
	trailer.recipients = recipients;
	trailer.recipient_count = 1;
	trailer.trace[0] = (struct hop){ 344003, CREATED, CREATED + 42 };
	trailer.trace_count = 1;
	must(!message_item_encode(slice_of(envelope), &trailer, item->data, &item->len), "message item");
	vector("call-item", "MessageItem", item, json_pack("{s:s,s:{s:i,s:i,s:[i],s:[{s:i,s:i,s:i}]}}", "envelope", hex_of(envelope), "trailer",
	    "age_s", 42, "retry", 1, "recipients", 901, "trace", "node", 344003, "received_s", (int)CREATED, "sent_s", (int)CREATED + 42));
}

/* ---------------------------------------------------------------- receipts, presence */

static void make_receipts(struct bytes *record)
{
	static struct bytes content;
	struct receipts receipts = { .witness = 901, .epoch = 1, .counter = 5, .time_s = CREATED + 100, .origin = 344003, .count = 1 };
	struct receipt_entry delivered = { { 344003, 2, 118 }, call_hash, LEVEL_DELIVERED, REFUSED_NONE, "" };
	struct receipt_entry refused = { { 344003, 2, 117 }, { { 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8 } }, LEVEL_REFUSED, REFUSED_NONE, "Dubbel gemeld" };
	struct receipt_entry lost = { { 344003, 1, 70000 }, { { 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 0xf9, 0xf8 } }, LEVEL_UNDELIVERABLE, REFUSED_NO_ROUTE, "" };
	char hashes[2 * 3 * HASH8_LEN + 1];

	snprintf(hashes, sizeof(hashes), "%sa1a2a3a4a5a6a7a8fffefdfcfbfaf9f8", hex(call_hash.bytes, HASH8_LEN));
	receipts.entries[0] = delivered;
	must(!receipts_encode(&receipts, content.data, &content.len), "receipts");
	vector_signed("receipt", "Receipts", &cp, SIGN_RECEIPTS, &content, json_pack("{s:[i,i,i,i,i,i,i,i],s:s}", "fields", 901, 1, 5, (int)CREATED + 100,
	    344003, 2, 118, 3, "hashes", hex(call_hash.bytes, HASH8_LEN)), record);
	receipts.counter = 6;
	receipts.count = 3;
	receipts.entries[1] = refused;
	receipts.entries[2] = lost;
	must(!receipts_encode(&receipts, content.data, &content.len), "receipts");
	vector_signed("receipts", "Receipts", &cp, SIGN_RECEIPTS, &content, json_pack("{s:[i,i,i,i,i,i,i,i,i,i,i,i,i,i],s:s,s:[s,s,s]}", "fields", 901, 1,
	    6, (int)CREATED + 100, 344003, 2, 118, 3, 2, 117, 6, 1, 70000, 2 | 11 << 4, "hashes", hashes,
	    "remarks", "", "Dubbel gemeld", ""), &(struct bytes){ .len = 0 });
}

static void make_presence(struct bytes *record)
{
	struct presence presence = { .node = 344003, .epoch = 2, .counter = 300, .homes = { 901, 902 }, .home_count = 2, .floors = { { 2, 12 }, { 1, 70001 } },
		.floor_count = 2, .time_s = CREATED + 120, .clock_quality = CLOCK_NTP };
	static struct bytes content;

	must(!presence_encode(&presence, content.data, sizeof(content.data), &content.len), "presence");
	vector_signed("presence", "Presence", &nsp, SIGN_PRESENCE, &content, json_pack("{s:i,s:i,s:i,s:[i,i],s:[i,i,i,i],s:i,s:i}", "node", 344003,
	    "epoch", 2, "counter", 300, "homes", 901, 902, "floors", 2, 12, 1, 70001, "time_s", (int)CREATED + 120, "clock_quality", 2), record);
}

/* ---------------------------------------------------------------- frames */

static void vector_frame(const char *name, const struct frame *frame, json_t *take_fields)
{
	static struct bytes bytes;

	must(!frame_encode(frame, bytes.data, &bytes.len), name);
	vector(name, "Frame", &bytes, take_fields);
}

static void make_data_frames(const struct bytes *item, const struct bytes *receipt)
{
	static const uint8_t nothing[1] = { 0 };
	struct frame frame = { .has = FRAME_DATA };
	uint32_t total = (uint32_t)item->len, cut = 100;

	frame.data = (struct frame_data){ 9, ITEM_TYPE_RECEIPTS, PRECEDENCE_FLASH, (uint32_t)receipt->len, 0, slice_of(receipt) };
	vector_frame("frame-data", &frame, json_pack("{s:{s:i,s:i,s:s}}", "data", "serial", 9, "shape", 2 | 3 << 4, "piece", hex_of(receipt)));
	frame.data = (struct frame_data){ 10, ITEM_TYPE_MESSAGE, PRECEDENCE_FLASH, total, 0, { item->data, cut } };
	vector_frame("frame-piece-1", &frame, json_pack("{s:{s:i,s:i,s:i,s:s}}", "data", "serial", 10, "shape", 1 | 3 << 4, "total", (int)total, "piece",
	    hex(item->data, cut)));
	frame.data = (struct frame_data){ 10, ITEM_TYPE_MESSAGE, PRECEDENCE_FLASH, total, cut, { item->data + cut, total - cut } };
	vector_frame("frame-piece-2", &frame, json_pack("{s:{s:i,s:i,s:i,s:i,s:s}}", "data", "serial", 10, "shape", 1 | 3 << 4, "total", (int)total,
	    "offset", (int)cut, "piece", hex(item->data + cut, total - cut)));
	frame.data = (struct frame_data){ 11, ITEM_TYPE_MESSAGE, PRECEDENCE_ROUTINE, 1, 0, { nothing, 1 } };
	vector_frame("frame-void", &frame, json_pack("{s:{s:i,s:i,s:s}}", "data", "serial", 11, "shape", 1, "piece", "00"));
}

static void make_frames(const struct bytes *item, const struct bytes *receipt, const struct bytes *presence, const struct bytes *introduction)
{
	static const uint8_t held[] = { 0x05 };
	struct frame frame = { .has = FRAME_HELLO, .hello = { .version = 1, .version_min = 1, .epoch = 2, .your_epoch = 1, .received = 7,
		.received_bitmap = { { 0x06 }, 1 }, .next_serial = 12, .seen_epoch = 1, .seen_sequence = 6, .directory = 3,
		.clock_ms = (int64_t)CREATED * 1000, .clock_quality = CLOCK_NTP, .credit_bulk = 262144, .credit_urgent = 65536 } };

	vector_frame("frame-hello", &frame, json_pack("{s:{s:i,s:i,s:i,s:i,s:s,s:i,s:i,s:i,s:i,s:I,s:i,s:i,s:i}}", "hello", "version", 1, "epoch", 2,
	    "your_epoch", 1, "received", 7, "received_bitmap", "06", "next_serial", 12, "seen_epoch", 1, "seen_sequence", 6, "directory", 3, "clock_ms",
	    (json_int_t)CREATED * 1000, "clock_quality", 2, "credit_bulk", 262144, "credit_urgent", 65536));
	make_data_frames(item, receipt);
	frame = (struct frame){ .has = FRAME_ACK | FRAME_CREDIT, .ack_received = 9, .ack_bitmap = { { 0x02 }, 1 }, .credit = { 1000, 263144, 65736 } };
	vector_frame("frame-ack", &frame, json_pack("{s:{s:i,s:s},s:{s:i,s:i,s:i}}", "ack", "received", 9, "bitmap", "02", "credit", "consumed", 1000,
	    "bulk", 263144, "urgent", 65736));
	frame = (struct frame){ .has = FRAME_ACK, .ack_received = 300 };
	vector_frame("frame-ack-alone", &frame, json_pack("{s:{s:i}}", "ack", "received", 300));
	frame = (struct frame){ .has = FRAME_REFUSAL, .refusal = { 10, REFUSED_UNKNOWN_SIGNER } };
	vector_frame("frame-refusal", &frame, json_pack("{s:{s:i,s:i}}", "refusal", "serial", 10, "reason", 32));
	frame = (struct frame){ .has = FRAME_WANT, .want = { 13, { 344003, 2, 119 }, { held, 1 } } };
	vector_frame("frame-want", &frame, json_pack("{s:{s:i,s:{s:i,s:i,s:i},s:s}}", "want", "serial", 13, "message", "origin", 344003, "epoch", 2,
	    "sequence", 119, "held", "05"));
	frame = (struct frame){ .has = FRAME_PRESENCE, .presence = { slice_of(presence), 35 } };
	vector_frame("frame-presence", &frame, json_pack("{s:{s:s,s:i}}", "presence", "record", hex_of(presence), "age_s", 35));
	frame = (struct frame){ .has = FRAME_INTRODUCTION, .introduction = slice_of(introduction) };
	vector_frame("frame-introduction", &frame, json_pack("{s:s}", "introduction", hex_of(introduction)));
	frame = (struct frame){ .has = FRAME_DIRECTORY, .directory = 3 };
	vector_frame("frame-directory", &frame, json_pack("{s:i}", "directory", 3));
}

/* ---------------------------------------------------------------- tables */

static json_t *make_levels(void)
{
	json_t *merge = json_array(), *closes = json_array(), *names = json_array();

	for (int held = 0; held < LEVEL_COUNT; held++) {
		json_t *row = json_array(), *row_closes = json_array();

		json_array_append_new(names, json_string(level_name((enum level)held)));
		for (int told = 0; told < LEVEL_COUNT; told++)
			json_array_append_new(row, json_integer(level_merge((enum level)held, (enum level)told)));
		for (int code = 0; code < 4; code++)
			json_array_append_new(row_closes, json_boolean(level_closes((enum level)held,
			    ((const enum level[]){ LEVEL_DELIVERED, LEVEL_READ, LEVEL_ACCEPTED, LEVEL_DONE })[code])));
		json_array_append_new(merge, row);
		json_array_append_new(closes, row_closes);
	}
	return json_pack("{s:o,s:o,s:o}", "names", names, "merge", merge, "closes", closes);
}

static json_t *roles_of(unsigned bits)
{
	json_t *roles = json_array();

	for (int role = ROLE_ID_NSP; role <= ROLE_ID_PARTNER; role++)
		if (bits & ROLE_BIT(role))
			json_array_append_new(roles, json_string(node_role_name((enum node_role)role)));
	return roles;
}

static json_t *make_kinds(void)
{
	json_t *kinds = json_array();
	const struct kind *kind;

	for (size_t i = 0; (kind = kind_at(i)); i++)
		json_array_append_new(kinds, json_pack("{s:i,s:s,s:s,s:i,s:s,s:b,s:o,s:o}", "number", (int)kind->number, "name", kind->name, "precedence",
		    precedence_name(kind->precedence), "lifetime_s", (int)kind->lifetime_s, "closing_level", level_name(kind->closing_level), "is_state",
		    kind->is_state, "from", roles_of(kind->from_roles), "to", roles_of(kind->to_roles)));
	return kinds;
}

static json_t *make_words(void)
{
	const struct spoken_call calls[] = { { 41, 4, 1, "3512JE", "12", NULL }, { 41, 4, 1, "3512 je", "12", "" }, { 7, 3, 2, NULL, NULL, "Brug caf\u00e9 De Zwaan" } };
	json_t *words = json_array();

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		uint32_t bits;

		must(!check_words_bits(&calls[i], crypto_digest, &bits), "check words");
		json_array_append_new(words, json_pack("{s:i,s:i,s:i,s:s?,s:s?,s:s?,s:i}", "number", (int)calls[i].number, "services", (int)calls[i].services,
		    "nature", (int)calls[i].nature, "postcode", calls[i].postcode, "house_number", calls[i].house_number, "location", calls[i].location,
		    "bits", (int)bits));
	}
	return words;
}

/* ---------------------------------------------------------------- what must be refused */

struct judged { const char *type, *hex, *why; };

static const struct judged judged[] = {
	{ "Presence", "0801 1001 1801", "" },
	{ "Presence", "1801 1001 0801", "" },                      /* any order of fields */
	{ "Presence", "0801 1001 1801 9a0603aabbcc", "" },         /* field 99, not known */
	{ "Presence", "0801 1001 1801 2005 2006", "" },            /* homes not packed */
	{ "Presence", "0801 1001 1801 220105 220106", "" },        /* homes packed in two parts */
	{ "Presence", "0801 0801 1001 1801", "a field that is not repeated stands twice" },
	{ "Presence", "088100 1001 1801", "a varint longer than it needs to be" },
	{ "Presence", "888000 1001 1801", "a tag longer than it needs to be, of field 1" },
	{ "Presence", "088080808010 1001 1801", "a value wider than uint32" },
	{ "Presence", "0801 1001 18ffffffffffffffffff02", "a varint above 64 bits" },
	{ "Presence", "0801 1001", "a required field is absent" },
	{ "Presence", "0801 1001 1a0101", "a field of another wire type" },
	{ "Presence", "0801 1001 1801 22", "the end is missing" },
	{ "Presence", "0801 1001 1801 2203 0506", "a length beyond the end" },
	{ "Presence", "0801 1001 1801 0b0c", "a group, which proto2 had once" },
	{ "Presence", "0801 1001 1801 2a0101", "half a pair of floors" },
	{ "Presence", "0801 1001 1801 2a020201", "a floor in an epoch that has not begun" },
	{ "Presence", "0801 1001 1801 22020505", "a home twice" },
	{ "Presence", "0800 1001 1801", "node 0" },
	{ "Presence", "0801 1001 1801 5007 5a10 c70102030405060708090a0b0c0d0e0f", "" },     /* the head of its journal */
	{ "Presence", "0801 1001 1801 5007 5a11 c70102030405060708090a0b0c0d0e0f10", "" },   /* more of it */
	{ "Presence", "0801 1001 1801 5007 5a0f c70102030405060708090a0b0c0d0e", "half a journal head" },
	{ "Presence", "0801 1001 1801 5007", "a journal's number without its head" },
	{ "Presence", "0801 1001 1801 5a10 c70102030405060708090a0b0c0d0e0f", "a journal's head without its number" },
	{ "Presence", "0801 1001 1801 5000 5a10 c70102030405060708090a0b0c0d0e0f", "journal line 0" },
	{ "Frame", "1a020809", "" },                               /* an acknowledgement */
	{ "Frame", "1a020809 2206 080a1020", "a length beyond the end" },
	{ "Frame", "2204080a1020 3a080801120408011801", "two main parts" },
	{ "Frame", "0a0408011802 1a020809", "an acknowledgement beside a hello" },
	{ "Frame", "0a0408001802", "a hello of version 0" },
	{ "Frame", "120a 0801 1001 1802 2a020102", "" },           /* serial 1, whole */
	{ "Frame", "120a 0800 1001 1802 2a020102", "serial 0" },
	{ "Frame", "120a 0801 1005 1802 2a020102", "an item type that does not exist" },
	{ "Frame", "120a 0801 1001 1801 2a020102", "a piece beyond its total" },
	{ "Frame", "2204080a1000", "a refusal without a reason" },
	{ "Receipts", "0a0a 850701050a850702 7603 1208 0102030405060708", "" },
	{ "Receipts", "0a0a 850701050a850702 7603 1207 01020304050607", "a hash too short" },
	{ "Receipts", "0a09 850701050a850702 76 1208 0102030405060708", "an entry cut short" },
	{ "Receipts", "0a07 850701050a8507 1200", "no entry" },
	{ "Receipts", "0a0a 850700050a850702 7603 1208 0102030405060708", "epoch 0" },
	{ "DirectoryUpdate", "0801 1002", "" },
	{ "DirectoryUpdate", "0800 1002", "number 0" },
	{ "DirectoryUpdate", "0801 1002 2a09 0801 1001 1a01 41 2200", "" },
	{ "DirectoryUpdate", "0801 1002 2a09 0801 1001 1a01 ff 2200", "a name that is not UTF-8" },
	{ "DirectoryUpdate", "0801 1002 2a0a 0801 1001 1a02 410a 2200", "a name of two lines" },
	{ "DirectoryUpdate", "0801 1002 2a0b 0801 1001 1a01 41 22020505", "a member twice" },
	{ "Message", "08c3ff14 1001 1801 220101 3006 40e4a8b30d 5200", "" },
	{ "Message", "08c3ff14 1001 1801 3006 40e4a8b30d 5200", "no destination" },
	{ "Message", "08c3ff14 1001 1801 22020101 3006 40e4a8b30d 5200", "a destination twice" },
	{ "Message", "08c3ff14 1001 1801 2a0101 3006 40e4a8b30d 5200", "half a group reference" },
	{ "Message", "08c3ff14 1001 1801 220101 3006 40e4a8b30d", "neither a body nor a large one" },
	{ "Message", "08c3ff14 1001 1800 220101 3006 40e4a8b30d 5200", "sequence 0" },
	{ "Message", "08c3ff14 1001 1801 220101 3006 40e4a8b30d 483b 5200", "a life below a minute" },
	{ "Message", "08c3ff14 1001 1801 220101 3006 40e4a8b30d 5200 5a021801", "an answer to itself" },
	{ "Message", "08c3ff14 1002 1801 220101 3006 40e4a8b30d 5200 620c1801 2208 a1a2a3a4a5a6a7a8", "" }, /* supersedes, with a hash */
	{ "Message", "08c3ff14 1002 1801 220101 3006 40e4a8b30d 5200 620b1801 2207 a1a2a3a4a5a6a7", "the hash of a reference is not 8 bytes" },
	{ "Message", "08c3ff14 1002 1801 220101 3006 40e4a8b30d 5200 5a0b1801 2207 a1a2a3a4a5a6a7", "the hash of a reference is not 8 bytes" },
	{ "Message", "08c3ff14 1001 1801 220101 3006 388080c0f00f 40e4a8b30d 5200", "" }, /* reserved flags */
};

static enum cpd_error decode(const char *type, struct slice bytes)
{
	static struct receipts receipts;
	static uint8_t envelope[LIMIT_ENVELOPE];
	struct message_signature signature = { .signer = 344003, .key_number = 1 };
	struct directory_update update;
	struct presence presence;
	struct message message;
	struct frame frame;
	enum cpd_error error;
	size_t len = 0;

	if (!strcmp(type, "Presence"))
		return presence_decode(bytes, &presence);
	if (!strcmp(type, "Receipts"))
		return receipts_decode(bytes, &receipts);
	if (!strcmp(type, "Frame"))
		return frame_decode(bytes, &frame);
	if (!strcmp(type, "DirectoryUpdate")) {
		error = directory_update_decode(bytes, &update);
		directory_update_clear(&update);
		return error;
	}
	must(!strcmp(type, "Message") && !message_encode_envelope(bytes, 344003, &signature, 1, envelope, &len), type);
	return message_decode((struct slice){ envelope, len }, &message);
}

static json_t *make_judged(void)
{
	json_t *all = json_array();

	for (size_t i = 0; i < sizeof(judged) / sizeof(judged[0]); i++) {
		struct bytes bytes = bytes_of(judged[i].hex);
		bool is_good = decode(judged[i].type, slice_of(&bytes)) == CPD_OK;

		if (is_good != !judged[i].why[0])
			fprintf(stderr, "make_vectors: %s %s is %s\n", judged[i].type, judged[i].hex, is_good ? "taken" : "refused");
		must(is_good == !judged[i].why[0], judged[i].why);
		json_array_append_new(all, json_pack("{s:s,s:s,s:b,s:s}", "type", judged[i].type, "hex", hex_of(&bytes), "good", is_good, "why", judged[i].why));
	}
	return all;
}

/* ---------------------------------------------------------------- all of it */

/* malloc'ed text of the whole file. */
static char *vectors_make(void)
{
	static struct bytes introduction, envelope, item, receipt, presence;
	json_t *keys = json_array(), *sealed, *root;
	char *text;

	vectors = json_array();
	json_array_append_new(keys, party_make(&authority));
	json_array_append_new(keys, party_make(&cp));
	json_array_append_new(keys, party_make(&desk));
	json_array_append_new(keys, party_make(&nsp));
	make_directory(&introduction);
	make_call(&envelope);
	make_text();
	make_reissue();
	make_large();
	make_item(&envelope, &item);
	make_receipts(&receipt);
	make_presence(&presence);
	make_frames(&item, &receipt, &presence, &introduction);
	sealed = make_sealed();
	root = json_pack("{s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "what", "Byte vectors of docs/PROTOCOL.md, made by test/vectors/make_vectors.c. "
	    "fields: as decoded, names of the .proto files, bytes in hex, enumerations as numbers.", "network", NETWORK, "keys", keys, "vectors", vectors,
	    "fingerprints", make_fingerprints(), "levels", make_levels(), "kinds", make_kinds(), "check_words", make_words(), "judged", make_judged(), "sealed", sealed);
	must(root, "root");
	text = json_dumps(root, JSON_INDENT(1));
	json_decref(root);
	must(text, "json_dumps");
	return text;
}
