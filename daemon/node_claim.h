/*
 * node_claim.h: one identity, one live copy: what the node's own files need of node_claim.c. Included by
 * daemon/node*.c only; who wins is decided in daemon/relay.
 */
#ifndef CPD_NODE_CLAIM_H
#define CPD_NODE_CLAIM_H

#include "crypto/claim.h"
#include "proto/frame.h"

struct node;
struct node_link;
struct node_session;

MUST_CHECK enum cpd_error claim_load(struct node *node, char problem[256]); /* before load_epoch */
bool node_is_fenced(const struct node *node);
MUST_CHECK enum cpd_error claim_raise(struct node *node);               /* to raise_claim, on disk */
void claim_settled(struct node *node);                                  /* an order to take over ends when it was carried out */
/* True: this hello is of an older copy of that neighbour. It has been told, and its session takes nothing more. */
bool claim_refuses(struct node *node, struct node_link *link, struct node_session *session, const struct frame_hello *hello);
int64_t claim_deadline(const struct node_link *link);
void claim_tick(struct node *node, struct node_link *link, int64_t now_ms);
void claim_fence(struct node *node);                                    /* node->fence is newer: falls silent, for good */

#endif
