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

static const char *const table_names[TABLE_COUNT] = {
	[TABLE_META] = "meta", [TABLE_ENVELOPES] = "envelopes", [TABLE_CUSTODY] = "custody", [TABLE_QUEUE] = "queue",
	[TABLE_TIMERS] = "timers", [TABLE_RECEIPTS] = "receipts", [TABLE_INBOX] = "inbox", [TABLE_LATEST] = "latest",
	[TABLE_LEAVES] = "leaves", [TABLE_JOURNAL] = "journal", [TABLE_DIRECTORY] = "directory",
	[TABLE_CIRCUITS] = "circuits", [TABLE_PRESENCE] = "presence", [TABLE_AUTHORED] = "authored",
	[TABLE_QUARANTINE] = "quarantine", [TABLE_DEPTHS] = "depths",
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
	pthread_rwlockattr_t kind;

	if (!store)
		return NULL;
	store->path = strdup(options->path);
	store->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	store->lock_fd = -1;
	store->hash = options->hash;
	store->read_only = options->read_only;
	store->version = options->version;
	store->last = &store->first;
	store->limit_bytes = (options->limit_bytes ? options->limit_bytes : DEFAULT_LIMIT) / page * page;
	if (store->limit_bytes < STORE_MAP_MIN)
		store->limit_bytes = STORE_MAP_MIN;
	pthread_rwlockattr_init(&kind);
	pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&store->map_lock, &kind);
	pthread_rwlockattr_destroy(&kind);
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

static size_t store_initial_map(const struct store *store, size_t initial)
{
	const size_t page = 4096;

	initial = (initial ? initial : DEFAULT_INITIAL) / page * page;
	if (initial < STORE_MAP_MIN)
		initial = STORE_MAP_MIN;
	return initial < store->limit_bytes ? initial : store->limit_bytes;
}

static int store_open_env(struct store *store, size_t initial)
{
	unsigned flags = MDB_NOTLS;
	MDB_envinfo info;
	MDB_stat stat;
	int dead, rc = mdb_env_create(&store->env);

	if (rc)
		return rc;
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

static enum cpd_error store_open_tables(struct store *store, const struct migrations *migrations, struct schema *schema, const char **problem)
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
	error = schema_check(store, txn, migrations, schema, problem);
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

static enum cpd_error store_start(struct store *store, const struct store_options *options, const struct migrations *migrations,
    uint64_t target, const char **problem)
{
	const size_t initial = store_initial_map(store, options->initial_bytes);
	enum cpd_error error;
	struct store_check check;
	struct schema schema;
	bool is_new, is_salvaged = false;
	int rc;

	error = file_claim(store, &is_new, problem);
	if (!error && is_new)
		error = file_make(store, initial, problem);
	else if (!error)
		error = salvage_check(store, options, migrations->lowest + migrations->count, &is_salvaged, problem);
	if (error)
		return error;
	rc = store_open_env(store, initial);
	if (rc) {
		*problem = file_problem("cannot open the store in %s: %s; let its files belong to the user that runs cpd, or restore a backup",
		    store->path, mdb_strerror(rc));
		return store_lmdb_error(rc);
	}
	error = store_open_tables(store, migrations, &schema, problem);
	if (error)
		return error;
	if (target < migrations->lowest + migrations->count && schema.number < target) {
		*problem = file_problem("the store in %s %s; there is nothing to go back from", store->path,
		    schema.number ? "has an older schema already" : "is empty");
		return CPD_ERR_SCHEMA;
	}
	/* Only now that the store is ours to write. A full disk must not keep out one that holds messages: it opens, and takes nothing more. */
	if (!store->read_only && !file_reserve(store, atomic_load(&store->map_bytes)))
		atomic_store(&store->growth_failed, true);
	writer_count_space(store);
	if (store->read_only)
		return CPD_OK;
	if (schema.number) {
		error = migrate_to(store, migrations, target, &schema, options, problem);
		if (error)
			return error;
	}
	error = schema_settle(store, migrations, &schema);
	if (!error)
		error = writer_start(store);
	if (!error && is_salvaged)
		error = store_verify(store, true, options->report, options->report_context, &check);
	/* The names must survive with the bytes in them. Not only of a new file: the start that made it may have
	 * been cut off before it came here. */
	if (!error)
		error = file_sync_names(store);
	if (error)
		*problem = file_problem("cannot write the store in %s: %s; look at the disk and its free space", store->path, cpd_error_text(error));
	return error;
}

static enum cpd_error store_open_at(const struct store_options *options, const struct migrations *migrations, uint64_t target,
    struct store **out, const char **problem)
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
		error = store_start(store, options, migrations, target, problem);
	if (error) {
		store_close(store);
		return error;
	}
	store->version = NULL;
	store->is_opened = true;
	*problem = NULL;
	*out = store;
	return CPD_OK;
}

enum cpd_error store_open_as(const struct store_options *options, const struct migrations *migrations, struct store **out, const char **problem)
{
	return store_open_at(options, migrations, migrations->lowest + migrations->count, out, problem);
}

enum cpd_error store_open(const struct store_options *options, struct store **out, const char **problem)
{
	return store_open_as(options, &store_migrations, out, problem);
}

enum cpd_error store_downgrade_as(const struct store_options *options, const struct migrations *migrations, uint64_t schema, const char **problem)
{
	struct store_options reading = *options;
	enum cpd_error error;
	struct store *store;

	if (schema < migrations->lowest || schema > migrations->lowest + migrations->count) {
		*problem = file_problem("there is no way to schema %llu: this cpd knows %llu to %llu", (unsigned long long)schema,
		    (unsigned long long)migrations->lowest, (unsigned long long)(migrations->lowest + migrations->count));
		return CPD_ERR_SCHEMA;
	}
	reading.read_only = false;
	error = store_open_at(&reading, migrations, schema, &store, problem);
	store_close(store);
	return error;
}

enum cpd_error store_downgrade(const struct store_options *options, uint64_t schema, const char **problem)
{
	return store_downgrade_as(options, &store_migrations, schema, problem);
}

void store_close(struct store *store)
{
	if (!store)
		return;
	if (store->copy && store_copy_end(store))
		store->copy = NULL; /* broken off: nobody is told */
	writer_stop(store);
	for (size_t i = 0; i < store->reader_count; i++)
		mdb_txn_abort(store->readers[i]);
	if (store->env)
		mdb_env_close(store->env);
	if (store->is_opened)
		salvage_closed(store);
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
	pthread_mutex_lock(&store->lock);
	out->waiting_bytes = store->waiting_bytes;
	pthread_mutex_unlock(&store->lock);
}

static size_t admission(const struct store_space *space, enum precedence precedence)
{
	static const unsigned percent[PRECEDENCE_COUNT] = { 60, 75, 88, 96 };

	return (unsigned)precedence < PRECEDENCE_COUNT ? space->limit_bytes / 100 * percent[precedence] : 0;
}

size_t store_admission_bytes(struct store *store, enum precedence precedence)
{
	struct store_space space;

	store_space(store, &space);
	return admission(&space, precedence);
}

bool store_admits_more(struct store *store, enum precedence precedence, size_t more)
{
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
	bound = admission(&space, precedence);
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
