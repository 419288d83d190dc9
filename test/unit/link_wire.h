/*
 * link_wire.h: the wires between the two links of link_pair.h, under the test's hand: frames stand on them
 * until the test delivers, drops or swaps them. And what travels: items whose every byte follows from their
 * number, so that a piece put in a wrong place shows. Knows no link. Included by link_pair.h.
 */
#ifndef CPD_TEST_LINK_WIRE_H
#define CPD_TEST_LINK_WIRE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/frame.h"
#include "proto/link.h"

#define PIPE 512

struct parcel { uint8_t *bytes; size_t len; };
struct wire { struct parcel parcels[PIPE]; size_t count; };

static inline void wire_clear(struct wire *wire)
{
	while (wire->count)
		free(wire->parcels[--wire->count].bytes);
}

static inline void wire_put(struct wire *wire, const uint8_t *bytes, size_t len)
{
	assert_true(wire->count < PIPE);
	wire->parcels[wire->count].bytes = malloc(len);
	memcpy(wire->parcels[wire->count].bytes, bytes, len);
	wire->parcels[wire->count++].len = len;
}

static inline struct parcel wire_take(struct wire *wire, size_t at)
{
	struct parcel parcel = wire->parcels[at];

	wire->count--;
	memmove(&wire->parcels[at], &wire->parcels[at + 1], (wire->count - at) * sizeof(parcel));
	return parcel;
}

static inline struct frame wire_peek(const struct wire *wire, size_t at)
{
	struct frame frame;

	assert_true(at < wire->count);
	assert_int_equal(frame_decode((struct slice){ wire->parcels[at].bytes, wire->parcels[at].len }, &frame), CPD_OK);
	return frame;
}

/* ---------------------------------------------------------------- items */

/* The bytes of an item; they live until the next call. */
static inline struct slice item_bytes(uint32_t number, size_t len)
{
	static uint8_t bytes[LIMIT_ITEM];

	bytes[0] = 'I';
	memcpy(bytes + 4, &number, 4);
	for (size_t i = 8; i < len; i++)
		bytes[i] = (uint8_t)(number * 7 + i);
	return (struct slice){ bytes, len };
}

/* The number an item's bytes tell, each byte checked. */
static inline uint32_t number_of(struct slice bytes)
{
	uint32_t number;

	assert_true(bytes.len >= 8 && bytes.data[0] == 'I');
	memcpy(&number, bytes.data + 4, 4);
	for (size_t i = 8; i < bytes.len; i++)
		assert_int_equal(bytes.data[i], (uint8_t)(number * 7 + i));
	return number;
}

/* A piece of an item, as a peer that keeps no rules may send it. */
static inline struct frame piece_frame(uint64_t serial, enum precedence precedence, uint32_t total, uint32_t offset, uint32_t len)
{
	static const uint8_t bytes[LIMIT_ITEM] = { 'I' };
	struct frame frame = { .has = FRAME_DATA };

	frame.data = (struct frame_data){ serial, ITEM_TYPE_MESSAGE, precedence, total, offset, { bytes, len } };
	return frame;
}

#endif
