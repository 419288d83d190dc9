/* queue.c: queue rows by link and precedence, and the bounded window on their heads. */
#include "daemon/relay/internal.h"

#include <stdlib.h>
#include <string.h>

/* Doublings of the wait after a refusal for now: a neighbour that is full for hours, or lacks an update,
 * must not cost a thin link its air every few seconds. 5 s doubles to 20 s for FLASH, 320 s for others. */
#define REFUSALS_FLASH 2
#define REFUSALS_MOST 6

struct neighbour *neighbour_of(const struct relay *relay, uint32_t node)
{
	return map_get(&relay->links_by_node, map_key_pair(node, 0));
}

bool queue_is_empty(const struct neighbour *neighbour)
{
	for (int p = 0; p < PRECEDENCE_COUNT; p++)
		if (neighbour->windows[p].count || neighbour->windows[p].more)
			return false;
	return true;
}

static void entry_move(struct window *window, struct window_entry *entry, enum entry_state state)
{
	window->waiting -= entry->state == ENTRY_WAITING;
	window->waiting += state == ENTRY_WAITING;
	window->under_way -= entry->state == ENTRY_UNDER_WAY;
	window->under_way += state == ENTRY_UNDER_WAY;
	entry->state = state;
}

/* Rows that wait after a refusal hold up nobody behind them, as long as they are not too many. */
static bool window_has_place(const struct window *window)
{
	return window->count - window->waiting < LIMIT_WINDOW && window->count < LIMIT_WINDOW + LIMIT_REFUSED;
}

static bool window_append(struct relay *relay, struct window *window, const struct relay_row *row, uint64_t turn)
{
	if (!window_has_place(window))
		return false;
	if (window->count == window->capacity) {
		size_t capacity = window->capacity ? window->capacity * 2 : 8;
		struct window_entry *larger = realloc(window->entries, capacity * sizeof(*larger));
		if (!larger) {
			relay->failed = true;
			return false;
		}
		window->entries = larger;
		window->capacity = capacity;
	}
	window->entries[window->count++] = (struct window_entry){ .row = *row, .turn = turn };
	window->tail = row->ref.counter;
	return true;
}

static struct window_entry *window_find(struct window *window, uint64_t counter)
{
	size_t low = 0, high = window->count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (window->entries[middle].row.ref.counter < counter)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == window->count || window->entries[low].row.ref.counter != counter)
		return NULL;
	return &window->entries[low];
}

static void window_remove(struct window *window, struct window_entry *entry)
{
	size_t index = (size_t)(entry - window->entries);

	entry_move(window, entry, ENTRY_READY);
	memmove(entry, entry + 1, (window->count - index - 1) * sizeof(*entry));
	if (--window->count == 0) {
		free(window->entries);
		window->entries = NULL;
		window->capacity = 0;
	}
}

uint64_t row_put(struct relay *relay, uint32_t link, const struct item_ref *ref, uint32_t destination)
{
	struct neighbour *neighbour = neighbour_of(relay, link);
	struct window *window = &neighbour->windows[ref->precedence];
	struct relay_effect *effect = effect_add(relay, EFFECT_PUT_ROW);
	struct relay_row row = { *ref, destination };

	row.ref.counter = relay->counters.next_row++;
	relay->counters_dirty = true;
	effect->link = link;
	effect->row = row;
	if (window->more || !window_append(relay, window, &row, relay->turn)) {
		window->more = true;
		window->last_put_turn = relay->turn;
	}
	return row.ref.counter;
}

void row_delete(struct relay *relay, uint32_t link, enum precedence precedence, uint64_t counter)
{
	struct neighbour *neighbour = neighbour_of(relay, link);
	struct relay_effect *effect = effect_add(relay, EFFECT_DELETE_ROW);
	struct window_entry *entry;

	effect->link = link;
	effect->row.ref.precedence = precedence;
	effect->row.ref.counter = counter;
	if (!neighbour)
		return;
	entry = window_find(&neighbour->windows[precedence], counter);
	if (entry)
		window_remove(&neighbour->windows[precedence], entry);
}

/* Windows that run low ask for what stands behind them. The answer is read when the turn of the question is
 * on disk: so it holds every row put up to that turn, and tells nothing of later ones. */
static bool window_is_low(const struct window *window)
{
	return window->more && !window->asked && window->count - window->waiting <= LIMIT_WINDOW / 2 && window_has_place(window);
}

bool windows_are_low(const struct relay *relay)
{
	for (size_t i = 0; i < relay->link_count; i++)
		for (int p = 0; p < PRECEDENCE_COUNT; p++)
			if (window_is_low(&relay->links[i]->windows[p]))
				return true;
	return false;
}

void windows_ask(struct relay *relay)
{
	relay->ask_is_due = false;
	for (size_t i = 0; i < relay->link_count; i++) {
		struct neighbour *neighbour = relay->links[i];
		for (int p = PRECEDENCE_COUNT - 1; p >= 0; p--) {
			struct window *window = &neighbour->windows[p];
			struct relay_effect *effect;

			if (!window_is_low(window))
				continue;
			effect = effect_add(relay, EFFECT_WANT_ROWS);
			effect->link = neighbour->node;
			effect->precedence = (enum precedence)p;
			effect->counter = window->tail;
			window->asked = true;
			window->asked_turn = relay->turn;
		}
	}
}

void handle_rows(struct relay *relay)
{
	const struct relay_event *event = relay->event;
	struct neighbour *neighbour = neighbour_of(relay, event->link);
	struct window *window;

	if (!neighbour)
		return;
	if (event->is_reroute) {
		handle_reroute_rows(relay);
		return;
	}
	window = &neighbour->windows[event->precedence];
	window->asked = false;
	for (size_t i = 0; i < event->row_count; i++) {
		if (event->rows[i].ref.counter <= window->tail)
			continue;
		if (!window_append(relay, window, &event->rows[i], 0))
			return;
	}
	if (event->rows_end && window->last_put_turn <= window->asked_turn)
		window->more = false;
}

void window_wait(struct relay *relay, uint32_t link, const struct item_ref *ref)
{
	struct neighbour *neighbour = neighbour_of(relay, link);
	struct window_entry *entry = neighbour ? window_find(&neighbour->windows[ref->precedence], ref->counter) : NULL;
	unsigned most = ref->precedence == PRECEDENCE_FLASH ? REFUSALS_FLASH : REFUSALS_MOST;

	if (!entry)
		return;
	entry_move(&neighbour->windows[ref->precedence], entry, ENTRY_WAITING);
	entry->wait_until_ms = relay->now.custody_ms + relay->config.refusal_wait_ms * (INT64_C(1) << entry->refusals);
	if (entry->refusals < most)
		entry->refusals++;
}

/* A row refused for lack of room would be followed by all others of its precedence, each refused after it has crossed the
 * link. So the queue waits, and then tries one row at a time; small ones come to their turn, because the refused one waits longer. */
void window_full(struct relay *relay, uint32_t link, enum precedence precedence)
{
	struct neighbour *neighbour = neighbour_of(relay, link);
	struct window *window = neighbour ? &neighbour->windows[precedence] : NULL;
	unsigned most = precedence == PRECEDENCE_FLASH ? REFUSALS_FLASH : REFUSALS_MOST;

	if (!window || window->full_until_ms > relay->now.custody_ms)
		return;                 /* it was under way with the one before */
	window->full_until_ms = relay->now.custody_ms + relay->config.refusal_wait_ms * (INT64_C(1) << window->full_refusals);
	if (window->full_refusals < most)
		window->full_refusals++;
}

void window_has_room(struct relay *relay, uint32_t link, enum precedence precedence)
{
	struct neighbour *neighbour = neighbour_of(relay, link);

	if (!neighbour)
		return;
	neighbour->windows[precedence].full_refusals = 0;
	neighbour->windows[precedence].full_until_ms = 0;
}

void windows_tick(struct relay *relay, struct neighbour *neighbour)
{
	for (int p = 0; p < PRECEDENCE_COUNT; p++) {
		struct window *window = &neighbour->windows[p];

		if (window->full_until_ms <= relay->now.custody_ms)
			window->full_until_ms = 0;
		for (size_t e = 0; window->waiting && e < window->count; e++) {
			struct window_entry *entry = &window->entries[e];
			if (entry->state == ENTRY_WAITING && entry->wait_until_ms <= relay->now.custody_ms)
				entry_move(window, entry, ENTRY_READY);
		}
	}
}

int64_t windows_deadline(const struct neighbour *neighbour)
{
	int64_t due = INT64_MAX;

	for (int p = 0; p < PRECEDENCE_COUNT; p++) {
		const struct window *window = &neighbour->windows[p];

		if (window->full_until_ms && window->full_until_ms < due)
			due = window->full_until_ms;
		for (size_t e = 0; window->waiting && e < window->count; e++) {
			const struct window_entry *entry = &window->entries[e];
			if (entry->state == ENTRY_WAITING && entry->wait_until_ms < due)
				due = entry->wait_until_ms;
		}
	}
	return due;
}

void handle_returned(struct relay *relay)
{
	const struct item_ref *ref = &relay->event->ref;
	struct neighbour *neighbour = neighbour_of(relay, relay->event->link);
	struct window_entry *entry;

	if (neighbour && ref->type == ITEM_TYPE_LEAF)
		body_leaf_ended(neighbour, ref, false);
	if (!neighbour || ref->type == ITEM_TYPE_LEAF || ref->type == ITEM_TYPE_DIRECTORY)
		return;
	body_forget(neighbour, ref);
	entry = window_find(&neighbour->windows[ref->precedence], ref->counter);
	if (entry)
		entry_move(&neighbour->windows[ref->precedence], entry, ENTRY_READY);
}

/* The neighbour has no room, or one row asks whether it has. */
static bool window_is_closed(const struct window *window, const struct moment *now)
{
	return window->full_refusals && (window->full_until_ms > now->custody_ms || window->under_way);
}

static bool entry_is_due(const struct relay *relay, const struct window_entry *entry, const struct moment *now)
{
	if (entry->turn > relay->committed || entry->state == ENTRY_UNDER_WAY)
		return false;
	return entry->state != ENTRY_WAITING || entry->wait_until_ms <= now->custody_ms;
}

bool relay_is_due(const struct relay *relay, uint32_t link, enum precedence precedence, const struct moment *now)
{
	const struct neighbour *neighbour = link ? neighbour_of(relay, link) : NULL;
	const struct window *window;

	if (!neighbour)
		return false;
	window = &neighbour->windows[precedence];
	if (body_is_due(neighbour, precedence))
		return true;
	for (size_t i = 0; !window_is_closed(window, now) && i < window->count; i++)
		if (entry_is_due(relay, &window->entries[i], now))
			return true;
	return window_is_low(window);   /* then what stands behind it should have been asked for */
}

bool relay_next_item(struct relay *relay, uint32_t link, enum precedence precedence, const struct moment *now, struct item_ref *out)
{
	struct neighbour *neighbour = neighbour_of(relay, link);
	struct window_entry *best = NULL;
	struct window *window;

	if (!neighbour || !neighbour->is_up || !link)
		return false;
	if (body_next(neighbour, precedence, out))
		return true;
	window = &neighbour->windows[precedence];
	if (window_is_closed(window, now))
		return false;
	for (size_t i = 0; i < window->count; i++) {
		struct window_entry *entry = &window->entries[i];

		if (!entry_is_due(relay, entry, now))
			continue;
		if (!best || entry->refusals < best->refusals)
			best = entry;
		if (!window->full_refusals || !best->refusals)
			break;          /* in order; only the one row that asks for room is the one least refused */
	}
	if (!best)
		return false;
	entry_move(window, best, ENTRY_UNDER_WAY);
	*out = best->row.ref;
	return true;
}

void relay_item_gone(struct relay *relay, uint32_t link, const struct item_ref *ref)
{
	struct neighbour *neighbour = neighbour_of(relay, link);
	struct window_entry *entry;

	if (neighbour && ref->type == ITEM_TYPE_LEAF)
		body_leaf_ended(neighbour, ref, true);  /* until the next WANT tells otherwise */
	if (!neighbour || ref->type == ITEM_TYPE_LEAF)
		return;
	entry = window_find(&neighbour->windows[ref->precedence], ref->counter);
	if (!entry)
		return;
	window_remove(&neighbour->windows[ref->precedence], entry);
	/* No turn is open: without a tick the rows behind would wait for some other event. */
	if (window_is_low(&neighbour->windows[ref->precedence]))
		relay->ask_is_due = true;
}

/* Many members of one group go as a bitmap over its version instead of by number, where that is shorter. */
static void recipients_to_bitmap(const struct relay *relay, const struct custody *custody, struct trailer *trailer)
{
	const struct group *group = custody->group.number
	    ? directory_group(relay->config.directory, custody->group.number, custody->group.version) : NULL;
	size_t found = 0, len = group ? (group->member_count + 7) / 8 : 0;

	if (!group || trailer->recipient_count * 2 <= len || group->member_count > LIMIT_GROUP_MEMBERS)
		return;
	for (size_t i = 0; i < group->member_count; i++)
		for (size_t j = 0; j < trailer->recipient_count; j++)
			if (trailer->recipients[j] == group->members[i]) {
				trailer->member_bitmap[i / 8] |= (uint8_t)(1u << (i % 8));
				found++;
			}
	if (found != trailer->recipient_count) {
		/* somebody is addressed by number too: the list names all */
		memset(trailer->member_bitmap, 0, sizeof(trailer->member_bitmap));
		return;
	}
	trailer->member_bitmap_len = len;
	trailer->recipient_count = 0;
}

/* A disk that was put back has forgotten how often it offered, and nobody answers a number it has answered
 * already: each epoch begun since counts for more offers than a lifetime has. */
uint32_t offer_number(const struct relay *relay, const struct custody *custody, uint32_t retry)
{
	uint64_t number = retry;

	if (custody->flags & CUSTODY_IS_ORIGIN && relay->config.epoch > custody->id.epoch)
		number += (uint64_t)(relay->config.epoch - custody->id.epoch) * LIMIT_OFFERS;
	return number < UINT32_MAX ? (uint32_t)number : UINT32_MAX;
}

enum cpd_error relay_carry_trailer(const struct relay *relay, const struct custody *custody,
    const struct item_ref *ref, uint32_t link, uint32_t only, const struct moment *now, struct trailer *out)
{
	size_t count = 0;

	trailer_init(out);
	out->recipients = calloc(custody->recipient_count ? custody->recipient_count : 1, sizeof(uint32_t));
	if (!out->recipients)
		return CPD_ERR_NOMEM;
	for (size_t i = 0; i < custody->recipient_count; i++) {
		const struct recipient *recipient = &custody->recipients[i];

		if ((recipient->hop != HOP_QUEUED && recipient->hop != HOP_UNROUTED) || recipient->via != link || recipient->row != ref->counter
		    || (only && recipient->node != only))
			continue;
		out->recipients[count++] = recipient->node;
		if (recipient->after_epoch > out->after_epoch)
			out->after_epoch = recipient->after_epoch;
		if (offer_number(relay, custody, recipient->retry) > out->retry)
			out->retry = offer_number(relay, custody, recipient->retry);
	}
	if (!count || !(custody->flags & CUSTODY_HAS_ENVELOPE)) {
		trailer_clear(out);
		return CPD_ERR_NOT_FOUND;
	}
	out->recipient_count = count;
	out->age_s = custody_age_s(custody, now);
	out->hop_limit = custody->hop_limit ? custody->hop_limit - 1 : 0;
	memcpy(out->trace, custody->trace, sizeof(out->trace));
	out->trace_count = custody->trace_count;
	if (out->trace_count < LIMIT_TRACE) {
		struct hop *hop = &out->trace[out->trace_count++];
		bool was_trusted = clock_is_trusted(custody->since.quality) && custody->since.wall_ms > 0;

		hop->node = relay->config.self;
		hop->received_s = was_trusted ? (uint32_t)(custody->since.wall_ms / 1000) : 0;
		hop->sent_s = clock_is_trusted(now->quality) && now->wall_ms > 0 ? (uint32_t)(now->wall_ms / 1000) : 0;
	}
	return CPD_OK;
}

enum cpd_error relay_make_trailer(const struct relay *relay, const struct custody *custody,
    const struct item_ref *ref, uint32_t link, const struct moment *now, struct trailer *out)
{
	enum cpd_error error = relay_carry_trailer(relay, custody, ref, link, 0, now, out);

	if (!error)
		recipients_to_bitmap(relay, custody, out);
	return error;
}
