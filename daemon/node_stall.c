/* node_stall.c: a queue that should move and does not: told, and its link begun anew. */
#include "daemon/node_stall.h"

#include "daemon/log.h"
#include "daemon/node_internal.h"

#define LOOK_MS 500              /* no oftener, however busy the node is */
#define OWN_DISK_MS 5000         /* a commit of ours that takes so long: what stands still may be us */

void stall_set(const struct node *node, struct node_link *link, const struct link_profile *profile)
{
	link->stall_bound_ms = node->config->stall_ms ? node->config->stall_ms : stall_bound_ms(profile);
}

static bool own_disk_stands_still(const struct node *node)
{
	const int64_t now_us = clock_boot_us();

	for (const struct turn *turn = node->first; turn; turn = turn->next)
		if (turn->submitted_us && now_us - turn->submitted_us > (int64_t)OWN_DISK_MS * 1000)
			return true;
	return false;
}

static void view_of(struct node *node, struct node_link *link, struct stall_view *out)
{
	struct moment now;

	node_now(node, &now);
	*out = (struct stall_view){ .is_up = link_is_up(link->link), .is_excused = own_disk_stands_still(node) };
	for (int p = 0; p < PRECEDENCE_COUNT; p++)
		out->is_due[p] = relay_is_due(node->relay, link->neighbour, (enum precedence)p, &now);
	link_progress(link->link, &out->progress);
}

static void tell_stalled(const struct node_link *link, int64_t now_ms)
{
	log_limited(LOG_ERR, "queue-stalled", link->neighbour, now_ms, "link=%u precedence=%s for_s=%lld resets=%u cure=\"it answers, and says nothing of what it was "
	    "sent: the link is begun anew. Look at the disk and the log of that neighbour, and whether large packets pass (MTU); bring what is "
	    "urgent another way: cpctl queue shows it\"", link->neighbour, precedence_name(link->stall.precedence),
	    (long long)((now_ms - link->stall.since_ms) / 1000), link->stall.resets);
}

static void look(struct node *node, struct node_link *link, int64_t now_ms)
{
	const int64_t since_ms = link->stall.since_ms;
	struct stall_view view;

	view_of(node, link, &view);
	switch (stall_look(&link->stall, &view, link->stall_bound_ms, now_ms)) {
	case STALL_NONE:
		break;
	case STALL_BEGAN: case STALL_LASTS:
		tell_stalled(link, now_ms);
		links_end(node, link, "what it was sent stood still");
		break;
	case STALL_OVER:
		log_limited(LOG_NOTICE, "queue-moves", link->neighbour, now_ms, "link=%u after_s=%lld", link->neighbour, (long long)((now_ms - since_ms) / 1000));
		break;
	}
}

void stall_tick(struct node *node, struct node_link *link, int64_t now_ms)
{
	if (!link->stall.was_looked || now_ms - link->stall.looked_ms >= LOOK_MS)
		look(node, link, now_ms);
}

void stall_heard(struct node *node, struct node_link *link, int64_t now_ms)
{
	if (link->stall.is_stalled)
		look(node, link, now_ms);
}

int64_t stall_due(const struct node_link *link)
{
	return stall_deadline(&link->stall, link->stall_bound_ms);
}
