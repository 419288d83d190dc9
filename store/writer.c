/*
 * writer.c: the one thread that writes. It takes the batches that wait, in order, commits several in
 * one synced transaction and tells the highest turn. It never waits for more to come: while one sync
 * runs the next group gathers by itself.
 *
 * After a failed commit it never commits again: a later "successful" sync proves nothing about the
 * pages that the kernel dropped.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/internal.h"

/* ---- growth and space */

static size_t writer_next_map(const struct store *store)
{
	const size_t map = atomic_load(&store->map_bytes);
	const size_t next = map < STORE_STEP_DOUBLE ? map * 2 : map + STORE_STEP_DOUBLE;

	return next < store->limit_bytes ? next : store->limit_bytes;
}

/* LMDB unmaps before it maps again: when the kernel then refuses, there is no map left and the next
 * read ends the process. So ask first. */
static bool writer_map_is_possible(const struct store *store, size_t bytes)
{
	void *map;
	int fd;

	if (mdb_env_get_fd(store->env, &fd))
		return false;
	map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return false;
	munmap(map, bytes);
	return true;
}

static bool writer_grow_to(struct store *store, size_t bytes, bool wait)
{
	int rc;

	if (!file_reserve(store, bytes) || !writer_map_is_possible(store, bytes)) {
		atomic_store(&store->growth_failed, true);
		return false;
	}
	rc = wait ? pthread_rwlock_wrlock(&store->map_lock) : pthread_rwlock_trywrlock(&store->map_lock);
	if (rc)
		return false;
	rc = mdb_env_set_mapsize(store->env, bytes);
	pthread_rwlock_unlock(&store->map_lock);
	atomic_store(&store->growth_failed, rc != 0);
	if (rc)
		return false;
	atomic_store(&store->map_bytes, bytes);
	return true;
}

bool writer_grow(struct store *store, bool wait)
{
	const size_t next = writer_next_map(store);

	return next > atomic_load(&store->map_bytes) && writer_grow_to(store, next, wait);
}

/* Walks the list of free pages: one small row a past transaction. */
void writer_count_space(struct store *store)
{
	const MDB_dbi free_table = 0; /* LMDB's own: transaction -> count, page numbers */
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_envinfo info;
	size_t pages = 0, count;
	MDB_txn *txn;

	/* Before the snapshot: a commit that comes in between stays uncounted. */
	atomic_store(&store->commits_uncounted, 0);
	if (store_read_begin(store, &txn))
		return;
	mdb_env_info(store->env, &info);
	if (!mdb_cursor_open(txn, free_table, &cursor)) {
		while (!mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
			memcpy(&count, value.mv_data, sizeof(count));
			pages += count;
		}
		mdb_cursor_close(cursor);
		atomic_store(&store->top_bytes, (info.me_last_pgno + 1) * store->page_bytes);
		atomic_store(&store->free_bytes, pages * store->page_bytes);
	}
	store_read_end(store, txn);
}

static void writer_after_commit(struct store *store)
{
	MDB_envinfo info;

	mdb_env_info(store->env, &info);
	atomic_store(&store->top_bytes, (info.me_last_pgno + 1) * store->page_bytes);
	if (atomic_fetch_add(&store->commits_uncounted, 1) + 1 >= STORE_FREE_EVERY)
		writer_count_space(store);
	/* Not the used pages but the highest: free ones below it may be pinned by a reader. */
	if (atomic_load(&store->top_bytes) > atomic_load(&store->map_bytes) / 2)
		writer_grow(store, false);
}

/* ---- one transaction */

int writer_put_row(struct store *store, MDB_txn *txn, enum store_table table, const struct store_key *key, struct slice value)
{
	const size_t hashed = 2 + key->len + value.len;
	uint8_t *bytes = malloc(hashed + STORE_SUM);
	MDB_val at = { key->len, (void *)(uintptr_t)key->bytes }, row = { value.len + STORE_SUM, bytes + 2 + key->len };
	int rc;

	if (!bytes)
		return ENOMEM;
	bytes[0] = (uint8_t)table;
	bytes[1] = (uint8_t)key->len;
	memcpy(bytes + 2, key->bytes, key->len);
	if (value.len > 0)
		memcpy(bytes + 2 + key->len, value.data, value.len);
	store->hash(bytes + hashed, STORE_SUM, bytes, hashed);
	rc = mdb_put(txn, store->tables[table], &at, &row, 0);
	free(bytes);
	return rc;
}

/* A row of the queue is counted when it comes, and when it goes. */
static int writer_put(struct store *store, MDB_txn *txn, struct depths *depths, const struct batch_op *op)
{
	MDB_val key = op->key, value = op->value, old = value;
	int rc;

	store->hash(op->hashed + op->hashed_len, STORE_SUM, op->hashed, op->hashed_len);
	value.mv_size += STORE_SUM;
	if (op->table != TABLE_QUEUE)
		return mdb_put(txn, store->tables[op->table], &key, &value, 0);
	old.mv_size += STORE_SUM; /* with NOOVERWRITE LMDB points it to the old bytes */
	rc = mdb_put(txn, store->tables[op->table], &key, &old, MDB_NOOVERWRITE);
	if (rc == MDB_KEYEXIST)
		return mdb_put(txn, store->tables[op->table], &key, &value, 0);
	return rc ? rc : depth_change(depths, &key, 1);
}

static int writer_delete(struct store *store, MDB_txn *txn, struct depths *depths, enum store_table table, MDB_val key)
{
	const int rc = mdb_del(txn, store->tables[table], &key, NULL);

	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc || table != TABLE_QUEUE)
		return rc;
	return depth_change(depths, &key, -1);
}

/* What is damaged goes, with where it stood, into a row of its own. */
static int writer_quarantine(struct store *store, MDB_txn *txn, struct depths *depths, const struct batch_op *op)
{
	struct scratch scratch = { NULL, 0 };
	struct store_key counter = store_key_counter(1);
	MDB_cursor *cursor;
	MDB_val raw, key, ignored;
	enum cpd_error error;
	struct slice value;
	uint8_t *bytes;
	size_t len;
	MDB_val place = op->key;
	int rc = mdb_get(txn, store->tables[op->table], &place, &raw);

	if (rc)
		return rc == MDB_NOTFOUND ? 0 : rc;
	error = store_row_open(store, op->table, &place, &raw, &scratch, &value);
	free(scratch.bytes);
	if (error != CPD_ERR_DAMAGED)
		return error ? ENOMEM : 0;
	rc = mdb_cursor_open(txn, store->tables[TABLE_QUARANTINE], &cursor);
	if (rc)
		return rc;
	rc = mdb_cursor_get(cursor, &key, &ignored, MDB_LAST);
	mdb_cursor_close(cursor);
	if (!rc && key.mv_size == counter.len) {
		memcpy(counter.bytes, key.mv_data, key.mv_size);
		counter = store_key_counter(store_key_read_counter(&counter) + 1);
	}
	/* A length that cannot be true is damage itself: then the place is all there is to keep. */
	len = raw.mv_size <= STORE_VALUE_MAX - STORE_KEY_MAX - 2 ? raw.mv_size : 0;
	bytes = malloc(2 + op->key.mv_size + len);
	if (!bytes)
		return ENOMEM;
	bytes[0] = (uint8_t)op->table;
	bytes[1] = (uint8_t)op->key.mv_size;
	memcpy(bytes + 2, op->key.mv_data, op->key.mv_size);
	memcpy(bytes + 2 + op->key.mv_size, raw.mv_data, len);
	rc = writer_put_row(store, txn, TABLE_QUARANTINE, &counter, (struct slice){ bytes, 2 + op->key.mv_size + len });
	free(bytes);
	if (!rc && op->table == TABLE_DEPTHS)
		rc = depth_recount(depths, &op->key);
	return rc ? rc : writer_delete(store, txn, depths, op->table, op->key);
}

static int writer_apply(struct store *store, MDB_txn *txn, struct depths *depths, const struct batch_op *op)
{
	switch (op->verb) {
	case BATCH_PUT:
		return writer_put(store, txn, depths, op);
	case BATCH_DELETE:
		return writer_delete(store, txn, depths, op->table, op->key);
	case BATCH_QUARANTINE:
		return writer_quarantine(store, txn, depths, op);
	case BATCH_RECOUNT:
		return depth_recount(depths, &op->key);
	}
	return EINVAL;
}

static int writer_commit_once(struct store *store, const struct store_batch *group)
{
	struct depths depths = { NULL, 0, 0 };
	struct batch_op op;
	MDB_txn *txn;
	size_t offset;
	int (*fault)(void *context);
	int rc = mdb_txn_begin(store->env, NULL, 0, &txn);

	if (rc)
		return rc;
	for (const struct store_batch *batch = group; batch && !rc; batch = batch->next)
		for (offset = 0; !rc && batch_next(batch, &offset, &op);)
			rc = writer_apply(store, txn, &depths, &op);
	if (!rc)
		rc = depth_write(store, txn, &depths);
	free(depths.all);
	fault = store->commit_fault;
	if (!rc && fault)
		rc = fault(store->commit_fault_context);
	if (rc) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

/* A short write on a full disk comes as EIO, which would send the operator for a new disk. */
static bool writer_disk_is_full(const struct store *store)
{
	struct statvfs fs;

	return statvfs(store->path, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < store->page_bytes * 16;
}

static enum cpd_error writer_commit(struct store *store, const struct store_batch *group)
{
	bool is_empty = true;
	int rc;

	for (const struct store_batch *batch = group; batch; batch = batch->next)
		is_empty = is_empty && batch->count == 0;
	if (is_empty)
		return CPD_OK;
	do
		rc = writer_commit_once(store, group);
	while (rc == MDB_MAP_FULL && (copy_gives_way(store) || writer_grow(store, true)));
	if (rc == EIO && writer_disk_is_full(store))
		rc = ENOSPC;
	if (!rc)
		writer_after_commit(store);
	return store_lmdb_error(rc);
}

/* ---- the thread */

/* With the lock held. The bytes go on waiting until the group is done. */
static struct store_batch *writer_take_group(struct store *store)
{
	struct store_batch *group = store->first, *end = group;
	size_t bytes = group->len, count = 1;

	while (end->next && count < STORE_GROUP_BATCHES && bytes + end->next->len <= STORE_GROUP_BYTES) {
		end = end->next;
		bytes += end->len;
		count++;
	}
	store->first = end->next;
	if (!store->first)
		store->last = &store->first;
	end->next = NULL;
	return group;
}

/* With the lock held: nothing of a group is told before all of it is on disk. */
static void writer_finish(struct store *store, struct store_batch *group, enum cpd_error error)
{
	const bool is_first_failure = error && !store->failed;
	const uint64_t one = 1, before = store->completed;
	struct store_batch *next;
	ssize_t written;

	if (is_first_failure)
		store->failed = error;
	for (struct store_batch *batch = group; batch; batch = next) {
		next = batch->next;
		if (!error && batch->turn > store->completed)
			store->completed = batch->turn;
		if (batch->waiter) {
			batch->waiter->error = error;
			batch->waiter->done = true;
		}
		store->waiting_bytes -= batch->len;
		store_batch_free(batch);
	}
	pthread_cond_broadcast(&store->done);
	if (store->completed == before && !is_first_failure)
		return;
	written = write(store->event_fd, &one, sizeof(one));
	(void)written; /* fails only when it counts to 2^64: readable all the same */
}

static void *writer_main(void *argument)
{
	struct store *store = argument;
	struct store_batch *group;
	enum cpd_error error;

	pthread_mutex_lock(&store->lock);
	for (;;) {
		while (!store->first && !store->stop)
			pthread_cond_wait(&store->work, &store->lock);
		if (!store->first)
			break;
		group = writer_take_group(store);
		error = store->failed;
		pthread_mutex_unlock(&store->lock);
		if (!error)
			error = writer_commit(store, group);
		pthread_mutex_lock(&store->lock);
		writer_finish(store, group, error);
	}
	pthread_mutex_unlock(&store->lock);
	return NULL;
}

enum cpd_error writer_start(struct store *store)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int rc;

	if (pthread_attr_init(&attr))
		return CPD_ERR_NOMEM;
	pthread_attr_setstacksize(&attr, STORE_WRITER_STACK);
	sigfillset(&all); /* signals belong to the loop thread */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&store->writer, &attr, writer_main, store);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	store->has_writer = rc == 0;
	return rc ? CPD_ERR_NOMEM : CPD_OK;
}

void writer_stop(struct store *store)
{
	if (!store->has_writer)
		return;
	pthread_mutex_lock(&store->lock);
	store->stop = true;
	pthread_cond_signal(&store->work);
	pthread_mutex_unlock(&store->lock);
	pthread_join(store->writer, NULL);
	store->has_writer = false;
}

/* ---- what callers see */

/* With the lock held. */
static void writer_append(struct store *store, struct store_batch *batch)
{
	batch->next = NULL;
	*store->last = batch;
	store->last = &batch->next;
	store->waiting_bytes += batch->len;
	pthread_cond_signal(&store->work);
}

enum cpd_error store_submit(struct store *store, struct store_batch *take_batch)
{
	enum cpd_error error = CPD_OK;

	pthread_mutex_lock(&store->lock);
	if (!store->has_writer || store->failed)
		error = CPD_ERR_STATE;
	else if (store->waiting_bytes > 0 && store->waiting_bytes + take_batch->len > STORE_WAITING_MAX)
		error = CPD_ERR_BUSY;
	else
		writer_append(store, take_batch);
	pthread_mutex_unlock(&store->lock);
	if (error)
		store_batch_free(take_batch);
	return error;
}

/* The caller stands still meanwhile, so the bound on what waits needs no refusal here. */
enum cpd_error store_commit_now(struct store *store, struct store_batch *take_batch)
{
	struct batch_waiter waiter = { false, CPD_OK };

	pthread_mutex_lock(&store->lock);
	if (!store->has_writer || store->failed) {
		pthread_mutex_unlock(&store->lock);
		store_batch_free(take_batch);
		return CPD_ERR_STATE;
	}
	take_batch->waiter = &waiter;
	writer_append(store, take_batch);
	while (!waiter.done)
		pthread_cond_wait(&store->done, &store->lock);
	pthread_mutex_unlock(&store->lock);
	return waiter.error;
}

int store_completion_fd(const struct store *store)
{
	return store->event_fd;
}

bool store_completed(struct store *store, uint64_t *turn, enum cpd_error *error)
{
	uint64_t count;
	ssize_t taken;
	bool is_news;

	pthread_mutex_lock(&store->lock);
	taken = read(store->event_fd, &count, sizeof(count));
	(void)taken; /* EAGAIN: nothing new */
	is_news = store->completed > store->told || (store->failed && !store->failure_told);
	store->told = store->completed;
	store->failure_told = store->failed != CPD_OK;
	*turn = store->completed;
	*error = store->failed;
	pthread_mutex_unlock(&store->lock);
	return is_news;
}

enum cpd_error store_quarantine(struct store *store, enum store_table table, const struct store_key *key)
{
	struct store_batch *batch = store_batch_new(0);
	enum cpd_error error;

	if (!batch)
		return CPD_ERR_NOMEM;
	error = batch_quarantine(batch, table, key);
	if (error) {
		store_batch_free(batch);
		return error;
	}
	return store_commit_now(store, batch);
}
