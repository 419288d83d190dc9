/*
 * target_crypto.c: what is signed, and the files a node and a region keep or hand over. The region is that of the
 * vectors: its authority, and nodes 901, 911 and 344003, with their seeds.
 */
#include "test/fuzz/targets.h"

#include <sys/stat.h>

#include <fcntl.h>
#include <unistd.h>

#include "crypto/backup.h"
#include "crypto/kit.h"
#include "test/fuzz/vectors.h"

/* ---------------------------------------------------------------- signatures */

static const char *const signed_vectors[] = { "call-signed", "reissue-signed", "sealed-call-signed", "text-signed", "large-signed", "receipt", "receipts", "presence",
	"directory-update", "introduction-update", "revocation-update" };

/* What holds must be one of those that the vectors' keys signed: nobody else has them. */
static void check_genuine(struct slice bytes)
{
	static struct slice genuine[sizeof(signed_vectors) / sizeof(signed_vectors[0])];

	for (size_t i = 0; i < sizeof(signed_vectors) / sizeof(signed_vectors[0]); i++) {
		if (!genuine[i].data)
			genuine[i] = seed_named(signed_vectors[i]);
		if (genuine[i].len == bytes.len && !memcmp(genuine[i].data, bytes.data, bytes.len))
			return;
	}
	FUZZ_CHECK(!"a forged signature was taken");
}

static void check_record(struct slice record)
{
	struct signed_record parts;

	FUZZ_CHECK(!signed_record_decode(record, LIMIT_UPDATE_RECORD, &parts));
	check_genuine(parts.signed_bytes);
}

void run_verify(struct slice input)
{
	static struct verified_message message;
	static struct verified_receipts receipts;
	struct verified_presence presence;
	struct directory_update update;

	switch (input_below(&input, 4)) {
	case 0:
		if (!verify_message(vector_directory(), "nl", input, &message))
			check_genuine(message.message.signed_bytes);
		break;
	case 1:
		if (!verify_receipts(vector_directory(), "nl", input, &receipts))
			check_record(input);
		break;
	case 2:
		if (!verify_presence(vector_directory(), "nl", input, &presence))
			check_record(input);
		break;
	default:
		if (!verify_directory_update(vector_anchor(), input, &update)) {
			check_record(input);
			directory_update_clear(&update);
		}
		break;
	}
}

void seeds_verify(fuzz_add *add, void *context)
{
	seeds_of_type("Envelope", (struct slice){ (const uint8_t[]){ 0 }, 1 }, add, context);
	for (uint8_t purpose = 1; purpose < 4; purpose++)
		seeds_of_type("SignedRecord", (struct slice){ &purpose, 1 }, add, context);
}

/* ---------------------------------------------------------------- region.pub, requests */

void run_anchor(struct slice input)
{
	struct region_anchor read;
	char again[LIMIT_ANCHOR], fingerprint[FINGERPRINT_TEXT_MAX];
	size_t len;

	if (region_anchor_parse(input, &read))
		return;
	FUZZ_CHECK(!region_anchor_format(&read, again, &len) && len == input.len && !memcmp(again, input.data, len));
	FUZZ_CHECK(strlen(region_anchor_fingerprint(&read, fingerprint)) < FINGERPRINT_TEXT_MAX);
}

void seeds_anchor(fuzz_add *add, void *context)
{
	char text[LIMIT_ANCHOR];
	size_t len;

	FUZZ_CHECK(!region_anchor_format(vector_anchor(), text, &len));
	add(context, (struct slice){ (const uint8_t *)text, len });
}

void run_request(struct slice input)
{
	struct certificate certificate;
	char fingerprint[FINGERPRINT_TEXT_MAX];

	if (region_check_request(input, &certificate)) {
		FUZZ_CHECK(!certificate.key_number && !certificate.name[0]);
		return;
	}
	FUZZ_CHECK(certificate.key_number && certificate.name[0] && memchr(certificate.name, 0, sizeof(certificate.name)));
	FUZZ_CHECK(strlen(certificate_fingerprint(&certificate, fingerprint)) < FINGERPRINT_TEXT_MAX);
}

void seeds_request(fuzz_add *add, void *context)
{
	uint8_t bytes[LIMIT_CERTIFICATE];
	size_t len;

	FUZZ_CHECK(!region_make_request(vector_identity("344003"), "NSP Lombok", bytes, &len));
	add(context, (struct slice){ bytes, len });
}

/* ---------------------------------------------------------------- kit */

#define KIT_MAX 20000

/* First byte odd: the sum is put behind, so that what it guards is reached. */
void run_kit(struct slice input)
{
	static uint8_t bytes[KIT_MAX + 32];
	const bool sums = input_number(&input, 1) & 1;
	struct kit kit;

	FUZZ_CHECK(input.len <= KIT_MAX);
	if (input.len)
		memcpy(bytes, input.data, input.len);
	if (sums)
		crypto_digest(bytes + input.len, 32, bytes, input.len);
	if (kit_read(files_memory((struct slice){ bytes, input.len + (sums ? 32 : 0) }), &kit)) {
		FUZZ_CHECK(!kit.bytes && !kit.updates && !kit.update_count && crypto_problem()[0]);
		return;
	}
	FUZZ_CHECK(kit.node && kit.key_number && kit.update_count <= LIMIT_KIT_UPDATES);
	for (size_t i = 0; i < kit.update_count; i++)
		touch(kit.updates[i]);
	(void)!kit_check(&kit, vector_identity("344003"));
	kit_clear(&kit);
}

void seeds_kit(fuzz_add *add, void *context)
{
	static uint8_t bytes[KIT_MAX];
	struct slice updates[3] = { seed_named("directory-update-record"), seed_named("introduction-update-record"), seed_named("revocation-update-record") };
	const char *path = files_path("seed.kit");

	for (size_t count = 0; count <= 3; count++) {
		FILE *file;
		size_t len;

		FUZZ_CHECK(!kit_write(path, vector_anchor(), 344003, 1, updates, count));
		file = fopen(path, "rb");
		FUZZ_CHECK(file);
		len = fread(bytes + 1, 1, sizeof(bytes) - 1, file);
		fclose(file);
		bytes[0] = 0;
		add(context, (struct slice){ bytes, 1 + len });
		bytes[0] = 1;
		add(context, (struct slice){ bytes, 1 + len - 32 });
	}
}

/* ---------------------------------------------------------------- identity folder */

static const char *const identity_files[] = { "signing.key", "sealing.key", "transport.key", "epoch", "node", "region.pub" };
#define IDENTITY_FILES (sizeof(identity_files) / sizeof(identity_files[0]))

/* The six files, each framed; one with a length of 65535 is not there. */
void run_identity(struct slice input)
{
	char folder[128], path[160];
	struct identity *identity;
	const char *problem = NULL;

	snprintf(folder, sizeof(folder), "%s", files_path("tried"));
	files_empty(folder);
	FUZZ_CHECK(!mkdir(folder, 0700));
	for (size_t i = 0; i < IDENTITY_FILES; i++) {
		const size_t len = (size_t)input_number(&input, 2);

		snprintf(path, sizeof(path), "%s/%s", folder, identity_files[i]);
		if (len != 65535)
			files_write(path, input_bytes(&input, len), 0600);
	}
	if (identity_load(folder, &identity, &problem)) {
		FUZZ_CHECK(!identity && problem && problem[0]);
		return;
	}
	FUZZ_CHECK(identity_key_number(identity));
	identity_free(identity);
}

void seeds_identity(fuzz_add *add, void *context)
{
	const char *folder = vector_identity_folder("344003");
	uint8_t bytes[2048];
	char path[160];
	size_t at = 0;

	for (size_t i = 0; i < IDENTITY_FILES; i++) {
		FILE *file;
		size_t len;

		snprintf(path, sizeof(path), "%s/%s", folder, identity_files[i]);
		file = fopen(path, "rb");
		FUZZ_CHECK(file);
		len = fread(bytes + at + 2, 1, sizeof(bytes) - at - 2, file);
		fclose(file);
		bytes[at] = (uint8_t)(len >> 8);
		bytes[at + 1] = (uint8_t)len;
		at += 2 + len;
		if (i == 4) {
			bytes[at] = bytes[at + 1] = 255;
			add(context, (struct slice){ bytes, at + 2 });
		}
	}
	add(context, (struct slice){ bytes, at });
}

/* ---------------------------------------------------------------- backup */

/* First byte odd: length and sum are put behind, as over what stands before. */
void run_backup(struct slice input)
{
	static uint8_t bytes[BACKUP_HEAD_MAX * 4 + BACKUP_TAIL];
	const bool sums = input_number(&input, 1) & 1;
	struct backup_head head;
	uint64_t at, len;
	size_t total = input.len;
	int fd;

	if (input.len)
		memcpy(bytes, input.data, input.len);
	if (sums) {
		const char *end = memmem(bytes, input.len, "\n\n", 2);
		const uint64_t data = end ? input.len - (size_t)((const uint8_t *)end + 2 - bytes) : 0;

		for (int i = 0; i < 8; i++)
			bytes[total++] = (uint8_t)(data >> (56 - 8 * i));
		crypto_digest(bytes + total, 32, bytes, total);
		total += 32;
	}
	fd = open(files_memory((struct slice){ bytes, total }), O_RDONLY | O_CLOEXEC);
	FUZZ_CHECK(fd >= 0);
	if (!backup_prove(fd, &head, &at, &len, NULL, NULL)) {
		FUZZ_CHECK(head.node && head.network[0] && memchr(head.network, 0, sizeof(head.network)) && memchr(head.region, 0, sizeof(head.region)));
		FUZZ_CHECK(memchr(head.made, 0, sizeof(head.made)) && memchr(head.version, 0, sizeof(head.version)));
		FUZZ_CHECK(at + len + BACKUP_TAIL == total);
	}
	close(fd);
}

void seeds_backup(fuzz_add *add, void *context)
{
	const struct backup_head head = { .network = "nl", .region = "VR09", .node = 344003, .epoch = 2, .schema = 2, .made = "2026-11-24T12:00:00Z",
		.version = "0.2.0" };
	uint8_t bytes[1 + BACKUP_HEAD_MAX + 64] = { 1 };
	struct backup_sum *sum;
	size_t len;

	sum = backup_begin(&head, bytes + 1, &len);
	FUZZ_CHECK(sum);
	memcpy(bytes + 1 + len, "data", 4);
	add(context, (struct slice){ bytes, 1 + len + 4 });
	backup_add(sum, bytes + 1 + len, 4);
	backup_end(sum, bytes + 1 + len + 4);
	bytes[0] = 0;
	add(context, (struct slice){ bytes, 1 + len + 4 + BACKUP_TAIL });
}
