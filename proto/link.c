/*
 * link.c: the life of a link: sessions, hellos, events, keepalive and death (PROTOCOL.md section 7).
 */
#include "proto/link_internal.h"

#include <stdlib.h>
#include <string.h>

const struct link_profile link_profile_ip = { 10000000, 40000, 48000, 10000 };
const struct link_profile link_profile_thin = { 1200, 120000, 400000, 60000 };

#define BATTERY_KEEPALIVE_MS 65000
#define BATTERY_DEAD_MS 115000

struct link_profile link_profile_between(const struct link_profile *profile, bool self_on_battery, bool peer_on_battery)
{
	struct link_profile between = *profile;

	if (self_on_battery && between.keepalive_ms < BATTERY_KEEPALIVE_MS)
		between.keepalive_ms = BATTERY_KEEPALIVE_MS;
	if (peer_on_battery && between.dead_ms < BATTERY_DEAD_MS)
		between.dead_ms = BATTERY_DEAD_MS;
	return between;
}

void link_set_profile(struct link *link, const struct link_profile *profile)
{
	link->profile = *profile;
	link->deadline_is_known = false;
}

/* ---------------------------------------------------------------- bitmaps, rate */

bool bitmap_covers(uint64_t received, const struct bitmap *bitmap, uint64_t serial)
{
	uint64_t bit;

	if (serial <= received)
		return true;
	bit = serial - received - 1;
	return bit / 8 < bitmap->len && (bitmap->bits[bit / 8] >> bit % 8 & 1);
}

uint64_t bitmap_highest(uint64_t received, const struct bitmap *bitmap)
{
	for (size_t bit = bitmap->len * 8; bit > 0; bit--)
		if (bitmap->bits[(bit - 1) / 8] >> (bit - 1) % 8 & 1)
			return received + bit;
	return received;
}

uint32_t link_rate(const struct link *link)
{
	return link->tx.rate_bps ? link->tx.rate_bps : link->profile.rate_bps;
}

uint32_t link_chunk(const struct link *link)
{
	uint64_t bytes = (uint64_t)link_rate(link) * LINK_CHUNK_MS / 8000;

	if (bytes < LIMIT_PIECE_MIN)
		return LIMIT_PIECE_MIN;
	return bytes > LIMIT_PIECE ? LIMIT_PIECE : (uint32_t)bytes;
}

/* ---------------------------------------------------------------- events */

struct notice *notice_new(enum link_event_type type, size_t bytes_len)
{
	struct notice *notice = calloc(1, sizeof(*notice));

	if (!notice)
		return NULL;
	if (bytes_len > 0 && !(notice->bytes = malloc(bytes_len))) {
		free(notice);
		return NULL;
	}
	notice->event.type = type;
	return notice;
}

void notice_free(struct notice *notice)
{
	if (!notice)
		return;
	free(notice->bytes);
	free(notice);
}

void notice_push(struct link *link, struct notice *notice)
{
	notice->next = NULL;
	*link->events_end = notice;
	link->events_end = &notice->next;
}

bool notice_push_loose(struct link *link, struct notice *notice)
{
	if (link->loose >= LOOSE_EVENTS) {
		notice_free(notice);
		return false;
	}
	notice->is_loose = true;
	link->loose++;
	notice_push(link, notice);
	return true;
}

bool link_next_event(struct link *link, struct link_event *out)
{
	struct notice *notice = link->events;

	notice_free(link->given);
	link->given = NULL;
	memset(out, 0, sizeof(*out));
	if (!notice)
		return false;
	link->events = notice->next;
	if (!link->events)
		link->events_end = &link->events;
	if (notice->is_loose)
		link->loose--;
	link->given = notice;
	*out = notice->event;
	return true;
}

/* What arrived in a session that is over and was not taken yet: the peer sends it again. */
static void drop_arrivals(struct link *link)
{
	struct notice **at = &link->events;

	while (*at) {
		struct notice *notice = *at;

		if (notice->event.type != LINK_EVENT_ITEM && !notice->is_loose) {
			at = &notice->next;
			continue;
		}
		*at = notice->next;
		if (notice->is_loose)
			link->loose--;
		notice_free(notice);
	}
	link->events_end = at;
}

/* ---------------------------------------------------------------- life */

struct link *link_new(const struct link_config *config)
{
	struct link *link = calloc(1, sizeof(*link));
	const struct link_circuit *circuit = &config->circuit;

	if (!link)
		return NULL;
	link->self_epoch = config->self_epoch;
	link->profile = config->profile;
	link->events_end = &link->events;
	link->tx.next = 1;
	link->tx.end = &link->tx.first;
	link->peer_epoch = circuit->peer_epoch;
	if (circuit->self_epoch != config->self_epoch || circuit->received > SERIAL_MAX)
		return link;
	link->rx.committed = circuit->received;
	for (uint64_t serial = circuit->received + 1; serial <= circuit->received + LIMIT_UNACKED; serial++)
		if (bitmap_covers(circuit->received, &circuit->received_bitmap, serial))
			link->rx.slots[serial % LIMIT_UNACKED].state = SLOT_SETTLED;
	return link;
}

void link_free(struct link *link)
{
	struct notice *notice;

	if (!link)
		return;
	receiving_session_begin(link); /* drops all that is not settled */
	sending_clear(link);
	while ((notice = link->events)) {
		link->events = notice->next;
		notice_free(notice);
	}
	notice_free(link->given);
	free(link);
}

static void session_end(struct link *link)
{
	link->deadline_is_known = false;
	if (!link->is_connected)
		return;
	/* The peer may have made void what we still remember, and its hello to say how far it was never came:
	 * its next one counts the voids as received. */
	if (link->hello_sent && !link->hello_heard && link->tx.told_next > link->tx.doubtful)
		link->tx.doubtful = link->tx.told_next;
	link->is_connected = link->hello_sent = link->hello_heard = false;
	link->circuit_due = link->keepalive_due = false;
	drop_arrivals(link);
	receiving_session_end(link);
	sending_session_end(link);
	link->session++;
}

void link_connected(struct link *link, const struct link_greeting *greeting, int64_t now_ms)
{
	session_end(link);
	receiving_session_begin(link);
	link->greeting = *greeting;
	link->is_connected = true;
	link->is_introduced = link->is_given_up = false;
	link->now_ms = link->heard_ms = link->sent_ms = now_ms;
}

void link_disconnected(struct link *link, int64_t now_ms)
{
	link->now_ms = now_ms;
	link->is_introduced = false;
	session_end(link);
}

bool link_is_up(const struct link *link)
{
	return link->is_connected && link->hello_sent && link->hello_heard;
}

void link_set_epoch(struct link *link, uint32_t self_epoch)
{
	session_end(link);
	link->self_epoch = self_epoch;
	receiving_session_begin(link);
	receiving_reset(link);
	sending_forget(link);
	link->tx.next = 1;
	link->tx.is_known = false;
	link->tx.acked = link->tx.highest_acked = 0;
}

/* ---------------------------------------------------------------- hello */

static void compose_hello(const struct link *link, struct frame *out)
{
	struct frame_hello *hello = &out->hello;
	struct frame_credit credit;

	out->has = FRAME_HELLO;
	hello->version = LINK_VERSION;
	hello->version_min = LINK_VERSION;
	hello->epoch = link->self_epoch;
	hello->your_epoch = link->peer_epoch;
	receiving_view(link, true, &hello->received, &hello->received_bitmap);
	hello->next_serial = link->tx.is_known && link->tx.peer_epoch == link->peer_epoch ? link->tx.next : 0;
	hello->seen_epoch = link->greeting.seen_epoch;
	hello->seen_sequence = link->greeting.seen_sequence;
	hello->directory = link->greeting.directory;
	hello->clock_ms = link->greeting.clock_ms < 0 ? -1 : link->greeting.clock_ms; /* before 2026: no clock */
	hello->clock_quality = link->greeting.clock_quality;
	hello->claim = link->greeting.claim;
	hello->instance = link->greeting.instance;
	receiving_grant(link, &credit);
	hello->credit_bulk = credit.bulk;
	hello->credit_urgent = credit.urgent;
}

/* What the peer's hello means for our circuit. Done only after our own hello left: it must tell what
 * we held before; a serial voided now was never held, and telling it would free the peer of an item. */
static void settle_circuit(struct link *link)
{
	const struct frame_hello *hello = &link->peer_hello;

	link->circuit_due = false;
	if (hello->epoch != link->peer_epoch) {
		link->peer_epoch = hello->epoch;
		receiving_reset(link);
	}
	receiving_void(link, hello->your_epoch == link->self_epoch ? hello->next_serial : 0);
}

static enum cpd_error hello_check(const struct link *link, const struct frame_hello *hello)
{
	if (link->hello_heard)
		return CPD_ERR_PROTOCOL;
	if (hello->version_min > LINK_VERSION || hello->version < LINK_VERSION)
		return CPD_ERR_VERSION;
	if (hello->epoch == 0 || hello->received > SERIAL_MAX || hello->next_serial > SERIAL_MAX)
		return CPD_ERR_PROTOCOL;
	return CPD_OK;
}

static enum cpd_error take_hello(struct link *link, const struct frame_hello *hello)
{
	static const struct bitmap nothing = { { 0 }, 0 };
	struct sending *tx = &link->tx;
	enum cpd_error err = hello_check(link, hello);
	bool knows_us = hello->your_epoch == link->self_epoch;
	bool same_pair = tx->is_known && hello->epoch == tx->peer_epoch, is_rolled_back;
	uint64_t received = knows_us ? hello->received : 0;
	const struct bitmap *bitmap = knows_us ? &hello->received_bitmap : &nothing;
	struct notice *up, *rolled_back = NULL;

	if (err)
		return err;
	is_rolled_back = same_pair && !bitmap_covers(received, bitmap, tx->highest_acked);
	up = notice_new(LINK_EVENT_UP, 0);
	if (up && is_rolled_back && !(rolled_back = notice_new(LINK_EVENT_ROLLED_BACK, 0))) {
		notice_free(up);
		up = NULL;
	}
	if (!up)
		return CPD_ERR_NOMEM;
	up->event.hello = *hello;
	up->event.hello.superseded = (struct slice){ NULL, 0 };   /* it leads into the frame */
	notice_push(link, up);
	if (is_rolled_back)
		notice_push(link, rolled_back);
	sending_resume(link, same_pair && knows_us, received, bitmap);
	if (tx->is_known && !same_pair)
		tx->next = 1;
	if (!same_pair || is_rolled_back)
		tx->highest_acked = 0;
	if (tx->next <= bitmap_highest(received, bitmap))
		tx->next = bitmap_highest(received, bitmap) + 1;
	tx->acked = tx->next - 1; /* nothing is under way: the peer settles or voids all below */
	tx->is_known = true;
	tx->peer_epoch = hello->epoch;
	tx->credit[CREDIT_BULK] = hello->credit_bulk;
	tx->credit[CREDIT_URGENT] = hello->credit_urgent;
	tx->progress_ms = link->now_ms;
	link->peer_directory = hello->directory;
	link->peer_hello = *hello;
	link->hello_heard = true;
	link->circuit_due = true;
	if (link->hello_sent)
		settle_circuit(link);
	return CPD_OK;
}

/* ---------------------------------------------------------------- receiving a frame */

static enum cpd_error take_introduction(struct link *link, struct slice record)
{
	struct notice *notice;

	if (link->hello_heard || link->is_introduced)
		return CPD_ERR_PROTOCOL;
	notice = notice_new(LINK_EVENT_INTRODUCTION, record.len);
	if (!notice)
		return CPD_ERR_NOMEM;
	memcpy(notice->bytes, record.data, record.len);
	notice->event.bytes = (struct slice){ notice->bytes, record.len };
	link->is_introduced = true;
	notice_push_loose(link, notice);
	return CPD_OK;
}

static enum cpd_error take_presence(struct link *link, const struct frame_presence *presence)
{
	struct notice *notice = notice_new(LINK_EVENT_PRESENCE, presence->record.len);

	if (!notice)
		return CPD_ERR_NOMEM;
	memcpy(notice->bytes, presence->record.data, presence->record.len);
	notice->event.bytes = (struct slice){ notice->bytes, presence->record.len };
	notice->event.age_s = presence->age_s;
	notice_push_loose(link, notice);
	return CPD_OK;
}

static enum cpd_error take_directory(struct link *link, uint32_t version)
{
	struct notice *notice;

	link->peer_directory = version;
	notice = notice_new(LINK_EVENT_DIRECTORY, 0);
	if (!notice)
		return CPD_ERR_NOMEM;
	notice->event.directory = version;
	notice_push_loose(link, notice);
	return CPD_OK;
}

static enum cpd_error take_parts(struct link *link, const struct frame *frame)
{
	enum cpd_error err = CPD_OK;

	if (frame->has & FRAME_REFUSAL)
		err = sending_take_refusal(link, &frame->refusal);
	if (!err && (frame->has & FRAME_WANT))
		err = sending_take_want(link, &frame->want);
	if (!err && (frame->has & FRAME_ACK))
		err = sending_take_ack(link, frame->ack_received, &frame->ack_bitmap);
	if (!err && (frame->has & FRAME_CREDIT))
		sending_take_credit(link, &frame->credit);
	if (!err && (frame->has & FRAME_DATA))
		err = receiving_take_data(link, &frame->data);
	if (!err && (frame->has & FRAME_PRESENCE))
		err = take_presence(link, &frame->presence);
	if (!err && (frame->has & FRAME_DIRECTORY))
		err = take_directory(link, frame->directory);
	return err;
}

static enum cpd_error take_frame(struct link *link, const struct frame *frame)
{
	if (frame->has & FRAME_INTRODUCTION)
		return take_introduction(link, frame->introduction);
	if (!link->is_connected)
		return CPD_ERR_PROTOCOL;
	if (frame->has & FRAME_HELLO)
		return take_hello(link, &frame->hello);
	if (!link_is_up(link))
		return frame->has ? CPD_ERR_PROTOCOL : CPD_OK;
	return take_parts(link, frame);
}

enum cpd_error link_receive(struct link *link, struct slice bytes, int64_t now_ms)
{
	struct frame frame;
	enum cpd_error err = frame_decode(bytes, &frame);

	link->deadline_is_known = false;
	link->now_ms = now_ms;
	link->received_bytes += bytes.len;
	if (!err)
		err = take_frame(link, &frame);
	if (err)
		session_end(link);
	else
		link->heard_ms = link->last_heard_ms = now_ms;
	return err;
}

/* ---------------------------------------------------------------- the next frame */

static bool compose_introduction(const struct link *link, struct frame *out)
{
	if (!link->tx.introduction || link->hello_sent)
		return false;
	out->has = FRAME_INTRODUCTION;
	out->introduction = (struct slice){ link->tx.introduction, link->tx.introduction_len };
	return true;
}

/* Acknowledgement and credit that go along, or alone when nothing else is to be said. */
static void add_company(const struct link *link, struct frame *out, bool with_all)
{
	if (link->rx.ack_pending || with_all) {
		out->has |= FRAME_ACK;
		receiving_view(link, true, &out->ack_received, &out->ack_bitmap);
	}
	if (receiving_credit_is_due(link) || (with_all && link->rx.has_data)) {
		out->has |= FRAME_CREDIT;
		receiving_grant(link, &out->credit);
	}
}

static bool compose_presence(const struct link *link, struct frame *out)
{
	const struct presence_out *presence = link->tx.presence;

	if (!presence)
		return false;
	out->has = FRAME_PRESENCE;
	out->presence.record = (struct slice){ presence->bytes, presence->len };
	out->presence.age_s = presence->age_s;
	return true;
}

/* Order: refusals and wants, urgent acknowledgements, FLASH, presence (silence is judged by it, so
 * bulk may not starve it; nor it bulk), the other items, what is left of acknowledgements, keepalive. */
static bool compose(struct link *link, struct departure *out)
{
	const struct receiving *rx = &link->rx;
	struct frame *frame = &out->frame;
	bool ack_now = rx->ack_pending && (rx->ack_now || link->now_ms >= rx->ack_at_ms);
	bool is_silent = link->keepalive_due || link->now_ms - link->sent_ms >= link->profile.keepalive_ms;

	if (receiving_wants_to_tell(link, out) || (rx->ack_pending && rx->ack_now))
		goto send;
	if (sending_choose(link, out, PRECEDENCE_FLASH) ||
	    (!link->tx.presence_was_last && compose_presence(link, frame)) ||
	    sending_choose(link, out, PRECEDENCE_ROUTINE) || compose_presence(link, frame))
		goto send;
	if (link->tx.directory_due || ack_now || receiving_credit_is_due(link))
		goto send;
	if (!is_silent)
		return false;
	/* Repeats what a lost frame may have carried, and is never empty: a frame of no bytes is none. */
	add_company(link, frame, true);
	return true;
send:
	/* A lost credit must not stall the peer because we have other things to say and so never fall silent. */
	add_company(link, frame, link->now_ms - link->repeated_ms >= link->profile.keepalive_ms);
	if (link->tx.directory_due) {
		frame->has |= FRAME_DIRECTORY;
		frame->directory = link->tx.directory;
	}
	return true;
}

static void presence_gone(struct sending *tx)
{
	struct presence_out *presence = tx->presence;

	tx->presence = presence->next;
	tx->presence_count--;
	free(presence);
}

static void departed(struct link *link, const struct departure *departure, size_t len)
{
	const struct frame *frame = &departure->frame;
	struct sending *tx = &link->tx;

	link->deadline_is_known = false;
	link->sent_ms = link->now_ms;
	link->sent_bytes += len;
	link->keepalive_due = false;
	if (frame->has & FRAME_INTRODUCTION) {
		free(tx->introduction);
		tx->introduction = NULL;
	}
	if (departure->item)
		sending_gone(link, departure);
	if (frame->has & FRAME_HELLO || (frame->has & FRAME_ACK && (frame->has & FRAME_CREDIT || !link->rx.has_data))) {
		if (link->now_ms - link->repeated_ms >= link->profile.keepalive_ms)
			receiving_tell_again(link);
		link->repeated_ms = link->now_ms;
	}
	if (departure->told)
		receiving_told(link, departure->told);
	if (frame->has & FRAME_ACK)
		receiving_ack_sent(link);
	if (frame->has & FRAME_PRESENCE)
		presence_gone(tx);
	if (frame->has & (FRAME_PRESENCE | FRAME_DATA))
		tx->presence_was_last = (frame->has & FRAME_PRESENCE) != 0;
	if (frame->has & FRAME_DIRECTORY)
		tx->directory_due = false;
	if (frame->has & FRAME_CREDIT) {
		link->rx.announced[CREDIT_BULK] = frame->credit.bulk;
		link->rx.announced[CREDIT_URGENT] = frame->credit.urgent;
	}
	if (!(frame->has & FRAME_HELLO))
		return;
	link->hello_sent = true;
	link->tx.told_next = frame->hello.next_serial;
	link->rx.announced[CREDIT_BULK] = frame->hello.credit_bulk;
	link->rx.announced[CREDIT_URGENT] = frame->hello.credit_urgent;
	if (link->circuit_due)
		settle_circuit(link);
}

enum cpd_error link_next_frame(struct link *link, uint8_t *buf, size_t *len, int64_t now_ms)
{
	struct departure departure;
	enum cpd_error err;

	*len = 0;
	link->now_ms = now_ms;
	memset(&departure, 0, sizeof(departure));
	if (!compose_introduction(link, &departure.frame)) {
		if (!link->is_connected || link->is_given_up)
			return CPD_OK;
		if (!link->hello_sent) {
			/* A peer without memory goes on after what our hello says we hold: what is
			 * settled and not yet on disk must be in it, so the hello waits for the commit. */
			if (receiving_is_settled_uncommitted(link))
				return CPD_OK;
			compose_hello(link, &departure.frame);
		} else if (!link->hello_heard || !compose(link, &departure)) {
			return CPD_OK;
		}
	}
	err = frame_encode(&departure.frame, buf, len);
	if (!err)
		departed(link, &departure, *len);
	return err;
}

/* ---------------------------------------------------------------- small traffic */

void link_send_presence(struct link *link, struct slice record, uint32_t age_s)
{
	struct sending *tx = &link->tx;
	struct presence_out *presence, **at = &tx->presence;

	if (!link_is_up(link) || record.len == 0 || record.len > LIMIT_PRESENCE)
		return;
	presence = malloc(sizeof(*presence) + record.len);
	if (!presence)
		return;
	if (tx->presence_count >= PRESENCE_WAITING)
		presence_gone(tx); /* the oldest: what is newer says more */
	presence->next = NULL;
	presence->age_s = age_s;
	presence->len = record.len;
	memcpy(presence->bytes, record.data, record.len);
	while (*at)
		at = &(*at)->next;
	*at = presence;
	tx->presence_count++;
}

void link_send_introduction(struct link *link, struct slice record)
{
	uint8_t *copy;

	if (record.len == 0 || record.len > LIMIT_CERTIFICATE || !(copy = malloc(record.len)))
		return;
	memcpy(copy, record.data, record.len);
	free(link->tx.introduction);
	link->tx.introduction = copy;
	link->tx.introduction_len = record.len;
}

void link_directory_changed(struct link *link, uint32_t version)
{
	link->greeting.directory = version;
	link->tx.directory = version;
	link->tx.directory_due = link->hello_sent;
}

/* ---------------------------------------------------------------- time */

static int64_t first_deadline(const struct link *link)
{
	int64_t at, other;

	if (!link->is_connected || link->is_given_up)
		return INT64_MAX;
	at = link->heard_ms + link->profile.dead_ms;
	if (!link_is_up(link))
		return at;
	other = link->sent_ms + link->profile.keepalive_ms;
	if (!link->keepalive_due && other < at)
		at = other;
	if (link->rx.ack_pending && !link->rx.ack_now && link->rx.ack_at_ms < at)
		at = link->rx.ack_at_ms;
	other = sending_deadline(link);
	return other < at ? other : at;
}

/* A host with hundreds of links asks after every frame of one. */
int64_t link_deadline(struct link *link)
{
	if (!link->deadline_is_known)
		link->deadline_ms = first_deadline(link);
	link->deadline_is_known = true;
	return link->deadline_ms;
}

void link_tick(struct link *link, int64_t now_ms, bool *dead)
{
	*dead = false;
	link->deadline_is_known = false;
	link->now_ms = now_ms;
	if (!link->is_connected || link->is_given_up)
		return;
	if (now_ms - link->heard_ms >= link->profile.dead_ms) {
		*dead = link->is_given_up = true;
		return;
	}
	if (!link_is_up(link))
		return;
	if (now_ms - link->sent_ms >= link->profile.keepalive_ms)
		link->keepalive_due = true;
	if (link->rx.ack_pending && now_ms >= link->rx.ack_at_ms)
		link->rx.ack_now = true;
	sending_tick(link);
}

static void note_oldest(const struct outgoing *item, int64_t *since_ms)
{
	for (; item; item = item->next)
		if (item->notice && item->begun_ms && (!*since_ms || item->begun_ms < *since_ms))
			*since_ms = item->begun_ms;
}

/* Of each precedence the oldest comes first. */
static void note_progress(const struct outgoing *item, struct link_progress *out)
{
	for (; item; item = item->next)
		if (item->notice && !item->is_wanted && !out->waits[item->precedence]) {
			out->waits[item->precedence] = true;
			out->is_going[item->precedence] = !item->was_whole;
		}
}

void link_progress(const struct link *link, struct link_progress *out)
{
	const uint64_t bytes = link->tx.unacked_bytes[CREDIT_BULK] + link->tx.unacked_bytes[CREDIT_URGENT];

	memset(out, 0, sizeof(*out));
	out->resend_ms = link_rate(link) ? (int64_t)(bytes * 8000 / link_rate(link)) : 0;
	note_progress(link->tx.first, out);
	note_progress(link->tx.staged, out);
	memcpy(out->answered, link->tx.answered, sizeof(out->answered));
	out->taken_bytes = link->tx.taken_bytes;
}

void link_figures(const struct link *link, struct link_figures *out)
{
	const struct sending *tx = &link->tx;

	out->rate_bps = tx->rate_bps;
	out->heard_ms = link->last_heard_ms;
	out->unacked = tx->count;
	out->unacked_since_ms = 0;
	note_oldest(tx->first, &out->unacked_since_ms);
	note_oldest(tx->staged, &out->unacked_since_ms); /* one that waits for its leaves may be to be offered anew */
	out->unacked_bytes = tx->unacked_bytes[CREDIT_BULK] + tx->unacked_bytes[CREDIT_URGENT];
	out->sent_bytes = link->sent_bytes;
	out->received_bytes = link->received_bytes;
	out->credit_stalls = tx->stalls;
	out->peer_directory = link->peer_directory;
}
