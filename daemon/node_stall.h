/*
 * node_stall.h: the watchdog of the links, for the node's own files. Included by daemon/node*.c only; what a stall is
 * stands in daemon/relay/stall.h.
 */
#ifndef CPD_NODE_STALL_H
#define CPD_NODE_STALL_H

#include "daemon/relay/stall.h"

struct node;
struct node_link;

/* By the profile that the sessions to come have, or [tuning] stall_s. */
void stall_set(const struct node *node, struct node_link *link, const struct link_profile *profile);
/* Looks when it is time, tells, and begins a link anew that stands still. May end the link's sessions. */
void stall_tick(struct node *node, struct node_link *link, int64_t now_ms);
/* The neighbour said what becomes of an item: an alarm may be over. */
void stall_heard(struct node *node, struct node_link *link, int64_t now_ms);
int64_t stall_due(const struct node_link *link);

#endif
