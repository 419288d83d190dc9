/* doctor.c: what is wrong here, and what to do: each thing a line. Changes nothing but one file that it makes and takes away to try the disk. */
#include "daemon/cpctl/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/cpctl/client.h"
#include "daemon/cpctl/clock.h"
#include "daemon/cpctl/output.h"

#define CONFIG_DEFAULT "/etc/cpd/cpd.conf"
/* The keys are some pages of locked memory. */
#define MEMLOCK_LEAST (256 * 1024)

static const char *const words[] = { "ok", "warn", "fail" };

void doctor_add(struct doctor *doctor, enum finding finding, const char *name, const char *cure, const char *format, ...)
{
	char text[600];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	doctor->count[finding]++;
	json_array_append_new(doctor->list, json_pack("{s:s,s:s,s:s,s:s?}", "name", name, "state", words[finding], "text", text, "cure", *cure ? cure : NULL));
}

/* ---------------------------------------------------------------- what the daemon tells */

static void look_at_certificate(struct doctor *doctor, const json_t *self)
{
	const json_t *certificate = json_object_get(self, "certificate");
	const char *now = json_text(json_object_get(self, "clock"), "time"), *until = json_text(certificate, "not_after");

	if (!json_is_object(certificate))
		doctor_add(doctor, FINDING_FAIL, "certificate", "`cpctl node install STATEDIR KIT` with a fresh kit, and restart cpd", "the directory here has none of this node");
	else if (json_flag(certificate, "revoked"))
		doctor_add(doctor, FINDING_FAIL, "certificate", "call the region: it has revoked this node's key. If that is wrong, it can admit it again", "revoked");
	else if (!json_flag(certificate, "matches"))
		doctor_add(doctor, FINDING_FAIL, "certificate", "ask the region for the kit of these keys, or admit this machine's request with --replace", "it is of other keys than these");
	else if (*until && *now && strcmp(until, now) < 0)
		doctor_add(doctor, FINDING_WARN, "certificate", "ask the region to admit this node again; messages go on meanwhile", "it ran out at %s", until);
	else
		doctor_add(doctor, FINDING_OK, "certificate", "", "of these keys, key %lld%s%s", (long long)json_number(certificate, "key_number"), *until ? ", until " : "", until);
}

static void look_at_process(struct doctor *doctor, const json_t *process)
{
	const json_t *memlock = json_object_get(process, "memlock_bytes"), *core = json_object_get(process, "core_bytes");

	if (json_is_integer(memlock) && json_integer_value(memlock) < MEMLOCK_LEAST)
		doctor_add(doctor, FINDING_WARN, "locked memory", "LimitMEMLOCK=64M in cpd.service", "cpd may lock %lld bytes only: keys could reach the swap", (long long)json_integer_value(memlock));
	if (!json_is_integer(core) || json_integer_value(core))
		doctor_add(doctor, FINDING_WARN, "core files", "restart cpd: it forbids them itself at its start", "a crash could write the keys into a file");
}

static void look_at_claim(struct doctor *doctor, const json_t *status)
{
	if (json_is_object(json_object_get(status, "fenced")))
		doctor_add(doctor, FINDING_FAIL, "fenced", "leave this one off when cpctl queue shows nothing here; else, or if this machine is to be the node: switch the other off, stop cpd, "
		    "cpctl node claim STATEDIR, start cpd", "another copy of this node is in use; this one has stopped");
}

static void look_at_directory(struct doctor *doctor, const json_t *directory)
{
	const json_t *missing = json_object_get(directory, "missing");
	const long long first = json_integer_value(json_array_get(missing, 0));

	if (json_array_size(missing))
		doctor_add(doctor, FINDING_WARN, "directory", "bring it from the region: cpctl directory import FILE (updates/NUMBER.update there)",
		    "%zu missing below those held, the first is %lld", json_array_size(missing), first);
}

static void look_at_store(struct doctor *doctor, const json_t *status, const json_t *self)
{
	const json_t *store = json_object_get(status, "store");
	double used = (double)json_number(store, "used_bytes"), limit = (double)json_number(store, "limit_bytes");
	double percent = limit > 0 ? 100 * used / limit : 0;
	int64_t aside = json_number(self, "quarantine");
	const json_t *refuses = json_object_get(store, "refuses"), *filling = json_object_get(store, "filling");
	const enum finding finding = json_array_size(refuses) ? FINDING_FAIL : json_array_size(filling) ? FINDING_WARN : FINDING_OK;
	/* The lowest are refused first: the highest of these says all. */
	const char *highest = json_string_value(json_array_get(finding == FINDING_FAIL ? refuses : filling, 0));

	doctor_add(doctor, finding, "store", finding ? "space comes back when links are up; or free disk space, or raise [store] limit_mib and restart. The lowest precedence is refused first" : "",
	    "%.1f of %.0f MiB used (%.0f %%)%s%s", used / 1048576, limit / 1048576, percent, finding == FINDING_OK ? "" : finding == FINDING_FAIL ?
	    "; no room for what is not above " : "; soon no room for what is not above ", highest ? highest : "");
	if (aside)
		doctor_add(doctor, FINDING_WARN, "damaged records", "look at the disk (smartctl -a, dmesg); then stop cpd and run cpd --check-store --repair",
		    "%lld set aside", (long long)aside);
}

static void look_at_stalls(struct doctor *doctor, const json_t *links)
{
	json_t *link;
	size_t index;

	json_array_foreach((json_t *)(uintptr_t)links, index, link) {
		const json_t *stalled = json_object_get(link, "stalled");
		char since[AGE_MAX];

		if (json_is_object(stalled))
			doctor_add(doctor, FINDING_FAIL, "stands still", "look at the disk and the log of that neighbour, and whether large packets pass (MTU); bring what is urgent another way: "
			    "`cpctl queue` shows it", "%lld answers, and has acknowledged nothing of %s for %s; the link was begun anew %lld times", (long long)json_number(link, "neighbour"),
			    json_text(stalled, "precedence"), age_json(json_object_get(stalled, "since_s"), since), (long long)json_number(stalled, "resets"));
	}
}

static void look_at_links(struct doctor *doctor, const json_t *status)
{
	const json_t *links = json_object_get(status, "links"), *unrouted = json_object_get(status, "unrouted");
	size_t index, up = 0, count = json_array_size(links);
	int64_t stray = 0;
	const char *name;
	json_t *link, *queue;

	/* By hand: it is never up, and is not looked for. */
	json_array_foreach((json_t *)(uintptr_t)links, index, link) {
		up += json_flag(link, "up");
		count -= !strcmp(json_text(link, "bearer"), "courier") && !json_flag(link, "up");
	}
	if (!count)
		doctor_add(doctor, FINDING_WARN, "links", "[link N] sections in the configuration name them, or wait for a call", "none: this node speaks to nobody");
	else
		doctor_add(doctor, up == count ? FINDING_OK : up ? FINDING_WARN : FINDING_FAIL, "links", up ? "" : "the cure stands with each, below", "%zu of %zu up", up, count);
	json_array_foreach((json_t *)(uintptr_t)links, index, link) {
		char since[AGE_MAX];

		if (json_flag(link, "up") || !strcmp(json_text(link, "bearer"), "courier"))
			continue;
		doctor_add(doctor, FINDING_WARN, "link down", *json_text(link, "address") ? "is the neighbour on, does the cable or antenna stand, is the address right? cpd calls again by itself; nothing is lost" :
		    "this neighbour calls us: look there, and whether [listen] and the firewall let it in; nothing is lost", "%lld, for %s: %s", (long long)json_number(link, "neighbour"),
		    age_json(json_object_get(link, "since_s"), since), *json_text(link, "problem") ? json_text(link, "problem") : "no reason known");
	}
	json_object_foreach((json_t *)(uintptr_t)unrouted, name, queue)
		stray += json_number(queue, "depth");
	if (stray)
		doctor_add(doctor, FINDING_WARN, "no way known", "[route] default = N in the configuration; `cpctl queue` shows which", "for %lld that wait", (long long)stray);
}

static void look_at_flash(struct doctor *doctor, const json_t *flash)
{
	int64_t unread = json_number(flash, "unread"), open = json_number(flash, "open");
	char age[AGE_MAX];

	if (open)
		doctor_add(doctor, FINDING_WARN, "FLASH", "read and answer them now: cpctl inbox --unread", "%lld not answered, %lld of them not even read; the oldest is %s old", (long long)open, (long long)unread,
		    age_json(json_object_get(flash, "oldest_s"), age));
	else
		doctor_add(doctor, FINDING_OK, "FLASH", "", "none waits for an answer here");
}

/* A member of GET path, or NULL with the reason as a finding. */
static json_t *ask(struct doctor *doctor, const struct call *call, const char *path)
{
	struct request request = { .method = "GET", .path = path };
	struct answer answer;
	json_t *json = NULL;

	if (client_ask(call, &request, &answer) != OUTCOME_ANSWER)
		doctor_add(doctor, FINDING_FAIL, "daemon", "sudo systemctl start cpd; its last words: journalctl -u cpd -n 20", "%s", answer.problem);
	else if (answer.status != 200 || !answer.json)
		doctor_add(doctor, FINDING_FAIL, "daemon", "call as root or as a member of [api] group; is it the version of this cpctl?", "%s answers %ld", path, answer.status);
	else
		json = json_incref(answer.json);
	answer_clear(&answer);
	return json;
}

static void look_at_daemon(struct doctor *doctor, const json_t *status, const json_t *self)
{
	const json_t *process = json_object_get(self, "process"), *clock = json_object_get(self, "clock");
	char why[200];
	const char *cure;
	enum clock_verdict verdict = clock_judge(clock, why, sizeof(why), &cure);

	doctor_add(doctor, FINDING_OK, "daemon", "", "cpd %s answers, process %lld; directory %lld", json_text(process, "version"), (long long)json_number(process, "pid"),
	    (long long)json_number(json_object_get(status, "directory"), "version"));
	doctor_add(doctor, verdict == CLOCK_WRONG ? FINDING_FAIL : verdict == CLOCK_DOUBTED ? FINDING_WARN : FINDING_OK, "clock", verdict == CLOCK_GOOD ? "" : cure, "%s", why);
	look_at_certificate(doctor, self);
	look_at_directory(doctor, json_object_get(status, "directory"));
	look_at_process(doctor, process);
	look_at_claim(doctor, status);
	look_at_store(doctor, status, self);
	look_at_links(doctor, status);
	look_at_stalls(doctor, json_object_get(status, "links"));
	look_at_flash(doctor, json_object_get(self, "flash"));
}

/* ---------------------------------------------------------------- telling */

static void print_findings(const struct doctor *doctor)
{
	static const enum colour colours[] = { COLOUR_GOOD, COLOUR_WARNING, COLOUR_BAD };
	size_t index;
	json_t *row;

	json_array_foreach(doctor->list, index, row) {
		size_t state = 0;

		while (strcmp(words[state], json_text(row, "state")))
			state++;
		printf("%s%-4s%s  %-15s ", colour(colours[state]), words[state], colour(COLOUR_NONE), json_text(row, "name"));
		if (22 + strlen(json_text(row, "text")) < OUTPUT_WIDTH)
			text_wrap(json_text(row, "text"), 0);
		else {
			putchar('\n');
			text_wrap(json_text(row, "text"), 6);
		}
		if (*json_text(row, "cure"))
			text_wrap(json_text(row, "cure"), 8);
	}
	if (doctor->count[FINDING_FAIL] || doctor->count[FINDING_WARN])
		printf("\n%zu wrong, %zu to look at, %zu good.\n", doctor->count[FINDING_FAIL], doctor->count[FINDING_WARN], doctor->count[FINDING_OK]);
	else
		printf("\nAll %zu good.\n", doctor->count[FINDING_OK]);
}

int verb_doctor(struct call *call)
{
	struct doctor doctor = { .list = json_array(), .conf = call_option(call, "config") };
	json_t *status, *self;
	bool knows_certificate;

	if (!doctor.conf)
		doctor.conf = CONFIG_DEFAULT;
	doctor_config(&doctor, call);
	doctor_machine(&doctor);
	status = ask(&doctor, call, "/v1/status");
	self = status ? ask(&doctor, call, "/v1/self") : NULL;
	if (self && !doctor.has_folders) {
		snprintf(doctor.state, FILE_PATH_MAX, "%s", json_text(json_object_get(self, "folders"), "state"));
		snprintf(doctor.identity, FILE_PATH_MAX, "%s", json_text(json_object_get(self, "folders"), "identity"));
		snprintf(doctor.store, FILE_PATH_MAX, "%s", json_text(json_object_get(self, "folders"), "store"));
		doctor.has_folders = true;
	}
	knows_certificate = self != NULL;
	if (doctor.has_folders) {
		doctor_disk(&doctor);
		doctor_keys(&doctor, !knows_certificate);
	}
	if (self)
		look_at_daemon(&doctor, status, self);
	else if (time(NULL) < 1767225600)
		doctor_add(&doctor, FINDING_FAIL, "clock", "sudo timedatectl set-time 'YYYY-MM-DD HH:MM:SS'", "it stands before 2026");
	if (call->json) {
		json_t *json = json_pack("{s:O,s:I,s:I,s:I}", "checks", doctor.list, "ok", (json_int_t)doctor.count[FINDING_OK],
		    "warn", (json_int_t)doctor.count[FINDING_WARN], "fail", (json_int_t)doctor.count[FINDING_FAIL]);

		print_json(json);
		json_decref(json);
	} else
		print_findings(&doctor);
	json_decref(doctor.list);
	json_decref(status);
	json_decref(self);
	return doctor.count[FINDING_FAIL] ? EXIT_REFUSED : EXIT_DONE;
}
