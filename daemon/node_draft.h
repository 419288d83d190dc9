/*
 * node_draft.h: messages that people must release: authored, kept and held, until enough of them have signed.
 * Called by node_turn.c and node_author.c.
 */
#ifndef CPD_NODE_DRAFT_H
#define CPD_NODE_DRAFT_H

#include "daemon/node_state.h"

/* What a person who writes is told by a copy that stands still. */
#define FENCED_WHY "another copy of this node is in use, so this one has stopped; cpctl status tells what to do"

/* A person's signature (work->release) comes to a draft; with the last one it goes. As operate_decide. */
MUST_CHECK enum cpd_error draft_decide(struct node *node, struct turn *turn, struct work *work, const struct moment *now);
/* True: it wants signatures that are not there. */
bool draft_waits(struct node *node, const struct message_id *id);

#endif
