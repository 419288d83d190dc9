/*
 * clock.h: the one place that reads clocks. custody time = time kept in the store + CLOCK_BOOTTIME
 * since start (it goes on while the machine is suspended); wall time from CLOCK_REALTIME, in ms since
 * CPD_TIME_ZERO_S. Quality is what the configuration says; for `auto`: NTP when the kernel's clock is
 * disciplined (adjtimex), else MANUAL when it stands after 2026-01-01, else UNKNOWN.
 * Never sets a clock. Called by the shell; the pure parts are told a struct moment.
 */
#ifndef CPD_CLOCK_H
#define CPD_CLOCK_H

#include "proto/types.h"

struct clock { int64_t base_ms, start_boot_ms; char quality[10]; };
/* quality: auto, unknown, manual, ntp or gnss; another word counts as unknown. */
void clock_start(struct clock *clock, int64_t stored_custody_ms, const char *quality);
void clock_now(const struct clock *clock, struct moment *out);
/* For intervals within this process: never jumps back. */
int64_t clock_boot_ms(void);
int64_t clock_boot_us(void);
/* ISO 8601 in UTC, "2026-01-31T12:00:00Z", of now: for log lines. out holds 24 bytes. */
const char *clock_text(char out[24]);
#endif
