/* clock.h: is the clock right, by what the daemon tells of it? Called by clock.c and doctor.c. */
#ifndef CPD_CPCTL_CLOCK_H
#define CPD_CPCTL_CLOCK_H

#include <jansson.h>
#include <stddef.h>

enum clock_verdict { CLOCK_GOOD, CLOCK_DOUBTED, CLOCK_WRONG };
/* clock: the member of /v1/self. why: one clause; *cure: what to do. */
enum clock_verdict clock_judge(const json_t *clock, char *why, size_t size, const char **cure);

#endif
