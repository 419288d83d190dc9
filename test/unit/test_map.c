/* test_map.c: the relay's hash map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/relay/map.h"
#include "test/unit/alloc_fault.h"

#define MANY 2000

static int values[MANY];

static struct map_key key_of(size_t i)
{
	/* like ids of three origins: dense sequences under few first halves */
	struct message_id id = { (uint32_t)(i % 3 + 1), 1, i / 3 + 1 };

	return map_key_id(&id);
}

static void fill(struct map *map, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_int_equal(map_put(map, key_of(i), &values[i]), CPD_OK);
}

static void what_was_put_is_found_and_nothing_else(void **state)
{
	struct map map = { 0 };

	(void)state;
	assert_null(map_get(&map, key_of(0)));
	assert_null(map_remove(&map, key_of(0)));
	fill(&map, MANY);
	assert_int_equal(map.count, MANY);
	for (size_t i = 0; i < MANY; i++)
		assert_ptr_equal(map_get(&map, key_of(i)), &values[i]);
	assert_null(map_get(&map, key_of(MANY)));
	assert_null(map_get(&map, map_key_pair(0, 0)));
	map_clear(&map);
	assert_null(map_get(&map, key_of(0)));
}

static void a_second_put_replaces_the_first(void **state)
{
	struct map map = { 0 };

	(void)state;
	fill(&map, 10);
	assert_int_equal(map_put(&map, key_of(4), &values[99]), CPD_OK);
	assert_int_equal(map.count, 10);
	assert_ptr_equal(map_get(&map, key_of(4)), &values[99]);
	map_clear(&map);
}

static void epoch_and_origin_both_count_in_the_key(void **state)
{
	struct map map = { 0 };
	struct message_id a = { 1, 2, 3 }, b = { 2, 1, 3 }, c = { 1, 3, 2 };

	(void)state;
	assert_int_equal(map_put(&map, map_key_id(&a), &values[0]), CPD_OK);
	assert_null(map_get(&map, map_key_id(&b)));
	assert_null(map_get(&map, map_key_id(&c)));
	map_clear(&map);
}

/* Removal closes holes: every other entry stays in reach whatever the order of removal. */
static void removal_never_hides_another_entry(void **state)
{
	(void)state;
	for (size_t step = 1; step <= 7; step += 2) {
		struct map map = { 0 };
		bool is_gone[MANY] = { false };

		fill(&map, MANY);
		for (size_t n = 0, i = 0; n < MANY / 2; n++) {
			while (is_gone[i])
				i = (i + 1) % MANY;
			assert_ptr_equal(map_remove(&map, key_of(i)), &values[i]);
			is_gone[i] = true;
			i = (i + step) % MANY;
		}
		for (size_t i = 0; i < MANY; i++)
			assert_ptr_equal(map_get(&map, key_of(i)), is_gone[i] ? NULL : &values[i]);
		assert_int_equal(map.count, MANY - MANY / 2);
		map_clear(&map);
	}
}

static void a_walk_visits_every_value_once(void **state)
{
	struct map map = { 0 };
	int seen[MANY] = { 0 };
	size_t at = 0, count = 0;
	int *value;

	(void)state;
	assert_null(map_next(&map, &at));
	fill(&map, MANY);
	for (at = 0; (value = map_next(&map, &at)); count++)
		seen[value - values]++;
	assert_int_equal(count, MANY);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(seen[i], 1);
	map_clear(&map);
}

/* A table that fills and empties does not grow with what has passed through it. */
static void what_is_removed_leaves_its_room(void **state)
{
	struct map map = { 0 };

	(void)state;
	for (size_t i = 0; i < 100000; i++) {
		struct map_key key = map_key_pair(i, 7);
		assert_int_equal(map_put(&map, key, &values[0]), CPD_OK);
		assert_ptr_equal(map_remove(&map, key), &values[0]);
	}
	assert_int_equal(map.count, 0);
	assert_int_equal(map.size, 64);
	map_clear(&map);
}

static void without_memory_a_put_changes_nothing(void **state)
{
	struct map map = { 0 };
	size_t count = 0;

	(void)state;
	if (!alloc_fault_works)
		skip();
	alloc_fault_arm(1);
	assert_int_equal(map_put(&map, key_of(0), &values[0]), CPD_ERR_NOMEM);
	assert_true(alloc_fault_disarm());
	assert_null(map_get(&map, key_of(0)));
	while (count < 48)               /* three quarters of 64: the next one grows */
		assert_int_equal(map_put(&map, key_of(count), &values[count]), CPD_OK), count++;
	alloc_fault_arm(1);
	assert_int_equal(map_put(&map, key_of(count), &values[count]), CPD_ERR_NOMEM);
	assert_true(alloc_fault_disarm());
	assert_int_equal(map.count, count);
	assert_null(map_get(&map, key_of(count)));
	for (size_t i = 0; i < count; i++)
		assert_ptr_equal(map_get(&map, key_of(i)), &values[i]);
	assert_int_equal(map_put(&map, key_of(count), &values[count]), CPD_OK);
	map_clear(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_found_and_nothing_else),
		cmocka_unit_test(a_second_put_replaces_the_first),
		cmocka_unit_test(epoch_and_origin_both_count_in_the_key),
		cmocka_unit_test(removal_never_hides_another_entry),
		cmocka_unit_test(a_walk_visits_every_value_once),
		cmocka_unit_test(what_is_removed_leaves_its_room),
		cmocka_unit_test(without_memory_a_put_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
