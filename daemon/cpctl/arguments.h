/*
 * arguments.h: from argv to a call: the verb, its words, its options. Options stand before or after the
 * verb; "--" ends them. A word that is off is answered with the nearest that exists. Does nothing else.
 * Called by main.c, and by the verbs for `nearest`.
 */
#ifndef CPD_CPCTL_ARGUMENTS_H
#define CPD_CPCTL_ARGUMENTS_H

#include "daemon/cpctl/cpctl.h"

enum parsed {
	PARSED_CALL,         /* call->verb is there; words and options are checked unless help is wanted */
	PARSED_HELP,         /* help without a verb; call->family may be there */
	PARSED_VERSION,
	PARSED_USAGE         /* the error is told */
};
/* `verbs` ends with a row whose name is NULL. */
enum parsed arguments_parse(int argc, char **argv, const struct verb *verbs, struct call *call);

/* Of two candidates the nearer to `word` is kept in *best; start with *best NULL. */
void nearest(const char *word, const char *candidate, const char **best, size_t *best_distance);
/* " (did you mean X?)" when best is near enough to be a slip, else "". out holds size. */
const char *nearest_hint(const char *word, const char *prefix, const char *best, size_t distance, char *out, size_t size);

/* Digits only, up to `most`. */
bool parse_number(const char *text, uint64_t most, uint64_t *out);
/* "90", "90s", "30m", "12h", "3d" as seconds. */
bool parse_duration(const char *text, uint64_t *seconds);

#endif
