/* backup.h: what backup.c and restore.c share of backup files. */
#ifndef CPD_CPCTL_BACKUP_H
#define CPD_CPCTL_BACKUP_H

#include "crypto/backup.h"

/* Behind the name of a file: what is wrong with it, and the cure. */
const char *backup_problem(enum cpd_error error);
/* Reads all of it, with a bar that says `what`. False: told. */
bool backup_prove_file(int fd, const char *path, const char *what, struct backup_head *head, uint64_t *at, uint64_t *len);

#endif
