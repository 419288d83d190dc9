/* test_trailer.c: the hop trailer and the message item. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/trailer.h"
#include "test/unit/alloc_fault.h"
#include "test/unit/damage.h"

static const uint8_t envelope_bytes[LIMIT_ENVELOPE + 1] = "an envelope, opaque here";
static const struct slice envelope = { envelope_bytes, 215 };

static void make_trailer(struct trailer *out, size_t recipients)
{
	trailer_init(out);
	out->age_s = 3700;
	out->retry = 2;
	out->after_epoch = 3;
	out->hop_limit = 14;
	out->trace[0] = (struct hop){ 344003, 0, 28000000 };
	out->trace[1] = (struct hop){ 901, 28000005, 0 };
	out->trace_count = 2;
	if (!recipients)
		return;
	out->recipients = malloc(recipients * sizeof(out->recipients[0]));
	assert_non_null(out->recipients);
	for (size_t i = 0; i < recipients; i++)
		out->recipients[i] = (uint32_t)(344003 + 3 * i);
	out->recipient_count = recipients;
}

static void a_trailer_comes_back_as_written(void **state)
{
	static uint8_t buf[LIMIT_ITEM];
	struct trailer trailer, back;
	struct slice out;
	size_t len;

	(void)state;
	make_trailer(&trailer, 5);
	trailer.member_bitmap[0] = 0x80;
	trailer.member_bitmap[127] = 1;
	trailer.member_bitmap_len = 128;
	assert_int_equal(message_item_encode(envelope, &trailer, buf, &len), CPD_OK);
	assert_int_equal(message_item_decode((struct slice){ buf, len }, &out, &back), CPD_OK);
	assert_true(out.data > buf && out.data + out.len <= buf + len);
	assert_int_equal(out.len, envelope.len);
	assert_memory_equal(out.data, envelope.data, out.len);
	assert_int_equal(back.age_s, 3700);
	assert_int_equal(back.retry, 2);
	assert_int_equal(back.after_epoch, 3);
	assert_int_equal(back.hop_limit, 14);
	assert_int_equal(back.recipient_count, 5);
	assert_memory_equal(back.recipients, trailer.recipients, 5 * sizeof(uint32_t));
	assert_int_equal(back.member_bitmap_len, 128);
	assert_memory_equal(back.member_bitmap, trailer.member_bitmap, 128);
	assert_int_equal(back.trace_count, 2);
	assert_memory_equal(back.trace, trailer.trace, 2 * sizeof(struct hop));
	trailer_clear(&trailer);
	trailer_clear(&back);
	trailer_clear(NULL);
}

static void a_first_offer_to_one_node_is_short(void **state)
{
	static uint8_t buf[LIMIT_ITEM];
	struct trailer trailer;
	size_t len;

	(void)state;
	trailer_init(&trailer);
	trailer.trace[0] = (struct hop){ 344003, 0, 28000000 };
	trailer.trace_count = 1;
	trailer.recipients = malloc(sizeof(uint32_t));
	assert_non_null(trailer.recipients);
	trailer.recipients[0] = 344901;
	trailer.recipient_count = 1;
	assert_int_equal(message_item_encode(envelope, &trailer, buf, &len), CPD_OK);
	print_message("message item beyond its envelope: %zu B\n", len - envelope.len);
	assert_true(len - envelope.len <= 24);
	trailer_clear(&trailer);
}

static void an_item_without_trailer_has_the_defaults(void **state)
{
	const uint8_t item[] = { 0x0a, 1, 'x' };
	struct trailer back;
	struct slice out;

	(void)state;
	assert_int_equal(message_item_decode((struct slice){ item, sizeof(item) }, &out, &back), CPD_OK);
	assert_int_equal(back.hop_limit, LIMIT_HOPS);
	assert_int_equal(back.age_s, 0);
	assert_null(back.recipients);
	assert_ptr_equal(out.data, item + 2);
}

static void the_fullest_item_fits_its_budget(void **state)
{
	static uint8_t buf[LIMIT_ITEM];
	struct trailer trailer, back;
	struct slice out;
	size_t len;

	(void)state;
	make_trailer(&trailer, LIMIT_RECIPIENTS);
	for (size_t i = 0; i < LIMIT_TRACE; i++)
		trailer.trace[i] = (struct hop){ 2000000, UINT32_MAX, UINT32_MAX };
	trailer.trace_count = LIMIT_TRACE;
	assert_int_equal(message_item_encode((struct slice){ envelope_bytes, LIMIT_ENVELOPE }, &trailer, buf, &len), CPD_OK);
	assert_int_equal(message_item_decode((struct slice){ buf, len }, &out, &back), CPD_OK);
	assert_int_equal(back.recipient_count, LIMIT_RECIPIENTS);
	trailer_clear(&back);
	/* Ten-digit node numbers cost five bytes each and go over the budget with the trace. */
	for (size_t i = 0; i < LIMIT_RECIPIENTS; i++)
		trailer.recipients[i] = (uint32_t)(4000000000u + i);
	trailer.member_bitmap_len = 128;
	for (size_t i = 0; i < LIMIT_TRACE; i++)
		trailer.trace[i].node = UINT32_MAX;
	trailer.age_s = UINT32_MAX;
	trailer.trace_count = LIMIT_TRACE;
	assert_int_equal(message_item_encode(envelope, &trailer, buf, &len), CPD_OK);
	assert_true(len - envelope.len <= LIMIT_TRAILER);
	trailer_clear(&trailer);
}

static void a_trailer_with_a_fault_is_refused(void **state)
{
	static uint8_t buf[LIMIT_ITEM];
	struct trailer trailer;
	size_t len;

	(void)state;
#define REFUSED_WHEN(change, expected) \
	do { \
		make_trailer(&trailer, 3); \
		change; \
		assert_int_equal(message_item_encode(envelope, &trailer, buf, &len), expected); \
		assert_int_equal(len, 0); \
		trailer_clear(&trailer); \
	} while (0)
	REFUSED_WHEN(trailer.hop_limit = LIMIT_HOPS + 1, CPD_ERR_RANGE);
	REFUSED_WHEN(trailer.recipients[0] = 0, CPD_ERR_MALFORMED);
	REFUSED_WHEN(trailer.recipients[1] = trailer.recipients[0], CPD_ERR_MALFORMED);
	REFUSED_WHEN(trailer.recipients[2] = 1, CPD_ERR_MALFORMED);
	REFUSED_WHEN(trailer.recipient_count = LIMIT_RECIPIENTS + 1, CPD_ERR_TOO_LARGE);
	REFUSED_WHEN(trailer.trace_count = LIMIT_TRACE + 1, CPD_ERR_TOO_LARGE);
	REFUSED_WHEN(trailer.trace[1].node = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(trailer.member_bitmap_len = 129, CPD_ERR_TOO_LARGE);
#undef REFUSED_WHEN
	make_trailer(&trailer, 0);
	assert_int_equal(message_item_encode((struct slice){ NULL, 0 }, &trailer, buf, &len), CPD_ERR_MISSING);
	assert_int_equal(message_item_encode((struct slice){ envelope_bytes, LIMIT_ENVELOPE + 1 }, &trailer, buf, &len),
	    CPD_ERR_TOO_LARGE);
}

static void a_peers_faulty_item_is_refused(void **state)
{
	static uint8_t large[LIMIT_ITEM + 1];
	struct trailer back;
	struct slice out;
	const uint8_t twice[] = { 0x0a, 1, 'x', 0x0a, 1, 'y' }, empty[] = { 0x0a, 0 }, none[] = { 0x12, 0 },
	    hops[] = { 0x0a, 1, 'x', 0x12, 2, 0x30, 17 }, order[] = { 0x0a, 1, 'x', 0x12, 4, 0x1a, 2, 5, 4 },
	    long_trace[] = { 0x0a, 1, 'x', 0x12, 100 };

	(void)state;
	assert_int_equal(message_item_decode((struct slice){ twice, sizeof(twice) }, &out, &back), CPD_ERR_MALFORMED);
	assert_null(out.data);
	assert_int_equal(message_item_decode((struct slice){ empty, sizeof(empty) }, &out, &back), CPD_ERR_MISSING);
	assert_int_equal(message_item_decode((struct slice){ none, sizeof(none) }, &out, &back), CPD_ERR_MISSING);
	assert_int_equal(message_item_decode((struct slice){ hops, sizeof(hops) }, &out, &back), CPD_ERR_RANGE);
	assert_int_equal(message_item_decode((struct slice){ order, sizeof(order) }, &out, &back), CPD_ERR_MALFORMED);
	assert_null(back.recipients);
	assert_int_equal(message_item_decode((struct slice){ large, sizeof(large) }, &out, &back), CPD_ERR_TOO_LARGE);
	memcpy(large, long_trace, sizeof(long_trace));
	for (size_t i = 0; i < 25; i++)
		memcpy(large + 5 + 4 * i, "\x2a\x02\x08\x01", 4);
	assert_int_equal(message_item_decode((struct slice){ large, 105 }, &out, &back), CPD_ERR_TOO_LARGE);
}

static enum cpd_error try_item(struct slice bytes)
{
	struct trailer trailer;
	struct slice out;
	enum cpd_error error = message_item_decode(bytes, &out, &trailer);

	if (error) {
		assert_null(out.data);
		assert_null(trailer.recipients);
	} else {
		assert_true(out.data >= bytes.data && out.data + out.len <= bytes.data + bytes.len);
	}
	trailer_clear(&trailer);
	return error;
}

static void damaged_items_never_crash(void **state)
{
	static uint8_t buf[LIMIT_ITEM];
	struct trailer trailer;
	size_t len;

	(void)state;
	make_trailer(&trailer, 4);
	trailer.member_bitmap_len = 4;
	assert_int_equal(message_item_encode((struct slice){ envelope_bytes, 20 }, &trailer, buf, &len), CPD_OK);
	damage_every_length((struct slice){ buf, len }, try_item);
	damage_every_byte((struct slice){ buf, len }, 1000, try_item);
	trailer_clear(&trailer);
}

static uint8_t full_buf[LIMIT_ITEM];
static size_t full_len;
static struct trailer made;

static enum cpd_error decode_full(void)
{
	struct slice out;

	return message_item_decode((struct slice){ full_buf, full_len }, &out, &made);
}

static void failing_memory_is_told(void **state)
{
	struct trailer trailer;

	(void)state;
	make_trailer(&trailer, 500);
	assert_int_equal(message_item_encode(envelope, &trailer, full_buf, &full_len), CPD_OK);
	trailer_clear(&trailer);
	ASSERT_NOMEM_EVERYWHERE(decode_full(), trailer_clear(&made));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_trailer_comes_back_as_written),
		cmocka_unit_test(a_first_offer_to_one_node_is_short),
		cmocka_unit_test(an_item_without_trailer_has_the_defaults),
		cmocka_unit_test(the_fullest_item_fits_its_budget),
		cmocka_unit_test(a_trailer_with_a_fault_is_refused),
		cmocka_unit_test(a_peers_faulty_item_is_refused),
		cmocka_unit_test(damaged_items_never_crash),
		cmocka_unit_test(failing_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
