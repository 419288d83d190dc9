/* output.c: see output.h. */
#include "daemon/cpctl/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *colour(enum colour colour)
{
	static const char *const codes[] = { "\033[0m", "\033[32m", "\033[33m", "\033[1;31m", "\033[1m" };
	static int is_wanted = -1;
	const char *no = getenv("NO_COLOR");

	if (is_wanted < 0)
		is_wanted = isatty(STDOUT_FILENO) && !(no && *no);
	return is_wanted ? codes[colour] : "";
}

/* ---------------------------------------------------------------- ages and times */

const char *age_text(int64_t age_s, char out[AGE_MAX])
{
	long long age = (long long)age_s;

	if (age < 0)
		snprintf(out, AGE_MAX, "never");
	else if (age < 60)
		snprintf(out, AGE_MAX, "%lld s", age);
	else if (age < 3600)
		snprintf(out, AGE_MAX, "%lld min", age / 60);
	else if (age < 86400)
		snprintf(out, AGE_MAX, "%lld h %02lld min", age / 3600, age / 60 % 60);
	else
		snprintf(out, AGE_MAX, "%lld d %lld h", age / 86400, age / 3600 % 24);
	return out;
}

const char *age_json(const json_t *age, char out[AGE_MAX])
{
	return age_text(json_is_integer(age) ? json_integer_value(age) : -1, out);
}

const char *time_text(const char *rfc3339, char out[AGE_MAX])
{
	static const char *const months[] = { "jan", "feb", "mrt", "apr", "mei", "jun", "jul", "aug", "sep", "okt", "nov", "dec" };
	unsigned year, month, day, hour, minute, second;
	time_t now = time(NULL);
	struct tm today;

	if (sscanf(rfc3339, "%4u-%2u-%2uT%2u:%2u:%2u", &year, &month, &day, &hour, &minute, &second) != 6 || month < 1 || month > 12)
		snprintf(out, AGE_MAX, "?");
	else if (gmtime_r(&now, &today) && (int)year == today.tm_year + 1900 && (int)month == today.tm_mon + 1 && (int)day == today.tm_mday)
		snprintf(out, AGE_MAX, "%02u:%02u:%02u", hour % 100, minute % 100, second % 100);
	else
		snprintf(out, AGE_MAX, "%u %s %02u:%02u", day % 100, months[month - 1], hour % 100, minute % 100);
	return out;
}

const char *phase_dutch(const char *phase)
{
	static const char *const words[][2] = {
		{ "", "onbekend" }, { "PHASE_UNKNOWN", "onbekend" }, { "ALERTED", "Gealarmeerd" }, { "SETTING_UP", "Wordt ingericht" },
		{ "OPEN", "Open" }, { "LIMITED", "Beperkt open" }, { "FULL", "Vol" }, { "CLOSING", "Sluit" }, { "CLOSED", "Gesloten" },
		{ "EVACUATED", "Ontruimd" },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcmp(words[i][0], phase))
			return words[i][1];
	return phase;
}

/* ---------------------------------------------------------------- text */

/* Length of the character at `at`, which stands in text that a JSON parser accepted, and whether it may
 * be shown. C1 controls are two bytes: C2 80 to C2 9F. */
static size_t character_len(const char *at, bool *is_control)
{
	const unsigned char *byte = (const unsigned char *)at;
	size_t len = byte[0] < 0x80 ? 1 : byte[0] < 0xe0 ? 2 : byte[0] < 0xf0 ? 3 : 4;

	*is_control = byte[0] < 0x20 || byte[0] == 0x7f || (byte[0] == 0xc2 && byte[1] >= 0x80 && byte[1] < 0xa0);
	return strnlen(at, len);
}

static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

const char *text_fit(const char *text, size_t width, char *out, size_t size)
{
	bool is_cut = width && width_of(text) > width;
	size_t used = 0, shown = 0;

	for (const char *at = text; *at && (!width || shown < (is_cut ? width - 1 : width));) {
		bool is_control;
		size_t len = character_len(at, &is_control);

		if (used + len + 4 >= size)
			break;
		if (is_control)
			out[used++] = ' ';
		else
			memcpy(out + used, at, len);
		used += is_control ? 0 : len;
		at += len;
		shown++;
	}
	if (is_cut && used + 4 < size) {
		memcpy(out + used, "…", strlen("…"));
		used += strlen("…");
		shown++;
	}
	for (; shown < width && used + 1 < size; shown++)
		out[used++] = ' ';
	out[used] = '\0';
	return out;
}

const char *text_cut(const char *text, size_t width, char *out, size_t size)
{
	size_t len = strlen(text_fit(text, width, out, size));

	while (len && out[len - 1] == ' ')
		out[--len] = '\0';
	return out;
}

static void write_clean(const char *text, size_t bytes)
{
	for (const char *end = text + bytes; text < end;) {
		bool is_control;
		size_t len = character_len(text, &is_control);

		if (is_control)
			putchar(' ');
		else
			fwrite(text, 1, len, stdout);
		text += len;
	}
}

void text_wrap(const char *text, size_t indent)
{
	size_t column = 0;

	while (*text) {
		size_t word = strcspn(text, " \n"), width = 0;

		for (size_t i = 0; i < word; i++)
			width += ((unsigned char)text[i] & 0xc0) != 0x80;
		if (column && column + 1 + width > OUTPUT_WIDTH - 1) {
			putchar('\n');
			column = 0;
		}
		if (word && !column)
			column = (size_t)printf("%*s", (int)indent, "");
		else if (word)
			column += (size_t)printf(" ");
		write_clean(text, word);
		column += width;
		text += word;
		if (*text == '\n') {
			putchar('\n');
			column = 0;
		}
		text += *text != '\0';
	}
	if (column)
		putchar('\n');
}

/* ---------------------------------------------------------------- JSON */

void print_json(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY);
	putchar('\n');
}

const char *json_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

int64_t json_number(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

bool json_flag(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}
