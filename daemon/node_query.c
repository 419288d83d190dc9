/* node_query.c: what the API asks; all from committed data. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"

/* The writer, or the pool, has had something to do for this long and did nothing. A slow disk syncs within seconds. */
#define STALL_MS 10000

const uint32_t node_commit_bounds_us[NODE_COMMIT_BOUNDS] = { 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
	1000000, 2500000, 10000000 };

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
			.unacked_since_ms = figures.unacked_since_ms, .sent_bytes = figures.sent_bytes,
			.received_bytes = figures.received_bytes, .credit_stalls = figures.credit_stalls };
		out[i].is_stalled = link->stall.is_stalled;
		out[i].stalled_since_ms = link->stall.since_ms;
		out[i].stall_resets = link->stall.resets;
		out[i].stalled = link->stall.precedence;
		if (link->config)
			strcpy(out[i].address, link->config->address);
		if (link->config && !strcmp(link->config->profile, "courier"))
			strcpy(out[i].bearer, "courier");
		out[i].has_clock = link->has_clock;
		out[i].clock_offset_ms = link->clock_offset_ms;
		out[i].clock_told_ms = link->clock_told_ms;
		out[i].clock_quality = link->clock_quality;
		strcpy(out[i].problem, link->problem);
	}
	return count;
}

/* Of the first in line: a message's age, or for how long a receipt has waited. -1: its record cannot be read. */
static int64_t head_age_s(struct node *node, const struct store_key *prefix, const struct moment *now)
{
	struct store_key key;
	struct item_ref ref;
	struct custody custody;
	uint32_t destination;
	uint8_t *value;
	int64_t age_s = -1;
	size_t len;

	if (store_seek(node->store, TABLE_QUEUE, prefix, prefix->len - 8, false, &key, &value, &len))
		return -1;
	if (store_value_read_ref((struct slice){ value, len }, &ref, &destination))
		ref.type = 0;
	free(value);
	if (ref.type == ITEM_TYPE_MESSAGE) {
		if (!node_load_custody(node, &ref.id, &custody))
			age_s = custody_age_s(&custody, now);
		custody_clear(&custody);
	} else if (ref.type == ITEM_TYPE_RECEIPTS) {
		key = store_key_record(ref.id.origin, ref.id.epoch, ref.id.sequence);
		if (!node_load(node, TABLE_RECEIPTS, &key, &value, &len)) {
			age_s = len >= 8 && now->custody_ms > time_of(value) ? (now->custody_ms - time_of(value)) / 1000 : 0;
			free(value);
		}
	}
	return age_s;
}

void node_queue(struct node *node, uint32_t neighbour, struct node_queue_status *out)
{
	struct store_depth depth;
	struct moment now;
	bool is_known = store_depth_next(node->store, neighbour, &depth) && depth.link == neighbour;

	node_now(node, &now);
	for (int p = 0; p < PRECEDENCE_COUNT; p++) {
		const struct store_key prefix = store_key_queue(neighbour, (enum precedence)p, 0);

		out->depth[p] = is_known ? depth.rows[p] : 0;
		out->oldest_s[p] = out->depth[p] ? head_age_s(node, &prefix, &now) : -1;
	}
}

bool node_queue_next(struct node *node, uint32_t from, uint32_t *neighbour)
{
	struct store_depth depth;

	while (store_depth_next(node->store, from, &depth)) {
		*neighbour = depth.link;
		for (int p = 0; p < PRECEDENCE_COUNT; p++)
			if (depth.rows[p])
				return true;
		if (depth.link == UINT32_MAX)
			break;
		from = depth.link + 1;
	}
	return false;
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

enum space_state node_space(const struct node *node, enum precedence precedence)
{
	return node->space.states[precedence];
}

void node_counters(const struct node *node, struct node_counters *out)
{
	*out = node->counters;
	out->log_dropped = log_dropped();
}

static size_t list_count(const struct work_list *list)
{
	size_t count = 0;

	for (const struct work *work = list->first; work; work = work->next)
		count++;
	return count;
}

void node_gauges(struct node *node, struct node_gauges *out)
{
	*out = (struct node_gauges){ .turns_in_flight = node->in_flight, .verifications = verify_pool_pending(node->pool), .epoch = node->epoch,
		.works_waiting = list_count(&node->urgent) + list_count(&node->ordinary) + list_count(&node->waiting_urgent) + list_count(&node->waiting) };
}

void node_inbox(const struct node *node, uint64_t *total, uint64_t *unread)
{
	const struct relay_counters *counters = node->relay ? relay_counters(node->relay) : &node->stored;

	*total = counters->next_inbox ? counters->next_inbox - 1 : 0;
	*unread = *total > counters->inbox_read ? *total - counters->inbox_read : 0;
}

/* ---------------------------------------------------------------- health */

static void trouble(struct node_trouble *out, size_t *count, const char *code, const char *text, const char *remedy)
{
	out[*count].code = code;
	out[*count].remedy = remedy;
	snprintf(out[(*count)++].text, sizeof(out->text), "%s", text);
}

/* Since when the oldest turn waits for the disk; INT64_MAX: none does. */
static int64_t writer_since_us(const struct node *node)
{
	for (const struct turn *turn = node->first; turn; turn = turn->next)
		if (turn->submitted_us)
			return turn->submitted_us;
	return INT64_MAX;
}

static bool pool_stands_still(struct node *node, int64_t now_ms)
{
	const uint64_t progress = verify_pool_progress(node->pool);

	if (!verify_pool_pending(node->pool)) {
		node->pool_still_ms = 0;
		return false;
	}
	if (progress != node->pool_progress || !node->pool_still_ms)
		node->pool_still_ms = now_ms;
	node->pool_progress = progress;
	return now_ms - node->pool_still_ms > STALL_MS;
}

bool node_fenced(const struct node *node, struct claim *by)
{
	*by = node->claim.fenced_by;
	return node_is_fenced(node);
}

uint32_t node_claim(const struct node *node)
{
	return node->claim.claim;
}

size_t node_health(struct node *node, struct node_trouble out[NODE_TROUBLES])
{
	const int64_t since_us = writer_since_us(node), now_us = clock_boot_us();
	size_t count = 0;

	if (node_is_fenced(node)) {
		trouble(out, &count, "fenced", "", "leave this one off when cpctl queue shows nothing here; else, or if this machine is to be the node: switch the other off, "
		    "and here: stop cpd, cpctl node claim STATEDIR, start cpd");
		snprintf(out[count - 1].text, sizeof(out->text), "a newer copy of this node is in use (claim %u, epoch %u): this one has stopped; what it holds is kept",
		    node->claim.fenced_by.claim, node->claim.fenced_by.epoch);
	}
	if (node->has_failed || node->rebuild_why)
		trouble(out, &count, "store-failed", "a commit failed, and the store is being opened again",
		    "look at the disk: full, read-only or broken; journalctl -u cpd tells more");
	else if (!store_admits(node->store, PRECEDENCE_FLASH))
		trouble(out, &count, "store-full", "the store takes no new message, not even a FLASH",
		    "free disk space or raise [store] limit_mib");
	if (since_us < now_us && now_us - since_us > (int64_t)STALL_MS * 1000) {
		trouble(out, &count, "writer-stands-still", "", "look at the disk: it hangs or is very slow");
		snprintf(out[count - 1].text, sizeof(out->text), "the disk has not taken a commit for %lld s", (long long)((now_us - since_us) / 1000000));
	}
	if (pool_stands_still(node, now_us / 1000))
		trouble(out, &count, "verification-stands-still", "signatures wait and none is checked", "start cpd again");
	return count;
}
