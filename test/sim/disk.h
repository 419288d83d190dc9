/*
 * disk.h: the simulator's disk: ordered tables of keys and values with the meaning of store/, in
 * memory. What is committed survives a crash; batches that wait do not. Rows are shared between a disk
 * and its copies, so that a copy costs little. Never decides anything. Called by node.c and check.c.
 */
#ifndef CPD_SIM_DISK_H
#define CPD_SIM_DISK_H

#include "proto/types.h"

enum disk_table {
	DISK_META, DISK_ENVELOPES, DISK_CUSTODY, DISK_QUEUE, DISK_TIMERS, DISK_RECEIPTS, DISK_INBOX, DISK_LATEST,
	DISK_LEAVES, DISK_CIRCUITS, DISK_PRESENCE, DISK_FLOORS, DISK_TABLE_COUNT
};

#define DISK_KEY_MAX 32
struct disk_key { uint8_t bytes[DISK_KEY_MAX]; size_t len; };
struct disk_key disk_key_none(void);
struct disk_key disk_key_id(const struct message_id *id);
struct disk_key disk_key_origin(uint32_t origin);              /* prefix of its ids */
struct disk_key disk_key_leaf(const struct message_id *id, uint32_t index);
struct disk_key disk_key_queue(uint32_t link, enum precedence precedence, uint64_t counter);
struct disk_key disk_key_timer(int64_t at_ms, const struct message_id *id);
struct disk_key disk_key_number(uint64_t number);
struct disk_key disk_key_pair(uint32_t first, uint32_t second);
uint64_t disk_read_u64(const uint8_t *bytes);
uint32_t disk_read_u32(const uint8_t *bytes);
void disk_read_id(const uint8_t *bytes, struct message_id *out);

struct disk_row {
	uint32_t references;
	struct disk_key key;
	size_t len;
	uint8_t data[];
};
struct disk_rows { struct disk_row **rows; size_t count, room; };
struct disk { struct disk_rows tables[DISK_TABLE_COUNT]; };

void disk_clear(struct disk *disk);
/* to is empty. */
void disk_copy(const struct disk *from, struct disk *to);
const struct disk_row *disk_get(const struct disk *disk, enum disk_table table, const struct disk_key *key);
/* Place of the first row whose key is >= key. */
size_t disk_seek(const struct disk *disk, enum disk_table table, const struct disk_key *key);
bool disk_has_prefix(const struct disk_row *row, const struct disk_key *prefix);

/* ---- one turn's changes, in order; the last one of a key wins */
struct disk_change { enum disk_table table; bool is_delete; struct disk_row *row; };
struct disk_batch { struct disk_change *changes; size_t count, room; };
void batch_put(struct disk_batch *batch, enum disk_table table, struct disk_key key, const void *data, size_t len);
void batch_delete(struct disk_batch *batch, enum disk_table table, struct disk_key key);
void batch_clear(struct disk_batch *batch);
void disk_apply(struct disk *disk, const struct disk_change *change);

#endif
