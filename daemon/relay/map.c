#include "daemon/relay/map.h"

#include <stdlib.h>

struct map_key map_key_id(const struct message_id *id)
{
	return (struct map_key){ (uint64_t)id->origin << 32 | id->epoch, id->sequence };
}

struct map_key map_key_pair(uint64_t a, uint64_t b)
{
	return (struct map_key){ a, b };
}

/* Keys come from peers, so the mixing need not resist an attacker only because every table is
 * bounded elsewhere; splitmix64 spreads sequences well. */
static uint64_t mix(struct map_key key)
{
	uint64_t x = key.a * UINT64_C(0x9E3779B97F4A7C15) ^ key.b;
	x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

static bool same(struct map_key x, struct map_key y)
{
	return x.a == y.a && x.b == y.b;
}

void map_clear(struct map *map)
{
	free(map->slots);
	*map = (struct map){ 0 };
}

static struct map_slot *find(const struct map *map, struct map_key key)
{
	size_t i = (size_t)mix(key) & (map->size - 1);

	while (map->slots[i].value && !same(map->slots[i].key, key))
		i = (i + 1) & (map->size - 1);
	return &map->slots[i];
}

void *map_get(const struct map *map, struct map_key key)
{
	return map->size ? find(map, key)->value : NULL;
}

static enum cpd_error grow(struct map *map)
{
	struct map larger = { .size = map->size ? map->size * 2 : 64 };

	larger.slots = calloc(larger.size, sizeof(*larger.slots));
	if (!larger.slots)
		return CPD_ERR_NOMEM;
	for (size_t i = 0; i < map->size; i++)
		if (map->slots[i].value)
			*find(&larger, map->slots[i].key) = map->slots[i];
	larger.count = map->count;
	free(map->slots);
	*map = larger;
	return CPD_OK;
}

enum cpd_error map_put(struct map *map, struct map_key key, void *value)
{
	struct map_slot *slot;

	if ((map->count + 1) * 4 > map->size * 3) {
		enum cpd_error error = grow(map);
		if (error)
			return error;
	}
	slot = find(map, key);
	if (!slot->value)
		map->count++;
	slot->key = key;
	slot->value = value;
	return CPD_OK;
}

void *map_remove(struct map *map, struct map_key key)
{
	struct map_slot *slot;
	void *value;
	size_t hole, i;

	if (!map->size)
		return NULL;
	slot = find(map, key);
	value = slot->value;
	if (!value)
		return NULL;
	/* Close the hole: entries that were pushed past it move back. */
	hole = (size_t)(slot - map->slots);
	for (i = (hole + 1) & (map->size - 1); map->slots[i].value; i = (i + 1) & (map->size - 1)) {
		size_t home = (size_t)mix(map->slots[i].key) & (map->size - 1);
		if (((i - home) & (map->size - 1)) >= ((i - hole) & (map->size - 1))) {
			map->slots[hole] = map->slots[i];
			hole = i;
		}
	}
	map->slots[hole].value = NULL;
	map->count--;
	return value;
}

void *map_next(const struct map *map, size_t *at)
{
	while (*at < map->size) {
		void *value = map->slots[(*at)++].value;
		if (value)
			return value;
	}
	return NULL;
}
