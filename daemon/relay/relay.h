/*
 * relay.h: what one node decides: routing, precedence queues, custody, receipts, retry, expiry.
 *
 * A pure object: events in, effects out. It has no clock, no store, no callbacks, no keys. What it must
 * know from the store for one event it names (relay_keys_of); the host loads those records and passes
 * them with the event. Over committed facts it keeps an overlay of turns not yet committed. Called by
 * daemon/node.c and test/sim; both do the same:
 *
 *   relay_begin_turn(t)
 *     for each event: keys = relay_keys_of; load; relay_handle
 *     for each WITNESS effect: sign a receipts record and hand it in as RELAY_RECEIPTS (link 0)
 *   relay_end_turn
 *   take every effect: the storable ones into one transaction, SETTLE to the links for turn t
 *   commit ... relay_committed(t), link_committed(t), then fill the links with relay_next_item
 *
 * If the commit fails the relay is thrown away and built again from the store.
 */
#ifndef CPD_RELAY_RELAY_H
#define CPD_RELAY_RELAY_H

#include "proto/custody.h"
#include "proto/directory.h"
#include "proto/frame.h"
#include "proto/link.h"
#include "proto/verified.h"

/* "344" leads every node number whose decimal form starts so; "" is the default route. Longest wins. */
struct relay_route { char prefix[11]; uint32_t via[4]; size_t via_count; };

struct relay_config {
	uint32_t self, epoch;
	const struct directory *directory;     /* borrowed for the relay's life */
	const struct relay_route *routes; size_t route_count; /* copied */
	bool passes_presence_to_nsps;          /* role: cp and desk tell an NSP only of non-NSPs and of new epochs */
	int64_t retry_ms[PRECEDENCE_COUNT];    /* end-to-end retry until DELIVERED; doubles up to retry_max_ms */
	int64_t retry_max_ms;
	int64_t reoffer_ms;                    /* after DELIVERED, until the closing level */
	int64_t grace_ms;                      /* after closing, before the floor may pass: 72 h */
	int64_t inbox_ms;                      /* a message delivered here stays at least this long: 90 days */
	int64_t reroute_ms;                    /* a link down this long loses its queue to another way */
	int64_t presence_ms;                   /* own presence is announced this often, and at changes */
	int64_t refusal_wait_ms;               /* a retryable refusal is tried again after this */
	/* Which copy of this identity we are (proto/presence.h, its epoch is `epoch`); instance 0: there are no others. */
	uint32_t claim; uint64_t instance;
	bool takes_over;                       /* it was told to: a higher claim of before its start is outbid */
	int64_t started_ms;                    /* custody_ms when this instance began */
	int64_t quota_bytes;                   /* an origin may put so much on this disk at once (quota.h): 64 MiB */
	int64_t copy_doubt_ms;                 /* by so much an age that neighbours tell may be too low */
};
/* Fills in the defaults (FLASH 30 s, IMMEDIATE 2 min, PRIORITY 10 min, ROUTINE 30 min, max 2 h,
 * re-offer 1 h, grace 72 h, inbox 90 days, reroute 10 s, presence 60 s, refusal 5 s, doubt 2 min); self, epoch, directory, routes stay 0. */
void relay_config_init(struct relay_config *config);

/* Counters that outlive the relay; restored from meta at start and stored by PUT_COUNTERS. Sequences go on
 * through epochs. A floor holds for its epoch; of the epochs before, newest first, the store may hold
 * messages that are not final yet. `end` is the first sequence that this store did not give in it: what a
 * lost disk gave beyond, nobody can declare final any more, so no floor ever passes it. */
struct elder_floor { uint32_t epoch; uint64_t floor, end; };   /* epoch 0: none */
#define RELAY_ELDERS (LIMIT_FLOORS - 1)
struct relay_counters {
	uint64_t next_sequence, next_row, next_inbox, receipt_counter, presence_counter, floor;
	uint64_t inbox_read;                   /* of the messages below next_inbox, those that somebody has read */
	uint32_t epoch;                        /* of floor; 0: never started */
	struct elder_floor elders[RELAY_ELDERS];
};

struct relay;
struct relay *relay_new(const struct relay_config *config, const struct relay_counters *counters, const struct moment *now);
void relay_free(struct relay *relay);
/* Before the first event: what the store holds. */
MUST_CHECK enum cpd_error relay_restore_presence(struct relay *relay, const struct presence *presence, int64_t heard_ms);
/* After its presence: floors that this node told before, as PUT_FLOORS gave them. */
void relay_restore_floors(struct relay *relay, uint32_t node, const struct epoch_floor *floors, size_t count);
MUST_CHECK enum cpd_error relay_restore_latest(struct relay *relay, uint32_t origin, message_kind kind, const struct message_id *id);
/* Every neighbour in the configuration, in order of preference. Asks for its queue heads. */
MUST_CHECK enum cpd_error relay_add_link(struct relay *relay, uint32_t neighbour);

/* ---------------------------------------------------------------- events */
enum relay_event_type {
	RELAY_MESSAGE,      /* verified; link 0: authored here */
	RELAY_RECEIPTS,     /* verified; link 0: signed here for WITNESS effects */
	RELAY_HEARD,        /* verified presence, from link */
	RELAY_LINK_UP, RELAY_LINK_DOWN,
	RELAY_ACKED, RELAY_REFUSED, RELAY_RETURNED,   /* of an item_ref that relay_next_item gave */
	RELAY_CARRIED,      /* what went by hand is in custody with node `link`: its word, verified, of ref in the queue of row_link */
	RELAY_WANTED,       /* the peer's leaf bitmap for a large body */
	RELAY_LEAF,         /* a leaf that was checked against the tree of its message */
	RELAY_OPERATE,      /* a person's act on a message held here */
	RELAY_TIMER,        /* a row of the timers table is due */
	RELAY_ROWS,         /* queue rows, answering WANT_ROWS */
	RELAY_OWN,          /* own messages in retention, answering WANT_OWN */
	RELAY_LOST,         /* the bytes of message `id` were damaged and set aside, though its record says they are here */
	RELAY_FORGET,       /* message `id`, delivered here, may be past its term: goes when it is */
	RELAY_TICK,         /* relay_next_deadline has come */
	RELAY_DIRECTORY,    /* the directory has changed: groups or nodes may be known now */
	RELAY_ANNOUNCE      /* own presence is wanted now, for a courier: asks nothing of the times at which links hear it */
};
enum relay_act { ACT_READ, ACT_ACCEPT, ACT_REFUSE, ACT_DONE, ACT_WITHDRAW, ACT_HOLD, ACT_RELEASE };

#define RELAY_ROWS_MAX 64
struct relay_row { struct item_ref ref; uint32_t destination; };

struct relay_event {
	enum relay_event_type type;
	uint32_t link;                           /* neighbour; 0: this node itself */
	uint64_t serial;                         /* MESSAGE, RECEIPTS, LEAF from a link: for SETTLE */
	const struct verified_message *message;
	const struct trailer *trailer;           /* MESSAGE; NULL when authored */
	bool store_admits;                       /* MESSAGE: space for its precedence */
	bool is_draft;                           /* MESSAGE of this node: held from the first, until ACT_RELEASE */
	const struct verified_receipts *receipts;
	const struct verified_presence *presence; uint32_t presence_age_s;
	struct item_ref ref;                     /* ACKED, REFUSED, RETURNED, WANTED, CARRIED: a row the host found in the store */
	uint32_t row_link, row_destination;      /* CARRIED: whose queue, 0 without a route; as the row says */
	uint32_t retry, after_epoch;             /* CARRIED: of the offer that went */
	enum cpd_reason reason;                  /* REFUSED; OPERATE refuse */
	struct slice held;                       /* WANTED: leaf bitmap; MESSAGE with a large body: leaves on disk here */
	struct message_id id;                    /* OPERATE, TIMER, LEAF, LOST, FORGET; OWN answering WANT_FLOOR: its epoch */
	int64_t due_ms;                          /* TIMER: as in the row's key */
	uint32_t leaf_index; struct slice leaf;  /* LEAF, checked by the host with tree_verify_leaf */
	enum relay_act act; const char *remark;  /* OPERATE; remark may be NULL */
	const struct relay_row *rows; size_t row_count; /* ROWS */
	bool is_reroute;                         /* ROWS: as asked */
	enum precedence precedence;              /* ROWS; RECEIPTS: as the link carried it */
	bool rows_end;                           /* ROWS: there were no more */
	const struct message_id *own; size_t own_count; uint32_t own_node; bool own_end; /* OWN */
};

#define RELAY_KEYS_MAX (LIMIT_RECEIPT_ENTRIES + RELAY_ROWS_MAX + 5)
/* Names the custody records the event needs. Returns their number. */
size_t relay_keys_of(const struct relay *relay, const struct relay_event *event, struct message_id keys[RELAY_KEYS_MAX]);

struct relay_facts {
	const struct custody *custody[RELAY_KEYS_MAX]; /* parallel to the keys; NULL: the store holds none */
	bool holds_receipts;                     /* RECEIPTS: that record is in the store, */
	int64_t receipts_forwarded_ms;           /* and was last sent on then (custody_ms) */
};

void relay_begin_turn(struct relay *relay, uint64_t turn);
/* NOMEM: throw the relay away. STATE, NOT_FOUND: an OPERATE that is not allowed; nothing changed. */
MUST_CHECK enum cpd_error relay_handle(struct relay *relay, const struct relay_event *event,
    const struct relay_facts *facts, const struct moment *now);
MUST_CHECK enum cpd_error relay_end_turn(struct relay *relay);
void relay_committed(struct relay *relay, uint64_t turn);

/* ---------------------------------------------------------------- effects */
enum relay_effect_type {
	/* into the turn's transaction */
	EFFECT_PUT_CUSTODY,    /* custody */
	EFFECT_DELETE_CUSTODY, /* id */
	EFFECT_PUT_ENVELOPE,   /* id, bytes */
	EFFECT_DELETE_ENVELOPE,/* id; and its leaves when large */
	EFFECT_PUT_LEAF,       /* id, index, bytes */
	EFFECT_PUT_ROW, EFFECT_DELETE_ROW,     /* link, row */
	EFFECT_PUT_TIMER, EFFECT_DELETE_TIMER, /* at_ms, id */
	EFFECT_PUT_RECEIPTS,   /* id as record key (witness/epoch/counter), at_ms forwarded, bytes (data NULL: only at_ms changes) */
	EFFECT_PUT_INBOX, EFFECT_DELETE_INBOX, /* counter, id */
	EFFECT_PUT_LATEST,     /* node, kind, id */
	EFFECT_PUT_PRESENCE,   /* node, at_ms heard, bytes */
	EFFECT_PUT_FLOORS,     /* node, presence.floors: what it ever told, where its presence in the store does not tell it all */
	EFFECT_PUT_COUNTERS,   /* counters */
	EFFECT_PURGE_BELOW,    /* node, epoch, sequence: custody rows below it that hold no envelope may go */
	EFFECT_PURGE_ELDERS,   /* node, epoch, at_ms: custody rows of its epochs before this one that hold no envelope and came before at_ms */
	EFFECT_JOURNAL,        /* what, id, node, link, level, reason, precedence: log, journal, live updates */
	/* after the commit */
	EFFECT_SETTLE,         /* link, serial, reason */
	EFFECT_WANT,           /* link, serial, id, bytes (leaf bitmap held) */
	EFFECT_PRESENCE,       /* link, bytes, age_s: pass this presence on (not own) */
	EFFECT_ANNOUNCE,       /* presence: sign it and send it to every link that is up */
	/* at once, within the turn */
	EFFECT_WITNESS,        /* entry, precedence: sign it into a receipts record */
	/* questions to the host; answered by an event in a later turn */
	EFFECT_WANT_ROWS,      /* link, precedence, counter (after), is_reroute */
	EFFECT_WANT_OWN,       /* node, id (after): own epoch(s), not final, up to RELAY_ROWS_MAX */
	EFFECT_WANT_FLOOR,     /* epoch, sequence: from it on, own messages in order; answer OWN with own_node = self */
	/* alarms that need the shell */
	EFFECT_RAISE_EPOCH,    /* epoch, claim: at least these (claim 0: as it is); then the relay is built again */
	EFFECT_FENCED,         /* presence: a newer copy of this identity is alive, and this is what it signed: stop */
	EFFECT_REISSUE         /* id: its id is taken by another content elsewhere: author it again under a new epoch */
};

enum journal_what {
	JOURNAL_AUTHORED, JOURNAL_CUSTODY_TAKEN, JOURNAL_PASSED, JOURNAL_DELIVERED_HERE, JOURNAL_DUPLICATE,
	JOURNAL_RECEIPT, JOURNAL_RETRY, JOURNAL_REROUTED, JOURNAL_EXPIRED, JOURNAL_UNDELIVERABLE, JOURNAL_CLOSED,
	JOURNAL_RELEASED, JOURNAL_WITHDRAWN, JOURNAL_SUPERSEDED, JOURNAL_HELD, JOURNAL_FREED, JOURNAL_REFUSED_BY,
	JOURNAL_REFUSED, JOURNAL_ID_CONFLICT, JOURNAL_FLOOR_FELL, JOURNAL_EPOCH_ROSE, JOURNAL_OPERATED, JOURNAL_LINK_UP,
	JOURNAL_LINK_DOWN, JOURNAL_NODE_SEEN, JOURNAL_HEAD_SEEN /* the shell's: of another's journal */,
	JOURNAL_FENCED, JOURNAL_RECEIPT_DOUBTED,
	JOURNAL_UNSEALED /* the shell's: a person read a sealed part */,
	JOURNAL_ERASED /* the shell's: the key of a period was destroyed; id: sequence - 1 is the period */,
	JOURNAL_COUNT
};
const char *journal_what_name(enum journal_what what);   /* "custody-taken" */

struct relay_effect {
	enum relay_effect_type type;
	struct message_id id;
	uint32_t link, node, epoch, claim, index;
	uint64_t serial, counter, sequence;
	int64_t at_ms;
	enum precedence precedence;
	message_kind kind;
	enum cpd_reason reason;
	enum level level;
	bool is_reroute;
	struct relay_row row;
	struct slice bytes;                      /* valid until the next relay_* call but relay_take_effect */
	const struct custody *custody;           /* the same */
	struct relay_counters counters;
	struct receipt_entry entry;
	struct presence presence;
	uint32_t age_s;
	enum journal_what what;
};
/* False: none left. WITNESS effects come out as soon as their event was handled; the others after
 * relay_end_turn. After NOMEM none comes out any more: of half a turn nothing may leave. */
bool relay_take_witness(struct relay *relay, struct receipt_entry *entry, enum precedence *precedence);
bool relay_take_effect(struct relay *relay, struct relay_effect *out);

/* custody_ms at which RELAY_TICK is due; INT64_MAX: never. Timers of messages stand in the store. */
int64_t relay_next_deadline(const struct relay *relay);

/* ---------------------------------------------------------------- sending */
/* The next committed item for a link and precedence, now under way until ACKED, REFUSED or RETURNED.
 * False: nothing ready. */
bool relay_next_item(struct relay *relay, uint32_t link, enum precedence precedence, const struct moment *now, struct item_ref *out);
/* Whether something of this queue should be on its way and is not: relay_next_item would give it if the link were up.
 * Not what waits after a refusal for now, nor while the neighbour has no room. */
bool relay_is_due(const struct relay *relay, uint32_t link, enum precedence precedence, const struct moment *now);
/* The trailer with which a message goes to a link, from its committed custody record. NOT_FOUND: the row
 * serves nobody any more: call relay_item_gone. */
MUST_CHECK enum cpd_error relay_make_trailer(const struct relay *relay, const struct custody *custody,
    const struct item_ref *ref, uint32_t link, const struct moment *now, struct trailer *out);
/* The same for a courier, whose copy leaves the row where it is; only: that recipient alone, 0: all of the row, by number.
 * link 0: what waits without a route. */
MUST_CHECK enum cpd_error relay_carry_trailer(const struct relay *relay, const struct custody *custody,
    const struct item_ref *ref, uint32_t link, uint32_t only, const struct moment *now, struct trailer *out);
/* The item could not be built (row void, record quarantined): forget it in the window. */
void relay_item_gone(struct relay *relay, uint32_t link, const struct item_ref *ref);

/* ---------------------------------------------------------------- asking */
uint64_t relay_next_sequence(const struct relay *relay);      /* for the author, this turn */
const struct relay_counters *relay_counters(const struct relay *relay);
/* Presence held of a node, and custody_ms when it was signed as far as its age tells. False: none. */
bool relay_presence(const struct relay *relay, uint32_t node, struct presence *out, int64_t *heard_ms);
/* The same as it was signed, while this relay has heard it itself: a restored one is not. False: not. */
bool relay_presence_record(const struct relay *relay, uint32_t node, struct slice *record, int64_t *heard_ms);
/* Neighbour a message for `node` would go to now; 0: none known. */
uint32_t relay_route_to(const struct relay *relay, uint32_t node);

#endif
