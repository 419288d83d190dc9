/* leaf.c: the Leaf item, encoded and decoded. */
#include <string.h>

#include "proto/cpd.pb-c.h"
#include "proto/leaf.h"
#include "proto/wire.h"

enum cpd_error leaf_item_decode(struct slice item, struct message_id *id, uint32_t *index, struct slice *leaf, struct tree_path *path)
{
	struct arena arena;
	Cpd__Leaf *decoded;
	enum cpd_error error;

	memset(id, 0, sizeof(*id));
	memset(path, 0, sizeof(*path));
	*index = 0;
	*leaf = (struct slice){ NULL, 0 };
	if (item.len > LIMIT_ITEM)
		return CPD_ERR_TOO_LARGE;
	arena_init(&arena, LIMIT_ARENA(item.len));
	error = wire_unpack(&cpd__leaf__descriptor, item, &arena, &decoded);
	if (error)
		goto out;
	error = CPD_ERR_MISSING;
	if (!decoded->message->has_origin)
		goto out;
	error = CPD_ERR_RANGE;
	if (!decoded->message->origin || !decoded->message->epoch || !decoded->message->sequence || decoded->index >= LIMIT_LEAVES ||
	    !decoded->bytes.len || decoded->n_path > LIMIT_TREE_DEPTH)
		goto out;
	error = CPD_ERR_TOO_LARGE;
	if (decoded->bytes.len > LIMIT_LEAF)
		goto out;
	error = CPD_ERR_MALFORMED;
	for (size_t i = 0; i < decoded->n_path; i++) {
		if (decoded->path[i].len != TREE_HASH_LEN)
			goto out;
		memcpy(path->hashes[i], decoded->path[i].data, TREE_HASH_LEN);
	}
	path->count = decoded->n_path;
	*id = (struct message_id){ decoded->message->origin, decoded->message->epoch, decoded->message->sequence };
	*index = decoded->index;
	*leaf = wire_find(item, 3);
	error = CPD_OK;
out:
	if (error)
		memset(path, 0, sizeof(*path));
	arena_clear(&arena);
	return error;
}

enum cpd_error leaf_item_encode(const struct message_id *id, uint32_t index, struct slice leaf, const struct tree_path *path,
    uint8_t *buf, size_t *len)
{
	Cpd__Reference reference = CPD__REFERENCE__INIT;
	Cpd__Leaf encoded = CPD__LEAF__INIT;
	ProtobufCBinaryData hashes[LIMIT_TREE_DEPTH];

	*len = 0;
	if (leaf.len > LIMIT_LEAF || path->count > LIMIT_TREE_DEPTH)
		return CPD_ERR_TOO_LARGE;
	reference.has_origin = true;
	reference.origin = id->origin;
	reference.has_epoch = id->epoch != 1;
	reference.epoch = id->epoch;
	reference.sequence = id->sequence;
	encoded.message = &reference;
	encoded.index = index;
	encoded.bytes = wire_bytes(leaf);
	for (size_t i = 0; i < path->count; i++)
		hashes[i] = wire_bytes((struct slice){ path->hashes[i], TREE_HASH_LEN });
	encoded.n_path = path->count;
	encoded.path = hashes;
	return wire_pack(&encoded.base, buf, LIMIT_ITEM, len);
}
