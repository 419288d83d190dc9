/* node_send.c: committed items onto the links, strictly by precedence, as far as window, credit and bearer go. */
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"

#define FRAMES_AT_ONCE 64        /* of one link, before the loop looks at others */
#define GONE_AT_ONCE 64          /* items found void in a row */

void send_forget_tree(struct node_link *link)
{
	tree_free(link->tree);
	link->tree = NULL;
}

/* ---------------------------------------------------------------- building items */

/* The custody record says that it is here: then it was damaged, and was set aside. */
static enum cpd_error is_lost(enum cpd_error error)
{
	return error == CPD_ERR_NOT_FOUND ? CPD_ERR_DAMAGED : error;
}

enum cpd_error send_build_message(struct node *node, const struct message_id *id, const struct trailer *trailer, uint8_t *buf, size_t *len)
{
	struct store_key key = store_key_id(id);
	uint8_t *envelope = NULL;
	size_t envelope_len;
	enum cpd_error error = is_lost(node_load(node, TABLE_ENVELOPES, &key, &envelope, &envelope_len));

	if (!error)
		error = message_item_encode((struct slice){ envelope, envelope_len }, trailer, buf, len);
	free(envelope);
	return error;
}

static enum cpd_error build_message(struct node *node, struct node_link *link, const struct item_ref *ref, const struct moment *now,
    uint8_t *buf, size_t *len)
{
	struct custody custody;
	struct trailer trailer;
	enum cpd_error error = node_load_custody(node, &ref->id, &custody);

	trailer_init(&trailer);
	if (!error)
		error = relay_make_trailer(node->relay, &custody, ref, link->neighbour, now, &trailer);
	if (!error)
		error = send_build_message(node, &ref->id, &trailer, buf, len);
	trailer_clear(&trailer);
	custody_clear(&custody);
	return error;
}

enum cpd_error send_build_receipts(struct node *node, const struct item_ref *ref, uint8_t *buf, size_t *len)
{
	struct store_key key = store_key_record(ref->id.origin, ref->id.epoch, ref->id.sequence);
	uint8_t *value;
	size_t value_len;
	enum cpd_error error = node_load(node, TABLE_RECEIPTS, &key, &value, &value_len);

	if (error)
		return error;
	if (value_len <= 8 || value_len - 8 > LIMIT_ITEM) {
		free(value);
		return CPD_ERR_NOT_FOUND;
	}
	*len = value_len - 8;
	memcpy(buf, value + 8, *len);
	free(value);
	return CPD_OK;
}

/* The hashes over a whole body, kept while its leaves go over this link. */
static enum cpd_error tree_load(struct node *node, struct node_link *link, const struct message_id *id)
{
	struct custody custody;
	enum cpd_error error;

	if (link->tree && message_id_equal(&link->tree_of, id))
		return CPD_OK;
	send_forget_tree(link);
	error = node_load_custody(node, id, &custody);
	if (!error)
		error = tree_new(custody.large_length, crypto_digest, &link->tree);
	for (uint32_t i = 0; !error && i < tree_leaf_count(custody.large_length); i++) {
		struct store_key key = store_key_leaf(id, i);
		uint8_t *leaf;
		size_t len;

		error = is_lost(node_load(node, TABLE_LEAVES, &key, &leaf, &len));
		if (error)
			break;
		error = tree_add_leaf(link->tree, (struct slice){ leaf, len });
		free(leaf);
	}
	custody_clear(&custody);
	link->tree_of = *id;
	if (error)
		send_forget_tree(link);
	return error;
}

enum cpd_error send_build_leaf(struct node *node, struct node_link *link, const struct item_ref *ref, uint8_t *buf, size_t *len)
{
	struct store_key key = store_key_leaf(&ref->id, ref->index);
	struct tree_path path;
	uint8_t *leaf;
	size_t leaf_len;
	enum cpd_error error = tree_load(node, link, &ref->id);

	if (!error)
		error = tree_path(link->tree, ref->index, &path);
	if (!error)
		error = is_lost(node_load(node, TABLE_LEAVES, &key, &leaf, &leaf_len));
	if (error)
		return error;
	error = leaf_item_encode(&ref->id, ref->index, (struct slice){ leaf, leaf_len }, &path, buf, len);
	free(leaf);
	return error;
}

static enum cpd_error build(struct node *node, struct node_link *link, const struct item_ref *ref, const struct moment *now,
    uint8_t *buf, size_t *len)
{
	switch (ref->type) {
	case ITEM_TYPE_MESSAGE:
		return build_message(node, link, ref, now, buf, len);
	case ITEM_TYPE_RECEIPTS:
		return send_build_receipts(node, ref, buf, len);
	case ITEM_TYPE_LEAF:
		return send_build_leaf(node, link, ref, buf, len);
	case ITEM_TYPE_DIRECTORY:
		break;                  /* not queued: directory_send */
	}
	return CPD_ERR_NOT_FOUND;
}

/* ---------------------------------------------------------------- items to the link */

static bool send_one(struct node *node, struct node_link *link, enum precedence precedence, const struct moment *now)
{
	char id[MESSAGE_ID_TEXT_MAX];
	struct item_ref ref;

	for (int gone = 0; gone < GONE_AT_ONCE; gone++) {
		size_t len;
		enum cpd_error error;

		if (!relay_next_item(node->relay, link->neighbour, precedence, now, &ref))
			return false;
		error = build(node, link, &ref, now, node->item, &len);
		if (!error)
			error = link_send(link->link, &ref, (struct slice){ node->item, len }, now->custody_ms);
		if (!error) {
			send_window_sent(&link->window, &ref, now->custody_ms);
			return true;
		}
		if (error == CPD_ERR_BUSY || error == CPD_ERR_NOMEM) {
			struct relay_event event = { .type = RELAY_RETURNED, .link = link->neighbour, .ref = ref };
			gather_event(node, &event);
			return false;
		}
		if (error == CPD_ERR_IO) {
			node_rebuild(node, "the store cannot be read");
			return false;
		}
		if (error != CPD_ERR_NOT_FOUND)
			log_line(LOG_ERR, "item-void", "msg=%s link=%u error=\"%s\"", message_id_format(&ref.id, id), link->neighbour,
			    cpd_error_text(error));
		relay_item_gone(node->relay, link->neighbour, &ref);
		if (error == CPD_ERR_DAMAGED) {
			struct relay_event event = { .type = RELAY_LOST, .id = ref.id };
			gather_event(node, &event);
			return false;
		}
	}
	node->wants_fill = true;        /* more void rows than one pass takes */
	node_wake(node);
	return false;
}

/* FLASH goes whatever else is under way; the others wait for the window. */
static bool may_send(struct node_link *link, enum precedence precedence)
{
	return link_can_send(link->link, precedence) &&
	    (precedence == PRECEDENCE_FLASH || send_window_may(&link->window, link_under_way(link->link)));
}

/* True: the link has something new. */
static bool send_items(struct node *node, struct node_link *link, const struct moment *now)
{
	bool moved = false;

	for (int p = PRECEDENCE_FLASH; p >= PRECEDENCE_ROUTINE; p--) {
		const enum precedence precedence = (enum precedence)p;

		if (precedence == PRECEDENCE_PRIORITY || precedence == PRECEDENCE_FLASH)
			while (directory_send(node, link, precedence))
				moved = true;
		while (!node->rebuild_why && may_send(link, precedence) && send_one(node, link, precedence, now))
			moved = true;
	}
	return moved;
}

/* ---------------------------------------------------------------- frames to the bearer */

/* False: not now. */
static bool send_frame(struct node *node, struct node_link *link, const uint8_t *bytes, size_t len)
{
	enum cpd_error error = bearer_zmq_send(node->bearer, link->sessions[0].number, (struct slice){ bytes, len });

	if (!error)
		return true;
	if (error == CPD_ERR_BUSY && bytes != link->frame) {
		link->frame = malloc(len);
		if (link->frame) {
			memcpy(link->frame, bytes, len);
			link->frame_len = len;
		}
		/* Without memory the frame is lost, as on any bearer: the link sends it again. */
	}
	link->sessions[0].is_blocked = error == CPD_ERR_BUSY;
	return false;
}

void send_fill(struct node *node, struct node_link *link)
{
	struct moment now;
	size_t len;

	node_now(node, &now);
	for (unsigned count = 0; count < FRAMES_AT_ONCE; count++) {
		bool moved;

		if (node->rebuild_why || !link->session_count || link->sessions[0].is_blocked)
			return;
		if (link->frame) {
			if (!send_frame(node, link, link->frame, link->frame_len))
				return;
			free(link->frame);
			link->frame = NULL;
		}
		moved = link_is_up(link->link) && send_items(node, link, &now);
		if (link_next_frame(link->link, node->frame, &len, now.custody_ms)) {
			log_limited(LOG_ERR, "frame-not-made", link->neighbour, now.custody_ms, "link=%u", link->neighbour);
			return;
		}
		if (!len && !moved)
			return;
		if (len && !send_frame(node, link, node->frame, len))
			return;
	}
	node->wants_fill = true;
	node_wake(node);
}

void send_fill_all(struct node *node)
{
	node->wants_fill = false;
	for (size_t i = 0; i < node->link_count && !node->rebuild_why; i++)
		send_fill(node, node->links[i]);
}
