/*
 * node_faults.h: commits of a node in a test that fail, or take their time.
 */
#ifndef CPD_TEST_NODE_FAULTS_H
#define CPD_TEST_NODE_FAULTS_H

#include "test/unit/node_fixture.h"

static atomic_int commits, faults;
static int fault;

static int fail_commits(void *context)
{
	(void)context;
	atomic_fetch_add(&commits, 1);
	if (atomic_load(&faults) == 0)
		return 0;
	usleep(300000);                 /* a disk that hesitates: what leaves too early has the time to */
	atomic_fetch_sub(&faults, 1);
	return fault;
}

static int slow_commits(void *context)
{
	(void)context;
	usleep(200000);
	return 0;
}

/* The disk hangs until the test lets it go on, ten seconds at most. */
static atomic_bool commits_may_go;
static inline int held_commits(void *context)
{
	(void)context;
	for (int i = 0; i < 1000 && !atomic_load(&commits_may_go); i++)
		usleep(10000);
	return 0;
}

static void break_commits(int which, int error)
{
	struct store *store = node_store(nodes[which]);

	atomic_store(&commits, 0);
	atomic_store(&faults, 1);
	fault = error;
	store->commit_fault = fail_commits;
}

#endif
