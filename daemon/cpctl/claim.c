/* claim.c: this copy of a node is the node from now on (docs/OPERATIONS.md, "Moving a node to a spare laptop"). */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "crypto/claim.h"
#include "crypto/identity.h"
#include "daemon/cpctl/cpctl.h"
#include "daemon/cpctl/file.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/owner.h"

/* The lock that the daemon holds (docs/STORE.md). */
static int lock_store(const char *state, int *fd)
{
	char store[FILE_PATH_MAX], path[FILE_PATH_MAX];

	if (!file_path(state, "store", store) || !file_make_folder(store, 0700) || !file_path(store, "lock", path))
		return EXIT_REFUSED;
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0)
		return say_refused("%s: %s: run this as the user that cpd runs as, or as root", path, strerror(errno));
	if (flock(*fd, LOCK_EX | LOCK_NB))
		return say_refused("cpd runs on %s: stop it first (systemctl stop cpd); nothing was changed", store);
	return EXIT_DONE;
}

/* The epoch first: broken off in between, the node has a new epoch and its old claim: late, never wrong. */
static int take_over(const char *path, struct identity *identity, struct claim_file *file)
{
	struct claim_file was;
	uint32_t own = identity_epoch(identity), epoch;
	enum cpd_error error = claim_read(path, &was);

	if (error && error != CPD_ERR_NOT_FOUND && error != CPD_ERR_MALFORMED)
		return say_crypto(path, error);
	epoch = (was.fenced_by.epoch > own ? was.fenced_by.epoch : own);
	if (epoch > UINT32_MAX - 8)
		return say_refused("the epochs of this node are used up: admit it with a new number");
	error = own ? identity_set_epoch(identity, epoch + 1) : CPD_OK;
	if (!error)
		error = claim_take_over(path, file);
	return error ? say_crypto(path, error) : EXIT_DONE;
}

static void tell(const struct call *call, const struct identity *identity, const struct claim_file *file)
{
	json_t *json;

	if (!call->json) {
		printf("This machine is node %u from now on: claim %u, epoch %u at the least.\n"
		    "Start cpd (systemctl start cpd). Another copy stops when it hears of this one, and\n"
		    "keeps what it holds: cpctl queue there shows it.\n", identity_node(identity), file->claim, identity_epoch(identity));
		return;
	}
	json = json_pack("{s:I,s:I,s:I}", "node", (json_int_t)identity_node(identity), "claim", (json_int_t)file->claim, "epoch", (json_int_t)identity_epoch(identity));
	print_json(json);
	json_decref(json);
}

int verb_node_claim(struct call *call)
{
	const char *state = call->words[0];
	char path[FILE_PATH_MAX];
	struct identity *identity = NULL;
	struct claim_file file;
	enum cpd_error error;
	int fd = -1, status;

	if (!file_path(state, "identity", path) || !owner_become(state))
		return EXIT_REFUSED;
	error = identity_load_with(path, getenv("CREDENTIALS_DIRECTORY"), &identity, NULL);
	if (error)
		return error == CPD_ERR_NOT_FOUND ? say_refused("%s holds no keys: copy the identity folder of the node there first", state) : say_crypto(path, error);
	status = identity_anchor(identity) ? lock_store(state, &fd) : say_refused("%s is installed in no region yet: `cpctl node install` first", path);
	if (status == EXIT_DONE)
		status = take_over(path, identity, &file);
	if (status == EXIT_DONE)
		tell(call, identity, &file);
	identity_free(identity);
	if (fd >= 0)
		close(fd);
	return status;
}
