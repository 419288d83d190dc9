/* stick.c: see stick.h. */
#include "daemon/cpctl/stick.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/cpctl/cpctl.h"
#include "daemon/cpctl/file.h"

#define PIECE (64 * 1024)

static bool fail(const char *path, const char *doing)
{
	if (errno == ENOSPC || errno == EDQUOT)
		say_refused("%s: the stick is full: make room on it, or give a smaller --limit. Nothing was changed", path);
	else if (errno == EROFS)
		say_refused("%s: the stick cannot be written: its lock may be on. Nothing was changed", path);
	else
		say_refused("%s: cannot %s: %s. Nothing was changed; try again, or take another stick", path, doing, strerror(errno));
	return false;
}

static bool write_all(int fd, struct slice bytes)
{
	while (bytes.len) {
		ssize_t put = write(fd, bytes.data, bytes.len < PIECE ? bytes.len : PIECE);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0) {
			errno = put ? errno : ENOSPC;
			return false;
		}
		bytes.data += put;
		bytes.len -= (size_t)put;
	}
	return true;
}

/* What the stick really holds: from it, not from memory. */
static bool is_there(int fd, struct slice bytes)
{
	uint8_t piece[PIECE];
	size_t at = 0;

	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	while (at < bytes.len) {
		ssize_t got = pread(fd, piece, sizeof(piece), (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0 || (size_t)got > bytes.len - at || memcmp(piece, bytes.data + at, (size_t)got)) {
			errno = got < 0 ? errno : EIO;
			return false;
		}
		at += (size_t)got;
	}
	return true;
}

bool stick_write(const char *dir, const char *name, struct slice bytes)
{
	char path[FILE_PATH_MAX], temporary[FILE_PATH_MAX], hidden[200];
	bool is_written;
	int fd;

	snprintf(hidden, sizeof(hidden), ".%.180s.part", name);
	if (!file_path(dir, name, path) || !file_path(dir, hidden, temporary))
		return false;
	/* One left by a stick that was pulled out is half, and may be a link to elsewhere. */
	if (unlink(temporary) && errno != ENOENT)
		return fail(temporary, "remove it");
	fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return fail(temporary, "make it");
	is_written = (write_all(fd, bytes) && !fsync(fd)) || fail(temporary, "write it");
	is_written = is_written && (is_there(fd, bytes) || fail(temporary, "read back what was written"));
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

bool stick_sync(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool is_synced = fd >= 0 && !syncfs(fd);

	if (!is_synced)
		say_refused("%s: cannot write out what the stick still has to take: %s. It is NOT safe to pull it out; do this again", dir, strerror(errno));
	if (fd >= 0)
		close(fd);
	return is_synced;
}
