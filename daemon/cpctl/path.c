/* path.c: see path.h. */
#include "daemon/cpctl/path.h"

#include <stdio.h>

#include "proto/types.h"

bool message_path(const struct call *call, const char *id, const char *act, char out[MESSAGE_PATH_MAX])
{
	struct message_id parsed;

	if (message_id_parse(id, &parsed)) {
		say_usage(call, "\"%s\" is not a message id; write it like 344003/2/118", id);
		return false;
	}
	snprintf(out, MESSAGE_PATH_MAX, "/v1/messages/%s%s%s", id, act ? "/" : "", act ? act : "");
	return true;
}
