/*
 * node: answers after the commit, a commit that fails, an older copy of a store, a large body, keys in
 * flight. test/system has the same between processes.
 */
#include "test/unit/node_faults.h"

static void an_answer_comes_only_after_its_commit(void **state)
{
	struct answer answer;

	(void)state;
	author(0, DESK, text("eerst de schijf"), 6, NULL, &answer);
	UNTIL(answer.calls);
	assert_int_equal(answer.error, CPD_OK);
	assert_true(answer.was_stored);
	UNTIL(has_level(0, &answer.id, DESK, LEVEL_DELIVERED));
	assert_true(holds(1, TABLE_ENVELOPES, &answer.id));
	run_ms(200);
	assert_int_equal(answer.calls, 1);
}

static void a_key_in_flight_gives_the_same_message(void **state)
{
	struct answer first, second;

	(void)state;
	author(0, DESK, text("eenmaal"), 6, "sleutel", &first);
	author(0, DESK, text("eenmaal"), 6, "sleutel", &second);
	UNTIL(first.calls && second.calls);
	assert_int_equal(first.error, CPD_OK);
	assert_int_equal(second.error, CPD_OK);
	assert_true(message_id_equal(&first.id, &second.id));
	assert_false(first.existing);
	assert_true(second.existing);
}

static void an_addressee_nobody_knows_is_refused(void **state)
{
	struct answer answer;

	(void)state;
	author(0, 77, text("aan niemand"), 6, NULL, &answer);
	UNTIL(answer.calls);
	assert_int_equal(answer.error, CPD_ERR_NOT_FOUND);
}

/* ---------------------------------------------------------------- commits that fail */

static void a_failed_commit_is_told_and_the_node_goes_on(void **state)
{
	struct answer lost, kept;

	(void)state;
	break_commits(0, ENOSPC);
	author(0, DESK, text("gaat mis"), 6, "k", &lost);
	UNTIL(lost.calls);
	assert_int_equal(lost.error, CPD_ERR_IO);
	author(0, DESK, text("gaat goed"), 6, "k", &kept);
	UNTIL(kept.calls);
	assert_int_equal(kept.error, CPD_OK);
	assert_false(kept.existing);
	UNTIL(has_level(0, &kept.id, DESK, LEVEL_DELIVERED));
	run_ms(100);
	assert_int_equal(lost.calls, 1);
	assert_int_equal(kept.calls, 1);
	assert_false(node_has_failed(nodes[0]));
}

/* After an error of the disk itself nothing that is read back proves anything: the process ends. */
static void a_disk_error_ends_the_node_and_nothing_is_told_as_kept(void **state)
{
	struct answer first, later;

	(void)state;
	run_ms(500);
	break_commits(0, EIO);
	author(0, DESK, text("gaat mis"), 6, NULL, &first);
	UNTIL(atomic_load(&commits));
	author(0, DESK, text("en dit ook"), 6, NULL, &later);
	UNTIL(node_has_failed(nodes[0]));
	run_ms(200);
	assert_true(node_has_failed(nodes[0]));
	assert_int_equal(first.calls, 1);
	stop(0);
	assert_int_equal(first.calls, 1);
	assert_int_equal(later.calls, 1);
	assert_int_not_equal(first.error, CPD_OK);
	assert_int_not_equal(later.error, CPD_OK);
	start(0);
	UNTIL(is_linked(0));
	assert_int_equal(store_count(node_store(nodes[1]), TABLE_ENVELOPES), 0);
}

/* The receiver's disk fails: no acknowledgement leaves, the sender keeps its custody and sends again. */
static void no_acknowledgement_leaves_when_the_receivers_commit_fails(void **state)
{
	struct answer answer;
	struct node_queue_status queue;

	(void)state;
	run_ms(1500);                   /* presences and their commits are over */
	break_commits(1, ENOSPC);
	author(0, DESK, text("nog niet"), 6, NULL, &answer);
	UNTIL(answer.calls);
	UNTIL(atomic_load(&commits));
	while (atomic_load(&faults)) {
		event_base_loop(base, EVLOOP_ONCE);
		node_queue(nodes[0], DESK, &queue);
		assert_int_equal(queue.depth[PRECEDENCE_ROUTINE], 1);
	}
	UNTIL(has_level(0, &answer.id, DESK, LEVEL_DELIVERED));
	assert_true(holds(1, TABLE_ENVELOPES, &answer.id));
}

/* ---------------------------------------------------------------- an older copy of the store */

static void an_older_copy_begins_a_new_epoch(void **state)
{
	struct answer before, after, fresh;

	(void)state;
	send_and_wait(0, DESK, "voor de kopie", &before);
	stop(0);
	copy_store("344003-store", "copy");
	start(0);
	send_and_wait(0, DESK, "na de kopie", &after);
	assert_int_equal(after.id.epoch, before.id.epoch);
	stop(0);
	copy_store("copy", "344003-store");
	start(0);
	UNTIL(is_linked(0));
	run_ms(300);
	send_and_wait(0, DESK, "weer vooruit", &fresh);
	assert_true(fresh.id.epoch > after.id.epoch);
}

/* Nobody is there to tell it that its numbers are taken: only its identity knows. */
static void a_new_store_begins_a_new_epoch_though_nobody_tells(void **state)
{
	struct answer before, after;

	(void)state;
	stop(1);
	author(0, DESK, text("op de oude schijf"), 6, NULL, &before);
	UNTIL(before.calls);
	stop(0);
	assert_int_equal(system("rm -rf 344003-store"), 0);
	seed_store("344003-store");
	start(0);
	author(0, DESK, text("op de nieuwe schijf"), 6, NULL, &after);
	UNTIL(after.calls);
	assert_int_equal(before.error, CPD_OK);
	assert_int_equal(after.error, CPD_OK);
	assert_true(after.id.epoch > before.id.epoch);
}

/* How many of the desk's inbox hold these words; *id is the last of them. */
static unsigned desk_has(const char *words, struct message_id *id)
{
	struct message_id one;
	unsigned count = 0;
	struct store_key from = store_key_counter(0), found;
	uint8_t *value;
	size_t len;

	while (!store_seek(node_store(nodes[1]), TABLE_INBOX, &from, 0, true, &found, &value, &len)) {
		struct store_key key;
		uint8_t *envelope;
		bool is_it = false;

		assert_int_equal(store_value_read_id((struct slice){ value, len }, &one), CPD_OK);
		free(value);
		key = store_key_id(&one);
		if (!store_get(node_store(nodes[1]), TABLE_ENVELOPES, &key, &envelope, &len)) {
			is_it = memmem(envelope, len, words, strlen(words)) != NULL;
			free(envelope);
		}
		if (is_it) {
			*id = one;
			count++;
		}
		from = found;
	}
	return count;
}

/* It wrote nothing in between, so that no hello tells; but its word on itself would be an old one to everyone. */
static void an_older_copy_that_wrote_nothing_begins_a_new_epoch(void **state)
{
	uint32_t epoch;

	(void)state;
	configs[0].timers.presence_ms = 100;
	stop(0);
	copy_store("344003-store", "copy");
	start(0);
	epoch = nodes[0]->epoch;
	UNTIL(is_linked(0) && is_linked(1));
	run_ms(2000);
	assert_int_equal(nodes[0]->epoch, epoch);
	stop(0);
	copy_store("copy", "344003-store");
	start(0);
	UNTIL(nodes[0]->epoch == epoch + 1);
	UNTIL(is_linked(0) && is_linked(1));
	run_ms(500);
	assert_int_equal(nodes[0]->epoch, epoch + 1);
}

/* ---------------------------------------------------------------- a damaged record */

/* One byte of the stored envelope changes, as on a disk that rots. */
static void damage_envelope(int which, const struct message_id *id)
{
	struct store *store = node_store(nodes[which]);
	struct store_key key = store_key_id(id);
	MDB_val place = { key.len, key.bytes }, value, put;
	uint8_t bytes[1024];
	MDB_txn *txn;

	assert_int_equal(mdb_txn_begin(store->env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_get(txn, store->tables[TABLE_ENVELOPES], &place, &value), 0);
	assert_true(value.mv_size <= sizeof(bytes));
	memcpy(bytes, value.mv_data, value.mv_size);
	bytes[value.mv_size / 2] ^= 1;
	put = (MDB_val){ value.mv_size, bytes };
	assert_int_equal(mdb_put(txn, store->tables[TABLE_ENVELOPES], &place, &put, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
}

static void a_damaged_message_ends_with_a_word_to_its_author_and_harms_no_other(void **state)
{
	struct answer damaged, sound;

	(void)state;
	stop(1);
	UNTIL(!is_linked(0));
	author(0, DESK, text("verrot"), 6, NULL, &damaged);
	author(0, DESK, text("gaaf"), 6, NULL, &sound);
	UNTIL(damaged.calls && sound.calls);
	damage_envelope(0, &damaged.id);
	start(1);
	UNTIL(has_level(0, &sound.id, DESK, LEVEL_DELIVERED));
	UNTIL(has_level(0, &damaged.id, DESK, LEVEL_UNDELIVERABLE));
	assert_int_equal(store_count(node_store(nodes[0]), TABLE_QUEUE), 0);
}

/* What the message under `id` at the desk supersedes is told with this hash, or with none: NULL. */
static void supersedes_with(const struct message_id *id, const struct message_id *old, const struct hash8 *hash)
{
	struct store_key key = store_key_id(id);
	struct message message;
	uint8_t *envelope;
	size_t len;

	assert_int_equal(store_get(node_store(nodes[1]), TABLE_ENVELOPES, &key, &envelope, &len), CPD_OK);
	assert_int_equal(message_decode((struct slice){ envelope, len }, &message), CPD_OK);
	assert_true(message_id_equal(&message.header.supersedes, old));
	assert_int_equal(message.header.has_supersedes_hash, hash != NULL);
	if (hash)
		assert_memory_equal(&message.header.supersedes_hash, hash, sizeof(*hash));
	free(envelope);
}

static unsigned custody_flags(int which, const struct message_id *id, struct hash8 *hash)
{
	struct custody custody;
	unsigned flags;

	assert_int_equal(node_load_custody(nodes[which], id, &custody), CPD_OK);
	*hash = custody.hash;
	flags = custody.flags;
	custody_clear(&custody);
	return flags;
}

static void what_is_superseded_is_named_with_its_hash(void **state)
{
	struct author_request request = { .kind = 6, .nodes = { DESK }, .node_count = 1, .mode = MODE_TEST };
	struct answer old, newer = { .node = 0 }, blind = { .node = 0 };
	struct hash8 hash;

	(void)state;
	send_and_wait(0, DESK, "de oude", &old);
	request.body = text("de nieuwe");
	request.supersedes = old.id;
	node_author(nodes[0], &request, answered, &newer);
	UNTIL(newer.calls && has_level(0, &newer.id, DESK, LEVEL_DELIVERED));
	assert_true(custody_flags(1, &old.id, &hash) & CUSTODY_IS_SUPERSEDED);
	supersedes_with(&newer.id, &old.id, &hash);
	request.supersedes.sequence = 4711;                     /* nothing is held of it: the id has to do */
	node_author(nodes[0], &request, answered, &blind);
	UNTIL(blind.calls && has_level(0, &blind.id, DESK, LEVEL_DELIVERED));
	supersedes_with(&blind.id, &request.supersedes, NULL);
}

/* What was written on the older copy before it met anyone has an id that is taken: it is written again. */
static void words_under_a_taken_id_are_reissued(void **state)
{
	struct answer taken, other;
	struct message_id id;
	struct hash8 hash;

	(void)state;
	stop(0);
	copy_store("344003-store", "copy");
	start(0);
	send_and_wait(0, DESK, "de eerste", &taken);
	stop(0);
	stop(1);
	copy_store("copy", "344003-store");
	start(0);
	author(0, DESK, text("de tweede"), 6, NULL, &other);
	UNTIL(other.calls);
	assert_true(message_id_equal(&other.id, &taken.id));
	start(1);
	UNTIL(desk_has("de tweede", &id));
	assert_true(id.epoch > taken.id.epoch);
	run_ms(1000);
	assert_int_equal(desk_has("de eerste", &id), 1);
	assert_int_equal(desk_has("de tweede", &id), 1);
	assert_true(custody_flags(0, &taken.id, &hash) & CUSTODY_IS_SUPERSEDED);
	supersedes_with(&id, &taken.id, &hash);
	assert_false(custody_flags(1, &taken.id, &hash) & CUSTODY_IS_SUPERSEDED);       /* these are other words */
}

/* ---------------------------------------------------------------- large bodies */

static void a_large_body_arrives_whole(void **state)
{
	const size_t len = 300000;
	uint8_t *body = malloc(len);
	struct answer answer;

	(void)state;
	for (size_t i = 0; i < len; i++)
		body[i] = (uint8_t)(i * 2654435761u >> 13);
	author(1, NSP, (struct slice){ body, len }, 20, NULL, &answer);
	UNTIL(answer.calls);
	assert_int_equal(answer.error, CPD_OK);
	UNTIL(has_level(1, &answer.id, NSP, LEVEL_NOT_UNDERSTOOD));     /* documents have no schema yet */
	for (uint32_t i = 0; i < tree_leaf_count((uint32_t)len); i++) {
		struct store_key key = store_key_leaf(&answer.id, i);
		uint8_t *leaf;
		size_t leaf_len;

		assert_int_equal(store_get(node_store(nodes[0]), TABLE_LEAVES, &key, &leaf, &leaf_len), CPD_OK);
		assert_int_equal(leaf_len, tree_leaf_length((uint32_t)len, i));
		assert_memory_equal(leaf, body + (size_t)i * LIMIT_LEAF, leaf_len);
		free(leaf);
	}
	free(body);
}

struct leaves { uint32_t above_epoch; size_t count; const uint8_t *body; };

static bool count_leaf(void *context, const struct store_key *key, struct slice value)
{
	struct leaves *leaves = context;
	struct store_key id_key = { .len = 16 };
	struct message_id id;
	uint32_t index;

	memcpy(id_key.bytes, key->bytes, 16);
	assert_int_equal(store_key_read_id(&id_key, &id), CPD_OK);
	index = (uint32_t)key->bytes[16] << 24 | (uint32_t)key->bytes[17] << 16 | (uint32_t)key->bytes[18] << 8 | key->bytes[19];
	if (id.epoch > leaves->above_epoch) {
		assert_memory_equal(value.data, leaves->body + (size_t)index * LIMIT_LEAF, value.len);
		leaves->count++;
	}
	return true;
}

static size_t leaves_above(int which, uint32_t epoch, const uint8_t *body)
{
	struct leaves leaves = { .above_epoch = epoch, .body = body };
	struct store_key first = { .len = 0 };

	assert_int_equal(store_scan(node_store(nodes[which]), TABLE_LEAVES, &first, 0, false, SIZE_MAX, count_leaf, &leaves, NULL), CPD_OK);
	return leaves.count;
}

/* As words_under_a_taken_id_are_reissued, with a body above one message. Found by seed 2448 of the simulator. */
static void a_large_body_under_a_taken_id_is_reissued(void **state)
{
	const size_t len = 30000;
	uint8_t *body = malloc(len);
	struct answer taken, other;

	(void)state;
	for (size_t i = 0; i < len; i++)
		body[i] = (uint8_t)(i * 2654435761u >> 13);
	stop(0);
	copy_store("344003-store", "copy");
	start(0);
	send_and_wait(0, DESK, "de eerste", &taken);
	stop(0);
	stop(1);
	copy_store("copy", "344003-store");
	start(0);
	author(0, DESK, (struct slice){ body, len }, 6, NULL, &other);
	UNTIL(other.calls);
	assert_true(message_id_equal(&other.id, &taken.id));
	start(1);
	UNTIL(leaves_above(1, taken.id.epoch, body) == tree_leaf_count((uint32_t)len));
	free(body);
}

/* ---------------------------------------------------------------- the inbox, counted */

static void done(void *context, enum cpd_error error, const char *why)
{
	(void)why;
	assert_int_equal(error, CPD_OK);
	++*(int *)context;
}

static uint64_t unread_of(int which)
{
	uint64_t total, unread;

	node_inbox(nodes[which], &total, &unread);
	assert_int_equal(total, 3);
	return unread;
}

static void forget_what_was_read(int which)
{
	const struct store_options options = { .path = configs[which].store, .hash = crypto_digest };
	struct store_key key = store_key_name("inbox_read");
	struct store_batch *batch = store_batch_new(1);
	struct store *store;
	const char *why;

	assert_int_equal(store_open(&options, &store, &why), CPD_OK);
	assert_int_equal(store_batch_delete(batch, TABLE_META, &key), CPD_OK);
	assert_int_equal(store_commit_now(store, batch), CPD_OK);
	store_close(store);
}

static void what_was_read_is_kept_and_counted_when_it_is_not(void **state)
{
	struct answer answer;
	int calls = 0;

	(void)state;
	for (int i = 0; i < 3; i++)
		send_and_wait(0, DESK, "lees mij", &answer);
	assert_int_equal(unread_of(1), 3);
	node_operate(nodes[1], &answer.id, ACT_READ, REFUSED_NONE, NULL, done, &calls);
	UNTIL(calls == 1);
	node_operate(nodes[1], &answer.id, ACT_DONE, REFUSED_NONE, NULL, done, &calls);
	UNTIL(calls == 2);
	assert_int_equal(unread_of(1), 2);
	stop(1);
	start(1);
	assert_int_equal(unread_of(1), 2);
	stop(1);
	forget_what_was_read(1);
	start(1);
	assert_true(nodes[1]->counts_read);
	assert_int_equal(unread_of(1), 2);
	stop(1);
	start(1);
	assert_int_equal(unread_of(1), 2);
}

/* ---------------------------------------------------------------- the journal's chain */

struct chain { uint8_t value[JOURNAL_CHAIN_LEN]; uint64_t rows, broken; };

static bool follow_chain(void *context, const struct store_key *key, struct slice row)
{
	static const char purpose[] = "cpd/1/journal";
	struct chain *chain = context;
	uint8_t bytes[sizeof(purpose) + JOURNAL_CHAIN_LEN + 1024], value[JOURNAL_CHAIN_LEN];
	size_t fixed = 45, len = sizeof(purpose) + JOURNAL_CHAIN_LEN + row.len - JOURNAL_CHAIN_LEN;

	assert_true(store_key_read_counter(key) == ++chain->rows);
	assert_true(row.len >= fixed + JOURNAL_CHAIN_LEN && len <= sizeof(bytes));
	memcpy(bytes, purpose, sizeof(purpose));
	memcpy(bytes + sizeof(purpose), chain->value, JOURNAL_CHAIN_LEN);
	memcpy(bytes + sizeof(purpose) + JOURNAL_CHAIN_LEN, row.data, fixed);
	memcpy(bytes + sizeof(purpose) + JOURNAL_CHAIN_LEN + fixed, row.data + fixed + JOURNAL_CHAIN_LEN, row.len - fixed - JOURNAL_CHAIN_LEN);
	crypto_digest(value, sizeof(value), bytes, len);
	chain->broken += memcmp(value, row.data + fixed, sizeof(value)) != 0;
	memcpy(chain->value, row.data + fixed, sizeof(value));
	return true;
}

static void assert_chain_is_whole(int which)
{
	struct store_key first = store_key_counter(0);
	struct chain chain = { .rows = 0 };

	assert_int_equal(store_scan(node_store(nodes[which]), TABLE_JOURNAL, &first, 0, false, SIZE_MAX, follow_chain, &chain, NULL), CPD_OK);
	assert_true(chain.rows > 3);
	assert_int_equal(chain.broken, 0);
	assert_true(nodes[which]->journal_told.number == chain.rows);
	assert_memory_equal(nodes[which]->journal_told.chain, chain.value, sizeof(chain.value));
}

static void the_journals_chain_goes_on_over_a_failed_commit_and_a_restart(void **state)
{
	struct answer answer;

	(void)state;
	send_and_wait(0, DESK, "een", &answer);
	break_commits(0, ENOSPC);
	author(0, DESK, text("gaat mis"), 6, NULL, &answer);
	UNTIL(answer.calls);
	assert_int_equal(answer.error, CPD_ERR_IO);
	UNTIL(is_linked(0) && is_linked(1));
	send_and_wait(0, DESK, "twee", &answer);
	UNTIL(nodes[0]->journal.number == nodes[0]->journal_told.number);
	assert_chain_is_whole(0);
	stop(0);
	start(0);
	UNTIL(is_linked(0) && is_linked(1));
	send_and_wait(0, DESK, "drie", &answer);
	UNTIL(nodes[0]->journal.number == nodes[0]->journal_told.number);
	assert_chain_is_whole(0);
}

static void a_head_is_told_only_when_it_is_on_disk(void **state)
{
	struct answer answer;
	uint64_t before;

	(void)state;
	send_and_wait(0, DESK, "een", &answer);
	UNTIL(nodes[0]->journal.number == nodes[0]->journal_told.number && !nodes[0]->in_flight);
	before = nodes[0]->journal_told.number;
	atomic_store(&commits_may_go, false);
	node_store(nodes[0])->commit_fault = held_commits;
	author(0, DESK, text("wacht"), 6, NULL, &answer);
	run_ms(200);
	assert_true(nodes[0]->journal.number > before);
	assert_true(nodes[0]->journal_told.number == before);
	atomic_store(&commits_may_go, true);
	UNTIL(nodes[0]->journal_told.number > before);
	UNTIL(answer.calls);
	node_store(nodes[0])->commit_fault = NULL;
}

/* A store of 1 MiB would hold no more than 819 rows: what is above goes, two for each that comes. */
static void the_journal_takes_an_eighth_of_the_store_and_no_more(void **state)
{
	struct answer answer;
	uint64_t rows, before, added;

	(void)state;
	for (int i = 0; i < 400 && nodes[0]->next_news < 900; i++)
		send_and_wait(0, DESK, "nog een", &answer);
	UNTIL(nodes[0]->journal.number == nodes[0]->journal_told.number);
	before = store_count(node_store(nodes[0]), TABLE_JOURNAL);
	assert_true(before >= 890 && nodes[0]->oldest_news == 1);
	added = nodes[0]->next_news;
	configs[0].store_limit_mib = 1;
	send_and_wait(0, DESK, "nu minder", &answer);
	UNTIL(nodes[0]->journal.number == nodes[0]->journal_told.number);
	added = nodes[0]->next_news - added;
	assert_true(added > 2 && store_count(node_store(nodes[0]), TABLE_JOURNAL) == before - added);
	for (int i = 0; i < 40; i++)
		send_and_wait(0, DESK, "en minder", &answer);
	UNTIL(nodes[0]->journal.number == nodes[0]->journal_told.number);
	rows = store_count(node_store(nodes[0]), TABLE_JOURNAL);
	assert_true(rows >= 818 && rows <= 820);
	configs[0].store_limit_mib = 64;
	stop(0);
	start(0);
	assert_true(nodes[0]->oldest_news == nodes[0]->next_news - rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_answer_comes_only_after_its_commit),
		TEST(a_key_in_flight_gives_the_same_message),
		TEST(an_addressee_nobody_knows_is_refused),
		TEST(a_failed_commit_is_told_and_the_node_goes_on),
		TEST(a_disk_error_ends_the_node_and_nothing_is_told_as_kept),
		TEST(no_acknowledgement_leaves_when_the_receivers_commit_fails),
		TEST(an_older_copy_begins_a_new_epoch),
		TEST(a_new_store_begins_a_new_epoch_though_nobody_tells),
		TEST(an_older_copy_that_wrote_nothing_begins_a_new_epoch),
		TEST(a_damaged_message_ends_with_a_word_to_its_author_and_harms_no_other),
		TEST(what_is_superseded_is_named_with_its_hash),
		TEST(words_under_a_taken_id_are_reissued),
		TEST(a_large_body_arrives_whole),
		TEST(a_large_body_under_a_taken_id_is_reissued),
		TEST(what_was_read_is_kept_and_counted_when_it_is_not),
		TEST(the_journals_chain_goes_on_over_a_failed_commit_and_a_restart),
		TEST(a_head_is_told_only_when_it_is_on_disk),
		TEST(the_journal_takes_an_eighth_of_the_store_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
