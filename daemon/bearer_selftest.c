/* Before the ROUTER listens: does ZAP really decide? One key that must be refused, one that must be
 * admitted (or the refusal would prove nothing), over an abstract Unix socket, so that no network is
 * needed and nobody outside can be first. */
#include "daemon/bearer_internal.h"

#include <stdio.h>
#include <string.h>

#include "crypto/crypto.h"
#include "daemon/clock.h"

#define PATIENCE_MS 5000

enum outcome { OUTCOME_NONE, OUTCOME_ADMITTED, OUTCOME_REFUSED };

static bool new_key(uint8_t public_key[32], uint8_t secret_key[32])
{
	char public_text[41], secret_text[41];
	bool made = zmq_curve_keypair(public_text, secret_text) == 0 && zmq_z85_decode(public_key, public_text) && zmq_z85_decode(secret_key, secret_text);

	crypto_wipe(secret_text, sizeof(secret_text));
	return made;
}

static enum outcome wait_for(struct bearer_zmq *bearer, void *monitor)
{
	int64_t end = clock_boot_ms() + PATIENCE_MS;
	int event, value;

	while (clock_boot_ms() < end) {
		zmq_pollitem_t items[2] = { { .socket = zap_socket(bearer->zap), .events = ZMQ_POLLIN }, { .socket = monitor, .events = ZMQ_POLLIN } };

		if (zmq_poll(items, 2, 100) < 0 && zmq_errno() != EINTR)
			return OUTCOME_NONE;
		zap_serve(bearer->zap);
		while (monitor_read(monitor, &event, &value)) {
			if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
				return OUTCOME_ADMITTED;
			if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
				return OUTCOME_REFUSED;
		}
	}
	return OUTCOME_NONE;
}

static enum outcome knock(struct bearer_zmq *bearer, const char *address, const uint8_t public_key[32], const uint8_t secret_key[32])
{
	void *socket = call_socket(bearer, public_key, secret_key, bearer->public_key);
	enum outcome outcome = OUTCOME_NONE;
	void *monitor;

	if (!socket)
		return OUTCOME_NONE;
	monitor = monitor_open(bearer, socket, ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
	if (monitor && zmq_connect(socket, address) == 0)
		outcome = wait_for(bearer, monitor);
	monitor_close(socket, monitor);
	(void)zmq_close(socket);
	return outcome;
}

static enum cpd_error knock_twice(struct bearer_zmq *bearer, const char *address, char problem[256])
{
	uint8_t refused_secret[32], admitted_secret[32];
	enum outcome refused = OUTCOME_NONE, admitted = OUTCOME_NONE;

	if (new_key(bearer->test_refused, refused_secret) && new_key(bearer->test_admitted, admitted_secret)) {
		bearer->is_testing = true;
		refused = knock(bearer, address, bearer->test_refused, refused_secret);
		admitted = knock(bearer, address, bearer->test_admitted, admitted_secret);
		bearer->is_testing = false;
	}
	crypto_wipe(refused_secret, sizeof(refused_secret));
	crypto_wipe(admitted_secret, sizeof(admitted_secret));
	if (refused == OUTCOME_REFUSED && admitted == OUTCOME_ADMITTED)
		return CPD_OK;
	snprintf(problem, 256, "the self-test of authentication failed: a key that is not wanted was %s, one that is wanted was %s; "
	    "cpd does not listen without it: check the installed libzmq (4.3.4 or newer)",
	    refused == OUTCOME_REFUSED ? "refused" : refused == OUTCOME_ADMITTED ? "ADMITTED" : "not answered",
	    admitted == OUTCOME_ADMITTED ? "admitted" : admitted == OUTCOME_REFUSED ? "REFUSED" : "not answered");
	return CPD_ERR_STATE;
}

enum cpd_error bearer_selftest(struct bearer_zmq *bearer, char problem[256])
{
	uint8_t name[8];
	char address[64];
	enum cpd_error error;

	crypto_random(name, sizeof(name));
	snprintf(address, sizeof(address), "ipc://@cpd-%02x%02x%02x%02x%02x%02x%02x%02x", name[0], name[1], name[2], name[3],
	    name[4], name[5], name[6], name[7]);
	if (zmq_bind(bearer->router.socket, address) != 0) {
		snprintf(problem, 256, "the self-test of authentication cannot start: %s; allow AF_UNIX sockets", zmq_strerror(zmq_errno()));
		return CPD_ERR_IO;
	}
	error = knock_twice(bearer, address, problem);
	(void)zmq_unbind(bearer->router.socket, address);
	return error;
}
