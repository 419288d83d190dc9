/*
 * bearer_internal.h: what bearer_zmq.c (sessions, endings), bearer_router.c (those who call us) and
 * bearer_call.c (those we call) share. Included by these only.
 *
 * A public function and a callback's inside only mark what must end; sockets are closed and `down` is told by
 * bearer_settle(), from the loop. So no pump ever finds its socket gone under it.
 */
#ifndef CPD_BEARER_INTERNAL_H
#define CPD_BEARER_INTERNAL_H

#include <zmq.h>

#include "daemon/bearer_zmq.h"
#include "daemon/zap.h"
#include "daemon/zmq_pump.h"

#define BEARER_SLOTS 6144                  /* every node of the country once, and room */
#define BEARER_CONNECTIONS 8192            /* open TCP connections of callers; above it the newest is cut */
#define BEARER_HWM 4                       /* of what comes in: ZeroMQ's buffers are no queue */
/* Of what goes out: what may stand there is bounded by the link's credit in bytes; with fewer frames a ROUTER, which
 * does not tell when one peer has room again, would go at the pace of its retries. */
#define BEARER_SEND_HWM 64
/* CURVE's handshake takes 868 bytes; ten times that at 1,200 bit/s. */
#define BEARER_HANDSHAKE_MS 60000
#define BEARER_CONNECT_MS 30000
/* A connection that has said nothing by then is cut. */
#define BEARER_SILENT_MS (BEARER_HANDSHAKE_MS + 15000)
/* What may have come in on a connection beyond the frames handed over: libzmq's and our buffers, twice.
 * More is a multipart without end, which escapes every high-water mark. */
#define BEARER_EXCESS (4 * BEARER_HWM * LIMIT_FRAME)
#define BEARER_FRAME_OVERHEAD 64           /* CURVE and ZMTP around one frame: 35 bytes, and room */
#define BEARER_SNDBUF (32 * 1024)
#define BEARER_RCVBUF (64 * 1024)
#define BEARER_NOTSENT_LOWAT (8 * 1024)    /* libzmq encodes 8 KiB at a time: less gains nothing */
#define BEARER_BACKOFF_MIN_MS 1000
#define BEARER_BACKOFF_MAX_MS 60000

/* The introduction class: strangers with a key of their own. */
#define INTRODUCTION_USER "intro"
#define INTRODUCTION_SESSIONS 8
#define INTRODUCTION_PER_MINUTE 10
#define INTRODUCTION_FRAME (2 * 1024)      /* a certificate of LIMIT_CERTIFICATE in its update and frame */

/* A newcomer cannot know whether we hold its certificate: it says hello first, as to anyone, and
 * introduces itself when that is not answered. Then it is cut, and at the latest after BEARER_SILENT_MS. */
#define INTRODUCTION_FRAMES 2

#define ROUTING_ID 5                       /* libzmq's own: zero and a counter */

struct call;

struct session {
	uint64_t id;
	uint32_t node;                     /* 0: introduction class */
	uint8_t key[32];
	struct call *call;                 /* NULL: it called us */
	uint8_t routing_id[ROUTING_ID];    /* never shown, logged or sent */
	int fd;                            /* of its connection in router.connections; -1: gone */
	bool is_ending;                    /* down is due; takes and gives no frame any more */
	char why[96];
	unsigned frames;                   /* of a stranger */
	struct bearer_zmq *bearer;
	struct event *retry;               /* of a caller that was BUSY; NULL: never was */
	unsigned retries, retry_ms;        /* in a row; 0: the last frame was taken */
};

/* One accepted TCP connection, by its descriptor. The descriptor is libzmq's: it may be closed and
 * given out again at any moment, so `inode` says whether it still is the same. */
struct connection {
	bool is_open;
	uint64_t inode;
	int64_t since_ms;
	uint64_t delivered;                /* bytes of frames handed over */
	bool has_spoken;
	bool is_stranger;
	struct session *session;           /* the one on it; NULL: none yet, or no more */
};

struct router {
	void *socket, *monitor;
	struct zmq_pump pump, monitor_pump;
	bool is_discarding;                /* the rest of a multipart */
	struct connection *connections;    /* indexed by descriptor */
	size_t connection_size, open_count;
	struct event *audit;
	bool audit_is_soon;                /* within a second, because somebody has not spoken yet */
	int64_t introductions[INTRODUCTION_SESSIONS]; /* until when each place is taken; 0: free */
	double tokens;
	int64_t tokens_ms;
	uint16_t port;
};

struct call {
	struct call *next;
	struct bearer_zmq *bearer;
	uint32_t node;
	char address[LIMIT_ADDRESS + 1];
	uint8_t key[32];
	void *socket, *monitor;            /* NULL: waiting for the next attempt */
	struct zmq_pump pump, monitor_pump;
	struct session *session;           /* NULL: not up */
	struct event *timer;               /* next attempt; or the end of patience with this one */
	unsigned attempts;
	int64_t up_ms;
	int fd;                            /* of the connection; -1: not known */
	uint64_t delivered;
	bool is_closing;                   /* bearer_settle closes the socket */
	bool is_stopped;                   /* and then frees the call */
};

struct bearer_zmq {
	struct event_base *base;
	struct bearer_events events;
	uint8_t public_key[32], secret_key[32];
	void *zmq;
	struct zap *zap;
	struct router router;
	struct call *calls;
	struct session *sessions[BEARER_SLOTS];
	uint64_t next_session;
	struct event *later;               /* bearer_settle */
	bool roster_is_stale;
	/* Self-test: one key that must be refused, one that must be admitted. */
	bool is_testing;
	uint8_t test_refused[32], test_admitted[32];
};

/* ---- bearer_zmq.c */
/* NULL: no room or memory. */
struct session *session_new(struct bearer_zmq *bearer, uint32_t node, const uint8_t key[32]);
/* Marks the end; the first reason stands. `down` is told by bearer_settle. */
void session_end(struct bearer_zmq *bearer, struct session *session, const char *why);
/* Tells down, cuts and frees, now: from the loop only. */
void session_finish(struct bearer_zmq *bearer, struct session *session);
/* Before a frame is handed over: ends the sessions that the roster does not want any more. */
void roster_recheck(struct bearer_zmq *bearer);
void settle_later(struct bearer_zmq *bearer);
/* Options of both kinds of socket: marks, sizes, no linger, no heartbeats. */
MUST_CHECK bool socket_tune(void *socket);
void timer_in(struct event *timer, int64_t ms);

/* ---- bearer_router.c */
MUST_CHECK enum cpd_error router_open(struct bearer_zmq *bearer, const struct bearer_options *options, char problem[256]);
void router_close(struct bearer_zmq *bearer);
MUST_CHECK enum cpd_error router_send(struct bearer_zmq *bearer, struct session *session, struct slice frame);
void router_cut(struct bearer_zmq *bearer, int fd);
/* The connection of a finished session; gives an introduction's place back. */
void router_forget(struct bearer_zmq *bearer, struct session *session);
enum zap_verdict router_judge(void *bearer, const uint8_t key[32], char user_id[ZAP_USER_ID]);

/* ---- bearer_selftest.c: proves on this very ROUTER that ZAP refuses and admits, before it listens. */
MUST_CHECK enum cpd_error bearer_selftest(struct bearer_zmq *bearer, char problem[256]);

/* ---- bearer_call.c */
MUST_CHECK enum cpd_error call_send(struct call *call, struct slice frame);
/* Closes the socket; the next attempt after its backoff, or frees it when stopped. */
void call_settle(struct call *call);
void call_free(struct call *call);
/* CURVE client towards key, not yet connected; NULL: libzmq refused. */
void *call_socket(struct bearer_zmq *bearer, const uint8_t public_key[32], const uint8_t secret_key[32], const uint8_t server_key[32]);
/* A monitor of these events of socket, as a socket to read; NULL. */
void *monitor_open(struct bearer_zmq *bearer, void *socket, int events);
void monitor_close(void *socket, void *monitor);
/* Reads one event; false: none. */
bool monitor_read(void *monitor, int *event, int *value);
/* Bytes that TCP has received on this descriptor; 0 when that cannot be told. */
uint64_t tcp_received(int fd);

#endif
