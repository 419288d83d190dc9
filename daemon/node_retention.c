/*
 * node_retention.c: what nobody needs any more goes, so that the store stays bounded (docs/STORE.md section 11).
 *
 * A pass an hour over the receipts records, the idempotency keys and the inbox, a bounded number of rows
 * at a time, in turns that run anyway and with nothing under way: an idle node is never woken for it.
 * Here is only looked for what may go; of a message the relay decides (RELAY_FORGET).
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"
#include "daemon/node_vault.h"

#define ROWS 256                 /* rows looked at in one turn */
#define FORGOTTEN_MAX 32         /* messages that go in one turn */
#define PAUSE_MS 1000            /* from one piece to the next */
#define PASS_MS 3600000          /* from the end of a pass to the next */
#define OVERDUE_MS 10000         /* a node so busy that no turn finds the writer idle makes one wait this late */
/* A record of which nothing tells that it is needed (a relay's advice) is still kept this long, for who asks again. */
#define RECORD_MS INT64_C(86400000)
#define KEY_MS (7 * INT64_C(86400000))
/* Which records are queued is known from the queue alone; a longer one is not read for it: they stay until it is shorter. */
#define QUEUE_MAX 16384

enum { STEP_RECEIPTS, STEP_KEYS, STEP_INBOX, STEP_TABLES, STEP_ERASE = STEP_TABLES, STEP_END };

struct sweep {
	struct node *node;
	struct store_key seen;                  /* the last row looked at */
	size_t looked, count;
	struct store_key keys[ROWS];            /* ascending; what may go */
	struct message_id ids[FORGOTTEN_MAX];
	bool is_queued[ROWS];
	struct receipts receipts;               /* the record at hand */
	int64_t now_ms;
};

static bool has_row(struct node *node, enum store_table table, const struct message_id *id)
{
	struct store_key key = store_key_id(id);
	uint8_t *value;
	size_t len;
	enum cpd_error error = store_get(node->store, table, &key, &value, &len);

	if (!error)
		free(value);
	return error != CPD_ERR_NOT_FOUND;      /* what cannot be read is not gone */
}

/* ---------------------------------------------------------------- receipts records */

/* Needed while a message of which it tells is known here: to answer who offers that again. */
static bool record_visit(void *context, const struct store_key *key, struct slice value)
{
	struct sweep *sweep = context;
	struct signed_record record;

	sweep->seen = *key;
	sweep->looked++;
	if (value.len <= 8 || time_of(value.data) > sweep->now_ms - RECORD_MS ||
	    signed_record_decode((struct slice){ value.data + 8, value.len - 8 }, value.len - 8, &record) ||
	    receipts_decode(record.signed_bytes, &sweep->receipts))
		return true;
	for (size_t i = 0; i < sweep->receipts.count; i++)
		if (has_row(sweep->node, TABLE_CUSTODY, &sweep->receipts.entries[i].subject))
			return true;
	sweep->keys[sweep->count++] = *key;
	return true;
}

static int key_order(const void *a, const void *b)
{
	const struct store_key *one = a, *other = b;

	return memcmp(one->bytes, other->bytes, one->len);
}

static bool queue_visit(void *context, const struct store_key *key, struct slice value)
{
	struct sweep *sweep = context;
	struct store_key record, *found;
	struct item_ref ref;
	uint32_t destination;

	(void)key;
	if (store_value_read_ref(value, &ref, &destination) || ref.type != ITEM_TYPE_RECEIPTS)
		return true;
	record = store_key_record(ref.id.origin, ref.id.epoch, ref.id.sequence);
	found = bsearch(&record, sweep->keys, sweep->count, sizeof(sweep->keys[0]), key_order);
	if (found)
		sweep->is_queued[found - sweep->keys] = true;
	return true;
}

static enum cpd_error delete_rows(struct turn *turn, enum store_table table, const struct sweep *sweep)
{
	enum cpd_error error = CPD_OK;

	for (size_t i = 0; !error && i < sweep->count; i++) {
		if (sweep->is_queued[i])
			continue;
		error = store_batch_delete(turn->batch, table, &sweep->keys[i]);
		if (!error)
			error = pending_add(turn, table, &sweep->keys[i], true, (struct slice){ NULL, 0 });
	}
	return error;
}

static enum cpd_error records_end(struct node *node, struct turn *turn, struct sweep *sweep)
{
	const struct store_key begin = { .len = 0 };
	size_t damaged = 0;
	enum cpd_error error;

	if (!sweep->count || store_count(node->store, TABLE_QUEUE) > QUEUE_MAX)
		return CPD_OK;
	error = store_scan(node->store, TABLE_QUEUE, &begin, 0, false, SIZE_MAX, queue_visit, sweep, &damaged);
	if (error || damaged)
		return error;           /* a damaged row may name any of them */
	return delete_rows(turn, TABLE_RECEIPTS, sweep);
}

/* ---------------------------------------------------------------- idempotency keys */

/* A key's row tells no time. But own ids only rise: those below the older of two marks, set a term apart,
 * were given more than a term ago. */
static bool key_visit(void *context, const struct store_key *key, struct slice value)
{
	struct sweep *sweep = context;
	const struct retention_mark *mark = &sweep->node->retention.marks[0];
	struct message_id id;

	sweep->seen = *key;
	sweep->looked++;
	if (store_value_read_id(value, &id) || id.epoch > mark->epoch || (id.epoch == mark->epoch && id.sequence >= mark->sequence))
		return true;
	if (!has_row(sweep->node, TABLE_CUSTODY, &id))
		sweep->keys[sweep->count++] = *key;
	return true;
}

static enum cpd_error marks_load(struct node *node)
{
	const struct store_key name = store_key_name("key_marks");
	uint64_t numbers[6] = { 0 };
	uint8_t *value;
	size_t len;
	enum cpd_error error = node_load(node, TABLE_META, &name, &value, &len);

	if (error && error != CPD_ERR_NOT_FOUND)
		return error;
	for (size_t i = 0; !error && i < 6 && 8 * i + 8 <= len; i++)
		numbers[i] = (uint64_t)time_of(value + 8 * i);
	if (!error)
		free(value);
	for (int i = 0; i < 2; i++)
		node->retention.marks[i] = (struct retention_mark){ (int64_t)numbers[3 * i], (uint32_t)numbers[3 * i + 1], numbers[3 * i + 2] };
	return CPD_OK;
}

static enum cpd_error marks_move(struct node *node, struct turn *turn, int64_t now_ms)
{
	const struct store_key name = store_key_name("key_marks");
	struct retention_mark *marks = node->retention.marks;
	uint8_t bytes[48];
	enum cpd_error error = marks_load(node);

	if (error || (marks[1].at_ms && now_ms - marks[1].at_ms < KEY_MS))
		return error;
	marks[0] = marks[1];
	marks[1] = (struct retention_mark){ now_ms, node->epoch, relay_next_sequence(node->relay) };
	for (int i = 0; i < 2; i++) {
		memcpy(bytes + 24 * i, store_value_u64((uint64_t)marks[i].at_ms).bytes, 8);
		memcpy(bytes + 24 * i + 8, store_value_u64(marks[i].epoch).bytes, 8);
		memcpy(bytes + 24 * i + 16, store_value_u64(marks[i].sequence).bytes, 8);
	}
	return turn_put(turn, TABLE_META, &name, (struct slice){ bytes, sizeof(bytes) });
}

/* ---------------------------------------------------------------- the inbox */

/* A header may name a class of its own, for which no term is agreed: that stays. So does what cannot be read. */
static bool has_plain_class(struct node *node, const struct message_id *id)
{
	struct message message;
	uint8_t *envelope;
	size_t len;
	bool is_plain;
	enum cpd_error error;

	error = node_envelope(node, id, &envelope, &len);
	if (error)
		return error == CPD_ERR_NOT_FOUND && has_row(node, TABLE_ENVELOPES, id);   /* erased: the row may follow */
	is_plain = !message_decode((struct slice){ envelope, len }, &message) && !message.header.retention_class;
	free(envelope);
	return is_plain;
}

static bool inbox_visit(void *context, const struct store_key *key, struct slice value)
{
	struct sweep *sweep = context;
	struct custody custody;
	struct message_id id;
	struct store_key row;
	uint8_t *record;
	size_t len;

	sweep->seen = *key;
	sweep->looked++;
	if (store_value_read_id(value, &id))
		return true;
	row = store_key_id(&id);
	if (store_get(sweep->node->store, TABLE_CUSTODY, &row, &record, &len))
		return true;
	custody_init(&custody);
	if (!custody_decode((struct slice){ record, len }, &custody) &&
	    sweep->now_ms - custody.since.custody_ms >= sweep->node->config->timers.inbox_ms && has_plain_class(sweep->node, &id))
		sweep->ids[sweep->count++] = id;
	custody_clear(&custody);
	free(record);
	return sweep->count < FORGOTTEN_MAX;
}

static enum cpd_error inbox_end(struct node *node, const struct sweep *sweep, const struct moment *now)
{
	enum cpd_error error = CPD_OK;

	for (size_t i = 0; !error && i < sweep->count; i++) {
		struct relay_event event = { .type = RELAY_FORGET, .id = sweep->ids[i] };

		error = turn_event(node, &event, now);
	}
	return error;
}

/* ---------------------------------------------------------------- a piece of a pass */

bool retention_is_overdue(struct node *node)
{
	return node_ms(node) - node->retention.due_ms > OVERDUE_MS;
}

/* Up to ROWS rows of the table at hand; *is_end: there are no more. */
static enum cpd_error sweep_table(struct node *node, struct turn *turn, struct sweep *sweep, const struct moment *now, bool *is_end)
{
	static const enum store_table tables[STEP_TABLES] = { TABLE_RECEIPTS, TABLE_AUTHORED, TABLE_INBOX };
	static store_visit *const visits[STEP_TABLES] = { record_visit, key_visit, inbox_visit };
	struct retention *at = &node->retention;
	size_t damaged = 0;
	enum cpd_error error = CPD_OK;

	if (at->step == STEP_KEYS && !at->from.len)
		error = marks_move(node, turn, now->custody_ms);
	if (!error)
		error = store_scan(node->store, tables[at->step], &at->from, 0, at->from.len != 0, ROWS, visits[at->step], sweep, &damaged);
	*is_end = sweep->looked < ROWS && !(at->step == STEP_INBOX && sweep->count == FORGOTTEN_MAX);
	at->from = sweep->seen;
	if (error)
		return error == CPD_ERR_NOT_FOUND ? CPD_OK : error;
	if (at->step == STEP_RECEIPTS)
		return records_end(node, turn, sweep);
	return at->step == STEP_KEYS ? delete_rows(turn, TABLE_AUTHORED, sweep) : inbox_end(node, sweep, now);
}

enum cpd_error retention_sweep(struct node *node, struct turn *turn, const struct moment *now)
{
	struct retention *at = &node->retention;
	struct sweep *sweep;
	bool is_end = true;
	enum cpd_error error = CPD_OK;

	if (now->custody_ms < at->due_ms)
		return CPD_OK;
	sweep = malloc(sizeof(*sweep));
	if (!sweep)
		return CPD_ERR_NOMEM;
	while (!error && is_end && at->step < STEP_END) {
		memset(sweep, 0, sizeof(*sweep));
		sweep->node = node;
		sweep->now_ms = now->custody_ms;
		error = at->step == STEP_ERASE ? records_sweep(node, turn, now, &is_end) : sweep_table(node, turn, sweep, now, &is_end);
		if (!error && is_end) {
			at->from.len = 0;
			at->step++;
		}
	}
	at->due_ms = now->custody_ms + (at->step == STEP_END ? PASS_MS : PAUSE_MS);
	if (at->step == STEP_END)
		at->step = STEP_RECEIPTS;
	free(sweep);
	return error;
}
