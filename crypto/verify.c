/* verify.c: see verify.h. */
#include "crypto/verify.h"

#include <sodium.h>
#include <string.h>

#include "proto/kind.h"

/*
 * libsodium (not built with ED25519_COMPAT, which crypto_start refuses) checks here: S < L, R of no
 * small order, the key canonical and of no small order, and that R is byte for byte the canonical
 * encoding of SB - hA, which refuses a non-canonical R. test_sign holds each of these fast.
 */
bool verify_raw(const uint8_t public_key[32], struct slice bytes, const uint8_t signature[64])
{
	static const uint8_t nothing[1] = { 0 };

	return crypto_sign_verify_detached(signature, bytes.data != NULL ? bytes.data : nothing, bytes.len, public_key) == 0;
}

bool verify_bytes(const uint8_t public_key[32], enum sign_purpose purpose, const char *network,
    struct slice bytes, const uint8_t signature[64])
{
	uint8_t over[LIMIT_SIGN_OVER];
	size_t len;

	if (sign_over(purpose, network, bytes, over, &len) != CPD_OK)
		return false;
	return verify_raw(public_key, (struct slice){ over, len }, signature);
}

/* ---------------------------------------------------------------- message */

/* Where a message stands to the line its origin's revocation draws. */
static enum cpd_error judge_message(const struct revocation *revocation, const struct message_id *id, bool *is_suspect)
{
	if (revocation == NULL)
		return CPD_OK;
	if (revocation->last_epoch == 0)
		return CPD_ERR_REVOKED;
	if (revocation_covers(revocation, id))
		*is_suspect = true;
	return CPD_OK;
}

static enum cpd_error check_message_signature(const struct directory *directory, const char *network,
    const struct message *message, const struct message_signature *signature, bool *is_suspect)
{
	uint32_t origin = message->header.id.origin;
	const struct certificate *certificate =
	    directory_certificate_key(directory, signature->signer, signature->key_number);
	const struct revocation *revocation;

	if (certificate == NULL)
		return CPD_ERR_UNKNOWN_SIGNER;
	if (!verify_bytes(certificate->signing_key, SIGN_MESSAGE, network, message->signed_bytes, signature->bytes))
		return CPD_ERR_BAD_SIGNATURE;
	revocation = directory_revocation(directory, signature->signer, signature->key_number);
	if (signature->signer != origin)
		return revocation == NULL ? CPD_OK : CPD_ERR_REVOKED;
	if (!certificate_allows(certificate, message->header.kind))
		return CPD_ERR_ROLE;
	return judge_message(revocation, &message->header.id, is_suspect);
}

enum cpd_error verify_release(const struct directory *directory, const char *network, const struct header *header,
    struct slice signed_bytes, const struct message_release *release)
{
	const struct function_certificate *function = directory_function(directory, release->function);

	if (function == NULL)
		return CPD_ERR_UNKNOWN_SIGNER;
	if (!verify_bytes(function->signing_key, SIGN_MESSAGE, network, signed_bytes, release->bytes))
		return CPD_ERR_BAD_SIGNATURE;
	if (function->is_revoked)
		return CPD_ERR_REVOKED;
	if (function->node != header->id.origin || (function->not_after_s && header->created_s > function->not_after_s))
		return CPD_ERR_ROLE;
	return CPD_OK;
}

/* One person is one key: two numbers that the region gave to it are not two people. */
static bool is_one_person(const struct directory *directory, const struct message_release *a, const struct message_release *b)
{
	const struct function_certificate *first = directory_function(directory, a->function), *second = directory_function(directory, b->function);

	return a->function == b->function || memcmp(first->signing_key, second->signing_key, sizeof(first->signing_key)) == 0;
}

static enum cpd_error check_releases(const struct directory *directory, const char *network, const struct message *message, size_t *missing)
{
	const struct kind *kind = kind_find(message->header.kind);

	for (size_t i = 0; i < message->release_count; i++) {
		enum cpd_error error = verify_release(directory, network, &message->header, message->signed_bytes, &message->releases[i]);

		if (error != CPD_OK)
			return error;
		for (size_t j = 0; j < i; j++)
			if (is_one_person(directory, &message->releases[i], &message->releases[j]))
				return CPD_ERR_ROLE;
	}
	*missing = kind != NULL && message->release_count < kind->releases ? kind->releases - message->release_count : 0;
	return CPD_OK;
}

enum cpd_error verify_draft(const struct directory *directory, const char *network, struct slice envelope, size_t *missing,
    struct verified_message *out)
{
	struct message *message = &out->message;
	enum cpd_error error;

	*missing = 0;
	memset(out, 0, sizeof(*out));
	error = message_decode(envelope, message);
	/* Only a signature of the origin makes it the origin's; others may stand beside it, not for it. */
	if (error == CPD_OK &&
	    (message->signature_count == 0 || message->signatures[0].signer != message->header.id.origin))
		error = CPD_ERR_BAD_SIGNATURE;
	for (size_t i = 0; error == CPD_OK && i < message->signature_count; i++)
		error = check_message_signature(directory, network, message, &message->signatures[i], &out->is_suspect);
	if (error == CPD_OK)
		error = check_releases(directory, network, message, missing);
	if (error != CPD_OK) {
		memset(out, 0, sizeof(*out));
		return error;
	}
	out->hash = crypto_hash8(message->signed_bytes);
	return CPD_OK;
}

enum cpd_error verify_message(const struct directory *directory, const char *network, struct slice envelope, struct verified_message *out)
{
	size_t missing;
	enum cpd_error error = verify_draft(directory, network, envelope, &missing, out);

	if (error == CPD_OK && missing != 0) {
		memset(out, 0, sizeof(*out));
		error = CPD_ERR_ROLE;
	}
	return error;
}

/* ---------------------------------------------------------------- signed records */

/* Finds the certificate and checks the signature of a record of one node. */
static enum cpd_error check_record(const struct directory *directory, const char *network,
    enum sign_purpose purpose, uint32_t node, const struct signed_record *record)
{
	const struct certificate *certificate = directory_certificate_key(directory, node, record->key_number);

	if (certificate == NULL)
		return CPD_ERR_UNKNOWN_SIGNER;
	if (!verify_bytes(certificate->signing_key, purpose, network, record->signed_bytes, record->signature))
		return CPD_ERR_BAD_SIGNATURE;
	return CPD_OK;
}

/* What the revocation of the key that signed leaves of a record whose signature holds. */
static enum cpd_error judge_receipts(const struct directory *directory, const struct signed_record *parts, struct verified_receipts *out)
{
	const struct revocation *revocation = directory_revocation(directory, out->receipts.witness, parts->key_number);

	if (revocation != NULL && revocation->last_epoch == 0)
		return CPD_ERR_REVOKED;
	out->is_suspect = revocation != NULL && out->receipts.epoch >= revocation->last_epoch;
	out->bytes = parts->bytes;
	return CPD_OK;
}

enum cpd_error verify_receipts(const struct directory *directory, const char *network,
    struct slice record, struct verified_receipts *out)
{
	struct signed_record parts;
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	error = signed_record_decode(record, LIMIT_RECEIPTS + LIMIT_RECORD_EXTRA, &parts);
	if (error == CPD_OK)
		error = receipts_decode(parts.signed_bytes, &out->receipts);
	if (error == CPD_OK)
		error = check_record(directory, network, SIGN_RECEIPTS, out->receipts.witness, &parts);
	if (error == CPD_OK)
		error = judge_receipts(directory, &parts, out);
	if (error != CPD_OK)
		memset(out, 0, sizeof(*out));
	return error;
}

enum cpd_error verify_own_receipts(const struct directory *directory, const struct identity *identity,
    struct slice signed_bytes, uint8_t *record, size_t record_len, size_t *len, struct verified_receipts *out)
{
	const uint32_t key_number = identity_key_number(identity);
	const struct certificate *certificate = directory_certificate_key(directory, identity_node(identity), key_number);
	struct signed_record parts = { .key_number = key_number };
	struct certificate own;
	uint8_t signature[64];
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	identity_public_keys(identity, &own);
	error = receipts_decode(signed_bytes, &out->receipts);
	if (error == CPD_OK && (certificate == NULL || out->receipts.witness != identity_node(identity) ||
	    memcmp(certificate->signing_key, own.signing_key, sizeof(own.signing_key)) != 0))
		error = CPD_ERR_UNKNOWN_SIGNER;
	if (error == CPD_OK)
		error = sign_bytes(identity, SIGN_RECEIPTS, signed_bytes, signature);
	if (error == CPD_OK)
		error = signed_record_encode(signed_bytes, signature, key_number, record, record_len, len);
	parts.bytes = (struct slice){ record, error == CPD_OK ? *len : 0 };
	if (error == CPD_OK)
		error = judge_receipts(directory, &parts, out);
	if (error != CPD_OK)
		memset(out, 0, sizeof(*out));
	return error;
}

enum cpd_error verify_presence(const struct directory *directory, const char *network,
    struct slice record, struct verified_presence *out)
{
	struct signed_record parts;
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	error = signed_record_decode(record, LIMIT_PRESENCE + LIMIT_RECORD_EXTRA, &parts);
	if (error == CPD_OK)
		error = presence_decode(parts.signed_bytes, &out->presence);
	if (error == CPD_OK)
		error = check_record(directory, network, SIGN_PRESENCE, out->presence.node, &parts);
	if (error == CPD_OK && directory_revocation(directory, out->presence.node, parts.key_number) != NULL)
		error = CPD_ERR_REVOKED;
	if (error != CPD_OK) {
		memset(out, 0, sizeof(*out));
		return error;
	}
	out->bytes = record;
	return CPD_OK;
}

enum cpd_error verify_directory_update(const struct region_anchor *anchor, struct slice record,
    struct directory_update *out)
{
	struct signed_record parts;
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	error = signed_record_decode(record, LIMIT_DIRECTORY_UPDATE + LIMIT_RECORD_EXTRA, &parts);
	if (error != CPD_OK)
		return error;
	if (parts.key_number != 1)
		return CPD_ERR_UNKNOWN_SIGNER;
	/* Before it is decoded: the arrays of an update are the most a stranger could make us allocate. */
	if (!verify_bytes(anchor->authority_key, SIGN_DIRECTORY, anchor->network, parts.signed_bytes, parts.signature))
		return CPD_ERR_BAD_SIGNATURE;
	return directory_update_decode(parts.signed_bytes, out);
}
