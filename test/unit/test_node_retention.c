/*
 * node: what nobody needs any more goes, and no more than that; the store stays in order.
 */
#include "daemon/relay/relay.h"
#include "test/unit/node_fixture.h"

#define COUNT 20
#define DAY_MS INT64_C(86400000)

static uint64_t rows(int which, enum store_table table)
{
	return store_count(node_store(nodes[which]), table);
}

static void done(void *context, enum cpd_error error, const char *why)
{
	(void)why;
	assert_int_equal(error, CPD_OK);
	(*(int *)context)++;
}

static void read_it(int which, const struct message_id *id)
{
	int calls = 0;

	node_operate(nodes[which], id, ACT_READ, REFUSED_NONE, "", done, &calls);
	UNTIL(calls == 1);
}

static void report_line(void *context, const char *line)
{
	(void)context;
	print_message("%s\n", line);
}

/* Both nodes stand still for so long: what they hold is that much older then. */
static void days_pass(int days)
{
	for (int which = 0; which < 2; which++) {
		const struct store_options options = { .path = configs[which].store, .hash = crypto_digest };
		const struct store_key name = store_key_name("custody_ms");
		struct store_batch *batch = store_batch_new(1);
		struct store_value value;
		struct store_check check;
		struct store *store;
		const char *why;
		uint64_t ms;
		uint8_t *bytes;
		size_t len;

		stop(which);
		assert_int_equal(store_open(&options, &store, &why), CPD_OK);
		assert_int_equal(store_get(store, TABLE_META, &name, &bytes, &len), CPD_OK);
		assert_int_equal(store_value_read_u64((struct slice){ bytes, len }, &ms), CPD_OK);
		free(bytes);
		value = store_value_u64(ms + (uint64_t)(days * DAY_MS));
		assert_int_equal(store_batch_put(batch, TABLE_META, &name, (struct slice){ value.bytes, value.len }), CPD_OK);
		assert_int_equal(store_commit_now(store, batch), CPD_OK);
		assert_int_equal(store_verify(store, false, report_line, NULL, &check), CPD_OK);
		assert_int_equal(check.broken_invariants, 0);
		store_close(store);
	}
	for (int which = 0; which < 2; which++)
		start(which);
	UNTIL(is_linked(0) && is_linked(1));
}

static bool has_swept(int which)
{
	return nodes[which]->retention.due_ms > node_ms(nodes[which]) + 60000;
}

/* Messages of node 0, all delivered, their floor known to node 1. */
static void exchange(struct answer answers[COUNT], bool reads)
{
	char key[20];

	for (int i = 0; i < COUNT; i++) {
		snprintf(key, sizeof(key), "key-%d", i);
		author(0, DESK, text("een bericht"), 6, key, &answers[i]);
		UNTIL(answers[i].calls);
		UNTIL(has_level(0, &answers[i].id, DESK, LEVEL_DELIVERED));
		if (!reads)
			continue;
		read_it(1, &answers[i].id);
		UNTIL(has_level(0, &answers[i].id, DESK, LEVEL_READ));
	}
}

static bool floor_is_known(void)
{
	struct presence presence;
	int64_t age_s;

	return node_presence(nodes[1], NSP, &presence, &age_s) && presence.floor_count && presence.floors[0].floor > COUNT;
}

static void what_is_past_its_term_goes_and_the_store_stays_in_order(void **state)
{
	struct answer answers[COUNT], again;
	char key[8];
	int gone = 0;

	(void)state;
	exchange(answers, true);
	assert_int_equal(rows(1, TABLE_INBOX), COUNT);
	assert_true(rows(1, TABLE_RECEIPTS) >= COUNT);
	assert_int_equal(rows(0, TABLE_AUTHORED), COUNT);
	UNTIL(has_swept(0) && has_swept(1));
	days_pass(8);
	UNTIL(floor_is_known() && has_swept(0) && has_swept(1));
	assert_int_equal(rows(1, TABLE_INBOX), COUNT);
	days_pass(100);
	UNTIL(has_swept(0) && has_swept(1));
	UNTIL(rows(1, TABLE_INBOX) == 0 && rows(1, TABLE_CUSTODY) == 0);
	assert_int_equal(rows(1, TABLE_ENVELOPES), 0);
	UNTIL(rows(0, TABLE_CUSTODY) == 0 && rows(0, TABLE_AUTHORED) == 0);
	days_pass(2);
	UNTIL(has_swept(0) && has_swept(1));
	UNTIL(rows(1, TABLE_RECEIPTS) == 0 && rows(0, TABLE_RECEIPTS) == 0);
	while (gone < COUNT && holds(0, TABLE_CUSTODY, &answers[gone].id))
		gone++;
	snprintf(key, sizeof(key), "key-%d", gone);
	author(0, DESK, text("een nieuw bericht"), 6, key, &again);
	UNTIL(again.calls);
	assert_false(again.existing);
	days_pass(1);
}

static void what_nobody_has_read_stays(void **state)
{
	struct answer answers[COUNT];

	(void)state;
	exchange(answers, false);
	days_pass(8);
	UNTIL(floor_is_known());
	days_pass(400);
	UNTIL(has_swept(1));
	assert_int_equal(rows(1, TABLE_INBOX), COUNT);
	assert_int_equal(rows(1, TABLE_ENVELOPES), COUNT);
	assert_int_equal(rows(1, TABLE_CUSTODY), COUNT);
	assert_true(rows(1, TABLE_RECEIPTS) > 0);
}

static void a_key_is_known_for_a_week(void **state)
{
	struct answer first, again;

	(void)state;
	author(0, DESK, text("een bericht"), 6, "sleutel", &first);
	UNTIL(first.calls);
	UNTIL(has_level(0, &first.id, DESK, LEVEL_DELIVERED));
	days_pass(4);
	UNTIL(rows(0, TABLE_CUSTODY) == 0);
	days_pass(2);
	UNTIL(has_swept(0));
	author(0, DESK, text("een bericht"), 6, "sleutel", &again);
	UNTIL(again.calls);
	assert_true(again.existing);
	assert_memory_equal(&again.id, &first.id, sizeof(first.id));
}

/* A record of no known message, sent on longer ago than anybody asks for it; queued for a link that does not come up, or not. */
static struct store_key put_record(uint64_t counter, bool is_queued)
{
	struct receipts receipts = { .witness = DESK, .epoch = nodes[1]->epoch, .counter = counter, .origin = 77, .count = 1,
		.entries = { { .subject = { 77, 1, counter }, .level = LEVEL_DELIVERED } } };
	const struct store_key key = store_key_record(DESK, receipts.epoch, counter);
	const struct item_ref ref = { .type = ITEM_TYPE_RECEIPTS, .precedence = PRECEDENCE_ROUTINE, .id = { DESK, receipts.epoch, counter } };
	const struct store_key row = store_key_queue(999, PRECEDENCE_ROUTINE, counter);
	const struct store_value value = store_value_ref(&ref, 77), next = store_value_u64(counter + 1);
	const struct store_key next_row = store_key_name("next_row"), next_receipt = store_key_name("receipt_counter");
	struct store_batch *batch = store_batch_new(1);
	uint8_t signed_bytes[LIMIT_RECEIPTS], record[LIMIT_RECEIPTS + 128], dated[LIMIT_RECEIPTS + 256], signature[64] = { 1 };
	size_t len;

	assert_int_equal(receipts_encode(&receipts, signed_bytes, &len), CPD_OK);
	assert_int_equal(signed_record_encode((struct slice){ signed_bytes, len }, signature, 1, record, sizeof(record), &len), CPD_OK);
	assert_int_equal(store_batch_put(batch, TABLE_RECEIPTS, &key, time_and_bytes(dated, 1, (struct slice){ record, len })), CPD_OK);
	assert_int_equal(store_batch_put(batch, TABLE_META, &next_row, (struct slice){ next.bytes, next.len }), CPD_OK);
	assert_int_equal(store_batch_put(batch, TABLE_META, &next_receipt, (struct slice){ next.bytes, next.len }), CPD_OK);
	if (is_queued)
		assert_int_equal(store_batch_put(batch, TABLE_QUEUE, &row, (struct slice){ value.bytes, value.len }), CPD_OK);
	assert_int_equal(store_commit_now(node_store(nodes[1]), batch), CPD_OK);
	return key;
}

static bool has_record(const struct store_key *key)
{
	uint8_t *value;
	size_t len;

	if (store_get(node_store(nodes[1]), TABLE_RECEIPTS, key, &value, &len))
		return false;
	free(value);
	return true;
}

static void a_record_that_waits_for_its_link_stays(void **state)
{
	struct store_key waits, last;

	(void)state;
	waits = put_record(5000, true);
	for (uint64_t i = 0; i < 600; i++)      /* more than a piece */
		last = put_record(6000 + i, false);
	days_pass(2);
	for (int i = 0; i < 20 && !has_swept(1); i++) {  /* a piece is taken in a turn that runs anyway */
		struct answer answer;

		send_and_wait(1, NSP, "een beurt", &answer);
		run_ms(400);
	}
	UNTIL(rows(1, TABLE_RECEIPTS) == 1);
	assert_true(has_record(&waits));
	assert_false(has_record(&last));
}

/* The record of an own message below its floor, final and without bytes, as it was before a purge. */
static void put_back(const struct message_id *id, struct slice record)
{
	struct store_batch *batch = store_batch_new(1);
	const struct store_key key = store_key_id(id);
	struct custody custody;
	uint8_t *value;
	size_t len;

	custody_init(&custody);
	assert_int_equal(custody_decode(record, &custody), CPD_OK);
	custody.flags &= ~(unsigned)CUSTODY_HAS_ENVELOPE;
	custody.flags |= CUSTODY_IS_FINAL;
	custody.timer_ms = 0;
	assert_int_equal(custody_encode(&custody, &value, &len), CPD_OK);
	custody_clear(&custody);
	assert_int_equal(store_batch_put(batch, TABLE_CUSTODY, &key, (struct slice){ value, len }), CPD_OK);
	assert_int_equal(store_commit_now(node_store(nodes[0]), batch), CPD_OK);
	free(value);
}

/* The addressee's READ of it, as it would come in by the link. */
static struct verified_receipts *read_receipt(const struct message_id *id, const struct hash8 *hash)
{
	static uint8_t record[LIMIT_RECEIPTS + 128];
	static struct verified_receipts verified;
	struct receipts receipts = { .witness = DESK, .epoch = nodes[1]->epoch, .counter = 4000, .origin = NSP, .count = 1,
		.entries = { { .subject = *id, .hash = *hash, .level = LEVEL_READ } } };
	uint8_t signed_bytes[LIMIT_RECEIPTS];
	size_t len;

	assert_int_equal(receipts_encode(&receipts, signed_bytes, &len), CPD_OK);
	assert_int_equal(verify_own_receipts(nodes[1]->directory, nodes[1]->identity, (struct slice){ signed_bytes, len }, record,
	    sizeof(record), &len, &verified), CPD_OK);
	return &verified;
}

static void a_receipt_in_the_turn_of_a_purge_brings_nothing_back(void **state)
{
	struct node *node = nodes[0];
	struct store_key key;
	struct answer answer;
	struct custody custody;
	struct hash8 hash;
	struct work *work;
	uint8_t *record;
	size_t len;

	(void)state;
	send_and_wait(0, DESK, "een bericht", &answer);
	key = store_key_id(&answer.id);
	assert_int_equal(store_get(node_store(node), TABLE_CUSTODY, &key, &record, &len), CPD_OK);
	assert_int_equal(custody_decode((struct slice){ record, len }, &custody), CPD_OK);
	hash = custody.hash;
	custody_clear(&custody);
	days_pass(4);
	node = nodes[0];
	UNTIL(rows(0, TABLE_CUSTODY) == 0 && !node->purge_count && !node->first);
	put_back(&answer.id, (struct slice){ record, len });
	free(record);
	assert_null(node->first);
	node->purges = realloc(node->purges, sizeof(*node->purges));
	assert_non_null(node->purges);
	node->purges[0] = (struct relay_effect){ .type = EFFECT_PURGE_BELOW, .node = NSP, .epoch = answer.id.epoch,
		.sequence = answer.id.sequence + 1, .id = { NSP, answer.id.epoch, 0 } };
	node->purge_count = 1;
	work = work_new(WORK_EVENT);
	assert_non_null(work);
	work->event = (struct relay_event){ .type = RELAY_RECEIPTS, .link = DESK, .receipts = read_receipt(&answer.id, &hash) };
	work_push(node, work);
	UNTIL(!node->purge_count && !node->first);
	assert_int_equal(rows(0, TABLE_CUSTODY), 0);
}

static uint64_t floor_known(uint32_t epoch)
{
	struct presence presence;
	int64_t age_s;

	if (!node_presence(nodes[1], NSP, &presence, &age_s))
		return 0;
	for (size_t i = 0; i < presence.floor_count; i++)
		if (presence.floors[i].epoch == epoch)
			return presence.floors[i].floor;
	return 0;
}

/* A presence of the NSP, as one whose disk was lost would tell it. */
static void tell_of_a_new_disk(uint32_t epoch, uint64_t floor)
{
	static uint8_t signed_bytes[LIMIT_PRESENCE], record[LIMIT_PRESENCE];
	static struct verified_presence verified;
	struct presence presence = { .node = NSP, .epoch = epoch, .counter = 1, .floors = { { epoch, floor } }, .floor_count = 1 };
	struct work *work = work_new(WORK_EVENT);
	uint8_t signature[64];
	size_t len;

	assert_non_null(work);
	assert_int_equal(presence_encode(&presence, signed_bytes, sizeof(signed_bytes), &len), CPD_OK);
	assert_int_equal(sign_bytes(nodes[0]->identity, SIGN_PRESENCE, (struct slice){ signed_bytes, len }, signature), CPD_OK);
	assert_int_equal(signed_record_encode((struct slice){ signed_bytes, len }, signature, identity_key_number(nodes[0]->identity),
	    record, sizeof(record), &len), CPD_OK);
	assert_int_equal(verify_presence(nodes[1]->directory, "test", (struct slice){ record, len }, &verified), CPD_OK);
	work->event = (struct relay_event){ .type = RELAY_HEARD, .link = NSP, .presence = &verified };
	work_push(nodes[1], work);
}

static bool is_stored(uint32_t epoch)
{
	struct store_key key = store_key_number(NSP);
	struct signed_record record;
	struct presence presence;
	uint8_t *value;
	size_t len;
	bool is = false;

	if (store_get(node_store(nodes[1]), TABLE_PRESENCE, &key, &value, &len))
		return false;
	if (!signed_record_decode((struct slice){ value + 8, len - 8 }, LIMIT_PRESENCE, &record) && !presence_decode(record.signed_bytes, &presence))
		is = presence.epoch == epoch;
	free(value);
	return is;
}

static void floors_that_a_lost_disk_no_longer_tells_are_known_after_a_restart(void **state)
{
	struct answer answer;
	uint32_t epoch = nodes[0]->epoch;

	(void)state;
	send_and_wait(0, DESK, "een bericht", &answer);
	days_pass(4);
	UNTIL(floor_known(epoch) > answer.id.sequence);
	tell_of_a_new_disk(epoch + 7, 900);
	UNTIL(floor_known(epoch + 7) == 900);
	UNTIL(is_stored(epoch + 7));
	assert_true(floor_known(epoch) > answer.id.sequence);
	stop(1);
	start(1);
	assert_true(floor_known(epoch) > answer.id.sequence);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_past_its_term_goes_and_the_store_stays_in_order),
		TEST(what_nobody_has_read_stays),
		TEST(a_key_is_known_for_a_week),
		TEST(a_record_that_waits_for_its_link_stays),
		TEST(floors_that_a_lost_disk_no_longer_tells_are_known_after_a_restart),
		TEST(a_receipt_in_the_turn_of_a_purge_brings_nothing_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
