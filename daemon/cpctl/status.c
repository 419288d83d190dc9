/* status.c: this node at a glance: what works, what waits, who is silent. */
#include <stdio.h>
#include <string.h>

#include "daemon/cpctl/client.h"
#include "daemon/cpctl/output.h"

/* An NSP tells its presence every minute; three missed is silence. */
#define SILENT_S 180

static const char *const precedences[] = { "FLASH", "IMMEDIATE", "PRIORITY", "ROUTINE" };

/* A revocation may stand in an update that is missing, so its number is told. */
static void print_directory(const json_t *directory)
{
	const json_t *missing = json_object_get(directory, "missing");
	size_t index;
	json_t *number;

	printf("  directory  version %lld", (long long)json_number(directory, "version"));
	if (json_array_size(missing)) {
		printf("%s; MISSING:", colour(COLOUR_BAD));
		json_array_foreach((json_t *)(uintptr_t)missing, index, number)
			printf(" %lld", (long long)json_integer_value(number));
		printf("; cpctl directory import FILE%s", colour(COLOUR_NONE));
	}
	putchar('\n');
}

/* "refused here now: ROUTINE, PRIORITY"; nothing when none is. */
static void print_room(const char *what, enum colour in, const json_t *list)
{
	const json_t *precedence;
	size_t index;

	if (!json_array_size(list))
		return;
	printf("%s             %s", colour(in), what);
	json_array_foreach((json_t *)(uintptr_t)list, index, precedence)
		printf("%s%s", index ? ", " : "", json_string_value(precedence));
	printf("%s\n", colour(COLOUR_NONE));
}

static void print_node(const json_t *status)
{
	const json_t *node = json_object_get(status, "node"), *clock = json_object_get(status, "clock");
	const json_t *store = json_object_get(status, "store"), *inbox = json_object_get(status, "inbox");
	double used = (double)json_number(store, "used_bytes"), limit = (double)json_number(store, "limit_bytes");
	double percent = limit > 0 ? 100 * used / limit : 0;
	const char *quality = json_text(clock, "quality");
	bool is_trusted = !strcmp(quality, "ntp") || !strcmp(quality, "gnss");
	char name[160], when[AGE_MAX];

	printf("%sNode %lld %s%s (%s, %s), epoch %lld, cpd %s\n", colour(COLOUR_STRONG), (long long)json_number(node, "number"),
	    text_fit(json_text(node, "name"), 0, name, sizeof(name)), colour(COLOUR_NONE), json_text(node, "role"), json_text(node, "region"),
	    (long long)json_number(node, "epoch"), json_text(node, "version"));
	if (json_is_object(json_object_get(status, "fenced")))
		printf("%s  FENCED     another copy of this node is in use: this one has stopped, and keeps what it holds.\n"
		    "             cpctl queue shows what had not left. If this machine is to be the node: switch the other off, stop cpd,\n"
		    "             cpctl node claim STATEDIR, start cpd.%s\n", colour(COLOUR_BAD), colour(COLOUR_NONE));
	printf("  clock      %s UTC, %s%s%s\n", time_text(json_text(clock, "time"), when), is_trusted ? "" : colour(COLOUR_WARNING),
	    is_trusted ? quality : "not sure: set it, or wait for GNSS or NTP", is_trusted ? "" : colour(COLOUR_NONE));
	printf("  store      %.1f of %.0f MiB (%s%.0f %%%s), %lld messages\n", used / 1048576, limit / 1048576, percent < 60 ? "" : colour(COLOUR_WARNING),
	    percent, percent < 60 ? "" : colour(COLOUR_NONE), (long long)json_number(store, "messages"));
	print_room("refused here now: ", COLOUR_BAD, json_object_get(store, "refuses"));
	print_room("soon refused here: ", COLOUR_WARNING, json_object_get(store, "filling"));
	printf("  inbox      %lld messages, %lld unread\n", (long long)json_number(inbox, "total"), (long long)json_number(inbox, "unread"));
	print_directory(json_object_get(status, "directory"));
}

/* "waiting: FLASH 1 (oldest 20 s), ROUTINE 12 (oldest 3 min)", nothing when nothing waits. */
static bool print_queue(const char *before, const json_t *queue)
{
	bool is_first = true;

	for (size_t i = 0; i < sizeof(precedences) / sizeof(precedences[0]); i++) {
		const json_t *row = json_object_get(queue, precedences[i]);
		int64_t depth = json_number(row, "depth");
		char age[AGE_MAX];

		if (!depth)
			continue;
		printf("%s%s%s %lld%s (oldest %s)", is_first ? before : ", ", i ? "" : colour(COLOUR_BAD), precedences[i], (long long)depth,
		    i ? "" : colour(COLOUR_NONE), age_json(json_object_get(row, "oldest_s"), age));
		is_first = false;
	}
	if (!is_first)
		putchar('\n');
	return !is_first;
}

static void print_link(const json_t *link)
{
	bool is_up = json_flag(link, "up");
	char name[120], since[AGE_MAX], heard[AGE_MAX], problem[200];

	printf("%10lld  %s  %-7s  %-5s %s%s for %s%s", (long long)json_number(link, "neighbour"), text_fit(json_text(link, "name"), 22, name, sizeof(name)),
	    json_text(link, "role"), json_text(link, "bearer"), colour(is_up ? COLOUR_GOOD : COLOUR_BAD), is_up ? "up" : "DOWN",
	    age_json(json_object_get(link, "since_s"), since), colour(COLOUR_NONE));
	putchar('\n');
	if (!is_up)
		printf("            heard: %s%s\n", age_json(json_object_get(link, "heard_s"), heard), json_is_integer(json_object_get(link, "heard_s")) ? " ago" : "");
	print_queue("            waiting: ", json_object_get(link, "queue"));
	if (json_is_object(json_object_get(link, "stalled")))
		printf("            %sSTANDS STILL for %s: it answers, and acknowledges nothing. cpctl doctor%s\n", colour(COLOUR_BAD),
		    age_json(json_object_get(json_object_get(link, "stalled"), "since_s"), since), colour(COLOUR_NONE));
	if (*json_text(link, "problem"))
		printf("            %s%s%s\n", colour(COLOUR_WARNING), text_cut(json_text(link, "problem"), 68, problem, sizeof(problem)), colour(COLOUR_NONE));
}

static void print_nsp(const json_t *nsp)
{
	const json_t *heard_s = json_object_get(nsp, "heard_s"), *persons = json_object_get(nsp, "persons"), *autonomy = json_object_get(nsp, "autonomy_min");
	bool is_never = !json_is_integer(heard_s), is_silent = is_never || json_integer_value(heard_s) > SILENT_S;
	char name[120], phase[80], word[AGE_MAX], heard[AGE_MAX], people[24] = "-", power[24] = "-";

	if (json_is_integer(persons))
		snprintf(people, sizeof(people), "%lld", (long long)json_integer_value(persons));
	if (json_is_integer(autonomy) && json_integer_value(autonomy) < 60)
		snprintf(power, sizeof(power), "%lld min", (long long)json_integer_value(autonomy));
	else if (json_is_integer(autonomy))
		snprintf(power, sizeof(power), "%lld h", (long long)json_integer_value(autonomy) / 60);
	printf("%s%s%7lld %s %s %-11s %6s %6s %s%s\n", is_silent ? colour(COLOUR_BAD) : "", is_silent ? "!" : " ",
	    (long long)json_number(nsp, "number"), text_fit(json_text(nsp, "name"), 18, name, sizeof(name)),
	    text_fit(phase_dutch(json_text(nsp, "phase")), 15, phase, sizeof(phase)),
	    age_json(json_object_get(nsp, "status_age_s"), word), people, power, is_never ? "NEVER" : age_json(heard_s, heard),
	    is_silent ? colour(COLOUR_NONE) : "");
}

/* Presence and states go to coördinatiepunten and desks: a noodsteunpunt that has heard nothing of another
 * has no news of it. And no node calls itself. */
static json_t *known_nsps(const json_t *status)
{
	const json_t *node = json_object_get(status, "node");
	bool is_nsp = !strcmp(json_text(node, "role"), "nsp");
	json_t *nsp, *known = json_array();
	size_t index;

	json_array_foreach(json_object_get(status, "nsps"), index, nsp)
		if (!is_nsp || (json_number(nsp, "number") != json_number(node, "number") &&
		    (json_is_integer(json_object_get(nsp, "heard_s")) || json_is_integer(json_object_get(nsp, "status_age_s")))))
			json_array_append(known, nsp);
	return known;
}

static void print_nsps(const json_t *nsps)
{
	size_t index, silent = 0;
	json_t *nsp;

	if (!json_array_size(nsps))
		return;
	printf("\n%sNoodsteunpunten%s\n%8s %-18s %-15s %-11s %6s %6s %s\n", colour(COLOUR_STRONG), colour(COLOUR_NONE),
	    "NUMBER", "NAME", "PHASE", "STATUS AGE", "PEOPLE", "POWER", "HEARD");
	json_array_foreach((json_t *)(uintptr_t)nsps, index, nsp) {
		const json_t *heard_s = json_object_get(nsp, "heard_s");

		print_nsp(nsp);
		silent += !json_is_integer(heard_s) || json_integer_value(heard_s) > SILENT_S;
	}
	if (silent)
		printf("! %zu of %zu never heard, or silent for more than %d min: call them another way.\n", silent, json_array_size(nsps), SILENT_S / 60);
}

int verb_status(struct call *call)
{
	json_t *status, *link, *nsps;
	size_t index;
	int exit = client_get(call, "/v1/status", &status);

	if (exit != EXIT_DONE)
		return exit;
	if (call->json) {
		print_json(status);
		json_decref(status);
		return EXIT_DONE;
	}
	print_node(status);
	printf("\n%sLinks%s\n", colour(COLOUR_STRONG), colour(COLOUR_NONE));
	json_array_foreach(json_object_get(status, "links"), index, link)
		print_link(link);
	if (!json_array_size(json_object_get(status, "links")))
		printf("  none yet: [link N] sections in cpd.conf name them, or wait for a call\n");
	print_queue("  no way known for: ", json_object_get(status, "unrouted"));
	nsps = known_nsps(status);
	print_nsps(nsps);
	json_decref(nsps);
	json_decref(status);
	return EXIT_DONE;
}
