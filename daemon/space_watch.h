/*
 * space_watch.h: a store that fills up, told before anything is refused, at the first refusal, and when there is room again;
 * each once for a precedence, however often the use goes up and down around a bound.
 *
 * Pure. It never refuses: store_admits does. Called by daemon/node_space.c.
 */
#ifndef CPD_SPACE_WATCH_H
#define CPD_SPACE_WATCH_H

#include "proto/types.h"

#define SPACE_FILLING_PERCENT 80 /* of what a precedence may use */
#define SPACE_ROOM_PERCENT 95    /* below this it is taken again, and said so */
#define SPACE_FREE_PERCENT 70

enum space_state { SPACE_FREE, SPACE_FILLING, SPACE_REFUSES };
struct space_watch { enum space_state states[PRECEDENCE_COUNT]; };

/* This precedence was refused now: true at the first time. */
bool space_watch_refused(struct space_watch *watch, enum precedence precedence);
/* used: bytes, with what waits for the writer; admission: what this precedence may use. True: *out is a new state, to be told. */
bool space_watch_look(struct space_watch *watch, enum precedence precedence, uint64_t used, uint64_t admission, enum space_state *out);

#endif
