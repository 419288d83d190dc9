/*
 * node_courier_write.c: a courier file is made: what is owed to one node, or to every neighbour.
 *
 * It reads and releases nothing: each row waits on, and leaves by a link that comes up. A piece of the rows
 * is looked at in each pass of the loop. Strictly by precedence: where a row does not fit, the file ends.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_courier.h"

#define ROWS_AT_ONCE 64
/* Directory updates take at most this part of the limit, presence that part. */
#define UPDATES_SHARE 2
#define PRESENCE_SHARE 8
/* What a leaf's item and part add to the leaf, at the most. */
#define LEAF_EXTRA (LIMIT_TREE_DEPTH * 34 + 64 + COURIER_PART_HEAD + 4 + COURIER_TAG_LEN)

void courier_write_clear(struct courier_job *job)
{
	if (job->event)
		event_free(job->event);
	send_forget_tree(&job->scratch);
	courier_writer_clear(&job->content);
	free(job->targets);
	free(job->readers);
}

/* ---------------------------------------------------------------- its number */

/* On disk before a byte leaves: no number is given twice. One job at a time, so that the row is not under way. */
enum cpd_error courier_write_decide(struct node *node, struct turn *turn)
{
	const struct relay_event announce = { .type = RELAY_ANNOUNCE };
	struct courier_job *job = node->courier->job;
	struct store_key key = store_key_name("courier_number");
	struct store_value value;
	struct moment now;
	uint64_t number;
	enum cpd_error error = load_number(node, "courier_number", &number);

	node_now(node, &now);
	if (!error)
		error = turn_event(node, &announce, &now);
	if (error)
		return error;
	job->own_number = number + 1;
	value = store_value_u64(job->own_number);
	return turn_put(turn, TABLE_META, &key, (struct slice){ value.bytes, value.len });
}

/* ---------------------------------------------------------------- for whom */

/* The certificate a file can be sealed for now; NULL: none, or it is revoked. */
static const struct certificate *sealable(const struct node *node, uint32_t number)
{
	const struct certificate *certificate = number && number != node->self ? directory_certificate(node->directory, number) : NULL;

	return certificate && !directory_revocation(node->directory, number, certificate->key_number) ? certificate : NULL;
}

static bool is_reader(const struct courier_job *job, uint32_t node, size_t *at)
{
	*at = 0;
	while (*at < job->reader_count && job->readers[*at] < node)
		++*at;
	return *at < job->reader_count && job->readers[*at] == node;
}

/* Ascending. FULL: there are too many. */
static enum cpd_error reader_add(struct courier_job *job, uint32_t node)
{
	size_t at;

	if (is_reader(job, node, &at))
		return CPD_OK;
	if (job->reader_count == LIMIT_COURIER_READERS)
		return CPD_ERR_FULL;
	memmove(&job->readers[at + 1], &job->readers[at], (job->reader_count - at) * sizeof(job->readers[0]));
	job->readers[at] = node;
	job->reader_count++;
	return CPD_OK;
}

static uint32_t directory_of(struct node *node, uint32_t target)
{
	const struct node_link *link = links_find(node, target);
	struct courier_ledger ledger;
	struct link_figures figures = { .peer_directory = 0 };

	if (link)
		link_figures(link->link, &figures);
	if (courier_ledger_load(node, target, &ledger))
		return figures.peer_directory;
	return ledger.directory > figures.peer_directory ? ledger.directory : figures.peer_directory;
}

static enum cpd_error choose(struct node *node, const char **why)
{
	struct courier_job *job = node->courier->job;
	size_t most = job->is_region ? node->link_count : 1;
	enum cpd_error error = CPD_OK;

	job->targets = calloc(most + 1, sizeof(*job->targets));
	job->readers = calloc(LIMIT_COURIER_READERS, sizeof(*job->readers));
	if (!job->targets || !job->readers)
		return CPD_ERR_NOMEM;
	job->directory_from = UINT32_MAX;
	for (size_t i = 0; !error && i < most; i++) {
		uint32_t number = job->is_region ? node->links[i]->neighbour : job->report.to, held;

		if (!sealable(node, number)) {
			if (job->is_region)
				continue;
			*why = directory_certificate(node->directory, number) ? "that is this node itself, or its key is revoked: nothing is written for it"
			    : "no certificate of that node is held: `cpctl directory` lists those that are; import the newest update";
			return directory_certificate(node->directory, number) ? CPD_ERR_REVOKED : CPD_ERR_NOT_FOUND;
		}
		job->targets[job->target_count++] = number;
		held = directory_of(node, number);
		if (held < job->directory_from)
			job->directory_from = held;
		error = reader_add(job, number);
	}
	if (job->directory_from == UINT32_MAX)
		job->directory_from = 0;
	return error == CPD_ERR_FULL ? CPD_OK : error;
}

/* ---------------------------------------------------------------- before the rows */

/* What a part of this length may not go beyond, with `more` readers added. */
static bool has_room(const struct courier_job *job, size_t part, size_t more)
{
	return courier_overhead(job->reader_count + more) + job->content.len + COURIER_PART_HEAD + part <= job->limit;
}

/* True: there was room for it, or the store has it no more. */
static bool put_update(struct node *node, uint32_t number, enum cpd_error *error)
{
	struct courier_job *job = node->courier->job;
	struct store_key key = store_key_number(number);
	uint8_t *value;
	size_t len;

	if (node_load(node, TABLE_DIRECTORY, &key, &value, &len))
		return true;
	if (!has_room(job, len + job->limit - job->limit / UPDATES_SHARE, 0)) {
		free(value);
		return false;                   /* the next file goes on from what they will hold then */
	}
	*error = courier_put_update(&job->content, (struct slice){ value, len });
	free(value);
	job->report.updates_out += !*error;
	return true;
}

/* Revocations first, those above a gap too, as on a link (node_directory.c); then the others in order. */
static enum cpd_error put_updates(struct node *node)
{
	const uint32_t from = node->courier->job->directory_from, reach = from + LIMIT_DIRECTORY_AHEAD;
	enum cpd_error error = CPD_OK;
	uint32_t number = from;

	while (!error && (number = directory_revoking(node->directory, number)) && number <= reach)
		if (!put_update(node, number, &error))
			return error;
	for (number = from + 1; !error && number <= directory_version(node->directory); number++) {
		bool has_gone = number <= reach && directory_revoking(node->directory, number - 1) == number;

		if (!has_gone && !put_update(node, number, &error))
			break;
	}
	return error;
}

struct presence_scan { struct courier_job *job; int64_t now_ms; size_t until; enum cpd_error error; };

static bool presence_visit(void *context, const struct store_key *key, struct slice value)
{
	struct presence_scan *scan = context;
	int64_t age_ms = value.len > 8 ? scan->now_ms - time_of(value.data) : 0;

	(void)key;
	if (value.len <= 8 || value.len - 8 > LIMIT_PRESENCE)
		return true;
	if (scan->job->content.len + value.len > scan->until)
		return false;
	scan->error = courier_put_presence(&scan->job->content, (struct slice){ value.data + 8, value.len - 8 }, age_ms > 0 ? (uint32_t)(age_ms / 1000) : 0);
	return !scan->error;
}

/* The node's own, and what it knows of others: whose epoch is new has lost its disk, and every origin must hear of it. */
static enum cpd_error put_presence(struct node *node)
{
	struct courier_job *job = node->courier->job;
	const struct courier *courier = node->courier;
	struct presence_scan scan = { job, node_ms(node), job->content.len + job->limit / PRESENCE_SHARE, CPD_OK };
	struct store_key from = store_key_number(0);
	size_t damaged = 0;
	enum cpd_error error = CPD_OK;

	/* A fenced copy does not speak of itself, not even with what it signed before. */
	if (!node_is_fenced(node) && courier->presence_len && courier->presence_len <= LIMIT_PRESENCE)
		error = courier_put_presence(&job->content, (struct slice){ courier->presence, courier->presence_len },
		    (uint32_t)((scan.now_ms - courier->presence_ms) / 1000));
	if (!error)
		error = store_scan(node->store, TABLE_PRESENCE, &from, 0, false, LIMIT_COURIER_READERS, presence_visit, &scan, &damaged);
	return error && error != CPD_ERR_NOT_FOUND ? error : scan.error;
}

static enum cpd_error put_acks(struct node *node)
{
	struct courier_job *job = node->courier->job;
	enum cpd_error error = CPD_OK;

	for (size_t i = 0; !error && i < node->courier->owed_count; i++) {
		const struct courier_owed *owed = &node->courier->owed[i];
		size_t at;

		if (!owed->count || !is_reader(job, owed->writer, &at))
			continue;
		for (at = 0; !error && at < owed->count;) {
			size_t count = owed->count - at;

			while (count && !has_room(job, 8 + count * (1 + COURIER_TAG_LEN), 0))
				count /= 2;
			if (!count)
				break;
			error = courier_put_acks(&job->content, owed->writer, owed->epoch, owed->acks + at, count);
			job->report.acks += error ? 0 : (uint32_t)count;
			at += count;
		}
	}
	return error;
}

/* ---------------------------------------------------------------- rows */

/* What one row comes to. only: a recipient alone, 0: the whole row. */
struct offer_out { struct relay_row row; uint32_t link, only, next; struct custody custody; struct trailer trailer; };

static enum cpd_error put_leaves(struct node *node, const struct offer_out *offer)
{
	struct courier_job *job = node->courier->job;
	uint32_t count = tree_leaf_count(offer->custody.large_length);
	enum cpd_error error = CPD_OK;

	for (uint32_t i = 0; !error && i < count; i++) {
		struct item_ref ref = { .type = ITEM_TYPE_LEAF, .precedence = offer->row.ref.precedence, .id = offer->row.ref.id, .index = i };
		const struct courier_tag tag = { .type = ITEM_TYPE_LEAF, .precedence = ref.precedence, .id = ref.id };
		size_t len;

		error = send_build_leaf(node, &job->scratch, &ref, node->item, &len);
		if (!error)
			error = courier_put_item(&job->content, offer->next, &tag, (struct slice){ node->item, len });
	}
	send_forget_tree(&job->scratch);
	return error;
}

/* Readers that this offer adds to the file. Those that cannot read it are left out of its trailer only by being revoked: then
 * their copy waits here. FULL: there are too many. */
static enum cpd_error add_readers(const struct node *node, struct courier_job *job, const struct offer_out *offer)
{
	enum cpd_error error = CPD_OK;

	if (offer->next)
		return reader_add(job, offer->next);
	for (size_t i = 0; !error && i < offer->trailer.recipient_count; i++)
		if (sealable(node, offer->trailer.recipients[i]))
			error = reader_add(job, offer->trailer.recipients[i]);
	return error;
}

static size_t size_of_leaves(const struct custody *custody)
{
	return custody->large_length ? (size_t)tree_leaf_count(custody->large_length) * LEAF_EXTRA + custody->large_length : 0;
}

/* FULL: it does not fit behind what is there. TOO_LARGE: what takes more than half a file does not hold up the others. */
static enum cpd_error put_item(struct node *node, const struct offer_out *offer, size_t len)
{
	struct courier_job *job = node->courier->job;
	const struct courier_tag tag = { .link = offer->link, .counter = offer->row.ref.counter, .type = offer->row.ref.type,
		.precedence = offer->row.ref.precedence, .id = offer->row.ref.id, .retry = offer->trailer.retry, .after_epoch = offer->trailer.after_epoch };
	size_t part = 4 + COURIER_TAG_LEN + len + size_of_leaves(&offer->custody), more = offer->next ? 1 : offer->trailer.recipient_count;
	enum cpd_error error;

	if (!has_room(job, part, more))
		return courier_overhead(job->reader_count + more) + part + COURIER_PART_HEAD > job->limit / 2 ? CPD_ERR_TOO_LARGE : CPD_ERR_FULL;
	error = add_readers(node, job, offer);
	if (!error)
		error = courier_put_item(&job->content, offer->next, &tag, (struct slice){ node->item, len });
	if (!error && offer->custody.large_length)
		error = put_leaves(node, offer);
	if (!error && tag.type == ITEM_TYPE_MESSAGE)
		job->report.messages++;
	else if (!error)
		job->report.receipts_out++;
	return error;
}

/* Is this recipient on the row? */
static bool row_serves(const struct offer_out *offer, uint32_t node)
{
	const struct recipient *recipient = custody_recipient(&offer->custody, node);

	return recipient && (recipient->hop == HOP_QUEUED || recipient->hop == HOP_UNROUTED) && recipient->via == offer->link
	    && recipient->row == offer->row.ref.counter;
}

static enum cpd_error put_message(struct node *node, struct offer_out *offer)
{
	struct courier_job *job = node->courier->job;
	struct moment now;
	size_t len = 0;
	enum cpd_error error = node_load_custody(node, &offer->row.ref.id, &offer->custody);

	node_now(node, &now);
	/* Behind the queues of those the file is for: to an addressee itself what is for it. */
	if (!error && !offer->next && !job->is_region) {
		offer->only = offer->next = job->report.to;
		if (!row_serves(offer, offer->only))
			error = CPD_ERR_NOT_FOUND;
	}
	if (!error)
		error = relay_carry_trailer(node->relay, &offer->custody, &offer->row.ref, offer->link, offer->only, &now, &offer->trailer);
	if (!error)
		error = send_build_message(node, &offer->row.ref.id, &offer->trailer, node->item, &len);
	return error ? error : put_item(node, offer, len);
}

static enum cpd_error put_receipts(struct node *node, struct offer_out *offer)
{
	const struct courier_job *job = node->courier->job;
	size_t len = 0;
	enum cpd_error error;

	if (!offer->next && (job->is_region ? !sealable(node, offer->row.destination) : offer->row.destination != job->report.to))
		return CPD_ERR_NOT_FOUND;
	if (!offer->next)
		offer->next = offer->row.destination;
	error = send_build_receipts(node, &offer->row.ref, node->item, &len);
	return error ? error : put_item(node, offer, len);
}

/* A row that can go with nobody, or that serves nobody any more, is passed over. */
static enum cpd_error put_row(struct node *node, uint32_t link, uint32_t next, const struct relay_row *row)
{
	struct courier_job *job = node->courier->job;
	struct offer_out offer = { .row = *row, .link = link, .next = next };
	char id[MESSAGE_ID_TEXT_MAX];
	enum cpd_error error;

	custody_init(&offer.custody);
	trailer_init(&offer.trailer);
	error = row->ref.type == ITEM_TYPE_MESSAGE ? put_message(node, &offer) : put_receipts(node, &offer);
	trailer_clear(&offer.trailer);
	custody_clear(&offer.custody);
	if (error == CPD_ERR_FULL) {
		job->is_full = true;
		return CPD_OK;
	}
	if (error == CPD_ERR_TOO_LARGE || error == CPD_ERR_DAMAGED) {
		job->report.left++;
		log_line(LOG_WARNING, "courier-left", "msg=%s error=\"%s\"", message_id_format(&row->ref.id, id),
		    error == CPD_ERR_TOO_LARGE ? "it is too large for the rest of a file of this limit; it waits" : cpd_error_text(error));
	}
	return error == CPD_ERR_NOMEM || error == CPD_ERR_IO ? error : CPD_OK;
}

struct rows { struct relay_row rows[ROWS_AT_ONCE]; size_t count; enum precedence precedence; };

static bool row_visit(void *context, const struct store_key *key, struct slice value)
{
	struct rows *rows = context;
	struct relay_row *row = &rows->rows[rows->count];
	enum precedence precedence;
	uint32_t link;

	if (store_value_read_ref(value, &row->ref, &row->destination) || store_key_read_queue(key, &link, &precedence, &row->ref.counter))
		return true;
	row->ref.precedence = precedence;
	return ++rows->count < ROWS_AT_ONCE;
}

static bool is_target(const struct courier_job *job, uint32_t link)
{
	for (size_t i = 0; i < job->target_count; i++)
		if (job->targets[i] == link)
			return true;
	return false;
}

/* The next queue of the others, from at->link on; false: none. */
static bool other_queue(struct node *node, struct courier_job *job)
{
	while (node_queue_next(node, job->at.link, &job->at.link)) {
		if (!is_target(job, job->at.link))
			return true;
		if (job->at.link == UINT32_MAX)
			return false;
		job->at.link++;
	}
	return false;
}

static void next_precedence(struct courier_job *job)
{
	job->at.target = 0;
	job->at.link = 0;
	job->at.counter = 0;
	if (job->is_full || job->at.precedence-- == PRECEDENCE_ROUTINE)
		job->at.group = COURIER_PUT_END;
}

/* A piece of one queue. */
static enum cpd_error put_rows(struct node *node)
{
	struct courier_job *job = node->courier->job;
	struct courier_cursor *at = &job->at;
	bool is_own = at->target < job->target_count;
	struct rows *rows;
	struct store_key from;
	uint32_t link;
	size_t damaged = 0;
	enum cpd_error error;

	if (!is_own && !other_queue(node, job)) {
		next_precedence(job);
		return CPD_OK;
	}
	link = is_own ? job->targets[at->target] : at->link;
	rows = calloc(1, sizeof(*rows));
	if (!rows)
		return CPD_ERR_NOMEM;
	from = store_key_queue(link, (enum precedence)at->precedence, at->counter);
	error = store_scan(node->store, TABLE_QUEUE, &from, from.len - 8, true, SIZE_MAX, row_visit, rows, &damaged);
	if (error == CPD_ERR_NOT_FOUND)
		error = CPD_OK;
	for (size_t i = 0; !error && !job->is_full && i < rows->count; i++) {
		error = put_row(node, link, is_own ? link : 0, &rows->rows[i]);
		at->counter = rows->rows[i].ref.counter;
	}
	if (job->is_full) {
		next_precedence(job);
	} else if (rows->count < ROWS_AT_ONCE) {
		at->counter = 0;
		if (is_own)
			at->target++;
		else if (at->link++ == UINT32_MAX)
			next_precedence(job);
	}
	free(rows);
	return error;
}

/* ---------------------------------------------------------------- sealing */

/* How many rows wait for those the file is for, and did not go with it. */
static void count_left(struct node *node)
{
	struct courier_job *job = node->courier->job;
	struct courier_report *report = &job->report;
	uint64_t waits = 0, went = (uint64_t)report->messages + report->receipts_out;

	for (size_t i = 0; i < job->target_count; i++) {
		struct store_depth depth;

		if (!store_depth_next(node->store, job->targets[i], &depth) || depth.link != job->targets[i])
			continue;
		for (int p = 0; p < PRECEDENCE_COUNT; p++)
			waits += depth.rows[p];
	}
	if (job->is_full && waits > went)
		report->left = waits - went;
	else if (job->is_full && !report->left)
		report->left = 1;
}

static enum cpd_error seal(struct node *node, const char **why)
{
	struct courier_job *job = node->courier->job;
	const struct certificate **readers = calloc(job->reader_count + 1, sizeof(const struct certificate *));
	struct courier_head head = { .epoch = node->epoch, .number = job->own_number, .directory = directory_version(node->directory) };
	struct moment now;
	size_t count = 0;
	enum cpd_error error;

	if (!readers)
		return CPD_ERR_NOMEM;
	for (size_t i = 0; i < job->reader_count; i++) {
		readers[count] = sealable(node, job->readers[i]);
		count += readers[count] != NULL;
	}
	node_now(node, &now);
	head.time_s = now.wall_ms > 0 ? (uint32_t)(now.wall_ms / 1000) : 0;
	head.clock_quality = now.quality;
	*why = "there is nobody to write for: name a node with --to, or its neighbours in cpd.conf";
	error = count ? courier_seal(node->identity, &head, readers, count, (struct slice){ job->content.bytes, job->content.len }, &job->report.file, &job->report.len)
	    : CPD_ERR_NOT_FOUND;
	job->report.readers = count;
	job->report.number = head.number;
	job->report.epoch = head.epoch;
	if (count == 1)
		job->report.to = readers[0]->node;
	free(readers);
	return error;
}

static void write_finish(struct node *node)
{
	struct courier_job *job = node->courier->job;
	const struct courier_report *report = &job->report;
	const char *why = NULL;
	enum cpd_error error;

	count_left(node);
	error = seal(node, &why);
	if (!error)
		log_line(LOG_INFO, "courier-written", "file=%llu to=%u readers=%zu bytes=%zu messages=%u receipts=%u acks=%u left=%llu",
		    (unsigned long long)report->number, report->to, report->readers, report->len, report->messages, report->receipts_out, report->acks,
		    (unsigned long long)report->left);
	courier_finish(node, error, error == CPD_ERR_NOT_FOUND ? why : NULL);
}

/* ---------------------------------------------------------------- a piece in each pass */

static enum cpd_error write_piece(struct node *node)
{
	struct courier_job *job = node->courier->job;
	enum cpd_error error = CPD_OK;

	switch (job->at.group) {
	case COURIER_PUT_UPDATES:
		error = put_updates(node);
		break;
	case COURIER_PUT_PRESENCE:
		error = put_presence(node);
		break;
	case COURIER_PUT_ACKS:
		error = put_acks(node);
		break;
	case COURIER_PUT_ROWS:
		return put_rows(node);
	case COURIER_PUT_END:
		return CPD_OK;
	}
	job->at.group++;
	return error;
}

static void on_piece(evutil_socket_t fd, short what, void *context)
{
	const struct timeval at_once = { 0, 0 };
	struct node *node = context;
	struct courier_job *job = node->courier->job;
	enum cpd_error error;

	(void)fd;
	(void)what;
	if (node->rebuild_why || !node->relay) {
		courier_drop(node, "this node starts anew from what is on its disk; nothing was lost: do it again");
		return;
	}
	error = write_piece(node);
	if (error)
		courier_finish(node, error, NULL);
	else if (job->at.group == COURIER_PUT_END)
		write_finish(node);
	else
		event_add(job->event, &at_once);
}

/* Its number is on disk. */
void courier_write_go_on(struct node *node)
{
	struct courier_job *job = node->courier->job;
	const char *why = NULL;
	enum cpd_error error;

	if (job->event || job->under_way || job->turn > job->committed)
		return;
	job->at.precedence = PRECEDENCE_FLASH;
	job->content.most = job->limit;
	error = choose(node, &why);
	if (!error)
		job->event = event_new(node->base, -1, 0, on_piece, node);
	if (!error && !job->event)
		error = CPD_ERR_NOMEM;
	if (error)
		courier_finish(node, error, why);
	else
		on_piece(-1, 0, node);
}
