/* targets.h: the functions of all targets, for the table in targets.c. */
#ifndef CPD_TEST_FUZZ_TARGETS_H
#define CPD_TEST_FUZZ_TARGETS_H

#include "test/fuzz/fuzz.h"

#define FUZZ_TARGET(name) void run_##name(struct slice input); void seeds_##name(fuzz_add *add, void *context)
/* target_proto.c */
FUZZ_TARGET(wire);
FUZZ_TARGET(envelope);
FUZZ_TARGET(item);
FUZZ_TARGET(leaf);
FUZZ_TARGET(record);
FUZZ_TARGET(receipts);
FUZZ_TARGET(presence);
FUZZ_TARGET(directory);
FUZZ_TARGET(frame);
/* target_link.c, target_pair.c */
FUZZ_TARGET(link);
FUZZ_TARGET(pair);
/* target_body.c */
FUZZ_TARGET(body);
FUZZ_TARGET(json);
/* target_config.c */
FUZZ_TARGET(config);
FUZZ_TARGET(names);
/* target_crypto.c */
FUZZ_TARGET(verify);
FUZZ_TARGET(kit);
FUZZ_TARGET(anchor);
FUZZ_TARGET(request);
FUZZ_TARGET(identity);
FUZZ_TARGET(backup);
/* target_kit.c */
FUZZ_TARGET(sealed_kit);
/* target_courier.c */
FUZZ_TARGET(courier);
/* target_sealed.c */
FUZZ_TARGET(sealed);
/* target_store.c */
FUZZ_TARGET(rows);
FUZZ_TARGET(pages);
FUZZ_TARGET(salvage);
/* target_api.c */
FUZZ_TARGET(http);
#undef FUZZ_TARGET

#endif
