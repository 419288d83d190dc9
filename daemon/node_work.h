/*
 * node_work.h: what waits to be decided, and the turns that are on their way to the disk.
 * Included by daemon/node*.c only.
 */
#ifndef CPD_NODE_WORK_H
#define CPD_NODE_WORK_H

#include "daemon/node.h"
#include "daemon/verify_pool.h"

/* ---------------------------------------------------------------- what arrives */
enum work_type {
	WORK_EVENT,       /* a relay event that needs nothing more: links, acknowledgements, questions */
	WORK_ITEM,        /* a link's item, verified or with the reason why not */
	WORK_PRESENCE,
	WORK_DIRECTORY,   /* an update by an item, an import or an introduction */
	WORK_AUTHOR,
	WORK_OPERATE,
	WORK_DRAFT,       /* a person signs a message that wants it: event.id, release */
	WORK_UNSEAL,      /* a person reads what is sealed: event.id */
	WORK_RESEAL,      /* who got a new sealing key is served again */
	WORK_OWN_SCAN,    /* own messages in retention, a part at a time */
	WORK_COURIER      /* the meta rows of a courier's job */
};
struct work {
	struct work *next;
	enum work_type type;
	bool is_urgent;
	uint32_t link;                    /* neighbour; 0: none */
	uint64_t circuit;                 /* of that neighbour when it came; older: dropped, the peer sends again */
	uint64_t serial;
	enum item_type item_type;
	enum precedence precedence;
	enum cpd_error error;             /* of the verification */
	uint8_t *bytes; size_t len;       /* owned */
	enum verify_kind kind; struct slice verify; /* leads into bytes: what the pool must check */
	struct verify_result *result;     /* owned: what was verified, with its own copy of the bytes */
	struct trailer trailer;           /* of a message item */
	struct relay_event event;
	struct relay_row *rows;           /* owned; event.rows */
	struct message_id *own; size_t own_count; /* owned; event.own */
	struct author_request *request;   /* owned */
	node_authored *authored;
	node_done *done;
	void *context;
	char *remark;                     /* owned */
	struct message_release release;   /* DRAFT */
	struct verified_message *verified; /* owned: AUTHOR, as it was verified */
	uint8_t *held;                    /* owned: event.held of a large body */
	struct message_id reissue;        /* AUTHOR without a request: put these words under a new id */
	uint32_t own_node; struct message_id after; /* OWN_SCAN: for whom; how far it came */
	bool is_floor;                    /* OWN_SCAN: answers WANT_FLOOR */
	bool is_courier;                  /* from a file: link wrote it, serial is the job's; no link is told */
	bool is_introduction;             /* DIRECTORY from a stranger: one certificate and nothing else */
	bool is_kept;                     /* it lives on in the turn's list of what comes after */
};
struct work_list { struct work *first, **last; };

/* ---------------------------------------------------------------- turns */
enum after_type {
	AFTER_ANSWER,     /* to the caller of work */
	AFTER_NEWS, AFTER_WANT, AFTER_PRESENCE, AFTER_ANNOUNCE, AFTER_ROWS,
	AFTER_WORK,       /* a question that is asked anew: work */
	AFTER_DIRECTORY
};
/* What leaves only when the turn is on disk, in turn order. */
struct after {
	struct after *next;
	enum after_type type;
	uint32_t link, age_s;
	uint64_t serial, counter;
	struct message_id id;
	enum precedence precedence;
	bool is_reroute, is_existing;
	uint8_t *bytes; size_t len;       /* owned */
	struct node_news news;
	struct work *work;                /* owned: whose callback it is, or which update */
};
/* A change on its way to the disk that reads of committed data cannot show yet. */
struct pending {
	enum store_table table;
	struct store_key key;
	bool is_delete;
	uint8_t *bytes; size_t len;       /* owned */
};
/* The newest row of the journal and its chain value, which all rows before it enter. */
#define JOURNAL_CHAIN_LEN 32
struct journal_head { uint64_t number; uint8_t chain[JOURNAL_CHAIN_LEN]; };

struct turn {
	struct turn *next;
	uint64_t number;
	struct store_batch *batch;        /* until it is submitted */
	bool is_empty;
	bool has_purged;                  /* custody rows are in pending: what the store still shows of them is gone */
	size_t bytes;
	int64_t submitted_us;             /* clock_boot_us when the writer was given it; 0: not yet */
	struct journal_head journal;      /* after its last row; number 0: it has none */
	struct after *first, **last;
	struct pending *pending; size_t pending_count, pending_capacity;
};

#endif
