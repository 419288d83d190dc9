/*
 * load.c: an NSP, a CP and a desk in this process: whole nodes over loopback, with their own stores. They
 * send, relay, receive, receipt, hold, withdraw and forget, and each is stopped and started once.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crypto/region.h"
#include "daemon/log.h"
#include "daemon/node.h"
#include "test/crash/crash.h"

#define NODES CRASH_DISKS
#define NSP 0
#define CP 1
#define DESK 2
#define OPEN_MAX 24              /* messages not answered yet: several share a turn */
#define PATIENCE_MS 30000
#define QUIET_MS 700

const char *const load_stores[CRASH_DISKS] = { "344003/store", "901/store", "911/store" };
static const char *const states[NODES] = { "344003", "901", "911" }, *const identities[NODES] = { "344003/identity", "901/identity", "911/identity" };
static const uint32_t numbers[NODES] = { 344003, 901, 911 };
static const enum node_role roles[NODES] = { ROLE_ID_NSP, ROLE_ID_CP, ROLE_ID_DESK };

struct load {
	struct dice dice;
	struct event_base *base;
	struct event *ticker;
	struct node *nodes[NODES];
	struct config configs[NODES];
	struct config_link links[NODES][NODES];
	struct relay_route routes[NODES];
	uint8_t update[LIMIT_UPDATE_RECORD];
	size_t update_len;
	struct load_figures *figures;
	unsigned open, failed;
	struct { struct message_id id; int node; } sent[64];   /* the last ones */
	size_t sent_count;
	char problem[CRASH_TEXT];
};
static struct load load;

static int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void tick(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
}

/* ---------------------------------------------------------------- three nodes */

static uint16_t free_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	const int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || getsockname(fd, (struct sockaddr *)&address, &len))
		abort();
	close(fd);
	return ntohs(address.sin_port);
}

static void configure(int which, uint16_t port)
{
	struct config *config = &load.configs[which];
	struct config_link *links = load.links[which];

	*config = (struct config){ .number = numbers[which], .role = roles[which], .store_limit_mib = 64, .time_scale = 1, .links = links };
	snprintf(config->identity, sizeof(config->identity), "%s", identities[which]);
	snprintf(config->store, sizeof(config->store), "%s", load_stores[which]);
	snprintf(config->state, sizeof(config->state), "%s", states[which]);
	strcpy(config->clock_quality, "ntp");
	relay_config_init(&config->timers);
	/* What is closed is forgotten while the load runs. */
	config->timers.grace_ms = 1500;
	config->timers.presence_ms = 1000;
	for (int i = 0; i < PRECEDENCE_COUNT; i++)
		config->timers.retry_ms[i] = 2000;
	for (int other = 0; other < NODES; other++) {
		if (other == which || (which != CP && other != CP))
			continue;
		links[config->link_count] = (struct config_link){ .node = numbers[other] };
		strcpy(links[config->link_count].profile, "ip");
		if (which != CP)
			snprintf(links[config->link_count].address, sizeof(links[0].address), "tcp://127.0.0.1:%u", port);
		config->link_count++;
	}
	if (which == CP) {
		snprintf(config->listen, sizeof(config->listen), "tcp://127.0.0.1:%u", port);
		return;
	}
	load.routes[which] = (struct relay_route){ .via = { numbers[CP] }, .via_count = 1 };
	config->routes = &load.routes[which];
	config->route_count = 1;
}

static bool make_region(void)
{
	struct region_anchor names = { .network = "test", .region = "VR99", .name = "Proefregio" };
	struct directory_update update = { .number = 1, .created_s = 1, .certificate_count = NODES };
	struct certificate certificates[NODES];
	const uint16_t port = free_port();
	struct authority *authority;
	bool good;

	memset(certificates, 0, sizeof(certificates));
	update.certificates = certificates;
	good = !authority_create("authority", &names, (struct slice){ NULL, 0 }, &authority);
	for (int i = 0; i < NODES && good; i++) {
		struct identity *identity = NULL;

		configure(i, port);
		good = !mkdir(states[i], 0700) && !identity_create(identities[i], numbers[i], &identity);
		certificates[i] = (struct certificate){ .node = numbers[i], .role = roles[i], .key_number = 1 };
		snprintf(certificates[i].name, sizeof(certificates[i].name), "node %u", numbers[i]);
		if (good)
			identity_public_keys(identity, &certificates[i]);
		good = good && !identity_install(identity, numbers[i], 1, authority_anchor(authority));
		identity_free(identity);
	}
	good = good && !region_make_update(authority, &update, load.update, &load.update_len);
	authority_free(authority);
	return good;
}

/* The kit's first directory, as `cpctl node install` leaves it to cpd. */
static bool seed_store(const char *path)
{
	const struct store_options options = { .path = path, .hash = crypto_digest };
	const struct store_key key = store_key_number(1);
	struct store_batch *batch;
	struct store *store;
	const char *why;
	bool good = !store_open(&options, &store, &why);

	if (!good) {
		snprintf(load.problem, sizeof(load.problem), "%s", why);
		return false;
	}
	batch = store_batch_new(1);
	good = batch && !store_batch_put(batch, TABLE_DIRECTORY, &key, (struct slice){ load.update, load.update_len }) && !store_commit_now(store, batch);
	store_close(store);
	return good;
}

static bool start(int which)
{
	char problem[256];

	if (!node_open(load.base, &load.configs[which], &load.nodes[which], problem))
		return true;
	snprintf(load.problem, sizeof(load.problem), "node %u: %s", numbers[which], problem);
	return false;
}

static bool are_linked(void)
{
	for (int i = 0; i < NODES; i++) {
		struct node_link_status status[NODES];
		const size_t count = node_links(load.nodes[i], status, NODES);

		for (size_t j = 0; j < count; j++)
			if (!status[j].is_up)
				return false;
	}
	return true;
}

static bool wait_for_links(void)
{
	for (const int64_t end = clock_ms() + PATIENCE_MS; !are_linked();) {
		if (clock_ms() > end) {
			snprintf(load.problem, sizeof(load.problem), "the links did not come up in %d s", PATIENCE_MS / 1000);
			return false;
		}
		event_base_loop(load.base, EVLOOP_ONCE);
	}
	return true;
}

/* ---------------------------------------------------------------- what people do */

static void authored(void *context, enum cpd_error error, const char *why, const struct message_id *id, bool existing)
{
	const int which = (int)(intptr_t)context;

	(void)why;
	(void)existing;
	load.open--;
	if (error) {
		load.failed++;
		return;
	}
	load.figures->messages++;
	load.sent[load.sent_count % 64].node = which;
	load.sent[load.sent_count++ % 64].id = *id;
}

static void operated(void *context, enum cpd_error error, const char *why)
{
	(void)context;
	(void)why;
	load.open--;
	load.figures->acts += !error;
}

/* Text, field 1 a string; or a document of some leaves. */
static void send_one(void)
{
	static const size_t sizes[] = { 10, 60, 100, 300, 900, 1800, 5000, 40000 };
	static uint8_t body[41000];
	const int from = (int)dice_below(&load.dice, NODES), to = (from + 1 + (int)dice_below(&load.dice, NODES - 1)) % NODES;
	size_t len = sizes[dice_below(&load.dice, dice_below(&load.dice, 8) ? 6 : 8)], at = 0;
	struct author_request request = { .kind = 6, .nodes = { numbers[to] }, .node_count = 1, .mode = MODE_TEST, .has_precedence = true,
	    .precedence = (enum precedence)dice_below(&load.dice, PRECEDENCE_COUNT) };

	if (len > 2000) {
		request.kind = 20;
	} else {
		body[at++] = 0x0a;
		if (len >= 128)
			body[at++] = (uint8_t)(len | 0x80);
		body[at++] = (uint8_t)(len >= 128 ? len >> 7 : len);
	}
	for (size_t i = 0; i < len; i++)
		body[at++] = (uint8_t)('a' + dice_below(&load.dice, 26));
	request.body = (struct slice){ body, at };
	if (dice_below(&load.dice, 3) == 0) {
		request.key_len = 16;
		for (size_t i = 0; i < 16; i++)
			request.key[i] = (uint8_t)('a' + dice_below(&load.dice, 26));
	}
	load.open++;
	node_author(load.nodes[from], &request, authored, (void *)(intptr_t)from);
}

static void act_on_one(void)
{
	static const enum relay_act acts[] = { ACT_HOLD, ACT_RELEASE, ACT_WITHDRAW, ACT_READ, ACT_ACCEPT, ACT_DONE };
	size_t which;

	if (load.sent_count == 0)
		return;
	which = dice_below(&load.dice, load.sent_count < 64 ? load.sent_count : 64);
	load.open++;
	node_operate(load.nodes[dice_below(&load.dice, 2) ? (size_t)load.sent[which].node : dice_below(&load.dice, NODES)], &load.sent[which].id,
	    acts[dice_below(&load.dice, 6)], REFUSED_NONE, NULL, operated, NULL);
}

static bool settle(void)
{
	for (const int64_t end = clock_ms() + PATIENCE_MS; load.open > 0;) {
		if (clock_ms() > end) {
			snprintf(load.problem, sizeof(load.problem), "%u calls were not answered", load.open);
			return false;
		}
		event_base_loop(load.base, EVLOOP_ONCE);
	}
	return true;
}

static uint64_t commits(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < NODES; i++) {
		struct node_counters counters;

		node_counters(load.nodes[i], &counters);
		sum += counters.commits;
	}
	return sum;
}

/* Until what was sent has arrived, and what is closed is forgotten: nothing but presence commits. */
static void quiet_down(void)
{
	uint64_t before = commits();
	int64_t since = clock_ms();

	for (const int64_t end = clock_ms() + 4000; clock_ms() < end && clock_ms() - since < QUIET_MS;) {
		event_base_loop(load.base, EVLOOP_ONCE);
		if (commits() == before)
			continue;
		before = commits();
		since = clock_ms();
	}
}

static bool work(unsigned messages)
{
	unsigned done = 0, restarts = 0;

	while (done < messages) {
		/* In bursts, so that turns are of different sizes and the writer takes several together. */
		for (size_t burst = 1 + dice_below(&load.dice, 6); burst > 0 && load.open < OPEN_MAX && done < messages; burst--, done++)
			send_one();
		for (size_t acts = dice_below(&load.dice, 4); acts > 0 && load.open < OPEN_MAX; acts--)
			act_on_one();
		for (size_t turns = dice_below(&load.dice, 12); turns > 0; turns--)
			event_base_loop(load.base, EVLOOP_NONBLOCK);
		if (load.open >= OPEN_MAX)
			event_base_loop(load.base, EVLOOP_ONCE);
		if (restarts < NODES && done > messages * (restarts + 1) / (NODES + 1)) {
			if (!settle())
				return false;
			node_close(load.nodes[restarts]);
			load.nodes[restarts] = NULL;
			if (!start((int)restarts))
				return false;
			restarts++;
		}
	}
	if (!settle() || !wait_for_links())
		return false;
	quiet_down();
	return true;
}

static void count_delivered(void)
{
	for (int i = 0; i < NODES; i++)
		load.figures->delivered += (unsigned)store_count(node_store(load.nodes[i]), TABLE_INBOX);
}

const char *load_run(uint64_t seed, unsigned messages, struct load_figures *figures)
{
	const struct timeval period = { 0, 5000 };
	bool good;

	memset(&load, 0, sizeof(load));
	memset(figures, 0, sizeof(*figures));
	load.dice.state = seed;
	load.figures = figures;
	load.base = event_base_new();
	load.ticker = event_new(load.base, -1, EV_PERSIST, tick, NULL);
	event_add(load.ticker, &period);
	good = make_region();
	for (int i = 0; i < NODES && good; i++)
		good = seed_store(load_stores[i]) && start(i);
	good = good && wait_for_links() && work(messages);
	if (good)
		count_delivered();
	for (int i = 0; i < NODES; i++)
		if (load.nodes[i])
			node_close(load.nodes[i]);
	event_free(load.ticker);
	event_base_free(load.base);
	if (!good && !load.problem[0])
		snprintf(load.problem, sizeof(load.problem), "the region could not be made");
	return good ? NULL : load.problem;
}
