/* sign.c: see sign.h. */
#include "crypto/sign.h"

#include <sodium.h>
#include <string.h>

#include "crypto/secret.h"

static const char *const purpose_names[SIGN_PURPOSE_COUNT] = {
	[SIGN_MESSAGE] = "message",
	[SIGN_RECEIPTS] = "receipts",
	[SIGN_PRESENCE] = "presence",
	[SIGN_DIRECTORY] = "directory",
	[SIGN_REQUEST] = "request",
	[SIGN_COURIER] = "courier",
};

const char *sign_purpose_name(enum sign_purpose purpose)
{
	return (unsigned)purpose < SIGN_PURPOSE_COUNT ? purpose_names[purpose] : "unknown";
}

enum cpd_error sign_over(enum sign_purpose purpose, const char *network, struct slice bytes,
    uint8_t *buf, size_t *len)
{
	static const char protocol[] = "cpd/1/";
	size_t network_len = strnlen(network, LIMIT_NETWORK + 1);
	uint8_t *at = buf;
	const char *name;

	*len = 0;
	if ((unsigned)purpose >= SIGN_PURPOSE_COUNT)
		return CPD_ERR_RANGE;
	if (network_len > LIMIT_NETWORK || bytes.len > LIMIT_SIGN_BYTES)
		return CPD_ERR_TOO_LARGE;
	name = purpose_names[purpose];
	memcpy(at, protocol, sizeof(protocol) - 1);
	at += sizeof(protocol) - 1;
	/* With its NUL: no purpose is the beginning of another. */
	memcpy(at, name, strlen(name) + 1);
	at += strlen(name) + 1;
	*at++ = (uint8_t)network_len;
	memcpy(at, network, network_len);
	at += network_len;
	for (int shift = 24; shift >= 0; shift -= 8)
		*at++ = (uint8_t)(bytes.len >> shift);
	if (bytes.len > 0)
		memcpy(at, bytes.data, bytes.len);
	*len = (size_t)(at - buf) + bytes.len;
	return CPD_OK;
}

static enum cpd_error sign_with(const uint8_t *secret, enum sign_purpose purpose, const char *network,
    struct slice bytes, uint8_t signature[64])
{
	uint8_t over[LIMIT_SIGN_OVER];
	enum cpd_error error;
	size_t len;

	memset(signature, 0, 64);
	error = sign_over(purpose, network, bytes, over, &len);
	if (error != CPD_OK)
		return error;
	crypto_sign_detached(signature, NULL, over, len, secret);
	return CPD_OK;
}

enum cpd_error sign_bytes(const struct identity *identity, enum sign_purpose purpose, struct slice bytes,
    uint8_t signature[64])
{
	const struct region_anchor *anchor = identity_anchor(identity);
	const char *network = "";

	if (purpose != SIGN_REQUEST) {
		memset(signature, 0, 64);
		if (anchor == NULL)
			return CPD_ERR_STATE;
		network = anchor->network;
	}
	return sign_with(identity_signing_secret(identity), purpose, network, bytes, signature);
}

enum cpd_error authority_sign(const struct authority *authority, enum sign_purpose purpose, struct slice bytes,
    uint8_t signature[64])
{
	return sign_with(authority_signing_secret(authority), purpose, authority_anchor(authority)->network, bytes,
	    signature);
}
