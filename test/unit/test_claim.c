/* test_claim.c: what a copy of an identity knows of itself, on disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crypto/claim.h"
#include "crypto/crypto.h"
#include "crypto/identity.h"
#include "test/unit/scratch.h"

#define HERE "00112233445566778899aabbccddeeff"
#define THERE "ffeeddccbbaa99887766554433221100"

static void make_identity(const char *dir)
{
	struct identity *identity;

	assert_int_equal(identity_create(dir, 344003, &identity), CPD_OK);
	identity_free(identity);
}

static uint64_t begin(const char *dir, const char *machine, struct claim_file *out, bool expects_move)
{
	uint64_t instance;
	bool is_moved;

	assert_int_equal(claim_begin(dir, machine, out, &instance, &is_moved), CPD_OK);
	assert_int_equal(is_moved, expects_move);
	assert_true(instance != 0);
	return instance;
}

/* As a stick brings it: new files with the old content. */
static void copy_folder(const char *from, const char *to)
{
	char command[128];

	snprintf(command, sizeof(command), "cp -a %s %s", from, to);
	assert_int_equal(system(command), 0);
}

static void each_start_is_told_apart_and_later_than_the_one_before(void **state)
{
	struct claim_file file;
	uint64_t first, second;

	(void)state;
	make_identity("a");
	first = begin("a", HERE, &file, false);
	assert_int_equal(file.claim, 1);
	second = begin("a", HERE, &file, false);
	assert_true(second > first);
	assert_int_equal(file.claim, 1);
	assert_int_equal(file.starts, 2);
}

static void a_copied_folder_and_another_machine_get_the_next_claim_once(void **state)
{
	struct claim_file file, was;

	(void)state;
	make_identity("a");
	begin("a", HERE, &file, false);
	begin("a", THERE, &file, true);                  /* the disk in another laptop */
	assert_int_equal(file.claim, 2);
	begin("a", THERE, &file, false);
	assert_int_equal(file.claim, 2);
	begin("a", "", &file, false);                    /* what is not known says nothing */
	copy_folder("a", "b");
	if (file.born_s) {
		begin("b", THERE, &file, true);
		assert_int_equal(file.claim, 3);
		begin("b", THERE, &file, false);
		assert_int_equal(file.claim, 3);
	}
	assert_int_equal(claim_read("a", &was), CPD_OK);
	assert_int_equal(was.claim, 2);
	assert_int_equal(rename("b", "c"), 0);           /* moved within a disk: the same copy */
	begin("c", THERE, &file, false);
}

static void a_fenced_copy_stays_fenced_wherever_it_is_copied(void **state)
{
	struct claim_file file;

	(void)state;
	make_identity("a");
	begin("a", HERE, &file, false);
	file.fenced_by = (struct claim){ 6, 12, 99 };
	assert_int_equal(claim_write("a", &file), CPD_OK);
	begin("a", HERE, &file, false);
	assert_true(file.fenced_by.instance == 99);
	copy_folder("a", "b");
	begin("b", THERE, &file, true);
	assert_int_equal(file.claim, 1);
	assert_true(file.fenced_by.instance == 99);
	assert_int_equal(claim_take_over("b", &file), CPD_OK);
	assert_int_equal(file.claim, 7);                 /* above the one that fenced it */
	assert_true(file.takes_over);
	begin("b", THERE, &file, false);
	assert_int_equal(file.claim, 7);
	assert_true(file.takes_over && !file.fenced_by.instance);
}

static void a_damaged_file_stops_the_start_and_taking_over_mends_it(void **state)
{
	static const char *const bad[] = { "", "1 1 0 0 0 0 -\n", "0 1 0 0 0 0 - 0 0\n", "01 1 0 0 0 0 - 0 0\n", "1 1 2 0 0 0 - 0 0\n", "1 1 0 0 0 0 - 0 0", "1 1 0 0 0 0 - 0 0\n\n" };
	struct claim_file file;
	uint64_t instance;
	bool is_moved;

	(void)state;
	make_identity("a");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		FILE *out = fopen("a/claim", "w");

		assert_non_null(out);
		fputs(bad[i], out);
		fclose(out);
		assert_int_equal(claim_begin("a", HERE, &file, &instance, &is_moved), CPD_ERR_MALFORMED);
		assert_non_null(strstr(crypto_problem(), "node claim"));
	}
	assert_int_equal(claim_take_over("a", &file), CPD_OK);
	begin("a", HERE, &file, false);
	assert_int_equal(claim_read("nowhere", &file), CPD_ERR_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_start_is_told_apart_and_later_than_the_one_before, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_copied_folder_and_another_machine_get_the_next_claim_once, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_fenced_copy_stays_fenced_wherever_it_is_copied, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_damaged_file_stops_the_start_and_taking_over_mends_it, scratch_make, scratch_remove),
	};

	if (crypto_start() != CPD_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
