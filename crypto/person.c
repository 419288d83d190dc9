/* person.c: see person.h. */
#include "crypto/person.h"

#include <sodium.h>
#include <string.h>
#include <unistd.h>

#include "crypto/passphrase.h"
#include "crypto/secret.h"

struct person_secrets { uint8_t seed[32], secret_key[64], over[LIMIT_SIGN_OVER]; };

enum cpd_error person_create(const char *path, struct slice passphrase, uint8_t public_key[32])
{
	struct person_secrets *secrets;
	enum cpd_error error;

	memset(public_key, 0, 32);
	if (access(path, F_OK) == 0) {
		keyfile_problem("%s is there already: name another file, or move it away", path);
		return CPD_ERR_EXISTS;
	}
	secrets = secret_new(sizeof(*secrets));
	if (secrets == NULL)
		return CPD_ERR_NOMEM;
	crypto_random(secrets->seed, sizeof(secrets->seed));
	error = sealed_key_write(path, passphrase, secrets->seed);
	if (error == CPD_OK)
		crypto_sign_seed_keypair(public_key, secrets->secret_key, secrets->seed);
	secret_free(secrets);
	return error;
}

enum cpd_error person_sign(const char *path, struct slice passphrase, const char *network, struct slice content,
    uint8_t public_key[32], uint8_t signature[64])
{
	struct person_secrets *secrets = secret_new(sizeof(*secrets));
	enum cpd_error error;
	size_t len;

	memset(public_key, 0, 32);
	memset(signature, 0, 64);
	if (secrets == NULL)
		return CPD_ERR_NOMEM;
	error = sealed_key_read(path, passphrase, secrets->seed);
	if (error == CPD_OK)
		error = sign_over(SIGN_MESSAGE, network, content, secrets->over, &len);
	if (error == CPD_OK) {
		crypto_sign_seed_keypair(public_key, secrets->secret_key, secrets->seed);
		crypto_sign_detached(signature, NULL, secrets->over, len, secrets->secret_key);
	}
	secret_free(secrets);
	return error;
}
