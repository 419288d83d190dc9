/*
 * owner.h: root prepares a state folder that the daemon's own user must own. What cpctl writes in there it
 * writes as the folder's owner: so the files are the daemon's, and a link that was put there leads root
 * nowhere. Does nothing for who is not root, or where the folder is root's. Called by the verbs of `node`.
 */
#ifndef CPD_CPCTL_OWNER_H
#define CPD_CPCTL_OWNER_H

#include <stdbool.h>

/* Makes the folder (0700) when it is absent; root makes it the daemon's own user's (cpd), where that is there. False: told. */
bool owner_make_folder(const char *folder);
/* From here on this process acts as the owner of the folder; false when that fails, which is told. */
bool owner_become(const char *folder);
/* Acts as who called cpctl again; false when that fails, which is told. */
bool owner_leave(void);
/* The name of the group of the folder, when that is not root's and the folder's owner would be acted as;
 * else NULL. Borrowed until the next call. */
const char *owner_group(const char *folder);

#endif
