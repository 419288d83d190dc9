/* show.c: one message, whole. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/cpctl/client.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/path.h"
#include "proto/types.h"

#define LABEL_WIDTH 18

static bool is_moment(const char *name)
{
	size_t len = strlen(name);

	return len > 3 && !strcmp(name + len - 3, "_ms");
}

/* Field names of bodies are known words; a longer one pushes its value on. */
static void print_label(size_t indent, const char *name)
{
	int len = (int)strlen(name) - (is_moment(name) ? 3 : 0), width = LABEL_WIDTH - (int)indent;

	printf("%*s%.*s%*s", (int)indent, "", len, name, len < width ? width - len + 1 : 1, "");
}

/* "alerted_ms": 1234 as a time of day, in UTC. */
static bool print_moment(const char *name, const json_t *value)
{
	time_t seconds;
	struct tm parts;
	char text[40];

	if (!is_moment(name) || !json_is_integer(value))
		return false;
	seconds = (time_t)(json_integer_value(value) / 1000 + CPD_TIME_ZERO_S);
	if (!gmtime_r(&seconds, &parts) || !strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &parts))
		return false;
	puts(text);
	return true;
}

/* The services of a call are bits. */
static bool print_services(const char *name, const json_t *value)
{
	static const char *const services[] = { "police", "fire", "ambulance" };
	json_int_t bits = json_integer_value(value);
	bool is_first = true;

	if (strcmp(name, "services") || bits < 1 || bits > 7)
		return false;
	for (int i = 0; i < 3; i++)
		if (bits >> i & 1) {
			printf("%s%s", is_first ? "" : ", ", services[i]);
			is_first = false;
		}
	putchar('\n');
	return true;
}

static void print_body(const json_t *body, size_t indent);

static void print_value(const char *name, const json_t *value, size_t indent)
{
	char text[400];
	size_t index;
	json_t *one;

	if (json_is_array(value)) {
		json_array_foreach((json_t *)(uintptr_t)value, index, one)
			print_value(name, one, indent);
		return;
	}
	if (json_is_object(value)) {
		printf("%*s%s\n", (int)indent, "", name);
		print_body(value, indent + 2);
		return;
	}
	if (json_is_string(value) && (strlen(json_string_value(value)) > 60 || strchr(json_string_value(value), '\n'))) {
		printf("%*s%s\n", (int)indent, "", name);
		text_wrap(json_string_value(value), indent + 2);
		return;
	}
	print_label(indent, name);
	if (json_is_string(value)) {
		printf("%s\n", text_fit(json_string_value(value), 0, text, sizeof(text)));
	} else if (json_is_boolean(value)) {
		puts(json_is_true(value) ? "yes" : "no");
	} else if (!print_moment(name, value) && !print_services(name, value)) {
		printf("%lld\n", (long long)json_integer_value(value));
	}
}

static void print_body(const json_t *body, size_t indent)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)body, name, value)
		print_value(name, value, indent);
}

static void print_destinations(const json_t *destinations)
{
	size_t index;
	json_t *one;
	char name[200];

	print_label(0, "to");
	json_array_foreach(json_object_get(destinations, "nodes"), index, one)
		printf("%s%lld", index ? ", " : "", (long long)json_integer_value(one));
	json_array_foreach(json_object_get(destinations, "groups"), index, one)
		printf("%sgroup %s (version %lld)", index || json_array_size(json_object_get(destinations, "nodes")) ? ", " : "",
		    text_fit(json_text(one, "name"), 0, name, sizeof(name)), (long long)json_number(one, "version"));
	putchar('\n');
}

static void print_reference(const char *label, const json_t *message, const char *name)
{
	if (!*json_text(message, name))
		return;
	print_label(0, label);
	puts(json_text(message, name));
}

static void print_head(const json_t *message)
{
	const char *dutch = json_text(message, "dutch"), *author = json_text(message, "author"), *mode = json_text(message, "mode"), *level = json_text(message, "level");
	char name[200], function[100], age[AGE_MAX], when[AGE_MAX];

	printf("%s%s%s  %s, %s%s%s\n", colour(COLOUR_STRONG), json_text(message, "id"), colour(COLOUR_NONE), *dutch ? dutch : "onbekend bericht",
	    json_text(message, "precedence"), strcmp(mode, "REAL") ? ", " : "", strcmp(mode, "REAL") ? mode : "");
	print_label(0, "from");
	printf("%s (%lld)%s%s\n", text_fit(json_text(message, "origin_name"), 0, name, sizeof(name)), (long long)json_number(message, "origin"),
	    *author ? ", " : "", text_fit(author, 0, function, sizeof(function)));
	if (json_object_get(message, "destinations"))
		print_destinations(json_object_get(message, "destinations"));
	print_label(0, "written");
	printf("%s UTC; here since %s\n", time_text(json_text(message, "created"), when), age_json(json_object_get(message, "received_s"), age));
	print_label(0, "here");
	printf("%s%skept until %s, for %s at most\n", strcmp(level, "NONE") ? level : "", strcmp(level, "NONE") ? "; " : "", json_text(message, "closing_level"),
	    age_json(json_object_get(message, "lifetime_s"), age));
	print_reference("answers", message, "in_reply_to");
	print_reference("replaces", message, "supersedes");
	print_reference("incident", message, "incident");
	if (json_flag(message, "late"))
		puts("Te laat binnengekomen: it came after its time.");
	if (json_flag(message, "suspect"))
		printf("%sSUSPECT (verdacht: na intrekking): its key was revoked, and this lies beyond what the region trusts of it.%s\n", colour(COLOUR_BAD), colour(COLOUR_NONE));
	if (json_flag(message, "superseded"))
		puts("Replaced by a later message.");
}

/* Not opened: that is another verb, which is put down. */
static void print_sealed(const json_t *message)
{
	size_t index;
	json_t *part;

	json_array_foreach(json_object_get(message, "sealed"), index, part) {
		const char *state = json_text(part, "state");

		print_label(0, json_text(part, "audience"));
		if (!strcmp(state, "for-this-node"))
			printf("verzegeld, voor dit punt: `cpctl open %s` shows it\n", json_text(message, "id"));
		else if (!strcmp(state, "old-key"))
			puts("verzegeld, voor een vorige sleutel van dit punt: its sender seals it again");
		else if (!strcmp(state, "erased"))
			puts("verzegeld, en gewist: its time is over, or its key is of another machine");
		else
			puts(!strcmp(state, "for-others") ? "verzegeld, niet voor dit punt" : "verzegeld, en beschadigd: ask its sender");
	}
}

int verb_open(struct call *call)
{
	char path[MESSAGE_PATH_MAX];
	json_t *answer, *part;
	size_t index;
	int status;

	if (!message_path(call, call->words[0], "open", path))
		return EXIT_USAGE;
	answer = json_object();
	part = answer;
	status = client_post(call, path, part, &answer);
	json_decref(part);
	if (status != EXIT_DONE)
		return status;
	if (call->json) {
		print_json(answer);
	} else {
		json_array_foreach(json_object_get(answer, "sealed"), index, part)
			if (json_is_object(json_object_get(part, "fields")))
				print_body(json_object_get(part, "fields"), 0);
		json_array_foreach(json_object_get(answer, "sealed"), index, part)
			if (!json_is_object(json_object_get(part, "fields"))) {
				print_sealed(answer);
				break;
			}
	}
	json_decref(answer);
	return EXIT_DONE;
}

int verb_show(struct call *call)
{
	char path[MESSAGE_PATH_MAX];
	json_t *message;
	int status;

	if (!message_path(call, call->words[0], NULL, path))
		return EXIT_USAGE;
	status = client_get(call, path, &message);
	if (status != EXIT_DONE)
		return status;
	if (call->json) {
		print_json(message);
	} else {
		print_head(message);
		putchar('\n');
		if (json_is_object(json_object_get(message, "body")))
			print_body(json_object_get(message, "body"), 0);
		else
			puts("Its content cannot be shown: onbekend bericht, or not here any more.");
		print_sealed(message);
	}
	json_decref(message);
	return EXIT_DONE;
}
