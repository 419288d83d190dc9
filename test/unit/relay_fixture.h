/*
 * relay_fixture.h: one relay without disk or net, for test_relay*.c: a host that does what relay.h
 * prescribes, and a model of what the effects have stored. After every turn the model is checked: a
 * queued recipient has its row and a row its recipient, a timer its message and the other way round.
 *
 * Node SELF is a CP; CP_A and CP_B are its neighbours towards the desks (9..), NSP_A and NSP_B hang on it.
 * The maker of the simulator is compiled in, because unit tests link archives only.
 */
#ifndef CPD_TEST_RELAY_FIXTURE_H
#define CPD_TEST_RELAY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/relay/relay.h"
#include "test/sim/make_verified.c"
#include "test/sim/random.c"

#define SELF 100
#define SELF_EPOCH 5
#define CP_A 200
#define CP_B 201
#define NSP_A 301
#define NSP_B 302
#define DESK 900                 /* behind CP_A, else CP_B */
#define MINUTE_MS 60000
#define HOUR_MS (60 * MINUTE_MS)

struct stored_row { uint32_t link; struct relay_row row; };
struct stored_timer { int64_t at_ms; struct message_id id; };

#define STORED_MAX 2048
#define EFFECTS_MAX 16384
struct box {
	struct relay_config config;
	struct relay *relay;
	struct directory *directory;
	struct moment now;
	uint64_t turn, serial;
	bool store_admits;
	bool forgets;                /* the host answers no questions */
	/* the store */
	struct custody *custody[STORED_MAX]; size_t custody_count;
	struct stored_row rows[STORED_MAX]; size_t row_count;
	struct stored_timer timers[STORED_MAX]; size_t timer_count;
	struct message_id envelopes[STORED_MAX]; size_t envelope_count;
	struct message_id receipts[STORED_MAX]; int64_t receipts_ms[STORED_MAX]; size_t receipts_count;
	/* effects since the last box_clear; their bytes live until the next turn */
	struct relay_effect effects[EFFECTS_MAX]; size_t effect_count;
	struct relay_effect questions[STORED_MAX]; size_t question_count;
	struct receipt_entry witnessed[STORED_MAX]; size_t witnessed_count;
	void *made[STORED_MAX]; size_t made_count;
};

/* ---------------------------------------------------------------- the store */

static inline struct custody *box_held(const struct box *box, const struct message_id *id)
{
	for (size_t i = 0; i < box->custody_count; i++)
		if (message_id_equal(&box->custody[i]->id, id))
			return box->custody[i];
	return NULL;
}

static inline bool box_has_envelope(const struct box *box, const struct message_id *id)
{
	for (size_t i = 0; i < box->envelope_count; i++)
		if (message_id_equal(&box->envelopes[i], id))
			return true;
	return false;
}

static inline void box_custody_delete(struct box *box, const struct message_id *id)
{
	for (size_t i = 0; i < box->custody_count; i++) {
		if (!message_id_equal(&box->custody[i]->id, id))
			continue;
		custody_clear(box->custody[i]);
		free(box->custody[i]);
		box->custody[i] = box->custody[--box->custody_count];
		return;
	}
}

static inline void box_custody_put(struct box *box, const struct custody *custody)
{
	struct custody *copy = malloc(sizeof(*copy));

	assert_non_null(copy);
	assert_int_equal(custody_copy(custody, copy), CPD_OK);
	box_custody_delete(box, &custody->id);
	assert_true(box->custody_count < STORED_MAX);
	box->custody[box->custody_count++] = copy;
}

static inline size_t box_row_find(const struct box *box, uint32_t link, enum precedence precedence, uint64_t counter)
{
	size_t i = 0;

	while (i < box->row_count && (box->rows[i].link != link || box->rows[i].row.ref.counter != counter
	    || box->rows[i].row.ref.precedence != precedence))
		i++;
	return i;
}

#define BOX_REMOVE(array, count, index) memmove(&(array)[index], &(array)[(index) + 1], (--(count) - (index)) * sizeof((array)[0]))

static inline void box_timer_delete(struct box *box, int64_t at_ms, const struct message_id *id)
{
	for (size_t i = 0; i < box->timer_count; i++)
		if (box->timers[i].at_ms == at_ms && message_id_equal(&box->timers[i].id, id)) {
			BOX_REMOVE(box->timers, box->timer_count, i);
			return;
		}
}

static inline void box_id_delete(struct message_id *ids, size_t *count, const struct message_id *id)
{
	for (size_t i = 0; i < *count; i++)
		if (message_id_equal(&ids[i], id)) {
			ids[i] = ids[--*count];
			return;
		}
}

static inline void box_receipts_put(struct box *box, const struct relay_effect *effect)
{
	size_t i = 0;

	while (i < box->receipts_count && !message_id_equal(&box->receipts[i], &effect->id))
		i++;
	assert_true(i < STORED_MAX);
	box->receipts[i] = effect->id;
	box->receipts_ms[i] = effect->at_ms;
	if (i == box->receipts_count)
		box->receipts_count++;
}

static inline void box_store(struct box *box, const struct relay_effect *effect)
{
	size_t at;

	switch (effect->type) {
	case EFFECT_PUT_CUSTODY: box_custody_put(box, effect->custody); break;
	case EFFECT_DELETE_CUSTODY: box_custody_delete(box, &effect->id); break;
	case EFFECT_PUT_ENVELOPE:
		box_id_delete(box->envelopes, &box->envelope_count, &effect->id);
		box->envelopes[box->envelope_count++] = effect->id;
		break;
	case EFFECT_DELETE_ENVELOPE: box_id_delete(box->envelopes, &box->envelope_count, &effect->id); break;
	case EFFECT_PUT_ROW:
		assert_true(box->row_count < STORED_MAX);
		box->rows[box->row_count++] = (struct stored_row){ effect->link, effect->row };
		break;
	case EFFECT_DELETE_ROW:
		at = box_row_find(box, effect->link, effect->row.ref.precedence, effect->row.ref.counter);
		if (at < box->row_count)
			BOX_REMOVE(box->rows, box->row_count, at);
		break;
	case EFFECT_PUT_TIMER:
		assert_true(box->timer_count < STORED_MAX);
		box->timers[box->timer_count++] = (struct stored_timer){ effect->at_ms, effect->id };
		break;
	case EFFECT_DELETE_TIMER: box_timer_delete(box, effect->at_ms, &effect->id); break;
	case EFFECT_PUT_RECEIPTS: box_receipts_put(box, effect); break;
	case EFFECT_WANT_ROWS: case EFFECT_WANT_OWN: case EFFECT_WANT_FLOOR:
		assert_true(box->question_count < STORED_MAX);
		box->questions[box->question_count++] = *effect;
		break;
	default: break;
	}
}

static inline bool is_waiting(const struct recipient *recipient)
{
	return recipient->hop == HOP_QUEUED || recipient->hop == HOP_UNROUTED;
}

/* No row without recipient, no waiting recipient without row, no timer without message. */
static inline void assert_box_is_sound(const struct box *box)
{
	for (size_t i = 0; i < box->custody_count; i++) {
		const struct custody *custody = box->custody[i];

		assert_int_equal(box_has_envelope(box, &custody->id), !!(custody->flags & CUSTODY_HAS_ENVELOPE));
		for (size_t r = 0; r < custody->recipient_count; r++) {
			const struct recipient *recipient = &custody->recipients[r];
			if (!is_waiting(recipient))
				continue;
			assert_true(custody->flags & CUSTODY_HAS_ENVELOPE);
			assert_true((custody->flags & CUSTODY_IS_HELD && !recipient->row)
			    || box_row_find(box, recipient->via, custody_queue(custody), recipient->row) < box->row_count);
		}
		for (size_t t = 0; custody->timer_ms && t <= box->timer_count; t++) {
			assert_true(t < box->timer_count);
			if (box->timers[t].at_ms == custody->timer_ms && message_id_equal(&box->timers[t].id, &custody->id))
				break;
		}
	}
	for (size_t i = 0; i < box->row_count; i++) {
		const struct stored_row *row = &box->rows[i];
		const struct custody *custody = box_held(box, &row->row.ref.id);
		size_t r = 0;

		if (row->row.ref.type != ITEM_TYPE_MESSAGE)
			continue;
		assert_non_null(custody);
		while (r < custody->recipient_count && (!is_waiting(&custody->recipients[r])
		    || custody->recipients[r].via != row->link || custody->recipients[r].row != row->row.ref.counter))
			r++;
		assert_true(r < custody->recipient_count);
	}
	for (size_t i = 0; i < box->timer_count; i++) {
		const struct custody *custody = box_held(box, &box->timers[i].id);
		assert_true(custody && custody->timer_ms == box->timers[i].at_ms);
	}
}

#endif
