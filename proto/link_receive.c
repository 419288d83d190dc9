/*
 * link_receive.c: the peer's items on a link: reassembly, settling, what we acknowledge, the credit we
 * grant (PROTOCOL.md section 7).
 *
 * A serial goes MISSING -> RAISED -> SETTLED, or RAISED -> REFUSED -> SETTLED (when the peer voids it),
 * or MISSING/RAISED -> SETTLED (voided). A refused serial counts as received only after the peer showed,
 * by voiding it, that it has the refusal: counted earlier, a refusal lost with its session would read as
 * custody in the next hello.
 */
#include "proto/link_internal.h"

#include <stdlib.h>
#include <string.h>

/* More than this raised and not settled, and whole items are dropped: the peer sends them again. An
 * honest one comes near it only when many items of which the credit was counted were lost. */
#define HELD_MAX (LIMIT_CREDIT + PRECEDENCE_COUNT * LIMIT_ITEM)

static struct slot *slot_at(struct link *link, uint64_t serial)
{
	return &link->rx.slots[serial % LIMIT_UNACKED];
}

#define WINDOW_START (8 * 1024)
#define ARRIVAL_PAUSE_MS 3000
#define ARRIVAL_SPAN_MS 100

static bool in_window(const struct receiving *rx, uint64_t serial)
{
	return serial > rx->committed && serial - rx->committed <= LIMIT_UNACKED && serial <= SERIAL_MAX;
}

/* What the host is handed as serial: with the session above it, so that a late link_settle for an item
 * of an ended session never settles another that bears the same serial now. */
static uint64_t item_ticket(const struct link *link, uint64_t serial)
{
	return (link->session & 0xffff) << 48 | serial;
}

static struct slot *slot_of_ticket(struct link *link, uint64_t ticket, uint64_t *serial)
{
	/* Between the sessions the items of the last one may still be settled. */
	uint64_t session = link->is_connected ? link->session : link->session - 1;
	struct slot *slot;

	*serial = ticket & SERIAL_MAX;
	if (ticket >> 48 != (session & 0xffff) || !in_window(&link->rx, *serial))
		return NULL;
	slot = slot_at(link, *serial);
	return slot->state == SLOT_RAISED ? slot : NULL;
}

static void release_held(struct link *link, const struct slot *slot)
{
	if (!slot->want) /* else released when it was wanted */
		link->rx.held[class_of(slot->precedence)] -= slot->total;
}

static bool is_visible(const struct receiving *rx, const struct slot *slot)
{
	return slot->turn <= rx->turn;
}

static void ack_wanted(struct link *link, bool is_urgent)
{
	struct receiving *rx = &link->rx;

	if (!link_is_up(link))
		return;
	if (!rx->ack_pending)
		rx->ack_at_ms = link->now_ms + ACK_DELAY_MS;
	rx->ack_pending = true;
	rx->ack_now = rx->ack_now || is_urgent;
}

/* Moves the cumulative serial over what is settled and on disk; the slots passed become free. */
static void advance(struct link *link)
{
	struct receiving *rx = &link->rx;

	for (;;) {
		struct slot *slot = slot_at(link, rx->committed + 1);

		if (slot->state != SLOT_SETTLED || !is_visible(rx, slot))
			break;
		memset(slot, 0, sizeof(*slot));
		rx->committed++;
	}
	if (rx->seen < rx->committed)
		rx->seen = rx->committed;
}

/* ---------------------------------------------------------------- credit */

/* What may be under way is what arrives in 1.5 s, as measured here: more would only stand in buffers of the
 * bearer, ahead of the next FLASH. Until something was measured, the profile's guess, but no more than a
 * small start: a wrong guess costs a fast link a few round trips, and a slow one would cost an alarm
 * minutes. */
static uint64_t window_of(const struct link *link, enum credit_class class)
{
	uint32_t rate = link->rx.rate_bps ? link->rx.rate_bps : link->profile.rate_bps;
	uint64_t window = (uint64_t)rate * 3 / 16;

	/* Nothing preempts FLASH, so on a thin link it need not wait for credit piece by piece. */
	if (class == CREDIT_URGENT)
		return LIMIT_CREDIT_URGENT;
	if (!link->rx.rate_bps && window > WINDOW_START)
		window = WINDOW_START;
	if (window < LIMIT_PIECE_MIN)
		window = LIMIT_PIECE_MIN;
	return window > LIMIT_CREDIT ? LIMIT_CREDIT : window;
}

/* The rate at which item bytes come while they come; a pause starts it anew. */
static void measure_arrival(struct link *link, uint32_t fresh)
{
	struct receiving *rx = &link->rx;
	int64_t span_ms = link->now_ms - rx->arrival_since_ms;
	uint64_t bps;

	if (!rx->arrival_since_ms || link->now_ms - rx->arrival_ms > ARRIVAL_PAUSE_MS) {
		rx->arrival_since_ms = rx->arrival_ms = link->now_ms;
		rx->arrived = 0;
		return;
	}
	rx->arrival_ms = link->now_ms;
	rx->arrived += fresh;
	if (span_ms < ARRIVAL_SPAN_MS || rx->arrived < 4 * LIMIT_PIECE_MIN)
		return;
	bps = rx->arrived * 8000 / (uint64_t)span_ms;
	bps = bps > UINT32_MAX ? UINT32_MAX : bps;
	rx->rate_bps = rx->rate_bps ? (uint32_t)((rx->rate_bps + bps) / 2) : (uint32_t)bps;
	rx->arrival_since_ms = link->now_ms;
	rx->arrived = 0;
}

/* Bytes of items count once, at the offset they have in their serial; what is sent again costs nothing.
 * Counting frames instead would drift apart on a bearer that loses or doubles them.
 *
 * Pieces of a partial are taken at once (reassembly is bounded apart, one item for each precedence); a
 * whole item holds its bytes until the host settles it. So held <= window + the partials, and nothing
 * can lock: what is held goes by a decision of the host alone. An item that waits for its leaves, which
 * need credit themselves, is not held. */
static uint64_t grant_of(const struct link *link, enum credit_class class)
{
	const struct receiving *rx = &link->rx;
	uint64_t window = window_of(link, class);
	uint64_t grant = rx->bytes[class] + (window > rx->held[class] ? window - rx->held[class] : 0);

	return grant > rx->announced[class] ? grant : rx->announced[class];
}

void receiving_grant(const struct link *link, struct frame_credit *out)
{
	out->consumed = link->rx.bytes[CREDIT_BULK] + link->rx.bytes[CREDIT_URGENT];
	out->bulk = grant_of(link, CREDIT_BULK);
	out->urgent = grant_of(link, CREDIT_URGENT);
}

/* A quarter of a window is new, or the peer may stall on what it has left. */
bool receiving_credit_is_due(const struct link *link)
{
	const struct receiving *rx = &link->rx;

	for (int class = 0; class < CREDIT_CLASSES; class++) {
		uint64_t fresh = grant_of(link, class) - rx->announced[class];

		if (fresh >= window_of(link, class) / 4 ||
		    (fresh > 0 && rx->announced[class] - rx->bytes[class] < LIMIT_PIECE_MIN))
			return true;
	}
	return false;
}

static bool count_credit(struct link *link, struct slot *slot, const struct frame_data *data)
{
	struct receiving *rx = &link->rx;
	enum credit_class class = class_of(data->precedence);
	uint32_t end = data->offset + (uint32_t)data->piece.len;

	if (end <= slot->counted)
		return true;
	if (rx->bytes[class] + (end - slot->counted) > rx->announced[class])
		return false;
	rx->bytes[class] += end - slot->counted;
	measure_arrival(link, end - slot->counted);
	slot->counted = end;
	return true;
}

/* ---------------------------------------------------------------- data */

static void partial_drop(struct partial *partial)
{
	notice_free(partial->notice);
	memset(partial, 0, sizeof(*partial));
}

/* A serial was jumped over: in order of first pieces none may be missing, whatever preempts what. */
static enum cpd_error note_gap(struct link *link, uint64_t serial)
{
	struct receiving *rx = &link->rx;
	struct notice *notice;

	if (serial > rx->seen + 1) {
		notice = notice_new(LINK_EVENT_GAP, 0);
		if (!notice)
			return CPD_ERR_NOMEM;
		notice->event.first = rx->seen + 1;
		notice->event.last = serial - 1;
		notice_push_loose(link, notice);
	}
	if (serial > rx->seen)
		rx->seen = serial;
	return CPD_OK;
}

static void raise_item(struct link *link, struct slot *slot, struct partial *partial)
{
	struct notice *notice = partial->notice;

	notice->event.serial = item_ticket(link, partial->serial);
	notice->event.item_type = slot->type;
	notice->event.precedence = slot->precedence;
	notice->event.bytes = (struct slice){ notice->bytes, slot->total };
	slot->state = SLOT_RAISED;
	link->rx.held[class_of(slot->precedence)] += slot->total;
	partial->notice = NULL;
	memset(partial, 0, sizeof(*partial));
	notice_push(link, notice);
}

/* Adds a piece to the partial of its precedence. What does not fit on is ignored: the serial stays
 * unacknowledged and comes again from its start. */
static enum cpd_error add_piece(struct link *link, struct slot *slot, const struct frame_data *data)
{
	struct partial *partial = &link->rx.partials[data->precedence];
	uint32_t len = (uint32_t)data->piece.len, skip;

	if (!partial->notice || partial->serial != data->serial) {
		if (data->offset != 0)
			return CPD_OK;
		partial_drop(partial);
		partial->notice = notice_new(LINK_EVENT_ITEM, data->total);
		if (!partial->notice)
			return CPD_ERR_NOMEM;
		partial->serial = data->serial;
	}
	if (data->offset > partial->have || data->offset + len <= partial->have)
		return CPD_OK;
	skip = partial->have - data->offset;
	memcpy(partial->notice->bytes + partial->have, data->piece.data + skip, len - skip);
	partial->have += len - skip;
	if (partial->have < slot->total)
		return CPD_OK;
	if (link->rx.held[class_of(slot->precedence)] + slot->total > HELD_MAX)
		partial_drop(partial);
	else
		raise_item(link, slot, partial);
	return CPD_OK;
}

static void void_slot(struct link *link, struct slot *slot, const struct frame_data *data)
{
	struct partial *partial = &link->rx.partials[data->precedence];

	if (slot->state == SLOT_RAISED)
		release_held(link, slot);
	if (partial->serial == data->serial)
		partial_drop(partial);
	free(slot->want);
	memset(slot, 0, sizeof(*slot));
	slot->state = SLOT_SETTLED; /* turn 0: there is nothing to commit */
	link->rx.is_dirty = true;
	advance(link);
	ack_wanted(link, false);
}

static bool is_void(const struct frame_data *data)
{
	return data->total == 1 && data->piece.len == 1 && data->piece.data[0] == 0;
}

/* The serial is past MISSING: the peer did not hear what we said of it. Say it again. */
static void repeat(struct link *link, struct slot *slot)
{
	if (slot->state == SLOT_SETTLED)
		ack_wanted(link, true);
	else if (slot->state == SLOT_REFUSED || slot->want)
		slot->is_due = true;
}

enum cpd_error receiving_take_data(struct link *link, const struct frame_data *data)
{
	struct receiving *rx = &link->rx;
	struct slot *slot;
	enum cpd_error err;

	if (data->piece.len == 0 || data->total > LIMIT_ITEM || data->offset > data->total ||
	    data->piece.len > data->total - data->offset)
		return CPD_ERR_PROTOCOL;
	rx->has_data = true;
	if (data->serial <= rx->committed) {
		ack_wanted(link, true);
		return CPD_OK;
	}
	if (!in_window(rx, data->serial))
		return CPD_ERR_PROTOCOL;
	slot = slot_at(link, data->serial);
	if (slot->type != 0 && (slot->type != data->type || slot->precedence != data->precedence))
		return CPD_ERR_PROTOCOL;
	err = note_gap(link, data->serial);
	if (err)
		return err;
	if (is_void(data)) {
		if (slot->state != SLOT_SETTLED)
			void_slot(link, slot, data);
		else
			repeat(link, slot);
		return CPD_OK;
	}
	if (slot->state != SLOT_MISSING) {
		repeat(link, slot);
		return CPD_OK;
	}
	if (slot->type != 0 && slot->total != data->total)
		return CPD_ERR_PROTOCOL;
	slot->type = (uint8_t)data->type;
	slot->precedence = (uint8_t)data->precedence;
	slot->total = data->total;
	if (!count_credit(link, slot, data))
		return CPD_ERR_PROTOCOL;
	return add_piece(link, slot, data);
}

/* ---------------------------------------------------------------- the host decides */

void link_settle(struct link *link, uint64_t ticket, enum cpd_reason reason, uint64_t turn)
{
	uint64_t serial;
	struct slot *slot = slot_of_ticket(link, ticket, &serial);

	if (!slot)
		return; /* of an ended session, or voided: the peer offers it again */
	release_held(link, slot);
	free(slot->want);
	slot->want = NULL;
	slot->is_due = reason != REFUSED_NONE;
	slot->state = reason == REFUSED_NONE ? SLOT_SETTLED : SLOT_REFUSED;
	slot->reason = reason;
	slot->turn = turn;
	link->deadline_is_known = false;
	if (reason == REFUSED_NONE)
		link->rx.is_dirty = true;
	if (reason == REFUSED_NONE && !is_visible(&link->rx, slot))
		link->rx.uncommitted++;
	if (is_visible(&link->rx, slot) && reason == REFUSED_NONE) {
		ack_wanted(link, slot->precedence == PRECEDENCE_FLASH);
		advance(link);
	}
}

enum cpd_error link_want(struct link *link, uint64_t ticket, const struct message_id *id, struct slice held, uint64_t turn)
{
	uint64_t serial;
	struct slot *slot = slot_of_ticket(link, ticket, &serial);
	struct want *want;

	if (!slot)
		return CPD_ERR_NOT_FOUND;
	if (held.len > sizeof(want->held))
		return CPD_ERR_TOO_LARGE;
	if (id->origin == 0 || id->epoch == 0 || id->sequence == 0)
		return CPD_ERR_RANGE;
	want = calloc(1, sizeof(*want));
	if (!want)
		return CPD_ERR_NOMEM;
	want->id = *id;
	want->len = held.len;
	want->turn = turn;
	if (held.len)
		memcpy(want->held, held.data, held.len);
	release_held(link, slot);
	free(slot->want);
	slot->want = want;
	slot->is_due = true;
	link->deadline_is_known = false;
	return CPD_OK;
}

void link_committed(struct link *link, uint64_t turn)
{
	struct receiving *rx = &link->rx;
	bool is_new = false, is_urgent = false;

	if (turn <= rx->turn)
		return;
	if (rx->uncommitted) {
		rx->uncommitted = 0;
		for (size_t i = 0; i < LIMIT_UNACKED; i++) {
			const struct slot *slot = &rx->slots[i];

			if (slot->state != SLOT_SETTLED || slot->turn <= rx->turn)
				continue;
			rx->uncommitted += slot->turn > turn;
			rx->ack_items += slot->turn <= turn;
			is_new = is_new || slot->turn <= turn;
			is_urgent = is_urgent || (slot->turn <= turn && slot->precedence == PRECEDENCE_FLASH);
		}
	}
	rx->turn = turn;
	link->deadline_is_known = false;
	if (!is_new)
		return;
	advance(link);
	ack_wanted(link, is_urgent || rx->ack_items >= ACK_ITEMS);
}

bool receiving_is_settled_uncommitted(const struct link *link)
{
	for (size_t i = 0; i < LIMIT_UNACKED; i++)
		if (link->rx.slots[i].state == SLOT_SETTLED && !is_visible(&link->rx, &link->rx.slots[i]))
			return true;
	return false;
}

/* ---------------------------------------------------------------- what we tell of it */

void receiving_view(const struct link *link, bool committed_only, uint64_t *received, struct bitmap *bitmap)
{
	const struct receiving *rx = &link->rx;
	bool is_gap = false;

	*received = rx->committed;
	memset(bitmap, 0, sizeof(*bitmap));
	for (uint64_t serial = rx->committed + 1; serial <= rx->committed + LIMIT_UNACKED; serial++) {
		const struct slot *slot = &rx->slots[serial % LIMIT_UNACKED];
		uint64_t bit;

		if (slot->state != SLOT_SETTLED || (committed_only && !is_visible(rx, slot))) {
			is_gap = true;
			continue;
		}
		if (!is_gap) {
			*received = serial;
			continue;
		}
		bit = serial - *received - 1;
		bitmap->bits[bit / 8] |= (uint8_t)(1u << bit % 8);
		bitmap->len = bit / 8 + 1;
	}
}

void link_circuit(const struct link *link, struct link_circuit *out)
{
	out->self_epoch = link->self_epoch;
	out->peer_epoch = link->peer_epoch;
	receiving_view(link, false, &out->received, &out->received_bitmap);
}

bool link_circuit_is_dirty(const struct link *link)
{
	return link->rx.is_dirty;
}

void link_circuit_saved(struct link *link)
{
	link->rx.is_dirty = false;
}

void receiving_ack_sent(struct link *link)
{
	link->rx.ack_pending = link->rx.ack_now = false;
	link->rx.ack_items = 0;
}

bool receiving_wants_to_tell(const struct link *link, struct departure *out)
{
	const struct receiving *rx = &link->rx;

	for (uint64_t serial = rx->committed + 1; serial <= rx->seen; serial++) {
		const struct slot *slot = &rx->slots[serial % LIMIT_UNACKED];

		if (!slot->is_due)
			continue;
		if (slot->state == SLOT_REFUSED && is_visible(rx, slot)) {
			out->frame.has = FRAME_REFUSAL;
			out->frame.refusal = (struct frame_refusal){ serial, slot->reason };
		} else if (slot->want && slot->want->turn <= rx->turn) {
			out->frame.has = FRAME_WANT;
			out->frame.want = (struct frame_want){ serial, slot->want->id,
			    { slot->want->held, slot->want->len } };
		} else {
			continue;
		}
		out->told = serial;
		return true;
	}
	return false;
}

void receiving_told(struct link *link, uint64_t serial)
{
	slot_at(link, serial)->is_due = false;
}

void receiving_tell_again(struct link *link)
{
	for (uint64_t serial = link->rx.committed + 1; serial <= link->rx.seen; serial++)
		if (slot_at(link, serial)->state == SLOT_REFUSED)
			slot_at(link, serial)->is_due = true;
}

/* ---------------------------------------------------------------- sessions */

/* Forgets what is not settled. */
static void forget_unsettled(struct link *link)
{
	for (size_t i = 0; i < LIMIT_UNACKED; i++) {
		struct slot *slot = &link->rx.slots[i];

		free(slot->want);
		slot->want = NULL;
		if (slot->state == SLOT_SETTLED)
			slot->type = 0; /* of the ended session: the next one may not be judged by it */
		else
			memset(slot, 0, sizeof(*slot));
	}
}

void receiving_session_end(struct link *link)
{
	struct receiving *rx = &link->rx;

	for (int precedence = 0; precedence < PRECEDENCE_COUNT; precedence++)
		partial_drop(&rx->partials[precedence]);
	receiving_ack_sent(link);
}

void receiving_session_begin(struct link *link)
{
	struct receiving *rx = &link->rx;

	receiving_session_end(link);
	forget_unsettled(link);
	memset(rx->bytes, 0, sizeof(rx->bytes));
	memset(rx->announced, 0, sizeof(rx->announced));
	memset(rx->held, 0, sizeof(rx->held));
	rx->has_data = false;
	advance(link);
}

void receiving_reset(struct link *link)
{
	struct receiving *rx = &link->rx;

	memset(rx->slots, 0, sizeof(rx->slots)); /* begun: nothing in them is owned */
	rx->committed = rx->seen = 0;
	rx->is_dirty = true;
}

void receiving_void(struct link *link, uint64_t next)
{
	struct receiving *rx = &link->rx;
	uint64_t highest, received;
	struct bitmap bitmap;

	receiving_view(link, true, &received, &bitmap);
	highest = bitmap_highest(received, &bitmap);
	if (next == 0)
		next = highest + 1;
	while (rx->committed + 1 < next && rx->committed < highest) {
		memset(slot_at(link, rx->committed + 1), 0, sizeof(struct slot));
		rx->committed++;
		rx->is_dirty = true;
	}
	if (rx->committed + 1 < next) {
		rx->committed = next - 1; /* nothing is held above: no slot is in use */
		rx->is_dirty = true;
	}
	advance(link);
	rx->seen = highest > rx->committed ? highest : rx->committed;
}
