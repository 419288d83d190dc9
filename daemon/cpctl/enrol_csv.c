/* enrol_csv.c: see enrol_csv.h. The CSV itself is read by libcsv. */
#include "daemon/cpctl/enrol_csv.h"

#include <csv.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "crypto/identity.h"
#include "daemon/cpctl/admission.h"
#include "daemon/cpctl/arguments.h"
#include "daemon/cpctl/file.h"
#include "proto/text.h"

#define FILE_MAX (4 * 1024 * 1024)
#define COLUMNS_MAX 64
#define FAULTS_MAX 20 /* told; a list in a wrong order of columns has thousands */

enum column { NUMBER, NAME, MUNICIPALITY, PLACE, LATITUDE, LONGITUDE, ROLE, HOMES, ADDRESS, COLUMNS };
/* What the heads may be called; the first is the one that faults name. */
static const char *const heads[COLUMNS][4] = {
	[NUMBER] = { "number", "nummer", "node" }, [NAME] = { "name", "naam" }, [MUNICIPALITY] = { "municipality", "gemeente", "gm_code", "gemeentecode" },
	[PLACE] = { "place", "plaats" }, [LATITUDE] = { "lat", "breedte" }, [LONGITUDE] = { "lon", "lengte" }, [ROLE] = { "role", "rol" },
	[HOMES] = { "homes", "cps", "cp" }, [ADDRESS] = { "address", "adres" },
};

struct reader {
	struct enrol_list list;
	size_t room, line, field, faults;
	bool has_head;
	enum column columns[COLUMNS_MAX];  /* COLUMNS: not one of ours */
	size_t column_count;
	char *fields[COLUMNS];             /* of the row being read; owned; NULL: no such column */
	const uint32_t *homes;
	size_t home_count;
};

static void say_list(const char *path, size_t line, const char *column, const char *format, va_list arguments)
{
	fprintf(stderr, "cpctl: %s:%zu: ", path, line);
	if (column)
		fprintf(stderr, "column %s: ", column);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
}

void enrol_say(const struct enrol_list *list, size_t line, const char *column, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say_list(list->path, line, column, format, arguments);
	va_end(arguments);
}

__attribute__((format(printf, 3, 4))) static void fault(struct reader *reader, const char *column, const char *format, ...)
{
	va_list arguments;

	if (++reader->faults > FAULTS_MAX)
		return;
	va_start(arguments, format);
	say_list(reader->list.path, reader->line, column, format, arguments);
	va_end(arguments);
}

/* ---------------------------------------------------------------- fields */

bool enrol_parse_homes(const char *text, uint32_t homes[LIMIT_HOMES], size_t *count)
{
	*count = 0;
	while (*text) {
		size_t len = strcspn(text, " ,;+/");
		char word[16];
		uint64_t number;

		snprintf(word, sizeof(word), "%.*s", (int)(len < 15 ? len : 15), text);
		if (len && (!parse_number(word, UINT32_MAX, &number) || !number || *count == LIMIT_HOMES))
			return false;
		for (size_t i = 0; len && i < *count; i++)
			if (homes[i] == number)
				return false;
		if (len)
			homes[(*count)++] = (uint32_t)number;
		text += len;
		text += *text != '\0';
	}
	return true;
}

static const char *given(const struct reader *reader, enum column column)
{
	return reader->fields[column] ? reader->fields[column] : "";
}

static void take_text(struct reader *reader, enum column column, bool is_needed, size_t most, char *out)
{
	const char *text = given(reader, column);

	if (*text && text_check_string(text, most, most, TEXT_ONE_LINE))
		fault(reader, heads[column][0], "it must be UTF-8 text of at most %zu bytes on one line; save the list as \"CSV UTF-8\"", most);
	else if (!*text && is_needed)
		fault(reader, heads[column][0], "it is empty");
	else
		snprintf(out, most + 1, "%s", text);
}

static void take_degrees(struct reader *reader, enum column column, double most, int32_t *out)
{
	char *text = reader->fields[column] ? reader->fields[column] : (char[]){ "" };

	/* As a spreadsheet set to Dutch writes a number. */
	text[strcspn(text, ",")] = strchr(text, ',') ? '.' : '\0';
	if (*text && !admission_degrees(text, most, out))
		fault(reader, heads[column][0], "\"%s\" is not a number of degrees from -%g to %g; write 52.09083", text, most, most);
}

static void take_row(struct reader *reader, struct enrol_row *row)
{
	const char *number = given(reader, NUMBER), *municipality = given(reader, MUNICIPALITY), *role = given(reader, ROLE);
	struct certificate *certificate = &row->certificate;
	uint64_t value = 0;

	row->line = reader->line;
	if (*number && (!parse_number(number, UINT32_MAX, &value) || !value))
		fault(reader, heads[NUMBER][0], "\"%s\" is not a node number; write 344003, or leave it empty", number);
	certificate->node = (uint32_t)value;
	take_text(reader, NAME, true, LIMIT_NAME, certificate->name);
	take_text(reader, PLACE, false, ENROL_PLACE_MAX, row->place);
	certificate->role = ROLE_ID_NSP;
	if (*role && !node_role_parse(role, &certificate->role))
		fault(reader, heads[ROLE][0], "\"%s\" is not a role; it is nsp, cp, desk or partner", role);
	if (*municipality && !admission_is_code(municipality, "GM", 4))
		fault(reader, heads[MUNICIPALITY][0], "\"%s\" is not a CBS code; write it like GM0344", municipality);
	else if (!*municipality && certificate->role == ROLE_ID_NSP)
		fault(reader, heads[MUNICIPALITY][0], "it is empty: an nsp belongs to a municipality");
	else
		snprintf(certificate->municipality, sizeof(certificate->municipality), "%s", municipality);
	take_degrees(reader, LATITUDE, 90, &certificate->latitude_e5);
	take_degrees(reader, LONGITUDE, 180, &certificate->longitude_e5);
	if (!*given(reader, LATITUDE) != !*given(reader, LONGITUDE))
		fault(reader, heads[LATITUDE][0], "lat and lon go together");
	if (*given(reader, ADDRESS) && !admission_is_address(given(reader, ADDRESS)))
		fault(reader, heads[ADDRESS][0], "\"%s\" is not numeric; write tcp://192.0.2.1:5600", given(reader, ADDRESS));
	else
		snprintf(certificate->address, sizeof(certificate->address), "%s", given(reader, ADDRESS));
	if (!enrol_parse_homes(given(reader, HOMES), row->homes, &row->home_count))
		fault(reader, heads[HOMES][0], "\"%s\" is not a list of at most %d numbers of CPs, each once; write 901 902, the best first", given(reader, HOMES), LIMIT_HOMES);
	else if (!row->home_count && certificate->role != ROLE_ID_CP) {    /* CPs find each other in the directory */
		memcpy(row->homes, reader->homes, reader->home_count * sizeof(*row->homes));
		row->home_count = reader->home_count;
	}
}

/* ---------------------------------------------------------------- rows */

static enum column column_of(const char *head)
{
	for (unsigned column = 0; column < COLUMNS; column++)
		for (size_t i = 0; i < 4 && heads[column][i]; i++)
			if (!strcasecmp(head, heads[column][i]))
				return (enum column)column;
	return COLUMNS;
}

static void take_head(struct reader *reader, const char *head)
{
	enum column column = column_of(head);

	for (size_t i = 0; column != COLUMNS && i < reader->column_count; i++)
		if (reader->columns[i] == column)
			fault(reader, head, "this column stands there twice");
	if (column == COLUMNS && *head)
		fprintf(stderr, "cpctl: %s: column \"%s\" is not used\n", reader->list.path, head);
	reader->columns[reader->column_count++] = column;
}

static void take_field(void *bytes, size_t len, void *context)
{
	struct reader *reader = context;
	char *text;

	if (reader->field == COLUMNS_MAX || (reader->has_head && reader->field >= reader->column_count)) {
		/* An empty one behind the last comes of spreadsheets. */
		if (len)
			fault(reader, NULL, "more fields than the first line has columns: is a comma inside a name that has no quotes?");
		return;
	}
	if (len && memchr(bytes, 0, len)) {
		fault(reader, NULL, "a NUL byte stands in it: save the list as \"CSV UTF-8\"");
		len = 0;
	}
	text = strndup(len ? bytes : "", len);
	if (!text)
		fault(reader, NULL, "memory is used up");
	else if (!reader->has_head)
		take_head(reader, text);
	else if (reader->columns[reader->field] != COLUMNS) {
		free(reader->fields[reader->columns[reader->field]]);
		reader->fields[reader->columns[reader->field]] = text;
		text = NULL;
	}
	free(text);
	reader->field++;
}

static bool make_room(struct reader *reader)
{
	size_t room = reader->room ? 2 * reader->room : 64;
	struct enrol_row *rows;

	if (reader->list.count < reader->room)
		return true;
	rows = reader->room == ENROL_ROWS_MAX ? NULL : realloc(reader->list.rows, room * sizeof(*rows));
	if (!rows) {
		fault(reader, NULL, "a list holds at most %d nodes: cut it in two", ENROL_ROWS_MAX);
		return false;
	}
	reader->list.rows = rows;
	reader->room = room;
	return true;
}

static bool has_column(const struct reader *reader, enum column column)
{
	for (size_t i = 0; i < reader->column_count; i++)
		if (reader->columns[i] == column)
			return true;
	return false;
}

static bool is_blank(const struct reader *reader)
{
	for (unsigned column = 0; column < COLUMNS; column++)
		if (*given(reader, (enum column)column))
			return false;
	return true;
}

static void end_row(int end, void *context)
{
	struct reader *reader = context;

	(void)end;
	if (!reader->has_head) {
		reader->has_head = true;
		if (!has_column(reader, NAME))
			fault(reader, NULL, "there is no column name (or naam): the first line names the columns");
	} else if (!is_blank(reader) && make_room(reader)) {
		struct enrol_row *row = &reader->list.rows[reader->list.count++];

		memset(row, 0, sizeof(*row));
		take_row(reader, row);
	}
	for (unsigned column = 0; column < COLUMNS; column++) {
		free(reader->fields[column]);
		reader->fields[column] = NULL;
	}
	reader->field = 0;
}

static void read_lines(struct reader *reader, struct csv_parser *parser, const char *bytes, size_t len)
{
	while (len && reader->faults <= FAULTS_MAX) {
		const char *end = memchr(bytes, '\n', len);
		size_t part = end ? (size_t)(end - bytes) + 1 : len;

		reader->line++;
		if (csv_parse(parser, bytes, part, take_field, end_row, reader) != part) {
			fault(reader, NULL, "its quotation marks are off: \"\" stands for one inside a field");
			return;
		}
		bytes += part;
		len -= part;
	}
	if (csv_fini(parser, take_field, end_row, reader))
		fault(reader, NULL, "a quotation mark is not closed");
}

/* What a spreadsheet set to Dutch puts between fields. */
static unsigned char delimiter_of(const char *bytes, size_t len)
{
	const char *end = memchr(bytes, '\n', len);
	size_t head = end ? (size_t)(end - bytes) : len;

	return memchr(bytes, ';', head) ? ';' : memchr(bytes, '\t', head) ? '\t' : ',';
}

bool enrol_csv_read(const char *path, const uint32_t *homes, size_t home_count, struct enrol_list *out)
{
	struct reader reader = { .list = { .path = path }, .homes = homes, .home_count = home_count };
	struct csv_parser parser;
	uint8_t *bytes;
	const char *text;
	size_t len;

	memset(out, 0, sizeof(*out));
	if (!file_read(path, FILE_MAX, &bytes, &len))
		return false;
	text = (const char *)bytes;
	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
		text += 3;
		len -= 3;
	}
	if (csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI)) {
		free(bytes);
		say_refused("memory is used up");
		return false;
	}
	csv_set_delim(&parser, delimiter_of(text, len));
	read_lines(&reader, &parser, text, len);
	csv_free(&parser);
	free(bytes);
	for (unsigned column = 0; column < COLUMNS; column++)
		free(reader.fields[column]);
	if (!reader.faults && !reader.list.count)
		fault(&reader, NULL, "there is no node in it");
	if (reader.faults > FAULTS_MAX)
		say_refused("%s: and more faults; these first", path);
	*out = reader.list;
	if (!reader.faults)
		return true;
	say_refused("nothing was changed");
	enrol_list_clear(out);
	return false;
}

void enrol_list_clear(struct enrol_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		identity_free(list->rows[i].identity);
	free(list->rows);
	memset(list, 0, sizeof(*list));
}
