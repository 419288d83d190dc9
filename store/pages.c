/*
 * pages.c: walks the pages of a closed data file and says whether LMDB may be let loose on it. LMDB
 * believes every page number, offset and length it finds; one flipped bit there ends the process, or
 * lets it write over what lives. The values have sums of their own (read.c); this is about the rest.
 *
 * Reads only, believes nothing. Where the tree is broken it still hands out the rows it can reach.
 */
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"

/* LMDB 0.9, 64-bit, host byte order. */
#define HEAD 16
#define NODE 8
#define DB_BYTES 48
#define NO_ROOT UINT64_MAX
#define META_DBS 40            /* free pages, then the table of tables */
#define META_LAST 136
#define META_TXNID 144
#define DEPTH_MAX 32           /* a tree of two keys a page is no deeper */
#define KEY_MAX 511

enum { P_BRANCH = 1, P_LEAF = 2, P_OVERFLOW = 4 };
enum { N_BIG = 1, N_TABLE = 2 };
enum { UNSEEN, LIVE, FREE };

struct tree { int table; uint64_t branches, leaves, overflows, entries; unsigned depth; };
struct key { const uint8_t *bytes; size_t len; };

/* Little-endian: a store of a host of another order is refused by its magic number. */
static inline uint64_t take(const uint8_t *at, size_t len)
{
	uint64_t value = 0;

	memcpy(&value, at, len);
	return value;
}

static void damage(struct pages *pages)
{
	pages->damaged++;
}

static const uint8_t *page_at(const struct pages *pages, uint64_t number)
{
	return number >= 2 && number < pages->count && number < pages->size / pages->page_bytes ?
	    pages->bytes + number * pages->page_bytes : NULL;
}

static bool page_claim(struct pages *pages, uint64_t number, uint64_t count, int as)
{
	if (number < 2 || number >= pages->count || count > pages->count - number)
		return false;
	for (uint64_t i = 0; i < count; i++)
		if (pages->state[number + i] != UNSEEN)
			return false;
	memset(pages->state + number, as, count);
	return true;
}

static int key_compare(const struct tree *tree, const struct key *a, const struct key *b)
{
	const size_t len = a->len < b->len ? a->len : b->len;
	uint64_t x, y;
	int order;

	if (tree->table == PAGES_FREE) {
		x = a->len == 8 ? take(a->bytes, 8) : 0;
		y = b->len == 8 ? take(b->bytes, 8) : 0;
		return (x > y) - (x < y);
	}
	order = memcmp(a->bytes, b->bytes, len);
	return order ? order : (a->len > b->len) - (a->len < b->len);
}

/* ---- nodes */

struct node { struct key key; unsigned flags; const uint8_t *data; size_t len, offset, room; uint64_t child; };

static bool node_read(const struct pages *pages, const uint8_t *page, size_t index, bool is_leaf, struct node *out)
{
	const size_t offset = take(page + HEAD + 2 * index, 2), size = pages->page_bytes;
	const uint8_t *node = page + offset;
	size_t held;

	if (offset < HEAD || offset % 2 || offset + NODE > size)
		return false;
	out->flags = (unsigned)take(node + 4, 2);
	out->key = (struct key){ node + NODE, take(node + 6, 2) };
	if (out->key.len > KEY_MAX || offset + NODE + out->key.len > size)
		return false;
	out->child = take(node, 2) | take(node + 2, 2) << 16 | (uint64_t)out->flags << 32;
	out->data = node + NODE + out->key.len;
	out->len = is_leaf ? take(node, 4) : 0;
	if (is_leaf && out->flags & ~(unsigned)(N_BIG | N_TABLE))
		return false;
	held = is_leaf && out->flags & N_BIG ? 8 : out->len;
	out->offset = offset;
	out->room = (NODE + out->key.len + held + 1) / 2 * 2;
	return held <= size - (offset + NODE + out->key.len);
}

/* A value on pages of its own. */
static bool node_overflow(struct pages *pages, struct tree *tree, struct node *node)
{
	const uint64_t first = take(node->data, 8), count = (node->len + HEAD + pages->page_bytes - 1) / pages->page_bytes;
	const uint8_t *page = page_at(pages, first);

	if (!page || !page_at(pages, first + count - 1) || take(page, 8) != first || (take(page + 10, 2) != P_OVERFLOW) ||
	    take(page + 12, 4) != count || !page_claim(pages, first, count, LIVE))
		return false;
	tree->overflows += count;
	node->data = page + HEAD;
	return true;
}

/* Nodes lie one against another, from `upper` to the page's end: by their sizes LMDB moves them when one goes. */
static bool page_is_packed(const struct pages *pages, const uint8_t *page, bool is_leaf, size_t keys)
{
	const size_t upper = take(page + 14, 2), size = pages->page_bytes;
	bool is_packed = true;
	struct node node;
	size_t at, seen = 0;

	/* How much room the node at each place takes; a walk from one to the next must meet all of them. */
	for (size_t i = 0; i < keys && is_packed; i++) {
		is_packed = node_read(pages, page, i, is_leaf, &node) && node.room <= size;
		if (is_packed)
			pages->room[node.offset / 2] = (uint16_t)(node.room / 2);
	}
	for (at = upper; is_packed && at < size && pages->room[at / 2]; at += 2 * (size_t)pages->room[at / 2])
		seen++;
	is_packed = is_packed && at == size && seen == keys;
	for (size_t i = 0; i < keys; i++)
		if (take(page + HEAD + 2 * i, 2) < size)
			pages->room[take(page + HEAD + 2 * i, 2) / 2] = 0;
	return is_packed;
}

/* ---- trees */

static void tree_walk(struct pages *pages, struct tree *tree, uint64_t number, unsigned depth, struct key low, struct key high);

static void tree_of(struct pages *pages, const uint8_t *db, int table)
{
	struct tree tree = { .table = table };
	const uint64_t root = take(db + 40, 8);
	/* There LMDB also keeps how the file was first opened. */
	const unsigned flags = (unsigned)take(db + 4, 2) & ~(table == PAGES_FREE ? MDB_NOSUBDIR : 0u);

	if (root != NO_ROOT)
		tree_walk(pages, &tree, root, 1, (struct key){ NULL, 0 }, (struct key){ NULL, 0 });
	if (pages->is_found && table <= PAGES_TABLES)
		return; /* the counts were in the meta */
	if (flags != (table == PAGES_FREE ? MDB_INTEGERKEY : 0u) || take(db + 6, 2) != tree.depth || take(db + 8, 8) != tree.branches ||
	    take(db + 16, 8) != tree.leaves || take(db + 24, 8) != tree.overflows || take(db + 32, 8) != tree.entries)
		damage(pages);
}

static void free_row(struct pages *pages, const struct node *node)
{
	const uint64_t count = node->len >= 8 ? take(node->data, 8) : UINT64_MAX;
	uint64_t before = UINT64_MAX, page;

	if (node->key.len != 8 || count > node->len / 8 - 1) {
		damage(pages);
		return;
	}
	pages->newest = take(node->key.bytes, 8) > pages->newest ? take(node->key.bytes, 8) : pages->newest;
	for (uint64_t i = 1; i <= count; i++, before = page) {
		page = take(node->data + 8 * i, 8);
		if (page >= before || (!page_claim(pages, page, 1, FREE) && !(pages->is_found && page >= pages->count)))
			damage(pages); /* found, in a file that was cut off: what is free behind its end is no matter */
	}
}

static void row(struct pages *pages, struct tree *tree, struct node *node)
{
	char name[32] = "";
	int table = PAGES_UNKNOWN;

	tree->entries++;
	if (node->flags & N_BIG && !node_overflow(pages, tree, node)) {
		damage(pages);
		node->len = 0;
	}
	if (tree->table == PAGES_FREE) {
		free_row(pages, node);
		return;
	}
	if (tree->table != PAGES_TABLES) {
		if (node->flags & N_TABLE)
			damage(pages);
		else if (pages->visit)
			pages->visit(pages->context, tree->table, node->key.bytes, node->key.len, node->data, node->len);
		return;
	}
	if (node->flags != N_TABLE || node->len != DB_BYTES || node->key.len >= sizeof(name)) {
		damage(pages);
		return;
	}
	memcpy(name, node->key.bytes, node->key.len);
	for (int i = 0; i < TABLE_COUNT; i++)
		if (!strcmp(name, store_table_name((enum store_table)i)))
			table = i;
	/* A name that a bit has changed: its rows are told by their sums. */
	if (table == PAGES_UNKNOWN)
		pages->unknown++;
	else
		pages->tables++;
	tree_of(pages, node->data, table);
}

static bool page_head(const struct pages *pages, const uint8_t *page, uint64_t number, unsigned *flags, size_t *keys)
{
	const size_t lower = take(page + 12, 2), upper = take(page + 14, 2);

	*flags = (unsigned)take(page + 10, 2);
	*keys = lower >= HEAD && lower <= pages->page_bytes ? (lower - HEAD) / 2 : 0;
	return take(page, 8) == number && (*flags == P_BRANCH || *flags == P_LEAF) && lower >= HEAD + 2 && lower % 2 == 0 &&
	    upper % 2 == 0 && lower <= upper && upper <= pages->page_bytes;
}

static void tree_walk(struct pages *pages, struct tree *tree, uint64_t number, unsigned depth, struct key low, struct key high)
{
	const uint8_t *page = page_at(pages, number);
	struct node node, next;
	unsigned flags;
	size_t keys;

	if (!page || depth > DEPTH_MAX || !page_claim(pages, number, 1, LIVE)) {
		damage(pages);
		return;
	}
	if (!page_head(pages, page, number, &flags, &keys)) {
		damage(pages);
		if (!(flags & P_LEAF))
			return; /* what hangs below it is found among the pages that nobody claims */
	} else if (!page_is_packed(pages, page, flags & P_LEAF, keys)) {
		damage(pages);
	}
	*(flags & P_LEAF ? &tree->leaves : &tree->branches) += 1;
	if (flags & P_LEAF) {
		if (tree->depth && tree->depth != depth)
			damage(pages);
		tree->depth = depth;
	}
	for (size_t i = 0; i < keys; i++) {
		if (!node_read(pages, page, i, flags & P_LEAF, &node)) {
			damage(pages);
			continue;
		}
		if (flags & P_LEAF || i > 0) {
			if ((low.bytes && key_compare(tree, &node.key, &low) < (i > 0)) || (high.bytes && key_compare(tree, &node.key, &high) >= 0))
				damage(pages);
			low = node.key;
		}
		if (flags & P_LEAF) {
			row(pages, tree, &node);
			continue;
		}
		next.key = high;
		if (i + 1 < keys && !node_read(pages, page, i + 1, false, &next))
			next.key = (struct key){ NULL, 0 };
		tree_walk(pages, tree, node.child, depth + 1, low, next.key);
	}
}

/* ---- the file */

/* The pages below a broken one: neither reached nor free. Their sums tell whose they are. */
static void orphans(struct pages *pages)
{
	unsigned flags;
	struct node node;
	struct tree none = { .table = PAGES_UNKNOWN };
	size_t keys;

	for (uint64_t number = 2; number < pages->count; number++) {
		const uint8_t *page = page_at(pages, number);

		if (!page || pages->state[number] != UNSEEN)
			continue;
		page_head(pages, page, number, &flags, &keys);
		if (!(flags & P_LEAF) || !page_claim(pages, number, 1, LIVE))
			continue;
		for (size_t i = 0; i < keys; i++) {
			if (!node_read(pages, page, i, true, &node) || node.flags & N_TABLE ||
			    (node.flags & N_BIG && !node_overflow(pages, &none, &node)))
				continue;
			pages->visit(pages->context, PAGES_UNKNOWN, node.key.bytes, node.key.len, node.data, node.len);
		}
	}
}

static bool pages_begin(struct pages *pages)
{
	pages->state = calloc(1, pages->count);
	pages->room = calloc(pages->page_bytes / 2, sizeof(*pages->room));
	if (pages->state && pages->room)
		return true;
	pages_close(pages);
	return false;
}

bool pages_open(struct pages *pages, const uint8_t *bytes, size_t size, size_t page_bytes, int meta)
{
	*pages = (struct pages){ .bytes = bytes, .size = size, .page_bytes = page_bytes, .meta = bytes + page_bytes * (size_t)meta };
	pages->count = take(pages->meta + META_LAST, 8);
	/* A last page behind the file's end: the meta is broken, or the file is cut off. What the file holds is then the bound: a
	 * changed bit here must not ask for gigabytes, or for a walk over billions of pages that are not there. */
	if (pages->count >= size / page_bytes || pages->count < 1) {
		pages->damaged++;
		pages->count = size / page_bytes - 1;
	}
	pages->count++;
	return pages_begin(pages);
}

void pages_close(struct pages *pages)
{
	free(pages->state);
	free(pages->room);
	pages->state = NULL;
	pages->room = NULL;
}

uint64_t pages_walk(struct pages *pages)
{
	uint64_t damaged;

	tree_of(pages, pages->meta + META_DBS + DB_BYTES, PAGES_TABLES);
	damaged = pages->damaged;
	tree_of(pages, pages->meta + META_DBS, PAGES_FREE);
	pages->free_is_broken = pages->damaged != damaged;
	if (pages->visit && !pages->free_is_broken)
		orphans(pages);
	/* A later cpd may have more tables than we know, but not fewer. */
	return pages->damaged + (pages->tables < TABLE_COUNT ? pages->unknown : 0);
}

/* Each commit writes the other meta: they are one apart, and each in its place. */
bool pages_newest(const uint8_t *bytes, size_t page_bytes, int *newest)
{
	const uint64_t first = take(bytes + META_TXNID, 8), second = take(bytes + page_bytes + META_TXNID, 8);

	*newest = second > first;
	return (first == 0 && second == 0) || (first % 2 == 0 && second % 2 == 1 && (first + 1 == second || second + 1 == first));
}

/* ---- without metas
 *
 * A commit copies each page that it changes, up to the roots, and writes the roots' numbers into a meta. It frees the pages
 * that were copied, under its own number: so the list of free pages with the greatest number is of the newest commit, and names
 * every page that is of another one. What it does not name is that commit's: among it the page with the table of tables. */

#define FREE_ROOTS 16          /* candidates kept */
#define TABLE_ROOTS 8

struct free_root { uint64_t page, newest; unsigned level; };

static bool is_free_leaf(const struct pages *pages, const uint8_t *page, size_t keys, uint64_t *newest)
{
	const uint8_t *list;
	struct node node;

	for (size_t i = 0; i < keys; i++) {
		if (!node_read(pages, page, i, true, &node) || node.key.len != 8 || node.flags & N_TABLE || node.len < 8)
			return false;
		list = node.flags & N_BIG ? page_at(pages, take(node.data, 8)) : node.data;
		if (list && node.flags & N_BIG)
			list = take(list + 10, 2) == P_OVERFLOW ? list + HEAD : NULL;
		if (!list || take(list, 8) > node.len / 8 - 1)
			return false;
		*newest = take(node.key.bytes, 8);
	}
	return keys > 0;
}

/* Whether a list of free pages may begin here; from a branch down its last child. */
static bool is_free_root(const struct pages *pages, uint64_t number, struct free_root *out)
{
	struct node node;
	unsigned flags;
	size_t keys;

	*out = (struct free_root){ .page = number };
	for (; out->level < DEPTH_MAX; out->level++) {
		const uint8_t *page = page_at(pages, number);

		if (!page || !page_head(pages, page, number, &flags, &keys))
			return false;
		if (flags & P_LEAF)
			return is_free_leaf(pages, page, keys, &out->newest);
		if (!node_read(pages, page, keys - 1, false, &node))
			return false;
		number = node.child;
	}
	return false;
}

/* The newest first, and of one number the highest: the others are its children. */
static size_t free_roots(const struct pages *pages, struct free_root out[FREE_ROOTS])
{
	struct free_root root;
	size_t count = 0, at;

	for (uint64_t number = 2; number < pages->count; number++) {
		if (!is_free_root(pages, number, &root))
			continue;
		for (at = count; at > 0 && (out[at - 1].newest < root.newest || (out[at - 1].newest == root.newest && out[at - 1].level < root.level)); at--)
			;
		if (at == FREE_ROOTS)
			continue;
		count += count < FREE_ROOTS;
		memmove(&out[at + 1], &out[at], (count - 1 - at) * sizeof(*out));
		out[at] = root;
	}
	return count;
}

static bool is_table_root(const struct pages *pages, uint64_t number)
{
	const uint8_t *page = page_at(pages, number);
	struct node node;
	unsigned flags;
	size_t keys;

	if (!page || !page_head(pages, page, number, &flags, &keys) || !(flags & P_LEAF))
		return false;
	for (size_t i = 0; i < keys; i++)
		if (!node_read(pages, page, i, true, &node) || node.flags != N_TABLE || node.len != DB_BYTES)
			return false;
	return true;
}

static void roots_set(struct pages *pages, uint64_t tables, uint64_t frees)
{
	memset(pages->state, 0, pages->count);
	pages->damaged = pages->tables = pages->unknown = pages->newest = 0;
	pages->free_is_broken = false;
	memcpy(pages->made + META_DBS + 40, &frees, 8);
	memcpy(pages->made + META_DBS + DB_BYTES + 40, &tables, 8);
}

/* The page behind the last one that is of the state walked; 0: one before it belongs to nothing. */
static uint64_t state_end(const struct pages *pages)
{
	uint64_t end = pages->count;

	while (end > 2 && pages->state[end - 1] == UNSEEN)
		end--;
	return memchr(pages->state + 2, UNSEEN, end - 2) ? 0 : end;
}

bool pages_find(struct pages *pages, const uint8_t *bytes, size_t size, size_t page_bytes, bool *is_whole)
{
	struct free_root frees[FREE_ROOTS + 1];
	uint64_t tables[TABLE_ROOTS], best_tables = NO_ROOT, best_free = NO_ROOT, least = UINT64_MAX, end;
	size_t free_count, table_count;

	*is_whole = false;
	*pages = (struct pages){ .bytes = bytes, .size = size, .page_bytes = page_bytes, .count = size / page_bytes, .is_found = true };
	if (pages->count < 3)
		pages->count = 3; /* nothing to find */
	if (!pages_begin(pages))
		return false;
	pages->meta = pages->made;
	free_count = free_roots(pages, frees);
	frees[free_count++] = (struct free_root){ .page = NO_ROOT }; /* nothing was freed yet */
	for (size_t i = 0; i < free_count; i++) {
		roots_set(pages, NO_ROOT, frees[i].page);
		pages_walk(pages);
		if (pages->damaged)
			continue;
		if (best_free == NO_ROOT)
			best_free = frees[i].page;
		table_count = 0;
		for (uint64_t number = 2; number < pages->count && table_count < TABLE_ROOTS; number++)
			if (pages->state[number] == UNSEEN && is_table_root(pages, number))
				tables[table_count++] = number;
		for (size_t j = 0; j < table_count; j++) {
			roots_set(pages, tables[j], frees[i].page);
			pages_walk(pages);
			end = pages->damaged || !pages->tables ? 0 : state_end(pages);
			if (end) {
				roots_set(pages, tables[j], frees[i].page);
				pages->count = end;
				*is_whole = true;
				return true;
			}
			if (frees[i].page == best_free && pages->damaged < least) {
				least = pages->damaged;
				best_tables = tables[j];
			}
		}
	}
	/* Without a list of free pages nothing tells a row from an old copy of it, or from one that was deleted. */
	if (best_free == NO_ROOT)
		pages->count = 2;
	roots_set(pages, best_free == NO_ROOT ? NO_ROOT : best_tables, best_free);
	return true;
}
