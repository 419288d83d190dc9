/*
 * node under strain: what no credit holds back, a writer that is behind, a small store; and that the loop
 * neither spins nor forgets.
 */
#include "test/unit/node_faults.h"

/* ---------------------------------------------------------------- what no credit holds back */

static size_t length_of(const struct work_list *list)
{
	size_t length = 0;

	for (const struct work *work = list->first; work; work = work->next)
		length++;
	return length;
}

static void a_flood_of_presences_is_let_go_and_the_next_ones_are_heard(void **state)
{
	uint8_t record[200] = { 0 };
	const struct link_event event = { .type = LINK_EVENT_PRESENCE, .bytes = { record, sizeof(record) } };
	struct node *node = nodes[1];
	struct node_link *link = links_find(node, NSP);
	struct node_counters before, after;

	(void)state;
	UNTIL(link->presences == 0);
	node_counters(node, &before);
	for (int i = 0; i < 10000; i++)
		gather_presence(node, NSP, &event);
	assert_true(length_of(&node->waiting) + length_of(&node->checking) <= NODE_PRESENCES);
	UNTIL(link->presences == 0);
	node_counters(node, &after);
	assert_int_equal(after.verify_failed - before.verify_failed, NODE_PRESENCES);
	gather_presence(node, NSP, &event);
	UNTIL(link->presences == 0);
	node_counters(node, &after);
	assert_int_equal(after.verify_failed - before.verify_failed, NODE_PRESENCES + 1);
	assert_true(is_linked(1));
}

/* A hello as the certified neighbour NSP may say it over a session of its own. */
static void say_hello(struct node *node, uint64_t session, uint32_t seen_epoch)
{
	struct frame frame = { .has = FRAME_HELLO, .hello = { .version = LINK_VERSION, .version_min = LINK_VERSION, .epoch = 1,
		.your_epoch = node->epoch, .seen_epoch = seen_epoch, .seen_sequence = 1, .clock_ms = -1 } };
	struct bearer_events events;
	uint8_t bytes[LIMIT_FRAME];
	size_t len;

	links_bearer(node, &events);
	assert_int_equal(frame_encode(&frame, bytes, &len), CPD_OK);
	events.up(events.context, NSP, session);
	events.frame(events.context, NSP, session, (struct slice){ bytes, len });
	events.down(events.context, NSP, session, "over");
}

static void a_neighbour_cannot_talk_a_node_to_its_last_epoch(void **state)
{
	(void)state;
	say_hello(nodes[1], 999, UINT32_MAX - 1);
	run_ms(300);
	assert_false(node_has_failed(nodes[1]));
	assert_int_equal(nodes[1]->epoch, 1);
	say_hello(nodes[1], 1000, UINT32_MAX);
	say_hello(nodes[1], 1001, UINT32_MAX - 3);
	run_ms(300);
	assert_int_equal(nodes[1]->epoch, 1);
	say_hello(nodes[1], 1002, 5);
	UNTIL(nodes[1]->epoch == 6);
	/* and not at each of its calls */
	UNTIL(is_linked(1));
	say_hello(nodes[1], 1003, 7);
	run_ms(300);
	assert_int_equal(nodes[1]->epoch, 6);
	UNTIL(is_linked(0) && is_linked(1));
}

/* ---------------------------------------------------------------- the loop */

static void ask_own(struct node *node)
{
	struct work *work = work_new(WORK_OWN_SCAN);

	assert_non_null(work);
	work->own_node = DESK;
	work_list_add(&node->idle, work);
	node_wake(node);
}

/* Nobody is there, so that nothing else sets a turn going. */
static void a_question_that_waits_for_the_disk_is_asked_when_it_is_free(void **state)
{
	struct answer answer;
	int64_t end;

	(void)state;
	stop(1);
	configs[0].timers.retry_ms[PRECEDENCE_ROUTINE] = 60000;
	stop(0);
	start(0);
	run_ms(500);
	node_store(nodes[0])->commit_fault = slow_commits;
	author(0, DESK, text("even wachten"), 6, NULL, &answer);
	UNTIL(nodes[0]->in_flight);
	ask_own(nodes[0]);
	UNTIL(answer.calls);
	for (end = clock_ms() + 1000; nodes[0]->idle.first && clock_ms() < end;)
		event_base_loop(base, EVLOOP_ONCE);
	assert_null(nodes[0]->idle.first);
}

static void a_deadline_that_waits_for_the_disk_does_not_spin(void **state)
{
	struct answer answer;
	unsigned passes = 0;

	(void)state;
	node_store(nodes[0])->commit_fault = slow_commits;
	author(0, DESK, text("even wachten"), 6, NULL, &answer);
	UNTIL(nodes[0]->in_flight);
	nodes[0]->idle_since_ms = node_ms(nodes[0]) - 6000;
	ask_own(nodes[0]);
	nodes[0]->row_due_ms = 0;
	for (; !answer.calls; passes++)
		event_base_loop(base, EVLOOP_ONCE);
	assert_true(passes < 100);      /* 10 of the ticker, and some */
}

/* ---------------------------------------------------------------- the journal */

static unsigned heard;

static void listener(void *context, const struct node_news *news)
{
	struct store_key key = store_key_counter(news->number);
	struct node_news stored;
	uint8_t *value;
	size_t len;

	(void)context;
	assert_int_equal(store_get(node_store(nodes[0]), TABLE_JOURNAL, &key, &value, &len), CPD_OK);
	assert_int_equal(node_news_decode((struct slice){ value, len }, &stored), CPD_OK);
	assert_memory_equal(&stored.id, &news->id, sizeof(stored.id));
	assert_int_equal(stored.what, news->what);
	assert_int_equal(node_news_decode((struct slice){ value, 20 }, &stored), CPD_ERR_MALFORMED); /* its fields are longer */
	free(value);
	heard++;
}

static void listeners_hear_what_is_on_disk(void **state)
{
	struct answer answer;

	(void)state;
	heard = 0;
	node_listen(nodes[0], listener, NULL);
	send_and_wait(0, DESK, "nieuws", &answer);
	assert_true(heard >= 2);
	node_unlisten(nodes[0], listener, NULL);
	heard = 0;
	send_and_wait(0, DESK, "geen nieuws", &answer);
	assert_int_equal(heard, 0);
}

/* ---------------------------------------------------------------- much at a time */

static struct slice document(size_t len, unsigned seed)
{
	uint8_t *body = malloc(len);

	assert_non_null(body);
	for (size_t i = 0; i < len; i++)
		body[i] = (uint8_t)((i + seed) * 2654435761u >> 13);
	return (struct slice){ body, len };
}

/* More in one turn than the writer lets wait: the turn waits, it is not given up. */
static void a_turn_that_the_writer_has_no_room_for_waits(void **state)
{
	struct answer first, answers[12];
	struct slice body = document(1024 * 1024, 1);

	(void)state;
	node_store(nodes[1])->commit_fault = slow_commits;
	author(1, NSP, body, 20, NULL, &first);
	UNTIL(node_store(nodes[1])->waiting_bytes);
	for (size_t i = 0; i < 12; i++)
		author(1, NSP, body, 20, NULL, &answers[i]);
	for (size_t i = 0; i < 12; i++) {
		UNTIL(answers[i].calls);
		assert_int_equal(answers[i].error, CPD_OK);
		assert_true(answers[i].was_stored);
	}
	assert_int_equal(first.error, CPD_OK);
	free((void *)(uintptr_t)body.data);
}

/* Closed while it waits: whoever is told that his words are kept finds them on disk. */
static void a_turn_that_waits_is_on_disk_before_it_is_told_at_the_end(void **state)
{
	struct answer first, answers[12];
	struct slice body = document(1024 * 1024, 1);

	(void)state;
	atomic_store(&commits_may_go, false);
	node_store(nodes[1])->commit_fault = held_commits;
	author(1, NSP, body, 20, NULL, &first);
	UNTIL(node_store(nodes[1])->waiting_bytes);
	for (size_t i = 0; i < 12; i++)
		author(1, NSP, body, 20, NULL, &answers[i]);
	run_ms(100);                    /* decided, and the disk is busy still */
	assert_int_equal(first.calls, 0);
	atomic_store(&commits_may_go, true);
	stop(1);
	start(1);
	assert_int_equal(first.calls, 1);
	assert_true(first.was_stored);
	for (size_t i = 0; i < 12; i++) {
		assert_int_equal(answers[i].calls, 1);
		assert_true(answers[i].was_stored == !answers[i].error);
		assert_true(answers[i].error || holds(1, TABLE_ENVELOPES, &answers[i].id));
	}
	free((void *)(uintptr_t)body.data);
}

/* A neighbour whose disk is busy is not given all that waits for it, and its queues stay short for what is urgent. */
static void a_busy_neighbour_gets_little_ahead_and_the_urgent_all_the_same(void **state)
{
	static struct answer answers[2 * SEND_WINDOW_LEAST];
	struct answer urgent;
	struct link_figures figures;
	const struct node_link *link = nodes[0]->links[0];

	(void)state;
	UNTIL(is_linked(0) && is_linked(1));
	atomic_store(&commits_may_go, false);
	node_store(nodes[1])->commit_fault = held_commits;
	for (size_t i = 0; i < 2 * SEND_WINDOW_LEAST; i++)
		author(0, DESK, text("routine"), 6, NULL, &answers[i]);
	UNTIL(answers[2 * SEND_WINDOW_LEAST - 1].calls);
	UNTIL(link_under_way(link->link) >= SEND_WINDOW_LEAST);
	author_as(PRECEDENCE_FLASH, 0, DESK, text("met spoed"), 6, NULL, &urgent);
	UNTIL((link_figures(link->link, &figures), figures.unacked > SEND_WINDOW_LEAST));
	run_ms(50);
	assert_int_equal(link_under_way(link->link), SEND_WINDOW_LEAST);
	link_figures(link->link, &figures);
	assert_int_equal(figures.unacked, SEND_WINDOW_LEAST + 1);
	atomic_store(&commits_may_go, true);
	for (size_t i = 0; i < 2 * SEND_WINDOW_LEAST; i++)
		UNTIL(holds(1, TABLE_ENVELOPES, &answers[i].id));
}

/* Leaves come after their header was let in: they must not fill what is kept for receipts and deletes. */
static void large_bodies_do_not_fill_a_small_store_to_the_brim(void **state)
{
	struct answer answers[24], after;

	(void)state;
	for (int i = 0; i < 2; i++)
		stop(i);
	configs[0].store_limit_mib = 16;
	configs[1].store_limit_mib = 256;
	for (int i = 0; i < 2; i++)
		start(i);
	UNTIL(is_linked(0) && is_linked(1));
	node_store(nodes[0])->commit_fault_context = &after;
	for (size_t i = 0; i < 24; i++) {
		struct slice body = document(1024 * 1024, (unsigned)i);

		author_as(PRECEDENCE_FLASH, 1, NSP, body, 20, NULL, &answers[i]);
		UNTIL(answers[i].calls);
		assert_int_equal(answers[i].error, CPD_OK);
		free((void *)(uintptr_t)body.data);
	}
	for (int i = 0; i < 100; i++) {
		struct store_space space;

		run_ms(100);
		assert_false(node_has_failed(nodes[0]));
		assert_ptr_equal(node_store(nodes[0])->commit_fault_context, &after);    /* not opened again */
		store_space(node_store(nodes[0]), &space);
		assert_true(space.used_bytes < space.limit_bytes / 100 * 98);
	}
	author(0, DESK, text("nog steeds"), 6, NULL, &after);
	UNTIL(after.calls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_flood_of_presences_is_let_go_and_the_next_ones_are_heard),
		TEST(a_neighbour_cannot_talk_a_node_to_its_last_epoch),
		TEST(a_question_that_waits_for_the_disk_is_asked_when_it_is_free),
		TEST(a_deadline_that_waits_for_the_disk_does_not_spin),
		TEST(listeners_hear_what_is_on_disk),
		TEST(a_turn_that_the_writer_has_no_room_for_waits),
		TEST(a_turn_that_waits_is_on_disk_before_it_is_told_at_the_end),
		TEST(a_busy_neighbour_gets_little_ahead_and_the_urgent_all_the_same),
		TEST(large_bodies_do_not_fill_a_small_store_to_the_brim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
