/* test_store_check.c: damage stays where it is, the check finds it, repair takes nothing sound away. */
#include "test/unit/fixture_store.h"

#include "proto/presence.h"
#include "proto/receipt.h"

#define SELF 344001
#define LINK 12

struct lines { size_t count; char text[32][256]; };

static void collect(void *context, const char *line)
{
	struct lines *lines = context;

	if (lines->count < 32)
		snprintf(lines->text[lines->count], sizeof(lines->text[0]), "%s", line);
	lines->count++;
}

/* Verifies and expects this many broken invariants, and a line with the words when they are given. */
static struct store_check verify(struct fixture *fixture, bool repair, uint64_t broken, const char *words)
{
	struct lines lines = { 0 };
	struct store_check check;
	bool is_said = words == NULL;

	assert_int_equal(store_verify(fixture->store, repair, collect, &lines, &check), CPD_OK);
	for (size_t i = 0; i < lines.count && i < 32; i++)
		is_said = is_said || strstr(lines.text[i], words);
	if (check.broken_invariants != broken || !is_said)
		for (size_t i = 0; i < lines.count && i < 32; i++)
			print_error("%s\n", lines.text[i]);
	assert_int_equal(check.broken_invariants, broken);
	assert_true(is_said);
	return check;
}

static void put_counter(struct fixture *fixture, const char *name, uint64_t number)
{
	const struct store_key key = store_key_name(name);
	const struct store_value value = store_value_u64(number);

	fixture_put_value(fixture, TABLE_META, &key, &value);
}

static void put_custody(struct fixture *fixture, const struct custody *custody)
{
	const struct store_key key = store_key_id(&custody->id);
	uint8_t *bytes;
	size_t len;

	assert_int_equal(custody_encode(custody, &bytes, &len), CPD_OK);
	fixture_put_now(fixture, TABLE_CUSTODY, &key, bytes, len);
	free(bytes);
}

static struct store_key message_key(uint64_t sequence)
{
	const struct message_id id = { SELF, 2, sequence };

	return store_key_id(&id);
}

/* An own message, queued on LINK in row `sequence` and unrouted in row 1000 + sequence. */
static void fill_custody(struct custody *custody, uint64_t sequence)
{
	struct recipient *recipient;

	custody_init(custody);
	custody->id = (struct message_id){ SELF, 2, sequence };
	custody->flags = CUSTODY_IS_ORIGIN | CUSTODY_HAS_ENVELOPE | CUSTODY_IS_ADDRESSEE;
	custody->kind = 1;
	custody->precedence = PRECEDENCE_IMMEDIATE;
	custody->timer_ms = 5000 + (int64_t)sequence;
	custody->since.custody_ms = 1000;
	custody->inbox = sequence;
	recipient = custody_add_recipient(custody, 500);
	assert_non_null(recipient);
	recipient->hop = HOP_QUEUED;
	recipient->via = LINK;
	recipient->row = sequence;
	recipient = custody_add_recipient(custody, 501);
	assert_non_null(recipient);
	recipient->hop = HOP_UNROUTED;
	recipient->row = 1000 + sequence;
}

static void put_message(struct fixture *fixture, uint64_t sequence)
{
	const struct message_id id = { SELF, 2, sequence };
	const struct item_ref ref = { .type = ITEM_TYPE_MESSAGE, .precedence = PRECEDENCE_IMMEDIATE, .id = id };
	struct store_key key = store_key_id(&id);
	struct store_value value = store_value_ref(&ref, 500);
	struct custody custody;
	char envelope[64];

	snprintf(envelope, sizeof(envelope), "envelope-bytes-of-%llu-and-more", (unsigned long long)sequence);
	fixture_put_now(fixture, TABLE_ENVELOPES, &key, envelope, strlen(envelope));
	fill_custody(&custody, sequence);
	put_custody(fixture, &custody);
	key = store_key_queue(LINK, PRECEDENCE_IMMEDIATE, sequence);
	fixture_put_value(fixture, TABLE_QUEUE, &key, &value);
	value = store_value_ref(&ref, 501);
	key = store_key_queue(0, PRECEDENCE_IMMEDIATE, 1000 + sequence);
	fixture_put_value(fixture, TABLE_QUEUE, &key, &value);
	key = store_key_timer(custody.timer_ms, &id);
	fixture_put_now(fixture, TABLE_TIMERS, &key, NULL, 0);
	key = store_key_counter(sequence);
	value = store_value_id(&id);
	fixture_put_value(fixture, TABLE_INBOX, &key, &value);
	custody_clear(&custody);
}

/* A sound store with messages 1 to 3. */
static int setup(void **state)
{
	struct fixture *fixture;

	fixture_setup(state);
	fixture = *state;
	fixture_open(fixture);
	put_counter(fixture, "epoch", 2);
	put_counter(fixture, "next_sequence", 4);
	put_counter(fixture, "next_row", 1004);
	put_counter(fixture, "next_inbox", 4);
	put_counter(fixture, "custody_ms", 1000);
	for (uint64_t sequence = 1; sequence <= 3; sequence++)
		put_message(fixture, sequence);
	verify(fixture, false, 0, NULL);
	return 0;
}

static void a_sound_store_has_no_findings(void **state)
{
	const struct store_check check = verify(*state, true, 0, NULL);

	assert_int_equal(check.rows[TABLE_CUSTODY], 3);
	assert_int_equal(check.rows[TABLE_QUEUE], 6);
	assert_int_equal(check.quarantined, 0);
}

/* ---- damaged rows */

static void a_damaged_value_harms_its_own_row_only(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key one = message_key(1), two = message_key(2), three = message_key(3), begin = { .len = 0 };
	struct store_key found;
	struct store_check check;
	uint8_t *value;
	size_t len;

	fixture_close(fixture);
	assert_true(fixture_damage(fixture, "envelope-bytes-of-2", 19, 20) > 0);
	fixture_open(fixture);
	assert_int_equal(store_get(fixture->store, TABLE_ENVELOPES, &two, &value, &len), CPD_ERR_DAMAGED);
	assert_null(value);
	assert_true(fixture_has(fixture, TABLE_ENVELOPES, &one));
	assert_true(fixture_has(fixture, TABLE_ENVELOPES, &three));
	assert_int_equal(store_seek(fixture->store, TABLE_ENVELOPES, &one, 0, true, &found, &value, &len), CPD_ERR_DAMAGED);
	assert_memory_equal(found.bytes, two.bytes, two.len); /* told, so that the caller can move it aside */
	assert_int_equal(store_seek(fixture->store, TABLE_ENVELOPES, &found, 0, true, &found, &value, &len), CPD_OK);
	free(value);
	assert_memory_equal(found.bytes, three.bytes, three.len);

	check = verify(fixture, false, 3, "envelopes: the row of message 344001/2/2 is damaged");
	assert_int_equal(check.damaged[TABLE_ENVELOPES], 1);
	assert_int_equal(check.quarantined, 0);
	assert_int_equal(store_get(fixture->store, TABLE_ENVELOPES, &two, &value, &len), CPD_ERR_DAMAGED);

	check = verify(fixture, true, 3, "message 344001/2/2 has lost its envelope");
	assert_int_equal(check.quarantined, 1);
	assert_int_equal(store_count(fixture->store, TABLE_QUARANTINE), 1);
	assert_int_equal(store_get(fixture->store, TABLE_ENVELOPES, &two, &value, &len), CPD_ERR_NOT_FOUND);
	assert_int_equal(store_seek_last(fixture->store, TABLE_QUARANTINE, &begin, &found, &value, &len), CPD_OK);
	assert_int_equal(value[0], TABLE_ENVELOPES);
	assert_int_equal(value[1], 16);
	assert_memory_equal(value + 2, two.bytes, 16);
	assert_memory_equal(value + 18, "envelope-bytes-of-2", 19);
	free(value);
	assert_int_equal(store_count(fixture->store, TABLE_QUEUE), 4);
	verify(fixture, false, 0, NULL);
}

static bool count_row(void *context, const struct store_key *key, struct slice value)
{
	(void)key;
	(void)value;
	++*(size_t *)context;
	return true;
}

static void a_scan_counts_damage_and_goes_on(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key begin = { .len = 0 };
	size_t rows = 0, damaged;

	fixture_close(fixture);
	assert_true(fixture_damage(fixture, "envelope-bytes-of-1", 19, 20) > 0);
	fixture_open(fixture);
	assert_int_equal(store_scan(fixture->store, TABLE_ENVELOPES, &begin, 0, false, 10, count_row, &rows, &damaged), CPD_OK);
	assert_int_equal(rows, 2);
	assert_int_equal(damaged, 1);
}

static void quarantine_takes_damaged_rows_only(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key one = message_key(1), two = message_key(2), absent = message_key(9);

	fixture_close(fixture);
	assert_true(fixture_damage(fixture, "envelope-bytes-of-1", 19, 20) > 0);
	fixture_open(fixture);
	assert_int_equal(store_quarantine(fixture->store, TABLE_ENVELOPES, &two), CPD_OK);
	assert_true(fixture_has(fixture, TABLE_ENVELOPES, &two)); /* sound: perhaps written anew meanwhile */
	assert_int_equal(store_quarantine(fixture->store, TABLE_ENVELOPES, &absent), CPD_OK);
	assert_int_equal(store_count(fixture->store, TABLE_QUARANTINE), 0);
	assert_int_equal(store_quarantine(fixture->store, TABLE_ENVELOPES, &one), CPD_OK);
	assert_false(fixture_has(fixture, TABLE_ENVELOPES, &one));
	assert_int_equal(store_count(fixture->store, TABLE_QUARANTINE), 1);
}

static void a_row_moved_to_another_key_is_damaged(void **state)
{
	struct fixture *fixture = *state;
	struct store_key key = message_key(3);
	uint8_t *value;
	size_t len;

	fixture_close(fixture);
	assert_true(fixture_damage(fixture, key.bytes, 16, 15) > 0); /* 3 becomes 19 in keys and values */
	fixture_open(fixture);
	key = message_key(19);
	assert_int_equal(store_get(fixture->store, TABLE_ENVELOPES, &key, &value, &len), CPD_ERR_DAMAGED);
}

/* ---- invariants */

static void a_lost_custody_record_leaves_no_orphans_in_the_queue(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key key = message_key(2);

	fixture_delete_now(fixture, TABLE_CUSTODY, &key);
	/* two queue rows, a timer, the inbox row, the envelope */
	verify(fixture, false, 5, "queue row 2 of link 12 at IMMEDIATE leads to message 344001/2/2, of which no custody record is held");
	verify(fixture, true, 5, "a timer of message 344001/2/2 belongs to no custody record");
	assert_int_equal(store_count(fixture->store, TABLE_QUEUE), 4);
	assert_int_equal(store_count(fixture->store, TABLE_TIMERS), 2);
	assert_true(fixture_has(fixture, TABLE_ENVELOPES, &key)); /* bytes of a message are never thrown away */
	verify(fixture, false, 2, "the envelope of message 344001/2/2 has no custody record");
}

static void a_lost_queue_row_is_put_back_as_it_was(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key queued = store_key_queue(LINK, PRECEDENCE_IMMEDIATE, 2);
	const struct store_key unrouted = store_key_queue(0, PRECEDENCE_IMMEDIATE, 1003);
	struct item_ref ref;
	uint32_t destination;
	uint8_t *value;
	size_t len;

	fixture_delete_now(fixture, TABLE_QUEUE, &queued);
	fixture_delete_now(fixture, TABLE_QUEUE, &unrouted);
	verify(fixture, true, 2, "message 344001/2/2 waits for link 12 with recipient 500 and has no queue row");
	assert_int_equal(store_get(fixture->store, TABLE_QUEUE, &queued, &value, &len), CPD_OK);
	assert_int_equal(store_value_read_ref((struct slice){ value, len }, &ref, &destination), CPD_OK);
	free(value);
	assert_true(ref.type == ITEM_TYPE_MESSAGE && ref.id.sequence == 2 && ref.precedence == PRECEDENCE_IMMEDIATE && destination == 500);
	assert_true(fixture_has(fixture, TABLE_QUEUE, &unrouted));
	verify(fixture, false, 0, NULL);
}

static void a_recipient_whose_row_is_another_messages_gets_a_new_row(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key fresh = store_key_queue(LINK, PRECEDENCE_IMMEDIATE, 1004);
	struct custody custody;

	fill_custody(&custody, 2);
	custody_recipient(&custody, 500)->row = 3;
	put_custody(fixture, &custody);
	custody_clear(&custody);
	verify(fixture, true, 1, "message 344001/2/2 waits for link 12");
	assert_true(fixture_has(fixture, TABLE_QUEUE, &fresh));
	verify(fixture, false, 0, NULL); /* next_row went up, message 3 kept its row */
}

/* Three recipients behind one link, the way the relay queues them: one row, one finding. */
static void recipients_behind_one_link_share_the_row_that_is_put_back(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key key = store_key_queue(LINK, PRECEDENCE_IMMEDIATE, 2);
	struct custody custody;

	fill_custody(&custody, 2);
	for (uint32_t node = 502; node < 504; node++) {
		struct recipient *recipient = custody_add_recipient(&custody, node);

		recipient->hop = HOP_QUEUED;
		recipient->via = LINK;
		recipient->row = 2;
	}
	put_custody(fixture, &custody);
	verify(fixture, false, 0, NULL);
	fixture_delete_now(fixture, TABLE_QUEUE, &key);
	verify(fixture, true, 1, "with recipient 500");
	verify(fixture, false, 0, NULL);
	for (size_t i = 0; i < custody.recipient_count; i++)
		if (custody.recipients[i].hop == HOP_QUEUED)
			custody.recipients[i].row = 0;
	put_custody(fixture, &custody);
	custody_clear(&custody);
	verify(fixture, true, 1, "with recipient 500");
	assert_int_equal(store_count(fixture->store, TABLE_QUEUE), 7);
	verify(fixture, false, 0, NULL);
}

static void a_held_message_needs_no_queue_row(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key queued = store_key_queue(LINK, PRECEDENCE_IMMEDIATE, 2);
	struct custody custody;

	fill_custody(&custody, 2);
	custody.flags |= CUSTODY_IS_HELD;
	custody_recipient(&custody, 500)->row = 0;
	put_custody(fixture, &custody);
	custody_clear(&custody);
	fixture_delete_now(fixture, TABLE_QUEUE, &queued);
	verify(fixture, true, 0, NULL);
	assert_false(fixture_has(fixture, TABLE_QUEUE, &queued));
}

static void a_lost_timer_is_set_again(void **state)
{
	struct fixture *fixture = *state;
	const struct message_id id = { SELF, 2, 1 };
	const struct store_key right = store_key_timer(5001, &id), wrong = store_key_timer(9999, &id);

	fixture_delete_now(fixture, TABLE_TIMERS, &right);
	fixture_put_now(fixture, TABLE_TIMERS, &wrong, NULL, 0);
	verify(fixture, true, 2, "message 344001/2/1 has lost its timer");
	assert_true(fixture_has(fixture, TABLE_TIMERS, &right));
	assert_false(fixture_has(fixture, TABLE_TIMERS, &wrong));
	verify(fixture, false, 0, NULL);
}

static void a_lost_envelope_is_marked_and_its_message_not_sent(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key key = message_key(1);
	struct custody custody;
	uint8_t *value;
	size_t len;

	fixture_delete_now(fixture, TABLE_ENVELOPES, &key);
	verify(fixture, true, 3, "message 344001/2/1 has lost its envelope"); /* and its two queue rows */
	assert_int_equal(store_get(fixture->store, TABLE_CUSTODY, &key, &value, &len), CPD_OK);
	custody_init(&custody);
	assert_int_equal(custody_decode((struct slice){ value, len }, &custody), CPD_OK);
	free(value);
	assert_false(custody.flags & CUSTODY_HAS_ENVELOPE);
	assert_int_equal(custody_recipient(&custody, 500)->hop, HOP_NONE);
	custody_clear(&custody);
	assert_int_equal(store_count(fixture->store, TABLE_QUEUE), 4);
	verify(fixture, false, 0, NULL);
}

static void a_denied_envelope_is_acknowledged(void **state)
{
	struct fixture *fixture = *state;
	struct custody custody;

	fill_custody(&custody, 1);
	custody.flags &= ~(unsigned)CUSTODY_HAS_ENVELOPE;
	put_custody(fixture, &custody);
	custody_clear(&custody);
	verify(fixture, true, 1, "has an envelope and its custody record denies it");
	verify(fixture, false, 0, NULL);
}

static void a_lost_inbox_row_is_put_back_and_a_stray_one_stays(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key lost = store_key_counter(2), stray = store_key_counter(3);
	const struct message_id id = { SELF, 2, 1 };
	const struct store_value value = store_value_id(&id);

	fixture_delete_now(fixture, TABLE_INBOX, &lost);
	fixture_put_value(fixture, TABLE_INBOX, &stray, &value);
	verify(fixture, true, 2, "message 344001/2/2 has lost its place 2 in the inbox");
	assert_true(fixture_has(fixture, TABLE_INBOX, &lost));
	verify(fixture, false, 1, "inbox place 3 shows message 344001/2/1");
}

static void a_queued_receipts_record_must_be_held(void **state)
{
	struct fixture *fixture = *state;
	const struct item_ref ref = { .type = ITEM_TYPE_RECEIPTS, .id = { SELF, 2, 7 } };
	const struct store_value value = store_value_ref(&ref, 500);
	const struct store_key row = store_key_queue(LINK, PRECEDENCE_FLASH, 900), record = store_key_record(SELF, 2, 7);

	put_counter(fixture, "receipt_counter", 8);
	fixture_put_value(fixture, TABLE_QUEUE, &row, &value);
	verify(fixture, false, 1, "leads to receipts record 344001/2/7");
	fixture_put_now(fixture, TABLE_RECEIPTS, &record, "receipts", 8);
	verify(fixture, false, 0, NULL);
	fixture_delete_now(fixture, TABLE_RECEIPTS, &record);
	verify(fixture, true, 1, NULL);
	assert_false(fixture_has(fixture, TABLE_QUEUE, &row));
}

static void an_unreadable_queue_row_is_removed(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key row = store_key_queue(LINK, PRECEDENCE_FLASH, 900);

	fixture_put_now(fixture, TABLE_QUEUE, &row, "short", 5);
	verify(fixture, true, 1, "queue row 900 of link 12 at FLASH cannot be understood");
	assert_false(fixture_has(fixture, TABLE_QUEUE, &row));
}

static void a_custody_record_under_another_id_is_told(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key key = message_key(9);
	struct custody custody;
	uint8_t *bytes;
	size_t len;

	fill_custody(&custody, 1);
	assert_int_equal(custody_encode(&custody, &bytes, &len), CPD_OK);
	custody_clear(&custody);
	fixture_put_now(fixture, TABLE_CUSTODY, &key, bytes, len);
	free(bytes);
	verify(fixture, false, 1, "the custody record of message 344001/2/9 is that of message 344001/2/1");
}

static void put_own_presence(struct fixture *fixture, uint64_t counter)
{
	const struct presence presence = { .node = SELF, .epoch = 2, .counter = counter };
	const struct store_key key = store_key_number(SELF);
	uint8_t inner[LIMIT_PRESENCE], row[8 + LIMIT_PRESENCE] = { 0 }, signature[64] = { 1 };
	size_t len;

	assert_int_equal(presence_encode(&presence, inner, sizeof(inner), &len), CPD_OK);
	assert_int_equal(signed_record_encode((struct slice){ inner, len }, signature, 1, row + 8, LIMIT_PRESENCE, &len), CPD_OK);
	fixture_put_now(fixture, TABLE_PRESENCE, &key, row, 8 + len);
}

static void counters_below_what_is_used_are_raised(void **state)
{
	static const char *const names[] = { "next_sequence", "next_row", "next_inbox", "next_journal", "receipt_counter", "presence_counter" };
	static const uint64_t right[] = { 4, 1004, 4, 51, 8, 71 };
	struct fixture *fixture = *state;
	const struct store_key journal = store_key_counter(50), record = store_key_record(SELF, 2, 7);
	const struct store_key foreign = store_key_record(SELF + 1, 2, 700), earlier = store_key_record(SELF, 1, 700);
	uint64_t number;
	uint8_t *value;
	size_t len;

	fixture_put_now(fixture, TABLE_JOURNAL, &journal, "entry", 5);
	fixture_put_now(fixture, TABLE_RECEIPTS, &record, "receipts", 8);
	fixture_put_now(fixture, TABLE_RECEIPTS, &foreign, "receipts", 8);
	fixture_put_now(fixture, TABLE_RECEIPTS, &earlier, "receipts", 8);
	put_own_presence(fixture, 70);
	for (size_t i = 0; i < 6; i++)
		put_counter(fixture, names[i], right[i]);
	verify(fixture, false, 0, NULL);
	for (size_t i = 0; i < 6; i++)
		put_counter(fixture, names[i], right[i] - 1); /* the next to be used is used */
	verify(fixture, true, 6, "the counter next_sequence stands at 3 and 3 is in use");
	for (size_t i = 0; i < 6; i++) {
		const struct store_key key = store_key_name(names[i]);

		assert_int_equal(store_get(fixture->store, TABLE_META, &key, &value, &len), CPD_OK);
		assert_int_equal(store_value_read_u64((struct slice){ value, len }, &number), CPD_OK);
		free(value);
		assert_int_equal(number, right[i]);
	}
	verify(fixture, false, 0, NULL);
}

static void an_epoch_or_clock_that_fell_back_is_put_forward(void **state)
{
	struct fixture *fixture = *state;
	const struct store_key key = store_key_name("epoch");
	uint64_t number;
	uint8_t *value;
	size_t len;

	put_counter(fixture, "epoch", 1);
	put_counter(fixture, "custody_ms", 999);
	verify(fixture, true, 2, "the store is in epoch 1 and holds own messages of epoch 2");
	assert_int_equal(store_get(fixture->store, TABLE_META, &key, &value, &len), CPD_OK);
	assert_int_equal(store_value_read_u64((struct slice){ value, len }, &number), CPD_OK);
	free(value);
	assert_int_equal(number, 3); /* one that nobody has seen */
	verify(fixture, false, 0, NULL);
}

/* ---- a running store */

struct steps { struct fixture *fixture; unsigned count, most; uint64_t done; };

/* Between two pieces others write: one row comes, one goes. */
static bool step_with_a_commit(void *context, uint64_t done, uint64_t of)
{
	struct steps *steps = context;
	const struct store_key fresh = store_key_counter(100000 + steps->count), old = store_key_counter(1000 + 499 * (uint64_t)steps->count);
	struct store_batch *batch = fixture_batch(0);

	assert_true(done > steps->done && of >= done);
	steps->done = done;
	fixture_put(batch, TABLE_LATEST, &fresh, "12345678901234567890123", 16);
	assert_int_equal(store_batch_delete(batch, TABLE_JOURNAL, &old), CPD_OK);
	assert_int_equal(store_commit_now(steps->fixture->store, batch), CPD_OK);
	return ++steps->count < steps->most;
}

static void fill_journal(struct fixture *fixture)
{
	struct store_batch *batch = fixture_batch(0);

	for (uint64_t i = 0; i < 1800; i++) {
		const struct store_key key = store_key_counter(1000 + i);

		fixture_put(batch, TABLE_JOURNAL, &key, i == 1700 ? "the needle in it" : "a line of it here", 16);
	}
	assert_int_equal(store_commit_now(fixture->store, batch), CPD_OK);
	put_counter(fixture, "next_journal", 200000);
}

static void a_running_store_is_proved_in_pieces(void **state)
{
	struct fixture *fixture = *state;
	struct steps steps = { fixture, 0, 100, 0 };
	struct store_check check;

	fill_journal(fixture);
	fixture_close(fixture);
	assert_true(fixture_damage(fixture, "the needle in it", 16, 3) > 0);
	fixture_open(fixture);
	assert_int_equal(store_verify_running(fixture->store, NULL, step_with_a_commit, &steps, &check), CPD_OK);
	assert_true(steps.count >= 3);
	assert_int_equal(check.damaged[TABLE_JOURNAL], 1);
	assert_int_equal(check.broken_invariants, 0);
	assert_true(check.rows[TABLE_JOURNAL] >= 1795 && check.rows[TABLE_JOURNAL] <= 1800);
}

static void a_check_of_a_running_store_can_be_broken_off(void **state)
{
	struct fixture *fixture = *state;
	struct steps steps = { fixture, 0, 2, 0 };
	struct store_check check;

	fill_journal(fixture);
	assert_int_equal(store_verify_running(fixture->store, NULL, step_with_a_commit, &steps, &check), CPD_ERR_STATE);
	assert_int_equal(steps.count, 2);
	verify(fixture, false, 0, NULL);
}

int main(void)
{
#define CHECK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		CHECK_TEST(a_sound_store_has_no_findings),
		CHECK_TEST(a_damaged_value_harms_its_own_row_only),
		CHECK_TEST(a_scan_counts_damage_and_goes_on),
		CHECK_TEST(quarantine_takes_damaged_rows_only),
		CHECK_TEST(a_row_moved_to_another_key_is_damaged),
		CHECK_TEST(a_lost_custody_record_leaves_no_orphans_in_the_queue),
		CHECK_TEST(a_lost_queue_row_is_put_back_as_it_was),
		CHECK_TEST(a_recipient_whose_row_is_another_messages_gets_a_new_row),
		CHECK_TEST(recipients_behind_one_link_share_the_row_that_is_put_back),
		CHECK_TEST(a_held_message_needs_no_queue_row),
		CHECK_TEST(a_lost_timer_is_set_again),
		CHECK_TEST(a_lost_envelope_is_marked_and_its_message_not_sent),
		CHECK_TEST(a_denied_envelope_is_acknowledged),
		CHECK_TEST(a_lost_inbox_row_is_put_back_and_a_stray_one_stays),
		CHECK_TEST(a_queued_receipts_record_must_be_held),
		CHECK_TEST(an_unreadable_queue_row_is_removed),
		CHECK_TEST(a_custody_record_under_another_id_is_told),
		CHECK_TEST(counters_below_what_is_used_are_raised),
		CHECK_TEST(an_epoch_or_clock_that_fell_back_is_put_forward),
		CHECK_TEST(a_running_store_is_proved_in_pieces),
		CHECK_TEST(a_check_of_a_running_store_can_be_broken_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
