/* test_courier.c: proto/courier.h and crypto/courier.h: a file of which nothing is taken unless all of it is right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <sodium.h>

#include "crypto/courier.h"
#include "test/unit/alloc_fault.h"
#include "test/unit/scratch.h"

#define VECTORS "test/vectors/courier.json"

/* ---------------------------------------------------------------- a region of three */

enum { WRITER = 344003, READER = 901, OTHER = 902 };

struct world {
	struct identity *writer, *reader, *other;
	struct certificate certificates[3];
	struct directory *directory;
};

static const struct region_anchor names = { .network = "nl", .region = "VR09", .name = "Utrecht" };

static struct identity *node_make(struct world *world, size_t i, uint32_t number, const char *dir)
{
	struct region_anchor anchor = names;
	struct identity *identity;

	assert_int_equal(identity_create(dir, number, &identity), CPD_OK);
	identity_public_keys(identity, &world->certificates[i]);
	memcpy(anchor.authority_key, world->certificates[i].signing_key, 32);   /* any good key: nothing here is the authority's */
	assert_int_equal(identity_install(identity, number, 1, &anchor), CPD_OK);
	world->certificates[i] = (struct certificate){ .node = number, .role = ROLE_ID_CP, .key_number = 1, .name = "x" };
	identity_public_keys(identity, &world->certificates[i]);
	return identity;
}

static void world_begin(struct world *world)
{
	struct directory_update update = { .number = 1, .created_s = 1, .certificates = world->certificates, .certificate_count = 3 };

	world->reader = node_make(world, 0, READER, "reader");
	world->other = node_make(world, 1, OTHER, "other");
	world->writer = node_make(world, 2, WRITER, "writer");
	world->directory = directory_new();
	assert_int_equal(directory_apply(world->directory, &update), CPD_OK);
}

static void world_end(struct world *world)
{
	identity_free(world->writer);
	identity_free(world->reader);
	identity_free(world->other);
	directory_free(world->directory);
}

static const struct courier_head head = { .epoch = 2, .number = 7, .directory = 1, .time_s = 28100000, .clock_quality = CLOCK_NTP };
static const struct courier_tag tag = { .link = READER, .counter = 12, .type = ITEM_TYPE_MESSAGE, .precedence = PRECEDENCE_FLASH,
	.id = { WRITER, 2, 118 }, .retry = 3, .after_epoch = 1 };
static const struct courier_tag leaf = { .type = ITEM_TYPE_LEAF, .precedence = PRECEDENCE_ROUTINE, .id = { WRITER, 2, 119 } };
static const uint8_t some[] = { 8, 1, 2, 3 };
static const struct slice bytes = { some, sizeof(some) };

/* One part of each kind. */
static void content_make(struct courier_writer *content)
{
	const struct courier_ack acks[2] = { { tag, REFUSED_NONE }, { tag, REFUSED_FULL } };

	*content = (struct courier_writer){ .most = LIMIT_COURIER };
	assert_int_equal(courier_put_update(content, bytes), CPD_OK);
	assert_int_equal(courier_put_presence(content, bytes, 40), CPD_OK);
	assert_int_equal(courier_put_acks(content, READER, 5, acks, 2), CPD_OK);
	assert_int_equal(courier_put_item(content, READER, &tag, bytes), CPD_OK);
	assert_int_equal(courier_put_item(content, 0, &leaf, bytes), CPD_OK);
}

static struct slice whole(const struct courier_writer *content)
{
	return (struct slice){ content->bytes, content->len };
}

/* Sealed to READER and OTHER. */
static void file_make(const struct world *world, struct slice content, uint8_t **file, size_t *len)
{
	const struct certificate *readers[2] = { &world->certificates[0], &world->certificates[1] };

	assert_int_equal(courier_seal(world->writer, &head, readers, 2, content, file, len), CPD_OK);
}

/* On a copy, as opening works in place. */
static enum cpd_error open_copy(const struct world *world, const struct identity *identity, const uint8_t *file, size_t len)
{
	uint8_t *copy = malloc(len + 1);
	struct courier_file out;
	struct slice content;
	size_t items;
	enum cpd_error error;

	memcpy(copy, file, len);
	error = courier_open(identity, world->directory, copy, len, &out, &content, &items);
	if (error) {
		assert_null(content.data);
		assert_int_equal(content.len, 0);
		assert_int_equal(items, 0);
	}
	free(copy);
	return error;
}

/* ---------------------------------------------------------------- the file */

static void each_reader_opens_what_was_sealed(void **state)
{
	struct courier_writer content;
	struct world world;
	uint8_t *file, *copy;
	size_t len, items;

	(void)state;
	world_begin(&world);
	content_make(&content);
	file_make(&world, whole(&content), &file, &len);
	assert_int_equal(len, courier_overhead(2) + content.len);
	for (int i = 0; i < 2; i++) {
		struct courier_file out;
		struct slice opened;

		copy = malloc(len);
		memcpy(copy, file, len);
		assert_int_equal(courier_open(i ? world.other : world.reader, world.directory, copy, len, &out, &opened, &items), CPD_OK);
		assert_int_equal(out.head.writer, WRITER);
		assert_int_equal(out.head.epoch, 2);
		assert_int_equal(out.head.number, 7);
		assert_int_equal(out.head.directory, 1);
		assert_int_equal(out.head.time_s, 28100000);
		assert_int_equal(out.head.clock_quality, CLOCK_NTP);
		assert_int_equal(opened.len, content.len);
		assert_memory_equal(opened.data, content.bytes, content.len);
		assert_int_equal(items, 2);
		free(copy);
	}
	assert_null(memmem(file, len, content.bytes, content.len));
	free(file);
	courier_writer_clear(&content);
	world_end(&world);
}

/* The heart of it: whatever a stick does to a file, nothing of it is taken. */
static void every_cut_and_every_flipped_bit_is_refused(void **state)
{
	struct courier_writer content;
	struct world world;
	uint8_t *file;
	size_t len;

	(void)state;
	world_begin(&world);
	content_make(&content);
	file_make(&world, whole(&content), &file, &len);
	for (size_t cut = 0; cut < len; cut++)
		assert_int_not_equal(open_copy(&world, world.reader, file, cut), CPD_OK);
	file = realloc(file, len + 1);
	file[len] = 0;
	assert_int_equal(open_copy(&world, world.reader, file, len + 1), CPD_ERR_DAMAGED);
	for (size_t bit = 0; bit < len * 8; bit++) {
		file[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		assert_int_not_equal(open_copy(&world, world.reader, file, len), CPD_OK);
		file[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	assert_int_equal(open_copy(&world, world.reader, file, len), CPD_OK);
	free(file);
	courier_writer_clear(&content);
	world_end(&world);
}

static void who_it_is_not_for_is_told_so(void **state)
{
	const struct certificate *only[1];
	struct certificate older;
	struct world world;
	uint8_t *file;
	size_t len;

	(void)state;
	world_begin(&world);
	only[0] = &world.certificates[0];
	assert_int_equal(courier_seal(world.writer, &head, only, 1, (struct slice){ NULL, 0 }, &file, &len), CPD_OK);
	assert_int_equal(open_copy(&world, world.reader, file, len), CPD_OK);
	assert_int_equal(open_copy(&world, world.other, file, len), CPD_ERR_NOT_FOUND);
	assert_int_equal(open_copy(&world, world.writer, file, len), CPD_ERR_STATE);
	free(file);
	older = world.certificates[0];
	older.key_number = 2;
	only[0] = &older;
	assert_int_equal(courier_seal(world.writer, &head, only, 1, (struct slice){ NULL, 0 }, &file, &len), CPD_OK);
	assert_int_equal(open_copy(&world, world.reader, file, len), CPD_ERR_CONFLICT);
	free(file);
	world_end(&world);
}

static void a_writer_that_is_not_known_or_revoked_is_refused(void **state)
{
	struct revocation revocation = { .node = WRITER, .key_number = 1, .last_epoch = 9, .last_sequence = 1 };
	struct directory_update update = { .number = 2, .revocations = &revocation, .revocation_count = 1 };
	struct directory *empty = directory_new(), *full;
	struct world world;
	uint8_t *file;
	size_t len;

	(void)state;
	world_begin(&world);
	file_make(&world, (struct slice){ NULL, 0 }, &file, &len);
	full = world.directory;
	world.directory = empty;
	assert_int_equal(open_copy(&world, world.reader, file, len), CPD_ERR_UNKNOWN_SIGNER);
	world.directory = full;
	assert_int_equal(directory_apply(world.directory, &update), CPD_OK);
	assert_int_equal(open_copy(&world, world.reader, file, len), CPD_ERR_REVOKED);
	free(file);
	directory_free(empty);
	world_end(&world);
}

/* Somebody certified takes another's file, puts his own name and signature on it, and hands it in: what is sealed is bound
 * to who sealed it. */
static void a_file_cannot_be_passed_off_as_ones_own(void **state)
{
	struct courier_writer content;
	struct world world;
	uint8_t *file, digest[32];
	size_t len;

	(void)state;
	world_begin(&world);
	content_make(&content);
	file_make(&world, whole(&content), &file, &len);
	for (int i = 0; i < 4; i++)
		file[14 + i] = (uint8_t)(OTHER >> (24 - 8 * i));
	crypto_digest(digest, 32, file, len - 64);
	assert_int_equal(sign_bytes(world.other, SIGN_COURIER, (struct slice){ digest, 32 }, file + len - 64), CPD_OK);
	assert_int_equal(open_copy(&world, world.reader, file, len), CPD_ERR_BAD_SIGNATURE);
	free(file);
	courier_writer_clear(&content);
	world_end(&world);
}

static void what_is_no_file_or_of_a_later_cpd_is_told_apart(void **state)
{
	struct courier_file out;
	uint8_t text[200] = "cpd-courier 2\n";

	(void)state;
	assert_int_equal(courier_decode((struct slice){ text, sizeof(text) }, &out), CPD_ERR_VERSION);
	text[4] = 'k';
	assert_int_equal(courier_decode((struct slice){ text, sizeof(text) }, &out), CPD_ERR_MALFORMED);
	assert_int_equal(courier_decode((struct slice){ text, 0 }, &out), CPD_ERR_MALFORMED);
	assert_int_equal(courier_decode((struct slice){ NULL, 0 }, &out), CPD_ERR_MALFORMED);
	memcpy(text, "cpd-courier 1\n", 14);
	assert_int_equal(courier_decode((struct slice){ text, 14 }, &out), CPD_ERR_DAMAGED);
}

static void a_head_out_of_bounds_is_not_made(void **state)
{
	const struct certificate *readers[2];
	struct courier_head bad = head;
	struct world world;
	uint8_t *file;
	size_t len;

	(void)state;
	world_begin(&world);
	readers[0] = &world.certificates[1];
	readers[1] = &world.certificates[0];
	assert_int_equal(courier_seal(world.writer, &head, readers, 2, bytes, &file, &len), CPD_ERR_RANGE);
	assert_null(file);
	assert_int_equal(courier_seal(world.writer, &head, readers, 0, bytes, &file, &len), CPD_ERR_RANGE);
	assert_int_equal(courier_seal(world.writer, &head, readers, LIMIT_COURIER_READERS + 1, bytes, &file, &len), CPD_ERR_TOO_LARGE);
	assert_int_equal(courier_seal(world.writer, &head, readers, 1, (struct slice){ some, LIMIT_COURIER }, &file, &len), CPD_ERR_TOO_LARGE);
	bad.number = 0;
	assert_int_equal(courier_seal(world.writer, &bad, readers, 1, bytes, &file, &len), CPD_ERR_RANGE);
	bad.number = 1;
	bad.epoch = 0;
	assert_int_equal(courier_seal(world.writer, &bad, readers, 1, bytes, &file, &len), CPD_ERR_RANGE);
	world_end(&world);
}

static void a_file_that_finds_no_memory_is_not_made(void **state)
{
	const struct certificate *readers[1];
	struct world world;
	uint8_t *file;
	size_t len;

	(void)state;
	if (!alloc_fault_works)
		skip();
	world_begin(&world);
	readers[0] = &world.certificates[0];
	ASSERT_NOMEM_EVERYWHERE(courier_seal(world.writer, &head, readers, 1, bytes, &file, &len), free(file));
	world_end(&world);
}

/* ---------------------------------------------------------------- the content */

static void tag_is(const struct courier_tag *is, const struct courier_tag *should)
{
	assert_int_equal(is->link, should->link);
	assert_int_equal(is->counter, should->counter);
	assert_int_equal(is->type, should->type);
	assert_int_equal(is->precedence, should->precedence);
	assert_true(message_id_equal(&is->id, &should->id));
	assert_int_equal(is->retry, should->retry);
	assert_int_equal(is->after_epoch, should->after_epoch);
}

static void parts_are_read_as_they_were_put(void **state)
{
	struct courier_writer content;
	struct courier_part part;
	struct courier_ack ack;
	struct slice rest;
	size_t items;

	(void)state;
	content_make(&content);
	rest = whole(&content);
	assert_int_equal(courier_check(rest, &items), CPD_OK);
	assert_int_equal(items, 2);
	assert_true(courier_next(&rest, &part));
	assert_int_equal(part.type, COURIER_UPDATE);
	assert_memory_equal(part.bytes.data, some, part.bytes.len);
	assert_true(courier_next(&rest, &part));
	assert_int_equal(part.type, COURIER_PRESENCE);
	assert_int_equal(part.age_s, 40);
	assert_int_equal(part.bytes.len, sizeof(some));
	assert_true(courier_next(&rest, &part));
	assert_int_equal(part.type, COURIER_ACKS);
	assert_int_equal(part.writer, READER);
	assert_int_equal(part.epoch, 5);
	assert_int_equal(part.ack_count, 2);
	ack = courier_ack_at(&part, 1);
	assert_int_equal(ack.reason, REFUSED_FULL);
	tag_is(&ack.tag, &tag);
	assert_true(courier_next(&rest, &part));
	assert_int_equal(part.type, COURIER_ITEM);
	assert_int_equal(part.next, READER);
	tag_is(&part.tag, &tag);
	assert_int_equal(part.bytes.len, sizeof(some));
	assert_true(courier_next(&rest, &part));
	tag_is(&part.tag, &leaf);
	assert_int_equal(part.next, 0);
	assert_false(courier_next(&rest, &part));
	courier_writer_clear(&content);
}

static void a_part_of_a_later_version_is_passed_over(void **state)
{
	static const uint8_t later[] = { 9, 0, 0, 0, 2, 'h', 'i', 1, 0, 0, 0, 1, 8 };
	struct slice rest = { later, sizeof(later) };
	struct courier_part part;

	(void)state;
	assert_int_equal(courier_check(rest, NULL), CPD_OK);
	assert_true(courier_next(&rest, &part));
	assert_int_equal(part.type, 0);
	assert_true(courier_next(&rest, &part));
	assert_int_equal(part.type, COURIER_UPDATE);
	assert_int_equal(part.bytes.len, 1);
}

/* Signed and sealed by somebody certified, and wrong all the same. */
static void content_out_of_bounds_is_refused(void **state)
{
	struct courier_writer content = { .most = LIMIT_COURIER };
	struct courier_ack ack = { tag, REFUSED_NONE };
	struct courier_tag bad = tag;
	struct world world;
	uint8_t *file;
	size_t len;

	(void)state;
	assert_int_equal(courier_put_item(&content, READER, &tag, (struct slice){ some, 0 }), CPD_ERR_RANGE);
	assert_int_equal(courier_put_item(&content, READER, &tag, (struct slice){ some, LIMIT_ITEM + 1 }), CPD_ERR_RANGE);
	bad.counter = 0;
	assert_int_equal(courier_put_item(&content, READER, &bad, bytes), CPD_ERR_RANGE);
	assert_int_equal(courier_put_acks(&content, READER, 1, &ack, 0), CPD_ERR_RANGE);
	ack.tag = leaf;
	assert_int_equal(courier_put_acks(&content, READER, 1, &ack, 1), CPD_ERR_RANGE);
	assert_int_equal(content.len, 0);
	/* an item before an update: not in order */
	assert_int_equal(courier_put_item(&content, READER, &tag, bytes), CPD_OK);
	assert_int_equal(courier_put_update(&content, bytes), CPD_OK);
	assert_int_equal(courier_check(whole(&content), NULL), CPD_ERR_MALFORMED);
	world_begin(&world);
	file_make(&world, whole(&content), &file, &len);
	assert_int_equal(open_copy(&world, world.reader, file, len), CPD_ERR_MALFORMED);
	free(file);
	world_end(&world);
	/* a precedence that there is none of */
	content.len = COURIER_PART_HEAD + 4 + COURIER_TAG_LEN + sizeof(some);
	content.bytes[COURIER_PART_HEAD + 4 + 12] = 0x51;
	assert_int_equal(courier_check(whole(&content), NULL), CPD_ERR_RANGE);
	courier_writer_clear(&content);
}

static void every_cut_of_a_content_is_refused_or_ends_at_a_part(void **state)
{
	struct courier_writer content;
	size_t good = 0;

	(void)state;
	content_make(&content);
	for (size_t len = 0; len <= content.len; len++)
		good += !courier_check((struct slice){ content.bytes, len }, NULL);
	assert_int_equal(good, 6);           /* empty, and after each of the five parts */
	courier_writer_clear(&content);
}

static void a_full_writer_keeps_what_it_has(void **state)
{
	struct courier_writer content = { .most = 60 };

	(void)state;
	assert_int_equal(courier_put_item(&content, READER, &tag, bytes), CPD_OK);
	assert_int_equal(content.len, 50);
	assert_int_equal(courier_put_item(&content, READER, &tag, bytes), CPD_ERR_FULL);
	assert_int_equal(content.len, 50);
	assert_int_equal(courier_put_update(&content, bytes), CPD_OK);
	assert_int_equal(content.len, 59);
	courier_writer_clear(&content);
}

static void a_writer_without_memory_keeps_what_it_has(void **state)
{
	struct courier_writer content = { .most = LIMIT_COURIER };
	const struct courier_ack ack = { tag, REFUSED_NONE };

	(void)state;
	ASSERT_NOMEM_EVERYWHERE(courier_put_item(&content, READER, &tag, bytes), courier_writer_clear(&content));
	ASSERT_NOMEM_EVERYWHERE(courier_put_update(&content, bytes), courier_writer_clear(&content));
	ASSERT_NOMEM_EVERYWHERE(courier_put_presence(&content, bytes, 5), courier_writer_clear(&content));
	ASSERT_NOMEM_EVERYWHERE(courier_put_acks(&content, READER, 1, &ack, 1), courier_writer_clear(&content));
}

/* ---------------------------------------------------------------- a file made by another library */

static struct slice unhex(const json_t *object, const char *name, uint8_t *buf, size_t size)
{
	const char *text = json_string_value(json_object_get(object, name));
	struct slice out = { buf, 0 };

	assert_non_null(text);
	assert_int_equal(sodium_hex2bin(buf, size, text, strlen(text), NULL, &out.len, NULL), 0);
	return out;
}

static void key_put(const json_t *vector, const char *name, const char *path)
{
	const char *text = json_string_value(json_object_get(vector, name));
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fprintf(file, "%s\n", text);
	assert_int_equal(fclose(file), 0);
}

static json_t *vectors;

static void the_published_file_is_opened(void **state)
{
	struct certificate certificate = { .node = 344003, .role = ROLE_ID_NSP, .key_number = 1, .name = "x" };
	struct directory_update update = { .number = 1, .certificates = &certificate, .certificate_count = 1 };
	struct directory *directory = directory_new();
	struct region_anchor anchor = names;
	static uint8_t file[4096], content[4096];
	struct slice bytes_of, should, opened;
	struct courier_file out;
	struct identity *reader;
	size_t items;

	(void)state;
	assert_int_equal(identity_create("reader", 901, &reader), CPD_OK);
	(void)unhex(vectors, "writer_signing_key", anchor.authority_key, 32);
	assert_int_equal(identity_install(reader, 901, 1, &anchor), CPD_OK);
	identity_free(reader);
	key_put(vectors, "reader_sealing_secret", "reader/sealing.key");
	assert_int_equal(identity_load("reader", &reader, NULL), CPD_OK);
	(void)unhex(vectors, "writer_signing_key", certificate.signing_key, 32);
	memset(certificate.sealing_key, 1, 32);
	memset(certificate.transport_key, 1, 32);
	assert_int_equal(directory_apply(directory, &update), CPD_OK);
	bytes_of = unhex(vectors, "file", file, sizeof(file));
	should = unhex(vectors, "content", content, sizeof(content));
	assert_int_equal(courier_open(reader, directory, file, bytes_of.len, &out, &opened, &items), CPD_OK);
	assert_int_equal(opened.len, should.len);
	assert_memory_equal(opened.data, should.data, should.len);
	assert_int_equal(out.head.writer, 344003);
	assert_int_equal(out.head.number, 7);
	assert_int_equal(items, 1);
	identity_free(reader);
	directory_free(directory);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(each_reader_opens_what_was_sealed),
		WITH_FOLDER(every_cut_and_every_flipped_bit_is_refused),
		WITH_FOLDER(who_it_is_not_for_is_told_so),
		WITH_FOLDER(a_writer_that_is_not_known_or_revoked_is_refused),
		WITH_FOLDER(a_file_cannot_be_passed_off_as_ones_own),
		cmocka_unit_test(what_is_no_file_or_of_a_later_cpd_is_told_apart),
		WITH_FOLDER(a_head_out_of_bounds_is_not_made),
		WITH_FOLDER(a_file_that_finds_no_memory_is_not_made),
		cmocka_unit_test(parts_are_read_as_they_were_put),
		cmocka_unit_test(a_part_of_a_later_version_is_passed_over),
		WITH_FOLDER(content_out_of_bounds_is_refused),
		cmocka_unit_test(every_cut_of_a_content_is_refused_or_ends_at_a_part),
		cmocka_unit_test(a_full_writer_keeps_what_it_has),
		cmocka_unit_test(a_writer_without_memory_keeps_what_it_has),
		WITH_FOLDER(the_published_file_is_opened),
	};

	if (crypto_start() != CPD_OK)
		return 1;
	vectors = json_load_file(VECTORS, 0, NULL);
	if (!vectors) {
		fprintf(stderr, "cannot read %s: run this from the top of the tree\n", VECTORS);
		return 1;
	}
	return cmocka_run_group_tests_name("courier", tests, NULL, NULL);
}
