/*
 * carry.c: what goes by hand.
 *
 * Writing a courier file changes nothing here: each row waits where it waited, and leaves by a link that
 * comes up. Only the signed word of who took it, brought back, releases it, and only what that word speaks
 * of: a copy that has moved to another row, or was offered anew since, waits on.
 */
#include "daemon/relay/internal.h"

/* On a row of its own queue a neighbour took all; on a row elsewhere, an addressee what was for itself. */
static bool is_taken(const struct relay *relay, const struct custody *custody, const struct recipient *recipient)
{
	const struct relay_event *event = relay->event;

	return (event->row_link == event->link || recipient->node == event->link)
	    && offer_number(relay, custody, recipient->retry) <= event->retry && recipient->after_epoch <= event->after_epoch;
}

void handle_carried(struct relay *relay)
{
	const struct relay_event *event = relay->event;
	struct custody *custody = event->ref.type == ITEM_TYPE_MESSAGE ? custody_of(relay, &event->ref.id) : NULL;
	bool any = false, is_left = false;

	if (event->ref.type == ITEM_TYPE_RECEIPTS && (event->row_link == event->link || event->row_destination == event->link))
		row_delete(relay, event->row_link, event->ref.precedence, event->ref.counter);
	for (size_t i = 0; custody && i < custody->recipient_count; i++) {
		struct recipient *recipient = &custody->recipients[i];

		if ((recipient->hop != HOP_QUEUED && recipient->hop != HOP_UNROUTED) || recipient->via != event->row_link
		    || recipient->row != event->ref.counter)
			continue;
		if (!is_taken(relay, custody, recipient)) {
			is_left = true;
			continue;
		}
		recipient->hop = HOP_PASSED;
		recipient->via = event->link;
		recipient->row = 0;
		tried_push(recipient, event->link);
		any = true;
	}
	if (!any)
		return;
	if (!is_left)
		row_delete(relay, event->row_link, event->ref.precedence, event->ref.counter);
	custody_changed(relay, custody);
	journal(relay, JOURNAL_PASSED, custody, 0, event->link, LEVEL_NONE, REFUSED_NONE);
	release_if_passed(relay, custody);
}
