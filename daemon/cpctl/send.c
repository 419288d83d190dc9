/*
 * send.c: a message from the command line. Sent with an idempotency key, always: when the connection
 * breaks nobody knows whether the daemon took it, and the same key can be sent again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "crypto/crypto.h"
#include "daemon/cpctl/arguments.h"
#include "daemon/cpctl/client.h"
#include "daemon/cpctl/fields.h"
#include "daemon/cpctl/file.h"
#include "daemon/cpctl/output.h"
#include "proto/body.h"
#include "proto/kind.h"
#include "proto/sealed.h"

#define RETRIES 3
#define BODY_FILE_MAX (256 * 1024)
#define KEY_MAX 64

/* ---------------------------------------------------------------- kinds */

static const struct kind *find_kind(const struct call *call)
{
	const struct kind *kind = kind_find_name(call->words[0]), *row;
	const char *best = NULL;
	size_t distance = 0;
	char hint[80];

	if (kind && kind->has_body)
		return kind;
	/* The name that the screens show is as good. */
	for (size_t i = 0; (row = kind_at(i)); i++) {
		if (row->has_body && !strcasecmp(call->words[0], row->dutch))
			return row;
		if (row->has_body)
			nearest(call->words[0], row->name, &best, &distance);
	}
	if (kind)
		say_usage(call, "this version cannot write a %s yet; `cpctl send --help` lists the kinds", kind->name);
	else
		say_usage(call, "there is no kind \"%s\"%s", call->words[0], nearest_hint(call->words[0], "", best, distance, hint, sizeof(hint)));
	return NULL;
}

static void help_kinds(const struct call *call)
{
	const struct kind *kind;

	printf("usage: cpctl send KIND --to NODE|GROUP [OPTION...] [--FIELD VALUE...]\n\n"
	    "Writes a message and tells its id. `cpctl send --help KIND` lists its fields.\n\nKinds:\n");
	for (size_t i = 0; (kind = kind_at(i)); i++)
		if (kind->has_body)
			printf("  %-20s %-18s %s\n", kind->name, kind->dutch, precedence_name(kind->precedence));
	puts("\nOptions:");
	for (const struct option_rule *rule = call->verb->options; rule->name; rule++) {
		char option[40];

		snprintf(option, sizeof(option), "--%s %s", rule->name, rule->argument);
		printf("  %-22s %s\n", option, rule->help);
	}
	puts("\nExamples:\n"
	    "  cpctl send text --to 901 --text 'Aggregaat start niet'\n"
	    "  cpctl send situation-report --to alle-cp --body sitrap.json --version 2\n"
	    "  cpctl send emergency-progress --to 344003 --reply-to 344003/1/118 \\\n"
	    "      --step DISPATCHED --expected_ms +20m\n"
	    "\nA field that has the name of an option is written --body.NAME. Moments: now,\n"
	    "+2h, -30m, 2026-11-24T12:00:00Z.");
}

int help_send(struct call *call)
{
	const struct kind *kind;

	if (!call->word_count) {
		help_kinds(call);
		return EXIT_DONE;
	}
	kind = find_kind(call);
	if (!kind)
		return EXIT_USAGE;
	printf("usage: cpctl send %s --to NODE|GROUP [--FIELD VALUE...]\n\n%s (%s), %s.\nWorth sending for %u h, kept until %s.\n\n"
	    "Fields; * is required:\n", kind->name, kind->schema_name, kind->dutch, precedence_name(kind->precedence), kind->lifetime_s / 3600,
	    kind->closing_level == LEVEL_DELIVERED ? "DELIVERED" : kind->closing_level == LEVEL_ACCEPTED ? "ACCEPTED" : "DONE");
	fields_help(body_descriptor(kind->number));
	if (body_sealed_descriptor(kind->number, AUDIENCE_ID_CONTACT)) {
		puts("\nFields of the JSON object in --personal FILE, sealed.\nFor all addressees:");
		fields_help(body_sealed_descriptor(kind->number, AUDIENCE_ID_CONTACT));
		puts("For addressees that are a desk (meldkamer, GHOR):");
		fields_help(body_sealed_descriptor(kind->number, AUDIENCE_ID_CARE));
	}
	puts("\nOptions as --to and --precedence: `cpctl send --help`.");
	return EXIT_DONE;
}

/* ---------------------------------------------------------------- the order */

/* A number, or a name. */
static json_t *destination(const char *text)
{
	uint64_t number;

	return parse_number(text, UINT32_MAX, &number) ? json_integer((json_int_t)number) : json_string(text);
}

static bool read_to(const struct call *call, json_t *order)
{
	json_t *to = json_array();

	for (size_t i = 0; i < call->option_count; i++)
		if (!strcmp(call->options[i].name, "to"))
			json_array_append_new(to, destination(call->options[i].value));
	json_object_set_new(order, "to", to);
	if (json_array_size(to))
		return true;
	say_usage(call, "--to NODE|GROUP is required; `cpctl directory` lists them");
	return false;
}

static bool read_options(const struct call *call, json_t *order)
{
	static const char *const names[][2] = { { "precedence", "precedence" }, { "mode", "mode" }, { "reply-to", "in_reply_to" },
		{ "supersedes", "supersedes" }, { "incident", "incident" }, { "author", "author" }, { "closing", "closing_level" }, { "entry", "entry" } };
	const char *lifetime = call_option(call, "lifetime");
	uint64_t seconds;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (call_has(call, names[i][0]))
			json_object_set_new(order, names[i][1], json_string(call_option(call, names[i][0])));
	if (!lifetime)
		return true;
	if (!parse_duration(lifetime, &seconds)) {
		say_usage(call, "--lifetime: \"%s\" is not a time; write 3600, 90m, 12h or 3d", lifetime);
		return false;
	}
	json_object_set_new(order, "lifetime_s", json_integer((json_int_t)seconds));
	return true;
}

/* EXIT_DONE: *out is an object; without the option an empty one. */
static int read_json_file(const struct call *call, const char *option, json_t **out)
{
	const char *path = call_option(call, option);
	json_error_t error;
	uint8_t *bytes;
	size_t len;

	*out = path ? NULL : json_object();
	if (!path)
		return EXIT_DONE;
	if (!file_read(path, BODY_FILE_MAX, &bytes, &len))
		return EXIT_REFUSED;
	*out = json_loadb((const char *)bytes, len, JSON_REJECT_DUPLICATES, &error);
	free(bytes);
	if (json_is_object(*out))
		return EXIT_DONE;
	say_usage(call, "--%s %s, line %d, column %d: %s", option, path, *out ? 1 : error.line, *out ? 1 : error.column, *out ? "it is not a JSON object" : error.text);
	json_decref(*out);
	*out = NULL;
	return EXIT_USAGE;
}

static int make_order(const struct call *call, json_t **out)
{
	const struct kind *kind = find_kind(call);
	json_t *body, *order, *personal = NULL;
	int status;

	*out = NULL;
	if (!kind)
		return EXIT_USAGE;
	status = read_json_file(call, "body", &body);
	if (status != EXIT_DONE)
		return status;
	/* Never as words of the command: those stand in the shell's history and in the list of processes. */
	if (call_has(call, "personal"))
		status = read_json_file(call, "personal", &personal);
	if (status != EXIT_DONE) {
		json_decref(body);
		return status;
	}
	order = json_pack("{s:s,s:o,s:o*}", "kind", kind->name, "body", body, "personal", personal);
	if (order && read_to(call, order) && read_options(call, order) && fields_read(call, body_descriptor(kind->number), body)) {
		*out = order;
		return EXIT_DONE;
	}
	json_decref(order);
	return EXIT_USAGE;
}

/* ---------------------------------------------------------------- sending */

static void make_key(char key[KEY_MAX + 1])
{
	uint8_t random[16];

	crypto_random(random, sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(key + 2 * i, 3, "%02x", random[i]);
}

/* Once, and again while the connection breaks under it. A daemon that was never there is not waited for. */
static enum outcome ask_surely(const struct call *call, const struct request *request, struct answer *answer)
{
	static const struct timespec pauses[RETRIES] = { { 0, 200000000 }, { 1, 0 }, { 3, 0 } };
	enum outcome outcome = client_ask(call, request, answer);

	for (int i = 0; i < RETRIES && outcome != OUTCOME_ANSWER && !(i == 0 && outcome == OUTCOME_UNREACHABLE); i++) {
		fprintf(stderr, "cpctl: %s; trying again with the same key\n", answer->problem);
		nanosleep(&pauses[i], NULL);
		answer_clear(answer);
		outcome = client_ask(call, request, answer);
		/* The first try may have been taken: from here on nothing is certain but an answer. */
		if (outcome == OUTCOME_UNREACHABLE)
			outcome = OUTCOME_BROKEN;
	}
	return outcome;
}

static int say_outcome(const struct call *call, enum outcome outcome, const struct answer *answer, const char *key)
{
	const char *id = json_string_value(json_object_get(answer->json, "id"));

	if (outcome != OUTCOME_ANSWER) {
		say_unreachable(answer);
		if (outcome == OUTCOME_BROKEN)
			fprintf(stderr, "  Whether it was taken is not known. Give the same command again with --key %s:\n  it makes no second message.\n", key);
		return EXIT_UNREACHABLE;
	}
	if (answer->status >= 300)
		return say_answer(answer);
	if (!id)
		return say_refused("what answers at %s is not cpd: it tells no id", call->socket);
	if (call->json)
		print_json(answer->json);
	else
		puts(id);
	/* Not for a key of our own making: then it is this command's own second try. */
	if (call_has(call, "key") && json_flag(answer->json, "existing"))
		fprintf(stderr, "cpctl: %s was there already under this key, with the words it had then; no new message was made\n", id);
	return EXIT_DONE;
}

int verb_send(struct call *call)
{
	const char *given = call_option(call, "key");
	char key[KEY_MAX + 1] = "";
	struct answer answer;
	enum outcome outcome;
	json_t *order;
	char *text;
	int status = make_order(call, &order);

	if (status != EXIT_DONE)
		return status;
	if (given && (!*given || strlen(given) > KEY_MAX || strspn(given, "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~") != strlen(given))) {
		json_decref(order);
		return say_usage(call, "--key: give 1 to %d printable ASCII characters without blanks", KEY_MAX);
	}
	if (given)
		snprintf(key, sizeof(key), "%s", given);
	else
		make_key(key);
	text = json_dumps(order, JSON_COMPACT);
	json_decref(order);
	if (!text)
		return say_refused("memory is used up");
	outcome = ask_surely(call, &(struct request){ "POST", "/v1/messages", "application/json", text, strlen(text), key }, &answer);
	status = say_outcome(call, outcome, &answer, key);
	if (status == EXIT_DONE && find_kind(call)->releases)
		fprintf(stderr, "It waits here until %u people have signed it: cpctl sign ID --key FILE\n", find_kind(call)->releases);
	answer_clear(&answer);
	free(text);
	return status;
}
