/* route.c: links, presence, and the way a message takes next. */
#include "daemon/relay/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* After something changed that may open a way, queues are looked through once, a little later, so that
 * a burst of changes costs one pass. */
#define REROUTE_SETTLE_MS 1000
#define ANNOUNCE_SETTLE_MS 500
#define CANDIDATES 16
/* Nobody acknowledges a presence: what every origin must hear is told this often. */
#define EPOCH_TELLINGS 4
#define ELDERS_KEPT_MS (INT64_C(1000) * LIMIT_LIFETIME_MAX_S)
/* A presence that tells nothing new but its time is stored this seldom: a commit costs a wake-up. */
#define PRESENCE_STORE_MS (10 * 60000)

struct candidates { uint32_t nodes[CANDIDATES]; size_t count; };

static void candidate_add(const struct relay *relay, struct candidates *candidates, uint32_t node)
{
	if (!node || node == relay->config.self || !neighbour_of(relay, node) || candidates->count == CANDIDATES)
		return;
	for (size_t i = 0; i < candidates->count; i++)
		if (candidates->nodes[i] == node)
			return;
	candidates->nodes[candidates->count++] = node;
}

/* Longest match in the static table first. */
static void candidates_static(const struct relay *relay, struct candidates *candidates, uint32_t node)
{
	char digits[12];

	snprintf(digits, sizeof(digits), "%u", (unsigned)node);
	for (int length = (int)strlen(digits); length >= 0; length--) {
		for (size_t i = 0; i < relay->config.route_count; i++) {
			const struct relay_route *route = &relay->routes[i];
			if ((int)strlen(route->prefix) != length || strncmp(route->prefix, digits, (size_t)length))
				continue;
			for (size_t v = 0; v < route->via_count; v++)
				candidate_add(relay, candidates, route->via[v]);
		}
	}
}

struct peer *peer_of(const struct relay *relay, uint32_t node)
{
	return map_get(&relay->peers, map_key_pair(node, 0));
}

uint32_t peer_epoch(const struct relay *relay, uint32_t node)
{
	const struct peer *peer = peer_of(relay, node);

	return peer && peer->has_presence ? peer->presence.epoch : 0;
}

uint64_t floor_of(const struct relay *relay, uint32_t origin, uint32_t epoch)
{
	const struct peer *peer = peer_of(relay, origin);

	if (origin == relay->config.self)
		return own_floor(relay, epoch, NULL);
	if (!peer || !peer->has_presence)
		return 0;
	for (size_t i = 0; i < peer->presence.floor_count; i++)
		if (peer->presence.floors[i].epoch == epoch)
			return peer->presence.floors[i].floor;
	return 0;
}

static bool is_in_trace(const struct custody *custody, uint32_t node)
{
	if (!custody)
		return false;
	for (size_t i = 0; i < custody->trace_count; i++)
		if (custody->trace[i].node == node)
			return true;
	return custody->from == node && node != 0;
}

static bool was_tried(const struct recipient *recipient, uint32_t node)
{
	for (size_t i = 0; recipient && i < LIMIT_TRIED; i++)
		if (recipient->tried[i] == node)
			return true;
	return false;
}

/* The node itself told, after this copy came here, that it is homed on `via`: then back is forward. */
static bool is_fresh_home(const struct peer *peer, const struct custody *custody, uint32_t via)
{
	if (!peer || !peer->has_presence || peer->heard_ms <= custody->since.custody_ms)
		return false;
	for (size_t i = 0; i < peer->presence.home_count; i++)
		if (peer->presence.homes[i] == via)
			return true;
	return false;
}

/* The neighbour a copy for `node` goes to: the node itself when it is one, the neighbours it says it is
 * homed on, then the static table; those that are up first, one that was not tried yet before one that
 * was, never back where it came from unless that is the addressee or its new home. A way that is down is better than
 * none: its queue waits there and moves when presence shows another. 0: none known. */
uint32_t route_pick(const struct relay *relay, uint32_t node, const struct custody *custody, const struct recipient *recipient)
{
	struct candidates candidates = { .count = 0 };
	const struct peer *peer = peer_of(relay, node);

	candidate_add(relay, &candidates, node);
	for (size_t i = 0; peer && peer->has_presence && i < peer->presence.home_count; i++) {
		candidate_add(relay, &candidates, peer->presence.homes[i]);
		if (!neighbour_of(relay, peer->presence.homes[i]) && peer->presence.homes[i] != relay->config.self)
			candidates_static(relay, &candidates, peer->presence.homes[i]);
	}
	candidates_static(relay, &candidates, node);
	for (int pass = 0; pass < 3; pass++) {
		for (size_t i = 0; i < candidates.count; i++) {
			uint32_t via = candidates.nodes[i];

			if (via != node && is_in_trace(custody, via) && !is_fresh_home(peer, custody, via))
				continue;
			if (pass < 2 && !neighbour_of(relay, via)->is_up)
				continue;
			if (pass < 1 && was_tried(recipient, via))
				continue;
			return via;
		}
	}
	return 0;
}

uint32_t relay_route_to(const struct relay *relay, uint32_t node)
{
	return route_pick(relay, node, NULL, NULL);
}

/* ---------------------------------------------------------------- rerouting */

static void reroute_link(struct relay *relay, struct neighbour *neighbour, int64_t at_ms)
{
	(void)relay;
	if (queue_is_empty(neighbour))
		return;
	if (!neighbour->wants_reroute || at_ms < neighbour->reroute_at_ms)
		neighbour->reroute_at_ms = at_ms;
	neighbour->wants_reroute = true;
}

/* A way may have opened: look again at what has none, and at what waits for a link that is down. */
void reroute_soon(struct relay *relay)
{
	for (size_t i = 0; i < relay->link_count; i++) {
		struct neighbour *neighbour = relay->links[i];
		int64_t at = relay->now.custody_ms + REROUTE_SETTLE_MS;

		if (neighbour->is_up)
			continue;
		if (neighbour->node && at < neighbour->down_since_ms + relay->config.reroute_ms)
			at = neighbour->down_since_ms + relay->config.reroute_ms;
		reroute_link(relay, neighbour, at);
	}
}

static void want_reroute_rows(struct relay *relay, uint32_t link, enum precedence precedence, uint64_t after)
{
	struct relay_effect *effect = effect_add(relay, EFFECT_WANT_ROWS);

	effect->link = link;
	effect->precedence = precedence;
	effect->counter = after;
	effect->is_reroute = true;
}

/* Its origin needs nobody to carry it any more: a copy that found no way, or waits for a link that is
 * down, would else stand here for ever. */
static void below_floor(struct relay *relay, struct custody *custody)
{
	for (size_t i = 0; i < custody->recipient_count; i++)
		if (custody->recipients[i].hop == HOP_QUEUED || custody->recipients[i].hop == HOP_UNROUTED)
			custody->recipients[i].hop = HOP_ENDED;
	rows_tidy(relay, custody);
	release_if_passed(relay, custody);
}

static void reroute_message_row(struct relay *relay, uint32_t link, const struct relay_row *row)
{
	struct custody *custody = custody_of(relay, &row->ref.id);
	bool moved = false;

	if (custody && custody->id.sequence < floor_of(relay, custody->id.origin, custody->id.epoch)) {
		below_floor(relay, custody);
		return;
	}
	if (!custody || (custody->flags & CUSTODY_IS_HELD))
		return;
	for (size_t i = 0; i < custody->recipient_count; i++) {
		struct recipient *recipient = &custody->recipients[i];
		struct neighbour *better;
		uint32_t via;

		if (recipient->row != row->ref.counter || recipient->via != link
		    || (recipient->hop != HOP_QUEUED && recipient->hop != HOP_UNROUTED))
			continue;
		via = route_pick(relay, recipient->node, custody, NULL);
		better = via ? neighbour_of(relay, via) : NULL;
		if (!better || via == link || (link && !better->is_up))
			continue;
		recipient->via = UINT32_MAX;
		moved = true;
	}
	if (!moved)
		return;
	journal(relay, JOURNAL_REROUTED, custody, 0, link, LEVEL_NONE, REFUSED_NONE);
	enqueue_marked(relay, custody);
	rows_tidy(relay, custody);
	if (!custody->timer_ms || link == 0)
		origin_timer(relay, custody);
	/* rows_tidy deletes rows by the recipients that were on them; this one may have lost its last */
	for (size_t i = 0; i < custody->recipient_count; i++)
		if (custody->recipients[i].row == row->ref.counter && custody->recipients[i].via == link)
			return;
	row_delete(relay, link, row->ref.precedence, row->ref.counter);
}

void handle_reroute_rows(struct relay *relay)
{
	const struct relay_event *event = relay->event;
	uint64_t last = 0;

	for (size_t i = 0; i < event->row_count; i++) {
		const struct relay_row *row = &event->rows[i];
		last = row->ref.counter;
		if (row->ref.type == ITEM_TYPE_MESSAGE) {
			reroute_message_row(relay, event->link, row);
		} else if (row->ref.type == ITEM_TYPE_RECEIPTS) {
			uint32_t via = route_pick(relay, row->destination, NULL, NULL);
			if (!via || via == event->link || (event->link && !neighbour_of(relay, via)->is_up))
				continue;
			row_delete(relay, event->link, row->ref.precedence, row->ref.counter);
			row_put(relay, via, &row->ref, row->destination);
		}
	}
	if (!event->rows_end)
		want_reroute_rows(relay, event->link, event->precedence, last);
	else if (event->precedence > PRECEDENCE_ROUTINE)
		want_reroute_rows(relay, event->link, event->precedence - 1, 0);
}

/* ---------------------------------------------------------------- links */

static bool passes_presence(const struct relay *relay, uint32_t to, const struct peer *peer, bool is_link_new)
{
	uint32_t about = peer->presence.node;
	const struct certificate *receiver = directory_certificate(relay->config.directory, to);
	const struct certificate *subject = directory_certificate(relay->config.directory, about);

	if (about == relay->config.self)
		return false;
	if (to == about)
		return is_link_new || peer->is_superseding;      /* a node whose store was set back learns of it by its own later word */
	if (relay->config.passes_presence_to_nsps || !receiver || receiver->role != ROLE_ID_NSP)
		return true;
	/* Who has begun a new epoch may have lost its disk: every origin must hear of that, else what it keeps
	 * for that node in retention is never offered again. Told when it is new, and to a link that comes up:
	 * each minute's presence of 500 NSPs would fill a thin link. */
	if (peer->news || (is_link_new && peer->presence.epoch > 1))
		return true;
	return subject && subject->role != ROLE_ID_NSP;
}

static void presence_pass(struct relay *relay, const struct peer *peer, uint32_t to, bool is_link_new)
{
	struct relay_effect *effect;
	int64_t age_ms = relay->now.custody_ms - peer->heard_ms;

	if (!peer->record || !passes_presence(relay, to, peer, is_link_new))
		return;
	effect = effect_add(relay, EFFECT_PRESENCE);
	effect->link = to;
	effect->node = peer->presence.node;
	effect->age_s = age_ms > 0 ? (uint32_t)(age_ms / 1000) : 0;
	effect->bytes = bytes_keep(relay, (struct slice){ peer->record, peer->record_len });
}

void handle_link(struct relay *relay, bool is_up)
{
	struct neighbour *neighbour = neighbour_of(relay, relay->event->link);
	size_t at = 0;
	struct peer *peer;

	if (!neighbour || !neighbour->node || neighbour->is_up == is_up)
		return;
	neighbour->is_up = is_up;
	journal(relay, is_up ? JOURNAL_LINK_UP : JOURNAL_LINK_DOWN, NULL, neighbour->node, neighbour->node, LEVEL_NONE, REFUSED_NONE);
	announce_soon(relay, ANNOUNCE_SETTLE_MS);
	if (!is_up) {
		neighbour->down_since_ms = relay->now.custody_ms;
		reroute_link(relay, neighbour, relay->now.custody_ms + relay->config.reroute_ms);
		return;
	}
	neighbour->wants_reroute = false;
	for (int p = 0; p < PRECEDENCE_COUNT; p++)
		neighbour->windows[p].full_until_ms = 0;        /* it may have room by now: one row shows */
	while ((peer = map_next(&relay->peers, &at)))
		presence_pass(relay, peer, neighbour->node, true);
	reroute_soon(relay);
}

/* ---------------------------------------------------------------- presence */

static struct peer *peer_make(struct relay *relay, uint32_t node)
{
	struct peer *peer = peer_of(relay, node);

	if (peer)
		return peer;
	peer = calloc(1, sizeof(*peer));
	if (!peer || map_put(&relay->peers, map_key_pair(node, 0), peer)) {
		free(peer);
		relay->failed = true;
		return NULL;
	}
	return peer;
}

enum cpd_error relay_restore_presence(struct relay *relay, const struct presence *presence, int64_t heard_ms)
{
	struct peer *peer = peer_make(relay, presence->node);

	if (!peer)
		return CPD_ERR_NOMEM;
	peer->presence = *presence;
	peer->heard_ms = heard_ms;
	peer->has_presence = true;
	return CPD_OK;
}

bool relay_presence(const struct relay *relay, uint32_t node, struct presence *out, int64_t *heard_ms)
{
	const struct peer *peer = peer_of(relay, node);

	if (!peer || !peer->has_presence)
		return false;
	*out = peer->presence;
	*heard_ms = peer->heard_ms;
	return true;
}

static bool same_homes(const struct presence *a, const struct presence *b)
{
	return a->home_count == b->home_count && !memcmp(a->homes, b->homes, a->home_count * sizeof(a->homes[0]));
}

/* The floor of an epoch never falls; one that does tells of a store that was put back. With a new epoch
 * its node has seen so itself, and may know less of the elder ones than it told before. */
static bool floor_falls(const struct presence *held, const struct presence *told)
{
	for (size_t i = 0; i < told->floor_count; i++)
		for (size_t j = 0; j < held->floor_count; j++)
			if (told->floors[i].epoch == told->epoch && held->floors[j].epoch == told->epoch
			    && told->floors[i].floor < held->floors[j].floor)
				return true;
	return false;
}

/* What was told of an elder epoch before its store was put back stays true: that is final. */
static void floors_keep(const struct presence *held, struct presence *told)
{
	for (size_t i = 0; i < held->floor_count; i++) {
		const struct epoch_floor *floor = &held->floors[i];
		size_t j = 0;

		while (j < told->floor_count && told->floors[j].epoch != floor->epoch)
			j++;
		if (j == LIMIT_FLOORS)
			continue;
		if (j == told->floor_count)
			told->floors[told->floor_count++] = *floor;
		else if (told->floors[j].floor < floor->floor)
			told->floors[j].floor = floor->floor;
	}
}

static bool same_floors(const struct presence *a, const struct presence *b)
{
	if (a->floor_count != b->floor_count)
		return false;
	for (size_t i = 0; i < a->floor_count; i++)
		if (a->floors[i].epoch != b->floors[i].epoch || a->floors[i].floor != b->floors[i].floor)
			return false;
	return true;
}

/* What was final is purged, and shown again when it comes once more unless its floor is remembered: so floors are
 * stored where the presence in the store does not tell them. */
static void floors_store(struct relay *relay, struct peer *peer, bool is_changed, bool has_kept)
{
	struct relay_effect *effect;
	bool is_due = (is_changed && peer->own_asked) || (has_kept && (is_changed || !peer->has_kept));

	peer->has_kept = has_kept;
	if (!is_due)
		return;
	effect = effect_add(relay, EFFECT_PUT_FLOORS);
	effect->node = peer->presence.node;
	effect->presence.floor_count = peer->presence.floor_count;
	memcpy(effect->presence.floors, peer->presence.floors, sizeof(effect->presence.floors));
}

void relay_restore_floors(struct relay *relay, uint32_t node, const struct epoch_floor *floors, size_t count)
{
	struct presence told = { .floor_count = count < LIMIT_FLOORS ? count : LIMIT_FLOORS };
	struct peer *peer = peer_of(relay, node);

	if (!peer || !peer->has_presence)
		return;
	memcpy(told.floors, floors, told.floor_count * sizeof(told.floors[0]));
	floors_keep(&told, &peer->presence);
	peer->has_kept = true;
}

/* What its node lost with a disk it will never declare final. Nobody offers it any more when the longest
 * lifetime is over, so a record of it may go; a copy that still waits here (FLASH) stays. */
static void elders_purge(struct relay *relay, const struct presence *told)
{
	struct relay_effect *effect;

	if (told->epoch < 2 || relay->now.custody_ms <= ELDERS_KEPT_MS)
		return;
	effect = effect_add(relay, EFFECT_PURGE_ELDERS);
	effect->node = told->node;
	effect->epoch = told->epoch;
	effect->at_ms = relay->now.custody_ms - ELDERS_KEPT_MS;
}

static bool floors_purge(struct relay *relay, const struct presence *held, const struct presence *told)
{
	bool rose = false;

	for (size_t i = 0; i < told->floor_count; i++) {
		uint64_t before = 0;
		struct relay_effect *effect;

		for (size_t j = 0; held && j < held->floor_count; j++)
			if (held->floors[j].epoch == told->floors[i].epoch)
				before = held->floors[j].floor;
		if (told->floors[i].floor <= before || told->floors[i].floor <= 1)
			continue;
		effect = effect_add(relay, EFFECT_PURGE_BELOW);
		effect->node = told->node;
		effect->epoch = told->floors[i].epoch;
		effect->sequence = told->floors[i].floor;
		rose = true;
	}
	return rose;
}

static void presence_store(struct relay *relay, struct peer *peer)
{
	struct relay_effect *effect = effect_add(relay, EFFECT_PUT_PRESENCE);

	effect->node = peer->presence.node;
	effect->at_ms = peer->stored_ms = peer->heard_ms;
	effect->bytes = bytes_keep(relay, (struct slice){ peer->record, peer->record_len });
}

/* Only now the new epoch is stored: had the process ended before, its question would be forgotten, and
 * the epoch must be new to us again. */
void presence_is_served(struct relay *relay, uint32_t node)
{
	struct peer *peer = peer_of(relay, node);

	if (peer && peer->own_asked && !--peer->own_asked && peer->record)
		presence_store(relay, peer);
}

bool relay_presence_record(const struct relay *relay, uint32_t node, struct slice *record, int64_t *heard_ms)
{
	const struct peer *peer = peer_of(relay, node);

	if (!peer || !peer->record)
		return false;
	*record = (struct slice){ peer->record, peer->record_len };
	*heard_ms = peer->heard_ms;
	return true;
}

/* Somebody holds a word of ours that is not of this process. Signed before we began: our store, or our whole box, was
 * put back; a new epoch is begun above it. Signed since: another copy of this identity is alive. The newer one wins,
 * and each knows by the same order which that is. A higher claim is never outbid by itself, however old: who
 * switches on the laptop of last year is not to take the node back. */
static void heard_of_self(struct relay *relay, const struct presence *told, int64_t age_ms)
{
	const struct relay_config *config = &relay->config;
	const struct claim own = { config->claim, config->epoch, config->instance }, other = presence_claim(told);
	bool is_copy = own.instance && other.instance && own.instance != other.instance;
	bool is_alive = is_copy && relay->now.custody_ms - config->started_ms > age_ms + config->copy_doubt_ms;
	bool is_newer = claim_compare(&other, &own) > 0;
	struct relay_effect *effect;

	if (is_newer && is_copy && (is_alive || (other.claim > own.claim && !config->takes_over))) {
		journal(relay, JOURNAL_FENCED, NULL, told->node, relay->event->link, LEVEL_NONE, REFUSED_NONE);
		effect_add(relay, EFFECT_FENCED)->presence = *told;
		return;
	}
	/* An older copy that is alive may give the ids of our epoch too, until it is told. */
	if (told->epoch < own.epoch || (told->epoch == own.epoch && !is_newer && !is_alive && told->counter <= relay->presence_counter))
		return;
	effect = effect_add(relay, EFFECT_RAISE_EPOCH);
	effect->epoch = told->epoch + 1;
	effect->claim = is_newer && other.claim > own.claim ? other.claim + 1 : 0;
}

/* An older copy of a node, or an old word of it. The copy is told, if it is the one that speaks to us. */
static void heard_of_older(struct relay *relay, const struct peer *peer, const struct presence *told)
{
	const struct claim held = presence_claim(&peer->presence), other = presence_claim(told);
	struct relay_effect *effect;

	if (relay->event->link != told->node || claim_compare(&other, &held) >= 0 || !peer->record)
		return;
	effect = effect_add(relay, EFFECT_PRESENCE);
	effect->link = effect->node = told->node;
	effect->age_s = (uint32_t)((relay->now.custody_ms - peer->heard_ms) / 1000);
	effect->bytes = bytes_keep(relay, (struct slice){ peer->record, peer->record_len });
}

void handle_heard(struct relay *relay)
{
	const struct verified_presence *heard = relay->event->presence;
	struct presence merged = heard->presence, *told = &merged;
	int64_t heard_ms = relay->now.custody_ms - (int64_t)relay->event->presence_age_s * 1000;
	struct peer *peer;
	bool is_new_epoch, homes_changed, is_first, floor_rose, floors_changed;
	uint8_t *record;

	if (told->node == relay->config.self) {
		heard_of_self(relay, told, (int64_t)relay->event->presence_age_s * 1000);
		return;
	}
	peer = peer_make(relay, told->node);
	if (!peer)
		return;
	if (peer->has_presence && presence_compare(told, &peer->presence) <= 0) {
		heard_of_older(relay, peer, told);
		return;
	}
	if (peer->has_presence && floor_falls(&peer->presence, told)) {
		journal(relay, JOURNAL_FLOOR_FELL, NULL, told->node, relay->event->link, LEVEL_NONE, REFUSED_NONE);
		return;
	}
	if (!peer->record && told->epoch > 1)
		peer->news = EPOCH_TELLINGS;    /* we started, and do not know who was told */
	record = malloc(heard->bytes.len);
	if (!record) {
		relay->failed = true;
		return;
	}
	memcpy(record, heard->bytes.data, heard->bytes.len);
	free(peer->record);
	peer->record = record;
	peer->record_len = heard->bytes.len;
	is_first = !peer->has_presence;
	is_new_epoch = is_first ? told->epoch > 1 : told->epoch > peer->presence.epoch;
	homes_changed = is_first || !same_homes(told, &peer->presence);
	if (!is_first)
		floors_keep(&peer->presence, told);
	peer->is_superseding = !is_first && told->instance != peer->presence.instance;
	floor_rose = floors_purge(relay, is_first ? NULL : &peer->presence, told);
	if (floor_rose)
		elders_purge(relay, told);
	floors_changed = !is_first && !same_floors(&peer->presence, told);
	peer->presence = *told;
	peer->has_presence = true;
	peer->heard_ms = heard_ms;
	if (is_new_epoch)
		peer->own_asked++;
	floors_store(relay, peer, floors_changed, !same_floors(&heard->presence, told));
	if (!peer->own_asked && (homes_changed || floor_rose || heard_ms - peer->stored_ms > PRESENCE_STORE_MS))
		presence_store(relay, peer);
	if (is_first)
		journal(relay, JOURNAL_NODE_SEEN, NULL, told->node, relay->event->link, LEVEL_NONE, REFUSED_NONE);
	if (is_new_epoch) {
		peer->news = EPOCH_TELLINGS;
		journal(relay, JOURNAL_EPOCH_ROSE, NULL, told->node, relay->event->link, LEVEL_NONE, REFUSED_NONE);
		effect_add(relay, EFFECT_WANT_OWN)->node = told->node;
	}
	if (homes_changed || floor_rose)
		reroute_soon(relay);
	for (size_t i = 0; i < relay->link_count; i++)
		if (relay->links[i]->is_up && relay->links[i]->node != relay->event->link)
			presence_pass(relay, peer, relay->links[i]->node, false);
	peer->is_superseding = false;
	if (peer->news)
		peer->news--;
}

static void announce(struct relay *relay)
{
	struct relay_effect *effect = effect_add(relay, EFFECT_ANNOUNCE);
	struct presence *own = &effect->presence;

	own->node = relay->config.self;
	own->epoch = relay->config.epoch;
	own->claim = relay->config.claim;
	own->instance = relay->config.instance;
	own->counter = ++relay->presence_counter;
	for (size_t i = 0; i < relay->link_count && own->home_count < LIMIT_HOMES; i++)
		if (relay->links[i]->is_up)
			own->homes[own->home_count++] = relay->links[i]->node;
	own->floors[own->floor_count++] = (struct epoch_floor){ relay->config.epoch, relay->counters.floor };
	for (size_t i = 0; i < RELAY_ELDERS; i++) {
		const struct elder_floor *elder = &relay->counters.elders[i];
		if (elder->epoch && elder->floor > 1)
			own->floors[own->floor_count++] = (struct epoch_floor){ elder->epoch, elder->floor };
	}
	own->clock_quality = relay->now.quality;
	if (relay->now.wall_ms > 0)
		own->time_s = (uint32_t)(relay->now.wall_ms / 1000);
	relay->announce_at_ms = INT64_MAX;
	announce_soon(relay, relay->config.presence_ms);
}

/* A node without links announces nothing by itself, and is not woken each minute because it once wrote a stick. */
void handle_announce(struct relay *relay)
{
	bool is_regular = relay->announce_at_ms != INT64_MAX;

	announce_soon(relay, 0);
	announce(relay);
	if (!is_regular)
		relay->announce_at_ms = INT64_MAX;
}

/* ---------------------------------------------------------------- time */

void handle_tick(struct relay *relay)
{
	int64_t now = relay->now.custody_ms;

	if (relay->announce_at_ms <= now)
		announce(relay);
	for (size_t i = 0; i < relay->link_count; i++) {
		struct neighbour *neighbour = relay->links[i];

		if (neighbour->wants_reroute && neighbour->reroute_at_ms <= now) {
			neighbour->wants_reroute = false;
			want_reroute_rows(relay, neighbour->node, PRECEDENCE_FLASH, 0);
		}
		windows_tick(relay, neighbour);
	}
}

int64_t relay_next_deadline(const struct relay *relay)
{
	int64_t due = relay->announce_at_ms;

	if (relay->ask_is_due)
		return relay->now.custody_ms;
	for (size_t i = 0; i < relay->link_count; i++) {
		const struct neighbour *neighbour = relay->links[i];
		int64_t queue_ms = windows_deadline(neighbour);

		if (neighbour->wants_reroute && neighbour->reroute_at_ms < due)
			due = neighbour->reroute_at_ms;
		due = queue_ms < due ? queue_ms : due;
	}
	return due;
}
