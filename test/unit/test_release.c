/* test_release.c: a bulletin is released by two people, each with a key of their own (PROTOCOL.md section 4.7). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "crypto/region.h"
#include "proto/kind.h"
#include "test/unit/persons.h"
#include "test/unit/scratch.h"

enum { DESK = 911, OTHER = 912, TEXT = 6, BULLETIN = 7 };
#define CREATED_S 5000

struct world { struct authority *authority; struct identity *desk; struct directory *directory; };

static const struct region_anchor names = { .network = "nl", .region = "VR09", .name = "Utrecht" };

/* Functions 1 to 3 are persons a to c of the desk; 4 is person a again; 5 works elsewhere; 6 ran out; 7 is revoked. */
static void world_begin(struct world *world)
{
	static const struct { uint32_t number, node; char letter; uint32_t not_after_s; bool is_revoked; } functions[] = {
		{ 1, DESK, 'a', 0, false }, { 2, DESK, 'b', CREATED_S, false }, { 3, DESK, 'c', 0, false }, { 4, DESK, 'a', 0, false },
		{ 5, OTHER, 'e', 0, false }, { 6, DESK, 'f', CREATED_S - 1, false }, { 7, DESK, 'g', 0, true },
	};
	struct certificate certificate = { .node = DESK, .role = ROLE_ID_DESK, .key_number = 1, .name = "meldkamer" };
	struct directory_update update = { .number = 1, .created_s = 1000, .certificates = &certificate, .certificate_count = 1 };

	*world = (struct world){ .directory = directory_new() };
	assert_int_equal(authority_create("region", &names, (struct slice){ NULL, 0 }, &world->authority), CPD_OK);
	assert_int_equal(identity_create("desk", DESK, &world->desk), CPD_OK);
	assert_int_equal(identity_install(world->desk, DESK, 1, authority_anchor(world->authority)), CPD_OK);
	identity_public_keys(world->desk, &certificate);
	assert_int_equal(directory_apply(world->directory, &update), CPD_OK);
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		struct function_certificate function = function_of(functions[i].number, functions[i].node, functions[i].letter);

		function.not_after_s = functions[i].not_after_s;
		function.is_revoked = functions[i].is_revoked;
		person_certify(world->directory, &function);
	}
}

static void world_end(struct world *world)
{
	identity_free(world->desk);
	directory_free(world->directory);
	authority_free(world->authority);
}

/* By persons such as "1a2b": number and letter of each. `spoilt`: one bit of that release is another. */
static enum cpd_error judged(const struct world *world, message_kind kind, const char *by, size_t spoilt, struct verified_message *out)
{
	static const uint8_t body[] = { 0x0a, 3, 'h', 'o', 'i' };
	static uint8_t content[LIMIT_ENVELOPE], envelope[LIMIT_ENVELOPE];
	struct header header = { .id = { DESK, 1, 1 }, .nodes = { 344003 }, .node_count = 1, .kind = kind,
		.closing_level = LEVEL_DELIVERED, .created_s = CREATED_S, .lifetime_s = 3600, .body = { body, sizeof(body) } };
	struct message_signature signature = { .signer = DESK, .key_number = 1 };
	struct message_release releases[LIMIT_RELEASES];
	struct slice bytes = { content, 0 };
	size_t count = 0, len;

	assert_int_equal(message_encode_signed(&header, content, &bytes.len), CPD_OK);
	assert_int_equal(sign_bytes(world->desk, SIGN_MESSAGE, bytes, signature.bytes), CPD_OK);
	for (; by[2 * count]; count++)
		releases[count] = release_by((uint32_t)(by[2 * count] - '0'), by[2 * count + 1], bytes);
	if (spoilt)
		releases[spoilt - 1].bytes[5] ^= 1;
	assert_int_equal(message_encode_released(bytes, DESK, &signature, 1, releases, count, envelope, &len), CPD_OK);
	return verify_message(world->directory, "nl", (struct slice){ envelope, len }, out);
}

static void a_bulletin_wants_two_people(void **state)
{
	static const struct { const char *what, *by; size_t spoilt; enum cpd_error error; } trials[] = {
		{ "nobody", "", 0, CPD_ERR_ROLE }, { "one", "1a", 0, CPD_ERR_ROLE },
		{ "two", "1a2b", 0, CPD_OK }, { "three", "1a2b3c", 0, CPD_OK },
		{ "one person twice", "1a1a", 0, CPD_ERR_ROLE }, { "one person under two numbers", "1a4a", 0, CPD_ERR_ROLE },
		{ "two, one of them twice", "1a2b1a", 0, CPD_ERR_ROLE },
		{ "one of another node", "1a5e", 0, CPD_ERR_ROLE }, { "one whose time was over", "1a6f", 0, CPD_ERR_ROLE },
		{ "one revoked", "1a7g", 0, CPD_ERR_REVOKED }, { "two, and one revoked", "1a2b7g", 0, CPD_ERR_REVOKED },
		{ "one that nobody knows", "1a9i", 0, CPD_ERR_UNKNOWN_SIGNER }, { "one with another's key", "1a2c", 0, CPD_ERR_BAD_SIGNATURE },
		{ "one bit of the first", "1a2b", 1, CPD_ERR_BAD_SIGNATURE }, { "one bit of the last", "1a2b3c", 3, CPD_ERR_BAD_SIGNATURE },
	};
	struct verified_message verified;
	struct world world;

	(void)state;
	world_begin(&world);
	for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
		enum cpd_error error = judged(&world, BULLETIN, trials[i].by, trials[i].spoilt, &verified);

		if (error != trials[i].error)
			fail_msg("%s: %s", trials[i].what, cpd_error_text(error));
		assert_int_equal(verified.message.release_count, error ? 0 : strlen(trials[i].by) / 2);
	}
	world_end(&world);
}

/* Another kind needs none; one that is there must hold. */
static void a_release_that_stands_there_must_hold(void **state)
{
	struct verified_message verified;
	struct world world;

	(void)state;
	world_begin(&world);
	assert_int_equal(judged(&world, TEXT, "", 0, &verified), CPD_OK);
	assert_int_equal(judged(&world, TEXT, "1a", 0, &verified), CPD_OK);
	assert_int_equal(judged(&world, TEXT, "1a", 1, &verified), CPD_ERR_BAD_SIGNATURE);
	assert_int_equal(judged(&world, TEXT, "7g", 0, &verified), CPD_ERR_REVOKED);
	world_end(&world);
}

static void what_a_revoked_function_had_released_is_doubted_and_the_word_travels_first(void **state)
{
	struct function_certificate second = function_of(2, DESK, 'b');
	struct verified_message verified;
	struct world world;
	uint32_t before;

	(void)state;
	world_begin(&world);
	before = directory_version(world.directory);
	assert_int_equal(directory_revoking(world.directory, before - 1), before);
	assert_int_equal(judged(&world, BULLETIN, "1a2b", 0, &verified), CPD_OK);
	assert_false(directory_doubts(world.directory, &verified.message));
	second.is_revoked = true;
	person_certify(world.directory, &second);
	assert_true(directory_doubts(world.directory, &verified.message));
	assert_int_equal(directory_revoking(world.directory, before), before + 1);
	world_end(&world);
}

static void a_function_comes_back_from_its_bytes_as_it_was(void **state)
{
	struct function_certificate functions[2] = { function_of(1, DESK, 'a'), function_of(9, OTHER, 'i') };
	struct directory_update update = { .number = 3, .created_s = 1000, .functions = functions, .function_count = 2 }, back;
	uint8_t *buf = malloc(LIMIT_DIRECTORY_UPDATE);
	size_t len;

	(void)state;
	functions[1].not_after_s = 77;
	functions[1].is_revoked = true;
	assert_int_equal(directory_update_encode(&update, buf, &len), CPD_OK);
	assert_int_equal(directory_update_decode((struct slice){ buf, len }, &back), CPD_OK);
	assert_int_equal(back.function_count, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(back.functions[i].number, functions[i].number);
		assert_int_equal(back.functions[i].node, functions[i].node);
		assert_string_equal(back.functions[i].function, functions[i].function);
		assert_memory_equal(back.functions[i].signing_key, functions[i].signing_key, 32);
		assert_int_equal(back.functions[i].not_after_s, functions[i].not_after_s);
		assert_int_equal(back.functions[i].is_revoked, functions[i].is_revoked);
	}
	directory_update_clear(&back);
	functions[1].number = 1;                             /* two words on one in one update */
	assert_int_equal(directory_update_encode(&update, buf, &len), CPD_ERR_RANGE);
	functions[1] = function_of(2, 0, 'b');
	assert_int_equal(directory_update_encode(&update, buf, &len), CPD_ERR_RANGE);
	functions[1] = function_of(2, DESK, 'b');
	functions[1].function[0] = '\0';
	assert_int_equal(directory_update_encode(&update, buf, &len), CPD_ERR_MISSING);
	free(buf);
}

#define WITH_FOLDER(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(a_bulletin_wants_two_people),
		WITH_FOLDER(a_release_that_stands_there_must_hold),
		WITH_FOLDER(what_a_revoked_function_had_released_is_doubted_and_the_word_travels_first),
		cmocka_unit_test(a_function_comes_back_from_its_bytes_as_it_was),
	};

	if (crypto_start())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
