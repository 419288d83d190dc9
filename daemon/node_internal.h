/*
 * node_internal.h: what the node's own files share. Included by daemon/node*.c only.
 *
 * node.c          life, timer, rebuild          node_turn.c     one turn: decide, commit, complete
 * node_gather.c   arrivals, verification        node_effects.c  effects into the transaction and after it
 * node_links.c    sessions: bearer and link     node_send.c     committed items onto the links
 * node_author.c   authoring, a person's acts    node_directory.c updates, sync, roster, introductions
 * node_load.c     start: rebuild from the store node_query.c    what the API asks
 * node_journal.c  journal rows, listeners       node_reissue.c  the same words under a new id
 * node_retention.c what nobody needs any more goes    node_courier*.c files on a stick (node_courier.h)
 * node_claim.c    one live copy of an identity (node_claim.h)    node_seal.c   sealed parts (node_seal.h)
 * node_stall.c    queues that stand still (node_stall.h)         node_space.c   room in the store (node_space.h)
 * node_vault.c    what can be erased (node_vault.h)
 */
#ifndef CPD_NODE_INTERNAL_H
#define CPD_NODE_INTERNAL_H

#include "daemon/node_state.h"

/* node.c */
int64_t node_ms(struct node *node);                    /* custody_ms now */
void node_wake(struct node *node);                     /* a turn soon, in the next pass of the loop */
void node_arm(struct node *node);                      /* one timer for the nearest deadline */
void node_rebuild(struct node *node, const char *why); /* the relay and the links again, from the store */
void node_give_up(struct node *node, const char *why); /* leaves the loop; main exits 1 */

/* node_gather.c */
struct work *work_new(enum work_type type);            /* NULL: no memory */
void work_free(struct work *work);                     /* NULL is fine */
void work_push(struct node *node, struct work *work);  /* takes it; ready to be decided */
struct work *work_pop(struct node *node);              /* NULL: none */
bool work_is_ready(const struct node *node);
/* Takes it to the verification pool; the result comes through work_push. */
void work_verify(struct node *node, struct work *work);
void work_list_init(struct work_list *list);
void work_list_add(struct work_list *list, struct work *work);
struct work *work_list_take(struct work_list *list);   /* NULL: empty */
void gather_item(struct node *node, struct node_link *link, const struct link_event *event);
void gather_presence(struct node *node, uint32_t neighbour, const struct link_event *event);
void gather_event(struct node *node, const struct relay_event *event); /* copies; no slices that die */
MUST_CHECK enum cpd_error gather_start(struct node *node, char problem[256]);
void gather_stop(struct node *node);
/* Drops what came from links: they start again. */
void gather_drop_links(struct node *node);

/* node_turn.c */
void turn_run(struct node *node);
bool turn_may_run(struct node *node);                  /* false: it waits for the writer */
void turn_complete(struct node *node);                 /* what the store has told */
MUST_CHECK enum cpd_error turn_commit_held(struct node *node); /* now, waiting for the disk: at the end */
void turns_drop(struct node *node, enum cpd_error error, const char *why);
struct after *after_add(struct turn *turn, enum after_type type); /* NULL: no memory */
const struct pending *pending_find(const struct node *node, enum store_table table, const struct store_key *key);
MUST_CHECK enum cpd_error pending_add(struct turn *turn, enum store_table table, const struct store_key *key, bool is_delete, struct slice bytes);
/* One event through the relay with the facts it needs. */
MUST_CHECK enum cpd_error turn_event(struct node *node, const struct relay_event *event, const struct moment *now);
MUST_CHECK enum cpd_error turn_put(struct turn *turn, enum store_table table, const struct store_key *key, struct slice value);
/* The custody record; *out is initialised here. */
MUST_CHECK enum cpd_error node_load_custody(struct node *node, const struct message_id *id, struct custody *out);

/* node_effects.c */
MUST_CHECK enum cpd_error effects_take(struct node *node, struct turn *turn, const struct moment *now);
void effects_after(struct node *node, struct turn *turn);
void after_free(struct after *after);
/* A part of the answer to WANT_OWN or WANT_FLOOR; keeps the work when more is to be read. */
MUST_CHECK enum cpd_error own_scan(struct node *node, struct work *work, const struct moment *now);
MUST_CHECK enum cpd_error purge(struct node *node, struct turn *turn);
struct slice time_and_bytes(uint8_t *buf, int64_t at_ms, struct slice bytes); /* buf: 8 + bytes.len */
int64_t time_of(const uint8_t *value);

/* node_links.c */
struct node_link *links_find(const struct node *node, uint32_t neighbour);
MUST_CHECK enum cpd_error links_add(struct node *node, uint32_t neighbour, const struct config_link *config, struct node_link **out);
void links_events(struct node *node, struct node_link *link);   /* drains link_next_event */
void links_tick(struct node *node);
int64_t links_deadline(const struct node *node);
void links_end(struct node *node, struct node_link *link, const char *why); /* every session of it */
void links_committed(struct node *node, uint64_t turn);
MUST_CHECK enum cpd_error links_circuits(struct node *node, struct turn *turn);
MUST_CHECK enum cpd_error links_restart(struct node *node);     /* fresh links from the stored circuits */
void links_clear(struct node *node);
void links_bearer(struct node *node, struct bearer_events *out);

/* node_send.c */
void send_fill(struct node *node, struct node_link *link);      /* items in, frames out, until nothing moves */
void send_fill_all(struct node *node);
void send_forget_tree(struct node_link *link);
/* An item as it goes; buf holds LIMIT_ITEM. Of a message: with the given trailer. NOT_FOUND, DAMAGED, IO. */
MUST_CHECK enum cpd_error send_build_message(struct node *node, const struct message_id *id, const struct trailer *trailer, uint8_t *buf, size_t *len);
MUST_CHECK enum cpd_error send_build_receipts(struct node *node, const struct item_ref *ref, uint8_t *buf, size_t *len);
MUST_CHECK enum cpd_error send_build_leaf(struct node *node, struct node_link *link, const struct item_ref *ref, uint8_t *buf, size_t *len);

/* node_directory.c */
MUST_CHECK enum cpd_error directory_decide(struct node *node, struct turn *turn, struct work *work);
void directory_committed(struct node *node, struct work *work);
bool directory_send(struct node *node, struct node_link *link, enum precedence precedence); /* true: one was handed over */
void directory_peer_holds(struct node_link *link, uint32_t version, bool is_hello); /* a hello begins the count again */
void directory_returned(struct node_link *link, const struct item_ref *ref);
void directory_calls(struct node *node);                        /* call whom we may, with the key they have now */
void directory_introduce(struct node *node, struct node_link *link);
void directory_stranger(struct node *node, uint64_t session, struct slice frame);
uint32_t directory_roster(void *context, const uint8_t transport_key[32]);

/* node_author.c */
MUST_CHECK enum cpd_error author_decide(struct node *node, struct turn *turn, struct work *work, const struct moment *now);
MUST_CHECK enum cpd_error operate_decide(struct node *node, struct turn *turn, struct work *work, const struct moment *now);
/* Encodes, signs and wraps a header; buf holds LIMIT_ENVELOPE. */
MUST_CHECK enum cpd_error author_seal(struct node *node, const struct header *header, uint8_t *buf, size_t *len);
/* A body above one message: its leaves into the turn, its length and root into the header, what the relay must know into the work. */
MUST_CHECK enum cpd_error author_large_body(struct turn *turn, struct slice body, struct header *header, struct work *work);
/* work's caller is told when the turn is on disk. */
MUST_CHECK enum cpd_error author_answer_later(struct turn *turn, struct work *work, const struct message_id *id, bool existing);
/* Seals a header, verifies it and lets the relay have it. */
MUST_CHECK enum cpd_error author_enter(struct node *node, struct work *work, const struct header *header, const struct moment *now);
/* True: this idempotency key made a message before, on disk or on its way there; *id is it. */
bool author_key_is_known(struct node *node, struct slice key, struct message_id *id);
MUST_CHECK enum cpd_error author_key_put(struct turn *turn, struct slice key, const struct message_id *id);
/* Calls who waits for it, if anyone, once. */
void work_tell(struct work *work, enum cpd_error error, const char *why, const struct message_id *id, bool existing);
void work_answer(struct work *work, enum cpd_error error, const char *why, const struct message_id *id, bool existing); /* and frees it */

/* node_courier.c */
bool courier_is_current(const struct node *node, const struct work *work);  /* false: of a job that has ended */
void courier_decided(struct node *node, const struct work *work, uint64_t turn);
void courier_settled(struct node *node, uint64_t serial, enum cpd_reason reason);
bool courier_is_serial(uint64_t serial);
MUST_CHECK enum cpd_error courier_decide(struct node *node, struct turn *turn);
void courier_turned(struct node *node, uint64_t turn);          /* it is on disk */
void courier_announced(struct node *node, struct slice record); /* own presence, for the next file */
void courier_drop(struct node *node, const char *why);          /* the job ends unfinished; nothing of it is lost */
MUST_CHECK enum cpd_error courier_start(struct node *node);
void courier_stop(struct node *node);

/* node_reissue.c */
MUST_CHECK enum cpd_error reissue_decide(struct node *node, struct turn *turn, struct work *work, const struct moment *now);

/* node_load.c */
/* A committed row; a damaged one is moved aside, logged, and is NOT_FOUND; so is an envelope that was erased. */
MUST_CHECK enum cpd_error node_load(struct node *node, enum store_table table, const struct store_key *key, uint8_t **value, size_t *len);
MUST_CHECK enum cpd_error load_store(struct node *node, char problem[256]);
MUST_CHECK enum cpd_error load_number(struct node *node, const char *name, uint64_t *out); /* of the meta table; absent: 0 */
MUST_CHECK enum cpd_error load_epoch(struct node *node, char problem[256]);
MUST_CHECK enum cpd_error load_directory(struct node *node, char problem[256]);
void load_updates(struct node *node);                           /* node_updates.c: from STATE/updates/ */
MUST_CHECK enum cpd_error load_relay(struct node *node, char problem[256]);
struct store_key node_floors_key(uint32_t node);                /* in meta: what another told of its floors before */
MUST_CHECK enum cpd_error epoch_raise(struct node *node, uint32_t at_least);

/* node_retention.c */
/* A piece of the pass, when it is due. Only with nothing under way but `turn`, before its arrivals are decided. */
MUST_CHECK enum cpd_error retention_sweep(struct node *node, struct turn *turn, const struct moment *now);
bool retention_is_overdue(struct node *node);                   /* a turn must make it a quiet moment */

/* node_journal.c */
MUST_CHECK enum cpd_error journal_put(struct node *node, struct turn *turn, const struct relay_effect *effect, const struct moment *now);
/* The head of the chain, with the turn's last row; and back, at start, when next_news is known. */
MUST_CHECK enum cpd_error journal_head_put(struct node *node, struct turn *turn);
MUST_CHECK enum cpd_error journal_head_get(struct node *node);
/* What another node's presence (a SignedRecord) tells of its journal's head, as a row of ours, once an hour. */
MUST_CHECK enum cpd_error journal_witness(struct node *node, struct turn *turn, struct slice record, const struct moment *now);
void journal_clear(struct node *node);
void journal_told(struct node *node, const struct node_news *news);

#endif
