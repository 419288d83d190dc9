/* node.c: a simulated host. It does what the head of daemon/relay/relay.h prescribes and nothing more:
 * so what holds here holds for daemon/node.c as far as that does the same. */
#include <stdlib.h>
#include <string.h>

#include "proto/leaf.h"
#include "test/sim/make_verified.h"
#include "test/sim/sim.h"

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

static struct slice slice_of(const struct disk_row *row)
{
	return (struct slice){row->data, row->len};
}

static struct sim_end *end_of(struct sim_node *node, uint32_t peer)
{
	for (size_t i = 0; i < node->end_count; i++)
		if (node->ends[i]->peer == peer)
			return node->ends[i];
	return NULL;
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
	read_meta(node, &meta);
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
	for (size_t i = 0; i < node->end_count; i++)
		wire_connect(node->ends[i]->wire, 50, 3000);
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
	node->boot++;
	for (size_t i = 0; i < node->end_count; i++) {
		link_free(node->ends[i]->link);
		node->ends[i]->link = NULL;
		node->ends[i]->session++;
		node->ends[i]->is_told_up = node->ends[i]->was_up = false;
		wire_drop(node->ends[i]->wire, 60000);
	}
}

/* The store refused, or a new epoch begins: as a restart, without the time between. */
static void node_rebuild(struct sim_node *node)
{
	node_stop(node, false);
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
	if (old == NULL || old->origin != node || old->successor != NULL || old->body_len > 0)
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

/* ---------------------------------------------------------------- decide */

struct decision { struct sim_node *node; struct sim_batch *batch; struct moment now; };

static void settle(struct decision *turn, uint32_t peer, uint64_t serial, enum cpd_reason reason)
{
	struct sim_batch *batch = turn->batch;
	struct sim_end *end = end_of(turn->node, peer);
	link_settle(end->link, serial, reason, batch->turn);
	batch->settled = realloc(batch->settled, (batch->settled_count + 1) * sizeof(*batch->settled));
	batch->settled[batch->settled_count++] = (struct sim_settled){.end = end, .serial = serial, .reason = reason};
	if (reason != REFUSED_NONE)
		turn->node->world->figures->refusals[reason & 63]++;
}

static enum cpd_error hand_in(struct decision *turn, const struct relay_event *event, struct relay_facts *facts)
{
	struct sim_node *node = turn->node;
	static struct custody held[RELAY_KEYS_MAX];
	struct message_id keys[RELAY_KEYS_MAX];
	size_t count = relay_keys_of(node->relay, event, keys);
	for (size_t i = 0; i < count; i++) {
		struct disk_key key = disk_key_id(&keys[i]);
		const struct disk_row *row = disk_get(&node->disk, DISK_CUSTODY, &key);
		facts->custody[i] = NULL;
		custody_init(&held[i]);
		if (row == NULL)
			continue;
		if (custody_decode(slice_of(row), &held[i]) != CPD_OK)
			fail(node->world, node, &keys[i], "a custody record cannot be read back");
		else
			facts->custody[i] = &held[i];
	}
	enum cpd_error error = relay_handle(node->relay, event, facts, &turn->now);
	for (size_t i = 0; i < count; i++)
		custody_clear(&held[i]);
	if (error != CPD_OK && (event->type != RELAY_OPERATE || error == CPD_ERR_NOMEM))
		fail(node->world, node, NULL, "relay_handle of event %d says: %s", (int)event->type, cpd_error_text(error));
	return error;
}

static void take_message(struct decision *turn, struct sim_input *input)
{
	struct sim_node *node = turn->node;
	struct slice item = {input->bytes, input->len};
	struct slice envelope;
	struct trailer trailer;
	struct verified_message verified;
	struct relay_facts facts = {.holds_receipts = false};
	uint8_t held[LIMIT_LEAVES / 8 + 1] = {0};
	struct relay_event *event = &input->event;

	if (message_item_decode(item, &envelope, &trailer) != CPD_OK || make_verified_message(envelope, &verified) != CPD_OK) {
		fail(node->world, node, NULL, "a message came over a link changed");
		return;
	}
	const struct message_id *id = &verified.message.header.id;
	event->message = &verified;
	event->trailer = &trailer;
	event->store_admits = !node->is_full || verified.message.header.precedence >= PRECEDENCE_IMMEDIATE;
	for (uint32_t i = 0; i < tree_leaf_count(verified.message.header.large_length); i++) {
		struct disk_key key = disk_key_leaf(id, i);
		if (disk_get(&node->disk, DISK_LEAVES, &key) != NULL)
			held[i / 8] |= (uint8_t)(1u << (i % 8));
	}
	event->held = (struct slice){held, (tree_leaf_count(verified.message.header.large_length) + 7) / 8};
	check_arrived(end_of(node, event->link), event->serial, id);
	trace(node->world, node, id, "came from %u, retry %u, for %zu, after epoch %u", event->link, trailer.retry, trailer.recipient_count, trailer.after_epoch);
	(void)!hand_in(turn, event, &facts);
	trailer_clear(&trailer);
}

static void take_receipts(struct decision *turn, struct relay_event *event, struct slice bytes)
{
	struct sim_node *node = turn->node;
	static struct verified_receipts verified;
	struct relay_facts facts = {.holds_receipts = false};
	if (make_verified_receipts(bytes, &verified) != CPD_OK) {
		fail(node->world, node, NULL, "a receipts record came over a link changed");
		return;
	}
	struct message_id name = {verified.receipts.witness, verified.receipts.epoch, verified.receipts.counter};
	struct disk_key key = disk_key_id(&name);
	const struct disk_row *row = disk_get(&node->disk, DISK_RECEIPTS, &key);
	facts.holds_receipts = row != NULL;
	if (row != NULL)
		memcpy(&facts.receipts_forwarded_ms, row->data, 8);
	for (size_t i = 0; i < verified.receipts.count; i++) {
		const struct receipt_entry *entry = &verified.receipts.entries[i];
		trace(node->world, node, &entry->subject, "receipt %s of %u/%u/%llu %s %u", level_name(entry->level), name.origin, name.epoch,
		    (unsigned long long)name.sequence, event->link == 0 ? "signed here" : "from", event->link);
	}
	event->receipts = &verified;
	(void)!hand_in(turn, event, &facts);
}

static void take_leaf(struct decision *turn, struct sim_input *input)
{
	struct sim_node *node = turn->node;
	struct relay_event *event = &input->event;
	struct relay_facts facts = {.holds_receipts = false};
	struct tree_path path;
	if (leaf_item_decode((struct slice){input->bytes, input->len}, &event->id, &event->leaf_index, &event->leaf, &path) != CPD_OK) {
		fail(node->world, node, NULL, "a leaf came over a link changed");
		return;
	}
	struct sim_message *message = message_held(node, &event->id);
	if (message == NULL)
		message = message_known(node->world, &event->id, NULL); /* its record is not yet on the disk */
	if (message == NULL || message->body_len == 0 || tree_verify_leaf(message->root, message->body_len, event->leaf_index, event->leaf, &path, cheap_hash) != CPD_OK) {
		settle(turn, event->link, event->serial, REFUSED_MALFORMED);
		return;
	}
	(void)!hand_in(turn, event, &facts);
}

static void take_authored(struct decision *turn, struct sim_input *input)
{
	struct sim_node *node = turn->node;
	struct relay_facts facts = {.holds_receipts = false};
	struct verified_message verified;
	uint8_t held[LIMIT_LEAVES / 8 + 1];
	if (input->plan >= 0 ? !plan_author(node, input->plan, input) : !plan_reissue(node, input->reissue, input))
		return;
	struct sim_message *message = input->authored;
	struct slice envelope = {message->envelope, message->envelope_len};
	if (make_verified_message(envelope, &verified) != CPD_OK) {
		fail(node->world, node, &message->id, "an authored message does not verify");
		return;
	}
	memset(held, 0xff, sizeof(held));
	for (uint32_t i = 0; i < tree_leaf_count(message->body_len); i++)
		batch_put(&turn->batch->changes, DISK_LEAVES, disk_key_leaf(&message->id, i), message->body + (size_t)i * LIMIT_LEAF,
		    tree_leaf_length(message->body_len, i));
	input->event.type = RELAY_MESSAGE;
	input->event.message = &verified;
	input->event.store_admits = true;
	input->event.held = (struct slice){held, (tree_leaf_count(message->body_len) + 7) / 8};
	turn->batch->authored[turn->batch->authored_count++] = message;
	input->authored = NULL;
	trace(node->world, node, &message->id, "authored: kind %u, %s, for %zu, %u bytes large", message->kind, precedence_name(message->precedence),
	    message->outcome_count, message->body_len);
	(void)!hand_in(turn, &input->event, &facts);
}

/* Rows are read when they are handed in, as facts are: what the relay was told is committed is in them. */
static void take_rows(struct decision *turn, struct sim_input *input)
{
	struct sim_node *node = turn->node;
	struct relay_event *event = &input->event;
	struct relay_facts facts = {.holds_receipts = false};
	struct relay_row rows[RELAY_ROWS_MAX];
	struct disk_key from = disk_key_queue(event->link, event->precedence, event->ref.counter + 1);
	struct disk_key prefix = disk_key_queue(event->link, event->precedence, 0);
	const struct disk_rows *table = &node->disk.tables[DISK_QUEUE];
	prefix.len = 5;
	size_t at = disk_seek(&node->disk, DISK_QUEUE, &from);
	while (at < table->count && disk_has_prefix(table->rows[at], &prefix) && event->row_count < RELAY_ROWS_MAX)
		memcpy(&rows[event->row_count++], table->rows[at++]->data, sizeof(rows[0]));
	event->rows = rows;
	event->rows_end = at == table->count || !disk_has_prefix(table->rows[at], &prefix);
	(void)!hand_in(turn, event, &facts);
}

static bool is_wanted_own(const struct sim_node *node, const struct disk_row *row)
{
	struct custody custody;
	if (custody_decode(slice_of(row), &custody) != CPD_OK) {
		fail(node->world, node, NULL, "a custody record cannot be read back");
		return false;
	}
	bool is_wanted = !(custody.flags & CUSTODY_IS_FINAL);
	custody_clear(&custody);
	return is_wanted;
}

static void take_own(struct decision *turn, struct sim_input *input)
{
	struct sim_node *node = turn->node;
	struct relay_event *event = &input->event;
	struct relay_facts facts = {.holds_receipts = false};
	struct message_id own[RELAY_ROWS_MAX];
	bool is_floor = event->own_node == node->number;
	struct disk_key prefix = disk_key_origin(node->number);
	struct disk_key from = event->id.origin == 0 ? prefix : disk_key_id(&event->id); /* no id: from the first on */
	const struct disk_rows *table = &node->disk.tables[DISK_CUSTODY];
	size_t at = disk_seek(&node->disk, DISK_CUSTODY, &from);
	for (; at < table->count && disk_has_prefix(table->rows[at], &prefix) && event->own_count < RELAY_ROWS_MAX; at++) {
		struct message_id id;
		disk_read_id(table->rows[at]->key.bytes, &id);
		if (!is_floor && (message_id_compare(&id, &event->id) <= 0 || !is_wanted_own(node, table->rows[at])))
			continue;
		own[event->own_count++] = id;
	}
	event->own = own;
	event->own_end = at == table->count || !disk_has_prefix(table->rows[at], &prefix);
	(void)!hand_in(turn, event, &facts);
}

static void take_input(struct decision *turn, struct sim_input *input)
{
	struct sim_node *node = turn->node;
	struct relay_facts facts = {.holds_receipts = false};
	struct relay_event *event = &input->event;
	switch (event->type) {
	case RELAY_MESSAGE:
		if (input->plan >= 0 || input->reissue != NULL)
			take_authored(turn, input);
		else
			take_message(turn, input);
		break;
	case RELAY_RECEIPTS:
		take_receipts(turn, event, (struct slice){input->bytes, input->len});
		break;
	case RELAY_LEAF:
		take_leaf(turn, input);
		break;
	case RELAY_HEARD: {
		struct verified_presence verified;
		if (make_verified_presence((struct slice){input->bytes, input->len}, &verified) != CPD_OK) {
			fail(node->world, node, NULL, "a presence record came over a link changed");
			break;
		}
		event->presence = &verified;
		(void)!hand_in(turn, event, &facts);
		break;
	}
	case RELAY_ROWS:
		take_rows(turn, input);
		break;
	case RELAY_OWN:
		take_own(turn, input);
		break;
	case RELAY_OPERATE: {
		enum cpd_error error = hand_in(turn, event, &facts);
		node->world->figures->branches[error == CPD_OK ? BRANCH_OPERATED : BRANCH_OPERATE_REFUSED]++;
		trace(node->world, node, &event->id, "act %d: %s", (int)event->act, cpd_error_text(error));
		break;
	}
	case RELAY_ACKED: case RELAY_REFUSED: case RELAY_RETURNED: case RELAY_WANTED:
		trace(node->world, node, event->ref.type == ITEM_TYPE_MESSAGE ? &event->ref.id : NULL, "%s by %u, row %llu, reason %s",
		    event->type == RELAY_ACKED ? "acknowledged" : event->type == RELAY_REFUSED ? "refused" : event->type == RELAY_WANTED ? "wanted" : "returned",
		    event->link, (unsigned long long)event->ref.counter, reason_name(event->reason));
		(void)!hand_in(turn, event, &facts);
		break;
	default:
		(void)!hand_in(turn, event, &facts);
		break;
	}
}

/* Signs what the relay witnessed, grouped by origin, and hands it in; until nothing is left. */
static void sign_witnesses(struct decision *turn)
{
	struct sim_node *node = turn->node;
	static struct { struct receipt_entry entry; enum precedence precedence; } taken[512];
	static struct receipts receipts;
	size_t count = 0;
	while (count < 512 && relay_take_witness(node->relay, &taken[count].entry, &taken[count].precedence))
		count++;
	while (count > 0) {
		uint8_t bytes[LIMIT_RECEIPTS];
		uint8_t record[LIMIT_RECEIPTS + 128];
		size_t len;
		size_t kept = 0;
		struct relay_event event = {.type = RELAY_RECEIPTS};
		memset(&receipts, 0, sizeof(receipts));
		receipts.witness = node->number;
		receipts.epoch = node_epoch(node);
		receipts.counter = relay_counters(node->relay)->receipt_counter;
		receipts.time_s = turn->now.wall_ms > 0 ? (uint32_t)(turn->now.wall_ms / 1000) : 0;
		receipts.origin = taken[0].entry.subject.origin;
		for (size_t i = 0; i < count; i++) {
			if (taken[i].entry.subject.origin != receipts.origin || receipts.count == 8) {
				taken[kept++] = taken[i];
				continue;
			}
			receipts.entries[receipts.count++] = taken[i].entry;
			if (taken[i].precedence > event.precedence)
				event.precedence = taken[i].precedence;
		}
		count = kept;
		if (receipts_encode(&receipts, bytes, &len) != CPD_OK || cheap_sign_record((struct slice){bytes, len}, node->number, record, sizeof(record), &len) != CPD_OK) {
			fail(node->world, node, &receipts.entries[0].subject, "a receipts record cannot be encoded");
			return;
		}
		take_receipts(turn, &event, (struct slice){record, len});
	}
}

/* ---------------------------------------------------------------- effects */

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
	case EFFECT_DELETE_RECEIPTS: batch_delete(changes, DISK_RECEIPTS, id); break;
	case EFFECT_PUT_INBOX: batch_put(changes, DISK_INBOX, disk_key_number(effect->counter), &effect->id, sizeof(effect->id)); break;
	case EFFECT_DELETE_INBOX: batch_delete(changes, DISK_INBOX, disk_key_number(effect->counter)); break;
	case EFFECT_PUT_LATEST: batch_put(changes, DISK_LATEST, disk_key_pair(effect->node, effect->kind), &effect->id, sizeof(effect->id)); break;
	case EFFECT_PUT_PRESENCE: put_dated(turn, DISK_PRESENCE, disk_key_number(effect->node), effect->at_ms, effect->bytes); break;
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
	struct sim_pass pass = {.end = end_of(turn->node, effect->link), .len = effect->bytes.len, .age_s = effect->age_s};
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
	case EFFECT_SETTLE: settle(turn, effect->link, effect->serial, effect->reason); break;
	case EFFECT_WANT:
		end = end_of(node, effect->link);
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
		node_input(node, &later, false);
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

void node_turn(struct sim_node *node)
{
	struct world *world = node->world;
	struct sim_input inputs[TURN_EVENTS_MAX];
	struct relay_effect effect;
	node->turn_scheduled = false;
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
		take_input(&turn, &inputs[i]);
		sign_witnesses(&turn);
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
	while (!world->is_failed && relay_take_effect(node->relay, &effect))
		if (!take_stored(&turn, &effect))
			take_told(&turn, &effect);
	store_circuits(&turn);
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
