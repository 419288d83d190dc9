/* unseal.c: see unseal.h. */
#include "daemon/cpctl/unseal.h"

#include <stdio.h>
#include <stdlib.h>

#include "daemon/cpctl/cpctl.h"
#include "daemon/cpctl/file.h"
#include "daemon/cpctl/passphrase.h"

#define TRIES 5 /* slips of the fingers: each is told with its group */

/* BAD_SIGNATURE: told, and it may be typed again. */
static enum cpd_error try_code(const char *path, struct slice file, struct slice typed, uint32_t node, struct kit *kit, struct sealed_part *part)
{
	struct code code;
	unsigned slip = code_parse(typed, &code);
	enum cpd_error error = CPD_ERR_BAD_SIGNATURE;

	if (slip > CODE_GROUPS) {
		say_refused("a code has %d groups of %d letters and digits, as on the sheet: 7K3MV-QWXE9-...", CODE_GROUPS, CODE_GROUP_SIGNS);
		return error;
	}
	if (slip) {
		say_refused("group %u of the code has a slip in it: look at the sheet again", slip);
		return error;
	}
	error = sealed_kit_open(file, &code, kit, part);
	crypto_wipe(&code, sizeof(code));
	if (error == CPD_ERR_BAD_SIGNATURE)
		say_refused("this code is not that of this kit, which is of node %u: take the sheet of that node, of the same day", node);
	else if (error == CPD_ERR_NOMEM)
		say_refused("%s takes 64 MiB of memory to open, which are not there: close other programs", path);
	else if (error)
		say_refused("%s opens, but is not good (%s): ask the region for another; nothing was changed", path, cpd_error_text(error));
	return error;
}

enum unsealed unseal(const char *path, struct kit *kit, struct sealed_part *part)
{
	char mark[SEALED_KIT_MARK_MAX];
	uint32_t node;
	uint8_t *file;
	size_t len;
	enum cpd_error error = sealed_kit_load(path, &file, &len, &node);

	if (error == CPD_ERR_STATE)
		return UNSEAL_OTHER;
	if (error) {
		say_crypto(path, error);
		return UNSEAL_REFUSED;
	}
	fprintf(stderr, "Kit of node %u, mark %s: the sheet tells the same.\n", node, sealed_kit_mark((struct slice){ file, len }, mark));
	error = CPD_ERR_BAD_SIGNATURE;
	for (int tries = 0; tries < TRIES && error == CPD_ERR_BAD_SIGNATURE; tries++) {
		struct passphrase typed;

		if (!passphrase_ask_code("Code", &typed))
			break;
		error = try_code(path, (struct slice){ file, len }, passphrase_slice(&typed), node, kit, part);
		passphrase_wipe(&typed);
		if (passphrase_code_is_given())
			break;
	}
	free(file);
	return error ? UNSEAL_REFUSED : UNSEAL_DONE;
}
