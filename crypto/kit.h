/*
 * kit.h: what a region hands to a node it has admitted, as one file on a stick: the anchor, the node's number
 * and key number, and every directory update so far.
 *
 *   "cpd-kit 1\n"
 *   4 bytes length, text of region.pub
 *   4 bytes node number, 4 bytes key number, 4 bytes count of updates
 *   for each update: 4 bytes length, the SignedRecord as the authority signed it
 *   32 bytes BLAKE2b-256 over all before
 *
 * Numbers are big-endian. The hash is against half a copy and bad sticks, not against people: against those stand
 * the authority's signatures, and the anchor's fingerprint, which a person compares. No secret is in it.
 * Reading changes nothing; who installs calls kit_check first, then identity_install.
 * Called by cpctl.
 */
#ifndef CPD_CRYPTO_KIT_H
#define CPD_CRYPTO_KIT_H

#include "crypto/verify.h"

#define LIMIT_KIT (8 * 1024 * 1024) /* 4,500 nodes with groups stay below 2 MiB */
#define LIMIT_KIT_UPDATES 16384

struct kit {
	struct region_anchor anchor;
	uint32_t node, key_number;
	struct slice *updates;             /* owned; they lead into bytes */
	size_t update_count;
	uint8_t *bytes;                    /* owned: the whole file */
};

/* The file's bytes, malloc'ed. RANGE, TOO_LARGE, NOMEM. */
MUST_CHECK enum cpd_error kit_encode(const struct region_anchor *anchor, uint32_t node, uint32_t key_number,
    const struct slice *updates, size_t count, uint8_t **out, size_t *len);
/* Takes the malloc'ed bytes, on error too. TOO_LARGE, NOMEM, DAMAGED, VERSION, MALFORMED. */
MUST_CHECK enum cpd_error kit_decode(uint8_t *take_bytes, size_t len, struct kit *out);
/* RANGE, TOO_LARGE, NOMEM, IO. Durable when it returns OK: the stick may be pulled. */
MUST_CHECK enum cpd_error kit_write(const char *path, const struct region_anchor *anchor, uint32_t node,
    uint32_t key_number, const struct slice *updates, size_t count);
/* NOT_FOUND, IO, TOO_LARGE, NOMEM, DAMAGED (half a file, or changed), VERSION (a kit of a later version),
 * MALFORMED. *out is zero on error. */
MUST_CHECK enum cpd_error kit_read(const char *path, struct kit *out);
void kit_clear(struct kit *kit);
/* Every update is signed by the kit's anchor, and one certifies exactly this identity's keys under the
 * kit's node and key number. NOT_FOUND: no such certificate in it; CONFLICT: made for other keys (the
 * kit of another machine); REVOKED; and the errors of verify_directory_update. */
MUST_CHECK enum cpd_error kit_check(const struct kit *kit, const struct identity *identity);

#endif
