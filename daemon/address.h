/*
 * address.h: numeric transport addresses: tcp://192.0.2.1:5600, tcp://[2001:db8::1]:5600. Names are never looked
 * up: a resolver blocks its thread, and in a crisis it is gone. Called by config.c and bearer_zmq.c.
 */
#ifndef CPD_ADDRESS_H
#define CPD_ADDRESS_H

#include <sys/socket.h>

#include "proto/types.h"

struct address { struct sockaddr_storage storage; socklen_t len; };
/* USAGE; *why then says what is wrong and what to write (static). Port 0 is accepted. */
MUST_CHECK enum cpd_error address_parse(const char *text, struct address *out, const char **why);
uint16_t address_port(const struct address *address);

#endif
