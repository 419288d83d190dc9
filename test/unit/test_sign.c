/* test_sign.c: crypto/sign.h and crypto/verify.h: nothing passes that was not signed so, by whom it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <sodium.h>

#include "crypto/region.h"
#include "test/unit/scratch.h"
#include "test/unit/hungry_crypto.h"

#define VECTORS "test/vectors/signatures.json"
#define KIND_TEXT 6
#define KIND_INSTRUCTION 5
#define KIND_LATER 9000 /* of a later version */

/* ---------------------------------------------------------------- a region: CP 100, NSP 200 */

enum { CP = 100, NSP = 200, STRANGER = 300 };

struct world {
	struct authority *authority;
	struct identity *cp, *nsp, *stranger;
	struct directory *directory;
	uint32_t updates;
};

static const struct region_anchor names = { .network = "nl", .region = "VR09", .name = "Utrecht" };

static void apply(struct world *world, struct directory_update *update)
{
	static uint8_t buf[LIMIT_UPDATE_RECORD];
	struct directory_update verified;
	size_t len;

	update->number = ++world->updates;
	update->created_s = 1000;
	assert_int_equal(region_make_update(world->authority, update, buf, &len), CPD_OK);
	assert_int_equal(verify_directory_update(authority_anchor(world->authority), (struct slice){ buf, len }, &verified), CPD_OK);
	assert_int_equal(directory_apply(world->directory, &verified), CPD_OK);
	directory_update_clear(&verified);
}

static void certify(struct world *world, const struct identity *identity, uint32_t key_number, enum node_role role)
{
	/* Long past its dates: they refuse nobody. */
	struct certificate certificate = { .node = identity_node(identity), .role = role, .key_number = key_number,
		.name = "knooppunt", .not_before_s = 1, .not_after_s = 2 };
	struct directory_update update = { .certificates = &certificate, .certificate_count = 1 };

	identity_public_keys(identity, &certificate);
	apply(world, &update);
}

static void revoke_key(struct world *world, uint32_t node, uint32_t last_epoch, uint64_t last_sequence)
{
	struct revocation revocation = { .node = node, .key_number = 1, .last_epoch = last_epoch, .last_sequence = last_sequence };
	struct directory_update update = { .revocations = &revocation, .revocation_count = 1 };

	apply(world, &update);
}

static struct identity *make_identity(const struct world *world, const char *dir, uint32_t node)
{
	struct identity *identity;

	assert_int_equal(identity_create(dir, node, &identity), CPD_OK);
	assert_int_equal(identity_install(identity, node, 1, authority_anchor(world->authority)), CPD_OK);
	return identity;
}

static void world_begin(struct world *world)
{
	*world = (struct world){ .directory = directory_new() };
	assert_non_null(world->directory);
	assert_int_equal(authority_create("region", &names, (struct slice){ NULL, 0 }, &world->authority), CPD_OK);
	world->cp = make_identity(world, "cp", CP);
	world->nsp = make_identity(world, "nsp", NSP);
	world->stranger = make_identity(world, "stranger", STRANGER);
	certify(world, world->cp, 1, ROLE_ID_CP);
	certify(world, world->nsp, 1, ROLE_ID_NSP);
}

static void world_end(struct world *world)
{
	identity_free(world->cp);
	identity_free(world->nsp);
	identity_free(world->stranger);
	directory_free(world->directory);
	authority_free(world->authority);
}

/* ---------------------------------------------------------------- a message in the making */

struct draft {
	uint8_t signed_bytes[LIMIT_ENVELOPE], envelope[LIMIT_ENVELOPE];
	struct slice content, bytes;
	struct message_signature signatures[LIMIT_SIGNATURES];
	size_t signature_count;
	struct message_id id;
};

static void draft_begin(struct draft *draft, uint32_t origin, uint32_t epoch, uint64_t sequence, message_kind kind)
{
	static const uint8_t body[] = { 0x0a, 3, 'h', 'o', 'i' }; /* Text.text */
	struct header header = {
		.id = { origin, epoch, sequence }, .nodes = { NSP }, .node_count = 1, .kind = kind,
		.closing_level = LEVEL_DELIVERED, .created_s = 1000, .lifetime_s = 3600, .body = { body, sizeof(body) },
	};

	*draft = (struct draft){ .id = header.id };
	draft->content.data = draft->signed_bytes;
	assert_int_equal(message_encode_signed(&header, draft->signed_bytes, &draft->content.len), CPD_OK);
}

static struct message_signature *draft_sign_as(struct draft *draft, const struct identity *identity, enum sign_purpose purpose)
{
	struct message_signature *signature = &draft->signatures[draft->signature_count++];

	signature->signer = identity_node(identity);
	signature->key_number = 1;
	assert_int_equal(sign_bytes(identity, purpose, draft->content, signature->bytes), CPD_OK);
	return signature;
}

static void draft_sign(struct draft *draft, const struct identity *identity)
{
	(void)draft_sign_as(draft, identity, SIGN_MESSAGE);
}

static void draft_close(struct draft *draft)
{
	draft->bytes.data = draft->envelope;
	assert_int_equal(message_encode_envelope(draft->content, draft->id.origin, draft->signatures,
	    draft->signature_count, draft->envelope, &draft->bytes.len), CPD_OK);
}

static enum cpd_error draft_verify(struct draft *draft, const struct world *world, struct verified_message *out)
{
	draft_close(draft);
	return verify_message(world->directory, "nl", draft->bytes, out);
}

static enum cpd_error verify_simple(const struct world *world, const struct identity *identity, uint32_t epoch,
    uint64_t sequence, struct verified_message *out)
{
	struct draft draft;

	draft_begin(&draft, identity_node(identity), epoch, sequence, KIND_TEXT);
	draft_sign(&draft, identity);
	return draft_verify(&draft, world, out);
}

/* ---------------------------------------------------------------- messages */

static void a_signed_message_is_verified(void **state)
{
	struct verified_message verified;
	struct draft draft;
	struct world world;
	struct hash8 hash;

	(void)state;
	world_begin(&world);
	draft_begin(&draft, NSP, 2, 118, KIND_TEXT);
	draft_sign(&draft, world.nsp);
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_OK);
	assert_false(verified.is_suspect);
	assert_int_equal(verified.message.header.id.sequence, 118);
	assert_ptr_equal(verified.message.bytes.data, draft.envelope);
	hash = crypto_hash8(draft.content);
	assert_memory_equal(verified.hash.bytes, hash.bytes, HASH8_LEN);
	world_end(&world);
}

static void no_changed_byte_of_a_message_passes(void **state)
{
	static const struct verified_message nothing;
	struct verified_message verified;
	struct draft draft;
	struct world world;

	(void)state;
	world_begin(&world);
	draft_begin(&draft, NSP, 2, 118, KIND_TEXT);
	draft_sign(&draft, world.nsp);
	draft_close(&draft);
	for (size_t i = 0; i < draft.bytes.len; i++) {
		for (unsigned bit = 1; bit < 256; bit <<= 1) {
			draft.envelope[i] ^= (uint8_t)bit;
			assert_int_not_equal(verify_message(world.directory, "nl", draft.bytes, &verified), CPD_OK);
			assert_memory_equal(&verified, &nothing, sizeof(nothing));
			draft.envelope[i] ^= (uint8_t)bit;
		}
	}
	assert_int_equal(verify_message(world.directory, "nl", draft.bytes, &verified), CPD_OK);
	world_end(&world);
}

static void another_purpose_or_network_is_another_signature(void **state)
{
	struct verified_message verified;
	struct draft draft;
	struct world world;

	(void)state;
	world_begin(&world);
	for (enum sign_purpose purpose = SIGN_RECEIPTS; purpose < SIGN_PURPOSE_COUNT; purpose++) {
		draft_begin(&draft, NSP, 2, 118, KIND_TEXT);
		draft_sign_as(&draft, world.nsp, purpose);
		assert_int_equal(draft_verify(&draft, &world, &verified), CPD_ERR_BAD_SIGNATURE);
	}
	draft_begin(&draft, NSP, 2, 118, KIND_TEXT);
	draft_sign(&draft, world.nsp);
	draft_close(&draft);
	assert_int_equal(verify_message(world.directory, "be", draft.bytes, &verified), CPD_ERR_BAD_SIGNATURE);
	assert_int_equal(verify_message(world.directory, "", draft.bytes, &verified), CPD_ERR_BAD_SIGNATURE);
	assert_int_equal(verify_message(world.directory, "nll", draft.bytes, &verified), CPD_ERR_BAD_SIGNATURE);
	assert_int_equal(verify_message(world.directory, "nl", draft.bytes, &verified), CPD_OK);
	world_end(&world);
}

static void an_unknown_signer_or_key_number_may_be_asked_again(void **state)
{
	struct verified_message verified;
	struct draft draft;
	struct world world;

	(void)state;
	world_begin(&world);
	assert_int_equal(verify_simple(&world, world.stranger, 1, 1, &verified), CPD_ERR_UNKNOWN_SIGNER);
	assert_true(reason_is_retryable(reason_of_error(CPD_ERR_UNKNOWN_SIGNER)));
	draft_begin(&draft, NSP, 2, 118, KIND_TEXT);
	draft_sign_as(&draft, world.nsp, SIGN_MESSAGE)->key_number = 2;
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_ERR_UNKNOWN_SIGNER);
	certify(&world, world.stranger, 1, ROLE_ID_NSP);
	assert_int_equal(verify_simple(&world, world.stranger, 1, 1, &verified), CPD_OK);
	world_end(&world);
}

/* A second key of the same node: each signature is held to the key that it names. */
static void the_wrong_one_of_two_keys_is_refused(void **state)
{
	struct verified_message verified;
	struct identity *second;
	struct draft draft;
	struct world world;

	(void)state;
	world_begin(&world);
	second = make_identity(&world, "second", NSP);
	certify(&world, second, 2, ROLE_ID_NSP);
	draft_begin(&draft, NSP, 2, 118, KIND_TEXT);
	draft_sign_as(&draft, second, SIGN_MESSAGE)->key_number = 2;
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_OK);
	draft.signatures[0].key_number = 1;
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_ERR_BAD_SIGNATURE);
	/* The old key stays good for what it signed. */
	assert_int_equal(verify_simple(&world, world.nsp, 1, 1, &verified), CPD_OK);
	identity_free(second);
	world_end(&world);
}

static void a_message_in_anothers_name_is_refused(void **state)
{
	struct verified_message verified;
	struct draft draft;
	struct world world;

	(void)state;
	world_begin(&world);
	/* The NSP says that it speaks for the CP, under its own signature or under the CP's name. */
	draft_begin(&draft, CP, 1, 1, KIND_INSTRUCTION);
	draft_sign(&draft, world.nsp);
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_ERR_BAD_SIGNATURE);
	draft.signatures[0].signer = CP;
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_ERR_BAD_SIGNATURE);
	world_end(&world);
}

static void a_role_cannot_sign_what_is_not_its_own(void **state)
{
	struct verified_message verified;
	struct draft draft;
	struct world world;

	(void)state;
	world_begin(&world);
	draft_begin(&draft, NSP, 1, 1, KIND_INSTRUCTION);
	draft_sign(&draft, world.nsp);
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_ERR_ROLE);
	draft_begin(&draft, CP, 1, 1, KIND_INSTRUCTION);
	draft_sign(&draft, world.cp);
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_OK);
	/* What this version does not know, it passes on. */
	draft_begin(&draft, NSP, 1, 2, KIND_LATER);
	draft_sign(&draft, world.nsp);
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_OK);
	world_end(&world);
}

static void every_one_of_two_signatures_must_hold(void **state)
{
	struct verified_message verified;
	struct draft draft;
	struct world world;

	(void)state;
	world_begin(&world);
	draft_begin(&draft, CP, 1, 1, KIND_INSTRUCTION);
	draft_sign(&draft, world.cp);
	draft_sign(&draft, world.nsp);
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_OK);
	assert_int_equal(verified.message.signature_count, 2);
	draft.signatures[1].bytes[3] ^= 1;
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_ERR_BAD_SIGNATURE);
	draft.signatures[1].bytes[3] ^= 1;
	draft.signatures[0].bytes[3] ^= 1;
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_ERR_BAD_SIGNATURE);
	draft.signatures[0].bytes[3] ^= 1;
	draft.signatures[1].signer = STRANGER;
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_ERR_UNKNOWN_SIGNER);
	draft.signatures[1].signer = NSP;
	/* The origin's stands first: there is one envelope for one set of signatures. */
	{
		struct message_signature first = draft.signatures[0];

		draft.signatures[0] = draft.signatures[1];
		draft.signatures[1] = first;
	}
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_ERR_BAD_SIGNATURE);
	world_end(&world);
}

/* ---------------------------------------------------------------- revocation */

static void a_revoked_key_is_trusted_up_to_its_last_message_and_suspect_after(void **state)
{
	static const struct { uint32_t epoch; uint64_t sequence; bool is_suspect; } cases[] = {
		{ 1, 999, false }, { 2, 1, false }, { 2, 117, false }, { 2, 118, false },
		{ 2, 119, true }, { 3, 1, true },
	};
	struct verified_message verified;
	struct world world;

	(void)state;
	world_begin(&world);
	revoke_key(&world, NSP, 2, 118);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(verify_simple(&world, world.nsp, cases[i].epoch, cases[i].sequence, &verified), CPD_OK);
		assert_int_equal(verified.is_suspect, cases[i].is_suspect);
	}
	assert_int_equal(verify_simple(&world, world.cp, 9, 9, &verified), CPD_OK);
	assert_false(verified.is_suspect);
	world_end(&world);
}

static void a_key_revoked_without_a_last_message_signs_nothing(void **state)
{
	struct verified_message verified;
	struct draft draft;
	struct world world;

	(void)state;
	world_begin(&world);
	revoke_key(&world, NSP, 0, 0);
	assert_int_equal(verify_simple(&world, world.nsp, 1, 1, &verified), CPD_ERR_REVOKED);
	/* A forgery in its name is told as what it is. */
	draft_begin(&draft, NSP, 1, 1, KIND_TEXT);
	draft_sign(&draft, world.nsp);
	draft.signatures[0].bytes[0] ^= 1;
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_ERR_BAD_SIGNATURE);
	world_end(&world);
}

static void a_revoked_key_cannot_co_sign(void **state)
{
	struct verified_message verified;
	struct draft draft;
	struct world world;

	(void)state;
	world_begin(&world);
	revoke_key(&world, NSP, 2, 118);
	draft_begin(&draft, CP, 1, 1, KIND_INSTRUCTION);
	draft_sign(&draft, world.cp);
	draft_sign(&draft, world.nsp);
	assert_int_equal(draft_verify(&draft, &world, &verified), CPD_ERR_REVOKED);
	world_end(&world);
}

/* ---------------------------------------------------------------- receipts and presence */

static struct slice wrap(const struct identity *identity, enum sign_purpose purpose, struct slice content,
    uint8_t *buf, size_t size)
{
	struct slice record = { buf, 0 };
	uint8_t signature[64];

	assert_int_equal(sign_bytes(identity, purpose, content, signature), CPD_OK);
	assert_int_equal(signed_record_encode(content, signature, 1, buf, size, &record.len), CPD_OK);
	return record;
}

static struct slice make_receipts(const struct identity *identity, uint32_t witness, uint32_t epoch,
    enum sign_purpose purpose, uint8_t buf[LIMIT_RECEIPTS])
{
	static struct receipts receipts;
	static uint8_t bytes[LIMIT_RECEIPTS];
	struct slice content = { bytes, 0 };

	receipts = (struct receipts){ .witness = witness, .epoch = epoch, .counter = 5, .time_s = 1000, .origin = CP, .count = 1 };
	receipts.entries[0].subject = (struct message_id){ CP, 1, 7 };
	receipts.entries[0].level = LEVEL_DELIVERED;
	assert_int_equal(receipts_encode(&receipts, bytes, &content.len), CPD_OK);
	return wrap(identity, purpose, content, buf, LIMIT_RECEIPTS);
}

static enum cpd_error check_receipts(const struct world *world, const struct identity *identity, uint32_t witness,
    uint32_t epoch, enum sign_purpose purpose, bool *is_suspect)
{
	static struct verified_receipts verified;
	uint8_t buf[LIMIT_RECEIPTS];
	struct slice record = make_receipts(identity, witness, epoch, purpose, buf);
	enum cpd_error error = verify_receipts(world->directory, "nl", record, &verified);

	assert_int_equal(verified.receipts.count, error == CPD_OK ? 1 : 0);
	assert_ptr_equal(verified.bytes.data, error == CPD_OK ? record.data : NULL);
	*is_suspect = verified.is_suspect;
	return error;
}

static void receipts_count_only_under_their_witness(void **state)
{
	static struct verified_receipts verified;
	uint8_t buf[LIMIT_RECEIPTS];
	struct slice record;
	struct world world;
	bool is_suspect;

	(void)state;
	world_begin(&world);
	assert_int_equal(check_receipts(&world, world.nsp, NSP, 3, SIGN_RECEIPTS, &is_suspect), CPD_OK);
	assert_false(is_suspect);
	assert_int_equal(check_receipts(&world, world.cp, NSP, 3, SIGN_RECEIPTS, &is_suspect), CPD_ERR_BAD_SIGNATURE);
	assert_int_equal(check_receipts(&world, world.nsp, NSP, 3, SIGN_PRESENCE, &is_suspect), CPD_ERR_BAD_SIGNATURE);
	assert_int_equal(check_receipts(&world, world.stranger, STRANGER, 3, SIGN_RECEIPTS, &is_suspect), CPD_ERR_UNKNOWN_SIGNER);
	record = make_receipts(world.nsp, NSP, 3, SIGN_RECEIPTS, buf);
	assert_int_equal(verify_receipts(world.directory, "be", record, &verified), CPD_ERR_BAD_SIGNATURE);
	for (size_t i = 0; i < record.len; i++) {
		buf[i] ^= 1;
		assert_int_not_equal(verify_receipts(world.directory, "nl", record, &verified), CPD_OK);
		buf[i] ^= 1;
	}
	world_end(&world);
}

static void receipts_of_a_revoked_witness_are_trusted_before_its_last_epoch(void **state)
{
	struct world world;
	bool is_suspect;

	(void)state;
	world_begin(&world);
	revoke_key(&world, NSP, 2, 118);
	assert_int_equal(check_receipts(&world, world.nsp, NSP, 1, SIGN_RECEIPTS, &is_suspect), CPD_OK);
	assert_false(is_suspect);
	assert_int_equal(check_receipts(&world, world.nsp, NSP, 2, SIGN_RECEIPTS, &is_suspect), CPD_OK);
	assert_true(is_suspect);
	assert_int_equal(check_receipts(&world, world.nsp, NSP, 3, SIGN_RECEIPTS, &is_suspect), CPD_OK);
	assert_true(is_suspect);
	revoke_key(&world, CP, 0, 0);
	assert_int_equal(check_receipts(&world, world.cp, CP, 1, SIGN_RECEIPTS, &is_suspect), CPD_ERR_REVOKED);
	world_end(&world);
}

static enum cpd_error check_presence(const struct world *world, const struct identity *identity, uint32_t node,
    enum sign_purpose purpose)
{
	struct presence presence = { .node = node, .epoch = 1, .counter = 9, .homes = { CP }, .home_count = 1 };
	uint8_t bytes[LIMIT_PRESENCE], buf[LIMIT_PRESENCE + LIMIT_RECORD_EXTRA];
	struct slice content = { bytes, 0 };
	struct verified_presence verified;
	enum cpd_error error;

	assert_int_equal(presence_encode(&presence, bytes, sizeof(bytes), &content.len), CPD_OK);
	error = verify_presence(world->directory, "nl", wrap(identity, purpose, content, buf, sizeof(buf)), &verified);
	assert_int_equal(verified.presence.counter, error == CPD_OK ? 9 : 0);
	return error;
}

static void presence_is_the_nodes_own_word(void **state)
{
	struct world world;

	(void)state;
	world_begin(&world);
	assert_int_equal(check_presence(&world, world.nsp, NSP, SIGN_PRESENCE), CPD_OK);
	assert_int_equal(check_presence(&world, world.cp, NSP, SIGN_PRESENCE), CPD_ERR_BAD_SIGNATURE);
	assert_int_equal(check_presence(&world, world.nsp, NSP, SIGN_RECEIPTS), CPD_ERR_BAD_SIGNATURE);
	assert_int_equal(check_presence(&world, world.stranger, STRANGER, SIGN_PRESENCE), CPD_ERR_UNKNOWN_SIGNER);
	revoke_key(&world, NSP, 2, 118);
	assert_int_equal(check_presence(&world, world.nsp, NSP, SIGN_PRESENCE), CPD_ERR_REVOKED);
	world_end(&world);
}

/* ---------------------------------------------------------------- memory */

/* So many fields of a later version that reading them takes more than what stands on the stack. */
static struct slice padded(struct slice bytes, uint8_t *buf, size_t size)
{
	memmove(buf, bytes.data, bytes.len);
	for (size_t i = 0; i < 40; i++, bytes.len += 3) {
		assert_true(bytes.len + 3 <= size);
		memcpy(buf + bytes.len, "\xf8\x07\x01", 3);
	}
	return (struct slice){ buf, bytes.len };
}

static void what_takes_memory_to_read_holds_all_the_same(void **state)
{
	static struct verified_receipts receipts;
	static struct receipts many;
	const struct presence presence = { .node = NSP, .epoch = 2, .counter = 9 };
	uint8_t content[LIMIT_RECEIPTS], record[LIMIT_RECEIPTS], signed_too[LIMIT_RECEIPTS];
	struct verified_presence present;
	struct verified_message message;
	struct slice bytes = { content, 0 };
	struct draft draft;
	struct world world;
	size_t len;

	(void)state;
	world_begin(&world);
	many = (struct receipts){ .witness = NSP, .epoch = 3, .counter = 5, .time_s = 1000, .origin = CP, .count = 50 };
	for (size_t i = 0; i < many.count; i++)
		many.entries[i] = (struct receipt_entry){ .subject = { CP, 1, 7 + i }, .level = LEVEL_DELIVERED };
	assert_int_equal(receipts_encode(&many, content, &bytes.len), CPD_OK);
	assert_int_equal(verify_own_receipts(world.directory, world.nsp, bytes, signed_too, sizeof(signed_too), &len, &receipts), CPD_OK);
	bytes = padded(wrap(world.nsp, SIGN_RECEIPTS, bytes, record, sizeof(record)), record, sizeof(record));
	assert_int_equal(verify_receipts(world.directory, "nl", bytes, &receipts), CPD_OK);
	assert_int_equal(receipts.receipts.count, many.count);
	bytes = (struct slice){ content, 0 };
	assert_int_equal(presence_encode(&presence, content, LIMIT_PRESENCE, &bytes.len), CPD_OK);
	bytes = padded(bytes, content, LIMIT_PRESENCE);
	assert_int_equal(verify_presence(world.directory, "nl", wrap(world.nsp, SIGN_PRESENCE, bytes, record, sizeof(record)), &present), CPD_OK);
	bytes = (struct slice){ content, 0 };
	assert_int_equal(presence_encode(&presence, content, LIMIT_PRESENCE, &bytes.len), CPD_OK);
	bytes = padded(wrap(world.nsp, SIGN_PRESENCE, bytes, record, sizeof(record)), record, LIMIT_PRESENCE + LIMIT_RECORD_EXTRA);
	assert_int_equal(verify_presence(world.directory, "nl", bytes, &present), CPD_OK);
	draft_begin(&draft, NSP, 2, 118, KIND_TEXT);
	draft_sign(&draft, world.nsp);
	draft_close(&draft);
	draft.bytes = padded(draft.bytes, draft.envelope, sizeof(draft.envelope));
	assert_int_equal(verify_message(world.directory, "nl", draft.bytes, &message), CPD_OK);
	world_end(&world);
}

/* ---------------------------------------------------------------- what is signed */

static void an_identity_without_a_region_signs_requests_only(void **state)
{
	struct slice bytes = { (const uint8_t *)"x", 1 };
	struct certificate own = { 0 };
	struct identity *identity;
	uint8_t signature[64];

	(void)state;
	assert_int_equal(identity_create("new", 0, &identity), CPD_OK);
	identity_public_keys(identity, &own);
	assert_int_equal(sign_bytes(identity, SIGN_MESSAGE, bytes, signature), CPD_ERR_STATE);
	assert_true(sodium_is_zero(signature, sizeof(signature)));
	assert_int_equal(sign_bytes(identity, SIGN_REQUEST, bytes, signature), CPD_OK);
	assert_true(verify_bytes(own.signing_key, SIGN_REQUEST, "", bytes, signature));
	identity_free(identity);
}

static void what_is_too_long_is_not_signed(void **state)
{
	static uint8_t big[LIMIT_SIGN_BYTES + 1], over[LIMIT_SIGN_OVER];
	char network[LIMIT_NETWORK + 2];
	size_t len;

	(void)state;
	memset(network, 'n', sizeof(network));
	network[LIMIT_NETWORK + 1] = '\0';
	assert_int_equal(sign_over(SIGN_MESSAGE, network, (struct slice){ big, 1 }, over, &len), CPD_ERR_TOO_LARGE);
	network[LIMIT_NETWORK] = '\0';
	assert_int_equal(sign_over(SIGN_DIRECTORY, network, (struct slice){ big, LIMIT_SIGN_BYTES + 1 }, over, &len), CPD_ERR_TOO_LARGE);
	assert_int_equal(len, 0);
	assert_int_equal(sign_over(SIGN_DIRECTORY, network, (struct slice){ big, LIMIT_SIGN_BYTES }, over, &len), CPD_OK);
	assert_true(len <= sizeof(over));
	assert_int_equal(sign_over(SIGN_PURPOSE_COUNT, "nl", (struct slice){ big, 1 }, over, &len), CPD_ERR_RANGE);
}

static void hash8_is_the_head_of_blake2b_256(void **state)
{
	/* BLAKE2b-256 of "abc". */
	static const uint8_t expected[HASH8_LEN] = { 0xbd, 0xdd, 0x81, 0x3c, 0x63, 0x42, 0x39, 0x72 };
	struct hash8 hash = crypto_hash8((struct slice){ (const uint8_t *)"abc", 3 });

	(void)state;
	assert_memory_equal(hash.bytes, expected, HASH8_LEN);
}

/* ---------------------------------------------------------------- vectors */

static void unhex(const char *text, uint8_t *out, size_t size, size_t *len)
{
	assert_non_null(text);
	assert_int_equal(sodium_hex2bin(out, size, text, strlen(text), NULL, len, NULL), 0);
}

struct vector {
	enum sign_purpose purpose;
	const char *network;
	uint8_t seed[32], key[32], bytes[1024], over[1200], signature[64];
	size_t len, over_len;
};

static const char *text_of(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static void vector_read(const json_t *from, struct vector *to)
{
	const char *purpose = text_of(from, "purpose");
	size_t len;

	assert_non_null(purpose);
	for (to->purpose = 0; to->purpose < SIGN_PURPOSE_COUNT; to->purpose++)
		if (strcmp(sign_purpose_name(to->purpose), purpose) == 0)
			break;
	assert_int_not_equal(to->purpose, SIGN_PURPOSE_COUNT);
	to->network = text_of(from, "network");
	assert_non_null(to->network);
	unhex(text_of(from, "secret_seed"), to->seed, sizeof(to->seed), &len);
	assert_int_equal(len, 32);
	unhex(text_of(from, "public_key"), to->key, sizeof(to->key), &len);
	assert_int_equal(len, 32);
	unhex(text_of(from, "signature"), to->signature, sizeof(to->signature), &len);
	assert_int_equal(len, 64);
	unhex(text_of(from, "bytes"), to->bytes, sizeof(to->bytes), &to->len);
	unhex(text_of(from, "signed_over"), to->over, sizeof(to->over), &to->over_len);
}

/* Signs as a node whose folder holds the vector's seed, or as an authority. */
static void sign_vector(const struct vector *vector, const char *dir, uint8_t signature[64])
{
	struct region_anchor anchor = names;
	struct slice bytes = { vector->bytes, vector->len };
	struct authority *authority;
	struct identity *identity;
	char key[66];

	memcpy(anchor.authority_key, vector->key, 32);
	if (vector->network[0] != '\0')
		strcpy(anchor.network, vector->network);
	sodium_bin2hex(key, 65, vector->seed, 32);
	key[64] = '\n';
	if (vector->purpose == SIGN_DIRECTORY) {
		assert_int_equal(mkdir(dir, 0700), 0);
		write_file(in(dir, "authority.key"), key, 65);
		assert_int_equal(region_anchor_save(in(dir, "region.pub"), &anchor), CPD_OK);
		assert_int_equal(authority_load(dir, (struct slice){ NULL, 0 }, &authority), CPD_OK);
		assert_int_equal(authority_sign(authority, vector->purpose, bytes, signature), CPD_OK);
		authority_free(authority);
		return;
	}
	assert_int_equal(identity_create(dir, 1, &identity), CPD_OK);
	assert_int_equal(identity_install(identity, 1, 1, &anchor), CPD_OK);
	identity_free(identity);
	write_file(in(dir, "signing.key"), key, 65);
	assert_int_equal(identity_load(dir, &identity, NULL), CPD_OK);
	assert_int_equal(sign_bytes(identity, vector->purpose, bytes, signature), CPD_OK);
	identity_free(identity);
}

static void check_vector(const struct vector *vector, const char *dir)
{
	struct slice bytes = { vector->bytes, vector->len };
	uint8_t over[LIMIT_SIGN_OVER], signature[64];
	size_t len;

	assert_int_equal(sign_over(vector->purpose, vector->network, bytes, over, &len), CPD_OK);
	assert_int_equal(len, vector->over_len);
	assert_memory_equal(over, vector->over, len);
	assert_true(verify_bytes(vector->key, vector->purpose, vector->network, bytes, vector->signature));
	for (enum sign_purpose other = 0; other < SIGN_PURPOSE_COUNT; other++)
		assert_int_equal(verify_bytes(vector->key, other, vector->network, bytes, vector->signature), other == vector->purpose);
	sign_vector(vector, dir, signature);
	assert_memory_equal(signature, vector->signature, 64);
}

static json_t *vectors;

static void published_vectors_are_made_and_accepted(void **state)
{
	unsigned purposes = 0;
	size_t index;
	const json_t *entry;

	(void)state;
	json_array_foreach(json_object_get(vectors, "vectors"), index, entry) {
		struct vector vector;
		char dir[32];

		vector_read(entry, &vector);
		snprintf(dir, sizeof(dir), "vector%zu", index);
		check_vector(&vector, dir);
		purposes |= 1u << vector.purpose;
	}
	assert_int_equal(purposes, (1u << SIGN_PURPOSE_COUNT) - 1);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(a_signed_message_is_verified),
		WITH_FOLDER(no_changed_byte_of_a_message_passes),
		WITH_FOLDER(another_purpose_or_network_is_another_signature),
		WITH_FOLDER(an_unknown_signer_or_key_number_may_be_asked_again),
		WITH_FOLDER(the_wrong_one_of_two_keys_is_refused),
		WITH_FOLDER(a_message_in_anothers_name_is_refused),
		WITH_FOLDER(a_role_cannot_sign_what_is_not_its_own),
		WITH_FOLDER(every_one_of_two_signatures_must_hold),
		WITH_FOLDER(a_revoked_key_is_trusted_up_to_its_last_message_and_suspect_after),
		WITH_FOLDER(a_key_revoked_without_a_last_message_signs_nothing),
		WITH_FOLDER(a_revoked_key_cannot_co_sign),
		WITH_FOLDER(receipts_count_only_under_their_witness),
		WITH_FOLDER(receipts_of_a_revoked_witness_are_trusted_before_its_last_epoch),
		WITH_FOLDER(presence_is_the_nodes_own_word),
		WITH_FOLDER(what_takes_memory_to_read_holds_all_the_same),
		WITH_FOLDER(an_identity_without_a_region_signs_requests_only),
		cmocka_unit_test(what_is_too_long_is_not_signed),
		cmocka_unit_test(hash8_is_the_head_of_blake2b_256),
		WITH_FOLDER(published_vectors_are_made_and_accepted),
	};
	json_error_t problem;
	int failed;

	if (crypto_start() != CPD_OK)
		return 1;
	vectors = json_load_file(VECTORS, 0, &problem);
	if (vectors == NULL) {
		fprintf(stderr, "%s: line %d: %s (run from the top folder)\n", VECTORS, problem.line, problem.text);
		return 1;
	}
	failed = RUN_FED_AND_HUNGRY(tests);
	json_decref(vectors);
	return failed;
}
