/*
 * api.h: the HTTP/JSON API on a Unix socket (docs/API.md), for cpctl and scripts.
 *
 * Runs on the loop thread over evhttp. It decides nothing: it asks and orders the node. Callers are
 * known by peer credentials. Called by main.c.
 */
#ifndef CPD_API_H
#define CPD_API_H

#include <event2/event.h>

#include "daemon/node.h"

struct api;
/* problem: a sentence for the operator with the cure. */
MUST_CHECK enum cpd_error api_open(struct event_base *base, struct node *node, const struct config *config,
    struct api **out, char problem[256]);
/* Ends every connection; callers whose order is still on its way get no answer. */
void api_close(struct api *api);

#endif
