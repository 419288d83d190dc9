/*
 * doctor.h: the findings of `cpctl doctor`: one a line, good, to look at, or wrong, with the cure. doctor.c asks the
 * daemon, doctor_local.c looks at this machine. Included by those only.
 */
#ifndef CPD_CPCTL_DOCTOR_H
#define CPD_CPCTL_DOCTOR_H

#include <jansson.h>

#include "daemon/cpctl/cpctl.h"
#include "daemon/cpctl/file.h"

enum finding { FINDING_OK, FINDING_WARN, FINDING_FAIL };

struct doctor {
	json_t *list;                    /* of {"name", "state", "text", "cure"} */
	size_t count[3];
	const char *conf;
	char state[FILE_PATH_MAX], identity[FILE_PATH_MAX], store[FILE_PATH_MAX];
	int64_t number;                  /* by the configuration; 0: not known */
	bool has_folders;
};

/* cure: "" when it is good. */
__attribute__((format(printf, 5, 6))) void doctor_add(struct doctor *doctor, enum finding finding, const char *name, const char *cure, const char *format, ...);

/* doctor_local.c */
void doctor_config(struct doctor *doctor, struct call *call);
void doctor_machine(struct doctor *doctor);
void doctor_disk(struct doctor *doctor);
/* Keys, and as far as the daemon does not tell it the certificate in STATE/updates. */
void doctor_keys(struct doctor *doctor, bool with_certificate);

#endif
