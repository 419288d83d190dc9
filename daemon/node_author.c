/*
 * node_author.c: what people here write and do. An answer leaves after the commit, never before.
 *
 * The same idempotency key gives the same message: from the store, or from a turn still on its way to
 * the disk. An authored message goes through verify_message like any other: nothing else may make a
 * struct verified_message, and a key that the region does not know is told here, not by a neighbour.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_draft.h"
#include "daemon/node_internal.h"
#include "daemon/node_seal.h"
#include "proto/kind.h"

/* Above it a body would not fit in one transaction with its message. */
#define AUTHOR_BODY_MAX (1024 * 1024)

void work_tell(struct work *work, enum cpd_error error, const char *why, const struct message_id *id, bool existing)
{
	static const struct message_id none;
	node_authored *authored = work->authored;
	node_done *done = work->done;

	work->authored = NULL;
	work->done = NULL;
	if (authored)
		authored(work->context, error, why ? why : cpd_error_text(error), id ? id : &none, existing);
	else if (done)
		done(work->context, error, why ? why : cpd_error_text(error));
}

void work_answer(struct work *work, enum cpd_error error, const char *why, const struct message_id *id, bool existing)
{
	work_tell(work, error, why, id, existing);
	work_free(work);
}

/* ---------------------------------------------------------------- the header */

static enum cpd_error check_nodes(const struct node *node, const struct author_request *request, const char **why)
{
	for (size_t i = 0; i < request->node_count; i++) {
		const struct certificate *certificate = directory_certificate(node->directory, request->nodes[i]);

		if (!certificate) {
			*why = "an addressee is not in the directory; look at its number, or import the newest directory";
			return CPD_ERR_NOT_FOUND;
		}
	}
	return CPD_OK;
}

static enum cpd_error header_groups(const struct node *node, const struct author_request *request, struct header *header, const char **why)
{
	for (size_t i = 0; i < request->group_count; i++) {
		const struct group *group = directory_group(node->directory, request->groups[i], 0);

		if (!group) {
			*why = "a group is not in the directory; look at its number, or import the newest directory";
			return CPD_ERR_UNKNOWN_GROUP;
		}
		header->groups[header->group_count++] = (struct group_ref){ group->number, group->version };
	}
	return CPD_OK;
}

/* What is held here under that id is what is meant. Where nothing is, the id alone has to do. */
static enum cpd_error header_supersedes(struct node *node, const struct message_id *old, struct header *header)
{
	struct custody custody;
	enum cpd_error error;

	header->supersedes = *old;
	if (!old->sequence || old->origin != node->self)
		return CPD_OK;                           /* none; or somebody else's, which it stops nowhere */
	error = node_load_custody(node, old, &custody);
	if (!error) {
		header->supersedes_hash = custody.hash;
		header->has_supersedes_hash = true;
	}
	custody_clear(&custody);
	return error == CPD_ERR_NOMEM || error == CPD_ERR_IO ? error : CPD_OK;
}

static enum cpd_error header_fill(struct node *node, const struct author_request *request, const struct moment *now,
    struct header *header, const char **why)
{
	const struct kind *kind = kind_find(request->kind);
	const struct certificate *own = directory_certificate_key(node->directory, node->self, identity_key_number(node->identity));
	uint32_t *recipients;
	size_t count;
	enum cpd_error error;

	memset(header, 0, sizeof(*header));
	*why = NULL;
	if (!kind || request->node_count > LIMIT_DESTINATION_NODES || request->group_count > LIMIT_DESTINATION_GROUPS) {
		*why = kind ? "there are too many addressees; use a group" : "this version does not know that kind";
		return CPD_ERR_USAGE;
	}
	if (!own || directory_revocation(node->directory, node->self, own->key_number)) {
		*why = own ? "this node's key is revoked; ask the region's administrator" : "this node's own certificate is not in the directory; import it";
		return own ? CPD_ERR_REVOKED : CPD_ERR_UNKNOWN_SIGNER;
	}
	/* What it replaces would stop now, on the word of one, while this waits for two. */
	if (kind->releases && request->supersedes.sequence) {
		*why = "what waits for the signatures of persons cannot replace another message; send it without, and withdraw the old one when it is released";
		return CPD_ERR_USAGE;
	}
	header->id = (struct message_id){ node->self, node->epoch, relay_next_sequence(node->relay) };
	header->kind = request->kind;
	header->precedence = request->has_precedence ? request->precedence : kind->precedence;
	header->mode = request->mode;
	header->clock_quality = now->quality;
	header->entry_mode = request->entry_mode;
	header->closing_level = request->closing_level ? request->closing_level : kind->closing_level;
	header->created_s = now->wall_ms > 0 ? (uint32_t)(now->wall_ms / 1000) : 0;
	header->lifetime_s = request->lifetime_s ? request->lifetime_s : kind->lifetime_s;
	header->in_reply_to = request->in_reply_to;
	header->incident = request->incident;
	header->author = (struct slice){ (const uint8_t *)request->author, strlen(request->author) };
	header->node_count = request->node_count;
	memcpy(header->nodes, request->nodes, request->node_count * sizeof(header->nodes[0]));
	error = header_supersedes(node, &request->supersedes, header);
	if (!error)
		error = check_nodes(node, request, why);
	if (!error)
		error = header_groups(node, request, header, why);
	if (error)
		return error;
	if (!turn_admits(node, header->precedence, request->body.len)) {
		*why = "the store is too full for this precedence; wait until messages have left, or raise limit_mib";
		return CPD_ERR_FULL;
	}
	recipients = calloc(LIMIT_RECIPIENTS, sizeof(*recipients));
	if (!recipients)
		return CPD_ERR_NOMEM;
	error = directory_recipients(node->directory, header, recipients, &count);
	for (size_t i = 0; !error && i < count; i++)
		if (recipients[i] != node->self && !directory_may_address(node->directory, header->kind, recipients[i])) {
			*why = "an addressee, or a member of a group, has a role that this kind is not for; docs/PROTOCOL.md section 8.1 has the table";
			error = CPD_ERR_ROLE;
		}
	free(recipients);
	if (!error && !count) {
		*why = "it has no addressee";
		error = CPD_ERR_USAGE;
	}
	return error;
}

enum cpd_error author_seal(struct node *node, const struct header *header, uint8_t *buf, size_t *len)
{
	uint8_t *signed_bytes = malloc(LIMIT_ENVELOPE);
	struct message_signature signature = { .signer = node->self, .key_number = identity_key_number(node->identity) };
	size_t signed_len;
	enum cpd_error error = signed_bytes ? message_encode_signed(header, signed_bytes, &signed_len) : CPD_ERR_NOMEM;

	if (!error)
		error = sign_bytes(node->identity, SIGN_MESSAGE, (struct slice){ signed_bytes, signed_len }, signature.bytes);
	if (!error)
		error = message_encode_envelope((struct slice){ signed_bytes, signed_len }, node->self, &signature, 1, buf, len);
	free(signed_bytes);
	return error;
}

/* ---------------------------------------------------------------- large bodies */

/* The leaves into the turn's transaction, the root into the header, a full bitmap for the relay. */
enum cpd_error author_large_body(struct turn *turn, const struct slice body, struct header *header, struct work *work)
{
	struct tree *tree = NULL;
	uint32_t leaves = tree_leaf_count((uint32_t)body.len);
	enum cpd_error error = tree_of_body(body, crypto_digest, &tree);

	header->large_length = (uint32_t)body.len;
	if (!error)
		error = tree_root(tree, header->large_root);
	tree_free(tree);
	for (uint32_t i = 0; !error && i < leaves; i++) {
		struct store_key key = store_key_leaf(&header->id, i);

		error = turn_put(turn, TABLE_LEAVES, &key, (struct slice){ body.data + (size_t)i * LIMIT_LEAF, tree_leaf_length(header->large_length, i) });
		if (!error)
			error = pending_add(turn, TABLE_LEAVES, &key, false, (struct slice){ NULL, 0 });
	}
	work->held = error ? NULL : calloc(1, (leaves + 7) / 8);
	if (!work->held)
		return error ? error : CPD_ERR_NOMEM;
	for (uint32_t i = 0; i < leaves; i++)
		work->held[i / 8] |= (uint8_t)(1u << (i % 8));
	work->event.held = (struct slice){ work->held, (leaves + 7) / 8 };
	return CPD_OK;
}

/* ---------------------------------------------------------------- authoring */

bool author_key_is_known(struct node *node, struct slice bytes, struct message_id *id)
{
	struct store_key key = store_key_bytes(bytes);
	const struct pending *pending = pending_find(node, TABLE_AUTHORED, &key);
	uint8_t *value;
	size_t len;
	bool is_known;

	if (pending)
		return !store_value_read_id((struct slice){ pending->bytes, pending->len }, id);
	if (node_load(node, TABLE_AUTHORED, &key, &value, &len))
		return false;
	is_known = !store_value_read_id((struct slice){ value, len }, id);
	free(value);
	return is_known;
}

enum cpd_error author_key_put(struct turn *turn, struct slice bytes, const struct message_id *id)
{
	struct store_key key = store_key_bytes(bytes);
	struct store_value value = store_value_id(id);
	enum cpd_error error = turn_put(turn, TABLE_AUTHORED, &key, (struct slice){ value.bytes, value.len });

	return error ? error : pending_add(turn, TABLE_AUTHORED, &key, false, (struct slice){ value.bytes, value.len });
}

enum cpd_error author_answer_later(struct turn *turn, struct work *work, const struct message_id *id, bool existing)
{
	struct after *after = after_add(turn, AFTER_ANSWER);

	if (!after)
		return CPD_ERR_NOMEM;
	after->work = work;
	after->id = *id;
	after->is_existing = existing;
	work->is_kept = true;
	return CPD_OK;
}

enum cpd_error author_enter(struct node *node, struct work *work, const struct header *header, const struct moment *now)
{
	size_t missing = 0;
	enum cpd_error error;

	work->bytes = malloc(LIMIT_ENVELOPE);
	work->verified = calloc(1, sizeof(*work->verified));
	if (!work->bytes || !work->verified)
		return CPD_ERR_NOMEM;
	error = author_seal(node, header, work->bytes, &work->len);
	if (!error)
		error = verify_draft(node->directory, identity_anchor(node->identity)->network, (struct slice){ work->bytes, work->len }, &missing, work->verified);
	if (error)
		return error;
	work->event.is_draft = missing > 0;
	work->event.type = RELAY_MESSAGE;
	work->event.message = work->verified;
	work->event.store_admits = true;
	error = turn_event(node, &work->event, now);
	if (!error && relay_next_sequence(node->relay) == header->id.sequence)
		error = CPD_ERR_STATE;
	return error;
}

static enum cpd_error author(struct node *node, struct turn *turn, struct work *work, const struct moment *now, const char **why)
{
	const struct author_request *request = work->request;
	const struct slice key = { request->key, request->key_len };
	struct seal_room *room = NULL;
	struct header header;
	struct message_id id;
	enum cpd_error error;

	*why = NULL;
	if (key.len && author_key_is_known(node, key, &id))
		return author_answer_later(turn, work, &id, true);
	if (node_is_fenced(node)) {
		*why = FENCED_WHY;
		return CPD_ERR_STATE;
	}
	error = header_fill(node, request, now, &header, why);
	if (!error && request->body.len > LIMIT_BODY)
		error = author_large_body(turn, request->body, &header, work);
	else
		header.body = request->body;
	if (!error && request->sealed_count)
		error = seal_request(node, request, &header, &room, why);
	if (!error)
		error = author_enter(node, work, &header, now);
	error = seal_keep(node, turn, &header, room, error, now);
	if (!error && key.len)
		error = author_key_put(turn, key, &header.id);
	return error ? error : author_answer_later(turn, work, &header.id, false);
}

enum cpd_error author_decide(struct node *node, struct turn *turn, struct work *work, const struct moment *now)
{
	const char *why;
	enum cpd_error error = work->error ? work->error : author(node, turn, work, now, &why);

	if (!error)
		return CPD_OK;
	if (work->error)
		why = error == CPD_ERR_TOO_LARGE ? "the body is larger than one message can carry (1 MiB)" : "memory is used up; try again";
	log_line(LOG_NOTICE, "author-refused", "kind=%u error=\"%s\"", work->request ? work->request->kind : 0, cpd_error_text(error));
	work_tell(work, error, why, NULL, false);
	/* What stopped half-way may have left its parts in the turn: those that must not stay undo the turn. */
	return error == CPD_ERR_NOMEM || error == CPD_ERR_IO ? error : CPD_OK;
}

void node_author(struct node *node, const struct author_request *request, node_authored *done, void *context)
{
	struct work *work = work_new(WORK_AUTHOR);
	uint8_t *body;

	if (!work || !(work->request = malloc(sizeof(*work->request)))) {
		work_free(work);
		done(context, CPD_ERR_NOMEM, "memory is used up; try again", &(struct message_id){ 0 }, false);
		return;
	}
	*work->request = *request;
	work->request->body = (struct slice){ NULL, 0 };
	work->authored = done;
	work->context = context;
	work->is_urgent = request->has_precedence && request->precedence == PRECEDENCE_FLASH;
	work->error = request->body.len > AUTHOR_BODY_MAX || request->key_len > sizeof(request->key) ? CPD_ERR_TOO_LARGE : CPD_OK;
	body = work->error ? NULL : malloc(request->body.len + 1);
	if (!body && !work->error)
		work->error = CPD_ERR_NOMEM;
	if (body) {
		if (request->body.len)
			memcpy(body, request->body.data, request->body.len);
		work->request->body = (struct slice){ body, request->body.len };
	}
	work_push(node, work);
}

/* ---------------------------------------------------------------- a person's acts */

enum cpd_error operate_decide(struct node *node, struct turn *turn, struct work *work, const struct moment *now)
{
	const bool is_missing = work->event.act == ACT_RELEASE && draft_waits(node, &work->event.id);
	enum cpd_error error = node_is_fenced(node) || is_missing ? CPD_ERR_STATE : turn_event(node, &work->event, now);
	const char *why = node_is_fenced(node) ? FENCED_WHY : is_missing ? "people must sign it first: cpctl sign" : error == CPD_ERR_NOT_FOUND ? "this node does not hold that message"
	    : error == CPD_ERR_STATE ? "the message is in a state in which that cannot be done" : NULL;

	if (!error)
		return author_answer_later(turn, work, &work->event.id, false);
	work_tell(work, error, why, NULL, false);
	return error == CPD_ERR_NOMEM || error == CPD_ERR_IO ? error : CPD_OK;
}

void node_operate(struct node *node, const struct message_id *id, enum relay_act act, enum cpd_reason reason,
    const char *remark, node_done *done, void *context)
{
	struct work *work = work_new(WORK_OPERATE);

	if (work && remark)
		work->remark = strdup(remark);
	if (!work || (remark && !work->remark)) {
		work_free(work);
		done(context, CPD_ERR_NOMEM, "memory is used up; try again");
		return;
	}
	work->event.type = RELAY_OPERATE;
	work->event.id = *id;
	work->event.act = act;
	work->event.reason = reason;
	work->event.remark = work->remark;
	work->done = done;
	work->context = context;
	work_push(node, work);
}
