/*
 * backlog.c: fills the store of a node with messages that wait for a neighbour who is away, as many and as fast as
 * its own turns take them: the real node decides and commits, so that every row is as cpd makes it. Only the
 * verification of signatures is left out, since they were made a moment ago on the other cores.
 *
 *   backlog CONF FIRST SENDERS EPOCH TO COUNT
 *
 * CONF: of the node, whose cpd must not run. Prints one line of JSON.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"
#include "test/bench/people.h"

#define MAKERS 2
#define BLOCK 256                    /* messages a maker hands over at a time */
#define BLOCKS 64                    /* made ahead */
#define TURNS_AHEAD 4

struct made { struct message_id id; size_t len; uint8_t bytes[PEOPLE_MESSAGE_MAX / 2]; };
struct block { struct block *next; size_t count; struct made made[BLOCK]; };

static struct {
	struct person *people;
	uint32_t first, senders, epoch, to;
	uint64_t count;
	char network[PEOPLE_NETWORK_MAX];
	pthread_mutex_t lock;
	pthread_cond_t has_room;
	uint64_t next;               /* message to be made */
	struct block *blocks;
	unsigned ready;
	bool is_over;
	struct node *node;
	struct event *feeder;
	uint64_t given;
	struct event_base *base;
} task;

static void block_make(struct block *block, uint64_t from, uint64_t to)
{
	block->count = 0;
	for (uint64_t number = from; number < to; number++) {
		struct made *made = &block->made[block->count++];
		const struct person *person = &task.people[number % task.senders];
		uint8_t bytes[PEOPLE_MESSAGE_MAX];

		made->id = (struct message_id){ person->node, task.epoch, number / task.senders + 1 };
		made->len = person_message(person, task.network, &made->id, PRECEDENCE_ROUTINE, task.to, false, bytes);
		if (made->len > sizeof(made->bytes))
			people_fail("a message of %zu bytes", made->len);
		memcpy(made->bytes, bytes, made->len);
	}
}

static void *make(void *context)
{
	(void)context;
	pthread_mutex_lock(&task.lock);
	while (!task.is_over && task.next < task.count) {
		uint64_t from = task.next, to = from + BLOCK < task.count ? from + BLOCK : task.count;
		struct block *block = malloc(sizeof(*block));

		if (!block)
			people_fail("memory is used up");
		task.next = to;
		pthread_mutex_unlock(&task.lock);
		block_make(block, from, to);
		pthread_mutex_lock(&task.lock);
		while (task.ready >= BLOCKS && !task.is_over)
			pthread_cond_wait(&task.has_room, &task.lock);
		block->next = task.blocks;
		task.blocks = block;
		task.ready++;
	}
	pthread_mutex_unlock(&task.lock);
	return NULL;
}

static struct block *block_take(void)
{
	struct block *block;

	pthread_mutex_lock(&task.lock);
	block = task.blocks;
	if (block) {
		task.blocks = block->next;
		task.ready--;
		pthread_cond_signal(&task.has_room);
	}
	pthread_mutex_unlock(&task.lock);
	return block;
}

/* As gather_item and the pool would have it, when the signature was found good. */
static void give(const struct made *made)
{
	struct work *work = work_new(WORK_ITEM);
	size_t head = offsetof(struct verify_result, message) + sizeof(struct verified_message);
	struct verify_result *result = calloc(1, head + made->len);
	struct verified_message *message;

	if (!work || !result)
		people_fail("memory is used up");
	memcpy((uint8_t *)result + head, made->bytes, made->len);
	result->kind = VERIFY_MESSAGE;
	result->bytes = (struct slice){ (uint8_t *)result + head, made->len };
	message = &result->message;
	if (message_decode(result->bytes, &message->message))
		people_fail("a message that cannot be read");
	message->hash = crypto_hash8(message->message.signed_bytes);
	work->link = made->id.origin;
	work->circuit = links_find(task.node, work->link)->circuit;
	work->item_type = ITEM_TYPE_MESSAGE;
	work->kind = VERIFY_MESSAGE;
	work->result = result;
	work->trailer.hop_limit = LIMIT_HOPS - 1;
	work->trailer.recipients = malloc(sizeof(uint32_t));
	if (!work->trailer.recipients)
		people_fail("memory is used up");
	work->trailer.recipients[0] = task.to;
	work->trailer.recipient_count = 1;
	work->trailer.trace_count = 1;
	work->trailer.trace[0].node = made->id.origin;
	work_push(task.node, work);
}

static void feed(evutil_socket_t fd, short what, void *context)
{
	const struct timeval soon = { 0, 500 };
	const bool is_hungry = !task.node->ordinary.first;

	(void)fd;
	(void)what;
	(void)context;
	if (node_has_failed(task.node) || task.node->rebuild_why)
		people_fail("the node could not take them: %s", task.node->rebuild_why ? task.node->rebuild_why : "it failed");
	for (int i = 0; i < TURNS_AHEAD && is_hungry; i++) {
		struct block *block = block_take();

		if (!block)
			break;
		for (size_t j = 0; j < block->count; j++)
			give(&block->made[j]);
		task.given += block->count;
		free(block);
	}
	if (task.given == task.count && !work_is_ready(task.node) && !task.node->in_flight)
		event_base_loopbreak(task.base);
	else
		event_add(task.feeder, &soon);
}

/* Links of the senders, as when they had called. */
static void links_make(void)
{
	for (uint32_t i = 0; i < task.senders; i++) {
		struct node_link *link;

		if (!links_find(task.node, task.people[i].node) &&
		    (links_add(task.node, task.people[i].node, NULL, &link) || relay_add_link(task.node->relay, link->neighbour)))
			people_fail("memory is used up");
	}
}

int main(int argc, char **argv)
{
	struct config config;
	char problem[512];
	pthread_t makers[MAKERS];
	int64_t begin_us = people_us();

	if (argc != 7 || crypto_start())
		people_fail("backlog CONF FIRST SENDERS EPOCH TO COUNT");
	task.first = (uint32_t)strtoul(argv[2], NULL, 10);
	task.senders = (uint32_t)strtoul(argv[3], NULL, 10);
	task.epoch = (uint32_t)strtoul(argv[4], NULL, 10);
	task.to = (uint32_t)strtoul(argv[5], NULL, 10);
	task.count = strtoull(argv[6], NULL, 10);
	if (config_load(argv[1], &config, problem))
		people_fail("%s", problem);
	log_start(LOG_WARNING);
	task.base = event_base_new();
	task.people = calloc(task.senders, sizeof(*task.people));
	task.feeder = evtimer_new(task.base, feed, NULL);
	if (!task.senders || !task.people || !task.feeder || node_open(task.base, &config, &task.node, problem))
		people_fail("the node cannot be opened: %s", problem);
	snprintf(task.network, sizeof(task.network), "%s", identity_anchor(task.node->identity)->network);
	for (uint32_t i = 0; i < task.senders; i++)
		person_make(task.first + i, &task.people[i]);
	links_make();
	pthread_mutex_init(&task.lock, NULL);
	pthread_cond_init(&task.has_room, NULL);
	for (int i = 0; i < MAKERS; i++)
		if (pthread_create(&makers[i], NULL, make, NULL))
			people_fail("no thread");
	feed(-1, 0, NULL);
	event_base_dispatch(task.base);
	for (int i = 0; i < MAKERS; i++)
		pthread_join(makers[i], NULL);
	if (task.node->counters.taken != task.count)
		people_fail("of %llu messages %llu were taken", (unsigned long long)task.count, (unsigned long long)task.node->counters.taken);
	printf("{\"messages\": %llu, \"seconds\": %.1f}\n", (unsigned long long)task.count, (double)(people_us() - begin_us) / 1e6);
	node_close(task.node);
	config_clear(&config);
	return 0;
}
