/*
 * test_directory.c: the directory: updates in any order, all or nothing, and what is asked of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/cpd.pb-c.h"
#include "proto/directory.h"
#include "proto/kind.h"
#include "test/unit/hungry_proto.h"

/* ---- makers ---- */

static struct certificate make_certificate(uint32_t node, uint32_t key_number)
{
	struct certificate certificate = { .node = node, .role = ROLE_ID_NSP, .key_number = key_number,
		.not_before_s = 100, .not_after_s = 200, .latitude_e5 = 5209000, .longitude_e5 = -512000 };

	snprintf(certificate.name, sizeof(certificate.name), "NSP %u", (unsigned)node);
	strcpy(certificate.municipality, "GM0344");
	strcpy(certificate.region, "VR09");
	strcpy(certificate.address, "tcp://192.0.2.1:5600");
	memset(certificate.signing_key, (int)key_number, 32);
	memset(certificate.sealing_key, (int)key_number + 1, 32);
	memset(certificate.transport_key, 0xaa, 32);
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

/* Members first, first + step, ... */
static void add_group(struct directory_update *update, uint32_t number, uint32_t version, uint32_t first, uint32_t step,
    size_t count)
{
	struct group group = { .number = number, .version = version, .member_count = count };

	strcpy(group.name, "alle NSP'en");
	group.members = malloc((count + 1) * sizeof(*group.members));
	assert_non_null(group.members);
	for (size_t i = 0; i < count; i++)
		group.members[i] = first + (uint32_t)i * step;
	update->groups = realloc(update->groups, (update->group_count + 1) * sizeof(group));
	assert_non_null(update->groups);
	update->groups[update->group_count++] = group;
}

static enum cpd_error apply_and_clear(struct directory *directory, struct directory_update *update)
{
	enum cpd_error error = directory_apply(directory, update);

	directory_update_clear(update);
	return error;
}

static struct directory_update make_full_update(void)
{
	struct directory_update update = make_update(7);
	struct certificate plain = make_certificate(344004, 1);

	add_certificate(&update, make_certificate(344003, 2));
	update.certificates[0].kinds[0] = CPD__KIND__KIND_TEXT;
	update.certificates[0].kinds[1] = 4711;
	update.certificates[0].kind_count = 2;
	plain.not_before_s = plain.not_after_s = 0;
	plain.latitude_e5 = plain.longitude_e5 = 0;
	plain.municipality[0] = plain.region[0] = plain.address[0] = '\0';
	add_certificate(&update, plain);
	add_revocation(&update, 344003, 1, 118);
	add_group(&update, 5, 2, 344010, 3, 4);
	add_group(&update, 6, 1, 1, 1, 0);
	return update;
}

static uint8_t *encode(const struct directory_update *update, size_t *len)
{
	uint8_t *buf = malloc(LIMIT_DIRECTORY_UPDATE);

	assert_non_null(buf);
	assert_int_equal(directory_update_encode(update, buf, len), CPD_OK);
	return buf;
}

/* ---- updates on the wire ---- */

static void an_update_comes_back_as_it_was_written(void **state)
{
	struct directory_update update = make_full_update(), back;
	size_t len;
	uint8_t *buf = encode(&update, &len);

	(void)state;
	assert_int_equal(directory_update_decode((struct slice){ buf, len }, &back), CPD_OK);
	assert_int_equal(back.number, 7);
	assert_int_equal(back.created_s, 1007);
	assert_int_equal(back.certificate_count, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct certificate *a = &update.certificates[i], *b = &back.certificates[i];

		assert_int_equal(a->node, b->node);
		assert_int_equal(a->role, b->role);
		assert_int_equal(a->key_number, b->key_number);
		assert_string_equal(a->name, b->name);
		assert_string_equal(a->municipality, b->municipality);
		assert_string_equal(a->region, b->region);
		assert_string_equal(a->address, b->address);
		assert_memory_equal(a->signing_key, b->signing_key, 32);
		assert_memory_equal(a->sealing_key, b->sealing_key, 32);
		assert_memory_equal(a->transport_key, b->transport_key, 32);
		assert_int_equal(a->not_before_s, b->not_before_s);
		assert_int_equal(a->not_after_s, b->not_after_s);
		assert_int_equal(a->latitude_e5, b->latitude_e5);
		assert_int_equal(a->longitude_e5, b->longitude_e5);
		assert_int_equal(a->kind_count, b->kind_count);
		assert_memory_equal(a->kinds, b->kinds, sizeof(a->kinds));
	}
	assert_int_equal(back.revocation_count, 1);
	assert_int_equal(back.revocations[0].node, 344003);
	assert_int_equal(back.revocations[0].key_number, 1);
	assert_int_equal(back.revocations[0].last_epoch, 3);
	assert_int_equal(back.revocations[0].last_sequence, 118);
	assert_string_equal(back.revocations[0].reason, "gestolen");
	assert_int_equal(back.group_count, 2);
	assert_int_equal(back.groups[0].number, 5);
	assert_int_equal(back.groups[0].version, 2);
	assert_int_equal(back.groups[0].member_count, 4);
	assert_memory_equal(back.groups[0].members, update.groups[0].members, 4 * sizeof(uint32_t));
	assert_int_equal(back.groups[1].member_count, 0);
	directory_update_clear(&back);
	directory_update_clear(&update);
	free(buf);
}

static void a_certificate_fits_an_introduction(void **state)
{
	struct directory_update update = make_update(4000000000u);
	struct certificate certificate = make_certificate(UINT32_MAX, 200);
	size_t len;
	uint8_t *buf;

	(void)state;
	memset(certificate.name, 'n', LIMIT_NAME);
	memset(certificate.address, 'a', LIMIT_ADDRESS);
	add_certificate(&update, certificate);
	buf = encode(&update, &len);
	assert_true(len + 80 <= LIMIT_CERTIFICATE); /* 80: signature and framing */
	free(buf);
	directory_update_clear(&update);
}

static void a_role_of_a_later_version_is_kept(void **state)
{
	struct directory_update update = make_update(1), back;
	size_t len;
	uint8_t *buf;

	(void)state;
	add_certificate(&update, make_certificate(1, 1));
	update.certificates[0].role = (enum node_role)77;
	buf = encode(&update, &len);
	assert_int_equal(directory_update_decode((struct slice){ buf, len }, &back), CPD_OK);
	assert_int_equal(back.certificates[0].role, 77);
	assert_false(certificate_allows(&back.certificates[0], CPD__KIND__KIND_TEXT));
	assert_true(certificate_allows(&back.certificates[0], 9999));
	directory_update_clear(&back);
	directory_update_clear(&update);
	free(buf);
}

/* Each case changes one thing of a good update. */
struct spoil { const char *what; enum cpd_error error; void (*apply)(struct directory_update *); };
#define SPOIL(name, statement) static void spoil_##name(struct directory_update *u) { statement; }
SPOIL(number, u->number = 0)
SPOIL(node, u->certificates[0].node = 0)
SPOIL(key_number, u->certificates[0].key_number = 0)
SPOIL(name_empty, u->certificates[0].name[0] = '\0')
SPOIL(name_utf8, u->certificates[0].name[1] = '\xff')
SPOIL(name_newline, u->certificates[0].name[1] = '\n')
SPOIL(name_long, memset(u->certificates[0].name, 'x', sizeof(u->certificates[0].name)))
SPOIL(address_control, u->certificates[0].address[0] = '\x1b')
SPOIL(municipality, strcpy(u->certificates[0].municipality, "GM344"))
SPOIL(municipality_letters, strcpy(u->certificates[0].municipality, "gm0344"))
SPOIL(municipality_digit, strcpy(u->certificates[0].municipality, "GM03A4"))
SPOIL(region, strcpy(u->certificates[0].region, "VR009"))
SPOIL(validity, u->certificates[0].not_after_s = 100)
SPOIL(latitude, u->certificates[0].latitude_e5 = 9000001)
SPOIL(latitude_south, u->certificates[0].latitude_e5 = -9000001)
SPOIL(longitude, u->certificates[0].longitude_e5 = 18000001)
SPOIL(longitude_west, u->certificates[0].longitude_e5 = -18000001)
SPOIL(kind_zero, u->certificates[0].kinds[0] = 0)
SPOIL(kind_twice, u->certificates[0].kinds[0] = 4711)
SPOIL(kinds, u->certificates[0].kind_count = 33)
SPOIL(certificate_twice, u->certificates[1] = u->certificates[0])
SPOIL(revoked_node, u->revocations[0].node = 0)
SPOIL(revoked_key, u->revocations[0].key_number = 0)
SPOIL(reason, u->revocations[0].reason[0] = '\t')
SPOIL(group_number, u->groups[0].number = 0)
SPOIL(group_version, u->groups[0].version = 0)
SPOIL(group_name, u->groups[0].name[0] = '\0')
SPOIL(group_name_text, u->groups[0].name[0] = '\x7f')
SPOIL(member_zero, u->groups[0].members[2] = 0)
SPOIL(member_twice, u->groups[0].members[3] = u->groups[0].members[0])
SPOIL(group_twice, (u->groups[1].number = 5, u->groups[1].version = 2))

static void each_field_out_of_bounds_is_refused(void **state)
{
	static const struct spoil spoils[] = {
#define CASE(name, error) { #name, error, spoil_##name }
		CASE(number, CPD_ERR_RANGE), CASE(node, CPD_ERR_RANGE), CASE(key_number, CPD_ERR_RANGE),
		CASE(name_empty, CPD_ERR_MISSING), CASE(name_utf8, CPD_ERR_TEXT), CASE(name_newline, CPD_ERR_TEXT),
		CASE(name_long, CPD_ERR_TOO_LARGE), CASE(address_control, CPD_ERR_TEXT),
		CASE(municipality, CPD_ERR_RANGE), CASE(municipality_letters, CPD_ERR_RANGE),
		CASE(municipality_digit, CPD_ERR_RANGE), CASE(region, CPD_ERR_RANGE), CASE(validity, CPD_ERR_RANGE),
		CASE(latitude, CPD_ERR_RANGE), CASE(latitude_south, CPD_ERR_RANGE), CASE(longitude, CPD_ERR_RANGE),
		CASE(longitude_west, CPD_ERR_RANGE), CASE(kind_zero, CPD_ERR_RANGE), CASE(kind_twice, CPD_ERR_RANGE),
		CASE(kinds, CPD_ERR_TOO_LARGE), CASE(certificate_twice, CPD_ERR_RANGE),
		CASE(revoked_node, CPD_ERR_RANGE), CASE(revoked_key, CPD_ERR_RANGE), CASE(reason, CPD_ERR_TEXT),
		CASE(group_number, CPD_ERR_RANGE), CASE(group_version, CPD_ERR_RANGE), CASE(group_name, CPD_ERR_MISSING),
		CASE(group_name_text, CPD_ERR_TEXT), CASE(member_zero, CPD_ERR_RANGE), CASE(member_twice, CPD_ERR_RANGE),
		CASE(group_twice, CPD_ERR_RANGE),
	};
	static uint8_t buf[LIMIT_DIRECTORY_UPDATE];

	(void)state;
	for (size_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++) {
		struct directory_update update = make_full_update();
		size_t len = 1;
		enum cpd_error error;

		spoils[i].apply(&update);
		error = directory_update_encode(&update, buf, &len);
		if (error != spoils[i].error || len != 0)
			fail_msg("%s: %s", spoils[i].what, cpd_error_text(error));
		directory_update_clear(&update);
	}
}

/* What our own encoder would never write, the decoder must refuse too. */
static void bad_bytes_from_the_wire_are_refused(void **state)
{
	uint8_t key[32] = { 1 }, buf[512];
	char name[] = "NSP";
	struct directory_update back;
	Cpd__Certificate certificate = CPD__CERTIFICATE__INIT, *certificates[] = { &certificate };
	Cpd__DirectoryUpdate update = CPD__DIRECTORY_UPDATE__INIT;
	char *nul;
	size_t len;

	(void)state;
	update.number = 1;
	update.n_certificates = 1;
	update.certificates = certificates;
	certificate.node = 9;
	certificate.role = 1;
	certificate.name = name;
	certificate.signing_key = certificate.sealing_key = certificate.transport_key = (ProtobufCBinaryData){ 32, key };
	len = cpd__directory_update__pack(&update, buf);
	assert_int_equal(directory_update_decode((struct slice){ buf, len }, &back), CPD_OK);
	assert_int_equal(back.certificates[0].key_number, 1);
	directory_update_clear(&back);
	nul = memmem(buf, len, "NSP", 3);
	assert_non_null(nul);
	nul[1] = '\0';
	assert_int_equal(directory_update_decode((struct slice){ buf, len }, &back), CPD_ERR_TEXT);
	assert_null(back.certificates);
	certificate.node = 0;
	len = cpd__directory_update__pack(&update, buf);
	assert_int_equal(directory_update_decode((struct slice){ buf, len }, &back), CPD_ERR_RANGE);
	assert_null(back.certificates);
	certificate.node = 9;
	certificate.sealing_key.len = 31;
	len = cpd__directory_update__pack(&update, buf);
	assert_int_equal(directory_update_decode((struct slice){ buf, len }, &back), CPD_ERR_RANGE);
	assert_null(back.certificates);
	assert_int_equal(directory_update_decode((struct slice){ buf, 0 }, &back), CPD_ERR_MISSING);
	assert_int_equal(directory_update_decode((struct slice){ buf, LIMIT_DIRECTORY_UPDATE + 1 }, &back), CPD_ERR_TOO_LARGE);
}

static void cut_and_changed_updates_never_harm(void **state)
{
	struct directory_update update = make_full_update(), back;
	size_t len, refused = 0;
	uint8_t *buf = encode(&update, &len);

	(void)state;
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1); /* so that a sanitizer sees one byte too far */

		assert_non_null(exact);
		memcpy(exact, buf, cut);
		refused += directory_update_decode((struct slice){ exact, cut }, &back) != CPD_OK;
		directory_update_clear(&back);
		free(exact);
	}
	assert_true(refused > len / 2);
	refused = 0;
	for (size_t at = 0; at < len; at++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			buf[at] ^= (uint8_t)(1u << bit);
			if (directory_update_decode((struct slice){ buf, len }, &back) != CPD_OK) {
				refused++;
				assert_null(back.certificates);
				assert_int_equal(back.certificate_count + back.revocation_count + back.group_count, 0);
			}
			directory_update_clear(&back);
			buf[at] ^= (uint8_t)(1u << bit);
		}
	}
	assert_true(refused > 100);
	directory_update_clear(&update);
	free(buf);
}

static void the_fullest_updates_fit_and_no_fuller_ones_pass(void **state)
{
	struct directory_update update = make_update(1), back;
	static uint8_t small[LIMIT_DIRECTORY_UPDATE];
	size_t len;
	uint8_t *buf;

	(void)state;
	for (uint32_t i = 0; i < LIMIT_UPDATE_ENTRIES; i++)
		add_revocation(&update, 344000 + i, 1, 1);
	for (size_t i = 0; i < LIMIT_UPDATE_ENTRIES; i++)
		update.revocations[i].reason[0] = '\0';
	buf = encode(&update, &len);
	assert_int_equal(directory_update_decode((struct slice){ buf, len }, &back), CPD_OK);
	assert_int_equal(back.revocation_count, LIMIT_UPDATE_ENTRIES);
	directory_update_clear(&back);
	free(buf);
	add_revocation(&update, 1, 1, 1);
	assert_int_equal(directory_update_encode(&update, small, &len), CPD_ERR_TOO_LARGE);
	directory_update_clear(&update);

	update = make_update(1);
	add_group(&update, 1, 1, 344000, 1, LIMIT_GROUP_MEMBERS);
	buf = encode(&update, &len);
	assert_int_equal(directory_update_decode((struct slice){ buf, len }, &back), CPD_OK);
	assert_int_equal(back.groups[0].member_count, LIMIT_GROUP_MEMBERS);
	directory_update_clear(&back);
	free(buf);
	add_group(&update, 2, 1, 344000, 1, LIMIT_GROUP_MEMBERS + 1);
	assert_int_equal(directory_update_encode(&update, small, &len), CPD_ERR_TOO_LARGE);
	directory_update_clear(&update);

	update = make_update(1);
	for (uint32_t i = 1; i <= 200; i++)
		add_certificate(&update, make_certificate(i, 1));
	assert_int_equal(directory_update_encode(&update, small, &len), CPD_ERR_TOO_LARGE);
	directory_update_clear(&update);
}

static void an_update_is_read_and_written_whole_or_not_when_memory_runs_out(void **state)
{
	struct directory_update update, back;
	static uint8_t buf[LIMIT_DIRECTORY_UPDATE];
	size_t len, written;

	(void)state;
	if (!alloc_fault_works)
		skip();
	update = make_full_update();
	assert_int_equal(directory_update_encode(&update, buf, &len), CPD_OK);
	ASSERT_NOMEM_EVERYWHERE(directory_update_decode((struct slice){ buf, len }, &back), directory_update_clear(&back));
	ASSERT_NOMEM_EVERYWHERE(directory_update_encode(&update, buf, &written), assert_int_equal(written, len));
	directory_update_clear(&update);
}

/* ---- the directory ---- */

static void updates_may_come_in_any_order(void **state)
{
	static const uint32_t order[] = { 3, 1, 5, 2, 7, 6, 4 };
	static const uint32_t version[] = { 0, 1, 1, 3, 3, 3, 7 };
	struct directory *directory = directory_new();

	(void)state;
	assert_non_null(directory);
	for (size_t i = 0; i < 7; i++) {
		struct directory_update update = make_update(order[i]);

		assert_false(directory_holds(directory, order[i]));
		add_certificate(&update, make_certificate(100 + order[i], 1));
		assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
		assert_true(directory_holds(directory, order[i]));
		assert_int_equal(directory_version(directory), version[i]);
		assert_non_null(directory_certificate(directory, 100 + order[i]));
		assert_int_equal(directory_certificate(directory, 100 + order[i])->update, order[i]);
	}
	assert_int_equal(directory_latest_time_s(directory), 1007);
	assert_false(directory_holds(directory, 0));
	assert_false(directory_holds(directory, 8));
	directory_free(directory);
}

static void the_same_number_twice_changes_nothing(void **state)
{
	struct directory *directory = directory_new();
	struct directory_update one = make_update(1), again = make_update(1), ahead = make_update(9), ahead_again = make_update(9);

	(void)state;
	add_certificate(&again, make_certificate(5, 1));
	add_certificate(&ahead_again, make_certificate(6, 1));
	assert_int_equal(apply_and_clear(directory, &one), CPD_OK);
	assert_int_equal(apply_and_clear(directory, &again), CPD_ERR_EXISTS);
	assert_int_equal(apply_and_clear(directory, &ahead), CPD_OK);
	assert_int_equal(apply_and_clear(directory, &ahead_again), CPD_ERR_EXISTS);
	assert_null(directory_certificate(directory, 5));
	assert_null(directory_certificate(directory, 6));
	directory_free(directory);
}

static void updates_ahead_are_bounded_but_the_missing_one_is_always_taken(void **state)
{
	struct directory *directory = directory_new();
	struct directory_update update;

	(void)state;
	for (uint32_t i = 0; i < LIMIT_DIRECTORY_AHEAD; i++) {
		update = make_update(2 + i);
		assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
	}
	update = make_update(1000);
	add_certificate(&update, make_certificate(5, 1));
	assert_int_equal(apply_and_clear(directory, &update), CPD_ERR_BUSY);
	assert_null(directory_certificate(directory, 5));
	assert_int_equal(directory_version(directory), 0);
	update = make_update(1);
	assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
	assert_int_equal(directory_version(directory), LIMIT_DIRECTORY_AHEAD + 1);
	directory_free(directory);
}

static void a_refused_update_changes_nothing(void **state)
{
	struct directory *directory = directory_new();
	struct directory_update update = make_update(1), bad = make_update(2);

	(void)state;
	add_certificate(&update, make_certificate(5, 1));
	add_group(&update, 1, 1, 10, 1, 3);
	assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
	/* Made by hand, past the decoder: the certificates are good, the groups repeat. */
	add_certificate(&bad, make_certificate(5, 2));
	add_certificate(&bad, make_certificate(6, 1));
	add_revocation(&bad, 5, 1, 0);
	add_group(&bad, 2, 1, 10, 1, 3);
	add_group(&bad, 2, 1, 10, 1, 3);
	assert_int_equal(apply_and_clear(directory, &bad), CPD_ERR_RANGE);
	assert_int_equal(directory_version(directory), 1);
	assert_int_equal(directory_latest_time_s(directory), 1001);
	assert_int_equal(directory_certificate(directory, 5)->key_number, 1);
	assert_null(directory_certificate(directory, 6));
	assert_null(directory_revocation(directory, 5, 1));
	assert_null(directory_group(directory, 2, 0));
	assert_non_null(directory_by_transport_key(directory, directory_certificate(directory, 5)->transport_key));
	directory_free(directory);
}

static enum cpd_error apply_and_look(struct directory *directory, const struct directory_update *update)
{
	enum cpd_error error = directory_apply(directory, update);

	if (error) {
		assert_int_equal(directory_version(directory), 1);
		assert_string_equal(directory_certificate(directory, 5)->name, "NSP 5");
		assert_null(directory_certificate(directory, 6));
		assert_null(directory_revocation(directory, 7, 1));
		assert_int_equal(directory_group(directory, 4, 0)->member_count, 3);
		assert_non_null(directory_by_transport_key(directory, directory_certificate(directory, 5)->transport_key));
	}
	return error;
}

static void a_directory_without_memory_stays_as_it_was(void **state)
{
	struct directory *directory;
	struct directory_update first = make_update(1), second = make_update(2);

	(void)state;
	if (!alloc_fault_works)
		skip();
	directory = directory_new();
	add_certificate(&first, make_certificate(5, 1));
	add_group(&first, 4, 1, 10, 1, 3);
	assert_int_equal(apply_and_clear(directory, &first), CPD_OK);
	add_certificate(&second, make_certificate(5, 1));
	strcpy(second.certificates[0].name, "nieuw");
	add_certificate(&second, make_certificate(6, 1));
	add_revocation(&second, 7, 1, 0);
	add_group(&second, 4, 1, 10, 1, 2);
	add_group(&second, 4, 2, 10, 1, 2);
	ASSERT_NOMEM_EVERYWHERE(apply_and_look(directory, &second), directory_update_clear(&second));
	assert_string_equal(directory_certificate(directory, 5)->name, "nieuw");
	assert_int_equal(directory_group(directory, 4, 1)->member_count, 2);
	directory_free(directory);
}

static void old_keys_stay_and_the_newest_is_found(void **state)
{
	struct directory *directory = directory_new();
	struct directory_update first = make_update(1), second = make_update(2);

	(void)state;
	add_certificate(&second, make_certificate(5, 2));
	add_certificate(&second, make_certificate(UINT32_MAX, 1));
	add_certificate(&first, make_certificate(5, 1));
	add_certificate(&first, make_certificate(9, 1));
	/* The newer key comes first. */
	assert_int_equal(apply_and_clear(directory, &second), CPD_OK);
	assert_int_equal(apply_and_clear(directory, &first), CPD_OK);
	assert_int_equal(directory_certificate(directory, 5)->key_number, 2);
	assert_int_equal(directory_certificate_key(directory, 5, 1)->key_number, 1);
	assert_int_equal(directory_certificate_key(directory, 5, 2)->key_number, 2);
	assert_null(directory_certificate_key(directory, 5, 3));
	assert_null(directory_certificate(directory, 6));
	assert_int_equal(directory_next(directory, 0)->node, 5);
	assert_int_equal(directory_next(directory, 0)->key_number, 2);
	assert_int_equal(directory_next(directory, 5)->node, 9);
	assert_int_equal(directory_next(directory, 9)->node, UINT32_MAX);
	assert_null(directory_next(directory, UINT32_MAX));
	directory_free(directory);
}

static void the_order_of_arrival_does_not_matter_for_one_key(void **state)
{
	(void)state;
	for (int older_first = 0; older_first < 2; older_first++) {
		struct directory *directory = directory_new();
		struct directory_update older = make_update(1), newer = make_update(2);

		add_certificate(&older, make_certificate(5, 1));
		strcpy(older.certificates[0].name, "oud");
		add_revocation(&older, 7, 1, 10);
		add_certificate(&newer, make_certificate(5, 1));
		strcpy(newer.certificates[0].name, "nieuw");
		add_revocation(&newer, 7, 1, 20);
		assert_int_equal(apply_and_clear(directory, older_first ? &older : &newer), CPD_OK);
		assert_int_equal(apply_and_clear(directory, older_first ? &newer : &older), CPD_OK);
		assert_string_equal(directory_certificate(directory, 5)->name, "nieuw");
		assert_int_equal(directory_certificate(directory, 5)->update, 2);
		assert_int_equal(directory_revocation(directory, 7, 1)->last_sequence, 20);
		directory_free(directory);
	}
}

static void a_transport_key_is_known_while_newest_and_not_revoked(void **state)
{
	struct directory *directory = directory_new();
	struct certificate old = make_certificate(5, 1), new = make_certificate(5, 2);
	struct directory_update update = make_update(1);

	(void)state;
	assert_null(directory_by_transport_key(directory, old.transport_key));
	add_certificate(&update, old);
	assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
	assert_int_equal(directory_by_transport_key(directory, old.transport_key)->key_number, 1);
	update = make_update(2);
	add_certificate(&update, new);
	assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
	assert_null(directory_by_transport_key(directory, old.transport_key));
	assert_int_equal(directory_by_transport_key(directory, new.transport_key)->key_number, 2);
	update = make_update(3);
	add_revocation(&update, 5, 2, 0);
	assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
	assert_null(directory_by_transport_key(directory, new.transport_key));
	assert_int_equal(directory_by_transport_key(directory, old.transport_key)->key_number, 1);
	update = make_update(4);
	add_revocation(&update, 5, 1, 0);
	assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
	assert_null(directory_by_transport_key(directory, old.transport_key));
	/* Revoked certificates stay, for the messages they signed. */
	assert_non_null(directory_certificate_key(directory, 5, 1));
	assert_non_null(directory_revocation(directory, 5, 1));
	assert_null(directory_revocation(directory, 5, 3));
	directory_free(directory);
}

static void every_version_of_a_group_is_kept(void **state)
{
	struct directory *directory = directory_new();
	struct directory_update update = make_update(1);

	(void)state;
	add_group(&update, 4, 2, 10, 1, 2);
	add_group(&update, 4, 1, 10, 1, 1);
	add_group(&update, 8, 1, 30, 1, 1);
	assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
	update = make_update(2);
	add_group(&update, 4, 3, 10, 1, 3);
	assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
	for (uint32_t version = 1; version <= 3; version++)
		assert_int_equal(directory_group(directory, 4, version)->member_count, version);
	assert_int_equal(directory_group(directory, 4, 0)->version, 3);
	assert_null(directory_group(directory, 4, 4));
	assert_null(directory_group(directory, 5, 0));
	assert_int_equal(directory_next_group(directory, 0)->version, 3);
	assert_int_equal(directory_next_group(directory, 4)->number, 8);
	assert_null(directory_next_group(directory, 8));
	directory_free(directory);
}

static void recipients_are_the_union_ascending_and_once(void **state)
{
	struct directory *directory = directory_new();
	struct directory_update update = make_update(1);
	static const uint32_t expected[] = { 3, 10, 12, 14, 15, 16, 20, 99 };
	uint32_t out[LIMIT_RECIPIENTS];
	struct header header = { 0 };
	size_t count;

	(void)state;
	add_group(&update, 4, 1, 10, 2, 4); /* 10 12 14 16 */
	add_group(&update, 5, 1, 10, 5, 3); /* 10 15 20 */
	assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
	header.nodes[0] = 99;
	header.nodes[1] = 3;
	header.nodes[2] = 16;
	header.nodes[3] = 99;
	header.node_count = 4;
	header.groups[0] = (struct group_ref){ 5, 1 };
	header.groups[1] = (struct group_ref){ 4, 1 };
	header.group_count = 2;
	assert_int_equal(directory_recipients(directory, &header, out, &count), CPD_OK);
	assert_int_equal(count, 8);
	assert_memory_equal(out, expected, sizeof(expected));
	header.groups[1].version = 2;
	assert_int_equal(directory_recipients(directory, &header, out, &count), CPD_ERR_UNKNOWN_GROUP);
	assert_int_equal(count, 0);
	header.groups[1].version = 0;
	assert_int_equal(directory_recipients(directory, &header, out, &count), CPD_ERR_UNKNOWN_GROUP);
	header.group_count = header.node_count = 0;
	assert_int_equal(directory_recipients(directory, &header, out, &count), CPD_OK);
	assert_int_equal(count, 0);
	directory_free(directory);
}

static void too_many_recipients_are_refused_not_cut(void **state)
{
	struct directory *directory = directory_new();
	struct directory_update update = make_update(1);
	uint32_t out[LIMIT_RECIPIENTS];
	struct header header = { .group_count = LIMIT_DESTINATION_GROUPS };
	size_t count;

	(void)state;
	for (uint32_t i = 0; i < LIMIT_DESTINATION_GROUPS; i++) {
		add_group(&update, 1 + i, 1, 1000, 1, LIMIT_GROUP_MEMBERS);
		header.groups[i] = (struct group_ref){ 1 + i, 1 };
	}
	assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
	assert_int_equal(directory_recipients(directory, &header, out, &count), CPD_OK);
	assert_int_equal(count, LIMIT_RECIPIENTS);
	header.nodes[0] = 5;
	header.node_count = 1;
	assert_int_equal(directory_recipients(directory, &header, out, &count), CPD_ERR_TOO_LARGE);
	assert_int_equal(count, 0);
	directory_free(directory);
}

static void a_certificate_allows_its_kinds_or_those_of_its_role(void **state)
{
	struct certificate certificate = make_certificate(5, 1);

	(void)state;
	for (size_t i = 0; kind_at(i); i++) {
		const struct kind *kind = kind_at(i);

		for (unsigned role = ROLE_ID_NSP; role <= ROLE_ID_PARTNER; role++) {
			certificate.role = (enum node_role)role;
			assert_int_equal(certificate_allows(&certificate, kind->number), (kind->from_roles & ROLE_BIT(role)) != 0);
		}
	}
	certificate.role = ROLE_ID_NSP;
	assert_false(certificate_allows(&certificate, CPD__KIND__KIND_INSTRUCTION));
	assert_true(certificate_allows(&certificate, CPD__KIND__KIND_EMERGENCY_CALL));
	assert_true(certificate_allows(&certificate, 60000));
	certificate.kinds[0] = CPD__KIND__KIND_INSTRUCTION;
	certificate.kind_count = 1;
	assert_true(certificate_allows(&certificate, CPD__KIND__KIND_INSTRUCTION));
	assert_false(certificate_allows(&certificate, CPD__KIND__KIND_EMERGENCY_CALL));
	assert_false(certificate_allows(&certificate, 60000));
}

static void a_nation_of_nodes_is_held_and_found(void **state)
{
	struct directory *directory = directory_new();
	uint32_t node = 0;
	size_t seen = 0;

	(void)state;
	for (uint32_t number = 1; number <= 90; number++) {
		struct directory_update update = make_update(number);

		for (uint32_t i = 0; i < 50; i++)
			add_certificate(&update, make_certificate(1 + (number * 50 + i) * 7919u % 1000003u, 1));
		assert_int_equal(apply_and_clear(directory, &update), CPD_OK);
	}
	for (const struct certificate *certificate = directory_next(directory, 0); certificate;
	    certificate = directory_next(directory, node)) {
		assert_true(certificate->node > node);
		assert_ptr_equal(directory_by_transport_key(directory, certificate->transport_key), certificate);
		node = certificate->node;
		seen++;
	}
	assert_int_equal(seen, 4500);
	directory_free(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_update_comes_back_as_it_was_written),
		cmocka_unit_test(a_certificate_fits_an_introduction),
		cmocka_unit_test(a_role_of_a_later_version_is_kept),
		cmocka_unit_test(each_field_out_of_bounds_is_refused),
		cmocka_unit_test(bad_bytes_from_the_wire_are_refused),
		cmocka_unit_test(cut_and_changed_updates_never_harm),
		cmocka_unit_test(the_fullest_updates_fit_and_no_fuller_ones_pass),
		cmocka_unit_test(an_update_is_read_and_written_whole_or_not_when_memory_runs_out),
		cmocka_unit_test(a_directory_without_memory_stays_as_it_was),
		cmocka_unit_test(updates_may_come_in_any_order),
		cmocka_unit_test(the_same_number_twice_changes_nothing),
		cmocka_unit_test(updates_ahead_are_bounded_but_the_missing_one_is_always_taken),
		cmocka_unit_test(a_refused_update_changes_nothing),
		cmocka_unit_test(old_keys_stay_and_the_newest_is_found),
		cmocka_unit_test(the_order_of_arrival_does_not_matter_for_one_key),
		cmocka_unit_test(a_transport_key_is_known_while_newest_and_not_revoked),
		cmocka_unit_test(every_version_of_a_group_is_kept),
		cmocka_unit_test(recipients_are_the_union_ascending_and_once),
		cmocka_unit_test(too_many_recipients_are_refused_not_cut),
		cmocka_unit_test(a_certificate_allows_its_kinds_or_those_of_its_role),
		cmocka_unit_test(a_nation_of_nodes_is_held_and_found),
	};

	return RUN_FED_AND_HUNGRY(tests);
}
