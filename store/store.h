/*
 * store.h: what survives. LMDB, durable: one transaction a turn on the writer thread.
 *
 * Never decides, never verifies signatures, never syncs lazily. The only user of lmdb.h. Called by
 * daemon/node.c and test/. Layout, keys and invariants: docs/STORE.md. Every value is followed by
 * BLAKE2b-128 over (table, key, value); a value that fails it is DAMAGED, never returned.
 */
#ifndef CPD_STORE_STORE_H
#define CPD_STORE_STORE_H

#include "proto/custody.h"
#include "proto/link.h"

#define STORE_SCHEMA 2   /* what each one changed: docs/STORE.md section 8 */

enum store_table {
	TABLE_META,         /* name -> bytes */
	TABLE_ENVELOPES,    /* message id -> encoded Envelope */
	TABLE_CUSTODY,      /* message id -> custody record */
	TABLE_QUEUE,        /* link, precedence (FLASH first), counter -> item_ref */
	TABLE_TIMERS,       /* due custody_ms, message id -> nothing */
	TABLE_RECEIPTS,     /* witness, epoch, counter -> time forwarded, SignedRecord */
	TABLE_INBOX,        /* counter -> message id */
	TABLE_LATEST,       /* origin, kind -> message id (state kinds) */
	TABLE_LEAVES,       /* message id, index -> leaf */
	TABLE_JOURNAL,      /* counter -> journal entry */
	TABLE_DIRECTORY,    /* number -> SignedRecord of DirectoryUpdate */
	TABLE_CIRCUITS,     /* neighbour -> link_circuit */
	TABLE_PRESENCE,     /* node -> heard custody_ms, SignedRecord of Presence */
	TABLE_AUTHORED,     /* idempotency key (<= 64 bytes) -> message id */
	TABLE_QUARANTINE,   /* counter -> table, key, damaged bytes */
	TABLE_DEPTHS,       /* link, precedence -> rows in queue; the store's own: a batch may not name it */
	TABLE_COUNT
};

/* Keys are big-endian, so that LMDB's order is ours. Longest: 64 bytes. */
#define STORE_KEY_MAX 64
struct store_key { uint8_t bytes[STORE_KEY_MAX]; size_t len; };
/* Names and bytes that are empty or too long give an empty key, which batches and reads refuse (RANGE). */
struct store_key store_key_id(const struct message_id *id);
struct store_key store_key_queue(uint32_t link, enum precedence precedence, uint64_t counter);
struct store_key store_key_depth(uint32_t link, enum precedence precedence);
struct store_key store_key_timer(int64_t due_ms, const struct message_id *id);
struct store_key store_key_record(uint32_t witness, uint32_t epoch, uint64_t counter);
struct store_key store_key_counter(uint64_t counter);
struct store_key store_key_latest(uint32_t origin, message_kind kind);
struct store_key store_key_leaf(const struct message_id *id, uint32_t index);
struct store_key store_key_number(uint32_t number);
struct store_key store_key_name(const char *name);
struct store_key store_key_bytes(struct slice bytes);
/* The other way; MALFORMED when the length is off. */
MUST_CHECK enum cpd_error store_key_read_id(const struct store_key *key, struct message_id *out);
MUST_CHECK enum cpd_error store_key_read_queue(const struct store_key *key, uint32_t *link, enum precedence *precedence, uint64_t *counter);
MUST_CHECK enum cpd_error store_key_read_depth(const struct store_key *key, uint32_t *link, enum precedence *precedence);
MUST_CHECK enum cpd_error store_key_read_timer(const struct store_key *key, int64_t *due_ms, struct message_id *out);
uint64_t store_key_read_counter(const struct store_key *key);

/* Fixed binary forms of small values. A ref's counter stands in its queue key: read back as 0. */
struct store_value { uint8_t bytes[128]; size_t len; };
struct store_value store_value_id(const struct message_id *id);
struct store_value store_value_ref(const struct item_ref *ref, uint32_t destination);
struct store_value store_value_circuit(const struct link_circuit *circuit);
struct store_value store_value_u64(uint64_t value);
MUST_CHECK enum cpd_error store_value_read_id(struct slice value, struct message_id *out);
MUST_CHECK enum cpd_error store_value_read_ref(struct slice value, struct item_ref *out, uint32_t *destination);
MUST_CHECK enum cpd_error store_value_read_circuit(struct slice value, struct link_circuit *out);
MUST_CHECK enum cpd_error store_value_read_u64(struct slice value, uint64_t *out);

/* ---- one turn's changes */
struct store_batch;
struct store_batch *store_batch_new(uint64_t turn);         /* NULL: no memory */
void store_batch_free(struct store_batch *batch);
/* Copies key and value. Later operations on one key win. RANGE: key or table; TOO_LARGE: above 1 MiB; NOMEM. */
MUST_CHECK enum cpd_error store_batch_put(struct store_batch *batch, enum store_table table, const struct store_key *key, struct slice value);
MUST_CHECK enum cpd_error store_batch_delete(struct store_batch *batch, enum store_table table, const struct store_key *key);
size_t store_batch_bytes(const struct store_batch *batch);
size_t store_batch_count(const struct store_batch *batch);

/* ---- the store */
struct store;
/* A step from one schema to the next (or back): told before its first piece and after each. */
struct store_migration { uint64_t from, to, pieces; const char *what; bool is_done; };
typedef void store_migrated(void *context, const struct store_migration *news);
typedef void store_report(void *context, const char *line);
typedef void store_hash(uint8_t *out, size_t out_len, const uint8_t *data, size_t len);
struct store_options {
	const char *path;            /* folder, made with mode 0700 when absent */
	store_hash *hash;
	size_t limit_bytes;          /* the map never grows above; 0: 2 GiB */
	size_t initial_bytes;        /* 0: 16 MiB; grows in planned steps */
	bool read_only;              /* for --check-store */
	const char *version;         /* of this cpd; kept with the schema, for who cannot read it. May be NULL */
	store_migrated *migrated;    /* may be NULL */
	void *migrated_context;
	store_report *report;        /* one line for each thing lost or mended, when pages were damaged; may be NULL */
	void *report_context;
};
/* Opens, brings an older schema to ours, and starts the writer thread. *problem: a sentence for the operator with the cure
 * (newer schema, page size, damaged file, in use by another process), valid until this thread's next
 * store_open; NULL when it went well. SCHEMA (read_only: also an older one), BUSY (in use), DAMAGED, NOT_FOUND (read_only), IO, USAGE, NOMEM. */
MUST_CHECK enum cpd_error store_open(const struct store_options *options, struct store **out, const char **problem);
/* Brings the closed store back to an older schema, so that the cpd that knows no newer one can go on with all that is in it.
 * SCHEMA: newer than the store's, unknown, or no way back; else as store_open. What a kill interrupts the same call finishes. */
MUST_CHECK enum cpd_error store_downgrade(const struct store_options *options, uint64_t schema, const char **problem);
void store_close(struct store *store);                       /* waits for the writer; NULL is fine */

/* Takes the batch (also on error). The writer commits batches in the order given, each in one synced
 * transaction or several together in one. BUSY when 4 MiB wait: drain completions first. After a
 * failed commit every later submit fails with STATE until the store is opened again. */
MUST_CHECK enum cpd_error store_submit(struct store *store, struct store_batch *take_batch);
/* Commits synchronously through the writer (start-up, tests, simulator). */
MUST_CHECK enum cpd_error store_commit_now(struct store *store, struct store_batch *take_batch);
/* eventfd that becomes readable when a completion waits. */
int store_completion_fd(const struct store *store);
/* Highest turn whose commit has finished; false: nothing new. *error is not OK when turns after *turn
 * failed: FULL, IO (rarely DAMAGED, NOMEM). Both are set each time. Clears the eventfd. */
bool store_completed(struct store *store, uint64_t *turn, enum cpd_error *error);

/* ---- reads: committed data, copied out into a malloc'ed buffer (the caller's). NOT_FOUND, DAMAGED
 * (logged once by the caller; store_quarantine moves it aside), IO. Any thread. */
MUST_CHECK enum cpd_error store_get(struct store *store, enum store_table table, const struct store_key *key, uint8_t **value, size_t *len);
/* First row with key >= from (after: > from) and key starting with prefix_len bytes of from; *found_key
 * is set, also with DAMAGED, so that the caller can go on behind it. An empty `from` is the table's begin. */
MUST_CHECK enum cpd_error store_seek(struct store *store, enum store_table table, const struct store_key *from, size_t prefix_len,
    bool after, struct store_key *found_key, uint8_t **value, size_t *len);
/* Last row whose key starts with prefix. */
MUST_CHECK enum cpd_error store_seek_last(struct store *store, enum store_table table, const struct store_key *prefix,
    struct store_key *found_key, uint8_t **value, size_t *len);
/* Up to `max` rows from `from` on within the prefix, in one read transaction; the visitor copies what
 * it needs (value dies with the call) and returns false to stop; it may read but must not wait for the
 * writer. Damaged rows are counted (damaged may be NULL) and passed over. */
typedef bool store_visit(void *context, const struct store_key *key, struct slice value);
MUST_CHECK enum cpd_error store_scan(struct store *store, enum store_table table, const struct store_key *from, size_t prefix_len,
    bool after, size_t max, store_visit *visit, void *context, size_t *damaged);
uint64_t store_count(struct store *store, enum store_table table); /* rows; 0 on error */
/* How many rows of the queue wait, exactly and without a scan: of the first link with number >= from
 * that has any. False: none, or it cannot be read. Any thread. */
struct store_depth { uint32_t link; uint64_t rows[PRECEDENCE_COUNT]; };
bool store_depth_next(struct store *store, uint32_t from, struct store_depth *out);

/* ---- space. limit_bytes is the map itself while the disk has no room for more; used_bytes may count
 * pages that the last 32 commits freed. */
struct store_space { size_t map_bytes, limit_bytes, used_bytes, waiting_bytes /* for the writer */; };
void store_space(struct store *store, struct store_space *out);
/* May a new message of this precedence be taken? What waits for the writer counts. ROUTINE stops at 60 % of the limit, PRIORITY 75,
 * IMMEDIATE 88, FLASH 96; receipts, deletes and revocations always pass. */
bool store_admits(struct store *store, enum precedence precedence);
/* Below this many bytes in use, and waiting for the writer, a new message of this precedence is taken. */
size_t store_admission_bytes(struct store *store, enum precedence precedence);
/* As store_admits, when `more` bytes were let in that the store has not seen yet. */
bool store_admits_more(struct store *store, enum precedence precedence, size_t more);

/* ---- health */
struct store_check {
	uint64_t rows[TABLE_COUNT];
	uint64_t damaged[TABLE_COUNT];
	uint64_t broken_invariants;
	uint64_t quarantined;
};
/* Verifies every checksum and the invariants of STORE.md; with repair, moves damaged rows into
 * quarantine and rebuilds what can be rebuilt: then nothing else may write meanwhile. One line a
 * finding, through report (may be NULL). One long read: at start, by --check-store, or when quiet.
 * OK also with findings; STATE: repair of a read-only store. */
MUST_CHECK enum cpd_error store_verify(struct store *store, bool repair, store_report *report, void *context, struct store_check *out);
/* The same of a running store, without repair and without counting the queues (depths): by reads of some hundred rows, each of a moment
 * of its own; the writer and others go on between them. step is called after each, with how many rows were looked at
 * and about how many it will be; false breaks it off (STATE). Not on the loop thread. */
typedef bool store_step(void *context, uint64_t done, uint64_t of);
MUST_CHECK enum cpd_error store_verify_running(struct store *store, store_report *report, store_step *step, void *context, struct store_check *out);
/* Moves one row aside, when it is damaged still; else does nothing. Waits for the writer. */
MUST_CHECK enum cpd_error store_quarantine(struct store *store, enum store_table table, const struct store_key *key);
/* ---- a copy, compact and of one moment, while the store goes on: the bytes of a data.mdb, for a backup. One
 * at a time (BUSY). Bytes come out of *fd, non-blocking, which the caller closes after store_copy_end. It
 * gives way to a commit that needs room: a backup never makes a message wait. */
MUST_CHECK enum cpd_error store_copy_begin(struct store *store, int *fd);
/* Once the bytes have ended, without waiting: were they all? */
bool store_copy_is_whole(struct store *store);
/* At the end of the bytes: OK: they were all. BUSY: it gave way; IO. Before: breaks it off (STATE), which waits
 * for what LMDB reads at that moment, 1 MiB at the most. */
MUST_CHECK enum cpd_error store_copy_end(struct store *store);

#endif
