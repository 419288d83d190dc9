#include "daemon/clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>

static int64_t clock_read_us(clockid_t id)
{
	struct timespec now = { 0 };

	(void)clock_gettime(id, &now); /* fails only for a clock the kernel does not have */
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t clock_read_ms(clockid_t id)
{
	return clock_read_us(id) / 1000;
}

int64_t clock_boot_us(void)
{
	return clock_read_us(CLOCK_BOOTTIME);
}

int64_t clock_boot_ms(void)
{
	return clock_read_ms(CLOCK_BOOTTIME);
}

void clock_start(struct clock *clock, int64_t stored_custody_ms, const char *quality)
{
	memset(clock, 0, sizeof(*clock));
	clock->base_ms = stored_custody_ms;
	clock->start_boot_ms = clock_boot_ms();
	snprintf(clock->quality, sizeof(clock->quality), "%s", quality);
}

/* The kernel knows whether a time daemon disciplines its clock, and says so without a privilege. A
 * machine that was synchronised before the power went keeps saying so until its error estimate has
 * grown to 16 s, about nine hours: that is what NTP quality means here. */
static bool clock_is_disciplined(void)
{
	struct timex state = { .modes = 0 };
	int answer = adjtimex(&state);

	return answer >= 0 && answer != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
}

static enum clock_quality clock_judge(const char *quality, int64_t wall_ms)
{
	if (strcmp(quality, "gnss") == 0)
		return CLOCK_GNSS;
	if (strcmp(quality, "ntp") == 0)
		return CLOCK_NTP;
	if (strcmp(quality, "manual") == 0)
		return CLOCK_MANUAL;
	if (strcmp(quality, "auto") != 0)
		return CLOCK_UNKNOWN;
	/* A clock before the protocol's own zero lost its battery, whoever disciplines it. */
	if (wall_ms < 0)
		return CLOCK_UNKNOWN;
	return clock_is_disciplined() ? CLOCK_NTP : CLOCK_MANUAL;
}

void clock_now(const struct clock *clock, struct moment *out)
{
	out->custody_ms = clock->base_ms + clock_boot_ms() - clock->start_boot_ms;
	out->wall_ms = clock_read_ms(CLOCK_REALTIME) - CPD_TIME_ZERO_S * 1000;
	out->quality = clock_judge(clock->quality, out->wall_ms);
}

const char *clock_text(char out[24])
{
	time_t now = time(NULL);
	struct tm parts;

	if (!gmtime_r(&now, &parts) || strftime(out, 24, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
		out[0] = '\0';
	return out;
}
