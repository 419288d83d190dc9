/*
 * target_pair.c: two links that keep the rules, and a bearer that does not: it loses, doubles and reorders frames as
 * the input says, sessions end, and either side dies and comes back with what it had committed.
 *
 * Whatever the bearer does: what a sender is told as ACKED its receiver has on disk.
 */
#include "test/fuzz/targets.h"

#include "proto/link.h"

#define ITEMS 192
#define WIRE 64

struct parcel { uint8_t *bytes; size_t len; };
static struct side {
	struct link *link;
	struct link_config config;
	struct parcel wire[WIRE];      /* from here to the other */
	size_t wire_count;
	uint64_t turn;
	bool has[ITEMS], is_on_disk[ITEMS], is_under_way[ITEMS];
	struct link_circuit stored;
	size_t sent;
	uint64_t held[16];             /* tickets not settled yet */
	uint32_t held_number[16];
	size_t held_count;
} sides[2];
static int64_t now;

static struct side *other_of(struct side *side)
{
	return side == &sides[0] ? &sides[1] : &sides[0];
}

static void commit(struct side *side)
{
	memcpy(side->is_on_disk, side->has, sizeof(side->has));
	link_circuit(side->link, &side->stored);
	link_circuit_saved(side->link);
	link_committed(side->link, side->turn);
}

static void take(struct side *side, const struct link_event *event)
{
	uint32_t number;

	FUZZ_CHECK(event->bytes.len >= 5);
	memcpy(&number, event->bytes.data + 1, sizeof(number));
	FUZZ_CHECK(number < ITEMS);
	for (size_t i = 5; i < event->bytes.len; i++)
		FUZZ_CHECK(event->bytes.data[i] == (uint8_t)(number * 7 + i));
	if (side->held_count == 16)
		return;
	side->held[side->held_count] = event->serial;
	side->held_number[side->held_count++] = number;
}

static void drain(struct side *side)
{
	struct link_event event;

	while (link_next_event(side->link, &event)) {
		const uint64_t number = event.ref.counter;

		if (event.type == LINK_EVENT_ITEM) {
			take(side, &event);
		} else if (event.type == LINK_EVENT_ACKED || event.type == LINK_EVENT_RETURNED || event.type == LINK_EVENT_REFUSED) {
			FUZZ_CHECK(number < ITEMS && side->is_under_way[number]);
			side->is_under_way[number] = false;
			FUZZ_CHECK(event.type != LINK_EVENT_ACKED || other_of(side)->is_on_disk[number]);
		}
	}
}

static void wire_drop(struct side *side, size_t which)
{
	free(side->wire[which].bytes);
	side->wire[which] = side->wire[--side->wire_count];
}

static void emit(struct side *side, unsigned most)
{
	static uint8_t buf[LIMIT_FRAME];
	size_t len;

	for (; most; most--) {
		FUZZ_CHECK(!link_next_frame(side->link, buf, &len, now));
		if (!len)
			return;
		if (side->wire_count == WIRE)
			wire_drop(side, 0);
		side->wire[side->wire_count] = (struct parcel){ malloc(len), len };
		FUZZ_CHECK(side->wire[side->wire_count].bytes);
		memcpy(side->wire[side->wire_count++].bytes, buf, len);
	}
}

static void end_session(struct side *side)
{
	link_disconnected(side->link, now);
	while (side->wire_count)
		wire_drop(side, 0);
	drain(side);
}

static void begin_session(struct side *side)
{
	const struct link_greeting greeting = { .clock_ms = -1 };

	link_connected(side->link, &greeting, now);
	drain(side);
}

static void begin_both(void)
{
	for (int i = 0; i < 2; i++)
		end_session(&sides[i]);
	for (int i = 0; i < 2; i++)
		begin_session(&sides[i]);
}

/* keep: the bearer brings it again later. */
static void deliver(struct side *from, size_t which, bool keep)
{
	struct side *to = other_of(from);
	struct parcel parcel;
	enum cpd_error error;

	if (!from->wire_count)
		return;
	parcel = from->wire[which %= from->wire_count];
	if (!keep) {
		from->wire_count--;
		memmove(&from->wire[which], &from->wire[which + 1], (from->wire_count - which) * sizeof(parcel));
	}
	error = link_receive(to->link, (struct slice){ parcel.bytes, parcel.len }, now);
	if (!keep)
		free(parcel.bytes);
	drain(to);
	if (error)
		begin_both();
}

static void send_item(struct side *side, struct slice *input)
{
	static uint8_t bytes[LIMIT_ITEM];
	const uint32_t number = (uint32_t)side->sent;
	struct item_ref ref = { .type = ITEM_TYPE_MESSAGE, .precedence = (enum precedence)input_below(input, 4), .id = { 9, 1, 1 + number }, .counter = number };
	const size_t len = 5 + input_number(input, 2) % (LIMIT_ITEM - 5);

	if (side->sent == ITEMS)
		return;
	bytes[0] = 'I';
	memcpy(bytes + 1, &number, sizeof(number));
	for (size_t i = 5; i < len; i++)
		bytes[i] = (uint8_t)(number * 7 + i);
	if (link_send(side->link, &ref, (struct slice){ bytes, len }, now))
		return;
	side->is_under_way[number] = true;
	side->sent++;
}

static void settle(struct side *side, struct slice *input)
{
	const size_t which = side->held_count ? input_below(input, 16) % side->held_count : 0;
	const bool is_refused = input_below(input, 8) == 7;

	if (!side->held_count)
		return;
	if (!is_refused)
		side->has[side->held_number[which]] = true;
	link_settle(side->link, side->held[which], is_refused ? REFUSED_FULL : REFUSED_NONE, ++side->turn);
	side->held[which] = side->held[--side->held_count];
	side->held_number[which] = side->held_number[side->held_count];
}

/* The process dies; what is stored lives. Its queue is on disk too: all may go again. */
static void die(struct side *side)
{
	while (side->wire_count)
		wire_drop(side, 0);
	link_free(side->link);
	memcpy(side->has, side->is_on_disk, sizeof(side->has));
	memset(side->is_under_way, 0, sizeof(side->is_under_way));
	side->held_count = 0;
	side->turn = 0;
	side->config.circuit = side->stored;
	side->link = link_new(&side->config);
	FUZZ_CHECK(side->link);
}

static void pass(struct slice *input)
{
	static const int64_t steps[] = { 1, 25, 400, 10000, 41000, 130000 };
	bool is_dead = false, one;

	now += steps[input_below(input, 6)];
	for (int i = 0; i < 2; i++) {
		link_tick(sides[i].link, now, &one);
		is_dead = is_dead || one;
		drain(&sides[i]);
	}
	if (is_dead)
		begin_both();
}

static void act(struct slice *input)
{
	const unsigned what = input_below(input, 256);
	struct side *side = &sides[what & 1];

	switch (what >> 1 & 15) {
	case 0: case 1: deliver(side, 0, false); break;
	case 2: deliver(side, input_below(input, WIRE), false); break;
	case 3: deliver(side, input_below(input, WIRE), true); break;
	case 4: if (side->wire_count) wire_drop(side, 0); break;
	case 5: case 6: send_item(side, input); break;
	case 7: case 8: settle(side, input); break;
	case 9: commit(side); drain(side); break;
	case 10: pass(input); break;
	case 11: end_session(side); begin_session(side); break;
	case 12: begin_both(); break;
	case 13: die(side); begin_both(); break;
	case 14: emit(side, 8); break;
	default: emit(&sides[0], 2); emit(&sides[1], 2); break;
	}
	emit(side, 1);
}

void run_pair(struct slice input)
{
	memset(sides, 0, sizeof(sides));
	now = 1000;
	for (uint32_t i = 0; i < 2; i++) {
		sides[i].config = (struct link_config){ .self = 1 + i, .peer = 2 - i, .self_epoch = 1, .profile = link_profile_ip };
		sides[i].link = link_new(&sides[i].config);
		FUZZ_CHECK(sides[i].link);
	}
	begin_both();
	while (input.len)
		act(&input);
	for (int i = 0; i < 2; i++) {
		end_session(&sides[i]);
		link_free(sides[i].link);
	}
}

void seeds_pair(fuzz_add *add, void *context)
{
	/* Hellos both ways, an item, delivered, settled, committed, its acknowledgement delivered. */
	static const uint8_t seed[] = { 30, 0, 1, 30, 0, 1, 10, 1, 0, 100, 28, 0, 0, 15, 0, 0, 19, 20, 1, 31, 1, 1, 30 };

	add(context, (struct slice){ seed, sizeof(seed) });
	add(context, (struct slice){ (const uint8_t[]){ 30, 0, 1, 30, 0, 1, 10, 1, 90, 100, 28, 0, 26, 30, 0, 1, 30, 0, 1, 20, 4, 28, 0, 0, 15, 0, 0, 19, 27, 0, 1 }, 31 });
}
