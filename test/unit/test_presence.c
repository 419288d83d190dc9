/* test_presence.c: presence records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/presence.h"
#include "test/unit/alloc_fault.h"
#include "test/unit/damage.h"

static void make_presence(struct presence *out)
{
	memset(out, 0, sizeof(*out));
	out->node = 344003;
	out->epoch = 4;
	out->counter = 7001;
	out->claim = 3;
	out->instance = (UINT64_C(9) << 32) + 5;
	out->homes[0] = 901;
	out->homes[1] = 344004;
	out->home_count = 2;
	out->floors[0] = (struct epoch_floor){ 3, 400 };
	out->floors[1] = (struct epoch_floor){ 4, 118 };
	out->floor_count = 2;
	out->time_s = 28000000;
	out->clock_quality = CLOCK_NTP;
	out->journal.number = 90210;
	memset(out->journal.bytes, 0xc7, sizeof(out->journal.bytes));
}

static void presence_comes_back_as_written(void **state)
{
	struct presence presence, back;
	uint8_t buf[LIMIT_PRESENCE];
	size_t len;

	(void)state;
	make_presence(&presence);
	assert_int_equal(presence_encode(&presence, buf, sizeof(buf), &len), CPD_OK);
	print_message("presence with two homes and two floors: %zu B\n", len);
	assert_int_equal(presence_decode((struct slice){ buf, len }, &back), CPD_OK);
	assert_int_equal(back.node, presence.node);
	assert_int_equal(back.epoch, presence.epoch);
	assert_true(back.counter == presence.counter);
	assert_int_equal(back.home_count, 2);
	assert_memory_equal(back.homes, presence.homes, sizeof(back.homes));
	assert_int_equal(back.floor_count, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(back.floors[i].epoch, presence.floors[i].epoch);
		assert_true(back.floors[i].floor == presence.floors[i].floor);
	}
	assert_int_equal(back.time_s, presence.time_s);
	assert_int_equal(back.clock_quality, presence.clock_quality);
	assert_true(back.journal.number == 90210);
	assert_int_equal(back.claim, 3);
	assert_true(back.instance == presence.instance);
	assert_memory_equal(back.journal.bytes, presence.journal.bytes, JOURNAL_HEAD_LEN);
	assert_int_equal(presence_encode(&presence, buf, len - 1, &len), CPD_ERR_TOO_LARGE);
}

static void the_fullest_presence_fits_its_bound(void **state)
{
	struct presence presence, back;
	uint8_t buf[LIMIT_PRESENCE];
	size_t len;

	(void)state;
	memset(&presence, 0, sizeof(presence));
	presence.node = presence.epoch = presence.time_s = presence.claim = UINT32_MAX;
	presence.instance = UINT64_MAX;
	presence.counter = UINT64_MAX;
	presence.clock_quality = CLOCK_GNSS;
	presence.journal.number = UINT64_MAX;
	for (uint32_t i = 0; i < LIMIT_HOMES; i++)
		presence.homes[i] = UINT32_MAX - i;
	presence.home_count = LIMIT_HOMES;
	for (uint32_t i = 0; i < LIMIT_FLOORS; i++)
		presence.floors[i] = (struct epoch_floor){ UINT32_MAX - i, UINT64_MAX };
	presence.floor_count = LIMIT_FLOORS;
	assert_int_equal(presence_encode(&presence, buf, sizeof(buf), &len), CPD_OK);
	assert_true(len <= LIMIT_PRESENCE - 80); /* room for the signature around it */
	assert_int_equal(presence_decode((struct slice){ buf, len }, &back), CPD_OK);
}

static void presence_with_a_fault_is_refused(void **state)
{
	struct presence presence;
	uint8_t buf[LIMIT_PRESENCE];
	size_t len;

	(void)state;
#define REFUSED_WHEN(change, expected) \
	do { \
		make_presence(&presence); \
		change; \
		assert_int_equal(presence_encode(&presence, buf, sizeof(buf), &len), expected); \
	} while (0)
	REFUSED_WHEN(presence.node = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(presence.epoch = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(presence.counter = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(presence.homes[1] = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(presence.homes[1] = 901, CPD_ERR_MALFORMED);
	REFUSED_WHEN(presence.home_count = LIMIT_HOMES + 1, CPD_ERR_TOO_LARGE);
	REFUSED_WHEN(presence.floors[0].epoch = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(presence.floors[0].epoch = 5, CPD_ERR_RANGE);
	REFUSED_WHEN(presence.floors[0].epoch = 4, CPD_ERR_MALFORMED);
	REFUSED_WHEN(presence.floor_count = LIMIT_FLOORS + 1, CPD_ERR_TOO_LARGE);
	REFUSED_WHEN(presence.clock_quality = (enum clock_quality)4, CPD_ERR_RANGE);
#undef REFUSED_WHEN
}

static void a_peers_faulty_presence_is_refused(void **state)
{
	struct presence out;
	const uint8_t half_floor[] = { 0x08, 1, 0x10, 1, 0x18, 1, 0x2a, 1, 1 };
	const uint8_t wide_epoch[] = { 0x08, 1, 0x10, 1, 0x18, 1, 0x2a, 6, 0x80, 0x80, 0x80, 0x80, 0x10, 1 };
	const uint8_t nine_homes[] = { 0x08, 1, 0x10, 1, 0x18, 1, 0x22, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9 };
	const uint8_t half_head[] = { 0x08, 1, 0x10, 1, 0x18, 1, 0x50, 7, 0x5a, 3, 1, 2, 3 };
	const uint8_t no_head[] = { 0x08, 1, 0x10, 1, 0x18, 1, 0x50, 7 };
	const uint8_t later_clock[] = { 0x08, 1, 0x10, 1, 0x18, 1, 0x38, 9 };

	(void)state;
	assert_int_equal(presence_decode((struct slice){ half_floor, sizeof(half_floor) }, &out), CPD_ERR_MALFORMED);
	assert_int_equal(presence_decode((struct slice){ wide_epoch, sizeof(wide_epoch) }, &out), CPD_ERR_RANGE);
	assert_int_equal(presence_decode((struct slice){ nine_homes, sizeof(nine_homes) }, &out), CPD_ERR_TOO_LARGE);
	assert_int_equal(out.node, 0);
	assert_int_equal(presence_decode((struct slice){ half_head, sizeof(half_head) }, &out), CPD_ERR_MALFORMED);
	assert_int_equal(presence_decode((struct slice){ no_head, sizeof(no_head) }, &out), CPD_ERR_MALFORMED);
	assert_int_equal(presence_decode((struct slice){ later_clock, sizeof(later_clock) }, &out), CPD_OK);
	assert_int_equal(out.clock_quality, CLOCK_UNKNOWN);
}

static void the_newer_presence_wins_by_epoch_then_counter(void **state)
{
	struct presence a, b;

	(void)state;
	make_presence(&a);
	make_presence(&b);
	assert_int_equal(presence_compare(&a, &b), 0);
	b.counter++;
	assert_true(presence_compare(&a, &b) < 0 && presence_compare(&b, &a) > 0);
	a.epoch++;
	assert_true(presence_compare(&a, &b) > 0 && presence_compare(&b, &a) < 0);
}

static enum cpd_error try_presence(struct slice bytes)
{
	struct presence out;
	uint8_t buf[LIMIT_PRESENCE];
	size_t len;
	enum cpd_error error = presence_decode(bytes, &out);

	if (!error)
		assert_int_equal(presence_encode(&out, buf, sizeof(buf), &len), CPD_OK);
	return error;
}

static void damaged_presence_never_crashes(void **state)
{
	struct presence presence;
	uint8_t buf[LIMIT_PRESENCE + 1] = { 0 };
	size_t len;

	(void)state;
	make_presence(&presence);
	assert_int_equal(presence_encode(&presence, buf, sizeof(buf), &len), CPD_OK);
	damage_every_length((struct slice){ buf, len }, try_presence);
	damage_every_byte((struct slice){ buf, len }, 1000, try_presence);
	assert_int_equal(presence_decode((struct slice){ buf, sizeof(buf) }, &presence), CPD_ERR_TOO_LARGE);
}

/* A presence of our own fits the embedded arena; one full of fields of a later version does not. */
static void failing_memory_is_told(void **state)
{
	uint8_t buf[LIMIT_PRESENCE] = { 0x08, 1, 0x10, 1, 0x18, 1 };
	size_t len = 6;
	struct presence out;

	(void)state;
	for (; len < 80; len += 2) {
		buf[len] = 0x78; /* field 15 */
		buf[len + 1] = 1;
	}
	ASSERT_NOMEM_EVERYWHERE(presence_decode((struct slice){ buf, len }, &out), (void)0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(presence_comes_back_as_written),
		cmocka_unit_test(the_fullest_presence_fits_its_bound),
		cmocka_unit_test(presence_with_a_fault_is_refused),
		cmocka_unit_test(a_peers_faulty_presence_is_refused),
		cmocka_unit_test(the_newer_presence_wins_by_epoch_then_counter),
		cmocka_unit_test(damaged_presence_never_crashes),
		cmocka_unit_test(failing_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
