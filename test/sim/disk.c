/* disk.c: see disk.h. Sorted arrays: a simulated node holds hundreds of rows, not millions. */
#include "test/sim/disk.h"

#include <stdlib.h>
#include <string.h>

static void append(struct disk_key *key, uint64_t value, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--)
		key->bytes[key->len++] = (uint8_t)(value >> (8 * i));
}

struct disk_key disk_key_none(void)
{
	struct disk_key key = {.len = 0};
	return key;
}

struct disk_key disk_key_id(const struct message_id *id)
{
	struct disk_key key = {.len = 0};
	append(&key, id->origin, 4);
	append(&key, id->epoch, 4);
	append(&key, id->sequence, 8);
	return key;
}

struct disk_key disk_key_origin(uint32_t origin)
{
	struct disk_key key = {.len = 0};
	append(&key, origin, 4);
	return key;
}

struct disk_key disk_key_leaf(const struct message_id *id, uint32_t index)
{
	struct disk_key key = disk_key_id(id);
	append(&key, index, 4);
	return key;
}

struct disk_key disk_key_queue(uint32_t link, enum precedence precedence, uint64_t counter)
{
	struct disk_key key = {.len = 0};
	append(&key, link, 4);
	append(&key, (uint64_t)(PRECEDENCE_FLASH - precedence), 1);
	append(&key, counter, 8);
	return key;
}

struct disk_key disk_key_timer(int64_t at_ms, const struct message_id *id)
{
	struct disk_key key = {.len = 0};
	append(&key, (uint64_t)at_ms, 8);
	struct disk_key tail = disk_key_id(id);
	memcpy(key.bytes + key.len, tail.bytes, tail.len);
	key.len += tail.len;
	return key;
}

struct disk_key disk_key_number(uint64_t number)
{
	struct disk_key key = {.len = 0};
	append(&key, number, 8);
	return key;
}

struct disk_key disk_key_pair(uint32_t first, uint32_t second)
{
	struct disk_key key = {.len = 0};
	append(&key, first, 4);
	append(&key, second, 4);
	return key;
}

uint64_t disk_read_u64(const uint8_t *bytes)
{
	uint64_t value = 0;
	for (int i = 0; i < 8; i++)
		value = value << 8 | bytes[i];
	return value;
}

uint32_t disk_read_u32(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

void disk_read_id(const uint8_t *bytes, struct message_id *out)
{
	out->origin = disk_read_u32(bytes);
	out->epoch = disk_read_u32(bytes + 4);
	out->sequence = disk_read_u64(bytes + 8);
}

static int key_compare(const struct disk_key *a, const struct disk_key *b)
{
	int order = memcmp(a->bytes, b->bytes, a->len < b->len ? a->len : b->len);
	return order != 0 ? order : (a->len > b->len) - (a->len < b->len);
}

static void *must(void *memory)
{
	if (memory == NULL)
		abort(); /* a test program without memory has nothing to tell */
	return memory;
}

static struct disk_row *row_new(struct disk_key key, const void *data, size_t len)
{
	struct disk_row *row = must(malloc(sizeof(*row) + len));
	row->references = 1;
	row->key = key;
	row->len = len;
	if (len > 0)
		memcpy(row->data, data, len);
	return row;
}

static void row_drop(struct disk_row *row)
{
	if (--row->references == 0)
		free(row);
}

void disk_clear(struct disk *disk)
{
	for (int t = 0; t < DISK_TABLE_COUNT; t++) {
		struct disk_rows *rows = &disk->tables[t];
		for (size_t i = 0; i < rows->count; i++)
			row_drop(rows->rows[i]);
		free(rows->rows);
	}
	memset(disk, 0, sizeof(*disk));
}

void disk_copy(const struct disk *from, struct disk *to)
{
	for (int t = 0; t < DISK_TABLE_COUNT; t++) {
		const struct disk_rows *rows = &from->tables[t];
		struct disk_rows *copy = &to->tables[t];
		copy->count = copy->room = rows->count;
		copy->rows = rows->count > 0 ? must(malloc(rows->count * sizeof(*copy->rows))) : NULL;
		for (size_t i = 0; i < rows->count; i++) {
			copy->rows[i] = rows->rows[i];
			copy->rows[i]->references++;
		}
	}
}

size_t disk_seek(const struct disk *disk, enum disk_table table, const struct disk_key *key)
{
	const struct disk_rows *rows = &disk->tables[table];
	size_t low = 0;
	size_t high = rows->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (key_compare(&rows->rows[middle]->key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct disk_row *disk_get(const struct disk *disk, enum disk_table table, const struct disk_key *key)
{
	const struct disk_rows *rows = &disk->tables[table];
	size_t at = disk_seek(disk, table, key);
	return at < rows->count && key_compare(&rows->rows[at]->key, key) == 0 ? rows->rows[at] : NULL;
}

bool disk_has_prefix(const struct disk_row *row, const struct disk_key *prefix)
{
	return row->key.len >= prefix->len && memcmp(row->key.bytes, prefix->bytes, prefix->len) == 0;
}

static void batch_add(struct disk_batch *batch, enum disk_table table, bool is_delete, struct disk_row *row)
{
	if (batch->count == batch->room) {
		batch->room = batch->room * 2 + 8;
		batch->changes = must(realloc(batch->changes, batch->room * sizeof(*batch->changes)));
	}
	batch->changes[batch->count++] = (struct disk_change){.table = table, .is_delete = is_delete, .row = row};
}

void batch_put(struct disk_batch *batch, enum disk_table table, struct disk_key key, const void *data, size_t len)
{
	batch_add(batch, table, false, row_new(key, data, len));
}

void batch_delete(struct disk_batch *batch, enum disk_table table, struct disk_key key)
{
	batch_add(batch, table, true, row_new(key, NULL, 0));
}

void batch_clear(struct disk_batch *batch)
{
	for (size_t i = 0; i < batch->count; i++)
		row_drop(batch->changes[i].row);
	free(batch->changes);
	memset(batch, 0, sizeof(*batch));
}

void disk_apply(struct disk *disk, const struct disk_change *change)
{
	struct disk_rows *rows = &disk->tables[change->table];
	struct disk_row *row = change->row;
	size_t at = disk_seek(disk, change->table, &row->key);
	bool is_held = at < rows->count && key_compare(&rows->rows[at]->key, &row->key) == 0;
	if (change->is_delete) {
		if (!is_held)
			return;
		row_drop(rows->rows[at]);
		rows->count--;
		memmove(rows->rows + at, rows->rows + at + 1, (rows->count - at) * sizeof(*rows->rows));
		return;
	}
	row->references++;
	if (is_held) {
		row_drop(rows->rows[at]);
		rows->rows[at] = row;
		return;
	}
	if (rows->count == rows->room) {
		rows->room = rows->room * 2 + 16;
		rows->rows = must(realloc(rows->rows, rows->room * sizeof(*rows->rows)));
	}
	memmove(rows->rows + at + 1, rows->rows + at, (rows->count - at) * sizeof(*rows->rows));
	rows->rows[at] = row;
	rows->count++;
}
