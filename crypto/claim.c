/* claim.c: see claim.h. */
#include "crypto/claim.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "crypto/keyfile.h"

#define TEXT_MAX 200

static int format(const struct claim_file *file, char text[TEXT_MAX])
{
	return snprintf(text, TEXT_MAX, "%" PRIu32 " %" PRIu32 " %d %" PRIu32 " %" PRIu32 " %" PRIu64 " %s %" PRId64 " %" PRIu32 "\n", file->claim, file->starts,
	    file->takes_over, file->fenced_by.claim, file->fenced_by.epoch, file->fenced_by.instance, file->machine, file->born_s, file->born_ns);
}

/* Parsed, printed again and compared, so that no sign, blank or leading zero passes. */
static bool parse(const char *text, size_t len, struct claim_file *out)
{
	char again[TEXT_MAX];
	int takes_over;

	memset(out, 0, sizeof(*out));
	if (sscanf(text, "%10" SCNu32 " %10" SCNu32 " %1d %10" SCNu32 " %10" SCNu32 " %20" SCNu64 " %32s %20" SCNd64 " %10" SCNu32, &out->claim, &out->starts,
	    &takes_over, &out->fenced_by.claim, &out->fenced_by.epoch, &out->fenced_by.instance, out->machine, &out->born_s, &out->born_ns) != 9)
		return false;
	out->takes_over = takes_over == 1;
	return out->claim && (size_t)format(out, again) == len && !memcmp(text, again, len);
}

enum cpd_error claim_read(const char *dir, struct claim_file *out)
{
	char path[KEYFILE_PATH_MAX], text[TEXT_MAX];
	size_t len;
	enum cpd_error error = keyfile_path(dir, "claim", path);

	memset(out, 0, sizeof(*out));
	if (!error)
		error = keyfile_read(path, KEYFILE_PUBLIC, (uint8_t *)text, sizeof(text) - 1, &len);
	if (error && error != CPD_ERR_TOO_LARGE)
		return error;
	if (!error) {
		text[len] = '\0';
		if (parse(text, len, out))
			return CPD_OK;
	}
	memset(out, 0, sizeof(*out));
	keyfile_problem("%s is damaged: if this machine is to be the node, run cpctl node claim STATEDIR, which makes it anew", path);
	return CPD_ERR_MALFORMED;
}

enum cpd_error claim_write(const char *dir, const struct claim_file *file)
{
	char path[KEYFILE_PATH_MAX], text[TEXT_MAX];
	enum cpd_error error = keyfile_path(dir, "claim", path);

	return error ? error : keyfile_write(path, KEYFILE_SECRET, (const uint8_t *)text, (size_t)format(file, text));
}

/* When signing.key came to be in this folder; 0 when the file system does not tell. It is written once. */
static void born(const char *dir, int64_t *s, uint32_t *ns)
{
	char path[KEYFILE_PATH_MAX];
	struct statx told;

	*s = 0;
	*ns = 0;
	if (keyfile_path(dir, "signing.key", path) || statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &told) || !(told.stx_mask & STATX_BTIME))
		return;
	*s = told.stx_btime.tv_sec;
	*ns = told.stx_btime.tv_nsec;
}

/* What is not known on one side says nothing. */
static bool has_moved(const struct claim_file *was, const struct claim_file *is)
{
	bool other_machine = strcmp(was->machine, "-") && strcmp(is->machine, "-") && strcmp(was->machine, is->machine);
	bool other_birth = was->born_s && is->born_s && (was->born_s != is->born_s || was->born_ns != is->born_ns);

	return other_machine || other_birth;
}

enum cpd_error claim_begin(const char *dir, const char *machine, struct claim_file *out, uint64_t *instance, bool *is_moved)
{
	struct claim_file was;
	enum cpd_error error = claim_read(dir, &was);

	*instance = 0;
	*is_moved = false;
	memset(out, 0, sizeof(*out));
	if (error && error != CPD_ERR_NOT_FOUND)
		return error;
	*out = was;
	if (error)
		out->claim = 1;
	snprintf(out->machine, sizeof(out->machine), "%s", strlen(machine) == CLAIM_MACHINE ? machine : "-");
	born(dir, &out->born_s, &out->born_ns);
	*is_moved = !error && has_moved(&was, out);
	if (*is_moved && !out->fenced_by.instance) {
		if (out->claim == UINT32_MAX)
			return CPD_ERR_RANGE;
		out->claim++;
		out->starts = 0;
	}
	if (out->starts < UINT32_MAX)
		out->starts++;
	*instance = (uint64_t)out->starts << 32 | randombytes_random();
	return claim_write(dir, out);
}

enum cpd_error claim_take_over(const char *dir, struct claim_file *out)
{
	struct claim_file was;
	enum cpd_error error = claim_read(dir, &was);

	memset(out, 0, sizeof(*out));
	if (error && error != CPD_ERR_NOT_FOUND && error != CPD_ERR_MALFORMED)
		return error;
	*out = was;
	if (out->fenced_by.claim > out->claim)
		out->claim = out->fenced_by.claim;
	if (out->claim == UINT32_MAX) {
		keyfile_problem("the claims of this node are used up: admit it with a new number");
		return CPD_ERR_RANGE;
	}
	out->claim++;
	out->starts = 0;
	out->takes_over = true;
	out->fenced_by = (struct claim){ 0, 0, 0 };
	/* The next start tells where it is: it is not to count as moved once more. */
	snprintf(out->machine, sizeof(out->machine), "-");
	out->born_s = 0;
	out->born_ns = 0;
	return claim_write(dir, out);
}
