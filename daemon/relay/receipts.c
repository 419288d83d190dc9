/* receipts.c: receipts arrive, are passed on towards the origin of their subjects, or are made here. */
#include "daemon/relay/internal.h"

#include <string.h>

/* A record that comes again is passed on again, since what was passed may have burnt with a neighbour,
 * but not more often than this, so that a ring of relays cannot keep it going. */
#define FORWARD_AGAIN_MS 30000

static struct message_id record_key(const struct receipts *receipts)
{
	return (struct message_id){ receipts->witness, receipts->epoch, receipts->counter };
}

static void record_forward(struct relay *relay, const struct message_id *record, uint32_t destination,
    enum precedence precedence, struct slice bytes, uint32_t came_from)
{
	struct item_ref ref = { .type = ITEM_TYPE_RECEIPTS, .precedence = precedence, .id = *record };
	struct custody came = { .from = came_from, .since = relay->now };
	struct relay_effect *effect = effect_add(relay, EFFECT_PUT_RECEIPTS);

	effect->id = *record;
	effect->at_ms = relay->now.custody_ms;
	effect->bytes = bytes_keep(relay, bytes);
	row_put(relay, route_pick(relay, destination, &came, NULL), &ref, destination);
}

/* A re-offer of what its addressee has signed for: the stored record goes back in place of a forward. */
void receipts_answer(struct relay *relay, const struct custody *custody, const struct recipient *recipient)
{
	struct message_id record = { recipient->node, recipient->witness_epoch, recipient->witness_counter };

	journal(relay, JOURNAL_DUPLICATE, custody, recipient->node, relay->event->link, recipient->level, REFUSED_NONE);
	if (custody->flags & CUSTODY_IS_ORIGIN)
		return;          /* our own offer has come round: whom it would be told to is us */
	record_forward(relay, &record, custody->id.origin, custody_queue(custody), (struct slice){ 0 }, 0);
}

/* What an addressee has signed ends our own waiting for it. */
static void copy_is_needless(struct custody *custody, struct recipient *recipient)
{
	if (recipient->hop != HOP_QUEUED && recipient->hop != HOP_UNROUTED)
		return;
	if (recipient->witness_epoch < recipient->after_epoch)
		return;
	/* The origin offers again until the closing level is signed; a relay passes on what it was given. */
	if (level_closes(recipient->level, custody->flags & CUSTODY_IS_ORIGIN ? LEVEL_DELIVERED : custody->closing_level))
		recipient->hop = HOP_ENDED;
}

static void apply_addressee(struct relay *relay, struct custody *custody, const struct receipts *receipts, const struct receipt_entry *entry)
{
	bool is_origin = custody->flags & CUSTODY_IS_ORIGIN;
	struct recipient *recipient = custody_recipient(custody, receipts->witness);
	enum level merged;

	if (!recipient && !is_origin) {
		recipient = custody_add_recipient(custody, receipts->witness);
		if (!recipient && custody->recipient_count < LIMIT_RECIPIENTS)
			relay->failed = true;
	}
	if (!recipient)
		return;          /* somebody the message was never for */
	merged = level_merge(recipient->level, entry->level);
	if (receipts->epoch < recipient->witness_epoch && merged == recipient->level)
		return;
	if (merged == entry->level || receipts->epoch > recipient->witness_epoch) {
		recipient->witness_epoch = receipts->epoch > recipient->witness_epoch ? receipts->epoch : recipient->witness_epoch;
		if (recipient->witness_epoch == receipts->epoch)
			recipient->witness_counter = receipts->counter;
	}
	if (merged != recipient->level) {
		recipient->level = merged;
		recipient->level_s = receipts->time_s;
		recipient->reason = entry->reason;
		journal(relay, JOURNAL_RECEIPT, custody, receipts->witness, relay->event->link, merged, entry->reason);
	}
	copy_is_needless(custody, recipient);
	custody_changed(relay, custody);
}

/* A relay's word is advice: it tells the author, and changes a level only where it is plain whom it means. */
static void apply_advice(struct relay *relay, struct custody *custody, const struct receipts *receipts, const struct receipt_entry *entry)
{
	struct recipient *recipient;

	if (!(custody->flags & CUSTODY_IS_ORIGIN))
		return;
	journal(relay, entry->level == LEVEL_EXPIRED ? JOURNAL_EXPIRED : JOURNAL_UNDELIVERABLE, custody, receipts->witness,
	    relay->event->link, entry->level, entry->reason);
	if (entry->reason == REFUSED_ID_CONFLICT && quota_has(relay, receipts->witness, QUOTA_CONFLICTS, 1))
		effect_add(relay, EFFECT_REISSUE)->id = custody->id;
	/* An addressee that refuses by its role speaks of itself; should it speak of another, its DELIVERED corrects it. */
	recipient = entry->reason == REFUSED_ROLE ? custody_recipient(custody, receipts->witness) : NULL;
	if (!recipient && custody->recipient_count == 1)
		recipient = &custody->recipients[0];
	if (recipient && entry->level == LEVEL_UNDELIVERABLE) {
		recipient->level = level_merge(recipient->level, entry->level);
		recipient->reason = entry->reason;
		custody_changed(relay, custody);
	}
}

static void apply(struct relay *relay, const struct receipts *receipts, const struct receipt_entry *entry, enum precedence *precedence)
{
	struct custody *custody = custody_of(relay, &entry->subject);
	bool is_own = entry->subject.origin == relay->config.self;

	if (!custody) {
		if (is_own) {
			/* Signed for something we do not remember having said. */
			const bool is_ahead = entry->subject.epoch > relay->config.epoch
			    || (entry->subject.epoch == relay->config.epoch && entry->subject.sequence >= relay->counters.next_sequence);

			/* No disk was ever put back so far; who says so wants our epochs used up. */
			if (is_ahead && entry->subject.epoch - relay->config.epoch <= LIMIT_EPOCH_LEAP && quota_has(relay, receipts->witness, QUOTA_EPOCHS, 1))
				effect_add(relay, EFFECT_RAISE_EPOCH)->epoch = entry->subject.epoch + 1;
			return;
		}
		if (!level_is_addressees(entry->level)
		    || entry->subject.sequence < floor_of(relay, entry->subject.origin, entry->subject.epoch))
			return;
		/* Any certified node may sign for what it likes, also for what nobody wrote. Without a record nothing is lost: the
		 * message is passed on when it comes, and its addressee answers. */
		if (!quota_has(relay, receipts->witness, QUOTA_FOREKNOWN, 1))
			return;
		custody = custody_make(relay, &entry->subject);
		if (!custody)
			return;
		custody->hash = entry->hash;
		custody->precedence = *precedence;
		custody->closing_level = LEVEL_DONE;   /* not known before the message comes: take the strictest */
		custody->since = relay->now;
	}
	if (memcmp(&custody->hash, &entry->hash, sizeof(entry->hash))) {
		journal(relay, JOURNAL_ID_CONFLICT, custody, receipts->witness, relay->event->link, entry->level, REFUSED_ID_CONFLICT);
		return;
	}
	if (custody_queue(custody) > *precedence)
		*precedence = custody_queue(custody);
	if (level_is_addressees(entry->level))
		apply_addressee(relay, custody, receipts, entry);
	else
		apply_advice(relay, custody, receipts, entry);
	rows_tidy(relay, custody);
	if (custody->flags & CUSTODY_IS_ORIGIN) {
		origin_check(relay, custody);
		origin_timer(relay, custody);
	} else {
		release_if_passed(relay, custody);
	}
}

/* Signed with a revoked key from its last epoch on: whoever has the stolen machine may have written it. It is passed on,
 * for others to judge, and told; nobody's wait ends by it. What it spoke of truly is offered again to who takes the
 * machine's place: late, never lost. */
static void doubt(struct relay *relay, const struct receipts *receipts)
{
	for (size_t i = 0; i < receipts->count; i++) {
		struct custody *custody = custody_of(relay, &receipts->entries[i].subject);

		if (custody)
			journal(relay, JOURNAL_RECEIPT_DOUBTED, custody, receipts->witness, relay->event->link, receipts->entries[i].level, REFUSED_REVOKED);
	}
}

void handle_receipts(struct relay *relay)
{
	const struct verified_receipts *verified = relay->event->receipts;
	const struct receipts *receipts = &verified->receipts;
	struct message_id record = record_key(receipts);
	enum precedence precedence = relay->event->precedence;
	bool is_own = relay->event->link == 0;

	if (is_own) {
		relay->counters.receipt_counter = receipts->counter + 1;
		relay->counters_dirty = true;
	} else if (receipts->witness == relay->config.self) {
		settle(relay, REFUSED_NONE);            /* our own word, come round */
		return;
	} else if (verified->is_suspect) {
		doubt(relay, receipts);
	} else {
		for (size_t i = 0; i < receipts->count; i++)
			apply(relay, receipts, &receipts->entries[i], &precedence);
	}
	if (receipts->origin != relay->config.self
	    && !(relay->facts->holds_receipts
	        && relay->now.custody_ms - relay->facts->receipts_forwarded_ms < FORWARD_AGAIN_MS))
		record_forward(relay, &record, receipts->origin, precedence, verified->bytes, relay->event->link);
	settle(relay, REFUSED_NONE);
}
