/*
 * directory.c: the lookup structure of directory.h. Its updates are read and written in
 * directory_update.c.
 *
 * Certificates, revocations and groups are each a table sorted by two numbers (node and key number;
 * group and version) that points at items of its own. An update builds new tables beside the old and
 * they change places at the end, so a failed update has changed nothing. When two updates speak of
 * the same pair, the higher update number wins, so the order of arrival does not matter.
 */
#include "proto/directory.h"

#include <stdlib.h>
#include <string.h>

#include "proto/kind.h"

struct entry {
	uint32_t first, second;    /* node and key number; group number and version; function number and 0 */
	uint32_t update;           /* the update it came in */
	void *item;                /* owned */
};

struct table {
	struct entry *entries;     /* ascending by first, second; no repeats */
	size_t count;
};

enum { CERTIFICATES, REVOCATIONS, GROUPS, FUNCTIONS, TABLE_COUNT };

struct directory {
	struct table tables[TABLE_COUNT];
	/* Open addressing on the transport keys of the newest unrevoked certificates; a power of two,
	 * at most half full. NULL while there is none. */
	const struct certificate **by_key;
	size_t by_key_size;
	uint32_t version;                            /* 1..version are held */
	uint32_t ahead[LIMIT_DIRECTORY_AHEAD];       /* held above version + 1, ascending */
	size_t ahead_count;
	uint32_t latest_time_s;
};

static void item_free(int which, void *item)
{
	if (which == GROUPS && item)
		free(((struct group *)item)->members);
	free(item);
}

static void table_clear(int which, struct table *table)
{
	for (size_t i = 0; i < table->count; i++)
		item_free(which, table->entries[i].item);
	free(table->entries);
	*table = (struct table){ 0 };
}

static int entry_compare(const void *a, const void *b)
{
	const struct entry *left = a, *right = b;

	if (left->first != right->first)
		return left->first < right->first ? -1 : 1;
	if (left->second != right->second)
		return left->second < right->second ? -1 : 1;
	return 0;
}

/* Index of the first entry that is not below (first, second). */
static size_t table_lower(const struct table *table, uint32_t first, uint32_t second)
{
	struct entry wanted = { first, second, 0, NULL };
	size_t low = 0, high = table->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (entry_compare(&table->entries[middle], &wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const void *table_find(const struct table *table, uint32_t first, uint32_t second)
{
	size_t at = table_lower(table, first, second);

	if (at == table->count || table->entries[at].first != first || table->entries[at].second != second)
		return NULL;
	return table->entries[at].item;
}

/* The entry with the highest second number of this first one; NULL: none. */
static const void *table_newest(const struct table *table, uint32_t first)
{
	size_t end = first == UINT32_MAX ? table->count : table_lower(table, first + 1, 0);

	return end > 0 && table->entries[end - 1].first == first ? table->entries[end - 1].item : NULL;
}

/* The newest of the lowest first number above `after`. */
static const void *table_next(const struct table *table, uint32_t after)
{
	size_t at = after == UINT32_MAX ? table->count : table_lower(table, after + 1, 0);

	return at < table->count ? table_newest(table, table->entries[at].first) : NULL;
}

struct directory *directory_new(void)
{
	return calloc(1, sizeof(struct directory));
}

void directory_free(struct directory *directory)
{
	if (!directory)
		return;
	for (int which = 0; which < TABLE_COUNT; which++)
		table_clear(which, &directory->tables[which]);
	free(directory->by_key);
	free(directory);
}

/* ---- applying an update ---- */

static void *certificate_copy(const struct certificate *from, uint32_t update)
{
	struct certificate *copy = malloc(sizeof(*copy));

	if (copy) {
		*copy = *from;
		copy->update = update;
	}
	return copy;
}

static void *revocation_copy(const struct revocation *from)
{
	struct revocation *copy = malloc(sizeof(*copy));

	if (copy)
		*copy = *from;
	return copy;
}

static void *group_copy(const struct group *from)
{
	struct group *copy = malloc(sizeof(*copy));

	if (!copy)
		return NULL;
	*copy = *from;
	copy->members = malloc(from->member_count ? from->member_count * sizeof(*copy->members) : 1);
	if (!copy->members) {
		free(copy);
		return NULL;
	}
	if (from->member_count)
		memcpy(copy->members, from->members, from->member_count * sizeof(*copy->members));
	return copy;
}

static void *function_copy(const struct function_certificate *from)
{
	struct function_certificate *copy = malloc(sizeof(*copy));

	if (copy)
		*copy = *from;
	return copy;
}

static size_t update_count(const struct directory_update *update, int which)
{
	return which == CERTIFICATES ? update->certificate_count :
	    which == REVOCATIONS ? update->revocation_count :
	    which == GROUPS ? update->group_count : update->function_count;
}

static struct entry update_entry(const struct directory_update *update, int which, size_t i)
{
	struct entry entry = { .update = update->number };

	if (which == CERTIFICATES) {
		entry.first = update->certificates[i].node;
		entry.second = update->certificates[i].key_number;
		entry.item = certificate_copy(&update->certificates[i], update->number);
	} else if (which == REVOCATIONS) {
		entry.first = update->revocations[i].node;
		entry.second = update->revocations[i].key_number;
		entry.item = revocation_copy(&update->revocations[i]);
	} else if (which == FUNCTIONS) {
		entry.first = update->functions[i].number;
		entry.item = function_copy(&update->functions[i]);
	} else {
		entry.first = update->groups[i].number;
		entry.second = update->groups[i].version;
		entry.item = group_copy(&update->groups[i]);
	}
	return entry;
}

/* Copies one part of an update into a table of its own. */
static enum cpd_error table_of_update(const struct directory_update *update, int which, struct table *out)
{
	size_t count = update_count(update, which);

	*out = (struct table){ 0 };
	if (count == 0)
		return CPD_OK;
	out->entries = calloc(count, sizeof(*out->entries));
	if (!out->entries)
		return CPD_ERR_NOMEM;
	for (; out->count < count; out->count++) {
		out->entries[out->count] = update_entry(update, which, out->count);
		if (!out->entries[out->count].item) {
			table_clear(which, out);
			return CPD_ERR_NOMEM;
		}
	}
	qsort(out->entries, out->count, sizeof(*out->entries), entry_compare);
	for (size_t i = 1; i < out->count; i++) {
		if (entry_compare(&out->entries[i - 1], &out->entries[i]) == 0) {
			table_clear(which, out);
			return CPD_ERR_RANGE;
		}
	}
	return CPD_OK;
}

/* Entries of both in order into `merged`, which has room for all; of a pair that both hold, the one
 * of the higher update. Moves no ownership: the loser of a pair stands in `losers`. */
static void table_merge(const struct table *held, const struct table *added, struct table *merged, struct table *losers)
{
	size_t i = 0, j = 0;

	while (i < held->count || j < added->count) {
		int order = i == held->count ? 1 : j == added->count ? -1 :
		    entry_compare(&held->entries[i], &added->entries[j]);

		if (order < 0) {
			merged->entries[merged->count++] = held->entries[i++];
		} else if (order > 0) {
			merged->entries[merged->count++] = added->entries[j++];
		} else {
			const struct entry *old = &held->entries[i++], *new = &added->entries[j++];
			bool new_wins = new->update > old->update;

			merged->entries[merged->count++] = new_wins ? *new : *old;
			losers->entries[losers->count++] = new_wins ? *old : *new;
		}
	}
}

/* The newest certificate of the node at `*at` that is not revoked; moves *at past the node. */
static const struct certificate *newest_unrevoked(const struct table *certificates, const struct table *revocations,
    size_t *at)
{
	const struct certificate *newest = NULL;
	uint32_t node = certificates->entries[*at].first;

	for (; *at < certificates->count && certificates->entries[*at].first == node; (*at)++) {
		if (!table_find(revocations, node, certificates->entries[*at].second))
			newest = certificates->entries[*at].item;
	}
	return newest;
}

static size_t key_slot(const uint8_t key[32], size_t size)
{
	uint64_t hash;

	memcpy(&hash, key, sizeof(hash)); /* public keys are spread evenly as they are */
	return (size_t)hash & (size - 1);
}

/* Two nodes certified with one transport key is the authority's error; the lower node keeps it. */
static enum cpd_error index_keys(const struct table *certificates, const struct table *revocations,
    const struct certificate ***index_out, size_t *size_out)
{
	const struct certificate **index;
	size_t size = 16;

	while (size < certificates->count * 2)
		size *= 2;
	index = calloc(size, sizeof(*index));
	if (!index)
		return CPD_ERR_NOMEM;
	for (size_t at = 0; at < certificates->count;) {
		const struct certificate *certificate = newest_unrevoked(certificates, revocations, &at);
		size_t slot;

		if (!certificate)
			continue;
		slot = key_slot(certificate->transport_key, size);
		while (index[slot] && memcmp(index[slot]->transport_key, certificate->transport_key, 32) != 0)
			slot = (slot + 1) & (size - 1);
		if (!index[slot])
			index[slot] = certificate;
	}
	*index_out = index;
	*size_out = size;
	return CPD_OK;
}

/* Index in `ahead` where this number stands or belongs. */
static size_t ahead_place(const struct directory *directory, uint32_t number)
{
	size_t at = 0;

	while (at < directory->ahead_count && directory->ahead[at] < number)
		at++;
	return at;
}

static void note_number(struct directory *directory, const struct directory_update *update)
{
	if (update->number == directory->version + 1) {
		size_t joined = 0;

		directory->version++;
		while (joined < directory->ahead_count && directory->ahead[joined] == directory->version + 1) {
			directory->version++;
			joined++;
		}
		directory->ahead_count -= joined;
		memmove(directory->ahead, directory->ahead + joined, directory->ahead_count * sizeof(directory->ahead[0]));
	} else {
		size_t at = ahead_place(directory, update->number);

		memmove(directory->ahead + at + 1, directory->ahead + at,
		    (directory->ahead_count - at) * sizeof(directory->ahead[0]));
		directory->ahead[at] = update->number;
		directory->ahead_count++;
	}
	if (update->created_s > directory->latest_time_s)
		directory->latest_time_s = update->created_s;
}

/* What directory_apply makes beside the old tables. */
struct change {
	struct table added[TABLE_COUNT], merged[TABLE_COUNT], losers[TABLE_COUNT];
	const struct certificate **by_key;
	size_t by_key_size;
};

static enum cpd_error change_prepare(const struct directory *directory, const struct directory_update *update,
    struct change *change)
{
	for (int which = 0; which < TABLE_COUNT; which++) {
		const struct table *held = &directory->tables[which];
		struct table *added = &change->added[which];
		enum cpd_error error = table_of_update(update, which, added);

		if (error)
			return error;
		change->merged[which].entries = calloc(held->count + added->count + 1, sizeof(struct entry));
		change->losers[which].entries = calloc(added->count + 1, sizeof(struct entry));
		if (!change->merged[which].entries || !change->losers[which].entries)
			return CPD_ERR_NOMEM;
		table_merge(held, added, &change->merged[which], &change->losers[which]);
	}
	return index_keys(&change->merged[CERTIFICATES], &change->merged[REVOCATIONS], &change->by_key,
	    &change->by_key_size);
}

enum cpd_error directory_apply(struct directory *directory, const struct directory_update *update)
{
	struct change change = { 0 };
	enum cpd_error error;

	if (update->number == 0)
		return CPD_ERR_RANGE;
	if (directory_holds(directory, update->number))
		return CPD_ERR_EXISTS;
	if (update->number != directory->version + 1 && directory->ahead_count == LIMIT_DIRECTORY_AHEAD)
		return CPD_ERR_BUSY;
	error = change_prepare(directory, update, &change);
	for (int which = 0; which < TABLE_COUNT; which++) {
		if (error) {
			/* The merged table borrows from both; only what was added is ours to free. */
			table_clear(which, &change.added[which]);
			free(change.merged[which].entries);
			free(change.losers[which].entries);
		} else {
			table_clear(which, &change.losers[which]);
			free(change.added[which].entries);
			free(directory->tables[which].entries);
			directory->tables[which] = change.merged[which];
		}
	}
	if (error)
		return error;
	free(directory->by_key);
	directory->by_key = change.by_key;
	directory->by_key_size = change.by_key_size;
	note_number(directory, update);
	return CPD_OK;
}

/* ---- asking ---- */

uint32_t directory_version(const struct directory *directory)
{
	return directory->version;
}

bool directory_holds(const struct directory *directory, uint32_t number)
{
	size_t at = ahead_place(directory, number);

	if (number == 0)
		return false;
	return number <= directory->version || (at < directory->ahead_count && directory->ahead[at] == number);
}

uint32_t directory_latest_time_s(const struct directory *directory)
{
	return directory->latest_time_s;
}

const struct certificate *directory_certificate(const struct directory *directory, uint32_t node)
{
	return table_newest(&directory->tables[CERTIFICATES], node);
}

const struct certificate *directory_certificate_key(const struct directory *directory, uint32_t node, uint32_t key_number)
{
	return table_find(&directory->tables[CERTIFICATES], node, key_number);
}

const struct certificate *directory_by_transport_key(const struct directory *directory, const uint8_t key[32])
{
	size_t slot;

	if (!directory->by_key)
		return NULL;
	slot = key_slot(key, directory->by_key_size);
	while (directory->by_key[slot] && memcmp(directory->by_key[slot]->transport_key, key, 32) != 0)
		slot = (slot + 1) & (directory->by_key_size - 1);
	return directory->by_key[slot];
}

const struct certificate *directory_next(const struct directory *directory, uint32_t after)
{
	return table_next(&directory->tables[CERTIFICATES], after);
}

const struct revocation *directory_revocation(const struct directory *directory, uint32_t node, uint32_t key_number)
{
	return table_find(&directory->tables[REVOCATIONS], node, key_number);
}

bool directory_transport_key_is_revoked(const struct directory *directory, const uint8_t key[32])
{
	const struct table *revocations = &directory->tables[REVOCATIONS];

	for (size_t i = 0; i < revocations->count; i++) {
		const struct entry *entry = &revocations->entries[i];
		const struct certificate *certificate = directory_certificate_key(directory, entry->first, entry->second);

		if (certificate && !memcmp(certificate->transport_key, key, 32))
			return true;
	}
	return false;
}

bool revocation_covers(const struct revocation *revocation, const struct message_id *id)
{
	return revocation->last_epoch == 0 || id->epoch > revocation->last_epoch ||
	    (id->epoch == revocation->last_epoch && id->sequence > revocation->last_sequence);
}

bool directory_doubts(const struct directory *directory, const struct message *message)
{
	const struct message_id *id = &message->header.id;
	const struct revocation *revocation;

	for (size_t i = 0; i < message->release_count; i++) {
		const struct function_certificate *function = directory_function(directory, message->releases[i].function);

		if (function && function->is_revoked)
			return true;
	}
	if (message->signature_count == 0)
		return false;
	revocation = directory_revocation(directory, id->origin, message->signatures[0].key_number);
	return revocation && revocation_covers(revocation, id);
}

uint32_t directory_revoking(const struct directory *directory, uint32_t after)
{
	const struct table *revocations = &directory->tables[REVOCATIONS], *functions = &directory->tables[FUNCTIONS];
	uint32_t lowest = 0;

	for (size_t i = 0; i < revocations->count; i++) {
		uint32_t update = revocations->entries[i].update;

		if (update > after && (!lowest || update < lowest))
			lowest = update;
	}
	for (size_t i = 0; i < functions->count; i++) {
		uint32_t update = functions->entries[i].update;

		if (((const struct function_certificate *)functions->entries[i].item)->is_revoked && update > after && (!lowest || update < lowest))
			lowest = update;
	}
	return lowest;
}

uint32_t directory_missing(const struct directory *directory, uint32_t after)
{
	uint32_t number = after > directory->version ? after : directory->version;

	if (!directory->ahead_count)
		return 0;
	while (++number < directory->ahead[directory->ahead_count - 1])
		if (!directory_holds(directory, number))
			return number;
	return 0;
}

const struct function_certificate *directory_function(const struct directory *directory, uint32_t number)
{
	return table_find(&directory->tables[FUNCTIONS], number, 0);
}

const struct function_certificate *directory_next_function(const struct directory *directory, uint32_t after)
{
	return table_next(&directory->tables[FUNCTIONS], after);
}

const struct group *directory_group(const struct directory *directory, uint32_t number, uint32_t version)
{
	const struct table *groups = &directory->tables[GROUPS];

	return version == 0 ? table_newest(groups, number) : table_find(groups, number, version);
}

const struct group *directory_next_group(const struct directory *directory, uint32_t after)
{
	return table_next(&directory->tables[GROUPS], after);
}

static int node_compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

enum cpd_error directory_recipients(const struct directory *directory, const struct header *header,
    uint32_t *out, size_t *count)
{
	/* With the bounds of limits.h 33 KiB: less trouble on a stack than a failing allocation. */
	uint32_t all[LIMIT_DESTINATION_NODES + LIMIT_DESTINATION_GROUPS * LIMIT_GROUP_MEMBERS];
	size_t total = 0, kept = 0;

	*count = 0;
	if (header->node_count > LIMIT_DESTINATION_NODES || header->group_count > LIMIT_DESTINATION_GROUPS)
		return CPD_ERR_TOO_LARGE;
	for (; total < header->node_count; total++)
		all[total] = header->nodes[total];
	for (size_t i = 0; i < header->group_count; i++) {
		/* Version 0 would mean other people at each node. */
		const struct group *group = header->groups[i].version == 0 ? NULL :
		    directory_group(directory, header->groups[i].number, header->groups[i].version);

		if (!group)
			return CPD_ERR_UNKNOWN_GROUP;
		if (group->member_count > LIMIT_GROUP_MEMBERS)
			return CPD_ERR_TOO_LARGE;
		for (size_t j = 0; j < group->member_count; j++)
			all[total++] = group->members[j];
	}
	qsort(all, total, sizeof(all[0]), node_compare);
	for (size_t i = 0; i < total; i++) {
		if (kept > 0 && all[kept - 1] == all[i])
			continue;
		all[kept++] = all[i];
	}
	if (kept > LIMIT_RECIPIENTS)
		return CPD_ERR_TOO_LARGE;
	memcpy(out, all, kept * sizeof(all[0]));
	*count = kept;
	return CPD_OK;
}

bool certificate_allows(const struct certificate *certificate, message_kind kind)
{
	const struct kind *known = kind_find(kind);

	if (certificate->kind_count > 0) {
		for (size_t i = 0; i < certificate->kind_count; i++)
			if (certificate->kinds[i] == kind)
				return true;
		return false;
	}
	if (!known)
		return true;
	/* A role of a later version has no bit in our table. */
	return (unsigned)certificate->role < 32 && (known->from_roles & ROLE_BIT(certificate->role)) != 0;
}

bool directory_may_address(const struct directory *directory, message_kind kind, uint32_t node)
{
	const struct kind *known = kind_find(kind);
	const struct certificate *certificate = directory_certificate(directory, node);

	if (!known || !certificate)
		return true;
	return (unsigned)certificate->role < 32 && (known->to_roles & ROLE_BIT(certificate->role)) != 0;
}
