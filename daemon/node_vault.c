/* node_vault.c: see node_vault.h. */
#include "daemon/node_vault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "proto/sealed.h"

#define ROWS 256                 /* rows looked at in one piece */
#define WRAPPED_MAX 32           /* rows wrapped anew in one piece: each may be an envelope of 18 KiB */
#define PERIOD_MS (7 * INT64_C(86400000))
#define KEEP_MS (90 * INT64_C(86400000))

static int64_t period_ms(const struct node *node)
{
	return node->config->sealed_period_ms ? node->config->sealed_period_ms : PERIOD_MS;
}

static uint32_t period_at(const struct node *node, int64_t custody_ms)
{
	return (uint32_t)(custody_ms / period_ms(node));
}

enum cpd_error records_open(struct node *node, char problem[256])
{
	char folder[300];
	struct moment now;
	enum cpd_error error;

	node_now(node, &now);
	snprintf(folder, sizeof(folder), "%s/periods", node->config->state);
	error = vault_open(folder, &node->vault);
	if (!error)
		error = vault_prepare(node->vault, period_at(node, now.custody_ms));
	if (error)
		snprintf(problem, 256, "%.200s", crypto_problem()[0] ? crypto_problem() : cpd_error_text(error));
	return error;
}

/* ---------------------------------------------------------------- envelopes */

static bool is_sealed_for(const struct header *header, uint32_t node)
{
	struct sealed_part part;

	for (size_t i = 0; i < header->sealed_count; i++)
		/* What cannot be read may be of a later version: wrapped it does no harm. */
		if (sealed_part_decode(header->sealed[i], &part) || sealed_part_reader(&part, node) < part.reader_count)
			return true;
	return false;
}

static struct slice place_of(const struct store_key *key)
{
	return (struct slice){ key->bytes, key->len };
}

static enum cpd_error put_wrapped(struct node *node, struct turn *turn, enum store_table table, const struct store_key *key, struct slice content, const struct moment *now)
{
	uint8_t *wrapped;
	size_t len;
	enum cpd_error error = vault_wrap(node->vault, period_at(node, now->custody_ms), place_of(key), content, &wrapped, &len);

	if (error)
		return error;
	error = turn_put(turn, table, key, (struct slice){ wrapped, len });
	free(wrapped);
	return error;
}

enum cpd_error record_put_envelope(struct node *node, struct turn *turn, const struct message_id *id, struct slice envelope, const struct moment *now)
{
	const struct store_key key = store_key_id(id);
	struct message message;

	if (!message_is_sealed(envelope) || message_decode(envelope, &message) || !is_sealed_for(&message.header, node->self))
		return turn_put(turn, TABLE_ENVELOPES, &key, envelope);
	return put_wrapped(node, turn, TABLE_ENVELOPES, &key, envelope, now);
}

enum cpd_error record_unwrap(struct node *node, const struct store_key *key, uint8_t **value, size_t *len)
{
	uint8_t *content;
	size_t content_len;
	enum cpd_error error;

	if (!vault_is_wrapped((struct slice){ *value, *len }))
		return CPD_OK;
	error = vault_unwrap(node->vault, place_of(key), (struct slice){ *value, *len }, &content, &content_len);
	free(*value);
	*value = content;
	*len = content_len;
	/* A key file that was being emptied when the power went is no key any more. */
	return error == CPD_ERR_MALFORMED ? CPD_ERR_NOT_FOUND : error;
}

enum cpd_error node_envelope(struct node *node, const struct message_id *id, uint8_t **bytes, size_t *len)
{
	const struct store_key key = store_key_id(id);
	enum cpd_error error = store_get(node->store, TABLE_ENVELOPES, &key, bytes, len);

	if (error)
		*bytes = NULL;
	return error ? error : record_unwrap(node, &key, bytes, len);
}

/* ---------------------------------------------------------------- own content keys */

static const char keys_name[] = "sealed/";

static struct store_key keys_key(const struct message_id *id)
{
	char text[sizeof(keys_name) + MESSAGE_ID_TEXT_MAX];

	strcpy(text, keys_name);
	message_id_format(id, text + sizeof(keys_name) - 1);
	return store_key_name(text);
}

enum cpd_error record_put_keys(struct node *node, struct turn *turn, const struct message_id *id, const uint8_t *keys, size_t count, const struct moment *now)
{
	const struct store_key key = keys_key(id);

	return put_wrapped(node, turn, TABLE_META, &key, (struct slice){ keys, count * 32 }, now);
}

enum cpd_error record_get_keys(struct node *node, const struct message_id *id, uint8_t keys[LIMIT_SEALED_PARTS * 32], size_t *count)
{
	const struct store_key key = keys_key(id);
	uint8_t *value;
	size_t len;
	enum cpd_error error = store_get(node->store, TABLE_META, &key, &value, &len);

	*count = 0;
	if (!error)
		error = record_unwrap(node, &key, &value, &len);
	if (error)
		return error;
	if (len > LIMIT_SEALED_PARTS * 32 || len % 32)
		error = CPD_ERR_DAMAGED;
	else
		memcpy(keys, value, len);
	*count = error ? 0 : len / 32;
	crypto_wipe(value, len);
	free(value);
	return error;
}

enum cpd_error record_next_keys(struct node *node, const struct message_id *after, struct message_id *out)
{
	const struct store_key first = store_key_name(keys_name), from = after->sequence ? keys_key(after) : first;
	char name[STORE_KEY_MAX + 1];
	struct store_key found;
	uint8_t *value;
	size_t len;
	enum cpd_error error = store_seek(node->store, TABLE_META, &from, 0, after->sequence != 0, &found, &value, &len);

	if (error)
		return error;
	free(value);
	memcpy(name, found.bytes, found.len);
	name[found.len] = '\0';
	return strncmp(name, keys_name, sizeof(keys_name) - 1) ? CPD_ERR_NOT_FOUND : message_id_parse(name + sizeof(keys_name) - 1, out);
}

enum cpd_error record_delete_keys(struct node *node, struct turn *turn, const struct message_id *id)
{
	const struct store_key key = keys_key(id);

	return id->origin == node->self ? store_batch_delete(turn->batch, TABLE_META, &key) : CPD_OK;
}

/* ---------------------------------------------------------------- erasing */

struct rewrap {
	struct node *node;
	struct turn *turn;
	const struct moment *now;
	enum store_table table;
	uint32_t period;
	struct store_key seen;
	size_t looked, count;
	enum cpd_error error;
	enum cpd_error unread;   /* a row that would not open just now, and may another time */
};

static bool rewrap_visit(void *context, const struct store_key *key, struct slice value)
{
	struct rewrap *scan = context;
	uint8_t *content;
	size_t len;
	enum cpd_error error;

	scan->seen = *key;
	scan->looked++;
	if (!vault_is_wrapped(value) || vault_period_of(value) != scan->period)
		return true;
	if (scan->table == TABLE_META && (key->len < sizeof(keys_name) - 1 || memcmp(key->bytes, keys_name, sizeof(keys_name) - 1)))
		return true;
	error = vault_unwrap(scan->node->vault, place_of(key), value, &content, &len);
	/* What is damaged, the row or the key's file, never opens again. All else may: memory that ran out, a disk, a file mode. */
	if (error == CPD_ERR_DAMAGED || error == CPD_ERR_MALFORMED)
		return true;
	if (error) {
		scan->unread = error;
		return false;
	}
	scan->error = put_wrapped(scan->node, scan->turn, scan->table, key, (struct slice){ content, len }, scan->now);
	crypto_wipe(content, len);
	free(content);
	return !scan->error && ++scan->count < WRAPPED_MAX;
}

static enum cpd_error journal_erased(struct node *node, struct turn *turn, uint32_t period, const struct moment *now)
{
	const struct relay_effect effect = { .type = EFFECT_JOURNAL, .what = JOURNAL_ERASED, .node = node->self, .precedence = PRECEDENCE_ROUTINE,
		.id = { node->self, node->epoch, (uint64_t)period + 1 } };

	node->erasing.is_told = true;
	node->erasing.told = period;
	return journal_put(node, turn, &effect, now);
}

/* Marks of keys that are gone: the line of such a one, when a crash came before it; and when the line is on disk, as those of earlier
 * pieces are, the mark goes. */
static enum cpd_error settle_marks(struct node *node, struct turn *turn, const struct moment *now)
{
	uint32_t period;

	while (vault_destroyed(node->vault, &period)) {
		if (!node->erasing.is_told || period > node->erasing.told)
			return journal_erased(node, turn, period, now);
		if (vault_told(node->vault, period)) {
			log_line(LOG_WARNING, "erased-mark-left", "period=%u cure=\"look at the folder periods in the state folder\"", period);
			return CPD_OK;
		}
	}
	return CPD_OK;
}

/* The oldest period that has been over for the term. */
static bool is_due(struct node *node, int64_t now_ms, uint32_t *period)
{
	const int64_t keep_ms = node->config->sealed_keep_ms ? node->config->sealed_keep_ms : KEEP_MS;
	uint32_t newest;

	return vault_periods(node->vault, period, &newest) && *period < newest && *period < period_at(node, now_ms)
	    && ((int64_t)*period + 1) * period_ms(node) + keep_ms <= now_ms;
}

/* Up to *budget rows of the walk over what may stand under that period. *is_done: all was looked at. */
static enum cpd_error walk(struct rewrap *scan, struct erasing *at, size_t *budget, bool *is_done)
{
	static const enum store_table tables[] = { TABLE_ENVELOPES, TABLE_META };
	const size_t most = *budget;
	size_t damaged = 0;
	enum cpd_error error;

	scan->table = tables[at->table];
	scan->looked = scan->count = 0;
	error = store_scan(scan->node->store, scan->table, &at->from, 0, at->from.len != 0, most, rewrap_visit, scan, &damaged);
	if (error && error != CPD_ERR_NOT_FOUND)
		return error;
	at->rewrapped += scan->count;
	at->from = scan->seen;
	*budget -= scan->looked < most ? scan->looked : most;
	if (scan->count == WRAPPED_MAX)
		*budget = 0;
	if (*budget) {
		at->from.len = 0;
		at->table++;
	}
	*is_done = at->table == sizeof(tables) / sizeof(tables[0]);
	return scan->error;
}

/* The next pass tries again. */
static void not_erased(uint32_t period, enum cpd_error error)
{
	log_line(LOG_ERR, "not-erased", "period=%u error=\"%s\" cure=\"look at the folder periods in the state folder, and at the disk\"", period, cpd_error_text(error));
}

static enum cpd_error sweep_due(struct node *node, struct turn *turn, const struct moment *now, bool *is_end)
{
	struct erasing *at = &node->erasing;
	struct rewrap scan = { .node = node, .turn = turn, .now = now };
	size_t budget = ROWS;
	bool is_done;
	enum cpd_error error;

	*is_end = false;
	while (budget && is_due(node, now->custody_ms, &scan.period)) {
		error = walk(&scan, at, &budget, &is_done);
		if (error)
			return error;
		if (scan.unread) {
			at->table = at->rewrapped = 0;
			at->from.len = 0;
			not_erased(scan.period, scan.unread);
			break;          /* what is still needed stands under that key */
		}
		if (!is_done)
			continue;
		is_done = at->rewrapped == 0;
		at->table = at->rewrapped = 0;
		at->from.len = 0;
		/* What was wrapped anew is on disk when a whole walk finds no more of it. */
		if (!is_done)
			return CPD_OK;
		error = vault_destroy(node->vault, scan.period);
		if (error) {
			not_erased(scan.period, error);
			break;
		}
		error = journal_erased(node, turn, scan.period, now);
		if (error)
			return error;
	}
	*is_end = budget != 0;
	return CPD_OK;
}

enum cpd_error records_sweep(struct node *node, struct turn *turn, const struct moment *now, bool *is_end)
{
	const uint32_t period = period_at(node, now->custody_ms);
	enum cpd_error error = settle_marks(node, turn, now);

	*is_end = true;
	/* The next one too: a disk that is full then has it already. */
	if (vault_prepare(node->vault, period) || vault_prepare(node->vault, period + 1))
		log_line(LOG_WARNING, "period-not-made", "cure=\"make room on the disk of the state folder\"");
	return error ? error : sweep_due(node, turn, now, is_end);
}
