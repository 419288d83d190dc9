/*
 * copy.c: a compact copy of the store while it goes on, as bytes through a pair of sockets.
 *
 * LMDB writes it from one read transaction, on a thread of its own. That transaction pins every page
 * freed meanwhile, and holds the map as it is: so the copy gives way when a commit needs room. The
 * reader of the bytes may be slow or gone; nothing but the copy waits for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "store/internal.h"

struct store_copy {
	struct store *store;
	int in, out;                     /* LMDB writes into `in`; the caller reads `out`, and closes it */
	pthread_t thread;
	bool gave_way, is_done;          /* guarded by store->lock */
	enum cpd_error error;
};

static void *copy_main(void *argument)
{
	struct store_copy *copy = argument;
	struct store *store = copy->store;
	int rc;

	store_map_hold(store);
	rc = mdb_env_copyfd2(store->env, copy->in, MDB_CP_COMPACT);
	store_map_release(store);
	pthread_mutex_lock(&store->lock);
	copy->error = copy->gave_way ? CPD_ERR_BUSY : rc == EPIPE ? CPD_ERR_STATE : store_lmdb_error(rc);
	copy->is_done = true;
	pthread_cond_broadcast(&store->done);
	pthread_mutex_unlock(&store->lock);
	shutdown(copy->in, SHUT_RDWR);   /* the reader sees the end only when the verdict stands */
	return NULL;
}

static bool copy_start_thread(struct store_copy *copy)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all); /* signals belong to the loop thread */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&copy->thread, NULL, copy_main, copy);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc == 0;
}

/* Waits for the thread; it ends at its next write at the latest. */
static enum cpd_error copy_free(struct store *store)
{
	struct store_copy *copy = store->copy;
	enum cpd_error error;

	pthread_join(copy->thread, NULL);
	error = copy->error;
	close(copy->in);
	pthread_mutex_lock(&store->lock);
	store->copy = NULL;
	pthread_mutex_unlock(&store->lock);
	free(copy);
	return error;
}

enum cpd_error store_copy_begin(struct store *store, int *fd)
{
	struct store_copy *copy;
	int pair[2];

	*fd = -1;
	if (store->copy)
		return CPD_ERR_BUSY;
	copy = calloc(1, sizeof(*copy));
	if (!copy)
		return CPD_ERR_NOMEM;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		free(copy);
		return CPD_ERR_IO;
	}
	*copy = (struct store_copy){ .store = store, .in = pair[0], .out = pair[1] };
	shutdown(copy->out, SHUT_WR);
	if (fcntl(copy->out, F_SETFL, O_NONBLOCK) || !copy_start_thread(copy)) {
		close(pair[0]);
		close(pair[1]);
		free(copy);
		return CPD_ERR_NOMEM;
	}
	pthread_mutex_lock(&store->lock);
	store->copy = copy;
	pthread_mutex_unlock(&store->lock);
	*fd = copy->out;
	return CPD_OK;
}

enum cpd_error store_copy_end(struct store *store)
{
	if (!store->copy)
		return CPD_ERR_STATE;
	shutdown(store->copy->in, SHUT_RDWR);
	return copy_free(store);
}

bool store_copy_is_whole(struct store *store)
{
	bool is_whole;

	pthread_mutex_lock(&store->lock);
	is_whole = store->copy && store->copy->is_done && !store->copy->error;
	pthread_mutex_unlock(&store->lock);
	return is_whole;
}

bool copy_gives_way(struct store *store)
{
	bool is_there;

	pthread_mutex_lock(&store->lock);
	is_there = store->copy && !store->copy->is_done;
	if (is_there) {
		store->copy->gave_way = true;
		shutdown(store->copy->in, SHUT_RDWR);
	}
	while (store->copy && !store->copy->is_done)
		pthread_cond_wait(&store->done, &store->lock);
	pthread_mutex_unlock(&store->lock);
	return is_there;
}
