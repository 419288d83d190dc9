/* trailer.c: the hop trailer and the message item (PROTOCOL.md section 5). */
#include "proto/trailer.h"

#include <stdlib.h>
#include <string.h>

#include "proto/cpd.pb-c.h"
#include "proto/wire.h"

#define FIELD_ENVELOPE 1
#define FIELD_TRAILER 2

void trailer_init(struct trailer *trailer)
{
	memset(trailer, 0, sizeof(*trailer));
	trailer->hop_limit = LIMIT_HOPS;
}

void trailer_clear(struct trailer *trailer)
{
	if (!trailer)
		return;
	free(trailer->recipients);
	trailer_init(trailer);
}

static enum cpd_error trailer_check(const struct trailer *trailer)
{
	if (trailer->recipient_count > LIMIT_RECIPIENTS || trailer->trace_count > LIMIT_TRACE ||
	    trailer->member_bitmap_len > sizeof(trailer->member_bitmap))
		return CPD_ERR_TOO_LARGE;
	/* A higher one would send a message round for longer than anybody agreed to. */
	if (trailer->hop_limit > LIMIT_HOPS)
		return CPD_ERR_RANGE;
	for (size_t i = 0; i < trailer->recipient_count; i++)
		if (trailer->recipients[i] <= (i ? trailer->recipients[i - 1] : 0))
			return CPD_ERR_MALFORMED;
	for (size_t i = 0; i < trailer->trace_count; i++)
		if (trailer->trace[i].node == 0)
			return CPD_ERR_RANGE;
	return CPD_OK;
}

static enum cpd_error trailer_from_wire(const Cpd__Trailer *wire, struct trailer *out)
{
	if (wire->n_recipients > LIMIT_RECIPIENTS || wire->n_trace > LIMIT_TRACE ||
	    wire->member_bitmap.len > sizeof(out->member_bitmap))
		return CPD_ERR_TOO_LARGE;
	out->age_s = wire->age_s;
	out->retry = wire->retry;
	out->hop_limit = wire->hop_limit;
	out->after_epoch = wire->after_epoch;
	for (size_t i = 0; i < wire->n_trace; i++)
		out->trace[i] = (struct hop){ wire->trace[i]->node, wire->trace[i]->received_s, wire->trace[i]->sent_s };
	out->trace_count = wire->n_trace;
	if (wire->member_bitmap.len)
		memcpy(out->member_bitmap, wire->member_bitmap.data, wire->member_bitmap.len);
	out->member_bitmap_len = wire->member_bitmap.len;
	if (wire->n_recipients) {
		out->recipients = malloc(wire->n_recipients * sizeof(out->recipients[0]));
		if (!out->recipients)
			return CPD_ERR_NOMEM;
		memcpy(out->recipients, wire->recipients, wire->n_recipients * sizeof(out->recipients[0]));
		out->recipient_count = wire->n_recipients;
	}
	return trailer_check(out);
}

enum cpd_error message_item_decode(struct slice item, struct slice *envelope, struct trailer *out)
{
	struct arena arena;
	Cpd__MessageItem *wire;
	enum cpd_error error;

	*envelope = (struct slice){ NULL, 0 };
	trailer_init(out);
	if (item.len > LIMIT_ITEM || wire_find(item, FIELD_ENVELOPE).len > LIMIT_ENVELOPE ||
	    wire_find(item, FIELD_TRAILER).len > LIMIT_TRAILER)
		return CPD_ERR_TOO_LARGE;
	arena_init(&arena, LIMIT_ARENA(item.len));
	error = wire_unpack(&cpd__message_item__descriptor, item, &arena, &wire);
	if (!error && wire->envelope.len == 0)
		error = CPD_ERR_MISSING;
	if (!error && wire->trailer)
		error = trailer_from_wire(wire->trailer, out);
	arena_clear(&arena);
	if (error)
		trailer_clear(out);
	else
		*envelope = wire_find(item, FIELD_ENVELOPE);
	return error;
}

static void scalars_to_wire(const struct trailer *trailer, Cpd__Trailer *out)
{
	WIRE_PUT(out, age_s, trailer->age_s);
	WIRE_PUT(out, retry, trailer->retry);
	WIRE_PUT(out, after_epoch, trailer->after_epoch);
	out->hop_limit = trailer->hop_limit;
	out->has_hop_limit = trailer->hop_limit != LIMIT_HOPS;
	out->recipients = trailer->recipients;
	out->n_recipients = trailer->recipient_count;
	out->has_member_bitmap = trailer->member_bitmap_len != 0;
	out->member_bitmap = wire_bytes((struct slice){ trailer->member_bitmap, trailer->member_bitmap_len });
}

enum cpd_error message_item_encode(struct slice envelope, const struct trailer *trailer,
    uint8_t *buf, size_t *len)
{
	Cpd__MessageItem wire = CPD__MESSAGE_ITEM__INIT;
	Cpd__Trailer beside = CPD__TRAILER__INIT;
	Cpd__Hop hops[LIMIT_TRACE], *pointers[LIMIT_TRACE];
	enum cpd_error error = trailer_check(trailer);

	*len = 0;
	if (error)
		return error;
	if (envelope.len == 0)
		return CPD_ERR_MISSING;
	if (envelope.len > LIMIT_ENVELOPE)
		return CPD_ERR_TOO_LARGE;
	scalars_to_wire(trailer, &beside);
	for (size_t i = 0; i < trailer->trace_count; i++) {
		cpd__hop__init(&hops[i]);
		hops[i].node = trailer->trace[i].node;
		WIRE_PUT(&hops[i], received_s, trailer->trace[i].received_s);
		WIRE_PUT(&hops[i], sent_s, trailer->trace[i].sent_s);
		pointers[i] = &hops[i];
	}
	beside.trace = pointers;
	beside.n_trace = trailer->trace_count;
	if (cpd__trailer__get_packed_size(&beside) > LIMIT_TRAILER)
		return CPD_ERR_TOO_LARGE;
	wire.envelope = wire_bytes(envelope);
	wire.trailer = &beside;
	return wire_pack(&wire.base, buf, LIMIT_ITEM, len);
}
