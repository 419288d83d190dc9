/*
 * relay_hungry.h: every test of the relay again, without memory. A test is run as often as it takes: each time one
 * allocation of the relay fails, on a way on which none failed before. The call that met it has to say NOMEM, the turn has
 * to say it too, nothing may come out of that turn, and the relay can still be freed. The rest of the test is left out.
 */
#ifndef CPD_TEST_RELAY_HUNGRY_H
#define CPD_TEST_RELAY_HUNGRY_H

#include "test/unit/relay_fixture.h"
#include "test/unit/alloc_fault.h"

static bool hungry_is_on, hungry_in_turn;
static jmp_buf hungry_end;
static struct box *hungry_box;                /* the last one opened: a test has one */

static inline void hungry_begin(void)
{
	if (hungry_is_on)
		alloc_fault_hunt();
}

/* What a call of the relay said, when memory did not fail in it; else this run of the test is over. */
static inline enum cpd_error hungry_said(struct relay *relay, enum cpd_error error)
{
	struct relay_effect effect;

	if (!hungry_is_on || !alloc_fault_disarm())
		return error;
	assert_int_equal(error, CPD_ERR_NOMEM);
	if (hungry_in_turn) {
		assert_int_equal(relay_end_turn(relay), CPD_ERR_NOMEM);
		assert_false(relay_take_effect(relay, &effect));
	}
	longjmp(hungry_end, 1);
}

#define HUNGRY(relay, call) (hungry_begin(), hungry_said((relay), (call)))

static inline struct relay *hungry_made(struct relay *relay)
{
	if (!hungry_is_on || !alloc_fault_disarm())
		return relay;
	assert_null(relay);
	longjmp(hungry_end, 1);
}

static inline void hungry_test(void **state)
{
	const struct CMUnitTest *test = *state;
	void *own = NULL;
	volatile bool failed_one = true;

	if (!alloc_fault_works)
		skip();
	for (volatile unsigned runs = 0; failed_one; runs++) {
		assert_true(runs < ALLOC_FAULT_STACKS);
		own = NULL;
		hungry_box = NULL;
		hungry_in_turn = false;
		hungry_is_on = true;
		if (setjmp(hungry_end) == 0) {
			assert_int_equal(test->setup_func(&own), 0);
			test->test_func(&own);
			failed_one = false;
		}
		hungry_is_on = false;
		own = hungry_box;
		assert_int_equal(test->teardown_func(&own), 0);
	}
}

#define HUNGRY_TESTS_MAX 64
/* The tests as they are, and each again without memory. */
#define RUN_FED_AND_HUNGRY(tests) run_fed_and_hungry(#tests, (tests), sizeof(tests) / sizeof((tests)[0]))
static inline int run_fed_and_hungry(const char *name, const struct CMUnitTest *tests, size_t count)
{
	static struct CMUnitTest hungry[HUNGRY_TESTS_MAX];
	static char names[HUNGRY_TESTS_MAX][160];
	int failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);

	if (count > HUNGRY_TESTS_MAX)
		abort();
	for (size_t i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "%s, without memory", tests[i].name);
		hungry[i] = (struct CMUnitTest){ .name = names[i], .test_func = hungry_test, .initial_state = (void *)(uintptr_t)&tests[i] };
	}
	return failed + _cmocka_run_group_tests("without memory", hungry, count, NULL, NULL);
}

#endif
