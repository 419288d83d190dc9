/*
 * hooks.c: what the soak test does to a cpd from within, loaded with LD_PRELOAD: a wall clock that is set, and a
 * leak that its own judgement must see.
 *
 * CPD_SOAK_CLOCK names a file of 8 bytes: ms (int64) that stand above the true CLOCK_REALTIME; the test writes it while
 * cpd runs. CPD_SOAK_LEAK: "memory", "descriptors" or "threads": some of it is lost at every 16th reading of that clock.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LEAK_EVERY 16
#define LEAK_BYTES 4096

static int (*real_clock)(clockid_t, struct timespec *);
static const volatile int64_t *offset_ms;
static const char *leak;
static atomic_uint readings;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("CPD_SOAK_CLOCK");
	void *map;
	int fd;

	real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	leak = getenv("CPD_SOAK_LEAK");
	fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		offset_ms = map;
	close(fd);
}

static void *sleep_on(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return NULL;
}

static void lose_some(void)
{
	pthread_t thread;
	char *lost;

	if (strcmp(leak, "memory") == 0) {
		lost = malloc(LEAK_BYTES);
		if (lost)
			memset(lost, 1, LEAK_BYTES);
		__asm__ volatile("" : : "g"(lost) : "memory");
	} else if (strcmp(leak, "descriptors") == 0) {
		if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0)
			return;
	} else if (strcmp(leak, "threads") == 0) {
		(void)pthread_create(&thread, NULL, sleep_on, NULL);
	}
}

int clock_gettime(clockid_t id, struct timespec *now)
{
	int result = real_clock(id, now);
	int64_t ns;

	if (id != CLOCK_REALTIME)
		return result;
	if (leak && atomic_fetch_add(&readings, 1) % LEAK_EVERY == 0)
		lose_some();
	if (offset_ms && !result) {
		ns = (int64_t)now->tv_nsec + (*offset_ms % 1000) * 1000000;
		now->tv_sec += (time_t)(*offset_ms / 1000 + (ns < 0 ? -1 : ns / 1000000000));
		now->tv_nsec = (long)(ns < 0 ? ns + 1000000000 : ns % 1000000000);
	}
	return result;
}
