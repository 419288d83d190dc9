/*
 * internal.h: what the relay's own files share. Included by daemon/relay/ only.
 *
 * relay.c    life, turns, overlay, effects      queue.c    rows and their windows
 * route.c    links, presence, next hop          accept.c   a message arrives or is authored
 * receipts.c receipts arrive or are made        origin.c   retention: retry, expiry, closing, floor
 * body.c     large bodies, leaf by leaf         operate.c  a person's acts
 * carry.c    what goes by hand                quota.c    what one node may use of this one
 */
#ifndef CPD_RELAY_INTERNAL_H
#define CPD_RELAY_INTERNAL_H

#include "daemon/relay/map.h"
#include "daemon/relay/quota.h"
#include "daemon/relay/relay.h"

enum entry_state { ENTRY_READY, ENTRY_UNDER_WAY, ENTRY_WAITING };

struct window_entry {
	struct relay_row row;
	uint64_t turn;               /* committed turn from which on it may leave */
	enum entry_state state;
	int64_t wait_until_ms;
	unsigned refusals;           /* in a row, for now */
};

/* The head of one queue (link, precedence), in counter order; the rest stands in the store. */
struct window {
	struct window_entry *entries; /* owned; LIMIT_WINDOW, and LIMIT_REFUSED more that wait after a refusal for now */
	size_t count, capacity;
	size_t waiting, under_way;   /* of count */
	unsigned full_refusals;      /* rounds in a row in which the neighbour had no room for this precedence; 0: it had */
	int64_t full_until_ms;       /* until then nothing is offered; afterwards one row at a time. 0: now */
	uint64_t tail;               /* counters up to here are in the window or done */
	bool more;                   /* the store may hold rows behind the tail */
	bool asked;                  /* a WANT_ROWS is under way */
	uint64_t asked_turn;         /* turn of the newest question */
	uint64_t last_put_turn;      /* turn of the newest row that went behind the tail */
};

/* A large body under way to a neighbour: leaves it lacks, in order. */
struct body_out {
	struct item_ref ref;
	uint32_t leaves, next;
	uint8_t held[LIMIT_LEAVES / 8 + 1];
	uint8_t under_way[LIMIT_LEAVES / 8 + 1]; /* with the link: another WANT must not send them twice */
	bool is_over;                /* nothing more is sent of it; stays until the link gave back its last leaf */
	struct body_out *after;      /* next in the link's list */
};

struct neighbour {
	uint32_t node;
	bool is_up;
	int64_t down_since_ms;
	bool wants_reroute;
	int64_t reroute_at_ms;       /* with wants_reroute */
	struct window windows[PRECEDENCE_COUNT];
	struct body_out *bodies;     /* owned list */
};

struct overlay_entry {
	struct custody custody;
	uint64_t turn;               /* last turn that touched it */
	bool is_dirty, is_deleted;
};

struct peer {                        /* what is known of a node from its presence */
	struct presence presence;
	int64_t heard_ms;            /* custody_ms at which it was signed, as far as its age tells */
	int64_t stored_ms;           /* heard_ms as it stands in the store */
	bool has_presence;
	bool has_kept;               /* its floors are more than its newest record tells */
	unsigned own_asked;          /* passes over what is in retention for its new epoch, under way */
	bool is_superseding;         /* another copy of it was known before: it may still be our neighbour */
	unsigned news;               /* so many presences more are told to NSPs too: its epoch is new to them */
	uint8_t *record;             /* owned; NULL after a restart */
	size_t record_len;
};

/* `shown`: the last that is kept here, and named by the store: it is for this node. One that only passes may be newer (`id`). */
struct latest { uint32_t origin; message_kind kind; struct message_id id, shown; };

/* A large body that is coming in: complete when every leaf is there. */
struct offer { uint32_t link; uint64_t serial; struct trailer trailer; };   /* trailer: owned */
struct body_in {
	struct message_id id, supersedes;
	message_kind kind;
	enum precedence precedence;
	uint32_t leaves, held_count;
	uint32_t checked_count;      /* held_count when its timer was due */
	uint8_t held[LIMIT_LEAVES / 8 + 1];
	uint8_t *envelope;           /* owned */
	size_t envelope_len;
	struct offer offers[8];      /* each names recipients of its own: all of them are served */
	size_t offer_count;
	bool is_suspect;
};

struct witness_item { struct receipt_entry entry; enum precedence precedence; };

struct relay {
	struct relay_config config;
	struct relay_route *routes;  /* owned */
	struct relay_counters counters;
	bool counters_dirty;
	uint64_t presence_counter;   /* used; counters.presence_counter is the reserved ceiling */
	struct neighbour **links;    /* owned; [0] is the unrouted queue */
	size_t link_count;
	struct map links_by_node;    /* the same */
	struct map overlay, peers, latest, bodies;
	struct quotas *quotas;       /* owned */
	struct message_id *dirty; size_t dirty_count, dirty_capacity;
	uint64_t turn, committed;
	struct relay_effect *effects; size_t effect_count, effect_capacity, effect_taken;
	struct witness_item *witness; size_t witness_count, witness_capacity, witness_taken;
	uint8_t **bytes; size_t bytes_count, bytes_capacity;   /* copies that effects lead into */
	int64_t announce_at_ms;
	bool ask_is_due;             /* a window ran low while no turn was open */
	bool floors_are_due;         /* at the start: what was final may have been stored without its floor */
	/* of the event being handled */
	const struct relay_event *event;
	const struct relay_facts *facts;
	struct message_id keys[RELAY_KEYS_MAX];
	size_t key_count;
	struct moment now;
	bool failed;                 /* memory ran out: the host throws the relay away */
};

/* relay.c */
struct relay_effect *effect_add(struct relay *relay, enum relay_effect_type type); /* never NULL: a scrap one after NOMEM */
struct slice bytes_keep(struct relay *relay, struct slice bytes);
struct custody *custody_of(struct relay *relay, const struct message_id *id);      /* NULL: not held */
struct custody *custody_make(struct relay *relay, const struct message_id *id);    /* NULL: no memory */
void custody_changed(struct relay *relay, const struct custody *custody);
void custody_drop(struct relay *relay, struct custody *custody);                   /* custody is gone afterwards */
void settle(struct relay *relay, enum cpd_reason reason);                          /* the event at hand */
void journal(struct relay *relay, enum journal_what what, const struct custody *custody, uint32_t node, uint32_t link,
    enum level level, enum cpd_reason reason);
void witness(struct relay *relay, const struct custody *custody, enum level level, enum cpd_reason reason, const char *remark);

/* queue.c */
struct neighbour *neighbour_of(const struct relay *relay, uint32_t node);           /* NULL: no such link */
uint64_t row_put(struct relay *relay, uint32_t link, const struct item_ref *ref, uint32_t destination);
void row_delete(struct relay *relay, uint32_t link, enum precedence precedence, uint64_t counter);
void windows_ask(struct relay *relay);
bool windows_are_low(const struct relay *relay);
void handle_rows(struct relay *relay);
void handle_returned(struct relay *relay);
/* Refused for now: waits refusal_wait_ms, twice as long after each refusal in a row, FLASH at most four times. */
void window_wait(struct relay *relay, uint32_t link, const struct item_ref *ref);
/* The neighbour has no room for this precedence; and: it has. */
void window_full(struct relay *relay, uint32_t link, enum precedence precedence);
void window_has_room(struct relay *relay, uint32_t link, enum precedence precedence);
void windows_tick(struct relay *relay, struct neighbour *neighbour);
int64_t windows_deadline(const struct neighbour *neighbour);
bool queue_is_empty(const struct neighbour *neighbour);
/* As it goes on the wire. */
uint32_t offer_number(const struct relay *relay, const struct custody *custody, uint32_t retry);

/* route.c */
uint32_t route_pick(const struct relay *relay, uint32_t node, const struct custody *custody, const struct recipient *recipient);
struct peer *peer_of(const struct relay *relay, uint32_t node);
uint32_t peer_epoch(const struct relay *relay, uint32_t node);
uint64_t floor_of(const struct relay *relay, uint32_t origin, uint32_t epoch);
void handle_heard(struct relay *relay);
/* All that is in retention was looked through for the new epoch of `node`. */
void presence_is_served(struct relay *relay, uint32_t node);
void handle_link(struct relay *relay, bool is_up);
void handle_tick(struct relay *relay);
void handle_announce(struct relay *relay);
void reroute_soon(struct relay *relay);
void announce_soon(struct relay *relay, int64_t delay_ms);
void handle_reroute_rows(struct relay *relay);

/* accept.c */
void handle_message(struct relay *relay);
/* Serves every recipient that is marked (via = UINT32_MAX): picks its way and puts one row a link. */
void enqueue_marked(struct relay *relay, struct custody *custody);
void handle_acked(struct relay *relay);
void handle_refused(struct relay *relay);
void handle_lost(struct relay *relay);
void tried_push(struct recipient *recipient, uint32_t node);
/* Ends what is queued for recipients that keep() refuses; deletes rows that serve nobody. */
void rows_tidy(struct relay *relay, struct custody *custody);
void release_if_passed(struct relay *relay, struct custody *custody);
void timer_set(struct relay *relay, struct custody *custody, int64_t at_ms);       /* 0: none */
void envelope_drop(struct relay *relay, struct custody *custody);
bool accept_take(struct relay *relay, const struct message *message, const struct hash8 *hash, bool is_suspect,
    const struct trailer *trailer, uint32_t link, enum cpd_reason *reason);

/* Would accept_take need the bytes of this offer, to show or to serve them? */
bool offer_needs_bytes(const struct relay *relay, const struct custody *custody, const struct header *header, const struct trailer *trailer);

/* May `node` use so much more (quota.h)? This node itself always may. */
bool quota_has(struct relay *relay, uint32_t node, enum quota_kind kind, uint32_t count);
/* So much lower than its precedence a message of `origin` is queued: the highest of which it has something left. */
unsigned quota_lowers(struct relay *relay, uint32_t origin, enum precedence precedence);

/* receipts.c */
void handle_receipts(struct relay *relay);
void receipts_answer(struct relay *relay, const struct custody *custody, const struct recipient *recipient);

/* origin.c */
bool recipient_is_closed(const struct custody *custody, const struct recipient *recipient);
void origin_check(struct relay *relay, struct custody *custody);
void origin_timer(struct relay *relay, struct custody *custody);
void handle_timer(struct relay *relay);
void handle_own(struct relay *relay);
void handle_forget(struct relay *relay);
void origin_end(struct relay *relay, struct custody *custody, enum level level, unsigned flag, enum journal_what what);
bool is_expired_in_transit(const struct relay *relay, const struct custody *custody);
/* The epoch in the configuration begins, unless it has. */
void floors_begin(struct relay *relay);
/* Own floor in an epoch; 0: not known. end may be NULL: where no floor of it can pass. */
uint64_t own_floor(const struct relay *relay, uint32_t epoch, uint64_t *end);
void floor_ask(struct relay *relay, uint32_t epoch);
void floors_ask(struct relay *relay);             /* of every epoch that is not final to its end */

/* body.c */
bool body_take(struct relay *relay, enum cpd_reason *reason); /* MESSAGE with a large body: true when it is complete */
/* The timer of a partial body is due. */
void body_check(struct relay *relay, struct custody *custody);
void handle_leaf(struct relay *relay);
void handle_wanted(struct relay *relay);
bool body_next(struct neighbour *neighbour, enum precedence precedence, struct item_ref *out);
bool body_is_due(const struct neighbour *neighbour, enum precedence precedence); /* body_next would give one */
void body_forget(struct neighbour *neighbour, const struct item_ref *ref);
/* The link is done with a leaf; is_held: the neighbour has it. */
void body_leaf_ended(struct neighbour *neighbour, const struct item_ref *ref, bool is_held);
/* Its leaves are damaged: none goes out any more. */
void body_lost(struct relay *relay, const struct message_id *id);
void body_in_free(struct body_in *body);

/* carry.c */
void handle_carried(struct relay *relay);

/* operate.c */
enum cpd_error handle_operate(struct relay *relay);
void supersede(struct relay *relay, const struct header *newer);

#endif
