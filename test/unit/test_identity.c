/* test_identity.c: crypto/identity.h: key files are whole or refused, private or refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sodium.h>

#include "crypto/identity.h"
#include "crypto/sign.h"
#include "crypto/verify.h"
#include "test/unit/scratch.h"
#include "test/unit/hungry_crypto.h"

static struct region_anchor test_anchor(void)
{
	struct region_anchor anchor = { .network = "nl", .region = "VR09", .name = "Utrecht" };
	uint8_t seed[32] = { 7 }, secret[64];

	crypto_sign_seed_keypair(anchor.authority_key, secret, seed);
	return anchor;
}

static struct identity *create(const char *dir)
{
	struct identity *identity;

	assert_int_equal(identity_create(dir, 344003, &identity), CPD_OK);
	return identity;
}

static void create_and_free(const char *dir)
{
	identity_free(create(dir));
}

static enum cpd_error load_error(const char *dir)
{
	struct identity *identity = (struct identity *)(uintptr_t)1;
	const char *problem = NULL;
	enum cpd_error error = identity_load(dir, &identity, &problem);

	if (error == CPD_OK)
		identity_free(identity);
	else
		assert_null(identity);
	assert_non_null(problem);
	return error;
}

/* ---------------------------------------------------------------- tests */

static void a_created_identity_loads_with_the_same_keys(void **state)
{
	const char *dir = "id";
	struct identity *made = create(dir), *loaded;
	struct certificate a = { 0 }, b = { 0 };
	const char *problem;

	(void)state;
	assert_int_equal(identity_load(dir, &loaded, &problem), CPD_OK);
	identity_public_keys(made, &a);
	identity_public_keys(loaded, &b);
	assert_memory_equal(a.signing_key, b.signing_key, 32);
	assert_memory_equal(a.sealing_key, b.sealing_key, 32);
	assert_memory_equal(a.transport_key, b.transport_key, 32);
	assert_memory_not_equal(a.sealing_key, a.transport_key, 32);
	assert_int_equal(identity_node(loaded), 344003);
	assert_int_equal(identity_epoch(loaded), 0);
	assert_int_equal(identity_key_number(loaded), 1);
	assert_null(identity_anchor(loaded));
	identity_free(made);
	identity_free(loaded);
	identity_free(NULL);
}

static void two_identities_have_different_keys(void **state)
{
	struct certificate a = { 0 }, b = { 0 };
	struct identity *one = create("a"), *two = create("b");

	(void)state;
	identity_public_keys(one, &a);
	identity_public_keys(two, &b);
	assert_memory_not_equal(a.signing_key, b.signing_key, 32);
	assert_memory_not_equal(a.sealing_key, b.sealing_key, 32);
	assert_memory_not_equal(a.transport_key, b.transport_key, 32);
	identity_free(one);
	identity_free(two);
}

static void transport_keys_are_a_curve_pair(void **state)
{
	struct identity *identity = create("id");
	uint8_t public_key[32], secret_key[32], product[32];
	struct certificate own = { 0 };

	(void)state;
	identity_transport_keys(identity, public_key, secret_key);
	identity_public_keys(identity, &own);
	crypto_scalarmult_base(product, secret_key);
	assert_memory_equal(product, public_key, 32);
	assert_memory_equal(own.transport_key, public_key, 32);
	identity_free(identity);
}

static void every_secret_is_private_from_its_first_byte(void **state)
{
	static const char *const names[] = { "signing.key", "sealing.key", "transport.key", "epoch", "node" };
	const char *dir = "id";
	mode_t before = umask(0);
	struct stat info;

	(void)state;
	create_and_free(dir);
	umask(before);
	assert_int_equal(stat(dir, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0700);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(stat(in(dir, names[i]), &info), 0);
		assert_int_equal(info.st_mode & 0777, 0600);
		assert_int_not_equal(access(in(dir, "signing.key.new"), F_OK), 0);
	}
}

static void keys_are_never_made_over_existing_ones(void **state)
{
	const char *dir = "id";
	char before[128], after[128];
	struct identity *identity;

	(void)state;
	create_and_free(dir);
	read_file(in(dir, "signing.key"), before, sizeof(before));
	assert_int_equal(identity_create(dir, 5, &identity), CPD_ERR_EXISTS);
	assert_null(identity);
	assert_non_null(strstr(crypto_problem(), "signing.key"));
	read_file(in(dir, "signing.key"), after, sizeof(after));
	assert_string_equal(before, after);
}

static void a_creation_cut_off_half_way_is_done_again(void **state)
{
	const char *dir = "id";
	struct identity *identity;

	(void)state;
	create_and_free(dir);
	/* As after a power cut: all but the last file, and a temporary one half written. */
	assert_int_equal(unlink(in(dir, "signing.key")), 0);
	write_file(in(dir, "signing.key.new"), "0123", 4);
	assert_int_equal(load_error(dir), CPD_ERR_NOT_FOUND);
	assert_int_equal(identity_create(dir, 344003, &identity), CPD_OK);
	identity_free(identity);
	assert_int_equal(load_error(dir), CPD_OK);
}

static void an_empty_folder_is_no_identity(void **state)
{
	(void)state;
	assert_int_equal(load_error("."), CPD_ERR_NOT_FOUND);
	assert_int_equal(load_error("nowhere"), CPD_ERR_NOT_FOUND);
}

static void a_key_that_others_may_read_is_refused_with_the_cure(void **state)
{
	static const char *const names[] = { "signing.key", "sealing.key", "transport.key" };
	static const mode_t modes[] = { 0640, 0604, 0620, 0601 };
	const char *dir = "id";

	(void)state;
	create_and_free(dir);
	for (size_t i = 0; i < 3; i++) {
		for (size_t m = 0; m < 4; m++) {
			assert_int_equal(chmod(in(dir, names[i]), modes[m]), 0);
			assert_int_equal(load_error(dir), CPD_ERR_STATE);
			assert_non_null(strstr(crypto_problem(), names[i]));
			assert_non_null(strstr(crypto_problem(), "chmod 600"));
		}
		assert_int_equal(chmod(in(dir, names[i]), 0600), 0);
	}
	assert_int_equal(load_error(dir), CPD_OK);
}

static void a_folder_that_others_may_write_is_refused(void **state)
{
	const char *dir = "id";

	(void)state;
	create_and_free(dir);
	assert_int_equal(chmod(dir, 0770), 0);
	assert_int_equal(load_error(dir), CPD_ERR_STATE);
	assert_non_null(strstr(crypto_problem(), "chmod 700"));
	assert_int_equal(chmod(dir, 0700), 0);
}

static void a_folder_of_another_user_is_refused(void **state)
{
	const char *dir = "id";

	(void)state;
	create_and_free(dir);
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(".", 0755), 0);
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(chown(dir, 1, 1), 0);
	assert_int_equal(seteuid(2), 0);
	assert_int_equal(load_error(dir), CPD_ERR_STATE);
	assert_int_equal(seteuid(0), 0);
	assert_non_null(strstr(crypto_problem(), "belongs to user 1"));
	assert_non_null(strstr(crypto_problem(), "chown -R 2"));
	/* Its own folder, and another's keys in it: the cure stands there too. */
	assert_int_equal(chown(dir, 2, 2), 0);
	assert_int_equal(seteuid(2), 0);
	assert_int_equal(load_error(dir), CPD_ERR_IO);
	assert_int_equal(seteuid(0), 0);
	assert_non_null(strstr(crypto_problem(), "chown -R"));
}

static void move_key(const char *name, const char *to)
{
	assert_int_equal(rename(in("id", name), to), 0);
	assert_int_equal(chmod(to, 0440), 0);           /* an access list shows so */
}

static void keys_may_come_from_credentials_and_from_nowhere_else(void **state)
{
	struct identity *identity = create("id"), *again;
	struct certificate a = { .node = 0 }, b = { .node = 0 };

	(void)state;
	identity_public_keys(identity, &a);
	identity_free(identity);
	assert_int_equal(mkdir("given", 0700), 0);
	/* Others' credentials are not ours. */
	assert_false(identity_in_credentials(NULL));
	assert_false(identity_in_credentials("given"));
	assert_int_equal(identity_load_with("id", "given", &again, NULL), CPD_OK);
	assert_true(identity_is_locked(again));
	identity_free(again);
	assert_true(identity_has_open_keys("id"));
	move_key("signing.key", "given/cpd.signing.key");
	assert_true(identity_in_credentials("given"));
	/* Two places are never mixed into one identity. */
	assert_int_equal(identity_load_with("id", "given", &again, NULL), CPD_ERR_MALFORMED);
	assert_null(again);
	move_key("sealing.key", "given/cpd.sealing.key");
	assert_true(identity_has_open_keys("id"));
	move_key("transport.key", "given/cpd.transport.key");
	assert_false(identity_has_open_keys("id"));
	assert_int_equal(identity_load_with("id", "given", &again, NULL), CPD_OK);
	identity_public_keys(again, &b);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(identity_set_epoch(again, 3), CPD_OK);
	identity_free(again);
	assert_int_equal(load_error("id"), CPD_ERR_NOT_FOUND);
	assert_int_equal(chmod("given/cpd.sealing.key", 0444), 0);
	assert_int_equal(identity_load_with("id", "given", &again, NULL), CPD_ERR_STATE);
	assert_non_null(strstr(crypto_problem(), "cpd.sealing.key"));
}

/* Every length of every file but the whole one; and other text than was written. */
static void half_written_or_garbage_files_are_refused_by_name(void **state)
{
	static const char *const names[] = { "signing.key", "sealing.key", "transport.key", "epoch", "node", "region.pub" };
	static const char *const garbage[] = { "", "\n", "zz\n", "-1\n", "01\n", "0\n", "1 \n", "99999999999\n", "1 0\n", "0 1 2\n" };
	struct region_anchor anchor = test_anchor();
	const char *dir = "id";
	char whole[1024];
	struct identity *identity;

	(void)state;
	identity = create(dir);
	assert_int_equal(identity_install(identity, 344003, 2, &anchor), CPD_OK);
	identity_free(identity);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *path = in(dir, names[i]);
		size_t len = read_file(path, whole, sizeof(whole));

		for (size_t cut = 0; cut < len; cut++) {
			write_file(path, whole, cut);
			assert_int_equal(load_error(dir), CPD_ERR_MALFORMED);
			assert_non_null(strstr(crypto_problem(), names[i]));
		}
		for (size_t g = 0; g < sizeof(garbage) / sizeof(garbage[0]); g++) {
			if (!strcmp(names[i], "epoch") && !strcmp(garbage[g], "0\n"))
				continue; /* what a folder says that no store has used */
			write_file(path, garbage[g], strlen(garbage[g]));
			assert_int_equal(load_error(dir), CPD_ERR_MALFORMED);
		}
		whole[len] = '\n'; /* one byte more than the whole */
		write_file(path, whole, len + 1);
		assert_int_equal(load_error(dir), CPD_ERR_MALFORMED);
		write_file(path, whole, len);
		assert_int_equal(load_error(dir), CPD_OK);
	}
}

static void a_missing_companion_of_the_keys_is_damage(void **state)
{
	static const char *const names[] = { "sealing.key", "transport.key", "epoch", "node" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *dir = names[i]; /* a folder of its own for each */

		create_and_free(dir);
		assert_int_equal(unlink(in(dir, names[i])), 0);
		assert_int_equal(load_error(dir), CPD_ERR_MALFORMED);
		assert_non_null(strstr(crypto_problem(), names[i]));
	}
}

static void no_secret_stands_in_a_problem(void **state)
{
	const char *dir = "id";
	char text[128];

	(void)state;
	create_and_free(dir);
	read_file(in(dir, "signing.key"), text, sizeof(text));
	text[40] = 'x';
	write_file(in(dir, "signing.key"), text, strlen(text));
	assert_int_equal(load_error(dir), CPD_ERR_MALFORMED);
	text[8] = '\0';
	assert_null(strstr(crypto_problem(), text));
}

static void the_epoch_rises_on_disk_and_never_falls(void **state)
{
	const char *dir = "id";
	struct identity *identity = create(dir), *again;
	const char *problem;

	(void)state;
	assert_int_equal(identity_set_epoch(identity, 7), CPD_OK);
	assert_int_equal(identity_epoch(identity), 7);
	assert_int_equal(identity_set_epoch(identity, 6), CPD_ERR_STATE);
	assert_int_equal(identity_epoch(identity), 7);
	assert_int_equal(identity_set_epoch(identity, 7), CPD_OK);
	assert_int_equal(identity_load(dir, &again, &problem), CPD_OK);
	assert_int_equal(identity_epoch(again), 7);
	assert_int_equal(identity_set_epoch(again, UINT32_MAX), CPD_OK);
	identity_free(again);
	assert_int_equal(identity_load(dir, &again, &problem), CPD_OK);
	assert_int_equal(identity_epoch(again), UINT32_MAX);
	identity_free(again);
	identity_free(identity);
}

/* What cannot be written must not be used: an epoch that the next start does not know repeats ids. */
static void an_epoch_that_cannot_be_written_is_not_taken(void **state)
{
	const char *dir = "id";
	struct identity *identity;

	(void)state;
	identity = create(dir);
	assert_int_equal(mkdir(in(dir, "epoch.new"), 0700), 0);
	assert_int_equal(identity_set_epoch(identity, 2), CPD_ERR_IO);
	assert_int_equal(identity_epoch(identity), 0);
	assert_non_null(strstr(crypto_problem(), "epoch"));
	assert_int_equal(rmdir(in(dir, "epoch.new")), 0);
	assert_int_equal(identity_set_epoch(identity, 2), CPD_OK);
	identity_free(identity);
}

static void an_installed_identity_knows_number_key_and_region(void **state)
{
	struct region_anchor anchor = test_anchor();
	const char *dir = "id", *problem;
	struct identity *identity = create(dir);

	(void)state;
	assert_int_equal(identity_install(identity, 0, 1, &anchor), CPD_ERR_RANGE);
	assert_int_equal(identity_install(identity, 1, 0, &anchor), CPD_ERR_RANGE);
	assert_null(identity_anchor(identity));
	assert_int_equal(identity_install(identity, 344009, 3, &anchor), CPD_OK);
	assert_int_equal(identity_node(identity), 344009);
	identity_free(identity);
	assert_int_equal(identity_load(dir, &identity, &problem), CPD_OK);
	assert_int_equal(identity_node(identity), 344009);
	assert_int_equal(identity_key_number(identity), 3);
	assert_non_null(identity_anchor(identity));
	assert_memory_equal(identity_anchor(identity), &anchor, sizeof(anchor));
	identity_free(identity);
}

/* The machine that takes a node's place must not give an id a second time, whoever it can ask. */
static void keys_that_replace_others_begin_above_all_epochs_of_those(void **state)
{
	struct region_anchor anchor = test_anchor();
	struct identity *first = create("first"), *third = create("third");

	(void)state;
	assert_int_equal(identity_install(first, 344009, 1, &anchor), CPD_OK);
	assert_int_equal(identity_epoch(first), 0);
	assert_int_equal(identity_install(third, 344009, 3, &anchor), CPD_OK);
	assert_int_equal(identity_epoch(third), 2 * IDENTITY_LIFE_EPOCHS);
	assert_int_equal(identity_set_epoch(third, 2 * IDENTITY_LIFE_EPOCHS + 1), CPD_OK);
	assert_int_equal(identity_install(third, 344009, 3, &anchor), CPD_OK);
	assert_int_equal(identity_epoch(third), 2 * IDENTITY_LIFE_EPOCHS + 1);
	identity_free(first);
	identity_free(third);
}

static void a_copy_is_the_same_node_in_a_later_epoch(void **state)
{
	struct region_anchor anchor = test_anchor();
	struct identity *identity = create("id"), *copy, *again;
	struct certificate a = { .node = 0 }, b = { .node = 0 };

	(void)state;
	assert_int_equal(identity_install(identity, 344003, 1, &anchor), CPD_OK);
	assert_int_equal(identity_set_epoch(identity, 7), CPD_OK);
	assert_int_equal(chmod(in("id", "signing.key"), 0644), 0);   /* as a stick gives it */
	assert_int_equal(identity_load_copy("id", &copy), CPD_OK);
	assert_int_equal(identity_put(copy, "id"), CPD_ERR_EXISTS);
	assert_int_equal(identity_put(copy, "new"), CPD_OK);
	identity_free(copy);
	assert_int_equal(load_error("new"), CPD_OK);                  /* and its files are private again */
	assert_int_equal(identity_load("new", &again, NULL), CPD_OK);
	identity_public_keys(identity, &a);
	identity_public_keys(again, &b);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(identity_node(again), 344003);
	assert_non_null(identity_anchor(again));
	assert_int_equal(identity_epoch(again), IDENTITY_LIFE_EPOCHS);
	assert_int_equal(identity_load_copy("nowhere", &copy), CPD_ERR_NOT_FOUND);
	identity_free(again);
	identity_free(identity);
}

static void anchor_survives_its_text_and_no_changed_byte(void **state)
{
	struct region_anchor anchor = test_anchor(), back;
	char text[LIMIT_ANCHOR];
	size_t len;

	(void)state;
	assert_int_equal(region_anchor_format(&anchor, text, &len), CPD_OK);
	assert_int_equal(region_anchor_parse((struct slice){ (uint8_t *)text, len }, &back), CPD_OK);
	assert_memory_equal(&back, &anchor, sizeof(anchor));
	for (size_t i = 0; i < len; i++) {
		text[i] ^= 1;
		assert_int_equal(region_anchor_parse((struct slice){ (uint8_t *)text, len }, &back), CPD_ERR_MALFORMED);
		text[i] ^= 1;
	}
}

static void anchor_with_names_that_break_lines_or_bounds_is_refused(void **state)
{
	struct region_anchor good = test_anchor(), bad;
	char text[LIMIT_ANCHOR];
	size_t len;

	(void)state;
	bad = good;
	strcpy(bad.name, "Utrecht\nregion VR13");
	assert_int_equal(region_anchor_format(&bad, text, &len), CPD_ERR_RANGE);
	bad = good;
	bad.name[0] = '\0';
	assert_int_equal(region_anchor_format(&bad, text, &len), CPD_ERR_RANGE);
	bad = good;
	strcpy(bad.name, "\xc3\x28");
	assert_int_equal(region_anchor_format(&bad, text, &len), CPD_ERR_RANGE);
	bad = good;
	strcpy(bad.network, "n l");
	assert_int_equal(region_anchor_format(&bad, text, &len), CPD_ERR_RANGE);
	bad = good;
	strcpy(bad.region, "vr09");
	assert_int_equal(region_anchor_format(&bad, text, &len), CPD_ERR_RANGE);
	/* A key of small order would let anybody sign the directory. */
	bad = good;
	memset(bad.authority_key, 0, sizeof(bad.authority_key));
	assert_int_equal(region_anchor_format(&bad, text, &len), CPD_ERR_RANGE);
	/* The longest of everything fits its bound. */
	memset(good.network, 'n', LIMIT_NETWORK);
	memset(good.region, 'V', sizeof(good.region) - 1);
	memset(good.name, 'x', LIMIT_NAME);
	assert_int_equal(region_anchor_format(&good, text, &len), CPD_OK);
	assert_int_equal(region_anchor_parse((struct slice){ (uint8_t *)text, len }, &bad), CPD_OK);
}

static size_t backup_write(const char *path, const struct backup_head *head, size_t data_len)
{
	uint8_t text[BACKUP_HEAD_MAX], tail[BACKUP_TAIL], data[600];
	struct backup_sum *sum;
	size_t len;
	int fd;

	memset(data, 7, sizeof(data));
	assert_true(data_len <= sizeof(data));
	sum = backup_begin(head, text, &len);
	assert_non_null(sum);
	backup_add(sum, data, data_len);
	backup_end(sum, tail);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	assert_int_equal(write(fd, data, data_len), data_len);
	assert_int_equal(write(fd, tail, sizeof(tail)), sizeof(tail));
	assert_int_equal(close(fd), 0);
	return len;
}

static void a_backup_is_proved_whole(void **state)
{
	const struct backup_head head = { .network = "nl", .region = "VR09", .node = 344003, .epoch = 2, .schema = 2, .made = "2026-11-25T18:00:00Z",
		.version = "0.2.0" };
	struct backup_head read_head;
	size_t head_len = backup_write("copy", &head, 600);
	uint64_t at, len;
	int fd = open("copy", O_RDWR);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(backup_prove(fd, &read_head, &at, &len, NULL, NULL), CPD_OK);
	assert_int_equal(at, head_len);
	assert_int_equal(len, 600);
	assert_int_equal(read_head.node, 344003);
	assert_int_equal(pwrite(fd, "x", 1, (off_t)at + 300), 1);
	assert_int_equal(backup_prove(fd, &read_head, &at, &len, NULL, NULL), CPD_ERR_DAMAGED);
	assert_int_equal(ftruncate(fd, (off_t)head_len + 20), 0);
	assert_int_equal(backup_prove(fd, &read_head, &at, &len, NULL, NULL), CPD_ERR_DAMAGED);
	assert_int_equal(close(fd), 0);
}

static void authority_is_made_once_and_loads_again(void **state)
{
	struct region_anchor names = test_anchor();
	const char *dir = "authority";
	struct authority *made, *loaded;
	struct slice bytes = { (const uint8_t *)"x", 1 };
	uint8_t signature[64];

	(void)state;
	assert_int_equal(authority_create(dir, &names, (struct slice){ NULL, 0 }, &made), CPD_OK);
	assert_memory_not_equal(authority_anchor(made)->authority_key, names.authority_key, 32);
	assert_int_equal(authority_create(dir, &names, (struct slice){ NULL, 0 }, &loaded), CPD_ERR_EXISTS);
	assert_null(loaded);
	assert_int_equal(authority_load(dir, (struct slice){ NULL, 0 }, &loaded), CPD_OK);
	assert_memory_equal(authority_anchor(loaded), authority_anchor(made), sizeof(struct region_anchor));
	assert_int_equal(authority_sign(loaded, SIGN_DIRECTORY, bytes, signature), CPD_OK);
	assert_true(verify_bytes(authority_anchor(made)->authority_key, SIGN_DIRECTORY, "nl", bytes, signature));
	authority_free(made);
	authority_free(loaded);
	authority_free(NULL);
}

static void authority_that_is_damaged_or_open_is_refused(void **state)
{
	struct region_anchor names = test_anchor();
	const char *dir = "authority", *other = "other";
	char text[1024];
	struct authority *authority;
	size_t len;

	(void)state;
	assert_int_equal(authority_create(dir, &names, (struct slice){ NULL, 0 }, &authority), CPD_OK);
	authority_free(authority);
	assert_int_equal(chmod(in(dir, "authority.key"), 0644), 0);
	assert_int_equal(authority_load(dir, (struct slice){ NULL, 0 }, &authority), CPD_ERR_STATE);
	assert_int_equal(chmod(in(dir, "authority.key"), 0600), 0);
	/* The anchor of another region beside our key: every update would be refused everywhere. */
	assert_int_equal(authority_create(other, &names, (struct slice){ NULL, 0 }, &authority), CPD_OK);
	authority_free(authority);
	len = read_file(in(other, "region.pub"), text, sizeof(text));
	write_file(in(dir, "region.pub"), text, len);
	assert_int_equal(authority_load(dir, (struct slice){ NULL, 0 }, &authority), CPD_ERR_MALFORMED);
	assert_null(authority);
}

/* ---------------------------------------------------------------- an authority's key behind a passphrase */

#define PHRASE(text) (struct slice){ (const uint8_t *)(text), sizeof(text) - 1 }

static void a_sealed_authority_opens_with_its_passphrase_only(void **state)
{
	struct region_anchor names = test_anchor();
	const char *dir = "authority";
	struct authority *made, *loaded;
	uint8_t first[64], second[64];
	struct slice bytes = PHRASE("x");
	char text[1024];
	size_t len;

	(void)state;
	assert_int_equal(authority_create(dir, &names, PHRASE("paard batterij nietje juist"), &made), CPD_OK);
	assert_true(authority_is_sealed(dir));
	len = read_file(in(dir, "authority.key"), text, sizeof(text));
	assert_true(len > 100 && !strncmp(text, "cpd-sealed-key 1 argon2id 3 268435456\n", 38));
	assert_int_equal(authority_load(dir, PHRASE("paard batterij nietje Juist"), &loaded), CPD_ERR_BAD_SIGNATURE);
	assert_null(loaded);
	assert_non_null(strstr(crypto_problem(), "does not open"));
	assert_int_equal(authority_load(dir, (struct slice){ NULL, 0 }, &loaded), CPD_ERR_BAD_SIGNATURE);
	assert_int_equal(authority_load(dir, PHRASE("paard batterij nietje juist"), &loaded), CPD_OK);
	assert_int_equal(authority_sign(made, SIGN_DIRECTORY, bytes, first), CPD_OK);
	assert_int_equal(authority_sign(loaded, SIGN_DIRECTORY, bytes, second), CPD_OK);
	assert_memory_equal(first, second, sizeof(first));
	/* another one, and the old one is none any more */
	assert_int_equal(authority_seal(dir, loaded, PHRASE("een heel ander gezegde")), CPD_OK);
	authority_free(loaded);
	assert_int_equal(authority_load(dir, PHRASE("paard batterij nietje juist"), &loaded), CPD_ERR_BAD_SIGNATURE);
	assert_int_equal(authority_load(dir, PHRASE("een heel ander gezegde"), &loaded), CPD_OK);
	assert_int_equal(authority_seal(dir, loaded, (struct slice){ NULL, 0 }), CPD_ERR_RANGE);
	authority_free(loaded);
	authority_free(made);
}

/* Nothing that stands in the file makes cpctl take memory without bound, or read past its end. */
static void a_sealed_key_that_was_changed_is_refused(void **state)
{
	static const char *const heads[] = { "cpd-sealed-key 1 argon2id 3 2147483648\n", "cpd-sealed-key 1 argon2id 17 268435456\n", "cpd-sealed-key 1 argon2id 0 268435456\n",
		"cpd-sealed-key 1 argon2id 3 1\n", "cpd-sealed-key 2 argon2id 3 268435456\n", "cpd-sealed-key 1 argon2id 03 268435456\n", "cpd-sealed-key" };
	struct region_anchor names = test_anchor();
	const char *dir = "authority";
	struct authority *authority;
	char text[1024], changed[1024];
	size_t len, head;

	(void)state;
	assert_int_equal(authority_create(dir, &names, PHRASE("paard batterij nietje juist"), &authority), CPD_OK);
	authority_free(authority);
	len = read_file(in(dir, "authority.key"), text, sizeof(text));
	head = (size_t)(strchr(text, '\n') - text) + 1;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		size_t own = strlen(heads[i]);

		memcpy(changed, heads[i], own);
		memcpy(changed + own, text + head, len - head);
		write_file(in(dir, "authority.key"), changed, own + len - head);
		assert_int_equal(authority_load(dir, PHRASE("paard batterij nietje juist"), &authority), CPD_ERR_MALFORMED);
	}
	for (size_t cut = 14; cut < len; cut += 7) {
		write_file(in(dir, "authority.key"), text, cut);
		assert_int_equal(authority_load(dir, PHRASE("paard batterij nietje juist"), &authority), CPD_ERR_MALFORMED);
	}
	text[len - 4] = text[len - 4] == '0' ? '1' : '0';
	write_file(in(dir, "authority.key"), text, len);
	assert_int_equal(authority_load(dir, PHRASE("paard batterij nietje juist"), &authority), CPD_ERR_BAD_SIGNATURE);
	assert_null(authority);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(a_created_identity_loads_with_the_same_keys),
		WITH_FOLDER(two_identities_have_different_keys),
		WITH_FOLDER(transport_keys_are_a_curve_pair),
		WITH_FOLDER(every_secret_is_private_from_its_first_byte),
		WITH_FOLDER(keys_are_never_made_over_existing_ones),
		WITH_FOLDER(a_creation_cut_off_half_way_is_done_again),
		WITH_FOLDER(an_empty_folder_is_no_identity),
		WITH_FOLDER(a_key_that_others_may_read_is_refused_with_the_cure),
		WITH_FOLDER(a_folder_that_others_may_write_is_refused),
		WITH_FOLDER(a_folder_of_another_user_is_refused),
		WITH_FOLDER(keys_may_come_from_credentials_and_from_nowhere_else),
		WITH_FOLDER(half_written_or_garbage_files_are_refused_by_name),
		WITH_FOLDER(a_missing_companion_of_the_keys_is_damage),
		WITH_FOLDER(no_secret_stands_in_a_problem),
		WITH_FOLDER(the_epoch_rises_on_disk_and_never_falls),
		WITH_FOLDER(an_epoch_that_cannot_be_written_is_not_taken),
		WITH_FOLDER(an_installed_identity_knows_number_key_and_region),
		WITH_FOLDER(keys_that_replace_others_begin_above_all_epochs_of_those),
		WITH_FOLDER(a_copy_is_the_same_node_in_a_later_epoch),
		cmocka_unit_test(anchor_survives_its_text_and_no_changed_byte),
		cmocka_unit_test(anchor_with_names_that_break_lines_or_bounds_is_refused),
		WITH_FOLDER(a_backup_is_proved_whole),
		WITH_FOLDER(authority_is_made_once_and_loads_again),
		WITH_FOLDER(authority_that_is_damaged_or_open_is_refused),
		WITH_FOLDER(a_sealed_authority_opens_with_its_passphrase_only),
		WITH_FOLDER(a_sealed_key_that_was_changed_is_refused),
	};

	if (crypto_start() != CPD_OK)
		return 1;
	return RUN_FED_AND_HUNGRY(tests);
}
