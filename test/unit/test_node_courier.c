/*
 * test_node_courier.c: courier files between two nodes without a link: nothing is acknowledged before it is on disk, and what
 * fails on the way has lost nothing. test/system/test_courier.py has the same between processes.
 */
#include "test/unit/node_faults.h"

#include "daemon/node_courier.h"
#include "test/unit/alloc_fault.h"

struct couriered { int calls; enum cpd_error error; struct courier_report report; };

/* The fixture's two, and nobody calls. */
static int setup_apart(void **state)
{
	if (setup(state))
		return -1;
	stop(0);
	links[0].address[0] = '\0';
	strcpy(links[0].profile, "courier");
	start(0);
	UNTIL(!is_linked(1));
	return 0;
}

static void couriered(void *context, enum cpd_error error, const char *why, struct courier_report *report)
{
	struct couriered *done = context;

	assert_true(!error || (why && strlen(why) > 10));
	assert_true(!error || !report->file);
	done->calls++;
	done->error = error;
	done->report = *report;
}

/* What node `from` owes the other. The caller frees report.file. */
static void stick_fill(int from, size_t limit, struct couriered *done)
{
	*done = (struct couriered){ 0 };
	node_courier_write(nodes[from], from ? NSP : DESK, limit, couriered, done);
	UNTIL(done->calls);
	assert_int_equal(done->error, CPD_OK);
	assert_non_null(done->report.file);
}

static void begin_reading(int at, const struct couriered *written, struct couriered *done)
{
	uint8_t *copy = malloc(written->report.len);

	memcpy(copy, written->report.file, written->report.len);
	*done = (struct couriered){ 0 };
	node_courier_read(nodes[at], copy, written->report.len, false, couriered, done);
}

static void stick_read(int at, const struct couriered *written, struct couriered *done)
{
	begin_reading(at, written, done);
	UNTIL(done->calls);
}

static void write_message(const char *words, struct answer *answer)
{
	author(0, DESK, text(words), 6, NULL, answer);
	UNTIL(answer->calls);
	assert_int_equal(answer->error, CPD_OK);
}

static size_t acks_owed(int which)
{
	size_t count = 0;

	for (size_t i = 0; i < nodes[which]->courier->owed_count; i++)
		count += nodes[which]->courier->owed[i].count;
	return count;
}

static enum hop_state hop_of(int which, const struct message_id *id)
{
	struct custody custody;
	enum hop_state hop;

	assert_int_equal(node_load_custody(nodes[which], id, &custody), CPD_OK);
	hop = custody.recipients[0].hop;
	custody_clear(&custody);
	return hop;
}

static void nothing_is_acknowledged_before_it_is_on_disk(void **state)
{
	struct couriered written, read;
	struct answer answer;

	(void)state;
	write_message("eerst de schijf", &answer);
	stick_fill(0, LIMIT_COURIER, &written);
	atomic_store(&commits_may_go, false);
	node_store(nodes[1])->commit_fault = held_commits;
	begin_reading(1, &written, &read);
	run_ms(400);
	assert_int_equal(read.calls, 0);
	assert_int_equal(acks_owed(1), 0);
	assert_false(holds(1, TABLE_CUSTODY, &answer.id));
	atomic_store(&commits_may_go, true);
	UNTIL(read.calls);
	assert_int_equal(read.error, CPD_OK);
	assert_int_equal(read.report.taken, 1);
	assert_true(holds(1, TABLE_CUSTODY, &answer.id));
	assert_int_equal(acks_owed(1), 1);
	free(written.report.file);
}

static void a_failed_commit_acknowledges_nothing_and_the_stick_is_read_again(void **state)
{
	struct couriered written, read;
	struct answer answer;

	(void)state;
	write_message("gaat eerst mis", &answer);
	stick_fill(0, LIMIT_COURIER, &written);
	break_commits(1, ENOSPC);
	stick_read(1, &written, &read);
	assert_int_equal(read.error, CPD_ERR_STATE);
	assert_true(read.report.is_dropped);     /* not a file of its own */
	assert_int_equal(acks_owed(1), 0);
	UNTIL(nodes[1]->relay && !nodes[1]->rebuild_why);
	stick_read(1, &written, &read);
	assert_int_equal(read.error, CPD_OK);
	assert_int_equal(read.report.taken, 1);
	assert_int_equal(acks_owed(1), 1);
	free(written.report.file);
}

static void a_signed_word_releases_and_nothing_else(void **state)
{
	struct couriered written, read, back, heard;
	struct answer answer;

	(void)state;
	write_message("heen en terug", &answer);
	stick_fill(0, LIMIT_COURIER, &written);
	assert_int_equal(written.report.messages, 1);
	assert_int_equal(hop_of(0, &answer.id), HOP_QUEUED);
	stick_read(1, &written, &read);
	stick_fill(1, LIMIT_COURIER, &back);
	assert_int_equal(back.report.acks, 1);
	assert_int_equal(hop_of(0, &answer.id), HOP_QUEUED);
	stick_read(0, &back, &heard);
	assert_int_equal(heard.report.released, 1);
	assert_int_equal(hop_of(0, &answer.id), HOP_PASSED);
	UNTIL(has_level(0, &answer.id, DESK, LEVEL_DELIVERED));
	free(written.report.file);
	free(back.report.file);
}

/* Its rows have other numbers, or the same for other things. */
static void a_word_for_an_earlier_epoch_releases_nothing(void **state)
{
	struct couriered written, read, back, heard;
	struct identity *identity;
	struct answer answer;

	(void)state;
	write_message("van voor de brand", &answer);
	stick_fill(0, LIMIT_COURIER, &written);
	stick_read(1, &written, &read);
	stick_fill(1, LIMIT_COURIER, &back);
	stop(0);
	assert_int_equal(identity_load(configs[0].identity, &identity, NULL), CPD_OK);
	assert_int_equal(identity_set_epoch(identity, 7), CPD_OK);
	identity_free(identity);
	start(0);
	assert_true(nodes[0]->epoch > 7);
	stick_read(0, &back, &heard);
	assert_int_equal(heard.error, CPD_OK);
	assert_int_equal(heard.report.released, 0);
	free(written.report.file);
	free(back.report.file);
}

/* It took it, burnt down, and wrote again: what it said before the fire is known to be void. */
static void the_word_of_who_lost_its_disk_releases_nothing(void **state)
{
	struct couriered written, read, back, later, heard;
	struct identity *identity;
	struct answer answer;

	(void)state;
	write_message("de ontvanger brandt af", &answer);
	stick_fill(0, LIMIT_COURIER, &written);
	stick_read(1, &written, &read);
	stick_fill(1, LIMIT_COURIER, &back);
	stop(1);
	assert_int_equal(identity_load(configs[1].identity, &identity, NULL), CPD_OK);
	assert_int_equal(identity_set_epoch(identity, 7), CPD_OK);
	identity_free(identity);
	start(1);
	stick_fill(1, LIMIT_COURIER, &later);
	stick_read(0, &later, &heard);
	assert_int_equal(heard.error, CPD_OK);
	stick_read(0, &back, &heard);
	assert_int_equal(heard.error, CPD_OK);
	assert_int_equal(heard.report.released, 0);
	assert_int_equal(hop_of(0, &answer.id), HOP_QUEUED);
	free(written.report.file);
	free(back.report.file);
	free(later.report.file);
}

/* Another copy of node 0 is in use. */
static void fence(int which)
{
	nodes[which]->fence = (struct claim){ nodes[which]->claim.claim + 1, nodes[which]->epoch + 1, 4711 };
	claim_fence(nodes[which]);
	assert_true(node_is_fenced(nodes[which]));
}

/* The stick is a way out for what it had accepted, and the word that comes back empties its queue. */
static void a_fenced_copy_hands_over_what_it_had_accepted(void **state)
{
	struct couriered written, read, back, heard;
	struct answer accepted, refused;
	struct message_id id = { 0 };

	(void)state;
	write_message("voor de andere kwam", &accepted);
	fence(0);
	author(0, DESK, text("mag niet"), 6, NULL, &refused);
	UNTIL(refused.calls);
	assert_int_equal(refused.error, CPD_ERR_STATE);
	id = accepted.id;
	stick_fill(0, LIMIT_COURIER, &written);
	assert_true(written.report.is_fenced);
	assert_int_equal(written.report.messages, 1);
	assert_int_equal(relay_next_sequence(nodes[0]->relay), id.sequence + 1);
	stick_read(1, &written, &read);
	assert_int_equal(read.report.taken, 1);
	assert_true(holds(1, TABLE_ENVELOPES, &id));
	stick_fill(1, LIMIT_COURIER, &back);
	assert_int_equal(back.report.acks, 1);
	stick_read(0, &back, &heard);
	assert_int_equal(heard.error, CPD_OK);
	assert_int_equal(heard.report.released, 1);
	assert_int_equal(hop_of(0, &id), HOP_PASSED);
	assert_int_equal(store_count(node_store(nodes[0]), TABLE_QUEUE), 0);
	free(written.report.file);
	free(back.report.file);
}

/* What it took nobody would read, and the copy in use would never have it, though its origin held a receipt. */
static void a_fenced_copy_takes_and_signs_nothing(void **state)
{
	struct couriered written, read, back;
	struct answer answer;

	(void)state;
	author(1, NSP, text("voor wie in gebruik is"), 6, NULL, &answer);
	UNTIL(answer.calls);
	stick_fill(1, LIMIT_COURIER, &written);
	assert_int_equal(written.report.messages, 1);
	fence(0);
	stick_read(0, &written, &read);
	assert_int_equal(read.error, CPD_OK);
	assert_true(read.report.is_fenced);
	assert_int_equal(read.report.taken, 0);
	assert_int_equal(read.report.others, 1);
	assert_false(holds(0, TABLE_CUSTODY, &answer.id));
	assert_int_equal(acks_owed(0), 0);
	stick_fill(0, LIMIT_COURIER, &back);
	assert_int_equal(back.report.acks, 0);
	assert_int_equal(back.report.receipts_out, 0);
	assert_int_equal(hop_of(1, &answer.id), HOP_QUEUED);
	free(written.report.file);
	free(back.report.file);
}

static void a_stick_is_put_down_when_another_copy_is_heard_of(void **state)
{
	struct couriered written, read;
	struct answer answer;

	(void)state;
	author(1, NSP, text("halverwege"), 6, NULL, &answer);
	UNTIL(answer.calls);
	stick_fill(1, LIMIT_COURIER, &written);
	begin_reading(0, &written, &read);
	fence(0);
	UNTIL(read.calls);
	assert_int_equal(read.error, CPD_ERR_STATE);
	run_ms(300);
	assert_false(holds(0, TABLE_CUSTODY, &answer.id));
	assert_int_equal(acks_owed(0), 0);
	free(written.report.file);
}

static void a_file_ends_where_its_precedence_does_not_fit(void **state)
{
	const size_t len = 15000;
	struct couriered written, read;
	struct answer routine[8], priority, flash, last;
	uint8_t *body = calloc(1, len);
	int taken = 0;

	(void)state;
	for (int i = 0; i < 8; i++)
		author(0, DESK, (struct slice){ body, len }, 6, NULL, &routine[i]);
	author_as(PRECEDENCE_PRIORITY, 0, DESK, (struct slice){ body, len }, 6, NULL, &priority);
	author_as(PRECEDENCE_FLASH, 0, DESK, text("nood"), 6, NULL, &flash);
	author(0, DESK, text("klein, en het laatst"), 6, NULL, &last);
	UNTIL(last.calls && routine[7].calls && priority.calls && flash.calls);
	stick_fill(0, LIMIT_COURIER_MIN, &written);
	assert_true(written.report.len <= LIMIT_COURIER_MIN);
	assert_true(written.report.left > 0);
	stick_read(1, &written, &read);
	assert_int_equal(read.error, CPD_OK);
	assert_true(holds(1, TABLE_CUSTODY, &flash.id));
	assert_true(holds(1, TABLE_CUSTODY, &priority.id));
	for (int i = 0; i < 8; i++) {
		bool is_there = holds(1, TABLE_CUSTODY, &routine[i].id);

		assert_true(taken == i || !is_there);    /* the first of them, and no gap */
		taken += is_there;
	}
	assert_in_range(taken, 1, 4);
	assert_false(holds(1, TABLE_CUSTODY, &last.id));
	free(written.report.file);
	free(body);
}

static void a_large_body_goes_whole_or_waits(void **state)
{
	const size_t len = 300000;
	struct couriered written, read;
	uint8_t *body = malloc(len);
	struct answer answer, small;

	(void)state;
	for (size_t i = 0; i < len; i++)
		body[i] = (uint8_t)(i * 2654435761u >> 13);
	author_as(PRECEDENCE_PRIORITY, 0, DESK, (struct slice){ body, len }, 6, NULL, &answer);
	UNTIL(answer.calls);
	assert_int_equal(answer.error, CPD_OK);
	write_message("klein", &small);
	stick_fill(0, 128 * 1024, &written);
	assert_int_equal(written.report.messages, 1);   /* the small one: a body above half the limit holds up nobody */
	assert_int_equal(written.report.left, 1);
	stick_read(1, &written, &read);
	assert_true(holds(1, TABLE_CUSTODY, &small.id));
	free(written.report.file);
	stick_fill(0, LIMIT_COURIER, &written);
	assert_int_equal(written.report.messages, 2);
	stick_read(1, &written, &read);
	assert_int_equal(read.error, CPD_OK);
	assert_int_equal(read.report.taken, 1);
	assert_int_equal(read.report.known, 1);
	assert_int_equal(read.report.later, 0);
	for (uint32_t i = 0; i < tree_leaf_count((uint32_t)len); i++) {
		struct store_key key = store_key_leaf(&answer.id, i);
		uint8_t *leaf;
		size_t leaf_len;

		assert_int_equal(store_get(node_store(nodes[1]), TABLE_LEAVES, &key, &leaf, &leaf_len), CPD_OK);
		assert_memory_equal(leaf, body + (size_t)i * LIMIT_LEAF, leaf_len);
		free(leaf);
	}
	free(written.report.file);
	free(body);
}

/* A file of node 0 with its own presence, written so many seconds ago by a clock of that quality. */
static void presence_file(uint32_t ago_s, enum clock_quality quality, struct couriered *written)
{
	const struct certificate *readers[] = { directory_certificate(nodes[0]->directory, DESK) };
	struct courier_head head = { .epoch = nodes[0]->epoch, .number = 77, .directory = 1, .clock_quality = quality };
	struct courier_writer content = { .most = LIMIT_COURIER };
	struct moment now;

	node_now(nodes[0], &now);
	head.time_s = (uint32_t)(now.wall_ms / 1000) - ago_s;
	assert_int_equal(courier_put_presence(&content, (struct slice){ nodes[0]->courier->presence, nodes[0]->courier->presence_len }, 5), CPD_OK);
	assert_int_equal(courier_seal(nodes[0]->identity, &head, readers, 1, (struct slice){ content.bytes, content.len }, &written->report.file,
	    &written->report.len), CPD_OK);
	courier_writer_clear(&content);
}

/* Silence is seen by the age of presence: a stick must not hide it. */
static void presence_is_as_old_as_its_stick(void **state)
{
	static const struct { uint32_t ago_s; enum clock_quality quality; int64_t at_least_s; } cases[] = {
		{ 3600, CLOCK_NTP, 3605 }, { 60, CLOCK_UNKNOWN, 86405 }, { 60, CLOCK_MANUAL, 86405 },
	};
	struct couriered written, read;
	struct presence presence;
	int64_t age_s;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		stick_fill(0, LIMIT_COURIER, &written);         /* announces: a newer presence */
		free(written.report.file);
		presence_file(cases[i].ago_s, cases[i].quality, &written);
		stick_read(1, &written, &read);
		assert_int_equal(read.error, CPD_OK);
		assert_true(node_presence(nodes[1], NSP, &presence, &age_s));
		assert_in_range(age_s, cases[i].at_least_s, cases[i].at_least_s + 30);
		free(written.report.file);
	}
}

static void a_second_job_is_told_to_wait(void **state)
{
	struct couriered first = { 0 }, second = { 0 };

	(void)state;
	node_courier_write(nodes[0], DESK, LIMIT_COURIER, couriered, &first);
	node_courier_write(nodes[0], DESK, LIMIT_COURIER, couriered, &second);
	assert_int_equal(second.calls, 1);
	assert_int_equal(second.error, CPD_ERR_BUSY);
	UNTIL(first.calls);
	assert_int_equal(first.error, CPD_OK);
	free(first.report.file);
	node_courier_write(nodes[0], 4711, LIMIT_COURIER, couriered, &second);
	UNTIL(second.calls == 2);
	assert_int_equal(second.error, CPD_ERR_NOT_FOUND);
}

/* A node that is stopped in the middle of it tells so, and forgets nothing that it had told. */
static void a_stop_in_the_middle_is_told(void **state)
{
	struct couriered written, read;
	struct answer answer;

	(void)state;
	write_message("halverwege", &answer);
	stick_fill(0, LIMIT_COURIER, &written);
	begin_reading(1, &written, &read);
	stop(1);
	assert_int_equal(read.calls, 1);
	assert_int_equal(read.error, CPD_ERR_STATE);
	assert_true(read.report.is_dropped);     /* not a file of its own */
	start(1);
	stick_read(1, &written, &read);
	assert_int_equal(read.error, CPD_OK);
	assert_true(holds(1, TABLE_CUSTODY, &answer.id));
	free(written.report.file);
}

/* The first allocation fails, then the second, and so on: it is told, and reading again takes all. */
static void without_memory_nothing_is_lost(void **state)
{
	struct couriered written, read;
	struct answer answer;
	unsigned long call = 1;
	bool was_hit = true;

	(void)state;
	if (!alloc_fault_works)
		skip();
	write_message("zonder geheugen", &answer);
	stick_fill(0, LIMIT_COURIER, &written);
	for (; was_hit; call++) {
		uint8_t *copy = malloc(written.report.len);

		assert_true(call < 200);
		memcpy(copy, written.report.file, written.report.len);
		read = (struct couriered){ 0 };
		alloc_fault_arm(call);
		node_courier_read(nodes[1], copy, written.report.len, false, couriered, &read);
		was_hit = alloc_fault_disarm();
		UNTIL(read.calls);
		UNTIL(nodes[1]->relay && !nodes[1]->rebuild_why);
		assert_null(nodes[1]->courier->job);
	}
	assert_true(call > 5);
	assert_int_equal(read.error, CPD_OK);
	assert_true(holds(1, TABLE_CUSTODY, &answer.id));
	free(written.report.file);
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_apart, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_acknowledged_before_it_is_on_disk),
		TEST(a_failed_commit_acknowledges_nothing_and_the_stick_is_read_again),
		TEST(a_signed_word_releases_and_nothing_else),
		TEST(a_word_for_an_earlier_epoch_releases_nothing),
		TEST(the_word_of_who_lost_its_disk_releases_nothing),
		TEST(a_fenced_copy_hands_over_what_it_had_accepted),
		TEST(a_fenced_copy_takes_and_signs_nothing),
		TEST(a_stick_is_put_down_when_another_copy_is_heard_of),
		TEST(a_file_ends_where_its_precedence_does_not_fit),
		TEST(a_large_body_goes_whole_or_waits),
		TEST(presence_is_as_old_as_its_stick),
		TEST(a_second_job_is_told_to_wait),
		TEST(a_stop_in_the_middle_is_told),
		TEST(without_memory_nothing_is_lost),
	};

	return cmocka_run_group_tests_name("node_courier", tests, NULL, NULL);
}
