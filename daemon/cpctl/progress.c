/* progress.c: see progress.h. */
#include "daemon/cpctl/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EVERY_MS 100
#define FIRST_MS 500
#define BAR 30

static int64_t now_ms(void)
{
	struct timespec now = { 0, 0 };

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void progress_begin(struct progress *progress, const char *what, bool in_bytes)
{
	*progress = (struct progress){ .what = what, .is_wanted = isatty(STDERR_FILENO), .in_bytes = in_bytes, .begun_ms = now_ms() };
}

static void show_bar(const struct progress *progress, uint64_t done, uint64_t of, int64_t passed_ms)
{
	unsigned percent = done >= of ? 99 : (unsigned)(done * 100 / of), filled = percent * BAR / 100;
	int64_t left_s = percent ? passed_ms * (100 - percent) / percent / 1000 : 0;
	char bar[BAR + 1];

	for (unsigned i = 0; i < BAR; i++)
		bar[i] = i < filled ? '#' : '.';
	bar[BAR] = '\0';
	fprintf(stderr, "\r\033[K%s [%s] %u %%", progress->what, bar, percent);
	if (percent > 2 && left_s > 1)
		fprintf(stderr, ", %lld s to go", (long long)left_s);
}

void progress_show(struct progress *progress, uint64_t done, uint64_t of)
{
	int64_t now = now_ms();

	if (!progress->is_wanted || now - progress->begun_ms < FIRST_MS || now - progress->shown_ms < EVERY_MS)
		return;
	progress->is_shown = true;
	progress->shown_ms = now;
	if (of)
		show_bar(progress, done, of, now - progress->begun_ms);
	else if (progress->in_bytes)
		fprintf(stderr, "\r\033[K%s: %.1f MiB", progress->what, (double)done / 1048576);
	else
		fprintf(stderr, "\r\033[K%s: %llu", progress->what, (unsigned long long)done);
	fflush(stderr);
}

void progress_end(struct progress *progress)
{
	if (progress->is_shown)
		fputs("\r\033[K", stderr);
	progress->is_shown = false;
}
