/*
 * test_vectors_frozen.c: what cpd 0.1 wrote (test/vectors/v1, never changed) is read by this code, and
 * what this code makes of the same input still says all that 0.1 knew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "test/vectors/make_vectors.c"

#define FOLDER "test/vectors/v1/"

static json_t *frozen, *made;

static json_t *file_of(const char *path)
{
	json_error_t why;
	json_t *root = json_load_file(path, 0, &why);

	if (!root)
		fprintf(stderr, "%s:%d: %s\n", path, why.line, why.text);
	return root;
}

static int load(void **state)
{
	char *text = vectors_make();

	(void)state;
	made = json_loads(text, 0, NULL);
	free(text);
	frozen = file_of(FOLDER "protocol.json");
	return made && frozen ? 0 : -1;
}

static int unload(void **state)
{
	(void)state;
	json_decref(made);
	json_decref(frozen);
	return 0;
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	if (!text)
		fail_msg("no %s", name);
	return text;
}

static json_t *named(json_t *root, const char *name)
{
	size_t index;
	json_t *one;

	json_array_foreach(json_object_get(root, "vectors"), index, one)
		if (!strcmp(text_of(one, "name"), name))
			return one;
	return NULL;
}

/* ---- each is decoded, by the decoder that a link, the verifier or the API uses */

static enum cpd_error decode_any(const char *type, struct slice bytes)
{
	struct signed_record record;
	struct message message;
	struct message_id id;
	struct trailer trailer;
	struct slice inner;
	struct body_problem problem;
	uint32_t index;
	struct tree_path path;

	if (!strcmp(type, "SignedRecord"))
		return signed_record_decode(bytes, LIMIT_DIRECTORY_UPDATE, &record);
	if (!strcmp(type, "Envelope"))
		return message_decode(bytes, &message);
	if (!strcmp(type, "MessageItem")) {
		enum cpd_error error = message_item_decode(bytes, &inner, &trailer);

		trailer_clear(&trailer); /* on an error it is empty */
		return error;
	}
	if (!strcmp(type, "Leaf"))
		return leaf_item_decode(bytes, &id, &index, &inner, &path);
	if (!strcmp(type, "EmergencyCall") || !strcmp(type, "Text"))
		return body_validate(!strcmp(type, "Text") ? 6 : 3, bytes, false, &problem);
	return decode(type, bytes);
}

static void every_vector_is_decoded(void **state)
{
	size_t index;
	json_t *one;

	(void)state;
	assert_int_equal(json_array_size(json_object_get(frozen, "vectors")), 35);
	json_array_foreach(json_object_get(frozen, "vectors"), index, one) {
		static struct bytes bytes;

		bytes = bytes_of(text_of(one, "hex"));
		if (decode_any(text_of(one, "type"), slice_of(&bytes)))
			fail_msg("%s is refused", text_of(one, "name"));
	}
}

/* Known fields before it, one of each wire type behind. */
static void each_takes_fields_of_a_later_version(void **state)
{
	static const uint8_t later[] = { 0xc2, 0x3e, 2, 0xff, 0xfe, 0xc8, 0x3e, 0xac, 0x02, 0xd5, 0x3e, 1, 2, 3, 4, 0xd9, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8 };
	size_t index;
	json_t *one;

	(void)state;
	json_array_foreach(json_object_get(frozen, "vectors"), index, one) {
		static struct bytes bytes;

		bytes = bytes_of(text_of(one, "hex"));
		memcpy(bytes.data + bytes.len, later, sizeof(later));
		bytes.len += sizeof(later);
		if (decode_any(text_of(one, "type"), slice_of(&bytes)))
			fail_msg("%s with more fields is refused", text_of(one, "name"));
	}
}

static void what_was_judged_is_judged_the_same(void **state)
{
	size_t index;
	json_t *one;

	(void)state;
	assert_int_equal(json_array_size(json_object_get(frozen, "judged")), 49);
	json_array_foreach(json_object_get(frozen, "judged"), index, one) {
		struct bytes bytes = bytes_of(text_of(one, "hex"));
		const bool is_good = decode(text_of(one, "type"), slice_of(&bytes)) == CPD_OK;

		if (is_good != json_is_true(json_object_get(one, "good")))
			fail_msg("%s %s is %s", text_of(one, "type"), text_of(one, "hex"), is_good ? "taken" : "refused");
	}
}

/* ---- each signature holds */

static struct bytes bytes_named(const char *name)
{
	json_t *one = named(frozen, name);

	assert_non_null(one);
	return bytes_of(text_of(one, "hex"));
}

static void headers_are_as_they_were(const char *name, const struct header *header)
{
	char of_signed[64], id[MESSAGE_ID_TEXT_MAX];
	json_t *told;

	snprintf(of_signed, sizeof(of_signed), "%s-signed", name);
	told = json_object_get(named(frozen, of_signed), "header");
	assert_non_null(told);
	assert_string_equal(message_id_format(&header->id, id), text_of(told, "id"));
	assert_string_equal(precedence_name(header->precedence), text_of(told, "precedence"));
	assert_string_equal(mode_name(header->mode), text_of(told, "mode"));
	assert_string_equal(level_name(header->closing_level), text_of(told, "closing_level"));
	assert_int_equal(header->clock_quality, json_integer_value(json_object_get(told, "clock_quality")));
	assert_int_equal(header->confidentiality, json_integer_value(json_object_get(told, "confidentiality")));
	assert_int_equal(header->entry_mode, json_integer_value(json_object_get(told, "entry_mode")));
	assert_int_equal(header->lifetime_s, json_integer_value(json_object_get(told, "lifetime_s")));
	assert_string_equal(kind_find(header->kind)->name, text_of(told, "kind_name"));
}

static void every_signature_holds_and_headers_are_as_they_were(void **state)
{
	static const char *const messages[] = { "call", "text", "large" };
	static struct verified_message message;
	static struct verified_receipts receipts;
	struct region_anchor anchor = { .network = NETWORK };
	struct directory *directory = directory_new();
	struct verified_presence presence;
	struct directory_update update;
	struct bytes bytes = bytes_named("directory-update-record");

	(void)state;
	memcpy(anchor.authority_key, authority.signing, 32);
	assert_int_equal(verify_directory_update(&anchor, slice_of(&bytes), &update), CPD_OK);
	assert_int_equal(directory_apply(directory, &update), CPD_OK);
	directory_update_clear(&update);
	for (size_t i = 0; i < 3; i++) {
		bytes = bytes_named(messages[i]);
		assert_int_equal(verify_message(directory, NETWORK, slice_of(&bytes), &message), CPD_OK);
		headers_are_as_they_were(messages[i], &message.message.header);
	}
	for (size_t i = 0; i < 2; i++) {
		bytes = bytes_named(i ? "receipts-record" : "receipt-record");
		assert_int_equal(verify_receipts(directory, NETWORK, slice_of(&bytes), &receipts), CPD_OK);
	}
	bytes = bytes_named("presence-record");
	assert_int_equal(verify_presence(directory, NETWORK, slice_of(&bytes), &presence), CPD_OK);
	for (size_t i = 0; i < 2; i++) {
		bytes = bytes_named(i ? "revocation-update-record" : "introduction-update-record");
		assert_int_equal(verify_directory_update(&anchor, slice_of(&bytes), &update), CPD_OK);
		directory_update_clear(&update);
	}
	directory_free(directory);
}

static void every_purpose_is_signed_over_as_it_was(void **state)
{
	json_t *root = file_of(FOLDER "signatures.json"), *one;
	uint8_t key[32], signature[64];
	static uint8_t over[LIMIT_SIGN_OVER];
	struct bytes bytes;
	size_t index, len;
	int purpose;

	(void)state;
	assert_non_null(root);
	assert_true(json_array_size(json_object_get(root, "vectors")) >= 5);
	json_array_foreach(json_object_get(root, "vectors"), index, one) {
		for (purpose = 0; strcmp(sign_purpose_name((enum sign_purpose)purpose), text_of(one, "purpose")); purpose++)
			assert_in_range(purpose, 0, 8);
		bytes = bytes_of(text_of(one, "bytes"));
		assert_int_equal(sign_over((enum sign_purpose)purpose, text_of(one, "network"), slice_of(&bytes), over, &len), CPD_OK);
		assert_string_equal(hex(over, len), text_of(one, "signed_over"));
		assert_int_equal(sodium_hex2bin(key, 32, text_of(one, "public_key"), 64, NULL, NULL, NULL), 0);
		assert_int_equal(sodium_hex2bin(signature, 64, text_of(one, "signature"), 128, NULL, NULL, NULL), 0);
		assert_true(verify_bytes(key, (enum sign_purpose)purpose, text_of(one, "network"), slice_of(&bytes), signature));
	}
	json_decref(root);
}

/* ---- what is made today */

/* All that stands in `old` stands in `new`; a list may be longer. */
static bool holds(const json_t *old, const json_t *new)
{
	const char *name;
	json_t *value;
	size_t index;

	if (json_is_object(old)) {
		json_object_foreach((json_t *)(uintptr_t)old, name, value)
			if (!json_object_get(new, name) || !holds(value, json_object_get(new, name)))
				return false;
		return json_is_object(new);
	}
	if (json_is_array(old)) {
		json_array_foreach(old, index, value)
			if (!json_array_get(new, index) || !holds(value, json_array_get(new, index)))
				return false;
		return json_is_array(new);
	}
	return json_equal(old, new);
}

/* Holds the bytes of another, whose own vector is compared. */
static bool is_wrapping(const json_t *vector)
{
	static const char *const wrapping[] = { "signed", "envelope", "data", "presence", "introduction" };

	for (size_t i = 0; i < sizeof(wrapping) / sizeof(wrapping[0]); i++)
		if (json_object_get(json_object_get(vector, "fields"), wrapping[i]))
			return true;
	return false;
}

static void what_is_made_today_says_all_that_was_known(void **state)
{
	size_t index;
	json_t *one;

	(void)state;
	json_array_foreach(json_object_get(frozen, "vectors"), index, one) {
		json_t *today = named(made, text_of(one, "name"));

		if (!today)
			fail_msg("%s is made no more", text_of(one, "name"));
		assert_string_equal(text_of(today, "type"), text_of(one, "type"));
		if (strcmp(text_of(today, "hex"), text_of(one, "hex")) && !is_wrapping(one) &&
		    !holds(json_object_get(one, "fields"), json_object_get(today, "fields")))
			fail_msg("%s lacks what 0.1 looks for", text_of(one, "name"));
	}
}

static void numbers_keep_their_meaning(void **state)
{
	static const char *const kept[] = { "levels", "fingerprints", "check_words" };
	size_t index;
	json_t *one;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		if (!holds(json_object_get(frozen, kept[i]), json_object_get(made, kept[i])))
			fail_msg("%s changed", kept[i]);
	json_array_foreach(json_object_get(frozen, "kinds"), index, one) {
		const struct kind *kind = kind_find((message_kind)json_integer_value(json_object_get(one, "number")));

		assert_non_null(kind);
		assert_string_equal(kind->name, text_of(one, "name"));
		assert_string_equal(level_name(kind->closing_level), text_of(one, "closing_level"));
		assert_int_equal(kind->lifetime_s, json_integer_value(json_object_get(one, "lifetime_s")));
		assert_int_equal(kind->is_state, json_is_true(json_object_get(one, "is_state")));
	}
}

/* ---- nobody touched them */

static void the_files_are_those_that_were_frozen(void **state)
{
	static const struct { const char *name, *hash; } files[] = {
		{ "protocol.json", "e12d54190842f73f93b63449ad50a423" },
		{ "signatures.json", "55e1d99e7d951d930c27a1b492f5d134" },
		{ "cpd.proto", "b2af6672f50fca88bfd5be317598dd30" },
		{ "body.proto", "a450ff9517474fe7006c83499bad24b0" },
		{ "store-1.mdb", "043edac37a83941a739b93375caaa61b" },
	};
	static uint8_t bytes[512 * 1024];
	uint8_t hash[16];
	char path[128];

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		FILE *file;
		size_t len;

		snprintf(path, sizeof(path), FOLDER "%s", files[i].name);
		file = fopen(path, "rb");
		assert_non_null(file);
		len = fread(bytes, 1, sizeof(bytes), file);
		fclose(file);
		crypto_digest(hash, sizeof(hash), bytes, len);
		if (strcmp(hex(hash, sizeof(hash)), files[i].hash))
			fail_msg("%s was changed: %s", path, hex(hash, sizeof(hash)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_files_are_those_that_were_frozen),
		cmocka_unit_test(every_vector_is_decoded),
		cmocka_unit_test(each_takes_fields_of_a_later_version),
		cmocka_unit_test(what_was_judged_is_judged_the_same),
		cmocka_unit_test(every_signature_holds_and_headers_are_as_they_were),
		cmocka_unit_test(every_purpose_is_signed_over_as_it_was),
		cmocka_unit_test(what_is_made_today_says_all_that_was_known),
		cmocka_unit_test(numbers_keep_their_meaning),
	};

	if (crypto_start())
		return 1;
	return cmocka_run_group_tests(tests, load, unload);
}
