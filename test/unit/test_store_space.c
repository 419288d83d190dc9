/* test_store_space.c: the map grows under load, and a full store refuses the lowest precedence first. */
#include "test/unit/fixture_store.h"
#include "test/unit/store_gate.h"

#include <signal.h>
#include <sys/resource.h>
#include <time.h>

struct reader { struct store *store; atomic_bool stop; atomic_size_t reads; atomic_int errors; };

static bool count_rows(void *context, const struct store_key *key, struct slice value)
{
	(void)key;
	(void)value;
	++*(size_t *)context;
	return true;
}

/* Reads while it reads: with a writer that waits in between, it may not wait for that one. */
static bool read_again(void *context, const struct store_key *key, struct slice value)
{
	struct reader *reader = context;
	uint8_t *bytes;
	size_t len;

	if (store_get(reader->store, TABLE_ENVELOPES, key, &bytes, &len) || len != value.len)
		atomic_fetch_add(&reader->errors, 1);
	free(bytes);
	return true;
}

static void *reader_main(void *argument)
{
	struct reader *reader = argument;
	const struct store_key key = counter_key(1), begin = { .len = 0 };
	size_t len, damaged;
	uint8_t *value;

	while (!atomic_load(&reader->stop)) {
		if (store_get(reader->store, TABLE_JOURNAL, &key, &value, &len) || len != 5)
			atomic_fetch_add(&reader->errors, 1);
		free(value);
		if (store_scan(reader->store, TABLE_ENVELOPES, &begin, 0, false, 50, read_again, reader, &damaged) || damaged)
			atomic_fetch_add(&reader->errors, 1);
		atomic_fetch_add(&reader->reads, 1);
	}
	return NULL;
}

static void the_map_grows_under_load_while_others_read(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key first = counter_key(1);
	struct reader reader = { 0 };
	pthread_t threads[2];
	struct store_space space;
	uint8_t data[8000];
	uint64_t told = 0;

	memset(data, 'd', sizeof(data));
	fixture_open(fixture);
	fixture_put_now(fixture, TABLE_JOURNAL, &first, "first", 5);
	store_space(fixture->store, &space);
	assert_int_equal(space.map_bytes, MIB);
	reader.store = fixture->store;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader_main, &reader), 0);
	for (uint64_t turn = 1; turn <= 60; turn++) {
		struct store_batch *batch = fixture_batch(turn);

		for (uint64_t i = 0; i < 25; i++) {
			const struct store_key key = counter_key(turn * 100 + i);
			fixture_put(batch, TABLE_ENVELOPES, &key, data, sizeof(data));
		}
		assert_int_equal(store_submit(fixture->store, batch), CPD_OK);
		if (turn % 10 == 0)
			assert_int_equal(fixture_wait(fixture->store, turn, &told), CPD_OK);
	}
	atomic_store(&reader.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&reader.errors), 0);
	assert_true(atomic_load(&reader.reads) > 0);
	assert_int_equal(store_count(fixture->store, TABLE_ENVELOPES), 1500);
	store_space(fixture->store, &space);
	assert_true(space.map_bytes >= 16 * MIB && space.map_bytes <= 64 * MIB);
	assert_true(space.used_bytes >= 1500 * sizeof(data) && space.used_bytes < space.map_bytes);
}

static void one_turn_larger_than_the_map_grows_it(void **state)
{
	struct fixture *fixture = *state;
	struct store_batch *batch = fixture_batch(1);
	uint8_t *data = calloc(1, MIB);

	fixture_open(fixture);
	for (uint64_t i = 1; i <= 9; i++) {
		const struct store_key key = counter_key(i);
		fixture_put(batch, TABLE_LEAVES, &key, data, MIB);
	}
	assert_int_equal(store_commit_now(fixture->store, batch), CPD_OK);
	assert_int_equal(store_count(fixture->store, TABLE_LEAVES), 9);
	free(data);
}

/* Writes rows of 16 KiB until the precedence is no more admitted; the share used then, in percent. */
static size_t fill_until_refused(struct fixture *fixture, enum precedence precedence, uint64_t *counter)
{
	static uint8_t data[16000];
	struct store_space space;

	while (store_admits(fixture->store, precedence) && *counter < 10000) {
		const struct store_key key = counter_key(++*counter);
		fixture_put_now(fixture, TABLE_ENVELOPES, &key, data, sizeof(data));
	}
	store_space(fixture->store, &space);
	return space.used_bytes * 100 / space.limit_bytes;
}

static void the_lowest_precedence_is_refused_first_and_deletes_always_pass(void **state)
{
	static const size_t percent[PRECEDENCE_COUNT] = { 60, 75, 88, 96 };
	struct fixture *fixture = *state;
	uint64_t counter = 0;
	struct gate gate;
	size_t share;

	fixture->options.limit_bytes = 8 * MIB;
	fixture_open(fixture);
	gate_put(&gate, fixture->store);
	for (int p = PRECEDENCE_ROUTINE; p < PRECEDENCE_COUNT; p++) {
		assert_true(store_admits(fixture->store, (enum precedence)p));
		share = fill_until_refused(fixture, (enum precedence)p, &counter);
		assert_in_range(share, percent[p], percent[p] + 1);
		for (int lower = PRECEDENCE_ROUTINE; lower <= p; lower++)
			assert_false(store_admits(fixture->store, (enum precedence)lower));
	}
	for (; counter > 0; counter--) { /* at 96 %: each needs pages before it frees any */
		const struct store_key key = counter_key(counter);
		fixture_delete_now(fixture, TABLE_ENVELOPES, &key);
	}
	assert_true(store_admits(fixture->store, PRECEDENCE_ROUTINE));
}

static void a_full_store_fails_whole_and_keeps_what_it_told(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t data[60000];
	enum cpd_error error = CPD_OK;
	uint64_t turn = 0, told;

	fixture->options.limit_bytes = MIB;
	fixture_open(fixture);
	while (!error && turn < 100) {
		assert_int_equal(submit_row(fixture->store, ++turn, data, sizeof(data)), CPD_OK);
		error = fixture_wait(fixture->store, turn, &told);
	}
	assert_int_equal(error, CPD_ERR_FULL);
	assert_int_equal(told, turn - 1);
	assert_int_equal(submit_row(fixture->store, turn + 1, "x", 1), CPD_ERR_STATE);
	fixture_close(fixture);
	fixture_open(fixture);
	assert_int_equal(store_count(fixture->store, TABLE_JOURNAL), told);
	for (uint64_t i = 1; i <= told; i++) {
		const struct store_key key = counter_key(i);
		fixture_delete_now(fixture, TABLE_JOURNAL, &key);
	}
	assert_true(store_admits(fixture->store, PRECEDENCE_ROUTINE));
}

/* A file size limit stands for a full disk: both refuse the room when the map is to grow. */
static void a_disk_without_room_lowers_the_limit_and_harms_nothing(void **state)
{
	struct fixture *fixture = *state;
	static uint8_t data[16000];
	struct rlimit before, small;
	struct store_space space;
	uint64_t counter = 0;

	fixture_open(fixture);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = MIB + MIB / 2;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	while (store_admits(fixture->store, PRECEDENCE_FLASH) && counter < 200) {
		const struct store_key key = counter_key(++counter);
		fixture_put_now(fixture, TABLE_ENVELOPES, &key, data, sizeof(data));
	}
	store_space(fixture->store, &space);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(space.limit_bytes, MIB);
	assert_in_range(counter, 30, 65);
	assert_int_equal(store_count(fixture->store, TABLE_ENVELOPES), counter);
	fill_until_refused(fixture, PRECEDENCE_FLASH, &counter); /* room again: refused until a commit tries */
	fixture_delete_now(fixture, TABLE_ENVELOPES, &(struct store_key){ .bytes = { [7] = 1 }, .len = 8 });
	assert_true(store_admits(fixture->store, PRECEDENCE_ROUTINE));
	store_space(fixture->store, &space);
	assert_int_equal(space.limit_bytes, 64 * MIB);
}

static void a_hundred_thousand_rows_are_quick(void **state)
{
	struct fixture *fixture = *state;
	struct store_key key, found, begin = { .len = 0 };
	struct timespec from, to;
	uint8_t data[120], *value;
	size_t len, rows = 0, damaged;

	memset(data, 'r', sizeof(data));
	fixture_open(fixture);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	for (uint64_t turn = 0; turn < 100; turn++) {
		struct store_batch *batch = fixture_batch(turn + 1);

		for (uint64_t i = 0; i < 1000; i++) {
			key = store_key_queue((uint32_t)(i % 500), PRECEDENCE_ROUTINE, turn * 1000 + i);
			fixture_put(batch, TABLE_QUEUE, &key, data, sizeof(data));
		}
		assert_int_equal(store_commit_now(fixture->store, batch), CPD_OK);
	}
	for (uint32_t link = 0; link < 500; link++) {
		begin = store_key_number(link);
		assert_int_equal(store_seek(fixture->store, TABLE_QUEUE, &begin, 4, false, &found, &value, &len), CPD_OK);
		free(value);
	}
	begin.len = 0;
	assert_int_equal(store_scan(fixture->store, TABLE_QUEUE, &begin, 0, false, SIZE_MAX, count_rows, &rows, &damaged), CPD_OK);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	assert_int_equal(rows, 100000);
	assert_true(to.tv_sec - from.tv_sec < 20); /* of processor time, about 1 s; a quadratic slip takes minutes */
}

int main(void)
{
#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		STORE_TEST(the_map_grows_under_load_while_others_read),
		STORE_TEST(one_turn_larger_than_the_map_grows_it),
		STORE_TEST(the_lowest_precedence_is_refused_first_and_deletes_always_pass),
		STORE_TEST(a_full_store_fails_whole_and_keeps_what_it_told),
		STORE_TEST(a_disk_without_room_lowers_the_limit_and_harms_nothing),
		STORE_TEST(a_hundred_thousand_rows_are_quick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
