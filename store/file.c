/* file.c: the folder, its lock, and whether the data file may be mapped. What LMDB trusts and must not. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/internal.h"

/* LMDB's two meta pages (format 1, 64-bit, host byte order), as far as they tell that they are such. */
#define META_FLAGS 10          /* of the page header: u16 */
#define META_IS_META 0x08
#define META_MAGIC 16
#define META_MAGIC_VALUE 0xBEEFC0DEu
#define META_VERSION 20
#define META_VERSION_VALUE 1u
#define META_PAGE_BYTES 40     /* u32 */
#define META_LEN PAGES_META

const char *file_problem(const char *format, ...)
{
	static _Thread_local char text[640];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	return text;
}

static enum cpd_error file_join(const char *folder, const char *name, char *out, size_t size)
{
	const int len = snprintf(out, size, "%s/%s", folder, name);

	return len < 0 || (size_t)len >= size ? CPD_ERR_TOO_LARGE : CPD_OK;
}

enum cpd_error file_sync_folder(const char *path)
{
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum cpd_error error = CPD_OK;

	if (fd < 0)
		return CPD_ERR_IO;
	/* EINVAL: a file system without folder sync has nothing to lose there. */
	if (fsync(fd) && errno != EINVAL)
		error = CPD_ERR_IO;
	close(fd);
	return error;
}

static enum cpd_error file_make_folder(const struct store *store, const char **problem)
{
	struct stat st;

	if (!store->read_only && mkdir(store->path, 0700) && errno != EEXIST) {
		*problem = file_problem("cannot make the store folder %s: %s; make its parent folder, or correct the path",
		    store->path, strerror(errno));
		return CPD_ERR_IO;
	}
	if (stat(store->path, &st)) {
		*problem = file_problem("cannot open the store folder %s: %s; correct the path", store->path, strerror(errno));
		return errno == ENOENT ? CPD_ERR_NOT_FOUND : CPD_ERR_IO;
	}
	if (!S_ISDIR(st.st_mode)) {
		*problem = file_problem("the store path %s is not a folder; correct the path", store->path);
		return CPD_ERR_USAGE;
	}
	return CPD_OK;
}

/* Our own lock: LMDB lets several processes in, and one that is opened twice corrupts itself. */
static enum cpd_error file_lock(struct store *store, const char **problem)
{
	char path[4096];

	if (file_join(store->path, "lock", path, sizeof(path))) {
		*problem = "the path of the store is too long; choose a shorter one";
		return CPD_ERR_TOO_LARGE;
	}
	store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (store->lock_fd < 0) {
		if (store->read_only && errno == EROFS)
			return CPD_OK; /* nobody can write there */
		*problem = file_problem("cannot open %s: %s; let the folder belong to the user that runs cpd", path, strerror(errno));
		return CPD_ERR_IO;
	}
	if (flock(store->lock_fd, LOCK_EX | LOCK_NB)) {
		*problem = file_problem("the store %s is in use by another process; stop that one first, or ask it through cpctl",
		    store->path);
		return CPD_ERR_BUSY;
	}
	return CPD_OK;
}

/* Before 0.9.32 LMDB can answer MDB_PAGE_FULL on larger pages, in the middle of a turn. */
static enum cpd_error file_check_page_size(const char **problem)
{
	int major, minor, patch;
	const long page = sysconf(_SC_PAGESIZE);

	mdb_version(&major, &minor, &patch);
	if (page == 4096 || major > 0 || minor > 9 || patch >= 32)
		return CPD_OK;
	*problem = file_problem("this kernel has pages of %ld bytes, with which LMDB %d.%d.%d fails; start a kernel with pages of "
	    "4096 bytes (Raspberry Pi 5: kernel=kernel8.img in config.txt) or install LMDB 0.9.32 or later", page, major, minor, patch);
	return CPD_ERR_USAGE;
}

static uint64_t file_take(const uint8_t *meta, size_t at, size_t len)
{
	uint64_t value = 0;
	uint32_t word;
	uint16_t half;

	if (len == 8) {
		memcpy(&value, meta + at, 8);
		return value;
	}
	if (len == 4) {
		memcpy(&word, meta + at, 4);
		return word;
	}
	memcpy(&half, meta + at, 2);
	return half;
}

static bool file_meta_is_sound(const uint8_t *meta)
{
	return file_take(meta, META_FLAGS, 2) & META_IS_META && file_take(meta, META_MAGIC, 4) == META_MAGIC_VALUE &&
	    file_take(meta, META_VERSION, 4) == META_VERSION_VALUE;
}

size_t file_metas(const uint8_t *bytes, size_t size, bool is_sound[2])
{
	const size_t kernel = (size_t)sysconf(_SC_PAGESIZE);
	size_t page = size >= META_LEN && file_meta_is_sound(bytes) ? file_take(bytes, META_PAGE_BYTES, 4) : 0;

	is_sound[0] = page >= 512 && page <= 65536 && !(page & (page - 1));
	is_sound[1] = is_sound[0] && size >= page + META_LEN && file_meta_is_sound(bytes + page) && file_take(bytes + page, META_PAGE_BYTES, 4) == page;
	if (is_sound[1] || (is_sound[0] && page == kernel))
		return page;
	/* LMDB makes a file with pages as its kernel has them. */
	is_sound[0] = false;
	is_sound[1] = size >= kernel + META_LEN && file_meta_is_sound(bytes + kernel) && file_take(bytes + kernel, META_PAGE_BYTES, 4) == kernel;
	return kernel;
}

static enum cpd_error file_check(const struct store *store, bool *is_new, const char **problem)
{
	char path[4096];
	enum cpd_error error;
	struct stat st;
	int fd;

	*is_new = false;
	if (file_join(store->path, "data.mdb", path, sizeof(path)))
		return CPD_ERR_TOO_LARGE;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		*is_new = true;
		if (!store->read_only)
			return CPD_OK;
		*problem = file_problem("there is no store in %s; correct the path", store->path);
		return CPD_ERR_NOT_FOUND;
	}
	if (fd < 0 || fstat(fd, &st)) {
		*problem = file_problem("cannot read %s: %s; let it belong to the user that runs cpd", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return CPD_ERR_IO;
	}
	if (st.st_size == 0 && !store->read_only) {
		/* A power cut while it was made: once a commit was acknowledged its length is on disk. */
		*is_new = true;
		error = CPD_OK;
	} else {
		error = CPD_OK; /* what is in it salvage.c looks at */
	}
	close(fd);
	return error;
}

enum cpd_error file_claim(struct store *store, bool *is_new, const char **problem)
{
	enum cpd_error error = file_check_page_size(problem);

	*is_new = false;
	if (!error)
		error = file_make_folder(store, problem);
	if (!error)
		error = file_lock(store, problem);
	if (!error)
		error = file_check(store, is_new, problem);
	return error;
}

/* The folder may be as new as the file. One we may not read, we did not make it in. */
static enum cpd_error file_sync_parent(const char *path)
{
	char parent[4096];
	char *slash;

	if (snprintf(parent, sizeof(parent), "%s", path) >= (int)sizeof(parent))
		return CPD_ERR_TOO_LARGE;
	for (slash = parent + strlen(parent); slash > parent + 1 && slash[-1] == '/';)
		*--slash = '\0';
	slash = strrchr(parent, '/');
	if (!slash)
		strcpy(parent, ".");
	else
		slash[slash == parent] = '\0';
	return access(parent, R_OK) ? CPD_OK : file_sync_folder(parent);
}

/* LMDB writes the first pages of a new file and syncs them with the first commit: cut in between, they are
 * in part on disk, and look like damage. So they are written and synced under another name. */
static int file_write_new(const char *path, size_t map_bytes)
{
	MDB_env *env;
	int rc = mdb_env_create(&env);

	if (rc)
		return rc;
	rc = mdb_env_set_mapsize(env, map_bytes);
	if (!rc)
		rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
	if (!rc)
		rc = mdb_env_sync(env, 1);
	mdb_env_close(env);
	return rc;
}

enum cpd_error file_make(const struct store *store, size_t map_bytes, const char **problem)
{
	char path[4096], temporary[4096];
	enum cpd_error error = file_join(store->path, "data.mdb", path, sizeof(path));
	int rc;

	if (!error)
		error = file_join(store->path, "data.mdb.part", temporary, sizeof(temporary));
	if (error) {
		*problem = "the path of the store is too long; choose a shorter one";
		return error;
	}
	unlink(temporary); /* left by a start that was cut off */
	rc = file_write_new(temporary, map_bytes);
	if (!rc && rename(temporary, path))
		rc = errno;
	if (rc) {
		unlink(temporary);
		*problem = file_problem("cannot make %s: %s; look at the disk and its free space, and let the folder belong to the user that runs cpd",
		    path, mdb_strerror(rc));
		return store_lmdb_error(rc);
	}
	return CPD_OK;
}

enum cpd_error file_sync_names(const struct store *store)
{
	const enum cpd_error error = file_sync_folder(store->path);

	return error ? error : file_sync_parent(store->path);
}

bool file_reserve(const struct store *store, size_t bytes)
{
	struct stat st;
	int fd, rc;

	if (mdb_env_get_fd(store->env, &fd) || fstat(fd, &st))
		return false;
	do
		rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes);
	while (rc && errno == EINTR);
	if (rc && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO))
		return false;
	/* Other errors: this file system cannot reserve; then a full disk shows at a commit. */
	return (size_t)st.st_size >= bytes || ftruncate(fd, (off_t)bytes) == 0;
}
