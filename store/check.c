/*
 * check.c: proves every checksum and the invariants of STORE.md section 4, and repairs what can be
 * repaired without guessing.
 *
 * Everything is read in one snapshot, because an invariant spans tables; repairs are planned
 * meanwhile and committed after it, because no read may be open while the map grows.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/presence.h"
#include "proto/receipt.h"
#include "store/internal.h"

#define PIECE 500 /* rows of one read of a running store */
#define PLAN_BATCH (512 * 1024)
#define ROW_TEXT 160

struct used { bool any; uint64_t highest; };

struct check {
	struct store *store;
	MDB_txn *txn;
	bool repair;
	store_report *report;
	void *context;
	struct store_check *out;
	enum cpd_error error;                  /* the first that stopped a part of the check */
	struct scratch row, other;             /* the row at hand; what it is compared with */
	struct store_batch *plan, **plan_end, *plan_last;
	/* Learnt in the first walk. */
	uint32_t self;                         /* 0: no row tells */
	uint64_t epoch;
	struct used sequence, own_epoch, queue_row, inbox, journal, receipt, presence;
	int64_t custody_ms;
	uint64_t fresh_row;                    /* for a queue row that needs a new counter */
	bool fresh_used;
	/* Of a running store. A rule looks from one row at others in the same snapshot, and counters only rise: so each piece may have its own. */
	store_step *step;
	uint64_t looked, of;
	bool is_ended;                         /* broken off; txn is none */
};

typedef void check_row(struct check *check, const struct store_key *key, struct slice value);

static void check_say(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void check_say(struct check *check, const char *format, ...)
{
	char line[512];
	va_list list;

	if (!check->report)
		return;
	va_start(list, format);
	vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	check->report(check->context, line);
}

/* ---- the plan */

static void check_plan(struct check *check, enum batch_verb verb, enum store_table table, const struct store_key *key, struct slice value)
{
	struct store_batch *batch = check->plan_last;
	enum cpd_error error = CPD_ERR_NOMEM;

	if (!check->repair)
		return;
	if (!batch || batch->len > PLAN_BATCH) {
		batch = store_batch_new(0);
		if (!batch) {
			check->error = error;
			return;
		}
		*check->plan_end = check->plan_last = batch;
		check->plan_end = &batch->next;
	}
	if (verb == BATCH_PUT)
		error = store_batch_put(batch, table, key, value);
	else if (verb == BATCH_DELETE)
		error = store_batch_delete(batch, table, key);
	else if (verb == BATCH_RECOUNT)
		error = batch_recount(batch, key);
	else
		error = batch_quarantine(batch, table, key);
	if (error)
		check->error = error;
}

static void check_plan_put(struct check *check, enum store_table table, const struct store_key *key, const struct store_value *value)
{
	check_plan(check, BATCH_PUT, table, key, (struct slice){ value->bytes, value->len });
}

static void check_plan_delete(struct check *check, enum store_table table, const struct store_key *key)
{
	check_plan(check, BATCH_DELETE, table, key, (struct slice){ NULL, 0 });
}

static void check_plan_custody(struct check *check, const struct custody *custody)
{
	const struct store_key key = store_key_id(&custody->id);
	enum cpd_error error;
	uint8_t *bytes;
	size_t len;

	if (!check->repair)
		return;
	error = custody_encode(custody, &bytes, &len);
	if (error) {
		check->error = error;
		return;
	}
	check_plan(check, BATCH_PUT, TABLE_CUSTODY, &key, (struct slice){ bytes, len });
	free(bytes);
}

/* ---- looking */

/* A damaged row counts as absent: repair will have moved it aside. */
static bool check_get(struct check *check, enum store_table table, const struct store_key *key, struct slice *value)
{
	const enum cpd_error error = store_row_get(check->store, check->txn, table, key, &check->other, value);

	if (error && error != CPD_ERR_NOT_FOUND && error != CPD_ERR_DAMAGED && error != CPD_ERR_RANGE)
		check->error = error;
	return !error;
}

static bool check_has(struct check *check, enum store_table table, const struct store_key *key)
{
	struct slice ignored;

	return check_get(check, table, key, &ignored);
}

static bool check_custody_of(struct check *check, const struct message_id *id, struct custody *out)
{
	const struct store_key key = store_key_id(id);
	struct slice value;

	custody_init(out);
	return check_get(check, TABLE_CUSTODY, &key, &value) && custody_decode(value, out) == CPD_OK;
}

static uint64_t check_meta(struct check *check, const char *name)
{
	const struct store_key key = store_key_name(name);
	struct slice value;
	uint64_t number;

	return check_get(check, TABLE_META, &key, &value) && !store_value_read_u64(value, &number) ? number : 0;
}

/* "message 344003/2/118", "queue row 7 of link 12 at FLASH", "number 3", "name epoch". */
static const char *check_name_row(enum store_table table, const struct store_key *key, char out[ROW_TEXT])
{
	struct store_key front = { .len = key->len < 16 ? key->len : 16 };
	struct message_id id;
	enum precedence precedence;
	char text[MESSAGE_ID_TEXT_MAX];
	uint64_t counter;
	uint32_t link;
	int64_t due;

	memcpy(front.bytes, key->bytes, front.len);
	if (table == TABLE_QUEUE && !store_key_read_queue(key, &link, &precedence, &counter))
		snprintf(out, ROW_TEXT, "queue row %" PRIu64 " of link %" PRIu32 " at %s", counter, link, precedence_name(precedence));
	else if (table == TABLE_DEPTHS && !store_key_read_depth(key, &link, &precedence))
		snprintf(out, ROW_TEXT, "the queue of link %" PRIu32 " at %s", link, precedence_name(precedence));
	else if (table == TABLE_TIMERS && !store_key_read_timer(key, &due, &id))
		snprintf(out, ROW_TEXT, "message %s", message_id_format(&id, text));
	else if ((table == TABLE_ENVELOPES || table == TABLE_CUSTODY || table == TABLE_LEAVES) && !store_key_read_id(&front, &id))
		snprintf(out, ROW_TEXT, "message %s", message_id_format(&id, text));
	else if (table == TABLE_RECEIPTS && !store_key_read_id(key, &id))
		snprintf(out, ROW_TEXT, "record %s", message_id_format(&id, text));
	else if (table == TABLE_META)
		snprintf(out, ROW_TEXT, "name %.*s", (int)key->len, (const char *)key->bytes);
	else if (key->len == 8 && table != TABLE_AUTHORED && table != TABLE_LATEST)
		snprintf(out, ROW_TEXT, "number %" PRIu64, store_key_read_counter(key));
	else if (key->len == 4 && table != TABLE_AUTHORED)
		snprintf(out, ROW_TEXT, "number %" PRIu32, (uint32_t)key->bytes[0] << 24 | (uint32_t)key->bytes[1] << 16 |
		    (uint32_t)key->bytes[2] << 8 | key->bytes[3]);
	else {
		int at = snprintf(out, ROW_TEXT, "key ");
		for (size_t i = 0; i < key->len; i++)
			at += snprintf(out + at, ROW_TEXT - (size_t)at, "%02x", key->bytes[i]);
	}
	return out;
}

static void check_damaged(struct check *check, enum store_table table, const struct store_key *key)
{
	char text[ROW_TEXT];

	check->out->damaged[table]++;
	check_say(check, "%s: the row of %s is damaged%s", store_table_name(table), check_name_row(table, key, text),
	    check->repair ? "; moved into quarantine" : "");
	check_plan(check, BATCH_QUARANTINE, table, key, (struct slice){ NULL, 0 });
	if (check->repair)
		check->out->quarantined++;
}

/* Lets the writer and other readers go first, and finds the row after `key` in a new snapshot. */
static int check_renew(struct check *check, enum store_table table, MDB_cursor **cursor, const struct store_key *key, MDB_val *at, MDB_val *raw)
{
	int rc;

	mdb_cursor_close(*cursor);
	*cursor = NULL;
	store_read_end(check->store, check->txn);
	check->txn = NULL;
	check->is_ended = !check->step(check->context, check->looked, check->of > check->looked ? check->of : check->looked);
	check->error = check->is_ended ? CPD_ERR_STATE : store_read_begin(check->store, &check->txn);
	check->is_ended |= check->error != CPD_OK;
	if (check->is_ended)
		return MDB_NOTFOUND;
	rc = mdb_cursor_open(check->txn, check->store->tables[table], cursor);
	*at = (MDB_val){ key->len, (void *)(uintptr_t)key->bytes };
	if (!rc)
		rc = mdb_cursor_get(*cursor, at, raw, MDB_SET_RANGE);
	if (!rc && at->mv_size == key->len && !memcmp(at->mv_data, key->bytes, key->len))
		rc = mdb_cursor_get(*cursor, at, raw, MDB_NEXT);
	return rc;
}

/* first: counts rows and damage; later walks pass over what is damaged. */
static void check_walk(struct check *check, enum store_table table, bool first, check_row *visit)
{
	struct store_key key;
	MDB_cursor *cursor;
	enum cpd_error error;
	struct slice value;
	MDB_val at, raw;
	int rc = check->is_ended ? MDB_NOTFOUND : mdb_cursor_open(check->txn, check->store->tables[table], &cursor);

	if (check->is_ended)
		return;
	if (rc) {
		check->error = store_lmdb_error(rc);
		return;
	}
	rc = mdb_cursor_get(cursor, &at, &raw, MDB_FIRST);
	while (!rc) {
		bool is_due = check->step && ++check->looked % PIECE == 0 && at.mv_size <= STORE_KEY_MAX;

		key.len = at.mv_size <= STORE_KEY_MAX ? at.mv_size : STORE_KEY_MAX;
		memcpy(key.bytes, at.mv_data, key.len);
		check->out->rows[table] += first;
		error = store_row_open(check->store, table, &at, &raw, &check->row, &value);
		if (!error && visit)
			visit(check, &key, value);
		else if (error == CPD_ERR_DAMAGED && first)
			check_damaged(check, table, &key);
		else if (error && error != CPD_ERR_DAMAGED)
			check->error = error;
		rc = is_due ? check_renew(check, table, &cursor, &key, &at, &raw) : mdb_cursor_get(cursor, &at, &raw, MDB_NEXT);
	}
	if (cursor)
		mdb_cursor_close(cursor);
	if (rc == MDB_NOTFOUND)
		return;
	check->error = store_lmdb_error(rc);
	if (first)
		check_say(check, "%s: the table cannot be read to its end: %s; restore the store from a backup", store_table_name(table), mdb_strerror(rc));
}

static void check_broken(struct check *check)
{
	check->out->broken_invariants++;
}

/* ---- what the first walk learns */

static void used_add(struct used *used, uint64_t value)
{
	if (!used->any || value > used->highest)
		*used = (struct used){ true, value };
}

static void check_heard(struct check *check, int64_t custody_ms)
{
	if (custody_ms > check->custody_ms)
		check->custody_ms = custody_ms;
}

static void learn_custody(struct check *check, const struct store_key *key, struct slice value)
{
	struct custody custody;
	size_t i;

	(void)key;
	custody_init(&custody);
	if (custody_decode(value, &custody) == CPD_OK) {
		check_heard(check, custody.since.custody_ms);
		if (custody.inbox)
			used_add(&check->inbox, custody.inbox);
		if (custody.flags & CUSTODY_IS_ORIGIN) {
			check->self = custody.id.origin;
			used_add(&check->own_epoch, custody.id.epoch);
			if (custody.id.epoch == check->epoch)
				used_add(&check->sequence, custody.id.sequence);
		}
		for (i = 0; i < custody.recipient_count; i++) {
			if (custody.recipients[i].hop == HOP_LOCAL)
				check->self = custody.recipients[i].node;
			if (custody.recipients[i].row)
				used_add(&check->queue_row, custody.recipients[i].row);
		}
	}
	custody_clear(&custody);
}

static void learn_queue(struct check *check, const struct store_key *key, struct slice value)
{
	enum precedence precedence;
	uint64_t counter;
	uint32_t link;

	(void)value;
	if (!store_key_read_queue(key, &link, &precedence, &counter))
		used_add(&check->queue_row, counter);
}

static void learn_inbox(struct check *check, const struct store_key *key, struct slice value)
{
	(void)value;
	used_add(&check->inbox, store_key_read_counter(key));
}

static void learn_journal(struct check *check, const struct store_key *key, struct slice value)
{
	(void)value;
	used_add(&check->journal, store_key_read_counter(key));
}

/* Receipts and presence are walked after custody, which tells who we are. */
static void learn_receipt(struct check *check, const struct store_key *key, struct slice value)
{
	struct message_id id;

	(void)value;
	if (!store_key_read_id(key, &id) && check->self && id.origin == check->self && id.epoch == check->epoch)
		used_add(&check->receipt, id.sequence);
}

static void learn_presence(struct check *check, const struct store_key *key, struct slice value)
{
	const struct store_key own = store_key_number(check->self);
	struct signed_record record;
	struct presence presence;
	uint64_t heard;

	if (value.len < 8 || store_value_read_u64((struct slice){ value.data, 8 }, &heard))
		return;
	if (heard <= INT64_MAX)
		check_heard(check, (int64_t)heard);
	if (!check->self || key->len != own.len || memcmp(key->bytes, own.bytes, own.len) != 0)
		return;
	if (!signed_record_decode((struct slice){ value.data + 8, value.len - 8 }, LIMIT_PRESENCE, &record) &&
	    !presence_decode(record.signed_bytes, &presence) && presence.epoch == check->epoch)
		used_add(&check->presence, presence.counter);
}

/* ---- invariants 1 to 3: the queue */

static void rule_queue(struct check *check, const struct store_key *key, struct slice value)
{
	struct item_ref ref;
	struct store_key row;
	uint32_t destination;
	char place[ROW_TEXT], id[MESSAGE_ID_TEXT_MAX];
	const char *lack = NULL;

	check_name_row(TABLE_QUEUE, key, place);
	if (store_value_read_ref(value, &ref, &destination)) {
		check_broken(check);
		check_say(check, "%s cannot be understood%s", place, check->repair ? "; removed" : "");
		check_plan_delete(check, TABLE_QUEUE, key);
		return;
	}
	row = store_key_id(&ref.id);
	if (ref.type == ITEM_TYPE_MESSAGE && !check_has(check, TABLE_CUSTODY, &row))
		lack = "custody record";
	else if (ref.type == ITEM_TYPE_MESSAGE && !check_has(check, TABLE_ENVELOPES, &row))
		lack = "envelope";
	else if (ref.type == ITEM_TYPE_RECEIPTS && !check_has(check, TABLE_RECEIPTS, &row))
		lack = "record";
	if (!lack)
		return;
	check_broken(check);
	message_id_format(&ref.id, id);
	check_say(check, "%s leads to %s %s, of which no %s is held%s", place,
	    ref.type == ITEM_TYPE_MESSAGE ? "message" : "receipts record", id, lack, check->repair ? "; removed" : "");
	check_plan_delete(check, TABLE_QUEUE, key);
}

enum queue_place { PLACE_IS_OURS, PLACE_IS_FREE, PLACE_IS_ANOTHERS };

static enum queue_place check_place(struct check *check, const struct custody *custody, uint32_t link, enum precedence precedence, uint64_t row)
{
	const struct store_key key = store_key_queue(link, precedence, row);
	struct item_ref ref;
	struct slice value;
	uint32_t destination;

	if (!check_get(check, TABLE_QUEUE, &key, &value))
		return PLACE_IS_FREE;
	if (store_value_read_ref(value, &ref, &destination))
		return PLACE_IS_FREE; /* rule_queue removes it before the plan puts ours */
	return ref.type == ITEM_TYPE_MESSAGE && message_id_equal(&ref.id, &custody->id) ? PLACE_IS_OURS : PLACE_IS_ANOTHERS;
}

static bool recipient_waits(const struct recipient *recipient)
{
	return recipient->hop == HOP_QUEUED || recipient->hop == HOP_UNROUTED;
}

static uint32_t recipient_link(const struct recipient *recipient)
{
	return recipient->hop == HOP_UNROUTED ? 0 : recipient->via;
}

static bool recipients_share_row(const struct recipient *a, const struct recipient *b)
{
	return recipient_waits(a) && recipient_waits(b) && a->row == b->row && recipient_link(a) == recipient_link(b);
}

/* Gives the recipients that share this one's row another one. */
static void check_renumber(struct check *check, struct custody *custody, size_t first)
{
	const struct recipient old = custody->recipients[first];

	for (size_t i = first; i < custody->recipient_count; i++)
		if (recipients_share_row(&old, &custody->recipients[i]))
			custody->recipients[i].row = check->fresh_row;
	check->fresh_row++;
	check->fresh_used = true;
}

/* True when a row number had to change. */
static bool rule_recipient(struct check *check, struct custody *custody, size_t index)
{
	struct recipient *recipient = &custody->recipients[index];
	const uint32_t link = recipient_link(recipient);
	const struct item_ref ref = { .type = ITEM_TYPE_MESSAGE, .precedence = custody_queue(custody), .id = custody->id };
	char id[MESSAGE_ID_TEXT_MAX];
	struct store_value value;
	struct store_key key;
	bool needs_number;

	for (int p = 0; recipient->row && p < PRECEDENCE_COUNT; p++)
		if (check_place(check, custody, link, (enum precedence)p, recipient->row) == PLACE_IS_OURS)
			return false;
	check_broken(check);
	check_say(check, "message %s waits for link %" PRIu32 " with recipient %" PRIu32 " and has no queue row there%s",
	    message_id_format(&custody->id, id), link, recipient->node, check->repair ? "; queued again" : "");
	needs_number = recipient->row == 0 ||
	    check_place(check, custody, link, custody_queue(custody), recipient->row) == PLACE_IS_ANOTHERS;
	if (needs_number)
		check_renumber(check, custody, index);
	key = store_key_queue(link, custody_queue(custody), recipient->row);
	value = store_value_ref(&ref, recipient->node);
	check_plan_put(check, TABLE_QUEUE, &key, &value);
	return needs_number;
}

/* One row serves all recipients behind one link. A held message has none. */
static bool rule_recipients(struct check *check, struct custody *custody)
{
	bool changed = false;

	for (size_t i = 0, j; i < custody->recipient_count; i++) {
		const struct recipient *recipient = &custody->recipients[i];

		if (!recipient_waits(recipient) || (custody->flags & CUSTODY_IS_HELD && recipient->row == 0))
			continue;
		for (j = 0; j < i && !recipients_share_row(recipient, &custody->recipients[j]); j++)
			;
		if (j == i)
			changed = rule_recipient(check, custody, i) || changed;
	}
	return changed;
}

/* ---- invariants 4 to 8: one custody record and what belongs to it */

static bool custody_waits(const struct custody *custody)
{
	for (size_t i = 0; i < custody->recipient_count; i++)
		if (recipient_waits(&custody->recipients[i]))
			return true;
	return false;
}

/* Without its bytes it cannot be served. Saying so lets a repeated offer be taken again. */
static void custody_give_up(struct custody *custody)
{
	custody->flags &= ~(unsigned)CUSTODY_HAS_ENVELOPE;
	for (size_t i = 0; i < custody->recipient_count; i++) {
		if (!recipient_waits(&custody->recipients[i]))
			continue;
		custody->recipients[i].hop = HOP_NONE;
		custody->recipients[i].via = 0;
		custody->recipients[i].row = 0;
	}
}

/* True when the record changed. */
static bool rule_envelope(struct check *check, const struct store_key *key, struct custody *custody, const char *id)
{
	const bool has_row = check_has(check, TABLE_ENVELOPES, key);
	const bool has_flag = (custody->flags & CUSTODY_HAS_ENVELOPE) != 0;

	if (has_row && has_flag)
		return false;
	if (has_row) {
		check_broken(check);
		check_say(check, "message %s has an envelope and its custody record denies it%s", id, check->repair ? "; corrected" : "");
		custody->flags |= CUSTODY_HAS_ENVELOPE;
		return true;
	}
	if (!has_flag && !custody_waits(custody))
		return false;
	check_broken(check);
	check_say(check, "message %s has lost its envelope and cannot be sent%s", id,
	    check->repair ? "; marked, so that it is taken again when it is offered again" : "");
	custody_give_up(custody);
	return true;
}

static void rule_custody(struct check *check, const struct store_key *key, struct slice value)
{
	const struct store_value nothing = { .len = 0 };
	struct store_value id_value;
	struct store_key other;
	char id[MESSAGE_ID_TEXT_MAX], place[ROW_TEXT];
	struct custody custody;
	bool changed = false;

	custody_init(&custody);
	if (custody_decode(value, &custody)) {
		check_broken(check);
		check_say(check, "the custody record of %s cannot be understood", check_name_row(TABLE_CUSTODY, key, place));
		goto out;
	}
	other = store_key_id(&custody.id);
	message_id_format(&custody.id, id);
	if (other.len != key->len || memcmp(other.bytes, key->bytes, key->len) != 0) {
		check_broken(check);
		check_say(check, "the custody record of %s is that of message %s", check_name_row(TABLE_CUSTODY, key, place), id);
		goto out;
	}
	changed = rule_envelope(check, key, &custody, id);
	changed = rule_recipients(check, &custody) || changed;
	other = store_key_timer(custody.timer_ms, &custody.id);
	if (custody.timer_ms && !check_has(check, TABLE_TIMERS, &other)) {
		check_broken(check);
		check_say(check, "message %s has lost its timer%s", id, check->repair ? "; set again" : "");
		check_plan_put(check, TABLE_TIMERS, &other, &nothing);
	}
	other = store_key_counter(custody.inbox);
	if (custody.inbox && custody.flags & CUSTODY_IS_ADDRESSEE && !check_has(check, TABLE_INBOX, &other)) {
		check_broken(check);
		check_say(check, "message %s has lost its place %" PRIu64 " in the inbox%s", id, custody.inbox, check->repair ? "; put back" : "");
		id_value = store_value_id(&custody.id);
		check_plan_put(check, TABLE_INBOX, &other, &id_value);
	}
	if (changed)
		check_plan_custody(check, &custody);
out:
	custody_clear(&custody);
}

static void rule_stored_envelope(struct check *check, const struct store_key *key, struct slice value)
{
	char place[ROW_TEXT];

	(void)value;
	if (check_has(check, TABLE_CUSTODY, key))
		return; /* rule_custody compares the flag */
	check_broken(check);
	check_say(check, "the envelope of %s has no custody record; it is kept and is not sent: send the message again",
	    check_name_row(TABLE_ENVELOPES, key, place));
}

static void rule_timer(struct check *check, const struct store_key *key, struct slice value)
{
	char place[ROW_TEXT];
	struct custody custody;
	struct message_id id;
	int64_t due_ms;
	bool is_right;

	(void)value;
	custody_init(&custody);
	is_right = !store_key_read_timer(key, &due_ms, &id) && check_custody_of(check, &id, &custody) && custody.timer_ms == due_ms;
	custody_clear(&custody);
	if (is_right)
		return;
	check_broken(check);
	check_say(check, "a timer of %s belongs to no custody record%s", check_name_row(TABLE_TIMERS, key, place), check->repair ? "; removed" : "");
	check_plan_delete(check, TABLE_TIMERS, key);
}

static void rule_inbox(struct check *check, const struct store_key *key, struct slice value)
{
	char text[MESSAGE_ID_TEXT_MAX] = "unknown";
	struct custody custody;
	struct message_id id;
	bool is_right = false;

	custody_init(&custody);
	if (!store_value_read_id(value, &id)) {
		message_id_format(&id, text);
		is_right = check_custody_of(check, &id, &custody) && custody.inbox == store_key_read_counter(key) &&
		    custody.flags & CUSTODY_IS_ADDRESSEE;
	}
	custody_clear(&custody);
	if (is_right)
		return;
	check_broken(check);
	check_say(check, "inbox place %" PRIu64 " shows message %s, whose custody record does not say so; it stays for people to read",
	    store_key_read_counter(key), text);
}

/* ---- invariant 9: counters in meta stand above every used number */

static void rule_counter(struct check *check, const char *name, const struct used *used)
{
	const struct store_key key = store_key_name(name);
	const uint64_t next = check_meta(check, name);
	struct store_value value;

	if (!used->any || next > used->highest)
		return;
	check_broken(check);
	check_say(check, "the counter %s stands at %" PRIu64 " and %" PRIu64 " is in use%s", name, next, used->highest,
	    check->repair ? "; raised" : "");
	value = store_value_u64(used->highest + 1);
	check_plan_put(check, TABLE_META, &key, &value);
}

static void rule_counters(struct check *check)
{
	const struct store_key epoch = store_key_name("epoch"), clock = store_key_name("custody_ms"), read = store_key_name("inbox_read");
	const uint64_t custody_ms = check_meta(check, "custody_ms");
	struct store_value value;

	rule_counter(check, "next_sequence", &check->sequence);
	rule_counter(check, "next_row", &check->queue_row);
	rule_counter(check, "next_inbox", &check->inbox);
	rule_counter(check, "next_journal", &check->journal);
	rule_counter(check, "receipt_counter", &check->receipt);
	rule_counter(check, "presence_counter", &check->presence);
	/* How many were read is known no more: the daemon counts again when it is absent. */
	if (check->out->damaged[TABLE_CUSTODY] || check->out->damaged[TABLE_INBOX])
		check_plan_delete(check, TABLE_META, &read);
	if (check->own_epoch.any && check->epoch < check->own_epoch.highest) {
		check_broken(check);
		check_say(check, "the store is in epoch %" PRIu64 " and holds own messages of epoch %" PRIu64 "%s", check->epoch,
		    check->own_epoch.highest, check->repair ? "; a new epoch is begun" : "");
		value = store_value_u64(check->own_epoch.highest + 1);
		check_plan_put(check, TABLE_META, &epoch, &value);
	}
	if (check->custody_ms > 0 && custody_ms < (uint64_t)check->custody_ms) {
		check_broken(check);
		check_say(check, "the custody clock stands before the arrival of a message%s", check->repair ? "; put forward" : "");
		value = store_value_u64((uint64_t)check->custody_ms);
		check_plan_put(check, TABLE_META, &clock, &value);
	}
}

/* ---- invariant 10: the counts of the queues */

static void rule_depth(void *context, const struct store_key *key, uint64_t told, uint64_t rows)
{
	struct check *check = context;
	char place[ROW_TEXT];

	check_broken(check);
	check_say(check, "%s: %" PRIu64 " rows wait there and %" PRIu64 " are told%s", check_name_row(TABLE_DEPTHS, key, place), rows, told,
	    check->repair ? "; counted anew" : "");
	check_plan(check, BATCH_RECOUNT, TABLE_DEPTHS, key, (struct slice){ NULL, 0 });
}

static void rule_depths(struct check *check)
{
	const int rc = depth_check(check->store, check->txn, rule_depth, check);

	if (rc)
		check->error = store_lmdb_error(rc);
}

/* ---- the whole */

static void check_all(struct check *check)
{
	static check_row *const learn[TABLE_COUNT] = {
		[TABLE_CUSTODY] = learn_custody, [TABLE_QUEUE] = learn_queue, [TABLE_INBOX] = learn_inbox,
		[TABLE_JOURNAL] = learn_journal, [TABLE_RECEIPTS] = learn_receipt, [TABLE_PRESENCE] = learn_presence,
	};
	uint64_t next_row;

	check->epoch = check_meta(check, "epoch");
	for (enum store_table table = 0; table < TABLE_COUNT; table++)
		check_walk(check, table, true, learn[table]);
	if (check->is_ended)
		return;
	next_row = check_meta(check, "next_row");
	check->fresh_row = check->queue_row.highest + 1 > next_row ? check->queue_row.highest + 1 : next_row;
	check_walk(check, TABLE_QUEUE, false, rule_queue);
	check_walk(check, TABLE_CUSTODY, false, rule_custody);
	check_walk(check, TABLE_ENVELOPES, false, rule_stored_envelope);
	check_walk(check, TABLE_TIMERS, false, rule_timer);
	check_walk(check, TABLE_INBOX, false, rule_inbox);
	if (check->is_ended)
		return;
	rule_counters(check);
	if (!check->step)
		rule_depths(check);
	if (check->fresh_used) {
		const struct store_key key = store_key_name("next_row");
		const struct store_value value = store_value_u64(check->fresh_row);

		check_plan_put(check, TABLE_META, &key, &value);
	}
}

static enum cpd_error check_commit_plan(struct check *check)
{
	enum cpd_error error = CPD_OK, one;
	struct store_batch *next;

	for (struct store_batch *batch = check->plan; batch; batch = next) {
		next = batch->next;
		if (error || check->error == CPD_ERR_NOMEM) {
			store_batch_free(batch);
			continue;
		}
		one = store_commit_now(check->store, batch);
		if (one)
			error = one;
	}
	return error;
}

enum cpd_error store_verify(struct store *store, bool repair, store_report *report, void *context, struct store_check *out)
{
	struct check check = { .store = store, .repair = repair, .report = report, .context = context, .out = out };
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	if (repair && store->read_only)
		return CPD_ERR_STATE;
	check.plan_end = &check.plan;
	error = store_read_begin(store, &check.txn);
	if (error)
		return error;
	check_all(&check);
	store_read_end(store, check.txn);
	error = check_commit_plan(&check);
	free(check.row.bytes);
	free(check.other.bytes);
	return error ? error : check.error;
}

enum cpd_error store_verify_running(struct store *store, store_report *report, store_step *step, void *context, struct store_check *out)
{
	static const enum store_table twice[] = { TABLE_QUEUE, TABLE_CUSTODY, TABLE_ENVELOPES, TABLE_TIMERS, TABLE_INBOX };
	struct check check = { .store = store, .report = report, .context = context, .out = out, .step = step };
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	check.plan_end = &check.plan;
	for (enum store_table table = 0; table < TABLE_COUNT; table++)
		check.of += store_count(store, table);
	for (size_t i = 0; i < sizeof(twice) / sizeof(twice[0]); i++)
		check.of += store_count(store, twice[i]);
	error = store_read_begin(store, &check.txn);
	if (error)
		return error;
	check_all(&check);
	if (check.txn)
		store_read_end(store, check.txn);
	free(check.row.bytes);
	free(check.other.bytes);
	return check.error;
}
