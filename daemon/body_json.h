/*
 * body_json.h: bodies of messages to and from JSON, by reflection over the protobuf-c descriptors, so
 * that one piece of code serves every kind. Field names are those of proto/body.proto, enumerations by
 * name, 64-bit numbers as numbers. Knows no bounds: body_validate does. Called by the API.
 */
#ifndef CPD_BODY_JSON_H
#define CPD_BODY_JSON_H

#include <jansson.h>

#include "proto/body.h"

/* Encodes `json` as the body of `kind` into buf (LIMIT_BODY). On an error problem names the field and
 * says what to do. EmergencyCall.check_words is computed when absent. */
MUST_CHECK enum cpd_error body_from_json(message_kind kind, const json_t *json, uint8_t *buf, size_t *len,
    struct body_problem *problem);
/* A new reference; NULL when the kind is unknown here or the body does not hold. */
json_t *body_to_json(message_kind kind, struct slice body);
/* The same for what is inside a sealed part; buf: LIMIT_SEALED_CONTENT. */
MUST_CHECK enum cpd_error body_sealed_from_json(message_kind kind, uint32_t audience, const json_t *json, uint8_t *buf, size_t *len,
    struct body_problem *problem);
json_t *body_sealed_to_json(message_kind kind, uint32_t audience, struct slice content);
/* One line that tells what it says, for lists. out is always terminated. */
void body_line(message_kind kind, struct slice body, char *out, size_t size);

#endif
