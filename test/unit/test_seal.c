/* test_seal.c: proto/sealed.h and crypto/seal.h: a sealed part opens for its readers, in its own message, unchanged; or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sodium.h>

#include "crypto/seal.h"
#include "proto/body.h"
#include "test/unit/scratch.h"

enum { ORIGIN = 344003, CP = 901, DESK = 911, OTHER = 902 };
enum { AT_CP, AT_OTHER, AT_DESK, AT_ORIGIN, NODES };

struct world {
	struct identity *identities[NODES];
	struct certificate certificates[NODES];
};

static const struct region_anchor names = { .network = "nl", .region = "VR09", .name = "Utrecht" };
static const char *const folders[NODES] = { "cp", "other", "desk", "origin" };
static const uint32_t numbers[NODES] = { CP, OTHER, DESK, ORIGIN };
static const uint8_t secret[] = "J. de Wit, 06 12345678";
static const struct slice content = { secret, sizeof(secret) - 1 };
static uint8_t content_key[32];
static const struct header header = { .id = { ORIGIN, 2, 118 }, .nodes = { CP, DESK }, .node_count = 2, .groups = { { 7, 3 } }, .group_count = 1, .kind = 3 };

static void install(struct world *world, size_t i, uint32_t key_number)
{
	struct region_anchor anchor = names;

	world->certificates[i] = (struct certificate){ .node = numbers[i], .role = ROLE_ID_CP, .key_number = key_number, .name = "x" };
	identity_public_keys(world->identities[i], &world->certificates[i]);
	memcpy(anchor.authority_key, world->certificates[i].signing_key, 32);   /* any good key: nothing here is the authority's */
	assert_int_equal(identity_install(world->identities[i], numbers[i], key_number, &anchor), CPD_OK);
}

static void world_begin(struct world *world)
{
	for (size_t i = 0; i < NODES; i++) {
		assert_int_equal(identity_create(folders[i], numbers[i], &world->identities[i]), CPD_OK);
		install(world, i, 1);
	}
}

static void world_end(struct world *world)
{
	for (size_t i = 0; i < NODES; i++)
		identity_free(world->identities[i]);
}

/* For CP, desk and origin. */
static struct slice seal(const struct world *world, struct slice what, uint8_t *buf)
{
	const struct certificate *readers[] = { &world->certificates[AT_CP], &world->certificates[AT_DESK], &world->certificates[AT_ORIGIN] };
	size_t len;

	assert_int_equal(seal_part(&header, "nl", AUDIENCE_ID_CONTACT, readers, 3, what, content_key, buf, &len), CPD_OK);
	return (struct slice){ buf, len };
}

static enum cpd_error open_in(const struct identity *identity, const struct header *in, struct slice bytes, uint8_t *inside, size_t *len)
{
	struct sealed_part part;
	uint8_t key[32];
	enum cpd_error error = sealed_part_decode(bytes, &part);

	*len = 0;
	if (!error)
		error = seal_open_key(identity, in, &part, key);
	return error ? error : seal_open_content(in, identity_anchor(identity)->network, &part, key, inside, len);
}

static enum cpd_error opened(const struct identity *identity, const struct header *in, struct slice bytes)
{
	uint8_t inside[LIMIT_SEALED_CONTENT + SEALED_BLOCK];
	size_t len;

	return open_in(identity, in, bytes, inside, &len);
}

static void each_reader_opens_what_was_sealed_and_nobody_else(void **state)
{
	static const size_t lengths[] = { 0, 1, 22, 63, 64, 65, LIMIT_SEALED_CONTENT };
	uint8_t what[LIMIT_SEALED_CONTENT], inside[LIMIT_SEALED_CONTENT + SEALED_BLOCK], buf[LIMIT_SEALED_PART];
	struct world world;
	size_t len;

	(void)state;
	world_begin(&world);
	memset(what, 'x', sizeof(what));
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct slice bytes = seal(&world, (struct slice){ what, lengths[i] }, buf);

		for (size_t who = 0; who < NODES; who++) {
			if (who == AT_OTHER) {
				assert_int_equal(open_in(world.identities[who], &header, bytes, inside, &len), CPD_ERR_NOT_FOUND);
				continue;
			}
			assert_int_equal(open_in(world.identities[who], &header, bytes, inside, &len), CPD_OK);
			assert_int_equal(len, lengths[i]);
			assert_memory_equal(inside, what, len);
		}
	}
	world_end(&world);
}

static void a_reader_that_got_a_new_key_is_told_so(void **state)
{
	uint8_t buf[LIMIT_SEALED_PART];
	struct world world;
	struct slice bytes;

	(void)state;
	world_begin(&world);
	bytes = seal(&world, content, buf);
	install(&world, AT_CP, 2);
	assert_int_equal(opened(world.identities[AT_CP], &header, bytes), CPD_ERR_CONFLICT);
	world_end(&world);
}

/* Anything of another message, with the very same bytes. */
static void a_part_does_not_open_in_another_message(void **state)
{
	struct header others[12];
	uint8_t buf[LIMIT_SEALED_PART];
	struct world world;
	struct slice bytes;
	size_t count = 0;

	(void)state;
	for (size_t i = 0; i < 12; i++)
		others[i] = header;
	others[count++].id.origin = CP;
	others[count++].id.epoch = 3;
	others[count++].id.sequence = 119;
	others[count++].kind = 6;
	others[count++].nodes[0] = OTHER;
	others[count++].node_count = 1;
	others[count].node_count = 3;
	others[count++].nodes[2] = OTHER;
	others[count++].groups[0].number = 8;
	others[count++].groups[0].version = 4;
	others[count++].group_count = 0;
	world_begin(&world);
	bytes = seal(&world, content, buf);
	assert_int_equal(opened(world.identities[AT_DESK], &header, bytes), CPD_OK);
	for (size_t i = 0; i < count; i++)
		if (opened(world.identities[AT_DESK], &others[i], bytes) != CPD_ERR_BAD_SIGNATURE)
			fail_msg("other message %zu opens it", i);
	world_end(&world);
}

static void a_part_passed_off_as_another_audience_or_for_other_readers_does_not_open(void **state)
{
	uint8_t buf[LIMIT_SEALED_PART], changed[LIMIT_SEALED_PART];
	struct sealed_part part;
	struct world world;
	size_t len;

	(void)state;
	world_begin(&world);
	assert_int_equal(sealed_part_decode(seal(&world, content, buf), &part), CPD_OK);
	part.audience = AUDIENCE_ID_CARE;
	assert_int_equal(sealed_part_encode(&part, changed, &len), CPD_OK);
	assert_int_equal(opened(world.identities[AT_DESK], &header, (struct slice){ changed, len }), CPD_ERR_BAD_SIGNATURE);
	part.audience = AUDIENCE_ID_CONTACT;
	part.readers[0].node = OTHER;
	assert_int_equal(sealed_part_encode(&part, changed, &len), CPD_OK);
	assert_int_equal(opened(world.identities[AT_DESK], &header, (struct slice){ changed, len }), CPD_ERR_BAD_SIGNATURE);
	assert_int_equal(opened(world.identities[AT_OTHER], &header, (struct slice){ changed, len }), CPD_ERR_BAD_SIGNATURE);
	world_end(&world);
}

static void a_part_is_of_its_network(void **state)
{
	const struct certificate *readers[1];
	uint8_t buf[LIMIT_SEALED_PART];
	struct world world;
	size_t len;

	(void)state;
	world_begin(&world);
	readers[0] = &world.certificates[AT_CP];
	assert_int_equal(seal_part(&header, "be", AUDIENCE_ID_CONTACT, readers, 1, content, content_key, buf, &len), CPD_OK);
	assert_int_equal(opened(world.identities[AT_CP], &header, (struct slice){ buf, len }), CPD_ERR_BAD_SIGNATURE);
	assert_int_equal(seal_part(&header, "a network with a name that is too long", AUDIENCE_ID_CONTACT, readers, 1, content, content_key, buf, &len), CPD_ERR_TOO_LARGE);
	world_end(&world);
}

static void every_cut_and_every_flipped_bit_is_refused(void **state)
{
	uint8_t buf[LIMIT_SEALED_PART], changed[LIMIT_SEALED_PART];
	size_t others_from, others_to;
	struct sealed_part part;
	struct world world;
	struct slice bytes;

	(void)state;
	world_begin(&world);
	bytes = seal(&world, content, buf);
	assert_int_equal(sealed_part_decode(bytes, &part), CPD_OK);
	/* The keys of the desk and the origin: the CP cannot tell, and does not need them. */
	others_from = (size_t)(part.keys.data - buf) + SEALED_KEY_LEN;
	others_to = others_from + 2 * SEALED_KEY_LEN;
	for (size_t len = 0; len < bytes.len; len++)
		assert_int_not_equal(opened(world.identities[AT_CP], &header, (struct slice){ bytes.data, len }), CPD_OK);
	for (size_t bit = 0; bit < 8 * bytes.len; bit++) {
		if (bit / 8 >= others_from && bit / 8 < others_to)
			continue;
		memcpy(changed, bytes.data, bytes.len);
		changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (opened(world.identities[AT_CP], &header, (struct slice){ changed, bytes.len }) == CPD_OK)
			fail_msg("opens with bit %zu changed", bit);
	}
	world_end(&world);
}

static void the_same_words_are_never_sealed_the_same_way(void **state)
{
	uint8_t first[LIMIT_SEALED_PART], second[LIMIT_SEALED_PART];
	struct sealed_part one, other;
	struct world world;

	(void)state;
	world_begin(&world);
	assert_int_equal(sealed_part_decode(seal(&world, content, first), &one), CPD_OK);
	assert_int_equal(sealed_part_decode(seal(&world, content, second), &other), CPD_OK);
	assert_memory_not_equal(one.content.data, other.content.data, one.content.len);
	assert_memory_not_equal(one.ephemeral, other.ephemeral, 32);
	assert_memory_not_equal(one.keys.data, one.keys.data + SEALED_KEY_LEN, SEALED_KEY_LEN);
	world_end(&world);
}

/* What relays see of the length. */
static void lengths_within_a_block_look_the_same(void **state)
{
	uint8_t first[LIMIT_SEALED_PART], second[LIMIT_SEALED_PART];
	struct world world;

	(void)state;
	world_begin(&world);
	assert_int_equal(seal(&world, (struct slice){ secret, 1 }, first).len, seal(&world, content, second).len);
	world_end(&world);
}

static void what_nobody_could_open_is_not_made(void **state)
{
	const struct certificate *readers[LIMIT_SEALED_READERS + 1];
	uint8_t buf[LIMIT_SEALED_PART], what[LIMIT_SEALED_CONTENT + 1] = { 0 };
	struct world world;
	size_t len = 1;

	(void)state;
	world_begin(&world);
	for (size_t i = 0; i <= LIMIT_SEALED_READERS; i++)
		readers[i] = &world.certificates[AT_CP];
	assert_int_equal(seal_part(&header, "nl", 1, readers, 0, content, content_key, buf, &len), CPD_ERR_RANGE);
	assert_int_equal(len, 0);
	assert_int_equal(seal_part(&header, "nl", 1, readers, 2, content, content_key, buf, &len), CPD_ERR_RANGE);
	assert_int_equal(seal_part(&header, "nl", 0, readers, 1, content, content_key, buf, &len), CPD_ERR_RANGE);
	assert_int_equal(seal_part(&header, "nl", 1, readers, LIMIT_SEALED_READERS + 1, content, content_key, buf, &len), CPD_ERR_TOO_LARGE);
	assert_int_equal(seal_part(&header, "nl", 1, readers, 1, (struct slice){ what, sizeof(what) }, content_key, buf, &len), CPD_ERR_TOO_LARGE);
	memset(world.certificates[AT_CP].sealing_key, 0, 32);
	assert_int_equal(seal_part(&header, "nl", 1, readers, 1, content, content_key, buf, &len), CPD_ERR_RANGE);
	world_end(&world);
}

static void the_most_readers_fit(void **state)
{
	static struct certificate certificates[LIMIT_SEALED_READERS];
	const struct certificate *readers[LIMIT_SEALED_READERS];
	uint8_t buf[LIMIT_SEALED_PART], what[LIMIT_SEALED_CONTENT] = { 0 };
	struct sealed_part part;
	struct world world;
	size_t len;

	(void)state;
	world_begin(&world);
	for (size_t i = 0; i < LIMIT_SEALED_READERS; i++) {
		certificates[i] = world.certificates[AT_CP];
		certificates[i].node = UINT32_MAX - LIMIT_SEALED_READERS + (uint32_t)i;
		certificates[i].key_number = UINT32_MAX;
		readers[i] = &certificates[i];
	}
	assert_int_equal(seal_part(&header, "nl", UINT32_MAX, readers, LIMIT_SEALED_READERS, (struct slice){ what, sizeof(what) }, content_key, buf, &len), CPD_OK);
	assert_int_equal(sealed_part_decode((struct slice){ buf, len }, &part), CPD_OK);
	assert_int_equal(sealed_part_reader(&part, UINT32_MAX - 1), LIMIT_SEALED_READERS - 1);
	assert_int_equal(sealed_part_reader(&part, 1), LIMIT_SEALED_READERS);
	world_end(&world);
}

/* A node that passes it on must not mind what stands there. */
static void a_message_carries_its_parts_as_they_came(void **state)
{
	static uint8_t signed_bytes[LIMIT_ENVELOPE], envelope[LIMIT_ENVELOPE];
	const struct message_signature signature = { .signer = ORIGIN, .key_number = 1 };
	static const uint8_t junk[] = "no sealed part at all";
	struct header sent = header;
	struct message message;
	size_t len;

	(void)state;
	sent.closing_level = LEVEL_DONE;
	sent.lifetime_s = 3600;
	sent.body = (struct slice){ junk, 3 };
	for (size_t i = 0; i < LIMIT_SEALED_PARTS; i++)
		sent.sealed[sent.sealed_count++] = (struct slice){ junk + i, sizeof(junk) - i };
	assert_int_equal(message_encode_signed(&sent, signed_bytes, &len), CPD_OK);
	/* A fifth, of a later version: field 16, 1 byte. */
	memcpy(signed_bytes + len, "\x82\x01\x01z", 4);
	assert_int_equal(message_encode_envelope((struct slice){ signed_bytes, len + 4 }, ORIGIN, &signature, 1, envelope, &len), CPD_OK);
	assert_int_equal(message_decode((struct slice){ envelope, len }, &message), CPD_OK);
	assert_int_equal(message.header.sealed_count, LIMIT_SEALED_PARTS);
	for (size_t i = 0; i < LIMIT_SEALED_PARTS; i++) {
		assert_int_equal(message.header.sealed[i].len, sizeof(junk) - i);
		assert_memory_equal(message.header.sealed[i].data, junk + i, sizeof(junk) - i);
	}
	sent.sealed_count = LIMIT_SEALED_PARTS + 1;
	assert_int_equal(message_encode_signed(&sent, signed_bytes, &len), CPD_ERR_TOO_LARGE);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(each_reader_opens_what_was_sealed_and_nobody_else),
		WITH_FOLDER(a_reader_that_got_a_new_key_is_told_so),
		WITH_FOLDER(a_part_does_not_open_in_another_message),
		WITH_FOLDER(a_part_passed_off_as_another_audience_or_for_other_readers_does_not_open),
		WITH_FOLDER(a_part_is_of_its_network),
		WITH_FOLDER(every_cut_and_every_flipped_bit_is_refused),
		WITH_FOLDER(the_same_words_are_never_sealed_the_same_way),
		WITH_FOLDER(lengths_within_a_block_look_the_same),
		WITH_FOLDER(what_nobody_could_open_is_not_made),
		WITH_FOLDER(the_most_readers_fit),
		cmocka_unit_test(a_message_carries_its_parts_as_they_came),
	};

	if (crypto_start() != CPD_OK)
		return 1;
	return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
