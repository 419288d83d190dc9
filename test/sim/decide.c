/* decide.c: a simulated host hands the relay what came, with the facts it asks for, and signs what the
 * relay witnessed. */
#include <stdlib.h>
#include <string.h>

#include "proto/leaf.h"
#include "test/sim/courier.h"
#include "test/sim/make_verified.h"
#include "test/sim/turn.h"

static struct slice slice_of(const struct disk_row *row)
{
	return (struct slice){row->data, row->len};
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

/* What a neighbour changed is found here, refused as daemon/node_gather.c does, and changes nothing. No other
 * changes anything, so the simulator or the link did. */
static void take_changed(struct decision *turn, const struct relay_event *event, enum cpd_error error, const char *what)
{
	struct sim_end *end = decision_end(turn->node, event->link);
	if (end == NULL || !end->other->has_lied) {
		fail(turn->node->world, turn->node, NULL, "%s came over a link changed: %s", what, cpd_error_text(error));
		return;
	}
	turn->node->world->figures->branches[BRANCH_LIE_FOUND]++;
	trace(turn->node->world, turn->node, NULL, "%s from %u is refused: %s", what, event->link, cpd_error_text(error));
	if (event->type != RELAY_HEARD)
		decision_settle(turn, event->link, event->serial, reason_of_error(error));
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

	enum cpd_error error = message_item_decode(item, &envelope, &trailer);
	if (error != CPD_OK) {
		take_changed(turn, event, error, "a message");
		return;
	}
	error = make_verified_message(envelope, &verified);
	if (error != CPD_OK) {
		take_changed(turn, event, error, "a message");
		trailer_clear(&trailer);
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
	if (!courier_is_serial(event->serial))
		check_arrived(decision_end(node, event->link), event->serial, id);
	else
		trailer.age_s += courier_away_s(node->world, event->serial, &turn->now);
	trace(node->world, node, id, "came from %u, retry %u, for %zu, after epoch %u", event->link, trailer.retry, trailer.recipient_count, trailer.after_epoch);
	(void)!hand_in(turn, event, &facts);
	trailer_clear(&trailer);
}

static void take_receipts(struct decision *turn, struct relay_event *event, struct slice bytes)
{
	struct sim_node *node = turn->node;
	static struct verified_receipts verified;
	struct relay_facts facts = {.holds_receipts = false};
	enum cpd_error error = make_verified_receipts(bytes, &verified);
	if (error != CPD_OK) {
		take_changed(turn, event, error, "a receipts record");
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
	enum cpd_error error = leaf_item_decode((struct slice){input->bytes, input->len}, &event->id, &event->leaf_index, &event->leaf, &path);
	if (error != CPD_OK) {
		take_changed(turn, event, error, "a leaf");
		return;
	}
	struct sim_message *message = message_held(node, &event->id);
	if (message == NULL)
		message = message_known(node->world, &event->id, NULL); /* its record is not yet on the disk */
	if (message == NULL || message->body_len == 0 || tree_verify_leaf(message->root, message->body_len, event->leaf_index, event->leaf, &path, cheap_hash) != CPD_OK) {
		decision_settle(turn, event->link, event->serial, REFUSED_MALFORMED);
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

/* As daemon/node_effects.c: read when the turn that asks is committed, handed in with a later one. What is
 * committed in between is not in them, and the relay must live with that. */
void decide_read_rows(struct sim_node *node, struct sim_input *input)
{
	struct relay_event *event = &input->event;
	struct relay_row *rows = sim_alloc(RELAY_ROWS_MAX * sizeof(*rows));
	struct disk_key from = disk_key_queue(event->link, event->precedence, event->ref.counter + 1);
	struct disk_key prefix = disk_key_queue(event->link, event->precedence, 0);
	const struct disk_rows *table = &node->disk.tables[DISK_QUEUE];
	prefix.len = 5;
	size_t at = disk_seek(&node->disk, DISK_QUEUE, &from);
	while (at < table->count && disk_has_prefix(table->rows[at], &prefix) && event->row_count < RELAY_ROWS_MAX)
		memcpy(&rows[event->row_count++], table->rows[at++]->data, sizeof(rows[0]));
	event->rows = input->rows = rows;
	event->rows_end = at == table->count || !disk_has_prefix(table->rows[at], &prefix);
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

void decide_input(struct decision *turn, struct sim_input *input)
{
	struct sim_node *node = turn->node;
	struct relay_facts facts = {.holds_receipts = false};
	struct relay_event *event = &input->event;
	if (input->is_unknown) {
		take_changed(turn, event, CPD_ERR_MALFORMED, "an item of an unknown type");
		return;
	}
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
		enum cpd_error error = make_verified_presence((struct slice){input->bytes, input->len}, &verified);
		if (error != CPD_OK) {
			take_changed(turn, event, error, "a presence record");
			break;
		}
		event->presence = &verified;
		(void)!hand_in(turn, event, &facts);
		break;
	}
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
void decide_witnesses(struct decision *turn)
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
