/*
 * wire.h: the one door between bytes and protobuf-c.
 *
 * protobuf-c takes repeated singular fields, values wider than their field, overlong varints, NULs
 * and bad UTF-8 in strings; wire_unpack refuses them first, at every depth (the schema is acyclic,
 * so the schema bounds the depth). Unknown fields pass. What the fields mean is for the caller to
 * judge. Called by the decoders and encoders of proto/ only.
 */
#ifndef CPD_PROTO_WIRE_H
#define CPD_PROTO_WIRE_H

#include "proto/arena.h"

/* Checks `bytes` against the schema (PROTOCOL.md section 3). MALFORMED, MISSING, RANGE, TEXT. */
MUST_CHECK enum cpd_error wire_check(const ProtobufCMessageDescriptor *descriptor, struct slice bytes);

/* wire_check, then unpacks into the arena; *out is a Cpd__X, lives until arena_clear and is never
 * freed by itself. TOO_LARGE when it asks more than the budget, NOMEM when memory is used up. *out is NULL on error. */
MUST_CHECK enum cpd_error wire_unpack(const ProtobufCMessageDescriptor *descriptor, struct slice bytes,
    struct arena *arena, void *out);

/* Where the length-delimited field `number` first stands inside `bytes`; data NULL: absent, or not
 * before the place where the bytes are damaged (wire_unpack tells). protobuf-c copies; what must be
 * kept exact is taken from here. */
struct slice wire_find(struct slice bytes, uint32_t number);

/* Packs any Cpd__X into buf. TOO_LARGE when it does not fit max; *len 0 on error. */
MUST_CHECK enum cpd_error wire_pack(const ProtobufCMessage *message, uint8_t *buf, size_t max, size_t *len);

/* For fields handed to the packer, which reads them only. */
ProtobufCBinaryData wire_bytes(struct slice bytes);

/* Fills an optional scalar of a Cpd__X; its zero, the default, is left out. */
#define WIRE_PUT(message, field, value) ((message)->field = (value), (message)->has_##field = (message)->field != 0)

#endif
