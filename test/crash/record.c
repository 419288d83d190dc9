/*
 * record.c: between the store and the kernel. The linker sends each call of open, pwrite, fdatasync and so on
 * in liblmdb.a and libstore.a here (--wrap); they are made, and noted in the order in which they were.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "test/crash/crash.h"

#define DESCRIPTORS 1024

struct recording recordings[CRASH_DISKS];
size_t recording_count;

static struct { struct recording *recording; uint32_t file; bool is_folder, is_parent, own_sync; } descriptors[DESCRIPTORS];
static struct store *stores[CRASH_DISKS];
static bool is_recording, is_blind;         /* blind: something was done that is not noted */
static enum broken broken;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int __real_open(const char *path, int flags, ...);
int __real_close(int fd);
ssize_t __real_write(int fd, const void *bytes, size_t len);
ssize_t __real_pwrite(int fd, const void *bytes, size_t len, off_t offset);
ssize_t __real_writev(int fd, const struct iovec *parts, int count);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
int __real_msync(void *at, size_t len, int flags);
int __real_ftruncate(int fd, off_t len);
int __real_fallocate(int fd, int mode, off_t offset, off_t len);
int __real_rename(const char *from, const char *to);
int __real_mkdir(const char *path, mode_t mode);
int __real_unlink(const char *path);
int __real_mdb_env_open(MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode);
enum cpd_error __real_store_open(const struct store_options *options, struct store **out, const char **problem);
void __real_store_close(struct store *store);
enum cpd_error __real_store_submit(struct store *store, struct store_batch *take_batch);
enum cpd_error __real_store_commit_now(struct store *store, struct store_batch *take_batch);

int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int fd);
ssize_t __wrap_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t len, off_t offset);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_msync(void *at, size_t len, int flags);
int __wrap_ftruncate(int fd, off_t len);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_rename(const char *from, const char *to);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_unlink(const char *path);
int __wrap_mdb_env_open(MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode);
enum cpd_error __wrap_store_open(const struct store_options *options, struct store **out, const char **problem);
void __wrap_store_close(struct store *store);
enum cpd_error __wrap_store_submit(struct store *store, struct store_batch *take_batch);
enum cpd_error __wrap_store_commit_now(struct store *store, struct store_batch *take_batch);

/* ---------------------------------------------------------------- notes */

/* With the lock held. Memory that runs out ends the test. */
static size_t note(struct recording *recording, struct happening happening, const void *bytes, size_t len)
{
	if (recording->count == recording->room) {
		recording->room = recording->room * 2 + 1024;
		recording->happenings = realloc(recording->happenings, recording->room * sizeof(happening));
		if (!recording->happenings)
			abort();
	}
	if (len) {
		happening.bytes = malloc(len);
		if (!happening.bytes)
			abort();
		memcpy(happening.bytes, bytes, len);
		happening.len = len;
	}
	recording->happenings[recording->count] = happening;
	return recording->count++;
}

/* The recording a path belongs to, and its name in the folder: "" for that itself, NULL for the one above. LMDB's reader table and our lock survive nothing. */
static struct recording *recording_of(const char *path, const char **name)
{
	for (size_t i = 0; is_recording && i < recording_count; i++) {
		const size_t len = strlen(recordings[i].path);

		if (strcmp(path, recordings[i].parent) == 0) {
			*name = NULL;
			return &recordings[i];
		}
		if (strncmp(path, recordings[i].path, len) != 0)
			continue;
		if (path[len] == '\0') {
			*name = "";
			return &recordings[i];
		}
		*name = path + len + 1;
		if (path[len] == '/' && strncmp(*name, "lock", 4) != 0)
			return &recordings[i];
	}
	return NULL;
}

static uint32_t name_of(struct recording *recording, const char *name)
{
	for (uint32_t i = 0; i < recording->name_count; i++)
		if (strcmp(recording->names[i], name) == 0)
			return i;
	if (recording->name_count == CRASH_FILES || strlen(name) >= sizeof(recording->names[0]))
		abort();
	strcpy(recording->names[recording->name_count], name);
	recording->live[recording->name_count] = -1;
	return recording->name_count++;
}

/* The file that a name leads to now; a new one when it was just made. */
static uint32_t file_of(struct recording *recording, const char *text, bool is_new)
{
	const uint32_t name = name_of(recording, text);

	if (is_new) {
		if (recording->file_count == CRASH_FILES)
			abort();
		recording->live[name] = (int)recording->file_count++;
		note(recording, (struct happening){ .what = HAPPENED_CREATE, .file = (uint32_t)recording->live[name], .name = name }, NULL, 0);
	}
	if (recording->live[name] < 0)
		abort();
	return (uint32_t)recording->live[name];
}

static struct recording *recording_of_fd(int fd)
{
	return is_recording && fd >= 0 && fd < DESCRIPTORS ? descriptors[fd].recording : NULL;
}

/* ---------------------------------------------------------------- files */

int __wrap_open(const char *path, int flags, ...)
{
	struct recording *recording;
	const char *name;
	struct stat info;
	bool is_new;
	mode_t mode = 0;
	va_list list;
	int fd;

	va_start(list, flags);
	if (flags & O_CREAT)
		mode = (mode_t)va_arg(list, unsigned);
	va_end(list);
	recording = recording_of(path, &name);
	if (!recording)
		return __real_open(path, flags, mode);
	pthread_mutex_lock(&lock);
	is_new = flags & O_CREAT && lstat(path, &info) && errno == ENOENT;
	fd = __real_open(path, flags, mode);
	if (fd >= DESCRIPTORS || (fd >= 0 && flags & O_TRUNC))
		is_blind = true;
	else if (fd >= 0) {
		descriptors[fd].recording = recording;
		descriptors[fd].is_parent = name == NULL;
		descriptors[fd].is_folder = name && *name == '\0';
		descriptors[fd].own_sync = (flags & O_DSYNC) != 0;
		descriptors[fd].file = name && *name ? file_of(recording, name, is_new) : 0;
	}
	pthread_mutex_unlock(&lock);
	return fd;
}

int __wrap_close(int fd)
{
	if (fd >= 0 && fd < DESCRIPTORS)
		descriptors[fd].recording = NULL;
	return __real_close(fd);
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
	struct recording *recording = recording_of_fd(fd);
	ssize_t written;
	size_t place;

	if (!recording)
		return __real_pwrite(fd, bytes, len, offset);
	pthread_mutex_lock(&lock);
	place = note(recording, (struct happening){ .what = HAPPENED_WRITE, .file = descriptors[fd].file, .offset = (uint64_t)offset,
	    .own_sync = descriptors[fd].own_sync }, bytes, len);
	written = __real_pwrite(fd, bytes, len, offset);
	if (written != (ssize_t)len)
		is_blind = true;
	if (descriptors[fd].own_sync)
		note(recording, (struct happening){ .what = HAPPENED_WRITTEN, .file = descriptors[fd].file, .of = place }, NULL, 0);
	pthread_mutex_unlock(&lock);
	return written;
}

ssize_t __wrap_writev(int fd, const struct iovec *parts, int count)
{
	struct recording *recording = recording_of_fd(fd);
	const off_t offset = recording ? lseek(fd, 0, SEEK_CUR) : 0;
	size_t len = 0, at = 0;
	ssize_t written;
	uint8_t *bytes;

	if (!recording)
		return __real_writev(fd, parts, count);
	for (int i = 0; i < count; i++)
		len += parts[i].iov_len;
	bytes = malloc(len);
	if (!bytes)
		abort();
	for (int i = 0; i < count; at += parts[i++].iov_len)
		memcpy(bytes + at, parts[i].iov_base, parts[i].iov_len);
	written = __wrap_pwrite(fd, bytes, len, offset);
	if (written > 0)
		lseek(fd, offset + written, SEEK_SET);
	free(bytes);
	return written;
}

static int sync_and_note(int fd, int (*sync)(int))
{
	struct recording *recording = recording_of_fd(fd);
	int rc;

	if (!recording)
		return sync(fd);
	pthread_mutex_lock(&lock);
	rc = sync(fd);
	if (rc == 0)
		note(recording, (struct happening){ .what = descriptors[fd].is_parent ? HAPPENED_PARENT_SYNC :
		    descriptors[fd].is_folder ? HAPPENED_FOLDER_SYNC : HAPPENED_SYNC, .file = descriptors[fd].file }, NULL, 0);
	pthread_mutex_unlock(&lock);
	return rc;
}

int __wrap_fdatasync(int fd)
{
	return sync_and_note(fd, __real_fdatasync);
}

int __wrap_fsync(int fd)
{
	return sync_and_note(fd, __real_fsync);
}

/* LMDB writes through the map only with WRITEMAP, which cpd never sets. */
int __wrap_msync(void *at, size_t len, int flags)
{
	is_blind = true;
	return __real_msync(at, len, flags);
}

int __wrap_ftruncate(int fd, off_t len)
{
	struct recording *recording = recording_of_fd(fd);
	int rc;

	if (!recording)
		return __real_ftruncate(fd, len);
	pthread_mutex_lock(&lock);
	rc = __real_ftruncate(fd, len);
	if (rc == 0)
		note(recording, (struct happening){ .what = HAPPENED_LENGTH, .file = descriptors[fd].file, .offset = (uint64_t)len }, NULL, 0);
	pthread_mutex_unlock(&lock);
	return rc;
}

/* With KEEP_SIZE it changes neither bytes nor length. */
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (recording_of_fd(fd) && mode != FALLOC_FL_KEEP_SIZE)
		is_blind = true;
	return __real_fallocate(fd, mode, offset, len);
}

int __wrap_rename(const char *from, const char *to)
{
	const char *old, *new;
	struct recording *recording = recording_of(from, &old);
	int rc;

	if (!recording || !old || recording_of(to, &new) != recording || !new)
		return __real_rename(from, to);
	pthread_mutex_lock(&lock);
	rc = __real_rename(from, to);
	if (rc == 0) {
		const uint32_t name = name_of(recording, old), other = name_of(recording, new);

		recording->live[other] = recording->live[name];
		recording->live[name] = -1;
		note(recording, (struct happening){ .what = HAPPENED_RENAME, .name = name, .other = other }, NULL, 0);
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

int __wrap_mkdir(const char *path, mode_t mode)
{
	const char *name;
	struct recording *recording = recording_of(path, &name);
	const int rc = __real_mkdir(path, mode);

	if (rc == 0 && recording && name && *name == '\0') {
		pthread_mutex_lock(&lock);
		note(recording, (struct happening){ .what = HAPPENED_FOLDER }, NULL, 0);
		pthread_mutex_unlock(&lock);
	}
	return rc;
}

int __wrap_unlink(const char *path)
{
	const char *name;
	struct recording *recording = recording_of(path, &name);
	int rc;

	if (!recording || !name)
		return __real_unlink(path);
	pthread_mutex_lock(&lock);
	rc = __real_unlink(path);
	if (rc == 0) {
		recording->live[name_of(recording, name)] = -1;
		note(recording, (struct happening){ .what = HAPPENED_UNLINK, .name = name_of(recording, name) }, NULL, 0);
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

/* ---------------------------------------------------------------- the store */

int __wrap_mdb_env_open(MDB_env *env, const char *path, unsigned flags, mdb_mode_t mode)
{
	const char *name;

	if (recording_of(path, &name))
		flags |= broken == BROKEN_NOSYNC ? MDB_NOSYNC : broken == BROKEN_NOMETASYNC ? MDB_NOMETASYNC : 0;
	return __real_mdb_env_open(env, path, flags, mode);
}

static struct recording *recording_of_store(const struct store *store)
{
	for (size_t i = 0; is_recording && i < recording_count; i++)
		if (strcmp(recordings[i].path, store->path) == 0)
			return &recordings[i];
	return NULL;
}

/* Small at first, so that the load makes it grow. */
enum cpd_error __wrap_store_open(const struct store_options *options, struct store **out, const char **problem)
{
	struct store_options small = *options;
	const char *name;

	if (recording_of(options->path, &name))
		small.initial_bytes = STORE_MAP_MIN;
	return __real_store_open(&small, out, problem);
}

void __wrap_store_close(struct store *store)
{
	__real_store_close(store);
	pthread_mutex_lock(&lock);
	for (size_t i = 0; store && i < CRASH_DISKS; i++)
		if (stores[i] == store)
			stores[i] = NULL;
	pthread_mutex_unlock(&lock);
}

static size_t note_submit(struct recording *recording, struct store *store, const struct store_batch *batch)
{
	size_t place;

	pthread_mutex_lock(&lock);
	stores[recording - recordings] = store;
	place = note(recording, (struct happening){ .what = HAPPENED_SUBMIT, .turn = batch->turn }, batch->bytes, batch->len);
	if (broken == BROKEN_EARLY)
		note(recording, (struct happening){ .what = HAPPENED_ACKNOWLEDGED, .of = place }, NULL, 0);
	pthread_mutex_unlock(&lock);
	return place;
}

enum cpd_error __wrap_store_submit(struct store *store, struct store_batch *take_batch)
{
	struct recording *recording = recording_of_store(store);
	enum cpd_error error;
	size_t place;

	if (!recording)
		return __real_store_submit(store, take_batch);
	place = note_submit(recording, store, take_batch);
	error = __real_store_submit(store, take_batch);
	if (error) {
		pthread_mutex_lock(&lock);
		recording->happenings[place].what = HAPPENED_NOTHING;
		pthread_mutex_unlock(&lock);
	}
	return error;
}

enum cpd_error __wrap_store_commit_now(struct store *store, struct store_batch *take_batch)
{
	struct recording *recording = recording_of_store(store);
	enum cpd_error error;
	size_t place;

	if (!recording)
		return __real_store_commit_now(store, take_batch);
	place = note_submit(recording, store, take_batch);
	error = __real_store_commit_now(store, take_batch);
	pthread_mutex_lock(&lock);
	if (error)
		is_blind = true;
	note(recording, (struct happening){ .what = HAPPENED_ACKNOWLEDGED, .of = place }, NULL, 0);
	pthread_mutex_unlock(&lock);
	return error;
}

/* The writer tells its turns through the eventfd, with the store's lock held: the soonest that an
 * acknowledgement can leave. */
ssize_t __wrap_write(int fd, const void *bytes, size_t len)
{
	struct store *store;

	for (size_t i = 0; is_recording && i < recording_count; i++) {
		struct recording *recording = &recordings[i];

		pthread_mutex_lock(&lock);
		store = stores[i] && stores[i]->event_fd == fd ? stores[i] : NULL;
		for (size_t at = store ? recording->count : 0; at > 0; at--) {
			const struct happening *one = &recording->happenings[at - 1];
			if (one->what != HAPPENED_SUBMIT || one->turn != store->completed)
				continue;
			note(recording, (struct happening){ .what = HAPPENED_ACKNOWLEDGED, .of = at - 1 }, NULL, 0);
			break;
		}
		pthread_mutex_unlock(&lock);
		if (store)
			return __real_write(fd, bytes, len);
	}
	if (recording_of_fd(fd))
		is_blind = true;
	return __real_write(fd, bytes, len);
}

/* ---------------------------------------------------------------- begin and end */

void record_start(const char *const *paths, size_t count, enum broken how)
{
	record_clear();
	for (size_t i = 0; i < count; i++) {
		snprintf(recordings[i].path, sizeof(recordings[i].path), "%s", paths[i]);
		snprintf(recordings[i].parent, sizeof(recordings[i].parent), "%.*s", (int)(strrchr(paths[i], '/') - paths[i]), paths[i]);
	}
	recording_count = count;
	memset(descriptors, 0, sizeof(descriptors));
	memset(stores, 0, sizeof(stores));
	broken = how;
	is_blind = false;
	is_recording = true;
}

/* What the recording makes of a file, against the file. */
static const char *compare(const struct recording *recording)
{
	static char text[CRASH_TEXT];
	struct platter platter;
	const char *problem = NULL;
	struct image image;

	memset(&image, 0, sizeof(image));
	platter_init(&platter, recording);
	while (platter.at < recording->count)
		platter_step(&platter);
	image_make(&platter, 0, 2, &image);
	for (uint32_t i = 0; i < recording->name_count && !problem; i++) {
		char path[80];
		struct stat info;
		uint8_t *bytes = NULL;
		int fd;

		snprintf(path, sizeof(path), "%s/%s", recording->path, recording->names[i]);
		fd = __real_open(path, O_RDONLY);
		if (fd < 0 && !image.exists[i])
			continue;
		snprintf(text, sizeof(text), "the recording of %s gives another file than there is: some call is not seen", path);
		if (fd < 0 || !image.exists[i] || fstat(fd, &info) || (size_t)info.st_size != image.len[i] || !(bytes = malloc(image.len[i])) ||
		    pread(fd, bytes, image.len[i], 0) != (ssize_t)image.len[i] || memcmp(bytes, image.bytes[i], image.len[i]) != 0)
			problem = text;
		free(bytes);
		if (fd >= 0)
			__real_close(fd);
	}
	image_clear(&image);
	platter_clear(&platter);
	return problem;
}

const char *record_stop(void)
{
	const char *problem = NULL;

	is_recording = false;
	if (is_blind)
		return "the store was written in a way that is not recorded: look at record.c";
	for (size_t i = 0; i < recording_count && !problem; i++)
		problem = compare(&recordings[i]);
	return problem;
}

void record_clear(void)
{
	for (size_t i = 0; i < CRASH_DISKS; i++) {
		for (size_t j = 0; j < recordings[i].count; j++)
			free(recordings[i].happenings[j].bytes);
		free(recordings[i].happenings);
	}
	memset(recordings, 0, sizeof(recordings));
	recording_count = 0;
}

/* ---------------------------------------------------------------- to a file, to be looked at again */

bool record_save(const char *path)
{
	FILE *out = fopen(path, "wb");
	bool good = out && fwrite(&recording_count, sizeof(recording_count), 1, out) == 1;

	for (size_t i = 0; good && i < recording_count; i++) {
		good = fwrite(&recordings[i], sizeof(recordings[i]), 1, out) == 1;
		for (size_t j = 0; good && j < recordings[i].count; j++) {
			const struct happening *one = &recordings[i].happenings[j];
			good = fwrite(one, sizeof(*one), 1, out) == 1 && fwrite(one->bytes, 1, one->len, out) == one->len;
		}
	}
	return (!out || fclose(out) == 0) && good;
}

bool record_load(const char *path)
{
	FILE *in = fopen(path, "rb");
	bool good = in && fread(&recording_count, sizeof(recording_count), 1, in) == 1 && recording_count <= CRASH_DISKS;

	for (size_t i = 0; good && i < recording_count; i++) {
		good = fread(&recordings[i], sizeof(recordings[i]), 1, in) == 1;
		recordings[i].happenings = good ? calloc(recordings[i].count + 1, sizeof(struct happening)) : NULL;
		good = good && recordings[i].happenings;
		for (size_t j = 0; good && j < recordings[i].count; j++) {
			struct happening *one = &recordings[i].happenings[j];
			good = fread(one, sizeof(*one), 1, in) == 1;
			one->bytes = good && one->len ? malloc(one->len) : NULL;
			good = good && (!one->len || (one->bytes && fread(one->bytes, 1, one->len, in) == one->len));
		}
	}
	if (in)
		fclose(in);
	return good;
}
