/* targets.c: the table of all targets. */
#include "test/fuzz/targets.h"

#include "proto/limits.h"

#define TARGET(name, max_len, is_slow) { #name, max_len, run_##name, seeds_##name, is_slow }

const struct fuzz_target fuzz_targets[] = {
	TARGET(wire, 4096, false),
	TARGET(envelope, LIMIT_ENVELOPE + 64, false),
	TARGET(item, LIMIT_ITEM + 64, false),
	TARGET(leaf, LIMIT_ITEM + 64, false),
	TARGET(record, LIMIT_DIRECTORY_UPDATE + 64, false),
	TARGET(receipts, LIMIT_RECEIPTS + 64, false),
	TARGET(presence, LIMIT_PRESENCE + 64, false),
	TARGET(directory, 8192, false),
	TARGET(frame, LIMIT_FRAME + 64, false),
	TARGET(link, 1024, false),
	TARGET(pair, 1024, false),
	TARGET(body, LIMIT_BODY + 64, false),
	TARGET(json, LIMIT_BODY, false),
	TARGET(config, 4096, false),
	TARGET(names, 512, false),
	TARGET(verify, LIMIT_ENVELOPE, false),
	TARGET(kit, 20000, true),
	TARGET(anchor, LIMIT_NAME + 512, false),
	TARGET(request, LIMIT_CERTIFICATE + 64, false),
	TARGET(identity, 2048, true),
	TARGET(backup, 2048, false),
	TARGET(sealed_kit, 4096, false),
	TARGET(courier, 4096, false),
	TARGET(sealed, 8192, false),
	TARGET(rows, 4096, false),
	TARGET(pages, 256, true),
	TARGET(salvage, 256, true),
	TARGET(http, 8192, true),
	{ NULL, 0, NULL, NULL, false },
};
