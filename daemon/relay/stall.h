/*
 * stall.h: the watchdog of one link: a queue that should move and does not is an alarm.
 *
 * It judges by what the neighbour says of what it was sent, not by the age of a row: as long as items are answered
 * (taken, refused, their leaves wanted) or bytes are taken in while the oldest is still leaving, a queue moves,
 * however slow the wire and however long the queue. An answer at one precedence counts for those below it, which may
 * starve; not for those above, which may not. Time counts only while the link is up, over all its sessions.
 *
 * Pure: time is an argument; it looks when it is asked to. It never sends, ends or logs: the host does what its
 * verdict says. Called by daemon/node_stall.c and test/sim.
 */
#ifndef CPD_RELAY_STALL_H
#define CPD_RELAY_STALL_H

#include "proto/link.h"

/* What is there to be seen of a link at one moment. */
struct stall_view {
	bool is_up;                            /* a session is open: the neighbour answers */
	bool is_excused;                       /* it is this node that cannot go on: its own disk stands still */
	bool is_due[PRECEDENCE_COUNT];         /* rows that should be with the link and are not: relay_is_due */
	struct link_progress progress;
};

struct stall {
	bool was_looked, is_stalled;
	struct stall_view last;
	int64_t looked_ms;
	int64_t still_ms[PRECEDENCE_COUNT];    /* what waits has not moved for so long, of the time that the link was up */
	/* while is_stalled */
	enum precedence precedence;            /* highest that stood still when it was noticed */
	int64_t since_ms;                      /* from about then on nothing moved */
	unsigned resets;                       /* times that the link was begun anew for it */
};

enum stall_verdict {
	STALL_NONE,
	STALL_BEGAN,                           /* alarm, and reset the link */
	STALL_LASTS,                           /* the last reset has not helped: reset it once more */
	STALL_OVER                             /* it moves again, or nothing waits any more */
};

/* Nothing of a sound link takes this long: twice the silence after which it is given up, so that a dead one is not
 * called a stalled one, and ten retransmissions. 100 s to 230 s on an IP link, 800 s
 * on a thin one. */
int64_t stall_bound_ms(const struct link_profile *profile);
/* What may pass without a word before it is a stall: bound_ms, and longer by what sending all that is out eight times takes, up to
 * ten bounds; twice as long after each reset that has not helped, up to sixteen times. */
int64_t stall_patience_ms(const struct stall *stall, const struct stall_view *view, int64_t bound_ms);
enum stall_verdict stall_look(struct stall *stall, const struct stall_view *view, int64_t bound_ms, int64_t now_ms);
/* When to look at the latest; INT64_MAX: nothing waited at the last look. */
int64_t stall_deadline(const struct stall *stall, int64_t bound_ms);

#endif
