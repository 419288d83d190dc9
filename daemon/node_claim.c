/*
 * node_claim.c: one identity, one live copy (PROTOCOL.md section 7.12): which copy this process is, the refusal of an
 * older copy of a neighbour, and what becomes of this node when it is the older one itself.
 *
 * A fenced node keeps all that it holds and lets it be read and printed; it speaks to no neighbour,
 * writes nothing, signs nothing, and lets nothing expire, until it is told to take over.
 */
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-id128.h>

#include "daemon/log.h"
#include "daemon/node_courier.h"

/* It has been told, and ends the session itself; this is for one that does not. */
#define REFUSED_STAYS_MS 10000
/* A record that was stored may be of any age: never younger than this process, and old enough to prove nothing alive. */
#define STORED_AGE_S (30 * 86400)

/* Names the machine without telling /etc/machine-id. */
static const sd_id128_t application = { .bytes = { 0x5b, 0x0e, 0x8d, 0x1f, 0x6a, 0x7c, 0x4e, 0x43, 0x9b, 0x0d, 0xc2, 0x71, 0xa4, 0x19, 0xe6, 0xf2 } };

static const char *machine_name(char out[SD_ID128_STRING_MAX])
{
	sd_id128_t machine;

	out[0] = '\0';
	return sd_id128_get_machine_app_specific(application, &machine) < 0 ? out : sd_id128_to_string(machine, out);
}

static void tell_fenced(const struct node *node)
{
	log_line(LOG_ERR, "fenced", "claim=%u epoch=%u by_claim=%u by_epoch=%u cure=\"another copy of this node is in use, so this one has stopped; what it holds is "
	    "kept: cpctl queue shows it. If this machine is to be the node: switch the other off, stop cpd, "
	    "cpctl node claim %s, start cpd\"", node->claim.claim, node->epoch, node->claim.fenced_by.claim, node->claim.fenced_by.epoch, node->config->state);
}

enum cpd_error claim_load(struct node *node, char problem[256])
{
	char machine[SD_ID128_STRING_MAX];
	uint32_t before;
	enum cpd_error error = claim_begin(node->config->identity, machine_name(machine), &node->claim, &node->instance, &node->has_moved);

	if (error) {
		snprintf(problem, 256, "%s", *crypto_problem() ? crypto_problem() : "which copy of this node this is cannot be told; look at the identity folder");
		return error;
	}
	before = node->claim.claim - 1;
	if (node_is_fenced(node))
		tell_fenced(node);
	else if (node->has_moved)
		log_line(LOG_WARNING, "node-moved", "claim=%u was=%u why=\"this is another machine or a copy of the folder\" cure=\"none: the copy it was made of is fenced when it speaks\"",
		    node->claim.claim, before);
	return CPD_OK;
}

bool node_is_fenced(const struct node *node)
{
	return node->claim.fenced_by.instance != 0;
}

enum cpd_error claim_raise(struct node *node)
{
	struct claim_file raised = node->claim;
	enum cpd_error error;

	if (node->raise_claim <= node->claim.claim)
		return CPD_OK;
	raised.claim = node->raise_claim;
	node->raise_claim = 0;
	error = claim_write(node->config->identity, &raised);
	if (error)
		return error;
	log_line(LOG_WARNING, "claim-rose", "claim=%u was=%u why=\"it was told to take over\"", raised.claim, node->claim.claim);
	node->claim = raised;
	return CPD_OK;
}

void claim_settled(struct node *node)
{
	struct claim_file settled = node->claim;

	if (!node->claim.takes_over || !node->contact_ms || node_ms(node) - node->contact_ms < node->config->timers.copy_doubt_ms)
		return;
	/* It has been heard: the order is carried out, and is not to be copied along with this folder. */
	settled.takes_over = false;
	if (!claim_write(node->config->identity, &settled))
		node->claim = settled;
}

/* ---------------------------------------------------------------- an older copy of a neighbour */

static void tell_superseded(struct node *node, const struct node_link *link, uint64_t session, struct slice record, uint32_t age_s)
{
	struct frame frame = { .has = FRAME_HELLO };
	size_t len;

	frame.hello = (struct frame_hello){ .version = LINK_VERSION, .version_min = LINK_VERSION, .epoch = node->epoch, .clock_ms = -1,
		.claim = node->claim.claim, .instance = node->instance, .superseded = record, .superseded_age_s = age_s };
	if (!frame_encode(&frame, node->frame, &len) && bearer_zmq_send(node->bearer, session, (struct slice){ node->frame, len }))
		log_limited(LOG_INFO, "copy-not-told", link->neighbour, node_ms(node), "link=%u cure=\"it is told when it calls again\"", link->neighbour);
}

bool claim_refuses(struct node *node, struct node_link *link, struct node_session *session, const struct frame_hello *hello)
{
	const struct claim told = { hello->claim, hello->epoch, hello->instance };
	const struct store_key key = store_key_number(link->neighbour);
	const int64_t now_ms = node_ms(node);
	struct presence presence;
	struct claim held;
	struct slice record;
	uint8_t *stored = NULL;
	int64_t heard_ms;
	size_t len;

	if (!told.instance || !relay_presence(node->relay, link->neighbour, &presence, &heard_ms))
		return false;
	held = presence_claim(&presence);
	if (!held.instance || claim_compare(&told, &held) >= 0)
		return false;
	if (relay_presence_record(node->relay, link->neighbour, &record, &heard_ms)) {
		tell_superseded(node, link, session->number, record, now_ms > heard_ms ? (uint32_t)((now_ms - heard_ms) / 1000) : 0);
	} else {
		if (node_load(node, TABLE_PRESENCE, &key, &stored, &len) || len <= 8) {
			free(stored);
			return false;           /* without proof nobody is refused */
		}
		tell_superseded(node, link, session->number, (struct slice){ stored + 8, len - 8 }, STORED_AGE_S);
		free(stored);
	}
	session->refused_ms = now_ms ? now_ms : 1;
	node->counters.copies_refused++;
	log_limited(LOG_WARNING, "copy-refused", link->neighbour, now_ms, "link=%u claim=%u epoch=%u newer_claim=%u newer_epoch=%u "
	    "cure=\"an older copy of that node called: two machines have its keys; look which is in use, and leave the other off\"", link->neighbour, told.claim,
	    told.epoch, held.claim, held.epoch);
	return true;
}

int64_t claim_deadline(const struct node_link *link)
{
	int64_t first = INT64_MAX;

	for (size_t i = 0; i < link->session_count; i++)
		if (link->sessions[i].refused_ms && link->sessions[i].refused_ms + REFUSED_STAYS_MS < first)
			first = link->sessions[i].refused_ms + REFUSED_STAYS_MS;
	return first;
}

void claim_tick(struct node *node, struct node_link *link, int64_t now_ms)
{
	for (size_t i = 0; i < link->session_count; i++)
		if (link->sessions[i].refused_ms && link->sessions[i].refused_ms + REFUSED_STAYS_MS <= now_ms) {
			link->sessions[i].refused_ms = now_ms;   /* `down` follows; not again meanwhile */
			bearer_zmq_end(node->bearer, link->sessions[i].number, "an older copy of that node");
		}
}

/* ---------------------------------------------------------------- this is the older copy */

static void fall_silent(struct node *node)
{
	for (size_t i = 0; i < node->link_count; i++) {
		struct node_link *link = node->links[i];

		links_end(node, link, "this copy of the node is fenced");
		snprintf(link->problem, sizeof(link->problem), "this copy of the node is fenced");
	}
	directory_calls(node);
	bearer_zmq_roster_changed(node->bearer);
}

void claim_fence(struct node *node)
{
	node->claim.fenced_by = node->fence;
	node->fence.instance = 0;
	node->raise_epoch = node->raise_claim = 0;
	if (claim_write(node->config->identity, &node->claim))
		log_line(LOG_ERR, "fence-not-kept", "error=\"%s\" cure=\"it holds until this process ends; do not start it again before the disk is mended\"", crypto_problem());
	tell_fenced(node);
	fall_silent(node);
	courier_put_down(node);
}
