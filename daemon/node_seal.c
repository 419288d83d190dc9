/*
 * node_seal.c: see node_seal.h.
 *
 * What is inside a sealed part is in memory only between the API and the seal, or between the opening and the answer; it is wiped
 * there, and never in a log, the journal or the store.
 */
#include "daemon/node_seal.h"
#include "daemon/node_vault.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/seal.h"
#include "daemon/log.h"
#include "proto/kind.h"
#include "proto/receipt.h"

/* Contact is for all who are asked to help; what concerns someone's health for meldkamer and GHOR. */
static bool is_meant_for(uint32_t audience, const struct certificate *certificate)
{
	const struct role *role = role_find(certificate->role);

	return audience == AUDIENCE_ID_CONTACT || (role && role->reads_care);
}

static int number_order(const void *a, const void *b)
{
	const uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;

	return (one > other) - (one < other);
}

/* Keeps those, with their newest keys; what nobody may use any more is no key. */
static enum cpd_error certificates_of(struct node *node, uint32_t audience, const uint32_t *numbers, size_t count,
    const struct certificate **readers, size_t *reader_count)
{
	*reader_count = 0;
	for (size_t i = 0; i < count; i++) {
		const struct certificate *certificate = directory_certificate(node->directory, numbers[i]);

		if (i && numbers[i] == numbers[i - 1])
			continue;
		if (!certificate || directory_revocation(node->directory, certificate->node, certificate->key_number))
			continue;
		if (certificate->node == node->self || !is_meant_for(audience, certificate))
			continue;
		if (*reader_count == LIMIT_SEALED_READERS)
			return CPD_ERR_TOO_LARGE;
		readers[(*reader_count)++] = certificate;
	}
	return CPD_OK;
}

/* The addressees that the audience is for, and the escalation chain; ascending. Not this node: it keeps the content key itself, where it
 * can be erased. */
static enum cpd_error readers_of(struct node *node, const struct header *header, uint32_t audience, const struct certificate **readers,
    size_t *reader_count)
{
	uint32_t *numbers = calloc(LIMIT_RECIPIENTS + CONFIG_ESCALATION, sizeof(*numbers));
	size_t count = 0;
	enum cpd_error error;

	*reader_count = 0;
	if (!numbers)
		return CPD_ERR_NOMEM;
	error = directory_recipients(node->directory, header, numbers, &count);
	for (size_t i = 0; i < CONFIG_ESCALATION && node->config->escalation[i]; i++)
		numbers[count++] = node->config->escalation[i];
	qsort(numbers, count, sizeof(*numbers), number_order);
	if (!error)
		error = certificates_of(node, audience, numbers, count, readers, reader_count);
	free(numbers);
	return error;
}

static enum cpd_error seal_into(struct node *node, struct header *header, struct seal_room *room, uint32_t audience,
    const struct certificate *const *readers, size_t reader_count, struct slice content)
{
	uint8_t *buf = room->bytes[header->sealed_count];
	size_t len;
	enum cpd_error error = seal_part(header, identity_anchor(node->identity)->network, audience, readers, reader_count, content,
	    room->keys + 32 * header->sealed_count, buf, &len);

	if (!error)
		header->sealed[header->sealed_count++] = (struct slice){ buf, len };
	return error;
}

enum cpd_error seal_request(struct node *node, const struct author_request *request, struct header *header, struct seal_room **room, const char **why)
{
	const struct certificate *readers[LIMIT_SEALED_READERS];
	enum cpd_error error = CPD_OK;
	size_t count;

	*room = malloc(sizeof(**room));
	if (!*room)
		return CPD_ERR_NOMEM;
	header->confidentiality = CONFIDENTIALITY_PERSONAL;
	for (size_t i = 0; !error && i < request->sealed_count; i++) {
		const struct author_sealed *part = &request->sealed[i];

		error = readers_of(node, header, part->audience, readers, &count);
		if (error == CPD_ERR_TOO_LARGE)
			*why = "the personal part would be for more than 64 nodes; address the CP or the meldkamer that is to act";
		if (!error && !count) {
			*why = part->audience == AUDIENCE_ID_CARE ? "nobody could open what concerns care (address, equipment, health): it is for a desk (meldkamer, GHOR); "
			    "address one, name one in [sealing] escalation, or leave these fields out" : "nobody could open the personal part: no addressee has a key that is valid";
			error = CPD_ERR_NOT_FOUND;
		}
		if (!error)
			error = seal_into(node, header, *room, part->audience, readers, count, (struct slice){ part->content, part->len });
	}
	return error;
}

/* ---------------------------------------------------------------- opening */

/* Of what was written here: with the content key that was kept. */
static enum cpd_error own_key(struct node *node, const struct header *header, size_t i, uint8_t key[32])
{
	uint8_t keys[LIMIT_SEALED_PARTS * 32];
	size_t count;
	enum cpd_error error = record_get_keys(node, &header->id, keys, &count);

	if (!error && i >= count)
		error = CPD_ERR_NOT_FOUND;
	if (!error)
		memcpy(key, keys + 32 * i, 32);
	crypto_wipe(keys, sizeof(keys));
	return error;
}

static enum unsealed_state state_of(const struct node *node, const struct sealed_part *part)
{
	const size_t place = sealed_part_reader(part, node->self);

	if (place == part->reader_count)
		return UNSEALED_OTHERS;
	return part->readers[place].key_number == identity_key_number(node->identity) ? UNSEALED_OPEN : UNSEALED_OLD_KEY;
}

void node_sealed_part(struct node *node, const struct header *header, size_t i, struct unsealed *out)
{
	const bool is_own = header->id.origin == node->self;
	struct sealed_part part;
	uint8_t key[32];

	out->len = 0;
	out->state = UNSEALED_DAMAGED;
	out->audience = 0;
	if (sealed_part_decode(header->sealed[i], &part))
		return;
	out->audience = part.audience;
	if (is_own)
		out->state = own_key(node, header, i, key) ? UNSEALED_ERASED : UNSEALED_OPEN;
	else
		out->state = state_of(node, &part);
	if (out->state == UNSEALED_OPEN && out->content && ((!is_own && seal_open_key(node->identity, header, &part, key)) ||
	    seal_open_content(header, identity_anchor(node->identity)->network, &part, key, out->content, &out->len)))
		out->state = UNSEALED_DAMAGED;
	crypto_wipe(key, sizeof(key));
}

static enum cpd_error load_message(struct node *node, const struct message_id *id, struct message *message, uint8_t **bytes)
{
	const struct store_key key = store_key_id(id);
	size_t len;
	enum cpd_error error = node_load(node, TABLE_ENVELOPES, &key, bytes, &len);

	if (error) {
		*bytes = NULL;
		return error;
	}
	error = message_decode((struct slice){ *bytes, len }, message);
	if (error) {
		free(*bytes);
		*bytes = NULL;
	}
	return error;
}

static bool is_readable_here(struct node *node, const struct header *header)
{
	for (size_t i = 0; i < header->sealed_count; i++) {
		struct unsealed part = { .content = NULL };

		node_sealed_part(node, header, i, &part);
		if (part.state == UNSEALED_OPEN || part.state == UNSEALED_OLD_KEY)
			return true;
	}
	return false;
}

enum cpd_error unseal_decide(struct node *node, struct turn *turn, struct work *work, const struct moment *now)
{
	struct relay_effect effect = { .type = EFFECT_JOURNAL, .what = JOURNAL_UNSEALED, .id = work->event.id, .node = node->self };
	const char *why = "this node does not hold that message";
	struct message message;
	uint8_t *bytes;
	enum cpd_error error = load_message(node, &work->event.id, &message, &bytes);

	if (!error && !is_readable_here(node, &message.header)) {
		error = CPD_ERR_NOT_FOUND;
		why = message.header.sealed_count ? "what is sealed in it is not for this point" : "nothing is sealed in that message";
	}
	if (!error) {
		effect.precedence = message.header.precedence;
		error = journal_put(node, turn, &effect, now);
		if (!error)
			error = author_answer_later(turn, work, &work->event.id, false);
		free(bytes);
		return error;
	}
	free(bytes);
	work_tell(work, error, why, NULL, false);
	return error == CPD_ERR_NOMEM || error == CPD_ERR_IO ? error : CPD_OK;
}

void node_unseal(struct node *node, const struct message_id *id, node_done *done, void *context)
{
	struct work *work = work_new(WORK_UNSEAL);

	if (!work) {
		done(context, CPD_ERR_NOMEM, "memory is used up; try again");
		return;
	}
	work->event.id = *id;
	work->done = done;
	work->context = context;
	work_push(node, work);
}

/* ---------------------------------------------------------------- sealing again */

enum cpd_error seal_keep(struct node *node, struct turn *turn, const struct header *header, struct seal_room *take_room, enum cpd_error error,
    const struct moment *now)
{
	if (!take_room)
		return error;
	if (!error && header->sealed_count)
		error = record_put_keys(node, turn, &header->id, take_room->keys, header->sealed_count, now);
	crypto_wipe(take_room->keys, sizeof(take_room->keys));
	free(take_room);
	return error;
}

/* Those that a part was for, with the keys that they have now. */
static enum cpd_error same_readers(struct node *node, const struct sealed_part *part, const struct certificate **readers, size_t *count)
{
	uint32_t numbers[LIMIT_SEALED_READERS];

	for (size_t i = 0; i < part->reader_count; i++)
		numbers[i] = part->readers[i].node;
	return certificates_of(node, AUDIENCE_ID_CONTACT, numbers, part->reader_count, readers, count);
}

enum cpd_error seal_again(struct node *node, const struct header *old, struct header *header, struct seal_room **room)
{
	const struct certificate *readers[LIMIT_SEALED_READERS];
	uint8_t content[LIMIT_SEALED_CONTENT + SEALED_BLOCK];
	char id[MESSAGE_ID_TEXT_MAX];
	enum cpd_error error = CPD_OK;

	header->sealed_count = 0;
	*room = old->sealed_count ? malloc(sizeof(**room)) : NULL;
	if (!*room)
		return old->sealed_count ? CPD_ERR_NOMEM : CPD_OK;
	for (size_t i = 0; !error && i < old->sealed_count; i++) {
		struct unsealed opened = { .content = content };
		struct sealed_part part;
		size_t count;

		node_sealed_part(node, old, i, &opened);
		if (opened.state != UNSEALED_OPEN) {
			log_line(LOG_ERR, "not-sealed-again", "msg=%s part=%zu cure=\"tell the addressees what stood in its personal part\"", message_id_format(&old->id, id), i);
			continue;
		}
		error = sealed_part_decode(old->sealed[i], &part);
		if (!error)
			error = same_readers(node, &part, readers, &count);
		if (!error)
			error = seal_into(node, header, *room, opened.audience, readers, count, (struct slice){ content, opened.len });
	}
	crypto_wipe(content, sizeof(content));
	return error;
}

/* ---------------------------------------------------------------- a reader with a new key */

/* The first reader whose newest key is newer than the one it was sealed for, and who did not get it yet; NULL: none. *once: what says so. */
#define ONCE_LEN 26
static const struct certificate *newer_reader(struct node *node, const struct header *header, uint8_t once[ONCE_LEN])
{
	const struct store_key key = store_key_id(&header->id);
	const struct kind *kind = kind_find(header->kind);
	struct message_id known;
	struct sealed_part part;

	/* No caller's key begins with a zero. */
	once[0] = 0;
	once[1] = 'K';
	memcpy(once + 2, key.bytes, 16);
	for (size_t i = 0; i < header->sealed_count; i++) {
		if (sealed_part_decode(header->sealed[i], &part))
			continue;
		for (size_t r = 0; r < part.reader_count; r++) {
			const struct certificate *newest = directory_certificate(node->directory, part.readers[r].node);

			if (!newest || newest->key_number <= part.readers[r].key_number || directory_revocation(node->directory, newest->node, newest->key_number) ||
			    (kind && !(kind->to_roles & ROLE_BIT(newest->role))))
				continue;
			memcpy(once + 18, store_key_number(newest->node).bytes, 4);
			memcpy(once + 22, store_key_number(newest->key_number).bytes, 4);
			if (!author_key_is_known(node, (struct slice){ once, ONCE_LEN }, &known))
				return newest;
		}
	}
	return NULL;
}

/* The parts that were for that reader, for its new key. */
static enum cpd_error seal_for(struct node *node, const struct header *old, struct header *header, struct seal_room *room, const struct certificate *reader)
{
	uint8_t content[LIMIT_SEALED_CONTENT + SEALED_BLOCK];
	enum cpd_error error = CPD_OK;

	for (size_t i = 0; !error && i < old->sealed_count; i++) {
		struct unsealed opened = { .content = content };
		struct sealed_part part;

		if (sealed_part_decode(old->sealed[i], &part) || sealed_part_reader(&part, reader->node) == part.reader_count)
			continue;
		node_sealed_part(node, old, i, &opened);
		if (opened.state == UNSEALED_OPEN)
			error = seal_into(node, header, room, opened.audience, &reader, 1, (struct slice){ content, opened.len });
	}
	crypto_wipe(content, sizeof(content));
	return error;
}

static enum cpd_error serve_again(struct node *node, struct turn *turn, struct work *work, const struct header *old, const struct certificate *reader,
    struct slice once, const struct moment *now)
{
	char first[MESSAGE_ID_TEXT_MAX], again[MESSAGE_ID_TEXT_MAX];
	struct seal_room *room = malloc(sizeof(*room));
	struct header header = *old;
	enum cpd_error error = room ? CPD_OK : CPD_ERR_NOMEM;

	header.id = (struct message_id){ node->self, node->epoch, relay_next_sequence(node->relay) };
	header.in_reply_to = old->id;
	header.supersedes = (struct message_id){ 0, 0, 0 };
	header.has_supersedes_hash = false;
	header.nodes[0] = reader->node;
	header.node_count = 1;
	header.group_count = 0;
	header.closing_level = LEVEL_DELIVERED;
	header.sealed_count = 0;
	if (!error)
		error = seal_for(node, old, &header, room, reader);
	if (!error && !header.sealed_count)
		error = CPD_ERR_NOT_FOUND;      /* its content keys were erased */
	if (!error)
		error = author_enter(node, work, &header, now);
	error = seal_keep(node, turn, &header, room, error, now);
	if (!error)
		error = author_key_put(turn, once, &header.id);
	message_id_format(&old->id, first);
	if (error)
		log_line(LOG_WARNING, "not-sealed-again", "msg=%s node=%u error=\"%s\" cure=\"tell that node what stood in its personal part\"", first, reader->node, cpd_error_text(error));
	else
		log_line(LOG_NOTICE, "sealed-again", "msg=%s as=%s node=%u key=%u", first, message_id_format(&header.id, again), reader->node, reader->key_number);
	return error;
}

/* Held, and not ended by its author. */
static bool is_retained(struct node *node, const struct message_id *id)
{
	struct custody custody;
	bool is = !node_load_custody(node, id, &custody) && (custody.flags & CUSTODY_IS_ORIGIN) &&
	    !(custody.flags & (CUSTODY_IS_EXPIRED | CUSTODY_IS_WITHDRAWN | CUSTODY_IS_SUPERSEDED | CUSTODY_IS_FINAL));

	custody_clear(&custody);
	return is;
}

enum cpd_error reseal_decide(struct node *node, struct turn *turn, struct work *work, const struct moment *now)
{
	struct message_id id = { 0, 0, 0 };
	enum cpd_error error = CPD_OK;

	while (!error && !node_is_fenced(node) && !record_next_keys(node, &id, &id)) {
		const struct certificate *reader = NULL;
		uint8_t once[ONCE_LEN], *bytes = NULL;
		struct message message;

		if (!is_retained(node, &id) || load_message(node, &id, &message, &bytes))
			continue;
		/* One that was itself made so: the first one stands for it. */
		if (message.header.in_reply_to.origin != node->self)
			reader = newer_reader(node, &message.header, once);
		if (reader && turn_admits(node, message.header.precedence, message.header.body.len)) {
			error = serve_again(node, turn, work, &message.header, reader, (struct slice){ once, ONCE_LEN }, now);
			free(bytes);
			if (error == CPD_ERR_NOT_FOUND) {
				error = CPD_OK;
				continue;
			}
			/* One at a time: this work is its message's. */
			if (!error)
				reseal_soon(node);
			return error == CPD_ERR_NOMEM || error == CPD_ERR_IO ? error : CPD_OK;
		}
		free(bytes);
	}
	return CPD_OK;
}

void reseal_soon(struct node *node)
{
	struct work *work = work_new(WORK_RESEAL);

	if (work)
		work_push(node, work);
	else
		log_line(LOG_WARNING, "memory", "what=reseal cure=\"it is done at the next start\"");
}
