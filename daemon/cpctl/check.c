/* check.c: proves a store: the daemon that runs on it does so itself; of one that stands still cpd is run, which alone opens stores. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cpctl/client.h"
#include "daemon/cpctl/file.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/program.h"
#include "daemon/cpctl/progress.h"

struct found { json_t *lines; bool json; };

static void take_line(void *context, const char *line)
{
	struct found *found = context;

	json_array_append_new(found->lines, json_string(line));
	if (!found->json)
		puts(line);
}

/* ---- by the daemon: lines of JSON as they come */

struct running { struct found found; struct progress progress; char line[4096]; size_t len; json_t *result; };

static void take_value(struct running *running, const json_t *value)
{
	const json_t *progress = json_object_get(value, "progress"), *finding = json_object_get(value, "finding");

	if (progress)
		progress_show(&running->progress, (uint64_t)json_number(progress, "done"), (uint64_t)json_number(progress, "of"));
	if (finding) {
		progress_end(&running->progress);
		take_line(&running->found, json_text(value, "finding"));
	}
	if (json_object_get(value, "result"))
		running->result = json_incref(json_object_get(value, "result"));
}

static bool take_piece(void *context, const void *data, size_t len, uint64_t about)
{
	struct running *running = context;
	const char *text = data;

	(void)about;
	for (size_t i = 0; i < len; i++) {
		json_t *value;

		if (text[i] != '\n') {
			if (running->len + 1 < sizeof(running->line))
				running->line[running->len++] = text[i];
			continue;
		}
		value = json_loadb(running->line, running->len, 0, NULL);
		running->len = 0;
		take_value(running, value);
		json_decref(value);
	}
	return true;
}

static int tell_result(const struct call *call, const struct running *running)
{
	const json_t *result = running->result;
	bool is_sound = json_flag(result, "sound");

	if (call->json) {
		json_t *json = json_pack("{s:b,s:O}", "sound", (int)is_sound, "lines", running->found.lines);

		print_json(json);
		json_decref(json);
	} else {
		printf("%lld records, %lld damaged, %lld broken rules; cpd went on meanwhile\n", (long long)json_number(result, "records"),
		    (long long)json_number(result, "damaged"), (long long)json_number(result, "broken_rules"));
		if (!is_sound)
			puts("Take a backup, then stop cpd and run cpd --check-store --repair.");
	}
	return is_sound ? EXIT_DONE : EXIT_REFUSED;
}

/* EXIT_UNREACHABLE: no daemon is there; nothing was told. */
static int check_running(struct call *call)
{
	static struct running running;
	struct answer answer;
	enum outcome outcome;
	int status;

	running.found = (struct found){ json_array(), call->json };
	progress_begin(&running.progress, "Checking", false);
	outcome = client_download(call, "/v1/check", take_piece, &running, &answer);
	progress_end(&running.progress);
	if (outcome == OUTCOME_UNREACHABLE)
		status = EXIT_UNREACHABLE;
	else if (outcome == OUTCOME_ANSWER && answer.status >= 300)
		status = say_answer(&answer);
	else if (outcome == OUTCOME_BROKEN || !running.result)
		status = say_refused("the check broke off: see journalctl -u cpd, and try again");
	else
		status = tell_result(call, &running);
	answer_clear(&answer);
	json_decref(running.result);
	json_decref(running.found.lines);
	return status;
}

/* ---- by running cpd */

int verb_check(struct call *call)
{
	const char *state = call->word_count ? call->words[0] : NULL, *config = call_option(call, "config");
	struct found found = { json_array(), call->json };
	const char *words[] = { "--check-store", config ? config : "/etc/cpd/cpd.conf", NULL };
	char path[FILE_PATH_MAX];
	int code = state || config ? EXIT_UNREACHABLE : check_running(call);

	if (code != EXIT_UNREACHABLE) {
		json_decref(found.lines);
		return code;
	}
	if (state && config) {
		json_decref(found.lines);
		return say_usage(call, "give a STATEDIR or --config, not both");
	}
	if (state && !file_path(state, "store", path)) {
		json_decref(found.lines);
		return EXIT_REFUSED;
	}
	if (state)
		words[1] = path;
	code = program_run(words, take_line, &found);
	if (call->json) {
		json_t *json = json_pack("{s:b,s:O}", "sound", code == 0, "lines", found.lines);

		print_json(json);
		json_decref(json);
	}
	json_decref(found.lines);
	return code ? EXIT_REFUSED : EXIT_DONE;
}
