/*
 * test_vectors.c: the committed byte vectors of PROTOCOL.md are what this code makes, and this code takes
 * them. --write makes the file anew, after a change on purpose.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "test/vectors/make_vectors.c"

#define PATH "test/vectors/protocol.json"

static const char *hex_named(const char *name)
{
	size_t index;
	json_t *one;

	json_array_foreach(vectors, index, one)
		if (!strcmp(json_string_value(json_object_get(one, "name")), name))
			return json_string_value(json_object_get(one, "hex"));
	fail_msg("no vector %s", name);
	return "";
}

static json_t *committed;

static int load(void **state)
{
	json_error_t why;

	(void)state;
	committed = json_load_file(PATH, 0, &why);
	if (!committed)
		fprintf(stderr, "%s:%d: %s\n", PATH, why.line, why.text);
	vectors = json_object_get(committed, "vectors");
	return committed ? 0 : -1;
}

static int unload(void **state)
{
	(void)state;
	json_decref(committed);
	return 0;
}

static void committed_file_is_what_this_code_makes(void **state)
{
	json_t *held = vectors, *made;
	char *text = vectors_make();

	(void)state;
	vectors = held;
	made = json_loads(text, 0, NULL);
	assert_non_null(made);
	assert_true(json_equal(committed, made));
	json_decref(made);
	free(text);
}

static void every_signed_vector_verifies_under_the_directory_of_the_vectors(void **state)
{
	static struct verified_message message;
	static struct verified_receipts receipts;
	struct region_anchor anchor = { .network = NETWORK };
	struct directory *directory = directory_new();
	struct verified_presence presence;
	struct directory_update update;
	struct bytes bytes = bytes_of(hex_named("directory-update-record"));

	(void)state;
	memcpy(anchor.authority_key, authority.signing, 32);
	assert_int_equal(verify_directory_update(&anchor, slice_of(&bytes), &update), CPD_OK);
	assert_int_equal(directory_apply(directory, &update), CPD_OK);
	directory_update_clear(&update);
	bytes = bytes_of(hex_named("call"));
	assert_int_equal(verify_message(directory, NETWORK, slice_of(&bytes), &message), CPD_OK);
	assert_int_equal(message.message.header.precedence, PRECEDENCE_FLASH);
	assert_false(message.is_suspect);
	bytes = bytes_of(hex_named("text"));
	assert_int_equal(verify_message(directory, NETWORK, slice_of(&bytes), &message), CPD_OK);
	bytes = bytes_of(hex_named("receipts-record"));
	assert_int_equal(verify_receipts(directory, NETWORK, slice_of(&bytes), &receipts), CPD_OK);
	assert_int_equal(receipts.receipts.entries[2].reason, REFUSED_NO_ROUTE);
	bytes = bytes_of(hex_named("presence-record"));
	assert_int_equal(verify_presence(directory, NETWORK, slice_of(&bytes), &presence), CPD_OK);
	bytes = bytes_of(hex_named("revocation-update-record"));
	assert_int_equal(verify_directory_update(&anchor, slice_of(&bytes), &update), CPD_OK);
	assert_int_equal(directory_apply(directory, &update), CPD_OK);
	directory_update_clear(&update);
	bytes = bytes_of(hex_named("call"));
	assert_int_equal(verify_message(directory, NETWORK, slice_of(&bytes), &message), CPD_OK);
	assert_false(message.is_suspect);
	bytes = bytes_of(hex_named("large"));
	assert_int_equal(verify_message(directory, NETWORK, slice_of(&bytes), &message), CPD_OK);
	assert_true(message.is_suspect);
	directory_free(directory);
}

/* The byte goals that the design names. */
static void vectors_keep_within_the_byte_goals(void **state)
{
	size_t body = strlen(hex_named("call-body")) / 2;

	(void)state;
	assert_true(strlen(hex_named("call")) / 2 - body <= 104);
	assert_true(strlen(hex_named("call")) / 2 <= 233);
	assert_true(strlen(hex_named("frame-ack-alone")) / 2 <= 12);
	assert_true(strlen(hex_named("receipt-record")) / 2 <= 96);
}

static int write_file(void)
{
	FILE *file = fopen(PATH, "w");
	char *text = vectors_make();
	int failed = !file || fprintf(file, "%s\n", text) < 0 || fclose(file);

	free(text);
	json_decref(vectors);
	printf(failed ? "%s cannot be written; run this from the top of the tree\n" : "%s written\n", PATH);
	return failed;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(committed_file_is_what_this_code_makes),
		cmocka_unit_test(every_signed_vector_verifies_under_the_directory_of_the_vectors),
		cmocka_unit_test(vectors_keep_within_the_byte_goals),
	};

	if (crypto_start())
		return 1;
	if (argc == 2 && !strcmp(argv[1], "--write"))
		return write_file();
	return cmocka_run_group_tests(tests, load, unload);
}
