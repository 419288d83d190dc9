/* node_gather.c: what arrives, its verification beside the loop, and the lists of what is ready to be decided. */
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "daemon/log.h"
#include "daemon/node_internal.h"

void work_list_init(struct work_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

void work_list_add(struct work_list *list, struct work *work)
{
	work->next = NULL;
	*list->last = work;
	list->last = &work->next;
}

struct work *work_list_take(struct work_list *list)
{
	struct work *work = list->first;

	if (!work)
		return NULL;
	list->first = work->next;
	if (!list->first)
		list->last = &list->first;
	work->next = NULL;
	return work;
}

struct work *work_new(enum work_type type)
{
	struct work *work = calloc(1, sizeof(*work));

	if (!work)
		return NULL;
	work->type = type;
	trailer_init(&work->trailer);
	return work;
}

void work_free(struct work *work)
{
	if (!work)
		return;
	verify_result_free(work->result);
	trailer_clear(&work->trailer);
	free(work->bytes);
	free(work->rows);
	free(work->own);
	if (work->request) {
		free((void *)(uintptr_t)work->request->body.data);
		crypto_wipe(work->request->sealed, sizeof(work->request->sealed));
		free(work->request);
	}
	free(work->remark);
	free(work->verified);
	free(work->held);
	free(work);
}

void work_push(struct node *node, struct work *work)
{
	work_list_add(work->is_urgent ? &node->urgent : &node->ordinary, work);
	node_wake(node);
}

struct work *work_pop(struct node *node)
{
	struct work *work = work_list_take(&node->urgent);
	struct node_link *link;

	if (!work)
		work = work_list_take(&node->ordinary);
	link = work && work->type == WORK_PRESENCE && !work->is_courier ? links_find(node, work->link) : NULL;
	if (link && link->presences)
		link->presences--;
	return work;
}

bool work_is_ready(const struct node *node)
{
	return node->urgent.first || node->ordinary.first;
}

/* False: no place now. Any other failure makes the work ready with its error. */
static bool work_submit(struct node *node, struct work *work)
{
	const uint64_t context[VERIFY_CONTEXT] = { 0 };
	enum cpd_error error = verify_pool_submit(node->pool, work->kind, work->verify, work->precedence, context);

	if (error == CPD_ERR_BUSY)
		return false;
	if (error) {
		work->error = error;
		work_push(node, work);
		return true;
	}
	work_list_add(work->precedence == PRECEDENCE_FLASH ? &node->checking_urgent : &node->checking, work);
	/* The pool has its own copy. */
	free(work->bytes);
	work->bytes = NULL;
	work->len = 0;
	return true;
}

void work_verify(struct node *node, struct work *work)
{
	struct work_list *waiting = work->precedence == PRECEDENCE_FLASH ? &node->waiting_urgent : &node->waiting;

	work->is_urgent = work->precedence == PRECEDENCE_FLASH;
	if (waiting->first || !work_submit(node, work))
		work_list_add(waiting, work);
}

static void waiting_submit(struct node *node, struct work_list *waiting)
{
	while (waiting->first) {
		struct work *work = work_list_take(waiting);

		if (work_submit(node, work))
			continue;
		work->next = waiting->first;
		if (!waiting->first)
			waiting->last = &work->next;
		waiting->first = work;
		return;
	}
}

/* Results come in the order of submission, FLASH apart, so the first one under way is meant. */
static void verified(void *context, struct verify_result *take_result)
{
	struct node *node = context;
	struct work *work = work_list_take(take_result->precedence == PRECEDENCE_FLASH ? &node->checking_urgent : &node->checking);

	if (!work) {
		verify_result_free(take_result);
		return;
	}
	work->result = take_result;
	work->error = take_result->error;
	work_push(node, work);
	waiting_submit(node, &node->waiting_urgent);
	waiting_submit(node, &node->waiting);
}

enum cpd_error gather_start(struct node *node, char problem[256])
{
	enum cpd_error error = verify_pool_new(node->base, node->directory, identity_anchor(node->identity), 0, verified, node, &node->pool);

	if (error)
		snprintf(problem, 256, "the verification threads cannot start: %s; free memory or raise TasksMax", cpd_error_text(error));
	return error;
}

static void list_drop(struct work_list *list)
{
	struct work *work;

	while ((work = work_list_take(list)))
		work_answer(work, CPD_ERR_STATE, "the daemon is stopping; ask again when it is back", NULL, false);
}

void gather_stop(struct node *node)
{
	verify_pool_free(node->pool);
	node->pool = NULL;
	list_drop(&node->checking_urgent);
	list_drop(&node->checking);
	list_drop(&node->waiting_urgent);
	list_drop(&node->waiting);
	list_drop(&node->urgent);
	list_drop(&node->ordinary);
	list_drop(&node->idle);
	list_drop(&node->reissues);
	list_drop(&node->decided);
}

static void list_drop_links(struct work_list *list)
{
	struct work_list kept;
	struct work *work;

	work_list_init(&kept);
	while ((work = work_list_take(list))) {
		/* What a person asked stays; questions of the old relay, and what links brought, come again. */
		if (work->type == WORK_AUTHOR || work->type == WORK_OPERATE || work->type == WORK_DRAFT || work->type == WORK_UNSEAL || work->type == WORK_RESEAL || (work->type == WORK_DIRECTORY && !work->link))
			work_list_add(&kept, work);
		else
			work_free(work);
	}
	work_list_init(list);
	while ((work = work_list_take(&kept)))
		work_list_add(list, work);
}

void gather_drop_links(struct node *node)
{
	list_drop_links(&node->urgent);
	list_drop_links(&node->ordinary);
	list_drop_links(&node->waiting_urgent);
	list_drop_links(&node->waiting);
	for (size_t i = 0; i < node->link_count; i++)
		node->links[i]->presences = 0;
	/* Those in the pool carry their circuit: they are dropped when they come back. */
}

static struct work *work_of_link(struct node *node, const struct node_link *link, enum work_type type, struct slice bytes)
{
	struct work *work = work_new(type);

	if (!work)
		goto fail;
	work->link = link->neighbour;
	work->circuit = link->circuit;
	work->bytes = malloc(bytes.len ? bytes.len : 1);
	if (!work->bytes)
		goto fail;
	if (bytes.len)
		memcpy(work->bytes, bytes.data, bytes.len);
	work->len = bytes.len;
	work->verify = (struct slice){ work->bytes, work->len };
	return work;
fail:
	work_free(work);
	log_limited(LOG_ERR, "memory", link->neighbour, node_ms(node), "link=%u what=item cure=\"it is sent again\"", link->neighbour);
	return NULL;
}

void gather_item(struct node *node, struct node_link *link, const struct link_event *event)
{
	struct work *work = work_of_link(node, link, WORK_ITEM, event->bytes);

	if (!work)
		return;
	work->serial = event->serial;
	work->item_type = event->item_type;
	work->precedence = event->precedence;
	work->is_urgent = event->precedence == PRECEDENCE_FLASH;
	switch (event->item_type) {
	case ITEM_TYPE_MESSAGE:
		work->kind = VERIFY_MESSAGE;
		work->error = message_item_decode((struct slice){ work->bytes, work->len }, &work->verify, &work->trailer);
		break;
	case ITEM_TYPE_RECEIPTS:
		work->kind = VERIFY_RECEIPTS;
		break;
	case ITEM_TYPE_DIRECTORY:
		work->type = WORK_DIRECTORY;
		work->kind = VERIFY_DIRECTORY;
		break;
	case ITEM_TYPE_LEAF:            /* checked against the root of its message, when it is decided */
		work_push(node, work);
		return;
	default:
		work->error = CPD_ERR_MALFORMED;
		break;
	}
	if (work->error)
		work_push(node, work);
	else
		work_verify(node, work);
}

void gather_presence(struct node *node, uint32_t neighbour, const struct link_event *event)
{
	struct node_link *link = links_find(node, neighbour);
	struct work *work;

	/* No credit holds them back, and each costs a verification: what comes faster than that is let go; the
	 * next word of the same node says more. */
	if (link->presences >= NODE_PRESENCES) {
		log_limited(LOG_WARNING, "presence-flood", neighbour, node_ms(node), "link=%u", neighbour);
		return;
	}
	work = work_of_link(node, link, WORK_PRESENCE, event->bytes);
	if (!work)
		return;
	link->presences++;
	work->kind = VERIFY_PRESENCE;
	work->precedence = PRECEDENCE_ROUTINE;
	work->event.presence_age_s = event->age_s;
	work_verify(node, work);
}

void gather_event(struct node *node, const struct relay_event *event)
{
	struct work *work = work_new(WORK_EVENT);

	if (!work) {
		/* An acknowledgement that is forgotten would leave its item under way for ever. */
		node_rebuild(node, "memory is used up");
		return;
	}
	work->event = *event;
	work->link = event->link;
	/* Acknowledgements and sessions first: they free space and windows. */
	work->is_urgent = event->type == RELAY_LINK_UP || event->type == RELAY_LINK_DOWN;
	if (event->held.len) {
		work->bytes = malloc(event->held.len);
		if (!work->bytes) {
			work_free(work);
			node_rebuild(node, "memory is used up");
			return;
		}
		memcpy(work->bytes, event->held.data, event->held.len);
		work->event.held = (struct slice){ work->bytes, event->held.len };
	}
	work_push(node, work);
}
