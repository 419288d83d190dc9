/*
 * alloc_fault.h: malloc, calloc and realloc that fail on demand, for one test program: it defines
 * them in place of libc's, so the code under test needs no hook. Included by one .c file of a test.
 * Under AddressSanitizer, which has its own malloc, alloc_fault_works is false.
 */
#ifndef CPD_TEST_ALLOC_FAULT_H
#define CPD_TEST_ALLOC_FAULT_H

#include <stdbool.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ALLOC_FAULT_OFF
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define ALLOC_FAULT_OFF
#endif

static unsigned long alloc_fault_left; /* 0: not armed; n: the n-th call from now fails */
static bool alloc_fault_hit;

#ifdef ALLOC_FAULT_OFF
static const bool alloc_fault_works = false;
#else
static const bool alloc_fault_works = true;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);

static bool alloc_fault_now(void)
{
	if (!alloc_fault_left || --alloc_fault_left)
		return false;
	alloc_fault_hit = true;
	return true;
}

void *malloc(size_t size) { return alloc_fault_now() ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return alloc_fault_now() ? NULL : __libc_calloc(count, size); }
void *realloc(void *block, size_t size) { return alloc_fault_now() ? NULL : __libc_realloc(block, size); }
#endif

static inline void alloc_fault_arm(unsigned long call)
{
	alloc_fault_left = call;
	alloc_fault_hit = false;
}

/* True when the armed call came and was refused. */
static inline bool alloc_fault_disarm(void)
{
	alloc_fault_left = 0;
	return alloc_fault_hit;
}

/* Runs `expression`, an enum cpd_error, with its first allocation failing, then its second, and so on
 * until it needs no more: each must be NOMEM, the last OK; `undo` frees what the last one made. */
#define ASSERT_NOMEM_EVERYWHERE(expression, undo) \
	do { \
		unsigned long call_ = 1; \
		if (!alloc_fault_works) \
			skip(); \
		for (;; call_++) { \
			enum cpd_error error_; \
			bool hit_; \
			alloc_fault_arm(call_); \
			error_ = (expression); \
			hit_ = alloc_fault_disarm(); \
			if (!hit_) { \
				assert_int_equal(error_, CPD_OK); \
				break; \
			} \
			assert_int_equal(error_, CPD_ERR_NOMEM); \
			assert_true(call_ < 1000); \
		} \
		undo; \
		assert_true(call_ > 1); /* it did ask for memory */ \
	} while (0)

#endif
