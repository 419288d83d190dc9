/* test_sealed_kit.c: crypto/sealed_kit.h and crypto/code.h: only the codes of a kit open it, and a slip is told from a wrong code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sodium.h>

#include "crypto/sealed_kit.h"
#include "crypto/secret.h"
#include "test/unit/scratch.h"
#include "test/unit/hungry_crypto.h"

static const struct kit_cost cheap = { 1, 8 };
static const struct region_anchor names = { .network = "nl", .region = "VR09", .name = "Utrecht" };

/* ---------------------------------------------------------------- a kit */

struct sealed {
	struct sealed_part part;
	struct code codes[KIT_SLOTS];
	uint8_t *file;
	size_t len;
};

static void sealed_begin(struct sealed *sealed)
{
	static const uint8_t words[2][6] = { "first", "other" };
	struct slice updates[2] = { { words[0], 5 }, { words[1], 5 } };
	struct kit kit = { .anchor = names, .node = 344003, .key_number = 2, .updates = updates, .update_count = 2 };

	memset(sealed, 0, sizeof(*sealed));
	assert_int_equal(identity_generate(&sealed->part.identity), CPD_OK);
	{
		struct certificate keys = { 0 };

		identity_public_keys(sealed->part.identity, &keys);
		memcpy(kit.anchor.authority_key, keys.signing_key, 32);
	}
	sealed->part.homes[0] = 902;
	sealed->part.homes[1] = 901;
	sealed->part.home_count = 2;
	for (unsigned slot = 0; slot < KIT_SLOTS; slot++)
		code_make(&sealed->codes[slot]);
	assert_int_equal(sealed_kit_seal(&kit, &sealed->part, sealed->codes, cheap, &sealed->file, &sealed->len), CPD_OK);
}

static void sealed_end(struct sealed *sealed)
{
	free(sealed->file);
	sealed_part_clear(&sealed->part);
}

/* So that what refuses a change is the seal, not the hash against half copies. */
static void hash_again(struct sealed *sealed)
{
	crypto_digest(sealed->file + sealed->len - 32, 32, sealed->file, sealed->len - 32);
}

static enum cpd_error try_open(const struct sealed *sealed, const struct code *code)
{
	struct sealed_part part;
	struct kit kit;
	enum cpd_error error = sealed_kit_open((struct slice){ sealed->file, sealed->len }, code, &kit, &part);

	if (error) {
		assert_null(kit.bytes);
		assert_null(part.identity);
	}
	kit_clear(&kit);
	sealed_part_clear(&part);
	return error;
}

static void either_code_opens_it_and_tells_which_it_was(void **state)
{
	struct sealed sealed;

	(void)state;
	sealed_begin(&sealed);
	for (unsigned slot = 0; slot < KIT_SLOTS; slot++) {
		struct certificate made = { 0 }, opened = { 0 };
		struct sealed_part part;
		struct kit kit;

		assert_int_equal(sealed_kit_open((struct slice){ sealed.file, sealed.len }, &sealed.codes[slot], &kit, &part), CPD_OK);
		assert_int_equal(part.slot, slot);
		assert_int_equal(part.home_count, 2);
		assert_int_equal(part.homes[0], 902);
		assert_int_equal(part.homes[1], 901);
		assert_int_equal(kit.node, 344003);
		assert_int_equal(kit.key_number, 2);
		assert_string_equal(kit.anchor.name, "Utrecht");
		assert_int_equal(kit.update_count, 2);
		assert_memory_equal(kit.updates[1].data, "other", 5);
		identity_public_keys(sealed.part.identity, &made);
		identity_public_keys(part.identity, &opened);
		assert_memory_equal(&made, &opened, sizeof(made));
		kit_clear(&kit);
		sealed_part_clear(&part);
	}
	sealed_end(&sealed);
}

static void no_other_code_opens_it(void **state)
{
	struct sealed sealed;
	struct code other;

	(void)state;
	sealed_begin(&sealed);
	code_make(&other);
	assert_int_equal(try_open(&sealed, &other), CPD_ERR_BAD_SIGNATURE);
	for (size_t i = 0; i < CODE_SIGNS; i++) {
		other = sealed.codes[0];
		other.signs[i] = other.signs[i] == 'A' ? 'B' : 'A';
		assert_int_equal(try_open(&sealed, &other), CPD_ERR_BAD_SIGNATURE);
	}
	sealed_end(&sealed);
}

/* Neither keys nor names nor updates stand in it to be read. */
static void nothing_of_it_can_be_read_without_a_code(void **state)
{
	uint8_t secrets[IDENTITY_SECRETS];
	struct sealed sealed;

	(void)state;
	sealed_begin(&sealed);
	identity_stored_secrets(sealed.part.identity, secrets);
	for (size_t i = 0; i < IDENTITY_SECRETS; i += 16)
		assert_null(memmem(sealed.file, sealed.len, secrets + i, 16));
	assert_null(memmem(sealed.file, sealed.len, "Utrecht", 7));
	assert_null(memmem(sealed.file, sealed.len, sealed.codes[0].signs, CODE_GROUP_SIGNS));
	sealed_end(&sealed);
}

static void a_changed_or_cut_one_is_refused(void **state)
{
	struct sealed sealed;
	size_t len;

	(void)state;
	sealed_begin(&sealed);
	len = sealed.len;
	for (size_t i = 0; i < len; i++) {
		sealed.file[i] ^= 0x10;
		assert_int_not_equal(try_open(&sealed, &sealed.codes[0]), CPD_OK);
		/* The costs alone: a dear one is not tried, a mean one makes another key. The slot of the other code is not this one's. */
		if (i < len - 32 && !(i >= 45 + 72 && i < 45 + 144)) {
			hash_again(&sealed);
			assert_int_not_equal(try_open(&sealed, &sealed.codes[0]), CPD_OK);
		}
		sealed.file[i] ^= 0x10;
		hash_again(&sealed);
		sealed.len = i;
		assert_int_not_equal(try_open(&sealed, &sealed.codes[0]), CPD_OK);
		sealed.len = len;
	}
	assert_int_equal(try_open(&sealed, &sealed.codes[0]), CPD_OK);
	sealed_end(&sealed);
}

/* Both slots are one key's: exchanged, or one twice, they would tell another way of opening than was used. */
static void slots_cannot_be_exchanged(void **state)
{
	struct sealed sealed;
	uint8_t slot[72];

	(void)state;
	sealed_begin(&sealed);
	memcpy(slot, sealed.file + 45, 72);
	memcpy(sealed.file + 45, sealed.file + 45 + 72, 72);
	memcpy(sealed.file + 45 + 72, slot, 72);
	hash_again(&sealed);
	assert_int_equal(try_open(&sealed, &sealed.codes[0]), CPD_ERR_BAD_SIGNATURE);
	assert_int_equal(try_open(&sealed, &sealed.codes[1]), CPD_ERR_BAD_SIGNATURE);
	sealed_end(&sealed);
}

static void one_that_costs_too_much_is_not_tried(void **state)
{
	static const struct { size_t at; uint8_t byte; } dear[] = { { 21, 1 }, { 22, 1 }, { 24, 17 }, { 25, 1 }, { 26, 5 } };
	struct sealed sealed;

	(void)state;
	sealed_begin(&sealed);
	for (size_t i = 0; i < sizeof(dear) / sizeof(dear[0]); i++) {
		uint8_t kept = sealed.file[dear[i].at];

		sealed.file[dear[i].at] = dear[i].byte;
		hash_again(&sealed);
		assert_int_equal(try_open(&sealed, &sealed.codes[0]), CPD_ERR_RANGE);
		sealed.file[dear[i].at] = kept;
	}
	sealed.file[24] = 0;
	hash_again(&sealed);
	assert_int_equal(try_open(&sealed, &sealed.codes[0]), CPD_ERR_RANGE);
	sealed_end(&sealed);
}

static void its_outside_tells_its_node_and_kind(void **state)
{
	struct sealed sealed;
	uint8_t *file;
	uint32_t node;
	size_t len;
	char mark[SEALED_KIT_MARK_MAX];

	(void)state;
	sealed_begin(&sealed);
	write_file("k.sealed", sealed.file, sealed.len);
	assert_int_equal(sealed_kit_load("k.sealed", &file, &len, &node), CPD_OK);
	assert_int_equal(node, 344003);
	assert_int_equal(strlen(sealed_kit_mark((struct slice){ file, len }, mark)), 9);
	free(file);
	write_file("k.sealed", sealed.file, sealed.len - 1);
	assert_int_equal(sealed_kit_load("k.sealed", &file, &len, &node), CPD_ERR_DAMAGED);
	assert_non_null(strstr(crypto_problem(), "k.sealed"));
	write_file("k.sealed", "cpd-kit 1\nwhatever", 18);
	assert_int_equal(sealed_kit_load("k.sealed", &file, &len, &node), CPD_ERR_STATE);
	assert_int_equal(sealed_kit_load("none", &file, &len, &node), CPD_ERR_NOT_FOUND);
	sealed.file[15] = '2';
	hash_again(&sealed);
	write_file("k.sealed", sealed.file, sealed.len);
	assert_int_equal(sealed_kit_load("k.sealed", &file, &len, &node), CPD_ERR_VERSION);
	assert_null(file);
	sealed_end(&sealed);
}

/* ---------------------------------------------------------------- codes */

static struct slice text_of(const char *text)
{
	return (struct slice){ (const uint8_t *)text, strlen(text) };
}

static void a_code_is_read_as_people_type_it(void **state)
{
	static const char *const same[] = { "7K3MV-QWXE9-0FHTE-8VD12", "7k3mv qwxe9 0fhte 8vd12", "7K3MVQWXE90FHTE8VD12", " 7k3mv-qwxe9-ofhte-8vdi2 ", "7K3MV-QWXE9-OFHTE-8VDL2" };
	char text[CODE_TEXT_MAX];
	struct code code;

	(void)state;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		assert_int_equal(code_parse(text_of(same[i]), &code), 0);
		assert_string_equal(code_format(&code, text), same[0]);
	}
	code_make(&code);
	assert_int_equal(code_parse(text_of(code_format(&code, text)), &code), 0);
}

static void one_wrong_sign_is_told_with_its_group(void **state)
{
	static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
	char text[CODE_TEXT_MAX];
	struct code code, read;

	(void)state;
	code_make(&code);
	for (unsigned i = 0; i < CODE_SIGNS; i++) {
		for (unsigned c = 0; c < 32; c++) {
			struct code slip = code;

			slip.signs[i] = alphabet[c];
			if (slip.signs[i] == code.signs[i])
				continue;
			assert_int_equal(code_parse(text_of(code_format(&slip, text)), &read), 1 + i / CODE_GROUP_SIGNS);
			assert_int_equal(read.signs[0], 0);
		}
	}
}

static void groups_in_another_order_missing_or_foreign_signs_are_told(void **state)
{
	struct code code;

	(void)state;
	assert_int_equal(code_parse(text_of("QWXE9-7K3MV-0FHTE-8VD12"), &code), 1);
	assert_int_equal(code_parse(text_of("7K3MV-QWXE9-0FHTE-8VD1"), &code), CODE_GROUPS + 1);
	assert_int_equal(code_parse(text_of("7K3MV-QWXE9-0FHTE-8VD127"), &code), CODE_GROUPS + 1);
	assert_int_equal(code_parse(text_of("7K3MV-QWXE9-0FHTE-8VD1U"), &code), CODE_GROUPS + 1);
	assert_int_equal(code_parse((struct slice){ (const uint8_t *)"7K3MV-QWXE9-0FHTE-8VD1\0", 24 }, &code), CODE_GROUPS + 1);
	assert_int_equal(code_parse(text_of(""), &code), CODE_GROUPS + 1);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(either_code_opens_it_and_tells_which_it_was),
		cmocka_unit_test(no_other_code_opens_it),
		cmocka_unit_test(nothing_of_it_can_be_read_without_a_code),
		cmocka_unit_test(a_changed_or_cut_one_is_refused),
		cmocka_unit_test(slots_cannot_be_exchanged),
		cmocka_unit_test(one_that_costs_too_much_is_not_tried),
		WITH_FOLDER(its_outside_tells_its_node_and_kind),
		cmocka_unit_test(a_code_is_read_as_people_type_it),
		cmocka_unit_test(one_wrong_sign_is_told_with_its_group),
		cmocka_unit_test(groups_in_another_order_missing_or_foreign_signs_are_told),
	};

	if (crypto_start() != CPD_OK)
		return 1;
	return RUN_FED_AND_HUNGRY(tests);
}
