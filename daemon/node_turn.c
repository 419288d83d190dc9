/*
 * node_turn.c: one turn is one transaction: decide, hand to the writer, complete when it is on disk.
 *
 * Nothing of a turn leaves before turn_complete has seen its commit: acknowledgements, receipts, sends,
 * answers to callers and live updates all hang on it.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_draft.h"
#include "daemon/node_internal.h"
#include "daemon/node_seal.h"

#define RECORD_MAX (LIMIT_RECEIPTS + 128)

/* ---------------------------------------------------------------- committed rows */

enum cpd_error node_load_custody(struct node *node, const struct message_id *id, struct custody *out)
{
	struct store_key key = store_key_id(id);
	uint8_t *value;
	size_t len;
	enum cpd_error error;

	custody_init(out);
	error = node_load(node, TABLE_CUSTODY, &key, &value, &len);
	if (error)
		return error;
	error = custody_decode((struct slice){ value, len }, out);
	free(value);
	return error;
}

static void cache_clear(struct node *node)
{
	for (size_t i = 0; node->cache_count && i < NODE_CACHE; i++) {
		if (node->cache[i].is_held)
			custody_clear(&node->cache[i].custody);
		node->cache[i].is_used = node->cache[i].is_held = false;
	}
	node->cache_count = 0;
}

/* By a turn on its way to the disk, this one included. */
static bool is_purged(const struct node *node, const struct message_id *id)
{
	struct store_key key = store_key_id(id);
	const struct pending *pending;

	for (const struct turn *turn = node->first; turn; turn = turn->next) {
		if (!turn->has_purged)
			continue;
		pending = pending_find(node, TABLE_CUSTODY, &key);
		return pending && pending->is_delete;
	}
	return false;
}

/* *out NULL: the store holds none. */
static enum cpd_error cache_get(struct node *node, const struct message_id *id, const struct custody **out)
{
	size_t at = (size_t)((id->sequence * 0x9E3779B97F4A7C15u ^ (uint64_t)id->origin * 0x85EBCA6Bu ^ id->epoch) >> 7);
	struct cached *slot;
	enum cpd_error error;

	for (;; at++) {
		slot = &node->cache[at & (NODE_CACHE - 1)];
		if (!slot->is_used)
			break;
		if (message_id_equal(&slot->id, id))
			goto found;
	}
	error = is_purged(node, id) ? CPD_ERR_NOT_FOUND : node_load_custody(node, id, &slot->custody);
	if (error && error != CPD_ERR_NOT_FOUND && error != CPD_ERR_MALFORMED)
		return error;
	slot->is_used = true;
	slot->is_held = !error;
	slot->id = *id;
	node->cache_count++;
found:
	*out = slot->is_held ? &slot->custody : NULL;
	return CPD_OK;
}

/* ---------------------------------------------------------------- what is on its way to the disk */

struct after *after_add(struct turn *turn, enum after_type type)
{
	struct after *after = calloc(1, sizeof(*after));

	if (!after)
		return NULL;
	after->type = type;
	*turn->last = after;
	turn->last = &after->next;
	return after;
}

const struct pending *pending_find(const struct node *node, enum store_table table, const struct store_key *key)
{
	const struct pending *found = NULL;

	for (const struct turn *turn = node->first; turn; turn = turn->next) {
		for (size_t i = 0; i < turn->pending_count; i++) {
			const struct pending *pending = &turn->pending[i];
			if (pending->table == table && pending->key.len == key->len && !memcmp(pending->key.bytes, key->bytes, key->len))
				found = pending;
		}
	}
	return found;
}

enum cpd_error pending_add(struct turn *turn, enum store_table table, const struct store_key *key, bool is_delete, struct slice bytes)
{
	struct pending *pending;

	if (turn->pending_count == turn->pending_capacity) {
		size_t capacity = turn->pending_capacity ? turn->pending_capacity * 2 : 16;
		pending = realloc(turn->pending, capacity * sizeof(*pending));
		if (!pending)
			return CPD_ERR_NOMEM;
		turn->pending = pending;
		turn->pending_capacity = capacity;
	}
	pending = &turn->pending[turn->pending_count];
	*pending = (struct pending){ .table = table, .key = *key, .is_delete = is_delete };
	if (bytes.len) {
		pending->bytes = malloc(bytes.len);
		if (!pending->bytes)
			return CPD_ERR_NOMEM;
		memcpy(pending->bytes, bytes.data, bytes.len);
		pending->len = bytes.len;
	}
	turn->pending_count++;
	return CPD_OK;
}

enum cpd_error turn_put(struct turn *turn, enum store_table table, const struct store_key *key, struct slice value)
{
	return store_batch_put(turn->batch, table, key, value);
}

static void turn_free(struct turn *turn)
{
	while (turn->first) {
		struct after *after = turn->first;
		turn->first = after->next;
		after_free(after);
	}
	for (size_t i = 0; i < turn->pending_count; i++)
		free(turn->pending[i].bytes);
	free(turn->pending);
	store_batch_free(turn->batch);
	free(turn);
}

/* ---------------------------------------------------------------- deciding */

static enum cpd_error witness_note(struct node *node)
{
	struct receipt_entry entry;
	enum precedence precedence;

	while (relay_take_witness(node->relay, &entry, &precedence)) {
		if (node->witness_count == node->witness_capacity) {
			size_t capacity = node->witness_capacity ? node->witness_capacity * 2 : 64;
			struct witness_note *notes = realloc(node->witness, capacity * sizeof(*notes));
			if (!notes)
				return CPD_ERR_NOMEM;
			node->witness = notes;
			node->witness_capacity = capacity;
		}
		node->witness[node->witness_count++] = (struct witness_note){ entry.subject.origin, precedence, false, entry };
	}
	return CPD_OK;
}

enum cpd_error turn_event(struct node *node, const struct relay_event *event, const struct moment *now)
{
	struct message_id keys[RELAY_KEYS_MAX];
	struct relay_facts facts;
	size_t count = relay_keys_of(node->relay, event, keys);
	enum cpd_error error;

	memset(&facts, 0, sizeof(facts));
	if (node->cache_count + count > NODE_CACHE / 2)
		cache_clear(node);
	for (size_t i = 0; i < count; i++) {
		error = cache_get(node, &keys[i], &facts.custody[i]);
		if (error)
			return error == CPD_ERR_NOMEM ? error : CPD_ERR_IO;
	}
	if (event->type == RELAY_RECEIPTS) {
		const struct receipts *receipts = &event->receipts->receipts;
		struct store_key key = store_key_record(receipts->witness, receipts->epoch, receipts->counter);
		const struct pending *pending = pending_find(node, TABLE_RECEIPTS, &key);
		uint8_t *value = NULL;
		size_t len = 0;

		if (pending) {
			facts.holds_receipts = !pending->is_delete;
			facts.receipts_forwarded_ms = pending->is_delete ? 0 : time_of(pending->bytes);
		} else if (!node_load(node, TABLE_RECEIPTS, &key, &value, &len) && len > 8) {
			facts.holds_receipts = true;
			facts.receipts_forwarded_ms = time_of(value);
		}
		free(value);
	}
	error = relay_handle(node->relay, event, &facts, now);
	if (error == CPD_ERR_NOMEM)
		return error;
	if (witness_note(node))
		return CPD_ERR_NOMEM;
	return error;
}

/* Signs one record over the notes of one origin and precedence, and lets the relay have it. */
static enum cpd_error witness_sign(struct node *node, size_t from, const struct moment *now)
{
	struct relay_event event = { .type = RELAY_RECEIPTS, .precedence = node->witness[from].precedence };
	struct receipts *receipts = calloc(1, sizeof(*receipts));
	struct verified_receipts *verified = calloc(1, sizeof(*verified));
	uint8_t signed_bytes[LIMIT_RECEIPTS], record[RECORD_MAX];
	size_t taken[LIMIT_RECEIPT_ENTRIES], len = 0, record_len = 0;
	enum cpd_error error = CPD_ERR_NOMEM;

	if (!receipts || !verified)
		goto out;
	receipts->witness = node->self;
	receipts->epoch = node->epoch;
	receipts->counter = relay_counters(node->relay)->receipt_counter;
	receipts->time_s = now->wall_ms > 0 ? (uint32_t)(now->wall_ms / 1000) : 0;
	receipts->origin = node->witness[from].origin;
	for (size_t i = from; i < node->witness_count && receipts->count < LIMIT_RECEIPT_ENTRIES; i++) {
		if (node->witness[i].is_signed || node->witness[i].origin != receipts->origin || node->witness[i].precedence != event.precedence)
			continue;
		taken[receipts->count] = i;
		receipts->entries[receipts->count++] = node->witness[i].entry;
	}
	/* Long remarks may fill the record before its entries do. */
	while ((error = receipts_encode(receipts, signed_bytes, &len)) == CPD_ERR_TOO_LARGE && receipts->count > 1)
		receipts->count /= 2;
	for (size_t i = 0; i < receipts->count; i++)
		node->witness[taken[i]].is_signed = true;
	if (!error)
		error = verify_own_receipts(node->directory, node->identity, (struct slice){ signed_bytes, len }, record, sizeof(record), &record_len, verified);
	if (error) {
		log_line(LOG_ERR, "receipt-not-signed", "origin=%u entries=%zu error=\"%s\" cure=\"look whether this node's own certificate is in the directory\"",
		    receipts->origin, receipts->count, cpd_error_text(error));
		error = error == CPD_ERR_NOMEM ? error : CPD_OK;
		goto out;
	}
	event.receipts = verified;
	error = turn_event(node, &event, now);
out:
	free(receipts);
	free(verified);
	return error;
}

static enum cpd_error witness_flush(struct node *node, const struct moment *now)
{
	enum cpd_error error = CPD_OK;

	for (size_t i = 0; !error && i < node->witness_count; i++)
		if (!node->witness[i].is_signed)
			error = witness_sign(node, i, now);
	node->witness_count = 0;
	return error;
}

/* Leaves on disk of a large body, as a bitmap; *held is malloc'ed. */
struct leaf_scan { uint8_t *bits; uint32_t leaves; };

static bool leaf_visit(void *context, const struct store_key *key, struct slice value)
{
	struct leaf_scan *scan = context;
	uint32_t index = 0;

	(void)value;
	for (size_t i = key->len - 4; i < key->len; i++)
		index = index << 8 | key->bytes[i];
	if (index < scan->leaves)
		scan->bits[index / 8] |= (uint8_t)(1u << (index % 8));
	return true;
}

static const struct large_body *body_note(struct node *node, const struct header *header)
{
	struct large_body *body = &node->bodies[node->body_at];

	node->body_at = (node->body_at + 1) % NODE_BODIES;
	*body = (struct large_body){ .id = header->id, .length = header->large_length };
	memcpy(body->root, header->large_root, sizeof(body->root));
	return body;
}

/* What its leaves are checked against: noted when its header came, or read from the stored envelope. NULL: neither. */
static const struct large_body *body_find(struct node *node, const struct message_id *id)
{
	struct store_key key = store_key_id(id);
	const struct large_body *body = NULL;
	struct message message;
	uint8_t *envelope;
	size_t len;

	for (size_t i = 0; i < NODE_BODIES; i++)
		if (node->bodies[i].length && message_id_equal(&node->bodies[i].id, id))
			return &node->bodies[i];
	if (node_load(node, TABLE_ENVELOPES, &key, &envelope, &len))
		return NULL;
	if (!message_decode((struct slice){ envelope, len }, &message) && message.header.large_length)
		body = body_note(node, &message.header);
	free(envelope);
	return body;
}

static enum cpd_error body_held(struct node *node, const struct header *header, struct work *work)
{
	struct leaf_scan scan = { .leaves = tree_leaf_count(header->large_length) };
	struct store_key from = store_key_id(&header->id);
	size_t damaged = 0, len = (scan.leaves + 7) / 8;
	enum cpd_error error;

	scan.bits = calloc(1, len + 1);
	if (!scan.bits)
		return CPD_ERR_NOMEM;
	error = store_scan(node->store, TABLE_LEAVES, &from, from.len, false, LIMIT_LEAVES, leaf_visit, &scan, &damaged);
	if (error && error != CPD_ERR_NOT_FOUND) {
		free(scan.bits);
		return error;
	}
	work->held = scan.bits;
	work->event.held = (struct slice){ scan.bits, len };
	body_note(node, header);
	return CPD_OK;
}

static enum cpd_error decide_leaf(struct node *node, struct work *work, const struct moment *now)
{
	struct relay_event *event = &work->event;
	struct tree_path path;
	const struct large_body *body = NULL;
	enum cpd_error error;

	error = leaf_item_decode((struct slice){ work->bytes, work->len }, &event->id, &event->leaf_index, &event->leaf, &path);
	if (!error)
		body = body_find(node, &event->id);
	/* Its body was let in when there was room for it; others may have been let in since. What is begun goes on
	 * as long as a FLASH may, never into what is kept for receipts and deletes. */
	if (!error && !turn_admits(node, PRECEDENCE_FLASH, 0))
		error = CPD_ERR_FULL;
	if (!error && !body)
		error = CPD_ERR_BUSY;   /* its header never came, or was forgotten: the sender offers both again */
	if (!error)
		error = tree_verify_leaf(body->root, body->length, event->leaf_index, event->leaf, &path, crypto_digest);
	if (error) {
		work->error = error;
		return CPD_OK;
	}
	event->type = RELAY_LEAF;
	return turn_event(node, event, now);
}

static void item_refuse(struct node *node, struct turn *turn, struct work *work)
{
	struct node_link *link = links_find(node, work->link);

	node->counters.verify_failed++;
	log_limited(LOG_WARNING, "item-refused", work->link, node_ms(node), "link=%u item=%d reason=%s error=\"%s\"", work->link,
	    (int)work->item_type, reason_name(reason_of_error(work->error)), cpd_error_text(work->error));
	if (work->is_courier)
		courier_settled(node, work->serial, reason_of_error(work->error));
	else
		link_settle(link->link, work->serial, reason_of_error(work->error), turn->number);
}

static enum cpd_error decide_item(struct node *node, struct turn *turn, struct work *work, const struct moment *now)
{
	struct relay_event *event = &work->event;
	enum cpd_error error = CPD_OK;

	event->link = work->link;
	event->serial = work->serial;
	event->precedence = work->precedence;
	if (!work->error && work->item_type == ITEM_TYPE_LEAF) {
		error = decide_leaf(node, work, now);
	} else if (!work->error && work->item_type == ITEM_TYPE_MESSAGE) {
		const struct header *header = &work->result->message.message.header;

		if (header->large_length)
			error = body_held(node, header, work);
		if (error)
			return error;
		event->type = RELAY_MESSAGE;
		event->message = &work->result->message;
		event->trailer = &work->trailer;
		event->store_admits = turn_admits(node, header->precedence, header->large_length);
		error = turn_event(node, event, now);
	} else if (!work->error) {
		event->type = RELAY_RECEIPTS;
		event->receipts = &work->result->receipts;
		error = turn_event(node, event, now);
	}
	if (work->error)
		item_refuse(node, turn, work);
	return error;
}

static enum cpd_error decide(struct node *node, struct turn *turn, struct work *work, const struct moment *now)
{
	const struct node_link *link = work->link ? links_find(node, work->link) : NULL;

	if (work->is_courier && !courier_is_current(node, work))
		return CPD_OK;          /* the stick is read again */
	if (!work->is_courier && (work->type == WORK_ITEM || work->type == WORK_DIRECTORY || work->type == WORK_PRESENCE) && work->link &&
	    (!link || link->circuit != work->circuit))
		return CPD_OK;          /* its serials are void: the peer sends it again */
	switch (work->type) {
	case WORK_EVENT:
		return turn_event(node, &work->event, now);
	case WORK_ITEM:
		return decide_item(node, turn, work, now);
	case WORK_PRESENCE:
		if (work->error) {
			node->counters.verify_failed++;
			log_limited(LOG_INFO, "presence-refused", work->link, now->custody_ms, "link=%u error=\"%s\"", work->link,
			    cpd_error_text(work->error));
			return CPD_OK;
		}
		work->event.type = RELAY_HEARD;
		work->event.link = work->link;
		work->event.presence = &work->result->presence;
		return turn_event(node, &work->event, now);
	case WORK_DIRECTORY:
		return directory_decide(node, turn, work);
	case WORK_AUTHOR:
		return work->request ? author_decide(node, turn, work, now) : reissue_decide(node, turn, work, now);
	case WORK_OPERATE:
		return operate_decide(node, turn, work, now);
	case WORK_RESEAL:
		return reseal_decide(node, turn, work, now);
	case WORK_DRAFT:
		return draft_decide(node, turn, work, now);
	case WORK_UNSEAL:
		return unseal_decide(node, turn, work, now);
	case WORK_COURIER:
		return courier_decide(node, turn);
	case WORK_OWN_SCAN:
		break;                  /* waits in the idle list */
	}
	return CPD_OK;
}

/* ---------------------------------------------------------------- timers */

struct due_scan { struct node *node; struct store_key keys[NODE_TIMERS]; size_t count; int64_t now_ms, next_ms; };

static bool due_visit(void *context, const struct store_key *key, struct slice value)
{
	struct due_scan *scan = context;
	struct message_id id;
	int64_t due_ms;

	(void)value;
	if (store_key_read_timer(key, &due_ms, &id))
		return true;
	if (due_ms > scan->now_ms || scan->count == NODE_TIMERS) {
		scan->next_ms = due_ms;
		return false;
	}
	if (!pending_find(scan->node, TABLE_TIMERS, key))
		scan->keys[scan->count++] = *key;
	return true;
}

static enum cpd_error decide_timers(struct node *node, struct turn *turn, const struct moment *now)
{
	static const struct message_id zero;
	struct due_scan *scan;
	struct store_key from = store_key_timer(0, &zero);
	size_t damaged = 0;
	enum cpd_error error;

	if (node_is_fenced(node))                /* nothing expires and nothing is tried again */
		node->row_due_ms = INT64_MAX;
	if (node->row_due_ms > now->custody_ms)
		return CPD_OK;
	scan = calloc(1, sizeof(*scan));
	if (!scan)
		return CPD_ERR_NOMEM;
	*scan = (struct due_scan){ .node = node, .now_ms = now->custody_ms, .next_ms = INT64_MAX };
	error = store_scan(node->store, TABLE_TIMERS, &from, 0, false, SIZE_MAX, due_visit, scan, &damaged);
	if (error == CPD_ERR_NOT_FOUND)
		error = CPD_OK;
	/* Rows put by turns under way are not seen by the scan; their own put has to keep the deadline. */
	if (!error)
		node->row_due_ms = scan->next_ms;
	for (const struct turn *at = node->first; at; at = at->next)
		for (size_t i = 0; i < at->pending_count; i++) {
			struct message_id id;
			int64_t due_ms;
			if (at->pending[i].table == TABLE_TIMERS && !at->pending[i].is_delete &&
			    !store_key_read_timer(&at->pending[i].key, &due_ms, &id) && due_ms < node->row_due_ms)
				node->row_due_ms = due_ms;
		}
	for (size_t i = 0; !error && i < scan->count; i++) {
		struct relay_event event = { .type = RELAY_TIMER };

		/* Deleted first, so that a row the relay does not know of cannot come round for ever; what the relay
		 * puts comes later in the batch and wins. */
		error = store_key_read_timer(&scan->keys[i], &event.due_ms, &event.id);
		if (!error)
			error = store_batch_delete(turn->batch, TABLE_TIMERS, &scan->keys[i]);
		if (!error)
			error = pending_add(turn, TABLE_TIMERS, &scan->keys[i], true, (struct slice){ NULL, 0 });
		if (!error)
			error = turn_event(node, &event, now);
	}
	free(scan);
	return error;
}

/* ---------------------------------------------------------------- the turn */

/* Questions that must see everything committed wait for a quiet moment, and after 5 s they make one. */
static bool idle_is_due(struct node *node)
{
	return ((node->idle.first || node->purge_count) && node_ms(node) - node->idle_since_ms > 5000) || retention_is_overdue(node);
}

bool turn_may_run(struct node *node)
{
	unsigned bound = node->urgent.first ? NODE_TURNS_FLASH : idle_is_due(node) ? 1 : NODE_TURNS;

	return node->relay && !node->rebuild_why && !node->raise_epoch && !node->has_failed && !node->held && node->in_flight < bound &&
	    node->in_flight_bytes < NODE_IN_FLIGHT_BYTES;
}

static struct turn *turn_begin(struct node *node)
{
	struct turn *turn = calloc(1, sizeof(*turn));

	if (!turn)
		return NULL;
	turn->number = ++node->turn;
	turn->last = &turn->first;
	turn->batch = store_batch_new(turn->number);
	if (!turn->batch) {
		free(turn);
		return NULL;
	}
	*node->last = turn;
	node->last = &turn->next;
	node->in_flight++;
	node->counters.turns++;
	return turn;
}

static enum cpd_error decide_all(struct node *node, struct turn *turn, const struct moment *now)
{
	struct relay_event tick = { .type = RELAY_TICK };
	struct work *work;
	enum cpd_error error;

	node->turn_bytes = 0;
	relay_begin_turn(node->relay, turn->number);
	error = node->in_flight == 1 ? purge(node, turn) : CPD_OK;
	if (!error)
		error = decide_timers(node, turn, now);
	if (!error && relay_next_deadline(node->relay) <= now->custody_ms)
		error = turn_event(node, &tick, now);
	if (!error && node->in_flight == 1) {
		error = retention_sweep(node, turn, now);
		work = error ? NULL : work_list_take(&node->idle);
		if (work) {
			error = own_scan(node, work, now);
			if (!work->is_kept)
				work_list_add(&node->decided, work);
		}
	}
	for (unsigned count = 0; !error && count < NODE_TURN_WORKS && node->turn_bytes < NODE_TURN_BYTES; count++) {
		work = work_pop(node);
		if (!work)
			break;
		work->is_kept = false;
		error = decide(node, turn, work, now);
		if (!error && work->is_courier)
			courier_decided(node, work, turn->number);
		node->turn_bytes += work->result ? work->result->bytes.len : work->len;
		node->turn_bytes += work->request ? work->request->body.len : 0;
		if (!work->is_kept)
			work_list_add(&node->decided, work);
	}
	if (!error)
		error = witness_flush(node, now);
	if (!error)
		error = relay_end_turn(node->relay);
	if (!error)
		error = effects_take(node, turn, now);
	if (!error)
		error = links_circuits(node, turn);
	return error;
}

/* What one turn comes to is known only when it was decided: receipts of many neighbours rewrite as many
 * custody records. With no room at the writer it waits here for the turns before it. */
static enum cpd_error turn_hand_over(struct node *node, struct turn *turn)
{
	struct store_batch *batch = turn->batch;
	enum cpd_error error;

	node->held = node->in_flight_bytes && node->in_flight_bytes + turn->bytes > NODE_IN_FLIGHT_BYTES ? turn : NULL;
	if (node->held)
		return CPD_OK;
	turn->batch = NULL;
	turn->submitted_us = clock_boot_us();
	error = store_submit(node->store, batch);
	if (!error)
		node->in_flight_bytes += turn->bytes;
	return error;
}

enum cpd_error turn_commit_held(struct node *node)
{
	struct turn *turn = node->held;
	struct store_batch *batch = turn ? turn->batch : NULL;
	enum cpd_error error;

	if (!turn)
		return CPD_OK;
	node->held = NULL;
	turn->batch = NULL;
	turn->submitted_us = clock_boot_us();
	error = store_commit_now(node->store, batch);
	if (!error)
		node->in_flight_bytes += turn->bytes;
	return error;
}

static enum cpd_error turn_submit(struct node *node, struct turn *turn, const struct moment *now)
{
	struct store_batch *batch = turn->batch;
	struct store_key key = store_key_name("custody_ms");
	struct store_value value = store_value_u64((uint64_t)now->custody_ms);
	enum cpd_error error;

	if (!store_batch_count(batch)) {
		turn->is_empty = true;
		store_batch_free(batch);
		turn->batch = NULL;
		return CPD_OK;
	}
	error = store_batch_put(batch, TABLE_META, &key, (struct slice){ value.bytes, value.len });
	if (error)
		return error;
	turn->bytes = store_batch_bytes(batch);
	return turn_hand_over(node, turn);
}

void turn_run(struct node *node)
{
	struct moment now;
	struct turn *turn;
	struct work *work;
	enum cpd_error error;

	if (!turn_may_run(node))
		return;
	node_now(node, &now);
	if (!work_is_ready(node) && node->row_due_ms > now.custody_ms && relay_next_deadline(node->relay) > now.custody_ms &&
	    !node->is_loading && !((node->idle.first || node->purge_count) && !node->in_flight))
		return;
	node->is_loading = false;
	turn = turn_begin(node);
	if (!turn) {
		node_rebuild(node, "memory is used up");
		return;
	}
	error = decide_all(node, turn, &now);
	if (!error)
		error = turn_submit(node, turn, &now);
	cache_clear(node);
	node->witness_count = 0;
	while ((work = work_list_take(&node->decided)))
		work_free(work);
	if (error)
		node_rebuild(node, cpd_error_text(error));
	else
		turn_complete(node);    /* an empty turn with nothing before it is complete already */
	if (work_is_ready(node))
		node_wake(node);
}

static void count_commit(struct node *node, const struct turn *turn)
{
	const int64_t took_us = clock_boot_us() - turn->submitted_us;
	size_t bucket = 0;

	while (bucket < NODE_COMMIT_BOUNDS && took_us > node_commit_bounds_us[bucket])
		bucket++;
	node->counters.commit.buckets[bucket]++;
	node->counters.commit.sum_us += (uint64_t)took_us;
	node->counters.commits++;
}

static void turn_done(struct node *node, struct turn *turn)
{
	node->first = turn->next;
	if (!node->first)
		node->last = &node->first;
	node->in_flight--;
	node->in_flight_bytes -= turn->bytes;
	if (!turn->is_empty)
		count_commit(node, turn);
	if (turn->journal.number)
		node->journal_told = turn->journal;
	relay_committed(node->relay, turn->number);
	links_committed(node, turn->number);
	effects_after(node, turn);
	courier_turned(node, turn->number);
	turn_free(turn);
}

void turn_complete(struct node *node)
{
	enum cpd_error error = CPD_OK;
	uint64_t committed = 0;
	bool is_moved = false;

	/* What a rebuild has given up must not be emitted any more, even when the disk has it by now. */
	while (!node->rebuild_why) {
		bool is_told = store_completed(node->store, &committed, &error);

		while (node->first && (node->first->number <= committed || (node->first->is_empty && !node->first->batch))) {
			turn_done(node, node->first);
			is_moved = true;
		}
		if (!error && node->held && is_moved && turn_hand_over(node, node->held))
			node_rebuild(node, "the writer took no more");
		if (error) {
			log_line(LOG_ERR, "commit-failed", "error=\"%s\" cure=\"%s\"", error == CPD_ERR_FULL ? "there is no room" : cpd_error_text(error),
			    error == CPD_ERR_FULL ? "make room on the disk of the store, or raise limit_mib under [store]" : "look at the disk: read-only or broken");
			node_rebuild(node, "a commit failed");
			/* What the kernel holds of a file that it could not write proves nothing: a store opened again here
			 * may show as committed what is on no disk, and it would be acknowledged. */
			if (error != CPD_ERR_FULL && error != CPD_ERR_NOMEM)
				node_give_up(node, "the disk refused a commit");
		}
		if (!is_told)
			break;
	}
	if (!is_moved || node->rebuild_why)
		return;
	space_look(node);
	send_fill_all(node);
	if (work_is_ready(node) || node->raise_epoch || ((node->idle.first || node->purge_count) && !node->in_flight))
		node_wake(node);
	node_arm(node);
}

void turns_drop(struct node *node, enum cpd_error error, const char *why)
{
	while (node->first) {
		struct turn *turn = node->first;

		node->first = turn->next;
		for (struct after *after = turn->first; after; after = after->next) {
			if (!after->work || !(after->type == AFTER_ANSWER || after->type == AFTER_DIRECTORY))
				continue;
			work_answer(after->work, error, why, NULL, false);
			after->work = NULL;
		}
		turn_free(turn);
	}
	node->last = &node->first;
	node->held = NULL;
	node->in_flight = 0;
	node->in_flight_bytes = 0;
	node->witness_count = 0;
	cache_clear(node);
}
