/*
 * fixture_store.h: a store in a folder of its own, for the tests of store/. The hash is a stand-in
 * for BLAKE2b: store/ only asks that it tells changed bytes.
 */
#ifndef CPD_TEST_FIXTURE_STORE_H
#define CPD_TEST_FIXTURE_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/internal.h"

#define MIB ((size_t)1024 * 1024)

struct fixture {
	char folder[256];
	struct store_options options;
	struct store *store;
};

static inline void fixture_hash(uint8_t *out, size_t out_len, const uint8_t *data, size_t len)
{
	uint64_t a = UINT64_C(0xcbf29ce484222325), b = UINT64_C(0x9e3779b97f4a7c15);

	for (size_t i = 0; i < len; i++) {
		a = (a ^ data[i]) * UINT64_C(0x100000001b3);
		b = (b + data[i]) * UINT64_C(0xff51afd7ed558ccd);
	}
	for (size_t i = 0; i < out_len; i++)
		out[i] = (uint8_t)((i & 8 ? b : a) >> (8 * (i & 7)));
}

static inline void fixture_open(struct fixture *fixture)
{
	const char *problem;
	const enum cpd_error error = store_open(&fixture->options, &fixture->store, &problem);

	if (error)
		print_error("store_open: %s\n", problem);
	assert_int_equal(error, CPD_OK);
	assert_null(problem);
}

static inline void fixture_close(struct fixture *fixture)
{
	store_close(fixture->store);
	fixture->store = NULL;
}

static inline int fixture_setup(void **state)
{
	const char *base = getenv("TMPDIR");
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	snprintf(fixture->folder, sizeof(fixture->folder), "%s/cpd-store-XXXXXX", base ? base : P_tmpdir);
	assert_non_null(mkdtemp(fixture->folder));
	fixture->options = (struct store_options){ .path = fixture->folder, .hash = fixture_hash, .initial_bytes = MIB, .limit_bytes = 64 * MIB };
	*state = fixture;
	return 0;
}

static inline int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;
	struct dirent *entry;
	char path[600];
	DIR *folder;

	fixture_close(fixture);
	folder = opendir(fixture->folder);
	while (folder && (entry = readdir(folder))) {
		snprintf(path, sizeof(path), "%s/%s", fixture->folder, entry->d_name);
		unlink(path);
	}
	if (folder)
		closedir(folder);
	rmdir(fixture->folder);
	free(fixture);
	return 0;
}

static inline struct store_batch *fixture_batch(uint64_t turn)
{
	struct store_batch *batch = store_batch_new(turn);

	assert_non_null(batch);
	return batch;
}

static inline void fixture_put(struct store_batch *batch, enum store_table table, const struct store_key *key, const void *data, size_t len)
{
	assert_int_equal(store_batch_put(batch, table, key, (struct slice){ data, len }), CPD_OK);
}

/* One row in a commit of its own. */
static inline void fixture_put_now(struct fixture *fixture, enum store_table table, const struct store_key *key, const void *data, size_t len)
{
	struct store_batch *batch = fixture_batch(0);

	fixture_put(batch, table, key, data, len);
	assert_int_equal(store_commit_now(fixture->store, batch), CPD_OK);
}

static inline void fixture_put_value(struct fixture *fixture, enum store_table table, const struct store_key *key, const struct store_value *value)
{
	fixture_put_now(fixture, table, key, value->bytes, value->len);
}

static inline void fixture_delete_now(struct fixture *fixture, enum store_table table, const struct store_key *key)
{
	struct store_batch *batch = fixture_batch(0);

	assert_int_equal(store_batch_delete(batch, table, key), CPD_OK);
	assert_int_equal(store_commit_now(fixture->store, batch), CPD_OK);
}

static inline bool fixture_has(struct fixture *fixture, enum store_table table, const struct store_key *key)
{
	uint8_t *value;
	size_t len;
	const enum cpd_error error = store_get(fixture->store, table, key, &value, &len);

	free(value);
	assert_true(error == CPD_OK || error == CPD_ERR_NOT_FOUND);
	return !error;
}

/* Turns a bit `offset` bytes behind each place of the needle in the closed data file (LMDB leaves
 * older copies of a page behind). Returns how many. */
static inline size_t fixture_damage(struct fixture *fixture, const void *needle, size_t len, size_t offset)
{
	char path[600];
	struct stat st;
	uint8_t *bytes, *at;
	size_t hits = 0;
	int fd;

	assert_null(fixture->store);
	snprintf(path, sizeof(path), "%s/data.mdb", fixture->folder);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	bytes = malloc((size_t)st.st_size);
	assert_non_null(bytes);
	assert_int_equal(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
	for (at = bytes; (at = memmem(at, (size_t)(bytes + st.st_size - at), needle, len)); at++) {
		at[offset] ^= 0x10;
		assert_int_equal(pwrite(fd, at + offset, 1, at + offset - bytes), 1);
		at[offset] ^= 0x10;
		hits++;
	}
	close(fd);
	free(bytes);
	return hits;
}

/* Waits, bounded, until the turn or a failure is told. */
static inline enum cpd_error fixture_wait(struct store *store, uint64_t turn, uint64_t *told)
{
	struct pollfd fd = { .fd = store_completion_fd(store), .events = POLLIN };
	enum cpd_error error;

	for (int i = 0; i < 2000; i++) {
		if (poll(&fd, 1, 10) <= 0)
			continue;
		if (store_completed(store, told, &error) && (error || *told >= turn))
			return error;
	}
	fail_msg("turn %llu was not told in 20 s", (unsigned long long)turn);
	return CPD_ERR_IO;
}

#endif
