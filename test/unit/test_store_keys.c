/* test_store_keys.c: keys sort as the numbers they hold; small values come back as they went in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "store/store.h"

static int compare(const struct store_key *a, const struct store_key *b)
{
	const size_t shorter = a->len < b->len ? a->len : b->len;
	const int order = memcmp(a->bytes, b->bytes, shorter);

	return order ? order : (int)a->len - (int)b->len;
}

static void keys_of_ids_sort_by_origin_epoch_sequence(void **state)
{
	static const struct message_id ids[] = {
		{ 1, 1, 2 }, { 1, 1, 255 }, { 1, 1, 256 }, { 1, 2, 1 }, { 1, 2, UINT64_MAX }, { 2, 1, 1 }, { 300, 1, 1 }, { UINT32_MAX, 0, 0 },
	};
	struct message_id back;

	(void)state;
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		const struct store_key key = store_key_id(&ids[i]);

		assert_int_equal(key.len, 16);
		assert_int_equal(store_key_read_id(&key, &back), CPD_OK);
		assert_memory_equal(&back, &ids[i], sizeof(back));
		if (i > 0) {
			const struct store_key before = store_key_id(&ids[i - 1]);
			assert_true(compare(&before, &key) < 0);
		}
	}
}

static void a_flash_sorts_before_older_rows_of_its_link_only(void **state)
{
	const struct store_key flash = store_key_queue(7, PRECEDENCE_FLASH, 900);
	const struct store_key routine = store_key_queue(7, PRECEDENCE_ROUTINE, 1);
	const struct store_key later = store_key_queue(7, PRECEDENCE_FLASH, 901);
	const struct store_key other = store_key_queue(8, PRECEDENCE_FLASH, 1);
	enum precedence precedence;
	uint64_t counter;
	uint32_t link;

	(void)state;
	assert_true(compare(&flash, &routine) < 0);
	assert_true(compare(&flash, &later) < 0);
	assert_true(compare(&later, &routine) < 0);
	assert_true(compare(&routine, &other) < 0);
	assert_int_equal(store_key_read_queue(&flash, &link, &precedence, &counter), CPD_OK);
	assert_int_equal(link, 7);
	assert_int_equal(precedence, PRECEDENCE_FLASH);
	assert_int_equal(counter, 900);
}

static void timers_sort_by_time_also_below_zero(void **state)
{
	static const int64_t times[] = { INT64_MIN, -1000, -1, 0, 1, 255, 256, INT64_MAX };
	const struct message_id id = { 344003, 2, 118 };
	struct message_id back;
	int64_t due;

	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		const struct store_key key = store_key_timer(times[i], &id);

		assert_int_equal(store_key_read_timer(&key, &due, &back), CPD_OK);
		assert_true(due == times[i]);
		assert_memory_equal(&back, &id, sizeof(id));
		if (i > 0) {
			const struct store_key before = store_key_timer(times[i - 1], &id);
			assert_true(compare(&before, &key) < 0);
		}
	}
}

static void leaves_stand_behind_their_message_in_order(void **state)
{
	const struct message_id id = { 1, 2, 3 };
	const struct store_key message = store_key_id(&id), first = store_key_leaf(&id, 1), later = store_key_leaf(&id, 256);

	(void)state;
	assert_memory_equal(first.bytes, message.bytes, message.len);
	assert_true(compare(&message, &first) < 0);
	assert_true(compare(&first, &later) < 0);
}

static void keys_of_another_length_are_refused(void **state)
{
	struct store_key key = store_key_counter(5);
	enum precedence precedence;
	struct message_id id;
	uint64_t counter;
	uint32_t link;
	int64_t due;

	(void)state;
	assert_int_equal(store_key_read_counter(&key), 5);
	assert_int_equal(store_key_read_id(&key, &id), CPD_ERR_MALFORMED);
	assert_int_equal(store_key_read_queue(&key, &link, &precedence, &counter), CPD_ERR_MALFORMED);
	assert_int_equal(store_key_read_timer(&key, &due, &id), CPD_ERR_MALFORMED);
	key = store_key_queue(1, PRECEDENCE_FLASH, 1);
	key.bytes[4] = PRECEDENCE_COUNT; /* no such precedence */
	assert_int_equal(store_key_read_queue(&key, &link, &precedence, &counter), CPD_ERR_MALFORMED);
	key = store_key_number(5);
	assert_int_equal(store_key_read_counter(&key), 0);
}

static void an_overlong_name_is_not_cut_off(void **state)
{
	uint8_t bytes[STORE_KEY_MAX + 1];
	struct store_key key;

	(void)state;
	memset(bytes, 'a', sizeof(bytes));
	key = store_key_bytes((struct slice){ bytes, STORE_KEY_MAX });
	assert_int_equal(key.len, STORE_KEY_MAX);
	key = store_key_bytes((struct slice){ bytes, STORE_KEY_MAX + 1 });
	assert_int_equal(key.len, 0);
}

static struct slice slice_of(const struct store_value *value)
{
	return (struct slice){ value->bytes, value->len };
}

static void a_queue_value_keeps_all_but_the_counter(void **state)
{
	const struct item_ref ref = { ITEM_TYPE_LEAF, PRECEDENCE_IMMEDIATE, { 344003, 2, 118 }, 77, 900 };
	struct store_value value = store_value_ref(&ref, 12);
	struct item_ref back;
	uint32_t destination;

	(void)state;
	assert_int_equal(store_value_read_ref(slice_of(&value), &back, &destination), CPD_OK);
	assert_int_equal(back.type, ref.type);
	assert_int_equal(back.precedence, ref.precedence);
	assert_true(back.id.origin == 344003 && back.id.epoch == 2 && back.id.sequence == 118);
	assert_int_equal(back.index, 77);
	assert_int_equal(back.counter, 0); /* stands in the key */
	assert_int_equal(destination, 12);
	value.bytes[0] = ITEM_TYPE_LEAF + 1;
	assert_int_equal(store_value_read_ref(slice_of(&value), &back, &destination), CPD_ERR_MALFORMED);
	value.bytes[0] = ITEM_TYPE_LEAF;
	value.len--;
	assert_int_equal(store_value_read_ref(slice_of(&value), &back, &destination), CPD_ERR_MALFORMED);
}

static void a_circuit_keeps_its_bitmap(void **state)
{
	struct link_circuit circuit = { .self_epoch = 3, .peer_epoch = 9, .received = UINT64_C(1) << 40, .received_bitmap = { .len = LIMIT_ACK_BITMAP } };
	struct link_circuit back;
	struct store_value value;

	(void)state;
	memset(circuit.received_bitmap.bits, 0xA5, LIMIT_ACK_BITMAP);
	value = store_value_circuit(&circuit);
	assert_int_equal(store_value_read_circuit(slice_of(&value), &back), CPD_OK);
	assert_int_equal(back.self_epoch, 3);
	assert_int_equal(back.peer_epoch, 9);
	assert_true(back.received == circuit.received);
	assert_int_equal(back.received_bitmap.len, LIMIT_ACK_BITMAP);
	assert_memory_equal(back.received_bitmap.bits, circuit.received_bitmap.bits, LIMIT_ACK_BITMAP);
	value.len--; /* shorter than its bitmap says */
	assert_int_equal(store_value_read_circuit(slice_of(&value), &back), CPD_ERR_MALFORMED);
	value.len = 3;
	assert_int_equal(store_value_read_circuit(slice_of(&value), &back), CPD_ERR_MALFORMED);
}

static void numbers_and_ids_come_back(void **state)
{
	const struct message_id id = { UINT32_MAX, 1, UINT64_MAX };
	struct store_value value = store_value_u64(UINT64_MAX - 1);
	struct message_id back;
	uint64_t number;

	(void)state;
	assert_int_equal(store_value_read_u64(slice_of(&value), &number), CPD_OK);
	assert_true(number == UINT64_MAX - 1);
	assert_int_equal(store_value_read_id(slice_of(&value), &back), CPD_ERR_MALFORMED);
	value = store_value_id(&id);
	assert_int_equal(store_value_read_id(slice_of(&value), &back), CPD_OK);
	assert_memory_equal(&back, &id, sizeof(id));
	assert_int_equal(store_value_read_u64(slice_of(&value), &number), CPD_ERR_MALFORMED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_of_ids_sort_by_origin_epoch_sequence),
		cmocka_unit_test(a_flash_sorts_before_older_rows_of_its_link_only),
		cmocka_unit_test(timers_sort_by_time_also_below_zero),
		cmocka_unit_test(leaves_stand_behind_their_message_in_order),
		cmocka_unit_test(keys_of_another_length_are_refused),
		cmocka_unit_test(an_overlong_name_is_not_cut_off),
		cmocka_unit_test(a_queue_value_keeps_all_but_the_counter),
		cmocka_unit_test(a_circuit_keeps_its_bitmap),
		cmocka_unit_test(numbers_and_ids_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
