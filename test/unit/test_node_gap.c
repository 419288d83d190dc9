/* test_node_gap.c: what was lost on the way to a node is noticed, logged, and asked for. */
#include "test/unit/node_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#define HOUR_MS 3600000u

static int saved_stderr = -1;

static void log_begin(void)
{
	int fd = open("log.txt", O_CREAT | O_TRUNC | O_WRONLY, 0600);

	assert_true(fd >= 0);
	saved_stderr = dup(STDERR_FILENO);
	assert_true(saved_stderr >= 0 && dup2(fd, STDERR_FILENO) >= 0);
	close(fd);
	log_start(LOG_WARNING);
}

/* Lines of the log with this in them. */
static unsigned log_end(const char *wanted)
{
	char line[2000];
	unsigned count = 0;
	FILE *file = fopen("log.txt", "r");

	log_start(LOG_EMERG);
	assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
	close(saved_stderr);
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		count += strstr(line, wanted) != NULL;
	(void)fclose(file);
	return count;
}

static bool has_next(struct node *node, uint32_t neighbour, struct moment *now, struct item_ref *ref)
{
	node_now(node, now);
	return relay_next_item(node->relay, neighbour, PRECEDENCE_ROUTINE, now, ref);
}

/* The head of this queue leaves the node and is lost on the way. */
static void lose_one(struct node *node, uint32_t neighbour)
{
	struct node_link *link = links_find(node, neighbour);
	struct moment now;
	struct item_ref ref;
	struct custody custody;
	struct trailer trailer;
	size_t len;

	/* Its author is told before the relay hears of the commit. */
	UNTIL(has_next(node, neighbour, &now, &ref));
	assert_int_equal(node_load_custody(node, &ref.id, &custody), CPD_OK);
	assert_int_equal(relay_make_trailer(node->relay, &custody, &ref, neighbour, &now, &trailer), CPD_OK);
	assert_int_equal(send_build_message(node, &ref.id, &trailer, node->item, &len), CPD_OK);
	assert_int_equal(link_send(link->link, &ref, (struct slice){ node->item, len }, now.custody_ms), CPD_OK);
	trailer_clear(&trailer);
	custody_clear(&custody);
	do {
		assert_int_equal(link_next_frame(link->link, node->frame, &len, now.custody_ms), CPD_OK);
	} while (len);
}

/* By the clock it would come again after an hour: it comes because the neighbour's acknowledgement names what it lacks. */
static void what_was_lost_is_noticed_logged_and_asked_for(void **state)
{
	struct node_link *link = links_find(nodes[0], DESK);
	struct link_profile profile = link_profile_ip;
	struct answer lost, next;
	size_t sessions;

	(void)state;
	profile.retransmit_ms = HOUR_MS;
	profile.keepalive_ms = HOUR_MS;
	link_set_profile(link->link, &profile);
	for (int p = 0; p < PRECEDENCE_COUNT; p++)
		configs[0].timers.retry_ms[p] = HOUR_MS;
	log_begin();
	sessions = link->session_count;
	link->session_count = 0;        /* so that the node itself sends nothing meanwhile */
	author(0, DESK, text("verloren"), 6, NULL, &lost);
	UNTIL(lost.calls);
	assert_int_equal(lost.error, CPD_OK);
	lose_one(nodes[0], DESK);
	link->session_count = sessions;
	author(0, DESK, text("het volgende"), 6, NULL, &next);
	UNTIL(next.calls);
	UNTIL(has_level(0, &next.id, DESK, LEVEL_DELIVERED));
	UNTIL(has_level(0, &lost.id, DESK, LEVEL_DELIVERED));
	assert_true(holds(1, TABLE_CUSTODY, &lost.id));
	assert_int_equal(log_end("event=serial-gap link=344003 first=1 last=1"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { TEST(what_was_lost_is_noticed_logged_and_asked_for) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
