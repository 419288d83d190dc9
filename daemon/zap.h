/*
 * zap.h: ZeroMQ's authentication (RFC 27): every CURVE key that knocks is asked about here. Without a
 * live handler libzmq admits any key: the bearer binds this before anything else and proves it.
 * It decides nothing itself. Called by the bearer only.
 */
#ifndef CPD_ZAP_H
#define CPD_ZAP_H

#include <event2/event.h>

#include "proto/types.h"

#define ZAP_DOMAIN "cpd"
#define ZAP_USER_ID 80

enum zap_verdict { ZAP_ADMIT = 200, ZAP_LATER = 300, ZAP_REFUSE = 400 };
/* ADMIT: user_id is filled in; it comes back with every message as "User-Id" and is never sent. */
typedef enum zap_verdict zap_decide(void *context, const uint8_t key[32], char user_id[ZAP_USER_ID]);

struct zap;
/* IO: the address is taken in this context. */
MUST_CHECK enum cpd_error zap_open(void *zmq, struct event_base *base, zap_decide *decide, void *context, struct zap **out);
void zap_close(struct zap *zap);
/* For the self-test, before the loop runs: answers what waits. */
void zap_serve(struct zap *zap);
void *zap_socket(struct zap *zap);

#endif
