/* help.c: see help.h. */
#include "daemon/cpctl/help.h"

#include <stdio.h>
#include <string.h>

#include "daemon/cpctl/verbs.h"

static void print_row(const struct verb *verb)
{
	char call[64];

	snprintf(call, sizeof(call), "%s%s%s", verb->name, *verb->words ? " " : "", verb->words);
	printf(strlen(call) > 22 ? "  %s\n                         %s\n" : "  %-22s %s\n", call, verb->summary);
}

static bool is_of(const struct verb *verb, const char *family)
{
	size_t len = strlen(family);

	return !strncmp(verb->name, family, len) && verb->name[len] == ' ';
}

/* True: there was one. */
static bool print_family(const char *before, const char *family)
{
	bool any = false;

	for (const struct verb *verb = verbs; verb->name; verb++) {
		if (!is_of(verb, family))
			continue;
		fputs(any ? "" : before, stdout);
		print_row(verb);
		any = true;
	}
	return any;
}

void help_all(void)
{
	puts("usage: cpctl [--socket PATH] [--json] [--help] [--version] VERB ...\n");
	for (const struct verb *verb = verbs; verb->name; verb++)
		print_row(verb);
	printf("\n  --socket PATH   the daemon's socket; else $CPD_SOCKET, else %s\n"
	    "  --json          for programs: the answer as JSON\n"
	    "  --help VERB     more about one verb, with examples\n\n"
	    "Exit: 0 done, 1 refused, 2 wrong usage, 3 no daemon answers. More: man cpctl\n", SOCKET_DEFAULT);
}

void help_family(const char *family)
{
	printf("usage: cpctl %s WORD ...\n\n", family);
	print_family("", family);
	printf("\n`cpctl %s WORD --help` tells more, with examples.\n", family);
}

static void print_examples(const char *examples)
{
	if (!*examples)
		return;
	fputs("\nExamples:\n  ", stdout);
	for (; *examples; examples++) {
		putchar(*examples);
		if (*examples == '\n')
			fputs("  ", stdout);
	}
	putchar('\n');
}

/* An option that must be given stands in the usage line itself. */
static void print_usage(const struct verb *verb)
{
	bool has_more = false;

	printf("usage: cpctl %s%s%s", verb->name, *verb->words ? " " : "", verb->words);
	for (const struct option_rule *rule = verb->options; rule && rule->name; rule++) {
		if (rule->is_required)
			printf(" --%s %s", rule->name, rule->argument);
		has_more |= !rule->is_required;
	}
	printf("%s\n\n%s.\n", has_more ? " [OPTION...]" : "", verb->summary);
}

int help_verb(struct call *call)
{
	const struct verb *verb = call->verb;

	print_usage(verb);
	if (*verb->details)
		printf("%s\n", verb->details);
	for (const struct option_rule *rule = verb->options; rule && rule->name; rule++) {
		char option[48];

		snprintf(option, sizeof(option), "--%s %s", rule->name, rule->argument ? rule->argument : "");
		printf("%s  %-24s %s%s\n", rule == verb->options ? "\n" : "", option, rule->help, rule->is_required ? " (required)" : "");
	}
	print_family("\nAnd:\n", verb->name);
	print_examples(verb->examples);
	return EXIT_DONE;
}
