/*
 * target_link.c: one link against a peer that keeps no rule. The input is a list of acts: frames of any bytes, frames
 * made of fields, our own sending, settling and committing, time, and sessions that end and begin.
 *
 * Whatever the peer does: an item is acknowledged only when it was settled in a turn that is on disk, or the peer itself
 * made it void; of each item we send the host is told one end, once; what is held for the host stays within bounds.
 */
#include "test/fuzz/targets.h"

#include "proto/link_internal.h"

#define TRACKED 512
#define ITEMS_MAX 256

struct raised { uint64_t ticket, serial; bool is_settled, is_refused, is_voided; uint64_t turn; };
static struct {
	struct link *link;
	int64_t now;
	uint64_t turn, committed;
	struct raised raised[TRACKED];
	size_t raised_count;
	bool is_under_way[ITEMS_MAX];
	size_t sent;
	uint32_t self_epoch;
} at;

static uint8_t piece[LIMIT_ITEM];

/* A serial that the peer voids is done without the host. */
static void note_void(struct slice bytes)
{
	struct frame frame;

	if (frame_decode(bytes, &frame) || !(frame.has & FRAME_DATA) || frame.data.total != 1 || frame.data.piece.data[0])
		return;
	for (size_t i = 0; i < at.raised_count; i++)
		if (at.raised[i].serial == frame.data.serial)
			at.raised[i].is_voided = true;
}

static void raise(const struct link_event *event)
{
	FUZZ_CHECK(event->bytes.len > 0 && event->bytes.len <= LIMIT_ITEM);
	touch(event->bytes);
	if (at.raised_count < TRACKED)
		at.raised[at.raised_count++] = (struct raised){ .ticket = event->serial, .serial = event->serial & SERIAL_MAX };
}

static void end_of(const struct link_event *event)
{
	FUZZ_CHECK(event->ref.counter < at.sent && at.is_under_way[event->ref.counter]);
	at.is_under_way[event->ref.counter] = false;
}

static void drain(void)
{
	struct link_event event;

	while (link_next_event(at.link, &event)) {
		switch (event.type) {
		case LINK_EVENT_ITEM: raise(&event); break;
		case LINK_EVENT_ACKED: case LINK_EVENT_REFUSED: case LINK_EVENT_RETURNED: end_of(&event); break;
		case LINK_EVENT_PRESENCE: case LINK_EVENT_INTRODUCTION: touch(event.bytes); break;
		case LINK_EVENT_WANT:
			FUZZ_CHECK(event.ref.counter < at.sent && at.is_under_way[event.ref.counter]);
			touch(event.held);
			break;
		case LINK_EVENT_GAP: FUZZ_CHECK(event.first <= event.last); break;
		case LINK_EVENT_UP: case LINK_EVENT_DIRECTORY: case LINK_EVENT_ROLLED_BACK: break;
		}
	}
	for (int class = 0; class < CREDIT_CLASSES; class++)
		FUZZ_CHECK(at.link->rx.held[class] <= LIMIT_CREDIT + PRECEDENCE_COUNT * LIMIT_ITEM);
	FUZZ_CHECK(at.link->rx.uncommitted <= LIMIT_UNACKED && at.link->loose <= LOOSE_EVENTS);
	FUZZ_CHECK(at.link->tx.unacked_bytes[CREDIT_BULK] <= LIMIT_UNACKED_BYTES + LIMIT_ITEM);
}

static void end_session(void)
{
	link_disconnected(at.link, at.now);
	drain();
}

static void begin_session(struct slice *input)
{
	const struct link_greeting greeting = { .clock_ms = -1, .directory = (uint32_t)input_number(input, 1) };

	link_connected(at.link, &greeting, at.now);
	/* Those of the session before: what is not settled comes again; tickets of old are void. */
	at.raised_count = 0;
	drain();
}

static void receive(struct slice bytes)
{
	uint8_t *exact = malloc(bytes.len ? bytes.len : 1);
	enum cpd_error error;

	FUZZ_CHECK(exact);
	if (bytes.len)
		memcpy(exact, bytes.data, bytes.len);
	note_void(bytes);
	error = link_receive(at.link, (struct slice){ exact, bytes.len }, at.now);
	free(exact);
	drain();
	if (error)
		end_session();
}

static bool is_acked(const struct frame *frame, uint64_t serial)
{
	return bitmap_covers(frame->ack_received, &frame->ack_bitmap, serial);
}

/* What leaves is a frame that a peer takes, and never acknowledges what is not on disk. */
static void emit(void)
{
	static uint8_t buf[LIMIT_FRAME];
	struct frame frame;
	size_t len;

	FUZZ_CHECK(!link_next_frame(at.link, buf, &len, at.now) && len <= LIMIT_FRAME);
	if (!len)
		return;
	FUZZ_CHECK(!frame_decode((struct slice){ buf, len }, &frame));
	if (!(frame.has & FRAME_ACK))
		return;
	for (size_t i = 0; i < at.raised_count; i++) {
		const struct raised *raised = &at.raised[i];

		if (!raised->is_voided && is_acked(&frame, raised->serial))
			FUZZ_CHECK(raised->is_settled && !raised->is_refused && raised->turn <= at.committed);
	}
}

/* ---------------------------------------------------------------- frames made of fields */

static uint64_t near(struct slice *input, uint64_t number)
{
	uint64_t away = input_number(input, 1);

	/* Mostly what may come next, sometimes anything. */
	if (away == 255)
		return input_number(input, 8);
	return away < 128 ? number + away % 16 : number - away % 16;
}

static void forge(struct slice *input)
{
	static uint8_t buf[LIMIT_FRAME];
	struct frame frame = { .has = 1u << input_below(input, 9) };
	size_t len;

	frame.has |= input_number(input, 1) & (FRAME_ACK | FRAME_CREDIT | FRAME_DIRECTORY);
	frame.hello = (struct frame_hello){ .version = 1, .version_min = 1, .epoch = 1 + input_below(input, 2), .your_epoch = at.self_epoch + 1 - 1 * input_below(input, 2),
		.received = near(input, at.link->tx.acked), .next_serial = near(input, at.link->rx.seen + 1), .clock_ms = -1, .credit_bulk = 1 << 20, .credit_urgent = 1 << 20 };
	frame.data = (struct frame_data){ .serial = near(input, at.link->rx.seen + 1), .type = (enum item_type)(1 + input_below(input, 4)),
		.precedence = (enum precedence)input_below(input, 4), .total = input_below(input, 600), .offset = 0, .piece = { piece, 0 } };
	frame.data.piece.len = input_below(input, 600);
	if (frame.data.piece.len < frame.data.total)
		frame.data.offset = input_below(input, 600) % (frame.data.total - (uint32_t)frame.data.piece.len + 1);
	piece[0] = (uint8_t)input_below(input, 3);
	frame.ack_received = near(input, at.link->tx.acked);
	frame.ack_bitmap.len = input_below(input, 4);
	frame.ack_bitmap.bits[0] = (uint8_t)input_number(input, 1);
	frame.refusal = (struct frame_refusal){ near(input, at.link->tx.acked), (enum cpd_reason)input_below(input, 40) };
	frame.credit = (struct frame_credit){ near(input, 0), near(input, at.link->tx.credit[0]), near(input, at.link->tx.credit[1]) };
	frame.want = (struct frame_want){ near(input, at.link->tx.acked), { 9, 1, 1 + input_below(input, 8) }, { piece, input_below(input, 300) } };
	frame.presence = (struct frame_presence){ { piece, 1 + input_below(input, 200) }, 3 };
	frame.introduction = (struct slice){ piece, 1 + input_below(input, 200) };
	frame.directory = (uint32_t)input_number(input, 1);
	if (!frame_encode(&frame, buf, &len))
		receive((struct slice){ buf, len });
}

/* ---------------------------------------------------------------- the host */

static void send_item(struct slice *input)
{
	struct item_ref ref = { .type = ITEM_TYPE_MESSAGE, .precedence = (enum precedence)input_below(input, 4), .id = { 9, 1, 1 + at.sent }, .counter = at.sent };
	const size_t len = 1 + input_number(input, 2) % LIMIT_ITEM;

	if (at.sent == ITEMS_MAX)
		return;
	memset(piece, 'x', len);
	if (link_send(at.link, &ref, (struct slice){ piece, len }, at.now))
		return;
	at.is_under_way[at.sent++] = true;
}

static void settle(struct slice *input)
{
	struct raised *raised = at.raised_count ? &at.raised[input_below(input, TRACKED) % at.raised_count] : NULL;
	const enum cpd_reason reason = (enum cpd_reason)(input_below(input, 4) == 3 ? REFUSED_FULL : REFUSED_NONE);

	if (!raised || raised->is_settled)
		return;
	link_settle(at.link, raised->ticket, reason, ++at.turn);
	raised->is_settled = true;
	raised->is_refused = reason != REFUSED_NONE;
	raised->turn = at.turn;
}

static void want(struct slice *input)
{
	struct raised *raised = at.raised_count ? &at.raised[input_below(input, TRACKED) % at.raised_count] : NULL;
	const struct message_id id = { 9, 1, 1 };

	if (raised && !raised->is_settled)
		(void)!link_want(at.link, raised->ticket, &id, (struct slice){ piece, input_below(input, 300) }, ++at.turn);
}

static void pass(struct slice *input)
{
	static const int64_t steps[] = { 1, 25, 400, 10000, 41000, 130000 };
	bool is_dead;

	at.now += steps[input_below(input, 6)];
	link_tick(at.link, at.now, &is_dead);
	drain();
	if (is_dead)
		end_session();
	FUZZ_CHECK(link_deadline(at.link) > at.now || !is_dead);
}

static void act(struct slice *input)
{
	struct link_circuit circuit;

	switch (input_below(input, 16)) {
	case 0: receive(input_framed(input)); break;
	case 1: case 2: case 3: case 4: forge(input); break;
	case 5: send_item(input); break;
	case 6: case 7: settle(input); break;
	case 8:
		link_circuit(at.link, &circuit);
		link_circuit_saved(at.link);
		at.committed = at.turn;
		link_committed(at.link, at.committed);
		drain();
		break;
	case 9: want(input); break;
	case 10: pass(input); break;
	case 11: end_session(); break;
	case 12: begin_session(input); break;
	case 13:
		link_send_presence(at.link, (struct slice){ piece, 1 + input_below(input, 200) }, 1);
		link_directory_changed(at.link, (uint32_t)input_number(input, 1));
		link_send_introduction(at.link, (struct slice){ piece, 1 + input_below(input, 200) });
		break;
	case 14:
		end_session();
		link_set_epoch(at.link, ++at.self_epoch);
		drain();
		break;
	default: break;
	}
	emit();
}

void run_link(struct slice input)
{
	struct link_config config = { .self = 1, .peer = 2, .self_epoch = 1, .profile = link_profile_ip };
	struct link_figures figures;

	memset(&at, 0, sizeof(at));
	at.now = 1000;
	at.self_epoch = 1;
	if (input_below(&input, 2))
		config.profile = link_profile_thin;
	if (input_below(&input, 2))
		config.circuit = (struct link_circuit){ 1, 1, input_number(&input, 2), { { 0x06 }, 1 } };
	at.link = link_new(&config);
	FUZZ_CHECK(at.link);
	begin_session(&input);
	while (input.len) {
		act(&input);
		link_figures(at.link, &figures);
		FUZZ_CHECK(figures.unacked <= LIMIT_UNACKED + PRECEDENCE_COUNT);
	}
	link_disconnected(at.link, at.now);
	drain();
	link_free(at.link);
}

/* ---------------------------------------------------------------- seeds */

static struct slice seed_hello(void)
{
	static struct slice hello;

	if (!hello.data)
		hello = seed_named("frame-hello");
	return hello;
}

static size_t put_received(uint8_t *to, struct slice frame)
{
	to[0] = 0;
	to[1] = (uint8_t)(frame.len >> 8);
	to[2] = (uint8_t)frame.len;
	memcpy(to + 3, frame.data, frame.len);
	return 3 + frame.len;
}

struct opened { fuzz_add *add; void *context; };

/* Each of the vectors' frames, after the hello that opens the session. */
static void add_received(void *context, struct slice frame)
{
	static const uint8_t begin[] = { 0, 0, 3 };
	struct opened *opened = context;
	const struct slice hello = seed_hello();
	uint8_t bytes[1024];
	size_t len = sizeof(begin);

	if (len + hello.len + frame.len + 6 > sizeof(bytes))
		return;
	memcpy(bytes, begin, len);
	len += put_received(bytes + len, hello);
	len += put_received(bytes + len, frame);
	opened->add(opened->context, (struct slice){ bytes, len });
}

void seeds_link(fuzz_add *add, void *context)
{
	struct opened opened = { add, context };

	seeds_of_type("Frame", (struct slice){ NULL, 0 }, add_received, &opened);
	/* A hello, an item, its settling, a commit; one of ours. */
	add(context, (struct slice){ (const uint8_t[]){ 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 6, 0, 0, 8, 5, 1, 0, 200, 8, 10, 1, 11, 12, 1, 1, 1 }, 26 });
}
