/*
 * salvage.c: before LMDB opens a data file, its pages are looked at; when some are broken, what can be
 * read goes into a new file that takes its place. The broken one is kept beside it, data.mdb.damaged.
 *
 * A row counts by its sum alone. What is saved is older than what was told to neighbours, as a backup
 * is: so the epoch is left out, and the node begins a new one before it authors anything.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/internal.h"

#define META_PAGE_BYTES 40
#define ROWS_A_COMMIT 4000
/* A larger file takes seconds to walk, and a node must be ready at once after a kill: it is walked when two
 * processes in a row did not come to close it, as on a page that ends each of them. */
#define ALWAYS_BYTES (64 * 1024 * 1024)
#define ENDS_BEFORE_WALK 2

struct salvage {
	struct store fresh;            /* only what writer_put_row and store_row_open look at */
	MDB_txn *txn;
	size_t rows;                   /* in txn */
	uint64_t saved, newest;
	struct scratch scratch;
	int rc;
	bool is_newer;
};

static int salvage_turn(struct salvage *salvage)
{
	int rc = salvage->txn ? mdb_txn_commit(salvage->txn) : 0;

	salvage->txn = NULL;
	salvage->rows = 0;
	return rc ? rc : mdb_txn_begin(salvage->fresh.env, NULL, 0, &salvage->txn);
}

static bool is_name(const MDB_val *key, const char *name)
{
	return key->mv_size == strlen(name) && memcmp(key->mv_data, name, key->mv_size) == 0;
}

static bool salvage_wants(struct salvage *salvage, int table, const MDB_val *key, struct slice value)
{
	uint64_t schema;

	if (table == TABLE_DEPTHS)
		return false; /* counted anew */
	if (table != TABLE_META)
		return true;
	if (is_name(key, "schema") && !store_value_read_u64(value, &schema) && schema > salvage->newest)
		salvage->is_newer = true;
	return !is_name(key, "epoch");
}

/* Whether a sound row of this key is there already: it was reached from the root, and counts. */
static bool salvage_has(struct salvage *salvage, int table, MDB_val *key)
{
	struct slice value;
	MDB_val raw;

	return !mdb_get(salvage->txn, salvage->fresh.tables[table], key, &raw) &&
	    !store_row_open(&salvage->fresh, (enum store_table)table, key, &raw, &salvage->scratch, &value);
}

static void salvage_row(void *context, int table, const uint8_t *key_bytes, size_t key_len, const uint8_t *data, size_t len)
{
	struct salvage *salvage = context;
	const bool is_orphan = table < 0;
	const int from = table < 0 ? 0 : table, to = table < 0 ? TABLE_COUNT : table + 1;
	MDB_val key = { key_len, (void *)(uintptr_t)key_bytes }, raw = { len, (void *)(uintptr_t)data };
	enum cpd_error error = CPD_ERR_DAMAGED;
	struct slice value = { NULL, 0 };

	if (salvage->rc || key_len == 0 || key_len > STORE_KEY_MAX || len > STORE_VALUE_MAX + STORE_SUM)
		return;
	for (int i = from; i < to && error == CPD_ERR_DAMAGED; i++) {
		error = store_row_open(&salvage->fresh, (enum store_table)i, &key, &raw, &salvage->scratch, &value);
		if (!error)
			table = i;
	}
	if (error == CPD_ERR_NOMEM)
		salvage->rc = ENOMEM;
	/* A damaged one goes along under its key: the check sets it aside and tells its id. */
	if (salvage->rc || table < 0 || (!error && !salvage_wants(salvage, table, &key, value)))
		return;
	salvage->rc = mdb_put(salvage->txn, salvage->fresh.tables[table], &key, &raw, error || (is_orphan && salvage_has(salvage, table, &key)) ? MDB_NOOVERWRITE : 0);
	if (salvage->rc == MDB_KEYEXIST)
		salvage->rc = 0;
	salvage->saved += !error;
	if (!salvage->rc && ++salvage->rows >= ROWS_A_COMMIT)
		salvage->rc = salvage_turn(salvage);
}

static int salvage_open(struct salvage *salvage, const char *path, size_t size)
{
	int rc = mdb_env_create(&salvage->fresh.env);

	if (!rc)
		rc = mdb_env_set_maxdbs(salvage->fresh.env, TABLE_COUNT);
	if (!rc)
		rc = mdb_env_set_mapsize(salvage->fresh.env, size * 2 + STORE_MAP_MIN);
	/* Synced once, before it takes the place. */
	if (!rc)
		rc = mdb_env_open(salvage->fresh.env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0600);
	if (!rc)
		rc = salvage_turn(salvage);
	for (enum store_table table = 0; table < TABLE_COUNT && !rc; table++)
		rc = mdb_dbi_open(salvage->txn, store_table_name(table), MDB_CREATE, &salvage->fresh.tables[table]);
	return rc;
}

/* No mapped page may lie behind its end. */
static int salvage_close(struct salvage *salvage, const char *path)
{
	MDB_envinfo info;
	struct stat st;
	MDB_stat stat_env;
	int rc = salvage->rc;
	off_t len;

	if (rc && salvage->txn)
		mdb_txn_abort(salvage->txn);
	else if (salvage->txn)
		rc = mdb_txn_commit(salvage->txn);
	salvage->txn = NULL;
	if (!rc)
		rc = mdb_env_sync(salvage->fresh.env, 1);
	mdb_env_info(salvage->fresh.env, &info);
	mdb_env_stat(salvage->fresh.env, &stat_env);
	mdb_env_close(salvage->fresh.env);
	free(salvage->scratch.bytes);
	len = (off_t)(info.me_last_pgno + 1) * stat_env.ms_psize;
	if (!rc && (stat(path, &st) || (st.st_size < len && truncate(path, len))))
		rc = errno;
	return rc;
}

static enum cpd_error salvage_into(struct store *store, struct pages *pages, uint64_t newest, const char *path, uint64_t *saved, const char **problem)
{
	struct salvage salvage = { .fresh = { .hash = store->hash }, .newest = newest };
	char fresh[4096], kept[4096];
	int rc;

	if (snprintf(fresh, sizeof(fresh), "%s.salvage", path) >= (int)sizeof(fresh) || snprintf(kept, sizeof(kept), "%s.damaged", path) >= (int)sizeof(kept))
		return CPD_ERR_TOO_LARGE;
	unlink(fresh); /* of a start that was cut off */
	pages->visit = salvage_row;
	pages->context = &salvage;
	salvage.rc = salvage_open(&salvage, fresh, pages->size);
	if (!salvage.rc)
		pages_walk(pages);
	rc = salvage.fresh.env ? salvage_close(&salvage, fresh) : salvage.rc;
	*saved = salvage.saved;
	if (!rc && !salvage.is_newer && salvage.saved > 0) {
		unlink(kept);
		/* The old name leads to one of the two at every moment. */
		rc = link(path, kept) || rename(fresh, path) ? errno : 0;
		if (!rc)
			return file_sync_folder(store->path);
	}
	unlink(fresh);
	if (rc)
		*problem = file_problem("the store in %s is damaged, and what can be read of it cannot be written anew: %s; make room on the disk and "
		    "start cpd again", store->path, mdb_strerror(rc));
	else if (salvage.is_newer)
		*problem = file_problem("the store in %s is damaged, and has a newer schema than this cpd knows: start the cpd that wrote it", store->path);
	else
		*problem = file_problem("the store in %s is no store, or is damaged and nothing can be read of it; restore it from a backup (cpctl restore), or move "
		    "the folder aside to start an empty one: what neighbours and addressees hold comes again from them", store->path);
	return rc ? store_lmdb_error(rc) : CPD_ERR_DAMAGED;
}

/* Opens `pages` on what is worth most: of two metas that are such, the one whose tables are there, the newer one when both
 * are. Otherwise the newest state that is whole, told by a meta or found among the pages; then a meta with tables. */
static bool salvage_choose(struct pages *pages, const uint8_t *bytes, size_t size, size_t page_bytes, const bool is_sound[2], int newest)
{
	uint64_t tables[2] = { 0, 0 }, commit[2] = { 0, 0 }, damaged[2] = { 1, 1 };
	bool is_whole, takes_found;
	int meta;

	for (meta = 0; meta < 2; meta++) {
		if (!is_sound[meta])
			continue;
		if (!pages_open(pages, bytes, size, page_bytes, meta))
			return false;
		damaged[meta] = pages_walk(pages);
		tables[meta] = pages->tables;
		commit[meta] = pages->newest;
		pages_close(pages);
	}
	meta = tables[newest] > 0 || tables[!newest] == 0 ? newest : !newest;
	if (is_sound[0] && is_sound[1] && tables[meta] > 0)
		return pages_open(pages, bytes, size, page_bytes, meta);
	if (!pages_find(pages, bytes, size, page_bytes, &is_whole))
		return false;
	takes_found = !tables[meta];
	if (is_whole) {
		pages_walk(pages);
		takes_found = damaged[meta] || commit[meta] < pages->newest;
	}
	pages_close(pages);
	return takes_found ? pages_find(pages, bytes, size, page_bytes, &is_whole) : pages_open(pages, bytes, size, page_bytes, meta);
}

/* ---- the file `unclosed`: how many in a row did not close; not synced, for it is only a hint */

static bool unclosed_path(const struct store *store, char out[4096])
{
	return snprintf(out, 4096, "%s/unclosed", store->path) < 4096;
}

static void unclosed_write(const struct store *store, unsigned count)
{
	char path[4096];
	FILE *file;

	if (store->read_only || !unclosed_path(store, path))
		return;
	file = fopen(path, "we");
	if (!file)
		return; /* a full disk: the walk comes later than it might */
	fprintf(file, "%u\n", count);
	fclose(file);
}

unsigned salvage_opened(const struct store *store)
{
	unsigned count = 0;
	char path[4096];
	FILE *file = unclosed_path(store, path) ? fopen(path, "re") : NULL;

	if (file) {
		if (fscanf(file, "%u", &count) != 1 || count > ENDS_BEFORE_WALK)
			count = ENDS_BEFORE_WALK;
		fclose(file);
	}
	unclosed_write(store, count + 1);
	return count;
}

void salvage_closed(const struct store *store)
{
	char path[4096];

	if (!store->read_only && unclosed_path(store, path))
		unlink(path);
}

enum cpd_error salvage_check(struct store *store, const struct store_options *options, uint64_t newest_schema, bool *is_salvaged, const char **problem)
{
	enum cpd_error error = CPD_OK;
	uint64_t damaged, saved = 0;
	char path[4096], line[256];
	struct pages pages;
	size_t page_bytes;
	uint8_t *bytes;
	struct stat st;
	int fd, newest = 0;
	bool is_sound[2];
	const unsigned ends = salvage_opened(store);

	*is_salvaged = false;
	if (snprintf(path, sizeof(path), "%s/data.mdb", store->path) >= (int)sizeof(path))
		return CPD_ERR_TOO_LARGE;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		*problem = file_problem("cannot read %s: %s; look at the disk", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return CPD_ERR_IO;
	}
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (bytes == MAP_FAILED)
		return CPD_ERR_NOMEM;
	page_bytes = file_metas(bytes, (size_t)st.st_size, is_sound);
	damaged = !is_sound[0] + !is_sound[1] + ((size_t)st.st_size < 2 * page_bytes);
	if (!damaged && st.st_size > ALWAYS_BYTES && ends < ENDS_BEFORE_WALK && !store->read_only) {
		munmap(bytes, (size_t)st.st_size);
		return CPD_OK;
	}
	if (!damaged) {
		damaged = !pages_newest(bytes, page_bytes, &newest);
		if (!pages_open(&pages, bytes, (size_t)st.st_size, page_bytes, newest)) {
			munmap(bytes, (size_t)st.st_size);
			return CPD_ERR_NOMEM;
		}
		damaged += pages_walk(&pages);
		pages_close(&pages);
	}
	if (damaged && store->read_only) {
		*problem = file_problem("the store in %s has %llu damaged places among its pages; start cpd on it, or check it with --repair: both "
		    "save what can be read", store->path, (unsigned long long)damaged);
		error = CPD_ERR_DAMAGED;
	} else if (damaged) {
		if (!salvage_choose(&pages, bytes, (size_t)st.st_size, page_bytes, is_sound, newest))
			error = CPD_ERR_NOMEM;
		else
			error = salvage_into(store, &pages, newest_schema, path, &saved, problem);
		pages_close(&pages);
		*is_salvaged = !error;
		snprintf(line, sizeof(line), "%llu damaged places among the pages; %llu rows saved, the damaged file is kept as data.mdb.damaged",
		    (unsigned long long)damaged, (unsigned long long)saved);
		if (!error && options->report)
			options->report(options->report_context, line);
	}
	munmap(bytes, (size_t)st.st_size);
	if (!error)
		unclosed_write(store, 1); /* it is sound now: count from here */
	return error;
}
