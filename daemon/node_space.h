/*
 * node_space.h: room in the store, for the node's own files: who is taken, and what is told of it. Included by daemon/node*.c
 * only.
 */
#ifndef CPD_NODE_SPACE_H
#define CPD_NODE_SPACE_H

#include "daemon/space_watch.h"

struct node;

/* Space for `more` bytes of this precedence, over all that is under way? Tells the first refusal. */
bool turn_admits(struct node *node, enum precedence precedence, size_t more);
/* The use has changed: tells what fills up, and what has room again. */
void space_look(struct node *node);

#endif
