/* test_space_watch.c: a store that fills up is told beforehand, at the first refusal, and when there is room again; each once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/space_watch.h"

#define ADMISSION 1000

static void each_step_is_told_once(void **state)
{
	static const struct { uint64_t used; bool is_refused, is_told; enum space_state then; } steps[] = {
		{ 100, false, false, SPACE_FREE },
		{ 799, false, false, SPACE_FREE },
		{ 800, false, true, SPACE_FILLING },    /* before anything is refused */
		{ 950, false, false, SPACE_FILLING },
		{ 780, false, false, SPACE_FILLING },   /* up and down tells nothing */
		{ 820, false, false, SPACE_FILLING },
		{ 1000, true, true, SPACE_REFUSES },
		{ 1001, true, false, SPACE_REFUSES },
		{ 990, false, false, SPACE_REFUSES },
		{ 1003, true, false, SPACE_REFUSES },
		{ 949, false, true, SPACE_FILLING },    /* it takes again */
		{ 720, false, false, SPACE_FILLING },
		{ 699, false, true, SPACE_FREE },
		{ 100, true, true, SPACE_REFUSES },     /* refused though the count says otherwise: said, and looked at again */
		{ 100, false, true, SPACE_FREE },
	};
	struct space_watch watch = { { SPACE_FREE } };

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		enum space_state now;
		bool is_told;

		if (steps[i].is_refused)
			is_told = space_watch_refused(&watch, PRECEDENCE_PRIORITY);
		else
			is_told = space_watch_look(&watch, PRECEDENCE_PRIORITY, steps[i].used, ADMISSION, &now);
		if (is_told != steps[i].is_told || watch.states[PRECEDENCE_PRIORITY] != steps[i].then)
			fail_msg("step %zu", i);
		assert_int_equal(watch.states[PRECEDENCE_FLASH], SPACE_FREE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(each_step_is_told_once) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
