/*
 * courier.c: people carry sticks between neighbours, as daemon/node_courier*.c makes and takes their files: copies of what waits, late,
 * twice, in any order; and the word on what was taken, that comes back late, twice, or never.
 */
#include <stdlib.h>
#include <string.h>

#include "test/sim/courier.h"
#include "test/sim/sim.h"

#define STICK_ITEMS 64
#define COURIER_SERIAL (UINT64_C(1) << 63)

struct stick_item {
	struct relay_row row;
	uint32_t retry, after_epoch;
	uint8_t *bytes; size_t len;      /* owned */
	bool is_settled;
	uint32_t reader_epoch;           /* in which it was */
	enum cpd_reason reason;
};
struct sim_stick {
	struct sim_node *from, *to;
	uint32_t epoch;                  /* of from, when it was written */
	int64_t wall_ms;
	enum clock_quality clock;
	struct stick_item items[STICK_ITEMS]; size_t count;
	bool is_on_its_way_back;
};

bool courier_is_serial(uint64_t serial)
{
	return serial & COURIER_SERIAL;
}

static void schedule(struct world *world, enum happening_type type, int64_t at_ms, size_t index)
{
	if (at_ms < world->active_ms + 4 * SIM_HOUR)
		world_schedule(world, type, at_ms)->index = (int)index;
}

void courier_plan(struct world *world)
{
	random_seed(&world->courier_random, world->seed ^ UINT64_C(0xC0071E7));
	for (unsigned i = 0; i < world->options.couriers; i++)
		schedule(world, HAPPENS_COURIER_WRITES, random_range(&world->courier_random, 30000, world->active_ms), 0);
}

/* ---------------------------------------------------------------- written */

static bool copy_message(struct sim_stick *stick, struct stick_item *item, uint8_t *buf, size_t *len)
{
	struct sim_node *node = stick->from;
	struct disk_key key = disk_key_id(&item->row.ref.id);
	const struct disk_row *row = disk_get(&node->disk, DISK_CUSTODY, &key), *envelope = disk_get(&node->disk, DISK_ENVELOPES, &key);
	struct custody custody;
	struct trailer trailer;
	struct moment now;
	bool is_built = false;
	if (row == NULL || envelope == NULL || custody_decode((struct slice){row->data, row->len}, &custody) != CPD_OK)
		return false;
	node_now(node, &now);
	if (custody.large_length == 0 && relay_carry_trailer(node->relay, &custody, &item->row.ref, stick->to->number, 0, &now, &trailer) == CPD_OK) {
		item->retry = trailer.retry;
		item->after_epoch = trailer.after_epoch;
		is_built = message_item_encode((struct slice){envelope->data, envelope->len}, &trailer, buf, len) == CPD_OK;
		trailer_clear(&trailer);
	}
	custody_clear(&custody);
	return is_built;
}

static bool copy_receipts(struct sim_stick *stick, const struct stick_item *item, uint8_t *buf, size_t *len)
{
	struct disk_key key = disk_key_id(&item->row.ref.id);
	const struct disk_row *row = disk_get(&stick->from->disk, DISK_RECEIPTS, &key);
	if (row == NULL)
		return false;
	*len = row->len - 8;
	memcpy(buf, row->data + 8, *len);
	return true;
}

static void copy_queue(struct sim_stick *stick, enum precedence precedence)
{
	static uint8_t buf[LIMIT_ITEM];
	struct disk_key from = disk_key_queue(stick->to->number, precedence, 0), prefix = from;
	const struct disk_rows *table = &stick->from->disk.tables[DISK_QUEUE];
	prefix.len = 5;
	for (size_t at = disk_seek(&stick->from->disk, DISK_QUEUE, &from);
	     at < table->count && disk_has_prefix(table->rows[at], &prefix) && stick->count < STICK_ITEMS; at++) {
		struct stick_item *item = &stick->items[stick->count];
		size_t len = 0;
		memset(item, 0, sizeof(*item));
		memcpy(&item->row, table->rows[at]->data, sizeof(item->row));
		if (item->row.ref.type == ITEM_TYPE_MESSAGE ? !copy_message(stick, item, buf, &len) : !copy_receipts(stick, item, buf, &len))
			continue;
		item->bytes = sim_alloc(len);
		memcpy(item->bytes, buf, len);
		item->len = len;
		stick->count++;
	}
}

/* Nobody carries a stick for nothing, if he can see it. */
static const struct sim_end *some_end(struct world *world)
{
	struct sim_random *random = &world->courier_random;
	for (int tries = 0; tries < 32; tries++) {
		const struct sim_wire *wire = &world->wires[random_range(random, 0, (int64_t)world->wire_count - 1)];
		const struct sim_end *end = &wire->ends[random_range(random, 0, 1)];
		struct disk_key from = disk_key_queue(end->peer, PRECEDENCE_FLASH, 0), prefix = from;
		const struct disk_rows *table = &end->node->disk.tables[DISK_QUEUE];
		size_t at = disk_seek(&end->node->disk, DISK_QUEUE, &from);
		prefix.len = 4;
		if (end->node->is_on && at < table->count && disk_has_prefix(table->rows[at], &prefix))
			return end;
	}
	return NULL;
}

void courier_writes(struct world *world)
{
	struct sim_random *random = &world->courier_random;
	const struct sim_end *end = some_end(world);
	struct sim_stick *stick;
	struct moment now;
	if (end == NULL)
		return;
	stick = sim_alloc(sizeof(*stick));
	node_now(end->node, &now);
	stick->from = end->node;
	stick->to = world_node(world, end->peer);
	stick->epoch = node_epoch(end->node);
	stick->wall_ms = now.wall_ms;
	stick->clock = now.quality;
	for (int p = PRECEDENCE_FLASH; p >= PRECEDENCE_ROUTINE; p--)
		copy_queue(stick, (enum precedence)p);
	world->sticks = sim_grow(world->sticks, &world->stick_room, world->stick_count, sizeof(world->sticks[0]));
	world->sticks[world->stick_count] = stick;
	world->figures->branches[BRANCH_COURIER_WRITTEN] += stick->count;
	trace(world, stick->from, NULL, "a stick for %u: %zu items", stick->to->number, stick->count);
	for (int reads = random_chance(random, 30) ? 2 : 1; reads > 0; reads--)
		schedule(world, HAPPENS_COURIER_READS, world->now_ms + random_scale(random, SIM_MINUTE, 48 * SIM_HOUR), world->stick_count);
	world->stick_count++;
}

/* ---------------------------------------------------------------- read */

/* As from the link of the writer; the age of what it carries is that of its stick, too. */
void courier_reads(struct world *world, size_t index)
{
	struct sim_stick *stick = world->sticks[index];
	if (!stick->to->is_on)
		return;
	trace(world, stick->to, NULL, "reads a stick of %u", stick->from->number);
	for (size_t i = 0; i < stick->count; i++) {
		const struct stick_item *item = &stick->items[i];
		struct sim_input input = {.plan = -1, .event = {.link = stick->from->number, .serial = COURIER_SERIAL | index << 16 | i, .precedence = item->row.ref.precedence}};
		input.event.type = item->row.ref.type == ITEM_TYPE_MESSAGE ? RELAY_MESSAGE : RELAY_RECEIPTS;
		input.bytes = sim_alloc(item->len);
		memcpy(input.bytes, item->bytes, item->len);
		input.len = item->len;
		node_input(stick->to, &input, false);
	}
}

uint32_t courier_away_s(const struct world *world, uint64_t serial, const struct moment *now)
{
	const struct sim_stick *stick = world->sticks[serial >> 16 & 0xFFFFFFFFu];
	if (!clock_is_trusted(now->quality) || !clock_is_trusted(stick->clock) || now->wall_ms < stick->wall_ms)
		return 0;
	return (uint32_t)((now->wall_ms - stick->wall_ms) / 1000);
}

/* It is on the disk, and the process knows. */
void courier_settled(struct sim_node *node, uint64_t serial, enum cpd_reason reason)
{
	struct world *world = node->world;
	size_t index = serial >> 16 & 0xFFFFFFFFu;
	struct sim_stick *stick = world->sticks[index];
	struct stick_item *item = &stick->items[serial & 0xFFFF];
	item->is_settled = true;
	item->reader_epoch = node_epoch(node);
	item->reason = reason;
	world->figures->branches[BRANCH_COURIER_TAKEN] += reason == REFUSED_NONE;
	if (stick->is_on_its_way_back || random_chance(&world->courier_random, 20))
		return; /* some never come back */
	stick->is_on_its_way_back = true;
	for (int times = random_chance(&world->courier_random, 30) ? 2 : 1; times > 0; times--)
		schedule(world, HAPPENS_COURIER_RETURNS, world->now_ms + random_scale(&world->courier_random, SIM_MINUTE, 48 * SIM_HOUR), index);
}

/* ---------------------------------------------------------------- back again */

void courier_returns(struct world *world, size_t index)
{
	struct sim_stick *stick = world->sticks[index];
	struct sim_node *node = stick->from;
	struct presence presence;
	int64_t heard_ms;
	bool is_heard;
	stick->is_on_its_way_back = false;
	if (!node->is_on || node_epoch(node) != stick->epoch)
		return;
	is_heard = relay_presence(node->relay, stick->to->number, &presence, &heard_ms);
	for (size_t i = 0; i < stick->count; i++) {
		const struct stick_item *item = &stick->items[i];
		struct sim_input input = {.plan = -1, .event = {.link = stick->to->number, .ref = item->row.ref, .row_link = stick->to->number,
			.row_destination = item->row.destination, .retry = item->retry, .after_epoch = item->after_epoch, .reason = item->reason}};
		struct disk_key key = disk_key_queue(stick->to->number, item->row.ref.precedence, item->row.ref.counter);
		const struct disk_row *row = disk_get(&node->disk, DISK_QUEUE, &key);
		struct relay_row here;
		if (!item->is_settled || row == NULL || (is_heard && presence.epoch > item->reader_epoch) || (item->reason && reason_is_retryable(item->reason)))
			continue;
		memcpy(&here, row->data, sizeof(here));
		if (here.ref.type != item->row.ref.type || !message_id_equal(&here.ref.id, &item->row.ref.id))
			continue;
		input.event.type = item->reason ? RELAY_REFUSED : RELAY_CARRIED;
		world->figures->branches[BRANCH_COURIER_RELEASED]++;
		trace(world, node, item->row.ref.type == ITEM_TYPE_MESSAGE ? &item->row.ref.id : NULL, "%u tells by stick of row %llu: %s", stick->to->number,
		    (unsigned long long)item->row.ref.counter, reason_name(item->reason));
		node_input(node, &input, false);
	}
}

void courier_clear(struct world *world)
{
	for (size_t i = 0; i < world->stick_count; i++) {
		for (size_t k = 0; k < world->sticks[i]->count; k++)
			free(world->sticks[i]->items[k].bytes);
		free(world->sticks[i]);
	}
	free(world->sticks);
}
