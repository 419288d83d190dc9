/*
 * api_sealed.c: the personal part of an order, and what is sealed in a message.
 *
 * What is sealed is shown by its own call, which puts a line into the journal first, and by no other: so no list, no export and no
 * event has it.
 */
#include "daemon/api_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"

static const struct { uint32_t number; const char *name; } audiences[] = { { AUDIENCE_ID_CONTACT, "contact" }, { AUDIENCE_ID_CARE, "care" } };
#define AUDIENCES (sizeof(audiences) / sizeof(audiences[0]))
_Static_assert(AUDIENCES == LIMIT_SEALED_AUDIENCES, "room in an order");

static bool bad_personal(struct evhttp_request *request, const char *field, const char *text, const char *remedy)
{
	char whole[80];

	snprintf(whole, sizeof(whole), "personal%s%s", *field ? "." : "", field);
	api_error(request, 400, "bad-field", whole, text, remedy);
	return false;
}

static bool has_field(message_kind kind, uint32_t audience, const char *name)
{
	const ProtobufCMessageDescriptor *descriptor = body_sealed_descriptor(kind, audience);

	return descriptor && protobuf_c_message_descriptor_get_field_by_name(descriptor, name);
}

/* The fields of one audience: it gets no others. */
static bool read_audience(struct evhttp_request *request, const json_t *personal, uint32_t audience, struct author_request *order)
{
	struct author_sealed *part = &order->sealed[order->sealed_count];
	json_t *fields = json_object(), *value;
	struct body_problem problem;
	enum cpd_error error = CPD_OK;
	const char *name;

	json_object_foreach((json_t *)(uintptr_t)personal, name, value)
		if (has_field(order->kind, audience, name) && !json_is_null(value))
			json_object_set(fields, name, value);
	if (json_object_size(fields)) {
		error = body_sealed_from_json(order->kind, audience, fields, part->content, &part->len, &problem);
		part->audience = audience;
		order->sealed_count++;
	}
	json_decref(fields);
	return error ? bad_personal(request, problem.field, problem.text[0] ? problem.text : cpd_error_text(error), "correct this field and send it again") : true;
}

bool api_read_personal(struct evhttp_request *request, const json_t *personal, struct author_request *order)
{
	const char *name;
	json_t *value;

	if (!personal)
		return true;
	if (!body_sealed_descriptor(order->kind, AUDIENCE_ID_CONTACT))
		return bad_personal(request, "", "only an emergency-call has a personal part", "leave it out: what stands in other messages is read by every node on the way");
	if (!json_is_object(personal))
		return bad_personal(request, "", "must be an object with fields", "name, contact, address, equipment, health");
	json_object_foreach((json_t *)(uintptr_t)personal, name, value)
		if (!has_field(order->kind, AUDIENCE_ID_CONTACT, name) && !has_field(order->kind, AUDIENCE_ID_CARE, name))
			return bad_personal(request, name, "is not a field of it", "name, contact, address, equipment, health");
	for (size_t i = 0; i < AUDIENCES; i++)
		if (!read_audience(request, personal, audiences[i].number, order))
			return false;
	return order->sealed_count ? true : bad_personal(request, "", "is empty", "fill in a field, or leave it out");
}

/* ---------------------------------------------------------------- what is sealed */

static json_t *part_to_json(struct api *api, const struct header *header, size_t i, uint8_t *content)
{
	static const char *const states[] = { [UNSEALED_OPEN] = "for-this-node", [UNSEALED_OTHERS] = "for-others", [UNSEALED_OLD_KEY] = "old-key", [UNSEALED_DAMAGED] = "damaged",
		[UNSEALED_ERASED] = "erased" };
	struct unsealed opened = { .content = content };
	const char *name = "unknown";
	json_t *readers = json_array(), *json;
	struct sealed_part part;

	node_sealed_part(api->node, header, i, &opened);
	for (size_t a = 0; a < AUDIENCES; a++)
		if (audiences[a].number == opened.audience)
			name = audiences[a].name;
	if (!sealed_part_decode(header->sealed[i], &part))
		for (size_t r = 0; r < part.reader_count; r++)
			json_array_append_new(readers, json_integer(part.readers[r].node));
	json = json_pack("{s:s,s:s,s:o}", "audience", name, "state", states[opened.state], "readers", readers);
	if (content && opened.state == UNSEALED_OPEN) {
		json_t *fields = body_sealed_to_json(header->kind, opened.audience, (struct slice){ content, opened.len });

		/* Of a later version, or not what its audience is: there is something, and it cannot be shown. */
		json_object_set_new(json, "fields", fields ? fields : json_null());
	}
	return json;
}

static json_t *parts_to_json(struct api *api, const struct header *header, uint8_t *content)
{
	json_t *list = json_array();

	for (size_t i = 0; i < header->sealed_count; i++)
		json_array_append_new(list, part_to_json(api, header, i, content));
	return list;
}

json_t *api_sealed(struct api *api, const struct header *header)
{
	return parts_to_json(api, header, NULL);
}

/* The line of it is in the journal, on disk: now it may be shown. */
static void unsealed(void *context, enum cpd_error error, const char *why)
{
	struct api_pending *pending = context;
	struct api *api = pending->api;
	const struct message_id id = pending->id;
	struct evhttp_request *request = api_pending_take(pending);
	uint8_t content[LIMIT_SEALED_CONTENT + SEALED_BLOCK], *bytes = NULL;
	struct custody custody;
	struct message message;

	if (!request)
		return;
	if (error) {
		api_error_of(request, error, why);
		return;
	}
	error = api_load(api, &id, &custody, &message, &bytes);
	if (!error)
		custody_clear(&custody);
	if (error || !bytes)
		api_error_of(request, error ? error : CPD_ERR_NOT_FOUND, "this node does not hold that message any more");
	else
		api_reply(request, 200, json_pack("{s:o,s:o}", "id", json_id(&id), "sealed", parts_to_json(api, &message.header, content)));
	crypto_wipe(content, sizeof(content));
	free(bytes);
}

void api_unseal(struct api *api, struct evhttp_request *request, const struct message_id *id)
{
	struct api_pending *pending = api_pending_new(api, request);

	if (!pending)
		return;
	pending->id = *id;
	node_unseal(api->node, id, unsealed, pending);
}
