/* path.h: a message id as a person typed it, put into a path of the API. Called by the verbs on one message. */
#ifndef CPD_CPCTL_PATH_H
#define CPD_CPCTL_PATH_H

#include "daemon/cpctl/cpctl.h"

#define MESSAGE_PATH_MAX 96

/* "/v1/messages/ID" and "/act" when act is not NULL. False: the usage error is told. */
bool message_path(const struct call *call, const char *id, const char *act, char out[MESSAGE_PATH_MAX]);

#endif
