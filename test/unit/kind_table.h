/*
 * kind_table.h: the table of kinds in docs/PROTOCOL.md section 8.1, as its readers see it. Tests hold the code against
 * it, cell by cell, so that the two cannot part.
 */
#ifndef CPD_TEST_KIND_TABLE_H
#define CPD_TEST_KIND_TABLE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/kind.h"

#define TABLE_FILE "docs/PROTOCOL.md"
#define TABLE_ROWS 64
#define TABLE_ROLES 4                         /* nsp, cp, desk, partner: ROLE_ID_NSP and up */

struct table_row {
	message_kind number;
	char name[40], dutch[40], precedence[16], life[16], closes[16], state[8], from[60], to[60];
	bool has_body;
};

static const char *const table_roles[TABLE_ROLES] = { "nsp", "cp", "desk", "partner" };

/* The next cell without the blanks around it; moves *at past its end. */
static inline void table_cell(char **at, char *out, size_t size)
{
	char *end = strchr(*at, '|'), *begin = *at;

	assert_non_null(end);
	*at = end + 1;
	while (*begin == ' ')
		begin++;
	while (end > begin && end[-1] == ' ')
		end--;
	assert_true((size_t)(end - begin) < size);
	memcpy(out, begin, (size_t)(end - begin));
	out[end - begin] = '\0';
}

static inline size_t table_read(struct table_row rows[TABLE_ROWS])
{
	FILE *file = fopen(TABLE_FILE, "r");
	char line[1000], *at, number[12];
	bool is_in_section = false;
	size_t count = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		struct table_row *row = &rows[count];
		char *mark;

		if (!strncmp(line, "### ", 4))
			is_in_section = !strncmp(line, "### 8.1 ", 8);
		if (!is_in_section || strncmp(line, "| ", 2) || line[2] < '0' || line[2] > '9')
			continue;
		assert_true(count < TABLE_ROWS);
		at = line + 1;
		table_cell(&at, number, sizeof(number));
		row->number = (message_kind)strtoul(number, NULL, 10);
		table_cell(&at, row->name, sizeof(row->name));
		mark = strstr(row->name, " \xc2\xb0");       /* a degree sign: no body in this version */
		row->has_body = !mark;
		if (mark)
			*mark = '\0';
		table_cell(&at, row->dutch, sizeof(row->dutch));
		table_cell(&at, row->precedence, sizeof(row->precedence));
		table_cell(&at, row->life, sizeof(row->life));
		table_cell(&at, row->closes, sizeof(row->closes));
		table_cell(&at, row->state, sizeof(row->state));
		table_cell(&at, row->from, sizeof(row->from));
		table_cell(&at, row->to, sizeof(row->to));
		count++;
	}
	fclose(file);
	return count;
}

/* Does "cp, desk" or "any" name this role? */
static inline bool table_names(const char *cell, size_t role)
{
	const size_t len = strlen(table_roles[role]);

	if (!strcmp(cell, "any"))
		return true;
	for (const char *at = cell; *at; at += strcspn(at, ","), at += strspn(at, ", "))
		if (!strncmp(at, table_roles[role], len) && (!at[len] || at[len] == ','))
			return true;
	return false;
}

#endif
