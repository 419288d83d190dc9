/*
 * output.h: how cpctl writes for people: tables in columns that fit 80, ages, times, colour on a terminal
 * only. What came from others is written without control characters: a name must not move the cursor.
 * Called by the verbs; never decides anything.
 */
#ifndef CPD_CPCTL_OUTPUT_H
#define CPD_CPCTL_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTPUT_WIDTH 80
#define AGE_MAX 24

enum colour { COLOUR_NONE, COLOUR_GOOD, COLOUR_WARNING, COLOUR_BAD, COLOUR_STRONG };

/* "" when stdout is no terminal or NO_COLOR is set. COLOUR_NONE ends a colour. */
const char *colour(enum colour colour);

/* "20 s", "3 min", "2 h 05 min", "3 d 4 h"; negative: "never". Returns out. */
const char *age_text(int64_t age_s, char out[AGE_MAX]);
/* The same for an age in JSON; null: "never". */
const char *age_json(const json_t *age, char out[AGE_MAX]);

/* Copies text without control characters and pads or cuts it to `width` characters (cut: "…" at the end);
 * width 0: as it is. out is always terminated. Returns out. */
const char *text_fit(const char *text, size_t width, char *out, size_t size);
/* The same without padding, for what stands at the end of a line. */
const char *text_cut(const char *text, size_t width, char *out, size_t size);
/* Writes text without control characters, broken between words to fit the width, each line after
 * `indent` blanks; newlines in it stay, and one stands at the end. */
void text_wrap(const char *text, size_t indent);
/* Prints JSON on stdout, for --json. Consumes nothing. */
void print_json(const json_t *json);

/* A member, or what stands for an absent one: "", 0, false. */
const char *json_text(const json_t *object, const char *name);
int64_t json_number(const json_t *object, const char *name);
bool json_flag(const json_t *object, const char *name);

/* "2026-11-24T12:00:00Z" as "12:00:00" when that is today (UTC), else "24 nov 12:00". "": "?". */
const char *time_text(const char *rfc3339, char out[AGE_MAX]);
/* "Beperkt open" for LIMITED; the word itself when this version does not know it; "onbekend" for none. */
const char *phase_dutch(const char *phase);

#endif
