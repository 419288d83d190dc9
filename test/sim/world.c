/* world.c: virtual time and its happenings, the region's shape, one run from seed to verdict. */
#include <stdlib.h>
#include <string.h>

#include "test/sim/courier.h"
#include "test/sim/sim.h"
#include "test/sim/twin.h"

#define WHOLE_EVERY 4 /* one seed in so many is a whole region: 2 CPs, 2 desks, 20 NSPs */
#define STEPS_MAX 12000000 /* a run that needs more does not come to rest */

void *sim_alloc(size_t len)
{
	void *memory = calloc(1, len > 0 ? len : 1);
	if (memory == NULL)
		abort();
	return memory;
}

void *sim_grow(void *array, size_t *room, size_t count, size_t size)
{
	if (count < *room)
		return array;
	*room = *room * 2 + 8;
	array = realloc(array, *room * size);
	if (array == NULL)
		abort();
	return array;
}

/* ---------------------------------------------------------------- time */

static bool is_before(const struct happening *a, const struct happening *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

/* Its time and order stand already when this returns, so the caller may fill in the rest in place. */
struct happening *world_schedule(struct world *world, enum happening_type type, int64_t at_ms)
{
	struct happening added = {.at_ms = at_ms, .order = ++world->order, .type = type};
	world->heap = sim_grow(world->heap, &world->heap_room, world->heap_count, sizeof(added));
	size_t at = world->heap_count++;
	while (at > 0 && is_before(&added, &world->heap[(at - 1) / 2])) {
		world->heap[at] = world->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	world->heap[at] = added;
	return &world->heap[at];
}

static struct happening take_first(struct world *world)
{
	struct happening first = world->heap[0];
	struct happening last = world->heap[--world->heap_count];
	size_t at = 0;
	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= world->heap_count)
			break;
		if (child + 1 < world->heap_count && is_before(&world->heap[child + 1], &world->heap[child]))
			child++;
		if (!is_before(&world->heap[child], &last))
			break;
		world->heap[at] = world->heap[child];
		at = child;
	}
	world->heap[at] = last;
	return first;
}

/* ---------------------------------------------------------------- shape */

struct sim_node *world_node(struct world *world, uint32_t number)
{
	for (size_t i = 0; i < world->node_count; i++)
		if (world->nodes[i].number == number && !world->nodes[i].is_fenced)
			return &world->nodes[i];
	return NULL;
}

static struct sim_node *add_node(struct world *world, uint32_t number, enum node_role role)
{
	struct sim_node *node = &world->nodes[world->node_count];
	node->world = world;
	node->index = world->node_count++;
	node->number = number;
	node->role = role;
	node->directory = directory_new();
	node->claim = 1;
	node->wake_ms = INT64_MAX;
	int64_t kind = random_range(&world->random, 0, 9);
	node->clock = kind < 6 ? CLOCK_NTP : kind < 8 ? CLOCK_MANUAL : CLOCK_UNKNOWN;
	if (node->clock == CLOCK_MANUAL)
		node->wall_skew_ms = random_range(&world->random, -5 * SIM_MINUTE, 5 * SIM_MINUTE);
	if (node->clock == CLOCK_UNKNOWN)
		node->wall_skew_ms = random_range(&world->random, -400 * SIM_HOUR, 400 * SIM_HOUR);
	return node;
}

static void add_wire(struct world *world, struct sim_node *a, struct sim_node *b)
{
	static const uint32_t rates[] = {1200, 2400, 9600, 64000, 1000000, 10000000};
	struct sim_random *random = &world->random;
	struct sim_wire *wire = &world->wires[world->wire_count++];
	uint32_t rate = rates[random_range(random, 0, 5)];
	bool is_radio = rate <= 9600 && random_chance(random, 50);
	for (int i = 0; i < 2; i++) {
		struct sim_end *end = &wire->ends[i];
		end->wire = wire;
		end->other = &wire->ends[1 - i];
		end->side = i;
		wire->plugged[i] = end;
		end->node = i == 0 ? a : b;
		end->peer = i == 0 ? b->number : a->number;
		end->bits_per_second = rate;
		end->latency_ms = random_scale(random, 1, 800);
		if (is_radio) {
			end->loss = (unsigned)random_range(random, 0, 8);
			end->duplicate = (unsigned)random_range(random, 0, 4);
			end->reorder = (unsigned)random_range(random, 0, 4);
		}
		end->node->ends[end->node->end_count++] = end;
	}
}

static void add_route(struct sim_node *node, const char *prefix, uint32_t first, uint32_t second)
{
	struct relay_route *route = &node->routes[node->route_count++];
	memset(route, 0, sizeof(*route));
	snprintf(route->prefix, sizeof(route->prefix), "%s", prefix);
	route->via[route->via_count++] = first;
	if (second != 0 && second != first)
		route->via[route->via_count++] = second;
}

static void shape_region(struct world *world)
{
	struct sim_node *cps[SIM_CPS_MAX];
	struct sim_node *desks[SIM_DESKS_MAX];
	struct sim_node *nsps[SIM_NSPS_MAX];
	bool is_whole = random_mix(world->seed ^ 0x7e610) % WHOLE_EVERY == 0; /* not drawn: options leave the rest of a seed as it is */
	size_t cp_count = world->options.cps != 0 ? world->options.cps : 2;
	size_t desk_count = world->options.desks != 0 ? world->options.desks : is_whole ? 2 : 1;
	size_t nsp_count = world->options.nsps != 0 ? world->options.nsps : is_whole ? 20 : 4;
	world->figures->branches[BRANCH_WHOLE_REGION] += cp_count >= 2 && desk_count >= 2 && nsp_count >= 20;
	for (size_t i = 0; i < cp_count; i++)
		cps[i] = add_node(world, 91001 + (uint32_t)i, ROLE_ID_CP);
	for (size_t i = 0; i < desk_count; i++)
		desks[i] = add_node(world, SIM_FIRST_DESK + (uint32_t)i, ROLE_ID_DESK);
	for (size_t i = 0; i < nsp_count; i++)
		nsps[i] = add_node(world, 10101 + (uint32_t)i, ROLE_ID_NSP);
	bool has_remote = nsp_count > 1 && random_chance(&world->random, 40);

	for (size_t d = 0; d < desk_count; d++) {
		for (size_t i = 0; i < cp_count; i++)
			add_wire(world, desks[d], cps[i]);
		add_route(desks[d], "", cps[d % cp_count]->number, cps[(d + cp_count - 1) % cp_count]->number);
	}
	if (cp_count > 1 && random_chance(&world->random, 50))
		for (size_t i = 0; i + 1 < cp_count; i++)
			add_wire(world, cps[i], cps[i + 1]);
	for (size_t i = 0; i < cp_count; i++)
		add_route(cps[i], "", desks[i % desk_count]->number, cp_count > 1 ? cps[(i + 1) % cp_count]->number : 0);
	for (size_t i = 0; i < nsp_count; i++) {
		bool is_remote = has_remote && i + 1 == nsp_count;
		size_t home = (size_t)random_range(&world->random, 0, (int64_t)cp_count - 1);
		if (is_remote) { /* it reaches the region only through its neighbour */
			add_wire(world, nsps[i - 1], nsps[i]);
			add_route(nsps[i], "", nsps[i - 1]->number, 0);
			continue;
		}
		for (size_t c = 0; c < cp_count && c < 2; c++)
			add_wire(world, nsps[i], cps[(home + c) % cp_count]);
		add_route(nsps[i], "", cps[home]->number, cps[(home + 1) % cp_count]->number);
	}
	if (has_remote && random_chance(&world->random, 60)) { /* in the others presence alone must show the way */
		char prefix[11];
		snprintf(prefix, sizeof(prefix), "%u", nsps[nsp_count - 1]->number);
		for (size_t i = 0; i < cp_count; i++)
			add_route(cps[i], prefix, nsps[nsp_count - 2]->number, 0);
	}
}

/* ---------------------------------------------------------------- one step */

static bool is_void(const struct happening *happening)
{
	switch (happening->type) {
	case HAPPENS_TURN: case HAPPENS_COMMIT: case HAPPENS_WAKE: case HAPPENS_CRASH:
		return happening->generation != happening->node->boot;
	case HAPPENS_SENT: case HAPPENS_DISCONNECT:
		return happening->generation != happening->end->session;
	case HAPPENS_CONNECT:
		return happening->generation != happening->end->wire->generation || !is_plugged(happening->end);
	default:
		return false;
	}
}

static void directory_update_comes(struct sim_node *node, int index)
{
	struct sim_input input = {.plan = -1, .event = {.type = RELAY_DIRECTORY}};
	if (directory_apply(node->directory, &node->world->updates[index]) != CPD_OK)
		fail(node->world, node, NULL, "directory update %d is refused", index);
	if (node->is_on)
		node_input(node, &input, false);
}

static void operate(struct sim_node *node, const struct happening *happening)
{
	struct sim_input input = {.plan = -1, .event = {.type = RELAY_OPERATE, .act = happening->act, .id = happening->id}};
	if (happening->act == ACT_REFUSE)
		input.event.remark = "geen mensen";
	if (node->is_on)
		node_input(node, &input, false);
}

static void author(struct sim_node *node, int index)
{
	struct sim_input input = {.plan = index, .event = {.type = RELAY_MESSAGE}};
	node = twin_in_use(node, (uint64_t)index);
	if (node->is_on && !plan_leaves_out(node->world->options.no_plans, (size_t)index))
		node_input(node, &input, node->world->plans[index].precedence == PRECEDENCE_FLASH);
}

static void happen(struct world *world, struct happening *happening)
{
	struct sim_node *node = happening->node;
	switch (happening->type) {
	case HAPPENS_FRAME: net_frame(happening); break;
	case HAPPENS_SENT:
		happening->end->is_busy = false;
		node_fill(node);
		break;
	case HAPPENS_CONNECT:
		if (!happening->end->wire->is_cut && (!happening->end->is_told_up || happening->end->path != happening->end->wire->generation))
			end_connect(happening->end);
		break;
	case HAPPENS_DISCONNECT: end_close(happening->end, false); break;
	case HAPPENS_TURN: node_turn(node); break;
	case HAPPENS_COMMIT: node_commit(node); break;
	case HAPPENS_WAKE: node_wake(node); break;
	case HAPPENS_AUTHOR: author(node, happening->index); break;
	case HAPPENS_OPERATE: operate(node, happening); break;
	case HAPPENS_DIRECTORY: directory_update_comes(node, happening->index); break;
	case HAPPENS_FAULT: plan_fault(world, &world->faults[happening->index]); break;
	case HAPPENS_FAULT_ENDS: plan_fault_ends(world, &world->faults[happening->index]); break;
	case HAPPENS_START:
		if (!node->is_on)
			node_boot(node);
		break;
	case HAPPENS_HEAL: plan_heal(world); break;
	case HAPPENS_CRASH: plan_doom(node); break;
	case HAPPENS_COURIER_WRITES: courier_writes(world); break;
	case HAPPENS_COURIER_READS: courier_reads(world, (size_t)happening->index); break;
	case HAPPENS_COURIER_RETURNS: courier_returns(world, (size_t)happening->index); break;
	case HAPPENS_IMAGE: twin_image(node); break;
	case HAPPENS_TWIN: twin_starts(node); break;
	case HAPPENS_CALLS: twin_calls(node); break;
	case HAPPENS_REISSUE:
		if (node->is_on)
			node_reissue(node, &happening->id);
		break;
	case HAPPENS_NEW_EPOCH:
		if (node->is_on && node_epoch(node) == (uint32_t)happening->index)
			node_raise_epoch(node, node_epoch(node) + 1);
		break;
	}
}

bool world_run(struct world *world)
{
	random_seed(&world->random, world->seed);
	world->fault_count = 0;
	shape_region(world);
	plan_make(world);
	courier_plan(world);
	twin_plan(world);
	for (size_t i = 0; i < world->node_count; i++)
		world_schedule(world, HAPPENS_START, random_range(&world->random, 0, 20000))->node = &world->nodes[i];
	world_schedule(world, HAPPENS_HEAL, world->active_ms);
	while (world->heap_count > 0 && !world->is_failed && world->now_ms < world->end_ms) {
		struct happening happening = take_first(world);
		world->now_ms = happening.at_ms;
		world->step++;
		if (!is_void(&happening))
			happen(world, &happening);
		free(happening.bytes);
		if (world->step > STEPS_MAX)
			fail(world, NULL, NULL, "the region does not come to rest: more than %d steps", STEPS_MAX);
	}
	if (!world->is_failed)
		check_end(world);
	world->figures->branches[BRANCH_STEPS] += world->step;
	world->figures->branches[BRANCH_SEED_COUNTS] += world->counts;
	return !world->is_failed;
}

static void clear_node(struct sim_node *node)
{
	if (node->is_on)
		node_stop(node, false);
	disk_clear(&node->disk);
	disk_clear(&node->copy);
	if (node->first_generation == 0) /* else its sibling's */
		directory_free(node->directory);
	free(node->inputs);
	free(node->fired);
}

void world_clear(struct world *world)
{
	bool was_failed = world->is_failed;
	world->is_failed = true; /* nothing is judged any more */
	for (size_t i = 0; i < world->node_count; i++)
		clear_node(&world->nodes[i]);
	for (size_t i = 0; i < world->wire_count; i++) {
		for (int e = 0; e < 2; e++) {
			free(world->wires[i].ends[e].under_way);
			lie_forget(&world->wires[i].ends[e]);
			free(world->wires[i].ends[e].said);
		}
	}
	for (size_t i = 0; world->twin != NULL && i < world->twin->end_count; i++)
		free(world->twin_ends[i].under_way);
	if (world->twin != NULL && world->twin->sibling == NULL)
		disk_clear(&world->twin->disk);
	for (size_t i = 0; i < world->heap_count; i++)
		free(world->heap[i].bytes);
	for (size_t i = 0; i < sizeof(world->messages) / sizeof(world->messages[0]); i++) {
		while (world->messages[i] != NULL) {
			struct sim_message *message = world->messages[i];
			world->messages[i] = message->next;
			tree_free(message->tree);
			free(message->envelope);
			free(message->body);
			free(message->outcomes);
			free(message);
		}
	}
	for (size_t i = 0; i < world->update_count; i++)
		directory_update_clear(&world->updates[i]);
	courier_clear(world);
	free(world->heap);
	free(world->plans);
	free(world->faults);
	free(world->shown);
	trace_clear(world);
	world->is_failed = was_failed;
}
