/* net.c: the virtual network: bandwidth, delay, loss, order, cuts, and sessions that both ends hear of
 * at different times. A wire's generation voids what was in flight over an older path. */
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "test/sim/sim.h"
#include "test/sim/twin.h"

#define LIES_PERCENT 40
#define LIES_KEPT 64

static bool is_usable(const struct sim_wire *wire)
{
	return !wire->is_cut && wire->plugged[0]->node->is_on && wire->plugged[1]->node->is_on;
}

static void schedule_connect(struct sim_end *end, int64_t at_ms)
{
	struct happening *connect = world_schedule(end->node->world, HAPPENS_CONNECT, at_ms);
	connect->end = end;
	connect->node = end->node;
	connect->generation = end->wire->generation;
}

void wire_connect(struct sim_wire *wire, int64_t soonest_ms, int64_t latest_ms)
{
	struct world *world = wire->ends[0].node->world;
	wire->generation++;
	if (!is_usable(wire))
		return;
	for (int i = 0; i < 2; i++)
		schedule_connect(wire->plugged[i], world->now_ms + random_range(&world->random, soonest_ms, latest_ms));
}

/* The path is gone; each end that is in a session hears of it some time within told_within_ms. */
void wire_drop(struct sim_wire *wire, int64_t told_within_ms)
{
	struct world *world = wire->ends[0].node->world;
	wire->generation++;
	for (int i = 0; i < 2; i++) {
		struct sim_end *end = wire->plugged[i];
		if (!end->is_told_up)
			continue;
		struct happening *told = world_schedule(world, HAPPENS_DISCONNECT, world->now_ms + random_range(&world->random, 0, told_within_ms));
		told->end = end;
		told->node = end->node;
		told->generation = end->session;
	}
}

static void tell_relay_down(struct sim_end *end)
{
	struct sim_input input = {.plan = -1, .event = {.type = RELAY_LINK_DOWN, .link = end->peer}};
	if (!end->was_up)
		return;
	end->was_up = false;
	node_input(end->node, &input, false);
}

void end_connect(struct sim_end *end)
{
	struct link_greeting greeting;
	if (!end->node->is_on)
		return;
	if (end->is_told_up)
		tell_relay_down(end);
	end->session++;
	end->path = end->wire->generation;
	end->is_told_up = true;
	end->is_busy = false;
	end->flash_waiting = 0;
	lie_forget(end);
	memset(end->starved_row, 0, sizeof(end->starved_row));
	feed_greeting(end, &greeting);
	link_connected(end->link, &greeting, end->node->world->now_ms);
	end_drain(end);
	end_pump(end);
	node_schedule_wake(end->node);
}

void end_close(struct sim_end *end, bool reconnects)
{
	struct sim_wire *wire = end->wire;
	if (!end->is_told_up || !end->node->is_on)
		return;
	end->is_told_up = false;
	end->session++;
	end->flash_waiting = 0;
	link_disconnected(end->link, end->node->world->now_ms);
	end_drain(end);
	tell_relay_down(end);
	if (!reconnects || !is_plugged(end))
		return;
	wire_drop(wire, 30000);
	wire_connect(wire, 1000, 30000);
	node_schedule_wake(end->node);
}

void schedule_frame(struct sim_end *to, int64_t at_ms, const uint8_t *bytes, size_t len)
{
	struct happening *frame = world_schedule(to->node->world, HAPPENS_FRAME, at_ms);
	frame->end = to;
	frame->node = to->node;
	frame->generation = to->wire->generation;
	frame->bytes = sim_alloc(len);
	frame->len = len;
	memcpy(frame->bytes, bytes, len);
}

void lie_forget(struct sim_end *end)
{
	for (size_t i = 0; i < end->said_count; i++)
		free(end->said[i].bytes);
	end->said_count = 0;
}

/* A neighbour that misbehaves: it says again what it said long ago, or says something else. A hello stays as it
 * is: one that claims another epoch is another fault, and the host's guard against it is daemon/node_links.c. */
static void lie(struct sim_end *end, uint8_t *buf, size_t *len)
{
	struct world *world = end->node->world;
	static struct frame frame;
	bool is_hello = frame_decode((struct slice){buf, *len}, &frame) == CPD_OK && frame.has & FRAME_HELLO;
	int64_t dice = random_range(&world->random, 0, 99);
	if (is_hello)
		return;
	if (dice < LIES_PERCENT) {
		end->has_lied = true;
		world->figures->branches[BRANCH_LIE]++;
	}
	if (dice < LIES_PERCENT / 2 && end->said_count > 0) {
		const struct sim_frame *old = &end->said[random_range(&world->random, 0, (int64_t)end->said_count - 1)];
		memcpy(buf, old->bytes, old->len);
		*len = old->len;
	} else if (dice < LIES_PERCENT) {
		buf[random_range(&world->random, 0, (int64_t)*len - 1)] ^= (uint8_t)(1u << random_range(&world->random, 0, 7));
	} else if (end->said_count < LIES_KEPT) {
		end->said = sim_grow(end->said, &end->said_room, end->said_count, sizeof(*end->said));
		end->said[end->said_count] = (struct sim_frame){sim_alloc(*len), *len};
		memcpy(end->said[end->said_count++].bytes, buf, *len);
	}
}

/* Hands the bearer one frame at a time, as fast as it can carry them. */
void end_pump(struct sim_end *end)
{
	struct world *world = end->node->world;
	static uint8_t buf[LIMIT_FRAME];
	size_t len = 0;
	if (!end->node->is_on || !end->is_told_up || end->is_busy || world->is_failed)
		return;
	enum cpd_error error = link_next_frame(end->link, buf, &len, world->now_ms);
	if (error != CPD_OK)
		fail(world, end->node, NULL, "link_next_frame says %s", cpd_error_text(error));
	if (error != CPD_OK || len == 0)
		return;
	check_frame(end, (struct slice){buf, len});
	if (end->is_mute)
		stall_mute(buf, &len);
	if (end->lies)
		lie(end, buf, &len);
	world->figures->branches[BRANCH_FRAMES]++;
	int64_t sent_ms = world->now_ms + (int64_t)len * 8000 / end->bits_per_second;
	end->is_busy = true;
	struct happening *sent = world_schedule(world, HAPPENS_SENT, sent_ms);
	sent->end = end;
	sent->node = end->node;
	sent->generation = end->session;
	if (end->is_deaf || end->wire->is_cut || random_chance(&world->random, end->loss)) {
		world->figures->branches[BRANCH_LOST]++;
		return;
	}
	int64_t arrives_ms = sent_ms + end->latency_ms;
	if (random_chance(&world->random, end->reorder)) {
		world->figures->branches[BRANCH_REORDERED]++;
		arrives_ms += random_range(&world->random, 1, 5000);
	}
	schedule_frame(end->other, arrives_ms, buf, len);
	if (random_chance(&world->random, end->duplicate)) {
		world->figures->branches[BRANCH_DUPLICATED]++;
		schedule_frame(end->other, arrives_ms + random_range(&world->random, 0, 3000), buf, len);
	}
}

void net_frame(struct happening *happening)
{
	struct sim_end *end = happening->end;
	struct world *world = end->node->world;
	if (happening->generation != end->wire->generation || !end->node->is_on)
		return;
	if (!end->is_told_up || end->path != end->wire->generation)
		end_connect(end); /* the first frame of a path is how a listener hears of it */
	if (twin_hello(end, (struct slice){happening->bytes, happening->len}) || end->refused_path == end->wire->generation)
		return;
	check_received(end, (struct slice){happening->bytes, happening->len});
	enum cpd_error error = link_receive(end->link, (struct slice){happening->bytes, happening->len}, world->now_ms);
	end_drain(end);
	if (error != CPD_OK) {
		world->figures->branches[BRANCH_FRAME_ERROR]++;
		trace(world, end->node, NULL, "frame from %u: %s", end->peer, cpd_error_text(error));
		end_close(end, true);
		return;
	}
	node_fill(end->node);
	node_schedule_wake(end->node);
}
