/* test_vault.c: crypto/vault.h: what is wrapped opens in its place as long as the key of its period is there, and never after. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/vault.h"
#include "test/unit/scratch.h"

static const uint8_t words[] = "J. de Wit, 06 12345678";
static const struct slice content = { words, sizeof(words) };
static const struct slice place = { (const uint8_t *)"344003/1/1", 10 }, elsewhere = { (const uint8_t *)"344003/1/2", 10 };

static struct vault *vault_at(const char *dir)
{
	struct vault *vault;

	assert_int_equal(vault_open(dir, &vault), CPD_OK);
	return vault;
}

static struct slice wrap(struct vault *vault, uint32_t period)
{
	struct slice wrapped;
	uint8_t *bytes;

	assert_int_equal(vault_wrap(vault, period, place, content, &bytes, &wrapped.len), CPD_OK);
	wrapped.data = bytes;
	return wrapped;
}

static enum cpd_error opens(struct vault *vault, struct slice where, struct slice wrapped)
{
	uint8_t *bytes;
	size_t len;
	enum cpd_error error = vault_unwrap(vault, where, wrapped, &bytes, &len);

	if (error) {
		assert_null(bytes);
		return error;
	}
	assert_int_equal(len, content.len);
	assert_memory_equal(bytes, content.data, len);
	free(bytes);
	return CPD_OK;
}

static void drop(struct slice wrapped)
{
	free((void *)(uintptr_t)wrapped.data);
}

static void what_is_wrapped_opens_also_after_a_restart(void **state)
{
	struct vault *vault = vault_at("periods");
	struct slice wrapped = wrap(vault, 7);
	struct stat info;

	(void)state;
	assert_true(vault_is_wrapped(wrapped));
	assert_int_equal(vault_period_of(wrapped), 7);
	assert_int_equal(wrapped.len, content.len + VAULT_EXTRA);
	assert_int_equal(opens(vault, place, wrapped), CPD_OK);
	vault_close(vault);
	vault = vault_at("periods");
	assert_int_equal(opens(vault, place, wrapped), CPD_OK);
	assert_int_equal(stat("periods", &info), 0);
	assert_int_equal(info.st_mode & 0777, 0700);
	assert_int_equal(stat("periods/7.key", &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
	drop(wrapped);
	vault_close(vault);
}

static void it_opens_in_its_place_only_and_unchanged(void **state)
{
	struct vault *vault = vault_at("periods");
	struct slice wrapped = wrap(vault, 7);
	uint8_t changed[sizeof(words) + VAULT_EXTRA];

	(void)state;
	assert_int_equal(opens(vault, elsewhere, wrapped), CPD_ERR_DAMAGED);
	for (size_t len = 0; len < wrapped.len; len++)
		assert_int_equal(opens(vault, place, (struct slice){ wrapped.data, len }), CPD_ERR_DAMAGED);
	for (size_t bit = 0; bit < 8 * wrapped.len; bit++) {
		memcpy(changed, wrapped.data, wrapped.len);
		changed[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_not_equal(opens(vault, place, (struct slice){ changed, wrapped.len }), CPD_OK);
	}
	drop(wrapped);
	vault_close(vault);
}

static void records_of_a_destroyed_period_never_open_again(void **state)
{
	struct vault *vault = vault_at("periods"), *later;
	struct slice gone = wrap(vault, 7), stays = wrap(vault, 8), anew;
	uint32_t oldest, newest, told;

	(void)state;
	assert_true(vault_periods(vault, &oldest, &newest) && oldest == 7 && newest == 8);
	assert_false(vault_destroyed(vault, &told));
	assert_int_equal(vault_destroy(vault, 7), CPD_OK);
	assert_int_equal(opens(vault, place, gone), CPD_ERR_NOT_FOUND);
	assert_int_equal(opens(vault, place, stays), CPD_OK);
	later = vault_at("periods");
	assert_int_equal(opens(later, place, gone), CPD_ERR_NOT_FOUND);
	assert_true(vault_periods(later, &oldest, &newest) && oldest == 8);
	/* The mark stays until it was told. */
	assert_true(vault_destroyed(later, &told) && told == 7);
	assert_int_equal(vault_told(later, 7), CPD_OK);
	assert_false(vault_destroyed(later, &told));
	/* A clock that was set back begins that period anew, with another key. */
	anew = wrap(later, 7);
	assert_int_equal(opens(later, place, anew), CPD_OK);
	assert_int_equal(opens(later, place, gone), CPD_ERR_DAMAGED);
	drop(gone);
	drop(stays);
	drop(anew);
	vault_close(vault);
	vault_close(later);
}

static int file_holds(const char *path, const char *text)
{
	char buf[100] = "";
	FILE *file = fopen(path, "r");
	size_t got = file ? fread(buf, 1, sizeof(buf) - 1, file) : 0;

	if (file)
		fclose(file);
	return got && strstr(buf, text) != NULL;
}

/* What the file system keeps of a file that is gone must not be the key. */
static void the_key_is_overwritten_in_place(void **state)
{
	struct vault *vault = vault_at("periods");
	char key[65] = "";
	FILE *file;

	(void)state;
	assert_int_equal(vault_prepare(vault, 7), CPD_OK);
	file = fopen("periods/7.key", "r");
	assert_int_equal(fread(key, 1, 64, file), 64);
	fclose(file);
	assert_int_equal(link("periods/7.key", "same-blocks"), 0);
	assert_true(file_holds("same-blocks", key));
	assert_int_equal(vault_destroy(vault, 7), CPD_OK);
	assert_false(file_holds("same-blocks", key));
	vault_close(vault);
}

/* The power went between the emptying and the new name. */
static void half_a_destruction_is_done_again(void **state)
{
	struct vault *vault = vault_at("periods");
	struct slice wrapped = wrap(vault, 7);
	uint32_t oldest, newest;

	(void)state;
	vault_close(vault);
	assert_int_equal(truncate("periods/7.key", 0), 0);
	vault = vault_at("periods");
	assert_int_equal(opens(vault, place, wrapped), CPD_ERR_MALFORMED);
	assert_true(vault_periods(vault, &oldest, &newest) && oldest == 7);
	assert_int_equal(vault_destroy(vault, 7), CPD_OK);
	assert_int_equal(opens(vault, place, wrapped), CPD_ERR_NOT_FOUND);
	drop(wrapped);
	vault_close(vault);
}

/* A full disk must not keep a message out: the newest key serves. */
static void without_room_for_a_key_the_newest_one_serves(void **state)
{
	struct vault *vault = vault_at("periods");
	struct slice wrapped;

	(void)state;
	assert_int_equal(vault_prepare(vault, 6), CPD_OK);
	assert_int_equal(vault_prepare(vault, 7), CPD_OK);
	/* Also root cannot make a file with that name. */
	assert_int_equal(mkdir("periods/8.key.new", 0700), 0);
	assert_int_equal(vault_prepare(vault, 8), CPD_ERR_IO);
	wrapped = wrap(vault, 8);
	assert_int_equal(vault_period_of(wrapped), 7);
	assert_int_equal(opens(vault, place, wrapped), CPD_OK);
	drop(wrapped);
	vault_close(vault);
}

static void a_key_that_others_may_read_is_refused(void **state)
{
	struct vault *vault = vault_at("periods");
	struct slice wrapped = wrap(vault, 7);

	(void)state;
	vault_close(vault);
	assert_int_equal(chmod("periods/7.key", 0640), 0);
	vault = vault_at("periods");
	assert_int_equal(opens(vault, place, wrapped), CPD_ERR_STATE);
	vault_close(vault);
	assert_int_equal(chmod("periods", 0777), 0);
	assert_int_equal(vault_open("periods", &vault), CPD_ERR_STATE);
	drop(wrapped);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(what_is_wrapped_opens_also_after_a_restart),
		WITH_FOLDER(it_opens_in_its_place_only_and_unchanged),
		WITH_FOLDER(records_of_a_destroyed_period_never_open_again),
		WITH_FOLDER(the_key_is_overwritten_in_place),
		WITH_FOLDER(half_a_destruction_is_done_again),
		WITH_FOLDER(without_room_for_a_key_the_newest_one_serves),
		WITH_FOLDER(a_key_that_others_may_read_is_refused),
	};

	if (crypto_start() != CPD_OK)
		return 1;
	return cmocka_run_group_tests_name("vault", tests, NULL, NULL);
}
