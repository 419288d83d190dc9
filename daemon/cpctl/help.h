/* help.h: what --help prints: all verbs, a family of them, or one. From the table alone. Called by main.c. */
#ifndef CPD_CPCTL_HELP_H
#define CPD_CPCTL_HELP_H

#include "daemon/cpctl/cpctl.h"

#define SOCKET_DEFAULT "/run/cpd/api.sock"

void help_all(void);
/* "region": the verbs that begin with it. */
void help_family(const char *family);
/* One verb: its words, options, examples, and the verbs of two words that begin with it. */
int help_verb(struct call *call);

#endif
