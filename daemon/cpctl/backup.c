/*
 * backup.c: a copy of the running node's store in a file. The daemon sends it; here it is written beside
 * its place, synced, read back and proved, and only then put in its place.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/cpctl/backup.h"
#include "daemon/cpctl/client.h"
#include "daemon/cpctl/file.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/progress.h"

struct taking {
	const char *path;
	int fd, write_error;
	uint64_t len;
	struct progress progress;
};

static bool take_piece(void *context, const void *data, size_t len, uint64_t about)
{
	struct taking *taking = context;

	for (const uint8_t *at = data; len;) {
		ssize_t put = write(taking->fd, at, len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0) {
			taking->write_error = put ? errno : ENOSPC;
			return false;
		}
		at += put;
		len -= (size_t)put;
		taking->len += (uint64_t)put;
	}
	progress_show(&taking->progress, taking->len, about);
	return true;
}

static void show_proof(void *context, uint64_t done, uint64_t of)
{
	progress_show(context, done, of);
}

const char *backup_problem(enum cpd_error error)
{
	switch (error) {
	case CPD_ERR_MALFORMED: return "is no backup of cpd";
	case CPD_ERR_VERSION: return "is a backup of a later cpd; use that version";
	case CPD_ERR_DAMAGED: return "is half a backup, or was changed: its sum is not right; take another one";
	default: return cpd_error_text(error);
	}
}

bool backup_prove_file(int fd, const char *path, const char *what, struct backup_head *head, uint64_t *at, uint64_t *len)
{
	struct progress progress;
	enum cpd_error error;

	progress_begin(&progress, what, true);
	error = backup_prove(fd, head, at, len, show_proof, &progress);
	progress_end(&progress);
	if (error)
		say_refused("%s %s", path, backup_problem(error));
	return !error;
}

/* An older backup may be replaced; anything else that stands there may not. */
static bool may_stand_there(const char *path)
{
	struct stat status;
	char first[16] = "";
	int fd;

	if (lstat(path, &status))
		return true;
	fd = S_ISREG(status.st_mode) ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	if (fd >= 0 && read(fd, first, 10) == 10 && !memcmp(first, "cpd-backup", 10)) {
		close(fd);
		return true;
	}
	if (fd >= 0)
		close(fd);
	say_refused("%s is there and is no backup of cpd: nothing was changed; give another name", path);
	return false;
}

static int fetch(const struct call *call, struct taking *taking)
{
	struct answer answer;
	enum outcome outcome;
	int status = EXIT_DONE;

	progress_begin(&taking->progress, "Copying", true);
	outcome = client_download(call, "/v1/backup", take_piece, taking, &answer);
	progress_end(&taking->progress);
	if (taking->write_error)
		status = say_refused("%s: cannot write it: %s", taking->path, strerror(taking->write_error));
	else if (outcome == OUTCOME_UNREACHABLE)
		status = say_unreachable(&answer);
	else if (outcome == OUTCOME_BROKEN) {
		say_refused("the backup broke off after %.1f MiB; nothing was kept", (double)taking->len / 1048576);
		fprintf(stderr, "  A backup gives way when messages need its room: try again. The daemon's log tells\n  why: journalctl -u cpd | grep backup-broken\n");
		status = EXIT_REFUSED;
	} else if (answer.status >= 300)
		status = say_answer(&answer);
	answer_clear(&answer);
	return status;
}

static int keep(const struct call *call, struct taking *taking, const char *temporary)
{
	struct backup_head head;
	uint64_t at, len;

	if (fsync(taking->fd))
		return say_refused("%s: cannot sync it to disk: %s", temporary, strerror(errno));
	/* What the disk really holds, not what was meant to go there. */
	posix_fadvise(taking->fd, 0, 0, POSIX_FADV_DONTNEED);
	if (!backup_prove_file(taking->fd, temporary, "Reading back", &head, &at, &len))
		return EXIT_REFUSED;
	if (rename(temporary, taking->path))
		return say_refused("%s: cannot put it in place: %s", taking->path, strerror(errno));
	if (!file_sync_folder_of(taking->path))
		return EXIT_REFUSED;
	if (call->json) {
		json_t *json = json_pack("{s:s,s:I,s:I,s:I,s:I,s:s}", "file", taking->path, "bytes", (json_int_t)taking->len, "node", (json_int_t)head.node,
		    "epoch", (json_int_t)head.epoch, "schema", (json_int_t)head.schema, "made", head.made);
		print_json(json);
		json_decref(json);
	} else {
		printf("%s: node %u, %.1f MiB, written and read back.\n"
		    "It holds messages and the directory, no keys: keep a copy of the identity\nfolder in a safe besides. `cpctl restore` puts it back.\n",
		    taking->path, head.node, (double)taking->len / 1048576);
	}
	return EXIT_DONE;
}

int verb_backup(struct call *call)
{
	struct taking taking = { .path = call->words[0] };
	char temporary[FILE_PATH_MAX];
	int status;

	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.part", taking.path) >= sizeof(temporary))
		return say_refused("the path is longer than %d bytes; choose a shorter one", FILE_PATH_MAX);
	if (!may_stand_there(taking.path))
		return EXIT_REFUSED;
	unlink(temporary);   /* of one that broke off */
	taking.fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (taking.fd < 0)
		return say_refused("%s: cannot make it: %s", temporary, strerror(errno));
	status = fetch(call, &taking);
	if (status == EXIT_DONE)
		status = keep(call, &taking, temporary);
	close(taking.fd);
	if (status != EXIT_DONE)
		unlink(temporary);
	return status;
}
