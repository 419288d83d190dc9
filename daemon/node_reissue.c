/*
 * node_reissue.c: the same words under a new id, when their id is taken by other content elsewhere
 * (this disk was an older copy of itself). The old message is superseded by the new one; the other content,
 * which waits elsewhere under that id and is nowhere here, is not: the hash tells them apart.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"
#include "daemon/node_seal.h"

/* The leaves of the old id once more, under the new one. */
static enum cpd_error large_again(struct node *node, struct turn *turn, struct work *work, struct header *header)
{
	const uint32_t len = header->large_length;
	uint8_t *body = malloc(len);
	enum cpd_error error = body ? CPD_OK : CPD_ERR_NOMEM;

	for (uint32_t i = 0; !error && i < tree_leaf_count(len); i++) {
		struct store_key key = store_key_leaf(&work->reissue, i);
		uint8_t *leaf;
		size_t leaf_len;

		error = node_load(node, TABLE_LEAVES, &key, &leaf, &leaf_len);
		if (error)
			break;
		if (leaf_len == tree_leaf_length(len, i))
			memcpy(body + (size_t)i * LIMIT_LEAF, leaf, leaf_len);
		else
			error = CPD_ERR_DAMAGED;
		free(leaf);
	}
	if (!error)
		error = author_large_body(turn, (struct slice){ body, len }, header, work);
	free(body);
	return error;
}

enum cpd_error reissue_decide(struct node *node, struct turn *turn, struct work *work, const struct moment *now)
{
	struct store_key key = store_key_id(&work->reissue);
	/* Neighbours and receipts may tell of one conflict more than once. No caller's key begins with a zero. */
	struct slice once;
	uint8_t once_bytes[1 + STORE_KEY_MAX] = { 0 };
	struct message_id known;
	char old[MESSAGE_ID_TEXT_MAX], new[MESSAGE_ID_TEXT_MAX];
	struct message message;
	struct seal_room *room = NULL;
	struct header header;
	uint8_t *envelope;
	size_t len;
	enum cpd_error error;

	message_id_format(&work->reissue, old);
	memcpy(once_bytes + 1, key.bytes, key.len);
	once = (struct slice){ once_bytes, key.len + 1 };
	if (author_key_is_known(node, once, &known))
		return CPD_OK;
	/* Under the epoch that is at fault it would only collide again. */
	if (work->reissue.epoch >= node->epoch) {
		if (node->raise_epoch <= work->reissue.epoch)
			node->raise_epoch = work->reissue.epoch + 1;
		work->is_kept = true;
		work_list_add(&node->reissues, work);
		return CPD_OK;
	}
	error = node_load(node, TABLE_ENVELOPES, &key, &envelope, &len);
	if (error) {
		log_line(LOG_ERR, "reissue-failed", "msg=%s error=\"%s\" cure=\"write it again\"", old, cpd_error_text(error));
		return error == CPD_ERR_IO ? error : CPD_OK;
	}
	error = message_decode((struct slice){ envelope, len }, &message);
	header = message.header;
	header.id = (struct message_id){ node->self, node->epoch, relay_next_sequence(node->relay) };
	header.supersedes = work->reissue;
	header.supersedes_hash = crypto_hash8(message.signed_bytes);
	header.has_supersedes_hash = true;
	if (!error && header.large_length)
		error = large_again(node, turn, work, &header);
	/* The seals are bound to the old id. */
	if (!error)
		error = seal_again(node, &message.header, &header, &room);
	if (!error)
		error = author_enter(node, work, &header, now);
	error = seal_keep(node, turn, &header, room, error, now);
	if (!error)
		error = author_key_put(turn, once, &header.id);
	free(envelope);
	if (error)
		log_line(LOG_ERR, "reissue-failed", "msg=%s error=\"%s\" cure=\"write it again\"", old, cpd_error_text(error));
	else
		log_line(LOG_WARNING, "reissued", "msg=%s as=%s", old, message_id_format(&header.id, new));
	return error == CPD_ERR_NOMEM || error == CPD_ERR_IO ? error : CPD_OK;
}
