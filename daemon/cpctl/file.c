/* file.c: see file.h. */
#include "daemon/cpctl/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "daemon/cpctl/cpctl.h"

static bool fail(const char *path, const char *doing)
{
	say_refused("%s: cannot %s: %s", path, doing, strerror(errno));
	return false;
}

bool file_path(const char *dir, const char *name, char out[FILE_PATH_MAX])
{
	int len = snprintf(out, FILE_PATH_MAX, "%s/%s", dir, name);

	if (len > 0 && len < FILE_PATH_MAX)
		return true;
	say_refused("the path %.40s... is longer than %d bytes; choose a shorter one", dir, FILE_PATH_MAX);
	return false;
}

bool file_exists(const char *path)
{
	struct stat status;

	/* lstat: a dangling link is in the way too. */
	return lstat(path, &status) == 0;
}

static bool sync_folder(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool is_synced = fd >= 0 && fsync(fd) == 0;

	if (!is_synced)
		fail(dir, "sync the folder to disk");
	if (fd >= 0)
		close(fd);
	return is_synced;
}

bool file_sync_folder_of(const char *path)
{
	char dir[FILE_PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t len = slash ? slash == path ? 1 : (size_t)(slash - path) : 1;

	if (len >= sizeof(dir)) {
		errno = ENAMETOOLONG;
		return fail(path, "use it");
	}
	memcpy(dir, slash ? path : ".", len);
	dir[len] = '\0';
	return sync_folder(dir);
}

bool file_make_folder(const char *path, unsigned mode)
{
	struct stat status;

	if (!mkdir(path, (mode_t)mode))
		return file_sync_folder_of(path);
	if (errno != EEXIST)
		return fail(path, "make the folder");
	if (!stat(path, &status) && S_ISDIR(status.st_mode))
		return true;
	errno = ENOTDIR;
	return fail(path, "use it as a folder");
}

static bool write_all(int fd, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t put = write(fd, data, len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		data += put;
		len -= (size_t)put;
	}
	return fsync(fd) == 0;
}

bool file_write(const char *path, const void *data, size_t len)
{
	char temporary[FILE_PATH_MAX + 8];
	bool is_written;
	int fd;

	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.new", path) >= sizeof(temporary)) {
		errno = ENAMETOOLONG;
		return fail(path, "write it");
	}
	/* One left by a crash is half, and may be a link to elsewhere: never written into again. */
	if (unlink(temporary) && errno != ENOENT)
		return fail(temporary, "remove it");
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return fail(temporary, "make it");
	is_written = write_all(fd, data, len);
	if (!is_written)
		fail(temporary, "write it");
	if (close(fd) && is_written)
		is_written = fail(temporary, "close it");
	if (is_written && rename(temporary, path))
		is_written = fail(path, "put it in place");
	if (!is_written) {
		unlink(temporary);
		return false;
	}
	return file_sync_folder_of(path);
}

static bool read_all(int fd, const char *path, size_t most, uint8_t *bytes, size_t *len)
{
	size_t have = 0;

	for (;;) {
		ssize_t got = read(fd, bytes + have, most + 1 - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail(path, "read it");
		if (!got)
			break;
		have += (size_t)got;
		if (have > most) {
			say_refused("%s is longer than %zu bytes: it is not what it is given for", path, most);
			return false;
		}
	}
	bytes[have] = '\0';
	*len = have;
	return true;
}

bool file_read(const char *path, size_t most, uint8_t **out, size_t *len)
{
	bool is_stdin = !strcmp(path, "-"), is_read;
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	*out = NULL;
	*len = 0;
	if (fd < 0)
		return fail(path, "open it");
	*out = malloc(most + 2);
	if (!*out)
		fail(path, "read it");
	is_read = *out && read_all(fd, is_stdin ? "standard input" : path, most, *out, len);
	if (!is_stdin)
		close(fd);
	if (is_read)
		return true;
	free(*out);
	*out = NULL;
	return false;
}

bool file_lock(const char *dir)
{
	/* Kept open until the process ends: that is the lock. */
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return fail(dir, "open the folder");
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return true;
	say_refused("another cpctl is at work in %s: wait until it is done", dir);
	close(fd);
	return false;
}

int say_crypto(const char *path, enum cpd_error error)
{
	const char *problem = crypto_problem();

	/* Most problems name the file themselves. */
	if (strstr(problem, path))
		return say_refused("%s", problem);
	return say_refused("%s: %s", path, *problem ? problem : cpd_error_text(error));
}
