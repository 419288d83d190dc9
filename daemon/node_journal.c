/*
 * node_journal.c: every state change as one row, one log line, and one word to each listener.
 *
 * A row, big-endian: version (1 byte, 1), number (8), wall_ms (8), what, level, reason, precedence (1
 * each), message id (4, 4, 8), node (4), link (4). A later version puts a hash chain behind it and says
 * so in the version byte; a reader takes the fields it knows and leaves the rest.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"
#include "proto/receipt.h"

#define ROW_VERSION 1
/* Rows kept: weeks of a busy CP in some 20 MiB. */
#define ROWS_KEPT 200000
#define ROW_LEN (1 + 8 + 8 + 4 + 16 + 4 + 4)

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

static void encode(const struct node_news *news, uint8_t row[ROW_LEN])
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

enum cpd_error node_news_decode(struct slice value, struct node_news *out)
{
	const uint8_t *at = value.data;

	memset(out, 0, sizeof(*out));
	if (value.len < ROW_LEN || !get(&at, 1))
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

enum cpd_error journal_put(struct node *node, struct turn *turn, const struct relay_effect *effect, const struct moment *now)
{
	struct after *after = after_add(turn, AFTER_NEWS);
	struct store_key key = store_key_counter(node->next_news);
	uint8_t row[ROW_LEN];
	enum cpd_error error = CPD_OK;

	if (!after)
		return CPD_ERR_NOMEM;
	if (node->next_news > ROWS_KEPT) {
		struct store_key oldest = store_key_counter(node->next_news - ROWS_KEPT);
		error = store_batch_delete(turn->batch, TABLE_JOURNAL, &oldest);
	}
	after->news = (struct node_news){ .number = node->next_news++, .wall_ms = now->wall_ms, .what = effect->what, .id = effect->id,
		.node = effect->node, .link = effect->link, .level = effect->level, .reason = effect->reason, .precedence = effect->precedence };
	encode(&after->news, row);
	return error ? error : turn_put(turn, TABLE_JOURNAL, &key, (struct slice){ row, sizeof(row) });
}

/* error: an operator must act; warning: degraded; info: a message's life. */
static int priority_of(const struct node_news *news)
{
	switch (news->what) {
	case JOURNAL_ID_CONFLICT: case JOURNAL_FLOOR_FELL:
		return LOG_ERR;
	case JOURNAL_EPOCH_ROSE: case JOURNAL_UNDELIVERABLE: case JOURNAL_EXPIRED: case JOURNAL_REFUSED: case JOURNAL_REFUSED_BY:
	case JOURNAL_LINK_DOWN:
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
