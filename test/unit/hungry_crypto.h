/*
 * hungry_crypto.h: the calls of crypto/ that may find no memory (hungry.h), also locked memory: sodium_malloc fails as malloc does.
 */
#ifndef CPD_TEST_HUNGRY_CRYPTO_H
#define CPD_TEST_HUNGRY_CRYPTO_H

#include <dlfcn.h>
#include <string.h>
#include <sodium.h>

#include "crypto/backup.h"
#include "crypto/kit.h"
#include "crypto/region.h"
#include "crypto/sealed_kit.h"
#include "test/unit/hungry.h"

#ifndef ALLOC_FAULT_OFF
void *sodium_malloc(size_t size)
{
	static void *(*real)(size_t size);
	void *found;

	if (!real) {
		found = dlsym(RTLD_NEXT, "sodium_malloc");
		memcpy(&real, &found, sizeof(real));
	}
	return alloc_fault_now(__builtin_return_address(0)) ? NULL : real(size);
}
#endif

#define authority_create(...) HUNGRY(authority_create(__VA_ARGS__))
#define authority_load(...) HUNGRY(authority_load(__VA_ARGS__))
#define authority_seal(...) HUNGRY(authority_seal(__VA_ARGS__))
#define backup_begin(...) HUNGRY_NEW(backup_begin(__VA_ARGS__))
#define backup_prove(...) HUNGRY(backup_prove(__VA_ARGS__))
#define identity_create(...) HUNGRY(identity_create(__VA_ARGS__))
#define identity_load(...) HUNGRY(identity_load(__VA_ARGS__))
#define identity_load_copy(...) HUNGRY(identity_load_copy(__VA_ARGS__))
#define kit_write(...) HUNGRY(kit_write(__VA_ARGS__))
#define kit_read(...) HUNGRY(kit_read(__VA_ARGS__))
#define kit_check(...) HUNGRY(kit_check(__VA_ARGS__))
#define identity_generate(...) HUNGRY(identity_generate(__VA_ARGS__))
#define sealed_kit_seal(...) HUNGRY(sealed_kit_seal(__VA_ARGS__))
#define sealed_kit_open(...) HUNGRY(sealed_kit_open(__VA_ARGS__))
#define sealed_kit_load(...) HUNGRY(sealed_kit_load(__VA_ARGS__))
#define region_check_request(...) HUNGRY(region_check_request(__VA_ARGS__))
#define region_make_update(...) HUNGRY(region_make_update(__VA_ARGS__))
#define verify_message(...) HUNGRY(verify_message(__VA_ARGS__))
#define verify_receipts(...) HUNGRY(verify_receipts(__VA_ARGS__))
#define verify_own_receipts(...) HUNGRY(verify_own_receipts(__VA_ARGS__))
#define verify_presence(...) HUNGRY(verify_presence(__VA_ARGS__))
#define verify_directory_update(...) HUNGRY(verify_directory_update(__VA_ARGS__))

#endif
