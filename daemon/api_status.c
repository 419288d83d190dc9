/* api_status.c: this node, its links and queues, the NSPs, the directory. */
#include "daemon/api_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/version.h"
#include "proto/cpd.pb-c.h"
#include "proto/kind.h"

/* Times that a state is looked for that is replaced while it is read. */
#define STATUS_READS 3

static json_t *queue_to_json(const struct node_queue_status *queue)
{
	json_t *json = json_object();

	for (int p = PRECEDENCE_COUNT - 1; json && p >= 0; p--)
		json_object_set_new(json, precedence_name((enum precedence)p), json_pack("{s:I,s:o}",
		    "depth", (json_int_t)queue->depth[p], "oldest_s", json_age(queue->depth[p] ? queue->oldest_s[p] : -1)));
	return json;
}

static json_t *stall_to_json(const struct node_link_status *link, const struct moment *now)
{
	if (!link->is_stalled)
		return json_null();
	return json_pack("{s:s,s:I,s:I}", "precedence", precedence_name(link->stalled),
	    "since_s", (json_int_t)((now->custody_ms - link->stalled_since_ms) / 1000), "resets", (json_int_t)link->stall_resets);
}

static json_t *links_to_json(struct api *api, const struct moment *now)
{
	json_t *list = json_array();
	struct node_link_status *links = calloc(CONFIG_LINKS, sizeof(*links));
	size_t count = links ? node_links(api->node, links, CONFIG_LINKS) : 0;

	for (size_t i = 0; list && i < count; i++) {
		const struct node_link_status *link = &links[i];
		const struct certificate *certificate = directory_certificate(node_directory(api->node), link->neighbour);
		struct node_queue_status queue;

		node_queue(api->node, link->neighbour, &queue);
		json_array_append_new(list, json_pack("{s:I,s:o,s:s?,s:s,s:s,s:b,s:I,s:o,s:I,s:I,s:I,s:I,s:s,s:o,s:o}",
		    "neighbour", (json_int_t)link->neighbour, "name", json_node_name(api, link->neighbour),
		    "role", certificate ? node_role_name(certificate->role) : NULL,
		    "bearer", link->bearer, "address", link->address, "up", (int)link->is_up,
		    "since_s", (json_int_t)((now->custody_ms - link->since_ms) / 1000),
		    "heard_s", json_age(link->heard_ms ? (now->custody_ms - link->heard_ms) / 1000 : -1),
		    "rate_bps", (json_int_t)link->rate_bps, "unacked", (json_int_t)link->unacked,
		    "sent_bytes", (json_int_t)link->sent_bytes, "received_bytes", (json_int_t)link->received_bytes,
		    "problem", link->problem, "stalled", stall_to_json(link, now), "queue", queue_to_json(&queue)));
	}
	free(links);
	return list;
}

/* The newest NspStatus of a node as JSON; NULL: there is none, or a thief may have written it. Its custody is the caller's to clear. */
static json_t *newest_status(struct api *api, uint32_t node, struct custody *custody, bool *is_suspect)
{
	struct store_key key = store_key_latest(node, CPD__KIND__KIND_NSP_STATUS);
	struct message_id id;
	struct message message;
	uint8_t *value = NULL, *bytes = NULL;
	json_t *body = NULL;
	size_t len;

	if (store_get(node_store(api->node), TABLE_LATEST, &key, &value, &len))
		return NULL;
	if (!store_value_read_id((struct slice){ value, len }, &id) && !api_load(api, &id, custody, &message, &bytes)) {
		*is_suspect = api_is_suspect(api, custody, bytes ? &message : NULL);
		body = bytes && !*is_suspect ? body_to_json(custody->kind, message.header.body) : NULL;
		free(bytes);
		if (!body)
			custody_clear(custody);
	}
	free(value);
	return body;
}

/* For the board. A commit between the two reads may take away what the first one named: then it named a newer one. */
static void nsp_add_status(struct api *api, json_t *json, uint32_t node, const struct moment *now)
{
	struct custody custody;
	json_t *body = NULL;
	bool is_suspect = false;

	for (int i = 0; !body && !is_suspect && i < STATUS_READS; i++)
		body = newest_status(api, node, &custody, &is_suspect);
	json_object_set_new(json, "status_suspect", json_boolean(is_suspect));
	if (body) {
		static const char *const fields[] = { "phase", "persons", "capacity", "power", "autonomy_min", "safety", "staff_present", "staff_needed" };
		for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
			if (json_object_get(body, fields[i]))
				json_object_set(json, fields[i], json_object_get(body, fields[i]));
		json_object_set_new(json, "status_age_s", json_integer(custody_age_s(&custody, now)));
		json_decref(body);
		custody_clear(&custody);
	}
}

static json_t *nsps_to_json(struct api *api, const struct moment *now)
{
	const struct directory *directory = node_directory(api->node);
	json_t *list = json_array();

	for (const struct certificate *nsp = directory_next(directory, 0); list && nsp; nsp = directory_next(directory, nsp->node)) {
		struct presence presence;
		int64_t heard = -1;
		json_t *homes, *json;

		if (nsp->role != ROLE_ID_NSP || directory_revocation(directory, nsp->node, nsp->key_number))
			continue;
		homes = json_array();
		if (node_presence(api->node, nsp->node, &presence, &heard))
			for (size_t i = 0; i < presence.home_count; i++)
				json_array_append_new(homes, json_integer(presence.homes[i]));
		else
			heard = -1;
		json = json_pack("{s:I,s:s,s:s,s:n,s:n,s:o,s:o}", "number", (json_int_t)nsp->node, "name", nsp->name,
		    "municipality", nsp->municipality, "phase", "status_age_s", "heard_s", json_age(heard), "homes", homes);
		nsp_add_status(api, json, nsp->node, now);
		json_array_append_new(list, json);
	}
	return list;
}

static json_t *missing_to_json(const struct directory *directory)
{
	json_t *list = json_array();

	for (uint32_t number = directory_missing(directory, 0); list && number; number = directory_missing(directory, number))
		json_array_append_new(list, json_integer(number));
	return list;
}

/* Precedences that are refused, or that will be soon. */
static json_t *space_to_json(const struct api *api, enum space_state state)
{
	json_t *list = json_array();

	for (int p = PRECEDENCE_COUNT - 1; list && p >= 0; p--)
		if (node_space(api->node, (enum precedence)p) == state)
			json_array_append_new(list, json_string(precedence_name((enum precedence)p)));
	return list;
}

void api_status(struct api *api, struct evhttp_request *request)
{
	const struct certificate *own = directory_certificate(node_directory(api->node), node_self(api->node));
	const struct region_anchor *anchor = identity_anchor(node_identity(api->node));
	static const char *const qualities[] = { "unknown", "manual", "ntp", "gnss" };
	uint64_t inbox_total, inbox_unread;
	struct node_queue_status unrouted;
	struct store_space space;
	struct node_counters counters;
	struct moment now;
	struct claim by;
	bool is_fenced = node_fenced(api->node, &by);

	node_now(api->node, &now);
	node_queue(api->node, 0, &unrouted);
	node_counters(api->node, &counters);
	store_space(node_store(api->node), &space);
	node_inbox(api->node, &inbox_total, &inbox_unread);
	api_reply(request, 200, json_pack("{s:{s:I,s:s,s:s,s:s,s:I,s:I,s:s},s:o,s:{s:o,s:s},s:{s:I,s:I,s:I,s:o,s:o},s:{s:I,s:o},s:o,s:o,s:o,s:{s:I,s:I},s:{s:I,s:I,s:I,s:I,s:I}}",
	    "node", "number", (json_int_t)node_self(api->node), "name", own ? own->name : "",
	    "role", node_role_name(api->config->role), "region", anchor ? anchor->region : "",
	    "epoch", (json_int_t)identity_epoch(node_identity(api->node)), "claim", (json_int_t)node_claim(api->node), "version", CPD_VERSION,
	    "fenced", is_fenced ? json_pack("{s:I,s:I}", "claim", (json_int_t)by.claim, "epoch", (json_int_t)by.epoch) : json_null(),
	    "clock", "time", json_time(now.wall_ms), "quality", qualities[now.quality & 3],
	    "store", "used_bytes", (json_int_t)space.used_bytes, "limit_bytes", (json_int_t)space.limit_bytes,
	    "messages", (json_int_t)store_count(node_store(api->node), TABLE_CUSTODY),
	    "refuses", space_to_json(api, SPACE_REFUSES), "filling", space_to_json(api, SPACE_FILLING),
	    "directory", "version", (json_int_t)directory_version(node_directory(api->node)),
	    "missing", missing_to_json(node_directory(api->node)),
	    "links", links_to_json(api, &now), "unrouted", queue_to_json(&unrouted), "nsps", nsps_to_json(api, &now),
	    "inbox", "total", (json_int_t)inbox_total, "unread", (json_int_t)inbox_unread,
	    "counters", "commits", (json_int_t)counters.commits, "taken", (json_int_t)counters.taken,
	    "duplicates", (json_int_t)counters.duplicates, "refused", (json_int_t)counters.refused,
	    "verify_failed", (json_int_t)counters.verify_failed));
}

/* ---------------------------------------------------------------- queue */

struct queue_rows { struct api *api; json_t *list; struct moment now; uint64_t limit; bool has_more; char last[48]; };

static bool add_row(void *context, const struct store_key *key, struct slice value)
{
	static const char *const types[] = { "unknown", "message", "receipts", "directory", "leaf" };
	struct queue_rows *rows = context;
	struct item_ref ref;
	uint32_t link, destination;
	enum precedence precedence;
	uint64_t counter;
	struct custody custody;
	struct store_key custody_key;
	uint8_t *record;
	size_t len;
	json_t *json;

	if (json_array_size(rows->list) >= rows->limit) {
		rows->has_more = true;
		return false;
	}
	if (store_key_read_queue(key, &link, &precedence, &counter) || store_value_read_ref(value, &ref, &destination))
		return true;
	snprintf(rows->last, sizeof(rows->last), "%u/%s/%llu", link, precedence_name(precedence), (unsigned long long)counter);
	json = json_pack("{s:o,s:s,s:s,s:o,s:I}", "link", link ? json_integer(link) : json_null(),
	    "precedence", precedence_name(precedence), "type", types[(unsigned)ref.type <= 4 ? ref.type : 0], "id", json_id(&ref.id),
	    "destination", (json_int_t)destination);
	custody_key = store_key_id(&ref.id);
	if (ref.type == ITEM_TYPE_MESSAGE && !store_get(node_store(rows->api->node), TABLE_CUSTODY, &custody_key, &record, &len)) {
		if (!custody_decode((struct slice){ record, len }, &custody)) {
			const struct kind *kind = kind_find(custody.kind);
			json_object_set_new(json, "kind", json_string(kind ? kind->name : "unknown"));
			json_object_set_new(json, "age_s", json_integer(custody_age_s(&custody, &rows->now)));
			custody_clear(&custody);
		}
		free(record);
	}
	json_array_append_new(rows->list, json);
	return true;
}

/* "901/FLASH/118": the row behind which a page begins. */
static bool read_place(struct evhttp_request *request, struct store_key *out)
{
	char *text = api_query_text(request, "after"), name[16];
	unsigned long long counter;
	enum precedence precedence;
	unsigned link;
	int end = 0;
	bool ok;

	*out = (struct store_key){ .len = 0 };
	if (!text)
		return true;
	ok = sscanf(text, "%u/%15[A-Z]/%llu%n", &link, name, &counter, &end) == 3 && !text[end] && precedence_parse(name, &precedence);
	free(text);
	if (ok)
		*out = store_key_queue(link, precedence, counter);
	else
		api_error(request, 400, "bad-field", "after", "is not a place in the queue", "give the value of `next`");
	return ok;
}

void api_queue(struct api *api, struct evhttp_request *request)
{
	struct queue_rows rows = { .api = api, .limit = API_PAGE };
	struct store_key from;
	uint64_t link = UINT64_MAX;
	enum cpd_error error;
	size_t prefix = 0;

	if (!api_query_limit(request, &rows.limit) || !api_query_number(request, "link", UINT32_MAX, &link) || !read_place(request, &from))
		return;
	if (link != UINT64_MAX) {
		const struct store_key begin = store_key_queue((uint32_t)link, PRECEDENCE_FLASH, 0);

		prefix = 4;
		if (!from.len || memcmp(from.bytes, begin.bytes, prefix))
			from = begin;
	}
	rows.list = json_array();
	node_now(api->node, &rows.now);
	error = store_scan(node_store(api->node), TABLE_QUEUE, &from, prefix, true, SIZE_MAX, add_row, &rows, NULL);
	if (error) {
		json_decref(rows.list);
		api_error_of(request, error, NULL);
		return;
	}
	api_reply(request, 200, json_pack("{s:o,s:s?}", "rows", rows.list, "next", rows.has_more ? rows.last : NULL));
}

void api_version(struct api *api, struct evhttp_request *request)
{
	(void)api;
	api_reply(request, 200, json_pack("{s:i,s:s}", "api", 1, "version", CPD_VERSION));
}

/* ---------------------------------------------------------------- directory */

void api_directory(struct api *api, struct evhttp_request *request)
{
	const struct directory *directory = node_directory(api->node);
	const struct region_anchor *anchor = identity_anchor(node_identity(api->node));
	json_t *nodes = json_array(), *groups = json_array(), *functions = json_array();

	for (const struct certificate *node = directory_next(directory, 0); node; node = directory_next(directory, node->node)) {
		char key[2 * sizeof(node->signing_key) + 1];

		api_hex(key, node->signing_key, sizeof(node->signing_key));
		json_array_append_new(nodes, json_pack("{s:I,s:s,s:s,s:s,s:s,s:b,s:o,s:I,s:s}", "number", (json_int_t)node->node,
		    "name", node->name, "role", node_role_name(node->role), "municipality", node->municipality,
		    "address", node->address, "revoked", directory_revocation(directory, node->node, node->key_number) != NULL,
		    "not_after", json_time((int64_t)node->not_after_s * 1000), "key_number", (json_int_t)node->key_number, "signing_key", key));
	}
	for (const struct group *group = directory_next_group(directory, 0); group; group = directory_next_group(directory, group->number)) {
		json_t *members = json_array();
		for (size_t i = 0; i < group->member_count; i++)
			json_array_append_new(members, json_integer(group->members[i]));
		json_array_append_new(groups, json_pack("{s:I,s:I,s:s,s:o}", "number", (json_int_t)group->number,
		    "version", (json_int_t)group->version, "name", group->name, "members", members));
	}
	for (const struct function_certificate *one = directory_next_function(directory, 0); one; one = directory_next_function(directory, one->number)) {
		char key[2 * sizeof(one->signing_key) + 1];

		api_hex(key, one->signing_key, sizeof(one->signing_key));
		json_array_append_new(functions, json_pack("{s:I,s:I,s:s,s:s,s:o,s:b}", "number", (json_int_t)one->number, "node", (json_int_t)one->node,
		    "function", one->function, "signing_key", key, "not_after", json_time((int64_t)one->not_after_s * 1000), "revoked", (int)one->is_revoked));
	}
	api_reply(request, 200, json_pack("{s:I,s:s,s:s,s:o,s:o,s:o}", "version", (json_int_t)directory_version(directory),
	    "network", anchor ? anchor->network : "", "region", anchor ? anchor->region : "", "nodes", nodes, "groups", groups, "functions", functions));
}
