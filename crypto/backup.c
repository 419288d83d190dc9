/* backup.c: see backup.h. */
#include "crypto/backup.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "cpd-backup "
#define FIRST_LINE MAGIC "1\n"
#define PIECE (256 * 1024)

struct backup_sum { crypto_generichash_state state; uint64_t len; };

static struct backup_sum *sum_new(void)
{
	struct backup_sum *sum = NULL;

	/* libsodium wants its state aligned. */
	if (posix_memalign((void **)&sum, 64, sizeof(*sum)))
		return NULL;
	sum->len = 0;
	crypto_generichash_init(&sum->state, NULL, 0, 32);
	return sum;
}

void backup_sum_free(struct backup_sum *sum)
{
	free(sum);
}

/* ---------------------------------------------------------------- making */

struct backup_sum *backup_begin(const struct backup_head *head, uint8_t *out, size_t *len)
{
	struct backup_sum *sum = sum_new();

	*len = 0;
	if (!sum)
		return NULL;
	*len = (size_t)snprintf((char *)out, BACKUP_HEAD_MAX, FIRST_LINE "network %s\nregion %s\nnode %" PRIu32 "\nepoch %" PRIu32 "\nschema %" PRIu32
	    "\nmade %s\nversion %s\n\n", head->network, head->region, head->node, head->epoch, head->schema, head->made, head->version);
	crypto_generichash_update(&sum->state, out, *len);
	return sum;
}

void backup_add(struct backup_sum *sum, const uint8_t *data, size_t len)
{
	crypto_generichash_update(&sum->state, data, len);
	sum->len += len;
}

void backup_end(struct backup_sum *take_sum, uint8_t tail[BACKUP_TAIL])
{
	for (int i = 0; i < 8; i++)
		tail[i] = (uint8_t)(take_sum->len >> (56 - 8 * i));
	crypto_generichash_update(&take_sum->state, tail, 8);
	crypto_generichash_final(&take_sum->state, tail + 8, 32);
	free(take_sum);
}

/* ---------------------------------------------------------------- reading */

static bool read_text(const char *value, char *out, size_t size)
{
	if (!*value || strlen(value) >= size)
		return false;
	for (const char *at = value; *at; at++)
		if (*at < 0x20 || *at > 0x7e)
			return false;
	strcpy(out, value);
	return true;
}

static bool read_number(const char *value, uint32_t *out)
{
	uint64_t number = 0;

	if (!*value)
		return false;
	for (; *value; value++) {
		if (*value < '0' || *value > '9' || (number = number * 10 + (unsigned)(*value - '0')) > UINT32_MAX)
			return false;
	}
	*out = (uint32_t)number;
	return true;
}

/* "name value". A name that this version does not know is passed over. */
static bool read_line(const char *name, const char *value, struct backup_head *head)
{
	if (!strcmp(name, "network"))
		return read_text(value, head->network, sizeof(head->network));
	if (!strcmp(name, "region"))
		return read_text(value, head->region, sizeof(head->region));
	if (!strcmp(name, "node"))
		return read_number(value, &head->node);
	if (!strcmp(name, "epoch"))
		return read_number(value, &head->epoch);
	if (!strcmp(name, "schema"))
		return read_number(value, &head->schema);
	if (!strcmp(name, "made"))
		return read_text(value, head->made, sizeof(head->made));
	if (!strcmp(name, "version"))
		return read_text(value, head->version, sizeof(head->version));
	return true;
}

/* text: the first bytes of the file, with a NUL behind; changed here. */
static enum cpd_error read_head(char *text, struct backup_head *head, uint64_t *at)
{
	char *end = strstr(text, "\n\n"), *line, *next;

	memset(head, 0, sizeof(*head));
	if (strncmp(text, MAGIC, strlen(MAGIC)))
		return CPD_ERR_MALFORMED;
	if (strncmp(text, FIRST_LINE, strlen(FIRST_LINE)))
		return CPD_ERR_VERSION;
	/* A NUL ends the text early, and then there is no end. */
	if (!end)
		return CPD_ERR_DAMAGED;
	*at = (uint64_t)(end + 2 - text);
	end[1] = '\0';
	for (line = text + strlen(FIRST_LINE); *line; line = next) {
		char *blank;

		next = strchr(line, '\n');   /* there is one: end[0] */
		*next++ = '\0';
		blank = strchr(line, ' ');
		if (!blank)
			return CPD_ERR_DAMAGED;
		*blank = '\0';
		if (!read_line(line, blank + 1, head))
			return CPD_ERR_DAMAGED;
	}
	return head->node && head->network[0] && head->made[0] ? CPD_OK : CPD_ERR_DAMAGED;
}

static bool read_whole(int fd, uint8_t *out, size_t len, uint64_t at)
{
	while (len) {
		ssize_t got = pread(fd, out, len, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		out += got;
		len -= (size_t)got;
		at += (uint64_t)got;
	}
	return true;
}

static enum cpd_error prove_sum(int fd, uint64_t size, uint64_t at, uint64_t len, backup_progress *progress, void *context)
{
	struct backup_sum *sum = sum_new();
	uint8_t *piece = malloc(PIECE), tail[BACKUP_TAIL], should[32];
	enum cpd_error error = sum && piece ? CPD_OK : CPD_ERR_NOMEM;

	for (uint64_t done = 0; !error && done < at + len;) {
		size_t want = at + len - done < PIECE ? (size_t)(at + len - done) : PIECE;

		if (!read_whole(fd, piece, want, done)) {
			error = CPD_ERR_IO;
			break;
		}
		crypto_generichash_update(&sum->state, piece, want);
		done += want;
		if (progress)
			progress(context, done, size);
	}
	if (!error && !read_whole(fd, tail, BACKUP_TAIL, at + len))
		error = CPD_ERR_IO;
	if (!error) {
		uint64_t told = 0;

		for (int i = 0; i < 8; i++)
			told = told << 8 | tail[i];
		crypto_generichash_update(&sum->state, tail, 8);
		crypto_generichash_final(&sum->state, should, 32);
		if (told != len || memcmp(should, tail + 8, 32))
			error = CPD_ERR_DAMAGED;
	}
	backup_sum_free(sum);
	free(piece);
	return error;
}

enum cpd_error backup_prove(int fd, struct backup_head *head, uint64_t *at, uint64_t *len, backup_progress *progress, void *context)
{
	char text[BACKUP_HEAD_MAX + 1] = "";
	enum cpd_error error;
	struct stat status;
	uint64_t size;

	memset(head, 0, sizeof(*head));
	*at = *len = 0;
	if (fstat(fd, &status))
		return CPD_ERR_IO;
	if (!S_ISREG(status.st_mode))
		return CPD_ERR_MALFORMED;
	size = (uint64_t)status.st_size;
	if (!read_whole(fd, (uint8_t *)text, size < BACKUP_HEAD_MAX ? (size_t)size : BACKUP_HEAD_MAX, 0))
		return CPD_ERR_IO;
	error = read_head(text, head, at);
	if (!error && size < *at + BACKUP_TAIL)
		error = CPD_ERR_DAMAGED;
	if (error)
		return error;
	*len = size - *at - BACKUP_TAIL;
	return prove_sum(fd, size, *at, *len, progress, context);
}
