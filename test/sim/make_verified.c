/* make_verified.c: see make_verified.h. */
#include "test/sim/make_verified.h"

#include <string.h>

#include "test/sim/random.h"

static uint64_t hash64(uint64_t seed, const uint8_t *data, size_t len)
{
	uint64_t hash = random_mix(seed ^ len);
	while (len >= 8) {
		uint64_t word;
		memcpy(&word, data, 8);
		hash = (hash ^ word) * UINT64_C(0x9fb21c651e98df25);
		hash ^= hash >> 29;
		data += 8;
		len -= 8;
	}
	uint64_t rest = 0;
	if (len > 0)
		memcpy(&rest, data, len);
	return random_mix(hash ^ rest);
}

void cheap_hash(uint8_t *out, size_t out_len, const uint8_t *data, size_t len)
{
	uint64_t hash = hash64(7, data, len);
	for (size_t i = 0; i < out_len; i++) {
		if (i % 8 == 0)
			hash = random_mix(hash + i);
		out[i] = (uint8_t)(hash >> (8 * (i % 8)));
	}
}

struct hash8 cheap_hash8(struct slice signed_bytes)
{
	struct hash8 hash;
	cheap_hash(hash.bytes, sizeof(hash.bytes), signed_bytes.data, signed_bytes.len);
	return hash;
}

static void cheap_signature(struct slice bytes, uint32_t signer, uint8_t out[64])
{
	uint64_t hash = hash64(UINT64_C(0x51) << 32 | signer, bytes.data, bytes.len);
	for (size_t i = 0; i < 64; i++)
		out[i] = (uint8_t)(hash >> (8 * (i % 8)));
}

static enum cpd_error signature_check(struct slice bytes, uint32_t signer, const uint8_t signature[64])
{
	uint8_t expected[64];
	cheap_signature(bytes, signer, expected);
	return memcmp(expected, signature, 64) == 0 ? CPD_OK : CPD_ERR_BAD_SIGNATURE;
}

enum cpd_error make_verified_message(struct slice bytes, struct verified_message *out)
{
	memset(out, 0, sizeof(*out));
	enum cpd_error error = message_decode(bytes, &out->message);
	if (error != CPD_OK)
		return error;
	if (out->message.signature_count == 0)
		return CPD_ERR_BAD_SIGNATURE;
	error = signature_check(out->message.signed_bytes, out->message.header.id.origin, out->message.signatures[0].bytes);
	if (error != CPD_OK)
		return error;
	out->hash = cheap_hash8(out->message.signed_bytes);
	return CPD_OK;
}

enum cpd_error make_verified_receipts(struct slice bytes, struct verified_receipts *out)
{
	struct signed_record record;
	memset(out, 0, sizeof(*out));
	enum cpd_error error = signed_record_decode(bytes, LIMIT_RECEIPTS + 128, &record);
	if (error != CPD_OK)
		return error;
	error = receipts_decode(record.signed_bytes, &out->receipts);
	if (error != CPD_OK)
		return error;
	out->bytes = bytes;
	return signature_check(record.signed_bytes, out->receipts.witness, record.signature);
}

enum cpd_error make_verified_presence(struct slice bytes, struct verified_presence *out)
{
	struct signed_record record;
	memset(out, 0, sizeof(*out));
	enum cpd_error error = signed_record_decode(bytes, LIMIT_PRESENCE + 128, &record);
	if (error != CPD_OK)
		return error;
	error = presence_decode(record.signed_bytes, &out->presence);
	if (error != CPD_OK)
		return error;
	out->bytes = bytes;
	return signature_check(record.signed_bytes, out->presence.node, record.signature);
}

enum cpd_error cheap_sign_message(const struct header *header, uint8_t *buf, size_t *len)
{
	uint8_t signed_bytes[LIMIT_ENVELOPE];
	size_t signed_len;
	enum cpd_error error = message_encode_signed(header, signed_bytes, &signed_len);
	if (error != CPD_OK)
		return error;
	struct slice bytes = {signed_bytes, signed_len};
	struct message_signature signature = {.signer = header->id.origin, .key_number = 1};
	cheap_signature(bytes, header->id.origin, signature.bytes);
	return message_encode_envelope(bytes, header->id.origin, &signature, 1, buf, len);
}

enum cpd_error cheap_sign_record(struct slice signed_bytes, uint32_t signer, uint8_t *buf, size_t buf_len, size_t *len)
{
	uint8_t signature[64];
	cheap_signature(signed_bytes, signer, signature);
	return signed_record_encode(signed_bytes, signature, 1, buf, buf_len, len);
}
