/*
 * hungry.h: every test of a program again, without memory. A test is run as often as it takes: each time one allocation
 * fails within a call that HUNGRY marks, on a way on which none failed before. That call has to say so (NOMEM, or NULL),
 * and what stands after it has to hold; the rest of that run is left out.
 *
 * A test program marks calls by macros of the same name: #define link_send(...) HUNGRY(link_send(__VA_ARGS__))
 */
#ifndef CPD_TEST_HUNGRY_H
#define CPD_TEST_HUNGRY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/error.h"
#include "test/unit/alloc_fault.h"

static bool hungry_is_on, hungry_hunts, hungry_went_on;
static jmp_buf hungry_end;
static void (*hungry_after)(void);       /* what has to hold when a call said NOMEM; may be NULL */
static void *hungry_opened;              /* what the teardown is given when the setup found no memory */

/* Not where the test itself has a failure in mind. */
static inline void hungry_begin(void)
{
	hungry_hunts = hungry_is_on && !alloc_fault_left;
	if (hungry_hunts)
		alloc_fault_hunt();
}

static inline bool hungry_met(void)
{
	return hungry_hunts && alloc_fault_disarm();
}

static inline void hungry_stop(void)
{
	if (hungry_after)
		hungry_after();
	longjmp(hungry_end, 1);
}

static inline enum cpd_error hungry_said(enum cpd_error error)
{
	if (hungry_met()) {
		assert_int_equal(error, CPD_ERR_NOMEM);
		hungry_stop();
	}
	return error;
}

static inline void *hungry_gave(void *made)
{
	if (hungry_met()) {
		assert_null(made);
		hungry_stop();
	}
	return made;
}

#define HUNGRY(call) (hungry_begin(), hungry_said(call))
/* A call that may also find another way: then the test goes on, and all it asserts has to come true. */
static inline enum cpd_error hungry_managed(enum cpd_error error)
{
	if (hungry_met()) {
		hungry_hunts = false;
		if (error == CPD_ERR_NOMEM)
			hungry_stop();
		hungry_went_on = true;
	}
	return error;
}
#define HUNGRY_OR_WELL(call) (hungry_begin(), hungry_managed(call))
#define HUNGRY_NEW(call) (hungry_begin(), hungry_gave(call))

/* A call that may leave undone what it was to do, and say nothing. */
#define HUNGRY_SILENT(call) (hungry_begin(), call, hungry_met() ? hungry_stop() : (void)0)

static inline void hungry_test(void **state)
{
	const struct CMUnitTest *test = *state;
	volatile bool failed_one = true;

	if (!alloc_fault_works)
		skip();
	for (volatile unsigned runs = 0; failed_one; runs++) {
		static void *own;

		assert_true(runs < ALLOC_FAULT_STACKS);
		own = hungry_opened = NULL;
		hungry_went_on = false;
		hungry_is_on = true;
		if (setjmp(hungry_end) == 0) {
			if (test->setup_func)
				assert_int_equal(test->setup_func(&own), 0);
			test->test_func(&own);
			failed_one = hungry_went_on;
		}
		hungry_is_on = false;
		if (!own)
			own = hungry_opened;
		if (test->teardown_func)
			assert_int_equal(test->teardown_func(&own), 0);
	}
}

#define HUNGRY_TESTS_MAX 64
/* The tests as they are, and each again without memory; the number that failed. */
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
