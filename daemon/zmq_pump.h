/*
 * zmq_pump.h: one ZeroMQ socket on the event loop, without losing an edge.
 *
 * ZMQ_FD is an edge-triggered mailbox: every call on the socket, also a send, may swallow the edge that
 * says "something has come". So a pump takes what there is until a receive is in vain, comes back by
 * a zero timer when its budget is spent, and must be armed after every call on the socket outside of it.
 * Never event_active(): that would starve the loop. Called by the bearer only, on the loop thread.
 */
#ifndef CPD_ZMQ_PUMP_H
#define CPD_ZMQ_PUMP_H

#include <event2/event.h>

#include "proto/types.h"

/* Takes one thing from the socket. events: ZMQ_POLLIN, ZMQ_POLLOUT as they may stand. False: there was nothing, or
 * the socket is about to be closed. It never closes the socket or stops the pump itself. */
typedef bool zmq_pump_step(void *context, int events);

struct zmq_pump {
	void *socket;
	struct event *edge, *again;
	zmq_pump_step *step;
	void *context;
	bool wants_out;                        /* step also when the socket takes a message */
};

/* Starts with an armed pump. IO, NOMEM; then nothing is to be stopped. */
MUST_CHECK enum cpd_error zmq_pump_start(struct zmq_pump *pump, struct event_base *base, void *socket, zmq_pump_step *step, void *context);
/* Looks again in the next turn of the loop. Fine on a pump that was not started. */
void zmq_pump_arm(struct zmq_pump *pump);
/* Steps now, until nothing is left, whatever the budget. */
void zmq_pump_drain(struct zmq_pump *pump);
/* Before the socket is closed. Fine on a pump that was not started. */
void zmq_pump_stop(struct zmq_pump *pump);

#endif
