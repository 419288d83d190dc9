/*
 * arena.h: bounded memory for one protobuf-c unpack. protobuf-c has no limit on what it allocates:
 * 1 MiB of hostile input may ask 80 MiB. Every unpack in proto/ takes its memory from one of these.
 *
 * Nothing is freed one by one; arena_clear frees all. The first ARENA_EMBEDDED bytes stand in the
 * struct, so that a small message costs no malloc. Lives on the stack of the decoder; never shared,
 * never copied (the allocator in it points at it).
 */
#ifndef CPD_PROTO_ARENA_H
#define CPD_PROTO_ARENA_H

#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

#include "proto/limits.h"
#include "proto/types.h"

/* A message to one node, a receipt, a frame without a body fit; small beside a 512 KiB thread stack. */
#define ARENA_EMBEDDED 2048

struct arena_block;

struct arena {
	ProtobufCAllocator allocator;
	size_t budget, used;           /* bytes that may be, and are, handed out */
	uint8_t *next;                 /* free room of the current block */
	size_t left;
	struct arena_block *blocks;    /* malloc'ed ones, newest first */
	bool is_exhausted;             /* an allocation was refused: by the budget or by malloc */
	bool is_over_budget;           /* by the budget: the bytes themselves ask too much, now and later */
	_Alignas(max_align_t) uint8_t embedded[ARENA_EMBEDDED];
};

/* budget: LIMIT_ARENA(length of the wire bytes), unless the caller knows better. */
void arena_init(struct arena *arena, size_t budget);
void arena_clear(struct arena *arena);
/* NULL: the budget or memory is used up. Aligned for any type; lives until arena_clear. */
void *arena_alloc(struct arena *arena, size_t size);

#endif
