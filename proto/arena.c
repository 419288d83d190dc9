/* arena.c: a bump allocator under a budget, dressed as a ProtobufCAllocator. */
#include "proto/arena.h"

#include <stdlib.h>

/* The least a malloc is worth; a budget is often far above the use. */
#define BLOCK_MIN 4096

struct arena_block {
	struct arena_block *older;
	_Alignas(max_align_t) uint8_t bytes[];
};

static void *allocator_alloc(void *data, size_t size)
{
	return arena_alloc(data, size);
}

static void allocator_free(void *data, void *pointer)
{
	(void)data;
	(void)pointer;
}

void arena_init(struct arena *arena, size_t budget)
{
	arena->allocator.alloc = allocator_alloc;
	arena->allocator.free = allocator_free;
	arena->allocator.allocator_data = arena;
	arena->budget = budget;
	arena->used = 0;
	arena->next = arena->embedded;
	arena->left = sizeof(arena->embedded);
	arena->blocks = NULL;
	arena->is_exhausted = arena->is_over_budget = false;
}

void arena_clear(struct arena *arena)
{
	while (arena->blocks) {
		struct arena_block *older = arena->blocks->older;

		free(arena->blocks);
		arena->blocks = older;
	}
	arena->next = NULL;
	arena->left = 0;
	arena->used = arena->budget;
}

/* Starts a block with room for size; the rest of the block before it is given up. */
static bool arena_grow(struct arena *arena, size_t size)
{
	size_t room = size < BLOCK_MIN ? BLOCK_MIN : size;
	struct arena_block *block = malloc(sizeof(*block) + room);

	if (!block)
		return false;
	block->older = arena->blocks;
	arena->blocks = block;
	arena->next = block->bytes;
	arena->left = room;
	return true;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	const size_t align = _Alignof(max_align_t);
	size_t rounded = size ? (size + align - 1) / align * align : align;
	void *result;

	/* Rounding can only wrap around for sizes that no budget allows. */
	if (size > arena->budget || rounded > arena->budget - arena->used) {
		arena->is_exhausted = arena->is_over_budget = true;
		return NULL;
	}
	if (rounded > arena->left && !arena_grow(arena, rounded)) {
		arena->is_exhausted = true;
		return NULL;
	}
	result = arena->next;
	arena->next += rounded;
	arena->left -= rounded;
	arena->used += rounded;
	return result;
}
