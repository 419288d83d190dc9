/*
 * api_journal.c: GET /v1/journal: the lines of the journal as they stand in the store, for who proves their chain or reads
 * what was done. Each is given in fields, and whole in hex.
 */
#include "daemon/api_internal.h"

#include <stdlib.h>

struct journal_page { json_t *lines; uint64_t limit, last; bool has_more; };

static bool add_line(void *context, const struct store_key *key, struct slice value)
{
	struct journal_page *page = context;
	char *row;
	struct node_news news;
	json_t *line;

	if (json_array_size(page->lines) >= page->limit) {
		page->has_more = true;
		return false;
	}
	page->last = store_key_read_counter(key);
	if (node_news_decode(value, &news))
		return true;
	row = malloc(2 * value.len + 1);
	if (!row)
		return false;
	api_hex(row, value.data, value.len);
	line = api_news(&news);
	json_object_set_new(line, "row", json_string(row));
	free(row);
	json_array_append_new(page->lines, line);
	return true;
}

void api_journal(struct api *api, struct evhttp_request *request)
{
	struct journal_page page = { .limit = API_PAGE };
	uint64_t after = 0, damaged;
	struct store_key from;
	enum cpd_error error;
	size_t bad = 0;

	if (!api_query_limit(request, &page.limit) || !api_query_number(request, "after", UINT64_MAX - 1, &after))
		return;
	from = store_key_counter(after);
	page.lines = json_array();
	error = store_scan(node_store(api->node), TABLE_JOURNAL, &from, 0, true, SIZE_MAX, add_line, &page, &bad);
	damaged = bad;
	if (error && error != CPD_ERR_NOT_FOUND) {
		json_decref(page.lines);
		api_error_of(request, error, NULL);
		return;
	}
	api_reply(request, 200, json_pack("{s:I,s:I,s:I,s:o,s:o}", "node", (json_int_t)node_self(api->node), "about", (json_int_t)store_count(node_store(api->node), TABLE_JOURNAL),
	    "damaged", (json_int_t)damaged, "lines", page.lines, "next", page.has_more ? json_integer((json_int_t)page.last) : json_null()));
}
