/* queue.c: what waits, for each link in the order in which it will go. */
#include <stdio.h>
#include <string.h>

#include "daemon/cpctl/client.h"
#include "daemon/cpctl/output.h"

static void print_row(const json_t *row)
{
	const char *precedence = json_text(row, "precedence"), *kind = json_text(row, "kind");
	bool is_flash = !strcmp(precedence, "FLASH"), has_age = json_is_integer(json_object_get(row, "age_s"));
	char age[AGE_MAX];

	printf("  %s%-9s%s  %-18s %-20s %s\n", is_flash ? colour(COLOUR_BAD) : "", precedence, is_flash ? colour(COLOUR_NONE) : "",
	    *json_text(row, "id") ? json_text(row, "id") : "-", *kind ? kind : json_text(row, "type"),
	    has_age ? age_json(json_object_get(row, "age_s"), age) : "");
}

int verb_queue(struct call *call)
{
	int64_t last = -1;
	size_t index;
	json_t *queue, *row;
	const json_t *rows;
	int status = client_get(call, "/v1/queue", &queue);

	if (status != EXIT_DONE)
		return status;
	rows = json_object_get(queue, "rows");
	if (call->json)
		print_json(queue);
	else if (!json_array_size(rows))
		puts("Nothing waits.");
	json_array_foreach((json_t *)(uintptr_t)(call->json ? NULL : rows), index, row) {
		int64_t link = json_number(row, "link");

		if (link != last && link)
			printf("%sLink to %lld\n  %-9s  %-18s %-20s %s\n", index ? "\n" : "", (long long)link, "FIRST", "ID", "WHAT", "AGE");
		else if (link != last)
			printf("No way known\n");
		last = link;
		print_row(row);
	}
	json_decref(queue);
	return EXIT_DONE;
}
