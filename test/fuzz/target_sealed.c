/*
 * target_sealed.c: a sealed part as it lies in a message, and what is inside one, which only who holds a node's key can have
 * sealed: an honest part opens to what went in, and what body_sealed_validate lets pass can be shown.
 */
#include "test/fuzz/targets.h"

#include "crypto/seal.h"
#include "proto/body.h"
#include "test/fuzz/vectors.h"

static uint8_t content_key[32];
static const struct header header = { .id = { 901, 1, 8 }, .nodes = { 911, 344003 }, .node_count = 2, .kind = 3 };

static void check_part(struct slice input)
{
	static uint8_t inside[LIMIT_SEALED_CONTENT + SEALED_BLOCK], again[LIMIT_SEALED_PART];
	struct sealed_part part, second;
	uint8_t key[32];
	size_t len;

	if (sealed_part_decode(input, &part)) {
		FUZZ_CHECK(!part.reader_count && !part.keys.data);
		return;
	}
	FUZZ_CHECK(is_within(input, part.keys) && is_within(input, part.content) && part.reader_count <= LIMIT_SEALED_READERS);
	FUZZ_CHECK(part.keys.len == part.reader_count * SEALED_KEY_LEN && part.content.len <= sizeof(inside) + SEALED_TAG_LEN);
	FUZZ_CHECK(sealed_part_reader(&part, 911) <= part.reader_count);
	FUZZ_CHECK(!sealed_part_encode(&part, again, &len) && !sealed_part_decode((struct slice){ again, len }, &second));
	FUZZ_CHECK(second.reader_count == part.reader_count && second.content.len == part.content.len && second.audience == part.audience);
	/* Anyone can seal for a reader: it may open, and then holds. */
	if (!seal_open_key(vector_identity("344003"), &header, &part, key) && !seal_open_content(&header, "nl", &part, key, inside, &len)) {
		FUZZ_CHECK(len < part.content.len);
		(void)!body_sealed_validate(3, part.audience, (struct slice){ inside, len }, false, NULL);
	}
}

static void check_content(struct slice input, uint32_t audience)
{
	static uint8_t inside[LIMIT_SEALED_CONTENT + SEALED_BLOCK], buf[LIMIT_SEALED_PART];
	const struct certificate *readers[] = { directory_certificate(vector_directory(), 911), directory_certificate(vector_directory(), 344003) };
	struct sealed_part part;
	uint8_t key[32];
	size_t len;

	if (!body_sealed_validate(3, audience, input, true, NULL))
		FUZZ_CHECK(!body_sealed_validate(3, audience, input, false, NULL));
	if (input.len > LIMIT_SEALED_CONTENT) {
		FUZZ_CHECK(seal_part(&header, "nl", audience, readers, 2, input, content_key, buf, &len));
		return;
	}
	FUZZ_CHECK(!seal_part(&header, "nl", audience, readers, 2, input, content_key, buf, &len));
	FUZZ_CHECK(!sealed_part_decode((struct slice){ buf, len }, &part));
	FUZZ_CHECK(seal_open_key(vector_identity("901"), &header, &part, key) == CPD_ERR_NOT_FOUND);
	FUZZ_CHECK(!seal_open_key(vector_identity("344003"), &header, &part, key));
	FUZZ_CHECK(!seal_open_content(&header, "nl", &part, key, inside, &len));
	FUZZ_CHECK(len == input.len && (!len || !memcmp(inside, input.data, len)));
}

void run_sealed(struct slice input)
{
	switch (input_below(&input, 3)) {
	case 0: check_part(input); break;
	case 1: check_content(input, AUDIENCE_ID_CONTACT); break;
	default: check_content(input, AUDIENCE_ID_CARE); break;
	}
}

void seeds_sealed(fuzz_add *add, void *context)
{
	static const char *const names[] = { "call-contact-sealed", "call-care-sealed", "call-contact", "call-care" };
	static uint8_t seed[LIMIT_SEALED_PART + 1];
	const struct certificate *readers[] = { directory_certificate(vector_directory(), 344003) };
	size_t len;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct slice bytes = seed_named(names[i]);

		seed[0] = i < 2 ? 0 : (uint8_t)(i - 1);
		memcpy(seed + 1, bytes.data, bytes.len);
		add(context, (struct slice){ seed, 1 + bytes.len });
	}
	/* One that opens. */
	seed[0] = 0;
	FUZZ_CHECK(!seal_part(&header, "nl", AUDIENCE_ID_CARE, readers, 1, seed_named("call-care"), content_key, seed + 1, &len));
	add(context, (struct slice){ seed, 1 + len });
}
