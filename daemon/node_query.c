/* node_query.c: what the API asks; all from committed data. */
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"

#define QUEUE_HEAD_ROWS 8        /* looked at for the age of the oldest; rows of receipts have none of their own */

uint32_t node_self(const struct node *node)
{
	return node->self;
}

struct store *node_store(struct node *node)
{
	return node->store;
}

const struct directory *node_directory(const struct node *node)
{
	return node->directory;
}

const struct identity *node_identity(const struct node *node)
{
	return node->identity;
}

size_t node_links(struct node *node, struct node_link_status *out, size_t max)
{
	size_t count = node->link_count < max ? node->link_count : max;

	for (size_t i = 0; i < count; i++) {
		const struct node_link *link = node->links[i];
		struct link_figures figures;

		link_figures(link->link, &figures);
		out[i] = (struct node_link_status){ .neighbour = link->neighbour, .bearer = "ip", .is_up = link_is_up(link->link),
			.since_ms = link->since_ms, .heard_ms = figures.heard_ms, .rate_bps = figures.rate_bps, .unacked = figures.unacked,
			.sent_bytes = figures.sent_bytes, .received_bytes = figures.received_bytes };
		if (link->config)
			strcpy(out[i].address, link->config->address);
		strcpy(out[i].problem, link->problem);
	}
	return count;
}

struct queue_scan { struct message_id heads[QUEUE_HEAD_ROWS]; size_t head_count; };

static bool queue_visit(void *context, const struct store_key *key, struct slice value)
{
	struct queue_scan *scan = context;
	struct item_ref ref;
	uint32_t destination;

	(void)key;
	if (!store_value_read_ref(value, &ref, &destination) && ref.type == ITEM_TYPE_MESSAGE)
		scan->heads[scan->head_count++] = ref.id;
	return scan->head_count < QUEUE_HEAD_ROWS;
}

void node_queue(struct node *node, uint32_t neighbour, struct node_queue_status *out)
{
	struct store_depth depth;
	struct moment now;
	const bool is_known = store_depth_next(node->store, neighbour, &depth) && depth.link == neighbour;

	memset(out, 0, sizeof(*out));
	node_now(node, &now);
	for (int p = 0; p < PRECEDENCE_COUNT; p++) {
		struct store_key from = store_key_queue(neighbour, (enum precedence)p, 0);
		struct queue_scan scan = { .head_count = 0 };
		enum cpd_error error = CPD_OK;

		out->depth[p] = is_known ? depth.rows[p] : 0;
		if (out->depth[p])
			error = store_scan(node->store, TABLE_QUEUE, &from, from.len - 8, false, QUEUE_HEAD_ROWS, queue_visit, &scan, NULL);
		if (error && error != CPD_ERR_NOT_FOUND)
			log_limited(LOG_WARNING, "queue-not-read", neighbour, now.custody_ms, "link=%u error=\"%s\"", neighbour, cpd_error_text(error));
		out->oldest_s[p] = -1;
		for (size_t i = 0; i < scan.head_count; i++) {
			struct custody custody;

			if (!node_load_custody(node, &scan.heads[i], &custody) && (int64_t)custody_age_s(&custody, &now) > out->oldest_s[p])
				out->oldest_s[p] = custody_age_s(&custody, &now);
			custody_clear(&custody);
		}
	}
}

bool node_presence(struct node *node, uint32_t number, struct presence *out, int64_t *age_s)
{
	int64_t heard_ms, age_ms;

	memset(out, 0, sizeof(*out));
	*age_s = 0;
	if (!node->relay || !relay_presence(node->relay, number, out, &heard_ms))
		return false;
	age_ms = node_ms(node) - heard_ms;
	*age_s = age_ms > 0 ? age_ms / 1000 : 0;
	return true;
}

void node_counters(const struct node *node, struct node_counters *out)
{
	*out = node->counters;
	out->log_dropped = log_dropped();
}
