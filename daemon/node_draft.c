/*
 * node_draft.c: see node_draft.h.
 *
 * A draft is an own message like any other but that it is held from the first: its id and bytes are fixed, its row of the store has the
 * node's signature, and people's signatures are added there. So it outlives a restart, is withdrawn and runs out like any other. No
 * node would take it before, if it left all the same (PROTOCOL.md section 4.7).
 */
#include "daemon/node_draft.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"
#include "proto/kind.h"

/* The envelope as the turns before this one leave it; *bytes is the caller's, and leads the message. */
static enum cpd_error draft_load(struct node *node, const struct message_id *id, uint8_t **bytes, struct message *out)
{
	struct store_key key = store_key_id(id);
	const struct pending *pending = pending_find(node, TABLE_ENVELOPES, &key);
	enum cpd_error error = CPD_OK;
	size_t len = 0;

	*bytes = NULL;
	if (pending && pending->is_delete)
		return CPD_ERR_NOT_FOUND;
	if (pending) {
		len = pending->len;
		*bytes = malloc(len + 1);
		if (!*bytes)
			return CPD_ERR_NOMEM;
		memcpy(*bytes, pending->bytes, len);
	} else {
		error = node_load(node, TABLE_ENVELOPES, &key, bytes, &len);
	}
	if (!error)
		error = message_decode((struct slice){ *bytes, len }, out);
	if (error) {
		free(*bytes);
		*bytes = NULL;
	}
	return error;
}

static size_t missing_of(const struct message *message)
{
	const struct kind *kind = kind_find(message->header.kind);

	return kind && kind->releases > message->release_count ? kind->releases - message->release_count : 0;
}

bool draft_waits(struct node *node, const struct message_id *id)
{
	struct message message;
	uint8_t *bytes;
	bool waits;

	if (id->origin != node->self || draft_load(node, id, &bytes, &message))
		return false;
	waits = missing_of(&message) > 0;
	free(bytes);
	return waits;
}

static const char *why_not(enum cpd_error error)
{
	switch (error) {
	case CPD_ERR_UNKNOWN_SIGNER:
		return "no certificate of that function is held here: import the region's newest directory update";
	case CPD_ERR_BAD_SIGNATURE:
		return "the signature is not of that function's key over this message";
	case CPD_ERR_REVOKED:
		return "that function is revoked";
	case CPD_ERR_ROLE:
		return "that person may not release it: of another node, run out, or the one who signed it already; two people must";
	default:
		return NULL;
	}
}

/* With the new signature beside those that are there; buf holds LIMIT_ENVELOPE. */
static enum cpd_error draft_add(struct node *node, const struct message *message, const struct message_release *release, uint8_t *buf, size_t *len,
    size_t *missing)
{
	const char *network = identity_anchor(node->identity)->network;
	struct message_release releases[LIMIT_RELEASES];
	struct verified_message *verified;
	enum cpd_error error = verify_release(node->directory, network, &message->header, message->signed_bytes, release);

	if (error)
		return error;
	memcpy(releases, message->releases, sizeof(releases));
	releases[message->release_count] = *release;
	error = message_encode_released(message->signed_bytes, node->self, message->signatures, message->signature_count, releases,
	    message->release_count + 1, buf, len);
	verified = error ? NULL : calloc(1, sizeof(*verified));
	if (!error)
		error = verified ? verify_draft(node->directory, network, (struct slice){ buf, *len }, missing, verified) : CPD_ERR_NOMEM;
	free(verified);
	return error;
}

static enum cpd_error draft_sign(struct node *node, struct turn *turn, struct work *work, const struct message *message, const struct moment *now,
    const char **why)
{
	struct store_key key = store_key_id(&work->event.id);
	uint8_t *buf = malloc(LIMIT_ENVELOPE);
	char id[MESSAGE_ID_TEXT_MAX];
	size_t len = 0, missing = 0;
	enum cpd_error error = buf ? draft_add(node, message, &work->release, buf, &len, &missing) : CPD_ERR_NOMEM;

	if (error)
		*why = why_not(error);
	if (!error)
		error = turn_put(turn, TABLE_ENVELOPES, &key, (struct slice){ buf, len });
	if (!error)
		error = pending_add(turn, TABLE_ENVELOPES, &key, false, (struct slice){ buf, len });
	free(buf);
	if (!error && !missing) {
		work->event.type = RELAY_OPERATE;
		work->event.act = ACT_RELEASE;
		error = turn_event(node, &work->event, now);
	}
	if (!error)
		log_line(LOG_NOTICE, "signed-by-person", "msg=%s function=%u missing=%zu", message_id_format(&work->event.id, id), work->release.function, missing);
	return error;
}

static enum cpd_error draft_take(struct node *node, struct turn *turn, struct work *work, const struct moment *now, const char **why)
{
	struct message message;
	struct custody custody;
	uint8_t *bytes = NULL;
	enum cpd_error error;

	*why = NULL;
	if (node_is_fenced(node)) {
		*why = FENCED_WHY;
		return CPD_ERR_STATE;
	}
	error = work->event.id.origin == node->self ? draft_load(node, &work->event.id, &bytes, &message) : CPD_ERR_NOT_FOUND;
	if (error) {
		*why = error == CPD_ERR_NOT_FOUND ? "no message of this node with that id is held here" : NULL;
		return error;
	}
	if (!missing_of(&message)) {
		*why = "nobody needs to sign it any more";
		error = CPD_ERR_STATE;
	} else if (!node_load_custody(node, &work->event.id, &custody)) {
		if (custody.flags & (CUSTODY_IS_CLOSED | CUSTODY_IS_WITHDRAWN | CUSTODY_IS_EXPIRED | CUSTODY_IS_SUPERSEDED)) {
			*why = "it was withdrawn or replaced, or its time is over";
			error = CPD_ERR_STATE;
		}
		custody_clear(&custody);
	}
	if (!error)
		error = draft_sign(node, turn, work, &message, now, why);
	free(bytes);
	return error;
}

enum cpd_error draft_decide(struct node *node, struct turn *turn, struct work *work, const struct moment *now)
{
	const char *why;
	enum cpd_error error = draft_take(node, turn, work, now, &why);

	if (!error)
		return author_answer_later(turn, work, &work->event.id, false);
	work_tell(work, error, why, NULL, false);
	return error == CPD_ERR_NOMEM || error == CPD_ERR_IO ? error : CPD_OK;
}

void node_sign(struct node *node, const struct message_id *id, const struct message_release *release, node_done *done, void *context)
{
	struct work *work = work_new(WORK_DRAFT);

	if (!work) {
		done(context, CPD_ERR_NOMEM, "memory is used up; try again");
		return;
	}
	work->event.id = *id;
	work->release = *release;
	work->done = done;
	work->context = context;
	work_push(node, work);
}
