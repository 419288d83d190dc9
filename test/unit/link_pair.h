/*
 * link_pair.h: two links wired in memory (link_wire.h), virtual time. Included by the tests of the link.
 * Every ACKED is checked against what the other side has on disk.
 */
#ifndef CPD_TEST_LINK_PAIR_H
#define CPD_TEST_LINK_PAIR_H

#include "proto/link.h"
#include "test/unit/hungry.h"
#include "test/unit/link_wire.h"

/* The calls that may find no memory (hungry.h). What is only good to have is left out without a word. */
#define link_new(...) HUNGRY_NEW(link_new(__VA_ARGS__))
#define link_receive(...) HUNGRY_OR_WELL(link_receive(__VA_ARGS__))
#define link_want(...) HUNGRY(link_want(__VA_ARGS__))
#define link_send(...) HUNGRY(link_send(__VA_ARGS__))
#define link_next_frame(...) HUNGRY(link_next_frame(__VA_ARGS__))
#define link_send_presence(...) HUNGRY_SILENT(link_send_presence(__VA_ARGS__))
#define link_send_introduction(...) HUNGRY_SILENT(link_send_introduction(__VA_ARGS__))
/* The next link_new may find no memory: then nothing is freed again. */
#define link_free(place) (link_free(place), (void)((place) = NULL))

#define ITEMS 4096

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

static inline uint32_t chance(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

static inline void commit(struct side *side)
{
	memcpy(side->is_on_disk, side->has, sizeof(side->has));
	link_circuit(side->link, &side->stored);
	link_circuit_saved(side->link);
	link_committed(side->link, side->turn);
}

static inline void take_item(struct side *side, const struct link_event *event)
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

static inline void drain(struct side *side)
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

/* One frame out of the link onto its wire; its length. */
static inline size_t emit(struct side *side)
{
	uint8_t buf[LIMIT_FRAME];
	size_t len;

	assert_int_equal(link_next_frame(side->link, buf, &len, now), CPD_OK);
	if (len)
		wire_put(&side->out, buf, len);
	return len;
}

static inline void emit_all(struct side *side)
{
	while (emit(side))
		;
}

static inline enum cpd_error deliver(struct side *from, struct side *to, size_t at)
{
	struct parcel parcel = wire_take(&from->out, at);
	enum cpd_error err = link_receive(to->link, (struct slice){ parcel.bytes, parcel.len }, now);

	free(parcel.bytes);
	return err;
}

/* Runs both ways until nothing moves; time stands still. */
static inline void settle_down(void)
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

static inline void tick(struct side *side)
{
	bool dead;

	link_tick(side->link, now, &dead);
	assert_false(dead);
}

static inline void pass_ms(int64_t ms)
{
	now += ms;
	tick(&a);
	tick(&b);
	settle_down();
}

static inline void side_open(struct side *side, uint32_t self, uint32_t peer, const struct link_profile *profile)
{
	memset(side, 0, sizeof(*side));
	side->config.self = self;
	side->config.peer = peer;
	side->config.self_epoch = 1;
	side->config.profile = *profile;
	side->link = link_new(&side->config);
	assert_non_null(side->link);
}

static inline void connect_side(struct side *side)
{
	struct link_greeting greeting = { .clock_ms = -1, .directory = 3 };

	link_connected(side->link, &greeting, now);
}

static inline void open_both(const struct link_profile *profile)
{
	now = 1000;
	seed = 1;
	a.link = b.link = NULL;
	side_open(&a, 1, 2, profile);
	side_open(&b, 2, 1, profile);
	connect_side(&a);
	connect_side(&b);
	settle_down();
	assert_true(link_is_up(a.link) && link_is_up(b.link));
}

static inline int open_ip(void **state) { (void)state; open_both(&link_profile_ip); return 0; }
static inline int open_thin(void **state) { (void)state; open_both(&link_profile_thin); return 0; }
static inline int close_both(void **state)
{
	(void)state;
	link_free(a.link);
	link_free(b.link);
	wire_clear(&a.out);
	wire_clear(&b.out);
	return 0;
}

static inline void cut(void)
{
	wire_clear(&a.out);
	wire_clear(&b.out);
	link_disconnected(a.link, now);
	link_disconnected(b.link, now);
	drain(&a);
	drain(&b);
}

static inline void reconnect(void)
{
	connect_side(&a);
	connect_side(&b);
	settle_down();
}

/* The process dies; what is stored lives. */
static inline void restart(struct side *side)
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

static inline enum cpd_error send(struct side *side, uint32_t number, enum precedence precedence, size_t len)
{
	struct item_ref ref = { .type = ITEM_TYPE_MESSAGE, .precedence = precedence, .id = { 9, 1, number + 1 }, .counter = number };
	enum cpd_error err;

	err = link_send(side->link, &ref, item_bytes(number, len), now);
	if (!err)
		side->fate[number] = UNDER_WAY;
	return err;
}

static inline struct frame peek(const struct side *side, size_t at)
{
	return wire_peek(&side->out, at);
}

/* A frame of the test's own, as if from a to b. */
static inline enum cpd_error forge(const struct frame *frame)
{
	uint8_t buf[LIMIT_FRAME];
	size_t len;

	assert_int_equal(frame_encode(frame, buf, &len), CPD_OK);
	return link_receive(b.link, (struct slice){ buf, len }, now);
}

static inline void pass_some(uint32_t first, uint32_t count)
{
	for (uint32_t i = first; i < first + count; i++) {
		assert_int_equal(send(&a, i, PRECEDENCE_ROUTINE, 200), CPD_OK);
		settle_down();
	}
	pass_ms(20);
	for (uint32_t i = first; i < first + count; i++)
		assert_int_equal(a.fate[i], PASSED);
}

#define IP(test) cmocka_unit_test_setup_teardown(test, open_ip, close_both)
#define THIN(test) cmocka_unit_test_setup_teardown(test, open_thin, close_both)

#endif
