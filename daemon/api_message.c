/* api_message.c: inbox, outbox, one message, its trace. */
#include "daemon/api_internal.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "crypto/crypto.h"
#include "proto/kind.h"
#include "proto/tree.h"

/* A large body is shown field by field up to here: one whose fields keep to their bounds is far smaller, and what
 * a hostile one asks of memory is bounded. Its length and hash are told of any. */
#define LARGE_SHOWN_MAX (256 * 1024)

enum cpd_error api_load(struct api *api, const struct message_id *id, struct custody *custody, struct message *message, uint8_t **bytes)
{
	struct store_key key = store_key_id(id);
	uint8_t *record;
	size_t len;
	enum cpd_error error;

	*bytes = NULL;
	error = store_get(node_store(api->node), TABLE_CUSTODY, &key, &record, &len);
	if (error)
		return error;
	error = custody_decode((struct slice){ record, len }, custody);
	free(record);
	if (error)
		return error;
	error = node_envelope(api->node, id, bytes, &len);
	if (!error && message_decode((struct slice){ *bytes, len }, message)) {
		free(*bytes);
		*bytes = NULL;
	}
	return CPD_OK;
}

bool api_is_suspect(const struct api *api, const struct custody *custody, const struct message *message)
{
	return custody->flags & CUSTODY_IS_SUSPECT || (message && directory_doubts(node_directory(api->node), message));
}

static json_t *summary(struct api *api, const struct custody *custody, const struct message *message)
{
	const struct kind *kind = kind_find(custody->kind);
	char hash[2 * HASH8_LEN + 1], line[200] = "", id[MESSAGE_ID_TEXT_MAX], author[LIMIT_FUNCTION + 1] = "";
	struct moment now;
	json_t *json;

	node_now(api->node, &now);
	api_hex(hash, custody->hash.bytes, HASH8_LEN);
	if (message) {
		body_line(custody->kind, message->header.body, line, sizeof(line));
		memcpy(author, message->header.author.data ? (const char *)message->header.author.data : "",
		    message->header.author.len < LIMIT_FUNCTION ? message->header.author.len : LIMIT_FUNCTION);
	}
	json = json_pack("{s:s,s:s,s:s?,s:s,s:s,s:I,s:o,s:s,s:o,s:I,s:s,s:s,s:b,s:b,s:b,s:s,s:o}",
	    "id", message_id_format(&custody->id, id), "kind", kind ? kind->name : "unknown", "dutch", kind ? kind->dutch : NULL,
	    "precedence", precedence_name(custody->precedence), "mode", mode_name(custody->mode),
	    "origin", (json_int_t)custody->id.origin, "origin_name", json_node_name(api, custody->id.origin), "author", author,
	    "created", json_time((int64_t)custody->created_s * 1000),
	    "received_s", (json_int_t)((now.custody_ms - custody->since.custody_ms) / 1000),
	    "level", level_name(custody->local_level), "hash", hash, "late", !!(custody->flags & CUSTODY_IS_LATE),
	    "suspect", (int)api_is_suspect(api, custody, message), "superseded", !!(custody->flags & CUSTODY_IS_SUPERSEDED),
	    "line", line, "in_reply_to", json_id(&custody->in_reply_to));
	return json;
}

/* Who has released it, of a kind that people release; and while people have yet to sign, what they sign. */
static void add_releases(struct api *api, json_t *json, const struct message *message)
{
	const struct kind *kind = kind_find(message->header.kind);
	json_t *list;

	if (!kind || !kind->releases)
		return;
	list = json_array();
	for (size_t i = 0; i < message->release_count; i++) {
		const struct function_certificate *function = directory_function(node_directory(api->node), message->releases[i].function);

		json_array_append_new(list, json_pack("{s:I,s:s}", "number", (json_int_t)message->releases[i].function, "function", function ? function->function : ""));
	}
	json_object_set_new(json, "released_by", list);
	json_object_set_new(json, "releases_missing", json_integer(kind->releases > message->release_count ? (json_int_t)(kind->releases - message->release_count) : 0));
	if (message->release_count < kind->releases && message->signed_bytes.len) {
		char *hex = malloc(2 * message->signed_bytes.len + 1);

		if (hex)
			api_hex(hex, message->signed_bytes.data, message->signed_bytes.len);
		json_object_set_new(json, "signed", hex ? json_string(hex) : json_null());
		free(hex);
	}
}

/* ---------------------------------------------------------------- inbox */

/* Rows looked at for one page: what is left out of a list must not hold up the loop either. */
#define LOOKED_MAX (4 * API_PAGE)
struct page { struct api *api; json_t *list; uint64_t limit, last; size_t looked; bool only_unread, has_more; struct message_id last_id; };

static bool add_inbox(void *context, const struct store_key *key, struct slice value)
{
	struct page *page = context;
	struct message_id id;
	struct custody custody;
	struct message message;
	uint8_t *bytes;
	json_t *json;

	if (json_array_size(page->list) >= page->limit || page->looked++ == LOOKED_MAX) {
		page->has_more = true;
		return false;
	}
	page->last = store_key_read_counter(key);
	if (store_value_read_id(value, &id) || api_load(page->api, &id, &custody, &message, &bytes))
		return true;
	if (!page->only_unread || !level_closes(custody.local_level, LEVEL_READ)) {
		json = summary(page->api, &custody, bytes ? &message : NULL);
		json_object_set_new(json, "counter", json_integer((json_int_t)page->last));
		json_array_append_new(page->list, json);
	}
	free(bytes);
	custody_clear(&custody);
	return true;
}

void api_inbox(struct api *api, struct evhttp_request *request)
{
	struct page page = { .api = api, .limit = 100 };
	uint64_t after = 0, unread = 0;
	struct store_key from;
	enum cpd_error error;

	if (!api_query_number(request, "after", UINT64_MAX, &after) || !api_query_limit(request, &page.limit)
	    || !api_query_number(request, "unread", 1, &unread))
		return;
	page.only_unread = unread;
	page.list = json_array();
	from = store_key_counter(after);
	error = store_scan(node_store(api->node), TABLE_INBOX, &from, 0, after != 0, SIZE_MAX, add_inbox, &page, NULL);
	if (error) {
		json_decref(page.list);
		api_error_of(request, error, NULL);
		return;
	}
	api_reply(request, 200, json_pack("{s:o,s:o}", "messages", page.list,
	    "next", page.has_more ? json_integer((json_int_t)page.last) : json_null()));
}

/* ---------------------------------------------------------------- outbox */

static bool add_outbox(void *context, const struct store_key *key, struct slice value)
{
	struct page *page = context;
	struct custody custody, again;
	struct message message;
	uint8_t *bytes = NULL;
	size_t delivered = 0, closed = 0;
	json_t *json;

	(void)key;
	if (json_array_size(page->list) >= page->limit || page->looked++ == LOOKED_MAX) {
		page->has_more = true;
		return false;
	}
	if (custody_decode(value, &custody))
		return true;
	page->last_id = custody.id;
	if (!(custody.flags & CUSTODY_IS_ORIGIN)) {
		custody_clear(&custody);
		return true;
	}
	for (size_t i = 0; i < custody.recipient_count; i++) {
		delivered += level_closes(custody.recipients[i].level, LEVEL_DELIVERED);
		closed += level_closes(custody.recipients[i].level, custody.closing_level);
	}
	if (api_load(page->api, &custody.id, &again, &message, &bytes)) {
		custody_clear(&custody);
		return true;
	}
	json = summary(page->api, &again, bytes ? &message : NULL);
	json_object_set_new(json, "recipients", json_pack("{s:I,s:I,s:I}", "total", (json_int_t)custody.recipient_count,
	    "delivered", (json_int_t)delivered, "closed", (json_int_t)closed));
	json_object_set_new(json, "closed", json_boolean(custody.flags & CUSTODY_IS_CLOSED));
	json_array_append_new(page->list, json);
	free(bytes);
	custody_clear(&again);
	custody_clear(&custody);
	return true;
}

void api_outbox(struct api *api, struct evhttp_request *request)
{
	struct page page = { .api = api, .limit = 100 };
	struct message_id after = { .origin = node_self(api->node) };
	struct store_key from;
	char *text = api_query_text(request, "after");
	bool has_after = text != NULL;
	enum cpd_error error;

	if (text && (message_id_parse(text, &after) || after.origin != node_self(api->node))) {
		free(text);
		api_error(request, 400, "bad-id", "after", "is not an id of this node", "give the value of `next`");
		return;
	}
	free(text);
	if (!api_query_limit(request, &page.limit))
		return;
	page.list = json_array();
	from = store_key_id(&after);
	error = store_scan(node_store(api->node), TABLE_CUSTODY, &from, 4, has_after, SIZE_MAX, add_outbox, &page, NULL);
	if (error) {
		json_decref(page.list);
		api_error_of(request, error, NULL);
		return;
	}
	api_reply(request, 200, json_pack("{s:o,s:o}", "messages", page.list,
	    "next", page.has_more ? json_id(&page.last_id) : json_null()));
}

/* ---------------------------------------------------------------- one message */

static json_t *destinations(struct api *api, const struct header *header)
{
	json_t *nodes = json_array(), *groups = json_array();

	for (size_t i = 0; i < header->node_count; i++)
		json_array_append_new(nodes, json_integer(header->nodes[i]));
	for (size_t i = 0; i < header->group_count; i++) {
		const struct group *group = directory_group(node_directory(api->node), header->groups[i].number, header->groups[i].version);
		json_array_append_new(groups, json_pack("{s:I,s:I,s:s?}", "number", (json_int_t)header->groups[i].number,
		    "version", (json_int_t)header->groups[i].version, "name", group ? group->name : NULL));
	}
	return json_pack("{s:o,s:o}", "nodes", nodes, "groups", groups);
}

/* The leaves of a large body in one piece, for the caller to free; NULL while one is missing. */
static uint8_t *large_body(struct api *api, const struct message_id *id, uint32_t length)
{
	uint8_t *body = malloc(length);

	for (uint32_t i = 0; body && i < tree_leaf_count(length); i++) {
		struct store_key key = store_key_leaf(id, i);
		uint8_t *leaf;
		size_t len;
		bool is_whole;

		if (store_get(node_store(api->node), TABLE_LEAVES, &key, &leaf, &len)) {
			free(body);
			return NULL;
		}
		is_whole = len == tree_leaf_length(length, i);
		if (is_whole)
			memcpy(body + (size_t)i * LIMIT_LEAF, leaf, len);
		free(leaf);
		if (!is_whole) {
			free(body);
			return NULL;
		}
	}
	return body;
}

/* body, body_bytes, body_hash. While a large body has not come whole its hash is null, and so are its fields. */
static void show_body(struct api *api, json_t *json, const struct message_id *id, const struct header *header)
{
	uint8_t *large = header->large_length ? large_body(api, id, header->large_length) : NULL;
	struct slice body = header->large_length ? (struct slice){ large, header->large_length } : header->body;
	json_t *fields = NULL;

	json_object_set_new(json, "body_bytes", json_integer((json_int_t)body.len));
	if (header->large_length && !large) {
		json_object_set_new(json, "body_hash", json_null());
	} else {
		char body_hash[65];
		uint8_t digest[32];

		crypto_digest(digest, sizeof(digest), body.data, body.len);
		api_hex(body_hash, digest, sizeof(digest));
		json_object_set_new(json, "body_hash", json_string(body_hash));
		if (body.len <= LARGE_SHOWN_MAX)
			fields = body_to_json(header->kind, body);
	}
	json_object_set_new(json, "body", fields ? fields : json_null());
	free(large);
}

void api_show(struct api *api, struct evhttp_request *request, const struct message_id *id)
{
	struct custody custody;
	struct message message;
	uint8_t *bytes;
	json_t *json;
	enum cpd_error error = api_load(api, id, &custody, &message, &bytes);

	if (error) {
		api_error_of(request, error, error == CPD_ERR_NOT_FOUND ? "this node holds no message with that id" : NULL);
		return;
	}
	json = summary(api, &custody, bytes ? &message : NULL);
	json_object_set_new(json, "lifetime_s", json_integer(custody.lifetime_s));
	json_object_set_new(json, "closing_level", json_string(level_name(custody.closing_level)));
	json_object_set_new(json, "supersedes", json_id(&custody.supersedes));
	if (bytes) {
		json_object_set_new(json, "destinations", destinations(api, &message.header));
		json_object_set_new(json, "incident", json_id(&message.header.incident));
		add_releases(api, json, &message);
		show_body(api, json, id, &message.header);
		if (message.header.sealed_count)
			json_object_set_new(json, "sealed", api_sealed(api, &message.header));
	} else {
		json_object_set_new(json, "body", json_null());
	}
	free(bytes);
	custody_clear(&custody);
	api_reply(request, 200, json);
}

static json_t *flags_to_json(unsigned flags)
{
	static const struct { unsigned flag; const char *name; } table[] = {
		{ CUSTODY_IS_ORIGIN, "origin" }, { CUSTODY_IS_ADDRESSEE, "addressee" }, { CUSTODY_IS_HELD, "held" },
		{ CUSTODY_IS_WITHDRAWN, "withdrawn" }, { CUSTODY_IS_SUPERSEDED, "superseded" }, { CUSTODY_IS_PARTIAL, "partial" },
		{ CUSTODY_IS_SUSPECT, "suspect" }, { CUSTODY_IS_LATE, "late" }, { CUSTODY_IS_EXPIRED, "expired" },
		{ CUSTODY_IS_CLOSED, "closed" }, { CUSTODY_IS_FINAL, "final" },
	};
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (flags & table[i].flag)
			json_array_append_new(list, json_string(table[i].name));
	return list;
}

static json_t *recipients_to_json(struct api *api, const struct custody *custody)
{
	static const char *const states[] = { "known-from-receipt", "here", "no-route", "queued", "passed", "ended" };
	json_t *list = json_array();

	for (size_t i = 0; i < custody->recipient_count; i++) {
		const struct recipient *recipient = &custody->recipients[i];
		json_array_append_new(list, json_pack("{s:I,s:o,s:s,s:o,s:I,s:s,s:o,s:s?}", "node", (json_int_t)recipient->node,
		    "name", json_node_name(api, recipient->node), "state", states[(unsigned)recipient->hop <= 5 ? recipient->hop : 0],
		    "via", recipient->via ? json_integer(recipient->via) : json_null(), "retry", (json_int_t)recipient->retry,
		    "level", level_name(recipient->level), "level_time", json_time((int64_t)recipient->level_s * 1000),
		    "reason", recipient->reason ? reason_name(recipient->reason) : NULL));
	}
	return list;
}

void api_trace(struct api *api, struct evhttp_request *request, const struct message_id *id)
{
	struct custody custody;
	struct message message;
	uint8_t *bytes;
	struct moment now;
	const struct kind *kind;
	json_t *hops;
	char text[MESSAGE_ID_TEXT_MAX];
	enum cpd_error error = api_load(api, id, &custody, &message, &bytes);

	if (error) {
		api_error_of(request, error, error == CPD_ERR_NOT_FOUND ? "this node knows no message with that id" : NULL);
		return;
	}
	node_now(api->node, &now);
	kind = kind_find(custody.kind);
	hops = json_array();
	for (size_t i = 0; i < custody.trace_count; i++)
		json_array_append_new(hops, json_pack("{s:I,s:o,s:o,s:o}", "node", (json_int_t)custody.trace[i].node,
		    "name", json_node_name(api, custody.trace[i].node), "received", json_time((int64_t)custody.trace[i].received_s * 1000),
		    "sent", json_time((int64_t)custody.trace[i].sent_s * 1000)));
	api_reply(request, 200, json_pack("{s:s,s:s,s:s,s:b,s:b,s:b,s:b,s:I,s:o,s:s,s:s,s:o,s:o,s:o}",
	    "id", message_id_format(id, text), "kind", kind ? kind->name : "unknown",
	    "precedence", precedence_name(custody.precedence), "held_here", bytes != NULL,
	    "suspect", (int)api_is_suspect(api, &custody, bytes ? &message : NULL), "origin_here", !!(custody.flags & CUSTODY_IS_ORIGIN), "closed", !!(custody.flags & CUSTODY_IS_CLOSED),
	    "age_s", (json_int_t)custody_age_s(&custody, &now), "from", custody.from ? json_integer(custody.from) : json_null(),
	    "closing_level", level_name(custody.closing_level), "level_here", level_name(custody.local_level),
	    "flags", flags_to_json(custody.flags), "hops", hops, "recipients", recipients_to_json(api, &custody)));
	free(bytes);
	custody_clear(&custody);
}
