/* node_load.c: start and start again: epoch, directory, relay and counters from what the store holds. */
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"
#include "daemon/node_vault.h"
#include "daemon/version.h"

#define FLOORS_OF "floors-"     /* in meta, and the number of the node that told them */
#define MIGRATION_PIECE_S 60    /* what systemd must grant for the next one, on a slow card */

static void store_migrated_told(void *context, const struct store_migration *news)
{
	const struct node *node = context;

	sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%u000000\nSTATUS=store: schema %u to %u, piece %u", MIGRATION_PIECE_S, (unsigned)news->from,
	    (unsigned)news->to, (unsigned)news->pieces);
	if (news->pieces == 0)
		log_line(LOG_WARNING, "store-migrating", "from=%u to=%u what=\"%s\" back=\"stop cpd and run: cpd --downgrade-store %u %s; or restore "
		    "the backup made before the upgrade\"", (unsigned)news->from, (unsigned)news->to, news->what, (unsigned)news->from, node->config->store);
	if (news->is_done)
		log_line(LOG_INFO, "store-migrated", "from=%u to=%u pieces=%u", (unsigned)news->from, (unsigned)news->to, (unsigned)news->pieces);
}

static void store_mended_told(void *context, const char *line)
{
	(void)context;
	log_line(LOG_ERR, "store-damaged", "what=\"%s\" cure=\"replace the disk when this comes again\"", line);
}

enum cpd_error load_store(struct node *node, char problem[256])
{
	const struct store_options options = { .path = node->config->store, .hash = crypto_digest,
		.limit_bytes = node->config->store_limit_mib * 1024 * 1024, .version = CPD_VERSION,
		.migrated = store_migrated_told, .migrated_context = node,
		.report = store_mended_told };
	const char *why = "";
	enum cpd_error error = store_open(&options, &node->store, &why);

	if (error)
		snprintf(problem, 256, "%s", why && *why ? why : cpd_error_text(error));
	return error;
}

/* ---------------------------------------------------------------- meta */

enum cpd_error node_load(struct node *node, enum store_table table, const struct store_key *key, uint8_t **value, size_t *len)
{
	enum cpd_error error = store_get(node->store, table, key, value, len);
	struct message_id id;
	char text[MESSAGE_ID_TEXT_MAX] = "?";

	if (!error && table == TABLE_ENVELOPES)
		return record_unwrap(node, key, value, len);
	if (error != CPD_ERR_DAMAGED)
		return error;
	if (!store_key_read_id(key, &id))
		message_id_format(&id, text);
	log_line(LOG_ERR, "quarantine", "table=%d msg=%s cure=\"the record failed its checksum and was moved aside; run cpd --check-store and look at the disk\"",
	    (int)table, text);
	if (store_quarantine(node->store, table, key))
		log_line(LOG_ERR, "quarantine-failed", "table=%d msg=%s", (int)table, text);
	return CPD_ERR_NOT_FOUND;
}

enum cpd_error load_number(struct node *node, const char *name, uint64_t *out)
{
	struct store_key key = store_key_name(name);
	uint8_t *value;
	size_t len;
	enum cpd_error error = node_load(node, TABLE_META, &key, &value, &len);

	*out = 0;
	if (error)
		return error == CPD_ERR_NOT_FOUND ? CPD_OK : error;
	error = store_value_read_u64((struct slice){ value, len }, out);
	free(value);
	return error;
}

static enum cpd_error meta_put(struct node *node, const char *name, uint64_t number)
{
	struct store_key key = store_key_name(name);
	struct store_value value = store_value_u64(number);
	struct store_batch *batch = store_batch_new(++node->turn);
	enum cpd_error error = batch ? store_batch_put(batch, TABLE_META, &key, (struct slice){ value.bytes, value.len }) : CPD_ERR_NOMEM;

	if (error) {
		store_batch_free(batch);
		return error;
	}
	return store_commit_now(node->store, batch);
}

enum cpd_error epoch_raise(struct node *node, uint32_t at_least)
{
	uint32_t epoch = at_least > node->epoch ? at_least : node->epoch + 1;
	enum cpd_error error;

	if (node->epoch == UINT32_MAX || at_least == UINT32_MAX)
		return CPD_ERR_RANGE;
	/* The identity first: after a crash in between the two differ, and a still newer epoch is begun. */
	error = identity_set_epoch(node->identity, epoch);
	if (!error)
		error = meta_put(node, "epoch", epoch);
	if (error)
		return error;
	if (node->epoch)
		log_line(LOG_WARNING, "epoch-rose", "epoch=%u was=%u", epoch, node->epoch);
	node->tells_epoch = node->epoch != 0;   /* the first of a new node is no news */
	node->epoch = epoch;
	return CPD_OK;
}

enum cpd_error load_epoch(struct node *node, char problem[256])
{
	uint64_t stored = 0, custody_ms = 0;
	uint32_t own = identity_epoch(node->identity);
	enum cpd_error error = load_number(node, "epoch", &stored);

	if (!error)
		error = load_number(node, "custody_ms", &custody_ms);
	if (!error && stored > UINT32_MAX - 1)
		error = CPD_ERR_RANGE;
	clock_start(&node->clock, (int64_t)custody_ms, node->config->clock_quality);
	node->epoch = own > stored ? own : (uint32_t)stored;
	/* A new or restored store knows less than was said in its epoch. */
	node->started_ms = node_ms(node);
	if (!error && (stored != own || !own || (node->has_moved && !node_is_fenced(node))))
		error = epoch_raise(node, node->epoch + 1);
	if (error)
		snprintf(problem, 256, "the epoch cannot be set: %s %s; look at the identity folder and the disk", cpd_error_text(error),
		    crypto_problem());
	return error;
}

/* ---------------------------------------------------------------- directory */

static bool directory_visit(void *context, const struct store_key *key, struct slice value)
{
	struct node *node = context;
	struct directory_update update;
	enum cpd_error error;

	(void)key;
	error = verify_directory_update(identity_anchor(node->identity), value, &update);
	if (error) {
		log_line(LOG_ERR, "directory-void", "error=\"%s\" cure=\"a stored update is not this region's: import the directory again\"", cpd_error_text(error));
		return true;
	}
	error = directory_apply(node->directory, &update);
	if (error && error != CPD_ERR_EXISTS)
		log_line(LOG_ERR, "directory-not-applied", "number=%u error=\"%s\"", update.number, cpd_error_text(error));
	directory_update_clear(&update);
	return true;
}

enum cpd_error load_directory(struct node *node, char problem[256])
{
	struct store_key from = store_key_number(0);
	size_t damaged = 0;
	enum cpd_error error;

	node->directory = directory_new();
	if (!node->directory)
		return CPD_ERR_NOMEM;
	error = store_scan(node->store, TABLE_DIRECTORY, &from, 0, false, SIZE_MAX, directory_visit, node, &damaged);
	if (error && error != CPD_ERR_NOT_FOUND) {
		snprintf(problem, 256, "the directory cannot be read: %s; run cpd --check-store", cpd_error_text(error));
		return error;
	}
	if (damaged)
		log_line(LOG_ERR, "directory-damaged", "rows=%zu cure=\"import the directory again\"", damaged);
	return CPD_OK;
}

/* ---------------------------------------------------------------- relay */

struct restore { struct relay *relay; enum cpd_error error; };

struct store_key node_floors_key(uint32_t node)
{
	char name[32];

	snprintf(name, sizeof(name), FLOORS_OF "%u", (unsigned)node);
	return store_key_name(name);
}

static bool floors_visit(void *context, const struct store_key *key, struct slice value)
{
	struct restore *restore = context;
	struct epoch_floor floors[LIMIT_FLOORS];
	char name[32] = "";
	size_t count = 0;

	if (key->len <= strlen(FLOORS_OF) || key->len >= sizeof(name))
		return true;
	memcpy(name, key->bytes, key->len);
	for (; count < LIMIT_FLOORS && 16 * count + 16 <= value.len; count++) {
		const uint8_t *at = value.data + 16 * count;

		floors[count] = (struct epoch_floor){ (uint32_t)time_of(at), (uint64_t)time_of(at + 8) };
	}
	relay_restore_floors(restore->relay, (uint32_t)strtoul(name + strlen(FLOORS_OF), NULL, 10), floors, count);
	return true;
}

static enum cpd_error restore_floors(struct node *node)
{
	struct restore restore = { node->relay, CPD_OK };
	struct store_key from = store_key_name(FLOORS_OF);
	size_t damaged = 0;
	enum cpd_error error = store_scan(node->store, TABLE_META, &from, from.len, false, SIZE_MAX, floors_visit, &restore, &damaged);

	return error == CPD_ERR_NOT_FOUND ? CPD_OK : error;
}

static bool presence_visit(void *context, const struct store_key *key, struct slice value)
{
	struct restore *restore = context;
	struct signed_record record;
	struct presence presence;

	(void)key;
	if (value.len <= 8 || signed_record_decode((struct slice){ value.data + 8, value.len - 8 }, LIMIT_PRESENCE, &record) ||
	    presence_decode(record.signed_bytes, &presence))
		return true;            /* the next one heard takes its place */
	restore->error = relay_restore_presence(restore->relay, &presence, time_of(value.data));
	return !restore->error;
}

static bool latest_visit(void *context, const struct store_key *key, struct slice value)
{
	struct restore *restore = context;
	struct message_id id;
	uint32_t numbers[2] = { 0, 0 };

	if (key->len != 8 || store_value_read_id(value, &id))
		return true;
	for (int i = 0; i < 8; i++)
		numbers[i / 4] = numbers[i / 4] << 8 | key->bytes[i];
	restore->error = relay_restore_latest(restore->relay, numbers[0], numbers[1], &id);
	return !restore->error;
}

static enum cpd_error restore_table(struct node *node, enum store_table table, store_visit *visit)
{
	struct restore restore = { node->relay, CPD_OK };
	struct store_key from = store_key_number(0);
	size_t damaged = 0;
	enum cpd_error error = store_scan(node->store, table, &from, 0, false, SIZE_MAX, visit, &restore, &damaged);

	if (damaged)
		log_line(LOG_ERR, "rows-damaged", "table=%d rows=%zu cure=\"run cpd --check-store --repair\"", (int)table, damaged);
	return error && error != CPD_ERR_NOT_FOUND ? error : restore.error;
}

static enum cpd_error floors_get(struct node *node)
{
	struct relay_counters *stored = &node->stored;
	struct store_key key = store_key_name("floor_epochs");
	uint8_t *value;
	size_t len;
	enum cpd_error error = node_load(node, TABLE_META, &key, &value, &len);

	stored->epoch = 0;
	memset(stored->elders, 0, sizeof(stored->elders));
	if (error)
		return error == CPD_ERR_NOT_FOUND ? CPD_OK : error;
	if (len != 8 * FLOOR_NUMBERS) {
		free(value);
		return CPD_ERR_DAMAGED;
	}
	stored->epoch = (uint32_t)time_of(value);
	for (size_t i = 0; i < RELAY_ELDERS; i++) {
		const uint8_t *at = value + 8 * (1 + 3 * i);

		stored->elders[i] = (struct elder_floor){ (uint32_t)time_of(at), (uint64_t)time_of(at + 8), (uint64_t)time_of(at + 16) };
	}
	free(value);
	return CPD_OK;
}

/* The store of an older cpd, or one that was repaired: counted once, and kept from then on. */
struct unread_scan { struct node *node; uint64_t unread; };

static bool unread_visit(void *context, const struct store_key *key, struct slice value)
{
	struct unread_scan *scan = context;
	struct custody custody;
	struct message_id id;

	(void)key;
	if (store_value_read_id(value, &id) || node_load_custody(scan->node, &id, &custody))
		return true;
	scan->unread += !level_closes(custody.local_level, LEVEL_READ);
	custody_clear(&custody);
	return true;
}

static enum cpd_error read_get(struct node *node)
{
	struct store_key key = store_key_name("inbox_read"), first = store_key_counter(0);
	struct relay_counters *stored = &node->stored;
	struct unread_scan scan = { node, 0 };
	enum cpd_error error;
	uint8_t *value;
	size_t len;

	node->counts_read = false;
	stored->inbox_read = 0;
	if (!node_load(node, TABLE_META, &key, &value, &len)) {
		error = store_value_read_u64((struct slice){ value, len }, &stored->inbox_read);
		free(value);
		return error;
	}
	error = store_scan(node->store, TABLE_INBOX, &first, 0, false, SIZE_MAX, unread_visit, &scan, NULL);
	if (stored->next_inbox > scan.unread)
		stored->inbox_read = stored->next_inbox - 1 - scan.unread;
	node->counts_read = true;
	return error == CPD_ERR_NOT_FOUND ? CPD_OK : error;
}

static enum cpd_error counters_get(struct node *node)
{
	struct relay_counters *stored = &node->stored;
	struct store_key none = { .len = 0 }, found;
	uint8_t *value;
	size_t len;
	enum cpd_error error = load_number(node, "next_sequence", &stored->next_sequence);

	if (!error)
		error = load_number(node, "next_row", &stored->next_row);
	if (!error)
		error = load_number(node, "next_inbox", &stored->next_inbox);
	if (!error)
		error = load_number(node, "receipt_counter", &stored->receipt_counter);
	if (!error)
		error = load_number(node, "presence_counter", &stored->presence_counter);
	if (!error)
		error = load_number(node, "floor", &stored->floor);
	if (!error)
		error = floors_get(node);
	if (!error)
		error = read_get(node);
	if (!error)
		error = load_number(node, "next_journal", &node->stored_news);
	node->next_news = node->stored_news ? node->stored_news : 1;
	if (!error && !store_seek_last(node->store, TABLE_JOURNAL, &none, &found, &value, &len)) {
		free(value);
		if (store_key_read_counter(&found) >= node->next_news)
			node->next_news = store_key_read_counter(&found) + 1;
	}
	return error ? error : journal_head_get(node);
}

enum cpd_error load_relay(struct node *node, char problem[256])
{
	const struct relay_config *timers = &node->config->timers;
	struct relay_config config = *timers;
	struct moment now;
	enum cpd_error error = counters_get(node);

	if (error)
		goto fail;
	node_now(node, &now);
	config.self = node->self;
	config.epoch = node->epoch;
	config.claim = node->claim.claim;
	config.instance = node->instance;
	config.takes_over = node->claim.takes_over;
	config.started_ms = node->started_ms;
	config.directory = node->directory;
	config.routes = node->config->routes;
	config.route_count = node->config->route_count;
	config.passes_presence_to_nsps = node->role->passes_presence_to_nsps;
	node->relay = relay_new(&config, &node->stored, &now);
	if (node->counts_read)
		node->stored.inbox_read = UINT64_MAX;   /* as no turn has it: the next one that stores counters writes it */
	error = node->relay ? restore_table(node, TABLE_PRESENCE, presence_visit) : CPD_ERR_NOMEM;
	if (!error)
		error = restore_floors(node);
	if (!error)
		error = restore_table(node, TABLE_LATEST, latest_visit);
	for (size_t i = 0; !error && i < node->link_count; i++)
		error = relay_add_link(node->relay, node->links[i]->neighbour);
	if (error)
		goto fail;
	node->row_due_ms = 0;           /* the first turn looks */
	node->is_loading = true;
	return CPD_OK;
fail:
	relay_free(node->relay);
	node->relay = NULL;
	snprintf(problem, 256, "the state cannot be built from the store: %s; run cpd --check-store", cpd_error_text(error));
	return error;
}
