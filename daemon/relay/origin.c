/* origin.c: who authored a message keeps it until it is closed: retry, expiry, closing, grace, floor. */
#include "daemon/relay/internal.h"

#define MARKED UINT32_MAX

/* Closed by this recipient: it signed the closing level, on the disk it has now as far as we know. */
bool recipient_is_closed(const struct custody *custody, const struct recipient *recipient)
{
	return level_closes(recipient->level, custody->closing_level) && recipient->witness_epoch >= recipient->after_epoch;
}

static bool is_delivered(const struct recipient *recipient)
{
	return level_closes(recipient->level, LEVEL_DELIVERED) && recipient->witness_epoch >= recipient->after_epoch;
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
	return value < low ? low : value > high ? high : value;
}

static int64_t remaining_ms(const struct relay *relay, const struct custody *custody)
{
	return ((int64_t)custody->lifetime_s - (int64_t)custody_age_s(custody, &relay->now)) * 1000;
}

/* A relay drops for age only what is not FLASH, and only when two trusted clocks say so. */
bool is_expired_in_transit(const struct relay *relay, const struct custody *custody)
{
	int64_t age_ms = relay->now.wall_ms - (int64_t)custody->created_s * 1000;

	return custody->precedence != PRECEDENCE_FLASH && custody->flags & CUSTODY_IS_DATED
	    && clock_is_trusted(relay->now.quality) && age_ms > (int64_t)custody->lifetime_s * 1000;
}

/* When to look at this message next. The wait grows with its age, from the precedence's own up to the
 * longest, so that a long cut costs little and a short one is healed soon. */
void origin_timer(struct relay *relay, struct custody *custody)
{
	const struct relay_config *config = &relay->config;
	int64_t age_ms = (int64_t)custody_age_s(custody, &relay->now) * 1000, wait, left = remaining_ms(relay, custody);
	bool all_delivered = true, waits = false;

	for (size_t i = 0; i < custody->recipient_count; i++) {
		if (custody->recipients[i].hop == HOP_QUEUED || custody->recipients[i].hop == HOP_UNROUTED)
			waits = true;
		all_delivered &= is_delivered(&custody->recipients[i]);
	}
	if (!(custody->flags & CUSTODY_IS_ORIGIN)) {
		if (waits && custody->precedence != PRECEDENCE_FLASH && !custody->timer_ms)
			timer_set(relay, custody, relay->now.custody_ms + clamp(left, 60000, INT64_C(86400000)));
		return;
	}
	if (custody->flags & (CUSTODY_IS_CLOSED | CUSTODY_IS_STATE))
		return;          /* the grace timer stands, or none is needed */
	wait = all_delivered ? config->reoffer_ms : config->retry_ms[custody->precedence];
	wait = clamp(age_ms / 2, wait, wait > config->retry_max_ms ? wait : config->retry_max_ms);
	wait = clamp(wait, 1000, left + 1000 > 1000 ? left + 1000 : 1000);
	timer_set(relay, custody, relay->now.custody_ms + wait);
}

void origin_check(struct relay *relay, struct custody *custody)
{
	if (custody->flags & (CUSTODY_IS_CLOSED | CUSTODY_IS_STATE) || !(custody->flags & CUSTODY_IS_ORIGIN))
		return;
	for (size_t i = 0; i < custody->recipient_count; i++)
		if (!recipient_is_closed(custody, &custody->recipients[i]))
			return;
	custody->flags |= CUSTODY_IS_CLOSED;
	custody_changed(relay, custody);
	journal(relay, JOURNAL_CLOSED, custody, 0, 0, LEVEL_NONE, REFUSED_NONE);
	timer_set(relay, custody, relay->now.custody_ms + relay->config.grace_ms);
}

/* The origin's own decision ends it for everyone who has not signed yet: expired, withdrawn, superseded. */
void origin_end(struct relay *relay, struct custody *custody, enum level level, unsigned flag, enum journal_what what)
{
	for (size_t i = 0; i < custody->recipient_count; i++) {
		struct recipient *recipient = &custody->recipients[i];

		if (recipient->hop == HOP_QUEUED || recipient->hop == HOP_UNROUTED)
			recipient->hop = HOP_ENDED;
		if (recipient_is_closed(custody, recipient))
			continue;
		recipient->level = level_merge(recipient->level, level);
		journal(relay, what, custody, recipient->node, 0, recipient->level, REFUSED_NONE);
	}
	rows_tidy(relay, custody);
	custody->flags |= flag | CUSTODY_IS_CLOSED;
	journal(relay, JOURNAL_CLOSED, custody, 0, 0, level, REFUSED_NONE);
	timer_set(relay, custody, relay->now.custody_ms + relay->config.grace_ms);
}

static void finalise(struct relay *relay, struct custody *custody)
{
	custody->flags |= CUSTODY_IS_FINAL;
	custody_changed(relay, custody);
	journal(relay, JOURNAL_RELEASED, custody, 0, 0, LEVEL_NONE, REFUSED_NONE);
	if (!(custody->flags & CUSTODY_IS_ADDRESSEE))
		envelope_drop(relay, custody);
	floor_ask(relay, custody->id.epoch);
}

static void offer_again(struct relay *relay, struct custody *custody)
{
	bool any = false;

	if (custody->flags & CUSTODY_IS_HELD)
		return;
	for (size_t i = 0; i < custody->recipient_count; i++) {
		struct recipient *recipient = &custody->recipients[i];

		if (recipient_is_closed(custody, recipient) || recipient->hop == HOP_LOCAL
		    || recipient->hop == HOP_QUEUED || recipient->hop == HOP_UNROUTED)
			continue;
		recipient->via = MARKED;
		any = true;
	}
	if (!any)
		return;
	custody->retry++;
	for (size_t i = 0; i < custody->recipient_count; i++)
		if (custody->recipients[i].via == MARKED)
			custody->recipients[i].retry = custody->retry;
	journal(relay, JOURNAL_RETRY, custody, 0, 0, LEVEL_NONE, REFUSED_NONE);
	/* What came back from elsewhere must not close ways to a fresh offer of ours. */
	custody->trace_count = 0;
	custody->from = 0;
	custody->hop_limit = LIMIT_HOPS + 1;
	enqueue_marked(relay, custody);
}

void handle_timer(struct relay *relay)
{
	struct custody *custody = custody_of(relay, &relay->event->id);

	if (!custody || custody->timer_ms != relay->event->due_ms) {
		/* The row is of an older plan. */
		struct relay_effect *effect = effect_add(relay, EFFECT_DELETE_TIMER);
		effect->at_ms = relay->event->due_ms;
		effect->id = relay->event->id;
		return;
	}
	timer_set(relay, custody, 0);
	if (custody->flags & CUSTODY_IS_PARTIAL) {
		body_check(relay, custody);
		return;
	}
	if (!(custody->flags & CUSTODY_IS_ORIGIN)) {
		if (is_expired_in_transit(relay, custody) && !(custody->flags & CUSTODY_IS_HELD)) {
			for (size_t i = 0; i < custody->recipient_count; i++)
				if (custody->recipients[i].hop == HOP_QUEUED || custody->recipients[i].hop == HOP_UNROUTED)
					custody->recipients[i].hop = HOP_ENDED;
			rows_tidy(relay, custody);
			journal(relay, JOURNAL_EXPIRED, custody, 0, 0, LEVEL_EXPIRED, REFUSED_EXPIRED);
			if (!(custody->flags & CUSTODY_IS_STATE))
				witness(relay, custody, LEVEL_EXPIRED, REFUSED_EXPIRED, NULL);
			release_if_passed(relay, custody);
		} else {
			origin_timer(relay, custody);
		}
		return;
	}
	if (custody->flags & CUSTODY_IS_CLOSED) {
		if (!(custody->flags & CUSTODY_IS_FINAL))
			finalise(relay, custody);
		return;
	}
	if (remaining_ms(relay, custody) <= 0) {
		origin_end(relay, custody, LEVEL_EXPIRED, CUSTODY_IS_EXPIRED, JOURNAL_EXPIRED);
		return;
	}
	offer_again(relay, custody);
	origin_timer(relay, custody);
}

/* Delivered here: people have read it and done what it asks, its origin has declared it final, so that nobody
 * offers it any more, and it is past its term. */
static bool is_past_its_term(const struct relay *relay, const struct custody *custody)
{
	if (!(custody->flags & CUSTODY_IS_ADDRESSEE) || !custody->inbox || custody->timer_ms || custody->flags & (CUSTODY_IS_HELD | CUSTODY_IS_PARTIAL)
	    || (custody->flags & CUSTODY_IS_ORIGIN && !(custody->flags & CUSTODY_IS_FINAL)))
		return false;
	for (size_t i = 0; i < custody->recipient_count; i++)
		if (custody->recipients[i].hop == HOP_QUEUED || custody->recipients[i].hop == HOP_UNROUTED)
			return false;
	return level_closes(custody->local_level, LEVEL_READ) && level_closes(custody->local_level, custody->closing_level)
	    && custody->id.sequence < floor_of(relay, custody->id.origin, custody->id.epoch)
	    && relay->now.custody_ms - custody->since.custody_ms >= relay->config.inbox_ms;
}

void handle_forget(struct relay *relay)
{
	struct custody *custody = custody_of(relay, &relay->event->id);
	struct relay_effect *effect;

	if (!custody || !is_past_its_term(relay, custody))
		return;
	journal(relay, JOURNAL_RELEASED, custody, 0, 0, LEVEL_NONE, REFUSED_NONE);
	effect = effect_add(relay, EFFECT_DELETE_INBOX);
	effect->counter = custody->inbox;
	effect->id = custody->id;
	custody_drop(relay, custody);
}

/* ---------------------------------------------------------------- floors */

void floors_begin(struct relay *relay)
{
	struct relay_counters *counters = &relay->counters;

	relay->floors_are_due = true;
	if (counters->epoch == relay->config.epoch)
		return;
	if (counters->epoch) {
		for (size_t i = RELAY_ELDERS - 1; i > 0; i--)
			counters->elders[i] = counters->elders[i - 1];
		counters->elders[0] = (struct elder_floor){ counters->epoch, counters->floor, counters->next_sequence };
		counters->floor = counters->next_sequence;
	}
	counters->epoch = relay->config.epoch;
	relay->counters_dirty = true;
}

uint64_t own_floor(const struct relay *relay, uint32_t epoch, uint64_t *end)
{
	const struct relay_counters *counters = &relay->counters;

	if (end)
		*end = counters->next_sequence;
	if (epoch == relay->config.epoch)
		return counters->floor;
	for (size_t i = 0; epoch && i < RELAY_ELDERS; i++) {
		if (counters->elders[i].epoch != epoch)
			continue;
		if (end)
			*end = counters->elders[i].end;
		return counters->elders[i].floor;
	}
	return 0;
}

void floor_ask(struct relay *relay, uint32_t epoch)
{
	uint64_t end, floor = own_floor(relay, epoch, &end);
	struct relay_effect *effect;

	if (!floor || floor >= end)
		return;
	effect = effect_add(relay, EFFECT_WANT_FLOOR);
	effect->epoch = epoch;
	effect->sequence = floor;
}

void floors_ask(struct relay *relay)
{
	relay->floors_are_due = false;
	floor_ask(relay, relay->config.epoch);
	for (size_t i = 0; i < RELAY_ELDERS; i++)
		floor_ask(relay, relay->counters.elders[i].epoch);
}

/* The lowest own message of an epoch that is not final, among those whose commit is still under way:
 * what was asked of the store does not hold them. */
static uint64_t lowest_in_overlay(const struct relay *relay, uint32_t epoch)
{
	const struct overlay_entry *entry;
	uint64_t lowest = UINT64_MAX;
	size_t at = 0;

	while ((entry = map_next(&relay->overlay, &at))) {
		const struct custody *custody = &entry->custody;
		if (!entry->is_deleted && custody->id.origin == relay->config.self && custody->id.epoch == epoch
		    && custody->flags & CUSTODY_IS_ORIGIN && !(custody->flags & CUSTODY_IS_FINAL) && custody->id.sequence < lowest)
			lowest = custody->id.sequence;
	}
	return lowest;
}

static void floor_rise(struct relay *relay, uint32_t epoch, uint64_t floor)
{
	struct relay_effect *effect;

	if (epoch == relay->config.epoch)
		relay->counters.floor = floor;
	for (size_t i = 0; i < RELAY_ELDERS; i++)
		if (relay->counters.elders[i].epoch == epoch)
			relay->counters.elders[i].floor = floor;
	relay->counters_dirty = true;
	effect = effect_add(relay, EFFECT_PURGE_BELOW);
	effect->node = relay->config.self;
	effect->epoch = epoch;
	effect->sequence = floor;
	announce_soon(relay, 1000);
}

/* Everything below the first own message that is not final may be forgotten by everyone. */
static void floor_advance(struct relay *relay)
{
	const struct relay_event *event = relay->event;
	uint32_t epoch = event->id.epoch;
	uint64_t end, before = own_floor(relay, epoch, &end), floor = before, lowest = lowest_in_overlay(relay, epoch);
	bool is_blocked = false, is_end = event->own_end;

	for (size_t i = 0; i < event->own_count && !is_blocked; i++) {
		const struct message_id *id = &event->own[i];
		const struct custody *custody = custody_of(relay, id);

		is_end |= id->epoch > epoch;
		if (id->epoch != epoch || id->sequence < floor)
			continue;
		is_blocked = custody && !(custody->flags & CUSTODY_IS_FINAL);
		floor = id->sequence + !is_blocked;
	}
	if (!is_blocked && is_end)
		floor = end;
	if (floor > lowest)
		floor = lowest;
	if (!before || floor <= before || floor > end)
		return;
	floor_rise(relay, epoch, floor);
	if (!is_blocked && !is_end)
		floor_ask(relay, epoch);
}

/* An addressee whose disk was lost is offered again all that is in retention. */
void handle_own(struct relay *relay)
{
	const struct relay_event *event = relay->event;
	uint32_t node = event->own_node, epoch = peer_epoch(relay, node);
	struct relay_effect *effect;

	if (node == relay->config.self) {
		floor_advance(relay);
		return;
	}
	for (size_t i = 0; i < event->own_count; i++) {
		struct custody *custody = custody_of(relay, &event->own[i]);
		struct recipient *recipient = custody ? custody_recipient(custody, node) : NULL;

		if (!recipient || !(custody->flags & CUSTODY_IS_ORIGIN) || !(custody->flags & CUSTODY_HAS_ENVELOPE)
		    || custody->flags & (CUSTODY_IS_FINAL | CUSTODY_IS_EXPIRED | CUSTODY_IS_WITHDRAWN | CUSTODY_IS_SUPERSEDED | CUSTODY_IS_STATE)
		    || recipient->witness_epoch >= epoch || recipient->after_epoch >= epoch)
			continue;
		recipient->after_epoch = epoch;
		if (!recipient->witness_epoch) {
			/* On its way still, with retries: only, what the old disk signed meanwhile will not close it. */
			custody_changed(relay, custody);
			continue;
		}
		custody->flags &= ~(unsigned)CUSTODY_IS_CLOSED;
		custody_changed(relay, custody);
		offer_again(relay, custody);
		origin_timer(relay, custody);
	}
	if (event->own_end || !event->own_count) {
		presence_is_served(relay, node);
		return;
	}
	effect = effect_add(relay, EFFECT_WANT_OWN);
	effect->node = node;
	effect->id = event->own[event->own_count - 1];
}
