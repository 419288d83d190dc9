/*
 * relay_view.h: questions of test_relay*.c to the relay's last effects and to what they stored.
 */
#ifndef CPD_TEST_RELAY_VIEW_H
#define CPD_TEST_RELAY_VIEW_H

#include "test/unit/relay_fixture.h"

static inline size_t effects_of(const struct box *box, enum relay_effect_type type)
{
	size_t count = 0;

	for (size_t i = 0; i < box->effect_count; i++)
		count += box->effects[i].type == type;
	return count;
}

static inline const struct relay_effect *effect_of(const struct box *box, enum relay_effect_type type)
{
	for (size_t i = 0; i < box->effect_count; i++)
		if (box->effects[i].type == type)
			return &box->effects[i];
	return NULL;
}

static inline size_t journal_of(const struct box *box, enum journal_what what)
{
	size_t count = 0;

	for (size_t i = 0; i < box->effect_count; i++)
		count += box->effects[i].type == EFFECT_JOURNAL && box->effects[i].what == what;
	return count;
}

#define NOT_SETTLED (-1)
static inline int settled(const struct box *box, uint64_t serial)
{
	int reason = NOT_SETTLED;

	for (size_t i = 0; i < box->effect_count; i++)
		if (box->effects[i].type == EFFECT_SETTLE && box->effects[i].serial == serial) {
			assert_int_equal(reason, NOT_SETTLED);   /* once */
			reason = (int)box->effects[i].reason;
		}
	return reason;
}

static inline size_t rows_of(const struct box *box, uint32_t link, enum item_type type)
{
	size_t count = 0;

	for (size_t i = 0; i < box->row_count; i++)
		count += box->rows[i].link == link && box->rows[i].row.ref.type == type;
	return count;
}

static inline const struct recipient *box_recipient(const struct box *box, const struct message_id *id, uint32_t node)
{
	const struct custody *custody = box_held(box, id);
	const struct recipient *recipient = custody ? custody_recipient(custody, node) : NULL;

	assert_non_null(recipient);
	return recipient;
}

static inline bool gives(struct box *box, uint32_t link, enum precedence precedence, struct item_ref *ref)
{
	return relay_next_item(box->relay, link, precedence, &box->now, ref);
}

/* The next item for the link, which must be there, whatever its precedence. */
static inline struct item_ref taken(struct box *box, uint32_t link)
{
	struct item_ref ref = { .type = 0 };

	for (int p = PRECEDENCE_COUNT - 1; p >= 0; p--)
		if (gives(box, link, (enum precedence)p, &ref))
			return ref;
	fail_msg("nothing for %u", (unsigned)link);
	return ref;
}

static inline bool is_silent(struct box *box, uint32_t link)
{
	struct item_ref ref;

	for (int p = PRECEDENCE_COUNT - 1; p >= 0; p--)
		if (gives(box, link, (enum precedence)p, &ref))
			return false;
	return true;
}

#endif
