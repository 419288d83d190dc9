/* trace.c: where a message is and what became of it, in words. */
#include <stdio.h>
#include <string.h>

#include "daemon/cpctl/client.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/path.h"

static void print_head(const json_t *trace)
{
	const char *level = json_text(trace, "level_here");
	char age[AGE_MAX], line[400];
	size_t used = 0, index;
	json_t *flag;

	printf("%s%s%s  %s %s, %s old; %s\n", colour(COLOUR_STRONG), json_text(trace, "id"), colour(COLOUR_NONE), json_text(trace, "precedence"),
	    json_text(trace, "kind"), age_json(json_object_get(trace, "age_s"), age),
	    json_flag(trace, "closed") ? "closed" : json_flag(trace, "origin_here") ? "still followed here" : "not closed as far as is known here");
	if (json_flag(trace, "origin_here"))
		snprintf(line, sizeof(line), "Written here");
	else if (json_is_integer(json_object_get(trace, "from")))
		snprintf(line, sizeof(line), "Came from node %lld", (long long)json_number(trace, "from"));
	else
		snprintf(line, sizeof(line), "Known here from a receipt");
	printf("%s; its bytes are %s.\n", line, json_flag(trace, "held_here") ? "on this node's disk" : "not here (any more)");
	if (*level && strcmp(level, "NONE"))
		printf("This node signed for: %s\n", level);
	line[0] = '\0';
	json_array_foreach(json_object_get(trace, "flags"), index, flag)
		if (used < sizeof(line) - 40)
			used += (size_t)snprintf(line + used, sizeof(line) - used, "%s%.30s", used ? ", " : "", json_string_value(flag));
	if (used)
		printf("Marks: %s\n", line);
}

static void print_hops(const json_t *hops)
{
	size_t index;
	json_t *hop;

	if (json_array_size(hops))
		puts("\nRoute");
	json_array_foreach((json_t *)(uintptr_t)hops, index, hop) {
		char name[120], received[AGE_MAX], sent[AGE_MAX];

		printf("  %10lld  %s  received %s", (long long)json_number(hop, "node"), text_fit(json_text(hop, "name"), 24, name, sizeof(name)),
		    time_text(json_text(hop, "received"), received));
		printf(*json_text(hop, "sent") ? ", passed on %s\n" : "\n", time_text(json_text(hop, "sent"), sent));
	}
}

static void state_text(const json_t *recipient, bool is_held, char *out, size_t size)
{
	const char *state = json_text(recipient, "state");
	long long via = (long long)json_number(recipient, "via"), retry = (long long)json_number(recipient, "retry");
	char again[40] = "";

	if (retry)
		snprintf(again, sizeof(again), ", sent again %lld time%s", retry, retry == 1 ? "" : "s");
	if (!strcmp(state, "queued") && is_held)
		snprintf(out, size, "held here: `cpctl queue release ID` lets it go to %lld", via);
	else if (!strcmp(state, "queued"))
		snprintf(out, size, "waits for the link to %lld%s", via, again);
	else if (!strcmp(state, "passed"))
		snprintf(out, size, "handed to %lld%s", via, again);
	else if (!strcmp(state, "no-route"))
		snprintf(out, size, "no way known%s", again);
	else if (!strcmp(state, "here"))
		snprintf(out, size, "is this node");
	else if (!strcmp(state, "ended"))
		snprintf(out, size, "no more to be done here%s", again);
	else if (!strcmp(state, "known-from-receipt"))
		snprintf(out, size, "told by a receipt only");
	else
		snprintf(out, size, "%.60s", state);
}

/* What the recipient, or a node on the way, signed for. */
static void level_text(const json_t *recipient, char *out, size_t size)
{
	const char *level = json_text(recipient, "level"), *time = json_text(recipient, "level_time"), *reason = json_text(recipient, "reason");
	char when[AGE_MAX];

	if (!*level || !strcmp(level, "NONE"))
		snprintf(out, size, "nothing heard yet");
	else
		snprintf(out, size, "%.24s%s%s%s%.40s%s", level, *time ? " at " : "", *time ? time_text(time, when) : "", *reason ? " (" : "", reason, *reason ? ")" : "");
}

static void print_recipients(const json_t *trace)
{
	const json_t *recipients = json_object_get(trace, "recipients");
	bool is_held = false;
	size_t index;
	json_t *recipient, *flag;

	json_array_foreach(json_object_get(trace, "flags"), index, flag)
		is_held |= json_is_string(flag) && !strcmp(json_string_value(flag), "held");
	if (json_array_size(recipients))
		printf("\nRecipients; it closes at %s\n", *json_text(trace, "closing_level") ? json_text(trace, "closing_level") : "the level of its kind");
	json_array_foreach((json_t *)(uintptr_t)recipients, index, recipient) {
		char name[160], state[120], level[140];

		state_text(recipient, is_held, state, sizeof(state));
		level_text(recipient, level, sizeof(level));
		printf("  %10lld  %s  %s\n%14s%s\n", (long long)json_number(recipient, "node"), text_fit(json_text(recipient, "name"), 24, name, sizeof(name)),
		    level, "", state);
	}
}

int verb_trace(struct call *call)
{
	char path[MESSAGE_PATH_MAX];
	json_t *trace;
	int status;

	if (!message_path(call, call->words[0], "trace", path))
		return EXIT_USAGE;
	status = client_get(call, path, &trace);
	if (status != EXIT_DONE)
		return status;
	if (call->json) {
		print_json(trace);
	} else {
		print_head(trace);
		print_hops(json_object_get(trace, "hops"));
		print_recipients(trace);
	}
	json_decref(trace);
	return EXIT_DONE;
}
