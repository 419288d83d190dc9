/* test_frame.c: link frames. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/frame.h"
#include "test/unit/alloc_fault.h"
#include "test/unit/damage.h"

static const uint8_t bytes_of_any_kind[LIMIT_FRAME] = "a piece of an item";
static uint8_t buf[LIMIT_FRAME + 1];

static struct slice piece(size_t len)
{
	return (struct slice){ bytes_of_any_kind, len };
}

static void make_frame(struct frame *out, unsigned has)
{
	memset(out, 0, sizeof(*out));
	out->has = has;
	out->hello.version = out->hello.version_min = 1;
	out->hello.epoch = 2;
	out->hello.clock_ms = -1;
	out->data = (struct frame_data){ .serial = 77, .type = ITEM_TYPE_RECEIPTS, .precedence = PRECEDENCE_FLASH,
		.total = 1000, .offset = 300, .piece = piece(400) };
	out->ack_received = 100000;
	out->refusal = (struct frame_refusal){ 5, REFUSED_FULL };
	out->credit = (struct frame_credit){ 1, 262144, 65536 };
	out->presence = (struct frame_presence){ piece(100), 9 };
	out->want = (struct frame_want){ 6, { 344003, 2, 118 }, piece(257) };
	out->introduction = piece(900);
	out->directory = 12;
}

/* Encodes, decodes; returns the length. */
static size_t round_trip(const struct frame *frame, struct frame *back)
{
	size_t len;

	assert_int_equal(frame_encode(frame, buf, &len), CPD_OK);
	assert_int_equal(frame_decode((struct slice){ buf, len }, back), CPD_OK);
	assert_int_equal(back->has, frame->has);
	return len;
}

static void assert_inside(struct slice inner, size_t len)
{
	assert_true(inner.data >= buf && inner.data + inner.len <= buf + len);
	assert_memory_equal(inner.data, bytes_of_any_kind, inner.len);
}

/* ---------------------------------------------------------------- size */

static void a_hop_acknowledgement_is_at_most_12_bytes(void **state)
{
	struct frame frame, back;
	size_t len;

	(void)state;
	make_frame(&frame, FRAME_ACK);
	len = round_trip(&frame, &back);
	print_message("hop acknowledgement: %zu B\n", len);
	assert_true(len <= 12);
	assert_true(back.ack_received == 100000);
}

static void a_keepalive_is_an_empty_frame(void **state)
{
	struct frame frame, back;

	(void)state;
	make_frame(&frame, 0);
	assert_int_equal(round_trip(&frame, &back), 0);
}

/* ---------------------------------------------------------------- round trip */

static void hello_comes_back_as_written(void **state)
{
	struct frame frame, back;
	struct frame_hello *hello = &frame.hello;

	(void)state;
	make_frame(&frame, FRAME_HELLO);
	round_trip(&frame, &back);
	assert_memory_equal(&back.hello, hello, sizeof(*hello));
	hello->version = 3;
	hello->version_min = 2;
	hello->your_epoch = 9;
	hello->claim = 3;
	hello->instance = UINT64_MAX;
	hello->received = UINT64_MAX;
	hello->received_bitmap.len = LIMIT_ACK_BITMAP;
	memset(hello->received_bitmap.bits, 0x5a, LIMIT_ACK_BITMAP);
	hello->next_serial = 11;
	hello->seen_epoch = 12;
	hello->seen_sequence = 13;
	hello->directory = 14;
	hello->clock_ms = INT64_MAX;
	hello->clock_quality = CLOCK_GNSS;
	hello->credit_bulk = 15;
	hello->credit_urgent = 16;
	round_trip(&frame, &back);
	assert_memory_equal(&back.hello, hello, sizeof(*hello));
	hello->clock_ms = 0; /* told, and zero */
	round_trip(&frame, &back);
	assert_true(back.hello.clock_ms == 0);
}

static void data_comes_back_as_written(void **state)
{
	struct frame frame, back;
	size_t len;

	(void)state;
	make_frame(&frame, FRAME_DATA | FRAME_ACK | FRAME_CREDIT | FRAME_DIRECTORY);
	frame.ack_bitmap.len = 3;
	memcpy(frame.ack_bitmap.bits, "\x01\x00\x80", 3);
	len = round_trip(&frame, &back);
	assert_true(back.data.serial == 77);
	assert_int_equal(back.data.type, ITEM_TYPE_RECEIPTS);
	assert_int_equal(back.data.precedence, PRECEDENCE_FLASH);
	assert_int_equal(back.data.total, 1000);
	assert_int_equal(back.data.offset, 300);
	assert_int_equal(back.data.piece.len, 400);
	assert_inside(back.data.piece, len);
	assert_memory_equal(&back.ack_bitmap, &frame.ack_bitmap, sizeof(back.ack_bitmap));
	assert_memory_equal(&back.credit, &frame.credit, sizeof(back.credit));
	assert_int_equal(back.directory, 12);
	/* All of an item in one piece. */
	frame.data.total = 400;
	frame.data.offset = 0;
	assert_true(round_trip(&frame, &back) < len);
	assert_int_equal(back.data.total, 400);
	assert_int_equal(back.data.offset, 0);
}

static void the_other_parts_come_back_as_written(void **state)
{
	struct frame frame, back;
	size_t len;

	(void)state;
	make_frame(&frame, FRAME_REFUSAL | FRAME_ACK);
	frame.refusal.reason = (enum cpd_reason)99; /* of a later version */
	round_trip(&frame, &back);
	assert_true(back.refusal.serial == 5);
	assert_int_equal(back.refusal.reason, 99);
	make_frame(&frame, FRAME_PRESENCE);
	len = round_trip(&frame, &back);
	assert_int_equal(back.presence.age_s, 9);
	assert_int_equal(back.presence.record.len, 100);
	assert_inside(back.presence.record, len);
	make_frame(&frame, FRAME_WANT | FRAME_CREDIT);
	len = round_trip(&frame, &back);
	assert_true(back.want.serial == 6);
	assert_true(message_id_equal(&back.want.message, &frame.want.message));
	assert_int_equal(back.want.held.len, 257);
	assert_inside(back.want.held, len);
	make_frame(&frame, FRAME_INTRODUCTION);
	len = round_trip(&frame, &back);
	assert_int_equal(back.introduction.len, 900);
	assert_inside(back.introduction, len);
}

/* ---------------------------------------------------------------- rules */

static void only_parts_that_may_stand_together_do(void **state)
{
	static const unsigned mains[] = {
		FRAME_HELLO, FRAME_DATA, FRAME_REFUSAL, FRAME_WANT, FRAME_PRESENCE, FRAME_INTRODUCTION,
	};
	struct frame frame, back;
	size_t len;

	(void)state;
	for (unsigned has = 0; has < 1u << 9; has++) {
		unsigned main_count = 0;
		bool stands_alone = has & (FRAME_HELLO | FRAME_INTRODUCTION), expected;

		for (size_t i = 0; i < 6; i++)
			main_count += (has & mains[i]) != 0;
		expected = main_count <= 1 && !(stands_alone && (has & (FRAME_ACK | FRAME_CREDIT | FRAME_DIRECTORY)));
		make_frame(&frame, has);
		if (expected) {
			round_trip(&frame, &back);
			continue;
		}
		assert_int_equal(frame_encode(&frame, buf, &len), CPD_ERR_MALFORMED);
		/* The same from a peer: two frames one behind the other are one frame with both parts. */
		for (unsigned part = 1, at = 0; part < 1u << 9; part <<= 1) {
			if (!(has & part))
				continue;
			make_frame(&frame, part);
			assert_int_equal(frame_encode(&frame, buf + at, &len), CPD_OK);
			at += (unsigned)len;
			if ((part << 1) > has)
				assert_int_equal(frame_decode((struct slice){ buf, at }, &back), CPD_ERR_MALFORMED);
		}
		assert_int_equal(back.has, 0);
	}
	make_frame(&frame, 1u << 9);
	assert_int_equal(frame_encode(&frame, buf, &len), CPD_ERR_MALFORMED);
}

static void a_frame_out_of_bounds_is_not_written(void **state)
{
	struct frame frame;
	size_t len;

	(void)state;
#define REFUSED_WHEN(part, change, expected) \
	do { \
		make_frame(&frame, part); \
		change; \
		assert_int_equal(frame_encode(&frame, buf, &len), expected); \
		assert_int_equal(len, 0); \
	} while (0)
	REFUSED_WHEN(FRAME_HELLO, frame.hello.version = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_HELLO, frame.hello.version_min = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_HELLO, frame.hello.version_min = 2, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_HELLO, frame.hello.epoch = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_HELLO, frame.hello.clock_ms = -2, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_HELLO, frame.hello.received_bitmap.len = LIMIT_ACK_BITMAP + 1, CPD_ERR_TOO_LARGE);
	REFUSED_WHEN(FRAME_ACK, frame.ack_bitmap.len = LIMIT_ACK_BITMAP + 1, CPD_ERR_TOO_LARGE);
	REFUSED_WHEN(FRAME_DATA, frame.data.serial = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_DATA, frame.data.type = (enum item_type)0, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_DATA, frame.data.type = (enum item_type)5, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_DATA, frame.data.precedence = PRECEDENCE_COUNT, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_DATA, frame.data.piece.len = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_DATA, frame.data.piece.len = 701, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_DATA, frame.data.offset = 601, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_DATA, frame.data.offset = UINT32_MAX, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_DATA, frame.data.total = 399, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_DATA, frame.data.total = LIMIT_ITEM + 1, CPD_ERR_TOO_LARGE);
	REFUSED_WHEN(FRAME_DATA, frame.data.piece.len = LIMIT_PIECE + 1, CPD_ERR_TOO_LARGE);
	REFUSED_WHEN(FRAME_REFUSAL, frame.refusal.serial = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_REFUSAL, frame.refusal.reason = REFUSED_NONE, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_PRESENCE, frame.presence.record.len = 0, CPD_ERR_MISSING);
	REFUSED_WHEN(FRAME_PRESENCE, frame.presence.record.len = LIMIT_PRESENCE + 1, CPD_ERR_TOO_LARGE);
	REFUSED_WHEN(FRAME_INTRODUCTION, frame.introduction.len = LIMIT_CERTIFICATE + 1, CPD_ERR_TOO_LARGE);
	REFUSED_WHEN(FRAME_WANT, frame.want.serial = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_WANT, frame.want.message.origin = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_WANT, frame.want.message.sequence = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(FRAME_WANT, frame.want.held.len = (LIMIT_LEAVES + 7) / 8 + 1, CPD_ERR_TOO_LARGE);
#undef REFUSED_WHEN
}

#define RAW(...) ((struct slice){ (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }) })

static void a_peers_faulty_frame_is_refused(void **state)
{
	struct frame out;
	uint8_t bitmap[40] = { 0x1a, 37, 0x08, 1, 0x12, 33 };
	static uint8_t huge[30010] = { 0x1a, 0xb6, 0xea, 0x01, 0x08, 0x01, 0x12, 0xb0, 0xea, 0x01 }; /* a bitmap of 30000 bytes */

	(void)state;
	assert_int_equal(frame_decode(RAW(0x12, 7, 0x08, 1, 0x10, 0x31, 0x2a, 1, 'x'), &out), CPD_OK);
	assert_int_equal(out.data.precedence, PRECEDENCE_FLASH);
	assert_int_equal(frame_decode(RAW(0x12, 7, 0x08, 1, 0x10, 0x41, 0x2a, 1, 'x'), &out), CPD_ERR_RANGE);
	assert_int_equal(frame_decode(RAW(0x12, 7, 0x08, 1, 0x10, 0x35, 0x2a, 1, 'x'), &out), CPD_ERR_RANGE);
	assert_int_equal(frame_decode(RAW(0x12, 7, 0x08, 1, 0x10, 0x30, 0x2a, 1, 'x'), &out), CPD_ERR_RANGE);
	assert_int_equal(frame_decode(RAW(0x12, 9, 0x08, 1, 0x10, 0x31, 0x20, 1, 0x2a, 1, 'x'), &out), CPD_ERR_RANGE); /* offset, no total */
	assert_int_equal(frame_decode(RAW(0x12, 10, 0x08, 1, 0x10, 0x31, 0x2a, 1, 'x', 0x2a, 1, 'y'), &out), CPD_ERR_MALFORMED);
	assert_int_equal(frame_decode(RAW(0x3a, 6, 0x08, 1, 0x12, 2, 0x18, 5), &out), CPD_ERR_MISSING); /* want without origin */
	assert_int_equal(frame_decode(RAW(0x0a, 2, 0x08, 1), &out), CPD_ERR_MISSING); /* hello without epoch */
	assert_int_equal(frame_decode(RAW(0x0a, 6, 0x08, 1, 0x18, 1, 0x60, 9), &out), CPD_OK);
	assert_int_equal(out.hello.clock_quality, CLOCK_UNKNOWN);
	assert_int_equal(frame_decode(RAW(0x0a, 15, 0x08, 1, 0x18, 1, 0x58, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	    0xff, 0x01), &out), CPD_ERR_RANGE); /* clock beyond any */
	assert_int_equal(frame_decode(RAW(0x0a, 7, 0x08, 1, 0x18, 1, 0x7a, 1, 7), &out), CPD_ERR_TEXT); /* software rings a bell */
	assert_int_equal(frame_decode((struct slice){ bitmap, 39 }, &out), CPD_ERR_TOO_LARGE);
	assert_int_equal(frame_decode((struct slice){ huge, sizeof(huge) }, &out), CPD_ERR_TOO_LARGE);
	assert_int_equal(out.has, 0);
	assert_int_equal(frame_decode((struct slice){ buf, LIMIT_FRAME + 1 }, &out), CPD_ERR_TOO_LARGE);
}

/* ---------------------------------------------------------------- damage */

static enum cpd_error try_frame(struct slice bytes)
{
	static uint8_t again[LIMIT_FRAME];
	struct frame out;
	size_t len;
	enum cpd_error error = frame_decode(bytes, &out);

	if (error)
		assert_int_equal(out.has, 0);
	else /* reading every byte that the slices lead to */
		assert_int_equal(frame_encode(&out, again, &len), CPD_OK);
	return error;
}

static void damaged_frames_never_crash(void **state)
{
	static const unsigned frames[] = {
		FRAME_HELLO, FRAME_DATA | FRAME_ACK | FRAME_CREDIT | FRAME_DIRECTORY, FRAME_REFUSAL, FRAME_WANT, FRAME_PRESENCE,
		FRAME_INTRODUCTION,
	};
	struct frame frame;
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		make_frame(&frame, frames[i]);
		frame.hello.received_bitmap.len = frame.ack_bitmap.len = 4;
		frame.hello.clock_ms = 123456789;
		frame.data.piece = frame.presence.record = frame.want.held = frame.introduction = piece(12);
		assert_int_equal(frame_encode(&frame, buf, &len), CPD_OK);
		damage_every_length((struct slice){ buf, len }, try_frame);
		damage_every_byte((struct slice){ buf, len }, 200, try_frame);
	}
}

static void failing_memory_is_told(void **state)
{
	struct frame frame, out;
	size_t len;

	(void)state;
	make_frame(&frame, FRAME_DATA | FRAME_ACK);
	frame.data.total = LIMIT_ITEM;
	frame.data.piece = piece(20000);
	assert_int_equal(frame_encode(&frame, buf, &len), CPD_OK);
	ASSERT_NOMEM_EVERYWHERE(frame_decode((struct slice){ buf, len }, &out), (void)0);
	assert_int_equal(out.data.piece.len, 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hop_acknowledgement_is_at_most_12_bytes),
		cmocka_unit_test(a_keepalive_is_an_empty_frame),
		cmocka_unit_test(hello_comes_back_as_written),
		cmocka_unit_test(data_comes_back_as_written),
		cmocka_unit_test(the_other_parts_come_back_as_written),
		cmocka_unit_test(only_parts_that_may_stand_together_do),
		cmocka_unit_test(a_frame_out_of_bounds_is_not_written),
		cmocka_unit_test(a_peers_faulty_frame_is_refused),
		cmocka_unit_test(damaged_frames_never_crash),
		cmocka_unit_test(failing_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
