#include "daemon/verify_pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* protobuf-c unpacks on the stack of the thread; musl's default of 128 KiB would not do. */
#define STACK_BYTES (1024 * 1024)
#define THREADS_MAX 32
/* Results handed back in one turn of the loop: each may set a turn of the node going. */
#define TURN_RESULTS 64

struct job {
	struct verify_result *result;      /* the bytes stand behind it */
	bool is_done;
};

/* A ring: [head, next) handed to threads or done, [next, tail) waiting. Results leave at head, so
 * one that is done early waits for those before it. */
struct lane {
	struct job ring[VERIFY_POOL_JOBS];
	size_t head, next, tail;           /* counters; the place is counter % VERIFY_POOL_JOBS */
};

struct verify_pool {
	const struct directory *directory;
	const struct region_anchor *anchor;
	verify_done *done;
	void *context;
	struct event *event;
	int wake_fd;
	pthread_rwlock_t directory_lock;
	pthread_mutex_t lock;              /* guards what follows */
	pthread_cond_t work;
	struct lane flash, others;
	bool is_woken;                     /* the loop was told, and has not looked since */
	uint64_t progress;
	bool is_stopping;
	pthread_t threads[THREADS_MAX];
	unsigned thread_count;
};

void verify_result_free(struct verify_result *result)
{
	if (!result)
		return;
	if (result->kind == VERIFY_DIRECTORY && result->error == CPD_OK)
		directory_update_clear(&result->directory);
	free(result);
}

static void wake(int fd)
{
	uint64_t one = 1;

	/* It can only fail when 2^64-2 wake-ups wait already. */
	(void)!write(fd, &one, sizeof(one));
}

static enum cpd_error check(const struct verify_pool *pool, struct verify_result *result)
{
	const char *network = pool->anchor->network;

	switch (result->kind) {
	case VERIFY_MESSAGE:
		return verify_message(pool->directory, network, result->bytes, &result->message);
	case VERIFY_RECEIPTS:
		return verify_receipts(pool->directory, network, result->bytes, &result->receipts);
	case VERIFY_PRESENCE:
		return verify_presence(pool->directory, network, result->bytes, &result->presence);
	case VERIFY_DIRECTORY:
		return verify_directory_update(pool->anchor, result->bytes, &result->directory);
	}
	return CPD_ERR_USAGE;
}

/* With the lock held. NULL: none waits. */
static struct lane *lane_with_work(struct verify_pool *pool)
{
	if (pool->flash.next != pool->flash.tail)
		return &pool->flash;
	return pool->others.next != pool->others.tail ? &pool->others : NULL;
}

static void *verify_thread(void *context)
{
	struct verify_pool *pool = context;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct lane *lane;
		struct job *job;

		while (!(lane = lane_with_work(pool)) && !pool->is_stopping)
			pthread_cond_wait(&pool->work, &pool->lock);
		if (pool->is_stopping)
			break;
		job = &lane->ring[lane->next++ % VERIFY_POOL_JOBS];
		pthread_mutex_unlock(&pool->lock);

		pthread_rwlock_rdlock(&pool->directory_lock);
		job->result->error = check(pool, job->result);
		pthread_rwlock_unlock(&pool->directory_lock);

		pthread_mutex_lock(&pool->lock);
		job->is_done = true;
		pool->progress++;
		/* Only the head lets results out: one wake-up for a run of them. */
		if (job == &lane->ring[lane->head % VERIFY_POOL_JOBS] && !pool->is_woken) {
			pool->is_woken = true;
			wake(pool->wake_fd);
		}
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* With the lock held. The next result in order; NULL: it is not done yet. */
static struct verify_result *take_head(struct lane *lane)
{
	struct job *job = &lane->ring[lane->head % VERIFY_POOL_JOBS];
	struct verify_result *result;

	if (lane->head == lane->next || !job->is_done)
		return NULL;
	result = job->result;
	job->result = NULL;
	job->is_done = false;
	lane->head++;
	return result;
}

static void hand_back(evutil_socket_t fd, short what, void *context)
{
	struct verify_pool *pool = context;
	struct verify_result *result;
	uint64_t count;

	(void)what;
	pthread_mutex_lock(&pool->lock);
	(void)!read(fd, &count, sizeof(count));
	pool->is_woken = false;
	pthread_mutex_unlock(&pool->lock);
	for (unsigned given = 0; given < TURN_RESULTS; given++) {
		pthread_mutex_lock(&pool->lock);
		result = take_head(&pool->flash);
		if (!result)
			result = take_head(&pool->others);
		pthread_mutex_unlock(&pool->lock);
		if (!result)
			return;
		pool->done(pool->context, result);
	}
	wake(fd); /* the rest in the next turn of the loop */
}

static unsigned default_threads(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	return cores > 3 ? (unsigned)(cores - 2) : 1;
}

/* Threads take no signals: libevent's handlers belong to the loop. */
static bool start_threads(struct verify_pool *pool, unsigned threads)
{
	sigset_t all, old;
	pthread_attr_t attributes;
	bool is_started = true;

	if (pthread_attr_init(&attributes) != 0)
		return false;
	is_started = pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (is_started && pool->thread_count < threads && pool->thread_count < THREADS_MAX) {
		is_started = pthread_create(&pool->threads[pool->thread_count], &attributes, verify_thread, pool) == 0;
		if (is_started)
			pool->thread_count++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
	return is_started;
}

/* glibc lets readers pass a waiting writer, so that busy threads could hold the loop for ever: not here. */
static void init_directory_lock(struct verify_pool *pool)
{
	pthread_rwlockattr_t attributes;

	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&pool->directory_lock, &attributes);
	pthread_rwlockattr_destroy(&attributes);
}

enum cpd_error verify_pool_new(struct event_base *base, const struct directory *directory,
    const struct region_anchor *anchor, unsigned threads, verify_done *done, void *context, struct verify_pool **out)
{
	struct verify_pool *pool = calloc(1, sizeof(*pool));

	*out = NULL;
	if (!pool)
		return CPD_ERR_NOMEM;
	pool->directory = directory;
	pool->anchor = anchor;
	pool->done = done;
	pool->context = context;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	init_directory_lock(pool);
	pool->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (pool->wake_fd >= 0)
		pool->event = event_new(base, pool->wake_fd, EV_READ | EV_PERSIST, hand_back, pool);
	if (!pool->event || event_add(pool->event, NULL) != 0 || !start_threads(pool, threads > 0 ? threads : default_threads())) {
		verify_pool_free(pool);
		return CPD_ERR_IO;
	}
	*out = pool;
	return CPD_OK;
}

static void lane_clear(struct lane *lane)
{
	for (; lane->head != lane->tail; lane->head++) {
		struct job *job = &lane->ring[lane->head % VERIFY_POOL_JOBS];

		/* One that no thread looked at holds no update to clear. */
		if (!job->is_done)
			job->result->error = CPD_ERR_STATE;
		verify_result_free(job->result);
	}
}

void verify_pool_free(struct verify_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->is_stopping = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->thread_count; i++)
		pthread_join(pool->threads[i], NULL);
	lane_clear(&pool->flash);
	lane_clear(&pool->others);
	if (pool->event)
		event_free(pool->event);
	if (pool->wake_fd >= 0)
		close(pool->wake_fd);
	pthread_rwlock_destroy(&pool->directory_lock);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

/* Only what the kind needs: a receipts result is 20 kB, the others a few. */
static struct verify_result *new_result(enum verify_kind kind, struct slice bytes)
{
	static const size_t sizes[] = {
		[VERIFY_MESSAGE] = sizeof(struct verified_message),
		[VERIFY_RECEIPTS] = sizeof(struct verified_receipts),
		[VERIFY_PRESENCE] = sizeof(struct verified_presence),
		[VERIFY_DIRECTORY] = sizeof(struct directory_update),
	};
	size_t head = offsetof(struct verify_result, message) + sizes[kind];
	struct verify_result *result = calloc(1, head + bytes.len + 1);

	if (!result)
		return NULL;
	result->kind = kind;
	if (bytes.len > 0)
		memcpy((uint8_t *)result + head, bytes.data, bytes.len);
	result->bytes = (struct slice){ (uint8_t *)result + head, bytes.len };
	return result;
}

enum cpd_error verify_pool_submit(struct verify_pool *pool, enum verify_kind kind, struct slice bytes,
    enum precedence precedence, const uint64_t context[VERIFY_CONTEXT])
{
	size_t room = precedence == PRECEDENCE_FLASH ? VERIFY_POOL_JOBS : VERIFY_POOL_JOBS - VERIFY_POOL_FLASH_ONLY;
	struct lane *lane = precedence == PRECEDENCE_FLASH ? &pool->flash : &pool->others;
	struct verify_result *result;

	if (bytes.len > LIMIT_ITEM)
		return CPD_ERR_TOO_LARGE;
	if (verify_pool_pending(pool) >= room)
		return CPD_ERR_BUSY;
	result = new_result(kind, bytes);
	if (!result)
		return CPD_ERR_NOMEM;
	result->precedence = precedence;
	memcpy(result->context, context, sizeof(result->context));
	pthread_mutex_lock(&pool->lock);
	lane->ring[lane->tail++ % VERIFY_POOL_JOBS].result = result;
	pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	return CPD_OK;
}

size_t verify_pool_pending(const struct verify_pool *pool)
{
	/* head and tail are moved by the loop thread only, which is the caller. */
	return pool->flash.tail - pool->flash.head + pool->others.tail - pool->others.head;
}

uint64_t verify_pool_progress(struct verify_pool *pool)
{
	uint64_t progress;

	pthread_mutex_lock(&pool->lock);
	progress = pool->progress;
	pthread_mutex_unlock(&pool->lock);
	return progress;
}

void verify_pool_lock_directory(struct verify_pool *pool)
{
	pthread_rwlock_wrlock(&pool->directory_lock);
}

void verify_pool_unlock_directory(struct verify_pool *pool)
{
	pthread_rwlock_unlock(&pool->directory_lock);
}
