/* test_region.c: crypto/region.h and crypto/kit.h: how a node comes into a region, and nothing by halves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sodium.h>

#include "crypto/kit.h"
#include "crypto/region.h"
#include "test/unit/scratch.h"
#include "test/unit/hungry_crypto.h"

/* ---------------------------------------------------------------- a region with one node */

struct region {
	struct authority *authority;
	struct identity *identity;
	struct certificate certificate;
	uint8_t update[LIMIT_UPDATE_RECORD];
	struct slice record; /* of update 1, which certifies the identity */
};

static const struct region_anchor names = { .network = "nl", .region = "VR09", .name = "Utrecht" };

static struct certificate certificate_for(const struct identity *identity, uint32_t node, uint32_t key_number)
{
	struct certificate certificate = { .node = node, .role = ROLE_ID_NSP, .key_number = key_number, .name = "NSP Kanaleneiland" };

	identity_public_keys(identity, &certificate);
	return certificate;
}

static struct slice make_update(const struct authority *authority, const struct directory_update *update, uint8_t *buf)
{
	struct slice record = { buf, 0 };

	assert_int_equal(region_make_update(authority, update, buf, &record.len), CPD_OK);
	return record;
}

static void region_begin(struct region *region)
{
	struct directory_update update = { .number = 1, .created_s = 1000, .certificates = &region->certificate, .certificate_count = 1 };

	assert_int_equal(authority_create("region", &names, (struct slice){ NULL, 0 }, &region->authority), CPD_OK);
	assert_int_equal(identity_create("node", 0, &region->identity), CPD_OK);
	region->certificate = certificate_for(region->identity, 344003, 1);
	region->record = make_update(region->authority, &update, region->update);
}

static void region_end(struct region *region)
{
	authority_free(region->authority);
	identity_free(region->identity);
}

/* ---------------------------------------------------------------- request */

static struct slice make_request(const struct identity *identity, uint8_t buf[LIMIT_CERTIFICATE])
{
	struct slice request = { buf, 0 };

	assert_int_equal(region_make_request(identity, "NSP Kanaleneiland", buf, &request.len), CPD_OK);
	return request;
}

/* So many fields of a later version that reading them takes more than what stands on the stack. */
static struct slice padded(struct slice bytes, uint8_t *buf)
{
	memmove(buf, bytes.data, bytes.len);
	for (size_t i = 0; i < 60; i++, bytes.len += 3)
		memcpy(buf + bytes.len, "\xf8\x07\x01", 3);
	assert_true(bytes.len <= LIMIT_CERTIFICATE);
	return (struct slice){ buf, bytes.len };
}

static void a_request_of_a_later_version_is_read(void **state)
{
	uint8_t buf[LIMIT_CERTIFICATE], content[LIMIT_CERTIFICATE], signature[64];
	struct slice request, inside, outside = { buf, 0 };
	struct signed_record parts;
	struct certificate asked;
	struct identity *identity;

	(void)state;
	assert_int_equal(identity_create("node", 344003, &identity), CPD_OK);
	request = make_request(identity, buf);
	assert_int_equal(signed_record_decode(request, LIMIT_CERTIFICATE, &parts), CPD_OK);
	memcpy(content, parts.signed_bytes.data, parts.signed_bytes.len);
	inside = padded((struct slice){ content, parts.signed_bytes.len }, content);
	assert_int_equal(region_check_request(padded(request, buf), &asked), CPD_OK);
	assert_int_equal(sign_bytes(identity, SIGN_REQUEST, inside, signature), CPD_OK);
	assert_int_equal(signed_record_encode(inside, signature, parts.key_number, buf, sizeof(buf), &outside.len), CPD_OK);
	assert_int_equal(region_check_request(outside, &asked), CPD_OK);
	assert_int_equal(asked.node, 344003);
	identity_free(identity);
}

static void a_request_carries_name_and_keys_of_its_maker(void **state)
{
	uint8_t buf[LIMIT_CERTIFICATE];
	struct certificate asked, own = { 0 };
	struct identity *identity;

	(void)state;
	assert_int_equal(identity_create("node", 344003, &identity), CPD_OK);
	assert_int_equal(region_check_request(make_request(identity, buf), &asked), CPD_OK);
	identity_public_keys(identity, &own);
	assert_string_equal(asked.name, "NSP Kanaleneiland");
	assert_int_equal(asked.node, 344003);
	assert_int_equal(asked.key_number, 1);
	assert_int_equal(asked.role, ROLE_ID_UNKNOWN);
	assert_memory_equal(asked.signing_key, own.signing_key, 32);
	assert_memory_equal(asked.sealing_key, own.sealing_key, 32);
	assert_memory_equal(asked.transport_key, own.transport_key, 32);
	identity_free(identity);
}

/* Every byte and every length: the wrapping, the keys, the name and the signature. */
static void a_changed_or_cut_request_is_refused(void **state)
{
	uint8_t buf[LIMIT_CERTIFICATE];
	struct certificate asked;
	struct identity *identity;
	struct slice request;

	(void)state;
	assert_int_equal(identity_create("node", 0, &identity), CPD_OK);
	request = make_request(identity, buf);
	for (size_t i = 0; i < request.len; i++) {
		buf[i] ^= 0x10;
		assert_int_not_equal(region_check_request(request, &asked), CPD_OK);
		assert_int_equal(asked.name[0], '\0');
		buf[i] ^= 0x10;
		assert_int_not_equal(region_check_request((struct slice){ buf, i }, &asked), CPD_OK);
	}
	assert_int_equal(region_check_request(request, &asked), CPD_OK);
	identity_free(identity);
}

static void a_request_needs_a_name_that_can_be_shown(void **state)
{
	char name[LIMIT_NAME + 2];
	uint8_t buf[LIMIT_CERTIFICATE];
	struct identity *identity;
	size_t len;

	(void)state;
	memset(name, 'x', sizeof(name));
	name[LIMIT_NAME + 1] = '\0';
	assert_int_equal(identity_create("node", 0, &identity), CPD_OK);
	assert_int_equal(region_make_request(identity, "", buf, &len), CPD_ERR_MISSING);
	assert_int_equal(region_make_request(identity, "NSP\nx", buf, &len), CPD_ERR_TEXT);
	assert_int_equal(region_make_request(identity, name, buf, &len), CPD_ERR_TOO_LARGE);
	name[LIMIT_NAME] = '\0';
	assert_int_equal(region_make_request(identity, name, buf, &len), CPD_OK);
	identity_free(identity);
}

/* A thief of nothing: keys of another with a signature of one's own. */
static void a_request_for_the_key_of_another_is_refused(void **state)
{
	uint8_t buf[LIMIT_CERTIFICATE], forged[LIMIT_CERTIFICATE], signature[64];
	struct identity *victim, *thief;
	struct signed_record parts;
	struct certificate asked;
	size_t len;

	(void)state;
	assert_int_equal(identity_create("victim", 0, &victim), CPD_OK);
	assert_int_equal(identity_create("thief", 0, &thief), CPD_OK);
	assert_int_equal(signed_record_decode(make_request(victim, buf), LIMIT_CERTIFICATE, &parts), CPD_OK);
	assert_int_equal(sign_bytes(thief, SIGN_REQUEST, parts.signed_bytes, signature), CPD_OK);
	assert_int_equal(signed_record_encode(parts.signed_bytes, signature, 1, forged, sizeof(forged), &len), CPD_OK);
	assert_int_equal(region_check_request((struct slice){ forged, len }, &asked), CPD_ERR_BAD_SIGNATURE);
	identity_free(victim);
	identity_free(thief);
}

/* The request's bytes with the sealing key at 0, signed well: it would seal to everybody. */
static void a_request_with_a_small_order_sealing_key_is_refused(void **state)
{
	uint8_t buf[LIMIT_CERTIFICATE], bytes[LIMIT_CERTIFICATE], forged[LIMIT_CERTIFICATE], signature[64];
	struct certificate own = { 0 }, asked;
	struct identity *identity;
	struct signed_record parts;
	uint8_t *at = NULL;
	size_t len;

	(void)state;
	assert_int_equal(identity_create("node", 0, &identity), CPD_OK);
	identity_public_keys(identity, &own);
	assert_int_equal(signed_record_decode(make_request(identity, buf), LIMIT_CERTIFICATE, &parts), CPD_OK);
	memcpy(bytes, parts.signed_bytes.data, parts.signed_bytes.len);
	at = memmem(bytes, parts.signed_bytes.len, own.sealing_key, 32);
	assert_non_null(at);
	memset(at, 0, 32);
	parts.signed_bytes.data = bytes;
	assert_int_equal(sign_bytes(identity, SIGN_REQUEST, parts.signed_bytes, signature), CPD_OK);
	assert_int_equal(signed_record_encode(parts.signed_bytes, signature, 1, forged, sizeof(forged), &len), CPD_OK);
	assert_int_equal(region_check_request((struct slice){ forged, len }, &asked), CPD_ERR_BAD_SIGNATURE);
	identity_free(identity);
}

static void fingerprints_tell_every_key_apart(void **state)
{
	struct certificate certificate = { .node = 1 };
	char a[FINGERPRINT_TEXT_MAX], b[FINGERPRINT_TEXT_MAX];
	struct region_anchor anchor = names;

	(void)state;
	certificate_fingerprint(&certificate, a);
	assert_int_equal(strlen(a), FINGERPRINT_TEXT_MAX - 1);
	certificate.signing_key[31] = 1;
	assert_string_not_equal(certificate_fingerprint(&certificate, b), a);
	certificate.signing_key[31] = 0;
	certificate.sealing_key[0] = 1;
	assert_string_not_equal(certificate_fingerprint(&certificate, b), a);
	certificate.sealing_key[0] = 0;
	certificate.transport_key[0] = 1;
	assert_string_not_equal(certificate_fingerprint(&certificate, b), a);
	region_anchor_fingerprint(&anchor, a);
	anchor.authority_key[0] = 1;
	assert_string_not_equal(region_anchor_fingerprint(&anchor, b), a);
}

/* ---------------------------------------------------------------- update */

static void an_update_is_read_back_under_its_anchor_only(void **state)
{
	struct directory_update update;
	struct region_anchor anchor;
	struct region region;

	(void)state;
	region_begin(&region);
	anchor = *authority_anchor(region.authority);
	assert_int_equal(verify_directory_update(&anchor, region.record, &update), CPD_OK);
	assert_int_equal(update.number, 1);
	assert_int_equal(update.certificate_count, 1);
	assert_memory_equal(update.certificates[0].signing_key, region.certificate.signing_key, 32);
	directory_update_clear(&update);
	strcpy(anchor.network, "be");
	assert_int_equal(verify_directory_update(&anchor, region.record, &update), CPD_ERR_BAD_SIGNATURE);
	assert_null(update.certificates);
	anchor = *authority_anchor(region.authority);
	memcpy(anchor.authority_key, region.certificate.signing_key, 32);
	assert_int_equal(verify_directory_update(&anchor, region.record, &update), CPD_ERR_BAD_SIGNATURE);
	region_end(&region);
}

static void a_changed_or_cut_update_is_refused(void **state)
{
	struct directory_update update;
	struct region region;

	(void)state;
	region_begin(&region);
	for (size_t i = 0; i < region.record.len; i++) {
		region.update[i] ^= 1;
		assert_int_not_equal(verify_directory_update(authority_anchor(region.authority), region.record, &update), CPD_OK);
		region.update[i] ^= 1;
		assert_int_not_equal(verify_directory_update(authority_anchor(region.authority),
		    (struct slice){ region.update, i }, &update), CPD_OK);
	}
	region_end(&region);
}

/* A node's own signature, whatever its purpose, admits nobody. */
static void a_node_cannot_sign_an_update(void **state)
{
	struct region_anchor anchor;
	struct directory_update update;
	struct signed_record parts;
	struct region region;
	uint8_t forged[LIMIT_UPDATE_RECORD], signature[64];
	size_t len;

	(void)state;
	region_begin(&region);
	anchor = *authority_anchor(region.authority);
	assert_int_equal(identity_install(region.identity, 344003, 1, &anchor), CPD_OK);
	assert_int_equal(signed_record_decode(region.record, LIMIT_UPDATE_RECORD, &parts), CPD_OK);
	assert_int_equal(sign_bytes(region.identity, SIGN_DIRECTORY, parts.signed_bytes, signature), CPD_OK);
	assert_int_equal(signed_record_encode(parts.signed_bytes, signature, 1, forged, sizeof(forged), &len), CPD_OK);
	assert_int_equal(verify_directory_update(&anchor, (struct slice){ forged, len }, &update), CPD_ERR_BAD_SIGNATURE);
	/* The authority's signature for another purpose is none for this. */
	assert_int_equal(authority_sign(region.authority, SIGN_MESSAGE, parts.signed_bytes, signature), CPD_OK);
	assert_int_equal(signed_record_encode(parts.signed_bytes, signature, 1, forged, sizeof(forged), &len), CPD_OK);
	assert_int_equal(verify_directory_update(&anchor, (struct slice){ forged, len }, &update), CPD_ERR_BAD_SIGNATURE);
	/* A later authority key is not known here: to be asked for again, not a forgery. */
	assert_int_equal(signed_record_encode(parts.signed_bytes, parts.signature, 2, forged, sizeof(forged), &len), CPD_OK);
	assert_int_equal(verify_directory_update(&anchor, (struct slice){ forged, len }, &update), CPD_ERR_UNKNOWN_SIGNER);
	region_end(&region);
}

static void the_largest_update_fits_its_record(void **state)
{
	static struct certificate certificates[64];
	struct directory_update update = { .number = 1, .created_s = UINT32_MAX, .certificates = certificates };
	static uint8_t buf[LIMIT_UPDATE_RECORD];
	struct directory_update back;
	struct region region;
	enum cpd_error error = CPD_OK;
	size_t len = 0, largest = 0;

	(void)state;
	region_begin(&region);
	for (size_t i = 0; i < 64; i++) {
		certificates[i] = certificate_for(region.identity, UINT32_MAX - (uint32_t)i, UINT32_MAX);
		memset(certificates[i].name, 'x', LIMIT_NAME);
		memset(certificates[i].address, 'y', LIMIT_ADDRESS);
	}
	while (update.certificate_count < 64) {
		update.certificate_count++;
		error = region_make_update(region.authority, &update, buf, &len);
		if (error != CPD_OK)
			break;
		largest = len;
		assert_int_equal(verify_directory_update(authority_anchor(region.authority), (struct slice){ buf, len }, &back), CPD_OK);
		directory_update_clear(&back);
	}
	assert_int_equal(error, CPD_ERR_TOO_LARGE);
	assert_true(largest > LIMIT_DIRECTORY_UPDATE - 400);
	region_end(&region);
}

/* ---------------------------------------------------------------- kit */

static void write_kit(const struct region *region, uint32_t node, const struct slice *updates, size_t count)
{
	assert_int_equal(kit_write("k.kit", authority_anchor(region->authority), node, 1, updates, count), CPD_OK);
}

static void a_kit_brings_anchor_number_and_updates(void **state)
{
	struct region region;
	struct kit kit;

	(void)state;
	region_begin(&region);
	write_kit(&region, 344003, &region.record, 1);
	assert_int_equal(kit_read("k.kit", &kit), CPD_OK);
	assert_memory_equal(&kit.anchor, authority_anchor(region.authority), sizeof(kit.anchor));
	assert_int_equal(kit.node, 344003);
	assert_int_equal(kit.key_number, 1);
	assert_int_equal(kit.update_count, 1);
	assert_int_equal(kit.updates[0].len, region.record.len);
	assert_memory_equal(kit.updates[0].data, region.record.data, region.record.len);
	assert_int_equal(kit_check(&kit, region.identity), CPD_OK);
	assert_int_equal(identity_install(region.identity, kit.node, kit.key_number, &kit.anchor), CPD_OK);
	assert_int_equal(identity_node(region.identity), 344003);
	kit_clear(&kit);
	kit_clear(NULL);
	region_end(&region);
}

/* Half a copy, at every length, and a changed byte at every place: refused, and nothing of it kept. */
static void a_kit_cut_or_changed_anywhere_is_refused(void **state)
{
	static const struct kit nothing;
	struct region region;
	char whole[4096];
	struct kit kit;
	size_t len;

	(void)state;
	region_begin(&region);
	write_kit(&region, 344003, &region.record, 1);
	len = read_file("k.kit", whole, sizeof(whole));
	assert_true(len > 200 && len < sizeof(whole) - 1);
	for (size_t cut = 0; cut < len; cut++) {
		write_file("k.kit", whole, cut);
		assert_int_equal(kit_read("k.kit", &kit), CPD_ERR_DAMAGED);
		assert_memory_equal(&kit, &nothing, sizeof(kit));
	}
	for (size_t i = 0; i < len; i++) {
		whole[i] ^= 1;
		write_file("k.kit", whole, len);
		assert_int_equal(kit_read("k.kit", &kit), CPD_ERR_DAMAGED);
		whole[i] ^= 1;
	}
	whole[len] = 0;
	write_file("k.kit", whole, len + 1);
	assert_int_equal(kit_read("k.kit", &kit), CPD_ERR_DAMAGED);
	assert_non_null(strstr(crypto_problem(), "k.kit"));
	assert_int_equal(kit_read("none.kit", &kit), CPD_ERR_NOT_FOUND);
	assert_null(identity_anchor(region.identity));
	region_end(&region);
}

/* Whoever makes the file can make its hash: then the framing itself must hold. */
static void a_kit_with_false_lengths_and_a_good_hash_is_refused(void **state)
{
	struct region region;
	char whole[4096];
	struct kit kit;
	size_t len, good = 0;

	(void)state;
	region_begin(&region);
	write_kit(&region, 344003, &region.record, 1);
	len = read_file("k.kit", whole, sizeof(whole));
	for (size_t i = 0; i < len - 32; i++) {
		whole[i] ^= 0xff;
		crypto_digest((uint8_t *)whole + len - 32, 32, (uint8_t *)whole, len - 32);
		write_file("k.kit", whole, len);
		if (kit_read("k.kit", &kit) == CPD_OK) {
			assert_int_not_equal(kit_check(&kit, region.identity), CPD_OK);
			kit_clear(&kit);
			good++;
		}
		whole[i] ^= 0xff;
	}
	/* Reading lets through only what no framing guards: the numbers (8 bytes) and the signed record. */
	assert_true(good <= 8 + region.record.len);
	memcpy(whole, "cpd-kit 2\n", 10);
	crypto_digest((uint8_t *)whole + len - 32, 32, (uint8_t *)whole, len - 32);
	write_file("k.kit", whole, len);
	assert_int_equal(kit_read("k.kit", &kit), CPD_ERR_VERSION);
	region_end(&region);
}

static void a_kit_for_another_machine_is_refused(void **state)
{
	struct identity *other;
	struct region region;
	struct kit kit;

	(void)state;
	region_begin(&region);
	assert_int_equal(identity_create("other", 0, &other), CPD_OK);
	write_kit(&region, 344003, &region.record, 1);
	assert_int_equal(kit_read("k.kit", &kit), CPD_OK);
	assert_int_equal(kit_check(&kit, other), CPD_ERR_CONFLICT);
	kit_clear(&kit);
	write_kit(&region, 344004, &region.record, 1);
	assert_int_equal(kit_read("k.kit", &kit), CPD_OK);
	assert_int_equal(kit_check(&kit, region.identity), CPD_ERR_NOT_FOUND);
	kit_clear(&kit);
	write_kit(&region, 344003, NULL, 0);
	assert_int_equal(kit_read("k.kit", &kit), CPD_OK);
	assert_int_equal(kit_check(&kit, region.identity), CPD_ERR_NOT_FOUND);
	kit_clear(&kit);
	identity_free(other);
	region_end(&region);
}

static void a_kit_with_an_update_of_another_authority_is_refused(void **state)
{
	struct directory_update update = { .number = 2, .created_s = 1000 };
	uint8_t buf[LIMIT_UPDATE_RECORD];
	struct authority *other;
	struct region region;
	struct slice updates[2];
	struct kit kit;

	(void)state;
	region_begin(&region);
	assert_int_equal(authority_create("other", &names, (struct slice){ NULL, 0 }, &other), CPD_OK);
	updates[0] = region.record;
	updates[1] = make_update(other, &update, buf);
	write_kit(&region, 344003, updates, 2);
	assert_int_equal(kit_read("k.kit", &kit), CPD_OK);
	assert_int_equal(kit_check(&kit, region.identity), CPD_ERR_BAD_SIGNATURE);
	kit_clear(&kit);
	authority_free(other);
	region_end(&region);
}

static void a_kit_for_a_revoked_key_is_refused(void **state)
{
	struct revocation revocation = { .node = 344003, .key_number = 1 };
	struct directory_update update = { .number = 2, .created_s = 1000, .revocations = &revocation, .revocation_count = 1 };
	uint8_t buf[LIMIT_UPDATE_RECORD];
	struct region region;
	struct slice updates[2];
	struct kit kit;

	(void)state;
	region_begin(&region);
	updates[0] = region.record;
	updates[1] = make_update(region.authority, &update, buf);
	write_kit(&region, 344003, updates, 2);
	assert_int_equal(kit_read("k.kit", &kit), CPD_OK);
	assert_int_equal(kit_check(&kit, region.identity), CPD_ERR_REVOKED);
	kit_clear(&kit);
	region_end(&region);
}

static void a_kit_beyond_its_bounds_is_not_written(void **state)
{
	static uint8_t big[LIMIT_ITEM + 1];
	struct slice update = { big, sizeof(big) };
	struct region region;

	(void)state;
	region_begin(&region);
	assert_int_equal(kit_write("k.kit", authority_anchor(region.authority), 1, 1, &update, 1), CPD_ERR_TOO_LARGE);
	assert_int_equal(kit_write("k.kit", authority_anchor(region.authority), 1, 1, &update, LIMIT_KIT_UPDATES + 1), CPD_ERR_TOO_LARGE);
	assert_int_equal(kit_write("k.kit", authority_anchor(region.authority), 0, 1, NULL, 0), CPD_ERR_RANGE);
	assert_int_equal(kit_write("k.kit", authority_anchor(region.authority), 1, 0, NULL, 0), CPD_ERR_RANGE);
	assert_int_not_equal(access("k.kit", F_OK), 0);
	region_end(&region);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(a_request_carries_name_and_keys_of_its_maker),
		WITH_FOLDER(a_request_of_a_later_version_is_read),
		WITH_FOLDER(a_changed_or_cut_request_is_refused),
		WITH_FOLDER(a_request_needs_a_name_that_can_be_shown),
		WITH_FOLDER(a_request_for_the_key_of_another_is_refused),
		WITH_FOLDER(a_request_with_a_small_order_sealing_key_is_refused),
		cmocka_unit_test(fingerprints_tell_every_key_apart),
		WITH_FOLDER(an_update_is_read_back_under_its_anchor_only),
		WITH_FOLDER(a_changed_or_cut_update_is_refused),
		WITH_FOLDER(a_node_cannot_sign_an_update),
		WITH_FOLDER(the_largest_update_fits_its_record),
		WITH_FOLDER(a_kit_brings_anchor_number_and_updates),
		WITH_FOLDER(a_kit_cut_or_changed_anywhere_is_refused),
		WITH_FOLDER(a_kit_with_false_lengths_and_a_good_hash_is_refused),
		WITH_FOLDER(a_kit_for_another_machine_is_refused),
		WITH_FOLDER(a_kit_with_an_update_of_another_authority_is_refused),
		WITH_FOLDER(a_kit_for_a_revoked_key_is_refused),
		WITH_FOLDER(a_kit_beyond_its_bounds_is_not_written),
	};

	if (crypto_start() != CPD_OK)
		return 1;
	return RUN_FED_AND_HUNGRY(tests);
}
