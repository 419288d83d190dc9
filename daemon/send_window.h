/*
 * send_window.h: how many items may be on their way to one neighbour, FLASH apart.
 *
 * The link's own window bounds memory: 240 items may be under way whatever the pace. On a busy neighbour those all
 * stand in queues ahead of the next FLASH: in ZeroMQ's pipe, in the socket, before its verification and its disk. So
 * what is sent is bounded by time as well: now and then one item is timed until the peer's word about it, and while that
 * takes longer than the shortest such time and SEND_DELAY_MS, less is sent ahead.
 *
 * Pure: time is an argument. Never holds back FLASH; never goes under SEND_WINDOW_LEAST, with which a slow link, whose
 * credit in bytes is the narrower bound, does not notice it. Called by daemon/node_send.c and daemon/node_links.c.
 */
#ifndef CPD_SEND_WINDOW_H
#define CPD_SEND_WINDOW_H

#include "proto/link.h"

#define SEND_WINDOW_LEAST 32
#define SEND_WINDOW_MOST LIMIT_UNACKED
#define SEND_DELAY_MS 10         /* may stand in queues between us and the neighbour's disk */
#define SEND_SHORTEST_MS 30000   /* so long a shortest time is believed: the way may have become a longer one */

struct send_window {
	unsigned most;                /* items */
	bool is_timing, was_full;     /* was_full: it held something back since the last time was taken */
	struct item_ref timed;
	int64_t timed_ms;
	int64_t shortest_ms, before_ms; /* of this span of SEND_SHORTEST_MS and of the one before; INT64_MAX: none */
	int64_t span_ms;              /* when this span began */
};

/* A session begins. */
void send_window_reset(struct send_window *window, int64_t now_ms);
/* May another item be handed over while under_way are on their way? Notes it when not. */
bool send_window_may(struct send_window *window, size_t under_way);
void send_window_sent(struct send_window *window, const struct item_ref *ref, int64_t now_ms);
/* The peer's word about ref. has_taken false: the item came back, or waits for its leaves, and tells no time. */
void send_window_heard(struct send_window *window, const struct item_ref *ref, bool has_taken, int64_t now_ms);

#endif
