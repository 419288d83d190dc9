/*
 * test_store_damage.c: bits turned and ends cut off anywhere in the data file. Whatever it does, the
 * store opens without a crash, or says that nothing can be read; a row comes back with its own bytes or
 * not at all; what does not lie on the damaged page is there; and the store goes on.
 *
 * Each case is a process of its own, for LMDB's way with a broken page is SIGSEGV. CASES and SEED.
 */
#include "test/unit/fixture_store.h"

#include <errno.h>
#include <sys/wait.h>

#include "crypto/crypto.h"

#define JOURNAL 400
#define LEAVES 60
#define AUTHORED 600
#define ROWS (JOURNAL + LEAVES + AUTHORED)
#define PAGE 4096
#define LEAF_ROWS_MAX 80          /* rows of `authored` on one page */
#define CASES_DEFAULT 900

struct image { uint8_t *bytes; size_t len; };
struct result { uint32_t opened, lost, wrong, works, clean; };

static uint64_t state_of_random;

static uint64_t random_next(void)
{
	state_of_random ^= state_of_random << 13;
	state_of_random ^= state_of_random >> 7;
	state_of_random ^= state_of_random << 17;
	return state_of_random;
}

/* ---- rows whose bytes follow from their number */

static enum store_table row_table(size_t row)
{
	return row < JOURNAL ? TABLE_JOURNAL : row < JOURNAL + LEAVES ? TABLE_LEAVES : TABLE_AUTHORED;
}

static struct store_key row_key(size_t row)
{
	const struct message_id id = { 344003, 1, row };

	return row_table(row) == TABLE_JOURNAL ? store_key_counter(row + 1) : row_table(row) == TABLE_LEAVES ? store_key_leaf(&id, 0) : store_key_id(&id);
}

static size_t row_value(size_t row, uint8_t *out)
{
	const size_t len = row_table(row) == TABLE_LEAVES ? 4080 : row_table(row) == TABLE_AUTHORED ? 16 : 40 + row * 7 % 500;

	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(row * 31 + i * 7 + (row >> 8));
	return len;
}

static void put_rows(struct fixture *fixture, size_t from, size_t to)
{
	struct store_batch *batch = fixture_batch(1);
	uint8_t value[5000];

	for (size_t row = from; row < to; row++) {
		const struct store_key key = row_key(row);

		fixture_put(batch, row_table(row), &key, value, row_value(row, value));
	}
	assert_int_equal(store_commit_now(fixture->store, batch), CPD_OK);
}

static void path_of(const struct fixture *fixture, const char *name, char out[600])
{
	snprintf(out, 600, "%s/%s", fixture->folder, name);
}

static struct image read_image(const struct fixture *fixture)
{
	struct image image;
	char path[600];
	struct stat st;
	int fd;

	path_of(fixture, "data.mdb", path);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	image.len = (size_t)st.st_size;
	image.bytes = malloc(image.len);
	assert_non_null(image.bytes);
	assert_int_equal(read(fd, image.bytes, image.len), image.len);
	close(fd);
	return image;
}

/* A store with trees of two levels, overflow pages, and pages that were freed and used again. */
static struct image make_image(struct fixture *fixture)
{
	fixture_open(fixture);
	for (size_t row = 0; row < ROWS; row += 53)
		put_rows(fixture, row, row + 53 < ROWS ? row + 53 : ROWS);
	for (uint64_t i = 1; i <= 60; i++) {
		const struct store_key key = store_key_counter(100000 + i);

		fixture_put_now(fixture, TABLE_JOURNAL, &key, "to be deleted, and its pages used again", 39);
		if (i % 2)
			fixture_delete_now(fixture, TABLE_JOURNAL, &key);
	}
	for (uint64_t i = 2; i <= 60; i += 2) {
		const struct store_key key = store_key_counter(100000 + i);

		fixture_delete_now(fixture, TABLE_JOURNAL, &key);
	}
	fixture_close(fixture);
	return read_image(fixture);
}

static void write_image(struct fixture *fixture, const struct image *image, size_t len)
{
	static const char *const others[] = { "data.mdb", "data.mdb.damaged", "data.mdb.salvage", "lock.mdb" };
	char path[600];
	int fd;

	for (size_t i = 0; i < 4; i++) {
		path_of(fixture, others[i], path);
		unlink(path);
	}
	path_of(fixture, "data.mdb", path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, image->bytes, len), len);
	close(fd);
}

/* ---- one case, in a child */

static void tell(void *context, const char *line)
{
	(void)context;
	if (strstr(line, "damaged"))
		fprintf(stderr, "still there: %s\n", line);
}

static struct result look(struct fixture *fixture)
{
	struct result result = { 0, 0, 0, 0, 0 };
	const struct store_key fresh = store_key_counter(900000);
	struct store_batch *batch = store_batch_new(1);
	uint8_t expected[5000], *value;
	struct store_check check;
	const char *problem;
	enum cpd_error error;
	size_t len;

	if (store_open(&fixture->options, &fixture->store, &problem))
		return result;
	result.opened = 1;
	if (store_verify(fixture->store, true, NULL, NULL, &check))
		result.wrong++;
	for (size_t row = 0; row < ROWS; row++) {
		const struct store_key key = row_key(row);

		error = store_get(fixture->store, row_table(row), &key, &value, &len);
		if (error)
			result.lost++;
		else if (len != row_value(row, expected) || memcmp(value, expected, len))
			result.wrong++;
		free(value);
	}
	result.works = !store_batch_put(batch, TABLE_JOURNAL, &fresh, (struct slice){ (const uint8_t *)"fresh", 5 }) &&
	    !store_commit_now(fixture->store, batch);
	if (!store_verify(fixture->store, false, tell, NULL, &check)) {
		result.clean = 1;
		for (int table = 0; table < TABLE_COUNT; table++)
			result.clean = result.clean && !check.damaged[table];
	}
	store_close(fixture->store);
	fixture->options.read_only = true; /* which refuses what is to be made anew */
	if (store_open(&fixture->options, &fixture->store, &problem))
		result.clean = 0;
	else
		store_close(fixture->store);
	return result;
}

static struct result run_case(struct fixture *fixture, struct result (*look_at)(struct fixture *fixture))
{
	struct result result;
	int fds[2], status;
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		alarm(60); /* a tree that leads into itself */
		result = look_at(fixture);
		_exit(write(fds[1], &result, sizeof(result)) != sizeof(result));
	}
	close(fds[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status) || WEXITSTATUS(status) || read(fds[0], &result, sizeof(result)) != sizeof(result)) {
		print_error("the child ended with %s %d\n", WIFSIGNALED(status) ? "signal" : "code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		memset(&result, 0xFF, sizeof(result));
	}
	close(fds[0]);
	return result;
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

/* The pages in use, by the newest meta. */
static size_t pages_used(const struct image *image)
{
	uint64_t last[2], txn[2];

	for (size_t i = 0; i < 2; i++) {
		memcpy(&last[i], image->bytes + i * PAGE + 136, 8);
		memcpy(&txn[i], image->bytes + i * PAGE + 144, 8);
	}
	return (size_t)last[txn[1] > txn[0]] + 1;
}

static void expect(const struct result *result, bool may_be_refused, uint32_t lost_max, const char *what, uint64_t seed, size_t at)
{
	if (result->opened == 0 && may_be_refused)
		return;
	if (result->opened == 1 && result->lost <= lost_max && !result->wrong && result->works == 1 && result->clean == 1)
		return;
	fail_msg("%s at %zu, seed %llu: opened %u, lost %u (at most %u), wrong %u, works %u, clean %u", what, at, (unsigned long long)seed,
	    result->opened, result->lost, lost_max, result->wrong, result->works, result->clean);
}

/* ---- the tests */

static void a_sound_store_is_not_touched(void **state)
{
	struct fixture *fixture = *state;
	struct image image = make_image(fixture);
	struct result result;
	char path[600];

	for (size_t i = 0; i < 2; i++) {
		result = run_case(fixture, look);
		expect(&result, false, 0, "nothing", 0, 0);
		path_of(fixture, "data.mdb.damaged", path);
		assert_int_equal(access(path, F_OK), -1);
	}
	free(image.bytes);
}

static void one_bit_anywhere_costs_at_most_its_page(void **state)
{
	struct fixture *fixture = *state;
	struct image image = make_image(fixture);
	const size_t used = pages_used(&image) * PAGE, cases = number_from("CASES", CASES_DEFAULT);
	const uint64_t seed = number_from("SEED", 20261125);
	size_t none = 0, one = 0, more = 0, refused = 0, salvaged = 0;
	struct result result;
	char path[600];

	state_of_random = seed;
	for (size_t i = 0; i < cases; i++) {
		size_t at = random_next() % used;
		const uint8_t bit = (uint8_t)(1u << random_next() % 8);

		/* Every fourth among what a page says of itself, where it hurts LMDB; every eighth in the metas. */
		if (i % 8 == 0)
			at = random_next() % 2 * PAGE + random_next() % 152;
		else if (i % 4 == 0)
			at = at / PAGE * PAGE + random_next() % 64;
		image.bytes[at] ^= bit;
		write_image(fixture, &image, image.len);
		image.bytes[at] ^= bit;
		result = run_case(fixture, look);
		expect(&result, false, at < 2 * PAGE ? 0 : LEAF_ROWS_MAX, "a bit", seed, at);
		path_of(fixture, "data.mdb.damaged", path);
		salvaged += access(path, F_OK) == 0;
		refused += result.opened == 0;
		none += result.opened == 1 && result.lost == 0;
		one += result.opened == 1 && result.lost == 1;
		more += result.opened == 1 && result.lost > 1;
	}
	print_message("figure: %zu bits in %zu pages: %zu cost no row, %zu one, %zu more; %zu stores made anew, %zu refused\n", cases, used / PAGE, none, one,
	    more, salvaged, refused);
	assert_true(none > 0 && one > 0 && salvaged > 0);
	free(image.bytes);
}

static void many_bits_and_an_end_cut_off_never_end_the_process(void **state)
{
	struct fixture *fixture = *state;
	struct image image = make_image(fixture), broken = { malloc(image.len), image.len };
	const size_t pages = pages_used(&image), cases = number_from("CASES", CASES_DEFAULT) / 3;
	const uint64_t seed = number_from("SEED", 20261125) + 1;
	size_t refused = 0, kept = 0;
	struct result result;

	assert_non_null(broken.bytes);
	state_of_random = seed;
	for (size_t i = 0; i < cases; i++) {
		const bool is_cut = i % 2, is_torn = i % 4 == 0;
		const size_t len = is_cut ? random_next() % (pages * PAGE) : image.len, flips = is_cut ? 0 : 1 + random_next() % 64;

		memcpy(broken.bytes, image.bytes, image.len);
		for (size_t flip = 0; flip < flips; flip++)
			broken.bytes[random_next() % (pages * PAGE)] ^= (uint8_t)(1u << random_next() % 8);
		if (is_torn) /* a sector of something else */
			memset(broken.bytes + random_next() % (pages * 8) * 512, (int)(random_next() % 256), 512);
		write_image(fixture, &broken, len);
		result = run_case(fixture, look);
		expect(&result, true, ROWS, is_cut ? "cut off" : "bits", seed, i);
		refused += result.opened == 0;
		kept += result.opened ? ROWS - result.lost : 0;
	}
	print_message("figure: %zu files: %zu refused; of the others %.1f %% of the rows came back\n", cases, refused,
	    cases > refused ? 100.0 * (double)kept / (double)((cases - refused) * ROWS) : 0.0);
	free(image.bytes);
	free(broken.bytes);
}

/* 4 GiB for the state of pages that are not there, and minutes to walk them: a small node would not start. */
static void a_last_page_behind_the_end_is_not_believed(void **state)
{
	static const uint64_t lasts[] = { 0xfffffff0, 0x80000000, 100000, UINT64_MAX };
	struct fixture *fixture = *state;
	struct image image = make_image(fixture);
	struct result result;
	struct pages pages;

	for (size_t i = 0; i < sizeof(lasts) / sizeof(lasts[0]); i++) {
		for (size_t meta = 0; meta < 2; meta++)
			memcpy(image.bytes + meta * PAGE + 136, &lasts[i], sizeof(lasts[i]));
		assert_true(pages_open(&pages, image.bytes, image.len, PAGE, 0));
		assert_true(pages.count <= image.len / PAGE);
		assert_true(pages_walk(&pages) > 0);
		pages_close(&pages);
	}
	write_image(fixture, &image, image.len);
	result = run_case(fixture, look);
	expect(&result, false, 0, "the last page", 0, 136);
	free(image.bytes);
}

/* ---- without metas: rows that come, change and go, with what a model knows of them */

#define KEYS 700
#define WAYS 5

static uint8_t versions[KEYS];    /* 0: not there */

static struct store_key model_key(size_t i)
{
	return i % 3 ? store_key_counter(i + 1) : store_key_leaf(&(struct message_id){ 344003, 1, i }, 0);
}

static size_t model_value(size_t i, uint8_t *out)
{
	const size_t len = i % 3 ? 30 + i * 7 % 300 : i % 2 ? 4080 : 9000;

	memset(out, (int)(versions[i] ^ i), len);
	memcpy(out, &i, sizeof(i));
	return len;
}

static void model_change(struct fixture *fixture, size_t changes)
{
	struct store_batch *batch = fixture_batch(1);
	uint8_t value[9000];

	for (size_t n = 0; n < changes; n++) {
		const size_t i = random_next() % KEYS;
		const struct store_key key = model_key(i);
		const enum store_table table = i % 3 ? TABLE_JOURNAL : TABLE_LEAVES;

		if (versions[i] && random_next() % 3 == 0) {
			versions[i] = 0;
			assert_int_equal(store_batch_delete(batch, table, &key), CPD_OK);
			continue;
		}
		versions[i] = (uint8_t)(versions[i] % 250 + 1);
		fixture_put(batch, table, &key, value, model_value(i, value));
	}
	assert_int_equal(store_commit_now(fixture->store, batch), CPD_OK);
}

/* How many rows are not exactly what the last commit left. */
static struct result model_look(struct fixture *fixture)
{
	struct result result = { .works = 1, .clean = 1 };
	uint8_t expected[9000], *value;
	const char *problem;
	size_t len;

	if (store_open(&fixture->options, &fixture->store, &problem))
		return result;
	result.opened = 1;
	for (size_t i = 0; i < KEYS; i++) {
		const struct store_key key = model_key(i);
		const enum cpd_error error = store_get(fixture->store, i % 3 ? TABLE_JOURNAL : TABLE_LEAVES, &key, &value, &len);

		if (!versions[i])
			result.wrong += error != CPD_ERR_NOT_FOUND;
		else if (error)
			result.lost++;
		else
			result.wrong += len != model_value(i, expected) || memcmp(value, expected, len);
		free(value);
	}
	store_close(fixture->store);
	return result;
}

/* 0: both metas zero; 1 and 2: one of them; 3: both another's bytes; 4: all bytes but the numbers in both. */
static void metas_wipe(struct image *image, size_t way)
{
	for (size_t meta = 0; meta < 2; meta++) {
		uint8_t *at = image->bytes + meta * PAGE;

		if (way == 0 || way == 1 + meta)
			memset(at, 0, PAGE);
		for (size_t i = 0; way == 3 && i < PAGE; i++)
			at[i] = (uint8_t)random_next();
		if (way == 4)
			memset(at + 16, 0xA5, 8);
	}
}

static void without_its_metas_a_store_is_what_the_last_commit_left(void **state)
{
	struct fixture *fixture = *state;
	const size_t rounds = number_from("ROUNDS", 8);
	const uint64_t seed = number_from("SEED", 20261125) + 2;
	struct image image, broken;
	struct result result;

	state_of_random = seed;
	memset(versions, 0, sizeof(versions));
	for (size_t round = 0; round < rounds; round++) {
		fixture_open(fixture);
		/* Now and then a commit that frees so many pages that their list takes pages of its own. */
		for (size_t commits = random_next() % 8 + 1; commits > 0; commits--)
			model_change(fixture, random_next() % 8 ? random_next() % 12 + 1 : 400 + random_next() % 400);
		fixture_close(fixture);
		image = read_image(fixture);
		for (size_t way = 0; way < WAYS; way++) {
			broken = (struct image){ malloc(image.len), image.len };
			assert_non_null(broken.bytes);
			memcpy(broken.bytes, image.bytes, image.len);
			metas_wipe(&broken, way);
			write_image(fixture, &broken, broken.len);
			result = run_case(fixture, model_look);
			expect(&result, false, 0, "metas wiped, round", seed, round * WAYS + way);
			free(broken.bytes);
		}
		write_image(fixture, &image, image.len);
		free(image.bytes);
	}
}

/* A walk over it takes too long after a kill: two ends without a close ask for it, and so do metas that are none. */
static void a_large_file_is_walked_when_there_is_cause(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key key = store_key_counter(1);
	struct image image;
	struct result result;
	uint64_t rows;
	char path[600];

	fixture->options.initial_bytes = 65 * MIB;
	fixture->options.limit_bytes = 128 * MIB;
	fixture_open(fixture);
	put_rows(fixture, 0, ROWS);
	fixture_put_now(fixture, TABLE_QUARANTINE, &key, "x", 1);
	fixture_close(fixture);
	image = read_image(fixture);
	assert_true(image.len > 64 * MIB);
	path_of(fixture, "data.mdb.damaged", path);
	/* a count of a table that LMDB does not look at when it reads: the number of rows of all tables */
	for (size_t meta = 0; meta < 2; meta++) {
		memcpy(&rows, image.bytes + meta * PAGE + 16 + 24 + 48 + 32, sizeof(rows));
		rows++;
		memcpy(image.bytes + meta * PAGE + 16 + 24 + 48 + 32, &rows, sizeof(rows));
	}
	write_image(fixture, &image, image.len);
	for (int unclean = 0; unclean < 3; unclean++) {
		assert_int_equal(access(path, F_OK), -1);
		if (fork() == 0) {
			fixture_open(fixture);
			_exit(0);
		}
		assert_true(wait(NULL) > 0);
	}
	assert_int_equal(access(path, F_OK), 0);
	metas_wipe(&image, 0);
	write_image(fixture, &image, image.len);
	result = run_case(fixture, look);
	expect(&result, false, 0, "metas of a large file", 0, 0);
	free(image.bytes);
}

static void processes_that_did_not_close_are_counted(void **state)
{
	struct fixture *fixture = *state;
	const struct store store = { .path = fixture->folder };
	char path[600];
	int status;
	pid_t child;

	path_of(fixture, "unclosed", path);
	fixture_open(fixture);
	fixture_close(fixture); /* a new store has nothing to look at */
	fixture_open(fixture);
	assert_int_equal(access(path, F_OK), 0);
	fixture_close(fixture);
	assert_int_equal(access(path, F_OK), -1);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		fixture_open(fixture);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(salvage_opened(&store), 1);
	assert_int_equal(salvage_opened(&store), 2);
	fixture_open(fixture); /* looked at, found sound */
	assert_int_equal(salvage_opened(&store), 1);
	fixture_close(fixture);
	assert_int_equal(salvage_opened(&store), 0);
}

int main(void)
{
#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		STORE_TEST(processes_that_did_not_close_are_counted),
		STORE_TEST(a_sound_store_is_not_touched),
		STORE_TEST(a_last_page_behind_the_end_is_not_believed),
		STORE_TEST(without_its_metas_a_store_is_what_the_last_commit_left),
		STORE_TEST(a_large_file_is_walked_when_there_is_cause),
		STORE_TEST(one_bit_anywhere_costs_at_most_its_page),
		STORE_TEST(many_bits_and_an_end_cut_off_never_end_the_process),
	};

	/* What is damaged is written by us: the disk's own time says nothing here. */
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
