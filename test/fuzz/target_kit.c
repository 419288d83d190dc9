/*
 * target_kit.c: a sealed kit from a stick, as it lies there; its content, which only who sealed it could have made; and a
 * code as it is typed. Every run costs one Argon2id of the meanest kind: the kit's own cost is bounded before it is paid.
 */
#include "test/fuzz/targets.h"

#include "crypto/sealed_kit.h"
#include "test/fuzz/vectors.h"

#define SEALED_MAX 4096
static const struct kit_cost cheap = { 1, 8 };
static const char *const texts[KIT_SLOTS] = { "7K3MV-QWXE9-0FHTE-8VD12", "00000-0000B-0000P-00001" };

static struct slice text_slice(const char *text)
{
	return (struct slice){ (const uint8_t *)text, strlen(text) };
}

static void take_codes(struct code codes[KIT_SLOTS])
{
	for (unsigned slot = 0; slot < KIT_SLOTS; slot++)
		FUZZ_CHECK(!code_parse(text_slice(texts[slot]), &codes[slot]));
}

/* The cost is made mean, where it is not beyond the bounds, and the sum is put right. */
static void run_file(struct slice input)
{
	static uint8_t file[SEALED_MAX];
	struct code codes[KIT_SLOTS];
	struct sealed_part part;
	struct kit kit;

	if (input.len > SEALED_MAX || input.len < 64)
		return;
	memcpy(file, input.data, input.len);
	if (file[21] == 0 && file[25] == 0) {
		memset(file + 21, 0, 8);
		file[24] = (uint8_t)cheap.passes;
		file[28] = (uint8_t)cheap.memory_kib;
	}
	crypto_digest(file + input.len - 32, 32, file, input.len - 32);
	take_codes(codes);
	if (sealed_kit_open((struct slice){ file, input.len }, &codes[0], &kit, &part)) {
		FUZZ_CHECK(!kit.bytes && !kit.updates && !part.identity);
		return;
	}
	FUZZ_CHECK(part.slot == KIT_SLOT_VOLUNTEER && part.identity && kit.node && part.home_count <= LIMIT_HOMES);
	kit_clear(&kit);
	sealed_part_clear(&part);
}

/* What is taken seals and opens to the same. */
static void run_content(struct slice input)
{
	struct code codes[KIT_SLOTS];
	struct sealed_part part = { .identity = NULL }, again;
	struct kit kit = { .bytes = NULL }, opened;
	struct certificate made = { 0 }, found = { 0 };
	uint8_t *file;
	size_t len;

	if (!sealed_kit_content(input, &kit, &part)) {
		take_codes(codes);
		FUZZ_CHECK(!sealed_kit_seal(&kit, &part, codes, cheap, &file, &len));
		FUZZ_CHECK(!sealed_kit_open((struct slice){ file, len }, &codes[1], &opened, &again));
		identity_public_keys(part.identity, &made);
		identity_public_keys(again.identity, &found);
		FUZZ_CHECK(again.slot == KIT_SLOT_EMERGENCY && again.home_count == part.home_count && opened.update_count == kit.update_count &&
		    !memcmp(&made, &found, sizeof(made)));
		free(file);
		kit_clear(&opened);
		sealed_part_clear(&again);
	}
	kit_clear(&kit);
	sealed_part_clear(&part);
}

static void run_code(struct slice input)
{
	char text[CODE_TEXT_MAX];
	struct code code, again;

	if (code_parse(input, &code))
		FUZZ_CHECK(!code.signs[0]);
	else
		FUZZ_CHECK(!code_parse(text_slice(code_format(&code, text)), &again) && !memcmp(&code, &again, sizeof(code)));
}

void run_sealed_kit(struct slice input)
{
	switch (input_below(&input, 3)) {
	case 0: run_file(input); break;
	case 1: run_content(input); break;
	default: run_code(input); break;
	}
}

void seeds_sealed_kit(fuzz_add *add, void *context)
{
	static uint8_t bytes[1 + SEALED_MAX];
	struct slice updates[1] = { seed_named("directory-update-record") };
	struct kit kit = { .anchor = *vector_anchor(), .node = 344003, .key_number = 1, .updates = updates, .update_count = 1 };
	struct sealed_part part = { .homes = { 901, 902 }, .home_count = 2 };
	struct code codes[KIT_SLOTS];
	uint8_t *file, *inner;
	size_t len;

	FUZZ_CHECK(!identity_generate(&part.identity));
	take_codes(codes);
	FUZZ_CHECK(!sealed_kit_seal(&kit, &part, codes, cheap, &file, &len) && len <= SEALED_MAX);
	bytes[0] = 0;
	memcpy(bytes + 1, file, len);
	add(context, (struct slice){ bytes, 1 + len });
	free(file);
	sealed_part_clear(&part);
	FUZZ_CHECK(!kit_encode(&kit.anchor, kit.node, kit.key_number, updates, 1, &inner, &len));
	memset(bytes, 7, sizeof(bytes));
	bytes[0] = 1;
	memcpy(bytes + 1 + 96, (const uint8_t[]){ 0, 0, 0, 1, 0, 0, 3, 133 }, 8);
	memcpy(bytes + 1 + 96 + 8, inner, len);
	add(context, (struct slice){ bytes, 1 + 96 + 8 + len });
	free(inner);
	bytes[0] = 2;
	memcpy(bytes + 1, texts[0], strlen(texts[0]));
	add(context, (struct slice){ bytes, 1 + strlen(texts[0]) });
}
