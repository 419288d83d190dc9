/*
 * node_courier.c: a courier file is taken in.
 *
 * First all of it is proved: signature, seal, form. Then its parts go the way of everything that arrives:
 * the verification pool, the relay, a turn, its commit. Directory updates before what they certify, and
 * each group on disk before the next is looked at. What is to be acknowledged is remembered only when
 * its turn is on disk, and leaves in the next file for that writer. A job that a failed commit ends has
 * lost nothing: the stick is read again, and what is held already is known by its id.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_courier.h"

#define UNDER_WAY_MAX 128
#define UNKNOWN_AWAY_S 86400     /* for presence: a stick that is younger is rare, and old is the safe side */
#define JOB_SHIFT 32
#define JOB_MASK 0x7FFFFFFFu

static void pump(struct node *node);

/* ---------------------------------------------------------------- a job */

static void job_free(struct courier_job *job)
{
	if (!job)
		return;
	courier_write_clear(job);
	free(job->file);
	free(job->items);
	free(job);
}

static struct courier_job *job_begin(struct node *node, node_couriered *done, void *context)
{
	struct courier_job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->report.is_fenced = node_is_fenced(node);
	job->number = ++node->courier->jobs & JOB_MASK;
	job->done = done;
	job->context = context;
	node->courier->job = job;
	return job;
}

void courier_finish(struct node *node, enum cpd_error error, const char *why)
{
	struct courier_job *job = node->courier->job;

	node->courier->job = NULL;
	if (error) {
		free(job->report.file);
		job->report.file = NULL;
		job->report.len = 0;
	}
	job->done(job->context, error, why ? why : error ? cpd_error_text(error) : NULL, &job->report);
	job_free(job);
}

static void refuse(node_couriered *done, void *context, enum cpd_error error, const char *why, struct courier_report *report)
{
	struct courier_report none = { 0 };

	done(context, error, why, report ? report : &none);
}

void courier_drop(struct node *node, const char *why)
{
	if (!node->courier || !node->courier->job)
		return;
	node->courier->job->report.is_dropped = true;
	courier_finish(node, CPD_ERR_STATE, why);
}

void courier_put_down(struct node *node)
{
	if (node->courier && node->courier->job && node->courier->job->is_read)
		courier_drop(node, "another copy of this node is in use, so this one takes nothing in any more; read the stick there");
}

enum cpd_error courier_start(struct node *node)
{
	node->courier = calloc(1, sizeof(*node->courier));
	return node->courier ? CPD_OK : CPD_ERR_NOMEM;
}

void courier_stop(struct node *node)
{
	if (!node->courier)
		return;
	courier_drop(node, "the daemon is stopping; do it again when it is back");
	for (size_t i = 0; i < node->courier->owed_count; i++)
		free(node->courier->owed[i].acks);
	free(node->courier);
	node->courier = NULL;
}

bool node_courier_progress(const struct node *node, size_t *at, size_t *of)
{
	const struct courier_job *job = node->courier->job;

	*at = job ? job->is_read ? job->item_at : job->content.len : 0;
	*of = job ? job->is_read ? job->item_count : job->limit : 0;
	return job != NULL;
}

void courier_announced(struct node *node, struct slice record)
{
	if (record.len > sizeof(node->courier->presence))
		return;
	memcpy(node->courier->presence, record.data, record.len);
	node->courier->presence_len = record.len;
	node->courier->presence_ms = node_ms(node);
}

/* ---------------------------------------------------------------- serials, and what became of them */

bool courier_is_serial(uint64_t serial)
{
	return serial & COURIER_SERIAL;
}

static uint64_t serial_of(const struct courier_job *job, size_t item)
{
	return COURIER_SERIAL | job->number << JOB_SHIFT | item;
}

static bool is_of_job(const struct courier_job *job, uint64_t serial)
{
	return job && (serial >> JOB_SHIFT & JOB_MASK) == job->number;
}

bool courier_is_current(const struct node *node, const struct work *work)
{
	return is_of_job(node->courier->job, work->serial);
}

void courier_settled(struct node *node, uint64_t serial, enum cpd_reason reason)
{
	struct courier_job *job = node->courier->job;
	size_t item = serial & 0xFFFFFFFFu;

	if (!is_of_job(job, serial) || item >= job->item_count)
		return;
	job->items[item].is_settled = true;
	job->items[item].reason = reason;
	/* It may be an event of some link that settles it, by the last leaf of a body. */
	job->turn = node->turn;
}

void courier_decided(struct node *node, const struct work *work, uint64_t turn)
{
	struct courier_job *job = node->courier->job;

	if (!is_of_job(job, work->serial))
		return;                 /* it was put down meanwhile */
	job->turn = turn;
	job->under_way--;
	if (work->type == WORK_ITEM && work->item_type != ITEM_TYPE_LEAF)
		job->checking--;
}

void courier_turned(struct node *node, uint64_t turn)
{
	struct courier_job *job = node->courier->job;

	if (!job)
		return;
	job->committed = turn;
	if (job->is_read)
		pump(node);
	else
		courier_write_go_on(node);
}

enum cpd_error courier_mark(struct node *node)
{
	struct courier_job *job = node->courier->job;
	struct work *work = work_new(WORK_COURIER);

	if (!work)
		return CPD_ERR_NOMEM;
	work->is_courier = true;
	work->serial = serial_of(job, 0);
	job->is_marked = true;
	job->under_way++;
	work_push(node, work);
	return CPD_OK;
}

/* ---------------------------------------------------------------- the ledger */

static struct store_key ledger_key(uint32_t writer)
{
	char name[32];

	snprintf(name, sizeof(name), "courier/%u", (unsigned)writer);
	return store_key_name(name);
}

enum cpd_error courier_ledger_load(struct node *node, uint32_t writer, struct courier_ledger *out)
{
	struct store_key key = ledger_key(writer);
	uint8_t *value;
	size_t len;
	enum cpd_error error = node_load(node, TABLE_META, &key, &value, &len);

	memset(out, 0, sizeof(*out));
	if (error)
		return error == CPD_ERR_NOT_FOUND ? CPD_OK : error;
	if (len >= 8 && (len - 8) % 16 == 0 && (len - 8) / 16 <= COURIER_RANGES) {
		out->epoch = (uint32_t)((uint64_t)time_of(value) >> 32);
		out->directory = (uint32_t)(uint64_t)time_of(value);
		out->count = (len - 8) / 16;
		for (size_t i = 0; i < out->count; i++)
			out->ranges[i] = (struct courier_range){ (uint64_t)time_of(value + 8 + 16 * i), (uint64_t)time_of(value + 16 + 16 * i) };
	}
	free(value);
	return CPD_OK;
}

static bool ledger_has(const struct courier_ledger *ledger, uint64_t number)
{
	for (size_t i = 0; i < ledger->count; i++)
		if (ledger->ranges[i].from <= number && number <= ledger->ranges[i].to)
			return true;
	return false;
}

/* Ascending, and joined where they touch; of too many the two lowest are: then it is said of a file in between that it was read,
 * and it is taken in all the same. */
static void ledger_add(struct courier_ledger *ledger, uint64_t number)
{
	struct courier_range ranges[COURIER_RANGES + 1];
	size_t count = 0, kept = 0;
	bool is_put = false;

	for (size_t i = 0; i < ledger->count; i++) {
		if (!is_put && number < ledger->ranges[i].from) {
			ranges[count++] = (struct courier_range){ number, number };
			is_put = true;
		}
		ranges[count++] = ledger->ranges[i];
	}
	if (!is_put)
		ranges[count++] = (struct courier_range){ number, number };
	for (size_t i = 1; i < count; i++) {
		if (ranges[i].from <= ranges[kept].to + 1)
			ranges[kept].to = ranges[i].to > ranges[kept].to ? ranges[i].to : ranges[kept].to;
		else
			ranges[++kept] = ranges[i];
	}
	count = kept + 1;
	if (count > COURIER_RANGES) {
		ranges[1].from = ranges[0].from;
		memmove(ranges, ranges + 1, --count * sizeof(ranges[0]));
	}
	ledger->count = count;
	memcpy(ledger->ranges, ranges, count * sizeof(ranges[0]));
}

static enum cpd_error ledger_put(struct turn *turn, uint32_t writer, const struct courier_ledger *ledger)
{
	struct store_key key = ledger_key(writer);
	uint8_t value[8 + 16 * COURIER_RANGES];

	memcpy(value, store_value_u64((uint64_t)ledger->epoch << 32 | ledger->directory).bytes, 8);
	for (size_t i = 0; i < ledger->count; i++) {
		memcpy(value + 8 + 16 * i, store_value_u64(ledger->ranges[i].from).bytes, 8);
		memcpy(value + 16 + 16 * i, store_value_u64(ledger->ranges[i].to).bytes, 8);
	}
	return turn_put(turn, TABLE_META, &key, (struct slice){ value, 8 + 16 * ledger->count });
}

enum cpd_error courier_decide(struct node *node, struct turn *turn)
{
	const struct courier_job *job = node->courier->job;
	struct courier_ledger ledger;
	enum cpd_error error;

	if (!job->is_read)
		return courier_write_decide(node, turn);
	error = courier_ledger_load(node, job->head.writer, &ledger);
	if (error || ledger.epoch > job->head.epoch)
		return error;           /* of an epoch that its writer has left: not worth a place */
	if (ledger.epoch < job->head.epoch)
		ledger.count = 0;
	ledger.epoch = job->head.epoch;
	if (job->head.directory > ledger.directory)
		ledger.directory = job->head.directory;
	ledger_add(&ledger, job->head.number);
	return ledger_put(turn, job->head.writer, &ledger);
}

/* ---------------------------------------------------------------- handing the parts over */

static struct work *work_of(struct node *node, enum work_type type, size_t item, struct slice bytes)
{
	const struct courier_job *job = node->courier->job;
	struct work *work = work_new(type);

	if (!work)
		return NULL;
	work->is_courier = true;
	work->link = job->head.writer;
	work->serial = serial_of(job, item);
	work->bytes = malloc(bytes.len ? bytes.len : 1);
	if (!work->bytes) {
		work_free(work);
		return NULL;
	}
	memcpy(work->bytes, bytes.data, bytes.len);
	work->len = bytes.len;
	work->verify = (struct slice){ work->bytes, work->len };
	return work;
}

/* An update's callback may come after its job has ended. */
struct ticket { struct node *node; uint64_t serial; };

static void update_done(void *context, enum cpd_error error, const char *why)
{
	struct ticket *ticket = context;
	struct node *node = ticket->node;
	struct courier_job *job = node->courier ? node->courier->job : NULL;

	if (is_of_job(job, ticket->serial)) {
		job->under_way--;
		job->turn = node->turn;
		job->report.updates += !error;
		if (error && error != CPD_ERR_EXISTS)
			log_line(LOG_WARNING, "courier-update-refused", "node=%u error=\"%s\"", job->head.writer, why);
	}
	free(ticket);
}

static enum cpd_error hand_update(struct node *node, const struct courier_part *part)
{
	struct courier_job *job = node->courier->job;
	struct ticket *ticket = malloc(sizeof(*ticket));
	struct work *work = ticket ? work_of(node, WORK_DIRECTORY, 0, part->bytes) : NULL;

	if (!work) {
		free(ticket);
		return CPD_ERR_NOMEM;
	}
	/* Like one that an administrator imports: it must outlive this job once it is decided. */
	*ticket = (struct ticket){ node, work->serial };
	work->is_courier = false;
	work->link = 0;
	work->kind = VERIFY_DIRECTORY;
	work->precedence = PRECEDENCE_IMMEDIATE;
	work->done = update_done;
	work->context = ticket;
	job->under_way++;
	work_verify(node, work);
	return CPD_OK;
}

/* How long the file was away; false: one of the two clocks is not to be trusted. */
static bool away(struct node *node, uint32_t *seconds)
{
	const struct courier_head *head = &node->courier->job->head;
	struct moment now;
	int64_t away_s;

	node_now(node, &now);
	if (!clock_is_trusted(now.quality) || !clock_is_trusted(head->clock_quality) || !head->time_s)
		return false;
	away_s = now.wall_ms / 1000 - head->time_s;
	*seconds = away_s < 0 ? 0 : away_s < UINT32_MAX ? (uint32_t)away_s : UINT32_MAX;
	return true;
}

static uint32_t add(uint32_t age_s, uint32_t more_s)
{
	return more_s < UINT32_MAX - age_s ? age_s + more_s : UINT32_MAX;
}

static enum cpd_error hand_presence(struct node *node, const struct courier_part *part)
{
	struct work *work = work_of(node, WORK_PRESENCE, 0, part->bytes);
	uint32_t away_s = UNKNOWN_AWAY_S;

	if (!work)
		return CPD_ERR_NOMEM;
	/* Who is silent must not look alive because a stick came. */
	(void)away(node, &away_s);
	work->kind = VERIFY_PRESENCE;
	work->event.presence_age_s = add(part->age_s, away_s);
	node->courier->job->under_way++;
	work_verify(node, work);
	return CPD_OK;
}

/* The row an acknowledgement speaks of, when it waits here still. */
static bool row_load(struct node *node, const struct courier_tag *tag, struct item_ref *ref, uint32_t *destination)
{
	struct store_key key = store_key_queue(tag->link, tag->precedence, tag->counter);
	uint8_t *value;
	bool is_good;
	size_t len;

	if (node_load(node, TABLE_QUEUE, &key, &value, &len))
		return false;
	is_good = !store_value_read_ref((struct slice){ value, len }, ref, destination) && ref->type == tag->type && message_id_equal(&ref->id, &tag->id);
	free(value);
	ref->counter = tag->counter;
	ref->precedence = tag->precedence;
	return is_good;
}

/* Of this node's present epoch: a store that was put back may have given the same row another meaning. Of one that has not lost its
 * disk since, as far as is known here. */
static bool acks_count(struct node *node, const struct courier_part *part)
{
	const struct courier_job *job = node->courier->job;
	struct presence presence;
	int64_t heard_ms;

	return part->writer == node->self && part->epoch == node->epoch && !job->is_of_old
	    && !(relay_presence(node->relay, job->head.writer, &presence, &heard_ms) && presence.epoch > job->head.epoch);
}

static enum cpd_error hand_ack(struct node *node, const struct courier_ack *ack)
{
	struct courier_job *job = node->courier->job;
	bool is_own_queue = ack->tag.link == job->head.writer;
	struct item_ref ref;
	uint32_t destination;
	struct work *work;

	if (!row_load(node, &ack->tag, &ref, &destination))
		return CPD_OK;
	if (ack->reason && (!is_own_queue || reason_is_retryable(ack->reason)))
		return CPD_OK;          /* it waits, and goes again */
	work = work_of(node, WORK_EVENT, 0, (struct slice){ (const uint8_t *)"", 0 });
	if (!work)
		return CPD_ERR_NOMEM;
	work->event = (struct relay_event){ .type = ack->reason ? RELAY_REFUSED : RELAY_CARRIED, .link = job->head.writer, .ref = ref, .reason = ack->reason,
		.row_link = ack->tag.link, .row_destination = destination, .retry = ack->tag.retry, .after_epoch = ack->tag.after_epoch };
	job->report.released += !ack->reason;
	job->under_way++;
	work_push(node, work);
	return CPD_OK;
}

/* The copy that is this node's alone, of an item for each of its recipients. */
static enum cpd_error narrow(struct node *node, struct trailer *trailer)
{
	uint32_t *only = malloc(sizeof(*only));

	if (!only)
		return CPD_ERR_NOMEM;
	free(trailer->recipients);
	*only = node->self;
	trailer->recipients = only;
	trailer->recipient_count = 1;
	trailer->member_bitmap_len = 0;
	return CPD_OK;
}

static bool is_held(struct node *node, const struct message_id *id)
{
	struct custody custody;
	bool is_held = !node_load_custody(node, id, &custody) && custody.kind && !(custody.flags & CUSTODY_IS_PARTIAL);

	custody_clear(&custody);
	return is_held;
}

static enum cpd_error hand_item(struct node *node, const struct courier_part *part)
{
	struct courier_job *job = node->courier->job;
	struct courier_item *item = &job->items[job->item_at];
	bool is_message = part->tag.type == ITEM_TYPE_MESSAGE;
	uint32_t away_s;
	struct work *work = work_of(node, WORK_ITEM, job->item_at, part->bytes);

	if (!work)
		return CPD_ERR_NOMEM;
	item->is_ours = true;
	item->tag = part->tag;
	work->item_type = part->tag.type;
	work->precedence = part->tag.precedence;
	if (is_message) {
		work->kind = VERIFY_MESSAGE;
		work->error = message_item_decode((struct slice){ work->bytes, work->len }, &work->verify, &work->trailer);
		if (!work->error && !part->next && narrow(node, &work->trailer)) {
			work_free(work);
			return CPD_ERR_NOMEM;
		}
		if (away(node, &away_s))
			work->trailer.age_s = add(work->trailer.age_s, away_s);
		job->report.known += is_held(node, &part->tag.id);
	} else if (part->tag.type == ITEM_TYPE_RECEIPTS) {
		work->kind = VERIFY_RECEIPTS;
	}
	job->under_way++;
	job->checking += part->tag.type != ITEM_TYPE_LEAF;
	/* A leaf is checked against the root of its message, when it is decided. */
	if (work->error || part->tag.type == ITEM_TYPE_LEAF) {
		work->is_urgent = work->precedence == PRECEDENCE_FLASH;
		work_push(node, work);
	} else {
		work_verify(node, work);
	}
	return CPD_OK;
}

/* ---------------------------------------------------------------- in order */

/* Of one writer, in one place: what a later file tells of a row takes the place of what an earlier told. */
static struct courier_owed *owed_of(struct courier *courier, uint32_t writer, uint32_t epoch)
{
	struct courier_owed *owed = courier->owed;
	size_t i = 0;

	while (i < courier->owed_count && owed[i].writer != writer)
		i++;
	if (i < courier->owed_count && owed[i].epoch == epoch)
		return &owed[i];
	if (i == courier->owed_count && courier->owed_count == COURIER_WRITERS)
		i = 0;
	if (i < courier->owed_count) {
		free(owed[i].acks);
		memmove(&owed[i], &owed[i + 1], (courier->owed_count - i - 1) * sizeof(owed[0]));
		courier->owed_count--;
	}
	owed[courier->owed_count] = (struct courier_owed){ .writer = writer, .epoch = epoch };
	return &owed[courier->owed_count++];
}

static enum cpd_error owed_put(struct courier_owed *owed, const struct courier_ack *ack)
{
	if (owed->count == LIMIT_COURIER_ITEMS)
		return CPD_OK;          /* it comes again */
	if (owed->count == owed->capacity) {
		size_t capacity = owed->capacity ? owed->capacity * 2 : 64;
		struct courier_ack *acks = realloc(owed->acks, capacity * sizeof(*acks));

		if (!acks)
			return CPD_ERR_NOMEM;
		owed->acks = acks;
		owed->capacity = capacity;
	}
	owed->acks[owed->count++] = *ack;
	return CPD_OK;
}

/* All is on disk: what is to be told to the writer, and to people. */
static enum cpd_error conclude(struct node *node)
{
	struct courier_job *job = node->courier->job;
	struct courier_report *report = &job->report;
	struct courier_owed *owed = owed_of(node->courier, job->head.writer, job->head.epoch);
	enum cpd_error error = CPD_OK;
	uint32_t messages = 0;

	for (size_t i = 0; !error && i < job->item_count; i++) {
		const struct courier_item *item = &job->items[i];
		const struct courier_ack ack = { item->tag, item->reason };
		bool is_later = !item->is_settled || reason_is_retryable(item->reason);

		if (!item->is_ours || item->tag.type == ITEM_TYPE_LEAF)
			continue;
		report->later += is_later;
		report->refused += !is_later && item->reason && item->reason != REFUSED_BELOW_FLOOR;
		if (item->reason && item->reason != REFUSED_BELOW_FLOOR)
			report->reason = item->reason;
		messages += !is_later && !item->reason && item->tag.type == ITEM_TYPE_MESSAGE;
		report->receipts += !is_later && !item->reason && item->tag.type == ITEM_TYPE_RECEIPTS;
		if (!is_later)
			error = owed_put(owed, &ack);
	}
	report->known = report->known < messages ? report->known : messages;
	report->taken = messages - report->known;
	return error;
}

/* One part, or one acknowledgement of it. */
static enum cpd_error hand(struct node *node, const struct courier_part *part, bool *is_whole)
{
	struct courier_job *job = node->courier->job;
	struct courier_ack ack;
	enum cpd_error error = CPD_OK;

	*is_whole = true;
	switch (part->type) {
	case COURIER_UPDATE:
		return hand_update(node, part);
	case COURIER_PRESENCE:
		return hand_presence(node, part);
	case COURIER_ACKS:
		if (!acks_count(node, part))
			return CPD_OK;
		ack = courier_ack_at(part, job->ack_at++);
		*is_whole = job->ack_at == part->ack_count;
		if (*is_whole)
			job->ack_at = 0;
		return hand_ack(node, &ack);
	case COURIER_ITEM:
		if (!part->next || part->next == node->self)
			error = hand_item(node, part);
		else
			job->report.others += part->tag.type != ITEM_TYPE_LEAF;
		job->item_at += !error;
		return error;
	}
	return CPD_OK;
}

/* Of an item for each of its recipients that is not for this node at all: left, like another's. */
static bool is_for_nobody_here(const struct node *node, const struct courier_part *part)
{
	struct trailer trailer;
	struct slice envelope;
	bool is_here = false;

	if (part->type != COURIER_ITEM || part->next || part->tag.type != ITEM_TYPE_MESSAGE)
		return false;
	trailer_init(&trailer);
	if (message_item_decode(part->bytes, &envelope, &trailer))
		return false;           /* refused when it is decided */
	for (size_t i = 0; i < trailer.recipient_count; i++)
		is_here |= trailer.recipients[i] == node->self;
	trailer_clear(&trailer);
	return !is_here;
}

/* What a fenced copy took nobody would read, and its receipt would keep it from the copy in use: that one reads the stick.
 * A word that releases what went from here is for this copy alone. */
static bool is_for_the_other_copy(const struct node *node, const struct courier_part *part)
{
	return node_is_fenced(node) && (part->type == COURIER_ITEM || part->type == COURIER_PRESENCE);
}

static bool is_settled(const struct courier_job *job)
{
	return !job->under_way && job->turn <= job->committed;
}

/* False: it waits. */
static bool pump_one(struct node *node, enum cpd_error *error)
{
	struct courier_job *job = node->courier->job;
	struct slice rest = job->rest;
	struct courier_part part;
	bool is_whole = true;

	if (!courier_next(&rest, &part)) {
		if (is_settled(job) && !job->is_marked)
			*error = courier_mark(node);
		else if (is_settled(job))
			job->is_over = true;
		return false;
	}
	if (part.type != job->group && !is_settled(job))
		return false;
	if (job->under_way >= UNDER_WAY_MAX || (job->checking && part.type == COURIER_ITEM && part.tag.type == ITEM_TYPE_LEAF))
		return false;
	job->group = part.type;
	if (is_for_the_other_copy(node, &part) || is_for_nobody_here(node, &part)) {
		job->report.others += part.type == COURIER_ITEM && part.tag.type != ITEM_TYPE_LEAF;
		job->item_at += part.type == COURIER_ITEM;
	} else {
		*error = hand(node, &part, &is_whole);
	}
	if (is_whole && !*error)
		job->rest = rest;
	return !*error;
}

static void pump(struct node *node)
{
	struct courier_job *job = node->courier->job;
	enum cpd_error error = CPD_OK;

	while (!node->rebuild_why && pump_one(node, &error))
		;
	if (!error && job->is_over)
		error = conclude(node);
	if (error) {
		courier_finish(node, error, "there was no memory to take it all in; what was taken is safe: read the stick again");
	} else if (job->is_over) {
		log_line(LOG_INFO, "courier-read", "node=%u file=%llu taken=%u known=%u receipts=%u refused=%u later=%u released=%u others=%u", job->head.writer,
		    (unsigned long long)job->head.number, job->report.taken, job->report.known, job->report.receipts, job->report.refused, job->report.later,
		    job->report.released, job->report.others);
		courier_finish(node, CPD_OK, NULL);
	}
}

/* ---------------------------------------------------------------- beginning */

static const char *why_not(enum cpd_error error, const struct courier_head *head, char text[256])
{
	switch (error) {
	case CPD_ERR_MALFORMED:
		return "it is no courier file, or its writer made it wrong: nothing was taken from it";
	case CPD_ERR_VERSION:
		return "it was written by a later cpd: install that version here; nothing was taken from it";
	case CPD_ERR_DAMAGED: case CPD_ERR_TOO_LARGE: case CPD_ERR_RANGE:
		return "it is half, or was changed: nothing was taken from it. Write it again where it came from";
	case CPD_ERR_BAD_SIGNATURE:
		return "it was changed on its way, or is not of who it says: nothing was taken from it. Write it again where it came from";
	case CPD_ERR_STATE:
		return "this node wrote it itself: it is for others";
	case CPD_ERR_NOT_FOUND:
		return "it is for other nodes: nothing was taken from it; carry it on";
	case CPD_ERR_CONFLICT:
		return "it is sealed to a key that this node has no more: nothing was taken from it. Bring the writer the newest directory update, and let it write again";
	case CPD_ERR_UNKNOWN_SIGNER:
		snprintf(text, 256, "no certificate of node %u, key %u, is held here: nothing was taken. Import the region's newest directory update (cpctl directory import), then read the stick again",
		    head->writer, head->key_number);
		return text;
	case CPD_ERR_REVOKED:
		snprintf(text, 256, "the key of node %u that signed it is revoked: nothing was taken. Do not trust this stick; tell the region", head->writer);
		return text;
	default:
		return cpd_error_text(error);
	}
}

void node_courier_read(struct node *node, uint8_t *take_file, size_t len, bool is_more, node_couriered *done, void *context)
{
	struct courier_job *job = node->courier->job || !node->relay || node->rebuild_why ? NULL : job_begin(node, done, context);
	struct courier_ledger ledger;
	struct courier_file file;
	char text[256];
	enum cpd_error error;

	if (!job) {
		free(take_file);
		refuse(done, context, CPD_ERR_BUSY, "another stick is being read or written here; wait until that is done", NULL);
		return;
	}
	job->is_read = job->report.is_read = true;
	job->file = take_file;
	job->len = len;
	error = courier_open(node->identity, node->directory, take_file, len, &file, &job->rest, &job->item_count);
	job->head = file.head;
	job->report.writer = file.head.writer;
	job->report.epoch = file.head.epoch;
	job->report.number = file.head.number;
	if (error) {
		log_line(LOG_WARNING, "courier-refused", "node=%u file=%llu error=\"%s\"", file.head.writer, (unsigned long long)file.head.number, cpd_error_text(error));
		courier_finish(node, error, why_not(error, &file.head, text));
		return;
	}
	job->items = calloc(job->item_count + 1, sizeof(*job->items));
	error = job->items ? courier_ledger_load(node, job->head.writer, &ledger) : CPD_ERR_NOMEM;
	if (error) {
		courier_finish(node, error, NULL);
		return;
	}
	job->is_of_old = ledger.epoch > job->head.epoch;
	job->report.was_read = ledger.epoch == job->head.epoch && ledger_has(&ledger, job->head.number);
	if (!is_more)
		owed_of(node->courier, job->head.writer, job->head.epoch)->count = 0;
	pump(node);
}

void node_courier_write(struct node *node, uint32_t to, size_t limit, node_couriered *done, void *context)
{
	struct courier_job *job = node->courier->job || !node->relay || node->rebuild_why ? NULL : job_begin(node, done, context);
	enum cpd_error error;

	if (!job) {
		refuse(done, context, CPD_ERR_BUSY, "another stick is being read or written here; wait until that is done", NULL);
		return;
	}
	job->report.to = to;
	job->is_region = !to;
	job->limit = limit;
	error = courier_mark(node);
	if (error)
		courier_finish(node, error, NULL);
}
