/*
 * target_proto.c: what neighbours send, each by its decoder. Of what is taken must hold: slices lead into the bytes,
 * and what we make of it anew is taken again and says the same: its encoding is a fixed point.
 */
#include "test/fuzz/targets.h"

#include "proto/body.pb-c.h"
#include "proto/cpd.pb-c.h"
#include "proto/directory.h"
#include "proto/frame.h"
#include "proto/leaf.h"
#include "proto/presence.h"
#include "proto/receipt.h"
#include "proto/record.pb-c.h"
#include "proto/trailer.h"
#include "proto/wire.h"
#include "crypto/crypto.h"

#define AGAIN_MAX (LIMIT_FRAME + LIMIT_ITEM)
static uint8_t once[AGAIN_MAX], twice[AGAIN_MAX];

static void same(size_t once_len, size_t twice_len)
{
	FUZZ_CHECK(once_len == twice_len && !memcmp(once, twice, once_len));
}

/* ---------------------------------------------------------------- any message of the schema */

static const ProtobufCMessageDescriptor *const schema[] = {
	&cpd__envelope__descriptor, &cpd__message__descriptor, &cpd__signed_record__descriptor, &cpd__trailer__descriptor, &cpd__receipts__descriptor,
	&cpd__presence__descriptor, &cpd__directory_update__descriptor, &cpd__certificate__descriptor, &cpd__group__descriptor,
	&cpd__frame__descriptor, &cpd__message_item__descriptor, &cpd__leaf__descriptor, &cpd__stored_custody__descriptor,
	&cpd__nsp_status__descriptor, &cpd__situation_report__descriptor, &cpd__emergency_call__descriptor, &cpd__instruction__descriptor,
};

/* What wire_check takes protobuf-c must unpack within its budget, and pack again to what wire_check takes. */
void run_wire(struct slice input)
{
	const ProtobufCMessageDescriptor *descriptor = schema[input_below(&input, sizeof(schema) / sizeof(schema[0]))];
	struct arena arena;
	ProtobufCMessage *message;
	enum cpd_error error;
	size_t len;

	arena_init(&arena, LIMIT_ARENA(input.len));
	error = wire_unpack(descriptor, input, &arena, &message);
	FUZZ_CHECK(!error == (message != NULL));
	FUZZ_CHECK(arena.used <= arena.budget);
	if (!error && !wire_pack(message, once, sizeof(once), &len))
		FUZZ_CHECK(!wire_check(descriptor, (struct slice){ once, len }));
	arena_clear(&arena);
	for (uint32_t number = 1; number < 24; number++) {
		struct slice found = wire_find(input, number);

		FUZZ_CHECK(is_within(input, found));
		touch(found);
	}
}

void seeds_wire(fuzz_add *add, void *context)
{
	for (size_t i = 0; i < sizeof(schema) / sizeof(schema[0]); i++) {
		const uint8_t which = (uint8_t)i;

		seeds_of_type(schema[i]->short_name, (struct slice){ &which, 1 }, add, context);
	}
}

/* ---------------------------------------------------------------- envelope */

void run_envelope(struct slice input)
{
	static uint8_t thrice[LIMIT_ENVELOPE];   /* what is read again stands in twice */
	struct message message, again;
	enum cpd_error error = message_decode(input, &message);
	size_t once_len, twice_len;

	if (error) {
		FUZZ_CHECK(message.bytes.data == NULL && message.signature_count == 0);
		return;
	}
	FUZZ_CHECK(is_within(input, message.signed_bytes) && is_within(message.signed_bytes, message.header.body));
	FUZZ_CHECK(is_within(message.signed_bytes, message.header.author));
	FUZZ_CHECK(message.signature_count <= LIMIT_SIGNATURES);
	FUZZ_CHECK(!header_validate(&message.header));
	touch(message.header.body);
	touch(message.header.author);
	FUZZ_CHECK(header_names_node(&message.header, message.header.node_count ? message.header.nodes[0] : 0) == (message.header.node_count > 0));
	/* Our own encoding of that header, as if we were its author. */
	FUZZ_CHECK(!message_encode_signed(&message.header, once, &once_len));
	if (message_encode_envelope((struct slice){ once, once_len }, message.header.id.origin, message.signatures, message.signature_count, twice, &twice_len))
		return;
	FUZZ_CHECK(!message_decode((struct slice){ twice, twice_len }, &again));
	FUZZ_CHECK(message_id_equal(&again.header.id, &message.header.id) && again.header.kind == message.header.kind);
	FUZZ_CHECK(again.header.precedence == message.header.precedence && again.header.mode == message.header.mode);
	FUZZ_CHECK(again.header.closing_level == message.header.closing_level && again.header.lifetime_s == message.header.lifetime_s);
	FUZZ_CHECK(again.header.body.len == message.header.body.len && again.header.large_length == message.header.large_length);
	FUZZ_CHECK(again.header.node_count == message.header.node_count && again.header.group_count == message.header.group_count);
	FUZZ_CHECK(!message_encode_signed(&again.header, thrice, &twice_len));
	FUZZ_CHECK(once_len == twice_len && !memcmp(once, thrice, once_len));
}

void seeds_envelope(fuzz_add *add, void *context)
{
	seeds_of_type("Envelope", (struct slice){ NULL, 0 }, add, context);
}

/* ---------------------------------------------------------------- message item: envelope and trailer */

void run_item(struct slice input)
{
	struct trailer trailer, again;
	struct slice envelope, envelope_again;
	enum cpd_error error = message_item_decode(input, &envelope, &trailer);
	size_t once_len, twice_len;

	FUZZ_CHECK(is_within(input, envelope));
	if (!error) {
		FUZZ_CHECK(trailer.trace_count <= LIMIT_TRACE && trailer.recipient_count <= LIMIT_RECIPIENTS);
		FUZZ_CHECK(trailer.member_bitmap_len <= sizeof(trailer.member_bitmap));
		for (size_t i = 1; i < trailer.recipient_count; i++)
			FUZZ_CHECK(trailer.recipients[i - 1] < trailer.recipients[i]);
		touch(envelope);
		if (!message_item_encode(envelope, &trailer, once, &once_len)) {
			FUZZ_CHECK(!message_item_decode((struct slice){ once, once_len }, &envelope_again, &again));
			FUZZ_CHECK(!message_item_encode(envelope_again, &again, twice, &twice_len));
			same(once_len, twice_len);
			trailer_clear(&again);
		}
	}
	trailer_clear(&trailer);
}

void seeds_item(fuzz_add *add, void *context)
{
	seeds_of_type("MessageItem", (struct slice){ NULL, 0 }, add, context);
}

/* ---------------------------------------------------------------- leaf of a large body */

void run_leaf(struct slice input)
{
	static const uint8_t root[TREE_HASH_LEN] = { 1 };
	struct message_id id;
	struct tree_path path, path_again;
	struct slice leaf, leaf_again;
	uint32_t index, index_again;
	size_t once_len, twice_len;

	if (leaf_item_decode(input, &id, &index, &leaf, &path))
		return;
	FUZZ_CHECK(is_within(input, leaf) && path.count <= LIMIT_TREE_DEPTH);
	touch(leaf);
	(void)!tree_verify_leaf(root, 2 * LIMIT_LEAF + 1, index, leaf, &path, crypto_digest);
	FUZZ_CHECK(!leaf_item_encode(&id, index, leaf, &path, once, &once_len));
	FUZZ_CHECK(!leaf_item_decode((struct slice){ once, once_len }, &id, &index_again, &leaf_again, &path_again));
	FUZZ_CHECK(index_again == index);
	FUZZ_CHECK(!leaf_item_encode(&id, index_again, leaf_again, &path_again, twice, &twice_len));
	same(once_len, twice_len);
}

void seeds_leaf(fuzz_add *add, void *context)
{
	seeds_of_type("Leaf", (struct slice){ NULL, 0 }, add, context);
}

/* ---------------------------------------------------------------- signed records */

void run_record(struct slice input)
{
	struct signed_record record, again;
	size_t once_len, twice_len;

	if (signed_record_decode(input, LIMIT_DIRECTORY_UPDATE, &record))
		return;
	FUZZ_CHECK(is_within(input, record.signed_bytes));
	touch(record.signed_bytes);
	FUZZ_CHECK(!signed_record_encode(record.signed_bytes, record.signature, record.key_number, once, sizeof(once), &once_len));
	FUZZ_CHECK(!signed_record_decode((struct slice){ once, once_len }, sizeof(once), &again));
	FUZZ_CHECK(!signed_record_encode(again.signed_bytes, again.signature, again.key_number, twice, sizeof(twice), &twice_len));
	same(once_len, twice_len);
}

void seeds_record(fuzz_add *add, void *context)
{
	seeds_of_type("SignedRecord", (struct slice){ NULL, 0 }, add, context);
}

void run_receipts(struct slice input)
{
	static struct receipts receipts, again;
	size_t once_len, twice_len;
	bool is_known = true;

	if (receipts_decode(input, &receipts))
		return;
	FUZZ_CHECK(receipts.count > 0 && receipts.count <= LIMIT_RECEIPT_ENTRIES);
	for (size_t i = 0; i < receipts.count; i++) {
		const struct receipt_entry *entry = &receipts.entries[i];

		FUZZ_CHECK(entry->subject.origin == receipts.origin && memchr(entry->remark, 0, sizeof(entry->remark)));
		FUZZ_CHECK(level_merge(entry->level, LEVEL_NONE) == entry->level && level_name(entry->level) && reason_name(entry->reason));
		is_known = is_known && entry->level != LEVEL_NONE;
	}
	/* A level of a later version is not ours to write. */
	if (receipts_encode(&receipts, once, &once_len)) {
		FUZZ_CHECK(!is_known);
		return;
	}
	FUZZ_CHECK(!receipts_decode((struct slice){ once, once_len }, &again));
	FUZZ_CHECK(!receipts_encode(&again, twice, &twice_len));
	same(once_len, twice_len);
}

void seeds_receipts(fuzz_add *add, void *context)
{
	seeds_of_type("Receipts", (struct slice){ NULL, 0 }, add, context);
}

void run_presence(struct slice input)
{
	struct presence presence, again;
	size_t once_len, twice_len;

	if (presence_decode(input, &presence))
		return;
	FUZZ_CHECK(presence.home_count <= LIMIT_HOMES && presence.floor_count <= LIMIT_FLOORS);
	FUZZ_CHECK(!presence_encode(&presence, once, LIMIT_PRESENCE, &once_len));
	FUZZ_CHECK(!presence_decode((struct slice){ once, once_len }, &again));
	FUZZ_CHECK(!presence_encode(&again, twice, LIMIT_PRESENCE, &twice_len));
	same(once_len, twice_len);
}

void seeds_presence(fuzz_add *add, void *context)
{
	seeds_of_type("Presence", (struct slice){ NULL, 0 }, add, context);
}

/* ---------------------------------------------------------------- directory */

static void check_update(const struct directory_update *update)
{
	struct directory_update again;
	size_t once_len, twice_len;

	FUZZ_CHECK(!directory_update_encode(update, once, &once_len));
	FUZZ_CHECK(!directory_update_decode((struct slice){ once, once_len }, &again));
	FUZZ_CHECK(!directory_update_encode(&again, twice, &twice_len));
	same(once_len, twice_len);
	directory_update_clear(&again);
}

static void ask_directory(const struct directory *directory)
{
	static uint32_t recipients[LIMIT_RECIPIENTS];
	struct header header = { .node_count = 0 };
	size_t count;

	for (const struct certificate *certificate = directory_next(directory, 0); certificate; certificate = directory_next(directory, certificate->node)) {
		const struct certificate *by_key = directory_by_transport_key(directory, certificate->transport_key);

		FUZZ_CHECK(directory_certificate(directory, certificate->node) == certificate);
		FUZZ_CHECK(directory_certificate_key(directory, certificate->node, certificate->key_number) == certificate);
		/* Another node may have been certified with the same key: the region's fault; a revoked one is never given. */
		FUZZ_CHECK(!by_key || !directory_revocation(directory, by_key->node, by_key->key_number));
		(void)certificate_allows(certificate, 3);
		if (header.node_count < LIMIT_DESTINATION_NODES)
			header.nodes[header.node_count++] = certificate->node;
		if (certificate->node == UINT32_MAX)
			break;
	}
	for (const struct group *group = directory_next_group(directory, 0); group; group = directory_next_group(directory, group->number)) {
		FUZZ_CHECK(directory_group(directory, group->number, 0) == group);
		if (header.group_count < LIMIT_DESTINATION_GROUPS)
			header.groups[header.group_count++] = (struct group_ref){ group->number, group->version };
		if (group->number == UINT32_MAX)
			break;
	}
	if (directory_recipients(directory, &header, recipients, &count))
		return;
	for (size_t i = 1; i < count; i++)
		FUZZ_CHECK(recipients[i - 1] < recipients[i]);
}

/* Updates one after another, each framed; what is refused changes nothing. */
void run_directory(struct slice input)
{
	struct directory *directory = directory_new();

	FUZZ_CHECK(directory);
	while (input.len) {
		struct slice bytes = input_framed(&input);
		struct directory_update update;
		const uint32_t version = directory_version(directory);

		if (!directory_update_decode(bytes, &update)) {
			const bool was_held = directory_holds(directory, update.number);

			check_update(&update);
			if (directory_apply(directory, &update))
				FUZZ_CHECK(directory_version(directory) == version && directory_holds(directory, update.number) == was_held);
			else
				FUZZ_CHECK(!was_held && directory_holds(directory, update.number) && directory_version(directory) >= version);
		}
		directory_update_clear(&update);
	}
	ask_directory(directory);
	directory_free(directory);
}

struct framing { fuzz_add *add; void *context; uint8_t all[8192]; size_t len; };

static void add_framed(void *context, struct slice seed)
{
	struct framing *framing = context;
	uint8_t *at = framing->all + framing->len;

	if (framing->len + seed.len + 2 > sizeof(framing->all))
		return;
	at[0] = (uint8_t)(seed.len >> 8);
	at[1] = (uint8_t)seed.len;
	memcpy(at + 2, seed.data, seed.len);
	framing->add(framing->context, (struct slice){ at, seed.len + 2 });
	framing->len += seed.len + 2;
}

void seeds_directory(fuzz_add *add, void *context)
{
	struct framing framing = { .add = add, .context = context };

	seeds_of_type("DirectoryUpdate", (struct slice){ NULL, 0 }, add_framed, &framing);
	add(context, (struct slice){ framing.all, framing.len });
}

/* ---------------------------------------------------------------- frame */

void run_frame(struct slice input)
{
	struct frame frame, again;
	size_t once_len, twice_len;

	if (frame_decode(input, &frame)) {
		FUZZ_CHECK(!frame.has);
		return;
	}
	FUZZ_CHECK(is_within(input, frame.data.piece) && is_within(input, frame.presence.record) && is_within(input, frame.want.held) &&
	    is_within(input, frame.introduction));
	touch(frame.data.piece);
	touch(frame.presence.record);
	touch(frame.want.held);
	touch(frame.introduction);
	FUZZ_CHECK(frame.hello.received_bitmap.len <= LIMIT_ACK_BITMAP && frame.ack_bitmap.len <= LIMIT_ACK_BITMAP);
	FUZZ_CHECK(!frame_encode(&frame, once, &once_len));
	FUZZ_CHECK(!frame_decode((struct slice){ once, once_len }, &again));
	FUZZ_CHECK(again.has == frame.has);
	FUZZ_CHECK(!frame_encode(&again, twice, &twice_len));
	same(once_len, twice_len);
}

void seeds_frame(fuzz_add *add, void *context)
{
	seeds_of_type("Frame", (struct slice){ NULL, 0 }, add, context);
}
