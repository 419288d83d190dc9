/*
 * node: the sealed part of a call, between an NSP and a desk. test/system/test_sealing.py has the same between processes.
 */
#include "test/unit/node_fixture.h"

#include "crypto/seal.h"
#include "crypto/vault.h"
#include "proto/body.h"
#include "proto/body.pb-c.h"

/* CallContact { name: "..." } */
static const uint8_t who[] = "\x0a\x09J. de Wit";
static const size_t who_len = sizeof(who) - 1;

static struct slice call_body(uint32_t number)
{
	static uint8_t buf[200];
	Cpd__EmergencyCall call = CPD__EMERGENCY_CALL__INIT;

	call.number = number;
	call.services = 4;
	call.nature = CPD__NATURE__MEDICAL;
	call.location = (char *)(uintptr_t)"dijk";
	call.caller_waits = true;
	return (struct slice){ buf, cpd__emergency_call__pack(&call, buf) };
}

static void author_call(int from, uint32_t to, uint32_t number, uint32_t audience, struct answer *answer)
{
	struct author_request *request = calloc(1, sizeof(*request));

	request->kind = 3;
	request->body = call_body(number);
	request->nodes[0] = to;
	request->node_count = 1;
	request->mode = MODE_TEST;
	request->sealed_count = 1;
	request->sealed[0].audience = audience;
	request->sealed[0].len = who_len;
	memcpy(request->sealed[0].content, who, who_len);
	*answer = (struct answer){ .node = from };
	node_author(nodes[from], request, answered, answer);
	free(request);
	UNTIL(answer->calls);
}

/* What a person at this node gets to see of its first part. */
static enum unsealed_state opened(int which, const struct message_id *id, uint8_t *content, size_t *len)
{
	struct unsealed part = { .content = content };
	struct message message;
	uint8_t *bytes;
	size_t bytes_len;

	assert_int_equal(node_envelope(nodes[which], id, &bytes, &bytes_len), CPD_OK);
	assert_int_equal(message_decode((struct slice){ bytes, bytes_len }, &message), CPD_OK);
	assert_int_equal(message.header.sealed_count, 1);
	node_sealed_part(nodes[which], &message.header, 0, &part);
	*len = part.len;
	free(bytes);
	return part.state;
}

static void opens_with_the_words(int which, const struct message_id *id)
{
	uint8_t content[LIMIT_SEALED_CONTENT + SEALED_BLOCK];
	size_t len;

	assert_int_equal(opened(which, id, content, &len), UNSEALED_OPEN);
	assert_int_equal(len, who_len);
	assert_memory_equal(content, who, len);
}

static void an_addressee_and_the_origin_open_what_was_sealed(void **state)
{
	struct answer answer;

	(void)state;
	author_call(0, DESK, 1, AUDIENCE_ID_CONTACT, &answer);
	assert_int_equal(answer.error, CPD_OK);
	UNTIL(has_level(0, &answer.id, DESK, LEVEL_DELIVERED));
	opens_with_the_words(0, &answer.id);
	opens_with_the_words(1, &answer.id);
}

struct found { int which; uint32_t number; struct message_id id; size_t count; };

static bool look(void *context, const struct store_key *key, struct slice value)
{
	struct found *found = context;
	struct message message;
	Cpd__EmergencyCall *call;
	struct message_id id;
	uint8_t *bytes;
	size_t len;

	(void)value;
	assert_int_equal(store_key_read_id(key, &id), CPD_OK);
	if (node_envelope(nodes[found->which], &id, &bytes, &len))
		return true;
	if (message_decode((struct slice){ bytes, len }, &message) || message.header.kind != 3) {
		free(bytes);
		return true;
	}
	call = cpd__emergency_call__unpack(NULL, message.header.body.len, message.header.body.data);
	if (call && call->number == found->number) {
		found->id = message.header.id;
		found->count++;
	}
	cpd__emergency_call__free_unpacked(call, NULL);
	free(bytes);
	return true;
}

static size_t calls_at(int which, uint32_t number, struct message_id *id)
{
	struct found found = { .which = which, .number = number };
	struct store_key first = { .len = 0 };

	assert_int_equal(store_scan(node_store(nodes[which]), TABLE_ENVELOPES, &first, 0, false, SIZE_MAX, look, &found, NULL), CPD_OK);
	*id = found.id;
	return found.count;
}

/* The seal is bound to the id: under the new one it is made anew. */
static void a_call_under_a_taken_id_is_sealed_again(void **state)
{
	struct answer taken, other;
	struct message_id id;

	(void)state;
	stop(0);
	copy_store("344003-store", "copy");
	start(0);
	send_and_wait(0, DESK, "de eerste", &taken);
	stop(0);
	stop(1);
	copy_store("copy", "344003-store");
	start(0);
	author_call(0, DESK, 2, AUDIENCE_ID_CONTACT, &other);
	assert_true(message_id_equal(&other.id, &taken.id));
	start(1);
	UNTIL(calls_at(1, 2, &id));
	assert_true(id.epoch > taken.id.epoch);
	opens_with_the_words(1, &id);
	opens_with_the_words(0, &id);
}

/* With cpd down: as the retention pass does in months. */
static void change_store(int which, enum store_table table, const struct store_key *key, const struct slice *value)
{
	const struct store_options options = { .path = configs[which].store, .hash = crypto_digest };
	struct store_batch *batch = store_batch_new(1);
	struct store *store;
	const char *why;

	assert_int_equal(store_open(&options, &store, &why), CPD_OK);
	assert_int_equal(value ? store_batch_put(batch, table, key, *value) : store_batch_delete(batch, table, key), CPD_OK);
	assert_int_equal(store_commit_now(store, batch), CPD_OK);
	store_close(store);
}

static void imported(void *context, enum cpd_error error, const char *why)
{
	struct answer *answer = context;

	(void)why;
	answer->calls++;
	answer->error = error;
}

/* The desk's keys are new, as after a theft: what was sealed for the old ones comes once more. */
static void who_got_a_new_key_is_served_again(void **state)
{
	struct certificate certificate = { .node = DESK, .role = ROLE_ID_DESK, .key_number = 2, .name = "node 900" };
	struct directory_update update = { .number = 2, .created_s = 2, .certificates = &certificate, .certificate_count = 1 };
	const struct store_key key = store_key_number(2);
	uint8_t record[LIMIT_UPDATE_RECORD], content[LIMIT_SEALED_CONTENT + SEALED_BLOCK];
	struct authority *authority;
	struct identity *identity;
	struct answer answer, directory_answer = { 0 };
	struct message_id id;
	size_t record_len, len;

	(void)state;
	author_call(0, DESK, 1, AUDIENCE_ID_CONTACT, &answer);
	UNTIL(has_level(0, &answer.id, DESK, LEVEL_DELIVERED));
	stop(1);
	assert_int_equal(authority_load("authority", (struct slice){ NULL, 0 }, &authority), CPD_OK);
	snprintf(configs[1].identity, sizeof(configs[1].identity), "900-second");
	assert_int_equal(identity_create(configs[1].identity, DESK, &identity), CPD_OK);
	identity_public_keys(identity, &certificate);
	assert_int_equal(identity_install(identity, DESK, 2, authority_anchor(authority)), CPD_OK);
	identity_free(identity);
	assert_int_equal(region_make_update(authority, &update, record, &record_len), CPD_OK);
	authority_free(authority);
	change_store(1, TABLE_DIRECTORY, &key, &(struct slice){ record, record_len });
	start(1);
	assert_int_equal(opened(1, &answer.id, content, &len), UNSEALED_OLD_KEY);
	node_import_directory(nodes[0], (struct slice){ record, record_len }, imported, &directory_answer);
	UNTIL(directory_answer.calls);
	assert_int_equal(directory_answer.error, CPD_OK);
	UNTIL(calls_at(1, 1, &id) == 2);
	assert_true(id.sequence > answer.id.sequence);
	opens_with_the_words(1, &id);
	UNTIL(has_level(0, &id, DESK, LEVEL_DELIVERED));
	/* Once, also after a start. */
	stop(0);
	start(0);
	UNTIL(is_linked(0));
	run_ms(300);
	assert_int_equal(calls_at(1, 1, &id), 2);
}

/* ---------------------------------------------------------------- what a disk gives back */

struct image { uint8_t *bytes; size_t len; };

static struct image image_of(int which)
{
	struct image image = { NULL, 0 };
	char path[400];
	FILE *file;

	snprintf(path, sizeof(path), "%s/data.mdb", configs[which].store);
	file = fopen(path, "rb");
	assert_non_null(file);
	assert_int_equal(fseek(file, 0, SEEK_END), 0);
	image.len = (size_t)ftell(file);
	rewind(file);
	image.bytes = malloc(image.len);
	assert_int_equal(fread(image.bytes, 1, image.len, file), image.len);
	fclose(file);
	return image;
}

/* Who has the disk: all bytes of the store, whatever LMDB thinks of them, and every key in the state folder. How many times can the
 * sealed part of that message be read? As a part that lies open to the node's sealing key; in a record that a period key unwraps; with
 * a content key that a period key unwraps. */
struct finds { size_t parts, records, keys; };

static bool part_opens(const struct identity *identity, const struct header *header, struct slice bytes)
{
	struct sealed_part part;
	uint8_t key[32];

	return !sealed_part_decode(bytes, &part) && !seal_open_key(identity, header, &part, key);
}

static struct finds search(int which, const struct header *header, size_t envelope_len)
{
	const struct store_key record = store_key_id(&header->id);
	char folder[300], name[80] = "sealed/";
	struct store_key kept;
	struct image image = image_of(which);
	struct finds finds = { 0, 0, 0 };
	struct identity *identity;
	struct vault *vault;
	uint8_t *content;
	size_t len;

	message_id_format(&header->id, name + strlen(name));
	kept = store_key_name(name);
	snprintf(folder, sizeof(folder), "%s/periods", configs[which].state);
	assert_int_equal(vault_open(folder, &vault), CPD_OK);
	assert_int_equal(identity_load(configs[which].identity, &identity, NULL), CPD_OK);
	for (size_t at = 0; at + envelope_len + VAULT_EXTRA < image.len; at++) {
		const uint8_t *here = image.bytes + at;

		/* Message.sealed, length of two bytes. */
		if (here[0] == 0x82 && here[1] == 1)
			finds.parts += part_opens(identity, header, (struct slice){ here + 4, (size_t)(here[2] & 0x7f) | (size_t)here[3] << 7 });
		if (here[0] != 0 || here[1] != 1)
			continue;
		if (!vault_unwrap(vault, (struct slice){ record.bytes, record.len }, (struct slice){ here, envelope_len + VAULT_EXTRA }, &content, &len)) {
			free(content);
			finds.records++;
		}
		if (!vault_unwrap(vault, (struct slice){ kept.bytes, kept.len }, (struct slice){ here, 32 + VAULT_EXTRA }, &content, &len)) {
			free(content);
			finds.keys++;
		}
	}
	identity_free(identity);
	vault_close(vault);
	free(image.bytes);
	return finds;
}

/* An idle node begins no turn for a pass. */
static bool nudge(void)
{
	for (int i = 0; i < 2; i++) {
		nodes[i]->is_loading = true;
		node_wake(nodes[i]);
	}
	return true;
}

static uint32_t oldest_period(int which)
{
	uint32_t oldest = UINT32_MAX, newest;

	assert_true(vault_periods(nodes[which]->vault, &oldest, &newest));
	return oldest;
}

static bool journal_has(int which, enum journal_what what)
{
	struct store_key at = { .len = 0 };
	struct node_news news;
	uint8_t *value;
	size_t len;
	bool is_next = false;

	while (!store_seek(node_store(nodes[which]), TABLE_JOURNAL, &at, 0, is_next, &at, &value, &len)) {
		const bool is_it = !node_news_decode((struct slice){ value, len }, &news) && news.what == what;

		free(value);
		is_next = true;
		if (is_it)
			return true;
	}
	return false;
}

static void period_mode(int which, mode_t mode)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/periods/0.key", configs[which].state);
	assert_int_equal(chmod(path, mode), 0);
}

static void what_was_erased_opens_with_no_key_of_the_machine(void **state)
{
	struct answer gone, stays;
	struct header header;
	struct message message;
	struct finds finds;
	struct store_key key;
	uint8_t *envelope;
	size_t len;

	(void)state;
	for (int i = 0; i < 2; i++) {
		stop(i);
		snprintf(configs[i].state, sizeof(configs[i].state), "%u-state", i ? DESK : NSP);
		assert_int_equal(mkdir(configs[i].state, 0700), 0);
	}
	start(0);
	start(1);
	author_call(0, DESK, 1, AUDIENCE_ID_CONTACT, &gone);
	author_call(0, DESK, 2, AUDIENCE_ID_CONTACT, &stays);
	UNTIL(has_level(0, &gone.id, DESK, LEVEL_DELIVERED) && has_level(0, &stays.id, DESK, LEVEL_DELIVERED));
	assert_int_equal(node_envelope(nodes[1], &gone.id, &envelope, &len), CPD_OK);
	assert_int_equal(message_decode((struct slice){ envelope, len }, &message), CPD_OK);
	header = message.header;
	stop(0);
	stop(1);
	/* Before: what is needed is there; and nothing lies open to the sealing key alone. */
	finds = search(1, &header, len);
	assert_int_equal(finds.parts, 0);
	assert_true(finds.records > 0);
	finds = search(0, &header, len);
	assert_int_equal(finds.parts, 0);
	assert_true(finds.keys > 0);
	/* The messages go as they do in months; freed pages keep their bytes. */
	key = store_key_id(&gone.id);
	change_store(1, TABLE_ENVELOPES, &key, NULL);
	key = store_key_name("sealed/344003/1/1");
	assert_int_equal(gone.id.sequence, 1);
	change_store(0, TABLE_META, &key, NULL);
	assert_true(search(1, &header, len).records > 0);
	assert_true(search(0, &header, len).keys > 0);
	for (int i = 0; i < 2; i++) {
		configs[i].sealed_period_ms = 2000;
		configs[i].sealed_keep_ms = 1;
		period_mode(i, 0640);
		start(i);
	}
	/* Period 0 is over in two seconds, and a pass begins at the start and each hour: begin one when it is. */
	UNTIL(node_ms(nodes[0]) > 4100 && node_ms(nodes[1]) > 4100);
	for (int i = 0; i < 2; i++)
		nodes[i]->retention.due_ms = 0;
	/* A key that cannot be read just now is not destroyed: what is still needed stands under it. */
	UNTIL(nudge() && nodes[0]->retention.due_ms > node_ms(nodes[0]) + 60000 && nodes[1]->retention.due_ms > node_ms(nodes[1]) + 60000);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(oldest_period(i), 0);
		period_mode(i, 0600);
		nodes[i]->retention.due_ms = 0;
	}
	UNTIL(nudge() && oldest_period(0) > 0 && oldest_period(1) > 0);
	UNTIL(nudge() && journal_has(0, JOURNAL_ERASED) && journal_has(1, JOURNAL_ERASED));
	/* What was still needed went over to the next period. */
	opens_with_the_words(0, &stays.id);
	opens_with_the_words(1, &stays.id);
	stop(0);
	stop(1);
	for (int i = 0; i < 2; i++) {
		finds = search(i, &header, len);
		assert_int_equal(finds.parts, 0);
		assert_int_equal(finds.records, 0);
		assert_int_equal(finds.keys, 0);
	}
	/* And the search does find: the same bytes, stored as they came. */
	key = store_key_id(&gone.id);
	change_store(1, TABLE_QUARANTINE, &key, &(struct slice){ envelope, len });
	assert_true(search(1, &header, len).parts > 0);
	free(envelope);
	start(0);
	start(1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_addressee_and_the_origin_open_what_was_sealed),
		TEST(a_call_under_a_taken_id_is_sealed_again),
		TEST(who_got_a_new_key_is_served_again),
		TEST(what_was_erased_opens_with_no_key_of_the_machine),
	};

	return cmocka_run_group_tests_name("node_seal", tests, NULL, NULL);
}
