/* test_link.c: two links wired in memory: custody of a hop, precedence, credit, sessions, hostile peers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/link.h"
#include "test/unit/alloc_fault.h"

#define ITEMS 4096
#define PIPE 512
#define THIN_PIECE LIMIT_PIECE_MIN

/* ---------------------------------------------------------------- two sides and the wires between */

struct parcel { uint8_t *bytes; size_t len; };
struct wire { struct parcel parcels[PIPE]; size_t count; };

enum fate { UNSENT, UNDER_WAY, PASSED, TURNED_DOWN };
struct side {
	struct link *link;
	struct link_config config;
	struct wire out;
	uint64_t turn;
	bool holds_commits;              /* the test commits by hand */
	bool holds_settling;             /* the test settles by hand */
	enum cpd_reason refuse_first;    /* refuse every item at its first coming */
	struct link_circuit stored;      /* with what is committed */
	/* as receiver */
	uint8_t raised[ITEMS], has[ITEMS], is_on_disk[ITEMS];
	uint64_t last_serial;
	enum precedence last_precedence;
	uint32_t last_number;
	/* as sender */
	uint8_t fate[ITEMS];
	uint32_t returned, gaps, rolled_back, ups, acked, wants, presences, directories, introductions;
	uint64_t gap_first, gap_last;
	struct frame_hello hello;
};
static struct side a, b;
static int64_t now;
static uint64_t seed;

static uint32_t chance(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

static uint32_t number_of(struct slice bytes)
{
	uint32_t number;

	assert_true(bytes.len >= 8 && bytes.data[0] == 'I');
	memcpy(&number, bytes.data + 4, 4);
	for (size_t i = 8; i < bytes.len; i++)
		assert_int_equal(bytes.data[i], (uint8_t)(number * 7 + i));
	return number;
}

static void commit(struct side *side)
{
	memcpy(side->is_on_disk, side->has, sizeof(side->has));
	link_circuit(side->link, &side->stored);
	link_circuit_saved(side->link);
	link_committed(side->link, side->turn);
}

static void take_item(struct side *side, const struct link_event *event)
{
	uint32_t number = number_of(event->bytes);
	bool is_first = side->raised[number] == 0;

	side->raised[number]++;
	side->last_serial = event->serial;
	side->last_precedence = event->precedence;
	side->last_number = number;
	if (side->holds_settling)
		return;
	if (is_first && side->refuse_first) {
		link_settle(side->link, event->serial, side->refuse_first, ++side->turn);
		return;
	}
	side->has[number] = 1;
	link_settle(side->link, event->serial, REFUSED_NONE, ++side->turn);
}

static void drain(struct side *side)
{
	const struct side *other = side == &a ? &b : &a;
	struct link_event event;

	while (link_next_event(side->link, &event)) {
		uint64_t number = event.ref.counter;

		switch (event.type) {
		case LINK_EVENT_UP: side->ups++; side->hello = event.hello; break;
		case LINK_EVENT_ITEM: take_item(side, &event); break;
		case LINK_EVENT_ACKED:
			assert_int_equal(side->fate[number], UNDER_WAY);
			assert_true(other->is_on_disk[number]); /* the one rule */
			side->fate[number] = PASSED;
			side->acked++;
			break;
		case LINK_EVENT_REFUSED:
			assert_int_equal(side->fate[number], UNDER_WAY);
			side->fate[number] = TURNED_DOWN;
			assert_int_equal(event.reason, other->refuse_first);
			break;
		case LINK_EVENT_RETURNED:
			assert_int_equal(side->fate[number], UNDER_WAY);
			side->fate[number] = UNSENT;
			side->returned++;
			break;
		case LINK_EVENT_PRESENCE: side->presences++; break;
		case LINK_EVENT_WANT: side->wants++; break;
		case LINK_EVENT_INTRODUCTION: side->introductions++; break;
		case LINK_EVENT_DIRECTORY: side->directories++; break;
		case LINK_EVENT_GAP: side->gaps++; side->gap_first = event.first; side->gap_last = event.last; break;
		case LINK_EVENT_ROLLED_BACK: side->rolled_back++; break;
		}
	}
	if (!side->holds_commits)
		commit(side);
}

static void wire_clear(struct wire *wire)
{
	while (wire->count)
		free(wire->parcels[--wire->count].bytes);
}

static void wire_put(struct wire *wire, const uint8_t *bytes, size_t len)
{
	assert_true(wire->count < PIPE);
	wire->parcels[wire->count].bytes = malloc(len);
	memcpy(wire->parcels[wire->count].bytes, bytes, len);
	wire->parcels[wire->count++].len = len;
}

static struct parcel wire_take(struct wire *wire, size_t at)
{
	struct parcel parcel = wire->parcels[at];

	wire->count--;
	memmove(&wire->parcels[at], &wire->parcels[at + 1], (wire->count - at) * sizeof(parcel));
	return parcel;
}

/* One frame out of the link onto its wire; its length. */
static size_t emit(struct side *side)
{
	uint8_t buf[LIMIT_FRAME];
	size_t len;

	assert_int_equal(link_next_frame(side->link, buf, &len, now), CPD_OK);
	if (len)
		wire_put(&side->out, buf, len);
	return len;
}

static void emit_all(struct side *side)
{
	while (emit(side))
		;
}

static enum cpd_error deliver(struct side *from, struct side *to, size_t at)
{
	struct parcel parcel = wire_take(&from->out, at);
	enum cpd_error err = link_receive(to->link, (struct slice){ parcel.bytes, parcel.len }, now);

	free(parcel.bytes);
	return err;
}

/* Runs both ways until nothing moves; time stands still. */
static void settle_down(void)
{
	do {
		drain(&a);
		drain(&b);
		emit_all(&a);
		emit_all(&b);
		while (a.out.count)
			assert_int_equal(deliver(&a, &b, 0), CPD_OK);
		while (b.out.count)
			assert_int_equal(deliver(&b, &a, 0), CPD_OK);
		drain(&a);
		drain(&b);
		emit_all(&a);
		emit_all(&b);
	} while (a.out.count || b.out.count);
}

static void tick(struct side *side)
{
	bool dead;

	link_tick(side->link, now, &dead);
	assert_false(dead);
}

static void pass_ms(int64_t ms)
{
	now += ms;
	tick(&a);
	tick(&b);
	settle_down();
}

static void side_open(struct side *side, uint32_t self, uint32_t peer, const struct link_profile *profile)
{
	memset(side, 0, sizeof(*side));
	side->config.self = self;
	side->config.peer = peer;
	side->config.self_epoch = 1;
	side->config.profile = *profile;
	side->link = link_new(&side->config);
	assert_non_null(side->link);
}

static void connect_side(struct side *side)
{
	struct link_greeting greeting = { .clock_ms = -1, .directory = 3 };

	link_connected(side->link, &greeting, now);
}

static void open_both(const struct link_profile *profile)
{
	now = 1000;
	seed = 1;
	side_open(&a, 1, 2, profile);
	side_open(&b, 2, 1, profile);
	connect_side(&a);
	connect_side(&b);
	settle_down();
	assert_true(link_is_up(a.link) && link_is_up(b.link));
}

static int open_ip(void **state) { (void)state; open_both(&link_profile_ip); return 0; }
static int open_thin(void **state) { (void)state; open_both(&link_profile_thin); return 0; }
static int close_both(void **state)
{
	(void)state;
	link_free(a.link);
	link_free(b.link);
	wire_clear(&a.out);
	wire_clear(&b.out);
	return 0;
}

static void cut(void)
{
	wire_clear(&a.out);
	wire_clear(&b.out);
	link_disconnected(a.link, now);
	link_disconnected(b.link, now);
	drain(&a);
	drain(&b);
}

static void reconnect(void)
{
	connect_side(&a);
	connect_side(&b);
	settle_down();
}

/* The process dies; what is stored lives. */
static void restart(struct side *side)
{
	wire_clear(&side->out);
	link_free(side->link);
	memcpy(side->has, side->is_on_disk, sizeof(side->has));
	for (size_t i = 0; i < ITEMS; i++)
		if (side->fate[i] == UNDER_WAY)
			side->fate[i] = UNSENT; /* its queue is on disk */
	side->config.circuit = side->stored;
	side->turn = 0;
	side->link = link_new(&side->config);
}

static enum cpd_error send(struct side *side, uint32_t number, enum precedence precedence, size_t len)
{
	static uint8_t bytes[LIMIT_ITEM];
	struct item_ref ref = { .type = ITEM_TYPE_MESSAGE, .precedence = precedence, .id = { 9, 1, number + 1 }, .counter = number };
	enum cpd_error err;

	bytes[0] = 'I';
	memcpy(bytes + 4, &number, 4);
	for (size_t i = 8; i < len; i++)
		bytes[i] = (uint8_t)(number * 7 + i);
	err = link_send(side->link, &ref, (struct slice){ bytes, len }, now);
	if (!err)
		side->fate[number] = UNDER_WAY;
	return err;
}

static struct frame peek(const struct side *side, size_t at)
{
	struct frame frame;

	assert_true(at < side->out.count);
	assert_int_equal(frame_decode((struct slice){ side->out.parcels[at].bytes, side->out.parcels[at].len }, &frame), CPD_OK);
	return frame;
}

/* A frame of the test's own, as if from a to b. */
static enum cpd_error forge(const struct frame *frame)
{
	uint8_t buf[LIMIT_FRAME];
	size_t len;

	assert_int_equal(frame_encode(frame, buf, &len), CPD_OK);
	return link_receive(b.link, (struct slice){ buf, len }, now);
}

static struct frame piece_frame(uint64_t serial, enum precedence precedence, uint32_t total, uint32_t offset, uint32_t len)
{
	static const uint8_t bytes[LIMIT_ITEM] = { 'I' };
	struct frame frame = { .has = FRAME_DATA };

	frame.data = (struct frame_data){ serial, ITEM_TYPE_MESSAGE, precedence, total, offset, { bytes, len } };
	return frame;
}

/* ---------------------------------------------------------------- custody of a hop */

static void item_passes_and_is_acknowledged(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 500), CPD_OK);
	settle_down();
	assert_int_equal(b.raised[1], 1);
	assert_int_equal(a.fate[1], UNDER_WAY); /* the acknowledgement waits for company */
	pass_ms(20);
	assert_int_equal(a.fate[1], PASSED);
}

static void acknowledgement_is_not_visible_before_commit(void **state)
{
	(void)state;
	b.holds_commits = true;
	assert_int_equal(send(&a, 1, PRECEDENCE_FLASH, 500), CPD_OK);
	settle_down();
	pass_ms(100);
	for (int i = 0; i < 5; i++) /* nor when it is sent again, nor in a keepalive */
		pass_ms(link_profile_ip.retransmit_ms);
	assert_int_equal(b.raised[1], 1);
	assert_int_equal(a.fate[1], UNDER_WAY);
	commit(&b);
	settle_down(); /* FLASH: at once */
	assert_int_equal(a.fate[1], PASSED);
}

static void commit_of_an_earlier_turn_acknowledges_nothing_of_a_later_one(void **state)
{
	(void)state;
	b.holds_commits = true;
	b.turn = 10;
	assert_int_equal(send(&a, 1, PRECEDENCE_FLASH, 50), CPD_OK);
	settle_down();
	b.is_on_disk[1] = 0;
	link_committed(b.link, 10);
	pass_ms(100);
	assert_int_equal(a.fate[1], UNDER_WAY);
	commit(&b);
	settle_down();
	assert_int_equal(a.fate[1], PASSED);
}

static void hello_waits_for_the_commit_of_what_is_settled(void **state)
{
	(void)state;
	b.holds_commits = true;
	assert_int_equal(send(&a, 1, PRECEDENCE_FLASH, 50), CPD_OK);
	settle_down();
	cut();
	connect_side(&b);
	assert_int_equal(emit(&b), 0);
	commit(&b);
	assert_true(emit(&b) > 0);
	assert_int_equal(peek(&b, 0).hello.received, 1);
}

static void stored_circuit_holds_what_is_settled_at_once(void **state)
{
	struct link_circuit circuit;

	(void)state;
	b.holds_commits = true;
	assert_int_equal(send(&a, 1, PRECEDENCE_FLASH, 50), CPD_OK);
	settle_down();
	assert_true(link_circuit_is_dirty(b.link));
	link_circuit(b.link, &circuit);
	assert_int_equal(circuit.received, 1);
	assert_int_equal(circuit.self_epoch, 1);
	assert_int_equal(circuit.peer_epoch, 1);
	link_circuit_saved(b.link);
	assert_false(link_circuit_is_dirty(b.link));
}

static void settling_an_item_of_an_ended_session_acknowledges_nothing(void **state)
{
	uint64_t old;

	(void)state;
	b.holds_settling = true;
	assert_int_equal(send(&a, 1, PRECEDENCE_FLASH, 50), CPD_OK);
	settle_down();
	old = b.last_serial;
	cut();
	restart(&a); /* without memory it takes the same serial again */
	reconnect();
	assert_int_equal(send(&a, 2, PRECEDENCE_FLASH, 50), CPD_OK);
	settle_down();
	assert_int_equal(b.last_number, 2);
	link_settle(b.link, old, REFUSED_NONE, ++b.turn);
	commit(&b);
	pass_ms(100);
	assert_int_equal(a.fate[2], UNDER_WAY);
}

static void refused_item_comes_back_with_the_reason_and_frees_its_serial(void **state)
{
	struct link_circuit circuit;

	(void)state;
	b.refuse_first = REFUSED_FULL;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 400), CPD_OK);
	settle_down();
	assert_int_equal(a.fate[1], TURNED_DOWN);
	pass_ms(20);
	link_circuit(b.link, &circuit);
	assert_int_equal(circuit.received, 1);
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 400), CPD_OK);
	settle_down();
	pass_ms(20);
	assert_int_equal(a.fate[1], PASSED);
}

static void refusal_lost_with_its_session_does_not_read_as_custody(void **state)
{
	(void)state;
	b.refuse_first = REFUSED_FULL;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 400), CPD_OK);
	emit_all(&a);
	assert_int_equal(deliver(&a, &b, 0), CPD_OK);
	drain(&b);
	emit_all(&b);
	assert_true(peek(&b, 0).has & FRAME_REFUSAL);
	cut(); /* and with it the refusal */
	reconnect();
	assert_int_equal(a.returned, 1);
	assert_int_equal(a.fate[1], UNSENT);
}

static void lost_refusal_is_said_again(void **state)
{
	(void)state;
	b.refuse_first = REFUSED_FULL;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 400), CPD_OK);
	emit_all(&a);
	assert_int_equal(deliver(&a, &b, 0), CPD_OK);
	drain(&b);
	emit_all(&b);
	wire_clear(&b.out);
	pass_ms(link_profile_ip.retransmit_ms);
	assert_int_equal(a.fate[1], TURNED_DOWN);
	assert_int_equal(b.raised[1], 1);
}

/* ---------------------------------------------------------------- precedence */

static void flash_preempts_bulk_after_one_piece(void **state)
{
	struct frame frame;

	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 16 * 1024), CPD_OK);
	assert_true(emit(&a) > 0);
	frame = peek(&a, 0);
	assert_true(frame.data.piece.len <= THIN_PIECE);
	assert_int_equal(frame.data.serial, 1);
	assert_int_equal(send(&a, 2, PRECEDENCE_FLASH, 600), CPD_OK);
	for (size_t i = 1; i <= 3; i++) {
		assert_true(emit(&a) > 0);
		frame = peek(&a, i);
		assert_int_equal(frame.data.precedence, PRECEDENCE_FLASH);
		assert_int_equal(frame.data.serial, 2);
	}
	settle_down();
	assert_int_equal(a.fate[2], PASSED);
	assert_int_equal(b.raised[1], 1);
	assert_int_equal(b.gaps, 0); /* serial 1 was under way: no gap */
	pass_ms(20);
	assert_int_equal(a.fate[1], PASSED);
}

static void higher_precedence_goes_first(void **state)
{
	static const enum precedence handed[] = { PRECEDENCE_ROUTINE, PRECEDENCE_IMMEDIATE, PRECEDENCE_PRIORITY, PRECEDENCE_FLASH };

	(void)state;
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(send(&a, i, handed[i], 300), CPD_OK);
	emit_all(&a);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(peek(&a, i).data.precedence, PRECEDENCE_FLASH - (int)i);
		assert_int_equal(peek(&a, i).data.serial, i + 1);
		assert_int_equal(peek(&a, i).data.total, 300);
	}
}

static void second_item_of_a_precedence_waits_until_the_first_is_out(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 300), CPD_OK);
	assert_false(link_can_send(a.link, PRECEDENCE_ROUTINE));
	assert_int_equal(send(&a, 2, PRECEDENCE_ROUTINE, 300), CPD_ERR_BUSY);
	assert_true(link_can_send(a.link, PRECEDENCE_FLASH));
	emit_all(&a);
	assert_true(link_can_send(a.link, PRECEDENCE_ROUTINE));
}

static void less_urgent_item_does_not_eat_the_credit_that_another_waits_for(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_PRIORITY, 156), CPD_OK);
	emit_all(&a); /* 100 bytes of credit are left: too few for a piece of the next */
	wire_clear(&a.out);
	assert_int_equal(send(&a, 2, PRECEDENCE_IMMEDIATE, 600), CPD_OK);
	assert_int_equal(send(&a, 3, PRECEDENCE_ROUTINE, 50), CPD_OK);
	assert_int_equal(emit(&a), 0);
	assert_int_equal(send(&a, 4, PRECEDENCE_FLASH, 50), CPD_OK);
	assert_true(emit(&a) > 0);
	assert_int_equal(peek(&a, 0).data.precedence, PRECEDENCE_FLASH);
}

static void presence_is_not_starved_by_bulk_nor_bulk_by_presence(void **state)
{
	static const uint8_t record[100] = { 1 };

	(void)state;
	for (int i = 0; i < 100; i++)
		link_send_presence(a.link, (struct slice){ record, sizeof(record) }, 5);
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 1000), CPD_OK);
	assert_true(emit(&a) > 0 && emit(&a) > 0);
	assert_true(peek(&a, 0).has & FRAME_PRESENCE);
	assert_true(peek(&a, 1).has & FRAME_DATA);
	settle_down();
	assert_int_equal(b.presences, 64); /* bounded */
}

/* ---------------------------------------------------------------- loss within a session */

static void lost_acknowledgement_is_repaired_while_the_link_stays_up(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_FLASH, 300), CPD_OK);
	emit_all(&a);
	assert_int_equal(deliver(&a, &b, 0), CPD_OK);
	drain(&b);
	emit_all(&b);
	wire_clear(&b.out);
	pass_ms(link_profile_ip.retransmit_ms - 1);
	assert_int_equal(a.fate[1], UNDER_WAY);
	pass_ms(1);
	assert_int_equal(a.fate[1], PASSED);
	assert_int_equal(b.raised[1], 1);
	assert_int_equal(a.ups, 1);
}

static void lost_item_is_noticed_and_sent_again_at_once(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 300), CPD_OK);
	emit_all(&a);
	wire_clear(&a.out);
	assert_int_equal(send(&a, 2, PRECEDENCE_ROUTINE, 300), CPD_OK);
	settle_down();
	assert_int_equal(b.gaps, 1);
	assert_int_equal(b.gap_first, 1);
	assert_int_equal(b.gap_last, 1);
	pass_ms(20);
	pass_ms(20);
	assert_int_equal(a.fate[1], PASSED);
	assert_int_equal(a.fate[2], PASSED);
	assert_int_equal(b.gaps, 1);
}

static void slow_decision_about_bulk_is_not_taken_for_loss(void **state)
{
	struct link_figures figures;
	uint64_t bulk;

	(void)state;
	b.holds_settling = true;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 9000), CPD_OK);
	settle_down();
	bulk = b.last_serial;
	b.holds_settling = false;
	assert_int_equal(send(&a, 2, PRECEDENCE_FLASH, 300), CPD_OK);
	settle_down();
	assert_int_equal(a.fate[2], PASSED);
	link_figures(a.link, &figures);
	assert_true(figures.sent_bytes < 2 * 9000);
	b.has[1] = 1;
	link_settle(b.link, bulk, REFUSED_NONE, ++b.turn);
	commit(&b);
	pass_ms(20);
	assert_int_equal(a.fate[1], PASSED);
}

static void lost_piece_of_an_item_is_repaired(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 700), CPD_OK);
	assert_true(emit(&a) > 0);
	wire_clear(&a.out); /* the first piece; the sender stalls on credit half-way */
	settle_down();
	assert_int_equal(b.raised[1], 0);
	for (int i = 0; i < 4 && a.fate[1] != PASSED; i++) {
		pass_ms(link_profile_thin.retransmit_ms);
		pass_ms(20);
	}
	assert_int_equal(a.fate[1], PASSED);
}

static void pump_with_faults(uint32_t loss, uint32_t doubling, uint32_t reordering)
{
	struct side *sides[2] = { &a, &b };

	for (int i = 0; i < 2; i++) {
		struct side *from = sides[i], *to = sides[1 - i];

		emit_all(from);
		while (from->out.count) {
			size_t at = chance(100) < reordering ? chance((uint32_t)from->out.count) : 0;
			struct parcel copy = from->out.parcels[at];

			if (chance(100) < loss) {
				free(wire_take(&from->out, at).bytes);
				continue;
			}
			if (chance(100) < doubling)
				assert_int_equal(link_receive(to->link, (struct slice){ copy.bytes, copy.len }, now), CPD_OK);
			assert_int_equal(deliver(from, to, at), CPD_OK);
			if (chance(3) == 0)
				drain(to);
		}
		drain(to);
	}
}

static void soak(uint32_t count, uint32_t cuts_in_1000)
{
	uint32_t next = 0, done = 0;

	for (int step = 0; step < 60000 && done < count; step++) {
		done = 0;
		for (uint32_t i = 0; i < count; i++)
			done += a.fate[i] == PASSED;
		for (uint32_t tries = 0; tries < 8; tries++) {
			uint32_t number = next++ % count;

			if (a.fate[number] == UNSENT || a.fate[number] == TURNED_DOWN)
				(void)!send(&a, number, (enum precedence)(number % 4), 8 + (number * 37) % 3000);
		}
		pump_with_faults(10, 10, 10);
		now += chance(200);
		tick(&a);
		tick(&b);
		if (chance(1000) < cuts_in_1000) {
			cut();
			if (chance(3) == 0)
				restart(chance(2) ? &a : &b);
			reconnect();
		}
	}
	for (uint32_t i = 0; i < count; i++) {
		assert_int_equal(a.fate[i], PASSED);
		assert_true(b.is_on_disk[i]);
	}
}

static void every_item_is_raised_once_over_a_lossy_doubling_reordering_bearer(void **state)
{
	struct link_figures figures;

	(void)state;
	for (uint64_t run = 1; run <= 4; run++) {
		uint32_t count = run % 2 ? 500 : 60;

		close_both(NULL);
		open_both(run % 2 ? &link_profile_ip : &link_profile_thin);
		seed = run;
		soak(count, 0);
		for (uint32_t i = 0; i < count; i++)
			assert_int_equal(b.raised[i], 1);
		link_figures(a.link, &figures);
		assert_int_equal(figures.unacked_bytes, 0);
		assert_int_equal(a.ups, 1);
	}
}

static void nothing_is_lost_through_cuts_restarts_and_refusals(void **state)
{
	(void)state;
	for (uint64_t run = 11; run <= 13; run++) {
		close_both(NULL);
		open_both(&link_profile_ip);
		b.refuse_first = REFUSED_BUSY;
		seed = run;
		soak(500, 60);
		assert_int_equal(a.rolled_back + b.rolled_back, 0);
	}
}

/* ---------------------------------------------------------------- sessions */

static void cut_session_tells_what_was_held_and_what_was_not(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 300), CPD_OK);
	emit_all(&a);
	assert_int_equal(send(&a, 2, PRECEDENCE_ROUTINE, 300), CPD_OK);
	emit_all(&a);
	free(wire_take(&a.out, 0).bytes); /* 1 is lost, 2 arrives, nothing comes back */
	assert_int_equal(deliver(&a, &b, 0), CPD_OK);
	drain(&b);
	assert_int_equal(send(&a, 3, PRECEDENCE_ROUTINE, 300), CPD_OK); /* never sent */
	cut();
	assert_int_equal(a.fate[3], UNSENT);
	assert_int_equal(a.fate[1], UNDER_WAY);
	reconnect();
	assert_int_equal(a.fate[1], UNSENT);
	assert_int_equal(a.fate[2], PASSED);
	assert_int_equal(a.returned, 2);
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 300), CPD_OK);
	settle_down();
	pass_ms(20);
	assert_int_equal(a.fate[1], PASSED);
	assert_int_equal(b.gaps, 1); /* of the first session */
}

/* A serial voided by the peer's hello was never held: our own hello may not claim it. */
static void hello_does_not_claim_what_the_peers_hello_voids(void **state)
{
	(void)state;
	assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 300), CPD_OK);
	emit_all(&a);
	cut();
	connect_side(&a);
	connect_side(&b);
	emit_all(&a);
	assert_int_equal(deliver(&a, &b, 0), CPD_OK); /* before b's own hello left */
	settle_down();
	assert_int_equal(a.fate[1], UNSENT);
}

static void pass_some(uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < first + count; i++) {
		assert_int_equal(send(&a, i, PRECEDENCE_ROUTINE, 200), CPD_OK);
		settle_down();
	}
	pass_ms(20);
	for (uint32_t i = first; i < first + count; i++)
		assert_int_equal(a.fate[i], PASSED);
}

static void either_side_restarts_with_its_stored_circuit(void **state)
{
	(void)state;
	pass_some(1, 5);
	cut();
	restart(&b);
	reconnect();
	pass_some(6, 2);
	assert_int_equal(b.last_serial & 0xffff, 7);
	cut();
	restart(&a);
	reconnect();
	assert_int_equal(a.hello.received, 7);
	pass_some(8, 2);
	assert_int_equal(b.last_serial & 0xffff, 9);
	cut();
	restart(&a);
	restart(&b);
	reconnect();
	pass_some(10, 2);
	assert_int_equal(b.last_serial & 0xffff, 11);
	assert_int_equal(a.rolled_back + b.rolled_back, 0);
	assert_int_equal(b.gaps, 0);
}

static void new_epoch_starts_serials_again(void **state)
{
	struct link_circuit circuit;

	(void)state;
	pass_some(1, 5);
	cut();
	link_set_epoch(b.link, 2);
	reconnect();
	assert_int_equal(a.hello.epoch, 2);
	pass_some(6, 1);
	assert_int_equal(b.last_serial & 0xffff, 1);
	link_circuit(b.link, &circuit);
	assert_int_equal(circuit.self_epoch, 2);
	cut();
	a.config.self_epoch = 7;
	restart(&a);
	reconnect();
	pass_some(7, 2);
	assert_int_equal(b.last_serial & 0xffff, 2);
	link_circuit(b.link, &circuit);
	assert_int_equal(circuit.peer_epoch, 7);
	assert_int_equal(a.rolled_back + b.rolled_back, 0);
}

static void rolled_back_peer_is_noticed(void **state)
{
	struct link_circuit old;

	(void)state;
	pass_some(1, 2);
	old = b.stored;
	pass_some(3, 2);
	cut();
	b.stored = old;
	restart(&b);
	reconnect();
	assert_int_equal(a.rolled_back, 1);
	assert_int_equal(b.rolled_back, 0);
	pass_some(5, 2);
	cut();
	reconnect();
	assert_int_equal(a.rolled_back, 1); /* said once */
}

static void peer_that_lost_its_circuit_within_its_epoch_is_still_understood(void **state)
{
	(void)state;
	pass_some(1, 150);
	pass_some(151, 150);
	cut();
	memset(&b.stored, 0, sizeof(b.stored));
	restart(&b);
	reconnect();
	assert_int_equal(a.rolled_back, 1);
	pass_some(301, 2);
}

/* ---------------------------------------------------------------- bounds */

static void unacknowledged_window_is_bounded_and_keeps_room_for_flash(void **state)
{
	struct link_figures figures;
	uint32_t bulk = 0, flash = 0;

	(void)state;
	b.holds_settling = true;
	while (send(&a, bulk, PRECEDENCE_ROUTINE, 50) == CPD_OK) {
		bulk++;
		settle_down();
	}
	assert_int_equal(bulk, 240);
	while (send(&a, bulk + flash, PRECEDENCE_FLASH, 50) == CPD_OK) {
		flash++;
		settle_down();
	}
	assert_int_equal(flash, 16);
	link_figures(a.link, &figures);
	assert_int_equal(figures.unacked, LIMIT_UNACKED);
}

static void unacknowledged_bytes_are_bounded_apart_for_flash(void **state)
{
	struct link_figures figures;
	uint32_t bulk = 0, flash = 0;

	(void)state;
	b.holds_settling = true;
	while (send(&a, bulk, PRECEDENCE_ROUTINE, LIMIT_ITEM) == CPD_OK) {
		bulk++;
		settle_down();
	}
	link_figures(a.link, &figures);
	assert_true(bulk > 4 && figures.unacked_bytes <= LIMIT_UNACKED_BYTES);
	while (send(&a, bulk + flash, PRECEDENCE_FLASH, 10 * 1024) == CPD_OK) {
		flash++;
		settle_down();
	}
	assert_true(flash >= 6);
	assert_int_equal(b.raised[bulk + flash - 2], 1);
}

/* What a receiver that never answers is sent stays within what it granted in its hello. */
static void credit_is_honoured_by_the_sender(void **state)
{
	uint64_t sent[2] = { 0, 0 };
	struct frame_hello hello = a.hello;
	struct link_figures figures;

	(void)state;
	for (uint32_t i = 0; i < 400; i++) {
		(void)!send(&a, i, i % 2 ? PRECEDENCE_FLASH : PRECEDENCE_ROUTINE, 2000);
		while (emit(&a)) {
			struct frame frame = peek(&a, 0);

			sent[frame.data.precedence == PRECEDENCE_FLASH] += frame.data.piece.len;
			wire_clear(&a.out);
		}
	}
	assert_true(sent[0] > 0 && sent[0] <= hello.credit_bulk);
	assert_true(sent[1] > 0 && sent[1] <= hello.credit_urgent);
	link_figures(a.link, &figures);
	assert_true(figures.credit_stalls >= 1);
}

static void slow_host_is_granted_no_more_until_it_settles(void **state)
{
	uint32_t raised = 0;

	(void)state;
	b.holds_settling = true;
	for (uint32_t i = 0; i < 50; i++) {
		(void)!send(&a, i, PRECEDENCE_ROUTINE, 600);
		settle_down();
	}
	for (uint32_t i = 0; i < 50; i++)
		raised += b.raised[i];
	assert_in_range(raised, 1, 2); /* window of a thin link: one chunk */
	b.holds_settling = false;
	b.has[b.last_number] = 1;
	link_settle(b.link, b.last_serial, REFUSED_NONE, ++b.turn);
	commit(&b);
	pass_ms(20);
	assert_int_equal(a.fate[b.last_number], PASSED);
}

static void rate_is_measured_from_what_the_peer_takes(void **state)
{
	struct link_figures figures;

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(send(&a, i, PRECEDENCE_ROUTINE, 4000), CPD_OK);
		for (int step = 0; step < 40; step++) { /* 256 bytes in 512 ms: 4,000 bit/s */
			emit_all(&a);
			now += 512;
			while (a.out.count)
				assert_int_equal(deliver(&a, &b, 0), CPD_OK);
			drain(&b);
			emit_all(&b);
			while (b.out.count)
				assert_int_equal(deliver(&b, &a, 0), CPD_OK);
			drain(&a);
		}
	}
	link_figures(a.link, &figures);
	assert_in_range(figures.rate_bps, 3500, 4500);
}

static void item_waiting_for_its_leaves_does_not_block_them(void **state)
{
	struct message_id id = { 9, 1, 1 };

	(void)state;
	b.holds_settling = true;
	assert_int_equal(send(&a, 0, PRECEDENCE_ROUTINE, 300), CPD_OK);
	settle_down();
	b.holds_settling = false;
	assert_int_equal(link_want(b.link, b.last_serial, &id, (struct slice){ NULL, 0 }, ++b.turn), CPD_OK);
	drain(&b);
	settle_down();
	assert_int_equal(a.wants, 1);
	for (uint32_t i = 1; i < 700; i++) {
		assert_int_equal(send(&a, i, PRECEDENCE_ROUTINE, 4100), CPD_OK);
		settle_down();
		if (i % 20 == 0)
			pass_ms(20);
	}
	pass_ms(20);
	for (uint32_t i = 1; i < 700; i++)
		assert_int_equal(a.fate[i], PASSED);
	assert_int_equal(a.fate[0], PASSED);
	assert_int_equal(b.raised[0], 2); /* offered again under a new serial, and settled under that one */
}

static void lost_want_is_said_again_after_commit(void **state)
{
	struct message_id id = { 9, 1, 1 };

	(void)state;
	b.holds_settling = b.holds_commits = true;
	assert_int_equal(send(&a, 0, PRECEDENCE_ROUTINE, 300), CPD_OK);
	settle_down();
	assert_int_equal(link_want(b.link, b.last_serial, &id, (struct slice){ (const uint8_t *)"\5", 1 }, ++b.turn), CPD_OK);
	pass_ms(100);
	assert_int_equal(a.wants, 0);
	commit(&b);
	emit_all(&b);
	assert_true(peek(&b, 0).has & FRAME_WANT);
	wire_clear(&b.out);
	pass_ms(link_profile_ip.retransmit_ms);
	assert_int_equal(a.wants, 1);
	assert_int_equal(b.raised[0], 1);
	assert_int_equal(a.fate[0], UNDER_WAY);
	pass_ms(link_profile_ip.retransmit_ms);
	assert_int_equal(a.wants, 1); /* and is then left alone */
	assert_int_equal(link_want(b.link, b.last_serial + 1, &id, (struct slice){ NULL, 0 }, 1), CPD_ERR_NOT_FOUND);
}

/* ---------------------------------------------------------------- hostile peers */

static struct frame hello_frame(void)
{
	struct frame frame = { .has = FRAME_HELLO };

	frame.hello = (struct frame_hello){ .version = 1, .version_min = 1, .epoch = 1, .clock_ms = -1 };
	return frame;
}

static void breach_of_a_rule_ends_the_session(void **state)
{
	const struct message_id id = { 9, 1, 1 };
	struct frame type_changed = piece_frame(1, PRECEDENCE_ROUTINE, 100, 10, 10);
	const struct { const char *what; struct frame first, second; } breaches[] = {
		{ "second hello", { 0 }, hello_frame() },
		{ "window", { 0 }, piece_frame(LIMIT_UNACKED + 1, PRECEDENCE_ROUTINE, 100, 0, 100) },
		{ "bulk credit", { 0 }, piece_frame(1, PRECEDENCE_ROUTINE, LIMIT_ITEM, 0, 5000) },
		{ "bulk credit by offset", { 0 }, piece_frame(1, PRECEDENCE_ROUTINE, LIMIT_ITEM, LIMIT_ITEM - 10, 10) },
		{ "precedence changed", piece_frame(1, PRECEDENCE_ROUTINE, 100, 0, 10), piece_frame(1, PRECEDENCE_PRIORITY, 100, 10, 10) },
		{ "total changed", piece_frame(1, PRECEDENCE_ROUTINE, 100, 0, 10), piece_frame(1, PRECEDENCE_ROUTINE, 101, 10, 10) },
		{ "type changed", piece_frame(1, PRECEDENCE_ROUTINE, 100, 0, 10), type_changed },
		{ "ack of nothing", { 0 }, { .has = FRAME_ACK, .ack_received = 1 } },
		{ "ack bit of nothing", { 0 }, { .has = FRAME_ACK, .ack_bitmap = { { 1 }, 1 } } },
		{ "refusal of nothing", { 0 }, { .has = FRAME_REFUSAL, .refusal = { 1, REFUSED_FULL } } },
		{ "want of nothing", { 0 }, { .has = FRAME_WANT, .want = { 1, id, { NULL, 0 } } } },
		{ "late introduction", { 0 }, { .has = FRAME_INTRODUCTION, .introduction = { (const uint8_t *)"x", 1 } } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(breaches) / sizeof(breaches[0]); i++) {
		struct frame second = breaches[i].second;

		if (strcmp(breaches[i].what, "type changed") == 0)
			second.data.type = ITEM_TYPE_LEAF;
		close_both(NULL);
		open_both(&link_profile_thin);
		if (breaches[i].first.has)
			assert_int_equal(forge(&breaches[i].first), CPD_OK);
		if (forge(&second) != CPD_ERR_PROTOCOL)
			fail_msg("%s is let through", breaches[i].what);
		assert_false(link_is_up(b.link));
		assert_int_equal(link_deadline(b.link), INT64_MAX);
		assert_int_equal(emit(&b), 0);
	}
}

static void other_version_and_data_before_hello_are_refused(void **state)
{
	struct frame hello = hello_frame(), data = piece_frame(1, PRECEDENCE_FLASH, 20, 0, 20);

	(void)state;
	cut();
	connect_side(&b);
	hello.hello.version = hello.hello.version_min = 2;
	assert_int_equal(forge(&hello), CPD_ERR_VERSION);
	connect_side(&b);
	emit_all(&b);
	assert_int_equal(forge(&data), CPD_ERR_PROTOCOL);
	connect_side(&b);
	hello.hello.version_min = 1; /* speaks ours too */
	assert_int_equal(forge(&hello), CPD_OK);
}

static void mutated_frames_never_crash(void **state)
{
	uint8_t buf[LIMIT_FRAME];
	uint32_t sent = 0;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		if (!link_is_up(a.link) || !link_is_up(b.link)) {
			close_both(NULL); /* what was said under mutation binds neither to the other */
			now = 0;
			side_open(&a, 1, 2, &link_profile_ip);
			side_open(&b, 2, 1, &link_profile_ip);
			connect_side(&a);
			connect_side(&b);
			settle_down();
			b.holds_settling = true;
		}
		sent = (sent + 1) % ITEMS;
		(void)!send(&a, sent, (enum precedence)chance(4), 8 + chance(600));
		emit_all(&a);
		while (a.out.count) {
			struct parcel parcel = wire_take(&a.out, 0);
			struct link_event event;
			enum cpd_error err;

			memcpy(buf, parcel.bytes, parcel.len);
			for (uint32_t i = chance(4); i > 0; i--)
				buf[chance((uint32_t)(parcel.len < 24 ? parcel.len : 24))] = (uint8_t)chance(256);
			err = link_receive(b.link, (struct slice){ buf, chance(20) ? parcel.len : parcel.len / 2 }, now);
			free(parcel.bytes);
			assert_true(err == CPD_OK || !link_is_up(b.link));
			while (link_next_event(b.link, &event))
				if (event.type == LINK_EVENT_ITEM)
					link_settle(b.link, event.serial, chance(4) ? REFUSED_NONE : REFUSED_BUSY, 1);
			link_committed(b.link, (uint64_t)round);
		}
		emit_all(&b);
		while (b.out.count) {
			struct link_event event;

			(void)!deliver(&b, &a, 0);
			while (link_next_event(a.link, &event))
				;
		}
	}
}

static void memory_that_runs_out_ends_the_session_cleanly(void **state)
{
	(void)state;
	if (!alloc_fault_works)
		skip();
	for (unsigned long fail_at = 1; fail_at < 60; fail_at++) {
		enum cpd_error err;
		bool hit;

		close_both(NULL);
		open_both(&link_profile_ip);
		assert_int_equal(send(&a, 1, PRECEDENCE_ROUTINE, 3000), CPD_OK);
		emit_all(&a);
		alloc_fault_arm(fail_at);
		err = link_receive(b.link, (struct slice){ a.out.parcels[0].bytes, a.out.parcels[0].len }, now);
		hit = alloc_fault_disarm();
		if (!hit) {
			assert_int_equal(err, CPD_OK);
			assert_true(fail_at > 3);
			return;
		}
		assert_int_equal(err, CPD_ERR_NOMEM);
		assert_false(link_is_up(b.link));
		cut();
		reconnect();
		assert_int_equal(a.fate[1], UNSENT);
		pass_some(1, 1);
	}
	fail();
}

/* ---------------------------------------------------------------- small traffic and time */

static void idle_link_wakes_only_for_its_keepalive(void **state)
{
	uint32_t wakes = 0, frames = 0, turns = 0;
	int64_t end = now + 10 * 60 * 1000;

	(void)state;
	pass_some(1, 1);
	pass_ms(1);
	for (;;) {
		int64_t at = link_deadline(a.link), other = link_deadline(b.link);

		now = at < other ? at : other;
		if (now >= end)
			break;
		wakes += at <= other;
		assert_true(++turns < 1000);
		tick(&a);
		tick(&b);
		emit_all(&a);
		frames += (uint32_t)a.out.count;
		settle_down();
	}
	assert_in_range(wakes, 29, 31);
	assert_in_range(frames, 29, 31);
}

static void deadline_stays_honest_while_the_bearer_takes_nothing(void **state)
{
	(void)state;
	now = link_deadline(a.link);
	tick(&a); /* the keepalive is due, but the bearer is busy */
	assert_true(link_deadline(a.link) > now);
}

static void silent_peer_is_given_up(void **state)
{
	bool dead = false;

	(void)state;
	now += link_profile_ip.dead_ms - 1;
	link_tick(a.link, now, &dead);
	assert_false(dead);
	link_tick(a.link, ++now, &dead);
	assert_true(dead);
	assert_int_equal(link_deadline(a.link), INT64_MAX);
}

static void introduction_stands_alone_before_hello(void **state)
{
	static const uint8_t record[] = "certificate";

	(void)state;
	cut();
	link_send_introduction(a.link, (struct slice){ record, sizeof(record) });
	emit_all(&a);
	assert_int_equal(a.out.count, 1);
	assert_int_equal(peek(&a, 0).has, FRAME_INTRODUCTION);
	assert_int_equal(deliver(&a, &b, 0), CPD_OK);
	drain(&b);
	assert_int_equal(b.introductions, 1);
	assert_false(link_is_up(b.link));
	reconnect();
	assert_int_equal(a.ups, 2);
}

static void changed_directory_is_told(void **state)
{
	struct link_figures figures;

	(void)state;
	assert_int_equal(b.hello.directory, 3);
	link_directory_changed(a.link, 4);
	settle_down();
	assert_int_equal(b.directories, 1);
	link_figures(b.link, &figures);
	assert_int_equal(figures.peer_directory, 4);
}

#define IP(test) cmocka_unit_test_setup_teardown(test, open_ip, close_both)
#define THIN(test) cmocka_unit_test_setup_teardown(test, open_thin, close_both)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IP(item_passes_and_is_acknowledged),
		IP(acknowledgement_is_not_visible_before_commit),
		IP(commit_of_an_earlier_turn_acknowledges_nothing_of_a_later_one),
		IP(hello_waits_for_the_commit_of_what_is_settled),
		IP(stored_circuit_holds_what_is_settled_at_once),
		IP(settling_an_item_of_an_ended_session_acknowledges_nothing),
		IP(refused_item_comes_back_with_the_reason_and_frees_its_serial),
		IP(refusal_lost_with_its_session_does_not_read_as_custody),
		IP(lost_refusal_is_said_again),
		THIN(flash_preempts_bulk_after_one_piece),
		IP(higher_precedence_goes_first),
		IP(second_item_of_a_precedence_waits_until_the_first_is_out),
		THIN(less_urgent_item_does_not_eat_the_credit_that_another_waits_for),
		IP(presence_is_not_starved_by_bulk_nor_bulk_by_presence),
		IP(lost_acknowledgement_is_repaired_while_the_link_stays_up),
		IP(lost_item_is_noticed_and_sent_again_at_once),
		IP(slow_decision_about_bulk_is_not_taken_for_loss),
		THIN(lost_piece_of_an_item_is_repaired),
		IP(every_item_is_raised_once_over_a_lossy_doubling_reordering_bearer),
		IP(nothing_is_lost_through_cuts_restarts_and_refusals),
		IP(cut_session_tells_what_was_held_and_what_was_not),
		IP(hello_does_not_claim_what_the_peers_hello_voids),
		IP(either_side_restarts_with_its_stored_circuit),
		IP(new_epoch_starts_serials_again),
		IP(rolled_back_peer_is_noticed),
		IP(peer_that_lost_its_circuit_within_its_epoch_is_still_understood),
		IP(unacknowledged_window_is_bounded_and_keeps_room_for_flash),
		IP(unacknowledged_bytes_are_bounded_apart_for_flash),
		IP(credit_is_honoured_by_the_sender),
		THIN(credit_is_honoured_by_the_sender),
		THIN(slow_host_is_granted_no_more_until_it_settles),
		THIN(rate_is_measured_from_what_the_peer_takes),
		IP(item_waiting_for_its_leaves_does_not_block_them),
		IP(lost_want_is_said_again_after_commit),
		THIN(breach_of_a_rule_ends_the_session),
		IP(other_version_and_data_before_hello_are_refused),
		IP(mutated_frames_never_crash),
		IP(memory_that_runs_out_ends_the_session_cleanly),
		IP(idle_link_wakes_only_for_its_keepalive),
		IP(deadline_stays_honest_while_the_bearer_takes_nothing),
		IP(silent_peer_is_given_up),
		IP(introduction_stands_alone_before_hello),
		IP(changed_directory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
