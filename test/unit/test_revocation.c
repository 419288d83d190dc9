/*
 * test_revocation.c: what a revocation says of keys and messages, and which updates must travel for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/directory.h"

static struct certificate make_certificate(uint32_t node, uint32_t key_number)
{
	struct certificate certificate = { .node = node, .role = ROLE_ID_NSP, .key_number = key_number, .name = "NSP" };

	memcpy(certificate.transport_key, &node, sizeof(node));
	memcpy(certificate.transport_key + 4, &key_number, sizeof(key_number));
	return certificate;
}

static struct directory_update make_update(uint32_t number)
{
	return (struct directory_update){ .number = number, .created_s = 1000 + number };
}

static void add_certificate(struct directory_update *update, struct certificate certificate)
{
	update->certificates = realloc(update->certificates, (update->certificate_count + 1) * sizeof(certificate));
	assert_non_null(update->certificates);
	update->certificates[update->certificate_count++] = certificate;
}

static void add_revocation(struct directory_update *update, uint32_t node, uint32_t key_number, uint64_t last_sequence)
{
	struct revocation revocation = { node, key_number, 3, last_sequence, "gestolen" };

	update->revocations = realloc(update->revocations, (update->revocation_count + 1) * sizeof(revocation));
	assert_non_null(update->revocations);
	update->revocations[update->revocation_count++] = revocation;
}

static enum cpd_error apply_and_clear(struct directory *directory, struct directory_update *update)
{
	enum cpd_error error = directory_apply(directory, update);

	directory_update_clear(update);
	return error;
}

static void the_updates_that_revoke_are_named_above_a_gap_too_and_the_gap_is(void **state)
{
	struct directory *directory = directory_new();
	struct directory_update first = make_update(1), third = make_update(3), seventh = make_update(7), eighth = make_update(8);

	(void)state;
	assert_int_equal(directory_revoking(directory, 0), 0);
	assert_int_equal(directory_missing(directory, 0), 0);
	add_certificate(&first, make_certificate(344003, 1));
	add_revocation(&third, 344003, 1, 118);
	add_revocation(&seventh, 344004, 1, 118);
	assert_int_equal(apply_and_clear(directory, &first), CPD_OK);
	assert_int_equal(apply_and_clear(directory, &seventh), CPD_OK);
	assert_int_equal(apply_and_clear(directory, &third), CPD_OK);
	assert_int_equal(directory_version(directory), 1);
	assert_int_equal(directory_revoking(directory, 0), 3);
	assert_int_equal(directory_revoking(directory, 3), 7);
	assert_int_equal(directory_revoking(directory, 7), 0);
	assert_int_equal(directory_missing(directory, 0), 2);
	assert_int_equal(directory_missing(directory, 2), 4);
	assert_int_equal(directory_missing(directory, 5), 6);
	assert_int_equal(directory_missing(directory, 6), 0);
	/* a later word on the same key is the one to send; the earlier says nothing any more */
	add_revocation(&eighth, 344003, 1, 200);
	assert_int_equal(apply_and_clear(directory, &eighth), CPD_OK);
	assert_int_equal(directory_revoking(directory, 0), 7);
	assert_int_equal(directory_revoking(directory, 7), 8);
	directory_free(directory);
}

static void a_message_beyond_the_line_of_its_key_is_doubted_whenever_it_came(void **state)
{
	static const struct { uint32_t key, epoch; uint64_t sequence; bool is_doubted; } cases[] = {
		{ 1, 2, 500, false }, { 1, 3, 118, false }, { 1, 3, 119, true }, { 1, 4, 1, true }, { 2, 4, 1, false }, { 2, 3, 119, false },
	};
	struct directory *directory = directory_new();
	struct directory_update update = make_update(1), all = make_update(2);

	(void)state;
	add_certificate(&update, make_certificate(344003, 1));
	add_certificate(&update, make_certificate(344003, 2));
	add_revocation(&update, 344003, 1, 118);
	assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct message message = { .header.id = { 344003, cases[i].epoch, cases[i].sequence }, .signature_count = 1 };

		message.signatures[0].key_number = cases[i].key;
		if (directory_doubts(directory, &message) != cases[i].is_doubted)
			fail_msg("key %u, %u/%u", cases[i].key, cases[i].epoch, (unsigned)cases[i].sequence);
	}
	add_revocation(&all, 344003, 1, 0);
	all.revocations[0].last_epoch = 0;               /* nothing of that key */
	assert_int_equal(apply_and_clear(directory, &all), CPD_OK);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct message message = { .header.id = { 344003, cases[i].epoch, cases[i].sequence }, .signature_count = 1 };

		message.signatures[0].key_number = cases[i].key;
		assert_int_equal(directory_doubts(directory, &message), cases[i].key == 1);
	}
	assert_null(directory_by_transport_key(directory, make_certificate(344003, 1).transport_key));
	assert_true(directory_transport_key_is_revoked(directory, make_certificate(344003, 1).transport_key));
	assert_false(directory_transport_key_is_revoked(directory, make_certificate(344003, 2).transport_key));
	assert_false(directory_transport_key_is_revoked(directory, make_certificate(344004, 1).transport_key));
	directory_free(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_updates_that_revoke_are_named_above_a_gap_too_and_the_gap_is),
		cmocka_unit_test(a_message_beyond_the_line_of_its_key_is_doubted_whenever_it_came),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
