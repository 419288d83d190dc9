/*
 * api_metrics.c: GET /metrics, the figures of this node in Prometheus' text format, and GET /healthz.
 *
 * Everything told is kept already or found with one look: nothing here grows with what waits in the
 * queues. Names, labels and meanings are of the API: docs/API.md lists them, and a test reads that list.
 */
#include "daemon/api_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/clock.h"
#include "daemon/version.h"

#define LABELS_MAX 320
#define NAME_MAX_BYTES (2 * LIMIT_NAME + 1)

/* One link, or the queue of a neighbour that is none any more, or (neighbour 0) what has no route. */
struct place { uint32_t neighbour; const struct node_link_status *status; struct node_queue_status queue; char labels[LABELS_MAX]; };
struct places { struct place *list; size_t count; struct node_link_status *links; size_t link_count; };

/* ---------------------------------------------------------------- the format */

/* In a label's value a backslash, a quote and a line's end are written with a backslash. */
static const char *escape(char out[NAME_MAX_BYTES], const char *text)
{
	size_t used = 0;

	for (; *text && used + 2 < NAME_MAX_BYTES; text++) {
		if (*text == '\\' || *text == '"' || *text == '\n')
			out[used++] = '\\';
		out[used++] = *text == '\n' ? 'n' : *text;
	}
	out[used] = '\0';
	return out;
}

static void family(struct evbuffer *out, const char *name, const char *type, const char *help)
{
	evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(struct evbuffer *out, const char *name, const char *type, const char *help, double value)
{
	family(out, name, type, help);
	evbuffer_add_printf(out, "%s %.15g\n", name, value);
}

/* ---------------------------------------------------------------- this node */

static void tell_process(struct api *api, struct evbuffer *out)
{
	struct rusage usage;
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (file) {
		if (fscanf(file, "%*u %lu", &pages) != 1)
			pages = 0;
		(void)fclose(file);
	}
	one(out, "cpd_resident_memory_bytes", "gauge", "Memory in use.", (double)pages * (double)sysconf(_SC_PAGESIZE));
	getrusage(RUSAGE_SELF, &usage);
	one(out, "cpd_cpu_seconds_total", "counter", "Processor time used.", (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	    (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
	one(out, "cpd_uptime_seconds", "gauge", "Since this process answers.", (double)(clock_boot_ms() - api->opened_ms) / 1000);
}

static void tell_node(struct api *api, struct evbuffer *out, const struct moment *now)
{
	static const char *const qualities[] = { "unknown", "manual", "ntp", "gnss" };
	const struct region_anchor *anchor = identity_anchor(node_identity(api->node));
	const struct certificate *own = directory_certificate(node_directory(api->node), node_self(api->node));
	struct node_trouble troubles[NODE_TROUBLES];
	struct node_gauges gauges;
	struct claim by;
	uint64_t total, unread;
	char name[NAME_MAX_BYTES], region[NAME_MAX_BYTES];

	family(out, "cpd_build_info", "gauge", "Always 1: who this is, and which version.");
	evbuffer_add_printf(out, "cpd_build_info{version=\"%s\",node=\"%u\",name=\"%s\",role=\"%s\",region=\"%s\"} 1\n", CPD_VERSION,
	    node_self(api->node), escape(name, own ? own->name : ""), node_role_name(api->config->role), escape(region, anchor ? anchor->region : ""));
	tell_process(api, out);
	one(out, "cpd_healthy", "gauge", "1: /healthz answers 200.", node_health(api->node, troubles) == 0);
	node_gauges(api->node, &gauges);
	one(out, "cpd_epoch", "gauge", "Epoch in which this node authors. It rises when its disk was set back.", gauges.epoch);
	one(out, "cpd_claim", "gauge", "Which copy of its identity this is. It rises when the node moves to another machine.", node_claim(api->node));
	one(out, "cpd_fenced", "gauge", "1: another copy of this node is in use, and this one has stopped.", node_fenced(api->node, &by));
	one(out, "cpd_directory_missing", "gauge", "1: an update below one that is held is missing.", directory_missing(node_directory(api->node), 0) != 0);
	one(out, "cpd_directory_version", "gauge", "Number of the newest directory update held.", directory_version(node_directory(api->node)));
	one(out, "cpd_turns_in_flight", "gauge", "Turns decided and not yet on disk.", gauges.turns_in_flight);
	one(out, "cpd_verifications_in_flight", "gauge", "Signatures that are being checked.", (double)gauges.verifications);
	one(out, "cpd_works_waiting", "gauge", "Things that arrived and wait for their turn.", (double)gauges.works_waiting);
	family(out, "cpd_clock_quality", "gauge", "1 for the quality that the clock has now: unknown, manual, ntp or gnss.");
	for (unsigned i = 0; i < 4; i++)
		evbuffer_add_printf(out, "cpd_clock_quality{quality=\"%s\"} %d\n", qualities[i], (now->quality & 3) == i);
	one(out, "cpd_clock_seconds", "gauge", "The time that this node believes it is, since 1970 in UTC.", (double)now->wall_ms / 1000 + CPD_TIME_ZERO_S);
	node_inbox(api->node, &total, &unread);
	one(out, "cpd_inbox_messages", "gauge", "Messages delivered here.", (double)total);
	one(out, "cpd_inbox_unread", "gauge", "Of these, the ones that nobody has read.", (double)unread);
}

static void tell_counters(struct api *api, struct evbuffer *out)
{
	struct node_counters counters;
	uint64_t below = 0;

	node_counters(api->node, &counters);
	one(out, "cpd_turns_total", "counter", "Turns decided.", (double)counters.turns);
	one(out, "cpd_commits_total", "counter", "Turns put on disk.", (double)counters.commits);
	one(out, "cpd_messages_taken_total", "counter", "Messages taken over from neighbours.", (double)counters.taken);
	one(out, "cpd_messages_duplicate_total", "counter", "Messages offered again that were here already.", (double)counters.duplicates);
	one(out, "cpd_messages_refused_total", "counter", "Messages and receipts of neighbours refused.", (double)counters.refused);
	one(out, "cpd_copies_refused_total", "counter", "Calls of older copies of a neighbour that were refused.", (double)counters.copies_refused);
	one(out, "cpd_verify_failures_total", "counter", "Things of neighbours whose bytes or signature did not hold.", (double)counters.verify_failed);
	one(out, "cpd_log_lines_dropped_total", "counter", "Log lines kept back because one neighbour caused too many.", (double)counters.log_dropped);
	family(out, "cpd_events_total", "counter", "Lines of the journal, by what happened.");
	for (int i = 0; i < JOURNAL_COUNT; i++)
		evbuffer_add_printf(out, "cpd_events_total{event=\"%s\"} %llu\n", journal_what_name((enum journal_what)i), (unsigned long long)counters.events[i]);
	family(out, "cpd_commit_seconds", "histogram", "How long a turn waited for the disk, from being handed to the writer.");
	for (int i = 0; i < NODE_COMMIT_BOUNDS; i++) {
		below += counters.commit.buckets[i];
		evbuffer_add_printf(out, "cpd_commit_seconds_bucket{le=\"%g\"} %llu\n", node_commit_bounds_us[i] / 1e6, (unsigned long long)below);
	}
	below += counters.commit.buckets[NODE_COMMIT_BOUNDS];
	evbuffer_add_printf(out, "cpd_commit_seconds_bucket{le=\"+Inf\"} %llu\ncpd_commit_seconds_sum %.6f\ncpd_commit_seconds_count %llu\n",
	    (unsigned long long)below, (double)counters.commit.sum_us / 1e6, (unsigned long long)below);
}

static void tell_store(struct api *api, struct evbuffer *out)
{
	static const struct { enum store_table table; const char *name; } tables[] = {
		{ TABLE_CUSTODY, "custody" }, { TABLE_ENVELOPES, "envelopes" }, { TABLE_QUEUE, "queue" }, { TABLE_RECEIPTS, "receipts" },
		{ TABLE_INBOX, "inbox" }, { TABLE_TIMERS, "timers" }, { TABLE_LEAVES, "leaves" }, { TABLE_JOURNAL, "journal" },
		{ TABLE_QUARANTINE, "quarantine" },
	};
	struct store *store = node_store(api->node);
	struct store_space space;

	store_space(store, &space);
	one(out, "cpd_store_used_bytes", "gauge", "Bytes of the store in use.", (double)space.used_bytes);
	one(out, "cpd_store_limit_bytes", "gauge", "What the store may use: [store] limit_mib, or what the disk had room for.", (double)space.limit_bytes);
	one(out, "cpd_store_file_bytes", "gauge", "Size of the store's file now.", (double)space.map_bytes);
	one(out, "cpd_store_waiting_bytes", "gauge", "Bytes that wait for the writer.", (double)space.waiting_bytes);
	family(out, "cpd_store_admission_bytes", "gauge", "New messages of this precedence are taken while less than this is in use.");
	for (int p = PRECEDENCE_COUNT - 1; p >= 0; p--)
		evbuffer_add_printf(out, "cpd_store_admission_bytes{precedence=\"%s\"} %zu\n", precedence_name((enum precedence)p),
		    store_admission_bytes(store, (enum precedence)p));
	one(out, "cpd_store_reserved_bytes", "gauge", "Of the limit, what no message may use: for receipts and deletes.",
	    (double)(space.limit_bytes - store_admission_bytes(store, PRECEDENCE_FLASH)));
	family(out, "cpd_store_rows", "gauge", "Rows of a table of the store; custody: messages known here.");
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		evbuffer_add_printf(out, "cpd_store_rows{table=\"%s\"} %llu\n", tables[i].name, (unsigned long long)store_count(store, tables[i].table));
}

/* ---------------------------------------------------------------- links and queues */

static bool place_add(struct api *api, struct places *places, uint32_t neighbour, const struct node_link_status *status)
{
	const struct certificate *certificate = directory_certificate(node_directory(api->node), neighbour);
	struct place *list = realloc(places->list, (places->count + 1) * sizeof(*list)), *place;
	char name[NAME_MAX_BYTES];

	if (!list)
		return false;
	places->list = list;
	place = &list[places->count++];
	place->neighbour = neighbour;
	place->status = status;
	node_queue(api->node, neighbour, &place->queue);
	if (neighbour)
		snprintf(place->labels, LABELS_MAX, "link=\"%u\",name=\"%s\"", neighbour, escape(name, certificate ? certificate->name : ""));
	else
		snprintf(place->labels, LABELS_MAX, "link=\"none\",name=\"\"");
	return true;
}

/* What has no route first, then every link, then queues that no link serves. */
static bool places_find(struct api *api, struct places *out)
{
	uint32_t at = 0;
	bool ok = place_add(api, out, 0, NULL);

	out->links = calloc(CONFIG_LINKS, sizeof(*out->links));
	if (!out->links)
		return false;
	out->link_count = node_links(api->node, out->links, CONFIG_LINKS);
	for (size_t i = 0; ok && i < out->link_count; i++)
		ok = place_add(api, out, out->links[i].neighbour, &out->links[i]);
	while (ok && at < UINT32_MAX && node_queue_next(api->node, at + 1, &at)) {
		size_t i = 0;

		while (i < out->link_count && out->links[i].neighbour != at)
			i++;
		if (i == out->link_count)
			ok = place_add(api, out, at, NULL);
	}
	return ok;
}

static void tell_queues(const struct places *places, struct evbuffer *out)
{
	family(out, "cpd_queue_depth", "gauge", "What waits for a link, or is on its way over it and not acknowledged. link none: no route.");
	for (size_t i = 0; i < places->count; i++)
		for (int p = PRECEDENCE_COUNT - 1; p >= 0; p--)
			evbuffer_add_printf(out, "cpd_queue_depth{%s,precedence=\"%s\"} %llu\n", places->list[i].labels, precedence_name((enum precedence)p),
			    (unsigned long long)places->list[i].queue.depth[p]);
	family(out, "cpd_queue_oldest_age_seconds", "gauge", "Age of what stands first in line. 0: nothing waits.");
	for (size_t i = 0; i < places->count; i++)
		for (int p = PRECEDENCE_COUNT - 1; p >= 0; p--)
			evbuffer_add_printf(out, "cpd_queue_oldest_age_seconds{%s,precedence=\"%s\"} %lld\n", places->list[i].labels,
			    precedence_name((enum precedence)p), places->list[i].queue.oldest_s[p] < 0 ? 0LL : (long long)places->list[i].queue.oldest_s[p]);
}

enum figure { LINK_UP, LINK_SINCE, LINK_HEARD, LINK_UNACKED, LINK_UNACKED_AGE, LINK_STALLED, LINK_SENT, LINK_RECEIVED, LINK_RATE, LINK_STALLS, FIGURES };

/* False: not known of this link. */
static bool figure_of(const struct node_link_status *link, enum figure which, int64_t now_ms, double *out)
{
	switch (which) {
	case LINK_UP: *out = link->is_up; return true;
	case LINK_SINCE: *out = (double)(now_ms - link->since_ms) / 1000; return true;
	case LINK_HEARD: *out = (double)(now_ms - link->heard_ms) / 1000; return link->heard_ms != 0;
	case LINK_UNACKED: *out = (double)link->unacked; return true;
	case LINK_UNACKED_AGE: *out = link->unacked_since_ms ? (double)(now_ms - link->unacked_since_ms) / 1000 : 0; return true;
	case LINK_STALLED: *out = link->is_stalled ? (double)(now_ms - link->stalled_since_ms) / 1000 : 0; return true;
	case LINK_SENT: *out = (double)link->sent_bytes; return true;
	case LINK_RECEIVED: *out = (double)link->received_bytes; return true;
	case LINK_RATE: *out = link->rate_bps; return link->rate_bps != 0;
	case LINK_STALLS: *out = (double)link->credit_stalls; return true;
	case FIGURES: break;
	}
	return false;
}

static void tell_links(const struct places *places, struct evbuffer *out, int64_t now_ms)
{
	static const struct { const char *name, *type, *help; } figures[FIGURES] = {
		[LINK_UP] = { "cpd_link_up", "gauge", "1: the neighbour answers." },
		[LINK_SINCE] = { "cpd_link_state_age_seconds", "gauge", "Since the link came up or went down." },
		[LINK_HEARD] = { "cpd_link_heard_age_seconds", "gauge", "Since the neighbour was last heard; absent: never since this process began." },
		[LINK_UNACKED] = { "cpd_link_unacknowledged", "gauge", "Sent, and not acknowledged yet." },
		[LINK_UNACKED_AGE] = { "cpd_link_oldest_unacknowledged_age_seconds", "gauge", "For how long the oldest of these has waited. 0: none." },
		[LINK_STALLED] = { "cpd_link_stalled_seconds", "gauge", "For how long what waits has stood still though the neighbour answers. 0: it moves." },
		[LINK_SENT] = { "cpd_link_sent_bytes_total", "counter", "Bytes of frames sent." },
		[LINK_RECEIVED] = { "cpd_link_received_bytes_total", "counter", "Bytes of frames received." },
		[LINK_RATE] = { "cpd_link_rate_bits_per_second", "gauge", "What the neighbour took while much waited; absent: not measured yet." },
		[LINK_STALLS] = { "cpd_link_credit_stalls_total", "counter", "Times that data waited for the neighbour's leave." },
	};
	double value;

	for (int which = 0; which < FIGURES; which++) {
		family(out, figures[which].name, figures[which].type, figures[which].help);
		for (size_t i = 0; i < places->count; i++)
			if (places->list[i].status && figure_of(places->list[i].status, (enum figure)which, now_ms, &value))
				evbuffer_add_printf(out, "%s{%s} %.15g\n", figures[which].name, places->list[i].labels, value);
	}
}

/* ---------------------------------------------------------------- the other nodes */

/* Everyone in the directory whose key stands; what is kept of a node that was never heard is nothing. */
static void tell_nodes(struct api *api, struct evbuffer *out)
{
	const struct directory *directory = node_directory(api->node);

	for (int pass = 0; pass < 2; pass++) {
		if (pass)
			family(out, "cpd_node_heard_age_seconds", "gauge", "Since a node's own last sign of life, however it came; absent: never.");
		else
			family(out, "cpd_node_info", "gauge", "Always 1: a node of the directory.");
		for (const struct certificate *node = directory_next(directory, 0); node; node = directory_next(directory, node->node)) {
			struct presence presence;
			int64_t age_s;
			char name[NAME_MAX_BYTES];

			if (node->node == node_self(api->node) || directory_revocation(directory, node->node, node->key_number))
				continue;
			if (!pass)
				evbuffer_add_printf(out, "cpd_node_info{node=\"%u\",name=\"%s\",role=\"%s\",municipality=\"%s\"} 1\n", node->node,
				    escape(name, node->name), node_role_name(node->role), node->municipality);
			else if (node_presence(api->node, node->node, &presence, &age_s))
				evbuffer_add_printf(out, "cpd_node_heard_age_seconds{node=\"%u\",name=\"%s\",role=\"%s\"} %lld\n", node->node,
				    escape(name, node->name), node_role_name(node->role), (long long)age_s);
		}
	}
}

void api_metrics(struct api *api, struct evhttp_request *request)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct places places = { NULL, 0, NULL, 0 };
	struct evbuffer *out = evbuffer_new();
	struct moment now;

	node_now(api->node, &now);
	if (!out || !places_find(api, &places)) {
		api_error_of(request, CPD_ERR_NOMEM, NULL);
	} else {
		tell_node(api, out, &now);
		tell_counters(api, out);
		tell_store(api, out);
		tell_queues(&places, out);
		tell_links(&places, out, now.custody_ms);
		tell_nodes(api, out);
		evhttp_add_header(headers, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
		evhttp_add_header(headers, "Cache-Control", "no-store");
		evhttp_send_reply(request, 200, NULL, out);
	}
	free(places.list);
	free(places.links);
	if (out)
		evbuffer_free(out);
}

/* ---------------------------------------------------------------- health */

void api_health(struct api *api, struct evhttp_request *request)
{
	struct node_trouble troubles[NODE_TROUBLES];
	const size_t count = node_health(api->node, troubles);
	json_t *reasons;

	if (!count) {
		api_reply(request, 200, json_pack("{s:b}", "ok", 1));
		return;
	}
	reasons = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(reasons, json_pack("{s:s,s:s,s:s}", "code", troubles[i].code, "message", troubles[i].text, "remedy", troubles[i].remedy));
	api_reply(request, 503, json_pack("{s:b,s:{s:s,s:s,s:s},s:o}", "ok", 0, "error", "code", troubles[0].code, "message", troubles[0].text,
	    "remedy", troubles[0].remedy, "reasons", reasons));
}
