/* quota.c: see quota.h. */
#include "daemon/relay/quota.h"

#include <stdlib.h>

#include "daemon/relay/map.h"
#include "proto/limits.h"

/* One regained takes `ms`. */
struct rate { int64_t most, ms; };
/* Counted in thousandths of a second of refilling, so that no remainder is lost. */
struct allowance { int64_t used_ms, at_ms; };
struct quota { struct allowance left[QUOTA_KINDS]; };
struct quotas { struct rate rates[QUOTA_KINDS]; struct map nodes; };

struct quotas *quotas_new(int64_t bytes)
{
	struct quotas *quotas = calloc(1, sizeof(*quotas));
	const int64_t kib = bytes / 1024 > 0 ? bytes / 1024 : 1;

	if (!quotas)
		return NULL;
	quotas->rates[QUOTA_MESSAGES] = (struct rate){ LIMIT_QUOTA_MESSAGES, LIMIT_QUOTA_MESSAGE_MS };
	quotas->rates[QUOTA_KIB] = (struct rate){ kib, LIMIT_QUOTA_BYTES_MS / kib + 1 };
	quotas->rates[QUOTA_PRIORITY] = (struct rate){ LIMIT_QUOTA_PRIORITY, LIMIT_QUOTA_PRIORITY_MS };
	quotas->rates[QUOTA_IMMEDIATE] = (struct rate){ LIMIT_QUOTA_IMMEDIATE, LIMIT_QUOTA_IMMEDIATE_MS };
	quotas->rates[QUOTA_FLASH] = (struct rate){ LIMIT_QUOTA_FLASH, LIMIT_QUOTA_FLASH_MS };
	quotas->rates[QUOTA_OFFERS] = (struct rate){ LIMIT_QUOTA_OFFERS, LIMIT_QUOTA_OFFER_MS };
	quotas->rates[QUOTA_FOREKNOWN] = (struct rate){ LIMIT_QUOTA_FOREKNOWN, LIMIT_QUOTA_FOREKNOWN_MS };
	quotas->rates[QUOTA_CONFLICTS] = (struct rate){ LIMIT_QUOTA_CONFLICTS, LIMIT_QUOTA_CONFLICT_MS };
	quotas->rates[QUOTA_EPOCHS] = (struct rate){ LIMIT_QUOTA_EPOCHS, LIMIT_QUOTA_EPOCH_MS };
	quotas->rates[QUOTA_ANSWERS] = (struct rate){ LIMIT_QUOTA_ANSWERS, LIMIT_QUOTA_ANSWER_MS };
	return quotas;
}

void quotas_free(struct quotas *quotas)
{
	size_t at = 0;
	void *quota;

	if (!quotas)
		return;
	while ((quota = map_next(&quotas->nodes, &at)))
		free(quota);
	map_clear(&quotas->nodes);
	free(quotas);
}

/* One for each certified node, so their number is the directory's. */
static struct quota *quota_of(struct quotas *quotas, uint32_t node)
{
	struct quota *quota = map_get(&quotas->nodes, map_key_pair(node, 0));

	if (quota)
		return quota;
	quota = calloc(1, sizeof(*quota));
	if (quota && map_put(&quotas->nodes, map_key_pair(node, 0), quota)) {
		free(quota);
		quota = NULL;
	}
	return quota;
}

enum cpd_error quota_take(struct quotas *quotas, uint32_t node, enum quota_kind kind, uint32_t count, int64_t now_ms)
{
	const struct rate *rate = &quotas->rates[kind];
	struct quota *quota = quota_of(quotas, node);
	struct allowance *left;

	if (!quota)
		return CPD_ERR_NOMEM;
	left = &quota->left[kind];
	if (now_ms > left->at_ms) {
		left->used_ms -= (now_ms - left->at_ms);
		left->at_ms = now_ms;
	}
	if (left->used_ms < 0)
		left->used_ms = 0;
	/* One alone is let through when nothing is used, however large: else it would wait for ever. */
	if (left->used_ms && left->used_ms + count * rate->ms > rate->most * rate->ms)
		return CPD_ERR_FULL;
	left->used_ms += count * rate->ms;
	return CPD_OK;
}
