/* inbox.c: what came in and what was written here, a line or two for each. */
#include <stdio.h>
#include <string.h>

#include "daemon/cpctl/client.h"
#include "daemon/cpctl/output.h"

#define PAGE 500             /* what the daemon gives at a time at the most */
#define LIMIT_DEFAULT 100

/* Adds the pages from the beginning to `list` until `limit` stand there. `next` is a counter or an id. */
static int read_pages(const struct call *call, const char *path, uint32_t limit, json_t *list)
{
	char after[64] = "";

	while (json_array_size(list) < limit) {
		size_t left = limit - json_array_size(list);
		char url[200];
		json_t *page;
		const json_t *next;
		int status;

		snprintf(url, sizeof(url), "%s%slimit=%zu%s%s", path, strchr(path, '?') ? "&" : "?", left < PAGE ? left : PAGE, *after ? "&after=" : "", after);
		status = client_get(call, url, &page);
		if (status != EXIT_DONE)
			return status;
		json_array_extend(list, json_object_get(page, "messages"));
		next = json_object_get(page, "next");
		if (json_is_integer(next))
			snprintf(after, sizeof(after), "%lld", (long long)json_integer_value(next));
		else
			snprintf(after, sizeof(after), "%.60s", json_is_string(next) ? json_string_value(next) : "");
		json_decref(page);
		if (!*after)
			break;
	}
	return EXIT_DONE;
}

static enum colour precedence_colour(const char *precedence)
{
	return !strcmp(precedence, "FLASH") ? COLOUR_BAD : !strcmp(precedence, "IMMEDIATE") ? COLOUR_WARNING : COLOUR_NONE;
}

static void print_marks(const json_t *message)
{
	if (json_flag(message, "late"))
		printf("  te laat binnengekomen");
	if (json_flag(message, "suspect"))
		printf("  %sSUSPECT (verdacht: na intrekking)%s", colour(COLOUR_BAD), colour(COLOUR_NONE));
	if (json_flag(message, "superseded"))
		printf("  replaced");
	if (strcmp(json_text(message, "mode"), "REAL") && *json_text(message, "mode"))
		printf("  %s", json_text(message, "mode"));
}

static void print_head(const json_t *message)
{
	const char *precedence = json_text(message, "precedence"), *dutch = json_text(message, "dutch");
	char age[AGE_MAX];

	printf("%-18s %s%-9s%s %-16s %s ago", json_text(message, "id"), colour(precedence_colour(precedence)), precedence, colour(COLOUR_NONE),
	    *dutch ? dutch : "onbekend bericht", age_json(json_object_get(message, "received_s"), age));
}

static void print_line(const json_t *message)
{
	char line[400];

	if (*json_text(message, "line"))
		printf("    %s\n", text_cut(json_text(message, "line"), 74, line, sizeof(line)));
}

static void print_inbox(const json_t *messages)
{
	size_t index;
	json_t *message;

	json_array_foreach((json_t *)(uintptr_t)messages, index, message) {
		const char *level = json_text(message, "level"), *author = json_text(message, "author");
		bool is_new = !strcmp(level, "DELIVERED") || !strcmp(level, "NONE");
		char name[160], function[100];

		printf("%s%s%s ", is_new ? colour(COLOUR_STRONG) : "", is_new ? "*" : " ", is_new ? colour(COLOUR_NONE) : "");
		print_head(message);
		print_marks(message);
		printf("\n    from %s%s%s%s%s\n", text_fit(*json_text(message, "origin_name") ? json_text(message, "origin_name") : json_text(message, "id"), 0, name, sizeof(name)),
		    *author ? ", " : "", text_fit(author, 0, function, sizeof(function)), is_new ? "" : "; ", is_new ? "" : level);
		print_line(message);
	}
	if (!json_array_size(messages))
		puts("Nothing here.");
}

static void print_outbox(const json_t *messages)
{
	size_t index;
	json_t *message;

	json_array_foreach((json_t *)(uintptr_t)messages, index, message) {
		const json_t *recipients = json_object_get(message, "recipients");

		printf("  ");
		print_head(message);
		print_marks(message);
		printf("\n    delivered to %lld of %lld, %s\n", (long long)json_number(recipients, "delivered"), (long long)json_number(recipients, "total"),
		    json_flag(message, "closed") ? "closed" : "still followed");
		print_line(message);
	}
	if (!json_array_size(messages))
		puts("Nothing was written here yet.");
}

static int list(struct call *call, const char *path, void (*print)(const json_t *messages))
{
	uint32_t limit = LIMIT_DEFAULT;
	json_t *messages;
	int status;

	if (!call_number(call, "limit", 1000000, &limit))
		return EXIT_USAGE;
	messages = json_array();
	status = read_pages(call, path, limit, messages);
	if (status == EXIT_DONE && call->json)
		print_json(messages);
	else if (status == EXIT_DONE)
		print(messages);
	json_decref(messages);
	return status;
}

int verb_inbox(struct call *call)
{
	return list(call, call_has(call, "unread") ? "/v1/inbox?unread=1" : "/v1/inbox", print_inbox);
}

int verb_outbox(struct call *call)
{
	return list(call, "/v1/outbox", print_outbox);
}
