/*
 * platter.c: the model of a disk (crash.h) stepped through a recording, and the images it may leave.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test/crash/crash.h"

#define PAGE 4096

/* ---------------------------------------------------------------- chance: splitmix64 */

uint64_t dice_roll(struct dice *dice)
{
	uint64_t z = dice->state += UINT64_C(0x9E3779B97F4A7C15);

	z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
	return z ^ z >> 31;
}

uint64_t dice_below(struct dice *dice, uint64_t bound)
{
	return bound ? dice_roll(dice) % bound : 0;
}

/* ---------------------------------------------------------------- what is durable */

static void *room_for(void *array, size_t *room, size_t count, size_t size)
{
	if (count < *room)
		return array;
	*room = *room * 2 + 64;
	array = realloc(array, *room * size);
	if (!array)
		abort();
	return array;
}

/* Bytes behind the length are zero. */
static void reach(uint8_t **bytes, size_t *room, size_t len)
{
	if (len <= *room)
		return;
	*bytes = realloc(*bytes, len * 2);
	if (!*bytes)
		abort();
	memset(*bytes + *room, 0, len * 2 - *room);
	*room = len * 2;
}

static void file_apply(struct file_state *file, const struct happening *one)
{
	const size_t end = one->offset + one->len;

	reach(&file->bytes, &file->room, end);
	if (one->what == HAPPENED_LENGTH) {
		if (end < file->len)
			memset(file->bytes + end, 0, file->len - end);
		file->len = end;
		return;
	}
	memcpy(file->bytes + one->offset, one->bytes, one->len);
	if (end > file->len)
		file->len = end;
}

static void names_apply(int names[CRASH_FILES], const struct happening *one)
{
	if (one->what == HAPPENED_CREATE) {
		names[one->name] = (int)one->file;
	} else if (one->what == HAPPENED_RENAME) {
		names[one->other] = names[one->name];
		names[one->name] = -1;
	} else {
		names[one->name] = -1;
	}
}

void platter_init(struct platter *platter, const struct recording *recording)
{
	memset(platter, 0, sizeof(*platter));
	platter->recording = recording;
	for (size_t i = 0; i < CRASH_FILES; i++)
		platter->names[i] = -1;
}

void platter_clear(struct platter *platter)
{
	for (size_t i = 0; i < CRASH_FILES; i++) {
		free(platter->files[i].bytes);
		free(platter->files[i].pending);
	}
	free(platter->pending);
	memset(platter, 0, sizeof(*platter));
}

static void written(struct file_state *file, const struct happening *happenings, size_t of)
{
	for (size_t i = 0; i < file->pending_count; i++) {
		if (file->pending[i] != of)
			continue;
		file_apply(file, &happenings[of]);
		file->pending_count--;
		memmove(&file->pending[i], &file->pending[i + 1], (file->pending_count - i) * sizeof(size_t));
		return;
	}
}

void platter_step(struct platter *platter)
{
	const size_t at = platter->at++;
	const struct happening *happenings = platter->recording->happenings, *one = &happenings[at];
	struct file_state *file = &platter->files[one->file];

	switch (one->what) {
	case HAPPENED_NOTHING:
	case HAPPENED_SUBMIT:
		break;
	case HAPPENED_FOLDER:
		platter->has_new_folder = true;
		break;
	case HAPPENED_ACKNOWLEDGED:
		if (one->of + 1 > platter->told)
			platter->told = one->of + 1;
		break;
	case HAPPENED_PARENT_SYNC:
		platter->has_folder = platter->has_new_folder;
		break;
	case HAPPENED_CREATE:
	case HAPPENED_RENAME:
	case HAPPENED_UNLINK:
		platter->pending = room_for(platter->pending, &platter->pending_room, platter->pending_count, sizeof(size_t));
		platter->pending[platter->pending_count++] = at;
		break;
	case HAPPENED_FOLDER_SYNC:
		for (size_t i = 0; i < platter->pending_count; i++)
			names_apply(platter->names, &happenings[platter->pending[i]]);
		platter->pending_count = 0;
		break;
	case HAPPENED_WRITE:
	case HAPPENED_LENGTH:
		file->pending = room_for(file->pending, &file->pending_room, file->pending_count, sizeof(size_t));
		file->pending[file->pending_count++] = at;
		platter->in_commit |= one->what == HAPPENED_WRITE;
		break;
	case HAPPENED_WRITTEN:
		written(file, happenings, one->of);
		platter->in_commit = false;
		break;
	case HAPPENED_SYNC:
		for (size_t i = 0; i < file->pending_count; i++)
			file_apply(file, &happenings[file->pending[i]]);
		file->pending_count = 0;
		break;
	}
}

/* ---------------------------------------------------------------- what may be found */

enum lost { LOST_OLD, LOST_STALE, LOST_ZERO };   /* what a sector holds that was not written */
enum length { LENGTH_FULL, LENGTH_DURABLE, LENGTH_WRITTEN };

/* Which sectors of the pending writes reached the disk. */
enum way { WAY_NONE, WAY_ALL, WAY_WRITES, WAY_SECTORS, WAY_BUT_WRITE, WAY_ONE_WRITE, WAY_BUT_SECTOR, WAY_ONE_SECTOR, WAY_CUT, WAY_COUNT };

struct choice {
	struct dice dice;
	enum way way;
	enum lost lost;
	enum length length;
	bool shuffled, by_byte;
	uint64_t percent, write, sector;         /* of WAY_*_WRITE and WAY_*_SECTOR */
};

static size_t sectors_of(const struct happening *one)
{
	return one->len ? (one->offset + one->len - 1) / CRASH_SECTOR - one->offset / CRASH_SECTOR + 1 : 0;
}

static void choose(struct choice *choice, uint32_t variant, size_t writes, size_t sectors)
{
	static const struct { enum way way; enum length length; bool by_byte; } plain[6] = {
		{ WAY_NONE, LENGTH_DURABLE, false }, { WAY_NONE, LENGTH_FULL, false }, { WAY_ALL, LENGTH_FULL, false },
		{ WAY_ALL, LENGTH_DURABLE, false }, { WAY_CUT, LENGTH_FULL, false }, { WAY_CUT, LENGTH_FULL, true },
	};
	static const uint64_t percents[4] = { 10, 50, 50, 90 };

	choice->write = dice_below(&choice->dice, writes);
	choice->sector = dice_below(&choice->dice, sectors);
	choice->percent = percents[dice_below(&choice->dice, 4)];
	if (variant < 6) {
		choice->way = plain[variant].way;
		choice->length = plain[variant].length;
		choice->by_byte = plain[variant].by_byte;
		return;
	}
	choice->way = (enum way)(WAY_WRITES + dice_below(&choice->dice, WAY_COUNT - WAY_WRITES));
	choice->length = (enum length)dice_below(&choice->dice, 3);
	choice->lost = dice_below(&choice->dice, 3) ? LOST_OLD : (enum lost)dice_below(&choice->dice, 3);
	choice->shuffled = dice_below(&choice->dice, 2);
	choice->by_byte = dice_below(&choice->dice, 2);
}

/* How many bytes of a sector's new content reached the disk. */
static size_t reached(struct choice *choice, uint64_t write, uint64_t writes, uint64_t sector, uint64_t first, size_t len, size_t cut)
{
	switch (choice->way) {
	case WAY_NONE:
	case WAY_COUNT: return 0;
	case WAY_ALL: return len;
	case WAY_WRITES: return (choice->write >> (write % 61) ^ choice->sector >> (write % 7) ^ write) & 1 ? len : 0;
	case WAY_SECTORS: return dice_below(&choice->dice, 100) < choice->percent ? len : 0;
	case WAY_BUT_WRITE: return write == choice->write ? 0 : len;
	case WAY_ONE_WRITE: return write == choice->write ? len : 0;
	case WAY_BUT_SECTOR: return first + sector == choice->sector ? 0 : len;
	case WAY_ONE_SECTOR: return first + sector == choice->sector ? len : 0;
	case WAY_CUT:
		/* The last write up to some byte or sector; all before it. */
		if (write + 1 < writes || sector < cut / CRASH_SECTOR)
			return len;
		return sector > cut / CRASH_SECTOR ? 0 : !choice->by_byte ? 0 : cut % CRASH_SECTOR < len ? cut % CRASH_SECTOR : len;
	}
	return 0;
}

static void sector_lose(struct choice *choice, const struct file_state *file, uint8_t *to, uint64_t at, size_t len)
{
	/* The first two pages are LMDB's roots: a sector of theirs is old or new. */
	if (choice->lost == LOST_OLD || at < 2 * PAGE)
		return;
	if (choice->lost == LOST_ZERO || file->len < 3 * PAGE) {
		memset(to, 0, len);
		return;
	}
	memcpy(to, file->bytes + (dice_below(&choice->dice, file->len / PAGE) * PAGE + at % PAGE), len);
}

static void file_image(const struct file_state *file, const struct happening *happenings, struct choice choice, uint32_t variant,
    struct image *out, uint32_t name)
{
	size_t *order = malloc((file->pending_count + 1) * sizeof(*order)), *firsts = malloc((file->pending_count + 1) * sizeof(*firsts));
	size_t writes = 0, sectors = 0, full = file->len, written_len = file->len, cut;

	if (!order || !firsts)
		abort();
	for (size_t i = 0; i < file->pending_count; i++) {
		const struct happening *one = &happenings[file->pending[i]];
		const size_t end = one->offset + one->len;

		if (one->what == HAPPENED_LENGTH || end > full)
			full = end;
		if (one->what == HAPPENED_LENGTH)
			continue;
		order[writes] = file->pending[i];
		firsts[writes++] = sectors;
		sectors += sectors_of(one);
	}
	choose(&choice, variant, writes, sectors);
	reach(&out->bytes[name], &out->room[name], (full > file->len ? full : file->len) + 1);
	if (file->len)
		memcpy(out->bytes[name], file->bytes, file->len);
	memset(out->bytes[name] + file->len, 0, out->room[name] - file->len);
	for (size_t i = writes; choice.shuffled && i > 1; i--) {
		const size_t other = dice_below(&choice.dice, i), place = order[other], first = firsts[other];

		order[other] = order[i - 1];
		firsts[other] = firsts[i - 1];
		order[i - 1] = place;
		firsts[i - 1] = first;
	}
	cut = writes ? dice_below(&choice.dice, happenings[order[writes - 1]].len) : 0;
	if (choice.by_byte == false)
		cut = cut / CRASH_SECTOR * CRASH_SECTOR;
	for (size_t i = 0; i < writes; i++) {
		const struct happening *one = &happenings[order[i]];

		for (size_t done = 0, sector = 0; done < one->len; sector++) {
			const uint64_t at = one->offset + done;
			const size_t rest = CRASH_SECTOR - at % CRASH_SECTOR, len = one->len - done < rest ? one->len - done : rest;
			const size_t kept = reached(&choice, i, writes, sector, firsts[i], len, cut);

			if (kept == 0)
				sector_lose(&choice, file, out->bytes[name] + at, at, len);
			memcpy(out->bytes[name] + at, one->bytes + done, kept);
			if (kept && at + kept > written_len)
				written_len = at + kept;
			done += len;
		}
	}
	out->len[name] = choice.length == LENGTH_FULL ? full : choice.length == LENGTH_DURABLE ? file->len : written_len;
	memset(out->bytes[name] + out->len[name], 0, out->room[name] - out->len[name]);
	free(order);
	free(firsts);
}

/* Quick, not cryptographic: only chance makes two images. */
static void image_hash(struct image *image)
{
	uint64_t a = 1, b = 2, word;

	for (uint32_t name = 0; name < CRASH_FILES; name++) {
		if (!image->exists[name])
			continue;
		a = (a ^ name ^ image->len[name]) * UINT64_C(0x9FB21C651E98DF25);
		for (size_t i = 0; i < image->len[name]; i += 8) {
			memcpy(&word, image->bytes[name] + i, 8);   /* there is room behind the length */
			if (word == 0)
				continue;
			a = (a ^ word ^ i) * UINT64_C(0x9FB21C651E98DF25);
			a ^= a >> 29;
			b = (b + (word ^ i << 20)) * UINT64_C(0xD6E8FEB86659FD93);
		}
	}
	image->hash[0] = a ^ a >> 32;
	image->hash[1] = b ^ b >> 32;
}

void image_make(const struct platter *platter, uint64_t seed, uint32_t variant, struct image *out)
{
	const struct recording *recording = platter->recording;
	struct choice choice = { .dice = { seed ^ (uint64_t)platter->at << 24 ^ (uint64_t)variant << 56 ^ variant } };
	size_t persisted = variant == 0 || variant == 1 ? 0 : platter->pending_count;
	bool has_folder = platter->has_folder || variant != 0;
	int names[CRASH_FILES];

	dice_roll(&choice.dice);
	if (variant >= 6) {
		persisted = dice_below(&choice.dice, platter->pending_count + 1);
		has_folder |= dice_below(&choice.dice, 4) != 0;
	}
	memcpy(names, platter->names, sizeof(names));
	for (size_t i = 0; i < persisted; i++)
		names_apply(names, &recording->happenings[platter->pending[i]]);
	memset(out->exists, 0, sizeof(out->exists));
	for (uint32_t name = 0; has_folder && name < recording->name_count; name++) {
		if (names[name] < 0)
			continue;
		out->exists[name] = true;
		file_image(&platter->files[names[name]], recording->happenings, choice, variant, out, name);
	}
	image_hash(out);
}

void image_clear(struct image *image)
{
	for (size_t i = 0; i < CRASH_FILES; i++)
		free(image->bytes[i]);
	memset(image, 0, sizeof(*image));
}

bool image_write(const struct image *image, const struct recording *recording, const char *folder, bool old_lock)
{
	char path[160];
	bool good = true;

	snprintf(path, sizeof(path), "%s/lock.mdb", folder);
	if (!old_lock)
		unlink(path);
	for (uint32_t name = 0; name < recording->name_count && good; name++) {
		size_t done = 0;
		int fd;

		snprintf(path, sizeof(path), "%s/%s", folder, recording->names[name]);
		if (!image->exists[name]) {
			unlink(path);
			continue;
		}
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		while (fd >= 0 && done < image->len[name]) {
			const ssize_t some = pwrite(fd, image->bytes[name] + done, image->len[name] - done, (off_t)done);
			if (some <= 0)
				break;
			done += (size_t)some;
		}
		good = fd >= 0 && done == image->len[name] && ftruncate(fd, (off_t)done) == 0;
		if (fd >= 0)
			close(fd);
	}
	return good;
}
