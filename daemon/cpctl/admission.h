/*
 * admission.h: what a node's certificate may say, the same for one that is admitted by hand and for a list of them. Says
 * nothing to anybody: the callers know where the text came from. Called by region.c and enrol_csv.c.
 */
#ifndef CPD_CPCTL_ADMISSION_H
#define CPD_CPCTL_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Two letters and as many digits: GM0344, VR09. */
bool admission_is_code(const char *text, const char *letters, size_t digits);
/* tcp://192.0.2.1:5600 or tcp://[2001:db8::1]:5600. Names are not looked up in a crisis. */
bool admission_is_address(const char *text);
/* Degrees from -most to most as 1e-5 degrees. */
bool admission_degrees(const char *text, double most, int32_t *out);

#endif
