/*
 * node_emergency.h: a kit was opened with its emergency code: the region is to know, though nobody of it was there. The installer
 * leaves a note in the state folder (cpctl node install); the node tells every CP of it, signed, as a FLASH, once.
 * Called by node.c.
 */
#ifndef CPD_NODE_EMERGENCY_H
#define CPD_NODE_EMERGENCY_H

struct node;
/* Looks for the note. When what it says is committed here, on its way to the CPs, the note is put aside; until then every start looks
 * again, and the idempotency key makes it one message. */
void emergency_report(struct node *node);

#endif
