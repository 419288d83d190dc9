/*
 * relay_hungry.h: the calls of the relay that may find no memory (hungry.h). When one did, the turn says it as well, and
 * nothing may come out of that turn.
 */
#ifndef CPD_TEST_RELAY_HUNGRY_H
#define CPD_TEST_RELAY_HUNGRY_H

#include "test/unit/hungry.h"
#include "test/unit/relay_fixture.h"

static bool hungry_in_turn;

static inline void relay_without_memory(void)
{
	struct box *box = hungry_opened;
	struct relay_effect effect;
	struct receipt_entry entry;
	enum precedence precedence;

	if (hungry_in_turn && box->relay) {
		assert_int_equal(relay_end_turn(box->relay), CPD_ERR_NOMEM);
		assert_false(relay_take_effect(box->relay, &effect));
		assert_false(relay_take_witness(box->relay, &entry, &precedence));
	}
	hungry_in_turn = false;
}

static inline void relay_turn(struct relay *relay, uint64_t turn)
{
	hungry_in_turn = true;
	relay_begin_turn(relay, turn);
}

static inline enum cpd_error relay_turn_end(struct relay *relay)
{
	enum cpd_error error = HUNGRY(relay_end_turn(relay));

	hungry_in_turn = false;
	return error;
}

#define relay_new(...) HUNGRY_NEW(relay_new(__VA_ARGS__))
#define relay_add_link(...) HUNGRY(relay_add_link(__VA_ARGS__))
#define relay_handle(...) HUNGRY(relay_handle(__VA_ARGS__))
#define relay_make_trailer(...) HUNGRY(relay_make_trailer(__VA_ARGS__))
#define relay_restore_latest(...) HUNGRY(relay_restore_latest(__VA_ARGS__))
#define relay_restore_presence(...) HUNGRY(relay_restore_presence(__VA_ARGS__))
#define relay_begin_turn(relay, turn) relay_turn(relay, turn)
#define relay_end_turn(relay) relay_turn_end(relay)

#endif
