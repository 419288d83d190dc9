/*
 * map.h: a small hash map from 16-byte keys to pointers, for the relay's tables. It owns no values.
 */
#ifndef CPD_RELAY_MAP_H
#define CPD_RELAY_MAP_H

#include "proto/types.h"

struct map_key { uint64_t a, b; };
struct map_slot { struct map_key key; void *value; };  /* value NULL: free */
struct map { struct map_slot *slots; size_t size, count; };

struct map_key map_key_id(const struct message_id *id);
struct map_key map_key_pair(uint64_t a, uint64_t b);
void map_clear(struct map *map);                        /* frees the slots, not the values */
void *map_get(const struct map *map, struct map_key key);
/* value is not NULL. NOMEM: nothing changed. */
MUST_CHECK enum cpd_error map_put(struct map *map, struct map_key key, void *value);
/* Returns the value that stood there; NULL: none. Never allocates. */
void *map_remove(struct map *map, struct map_key key);
/* Visits every value once; start with *at = 0. NULL: end. The map must not change meanwhile. */
void *map_next(const struct map *map, size_t *at);

#endif
