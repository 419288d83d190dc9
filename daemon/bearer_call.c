/* Neighbours that we call: one DEALER each, which we open and close ourselves. libzmq's own
 * reconnecting is off: after a refusal (ZAP 300 or 400) it never comes back while sends still queue. */
#include "daemon/bearer_internal.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "crypto/crypto.h"
#include "daemon/address.h"
#include "daemon/clock.h"
#include "daemon/log.h"

/* A session that lasted this long was a good one: the next attempt comes soon again. */
#define GOOD_SESSION_MS 10000

/* We call again ourselves, long before this. With -1 ("never") libzmq takes the endpoint out, looks its name up among
 * the machine's interfaces, and ends the process when cpd.service does not let it open AF_NETLINK. */
#define NEVER_MS 86400000

#define CALL_EVENTS (ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | \
	ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

/* ---------------------------------------------------------------- monitors */
void *monitor_open(struct bearer_zmq *bearer, void *socket, int events)
{
	static uint64_t number; /* names within one process */
	char address[48];
	int unbounded = 0, linger = 0;
	void *monitor;

	snprintf(address, sizeof(address), "inproc://monitor-%llu", (unsigned long long)++number);
	if (zmq_socket_monitor(socket, address, events) != 0)
		return NULL;
	monitor = zmq_socket(bearer->zmq, ZMQ_PAIR);
	/* Without a mark: at a full one the I/O thread would wait for us, holding what closing waits for. */
	if (monitor && zmq_setsockopt(monitor, ZMQ_RCVHWM, &unbounded, sizeof(unbounded)) == 0 &&
	    zmq_setsockopt(monitor, ZMQ_LINGER, &linger, sizeof(linger)) == 0 && zmq_connect(monitor, address) == 0)
		return monitor;
	monitor_close(socket, monitor);
	return NULL;
}

void monitor_close(void *socket, void *monitor)
{
	if (socket)
		(void)zmq_socket_monitor(socket, NULL, 0);
	if (monitor)
		(void)zmq_close(monitor);
}

bool monitor_read(void *monitor, int *event, int *value)
{
	uint8_t head[6], address[256];
	uint16_t number;
	int32_t detail;

	if (zmq_recv(monitor, head, sizeof(head), ZMQ_DONTWAIT) != (int)sizeof(head))
		return false;
	(void)zmq_recv(monitor, address, sizeof(address), ZMQ_DONTWAIT);
	memcpy(&number, head, sizeof(number));
	memcpy(&detail, head + 2, sizeof(detail));
	*event = number;
	*value = detail;
	return true;
}

uint64_t tcp_received(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	memset(&info, 0, sizeof(info));
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 ? info.tcpi_bytes_received : 0;
}

/* ---------------------------------------------------------------- attempts */
void *call_socket(struct bearer_zmq *bearer, const uint8_t public_key[32], const uint8_t secret_key[32], const uint8_t server_key[32])
{
	static const struct { int option, value; } options[] = {
		{ ZMQ_IMMEDIATE, 1 }, { ZMQ_RECONNECT_IVL, NEVER_MS }, { ZMQ_CONNECT_TIMEOUT, BEARER_CONNECT_MS },
	};
	void *socket = zmq_socket(bearer->zmq, ZMQ_DEALER);

	if (!socket)
		return NULL;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (zmq_setsockopt(socket, options[i].option, &options[i].value, sizeof(options[i].value)) != 0)
			goto fail;
	}
	if (socket_tune(socket) && zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_key, 32) == 0 &&
	    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, public_key, 32) == 0 &&
	    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret_key, 32) == 0)
		return socket;
fail:
	(void)zmq_close(socket);
	return NULL;
}

static void close_socket(struct call *call)
{
	zmq_pump_stop(&call->pump);
	zmq_pump_stop(&call->monitor_pump);
	monitor_close(call->socket, call->monitor);
	if (call->socket)
		(void)zmq_close(call->socket);
	call->socket = call->monitor = NULL;
	call->fd = -1;
	call->delivered = 0;
}

/* Ends this attempt or session; bearer_settle closes the socket. */
static void give_up(struct call *call, const char *why)
{
	if (call->session)
		session_end(call->bearer, call->session, why);
	else if (!call->is_closing)
		log_limited(LOG_INFO, "call-failed", call->node, clock_boot_ms(), "link=%u why=%s", call->node, why);
	call->is_closing = true;
	settle_later(call->bearer);
}

/* 1, 2, 4 ... 60 s, of which a random part: five hundred callers of a CP that comes back must not come
 * together. Never less than a tenth of a second. */
static int64_t backoff_ms(unsigned attempts)
{
	uint32_t most = BEARER_BACKOFF_MAX_MS;

	if (attempts < 6 && (BEARER_BACKOFF_MIN_MS << attempts) < BEARER_BACKOFF_MAX_MS)
		most = BEARER_BACKOFF_MIN_MS << attempts;
	return 100 + crypto_random_below(most);
}

static void go_up(struct call *call)
{
	struct bearer_zmq *bearer = call->bearer;

	if (call->session || call->is_closing)
		return;
	call->session = session_new(bearer, call->node, call->key);
	if (!call->session) {
		give_up(call, "too many sessions");
		return;
	}
	call->session->call = call;
	call->up_ms = clock_boot_ms();
	timer_in(call->timer, BEARER_SILENT_MS); /* from now on it audits */
	bearer->events.up(bearer->events.context, call->node, call->session->id);
}

static bool monitor_step(void *context, int events)
{
	struct call *call = context;
	int event, value, lowat = BEARER_NOTSENT_LOWAT;

	(void)events;
	if (call->is_closing || !monitor_read(call->monitor, &event, &value))
		return false;
	switch (event) {
	case ZMQ_EVENT_CONNECTED:
		call->fd = value;
		(void)setsockopt(value, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
		break;
	case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
		go_up(call);
		break;
	case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
		give_up(call, "it refuses our key");
		break;
	case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
		give_up(call, "the handshake failed: another key or another protocol there");
		break;
	case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
		give_up(call, "it hung up in the handshake: new keys? import the region's update");
		break;
	case ZMQ_EVENT_CLOSED:
		give_up(call, "it does not answer");
		break;
	case ZMQ_EVENT_DISCONNECTED:
		give_up(call, "the connection broke");
		break;
	}
	return !call->is_closing;
}

/* ---------------------------------------------------------------- frames */
static void take_frame(struct call *call, zmq_msg_t *message)
{
	struct bearer_zmq *bearer = call->bearer;
	struct slice frame = { zmq_msg_data(message), zmq_msg_size(message) };

	if (zmq_msg_more(message)) {
		give_up(call, "it sent a message of several parts");
		return;
	}
	if (frame.len > LIMIT_FRAME) {
		give_up(call, "it sent a frame above the limit");
		return;
	}
	roster_recheck(bearer);
	go_up(call); /* when its first frame was faster than the monitor */
	call->delivered += frame.len + BEARER_FRAME_OVERHEAD;
	if (call->session && !call->session->is_ending)
		bearer->events.frame(bearer->events.context, call->node, call->session->id, frame);
}

static bool call_step(void *context, int events)
{
	struct call *call = context;
	struct bearer_zmq *bearer = call->bearer;
	bool is_there, is_over;
	zmq_msg_t message;

	if (call->is_closing)
		return false;
	if (call->pump.wants_out && (events & ZMQ_POLLOUT)) {
		call->pump.wants_out = false;
		if (call->session && !call->session->is_ending)
			bearer->events.writable(bearer->events.context, call->node, call->session->id);
		return true;
	}
	zmq_msg_init(&message);
	is_there = zmq_msg_recv(&message, call->socket, ZMQ_DONTWAIT) >= 0;
	is_over = !is_there && zmq_errno() != EINTR;
	if (is_there)
		take_frame(call, &message);
	zmq_msg_close(&message);
	return !is_over && !call->is_closing;
}

enum cpd_error call_send(struct call *call, struct slice frame)
{
	int rc;

	if (!call->socket || call->is_closing)
		return CPD_ERR_NOT_FOUND;
	rc = zmq_send(call->socket, frame.data, frame.len, ZMQ_DONTWAIT);
	zmq_pump_arm(&call->pump);
	if (rc >= 0)
		return CPD_OK;
	if (zmq_errno() != EAGAIN && zmq_errno() != EINTR)
		return CPD_ERR_NOT_FOUND;
	call->pump.wants_out = true;
	return CPD_ERR_BUSY;
}

/* ---------------------------------------------------------------- life */
static bool connect_call(struct call *call)
{
	struct bearer_zmq *bearer = call->bearer;

	call->socket = call_socket(bearer, bearer->public_key, bearer->secret_key, call->key);
	if (!call->socket)
		return false;
	call->monitor = monitor_open(bearer, call->socket, CALL_EVENTS);
	return call->monitor && zmq_pump_start(&call->monitor_pump, bearer->base, call->monitor, monitor_step, call) == CPD_OK &&
	    zmq_pump_start(&call->pump, bearer->base, call->socket, call_step, call) == CPD_OK &&
	    zmq_connect(call->socket, call->address) == 0;
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	struct call *call = context;
	struct bearer_zmq *bearer = call->bearer;

	(void)fd;
	(void)what;
	if (call->session) {
		if (call->fd >= 0 && tcp_received(call->fd) > call->delivered + BEARER_EXCESS)
			give_up(call, "it sent more than whole frames");
		else
			timer_in(call->timer, BEARER_SILENT_MS);
		return;
	}
	if (call->socket) {
		give_up(call, "it did not finish the handshake");
		return;
	}
	if (bearer->events.roster(bearer->events.context, call->key) != call->node) {
		call->is_closing = true; /* asked again after the next backoff */
		settle_later(bearer);
		return;
	}
	timer_in(call->timer, BEARER_CONNECT_MS + BEARER_HANDSHAKE_MS);
	if (!connect_call(call))
		give_up(call, zmq_strerror(zmq_errno()));
}

void call_settle(struct call *call)
{
	close_socket(call);
	if (call->is_stopped) {
		call_free(call);
		return;
	}
	if (call->up_ms > 0 && clock_boot_ms() - call->up_ms >= GOOD_SESSION_MS)
		call->attempts = 0;
	call->up_ms = 0;
	call->is_closing = false;
	timer_in(call->timer, backoff_ms(call->attempts));
	if (call->attempts < 6)
		call->attempts++;
}

void call_free(struct call *call)
{
	struct call **at = &call->bearer->calls;

	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
	close_socket(call);
	if (call->timer)
		event_free(call->timer);
	free(call);
}

enum cpd_error bearer_zmq_call(struct bearer_zmq *bearer, uint32_t node, const char *address, const uint8_t peer_key[32])
{
	struct address parsed;
	struct call *call;
	const char *why;

	if (node == 0 || node == UINT32_MAX || address_parse(address, &parsed, &why) != CPD_OK || address_port(&parsed) == 0)
		return CPD_ERR_USAGE;
	for (call = bearer->calls; call; call = call->next) {
		if (call->node == node && !call->is_stopped)
			return CPD_ERR_EXISTS;
	}
	call = calloc(1, sizeof(*call));
	if (!call)
		return CPD_ERR_NOMEM;
	call->timer = evtimer_new(bearer->base, on_timer, call);
	if (!call->timer) {
		free(call);
		return CPD_ERR_NOMEM;
	}
	call->bearer = bearer;
	call->node = node;
	call->fd = -1;
	snprintf(call->address, sizeof(call->address), "%s", address);
	memcpy(call->key, peer_key, sizeof(call->key));
	call->next = bearer->calls;
	bearer->calls = call;
	timer_in(call->timer, 0);
	return CPD_OK;
}

void bearer_zmq_stop_calling(struct bearer_zmq *bearer, uint32_t node)
{
	for (struct call *call = bearer->calls; call; call = call->next) {
		if (call->node != node || call->is_stopped)
			continue;
		call->is_stopped = true;
		call->is_closing = true;
		event_del(call->timer);
		if (call->session)
			session_end(bearer, call->session, "it is no longer called");
		settle_later(bearer);
	}
}
