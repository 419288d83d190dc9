/* region.c: see region.h. */
#include "crypto/region.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "proto/cpd.pb-c.h"
#include "proto/text.h"
#include "proto/wire.h"

#define KEY_LEN 32
#define FINGERPRINT_LEN 16

/* ---------------------------------------------------------------- request */

static enum cpd_error check_name(const char *name)
{
	if (name[0] == '\0')
		return CPD_ERR_MISSING;
	return text_check_string(name, LIMIT_NAME, LIMIT_NAME, TEXT_ONE_LINE);
}

static ProtobufCBinaryData key_field(uint8_t key[KEY_LEN])
{
	return (ProtobufCBinaryData){ .len = KEY_LEN, .data = key };
}

enum cpd_error region_make_request(const struct identity *identity, const char *name, uint8_t *buf, size_t *len)
{
	Cpd__Certificate wire = CPD__CERTIFICATE__INIT;
	struct certificate own = { .node = 0 };
	uint8_t bytes[LIMIT_CERTIFICATE], signature[64];
	struct slice to_sign = { bytes, 0 };
	enum cpd_error error = check_name(name);

	*len = 0;
	if (error != CPD_OK)
		return error;
	identity_public_keys(identity, &own);
	memcpy(own.name, name, strlen(name) + 1);
	wire.node = identity_node(identity);
	wire.role = ROLE_ID_UNKNOWN; /* the authority gives the role */
	wire.name = own.name;
	wire.signing_key = key_field(own.signing_key);
	wire.sealing_key = key_field(own.sealing_key);
	wire.transport_key = key_field(own.transport_key);
	wire.key_number = identity_key_number(identity);
	wire.has_key_number = wire.key_number != 1;
	/* At most 3 keys, a name and small numbers: under 300 bytes. */
	to_sign.len = cpd__certificate__pack(&wire, bytes);
	error = sign_bytes(identity, SIGN_REQUEST, to_sign, signature);
	if (error != CPD_OK)
		return error;
	return signed_record_encode(to_sign, signature, wire.key_number, buf, LIMIT_CERTIFICATE, len);
}

static enum cpd_error take_request(const Cpd__Certificate *wire, struct certificate *out)
{
	enum cpd_error error = check_name(wire->name);

	if (error != CPD_OK)
		return error;
	if (wire->signing_key.len != KEY_LEN || wire->sealing_key.len != KEY_LEN ||
	    wire->transport_key.len != KEY_LEN || wire->key_number == 0)
		return CPD_ERR_RANGE;
	out->node = wire->node;
	out->key_number = wire->key_number;
	memcpy(out->name, wire->name, strlen(wire->name) + 1);
	memcpy(out->signing_key, wire->signing_key.data, KEY_LEN);
	memcpy(out->sealing_key, wire->sealing_key.data, KEY_LEN);
	memcpy(out->transport_key, wire->transport_key.data, KEY_LEN);
	return CPD_OK;
}

/* A point of small order would seal to everybody. The product is 0, and libsodium refuses it, for
 * those only. */
static bool is_good_exchange_key(const uint8_t key[KEY_LEN])
{
	static const uint8_t scalar[KEY_LEN] = { 8 };
	uint8_t product[KEY_LEN];

	return crypto_scalarmult(product, scalar, key) == 0;
}

enum cpd_error region_check_request(struct slice record, struct certificate *out)
{
	struct certificate asked = { .node = 0 };
	struct signed_record parts;
	struct arena arena;
	Cpd__Certificate *wire;
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	error = signed_record_decode(record, LIMIT_CERTIFICATE, &parts);
	if (error != CPD_OK)
		return error;
	arena_init(&arena, LIMIT_ARENA(LIMIT_CERTIFICATE));
	error = wire_unpack(&cpd__certificate__descriptor, parts.signed_bytes, &arena, &wire);
	if (error == CPD_OK)
		error = take_request(wire, &asked);
	arena_clear(&arena);
	if (error != CPD_OK)
		return error;
	if (!verify_bytes(asked.signing_key, SIGN_REQUEST, "", parts.signed_bytes, parts.signature) ||
	    !is_good_exchange_key(asked.sealing_key) || !is_good_exchange_key(asked.transport_key))
		return CPD_ERR_BAD_SIGNATURE;
	*out = asked;
	return CPD_OK;
}

/* ---------------------------------------------------------------- update */

enum cpd_error region_make_update(const struct authority *authority, const struct directory_update *update,
    uint8_t *buf, size_t *len)
{
	uint8_t bytes[LIMIT_DIRECTORY_UPDATE], signature[64];
	struct slice to_sign = { bytes, 0 };
	enum cpd_error error;

	*len = 0;
	error = directory_update_encode(update, bytes, &to_sign.len);
	if (error != CPD_OK)
		return error;
	error = authority_sign(authority, SIGN_DIRECTORY, to_sign, signature);
	if (error != CPD_OK)
		return error;
	return signed_record_encode(to_sign, signature, 1, buf, LIMIT_UPDATE_RECORD, len);
}

/* ---------------------------------------------------------------- fingerprints */

static const char *fingerprint(const uint8_t *data, size_t data_len, char out[FINGERPRINT_TEXT_MAX])
{
	uint8_t hash[32];
	char *at = out;

	crypto_digest(hash, sizeof(hash), data, data_len);
	for (size_t i = 0; i < FINGERPRINT_LEN; i += 2)
		at += snprintf(at, 6, "%s%02x%02x", i == 0 ? "" : " ", hash[i], hash[i + 1]);
	return out;
}

const char *certificate_fingerprint(const struct certificate *certificate, char out[FINGERPRINT_TEXT_MAX])
{
	uint8_t keys[3 * KEY_LEN];

	memcpy(keys, certificate->signing_key, KEY_LEN);
	memcpy(keys + KEY_LEN, certificate->sealing_key, KEY_LEN);
	memcpy(keys + 2 * KEY_LEN, certificate->transport_key, KEY_LEN);
	return fingerprint(keys, sizeof(keys), out);
}

const char *region_anchor_fingerprint(const struct region_anchor *anchor, char out[FINGERPRINT_TEXT_MAX])
{
	uint8_t bytes[sizeof(anchor->network) + sizeof(anchor->region) + KEY_LEN];
	size_t network_len = strlen(anchor->network) + 1, region_len = strlen(anchor->region) + 1;

	memcpy(bytes, anchor->network, network_len);
	memcpy(bytes + network_len, anchor->region, region_len);
	memcpy(bytes + network_len + region_len, anchor->authority_key, KEY_LEN);
	return fingerprint(bytes, network_len + region_len + KEY_LEN, out);
}
