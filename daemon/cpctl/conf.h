/*
 * conf.h: a first cpd.conf for a node that was just installed: what its kit tells is filled in, the rest
 * stands there as remarks. Only makes the text. Called by node.c.
 */
#ifndef CPD_CPCTL_CONF_H
#define CPD_CPCTL_CONF_H

#include "proto/directory.h"

/* malloc'ed; NULL: memory. `state` is the absolute path of the state folder. */
char *conf_make(const struct certificate *own, const struct directory *directory, const char *state);

#endif
