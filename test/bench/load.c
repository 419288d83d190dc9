/*
 * load.c: many senders in one process, each with a link of its own (the project's own state machine) over a ZeroMQ
 * DEALER with CURVE, to load a real cpd. It keeps nothing on disk; what cpd acknowledges, cpd has synced.
 *
 *   load key     IDENTITY                                                   a node's transport key
 *   load certify AUTHORITY FOLDER FIRST COUNT UPDATE
 *   load rate    PEER ADDRESS KEY FIRST EPOCH TO SENDERS COUNT PRECEDENCE   as fast as it goes
 *   load latency PEER ADDRESS KEY FIRST EPOCH TO COUNT GAP_MS               one sender, each precedence in turn
 *   load links   PEER ADDRESS KEY FIRST EPOCH SENDERS                       held until stdin ends
 *
 * KEY: PEER's transport key in hex. Messages are made and signed before anything is measured. EPOCH must be a new
 * one each time: the senders' serials and sequences begin at 1. Prints one line of JSON.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zmq.h>

#include "crypto/identity.h"
#include "proto/link.h"
#include "proto/receipt.h"
#include "test/bench/people.h"

#define NETWORK "nl"
#define PATIENCE_US (180 * INT64_C(1000000))
#define CONNECT_AT_ONCE 64

struct letter {
	uint8_t *bytes; size_t len;        /* owned */
	enum precedence precedence;
	int64_t sent_us, acked_us, signed_us; /* 0: not yet */
};

struct sender {
	struct person person;
	struct link *link;
	void *socket;
	uint8_t *frame; size_t frame_len;  /* owned: the socket did not take it yet */
	struct letter *letters; size_t count, next; /* letter i has the sequence i + 1 */
	bool is_up;
};

static struct {
	void *zmq;
	uint32_t peer, first, epoch, to;
	const char *address;
	uint8_t key[32];
	struct sender *senders; size_t count;
	zmq_pollitem_t *items;
	size_t up, acked, signed_count;
	int64_t last_ack_us, last_signed_us;
} load;

static int64_t now_ms(void)
{
	return people_us() / 1000;
}

/* ---------------------------------------------------------------- one sender */

static void sender_open(struct sender *sender, uint32_t node)
{
	const struct link_config config = { .self = node, .peer = load.peer, .self_epoch = load.epoch, .profile = link_profile_ip };
	/* It says that it holds every update, or each would be sent the whole directory while something else is measured. */
	const struct link_greeting greeting = { .clock_ms = -1, .directory = UINT32_MAX / 2 };
	int none = 0;

	person_make(node, &sender->person);
	sender->link = link_new(&config);
	sender->socket = zmq_socket(load.zmq, ZMQ_DEALER);
	if (!sender->link || !sender->socket || zmq_setsockopt(sender->socket, ZMQ_LINGER, &none, sizeof(none)) ||
	    zmq_setsockopt(sender->socket, ZMQ_CURVE_SERVERKEY, load.key, 32) ||
	    zmq_setsockopt(sender->socket, ZMQ_CURVE_PUBLICKEY, sender->person.transport_public, 32) ||
	    zmq_setsockopt(sender->socket, ZMQ_CURVE_SECRETKEY, sender->person.transport_secret, 32) ||
	    zmq_connect(sender->socket, load.address))
		people_fail("sender %u: %s; raise the limit on open files", node, zmq_strerror(zmq_errno()));
	link_connected(sender->link, &greeting, now_ms());
}

static void take_receipts(struct sender *sender, struct slice bytes)
{
	static struct receipts receipts;
	struct signed_record record;

	if (signed_record_decode(bytes, LIMIT_ITEM, &record) || receipts_decode(record.signed_bytes, &receipts))
		people_fail("receipts that cannot be read");
	for (size_t i = 0; i < receipts.count; i++) {
		const struct receipt_entry *entry = &receipts.entries[i];
		struct letter *letter;

		if (entry->subject.epoch != load.epoch || !entry->subject.sequence || entry->subject.sequence > sender->count)
			continue;
		if (entry->level != LEVEL_DELIVERED)
			people_fail("message %llu became %s", (unsigned long long)entry->subject.sequence, level_name(entry->level));
		letter = &sender->letters[entry->subject.sequence - 1];
		if (letter->signed_us)
			continue;
		letter->signed_us = load.last_signed_us = people_us();
		load.signed_count++;
	}
}

static void sender_events(struct sender *sender)
{
	struct link_event event;

	while (link_next_event(sender->link, &event)) {
		struct letter *letter = event.ref.id.sequence ? &sender->letters[event.ref.id.sequence - 1] : NULL;

		switch (event.type) {
		case LINK_EVENT_UP:
			load.up += !sender->is_up;
			sender->is_up = true;
			break;
		case LINK_EVENT_ACKED:
			letter->acked_us = load.last_ack_us = people_us();
			load.acked++;
			break;
		case LINK_EVENT_REFUSED:
			people_fail("message %llu of %u was refused: %s", (unsigned long long)event.ref.id.sequence, sender->person.node, reason_name(event.reason));
		case LINK_EVENT_ITEM:
			if (event.item_type == ITEM_TYPE_RECEIPTS)
				take_receipts(sender, event.bytes);
			link_settle(sender->link, event.serial, REFUSED_NONE, 0);
			break;
		default:
			break;
		}
	}
}

/* False: the socket is full. */
static bool send_frame(struct sender *sender, const uint8_t *bytes, size_t len)
{
	if (zmq_send(sender->socket, bytes, len, ZMQ_DONTWAIT) >= 0)
		return true;
	if (zmq_errno() != EAGAIN)
		people_fail("sender %u: %s", sender->person.node, zmq_strerror(zmq_errno()));
	if (!sender->frame && !(sender->frame = malloc(LIMIT_FRAME)))
		people_fail("memory is used up");
	memmove(sender->frame, bytes, len);
	sender->frame_len = len;
	return false;
}

static void sender_flush(struct sender *sender)
{
	static uint8_t frame[LIMIT_FRAME];
	size_t len;

	if (sender->frame_len && !send_frame(sender, sender->frame, sender->frame_len))
		return;
	sender->frame_len = 0;
	while (!link_next_frame(sender->link, frame, &len, now_ms()) && len)
		if (!send_frame(sender, frame, len))
			return;
}

/* Hands over the next letter when the link takes it. */
static bool sender_post(struct sender *sender)
{
	struct letter *letter = &sender->letters[sender->next];
	struct item_ref ref = { .type = ITEM_TYPE_MESSAGE };

	if (sender->next == sender->count || !link_can_send(sender->link, letter->precedence))
		return false;
	ref.precedence = letter->precedence;
	ref.id = (struct message_id){ sender->person.node, load.epoch, sender->next + 1 };
	letter->sent_us = people_us();
	if (link_send(sender->link, &ref, (struct slice){ letter->bytes, letter->len }, now_ms()))
		people_fail("the link did not take a message");
	sender->next++;
	return true;
}

static void sender_receive(struct sender *sender)
{
	static uint8_t frame[LIMIT_FRAME];
	bool is_dead = false;
	int len;

	while ((len = zmq_recv(sender->socket, frame, sizeof(frame), ZMQ_DONTWAIT)) >= 0) {
		enum cpd_error error = link_receive(sender->link, (struct slice){ frame, (size_t)len }, now_ms());

		if (error)
			people_fail("sender %u: a frame from %u: %s", sender->person.node, load.peer, cpd_error_text(error));
		sender_events(sender);
	}
	if (link_deadline(sender->link) <= now_ms())
		link_tick(sender->link, now_ms(), &is_dead);
	if (is_dead)
		people_fail("sender %u hears nothing", sender->person.node);
}

/* ---------------------------------------------------------------- all of them */

static void senders_open(size_t count)
{
	const struct rlimit files = { 20000, 20000 };

	(void)setrlimit(RLIMIT_NOFILE, &files);
	load.zmq = zmq_ctx_new();
	zmq_ctx_set(load.zmq, ZMQ_MAX_SOCKETS, 8000);
	load.senders = calloc(count, sizeof(*load.senders));
	load.items = calloc(count + 1, sizeof(*load.items));
	if (!load.senders || !load.items)
		people_fail("memory is used up");
}

/* One pass: waits at most wait_ms for frames. */
static void senders_turn(long wait_ms, bool posts)
{
	if (zmq_poll(load.items, (int)load.count, wait_ms) < 0 && zmq_errno() != EINTR)
		people_fail("zmq_poll: %s", zmq_strerror(zmq_errno()));
	for (size_t i = 0; i < load.count; i++) {
		struct sender *sender = &load.senders[i];

		sender_receive(sender);
		do
			sender_flush(sender);
		while (posts && !sender->frame_len && sender_post(sender));
		sender_flush(sender);
	}
}

/* Not all at once: the listener's queue is short. */
static void senders_connect(size_t count)
{
	int64_t end_us = people_us() + PATIENCE_US;

	while (load.up < count) {
		while (load.count < count && load.count - load.up < CONNECT_AT_ONCE) {
			struct sender *sender = &load.senders[load.count];

			sender_open(sender, load.first + (uint32_t)load.count);
			load.items[load.count++] = (zmq_pollitem_t){ .socket = sender->socket, .events = ZMQ_POLLIN };
		}
		senders_turn(5, false);
		if (people_us() > end_us)
			people_fail("%zu of %zu links came up", load.up, count);
	}
}

static void letters_make(struct sender *sender, uint32_t node, size_t count, enum precedence precedence, bool in_turn)
{
	sender->letters = calloc(count, sizeof(*sender->letters));
	if (!sender->letters)
		people_fail("memory is used up");
	person_make(node, &sender->person);
	for (; sender->count < count; sender->count++) {
		struct letter *letter = &sender->letters[sender->count];
		const struct message_id id = { node, load.epoch, sender->count + 1 };
		uint8_t bytes[PEOPLE_MESSAGE_MAX];

		letter->precedence = in_turn ? (enum precedence)(sender->count % PRECEDENCE_COUNT) : precedence;
		letter->len = person_message(&sender->person, NETWORK, &id, letter->precedence, load.to, true, bytes);
		letter->bytes = malloc(letter->len);
		if (!letter->bytes)
			people_fail("memory is used up");
		memcpy(letter->bytes, bytes, letter->len);
	}
}

/* ---------------------------------------------------------------- the measures */

static void rate(size_t senders, size_t count, enum precedence precedence)
{
	size_t each = count / senders, total = each * senders;
	int64_t begin_us, end_us;

	senders_open(senders);
	for (size_t i = 0; i < senders; i++)
		letters_make(&load.senders[i], load.first + (uint32_t)i, each, precedence, false);
	senders_connect(senders);
	begin_us = people_us();
	end_us = begin_us + PATIENCE_US;
	while ((load.acked < total || load.signed_count < total) && people_us() < end_us)
		senders_turn(2, true);
	if (load.acked < total || load.signed_count < total)
		people_fail("of %zu messages %zu were acknowledged and %zu signed for", total, load.acked, load.signed_count);
	printf("{\"senders\": %zu, \"messages\": %zu, \"bytes\": %zu, \"acked_per_s\": %.0f, \"signed_per_s\": %.0f}\n", senders, total,
	    load.senders[0].letters[0].len, (double)total * 1e6 / (double)(load.last_ack_us - begin_us), (double)total * 1e6 / (double)(load.last_signed_us - begin_us));
}

static int by_time(const void *a, const void *b)
{
	int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

	return left < right ? -1 : left > right;
}

static double at_ms(int64_t *times, size_t count, double part)
{
	qsort(times, count, sizeof(*times), by_time);
	return count ? (double)times[(size_t)((double)(count - 1) * part)] / 1000 : -1;
}

static void tell_latency(const struct sender *sender, enum precedence precedence)
{
	int64_t *acked = calloc(sender->count + 1, sizeof(*acked)), *answered = calloc(sender->count + 1, sizeof(*answered));
	size_t ack_count = 0, answer_count = 0;

	if (!acked || !answered)
		people_fail("memory is used up");
	for (size_t i = 0; i < sender->count; i++) {
		const struct letter *letter = &sender->letters[i];

		if (letter->precedence != precedence)
			continue;
		if (letter->acked_us)
			acked[ack_count++] = letter->acked_us - letter->sent_us;
		if (letter->signed_us)
			answered[answer_count++] = letter->signed_us - letter->sent_us;
	}
	printf("%s\"%s\": {\"acked\": %zu, \"ack_p50_ms\": %.2f, \"ack_p99_ms\": %.2f, \"signed\": %zu, \"signed_p50_ms\": %.2f, \"signed_p99_ms\": %.2f}",
	    precedence ? ", " : "{", precedence_name(precedence), ack_count, at_ms(acked, ack_count, 0.5), at_ms(acked, ack_count, 0.99),
	    answer_count, at_ms(answered, answer_count, 0.5), at_ms(answered, answer_count, 0.99));
	free(acked);
	free(answered);
}

/* ROUTINE behind a backlog is not waited for: it is the backlog. */
static bool is_answered(const struct sender *sender, bool with_routine)
{
	for (size_t i = 0; i < sender->count; i++)
		if (!sender->letters[i].acked_us || (!sender->letters[i].signed_us && (with_routine || sender->letters[i].precedence)))
			return false;
	return true;
}

static void latency(size_t count, int64_t gap_us)
{
	struct sender *sender;
	int64_t begin_us, end_us, rest_us;

	senders_open(1);
	sender = &load.senders[0];
	letters_make(sender, load.first, count * PRECEDENCE_COUNT, PRECEDENCE_ROUTINE, true);
	senders_connect(1);
	begin_us = people_us();
	while (sender->next < sender->count) {
		bool is_due = people_us() >= begin_us + (int64_t)sender->next * gap_us;

		if (is_due && sender_post(sender))
			sender_flush(sender);
		senders_turn(1, false);
		if (people_us() > begin_us + PATIENCE_US)
			people_fail("the link takes no more");
	}
	end_us = people_us() + PATIENCE_US / 6;
	rest_us = people_us() + PATIENCE_US / 36;
	while (people_us() < end_us && !is_answered(sender, people_us() < rest_us))
		senders_turn(1, false);
	if (!is_answered(sender, false))
		people_fail("not every message was signed for");
	for (int precedence = 0; precedence < PRECEDENCE_COUNT; precedence++)
		tell_latency(sender, (enum precedence)precedence);
	puts("}");
}

static void links(size_t count)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };

	senders_open(count);
	senders_connect(count);
	printf("{\"up\": %zu}\n", load.up);
	fflush(stdout);
	while (poll(&input, 1, 500) == 0)
		senders_turn(0, false);
}

static bool parse_key(const char *hex)
{
	unsigned byte;

	for (size_t i = 0; i < 32; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return false;
		load.key[i] = (uint8_t)byte;
	}
	return strlen(hex) == 64;
}

static void tell_key(const char *folder)
{
	uint8_t public_key[32], secret_key[32];
	struct identity *identity;

	if (identity_load(folder, &identity, NULL))
		people_fail("%s", crypto_problem());
	identity_transport_keys(identity, public_key, secret_key);
	crypto_wipe(secret_key, sizeof(secret_key));
	identity_free(identity);
	printf("{\"key\": \"");
	for (size_t i = 0; i < sizeof(public_key); i++)
		printf("%02x", public_key[i]);
	puts("\"}");
}

static uint32_t number(const char *text)
{
	return (uint32_t)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
	enum precedence precedence;

	if (crypto_start())
		people_fail("libsodium cannot start");
	if (argc == 7 && !strcmp(argv[1], "certify")) {
		printf("{\"updates\": %u}\n", people_certify(argv[2], argv[3], number(argv[4]), number(argv[5]), number(argv[6])));
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "key")) {
		tell_key(argv[2]);
		return 0;
	}
	if (argc < 8 || !parse_key(argv[4]))
		people_fail("wrong words; see the head of test/bench/load.c");
	load.peer = number(argv[2]);
	load.address = argv[3];
	load.first = number(argv[5]);
	load.epoch = number(argv[6]);
	load.to = number(argv[7]);
	if (argc == 11 && !strcmp(argv[1], "rate") && number(argv[8]) > 0 && precedence_parse(argv[10], &precedence))
		rate(number(argv[8]), number(argv[9]), precedence);
	else if (argc == 10 && !strcmp(argv[1], "latency"))
		latency(number(argv[8]), number(argv[9]) * INT64_C(1000));
	else if (argc == 8 && !strcmp(argv[1], "links"))
		links(number(argv[7]));
	else
		people_fail("wrong words; see the head of test/bench/load.c");
	return 0;
}
