#include "daemon/zmq_pump.h"

#include <string.h>
#include <zmq.h>

/* Messages in one turn of the loop: 64 of 40 KiB are decrypted in a few ms; others get their turn. */
#define BUDGET 64

static int events_of(void *socket)
{
	int events = 0;
	size_t size = sizeof(events);

	return zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) == 0 ? events : 0;
}

/* budget 0: no bound. A receive in vain takes the mailbox's edge with it, as asking for the events does, and costs as
 * much: so it is asked only when room to send is waited for, and otherwise taken until there is none. */
static void run(struct zmq_pump *pump, unsigned budget)
{
	int events = pump->wants_out ? events_of(pump->socket) : ZMQ_POLLIN;

	if (!events)
		return;
	for (unsigned taken = 1; pump->step(pump->context, events); taken++) {
		events = ZMQ_POLLIN;
		if (budget > 0 && taken == budget) {
			zmq_pump_arm(pump);
			return;
		}
	}
}

static void on_event(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	run(context, BUDGET);
}

enum cpd_error zmq_pump_start(struct zmq_pump *pump, struct event_base *base, void *socket, zmq_pump_step *step, void *context)
{
	int fd = -1;
	size_t size = sizeof(fd);

	memset(pump, 0, sizeof(*pump));
	if (zmq_getsockopt(socket, ZMQ_FD, &fd, &size) != 0)
		return CPD_ERR_IO;
	pump->socket = socket;
	pump->step = step;
	pump->context = context;
	pump->edge = event_new(base, fd, EV_READ | EV_PERSIST, on_event, pump);
	pump->again = evtimer_new(base, on_event, pump);
	if (!pump->edge || !pump->again || event_add(pump->edge, NULL) != 0) {
		zmq_pump_stop(pump);
		return CPD_ERR_NOMEM;
	}
	zmq_pump_arm(pump);
	return CPD_OK;
}

void zmq_pump_arm(struct zmq_pump *pump)
{
	static const struct timeval now = { 0, 0 };

	if (pump->again)
		event_add(pump->again, &now);
}

void zmq_pump_drain(struct zmq_pump *pump)
{
	if (pump->socket)
		run(pump, 0);
}

void zmq_pump_stop(struct zmq_pump *pump)
{
	if (pump->edge)
		event_free(pump->edge);
	if (pump->again)
		event_free(pump->again);
	memset(pump, 0, sizeof(*pump));
}
