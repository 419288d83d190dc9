/*
 * depth.c: how many rows wait for each link at each precedence. The table depths is written by the
 * writer alone, in the transaction that changes the rows, so that status, /metrics and the start of a
 * node with a million rows need not walk the queue. A row that cannot be read is counted anew.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"

#define DEPTH_KEY 5        /* link, precedence: what a queue row's key begins with */
#define QUEUE_KEY 13

struct store_key store_key_depth(uint32_t link, enum precedence precedence)
{
	struct store_key key = store_key_queue(link, precedence, 0);

	key.len = DEPTH_KEY;
	return key;
}

enum cpd_error store_key_read_depth(const struct store_key *key, uint32_t *link, enum precedence *precedence)
{
	struct store_key row = *key;
	uint64_t counter;

	if (key->len == DEPTH_KEY) {
		memset(row.bytes + DEPTH_KEY, 0, QUEUE_KEY - DEPTH_KEY);
		row.len = QUEUE_KEY;
	} else {
		row.len = 0;
	}
	return store_key_read_queue(&row, link, precedence, &counter);
}

static struct store_key depth_key(const uint8_t bytes[DEPTH_KEY])
{
	struct store_key key = { .len = DEPTH_KEY };

	memcpy(key.bytes, bytes, DEPTH_KEY);
	return key;
}

/* ---- within a transaction */

static struct depth *depth_find(struct depths *depths, const uint8_t bytes[DEPTH_KEY])
{
	struct depth *all;
	size_t size;

	/* From behind: the rows of one turn come link by link. */
	for (size_t i = depths->count; i-- > 0;)
		if (memcmp(depths->all[i].bytes, bytes, DEPTH_KEY) == 0)
			return &depths->all[i];
	if (depths->count == depths->size) {
		size = depths->size ? depths->size * 2 : 16;
		all = realloc(depths->all, size * sizeof(*all));
		if (!all)
			return NULL;
		depths->all = all;
		depths->size = size;
	}
	memset(&depths->all[depths->count], 0, sizeof(depths->all[0]));
	memcpy(depths->all[depths->count].bytes, bytes, DEPTH_KEY);
	return &depths->all[depths->count++];
}

int depth_change(struct depths *depths, const MDB_val *queue_key, int change)
{
	struct depth *depth;

	if (queue_key->mv_size != QUEUE_KEY)
		return 0;
	depth = depth_find(depths, queue_key->mv_data);
	if (!depth)
		return ENOMEM;
	depth->change += change;
	return 0;
}

int depth_recount(struct depths *depths, const MDB_val *depth_key)
{
	struct depth *depth;

	if (depth_key->mv_size != DEPTH_KEY)
		return 0;
	depth = depth_find(depths, depth_key->mv_data);
	if (!depth)
		return ENOMEM;
	depth->is_counted = true;
	return 0;
}

/* Walks the keys; their values may be damaged. */
static int depth_count(const struct store *store, MDB_txn *txn, const struct store_key *prefix, uint64_t *rows)
{
	MDB_val key = { prefix->len, (void *)(uintptr_t)prefix->bytes };
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(txn, store->tables[TABLE_QUEUE], &cursor);

	*rows = 0;
	if (rc)
		return rc;
	for (rc = mdb_cursor_get(cursor, &key, NULL, MDB_SET_RANGE); !rc && key.mv_size >= DEPTH_KEY &&
	    memcmp(key.mv_data, prefix->bytes, DEPTH_KEY) == 0; rc = mdb_cursor_get(cursor, &key, NULL, MDB_NEXT))
		*rows += key.mv_size == QUEUE_KEY;
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* What the table says; DAMAGED also for a value that cannot be a count. */
static enum cpd_error depth_read(const struct store *store, MDB_txn *txn, const struct store_key *key, uint64_t *rows)
{
	struct scratch scratch = { NULL, 0 };
	struct slice value;
	enum cpd_error error = store_row_get(store, txn, TABLE_DEPTHS, key, &scratch, &value);

	*rows = 0;
	if (!error && store_value_read_u64(value, rows))
		error = CPD_ERR_DAMAGED;
	free(scratch.bytes);
	return error == CPD_ERR_NOT_FOUND ? CPD_OK : error;
}

static int depth_put(struct store *store, MDB_txn *txn, const struct store_key *key, uint64_t rows)
{
	const struct store_value value = store_value_u64(rows);
	MDB_val at = { key->len, (void *)(uintptr_t)key->bytes };
	int rc;

	if (rows > 0)
		return writer_put_row(store, txn, TABLE_DEPTHS, key, (struct slice){ value.bytes, value.len });
	rc = mdb_del(txn, store->tables[TABLE_DEPTHS], &at, NULL);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int depth_write(struct store *store, MDB_txn *txn, struct depths *depths)
{
	int rc = 0;

	for (size_t i = 0; i < depths->count && !rc; i++) {
		const struct depth *depth = &depths->all[i];
		const struct store_key key = depth_key(depth->bytes);
		uint64_t rows = 0;
		enum cpd_error error = CPD_OK;

		if (depth->change == 0 && !depth->is_counted)
			continue;
		if (!depth->is_counted)
			error = depth_read(store, txn, &key, &rows);
		if (error && error != CPD_ERR_DAMAGED)
			return error == CPD_ERR_NOMEM ? ENOMEM : EIO;
		/* Below nothing: the row was wrong already. */
		if (depth->is_counted || error || (depth->change < 0 && rows < (uint64_t)-depth->change))
			rc = depth_count(store, txn, &key, &rows);
		else
			rows += (uint64_t)depth->change;
		if (!rc)
			rc = depth_put(store, txn, &key, rows);
	}
	return rc;
}

/* ---- migration from schema 1, and back */

#define PIECE_ROWS 2048    /* a million rows: 490 commits, once */

int depth_migrate_up(struct migration *migration)
{
	struct store *store = migration->store;
	MDB_val key = { migration->at.len, migration->at.bytes };
	struct depths depths = { NULL, 0, 0 };
	MDB_cursor *cursor;
	size_t rows = 0;
	int rc = 0;

	if (migration->at.len == 0)
		rc = mdb_drop(migration->txn, store->tables[TABLE_DEPTHS], 0); /* of a going back that was cut off */
	if (!rc)
		rc = mdb_cursor_open(migration->txn, store->tables[TABLE_QUEUE], &cursor);
	if (rc)
		return rc;
	rc = mdb_cursor_get(cursor, &key, NULL, migration->at.len ? MDB_SET_RANGE : MDB_FIRST);
	if (!rc && migration->at.len == key.mv_size && memcmp(key.mv_data, migration->at.bytes, key.mv_size) == 0)
		rc = mdb_cursor_get(cursor, &key, NULL, MDB_NEXT);
	for (; !rc && rows < PIECE_ROWS; rows++) {
		rc = depth_change(&depths, &key, 1);
		migration->at.len = key.mv_size <= STORE_KEY_MAX ? key.mv_size : 0;
		memcpy(migration->at.bytes, key.mv_data, migration->at.len);
		if (!rc)
			rc = mdb_cursor_get(cursor, &key, NULL, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	migration->is_done = rc == MDB_NOTFOUND;
	if (!rc || migration->is_done)
		rc = depth_write(store, migration->txn, &depths);
	free(depths.all);
	return rc;
}

int depth_migrate_down(struct migration *migration)
{
	struct store_key read = store_key_name("inbox_read");
	MDB_val name = { read.len, read.bytes };
	int rc = mdb_del(migration->txn, migration->store->tables[TABLE_META], &name, NULL);

	/* A cpd that knows no such count would leave it behind what it delivers; absent, it is counted again. */
	if (rc && rc != MDB_NOTFOUND)
		return rc;
	migration->is_done = true;
	return mdb_drop(migration->txn, migration->store->tables[TABLE_DEPTHS], 0);
}

/* ---- what callers see */

/* A count that cannot be read is taken from the rows, until the check mends it. */
static enum cpd_error depth_read_or_count(const struct store *store, MDB_txn *txn, const struct store_key *key, uint64_t *rows)
{
	const enum cpd_error error = depth_read(store, txn, key, rows);

	return error == CPD_ERR_DAMAGED ? store_lmdb_error(depth_count(store, txn, key, rows)) : error;
}

bool store_depth_next(struct store *store, uint32_t from, struct store_depth *out)
{
	struct store_key key = store_key_number(from);
	enum precedence precedence;
	MDB_cursor *cursor;
	bool found = false;
	MDB_val at;
	MDB_txn *txn;

	*out = (struct store_depth){ .link = from };
	if (store_read_begin(store, &txn))
		return false;
	if (!mdb_cursor_open(txn, store->tables[TABLE_DEPTHS], &cursor)) {
		at = (MDB_val){ key.len, key.bytes };
		if (!mdb_cursor_get(cursor, &at, NULL, MDB_SET_RANGE) && at.mv_size == DEPTH_KEY) {
			key = depth_key(at.mv_data);
			found = !store_key_read_depth(&key, &out->link, &precedence);
		}
		mdb_cursor_close(cursor);
	}
	for (int p = 0; found && p < PRECEDENCE_COUNT; p++) {
		key = store_key_depth(out->link, (enum precedence)p);
		found = !depth_read_or_count(store, txn, &key, &out->rows[p]);
	}
	store_read_end(store, txn);
	return found;
}

/* The next of either table behind `key`; false: neither has one. */
static bool depth_next(const struct store *store, MDB_txn *txn, enum store_table table, const struct store_key *key, bool first,
    struct store_key *out)
{
	uint8_t from[DEPTH_KEY + 9];
	MDB_val at = { 0, from };
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(txn, store->tables[table], &cursor);

	if (rc)
		return false;
	/* Behind every key that begins with this one. */
	memcpy(from, key->bytes, DEPTH_KEY);
	memset(from + DEPTH_KEY, 0xFF, sizeof(from) - DEPTH_KEY);
	at.mv_size = sizeof(from);
	rc = mdb_cursor_get(cursor, &at, NULL, first ? MDB_FIRST : MDB_SET_RANGE);
	while (!rc && at.mv_size < DEPTH_KEY)
		rc = mdb_cursor_get(cursor, &at, NULL, MDB_NEXT);
	if (!rc)
		*out = depth_key(at.mv_data);
	mdb_cursor_close(cursor);
	return !rc;
}

int depth_check(const struct store *store, MDB_txn *txn, depth_wrong *wrong, void *context)
{
	struct store_key key = { .len = 0 }, queue, table;
	bool first = true, has_queue, has_table;
	uint64_t rows, told;
	enum cpd_error error;
	int rc;

	for (;; first = false) {
		has_queue = depth_next(store, txn, TABLE_QUEUE, &key, first, &queue);
		has_table = depth_next(store, txn, TABLE_DEPTHS, &key, first, &table);
		if (!has_queue && !has_table)
			return 0;
		key = has_queue && (!has_table || memcmp(queue.bytes, table.bytes, DEPTH_KEY) <= 0) ? queue : table;
		rc = depth_count(store, txn, &key, &rows);
		if (rc)
			return rc;
		error = depth_read(store, txn, &key, &told);
		if (error && error != CPD_ERR_DAMAGED)
			return error == CPD_ERR_NOMEM ? ENOMEM : EIO;
		if (!error && told != rows)
			wrong(context, &key, told, rows);
	}
}
