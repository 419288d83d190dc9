#include "daemon/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "daemon/clock.h"

#define LINE_MAX_BYTES 1024
#define FORMAT_MAX 512
#define FIELDS_MAX 24
#define MARK '\x1f'         /* stands before each key while a line is made */
#define SLOTS 256           /* (event, link) pairs remembered by log_limited */

struct field { const char *key; size_t key_len; const char *value; size_t value_len; };

struct slot {
	char event[32];
	uint32_t link;
	int64_t since_ms, used_ms;
	unsigned lines, dropped;
};

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static int log_level = LOG_INFO;
static bool log_is_journal;
static uint64_t log_dropped_total;
static struct slot log_slots[SLOTS];

/* JOURNAL_STREAM is inherited by shells too: only when it names our own stderr are we the journal's. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat status;

	if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2 || fstat(STDERR_FILENO, &status) < 0)
		return false;
	return status.st_dev == device && status.st_ino == inode;
}

void log_start(int level)
{
	pthread_mutex_lock(&log_lock);
	log_level = level;
	log_is_journal = stderr_is_journal();
	memset(log_slots, 0, sizeof(log_slots));
	log_dropped_total = 0;
	pthread_mutex_unlock(&log_lock);
}

void log_set_level(int level)
{
	pthread_mutex_lock(&log_lock);
	log_level = level;
	pthread_mutex_unlock(&log_lock);
}

uint64_t log_dropped(void)
{
	uint64_t dropped;

	pthread_mutex_lock(&log_lock);
	dropped = log_dropped_total;
	pthread_mutex_unlock(&log_lock);
	return dropped;
}

static bool is_wanted(int priority)
{
	bool wanted;

	pthread_mutex_lock(&log_lock);
	wanted = priority <= log_level;
	pthread_mutex_unlock(&log_lock);
	return wanted;
}

/* Length of "key=" at text, without the '='; 0: there is no key here. */
static size_t key_at(const char *text)
{
	size_t len = 0;

	while ((text[len] >= 'a' && text[len] <= 'z') || text[len] == '_' || (len > 0 && text[len] >= '0' && text[len] <= '9'))
		len++;
	return text[len] == '=' ? len : 0;
}

/* Copies the format with a MARK before each of its keys, so that the keys of the programmer can be told
 * from "key=" inside a value. */
static void mark_format(const char *format, char out[FORMAT_MAX])
{
	size_t used = 0;
	bool is_quoted = false;

	for (size_t i = 0; format[i] != '\0' && used + 2 < FORMAT_MAX; i++) {
		bool is_start = !is_quoted && (i == 0 || format[i - 1] == ' ');

		if (format[i] == '"')
			is_quoted = !is_quoted;
		if (is_start && key_at(format + i) > 0) {
			if (used > 0)
				used--; /* the space before it */
			out[used++] = MARK;
		}
		out[used++] = format[i];
	}
	out[used] = '\0';
}

/* True when text goes on with a key that also the format has here; a value cannot invent one. */
static bool is_key_of(const char *format_key, const char *text)
{
	size_t len = format_key ? key_at(format_key) : 0;

	return len > 0 && strncmp(format_key, text, len + 1) == 0;
}

/* Quotes that the format wrote: they come back where they are needed. */
static void take_quotes_off(struct field *field)
{
	if (field->value_len < 2 || field->value[0] != '"' || field->value[field->value_len - 1] != '"')
		return;
	field->value++;
	field->value_len -= 2;
}

static size_t split(char *text, const char *marked, struct field *fields)
{
	const char *expected = strchr(marked, MARK);
	size_t count = 0;

	for (char *at = text; *at != '\0'; at++) {
		if (*at != MARK || !expected || !is_key_of(expected + 1, at + 1) || count == FIELDS_MAX)
			continue;
		if (count > 0)
			fields[count - 1].value_len = (size_t)(at - fields[count - 1].value);
		fields[count].key = at + 1;
		fields[count].key_len = key_at(at + 1);
		fields[count].value = at + 1 + fields[count].key_len + 1;
		fields[count].value_len = strlen(fields[count].value);
		count++;
		expected = strchr(expected + 1, MARK);
	}
	for (size_t i = 0; i < count; i++)
		take_quotes_off(&fields[i]);
	return count;
}

static char harmless(char c)
{
	if ((unsigned char)c < 0x20 || c == 0x7f)
		return '?';
	if (c == '"')
		return '\'';
	return c == '\\' ? '/' : c;
}

static void put(char *line, size_t *used, char c)
{
	if (*used + 1 < LINE_MAX_BYTES)
		line[(*used)++] = c;
}

static void put_field(char *line, size_t *used, const struct field *field)
{
	bool needs_quotes = field->value_len == 0;

	for (size_t i = 0; i < field->value_len; i++)
		needs_quotes = needs_quotes || field->value[i] == ' ' || field->value[i] == '=';
	if (*used > 0)
		put(line, used, ' ');
	for (size_t i = 0; i < field->key_len; i++)
		put(line, used, field->key[i]);
	put(line, used, '=');
	if (needs_quotes)
		put(line, used, '"');
	for (size_t i = 0; i < field->value_len; i++)
		put(line, used, harmless(field->value[i]));
	if (needs_quotes)
		put(line, used, '"');
}

static void to_journal(int priority, const char *line, const struct field *fields, size_t count)
{
	static const char prefix[] = "CPD_";
	char storage[LINE_MAX_BYTES + FIELDS_MAX * 8];
	char message[LINE_MAX_BYTES + 8], level[16];
	struct iovec parts[FIELDS_MAX + 3];
	size_t used = 0, part_count = 0;
	int len;

	len = snprintf(message, sizeof(message), "MESSAGE=%s", line);
	parts[part_count++] = (struct iovec){ message, (size_t)len };
	len = snprintf(level, sizeof(level), "PRIORITY=%d", priority);
	parts[part_count++] = (struct iovec){ level, (size_t)len };
	for (size_t i = 0; i < count; i++) {
		size_t start = used, need = sizeof(prefix) - 1 + fields[i].key_len + 1 + fields[i].value_len;

		if (need > sizeof(storage) - used)
			break;
		memcpy(storage + used, prefix, sizeof(prefix) - 1);
		used += sizeof(prefix) - 1;
		for (size_t k = 0; k < fields[i].key_len; k++) {
			char c = fields[i].key[k];

			storage[used++] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
		}
		storage[used++] = '=';
		for (size_t k = 0; k < fields[i].value_len; k++)
			storage[used++] = harmless(fields[i].value[k]);
		parts[part_count++] = (struct iovec){ storage + start, used - start };
	}
	(void)sd_journal_sendv(parts, (int)part_count); /* a log that fails has nobody to tell */
}

static void to_stderr(int priority, const char *line)
{
	static const char *const names[] = { "emergency", "alert", "critical", "error", "warning", "notice", "info", "debug" };
	char text[LINE_MAX_BYTES + 64], when[24];
	int len = snprintf(text, sizeof(text), "%s %s %s\n", clock_text(when), names[priority & 7], line);

	/* One write: lines of two threads never mix. */
	if (len > 0)
		(void)!write(STDERR_FILENO, text, (size_t)len);
}

static void log_write(int priority, const char *event, unsigned dropped, const char *format, va_list arguments)
{
	char marked[FORMAT_MAX], text[LINE_MAX_BYTES], line[LINE_MAX_BYTES], number[12];
	struct field fields[FIELDS_MAX + 2];
	size_t count = 1, used = 0;

	fields[0] = (struct field){ "event", 5, event, strlen(event) };
	mark_format(format, marked);
	if (vsnprintf(text, sizeof(text), marked, arguments) < 0)
		text[0] = '\0';
	count += split(text, marked, fields + 1);
	if (dropped > 0) {
		int len = snprintf(number, sizeof(number), "%u", dropped);

		fields[count++] = (struct field){ "dropped", 7, number, (size_t)len };
	}
	for (size_t i = 0; i < count; i++)
		put_field(line, &used, &fields[i]);
	line[used] = '\0';
	if (log_is_journal)
		to_journal(priority, line, fields, count < FIELDS_MAX ? count : FIELDS_MAX);
	else
		to_stderr(priority, line);
}

void log_line(int priority, const char *event, const char *format, ...)
{
	va_list arguments;

	if (!is_wanted(priority))
		return;
	va_start(arguments, format);
	log_write(priority, event, 0, format, arguments);
	va_end(arguments);
}

/* The slot of this pair; else a new one in the place of the one used longest ago. */
static struct slot *find_slot(const char *event, uint32_t link)
{
	struct slot *oldest = &log_slots[0];

	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *slot = &log_slots[i];

		if (slot->link == link && strncmp(slot->event, event, sizeof(slot->event) - 1) == 0)
			return slot;
		if (slot->event[0] == '\0' || (oldest->event[0] != '\0' && slot->used_ms < oldest->used_ms))
			oldest = slot;
	}
	memset(oldest, 0, sizeof(*oldest));
	snprintf(oldest->event, sizeof(oldest->event), "%s", event);
	oldest->link = link;
	oldest->since_ms = INT64_MIN;
	return oldest;
}

/* True: write the line, telling that *dropped lines were kept back before it. */
static bool may_pass(const char *event, uint32_t link, int64_t now_ms, unsigned *dropped)
{
	struct slot *slot;
	bool passes;

	pthread_mutex_lock(&log_lock);
	slot = find_slot(event, link);
	if (slot->since_ms == INT64_MIN || now_ms - slot->since_ms >= LOG_LIMIT_MS) {
		slot->since_ms = now_ms;
		slot->lines = 0;
	}
	slot->used_ms = now_ms;
	passes = slot->lines < LOG_LIMIT_LINES;
	if (passes) {
		slot->lines++;
		*dropped = slot->dropped;
		slot->dropped = 0;
	} else {
		slot->dropped++;
		log_dropped_total++;
	}
	pthread_mutex_unlock(&log_lock);
	return passes;
}

void log_limited(int priority, const char *event, uint32_t link, int64_t now_ms, const char *format, ...)
{
	va_list arguments;
	unsigned dropped = 0;

	if (!is_wanted(priority) || !may_pass(event, link, now_ms, &dropped))
		return;
	va_start(arguments, format);
	log_write(priority, event, dropped, format, arguments);
	va_end(arguments);
}
