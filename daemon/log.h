/*
 * log.h: one line per event with a fixed vocabulary: event=custody-taken msg=344003/2/118 link=901.
 * Never bodies, personal names or keys. To journald with fields (CPD_EVENT=, CPD_MSG=, ...) when stderr
 * is the journal, else to stderr with the time in front. Safe on every thread.
 *
 * Lines that a peer can provoke go through log_limited: at most 10 in 10 s for each (event, link),
 * the rest are counted and the count is told with the next line as dropped=N.
 */
#ifndef CPD_LOG_H
#define CPD_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

#define LOG_LIMIT_LINES 10
#define LOG_LIMIT_MS 10000

void log_start(int level);
void log_set_level(int level);
/* format: "key=%s key=%u"; event is put in front as event=. Keys stand in the format itself, in small
 * letters, with one space before each but the first; a value may hold anything: spaces are quoted,
 * quotes and control characters replaced, so that no value can pass for another key or line. Text that the
 * format writes itself stands in quotes: cure=\"write so\". */
void log_line(int priority, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));
void log_limited(int priority, const char *event, uint32_t link, int64_t now_ms, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Lines that log_limited kept back, since start. */
uint64_t log_dropped(void);
#endif
