/*
 * program.h: runs cpd for what only it may do: read a configuration, open a store. Never a shell.
 * Called by the verbs that work without the daemon.
 */
#ifndef CPD_CPCTL_PROGRAM_H
#define CPD_CPCTL_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

/* Of one line of its stdout and stderr together. */
typedef void program_line(void *context, const char *line);
/* cpd with these words, ended by NULL; its exit code. -1: it cannot be run, or was killed (told on stderr). */
int program_run(const char *const *words, program_line *take, void *context);
/* The settings of a configuration as `cpd --show-config` tells them, malloc'ed JSON text; NULL: problem holds what
 * cpd says of it, with file and line. */
char *program_config(const char *path, char *problem, size_t size);

#endif
