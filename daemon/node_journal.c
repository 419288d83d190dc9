/*
 * node_journal.c: every state change as one row, one log line, and one word to each listener.
 *
 * A row, big-endian: version (1 byte, 2), number (8), wall_ms (8), what, level, reason, precedence (1
 * each), message id (4, 4, 8), node (4), link (4), chain value (32), and, of a head that was seen, the
 * signed presence that told it. The chain value is BLAKE2b-256 over "cpd/1/journal" NUL, the chain value
 * of the row before (zeros at the begin), and the row without its own: who changes or takes away a row
 * must make all later ones anew, and neighbours have seen the heads of those. Version 1 had no chain. A reader takes the
 * fields it knows and leaves the rest.
 */
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "daemon/log.h"
#include "daemon/node_internal.h"
#include "proto/presence.h"
#include "proto/receipt.h"

#define ROW_VERSION 2
/* Rows kept at the most: weeks of a busy CP in some 30 MiB; and no more than an eighth of the store may hold. */
#define ROWS_KEPT 200000
#define ROW_COST 160             /* bytes of a row on disk, about */
#define SHARE 8
#define FIXED_LEN (1 + 8 + 8 + 4 + 16 + 4 + 4)
#define CHAIN_AT FIXED_LEN
#define ROW_MAX (FIXED_LEN + JOURNAL_CHAIN_LEN + LIMIT_PRESENCE)
/* How often what a node told of its journal is put into ours. */
#define WITNESS_MS (3600 * 1000)
static const char chain_purpose[] = "cpd/1/journal";

static uint8_t *put(uint8_t *at, uint64_t value, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--)
		*at++ = (uint8_t)(value >> (8 * i));
	return at;
}

static uint64_t get(const uint8_t **at, int bytes)
{
	uint64_t value = 0;

	while (bytes--)
		value = value << 8 | *(*at)++;
	return value;
}

static void encode(const struct node_news *news, uint8_t row[FIXED_LEN])
{
	uint8_t *at = put(row, ROW_VERSION, 1);

	at = put(at, news->number, 8);
	at = put(at, (uint64_t)news->wall_ms, 8);
	at = put(at, news->what, 1);
	at = put(at, news->level, 1);
	at = put(at, news->reason, 1);
	at = put(at, news->precedence, 1);
	at = put(at, news->id.origin, 4);
	at = put(at, news->id.epoch, 4);
	at = put(at, news->id.sequence, 8);
	at = put(at, news->node, 4);
	put(at, news->link, 4);
}

/* The chain goes on with this row; its value is put into its place. */
static void chain(struct journal_head *head, uint64_t number, uint8_t *row, size_t len)
{
	uint8_t bytes[sizeof(chain_purpose) + JOURNAL_CHAIN_LEN + ROW_MAX];
	uint8_t *at = bytes;

	memcpy(at, chain_purpose, sizeof(chain_purpose));
	at += sizeof(chain_purpose);
	memcpy(at, head->chain, JOURNAL_CHAIN_LEN);
	at += JOURNAL_CHAIN_LEN;
	memcpy(at, row, FIXED_LEN);
	at += FIXED_LEN;
	memcpy(at, row + CHAIN_AT + JOURNAL_CHAIN_LEN, len - CHAIN_AT - JOURNAL_CHAIN_LEN);
	at += len - CHAIN_AT - JOURNAL_CHAIN_LEN;
	head->number = number;
	crypto_digest(head->chain, JOURNAL_CHAIN_LEN, bytes, (size_t)(at - bytes));
	memcpy(row + CHAIN_AT, head->chain, JOURNAL_CHAIN_LEN);
}

enum cpd_error node_news_decode(struct slice value, struct node_news *out)
{
	const uint8_t *at = value.data;

	memset(out, 0, sizeof(*out));
	if (value.len < FIXED_LEN || !get(&at, 1))
		return CPD_ERR_MALFORMED;
	out->number = get(&at, 8);
	out->wall_ms = (int64_t)get(&at, 8);
	out->what = (enum journal_what)get(&at, 1);
	out->level = (enum level)get(&at, 1);
	out->reason = (enum cpd_reason)get(&at, 1);
	out->precedence = (enum precedence)get(&at, 1);
	out->id.origin = (uint32_t)get(&at, 4);
	out->id.epoch = (uint32_t)get(&at, 4);
	out->id.sequence = get(&at, 8);
	out->node = (uint32_t)get(&at, 4);
	out->link = (uint32_t)get(&at, 4);
	return CPD_OK;
}

static uint64_t rows_kept(const struct node *node)
{
	const uint64_t room = (uint64_t)node->config->store_limit_mib * 1024 * 1024 / SHARE / ROW_COST;

	return room < ROWS_KEPT ? room : ROWS_KEPT;
}

/* Two at the most for each that comes: a store whose limit was lowered gets there by and by. */
static enum cpd_error drop_oldest(struct node *node, struct turn *turn)
{
	enum cpd_error error = CPD_OK;

	for (int i = 0; !error && i < 2 && node->oldest_news + rows_kept(node) <= node->next_news; i++) {
		struct store_key oldest = store_key_counter(node->oldest_news);

		error = store_batch_delete(turn->batch, TABLE_JOURNAL, &oldest);
		node->oldest_news++;
	}
	return error;
}

static enum cpd_error row_put(struct node *node, struct turn *turn, const struct relay_effect *effect, struct slice record, const struct moment *now)
{
	struct after *after = after_add(turn, AFTER_NEWS);
	const struct store_key key = store_key_counter(node->next_news);
	const size_t len = CHAIN_AT + JOURNAL_CHAIN_LEN + record.len;
	uint8_t row[ROW_MAX];
	enum cpd_error error = CPD_OK;

	if (!after)
		return CPD_ERR_NOMEM;
	if (record.len > LIMIT_PRESENCE)
		return CPD_ERR_TOO_LARGE;
	error = drop_oldest(node, turn);
	after->news = (struct node_news){ .number = node->next_news++, .wall_ms = now->wall_ms, .what = effect->what, .id = effect->id,
		.node = effect->node, .link = effect->link, .level = effect->level, .reason = effect->reason, .precedence = effect->precedence };
	encode(&after->news, row);
	if (record.len)
		memcpy(row + CHAIN_AT + JOURNAL_CHAIN_LEN, record.data, record.len);
	chain(&node->journal, after->news.number, row, len);
	return error ? error : turn_put(turn, TABLE_JOURNAL, &key, (struct slice){ row, len });
}

enum cpd_error journal_put(struct node *node, struct turn *turn, const struct relay_effect *effect, const struct moment *now)
{
	return row_put(node, turn, effect, (struct slice){ NULL, 0 }, now);
}

/* As big-endian number and chain value, under this name in the meta table. */
static const char head_name[] = "journal_head";

enum cpd_error journal_head_put(struct node *node, struct turn *turn)
{
	const struct store_key key = store_key_name(head_name);
	uint8_t bytes[8 + JOURNAL_CHAIN_LEN];

	if (node->journal.number == node->journal_stored)
		return CPD_OK;
	node->journal_stored = node->journal.number;
	turn->journal = node->journal;
	put(bytes, node->journal.number, 8);
	memcpy(bytes + 8, node->journal.chain, JOURNAL_CHAIN_LEN);
	return turn_put(turn, TABLE_META, &key, (struct slice){ bytes, sizeof(bytes) });
}

static void find_oldest(struct node *node)
{
	struct store_key first = { .len = 0 }, found = { .len = 0 };
	uint8_t *row = NULL;
	size_t len;

	/* Also when that row is damaged. */
	if (!store_seek(node->store, TABLE_JOURNAL, &first, 0, false, &found, &row, &len))
		free(row);
	node->oldest_news = found.len ? store_key_read_counter(&found) : node->next_news;
}

enum cpd_error journal_head_get(struct node *node)
{
	const struct store_key key = store_key_name(head_name);
	const uint8_t *at;
	uint8_t *value;
	size_t len;
	enum cpd_error error = node_load(node, TABLE_META, &key, &value, &len);

	find_oldest(node);
	memset(&node->journal, 0, sizeof(node->journal));
	if (!error) {
		at = value;
		/* Not so when an older cpd, that knows no chain, has written since: it begins anew. */
		if (len == 8 + JOURNAL_CHAIN_LEN && get(&at, 8) == node->next_news - 1) {
			node->journal.number = node->next_news - 1;
			memcpy(node->journal.chain, value + 8, JOURNAL_CHAIN_LEN);
		}
		free(value);
	}
	node->journal_told = node->journal;
	node->journal_stored = node->journal.number;
	return error == CPD_ERR_NOT_FOUND ? CPD_OK : error;
}

struct witnessed { int64_t at_ms; };

enum cpd_error journal_witness(struct node *node, struct turn *turn, struct slice record, const struct moment *now)
{
	struct relay_effect effect = { .type = EFFECT_JOURNAL, .what = JOURNAL_HEAD_SEEN, .precedence = PRECEDENCE_ROUTINE };
	struct signed_record outer;
	struct presence presence;
	struct witnessed *last;
	struct map_key key;

	/* It was verified when it came; what does not decode is none of a journal. */
	if (signed_record_decode(record, LIMIT_PRESENCE, &outer) || presence_decode(outer.signed_bytes, &presence) || !presence.journal.number || presence.node == node->self)
		return CPD_OK;
	key = map_key_pair(presence.node, 0);
	last = map_get(&node->witnessed, key);
	if (last && now->custody_ms - last->at_ms < WITNESS_MS)
		return CPD_OK;
	if (!last) {
		last = calloc(1, sizeof(*last));
		if (!last || map_put(&node->witnessed, key, last)) {
			free(last);
			return CPD_ERR_NOMEM;
		}
	}
	last->at_ms = now->custody_ms;
	effect.node = presence.node;
	effect.id = (struct message_id){ presence.node, presence.epoch, presence.journal.number };
	return row_put(node, turn, &effect, record, now);
}

void journal_clear(struct node *node)
{
	struct witnessed *last;
	size_t at = 0;

	while ((last = map_next(&node->witnessed, &at)))
		free(last);
	map_clear(&node->witnessed);
}

/* error: an operator must act; warning: degraded; info: a message's life. */
static int priority_of(const struct node_news *news)
{
	switch (news->what) {
	case JOURNAL_ID_CONFLICT: case JOURNAL_FLOOR_FELL:
		return LOG_ERR;
	case JOURNAL_EPOCH_ROSE: case JOURNAL_UNDELIVERABLE: case JOURNAL_EXPIRED: case JOURNAL_REFUSED: case JOURNAL_REFUSED_BY:
	case JOURNAL_LINK_DOWN: case JOURNAL_RECEIPT_DOUBTED:
		return LOG_WARNING;
	default:
		return LOG_INFO;
	}
}

static void count(struct node *node, const struct node_news *news)
{
	if ((unsigned)news->what < JOURNAL_COUNT)
		node->counters.events[news->what]++;
	if (news->what == JOURNAL_CUSTODY_TAKEN)
		node->counters.taken++;
	else if (news->what == JOURNAL_DUPLICATE)
		node->counters.duplicates++;
}

/* Always the same fields, so that whoever filters the journal finds each where it was. */
static void log_news(const struct node_news *news, int64_t now_ms)
{
	const int priority = priority_of(news);
	const char *event = journal_what_name(news->what), *level = level_name(news->level), *reason = reason_name(news->reason);
	const unsigned long long number = news->number;
	char id[MESSAGE_ID_TEXT_MAX];

	message_id_format(&news->id, id);
	/* A neighbour can make these as often as it likes; the rest is a message's life and is told whole. */
	if (news->what == JOURNAL_DUPLICATE || news->what == JOURNAL_REFUSED || news->what == JOURNAL_ID_CONFLICT)
		log_limited(priority, event, news->link, now_ms, "msg=%s precedence=%s link=%u node=%u level=%s reason=%s news=%llu", id,
		    precedence_name(news->precedence), news->link, news->node, level, reason, number);
	else if (news->what == JOURNAL_HEAD_SEEN)
		log_line(LOG_DEBUG, event, "node=%u epoch=%u number=%llu news=%llu", news->node, news->id.epoch, (unsigned long long)news->id.sequence, number);
	else if (news->what == JOURNAL_ERASED)
		log_line(LOG_NOTICE, event, "period=%llu news=%llu", (unsigned long long)news->id.sequence - 1, number);
	else if (news->id.sequence)
		log_line(priority, event, "msg=%s precedence=%s link=%u node=%u level=%s reason=%s news=%llu", id,
		    precedence_name(news->precedence), news->link, news->node, level, reason, number);
	else                            /* links that come and go, presences with a new epoch or a fallen floor */
		log_limited(priority, event, news->link, now_ms, "link=%u node=%u news=%llu", news->link, news->node, number);
}

void journal_told(struct node *node, const struct node_news *news)
{
	count(node, news);
	log_news(news, node_ms(node));
	for (size_t i = 0; i < node->listener_count; i++)
		node->listeners[i].listener(node->listeners[i].context, news);
}

void node_listen(struct node *node, node_listener *listener, void *context)
{
	if (node->listener_count == NODE_LISTENERS) {
		log_line(LOG_ERR, "listeners-full", "max=%d", NODE_LISTENERS);
		return;
	}
	node->listeners[node->listener_count].listener = listener;
	node->listeners[node->listener_count++].context = context;
}

void node_unlisten(struct node *node, node_listener *listener, void *context)
{
	for (size_t i = 0; i < node->listener_count; i++) {
		if (node->listeners[i].listener != listener || node->listeners[i].context != context)
			continue;
		node->listeners[i] = node->listeners[--node->listener_count];
		return;
	}
}
