/*
 * faults.c: a disk that fails, for test/system/test_disk.py: loaded into cpd with LD_PRELOAD, it stands before
 * the calls that write data.mdb. The file named by CPD_DISK_FAULT tells what they do, and is read at each:
 * empty or absent: as the kernel does; "EIO", "ENOSPC", "EROFS": fail; a number: wait so many ms in each sync.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Straight to the kernel: no other library's calls come here again. */
static bool read_fault(char out[16])
{
	const char *path = getenv("CPD_DISK_FAULT");
	long fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) : -1, len = 0;

	if (fd >= 0) {
		len = syscall(SYS_read, fd, out, 15);
		syscall(SYS_close, fd);
	}
	out[len > 0 ? len : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return out[0] != '\0';
}

static bool is_store(int fd)
{
	char link[40], path[512];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 9)
		return false;
	path[len] = '\0';
	return strcmp(path + len - 9, "/data.mdb") == 0;
}

/* The errno to fail with; 0: none. */
static int fault_of_write(int fd)
{
	char fault[16];

	if (!is_store(fd) || !read_fault(fault))
		return 0;
	return strcmp(fault, "EIO") == 0 ? EIO : strcmp(fault, "ENOSPC") == 0 ? ENOSPC : strcmp(fault, "EROFS") == 0 ? EROFS : 0;
}

static int sync_slowly(int fd, long number)
{
	char fault[16];
	long ms;

	if (is_store(fd) && read_fault(fault)) {
		/* A sync finds no full disk that its writes did not. */
		if (strcmp(fault, "EIO") == 0 || strcmp(fault, "EROFS") == 0) {
			errno = strcmp(fault, "EIO") == 0 ? EIO : EROFS;
			return -1;
		}
		ms = strtol(fault, NULL, 10);
		nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
	}
	return (int)syscall(number, fd);
}

int fdatasync(int fd)
{
	return sync_slowly(fd, SYS_fdatasync);
}

int fsync(int fd)
{
	return sync_slowly(fd, SYS_fsync);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
	const int fault = fault_of_write(fd);

	if (!fault)
		return syscall(SYS_pwrite64, fd, bytes, len, offset);
	errno = fault;
	return -1;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	const int fault = fault_of_write(fd);

	if (!fault)
		return syscall(SYS_writev, fd, parts, count);
	errno = fault;
	return -1;
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	const int fault = fault_of_write(fd);

	if (!fault)
		return (int)syscall(SYS_fallocate, fd, mode, offset, len);
	errno = fault;
	return -1;
}

int ftruncate(int fd, off_t len)
{
	const int fault = fault_of_write(fd);

	if (!fault)
		return (int)syscall(SYS_ftruncate, fd, len);
	errno = fault;
	return -1;
}

/* On a disk that is read-only nothing can be opened to write, or made. */
int open(const char *path, int flags, ...)
{
	char fault[16];
	mode_t mode = 0;
	va_list list;

	if (flags & O_CREAT) {
		va_start(list, flags);
		mode = (mode_t)va_arg(list, unsigned);
		va_end(list);
	}
	if ((flags & O_ACCMODE) != O_RDONLY && strstr(path, "/store/") && read_fault(fault) && strcmp(fault, "EROFS") == 0) {
		errno = EROFS;
		return -1;
	}
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
