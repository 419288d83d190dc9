/* test_types.c: ids, names, errors and the table of kinds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "proto/cpd.pb-c.h"
#include "proto/kind.h"
#include "proto/limits.h"
#include "proto/types.h"

static void id_is_written_and_read_back(void **state)
{
	struct message_id id = { 344003, 2, 118 }, back;
	struct message_id most = { UINT32_MAX, UINT32_MAX, UINT64_MAX };
	char text[MESSAGE_ID_TEXT_MAX];

	(void)state;
	assert_string_equal(message_id_format(&id, text), "344003/2/118");
	assert_int_equal(message_id_parse(text, &back), CPD_OK);
	assert_true(message_id_equal(&id, &back));
	assert_string_equal(message_id_format(&most, text), "4294967295/4294967295/18446744073709551615");
	assert_int_equal(message_id_parse(text, &back), CPD_OK);
	assert_true(message_id_equal(&most, &back));
}

static void id_in_any_other_form_is_refused(void **state)
{
	static const char *const bad[] = {
		"", "/", "//", "1", "1/2", "1/2/", "/2/3", "1//3", "1/2/3/4", "01/2/3", "1/02/3", "1/2/03", "00/2/3",
		"+1/2/3", "-1/2/3", " 1/2/3", "1/2/3 ", "1 /2/3", "1/2/3\n", "0x1/2/3", "1/2/a", "1.0/2/3",
		"4294967296/2/3", "1/4294967296/3", "1/2/18446744073709551616", "1/2/99999999999999999999999",
		"1\\2\\3",
	};
	struct message_id out;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&out, 0xff, sizeof(out));
		assert_int_equal(message_id_parse(bad[i], &out), CPD_ERR_MALFORMED);
		assert_int_equal(out.origin, 0);
		assert_true(out.sequence == 0);
	}
	assert_int_equal(message_id_parse(NULL, &out), CPD_ERR_MALFORMED);
}

static void ids_are_ordered_by_origin_then_epoch_then_sequence(void **state)
{
	static const struct message_id sorted[] = {
		{ 1, 1, 1 }, { 1, 1, 2 }, { 1, 2, 1 }, { 1, UINT32_MAX, 0 }, { 2, 0, 0 }, { 2, 0, UINT64_MAX }, { UINT32_MAX, 1, 1 },
	};
	const int count = sizeof(sorted) / sizeof(sorted[0]);

	(void)state;
	for (int i = 0; i < count; i++)
		for (int j = 0; j < count; j++) {
			int order = message_id_compare(&sorted[i], &sorted[j]);

			assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
			assert_int_equal(message_id_equal(&sorted[i], &sorted[j]), i == j);
		}
}

static void names_are_read_in_any_case(void **state)
{
	enum precedence precedence;
	enum mode mode;
	enum node_role role;

	(void)state;
	for (int i = 0; i < PRECEDENCE_COUNT; i++) {
		assert_true(precedence_parse(precedence_name((enum precedence)i), &precedence));
		assert_int_equal(precedence, i);
	}
	for (int i = MODE_REAL; i <= MODE_TEST; i++) {
		assert_true(mode_parse(mode_name((enum mode)i), &mode));
		assert_int_equal(mode, i);
	}
	for (int i = ROLE_ID_NSP; i <= ROLE_ID_PARTNER; i++) {
		assert_true(node_role_parse(node_role_name((enum node_role)i), &role));
		assert_int_equal(role, i);
	}
	assert_true(precedence_parse("flash", &precedence));
	assert_int_equal(precedence, PRECEDENCE_FLASH);
	assert_true(node_role_parse("NSP", &role));
	assert_false(precedence_parse("FLASHY", &precedence));
	assert_false(precedence_parse(NULL, &precedence));
	assert_false(mode_parse("", &mode));
	assert_false(node_role_parse("unknown", &role));
}

static void values_of_a_later_version_have_a_name(void **state)
{
	(void)state;
	assert_string_equal(precedence_name((enum precedence)7), "UNKNOWN");
	assert_string_equal(mode_name((enum mode)3), "UNKNOWN");
	assert_string_equal(node_role_name((enum node_role)99), "unknown");
	assert_string_equal(reason_name((enum cpd_reason)31), "UNKNOWN");
	assert_string_equal(reason_name(REFUSED_UNKNOWN_SIGNER), "UNKNOWN-SIGNER");
}

static void enums_are_those_of_the_schema(void **state)
{
	static const struct { int ours, wire; } same[] = {
		{ ROLE_ID_NSP, CPD__ROLE__ROLE_NSP }, { ROLE_ID_CP, CPD__ROLE__ROLE_CP },
		{ ROLE_ID_DESK, CPD__ROLE__ROLE_DESK }, { ROLE_ID_PARTNER, CPD__ROLE__ROLE_PARTNER },
		{ LEVEL_EXPIRED, CPD__LEVEL__LEVEL_EXPIRED }, { LEVEL_UNDELIVERABLE, CPD__LEVEL__LEVEL_UNDELIVERABLE },
		{ LEVEL_DELIVERED, CPD__LEVEL__LEVEL_DELIVERED }, { LEVEL_NOT_UNDERSTOOD, CPD__LEVEL__LEVEL_NOT_UNDERSTOOD },
		{ LEVEL_READ, CPD__LEVEL__LEVEL_READ }, { LEVEL_REFUSED, CPD__LEVEL__LEVEL_REFUSED },
		{ LEVEL_ACCEPTED, CPD__LEVEL__LEVEL_ACCEPTED }, { LEVEL_DONE, CPD__LEVEL__LEVEL_DONE },
		{ LEVEL_SUPERSEDED, CPD__LEVEL__LEVEL_SUPERSEDED }, { LEVEL_WITHDRAWN, CPD__LEVEL__LEVEL_WITHDRAWN },
		{ REFUSED_MALFORMED, CPD__REASON__REASON_MALFORMED }, { REFUSED_TOO_LARGE, CPD__REASON__REASON_TOO_LARGE },
		{ REFUSED_BAD_SIGNATURE, CPD__REASON__REASON_BAD_SIGNATURE }, { REFUSED_REVOKED, CPD__REASON__REASON_REVOKED },
		{ REFUSED_ROLE, CPD__REASON__REASON_ROLE }, { REFUSED_ID_CONFLICT, CPD__REASON__REASON_ID_CONFLICT },
		{ REFUSED_EXPIRED, CPD__REASON__REASON_EXPIRED }, { REFUSED_HOP_LIMIT, CPD__REASON__REASON_HOP_LIMIT },
		{ REFUSED_NOT_ADDRESSED, CPD__REASON__REASON_NOT_ADDRESSED }, { REFUSED_BELOW_FLOOR, CPD__REASON__REASON_BELOW_FLOOR },
		{ REFUSED_NO_ROUTE, CPD__REASON__REASON_NO_ROUTE }, { REFUSED_UNKNOWN_SIGNER, CPD__REASON__REASON_UNKNOWN_SIGNER },
		{ REFUSED_UNKNOWN_GROUP, CPD__REASON__REASON_UNKNOWN_GROUP }, { REFUSED_FULL, CPD__REASON__REASON_FULL },
		{ REFUSED_BUSY, CPD__REASON__REASON_BUSY },
		{ REFUSED_QUOTA, CPD__REASON__REASON_QUOTA },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		assert_int_equal(same[i].ours, same[i].wire);
}

static void every_error_has_its_own_sentence(void **state)
{
	(void)state;
	for (int i = CPD_ERR_USAGE; i <= 0; i++) {
		const char *text = cpd_error_text((enum cpd_error)i);

		assert_true(text[0] && text[strlen(text) - 1] != '.');
		assert_string_not_equal(text, "unknown error");
		for (int j = i + 1; j <= 0; j++)
			assert_string_not_equal(text, cpd_error_text((enum cpd_error)j));
	}
	assert_string_equal(cpd_error_text((enum cpd_error)-999), "unknown error");
}

static void trouble_of_our_own_is_told_as_retryable(void **state)
{
	static const enum cpd_error own[] = {
		CPD_ERR_NOMEM, CPD_ERR_IO, CPD_ERR_DAMAGED, CPD_ERR_STATE, CPD_ERR_SCHEMA, CPD_ERR_BUSY, CPD_ERR_FULL,
		CPD_ERR_UNKNOWN_SIGNER, CPD_ERR_UNKNOWN_GROUP, CPD_ERR_NOT_FOUND, (enum cpd_error)-999,
	};
	static const enum cpd_error theirs[] = {
		CPD_ERR_MALFORMED, CPD_ERR_TOO_LARGE, CPD_ERR_MISSING, CPD_ERR_RANGE, CPD_ERR_TEXT, CPD_ERR_BAD_SIGNATURE,
		CPD_ERR_REVOKED, CPD_ERR_ROLE, CPD_ERR_CONFLICT,
	};

	(void)state;
	assert_int_equal(reason_of_error(CPD_OK), REFUSED_NONE);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		assert_true(reason_is_retryable(reason_of_error(own[i])));
	for (size_t i = 0; i < sizeof(theirs) / sizeof(theirs[0]); i++) {
		assert_false(reason_is_retryable(reason_of_error(theirs[i])));
		assert_int_not_equal(reason_of_error(theirs[i]), REFUSED_NONE);
	}
}

/* "EmergencyCall" of KIND_EMERGENCY_CALL. */
static void schema_name_of(const char *constant, char *out)
{
	bool is_start = true;

	for (constant += strlen("KIND_"); *constant; constant++) {
		if (*constant == '_') {
			is_start = true;
			continue;
		}
		*out++ = is_start ? *constant : (char)(*constant | 0x20);
		is_start = false;
	}
	*out = '\0';
}

static void every_kind_of_the_schema_has_its_row(void **state)
{
	const ProtobufCEnumDescriptor *descriptor = &cpd__kind__descriptor;

	(void)state;
	for (unsigned i = 0; i < descriptor->n_values; i++) {
		message_kind number = (message_kind)descriptor->values[i].value;
		const struct kind *kind = kind_find(number);
		char name[64];

		if (number == CPD__KIND__KIND_UNKNOWN) {
			assert_null(kind);
			continue;
		}
		assert_non_null(kind);
		assert_int_equal(kind->number, number);
		schema_name_of(descriptor->values[i].name, name);
		assert_string_equal(kind->schema_name, name);
		assert_ptr_equal(kind_find_name(kind->name), kind);
		assert_ptr_equal(kind_find_name(kind->schema_name), kind);
		assert_ptr_equal(kind_at(number - 1), kind);
		assert_true(kind->lifetime_s >= LIMIT_LIFETIME_MIN_S && kind->lifetime_s <= LIMIT_LIFETIME_MAX_S);
		assert_true(kind->from_roles && kind->to_roles && kind->dutch[0]);
		assert_int_equal(kind->has_body, number <= CPD__KIND__KIND_BULLETIN);
	}
	assert_null(kind_at(descriptor->n_values - 1));
	assert_null(kind_find(9999));
	assert_null(kind_find(UINT32_MAX));
	assert_null(kind_find_name("emergency"));
	assert_null(kind_find_name(NULL));
	assert_non_null(kind_find_name("EMERGENCY-call"));
}

static void an_nsp_cannot_command(void **state)
{
	static const char *const commands[] = {
		"Instruction", "Bulletin", "Activation", "Minimize", "EmergencyProgress", "Question",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		assert_false(kind_find_name(commands[i])->from_roles & ROLE_BIT(ROLE_ID_NSP));
	assert_int_equal(kind_find_name("EmergencyCall")->from_roles, ROLE_BIT(ROLE_ID_NSP));
	assert_int_equal(kind_find_name("NspStatus")->from_roles, ROLE_BIT(ROLE_ID_NSP));
}

static void kinds_close_where_the_design_says(void **state)
{
	(void)state;
	for (size_t i = 0; kind_at(i); i++) {
		const struct kind *kind = kind_at(i);
		enum level expected = !strcmp(kind->schema_name, "EmergencyCall") ? LEVEL_DONE :
		    !strcmp(kind->schema_name, "Instruction") ? LEVEL_ACCEPTED : LEVEL_DELIVERED;

		assert_int_equal(kind->closing_level, expected);
		assert_int_equal(kind->is_state, !strcmp(kind->schema_name, "NspStatus"));
	}
	assert_int_equal(kind_find_name("EmergencyCall")->precedence, PRECEDENCE_FLASH);
	assert_int_equal(kind_find_name("NspStatus")->lifetime_s, 3600);
	assert_int_equal(kind_find_name("EmergencyCall")->lifetime_s, 72 * 3600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(id_is_written_and_read_back),
		cmocka_unit_test(id_in_any_other_form_is_refused),
		cmocka_unit_test(ids_are_ordered_by_origin_then_epoch_then_sequence),
		cmocka_unit_test(names_are_read_in_any_case),
		cmocka_unit_test(values_of_a_later_version_have_a_name),
		cmocka_unit_test(enums_are_those_of_the_schema),
		cmocka_unit_test(every_error_has_its_own_sentence),
		cmocka_unit_test(trouble_of_our_own_is_told_as_retryable),
		cmocka_unit_test(every_kind_of_the_schema_has_its_row),
		cmocka_unit_test(an_nsp_cannot_command),
		cmocka_unit_test(kinds_close_where_the_design_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
