/* arguments.c: see arguments.h. */
#include "daemon/cpctl/arguments.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX 64   /* longer words are compared by their head */

/* ---------------------------------------------------------------- what is nearest */

static size_t smallest(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return least < c ? least : c;
}

/* Levenshtein's distance: how many letters differ, are lost, or are too many. */
static size_t distance_of(const char *a, const char *b)
{
	size_t row[WORD_MAX + 1], a_len = strnlen(a, WORD_MAX), b_len = strnlen(b, WORD_MAX);

	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t above = row[j];

			row[j] = smallest(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[b_len];
}

void nearest(const char *word, const char *candidate, const char **best, size_t *best_distance)
{
	size_t distance = distance_of(word, candidate);

	if (*best && distance >= *best_distance)
		return;
	*best = candidate;
	*best_distance = distance;
}

const char *nearest_hint(const char *word, const char *prefix, const char *best, size_t distance, char *out, size_t size)
{
	size_t len = strlen(word);

	out[0] = '\0';
	/* Half of the letters wrong is another word, not a slip. */
	if (best && distance * 2 <= len + 1 && distance < strlen(best))
		snprintf(out, size, " (did you mean %s%s?)", prefix, best);
	return out;
}

/* ---------------------------------------------------------------- numbers */

bool parse_number(const char *text, uint64_t most, uint64_t *out)
{
	uint64_t number = 0;

	*out = 0;
	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned digit = (unsigned)(*text - '0');

		if (*text < '0' || *text > '9' || number > (most - digit) / 10 || digit > most)
			return false;
		number = number * 10 + digit;
	}
	*out = number;
	return true;
}

bool parse_duration(const char *text, uint64_t *seconds)
{
	static const struct { char letter; unsigned seconds; } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	size_t len = strlen(text);
	char digits[12];
	uint64_t number;

	*seconds = 0;
	if (!len || len >= sizeof(digits))
		return false;
	memcpy(digits, text, len + 1);
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (digits[len - 1] != units[i].letter)
			continue;
		digits[len - 1] = '\0';
		if (!parse_number(digits, 1000000000, &number))
			return false;
		*seconds = number * units[i].seconds;
		return true;
	}
	return parse_number(digits, 10000000000, seconds);
}

/* ---------------------------------------------------------------- a call's options */

const char *call_option(const struct call *call, const char *name)
{
	for (size_t i = call->option_count; i-- > 0;)
		if (!strcmp(call->options[i].name, name))
			return call->options[i].value;
	return NULL;
}

bool call_has(const struct call *call, const char *name)
{
	for (size_t i = 0; i < call->option_count; i++)
		if (!strcmp(call->options[i].name, name))
			return true;
	return false;
}

bool call_number(const struct call *call, const char *name, uint32_t most, uint32_t *out)
{
	const char *text = call_option(call, name);
	uint64_t number;

	if (!text)
		return true;
	if (!parse_number(text, most, &number) || !number) {
		say_usage(call, "--%s: \"%s\" is not a whole number from 1 to %u", name, text, most);
		return false;
	}
	*out = (uint32_t)number;
	return true;
}

/* ---------------------------------------------------------------- errors */

int say_usage(const struct call *call, const char *format, ...)
{
	const char *name = call->verb ? call->verb->name : NULL;
	va_list arguments;

	fprintf(stderr, "cpctl%s%s: ", name ? " " : "", name ? name : "");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n`cpctl%s%s --help` tells how.\n", name ? " " : "", name ? name : "");
	return EXIT_USAGE;
}

int say_refused(const char *format, ...)
{
	va_list arguments;

	fputs("cpctl: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return EXIT_REFUSED;
}

/* ---------------------------------------------------------------- parsing */

static const struct option_rule global_options[] = {
	{ "socket", "PATH", NULL, false, false }, { "json", NULL, NULL, false, false }, { "help", NULL, NULL, false, false },
	{ "version", NULL, NULL, false, false }, { NULL, NULL, NULL, false, false },
};

struct parsing {
	struct call *call;
	const struct verb *verbs;
	const char *group;       /* "region": the first half of a verb of two words */
	bool wants_version;
};

static const struct option_rule *find_rule(const struct option_rule *rules, const char *name)
{
	for (; rules && rules->name; rules++)
		if (!strcmp(rules->name, name))
			return rules;
	return NULL;
}

static bool is_group(const struct verb *verbs, const char *word)
{
	size_t len = strlen(word);

	for (; verbs->name; verbs++)
		if (!strncmp(verbs->name, word, len) && verbs->name[len] == ' ')
			return true;
	return false;
}

static const struct verb *find_verb(const struct verb *verbs, const char *group, const char *word)
{
	char name[2 * WORD_MAX];

	snprintf(name, sizeof(name), "%.*s%s%.*s", WORD_MAX - 1, group ? group : "", group ? " " : "", WORD_MAX - 1, word);
	for (; verbs->name; verbs++)
		if (!strcmp(verbs->name, name))
			return verbs;
	return NULL;
}

static bool unknown_verb(const struct parsing *parsing, const char *word)
{
	const char *best = NULL;
	size_t distance = 0;
	char typed[2 * WORD_MAX], hint[WORD_MAX * 2];

	snprintf(typed, sizeof(typed), "%.*s%s%.*s", WORD_MAX - 1, parsing->group ? parsing->group : "", parsing->group ? " " : "", WORD_MAX - 1, word);
	for (const struct verb *verb = parsing->verbs; verb->name; verb++) {
		size_t group_len = strcspn(verb->name, " ");
		char group[WORD_MAX];

		nearest(typed, verb->name, &best, &distance);
		if (!verb->name[group_len] || parsing->group)
			continue;
		/* "regoin": the group alone is misspelt, its verb has not been read yet. */
		snprintf(group, sizeof(group), "%.*s", (int)group_len, verb->name);
		if (distance_of(typed, group) < distance) {
			best = verb->name;
			distance = distance_of(typed, group);
		}
	}
	say_usage(parsing->call, "there is no verb \"%s\"%s", typed, nearest_hint(typed, "cpctl ", best, distance, hint, sizeof(hint)));
	return false;
}

/* True: taken, as a verb, half of one, or a word of one. */
static bool take_word(struct parsing *parsing, const char *word)
{
	struct call *call = parsing->call;

	if (!call->verb) {
		if (!parsing->group && !strcmp(word, "help")) {
			call->wants_help = true;
			return true;
		}
		call->verb = find_verb(parsing->verbs, parsing->group, word);
		if (call->verb)
			return true;
		if (parsing->group || !is_group(parsing->verbs, word))
			return unknown_verb(parsing, word);
		parsing->group = word;
		return true;
	}
	/* "queue" stands alone too; "queue hold" is a verb of its own. */
	if (!call->word_count && find_verb(parsing->verbs, call->verb->name, word)) {
		call->verb = find_verb(parsing->verbs, call->verb->name, word);
		return true;
	}
	if (call->word_count == CALL_WORDS) {
		say_usage(call, "too many words, from \"%s\" on", word);
		return false;
	}
	call->words[call->word_count++] = word;
	return true;
}

static bool unknown_option(const struct parsing *parsing, const char *name)
{
	const struct verb *verb = parsing->call->verb;
	const char *best = NULL;
	size_t distance = 0;
	char hint[WORD_MAX * 2];

	for (const struct option_rule *rule = global_options; rule->name; rule++)
		nearest(name, rule->name, &best, &distance);
	for (const struct option_rule *rule = verb ? verb->options : NULL; rule && rule->name; rule++)
		nearest(name, rule->name, &best, &distance);
	say_usage(parsing->call, "there is no option --%s%s%s", name, nearest_hint(name, "--", best, distance, hint, sizeof(hint)),
	    verb ? "" : "; options of a verb stand after it");
	return false;
}

static bool add_option(struct call *call, const struct option_rule *rule, const char *name, const char *value)
{
	bool is_field = !rule;
	struct given_option *list = is_field ? call->fields : call->options;
	size_t *count = is_field ? &call->field_count : &call->option_count;

	if (rule && !rule->is_repeatable && call_has(call, rule->name)) {
		say_usage(call, "--%s is given twice; keep one", rule->name);
		return false;
	}
	if (*count == CALL_OPTIONS) {
		say_usage(call, "more than %d options; give the body with --body FILE", CALL_OPTIONS);
		return false;
	}
	list[(*count)++] = (struct given_option){ rule ? rule->name : name, value };
	return true;
}

static bool take_global(struct parsing *parsing, const char *name, const char *value)
{
	if (!strcmp(name, "socket"))
		parsing->call->socket = value;
	else if (!strcmp(name, "json"))
		parsing->call->json = true;
	else if (!strcmp(name, "help"))
		parsing->call->wants_help = true;
	else
		parsing->wants_version = true;
	return true;
}

/* Takes argv[*at], which starts with "--", and its value. */
static bool take_option(struct parsing *parsing, int argc, char **argv, int *at)
{
	struct call *call = parsing->call;
	char *name = argv[*at] + 2, *equals = strchr(name, '=');
	const struct option_rule *global, *rule;
	const char *value = NULL;
	bool is_field, takes_value;

	if (equals) {
		*equals = '\0';
		value = equals + 1;
	}
	rule = call->verb ? find_rule(call->verb->options, name) : NULL;
	global = rule ? NULL : find_rule(global_options, name);
	/* A situation report has a field "version". */
	if (global && call->verb && call->verb->takes_fields && !strcmp(name, "version"))
		global = NULL;
	is_field = !rule && !global && call->verb && call->verb->takes_fields;
	if (!rule && !global && !is_field)
		return unknown_option(parsing, name);
	takes_value = is_field || (rule ? rule : global)->argument;
	if (value && !takes_value) {
		say_usage(call, "--%s takes no value", name);
		return false;
	}
	if (takes_value && !value) {
		if (*at + 1 >= argc || !strncmp(argv[*at + 1], "--", 2)) {
			say_usage(call, "--%s needs a value (one that starts with -- is written --%s=VALUE)", name, name);
			return false;
		}
		value = argv[++*at];
	}
	return global ? take_global(parsing, name, value) : add_option(call, rule, name, value);
}

static bool check_call(const struct call *call)
{
	const struct verb *verb = call->verb;

	if (call->word_count < verb->least || call->word_count > verb->most) {
		say_usage(call, "%s: it is `cpctl %s%s%s`", call->word_count < verb->least ? "something is missing" : "too many words",
		    verb->name, *verb->words ? " " : "", verb->words);
		return false;
	}
	for (const struct option_rule *rule = verb->options; rule && rule->name; rule++) {
		if (rule->is_required && !call_has(call, rule->name)) {
			say_usage(call, "--%s %s is required", rule->name, rule->argument);
			return false;
		}
	}
	return true;
}

/* "cpctl region": says which words may follow. */
static enum parsed half_a_verb(const struct parsing *parsing)
{
	size_t len = strlen(parsing->group);

	fprintf(stderr, "cpctl: after `cpctl %s` one word more is needed:", parsing->group);
	for (const struct verb *verb = parsing->verbs; verb->name; verb++)
		if (!strncmp(verb->name, parsing->group, len) && verb->name[len] == ' ')
			fprintf(stderr, " %s", verb->name + len + 1);
	fprintf(stderr, "\n`cpctl %s --help` tells what they do.\n", parsing->group);
	return PARSED_USAGE;
}

enum parsed arguments_parse(int argc, char **argv, const struct verb *verbs, struct call *call)
{
	struct parsing parsing = { .call = call, .verbs = verbs };
	bool only_words = false;

	memset(call, 0, sizeof(*call));
	for (int at = 1; at < argc; at++) {
		if (!only_words && !strcmp(argv[at], "--"))
			only_words = true;
		else if (!only_words && !strncmp(argv[at], "--", 2)) {
			if (!take_option(&parsing, argc, argv, &at))
				return PARSED_USAGE;
		} else if (!only_words && !strcmp(argv[at], "-h")) {
			call->wants_help = true;
		} else if (!take_word(&parsing, argv[at])) {
			return PARSED_USAGE;
		}
	}
	if (parsing.wants_version)
		return PARSED_VERSION;
	call->family = parsing.group;
	if (!call->verb && (call->wants_help || !parsing.group))
		return call->wants_help ? PARSED_HELP : (say_usage(call, "say what to do"), PARSED_USAGE);
	if (!call->verb) {
		return half_a_verb(&parsing);
	}
	return call->wants_help || check_call(call) ? PARSED_CALL : PARSED_USAGE;
}
