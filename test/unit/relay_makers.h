/*
 * relay_makers.h: boxes, and what comes to them: messages, receipts, presence, answers of neighbours.
 */
#ifndef CPD_TEST_RELAY_MAKERS_H
#define CPD_TEST_RELAY_MAKERS_H

#include "test/unit/relay_acts.h"
#include "test/unit/relay_view.h"

#define KIND_STATUS 1
#define KIND_CALL 3              /* closes at DONE */
#define KIND_TEXT 6              /* closes at DELIVERED; three days */

static inline void link_is(struct box *box, uint32_t link, bool is_up)
{
	struct relay_event event = { .type = is_up ? RELAY_LINK_UP : RELAY_LINK_DOWN, .link = link };

	assert_int_equal(play(box, &event), CPD_OK);
}

/* The relay of `box->config` over what is stored, its links up. */
static inline void box_start(struct box *box, const struct relay_counters *counters)
{
	static const uint32_t links[] = { CP_A, CP_B, NSP_A, NSP_B };

	box->relay = NULL;
	box->relay = relay_new(&box->config, counters, &box->now);
	assert_non_null(box->relay);
	box->question_count = 0;
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		assert_int_equal(relay_add_link(box->relay, links[i]), CPD_OK);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		link_is(box, links[i], true);
	pump(box);
}

static inline struct box *box_open(void)
{
	static const struct relay_route routes[] = { { "9", { CP_A, CP_B }, 2 } };
	static const struct relay_counters counters = { 0 };
	struct box *box = calloc(1, sizeof(*box));

	assert_non_null(box);
	hungry_opened = box;
	hungry_after = relay_without_memory;
	relay_config_init(&box->config);
	box->config.self = SELF;
	box->config.epoch = SELF_EPOCH;
	box->config.directory = box->directory = directory_new();
	box->config.routes = routes;
	box->config.route_count = 1;
	box->config.presence_ms = 24 * HOUR_MS;
	box->config.passes_presence_to_nsps = true;
	box->store_admits = true;
	box->now = (struct moment){ 1000000, INT64_C(28000000000), CLOCK_GNSS };
	assert_non_null(box->directory);
	box_start(box, &counters);
	return box;
}

/* The process ends and starts again over what is stored. */
static inline void box_restart(struct box *box)
{
	struct relay_counters counters = *relay_counters(box->relay);

	relay_free(box->relay);
	box_start(box, &counters);
}

static inline void box_close(struct box *box)
{
	relay_free(box->relay);
	directory_free(box->directory);
	while (box->custody_count)
		{
		struct message_id id = box->custody[0]->id;
		box_custody_delete(box, &id);
	}
	while (box->made_count)
		free(box->made[--box->made_count]);
	free(box);
}

/* ---------------------------------------------------------------- messages */

static inline struct header header_of(message_kind kind, uint32_t origin, uint64_t sequence, uint32_t destination)
{
	static uint8_t text[16], status[64], call[64];
	static size_t text_len, status_len, call_len;
	struct header header = { .id = { origin, 1, sequence }, .kind = kind, .nodes = { destination }, .node_count = 1,
		.precedence = kind == KIND_CALL ? PRECEDENCE_FLASH : PRECEDENCE_ROUTINE,
		.closing_level = kind == KIND_CALL ? LEVEL_DONE : LEVEL_DELIVERED,
		.clock_quality = CLOCK_GNSS, .created_s = 28000000, .lifetime_s = kind == KIND_STATUS ? 3600 : 3 * 24 * 3600 };

	if (!text_len) {
		Cpd__Text body = CPD__TEXT__INIT;
		Cpd__NspStatus state = CPD__NSP_STATUS__INIT;
		Cpd__EmergencyCall emergency = CPD__EMERGENCY_CALL__INIT;

		body.text = (char[]){ "hallo" };
		text_len = cpd__text__pack(&body, text);
		state.phase = CPD__PHASE__OPEN;
		state.persons = 7;
		state.power = CPD__POWER__BATTERY;
		state.safety = CPD__COLOUR__GREEN;
		status_len = cpd__nsp_status__pack(&state, status);
		emergency.number = 1;
		emergency.services = 4;
		emergency.nature = CPD__NATURE__MEDICAL;
		emergency.location = (char[]){ "Dorpsstraat 1" };
		call_len = cpd__emergency_call__pack(&emergency, call);
	}
	header.body = kind == KIND_STATUS ? (struct slice){ status, status_len } : kind == KIND_CALL ? (struct slice){ call, call_len } : (struct slice){ text, text_len };
	return header;
}

struct made_message { uint8_t bytes[LIMIT_ENVELOPE]; struct verified_message verified; };

static inline const struct verified_message *make_message(struct box *box, const struct header *header)
{
	uint8_t buf[LIMIT_ENVELOPE];
	struct made_message *made;
	size_t len;

	assert_int_equal(cheap_sign_message(header, buf, &len), CPD_OK);
	made = box_alloc(box, sizeof(*made));
	memcpy(made->bytes, buf, len);
	assert_int_equal(make_verified_message((struct slice){ made->bytes, len }, &made->verified), CPD_OK);
	return &made->verified;
}

/* A message from `link` that came from its origin through it. */
static inline int arrive_with(struct box *box, uint32_t link, const struct header *header, const struct trailer *trailer)
{
	struct relay_event event = { .type = RELAY_MESSAGE, .link = link, .serial = ++box->serial, .message = make_message(box, header),
		.trailer = trailer, .store_admits = box->store_admits };

	assert_int_equal(play(box, &event), CPD_OK);
	return settled(box, event.serial);
}

static inline struct trailer trailer_by(uint32_t link, uint32_t retry)
{
	struct trailer trailer;

	trailer_init(&trailer);
	trailer.hop_limit = 8;
	trailer.retry = retry;
	trailer.trace[0].node = link;
	trailer.trace_count = 1;
	return trailer;
}

static inline int arrive(struct box *box, uint32_t link, const struct header *header, uint32_t retry)
{
	struct trailer trailer = trailer_by(link, retry);

	return arrive_with(box, link, header, &trailer);
}

/* Authored here; its id is filled in. */
static inline void author(struct box *box, struct header *header)
{
	header->id = (struct message_id){ SELF, box->config.epoch, relay_next_sequence(box->relay) };
	header->created_s = (uint32_t)(box->now.wall_ms / 1000);
	arrive_with(box, 0, header, NULL);
}

static inline struct message_id authored_text(struct box *box, uint32_t destination)
{
	struct header header = header_of(KIND_TEXT, SELF, 1, destination);

	author(box, &header);
	return header.id;
}

/* ---------------------------------------------------------------- what neighbours tell */

struct told { uint32_t link, witness, epoch; uint64_t counter; enum level level; enum cpd_reason reason; bool is_suspect; };

static inline int receipt(struct box *box, const struct header *subject, struct told told)
{
	struct receipts receipts = { .witness = told.witness, .epoch = told.epoch, .counter = told.counter, .count = 1,
		.origin = subject->id.origin };
	struct relay_event event = { .type = RELAY_RECEIPTS, .link = told.link, .serial = ++box->serial, .precedence = subject->precedence };

	receipts.entries[0] = (struct receipt_entry){ .subject = subject->id, .hash = make_message(box, subject)->hash,
		.level = told.level, .reason = told.reason };
	event.receipts = make_receipts(box, &receipts);
	((struct verified_receipts *)(uintptr_t)event.receipts)->is_suspect = told.is_suspect;
	assert_int_equal(play(box, &event), CPD_OK);
	return settled(box, event.serial);
}

static inline void answer_of(struct box *box, enum relay_event_type type, uint32_t link, struct item_ref ref, enum cpd_reason reason)
{
	struct relay_event event = { .type = type, .link = link, .ref = ref, .reason = reason };

	assert_int_equal(play(box, &event), CPD_OK);
}

static inline void heard(struct box *box, uint32_t link, const struct presence *presence)
{
	struct { uint8_t bytes[LIMIT_PRESENCE + 128]; struct verified_presence verified; } *made = box_alloc(box, sizeof(*made));
	struct relay_event event = { .type = RELAY_HEARD, .link = link, .presence = &made->verified };
	uint8_t bytes[LIMIT_PRESENCE];
	size_t len;

	assert_int_equal(presence_encode(presence, bytes, sizeof(bytes), &len), CPD_OK);
	assert_int_equal(cheap_sign_record((struct slice){ bytes, len }, presence->node, made->bytes, sizeof(made->bytes), &len), CPD_OK);
	assert_int_equal(make_verified_presence((struct slice){ made->bytes, len }, &made->verified), CPD_OK);
	assert_int_equal(play(box, &event), CPD_OK);
}

static inline enum cpd_error operate(struct box *box, const struct message_id *id, enum relay_act act)
{
	struct relay_event event = { .type = RELAY_OPERATE, .id = *id, .act = act };

	return play(box, &event);
}

/* The neighbour takes the next item; what it was. */
static inline struct item_ref passed(struct box *box, uint32_t link)
{
	struct item_ref ref = taken(box, link);

	answer_of(box, RELAY_ACKED, link, ref, REFUSED_NONE);
	return ref;
}

#endif
