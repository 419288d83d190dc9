/*
 * directory.h: who is who: certificates, groups and revocations, built from numbered updates.
 *
 * A plain lookup structure. It never checks a signature: only crypto/verify.c may hand it an update
 * that came from outside (directory_apply takes a struct directory_update that was decoded from
 * verified bytes). Called by crypto/ (keys of a signer), daemon/relay (roles, groups) and daemon/.
 */
#ifndef CPD_PROTO_DIRECTORY_H
#define CPD_PROTO_DIRECTORY_H

#include "proto/message.h"

struct certificate {
	uint32_t node;
	enum node_role role;
	char name[LIMIT_NAME + 1];
	uint8_t signing_key[32], sealing_key[32], transport_key[32];
	uint32_t key_number;
	uint32_t not_before_s, not_after_s;        /* 0: none */
	char municipality[8], region[8];           /* "GM0344", "VR09" or "" */
	int32_t latitude_e5, longitude_e5;         /* 0,0: none */
	char address[LIMIT_ADDRESS + 1];
	message_kind kinds[32];                    /* explicit allowance */
	size_t kind_count;                         /* 0: those of the role (proto/kind.h) */
	uint32_t update;                           /* directory number it came in; filled by apply */
};

struct revocation {
	uint32_t node, key_number;
	uint32_t last_epoch;
	uint64_t last_sequence;
	char reason[LIMIT_NAME + 1];
};

/* Of a person who releases at a node; never a name. */
struct function_certificate {
	uint32_t number, node;
	char function[LIMIT_FUNCTION + 1];
	uint8_t signing_key[32];
	uint32_t not_after_s;                      /* 0: none */
	bool is_revoked;
};

struct group {
	uint32_t number, version;
	char name[LIMIT_NAME + 1];
	uint32_t *members;                         /* owned by the holder of the struct */
	size_t member_count;
};

/* A decoded DirectoryUpdate; owns its arrays. */
struct directory_update {
	uint32_t number, created_s;
	struct certificate *certificates; size_t certificate_count;
	struct revocation *revocations; size_t revocation_count;
	struct group *groups; size_t group_count;
	struct function_certificate *functions; size_t function_count;
};

MUST_CHECK enum cpd_error directory_update_decode(struct slice signed_bytes, struct directory_update *out);
/* buf holds LIMIT_DIRECTORY_UPDATE. */
MUST_CHECK enum cpd_error directory_update_encode(const struct directory_update *update, uint8_t *buf, size_t *len);
void directory_update_clear(struct directory_update *update);

struct directory;
struct directory *directory_new(void);             /* NULL: no memory */
void directory_free(struct directory *directory);

/* Applies one update. Updates may come out of order (an introduction brings one ahead): each is
 * applied at once; directory_version is the highest number below which none is missing. Of two
 * words on one key or one group version, that of the higher update holds, whichever came first.
 * EXISTS when that number is held; BUSY when more than LIMIT_DIRECTORY_AHEAD are held ahead; RANGE
 * for number 0 or one thing twice; NOMEM. On error nothing has changed. */
MUST_CHECK enum cpd_error directory_apply(struct directory *directory, const struct directory_update *update);
uint32_t directory_version(const struct directory *directory);
bool directory_holds(const struct directory *directory, uint32_t number);
/* created_s of the newest update held: the latest authority-signed time. */
uint32_t directory_latest_time_s(const struct directory *directory);

/* Newest certificate of a node, or the one with this key number (old ones stay). NULL: not held.
 * Valid until the next directory_apply. */
const struct certificate *directory_certificate(const struct directory *directory, uint32_t node);
const struct certificate *directory_certificate_key(const struct directory *directory, uint32_t node, uint32_t key_number);
/* Only the newest key number of a node that is not revoked; so a link follows a change of keys at once. */
const struct certificate *directory_by_transport_key(const struct directory *directory, const uint8_t key[32]);
/* Iterates the newest certificates in node order: the first whose node number is > after. */
const struct certificate *directory_next(const struct directory *directory, uint32_t after);
/* NULL: not revoked. */
const struct revocation *directory_revocation(const struct directory *directory, uint32_t node, uint32_t key_number);
/* A transport key of a certificate that is revoked: known, and wanted nowhere. */
bool directory_transport_key_is_revoked(const struct directory *directory, const uint8_t key[32]);
/* Beyond the line that the revocation draws, so not trusted: with no last epoch all that the key signed. */
bool revocation_covers(const struct revocation *revocation, const struct message_id *id);
/* A message held whose origin's key was revoked, this id beyond the line: "verdacht: na intrekking". Also what came
 * in before the revocation did, and what a function revoked since has released, so whoever shows or counts a message asks here, and not only what was noted then. */
bool directory_doubts(const struct directory *directory, const struct message *message);
/* Number of the lowest update above `after` in which a revocation came that still counts; 0: none. Ahead of the
 * version too: a revocation waits for no gap. */
uint32_t directory_revoking(const struct directory *directory, uint32_t after);
/* Lowest number above `after` that is missing though a higher one is held; 0: none. */
uint32_t directory_missing(const struct directory *directory, uint32_t after);
/* NULL: not held. */
const struct function_certificate *directory_function(const struct directory *directory, uint32_t number);
const struct function_certificate *directory_next_function(const struct directory *directory, uint32_t after);
/* version 0: the newest. NULL: not held. */
const struct group *directory_group(const struct directory *directory, uint32_t number, uint32_t version);
const struct group *directory_next_group(const struct directory *directory, uint32_t after); /* newest versions */

/* Opens the destinations of a header into recipients, ascending, without repeats. `out` holds
 * LIMIT_RECIPIENTS. UNKNOWN_GROUP when a group version is not held, and for version 0: the origin
 * names the version; TOO_LARGE. */
MUST_CHECK enum cpd_error directory_recipients(const struct directory *directory, const struct header *header,
    uint32_t *out, size_t *count);
/* May a node with this certificate author this kind? Explicit kinds decide alone; else those of the
 * role, and unknown kinds: yes (an addressee decides). */
bool certificate_allows(const struct certificate *certificate, message_kind kind);
/* May this kind be addressed to this node? By the role of its newest certificate; yes for an unknown kind, and for a
 * node without a certificate here. Asked by the author of all it addresses, and by each addressee of itself; a relay
 * does not ask, since its directory may be older than theirs. */
bool directory_may_address(const struct directory *directory, message_kind kind, uint32_t node);

#endif
