/* test_message.c: headers and envelopes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/kind.h"
#include "proto/message.h"
#include "test/unit/alloc_fault.h"
#include "test/unit/damage.h"

#define EMERGENCY_CALL 3
#define INSTRUCTION 5

static const uint8_t body_bytes[120] = "a body of a realistic length";

/* A noodhulpmelding as an NSP sends it: one addressee, NTP clock, the kind's own life and level. */
static void make_header(struct header *out)
{
	memset(out, 0, sizeof(*out));
	out->id = (struct message_id){ 344003, 2, 118 };
	out->nodes[0] = 344901;
	out->node_count = 1;
	out->kind = EMERGENCY_CALL;
	out->precedence = PRECEDENCE_FLASH;
	out->clock_quality = CLOCK_NTP;
	out->closing_level = LEVEL_DONE;
	out->created_s = 28000000;
	out->lifetime_s = 72 * 3600;
	out->body = (struct slice){ body_bytes, sizeof(body_bytes) };
}

/* Encodes with one signature of the origin; returns the envelope's length. */
static size_t make_envelope(const struct header *header, uint8_t *out)
{
	static uint8_t signed_bytes[LIMIT_ENVELOPE];
	struct message_signature signature = { .signer = header->id.origin, .key_number = 1, .bytes = { 9, 8, 7 } };
	size_t signed_len, len;

	assert_int_equal(message_encode_signed(header, signed_bytes, &signed_len), CPD_OK);
	assert_int_equal(message_encode_envelope((struct slice){ signed_bytes, signed_len }, header->id.origin,
	    &signature, 1, out, &len), CPD_OK);
	return len;
}

/* Envelope around `signed_bytes` as a peer might make it: the encoder would refuse such a header. */
static enum cpd_error decode_signed(const uint8_t *signed_bytes, size_t len, struct message *out)
{
	static uint8_t buf[LIMIT_ENVELOPE];
	struct message_signature signature = { .signer = 1, .key_number = 1 };
	size_t envelope_len;

	assert_int_equal(message_encode_envelope((struct slice){ signed_bytes, len }, 1, &signature, 1, buf,
	    &envelope_len), CPD_OK);
	return message_decode((struct slice){ buf, envelope_len }, out);
}

/* ---------------------------------------------------------------- size */

static void envelope_overhead_is_at_most_104_bytes(void **state)
{
	uint8_t buf[LIMIT_ENVELOPE];
	struct header header;
	size_t len;

	(void)state;
	make_header(&header);
	len = make_envelope(&header, buf);
	print_message("envelope overhead, one addressee: %zu B (in all %zu B for a body of %zu B)\n",
	    len - sizeof(body_bytes), len, sizeof(body_bytes));
	assert_true(len - sizeof(body_bytes) <= 104);
}

/* ---------------------------------------------------------------- round trip */

static void a_header_comes_back_as_written(void **state)
{
	static const char author[] = "informatiemanager";
	uint8_t buf[LIMIT_ENVELOPE];
	struct header header;
	struct message message;
	size_t len;

	(void)state;
	make_header(&header);
	header.nodes[1] = 1;
	header.nodes[2] = UINT32_MAX;
	header.node_count = 3;
	header.groups[0] = (struct group_ref){ 7, 3 };
	header.groups[1] = (struct group_ref){ 6, 1 };
	header.group_count = 2;
	header.mode = MODE_EXERCISE;
	header.clock_quality = CLOCK_GNSS;
	header.confidentiality = CONFIDENTIALITY_PERSONAL;
	header.entry_mode = ENTRY_AUTOMATIC;
	header.closing_level = LEVEL_READ;
	header.retention_class = 5;
	header.lifetime_s = 61;
	header.in_reply_to = (struct message_id){ 344003, 1, 5 };
	header.supersedes = (struct message_id){ 901, 4, UINT64_MAX };
	header.supersedes_hash = (struct hash8){ { 1, 2, 3, 4, 5, 6, 7, 8 } };
	header.has_supersedes_hash = true;
	header.incident = (struct message_id){ 901, 1, 1 };
	header.author = (struct slice){ (const uint8_t *)author, strlen(author) };
	len = make_envelope(&header, buf);
	assert_int_equal(message_decode((struct slice){ buf, len }, &message), CPD_OK);
	assert_true(message_id_equal(&message.header.id, &header.id));
	assert_int_equal(message.header.node_count, 3);
	assert_memory_equal(message.header.nodes, header.nodes, sizeof(header.nodes));
	assert_int_equal(message.header.group_count, 2);
	assert_memory_equal(message.header.groups, header.groups, sizeof(header.groups));
	assert_int_equal(message.header.kind, header.kind);
	assert_int_equal(message.header.precedence, header.precedence);
	assert_int_equal(message.header.mode, header.mode);
	assert_int_equal(message.header.clock_quality, header.clock_quality);
	assert_int_equal(message.header.confidentiality, header.confidentiality);
	assert_int_equal(message.header.entry_mode, header.entry_mode);
	assert_int_equal(message.header.closing_level, header.closing_level);
	assert_int_equal(message.header.retention_class, 5);
	assert_int_equal(message.header.created_s, header.created_s);
	assert_int_equal(message.header.lifetime_s, 61);
	assert_true(message_id_equal(&message.header.in_reply_to, &header.in_reply_to));
	assert_true(message_id_equal(&message.header.supersedes, &header.supersedes));
	assert_true(message.header.has_supersedes_hash);
	assert_memory_equal(&message.header.supersedes_hash, &header.supersedes_hash, sizeof(header.supersedes_hash));
	assert_true(message_id_equal(&message.header.incident, &header.incident));
	assert_int_equal(message.header.author.len, strlen(author));
	assert_memory_equal(message.header.author.data, author, strlen(author));
	assert_int_equal(message.header.body.len, sizeof(body_bytes));
	assert_memory_equal(message.header.body.data, body_bytes, sizeof(body_bytes));
	assert_int_equal(message.signature_count, 1);
	assert_int_equal(message.signatures[0].signer, 344003);
	assert_int_equal(message.signatures[0].bytes[1], 8);
}

static void slices_lead_into_the_bytes_as_they_came(void **state)
{
	uint8_t buf[LIMIT_ENVELOPE];
	struct header header;
	struct message message;
	struct slice all;

	(void)state;
	make_header(&header);
	header.author = (struct slice){ (const uint8_t *)"operator", 8 };
	all = (struct slice){ buf, make_envelope(&header, buf) };
	assert_int_equal(message_decode(all, &message), CPD_OK);
	assert_ptr_equal(message.bytes.data, buf);
	assert_true(message.signed_bytes.data > buf && message.signed_bytes.data + message.signed_bytes.len <= buf + all.len);
	assert_true(message.header.body.data > message.signed_bytes.data);
	assert_true(message.header.body.data + message.header.body.len <= message.signed_bytes.data + message.signed_bytes.len);
	assert_true(message.header.author.data > message.signed_bytes.data);
	assert_true(message.header.author.data + 8 <= message.signed_bytes.data + message.signed_bytes.len);
}

static void a_large_body_is_told_by_its_root(void **state)
{
	uint8_t buf[LIMIT_ENVELOPE];
	struct header header;
	struct message message;

	(void)state;
	make_header(&header);
	header.body = (struct slice){ NULL, 0 };
	header.large_length = LIMIT_LARGE_BODY;
	memset(header.large_root, 0x5a, 32);
	assert_int_equal(message_decode((struct slice){ buf, make_envelope(&header, buf) }, &message), CPD_OK);
	assert_int_equal(message.header.large_length, LIMIT_LARGE_BODY);
	assert_memory_equal(message.header.large_root, header.large_root, 32);
	assert_null(message.header.body.data);
}

static void an_empty_body_is_a_body(void **state)
{
	uint8_t buf[LIMIT_ENVELOPE];
	struct header header;
	struct message message;

	(void)state;
	make_header(&header);
	header.body.len = 0;
	assert_int_equal(message_decode((struct slice){ buf, make_envelope(&header, buf) }, &message), CPD_OK);
	assert_non_null(message.header.body.data);
	assert_int_equal(message.header.body.len, 0);
}

static void several_signatures_keep_their_signers(void **state)
{
	uint8_t signed_bytes[1024], buf[LIMIT_ENVELOPE];
	struct message_signature signatures[LIMIT_SIGNATURES + 1] = {
		{ .signer = 344003, .key_number = 1 }, { .signer = 901, .key_number = 7 }, { .signer = 902, .key_number = 1 },
		{ .signer = 903, .key_number = 1 }, { .signer = 904, .key_number = 1 },
	};
	struct header header;
	struct message message;
	size_t signed_len, len;
	struct slice content;

	(void)state;
	make_header(&header);
	assert_int_equal(message_encode_signed(&header, signed_bytes, &signed_len), CPD_OK);
	content = (struct slice){ signed_bytes, signed_len };
	assert_int_equal(message_encode_envelope(content, 344003, signatures, LIMIT_SIGNATURES, buf, &len), CPD_OK);
	assert_int_equal(message_decode((struct slice){ buf, len }, &message), CPD_OK);
	assert_int_equal(message.signature_count, LIMIT_SIGNATURES);
	for (size_t i = 0; i < LIMIT_SIGNATURES; i++) {
		assert_int_equal(message.signatures[i].signer, signatures[i].signer);
		assert_int_equal(message.signatures[i].key_number, signatures[i].key_number);
	}
	assert_int_equal(message_encode_envelope(content, 344003, signatures, LIMIT_SIGNATURES + 1, buf, &len), CPD_ERR_TOO_LARGE);
	assert_int_equal(message_encode_envelope(content, 344003, signatures, 0, buf, &len), CPD_ERR_MISSING);
	signatures[0].key_number = 0;
	assert_int_equal(message_encode_envelope(content, 344003, signatures, 1, buf, &len), CPD_ERR_RANGE);
}

static void an_unsigned_envelope_is_refused(void **state)
{
	uint8_t buf[LIMIT_ENVELOPE];
	struct header header;
	struct message message;
	size_t len;

	(void)state;
	make_header(&header);
	len = make_envelope(&header, buf);
	/* The signature stands last: tag, length, and 66 bytes. */
	assert_int_equal(message_decode((struct slice){ buf, len - 68 }, &message), CPD_ERR_MISSING);
	assert_null(message.signed_bytes.data);
	buf[len - 67] = 65;
	buf[len - 65] = 63;
	assert_int_equal(message_decode((struct slice){ buf, len - 1 }, &message), CPD_ERR_MALFORMED);
}

/* ---------------------------------------------------------------- flags */

static void flags_stand_where_the_protocol_says(void **state)
{
	struct header header, back;

	(void)state;
	make_header(&header);
	header.closing_level = LEVEL_ACCEPTED;
	header.clock_quality = CLOCK_MANUAL;
	header.mode = MODE_TEST;
	header.confidentiality = CONFIDENTIALITY_INTERNAL;
	header.entry_mode = ENTRY_COURIER;
	header.retention_class = 6;
	assert_int_equal(header_flags_pack(&header), 3 | 3 << 2 | 1 << 5 | 2 << 7 | 1 << 9 | 3 << 11 | 6 << 14);
	for (uint32_t flags = 0; flags < 1u << 17; flags++) {
		memset(&back, 0, sizeof(back));
		back.kind = EMERGENCY_CALL;
		header_flags_unpack(flags | 0xfffe0000u, &back);
		if ((flags >> 2 & 7) > 0 && (flags >> 2 & 7) < 4) /* a code that is not the kind's own */
			assert_int_equal(header_flags_pack(&back), flags);
		else
			assert_int_equal(header_flags_pack(&back), flags & ~(7u << 2));
	}
}

static void closing_level_is_the_kinds_own_when_not_told(void **state)
{
	struct header header;

	(void)state;
	memset(&header, 0, sizeof(header));
	for (size_t i = 0; kind_at(i); i++) {
		header.kind = kind_at(i)->number;
		header_flags_unpack(0, &header);
		assert_int_equal(header.closing_level, kind_at(i)->closing_level);
		assert_int_equal(header_flags_pack(&header), 0);
	}
	header.kind = 999;
	header_flags_unpack(0, &header);
	assert_int_equal(header.closing_level, LEVEL_DELIVERED);
	/* Codes of a later version count as not told. */
	header.kind = INSTRUCTION;
	for (uint32_t code = 5; code < 8; code++) {
		header_flags_unpack(code << 2, &header);
		assert_int_equal(header.closing_level, LEVEL_ACCEPTED);
	}
}

/* ---------------------------------------------------------------- validation */

static void a_header_with_a_fault_is_refused(void **state)
{
	static const uint8_t long_author[LIMIT_FUNCTION + 1] = "";
	static uint8_t large[LIMIT_BODY + 1];
	uint8_t buf[LIMIT_ENVELOPE];
	struct header header;
	size_t len;

	(void)state;
#define REFUSED_WHEN(change, expected) \
	do { \
		make_header(&header); \
		change; \
		assert_int_equal(header_validate(&header), expected); \
		assert_int_equal(message_encode_signed(&header, buf, &len), expected); \
		assert_int_equal(len, 0); \
	} while (0)
	REFUSED_WHEN(header.id.origin = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(header.id.epoch = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(header.id.sequence = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(header.kind = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(header.node_count = 0, CPD_ERR_MISSING);
	REFUSED_WHEN(header.node_count = LIMIT_DESTINATION_NODES + 1, CPD_ERR_TOO_LARGE);
	REFUSED_WHEN(header.group_count = LIMIT_DESTINATION_GROUPS + 1, CPD_ERR_TOO_LARGE);
	REFUSED_WHEN(header.nodes[0] = 0, CPD_ERR_RANGE);
	REFUSED_WHEN((header.nodes[1] = header.nodes[0], header.node_count = 2), CPD_ERR_MALFORMED);
	REFUSED_WHEN(header.group_count = 1, CPD_ERR_RANGE);
	REFUSED_WHEN((header.groups[0].number = 5, header.group_count = 1), CPD_ERR_RANGE);
	REFUSED_WHEN((header.groups[0] = (struct group_ref){ 5, 1 }, header.groups[1] = (struct group_ref){ 5, 2 },
	    header.group_count = 2), CPD_ERR_MALFORMED);
	REFUSED_WHEN(header.lifetime_s = 0, CPD_ERR_RANGE);
	REFUSED_WHEN(header.lifetime_s = LIMIT_LIFETIME_MIN_S - 1, CPD_ERR_RANGE);
	REFUSED_WHEN(header.lifetime_s = LIMIT_LIFETIME_MAX_S + 1, CPD_ERR_RANGE);
	REFUSED_WHEN(header.precedence = PRECEDENCE_COUNT, CPD_ERR_RANGE);
	REFUSED_WHEN(header.closing_level = LEVEL_REFUSED, CPD_ERR_RANGE);
	REFUSED_WHEN(header.closing_level = LEVEL_COUNT, CPD_ERR_RANGE);
	REFUSED_WHEN(header.retention_class = 8, CPD_ERR_RANGE);
	REFUSED_WHEN(header.entry_mode = (enum entry_mode)8, CPD_ERR_RANGE);
	REFUSED_WHEN(header.supersedes = header.id, CPD_ERR_RANGE);
	REFUSED_WHEN(header.in_reply_to = header.id, CPD_ERR_RANGE);
	REFUSED_WHEN((header.incident = (struct message_id){ 0, 1, 1 }), CPD_ERR_RANGE);
	REFUSED_WHEN((header.supersedes = (struct message_id){ 1, 0, 1 }), CPD_ERR_RANGE);
	REFUSED_WHEN(header.large_length = 1, CPD_ERR_MALFORMED);
	REFUSED_WHEN((header.body = (struct slice){ NULL, 0 }), CPD_ERR_MISSING);
	REFUSED_WHEN((header.body = (struct slice){ large, sizeof(large) }), CPD_ERR_TOO_LARGE);
	REFUSED_WHEN((header.body = (struct slice){ NULL, 0 }, header.large_length = LIMIT_LARGE_BODY + 1), CPD_ERR_TOO_LARGE);
	REFUSED_WHEN((header.author = (struct slice){ long_author, sizeof(long_author) }), CPD_ERR_TOO_LARGE);
	REFUSED_WHEN((header.author = (struct slice){ (const uint8_t *)"a\nb", 3 }), CPD_ERR_TEXT);
	REFUSED_WHEN((header.author = (struct slice){ (const uint8_t *)"a\0b", 3 }), CPD_ERR_TEXT);
	REFUSED_WHEN((header.author = (struct slice){ (const uint8_t *)"\xff", 1 }), CPD_ERR_TEXT);
#undef REFUSED_WHEN
	make_header(&header);
	assert_int_equal(header_validate(&header), CPD_OK);
	header.body = (struct slice){ large, LIMIT_BODY };
	assert_int_equal(message_encode_signed(&header, buf, &len), CPD_OK);
}

/* origin 1, sequence 1, node 2, kind 6, created 1, body "x"; each case adds or changes a field. */
#define RAW(...) ((const uint8_t[]){ 0x08, 1, 0x18, 1, 0x30, 6, 0x40, 1, 0x52, 1, 'x', __VA_ARGS__ }), \
	sizeof((const uint8_t[]){ 0x08, 1, 0x18, 1, 0x30, 6, 0x40, 1, 0x52, 1, 'x', __VA_ARGS__ })
#define NODE 0x22, 1, 2

static void a_peers_faulty_header_is_refused(void **state)
{
	struct message message;

	(void)state;
	assert_int_equal(decode_signed(RAW(NODE), &message), CPD_OK);
	assert_int_equal(message.header.id.epoch, 1);
	assert_int_equal(message.header.lifetime_s, 72 * 3600);
	assert_int_equal(decode_signed(RAW(0xa0, 6, 1), &message), CPD_ERR_MISSING);            /* no destination */
	assert_int_equal(decode_signed(RAW(0x22, 2, 2, 2), &message), CPD_ERR_MALFORMED);       /* twice */
	assert_int_equal(decode_signed(RAW(0x2a, 3, 5, 1, 6), &message), CPD_ERR_MALFORMED);    /* half a group */
	assert_int_equal(decode_signed(RAW(0x2a, 2, 5, 1), &message), CPD_OK);
	assert_int_equal(decode_signed(RAW(NODE, 0x10, 0), &message), CPD_ERR_RANGE);           /* epoch 0 */
	assert_int_equal(decode_signed(RAW(NODE, 0x48, 0), &message), CPD_ERR_RANGE);           /* lifetime 0 */
	assert_int_equal(decode_signed(RAW(NODE, 0x08, 1), &message), CPD_ERR_MALFORMED);       /* second origin */
	assert_int_equal(decode_signed(RAW(NODE, 0x52, 1, 'y'), &message), CPD_ERR_MALFORMED);  /* second body */
	assert_int_equal(decode_signed(RAW(NODE, 0x5a, 2, 0x18, 0), &message), CPD_ERR_MALFORMED); /* reply to 0 */
	assert_int_equal(decode_signed(RAW(NODE, 0x5a, 2, 0x18, 9), &message), CPD_OK);
	assert_int_equal(message.header.in_reply_to.origin, 1);
	assert_int_equal(message.header.in_reply_to.epoch, 1);
	assert_int_equal(decode_signed(RAW(NODE, 0x5a, 4, 0x18, 9, 0x08, 0), &message), CPD_ERR_RANGE); /* of node 0 */
	assert_int_equal(decode_signed(RAW(NODE, 0x72, 1, 7), &message), CPD_ERR_TEXT);         /* author rings a bell */
	assert_int_equal(decode_signed(RAW(NODE, 0x7a, 4, 0x08, 5, 0x12, 0), &message), CPD_ERR_MALFORMED); /* root short */
	assert_null(message.signed_bytes.data);
}

static void what_a_later_version_adds_passes(void **state)
{
	struct message message;
	uint8_t later[] = { 0x08, 1, 0x18, 1, 0x22, 1, 2, 0x30, 0xe7, 0x07, 0x40, 1, 0x52, 1, 'x',
		0x38, 0xff, 0xff, 0xff, 0xff, 0x0f, /* every flag */
		0xc2, 0x3e, 2, 0xff, 0xfe,          /* unknown field 1000 */
		0xc8, 0x3e, 1 };

	(void)state;
	assert_int_equal(decode_signed(later, sizeof(later), &message), CPD_OK);
	assert_int_equal(message.header.kind, 999);
	assert_int_equal(message.header.mode, 3);
	assert_int_equal(message.header.closing_level, LEVEL_DELIVERED);
	assert_int_equal(message.header.lifetime_s, 72 * 3600);
	assert_int_equal(message.signed_bytes.len, sizeof(later));
	assert_memory_equal(message.signed_bytes.data, later, sizeof(later));
}

static void the_life_of_an_unknown_kind_is_written(void **state)
{
	uint8_t buf[LIMIT_ENVELOPE];
	struct header header;
	size_t known, unknown;

	(void)state;
	make_header(&header);
	header.closing_level = LEVEL_DELIVERED;
	header.kind = 6;
	assert_int_equal(message_encode_signed(&header, buf, &known), CPD_OK);
	header.kind = 99;
	assert_int_equal(message_encode_signed(&header, buf, &unknown), CPD_OK);
	assert_int_equal(unknown, known + 4);
}

static void nodes_are_found_among_the_destinations(void **state)
{
	struct header header;

	(void)state;
	make_header(&header);
	assert_true(header_names_node(&header, 344901));
	assert_false(header_names_node(&header, 344003));
	assert_false(header_names_node(&header, 0));
}

/* ---------------------------------------------------------------- damage */

static enum cpd_error try_message(struct slice bytes)
{
	struct message message;
	enum cpd_error error = message_decode(bytes, &message);

	if (error) {
		assert_null(message.bytes.data);
		return error;
	}
	assert_int_equal(header_validate(&message.header), CPD_OK);
	if (message.header.body.data)
		assert_true(message.header.body.data >= bytes.data &&
		    message.header.body.data + message.header.body.len <= bytes.data + bytes.len);
	return CPD_OK;
}

static void damaged_messages_never_crash(void **state)
{
	static uint8_t buf[LIMIT_ENVELOPE + 1];
	struct header header;
	struct message message;
	size_t len;

	(void)state;
	make_header(&header);
	header.body.len = 10;
	header.groups[0] = (struct group_ref){ 7, 3 };
	header.group_count = 1;
	header.in_reply_to = (struct message_id){ 901, 4, 77 };
	header.author = (struct slice){ (const uint8_t *)"operator", 8 };
	len = make_envelope(&header, buf);
	assert_int_equal(damage_every_length((struct slice){ buf, len }, try_message), 0);
	damage_every_byte((struct slice){ buf, len }, 1000, try_message);
	assert_int_equal(message_decode((struct slice){ buf, LIMIT_ENVELOPE + 1 }, &message), CPD_ERR_TOO_LARGE);
	assert_int_equal(message_decode((struct slice){ NULL, 0 }, &message), CPD_ERR_MISSING);
}

static void failing_memory_is_told(void **state)
{
	static uint8_t large[LIMIT_BODY];
	static uint8_t buf[LIMIT_ENVELOPE];
	struct header header;
	struct message message;
	size_t len;

	(void)state;
	make_header(&header);
	header.body = (struct slice){ large, sizeof(large) };
	len = make_envelope(&header, buf);
	ASSERT_NOMEM_EVERYWHERE(message_decode((struct slice){ buf, len }, &message), (void)0);
	assert_int_equal(message.header.body.len, LIMIT_BODY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(envelope_overhead_is_at_most_104_bytes),
		cmocka_unit_test(a_header_comes_back_as_written),
		cmocka_unit_test(slices_lead_into_the_bytes_as_they_came),
		cmocka_unit_test(a_large_body_is_told_by_its_root),
		cmocka_unit_test(an_empty_body_is_a_body),
		cmocka_unit_test(several_signatures_keep_their_signers),
		cmocka_unit_test(an_unsigned_envelope_is_refused),
		cmocka_unit_test(flags_stand_where_the_protocol_says),
		cmocka_unit_test(closing_level_is_the_kinds_own_when_not_told),
		cmocka_unit_test(a_header_with_a_fault_is_refused),
		cmocka_unit_test(a_peers_faulty_header_is_refused),
		cmocka_unit_test(what_a_later_version_adds_passes),
		cmocka_unit_test(the_life_of_an_unknown_kind_is_written),
		cmocka_unit_test(nodes_are_found_among_the_destinations),
		cmocka_unit_test(damaged_messages_never_crash),
		cmocka_unit_test(failing_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
