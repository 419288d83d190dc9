/* api_self.c: GET /v1/self: what this process and its keys are, and what it believes of the time. For `cpctl doctor` and `cpctl clock`, which judge it. */
#include "daemon/api_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/version.h"

/* A look at the newest messages is enough to say that somebody waits for an answer. */
#define LOOK_AT 10000

static json_t *certificate_to_json(struct api *api)
{
	const struct directory *directory = node_directory(api->node);
	const struct certificate *held = directory_certificate(directory, node_self(api->node));
	struct certificate own = { .node = 0 };
	bool matches;

	if (!held)
		return json_null();
	identity_public_keys(node_identity(api->node), &own);
	matches = !memcmp(own.signing_key, held->signing_key, sizeof(own.signing_key)) && !memcmp(own.sealing_key, held->sealing_key, sizeof(own.sealing_key)) &&
	    !memcmp(own.transport_key, held->transport_key, sizeof(own.transport_key));
	return json_pack("{s:I,s:I,s:b,s:b,s:o,s:o}", "key_number", (json_int_t)held->key_number,
	    "own_key_number", (json_int_t)identity_key_number(node_identity(api->node)), "matches", (int)matches,
	    "revoked", (int)(directory_revocation(directory, held->node, held->key_number) != NULL),
	    "not_before", json_time((int64_t)held->not_before_s * 1000), "not_after", json_time((int64_t)held->not_after_s * 1000));
}

static json_t *clock_to_json(struct api *api, const struct moment *now)
{
	static const char *const qualities[] = { "unknown", "manual", "ntp", "gnss" };
	struct node_link_status *links = calloc(CONFIG_LINKS, sizeof(*links));
	size_t count = links ? node_links(api->node, links, CONFIG_LINKS) : 0;
	json_t *neighbours = json_array();

	for (size_t i = 0; i < count; i++)
		if (links[i].has_clock)
			json_array_append_new(neighbours, json_pack("{s:I,s:o,s:b,s:I,s:s,s:I}", "neighbour", (json_int_t)links[i].neighbour,
			    "name", json_node_name(api, links[i].neighbour), "up", (int)links[i].is_up, "offset_s", (json_int_t)(links[i].clock_offset_ms / 1000),
			    "quality", qualities[links[i].clock_quality & 3], "told_s", (json_int_t)((now->custody_ms - links[i].clock_told_ms) / 1000)));
	free(links);
	return json_pack("{s:o,s:s,s:s,s:o,s:o}", "time", json_time(now->wall_ms), "quality", qualities[now->quality & 3],
	    "setting", api->config->clock_quality, "authority_time", json_time((int64_t)directory_latest_time_s(node_directory(api->node)) * 1000),
	    "neighbours", neighbours);
}

struct waiting { struct api *api; uint64_t unread, open; int64_t oldest_s; struct moment now; };

/* FLASH delivered here that nobody opened, or whose closing level nobody signed. */
static bool look_at(void *context, const struct store_key *key, struct slice value)
{
	struct waiting *waiting = context;
	struct store_key custody_key;
	struct custody custody;
	struct message_id id;
	uint8_t *record;
	size_t len;

	(void)key;
	if (store_value_read_id(value, &id))
		return true;
	custody_key = store_key_id(&id);
	if (store_get(node_store(waiting->api->node), TABLE_CUSTODY, &custody_key, &record, &len))
		return true;
	if (!custody_decode((struct slice){ record, len }, &custody)) {
		bool is_flash = custody.precedence == PRECEDENCE_FLASH, is_unread = is_flash && !level_closes(custody.local_level, LEVEL_READ);
		bool is_open = is_unread || (is_flash && !level_closes(custody.local_level, custody.closing_level));

		waiting->unread += is_unread;
		waiting->open += is_open;
		if (is_open && (int64_t)custody_age_s(&custody, &waiting->now) > waiting->oldest_s)
			waiting->oldest_s = custody_age_s(&custody, &waiting->now);
		custody_clear(&custody);
	}
	free(record);
	return true;
}

static json_t *limit_to_json(int which)
{
	struct rlimit limit;

	return getrlimit(which, &limit) || limit.rlim_cur == RLIM_INFINITY ? json_null() : json_integer((json_int_t)limit.rlim_cur);
}

void api_self(struct api *api, struct evhttp_request *request)
{
	const struct config *config = api->config;
	struct waiting waiting = { .api = api, .oldest_s = -1 };
	struct store_key first = store_key_counter(0);
	enum cpd_error error;

	node_now(api->node, &waiting.now);
	error = store_scan(node_store(api->node), TABLE_INBOX, &first, 0, false, LOOK_AT, look_at, &waiting, NULL);
	if (error && error != CPD_ERR_NOT_FOUND) {
		api_error_of(request, error, NULL);
		return;
	}
	api_reply(request, 200, json_pack("{s:{s:I,s:I,s:s,s:o,s:o},s:{s:s,s:s,s:s},s:o,s:o,s:{s:I,s:I,s:o},s:I}",
	    "process", "pid", (json_int_t)getpid(), "user", (json_int_t)geteuid(), "version", CPD_VERSION,
	    "memlock_bytes", limit_to_json(RLIMIT_MEMLOCK), "core_bytes", limit_to_json(RLIMIT_CORE),
	    "folders", "state", config->state, "identity", config->identity, "store", config->store,
	    "clock", clock_to_json(api, &waiting.now), "certificate", certificate_to_json(api),
	    "flash", "unread", (json_int_t)waiting.unread, "open", (json_int_t)waiting.open, "oldest_s", json_age(waiting.oldest_s),
	    "quarantine", (json_int_t)store_count(node_store(api->node), TABLE_QUARANTINE)));
}
