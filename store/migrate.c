/*
 * migrate.c: which schema a store has, and the steps from one to the next and back.
 *
 * A step goes piece by piece, each in one synced transaction that holds what it changed and how far
 * it came (meta `migrating`). So a process that dies in the middle goes on where the last commit
 * was, and a store is never without a schema that says who may open it: up from the first piece on,
 * down until the last one, it bears the higher number.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"

/* The schema stands twice: one damaged row must not close the whole store. */
static const char *const schema_names[] = { "schema", "schema-copy" };
#define NAME_BY "schema-by"         /* the version of the cpd that made it so */
#define NAME_MIGRATING "migrating"  /* the schema that the step leads to, and how far it came */

static const struct migration_step steps[] = {
	{ "counts of the queues", depth_migrate_up, depth_migrate_down },
};
const struct migrations store_migrations = { 1, sizeof(steps) / sizeof(steps[0]), steps, NULL, NULL };
_Static_assert(STORE_SCHEMA == 1 + sizeof(steps) / sizeof(steps[0]), "each schema has the step that leads to it");

/* ---- where it stands */

static enum cpd_error schema_read_number(struct store *store, MDB_txn *txn, struct scratch *scratch, uint64_t *schema)
{
	enum cpd_error error = CPD_ERR_NOT_FOUND, one;
	struct slice value;

	*schema = 0;
	for (size_t i = 0; i < 2 && error; i++) {
		const struct store_key key = store_key_name(schema_names[i]);

		one = store_row_get(store, txn, TABLE_META, &key, scratch, &value);
		if (!one)
			one = store_value_read_u64(value, schema);
		if (one != CPD_ERR_NOT_FOUND || i == 0)
			error = one;
	}
	return error == CPD_ERR_NOT_FOUND ? CPD_OK : error;
}

static enum cpd_error schema_read(struct store *store, MDB_txn *txn, struct schema *out)
{
	const struct store_key migrating = store_key_name(NAME_MIGRATING), by = store_key_name(NAME_BY);
	struct scratch scratch = { NULL, 0 };
	struct slice value;
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	error = schema_read_number(store, txn, &scratch, &out->number);
	if (error)
		goto out;
	error = store_row_get(store, txn, TABLE_META, &by, &scratch, &value);
	if (!error && value.len < sizeof(out->by))
		memcpy(out->by, value.data, value.len);
	/* A damaged row is as good as none: the step begins again. That it was under way nothing else tells. */
	error = store_row_get(store, txn, TABLE_META, &migrating, &scratch, &value);
	if (!error && value.len >= 8 && value.len <= 8 + STORE_KEY_MAX) {
		error = store_value_read_u64((struct slice){ value.data, 8 }, &out->to);
		out->at = store_key_bytes((struct slice){ value.data + 8, value.len - 8 });
	} else if (error == CPD_ERR_DAMAGED || !error) {
		out->to = out->number;
		error = CPD_OK;
	}
out:
	free(scratch.bytes);
	return error == CPD_ERR_NOT_FOUND ? CPD_OK : error;
}

static enum cpd_error schema_refuse_newer(const struct store *store, const struct schema *schema, uint64_t newest, const char **problem)
{
	const char *version = store->version ? store->version : "?";

	*problem = file_problem("the store in %s has schema %" PRIu64 "%s%s, and this cpd %s knows schemas up to %" PRIu64 ": install cpd %s "
	    "or later; to go back to this one, run `cpd --downgrade-store %" PRIu64 " %s` with that cpd, or restore the backup made before "
	    "the upgrade", store->path, schema->number, schema->by[0] ? ", made by cpd " : "", schema->by, version, newest,
	    schema->by[0] ? schema->by : "of the version that wrote it", newest, store->path);
	return CPD_ERR_SCHEMA;
}

enum cpd_error schema_check(struct store *store, MDB_txn *txn, const struct migrations *migrations, struct schema *out, const char **problem)
{
	const uint64_t newest = migrations->lowest + migrations->count;
	enum cpd_error error = schema_read(store, txn, out);
	MDB_stat stat;

	if (error) {
		*problem = file_problem("the store in %s does not say which schema it has: its meta table is damaged; restore it from a "
		    "backup", store->path);
		return error == CPD_ERR_MALFORMED ? CPD_ERR_DAMAGED : error;
	}
	if (out->number > newest)
		return schema_refuse_newer(store, out, newest, problem);
	if (out->number != 0 && out->number < migrations->lowest) {
		*problem = file_problem("the store in %s has schema %" PRIu64 " and this cpd knows schemas from %" PRIu64 " on; start a cpd in "
		    "between on it once", store->path, out->number, migrations->lowest);
		return CPD_ERR_SCHEMA;
	}
	if (out->number != 0) {
		if (!store->read_only || (out->number == newest && !out->to))
			return CPD_OK;
		*problem = file_problem("the store in %s has schema %" PRIu64 "%s and this cpd reads schema %" PRIu64 "; start it on the store "
		    "once, which brings it there, or use the cpd that wrote it", store->path, out->number,
		    out->to ? ", half made" : "", newest);
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

/* ---- writing it */

static int schema_put(struct store *store, MDB_txn *txn, const char *name, const void *bytes, size_t len)
{
	const struct store_key key = store_key_name(name);

	return writer_put_row(store, txn, TABLE_META, &key, (struct slice){ bytes, len });
}

static int schema_delete(struct store *store, MDB_txn *txn, const char *name)
{
	MDB_val key = { strlen(name), (void *)(uintptr_t)name };
	const int rc = mdb_del(txn, store->tables[TABLE_META], &key, NULL);

	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* The number, and who made it so; by is not told of a store that went back. */
static int schema_write(struct store *store, MDB_txn *txn, uint64_t number, bool tell_by)
{
	const struct store_value value = store_value_u64(number);
	int rc = 0;

	for (size_t i = 0; i < 2 && !rc; i++)
		rc = schema_put(store, txn, schema_names[i], value.bytes, value.len);
	if (rc)
		return rc;
	return tell_by && store->version ? schema_put(store, txn, NAME_BY, store->version, strlen(store->version)) :
	    schema_delete(store, txn, NAME_BY);
}

enum cpd_error schema_settle(struct store *store, const struct migrations *migrations, const struct schema *schema)
{
	uint64_t number = schema->number ? schema->number : migrations->lowest + migrations->count;
	struct scratch scratch = { NULL, 0 };
	bool is_whole = true;
	struct slice value;
	MDB_txn *txn;
	int rc = mdb_txn_begin(store->env, NULL, 0, &txn);

	for (size_t i = 0; !rc && i < 2; i++) {
		const struct store_key key = store_key_name(schema_names[i]);

		is_whole = is_whole && store_row_get(store, txn, TABLE_META, &key, &scratch, &value) == CPD_OK;
	}
	free(scratch.bytes);
	if (rc)
		return store_lmdb_error(rc);
	if (!is_whole)
		rc = schema_write(store, txn, number, schema->number == 0);
	if (is_whole || rc) {
		mdb_txn_abort(txn);
		return store_lmdb_error(rc);
	}
	return store_lmdb_error(mdb_txn_commit(txn));
}

/* ---- steps */

/* The step to take from here: its lower schema. An unfinished step comes first, and one that was on
 * its way down begins again on its way up. */
static uint64_t step_lower(const struct schema *schema, bool is_up)
{
	return is_up && !schema->to ? schema->number : schema->number - 1;
}

static int migrate_piece_once(struct store *store, const struct migrations *migrations, bool is_up, struct schema *schema)
{
	const uint64_t lower = step_lower(schema, is_up), to = is_up ? lower + 1 : lower;
	const struct migration_step *step = &migrations->steps[lower - migrations->lowest];
	const struct store_value number = store_value_u64(to);
	struct migration migration = { .store = store, .at = { .len = 0 } };
	uint8_t row[8 + STORE_KEY_MAX];
	int rc = mdb_txn_begin(store->env, NULL, 0, &migration.txn);

	if (rc)
		return rc;
	if (schema->to == to)
		migration.at = schema->at;
	rc = is_up ? step->up(&migration) : step->down(&migration);
	if (!rc)
		rc = schema_write(store, migration.txn, is_up || migration.is_done ? to : lower + 1, is_up);
	memcpy(row, number.bytes, 8);
	memcpy(row + 8, migration.at.bytes, migration.at.len);
	if (!rc)
		rc = migration.is_done ? schema_delete(store, migration.txn, NAME_MIGRATING) :
		    schema_put(store, migration.txn, NAME_MIGRATING, row, 8 + migration.at.len);
	if (!rc && migrations->fault)
		rc = migrations->fault(migrations->fault_context);
	if (rc)
		mdb_txn_abort(migration.txn);
	else
		rc = mdb_txn_commit(migration.txn);
	if (rc)
		return rc;
	schema->number = is_up || migration.is_done ? to : lower + 1;
	schema->to = migration.is_done ? 0 : to;
	schema->at = migration.at;
	return 0;
}

static enum cpd_error migrate_piece(struct store *store, const struct migrations *migrations, bool is_up, struct schema *schema)
{
	int rc;

	do
		rc = migrate_piece_once(store, migrations, is_up, schema);
	while (rc == MDB_MAP_FULL && writer_grow(store, true));
	return store_lmdb_error(rc);
}

enum cpd_error migrate_to(struct store *store, const struct migrations *migrations, uint64_t target, struct schema *schema,
    const struct store_options *options, const char **problem)
{
	const uint64_t from = schema->number;
	const bool is_up = target >= from;
	const struct migration_step *step;
	struct store_migration news;
	enum cpd_error error;

	if (from == migrations->lowest && is_up)
		schema->to = 0; /* no step leads here: a damaged row */
	for (uint64_t piece = 0; schema->number != target || schema->to;) {
		step = &migrations->steps[step_lower(schema, is_up) - migrations->lowest];
		news = (struct store_migration){ .from = is_up ? step_lower(schema, true) : schema->number, .pieces = piece, .what = step->what };
		news.to = is_up ? news.from + 1 : news.from - 1;
		if (!is_up && !step->down) {
			*problem = file_problem("the step of the store in %s from schema %" PRIu64 " back to %" PRIu64 " (%s) does not exist; restore "
			    "the backup made before the upgrade", store->path, news.from, news.to, step->what);
			return CPD_ERR_SCHEMA;
		}
		if (options->migrated && piece == 0)
			options->migrated(options->migrated_context, &news);
		error = migrate_piece(store, migrations, is_up, schema);
		if (error) {
			*problem = file_problem("the store in %s cannot be brought from schema %" PRIu64 " to %" PRIu64 ": %s; nothing is lost, it goes on "
			    "there at the next start: %s", store->path, news.from, news.to, cpd_error_text(error),
			    error == CPD_ERR_FULL ? "make room on the disk, or raise the limit of the store" : "look at the disk");
			return error;
		}
		news.pieces = ++piece;
		news.is_done = schema->to == 0;
		if (options->migrated)
			options->migrated(options->migrated_context, &news);
		if (news.is_done)
			piece = 0;
	}
	return CPD_OK;
}
