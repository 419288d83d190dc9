/*
 * clock.h: the one place that reads clocks. custody time = time kept in the store + CLOCK_BOOTTIME
 * since start; wall time from CLOCK_REALTIME; quality from the configuration or, for `auto`, from
 * adjtimex (synchronised by NTP: NTP; else MANUAL when after the build date, else UNKNOWN).
 */
#ifndef CPD_CLOCK_H
#define CPD_CLOCK_H

#include "proto/types.h"

struct clock { int64_t base_ms, start_boot_ms; char quality[10]; };
void clock_start(struct clock *clock, int64_t stored_custody_ms, const char *quality);
void clock_now(const struct clock *clock, struct moment *out);
int64_t clock_boot_ms(void);
#endif
