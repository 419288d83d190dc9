/*
 * machine.c: what this machine itself can do, so that the figures of cpd are ratios: Ed25519 verifications on one
 * and on all cores, LMDB's synced commits with the rows of one message, ZeroMQ with CURVE acknowledged.
 *
 *   machine verify SECONDS | machine commit SECONDS FOLDER | machine curve SECONDS
 *
 * Prints one line of JSON.
 */
#include <lmdb.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include "test/bench/people.h"

#define MESSAGE_BYTES 233        /* a noodhulpmelding, signature included */
#define GROUP 256                /* messages of one commit, as in a full turn */
#define WINDOW 240               /* messages under way without an acknowledgement, as on a link */

/* ---------------------------------------------------------------- Ed25519 */

struct verifier { pthread_t thread; int64_t end_us; uint64_t count; };

static void *verify_main(void *context)
{
	struct verifier *verifier = context;
	uint8_t public_key[32], secret[64], signature[64], message[MESSAGE_BYTES];

	crypto_sign_keypair(public_key, secret);
	crypto_random(message, sizeof(message));
	crypto_sign_detached(signature, NULL, message, sizeof(message), secret);
	while (people_us() < verifier->end_us) {
		if (crypto_sign_verify_detached(signature, message, sizeof(message), public_key))
			people_fail("a good signature was refused");
		verifier->count++;
	}
	return NULL;
}

static double verify_rate(unsigned threads, double seconds)
{
	struct verifier verifiers[64] = { { 0 } };
	int64_t begin_us = people_us();
	uint64_t count = 0;

	for (unsigned i = 0; i < threads; i++) {
		verifiers[i].end_us = begin_us + (int64_t)(seconds * 1e6);
		if (pthread_create(&verifiers[i].thread, NULL, verify_main, &verifiers[i]))
			people_fail("no thread");
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(verifiers[i].thread, NULL);
		count += verifiers[i].count;
	}
	return (double)count * 1e6 / (double)(people_us() - begin_us);
}

/* Processor time of one, which a busy machine does not change as it does the rate. */
static double verify_cpu_us(void)
{
	struct timespec before, after;
	struct verifier verifier = { .end_us = people_us() + 100000 };

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
	verify_main(&verifier);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
	return ((double)(after.tv_sec - before.tv_sec) * 1e6 + (double)(after.tv_nsec - before.tv_nsec) / 1e3) / (double)verifier.count;
}

static void verify(double seconds)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	cores = cores < 1 ? 1 : cores > 64 ? 64 : cores;
	printf("{\"cores\": %ld, \"cpu_us\": %.1f, \"one_core\": %.0f, ", cores, verify_cpu_us(), verify_rate(1, seconds));
	printf("\"all_cores\": %.0f}\n", verify_rate((unsigned)cores, seconds));
}

/* ---------------------------------------------------------------- LMDB */

static void check(int rc, const char *what)
{
	if (rc)
		people_fail("%s: %s", what, mdb_strerror(rc));
}

/* The rows a relay writes for one message: envelope, custody, queue, journal; key and value as long as cpd's. */
static void put_message(MDB_txn *txn, const MDB_dbi tables[4], uint64_t number)
{
	static const size_t keys[4] = { 16, 16, 13, 8 }, values[4] = { 240, 120, 42, 60 };
	uint8_t key[16] = { 0 }, value[256] = { 0 };

	for (int i = 0; i < 4; i++) {
		MDB_val k = { keys[i], key }, v = { values[i], value };

		for (size_t b = 0; b < 8; b++)
			key[keys[i] - 1 - b] = (uint8_t)(number >> (8 * b));
		memcpy(value, &number, sizeof(number));
		check(mdb_put(txn, tables[i], &k, &v, 0), "mdb_put");
	}
}

static double commit_rate(MDB_env *env, const MDB_dbi tables[4], unsigned group, double seconds, uint64_t *number)
{
	int64_t begin_us = people_us(), end_us = begin_us + (int64_t)(seconds * 1e6);
	uint64_t commits = 0;
	MDB_txn *txn;

	while (people_us() < end_us) {
		check(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
		for (unsigned i = 0; i < group; i++)
			put_message(txn, tables, ++*number);
		check(mdb_txn_commit(txn), "mdb_txn_commit");
		commits++;
	}
	return (double)commits * 1e6 / (double)(people_us() - begin_us);
}

static void commit(double seconds, const char *folder)
{
	static const char *names[4] = { "envelopes", "custody", "queue", "journal" };
	MDB_env *env;
	MDB_dbi tables[4];
	MDB_txn *txn;
	uint64_t number = 0;
	double one, grouped;

	check(mdb_env_create(&env), "mdb_env_create");
	check(mdb_env_set_maxdbs(env, 4), "mdb_env_set_maxdbs");
	check(mdb_env_set_mapsize(env, (size_t)2 << 30), "mdb_env_set_mapsize");
	check(mdb_env_open(env, folder, 0, 0600), folder);
	check(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
	for (int i = 0; i < 4; i++)
		check(mdb_dbi_open(txn, names[i], MDB_CREATE, &tables[i]), "mdb_dbi_open");
	check(mdb_txn_commit(txn), "mdb_txn_commit");
	one = commit_rate(env, tables, 1, seconds, &number);
	grouped = commit_rate(env, tables, GROUP, seconds, &number);
	printf("{\"commits_of_one\": %.0f, \"messages_in_groups\": %.0f, \"group\": %d}\n", one, grouped * GROUP, GROUP);
	mdb_env_close(env);
}

/* ---------------------------------------------------------------- ZeroMQ with CURVE */

static void *echo_main(void *context)
{
	void *socket = context;
	uint8_t id[256], frame[1024];

	for (;;) {
		int id_len = zmq_recv(socket, id, sizeof(id), 0);

		if (id_len < 0 || zmq_recv(socket, frame, sizeof(frame), 0) < 0)
			break;
		zmq_send(socket, id, (size_t)id_len, ZMQ_SNDMORE);
		zmq_send(socket, frame, 12, 0);
	}
	zmq_close(socket);
	return NULL;
}

static double echo_rate(void *socket, unsigned window, double seconds)
{
	int64_t begin_us = people_us(), end_us = begin_us + (int64_t)(seconds * 1e6);
	uint8_t frame[MESSAGE_BYTES] = { 0 };
	uint64_t sent = 0, answered = 0;

	while (answered == 0 || people_us() < end_us) {
		while (sent - answered < window && zmq_send(socket, frame, sizeof(frame), 0) >= 0)
			sent++;
		if (zmq_recv(socket, frame, sizeof(frame), 0) < 0)
			people_fail("no answer: %s", zmq_strerror(zmq_errno()));
		answered++;
	}
	for (uint64_t rest = sent - answered; rest > 0; rest--)
		zmq_recv(socket, frame, sizeof(frame), 0);
	return (double)sent * 1e6 / (double)(people_us() - begin_us);
}

static void set_int(void *socket, int option, int value)
{
	zmq_setsockopt(socket, option, &value, sizeof(value));
}

static void curve(double seconds)
{
	void *zmq = zmq_ctx_new(), *server = zmq_socket(zmq, ZMQ_ROUTER), *socket = zmq_socket(zmq, ZMQ_DEALER);
	char public_key[41], secret_key[41], server_public[41], server_secret[41], endpoint[128];
	size_t len = sizeof(endpoint);
	pthread_t thread;
	double one, many;

	zmq_curve_keypair(server_public, server_secret);
	zmq_curve_keypair(public_key, secret_key);
	set_int(server, ZMQ_CURVE_SERVER, 1);
	set_int(server, ZMQ_LINGER, 0);
	zmq_setsockopt(server, ZMQ_CURVE_SECRETKEY, server_secret, 41);
	if (zmq_bind(server, "tcp://127.0.0.1:*") || zmq_getsockopt(server, ZMQ_LAST_ENDPOINT, endpoint, &len) ||
	    pthread_create(&thread, NULL, echo_main, server))
		people_fail("ZeroMQ: %s", zmq_strerror(zmq_errno()));
	set_int(socket, ZMQ_LINGER, 0);
	set_int(socket, ZMQ_RCVTIMEO, 10000);
	zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_public, 41);
	zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, public_key, 41);
	zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret_key, 41);
	zmq_connect(socket, endpoint);
	one = echo_rate(socket, 1, seconds);
	many = echo_rate(socket, WINDOW, seconds);
	printf("{\"one_at_a_time\": %.0f, \"window\": %.0f}\n", one, many);
	zmq_close(socket);
	zmq_ctx_shutdown(zmq);
	pthread_join(thread, NULL);
	zmq_ctx_term(zmq);
}

int main(int argc, char **argv)
{
	double seconds = argc > 2 ? strtod(argv[2], NULL) : 0;

	if (crypto_start())
		people_fail("libsodium cannot start");
	if (seconds > 0 && !strcmp(argv[1], "verify") && argc == 3)
		verify(seconds);
	else if (seconds > 0 && !strcmp(argv[1], "commit") && argc == 4)
		commit(seconds, argv[3]);
	else if (seconds > 0 && !strcmp(argv[1], "curve") && argc == 3)
		curve(seconds);
	else
		people_fail("machine verify SECONDS | machine commit SECONDS FOLDER | machine curve SECONDS");
	return 0;
}
