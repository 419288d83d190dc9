/* test_receipt.c: the table of levels, receipts and signed records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/receipt.h"
#include "test/unit/alloc_fault.h"
#include "test/unit/damage.h"

static const uint8_t signature[64] = { 1, 2, 3 };

/* A record as a CP (901) makes of an NSP's (344003) messages; `count` entries from sequence 118 on. */
static void make_receipts(struct receipts *out, size_t count)
{
	memset(out, 0, sizeof(*out));
	out->witness = 901;
	out->epoch = 2;
	out->counter = 200;
	out->time_s = 28000000;
	out->origin = 344003;
	out->count = count;
	for (size_t i = 0; i < count; i++) {
		struct receipt_entry *entry = &out->entries[i];

		entry->subject = (struct message_id){ 344003, 2, 118 + 6 * i };
		memset(entry->hash.bytes, (int)(0x80 + i), HASH8_LEN);
		entry->level = LEVEL_DELIVERED;
	}
}

static size_t record_size(size_t count)
{
	static struct receipts receipts;
	uint8_t signed_bytes[LIMIT_RECEIPTS], record[LIMIT_RECEIPTS + 128];
	size_t len, total;

	make_receipts(&receipts, count);
	assert_int_equal(receipts_encode(&receipts, signed_bytes, &len), CPD_OK);
	assert_int_equal(signed_record_encode((struct slice){ signed_bytes, len }, signature, 1, record,
	    sizeof(record), &total), CPD_OK);
	return total;
}

/* ---------------------------------------------------------------- levels */

static void merging_levels_does_not_depend_on_order_or_repetition(void **state)
{
	/* The two above LEVEL_COUNT stand for a later version's. */
	(void)state;
	for (int a = 0; a < LEVEL_COUNT + 2; a++) {
		enum level self = level_merge((enum level)a, (enum level)a);

		assert_int_equal(self, a < LEVEL_COUNT ? a : LEVEL_NONE);
		for (int b = 0; b < LEVEL_COUNT + 2; b++) {
			enum level ab = level_merge((enum level)a, (enum level)b);

			assert_int_equal(ab, level_merge((enum level)b, (enum level)a));
			assert_int_equal(ab, level_merge(ab, (enum level)b));
			assert_true(ab == (enum level)a || ab == (enum level)b || ab == LEVEL_NONE);
			for (int c = 0; c < LEVEL_COUNT + 2; c++)
				assert_int_equal(level_merge(ab, (enum level)c),
				    level_merge((enum level)a, level_merge((enum level)b, (enum level)c)));
		}
	}
}

static void merging_knows_which_level_wins(void **state)
{
	static const struct { enum level loses, wins; } pairs[] = {
		{ LEVEL_NONE, LEVEL_UNDELIVERABLE }, { LEVEL_UNDELIVERABLE, LEVEL_EXPIRED },
		{ LEVEL_EXPIRED, LEVEL_SUPERSEDED }, { LEVEL_EXPIRED, LEVEL_WITHDRAWN },
		{ LEVEL_SUPERSEDED, LEVEL_WITHDRAWN }, { LEVEL_WITHDRAWN, LEVEL_DELIVERED },
		{ LEVEL_EXPIRED, LEVEL_DELIVERED }, { LEVEL_UNDELIVERABLE, LEVEL_DELIVERED },
		{ LEVEL_DELIVERED, LEVEL_READ }, { LEVEL_DELIVERED, LEVEL_NOT_UNDERSTOOD },
		{ LEVEL_READ, LEVEL_NOT_UNDERSTOOD }, { LEVEL_NOT_UNDERSTOOD, LEVEL_ACCEPTED },
		{ LEVEL_READ, LEVEL_REFUSED }, { LEVEL_REFUSED, LEVEL_ACCEPTED }, { LEVEL_REFUSED, LEVEL_DONE },
		{ LEVEL_ACCEPTED, LEVEL_DONE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		assert_int_equal(level_merge(pairs[i].loses, pairs[i].wins), pairs[i].wins);
}

static void a_message_closes_at_its_level(void **state)
{
	static const enum level closings[] = { LEVEL_DELIVERED, LEVEL_READ, LEVEL_ACCEPTED, LEVEL_DONE };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_true(level_closes(LEVEL_REFUSED, closings[i]));
		assert_true(level_closes(LEVEL_NOT_UNDERSTOOD, closings[i]));
		assert_true(level_closes(LEVEL_DONE, closings[i]));
		for (size_t j = 0; j < 4; j++)
			assert_int_equal(level_closes(closings[j], closings[i]), j >= i);
		assert_false(level_closes(LEVEL_NONE, closings[i]));
		assert_false(level_closes(LEVEL_EXPIRED, closings[i]));
		assert_false(level_closes(LEVEL_UNDELIVERABLE, closings[i]));
		assert_false(level_closes(LEVEL_SUPERSEDED, closings[i]));
		assert_false(level_closes(LEVEL_WITHDRAWN, closings[i]));
		assert_false(level_closes((enum level)12, closings[i]));
	}
}

static void only_an_addressee_signs_for_delivery_and_above(void **state)
{
	(void)state;
	for (int i = 0; i < LEVEL_COUNT + 4; i++) {
		bool expected = i == LEVEL_DELIVERED || i == LEVEL_NOT_UNDERSTOOD || i == LEVEL_READ || i == LEVEL_REFUSED ||
		    i == LEVEL_ACCEPTED || i == LEVEL_DONE;

		assert_int_equal(level_is_addressees((enum level)i), expected);
	}
	assert_string_equal(level_name(LEVEL_NOT_UNDERSTOOD), "NOT-UNDERSTOOD");
	assert_string_equal(level_name((enum level)14), "UNKNOWN");
}

/* ---------------------------------------------------------------- size */

static void one_receipt_fits_96_bytes(void **state)
{
	size_t size = record_size(1);

	(void)state;
	print_message("one receipt in a SignedRecord: %zu B\n", size);
	assert_true(size <= 96);
}

static void a_batch_costs_16_bytes_for_each(void **state)
{
	size_t one = record_size(1), batch = record_size(32);

	(void)state;
	print_message("32 receipts: %zu B, %.1f B each, %.1f B for each further one\n", batch, (double)batch / 32,
	    (double)(batch - one) / 31);
	assert_true(batch <= 32 * 16);
	assert_true(batch - one <= 31 * 13);
}

/* ---------------------------------------------------------------- records */

static void receipts_come_back_as_written(void **state)
{
	static struct receipts receipts, back;
	uint8_t buf[LIMIT_RECEIPTS];
	size_t len;

	(void)state;
	make_receipts(&receipts, LIMIT_RECEIPT_ENTRIES);
	receipts.counter = UINT64_MAX;
	receipts.entries[1].level = LEVEL_REFUSED;
	strcpy(receipts.entries[1].remark, "geen brandstof meer, co\xc3\xb6rdinator gebeld");
	receipts.entries[2].level = LEVEL_UNDELIVERABLE;
	receipts.entries[2].reason = REFUSED_NO_ROUTE;
	receipts.entries[3].subject.sequence = UINT64_MAX;
	receipts.entries[3].subject.epoch = UINT32_MAX;
	receipts.entries[4].reason = (enum cpd_reason)0xff;
	assert_int_equal(receipts_encode(&receipts, buf, &len), CPD_OK);
	assert_int_equal(receipts_decode((struct slice){ buf, len }, &back), CPD_OK);
	assert_memory_equal(&receipts, &back, sizeof(back));
}

static void receipts_with_a_hole_are_not_written(void **state)
{
	static struct receipts receipts;
	uint8_t buf[LIMIT_RECEIPTS];
	size_t len;

	(void)state;
#define REFUSED_WHEN(change, expected) \
	do { \
		make_receipts(&receipts, 2); \
		change; \
		assert_int_equal(receipts_encode(&receipts, buf, &len), expected); \
		assert_int_equal(len, 0); \
	} while (0)
	REFUSED_WHEN(receipts.witness = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(receipts.epoch = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(receipts.counter = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(receipts.origin = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(receipts.count = 0, CPD_ERR_MISSING);
	REFUSED_WHEN(receipts.count = LIMIT_RECEIPT_ENTRIES + 1, CPD_ERR_TOO_LARGE);
	REFUSED_WHEN(receipts.entries[1].subject.origin = 5, CPD_ERR_RANGE);
	REFUSED_WHEN(receipts.entries[1].subject.epoch = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(receipts.entries[1].subject.sequence = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(receipts.entries[1].level = LEVEL_NONE, CPD_ERR_RANGE);
	REFUSED_WHEN(receipts.entries[1].level = (enum level)12, CPD_ERR_RANGE);
	REFUSED_WHEN(receipts.entries[1].reason = (enum cpd_reason)0x100, CPD_ERR_RANGE);
	REFUSED_WHEN(strcpy(receipts.entries[1].remark, "a\nb"), CPD_ERR_TEXT);
	REFUSED_WHEN(memset(receipts.entries[1].remark, 'x', LIMIT_REMARK + 1), CPD_ERR_TOO_LARGE);
#undef REFUSED_WHEN
	make_receipts(&receipts, LIMIT_RECEIPT_ENTRIES);
	for (size_t i = 0; i < LIMIT_RECEIPT_ENTRIES; i++)
		memset(receipts.entries[i].remark, 'x', LIMIT_REMARK);
	assert_int_equal(receipts_encode(&receipts, buf, &len), CPD_ERR_TOO_LARGE);
}

/* Receipts of witness 1, epoch 1, counter 1, time 1, origin 1 and then `fields`, with hashes of `hashes` bytes. */
static enum cpd_error decode_raw(const uint8_t *fields, size_t field_len, size_t hashes, struct receipts *out)
{
	uint8_t buf[1200] = { 0x0a };
	size_t len = 2;

	memset(buf + len, 1, 5);
	len += 5;
	memcpy(buf + len, fields, field_len);
	len += field_len;
	buf[1] = (uint8_t)(len - 2);
	buf[len++] = 0x12;
	assert_true(hashes < 128);
	buf[len++] = (uint8_t)hashes;
	memset(buf + len, 0xaa, hashes);
	return receipts_decode((struct slice){ buf, len + hashes }, out);
}

static void fields_and_hashes_must_match(void **state)
{
	static struct receipts out;
	const uint8_t one[] = { 1, 7, LEVEL_READ }, two[] = { 1, 7, LEVEL_READ, 1, 8, LEVEL_READ };

	(void)state;
	assert_int_equal(decode_raw(one, 3, 8, &out), CPD_OK);
	assert_int_equal(decode_raw(two, 6, 16, &out), CPD_OK);
	assert_int_equal(decode_raw(two, 6, 8, &out), CPD_ERR_MALFORMED);
	assert_int_equal(decode_raw(one, 3, 16, &out), CPD_ERR_MALFORMED);
	assert_int_equal(decode_raw(one, 3, 7, &out), CPD_ERR_MALFORMED);
	assert_int_equal(decode_raw(two, 5, 16, &out), CPD_ERR_MALFORMED);
	assert_int_equal(decode_raw(one, 0, 0, &out), CPD_ERR_MISSING);
	assert_int_equal(out.count, 0);
}

static void a_level_of_a_later_version_counts_as_none(void **state)
{
	static struct receipts out;
	const uint8_t later[] = { 1, 7, 13 };

	(void)state;
	assert_int_equal(decode_raw(later, 3, 8, &out), CPD_OK);
	assert_int_equal(out.entries[0].level, LEVEL_NONE);
}

static void more_entries_than_the_bound_are_refused(void **state)
{
	static struct receipts out;
	uint8_t buf[1200] = { 0 };
	const size_t entries = LIMIT_RECEIPT_ENTRIES + 1, fields = 5 + 3 * entries, hashes = 8 * entries;
	size_t len = 0;

	(void)state;
	buf[len++] = 0x0a;
	buf[len++] = (uint8_t)(0x80 | (fields & 0x7f));
	buf[len++] = (uint8_t)(fields >> 7);
	memset(buf + len, 1, fields);
	len += fields;
	buf[len++] = 0x12;
	buf[len++] = (uint8_t)(0x80 | (hashes & 0x7f));
	buf[len++] = (uint8_t)(hashes >> 7);
	assert_int_equal(receipts_decode((struct slice){ buf, len + hashes }, &out), CPD_ERR_TOO_LARGE);
}

static void signed_record_leads_into_its_bytes(void **state)
{
	uint8_t buf[256];
	const uint8_t content[] = "what was signed";
	struct signed_record record;
	size_t len;

	(void)state;
	assert_int_equal(signed_record_encode((struct slice){ content, sizeof(content) }, signature, 3, buf,
	    sizeof(buf), &len), CPD_OK);
	assert_int_equal(signed_record_decode((struct slice){ buf, len }, sizeof(buf), &record), CPD_OK);
	assert_ptr_equal(record.bytes.data, buf);
	assert_true(record.signed_bytes.data > buf && record.signed_bytes.data < buf + len);
	assert_int_equal(record.signed_bytes.len, sizeof(content));
	assert_memory_equal(record.signed_bytes.data, content, sizeof(content));
	assert_memory_equal(record.signature, signature, 64);
	assert_int_equal(record.key_number, 3);
	assert_int_equal(signed_record_decode((struct slice){ buf, len }, len - 1, &record), CPD_ERR_TOO_LARGE);
	assert_null(record.signed_bytes.data);
	assert_int_equal(signed_record_encode((struct slice){ content, sizeof(content) }, signature, 0, buf,
	    sizeof(buf), &len), CPD_ERR_RANGE);
	assert_int_equal(signed_record_encode((struct slice){ content, sizeof(content) }, signature, 1, buf,
	    50, &len), CPD_ERR_TOO_LARGE);
}

static void a_signature_has_64_bytes(void **state)
{
	uint8_t buf[80] = { 0x0a, 0x01, 0x55, 0x12, 64 };
	struct signed_record record;

	(void)state;
	assert_int_equal(signed_record_decode((struct slice){ buf, 5 + 64 }, 100, &record), CPD_OK);
	buf[4] = 63;
	assert_int_equal(signed_record_decode((struct slice){ buf, 5 + 63 }, 100, &record), CPD_ERR_MALFORMED);
	buf[4] = 65;
	assert_int_equal(signed_record_decode((struct slice){ buf, 5 + 65 }, 100, &record), CPD_ERR_MALFORMED);
}

static struct receipts decoded;

static enum cpd_error try_receipts(struct slice bytes)
{
	uint8_t buf[LIMIT_RECEIPTS];
	size_t len;
	enum cpd_error error = receipts_decode(bytes, &decoded);

	if (!error) {
		/* What was taken can be written, but for levels that we do not know. */
		enum cpd_error again = receipts_encode(&decoded, buf, &len);

		assert_true(again == CPD_OK || again == CPD_ERR_RANGE);
	}
	return error;
}

static enum cpd_error try_record(struct slice bytes)
{
	struct signed_record record;
	enum cpd_error error = signed_record_decode(bytes, LIMIT_RECEIPTS, &record);

	if (!error)
		assert_true(record.signed_bytes.data >= bytes.data &&
		    record.signed_bytes.data + record.signed_bytes.len <= bytes.data + bytes.len);
	return error;
}

static void damaged_receipts_never_crash(void **state)
{
	static struct receipts receipts;
	static uint8_t buf[LIMIT_RECEIPTS + 1];
	uint8_t record[512];
	size_t len, record_len;

	(void)state;
	make_receipts(&receipts, 4);
	strcpy(receipts.entries[2].remark, "geen tijd");
	assert_int_equal(receipts_encode(&receipts, buf, &len), CPD_OK);
	damage_every_length((struct slice){ buf, len }, try_receipts);
	damage_every_byte((struct slice){ buf, len }, 512, try_receipts);
	assert_int_equal(signed_record_encode((struct slice){ buf, len }, signature, 1, record, sizeof(record),
	    &record_len), CPD_OK);
	assert_int_equal(damage_every_length((struct slice){ record, record_len }, try_record), 0);
	damage_every_byte((struct slice){ record, record_len }, 512, try_record);
	assert_int_equal(receipts_decode((struct slice){ buf, LIMIT_RECEIPTS + 1 }, &receipts), CPD_ERR_TOO_LARGE);
}

static void failing_memory_is_told(void **state)
{
	static struct receipts receipts, back;
	uint8_t buf[LIMIT_RECEIPTS], record_bytes[LIMIT_RECEIPTS + 128];
	struct signed_record record;
	size_t len, record_len;

	(void)state;
	make_receipts(&receipts, LIMIT_RECEIPT_ENTRIES);
	for (size_t i = 0; i < LIMIT_RECEIPT_ENTRIES; i++)
		memset(receipts.entries[i].remark, 'x', 30);
	assert_int_equal(receipts_encode(&receipts, buf, &len), CPD_OK);
	assert_int_equal(signed_record_encode((struct slice){ buf, len }, signature, 1, record_bytes,
	    sizeof(record_bytes), &record_len), CPD_OK);
	ASSERT_NOMEM_EVERYWHERE(receipts_decode((struct slice){ buf, len }, &back), (void)0);
	ASSERT_NOMEM_EVERYWHERE(signed_record_decode((struct slice){ record_bytes, record_len },
	    sizeof(record_bytes), &record), (void)0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merging_levels_does_not_depend_on_order_or_repetition),
		cmocka_unit_test(merging_knows_which_level_wins),
		cmocka_unit_test(a_message_closes_at_its_level),
		cmocka_unit_test(only_an_addressee_signs_for_delivery_and_above),
		cmocka_unit_test(one_receipt_fits_96_bytes),
		cmocka_unit_test(a_batch_costs_16_bytes_for_each),
		cmocka_unit_test(receipts_come_back_as_written),
		cmocka_unit_test(receipts_with_a_hole_are_not_written),
		cmocka_unit_test(fields_and_hashes_must_match),
		cmocka_unit_test(a_level_of_a_later_version_counts_as_none),
		cmocka_unit_test(more_entries_than_the_bound_are_refused),
		cmocka_unit_test(signed_record_leads_into_its_bytes),
		cmocka_unit_test(a_signature_has_64_bytes),
		cmocka_unit_test(damaged_receipts_never_crash),
		cmocka_unit_test(failing_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
