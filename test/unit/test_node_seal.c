/*
 * node: the sealed part of a call, between an NSP and a desk. test/system/test_sealing.py has the same between processes.
 */
#include "test/unit/node_fixture.h"

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
	struct store_key key = store_key_id(id);
	struct message message;
	uint8_t *bytes;
	size_t bytes_len;

	assert_int_equal(store_get(node_store(nodes[which]), TABLE_ENVELOPES, &key, &bytes, &bytes_len), CPD_OK);
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

struct found { uint32_t number; struct message_id id; size_t count; };

static bool look(void *context, const struct store_key *key, struct slice value)
{
	struct found *found = context;
	struct message message;
	Cpd__EmergencyCall *call;

	(void)key;
	if (message_decode(value, &message) || message.header.kind != 3)
		return true;
	call = cpd__emergency_call__unpack(NULL, message.header.body.len, message.header.body.data);
	if (call && call->number == found->number) {
		found->id = message.header.id;
		found->count++;
	}
	cpd__emergency_call__free_unpacked(call, NULL);
	return true;
}

static size_t calls_at(int which, uint32_t number, struct message_id *id)
{
	struct found found = { .number = number };
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_addressee_and_the_origin_open_what_was_sealed),
		TEST(a_call_under_a_taken_id_is_sealed_again),
	};

	return cmocka_run_group_tests_name("node_seal", tests, NULL, NULL);
}
