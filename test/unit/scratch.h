/*
 * scratch.h: an empty folder for each test that touches files, as the working directory, so that
 * every path in a test is short and relative; and whole files in one call. Only for cmocka tests.
 */
#ifndef CPD_TEST_SCRATCH_H
#define CPD_TEST_SCRATCH_H

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct scratch {
	char folder[64];
	int home; /* where the test came from */
};

static inline int scratch_remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
	(void)info;
	(void)type;
	(void)walk;
	return remove(path);
}

static inline int scratch_make(void **state)
{
	struct scratch *scratch = calloc(1, sizeof(*scratch));

	if (scratch == NULL)
		return -1;
	*state = scratch;
	strcpy(scratch->folder, P_tmpdir "/cpd-test-XXXXXX");
	scratch->home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return scratch->home >= 0 && mkdtemp(scratch->folder) != NULL ? chdir(scratch->folder) : -1;
}

static inline int scratch_remove(void **state)
{
	struct scratch *scratch = *state;
	int result = fchdir(scratch->home);

	nftw(scratch->folder, scratch_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	close(scratch->home);
	free(scratch);
	return result;
}

/* A path in folder `dir`; good until the fourth call after it. */
static inline const char *in(const char *dir, const char *name)
{
	static char path[4][64];
	static unsigned turn;
	char *out = path[turn++ % 4];

	assert_true(strlen(dir) + strlen(name) + 2 <= sizeof(path[0]));
	sprintf(out, "%.20s/%.40s", dir, name);
	return out;
}

static inline void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

/* Reads up to size - 1 bytes and ends them with NUL. */
static inline size_t read_file(const char *path, char *out, size_t size)
{
	FILE *file = fopen(path, "rb");
	size_t len;

	assert_non_null(file);
	len = fread(out, 1, size - 1, file);
	out[len] = '\0';
	fclose(file);
	return len;
}

#endif
