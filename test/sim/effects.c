/* effects.c: a simulated host and what its relay decided: into the turn's batch, to its links, or asked
 * of itself for a later turn. */
#include <stdlib.h>
#include <string.h>

#include "test/sim/courier.h"
#include "test/sim/turn.h"

static struct slice slice_of(const struct disk_row *row)
{
	return (struct slice){row->data, row->len};
}

struct sim_end *decision_end(struct sim_node *node, uint32_t peer)
{
	for (size_t i = 0; i < node->end_count; i++)
		if (node->ends[i]->peer == peer)
			return node->ends[i];
	return NULL;
}

void decision_settle(struct decision *turn, uint32_t peer, uint64_t serial, enum cpd_reason reason)
{
	struct sim_batch *batch = turn->batch;
	struct sim_end *end = courier_is_serial(serial) ? NULL : decision_end(turn->node, peer);
	if (end != NULL)
		link_settle(end->link, serial, reason, batch->turn);
	batch->settled = realloc(batch->settled, (batch->settled_count + 1) * sizeof(*batch->settled));
	batch->settled[batch->settled_count++] = (struct sim_settled){.end = end, .serial = serial, .reason = reason};
	if (reason != REFUSED_NONE)
		turn->node->world->figures->refusals[reason & 63]++;
	turn->node->world->figures->branches[BRANCH_VERSIONS_APART] += reason == REFUSED_UNKNOWN_GROUP;
}

static void put_custody(struct decision *turn, const struct custody *custody)
{
	uint8_t *bytes;
	size_t len;
	if (custody_encode(custody, &bytes, &len) != CPD_OK) {
		fail(turn->node->world, turn->node, &custody->id, "a custody record cannot be encoded");
		return;
	}
	batch_put(&turn->batch->changes, DISK_CUSTODY, disk_key_id(&custody->id), bytes, len);
	free(bytes);
}

static void put_dated(struct decision *turn, enum disk_table table, struct disk_key key, int64_t at_ms, struct slice bytes)
{
	const struct disk_row *old = NULL;
	if (bytes.data == NULL) { /* only the time changes */
		for (size_t i = turn->batch->changes.count; i > 0 && old == NULL; i--) {
			const struct disk_change *change = &turn->batch->changes.changes[i - 1];
			if (change->table == table && change->row->key.len == key.len && memcmp(change->row->key.bytes, key.bytes, key.len) == 0)
				old = change->row;
		}
		for (struct sim_batch *batch = turn->node->waiting; old == NULL && batch != NULL; batch = batch->next)
			for (size_t i = 0; i < batch->changes.count; i++) {
				const struct disk_change *change = &batch->changes.changes[i];
				if (change->table == table && change->row->key.len == key.len && memcmp(change->row->key.bytes, key.bytes, key.len) == 0)
					old = change->row;
			}
		if (old == NULL)
			old = disk_get(&turn->node->disk, table, &key);
		if (old == NULL || old->len < 8)
			return;
		bytes = (struct slice){old->data + 8, old->len - 8};
	}
	uint8_t *value = sim_alloc(8 + bytes.len);
	memcpy(value, &at_ms, 8);
	memcpy(value + 8, bytes.data, bytes.len);
	batch_put(&turn->batch->changes, table, key, value, 8 + bytes.len);
	free(value);
}

static void delete_prefixed(struct decision *turn, enum disk_table table, const struct disk_key *prefix)
{
	const struct disk_rows *rows = &turn->node->disk.tables[table];
	for (size_t at = disk_seek(&turn->node->disk, table, prefix); at < rows->count && disk_has_prefix(rows->rows[at], prefix); at++)
		batch_delete(&turn->batch->changes, table, rows->rows[at]->key);
}

static void purge_below(struct decision *turn, const struct relay_effect *effect)
{
	struct sim_node *node = turn->node;
	struct message_id first = {effect->node, effect->epoch, 0};
	struct disk_key from = disk_key_id(&first);
	struct disk_key prefix = from;
	const struct disk_rows *rows = &node->disk.tables[DISK_CUSTODY];
	prefix.len = 8;
	for (size_t at = disk_seek(&node->disk, DISK_CUSTODY, &from); at < rows->count && disk_has_prefix(rows->rows[at], &prefix); at++) {
		struct message_id id;
		disk_read_id(rows->rows[at]->key.bytes, &id);
		if (id.sequence >= effect->sequence)
			break;
		if (disk_get(&node->disk, DISK_ENVELOPES, &rows->rows[at]->key) == NULL)
			batch_delete(&turn->batch->changes, DISK_CUSTODY, rows->rows[at]->key);
	}
}

static void purge_elders(struct decision *turn, const struct relay_effect *effect)
{
	struct sim_node *node = turn->node;
	struct disk_key prefix = disk_key_origin(effect->node);
	const struct disk_rows *rows = &node->disk.tables[DISK_CUSTODY];
	for (size_t at = disk_seek(&node->disk, DISK_CUSTODY, &prefix); at < rows->count && disk_has_prefix(rows->rows[at], &prefix); at++) {
		struct message_id id;
		struct custody custody;
		disk_read_id(rows->rows[at]->key.bytes, &id);
		if (id.epoch >= effect->epoch)
			break;
		if (custody_decode(slice_of(rows->rows[at]), &custody) != CPD_OK)
			continue;
		if (!(custody.flags & CUSTODY_HAS_ENVELOPE) && custody.since.custody_ms < effect->at_ms)
			batch_delete(&turn->batch->changes, DISK_CUSTODY, rows->rows[at]->key);
		custody_clear(&custody);
	}
}

static bool take_stored(struct decision *turn, const struct relay_effect *effect)
{
	struct disk_batch *changes = &turn->batch->changes;
	struct disk_key id = disk_key_id(&effect->id);
	switch (effect->type) {
	case EFFECT_PUT_CUSTODY: put_custody(turn, effect->custody); break;
	case EFFECT_DELETE_CUSTODY: batch_delete(changes, DISK_CUSTODY, id); break;
	case EFFECT_PUT_ENVELOPE: batch_put(changes, DISK_ENVELOPES, id, effect->bytes.data, effect->bytes.len); break;
	case EFFECT_DELETE_ENVELOPE:
		batch_delete(changes, DISK_ENVELOPES, id);
		delete_prefixed(turn, DISK_LEAVES, &id);
		break;
	case EFFECT_PUT_LEAF: batch_put(changes, DISK_LEAVES, disk_key_leaf(&effect->id, effect->index), effect->bytes.data, effect->bytes.len); break;
	case EFFECT_PUT_ROW:
		batch_put(changes, DISK_QUEUE, disk_key_queue(effect->link, effect->row.ref.precedence, effect->row.ref.counter), &effect->row, sizeof(effect->row));
		break;
	case EFFECT_DELETE_ROW: batch_delete(changes, DISK_QUEUE, disk_key_queue(effect->link, effect->row.ref.precedence, effect->row.ref.counter)); break;
	case EFFECT_PUT_TIMER: batch_put(changes, DISK_TIMERS, disk_key_timer(effect->at_ms, &effect->id), NULL, 0); break;
	case EFFECT_DELETE_TIMER: batch_delete(changes, DISK_TIMERS, disk_key_timer(effect->at_ms, &effect->id)); break;
	case EFFECT_PUT_RECEIPTS: put_dated(turn, DISK_RECEIPTS, id, effect->at_ms, effect->bytes); break;
	case EFFECT_PUT_INBOX: batch_put(changes, DISK_INBOX, disk_key_number(effect->counter), &effect->id, sizeof(effect->id)); break;
	case EFFECT_DELETE_INBOX: batch_delete(changes, DISK_INBOX, disk_key_number(effect->counter)); break;
	case EFFECT_PUT_LATEST: batch_put(changes, DISK_LATEST, disk_key_pair(effect->node, effect->kind), &effect->id, sizeof(effect->id)); break;
	case EFFECT_PUT_PRESENCE: put_dated(turn, DISK_PRESENCE, disk_key_number(effect->node), effect->at_ms, effect->bytes); break;
	case EFFECT_PUT_FLOORS:
		turn->node->world->figures->branches[BRANCH_FLOORS_KEPT]++;
		batch_put(changes, DISK_FLOORS, disk_key_number(effect->node), effect->presence.floors,
		    effect->presence.floor_count * sizeof(effect->presence.floors[0]));
		break;
	case EFFECT_PUT_COUNTERS: break; /* with the meta row of every turn */
	case EFFECT_PURGE_BELOW: purge_below(turn, effect); break;
	case EFFECT_PURGE_ELDERS: purge_elders(turn, effect); break;
	default: return false;
	}
	return true;
}

static void pass_presence(struct decision *turn, const struct relay_effect *effect)
{
	struct sim_batch *batch = turn->batch;
	struct sim_pass pass = {.end = decision_end(turn->node, effect->link), .len = effect->bytes.len, .age_s = effect->age_s};
	pass.bytes = sim_alloc(pass.len);
	memcpy(pass.bytes, effect->bytes.data, pass.len);
	batch->passes = realloc(batch->passes, (batch->pass_count + 1) * sizeof(pass));
	batch->passes[batch->pass_count++] = pass;
}

static void note_journal(struct decision *turn, const struct relay_effect *effect)
{
	turn->node->world->figures->journal[effect->what]++;
	trace(turn->node->world, turn->node, effect->id.sequence != 0 ? &effect->id : NULL, "%s node %u link %u level %s reason %s",
	    journal_what_name(effect->what), effect->node, effect->link, level_name(effect->level), reason_name(effect->reason));
}

static void take_told(struct decision *turn, const struct relay_effect *effect)
{
	struct sim_node *node = turn->node;
	struct sim_input later = {.plan = -1};
	struct sim_end *end;
	switch (effect->type) {
	case EFFECT_SETTLE: decision_settle(turn, effect->link, effect->serial, effect->reason); break;
	case EFFECT_WANT:
		end = decision_end(node, effect->link);
		for (size_t i = 0; i < effect->bytes.len; i++)
			if (effect->bytes.data[i] != 0) {
				node->world->figures->branches[BRANCH_PARTIAL_RESUME]++;
				break;
			}
		if (link_want(end->link, effect->serial, &effect->id, effect->bytes, turn->batch->turn) != CPD_OK)
			trace(node->world, node, &effect->id, "the link takes no want");
		break;
	case EFFECT_PRESENCE: pass_presence(turn, effect); break;
	case EFFECT_ANNOUNCE:
		turn->batch->announce = effect->presence;
		turn->batch->has_announce = true;
		break;
	case EFFECT_WANT_ROWS:
		later.event = (struct relay_event){.type = RELAY_ROWS, .link = effect->link, .precedence = effect->precedence, .is_reroute = effect->is_reroute, .ref = {.counter = effect->counter}};
		turn->batch->asks = sim_grow(turn->batch->asks, &turn->batch->ask_room, turn->batch->ask_count, sizeof(later));
		turn->batch->asks[turn->batch->ask_count++] = later;
		break;
	case EFFECT_WANT_OWN:
		later.event = (struct relay_event){.type = RELAY_OWN, .own_node = effect->node, .id = effect->id};
		node_input(node, &later, false);
		break;
	case EFFECT_WANT_FLOOR:
		later.event = (struct relay_event){.type = RELAY_OWN, .own_node = node->number, .id = {node->number, effect->epoch, effect->sequence}};
		node_input(node, &later, false);
		break;
	case EFFECT_RAISE_EPOCH:
		if (effect->epoch > node->raise_to)
			node->raise_to = effect->epoch;
		break;
	case EFFECT_FENCED: node->fence_is_due = true; break;
	case EFFECT_REISSUE: {
		struct happening *again = world_schedule(node->world, HAPPENS_REISSUE, node->world->now_ms + random_range(&node->world->random, 1, 200));
		again->node = node;
		again->id = effect->id;
		break;
	}
	case EFFECT_JOURNAL: note_journal(turn, effect); break;
	default: fail(node->world, node, &effect->id, "effect %d is not one that a host knows", (int)effect->type);
	}
}

static void store_circuits(struct decision *turn)
{
	for (size_t i = 0; i < turn->node->end_count; i++) {
		struct sim_end *end = turn->node->ends[i];
		struct link_circuit circuit;
		if (!link_circuit_is_dirty(end->link))
			continue;
		memset(&circuit, 0, sizeof(circuit));
		link_circuit(end->link, &circuit);
		link_circuit_saved(end->link);
		batch_put(&turn->batch->changes, DISK_CIRCUITS, disk_key_number(end->peer), &circuit, sizeof(circuit));
	}
}

void effects_take(struct decision *turn)
{
	struct relay_effect effect;
	while (!turn->node->world->is_failed && relay_take_effect(turn->node->relay, &effect))
		if (!take_stored(turn, &effect))
			take_told(turn, &effect);
	store_circuits(turn);
}
