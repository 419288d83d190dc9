/* judge.c: one image, opened with the real code, held against what was told. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "test/crash/crash.h"

struct look { struct sum sum; enum store_table table; uint64_t messages; };

static bool look_at_row(void *context, const struct store_key *key, struct slice value)
{
	struct look *look = context;
	const struct slice name = { key->bytes, key->len };

	if (sum_counts(look->table, name))
		sum_add_row(&look->sum, look->table, name, value);
	look->messages += look->table == TABLE_ENVELOPES;
	return true;
}

/* Every row is read, its checksum proved by store_scan. */
static bool look_at_all(struct store *store, struct look *look, char problem[CRASH_TEXT])
{
	const struct store_key begin = { .len = 0 };
	enum cpd_error error;
	size_t damaged;

	memset(look, 0, sizeof(*look));
	for (enum store_table table = 0; table < TABLE_COUNT; table++) {
		look->table = table;
		error = store_scan(store, table, &begin, 0, false, SIZE_MAX, look_at_row, look, &damaged);
		if (error || damaged) {
			snprintf(problem, CRASH_TEXT, "table %s: %zu damaged, %s", store_table_name(table), damaged, cpd_error_text(error));
			return false;
		}
	}
	return true;
}

static void first_line(void *context, const char *line)
{
	char *problem = context;

	if (!problem[0])
		snprintf(problem, CRASH_TEXT, "the check says: %s", line);
}

static bool verify(struct store *store, char problem[CRASH_TEXT])
{
	struct store_check check;
	char line[CRASH_TEXT] = "";
	uint64_t damaged = 0;
	enum cpd_error error;

	memset(&check, 0, sizeof(check));
	error = store_verify(store, false, first_line, line, &check);
	for (enum store_table table = 0; table < TABLE_COUNT; table++)
		damaged += check.damaged[table];
	if (!error && !damaged && !check.broken_invariants && !check.quarantined)
		return true;
	snprintf(problem, CRASH_TEXT, "%s", line[0] ? line : cpd_error_text(error));
	return false;
}

/* It goes on accepting: several pages, so that free ones are used again. */
static bool accepts(struct store *store, char problem[CRASH_TEXT])
{
	static const char *const names[] = { "probe-1", "probe-2", "probe-3" };
	static uint8_t bytes[6000];
	enum cpd_error error = CPD_OK;
	uint8_t *value = NULL;
	size_t len = 0;

	for (size_t i = 0; i < 3 && !error; i++) {
		const struct store_key key = store_key_name(names[i]);
		struct store_batch *batch = store_batch_new(0);

		if (!batch)
			abort();
		memset(bytes, 'a' + (int)i, sizeof(bytes));
		error = store_batch_put(batch, TABLE_META, &key, (struct slice){ bytes, i == 0 ? 8 : sizeof(bytes) });
		if (error)
			store_batch_free(batch);
		else
			error = store_commit_now(store, batch);
		if (!error)
			error = store_get(store, TABLE_META, &key, &value, &len);
		if (!error && memcmp(value, bytes, len) != 0)
			error = CPD_ERR_DAMAGED;
		free(value);
		value = NULL;
	}
	if (!error && store_admits(store, PRECEDENCE_FLASH))
		return true;
	snprintf(problem, CRASH_TEXT, "it takes nothing more: %s", error ? cpd_error_text(error) : "a FLASH is refused");
	return false;
}

static bool holds(const struct recording *recording, const struct model *model, size_t told, size_t given, struct store *store,
    const struct look *look, struct verdict *out)
{
	for (size_t state = told; state <= given; state++) {
		if (memcmp(&model->states[state], &look->sum, sizeof(look->sum)) != 0)
			continue;
		out->state = state;
		return true;
	}
	model_difference(recording, model, told, given, store, out->problem);
	for (size_t state = 0; state <= model->count && !out->problem[0]; state++)
		if (memcmp(&model->states[state], &look->sum, sizeof(look->sum)) == 0)
			snprintf(out->problem, CRASH_TEXT, "it holds the state behind batch %zu; %zu were told, %zu given", state, told, given);
	if (!out->problem[0])
		snprintf(out->problem, CRASH_TEXT, "it holds a state that never was; %zu batches were told, %zu given", told, given);
	return false;
}

void judge(const struct recording *recording, const struct model *model, size_t told, size_t given, const char *folder, bool again,
    struct verdict *out)
{
	const struct store_options options = { .path = folder, .hash = crypto_digest, .limit_bytes = 64 * 1024 * 1024,
	    .initial_bytes = STORE_MAP_MIN };
	const char *why = NULL;
	struct store *store;
	struct look look;
	char damaged[160];
	enum cpd_error error;
	bool good;

	memset(out, 0, sizeof(*out));
	for (int pass = 0; pass < (again ? 2 : 1) && !out->problem[0]; pass++) {
		error = store_open(&options, &store, &why);
		if (error) {
			snprintf(out->problem, CRASH_TEXT, "it does not open: %s: %s", cpd_error_text(error), why ? why : "");
			return;
		}
		/* A sound file that is taken for a damaged one and made anew is a failure too. */
		snprintf(damaged, sizeof(damaged), "%s/data.mdb.damaged", folder);
		if (access(damaged, F_OK) == 0) {
			snprintf(out->problem, CRASH_TEXT, "it was taken for damaged and made anew");
			unlink(damaged);
			store_close(store);
			return;
		}
		good = look_at_all(store, &look, out->problem) && holds(recording, model, told, given, store, &look, out);
		if (good)
			good = verify(store, out->problem) && accepts(store, out->problem);
		out->messages = look.messages;
		store_close(store);
	}
}
