/* test_authorisation.c: who may sign what: each cell of the table of PROTOCOL.md section 8.1, with real signatures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "crypto/verify.h"
#include "crypto/region.h"
#include "proto/message.h"
#include "test/unit/kind_table.h"
#include "test/unit/persons.h"
#include "test/unit/scratch.h"

#define KIND_LATER 9000 /* of a later version */

struct world { struct authority *authority; struct identity *roles[TABLE_ROLES]; struct directory *directory; uint32_t updates; };

/* Read before the tests go into folders of their own. */
static struct table_row rows[TABLE_ROWS];
static size_t count;

static const struct region_anchor names = { .network = "nl", .region = "VR09", .name = "Utrecht" };

/* A node of each role, 1 to 4; with these kinds in its certificate, or none. */
static void certify(struct world *world, size_t role, const message_kind *kinds, size_t kind_count)
{
	struct certificate certificate = { .node = (uint32_t)role + 1, .role = (enum node_role)(ROLE_ID_NSP + role), .key_number = 1, .name = "n",
		.kind_count = kind_count };
	struct directory_update update = { .number = ++world->updates, .created_s = 1000, .certificates = &certificate, .certificate_count = 1 };

	identity_public_keys(world->roles[role], &certificate);
	memcpy(certificate.kinds, kinds, kind_count * sizeof(*kinds));
	assert_int_equal(directory_apply(world->directory, &update), CPD_OK);
}

static void world_begin(struct world *world)
{
	*world = (struct world){ .directory = directory_new() };
	assert_int_equal(authority_create("region", &names, (struct slice){ NULL, 0 }, &world->authority), CPD_OK);
	for (size_t role = 0; role < TABLE_ROLES; role++) {
		assert_int_equal(identity_create(table_roles[role], (uint32_t)role + 1, &world->roles[role]), CPD_OK);
		assert_int_equal(identity_install(world->roles[role], (uint32_t)role + 1, 1, authority_anchor(world->authority)), CPD_OK);
		certify(world, role, NULL, 0);
	}
	/* Two people at each, for what wants to be released. */
	for (uint32_t node = 1; node <= TABLE_ROLES; node++)
		for (uint32_t i = 0; i < 2; i++) {
			struct function_certificate function = function_of(2 * node + i, node, (char)('a' + i));

			person_certify(world->directory, &function);
		}
	world->updates = directory_version(world->directory);
}

static void world_end(struct world *world)
{
	for (size_t role = 0; role < TABLE_ROLES; role++)
		identity_free(world->roles[role]);
	directory_free(world->directory);
	authority_free(world->authority);
}

static enum cpd_error judged(const struct world *world, size_t role, message_kind kind)
{
	static const uint8_t body[] = { 0x0a, 3, 'h', 'o', 'i' };
	static uint8_t content[LIMIT_ENVELOPE], envelope[LIMIT_ENVELOPE];
	struct header header = { .id = { (uint32_t)role + 1, 1, 1 }, .nodes = { 99 }, .node_count = 1, .kind = kind,
		.closing_level = LEVEL_DELIVERED, .created_s = 1000, .lifetime_s = 3600, .body = { body, sizeof(body) } };
	struct message_signature signature = { .signer = (uint32_t)role + 1, .key_number = 1 };
	struct message_release releases[LIMIT_RELEASES];
	struct slice bytes = { content, 0 };
	struct verified_message verified;
	size_t len;

	assert_int_equal(message_encode_signed(&header, content, &bytes.len), CPD_OK);
	assert_int_equal(sign_bytes(world->roles[role], SIGN_MESSAGE, bytes, signature.bytes), CPD_OK);
	for (uint32_t i = 0; kind_find(kind) && i < kind_find(kind)->releases; i++)
		releases[i] = release_by(2 * header.id.origin + i, (char)('a' + i), bytes);
	assert_int_equal(message_encode_released(bytes, header.id.origin, &signature, 1, releases,
	    kind_find(kind) ? kind_find(kind)->releases : 0, envelope, &len), CPD_OK);
	return verify_message(world->directory, "nl", (struct slice){ envelope, len }, &verified);
}

static void every_cell_of_who_may_sign_is_what_the_table_says(void **state)
{
	size_t allowed = 0, refused = 0;
	struct world world;

	(void)state;
	world_begin(&world);
	for (size_t i = 0; i < count; i++)
		for (size_t role = 0; role < TABLE_ROLES; role++) {
			bool may = table_names(rows[i].from, role);
			enum cpd_error error = judged(&world, role, rows[i].number);

			if (error != (may ? CPD_OK : CPD_ERR_ROLE))
				fail_msg("%s signed by a %s: %s", rows[i].name, table_roles[role], cpd_error_text(error));
			allowed += may;
			refused += !may;
		}
	assert_int_equal(allowed + refused, 27 * TABLE_ROLES);
	assert_true(refused > 20 && allowed > 20);
	world_end(&world);
}

static void a_kind_of_a_later_version_is_taken_from_any_role(void **state)
{
	struct world world;

	(void)state;
	world_begin(&world);
	for (size_t role = 0; role < TABLE_ROLES; role++)
		assert_int_equal(judged(&world, role, KIND_LATER), CPD_OK);
	world_end(&world);
}

/* What the region writes into a certificate decides alone, to either side. */
static void the_kinds_of_the_certificate_overrule_the_role(void **state)
{
	struct world world;

	(void)state;
	world_begin(&world);
	for (size_t i = 0; i < count; i++)
		for (size_t role = 0; role < TABLE_ROLES; role++) {
			const message_kind other = rows[(i + 1) % count].number;

			certify(&world, role, &rows[i].number, 1);
			if (judged(&world, role, rows[i].number) || judged(&world, role, other) != CPD_ERR_ROLE || judged(&world, role, KIND_LATER) != CPD_ERR_ROLE)
				fail_msg("%s alone in the certificate of a %s", rows[i].name, table_roles[role]);
		}
	world_end(&world);
}

static const char *life_text(uint32_t life_s, char *buf, size_t size)
{
	snprintf(buf, size, life_s % 86400 ? "%u h" : "%u d", life_s % 86400 ? life_s / 3600 : life_s / 86400);
	return buf;
}

static void the_table_of_the_code_is_the_table_of_the_protocol(void **state)
{
	char life[16];

	(void)state;
	for (size_t i = 0; i < count; i++) {
		const struct table_row *row = &rows[i];
		const struct kind *kind = kind_find(row->number);

		if (!kind || strcmp(kind->name, row->name) || strcmp(kind->dutch, row->dutch) || strcmp(precedence_name(kind->precedence), row->precedence) ||
		    strcmp(life_text(kind->lifetime_s, life, sizeof(life)), row->life) || strcmp(level_name(kind->closing_level), row->closes) ||
		    kind->is_state != !strcmp(row->state, "yes") || kind->has_body != row->has_body)
			fail_msg("%u %s is another in the code", row->number, row->name);
		for (size_t role = 0; role < TABLE_ROLES; role++)
			if (table_names(row->from, role) != !!(kind->from_roles & ROLE_BIT(ROLE_ID_NSP + role)) ||
			    table_names(row->to, role) != !!(kind->to_roles & ROLE_BIT(ROLE_ID_NSP + role)))
				fail_msg("%s and a %s", row->name, table_roles[role]);
	}
	assert_non_null(kind_at(count - 1));
	assert_null(kind_at(count));
}

#define WITH_FOLDER(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(every_cell_of_who_may_sign_is_what_the_table_says),
		WITH_FOLDER(a_kind_of_a_later_version_is_taken_from_any_role),
		WITH_FOLDER(the_kinds_of_the_certificate_overrule_the_role),
		cmocka_unit_test(the_table_of_the_code_is_the_table_of_the_protocol),
	};

	if (crypto_start())
		return 1;
	count = table_read(rows);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
