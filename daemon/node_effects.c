/*
 * node_effects.c: what the relay decided, into the turn's transaction; and what leaves after it.
 *
 * Own presence is not stored: the relay reserves its counter in blocks, so that a word every minute
 * costs no write on a battery's disk.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"
#include "daemon/node_vault.h"

#define OWN_SCAN_ROWS 512        /* custody rows read for one part of the answer */
#define PURGE_ROWS 256           /* rows looked at in one turn */
#define PURGES_MAX 64

struct slice time_and_bytes(uint8_t *buf, int64_t at_ms, struct slice bytes)
{
	struct store_value time = store_value_u64((uint64_t)at_ms);

	memcpy(buf, time.bytes, 8);
	if (bytes.len)
		memcpy(buf + 8, bytes.data, bytes.len);
	return (struct slice){ buf, 8 + bytes.len };
}

int64_t time_of(const uint8_t *value)
{
	uint64_t time = 0;

	for (int i = 0; i < 8; i++)
		time = time << 8 | value[i];
	return (int64_t)time;
}

/* ---------------------------------------------------------------- into the transaction */

static enum cpd_error put_custody(struct turn *turn, const struct relay_effect *effect)
{
	struct store_key key = store_key_id(&effect->id);
	uint8_t *value;
	size_t len;
	enum cpd_error error = custody_encode(effect->custody, &value, &len);

	if (error)
		return error;
	error = turn_put(turn, TABLE_CUSTODY, &key, (struct slice){ value, len });
	free(value);
	return error;
}

/* A record whose forwarding time alone changes is on disk, or on its way there. */
static enum cpd_error put_receipts(struct node *node, struct turn *turn, const struct relay_effect *effect)
{
	struct store_key key = store_key_record(effect->id.origin, effect->id.epoch, effect->id.sequence);
	const struct pending *pending = effect->bytes.data ? NULL : pending_find(node, TABLE_RECEIPTS, &key);
	uint8_t buf[8 + LIMIT_RECEIPTS + 256], *loaded = NULL;
	struct slice bytes = effect->bytes, value;
	size_t len;
	enum cpd_error error;

	if (!bytes.data && pending) {
		if (pending->is_delete || pending->len < 8)
			return CPD_OK;
		bytes = (struct slice){ pending->bytes + 8, pending->len - 8 };
	} else if (!bytes.data) {
		error = node_load(node, TABLE_RECEIPTS, &key, &loaded, &len);
		if (error)
			return error == CPD_ERR_NOT_FOUND ? CPD_OK : error;
		bytes = (struct slice){ loaded + 8, len - 8 };
	}
	if (bytes.len > sizeof(buf) - 8) {
		free(loaded);
		return CPD_ERR_TOO_LARGE;
	}
	value = time_and_bytes(buf, effect->at_ms, bytes);
	free(loaded);
	error = turn_put(turn, TABLE_RECEIPTS, &key, value);
	return error ? error : pending_add(turn, TABLE_RECEIPTS, &key, false, value);
}

struct key_scan { struct turn *turn; enum cpd_error error; };

static bool leaf_delete(void *context, const struct store_key *key, struct slice value)
{
	struct key_scan *scan = context;

	(void)value;
	scan->error = store_batch_delete(scan->turn->batch, TABLE_LEAVES, key);
	return !scan->error;
}

static enum cpd_error delete_envelope(struct node *node, struct turn *turn, const struct relay_effect *effect)
{
	struct store_key key = store_key_id(&effect->id);
	struct key_scan scan = { turn, CPD_OK };
	size_t damaged = 0;
	enum cpd_error error = store_batch_delete(turn->batch, TABLE_ENVELOPES, &key);

	if (!error)
		error = record_delete_keys(node, turn, &effect->id);
	if (!error)
		error = store_scan(node->store, TABLE_LEAVES, &key, key.len, false, LIMIT_LEAVES, leaf_delete, &scan, &damaged);
	if (error == CPD_ERR_NOT_FOUND)
		error = CPD_OK;
	for (const struct turn *at = node->first; !error && !scan.error && at; at = at->next)
		for (size_t i = 0; i < at->pending_count; i++)
			if (at->pending[i].table == TABLE_LEAVES && !memcmp(at->pending[i].key.bytes, key.bytes, key.len))
				leaf_delete(&scan, &at->pending[i].key, (struct slice){ NULL, 0 });
	return error ? error : scan.error;
}

static enum cpd_error put_leaf(struct turn *turn, const struct relay_effect *effect)
{
	struct store_key key = store_key_leaf(&effect->id, effect->index);
	enum cpd_error error = turn_put(turn, TABLE_LEAVES, &key, effect->bytes);

	return error ? error : pending_add(turn, TABLE_LEAVES, &key, false, (struct slice){ NULL, 0 });
}

static enum cpd_error timer(struct node *node, struct turn *turn, const struct relay_effect *effect)
{
	struct store_key key = store_key_timer(effect->at_ms, &effect->id);
	const struct slice nothing = { NULL, 0 };
	bool is_delete = effect->type == EFFECT_DELETE_TIMER;
	enum cpd_error error = is_delete ? store_batch_delete(turn->batch, TABLE_TIMERS, &key) : turn_put(turn, TABLE_TIMERS, &key, nothing);

	if (!is_delete && effect->at_ms < node->row_due_ms)
		node->row_due_ms = effect->at_ms;
	return error ? error : pending_add(turn, TABLE_TIMERS, &key, is_delete, nothing);
}

static enum cpd_error put_presence(struct node *node, struct turn *turn, const struct relay_effect *effect, const struct moment *now)
{
	struct store_key key = store_key_number(effect->node);
	uint8_t buf[8 + LIMIT_PRESENCE];
	enum cpd_error error;

	if (effect->bytes.len > LIMIT_PRESENCE)
		return CPD_ERR_TOO_LARGE;
	error = turn_put(turn, TABLE_PRESENCE, &key, time_and_bytes(buf, effect->at_ms, effect->bytes));
	return error ? error : journal_witness(node, turn, effect->bytes, now);
}

static enum cpd_error put_floors_of(struct turn *turn, const struct relay_effect *effect)
{
	const struct presence *presence = &effect->presence;
	uint8_t bytes[16 * LIMIT_FLOORS];
	struct store_key key = node_floors_key(effect->node);

	for (size_t i = 0; i < presence->floor_count; i++) {
		memcpy(bytes + 16 * i, store_value_u64(presence->floors[i].epoch).bytes, 8);
		memcpy(bytes + 16 * i + 8, store_value_u64(presence->floors[i].floor).bytes, 8);
	}
	return turn_put(turn, TABLE_META, &key, (struct slice){ bytes, 16 * presence->floor_count });
}

static enum cpd_error put_counter(struct turn *turn, const char *name, uint64_t *stored, uint64_t now)
{
	struct store_key key = store_key_name(name);
	struct store_value value = store_value_u64(now);

	if (*stored == now)
		return CPD_OK;
	*stored = now;
	return turn_put(turn, TABLE_META, &key, (struct slice){ value.bytes, value.len });
}

/* The epoch of the floor, then epoch, floor and end of each elder. See floors_get. */
static enum cpd_error put_floors(struct turn *turn, struct relay_counters *stored, const struct relay_counters *counters)
{
	struct store_key key = store_key_name("floor_epochs");
	uint64_t numbers[FLOOR_NUMBERS] = { counters->epoch };
	uint8_t bytes[8 * FLOOR_NUMBERS];

	if (stored->epoch == counters->epoch && !memcmp(stored->elders, counters->elders, sizeof(stored->elders)))
		return CPD_OK;
	for (size_t i = 0; i < RELAY_ELDERS; i++) {
		const struct elder_floor *elder = &counters->elders[i];

		numbers[1 + 3 * i] = elder->epoch;
		numbers[2 + 3 * i] = elder->floor;
		numbers[3 + 3 * i] = elder->end;
	}
	for (size_t i = 0; i < FLOOR_NUMBERS; i++)
		memcpy(bytes + 8 * i, store_value_u64(numbers[i]).bytes, 8);
	stored->epoch = counters->epoch;
	memcpy(stored->elders, counters->elders, sizeof(stored->elders));
	return turn_put(turn, TABLE_META, &key, (struct slice){ bytes, sizeof(bytes) });
}

static enum cpd_error put_counters(struct node *node, struct turn *turn, const struct relay_counters *counters)
{
	struct relay_counters *stored = &node->stored;
	enum cpd_error error = put_counter(turn, "next_sequence", &stored->next_sequence, counters->next_sequence);

	if (!error)
		error = put_counter(turn, "next_row", &stored->next_row, counters->next_row);
	if (!error)
		error = put_counter(turn, "next_inbox", &stored->next_inbox, counters->next_inbox);
	if (!error)
		error = put_counter(turn, "inbox_read", &stored->inbox_read, counters->inbox_read);
	if (!error)
		error = put_counter(turn, "receipt_counter", &stored->receipt_counter, counters->receipt_counter);
	if (!error)
		error = put_counter(turn, "presence_counter", &stored->presence_counter, counters->presence_counter);
	if (!error)
		error = put_counter(turn, "floor", &stored->floor, counters->floor);
	if (!error)
		error = put_floors(turn, stored, counters);
	return error;
}

/* ---------------------------------------------------------------- after it */

static enum cpd_error keep_bytes(struct after *after, struct slice bytes)
{
	if (!bytes.len)
		return CPD_OK;
	after->bytes = malloc(bytes.len);
	if (!after->bytes)
		return CPD_ERR_NOMEM;
	memcpy(after->bytes, bytes.data, bytes.len);
	after->len = bytes.len;
	return CPD_OK;
}

static enum cpd_error announce(struct node *node, struct turn *turn, struct presence presence)
{
	uint8_t signed_bytes[LIMIT_PRESENCE], record[LIMIT_PRESENCE], signature[64];
	size_t signed_len, len;
	struct after *after;
	enum cpd_error error;

	if (node_is_fenced(node))
		return CPD_OK;
	claim_settled(node);
	/* Only of what is on disk: what a crash takes away was never told. */
	presence.journal.number = node->journal_told.number;
	memcpy(presence.journal.bytes, node->journal_told.chain, JOURNAL_HEAD_LEN);
	error = presence_encode(&presence, signed_bytes, sizeof(signed_bytes), &signed_len);
	if (!error)
		error = sign_bytes(node->identity, SIGN_PRESENCE, (struct slice){ signed_bytes, signed_len }, signature);
	if (!error)
		error = signed_record_encode((struct slice){ signed_bytes, signed_len }, signature, identity_key_number(node->identity),
		    record, sizeof(record), &len);
	if (error) {
		log_line(LOG_ERR, "presence-not-signed", "error=\"%s\"", cpd_error_text(error));
		return error == CPD_ERR_NOMEM ? error : CPD_OK;
	}
	after = after_add(turn, AFTER_ANNOUNCE);
	return after ? keep_bytes(after, (struct slice){ record, len }) : CPD_ERR_NOMEM;
}

static enum cpd_error ask(struct turn *turn, const struct relay_effect *effect, uint32_t self)
{
	bool is_floor = effect->type == EFFECT_WANT_FLOOR;
	struct after *after = after_add(turn, AFTER_WORK);

	if (!after)
		return CPD_ERR_NOMEM;
	after->work = work_new(WORK_OWN_SCAN);
	if (!after->work)
		return CPD_ERR_NOMEM;
	after->work->is_floor = is_floor;
	after->work->own_node = is_floor ? self : effect->node;
	after->work->after = effect->id;
	if (is_floor)
		after->work->after = (struct message_id){ self, effect->epoch, effect->sequence ? effect->sequence - 1 : 0 };
	return CPD_OK;
}

static enum cpd_error purge_later(struct node *node, const struct relay_effect *effect)
{
	struct relay_effect *purges;

	for (size_t i = 0; i < node->purge_count; i++) {
		struct relay_effect *known = &node->purges[i];

		if (known->type == effect->type && known->node == effect->node && known->epoch == effect->epoch) {
			known->sequence = effect->sequence;
			known->at_ms = effect->at_ms;
			return CPD_OK;
		}
	}
	if (node->purge_count == PURGES_MAX)
		return CPD_OK;          /* rows of no further use; the next floor of that node asks again */
	purges = realloc(node->purges, (node->purge_count + 1) * sizeof(*purges));
	if (!purges)
		return CPD_ERR_NOMEM;
	if (!node->purge_count && !node->idle.first)
		node->idle_since_ms = node_ms(node);
	node->purges = purges;
	node->purges[node->purge_count] = *effect;
	/* how far it came */
	node->purges[node->purge_count++].id = (struct message_id){ effect->node, effect->type == EFFECT_PURGE_BELOW ? effect->epoch : 0, 0 };
	return CPD_OK;
}

static void settle(struct node *node, struct turn *turn, const struct relay_effect *effect)
{
	struct node_link *link = links_find(node, effect->link);

	if (courier_is_serial(effect->serial))
		courier_settled(node, effect->serial, effect->reason);
	if (effect->reason)
		node->counters.refused++;
	if (!link || courier_is_serial(effect->serial))
		return;
	link_settle(link->link, effect->serial, effect->reason, turn->number);
}

static enum cpd_error leave_later(struct turn *turn, enum after_type type, const struct relay_effect *effect)
{
	struct after *after = after_add(turn, type);

	if (!after)
		return CPD_ERR_NOMEM;
	after->link = effect->link;
	after->serial = effect->serial;
	after->counter = effect->counter;
	after->id = effect->id;
	after->age_s = effect->age_s;
	after->precedence = effect->precedence;
	after->is_reroute = effect->is_reroute;
	return keep_bytes(after, effect->bytes);
}

static enum cpd_error reissue(struct turn *turn, const struct relay_effect *effect)
{
	struct after *after = after_add(turn, AFTER_WORK);

	if (!after)
		return CPD_ERR_NOMEM;
	after->work = work_new(WORK_AUTHOR);
	if (!after->work)
		return CPD_ERR_NOMEM;
	after->work->reissue = effect->id;
	return CPD_OK;
}

static enum cpd_error effect_take(struct node *node, struct turn *turn, const struct relay_effect *effect, const struct moment *now)
{
	struct store_batch *batch = turn->batch;
	struct store_key id = store_key_id(&effect->id), key;
	struct store_value value;

	switch (effect->type) {
	case EFFECT_PUT_CUSTODY:
		return put_custody(turn, effect);
	case EFFECT_DELETE_CUSTODY:
		return store_batch_delete(batch, TABLE_CUSTODY, &id);
	case EFFECT_PUT_ENVELOPE:
		return record_put_envelope(node, turn, &effect->id, effect->bytes, now);
	case EFFECT_DELETE_ENVELOPE:
		return delete_envelope(node, turn, effect);
	case EFFECT_PUT_LEAF:
		return put_leaf(turn, effect);
	case EFFECT_PUT_ROW:
		key = store_key_queue(effect->link, effect->row.ref.precedence, effect->row.ref.counter);
		value = store_value_ref(&effect->row.ref, effect->row.destination);
		return turn_put(turn, TABLE_QUEUE, &key, (struct slice){ value.bytes, value.len });
	case EFFECT_DELETE_ROW:
		key = store_key_queue(effect->link, effect->row.ref.precedence, effect->row.ref.counter);
		return store_batch_delete(batch, TABLE_QUEUE, &key);
	case EFFECT_PUT_TIMER:
	case EFFECT_DELETE_TIMER:
		return timer(node, turn, effect);
	case EFFECT_PUT_RECEIPTS:
		return put_receipts(node, turn, effect);
	case EFFECT_PUT_INBOX:
		key = store_key_counter(effect->counter);
		value = store_value_id(&effect->id);
		return turn_put(turn, TABLE_INBOX, &key, (struct slice){ value.bytes, value.len });
	case EFFECT_DELETE_INBOX:
		key = store_key_counter(effect->counter);
		return store_batch_delete(batch, TABLE_INBOX, &key);
	case EFFECT_PUT_LATEST:
		key = store_key_latest(effect->node, effect->kind);
		value = store_value_id(&effect->id);
		return turn_put(turn, TABLE_LATEST, &key, (struct slice){ value.bytes, value.len });
	case EFFECT_PUT_PRESENCE:
		return put_presence(node, turn, effect, now);
	case EFFECT_PUT_FLOORS:
		return put_floors_of(turn, effect);
	case EFFECT_PUT_COUNTERS:
		return put_counters(node, turn, &effect->counters);
	case EFFECT_PURGE_BELOW:
	case EFFECT_PURGE_ELDERS:
		return purge_later(node, effect);
	case EFFECT_JOURNAL:
		return journal_put(node, turn, effect, now);
	case EFFECT_SETTLE:
		settle(node, turn, effect);
		return CPD_OK;
	case EFFECT_WANT:
		return leave_later(turn, AFTER_WANT, effect);
	case EFFECT_PRESENCE:
		return leave_later(turn, AFTER_PRESENCE, effect);
	case EFFECT_ANNOUNCE:
		return announce(node, turn, effect->presence);
	case EFFECT_WANT_ROWS:
		return leave_later(turn, AFTER_ROWS, effect);
	case EFFECT_WANT_OWN:
	case EFFECT_WANT_FLOOR:
		return ask(turn, effect, node->self);
	case EFFECT_RAISE_EPOCH:
		if (effect->epoch > node->raise_epoch)
			node->raise_epoch = effect->epoch;
		if (effect->claim > node->raise_claim)
			node->raise_claim = effect->claim;
		return CPD_OK;
	case EFFECT_FENCED:
		node->fence = presence_claim(&effect->presence);
		node_wake(node);
		return CPD_OK;
	case EFFECT_REISSUE:
		return reissue(turn, effect);
	case EFFECT_WITNESS:
		break;                  /* comes out by relay_take_witness */
	}
	return CPD_OK;
}

enum cpd_error effects_take(struct node *node, struct turn *turn, const struct moment *now)
{
	struct relay_effect effect = { .type = EFFECT_JOURNAL, .what = JOURNAL_EPOCH_ROSE, .node = node->self };
	enum cpd_error error = node->tells_epoch ? journal_put(node, turn, &effect, now) : CPD_OK;

	node->tells_epoch = false;
	while (!error && relay_take_effect(node->relay, &effect))
		error = effect_take(node, turn, &effect, now);
	if (!error)
		error = journal_head_put(node, turn);
	return error ? error : put_counter(turn, "next_journal", &node->stored_news, node->next_news);
}

/* ---------------------------------------------------------------- questions of the relay */

struct row_scan { struct work *work; };

static bool row_visit(void *context, const struct store_key *key, struct slice value)
{
	struct row_scan *scan = context;
	struct relay_row *row = &scan->work->rows[scan->work->event.row_count];
	enum precedence precedence;
	uint32_t link;

	if (store_value_read_ref(value, &row->ref, &row->destination) || store_key_read_queue(key, &link, &precedence, &row->ref.counter))
		return true;
	row->ref.precedence = precedence;
	return ++scan->work->event.row_count < RELAY_ROWS_MAX;
}

static void answer_rows(struct node *node, const struct after *after)
{
	struct work *work = work_new(WORK_EVENT);
	struct store_key from = store_key_queue(after->link, after->precedence, after->counter);
	struct row_scan scan = { work };
	size_t damaged = 0;
	enum cpd_error error = CPD_ERR_NOMEM;

	if (work)
		work->rows = calloc(RELAY_ROWS_MAX, sizeof(*work->rows));
	if (work && work->rows)
		error = store_scan(node->store, TABLE_QUEUE, &from, from.len - 8, true, SIZE_MAX, row_visit, &scan, &damaged);
	if (error && error != CPD_ERR_NOT_FOUND) {
		work_free(work);
		node_rebuild(node, "the queue cannot be read");
		return;
	}
	work->event.type = RELAY_ROWS;
	work->event.link = after->link;
	work->event.precedence = after->precedence;
	work->event.is_reroute = after->is_reroute;
	work->event.rows = work->rows;
	work->event.rows_end = work->event.row_count < RELAY_ROWS_MAX;
	work_push(node, work);
}

struct own_scan { struct work *work; size_t looked; };

static bool own_visit(void *context, const struct store_key *key, struct slice value)
{
	struct own_scan *scan = context;
	struct work *work = scan->work;
	struct custody custody;
	struct message_id id;

	if (store_key_read_id(key, &id))
		return true;
	work->after = id;
	scan->looked++;
	custody_init(&custody);
	if (work->is_floor || (!custody_decode(value, &custody) && !(custody.flags & CUSTODY_IS_FINAL) &&
	    custody_recipient(&custody, work->own_node)))
		work->own[work->own_count++] = id;
	custody_clear(&custody);
	return work->own_count < RELAY_ROWS_MAX && scan->looked < OWN_SCAN_ROWS;
}

enum cpd_error own_scan(struct node *node, struct work *work, const struct moment *now)
{
	struct message_id id = work->after.origin ? work->after : (struct message_id){ node->self, 0, 0 };
	struct store_key from = store_key_id(&id);
	struct own_scan scan = { work, 0 };
	size_t damaged = 0;
	enum cpd_error error;

	work->is_kept = false;
	if (!work->own)
		work->own = calloc(RELAY_ROWS_MAX, sizeof(*work->own));
	if (!work->own)
		return CPD_ERR_NOMEM;
	error = store_scan(node->store, TABLE_CUSTODY, &from, work->is_floor ? 8 : 4, true, SIZE_MAX, own_visit, &scan, &damaged);
	if (error && error != CPD_ERR_NOT_FOUND)
		return error;
	if (work->own_count < RELAY_ROWS_MAX && scan.looked == OWN_SCAN_ROWS) {
		work->is_kept = true;   /* more to read: next turn */
		work_list_add(&node->idle, work);
		node_wake(node);
		return CPD_OK;
	}
	work->event.type = RELAY_OWN;
	work->event.own = work->own;
	work->event.own_count = work->own_count;
	work->event.own_node = work->own_node;
	work->event.id = work->after;
	work->event.own_end = work->own_count < RELAY_ROWS_MAX;
	return turn_event(node, &work->event, now);
}

/* ---------------------------------------------------------------- forgetting below a floor, and elder epochs */

struct purge_scan { struct turn *turn; struct relay_effect *what; size_t looked; bool is_over; enum cpd_error error; };

static enum cpd_error purge_row(struct turn *turn, const struct store_key *key)
{
	enum cpd_error error = store_batch_delete(turn->batch, TABLE_CUSTODY, key);

	turn->has_purged = true;
	return error ? error : pending_add(turn, TABLE_CUSTODY, key, true, (struct slice){ NULL, 0 });
}

static bool purge_visit(void *context, const struct store_key *key, struct slice value)
{
	struct purge_scan *scan = context;
	struct relay_effect *what = scan->what;
	bool is_below = what->type == EFFECT_PURGE_BELOW;
	struct custody custody;
	struct message_id id;

	if (store_key_read_id(key, &id) || (is_below ? id.sequence >= what->sequence : id.epoch >= what->epoch)) {
		scan->is_over = true;
		return false;
	}
	what->id = id;
	custody_init(&custody);
	if (!custody_decode(value, &custody) && !(custody.flags & CUSTODY_HAS_ENVELOPE) && !custody.timer_ms
	    && (is_below || custody.since.custody_ms < what->at_ms))
		scan->error = purge_row(scan->turn, key);
	custody_clear(&custody);
	return !scan->error && ++scan->looked < PURGE_ROWS;
}

/* Runs before anything is decided and with nothing under way, and what goes is gone at once for what is decided after
 * it: no decision rests on a row that goes, and none brings it back. */
enum cpd_error purge(struct node *node, struct turn *turn)
{
	struct purge_scan scan = { .turn = turn };
	struct store_key from;
	size_t damaged = 0;
	enum cpd_error error;

	if (!node->purge_count)
		return CPD_OK;
	scan.what = &node->purges[node->purge_count - 1];
	from = store_key_id(&scan.what->id);
	error = store_scan(node->store, TABLE_CUSTODY, &from, scan.what->type == EFFECT_PURGE_BELOW ? 8 : 4, true, SIZE_MAX, purge_visit, &scan, &damaged);
	if (error && error != CPD_ERR_NOT_FOUND)
		return error;
	if (scan.is_over || scan.looked < PURGE_ROWS)
		node->purge_count--;
	if (node->purge_count)
		node_wake(node);
	return scan.error;
}

/* ---------------------------------------------------------------- after the commit */

static void tell_presence(struct node *node, const struct after *after)
{
	const struct slice record = { after->bytes, after->len };

	if (after->type == AFTER_ANNOUNCE)
		courier_announced(node, record);
	for (size_t i = 0; i < node->link_count; i++) {
		struct node_link *link = node->links[i];
		if ((after->type == AFTER_ANNOUNCE || link->neighbour == after->link) && link_is_up(link->link))
			link_send_presence(link->link, record, after->age_s);
	}
}

void effects_after(struct node *node, struct turn *turn)
{
	for (struct after *after = turn->first; after; after = after->next) {
		struct node_link *link;

		switch (after->type) {
		case AFTER_ANSWER:
			work_answer(after->work, CPD_OK, NULL, &after->id, after->is_existing);
			after->work = NULL;
			break;
		case AFTER_NEWS:
			journal_told(node, &after->news);
			break;
		case AFTER_WANT:
			link = links_find(node, after->link);
			if (link && !courier_is_serial(after->serial) && link_want(link->link, after->serial, &after->id, (struct slice){ after->bytes, after->len }, turn->number))
				log_limited(LOG_INFO, "want-not-sent", after->link, node_ms(node), "link=%u", after->link);
			break;
		case AFTER_PRESENCE:
		case AFTER_ANNOUNCE:
			tell_presence(node, after);
			break;
		case AFTER_ROWS:
			answer_rows(node, after);
			break;
		case AFTER_WORK:
			if (after->work->type == WORK_OWN_SCAN) {
				if (!node->idle.first && !node->purge_count)
					node->idle_since_ms = node_ms(node);
				work_list_add(&node->idle, after->work);
				node_wake(node);
			} else {
				work_push(node, after->work);
			}
			after->work = NULL;
			break;
		case AFTER_DIRECTORY:
			directory_committed(node, after->work);
			after->work = NULL;
			break;
		}
	}
}

void after_free(struct after *after)
{
	free(after->bytes);
	work_free(after->work);
	free(after);
}
