/* receipt.c: receipts and signed records on the wire, and the table by which levels move. */
#include "proto/receipt.h"

#include <string.h>

#include "proto/cpd.pb-c.h"
#include "proto/text.h"
#include "proto/wire.h"

#define SIGNATURE_LEN 64
/* witness, epoch, counter, time, origin; then epoch, sequence, level with reason for each entry. */
#define FIELDS_HEAD 5
#define FIELDS_ENTRY 3
#define FIELDS_MAX (FIELDS_HEAD + FIELDS_ENTRY * LIMIT_RECEIPT_ENTRIES)
#define LEVEL_BITS 4
#define REASON_MAX 0xff

/*
 * The order in which levels win (PROTOCOL.md section 6.2); merging is taking the highest, so order
 * and repetition of arrival cannot matter.
 *
 * Below what an addressee signs stands what others tell: advice of relays, then the origin's own
 * end of it. An addressee's word beats all of them. NOT_UNDERSTOOD stands above READ: somebody
 * opened "onbekend bericht" and still nobody knows what it asks. REFUSED stands below ACCEPTED and
 * DONE: a person who comes back on a refusal is believed, and arrival order cannot tell the reverse.
 */
static const uint8_t level_rank[LEVEL_COUNT] = {
	[LEVEL_NONE] = 0,
	[LEVEL_UNDELIVERABLE] = 1,
	[LEVEL_EXPIRED] = 2,
	[LEVEL_SUPERSEDED] = 3,
	[LEVEL_WITHDRAWN] = 4,
	[LEVEL_DELIVERED] = 5,
	[LEVEL_READ] = 6,
	[LEVEL_NOT_UNDERSTOOD] = 7,
	[LEVEL_REFUSED] = 8,
	[LEVEL_ACCEPTED] = 9,
	[LEVEL_DONE] = 10,
};

/* A level of a later version counts as none here; the record's bytes keep it for others. */
static enum level level_known(uint64_t level)
{
	return level < LEVEL_COUNT ? (enum level)level : LEVEL_NONE;
}

enum level level_merge(enum level held, enum level told)
{
	held = level_known((unsigned)held);
	told = level_known((unsigned)told);
	return level_rank[told] > level_rank[held] ? told : held;
}

bool level_closes(enum level level, enum level closing)
{
	level = level_known((unsigned)level);
	closing = level_known((unsigned)closing);
	if (level == LEVEL_REFUSED || level == LEVEL_NOT_UNDERSTOOD)
		return true;
	return level_is_addressees(level) && level_rank[level] >= level_rank[closing];
}

bool level_is_addressees(enum level level)
{
	return level_rank[level_known((unsigned)level)] >= level_rank[LEVEL_DELIVERED];
}

const char *level_name(enum level level)
{
	static const char *const names[LEVEL_COUNT] = {
		[LEVEL_NONE] = "NONE",
		[LEVEL_EXPIRED] = "EXPIRED",
		[LEVEL_UNDELIVERABLE] = "UNDELIVERABLE",
		[LEVEL_DELIVERED] = "DELIVERED",
		[LEVEL_NOT_UNDERSTOOD] = "NOT-UNDERSTOOD",
		[LEVEL_READ] = "READ",
		[LEVEL_REFUSED] = "REFUSED",
		[LEVEL_ACCEPTED] = "ACCEPTED",
		[LEVEL_DONE] = "DONE",
		[LEVEL_SUPERSEDED] = "SUPERSEDED",
		[LEVEL_WITHDRAWN] = "WITHDRAWN",
	};

	return (unsigned)level < LEVEL_COUNT ? names[level] : "UNKNOWN";
}

enum cpd_error signed_record_decode(struct slice bytes, size_t max, struct signed_record *out)
{
	struct arena arena;
	Cpd__SignedRecord *record;
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	if (bytes.len > max)
		return CPD_ERR_TOO_LARGE;
	arena_init(&arena, LIMIT_ARENA(bytes.len));
	error = wire_unpack(&cpd__signed_record__descriptor, bytes, &arena, &record);
	if (!error && record->signature.len != SIGNATURE_LEN)
		error = CPD_ERR_MALFORMED;
	if (!error && (record->key_number == 0 || record->signed_.len == 0))
		error = CPD_ERR_RANGE;
	if (!error) {
		out->bytes = bytes;
		out->signed_bytes = wire_find(bytes, 1);
		memcpy(out->signature, record->signature.data, SIGNATURE_LEN);
		out->key_number = record->key_number;
	}
	arena_clear(&arena);
	return error;
}

enum cpd_error signed_record_encode(struct slice signed_bytes, const uint8_t signature[64],
    uint32_t key_number, uint8_t *buf, size_t buf_len, size_t *len)
{
	Cpd__SignedRecord record = CPD__SIGNED_RECORD__INIT;

	*len = 0;
	if (key_number == 0 || signed_bytes.len == 0)
		return CPD_ERR_RANGE;
	record.signed_ = wire_bytes(signed_bytes);
	record.signature = wire_bytes((struct slice){ signature, SIGNATURE_LEN });
	record.key_number = key_number;
	record.has_key_number = key_number != 1;
	return wire_pack(&record.base, buf, buf_len, len);
}

/* What holds for every record, written or read. */
static enum cpd_error receipts_check(const struct receipts *receipts)
{
	if (receipts->count > LIMIT_RECEIPT_ENTRIES)
		return CPD_ERR_TOO_LARGE;
	if (receipts->count == 0)
		return CPD_ERR_MISSING;
	if (receipts->witness == 0 || receipts->epoch == 0 || receipts->counter == 0 || receipts->origin == 0)
		return CPD_ERR_RANGE;
	for (size_t i = 0; i < receipts->count; i++) {
		const struct receipt_entry *entry = &receipts->entries[i];
		enum cpd_error error;

		if (entry->subject.origin != receipts->origin || entry->subject.epoch == 0 ||
		    entry->subject.sequence == 0 || (unsigned)entry->reason > REASON_MAX)
			return CPD_ERR_RANGE;
		if (memchr(entry->remark, '\0', sizeof(entry->remark)) == NULL)
			return CPD_ERR_TOO_LARGE;
		error = text_check_string(entry->remark, LIMIT_REMARK, LIMIT_REMARK, TEXT_ONE_LINE);
		if (error)
			return error;
	}
	return CPD_OK;
}

static enum cpd_error entry_from_wire(const Cpd__Receipts *wire, size_t index, uint32_t origin,
    struct receipt_entry *out)
{
	const uint64_t *fields = &wire->fields[FIELDS_HEAD + FIELDS_ENTRY * index];
	const char *remark = wire->n_remarks ? wire->remarks[index] : "";
	size_t remark_len = strlen(remark);

	if (fields[0] > UINT32_MAX || fields[2] >> LEVEL_BITS > REASON_MAX)
		return CPD_ERR_RANGE;
	if (remark_len > LIMIT_REMARK)
		return CPD_ERR_TOO_LARGE;
	out->subject = (struct message_id){ origin, (uint32_t)fields[0], fields[1] };
	out->level = level_known(fields[2] & ((1u << LEVEL_BITS) - 1));
	out->reason = (enum cpd_reason)(fields[2] >> LEVEL_BITS);
	memcpy(out->hash.bytes, wire->hashes.data + HASH8_LEN * index, HASH8_LEN);
	memcpy(out->remark, remark, remark_len + 1);
	return CPD_OK;
}

static enum cpd_error receipts_from_wire(const Cpd__Receipts *wire, struct receipts *out)
{
	size_t count;

	if (wire->n_fields < FIELDS_HEAD || (wire->n_fields - FIELDS_HEAD) % FIELDS_ENTRY)
		return CPD_ERR_MALFORMED;
	count = (wire->n_fields - FIELDS_HEAD) / FIELDS_ENTRY;
	if (count > LIMIT_RECEIPT_ENTRIES)
		return CPD_ERR_TOO_LARGE;
	if (wire->hashes.len != HASH8_LEN * count || (wire->n_remarks && wire->n_remarks != count))
		return CPD_ERR_MALFORMED;
	if (wire->fields[0] > UINT32_MAX || wire->fields[1] > UINT32_MAX || wire->fields[3] > UINT32_MAX ||
	    wire->fields[4] > UINT32_MAX)
		return CPD_ERR_RANGE;
	out->witness = (uint32_t)wire->fields[0];
	out->epoch = (uint32_t)wire->fields[1];
	out->counter = wire->fields[2];
	out->time_s = (uint32_t)wire->fields[3];
	out->origin = (uint32_t)wire->fields[4];
	out->count = count;
	for (size_t i = 0; i < count; i++) {
		enum cpd_error error = entry_from_wire(wire, i, out->origin, &out->entries[i]);

		if (error)
			return error;
	}
	return receipts_check(out);
}

enum cpd_error receipts_decode(struct slice signed_bytes, struct receipts *out)
{
	struct arena arena;
	Cpd__Receipts *wire;
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	if (signed_bytes.len > LIMIT_RECEIPTS)
		return CPD_ERR_TOO_LARGE;
	arena_init(&arena, LIMIT_ARENA(signed_bytes.len));
	error = wire_unpack(&cpd__receipts__descriptor, signed_bytes, &arena, &wire);
	if (!error)
		error = receipts_from_wire(wire, out);
	arena_clear(&arena);
	if (error)
		memset(out, 0, sizeof(*out));
	return error;
}

enum cpd_error receipts_encode(const struct receipts *receipts, uint8_t *buf, size_t *len)
{
	Cpd__Receipts wire = CPD__RECEIPTS__INIT;
	uint64_t fields[FIELDS_MAX];
	uint8_t hashes[HASH8_LEN * LIMIT_RECEIPT_ENTRIES];
	char *remarks[LIMIT_RECEIPT_ENTRIES];
	bool has_remarks = false;
	enum cpd_error error = receipts_check(receipts);

	*len = 0;
	if (error)
		return error;
	fields[0] = receipts->witness;
	fields[1] = receipts->epoch;
	fields[2] = receipts->counter;
	fields[3] = receipts->time_s;
	fields[4] = receipts->origin;
	for (size_t i = 0; i < receipts->count; i++) {
		const struct receipt_entry *entry = &receipts->entries[i];
		uint64_t *at = &fields[FIELDS_HEAD + FIELDS_ENTRY * i];

		if (level_known((unsigned)entry->level) == LEVEL_NONE)
			return CPD_ERR_RANGE; /* nothing to sign for */
		at[0] = entry->subject.epoch;
		at[1] = entry->subject.sequence;
		at[2] = (uint64_t)entry->level | (uint64_t)entry->reason << LEVEL_BITS;
		memcpy(hashes + HASH8_LEN * i, entry->hash.bytes, HASH8_LEN);
		remarks[i] = (char *)(uintptr_t)entry->remark;
		has_remarks |= entry->remark[0] != '\0';
	}
	wire.fields = fields;
	wire.n_fields = FIELDS_HEAD + FIELDS_ENTRY * receipts->count;
	wire.hashes = wire_bytes((struct slice){ hashes, HASH8_LEN * receipts->count });
	wire.remarks = remarks;
	wire.n_remarks = has_remarks ? receipts->count : 0;
	return wire_pack(&wire.base, buf, LIMIT_RECEIPTS, len);
}
