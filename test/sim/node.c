/* node.c: a simulated host. It does what the head of daemon/relay/relay.h prescribes and nothing more:
 * so what holds here holds for daemon/node.c as far as that does the same. */
#include <stdlib.h>
#include <string.h>

#include "test/sim/courier.h"
#include "test/sim/make_verified.h"
#include "test/sim/turn.h"
#include "test/sim/twin.h"

#define TURN_EVENTS_MAX 64

uint32_t node_epoch(const struct sim_node *node)
{
	return node->identity_epoch;
}

void node_now(const struct sim_node *node, struct moment *out)
{
	out->custody_ms = node->custody_base + node->world->now_ms - node->booted_ms;
	out->wall_ms = node->world->now_ms + 10 * SIM_HOUR + node->wall_skew_ms;
	out->quality = node->clock;
}

/* ---------------------------------------------------------------- start and stop */

static void read_meta(struct sim_node *node, struct sim_meta *meta)
{
	struct disk_key key = disk_key_none();
	const struct disk_row *row = disk_get(&node->disk, DISK_META, &key);
	memset(meta, 0, sizeof(*meta));
	if (row != NULL)
		memcpy(meta, row->data, sizeof(*meta));
}

/* Straight to the disk, outside a turn: a start, not a decision. */
static void write_meta(struct sim_node *node, const struct sim_meta *meta)
{
	struct disk_batch batch = {NULL, 0, 0};
	batch_put(&batch, DISK_META, disk_key_none(), meta, sizeof(*meta));
	disk_apply(&node->disk, &batch.changes[0]);
	batch_clear(&batch);
}

static void restore_rows(struct sim_node *node)
{
	struct world *world = node->world;
	const struct disk_rows *rows = &node->disk.tables[DISK_PRESENCE];
	for (size_t i = 0; i < rows->count; i++) {
		struct verified_presence presence;
		int64_t heard_ms;
		memcpy(&heard_ms, rows->rows[i]->data, 8);
		struct slice bytes = {rows->rows[i]->data + 8, rows->rows[i]->len - 8};
		if (make_verified_presence(bytes, &presence) != CPD_OK || relay_restore_presence(node->relay, &presence.presence, heard_ms) != CPD_OK)
			fail(world, node, NULL, "a stored presence record is refused at the start");
	}
	rows = &node->disk.tables[DISK_FLOORS];
	for (size_t i = 0; i < rows->count; i++) {
		struct epoch_floor floors[LIMIT_FLOORS];
		memcpy(floors, rows->rows[i]->data, rows->rows[i]->len);
		relay_restore_floors(node->relay, (uint32_t)disk_read_u64(rows->rows[i]->key.bytes), floors, rows->rows[i]->len / sizeof(floors[0]));
	}
	rows = &node->disk.tables[DISK_LATEST];
	for (size_t i = 0; i < rows->count; i++) {
		struct message_id id;
		memcpy(&id, rows->rows[i]->data, sizeof(id));
		const uint8_t *key = rows->rows[i]->key.bytes;
		if (relay_restore_latest(node->relay, disk_read_u32(key), disk_read_u32(key + 4), &id) != CPD_OK)
			fail(world, node, NULL, "a stored latest row is refused at the start");
	}
}

static void start_links(struct sim_node *node)
{
	for (size_t i = 0; i < node->end_count; i++) {
		struct sim_end *end = node->ends[i];
		struct link_config config = {.self = node->number, .peer = end->peer, .self_epoch = node_epoch(node), .profile = node->world->profile};
		struct disk_key key = disk_key_number(end->peer);
		const struct disk_row *row = disk_get(&node->disk, DISK_CIRCUITS, &key);
		config.profile.rate_bps = end->bits_per_second;
		if (row != NULL)
			memcpy(&config.circuit, row->data, sizeof(config.circuit));
		end->link = link_new(&config);
		end->is_told_up = end->was_up = end->is_busy = false;
		end->under_way_count = 0;
		end->flash_waiting = 0;
		check_circuit(end, 0);
		memset(end->starved_row, 0, sizeof(end->starved_row));
		if (end->link == NULL || relay_add_link(node->relay, end->peer) != CPD_OK)
			fail(node->world, node, NULL, "a link cannot be made at the start");
	}
}

void node_boot(struct sim_node *node)
{
	struct sim_meta meta;
	struct moment now;
	if (node->is_fenced)
		return; /* it may be read and printed; what it holds stays */
	read_meta(node, &meta);
	if (node->instance == 0) { /* as crypto/claim.c */
		node->instance = (uint64_t)++node->starts << 32 | (random_mix(node->world->seed ^ node->index << 20 ^ node->boot) & 0xFFFFFFFF) | 1;
		node->process_ms = node->world->now_ms;
	}
	if (meta.epoch == 0 || meta.epoch != node->identity_epoch) { /* new, restored or raised: nothing may be authored under an old one */
		node->identity_epoch = (meta.epoch > node->identity_epoch ? meta.epoch : node->identity_epoch) + 1;
		meta.epoch = node->identity_epoch;
		write_meta(node, &meta);
		trace(node->world, node, NULL, "epoch %u", node->identity_epoch);
	}
	node->is_on = true;
	node->boot++;
	node->custody_base = meta.custody_ms;
	node->booted_ms = node->world->now_ms;
	node->raise_to = 0;
	node->wake_ms = INT64_MAX;
	node_now(node, &now);

	struct relay_config config;
	relay_config_init(&config);
	config.self = node->number;
	config.epoch = node->identity_epoch;
	config.claim = node->claim;
	config.instance = node->instance;
	config.started_ms = now.custody_ms - (node->world->now_ms - node->process_ms);
	config.directory = node->directory;
	config.routes = node->routes;
	config.route_count = node->route_count;
	config.passes_presence_to_nsps = node->role == ROLE_ID_NSP; /* as in daemon/role */
	config.grace_ms = node->world->grace_ms;
	config.presence_ms = node->world->presence_ms;
	node->relay = relay_new(&config, &meta.counters, &now);
	if (node->relay == NULL) {
		fail(node->world, node, NULL, "relay_new gave nothing");
		return;
	}
	restore_rows(node);
	start_links(node);
	for (size_t i = 0; i < node->end_count; i++) {
		twin_plug(node->ends[i]);
		wire_connect(node->ends[i]->wire, 50, 3000);
	}
	struct happening *first = world_schedule(node->world, HAPPENS_TURN, node->world->now_ms);
	first->node = node;
	first->generation = node->boot;
	node->turn_scheduled = true;
	node_schedule_wake(node);
}

static void input_clear(struct sim_input *input)
{
	free(input->bytes);
	free(input->rows);
	free(input->own);
}

static void authored_free(struct sim_message *message)
{
	if (message->reissue_of != NULL)
		message->reissue_of->successor = NULL;
	tree_free(message->tree);
	free(message->envelope);
	free(message->body);
	free(message->outcomes);
	free(message);
}

static void sim_batch_free(struct sim_batch *batch, bool is_lost)
{
	batch_clear(&batch->changes);
	for (size_t i = 0; i < batch->pass_count; i++)
		free(batch->passes[i].bytes);
	for (size_t i = 0; is_lost && i < batch->authored_count; i++)
		authored_free(batch->authored[i]);
	free(batch->passes);
	free(batch->asks);
	free(batch->settled);
	free(batch);
}

static void apply_batch(struct sim_node *node, struct sim_batch *batch)
{
	for (size_t i = 0; i < batch->authored_count; i++)
		message_add(node->world, batch->authored[i]);
	batch->authored_count = 0;
	for (size_t i = 0; i < batch->changes.count; i++) {
		check_change(node, &batch->changes.changes[i]);
		disk_apply(&node->disk, &batch->changes.changes[i]);
	}
	for (size_t i = 0; i < batch->changes.count; i++)
		check_committed(node, &batch->changes.changes[i]);
	for (size_t i = 0; i < batch->settled_count; i++)
		if (batch->settled[i].end != NULL)
			check_settled(node, &batch->settled[i]);
	node->world->figures->branches[BRANCH_COMMITS]++;
}

/* The process ends. A crash may fall after the disk had a commit and before the process knew. */
void node_stop(struct sim_node *node, bool is_crash)
{
	struct world *world = node->world;
	bool still_durable = is_crash;
	for (struct sim_batch *batch = node->waiting; batch != NULL;) {
		struct sim_batch *next = batch->next;
		still_durable = still_durable && random_chance(&world->random, 40);
		if (still_durable)
			apply_batch(node, batch);
		world->figures->branches[still_durable ? BRANCH_COMMIT_UNTOLD : BRANCH_UNCOMMITTED_LOST]++;
		sim_batch_free(batch, !still_durable);
		batch = next;
	}
	node->waiting = node->last_waiting = NULL;
	node->commit_scheduled = node->turn_scheduled = false;
	for (size_t i = 0; i < node->input_count; i++) {
		if (node->inputs[i].authored != NULL)
			authored_free(node->inputs[i].authored);
		input_clear(&node->inputs[i]);
	}
	node->input_count = node->fired_count = 0;
	relay_free(node->relay);
	node->relay = NULL;
	node->is_on = false;
	node->instance = 0;
	node->fence_is_due = false;
	node->boot++;
	for (size_t i = 0; i < node->end_count; i++) {
		link_free(node->ends[i]->link);
		node->ends[i]->link = NULL;
		node->ends[i]->session++;
		node->ends[i]->is_told_up = node->ends[i]->was_up = false;
		memset(&node->ends[i]->stall, 0, sizeof(node->ends[i]->stall));
		if (is_plugged(node->ends[i]))
			wire_drop(node->ends[i]->wire, 60000);
	}
}

/* The store refused, or a new epoch begins: as a restart, without the time between. */
static void node_rebuild(struct sim_node *node)
{
	uint64_t instance = node->instance;
	node_stop(node, false);
	node->instance = instance;
	node_boot(node);
}

static void raise_epoch(struct sim_node *node)
{
	trace(node->world, node, NULL, "raises its epoch to at least %u", node->raise_to);
	node->world->figures->branches[BRANCH_EPOCH_RAISED]++;
	if (node->identity_epoch + 1 < node->raise_to)
		node->identity_epoch = node->raise_to - 1;
	node->identity_epoch++;     /* differs from the store's: the boot takes one more */
	node_rebuild(node);
}

void node_raise_epoch(struct sim_node *node, uint32_t at_least)
{
	if (at_least > node->raise_to)
		node->raise_to = at_least;
	if (node->waiting == NULL) /* else the last commit that waits does it */
		raise_epoch(node);
}

/* As daemon/node_reissue.c: under the epoch that is at fault it would only collide again. */
void node_reissue(struct sim_node *node, const struct message_id *id)
{
	struct sim_message *old = message_held(node, id);
	struct sim_input input = {.plan = -1, .event = {.type = RELAY_MESSAGE}, .reissue = old};
	if (old == NULL || old->origin->number != node->number || old->successor != NULL)
		return;
	if (id->epoch < node_epoch(node)) {
		node_input(node, &input, false);
		return;
	}
	struct happening *later = world_schedule(node->world, HAPPENS_REISSUE, node->world->now_ms + 1000);
	later->node = node;
	later->id = *id;
	node_raise_epoch(node, id->epoch + 1);
}

/* ---------------------------------------------------------------- gather */

void node_input(struct sim_node *node, const struct sim_input *input, bool at_once)
{
	struct world *world = node->world;
	node->inputs = sim_grow(node->inputs, &node->input_room, node->input_count, sizeof(*input));
	node->inputs[node->input_count++] = *input;
	if (node->turn_scheduled)
		return;
	node->turn_scheduled = true;
	struct happening *turn = world_schedule(world, HAPPENS_TURN, world->now_ms + (at_once ? 0 : random_range(&world->random, 0, 20)));
	turn->node = node;
	turn->generation = node->boot;
}

void node_turn(struct sim_node *node)
{
	struct world *world = node->world;
	struct sim_input inputs[TURN_EVENTS_MAX];
	node->turn_scheduled = false;
	if (node->fence_is_due) {
		if (node->waiting == NULL)
			twin_fence(node);
		return;
	}
	if (node->raise_to != 0) { /* the turns that wait come first; the rest is gathered again afterwards */
		if (node->waiting == NULL)
			raise_epoch(node);
		return;
	}
	size_t count = (size_t)random_range(&world->random, 1, TURN_EVENTS_MAX);
	if (count > node->input_count)
		count = node->input_count;
	if (count > 0) {
		memcpy(inputs, node->inputs, count * sizeof(inputs[0]));
		memmove(node->inputs, node->inputs + count, (node->input_count - count) * sizeof(inputs[0]));
		node->input_count -= count;
	}

	struct decision turn = {.node = node, .batch = sim_alloc(sizeof(struct sim_batch))};
	node_now(node, &turn.now);
	turn.batch->turn = ++node->turn;
	world->figures->branches[BRANCH_TURNS]++;
	relay_begin_turn(node->relay, turn.batch->turn);
	for (size_t i = 0; i < count; i++) {
		decide_input(&turn, &inputs[i]);
		decide_witnesses(&turn);
		if (inputs[i].event.type == RELAY_TIMER) {
			node->fired = sim_grow(node->fired, &node->fired_room, node->fired_count, sizeof(*node->fired));
			for (size_t f = 0; f < node->fired_count; f++)
				if (node->fired[f].due_ms == inputs[i].timer_due_ms && message_id_equal(&node->fired[f].id, &inputs[i].event.id))
					node->fired[f].turn = turn.batch->turn;
		}
		input_clear(&inputs[i]);
	}
	if (relay_end_turn(node->relay) != CPD_OK)
		fail(world, node, NULL, "relay_end_turn failed");
	effects_take(&turn);
	if (turn.batch->changes.count > 0) {
		struct sim_meta meta = {.epoch = node_epoch(node), .counters = *relay_counters(node->relay), .custody_ms = turn.now.custody_ms};
		batch_put(&turn.batch->changes, DISK_META, disk_key_none(), &meta, sizeof(meta));
	}
	if (node->last_waiting != NULL)
		node->last_waiting->next = turn.batch;
	else
		node->waiting = turn.batch;
	node->last_waiting = turn.batch;
	if (!node->commit_scheduled) {
		int64_t takes = turn.batch->changes.count == 0 ? 0 : node->is_slow ? random_range(&world->random, 500, 20000) : random_range(&world->random, 1, 40);
		struct happening *commit = world_schedule(world, HAPPENS_COMMIT, world->now_ms + takes);
		commit->node = node;
		commit->generation = node->boot;
		node->commit_scheduled = true;
		if (node->doom != NULL && turn.batch->changes.count > 0) { /* before the commit, or just when it is told: it may stand on the disk by then */
			struct happening *crash = world_schedule(world, HAPPENS_CRASH, world->now_ms + random_range(&world->random, 0, takes));
			crash->node = node;
			crash->generation = node->boot;
		}
	}
	if (node->input_count > 0 && !node->turn_scheduled) {
		struct happening *next = world_schedule(world, HAPPENS_TURN, world->now_ms + 1);
		next->node = node;
		next->generation = node->boot;
		node->turn_scheduled = true;
	}
	node_schedule_wake(node);
}

/* ---------------------------------------------------------------- commit, emit */

static void announce(struct sim_node *node, const struct presence *presence)
{
	uint8_t bytes[LIMIT_PRESENCE];
	uint8_t record[LIMIT_PRESENCE + 128];
	size_t len;
	if (presence_encode(presence, bytes, sizeof(bytes), &len) != CPD_OK || cheap_sign_record((struct slice){bytes, len}, node->number, record, sizeof(record), &len) != CPD_OK) {
		fail(node->world, node, NULL, "own presence cannot be encoded");
		return;
	}
	for (size_t i = 0; i < node->end_count; i++)
		if (link_is_up(node->ends[i]->link))
			link_send_presence(node->ends[i]->link, (struct slice){record, len}, 0);
}

static void emit(struct sim_node *node, struct sim_batch *batch)
{
	relay_committed(node->relay, batch->turn);
	for (size_t i = 0; i < node->end_count; i++)
		link_committed(node->ends[i]->link, batch->turn);
	for (size_t i = 0; i < batch->settled_count; i++)
		if (batch->settled[i].end == NULL)
			courier_settled(node, batch->settled[i].serial, batch->settled[i].reason);
	for (size_t i = 0; i < batch->ask_count; i++) {
		decide_read_rows(node, &batch->asks[i]);
		node_input(node, &batch->asks[i], false);
	}
	if (batch->has_announce)
		announce(node, &batch->announce);
	for (size_t i = 0; i < batch->pass_count; i++)
		link_send_presence(batch->passes[i].end->link, (struct slice){batch->passes[i].bytes, batch->passes[i].len}, batch->passes[i].age_s);
	for (size_t i = 0; i < node->fired_count;) {
		if (node->fired[i].turn != batch->turn) {
			i++;
			continue;
		}
		struct disk_key key = disk_key_timer(node->fired[i].due_ms, &node->fired[i].id);
		if (disk_get(&node->disk, DISK_TIMERS, &key) != NULL)
			fail(node->world, node, &node->fired[i].id, "a timer row that was due stands in the store after its turn: it would fire for ever");
		node->fired[i] = node->fired[--node->fired_count];
	}
}

void node_commit(struct sim_node *node)
{
	struct world *world = node->world;
	node->commit_scheduled = false;
	if (node->fails_commits && node->waiting->changes.count > 0) {
		node->fails_commits = false;
		world->figures->branches[BRANCH_COMMIT_FAILED]++;
		world->counts = true;
		trace(world, node, NULL, "a commit fails");
		node_rebuild(node);
		return;
	}
	int64_t group = node->is_slow ? TURN_EVENTS_MAX : random_range(&world->random, 1, 4); /* several turns in one transaction */
	do {
		struct sim_batch *batch = node->waiting;
		node->waiting = batch->next;
		if (node->waiting == NULL)
			node->last_waiting = NULL;
		apply_batch(node, batch);
		emit(node, batch);
		sim_batch_free(batch, false);
	} while (--group > 0 && node->waiting != NULL);
	if (node->waiting != NULL) {
		struct happening *commit = world_schedule(world, HAPPENS_COMMIT, world->now_ms + (node->is_slow ? random_range(&world->random, 500, 20000) : random_range(&world->random, 1, 40)));
		commit->node = node;
		commit->generation = node->boot;
		node->commit_scheduled = true;
	}
	if (node->fence_is_due && node->waiting == NULL) {
		twin_fence(node);
		return;
	}
	if (node->raise_to != 0 && node->waiting == NULL) {
		raise_epoch(node);
		return;
	}
	node_fill(node);
	node_schedule_wake(node);
}

/* ---------------------------------------------------------------- time */

static int64_t first_timer(const struct sim_node *node, struct message_id *id)
{
	const struct disk_rows *rows = &node->disk.tables[DISK_TIMERS];
	for (size_t i = 0; i < rows->count; i++) {
		int64_t due_ms = (int64_t)disk_read_u64(rows->rows[i]->key.bytes);
		bool is_fired = false;
		disk_read_id(rows->rows[i]->key.bytes + 8, id);
		for (size_t f = 0; f < node->fired_count && !is_fired; f++)
			is_fired = node->fired[f].due_ms == due_ms && message_id_equal(&node->fired[f].id, id);
		if (!is_fired)
			return due_ms;
	}
	return INT64_MAX;
}

static int64_t min_ms(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void node_schedule_wake(struct sim_node *node)
{
	struct world *world = node->world;
	struct message_id id;
	int64_t due = INT64_MAX;
	if (!node->is_on || world->is_failed)
		return;
	int64_t custody_due = first_timer(node, &id);
	if (!node->turn_scheduled) /* the turn looks again */
		custody_due = min_ms(custody_due, relay_next_deadline(node->relay));
	if (custody_due != INT64_MAX)
		due = custody_due - node->custody_base + node->booted_ms;
	for (size_t i = 0; i < node->end_count; i++) {
		int64_t link_due = link_deadline(node->ends[i]->link);
		if (link_due > world->now_ms || !node->ends[i]->is_busy) /* a frame that waits for the bearer needs no clock */
			due = min_ms(due, link_due);
		int64_t look_due = stall_deadline(&node->ends[i]->stall, stall_bound_ms(&world->profile));
		if (look_due != INT64_MAX)
			due = min_ms(due, look_due > node->ends[i]->stall.looked_ms + 500 ? look_due : node->ends[i]->stall.looked_ms + 500);
	}
	if (due < world->now_ms)
		due = world->now_ms;
	if (due == INT64_MAX || due >= node->wake_ms)
		return;
	node->frozen = due == world->now_ms && node->woken_ms == due ? node->frozen + 1 : 0;
	if (node->frozen > 1000)
		fail(world, node, NULL, "a deadline stays due however often it is met: relay %lld, timer %lld", (long long)(relay_next_deadline(node->relay) - node->custody_base + node->booted_ms - due), (long long)(first_timer(node, &id) - node->custody_base + node->booted_ms - due));
	node->wake_ms = due;
	struct happening *wake = world_schedule(world, HAPPENS_WAKE, due);
	wake->node = node;
	wake->generation = node->boot;
}

void node_wake(struct sim_node *node)
{
	struct world *world = node->world;
	struct moment now;
	struct message_id id;
	int64_t due_ms;
	if (world->now_ms < node->wake_ms)
		return; /* an earlier wake took its place */
	node->wake_ms = INT64_MAX;
	node->woken_ms = world->now_ms;
	node_now(node, &now);
	while ((due_ms = first_timer(node, &id)) <= now.custody_ms) {
		struct sim_input input = {.plan = -1, .timer_due_ms = due_ms};
		input.event = (struct relay_event){.type = RELAY_TIMER, .id = id, .due_ms = due_ms};
		node->fired = sim_grow(node->fired, &node->fired_room, node->fired_count, sizeof(*node->fired));
		node->fired[node->fired_count++] = (struct sim_fired){.due_ms = due_ms, .id = id, .turn = UINT64_MAX};
		node_input(node, &input, false);
	}
	if (relay_next_deadline(node->relay) <= now.custody_ms) {
		bool is_asked = false;
		for (size_t i = 0; i < node->input_count; i++)
			is_asked = is_asked || node->inputs[i].event.type == RELAY_TICK;
		if (!is_asked) {
			struct sim_input input = {.plan = -1, .event = {.type = RELAY_TICK}};
			node_input(node, &input, true);
		}
	}
	for (size_t i = 0; i < node->end_count; i++) {
		struct sim_end *end = node->ends[i];
		bool is_dead = false;
		if (world->now_ms - end->stall.looked_ms >= 500)
			stall_watch(end);
		if (link_deadline(end->link) > world->now_ms)
			continue;
		link_tick(end->link, world->now_ms, &is_dead);
		end_drain(end);
		if (is_dead) {
			world->figures->branches[BRANCH_DEAD_SESSION]++;
			end_close(end, true);
		}
	}
	node_fill(node);
	node_schedule_wake(node);
}
