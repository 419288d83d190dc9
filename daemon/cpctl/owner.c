/* owner.c: see owner.h. */
#include "daemon/cpctl/owner.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/cpctl/cpctl.h"
#include "daemon/cpctl/file.h"

static bool is_of_another(const char *folder, struct stat *status)
{
	return !getuid() && !stat(folder, status) && status->st_uid != 0;
}

bool owner_make_folder(const char *folder)
{
	const struct passwd *user;

	if (file_exists(folder))
		return true;
	user = getuid() ? NULL : getpwnam("cpd");
	if (!file_make_folder(folder, 0700))
		return false;
	if (!user || !chown(folder, user->pw_uid, user->pw_gid))
		return true;
	say_refused("%s: cannot be made cpd's: %s", folder, strerror(errno));
	return false;
}

bool owner_become(const char *folder)
{
	struct stat status;

	if (!is_of_another(folder, &status))
		return true;
	if (!setgroups(0, NULL) && !setegid(status.st_gid) && !seteuid(status.st_uid))
		return true;
	say_refused("%s: cannot act as its owner (user %u): %s", folder, (unsigned)status.st_uid, strerror(errno));
	return false;
}

bool owner_leave(void)
{
	if (!seteuid(getuid()) && !setegid(getgid()))
		return true;
	say_refused("cannot act as the caller again: %s", strerror(errno));
	return false;
}

const char *owner_group(const char *folder)
{
	struct stat status;
	const struct group *group = NULL;

	if (is_of_another(folder, &status) && status.st_gid != 0)
		group = getgrgid(status.st_gid);
	return group ? group->gr_name : NULL;
}
