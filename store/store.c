/* store.c: opening, closing, reading, space and backup. Writing is writer.c, checking is check.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/internal.h"

#define DEFAULT_LIMIT ((size_t)2 * 1024 * 1024 * 1024)
#define DEFAULT_INITIAL ((size_t)16 * 1024 * 1024)

/* The schema stands twice: one damaged row must not close the whole store. */
static const char *const schema_names[] = { "schema", "schema-copy" };

static const char *const table_names[TABLE_COUNT] = {
	[TABLE_META] = "meta", [TABLE_ENVELOPES] = "envelopes", [TABLE_CUSTODY] = "custody", [TABLE_QUEUE] = "queue",
	[TABLE_TIMERS] = "timers", [TABLE_RECEIPTS] = "receipts", [TABLE_INBOX] = "inbox", [TABLE_LATEST] = "latest",
	[TABLE_LEAVES] = "leaves", [TABLE_JOURNAL] = "journal", [TABLE_DIRECTORY] = "directory",
	[TABLE_CIRCUITS] = "circuits", [TABLE_PRESENCE] = "presence", [TABLE_AUTHORED] = "authored",
	[TABLE_QUARANTINE] = "quarantine",
};

const char *store_table_name(enum store_table table)
{
	return store_table_is_valid(table) ? table_names[table] : "unknown";
}

bool store_table_is_valid(enum store_table table)
{
	return (unsigned)table < TABLE_COUNT;
}

enum cpd_error store_lmdb_error(int rc)
{
	switch (rc) {
	case 0: return CPD_OK;
	case MDB_NOTFOUND: return CPD_ERR_NOT_FOUND;
	case MDB_MAP_FULL:
	case ENOSPC:
	case EDQUOT: return CPD_ERR_FULL;
	case ENOMEM: return CPD_ERR_NOMEM;
	case MDB_READERS_FULL: return CPD_ERR_BUSY;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_INCOMPATIBLE: return CPD_ERR_DAMAGED;
	default: return CPD_ERR_IO;
	}
}

/* ---- opening */

static struct store *store_new(const struct store_options *options)
{
	struct store *store = calloc(1, sizeof(*store));
	const size_t page = 4096;

	if (!store)
		return NULL;
	store->path = strdup(options->path);
	store->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	store->lock_fd = -1;
	store->hash = options->hash;
	store->read_only = options->read_only;
	store->last = &store->first;
	store->limit_bytes = (options->limit_bytes ? options->limit_bytes : DEFAULT_LIMIT) / page * page;
	if (store->limit_bytes < STORE_MAP_MIN)
		store->limit_bytes = STORE_MAP_MIN;
	pthread_rwlock_init(&store->map_lock, NULL);
	pthread_mutex_init(&store->readers_lock, NULL);
	pthread_mutex_init(&store->lock, NULL);
	pthread_cond_init(&store->work, NULL);
	pthread_cond_init(&store->done, NULL);
	if (!store->path || store->event_fd < 0) {
		store_close(store);
		return NULL;
	}
	return store;
}

static int store_open_env(struct store *store, size_t initial)
{
	const size_t page = 4096;
	unsigned flags = MDB_NOTLS;
	MDB_envinfo info;
	MDB_stat stat;
	int dead, rc = mdb_env_create(&store->env);

	if (rc)
		return rc;
	initial = (initial ? initial : DEFAULT_INITIAL) / page * page;
	if (initial < STORE_MAP_MIN)
		initial = STORE_MAP_MIN;
	if (initial > store->limit_bytes)
		initial = store->limit_bytes;
	if (store->read_only)
		flags |= MDB_RDONLY;
	/* Never NOSYNC, NOMETASYNC or WRITEMAP: each loses or tears what was acknowledged. */
	rc = mdb_env_set_maxdbs(store->env, TABLE_COUNT);
	if (!rc)
		rc = mdb_env_set_mapsize(store->env, initial);
	if (!rc)
		rc = mdb_env_open(store->env, store->path, flags, 0600);
	if (!rc)
		rc = mdb_reader_check(store->env, &dead);
	if (rc)
		return rc;
	mdb_env_info(store->env, &info);
	mdb_env_stat(store->env, &stat);
	store->page_bytes = stat.ms_psize;
	atomic_store(&store->map_bytes, info.me_mapsize);
	if (store->limit_bytes < info.me_mapsize)
		store->limit_bytes = info.me_mapsize; /* a lower limit than what is used refuses, it cannot shrink */
	return 0;
}

/* OK with *schema 0: none yet. */
static enum cpd_error store_read_schema(struct store *store, MDB_txn *txn, uint64_t *schema)
{
	enum cpd_error error = CPD_ERR_NOT_FOUND, one;
	struct scratch scratch = { NULL, 0 };
	struct slice value;

	*schema = 0;
	for (size_t i = 0; i < 2 && error; i++) {
		const struct store_key key = store_key_name(schema_names[i]);

		one = store_row_get(store, txn, TABLE_META, &key, &scratch, &value);
		if (!one)
			one = store_value_read_u64(value, schema);
		if (one != CPD_ERR_NOT_FOUND || i == 0)
			error = one;
	}
	free(scratch.bytes);
	return error == CPD_ERR_NOT_FOUND ? CPD_OK : error;
}

static enum cpd_error store_check_schema(struct store *store, MDB_txn *txn, uint64_t *schema, const char **problem)
{
	enum cpd_error error = store_read_schema(store, txn, schema);
	MDB_stat stat;

	if (error) {
		*problem = file_problem("the store in %s does not say which schema it has: its meta table is damaged; restore it from a "
		    "backup", store->path);
		return error == CPD_ERR_MALFORMED ? CPD_ERR_DAMAGED : error;
	}
	if (*schema == STORE_SCHEMA)
		return CPD_OK;
	if (*schema != 0) {
		*problem = file_problem("the store in %s has schema %llu and this cpd knows up to %d; install the cpd that wrote it, or "
		    "a later one", store->path, (unsigned long long)*schema, STORE_SCHEMA);
		return CPD_ERR_SCHEMA;
	}
	for (enum store_table table = 0; table < TABLE_COUNT; table++) {
		if (mdb_stat(txn, store->tables[table], &stat) || stat.ms_entries == 0)
			continue;
		*problem = file_problem("the store in %s holds rows and no schema; restore it from a backup", store->path);
		return CPD_ERR_DAMAGED;
	}
	return CPD_OK;
}

static enum cpd_error store_open_tables(struct store *store, uint64_t *schema, const char **problem)
{
	enum cpd_error error;
	MDB_txn *txn;
	int rc = mdb_txn_begin(store->env, NULL, store->read_only ? MDB_RDONLY : 0, &txn);

	if (rc)
		goto refused;
	for (enum store_table table = 0; table < TABLE_COUNT && !rc; table++)
		rc = mdb_dbi_open(txn, table_names[table], store->read_only ? 0 : MDB_CREATE, &store->tables[table]);
	if (rc) {
		mdb_txn_abort(txn);
		goto refused;
	}
	/* Aborting leaves a store of a newer schema as it was, tables included. */
	error = store_check_schema(store, txn, schema, problem);
	if (error) {
		mdb_txn_abort(txn);
		return error;
	}
	rc = mdb_txn_commit(txn);
	if (!rc)
		return CPD_OK;
refused:
	*problem = rc == MDB_NOTFOUND ? file_problem("the store in %s lacks a table; start cpd on it once", store->path) :
	    file_problem("cannot open the tables of the store in %s: %s; look at the disk, or restore a backup", store->path, mdb_strerror(rc));
	return store_lmdb_error(rc);
}

/* Also puts back the one of the two rows that was lost. */
static enum cpd_error store_write_schema(struct store *store)
{
	const struct store_value value = store_value_u64(STORE_SCHEMA);
	enum cpd_error error = CPD_OK;
	struct store_batch *batch;
	uint8_t *old;
	size_t len;

	for (size_t i = 0; i < 2 && !error; i++) {
		const struct store_key key = store_key_name(schema_names[i]);

		error = store_get(store, TABLE_META, &key, &old, &len);
		free(old);
		if (!error)
			continue;
		batch = store_batch_new(0);
		if (!batch)
			return CPD_ERR_NOMEM;
		error = store_batch_put(batch, TABLE_META, &key, (struct slice){ value.bytes, value.len });
		if (error)
			store_batch_free(batch);
		else
			error = store_commit_now(store, batch);
	}
	return error;
}

static enum cpd_error store_start(struct store *store, const struct store_options *options, const char **problem)
{
	enum cpd_error error;
	uint64_t schema;
	bool is_new;
	int rc;

	error = file_claim(store, &is_new, problem);
	if (error)
		return error;
	rc = store_open_env(store, options->initial_bytes);
	if (rc) {
		*problem = file_problem("cannot open the store in %s: %s; let its files belong to the user that runs cpd, or restore a backup",
		    store->path, mdb_strerror(rc));
		return store_lmdb_error(rc);
	}
	/* A full disk must not keep out a store that holds messages: it opens, and takes nothing more. */
	if (!store->read_only && !file_reserve(store, atomic_load(&store->map_bytes)))
		atomic_store(&store->growth_failed, true);
	error = store_open_tables(store, &schema, problem);
	if (error)
		return error;
	writer_count_space(store);
	if (store->read_only)
		return CPD_OK;
	error = writer_start(store);
	if (!error)
		error = store_write_schema(store);
	/* The names of the files must survive with the bytes in them. */
	if (!error)
		error = file_sync_folder(store->path);
	if (error)
		*problem = file_problem("cannot write the store in %s: %s; look at the disk and its free space", store->path, cpd_error_text(error));
	return error;
}

enum cpd_error store_open(const struct store_options *options, struct store **out, const char **problem)
{
	enum cpd_error error = CPD_ERR_NOMEM;
	struct store *store;

	*out = NULL;
	*problem = "out of memory while opening the store; stop other programs";
	if (!options->path || options->path[0] == '\0' || !options->hash) {
		*problem = "no path for the store is given; set it in the configuration";
		return CPD_ERR_USAGE;
	}
	store = store_new(options);
	if (store)
		error = store_start(store, options, problem);
	if (error) {
		store_close(store);
		return error;
	}
	*problem = NULL;
	*out = store;
	return CPD_OK;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	writer_stop(store);
	for (size_t i = 0; i < store->reader_count; i++)
		mdb_txn_abort(store->readers[i]);
	if (store->env)
		mdb_env_close(store->env);
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	if (store->event_fd >= 0)
		close(store->event_fd);
	pthread_cond_destroy(&store->done);
	pthread_cond_destroy(&store->work);
	pthread_mutex_destroy(&store->lock);
	pthread_mutex_destroy(&store->readers_lock);
	pthread_rwlock_destroy(&store->map_lock);
	free(store->path);
	free(store);
}

/* ---- space */

void store_space(struct store *store, struct store_space *out)
{
	const size_t top = atomic_load(&store->top_bytes), free_bytes = atomic_load(&store->free_bytes);

	out->map_bytes = atomic_load(&store->map_bytes);
	out->limit_bytes = atomic_load(&store->growth_failed) ? out->map_bytes : store->limit_bytes;
	out->used_bytes = top > free_bytes ? top - free_bytes : 0;
}

bool store_admits_more(struct store *store, enum precedence precedence, size_t more)
{
	static const unsigned percent[PRECEDENCE_COUNT] = { 60, 75, 88, 96 };
	struct store_space space;
	size_t waiting, bound;
	bool can_write;

	if ((unsigned)precedence >= PRECEDENCE_COUNT)
		return false;
	pthread_mutex_lock(&store->lock);
	can_write = store->has_writer && !store->failed;
	waiting = store->waiting_bytes + more;
	pthread_mutex_unlock(&store->lock);
	if (!can_write)
		return false;
	store_space(store, &space);
	bound = space.limit_bytes / 100 * percent[precedence];
	if (space.used_bytes + waiting <= bound)
		return true;
	/* The count may be older than a purge; and when all is refused nothing commits to renew it. */
	if (atomic_load(&store->commits_uncounted) == 0)
		return false;
	writer_count_space(store);
	store_space(store, &space);
	return space.used_bytes + waiting <= bound;
}

bool store_admits(struct store *store, enum precedence precedence)
{
	return store_admits_more(store, precedence, 0);
}

/* ---- backup */

enum cpd_error store_backup(struct store *store, const char *path)
{
	enum cpd_error error = CPD_ERR_IO;
	char temporary[4096], folder[4096];
	char *slash;
	int fd, rc;

	if (snprintf(temporary, sizeof(temporary), "%s.part", path) >= (int)sizeof(temporary))
		return CPD_ERR_TOO_LARGE;
	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder] = '\0';
	else
		snprintf(folder, sizeof(folder), ".");
	unlink(temporary); /* left by a backup that was cut off */
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return CPD_ERR_IO;
	pthread_rwlock_rdlock(&store->map_lock);
	rc = mdb_env_copyfd2(store->env, fd, MDB_CP_COMPACT);
	pthread_rwlock_unlock(&store->map_lock);
	if (rc)
		error = store_lmdb_error(rc);
	else if (fsync(fd) == 0 && rename(temporary, path) == 0)
		error = file_sync_folder(folder);
	close(fd);
	if (error)
		unlink(temporary);
	return error;
}
