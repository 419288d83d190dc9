/* batch.c: one turn's changes, one behind another in one buffer (its form: internal.h). */
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"

/* verb, value length, table, key length; the hashed part begins at the table. */
#define OP_LEAD (1 + sizeof(uint32_t))
#define OP_HEAD (OP_LEAD + 2)

struct store_batch *store_batch_new(uint64_t turn)
{
	struct store_batch *batch = calloc(1, sizeof(*batch));

	if (batch)
		batch->turn = turn;
	return batch;
}

void store_batch_free(struct store_batch *batch)
{
	if (!batch)
		return;
	free(batch->bytes);
	free(batch);
}

static enum cpd_error batch_reserve(struct store_batch *batch, size_t more)
{
	size_t size = batch->size ? batch->size : 1024;
	uint8_t *bytes;

	while (size < batch->len + more)
		size *= 2;
	if (size == batch->size)
		return CPD_OK;
	bytes = realloc(batch->bytes, size);
	if (!bytes)
		return CPD_ERR_NOMEM;
	batch->bytes = bytes;
	batch->size = size;
	return CPD_OK;
}

static enum cpd_error batch_add(struct store_batch *batch, enum batch_verb verb, enum store_table table,
    const struct store_key *key, struct slice value)
{
	const uint32_t value_len = (uint32_t)value.len;
	enum cpd_error error;
	uint8_t *at;

	if (!store_table_is_valid(table) || key->len == 0 || key->len > STORE_KEY_MAX)
		return CPD_ERR_RANGE;
	if (value.len > STORE_VALUE_MAX)
		return CPD_ERR_TOO_LARGE;
	error = batch_reserve(batch, OP_HEAD + key->len + value.len + STORE_SUM);
	if (error)
		return error;
	at = batch->bytes + batch->len;
	*at++ = (uint8_t)verb;
	memcpy(at, &value_len, sizeof(value_len));
	at += sizeof(value_len);
	*at++ = (uint8_t)table;
	*at++ = (uint8_t)key->len;
	memcpy(at, key->bytes, key->len);
	at += key->len;
	if (value.len > 0)
		memcpy(at, value.data, value.len);
	at += value.len;
	memset(at, 0, STORE_SUM);
	batch->len = (size_t)(at + STORE_SUM - batch->bytes);
	batch->count++;
	return CPD_OK;
}

enum cpd_error store_batch_put(struct store_batch *batch, enum store_table table, const struct store_key *key, struct slice value)
{
	return table == TABLE_DEPTHS ? CPD_ERR_RANGE : batch_add(batch, BATCH_PUT, table, key, value);
}

enum cpd_error store_batch_delete(struct store_batch *batch, enum store_table table, const struct store_key *key)
{
	return table == TABLE_DEPTHS ? CPD_ERR_RANGE : batch_add(batch, BATCH_DELETE, table, key, (struct slice){ NULL, 0 });
}

enum cpd_error batch_quarantine(struct store_batch *batch, enum store_table table, const struct store_key *key)
{
	return batch_add(batch, BATCH_QUARANTINE, table, key, (struct slice){ NULL, 0 });
}

enum cpd_error batch_recount(struct store_batch *batch, const struct store_key *depth)
{
	return batch_add(batch, BATCH_RECOUNT, TABLE_DEPTHS, depth, (struct slice){ NULL, 0 });
}

bool batch_next(const struct store_batch *batch, size_t *offset, struct batch_op *out)
{
	uint32_t value_len;
	uint8_t *at;

	if (*offset >= batch->len)
		return false;
	at = batch->bytes + *offset;
	out->verb = (enum batch_verb)at[0];
	memcpy(&value_len, at + 1, sizeof(value_len));
	out->hashed = at + OP_LEAD;
	out->table = (enum store_table)out->hashed[0];
	out->key.mv_size = out->hashed[1];
	out->key.mv_data = out->hashed + 2;
	out->value.mv_size = value_len;
	out->value.mv_data = out->hashed + 2 + out->key.mv_size;
	out->hashed_len = 2 + out->key.mv_size + value_len;
	*offset += OP_LEAD + out->hashed_len + STORE_SUM;
	return true;
}

size_t store_batch_bytes(const struct store_batch *batch)
{
	return batch->len;
}

size_t store_batch_count(const struct store_batch *batch)
{
	return batch->count;
}
