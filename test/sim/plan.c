/* plan.c: what people write and do, and what goes wrong when; all drawn from the seed beforehand where
 * it can be, so that a change in one decision does not move all the others. */
#include <stdlib.h>
#include <string.h>

#include "proto/body.h"
#include "proto/kind.h"
#include "test/sim/body.h"
#include "test/sim/make_verified.h"
#include "test/sim/sim.h"

#define GROUP_NSPS 7001
#define GROUP_STAFF 7002
#define YEARS_BACK_MS (INT64_C(2) * 365 * 24 * SIM_HOUR)

/* ---------------------------------------------------------------- directory */

static void make_update(struct world *world, uint32_t number, uint32_t version, size_t members_left_out)
{
	struct directory_update *update = &world->updates[world->update_count++];
	update->number = number;
	update->created_s = number * 100;
	if (number == 1) {
		update->certificates = sim_alloc(world->node_count * sizeof(*update->certificates));
		for (size_t i = 0; i < world->node_count; i++) {
			struct certificate *certificate = &update->certificates[update->certificate_count++];
			certificate->node = world->nodes[i].number;
			certificate->role = world->nodes[i].role;
			certificate->key_number = 1;
			certificate->transport_key[0] = (uint8_t)(i + 1);
			snprintf(certificate->name, sizeof(certificate->name), "node %u", certificate->node);
		}
	}
	update->groups = sim_alloc(2 * sizeof(*update->groups));
	update->group_count = 2;
	for (size_t g = 0; g < 2; g++) {
		struct group *group = &update->groups[g];
		size_t left_out = members_left_out;
		group->number = g == 0 ? GROUP_NSPS : GROUP_STAFF;
		group->version = version;
		snprintf(group->name, sizeof(group->name), g == 0 ? "all nsps" : "staff");
		group->members = sim_alloc(world->node_count * sizeof(uint32_t));
		for (size_t i = 0; i < world->node_count; i++) {
			if ((world->nodes[i].role == ROLE_ID_NSP) != (g == 0))
				continue;
			if (left_out > 0 && g == 0)
				left_out--;
			else
				group->members[group->member_count++] = world->nodes[i].number;
		}
	}
}

static void plan_directory(struct world *world)
{
	make_update(world, 1, 1, 1);
	make_update(world, 2, 2, 0);
	for (size_t i = 0; i < world->node_count; i++) {
		struct sim_node *node = &world->nodes[i];
		if (directory_apply(node->directory, &world->updates[0]) != CPD_OK)
			fail(world, node, NULL, "the first directory update is refused");
		struct happening *comes = world_schedule(world, HAPPENS_DIRECTORY,
		    world->active_ms / 4 + random_scale(&world->random, 1000, world->active_ms / 2));
		comes->node = node;
		comes->index = 1;
	}
}

/* ---------------------------------------------------------------- messages */

static uint32_t some_node(struct world *world, enum node_role role, const struct sim_node *not_this)
{
	for (;;) {
		const struct sim_node *node = &world->nodes[random_range(&world->random, 0, (int64_t)world->node_count - 1)];
		if (node != not_this && (role == ROLE_ID_UNKNOWN || node->role == role))
			return node->number;
	}
}

static void choose_kind(struct world *world, struct sim_plan *plan, const struct sim_node *origin)
{
	struct sim_random *random = &world->random;
	int64_t dice = random_range(random, 0, 99);
	plan->node_count = 1;
	if (origin->role == ROLE_ID_NSP && dice < 25) {
		plan->kind = 1;
		plan->nodes[0] = 91001;
		if (world->options.cps != 1 && random_chance(random, 50))
			plan->nodes[plan->node_count++] = 91002;
	} else if (origin->role == ROLE_ID_NSP && dice < 40) {
		plan->kind = 2;
		plan->nodes[0] = some_node(world, ROLE_ID_CP, origin);
		if (random_chance(random, 50))
			plan->nodes[plan->node_count++] = some_node(world, ROLE_ID_DESK, origin);
	} else if (origin->role == ROLE_ID_NSP && dice < 70) {
		plan->kind = 3;
		plan->nodes[0] = some_node(world, ROLE_ID_DESK, origin);
	} else if (origin->role != ROLE_ID_NSP && dice < 25) {
		plan->kind = 4;
		plan->nodes[0] = some_node(world, ROLE_ID_NSP, origin);
	} else if (origin->role != ROLE_ID_NSP && dice < 60) {
		plan->kind = 5;
		plan->nodes[0] = some_node(world, ROLE_ID_NSP, origin);
		if (random_chance(random, 50)) {
			plan->node_count = 0;
			plan->group = GROUP_NSPS;
		}
	} else {
		plan->kind = 6;
		plan->nodes[0] = some_node(world, ROLE_ID_UNKNOWN, origin);
		if (random_chance(random, 20)) {
			plan->node_count = 0;
			plan->group = random_chance(random, 50) ? GROUP_NSPS : GROUP_STAFF;
		} else if (random_chance(random, 15)) {
			plan->large_len = (uint32_t)random_range(random, 5000, 60000);
		}
	}
}

static void plan_message(struct world *world, size_t index)
{
	struct sim_random *random = &world->random;
	struct sim_plan *plan = &world->plans[index];
	plan->at_ms = random_range(random, 30000, world->active_ms);
	if (random_chance(random, 30)) /* bursts: backlogs are where precedence counts */
		plan->at_ms = world->active_ms / 3 + random_range(random, 0, SIM_MINUTE);
	plan->origin = (size_t)random_range(random, 0, (int64_t)world->node_count - 1);
	choose_kind(world, plan, &world->nodes[plan->origin]);
	plan->precedence = kind_find(plan->kind)->precedence;
	if (plan->kind >= 5)
		plan->precedence = (enum precedence)random_range(random, PRECEDENCE_ROUTINE, PRECEDENCE_FLASH);
	plan->body_len = (uint32_t)random_scale(random, 1, 900);
	plan->lifetime_s = (uint32_t)random_range(random, 3600, 24 * 3600);
	if (random_chance(random, 8))
		plan->lifetime_s = (uint32_t)random_range(random, 60, 1800);
	if (plan->kind == 6 && random_chance(random, 20))
		plan->closing_level = LEVEL_READ;
	plan->supersedes_last = plan->kind != 1 && random_chance(random, 8);
	plan->is_withdrawn = plan->kind != 1 && random_chance(random, 6);
	plan->withdraw_after_ms = random_scale(random, 100, 2 * SIM_HOUR);
	plan->is_held = plan->kind != 1 && random_chance(random, 4);
	struct happening *write = world_schedule(world, HAPPENS_AUTHOR, plan->at_ms);
	write->node = &world->nodes[plan->origin];
	write->index = (int)index;
}

static void act_later(struct sim_node *node, const struct message_id *id, enum relay_act act, int64_t after_ms)
{
	struct happening *operate = world_schedule(node->world, HAPPENS_OPERATE, node->world->now_ms + after_ms);
	operate->node = node;
	operate->id = *id;
	operate->act = act;
}

/* As daemon/node_author.c and node_reissue.c: these words are meant, and no others under that id. */
static void supersede(struct header *header, struct sim_message *old)
{
	header->supersedes = old->id;
	header->supersedes_hash = old->hash;
	header->has_supersedes_hash = true;
	old->is_replaced = true;
}

static void fill_header(struct sim_node *node, struct sim_plan *plan, struct header *header)
{
	struct moment now;
	struct world *world = node->world;
	node_now(node, &now);
	memset(header, 0, sizeof(*header));
	header->id = (struct message_id){node->number, node_epoch(node), relay_next_sequence(node->relay)};
	header->kind = plan->kind;
	header->precedence = plan->precedence;
	header->clock_quality = now.quality;
	header->entry_mode = ENTRY_SCREEN;
	header->closing_level = plan->closing_level != LEVEL_NONE ? plan->closing_level : kind_find(plan->kind)->closing_level;
	header->created_s = now.wall_ms > 0 ? (uint32_t)(now.wall_ms / 1000) : 1;
	header->lifetime_s = plan->lifetime_s;
	memcpy(header->nodes, plan->nodes, plan->node_count * sizeof(plan->nodes[0]));
	header->node_count = plan->node_count;
	if (plan->group != 0) {
		header->groups[header->group_count++] = (struct group_ref){plan->group, directory_group(node->directory, plan->group, 0)->version};
		world->figures->branches[BRANCH_GROUP]++;
	}
	for (size_t i = (size_t)(plan - world->plans); plan->supersedes_last && i > 0; i--) {
		const struct sim_plan *old = &world->plans[i - 1];
		if (old->origin != plan->origin || old->kind != plan->kind || old->id.sequence == 0 || message_held(node, &old->id) == NULL)
			continue; /* also what a commit that failed took away: its id is given again */
		supersede(header, message_held(node, &old->id));
		break;
	}
}

static bool write_large(struct sim_message *message, struct header *header, uint32_t len)
{
	message->body_len = len;
	message->body = sim_alloc(len);
	for (uint32_t i = 0; i < len; i++)
		message->body[i] = (uint8_t)random_mix(message->id.sequence << 32 | (message->id.origin + i / 64));
	if (tree_of_body((struct slice){message->body, len}, cheap_hash, &message->tree) != CPD_OK || tree_root(message->tree, message->root) != CPD_OK)
		return false;
	header->large_length = len;
	memcpy(header->large_root, message->root, 32);
	return true;
}

static bool copy_large(struct sim_message *message, const struct sim_message *old)
{
	message->body_len = old->body_len;
	message->body = sim_alloc(old->body_len);
	memcpy(message->body, old->body, old->body_len);
	memcpy(message->root, old->root, sizeof(message->root));
	return tree_of_body((struct slice){message->body, message->body_len}, cheap_hash, &message->tree) == CPD_OK;
}

static void fill_outcomes(struct sim_node *node, struct sim_message *message, const struct header *header)
{
	static uint32_t recipients[LIMIT_RECIPIENTS];
	size_t count = 0;
	if (directory_recipients(node->directory, header, recipients, &count) != CPD_OK)
		fail(node->world, node, &message->id, "the origin cannot open the destinations of its own message");
	message->outcomes = sim_alloc(count * sizeof(*message->outcomes));
	message->outcome_count = count;
	for (size_t i = 0; i < count; i++)
		message->outcomes[i].node = recipients[i];
}

static void describe(struct sim_node *node, const struct header *header, struct sim_message *message)
{
	message->id = header->id;
	message->origin = node;
	message->kind = header->kind;
	message->precedence = header->precedence;
	message->closing_level = header->closing_level;
	message->is_state = kind_find(header->kind)->is_state;
	message->created_ms = node->world->now_ms;
	message->lifetime_ms = (int64_t)header->lifetime_s * 1000;
	message->dropped_ms = message->final_ms = INT64_MAX;
}

static bool sign(struct sim_node *node, const struct header *header, struct sim_message *message)
{
	uint8_t envelope[LIMIT_ENVELOPE];
	struct verified_message verified;
	enum cpd_error error = cheap_sign_message(header, envelope, &message->envelope_len);
	if (error == CPD_OK)
		error = make_verified_message((struct slice){envelope, message->envelope_len}, &verified);
	if (error != CPD_OK) {
		fail(node->world, node, &message->id, "the simulator writes a bad message: %s", cpd_error_text(error));
		return false;
	}
	message->hash = verified.hash;
	message->envelope = sim_alloc(message->envelope_len);
	memcpy(message->envelope, envelope, message->envelope_len);
	fill_outcomes(node, message, header);
	return true;
}

bool plan_author(struct sim_node *node, int index, struct sim_input *input)
{
	struct world *world = node->world;
	struct sim_plan *plan = &world->plans[index];
	uint8_t body[LIMIT_BODY];
	struct header header;
	struct sim_message *message = sim_alloc(sizeof(*message));
	input->authored = message;
	fill_header(node, plan, &header);
	describe(node, &header, message);
	if (plan->large_len > 0) {
		world->figures->branches[BRANCH_LARGE]++;
		if (!write_large(message, &header, plan->large_len))
			fail(world, node, &message->id, "a large body has no tree");
	} else {
		struct body_problem problem;
		body_write(plan->kind, (uint32_t)index, plan->body_len, body, &header.body.len);
		header.body.data = body;
		if (body_validate(plan->kind, header.body, false, &problem) != CPD_OK)
			fail(world, node, &message->id, "the simulator writes a bad body: %s %s", problem.field, problem.text);
	}
	if (!sign(node, &header, message))
		return false;
	plan->id = message->id;
	if (plan->is_held) {
		act_later(node, &message->id, ACT_HOLD, random_scale(&world->random, 50, 20 * SIM_MINUTE));
		act_later(node, &message->id, ACT_RELEASE, 21 * SIM_MINUTE + random_scale(&world->random, 1, 3 * SIM_HOUR));
	}
	if (plan->is_withdrawn)
		act_later(node, &message->id, ACT_WITHDRAW, plan->withdraw_after_ms);
	return true;
}

/* The same words once more, under an id that nobody has given away. */
bool plan_reissue(struct sim_node *node, struct sim_message *old, struct sim_input *input)
{
	struct message message;
	struct header header;
	if (old->successor != NULL)
		return false; /* two neighbours told of it */
	if (message_decode((struct slice){old->envelope, old->envelope_len}, &message) != CPD_OK) {
		fail(node->world, node, &old->id, "a message written here cannot be read");
		return false;
	}
	header = message.header;
	header.id = (struct message_id){node->number, node_epoch(node), relay_next_sequence(node->relay)};
	supersede(&header, old);
	input->authored = sim_alloc(sizeof(*input->authored));
	input->authored->reissue_of = old;
	old->successor = input->authored;
	describe(node, &header, input->authored);
	if (old->body_len > 0 && !copy_large(input->authored, old))
		fail(node->world, node, &old->id, "a large body has no tree");
	node->world->figures->branches[BRANCH_REISSUED]++;
	return sign(node, &header, input->authored);
}

/* A person reads what came, and answers as far as the message asks. */
void plan_operate_soon(struct sim_node *node, const struct sim_message *message)
{
	struct sim_random *random = &node->world->random;
	int64_t after_ms = random_scale(random, 500, 30 * SIM_MINUTE);
	if (!node->world->is_healed && random_chance(random, 15))
		return; /* nobody is there; plan_heal comes back to it */
	act_later(node, &message->id, ACT_READ, after_ms);
	after_ms += random_scale(random, 100, 30 * SIM_MINUTE);
	if (message->closing_level == LEVEL_ACCEPTED || message->closing_level == LEVEL_DONE)
		act_later(node, &message->id, random_chance(random, 10) ? ACT_REFUSE : ACT_ACCEPT, after_ms);
	after_ms += random_scale(random, 100, 30 * SIM_MINUTE);
	if (message->closing_level == LEVEL_DONE)
		act_later(node, &message->id, ACT_DONE, after_ms);
}

/* ---------------------------------------------------------------- faults */

static void plan_one_fault(struct world *world, size_t index)
{
	static const enum fault_type often[] = {FAULT_CRASH, FAULT_CRASH, FAULT_CRASH, FAULT_COMMIT_FAILS, FAULT_COPY, FAULT_CUT, FAULT_CUT,
		FAULT_CUT, FAULT_BLACK_HOLE, FAULT_ONE_WAY, FAULT_LOSSY, FAULT_FULL, FAULT_SLOW_DISK, FAULT_CLOCK, FAULT_CLOCK_2024, FAULT_LIAR};
	struct sim_random *random = &world->random;
	struct sim_fault *fault = &world->faults[index];
	fault->type = often[random_range(random, 0, (int64_t)(sizeof(often) / sizeof(often[0])) - 1)];
	fault->node = (size_t)random_range(random, 0, (int64_t)world->node_count - 1);
	fault->wire = (size_t)random_range(random, 0, (int64_t)world->wire_count - 1);
	fault->side = (int)random_range(random, 0, 1);
	fault->at_ms = random_range(random, 20000, world->active_ms - 1);
	fault->lasts_ms = random_scale(random, 1000, world->active_ms);
	if (fault->type == FAULT_LIAR)
		fault->lasts_ms = random_range(random, SIM_HOUR, world->active_ms);
	if (fault->type == FAULT_CRASH && random_chance(random, 60))
		fault->lasts_ms = random_range(random, 500, 60000);
	if (index == 0 && random_chance(random, 60)) { /* at most one disk is lost: two at once no design survives */
		fault->type = FAULT_WIPE + (enum fault_type)random_range(random, 0, 2);
		fault->lasts_ms = random_scale(random, 5000, SIM_HOUR);
		if (fault->type == FAULT_WIPE && random_chance(random, 60)) /* a coordinatiepunt burns down */
			while (world->nodes[fault->node].role != ROLE_ID_CP)
				fault->node = (size_t)random_range(random, 0, (int64_t)world->node_count - 1);
	}
	if (index == 2) /* a seed without a commit that fails proves less */
		fault->type = FAULT_COMMIT_FAILS;
	if (index == 1 && (world->faults[0].type == FAULT_ROLLBACK || world->faults[0].type == FAULT_SILENT_ROLLBACK)) {
		fault->type = FAULT_COPY;
		fault->node = world->faults[0].node;
		fault->at_ms = random_range(random, 0, world->faults[0].at_ms);
	}
}

#define LONE_FAULTS 2
#define LONE_PLANS 6

/* A machine that is put back while nobody can tell it so, and people write on it: ids are given twice. The
 * chance is not drawn, so that the rest of a seed stays as it is. */
static void plan_lone_rollback(struct world *world)
{
	const struct sim_fault rollback = world->faults[0];
	if (rollback.type != FAULT_SILENT_ROLLBACK || random_mix(world->seed) % 2 == 0 || rollback.at_ms < 10 * SIM_MINUTE)
		return;
	struct sim_fault *copy = &world->faults[world->fault_count++];
	*copy = (struct sim_fault){.type = FAULT_COPY, .node = rollback.node, .at_ms = rollback.at_ms - 8 * SIM_MINUTE, .lasts_ms = 1000};
	struct sim_fault *alone = &world->faults[world->fault_count++];
	*alone = (struct sim_fault){.type = FAULT_ALONE, .node = rollback.node, .at_ms = rollback.at_ms, .lasts_ms = rollback.lasts_ms + 10 * SIM_MINUTE};
	for (int i = 0; i < LONE_PLANS; i++) { /* half of them before, and lost with the disk */
		struct sim_plan *plan = &world->plans[world->plan_count];
		uint32_t to = world->nodes[rollback.node].role == ROLE_ID_DESK ? 91001 : SIM_FIRST_DESK;
		int64_t at_ms = i < LONE_PLANS / 2 ? rollback.at_ms - (6 - i) * SIM_MINUTE : rollback.at_ms + rollback.lasts_ms + (i - 1) * SIM_MINUTE;
		*plan = (struct sim_plan){.at_ms = at_ms, .origin = rollback.node, .kind = 6, .nodes = {to}, .node_count = 1,
			.precedence = (enum precedence)(i % PRECEDENCE_COUNT), .body_len = 40 + 10 * (uint32_t)i, .lifetime_s = 24 * 3600};
		struct happening *write = world_schedule(world, HAPPENS_AUTHOR, at_ms);
		write->node = &world->nodes[rollback.node];
		write->index = (int)world->plan_count++;
	}
	for (size_t i = world->fault_count - LONE_FAULTS; i < world->fault_count; i++)
		world_schedule(world, HAPPENS_FAULT, world->faults[i].at_ms)->index = (int)i;
}

#define MUTE_EVERY 4 /* not drawn, as above */

/* A neighbour that keeps its sessions alive, takes what it is sent, and acknowledges nothing. */
static void plan_mute(struct world *world)
{
	uint64_t mix = random_mix(world->seed ^ 0x57a11);
	int64_t half_ms = world->active_ms / 2;
	if (mix % MUTE_EVERY != 0)
		return;
	mix /= MUTE_EVERY;
	world->faults[world->fault_count] = (struct sim_fault){.type = FAULT_MUTE, .wire = (size_t)(mix % world->wire_count), .side = (int)(mix >> 20 & 1),
		.at_ms = 20 * SIM_MINUTE + (int64_t)(mix >> 24) % half_ms, .lasts_ms = half_ms / 2};
	world_schedule(world, HAPPENS_FAULT, world->faults[world->fault_count].at_ms)->index = (int)world->fault_count;
	world->fault_count++;
}

#define FLOOD_EVERY 12 /* one seed in so many; not drawn, as above */
#define FLOOD_PLANS (LIMIT_WINDOW + 100)

/* More for one neighbour than a window holds, written in the time that a turn or two take: what stands behind
 * the window must be asked of the store while more comes. */
static void plan_flood(struct world *world)
{
	size_t origin = (size_t)(random_mix(world->seed) % world->node_count);
	uint32_t to = world->nodes[origin].role == ROLE_ID_DESK ? 91001 : SIM_FIRST_DESK;
	if (random_mix(world->seed ^ 0xf100d) % FLOOD_EVERY != 0)
		return;
	for (int i = 0; i < FLOOD_PLANS; i++) {
		struct sim_plan *plan = &world->plans[world->plan_count];
		int64_t at_ms = world->active_ms / 2 + 10 * i;
		*plan = (struct sim_plan){.at_ms = at_ms, .origin = origin, .kind = 6, .nodes = {to}, .node_count = 1,
			.precedence = PRECEDENCE_ROUTINE, .body_len = 20, .lifetime_s = 24 * 3600};
		struct happening *write = world_schedule(world, HAPPENS_AUTHOR, at_ms);
		write->node = &world->nodes[origin];
		write->index = (int)world->plan_count++;
	}
}

void plan_make(struct world *world)
{
	struct sim_random *random = &world->random;
	world->active_ms = random_scale(random, 2 * SIM_HOUR, 16 * SIM_HOUR);
	if (random_chance(random, 10))
		world->active_ms = random_range(random, 48, 96) * SIM_HOUR;
	world->grace_ms = random_range(random, 2, 8) * SIM_HOUR;
	if (random_chance(random, 5))
		world->grace_ms = 72 * SIM_HOUR;
	world->presence_ms = random_range(random, 5, 20) * SIM_MINUTE;
	world->end_ms = world->active_ms + 30 * SIM_HOUR + world->grace_ms;
	world->profile = (struct link_profile){.keepalive_ms = 240000, .dead_ms = 900000, .retransmit_ms = 60000};
	if (world->active_ms < 6 * SIM_HOUR && random_chance(random, 50))
		world->profile = (struct link_profile){.keepalive_ms = 20000, .dead_ms = 65000, .retransmit_ms = 10000};
	plan_directory(world);
	world->plan_count = (size_t)random_range(random, 60, 150);
	world->plans = sim_alloc((world->plan_count + LONE_PLANS + FLOOD_PLANS) * sizeof(*world->plans));
	for (size_t i = 0; i < world->plan_count; i++)
		plan_message(world, i);
	world->fault_count = (size_t)random_range(random, 3, world->node_count > 12 ? 20 : 9);
	world->faults = sim_alloc((world->fault_count + LONE_FAULTS + 1) * sizeof(*world->faults));
	for (size_t i = 0; i < world->fault_count; i++) {
		plan_one_fault(world, i);
		world_schedule(world, HAPPENS_FAULT, world->faults[i].at_ms)->index = (int)i;
	}
	plan_lone_rollback(world);
	plan_mute(world);
	plan_flood(world);
}

static void replace_disk(struct world *world, const struct sim_fault *fault, struct sim_node *node)
{
	disk_clear(&node->disk);
	if (fault->type != FAULT_WIPE && node->has_copy)
		disk_copy(&node->copy, &node->disk);
	if (fault->type == FAULT_ROLLBACK)
		node->identity_epoch++; /* the identity was not put back with the store: the start sees the mismatch */
	if (fault->type == FAULT_SILENT_ROLLBACK) { /* the whole machine was put back: only the neighbours know */
		struct sim_meta meta = {.epoch = 0};
		struct disk_key key = disk_key_none();
		const struct disk_row *row = disk_get(&node->disk, DISK_META, &key);
		if (row != NULL)
			memcpy(&meta, row->data, sizeof(meta));
		node->identity_epoch = meta.epoch;
		node->starts = node->copy_starts;
	}
	node->generation++;
	node->generation_ms = world->now_ms;
	world->figures->branches[fault->type != FAULT_WIPE ? BRANCH_ROLLED_BACK : node->role == ROLE_ID_CP ? BRANCH_CP_LOST
	    : node->role == ROLE_ID_DESK ? BRANCH_DESK_LOST : BRANCH_NSP_LOST]++;
	world->counts = world->counts || fault->type != FAULT_WIPE || node->role == ROLE_ID_CP;
	check_disk_replaced(node);
}

static void tell_fault(struct world *world, const struct sim_fault *fault)
{
	static const char *const names[FAULT_TYPE_COUNT] = {"crash", "commit fails", "disk wiped", "disk rolled back", "machine rolled back",
		"disk copied", "cut", "black hole", "one way", "lossy", "disk full", "slow disk", "clock", "clock in 2024", "liar", "alone", "mute"};
	const struct sim_wire *wire = &world->wires[fault->wire];
	trace(world, &world->nodes[fault->node], NULL, "FAULT %s (wire %u-%u) for %lld s", names[fault->type], wire->ends[0].node->number,
	    wire->ends[1].node->number, (long long)fault->lasts_ms / 1000);
	world->figures->faults[fault->type]++;
}

bool plan_leaves_out(const uint8_t *mask, size_t index)
{
	return index < SIM_LEFT_OUT && mask[index / 8] >> (index % 8) & 1;
}

void plan_fault(struct world *world, const struct sim_fault *fault)
{
	if (plan_leaves_out(world->options.no_faults, (size_t)(fault - world->faults)))
		return;
	struct sim_node *node = &world->nodes[fault->node];
	struct sim_wire *wire = &world->wires[fault->wire];
	struct sim_end *end = &wire->ends[fault->side];
	if (fault->type == FAULT_SILENT_ROLLBACK && !node->has_copy)
		return; /* an identity that never was has nothing to go back to */
	tell_fault(world, fault);
	if (fault->type == FAULT_CRASH && node->doom == NULL && random_chance(&world->random, 80)) {
		node->doom = fault; /* in the middle of a turn, else nearly all would fall between two */
		return;
	}
	switch (fault->type) {
	case FAULT_CRASH: case FAULT_WIPE: case FAULT_ROLLBACK: case FAULT_SILENT_ROLLBACK:
		if (node->is_on)
			node_stop(node, true);
		if (fault->type != FAULT_CRASH)
			replace_disk(world, fault, node);
		break;
	case FAULT_COMMIT_FAILS: node->fails_commits = true; break;
	case FAULT_COPY:
		disk_clear(&node->copy);
		disk_copy(&node->disk, &node->copy);
		node->copy_starts = node->starts;
		node->has_copy = node->disk.tables[DISK_META].count > 0;
		break;
	case FAULT_CUT:
		wire->is_cut = true;
		wire_drop(wire, 60000);
		break;
	case FAULT_BLACK_HOLE: wire->is_cut = true; break; /* nobody is told */
	case FAULT_ONE_WAY: end->is_deaf = true; break;
	case FAULT_LOSSY:
		end->loss = end->other->loss = 25;
		end->duplicate = end->reorder = 15;
		break;
	case FAULT_ALONE:
		for (size_t i = 0; i < node->end_count; i++) {
			node->ends[i]->wire->is_cut = true;
			wire_drop(node->ends[i]->wire, 1000);
		}
		break;
	case FAULT_FULL: node->is_full = true; break;
	case FAULT_SLOW_DISK: node->is_slow = true; break;
	case FAULT_CLOCK: node->wall_skew_ms += random_range(&world->random, -SIM_HOUR, SIM_HOUR); break;
	case FAULT_CLOCK_2024: /* the battery of the clock was empty: it starts in 2024, and nobody has said what time it is */
		if (node->is_on)
			node_stop(node, true);
		node->wall_skew_ms = -YEARS_BACK_MS;
		node->clock = CLOCK_UNKNOWN;
		node_boot(node);
		break;
	case FAULT_LIAR: end->lies = true; break;
	case FAULT_MUTE: end->is_mute = true; break;
	case FAULT_TYPE_COUNT: break;
	}
	struct happening *ends = world_schedule(world, HAPPENS_FAULT_ENDS, world->now_ms + fault->lasts_ms);
	ends->index = (int)(fault - world->faults);
}

void plan_doom(struct sim_node *node)
{
	const struct sim_fault *fault = node->doom;
	struct world *world = node->world;
	if (fault == NULL)
		return;
	node->doom = NULL;
	trace(world, node, NULL, "crashes while %s", node->waiting != NULL ? "a turn is being committed" : "idle");
	node_stop(node, true);
	world_schedule(world, HAPPENS_FAULT_ENDS, world->now_ms + fault->lasts_ms)->index = (int)(fault - world->faults);
}

/* What it said still stands in the counts of its session: the honest one that takes its place begins anew. */
static void lie_ends(struct sim_end *end)
{
	if (!end->lies)
		return;
	end->lies = false;
	lie_forget(end);
	if (!end->wire->is_cut) {
		wire_drop(end->wire, 1000);
		wire_connect(end->wire, 2000, 30000);
	}
}

void plan_fault_ends(struct world *world, const struct sim_fault *fault)
{
	struct sim_node *node = &world->nodes[fault->node];
	struct sim_wire *wire = &world->wires[fault->wire];
	struct sim_end *end = &wire->ends[fault->side];
	switch (fault->type) {
	case FAULT_CRASH: case FAULT_WIPE: case FAULT_ROLLBACK: case FAULT_SILENT_ROLLBACK:
		if (!node->is_on)
			node_boot(node);
		break;
	case FAULT_CUT: case FAULT_BLACK_HOLE:
		wire->is_cut = false;
		wire_connect(wire, 500, 30000);
		break;
	case FAULT_ALONE:
		for (size_t i = 0; i < node->end_count; i++) {
			node->ends[i]->wire->is_cut = false;
			wire_connect(node->ends[i]->wire, 500, 30000);
		}
		break;
	case FAULT_ONE_WAY: end->is_deaf = false; break;
	case FAULT_LOSSY: end->loss = end->other->loss = end->duplicate = end->reorder = 0; break;
	case FAULT_FULL: node->is_full = false; break;
	case FAULT_SLOW_DISK: node->is_slow = false; break;
	case FAULT_CLOCK_2024: /* set by hand, or by a satellite */
		node->wall_skew_ms = random_range(&world->random, -5 * SIM_MINUTE, 5 * SIM_MINUTE);
		node->clock = random_chance(&world->random, 50) ? CLOCK_MANUAL : CLOCK_GNSS;
		break;
	case FAULT_LIAR: lie_ends(end); break;
	case FAULT_MUTE: end->is_mute = false; break;
	case FAULT_COMMIT_FAILS: case FAULT_COPY: case FAULT_CLOCK: case FAULT_TYPE_COUNT: break;
	}
}

/* ---------------------------------------------------------------- the quiet end */

static void answer_what_waits(struct sim_node *node)
{
	const struct disk_rows *inbox = &node->disk.tables[DISK_INBOX];
	for (size_t i = 0; i < inbox->count; i++) {
		struct message_id id;
		struct custody custody;
		memcpy(&id, inbox->rows[i]->data, sizeof(id));
		struct disk_key key = disk_key_id(&id);
		const struct disk_row *row = disk_get(&node->disk, DISK_CUSTODY, &key);
		if (row == NULL || custody_decode((struct slice){row->data, row->len}, &custody) != CPD_OK)
			continue;
		const struct sim_message *message = message_known(node->world, &id, &custody.hash);
		if (message != NULL && !level_closes(custody.local_level, message->closing_level))
			plan_operate_soon(node, message);
		custody_clear(&custody);
	}
}

/* A person who held a message looks again: the act that freed it may have gone with a disk, or met a machine that was off. */
static void free_what_is_held(struct sim_node *node)
{
	const struct disk_rows *table = &node->disk.tables[DISK_CUSTODY];
	for (size_t i = 0; i < table->count; i++) {
		struct custody custody;
		if (custody_decode((struct slice){table->rows[i]->data, table->rows[i]->len}, &custody) != CPD_OK)
			continue;
		if (custody.flags & CUSTODY_IS_HELD && custody.flags & CUSTODY_IS_ORIGIN && !(custody.flags & CUSTODY_IS_CLOSED))
			act_later(node, &custody.id, ACT_RELEASE, SIM_MINUTE);
		custody_clear(&custody);
	}
}

/* Nothing waits anywhere, and every origin has let go of all it wrote. */
static bool is_at_rest(const struct world *world)
{
	for (size_t i = 0; i < world->node_count; i++) {
		const struct sim_node *node = &world->nodes[i];
		if (node->is_fenced)
			continue;
		const struct relay_counters *counters = relay_counters(node->relay);
		if (node->disk.tables[DISK_QUEUE].count > 0 || node->disk.tables[DISK_TIMERS].count > 0 || counters->floor != counters->next_sequence)
			return false;
	}
	return true;
}

/* Faults stop, machines start, links heal; people answer what they left. Comes again every hour. */
void plan_heal(struct world *world)
{
	bool is_first = !world->is_healed;
	world->is_healed = true;
	if (is_first)
		trace(world, NULL, NULL, "everything heals");
	for (size_t i = 0; i < world->wire_count && is_first; i++) {
		struct sim_wire *wire = &world->wires[i];
		bool was_cut = wire->is_cut;
		wire->is_cut = false;
		for (int e = 0; e < 2; e++) {
			struct sim_end *end = &wire->ends[e];
			end->is_deaf = end->is_mute = false;
			end->loss = end->duplicate = end->reorder = 0;
			lie_ends(end);
		}
		if (was_cut)
			wire_connect(wire, 500, 30000);
	}
	for (size_t i = 0; i < world->node_count; i++) {
		struct sim_node *node = &world->nodes[i];
		node->is_full = node->is_slow = node->fails_commits = false;
		node->doom = NULL;
		if (node->is_fenced)
			continue;
		if (!node->is_on)
			node_boot(node);
		answer_what_waits(node);
		free_what_is_held(node);
	}
	if (!is_first && is_at_rest(world) && world->end_ms > world->now_ms + SIM_HOUR)
		world->end_ms = world->now_ms + SIM_HOUR; /* time for the last floors to be told */
	world_schedule(world, HAPPENS_HEAL, world->now_ms + SIM_HOUR);
}
