/* check.c: what must hold after every step. The disks alone change what a region knows, so the rules are
 * judged at each committed change, at each frame that leaves and at each item that is handed to a link:
 * that is every step at the cost of what changed.
 *
 * Each rule was seen red: `make mutants` breaks the code in the ways of test/mutants/mutants.toml, and tells
 * which test saw it. What a run of few small regions does not reach, the unit tests of daemon/relay hold. */
#include <stdlib.h>
#include <string.h>

#include "test/sim/make_verified.h"
#include "test/sim/sim.h"
#include "test/sim/twin.h"

#define STARVED_MS (15 * SIM_MINUTE)

/* ---------------------------------------------------------------- registry and sets */

static size_t bucket_of(const struct message_id *id)
{
	return random_mix((uint64_t)id->origin << 40 ^ (uint64_t)id->epoch << 32 ^ id->sequence) % 1024;
}

struct sim_message *message_known(struct world *world, const struct message_id *id, const struct hash8 *hash)
{
	struct sim_message *message = world->messages[bucket_of(id)];
	for (; message != NULL; message = message->next)
		if (message_id_equal(&message->id, id) && (hash == NULL || memcmp(hash, &message->hash, sizeof(*hash)) == 0))
			return message;
	return NULL;
}

void message_add(struct world *world, struct sim_message *message)
{
	struct sim_message **bucket = &world->messages[bucket_of(&message->id)];
	message->next = *bucket;
	*bucket = message;
	message->is_committed = true;
	world->message_count++;
	world->figures->branches[BRANCH_MESSAGES]++;
}

/* By content too: a machine that was put back gives an id a second time. */
static uint64_t shown_key(const struct sim_node *node, unsigned generation, const struct sim_message *message)
{
	uint64_t hash;
	uint64_t key = random_mix((uint64_t)node->number << 32 | generation);
	memcpy(&hash, &message->hash, sizeof(hash));
	key = random_mix(key ^ ((uint64_t)message->id.origin << 32 | message->id.epoch));
	key = random_mix(key ^ message->id.sequence);
	key = random_mix(key ^ hash);
	return key != 0 ? key : 1;
}

static bool set_holds(const struct world *world, uint64_t key)
{
	if (world->shown_room == 0)
		return false;
	for (size_t at = key % world->shown_room;; at = (at + 1) % world->shown_room) {
		if (world->shown[at] == key)
			return true;
		if (world->shown[at] == 0)
			return false;
	}
}

static void set_add(struct world *world, uint64_t key)
{
	if (world->shown_count * 2 >= world->shown_room) {
		uint64_t *old = world->shown;
		size_t room = world->shown_room;
		world->shown_room = room * 2 + 1024;
		world->shown = sim_alloc(world->shown_room * sizeof(*old));
		world->shown_count = 0;
		for (size_t i = 0; i < room; i++)
			if (old[i] != 0)
				set_add(world, old[i]);
		free(old);
	}
	if (set_holds(world, key))
		return;
	size_t at = key % world->shown_room;
	while (world->shown[at] != 0)
		at = (at + 1) % world->shown_room;
	world->shown[at] = key;
	world->shown_count++;
}

static bool was_shown(const struct sim_node *node, const struct sim_message *message)
{
	for (const struct sim_node *copy = node; copy != NULL; copy = copy == node ? node->sibling : NULL)
		for (unsigned generation = copy->first_generation; generation <= copy->generation; generation++)
			if (set_holds(node->world, shown_key(node, generation, message)))
				return true;
	return false;
}

/* Any copy of it. */
static bool has_held(const struct sim_node *node, const struct sim_message *message)
{
	return message->held_mask & 1u << node->index || (node->sibling != NULL && message->held_mask & 1u << node->sibling->index);
}

static bool decode_row(struct sim_node *node, const struct disk_row *row, struct custody *out)
{
	custody_init(out);
	if (row == NULL)
		return false;
	if (custody_decode((struct slice){row->data, row->len}, out) == CPD_OK)
		return true;
	fail(node->world, node, NULL, "a custody record cannot be read back");
	return false;
}

static bool custody_on_disk(struct sim_node *node, const struct message_id *id, struct custody *out)
{
	struct disk_key key = disk_key_id(id);
	return decode_row(node, disk_get(&node->disk, DISK_CUSTODY, &key), out);
}

struct sim_message *message_held(struct sim_node *node, const struct message_id *id)
{
	struct custody custody;
	struct sim_message *message = NULL;
	if (custody_on_disk(node, id, &custody))
		message = message_known(node->world, id, &custody.hash);
	custody_clear(&custody);
	return message;
}

static bool holds_envelope(const struct sim_node *node, const struct message_id *id)
{
	struct disk_key key = disk_key_id(id);
	return disk_get(&node->disk, DISK_ENVELOPES, &key) != NULL;
}

#define ENDED_BY_ORIGIN (CUSTODY_IS_EXPIRED | CUSTODY_IS_WITHDRAWN | CUSTODY_IS_SUPERSEDED)

/* ---------------------------------------------------------------- custody records */

static struct sim_outcome *outcome_of(struct sim_message *message, uint32_t node)
{
	for (size_t i = 0; i < message->outcome_count; i++)
		if (message->outcomes[i].node == node)
			return &message->outcomes[i];
	return NULL;
}

/* Rules 5 and 7: at the origin states move forward only, and what they say is true. */
static void check_origin(struct sim_node *node, struct sim_message *message, const struct custody *old, const struct custody *new)
{
	struct world *world = node->world;
	for (size_t i = 0; i < new->recipient_count; i++) {
		const struct recipient *now = &new->recipients[i];
		const struct recipient *before = old != NULL ? custody_recipient(old, now->node) : NULL;
		struct sim_outcome *outcome = outcome_of(message, now->node);
		struct sim_node *recipient = world_node(world, now->node);
		if (before != NULL && level_merge(before->level, now->level) != now->level)
			fail(world, node, &new->id, "states only move forward: %u went from %s back to %s", now->node, level_name(before->level), level_name(now->level));
		if (outcome == NULL) {
			fail(world, node, &new->id, "%u became a recipient of a message that is not for it", now->node);
			continue;
		}
		outcome->level = level_merge(outcome->level, now->level);
		outcome->reason = now->reason;
		if (level_is_addressees(now->level) && now->level != LEVEL_SUPERSEDED && now->level != LEVEL_WITHDRAWN && !message->is_state
		    && !was_shown(recipient, message) && now->node != node->number)
			fail(world, node, &new->id, "receipts are true: %u is told to have it (%s), and never had", now->node, level_name(now->level));
	}
	if (old != NULL && new->recipient_count < old->recipient_count)
		fail(world, node, &new->id, "a recipient vanished from the origin's record");
	if (new->flags & CUSTODY_IS_CLOSED && (old == NULL || !(old->flags & CUSTODY_IS_CLOSED)))
		message->closed_ms = world->now_ms;
	if (new->flags & CUSTODY_IS_FINAL && message->final_ms == INT64_MAX)
		message->final_ms = world->now_ms;
	message->flags |= new->flags;
}

static const struct sim_end *end_to(const struct sim_node *node, uint32_t peer)
{
	for (size_t i = 0; i < node->end_count; i++)
		if (node->ends[i]->peer == peer)
			return node->ends[i];
	return NULL;
}

/* Custody: "passed" is said only of a neighbour that has had it on its disk. */
static void check_passed(struct sim_node *node, const struct sim_message *message, const struct custody *old, const struct custody *new)
{
	for (size_t i = 0; i < new->recipient_count; i++) {
		const struct recipient *now = &new->recipients[i];
		const struct recipient *before = old != NULL ? custody_recipient(old, now->node) : NULL;
		if (now->hop != HOP_PASSED || (before != NULL && before->hop == HOP_PASSED))
			continue;
		const struct sim_node *via = world_node(node->world, now->via);
		const struct sim_end *end = end_to(node, now->via);
		if (via != NULL && end != NULL && (end->other->has_lied || end->has_lied))
			continue; /* nobody can know what a liar keeps, or said in place of it: the origin's retries answer for it */
		if (via == NULL || !has_held(via, message))
			fail(node->world, node, &new->id, "custody: passed to %u, which never had it on its disk", now->via);
	}
}

static void check_custody_put(struct sim_node *node, const struct disk_change *change)
{
	struct disk_key key = change->row->key;
	struct custody old;
	struct custody new;
	bool has_old = decode_row(node, disk_get(&node->disk, DISK_CUSTODY, &key), &old);
	if (!decode_row(node, change->row, &new))
		goto out;
	struct sim_message *message = message_known(node->world, &new.id, &new.hash);
	if (message == NULL) {
		fail(node->world, node, &new.id, "a custody record of a message that nobody wrote");
		goto out;
	}
	if (!(new.flags & CUSTODY_IS_PARTIAL))
		message->held_mask |= 1u << node->index;
	if (new.flags & CUSTODY_IS_SUPERSEDED && !message->is_replaced) /* of an origin that was put back too */
		fail(node->world, node, &new.id, "custody: superseded here, and nobody replaced these words");
	if (new.flags & CUSTODY_IS_ORIGIN)
		check_origin(node, message, has_old ? &old : NULL, &new);
	/* Once final it may be refused as below the floor, to an origin that was put back: as good as taken. */
	if (!message->is_state && message->final_ms == INT64_MAX && !message->is_lost)
		check_passed(node, message, has_old ? &old : NULL, &new);
out:
	custody_clear(&old);
	custody_clear(&new);
}

static void check_custody_delete(struct sim_node *node, const struct disk_change *change)
{
	struct custody old;
	if (!decode_row(node, disk_get(&node->disk, DISK_CUSTODY, &change->row->key), &old))
		return;
	const struct sim_message *message = message_known(node->world, &old.id, &old.hash);
	bool is_state = message != NULL && message->is_state;
	if (old.flags & CUSTODY_IS_ORIGIN && !(old.flags & CUSTODY_IS_FINAL) && !is_state)
		fail(node->world, node, &old.id, "custody: the origin's record goes before its grace is over");
	for (size_t i = 0; i < old.recipient_count && !is_state; i++)
		if (old.recipients[i].hop == HOP_QUEUED || old.recipients[i].hop == HOP_UNROUTED)
			fail(node->world, node, &old.id, "custody: a record goes while %u still waits to be served", old.recipients[i].node);
	custody_clear(&old);
}

/* Rule 8: what is kept of another's floor in its epoch only rises. */
static void check_presence_put(struct sim_node *node, const struct disk_change *change)
{
	const struct disk_row *row = disk_get(&node->disk, DISK_PRESENCE, &change->row->key);
	struct verified_presence old, new;
	if (row == NULL || make_verified_presence((struct slice){row->data + 8, row->len - 8}, &old) != CPD_OK
	    || make_verified_presence((struct slice){change->row->data + 8, change->row->len - 8}, &new) != CPD_OK)
		return;
	if (presence_compare(&new.presence, &old.presence) < 0)
		fail(node->world, node, NULL, "presence of %u goes back", new.presence.node);
	for (size_t i = 0; i < new.presence.floor_count; i++)
		for (size_t j = 0; j < old.presence.floor_count; j++)
			if (new.presence.epoch == old.presence.epoch && new.presence.floors[i].epoch == new.presence.epoch
			    && old.presence.floors[j].epoch == new.presence.epoch && new.presence.floors[i].floor < old.presence.floors[j].floor)
				fail(node->world, node, NULL, "the floor of %u fell and was taken", new.presence.node);
}

/* Rule 8, of every epoch: what a start would know of a floor only rises; else an old copy were shown once more. */
static uint64_t floor_on_disk(const struct sim_node *node, const struct disk_key *key, const struct disk_row *presence, uint32_t epoch)
{
	const struct disk_row *kept = disk_get(&node->disk, DISK_FLOORS, key);
	struct epoch_floor floors[LIMIT_FLOORS];
	struct verified_presence told;
	uint64_t floor = 0;
	if (presence != NULL && make_verified_presence((struct slice){presence->data + 8, presence->len - 8}, &told) == CPD_OK)
		for (size_t i = 0; i < told.presence.floor_count; i++)
			if (told.presence.floors[i].epoch == epoch)
				floor = told.presence.floors[i].floor;
	if (kept == NULL)
		return floor;
	memcpy(floors, kept->data, kept->len);
	for (size_t i = 0; i < kept->len / sizeof(floors[0]); i++)
		if (floors[i].epoch == epoch && floors[i].floor > floor)
			floor = floors[i].floor;
	return floor;
}

/* A presence holds no more epochs than that; the eldest goes (docs/decisions/0013). */
static bool floors_are_full(const struct sim_node *node, const struct disk_change *change)
{
	const struct disk_row *kept = disk_get(&node->disk, DISK_FLOORS, &change->row->key);
	struct verified_presence new;
	return (kept != NULL && kept->len == LIMIT_FLOORS * sizeof(struct epoch_floor))
	    || make_verified_presence((struct slice){change->row->data + 8, change->row->len - 8}, &new) != CPD_OK || new.presence.floor_count == LIMIT_FLOORS;
}

static void check_elder_floors(struct sim_node *node, const struct disk_change *change)
{
	const struct disk_row *old = disk_get(&node->disk, DISK_PRESENCE, &change->row->key);
	struct verified_presence told;
	if (old == NULL || make_verified_presence((struct slice){old->data + 8, old->len - 8}, &told) != CPD_OK)
		return;
	for (size_t i = 0; i < told.presence.floor_count; i++) {
		uint32_t epoch = told.presence.floors[i].epoch;
		uint64_t before = floor_on_disk(node, &change->row->key, old, epoch);
		uint64_t after = floor_on_disk(node, &change->row->key, change->row, epoch);
		if (after < before && !floors_are_full(node, change))
			fail(node->world, node, NULL, "the floor of %u in its epoch %u is forgotten", told.presence.node, epoch);
	}
}

void check_change(struct sim_node *node, const struct disk_change *change)
{
	if (node->world->is_failed)
		return;
	if (change->table == DISK_CUSTODY && !change->is_delete)
		check_custody_put(node, change);
	else if (change->table == DISK_CUSTODY)
		check_custody_delete(node, change);
	else if (change->table == DISK_PRESENCE && !change->is_delete)
		check_presence_put(node, change), check_elder_floors(node, change);
	else if (change->table == DISK_INBOX && !change->is_delete && disk_get(&node->disk, DISK_INBOX, &change->row->key) != NULL)
		fail(node->world, node, NULL, "an inbox row is written over");
}

/* ---------------------------------------------------------------- after the batch */

/* Rule 1: who lets a message go must be allowed to. */
static void check_dropped(struct sim_node *node, const struct message_id *id)
{
	struct world *world = node->world;
	struct custody custody;
	if (holds_envelope(node, id))
		return;
	bool has_record = custody_on_disk(node, id, &custody);
	struct sim_message *message = message_known(world, id, has_record ? &custody.hash : NULL);
	if (message == NULL || message->is_state)
		goto out;
	for (size_t i = 0; has_record && i < custody.recipient_count; i++)
		if (custody.recipients[i].hop == HOP_QUEUED || custody.recipients[i].hop == HOP_UNROUTED)
			fail(world, node, id, "custody: the envelope goes while %u still waits to be served", custody.recipients[i].node);
	if (id->origin != node->number || message->is_lost)
		goto out;
	/* A copy of its origin whose image is of before it was written passes it on as any other node. */
	if (world->twin != NULL && world->twin->number == id->origin && has_record && !(custody.flags & CUSTODY_IS_ORIGIN))
		goto out;
	message->dropped_ms = world->now_ms;
	if (!has_record || !(custody.flags & CUSTODY_IS_FINAL))
		fail(world, node, id, "custody: the origin lets its message go before its grace is over");
	else if (world->now_ms - message->closed_ms < world->grace_ms - 2 * SIM_MINUTE) /* decided a slow commit before */
		fail(world, node, id, "custody: grace was %lld s short", (long long)(world->grace_ms - world->now_ms + message->closed_ms) / 1000);
	for (size_t i = 0; has_record && !(custody.flags & ENDED_BY_ORIGIN) && i < custody.recipient_count; i++)
		if (!level_closes(custody.recipients[i].level, message->closing_level))
			fail(world, node, id, "custody: let go at the origin while %u stands at %s", custody.recipients[i].node, level_name(custody.recipients[i].level));
out:
	custody_clear(&custody);
}

static void check_large(struct sim_node *node, const struct sim_message *message)
{
	for (uint32_t i = 0; i < tree_leaf_count(message->body_len); i++) {
		struct disk_key key = disk_key_leaf(&message->id, i);
		const struct disk_row *row = disk_get(&node->disk, DISK_LEAVES, &key);
		if (row == NULL || row->len != tree_leaf_length(message->body_len, i) || memcmp(row->data, message->body + (size_t)i * LIMIT_LEAF, row->len) != 0)
			fail(node->world, node, &message->id, "custody of a large body, and leaf %u is %s", i, row == NULL ? "not there" : "another");
	}
}

/* Rules 3 and 4: nothing is shown twice, and what is shown is what was written. */
static void check_shown(struct sim_node *node, const struct message_id *id)
{
	struct world *world = node->world;
	struct disk_key key = disk_key_id(id);
	const struct disk_row *envelope = disk_get(&node->disk, DISK_ENVELOPES, &key);
	struct custody custody;
	if (!custody_on_disk(node, id, &custody)) {
		fail(world, node, id, "shown without a custody record");
		return;
	}
	const struct sim_message *message = message_known(world, id, &custody.hash);
	if (message == NULL || envelope == NULL || envelope->len != message->envelope_len || memcmp(envelope->data, message->envelope, envelope->len) != 0)
		fail(world, node, id, "what is shown is what was written: the envelope is %s", envelope == NULL ? "not there" : "another");
	else
		check_large(node, message);
	if (message != NULL && set_holds(world, shown_key(node, node->generation, message)))
		fail(world, node, id, "shown twice to %u on one disk", node->number);
	if (message != NULL)
		set_add(world, shown_key(node, node->generation, message));
	world->figures->branches[BRANCH_SHOWN]++;
	if (custody.flags & CUSTODY_IS_LATE)
		world->figures->branches[BRANCH_LATE]++;
	trace(world, node, id, "shown");
	custody_clear(&custody);
	if (message != NULL && outcome_of((struct sim_message *)(uintptr_t)message, node->number) == NULL)
		fail(world, node, id, "shown to %u, for whom it is not", node->number);
	if (message != NULL)
		plan_operate_soon(node, message);
}

/* Rule 8: a floor stands below all that its origin still keeps. */
static void check_floors(struct sim_node *node, const struct disk_change *change)
{
	struct sim_meta meta;
	struct disk_key prefix = disk_key_origin(node->number);
	const struct disk_rows *rows = &node->disk.tables[DISK_CUSTODY];
	memcpy(&meta, change->row->data, sizeof(meta));
	if (meta.counters.floor == node->checked.floor && memcmp(meta.counters.elders, node->checked.elders, sizeof(meta.counters.elders)) == 0)
		return;
	node->checked = meta.counters;
	for (size_t at = disk_seek(&node->disk, DISK_CUSTODY, &prefix); at < rows->count && disk_has_prefix(rows->rows[at], &prefix); at++) {
		struct custody custody;
		if (!decode_row(node, rows->rows[at], &custody))
			return;
		uint64_t floor = custody.id.epoch == meta.counters.epoch ? meta.counters.floor : 0;
		for (size_t i = 0; i < RELAY_ELDERS; i++)
			if (custody.id.epoch == meta.counters.elders[i].epoch)
				floor = meta.counters.elders[i].floor;
		if (custody.flags & CUSTODY_IS_ORIGIN && !(custody.flags & CUSTODY_IS_FINAL) && custody.id.sequence < floor)
			fail(node->world, node, &custody.id, "the floor passed it, and it is not final");
		custody_clear(&custody);
	}
}

void check_committed(struct sim_node *node, const struct disk_change *change)
{
	struct message_id id;
	if (node->world->is_failed)
		return;
	if (change->table == DISK_ENVELOPES && change->is_delete) {
		disk_read_id(change->row->key.bytes, &id);
		check_dropped(node, &id);
	} else if (change->table == DISK_INBOX && !change->is_delete) {
		memcpy(&id, change->row->data, sizeof(id));
		check_shown(node, &id);
	} else if (change->table == DISK_META) {
		check_floors(node, change);
	}
}

/* A link puts the number of the session above the 48 bits of a serial. */
static struct sim_arrival *arrival_of(struct sim_end *end, uint64_t serial)
{
	serial &= (UINT64_C(1) << 48) - 1;
	struct sim_arrival *arrival = &end->arrivals[serial % SIM_ARRIVALS];
	if (arrival->serial != serial)
		*arrival = (struct sim_arrival){.serial = serial};
	return arrival;
}

void check_circuit(struct sim_end *end, uint32_t peer_epoch)
{
	if (end->peer_epoch != peer_epoch)
		memset(end->arrivals, 0, sizeof(end->arrivals));
	for (size_t i = 0; i < SIM_ARRIVALS; i++)
		if (end->arrivals[i].state == ARRIVAL_RAISED)
			end->arrivals[i].state = ARRIVAL_NONE; /* it comes again, or its sender made it void */
	end->peer_epoch = peer_epoch;
}

void check_raised(struct sim_end *end, uint64_t serial)
{
	struct sim_arrival *arrival = arrival_of(end, serial);
	arrival->state = ARRIVAL_RAISED;
	arrival->ticket = serial;
	memset(&arrival->id, 0, sizeof(arrival->id));
}

void check_arrived(struct sim_end *end, uint64_t serial, const struct message_id *id)
{
	arrival_of(end, serial)->id = *id;
}

/* Rule 2, the disk's side: what will be acknowledged now stands on it. */
void check_settled(struct sim_node *node, const struct sim_settled *settled)
{
	struct sim_arrival *arrival = arrival_of(settled->end, settled->serial);
	const struct message_id *id = &arrival->id;
	struct world *world = node->world;
	struct disk_key key = disk_key_id(id);
	if (arrival->ticket == settled->serial)
		arrival->state = ARRIVAL_COMMITTED; /* else it came again in a later session, to be decided again */
	if (settled->reason != REFUSED_NONE || world->is_failed)
		return;
	const struct sim_message *message = message_held(node, id);
	if (message == NULL)
		message = message_known(world, id, NULL);
	if (message == NULL || message->is_state || message->dropped_ms != INT64_MAX || message->is_lost)
		return;
	struct custody custody;
	if (message->body_len > 0 && holds_envelope(node, id) && custody_on_disk(node, id, &custody)) {
		if (!(custody.flags & CUSTODY_IS_PARTIAL))
			check_large(node, message);
		custody_clear(&custody);
	}
	if (disk_get(&node->disk, DISK_CUSTODY, &key) == NULL)
		fail(world, node, id, "custody: serial %llu will be acknowledged, and the message is not on the disk", (unsigned long long)settled->serial);
}

/* ---------------------------------------------------------------- frames */

static bool bit_is_set(const struct bitmap *bitmap, uint64_t index)
{
	return index / 8 < bitmap->len && bitmap->bits[index / 8] >> (index % 8) & 1;
}

/* A serial that its sender made void is counted without a commit; all others were handed to the host. */
static void check_acknowledged(struct sim_end *end, uint64_t received, const struct bitmap *bitmap)
{
	for (size_t i = 0; i < SIM_ARRIVALS; i++) {
		const struct sim_arrival *arrival = &end->arrivals[i];
		if (arrival->state == ARRIVAL_RAISED && (arrival->serial <= received || bit_is_set(bitmap, arrival->serial - received - 1)))
			fail(end->node->world, end->node, arrival->id.sequence != 0 ? &arrival->id : NULL, "acknowledged to %u before the commit: serial %llu",
			    end->peer, (unsigned long long)arrival->serial);
	}
}

void check_received(struct sim_end *end, struct slice bytes)
{
	static struct frame frame;
	if (bytes.len > 100 || frame_decode(bytes, &frame) != CPD_OK)
		return; /* a void is short */
	if (frame.has & FRAME_DATA && frame.data.piece.len == 1 && frame.data.piece.data[0] == 0)
		arrival_of(end, frame.data.serial)->state = ARRIVAL_NONE;
}

/* Rules 2 and 6 on the wire. */
void check_frame(struct sim_end *end, struct slice bytes)
{
	static struct frame frame;
	struct world *world = end->node->world;
	if (frame_decode(bytes, &frame) != CPD_OK) {
		fail(world, end->node, NULL, "a link makes a frame that cannot be read");
		return;
	}
	if (frame.has & FRAME_ACK)
		check_acknowledged(end, frame.ack_received, &frame.ack_bitmap);
	if (frame.has & FRAME_HELLO && frame.hello.your_epoch == end->peer_epoch)
		check_acknowledged(end, frame.hello.received, &frame.hello.received_bitmap);
	if (!(frame.has & FRAME_DATA))
		return;
	if (frame.data.precedence == PRECEDENCE_FLASH) {
		end->flash_waiting -= end->flash_waiting < frame.data.piece.len ? end->flash_waiting : frame.data.piece.len;
	} else if (end->flash_waiting > 0) {
		fail(world, end->node, NULL, "precedence: a piece of %s leaves for %u while %zu bytes of FLASH wait", precedence_name(frame.data.precedence),
		    end->peer, end->flash_waiting);
	}
	int64_t takes_ms = (int64_t)bytes.len * 8000 / end->bits_per_second;
	if (frame.data.precedence != PRECEDENCE_FLASH && takes_ms > 10000)
		fail(world, end->node, NULL, "precedence: a piece keeps the wire to %u busy for %lld s", end->peer, (long long)takes_ms / 1000);
}

/* ---------------------------------------------------------------- what the relay hands to a link */

static bool is_same_ref(const struct item_ref *a, const struct item_ref *b)
{
	return a->type == b->type && a->counter == b->counter && a->index == b->index && message_id_equal(&a->id, &b->id);
}

void check_given(struct sim_end *end, const struct item_ref *ref, enum precedence asked)
{
	struct sim_node *node = end->node;
	struct disk_key key = disk_key_queue(end->peer, ref->precedence, ref->counter);
	if (ref->precedence != asked)
		fail(node->world, node, &ref->id, "precedence: asked for %s, given %s", precedence_name(asked), precedence_name(ref->precedence));
	if (ref->type != ITEM_TYPE_LEAF && disk_get(&node->disk, DISK_QUEUE, &key) == NULL)
		fail(node->world, node, &ref->id, "row %llu for %u is given, and stands in no committed queue", (unsigned long long)ref->counter, end->peer);
	for (size_t i = 0; i < end->under_way_count; i++) {
		if (is_same_ref(&end->under_way[i], ref))
			fail(node->world, node, &ref->id, "row %llu for %u is given while it is under way", (unsigned long long)ref->counter, end->peer);
		if (end->under_way[i].precedence < asked)
			asked = PRECEDENCE_COUNT; /* counted once below */
	}
	if (asked == PRECEDENCE_COUNT && ref->precedence == PRECEDENCE_FLASH)
		node->world->figures->branches[BRANCH_PREEMPTED]++;
	end->under_way = sim_grow(end->under_way, &end->under_way_room, end->under_way_count, sizeof(*ref));
	end->under_way[end->under_way_count++] = *ref;
}

void check_taken_back(struct sim_end *end, const struct item_ref *ref)
{
	end->starved_since[ref->precedence] = end->node->world->now_ms;
	for (size_t i = 0; i < end->under_way_count; i++) {
		if (!is_same_ref(&end->under_way[i], ref))
			continue;
		end->under_way[i] = end->under_way[--end->under_way_count];
		return;
	}
	fail(end->node->world, end->node, &ref->id, "the link to %u answers for an item that was not under way", end->peer);
}

static const struct disk_row *first_idle_row(struct sim_end *end, enum precedence precedence)
{
	struct disk_key from = disk_key_queue(end->peer, precedence, 0);
	const struct disk_rows *rows = &end->node->disk.tables[DISK_QUEUE];
	size_t at = disk_seek(&end->node->disk, DISK_QUEUE, &from);
	from.len = 5;
	for (; at < rows->count && disk_has_prefix(rows->rows[at], &from); at++) {
		struct relay_row row;
		bool is_under_way = false;
		memcpy(&row, rows->rows[at]->data, sizeof(row));
		for (size_t i = 0; i < end->under_way_count && !is_under_way; i++)
			is_under_way = end->under_way[i].counter == row.ref.counter && end->under_way[i].type != ITEM_TYPE_LEAF;
		if (!is_under_way)
			return rows->rows[at];
	}
	return NULL;
}

/* Rule 6, and no row is forgotten: after a fill, what the link would take and the relay does not give
 * may wait for a refusal's pause or a look behind the window, never for long. */
void check_queue(struct sim_end *end)
{
	struct world *world = end->node->world;
	for (int p = 0; p < PRECEDENCE_COUNT && !world->is_failed; p++) {
		const struct disk_row *idle = link_can_send(end->link, (enum precedence)p) ? first_idle_row(end, (enum precedence)p) : NULL;
		uint64_t counter = idle != NULL ? disk_read_u64(idle->key.bytes + 5) : 0;
		if (counter == 0 || counter != end->starved_row[p]) {
			end->starved_row[p] = counter;
			end->starved_since[p] = world->now_ms;
		} else if (world->now_ms - end->starved_since[p] > STARVED_MS) {
			struct relay_row row;
			memcpy(&row, idle->data, sizeof(row));
			fail(world, end->node, &row.ref.id, "row %llu (type %d) of %s for %u waits %lld s while the link would take it", (unsigned long long)counter, (int)row.ref.type,
			    precedence_name((enum precedence)p), end->peer, (long long)(world->now_ms - end->starved_since[p]) / 1000);
		}
	}
}

/* ---------------------------------------------------------------- disks lost */

void check_disk_replaced(struct sim_node *node)
{
	struct world *world = node->world;
	const struct disk_rows *inbox = &node->disk.tables[DISK_INBOX];
	for (size_t i = 0; i < inbox->count; i++) {
		struct message_id id;
		memcpy(&id, inbox->rows[i]->data, sizeof(id));
		const struct sim_message *message = message_held(node, &id);
		if (message != NULL)
			set_add(world, shown_key(node, node->generation, message));
	}
	for (size_t b = 0; b < 1024; b++)
		for (struct sim_message *message = world->messages[b]; message != NULL; message = message->next)
			if (message->origin == node && message->dropped_ms == INT64_MAX && !holds_envelope(node, &message->id))
				message->is_lost = true;
}

/* From now on one copy answers for what was written on either, as far as it holds it. The rest must be on the disk of the fenced one. */
void check_fenced(struct sim_node *node)
{
	struct world *world = node->world;
	for (size_t b = 0; b < 1024; b++)
		for (struct sim_message *message = world->messages[b]; message != NULL; message = message->next) {
			if (message->origin->number != node->number || message->dropped_ms != INT64_MAX || message->is_state || message->is_lost)
				continue;
			bool is_here = message_held(node, &message->id) == message && holds_envelope(node, &message->id);
			bool is_there = message_held(node->sibling, &message->id) == message && holds_envelope(node->sibling, &message->id);
			if (!is_here && !is_there)
				fail(world, node, &message->id, "custody: of a message that was accepted on one of two copies neither has the words");
			message->is_lost = !is_there;
			message->origin = node->sibling;
		}
}

/* ---------------------------------------------------------------- the end */

static void check_recipient(struct world *world, struct sim_message *message, const struct sim_outcome *outcome)
{
	struct sim_node *recipient = world_node(world, outcome->node);
	bool is_ended = message->flags & ENDED_BY_ORIGIN;
	if (!was_shown(recipient, message) && !is_ended && outcome->level != LEVEL_UNDELIVERABLE)
		fail(world, recipient, &message->id, "no silent end: never shown at %u, and its author was told nothing (%s)", outcome->node, level_name(outcome->level));
	if (is_ended && outcome->level == LEVEL_NONE)
		fail(world, message->origin, &message->id, "no silent end: it ended, and its author was told nothing of %u", outcome->node);
	/* Deaf dedup would end so: told truly, and never delivered. A retry comes every two hours at the least. */
	if (!was_shown(recipient, message) && (message->flags & ENDED_BY_ORIGIN) == CUSTODY_IS_EXPIRED && message->created_ms < world->active_ms
	    && message->created_ms + message->lifetime_ms > world->active_ms + 6 * SIM_HOUR)
		fail(world, recipient, &message->id, "expired on its way to %u, though for six hours nothing was in the way", outcome->node);
	if (outcome->reason == REFUSED_ID_CONFLICT)
		fail(world, message->origin, &message->id, "its id was taken and its words were not issued again");
	if (was_shown(recipient, message) && !is_ended && !level_closes(outcome->level, message->closing_level) && recipient != message->origin)
		fail(world, recipient, &message->id, "shown at %u and answered, and the author stands at %s", outcome->node, level_name(outcome->level));
	/* A disk that was lost gets again what the origin still kept when all was whole. */
	if (!is_ended && recipient != message->origin && recipient->sibling == NULL && recipient->generation_ms < message->final_ms && message->final_ms > world->active_ms + 3 * SIM_HOUR
	    && message->created_ms + message->lifetime_ms > world->active_ms + 3 * SIM_HOUR && !set_holds(world, shown_key(recipient, recipient->generation, message)))
		fail(world, recipient, &message->id, "%u lost its disk and was not offered again what the origin keeps", outcome->node);
}

static void check_message(struct world *world, struct sim_message *message)
{
	if (message->is_lost || message->is_state)
		return;
	if (!(message->flags & CUSTODY_IS_CLOSED))
		fail(world, message->origin, &message->id, "not closed %lld h after the last fault", (long long)((world->now_ms - world->active_ms) / SIM_HOUR));
	else if (message->dropped_ms == INT64_MAX && outcome_of(message, message->origin->number) == NULL && !(message->flags & CUSTODY_IS_ADDRESSEE))
		fail(world, message->origin, &message->id, "its grace is over and the origin still keeps it");
	for (size_t i = 0; i < message->outcome_count && message->successor == NULL; i++) { /* else its words are told of under the new id */
		check_recipient(world, message, &message->outcomes[i]);
		ends_count(world, message, &message->outcomes[i]);
	}
}

static void check_rest(struct world *world, struct sim_node *node)
{
	const struct disk_rows *queue = &node->disk.tables[DISK_QUEUE];
	const struct disk_rows *timers = &node->disk.tables[DISK_TIMERS];
	const struct disk_rows *envelopes = &node->disk.tables[DISK_ENVELOPES];
	struct relay_row row;
	struct message_id id;
	if (node->is_fenced)
		return; /* what it holds waits there: check_fenced */
	for (size_t i = 0; i < queue->count; i++) {
		memcpy(&row, queue->rows[i]->data, sizeof(row));
		const struct sim_message *message = row.ref.type == ITEM_TYPE_MESSAGE ? message_held(node, &row.ref.id) : NULL;
		if (message == NULL || !message->is_lost) /* what its origin lost with its disk, nobody is left to end */
			fail(world, node, &row.ref.id, "at rest, %zu rows stand in queues; one for %u, type %d", queue->count, disk_read_u32(queue->rows[i]->key.bytes), (int)row.ref.type);
	}
	for (size_t i = 0; i < timers->count; i++) {
		disk_read_id(timers->rows[i]->key.bytes + 8, &id);
		const struct sim_message *message = message_held(node, &id);
		if (message == NULL || !message->is_lost) /* as in queues: no trusted clock may tell its age */
			fail(world, node, &id, "at rest, %zu timers stand", timers->count);
	}
	for (size_t i = 0; i < envelopes->count; i++) {
		struct custody custody;
		disk_read_id(envelopes->rows[i]->key.bytes, &id);
		if (!custody_on_disk(node, &id, &custody))
			fail(world, node, &id, "an envelope without a custody record");
		else if (message_held(node, &id) != NULL && message_held(node, &id)->is_lost)
			(void)id; /* as in queues: kept, since nobody is left to end it */
		else if (!(custody.flags & (CUSTODY_IS_ADDRESSEE | CUSTODY_IS_STATE | CUSTODY_IS_ORIGIN)))
			fail(world, node, &id, "at rest, a relay still keeps an envelope");
		custody_clear(&custody);
	}
	for (size_t i = 0; i < node->end_count; i++)
		if (node->ends[i]->under_way_count > 0)
			fail(world, node, &node->ends[i]->under_way[0].id, "at rest, %zu items are under way to %u", node->ends[i]->under_way_count, node->ends[i]->peer);
	if (relay_counters(node->relay)->floor != relay_counters(node->relay)->next_sequence)
		fail(world, node, NULL, "at rest, the floor of %u stands at %llu, its next sequence is %llu", node->number,
		    (unsigned long long)relay_counters(node->relay)->floor, (unsigned long long)relay_counters(node->relay)->next_sequence);
}

void check_end(struct world *world)
{
	for (size_t b = 0; b < 1024; b++)
		for (struct sim_message *message = world->messages[b]; message != NULL && !world->is_failed; message = message->next)
			check_message(world, message);
	for (size_t i = 0; i < world->node_count && !world->is_failed; i++)
		check_rest(world, &world->nodes[i]);
	twin_check(world);
}
