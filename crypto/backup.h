/*
 * backup.h: the form of a backup file: a node's store at one moment, with its origin and a sum.
 *
 *   "cpd-backup 1\n"                         and lines "name value\n": network, region, node, epoch, schema, made, version
 *   "\n"
 *   the bytes of a data.mdb                  compact copy of the store
 *   8 bytes length of those, big-endian; 32 bytes BLAKE2b-256 over all before
 *
 * No key is in it. The sum is against half a copy and bad sticks, not against people: what is in the store
 * carries its own signatures. The daemon makes it as it goes out; cpctl proves it before and after.
 */
#ifndef CPD_CRYPTO_BACKUP_H
#define CPD_CRYPTO_BACKUP_H

#include "crypto/crypto.h"

#define BACKUP_TAIL 40
#define BACKUP_HEAD_MAX 512

struct backup_head {
	char network[33], region[8];
	uint32_t node, epoch, schema;
	char made[24];                   /* RFC 3339 in UTC, of the node's clock */
	char version[24];                /* of the cpd that made it */
};

/* ---- making: head, then every piece of the data in order, then the tail */
struct backup_sum;
/* Fills the head's bytes into out (BACKUP_HEAD_MAX). NULL: no memory. */
struct backup_sum *backup_begin(const struct backup_head *head, uint8_t *out, size_t *len);
void backup_add(struct backup_sum *sum, const uint8_t *data, size_t len);
/* Takes the sum. */
void backup_end(struct backup_sum *take_sum, uint8_t tail[BACKUP_TAIL]);
void backup_sum_free(struct backup_sum *sum);    /* NULL is fine */

/* ---- reading: proves a whole file from its beginning */
typedef void backup_progress(void *context, uint64_t done, uint64_t of);
/* fd: a regular file; it is read from its beginning. *at and *len: where the data stands in it. IO,
 * MALFORMED (no backup), VERSION (of a later cpd), DAMAGED (half a file, or changed). progress may be NULL. */
MUST_CHECK enum cpd_error backup_prove(int fd, struct backup_head *head, uint64_t *at, uint64_t *len,
    backup_progress *progress, void *context);

#endif
