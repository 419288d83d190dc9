/*
 * client.h: asks the daemon over its Unix socket. The only user of libcurl. No proxy, no redirect, no
 * other protocol, whatever the environment says; every answer has a bound in bytes and in time.
 * Called by the verbs that need a daemon.
 */
#ifndef CPD_CPCTL_CLIENT_H
#define CPD_CPCTL_CLIENT_H

#include <jansson.h>

#include "daemon/cpctl/cpctl.h"

enum outcome {
	OUTCOME_ANSWER,          /* status and json are there */
	OUTCOME_UNREACHABLE,     /* nothing was asked */
	OUTCOME_BROKEN           /* it was asked, and no whole answer came: it may have been done */
};

struct request {
	const char *method;      /* "GET", "POST" */
	const char *path;        /* "/v1/status" */
	const char *type;        /* Content-Type; NULL: no body */
	const void *body; size_t body_len;
	const char *key;         /* Idempotency-Key; NULL: none */
};

struct answer {
	long status;
	json_t *json;            /* owned; NULL when it was no JSON */
	char problem[320];       /* of OUTCOME_UNREACHABLE and OUTCOME_BROKEN, with the cure */
};

enum outcome client_ask(const struct call *call, const struct request *request, struct answer *answer);
void answer_clear(struct answer *answer);

/* For most verbs: asks once and tells what went wrong. EXIT_DONE: *out is the answer, owned by the caller. */
int client_get(const struct call *call, const char *path, json_t **out);
int client_post(const struct call *call, const char *path, const json_t *body, json_t **out);
/* Tells a 4xx or 5xx on stderr: the field, what is wrong, the remedy. Returns EXIT_REFUSED. */
int say_answer(const struct answer *answer);
int say_unreachable(const struct answer *answer);

/* Live updates. Calls back for each event until it returns false or the connection ends; *had_answer:
 * the daemon took the request. `after` NULL: from now on. */
struct stream_event { const char *id, *event, *data; };
typedef bool stream_take(void *context, const struct stream_event *event);
enum outcome client_follow(const struct call *call, const char *after, stream_take *take, void *context, struct answer *answer);

/* A long answer as it comes, until `take` returns false: bounded by silence, not by size. `about`: how many
 * bytes are expected; 0: not known. With a status of 300 or more `take` is not called. */
typedef bool download_take(void *context, const void *data, size_t len, uint64_t about);
enum outcome client_download(const struct call *call, const char *path, download_take *take, void *context, struct answer *answer);

#endif
