/* custody.c: the custody record, its bytes for the store, and the age of a message. */
#include "proto/custody.h"

#include <stdlib.h>
#include <string.h>

#include "proto/record.pb-c.h"
#include "proto/wire.h"

#define ID_LEN 16
/* Above any record of LIMIT_RECIPIENTS that custody_encode writes. */
#define RECORD_MAX (256 * 1024)
/* Our own bytes, up to 30 times larger when unpacked: a recipient of 8 bytes becomes a struct of 130. */
#define RECORD_ARENA(len) ((len) * 40 + 8192)

void custody_init(struct custody *custody)
{
	memset(custody, 0, sizeof(*custody));
}

void custody_clear(struct custody *custody)
{
	if (!custody)
		return;
	free(custody->recipients);
	custody_init(custody);
}

enum cpd_error custody_copy(const struct custody *from, struct custody *to)
{
	struct recipient *recipients = NULL;

	custody_init(to);
	if (from->recipient_count) {
		recipients = malloc(from->recipient_count * sizeof(*recipients));
		if (!recipients)
			return CPD_ERR_NOMEM;
		memcpy(recipients, from->recipients, from->recipient_count * sizeof(*recipients));
	}
	*to = *from;
	to->recipients = recipients;
	return CPD_OK;
}

/* Index of the first recipient whose number is not below node. */
static size_t recipient_place(const struct custody *custody, uint32_t node)
{
	size_t low = 0, high = custody->recipient_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (custody->recipients[middle].node < node)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct recipient *custody_recipient(const struct custody *custody, uint32_t node)
{
	size_t place = recipient_place(custody, node);

	if (place == custody->recipient_count || custody->recipients[place].node != node)
		return NULL;
	return &custody->recipients[place];
}

struct recipient *custody_add_recipient(struct custody *custody, uint32_t node)
{
	size_t place = recipient_place(custody, node), count = custody->recipient_count;
	struct recipient *recipients;

	if (place < count && custody->recipients[place].node == node)
		return &custody->recipients[place];
	if (count >= LIMIT_RECIPIENTS)
		return NULL;
	recipients = realloc(custody->recipients, (count + 1) * sizeof(*recipients));
	if (!recipients)
		return NULL;
	memmove(&recipients[place + 1], &recipients[place], (count - place) * sizeof(*recipients));
	memset(&recipients[place], 0, sizeof(*recipients));
	recipients[place].node = node;
	custody->recipients = recipients;
	custody->recipient_count = count + 1;
	return &recipients[place];
}

/* Milliseconds from `from` to `to`; 0 when it would be negative, the most when it would overflow. */
static int64_t elapsed_ms(int64_t from, int64_t to)
{
	int64_t elapsed;

	if (to <= from)
		return 0;
	return __builtin_sub_overflow(to, from, &elapsed) ? INT64_MAX : elapsed;
}

uint32_t custody_age_s(const struct custody *custody, const struct moment *now)
{
	int64_t elapsed = elapsed_ms(custody->since.custody_ms, now->custody_ms);
	uint64_t age;

	/* Time powered off is in the wall clock only, and counts only between two trusted ones. */
	if (clock_is_trusted(custody->since.quality) && clock_is_trusted(now->quality)) {
		int64_t wall = elapsed_ms(custody->since.wall_ms, now->wall_ms);

		elapsed = wall > elapsed ? wall : elapsed;
	}
	age = (uint64_t)custody->age_s + (uint64_t)elapsed / 1000;
	return age > UINT32_MAX ? UINT32_MAX : (uint32_t)age;
}

static void id_write(const struct message_id *id, uint8_t out[ID_LEN])
{
	for (int i = 0; i < 4; i++) {
		out[i] = (uint8_t)(id->origin >> (24 - 8 * i));
		out[4 + i] = (uint8_t)(id->epoch >> (24 - 8 * i));
	}
	for (int i = 0; i < 8; i++)
		out[8 + i] = (uint8_t)(id->sequence >> (56 - 8 * i));
}

static bool id_read(protobuf_c_boolean has, ProtobufCBinaryData bytes, struct message_id *out)
{
	memset(out, 0, sizeof(*out));
	if (!has)
		return true;
	if (bytes.len != ID_LEN)
		return false;
	for (int i = 0; i < 4; i++) {
		out->origin = out->origin << 8 | bytes.data[i];
		out->epoch = out->epoch << 8 | bytes.data[4 + i];
	}
	for (int i = 0; i < 8; i++)
		out->sequence = out->sequence << 8 | bytes.data[8 + i];
	return true;
}

static void recipient_to_wire(struct recipient *recipient, Cpd__StoredRecipient *wire)
{
	size_t tried = LIMIT_TRIED;

	cpd__stored_recipient__init(wire);
	wire->node = recipient->node;
	WIRE_PUT(wire, hop, (uint32_t)recipient->hop);
	WIRE_PUT(wire, via, recipient->via);
	WIRE_PUT(wire, row, recipient->row);
	WIRE_PUT(wire, retry, recipient->retry);
	WIRE_PUT(wire, after_epoch, recipient->after_epoch);
	while (tried && !recipient->tried[tried - 1])
		tried--;
	wire->tried = recipient->tried;
	wire->n_tried = tried;
	WIRE_PUT(wire, level, (uint32_t)recipient->level);
	WIRE_PUT(wire, reason, (uint32_t)recipient->reason);
	WIRE_PUT(wire, level_s, recipient->level_s);
	WIRE_PUT(wire, witness_epoch, recipient->witness_epoch);
	WIRE_PUT(wire, witness_counter, recipient->witness_counter);
}

static bool recipient_from_wire(const Cpd__StoredRecipient *wire, struct recipient *out)
{
	if (wire->node == 0 || wire->hop > HOP_ENDED || wire->level >= LEVEL_COUNT || wire->n_tried > LIMIT_TRIED)
		return false;
	memset(out, 0, sizeof(*out));
	out->node = wire->node;
	out->hop = (enum hop_state)wire->hop;
	out->via = wire->via;
	out->row = wire->row;
	out->retry = wire->retry;
	out->after_epoch = wire->after_epoch;
	if (wire->n_tried)
		memcpy(out->tried, wire->tried, wire->n_tried * sizeof(out->tried[0]));
	out->level = (enum level)wire->level;
	out->reason = (enum cpd_reason)wire->reason;
	out->level_s = wire->level_s;
	out->witness_epoch = wire->witness_epoch;
	out->witness_counter = wire->witness_counter;
	return true;
}

static void scalars_to_wire(const struct custody *custody, Cpd__StoredCustody *wire)
{
	wire->origin = custody->id.origin;
	wire->epoch = custody->id.epoch;
	wire->sequence = custody->id.sequence;
	wire->hash = wire_bytes((struct slice){ custody->hash.bytes, HASH8_LEN });
	wire->flags = custody->flags;
	wire->kind = custody->kind;
	WIRE_PUT(wire, precedence, (uint32_t)custody->precedence);
	WIRE_PUT(wire, lowered, custody->lowered);
	WIRE_PUT(wire, mode, (uint32_t)custody->mode);
	WIRE_PUT(wire, closing_level, (uint32_t)custody->closing_level);
	WIRE_PUT(wire, created_s, custody->created_s);
	WIRE_PUT(wire, lifetime_s, custody->lifetime_s);
	WIRE_PUT(wire, envelope_len, custody->envelope_len);
	WIRE_PUT(wire, large_length, custody->large_length);
	WIRE_PUT(wire, age_s, custody->age_s);
	WIRE_PUT(wire, since_custody_ms, custody->since.custody_ms);
	WIRE_PUT(wire, since_wall_ms, custody->since.wall_ms);
	WIRE_PUT(wire, since_quality, (uint32_t)custody->since.quality);
	WIRE_PUT(wire, from, custody->from);
	WIRE_PUT(wire, hop_limit, custody->hop_limit);
	WIRE_PUT(wire, retry, custody->retry);
	WIRE_PUT(wire, timer_ms, custody->timer_ms);
	WIRE_PUT(wire, local_level, (uint32_t)custody->local_level);
	WIRE_PUT(wire, local_retry, custody->local_retry);
	WIRE_PUT(wire, inbox, custody->inbox);
}

static void trace_to_wire(const struct custody *custody, Cpd__StoredHop *hops, Cpd__StoredHop **pointers)
{
	for (size_t i = 0; i < custody->trace_count; i++) {
		cpd__stored_hop__init(&hops[i]);
		hops[i].node = custody->trace[i].node;
		WIRE_PUT(&hops[i], received_s, custody->trace[i].received_s);
		WIRE_PUT(&hops[i], sent_s, custody->trace[i].sent_s);
		pointers[i] = &hops[i];
	}
}

enum cpd_error custody_encode(const struct custody *custody, uint8_t **buf, size_t *len)
{
	Cpd__StoredCustody wire = CPD__STORED_CUSTODY__INIT;
	Cpd__StoredHop hops[LIMIT_TRACE], *hop_pointers[LIMIT_TRACE];
	uint8_t in_reply_to[ID_LEN], supersedes[ID_LEN];
	size_t count = custody->recipient_count;
	Cpd__StoredRecipient *rows = NULL, **pointers = NULL;
	enum cpd_error error = CPD_ERR_NOMEM;

	*buf = NULL;
	*len = 0;
	if (count > LIMIT_RECIPIENTS || custody->trace_count > LIMIT_TRACE)
		return CPD_ERR_TOO_LARGE;
	scalars_to_wire(custody, &wire);
	id_write(&custody->in_reply_to, in_reply_to);
	wire.has_in_reply_to = custody->in_reply_to.sequence != 0;
	wire.in_reply_to = wire_bytes((struct slice){ in_reply_to, ID_LEN });
	id_write(&custody->supersedes, supersedes);
	wire.has_supersedes = custody->supersedes.sequence != 0;
	wire.supersedes = wire_bytes((struct slice){ supersedes, ID_LEN });
	WIRE_PUT(&wire, group, custody->group.number);
	WIRE_PUT(&wire, group_version, custody->group.version);
	trace_to_wire(custody, hops, hop_pointers);
	wire.trace = hop_pointers;
	wire.n_trace = custody->trace_count;
	if (count) {
		rows = malloc(count * sizeof(*rows));
		pointers = malloc(count * sizeof(*pointers));
		if (!rows || !pointers)
			goto out;
	}
	for (size_t i = 0; i < count; i++) {
		recipient_to_wire(&custody->recipients[i], &rows[i]);
		pointers[i] = &rows[i];
	}
	wire.recipients = pointers;
	wire.n_recipients = count;
	*buf = malloc(protobuf_c_message_get_packed_size(&wire.base));
	if (*buf)
		error = wire_pack(&wire.base, *buf, RECORD_MAX, len);
	if (error) {
		free(*buf);
		*buf = NULL;
	}
out:
	free(rows);
	free(pointers);
	return error;
}

static enum cpd_error recipients_from_wire(const Cpd__StoredCustody *wire, struct custody *out)
{
	if (wire->n_recipients > LIMIT_RECIPIENTS)
		return CPD_ERR_TOO_LARGE;
	if (!wire->n_recipients)
		return CPD_OK;
	out->recipients = malloc(wire->n_recipients * sizeof(*out->recipients));
	if (!out->recipients)
		return CPD_ERR_NOMEM;
	for (size_t i = 0; i < wire->n_recipients; i++)
		if (!recipient_from_wire(wire->recipients[i], &out->recipients[i]) ||
		    (i && out->recipients[i].node <= out->recipients[i - 1].node))
			return CPD_ERR_MALFORMED;
	out->recipient_count = wire->n_recipients;
	return CPD_OK;
}

static enum cpd_error scalars_from_wire(const Cpd__StoredCustody *wire, struct custody *out)
{
	if (wire->hash.len != HASH8_LEN || wire->precedence >= PRECEDENCE_COUNT || wire->lowered > wire->precedence ||
	    wire->closing_level >= LEVEL_COUNT || wire->local_level >= LEVEL_COUNT ||
	    wire->since_quality > CLOCK_GNSS || wire->n_trace > LIMIT_TRACE ||
	    !id_read(wire->has_in_reply_to, wire->in_reply_to, &out->in_reply_to) ||
	    !id_read(wire->has_supersedes, wire->supersedes, &out->supersedes))
		return CPD_ERR_MALFORMED;
	out->id = (struct message_id){ wire->origin, wire->epoch, wire->sequence };
	memcpy(out->hash.bytes, wire->hash.data, HASH8_LEN);
	out->flags = wire->flags;
	out->kind = wire->kind;
	out->precedence = (enum precedence)wire->precedence;
	out->lowered = wire->lowered;
	out->mode = (enum mode)wire->mode;
	out->closing_level = (enum level)wire->closing_level;
	out->created_s = wire->created_s;
	out->lifetime_s = wire->lifetime_s;
	out->envelope_len = wire->envelope_len;
	out->large_length = wire->large_length;
	out->group = (struct group_ref){ wire->group, wire->group_version };
	out->age_s = wire->age_s;
	out->since = (struct moment){ wire->since_custody_ms, wire->since_wall_ms, (enum clock_quality)wire->since_quality };
	out->from = wire->from;
	out->hop_limit = wire->hop_limit;
	for (size_t i = 0; i < wire->n_trace; i++)
		out->trace[i] = (struct hop){ wire->trace[i]->node, wire->trace[i]->received_s, wire->trace[i]->sent_s };
	out->trace_count = wire->n_trace;
	out->retry = wire->retry;
	out->timer_ms = wire->timer_ms;
	out->local_level = (enum level)wire->local_level;
	out->local_retry = wire->local_retry;
	out->inbox = wire->inbox;
	return CPD_OK;
}

enum cpd_error custody_decode(struct slice bytes, struct custody *out)
{
	struct arena arena;
	Cpd__StoredCustody *wire;
	enum cpd_error error;

	custody_init(out);
	if (bytes.len > RECORD_MAX)
		return CPD_ERR_TOO_LARGE;
	arena_init(&arena, RECORD_ARENA(bytes.len));
	error = wire_unpack(&cpd__stored_custody__descriptor, bytes, &arena, &wire);
	if (!error)
		error = scalars_from_wire(wire, out);
	if (!error)
		error = recipients_from_wire(wire, out);
	arena_clear(&arena);
	if (error)
		custody_clear(out);
	return error;
}
