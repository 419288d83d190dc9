/*
 * fields.h: a message's body from --NAME VALUE flags, typed by the descriptors of proto/body.h, and the
 * list of a kind's fields for help. The daemon judges the body; here only the words are read.
 * Called by send.c.
 */
#ifndef CPD_CPCTL_FIELDS_H
#define CPD_CPCTL_FIELDS_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

#include "daemon/cpctl/cpctl.h"

/* Adds every field of the call to `body`, an object: "people.text" goes inside, repeated names make
 * lists, a list takes the place of one that stood there. False: the usage error is told. */
bool fields_read(const struct call *call, const ProtobufCMessageDescriptor *descriptor, json_t *body);
/* Prints the fields, required ones marked, with the words of enumerations. */
void fields_help(const ProtobufCMessageDescriptor *descriptor);
/* "now", "+2h", "-30m", RFC 3339 or digits as ms since 2026-01-01 UTC. */
bool parse_moment(const char *text, int64_t *ms);

#endif
