/* relay.c: life, turns, the overlay of uncommitted facts, effects. */
#include "daemon/relay/internal.h"

#include <stdlib.h>
#include <string.h>

/* Presence counters are reserved in blocks, so that announcing costs no commit each time. */
#define PRESENCE_BLOCK 256

void relay_config_init(struct relay_config *config)
{
	*config = (struct relay_config){
		.retry_ms = { 30 * 60000, 10 * 60000, 2 * 60000, 30000 },
		.retry_max_ms = 2 * 3600000,
		.reoffer_ms = 3600000,
		.grace_ms = INT64_C(72) * 3600000,
		.inbox_ms = INT64_C(90) * 86400000,
		.reroute_ms = 10000,
		.presence_ms = 60000,
		.refusal_wait_ms = 5000,
		.copy_doubt_ms = 120000,
		.quota_bytes = LIMIT_QUOTA_BYTES,
	};
}

struct relay *relay_new(const struct relay_config *config, const struct relay_counters *counters, const struct moment *now)
{
	struct relay *relay = calloc(1, sizeof(*relay));

	if (!relay)
		return NULL;
	relay->config = *config;
	relay->counters = *counters;
	if (!relay->counters.next_sequence)
		relay->counters.next_sequence = 1;
	if (!relay->counters.next_row)
		relay->counters.next_row = 1;
	if (!relay->counters.next_inbox)
		relay->counters.next_inbox = 1;
	if (!relay->counters.receipt_counter)
		relay->counters.receipt_counter = 1;
	if (!relay->counters.floor)
		relay->counters.floor = 1;
	floors_begin(relay);
	relay->presence_counter = relay->counters.presence_counter;
	relay->announce_at_ms = INT64_MAX;
	relay->now = *now;
	relay->quotas = quotas_new(config->quota_bytes);
	if (!relay->quotas)
		goto fail;
	if (config->route_count) {
		relay->routes = calloc(config->route_count, sizeof(*relay->routes));
		if (!relay->routes)
			goto fail;
		memcpy(relay->routes, config->routes, config->route_count * sizeof(*relay->routes));
	}
	relay->config.routes = relay->routes;
	if (relay_add_link(relay, 0))
		goto fail;
	return relay;
fail:
	relay_free(relay);
	return NULL;
}

static void link_clear(struct neighbour *neighbour)
{
	for (int p = 0; p < PRECEDENCE_COUNT; p++)
		free(neighbour->windows[p].entries);
	while (neighbour->bodies) {
		struct body_out *body = neighbour->bodies;
		neighbour->bodies = body->after;
		free(body);
	}
	free(neighbour);
}

static void overlay_entry_free(struct overlay_entry *entry)
{
	custody_clear(&entry->custody);
	free(entry);
}

static void bytes_forget(struct relay *relay)
{
	for (size_t i = 0; i < relay->bytes_count; i++)
		free(relay->bytes[i]);
	relay->bytes_count = 0;
}

void relay_free(struct relay *relay)
{
	size_t at;
	void *value;

	if (!relay)
		return;
	for (size_t i = 0; i < relay->link_count; i++)
		link_clear(relay->links[i]);
	free(relay->links);
	for (at = 0; (value = map_next(&relay->overlay, &at));)
		overlay_entry_free(value);
	for (at = 0; (value = map_next(&relay->peers, &at));) {
		free(((struct peer *)value)->record);
		free(value);
	}
	for (at = 0; (value = map_next(&relay->latest, &at));)
		free(value);
	for (at = 0; (value = map_next(&relay->bodies, &at));)
		body_in_free(value);
	map_clear(&relay->links_by_node);
	map_clear(&relay->overlay);
	map_clear(&relay->peers);
	map_clear(&relay->latest);
	map_clear(&relay->bodies);
	bytes_forget(relay);
	free(relay->bytes);
	free(relay->dirty);
	free(relay->effects);
	free(relay->witness);
	free(relay->routes);
	quotas_free(relay->quotas);
	free(relay);
}

enum cpd_error relay_restore_latest(struct relay *relay, uint32_t origin, message_kind kind, const struct message_id *id)
{
	struct latest *latest = map_get(&relay->latest, map_key_pair(origin, kind));
	enum cpd_error error;

	if (!latest) {
		latest = calloc(1, sizeof(*latest));
		if (!latest)
			return CPD_ERR_NOMEM;
		error = map_put(&relay->latest, map_key_pair(origin, kind), latest);
		if (error) {
			free(latest);
			return error;
		}
	}
	*latest = (struct latest){ .origin = origin, .kind = kind, .id = *id, .shown = *id };
	return CPD_OK;
}

enum cpd_error relay_add_link(struct relay *relay, uint32_t neighbour)
{
	struct neighbour **links, *link;

	if (neighbour_of(relay, neighbour))
		return CPD_ERR_EXISTS;
	link = calloc(1, sizeof(*link));
	if (!link)
		return CPD_ERR_NOMEM;
	links = realloc(relay->links, (relay->link_count + 1) * sizeof(struct neighbour *));
	if (!links) {
		free(link);
		return CPD_ERR_NOMEM;
	}
	relay->links = links;
	if (map_put(&relay->links_by_node, map_key_pair(neighbour, 0), link)) {
		free(link);
		return CPD_ERR_NOMEM;
	}
	link->node = neighbour;
	link->down_since_ms = relay->now.custody_ms;
	for (int p = 0; p < PRECEDENCE_COUNT; p++)
		link->windows[p].more = true;   /* the store may hold rows from before */
	relay->links[relay->link_count++] = link;
	relay->ask_is_due = true;
	return CPD_OK;
}

/* ---------------------------------------------------------------- effects */

/* Tests of failing memory set it: any use of an array may be the one that finds no memory, not only each 32nd. */
#ifndef RELAY_ASKS_ALWAYS
#define RELAY_ASKS_ALWAYS false
#endif

static bool grow(struct relay *relay, void **array, size_t *capacity, size_t count, size_t size)
{
	void *larger;
	size_t wanted = count < *capacity ? *capacity : *capacity ? *capacity * 2 : 32;

	if (count < *capacity && !RELAY_ASKS_ALWAYS)
		return true;
	larger = realloc(*array, wanted * size);
	if (!larger) {
		relay->failed = true;
		return false;
	}
	*array = larger;
	*capacity = wanted;
	return true;
}

struct relay_effect *effect_add(struct relay *relay, enum relay_effect_type type)
{
	static struct relay_effect scrap;   /* written, never read: `failed` is set */
	struct relay_effect *effect = &scrap;
	void *array = relay->effects;

	if (grow(relay, &array, &relay->effect_capacity, relay->effect_count, sizeof(*effect))) {
		relay->effects = array;
		effect = &relay->effects[relay->effect_count++];
	}
	*effect = (struct relay_effect){ .type = type };
	return effect;
}

struct slice bytes_keep(struct relay *relay, struct slice bytes)
{
	void *array = relay->bytes;
	uint8_t *copy;

	if (!bytes.len)
		return (struct slice){ 0 };
	copy = malloc(bytes.len);
	if (!copy || !grow(relay, &array, &relay->bytes_capacity, relay->bytes_count, sizeof(uint8_t *))) {
		relay->failed = true;
		free(copy);
		return (struct slice){ 0 };
	}
	relay->bytes = array;
	memcpy(copy, bytes.data, bytes.len);
	relay->bytes[relay->bytes_count++] = copy;
	return (struct slice){ copy, bytes.len };
}

void settle(struct relay *relay, enum cpd_reason reason)
{
	struct relay_effect *effect;

	if (!relay->event->link)
		return;
	effect = effect_add(relay, EFFECT_SETTLE);
	effect->link = relay->event->link;
	effect->serial = relay->event->serial;
	effect->reason = reason;
}

void journal(struct relay *relay, enum journal_what what, const struct custody *custody, uint32_t node, uint32_t link,
    enum level level, enum cpd_reason reason)
{
	struct relay_effect *effect = effect_add(relay, EFFECT_JOURNAL);

	effect->what = what;
	if (custody) {
		effect->id = custody->id;
		effect->precedence = custody->precedence;
		effect->kind = custody->kind;
	}
	effect->node = node;
	effect->link = link;
	effect->level = level;
	effect->reason = reason;
}

bool quota_has(struct relay *relay, uint32_t node, enum quota_kind kind, uint32_t count)
{
	enum cpd_error error = node == relay->config.self ? CPD_OK
	    : quota_take(relay->quotas, node, kind, count, relay->now.custody_ms);

	relay->failed |= error == CPD_ERR_NOMEM;
	return !error;
}

unsigned quota_lowers(struct relay *relay, uint32_t origin, enum precedence precedence)
{
	static const enum quota_kind kinds[PRECEDENCE_COUNT] = { QUOTA_KINDS, QUOTA_PRIORITY, QUOTA_IMMEDIATE, QUOTA_FLASH };
	unsigned lowered = 0;

	while (precedence - lowered > PRECEDENCE_ROUTINE && !quota_has(relay, origin, kinds[precedence - lowered], 1))
		lowered++;
	return lowered;
}

void witness(struct relay *relay, const struct custody *custody, enum level level, enum cpd_reason reason, const char *remark)
{
	void *array = relay->witness;
	struct witness_item *item;

	if (!grow(relay, &array, &relay->witness_capacity, relay->witness_count, sizeof(*item)))
		return;
	relay->witness = array;
	item = &relay->witness[relay->witness_count++];
	*item = (struct witness_item){ .precedence = custody_queue(custody) };
	item->entry.subject = custody->id;
	item->entry.hash = custody->hash;
	item->entry.level = level;
	item->entry.reason = reason;
	if (remark) {
		strncpy(item->entry.remark, remark, LIMIT_REMARK);
		item->entry.remark[LIMIT_REMARK] = '\0';
	}
}

bool relay_take_witness(struct relay *relay, struct receipt_entry *entry, enum precedence *precedence)
{
	if (relay->failed || relay->witness_taken == relay->witness_count) {
		relay->witness_taken = relay->witness_count = 0;
		return false;
	}
	*entry = relay->witness[relay->witness_taken].entry;
	*precedence = relay->witness[relay->witness_taken++].precedence;
	return true;
}

bool relay_take_effect(struct relay *relay, struct relay_effect *out)
{
	if (relay->failed || relay->effect_taken == relay->effect_count)
		return false;
	*out = relay->effects[relay->effect_taken++];
	return true;
}

/* ---------------------------------------------------------------- overlay */

static struct overlay_entry *overlay_add(struct relay *relay, const struct message_id *id)
{
	struct overlay_entry *entry = calloc(1, sizeof(*entry));

	if (!entry || map_put(&relay->overlay, map_key_id(id), entry)) {
		free(entry);
		relay->failed = true;
		return NULL;
	}
	custody_init(&entry->custody);
	entry->custody.id = *id;
	entry->turn = relay->turn;
	return entry;
}

struct custody *custody_of(struct relay *relay, const struct message_id *id)
{
	struct overlay_entry *entry = map_get(&relay->overlay, map_key_id(id));

	if (entry)
		return entry->is_deleted ? NULL : &entry->custody;
	for (size_t i = 0; i < relay->key_count; i++) {
		const struct custody *held = relay->facts ? relay->facts->custody[i] : NULL;
		if (!held || !message_id_equal(&relay->keys[i], id))
			continue;
		entry = overlay_add(relay, id);
		if (!entry)
			return NULL;
		custody_clear(&entry->custody);
		if (custody_copy(held, &entry->custody)) {
			custody_init(&entry->custody);
			relay->failed = true;
			return NULL;
		}
		return &entry->custody;
	}
	return NULL;
}

struct custody *custody_make(struct relay *relay, const struct message_id *id)
{
	struct overlay_entry *entry = map_get(&relay->overlay, map_key_id(id));

	if (!entry)
		entry = overlay_add(relay, id);
	if (!entry)
		return NULL;
	entry->is_deleted = false;
	custody_clear(&entry->custody);
	custody_init(&entry->custody);
	entry->custody.id = *id;
	custody_changed(relay, &entry->custody);
	return &entry->custody;
}

static void mark_dirty(struct relay *relay, struct overlay_entry *entry)
{
	void *array = relay->dirty;

	entry->turn = relay->turn;
	if (entry->is_dirty)
		return;
	if (!grow(relay, &array, &relay->dirty_capacity, relay->dirty_count, sizeof(*relay->dirty)))
		return;
	relay->dirty = array;
	relay->dirty[relay->dirty_count++] = entry->custody.id;
	entry->is_dirty = true;
}

void custody_changed(struct relay *relay, const struct custody *custody)
{
	struct overlay_entry *entry = map_get(&relay->overlay, map_key_id(&custody->id));

	if (entry)
		mark_dirty(relay, entry);
}

void custody_drop(struct relay *relay, struct custody *custody)
{
	struct overlay_entry *entry = map_get(&relay->overlay, map_key_id(&custody->id));

	timer_set(relay, custody, 0);
	envelope_drop(relay, custody);
	if (entry) {
		entry->is_deleted = true;
		mark_dirty(relay, entry);
	}
}

/* ---------------------------------------------------------------- turns */

void relay_begin_turn(struct relay *relay, uint64_t turn)
{
	relay->turn = turn;
	relay->effect_count = relay->effect_taken = 0;
	bytes_forget(relay);
}

static void add_key(struct message_id keys[RELAY_KEYS_MAX], size_t *count, const struct message_id *id)
{
	if (!id->sequence || *count == RELAY_KEYS_MAX)
		return;
	for (size_t i = 0; i < *count; i++)
		if (message_id_equal(&keys[i], id))
			return;
	keys[(*count)++] = *id;
}

static void add_message_keys(const struct relay *relay, struct message_id keys[RELAY_KEYS_MAX], size_t *count,
    const struct message_id *id, message_kind kind, const struct message_id *supersedes)
{
	const struct latest *latest = map_get(&relay->latest, map_key_pair(id->origin, kind));

	add_key(keys, count, id);
	add_key(keys, count, supersedes);
	if (latest) {
		add_key(keys, count, &latest->id);
		add_key(keys, count, &latest->shown);
	}
}

size_t relay_keys_of(const struct relay *relay, const struct relay_event *event, struct message_id keys[RELAY_KEYS_MAX])
{
	const struct body_in *body;
	size_t count = 0;

	switch (event->type) {
	case RELAY_MESSAGE: {
		const struct header *header = &event->message->message.header;

		add_message_keys(relay, keys, &count, &header->id, header->kind, &header->supersedes);
		break;
	}
	case RELAY_RECEIPTS:
		for (size_t i = 0; i < event->receipts->receipts.count; i++)
			add_key(keys, &count, &event->receipts->receipts.entries[i].subject);
		break;
	case RELAY_ACKED: case RELAY_REFUSED: case RELAY_RETURNED: case RELAY_WANTED: case RELAY_CARRIED:
		if (event->ref.type == ITEM_TYPE_MESSAGE)
			add_key(keys, &count, &event->ref.id);
		break;
	case RELAY_LEAF:               /* the last one brings its message in */
		body = map_get(&relay->bodies, map_key_id(&event->id));
		if (body)
			add_message_keys(relay, keys, &count, &body->id, body->kind, &body->supersedes);
		break;
	case RELAY_OPERATE: case RELAY_TIMER: case RELAY_LOST: case RELAY_FORGET:
		add_key(keys, &count, &event->id);
		break;
	case RELAY_ROWS:
		for (size_t i = 0; event->is_reroute && i < event->row_count; i++)
			if (event->rows[i].ref.type == ITEM_TYPE_MESSAGE)
				add_key(keys, &count, &event->rows[i].ref.id);
		break;
	case RELAY_OWN:
		for (size_t i = 0; i < event->own_count; i++)
			add_key(keys, &count, &event->own[i]);
		break;
	case RELAY_HEARD: case RELAY_LINK_UP: case RELAY_LINK_DOWN: case RELAY_TICK: case RELAY_DIRECTORY: case RELAY_ANNOUNCE:
		break;
	}
	return count;
}

enum cpd_error relay_handle(struct relay *relay, const struct relay_event *event,
    const struct relay_facts *facts, const struct moment *now)
{
	enum cpd_error error = CPD_OK;

	if (relay->failed)
		return CPD_ERR_NOMEM;
	relay->event = event;
	relay->facts = facts;
	relay->now = *now;
	relay->key_count = relay_keys_of(relay, event, relay->keys);
	switch (event->type) {
	case RELAY_MESSAGE:   handle_message(relay); break;
	case RELAY_RECEIPTS:  handle_receipts(relay); break;
	case RELAY_HEARD:     handle_heard(relay); break;
	case RELAY_LINK_UP:   handle_link(relay, true); break;
	case RELAY_LINK_DOWN: handle_link(relay, false); break;
	case RELAY_ACKED:     handle_acked(relay); break;
	case RELAY_REFUSED:   handle_refused(relay); break;
	case RELAY_RETURNED:  handle_returned(relay); break;
	case RELAY_CARRIED:   handle_carried(relay); break;
	case RELAY_WANTED:    handle_wanted(relay); break;
	case RELAY_LEAF:      handle_leaf(relay); break;
	case RELAY_OPERATE:   error = handle_operate(relay); break;
	case RELAY_TIMER:     handle_timer(relay); break;
	case RELAY_ROWS:      handle_rows(relay); break;
	case RELAY_OWN:       handle_own(relay); break;
	case RELAY_TICK:      handle_tick(relay); break;
	case RELAY_LOST:      handle_lost(relay); break;
	case RELAY_FORGET:    handle_forget(relay); break;
	case RELAY_DIRECTORY: reroute_soon(relay); break;
	case RELAY_ANNOUNCE:  handle_announce(relay); break;
	}
	relay->event = NULL;
	relay->facts = NULL;
	relay->key_count = 0;
	return relay->failed ? CPD_ERR_NOMEM : error;
}

enum cpd_error relay_end_turn(struct relay *relay)
{
	for (size_t i = 0; i < relay->dirty_count; i++) {
		struct overlay_entry *entry = map_get(&relay->overlay, map_key_id(&relay->dirty[i]));
		struct relay_effect *effect;

		if (!entry || !entry->is_dirty)
			continue;
		entry->is_dirty = false;
		effect = effect_add(relay, entry->is_deleted ? EFFECT_DELETE_CUSTODY : EFFECT_PUT_CUSTODY);
		effect->id = relay->dirty[i];
		effect->custody = entry->is_deleted ? NULL : &entry->custody;
	}
	relay->dirty_count = 0;
	if (relay->floors_are_due)
		floors_ask(relay);
	windows_ask(relay);
	if (relay->counters_dirty) {
		effect_add(relay, EFFECT_PUT_COUNTERS)->counters = relay->counters;
		relay->counters_dirty = false;
	}
	return relay->failed ? CPD_ERR_NOMEM : CPD_OK;
}

void relay_committed(struct relay *relay, uint64_t turn)
{
	/* Removal moves slots, so the sweep starts again after each batch it has collected. */
	struct message_id done[64];
	size_t count;

	if (turn > relay->committed)
		relay->committed = turn;
	relay->ask_is_due = windows_are_low(relay);
	do {
		size_t at = 0;
		struct overlay_entry *entry;

		count = 0;
		while (count < 64 && (entry = map_next(&relay->overlay, &at)))
			if (entry->turn <= turn && !entry->is_dirty)
				done[count++] = entry->custody.id;
		for (size_t i = 0; i < count; i++)
			overlay_entry_free(map_remove(&relay->overlay, map_key_id(&done[i])));
	} while (count == 64);
}

/* ---------------------------------------------------------------- asking */

uint64_t relay_next_sequence(const struct relay *relay)
{
	return relay->counters.next_sequence;
}

const struct relay_counters *relay_counters(const struct relay *relay)
{
	return &relay->counters;
}

const char *journal_what_name(enum journal_what what)
{
	static const char *const names[JOURNAL_COUNT] = {
		[JOURNAL_AUTHORED] = "authored", [JOURNAL_CUSTODY_TAKEN] = "custody-taken", [JOURNAL_PASSED] = "passed",
		[JOURNAL_DELIVERED_HERE] = "delivered-here", [JOURNAL_DUPLICATE] = "duplicate", [JOURNAL_RECEIPT] = "receipt",
		[JOURNAL_RETRY] = "retry", [JOURNAL_REROUTED] = "rerouted", [JOURNAL_EXPIRED] = "expired",
		[JOURNAL_UNDELIVERABLE] = "undeliverable", [JOURNAL_CLOSED] = "closed", [JOURNAL_RELEASED] = "released",
		[JOURNAL_WITHDRAWN] = "withdrawn", [JOURNAL_SUPERSEDED] = "superseded", [JOURNAL_HELD] = "held",
		[JOURNAL_FREED] = "freed", [JOURNAL_REFUSED_BY] = "refused-by", [JOURNAL_REFUSED] = "refused",
		[JOURNAL_ID_CONFLICT] = "id-conflict", [JOURNAL_FLOOR_FELL] = "floor-fell", [JOURNAL_EPOCH_ROSE] = "epoch-rose",
		[JOURNAL_OPERATED] = "operated", [JOURNAL_LINK_UP] = "link-up", [JOURNAL_LINK_DOWN] = "link-down",
		[JOURNAL_NODE_SEEN] = "node-seen", [JOURNAL_HEAD_SEEN] = "head-seen",
		[JOURNAL_FENCED] = "fenced", [JOURNAL_RECEIPT_DOUBTED] = "receipt-doubted",
		[JOURNAL_UNSEALED] = "unsealed", [JOURNAL_ERASED] = "erased",
	};
	return what < JOURNAL_COUNT && names[what] ? names[what] : "unknown";
}

/* ---------------------------------------------------------------- presence counter */

void announce_soon(struct relay *relay, int64_t delay_ms)
{
	int64_t at = relay->now.custody_ms + delay_ms;

	if (relay->presence_counter + 1 >= relay->counters.presence_counter) {
		relay->counters.presence_counter = relay->presence_counter + 1 + PRESENCE_BLOCK;
		relay->counters_dirty = true;
	}
	if (at < relay->announce_at_ms)
		relay->announce_at_ms = at;
}
