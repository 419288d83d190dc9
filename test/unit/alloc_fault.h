/*
 * alloc_fault.h: malloc, calloc and realloc that fail on demand, for one test program: it defines
 * them in place of libc's, so the code under test needs no hook. Included by one .c file of a test.
 * Under AddressSanitizer and ThreadSanitizer, which have their own malloc, alloc_fault_works is false.
 * With ALLOC_FAULT_LOG=FILE each failure adds its stack to the file, for test/sanitize/alloc_sites.py.
 */
#ifndef CPD_TEST_ALLOC_FAULT_H
#define CPD_TEST_ALLOC_FAULT_H

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ALLOC_FAULT_OFF
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ALLOC_FAULT_OFF
#endif

static unsigned long alloc_fault_left; /* 0: not armed; n: the n-th call from now fails */
static bool alloc_fault_hit;
#define ALLOC_FAULT_STACKS 16384
static bool alloc_fault_hunts;         /* the first call with a stack that never failed before fails */
static uint64_t alloc_fault_stacks[ALLOC_FAULT_STACKS];
static unsigned alloc_fault_stack_count;
static int alloc_fault_depth;          /* frames below those that make a way */

#ifdef ALLOC_FAULT_OFF
static const bool alloc_fault_works = false;
#else
static const bool alloc_fault_works = true;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t align, size_t size);

extern const char __executable_start, etext;

/* "PROGRAM OFFSET..." of the frames in this program. Not armed any more: what it allocates itself does not fail. */
static void alloc_fault_note(const char *path)
{
	char line[4096] = "", program[1024] = "";
	void *frames[64];
	int count = backtrace(frames, 64), fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
	size_t len;

	if (fd < 0 || readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
		abort();
	len = (size_t)snprintf(line, sizeof(line), "%s", program);
	for (int i = 0; i < count && len < sizeof(line) - 32; i++)
		if ((const char *)frames[i] > &__executable_start && (const char *)frames[i] < &etext)
			len += (size_t)snprintf(line + len, sizeof(line) - len, " %tx", (const char *)frames[i] - &__executable_start);
	line[len++] = '\n';
	if (write(fd, line, len) != (ssize_t)len)
		abort();
	close(fd);
}

/* Whether this way has not failed yet. Two ways with one sum: one of them is not met, and alloc_sites.py tells. */
static bool alloc_fault_is_new(const void *caller)
{
	void *frames[64];
	int count = backtrace(frames, 64);
	uint64_t sum = 14695981039346656037u;
	size_t at;

	/* libc's own, as in qsort: it can do without */
	if ((const char *)caller < &__executable_start || (const char *)caller > &etext)
		return false;
	for (int i = 0; i < count - alloc_fault_depth; i++)
		sum = (sum ^ (uintptr_t)frames[i]) * 1099511628211u;
	for (at = sum % ALLOC_FAULT_STACKS; alloc_fault_stacks[at]; at = (at + 1) % ALLOC_FAULT_STACKS)
		if (alloc_fault_stacks[at] == sum)
			return false;
	if (++alloc_fault_stack_count > ALLOC_FAULT_STACKS / 2)
		abort();
	alloc_fault_stacks[at] = sum;
	return true;
}

static bool alloc_fault_now(const void *caller)
{
	const char *path;

	if (alloc_fault_hunts) {
		alloc_fault_hunts = false;
		if (!alloc_fault_is_new(caller)) {
			alloc_fault_hunts = true;
			return false;
		}
	} else if (!alloc_fault_left || --alloc_fault_left) {
		return false;
	}
	alloc_fault_hit = true;
	path = getenv("ALLOC_FAULT_LOG");
	if (path)
		alloc_fault_note(path);
	return true;
}

void *malloc(size_t size) { return alloc_fault_now(__builtin_return_address(0)) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return alloc_fault_now(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size); }
void *realloc(void *block, size_t size) { return alloc_fault_now(__builtin_return_address(0)) ? NULL : __libc_realloc(block, size); }
int posix_memalign(void **out, size_t align, size_t size)
{
	if (alloc_fault_now(__builtin_return_address(0)))
		return ENOMEM;
	*out = __libc_memalign(align, size);
	return *out ? 0 : ENOMEM;
}
#endif

static inline void alloc_fault_arm(unsigned long call)
{
	alloc_fault_left = call;
	alloc_fault_hit = false;
}

/* From now the first allocation fails that comes along a way, from the caller of this on, on which none failed before. */
static inline void alloc_fault_hunt(void)
{
#ifndef ALLOC_FAULT_OFF
	void *frames[64];

	/* Without this function and who asks for the hunt: his caller makes the call that is hunted in. */
	alloc_fault_depth = backtrace(frames, 64) - 2;
#endif
	alloc_fault_hunts = true;
	alloc_fault_hit = false;
}

/* True when the armed call came and was refused. */
static inline bool alloc_fault_disarm(void)
{
	alloc_fault_left = 0;
	alloc_fault_hunts = false;
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
