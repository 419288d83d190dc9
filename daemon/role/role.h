/*
 * role.h: what a role accepts and passes on, as constant descriptors. The role is configuration: every
 * party runs the same cpd, and nothing elsewhere asks which role it has. Which kinds a role may sign is
 * part of the protocol and stands in proto/kind.h.
 *
 * Pure and constant. Called by daemon/node*.c and main.c at start.
 */
#ifndef CPD_ROLE_ROLE_H
#define CPD_ROLE_ROLE_H

#include "proto/types.h"

struct role {
	enum node_role number;
	const char *name;                /* "nsp": as cpd.conf writes it */
	const char *title;               /* for the log and --check-config: "noodsteunpunt" */
	/* An NSP tells an NSP beside it of everyone it has heard, for it may be that one's only way out. A CP
	 * and a desk have hundreds of NSPs below them: they tell an NSP only of nodes that are none. */
	bool passes_presence_to_nsps;
	bool reads_care;                 /* meldkamer and GHOR: parts of a call that are sealed for care are for them */
	bool hears_alarms;               /* it is told what the region must know of a node: daemon/node_emergency.h */
	bool is_on_battery;              /* it speaks less often on an idle link: proto/link.h */
};

/* NULL: no such role. */
const struct role *role_find(enum node_role number);

#endif
