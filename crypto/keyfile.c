/* keyfile.c: see keyfile.h. */
#include "crypto/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/crypto.h"

/* One per thread: errors carry no text, and two threads may fail at once. */
static _Thread_local char problem_text[KEYFILE_PATH_MAX + 256];

void keyfile_problem(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(problem_text, sizeof(problem_text), format, args);
	va_end(args);
}

const char *crypto_problem(void)
{
	return problem_text;
}

static enum cpd_error refuse_io(const char *path, const char *what)
{
	int saved = errno;

	if (saved == EACCES)
		keyfile_problem("%s: user %u may not %s: let it and its folder belong to that user, chown -R", path, (unsigned)geteuid(), what);
	else
		keyfile_problem("%s: cannot %s: %s", path, what, strerror(saved));
	errno = saved;
	return saved == ENOENT ? CPD_ERR_NOT_FOUND : CPD_ERR_IO;
}

enum cpd_error keyfile_path(const char *dir, const char *name, char out[KEYFILE_PATH_MAX])
{
	int len = snprintf(out, KEYFILE_PATH_MAX, "%s/%s", dir, name);

	if (len < 0 || len >= KEYFILE_PATH_MAX) {
		out[0] = '\0';
		keyfile_problem("the folder name is longer than %d bytes: choose a shorter one",
		    KEYFILE_PATH_MAX - 32);
		return CPD_ERR_TOO_LARGE;
	}
	return CPD_OK;
}

static enum cpd_error check_opened(int fd, const char *path, enum keyfile_mode mode)
{
	const mode_t closed = mode == KEYFILE_SECRET ? 077 : mode == KEYFILE_CREDENTIAL ? 007 : 0;
	struct stat info;

	if (fstat(fd, &info) != 0)
		return refuse_io(path, "look at it");
	if (!S_ISREG(info.st_mode)) {
		keyfile_problem("%s is not a file", path);
		return CPD_ERR_MALFORMED;
	}
	if ((info.st_mode & closed) != 0) {
		keyfile_problem("%s may be read by others (mode %03o): chmod 600 '%s'",
		    path, (unsigned)(info.st_mode & 0777), path);
		return CPD_ERR_STATE;
	}
	return CPD_OK;
}

/* One byte more than `size` is asked for, so that a longer file is seen to be longer. */
static enum cpd_error read_all(int fd, const char *path, uint8_t *buf, size_t size, size_t *len)
{
	size_t have = 0;

	for (;;) {
		uint8_t beyond;
		bool is_full = have == size;
		ssize_t got = is_full ? read(fd, &beyond, 1) : read(fd, buf + have, size - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return refuse_io(path, "read it");
		if (got == 0)
			break;
		if (is_full) {
			keyfile_problem("%s is longer than %zu bytes: it is not what its name says", path, size);
			return CPD_ERR_TOO_LARGE;
		}
		have += (size_t)got;
	}
	*len = have;
	return CPD_OK;
}

enum cpd_error keyfile_read(const char *path, enum keyfile_mode mode, uint8_t *buf, size_t size, size_t *len)
{
	enum cpd_error error;
	int fd;

	*len = 0;
	/* O_NONBLOCK: a FIFO with this name must not hang the start. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return refuse_io(path, "open it");
	error = check_opened(fd, path, mode);
	if (error == CPD_OK)
		error = read_all(fd, path, buf, size, len);
	close(fd);
	if (error != CPD_OK)
		crypto_wipe(buf, size);
	return error;
}

static enum cpd_error write_all(int fd, const char *path, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t put = write(fd, data, len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return refuse_io(path, "write it");
		data += put;
		len -= (size_t)put;
	}
	if (fsync(fd) != 0)
		return refuse_io(path, "sync it to disk");
	return CPD_OK;
}

static enum cpd_error sync_folder_of(const char *path)
{
	char folder[KEYFILE_PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t len = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);

	if (len >= sizeof(folder))
		return CPD_ERR_TOO_LARGE;
	memcpy(folder, slash == NULL ? "." : path, len);
	folder[len] = '\0';
	return keyfile_sync_folder(folder);
}

enum cpd_error keyfile_write(const char *path, enum keyfile_mode mode, const uint8_t *data, size_t len)
{
	char temporary[KEYFILE_PATH_MAX + 8];
	enum cpd_error error;
	int fd, used;

	used = snprintf(temporary, sizeof(temporary), "%s.new", path);
	if (used < 0 || (size_t)used >= sizeof(temporary)) {
		keyfile_problem("the path is longer than %d bytes: choose a shorter one", KEYFILE_PATH_MAX);
		return CPD_ERR_TOO_LARGE;
	}
	/* One left by a crash may be half, and may have other rights: never written into again. */
	if (unlink(temporary) != 0 && errno != ENOENT)
		return refuse_io(temporary, "remove it");
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
	    mode == KEYFILE_SECRET ? 0600 : 0644);
	if (fd < 0)
		return refuse_io(temporary, "make it");
	error = write_all(fd, temporary, data, len);
	if (close(fd) != 0 && error == CPD_OK)
		error = refuse_io(temporary, "close it");
	if (error == CPD_OK && rename(temporary, path) != 0)
		error = refuse_io(path, "put it in place");
	if (error != CPD_OK) {
		unlink(temporary);
		return error;
	}
	return sync_folder_of(path);
}

enum cpd_error keyfile_sync_folder(const char *dir)
{
	enum cpd_error error = CPD_OK;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return refuse_io(dir, "open the folder");
	if (fsync(fd) != 0)
		error = refuse_io(dir, "sync the folder to disk");
	close(fd);
	return error;
}

enum cpd_error keyfile_folder(const char *dir)
{
	if (mkdir(dir, 0700) == 0)
		return sync_folder_of(dir);
	if (errno != EEXIST)
		return refuse_io(dir, "make the folder");
	return keyfile_folder_check(dir);
}

enum cpd_error keyfile_folder_check(const char *dir)
{
	struct stat info;

	if (stat(dir, &info) != 0)
		return refuse_io(dir, "look at the folder");
	if (!S_ISDIR(info.st_mode)) {
		keyfile_problem("%s is not a folder", dir);
		return CPD_ERR_STATE;
	}
	if ((info.st_mode & 022) != 0) {
		keyfile_problem("others may write in the folder %s (mode %03o): chmod 700 '%s'",
		    dir, (unsigned)(info.st_mode & 0777), dir);
		return CPD_ERR_STATE;
	}
	/* Root may look into everybody's folder. */
	if (geteuid() != 0 && info.st_uid != geteuid() && info.st_uid != 0) {
		keyfile_problem("the folder %s belongs to user %u, who could put other keys there: find out why, then "
		    "chown -R %u '%s'", dir, (unsigned)info.st_uid, (unsigned)geteuid(), dir);
		return CPD_ERR_STATE;
	}
	return CPD_OK;
}

bool keyfile_exists(const char *path)
{
	struct stat info;

	/* lstat: a dangling link is in the way as much as a file. */
	return lstat(path, &info) == 0;
}

enum cpd_error keyfile_lock(const char *dir, int *fd)
{
	*fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0)
		return refuse_io(dir, "open the folder");
	if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
		return CPD_OK;
	keyfile_problem("another process is making keys in %s: wait until it is done", dir);
	close(*fd);
	*fd = -1;
	return CPD_ERR_BUSY;
}

void keyfile_unlock(int fd)
{
	if (fd >= 0)
		close(fd);
}
