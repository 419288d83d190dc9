/*
 * node: two whole nodes in one loop over loopback: answers after the commit, a commit that fails, an older
 * copy of a store, a large body, keys in flight. test/system has the same between processes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <errno.h>
#include <netinet/in.h>

#include <cmocka.h>

#include "crypto/region.h"
#include "daemon/log.h"
#include "daemon/node_internal.h"
#include "proto/tree.h"
#include "store/internal.h"
/* store/internal.h has a struct of that name too. */
#define scratch test_scratch
#include "test/unit/scratch.h"
#undef scratch

#define NSP 344003u
#define DESK 900u
#define PATIENCE_MS 20000

static struct event_base *base;
static struct event *ticker;
static struct node *nodes[2];
static struct config configs[2];
static struct config_link links[2];
static struct relay_route routes[2];
static uint8_t update_record[LIMIT_UPDATE_RECORD];
static size_t update_len;
static char problem[256];

static void tick(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
}

/* Waits for a condition, with a bound. */
#define UNTIL(condition) do { \
	int64_t end_ = clock_ms() + PATIENCE_MS; \
	while (!(condition)) { \
		if (clock_ms() > end_) \
			fail_msg("not in time: %s", #condition); \
		event_base_loop(base, EVLOOP_ONCE); \
	} \
} while (0)

static int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void run_ms(int64_t ms)
{
	for (int64_t end = clock_ms() + ms; clock_ms() < end;)
		event_base_loop(base, EVLOOP_ONCE);
}

static void seed_store(const char *path)
{
	const struct store_options options = { .path = path, .hash = crypto_digest };
	struct store_key key = store_key_number(1);
	struct store_batch *batch = store_batch_new(1);
	struct store *store;
	const char *why;

	assert_int_equal(store_open(&options, &store, &why), CPD_OK);
	assert_int_equal(store_batch_put(batch, TABLE_DIRECTORY, &key, (struct slice){ update_record, update_len }), CPD_OK);
	assert_int_equal(store_commit_now(store, batch), CPD_OK);
	store_close(store);
}

static uint16_t free_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	close(fd);
	return ntohs(address.sin_port);
}

static void configure(int which, uint32_t number, enum node_role role, uint32_t other, uint16_t port)
{
	struct config *config = &configs[which];

	memset(config, 0, sizeof(*config));
	config->number = number;
	config->role = role;
	snprintf(config->identity, sizeof(config->identity), "%u-identity", number);
	snprintf(config->store, sizeof(config->store), "%u-store", number);
	strcpy(config->state, ".");
	config->store_limit_mib = 64;
	strcpy(config->clock_quality, "ntp");
	config->time_scale = 1;
	relay_config_init(&config->timers);
	for (int p = 0; p < PRECEDENCE_COUNT; p++)
		config->timers.retry_ms[p] = 3000;
	config->timers.refusal_wait_ms = 300;
	memset(&links[which], 0, sizeof(links[which]));
	links[which].node = other;
	strcpy(links[which].profile, "ip");
	if (which)
		snprintf(config->listen, sizeof(config->listen), "tcp://127.0.0.1:%u", port);
	else
		snprintf(links[which].address, sizeof(links[which].address), "tcp://127.0.0.1:%u", port);
	routes[which] = (struct relay_route){ .via = { other }, .via_count = 1 };
	config->links = &links[which];
	config->link_count = 1;
	config->routes = &routes[which];
	config->route_count = 1;
}

static void start(int which)
{
	if (node_open(base, &configs[which], &nodes[which], problem))
		fail_msg("%s", problem);
}

static void stop(int which)
{
	node_close(nodes[which]);
	nodes[which] = NULL;
}

static bool is_linked(int which)
{
	struct node_link_status status;

	return nodes[which] && node_links(nodes[which], &status, 1) == 1 && status.is_up;
}

static int setup(void **state)
{
	const uint32_t numbers[2] = { NSP, DESK };
	const enum node_role roles[2] = { ROLE_ID_NSP, ROLE_ID_DESK };
	struct region_anchor names = { .network = "test", .region = "VR99", .name = "Proefregio" };
	struct certificate certificates[2];
	struct directory_update update = { .number = 1, .created_s = 1, .certificates = certificates, .certificate_count = 2 };
	struct timeval period = { 0, 20000 };
	struct authority *authority;
	uint16_t port = free_port();

	if (scratch_make(state) || crypto_start())
		return -1;
	log_start(getenv("VERBOSE") ? LOG_DEBUG : LOG_EMERG);
	memset(certificates, 0, sizeof(certificates));
	assert_int_equal(authority_create("authority", &names, &authority), CPD_OK);
	for (int i = 0; i < 2; i++) {
		struct identity *identity;

		configure(i, numbers[i], roles[i], numbers[!i], port);
		assert_int_equal(identity_create(configs[i].identity, numbers[i], &identity), CPD_OK);
		certificates[i] = (struct certificate){ .node = numbers[i], .role = roles[i], .key_number = 1 };
		snprintf(certificates[i].name, sizeof(certificates[i].name), "node %u", numbers[i]);
		identity_public_keys(identity, &certificates[i]);
		assert_int_equal(identity_install(identity, numbers[i], 1, authority_anchor(authority)), CPD_OK);
		identity_free(identity);
	}
	assert_int_equal(region_make_update(authority, &update, update_record, &update_len), CPD_OK);
	authority_free(authority);
	base = event_base_new();
	ticker = event_new(base, -1, EV_PERSIST, tick, NULL);
	event_add(ticker, &period);
	for (int i = 0; i < 2; i++) {
		seed_store(configs[i].store);
		start(i);
	}
	UNTIL(is_linked(0) && is_linked(1));
	return 0;
}

static int teardown(void **state)
{
	for (int i = 0; i < 2; i++)
		stop(i);
	event_free(ticker);
	event_base_free(base);
	return scratch_remove(state);
}

/* ---------------------------------------------------------------- authoring */

struct answer { int calls; enum cpd_error error; struct message_id id; bool existing; bool was_stored; int node; };

static bool holds(int which, enum store_table table, const struct message_id *id)
{
	struct store_key key = store_key_id(id);
	uint8_t *value;
	size_t len;

	if (store_get(node_store(nodes[which]), table, &key, &value, &len))
		return false;
	free(value);
	return true;
}

static void answered(void *context, enum cpd_error error, const char *why, const struct message_id *id, bool existing)
{
	struct answer *answer = context;

	assert_non_null(why);
	answer->calls++;
	answer->error = error;
	answer->id = *id;
	answer->existing = existing;
	answer->was_stored = !error && holds(answer->node, TABLE_CUSTODY, id) && holds(answer->node, TABLE_ENVELOPES, id);
}

static void author_as(enum precedence precedence, int from, uint32_t to, struct slice body, message_kind kind, const char *key,
    struct answer *answer)
{
	struct author_request request = { .kind = kind, .body = body, .nodes = { to }, .node_count = 1, .mode = MODE_TEST,
		.has_precedence = true, .precedence = precedence };

	if (key) {
		request.key_len = strlen(key);
		memcpy(request.key, key, request.key_len);
	}
	*answer = (struct answer){ .node = from };
	node_author(nodes[from], &request, answered, answer);
	assert_int_equal(answer->calls, 0);
}

static void author(int from, uint32_t to, struct slice body, message_kind kind, const char *key, struct answer *answer)
{
	author_as(PRECEDENCE_ROUTINE, from, to, body, kind, key, answer);
}

/* Text { text: "..." } */
static struct slice text(const char *words)
{
	static uint8_t buf[64];

	buf[0] = 0x0a;
	buf[1] = (uint8_t)strlen(words);
	memcpy(buf + 2, words, strlen(words));
	return (struct slice){ buf, strlen(words) + 2 };
}

static bool has_level(int which, const struct message_id *id, uint32_t recipient, enum level level)
{
	struct store_key key = store_key_id(id);
	struct custody custody;
	uint8_t *value;
	size_t len;
	bool has = false;

	if (store_get(node_store(nodes[which]), TABLE_CUSTODY, &key, &value, &len))
		return false;
	if (!custody_decode((struct slice){ value, len }, &custody)) {
		const struct recipient *found = custody_recipient(&custody, recipient);
		has = found && found->level == level;
	}
	custody_clear(&custody);
	free(value);
	return has;
}

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

static atomic_int commits, faults;
static int fault;

static int fail_commits(void *context)
{
	(void)context;
	atomic_fetch_add(&commits, 1);
	if (atomic_load(&faults) == 0)
		return 0;
	usleep(300000);                 /* a disk that hesitates: what leaves too early has the time to */
	atomic_fetch_sub(&faults, 1);
	return fault;
}

static int slow_commits(void *context)
{
	(void)context;
	usleep(200000);
	return 0;
}

static void break_commits(int which, int error)
{
	struct store *store = node_store(nodes[which]);

	atomic_store(&commits, 0);
	atomic_store(&faults, 1);
	fault = error;
	store->commit_fault = fail_commits;
}

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
	assert_int_equal(first.calls + later.calls, 0);
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

static void copy_store(const char *from, const char *to)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -rf '%.80s' && cp -a '%.80s' '%.80s'", to, from, to);
	assert_int_equal(system(command), 0);
}

static void send_and_wait(int from, uint32_t to, const char *words, struct answer *answer)
{
	author(from, to, text(words), 6, NULL, answer);
	UNTIL(answer->calls);
	assert_int_equal(answer->error, CPD_OK);
	UNTIL(has_level(from, &answer->id, to, LEVEL_DELIVERED));
}

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

/* What was written on the older copy before it met anyone has an id that is taken: it is written again. */
static void words_under_a_taken_id_are_reissued(void **state)
{
	struct answer taken, other;
	struct message_id id;

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
	assert_int_equal(desk_has("de tweede", &id), 1);
	assert_int_equal(desk_has("de eerste", &id), 1);
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
	assert_int_equal(node_news_decode((struct slice){ value, len - 1 }, &stored), CPD_ERR_MALFORMED);
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
	node_store(nodes[1])->commit_fault = slow_commits;
	author(1, NSP, body, 20, NULL, &first);
	UNTIL(node_store(nodes[1])->waiting_bytes);
	for (size_t i = 0; i < 12; i++)
		author(1, NSP, body, 20, NULL, &answers[i]);
	run_ms(100);                    /* decided, and the disk is busy still */
	assert_int_equal(first.calls, 0);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
		TEST(words_under_a_taken_id_are_reissued),
		TEST(a_large_body_arrives_whole),
		TEST(a_flood_of_presences_is_let_go_and_the_next_ones_are_heard),
		TEST(a_neighbour_cannot_talk_a_node_to_its_last_epoch),
		TEST(a_question_that_waits_for_the_disk_is_asked_when_it_is_free),
		TEST(a_deadline_that_waits_for_the_disk_does_not_spin),
		TEST(listeners_hear_what_is_on_disk),
		TEST(a_turn_that_the_writer_has_no_room_for_waits),
		TEST(a_turn_that_waits_is_on_disk_before_it_is_told_at_the_end),
		TEST(large_bodies_do_not_fill_a_small_store_to_the_brim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
