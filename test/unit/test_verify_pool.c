/* verify_pool: results come in the order of submission, FLASH before others, a fifth is FLASH's, nothing leaks at the end. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "crypto/crypto.h"
#include "daemon/verify_pool.h"

static struct identity *identity;
static struct region_anchor anchor = { .network = "nl", .region = "VR09", .name = "Utrecht" };
static struct authority *authority;
static char folder[] = "test-pool-XXXXXX", region_folder[64];

struct seen {
	struct event_base *base;
	struct verify_pool *pool;
	uint64_t order[512];
	enum cpd_error errors[512];
	size_t count, wanted;
	uint32_t last_node;
};

static void remember(void *context, struct verify_result *result)
{
	struct seen *seen = context;

	seen->order[seen->count] = result->context[0];
	seen->errors[seen->count++] = result->error;
	if (result->kind == VERIFY_PRESENCE && result->error == CPD_OK) {
		seen->last_node = result->presence.presence.node;
		/* what was verified stands in the result's own bytes */
		assert_true(result->presence.bytes.data >= result->bytes.data);
		assert_true(result->presence.bytes.data + result->presence.bytes.len <= result->bytes.data + result->bytes.len);
	}
	verify_result_free(result);
	if (seen->count == seen->wanted)
		event_base_loopbreak(seen->base);
}

static void give_up(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
	fail_msg("the pool did not hand back what was submitted");
}

static void run(struct seen *seen)
{
	struct timeval bound = { 10, 0 };
	struct event *timeout = evtimer_new(seen->base, give_up, NULL);

	event_add(timeout, &bound);
	if (seen->count < seen->wanted)
		event_base_dispatch(seen->base);
	event_free(timeout);
}

static size_t signed_presence(uint8_t *out)
{
	struct presence presence = { .node = 344003, .epoch = 1, .counter = 7 };
	uint8_t bytes[LIMIT_PRESENCE], signature[64];
	size_t len, record_len;

	assert_int_equal(presence_encode(&presence, bytes, sizeof(bytes), &len), CPD_OK);
	assert_int_equal(sign_bytes(identity, SIGN_PRESENCE, (struct slice){ bytes, len }, signature), CPD_OK);
	assert_int_equal(signed_record_encode((struct slice){ bytes, len }, signature, 1, out, LIMIT_PRESENCE + 200, &record_len), CPD_OK);
	return record_len;
}

static void apply_certificate(struct directory *directory)
{
	struct certificate certificate = { .node = 344003, .role = ROLE_ID_NSP, .name = "NSP", .key_number = 1 };
	struct directory_update update = { .number = 1, .created_s = 1, .certificates = &certificate, .certificate_count = 1 };

	identity_public_keys(identity, &certificate);
	assert_int_equal(directory_apply(directory, &update), CPD_OK);
}

static struct directory *directory;

static void start(struct seen *seen, unsigned threads)
{
	memset(seen, 0, sizeof(*seen));
	seen->base = event_base_new();
	assert_non_null(seen->base);
	directory = directory_new();
	assert_int_equal(verify_pool_new(seen->base, directory, &anchor, threads, remember, seen, &seen->pool), CPD_OK);
}

static void stop(struct seen *seen)
{
	verify_pool_free(seen->pool);
	directory_free(directory);
	event_base_free(seen->base);
}

static enum cpd_error submit(struct seen *seen, enum verify_kind kind, const uint8_t *data, size_t len, enum precedence precedence, uint64_t number)
{
	uint64_t words[VERIFY_CONTEXT] = { number };

	return verify_pool_submit(seen->pool, kind, (struct slice){ data, len }, precedence, words);
}

static void results_keep_the_order_of_submission(void **state)
{
	uint8_t record[LIMIT_PRESENCE + 200];
	size_t len = signed_presence(record);
	struct seen seen;

	(void)state;
	start(&seen, 4);
	apply_certificate(directory);
	seen.wanted = 200;
	/* a signature takes far longer than rubbish: without the ring the rubbish would overtake */
	for (uint64_t i = 0; i < seen.wanted; i++) {
		if (i % 3 == 0)
			assert_int_equal(submit(&seen, VERIFY_PRESENCE, record, len, PRECEDENCE_ROUTINE, i), CPD_OK);
		else
			assert_int_equal(submit(&seen, i % 3 == 1 ? VERIFY_MESSAGE : VERIFY_DIRECTORY, (const uint8_t *)"rubbish", 7, PRECEDENCE_IMMEDIATE, i), CPD_OK);
	}
	run(&seen);
	for (uint64_t i = 0; i < seen.wanted; i++) {
		assert_int_equal(seen.order[i], i);
		if (i % 3 == 0)
			assert_int_equal(seen.errors[i], CPD_OK);
		else
			assert_int_not_equal(seen.errors[i], CPD_OK);
	}
	assert_int_equal(seen.last_node, 344003);
	assert_int_equal(verify_pool_pending(seen.pool), 0);
	assert_int_equal(verify_pool_progress(seen.pool), 200);
	stop(&seen);
}

static void flash_overtakes_what_waits_for_a_thread(void **state)
{
	struct seen seen;

	(void)state;
	start(&seen, 1);
	seen.wanted = 101;
	verify_pool_lock_directory(seen.pool);
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(submit(&seen, VERIFY_MESSAGE, NULL, 0, PRECEDENCE_IMMEDIATE, i), CPD_OK);
	assert_int_equal(submit(&seen, VERIFY_MESSAGE, NULL, 0, PRECEDENCE_FLASH, 100), CPD_OK);
	verify_pool_unlock_directory(seen.pool);
	run(&seen);
	assert_true(seen.order[0] == 100 || seen.order[1] == 100); /* the thread may have had the first in hand */
	for (uint64_t i = 2; i < 101; i++)
		assert_int_equal(seen.order[i], i - 1);
	stop(&seen);
}

static void the_last_fifth_is_for_flash(void **state)
{
	struct seen seen;
	size_t taken = 0;

	(void)state;
	start(&seen, 1);
	/* with the directory locked no result leaves, whatever the threads do */
	verify_pool_lock_directory(seen.pool);
	while (submit(&seen, VERIFY_MESSAGE, NULL, 0, PRECEDENCE_IMMEDIATE, taken) == CPD_OK)
		taken++;
	assert_int_equal(taken, VERIFY_POOL_JOBS - VERIFY_POOL_FLASH_ONLY);
	assert_int_equal(submit(&seen, VERIFY_MESSAGE, NULL, 0, PRECEDENCE_ROUTINE, 0), CPD_ERR_BUSY);
	while (submit(&seen, VERIFY_MESSAGE, NULL, 0, PRECEDENCE_FLASH, taken) == CPD_OK)
		taken++;
	assert_int_equal(taken, VERIFY_POOL_JOBS);
	assert_int_equal(submit(&seen, VERIFY_MESSAGE, NULL, 0, PRECEDENCE_FLASH, 0), CPD_ERR_BUSY);
	assert_int_equal(verify_pool_progress(seen.pool), 0);
	verify_pool_unlock_directory(seen.pool);
	seen.wanted = taken;
	run(&seen);
	assert_int_equal(submit(&seen, VERIFY_MESSAGE, NULL, 0, PRECEDENCE_ROUTINE, 0), CPD_OK);
	stop(&seen); /* with a job under way: freed, not handed back */
	assert_int_equal(seen.count, taken);
}

static void a_directory_applied_under_the_lock_is_seen_by_later_jobs(void **state)
{
	uint8_t record[LIMIT_PRESENCE + 200];
	size_t len = signed_presence(record);
	struct seen seen;

	(void)state;
	start(&seen, 2);
	seen.wanted = 1;
	assert_int_equal(submit(&seen, VERIFY_PRESENCE, record, len, PRECEDENCE_ROUTINE, 1), CPD_OK);
	run(&seen);
	assert_int_equal(seen.errors[0], CPD_ERR_UNKNOWN_SIGNER);
	verify_pool_lock_directory(seen.pool);
	apply_certificate(directory);
	verify_pool_unlock_directory(seen.pool);
	seen.wanted = 2;
	assert_int_equal(submit(&seen, VERIFY_PRESENCE, record, len, PRECEDENCE_ROUTINE, 2), CPD_OK);
	run(&seen);
	assert_int_equal(seen.errors[1], CPD_OK);
	stop(&seen);
}

static void what_is_too_large_is_not_taken(void **state)
{
	static uint8_t large[LIMIT_ITEM + 1];
	struct seen seen;

	(void)state;
	start(&seen, 1);
	assert_int_equal(submit(&seen, VERIFY_MESSAGE, large, sizeof(large), PRECEDENCE_FLASH, 1), CPD_ERR_TOO_LARGE);
	assert_int_equal(verify_pool_pending(seen.pool), 0);
	stop(&seen);
}

static int make_identity(void **state)
{
	(void)state;
	if (crypto_start() != CPD_OK || !mkdtemp(folder))
		return -1;
	snprintf(region_folder, sizeof(region_folder), "%s/region", folder);
	if (identity_create(folder, 344003, &identity) != CPD_OK || authority_create(region_folder, &anchor, (struct slice){ NULL, 0 }, &authority) != CPD_OK)
		return -1;
	anchor = *authority_anchor(authority);
	return identity_install(identity, 344003, 1, &anchor) == CPD_OK ? 0 : -1;
}

static void remove_files(const char *dir)
{
	DIR *entries = opendir(dir);
	struct dirent *entry;
	char path[512];

	while (entries && (entry = readdir(entries))) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		(void)unlink(path);
	}
	if (entries)
		closedir(entries);
	(void)rmdir(dir);
}

static int remove_identity(void **state)
{
	(void)state;
	identity_free(identity);
	authority_free(authority);
	remove_files(region_folder);
	remove_files(folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(results_keep_the_order_of_submission),
		cmocka_unit_test(flash_overtakes_what_waits_for_a_thread),
		cmocka_unit_test(the_last_fifth_is_for_flash),
		cmocka_unit_test(a_directory_applied_under_the_lock_is_seen_by_later_jobs),
		cmocka_unit_test(what_is_too_large_is_not_taken),
	};

	return cmocka_run_group_tests(tests, make_identity, remove_identity);
}
