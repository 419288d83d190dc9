/*
 * node.c: the life of a node: opening, the loop's events, one timer, building again after a failure,
 * closing.
 *
 * Fatal: only before READY, and when the store cannot be opened again. Everything else is a line in
 * the log.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "daemon/log.h"
#include "daemon/node_emergency.h"
#include "daemon/node_internal.h"
#include "daemon/node_seal.h"
#include "daemon/node_vault.h"

int64_t node_ms(struct node *node)
{
	struct moment now;

	clock_now(&node->clock, &now);
	return now.custody_ms;
}

void node_now(struct node *node, struct moment *out)
{
	clock_now(&node->clock, out);
}

/* ---------------------------------------------------------------- the loop's events */

void node_wake(struct node *node)
{
	const struct timeval at_once = { 0, 0 };

	/* A timer of zero, not event_active: the loop looks at its sockets in between. */
	if (node->turn_event && !event_pending(node->turn_event, EV_TIMEOUT, NULL))
		event_add(node->turn_event, &at_once);
}

void node_arm(struct node *node)
{
	int64_t at_ms, now_ms, left_ms;
	struct timeval left;

	if (!node->relay || node->rebuild_why || !node->timer)
		return;
	at_ms = links_deadline(node);
	/* With the writer behind, turns wait for it and not for the clock. */
	if (turn_may_run(node)) {
		int64_t relay_ms = relay_next_deadline(node->relay);

		at_ms = relay_ms < at_ms ? relay_ms : at_ms;
		at_ms = node->row_due_ms < at_ms ? node->row_due_ms : at_ms;
	}
	if (at_ms == INT64_MAX) {
		event_del(node->timer);
		node->timer_at_ms = INT64_MAX;
		return;
	}
	if (at_ms == node->timer_at_ms && event_pending(node->timer, EV_TIMEOUT, NULL))
		return;
	now_ms = node_ms(node);
	left_ms = at_ms > now_ms ? at_ms - now_ms : 0;
	if (left_ms > 3600000)
		left_ms = 3600000;
	left = (struct timeval){ left_ms / 1000, left_ms % 1000 * 1000 };
	node->timer_at_ms = at_ms;
	event_add(node->timer, &left);
}

void node_rebuild(struct node *node, const char *why)
{
	if (!node->rebuild_why)
		node->rebuild_why = why;
	node_wake(node);
}

void node_give_up(struct node *node, const char *why)
{
	const struct timeval last_words = { 0, 100000 };

	log_line(LOG_ERR, "node-failed", "error=\"%s\" cure=\"look at the disk; systemd starts cpd again\"", why);
	node->has_failed = true;
	/* Who asked is told no, and the loop has a moment to send it. */
	turns_drop(node, CPD_ERR_IO, "it could not be stored: the disk of this node fails; ask again when it is mended");
	if (node->relay)
		event_base_loopexit(node->base, &last_words);
	else
		event_base_loopbreak(node->base);
}

static void on_turn(evutil_socket_t fd, short what, void *context);
static void on_commit(evutil_socket_t fd, short what, void *context);
static void on_timer(evutil_socket_t fd, short what, void *context);

static bool watch_store(struct node *node)
{
	node->commit_event = event_new(node->base, store_completion_fd(node->store), EV_READ | EV_PERSIST, on_commit, node);
	return node->commit_event && !event_add(node->commit_event, NULL);
}

/* The store is closed and opened: what its writer still had is on disk or never will be, and after a
 * failed commit it takes no more. */
static void rebuild(struct node *node, bool reopens)
{
	char problem[256] = "";
	struct work *work;
	enum cpd_error error = CPD_OK;

	turns_drop(node, CPD_ERR_IO, "it could not be stored; ask again");
	courier_drop(node, "this node starts anew from what is on its disk; nothing was lost: do it again with the same stick");
	for (size_t i = 0; i < node->link_count; i++) {
		struct node_link *link = node->links[i];

		for (size_t j = 0; j < link->session_count; j++)
			bearer_zmq_end(node->bearer, link->sessions[j].number, "starting again");
		link->session_count = 0;
		link->introduce_at_ms = INT64_MAX;
		free(link->frame);
		link->frame = NULL;
		send_forget_tree(link);
	}
	gather_drop_links(node);
	while ((work = work_list_take(&node->idle)))
		work_free(work);
	node->purge_count = 0;
	memset(node->bodies, 0, sizeof(node->bodies));
	memset(&node->erasing, 0, sizeof(node->erasing));
	relay_free(node->relay);
	node->relay = NULL;
	if (reopens) {
		event_free(node->commit_event);
		node->commit_event = NULL;
		store_close(node->store);
		node->store = NULL;
		error = load_store(node, problem);
		if (!error && !watch_store(node))
			error = CPD_ERR_NOMEM;
	}
	if (!error)
		error = links_restart(node);
	if (!error)
		error = load_relay(node, problem);
	if (error) {
		node_give_up(node, problem[0] ? problem : cpd_error_text(error));
		return;
	}
	node->rebuild_why = NULL;
	directory_calls(node);
	node_wake(node);
}

static void rebuild_after_failure(struct node *node)
{
	int64_t now_ms = node_ms(node);

	if (now_ms - node->rebuild_since_ms > 60000) {
		node->rebuild_since_ms = now_ms;
		node->rebuilds = 0;
	}
	if (++node->rebuilds > NODE_REBUILDS) {
		node_give_up(node, node->rebuild_why);
		return;
	}
	log_line(LOG_ERR, "rebuild", "why=\"%s\" times=%u", node->rebuild_why, node->rebuilds);
	rebuild(node, true);
}

static void begin_epoch(struct node *node)
{
	struct work *work;
	enum cpd_error error = claim_raise(node);

	if (!error)
		error = epoch_raise(node, node->raise_epoch);

	node->raise_epoch = 0;
	if (error) {
		node_give_up(node, "the epoch could not be raised");
		return;
	}
	rebuild(node, false);
	while ((work = work_list_take(&node->reissues)))
		work_push(node, work);
}

static void on_turn(evutil_socket_t fd, short what, void *context)
{
	struct node *node = context;

	(void)fd;
	(void)what;
	if (node->has_failed)
		return;
	if (node->rebuild_why)
		rebuild_after_failure(node);
	else if (node->fence.instance && !node->in_flight)
		claim_fence(node);
	else if (node->raise_epoch && !node->in_flight)
		begin_epoch(node);
	if (node->has_failed || node->rebuild_why)
		return;
	turn_run(node);
	if (node->wants_fill)
		send_fill_all(node);
	node_arm(node);
}

static void on_commit(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	turn_complete(context);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	struct node *node = context;

	(void)fd;
	(void)what;
	node->timer_at_ms = INT64_MAX;
	if (node->has_failed || node->rebuild_why)
		return;
	links_tick(node);
	on_turn(-1, 0, node);
}

/* ---------------------------------------------------------------- opening */

/* Both work, and both are less than was meant. */
static void tell_of_keys(const struct node *node)
{
	if (!identity_is_locked(node->identity))
		log_line(LOG_WARNING, "keys-not-locked", "why=\"RLIMIT_MEMLOCK is too small to keep the keys out of swap\" cure=\"LimitMEMLOCK=16M in the unit, or no swap\"");
	if (identity_in_credentials(getenv("CREDENTIALS_DIRECTORY")) && identity_has_open_keys(node->config->identity))
		log_line(LOG_WARNING, "keys-open", "folder=\"%s\" why=\"systemd hands the keys over and they still lie open on the disk\" cure=\"put the copy in the safe, then shred -u *.key there\"",
		    node->config->identity);
}

static enum cpd_error open_identity(struct node *node, char problem[256])
{
	const char *why = NULL;
	enum cpd_error error = identity_load_with(node->config->identity, getenv("CREDENTIALS_DIRECTORY"), &node->identity, &why);

	if (error) {
		snprintf(problem, 256, "%s", why && *why ? why : "the identity cannot be read; make one with cpctl node request");
		return error;
	}
	tell_of_keys(node);
	node->self = identity_node(node->identity);
	if (!node->self || !identity_anchor(node->identity)) {
		snprintf(problem, 256, "the identity in %.150s is not installed in a region yet; use cpctl node install", node->config->identity);
		return CPD_ERR_STATE;
	}
	if (node->self != node->config->number) {
		snprintf(problem, 256, "[node] number is %u and the identity in %.120s is of node %u; correct one of them", node->config->number,
		    node->config->identity, node->self);
		return CPD_ERR_STATE;
	}
	node->role = role_find(node->config->role);
	if (!node->role) {
		snprintf(problem, 256, "[node] role: no such role; write nsp, cp, desk or partner");
		return CPD_ERR_USAGE;
	}
	return CPD_OK;
}

/* Nodes without a section that have called before: their queues stand in the store and must be routed. */
struct caller_scan { struct node *node; enum cpd_error error; };

static bool caller_visit(void *context, const struct store_key *key, struct slice value)
{
	struct caller_scan *scan = context;
	struct node_link *link;
	uint32_t number = 0;

	(void)value;
	for (size_t i = 0; i < key->len && i < 4; i++)
		number = number << 8 | key->bytes[i];
	if (number && number != scan->node->self && !links_find(scan->node, number))
		scan->error = links_add(scan->node, number, NULL, &link);
	return !scan->error;
}

static enum cpd_error open_links(struct node *node, char problem[256])
{
	struct caller_scan scan = { node, CPD_OK };
	struct store_key from = store_key_number(0);
	size_t damaged = 0;
	enum cpd_error error = CPD_OK;

	for (size_t i = 0; !error && i < node->config->link_count; i++) {
		struct node_link *link;
		if (node->config->links[i].node != node->self && !links_find(node, node->config->links[i].node))
			error = links_add(node, node->config->links[i].node, &node->config->links[i], &link);
	}
	if (!error)
		error = store_scan(node->store, TABLE_CIRCUITS, &from, 0, false, SIZE_MAX, caller_visit, &scan, &damaged);
	error = error && error != CPD_ERR_NOT_FOUND ? error : scan.error;
	if (error)
		snprintf(problem, 256, "the links cannot be made: %s", cpd_error_text(error));
	return error;
}

/* The listening socket of systemd, if it gave one that is not a Unix socket (the API's). */
static int given_socket(void)
{
	int count = sd_listen_fds(0);

	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + count; fd++)
		if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) > 0 && sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) == 0)
			return fd;
	return -1;
}

static enum cpd_error open_bearer(struct node *node, char problem[256])
{
	struct bearer_options options = { .base = node->base, .listen = node->config->listen[0] ? node->config->listen : NULL,
		.listen_fd = given_socket() };
	enum cpd_error error;

	links_bearer(node, &options.events);
	identity_transport_keys(node->identity, options.public_key, options.secret_key);
	error = bearer_zmq_open(&options, &node->bearer, problem);
	crypto_wipe(options.secret_key, sizeof(options.secret_key));
	return error;
}

static enum cpd_error open_events(struct node *node)
{
	node->turn_event = evtimer_new(node->base, on_turn, node);
	node->timer = evtimer_new(node->base, on_timer, node);
	node->item = malloc(LIMIT_ITEM);
	node->frame = malloc(LIMIT_FRAME);
	node->cache = calloc(NODE_CACHE, sizeof(*node->cache));
	if (!node->turn_event || !node->timer || !node->item || !node->frame || !node->cache || !watch_store(node))
		return CPD_ERR_NOMEM;
	return CPD_OK;
}

enum cpd_error node_open(struct event_base *base, const struct config *config, struct node **out, char problem[256])
{
	struct node *node = calloc(1, sizeof(*node));
	enum cpd_error error;

	*out = NULL;
	problem[0] = '\0';
	if (!node)
		return CPD_ERR_NOMEM;
	node->base = base;
	node->config = config;
	node->last = &node->first;
	node->row_due_ms = node->timer_at_ms = INT64_MAX;
	work_list_init(&node->urgent);
	work_list_init(&node->ordinary);
	work_list_init(&node->waiting_urgent);
	work_list_init(&node->waiting);
	work_list_init(&node->checking_urgent);
	work_list_init(&node->checking);
	work_list_init(&node->idle);
	work_list_init(&node->reissues);
	work_list_init(&node->decided);
	error = open_identity(node, problem);
	if (!error)
		error = load_store(node, problem);
	if (!error)
		error = records_open(node, problem);
	if (!error)
		error = claim_load(node, problem);
	if (!error)
		error = load_epoch(node, problem);
	if (!error)
		error = load_directory(node, problem);
	if (!error)
		load_updates(node);
	if (!error)
		error = open_events(node);
	if (!error)
		error = courier_start(node);
	if (!error)
		error = gather_start(node, problem);
	if (!error)
		error = open_links(node, problem);
	if (!error)
		error = load_relay(node, problem);
	if (!error)
		error = open_bearer(node, problem);
	if (error) {
		if (!problem[0])
			snprintf(problem, 256, "%s", cpd_error_text(error));
		node_close(node);
		return error;
	}
	directory_calls(node);
	reseal_soon(node);
	node_wake(node);
	emergency_report(node);
	log_line(LOG_INFO, "node-open", "node=%u role=%s epoch=%u directory=%u links=%zu", node->self, node->role->name, node->epoch,
	    directory_version(node->directory), node->link_count);
	*out = node;
	return CPD_OK;
}

/* ---------------------------------------------------------------- closing */

/* Waits for what was decided; its acknowledgements may still leave. */
static void close_turns(struct node *node)
{
	struct store_batch *batch = store_batch_new(++node->turn);
	struct store_key key = store_key_name("custody_ms");
	struct store_value value = store_value_u64((uint64_t)node_ms(node));

	/* Its number is below that of the batch made here: on disk first, or it would be told as if it were. */
	if (turn_commit_held(node) || !batch || store_batch_put(batch, TABLE_META, &key, (struct slice){ value.bytes, value.len }))
		store_batch_free(batch);
	else if (!store_commit_now(node->store, batch))
		turn_complete(node);
	turns_drop(node, CPD_ERR_STATE, "the daemon is stopping; ask again when it is back");
}

void node_close(struct node *node)
{
	if (!node)
		return;
	if (node->bearer && node->relay && !node->rebuild_why && !node->has_failed)
		close_turns(node);
	else
		turns_drop(node, CPD_ERR_IO, "it could not be stored; ask again");
	node->rebuild_why = "closing";
	bearer_zmq_close(node->bearer);
	gather_stop(node);
	courier_stop(node);
	if (node->turn_event)
		event_free(node->turn_event);
	if (node->commit_event)
		event_free(node->commit_event);
	if (node->timer)
		event_free(node->timer);
	links_clear(node);
	relay_free(node->relay);
	journal_clear(node);
	store_close(node->store);
	directory_free(node->directory);
	vault_close(node->vault);
	identity_free(node->identity);
	free(node->purges);
	free(node->cache);
	free(node->witness);
	free(node->item);
	free(node->frame);
	free(node);
}

bool node_has_failed(const struct node *node)
{
	return node->has_failed;
}

bool node_is_advancing(struct node *node)
{
	uint64_t turn = node->first ? node->first->number : 0, progress = verify_pool_progress(node->pool);
	bool writer = !turn || turn != node->watched_turn;
	bool pool = !verify_pool_pending(node->pool) || progress != node->watched_progress;

	node->watched_turn = turn;
	node->watched_progress = progress;
	return writer && pool;
}
