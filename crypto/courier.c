/* courier.c: see courier.h. */
#include "crypto/courier.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

_Static_assert(COURIER_SEALED_KEY == crypto_box_SEALBYTES + crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "sealed content key");
_Static_assert(COURIER_NONCE == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES && COURIER_SEAL_EXTRA == crypto_aead_xchacha20poly1305_ietf_ABYTES, "seal");

static void put_number(uint8_t *at, uint32_t number)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(number >> (24 - 8 * i));
}

static enum cpd_error seal_keys(const uint8_t key[32], const struct certificate *const *readers, size_t count, uint8_t *at)
{
	for (size_t i = 0; i < count; i++, at += COURIER_READER_LEN) {
		if (i && readers[i]->node <= readers[i - 1]->node)
			return CPD_ERR_RANGE;
		put_number(at, readers[i]->node);
		put_number(at + 4, readers[i]->key_number);
		if (crypto_box_seal(at + 8, key, 32, readers[i]->sealing_key))
			return CPD_ERR_RANGE;   /* a key of small order: nobody has its secret */
	}
	return CPD_OK;
}

/* Of the file before its signature. */
static enum cpd_error sign_file(const struct identity *identity, uint8_t *file, size_t len)
{
	uint8_t digest[32];

	crypto_digest(digest, sizeof(digest), file, len);
	return sign_bytes(identity, SIGN_COURIER, (struct slice){ digest, sizeof(digest) }, file + len);
}

static enum cpd_error fill(const struct identity *identity, const struct courier_head *head,
    const struct certificate *const *readers, struct slice content, uint8_t *file)
{
	uint8_t key[32], *at = file + COURIER_HEAD_LEN, *nonce;
	enum cpd_error error = courier_head_encode(head, file);

	if (error)
		return error;
	crypto_random(key, sizeof(key));
	error = seal_keys(key, readers, head->reader_count, at);
	at += head->reader_count * COURIER_READER_LEN;
	nonce = at;
	crypto_random(nonce, COURIER_NONCE);
	at += COURIER_NONCE;
	put_number(at, (uint32_t)(content.len + COURIER_SEAL_EXTRA));
	at += 4;
	if (!error)
		crypto_aead_xchacha20poly1305_ietf_encrypt(at, NULL, content.data, content.len, file, (size_t)(at - file), NULL, nonce, key);
	crypto_wipe(key, sizeof(key));
	at += content.len + COURIER_SEAL_EXTRA;
	return error ? error : sign_file(identity, file, (size_t)(at - file));
}

enum cpd_error courier_seal(const struct identity *identity, const struct courier_head *head,
    const struct certificate *const *readers, size_t reader_count, struct slice content, uint8_t **file, size_t *len)
{
	static const uint8_t nothing[1] = { 0 };
	struct courier_head whole = *head;
	size_t size = courier_overhead(reader_count) + content.len;
	uint8_t *bytes;
	enum cpd_error error;

	*file = NULL;
	*len = 0;
	if (!identity_anchor(identity))
		return CPD_ERR_STATE;
	if (reader_count > LIMIT_COURIER_READERS || content.len > LIMIT_COURIER || size > LIMIT_COURIER)
		return CPD_ERR_TOO_LARGE;
	whole.writer = identity_node(identity);
	whole.key_number = identity_key_number(identity);
	whole.reader_count = reader_count;
	bytes = malloc(size);
	if (!bytes)
		return CPD_ERR_NOMEM;
	error = fill(identity, &whole, readers, content.len ? content : (struct slice){ nothing, 0 }, bytes);
	if (error) {
		free(bytes);
		return error;
	}
	*file = bytes;
	*len = size;
	return CPD_OK;
}

/* ---------------------------------------------------------------- opening */

static enum cpd_error check_writer(const struct directory *directory, const char *network, const struct courier_file *file)
{
	const struct certificate *certificate = directory_certificate_key(directory, file->head.writer, file->head.key_number);
	uint8_t digest[32];

	if (!certificate)
		return CPD_ERR_UNKNOWN_SIGNER;
	crypto_digest(digest, sizeof(digest), file->over.data, file->over.len);
	if (!verify_bytes(certificate->signing_key, SIGN_COURIER, network, (struct slice){ digest, sizeof(digest) }, file->signature))
		return CPD_ERR_BAD_SIGNATURE;
	/* As with presence: a file is the word of who holds the key now. */
	return directory_revocation(directory, file->head.writer, file->head.key_number) ? CPD_ERR_REVOKED : CPD_OK;
}

static enum cpd_error open_key(const struct identity *identity, const struct courier_file *file, uint8_t key[32])
{
	const uint8_t *sealed = courier_key_for(file, identity_node(identity), identity_key_number(identity));
	struct certificate own;

	if (!sealed)
		return courier_names(file, identity_node(identity)) ? CPD_ERR_CONFLICT : CPD_ERR_NOT_FOUND;
	identity_public_keys(identity, &own);
	return crypto_box_seal_open(key, sealed, COURIER_SEALED_KEY, own.sealing_key, identity_sealing_secret(identity)) ? CPD_ERR_CONFLICT : CPD_OK;
}

enum cpd_error courier_open(const struct identity *identity, const struct directory *directory,
    uint8_t *file, size_t len, struct courier_file *out, struct slice *content, size_t *items)
{
	const struct region_anchor *anchor = identity_anchor(identity);
	uint8_t key[32], *sealed;
	enum cpd_error error;

	*content = (struct slice){ NULL, 0 };
	*items = 0;
	error = courier_decode((struct slice){ file, len }, out);
	if (!error && !anchor)
		error = CPD_ERR_STATE;
	if (!error)
		error = check_writer(directory, anchor->network, out);
	if (!error && out->head.writer == identity_node(identity))
		error = CPD_ERR_STATE;
	if (!error)
		error = open_key(identity, out, key);
	if (error)
		return error;
	/* In place: the file may be large, and what the seal does not hold for is never looked at. */
	sealed = file + (out->sealed.data - file);
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, NULL, NULL, sealed, out->sealed.len, out->bound.data, out->bound.len, out->nonce, key))
		error = CPD_ERR_BAD_SIGNATURE;
	crypto_wipe(key, sizeof(key));
	if (error)
		return error;
	*content = (struct slice){ sealed, out->sealed.len - COURIER_SEAL_EXTRA };
	error = courier_check(*content, items);
	if (error)
		*content = (struct slice){ NULL, 0 };
	return error;
}
