/*
 * verbs.h: the table of all verbs. Help, completion and the manual are held against it. Read by main.c
 * and help.c.
 */
#ifndef CPD_CPCTL_VERBS_H
#define CPD_CPCTL_VERBS_H

#include "daemon/cpctl/cpctl.h"

/* Ends with a row whose name is NULL. A family ("region") stands together. */
extern const struct verb verbs[];

#endif
