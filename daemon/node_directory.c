/*
 * node_directory.c: who is who, kept equal among neighbours by version; who may call; introductions.
 *
 * An update is applied only when it is on disk, so that the directory in memory is never ahead of the
 * store, and its acknowledgement leaves after that.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"
#include "daemon/node_seal.h"

/* ---------------------------------------------------------------- taking an update in */

static enum cpd_error may_take(const struct node *node, const struct work *work, const struct directory_update *update)
{
	if (work->is_introduction && (update->certificate_count != 1 || update->revocation_count || update->group_count || update->function_count))
		return CPD_ERR_ROLE;
	if (directory_holds(node->directory, update->number))
		return CPD_ERR_EXISTS;
	if (update->number > directory_version(node->directory) + LIMIT_DIRECTORY_AHEAD)
		return CPD_ERR_BUSY;
	return CPD_OK;
}

static void refuse(struct node *node, struct turn *turn, struct work *work, enum cpd_error error)
{
	struct node_link *link = work->item_type ? links_find(node, work->link) : NULL;

	if (error != CPD_ERR_EXISTS)
		log_limited(LOG_WARNING, "directory-refused", work->link, node_ms(node), "link=%u error=\"%s\"", work->link, cpd_error_text(error));
	if (link)
		link_settle(link->link, work->serial, error == CPD_ERR_EXISTS ? REFUSED_NONE : reason_of_error(error), turn->number);
	work_tell(work, error, error == CPD_ERR_EXISTS ? "that update is held already"
	    : error == CPD_ERR_BUSY ? "earlier updates are missing; import them first"
	    : "the update is not one that this region's authority has signed", NULL, false);
}

enum cpd_error directory_decide(struct node *node, struct turn *turn, struct work *work)
{
	struct node_link *link = work->item_type ? links_find(node, work->link) : NULL;
	struct after *after;
	struct store_key key;
	enum cpd_error error = work->error;

	if (!error)
		error = may_take(node, work, &work->result->directory);
	if (error) {
		refuse(node, turn, work, error);
		return CPD_OK;
	}
	after = after_add(turn, AFTER_DIRECTORY);
	if (!after)
		return CPD_ERR_NOMEM;
	after->work = work;
	work->is_kept = true;
	key = store_key_number(work->result->directory.number);
	error = turn_put(turn, TABLE_DIRECTORY, &key, work->result->bytes);
	if (!error && link)
		link_settle(link->link, work->serial, REFUSED_NONE, turn->number);
	return error;
}

void directory_committed(struct node *node, struct work *work)
{
	struct directory_update *update = &work->result->directory;
	const uint32_t number = update->number;
	const bool has_certificates = update->certificate_count > 0;
	struct relay_event event = { .type = RELAY_DIRECTORY };
	enum cpd_error error;

	verify_pool_lock_directory(node->pool);
	error = directory_apply(node->directory, update);
	verify_pool_unlock_directory(node->pool);
	if (error && error != CPD_ERR_EXISTS) {
		log_line(LOG_ERR, "directory-not-applied", "number=%u error=\"%s\"", update->number, cpd_error_text(error));
		work_answer(work, error, "the update is stored but could not be applied; restart cpd", NULL, false);
		return;
	}
	log_line(LOG_INFO, "directory-applied", "number=%u version=%u certificates=%zu revocations=%zu groups=%zu", update->number,
	    directory_version(node->directory), update->certificate_count, update->revocation_count, update->group_count);
	work_answer(work, CPD_OK, NULL, NULL, error == CPD_ERR_EXISTS);
	for (size_t i = 0; i < node->link_count; i++) {
		link_directory_changed(node->links[i]->link, directory_version(node->directory));
		if (node->links[i]->revoking_sent >= number)
			node->links[i]->revoking_sent = number - 1;     /* it filled a gap that later ones had passed */
	}
	bearer_zmq_roster_changed(node->bearer);
	directory_calls(node);
	gather_event(node, &event);
	if (has_certificates)
		reseal_soon(node);
}

/* ---------------------------------------------------------------- passing it on */

/*
 * What goes next at this precedence; 0: nothing. A revocation goes as FLASH, before all that is numbered below it and
 * whatever is missing here below it: it must wait neither behind reports nor for a gap. Only where the neighbour could
 * not hold it yet do the ones below it go first, as FLASH too.
 */
static uint32_t update_next(const struct node *node, struct node_link *link, enum precedence precedence)
{
	const uint32_t revoking = directory_revoking(node->directory, link->revoking_sent);
	struct link_figures figures;

	link_figures(link->link, &figures);
	if (revoking && revoking <= figures.peer_directory + LIMIT_DIRECTORY_AHEAD && precedence == PRECEDENCE_FLASH)
		return revoking;
	if (precedence == PRECEDENCE_FLASH && !revoking)
		return 0;
	/* Those that went ahead. */
	while (link->directory_next <= link->revoking_sent &&
	    directory_revoking(node->directory, link->directory_next - 1) == link->directory_next)
		link->directory_next++;
	return link->directory_next <= directory_version(node->directory) ? link->directory_next : 0;
}

static void update_sent(const struct node *node, struct node_link *link, uint32_t number)
{
	if (number == link->directory_next)
		link->directory_next++;
	if (number > link->revoking_sent && directory_revoking(node->directory, link->revoking_sent) == number)
		link->revoking_sent = number;
}

bool directory_send(struct node *node, struct node_link *link, enum precedence precedence)
{
	struct item_ref ref = { .type = ITEM_TYPE_DIRECTORY, .precedence = precedence };
	struct store_key key;
	uint32_t number;
	uint8_t *value;
	size_t len;
	enum cpd_error error;

	if (!link->directory_next || !link_can_send(link->link, precedence))
		return false;
	number = update_next(node, link, precedence);
	if (!number)
		return false;
	key = store_key_number(number);
	if (node_load(node, TABLE_DIRECTORY, &key, &value, &len)) {
		log_limited(LOG_ERR, "directory-missing", link->neighbour, node_ms(node), "number=%u cure=\"import that update again\"", number);
		update_sent(node, link, number);
		return false;
	}
	ref.id.sequence = number;
	error = link_send(link->link, &ref, (struct slice){ value, len }, node_ms(node));
	free(value);
	if (error)
		return false;
	update_sent(node, link, number);
	return true;
}

void directory_peer_holds(struct node_link *link, uint32_t version, bool is_hello)
{
	if (is_hello || version + 1 > link->directory_next)
		link->directory_next = version + 1;
	if (is_hello || version > link->revoking_sent)
		link->revoking_sent = version;
}

void directory_returned(struct node_link *link, const struct item_ref *ref)
{
	if (ref->id.sequence < link->directory_next)
		link->directory_next = (uint32_t)ref->id.sequence;
	if (ref->id.sequence <= link->revoking_sent)
		link->revoking_sent = (uint32_t)ref->id.sequence - 1;
}

/* ---------------------------------------------------------------- who may call, whom we call */

static bool is_listed(const struct node *node, uint32_t number)
{
	for (size_t i = 0; i < node->config->link_count; i++)
		if (node->config->links[i].node == number)
			return true;
	return false;
}

uint32_t directory_roster(void *context, const uint8_t transport_key[32])
{
	const struct node *node = context;
	const struct certificate *certificate = directory_by_transport_key(node->directory, transport_key);

	if (node_is_fenced(node))
		return UINT32_MAX;
	/* Who was cut off is no stranger: it would sit in the few places of those who come to introduce themselves. */
	if (!certificate)
		return directory_transport_key_is_revoked(node->directory, transport_key) ? UINT32_MAX : 0;
	if (certificate->node == node->self)
		return UINT32_MAX;
	if (!is_listed(node, certificate->node) && !node->config->accept_any_certified)
		return UINT32_MAX;
	return certificate->node;
}

void directory_calls(struct node *node)
{
	for (size_t i = 0; i < node->link_count; i++) {
		struct node_link *link = node->links[i];
		const struct certificate *certificate = directory_certificate(node->directory, link->neighbour);

		if (!link->config || !link->config->address[0])
			continue;
		if (node_is_fenced(node)) {
			if (link->is_called)
				bearer_zmq_stop_calling(node->bearer, link->neighbour);
			link->is_called = false;
			continue;
		}
		if (certificate && directory_revocation(node->directory, link->neighbour, certificate->key_number))
			certificate = NULL;
		if (link->is_called && (!certificate || memcmp(link->called_key, certificate->transport_key, 32))) {
			bearer_zmq_stop_calling(node->bearer, link->neighbour);
			link->is_called = false;
		}
		if (!certificate) {
			snprintf(link->problem, sizeof(link->problem), "no valid certificate of it is held: import the region's directory");
			continue;
		}
		if (link->is_called)
			continue;
		if (bearer_zmq_call(node->bearer, link->neighbour, link->config->address, certificate->transport_key)) {
			snprintf(link->problem, sizeof(link->problem), "calling it failed; look at its address");
			log_line(LOG_ERR, "call-failed", "link=%u address=%s cure=\"write tcp://ADDRESS:PORT with a numeric address\"",
			    link->neighbour, link->config->address);
			continue;
		}
		link->is_called = true;
		memcpy(link->called_key, certificate->transport_key, 32);
	}
}

/* ---------------------------------------------------------------- introductions */

/* A neighbour that keeps silent after our hello may not hold our certificate: it is told, once a session. */
void directory_introduce(struct node *node, struct node_link *link)
{
	const struct certificate *certificate = directory_certificate(node->directory, node->self);
	struct frame frame = { .has = FRAME_INTRODUCTION };
	struct store_key key;
	uint8_t *value;
	size_t len, frame_len;

	link->introduce_at_ms = INT64_MAX;
	if (!certificate || !link->session_count || link_is_up(link->link))
		return;
	key = store_key_number(certificate->update);
	if (node_load(node, TABLE_DIRECTORY, &key, &value, &len))
		return;
	frame.introduction = (struct slice){ value, len };
	if (len <= LIMIT_CERTIFICATE && !frame_encode(&frame, node->frame, &frame_len) &&
	    !bearer_zmq_send(node->bearer, link->sessions[0].number, (struct slice){ node->frame, frame_len }))
		log_limited(LOG_INFO, "introduced", link->neighbour, node_ms(node), "link=%u", link->neighbour);
	free(value);
}

void directory_stranger(struct node *node, uint64_t session, struct slice bytes)
{
	int64_t now_ms = node_ms(node);
	struct frame frame;
	struct work *work = NULL;

	/* A newcomer says hello first, as to anyone; that needs no answer. */
	if (!frame_decode(bytes, &frame) && frame.has == FRAME_HELLO)
		return;
	/* One a second for all strangers together: each costs a verification. */
	if (frame.has == FRAME_INTRODUCTION && frame.introduction.len <= LIMIT_CERTIFICATE && now_ms - node->stranger_ms >= 1000)
		work = work_new(WORK_DIRECTORY);
	if (work) {
		node->stranger_ms = now_ms;
		work->kind = VERIFY_DIRECTORY;
		work->is_introduction = true;
		work->bytes = malloc(frame.introduction.len);
		if (work->bytes) {
			memcpy(work->bytes, frame.introduction.data, frame.introduction.len);
			work->len = frame.introduction.len;
			work->verify = (struct slice){ work->bytes, work->len };
			work_verify(node, work);
		} else {
			work_free(work);
		}
	}
	bearer_zmq_end(node->bearer, session, work ? "introduction taken" : "nothing but an introduction is taken here");
}

/* ---------------------------------------------------------------- by hand */

void node_import_directory(struct node *node, struct slice record, node_done *done, void *context)
{
	struct work *work = work_new(WORK_DIRECTORY);

	if (!work || record.len > LIMIT_ITEM || !(work->bytes = malloc(record.len + 1))) {
		/* The answer may not come from inside this call: the work carries the error to the next turn. */
		if (work) {
			work->done = done;
			work->context = context;
			work->error = record.len > LIMIT_ITEM ? CPD_ERR_TOO_LARGE : CPD_ERR_NOMEM;
			work_push(node, work);
		} else {
			done(context, CPD_ERR_NOMEM, "memory is used up");
		}
		return;
	}
	memcpy(work->bytes, record.data, record.len);
	work->len = record.len;
	work->verify = (struct slice){ work->bytes, work->len };
	work->kind = VERIFY_DIRECTORY;
	work->precedence = PRECEDENCE_FLASH;
	work->done = done;
	work->context = context;
	work_verify(node, work);
}
