/* api_order.c: authoring, a person's acts, directory imports. */
#include "daemon/api_internal.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "crypto/region.h"
#include "proto/kind.h"
#include "proto/text.h"

static bool bad_field(struct evhttp_request *request, const char *field, const char *message, const char *remedy)
{
	api_error(request, 400, "bad-field", field, message, remedy);
	return false;
}

/* The request's body as JSON; NULL: the error was sent. */
static json_t *body_json(struct evhttp_request *request, bool may_be_empty)
{
	struct evbuffer *buffer = evhttp_request_get_input_buffer(request);
	const char *type = evhttp_find_header(evhttp_request_get_input_headers(request), "Content-Type");
	size_t len = evbuffer_get_length(buffer);
	json_error_t error;
	json_t *json;

	if (!len && may_be_empty)
		return json_object();
	if (len > API_BODY_MAX) {
		api_error(request, 413, "too-large", NULL, "the request is larger than 256 KiB", "shorten it");
		return NULL;
	}
	if (!type || strncasecmp(type, "application/json", 16)) {
		api_error(request, 400, "bad-json", NULL, "the request is not JSON", "set Content-Type: application/json");
		return NULL;
	}
	json = json_loadb((const char *)evbuffer_pullup(buffer, -1), len, JSON_REJECT_DUPLICATES, &error);
	if (!json || !json_is_object(json)) {
		char message[JSON_ERROR_TEXT_LENGTH + 40];
		snprintf(message, sizeof(message), "line %d, column %d: %s", json ? 1 : error.line, json ? 1 : error.column, json ? "not an object" : error.text);
		json_decref(json);
		api_error(request, 400, "bad-json", NULL, message, "send one JSON object");
		return NULL;
	}
	return json;
}

/* ---------------------------------------------------------------- author */

/* Named twice is addressed once. */
static bool is_named(const uint32_t *numbers, size_t count, uint32_t number)
{
	while (count && numbers[count - 1] != number)
		count--;
	return count != 0;
}

static bool add_node(struct api *api, struct evhttp_request *request, struct author_request *order, uint32_t node)
{
	const struct directory *directory = node_directory(api->node);
	const struct certificate *certificate = directory_certificate(directory, node);

	/* Nobody would carry it there: it would wait until it expires. */
	if (certificate && directory_revocation(directory, node, certificate->key_number))
		return bad_field(request, "to", "is a node whose key is revoked: nothing is carried to it", "call them another way, or address who took its place");
	if (is_named(order->nodes, order->node_count, node))
		return true;
	if (order->node_count == LIMIT_DESTINATION_NODES)
		return bad_field(request, "to", "names too many nodes", "address a group");
	order->nodes[order->node_count++] = node;
	return true;
}

static bool add_group(struct evhttp_request *request, struct author_request *order, uint32_t group)
{
	if (is_named(order->groups, order->group_count, group))
		return true;
	if (order->group_count == LIMIT_DESTINATION_GROUPS)
		return bad_field(request, "to", "names too many groups", "use one larger group");
	order->groups[order->group_count++] = group;
	return true;
}

/* One addressee: a number, "group:N", or the name of a group or node, in any letter case. */
static bool read_destination(struct api *api, struct evhttp_request *request, const json_t *json, struct author_request *order)
{
	const struct directory *directory = node_directory(api->node);
	const char *text = json_string_value(json);
	char *end = NULL;
	unsigned long number;

	if (json_is_integer(json)) {
		json_int_t node = json_integer_value(json);
		if (node <= 0 || node > UINT32_MAX || !directory_certificate(directory, (uint32_t)node))
			return bad_field(request, "to", "is not a node in the directory", "`cpctl directory` lists them");
		return add_node(api, request, order, (uint32_t)node);
	}
	if (!text || !*text)
		return bad_field(request, "to", "must hold node numbers and group names", "for example [901, \"alle-nsp\"]");
	number = strtoul(!strncmp(text, "group:", 6) ? text + 6 : text, &end, 10);
	if (!*end && number && number <= UINT32_MAX) {
		if (!strncmp(text, "group:", 6) && directory_group(directory, (uint32_t)number, 0))
			return add_group(request, order, (uint32_t)number);
		if (strncmp(text, "group:", 6) && directory_certificate(directory, (uint32_t)number))
			return add_node(api, request, order, (uint32_t)number);
	}
	for (const struct group *group = directory_next_group(directory, 0); group; group = directory_next_group(directory, group->number))
		if (!strcasecmp(group->name, text))
			return add_group(request, order, group->number);
	for (const struct certificate *node = directory_next(directory, 0); node; node = directory_next(directory, node->node))
		if (!strcasecmp(node->name, text))
			return add_node(api, request, order, node->node);
	return bad_field(request, "to", "is not a node or group in the directory", "`cpctl directory` lists them");
}

static bool read_to(struct api *api, struct evhttp_request *request, const json_t *to, struct author_request *order)
{
	size_t index;
	json_t *one;

	if (!to)
		return bad_field(request, "to", "is required", "name at least one node or group");
	if (!json_is_array(to))
		return read_destination(api, request, to, order);
	if (!json_array_size(to))
		return bad_field(request, "to", "is empty", "name at least one node or group");
	json_array_foreach((json_t *)(uintptr_t)to, index, one)
		if (!read_destination(api, request, one, order))
			return false;
	return true;
}

static bool read_reference(struct evhttp_request *request, const json_t *json, const char *field, struct message_id *out)
{
	const json_t *value = json_object_get(json, field);

	if (!value || json_is_null(value))
		return true;
	if (!json_is_string(value) || message_id_parse(json_string_value(value), out))
		return bad_field(request, field, "is not a message id", "write it as ORIGIN/EPOCH/SEQUENCE, like 344003/2/118");
	return true;
}

static bool read_closing_level(struct evhttp_request *request, const json_t *json, enum level *out)
{
	static const enum level allowed[] = { LEVEL_DELIVERED, LEVEL_READ, LEVEL_ACCEPTED, LEVEL_DONE };
	const char *text = json_string_value(json_object_get(json, "closing_level"));

	if (!json_object_get(json, "closing_level"))
		return true;
	for (size_t i = 0; text && i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if (!strcasecmp(text, level_name(allowed[i]))) {
			*out = allowed[i];
			return true;
		}
	return bad_field(request, "closing_level", "is not a level a message may close at", "DELIVERED, READ, ACCEPTED or DONE");
}

static bool read_entry(struct evhttp_request *request, const json_t *json, enum entry_mode *out)
{
	static const char *const names[] = { "screen", "voice", "paper", "courier", "automatic" };
	const json_t *value = json_object_get(json, "entry");

	if (!value)
		return true;
	for (int i = 0; json_is_string(value) && i < 5; i++)
		if (!strcasecmp(json_string_value(value), names[i])) {
			*out = (enum entry_mode)i;
			return true;
		}
	return bad_field(request, "entry", "is not a way of entry", "screen, voice, paper, courier or automatic");
}

static bool read_options(struct evhttp_request *request, const json_t *json, struct author_request *order)
{
	const json_t *precedence = json_object_get(json, "precedence"), *mode = json_object_get(json, "mode");
	const json_t *lifetime = json_object_get(json, "lifetime_s"), *author = json_object_get(json, "author");

	if (precedence) {
		order->has_precedence = true;
		if (!json_is_string(precedence) || !precedence_parse(json_string_value(precedence), &order->precedence))
			return bad_field(request, "precedence", "is not a precedence", "FLASH, IMMEDIATE, PRIORITY or ROUTINE");
	}
	if (mode && (!json_is_string(mode) || !mode_parse(json_string_value(mode), &order->mode)))
		return bad_field(request, "mode", "is not a mode", "REAL, EXERCISE or TEST");
	if (lifetime) {
		json_int_t value = json_integer_value(lifetime);
		if (value < LIMIT_LIFETIME_MIN_S || value > LIMIT_LIFETIME_MAX_S)
			return bad_field(request, "lifetime_s", "is out of range", "60 to 2592000 seconds");
		order->lifetime_s = (uint32_t)value;
	}
	if (author) {
		if (!json_is_string(author) || json_string_length(author) > LIMIT_FUNCTION)
			return bad_field(request, "author", "must be a function of at most 64 bytes, never a person's name", "for example \"coordinator\"");
		strcpy(order->author, json_string_value(author));
	}
	return read_closing_level(request, json, &order->closing_level) && read_entry(request, json, &order->entry_mode)
	    && read_reference(request, json, "in_reply_to", &order->in_reply_to)
	    && read_reference(request, json, "supersedes", &order->supersedes)
	    && read_reference(request, json, "incident", &order->incident);
}

static bool refuse_unknown(struct evhttp_request *request, const json_t *json)
{
	static const char *const known[] = { "kind", "to", "body", "precedence", "mode", "lifetime_s", "closing_level",
	    "in_reply_to", "supersedes", "incident", "author", "entry", "personal" };
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)json, name, value) {
		bool found = false;
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			found |= !strcmp(name, known[i]);
		if (!found)
			return bad_field(request, name, "is not understood", "docs/API.md lists the fields");
	}
	return true;
}

static bool read_key(struct evhttp_request *request, struct author_request *order)
{
	const char *key = evhttp_find_header(evhttp_request_get_input_headers(request), "Idempotency-Key");

	if (!key)
		return true;
	order->key_len = strlen(key);
	if (!order->key_len || order->key_len > sizeof(order->key))
		return bad_field(request, "Idempotency-Key", "must be 1 to 64 bytes", "use a random text for each new message");
	for (const char *at = key; *at; at++)
		if (*at < 0x21 || *at > 0x7e)
			return bad_field(request, "Idempotency-Key", "must be printable ASCII without blanks", "use a random text for each new message");
	memcpy(order->key, key, order->key_len);
	return true;
}

static void authored(void *context, enum cpd_error error, const char *why, const struct message_id *id, bool existing)
{
	struct evhttp_request *request = api_pending_take(context);

	if (!request)
		return;
	if (error)
		api_error_of(request, error, why);
	else
		api_reply(request, existing ? 200 : 201, json_pack("{s:o,s:b}", "id", json_id(id), "existing", (int)existing));
}

static bool read_order(struct api *api, struct evhttp_request *request, const json_t *json, struct author_request *order, uint8_t *body)
{
	const char *name = json_string_value(json_object_get(json, "kind"));
	const struct kind *kind = name ? kind_find_name(name) : NULL;
	struct body_problem problem;
	enum cpd_error error;

	if (!refuse_unknown(request, json))
		return false;
	if (!kind || !kind->has_body)
		return bad_field(request, "kind", name ? "is not a kind this version can author" : "is required", "`cpctl send --help` lists the kinds");
	order->kind = kind->number;
	if (!read_to(api, request, json_object_get(json, "to"), order) || !read_options(request, json, order) || !read_key(request, order))
		return false;
	if (!json_object_get(json, "body"))
		return bad_field(request, "body", "is required", "`cpctl send --help KIND` lists its fields");
	error = body_from_json(kind->number, json_object_get(json, "body"), body, &order->body.len, &problem);
	if (error) {
		char field[80];
		snprintf(field, sizeof(field), "body%s%s", problem.field[0] ? "." : "", problem.field);
		return bad_field(request, field, problem.text[0] ? problem.text : cpd_error_text(error), "correct this field and send it again");
	}
	order->body.data = body;
	return api_read_personal(request, json_object_get(json, "personal"), order);
}

void api_author(struct api *api, struct evhttp_request *request)
{
	json_t *json = body_json(request, false);
	struct author_request *order = calloc(1, sizeof(*order));
	uint8_t *body = malloc(LIMIT_BODY);
	struct api_pending *pending;

	if (json && (!order || !body))
		api_error_of(request, CPD_ERR_NOMEM, NULL);
	else if (json && read_order(api, request, json, order, body)) {
		pending = api_pending_new(api, request);
		if (pending)
			node_author(api->node, order, authored, pending);
	}
	json_decref(json);
	if (order)
		crypto_wipe(order->sealed, sizeof(order->sealed));
	free(order);
	free(body);
}

/* ---------------------------------------------------------------- acts */

static void acted(void *context, enum cpd_error error, const char *why)
{
	struct api_pending *pending = context;
	struct api *api = pending->api;
	struct message_id id = pending->id;
	struct evhttp_request *request = api_pending_take(pending);
	struct custody custody;
	struct message message;
	uint8_t *bytes;

	if (!request)
		return;
	if (error) {
		api_error_of(request, error, why);
		return;
	}
	if (api_load(api, &id, &custody, &message, &bytes)) {
		api_reply(request, 200, json_pack("{s:o}", "id", json_id(&id)));
		return;
	}
	api_reply(request, 200, json_pack("{s:o,s:s}", "id", json_id(&id), "level", level_name(custody.local_level)));
	free(bytes);
	custody_clear(&custody);
}

static bool read_hex(const char *text, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < 2 * len; i++)
		if (!text[i] || !strchr("0123456789abcdef", text[i]))
			return false;
	for (size_t i = 0; i < len; i++) {
		unsigned byte;

		if (sscanf(text + 2 * i, "%2x", &byte) != 1)
			return false;
		out[i] = (uint8_t)byte;
	}
	return !text[2 * len];
}

/* {"function": 1, "signature": "128 hex digits"} */
static void api_sign(struct api *api, struct evhttp_request *request, const struct message_id *id)
{
	json_t *json = body_json(request, false);
	const char *signature = json_string_value(json_object_get(json, "signature"));
	const json_int_t function = json_integer_value(json_object_get(json, "function"));
	struct message_release release = { .function = (uint32_t)function };
	struct api_pending *pending;

	if (!json)
		return;
	if (function <= 0 || function > UINT32_MAX)
		bad_field(request, "function", "is not the number of a function", "`cpctl directory --json` lists them");
	else if (!signature || !read_hex(signature, release.bytes, sizeof(release.bytes)))
		bad_field(request, "signature", "is not 128 hex digits", "sign the bytes in `signed` of the message; `cpctl sign` does it");
	else if ((pending = api_pending_new(api, request))) {
		pending->id = *id;
		node_sign(api->node, id, &release, acted, pending);
	}
	json_decref(json);
}

void api_act(struct api *api, struct evhttp_request *request, const struct message_id *id, const char *name)
{
	static const struct { const char *name; enum relay_act act; } acts[] = {
		{ "read", ACT_READ }, { "accept", ACT_ACCEPT }, { "refuse", ACT_REFUSE }, { "done", ACT_DONE },
		{ "withdraw", ACT_WITHDRAW }, { "hold", ACT_HOLD }, { "release", ACT_RELEASE },
	};
	struct api_pending *pending;
	const char *remark;
	json_t *json;
	size_t i = 0;

	if (!strcmp(name, "sign")) {
		api_sign(api, request, id);
		return;
	}
	while (i < sizeof(acts) / sizeof(acts[0]) && strcmp(acts[i].name, name))
		i++;
	if (i == sizeof(acts) / sizeof(acts[0])) {
		api_error(request, 404, "not-found", NULL, "there is no such act", "read, accept, refuse, done, withdraw, hold, release or sign");
		return;
	}
	json = body_json(request, true);
	if (!json)
		return;
	remark = json_string_value(json_object_get(json, "remark"));
	if (acts[i].act == ACT_REFUSE && (!remark || !*remark))
		bad_field(request, "remark", "is required to refuse", "say in one sentence why it cannot be done");
	else if (remark && strlen(remark) > LIMIT_REMARK)
		bad_field(request, "remark", "is longer than 280 bytes", "shorten it");
	else if ((pending = api_pending_new(api, request))) {
		pending->id = *id;
		node_operate(api->node, id, acts[i].act, REFUSED_NONE, remark, acted, pending);
	}
	json_decref(json);
}

/* ---------------------------------------------------------------- directory */

static void imported(void *context, enum cpd_error error, const char *why)
{
	struct api_pending *pending = context;
	struct api *api = pending->api;
	struct evhttp_request *request = api_pending_take(pending);

	if (!request)
		return;
	if (error)
		api_error_of(request, error, why);
	else
		api_reply(request, 200, json_pack("{s:I}", "version", (json_int_t)directory_version(node_directory(api->node))));
}

void api_import(struct api *api, struct evhttp_request *request)
{
	struct evbuffer *buffer = evhttp_request_get_input_buffer(request);
	struct slice record = { evbuffer_pullup(buffer, -1), evbuffer_get_length(buffer) };
	struct api_pending *pending;

	if (!record.len || record.len > LIMIT_UPDATE_RECORD) {
		bad_field(request, "body", "is not a directory update", "send the bytes of one .update file");
		return;
	}
	pending = api_pending_new(api, request);
	if (pending)
		node_import_directory(api->node, record, imported, pending);
}
