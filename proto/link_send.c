/*
 * link_send.c: our items on a link: window, strict precedence and preemption, retransmission, what the
 * peer says of them (PROTOCOL.md section 7).
 *
 * An item gets its serial with its first piece. From then on the serial is accounted for until the peer
 * acknowledges it: as the item, or, when the item left it (refused, or offered again under a new
 * serial), as a void: one byte 0, which no item is. A void is sent and repeated like an item.
 */
#include "proto/link_internal.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t void_bytes[1] = { 0 };

/* ---------------------------------------------------------------- the list */

static void outgoing_free(struct outgoing *item)
{
	notice_free(item->notice);
	free(item->bytes);
	free(item);
}

/* The one place that changes a state: what is due is counted, so that nobody looks for it in vain. */
static void move(struct sending *tx, struct outgoing *item, enum outgoing_state state)
{
	tx->due[item->precedence] += (size_t)(state == OUTGOING_DUE) - (size_t)(item->state == OUTGOING_DUE);
	item->state = state;
}

static void mark_whole(struct sending *tx, struct outgoing *item, bool is_whole)
{
	tx->unsent[item->precedence] += (size_t)item->was_whole - (size_t)is_whole;
	item->was_whole = is_whole;
}

/* Does it count for link_under_way? */
static void mark_under_way(struct sending *tx, struct outgoing *item, bool is_under_way)
{
	is_under_way = is_under_way && item->precedence != PRECEDENCE_FLASH;
	tx->under_way += (size_t)is_under_way - (size_t)item->is_under_way;
	item->is_under_way = is_under_way;
}

static void unlink_item(struct sending *tx, struct outgoing *item)
{
	struct outgoing **at = item->serial ? &tx->first : &tx->staged;

	while (*at != item)
		at = &(*at)->next;
	*at = item->next;
	if (tx->end == &item->next)
		tx->end = at;
	if (tx->current[item->precedence] == item)
		tx->current[item->precedence] = NULL;
}

/* Behind the others: serials rise, and staged ones go as they came. */
static void append_item(struct sending *tx, struct outgoing *item)
{
	struct outgoing **at = item->serial ? tx->end : &tx->staged;

	while (*at)
		at = &(*at)->next;
	item->next = NULL;
	*at = item;
	if (item->serial)
		tx->end = &item->next;
}

/* The bytes are no longer ours to keep. */
static void drop_bytes(struct sending *tx, struct outgoing *item)
{
	if (!item->bytes)
		return;
	tx->unacked_bytes[class_of(item->precedence)] -= item->len;
	free(item->bytes);
	item->bytes = NULL;
}

/* The host hears what became of the item; what stays of it is a serial. */
static void tell(struct link *link, struct outgoing *item, enum link_event_type type)
{
	struct notice *notice = item->notice;

	item->notice = NULL;
	mark_under_way(&link->tx, item, false);
	if (!notice)
		return;
	link->tx.answered[item->precedence] += type != LINK_EVENT_RETURNED;
	notice->event.type = type;
	notice_push(link, notice);
}

static void remove_item(struct link *link, struct outgoing *item)
{
	unlink_item(&link->tx, item);
	move(&link->tx, item, OUTGOING_FLYING);
	mark_whole(&link->tx, item, true);
	drop_bytes(&link->tx, item);
	link->tx.count--;
	outgoing_free(item);
}

static struct outgoing *find_item(const struct sending *tx, uint64_t serial)
{
	struct outgoing *item = tx->first;

	while (item && item->serial != serial)
		item = item->next;
	return item;
}

static void make_void(struct link *link, struct outgoing *item)
{
	drop_bytes(&link->tx, item);
	if (link->tx.current[item->precedence] == item)
		link->tx.current[item->precedence] = NULL;
	move(&link->tx, item, OUTGOING_DUE);
	item->len = item->counted = sizeof(void_bytes); /* costs no credit */
	item->sent = 0;
	item->is_wanted = item->is_repeated = false;
}

static bool is_void(const struct outgoing *item)
{
	return !item->bytes;
}

/* ---------------------------------------------------------------- the host hands over */

static uint64_t last_serial(const struct sending *tx, enum precedence precedence)
{
	return tx->acked + LIMIT_UNACKED - (precedence == PRECEDENCE_FLASH ? 0 : FLASH_SERIALS);
}

bool link_can_send(const struct link *link, enum precedence precedence)
{
	const struct sending *tx = &link->tx;
	enum credit_class class = class_of(precedence);
	size_t most = class == CREDIT_URGENT ? FLASH_UNACKED_BYTES : LIMIT_UNACKED_BYTES;
	size_t count = class == CREDIT_URGENT ? LIMIT_UNACKED : LIMIT_UNACKED - FLASH_SERIALS;

	if (!link_is_up(link) || (unsigned)precedence >= PRECEDENCE_COUNT)
		return false;
	if (tx->next > last_serial(tx, precedence) || tx->count >= count ||
	    tx->unacked_bytes[class] + LIMIT_ITEM > most || tx->sent[class] >= tx->credit[class])
		return false;
	return tx->unsent[precedence] == 0;
}

size_t link_under_way(const struct link *link)
{
	return link->tx.under_way;
}

enum cpd_error link_send(struct link *link, const struct item_ref *ref, struct slice bytes, int64_t now_ms)
{
	struct outgoing *item;

	link->deadline_is_known = false;
	link->now_ms = now_ms;
	if (bytes.len > LIMIT_ITEM)
		return CPD_ERR_TOO_LARGE;
	if (bytes.len == 0 || bytes.data[0] == 0)
		return CPD_ERR_MALFORMED; /* no protobuf begins so; it would read as a void */
	if (ref->type < ITEM_TYPE_MESSAGE || ref->type > ITEM_TYPE_LEAF)
		return CPD_ERR_RANGE;
	if (!link_can_send(link, ref->precedence))
		return CPD_ERR_BUSY;
	item = calloc(1, sizeof(*item));
	if (!item)
		return CPD_ERR_NOMEM;
	item->bytes = malloc(bytes.len);
	item->notice = notice_new(LINK_EVENT_RETURNED, 0);
	if (!item->bytes || !item->notice) {
		outgoing_free(item);
		return CPD_ERR_NOMEM;
	}
	memcpy(item->bytes, bytes.data, bytes.len);
	item->len = (uint32_t)bytes.len;
	item->notice->event.ref = *ref;
	item->type = ref->type;
	item->precedence = ref->precedence;
	append_item(&link->tx, item);
	mark_under_way(&link->tx, item, true);
	link->tx.unsent[item->precedence]++;
	link->tx.count++;
	link->tx.unacked_bytes[class_of(item->precedence)] += item->len;
	return CPD_OK;
}

/* ---------------------------------------------------------------- what the peer says */

/* An item that waits for its leaves holds up the window in which those go: offer it under a new serial
 * and void the old one. */
static void renumber_wanted(struct link *link)
{
	struct sending *tx = &link->tx;
	struct outgoing *item = tx->first, *rest;

	if (!item || !item->is_wanted || tx->next - item->serial < WANTED_SPAN)
		return;
	rest = calloc(1, sizeof(*rest));
	if (!rest)
		return; /* at the next acknowledgement, then */
	unlink_item(tx, item);
	*rest = *item;
	rest->notice = NULL;
	rest->is_under_way = false;
	rest->bytes = NULL;
	rest->state = OUTGOING_FLYING;
	rest->next = tx->first;
	if (!tx->first)
		tx->end = &rest->next;
	tx->first = rest;
	tx->count++;
	make_void(link, rest);
	move(tx, item, OUTGOING_STAGED);
	mark_whole(tx, item, false);
	mark_under_way(tx, item, true);
	item->serial = 0;
	item->sent = item->counted = 0;
	item->is_wanted = item->is_repeated = false;
	append_item(tx, item);
}

/* A hole below what was sent after it and is acknowledged: lost, unless what came after was more
 * urgent, for that may be decided first. */
static void repeat_holes(struct link *link, const uint64_t acked_order[PRECEDENCE_COUNT])
{
	for (struct outgoing *item = link->tx.first; item; item = item->next) {
		bool is_passed = false;

		if (item->state != OUTGOING_FLYING || item->is_wanted ||
		    (item->is_repeated && link->now_ms - item->sent_ms < link->profile.retransmit_ms))
			continue;
		for (int precedence = 0; precedence <= (int)item->precedence; precedence++)
			is_passed = is_passed || acked_order[precedence] > item->order;
		if (!is_passed)
			continue;
		move(&link->tx, item, OUTGOING_DUE);
		item->is_repeated = true;
		item->sent = 0;
	}
}

static bool claims_too_much(const struct sending *tx, uint64_t received, const struct bitmap *bitmap)
{
	if (bitmap_highest(received, bitmap) >= tx->next)
		return true;
	for (const struct outgoing *item = tx->first; item; item = item->next)
		if (!item->was_whole && bitmap_covers(received, bitmap, item->serial))
			return true;
	return false;
}

enum cpd_error sending_take_ack(struct link *link, uint64_t received, const struct bitmap *bitmap)
{
	struct sending *tx = &link->tx;
	uint64_t acked_order[PRECEDENCE_COUNT] = { 0 };
	struct outgoing *item, *next;

	if (claims_too_much(tx, received, bitmap))
		return CPD_ERR_PROTOCOL;
	for (item = tx->first; item; item = next) {
		next = item->next;
		if (!bitmap_covers(received, bitmap, item->serial))
			continue;
		if (acked_order[item->precedence] < item->order)
			acked_order[item->precedence] = item->order;
		if (item->notice && tx->highest_acked < item->serial)
			tx->highest_acked = item->serial;
		tell(link, item, LINK_EVENT_ACKED);
		remove_item(link, item);
		tx->progress_ms = link->now_ms;
	}
	if (tx->acked < received)
		tx->acked = received;
	repeat_holes(link, acked_order);
	renumber_wanted(link);
	return CPD_OK;
}

enum cpd_error sending_take_refusal(struct link *link, const struct frame_refusal *refusal)
{
	struct outgoing *item = find_item(&link->tx, refusal->serial);

	if (refusal->serial >= link->tx.next)
		return CPD_ERR_PROTOCOL;
	if (!item)
		return CPD_OK; /* said twice, and acknowledged since */
	if (!item->was_whole)
		return CPD_ERR_PROTOCOL;
	if (item->notice)
		item->notice->event.reason = refusal->reason;
	tell(link, item, LINK_EVENT_REFUSED);
	make_void(link, item);
	link->tx.progress_ms = link->now_ms;
	return CPD_OK;
}

enum cpd_error sending_take_want(struct link *link, const struct frame_want *want)
{
	struct outgoing *item = find_item(&link->tx, want->serial);
	struct notice *notice;

	if (want->serial >= link->tx.next)
		return CPD_ERR_PROTOCOL;
	if (!item || !item->notice)
		return CPD_OK; /* acknowledged or void since */
	if (!item->was_whole || item->type != ITEM_TYPE_MESSAGE ||
	    !message_id_equal(&item->notice->event.ref.id, &want->message))
		return CPD_ERR_PROTOCOL;
	notice = notice_new(LINK_EVENT_WANT, want->held.len);
	if (!notice)
		return CPD_ERR_NOMEM;
	if (want->held.len)
		memcpy(notice->bytes, want->held.data, want->held.len);
	notice->event.ref = item->notice->event.ref;
	notice->event.held = (struct slice){ notice->bytes, want->held.len };
	if (!notice_push_loose(link, notice))
		return CPD_OK; /* the item is sent again later, and answered so again */
	link->tx.answered[item->precedence] += !item->is_wanted;
	item->is_wanted = true;
	mark_under_way(&link->tx, item, false);
	if (item->state == OUTGOING_DUE)
		move(&link->tx, item, OUTGOING_FLYING);
	link->tx.progress_ms = link->now_ms;
	renumber_wanted(link);
	return CPD_OK;
}

/* The rate is what the peer consumed while data waited all the time. */
static void measure_rate(struct link *link)
{
	struct sending *tx = &link->tx;
	int64_t span_ms = link->now_ms - tx->busy_ms;
	uint64_t bytes = tx->consumed - tx->busy_consumed, bps;

	if (!tx->is_busy) {
		tx->is_busy = tx->is_stalled;
	} else if (span_ms < 50 || bytes < LIMIT_PIECE_MIN) {
		return; /* too short to tell */
	} else {
		bps = bytes * 8000 / (uint64_t)span_ms;
		bps = bps > UINT32_MAX ? UINT32_MAX : bps;
		tx->rate_bps = tx->rate_bps ? (uint32_t)((3 * (uint64_t)tx->rate_bps + bps) / 4) : (uint32_t)bps;
	}
	tx->busy_ms = link->now_ms;
	tx->busy_consumed = tx->consumed;
}

void sending_take_credit(struct link *link, const struct frame_credit *credit)
{
	struct sending *tx = &link->tx;

	/* All three only grow; an older frame that was overtaken says nothing new. */
	if (tx->consumed < credit->consumed) {
		if (credit->consumed <= tx->sent[CREDIT_BULK] + tx->sent[CREDIT_URGENT])
			tx->taken_bytes += credit->consumed - tx->consumed;
		tx->consumed = credit->consumed;
	}
	if (tx->credit[CREDIT_BULK] < credit->bulk) {
		tx->credit[CREDIT_BULK] = credit->bulk;
		tx->progress_ms = link->now_ms;
	}
	if (tx->credit[CREDIT_URGENT] < credit->urgent) {
		tx->credit[CREDIT_URGENT] = credit->urgent;
		tx->progress_ms = link->now_ms;
	}
	measure_rate(link);
}

/* ---------------------------------------------------------------- choosing */

/* The item of this precedence that goes on, is due again, or is new. */
static struct outgoing *next_item(const struct sending *tx, enum precedence precedence)
{
	struct outgoing *item = tx->current[precedence];

	if (item)
		return item;
	for (item = tx->due[precedence] ? tx->first : NULL; item; item = item->next)
		if (item->precedence == precedence && item->state == OUTGOING_DUE)
			return item;
	for (item = tx->staged; item; item = item->next)
		if (item->precedence == precedence)
			return tx->next <= last_serial(tx, precedence) ? item : NULL;
	return NULL;
}

/* Bytes of the next piece; 0: credit does not allow one that is worth its frame. */
static uint32_t piece_len(const struct link *link, const struct outgoing *item)
{
	const struct sending *tx = &link->tx;
	enum credit_class class = class_of(item->precedence);
	uint64_t left = tx->credit[class] > tx->sent[class] ? tx->credit[class] - tx->sent[class] : 0;
	uint32_t rest = item->len - item->sent, len = link_chunk(link);
	uint64_t most = item->counted > item->sent ? item->counted - item->sent + left : left;

	if (len > rest)
		len = rest;
	if (len <= most)
		return len;
	return most >= LIMIT_PIECE_MIN ? (uint32_t)most : 0;
}

static struct outgoing *choose_item(const struct link *link, enum precedence lowest, uint32_t *len, bool *is_stalled)
{
	bool bulk_waits = false;

	*is_stalled = false;
	for (int precedence = PRECEDENCE_FLASH; precedence >= (int)lowest; precedence--) {
		struct outgoing *item = next_item(&link->tx, (enum precedence)precedence);

		if (!item)
			continue;
		*len = piece_len(link, item);
		/* What waits for credit is not overtaken by less urgent data that would eat it; but what was
		 * counted once and lost goes again for nothing, or the peer, which misses it, grants no more. */
		if (bulk_waits && item->counted > item->sent && *len > item->counted - item->sent)
			*len = item->counted - item->sent;
		if (*len > 0 && (!bulk_waits || item->sent + *len <= item->counted))
			return item;
		*is_stalled = true;
		bulk_waits = bulk_waits || precedence != PRECEDENCE_FLASH;
	}
	return NULL;
}

bool sending_choose(struct link *link, struct departure *out, enum precedence lowest)
{
	struct sending *tx = &link->tx;
	struct frame_data *data = &out->frame.data;
	bool is_stalled;
	uint32_t len;
	struct outgoing *item = choose_item(link, lowest, &len, &is_stalled);

	if (!item) {
		if (lowest != PRECEDENCE_ROUTINE)
			return false;
		tx->stalls += is_stalled && !tx->is_stalled;
		tx->is_stalled = is_stalled;
		if (!is_stalled && tx->sent[CREDIT_BULK] < tx->credit[CREDIT_BULK])
			tx->is_busy = false;
		return false;
	}
	out->frame.has = FRAME_DATA;
	out->item = item;
	data->serial = item->serial ? item->serial : tx->next;
	data->type = item->type;
	data->precedence = item->precedence;
	data->total = item->len;
	data->offset = item->sent;
	data->piece = (struct slice){ is_void(item) ? void_bytes : item->bytes + item->sent, len };
	return true;
}

void sending_gone(struct link *link, const struct departure *departure)
{
	struct sending *tx = &link->tx;
	struct outgoing *item = departure->item;

	tx->is_stalled = false;
	if (item->serial == 0) {
		unlink_item(tx, item);
		item->serial = tx->next++;
		append_item(tx, item);
	}
	item->sent += (uint32_t)departure->frame.data.piece.len;
	if (item->sent > item->counted) {
		tx->sent[class_of(item->precedence)] += item->sent - item->counted;
		item->counted = item->sent;
	}
	item->sent_ms = link->now_ms;
	if (!item->begun_ms)
		item->begun_ms = link->now_ms;
	move(tx, item, OUTGOING_SENDING);
	tx->current[item->precedence] = item;
	if (item->sent < item->len)
		return;
	move(tx, item, OUTGOING_FLYING);
	mark_whole(tx, item, true);
	item->order = ++tx->order;
	tx->current[item->precedence] = NULL;
}

/* ---------------------------------------------------------------- time */

/* What is sent again when nothing new is heard: of all that is out, or stalls half-way, what was sent
 * longest ago. Each gets its turn: the peer may grant no more because it misses a piece of any of them.
 * NULL: the link has other work. */
static struct outgoing *longest_out(const struct link *link)
{
	const struct sending *tx = &link->tx;
	struct outgoing *item, *longest = NULL;
	bool is_stalled;
	uint32_t len;

	if (choose_item(link, PRECEDENCE_ROUTINE, &len, &is_stalled))
		return NULL;
	for (item = tx->first; item; item = item->next)
		if (!item->is_wanted && item->state != OUTGOING_DUE && (!longest || item->sent_ms < longest->sent_ms))
			longest = item;
	return longest;
}

int64_t sending_deadline(const struct link *link)
{
	const struct outgoing *item = longest_out(link);
	int64_t since;

	if (!item)
		return INT64_MAX;
	since = item->sent_ms > link->tx.progress_ms ? item->sent_ms : link->tx.progress_ms;
	return since + link->profile.retransmit_ms;
}

void sending_tick(struct link *link)
{
	struct outgoing *item = longest_out(link);

	if (!item || link->now_ms < sending_deadline(link))
		return;
	move(&link->tx, item, OUTGOING_DUE);
	item->is_repeated = true;
	item->sent = 0;
	if (link->tx.current[item->precedence] == item)
		link->tx.current[item->precedence] = NULL;
}

/* ---------------------------------------------------------------- sessions */

void sending_session_end(struct link *link)
{
	struct sending *tx = &link->tx;
	struct outgoing *item, *next;

	for (item = tx->first; item; item = next) {
		next = item->next;
		drop_bytes(tx, item);
		if (item->notice && item->was_whole) {
			move(tx, item, OUTGOING_REMEMBERED);
			mark_under_way(tx, item, false);
			continue;
		}
		tell(link, item, LINK_EVENT_RETURNED); /* the peer cannot hold it */
		remove_item(link, item);
	}
	while ((item = tx->staged)) {
		tell(link, item, LINK_EVENT_RETURNED);
		remove_item(link, item);
	}
	memset(tx->current, 0, sizeof(tx->current));
	memset(tx->sent, 0, sizeof(tx->sent));
	memset(tx->credit, 0, sizeof(tx->credit));
	tx->consumed = 0;
	tx->is_busy = tx->is_stalled = tx->directory_due = tx->presence_was_last = false;
	while (tx->presence) {
		struct presence_out *presence = tx->presence;

		tx->presence = presence->next;
		free(presence);
	}
	tx->presence_count = 0;
}

void sending_resume(struct link *link, bool is_same_pair, uint64_t received, const struct bitmap *bitmap)
{
	struct sending *tx = &link->tx;

	while (tx->first) {
		struct outgoing *item = tx->first;
		bool is_held = is_same_pair && item->serial >= tx->doubtful && bitmap_covers(received, bitmap, item->serial);

		if (is_held && tx->highest_acked < item->serial)
			tx->highest_acked = item->serial;
		tell(link, item, is_held ? LINK_EVENT_ACKED : LINK_EVENT_RETURNED);
		remove_item(link, item);
	}
	tx->doubtful = 0;
}

void sending_forget(struct link *link)
{
	sending_resume(link, false, 0, &(struct bitmap){ { 0 }, 0 });
}

void sending_clear(struct link *link)
{
	sending_session_end(link);
	sending_forget(link);
	free(link->tx.introduction);
	link->tx.introduction = NULL;
}
