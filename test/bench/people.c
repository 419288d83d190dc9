/* people.c: see people.h. */
#include "test/bench/people.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/region.h"
#include "proto/body.pb-c.h"
#include "proto/cpd.pb-c.h"
#include "proto/kind.h"

#define CERTIFICATES_AN_UPDATE 40 /* of some 250 bytes: below LIMIT_DIRECTORY_UPDATE */

void people_fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("bench: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

int64_t people_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void seed_of(uint32_t node, uint8_t use, uint8_t seed[32])
{
	const uint8_t text[] = { 'b', 'e', 'n', 'c', 'h', use, (uint8_t)(node >> 24), (uint8_t)(node >> 16), (uint8_t)(node >> 8), (uint8_t)node };

	crypto_digest(seed, 32, text, sizeof(text));
}

void person_make(uint32_t node, struct person *out)
{
	uint8_t seed[32], unused[32];

	out->node = node;
	seed_of(node, 1, seed);
	crypto_sign_seed_keypair(out->signing_public, out->signing_secret, seed);
	seed_of(node, 2, seed);
	crypto_box_seed_keypair(out->sealing_public, unused, seed);
	seed_of(node, 3, seed);
	crypto_box_seed_keypair(out->transport_public, out->transport_secret, seed);
}

static void certificate_of(uint32_t node, struct certificate *out)
{
	struct person person;

	person_make(node, &person);
	memset(out, 0, sizeof(*out));
	out->node = node;
	out->role = ROLE_ID_NSP;
	out->key_number = 1;
	snprintf(out->name, sizeof(out->name), "Sender %u", node);
	memcpy(out->signing_key, person.signing_public, 32);
	memcpy(out->sealing_key, person.sealing_public, 32);
	memcpy(out->transport_key, person.transport_public, 32);
}

static void write_update(const char *folder, uint32_t number, const uint8_t *bytes, size_t len)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%06u.update", folder, number);
	file = fopen(path, "wb");
	if (!file || fwrite(bytes, 1, len, file) != len || fclose(file))
		people_fail("%s cannot be written", path);
}

unsigned people_certify(const char *dir, const char *folder, uint32_t first, uint32_t count, uint32_t update)
{
	struct certificate *certificates = calloc(CERTIFICATES_AN_UPDATE, sizeof(*certificates));
	uint8_t *record = malloc(LIMIT_UPDATE_RECORD);
	struct authority *authority;
	unsigned written = 0;
	size_t len;

	if (!certificates || !record || authority_load(dir, (struct slice){ NULL, 0 }, &authority))
		people_fail("the authority in %s cannot be used: %s", dir, crypto_problem());
	for (uint32_t done = 0; done < count; written++) {
		struct directory_update words = { .number = update + written, .created_s = (uint32_t)(time(NULL) - CPD_TIME_ZERO_S), .certificates = certificates };
		enum cpd_error error;

		while (words.certificate_count < CERTIFICATES_AN_UPDATE && done < count)
			certificate_of(first + done++, &certificates[words.certificate_count++]);
		error = region_make_update(authority, &words, record, &len);
		if (error)
			people_fail("update %u: %s", words.number, cpd_error_text(error));
		write_update(folder, words.number, record, len);
	}
	authority_free(authority);
	free(certificates);
	free(record);
	return written;
}

static size_t text_body(const struct message_id *id, uint8_t *buf)
{
	Cpd__Text text = CPD__TEXT__INIT;
	char words[160], name[MESSAGE_ID_TEXT_MAX];

	snprintf(words, sizeof(words), "Noodsteunpunt open, 43 mensen binnen, aggregaat loopt, brandstof tot morgen; bericht %s.", message_id_format(id, name));
	text.text = words;
	return cpd__text__pack(&text, buf);
}

size_t person_message(const struct person *person, const char *network, const struct message_id *id, enum precedence precedence,
    uint32_t to, bool with_trailer, uint8_t *buf)
{
	const struct kind *kind = kind_find(CPD__KIND__KIND_TEXT);
	uint8_t body[256], signed_bytes[PEOPLE_MESSAGE_MAX], over[LIMIT_SIGN_OVER], envelope[PEOPLE_MESSAGE_MAX];
	struct message_signature signature = { .signer = id->origin, .key_number = 1 };
	struct header header = { .id = *id, .nodes = { to }, .node_count = 1, .kind = kind->number, .precedence = precedence,
		.clock_quality = CLOCK_NTP, .closing_level = kind->closing_level, .created_s = (uint32_t)(time(NULL) - CPD_TIME_ZERO_S),
		.lifetime_s = kind->lifetime_s };
	struct trailer trailer;
	size_t signed_len, len, over_len;
	enum cpd_error error;

	header.body = (struct slice){ body, text_body(id, body) };
	error = message_encode_signed(&header, signed_bytes, &signed_len);
	if (!error)
		error = sign_over(SIGN_MESSAGE, network, (struct slice){ signed_bytes, signed_len }, over, &over_len);
	if (!error)
		crypto_sign_detached(signature.bytes, NULL, over, over_len, person->signing_secret);
	if (!error)
		error = message_encode_envelope((struct slice){ signed_bytes, signed_len }, id->origin, &signature, 1, with_trailer ? envelope : buf, &len);
	if (!error && with_trailer) {
		trailer_init(&trailer);
		trailer.recipients = malloc(sizeof(uint32_t));
		if (!trailer.recipients)
			people_fail("memory is used up");
		trailer.recipients[0] = to;
		trailer.recipient_count = 1;
		trailer.hop_limit = LIMIT_HOPS - 1;
		trailer.trace_count = 1;
		trailer.trace[0].node = id->origin;
		error = message_item_encode((struct slice){ envelope, len }, &trailer, buf, &len);
		trailer_clear(&trailer);
	}
	if (error)
		people_fail("a message cannot be made: %s", cpd_error_text(error));
	return len;
}
