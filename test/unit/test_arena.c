/* test_arena.c: bounded memory, strict wire form, and text: what stands between peers and protobuf-c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/arena.h"
#include "proto/cpd.pb-c.h"
#include "proto/text.h"
#include "proto/wire.h"
#include "test/unit/alloc_fault.h"

#define BYTES(...) ((struct slice){ (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }) })
#define TEXT(literal) ((struct slice){ (const uint8_t *)(literal), sizeof(literal) - 1 })

static void arena_gives_aligned_memory_that_does_not_overlap(void **state)
{
	struct arena arena;
	uint8_t *blocks[200];

	(void)state;
	arena_init(&arena, 1 << 20);
	for (size_t i = 0; i < 200; i++) {
		blocks[i] = arena_alloc(&arena, i * 7);
		assert_non_null(blocks[i]);
		assert_int_equal((uintptr_t)blocks[i] % _Alignof(max_align_t), 0);
		memset(blocks[i], (int)i, i * 7);
	}
	for (size_t i = 0; i < 200; i++)
		for (size_t j = 0; j < i * 7; j++)
			assert_int_equal(blocks[i][j], (uint8_t)i);
	assert_false(arena.is_exhausted);
	arena_clear(&arena);
}

static void arena_refuses_above_its_budget(void **state)
{
	struct arena arena;
	size_t got = 0;

	(void)state;
	arena_init(&arena, 10000);
	while (arena_alloc(&arena, 100))
		got += 100;
	assert_true(got > 8000 && got <= 10000);
	assert_true(arena.is_exhausted);
	assert_null(arena_alloc(&arena, SIZE_MAX));
	assert_null(arena_alloc(&arena, SIZE_MAX - 8));
	arena_clear(&arena);
	assert_null(arena_alloc(&arena, 1));
}

static void arena_costs_no_malloc_for_something_small(void **state)
{
	struct arena arena;

	(void)state;
	if (!alloc_fault_works)
		skip();
	arena_init(&arena, 1 << 20);
	alloc_fault_arm(1);
	assert_non_null(arena_alloc(&arena, ARENA_EMBEDDED));
	assert_null(arena_alloc(&arena, 1));
	assert_true(alloc_fault_disarm());
	assert_true(arena.is_exhausted);
	assert_non_null(arena_alloc(&arena, 1));
	arena_clear(&arena);
}

/* A revocation of 4 bytes takes over 100 when unpacked. */
static void a_small_input_cannot_ask_much_memory(void **state)
{
	static uint8_t wire[20000];
	struct arena arena;
	Cpd__DirectoryUpdate *update;
	size_t len = 0;

	(void)state;
	memcpy(wire, "\x08\x01\x10\x01", 4);
	for (len = 4; len + 4 <= sizeof(wire); len += 4)
		memcpy(wire + len, "\x22\x02\x08\x01", 4); /* a revocation of node 1 */
	arena_init(&arena, LIMIT_ARENA(len));
	assert_int_equal(wire_unpack(&cpd__directory_update__descriptor, (struct slice){ wire, len }, &arena, &update),
	    CPD_ERR_TOO_LARGE);
	assert_null(update);
	assert_true(arena.used <= LIMIT_ARENA(len));
	arena_clear(&arena);
}

static void wire_form_is_held(void **state)
{
	const struct { const char *what; struct slice bytes; enum cpd_error error; } cases[] = {
		/* Reference: origin 1 uint32, epoch 2 uint32, sequence 3 uint64 required */
		{ "plain", BYTES(0x08, 0x01, 0x18, 0x05), CPD_OK },
		{ "any order", BYTES(0x18, 0x05, 0x08, 0x01), CPD_OK },
		{ "empty", { NULL, 0 }, CPD_ERR_MISSING },
		{ "required field missing", BYTES(0x08, 0x01), CPD_ERR_MISSING },
		{ "singular field twice", BYTES(0x08, 0x01, 0x08, 0x02, 0x18, 0x05), CPD_ERR_MALFORMED },
		{ "required field twice", BYTES(0x18, 0x05, 0x18, 0x05), CPD_ERR_MALFORMED },
		{ "wrong wire type", BYTES(0x0a, 0x01, 0x01, 0x18, 0x05), CPD_ERR_MALFORMED },
		{ "overlong value", BYTES(0x18, 0x85, 0x00), CPD_ERR_MALFORMED },
		{ "overlong tag", BYTES(0x98, 0x00, 0x05), CPD_ERR_MALFORMED },
		{ "33 bits in a uint32", BYTES(0x08, 0x80, 0x80, 0x80, 0x80, 0x10, 0x18, 0x05), CPD_ERR_RANGE },
		{ "32 bits in a uint32", BYTES(0x08, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x18, 0x05), CPD_OK },
		{ "64 bits", BYTES(0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), CPD_OK },
		{ "65 bits", BYTES(0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02), CPD_ERR_MALFORMED },
		{ "11 bytes", BYTES(0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x01), CPD_ERR_MALFORMED },
		{ "cut value", BYTES(0x18, 0x80), CPD_ERR_MALFORMED },
		{ "field number 0", BYTES(0x00, 0x01, 0x18, 0x05), CPD_ERR_MALFORMED },
		{ "group start", BYTES(0x18, 0x05, 0x7b), CPD_ERR_MALFORMED },
		{ "group end", BYTES(0x18, 0x05, 0x7c), CPD_ERR_MALFORMED },
		{ "unknown varint", BYTES(0x18, 0x05, 0x78, 0x01), CPD_OK },
		{ "unknown twice", BYTES(0x18, 0x05, 0x78, 0x01, 0x78, 0x01), CPD_OK },
		{ "unknown bytes", BYTES(0x18, 0x05, 0x7a, 0x02, 0xff, 0xff), CPD_OK },
		{ "unknown 32 bits", BYTES(0x18, 0x05, 0x7d, 1, 2, 3, 4), CPD_OK },
		{ "unknown 64 bits", BYTES(0x18, 0x05, 0x79, 1, 2, 3, 4, 5, 6, 7, 8), CPD_OK },
		{ "unknown cut", BYTES(0x18, 0x05, 0x7a, 0x03, 0xff, 0xff), CPD_ERR_MALFORMED },
		{ "unknown huge", BYTES(0x18, 0x05, 0x7a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), CPD_ERR_MALFORMED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct arena arena;
		Cpd__Reference *reference;
		enum cpd_error error;

		arena_init(&arena, LIMIT_ARENA(cases[i].bytes.len));
		error = wire_unpack(&cpd__reference__descriptor, cases[i].bytes, &arena, &reference);
		if (error != cases[i].error)
			print_error("case: %s\n", cases[i].what);
		assert_int_equal(error, cases[i].error);
		assert_int_equal(reference != NULL, error == CPD_OK);
		arena_clear(&arena);
	}
}

static void wire_form_is_held_inside_too(void **state)
{
	(void)state;
	/* Frame.want.message with its sequence twice */
	assert_int_equal(wire_check(&cpd__frame__descriptor,
	    BYTES(0x3a, 0x08, 0x08, 0x01, 0x12, 0x04, 0x18, 0x05, 0x18, 0x05)), CPD_ERR_MALFORMED);
	assert_int_equal(wire_check(&cpd__frame__descriptor,
	    BYTES(0x3a, 0x06, 0x08, 0x01, 0x12, 0x02, 0x18, 0x05)), CPD_OK);
	assert_int_equal(wire_check(&cpd__frame__descriptor,
	    BYTES(0x3a, 0x06, 0x08, 0x01, 0x12, 0x02, 0x08, 0x05)), CPD_ERR_MISSING);
}

static void packed_numbers_are_checked_one_by_one(void **state)
{
	const ProtobufCMessageDescriptor *trailer = &cpd__trailer__descriptor;

	(void)state;
	assert_int_equal(wire_check(trailer, BYTES(0x1a, 0x03, 0x01, 0x80, 0x01)), CPD_OK);
	assert_int_equal(wire_check(trailer, BYTES(0x18, 0x01, 0x18, 0x02)), CPD_OK);
	assert_int_equal(wire_check(trailer, BYTES(0x1a, 0x02, 0x01, 0x80)), CPD_ERR_MALFORMED);
	assert_int_equal(wire_check(trailer, BYTES(0x1a, 0x03, 0x01, 0x80, 0x00)), CPD_ERR_MALFORMED);
	assert_int_equal(wire_check(trailer, BYTES(0x1a, 0x05, 0xff, 0xff, 0xff, 0xff, 0x1f)), CPD_ERR_RANGE);
}

static void strings_are_text(void **state)
{
	const ProtobufCMessageDescriptor *receipts = &cpd__receipts__descriptor;

	(void)state;
	assert_int_equal(wire_check(receipts, BYTES(0x12, 0x00, 0x1a, 0x02, 'o', 'k')), CPD_OK);
	assert_int_equal(wire_check(receipts, BYTES(0x12, 0x00, 0x1a, 0x02, 'o', 0)), CPD_ERR_TEXT);
	assert_int_equal(wire_check(receipts, BYTES(0x12, 0x00, 0x1a, 0x01, 0xff)), CPD_ERR_TEXT);
}

static void field_is_found_where_it_stands(void **state)
{
	struct slice bytes = BYTES(0x08, 0x01, 0x12, 0x02, 0xaa, 0xbb, 0x1a, 0x00, 0x12, 0x01, 0xcc);
	struct slice found = wire_find(bytes, 2);

	(void)state;
	assert_ptr_equal(found.data, bytes.data + 4);
	assert_int_equal(found.len, 2);
	assert_non_null(wire_find(bytes, 3).data);
	assert_int_equal(wire_find(bytes, 3).len, 0);
	assert_null(wire_find(bytes, 1).data);
	assert_null(wire_find(bytes, 4).data);
	assert_null(wire_find((struct slice){ NULL, 0 }, 1).data);
	assert_null(wire_find(BYTES(0x12, 0x03, 0xaa, 0xbb), 2).data); /* longer than what is there */
	assert_null(wire_find(BYTES(0x12, 0x80), 2).data);
}

static void packing_does_not_overrun(void **state)
{
	Cpd__Reference reference = CPD__REFERENCE__INIT;
	uint8_t buf[4] = { 0, 0, 0xee, 0xee };
	size_t len = 9;

	(void)state;
	reference.sequence = 300;
	assert_int_equal(wire_pack(&reference.base, buf, 2, &len), CPD_ERR_TOO_LARGE);
	assert_int_equal(len, 0);
	assert_int_equal(buf[2], 0xee);
	assert_int_equal(wire_pack(&reference.base, buf, 3, &len), CPD_OK);
	assert_int_equal(len, 3);
	assert_int_equal(buf[3], 0xee);
}

static void text_that_is_not_utf8_is_refused(void **state)
{
	const struct slice good[] = {
		{ NULL, 0 }, TEXT("noodsteunpunt"), TEXT("co\xc3\xb6rdinatiepunt"), TEXT("\xe2\x82\xac 5"),
		TEXT("\xf0\x9f\x9a\x92"), TEXT("\xc2\xa0"), TEXT("\xdf\xbf"), TEXT("\xe0\xa0\x80"), TEXT("\xed\x9f\xbf"),
		TEXT("\xee\x80\x80"), TEXT("\xf0\x90\x80\x80"), TEXT("\xf4\x8f\xbf\xbf"), TEXT("~"),
	};
	const struct slice bad[] = {
		TEXT("\x80"), TEXT("\xc3"), TEXT("\xc3("), TEXT("\xc0\xaf"), TEXT("\xc1\xbf"), TEXT("\xe0\x80\xaf"),
		TEXT("\xe0\x9f\xbf"), TEXT("\xf0\x80\x80\xaf"), TEXT("\xf0\x8f\xbf\xbf"), TEXT("\xed\xa0\x80"),
		TEXT("\xed\xbf\xbf"), TEXT("\xf4\x90\x80\x80"), TEXT("\xf5\x80\x80\x80"), TEXT("\xff"), TEXT("\xfe"),
		TEXT("\xe2\x82"), TEXT("\xf0\x9f\x9a"), TEXT("ok\xe2\x82"), TEXT("a\0b"), TEXT("\0"), TEXT("\x1b[2J"),
		TEXT("\x7f"), TEXT("\xc2\x80"), TEXT("\xc2\x9b"), TEXT("\xc2\x9f"), TEXT("\r"), TEXT("\x01"),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(text_check(good[i], 100, 100, TEXT_ONE_LINE), CPD_OK);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(text_check(bad[i], 100, 100, TEXT_LINES), CPD_ERR_TEXT);
		assert_int_equal(text_check(bad[i], 100, 100, TEXT_ONE_LINE), CPD_ERR_TEXT);
	}
}

static void lines_are_for_where_lines_are_allowed(void **state)
{
	(void)state;
	assert_int_equal(text_check(TEXT("a\n\tb"), 100, 100, TEXT_LINES), CPD_OK);
	assert_int_equal(text_check(TEXT("a\nb"), 100, 100, TEXT_ONE_LINE), CPD_ERR_TEXT);
	assert_int_equal(text_check(TEXT("a\tb"), 100, 100, TEXT_ONE_LINE), CPD_ERR_TEXT);
}

static void text_is_bounded_in_bytes_and_in_characters(void **state)
{
	(void)state;
	assert_int_equal(text_check(TEXT("\xe2\x82\xac\xe2\x82\xac"), 6, 2, TEXT_ONE_LINE), CPD_OK);
	assert_int_equal(text_check(TEXT("\xe2\x82\xac\xe2\x82\xac"), 5, 2, TEXT_ONE_LINE), CPD_ERR_TOO_LARGE);
	assert_int_equal(text_check(TEXT("\xe2\x82\xac\xe2\x82\xac"), 6, 1, TEXT_ONE_LINE), CPD_ERR_TOO_LARGE);
	assert_int_equal(text_characters(TEXT("co\xc3\xb6p \xf0\x9f\x9a\x92")), 6);
	assert_int_equal(text_check_string(NULL, 0, 0, TEXT_ONE_LINE), CPD_OK);
	assert_int_equal(text_check_string("abc", 3, 3, TEXT_ONE_LINE), CPD_OK);
	assert_int_equal(text_check_string("abcd", 3, 4, TEXT_ONE_LINE), CPD_ERR_TOO_LARGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arena_gives_aligned_memory_that_does_not_overlap),
		cmocka_unit_test(arena_refuses_above_its_budget),
		cmocka_unit_test(arena_costs_no_malloc_for_something_small),
		cmocka_unit_test(a_small_input_cannot_ask_much_memory),
		cmocka_unit_test(wire_form_is_held),
		cmocka_unit_test(wire_form_is_held_inside_too),
		cmocka_unit_test(packed_numbers_are_checked_one_by_one),
		cmocka_unit_test(strings_are_text),
		cmocka_unit_test(field_is_found_where_it_stands),
		cmocka_unit_test(packing_does_not_overrun),
		cmocka_unit_test(text_that_is_not_utf8_is_refused),
		cmocka_unit_test(lines_are_for_where_lines_are_allowed),
		cmocka_unit_test(text_is_bounded_in_bytes_and_in_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
