/*
 * node_links.c: sessions: the bearer's connections and the link of each neighbour.
 *
 * Both neighbours may call each other, and a call after a cut may come before the old one is known to
 * be dead: a link may have several sessions. Frames are taken from any of them; what we send goes over
 * sessions[0]. A hello over another session makes that one the first: the peer tells over which way it
 * hears us. So two that call each other settle on a way without ending each other's call.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"
#include "proto/wire.h"

struct node_link *links_find(const struct node *node, uint32_t neighbour)
{
	return map_get(&node->links_by_number, map_key_pair(neighbour, 0));
}

/* A peer without a certificate yet may be one that speaks seldom. */
static struct link_profile profile_of(const struct node *node, const struct node_link *link)
{
	const bool is_thin = link->config && !strcmp(link->config->profile, "thin");
	const struct certificate *certificate = directory_certificate(node->directory, link->neighbour);
	const struct role *role = certificate ? role_find(certificate->role) : NULL;

	return link_profile_between(is_thin ? &link_profile_thin : &link_profile_ip, node->role->is_on_battery, !role || role->is_on_battery);
}

static enum cpd_error link_make(struct node *node, struct node_link *link)
{
	struct link_config config = { .self = node->self, .peer = link->neighbour, .self_epoch = node->epoch, .profile = profile_of(node, link) };
	struct store_key key = store_key_number(link->neighbour);
	uint8_t *value;
	size_t len;

	if (!node_load(node, TABLE_CIRCUITS, &key, &value, &len)) {
		if (store_value_read_circuit((struct slice){ value, len }, &config.circuit))
			memset(&config.circuit, 0, sizeof(config.circuit));
		free(value);
	}
	link->peer_epoch = config.circuit.peer_epoch;
	stall_set(node, link, &config.profile);
	link->link = link_new(&config);
	return link->link ? CPD_OK : CPD_ERR_NOMEM;
}

enum cpd_error links_add(struct node *node, uint32_t neighbour, const struct config_link *config, struct node_link **out)
{
	struct node_link **links = realloc(node->links, (node->link_count + 1) * sizeof(struct node_link *));
	struct node_link *link = calloc(1, sizeof(*link));
	enum cpd_error error = CPD_ERR_NOMEM;

	*out = NULL;
	if (links)
		node->links = links;
	if (!links || !link)
		goto fail;
	link->neighbour = neighbour;
	link->config = config;
	link->since_ms = node_ms(node);
	link->introduce_at_ms = link->doubted_ms = INT64_MAX;
	snprintf(link->problem, sizeof(link->problem), "%s", config && config->address[0] ? "not connected yet"
	    : config && !strcmp(config->profile, "courier") ? "it goes by stick: cpctl courier write" : "it has not called yet");
	error = link_make(node, link);
	if (!error)
		error = map_put(&node->links_by_number, map_key_pair(neighbour, 0), link);
	if (error)
		goto fail;
	node->links[node->link_count++] = link;
	*out = link;
	return CPD_OK;
fail:
	link_free(link ? link->link : NULL);
	free(link);
	return error;
}

void links_clear(struct node *node)
{
	for (size_t i = 0; i < node->link_count; i++) {
		struct node_link *link = node->links[i];
		send_forget_tree(link);
		link_free(link->link);
		free(link->frame);
		free(link);
	}
	free(node->links);
	map_clear(&node->links_by_number);
	node->links = NULL;
	node->link_count = 0;
}

/* ---------------------------------------------------------------- up and down */

static void tell_down(struct node *node, struct node_link *link, const char *why)
{
	struct relay_event event = { .type = RELAY_LINK_DOWN, .link = link->neighbour };

	snprintf(link->problem, sizeof(link->problem), "%s", why);
	if (!link->is_told_up)
		return;
	link->is_told_up = false;
	link->since_ms = node_ms(node);
	gather_event(node, &event);
}

/* Highest epoch/sequence of the peer as an origin that is on our disk, or that its presence told. */
static void greeting_of(struct node *node, uint32_t peer, struct link_greeting *out)
{
	struct store_key prefix = store_key_number(peer), found;
	struct message_id id = { 0 };
	struct presence presence;
	struct moment now;
	uint8_t *value;
	size_t len;
	int64_t heard_ms;

	memset(out, 0, sizeof(*out));
	if (!store_seek_last(node->store, TABLE_CUSTODY, &prefix, &found, &value, &len)) {
		free(value);
		if (!store_key_read_id(&found, &id)) {
			out->seen_epoch = id.epoch;
			out->seen_sequence = id.sequence;
		}
	}
	if (relay_presence(node->relay, peer, &presence, &heard_ms) && presence.epoch > out->seen_epoch) {
		out->seen_epoch = presence.epoch;
		out->seen_sequence = 0;
	}
	node_now(node, &now);
	out->directory = directory_version(node->directory);
	out->clock_ms = now.wall_ms > 0 ? now.wall_ms : -1;
	out->clock_quality = now.quality;
	out->claim = node->claim.claim;
	out->instance = node->instance;
}

static void greet(struct node *node, struct node_link *link)
{
	const struct link_profile profile = profile_of(node, link);
	struct link_greeting greeting;

	if (link_is_up(link->link))
		tell_down(node, link, "the session started again");
	greeting_of(node, link->neighbour, &greeting);
	link_set_profile(link->link, &profile);
	stall_set(node, link, &profile);
	free(link->frame);
	link->frame = NULL;
	send_window_reset(&link->window, node_ms(node));
	link_connected(link->link, &greeting, node_ms(node));
	link->introduce_at_ms = node_ms(node) + NODE_INTRODUCE_MS;
}

static struct node_session *session_find(struct node_link *link, uint64_t number)
{
	for (size_t i = 0; i < link->session_count; i++)
		if (link->sessions[i].number == number)
			return &link->sessions[i];
	return NULL;
}

static void session_first(struct node_link *link, struct node_session *session)
{
	struct node_session first = link->sessions[0];

	link->sessions[0] = *session;
	*session = first;
	/* A frame the old way did not take is sent again by the link, or belongs to its old session. */
	free(link->frame);
	link->frame = NULL;
}

void links_end(struct node *node, struct node_link *link, const char *why)
{
	if (!link->session_count)
		return;
	for (size_t i = 0; i < link->session_count; i++)
		bearer_zmq_end(node->bearer, link->sessions[i].number, why);
	link->session_count = 0;
	link->introduce_at_ms = INT64_MAX;
	free(link->frame);
	link->frame = NULL;
	tell_down(node, link, why);
	link_disconnected(link->link, node_ms(node));
	links_events(node, link);
}

/* ---------------------------------------------------------------- what the link tells */

/* The peer holds more of us than we know: this disk is older than its copy of our word. */
static void peer_holds_more(struct node *node, struct node_link *link, const struct message_id *seen)
{
	int64_t now_ms = node_ms(node);
	uint64_t last = relay_next_sequence(node->relay) - 1;
	bool is_too_far = seen->epoch - node->epoch > NODE_EPOCH_LEAP;
	bool is_too_soon = link->raised_ms && now_ms - link->raised_ms < NODE_EPOCH_PAUSE_MS;

	link->doubted_ms = INT64_MAX;
	if (seen->epoch < node->epoch || (seen->epoch == node->epoch && seen->sequence <= last))
		return;
	if (is_too_far || is_too_soon) {
		log_limited(LOG_ERR, "epoch-not-believed", link->neighbour, now_ms, "link=%u seen=%u own=%u why=\"%s\" cure=\"look whether that neighbour is sound\"",
		    link->neighbour, seen->epoch, node->epoch, is_too_far ? "too far ahead" : "it said so a moment ago");
		return;
	}
	log_line(LOG_WARNING, "store-behind", "link=%u seen=%u/%llu own=%u/%llu cure=\"a new epoch is begun; nothing is lost that the neighbours hold\"",
	    link->neighbour, seen->epoch, (unsigned long long)seen->sequence, node->epoch, (unsigned long long)last);
	link->raised_ms = now_ms ? now_ms : 1;
	if (node->raise_epoch <= seen->epoch)
		node->raise_epoch = seen->epoch + 1;
	node_wake(node);
}

/* Who has been in contact for long was not put back: then another copy of us may be alive, and the peer's presence
 * of it, which comes next, tells that first. A hello tells no age. */
static void peer_tells_of_us(struct node *node, struct node_link *link, const struct frame_hello *hello, const struct moment *now)
{
	const struct message_id seen = { node->self, hello->seen_epoch, hello->seen_sequence };

	link->doubted = seen;
	link->doubted_ms = INT64_MAX;
	if (node->contact_ms && now->custody_ms - node->contact_ms > node->config->timers.copy_doubt_ms)
		link->doubted_ms = now->custody_ms + NODE_COPY_TOLD_MS;
	else
		peer_holds_more(node, link, &seen);
}

static void peer_is_up(struct node *node, struct node_link *link, const struct frame_hello *hello)
{
	struct relay_event event = { .type = RELAY_LINK_UP, .link = link->neighbour };
	struct moment now;

	if (hello->epoch != link->peer_epoch) {
		link->peer_epoch = hello->epoch;
		link->circuit++;
	}
	directory_peer_holds(link, hello->directory, true);
	link->introduce_at_ms = INT64_MAX;
	link->problem[0] = '\0';
	node_now(node, &now);
	link->has_clock = hello->clock_ms > 0;
	link->clock_offset_ms = hello->clock_ms - now.wall_ms;
	link->clock_quality = hello->clock_quality;
	link->clock_told_ms = now.custody_ms;
	if (!link->is_told_up) {
		link->is_told_up = true;
		link->since_ms = node_ms(node);
		gather_event(node, &event);
	}
	peer_tells_of_us(node, link, hello, &now);
	if (!node->contact_ms)
		node->contact_ms = now.custody_ms ? now.custody_ms : 1;
}

static void item_event(struct node *node, struct node_link *link, const struct link_event *told)
{
	struct relay_event event = { .link = link->neighbour, .ref = told->ref, .reason = told->reason, .held = told->held };

	send_window_heard(&link->window, &told->ref, told->type == LINK_EVENT_ACKED, node_ms(node));
	if (told->ref.type == ITEM_TYPE_DIRECTORY) {
		if (told->type == LINK_EVENT_RETURNED)
			directory_returned(link, &told->ref);
		else if (told->type == LINK_EVENT_REFUSED)
			log_limited(LOG_WARNING, "directory-refused-by", link->neighbour, node_ms(node), "link=%u number=%llu reason=%s",
			    link->neighbour, (unsigned long long)told->ref.id.sequence, reason_name(told->reason));
		return;
	}
	event.type = told->type == LINK_EVENT_ACKED ? RELAY_ACKED : told->type == LINK_EVENT_REFUSED ? RELAY_REFUSED
	    : told->type == LINK_EVENT_RETURNED ? RELAY_RETURNED : RELAY_WANTED;
	gather_event(node, &event);
	stall_heard(node, link, node_ms(node));
}

void links_events(struct node *node, struct node_link *link)
{
	struct link_event event;

	while (!node->rebuild_why && link_next_event(link->link, &event)) {
		switch (event.type) {
		case LINK_EVENT_UP:
			peer_is_up(node, link, &event.hello);
			break;
		case LINK_EVENT_ITEM:
			gather_item(node, link, &event);
			break;
		case LINK_EVENT_ACKED: case LINK_EVENT_REFUSED: case LINK_EVENT_RETURNED: case LINK_EVENT_WANT:
			item_event(node, link, &event);
			break;
		case LINK_EVENT_PRESENCE:
			gather_presence(node, link->neighbour, &event);
			break;
		case LINK_EVENT_INTRODUCTION:
			break;          /* a neighbour that we know needs none; strangers do not come here */
		case LINK_EVENT_DIRECTORY:
			directory_peer_holds(link, event.directory, false);
			break;
		case LINK_EVENT_GAP:
			log_limited(LOG_WARNING, "serial-gap", link->neighbour, node_ms(node), "link=%u first=%llu last=%llu", link->neighbour,
			    (unsigned long long)event.first, (unsigned long long)event.last);
			break;
		case LINK_EVENT_ROLLED_BACK:
			log_line(LOG_ERR, "neighbour-rolled-back", "link=%u cure=\"its store was set back to an older copy; it begins a new epoch when it hears so: look there what it has lost\"",
			    link->neighbour);
			break;
		}
	}
}

/* ---------------------------------------------------------------- what the bearer tells */

/* A node that the roster let in and that has no link yet. */
static struct node_link *link_of(struct node *node, uint32_t neighbour)
{
	struct node_link *link = links_find(node, neighbour);

	if (link)
		return link;
	if (links_add(node, neighbour, NULL, &link) || relay_add_link(node->relay, neighbour)) {
		log_line(LOG_ERR, "memory", "link=%u what=session", neighbour);
		return NULL;
	}
	return link;
}

static void bearer_up(void *context, uint32_t number, uint64_t session)
{
	struct node *node = context;
	struct node_link *link;

	if (!number) {
		if (node->stranger_count < NODE_STRANGERS)
			node->strangers[node->stranger_count++] = session;
		else
			bearer_zmq_end(node->bearer, session, "too many strangers at the door");
		return;
	}
	link = node->rebuild_why ? NULL : link_of(node, number);
	if (!link || link->session_count == NODE_SESSIONS) {
		bearer_zmq_end(node->bearer, session, "no room for another session");
		return;
	}
	link->sessions[link->session_count++] = (struct node_session){ session, false, 0 };
	if (link->session_count == 1) {
		greet(node, link);
		links_events(node, link);
	}
	send_fill(node, link);
	node_arm(node);
}

static bool is_hello(struct slice bytes, struct frame *frame)
{
	/* Looked for first: only a hello is decoded twice. */
	return wire_find(bytes, 1).len && !frame_decode(bytes, frame) && frame->has & FRAME_HELLO;
}

/* True: nothing of this hello is for the link: it is of an older copy of the neighbour, or says that we are one. */
static bool hello_is_claims(struct node *node, struct node_link *link, struct node_session *from, const struct frame_hello *hello)
{
	const struct link_event told = { .type = LINK_EVENT_PRESENCE, .bytes = hello->superseded, .age_s = hello->superseded_age_s };

	if (hello->superseded.len) {
		gather_presence(node, link->neighbour, &told);
		return true;
	}
	return claim_refuses(node, link, from, hello);
}

static int64_t deadline_of(const struct node_link *link)
{
	const int64_t claim_ms = claim_deadline(link);
	int64_t at_ms = link_deadline(link->link);

	at_ms = link->introduce_at_ms < at_ms ? link->introduce_at_ms : at_ms;
	at_ms = link->doubted_ms < at_ms ? link->doubted_ms : at_ms;
	at_ms = stall_due(link) < at_ms ? stall_due(link) : at_ms;
	return claim_ms < at_ms ? claim_ms : at_ms;
}

/* One link has moved. All the others need not be asked, unless it was this one that the timer waited for. */
static void arm_for(struct node *node, const struct node_link *link, int64_t before_ms)
{
	if (before_ms == node->timer_at_ms || deadline_of(link) < node->timer_at_ms)
		node_arm(node);
}

static void bearer_frame(void *context, uint32_t number, uint64_t session, struct slice frame)
{
	struct node *node = context;
	struct node_link *link = number ? links_find(node, number) : NULL;
	struct node_session *from = link ? session_find(link, session) : NULL;
	int64_t before_ms;
	struct frame hello;
	bool has_hello;
	enum cpd_error error;

	if (!number) {
		directory_stranger(node, session, frame);
		return;
	}
	if (!from || node->rebuild_why || from->refused_ms || node_is_fenced(node))
		return;                 /* of a session that we have ended, or of a copy that is not to speak */
	before_ms = deadline_of(link);
	has_hello = is_hello(frame, &hello);
	if (has_hello && hello_is_claims(node, link, from, &hello.hello)) {
		node_arm(node);
		return;
	}
	if (from != &link->sessions[0] && has_hello) {
		session_first(link, from);
		if (link_is_up(link->link))
			greet(node, link);
	}
	error = link_receive(link->link, frame, node_ms(node));
	links_events(node, link);
	if (error) {
		log_limited(LOG_WARNING, "frame-refused", number, node_ms(node), "link=%u error=\"%s\"", number, cpd_error_text(error));
		links_end(node, link, cpd_error_text(error));
	} else {
		send_fill(node, link);
	}
	arm_for(node, link, before_ms);
}

static void bearer_writable(void *context, uint32_t number, uint64_t session)
{
	struct node *node = context;
	struct node_link *link = links_find(node, number);
	struct node_session *writable = link ? session_find(link, session) : NULL;

	if (!writable)
		return;
	writable->is_blocked = false;
	send_fill(node, link);
	node_arm(node);
}

static void bearer_down(void *context, uint32_t number, uint64_t session, const char *why)
{
	struct node *node = context;
	struct node_link *link = number ? links_find(node, number) : NULL;
	struct node_session *lost = link ? session_find(link, session) : NULL;
	bool was_first;

	for (size_t i = 0; !number && i < node->stranger_count; i++)
		if (node->strangers[i] == session)
			node->strangers[i] = node->strangers[--node->stranger_count];
	if (!lost)
		return;
	was_first = lost == &link->sessions[0];
	for (*lost = (struct node_session){ 0 }; lost + 1 < link->sessions + link->session_count; lost++)
		lost[0] = lost[1];
	link->session_count--;
	if (!was_first)
		return;
	free(link->frame);
	link->frame = NULL;
	if (link->session_count) {
		greet(node, link);      /* over the way that is left */
		links_events(node, link);
		send_fill(node, link);
	} else {
		log_limited(LOG_INFO, "session-down", number, node_ms(node), "link=%u why=\"%s\"", number, why);
		link->introduce_at_ms = INT64_MAX;
		tell_down(node, link, why);
		link_disconnected(link->link, node_ms(node));
		links_events(node, link);
	}
	node_arm(node);
}

void links_bearer(struct node *node, struct bearer_events *out)
{
	*out = (struct bearer_events){ .context = node, .roster = directory_roster, .up = bearer_up, .frame = bearer_frame,
		.writable = bearer_writable, .down = bearer_down };
}

/* ---------------------------------------------------------------- turns and time */

void links_committed(struct node *node, uint64_t turn)
{
	for (size_t i = 0; i < node->link_count; i++)
		link_committed(node->links[i]->link, turn);
}

enum cpd_error links_circuits(struct node *node, struct turn *turn)
{
	for (size_t i = 0; i < node->link_count; i++) {
		struct node_link *link = node->links[i];
		struct store_key key = store_key_number(link->neighbour);
		struct link_circuit circuit;
		struct store_value value;
		enum cpd_error error;

		if (!link_circuit_is_dirty(link->link))
			continue;
		link_circuit(link->link, &circuit);
		value = store_value_circuit(&circuit);
		error = turn_put(turn, TABLE_CIRCUITS, &key, (struct slice){ value.bytes, value.len });
		if (error)
			return error;
		link_circuit_saved(link->link);
	}
	return CPD_OK;
}

void links_tick(struct node *node)
{
	int64_t now_ms = node_ms(node);

	for (size_t i = 0; i < node->link_count && !node->rebuild_why; i++) {
		struct node_link *link = node->links[i];
		bool is_dead = false;

		claim_tick(node, link, now_ms);
		if (link->doubted_ms <= now_ms)
			peer_holds_more(node, link, &link->doubted);
		if (link->introduce_at_ms <= now_ms)
			directory_introduce(node, link);
		stall_tick(node, link, now_ms);
		if (link_deadline(link->link) > now_ms)
			continue;
		link_tick(link->link, now_ms, &is_dead);
		links_events(node, link);
		if (is_dead)
			links_end(node, link, "nothing heard of it");
		else
			send_fill(node, link);
	}
}

int64_t links_deadline(const struct node *node)
{
	int64_t first = INT64_MAX;

	for (size_t i = 0; i < node->link_count; i++) {
		const int64_t at = deadline_of(node->links[i]);

		first = at < first ? at : first;
	}
	return first;
}

enum cpd_error links_restart(struct node *node)
{
	for (size_t i = 0; i < node->link_count; i++) {
		struct node_link *link = node->links[i];
		enum cpd_error error;

		link_free(link->link);
		link->link = NULL;
		link->circuit++;
		link->is_told_up = false;
		error = link_make(node, link);
		if (error)
			return error;
	}
	return CPD_OK;
}
