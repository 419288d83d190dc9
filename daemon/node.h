/*
 * node.h: one node: the turn. Gather, verify, decide, commit, emit.
 *
 * Owns the store, the relay, the links and the directory; everything runs on the loop thread but the
 * verification pool and the store's writer. It never blocks on a disk or a peer. Called by main.c; the
 * HTTP API (api*.c) asks and orders through the functions below.
 */
#ifndef CPD_NODE_H
#define CPD_NODE_H

#include <event2/event.h>
#include <jansson.h>

#include "crypto/identity.h"
#include "daemon/config.h"
#include "daemon/relay/relay.h"
#include "daemon/space_watch.h"
#include "proto/sealed.h"
#include "store/store.h"

struct node;
/* Opens identity, store, directory, links. *problem: a sentence for the operator with the cure. */
MUST_CHECK enum cpd_error node_open(struct event_base *base, const struct config *config, struct node **out, char problem[256]);
/* Stops taking, commits what is decided, closes. */
void node_close(struct node *node);
/* The store is beyond it: the loop was left, main exits 1 and is started again. */
bool node_has_failed(const struct node *node);
/* For the watchdog: since the last call the writer and the verification pool did something, or they are idle. */
bool node_is_advancing(struct node *node);

/* ---- authoring. The answer comes after the commit, never before. */
struct author_request {
	message_kind kind;
	struct slice body;                     /* encoded and validated */
	uint32_t nodes[LIMIT_DESTINATION_NODES]; size_t node_count;
	uint32_t groups[LIMIT_DESTINATION_GROUPS]; size_t group_count;  /* newest version is filled in */
	bool has_precedence; enum precedence precedence; /* else the kind's own */
	enum mode mode;
	enum entry_mode entry_mode;
	uint32_t lifetime_s;                   /* 0: the kind's own */
	enum level closing_level;              /* LEVEL_NONE: the kind's own */
	struct message_id in_reply_to, supersedes, incident;  /* sequence 0: none */
	char author[LIMIT_FUNCTION + 1];       /* "" : none */
	uint8_t key[64]; size_t key_len;       /* idempotency key; 0: none */
	/* What only some may read: encoded and validated (body_sealed_validate); sealed when it is authored. Wiped by who made it. */
	struct author_sealed { uint32_t audience; size_t len; uint8_t content[LIMIT_SEALED_CONTENT]; } sealed[LIMIT_SEALED_AUDIENCES];
	size_t sealed_count;
};
/* error OK: id is committed (existing: it was by an earlier call with the same key). */
typedef void node_authored(void *context, enum cpd_error error, const char *why, const struct message_id *id, bool existing);
/* The callback is called exactly once, from the loop, never from inside this call unless there is no
 * memory to remember it (NOMEM). context must live until then. The same holds for the calls below. */
void node_author(struct node *node, const struct author_request *request, node_authored *done, void *context);

typedef void node_done(void *context, enum cpd_error error, const char *why);
void node_operate(struct node *node, const struct message_id *id, enum relay_act act, enum cpd_reason reason,
    const char *remark, node_done *done, void *context);
/* A person signs a message of this node that wants it (PROTOCOL.md section 4.7); with the last signature it goes. */
void node_sign(struct node *node, const struct message_id *id, const struct message_release *release, node_done *done, void *context);
/* ---- sealed parts: daemon/node_seal.c */
enum unsealed_state {
	UNSEALED_OPEN,                         /* content is set */
	UNSEALED_OTHERS,                       /* sealed for other nodes */
	UNSEALED_ERASED,                       /* of its own: the key of its period was destroyed, or is of another machine */
	UNSEALED_OLD_KEY,                      /* sealed for an earlier key of this node: its origin seals it again */
	UNSEALED_DAMAGED                       /* does not hold: changed, or sealed wrong */
};
/* content: of the caller, who wipes it; NULL: only the state is told, and OPEN says that this node is a reader. */
struct unsealed { uint32_t audience; enum unsealed_state state; size_t len; uint8_t *content; };
/* A person wants to read what is sealed in a message: done comes when the journal's line of it is on disk. NOT_FOUND: no such message,
 * or nothing in it is for this node. */
void node_unseal(struct node *node, const struct message_id *id, node_done *done, void *context);
/* Part `i` of a message; out->content NULL or of LIMIT_SEALED_CONTENT + SEALED_BLOCK bytes. */
void node_sealed_part(struct node *node, const struct header *header, size_t i, struct unsealed *out);
/* The bytes of a message as they came, malloc'ed. NOT_FOUND: not here, or erased. */
MUST_CHECK enum cpd_error node_envelope(struct node *node, const struct message_id *id, uint8_t **bytes, size_t *len);
/* A signed directory update from an administrator (cpctl region ...), or from a courier. */
void node_import_directory(struct node *node, struct slice record, node_done *done, void *context);

/* ---- courier files: the bytes only; who calls writes and reads the stick. One job at a time, else BUSY. */
struct courier_report {
	bool is_read;
	/* read: of the file, and what became of its parts */
	uint32_t writer, epoch; uint64_t number;
	bool is_fenced;                        /* read or written by a copy that another has the place of: nothing but acknowledgements was taken in */
	bool is_dropped;                       /* the node starts anew, or stops: nothing is wrong with the file */
	bool was_read;                         /* a file of this number was read here before */
	uint32_t updates;                      /* directory updates that were new */
	uint32_t taken, known, receipts;       /* items in custody here: messages that were new, that were held already; receipts */
	uint32_t others;                       /* items for other nodes */
	uint32_t refused, later;               /* for good; for now: full, a leaf missing, a signer not known */
	enum cpd_reason reason;                /* of the last refusal */
	uint32_t released;                     /* of what this node had sent by hand: in custody there, and released here */
	/* written */
	uint8_t *file; size_t len;             /* owned by the callback */
	uint32_t to; size_t readers;           /* to 0: several */
	uint32_t messages, receipts_out, acks, updates_out;
	uint64_t left;                         /* rows for those that did not fit */
};
/* error OK: what it took is on disk; what it wrote has its number on disk. why: a sentence with the cure. Called once, from the
 * loop; from inside the call only for what is wrong at once. */
typedef void node_couriered(void *context, enum cpd_error error, const char *why, struct courier_report *report);
/* Takes the bytes. Nothing is taken in before the whole of it verifies. is_more: what was read of that writer before is
 * still to be told in the next file for it; else forgotten. Errors of courier_open; STATE: this node's own file; or, is_dropped, it starts anew. */
void node_courier_read(struct node *node, uint8_t *take_file, size_t len, bool is_more, node_couriered *done, void *context);
/* What is owed to node `to`, 0: to every neighbour and to whom nothing leads; at most `limit` bytes. Releases nothing. NOT_FOUND:
 * no such node, or nobody to write for; REVOKED. */
void node_courier_write(struct node *node, uint32_t to, size_t limit, node_couriered *done, void *context);
/* False: no job is under way. In items, or bytes of the limit. */
bool node_courier_progress(const struct node *node, size_t *at, size_t *of);

/* ---- asking; all from committed data */
uint32_t node_self(const struct node *node);
struct store *node_store(struct node *node);
const struct directory *node_directory(const struct node *node);
const struct identity *node_identity(const struct node *node);
void node_now(struct node *node, struct moment *out);

struct node_link_status {
	uint32_t neighbour;
	char bearer[16];                       /* "ip", "courier" */
	char address[LIMIT_ADDRESS + 1];       /* where we call; "" when it calls us */
	bool is_up;
	int64_t since_ms;                      /* custody_ms of the last change of is_up */
	int64_t heard_ms;                      /* custody_ms; 0: never */
	uint32_t rate_bps;
	size_t unacked;
	bool is_stalled;                       /* what waits for it stands still though it answers (daemon/relay/stall.h) */
	int64_t stalled_since_ms; unsigned stall_resets; enum precedence stalled; /* while is_stalled; custody_ms */
	int64_t unacked_since_ms;              /* custody_ms: what waits longest for its acknowledgement left then; 0: nothing waits */
	uint64_t sent_bytes, received_bytes, credit_stalls;
	/* Its wall clock less ours when it last said hello (its way here included), at custody_ms told. */
	bool has_clock; int64_t clock_offset_ms, clock_told_ms; enum clock_quality clock_quality;
	char problem[120];                     /* why it is down, in words; "" */
};
size_t node_links(struct node *node, struct node_link_status *out, size_t max);
/* depth: exact, kept with each commit. oldest_s: the age of the first in line, of a receipt since it was
 * last sent on; -1: nothing waits, or its record cannot be read. */
struct node_queue_status { uint64_t depth[PRECEDENCE_COUNT]; int64_t oldest_s[PRECEDENCE_COUNT]; };
/* neighbour 0: without a route. Costs one look for each precedence that has anything, however much waits. */
void node_queue(struct node *node, uint32_t neighbour, struct node_queue_status *out);
/* The first of all queues, configured or not, with a number of `from` or above and something in it; false: none. */
bool node_queue_next(struct node *node, uint32_t from, uint32_t *neighbour);
/* Presence as the relay holds it; false: never heard. age_s since it was signed. */
bool node_presence(struct node *node, uint32_t number, struct presence *out, int64_t *age_s);
/* Since the start of the process. commit: how long a turn waited for its commit, from the moment it was
 * handed to the writer until it was told as on disk; buckets[i]: those of at most node_commit_bounds_us[i],
 * each counted in one bucket, the last for all above. */
#define NODE_COMMIT_BOUNDS 13
extern const uint32_t node_commit_bounds_us[NODE_COMMIT_BOUNDS];
struct node_counters {
	uint64_t turns, commits, taken, duplicates, refused, verify_failed, log_dropped, copies_refused;
	uint64_t events[JOURNAL_COUNT];        /* journal lines of each kind */
	struct { uint64_t buckets[NODE_COMMIT_BOUNDS + 1], sum_us; } commit;
};
/* What was last told of each precedence's room in the store. */
enum space_state node_space(const struct node *node, enum precedence precedence);
void node_counters(const struct node *node, struct node_counters *out);
/* How much is under way at this moment. */
struct node_gauges { unsigned turns_in_flight; size_t verifications, works_waiting; uint32_t epoch; };
void node_gauges(struct node *node, struct node_gauges *out);
/* Messages that were delivered here, and those of them that nobody has read; kept, never scanned. */
void node_inbox(const struct node *node, uint64_t *total, uint64_t *unread);

/* False: it is not. True: a newer copy of its identity is in use, told of in *by; this one has stopped. */
bool node_fenced(const struct node *node, struct claim *by);
/* Which copy of its identity this is; its epoch is that of node_gauges. */
uint32_t node_claim(const struct node *node);

/* What keeps this node from its work now: nothing, or up to NODE_TROUBLES of these. */
#define NODE_TROUBLES 4
struct node_trouble { const char *code, *remedy; char text[160]; };
size_t node_health(struct node *node, struct node_trouble out[NODE_TROUBLES]);

/* ---- live updates: each journal line as it is committed, in order */
struct node_news {
	uint64_t number;                       /* journal counter: the resume id */
	int64_t wall_ms;
	enum journal_what what;
	struct message_id id;                  /* sequence 0: none */
	uint32_t node, link;
	enum level level;
	enum cpd_reason reason;
	enum precedence precedence;
};
typedef void node_listener(void *context, const struct node_news *news);
void node_listen(struct node *node, node_listener *listener, void *context);   /* one more listener, at most 16 */
void node_unlisten(struct node *node, node_listener *listener, void *context);
/* Decodes a value of TABLE_JOURNAL. */
MUST_CHECK enum cpd_error node_news_decode(struct slice value, struct node_news *out);

#endif
