/* seal.c: see seal.h. */
#include "crypto/seal.h"

#include <sodium.h>
#include <string.h>

#include "crypto/secret.h"

#define KEY_LEN crypto_aead_xchacha20poly1305_ietf_KEYBYTES

_Static_assert(KEY_LEN == 32 && SEALED_KEY_LEN == KEY_LEN + crypto_aead_xchacha20poly1305_ietf_ABYTES, "content key");
_Static_assert(SEALED_TAG_LEN == crypto_aead_xchacha20poly1305_ietf_ABYTES && SEALED_EPHEMERAL_LEN == crypto_scalarmult_BYTES, "seal");

/* Zeros: no key here ever seals two things. */
static const uint8_t nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];

/* The key that only the two who know `shared` have, for this reader in this part. */
static void reader_key(const uint8_t shared[32], const uint8_t ephemeral[32], const uint8_t sealing_key[32],
    const struct sealed_reader *reader, uint8_t key[32])
{
	static const char purpose[] = "cpd/1/sealed-key";
	crypto_generichash_state state;
	uint8_t who[8];

	for (int i = 0; i < 4; i++) {
		who[i] = (uint8_t)(reader->node >> (24 - 8 * i));
		who[4 + i] = (uint8_t)(reader->key_number >> (24 - 8 * i));
	}
	crypto_generichash_init(&state, NULL, 0, 32);
	crypto_generichash_update(&state, (const uint8_t *)purpose, sizeof(purpose));
	crypto_generichash_update(&state, shared, 32);
	crypto_generichash_update(&state, ephemeral, 32);
	crypto_generichash_update(&state, sealing_key, 32);
	crypto_generichash_update(&state, who, sizeof(who));
	crypto_generichash_final(&state, key, 32);
	sodium_memzero(&state, sizeof(state));
}

static enum cpd_error seal_keys(const struct sealed_part *part, const struct certificate *const *readers, const uint8_t content_key[32],
    const uint8_t ephemeral_secret[32], struct slice bound, uint8_t *keys)
{
	uint8_t shared[32], key[32];

	for (size_t i = 0; i < part->reader_count; i++) {
		if (crypto_scalarmult(shared, ephemeral_secret, readers[i]->sealing_key))
			return CPD_ERR_RANGE;   /* of small order: nobody has its secret, and all know what is shared */
		reader_key(shared, part->ephemeral, readers[i]->sealing_key, &part->readers[i], key);
		crypto_aead_xchacha20poly1305_ietf_encrypt(keys + i * SEALED_KEY_LEN, NULL, content_key, KEY_LEN, bound.data, bound.len, NULL, nonce, key);
	}
	sodium_memzero(shared, sizeof(shared));
	sodium_memzero(key, sizeof(key));
	return CPD_OK;
}

enum cpd_error seal_part_with(const struct header *header, const char *network, uint32_t audience,
    const struct certificate *const *readers, size_t reader_count, struct slice content, const uint8_t content_key[32],
    const uint8_t ephemeral_secret[32], uint8_t *buf, size_t *len)
{
	uint8_t bound[LIMIT_SEALED_BOUND], keys[LIMIT_SEALED_READERS * SEALED_KEY_LEN];
	uint8_t plain[LIMIT_SEALED_CONTENT + SEALED_BLOCK], sealed[sizeof(plain) + SEALED_TAG_LEN];
	struct sealed_part part = { .audience = audience, .reader_count = reader_count };
	size_t bound_len, plain_len;
	enum cpd_error error;

	*len = 0;
	if (content.len > LIMIT_SEALED_CONTENT || reader_count > LIMIT_SEALED_READERS)
		return CPD_ERR_TOO_LARGE;
	for (size_t i = 0; i < reader_count; i++)
		part.readers[i] = (struct sealed_reader){ readers[i]->node, readers[i]->key_number };
	crypto_scalarmult_base(part.ephemeral, ephemeral_secret);
	error = sealed_part_bound(&part, header, network, bound, &bound_len);
	if (!error)
		error = seal_keys(&part, readers, content_key, ephemeral_secret, (struct slice){ bound, bound_len }, keys);
	if (error)
		return error;
	if (content.len)
		memcpy(plain, content.data, content.len);
	/* Fails only where the buffer is too small for the longest content: it is not. */
	if (sodium_pad(&plain_len, plain, content.len, SEALED_BLOCK, sizeof(plain)))
		return CPD_ERR_TOO_LARGE;
	crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, NULL, plain, plain_len, bound, bound_len, NULL, nonce, content_key);
	sodium_memzero(plain, sizeof(plain));
	part.keys = (struct slice){ keys, reader_count * SEALED_KEY_LEN };
	part.content = (struct slice){ sealed, plain_len + SEALED_TAG_LEN };
	return sealed_part_encode(&part, buf, len);
}

enum cpd_error seal_part(const struct header *header, const char *network, uint32_t audience,
    const struct certificate *const *readers, size_t reader_count, struct slice content, uint8_t content_key[32], uint8_t *buf, size_t *len)
{
	uint8_t ephemeral_secret[32];
	enum cpd_error error;

	randombytes_buf(content_key, KEY_LEN);
	randombytes_buf(ephemeral_secret, sizeof(ephemeral_secret));
	error = seal_part_with(header, network, audience, readers, reader_count, content, content_key, ephemeral_secret, buf, len);
	sodium_memzero(ephemeral_secret, sizeof(ephemeral_secret));
	return error;
}

/* ---------------------------------------------------------------- opening */

enum cpd_error seal_open_key(const struct identity *identity, const struct header *header, const struct sealed_part *part, uint8_t key[32])
{
	const size_t place = sealed_part_reader(part, identity_node(identity));
	uint8_t bound[LIMIT_SEALED_BOUND], shared[32], own_key[32];
	struct certificate own;
	enum cpd_error error;
	size_t bound_len;

	memset(key, 0, 32);
	if (!identity_anchor(identity))
		return CPD_ERR_STATE;
	if (place == part->reader_count)
		return CPD_ERR_NOT_FOUND;
	if (part->readers[place].key_number != identity_key_number(identity))
		return CPD_ERR_CONFLICT;
	error = sealed_part_bound(part, header, identity_anchor(identity)->network, bound, &bound_len);
	if (error)
		return error;
	if (crypto_scalarmult(shared, identity_sealing_secret(identity), part->ephemeral))
		return CPD_ERR_BAD_SIGNATURE;
	identity_public_keys(identity, &own);
	reader_key(shared, part->ephemeral, own.sealing_key, &part->readers[place], own_key);
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(key, NULL, NULL, part->keys.data + place * SEALED_KEY_LEN, SEALED_KEY_LEN,
	    bound, bound_len, nonce, own_key)) {
		memset(key, 0, 32);
		error = CPD_ERR_BAD_SIGNATURE;
	}
	sodium_memzero(shared, sizeof(shared));
	sodium_memzero(own_key, sizeof(own_key));
	return error;
}

enum cpd_error seal_open_content(const struct header *header, const char *network, const struct sealed_part *part,
    const uint8_t key[32], uint8_t *buf, size_t *len)
{
	uint8_t bound[LIMIT_SEALED_BOUND];
	size_t bound_len, padded;
	enum cpd_error error = sealed_part_bound(part, header, network, bound, &bound_len);

	*len = 0;
	if (error)
		return error;
	padded = part->content.len - SEALED_TAG_LEN;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(buf, NULL, NULL, part->content.data, part->content.len, bound, bound_len, nonce, key))
		return CPD_ERR_BAD_SIGNATURE;
	if (sodium_unpad(len, buf, padded, SEALED_BLOCK)) {
		sodium_memzero(buf, padded);
		*len = 0;
		return CPD_ERR_BAD_SIGNATURE;
	}
	return CPD_OK;
}
