/*
 * store_gate.h: a gate that commits of a store in a test wait at, so that what is told before and after is seen.
 */
#ifndef CPD_TEST_STORE_GATE_H
#define CPD_TEST_STORE_GATE_H

#include "test/unit/fixture_store.h"

static inline struct store_key counter_key(uint64_t counter)
{
	return store_key_counter(counter);
}

struct gate { pthread_mutex_t lock; pthread_cond_t turned; bool closed; int asked; int fail_with; int fail_from; };

/* Stands before each commit: counts, waits while closed, and fails from the chosen one on. */
static inline int gate_pass(void *context)
{
	struct gate *gate = context;
	int result;

	pthread_mutex_lock(&gate->lock);
	gate->asked++;
	pthread_cond_broadcast(&gate->turned);
	while (gate->closed)
		pthread_cond_wait(&gate->turned, &gate->lock);
	result = gate->fail_from && gate->asked >= gate->fail_from ? gate->fail_with : 0;
	pthread_mutex_unlock(&gate->lock);
	return result;
}

static inline void gate_put(struct gate *gate, struct store *store)
{
	*gate = (struct gate){ .lock = PTHREAD_MUTEX_INITIALIZER, .turned = PTHREAD_COND_INITIALIZER };
	store->commit_fault_context = gate;
	store->commit_fault = gate_pass;
}

static inline void gate_set(struct gate *gate, bool closed)
{
	pthread_mutex_lock(&gate->lock);
	gate->closed = closed;
	pthread_cond_broadcast(&gate->turned);
	pthread_mutex_unlock(&gate->lock);
}

static inline void gate_await(struct gate *gate, int asked)
{
	pthread_mutex_lock(&gate->lock);
	while (gate->asked < asked)
		pthread_cond_wait(&gate->turned, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
}

static inline enum cpd_error submit_row(struct store *store, uint64_t turn, const void *data, size_t len)
{
	struct store_batch *batch = fixture_batch(turn);
	const struct store_key key = counter_key(turn);

	fixture_put(batch, TABLE_JOURNAL, &key, data, len);
	return store_submit(store, batch);
}

#endif
