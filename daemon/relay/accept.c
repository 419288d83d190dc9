/* accept.c: a message arrives or is authored; custody is taken, passed on, released. */
#include "daemon/relay/internal.h"

#include <stdlib.h>
#include <string.h>

#include "proto/body.h"
#include "proto/kind.h"

#define MARKED UINT32_MAX   /* recipient.via: to be served by enqueue_marked */
#define QUOTA_RECIPIENT 64  /* bytes that a recipient takes in the record and the queue */

/* ---------------------------------------------------------------- small bookkeeping */

void timer_set(struct relay *relay, struct custody *custody, int64_t at_ms)
{
	struct relay_effect *effect;

	if (custody->timer_ms == at_ms)
		return;
	if (custody->timer_ms) {
		effect = effect_add(relay, EFFECT_DELETE_TIMER);
		effect->at_ms = custody->timer_ms;
		effect->id = custody->id;
	}
	custody->timer_ms = at_ms;
	custody_changed(relay, custody);
	if (!at_ms)
		return;
	effect = effect_add(relay, EFFECT_PUT_TIMER);
	effect->at_ms = at_ms;
	effect->id = custody->id;
}

void envelope_drop(struct relay *relay, struct custody *custody)
{
	struct relay_effect *effect;

	if (!(custody->flags & CUSTODY_HAS_ENVELOPE))
		return;
	custody->flags &= ~(unsigned)CUSTODY_HAS_ENVELOPE;
	effect = effect_add(relay, EFFECT_DELETE_ENVELOPE);
	effect->id = custody->id;
	effect->index = custody->large_length;
	custody_changed(relay, custody);
}

static void envelope_keep(struct relay *relay, struct custody *custody, struct slice bytes)
{
	struct relay_effect *effect;

	if (custody->flags & CUSTODY_HAS_ENVELOPE)
		return;
	custody->flags |= CUSTODY_HAS_ENVELOPE;
	custody->envelope_len = (uint32_t)bytes.len;
	effect = effect_add(relay, EFFECT_PUT_ENVELOPE);
	effect->id = custody->id;
	effect->bytes = bytes_keep(relay, bytes);
	custody_changed(relay, custody);
}

static bool waits_here(const struct custody *custody)
{
	for (size_t i = 0; i < custody->recipient_count; i++)
		if (custody->recipients[i].hop == HOP_QUEUED || custody->recipients[i].hop == HOP_UNROUTED)
			return true;
	return false;
}

/* An origin owes nobody an old state; when the floor stood at it, the floor may rise now. */
static void state_is_final(struct relay *relay, struct custody *custody)
{
	if (custody->flags & CUSTODY_IS_FINAL)
		return;
	custody->flags |= CUSTODY_IS_CLOSED | CUSTODY_IS_FINAL;
	custody_changed(relay, custody);
	if (custody->id.sequence == own_floor(relay, custody->id.epoch, NULL))
		floor_ask(relay, custody->id.epoch);
}

/* A transit copy that every next hop has taken needs its bytes no longer; the record stays, so that a
 * re-offer is known, until the origin's floor has passed. */
void release_if_passed(struct relay *relay, struct custody *custody)
{
	if (waits_here(custody))
		return;
	if (custody->flags & CUSTODY_IS_STATE && custody->flags & CUSTODY_IS_ORIGIN)
		state_is_final(relay, custody);
	if (custody->flags & CUSTODY_IS_ORIGIN && !(custody->flags & CUSTODY_IS_STATE))
		return;
	if (custody->flags & CUSTODY_IS_PARTIAL)
		return;                                  /* body_check decides */
	timer_set(relay, custody, 0);
	if (custody->flags & CUSTODY_IS_ADDRESSEE)
		return;
	if (custody->flags & CUSTODY_IS_STATE && !(custody->flags & CUSTODY_IS_ORIGIN)) {
		custody_drop(relay, custody);
		return;
	}
	envelope_drop(relay, custody);
}

/* Deletes rows whose last recipient has ended; row 0 afterwards. */
void rows_tidy(struct relay *relay, struct custody *custody)
{
	for (size_t i = 0; i < custody->recipient_count; i++) {
		struct recipient *ended = &custody->recipients[i];
		bool is_served = false;

		if (!ended->row || ended->hop == HOP_QUEUED || ended->hop == HOP_UNROUTED)
			continue;
		for (size_t j = 0; j < custody->recipient_count; j++) {
			const struct recipient *other = &custody->recipients[j];
			if (other->row == ended->row && (other->hop == HOP_QUEUED || other->hop == HOP_UNROUTED))
				is_served = true;
		}
		if (!is_served && ended->hop != HOP_PASSED)
			row_delete(relay, ended->via, custody_queue(custody), ended->row);
		ended->row = 0;
	}
	custody_changed(relay, custody);
}

void enqueue_marked(struct relay *relay, struct custody *custody)
{
	struct item_ref ref = { .type = ITEM_TYPE_MESSAGE, .precedence = custody_queue(custody), .id = custody->id };

	/* First the ways, then one row for each way, so that a row always speaks of the same recipients. */
	for (size_t i = 0; i < custody->recipient_count; i++) {
		struct recipient *recipient = &custody->recipients[i];
		if (recipient->via != MARKED)
			continue;
		recipient->via = route_pick(relay, recipient->node, custody, recipient);
		recipient->hop = recipient->via ? HOP_QUEUED : HOP_UNROUTED;
		/* held: it waits without a row, as hold() left the others */
		recipient->row = custody->flags & CUSTODY_IS_HELD ? 0 : UINT64_MAX;
	}
	for (size_t i = 0; i < custody->recipient_count; i++) {
		uint32_t via = custody->recipients[i].via;
		uint64_t row;

		if (custody->recipients[i].row != UINT64_MAX)
			continue;
		row = row_put(relay, via, &ref, custody->recipients[i].node);
		for (size_t j = i; j < custody->recipient_count; j++)
			if (custody->recipients[j].row == UINT64_MAX && custody->recipients[j].via == via)
				custody->recipients[j].row = row;
	}
	custody_changed(relay, custody);
}

/* ---------------------------------------------------------------- state kinds: last value wins */

static bool id_is_newer(const struct message_id *a, const struct message_id *b)
{
	return a->epoch != b->epoch ? a->epoch > b->epoch : a->sequence > b->sequence;
}

/* An older value leaves every queue without a word. */
static void state_leave(struct relay *relay, const struct message_id *id, bool is_kept)
{
	struct custody *old = custody_of(relay, id);

	if (!old)
		return;
	for (size_t i = 0; i < old->recipient_count; i++)
		if (old->recipients[i].hop == HOP_QUEUED || old->recipients[i].hop == HOP_UNROUTED)
			old->recipients[i].hop = HOP_ENDED;
	rows_tidy(relay, old);
	if (old->flags & CUSTODY_IS_ORIGIN) {
		state_is_final(relay, old);
		timer_set(relay, old, 0);
		envelope_drop(relay, old);
	} else if (is_kept) {
		timer_set(relay, old, 0);
	} else {
		custody_drop(relay, old);
	}
}

/* False: a newer value is known already. A newer one that only passes here stops the older one, but does not take the place
 * of the one that was for this node: else nothing would be left to show. */
static bool state_take(struct relay *relay, const struct header *header, bool is_for_us)
{
	struct latest *latest = map_get(&relay->latest, map_key_pair(header->id.origin, header->kind));
	const struct message_id shown = latest ? latest->shown : (struct message_id){ 0 };
	const struct custody *kept = latest && !is_for_us ? custody_of(relay, &shown) : NULL;
	bool is_same = latest && message_id_equal(&latest->id, &header->id), keeps = kept && kept->flags & CUSTODY_IS_ADDRESSEE;
	struct relay_effect *effect;

	if (is_same && (keeps || message_id_equal(&shown, &header->id)))
		return true;
	if (latest && !is_same && !id_is_newer(&header->id, &latest->id))
		return false;
	if (latest && !is_same)
		state_leave(relay, &latest->id, keeps && message_id_equal(&latest->id, &shown));
	if (latest && !keeps && !message_id_equal(&latest->id, &shown))
		state_leave(relay, &shown, false);
	if (relay_restore_latest(relay, header->id.origin, header->kind, &header->id)) {
		relay->failed = true;
		return false;
	}
	if (keeps) {
		latest->shown = shown;
		return true;
	}
	effect = effect_add(relay, EFFECT_PUT_LATEST);
	effect->node = header->id.origin;
	effect->kind = header->kind;
	effect->id = header->id;
	return true;
}

/* ---------------------------------------------------------------- arrival */

static const struct trailer *arrival_trailer(const struct trailer *trailer)
{
	static const struct trailer authored = { .hop_limit = LIMIT_HOPS + 1 };

	return trailer ? trailer : &authored;
}

/* The author fixes the recipients: a member of a group whose key is revoked is none, since it could neither
 * be reached nor sign, and the message would never close. */
static size_t leave_out_revoked(const struct directory *directory, uint32_t nodes[LIMIT_RECIPIENTS], size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		const struct certificate *certificate = directory_certificate(directory, nodes[i]);

		if (!certificate || !directory_revocation(directory, nodes[i], certificate->key_number))
			nodes[kept++] = nodes[i];
	}
	return kept;
}

/* Whom this offer asks us to serve: the list or bitmap of the trailer, else every destination. */
static enum cpd_error offer_recipients(const struct relay *relay, const struct header *header, const struct trailer *trailer,
    uint32_t out[LIMIT_RECIPIENTS], size_t *count)
{
	enum cpd_error error;

	*count = 0;
	error = directory_recipients(relay->config.directory, header, out, count);
	if (error)
		return error;
	if (trailer->member_bitmap_len && header->group_count) {
		const struct group *group = directory_group(relay->config.directory, header->groups[0].number, header->groups[0].version);
		size_t kept = 0;

		if (!group)
			return CPD_ERR_UNKNOWN_GROUP;
		for (size_t i = 0; i < group->member_count && i < trailer->member_bitmap_len * 8; i++)
			if (trailer->member_bitmap[i / 8] >> (i % 8) & 1)
				out[kept++] = group->members[i];
		*count = kept;
		return kept ? CPD_OK : CPD_ERR_MALFORMED;
	}
	if (trailer->recipient_count) {
		for (size_t i = 0; i < trailer->recipient_count; i++) {
			bool is_destination = false;
			for (size_t j = 0; j < *count; j++)
				is_destination |= out[j] == trailer->recipients[i];
			if (!is_destination)
				return CPD_ERR_STATE;
		}
		if (trailer->recipient_count > LIMIT_RECIPIENTS)
			return CPD_ERR_TOO_LARGE;
		memcpy(out, trailer->recipients, trailer->recipient_count * sizeof(out[0]));
		*count = trailer->recipient_count;
	}
	return CPD_OK;
}

static enum cpd_reason reason_of_offer(enum cpd_error error)
{
	return error == CPD_ERR_STATE ? REFUSED_NOT_ADDRESSED : reason_of_error(error);
}

/* Fills in what the header tells; recipients known from receipts that came before it stay. */
static void custody_fill(struct relay *relay, struct custody *custody, const struct header *header,
    const struct hash8 *hash, bool is_suspect, uint32_t link)
{
	const struct kind *kind = kind_find(header->kind);

	custody->hash = *hash;
	custody->kind = header->kind;
	custody->precedence = header->precedence;
	custody->lowered = quota_lowers(relay, header->id.origin, header->precedence);
	custody->mode = header->mode;
	custody->closing_level = header->closing_level;
	custody->created_s = header->created_s;
	custody->lifetime_s = header->lifetime_s;
	custody->large_length = header->large_length;
	custody->group = header->group_count ? header->groups[0] : (struct group_ref){ 0, 0 };
	custody->in_reply_to = header->in_reply_to;
	custody->supersedes = header->supersedes;
	custody->since = relay->now;
	if (kind && kind->is_state)
		custody->flags |= CUSTODY_IS_STATE;
	if (is_suspect)
		custody->flags |= CUSTODY_IS_SUSPECT;
	if (clock_is_trusted(header->clock_quality))
		custody->flags |= CUSTODY_IS_DATED;
	if (!link)
		custody->flags |= CUSTODY_IS_ORIGIN | (relay->event->is_draft ? CUSTODY_IS_HELD : 0);
}

/* A new offer of what is known: its age only grows, its trace is the way it came now. */
static void custody_refresh(struct relay *relay, struct custody *custody, const struct trailer *trailer, uint32_t link)
{
	uint32_t age = custody_age_s(custody, &relay->now);

	custody->age_s = age > trailer->age_s ? age : trailer->age_s;
	custody->since = relay->now;
	custody->from = link;
	custody->hop_limit = trailer->hop_limit;
	custody->trace_count = trailer->trace_count;
	memcpy(custody->trace, trailer->trace, sizeof(custody->trace));
	custody_changed(relay, custody);
}

/* As long as its origin waits before it offers again. */
static bool has_been_a_while(const struct relay *relay, const struct custody *custody)
{
	return relay->now.custody_ms - custody->since.custody_ms >= relay->config.retry_ms[custody->precedence];
}

static void deliver_here(struct relay *relay, struct custody *custody, const struct header *header, uint32_t retry)
{
	const struct kind *kind = kind_find(custody->kind);
	enum cpd_error error = CPD_OK;
	struct body_problem problem;
	struct relay_effect *effect;

	if (custody->flags & CUSTODY_IS_ADDRESSEE) {
		journal(relay, JOURNAL_DUPLICATE, custody, relay->config.self, relay->event->link, custody->local_level, REFUSED_NONE);
		/* The number is not signed: one far too high, of somebody else, must not silence us for good. */
		if (!(custody->flags & CUSTODY_IS_STATE) && (retry > custody->local_retry
		    || (has_been_a_while(relay, custody) && quota_has(relay, custody->id.origin, QUOTA_ANSWERS, 1)))) {
			custody->local_retry = retry;
			custody_changed(relay, custody);
			witness(relay, custody, custody->local_level, REFUSED_NONE, NULL);
		}
		return;
	}
	custody->flags |= CUSTODY_IS_ADDRESSEE;
	custody->local_retry = retry;
	custody->local_level = LEVEL_DELIVERED;
	if (kind && kind->has_body && !header->large_length)
		error = body_validate(custody->kind, header->body, false, &problem);
	if (error == CPD_ERR_NOMEM)
		relay->failed = true;        /* no word on the body: nobody may sign that it was not understood */
	if (!kind || !kind->has_body || error)
		custody->local_level = LEVEL_NOT_UNDERSTOOD;
	if (custody_age_s(custody, &relay->now) > custody->lifetime_s)
		custody->flags |= CUSTODY_IS_LATE;
	custody_changed(relay, custody);
	journal(relay, JOURNAL_DELIVERED_HERE, custody, relay->config.self, relay->event->link, custody->local_level, REFUSED_NONE);
	if (custody->flags & CUSTODY_IS_STATE)
		return;
	custody->inbox = relay->counters.next_inbox++;
	relay->counters.inbox_read += level_closes(custody->local_level, LEVEL_READ);
	relay->counters_dirty = true;
	effect = effect_add(relay, EFFECT_PUT_INBOX);
	effect->counter = custody->inbox;
	effect->id = custody->id;
	if (custody->flags & CUSTODY_IS_ORIGIN) {
		struct recipient *own = custody_recipient(custody, relay->config.self);
		if (own) {
			own->level = custody->local_level;
			own->hop = HOP_LOCAL;
			own->witness_epoch = relay->config.epoch;
		}
		return;
	}
	witness(relay, custody, custody->local_level, REFUSED_NONE, NULL);
}

/* True when a receipt we hold answers this offer: it closes the message, and its witness has not lost its
 * disk since, as far as the offer or a presence tells. */
static bool is_answered(const struct relay *relay, const struct custody *custody, const struct recipient *recipient, uint32_t after_epoch)
{
	uint32_t epoch = peer_epoch(relay, recipient->node);

	if (after_epoch > epoch)
		epoch = after_epoch;
	return recipient->witness_counter && recipient->witness_epoch >= epoch
	    && level_closes(recipient->level, custody->closing_level);
}

/* A hop duplicate: this copy waits here or has gone on already. Its number is not signed: after one far too high, of somebody
 * else, the origin's own offers would be taken for known ever after. So a number counts only for as long as the origin waits
 * before it offers again. */
static bool is_served(const struct relay *relay, const struct custody *custody, const struct recipient *recipient, const struct trailer *trailer, bool came_back)
{
	if (recipient->hop == HOP_QUEUED || recipient->hop == HOP_UNROUTED)
		return true;
	return recipient->hop != HOP_NONE && trailer->retry <= recipient->retry && !came_back
	    && !has_been_a_while(relay, custody);
}

/* What its origin has ended is not sent on when a neighbour gives it back. */
static bool is_over(const struct custody *custody)
{
	return custody->flags & CUSTODY_IS_ORIGIN && custody->flags & CUSTODY_IS_CLOSED;
}

static bool trace_names(const struct trailer *trailer, uint32_t node)
{
	for (size_t i = 0; i < trailer->trace_count; i++)
		if (trailer->trace[i].node == node)
			return true;
	return false;
}

/* Would serve() mark this recipient? custody NULL: the message is not known here. */
static bool needs_serving(const struct relay *relay, const struct custody *custody, uint32_t node, const struct trailer *trailer)
{
	const struct recipient *recipient = custody ? custody_recipient(custody, node) : NULL;

	if (custody && is_over(custody))
		return false;
	return !recipient || (!is_answered(relay, custody, recipient, trailer->after_epoch)
	    && !is_served(relay, custody, recipient, trailer, trace_names(trailer, relay->config.self)));
}

bool offer_needs_bytes(const struct relay *relay, const struct custody *custody, const struct header *header, const struct trailer *trailer)
{
	uint32_t recipients[LIMIT_RECIPIENTS];
	size_t count;

	if (offer_recipients(relay, header, trailer, recipients, &count))
		return false;                            /* accept_take says what is wrong with it */
	for (size_t i = 0; i < count; i++)
		if (recipients[i] == relay->config.self ? !(custody->flags & CUSTODY_IS_ADDRESSEE)
		    : needs_serving(relay, custody, recipients[i], trailer))
			return true;
	return false;
}

/* An offer on its last hop that is not for us: decided before anything changes, so that what is refused
 * leaves no trace that a later offer, with hops left, would be taken for known by. */
static bool must_go_on(const struct relay *relay, const struct custody *custody, const struct header *header, const struct trailer *trailer)
{
	uint32_t recipients[LIMIT_RECIPIENTS];
	size_t count;
	bool must = false;

	if (offer_recipients(relay, header, trailer, recipients, &count))
		return false;                            /* as above */
	for (size_t i = 0; i < count; i++) {
		if (recipients[i] == relay->config.self)
			return false;
		must |= needs_serving(relay, custody, recipients[i], trailer);
	}
	return must;
}

/* Anybody certified may sign a receipt, so a record may be full of receipts of those it is not for. One
 * of them leaves for a recipient that must be served; at the worst a copy is passed on for nothing. */
static void recipient_make_room(struct custody *custody)
{
	size_t i = 0;

	if (custody->recipient_count < LIMIT_RECIPIENTS)
		return;
	while (i < custody->recipient_count && (custody->recipients[i].hop != HOP_NONE || custody->recipients[i].via == MARKED))
		i++;
	if (i == custody->recipient_count)
		return;
	custody->recipient_count--;
	memmove(&custody->recipients[i], &custody->recipients[i + 1], (custody->recipient_count - i) * sizeof(custody->recipients[0]));
}

/* Marks the recipients of this offer that need serving. The rule "dedup suppresses showing, never
 * forwarding" is here. */
static bool serve(struct relay *relay, struct custody *custody, uint32_t node, const struct trailer *trailer, bool came_back)
{
	struct recipient *recipient = custody_recipient(custody, node);
	bool is_known = recipient != NULL;

	if (is_over(custody))
		return false;
	if (!is_known) {
		recipient_make_room(custody);
		recipient = custody_add_recipient(custody, node);
	}
	if (!recipient) {
		relay->failed = true;
		return false;
	}
	if (is_known && relay->event->link && is_answered(relay, custody, recipient, trailer->after_epoch)) {
		receipts_answer(relay, custody, recipient);
		return false;
	}
	if (trailer->after_epoch > recipient->after_epoch)
		recipient->after_epoch = trailer->after_epoch;
	if (is_known && (recipient->hop == HOP_QUEUED || recipient->hop == HOP_UNROUTED)) {
		if (trailer->retry > recipient->retry)
			recipient->retry = trailer->retry;   /* it still waits here: the newer number goes with it */
		return false;
	}
	if (is_known && is_served(relay, custody, recipient, trailer, came_back))
		return false;
	recipient->retry = trailer->retry;
	recipient->via = MARKED;
	return true;
}

/* What the disk and the work of a new message are charged to its origin; an offer of what has gone on already, to who brings
 * it, for nobody else has a say in how often that is done. */
static bool is_within_quota(struct relay *relay, const struct message *message, const struct trailer *trailer, const struct custody *custody)
{
	const struct header *header = &message->header;
	uint32_t recipients[LIMIT_RECIPIENTS];
	size_t count;
	const bool is_new = !custody || !custody->kind;

	if (!relay->event->link || header->id.origin == relay->config.self || offer_recipients(relay, header, trailer, recipients, &count))
		return true;                             /* accept_take says what is wrong with it */
	if (!is_new)
		return !offer_needs_bytes(relay, custody, header, trailer) || quota_has(relay, relay->event->link, QUOTA_OFFERS, 1);
	return quota_has(relay, header->id.origin, QUOTA_MESSAGES, 1)
	    && quota_has(relay, header->id.origin, QUOTA_KIB, (uint32_t)((message->bytes.len + header->large_length + count * QUOTA_RECIPIENT) / 1024 + 1));
}

static enum cpd_reason admit(struct relay *relay, const struct verified_message *message, const struct trailer *trailer,
    const struct custody *custody)
{
	const struct header *header = &message->message.header;

	/* Of what came only as somebody's receipt the hash is that one's word: it stops no message that its origin has signed. */
	if (custody && custody->kind && memcmp(&custody->hash, &message->hash, sizeof(message->hash)))
		return REFUSED_ID_CONFLICT;
	if (header->id.sequence < floor_of(relay, header->id.origin, header->id.epoch))
		return REFUSED_BELOW_FLOOR;
	if (!relay->event->store_admits && !(custody && custody->flags & CUSTODY_HAS_ENVELOPE))
		return REFUSED_FULL;
	if (!trailer->hop_limit || (trailer->hop_limit == 1 && must_go_on(relay, custody, header, trailer)))
		return REFUSED_HOP_LIMIT;
	if (!is_within_quota(relay, &message->message, trailer, custody))
		return REFUSED_QUOTA;
	/* An own message that comes back under an id of ours that we never gave: we were put back. */
	if (header->id.origin == relay->config.self && relay->event->link && !custody
	    && (header->id.epoch > relay->config.epoch
	        || (header->id.epoch == relay->config.epoch && header->id.sequence >= relay->counters.next_sequence)))
		effect_add(relay, EFFECT_RAISE_EPOCH)->epoch = header->id.epoch + 1;
	return REFUSED_NONE;
}

/* The direction of section 8.1: this node is named, and is not of a role that the kind is for. What was shown under
 * another role stays shown. */
static bool is_not_for_us(struct relay *relay, const struct header *header)
{
	const struct custody *custody = custody_of(relay, &header->id);

	return relay->event->link && !(custody && custody->flags & CUSTODY_IS_ADDRESSEE) &&
	    !directory_may_address(relay->config.directory, header->kind, relay->config.self);
}

/* Not shown, and its author is told in a signed word, at each offer. */
static void refuse_here(struct relay *relay, const struct custody *custody)
{
	journal(relay, JOURNAL_REFUSED, custody, relay->config.self, relay->event->link, LEVEL_UNDELIVERABLE, REFUSED_ROLE);
	if (!(custody->flags & CUSTODY_IS_STATE))
		witness(relay, custody, LEVEL_UNDELIVERABLE, REFUSED_ROLE, NULL);
}

/* Takes custody of a complete message. False: *reason says why not. Also called by body.c when the last
 * leaf of a large one has come. */
bool accept_take(struct relay *relay, const struct message *message, const struct hash8 *hash, bool is_suspect,
    const struct trailer *trailer, uint32_t link, enum cpd_reason *reason)
{
	const struct header *header = &message->header;
	struct custody *custody = custody_of(relay, &header->id);
	uint32_t recipients[LIMIT_RECIPIENTS];
	size_t count, marked = 0;
	bool is_new, is_local = false, is_refused = false, came_back = trace_names(trailer, relay->config.self);
	enum cpd_error error = offer_recipients(relay, header, trailer, recipients, &count);

	if (error) {
		*reason = reason_of_offer(error);
		return false;
	}
	*reason = REFUSED_NONE;
	if (!link)
		count = leave_out_revoked(relay->config.directory, recipients, count);
	for (size_t i = 0; i < count; i++)
		is_local |= recipients[i] == relay->config.self;
	if (is_local && is_not_for_us(relay, header)) {
		is_local = false;
		is_refused = true;
	}
	/* What a thief says of the state of a place takes the place of nothing that its people said. */
	if (kind_find(header->kind) && kind_find(header->kind)->is_state && !is_suspect && !state_take(relay, header, is_local || !link))
		return true;
	custody = custody_of(relay, &header->id);   /* state_take may have moved the overlay */
	is_new = !custody || !custody->kind || custody->flags & CUSTODY_IS_PARTIAL;
	if (!custody)
		custody = custody_make(relay, &header->id);
	if (!custody)
		return false;
	if (is_new)
		custody_fill(relay, custody, header, hash, is_suspect, link);
	for (size_t i = 0; i < count; i++)
		if (recipients[i] != relay->config.self)
			marked += serve(relay, custody, recipients[i], trailer, came_back);
	if (is_local && link == 0 && !custody_add_recipient(custody, relay->config.self))
		relay->failed = true;
	if (is_new || marked)
		custody_refresh(relay, custody, trailer, link);
	if (marked || (is_local && !(custody->flags & CUSTODY_IS_ADDRESSEE)) || !link)
		envelope_keep(relay, custody, message->bytes);
	if (trailer->retry > custody->retry)
		custody->retry = trailer->retry;
	custody->flags &= ~(unsigned)CUSTODY_IS_PARTIAL;
	if (is_new)
		journal(relay, link ? JOURNAL_CUSTODY_TAKEN : JOURNAL_AUTHORED, custody, header->id.origin, link, LEVEL_NONE, REFUSED_NONE);
	else if (!marked && !is_local)
		journal(relay, JOURNAL_DUPLICATE, custody, header->id.origin, link, LEVEL_NONE, REFUSED_NONE);
	if (is_local)
		deliver_here(relay, custody, header, trailer->retry);
	else if (is_refused)
		refuse_here(relay, custody);
	enqueue_marked(relay, custody);
	if (header->supersedes.sequence && header->supersedes.origin == header->id.origin && is_new)
		supersede(relay, header);
	if (custody->flags & CUSTODY_IS_ORIGIN)
		origin_check(relay, custody);
	origin_timer(relay, custody);
	release_if_passed(relay, custody);
	return true;
}

/* Whom a large body is for is settled before its leaves come: they may be 8 MiB. */
static enum cpd_reason whom_reason(const struct relay *relay, const struct header *header, const struct trailer *trailer)
{
	uint32_t recipients[LIMIT_RECIPIENTS];
	size_t count;
	enum cpd_error error = offer_recipients(relay, header, trailer, recipients, &count);

	return error ? reason_of_offer(error) : REFUSED_NONE;
}

void handle_message(struct relay *relay)
{
	const struct verified_message *message = relay->event->message;
	const struct header *header = &message->message.header;
	const struct trailer *trailer = arrival_trailer(relay->event->trailer);
	struct custody *custody = custody_of(relay, &header->id);
	enum cpd_reason reason = admit(relay, message, trailer, custody);

	if (!reason && custody && !custody->kind && memcmp(&custody->hash, &message->hash, sizeof(message->hash))) {
		custody->hash = message->hash;
		custody->recipient_count = 0;            /* those receipts were for other words */
		custody_changed(relay, custody);
	}
	if (!relay->event->link) {
		relay->counters.next_sequence = header->id.sequence + 1;
		relay->counters_dirty = true;
	}
	if (!reason && header->large_length)
		reason = whom_reason(relay, header, trailer);
	if (!reason && header->large_length && !body_take(relay, &reason)) {
		if (reason)
			settle(relay, reason);
		return;                                  /* leaves are asked for; no custody yet */
	}
	if (!reason)
		accept_take(relay, &message->message, &message->hash, message->is_suspect, trailer, relay->event->link, &reason);
	if (reason)
		journal(relay, reason == REFUSED_ID_CONFLICT ? JOURNAL_ID_CONFLICT : JOURNAL_REFUSED, custody,
		    header->id.origin, relay->event->link, LEVEL_NONE, reason);
	if (reason && !relay->event->link)
		relay->counters.next_sequence = header->id.sequence;   /* not taken: its author is told so */
	settle(relay, reason);
}

/* ---------------------------------------------------------------- the neighbour's answer */

void tried_push(struct recipient *recipient, uint32_t node)
{
	memmove(&recipient->tried[1], &recipient->tried[0], (LIMIT_TRIED - 1) * sizeof(recipient->tried[0]));
	recipient->tried[0] = node;
}

void handle_acked(struct relay *relay)
{
	const struct item_ref *ref = &relay->event->ref;
	uint32_t link = relay->event->link;
	struct custody *custody;
	bool any = false;

	if (ref->type == ITEM_TYPE_LEAF && neighbour_of(relay, link))
		body_leaf_ended(neighbour_of(relay, link), ref, true);
	if (ref->type == ITEM_TYPE_LEAF || ref->type == ITEM_TYPE_DIRECTORY)
		return;
	row_delete(relay, link, ref->precedence, ref->counter);
	window_has_room(relay, link, ref->precedence);
	if (ref->type != ITEM_TYPE_MESSAGE)
		return;
	if (neighbour_of(relay, link))
		body_forget(neighbour_of(relay, link), ref);
	custody = custody_of(relay, &ref->id);
	if (!custody)
		return;
	for (size_t i = 0; i < custody->recipient_count; i++) {
		struct recipient *recipient = &custody->recipients[i];
		if (recipient->hop != HOP_QUEUED || recipient->via != link || recipient->row != ref->counter)
			continue;
		recipient->hop = HOP_PASSED;
		recipient->row = 0;
		tried_push(recipient, link);
		any = true;
	}
	if (!any)
		return;
	custody_changed(relay, custody);
	journal(relay, JOURNAL_PASSED, custody, 0, link, LEVEL_NONE, REFUSED_NONE);
	release_if_passed(relay, custody);
}

static void refused_for_good(struct relay *relay, struct custody *custody, const struct item_ref *ref, uint32_t link, enum cpd_reason reason)
{
	bool is_origin = custody->flags & CUSTODY_IS_ORIGIN, any = false;

	for (size_t i = 0; i < custody->recipient_count; i++) {
		struct recipient *recipient = &custody->recipients[i];

		if (recipient->hop != HOP_QUEUED || recipient->via != link || recipient->row != ref->counter)
			continue;
		any = true;
		recipient->row = 0;
		tried_push(recipient, link);
		recipient->hop = reason == REFUSED_BELOW_FLOOR ? HOP_PASSED : HOP_ENDED;
		if (reason == REFUSED_BELOW_FLOOR || custody->flags & CUSTODY_IS_STATE)
			continue;
		if (is_origin) {
			recipient->level = level_merge(recipient->level, LEVEL_UNDELIVERABLE);
			recipient->reason = reason;
			journal(relay, JOURNAL_UNDELIVERABLE, custody, recipient->node, link, LEVEL_UNDELIVERABLE, reason);
		}
	}
	if (!any)
		return;              /* it has moved meanwhile: what waits elsewhere was not refused */
	custody_changed(relay, custody);
	if (is_origin && reason == REFUSED_ID_CONFLICT)
		effect_add(relay, EFFECT_REISSUE)->id = custody->id;
	if (!is_origin && reason != REFUSED_BELOW_FLOOR && !(custody->flags & CUSTODY_IS_STATE))
		witness(relay, custody, reason == REFUSED_EXPIRED ? LEVEL_EXPIRED : LEVEL_UNDELIVERABLE, reason, NULL);
	release_if_passed(relay, custody);
}

void handle_refused(struct relay *relay)
{
	const struct item_ref *ref = &relay->event->ref;
	struct custody *custody = ref->type == ITEM_TYPE_MESSAGE ? custody_of(relay, &ref->id) : NULL;

	if (ref->type == ITEM_TYPE_LEAF && neighbour_of(relay, relay->event->link))
		body_leaf_ended(neighbour_of(relay, relay->event->link), ref, true); /* until the next WANT tells otherwise */
	if (ref->type == ITEM_TYPE_LEAF || ref->type == ITEM_TYPE_DIRECTORY)
		return;
	if (neighbour_of(relay, relay->event->link))
		body_forget(neighbour_of(relay, relay->event->link), ref);
	journal(relay, JOURNAL_REFUSED_BY, custody, 0, relay->event->link, LEVEL_NONE, relay->event->reason);
	/* Who says all day that our ids are others' does not have us write everything again all day. */
	if (reason_is_retryable(relay->event->reason)
	    || (relay->event->reason == REFUSED_ID_CONFLICT && !quota_has(relay, relay->event->link, QUOTA_CONFLICTS, 1))) {
		window_wait(relay, relay->event->link, ref);
		if (relay->event->reason == REFUSED_FULL)
			window_full(relay, relay->event->link, ref->precedence);
		return;
	}
	row_delete(relay, relay->event->link, ref->precedence, ref->counter);
	if (custody)
		refused_for_good(relay, custody, ref, relay->event->link, relay->event->reason);
}

/* Nobody can be served with bytes that are gone. A relay lets its recipients go, so that the origin's next offer
 * is taken into custody again instead of being known as waiting; an origin has nothing to offer any more, and
 * tells its author. */
void handle_lost(struct relay *relay)
{
	struct custody *custody = custody_of(relay, &relay->event->id);

	if (!custody || !(custody->flags & CUSTODY_HAS_ENVELOPE) || custody->flags & CUSTODY_IS_PARTIAL)
		return;
	body_lost(relay, &custody->id);
	for (size_t i = 0; i < custody->recipient_count; i++)
		if (custody->recipients[i].hop == HOP_QUEUED || custody->recipients[i].hop == HOP_UNROUTED)
			custody->recipients[i].hop = HOP_NONE;
	rows_tidy(relay, custody);
	envelope_drop(relay, custody);
	if (custody->flags & CUSTODY_IS_ORIGIN && !(custody->flags & CUSTODY_IS_CLOSED))
		origin_end(relay, custody, LEVEL_UNDELIVERABLE, 0, JOURNAL_UNDELIVERABLE);
	release_if_passed(relay, custody);
}
