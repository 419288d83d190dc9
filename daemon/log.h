/*
 * log.h: one line per event with a fixed vocabulary: event=custody-taken msg=344003/2/118 link=901.
 * Never bodies, personal names or keys. To journald with fields when started by systemd, else stderr.
 * Lines that a peer can provoke go through log_limited: at most 10 in 10 s for each (event, link),
 * the rest are counted and the count is told with the next line.
 */
#ifndef CPD_LOG_H
#define CPD_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

void log_start(int level);
void log_set_level(int level);
/* format: "key=value key=value"; event is put in front as event=. */
void log_line(int priority, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));
void log_limited(int priority, const char *event, uint32_t link, int64_t now_ms, const char *format, ...) __attribute__((format(printf, 5, 6)));
uint64_t log_dropped(void);
#endif
