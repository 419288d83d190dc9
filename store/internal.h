/*
 * internal.h: what the files of store/ share: the form of a batch, the state of an open store, and
 * the read transactions. Never included outside store/, but for the tests' commit fault below.
 */
#ifndef CPD_STORE_INTERNAL_H
#define CPD_STORE_INTERNAL_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "store/store.h"

#define STORE_SUM 16                              /* BLAKE2b-128 behind every value */
#define STORE_VALUE_MAX (1024 * 1024)             /* no table needs more; bounds what a damaged length may ask */
#define STORE_WAITING_MAX (4 * 1024 * 1024)       /* submit says BUSY above it */
#define STORE_GROUP_BYTES (1024 * 1024)           /* of one transaction, over several batches */
#define STORE_GROUP_BATCHES 256
#define STORE_STEP_DOUBLE (64 * 1024 * 1024)      /* the map doubles below, and grows by this much above */
#define STORE_MAP_MIN (512 * 1024)                /* empty tables and room for one large commit */
#define STORE_FREE_EVERY 32                       /* commits between two counts of the free pages */
#define STORE_READERS 32                          /* read transactions kept for reuse */
#define STORE_WRITER_STACK (1024 * 1024)          /* LMDB keeps page lists on the stack; 512 KiB is the floor */

/* ---- batch.c: operations one behind another in one buffer. Behind the lengths an operation holds
 * exactly what is hashed: table, key length, key, value; then room for the sum. So the writer hashes
 * and stores it without a copy. */
enum batch_verb { BATCH_PUT, BATCH_DELETE, BATCH_QUARANTINE, BATCH_RECOUNT };
struct batch_op {
	enum batch_verb verb;
	enum store_table table;
	MDB_val key, value;                       /* lead into the batch; value without the sum */
	uint8_t *hashed;                          /* PUT: from the table byte on */
	size_t hashed_len;
};
struct batch_waiter { bool done; enum cpd_error error; };
struct store_batch {
	uint64_t turn;
	uint8_t *bytes;
	size_t len, size, count;
	struct store_batch *next;                 /* in the writer's queue */
	struct batch_waiter *waiter;              /* store_commit_now; borrowed */
};
/* Moves a row aside in the writer's transaction, when it is damaged at that moment. */
MUST_CHECK enum cpd_error batch_quarantine(struct store_batch *batch, enum store_table table, const struct store_key *key);
/* Has the queue that this row of depths is of counted anew. */
MUST_CHECK enum cpd_error batch_recount(struct store_batch *batch, const struct store_key *depth);
/* The operation at *offset, which moves on; false: past the end. */
bool batch_next(const struct store_batch *batch, size_t *offset, struct batch_op *out);

/* ---- the open store */
struct store {
	MDB_env *env;
	MDB_dbi tables[TABLE_COUNT];
	store_hash *hash;
	bool read_only;
	int lock_fd, event_fd;
	size_t page_bytes, limit_bytes;
	char *path;
	const char *version;                      /* the caller's, while it opens */
	bool is_opened;                           /* so that its closing is noted: the opening came to its end */

	/* No transaction may be open while the map changes: reads hold it shared, growth alone. The
	 * default kind, which lets readers pass a waiting writer, is meant: a scan's visitor may read. */
	pthread_rwlock_t map_lock;
	pthread_mutex_t readers_lock;
	MDB_txn *readers[STORE_READERS];
	size_t reader_count;

	/* Writer. */
	bool has_writer;
	pthread_t writer;
	pthread_mutex_t lock;                     /* guards what follows, to `stop` */
	pthread_cond_t work, done;
	struct store_batch *first, **last;
	size_t waiting_bytes;
	uint64_t completed;                       /* highest turn on disk */
	uint64_t told;                            /* the one store_completed has told */
	enum cpd_error failed;                    /* set once; never a success after it */
	bool failure_told;
	bool stop;

	struct store_copy *copy;                  /* set and cleared by who asked for it, with the lock held */

	/* Space; written by the writer, read by anyone. */
	atomic_size_t map_bytes;
	atomic_size_t top_bytes;                  /* highest page ever used */
	atomic_size_t free_bytes;                 /* below it and free, when last counted */
	atomic_uint commits_uncounted;
	atomic_bool growth_failed;                /* the disk did not give the room: map_bytes is the limit */

	/* Unit tests only: asked before each commit; a value other than 0 is the errno it fails with. */
	int (*_Atomic commit_fault)(void *context);
	void *_Atomic commit_fault_context;
};

/* ---- store.c */
/* What the operator must be told of an LMDB result. */
enum cpd_error store_lmdb_error(int rc);
bool store_table_is_valid(enum store_table table);
const char *store_table_name(enum store_table table);

/* ---- read.c */
/* While it is held the map is not moved. The same thread may hold it more than once; it lets go as often. */
void store_map_hold(struct store *store);
void store_map_release(struct store *store);
/* A read transaction; every store_read_begin that gave CPD_OK has its store_read_end. */
MUST_CHECK enum cpd_error store_read_begin(struct store *store, MDB_txn **out);
void store_read_end(struct store *store, MDB_txn *txn);

/* A buffer that grows; one a scan, so that a row costs one copy. */
struct scratch { uint8_t *bytes; size_t size; };
/* Copies the row behind its table and key bytes, checks the sum; *value leads into scratch.
 * DAMAGED, NOMEM. */
MUST_CHECK enum cpd_error store_row_open(const struct store *store, enum store_table table, const MDB_val *key,
    const MDB_val *raw, struct scratch *scratch, struct slice *value);
/* Get and open in a transaction that is open already. */
MUST_CHECK enum cpd_error store_row_get(const struct store *store, MDB_txn *txn, enum store_table table,
    const struct store_key *key, struct scratch *scratch, struct slice *value);

/* ---- depth.c: what one transaction changes of the counts of the queues */
struct depth { uint8_t bytes[5]; int64_t change; bool is_counted; };
struct depths { struct depth *all; size_t count, size; };  /* begins all zero; the caller frees `all` */
/* A queue row comes or goes; its key. These three give 0 or an errno or MDB_*. */
int depth_change(struct depths *depths, const MDB_val *queue_key, int change);
int depth_recount(struct depths *depths, const MDB_val *depth_key);
int depth_write(struct store *store, MDB_txn *txn, struct depths *depths);
/* Calls `wrong` for each readable count (an absent one is 0) that is not that of the rows. */
typedef void depth_wrong(void *context, const struct store_key *depth, uint64_t told, uint64_t rows);
int depth_check(const struct store *store, MDB_txn *txn, depth_wrong *wrong, void *context);

/* ---- migrate.c */
/* One piece of a step, in one transaction. `at` is what the piece before left there, empty at first: then it must cope
 * with whatever an unfinished step the other way left. `is_done` ends the step. Gives 0, an errno or MDB_*; above all
 * bounded, a few thousand rows. */
struct migration { struct store *store; MDB_txn *txn; struct store_key at; bool is_done; };
typedef int migrate_step(struct migration *migration);
/* down NULL: only a backup leads back. */
struct migration_step { const char *what; migrate_step *up, *down; };
/* steps[0] leads from `lowest` to lowest + 1, and so on. fault: unit tests only, asked before each commit. */
struct migrations {
	uint64_t lowest;
	size_t count;
	const struct migration_step *steps;
	int (*fault)(void *context);
	void *fault_context;
};
extern const struct migrations store_migrations;
int depth_migrate_up(struct migration *migration);
int depth_migrate_down(struct migration *migration);

/* number 0: a new store. to: 0, or where an unfinished step leads; at: how far it came. */
struct schema { uint64_t number, to; struct store_key at; char by[32]; };
/* Refuses what these steps cannot open; changes nothing. */
MUST_CHECK enum cpd_error schema_check(struct store *store, MDB_txn *txn, const struct migrations *migrations, struct schema *out, const char **problem);
/* Gives a new store the newest schema, and puts back the one of the two rows that was lost. */
MUST_CHECK enum cpd_error schema_settle(struct store *store, const struct migrations *migrations, const struct schema *schema);
/* Before the writer starts. Piece by piece to the schema `target`; *schema tells how far it came, also on error. */
MUST_CHECK enum cpd_error migrate_to(struct store *store, const struct migrations *migrations, uint64_t target, struct schema *schema,
    const struct store_options *options, const char **problem);
/* store_open and store_downgrade with other steps. */
MUST_CHECK enum cpd_error store_open_as(const struct store_options *options, const struct migrations *migrations, struct store **out, const char **problem);
MUST_CHECK enum cpd_error store_downgrade_as(const struct store_options *options, const struct migrations *migrations, uint64_t schema, const char **problem);

/* ---- file.c */
/* The size of a page, and which of the two metas, at 0 and at that size, are metas. `bytes`: the begin of the file. */
size_t file_metas(const uint8_t *bytes, size_t size, bool is_sound[2]);
/* Makes the folder, takes its lock, and looks whether the data file can be read. */
MUST_CHECK enum cpd_error file_claim(struct store *store, bool *is_new, const char **problem);
/* A new, empty data file: sound as soon as it has its name. */
MUST_CHECK enum cpd_error file_make(const struct store *store, size_t map_bytes, const char **problem);
/* The names of the files, and of the folder. */
MUST_CHECK enum cpd_error file_sync_names(const struct store *store);
/* Reserves room on disk for the map, so that a full disk shows at growth and not in a commit, and
 * makes the file as long as the map, so that no mapped page lies behind its end. False: no room. */
bool file_reserve(const struct store *store, size_t bytes);
MUST_CHECK enum cpd_error file_sync_folder(const char *path);
/* A sentence in a buffer of this thread, for *problem. */
const char *file_problem(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- copy.c */
/* Ends a copy that is under way and waits for that. False: there was none. Called by the writer. */
bool copy_gives_way(struct store *store);

/* ---- pages.c */
enum { PAGES_UNKNOWN = -1, PAGES_TABLES = -2, PAGES_FREE = -3 };
/* A row of the table, or of one that its sum must tell (PAGES_UNKNOWN). The value as it lies there, with its sum. */
typedef void pages_visit(void *context, int table, const uint8_t *key, size_t key_len, const uint8_t *data, size_t len);
#define PAGES_META 152
struct pages {
	const uint8_t *bytes, *meta;              /* of the whole file, mapped; borrowed */
	size_t size, page_bytes;
	uint64_t count;                           /* pages, by the meta */
	uint8_t made[PAGES_META];                 /* a meta with the roots that pages_find found */
	bool is_found;
	uint8_t *state;                           /* of each page: not seen, live or free */
	uint16_t *room;                           /* of the page at hand */
	uint64_t damaged, tables, unknown;        /* places that are wrong; tables with names that we know, and others */
	uint64_t newest;                          /* the newest commit that the list of free pages tells of */
	bool free_is_broken;
	pages_visit *visit;                       /* may be NULL */
	void *context;
};
/* meta: 0 or 1. False: no memory. */
bool pages_open(struct pages *pages, const uint8_t *bytes, size_t size, size_t page_bytes, int meta);
/* Without believing a meta: looks through all pages for the roots of the newest state that is there whole: then the walk is
 * clean, and every page belongs to it or is free. *is_whole false: the best of what is left, or nothing at all. */
bool pages_find(struct pages *pages, const uint8_t *bytes, size_t size, size_t page_bytes, bool *is_whole);
void pages_close(struct pages *pages);
/* How many places are wrong; 0: LMDB may open it. Visits every row that can be reached, once. */
uint64_t pages_walk(struct pages *pages);
/* Which meta LMDB takes; false: the two cannot be of one history. */
bool pages_newest(const uint8_t *bytes, size_t page_bytes, int *newest);

/* ---- salvage.c */
/* Notes that the store is open; how many before did not close it. And that it was closed. */
unsigned salvage_opened(const struct store *store);
void salvage_closed(const struct store *store);
/* Looks at the pages of the closed file; when some are broken, puts what can be read in its place. Read-only: DAMAGED. */
MUST_CHECK enum cpd_error salvage_check(struct store *store, const struct store_options *options, uint64_t newest_schema, bool *is_salvaged, const char **problem);

/* ---- writer.c */
MUST_CHECK enum cpd_error writer_start(struct store *store);
void writer_stop(struct store *store);            /* drains first */
/* A row with its sum, in a transaction of the caller's. */
int writer_put_row(struct store *store, MDB_txn *txn, enum store_table table, const struct store_key *key, struct slice value);
/* Space used, from the last commit's transaction. Any thread. */
void writer_count_space(struct store *store);
/* Grows in planned steps while more than half is used. wait: for readers to leave. */
bool writer_grow(struct store *store, bool wait);

#endif
