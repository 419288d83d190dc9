/*
 * enrol_csv.h: a municipality's list of nodes, as a spreadsheet saves it (CSV, UTF-8, comma or semicolon), read and checked
 * whole before anything is made of it. Every fault is told on stderr with file, line and column. Called by enrol.c.
 */
#ifndef CPD_CPCTL_ENROL_CSV_H
#define CPD_CPCTL_ENROL_CSV_H

#include "proto/directory.h"

#define ENROL_ROWS_MAX 8192
#define ENROL_PLACE_MAX 80 /* bytes */

struct identity;

struct enrol_row {
	size_t line;                       /* in the file */
	struct certificate certificate;    /* node 0: no number was given; no keys */
	char place[ENROL_PLACE_MAX + 1];   /* for the sheet: where the machine stands */
	uint32_t homes[LIMIT_HOMES];
	size_t home_count;
	/* enrol.c's own: */
	struct identity *identity;         /* owned; NULL: nothing is to be made for this row */
};

struct enrol_list {
	const char *path;                  /* borrowed */
	struct enrol_row *rows;            /* owned */
	size_t count;
};

/* `homes`: of rows that name none. False: told. */
bool enrol_csv_read(const char *path, const uint32_t *homes, size_t home_count, struct enrol_list *out);
void enrol_list_clear(struct enrol_list *list);
/* "901 902" or "901+902" or "901,902" into homes. False: not such a list. */
bool enrol_parse_homes(const char *text, uint32_t homes[LIMIT_HOMES], size_t *count);
/* One fault: "list.csv:14: column role: ...". */
__attribute__((format(printf, 4, 5))) void enrol_say(const struct enrol_list *list, size_t line, const char *column, const char *format, ...);

#endif
