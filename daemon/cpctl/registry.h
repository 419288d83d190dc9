/*
 * registry.h: a region's folder on the off-line machine of its authority:
 *
 *   authority.key, region.pub       crypto/identity.h
 *   updates/NNNNNN.update           every directory update signed so far, from 000001 on without a gap
 *   kits/N.kit                      what node N is handed
 *
 * Signs what it is told to; a person has compared the fingerprints. An update that stands there is never
 * written again: nodes hold it. Errors are told on stderr. Called by region.c.
 */
#ifndef CPD_CPCTL_REGISTRY_H
#define CPD_CPCTL_REGISTRY_H

#include "crypto/kit.h"
#include "crypto/region.h"
#include "daemon/cpctl/file.h"

struct registry {
	const char *dir;                 /* borrowed */
	struct region_anchor anchor;
	struct authority *authority;     /* NULL: its passphrase was not needed yet */
	struct directory *directory;     /* all updates applied */
	struct slice *updates;           /* owned, and the bytes they lead to */
	size_t update_count, room;
};

/* Locks the folder and reads all of it; every update's signature is checked. False: told. */
bool registry_open(struct registry *registry, const char *dir);
void registry_close(struct registry *registry);
/* The authority's key, for a while: asks for the passphrase when it is sealed. NULL: told. */
struct authority *registry_unlock(const char *dir);
/* Fills number and time, signs (asks for the passphrase, once), makes it durable, applies it. False: told, and nothing is written. */
bool registry_sign(struct registry *registry, struct directory_update *update);
/* Writes kits/N.kit with every update so far. path: where. */
bool registry_write_kit(struct registry *registry, const struct certificate *certificate, char path[FILE_PATH_MAX]);

#endif
