/*
 * restore.c: puts a backup in the place of a node's store, with the daemon stopped.
 *
 * The order is what makes it safe. First everything that may be refused, while nothing has changed: the sum, whose
 * backup it is, the daemon's lock, the check of the store itself. Then the identity's epoch is raised past all that
 * the backup can know: identity and store now disagree, by which cpd knows at its start that this store is older
 * than what was said, and begins a new epoch (docs/ARCHITECTURE.md). Only then is the store changed, by one rename.
 * Broken off in between, the node has its old store and a new epoch: late, never wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "crypto/identity.h"
#include "daemon/cpctl/backup.h"
#include "daemon/cpctl/cpctl.h"
#include "daemon/cpctl/file.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/owner.h"
#include "daemon/cpctl/program.h"
#include "daemon/cpctl/progress.h"

#define PIECE (1024 * 1024)

struct restore {
	const char *path;
	int fd, lock_fd;
	struct backup_head head;
	uint64_t at, len;
	char store[FILE_PATH_MAX], identity_path[FILE_PATH_MAX];
	char data[FILE_PATH_MAX], next[FILE_PATH_MAX], next_data[FILE_PATH_MAX], aside[FILE_PATH_MAX], aside_data[FILE_PATH_MAX];
	struct identity *identity;
	size_t findings;
	bool has_old;
};

/* ---------------------------------------------------------------- where */

static int from_config(struct restore *restore, const char *path)
{
	char problem[512], *text = program_config(path, problem, sizeof(problem));
	json_t *config = text ? json_loads(text, 0, NULL) : NULL;
	bool fits;

	free(text);
	if (!config)
		return say_refused("%s", problem);
	fits = strlen(json_text(config, "store")) < FILE_PATH_MAX && strlen(json_text(config, "identity")) < FILE_PATH_MAX;
	snprintf(restore->store, FILE_PATH_MAX, "%s", json_text(config, "store"));
	snprintf(restore->identity_path, FILE_PATH_MAX, "%s", json_text(config, "identity"));
	json_decref(config);
	return fits ? EXIT_DONE : say_refused("%s: a path in it is too long", path);
}

static int find_places(struct restore *restore, struct call *call)
{
	const char *config = call_option(call, "config"), *state = call->word_count > 1 ? call->words[1] : NULL;
	time_t now = time(NULL);
	struct tm parts;
	char stamp[40];

	if (!config == !state)
		return say_usage(call, "say where: a STATEDIR, or --config FILE (and not both)");
	if (config) {
		int status = from_config(restore, config);

		if (status != EXIT_DONE)
			return status;
	} else if (!file_path(state, "store", restore->store) || !file_path(state, "identity", restore->identity_path))
		return EXIT_REFUSED;
	gmtime_r(&now, &parts);
	strftime(stamp, sizeof(stamp), "before-restore-%Y%m%dT%H%M%SZ", &parts);
	return file_path(restore->store, "data.mdb", restore->data) && file_path(restore->store, "restoring", restore->next) &&
	    file_path(restore->next, "data.mdb", restore->next_data) && file_path(restore->store, stamp, restore->aside) &&
	    file_path(restore->aside, "data.mdb", restore->aside_data) ? EXIT_DONE : EXIT_REFUSED;
}

static int become_owner(const struct restore *restore)
{
	if (!file_exists(restore->identity_path))
		return say_refused("%s is not there: put the identity folder back first (from the safe), or make this machine the node anew with `cpctl node init`",
		    restore->identity_path);
	return owner_become(restore->identity_path) ? EXIT_DONE : EXIT_REFUSED;
}

/* ---------------------------------------------------------------- what may be refused */

static int check_identity(struct restore *restore)
{
	enum cpd_error error = identity_load_with(restore->identity_path, getenv("CREDENTIALS_DIRECTORY"), &restore->identity, NULL);
	const struct region_anchor *anchor;

	if (error)
		return say_crypto(restore->identity_path, error);
	anchor = identity_anchor(restore->identity);
	if (!anchor)
		return say_refused("%s is installed in no region yet: `cpctl node install` first; nothing was changed", restore->identity_path);
	if (identity_node(restore->identity) != restore->head.node || strcmp(anchor->network, restore->head.network))
		return say_refused("%s is of node %u in network %s, this is node %u in %s: nothing was changed", restore->path, restore->head.node,
		    restore->head.network, identity_node(restore->identity), anchor->network);
	if (identity_epoch(restore->identity) > UINT32_MAX - 8 || restore->head.epoch > UINT32_MAX - 8)
		return say_refused("the epochs of this node are used up: admit it with a new number");
	return EXIT_DONE;
}

/* The lock that the daemon holds (docs/STORE.md). */
static int lock_store(struct restore *restore)
{
	char path[FILE_PATH_MAX];
	struct stat status;

	if (!file_make_folder(restore->store, 0700) || !file_path(restore->store, "lock", path))
		return EXIT_REFUSED;
	restore->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (restore->lock_fd < 0)
		return say_refused("%s: %s: run this as the user that cpd runs as, or as root", path, strerror(errno));
	if (flock(restore->lock_fd, LOCK_EX | LOCK_NB))
		return say_refused("cpd runs on %s: stop it first (systemctl stop cpd); nothing was changed", restore->store);
	restore->has_old = !lstat(restore->data, &status);
	return EXIT_DONE;
}

static void remove_next(const struct restore *restore)
{
	static const char *const names[] = { "data.mdb", "lock.mdb", "lock" };
	char path[FILE_PATH_MAX + 16];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", restore->next, names[i]);
		unlink(path);
	}
	rmdir(restore->next);
}

static int copy_out(struct restore *restore)
{
	struct progress progress;
	off_t from = (off_t)restore->at;
	uint64_t left = restore->len;
	int fd, problem = 0;

	remove_next(restore);   /* of one that broke off */
	if (!file_make_folder(restore->next, 0700))
		return EXIT_REFUSED;
	fd = open(restore->next_data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return say_refused("%s: %s", restore->next_data, strerror(errno));
	progress_begin(&progress, "Copying", true);
	while (left && !problem) {
		ssize_t put = sendfile(fd, restore->fd, &from, left < PIECE ? (size_t)left : PIECE);

		if (put > 0)
			left -= (uint64_t)put;
		else if (!put || errno != EINTR)
			problem = put ? errno : EIO;
		progress_show(&progress, restore->len - left, restore->len);
	}
	progress_end(&progress);
	if (!problem && fsync(fd))
		problem = errno;
	close(fd);
	return problem ? say_refused("%s: cannot write it: %s; nothing was changed", restore->next_data, strerror(problem)) : EXIT_DONE;
}

static void tell_finding(void *context, const char *line)
{
	struct restore *restore = context;

	restore->findings++;
	fprintf(stderr, "  %s\n", line);
}

static void pass_over(void *context, const char *line)
{
	(void)context;
	(void)line;
}

static void tell_line(void *context, const char *line)
{
	(void)context;
	fprintf(stderr, "  %s\n", line);
}

/* A backup of an older cpd: its store is brought to this one's schema while it stands beside. */
static int upgrade_copy(const struct restore *restore)
{
	const char *const words[] = { "--upgrade-store", restore->next, NULL };
	int code = program_run(words, pass_over, NULL);

	if (!code)
		return EXIT_DONE;
	if (code > 0)
		(void)program_run(words, tell_line, NULL);
	return say_refused("the store in %s cannot be used by this cpd; nothing was changed", restore->path);
}

/* By cpd: it alone opens stores. The last line is a summary, so it is asked twice only when there is one to tell. */
static int check_copy(struct restore *restore, bool takes_damage)
{
	const char *const words[] = { "--check-store", restore->next, NULL };
	int code = program_run(words, pass_over, NULL);

	if (!code)
		return EXIT_DONE;
	if (code < 0)
		return EXIT_REFUSED;
	fprintf(stderr, "cpctl: the store in %s has findings:\n", restore->path);
	(void)program_run(words, tell_finding, restore);
	if (takes_damage)
		return EXIT_DONE;
	return say_refused("nothing was changed; an earlier backup may be sound. With --damaged it is put in place all the same:\n"
	    "  then run cpd --check-store --repair before you start cpd");
}

/* ---------------------------------------------------------------- what is changed */

static int raise_epoch(struct restore *restore, uint32_t *epoch)
{
	uint32_t own = identity_epoch(restore->identity);
	enum cpd_error error;

	*epoch = (own > restore->head.epoch ? own : restore->head.epoch) + 1;
	error = identity_set_epoch(restore->identity, *epoch);
	return error ? say_crypto(restore->identity_path, error) : EXIT_DONE;
}

static int put_in_place(struct restore *restore)
{
	char lock[FILE_PATH_MAX];

	/* A second name, so that there is a store at every moment. */
	if (restore->has_old && (!file_make_folder(restore->aside, 0700) || link(restore->data, restore->aside_data) || !file_sync_folder_of(restore->aside_data)))
		return say_refused("the old store cannot be kept as %s: %s; the old store is still in place", restore->aside_data, strerror(errno));
	if (rename(restore->next_data, restore->data))
		return say_refused("%s: cannot put it in place: %s; the old store is still there", restore->data, strerror(errno));
	/* LMDB's table of readers was the old file's. */
	if (file_path(restore->store, "lock.mdb", lock))
		unlink(lock);
	remove_next(restore);
	return file_sync_folder_of(restore->data) ? EXIT_DONE : EXIT_REFUSED;
}

static void tell_done(const struct call *call, const struct restore *restore)
{
	const struct backup_head *head = &restore->head;

	if (call->json) {
		json_t *json = json_pack("{s:I,s:s,s:s,s:s?,s:I,s:I}", "node", (json_int_t)head->node, "made", head->made, "store", restore->store,
		    "aside", restore->has_old ? restore->aside : NULL, "epoch", (json_int_t)identity_epoch(restore->identity), "findings", (json_int_t)restore->findings);
		print_json(json);
		json_decref(json);
		return;
	}
	printf("The store of node %u is as it was at %s.\n", head->node, head->made);
	if (restore->has_old)
		printf("The one before is kept in %s;\nremove it when all is well.\n", restore->aside);
	printf("Start cpd (systemctl start cpd). It begins a new epoch: no number is used twice,\n"
	    "and others offer it again what they hold for it. What was written here after the\n"
	    "backup and had not left this machine is only in the store before.\n");
}

static int restore_run(struct call *call, struct restore *restore)
{
	uint32_t epoch;
	int status = find_places(restore, call);

	if (status == EXIT_DONE && (restore->fd = open(restore->path, O_RDONLY | O_CLOEXEC)) < 0)
		status = say_refused("%s: %s", restore->path, strerror(errno));
	if (status == EXIT_DONE && !backup_prove_file(restore->fd, restore->path, "Proving", &restore->head, &restore->at, &restore->len))
		status = EXIT_REFUSED;
	if (status == EXIT_DONE)
		status = become_owner(restore);
	if (status == EXIT_DONE)
		status = check_identity(restore);
	if (status == EXIT_DONE)
		status = lock_store(restore);
	if (status != EXIT_DONE)
		return status;
	status = copy_out(restore);
	if (status == EXIT_DONE)
		status = upgrade_copy(restore);
	if (status == EXIT_DONE)
		status = check_copy(restore, call_has(call, "damaged"));
	if (status == EXIT_DONE)
		status = raise_epoch(restore, &epoch);
	if (status == EXIT_DONE)
		status = put_in_place(restore);
	if (status == EXIT_DONE)
		tell_done(call, restore);
	else
		remove_next(restore);
	return status;
}

int verb_restore(struct call *call)
{
	struct restore restore = { .path = call->words[0], .fd = -1, .lock_fd = -1 };
	int status = restore_run(call, &restore);

	identity_free(restore.identity);
	if (restore.fd >= 0)
		close(restore.fd);
	if (restore.lock_fd >= 0)
		close(restore.lock_fd);
	return status;
}
