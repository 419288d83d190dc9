/* target_body.c: bodies of each kind, from the wire and from JSON. */
#include "test/fuzz/targets.h"

#include "daemon/body_json.h"
#include "proto/kind.h"

static message_kind kind_of(struct slice *input)
{
	uint8_t which = (uint8_t)input_number(input, 1), kinds = 0;

	while (kind_at(kinds))
		kinds++;
	return kind_at(which % kinds)->number;
}

static uint8_t index_of(const char *name)
{
	uint8_t index = 0;

	while (strcmp(kind_at(index)->name, name))
		index++;
	return index;
}

static void check_problem(const struct body_problem *problem)
{
	FUZZ_CHECK(memchr(problem->field, 0, sizeof(problem->field)) && memchr(problem->text, 0, sizeof(problem->text)));
}

/* What JSON of ours is taken back, to the same JSON. */
static void check_back(message_kind kind, const json_t *json)
{
	static uint8_t bytes[LIMIT_BODY];
	struct body_problem problem;
	json_t *again;
	size_t len;

	FUZZ_CHECK(!body_from_json(kind, json, bytes, &len, &problem));
	again = body_to_json(kind, (struct slice){ bytes, len });
	FUZZ_CHECK(again && json_equal(json, again));
	json_decref(again);
}

void run_body(struct slice input)
{
	const message_kind kind = kind_of(&input);
	struct body_problem strict, lenient;
	enum cpd_error strictly = body_validate(kind, input, true, &strict), leniently = body_validate(kind, input, false, &lenient);
	json_t *json = body_to_json(kind, input);
	char line[200];

	check_problem(&strict);
	check_problem(&lenient);
	/* Who writes is never let do what who reads refuses. */
	FUZZ_CHECK(strictly || !leniently);
	FUZZ_CHECK(!leniently == (json != NULL));
	FUZZ_CHECK(strictly || (!strict.text[0] && !strict.field[0]));
	for (size_t size = 1; size <= sizeof(line); size += 199) {
		memset(line, 'x', sizeof(line));
		body_line(kind, input, line, size);
		FUZZ_CHECK(strlen(line) < size);
	}
	if (!strictly)
		check_back(kind, json);
	json_decref(json);
}

void run_json(struct slice input)
{
	static uint8_t bytes[LIMIT_BODY];
	const message_kind kind = kind_of(&input);
	struct body_problem problem;
	json_t *json = json_loadb((const char *)input.data, input.len, JSON_REJECT_DUPLICATES, NULL), *back;
	size_t len;

	if (!json)
		return;
	if (body_from_json(kind, json, bytes, &len, &problem)) {
		check_problem(&problem);
	} else {
		back = body_to_json(kind, (struct slice){ bytes, len });
		FUZZ_CHECK(back);
		check_back(kind, back);
		json_decref(back);
	}
	json_decref(json);
}

void seeds_json(fuzz_add *add, void *context)
{
	for (const struct seed_body *body = seed_bodies; body->kind; body++) {
		char text[2048];

		text[0] = (char)index_of(body->kind);
		snprintf(text + 1, sizeof(text) - 1, "%s", body->json);
		add(context, (struct slice){ (const uint8_t *)text, 1 + strlen(text + 1) });
	}
}

void seeds_body(fuzz_add *add, void *context)
{
	for (const struct seed_body *body = seed_bodies; body->kind; body++) {
		uint8_t bytes[1 + LIMIT_BODY];
		json_t *json = json_loads(body->json, 0, NULL);
		struct body_problem problem;
		size_t len;

		bytes[0] = index_of(body->kind);
		if (body_from_json(kind_find_name(body->kind)->number, json, bytes + 1, &len, &problem)) {
			fprintf(stderr, "%s: %s %s\n", body->kind, problem.field, problem.text);
			FUZZ_CHECK(!"a seed body is no body");
		}
		add(context, (struct slice){ bytes, 1 + len });
		json_decref(json);
	}
}
