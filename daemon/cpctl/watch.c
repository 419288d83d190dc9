/*
 * watch.c: what happens, as it happens. A connection that breaks is made again and goes on after the last
 * line that was shown: the daemon repeats what came between.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/cpctl/client.h"
#include "daemon/cpctl/output.h"

#define WAIT_MAX_S 5

struct watching {
	const struct call *call;
	uint32_t left;           /* 0: without end */
	bool is_counted, is_done, was_heard;
	char last[32];
};

static void print_event(const json_t *event, const char *what)
{
	const char *level = json_text(event, "level"), *reason = json_text(event, "reason"), *id = json_text(event, "id");
	char when[AGE_MAX], name[64];

	printf("%-12s  %-18s  %s", time_text(json_text(event, "time"), when), text_fit(what, 0, name, sizeof(name)), *id ? id : "-");
	if (*json_text(event, "precedence") && *id)
		printf("  %s", json_text(event, "precedence"));
	if (json_number(event, "node"))
		printf("  node %lld", (long long)json_number(event, "node"));
	if (json_number(event, "link"))
		printf("  link %lld", (long long)json_number(event, "link"));
	printf("%s%s%s%s\n", *level && strcmp(level, "NONE") ? "  " : "", strcmp(level, "NONE") ? level : "", *reason ? "  " : "", reason);
}

static bool take_event(void *context, const struct stream_event *event)
{
	struct watching *watching = context;
	json_t *json = json_loads(event->data, 0, NULL);

	watching->was_heard = true;
	snprintf(watching->last, sizeof(watching->last), "%s", event->id);
	if (watching->call->json)
		puts(event->data);
	else if (json)
		print_event(json, event->event);
	json_decref(json);
	/* Whoever reads the pipe has gone: there is nobody to watch for. */
	watching->is_done = fflush(stdout) || (watching->is_counted && --watching->left == 0);
	return !watching->is_done;
}

int verb_watch(struct call *call)
{
	struct watching watching = { .call = call, .is_counted = call_has(call, "count") };
	struct timespec pause = { 1, 0 };
	struct answer answer;
	bool was_there = false;

	if (!call_number(call, "count", UINT32_MAX, &watching.left))
		return EXIT_USAGE;
	for (;;) {
		enum outcome outcome;
		int status;

		watching.was_heard = false;
		outcome = client_follow(call, *watching.last ? watching.last : NULL, take_event, &watching, &answer);
		if (watching.is_done) {
			answer_clear(&answer);
			return EXIT_DONE;
		}
		if (!was_there && outcome == OUTCOME_UNREACHABLE)
			return say_unreachable(&answer);
		/* 503 at a later try: too many follow for a moment, or it is starting. */
		if (outcome == OUTCOME_ANSWER && answer.status != 200 && !(was_there && answer.status == 503)) {
			status = say_answer(&answer);
			answer_clear(&answer);
			return status;
		}
		was_there = true;
		answer_clear(&answer);
		if (watching.was_heard)
			pause.tv_sec = 1;
		fprintf(stderr, "cpctl: the connection broke; trying again in %lld s\n", (long long)pause.tv_sec);
		nanosleep(&pause, NULL);
		pause.tv_sec = pause.tv_sec < WAIT_MAX_S ? pause.tv_sec + 1 : WAIT_MAX_S;
	}
}
