/*
 * verified.h: what was signed by whom it says. Only crypto/verify.c makes these (the simulator has a
 * maker of its own under test/sim; `make layers` proves there is no other). The relay accepts nothing
 * else.
 */
#ifndef CPD_PROTO_VERIFIED_H
#define CPD_PROTO_VERIFIED_H

#include "proto/directory.h"
#include "proto/message.h"
#include "proto/presence.h"
#include "proto/receipt.h"

struct verified_message {
	struct message message;     /* leads into storage owned by whoever holds the bytes */
	struct hash8 hash;
	bool is_suspect;            /* signed after the last trusted sequence of a revoked key: shown as such */
};
struct verified_receipts {
	struct receipts receipts;
	struct slice bytes;         /* SignedRecord as it came */
	bool is_suspect;
};
struct verified_presence {
	struct presence presence;
	struct slice bytes;
};
#endif
