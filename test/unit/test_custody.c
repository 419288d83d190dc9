/* test_custody.c: custody records, and the age of a message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/custody.h"
#include "test/unit/alloc_fault.h"
#include "test/unit/damage.h"

/* Every field set, recipients at node 10, 20, 30 ... */
static void make_custody(struct custody *out, size_t recipients)
{
	custody_init(out);
	out->id = (struct message_id){ 344003, 2, 118 };
	memset(out->hash.bytes, 0xab, HASH8_LEN);
	out->flags = CUSTODY_IS_ORIGIN | CUSTODY_HAS_ENVELOPE | CUSTODY_IS_EXPIRED;
	out->kind = 3;
	out->precedence = PRECEDENCE_FLASH;
	out->lowered = 2;
	out->mode = MODE_EXERCISE;
	out->closing_level = LEVEL_DONE;
	out->created_s = 28000000;
	out->lifetime_s = 259200;
	out->envelope_len = 233;
	out->large_length = 5000000;
	out->in_reply_to = (struct message_id){ UINT32_MAX, 0x01020304, UINT64_C(0x0102030405060708) };
	out->supersedes = (struct message_id){ 1, 2, 3 };
	out->age_s = 61;
	out->since = (struct moment){ 12345678, -5, CLOCK_GNSS };
	out->from = 901;
	out->hop_limit = 12;
	for (size_t i = 0; i < LIMIT_TRACE; i++)
		out->trace[i] = (struct hop){ (uint32_t)(i + 1), (uint32_t)i, (uint32_t)(2 * i) };
	out->trace_count = LIMIT_TRACE;
	out->retry = 4;
	out->timer_ms = INT64_MAX;
	out->local_level = LEVEL_READ;
	out->local_retry = 3;
	out->inbox = UINT64_MAX;
	for (size_t i = 0; i < recipients; i++) {
		struct recipient *recipient = custody_add_recipient(out, (uint32_t)(10 * (i + 1)));

		assert_non_null(recipient);
		recipient->hop = (enum hop_state)(i % (HOP_ENDED + 1));
		recipient->via = (uint32_t)i;
		recipient->row = i * 1000;
		recipient->retry = (uint32_t)(i % 3);
		recipient->after_epoch = 2;
		recipient->tried[0] = 7;
		recipient->tried[2] = (uint32_t)(i % 2); /* holes stay where they are */
		recipient->level = (enum level)(i % LEVEL_COUNT);
		recipient->reason = REFUSED_NO_ROUTE;
		recipient->level_s = 28000001;
		recipient->witness_epoch = 5;
		recipient->witness_counter = i;
	}
}

/* Records are zeroed before they are filled, so that all but struct moment compare as bytes. */
static void assert_same(const struct custody *a, const struct custody *b)
{
	struct custody left, right;

	memcpy(&left, a, sizeof(left));
	memcpy(&right, b, sizeof(right));
	assert_true(a->since.custody_ms == b->since.custody_ms && a->since.wall_ms == b->since.wall_ms);
	assert_int_equal(a->since.quality, b->since.quality);
	memset(&left.since, 0, sizeof(left.since));
	memset(&right.since, 0, sizeof(right.since));
	assert_int_equal(a->recipient_count, b->recipient_count);
	for (size_t i = 0; i < a->recipient_count; i++)
		assert_memory_equal(&a->recipients[i], &b->recipients[i], sizeof(a->recipients[i]));
	left.recipients = right.recipients = NULL;
	assert_memory_equal(&left, &right, sizeof(left));
}

static void custody_comes_back_as_written(void **state)
{
	static const size_t counts[] = { 0, 1, 2, 17, LIMIT_RECIPIENTS };
	struct custody custody, back;
	uint8_t *buf;
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		make_custody(&custody, counts[i]);
		assert_int_equal(custody_encode(&custody, &buf, &len), CPD_OK);
		assert_int_equal(custody_decode((struct slice){ buf, len }, &back), CPD_OK);
		assert_same(&custody, &back);
		if (counts[i] == 1 || counts[i] == LIMIT_RECIPIENTS)
			print_message("custody with every field set, %zu recipients: %zu B\n", counts[i], len);
		free(buf);
		custody_clear(&custody);
		custody_clear(&back);
	}
}

static void an_empty_custody_comes_back_too(void **state)
{
	struct custody custody, back;
	uint8_t *buf;
	size_t len;

	(void)state;
	custody_init(&custody);
	assert_int_equal(custody_encode(&custody, &buf, &len), CPD_OK);
	assert_int_equal(custody_decode((struct slice){ buf, len }, &back), CPD_OK);
	assert_same(&custody, &back);
	free(buf);
	custody_clear(NULL);
}

/* The smallest rows on disk are the largest growth in memory. */
static void a_thousand_bare_recipients_come_back(void **state)
{
	struct custody custody, back;
	uint8_t *buf;
	size_t len;

	(void)state;
	custody_init(&custody);
	for (uint32_t i = 1; i <= LIMIT_RECIPIENTS; i++)
		assert_non_null(custody_add_recipient(&custody, i));
	assert_int_equal(custody_encode(&custody, &buf, &len), CPD_OK);
	assert_int_equal(custody_decode((struct slice){ buf, len }, &back), CPD_OK);
	assert_same(&custody, &back);
	free(buf);
	custody_clear(&custody);
	custody_clear(&back);
}

static void recipients_stay_in_order_however_they_come(void **state)
{
	struct custody custody;

	(void)state;
	custody_init(&custody);
	for (uint32_t i = 0; i < LIMIT_RECIPIENTS; i++) {
		uint32_t node = i * 389 % LIMIT_RECIPIENTS + 1; /* every number once: 389 is odd */
		struct recipient *added = custody_add_recipient(&custody, node);

		assert_non_null(added);
		assert_int_equal(added->node, node);
		added->retry = node;
	}
	assert_int_equal(custody.recipient_count, LIMIT_RECIPIENTS);
	for (uint32_t i = 0; i < LIMIT_RECIPIENTS; i++) {
		assert_int_equal(custody.recipients[i].node, i + 1);
		assert_int_equal(custody.recipients[i].retry, i + 1);
		assert_ptr_equal(custody_recipient(&custody, i + 1), &custody.recipients[i]);
		assert_ptr_equal(custody_add_recipient(&custody, i + 1), &custody.recipients[i]);
	}
	assert_null(custody_recipient(&custody, 0));
	assert_null(custody_recipient(&custody, LIMIT_RECIPIENTS + 1));
	assert_null(custody_add_recipient(&custody, LIMIT_RECIPIENTS + 1));
	assert_int_equal(custody.recipient_count, LIMIT_RECIPIENTS);
	custody_clear(&custody);
	assert_null(custody_recipient(&custody, 1));
}

static void a_copy_stands_by_itself(void **state)
{
	struct custody custody, copy;

	(void)state;
	make_custody(&custody, 3);
	assert_int_equal(custody_copy(&custody, &copy), CPD_OK);
	assert_same(&custody, &copy);
	copy.recipients[0].retry = 99;
	assert_int_not_equal(custody.recipients[0].retry, 99);
	custody_clear(&custody);
	assert_int_equal(copy.recipients[2].node, 30);
	custody_clear(&copy);
}

static void age_only_grows(void **state)
{
	struct custody custody;
	struct moment now;

	(void)state;
	custody_init(&custody);
	custody.age_s = 100;
	custody.since = (struct moment){ 50000, 1000000, CLOCK_NTP };

	now = (struct moment){ 60999, 1000000, CLOCK_UNKNOWN };
	assert_int_equal(custody_age_s(&custody, &now), 110);
	/* A day without power: only the wall clocks saw it, and both must be trusted. */
	now = (struct moment){ 60000, 1000000 + 86400000, CLOCK_MANUAL };
	assert_int_equal(custody_age_s(&custody, &now), 110);
	now.quality = CLOCK_NTP;
	assert_int_equal(custody_age_s(&custody, &now), 86500);
	custody.since.quality = CLOCK_MANUAL;
	assert_int_equal(custody_age_s(&custody, &now), 110);
	custody.since.quality = CLOCK_GNSS;
	/* The wall clock was set back: custody time holds. */
	now.wall_ms = -1000;
	assert_int_equal(custody_age_s(&custody, &now), 110);
	/* Neither may make it younger. */
	now.custody_ms = 0;
	assert_int_equal(custody_age_s(&custody, &now), 100);
	/* Nor may it come round. */
	custody.since.wall_ms = INT64_MIN;
	now.wall_ms = INT64_MAX;
	assert_true(custody_age_s(&custody, &now) == UINT32_MAX);
}

static enum cpd_error try_custody(struct slice bytes)
{
	struct custody out;
	uint8_t *buf;
	size_t len;
	enum cpd_error error = custody_decode(bytes, &out);

	if (error) {
		assert_null(out.recipients);
		assert_int_equal(out.recipient_count, 0);
		return error;
	}
	assert_int_equal(custody_encode(&out, &buf, &len), CPD_OK);
	free(buf);
	custody_clear(&out);
	return CPD_OK;
}

static void damaged_custody_never_crashes(void **state)
{
	struct custody custody;
	uint8_t *buf;
	size_t len;

	(void)state;
	make_custody(&custody, 3);
	assert_int_equal(custody_encode(&custody, &buf, &len), CPD_OK);
	damage_every_length((struct slice){ buf, len }, try_custody);
	damage_every_byte((struct slice){ buf, len }, 1000, try_custody);
	free(buf);
	custody_clear(&custody);
	buf = calloc(1, 1 << 20);
	assert_non_null(buf);
	assert_int_equal(custody_decode((struct slice){ buf, 1 << 20 }, &custody), CPD_ERR_TOO_LARGE);
	free(buf);
}

static void what_cannot_be_read_back_is_not_written(void **state)
{
	struct custody custody;
	uint8_t *buf;
	size_t len;

	(void)state;
	make_custody(&custody, 1);
	custody.trace_count = LIMIT_TRACE + 1;
	assert_int_equal(custody_encode(&custody, &buf, &len), CPD_ERR_TOO_LARGE);
	assert_null(buf);
	custody_clear(&custody);
}

static void recipients_out_of_order_are_refused(void **state)
{
	struct custody custody, back;
	struct recipient first;
	uint8_t *buf;
	size_t len;

	(void)state;
	make_custody(&custody, 2);
	first = custody.recipients[0];
	custody.recipients[0] = custody.recipients[1];
	custody.recipients[1] = first;
	assert_int_equal(custody_encode(&custody, &buf, &len), CPD_OK);
	assert_int_equal(custody_decode((struct slice){ buf, len }, &back), CPD_ERR_MALFORMED);
	free(buf);
	custody.recipients[0] = custody.recipients[1];
	assert_int_equal(custody_encode(&custody, &buf, &len), CPD_OK);
	assert_int_equal(custody_decode((struct slice){ buf, len }, &back), CPD_ERR_MALFORMED);
	free(buf);
	custody_clear(&custody);
}

static struct custody full, made;
static uint8_t *made_buf;
static size_t made_len;

static enum cpd_error copy_full(void)
{
	return custody_copy(&full, &made);
}

static enum cpd_error encode_full(void)
{
	enum cpd_error error = custody_encode(&full, &made_buf, &made_len);

	assert_int_equal(made_buf == NULL, error != CPD_OK);
	return error;
}

static enum cpd_error decode_full(void)
{
	return custody_decode((struct slice){ made_buf, made_len }, &made);
}

static void failing_memory_is_told(void **state)
{
	(void)state;
	if (!alloc_fault_works)
		skip();
	make_custody(&full, 40);
	ASSERT_NOMEM_EVERYWHERE(copy_full(), custody_clear(&made));
	ASSERT_NOMEM_EVERYWHERE(encode_full(), (void)0);
	ASSERT_NOMEM_EVERYWHERE(decode_full(), custody_clear(&made));
	alloc_fault_arm(1);
	assert_null(custody_add_recipient(&full, 5));
	assert_true(alloc_fault_disarm());
	assert_int_equal(full.recipient_count, 40);
	free(made_buf);
	custody_clear(&full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(custody_comes_back_as_written),
		cmocka_unit_test(an_empty_custody_comes_back_too),
		cmocka_unit_test(a_thousand_bare_recipients_come_back),
		cmocka_unit_test(recipients_stay_in_order_however_they_come),
		cmocka_unit_test(a_copy_stands_by_itself),
		cmocka_unit_test(age_only_grows),
		cmocka_unit_test(damaged_custody_never_crashes),
		cmocka_unit_test(what_cannot_be_read_back_is_not_written),
		cmocka_unit_test(recipients_out_of_order_are_refused),
		cmocka_unit_test(failing_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
