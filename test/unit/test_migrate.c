/*
 * test_migrate.c: a store goes from one schema to the next, and back, whatever ends the process on the
 * way: it is always of one schema or on its way to one, and what it holds stays.
 */
#include "test/unit/fixture_store.h"

#include <errno.h>
#include <sys/wait.h>

#include "crypto/crypto.h"

#define OLD_STORE "test/vectors/v1/store-1.mdb"
#define QUEUE_ROWS 5000     /* three pieces */
#define LINKS 3
#define KILLED 77

static const struct migrations only_1 = { 1, 0, NULL, NULL, NULL };

static enum cpd_error try_open(struct fixture *fixture, const struct migrations *migrations, const char **problem)
{
	struct store *store;
	const enum cpd_error error = store_open_as(&fixture->options, migrations, &store, problem);

	store_close(store);
	return error;
}

static void data_path(const struct fixture *fixture, char out[600])
{
	snprintf(out, 600, "%s/data.mdb", fixture->folder);
}

/* ---- a full queue, of schema 1 */

static enum precedence precedence_at(uint64_t row)
{
	return row % 50 == 0 ? PRECEDENCE_FLASH : PRECEDENCE_ROUTINE;
}

static void fill(struct fixture *fixture)
{
	struct store_batch *batch = fixture_batch(1);
	const char *problem;

	fixture->options.version = "0.2.0";
	fixture_open(fixture);
	for (uint64_t row = 1; row <= QUEUE_ROWS; row++) {
		const struct message_id id = { 344003, 1, row };
		const struct item_ref ref = { .type = ITEM_TYPE_RECEIPTS, .precedence = precedence_at(row), .id = id };
		const struct store_value value = store_value_ref(&ref, 901);
		const struct store_key key = store_key_queue((uint32_t)(901 + row % LINKS), precedence_at(row), row);
		const struct store_key record = store_key_record(344003, 1, row);

		fixture_put(batch, TABLE_QUEUE, &key, value.bytes, value.len);
		fixture_put(batch, TABLE_RECEIPTS, &record, "record", 6);
		if (row % 500 == 0) {
			assert_int_equal(store_commit_now(fixture->store, batch), CPD_OK);
			batch = fixture_batch(1);
		}
	}
	store_batch_free(batch);
	fixture_close(fixture);
	assert_int_equal(store_downgrade(&fixture->options, 1, &problem), CPD_OK);
}

static bool count_visit(void *context, const struct store_key *key, struct slice value)
{
	(void)key;
	(void)value;
	++*(uint64_t *)context;
	return true;
}

static uint64_t depth_of(struct store *store, uint32_t link, enum precedence precedence)
{
	struct store_depth depth;

	return store_depth_next(store, link, &depth) && depth.link == link ? depth.rows[precedence] : 0;
}

static void expect_depths_are_those_of_the_rows(struct store *store, uint64_t expected)
{
	uint64_t all = 0;

	for (uint32_t link = 901; link < 901 + LINKS; link++) {
		for (int p = 0; p < PRECEDENCE_COUNT; p++) {
			const struct store_key from = store_key_depth(link, (enum precedence)p);
			uint64_t rows = 0;

			assert_int_equal(store_scan(store, TABLE_QUEUE, &from, from.len, false, SIZE_MAX, count_visit, &rows, NULL), CPD_OK);
			assert_int_equal(depth_of(store, link, (enum precedence)p), rows);
			all += rows;
		}
	}
	assert_int_equal(all, expected);
}

static void print_line(void *context, const char *line)
{
	(void)context;
	print_message("%s\n", line);
}

static void expect_sound(struct store *store)
{
	struct store_check check;

	assert_int_equal(store_verify(store, false, print_line, NULL, &check), CPD_OK);
	for (int table = 0; table < TABLE_COUNT; table++)
		assert_int_equal(check.damaged[table], 0);
	assert_int_equal(check.broken_invariants, 1); /* the counter of rows, which this test did not keep */
}

static void expect_whole(struct fixture *fixture)
{
	fixture_open(fixture);
	expect_depths_are_those_of_the_rows(fixture->store, QUEUE_ROWS);
	assert_int_equal(store_count(fixture->store, TABLE_RECEIPTS), QUEUE_ROWS);
	expect_sound(fixture->store);
	fixture_close(fixture);
}

/* ---- ends of the process */

struct ending { int commits, end_at, fail_with; };

static int ending_fault(void *context)
{
	struct ending *ending = context;

	if (++ending->commits != ending->end_at)
		return 0;
	if (!ending->fail_with)
		_exit(KILLED);
	return ending->fail_with;
}

/* In a process that ends before its commit number `end_at`; true: it came to its end. */
static bool child_goes(struct fixture *fixture, uint64_t target, int end_at)
{
	struct ending ending = { .end_at = end_at };
	struct migrations migrations = store_migrations;
	const char *problem;
	int status;
	pid_t child;

	migrations.fault = ending_fault;
	migrations.fault_context = &ending;
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(target == STORE_SCHEMA ? try_open(fixture, &migrations, &problem) != CPD_OK :
		    store_downgrade_as(&fixture->options, &migrations, target, &problem) != CPD_OK);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == KILLED);
	return WEXITSTATUS(status) == 0;
}

static void killed_before_any_commit_it_goes_on_where_it_was(void **state)
{
	struct fixture *fixture = *state;
	const char *problem;
	int pieces = 0;

	for (int end_at = 1;; end_at++) {
		fixture->store = NULL;
		fill(fixture);
		if (child_goes(fixture, STORE_SCHEMA, end_at)) {
			pieces = end_at - 1;
			break;
		}
		/* The old cpd may have it until the first commit, and not after it. */
		assert_int_equal(try_open(fixture, &only_1, &problem), end_at == 1 ? CPD_OK : CPD_ERR_SCHEMA);
		expect_whole(fixture);
		assert_int_equal(store_downgrade(&fixture->options, 1, &problem), CPD_OK);
		fixture_open(fixture);
		for (uint64_t row = 1; row <= QUEUE_ROWS; row++) {
			const struct store_key key = store_key_queue((uint32_t)(901 + row % LINKS), precedence_at(row), row);
			struct store_batch *batch;

			if (row % 2500 != 0)
				continue;
			batch = fixture_batch(1);
			assert_int_equal(store_batch_delete(batch, TABLE_QUEUE, &key), CPD_OK);
			assert_int_equal(store_commit_now(fixture->store, batch), CPD_OK);
		}
		expect_depths_are_those_of_the_rows(fixture->store, QUEUE_ROWS - 2);
		fixture_close(fixture);
	}
	assert_int_equal(pieces, (QUEUE_ROWS + 2047) / 2048);
	expect_whole(fixture);
}

static void killed_again_and_again_after_one_piece_it_comes_to_its_end(void **state)
{
	struct fixture *fixture = *state;
	int kills = 0;

	fill(fixture);
	while (!child_goes(fixture, STORE_SCHEMA, 2))
		assert_in_range(++kills, 1, 10);
	assert_int_equal(kills, 2);
	expect_whole(fixture);
}

static void killed_on_the_way_back_it_can_go_either_way(void **state)
{
	struct fixture *fixture = *state;
	const char *problem;

	fill(fixture);
	expect_whole(fixture);
	assert_false(child_goes(fixture, 1, 1));
	expect_whole(fixture);
	assert_false(child_goes(fixture, 1, 1));
	assert_true(child_goes(fixture, 1, 100));
	assert_int_equal(try_open(fixture, &only_1, &problem), CPD_OK);
	assert_false(child_goes(fixture, STORE_SCHEMA, 2)); /* up, cut off, and back from there */
	assert_true(child_goes(fixture, 1, 100));
	assert_int_equal(try_open(fixture, &only_1, &problem), CPD_OK);
	expect_whole(fixture);
}

static void a_failing_disk_is_told_and_nothing_has_changed(void **state)
{
	static const struct { int fault; enum cpd_error error; const char *words; } cases[] = {
		{ EIO, CPD_ERR_IO, "look at the disk" }, { ENOSPC, CPD_ERR_FULL, "make room on the disk" },
	};
	struct fixture *fixture = *state;
	struct migrations migrations = store_migrations;
	const char *problem;

	fill(fixture);
	migrations.fault = ending_fault;
	for (size_t i = 0; i < 2; i++) {
		struct ending ending = { .end_at = 1, .fail_with = cases[i].fault };

		migrations.fault_context = &ending;
		assert_int_equal(try_open(fixture, &migrations, &problem), cases[i].error);
		assert_non_null(strstr(problem, "from schema 1 to 2"));
		assert_non_null(strstr(problem, cases[i].words));
		assert_int_equal(try_open(fixture, &only_1, &problem), CPD_OK);
	}
	expect_whole(fixture);
}

static void a_full_store_goes_up_and_down(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t data[4000];
	const char *problem;

	fill(fixture);
	fixture->options.limit_bytes = 8 * MIB;
	fixture_open(fixture);
	for (uint64_t i = 1; store_admits(fixture->store, PRECEDENCE_FLASH); i++) {
		const struct store_key key = store_key_counter(i);

		assert_in_range(i, 1, 4000);
		fixture_put_now(fixture, TABLE_ENVELOPES, &key, data, sizeof(data));
	}
	fixture_close(fixture);
	assert_int_equal(store_downgrade(&fixture->options, 1, &problem), CPD_OK);
	assert_int_equal(try_open(fixture, &only_1, &problem), CPD_OK);
	fixture_open(fixture);
	expect_depths_are_those_of_the_rows(fixture->store, QUEUE_ROWS);
	assert_false(store_admits(fixture->store, PRECEDENCE_IMMEDIATE));
}

/* ---- a store that cpd 0.1 wrote */

static void copy_old_store(struct fixture *fixture)
{
	static uint8_t bytes[256 * 1024];
	char path[600];
	FILE *file = fopen(OLD_STORE, "rb");
	size_t len;

	assert_non_null(file);
	len = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	data_path(fixture, path);
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	fclose(file);
	fixture->options.hash = crypto_digest;
}

struct news { struct store_migration all[16]; size_t count; };

static void hear(void *context, const struct store_migration *told)
{
	struct news *news = context;

	assert_true(news->count < 16);
	news->all[news->count++] = *told;
}

static void a_store_of_cpd_0_1_is_taken_over_whole(void **state)
{
	struct fixture *fixture = *state;
	struct store_check check;
	struct news news = { .count = 0 };
	const char *problem;

	copy_old_store(fixture);
	assert_int_equal(try_open(fixture, &only_1, &problem), CPD_OK);
	fixture->options.migrated = hear;
	fixture->options.migrated_context = &news;
	fixture_open(fixture);
	assert_int_equal(news.count, 2);
	assert_true(news.all[0].from == 1 && news.all[0].to == 2 && news.all[0].pieces == 0 && !news.all[0].is_done);
	assert_true(news.all[1].pieces == 1 && news.all[1].is_done);
	assert_int_equal(store_verify(fixture->store, false, print_line, NULL, &check), CPD_OK);
	assert_int_equal(check.broken_invariants, 0);
	assert_int_equal(check.rows[TABLE_QUEUE], 13);
	assert_int_equal(depth_of(fixture->store, 901, PRECEDENCE_ROUTINE), 13);
	assert_int_equal(check.rows[TABLE_INBOX], 1);
	fixture_close(fixture);
	fixture_open(fixture); /* once is enough */
	assert_int_equal(news.count, 2);
}

/* ---- what is refused */

static void read_only_an_older_store_is_refused_with_the_cure(void **state)
{
	struct fixture *fixture = *state;
	const char *problem;

	fill(fixture);
	fixture->options.read_only = true;
	assert_int_equal(try_open(fixture, &store_migrations, &problem), CPD_ERR_SCHEMA);
	assert_non_null(strstr(problem, "schema 1 and this cpd reads schema 2"));
	fixture->options.read_only = false;
	assert_false(child_goes(fixture, STORE_SCHEMA, 2));
	fixture->options.read_only = true;
	assert_int_equal(try_open(fixture, &store_migrations, &problem), CPD_ERR_SCHEMA);
	assert_non_null(strstr(problem, "half made"));
	fixture->options.read_only = false;
	expect_whole(fixture);
}

static void an_older_cpd_is_told_both_versions_and_touches_nothing(void **state)
{
	struct fixture *fixture = *state;
	char path[600];
	struct stat before, after;
	const char *problem;

	fixture->options.version = "0.2.0";
	fixture_open(fixture);
	fixture_close(fixture);
	data_path(fixture, path);
	assert_int_equal(truncate(path, 1024 * 1024), 0); /* as a backup is: shorter than the map */
	fixture->options.initial_bytes = 4 * MIB;
	fixture->options.version = "0.1.9";
	assert_int_equal(stat(path, &before), 0);
	for (int reads = 0; reads < 2; reads++) {
		fixture->options.read_only = reads;
		assert_int_equal(try_open(fixture, &only_1, &problem), CPD_ERR_SCHEMA);
		assert_non_null(strstr(problem, "schema 2, made by cpd 0.2.0, and this cpd 0.1.9 knows schemas up to 1"));
		assert_non_null(strstr(problem, "install cpd 0.2.0"));
		assert_non_null(strstr(problem, "cpd --downgrade-store 1"));
		assert_non_null(strstr(problem, "backup"));
	}
	assert_int_equal(stat(path, &after), 0);
	assert_true(before.st_size == after.st_size && before.st_blocks == after.st_blocks);
	assert_true(before.st_mtim.tv_sec == after.st_mtim.tv_sec && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
}

static void there_is_no_way_back_from_an_empty_or_older_store_or_to_an_unknown_schema(void **state)
{
	struct fixture *fixture = *state;
	const char *problem;

	assert_int_equal(store_downgrade(&fixture->options, 1, &problem), CPD_ERR_SCHEMA);
	assert_non_null(strstr(problem, "empty"));
	assert_int_equal(store_downgrade(&fixture->options, 0, &problem), CPD_ERR_SCHEMA);
	assert_int_equal(store_downgrade(&fixture->options, STORE_SCHEMA + 1, &problem), CPD_ERR_SCHEMA);
}

/* ---- later steps: a journal row a piece, of which the second step has three */

static int add_piece(struct migration *migration, uint64_t from, uint64_t pieces)
{
	const uint64_t at = migration->at.len ? store_key_read_counter(&migration->at) : 0;
	const struct store_key key = store_key_counter(from + at);

	migration->at = store_key_counter(at + 1);
	migration->is_done = at + 1 == pieces;
	return writer_put_row(migration->store, migration->txn, TABLE_JOURNAL, &key, (struct slice){ (const uint8_t *)"step", 4 });
}

static int take_all(struct migration *migration, uint64_t from, uint64_t pieces)
{
	int rc = 0;

	for (uint64_t i = 0; i < pieces && !rc; i++) {
		struct store_key key = store_key_counter(from + i);
		MDB_val at = { key.len, key.bytes };

		rc = mdb_del(migration->txn, migration->store->tables[TABLE_JOURNAL], &at, NULL);
		rc = rc == MDB_NOTFOUND ? 0 : rc;
	}
	migration->is_done = true;
	return rc;
}

static int up_2(struct migration *migration) { return add_piece(migration, 200, 1); }
static int up_3(struct migration *migration) { return add_piece(migration, 300, 3); }
static int down_2(struct migration *migration) { return take_all(migration, 200, 1); }

static const struct migration_step later_steps[] = { { "two", up_2, down_2 }, { "three", up_3, NULL } };

static void several_steps_are_taken_in_order_and_resumed_at_each(void **state)
{
	struct fixture *fixture = *state;
	struct migrations later = { 1, 2, later_steps, ending_fault, NULL };
	const char *problem;

	for (int end_at = 1; end_at <= 5; end_at++) {
		struct ending ending = { .end_at = end_at, .fail_with = EIO }, none = { .end_at = 0 };
		char path[600];

		data_path(fixture, path);
		unlink(path);
		assert_int_equal(try_open(fixture, &only_1, &problem), CPD_OK);
		later.fault_context = &ending;
		assert_int_equal(try_open(fixture, &later, &problem), end_at <= 4 ? CPD_ERR_IO : CPD_OK);
		later.fault_context = &none;
		assert_int_equal(store_open_as(&fixture->options, &later, &fixture->store, &problem), CPD_OK);
		assert_int_equal(store_count(fixture->store, TABLE_JOURNAL), 4);
		assert_int_equal(none.commits + (end_at <= 4 ? end_at - 1 : 4), 4); /* no piece twice */
		fixture_close(fixture);
	}
	assert_int_equal(store_downgrade_as(&fixture->options, &later, 1, &problem), CPD_ERR_SCHEMA);
	assert_non_null(strstr(problem, "restore the backup"));
	assert_int_equal(try_open(fixture, &later, &problem), CPD_OK);
}

static void a_damaged_note_of_progress_begins_the_step_again(void **state)
{
	struct fixture *fixture = *state;

	fill(fixture);
	assert_false(child_goes(fixture, STORE_SCHEMA, 3));
	assert_true(fixture_damage(fixture, "migrating", 9, 10) > 0);
	expect_whole(fixture);
}

/* ---- the counts afterwards */

static void counts_follow_the_rows_and_are_mended(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key a = store_key_queue(901, PRECEDENCE_FLASH, 50), depth = store_key_depth(901, PRECEDENCE_ROUTINE);
	struct store_check check;
	struct store_value value;
	struct store_batch *batch;
	uint8_t needle[13];
	uint64_t rows;

	fill(fixture);
	fixture_open(fixture);
	fixture_put_now(fixture, TABLE_QUEUE, &a, "again", 5);
	fixture_put_now(fixture, TABLE_QUEUE, &a, "and again", 9); /* one row */
	expect_depths_are_those_of_the_rows(fixture->store, QUEUE_ROWS + 1);
	fixture_delete_now(fixture, TABLE_QUEUE, &a);
	fixture_delete_now(fixture, TABLE_QUEUE, &a);
	expect_depths_are_those_of_the_rows(fixture->store, QUEUE_ROWS);
	rows = depth_of(fixture->store, 901, PRECEDENCE_ROUTINE);
	batch = fixture_batch(1);
	assert_int_equal(store_batch_put(batch, TABLE_DEPTHS, &depth, (struct slice){ NULL, 0 }), CPD_ERR_RANGE);
	assert_int_equal(store_batch_delete(batch, TABLE_DEPTHS, &depth), CPD_ERR_RANGE);
	store_batch_free(batch);
	fixture_close(fixture);

	/* A damaged count: still told right, and repaired. */
	value = store_value_u64(rows);
	memcpy(needle, depth.bytes, 5);
	memcpy(needle + 5, value.bytes, 8);
	assert_true(fixture_damage(fixture, needle, sizeof(needle), sizeof(needle)) > 0);
	fixture_open(fixture);
	assert_int_equal(depth_of(fixture->store, 901, PRECEDENCE_ROUTINE), rows);
	assert_int_equal(store_verify(fixture->store, true, print_line, NULL, &check), CPD_OK);
	assert_true(check.damaged[TABLE_DEPTHS] > 0);
	expect_depths_are_those_of_the_rows(fixture->store, QUEUE_ROWS);
	assert_int_equal(store_verify(fixture->store, false, print_line, NULL, &check), CPD_OK);
	assert_int_equal(check.damaged[TABLE_DEPTHS] + check.broken_invariants, 0);
}

static int write_wrong_count(struct migration *migration)
{
	const struct store_key key = store_key_depth(902, PRECEDENCE_ROUTINE), none = store_key_depth(77, PRECEDENCE_FLASH);
	const struct store_value value = store_value_u64(7);
	int rc = writer_put_row(migration->store, migration->txn, TABLE_DEPTHS, &key, (struct slice){ value.bytes, value.len });

	migration->is_done = true;
	return rc ? rc : writer_put_row(migration->store, migration->txn, TABLE_DEPTHS, &none, (struct slice){ value.bytes, value.len });
}

static void a_wrong_count_is_found_and_put_right(void **state)
{
	static const struct migration_step wrong[] = { { "wrong", write_wrong_count, NULL } };
	const struct migrations migrations = { 1, 1, wrong, NULL, NULL };
	struct fixture *fixture = *state;
	struct store_check check;
	const char *problem;

	fill(fixture);
	assert_int_equal(store_open_as(&fixture->options, &migrations, &fixture->store, &problem), CPD_OK);
	assert_int_equal(store_verify(fixture->store, true, print_line, NULL, &check), CPD_OK);
	assert_true(check.broken_invariants >= 2);
	expect_depths_are_those_of_the_rows(fixture->store, QUEUE_ROWS);
	assert_int_equal(depth_of(fixture->store, 77, PRECEDENCE_FLASH), 0);
	assert_int_equal(store_verify(fixture->store, false, print_line, NULL, &check), CPD_OK);
	assert_int_equal(check.broken_invariants, 0);
}

int main(void)
{
#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		STORE_TEST(killed_before_any_commit_it_goes_on_where_it_was),
		STORE_TEST(killed_again_and_again_after_one_piece_it_comes_to_its_end),
		STORE_TEST(killed_on_the_way_back_it_can_go_either_way),
		STORE_TEST(a_failing_disk_is_told_and_nothing_has_changed),
		STORE_TEST(a_full_store_goes_up_and_down),
		STORE_TEST(a_store_of_cpd_0_1_is_taken_over_whole),
		STORE_TEST(read_only_an_older_store_is_refused_with_the_cure),
		STORE_TEST(an_older_cpd_is_told_both_versions_and_touches_nothing),
		STORE_TEST(there_is_no_way_back_from_an_empty_or_older_store_or_to_an_unknown_schema),
		STORE_TEST(several_steps_are_taken_in_order_and_resumed_at_each),
		STORE_TEST(a_damaged_note_of_progress_begins_the_step_again),
		STORE_TEST(counts_follow_the_rows_and_are_mended),
		STORE_TEST(a_wrong_count_is_found_and_put_right),
	};

	if (crypto_start())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
