/*
 * target_store.c: what stands on a node's own disk. rows: each table's values and keys by their decoders. pages: the
 * walk over the pages of a data file in which the input changes bytes. salvage: such a file opened with the real code,
 * LMDB included: whatever the walk lets pass, LMDB must live with.
 */
#include "test/fuzz/targets.h"

#include <sys/stat.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "daemon/node.h"
#include "proto/presence.h"
#include "proto/receipt.h"
#include "store/internal.h"

/* ---------------------------------------------------------------- rows */

static void row_custody(struct slice value)
{
	struct custody custody, copy;
	uint8_t *once = NULL, *twice = NULL;
	size_t once_len, twice_len;
	const struct moment now = { 1000000, 1000, CLOCK_NTP };

	if (!custody_decode(value, &custody)) {
		FUZZ_CHECK(custody.trace_count <= LIMIT_TRACE && custody.recipient_count <= LIMIT_RECIPIENTS);
		for (size_t i = 0; i < custody.recipient_count; i++)
			FUZZ_CHECK(custody_recipient(&custody, custody.recipients[i].node) == &custody.recipients[i]);
		(void)custody_age_s(&custody, &now);
		FUZZ_CHECK(precedence_name(custody.precedence) && level_name(custody.closing_level) && level_name(custody.local_level));
		FUZZ_CHECK(!custody_encode(&custody, &once, &once_len));
		FUZZ_CHECK(!custody_decode((struct slice){ once, once_len }, &copy));
		FUZZ_CHECK(!custody_encode(&copy, &twice, &twice_len));
		FUZZ_CHECK(once_len == twice_len && !memcmp(once, twice, once_len));
		custody_clear(&copy);
		free(once);
		free(twice);
	}
	custody_clear(&custody);
}

static void same_value(struct store_value made, struct slice value)
{
	FUZZ_CHECK(made.len == value.len && !memcmp(made.bytes, value.data, made.len));
}

static void row_small(enum store_table table, struct slice value)
{
	struct link_circuit circuit;
	struct message_id id;
	struct item_ref ref;
	uint32_t destination;
	uint64_t number;

	if (table == TABLE_QUEUE && !store_value_read_ref(value, &ref, &destination))
		same_value(store_value_ref(&ref, destination), value);
	if (table == TABLE_CIRCUITS && !store_value_read_circuit(value, &circuit))
		same_value(store_value_circuit(&circuit), value);
	if ((table == TABLE_INBOX || table == TABLE_LATEST || table == TABLE_AUTHORED) && !store_value_read_id(value, &id))
		same_value(store_value_id(&id), value);
	if ((table == TABLE_META || table == TABLE_DEPTHS) && !store_value_read_u64(value, &number))
		same_value(store_value_u64(number), value);
}

static void row_record(enum store_table table, struct slice value)
{
	static struct receipts receipts;
	struct signed_record record;
	struct presence presence;
	struct slice bytes = { value.data + 8, value.len - 8 };

	/* Eight bytes of time stand before it. */
	if (value.len <= 8 || signed_record_decode(bytes, table == TABLE_PRESENCE ? LIMIT_PRESENCE : LIMIT_RECEIPTS, &record))
		return;
	(void)!presence_decode(record.signed_bytes, &presence);
	(void)!receipts_decode(record.signed_bytes, &receipts);
}

static void row_journal(struct slice value)
{
	struct node_news news;

	if (!node_news_decode(value, &news))
		FUZZ_CHECK(journal_what_name(news.what) && level_name(news.level) && reason_name(news.reason) && precedence_name(news.precedence));
}

static void check_key(enum store_table table, struct slice bytes)
{
	struct store_key key = store_key_bytes(bytes), again = { .len = 0 };
	enum precedence precedence;
	struct message_id id;
	uint64_t counter;
	uint32_t link;
	int64_t due;

	if (!key.len)
		return;
	if ((table == TABLE_CUSTODY || table == TABLE_ENVELOPES) && !store_key_read_id(&key, &id))
		again = store_key_id(&id);
	else if (table == TABLE_QUEUE && !store_key_read_queue(&key, &link, &precedence, &counter))
		again = store_key_queue(link, precedence, counter);
	else if (table == TABLE_DEPTHS && !store_key_read_depth(&key, &link, &precedence))
		again = store_key_depth(link, precedence);
	else if (table == TABLE_TIMERS && !store_key_read_timer(&key, &due, &id))
		again = store_key_timer(due, &id);
	else if (table == TABLE_INBOX && key.len == 8)
		again = store_key_counter(store_key_read_counter(&key));
	else
		(void)store_key_read_counter(&key);
	FUZZ_CHECK(!again.len || (again.len == key.len && !memcmp(again.bytes, key.bytes, key.len)));
}

void run_rows(struct slice input)
{
	const enum store_table table = (enum store_table)input_below(&input, TABLE_COUNT);
	const struct slice key = input_bytes(&input, (size_t)input_number(&input, 1) % (STORE_KEY_MAX + 2));
	struct directory_update update;
	struct message message;

	check_key(table, key);
	if (table == TABLE_CUSTODY)
		row_custody(input);
	else if (table == TABLE_PRESENCE || table == TABLE_RECEIPTS)
		row_record(table, input);
	else if (table == TABLE_JOURNAL)
		row_journal(input);
	else if (table == TABLE_ENVELOPES)
		(void)!message_decode(input, &message);
	else if (table == TABLE_DIRECTORY && !directory_update_decode(input, &update))
		directory_update_clear(&update);
	else
		row_small(table, input);
}

static void add_row(fuzz_add *add, void *context, enum store_table table, struct store_key key, struct slice value)
{
	static uint8_t bytes[4096];

	FUZZ_CHECK(2 + key.len + value.len <= sizeof(bytes));
	bytes[0] = (uint8_t)table;
	bytes[1] = (uint8_t)key.len;
	memcpy(bytes + 2, key.bytes, key.len);
	if (value.len)
		memcpy(bytes + 2 + key.len, value.data, value.len);
	add(context, (struct slice){ bytes, 2 + key.len + value.len });
}

static void add_custody(fuzz_add *add, void *context)
{
	struct custody custody;
	uint8_t *bytes;
	size_t len;

	custody_init(&custody);
	custody.id = (struct message_id){ 344003, 2, 118 };
	custody.flags = CUSTODY_IS_ORIGIN | CUSTODY_HAS_ENVELOPE | CUSTODY_IS_DATED;
	custody.kind = 3;
	custody.precedence = PRECEDENCE_FLASH;
	custody.closing_level = LEVEL_DONE;
	custody.created_s = 1000;
	custody.lifetime_s = 259200;
	custody.envelope_len = 200;
	custody.group = (struct group_ref){ 1, 1 };
	custody.since = (struct moment){ 1000, 2000, CLOCK_NTP };
	custody.hop_limit = 16;
	custody.trace[custody.trace_count++] = (struct hop){ 344003, 5, 6 };
	for (uint32_t i = 0; i < 3; i++) {
		struct recipient *recipient = custody_add_recipient(&custody, 901 + i);

		FUZZ_CHECK(recipient);
		recipient->hop = HOP_QUEUED;
		recipient->via = 901;
		recipient->row = 7 + i;
		recipient->level = i ? LEVEL_DELIVERED : LEVEL_NONE;
		recipient->tried[0] = 902;
	}
	FUZZ_CHECK(!custody_encode(&custody, &bytes, &len));
	add_row(add, context, TABLE_CUSTODY, store_key_id(&custody.id), (struct slice){ bytes, len });
	free(bytes);
	custody_clear(&custody);
}

void seeds_rows(fuzz_add *add, void *context)
{
	const struct message_id id = { 344003, 2, 118 };
	const struct item_ref ref = { .type = ITEM_TYPE_MESSAGE, .precedence = PRECEDENCE_FLASH, .id = id, .index = 3 };
	const struct link_circuit circuit = { 2, 1, 77, { { 6, 1 }, 2 } };
	const struct store_value values[] = { store_value_u64(12), store_value_ref(&ref, 901), store_value_id(&id), store_value_circuit(&circuit) };
	static const uint8_t journal[45] = { 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 3, 232, 4, 3, 0, 3 };
	static uint8_t record[4096];
	const struct slice presence = seed_named("presence-record"), receipts = seed_named("receipts-record");

	add_custody(add, context);
	add_row(add, context, TABLE_META, store_key_name("next_row"), (struct slice){ values[0].bytes, values[0].len });
	add_row(add, context, TABLE_QUEUE, store_key_queue(901, PRECEDENCE_FLASH, 7), (struct slice){ values[1].bytes, values[1].len });
	add_row(add, context, TABLE_INBOX, store_key_counter(4), (struct slice){ values[2].bytes, values[2].len });
	add_row(add, context, TABLE_LATEST, store_key_latest(344003, 1), (struct slice){ values[2].bytes, values[2].len });
	add_row(add, context, TABLE_CIRCUITS, store_key_number(901), (struct slice){ values[3].bytes, values[3].len });
	add_row(add, context, TABLE_TIMERS, store_key_timer(5000, &id), (struct slice){ NULL, 0 });
	add_row(add, context, TABLE_DEPTHS, store_key_depth(901, PRECEDENCE_FLASH), (struct slice){ values[0].bytes, values[0].len });
	add_row(add, context, TABLE_JOURNAL, store_key_counter(9), (struct slice){ journal, sizeof(journal) });
	add_row(add, context, TABLE_ENVELOPES, store_key_id(&id), seed_named("call"));
	add_row(add, context, TABLE_DIRECTORY, store_key_number(1), seed_named("directory-update"));
	memcpy(record + 8, presence.data, presence.len);
	add_row(add, context, TABLE_PRESENCE, store_key_number(344003), (struct slice){ record, 8 + presence.len });
	memcpy(record + 8, receipts.data, receipts.len);
	add_row(add, context, TABLE_RECEIPTS, store_key_record(901, 1, 6), (struct slice){ record, 8 + receipts.len });
}

/* ---------------------------------------------------------------- a data file */

#define PAGE 4096

static struct image { uint8_t *bytes; size_t len; } small, large, frozen;

static void put(struct store_batch *batch, enum store_table table, struct store_key key, const void *data, size_t len)
{
	FUZZ_CHECK(!store_batch_put(batch, table, &key, (struct slice){ data, len }));
}

static void put_custody(struct store_batch *batch, const struct message_id *id, uint64_t row, int64_t timer_ms)
{
	struct custody custody;
	struct recipient *recipient;
	uint8_t *bytes;
	size_t len;

	custody_init(&custody);
	custody.id = *id;
	custody.flags = CUSTODY_IS_ORIGIN | CUSTODY_HAS_ENVELOPE;
	custody.kind = 6;
	custody.closing_level = LEVEL_DELIVERED;
	custody.lifetime_s = 3600;
	custody.timer_ms = timer_ms;
	recipient = custody_add_recipient(&custody, 901);
	FUZZ_CHECK(recipient);
	recipient->hop = HOP_QUEUED;
	recipient->via = 901;
	recipient->row = row;
	FUZZ_CHECK(!custody_encode(&custody, &bytes, &len));
	put(batch, TABLE_CUSTODY, store_key_id(id), bytes, len);
	free(bytes);
	custody_clear(&custody);
}

/* Messages on their way, some on pages of their own, some gone again: branches, overflow and free pages. */
static void fill(struct store *store, uint32_t rows)
{
	static uint8_t bytes[9000];
	struct store_batch *batch = store_batch_new(1);

	memset(bytes, 0x5a, sizeof(bytes));
	for (uint32_t i = 1; i <= rows; i++) {
		const struct message_id id = { 344003, 2, i };
		const struct item_ref ref = { .type = ITEM_TYPE_MESSAGE, .precedence = PRECEDENCE_ROUTINE, .id = id };
		const struct store_value value = store_value_ref(&ref, 901);

		put(batch, TABLE_ENVELOPES, store_key_id(&id), bytes, i % 31 == 0 ? 9000 : 100 + i % 100);
		put_custody(batch, &id, i, i * 1000);
		put(batch, TABLE_QUEUE, store_key_queue(901, PRECEDENCE_ROUTINE, i), value.bytes, value.len);
		put(batch, TABLE_TIMERS, store_key_timer(i * 1000, &id), NULL, 0);
	}
	FUZZ_CHECK(!store_commit_now(store, batch));
	batch = store_batch_new(2);
	for (uint32_t i = 1; i <= rows; i += 3) {
		const struct store_key key = store_key_id(&(struct message_id){ 344003, 2, i });

		FUZZ_CHECK(!store_batch_delete(batch, TABLE_ENVELOPES, &key));
	}
	FUZZ_CHECK(!store_commit_now(store, batch));
}

static void image_make(struct image *image, uint32_t rows)
{
	char folder[128], path[160];
	const struct store_options options = { .path = folder, .hash = crypto_digest, .initial_bytes = STORE_MAP_MIN };
	struct store *store;
	const char *problem;
	uint64_t last;
	FILE *file;

	if (image->bytes)
		return;
	snprintf(folder, sizeof(folder), "%s", files_path("image"));
	snprintf(path, sizeof(path), "%s/data.mdb", folder);
	files_empty(folder);
	FUZZ_CHECK(!store_open(&options, &store, &problem));
	fill(store, rows);
	store_close(store);
	image->bytes = malloc(2 * 1024 * 1024);
	file = fopen(path, "rb");
	FUZZ_CHECK(image->bytes && file);
	image->len = fread(image->bytes, 1, 2 * 1024 * 1024, file);
	fclose(file);
	files_empty(folder);
	/* Behind the last page that either meta knows there is only room. */
	memcpy(&last, image->bytes + 136, 8);
	for (uint64_t other, meta = 1; meta < 2; meta++) {
		memcpy(&other, image->bytes + PAGE * meta + 136, 8);
		last = other > last ? other : last;
	}
	FUZZ_CHECK((last + 1) * PAGE <= image->len);
	image->len = (last + 1) * PAGE;
}

/* The store that cpd 0.1 wrote: it is brought to today's schema first. */
static void image_load(struct image *image, const char *path)
{
	FILE *file;

	if (image->bytes)
		return;
	file = fopen(path, "rb");
	image->bytes = malloc(256 * 1024);
	FUZZ_CHECK(image->bytes && file);
	image->len = fread(image->bytes, 1, 256 * 1024, file);
	fclose(file);
	FUZZ_CHECK(image->len % PAGE == 0 && image->len >= 2 * PAGE);
}

/* A copy of an image with what the input changes in it; *len of it. */
static uint8_t *image_changed(struct slice *input, size_t *len)
{
	static const struct image *const images[] = { &small, &large, &large, &frozen };
	const struct image *image = images[input_below(input, 4)];
	uint8_t *bytes;
	uint32_t pages;

	image_make(&small, 12);
	image_make(&large, 160);
	image_load(&frozen, "test/vectors/v1/store-1.mdb");
	pages = (uint32_t)(image->len / PAGE);
	bytes = malloc(image->len);
	FUZZ_CHECK(bytes);
	memcpy(bytes, image->bytes, image->len);
	*len = image->len;
	while (input->len) {
		const uint32_t what = input_below(input, 8), page = input_below(input, pages), at = input_below(input, PAGE);
		struct slice some;

		switch (what) {
		case 0: memcpy(bytes + page * PAGE, bytes + input_below(input, pages) * PAGE, PAGE); break;
		case 1: bytes[page * PAGE + at] ^= (uint8_t)(1u << input_below(input, 8)); break;
		case 2: /* a field of the meta: flags, depth, counts, root, last page, transaction */
			some = input_bytes(input, 2);
			memcpy(bytes + (page & 1) * PAGE + 40 + at % 112, some.data, some.len);
			break;
		case 3: /* a page's head: number, flags, lower, upper */
			some = input_bytes(input, 2);
			memcpy(bytes + page * PAGE + at % 8 * 2, some.data, some.len);
			break;
		case 4: memset(bytes + page * PAGE + at, 0, PAGE - at); break;
		case 5: *len = page >= 2 ? (size_t)page * PAGE : *len; break;
		default:
			some = input_bytes(input, 1 + what % 8);
			memcpy(bytes + page * PAGE + (at + some.len > PAGE ? 0 : at), some.data, some.len);
			break;
		}
	}
	return bytes;
}

struct visit { struct slice file; uint64_t rows; };

static void visit_row(void *context, int table, const uint8_t *key, size_t key_len, const uint8_t *data, size_t len)
{
	struct visit *visit = context;

	FUZZ_CHECK(table >= PAGES_UNKNOWN && table < TABLE_COUNT && key_len <= 511);
	FUZZ_CHECK(is_within(visit->file, (struct slice){ key, key_len }) && is_within(visit->file, (struct slice){ data, len }));
	touch((struct slice){ key, key_len });
	touch((struct slice){ data, len });
	visit->rows++;
}

void run_pages(struct slice input)
{
	struct pages pages;
	size_t len;
	uint8_t *bytes = image_changed(&input, &len), *exact = realloc(bytes, len);
	struct visit visit = { .file = { exact, len } };
	bool is_whole = false;
	int newest;

	FUZZ_CHECK(exact);
	(void)pages_newest(exact, PAGE, &newest);
	FUZZ_CHECK(newest == 0 || newest == 1);
	for (int meta = 0; meta < 3; meta++) {
		if (meta < 2)
			FUZZ_CHECK(pages_open(&pages, exact, len, PAGE, meta));
		else
			FUZZ_CHECK(pages_find(&pages, exact, len, PAGE, &is_whole));
		pages.visit = visit_row;
		pages.context = &visit;
		visit.rows = 0;
		pages_walk(&pages);
		/* Each page is taken once, so there cannot be more rows than nodes fit. */
		FUZZ_CHECK(visit.rows <= len / 8);
		FUZZ_CHECK(meta < 2 || !is_whole || pages.damaged == 0);
		pages_close(&pages);
	}
	free(exact);
}

void seeds_pages(fuzz_add *add, void *context)
{
	static const uint8_t seeds[][8] = { { 0 }, { 1 }, { 1, 0, 5, 0, 0, 7 }, { 1, 1, 9, 1, 0, 3 }, { 1, 2, 0, 0, 96, 255, 255 }, { 0, 3, 4, 0, 5, 2, 0 },
		{ 3 }, { 3, 1, 4, 0, 20, 3 }, { 1, 4, 6, 0, 0 }, { 1, 5, 20, 0, 0 }, { 1, 2, 1, 0, 97, 255, 0 } };

	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++)
		add(context, (struct slice){ seeds[i], seeds[i][1] || seeds[i][2] ? sizeof(seeds[i]) : 1 });
}

/* ---------------------------------------------------------------- and opened */

static bool visit_scan(void *context, const struct store_key *key, struct slice value)
{
	(void)context;
	touch((struct slice){ key->bytes, key->len });
	touch(value);
	return true;
}

/* Through every page: reads all, changes much, reads all. */
static void use(struct store *store)
{
	const struct store_key from = { .len = 0 };
	struct store_batch *batch = store_batch_new(1);
	size_t damaged;

	for (int table = 0; table < TABLE_COUNT; table++)
		(void)!store_scan(store, (enum store_table)table, &from, 0, false, SIZE_MAX, visit_scan, NULL, &damaged);
	for (uint32_t i = 1; i <= 160; i += 3) {
		const struct store_key key = store_key_id(&(struct message_id){ 344003, 2, i }), row = store_key_queue(901, PRECEDENCE_ROUTINE, i);

		if (i % 2)
			put(batch, TABLE_ENVELOPES, key, "new", 3);
		else
			FUZZ_CHECK(!store_batch_delete(batch, TABLE_ENVELOPES, &key));
		FUZZ_CHECK(!store_batch_delete(batch, TABLE_QUEUE, &row));
	}
	FUZZ_CHECK(!store_commit_now(store, batch));
}

/* No row is damaged after a repair, and what one repair leaves (an envelope or a place in the inbox without a record:
 * for people) the next one leaves too. */
static void check_sound(struct store *store)
{
	struct store_check first, second;

	FUZZ_CHECK(!store_verify(store, true, NULL, NULL, &first));
	FUZZ_CHECK(!store_verify(store, true, NULL, NULL, &first));
	FUZZ_CHECK(!store_verify(store, false, NULL, NULL, &second));
	for (int table = 0; table < TABLE_COUNT; table++)
		FUZZ_CHECK(!first.damaged[table] && !second.damaged[table]);
	FUZZ_CHECK(first.broken_invariants == second.broken_invariants);
}

void run_salvage(struct slice input)
{
	char folder[128], path[160];
	const struct store_options options = { .path = folder, .hash = crypto_digest, .initial_bytes = STORE_MAP_MIN, .limit_bytes = 16 * 1024 * 1024 };
	size_t len;
	uint8_t *bytes = image_changed(&input, &len);
	struct store *store;
	const char *problem = NULL;

	snprintf(folder, sizeof(folder), "%s", files_path("damaged"));
	snprintf(path, sizeof(path), "%s/data.mdb", folder);
	files_empty(folder);
	FUZZ_CHECK(!mkdir(folder, 0700));
	files_write(path, (struct slice){ bytes, len }, 0600);
	free(bytes);
	if (store_open(&options, &store, &problem)) {
		FUZZ_CHECK(problem && *problem);
		return;
	}
	check_sound(store);
	use(store);
	store_close(store);
	/* What it wrote it can open. */
	FUZZ_CHECK(!store_open(&options, &store, &problem));
	check_sound(store);
	store_close(store);
}

void seeds_salvage(fuzz_add *add, void *context)
{
	seeds_pages(add, context);
}
