/* feed.c: a simulated host between its links and its relay: what a link tells becomes an input of the
 * next turn; what is committed and ready becomes frames. */
#include <stdlib.h>
#include <string.h>

#include "proto/leaf.h"
#include "test/sim/sim.h"

/* ---------------------------------------------------------------- in */

/* The highest epoch and sequence of the peer, as an origin, that this disk holds. */
void feed_greeting(struct sim_end *end, struct link_greeting *out)
{
	struct sim_node *node = end->node;
	struct disk_key after = disk_key_origin(end->peer + 1);
	struct moment now;
	memset(out, 0, sizeof(*out));
	size_t at = disk_seek(&node->disk, DISK_CUSTODY, &after);
	if (at > 0) {
		struct message_id id;
		disk_read_id(node->disk.tables[DISK_CUSTODY].rows[at - 1]->key.bytes, &id);
		if (id.origin == end->peer) {
			out->seen_epoch = id.epoch;
			out->seen_sequence = id.sequence;
		}
	}
	node_now(node, &now);
	out->claim = node->claim;
	out->instance = node->instance;
	out->clock_ms = now.wall_ms;
	out->clock_quality = now.quality;
}

static void input_bytes(struct sim_input *input, struct slice bytes)
{
	input->bytes = sim_alloc(bytes.len);
	memcpy(input->bytes, bytes.data, bytes.len);
	input->len = bytes.len;
}

static void session_is_up(struct sim_end *end, const struct link_event *event)
{
	struct sim_node *node = end->node;
	struct world *world = node->world;
	const struct frame_hello *hello = &event->hello;
	uint32_t epoch = node_epoch(node);
	struct sim_input input = {.plan = -1, .event = {.type = RELAY_LINK_UP, .link = end->peer}};
	end->was_up = true;
	check_circuit(end, hello->epoch);
	world->figures->branches[BRANCH_SESSIONS]++;
	trace(world, node, NULL, "session with %u is up: it has seen %u/%llu of us", end->peer, hello->seen_epoch, (unsigned long long)hello->seen_sequence);
	/* Somebody has heard us say more than we remember: our store is old, its sequences are taken. */
	if (hello->seen_epoch > epoch || (hello->seen_epoch == epoch && hello->seen_sequence >= relay_next_sequence(node->relay)))
		node->raise_to = hello->seen_epoch + 1 > node->raise_to ? hello->seen_epoch + 1 : node->raise_to;
	node_input(node, &input, true);
}

static void item_has_come(struct sim_end *end, const struct link_event *event)
{
	struct sim_input input = {.plan = -1};
	switch (event->item_type) {
	case ITEM_TYPE_MESSAGE: input.event.type = RELAY_MESSAGE; break;
	case ITEM_TYPE_RECEIPTS: input.event.type = RELAY_RECEIPTS; break;
	case ITEM_TYPE_LEAF: input.event.type = RELAY_LEAF; break;
	default:
		input.is_unknown = true; /* malformed, as in daemon/node_gather.c */
		break;
	}
	check_raised(end, event->serial);
	input.event.link = end->peer;
	input.event.serial = event->serial;
	input.event.precedence = event->precedence;
	input_bytes(&input, event->bytes);
	node_input(end->node, &input, event->precedence == PRECEDENCE_FLASH);
}

static void ref_has_ended(struct sim_end *end, const struct link_event *event, enum relay_event_type type)
{
	struct sim_input input = {.plan = -1, .event = {.type = type, .link = end->peer, .ref = event->ref, .reason = event->reason}};
	end->is_answered = end->is_answered || type != RELAY_RETURNED;
	if (type == RELAY_WANTED) {
		input_bytes(&input, event->held);
		input.event.held = (struct slice){input.bytes, input.len};
	} else {
		check_taken_back(end, &event->ref);
	}
	if (type == RELAY_RETURNED)
		end->node->world->figures->branches[BRANCH_RETURNED]++;
	node_input(end->node, &input, event->ref.precedence == PRECEDENCE_FLASH);
}

/* The alarm names the cure: a new epoch on the node that was put back. Somebody does it, some time later. */
static void operator_is_called(struct sim_end *end)
{
	struct world *world = end->node->world;
	struct happening *cure = world_schedule(world, HAPPENS_NEW_EPOCH, world->now_ms + random_range(&world->random, SIM_MINUTE, SIM_HOUR));
	cure->node = end->other->node;
	cure->index = (int)node_epoch(cure->node);
}

static void take_event(struct sim_end *end, const struct link_event *event)
{
	struct world *world = end->node->world;
	struct sim_input input = {.plan = -1};
	switch (event->type) {
	case LINK_EVENT_UP: session_is_up(end, event); break;
	case LINK_EVENT_ITEM: item_has_come(end, event); break;
	case LINK_EVENT_ACKED: ref_has_ended(end, event, RELAY_ACKED); break;
	case LINK_EVENT_REFUSED: ref_has_ended(end, event, RELAY_REFUSED); break;
	case LINK_EVENT_RETURNED: ref_has_ended(end, event, RELAY_RETURNED); break;
	case LINK_EVENT_WANT: ref_has_ended(end, event, RELAY_WANTED); break;
	case LINK_EVENT_PRESENCE:
		input.event.type = RELAY_HEARD;
		input.event.link = end->peer;
		input.event.presence_age_s = event->age_s;
		input_bytes(&input, event->bytes);
		node_input(end->node, &input, false);
		break;
	case LINK_EVENT_GAP: world->figures->branches[BRANCH_GAP]++; break;
	case LINK_EVENT_ROLLED_BACK:
		world->figures->branches[BRANCH_PEER_ROLLED_BACK]++;
		trace(world, end->node, NULL, "peer %u holds less than it acknowledged", end->peer);
		operator_is_called(end);
		break;
	case LINK_EVENT_INTRODUCTION: case LINK_EVENT_DIRECTORY: break;
	}
}

void end_drain(struct sim_end *end)
{
	struct link_event event;
	while (end->link != NULL && !end->node->world->is_failed && link_next_event(end->link, &event))
		take_event(end, &event);
}

/* ---------------------------------------------------------------- out */

static bool build_message(struct sim_end *end, const struct item_ref *ref, uint8_t *buf, size_t *len)
{
	struct sim_node *node = end->node;
	struct disk_key key = disk_key_id(&ref->id);
	const struct disk_row *row = disk_get(&node->disk, DISK_CUSTODY, &key);
	const struct disk_row *envelope = disk_get(&node->disk, DISK_ENVELOPES, &key);
	struct custody custody;
	struct trailer trailer;
	struct moment now;
	bool is_built = false;
	if (row == NULL || envelope == NULL || custody_decode((struct slice){row->data, row->len}, &custody) != CPD_OK)
		return false;
	node_now(node, &now);
	if (relay_make_trailer(node->relay, &custody, ref, end->peer, &now, &trailer) == CPD_OK) {
		is_built = message_item_encode((struct slice){envelope->data, envelope->len}, &trailer, buf, len) == CPD_OK;
		if (!is_built)
			fail(node->world, node, &ref->id, "a message item cannot be encoded");
		trailer_clear(&trailer);
	}
	custody_clear(&custody);
	return is_built;
}

static bool build_leaf(struct sim_end *end, const struct item_ref *ref, uint8_t *buf, size_t *len)
{
	struct sim_message *message = message_held(end->node, &ref->id);
	struct disk_key key = disk_key_leaf(&ref->id, ref->index);
	const struct disk_row *row = disk_get(&end->node->disk, DISK_LEAVES, &key);
	struct tree_path path;
	return message != NULL && row != NULL && tree_path(message->tree, ref->index, &path) == CPD_OK
	    && leaf_item_encode(&ref->id, ref->index, (struct slice){row->data, row->len}, &path, buf, len) == CPD_OK;
}

static bool build(struct sim_end *end, const struct item_ref *ref, uint8_t *buf, size_t *len)
{
	if (ref->type == ITEM_TYPE_MESSAGE)
		return build_message(end, ref, buf, len);
	if (ref->type == ITEM_TYPE_LEAF)
		return build_leaf(end, ref, buf, len);
	struct disk_key key = disk_key_id(&ref->id);
	const struct disk_row *row = disk_get(&end->node->disk, DISK_RECEIPTS, &key);
	if (row == NULL)
		return false;
	memcpy(buf, row->data + 8, row->len - 8);
	*len = row->len - 8;
	return true;
}

static void fill_precedence(struct sim_end *end, enum precedence precedence)
{
	struct sim_node *node = end->node;
	struct item_ref ref;
	struct moment now;
	static uint8_t buf[LIMIT_ITEM];
	size_t len;
	size_t void_rows = 0;
	node_now(node, &now);
	while (!node->world->is_failed && link_can_send(end->link, precedence) && relay_next_item(node->relay, end->peer, precedence, &now, &ref)) {
		if (!build(end, &ref, buf, &len)) {
			relay_item_gone(node->relay, end->peer, &ref);
			if (++void_rows > 4 * LIMIT_WINDOW)
				fail(node->world, node, &ref.id, "relay_item_gone does not make an item go");
			continue;
		}
		check_given(end, &ref, precedence);
		trace(node->world, node, ref.type == ITEM_TYPE_RECEIPTS ? NULL : &ref.id, "to %u: type %d, row %llu, %zu bytes", end->peer, (int)ref.type,
		    (unsigned long long)ref.counter, len);
		enum cpd_error error = link_send(end->link, &ref, (struct slice){buf, len}, node->world->now_ms);
		if (error != CPD_OK)
			fail(node->world, node, &ref.id, "link_send says %s after link_can_send said yes", cpd_error_text(error));
		if (precedence == PRECEDENCE_FLASH)
			end->flash_waiting += len;
	}
}

void node_fill(struct sim_node *node)
{
	if (!node->is_on || node->world->is_failed)
		return;
	for (size_t i = 0; i < node->end_count; i++) {
		struct sim_end *end = node->ends[i];
		if (link_is_up(end->link)) {
			for (int p = PRECEDENCE_FLASH; p >= PRECEDENCE_ROUTINE; p--)
				fill_precedence(end, (enum precedence)p);
			check_queue(end);
		}
		end_pump(end);
	}
}
