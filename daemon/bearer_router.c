/* Those who call us: one ROUTER. libzmq tells of accepted and broken connections by descriptor and of
 * messages by routing id; here the two are joined, so that a session ends when its connection does. */
#include "daemon/bearer_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/address.h"
#include "daemon/clock.h"
#include "daemon/log.h"

/* In zmq.h only with the draft interface; the library has it since 4.3.1. */
#define ENFORCE_DOMAIN 93

#define LISTEN_BACKLOG 128
#define RETRIES_AT_ONCE 16
#define RETRY_FIRST_MS 5
#define RETRY_MOST_MS 100
/* While somebody has not spoken yet, and otherwise. */
#define AUDIT_SOON_MS 1000
#define AUDIT_MS 30000
#define DESCRIPTORS_MAX 65536

#define ROUTER_EVENTS (ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_ACCEPT_FAILED | \
	ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

/* ---------------------------------------------------------------- who may in */
static void hex_of(const uint8_t key[32], char out[65])
{
	for (size_t i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", key[i]);
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A User-Id that we gave: "344003/<key>" or "intro/<key>". The key goes along because the roster may
 * change between the handshake and the first frame. */
static bool read_user(const char *user, uint32_t *node, uint8_t key[32])
{
	const char *slash = user ? strchr(user, '/') : NULL;

	if (!slash || strlen(slash + 1) != 64)
		return false;
	for (size_t i = 0; i < 32; i++) {
		int high = digit_of(slash[1 + 2 * i]), low = digit_of(slash[2 + 2 * i]);

		if (high < 0 || low < 0)
			return false;
		key[i] = (uint8_t)(high << 4 | low);
	}
	*node = 0;
	if (strncmp(user, INTRODUCTION_USER "/", sizeof(INTRODUCTION_USER)) == 0)
		return true;
	*node = (uint32_t)strtoul(user, NULL, 10);
	return *node != 0;
}

/* A place and a token for one stranger: eight at once, ten a minute. */
static bool admit_stranger(struct router *router)
{
	int64_t now = clock_boot_ms();
	int64_t *place = NULL;

	router->tokens += (double)(now - router->tokens_ms) * INTRODUCTION_PER_MINUTE / 60000;
	router->tokens_ms = now;
	if (router->tokens > INTRODUCTION_PER_MINUTE)
		router->tokens = INTRODUCTION_PER_MINUTE;
	for (size_t i = 0; i < INTRODUCTION_SESSIONS; i++) {
		if (router->introductions[i] <= now)
			place = &router->introductions[i];
	}
	if (!place || router->tokens < 1)
		return false;
	router->tokens -= 1;
	*place = now + BEARER_SILENT_MS; /* by then it has spoken or was cut */
	return true;
}

/* A stranger's connection has ended: which of the places was his does not matter. */
static void release_stranger(struct router *router)
{
	int64_t now = clock_boot_ms();

	for (size_t i = 0; i < INTRODUCTION_SESSIONS; i++) {
		if (router->introductions[i] > now) {
			router->introductions[i] = 0;
			return;
		}
	}
}

enum zap_verdict router_judge(void *context, const uint8_t key[32], char user_id[ZAP_USER_ID])
{
	struct bearer_zmq *bearer = context;
	char hex[65];
	uint32_t node;

	hex_of(key, hex);
	if (bearer->is_testing) {
		/* Nobody else can be here yet: the ROUTER does not listen. */
		snprintf(user_id, ZAP_USER_ID, "test/%s", hex);
		return memcmp(key, bearer->test_admitted, 32) == 0 ? ZAP_ADMIT : ZAP_REFUSE;
	}
	node = bearer->events.roster(bearer->events.context, key);
	if (node == UINT32_MAX) {
		log_limited(LOG_WARNING, "caller-refused", 0, clock_boot_ms(), "why=%s", "its key is revoked or not wanted");
		return ZAP_REFUSE;
	}
	if (node != 0) {
		snprintf(user_id, ZAP_USER_ID, "%u/%s", node, hex);
		return ZAP_ADMIT;
	}
	if (!admit_stranger(&bearer->router)) {
		log_limited(LOG_WARNING, "caller-refused", 0, clock_boot_ms(), "why=%s", "too many strangers");
		return ZAP_REFUSE;
	}
	snprintf(user_id, ZAP_USER_ID, INTRODUCTION_USER "/%s", hex);
	return ZAP_ADMIT;
}

/* ---------------------------------------------------------------- connections */
static uint64_t inode_of(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode) ? (uint64_t)status.st_ino : 0;
}

static struct connection *connection_at(struct router *router, int fd)
{
	return fd >= 0 && (size_t)fd < router->connection_size && router->connections[fd].is_open ? &router->connections[fd] : NULL;
}

/* Shuts the TCP connection; libzmq notices, cleans up and tells by DISCONNECTED. Its descriptor is never closed
 * here, and is looked at through a duplicate: the number may be somebody else's by now. */
void router_cut(struct bearer_zmq *bearer, int fd)
{
	const struct connection *connection = connection_at(&bearer->router, fd);
	int copy = connection ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;

	if (copy < 0)
		return;
	if (inode_of(copy) == connection->inode)
		(void)shutdown(copy, SHUT_RDWR);
	(void)close(copy);
}

static struct session *session_on(struct bearer_zmq *bearer, int fd)
{
	return fd >= 0 && (size_t)fd < bearer->router.connection_size ? bearer->router.connections[fd].session : NULL;
}

/* The session leaves its descriptor, which may be somebody else's by now. */
static void leave_connection(struct bearer_zmq *bearer, struct session *session)
{
	if (session_on(bearer, session->fd) == session)
		bearer->router.connections[session->fd].session = NULL;
	session->fd = -1;
}

static bool grow_connections(struct router *router, int fd)
{
	size_t size = ((size_t)fd / 256 + 1) * 256;
	struct connection *grown;

	if ((size_t)fd < router->connection_size)
		return true;
	if (fd >= DESCRIPTORS_MAX)
		return false;
	grown = realloc(router->connections, size * sizeof(*grown));
	if (!grown)
		return false;
	memset(grown + router->connection_size, 0, (size - router->connection_size) * sizeof(*grown));
	router->connections = grown;
	router->connection_size = size;
	return true;
}

static void connection_closed(struct bearer_zmq *bearer, int fd)
{
	struct connection *connection = connection_at(&bearer->router, fd);
	struct session *session;

	if (!connection)
		return;
	connection->is_open = false;
	bearer->router.open_count--;
	session = session_on(bearer, fd);
	if (session) {
		leave_connection(bearer, session);
		session_end(bearer, session, "the connection broke");
	}
}

/* Not put off by the next one: callers without end must not keep the audit away. */
static void audit_soon(struct router *router)
{
	if (!router->audit_is_soon)
		timer_in(router->audit, AUDIT_SOON_MS);
	router->audit_is_soon = true;
}

static void connection_opened(struct bearer_zmq *bearer, int fd)
{
	struct router *router = &bearer->router;

	if (fd < 0 || !grow_connections(router, fd))
		return; /* what it says is dropped: it has no record */
	connection_closed(bearer, fd); /* a number that is given out again was closed before */
	router->connections[fd] = (struct connection){ .is_open = true, .inode = inode_of(fd), .since_ms = clock_boot_ms() };
	router->open_count++;
	if (router->open_count > BEARER_CONNECTIONS) {
		log_limited(LOG_WARNING, "caller-refused", 0, clock_boot_ms(), "why=%s", "too many connections");
		router_cut(bearer, fd);
	}
	audit_soon(router);
}

static bool monitor_step(void *context, int events)
{
	struct bearer_zmq *bearer = context;
	int event, value;

	(void)events;
	if (!monitor_read(bearer->router.monitor, &event, &value))
		return false;
	switch (event) {
	case ZMQ_EVENT_ACCEPTED:
		connection_opened(bearer, value);
		break;
	case ZMQ_EVENT_DISCONNECTED:
		connection_closed(bearer, value);
		break;
	case ZMQ_EVENT_ACCEPT_FAILED:
		log_limited(LOG_ERR, "accept-failed", 0, clock_boot_ms(), "why=%s", zmq_strerror(value));
		break;
	case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
		log_limited(LOG_WARNING, "caller-refused", 0, clock_boot_ms(), "why=%s", "it does not speak the protocol or knows another key of ours");
		break;
	}
	return true;
}

/* Cuts those that say nothing, and those that pour in parts of a message without end. */
static void audit(evutil_socket_t fd, short what, void *context)
{
	struct bearer_zmq *bearer = context;
	struct router *router = &bearer->router;
	int64_t now = clock_boot_ms();
	bool has_silent = false;

	(void)fd;
	(void)what;
	zmq_pump_drain(&router->monitor_pump);
	for (size_t i = 0; i < router->connection_size && router->open_count > 0; i++) {
		const struct connection *connection = &router->connections[i];

		if (!connection->is_open)
			continue;
		if (((!connection->has_spoken || connection->is_stranger) && now - connection->since_ms > BEARER_SILENT_MS) ||
		    tcp_received((int)i) > connection->delivered + BEARER_EXCESS) {
			log_limited(LOG_WARNING, "caller-cut", 0, now, "why=%s", "silent, a stranger for too long, or more than whole frames");
			router_cut(bearer, (int)i);
		}
		has_silent = has_silent || !connection->has_spoken || connection->is_stranger;
	}
	router->audit_is_soon = has_silent;
	if (router->open_count > 0)
		timer_in(router->audit, has_silent ? AUDIT_SOON_MS : AUDIT_MS);
}

/* ---------------------------------------------------------------- sessions */
static struct session *session_of(struct bearer_zmq *bearer, const uint8_t routing_id[ROUTING_ID], int fd)
{
	struct session *there = session_on(bearer, fd);

	if (there && memcmp(there->routing_id, routing_id, ROUTING_ID) == 0)
		return there;
	/* What was left in the buffer of a connection that is gone. */
	for (size_t i = 0; i < BEARER_SLOTS; i++) {
		struct session *session = bearer->sessions[i];

		if (session && !session->call && memcmp(session->routing_id, routing_id, ROUTING_ID) == 0)
			return session;
	}
	return NULL;
}

void router_forget(struct bearer_zmq *bearer, struct session *session)
{
	if (session->fd >= 0)
		router_cut(bearer, session->fd);
	leave_connection(bearer, session);
	if (session->node == 0)
		release_stranger(&bearer->router);
}

/* Ends now, before the new one is told of: a node has one session here, a descriptor one connection. */
static void make_way(struct bearer_zmq *bearer, uint32_t node, int fd)
{
	for (size_t i = 0; i < BEARER_SLOTS; i++) {
		struct session *old = bearer->sessions[i];

		if (!old || old->call)
			continue;
		if (old->fd == fd) {
			leave_connection(bearer, old); /* its connection is gone; the descriptor is the new one's */
			session_end(bearer, old, "the connection broke");
			session_finish(bearer, old);
		} else if (node != 0 && old->node == node) {
			session_end(bearer, old, "it called again");
			session_finish(bearer, old);
		}
	}
}

/* libzmq numbers its connections: true when this one came before the one that now has its descriptor. What
 * was left in its buffer may be read after the first words of its successor. */
static bool is_outlived(struct bearer_zmq *bearer, const uint8_t routing_id[ROUTING_ID], int fd)
{
	const struct session *other = session_on(bearer, fd);
	uint32_t ours = 0, theirs = 0;

	if (!other)
		return false;
	for (size_t i = 1; i < ROUTING_ID; i++) {
		ours = ours << 8 | routing_id[i];
		theirs = theirs << 8 | other->routing_id[i];
	}
	return theirs - ours < UINT32_MAX / 2;
}

/* A session begins with the first frame of a connection. NULL: it is to be cut. */
static struct session *begin_session(struct bearer_zmq *bearer, zmq_msg_t *message, const uint8_t routing_id[ROUTING_ID], int fd)
{
	struct session *session;
	uint8_t key[32];
	uint32_t node;

	if (!read_user(zmq_msg_gets(message, "User-Id"), &node, key) ||
	    (node != 0 && bearer->events.roster(bearer->events.context, key) != node) ||
	    (node == 0 && zmq_msg_size(message) > INTRODUCTION_FRAME))
		return NULL;
	make_way(bearer, node, fd);
	session = session_new(bearer, node, key);
	if (!session)
		return NULL;
	memcpy(session->routing_id, routing_id, ROUTING_ID);
	session->fd = fd;
	bearer->router.connections[fd].session = session;
	bearer->events.up(bearer->events.context, node, session->id);
	return session;
}

static void take_frame(struct bearer_zmq *bearer, const uint8_t routing_id[ROUTING_ID], zmq_msg_t *message)
{
	struct slice frame = { zmq_msg_data(message), zmq_msg_size(message) };
	int fd = zmq_msg_get(message, ZMQ_SRCFD);
	struct session *session = session_of(bearer, routing_id, fd);
	struct connection *connection;

	if (session && session->is_ending)
		return;
	if (!session) {
		/* What happened to its descriptor before it spoke stands in the monitor by now. */
		zmq_pump_drain(&bearer->router.monitor_pump);
		connection = connection_at(&bearer->router, fd);
		if (!connection || is_outlived(bearer, routing_id, fd))
			return; /* gone already: what it said is said again when it calls again */
		connection->has_spoken = true;
		session = begin_session(bearer, message, routing_id, fd);
		if (!session) {
			log_limited(LOG_WARNING, "caller-cut", 0, clock_boot_ms(), "why=%s", "not in the roster, or a first frame too large");
			router_cut(bearer, fd);
			return;
		}
		connection->is_stranger = session->node == 0;
	}
	if (session->node == 0 && (++session->frames > INTRODUCTION_FRAMES || frame.len > INTRODUCTION_FRAME)) {
		session_end(bearer, session, "a stranger takes no more");
		return;
	}
	connection = connection_at(&bearer->router, session->fd);
	if (connection)
		connection->delivered += frame.len + BEARER_FRAME_OVERHEAD;
	roster_recheck(bearer);
	if (session->is_ending)
		return;
	bearer->events.frame(bearer->events.context, session->node, session->id, frame);
	if (session->node == 0 && session->frames == INTRODUCTION_FRAMES)
		session_end(bearer, session, "a stranger's words are taken");
}

/* A message of several parts, too large, or from one that chose its own routing id, is not of cpd. */
static void refuse_message(struct bearer_zmq *bearer, const uint8_t *routing_id, int id_len, zmq_msg_t *message)
{
	int fd = zmq_msg_get(message, ZMQ_SRCFD);
	struct session *session = id_len == ROUTING_ID ? session_of(bearer, routing_id, fd) : NULL;

	if (session) {
		session_end(bearer, session, "it sent what is not a single frame");
		return;
	}
	zmq_pump_drain(&bearer->router.monitor_pump);
	log_limited(LOG_WARNING, "caller-cut", 0, clock_boot_ms(), "why=%s", "not a single frame");
	router_cut(bearer, fd);
}

static bool router_step(void *context, int events)
{
	struct bearer_zmq *bearer = context;
	struct router *router = &bearer->router;
	uint8_t routing_id[256];
	zmq_msg_t message;
	int id_len = 0;

	(void)events;
	zmq_msg_init(&message);
	if (!router->is_discarding) {
		id_len = zmq_recv(router->socket, routing_id, sizeof(routing_id), ZMQ_DONTWAIT);
		if (id_len < 0)
			return zmq_errno() == EINTR;
	}
	if (zmq_msg_recv(&message, router->socket, ZMQ_DONTWAIT) < 0) {
		router->is_discarding = false;
	} else if (router->is_discarding) {
		router->is_discarding = zmq_msg_more(&message);
	} else if (zmq_msg_more(&message) || zmq_msg_size(&message) > LIMIT_FRAME || id_len != ROUTING_ID || routing_id[0] != 0) {
		router->is_discarding = zmq_msg_more(&message);
		refuse_message(bearer, routing_id, id_len, &message);
	} else {
		take_frame(bearer, routing_id, &message);
	}
	zmq_msg_close(&message);
	return true;
}

/* ---------------------------------------------------------------- sending */
static void on_retry(evutil_socket_t fd, short what, void *context)
{
	struct session *session = context;
	const struct bearer_events *events = &session->bearer->events;

	(void)fd;
	(void)what;
	if (!session->is_ending)
		events->writable(events->context, session->node, session->id);
}

/* POLLOUT of a ROUTER means "some peer": so a caller that is full is tried again, at first in the next turns of the
 * loop, in which the I/O thread empties its pipe if the connection takes anything, then after 5, 10 ... 100 ms. */
static enum cpd_error wait_for_room(struct session *session)
{
	if (!session->retry)
		session->retry = evtimer_new(session->bearer->base, on_retry, session);
	if (!session->retry)
		return CPD_ERR_NOMEM;
	if (session->retries++ < RETRIES_AT_ONCE)
		session->retry_ms = 0;
	else
		session->retry_ms = session->retry_ms == 0 ? RETRY_FIRST_MS : session->retry_ms * 2;
	if (session->retry_ms > RETRY_MOST_MS)
		session->retry_ms = RETRY_MOST_MS;
	timer_in(session->retry, session->retry_ms);
	return CPD_ERR_BUSY;
}

enum cpd_error router_send(struct bearer_zmq *bearer, struct session *session, struct slice frame)
{
	struct router *router = &bearer->router;
	zmq_msg_t message;
	int rc;

	/* Made first: between the routing id and the frame nothing may fail. */
	if (zmq_msg_init_size(&message, frame.len) != 0)
		return CPD_ERR_NOMEM;
	memcpy(zmq_msg_data(&message), frame.data, frame.len);
	do {
		rc = zmq_send(router->socket, session->routing_id, ROUTING_ID, ZMQ_SNDMORE | ZMQ_DONTWAIT);
	} while (rc < 0 && zmq_errno() == EINTR);
	if (rc < 0) {
		int why = zmq_errno();

		zmq_msg_close(&message);
		zmq_pump_arm(&router->pump);
		return why == EAGAIN ? wait_for_room(session) : CPD_ERR_NOT_FOUND;
	}
	do {
		rc = zmq_msg_send(&message, router->socket, ZMQ_DONTWAIT);
	} while (rc < 0 && zmq_errno() == EINTR);
	zmq_pump_arm(&router->pump);
	session->retries = 0;
	if (rc >= 0)
		return CPD_OK;
	zmq_msg_close(&message);
	return CPD_ERR_NOT_FOUND;
}

/* ---------------------------------------------------------------- opening */
static bool tune_listener(int fd)
{
	int send = BEARER_SNDBUF, receive = BEARER_RCVBUF, lowat = BEARER_NOTSENT_LOWAT;

	/* Accepted sockets inherit these; libzmq's own options would come too late for the TCP window. */
	return setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send, sizeof(send)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive)) == 0 &&
	    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat)) == 0 &&
	    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static int listen_on(const struct address *address, char problem[256], const char *text)
{
	int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 && tune_listener(fd) &&
	    bind(fd, (const struct sockaddr *)&address->storage, address->len) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
		return fd;
	snprintf(problem, 256, "cannot listen on %s: %s; is another program there, or is the address not this machine's?", text, strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

static uint16_t port_of(int fd)
{
	struct address address = { .len = sizeof(address.storage) };

	if (getsockname(fd, (struct sockaddr *)&address.storage, &address.len) != 0)
		return 0;
	return address_port(&address);
}

/* libzmq takes the descriptor over with this bind; its address only names the endpoint. */
static enum cpd_error listen_now(struct bearer_zmq *bearer, const struct bearer_options *options, char problem[256])
{
	const char *name = options->listen ? options->listen : "tcp://127.0.0.1:1";
	struct address address;
	const char *why;
	int fd = options->listen_fd;

	if (fd < 0) {
		if (address_parse(options->listen, &address, &why) != CPD_OK) {
			snprintf(problem, 256, "[listen] address: \"%.60s\" %s", options->listen, why);
			return CPD_ERR_USAGE;
		}
		fd = listen_on(&address, problem, options->listen);
	} else if (!tune_listener(fd)) {
		snprintf(problem, 256, "the listening socket from systemd cannot be used: %s; check cpd.socket", strerror(errno));
		return CPD_ERR_IO;
	}
	if (fd < 0)
		return CPD_ERR_IO;
	bearer->router.port = port_of(fd);
	/* From here on the descriptor is libzmq's, also when this fails: closing it could hit another. */
	if (zmq_setsockopt(bearer->router.socket, ZMQ_USE_FD, &fd, sizeof(fd)) != 0 || zmq_bind(bearer->router.socket, name) != 0) {
		snprintf(problem, 256, "ZeroMQ cannot listen on %s: %s", name, zmq_strerror(zmq_errno()));
		return CPD_ERR_IO;
	}
	return CPD_OK;
}

static bool make_router(struct bearer_zmq *bearer)
{
	static const struct { int option, value; } options[] = {
		{ ZMQ_ROUTER_MANDATORY, 1 }, { ZMQ_ROUTER_HANDOVER, 0 }, { ZMQ_CURVE_SERVER, 1 }, { ENFORCE_DOMAIN, 1 },
	};
	void *socket = zmq_socket(bearer->zmq, ZMQ_ROUTER);

	bearer->router.socket = socket;
	if (!socket || !socket_tune(socket))
		return false;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (zmq_setsockopt(socket, options[i].option, &options[i].value, sizeof(options[i].value)) != 0)
			return false;
	}
	return zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, strlen(ZAP_DOMAIN)) == 0 &&
	    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, bearer->secret_key, 32) == 0 &&
	    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, bearer->public_key, 32) == 0;
}

enum cpd_error router_open(struct bearer_zmq *bearer, const struct bearer_options *options, char problem[256])
{
	struct router *router = &bearer->router;
	enum cpd_error error;

	router->tokens = INTRODUCTION_PER_MINUTE;
	router->tokens_ms = clock_boot_ms();
	router->audit = evtimer_new(bearer->base, audit, bearer);
	if (!router->audit || !make_router(bearer)) {
		snprintf(problem, 256, "the socket for callers cannot be made: %s", zmq_strerror(zmq_errno()));
		return CPD_ERR_IO;
	}
	error = bearer_selftest(bearer, problem);
	if (error != CPD_OK)
		return error;
	router->monitor = monitor_open(bearer, router->socket, ROUTER_EVENTS);
	if (!router->monitor || zmq_pump_start(&router->monitor_pump, bearer->base, router->monitor, monitor_step, bearer) != CPD_OK ||
	    zmq_pump_start(&router->pump, bearer->base, router->socket, router_step, bearer) != CPD_OK) {
		snprintf(problem, 256, "the socket for callers cannot be watched: %s; raise the limit on open files", zmq_strerror(zmq_errno()));
		return CPD_ERR_IO;
	}
	return listen_now(bearer, options, problem);
}

void router_close(struct bearer_zmq *bearer)
{
	struct router *router = &bearer->router;

	zmq_pump_stop(&router->pump);
	zmq_pump_stop(&router->monitor_pump);
	monitor_close(router->socket, router->monitor);
	if (router->socket)
		(void)zmq_close(router->socket);
	if (router->audit)
		event_free(router->audit);
	free(router->connections);
	memset(router, 0, sizeof(*router));
}
