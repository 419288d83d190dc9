/*
 * clock.c: what this node believes of the time, held against its neighbours and the region's authority. Only
 * tells: nothing in cpd depends on a right clock, and ages are counted by another one that nobody sets.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cpctl/client.h"
#include "daemon/cpctl/clock.h"
#include "daemon/cpctl/output.h"

/* A hello may take seconds on a radio line. */
#define NEAR_S 30

static bool is_trusted(const char *quality)
{
	return !strcmp(quality, "ntp") || !strcmp(quality, "gnss");
}

enum clock_verdict clock_judge(const json_t *clock, char *why, size_t size, const char **cure)
{
	const json_t *authority = json_object_get(clock, "authority_time"), *now = json_object_get(clock, "time");
	bool own_is_trusted = is_trusted(json_text(clock, "quality"));
	size_t index;
	json_t *row;

	*cure = "sudo timedatectl set-time 'YYYY-MM-DD HH:MM:SS' by a watch or the radio; better: let chrony follow a GNSS receiver or NTP";
	if (!json_is_string(now)) {
		snprintf(why, size, "this clock stands before 2026");
		return CLOCK_WRONG;
	}
	/* RFC 3339 in UTC: the order of the text is the order of the times. */
	if (json_is_string(authority) && strcmp(json_string_value(now), json_string_value(authority)) < 0) {
		snprintf(why, size, "this clock stands before the region's last word, which was signed at %s", json_string_value(authority));
		return CLOCK_WRONG;
	}
	json_array_foreach(json_object_get(clock, "neighbours"), index, row) {
		int64_t offset_s = json_number(row, "offset_s");

		if (llabs((long long)offset_s) <= NEAR_S || !is_trusted(json_text(row, "quality")))
			continue;
		snprintf(why, size, "node %lld, which knows the time by %s, is %lld s %s", (long long)json_number(row, "neighbour"), json_text(row, "quality"),
		    llabs((long long)offset_s), offset_s > 0 ? "ahead: this clock is slow" : "behind: this clock is fast");
		return own_is_trusted ? CLOCK_DOUBTED : CLOCK_WRONG;
	}
	if (own_is_trusted) {
		snprintf(why, size, "%s", json_text(clock, "quality"));
		return CLOCK_GOOD;
	}
	snprintf(why, size, "%s: nobody vouches for this clock", json_text(clock, "quality"));
	*cure = "look at it beside a watch; chrony with a GNSS receiver or NTP makes it sure. Messages go on meanwhile";
	return CLOCK_DOUBTED;
}

static void print_clock(const json_t *clock)
{
	char why[200], name[120], told[AGE_MAX];
	const char *cure, *authority = json_text(clock, "authority_time");
	enum clock_verdict verdict = clock_judge(clock, why, sizeof(why), &cure);
	size_t index;
	json_t *row;

	printf("Time here    %s\nQuality      %s ([clock] quality = %s)\nAuthority    %s\n", *json_text(clock, "time") ? json_text(clock, "time") : "before 2026",
	    json_text(clock, "quality"), json_text(clock, "setting"), *authority ? authority : "has signed nothing yet");
	json_array_foreach(json_object_get(clock, "neighbours"), index, row) {
		int64_t offset_s = json_number(row, "offset_s");

		printf("%-12lld %s  %s%lld s%s (%s), told %s ago\n", (long long)json_number(row, "neighbour"), text_fit(json_text(row, "name"), 20, name, sizeof(name)),
		    offset_s > 0 ? "+" : "", (long long)offset_s, llabs((long long)offset_s) <= NEAR_S ? "" : offset_s > 0 ? " ahead of us" : " behind us",
		    json_text(row, "quality"), age_json(json_object_get(row, "told_s"), told));
	}
	if (!json_array_size(json_object_get(clock, "neighbours")))
		puts("No neighbour has told its time yet.");
	if (verdict == CLOCK_GOOD)
		printf("\n%sGood.%s\n", colour(COLOUR_GOOD), colour(COLOUR_NONE));
	else {
		printf("\n%s%s:%s ", colour(verdict == CLOCK_WRONG ? COLOUR_BAD : COLOUR_WARNING), verdict == CLOCK_WRONG ? "Wrong" : "Not sure", colour(COLOUR_NONE));
		printf("\n");
		text_wrap(why, 2);
		text_wrap(cure, 2);
	}
	puts("Ages and retries are counted by a clock of cpd's own, which goes on when this\none is set.");
}

int verb_clock(struct call *call)
{
	json_t *self;
	int status = client_get(call, "/v1/self", &self);

	if (status != EXIT_DONE)
		return status;
	if (call->json)
		print_json(json_object_get(self, "clock"));
	else
		print_clock(json_object_get(self, "clock"));
	json_decref(self);
	return EXIT_DONE;
}
