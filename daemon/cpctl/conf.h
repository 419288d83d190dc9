/*
 * conf.h: a first cpd.conf for a node that was just installed: what its kit tells is filled in, the rest
 * stands there as remarks. Only makes the text. Called by node.c.
 */
#ifndef CPD_CPCTL_CONF_H
#define CPD_CPCTL_CONF_H

#include "proto/directory.h"

/* malloc'ed; NULL: memory. `state` is the absolute path of the state folder, `group` that of who may use the API;
 * NULL: only the daemon's user and root, and the setting stands there as a remark. `homes`: the CPs that it is to call,
 * the best first; none: those of the directory. */
char *conf_make(const struct certificate *own, const struct directory *directory, const char *state, const char *group,
    const uint32_t *homes, size_t home_count);

#endif
