/*
 * body_path.h: where in a refused body is the fault? wire_check (wire.h) says that a required field
 * is absent or a string is no text, not which; the person at the form must know.
 *
 * Never decides: it only runs after a refusal. Never allocates; its depth is that of the schema,
 * which is acyclic. Called by body.c only.
 */
#ifndef CPD_PROTO_BODY_PATH_H
#define CPD_PROTO_BODY_PATH_H

#include <protobuf-c/protobuf-c.h>

#include "proto/types.h"

#define BODY_PATH_MAX 64

/* Writes the first field, in the order of the bytes, that is no text or lacks a required field, as
 * "services[2].code", cut when longer than BODY_PATH_MAX; "" when the fault is elsewhere. */
void body_path_find(const ProtobufCMessageDescriptor *schema, struct slice bytes, char path[BODY_PATH_MAX]);

#endif
