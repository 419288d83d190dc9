/* files.c: see fuzz.h. */
#include "test/fuzz/fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static pid_t owner;

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
	(void)info;
	(void)type;
	(void)walk;
	return remove(path);
}

void files_empty(const char *path)
{
	nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void files_folder(char out[64])
{
	snprintf(out, 64, "%s/cpd-fuzz-XXXXXX", access("/dev/shm", W_OK) ? P_tmpdir : "/dev/shm");
	FUZZ_CHECK(mkdtemp(out));
}

static void files_end(void)
{
	if (owner == getpid())
		files_empty(folder);
}

const char *files_path(const char *name)
{
	static char paths[4][128];
	static unsigned turn;
	const char *given = getenv("FUZZ_FOLDER");
	char *path = paths[turn++ % 4];

	if (given && owner != getpid()) {
		snprintf(folder, sizeof(folder), "%s", given);
		owner = getpid();
	} else if (owner != getpid()) {
		files_folder(folder);
		owner = getpid();
		atexit(files_end);
	}
	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static void write_all(int fd, struct slice bytes)
{
	while (bytes.len) {
		ssize_t done = write(fd, bytes.data, bytes.len);

		FUZZ_CHECK(done > 0);
		bytes.data += done;
		bytes.len -= (size_t)done;
	}
}

const char *files_memory(struct slice bytes)
{
	static char path[32];
	static int fd = -1;

	if (fd >= 0)
		close(fd);
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	FUZZ_CHECK(fd >= 0);
	write_all(fd, bytes);
	FUZZ_CHECK(!lseek(fd, 0, SEEK_SET));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}

void files_write(const char *path, struct slice bytes, unsigned mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	FUZZ_CHECK(fd >= 0);
	write_all(fd, bytes);
	close(fd);
}
