/* check.c: proves a store that no daemon uses, by running cpd, which alone opens stores. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cpctl/cpctl.h"
#include "daemon/cpctl/file.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/program.h"

struct found { json_t *lines; bool json; };

static void take_line(void *context, const char *line)
{
	struct found *found = context;

	json_array_append_new(found->lines, json_string(line));
	if (!found->json)
		puts(line);
}

int verb_check(struct call *call)
{
	const char *state = call->word_count ? call->words[0] : NULL, *config = call_option(call, "config");
	struct found found = { json_array(), call->json };
	const char *words[] = { "--check-store", config ? config : "/etc/cpd/cpd.conf", NULL };
	char path[FILE_PATH_MAX];
	int code;

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
