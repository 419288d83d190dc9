#include "daemon/credentials.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

bool credentials_group(const char *name, gid_t *out)
{
	struct group *group = getgrnam(name);

	if (group)
		*out = group->gr_gid;
	return group != NULL;
}

bool credentials_allow(int fd, bool has_group, gid_t group)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	gid_t groups[64];
	socklen_t groups_size = sizeof(groups);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
		return false;
	if (peer.uid == 0 || peer.uid == geteuid())
		return true;
	if (!has_group)
		return false;
	if (peer.gid == group)
		return true;
	if (!getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &groups_size))
		for (size_t i = 0; i < groups_size / sizeof(gid_t); i++)
			if (groups[i] == group)
				return true;
	return false;
}

bool credentials_become_owner(const char *folder)
{
	struct stat status;

	if (getuid() || stat(folder, &status) || !status.st_uid)
		return true;
	return !setgroups(0, NULL) && !setgid(status.st_gid) && !setuid(status.st_uid);
}
