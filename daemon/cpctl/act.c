/* act.c: what a person does with a message: read, accept, refuse, done, withdraw; and hold, release. */
#include <stdio.h>
#include <string.h>

#include "daemon/cpctl/client.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/path.h"

/* What is told when no level of the message says it: it was done, by its sender or to the queue. */
static const char *past_of(const char *name)
{
	static const char *const words[][2] = { { "hold", "held" }, { "release", "released" }, { "withdraw", "withdrawn" } };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcmp(words[i][0], name))
			return words[i][1];
	return name;
}

/* A remark longer than this is refused by the daemon with the field; here only the order is made. */
static int act(struct call *call, const char *name, const char *id, const char *remark)
{
	char path[MESSAGE_PATH_MAX];
	json_t *order, *answer;
	int status;

	if (!message_path(call, id, name, path))
		return EXIT_USAGE;
	order = json_object();
	if (remark && json_object_set_new(order, "remark", json_string(remark))) {
		json_decref(order);
		return say_usage(call, "the reason is not UTF-8 text");
	}
	status = client_post(call, path, order, &answer);
	json_decref(order);
	if (status == EXIT_UNREACHABLE)
		fprintf(stderr, "  `cpctl trace %s` tells whether it was done.\n", id);
	if (status != EXIT_DONE)
		return status;
	if (call->json)
		print_json(answer);
	else
		printf("%s %s\n", json_text(answer, "id"), *json_text(answer, "level") && strcmp(json_text(answer, "level"), "NONE") ? json_text(answer, "level") : past_of(name));
	if (!strcmp(name, "withdraw"))
		fprintf(stderr, "  Who has it already keeps it and is not told: `cpctl trace %s` shows who.\n", id);
	json_decref(answer);
	return EXIT_DONE;
}

int verb_act(struct call *call)
{
	return act(call, call->verb->name, call->words[0], call_option(call, "reason"));
}

/* "queue hold", "queue release", "queue withdraw" */
int verb_queue_act(struct call *call)
{
	return act(call, strchr(call->verb->name, ' ') + 1, call->words[0], call_option(call, "reason"));
}
