/* operate.c: a person's acts on messages held here. */
#include "daemon/relay/internal.h"

#include <string.h>

static enum cpd_error act_on_delivered(struct relay *relay, struct custody *custody, enum level level)
{
	const struct relay_event *event = relay->event;
	enum level merged;

	if (!(custody->flags & CUSTODY_IS_ADDRESSEE) || custody->flags & CUSTODY_IS_STATE)
		return CPD_ERR_STATE;
	merged = level_merge(custody->local_level, level);
	if (merged == custody->local_level)
		return CPD_OK;       /* done before, or gone further already */
	if (custody->inbox && !level_closes(custody->local_level, LEVEL_READ) && level_closes(merged, LEVEL_READ)) {
		relay->counters.inbox_read++;
		relay->counters_dirty = true;
	}
	custody->local_level = merged;
	custody_changed(relay, custody);
	journal(relay, JOURNAL_OPERATED, custody, relay->config.self, 0, merged, event->reason);
	if (custody->flags & CUSTODY_IS_ORIGIN) {
		struct recipient *own = custody_recipient(custody, relay->config.self);
		if (own)
			own->level = merged;
		origin_check(relay, custody);
		return CPD_OK;
	}
	witness(relay, custody, merged, event->reason, event->remark);
	return CPD_OK;
}

static void hold(struct relay *relay, struct custody *custody)
{
	for (size_t i = 0; i < custody->recipient_count; i++) {
		struct recipient *recipient = &custody->recipients[i];
		uint64_t row = recipient->row;

		if (!row || (recipient->hop != HOP_QUEUED && recipient->hop != HOP_UNROUTED))
			continue;
		row_delete(relay, recipient->via, custody_queue(custody), row);
		for (size_t j = i; j < custody->recipient_count; j++)
			if (custody->recipients[j].row == row)
				custody->recipients[j].row = 0;
	}
	custody->flags |= CUSTODY_IS_HELD;
	custody_changed(relay, custody);
	journal(relay, JOURNAL_HELD, custody, 0, 0, LEVEL_NONE, REFUSED_NONE);
}

static void free_again(struct relay *relay, struct custody *custody)
{
	for (size_t i = 0; i < custody->recipient_count; i++)
		if (custody->recipients[i].hop == HOP_QUEUED || custody->recipients[i].hop == HOP_UNROUTED)
			custody->recipients[i].via = UINT32_MAX;
	custody->flags &= ~(unsigned)CUSTODY_IS_HELD;
	custody_changed(relay, custody);
	journal(relay, JOURNAL_FREED, custody, 0, 0, LEVEL_NONE, REFUSED_NONE);
	enqueue_marked(relay, custody);
}

enum cpd_error handle_operate(struct relay *relay)
{
	struct custody *custody = custody_of(relay, &relay->event->id);

	if (!custody)
		return CPD_ERR_NOT_FOUND;
	switch (relay->event->act) {
	case ACT_READ:
		return act_on_delivered(relay, custody, LEVEL_READ);
	case ACT_ACCEPT:
		return act_on_delivered(relay, custody, LEVEL_ACCEPTED);
	case ACT_REFUSE:
		return act_on_delivered(relay, custody, LEVEL_REFUSED);
	case ACT_DONE:
		return act_on_delivered(relay, custody, LEVEL_DONE);
	/* An act asked again, because its answer was lost, is done already. */
	case ACT_WITHDRAW:
		if (custody->flags & CUSTODY_IS_ORIGIN && custody->flags & CUSTODY_IS_WITHDRAWN)
			return CPD_OK;
		if (!(custody->flags & CUSTODY_IS_ORIGIN) || custody->flags & CUSTODY_IS_CLOSED)
			return CPD_ERR_STATE;
		origin_end(relay, custody, LEVEL_WITHDRAWN, CUSTODY_IS_WITHDRAWN, JOURNAL_WITHDRAWN);
		return CPD_OK;
	case ACT_HOLD:
		if (custody->flags & CUSTODY_IS_HELD)
			return CPD_OK;
		if (custody->flags & CUSTODY_IS_CLOSED)
			return CPD_ERR_STATE;
		hold(relay, custody);
		return CPD_OK;
	case ACT_RELEASE:
		if (custody->flags & CUSTODY_IS_HELD)
			free_again(relay, custody);
		return CPD_OK;
	}
	return CPD_ERR_USAGE;
}

/* An id that an origin gave twice, because its disk was put back, stands for other words here than there. */
static bool is_meant(const struct custody *custody, const struct header *newer)
{
	return !newer->has_supersedes_hash || !memcmp(&custody->hash, &newer->supersedes_hash, sizeof(custody->hash));
}

/* A newer message of the same origin takes the place of an older one: what still waits of it stops. */
void supersede(struct relay *relay, const struct header *newer)
{
	struct custody *custody = custody_of(relay, &newer->supersedes);

	if (!custody || custody->flags & CUSTODY_IS_SUPERSEDED || !is_meant(custody, newer))
		return;
	if (custody->flags & CUSTODY_IS_ORIGIN) {
		if (!(custody->flags & CUSTODY_IS_CLOSED))
			origin_end(relay, custody, LEVEL_SUPERSEDED, CUSTODY_IS_SUPERSEDED, JOURNAL_SUPERSEDED);
		return;
	}
	for (size_t i = 0; i < custody->recipient_count; i++)
		if (custody->recipients[i].hop == HOP_QUEUED || custody->recipients[i].hop == HOP_UNROUTED)
			custody->recipients[i].hop = HOP_ENDED;
	rows_tidy(relay, custody);
	custody->flags |= CUSTODY_IS_SUPERSEDED;
	custody_changed(relay, custody);
	journal(relay, JOURNAL_SUPERSEDED, custody, 0, relay->event->link, LEVEL_NONE, REFUSED_NONE);
	release_if_passed(relay, custody);
}
