/* twin.c: two live copies of one identity: an old image of a machine's whole disk is started beside it. As
 * daemon/node_claim.c and daemon/node_links.c: whoever called last has the session, a neighbour refuses the copy that it
 * knows for the older one, and a copy that hears of a newer one is fenced: it is off from then on, with all it holds. */
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "test/sim/sim.h"
#include "test/sim/twin.h"

#define TWIN_EVERY 3             /* one seed in so many; not drawn, so that the rest of a seed stays as it is */
#define TWIN_GENERATIONS 1000    /* of disks: no number of its sibling's */
#define STORED_AGE_S (30 * 86400)

bool is_plugged(const struct sim_end *end)
{
	return end->wire->plugged[end->side] == end;
}

void twin_plug(struct sim_end *end)
{
	struct sim_wire *wire = end->wire;
	if (is_plugged(end))
		return;
	wire_drop(wire, 1000);
	wire->plugged[end->side] = end;
	end->other = wire->plugged[1 - end->side];
	end->other->other = end;
}

/* Of a machine that loses its disk besides nothing can be said. */
void twin_plan(struct world *world)
{
	uint64_t dice = random_mix(world->seed ^ 0x7717);
	enum fault_type first = world->faults[0].type;
	if (dice % TWIN_EVERY != 0 || first == FAULT_WIPE || first == FAULT_ROLLBACK || first == FAULT_SILENT_ROLLBACK)
		return;
	int64_t at_ms = world->active_ms / 4 + (int64_t)(dice / 8 % (uint64_t)(world->active_ms / 4));
	world_schedule(world, HAPPENS_IMAGE, at_ms)->node = &world->nodes[dice / 64 % world->node_count];
}

static int64_t soon(struct world *world, int64_t soonest_ms, int64_t latest_ms)
{
	return world->now_ms + random_range(&world->courier_random, soonest_ms, latest_ms);
}

/* The disk as a crash at this moment would leave it, the identity with it. */
void twin_image(struct sim_node *node)
{
	struct world *world = node->world;
	struct sim_node *twin = &world->nodes[world->node_count];
	if (world->is_healed || node->disk.tables[DISK_META].count == 0)
		return;
	*twin = (struct sim_node){.world = world, .index = world->node_count, .number = node->number, .role = node->role, .directory = node->directory,
		.route_count = node->route_count, .wall_skew_ms = node->wall_skew_ms, .clock = node->clock, .identity_epoch = node->identity_epoch,
		.claim = node->claim, .starts = node->starts, .first_generation = TWIN_GENERATIONS, .generation = TWIN_GENERATIONS, .wake_ms = INT64_MAX};
	memcpy(twin->routes, node->routes, sizeof(twin->routes));
	disk_copy(&node->disk, &twin->disk);
	for (size_t i = 0; i < node->end_count; i++) {
		struct sim_end *end = &world->twin_ends[i];
		const struct sim_end *like = node->ends[i];
		*end = (struct sim_end){.node = twin, .other = like->other, .wire = like->wire, .side = like->side, .peer = like->peer, .latency_ms = like->latency_ms,
			.bits_per_second = like->bits_per_second, .loss = like->loss, .duplicate = like->duplicate, .reorder = like->reorder};
		twin->ends[twin->end_count++] = end;
	}
	world->twin = twin;
	trace(world, node, NULL, "an image of its disk is made");
	world_schedule(world, HAPPENS_TWIN, soon(world, SIM_MINUTE, 3 * SIM_HOUR))->node = twin;
}

void twin_starts(struct sim_node *twin)
{
	struct world *world = twin->world;
	struct sim_node *node = world_node(world, twin->number);
	if (world->is_healed)
		return;
	world->node_count++;
	twin->sibling = node;
	node->sibling = twin;
	twin->generation_ms = world->now_ms;
	world->figures->branches[BRANCH_TWIN]++;
	trace(world, twin, NULL, "FAULT a copy of it is started");
	check_disk_replaced(twin);
	node_boot(twin);
	world_schedule(world, HAPPENS_CALLS, soon(world, 5000, 5 * SIM_MINUTE))->node = node;
}

void twin_calls(struct sim_node *copy)
{
	struct world *world = copy->world;
	if (copy->is_fenced || copy->sibling->is_fenced)
		return;
	for (size_t i = 0; copy->is_on && i < copy->end_count; i++) {
		if (is_plugged(copy->ends[i]))
			continue;
		twin_plug(copy->ends[i]);
		wire_connect(copy->ends[i]->wire, 50, 3000);
	}
	world_schedule(world, HAPPENS_CALLS, soon(world, 5000, 5 * SIM_MINUTE))->node = copy->sibling;
}

struct sim_node *twin_in_use(struct sim_node *node, uint64_t dice)
{
	struct sim_node *other = node->sibling;
	if (other == NULL || other->is_fenced)
		return node;
	return node->is_fenced || (other->is_on && random_mix(dice) % 2 == 0) ? other : node;
}

static void tell_superseded(struct sim_end *end, struct slice record, uint32_t age_s)
{
	static uint8_t buf[LIMIT_FRAME];
	static struct frame frame;
	size_t len;
	memset(&frame, 0, sizeof(frame));
	frame.has = FRAME_HELLO;
	frame.hello = (struct frame_hello){.version = LINK_VERSION, .version_min = LINK_VERSION, .epoch = node_epoch(end->node), .clock_ms = -1,
		.claim = end->node->claim, .instance = end->node->instance, .superseded = record, .superseded_age_s = age_s};
	if (frame_encode(&frame, buf, &len) != CPD_OK)
		fail(end->node->world, end->node, NULL, "what tells an older copy cannot be encoded");
	else
		schedule_frame(end->other, end->node->world->now_ms + end->latency_ms, buf, len);
}

static bool is_older_copy(struct sim_end *end, const struct frame_hello *hello)
{
	struct sim_node *node = end->node;
	const struct claim told = {hello->claim, hello->epoch, hello->instance};
	struct presence presence;
	struct slice record;
	struct moment now;
	int64_t heard_ms;
	if (told.instance == 0 || !relay_presence(node->relay, end->peer, &presence, &heard_ms))
		return false;
	const struct claim held = presence_claim(&presence);
	if (held.instance == 0 || claim_compare(&told, &held) >= 0)
		return false;
	node_now(node, &now);
	if (relay_presence_record(node->relay, end->peer, &record, &heard_ms)) {
		tell_superseded(end, record, now.custody_ms > heard_ms ? (uint32_t)((now.custody_ms - heard_ms) / 1000) : 0);
	} else {
		struct disk_key key = disk_key_number(end->peer);
		const struct disk_row *row = disk_get(&node->disk, DISK_PRESENCE, &key);
		if (row == NULL || row->len <= 8)
			return false;
		tell_superseded(end, (struct slice){row->data + 8, row->len - 8}, STORED_AGE_S);
	}
	node->world->figures->branches[BRANCH_COPY_REFUSED]++;
	trace(node->world, node, NULL, "refuses an older copy of %u", end->peer);
	return true;
}

bool twin_hello(struct sim_end *end, struct slice bytes)
{
	static struct frame frame;
	if (frame_decode(bytes, &frame) != CPD_OK || !(frame.has & FRAME_HELLO))
		return false;
	if (frame.hello.superseded.len > 0) {
		struct sim_input input = {.plan = -1, .event = {.type = RELAY_HEARD, .link = end->peer, .presence_age_s = frame.hello.superseded_age_s}};
		input.len = frame.hello.superseded.len;
		input.bytes = sim_alloc(input.len);
		memcpy(input.bytes, frame.hello.superseded.data, input.len);
		node_input(end->node, &input, true);
		return true;
	}
	if (!is_older_copy(end, &frame.hello))
		return false;
	end->refused_path = end->wire->generation;
	return true;
}

void twin_fence(struct sim_node *node)
{
	struct world *world = node->world;
	node->fence_is_due = false;
	world->figures->branches[BRANCH_FENCED]++;
	trace(world, node, NULL, "is fenced");
	if (node->sibling == NULL || node->sibling->is_fenced) {
		fail(world, node, NULL, "fenced, and no other copy of it is in use");
		return;
	}
	node_stop(node, false);
	node->is_fenced = true;
	check_fenced(node);
	for (size_t i = 0; node->sibling->is_on && i < node->sibling->end_count; i++) {
		twin_plug(node->sibling->ends[i]);
		wire_connect(node->sibling->ends[i]->wire, 1000, 30000);
	}
}

/* After hours in which both could reach every neighbour. */
void twin_check(struct world *world)
{
	const struct sim_node *twin = world->twin;
	if (twin == NULL || twin->sibling == NULL || world->is_failed)
		return;
	if (!twin->is_fenced && !twin->sibling->is_fenced)
		fail(world, twin, NULL, "two copies of %u were in contact for hours, and neither is fenced", twin->number);
}
