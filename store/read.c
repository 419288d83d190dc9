/* read.c: short read transactions, everything copied out and its checksum proved. Any thread. */
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"

/* ---- the map stays where it is while it is read */

/* Who waits to grow the map goes before new readers, else readers that follow each other would hold up every
 * commit. A thread that reads while it reads already (a visitor of store_scan) does not queue behind it again:
 * each would wait for the other. */
static _Thread_local struct { const struct store *store; unsigned depth; } reading;

void store_map_hold(struct store *store)
{
	if (reading.store == store) {
		reading.depth++;
		return;
	}
	pthread_rwlock_rdlock(&store->map_lock);
	if (!reading.store) {
		reading.store = store;
		reading.depth = 1;
	}
}

void store_map_release(struct store *store)
{
	if (reading.store == store && --reading.depth > 0)
		return;
	if (reading.store == store)
		reading.store = NULL;
	pthread_rwlock_unlock(&store->map_lock);
}

/* ---- transactions: begun once, then reset and renewed; each keeps a reader slot of LMDB */

enum cpd_error store_read_begin(struct store *store, MDB_txn **out)
{
	MDB_txn *txn = NULL;
	int rc;

	*out = NULL;
	store_map_hold(store);
	pthread_mutex_lock(&store->readers_lock);
	if (store->reader_count > 0)
		txn = store->readers[--store->reader_count];
	pthread_mutex_unlock(&store->readers_lock);
	rc = txn ? mdb_txn_renew(txn) : mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
	if (rc) {
		mdb_txn_abort(txn);
		store_map_release(store);
		return store_lmdb_error(rc);
	}
	*out = txn;
	return CPD_OK;
}

void store_read_end(struct store *store, MDB_txn *txn)
{
	mdb_txn_reset(txn);
	pthread_mutex_lock(&store->readers_lock);
	if (store->reader_count < STORE_READERS) {
		store->readers[store->reader_count++] = txn;
		txn = NULL;
	}
	pthread_mutex_unlock(&store->readers_lock);
	mdb_txn_abort(txn); /* NULL is fine */
	store_map_release(store);
}

/* ---- rows */

static enum cpd_error scratch_reserve(struct scratch *scratch, size_t size)
{
	uint8_t *bytes;

	if (size <= scratch->size)
		return CPD_OK;
	bytes = realloc(scratch->bytes, size);
	if (!bytes)
		return CPD_ERR_NOMEM;
	scratch->bytes = bytes;
	scratch->size = size;
	return CPD_OK;
}

enum cpd_error store_row_open(const struct store *store, enum store_table table, const MDB_val *key,
    const MDB_val *raw, struct scratch *scratch, struct slice *value)
{
	uint8_t sum[STORE_SUM];
	enum cpd_error error;
	size_t hashed;

	*value = (struct slice){ NULL, 0 };
	if (key->mv_size > STORE_KEY_MAX || raw->mv_size < STORE_SUM || raw->mv_size > STORE_VALUE_MAX + STORE_SUM)
		return CPD_ERR_DAMAGED;
	hashed = 2 + key->mv_size + raw->mv_size - STORE_SUM;
	error = scratch_reserve(scratch, hashed + STORE_SUM);
	if (error)
		return error;
	scratch->bytes[0] = (uint8_t)table;
	scratch->bytes[1] = (uint8_t)key->mv_size;
	memcpy(scratch->bytes + 2, key->mv_data, key->mv_size);
	memcpy(scratch->bytes + 2 + key->mv_size, raw->mv_data, raw->mv_size);
	store->hash(sum, STORE_SUM, scratch->bytes, hashed);
	if (memcmp(sum, scratch->bytes + hashed, STORE_SUM) != 0)
		return CPD_ERR_DAMAGED;
	*value = (struct slice){ scratch->bytes + 2 + key->mv_size, raw->mv_size - STORE_SUM };
	return CPD_OK;
}

enum cpd_error store_row_get(const struct store *store, MDB_txn *txn, enum store_table table,
    const struct store_key *key, struct scratch *scratch, struct slice *value)
{
	MDB_val at = { key->len, (void *)(uintptr_t)key->bytes }, raw;
	int rc;

	*value = (struct slice){ NULL, 0 };
	if (!store_table_is_valid(table) || key->len == 0 || key->len > STORE_KEY_MAX)
		return CPD_ERR_RANGE;
	rc = mdb_get(txn, store->tables[table], &at, &raw);
	return rc ? store_lmdb_error(rc) : store_row_open(store, table, &at, &raw, scratch, value);
}

/* Gives the caller the scratch itself, with the value moved to its front. */
static void row_hand_over(struct scratch *scratch, struct slice from, uint8_t **value, size_t *len)
{
	memmove(scratch->bytes, from.data, from.len);
	*value = scratch->bytes;
	*len = from.len;
	scratch->bytes = NULL;
}

static void row_key(const MDB_val *from, struct store_key *to)
{
	to->len = from->mv_size <= STORE_KEY_MAX ? from->mv_size : 0;
	memcpy(to->bytes, from->mv_data, to->len);
}

enum cpd_error store_get(struct store *store, enum store_table table, const struct store_key *key, uint8_t **value, size_t *len)
{
	struct scratch scratch = { NULL, 0 };
	enum cpd_error error;
	struct slice found;
	MDB_txn *txn;

	*value = NULL;
	*len = 0;
	error = store_read_begin(store, &txn);
	if (error)
		return error;
	error = store_row_get(store, txn, table, key, &scratch, &found);
	store_read_end(store, txn);
	if (!error)
		row_hand_over(&scratch, found, value, len);
	free(scratch.bytes);
	return error;
}

/* ---- cursors */

/* First row at or after `from`; an empty `from` is the table's begin. */
static int cursor_first(MDB_cursor *cursor, const struct store_key *from, bool after, MDB_val *key, MDB_val *raw)
{
	int rc;

	if (from->len == 0)
		return mdb_cursor_get(cursor, key, raw, MDB_FIRST);
	*key = (MDB_val){ from->len, (void *)(uintptr_t)from->bytes };
	rc = mdb_cursor_get(cursor, key, raw, MDB_SET_RANGE);
	if (!rc && after && key->mv_size == from->len && memcmp(key->mv_data, from->bytes, from->len) == 0)
		rc = mdb_cursor_get(cursor, key, raw, MDB_NEXT);
	return rc;
}

/* Last row that begins with the prefix: the one before the first row beyond it. */
static int cursor_last(MDB_cursor *cursor, const struct store_key *prefix, MDB_val *key, MDB_val *raw)
{
	struct store_key beyond = *prefix;

	while (beyond.len > 0 && beyond.bytes[beyond.len - 1] == 0xFF)
		beyond.len--;
	if (beyond.len == 0)
		return mdb_cursor_get(cursor, key, raw, MDB_LAST);
	beyond.bytes[beyond.len - 1]++;
	*key = (MDB_val){ beyond.len, beyond.bytes };
	if (mdb_cursor_get(cursor, key, raw, MDB_SET_RANGE) == 0)
		return mdb_cursor_get(cursor, key, raw, MDB_PREV);
	return mdb_cursor_get(cursor, key, raw, MDB_LAST);
}

static bool key_begins_with(const MDB_val *key, const struct store_key *prefix, size_t len)
{
	return key->mv_size >= len && memcmp(key->mv_data, prefix->bytes, len) == 0;
}

/* In a read transaction of its own: puts `cursor` on a row, by first or last. */
static enum cpd_error store_find(struct store *store, enum store_table table, const struct store_key *from, size_t prefix_len,
    bool after, bool last, struct store_key *found_key, uint8_t **value, size_t *len)
{
	struct scratch scratch = { NULL, 0 };
	MDB_cursor *cursor;
	enum cpd_error error;
	struct slice found;
	MDB_val key, raw;
	MDB_txn *txn;
	int rc;

	*value = NULL;
	*len = 0;
	found_key->len = 0;
	if (!store_table_is_valid(table) || from->len > STORE_KEY_MAX || prefix_len > from->len)
		return CPD_ERR_RANGE;
	error = store_read_begin(store, &txn);
	if (error)
		return error;
	rc = mdb_cursor_open(txn, store->tables[table], &cursor);
	if (!rc) {
		rc = last ? cursor_last(cursor, from, &key, &raw) : cursor_first(cursor, from, after, &key, &raw);
		if (!rc && !key_begins_with(&key, from, prefix_len))
			rc = MDB_NOTFOUND;
		if (!rc) {
			row_key(&key, found_key);
			error = store_row_open(store, table, &key, &raw, &scratch, &found);
		}
		mdb_cursor_close(cursor);
	}
	store_read_end(store, txn);
	if (rc)
		return store_lmdb_error(rc);
	if (!error)
		row_hand_over(&scratch, found, value, len);
	free(scratch.bytes);
	return error;
}

enum cpd_error store_seek(struct store *store, enum store_table table, const struct store_key *from, size_t prefix_len,
    bool after, struct store_key *found_key, uint8_t **value, size_t *len)
{
	const struct store_key begin = *from; /* found_key may be the same struct */

	return store_find(store, table, &begin, prefix_len, after, false, found_key, value, len);
}

enum cpd_error store_seek_last(struct store *store, enum store_table table, const struct store_key *prefix,
    struct store_key *found_key, uint8_t **value, size_t *len)
{
	const struct store_key begin = *prefix;

	return store_find(store, table, &begin, begin.len, false, true, found_key, value, len);
}

enum cpd_error store_scan(struct store *store, enum store_table table, const struct store_key *from, size_t prefix_len,
    bool after, size_t max, store_visit *visit, void *context, size_t *damaged)
{
	struct scratch scratch = { NULL, 0 };
	enum cpd_error error = CPD_OK;
	struct store_key row;
	MDB_cursor *cursor;
	struct slice found;
	MDB_val key, raw;
	size_t seen = 0;
	MDB_txn *txn;
	int rc;

	if (damaged)
		*damaged = 0;
	if (!store_table_is_valid(table) || from->len > STORE_KEY_MAX || prefix_len > from->len)
		return CPD_ERR_RANGE;
	error = store_read_begin(store, &txn);
	if (error)
		return error;
	rc = mdb_cursor_open(txn, store->tables[table], &cursor);
	if (rc) {
		store_read_end(store, txn);
		return store_lmdb_error(rc);
	}
	for (rc = cursor_first(cursor, from, after, &key, &raw); !rc && seen < max && key_begins_with(&key, from, prefix_len);
	    rc = mdb_cursor_get(cursor, &key, &raw, MDB_NEXT)) {
		error = store_row_open(store, table, &key, &raw, &scratch, &found);
		if (error == CPD_ERR_DAMAGED) {
			if (damaged)
				++*damaged;
			error = CPD_OK;
			continue;
		}
		if (error)
			break;
		row_key(&key, &row);
		seen++;
		if (!visit(context, &row, found))
			break;
	}
	mdb_cursor_close(cursor);
	store_read_end(store, txn);
	free(scratch.bytes);
	return error || !rc || rc == MDB_NOTFOUND ? error : store_lmdb_error(rc);
}

uint64_t store_count(struct store *store, enum store_table table)
{
	uint64_t rows = 0;
	MDB_stat stat;
	MDB_txn *txn;

	if (!store_table_is_valid(table) || store_read_begin(store, &txn))
		return 0;
	if (!mdb_stat(txn, store->tables[table], &stat))
		rows = stat.ms_entries;
	store_read_end(store, txn);
	return rows;
}
