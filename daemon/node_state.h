/*
 * node_state.h: what a node holds in memory, for the node's own files (node_internal.h includes it).
 */
#ifndef CPD_NODE_STATE_H
#define CPD_NODE_STATE_H

#include "daemon/bearer_zmq.h"
#include "daemon/clock.h"
#include "daemon/node.h"
#include "daemon/node_claim.h"
#include "daemon/node_space.h"
#include "daemon/node_stall.h"
#include "daemon/node_work.h"
#include "daemon/relay/map.h"
#include "daemon/role/role.h"
#include "daemon/send_window.h"
#include "daemon/verify_pool.h"
#include "proto/leaf.h"
#include "proto/tree.h"

/* Turns given to the writer and not yet on disk: one syncs, one waits behind it; a FLASH may be the third. */
#define NODE_TURNS 2
#define NODE_TURNS_FLASH 3
/* What one turn takes in, so that its transaction stays well below the writer's bound. */
#define NODE_TURN_WORKS 256
#define NODE_TURN_BYTES (512 * 1024)
#define NODE_IN_FLIGHT_BYTES (2 * 1024 * 1024) /* store_submit says BUSY at twice as much */
#define NODE_TIMERS 256          /* rows of the timers table in one turn */
#define NODE_LISTENERS 16
#define NODE_SESSIONS 4          /* of one neighbour at a time: both may call, each anew after a cut */
#define NODE_PRESENCES 64        /* of one neighbour, not decided yet; as many as a link lets wait to be sent */
#define NODE_STRANGERS 16        /* sessions of the introduction class at a time */
#define NODE_BODIES 64           /* large bodies coming in at a time; one that falls out is offered again */
#define NODE_CACHE 512           /* custody records of one turn; a power of two */
#define NODE_REBUILDS 5          /* within a minute: then the store is beyond us */
/* A neighbour's word, which nobody signed, may make us begin a new epoch: no further than restores of a disk go,
 * and not again and again, for every session starts anew with it. */
#define NODE_EPOCH_LEAP 1000
#define NODE_EPOCH_PAUSE_MS 600000
#define NODE_COPY_TOLD_MS 5000   /* after its hello a neighbour's word of our other copy has come */
#define NODE_INTRODUCE_MS 5000   /* a neighbour that does not answer our hello may not know us */

/* ---------------------------------------------------------------- links */
struct node_session { uint64_t number; bool is_blocked; int64_t refused_ms; }; /* refused_ms: since when, as an older copy of its node; 0: it is not */
struct node_link {
	uint32_t neighbour;
	const struct config_link *config; /* NULL: not listed, it called us */
	struct link *link;
	struct send_window window;
	struct stall stall; int64_t stall_bound_ms;
	struct node_session sessions[NODE_SESSIONS]; /* [0] carries what we send */
	size_t session_count;
	uint8_t *frame; size_t frame_len; /* owned: taken from the link, refused by the bearer for now */
	uint32_t peer_epoch;
	uint64_t circuit;                 /* rises when the serials start again */
	unsigned presences;               /* that it sent and that are not decided yet: no credit bounds them */
	bool is_told_up;                  /* the relay knows it as up */
	bool is_called; uint8_t called_key[32];
	int64_t since_ms;
	int64_t introduce_at_ms;          /* INT64_MAX: not meant */
	struct message_id doubted; int64_t doubted_ms; /* highest of ours that it told it holds, to be believed then; INT64_MAX: nothing is */
	int64_t raised_ms;                /* when it last made us begin an epoch; 0: never */
	uint32_t directory_next;          /* number of the update to send next */
	uint32_t revoking_sent;           /* up to this number those with a revocation have been sent ahead */
	bool has_clock; int64_t clock_offset_ms, clock_told_ms; enum clock_quality clock_quality; /* the peer's, by its last hello */
	char problem[120];
	struct tree *tree; struct message_id tree_of; /* owned: hashes of the large body under way */
};

/* What a leaf is checked against while its body is coming in. */
struct large_body { struct message_id id; uint32_t length; uint8_t root[32]; };

/* A committed custody record read in this turn; held false: the store has none. */
struct cached { bool is_used, is_held; struct message_id id; struct custody custody; };

struct witness_note { uint32_t origin; enum precedence precedence; bool is_signed; struct receipt_entry entry; };

/* How far the pass over what may go has come; marks: of own ids, the older first. */
struct retention_mark { int64_t at_ms; uint32_t epoch; uint64_t sequence; };
/* The pass over a period whose key is to be destroyed: how far it came; told: up to that one destroyed keys have their journal line. */
struct vault;
struct erasing { size_t table, rewrapped; struct store_key from; bool is_told; uint32_t told; };
struct retention { int64_t due_ms; int step; struct store_key from; struct retention_mark marks[2]; };

struct node {
	struct event_base *base;
	const struct config *config;      /* borrowed */
	const struct role *role;
	struct clock clock;
	struct identity *identity;
	struct store *store;
	struct directory *directory;
	struct relay *relay;
	struct bearer_zmq *bearer;
	struct verify_pool *pool;
	uint32_t self, epoch;
	bool has_failed, is_loading;      /* is_loading: the first turn runs though nothing has arrived */
	const char *rebuild_why;          /* not NULL: nothing is decided or emitted until it is done */
	uint32_t raise_epoch;             /* 0: not asked */
	struct claim_file claim;          /* which copy of this identity we are, as on disk */
	uint64_t instance;
	int64_t started_ms;               /* custody_ms when this instance began */
	int64_t contact_ms;               /* when a neighbour first knew it; 0: not yet */
	bool has_moved;                   /* at this start */
	uint32_t raise_claim;             /* 0: not asked */
	struct claim fence;               /* the newer copy; instance 0: none was heard, or it is in `claim` already */
	bool tells_epoch;                 /* the journal must still say that it rose */
	bool counts_read;                 /* the store did not tell how much of the inbox was read */
	unsigned rebuilds; int64_t rebuild_since_ms;

	struct node_link **links; size_t link_count; /* owned */
	struct map links_by_number;       /* the same */
	uint64_t strangers[NODE_STRANGERS]; size_t stranger_count;
	int64_t stranger_ms;              /* when one was last taken in */
	uint8_t *item, *frame;            /* owned: LIMIT_ITEM, LIMIT_FRAME, to build in */
	bool wants_fill;

	struct work_list urgent, ordinary;              /* ready to be decided */
	struct work_list waiting_urgent, waiting;       /* for a place in the pool */
	struct work_list checking_urgent, checking;     /* in the pool, in the order of submission; FLASH apart */
	struct work_list idle; int64_t idle_since_ms;   /* questions that must see everything committed */
	struct work_list reissues;                      /* wait for the new epoch */
	struct work_list decided;                       /* by the turn at hand; their bytes must live until its end */
	struct large_body bodies[NODE_BODIES]; size_t body_at;
	struct event *turn_event, *commit_event, *timer;
	int64_t timer_at_ms;

	uint64_t turn;
	struct turn *first, **last;       /* not yet on disk; the last one may be being decided */
	unsigned in_flight; size_t in_flight_bytes;
	size_t turn_bytes;                /* let in by the turn at hand; the store has not seen them yet */
	struct turn *held;                /* the last one: decided, waits for room at the writer */
	int64_t row_due_ms;               /* of the first row of the timers table; INT64_MAX: none */
	struct relay_effect *purges; size_t purge_count;
	struct retention retention;
	struct vault *vault;              /* owned */
	struct erasing erasing;
	struct courier *courier;          /* owned */

	struct cached *cache; size_t cache_count;       /* of this turn, NODE_CACHE slots */
	struct witness_note *witness; size_t witness_count, witness_capacity;

	uint64_t next_news, oldest_news;                 /* numbers of the next row of the journal, and of the oldest that is kept */
	struct journal_head journal, journal_told;      /* of the last row decided; of the last on disk */
	uint64_t journal_stored;                        /* the head's number as the last turn wrote it */
	struct map witnessed;                           /* owned: by node, when its head was last put into our journal */
#define FLOOR_NUMBERS (1 + 3 * RELAY_ELDERS) /* in the meta row of the epochs that have a floor */
	struct relay_counters stored; uint64_t stored_news; /* as the last turn wrote them */
	struct { node_listener *listener; void *context; } listeners[NODE_LISTENERS];
	size_t listener_count;
	struct node_counters counters;
	struct space_watch space;
	uint64_t watched_turn, watched_progress;        /* node_is_advancing */
	uint64_t pool_progress; int64_t pool_still_ms;  /* node_health */
};

#endif
