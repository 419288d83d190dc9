/* test_store_copy.c: a copy of a running store is whole, is of one moment, and stands in nobody's way. */
#include "test/unit/fixture_store.h"

/* Reads until the end of the bytes; `to` -1: drops them. */
static size_t drain(int from, int to)
{
	static uint8_t bytes[65536];
	struct pollfd ready = { .fd = from, .events = POLLIN };
	size_t sum = 0;
	ssize_t got;

	while (poll(&ready, 1, 20000) == 1 && (got = read(from, bytes, sizeof(bytes))) > 0) {
		if (to >= 0)
			assert_int_equal(write(to, bytes, (size_t)got), got);
		sum += (size_t)got;
	}
	return sum;
}

/* `count` rows of 1 MiB, each a commit of its own. */
static void fill(struct fixture *fixture, uint64_t from, unsigned count)
{
	const size_t len = MIB - 64;
	uint8_t *bytes = malloc(len);

	assert_non_null(bytes);
	memset(bytes, 7, len);
	for (unsigned i = 0; i < count; i++) {
		const struct store_key key = store_key_counter(from + i);

		fixture_put_now(fixture, TABLE_JOURNAL, &key, bytes, len);
	}
	free(bytes);
}

static void a_copy_is_a_store_of_its_own(void **state)
{
	struct fixture *fixture = *state;
	char folder[400], path[450];
	struct store_check check;
	struct stat st;
	int fd, file;

	fill(fixture, 1, 5);
	snprintf(folder, sizeof(folder), "%s/copy", fixture->folder);
	assert_int_equal(mkdir(folder, 0700), 0);
	snprintf(path, sizeof(path), "%s/data.mdb", folder);
	file = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(file >= 0);
	assert_int_equal(store_copy_begin(fixture->store, &fd), CPD_OK);
	drain(fd, file);
	assert_int_equal(store_copy_end(fixture->store), CPD_OK);
	close(fd);
	close(file);
	fill(fixture, 77, 1);
	assert_int_equal(stat(path, &st), 0);
	assert_true((size_t)st.st_size < 8 * MIB); /* compact: the map is 16 MiB by now */
	fixture_close(fixture);
	fixture->options.path = folder;
	fixture_open(fixture);
	assert_int_equal(store_verify(fixture->store, false, NULL, NULL, &check), CPD_OK);
	assert_int_equal(check.damaged[TABLE_JOURNAL], 0);
	assert_int_equal(store_count(fixture->store, TABLE_JOURNAL), 5);
	fixture_close(fixture);
	for (int i = 0; i < 3; i++) {
		static const char *const names[] = { "data.mdb", "lock.mdb", "lock" };

		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(rmdir(folder), 0);
}

static void there_is_one_copy_at_a_time_and_it_can_be_broken_off(void **state)
{
	struct fixture *fixture = *state;
	int fd, second;

	fill(fixture, 1, 8);
	assert_int_equal(store_copy_end(fixture->store), CPD_ERR_STATE);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(store_copy_begin(fixture->store, &fd), CPD_OK);
		assert_int_equal(store_copy_begin(fixture->store, &second), CPD_ERR_BUSY);
		assert_int_equal(second, -1);
		assert_int_equal(store_copy_end(fixture->store), CPD_ERR_STATE);
		close(fd);
	}
	/* Nobody ends this one: the store does when it closes. */
	assert_int_equal(store_copy_begin(fixture->store, &fd), CPD_OK);
	fixture_close(fixture);
	close(fd);
}

/* Nobody reads the bytes, so the copy stands still with its transaction open. Commits go on, past the map
 * as it was. Without the giving way the writer would wait here for ever. */
static void a_copy_gives_way_to_a_commit_that_needs_room(void **state)
{
	struct fixture *fixture = *state;
	struct store_space before, after;
	int fd;

	fill(fixture, 1, 10);
	store_space(fixture->store, &before);
	assert_int_equal(store_copy_begin(fixture->store, &fd), CPD_OK);
	alarm(60);
	fill(fixture, 100, 30);
	alarm(0);
	store_space(fixture->store, &after);
	assert_true(after.map_bytes > before.map_bytes);
	assert_true(drain(fd, -1) < 10 * MIB);
	assert_int_equal(store_copy_end(fixture->store), CPD_ERR_BUSY);
	close(fd);
	assert_int_equal(store_count(fixture->store, TABLE_JOURNAL), 40);
}

/* The map is at its limit: what the copy pins is room for commits as soon as it gives way. */
static void a_copy_fails_no_commit_of_a_store_at_its_limit(void **state)
{
	struct fixture *fixture = *state;
	int fd;

	fixture_close(fixture);
	fixture->options.limit_bytes = 24 * MIB;
	fixture_open(fixture);
	fill(fixture, 1, 12);
	assert_int_equal(store_copy_begin(fixture->store, &fd), CPD_OK);
	alarm(60);
	/* The same rows again and again: each frees as much as it takes, once nobody reads the old ones. */
	for (int round = 0; round < 4; round++)
		fill(fixture, 1, 12);
	alarm(0);
	drain(fd, -1);
	assert_int_equal(store_copy_end(fixture->store), CPD_ERR_BUSY);
	close(fd);
}

static int setup(void **state)
{
	if (fixture_setup(state))
		return -1;
	fixture_open(*state);
	return 0;
}

int main(void)
{
#define COPY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		COPY_TEST(a_copy_is_a_store_of_its_own),
		COPY_TEST(there_is_one_copy_at_a_time_and_it_can_be_broken_off),
		COPY_TEST(a_copy_gives_way_to_a_commit_that_needs_room),
		COPY_TEST(a_copy_fails_no_commit_of_a_store_at_its_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
