/* body.c: large bodies travel leaf by leaf; custody begins when the last leaf is on disk. */
#include "daemon/relay/internal.h"

#include <stdlib.h>
#include <string.h>

#include "proto/tree.h"

#define BODY_CHECK_MS 3600000 /* a body that no leaf came of in this time is looked at */
#define BODIES_IN 64   /* at once: each holds an envelope and a bitmap; a further one is refused for now */

static bool bit_is_set(struct slice bits, uint32_t index)
{
	return bits.data && index / 8 < bits.len && bits.data[index / 8] >> (index % 8) & 1;
}

void body_in_free(struct body_in *body)
{
	if (!body)
		return;
	for (size_t i = 0; i < body->offer_count; i++)
		trailer_clear(&body->offers[i].trailer);
	free(body->envelope);
	free(body);
}

static void body_in_drop(struct relay *relay, const struct message_id *id)
{
	body_in_free(map_remove(&relay->bodies, map_key_id(id)));
}

static enum cpd_error trailer_copy(const struct trailer *from, struct trailer *to)
{
	uint32_t *recipients = NULL;

	if (from->recipient_count) {
		recipients = malloc(from->recipient_count * sizeof(*recipients));
		if (!recipients)
			return CPD_ERR_NOMEM;
		memcpy(recipients, from->recipients, from->recipient_count * sizeof(*recipients));
	}
	trailer_clear(to);
	*to = *from;
	to->recipients = recipients;
	return CPD_OK;
}

static struct body_in *body_in_make(struct relay *relay, const struct message *message)
{
	struct body_in *body = map_get(&relay->bodies, map_key_id(&message->header.id));

	if (body)
		return body;
	body = calloc(1, sizeof(*body));
	if (!body)
		return NULL;
	body->id = message->header.id;
	body->supersedes = message->header.supersedes;
	body->kind = message->header.kind;
	body->precedence = message->header.precedence;
	body->leaves = tree_leaf_count(message->header.large_length);
	body->envelope = malloc(message->bytes.len);
	if (!body->envelope || map_put(&relay->bodies, map_key_id(&body->id), body)) {
		body_in_free(body);
		return NULL;
	}
	memcpy(body->envelope, message->bytes.data, message->bytes.len);
	body->envelope_len = message->bytes.len;
	return body;
}

/* No leaf is needed: they are all here, or the offer is of what has gone on already. The leaves go with
 * the envelope, so that a copy that was let go must be fetched again before it is served again. */
static bool is_bodiless(const struct relay *relay, const struct custody *custody)
{
	if (!custody || custody->flags & CUSTODY_IS_PARTIAL)
		return false;
	if (custody->flags & CUSTODY_HAS_ENVELOPE)
		return true;
	return relay->event->trailer
	    && !offer_needs_bytes(relay, custody, &relay->event->message->message.header, relay->event->trailer);
}

/* Leaves the host finds on disk count when this body is under way here, or is our own. Else they are what
 * a turn not yet committed has let go with its envelope: custody of them would be custody of nothing. */
static void held_take(struct body_in *body, const struct relay_event *event, const struct custody *custody)
{
	if (!(custody && custody->flags & CUSTODY_IS_PARTIAL))
		return;
	for (uint32_t i = 0; i < body->leaves; i++) {
		if (!bit_is_set(event->held, i))
			continue;
		body->held[i / 8] |= (uint8_t)(1u << (i % 8));
		body->held_count++;
	}
}

/* One offer a neighbour: a header that comes again from it takes the place of the former. That one is void
 * by then (PROTOCOL.md section 7), or, when it was held and released there, is answered now: nobody else
 * would. False: of more neighbours than there is room for, the rest must offer again. */
static bool offer_note(struct relay *relay, struct body_in *body)
{
	const struct relay_event *event = relay->event;
	struct relay_effect *effect;
	struct offer *offer;
	size_t i = 0;

	while (i < body->offer_count && body->offers[i].link != event->link)
		i++;
	if (i == sizeof(body->offers) / sizeof(body->offers[0]))
		return false;
	offer = &body->offers[i];
	if (i == body->offer_count) {
		trailer_init(&offer->trailer);
		body->offer_count++;
	} else if (offer->serial != event->serial) {
		effect = effect_add(relay, EFFECT_SETTLE);
		effect->link = event->link;
		effect->serial = offer->serial;
		effect->reason = REFUSED_BUSY;
	}
	offer->link = event->link;
	offer->serial = event->serial;
	if (trailer_copy(event->trailer, &offer->trailer))
		relay->failed = true;
	return true;
}

static void offer_settle(struct relay *relay, const struct offer *offer, enum cpd_reason reason)
{
	struct relay_effect *effect = effect_add(relay, EFFECT_SETTLE);

	effect->link = offer->link;
	effect->serial = offer->serial;
	effect->reason = reason;
}

/* Who offered it offers it again later; its leaves wait in the store. */
static void body_put_off(struct relay *relay, struct body_in *body)
{
	for (size_t i = 0; i < body->offer_count; i++)
		offer_settle(relay, &body->offers[i], REFUSED_BUSY);
	body_in_drop(relay, &body->id);
}

/* A body takes the place of a less urgent one, else a backlog of those would hold up a FLASH. */
static bool body_has_place(struct relay *relay, enum precedence precedence)
{
	struct body_in *body, *least = NULL;
	size_t at = 0;

	if (relay->bodies.count < BODIES_IN)
		return true;
	while ((body = map_next(&relay->bodies, &at)))
		if (body->precedence < precedence && (!least || body->precedence < least->precedence))
			least = body;
	if (!least)
		return false;
	body_put_off(relay, least);
	return true;
}

/* No leaf came for a while: its sender may have nothing more to send, since a receipt or a withdrawal
 * ended its copy. The offer is refused for now, so that it does not hold up the link's window; who still
 * has it offers again. What is past its life or its origin's floor goes with its leaves. */
void body_check(struct relay *relay, struct custody *custody)
{
	struct body_in *body = map_get(&relay->bodies, map_key_id(&custody->id));
	bool is_over = custody_age_s(custody, &relay->now) > custody->lifetime_s
	    || custody->id.sequence < floor_of(relay, custody->id.origin, custody->id.epoch);

	if (body && (is_over || body->held_count == body->checked_count)) {
		body_put_off(relay, body);      /* its place is for another */
		body = NULL;
	}
	if (!is_over) {
		if (body)
			body->checked_count = body->held_count;
		timer_set(relay, custody, relay->now.custody_ms + BODY_CHECK_MS);
		return;
	}
	custody->flags &= ~(unsigned)CUSTODY_IS_PARTIAL;
	if (!custody->recipient_count && !(custody->flags & CUSTODY_IS_ADDRESSEE))
		custody_drop(relay, custody);
	else
		envelope_drop(relay, custody);
}

bool body_take(struct relay *relay, enum cpd_reason *reason)
{
	const struct relay_event *event = relay->event;
	const struct verified_message *message = event->message;
	struct custody *custody = custody_of(relay, &message->message.header.id);
	struct body_in *body;
	struct relay_effect *effect;
	bool is_under_way;

	*reason = REFUSED_NONE;
	if (!event->link || is_bodiless(relay, custody))
		return true;             /* what is authored here brings its leaves in the same turn */
	body = map_get(&relay->bodies, map_key_id(&message->message.header.id));
	if (!body && !body_has_place(relay, message->message.header.precedence)) {
		*reason = REFUSED_BUSY;
		return false;
	}
	is_under_way = body != NULL;     /* then it knows better than the disk what is held */
	body = body_in_make(relay, &message->message);
	if (!body) {
		relay->failed = true;
		return false;
	}
	body->is_suspect = message->is_suspect;
	if (!is_under_way)
		held_take(body, event, custody);
	if (body->held_count == body->leaves) {
		body_in_drop(relay, &message->message.header.id);
		return true;
	}
	if (!offer_note(relay, body)) {
		*reason = REFUSED_BUSY;
		return false;
	}
	if (!custody)
		custody = custody_make(relay, &message->message.header.id);
	if (!custody)
		return false;
	if (!custody->kind) {
		custody->hash = message->hash;
		custody->kind = message->message.header.kind;
		custody->precedence = message->message.header.precedence;
		custody->closing_level = message->message.header.closing_level;
		custody->created_s = message->message.header.created_s;
		custody->lifetime_s = message->message.header.lifetime_s;
		custody->large_length = message->message.header.large_length;
		custody->since = relay->now;
		custody->from = event->link;
	}
	if (!(custody->flags & CUSTODY_HAS_ENVELOPE)) {
		effect = effect_add(relay, EFFECT_PUT_ENVELOPE);
		effect->id = custody->id;
		effect->bytes = bytes_keep(relay, message->message.bytes);
		custody->envelope_len = (uint32_t)message->message.bytes.len;
	}
	custody->flags |= CUSTODY_IS_PARTIAL | CUSTODY_HAS_ENVELOPE;
	custody_changed(relay, custody);
	if (!custody->timer_ms)
		timer_set(relay, custody, relay->now.custody_ms + BODY_CHECK_MS);
	effect = effect_add(relay, EFFECT_WANT);
	effect->link = event->link;
	effect->serial = event->serial;
	effect->id = custody->id;
	effect->bytes = bytes_keep(relay, (struct slice){ body->held, (body->leaves + 7) / 8 });
	return false;
}

/* Each neighbour offered it for recipients of its own, and hears that we have it for those. */
static void body_complete(struct relay *relay, struct body_in *body)
{
	struct custody *custody = custody_of(relay, &body->id);
	struct message message;
	struct hash8 hash;
	enum cpd_error error = message_decode((struct slice){ body->envelope, body->envelope_len }, &message);

	if (error == CPD_ERR_NOMEM)
		relay->failed = true;        /* no word on the message, which was decoded before */
	if (custody)
		hash = custody->hash;
	for (size_t i = 0; i < body->offer_count; i++) {
		const struct offer *offer = &body->offers[i];
		enum cpd_reason reason = REFUSED_MALFORMED;

		if (custody && !error)
			accept_take(relay, &message, &hash, body->is_suspect, &offer->trailer, offer->link, &reason);
		offer_settle(relay, offer, reason);
	}
	body_in_drop(relay, &body->id);
}

void handle_leaf(struct relay *relay)
{
	const struct relay_event *event = relay->event;
	struct body_in *body = map_get(&relay->bodies, map_key_id(&event->id));
	struct relay_effect *effect;

	/* A leaf of what is whole already, or of what nobody has offered since we started: the header,
	 * which is not acknowledged, comes again and tells what is missing. */
	if (!body || event->leaf_index >= body->leaves
	    || body->held[event->leaf_index / 8] >> (event->leaf_index % 8) & 1) {
		settle(relay, REFUSED_NONE);
		return;
	}
	effect = effect_add(relay, EFFECT_PUT_LEAF);
	effect->id = event->id;
	effect->index = event->leaf_index;
	effect->bytes = bytes_keep(relay, event->leaf);
	body->held[event->leaf_index / 8] |= (uint8_t)(1u << (event->leaf_index % 8));
	settle(relay, REFUSED_NONE);
	if (++body->held_count == body->leaves)
		body_complete(relay, body);
}

/* ---------------------------------------------------------------- sending */

static struct body_out *body_out_of(const struct neighbour *neighbour, const struct item_ref *ref)
{
	for (struct body_out *body = neighbour->bodies; body; body = body->after)
		if (message_id_equal(&body->ref.id, &ref->id))
			return body;
	return NULL;
}

void handle_wanted(struct relay *relay)
{
	const struct relay_event *event = relay->event;
	struct neighbour *neighbour = neighbour_of(relay, event->link);
	const struct custody *custody = custody_of(relay, &event->ref.id);
	struct body_out *body;

	if (!neighbour || !custody || !custody->large_length)
		return;
	window_has_room(relay, event->link, event->ref.precedence);     /* space is reserved at the header */
	body = body_out_of(neighbour, &event->ref);
	if (!body) {
		body = calloc(1, sizeof(*body));
		if (!body) {
			relay->failed = true;
			return;
		}
		body->after = neighbour->bodies;
		neighbour->bodies = body;
	}
	body->is_over = false;
	body->ref = event->ref;
	body->leaves = tree_leaf_count(custody->large_length);
	body->next = 0;
	memset(body->held, 0, sizeof(body->held));
	memcpy(body->held, event->held.data, event->held.len < sizeof(body->held) ? event->held.len : sizeof(body->held));
}

static bool has_bit(const uint8_t *bits, uint32_t index)
{
	return bits[index / 8] >> (index % 8) & 1;
}

bool body_next(struct neighbour *neighbour, enum precedence precedence, struct item_ref *out)
{
	for (struct body_out *body = neighbour->bodies; body; body = body->after) {
		if (body->is_over || body->ref.precedence != precedence)
			continue;
		while (body->next < body->leaves && (has_bit(body->held, body->next) || has_bit(body->under_way, body->next)))
			body->next++;
		if (body->next == body->leaves)
			continue;
		*out = body->ref;
		out->type = ITEM_TYPE_LEAF;
		out->index = body->next;
		body->under_way[body->next / 8] |= (uint8_t)(1u << (body->next % 8));
		body->next++;
		return true;
	}
	return false;
}

bool body_is_due(const struct neighbour *neighbour, enum precedence precedence)
{
	for (const struct body_out *body = neighbour->bodies; body; body = body->after) {
		if (body->is_over || body->ref.precedence != precedence)
			continue;
		for (uint32_t i = body->next; i < body->leaves; i++)
			if (!has_bit(body->held, i) && !has_bit(body->under_way, i))
				return true;
	}
	return false;
}

static bool has_any_under_way(const struct body_out *body)
{
	for (size_t i = 0; i < sizeof(body->under_way); i++)
		if (body->under_way[i])
			return true;
	return false;
}

/* A body of which the link still has a leaf stays, so that what is wanted anew is not given twice. */
static void body_out_end(struct neighbour *neighbour, struct body_out *ended)
{
	struct body_out **at = &neighbour->bodies;

	ended->is_over = true;
	if (has_any_under_way(ended))
		return;
	while (*at != ended)
		at = &(*at)->after;
	*at = ended->after;
	free(ended);
}

void body_forget(struct neighbour *neighbour, const struct item_ref *ref)
{
	struct body_out *body = body_out_of(neighbour, ref);

	if (body && body->ref.counter == ref->counter)   /* else it is offered in a newer row */
		body_out_end(neighbour, body);
}

void body_lost(struct relay *relay, const struct message_id *id)
{
	const struct item_ref ref = { .type = ITEM_TYPE_LEAF, .id = *id };

	for (size_t i = 0; i < relay->link_count; i++) {
		struct body_out *body = body_out_of(relay->links[i], &ref);
		if (body)
			body_out_end(relay->links[i], body);
	}
}

void body_leaf_ended(struct neighbour *neighbour, const struct item_ref *ref, bool is_held)
{
	struct body_out *body = body_out_of(neighbour, ref);

	if (!body || ref->index >= body->leaves)
		return;
	body->under_way[ref->index / 8] &= (uint8_t)~(1u << (ref->index % 8));
	if (is_held)
		body->held[ref->index / 8] |= (uint8_t)(1u << (ref->index % 8));
	else if (ref->index < body->next)
		body->next = ref->index;
	if (body->is_over)
		body_out_end(neighbour, body);
}
