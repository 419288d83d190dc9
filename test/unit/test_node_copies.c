/*
 * test_node_copies.c: one identity on two machines: the neighbour that refuses the older copy, and the copy that is fenced.
 * test_relay_claim.c has who wins; test/system/test_copies.py has the same between processes.
 */
#include "test/unit/node_faults.h"

static void keep(const char *from, const char *to)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -rf '%.80s' && cp -a '%.80s' '%.80s'", to, from, to);
	assert_int_equal(system(command), 0);
}

/* As a stick brings node 0 to another machine: what was is kept, and what is used from now on is told to take over. Of the
 * identity the claim alone: put back as a whole it would be a folder that has moved. */
static void move_on(void)
{
	struct claim_file raised;

	stop(0);
	keep("344003-identity/claim", "old-claim");
	keep(configs[0].store, "old-store");
	assert_int_equal(claim_take_over(configs[0].identity, &raised), CPD_OK);
	start(0);
}

static void switch_on_the_old_one(void)
{
	stop(0);
	keep("old-claim", "344003-identity/claim");
	keep("old-store", configs[0].store);
	start(0);
}

static bool desk_knows(uint32_t claim)
{
	struct presence presence;
	int64_t heard_ms;

	return relay_presence(nodes[1]->relay, NSP, &presence, &heard_ms) && presence.claim == claim;
}

static void an_older_copy_is_refused_and_fenced(void **state)
{
	struct answer waits, refused;
	uint32_t claim = nodes[0]->claim.claim;

	(void)state;
	UNTIL(desk_knows(claim));
	move_on();
	assert_true(nodes[0]->claim.claim > claim);
	UNTIL(desk_knows(nodes[0]->claim.claim));
	switch_on_the_old_one();
	author(0, DESK, text("op de oude laptop"), 6, NULL, &waits);
	UNTIL(waits.calls);
	assert_int_equal(waits.error, CPD_OK);           /* it has not heard of the other yet */
	UNTIL(node_is_fenced(nodes[0]));
	assert_true(nodes[1]->counters.copies_refused > 0);
	assert_false(holds(1, TABLE_CUSTODY, &waits.id)); /* of its sessions nothing was taken */
	author(0, DESK, text("mag niet"), 6, NULL, &refused);
	UNTIL(refused.calls);
	assert_int_equal(refused.error, CPD_ERR_STATE);
	assert_true(holds(0, TABLE_ENVELOPES, &waits.id));
}

static void a_fence_stands_after_a_restart(void **state)
{
	struct answer refused;
	uint32_t epoch;

	(void)state;
	move_on();
	UNTIL(desk_knows(nodes[0]->claim.claim));
	switch_on_the_old_one();
	UNTIL(node_is_fenced(nodes[0]));
	epoch = nodes[0]->epoch;
	stop(0);
	start(0);
	assert_true(node_is_fenced(nodes[0]));
	run_ms(500);
	assert_false(is_linked(0));
	assert_int_equal(nodes[0]->epoch, epoch);
	author(0, DESK, text("nog steeds niet"), 6, NULL, &refused);
	UNTIL(refused.calls);
	assert_int_equal(refused.error, CPD_ERR_STATE);
}

/* The words that waited on it go when it is given the node back. */
static void what_waited_on_a_fenced_copy_goes_when_it_takes_over(void **state)
{
	struct claim_file raised;
	struct answer waits;

	(void)state;
	move_on();
	UNTIL(desk_knows(nodes[0]->claim.claim));
	switch_on_the_old_one();
	author(0, DESK, text("wacht op de oude"), 6, NULL, &waits);
	UNTIL(waits.calls && node_is_fenced(nodes[0]));
	stop(0);
	assert_int_equal(claim_take_over(configs[0].identity, &raised), CPD_OK);
	start(0);
	assert_false(node_is_fenced(nodes[0]));
	UNTIL(has_level(0, &waits.id, DESK, LEVEL_DELIVERED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_older_copy_is_refused_and_fenced),
		TEST(a_fence_stands_after_a_restart),
		TEST(what_waited_on_a_fenced_copy_goes_when_it_takes_over),
	};

	return cmocka_run_group_tests_name("node_copies", tests, NULL, NULL);
}
