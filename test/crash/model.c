/* model.c: what the store must hold: the rows after each batch, as a sum over rows, so that one pass compares. */
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "test/crash/crash.h"

#define TABLE_ROOM_START 4096

struct known { uint64_t key[2]; struct sum row; bool is_used, is_there; };
struct known_rows { struct known *slots; size_t room, count; };

/* What the store writes by itself (the check proves it), and the judge's probes. */
bool sum_counts(enum store_table table, struct slice key)
{
	static const char *const own[] = { "schema", "migrating", "probe" };

	for (size_t i = 0; table == TABLE_META && i < sizeof(own) / sizeof(own[0]); i++)
		if (key.len >= strlen(own[i]) && memcmp(key.data, own[i], strlen(own[i])) == 0)
			return false;
	return table != TABLE_DEPTHS;
}

static void digest(enum store_table table, struct slice key, struct slice value, uint64_t out[2])
{
	static _Thread_local uint8_t *bytes;
	static _Thread_local size_t room;
	const size_t len = 2 + key.len + value.len;

	if (len > room) {
		free(bytes);
		room = len * 2;
		bytes = malloc(room);
		if (!bytes)
			abort();
	}
	bytes[0] = (uint8_t)table;
	bytes[1] = (uint8_t)key.len;
	memcpy(bytes + 2, key.data, key.len);
	if (value.len)
		memcpy(bytes + 2 + key.len, value.data, value.len);
	crypto_digest((uint8_t *)out, 16, bytes, len);
}

void sum_add_row(struct sum *sum, enum store_table table, struct slice key, struct slice value)
{
	uint64_t row[2];

	digest(table, key, value, row);
	sum->words[0] += row[0];
	sum->words[1] += row[1];
}

static struct known *find(struct known_rows *rows, const uint64_t key[2])
{
	for (size_t at = key[0];; at++) {
		struct known *slot = &rows->slots[at & (rows->room - 1)];
		if (!slot->is_used || (slot->key[0] == key[0] && slot->key[1] == key[1]))
			return slot;
	}
}

static void grow(struct known_rows *rows)
{
	struct known_rows larger = { .room = rows->room ? rows->room * 2 : TABLE_ROOM_START, .count = rows->count };

	if (rows->room && rows->count < rows->room / 2)
		return;
	larger.slots = calloc(larger.room, sizeof(*larger.slots));
	if (!larger.slots)
		abort();
	for (size_t i = 0; i < rows->room; i++)
		if (rows->slots[i].is_used)
			*find(&larger, rows->slots[i].key) = rows->slots[i];
	free(rows->slots);
	*rows = larger;
}

static void apply(struct known_rows *rows, struct sum *sum, const struct batch_op *op)
{
	const struct slice key = { op->key.mv_data, op->key.mv_size }, value = { op->value.mv_data, op->value.mv_size };
	struct known *slot;
	uint64_t name[2];

	if (!sum_counts(op->table, key))
		return;
	grow(rows);
	digest(op->table, key, (struct slice){ NULL, 0 }, name);
	slot = find(rows, name);
	if (!slot->is_used)
		rows->count++;
	slot->is_used = true;
	memcpy(slot->key, name, sizeof(name));
	if (slot->is_there) {
		sum->words[0] -= slot->row.words[0];
		sum->words[1] -= slot->row.words[1];
	}
	memset(&slot->row, 0, sizeof(slot->row));
	slot->is_there = op->verb == BATCH_PUT;
	if (slot->is_there) {
		sum_add_row(&slot->row, op->table, key, value);
		sum->words[0] += slot->row.words[0];
		sum->words[1] += slot->row.words[1];
	}
}

static struct store_batch batch_of(const struct happening *one)
{
	return (struct store_batch){ .bytes = one->bytes, .len = one->len };
}

bool model_make(struct model *model, const struct recording *recording)
{
	struct known_rows rows = { NULL, 0, 0 };
	struct sum sum = { { 0, 0 } };
	bool good = true;

	*model = (struct model){ .states = calloc(recording->count + 1, sizeof(struct sum)), .submits = calloc(recording->count + 1, sizeof(size_t)) };
	if (!model->states || !model->submits)
		abort();
	for (size_t i = 0; i < recording->count && good; i++) {
		struct store_batch batch = batch_of(&recording->happenings[i]);
		struct batch_op op;

		if (recording->happenings[i].what != HAPPENED_SUBMIT)
			continue;
		for (size_t offset = 0; good && batch_next(&batch, &offset, &op);) {
			good = op.verb != BATCH_QUARANTINE;
			apply(&rows, &sum, &op);
		}
		model->count++;
		model->states[model->count] = sum;
		model->submits[model->count] = i;
	}
	free(rows.slots);
	return good;
}

void model_clear(struct model *model)
{
	free(model->states);
	free(model->submits);
	memset(model, 0, sizeof(*model));
}

/* Batches whose submit stands before place. */
static size_t batches_before(const struct model *model, size_t place)
{
	size_t low = 0, high = model->count;

	while (low < high) {
		const size_t middle = (low + high + 1) / 2;

		if (model->submits[middle] < place)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

void model_bounds(const struct model *model, const struct platter *platter, size_t *told, size_t *given)
{
	*told = batches_before(model, platter->told);
	*given = batches_before(model, platter->at);
}

/* Only after a failure: slow, with names. */
void model_difference(const struct recording *recording, const struct model *model, size_t told, size_t given, struct store *store,
    char out[CRASH_TEXT])
{
	out[0] = '\0';
	for (size_t last = told; last > 0 && !out[0]; last--) {
		struct store_batch batch = batch_of(&recording->happenings[model->submits[last]]);
		struct batch_op op, later_op;

		for (size_t offset = 0; batch_next(&batch, &offset, &op) && !out[0];) {
			struct store_key key = { .len = op.key.mv_size };
			char text[MESSAGE_ID_TEXT_MAX] = "";
			struct message_id id;
			enum cpd_error error;
			bool is_changed = !sum_counts(op.table, (struct slice){ op.key.mv_data, op.key.mv_size });
			uint8_t *value;
			size_t len;

			memcpy(key.bytes, op.key.mv_data, key.len);
			for (size_t i = last; i <= given && !is_changed; i++) {
				struct store_batch later = batch_of(&recording->happenings[model->submits[i]]);

				for (size_t at = i == last ? offset : 0; !is_changed && batch_next(&later, &at, &later_op);)
					is_changed = later_op.table == op.table && later_op.key.mv_size == op.key.mv_size &&
					    memcmp(later_op.key.mv_data, op.key.mv_data, op.key.mv_size) == 0;
			}
			if (is_changed)
				continue;
			error = store_get(store, op.table, &key, &value, &len);
			if ((op.table == TABLE_ENVELOPES || op.table == TABLE_CUSTODY) && !store_key_read_id(&key, &id))
				message_id_format(&id, text);
			if (op.verb == BATCH_DELETE ? error != CPD_ERR_NOT_FOUND : error || len != op.value.mv_size || memcmp(value, op.value.mv_data, len) != 0)
				snprintf(out, CRASH_TEXT, "batch %zu of %zu told: row of %s %s is %s", last, told, store_table_name(op.table), text,
				    op.verb == BATCH_DELETE ? "back though deleted" : error ? cpd_error_text(error) : "different");
			free(value);
		}
	}
}
