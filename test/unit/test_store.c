/* test_store.c: what is told as committed is on disk, whole, and nothing else is told. */
#include "test/unit/fixture_store.h"
#include "test/unit/store_gate.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

/* ---- reading and writing */

static void a_row_comes_back_and_a_deleted_one_does_not(void **state)
{
	struct fixture *fixture = *state;
	const struct message_id id = { 344003, 2, 118 };
	const struct store_key key = store_key_id(&id);
	uint8_t *value;
	size_t len;

	fixture_open(fixture);
	fixture_put_now(fixture, TABLE_ENVELOPES, &key, "envelope", 8);
	fixture_put_now(fixture, TABLE_TIMERS, &key, NULL, 0);
	assert_int_equal(store_get(fixture->store, TABLE_ENVELOPES, &key, &value, &len), CPD_OK);
	assert_int_equal(len, 8);
	assert_memory_equal(value, "envelope", 8);
	free(value);
	assert_true(fixture_has(fixture, TABLE_TIMERS, &key));
	assert_int_equal(store_get(fixture->store, TABLE_CUSTODY, &key, &value, &len), CPD_ERR_NOT_FOUND);
	assert_null(value);
	fixture_delete_now(fixture, TABLE_ENVELOPES, &key);
	fixture_delete_now(fixture, TABLE_ENVELOPES, &key); /* absent: nothing to do */
	assert_false(fixture_has(fixture, TABLE_ENVELOPES, &key));
	assert_int_equal(store_count(fixture->store, TABLE_TIMERS), 1);
}

static void the_last_operation_on_a_key_wins(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key key = counter_key(1), gone = counter_key(2);
	struct store_batch *batch = fixture_batch(1);
	uint8_t *value;
	size_t len;

	fixture_open(fixture);
	fixture_put(batch, TABLE_JOURNAL, &key, "old", 3);
	fixture_put(batch, TABLE_JOURNAL, &gone, "x", 1);
	fixture_put(batch, TABLE_JOURNAL, &key, "newer", 5);
	assert_int_equal(store_batch_delete(batch, TABLE_JOURNAL, &gone), CPD_OK);
	assert_int_equal(store_batch_count(batch), 4);
	assert_true(store_batch_bytes(batch) > 9);
	assert_int_equal(store_commit_now(fixture->store, batch), CPD_OK);
	assert_int_equal(store_get(fixture->store, TABLE_JOURNAL, &key, &value, &len), CPD_OK);
	assert_int_equal(len, 5);
	free(value);
	assert_false(fixture_has(fixture, TABLE_JOURNAL, &gone));
}

static void bad_keys_tables_and_sizes_are_refused(void **state)
{
	struct store_batch *batch = fixture_batch(1);
	const struct store_key none = { .len = 0 }, key = counter_key(1);
	uint8_t *large = calloc(1, STORE_VALUE_MAX + 1);

	(void)state;
	assert_int_equal(store_batch_put(batch, TABLE_META, &none, (struct slice){ NULL, 0 }), CPD_ERR_RANGE);
	assert_int_equal(store_batch_delete(batch, TABLE_COUNT, &key), CPD_ERR_RANGE);
	assert_int_equal(store_batch_put(batch, TABLE_META, &key, (struct slice){ large, STORE_VALUE_MAX + 1 }), CPD_ERR_TOO_LARGE);
	assert_int_equal(store_batch_count(batch), 0);
	store_batch_free(batch);
	free(large);
}

struct seen { size_t count; uint64_t counters[8]; size_t stop_after; struct store *store; };

static bool see(void *context, const struct store_key *key, struct slice value)
{
	struct seen *seen = context;
	enum precedence precedence;
	uint8_t *again;
	uint32_t link;
	size_t len;

	assert_int_equal(value.len, 1);
	assert_int_equal(store_key_read_queue(key, &link, &precedence, &seen->counters[seen->count++]), CPD_OK);
	assert_int_equal(store_get(seen->store, TABLE_QUEUE, key, &again, &len), CPD_OK); /* a visitor may read */
	free(again);
	return seen->count != seen->stop_after;
}

static void scan_and_seek_keep_to_prefix_and_order(void **state)
{
	static const struct { uint32_t link; enum precedence precedence; uint64_t counter; } rows[] = {
		{ 7, PRECEDENCE_ROUTINE, 1 }, { 7, PRECEDENCE_FLASH, 2 }, { 7, PRECEDENCE_ROUTINE, 3 }, { 7, PRECEDENCE_PRIORITY, 4 },
		{ 6, PRECEDENCE_ROUTINE, 5 }, { 8, PRECEDENCE_FLASH, 6 }, { UINT32_MAX, PRECEDENCE_ROUTINE, 7 },
	};
	struct fixture *fixture = *state;
	struct store_batch *batch = fixture_batch(1);
	struct store_key from = store_key_number(7), found, key;
	struct seen seen;
	uint8_t *value;
	size_t len;

	fixture_open(fixture);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		key = store_key_queue(rows[i].link, rows[i].precedence, rows[i].counter);
		fixture_put(batch, TABLE_QUEUE, &key, "x", 1);
	}
	assert_int_equal(store_commit_now(fixture->store, batch), CPD_OK);

	seen = (struct seen){ .store = fixture->store };
	assert_int_equal(store_scan(fixture->store, TABLE_QUEUE, &from, 4, false, 100, see, &seen, NULL), CPD_OK);
	assert_int_equal(seen.count, 4);
	assert_true(seen.counters[0] == 2 && seen.counters[1] == 4 && seen.counters[2] == 1 && seen.counters[3] == 3);
	seen = (struct seen){ .store = fixture->store, .stop_after = 2 };
	assert_int_equal(store_scan(fixture->store, TABLE_QUEUE, &from, 4, false, 100, see, &seen, NULL), CPD_OK);
	assert_int_equal(seen.count, 2);
	seen = (struct seen){ .store = fixture->store };
	key = store_key_queue(7, PRECEDENCE_PRIORITY, 4);
	assert_int_equal(store_scan(fixture->store, TABLE_QUEUE, &key, 4, true, 1, see, &seen, NULL), CPD_OK);
	assert_true(seen.count == 1 && seen.counters[0] == 1);

	assert_int_equal(store_seek(fixture->store, TABLE_QUEUE, &key, 5, true, &found, &value, &len), CPD_ERR_NOT_FOUND);
	assert_int_equal(found.len, 0);
	assert_int_equal(store_seek(fixture->store, TABLE_QUEUE, &key, 4, true, &found, &value, &len), CPD_OK);
	free(value);
	key = store_key_queue(7, PRECEDENCE_ROUTINE, 1);
	assert_memory_equal(found.bytes, key.bytes, key.len);
	assert_int_equal(store_seek_last(fixture->store, TABLE_QUEUE, &from, &found, &value, &len), CPD_OK);
	free(value);
	key = store_key_queue(7, PRECEDENCE_ROUTINE, 3);
	assert_memory_equal(found.bytes, key.bytes, key.len);
	from = store_key_number(UINT32_MAX); /* nothing sorts beyond this prefix */
	assert_int_equal(store_seek_last(fixture->store, TABLE_QUEUE, &from, &found, &value, &len), CPD_OK);
	free(value);
	from = store_key_number(5);
	assert_int_equal(store_seek_last(fixture->store, TABLE_QUEUE, &from, &found, &value, &len), CPD_ERR_NOT_FOUND);
	from.len = 0; /* the whole table */
	assert_int_equal(store_seek(fixture->store, TABLE_QUEUE, &from, 0, false, &found, &value, &len), CPD_OK);
	free(value);
	assert_int_equal(store_seek_last(fixture->store, TABLE_INBOX, &from, &found, &value, &len), CPD_ERR_NOT_FOUND);
	assert_int_equal(store_seek(fixture->store, TABLE_QUEUE, &from, 4, false, &found, &value, &len), CPD_ERR_RANGE);
}

/* ---- the writer */

static void nothing_is_told_before_its_commit_and_waiting_turns_share_the_next(void **state)
{
	struct fixture *fixture = *state;
	struct pollfd fd = { .events = POLLIN };
	enum cpd_error error;
	struct gate gate;
	uint64_t turn;

	fixture_open(fixture);
	gate_put(&gate, fixture->store);
	gate_set(&gate, true);
	assert_int_equal(submit_row(fixture->store, 1, "x", 1), CPD_OK);
	gate_await(&gate, 1);
	for (uint64_t i = 2; i <= 50; i++)
		assert_int_equal(submit_row(fixture->store, i, "x", 1), CPD_OK);
	fd.fd = store_completion_fd(fixture->store);
	assert_int_equal(poll(&fd, 1, 20), 0);
	assert_false(store_completed(fixture->store, &turn, &error));
	assert_false(fixture_has(fixture, TABLE_JOURNAL, &(struct store_key){ .bytes = { [7] = 1 }, .len = 8 }));
	gate_set(&gate, false);
	assert_int_equal(fixture_wait(fixture->store, 50, &turn), CPD_OK);
	assert_int_equal(turn, 50);
	assert_int_equal(gate.asked, 2);
	assert_int_equal(store_count(fixture->store, TABLE_JOURNAL), 50);
	assert_false(store_completed(fixture->store, &turn, &error));
}

static void an_empty_turn_is_told_after_its_elders(void **state)
{
	struct fixture *fixture = *state;
	uint64_t turn;

	fixture_open(fixture);
	assert_int_equal(submit_row(fixture->store, 1, "x", 1), CPD_OK);
	assert_int_equal(store_submit(fixture->store, fixture_batch(2)), CPD_OK);
	assert_int_equal(fixture_wait(fixture->store, 2, &turn), CPD_OK);
	assert_int_equal(store_count(fixture->store, TABLE_JOURNAL), 1);
}

static void after_a_failed_commit_nothing_succeeds_until_reopened(void **state)
{
	struct fixture *fixture = *state;
	enum cpd_error error;
	struct gate gate;
	uint64_t turn;

	fixture_open(fixture);
	gate_put(&gate, fixture->store);
	gate.fail_from = 2;
	gate.fail_with = EIO;
	assert_int_equal(submit_row(fixture->store, 1, "x", 1), CPD_OK);
	assert_int_equal(fixture_wait(fixture->store, 1, &turn), CPD_OK);
	gate_set(&gate, true);
	assert_int_equal(submit_row(fixture->store, 2, "x", 1), CPD_OK);
	gate_await(&gate, 2);
	assert_int_equal(submit_row(fixture->store, 3, "x", 1), CPD_OK); /* waits behind the one that fails */
	gate_set(&gate, false);
	assert_int_equal(fixture_wait(fixture->store, 3, &turn), CPD_ERR_IO);
	assert_int_equal(turn, 1);
	gate.fail_from = 0; /* the disk is "well" again: it must not be believed */
	assert_int_equal(submit_row(fixture->store, 4, "x", 1), CPD_ERR_STATE);
	assert_int_equal(store_commit_now(fixture->store, fixture_batch(5)), CPD_ERR_STATE);
	assert_false(store_completed(fixture->store, &turn, &error));
	assert_int_equal(turn, 1);
	assert_int_equal(error, CPD_ERR_IO);
	assert_false(store_admits(fixture->store, PRECEDENCE_FLASH));
	fixture_close(fixture);
	fixture_open(fixture);
	assert_int_equal(store_count(fixture->store, TABLE_JOURNAL), 1);
	assert_int_equal(submit_row(fixture->store, 2, "x", 1), CPD_OK);
	assert_int_equal(fixture_wait(fixture->store, 2, &turn), CPD_OK);
}

static void a_turn_is_kept_whole_or_not_at_all(void **state)
{
	struct fixture *fixture = *state;
	struct store_batch *batch = fixture_batch(2);
	const struct store_key old = counter_key(1);
	struct gate gate;

	fixture_open(fixture);
	fixture_put_now(fixture, TABLE_JOURNAL, &old, "old", 3);
	gate_put(&gate, fixture->store);
	gate.fail_from = 1;
	gate.fail_with = ENOSPC;
	assert_int_equal(store_batch_delete(batch, TABLE_JOURNAL, &old), CPD_OK);
	for (uint64_t i = 10; i < 200; i++) {
		const struct store_key key = counter_key(i);
		fixture_put(batch, TABLE_JOURNAL, &key, &key, sizeof(key));
	}
	assert_int_equal(store_commit_now(fixture->store, batch), CPD_ERR_FULL);
	fixture_close(fixture);
	fixture_open(fixture);
	assert_int_equal(store_count(fixture->store, TABLE_JOURNAL), 1);
	assert_true(fixture_has(fixture, TABLE_JOURNAL, &old));
}

static void too_much_waiting_is_busy_and_close_drains(void **state)
{
	struct fixture *fixture = *state;
	uint8_t *data = calloc(1, MIB / 2);
	enum cpd_error error = CPD_OK;
	struct gate gate;
	uint64_t turn = 0;

	fixture_open(fixture);
	gate_put(&gate, fixture->store);
	gate_set(&gate, true);
	while (!error && turn < 20)
		error = submit_row(fixture->store, ++turn, data, MIB / 2);
	assert_int_equal(error, CPD_ERR_BUSY);
	assert_int_equal(turn, 8); /* seven of a little over 512 KiB fit in 4 MiB */
	gate_set(&gate, false);
	fixture_close(fixture);
	fixture_open(fixture);
	assert_int_equal(store_count(fixture->store, TABLE_JOURNAL), 7);
	free(data);
}

/* ---- kill -9 */

static void child_commits_and_tells(struct fixture *fixture, int to_parent)
{
	struct pollfd fd = { .events = POLLIN };
	const char *problem;
	enum cpd_error error;
	uint64_t turn, told;

	if (store_open(&fixture->options, &fixture->store, &problem))
		_exit(1);
	fd.fd = store_completion_fd(fixture->store);
	for (turn = 1;; turn++) {
		struct store_batch *batch = store_batch_new(turn);
		const struct store_key one = store_key_counter(turn), two = store_key_counter(turn + 1000000);

		if (store_batch_put(batch, TABLE_JOURNAL, &one, (struct slice){ one.bytes, 8 }) ||
		    store_batch_put(batch, TABLE_INBOX, &two, (struct slice){ two.bytes, 8 }) || store_submit(fixture->store, batch))
			_exit(2);
		if (poll(&fd, 1, 1) > 0 && store_completed(fixture->store, &told, &error) &&
		    write(to_parent, &told, sizeof(told)) != sizeof(told))
			_exit(3);
	}
}

static void what_was_told_is_there_after_a_kill(void **state)
{
	struct fixture *fixture = *state;
	uint64_t told = 0, rows;
	int pipe_fds[2];
	pid_t child;

	for (int round = 0; round < 3; round++) {
		assert_int_equal(pipe(pipe_fds), 0);
		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			close(pipe_fds[0]);
			child_commits_and_tells(fixture, pipe_fds[1]);
		}
		close(pipe_fds[1]);
		for (int i = 0; i < 10 + 7 * round; i++)
			assert_int_equal(read(pipe_fds[0], &told, sizeof(told)), sizeof(told));
		assert_int_equal(kill(child, SIGKILL), 0);
		while (read(pipe_fds[0], &rows, sizeof(rows)) == sizeof(rows))
			told = rows;
		close(pipe_fds[0]);
		assert_int_equal(waitpid(child, NULL, 0), child);

		fixture_open(fixture);
		rows = store_count(fixture->store, TABLE_JOURNAL);
		assert_true(told > 0 && rows >= told);
		assert_int_equal(rows, store_count(fixture->store, TABLE_INBOX)); /* whole turns */
		for (uint64_t i = 1; i <= told; i++) {
			const struct store_key key = counter_key(i);
			assert_true(fixture_has(fixture, TABLE_JOURNAL, &key));
		}
		fixture_close(fixture);
	}
}

/* ---- opening */

static void a_store_in_use_is_refused_by_name(void **state)
{
	struct fixture *fixture = *state;
	struct store *second;
	const char *problem;
	int status;
	pid_t child;

	fixture_open(fixture);
	assert_int_equal(store_open(&fixture->options, &second, &problem), CPD_ERR_BUSY);
	assert_null(second);
	assert_non_null(strstr(problem, "in use by another process"));
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(store_open(&fixture->options, &second, &problem) == CPD_ERR_BUSY ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	fixture_close(fixture);
	fixture_open(fixture);
}

static void folder_and_files_are_the_owners_only(void **state)
{
	struct fixture *fixture = *state;
	const char *const names[] = { "", "/data.mdb", "/lock.mdb", "/lock" };
	char folder[400], path[450];
	struct stat st;

	snprintf(folder, sizeof(folder), "%s/inner", fixture->folder);
	fixture->options.path = folder;
	fixture_open(fixture);
	fixture_close(fixture);
	for (int i = 3; i >= 0; i--) {
		snprintf(path, sizeof(path), "%s%s", folder, names[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, i == 0 ? 0700 : 0600);
		assert_int_equal(i == 0 ? rmdir(path) : unlink(path), 0);
	}
}

static void a_newer_schema_is_refused_and_left_alone(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key one = store_key_name("schema"), two = store_key_name("schema-copy");
	const struct store_value newer = store_value_u64(STORE_SCHEMA + 1);
	struct store *store;
	const char *problem;

	fixture_open(fixture);
	fixture_put_value(fixture, TABLE_META, &one, &newer);
	fixture_put_value(fixture, TABLE_META, &two, &newer);
	fixture_close(fixture);
	for (int i = 0; i < 2; i++) { /* the refusal changed nothing */
		assert_int_equal(store_open(&fixture->options, &store, &problem), CPD_ERR_SCHEMA);
		assert_null(store);
		assert_non_null(strstr(problem, "schema 3"));
	}
}

static void one_damaged_schema_row_does_not_close_the_store(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key name = store_key_name("schema"), row = counter_key(1);

	fixture_open(fixture);
	fixture_put_now(fixture, TABLE_JOURNAL, &row, "entry", 5);
	fixture_close(fixture);
	assert_true(fixture_damage(fixture, "schema\0\0\0\0\0\0\0", 13, 13) > 0);
	fixture_open(fixture);
	assert_true(fixture_has(fixture, TABLE_META, &name)); /* put back */
	assert_true(fixture_has(fixture, TABLE_JOURNAL, &row));
}

static void expect_refused(struct fixture *fixture, const char *words)
{
	struct store *store;
	const char *problem;

	assert_int_equal(store_open(&fixture->options, &store, &problem), CPD_ERR_DAMAGED);
	assert_null(store);
	if (!strstr(problem, words))
		fail_msg("\"%s\" lacks \"%s\"", problem, words);
}

static void cut_off_and_garbage_files_are_refused_without_a_crash(void **state)
{
	struct fixture *fixture = *state;
	struct store_batch *batch = fixture_batch(1);
	uint8_t data[4000], zero[4096] = { 0 };
	char path[600];
	int fd;

	memset(data, 0x5A, sizeof(data));
	fixture_open(fixture);
	for (uint64_t i = 1; i < 300; i++) {
		const struct store_key key = counter_key(i);
		fixture_put(batch, TABLE_JOURNAL, &key, data, sizeof(data));
	}
	assert_int_equal(store_commit_now(fixture->store, batch), CPD_OK);
	fixture_close(fixture);
	snprintf(path, sizeof(path), "%s/data.mdb", fixture->folder);
	assert_int_equal(truncate(path, 8192), 0);
	expect_refused(fixture, "nothing can be read");
	assert_int_equal(truncate(path, 4 * 1024 * 1024), 0); /* metas that lead to empty pages */
	expect_refused(fixture, "nothing can be read");
	assert_int_equal(truncate(path, 4100), 0);
	expect_refused(fixture, "nothing can be read");
	fd = open(path, O_WRONLY | O_TRUNC);
	assert_true(fd >= 0);
	for (int i = 0; i < 16; i++)
		assert_int_equal(write(fd, i % 2 ? zero : data, sizeof(data)), sizeof(data));
	close(fd);
	expect_refused(fixture, "is no store");
}

static void a_start_that_was_cut_off_is_not_in_the_way(void **state)
{
	struct fixture *fixture = *state;
	char path[600];
	int fd;

	snprintf(path, sizeof(path), "%s/data.mdb.part", fixture->folder);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "half", 4), 4);
	close(fd);
	fixture_open(fixture);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_path_that_is_wrong_is_told(void **state)
{
	struct fixture *fixture = *state;
	struct store *store;
	const char *problem;
	char path[400];

	snprintf(path, sizeof(path), "%s/none/deeper", fixture->folder);
	fixture->options.path = path;
	assert_int_equal(store_open(&fixture->options, &store, &problem), CPD_ERR_IO);
	assert_non_null(strstr(problem, "none/deeper"));
	fixture->options.path = fixture->folder;
	fixture->options.read_only = true;
	assert_int_equal(store_open(&fixture->options, &store, &problem), CPD_ERR_NOT_FOUND);
	assert_non_null(strstr(problem, "no store"));
}

static void read_only_reads_and_never_writes(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key key = counter_key(1);
	struct store_check check;

	fixture_open(fixture);
	fixture_put_now(fixture, TABLE_DIRECTORY, &key, "row", 3);
	fixture_close(fixture);
	fixture->options.read_only = true;
	fixture_open(fixture);
	assert_true(fixture_has(fixture, TABLE_DIRECTORY, &key));
	assert_int_equal(store_submit(fixture->store, fixture_batch(1)), CPD_ERR_STATE);
	assert_int_equal(store_commit_now(fixture->store, fixture_batch(1)), CPD_ERR_STATE);
	assert_int_equal(store_verify(fixture->store, true, NULL, NULL, &check), CPD_ERR_STATE);
	assert_int_equal(store_verify(fixture->store, false, NULL, NULL, &check), CPD_OK);
	assert_int_equal(check.rows[TABLE_DIRECTORY], 1);
	assert_false(store_admits(fixture->store, PRECEDENCE_FLASH));
}

int main(void)
{
#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		STORE_TEST(a_row_comes_back_and_a_deleted_one_does_not),
		STORE_TEST(the_last_operation_on_a_key_wins),
		STORE_TEST(bad_keys_tables_and_sizes_are_refused),
		STORE_TEST(scan_and_seek_keep_to_prefix_and_order),
		STORE_TEST(nothing_is_told_before_its_commit_and_waiting_turns_share_the_next),
		STORE_TEST(an_empty_turn_is_told_after_its_elders),
		STORE_TEST(after_a_failed_commit_nothing_succeeds_until_reopened),
		STORE_TEST(a_turn_is_kept_whole_or_not_at_all),
		STORE_TEST(too_much_waiting_is_busy_and_close_drains),
		STORE_TEST(what_was_told_is_there_after_a_kill),
		STORE_TEST(a_store_in_use_is_refused_by_name),
		STORE_TEST(folder_and_files_are_the_owners_only),
		STORE_TEST(a_newer_schema_is_refused_and_left_alone),
		STORE_TEST(one_damaged_schema_row_does_not_close_the_store),
		STORE_TEST(cut_off_and_garbage_files_are_refused_without_a_crash),
		STORE_TEST(a_start_that_was_cut_off_is_not_in_the_way),
		STORE_TEST(a_path_that_is_wrong_is_told),
		STORE_TEST(read_only_reads_and_never_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
