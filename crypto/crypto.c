/* crypto.c: see crypto.h. */
#include "crypto/crypto.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/*
 * The neutral point as key and as R, with S = 0, satisfies the equation for every message. A libsodium
 * that takes it was built with ED25519_COMPAT and also takes S + L: every dedup and every
 * small-order rule of ours would rest on sand.
 */
static bool takes_small_order(void)
{
	static const uint8_t message[1] = { 0 };
	uint8_t neutral[32] = { 1 }, signature[64] = { 1 };

	return crypto_sign_verify_detached(signature, message, sizeof(message), neutral) == 0;
}

enum cpd_error crypto_start(void)
{
	if (sodium_init() < 0)
		return CPD_ERR_IO;
	return takes_small_order() ? CPD_ERR_IO : CPD_OK;
}

void crypto_digest(uint8_t *out, size_t out_len, const uint8_t *data, size_t len)
{
	/* Fails only for an out_len outside 16..64, which no peer chooses. */
	if (crypto_generichash(out, out_len, data, len, NULL, 0) != 0)
		abort();
}

struct hash8 crypto_hash8(struct slice signed_bytes)
{
	struct hash8 hash;
	uint8_t whole[32];

	crypto_digest(whole, sizeof(whole), signed_bytes.data, signed_bytes.len);
	memcpy(hash.bytes, whole, sizeof(hash.bytes));
	return hash;
}

void crypto_random(uint8_t *out, size_t len)
{
	randombytes_buf(out, len);
}

uint32_t crypto_random_below(uint32_t bound)
{
	return randombytes_uniform(bound);
}

void crypto_wipe(void *data, size_t len)
{
	sodium_memzero(data, len);
}
