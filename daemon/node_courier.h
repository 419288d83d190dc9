/*
 * node_courier.h: what the node's courier files share: one job at a time, read or write. Included by daemon/node*.c only.
 *
 * node_courier.c        a file is taken in: proved, then its parts in order, each group on disk before the next
 * node_courier_write.c  a file is made: what is owed, by precedence, a piece in each pass of the loop
 */
#ifndef CPD_NODE_COURIER_H
#define CPD_NODE_COURIER_H

#include "crypto/courier.h"
#include "daemon/node_internal.h"

/* The serial of a courier's item: no link gives such. Below it the job, so that what comes late of one that
 * ended is known, and the item's place. */
#define COURIER_SERIAL (UINT64_C(1) << 63)
/* Acknowledgements still to be told are remembered for so many writers; who is pushed out is read again. */
#define COURIER_WRITERS 16

struct courier_item { struct courier_tag tag; bool is_settled, is_ours; enum cpd_reason reason; };
/* What was taken from a writer, to be told in the next file for it. */
struct courier_owed { uint32_t writer, epoch; struct courier_ack *acks; size_t count, capacity; };

/* What is known of another node's files; a row of the meta table. Files read are ranges, the lowest joined when there are many. */
#define COURIER_RANGES 32
struct courier_range { uint64_t from, to; };
struct courier_ledger { uint32_t epoch, directory; struct courier_range ranges[COURIER_RANGES]; size_t count; };
MUST_CHECK enum cpd_error courier_ledger_load(struct node *node, uint32_t writer, struct courier_ledger *out);

enum courier_group { COURIER_PUT_UPDATES, COURIER_PUT_PRESENCE, COURIER_PUT_ACKS, COURIER_PUT_ROWS, COURIER_PUT_END };
/* Where the making stands. */
struct courier_cursor {
	enum courier_group group;
	int precedence;
	size_t target;                    /* in targets; behind them: the other queues */
	uint32_t link;                    /* of the other queues */
	uint64_t counter;                 /* the last row looked at */
};

struct courier_job {
	uint64_t number;                  /* in this process, from 1 */
	bool is_read, is_over;
	node_couriered *done; void *context;
	struct courier_report report;
	/* reading */
	uint8_t *file; size_t len;        /* owned */
	struct slice rest;                /* of the content, inside file */
	enum courier_part_type group;
	struct courier_head head;
	bool is_of_old;                   /* its writer was read here in a later epoch */
	struct courier_item *items; size_t item_count, item_at;   /* owned */
	size_t ack_at;
	unsigned under_way, checking;     /* handed over and not decided; of them in the verification pool */
	uint64_t turn, committed;         /* that decided something of it last; that is on disk */
	bool is_marked;                   /* the ledger, or the number, is in a turn */
	/* making */
	struct event *event;              /* owned */
	uint32_t *targets; size_t target_count;   /* owned; whose queues */
	bool is_region;
	uint32_t *readers; size_t reader_count;   /* owned, ascending */
	size_t limit;
	uint32_t directory_from;
	uint64_t own_number;
	struct courier_writer content;
	struct courier_cursor at;
	struct node_link scratch;         /* for the hashes of a large body */
	bool is_full;
};

/* The courier's part of a node. */
struct courier {
	struct courier_job *job;          /* owned; NULL: none */
	uint64_t jobs;
	struct courier_owed owed[COURIER_WRITERS]; size_t owed_count;   /* the oldest first */
	uint8_t presence[LIMIT_PRESENCE + LIMIT_RECORD_EXTRA]; size_t presence_len; int64_t presence_ms;  /* own, as last announced */
};

/* node_courier.c */
void courier_finish(struct node *node, enum cpd_error error, const char *why);
void courier_put_down(struct node *node);                       /* this copy is fenced: what is being read is given up */
MUST_CHECK enum cpd_error courier_mark(struct node *node);      /* lets a turn write the job's meta rows; then courier_turned */
/* node_courier_write.c */
void courier_write_go_on(struct node *node);
MUST_CHECK enum cpd_error courier_write_decide(struct node *node, struct turn *turn);
void courier_write_clear(struct courier_job *job);

#endif
