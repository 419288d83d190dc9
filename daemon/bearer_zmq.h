/*
 * bearer_zmq.h: the IP bearer: frames over ZeroMQ with CURVE. One ROUTER for those who call us, one
 * DEALER for each neighbour that we call. It knows transport keys and bytes, nothing of messages.
 *
 * The node number of a peer comes from its certified CURVE key through ZAP, never from what it says.
 * Everything runs on the loop thread; ZeroMQ's buffers stay small: it is never the queue. PITFALLS of
 * ZeroMQ are answered here, point by point (docs/decisions). Called by daemon/node.c.
 */
#ifndef CPD_BEARER_ZMQ_H
#define CPD_BEARER_ZMQ_H

#include <event2/event.h>

#include "proto/limits.h"
#include "proto/types.h"

struct bearer_zmq;

/* Told to the node, from the loop, never from inside a call into the bearer. `session` names one
 * connection for its life; it is never shown, logged or sent. */
struct bearer_events {
	void *context;
	/* Which node has this CURVE key? 0: none known, -1 (UINT32_MAX): revoked or not wanted. */
	uint32_t (*roster)(void *context, const uint8_t transport_key[32]);
	/* A path to `node` is there (both directions): start link_connected. node 0: introduction class:
	 * two frames of at most 2 KiB (its hello, its introduction), then it is cut. A caller's session begins
	 * with its first frame, one that we call with the end of the handshake. */
	void (*up)(void *context, uint32_t node, uint64_t session);
	void (*frame)(void *context, uint32_t node, uint64_t session, struct slice frame);
	/* The session accepts frames again after bearer_send said BUSY. */
	void (*writable)(void *context, uint32_t node, uint64_t session);
	void (*down)(void *context, uint32_t node, uint64_t session, const char *why);
};

struct bearer_options {
	struct event_base *base;
	const char *listen;                   /* tcp://address:port, numeric; NULL: calls only */
	int listen_fd;                        /* -1, or a listening socket from socket activation */
	uint8_t public_key[32], secret_key[32];
	struct bearer_events events;
};
/* Binds ZAP first, listens, and proves that a throw-away key is refused before it returns. */
MUST_CHECK enum cpd_error bearer_zmq_open(const struct bearer_options *options, struct bearer_zmq **out, char problem[256]);
/* No down is told any more. Never from inside a callback. */
void bearer_zmq_close(struct bearer_zmq *bearer);
/* Keep calling this neighbour: reconnect with backoff and jitter, for ever. peer_key from its certificate. */
MUST_CHECK enum cpd_error bearer_zmq_call(struct bearer_zmq *bearer, uint32_t node, const char *address, const uint8_t peer_key[32]);
void bearer_zmq_stop_calling(struct bearer_zmq *bearer, uint32_t node);
/* One frame. BUSY: try again at `writable`; NOT_FOUND: the session is gone (down follows). */
MUST_CHECK enum cpd_error bearer_zmq_send(struct bearer_zmq *bearer, uint64_t session, struct slice frame);
/* Ends a session (protocol error, dead peer): down is told once. A called neighbour is called again after its backoff. */
void bearer_zmq_end(struct bearer_zmq *bearer, uint64_t session, const char *why);
/* The roster changed: sessions whose key is no longer wanted are cut at once. */
void bearer_zmq_roster_changed(struct bearer_zmq *bearer);
/* Port actually listened on (tests use port 0); 0: none. */
uint16_t bearer_zmq_port(const struct bearer_zmq *bearer);

#endif
