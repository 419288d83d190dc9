/*
 * crash.h: what a power cut may leave of a store, tried out. Every write and sync that LMDB and store/ make
 * under a real load is recorded; the file is rebuilt as a disk could look after losing power at each point;
 * and the real code must open it and hold every turn that was told as committed.
 *
 * record.c   stands between the store and the kernel (the linker's --wrap): the recording
 * load.c     three whole nodes in this process that send each other messages
 * platter.c  the model of a disk: what is durable, what is pending, what an image may look like
 * model.c    which rows each turn leaves: what the store must hold
 * judge.c    one image, opened with the real code
 * main.c     which images, in which processes; figures
 *
 * The model. A write is pending until fdatasync or fsync of its file has returned; one through O_DSYNC until
 * it has returned itself. Of what is pending, any sectors of 512 bytes may have reached the disk, in any order,
 * and the length of the file with or without them; sectors that have not may hold what was there, zeros, or
 * another page's bytes. A new name, a rename or a removal is pending until its folder is synced. One sector is
 * written whole or not at all, or up to some byte with the old bytes behind.
 */
#ifndef CPD_TEST_CRASH_H
#define CPD_TEST_CRASH_H

#include <stdio.h>

#include "store/internal.h"

#define CRASH_DISKS 3
#define CRASH_FILES 8            /* names, and files, of one store that ever were */
#define CRASH_SECTOR 512
#define CRASH_TEXT 400

/* ---------------------------------------------------------------- the recording */
enum happened {
	HAPPENED_NOTHING,            /* a submit that was refused */
	HAPPENED_FOLDER,             /* the store's folder was made */
	HAPPENED_PARENT_SYNC,        /* the folder it stands in was synced */
	HAPPENED_CREATE,             /* file, under `name` */
	HAPPENED_RENAME,             /* `name` to `other`, which is replaced */
	HAPPENED_UNLINK,             /* name */
	HAPPENED_FOLDER_SYNC,
	HAPPENED_WRITE,              /* file, offset, bytes; own_sync: through O_DSYNC */
	HAPPENED_WRITTEN,            /* the write at `of`, own_sync, has returned */
	HAPPENED_LENGTH,             /* file, offset: the new length */
	HAPPENED_SYNC,               /* file */
	HAPPENED_SUBMIT,             /* turn, bytes: a batch as batch_next reads it */
	HAPPENED_ACKNOWLEDGED        /* of: the submit whose turn, and all before it, were told as committed */
};
struct happening {
	enum happened what;
	uint32_t file, name, other;
	bool own_sync;
	uint64_t offset, turn, of;
	uint8_t *bytes; size_t len;  /* owned */
};
struct recording {
	char parent[32], path[32];   /* of the store's folder: parent/name */
	char names[CRASH_FILES][32]; uint32_t name_count;
	int live[CRASH_FILES]; uint32_t file_count;   /* name -> file, while recording; -1: absent */
	struct happening *happenings; size_t count, room;
};
extern struct recording recordings[CRASH_DISKS];
extern size_t recording_count;

/* Breaks that a power cut must show; BROKEN_NOTHING is the product. */
enum broken { BROKEN_NOTHING, BROKEN_NOSYNC, BROKEN_NOMETASYNC, BROKEN_EARLY };
/* Records the stores in these folders, as the program opens them, from now on. */
void record_start(const char *const *paths, size_t count, enum broken broken);
/* NULL: the recordings make the files that are there; else a sentence that says what was not seen. */
const char *record_stop(void);
void record_clear(void);
bool record_save(const char *path);
bool record_load(const char *path);

/* ---------------------------------------------------------------- the load */
struct load_figures { unsigned messages, acts, delivered; };
/* In the working directory. Where the stores are: load_stores. NULL, or what went wrong. */
const char *load_run(uint64_t seed, unsigned messages, struct load_figures *figures);
extern const char *const load_stores[CRASH_DISKS];

/* ---------------------------------------------------------------- chance */
struct dice { uint64_t state; };
uint64_t dice_roll(struct dice *dice);
uint64_t dice_below(struct dice *dice, uint64_t bound);

/* ---------------------------------------------------------------- a disk */
struct file_state {
	uint8_t *bytes; size_t len, room;        /* durable; room is zeroed behind len */
	size_t *pending; size_t pending_count, pending_room;   /* WRITE and LENGTH, as places in the recording */
};
struct platter {
	const struct recording *recording;
	size_t at;                               /* happenings that were */
	struct file_state files[CRASH_FILES];
	bool has_new_folder, has_folder;         /* made; durable */
	int names[CRASH_FILES];                  /* name -> file; -1: absent. Durable. */
	size_t *pending; size_t pending_count, pending_room;   /* CREATE, RENAME, UNLINK */
	bool in_commit;                          /* between a first write and the end of its sync */
	size_t told;                             /* place behind the last submit that was told as committed; 0: none */
};
void platter_init(struct platter *platter, const struct recording *recording);
void platter_clear(struct platter *platter);
void platter_step(struct platter *platter);
/* How an image may look: its variant and the seed decide. Variants 0 to 5 are the plain ones. */
struct image { bool exists[CRASH_FILES]; /* by name */ uint8_t *bytes[CRASH_FILES]; size_t len[CRASH_FILES], room[CRASH_FILES]; uint64_t hash[2]; };
void image_make(const struct platter *platter, uint64_t seed, uint32_t variant, struct image *out);
void image_clear(struct image *image);
/* Into a folder that is there; what else is in it goes. */
bool image_write(const struct image *image, const struct recording *recording, const char *folder, bool old_lock);

/* ---------------------------------------------------------------- what must be in it */
struct sum { uint64_t words[2]; };
struct model {
	struct sum *states; size_t *submits; size_t count;   /* after each batch; submits[i]: its place, i from 1 */
};
/* False: the recording cannot be understood. */
bool model_make(struct model *model, const struct recording *recording);
void model_clear(struct model *model);
void sum_add_row(struct sum *sum, enum store_table table, struct slice key, struct slice value);
bool sum_counts(enum store_table table, struct slice key);   /* false: the store's own rows */
/* Batches told as committed, and batches handed over, at the platter's point. */
void model_bounds(const struct model *model, const struct platter *platter, size_t *told, size_t *given);
/* The first row that is as it must be in no state from told to given; "" when each alone is well. */
void model_difference(const struct recording *recording, const struct model *model, size_t told, size_t given, struct store *store,
    char out[CRASH_TEXT]);

/* ---------------------------------------------------------------- the judgement */
struct verdict { char problem[CRASH_TEXT]; uint64_t messages; size_t state; };   /* problem "": good */
/* again: open it a second time behind the commits, and look at all of it once more. */
void judge(const struct recording *recording, const struct model *model, size_t told, size_t given, const char *folder, bool again,
    struct verdict *out);

#endif
