/*
 * credentials.h: who is at the other end of a Unix socket, and who we are. Apart from api.c because <grp.h> and
 * proto/directory.h both have a struct group.
 */
#ifndef CPD_CREDENTIALS_H
#define CPD_CREDENTIALS_H

#include <stdbool.h>
#include <sys/types.h>

/* False: there is no such group. */
bool credentials_group(const char *name, gid_t *out);
/* Is the peer of this connected socket root, our own user, or (with has_group) in the group? */
bool credentials_allow(int fd, bool has_group, gid_t group);
/* Root becomes the owner of the folder, for good; true also when there is nothing to do: we are not root, it is root's,
 * or it is not there. false: errno tells why, and nothing may be assumed of who we are. */
bool credentials_become_owner(const char *folder);

#endif
