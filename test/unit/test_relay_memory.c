/* test_relay_memory.c: the relay without memory. Every allocation of a scenario fails in turn: the call
 * says NOMEM and never crashes, and what a relay says after that is NOMEM too. */
#include "test/unit/relay_makers.h"

/* What comes to the relay. */
struct stage {
	struct box *box;
	struct message_id held;
	const struct verified_message *own, *transit, *here, *state, *large, *newer;
	const struct verified_receipts *receipts, *early;
	struct verified_presence presence;
	struct trailer trailer;
};

static const uint8_t leaf_bytes[LIMIT_LEAF];

static struct relay_event message_of(const struct stage *stage, const struct verified_message *message, uint64_t serial)
{
	return (struct relay_event){ .type = RELAY_MESSAGE, .link = NSP_A, .serial = serial, .message = message, .trailer = &stage->trailer, .store_admits = true };
}

/* False: it said NOMEM. The store holds what the box holds. */
static bool step(struct stage *stage, struct relay *relay, const struct relay_event *event, enum cpd_error *error)
{
	struct relay_facts facts = { .holds_receipts = false };
	struct message_id keys[RELAY_KEYS_MAX];
	size_t count = relay_keys_of(relay, event, keys);
	struct receipt_entry entry;
	enum precedence precedence;

	for (size_t i = 0; i < count; i++)
		facts.custody[i] = box_held(stage->box, &keys[i]);
	*error = relay_handle(relay, event, &facts, &stage->box->now);
	while (relay_take_witness(relay, &entry, &precedence))
		assert_true(entry.subject.sequence != 0);
	return *error != CPD_ERR_NOMEM;
}

/* One turn that meets every file of the relay; the overlay gives each event the facts of those before. */
static bool play_all(struct stage *stage, struct relay *relay)
{
	struct relay_effect effect;
	struct relay_row rows[2] = { { .ref = { .type = ITEM_TYPE_RECEIPTS, .counter = 900, .id = { DESK, 1, 1 } }, .destination = NSP_B },
		{ .ref = { .type = ITEM_TYPE_MESSAGE, .counter = 901, .id = stage->transit->message.header.id } } };
	struct message_id large = stage->large->message.header.id, here = stage->here->message.header.id;
	const struct relay_event events[] = {
		{ .type = RELAY_LINK_UP, .link = CP_A },
		{ .type = RELAY_LINK_UP, .link = NSP_A },
		{ .type = RELAY_ROWS, .link = CP_A, .rows = rows, .row_count = 1, .rows_end = true },
		{ .type = RELAY_HEARD, .link = CP_A, .presence = &stage->presence },
		{ .type = RELAY_RECEIPTS, .link = CP_A, .serial = 1, .receipts = stage->early },
		message_of(stage, stage->transit, 2),
		message_of(stage, stage->here, 3),
		message_of(stage, stage->state, 4),
		message_of(stage, stage->large, 5),
		{ .type = RELAY_LEAF, .link = NSP_A, .serial = 6, .id = large, .leaf = { leaf_bytes, LIMIT_LEAF } },
		{ .type = RELAY_LEAF, .link = NSP_A, .serial = 7, .id = large, .leaf_index = 1, .leaf = { leaf_bytes, 20 } },
		{ .type = RELAY_WANTED, .link = CP_A, .ref = { .type = ITEM_TYPE_MESSAGE, .id = large }, .held = { leaf_bytes, 1 } },
		{ .type = RELAY_OPERATE, .id = here, .act = ACT_READ },
		{ .type = RELAY_OPERATE, .id = stage->held, .act = ACT_HOLD },
		{ .type = RELAY_MESSAGE, .message = stage->own, .store_admits = true },
		{ .type = RELAY_RECEIPTS, .link = CP_A, .serial = 8, .receipts = stage->receipts },
		message_of(stage, stage->newer, 9),
		{ .type = RELAY_ROWS, .link = NSP_B, .rows = rows, .row_count = 2, .is_reroute = true },
		{ .type = RELAY_TICK },
	};

	size_t settled_count = 0;

	relay_begin_turn(relay, 1);
	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		enum cpd_error error;
		if (step(stage, relay, &events[i], &error)) {
			assert_int_equal(error, CPD_OK);
			continue;
		}
		/* thrown away: but until then it must stand what a host may still ask */
		assert_int_equal(relay_handle(relay, &events[0], NULL, &stage->box->now), CPD_ERR_NOMEM);
		assert_int_equal(relay_end_turn(relay), CPD_ERR_NOMEM);
		return false;
	}
	if (relay_end_turn(relay) != CPD_OK)
		return false;
	while (relay_take_effect(relay, &effect))
		settled_count += effect.type == EFFECT_SETTLE && effect.reason == REFUSED_NONE;
	assert_int_equal(settled_count, 9);      /* the whole of it was met: all but what was authored, 2 leaves */
	relay_committed(relay, 1);
	return true;
}

static void every_allocation_that_fails_is_told_as_no_memory(void **state)
{
	static const uint32_t links[] = { CP_A, NSP_A, NSP_B };
	struct box *box;
	struct stage stage;
	struct header transit = header_of(KIND_TEXT, NSP_A, 1, DESK), here = header_of(KIND_CALL, NSP_A, 2, SELF),
		status = header_of(KIND_STATUS, NSP_A, 3, DESK), large = header_of(KIND_TEXT, NSP_A, 4, DESK), newer = header_of(KIND_STATUS, NSP_A, 5, DESK);
	struct receipts receipts = { .witness = DESK, .epoch = 1, .counter = 2, .origin = NSP_A, .count = 1 };
	struct header own = header_of(KIND_TEXT, SELF, 1, SELF);
	const struct relay_counters counters = { 0 };
	uint8_t record[8] = { 1 };
	unsigned long call = 1;
	bool is_done = false;

	(void)state;
	if (!alloc_fault_works)
		skip();
	box = box_open();
	stage = (struct stage){ .box = box };
	large.body = (struct slice){ 0 };
	large.large_length = LIMIT_LEAF + 20;
	newer.supersedes = transit.id;
	stage.held = authored_text(box, DESK);
	own.id = (struct message_id){ SELF, SELF_EPOCH, 2 };
	stage.own = make_message(box, &own);
	stage.transit = make_message(box, &transit);
	stage.here = make_message(box, &here);
	stage.state = make_message(box, &status);
	stage.large = make_message(box, &large);
	stage.newer = make_message(box, &newer);
	stage.trailer = trailer_by(NSP_A, 0);
	receipts.entries[0] = (struct receipt_entry){ .subject = transit.id, .hash = stage.transit->hash, .level = LEVEL_DELIVERED };
	stage.receipts = make_receipts(box, &receipts);
	receipts.entries[0].subject.sequence = 77;
	stage.early = make_receipts(box, &receipts);
	stage.presence.presence = (struct presence){ .node = NSP_B, .epoch = 2, .counter = 1, .homes = { CP_A }, .home_count = 1 };
	stage.presence.bytes = (struct slice){ record, sizeof(record) };
	for (; !is_done; call++) {
		struct relay *relay;
		enum cpd_error error = CPD_OK;
		bool is_whole;

		assert_true(call < 2000);
		alloc_fault_arm(call);
		relay = relay_new(&box->config, &counters, &box->now);
		for (size_t i = 0; relay && !error && i < 3; i++)
			error = relay_add_link(relay, links[i]);
		if (relay && !error)
			error = relay_restore_latest(relay, NSP_B, KIND_STATUS, &(struct message_id){ NSP_B, 1, 1 });
		if (relay && !error)
			error = relay_restore_presence(relay, &(struct presence){ .node = NSP_A, .epoch = 1, .counter = 1 }, 0);
		is_whole = relay && !error && play_all(&stage, relay);
		is_done = !alloc_fault_disarm();
		if (is_done != is_whole)
			fail_msg("allocation %lu of the scenario failed and nobody said so", call);
		relay_free(relay);
	}
	assert_true(call > 40);
	box_close(box);
}

static void a_trailer_without_memory_is_no_void_row(void **state)
{
	struct box *box = box_open();
	struct message_id id = authored_text(box, DESK);
	struct item_ref ref = taken(box, CP_A);
	struct trailer trailer;
	enum cpd_error error;

	(void)state;
	if (alloc_fault_works) {
		alloc_fault_arm(1);
		error = relay_make_trailer(box->relay, box_held(box, &id), &ref, CP_A, &box->now, &trailer);
		assert_true(alloc_fault_disarm());
		assert_int_equal(error, CPD_ERR_NOMEM);
	}
	box_close(box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_that_fails_is_told_as_no_memory),
		cmocka_unit_test(a_trailer_without_memory_is_no_void_row),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
