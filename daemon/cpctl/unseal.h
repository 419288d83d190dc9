/*
 * unseal.h: opens a kit with keys in it: asks for its code, tells a slip of the fingers, and which kit it is. Called by node.c.
 */
#ifndef CPD_CPCTL_UNSEAL_H
#define CPD_CPCTL_UNSEAL_H

#include "crypto/sealed_kit.h"

enum unsealed {
	UNSEAL_DONE,       /* kit and part are the caller's to clear */
	UNSEAL_OTHER,      /* no sealed kit: kit_read tells what it is */
	UNSEAL_REFUSED     /* told */
};
enum unsealed unseal(const char *path, struct kit *kit, struct sealed_part *part);

#endif
