/*
 * target_courier.c: a file from a stick. As it lies there; and its content, which only a neighbour could have sealed: what
 * courier_check lets pass is walked to its end, and a file that is honestly made of it opens to the same.
 */
#include "test/fuzz/targets.h"

#include "crypto/courier.h"
#include "test/fuzz/vectors.h"

static const char writer_name[] = "901", reader_name[] = "344003";

static void walk(struct slice content, size_t items)
{
	const struct slice whole = content;
	struct courier_part part;
	size_t seen = 0, left = content.len;

	while (courier_next(&content, &part)) {
		FUZZ_CHECK(content.len < left && is_within(whole, part.bytes));
		left = content.len;
		touch(part.bytes);
		seen += part.type == COURIER_ITEM;
		for (size_t i = 0; part.type == COURIER_ACKS && i < part.ack_count; i++) {
			const struct courier_ack ack = courier_ack_at(&part, i);

			FUZZ_CHECK(reason_name(ack.reason) && (unsigned)ack.tag.precedence < PRECEDENCE_COUNT && ack.tag.type >= ITEM_TYPE_MESSAGE && ack.tag.type <= ITEM_TYPE_LEAF);
		}
	}
	FUZZ_CHECK(!content.len && seen == items);
}

static void check_content(struct slice input, bool is_sealed)
{
	const struct certificate *readers[] = { directory_certificate(vector_directory(), 344003) };
	const struct courier_head head = { .epoch = 1, .number = 1, .directory = 3, .reader_count = 1 };
	size_t items = 0, opened_items, len;
	const enum cpd_error error = courier_check(input, &items);
	struct courier_file file;
	struct slice content;
	uint8_t *bytes;

	if (!error)
		walk(input, items);
	if (!is_sealed)
		return;
	FUZZ_CHECK(!courier_seal(vector_identity(writer_name), &head, readers, 1, input, &bytes, &len));
	FUZZ_CHECK(courier_open(vector_identity(reader_name), vector_directory(), bytes, len, &file, &content, &opened_items) == error);
	FUZZ_CHECK(error ? !content.data : content.len == input.len && opened_items == items && !memcmp(content.data, input.data, input.len));
	free(bytes);
}

static void check_file(struct slice input)
{
	uint8_t *bytes = malloc(input.len ? input.len : 1), head[COURIER_HEAD_LEN];
	struct courier_file file;
	struct slice content;
	size_t items;

	FUZZ_CHECK(bytes);
	if (input.len)
		memcpy(bytes, input.data, input.len);
	if (!courier_decode(input, &file)) {
		FUZZ_CHECK(file.head.reader_count && file.readers.len == file.head.reader_count * COURIER_READER_LEN);
		FUZZ_CHECK(is_within(input, file.readers) && is_within(input, file.bound) && is_within(input, file.sealed) && is_within(input, file.over));
		FUZZ_CHECK(is_within(input, (struct slice){ file.nonce, COURIER_NONCE }) && is_within(input, (struct slice){ file.signature, COURIER_SIGNATURE }));
		FUZZ_CHECK(file.sealed.len >= COURIER_SEAL_EXTRA && courier_overhead(file.head.reader_count) + file.sealed.len - COURIER_SEAL_EXTRA == input.len);
		/* Every byte has its place. */
		FUZZ_CHECK(!courier_head_encode(&file.head, head) && !memcmp(head, input.data, COURIER_HEAD_LEN));
		FUZZ_CHECK(!courier_key_for(&file, 344003, 1) || courier_names(&file, 344003));
	}
	/* Nobody but node 901 can make one that opens, and all that it makes here is sealed above. */
	FUZZ_CHECK(courier_open(vector_identity(reader_name), vector_directory(), bytes, input.len, &file, &content, &items) || items < 10);
	free(bytes);
}

void run_courier(struct slice input)
{
	switch (input_below(&input, 4)) {
	case 0: check_file(input); break;
	case 1: check_content(input, true); break;
	default: check_content(input, false); break;
	}
}

void seeds_courier(fuzz_add *add, void *context)
{
	const struct courier_tag tag = { .link = 344003, .counter = 7, .type = ITEM_TYPE_MESSAGE, .precedence = PRECEDENCE_FLASH, .id = { 344003, 2, 118 }, .retry = 1 };
	const struct courier_ack acks[] = { { tag, REFUSED_NONE }, { tag, REFUSED_FULL } };
	const struct certificate *readers[] = { directory_certificate(vector_directory(), 344003), directory_certificate(vector_directory(), 911) };
	const struct courier_head head = { .epoch = 1, .number = 3, .directory = 3, .time_s = 9, .clock_quality = CLOCK_NTP };
	struct courier_writer writer = { .most = 4000 };
	static uint8_t seed[4096];
	uint8_t *file;
	size_t len;

	FUZZ_CHECK(!courier_put_update(&writer, seed_named("directory-update-record")));
	FUZZ_CHECK(!courier_put_presence(&writer, seed_named("presence-record"), 35));
	FUZZ_CHECK(!courier_put_acks(&writer, 344003, 2, acks, 2));
	FUZZ_CHECK(!courier_put_item(&writer, 344003, &tag, seed_named("call-item")));
	for (uint8_t mode = 1; mode < 3; mode++) {
		seed[0] = mode;
		memcpy(seed + 1, writer.bytes, writer.len);
		add(context, (struct slice){ seed, 1 + writer.len });
	}
	for (size_t readers_count = 1; readers_count <= 2; readers_count++) {
		FUZZ_CHECK(!courier_seal(vector_identity(writer_name), &head, readers_count == 1 ? readers : (const struct certificate *[]){ readers[1], readers[0] },
		    readers_count, (struct slice){ writer.bytes, readers_count == 1 ? writer.len : 0 }, &file, &len));
		seed[0] = 0;
		FUZZ_CHECK(len < sizeof(seed));
		memcpy(seed + 1, file, len);
		add(context, (struct slice){ seed, 1 + len });
		free(file);
	}
	courier_writer_clear(&writer);
}
