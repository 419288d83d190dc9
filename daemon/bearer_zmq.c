#include "daemon/bearer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "daemon/clock.h"
#include "daemon/log.h"

/* A DEALER and the two ends of its monitor for each neighbour that we call, and a few. */
#define MAX_SOCKETS 4096

/* ---------------------------------------------------------------- sessions */
/* An id is a counter with the slot in its low bits: found at once, and never the same twice. */
static struct session *session_find(const struct bearer_zmq *bearer, uint64_t id)
{
	struct session *session = bearer->sessions[id % BEARER_SLOTS];

	return session && session->id == id ? session : NULL;
}

struct session *session_new(struct bearer_zmq *bearer, uint32_t node, const uint8_t key[32])
{
	struct session *session;
	size_t slot = 0;

	while (slot < BEARER_SLOTS && bearer->sessions[slot])
		slot++;
	session = slot < BEARER_SLOTS ? calloc(1, sizeof(*session)) : NULL;
	if (!session)
		return NULL;
	session->id = ++bearer->next_session * BEARER_SLOTS + slot;
	session->bearer = bearer;
	session->node = node;
	session->fd = -1;
	memcpy(session->key, key, sizeof(session->key));
	bearer->sessions[slot] = session;
	return session;
}

void settle_later(struct bearer_zmq *bearer)
{
	timer_in(bearer->later, 0);
}

void timer_in(struct event *timer, int64_t ms)
{
	struct timeval when = { ms / 1000, (ms % 1000) * 1000 };

	event_add(timer, &when);
}

void session_end(struct bearer_zmq *bearer, struct session *session, const char *why)
{
	if (session->is_ending)
		return;
	session->is_ending = true;
	snprintf(session->why, sizeof(session->why), "%s", why);
	settle_later(bearer);
}

void session_finish(struct bearer_zmq *bearer, struct session *session)
{
	session->is_ending = true;
	bearer->sessions[session->id % BEARER_SLOTS] = NULL;
	if (session->call) {
		session->call->session = NULL;
		session->call->is_closing = true;
		settle_later(bearer);
	} else {
		router_forget(bearer, session);
	}
	bearer->events.down(bearer->events.context, session->node, session->id, session->why);
	if (session->retry)
		event_free(session->retry);
	free(session);
}

void roster_recheck(struct bearer_zmq *bearer)
{
	if (!bearer->roster_is_stale)
		return;
	bearer->roster_is_stale = false;
	for (size_t i = 0; i < BEARER_SLOTS; i++) {
		struct session *session = bearer->sessions[i];

		if (session && session->node != 0 && !session->is_ending &&
		    bearer->events.roster(bearer->events.context, session->key) != session->node)
			session_end(bearer, session, "its key is no longer in the roster");
	}
}

/* All that was marked: told, cut, closed. A callback may mark more: that comes in the next turn. */
static void bearer_settle(evutil_socket_t fd, short what, void *context)
{
	struct bearer_zmq *bearer = context;
	struct call *call, *next;

	(void)fd;
	(void)what;
	roster_recheck(bearer);
	for (size_t i = 0; i < BEARER_SLOTS; i++) {
		if (bearer->sessions[i] && bearer->sessions[i]->is_ending)
			session_finish(bearer, bearer->sessions[i]);
	}
	for (call = bearer->calls; call; call = next) {
		next = call->next;
		if (call->is_closing && !call->session)
			call_settle(call);
	}
}

/* ---------------------------------------------------------------- opening and closing */
bool socket_tune(void *socket)
{
	static const struct { int option, value; } options[] = {
		{ ZMQ_LINGER, 0 }, { ZMQ_SNDHWM, BEARER_SEND_HWM }, { ZMQ_RCVHWM, BEARER_HWM },
		{ ZMQ_SNDBUF, BEARER_SNDBUF }, { ZMQ_RCVBUF, BEARER_RCVBUF },
		{ ZMQ_HANDSHAKE_IVL, BEARER_HANDSHAKE_MS }, { ZMQ_HEARTBEAT_IVL, 0 }, { ZMQ_IPV6, 1 },
	};
	/* libzmq measures the frame as CURVE made it; the frame itself is measured when it is taken. */
	int64_t largest = LIMIT_FRAME + BEARER_FRAME_OVERHEAD;

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (zmq_setsockopt(socket, options[i].option, &options[i].value, sizeof(options[i].value)) != 0)
			return false;
	}
	return zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &largest, sizeof(largest)) == 0;
}

static enum cpd_error open_parts(struct bearer_zmq *bearer, const struct bearer_options *options, char problem[256])
{
	if (zmq_has("curve") != 1) {
		snprintf(problem, 256, "this libzmq has no CURVE; install one that was built with libsodium");
		return CPD_ERR_IO;
	}
	bearer->later = evtimer_new(bearer->base, bearer_settle, bearer);
	bearer->zmq = zmq_ctx_new();
	if (!bearer->later || !bearer->zmq || zmq_ctx_set(bearer->zmq, ZMQ_MAX_SOCKETS, MAX_SOCKETS) != 0 ||
	    zmq_ctx_set(bearer->zmq, ZMQ_IO_THREADS, 1) != 0) {
		snprintf(problem, 256, "ZeroMQ cannot start: %s; raise the limit on open files", zmq_strerror(zmq_errno()));
		return CPD_ERR_NOMEM;
	}
	if (zap_open(bearer->zmq, bearer->base, router_judge, bearer, &bearer->zap) != CPD_OK) {
		snprintf(problem, 256, "the authentication of callers cannot start: %s; nobody would be checked, so cpd stops here",
		    zmq_strerror(zmq_errno()));
		return CPD_ERR_IO;
	}
	if (!options->listen && options->listen_fd < 0)
		return CPD_OK;
	return router_open(bearer, options, problem);
}

enum cpd_error bearer_zmq_open(const struct bearer_options *options, struct bearer_zmq **out, char problem[256])
{
	struct bearer_zmq *bearer = calloc(1, sizeof(*bearer));
	enum cpd_error error;

	*out = NULL;
	problem[0] = '\0';
	if (!bearer) {
		snprintf(problem, 256, "%s", cpd_error_text(CPD_ERR_NOMEM));
		return CPD_ERR_NOMEM;
	}
	bearer->base = options->base;
	bearer->events = options->events;
	memcpy(bearer->public_key, options->public_key, 32);
	memcpy(bearer->secret_key, options->secret_key, 32);
	error = open_parts(bearer, options, problem);
	if (error != CPD_OK) {
		bearer_zmq_close(bearer);
		return error;
	}
	*out = bearer;
	return CPD_OK;
}

void bearer_zmq_close(struct bearer_zmq *bearer)
{
	if (!bearer)
		return;
	while (bearer->calls)
		call_free(bearer->calls);
	for (size_t i = 0; i < BEARER_SLOTS; i++) {
		if (bearer->sessions[i] && bearer->sessions[i]->retry)
			event_free(bearer->sessions[i]->retry);
		free(bearer->sessions[i]);
	}
	router_close(bearer);
	zap_close(bearer->zap);
	if (bearer->zmq)
		(void)zmq_ctx_term(bearer->zmq); /* every socket is closed without linger: it does not wait */
	if (bearer->later)
		event_free(bearer->later);
	crypto_wipe(bearer->secret_key, sizeof(bearer->secret_key));
	free(bearer);
}

/* ---------------------------------------------------------------- orders */
enum cpd_error bearer_zmq_send(struct bearer_zmq *bearer, uint64_t id, struct slice frame)
{
	struct session *session = session_find(bearer, id);
	enum cpd_error error;

	if (!session || session->is_ending)
		return CPD_ERR_NOT_FOUND;
	if (frame.len == 0 || frame.len > LIMIT_FRAME)
		return CPD_ERR_TOO_LARGE;
	error = session->call ? call_send(session->call, frame) : router_send(bearer, session, frame);
	if (error == CPD_ERR_NOT_FOUND)
		session_end(bearer, session, "the connection is gone");
	return error;
}

void bearer_zmq_end(struct bearer_zmq *bearer, uint64_t id, const char *why)
{
	struct session *session = session_find(bearer, id);

	if (session)
		session_end(bearer, session, why);
}

void bearer_zmq_roster_changed(struct bearer_zmq *bearer)
{
	bearer->roster_is_stale = true;
	settle_later(bearer);
}

uint16_t bearer_zmq_port(const struct bearer_zmq *bearer)
{
	return bearer->router.port;
}
