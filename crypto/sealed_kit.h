/*
 * sealed_kit.h: a kit with a node's keys in it, made on the authority's machine, that only a code opens (crypto/code.h).
 *
 *   "cpd-sealed-kit 1\n"
 *   4 bytes node number, 4 bytes passes, 4 bytes KiB of memory: what a code costs, Argon2id
 *   16 bytes salt
 *   2 slots of 72 bytes: nonce (24), the content's key sealed by a code (48)
 *   24 bytes nonce, the content sealed by that key
 *   32 bytes BLAKE2b-256 over all before
 *
 *   content: signing seed, sealing secret, transport secret (32 bytes each); 4 bytes count, and as many times 4 bytes:
 *            the numbers of the CPs that it is to call, the best first; the kit as kit.h has it
 *
 * Numbers are big-endian. The seal is XChaCha20-Poly1305; a slot's associated data are the bytes before the slots and one byte, the
 * slot's number; the content's are all bytes before its nonce. The first slot is the code of the enrolled volunteer, the
 * second the one in the closed envelope: who opens learns by which. The hash is against half a copy, as in kit.h.
 *
 * Who holds the file and a code is the node. Nothing here can see whether the kit was opened before.
 * Called by cpctl.
 */
#ifndef CPD_CRYPTO_SEALED_KIT_H
#define CPD_CRYPTO_SEALED_KIT_H

#include "crypto/code.h"
#include "crypto/kit.h"

#define SEALED_KIT_MARK_MAX 10         /* "1f3a 77c0", NUL */

enum kit_slot { KIT_SLOT_VOLUNTEER, KIT_SLOT_EMERGENCY, KIT_SLOTS };

/* What a code costs to try. The memory must be there on a Raspberry Pi that does other work too. */
struct kit_cost { uint32_t passes, memory_kib; };
extern const struct kit_cost kit_cost_usual;

/* What stands in a sealed kit besides the kit. */
struct sealed_part {
	enum kit_slot slot;                /* whose code opened it */
	struct identity *identity;         /* owned; of no folder yet */
	uint32_t homes[LIMIT_HOMES];
	size_t home_count;
};

/* The whole file, malloc'ed. The updates hold the identity's certificate as this node and key. RANGE, TOO_LARGE, NOMEM. */
MUST_CHECK enum cpd_error sealed_kit_seal(const struct kit *kit, const struct sealed_part *part, const struct code codes[KIT_SLOTS],
    struct kit_cost cost, uint8_t **out, size_t *len);
/* BAD_SIGNATURE: not one of its codes, or the seal was changed. DAMAGED, VERSION, MALFORMED, RANGE (it asks for more than 256 MiB
 * or 16 passes), NOMEM. Both are zero on error; else the caller clears both. */
MUST_CHECK enum cpd_error sealed_kit_open(struct slice file, const struct code *code, struct kit *kit, struct sealed_part *part);
/* The content that a code opened: homes, kit and keys; the slot is not in it. MALFORMED, NOMEM and the errors of kit_decode; then both hold
 * what is still to be cleared. */
MUST_CHECK enum cpd_error sealed_kit_content(struct slice content, struct kit *kit, struct sealed_part *part);
void sealed_part_clear(struct sealed_part *part);

/* The file, malloc'ed, proved whole. *node: whose it is, as far as the outside tells. NOT_FOUND, IO, TOO_LARGE, NOMEM, DAMAGED, VERSION;
 * STATE: it is no sealed kit at all, perhaps one without keys. */
MUST_CHECK enum cpd_error sealed_kit_load(const char *path, uint8_t **out, size_t *len, uint32_t *node);
/* By which people see that stick and sheet are of each other: the first 4 bytes of its hash. Returns out. */
const char *sealed_kit_mark(struct slice file, char out[SEALED_KIT_MARK_MAX]);

#endif
