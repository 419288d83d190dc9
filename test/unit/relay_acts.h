/*
 * relay_acts.h: what test_relay*.c do with the relay of relay_fixture.h: turns, arrivals, answers, time.
 */
#ifndef CPD_TEST_RELAY_ACTS_H
#define CPD_TEST_RELAY_ACTS_H

#include "proto/body.pb-c.h"
#include "proto/tree.h"
#include "test/unit/relay_fixture.h"
#include "test/unit/relay_hungry.h"

/* ---------------------------------------------------------------- turns */

static inline void turn_begin(struct box *box)
{
	relay_begin_turn(box->relay, ++box->turn);
}

static inline enum cpd_error relay_take(struct box *box, const struct relay_event *event)
{
	struct message_id keys[RELAY_KEYS_MAX];
	struct relay_facts facts = { .holds_receipts = false };
	size_t count = relay_keys_of(box->relay, event, keys);

	for (size_t i = 0; i < count; i++)
		facts.custody[i] = box_held(box, &keys[i]);
	for (size_t i = 0; event->type == RELAY_RECEIPTS && i < box->receipts_count; i++) {
		const struct receipts *receipts = &event->receipts->receipts;
		struct message_id record = { receipts->witness, receipts->epoch, receipts->counter };
		if (!message_id_equal(&record, &box->receipts[i]))
			continue;
		facts.holds_receipts = true;
		facts.receipts_forwarded_ms = box->receipts_ms[i];
	}
	return relay_handle(box->relay, event, &facts, &box->now);
}

static inline void *box_alloc(struct box *box, size_t size)
{
	void *block = calloc(1, size);

	assert_non_null(block);
	assert_true(box->made_count < STORED_MAX);
	return box->made[box->made_count++] = block;
}

struct made_receipts { uint8_t bytes[LIMIT_RECEIPTS + 128]; struct verified_receipts verified; };

static inline const struct verified_receipts *make_receipts(struct box *box, const struct receipts *receipts)
{
	struct made_receipts *made = box_alloc(box, sizeof(*made));
	uint8_t bytes[LIMIT_RECEIPTS];
	size_t len;

	assert_int_equal(receipts_encode(receipts, bytes, &len), CPD_OK);
	assert_int_equal(cheap_sign_record((struct slice){ bytes, len }, receipts->witness, made->bytes, sizeof(made->bytes), &len), CPD_OK);
	assert_int_equal(make_verified_receipts((struct slice){ made->bytes, len }, &made->verified), CPD_OK);
	return &made->verified;
}

/* What the relay witnessed is signed, one record each, and handed in. */
static inline void sign_witnessed(struct box *box)
{
	struct receipts receipts = { .witness = SELF, .epoch = box->config.epoch, .count = 1 };
	enum precedence precedence;

	while (relay_take_witness(box->relay, &receipts.entries[0], &precedence)) {
		struct relay_event event = { .type = RELAY_RECEIPTS, .precedence = precedence };

		assert_true(box->witnessed_count < STORED_MAX);
		box->witnessed[box->witnessed_count++] = receipts.entries[0];
		receipts.counter = relay_counters(box->relay)->receipt_counter;
		receipts.origin = receipts.entries[0].subject.origin;
		event.receipts = make_receipts(box, &receipts);
		assert_int_equal(relay_take(box, &event), CPD_OK);
	}
}

static inline enum cpd_error hand(struct box *box, const struct relay_event *event)
{
	enum cpd_error error = relay_take(box, event);

	sign_witnessed(box);
	return error;
}

static inline void turn_end(struct box *box)
{
	struct relay_effect effect;

	assert_int_equal(relay_end_turn(box->relay), CPD_OK);
	while (relay_take_effect(box->relay, &effect)) {
		assert_true(box->effect_count < EFFECTS_MAX);
		box->effects[box->effect_count++] = effect;
		box_store(box, &effect);
	}
	assert_box_is_sound(box);
}

static inline void commit(struct box *box)
{
	relay_committed(box->relay, box->turn);
}

static inline void box_clear(struct box *box)
{
	box->effect_count = box->witnessed_count = 0;
}

/* One event, its turn, its commit. */
static inline enum cpd_error play(struct box *box, const struct relay_event *event)
{
	enum cpd_error error;

	box_clear(box);
	turn_begin(box);
	error = hand(box, event);
	turn_end(box);
	commit(box);
	return error;
}

static inline void play_on(struct box *box, const struct relay_event *event)
{
	turn_begin(box);
	assert_int_equal(hand(box, event), CPD_OK);
	turn_end(box);
	commit(box);
}

static inline int row_compare(const void *a, const void *b)
{
	const struct relay_row *left = a, *right = b;
	return left->ref.counter < right->ref.counter ? -1 : left->ref.counter > right->ref.counter;
}

static inline void answer_rows(struct box *box, const struct relay_effect *question)
{
	static struct relay_row rows[STORED_MAX];
	size_t count = 0;
	struct relay_event event = { .type = RELAY_ROWS, .link = question->link, .precedence = question->precedence,
		.is_reroute = question->is_reroute, .rows = rows };

	for (size_t i = 0; i < box->row_count; i++)
		if (box->rows[i].link == question->link && box->rows[i].row.ref.precedence == question->precedence
		    && box->rows[i].row.ref.counter > question->counter)
			rows[count++] = box->rows[i].row;
	qsort(rows, count, sizeof(rows[0]), row_compare);
	event.row_count = count < RELAY_ROWS_MAX ? count : RELAY_ROWS_MAX;
	event.rows_end = count <= RELAY_ROWS_MAX;
	play_on(box, &event);
}

static inline int id_order(const void *a, const void *b)
{
	return message_id_compare(a, b);
}

static inline void answer_own(struct box *box, const struct relay_effect *question)
{
	static struct message_id own[STORED_MAX];
	bool is_floor = question->type == EFFECT_WANT_FLOOR;
	struct message_id from = is_floor ? (struct message_id){ SELF, question->epoch ? question->epoch : box->config.epoch, question->sequence } : question->id;
	struct relay_event event = { .type = RELAY_OWN, .own_node = is_floor ? SELF : question->node, .own = own, .id = from };
	size_t count = 0;

	for (size_t i = 0; i < box->custody_count; i++) {
		int order = message_id_compare(&box->custody[i]->id, &from);
		if (box->custody[i]->id.origin == SELF && (is_floor ? order >= 0 : order > 0)
		    && (is_floor || !(box->custody[i]->flags & CUSTODY_IS_FINAL)))
			own[count++] = box->custody[i]->id;
	}
	qsort(own, count, sizeof(own[0]), id_order);
	event.own_count = count < RELAY_ROWS_MAX ? count : RELAY_ROWS_MAX;
	event.own_end = count <= RELAY_ROWS_MAX;
	play_on(box, &event);
}

/* Answers what the relay asked, until it asks no more. */
static inline void pump(struct box *box)
{
	for (int rounds = 0; box->question_count && !box->forgets; rounds++) {
		struct relay_effect question = box->questions[0];

		assert_true(rounds < 1000);
		BOX_REMOVE(box->questions, box->question_count, 0);
		if (question.type == EFFECT_WANT_ROWS)
			answer_rows(box, &question);
		else
			answer_own(box, &question);
	}
}

static inline int64_t box_due(const struct box *box, const struct stored_timer **timer)
{
	int64_t due = relay_next_deadline(box->relay);

	*timer = NULL;
	for (size_t i = 0; i < box->timer_count; i++)
		if (box->timers[i].at_ms <= due) {
			due = box->timers[i].at_ms;
			*timer = &box->timers[i];
		}
	return due;
}

/* Time goes on; every timer, tick and question on the way is met at its moment. */
static inline void pass_time(struct box *box, int64_t ms)
{
	int64_t until = box->now.custody_ms + ms, due;
	const struct stored_timer *timer;

	box_clear(box);
	for (int rounds = 0; (due = box_due(box, &timer)) <= until; rounds++) {
		struct relay_event event = { .type = timer ? RELAY_TIMER : RELAY_TICK };

		assert_true(rounds < 5000);              /* else a deadline stays due however often it is met */
		if (due > box->now.custody_ms) {
			box->now.wall_ms += due - box->now.custody_ms;
			box->now.custody_ms = due;
		}
		if (timer) {
			event.id = timer->id;
			event.due_ms = timer->at_ms;
		}
		play_on(box, &event);
		pump(box);
	}
	box->now.wall_ms += until - box->now.custody_ms;
	box->now.custody_ms = until;
}

#endif
