/* frame.c: link frames (PROTOCOL.md section 7). */
#include "proto/frame.h"

#include <string.h>

#include "proto/cpd.pb-c.h"
#include "proto/wire.h"

#define FIELD_FRAME_HELLO 1
#define FIELD_FRAME_DATA 2
#define FIELD_FRAME_PRESENCE 6
#define FIELD_FRAME_WANT 7
#define FIELD_FRAME_INTRODUCTION 8
#define FIELD_HELLO_SUPERSEDED 18
#define FIELD_DATA_PIECE 5
#define FIELD_PRESENCE_RECORD 1
#define FIELD_WANT_HELD 3

/* Data.shape: item type in the low bits, precedence above. */
#define SHAPE_TYPE_BITS 4
#define SHAPE_MAX (ITEM_TYPE_LEAF | PRECEDENCE_FLASH << SHAPE_TYPE_BITS)

#define LIMIT_HELD ((LIMIT_LEAVES + 7) / 8)

#define PARTS_MAIN (FRAME_HELLO | FRAME_DATA | FRAME_REFUSAL | FRAME_WANT | FRAME_PRESENCE | FRAME_INTRODUCTION)
#define PARTS_BESIDE (FRAME_ACK | FRAME_CREDIT | FRAME_DIRECTORY)

/* ---------------------------------------------------------------- rules, for both directions */

/* At most one main part; acknowledgement, credit and directory beside any but hello and introduction. */
static bool parts_may_stand_together(unsigned has)
{
	unsigned main_part = has & PARTS_MAIN;

	if (has & ~(unsigned)(PARTS_MAIN | PARTS_BESIDE))
		return false;
	if (main_part & (main_part - 1))
		return false;
	return !(main_part & (FRAME_HELLO | FRAME_INTRODUCTION)) || !(has & PARTS_BESIDE);
}

static enum cpd_error hello_check(const struct frame_hello *hello)
{
	if (hello->version_min == 0 || hello->version < hello->version_min || hello->epoch == 0 ||
	    hello->clock_ms < -1 || (unsigned)hello->clock_quality > CLOCK_GNSS)
		return CPD_ERR_RANGE;
	if (hello->superseded.len > LIMIT_PRESENCE)
		return CPD_ERR_TOO_LARGE;
	return hello->received_bitmap.len > LIMIT_ACK_BITMAP ? CPD_ERR_TOO_LARGE : CPD_OK;
}

static enum cpd_error data_check(const struct frame_data *data)
{
	if (data->serial == 0 || data->type < ITEM_TYPE_MESSAGE || data->type > ITEM_TYPE_LEAF ||
	    (unsigned)data->precedence >= PRECEDENCE_COUNT || data->piece.len == 0)
		return CPD_ERR_RANGE;
	if (data->total > LIMIT_ITEM || data->piece.len > LIMIT_PIECE)
		return CPD_ERR_TOO_LARGE;
	if (data->piece.len > data->total || data->offset > data->total - data->piece.len)
		return CPD_ERR_RANGE;
	return CPD_OK;
}

static enum cpd_error want_check(const struct frame_want *want)
{
	if (want->serial == 0 || want->message.origin == 0 || want->message.epoch == 0 || want->message.sequence == 0)
		return CPD_ERR_RANGE;
	return want->held.len > LIMIT_HELD ? CPD_ERR_TOO_LARGE : CPD_OK;
}

static enum cpd_error record_check(struct slice record, size_t max)
{
	if (record.len == 0)
		return CPD_ERR_MISSING;
	return record.len > max ? CPD_ERR_TOO_LARGE : CPD_OK;
}

static enum cpd_error frame_check(const struct frame *frame)
{
	if (!parts_may_stand_together(frame->has))
		return CPD_ERR_MALFORMED;
	if ((frame->has & FRAME_ACK) && frame->ack_bitmap.len > LIMIT_ACK_BITMAP)
		return CPD_ERR_TOO_LARGE;
	switch (frame->has & PARTS_MAIN) {
	case FRAME_HELLO:
		return hello_check(&frame->hello);
	case FRAME_DATA:
		return data_check(&frame->data);
	case FRAME_REFUSAL:
		return frame->refusal.serial == 0 || frame->refusal.reason == REFUSED_NONE ? CPD_ERR_RANGE : CPD_OK;
	case FRAME_WANT:
		return want_check(&frame->want);
	case FRAME_PRESENCE:
		return record_check(frame->presence.record, LIMIT_PRESENCE);
	case FRAME_INTRODUCTION:
		return record_check(frame->introduction, LIMIT_CERTIFICATE);
	default:
		return CPD_OK;
	}
}

/* ---------------------------------------------------------------- decoding */

static enum cpd_error bitmap_from_wire(ProtobufCBinaryData bytes, struct bitmap *out)
{
	if (bytes.len > sizeof(out->bits))
		return CPD_ERR_TOO_LARGE;
	if (bytes.len)
		memcpy(out->bits, bytes.data, bytes.len);
	out->len = bytes.len;
	return CPD_OK;
}

static enum cpd_error hello_from_wire(const Cpd__Hello *wire, struct slice bytes, struct frame_hello *out)
{
	if (wire->clock_ms > INT64_MAX)
		return CPD_ERR_RANGE;
	if (wire->software && strlen(wire->software) > LIMIT_NAME)
		return CPD_ERR_TOO_LARGE;
	out->version = wire->version;
	out->version_min = wire->version_min;
	out->epoch = wire->epoch;
	out->your_epoch = wire->your_epoch;
	out->received = wire->received;
	out->next_serial = wire->next_serial;
	out->seen_epoch = wire->seen_epoch;
	out->seen_sequence = wire->seen_sequence;
	out->directory = wire->directory;
	out->clock_ms = wire->has_clock_ms ? (int64_t)wire->clock_ms : -1;
	/* A quality of a later version is not one that we may trust. */
	out->clock_quality = wire->clock_quality > CLOCK_GNSS ? CLOCK_UNKNOWN : (enum clock_quality)wire->clock_quality;
	out->credit_bulk = wire->credit_bulk;
	out->credit_urgent = wire->credit_urgent;
	out->claim = wire->claim;
	out->instance = wire->instance;
	if (wire->superseded) {
		out->superseded = wire_find(wire_find(wire_find(bytes, FIELD_FRAME_HELLO), FIELD_HELLO_SUPERSEDED), FIELD_PRESENCE_RECORD);
		out->superseded_age_s = wire->superseded->age_s;
	}
	return bitmap_from_wire(wire->received_bitmap, &out->received_bitmap);
}

static enum cpd_error data_from_wire(const Cpd__Data *wire, struct slice bytes, struct frame_data *out)
{
	if (wire->shape > SHAPE_MAX)
		return CPD_ERR_RANGE;
	out->serial = wire->serial;
	out->type = (enum item_type)(wire->shape & ((1u << SHAPE_TYPE_BITS) - 1));
	out->precedence = (enum precedence)(wire->shape >> SHAPE_TYPE_BITS);
	out->piece = wire_find(wire_find(bytes, FIELD_FRAME_DATA), FIELD_DATA_PIECE);
	if (wire->piece.len > LIMIT_PIECE)
		return CPD_ERR_TOO_LARGE;
	out->total = wire->has_total ? wire->total : (uint32_t)wire->piece.len;
	out->offset = wire->offset;
	return CPD_OK;
}

static enum cpd_error want_from_wire(const Cpd__Want *wire, struct slice bytes, struct frame_want *out)
{
	if (!wire->message->has_origin)
		return CPD_ERR_MISSING;
	out->serial = wire->serial;
	out->message = (struct message_id){ wire->message->origin, wire->message->epoch, wire->message->sequence };
	out->held = wire_find(wire_find(bytes, FIELD_FRAME_WANT), FIELD_WANT_HELD);
	return CPD_OK;
}

static unsigned parts_of_wire(const Cpd__Frame *wire)
{
	return (wire->hello ? FRAME_HELLO : 0u) | (wire->data ? FRAME_DATA : 0u) | (wire->ack ? FRAME_ACK : 0u) |
	       (wire->refusal ? FRAME_REFUSAL : 0u) | (wire->credit ? FRAME_CREDIT : 0u) |
	       (wire->presence ? FRAME_PRESENCE : 0u) | (wire->want ? FRAME_WANT : 0u) |
	       (wire->has_introduction ? FRAME_INTRODUCTION : 0u) | (wire->has_directory ? FRAME_DIRECTORY : 0u);
}

static enum cpd_error frame_from_wire(const Cpd__Frame *wire, struct slice bytes, struct frame *out)
{
	enum cpd_error error = CPD_OK;

	out->has = parts_of_wire(wire);
	if (wire->hello)
		error = hello_from_wire(wire->hello, bytes, &out->hello);
	if (!error && wire->data)
		error = data_from_wire(wire->data, bytes, &out->data);
	if (!error && wire->want)
		error = want_from_wire(wire->want, bytes, &out->want);
	if (!error && wire->ack) {
		out->ack_received = wire->ack->received;
		error = bitmap_from_wire(wire->ack->bitmap, &out->ack_bitmap);
	}
	if (wire->refusal)
		out->refusal = (struct frame_refusal){ wire->refusal->serial, (enum cpd_reason)wire->refusal->reason };
	if (wire->credit)
		out->credit = (struct frame_credit){ wire->credit->consumed, wire->credit->bulk, wire->credit->urgent };
	if (wire->presence) {
		out->presence.record = wire_find(wire_find(bytes, FIELD_FRAME_PRESENCE), FIELD_PRESENCE_RECORD);
		out->presence.age_s = wire->presence->age_s;
	}
	if (wire->has_introduction)
		out->introduction = wire_find(bytes, FIELD_FRAME_INTRODUCTION);
	if (wire->has_directory)
		out->directory = wire->directory;
	return error ? error : frame_check(out);
}

enum cpd_error frame_decode(struct slice bytes, struct frame *out)
{
	struct arena arena;
	Cpd__Frame *wire;
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	if (bytes.len > LIMIT_FRAME)
		return CPD_ERR_TOO_LARGE;
	arena_init(&arena, LIMIT_ARENA(bytes.len));
	error = wire_unpack(&cpd__frame__descriptor, bytes, &arena, &wire);
	if (!error)
		error = frame_from_wire(wire, bytes, out);
	arena_clear(&arena);
	if (error)
		memset(out, 0, sizeof(*out));
	return error;
}

/* ---------------------------------------------------------------- encoding */

static ProtobufCBinaryData bitmap_to_wire(const struct bitmap *bitmap)
{
	return wire_bytes((struct slice){ bitmap->bits, bitmap->len });
}

static void hello_to_wire(const struct frame_hello *hello, Cpd__Hello *out, Cpd__PresenceOffer *superseded)
{
	cpd__hello__init(out);
	out->version = hello->version;
	out->version_min = hello->version_min;
	out->has_version_min = hello->version_min != 1;
	out->epoch = hello->epoch;
	WIRE_PUT(out, your_epoch, hello->your_epoch);
	WIRE_PUT(out, received, hello->received);
	out->has_received_bitmap = hello->received_bitmap.len != 0;
	out->received_bitmap = bitmap_to_wire(&hello->received_bitmap);
	WIRE_PUT(out, next_serial, hello->next_serial);
	WIRE_PUT(out, seen_epoch, hello->seen_epoch);
	WIRE_PUT(out, seen_sequence, hello->seen_sequence);
	WIRE_PUT(out, directory, hello->directory);
	out->has_clock_ms = hello->clock_ms >= 0;
	out->clock_ms = out->has_clock_ms ? (uint64_t)hello->clock_ms : 0;
	WIRE_PUT(out, clock_quality, (uint32_t)hello->clock_quality);
	WIRE_PUT(out, credit_bulk, hello->credit_bulk);
	WIRE_PUT(out, credit_urgent, hello->credit_urgent);
	WIRE_PUT(out, claim, hello->claim);
	WIRE_PUT(out, instance, hello->instance);
	if (!hello->superseded.len)
		return;
	cpd__presence_offer__init(superseded);
	superseded->record = wire_bytes(hello->superseded);
	WIRE_PUT(superseded, age_s, hello->superseded_age_s);
	out->superseded = superseded;
}

static void data_to_wire(const struct frame_data *data, Cpd__Data *out)
{
	cpd__data__init(out);
	out->serial = data->serial;
	out->shape = (uint32_t)data->type | (uint32_t)data->precedence << SHAPE_TYPE_BITS;
	out->total = data->total;
	out->has_total = data->total != data->piece.len;
	WIRE_PUT(out, offset, data->offset);
	out->piece = wire_bytes(data->piece);
}

static void want_to_wire(const struct frame_want *want, Cpd__Want *out, Cpd__Reference *message)
{
	cpd__want__init(out);
	cpd__reference__init(message);
	message->origin = want->message.origin;
	message->has_origin = 1;
	message->epoch = want->message.epoch;
	message->has_epoch = want->message.epoch != 1;
	message->sequence = want->message.sequence;
	out->serial = want->serial;
	out->message = message;
	out->has_held = want->held.len != 0;
	out->held = wire_bytes(want->held);
}

/* The structs that a packed frame points at. */
struct frame_parts {
	Cpd__Hello hello;
	Cpd__Data data;
	Cpd__Ack ack;
	Cpd__Refusal refusal;
	Cpd__Credit credit;
	Cpd__PresenceOffer presence;
	Cpd__Want want;
	Cpd__Reference want_message;
};

static void main_part_to_wire(const struct frame *frame, struct frame_parts *parts, Cpd__Frame *out)
{
	if (frame->has & FRAME_HELLO) {
		hello_to_wire(&frame->hello, &parts->hello, &parts->presence);
		out->hello = &parts->hello;
	}
	if (frame->has & FRAME_DATA) {
		data_to_wire(&frame->data, &parts->data);
		out->data = &parts->data;
	}
	if (frame->has & FRAME_REFUSAL) {
		cpd__refusal__init(&parts->refusal);
		parts->refusal.serial = frame->refusal.serial;
		parts->refusal.reason = (uint32_t)frame->refusal.reason;
		out->refusal = &parts->refusal;
	}
	if (frame->has & FRAME_PRESENCE) {
		cpd__presence_offer__init(&parts->presence);
		parts->presence.record = wire_bytes(frame->presence.record);
		WIRE_PUT(&parts->presence, age_s, frame->presence.age_s);
		out->presence = &parts->presence;
	}
	if (frame->has & FRAME_WANT) {
		want_to_wire(&frame->want, &parts->want, &parts->want_message);
		out->want = &parts->want;
	}
	if (frame->has & FRAME_INTRODUCTION) {
		out->introduction = wire_bytes(frame->introduction);
		out->has_introduction = 1;
	}
}

enum cpd_error frame_encode(const struct frame *frame, uint8_t *buf, size_t *len)
{
	Cpd__Frame wire = CPD__FRAME__INIT;
	struct frame_parts parts;
	enum cpd_error error = frame_check(frame);

	*len = 0;
	if (error)
		return error;
	main_part_to_wire(frame, &parts, &wire);
	if (frame->has & FRAME_ACK) {
		cpd__ack__init(&parts.ack);
		parts.ack.received = frame->ack_received;
		parts.ack.bitmap = bitmap_to_wire(&frame->ack_bitmap);
		parts.ack.has_bitmap = frame->ack_bitmap.len != 0;
		wire.ack = &parts.ack;
	}
	if (frame->has & FRAME_CREDIT) {
		cpd__credit__init(&parts.credit);
		parts.credit.consumed = frame->credit.consumed;
		parts.credit.bulk = frame->credit.bulk;
		parts.credit.urgent = frame->credit.urgent;
		wire.credit = &parts.credit;
	}
	if (frame->has & FRAME_DIRECTORY) {
		wire.directory = frame->directory;
		wire.has_directory = 1;
	}
	return wire_pack(&wire.base, buf, LIMIT_FRAME, len);
}
