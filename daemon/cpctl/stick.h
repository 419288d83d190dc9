/*
 * stick.h: a file onto a stick, so that the stick may be pulled out at any moment: what is not whole never has its name.
 * Written beside its place, synced, read back, put in its place, the folder synced; and the stick's own
 * buffers at the end. Called by courier.c.
 */
#ifndef CPD_CPCTL_STICK_H
#define CPD_CPCTL_STICK_H

#include "proto/types.h"

/* Replaces or makes DIR/name. False: it is told what is wrong; what stood there stands there still. */
bool stick_write(const char *dir, const char *name, struct slice bytes);
/* Everything on the file system of DIR is on its medium. False: it is told; then it is not safe to pull it out. */
bool stick_sync(const char *dir);

#endif
