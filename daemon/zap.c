#include "daemon/zap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "daemon/zmq_pump.h"

/* version, request id, domain, address, identity, mechanism, key */
#define PARTS 7
#define PART_MAX 256

struct zap {
	void *socket;
	struct zmq_pump pump;
	zap_decide *decide;
	void *context;
};

struct request { uint8_t parts[PARTS][PART_MAX]; int lens[PARTS]; int count; };

static bool part_is(const struct request *request, int part, const char *text)
{
	return request->lens[part] == (int)strlen(text) && memcmp(request->parts[part], text, strlen(text)) == 0;
}

/* Requests come from libzmq itself, so an odd one is a bug there: refused, not trusted. */
static bool is_sound(const struct request *request)
{
	for (int i = 0; i < request->count && i < PARTS; i++) {
		if (request->lens[i] < 0 || request->lens[i] > PART_MAX)
			return false;
	}
	return request->count == PARTS && part_is(request, 0, "1.0") && part_is(request, 2, ZAP_DOMAIN) &&
	    part_is(request, 5, "CURVE") && request->lens[6] == 32;
}

static bool receive(struct zap *zap, struct request *request)
{
	int more = 1;
	size_t size = sizeof(more);

	memset(request, 0, sizeof(*request));
	while (more) {
		uint8_t rest[PART_MAX];
		bool fits = request->count < PARTS;
		int len = zmq_recv(zap->socket, fits ? request->parts[request->count] : rest, PART_MAX, ZMQ_DONTWAIT);

		if (len < 0)
			return false;
		if (fits)
			request->lens[request->count] = len;
		request->count++;
		if (zmq_getsockopt(zap->socket, ZMQ_RCVMORE, &more, &size) != 0)
			return false;
	}
	return true;
}

static void answer(struct zap *zap, const struct request *request, enum zap_verdict verdict, const char *user_id)
{
	size_t id_len = request->lens[1] >= 0 && request->lens[1] <= PART_MAX ? (size_t)request->lens[1] : 0;
	const char *text = verdict == ZAP_ADMIT ? "OK" : verdict == ZAP_LATER ? "later" : "refused";
	char status[8];

	snprintf(status, sizeof(status), "%d", (int)verdict);
	if (zmq_send(zap->socket, "1.0", 3, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
		return; /* the connection that asked is gone */
	(void)zmq_send(zap->socket, request->parts[1], id_len, ZMQ_SNDMORE | ZMQ_DONTWAIT);
	(void)zmq_send(zap->socket, status, 3, ZMQ_SNDMORE | ZMQ_DONTWAIT);
	(void)zmq_send(zap->socket, text, strlen(text), ZMQ_SNDMORE | ZMQ_DONTWAIT);
	(void)zmq_send(zap->socket, user_id, strlen(user_id), ZMQ_SNDMORE | ZMQ_DONTWAIT);
	(void)zmq_send(zap->socket, "", 0, ZMQ_DONTWAIT);
}

static bool step(void *context, int events)
{
	struct zap *zap = context;
	struct request request;
	char user_id[ZAP_USER_ID] = "";
	enum zap_verdict verdict = ZAP_REFUSE;

	(void)events;
	if (!receive(zap, &request))
		return false;
	if (is_sound(&request))
		verdict = zap->decide(zap->context, request.parts[6], user_id);
	answer(zap, &request, verdict, verdict == ZAP_ADMIT ? user_id : "");
	return true;
}

enum cpd_error zap_open(void *zmq, struct event_base *base, zap_decide *decide, void *context, struct zap **out)
{
	struct zap *zap = calloc(1, sizeof(*zap));
	int linger = 0;

	*out = NULL;
	if (!zap)
		return CPD_ERR_NOMEM;
	zap->decide = decide;
	zap->context = context;
	zap->socket = zmq_socket(zmq, ZMQ_REP);
	if (!zap->socket || zmq_setsockopt(zap->socket, ZMQ_LINGER, &linger, sizeof(linger)) != 0 ||
	    zmq_bind(zap->socket, "inproc://zeromq.zap.01") != 0 ||
	    zmq_pump_start(&zap->pump, base, zap->socket, step, zap) != CPD_OK) {
		zap_close(zap);
		return CPD_ERR_IO;
	}
	*out = zap;
	return CPD_OK;
}

void zap_close(struct zap *zap)
{
	if (!zap)
		return;
	zmq_pump_stop(&zap->pump);
	if (zap->socket)
		(void)zmq_close(zap->socket);
	free(zap);
}

void zap_serve(struct zap *zap)
{
	zmq_pump_drain(&zap->pump);
}

void *zap_socket(struct zap *zap)
{
	return zap->socket;
}
