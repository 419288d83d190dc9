/*
 * config.h: cpd.conf (INI), read once at start. Every error names file, line and the cure.
 * Never a secret: keys stand in the identity folder.
 */
#ifndef CPD_CONFIG_H
#define CPD_CONFIG_H

#include "daemon/relay/relay.h"

#define CONFIG_LINKS 640
#define CONFIG_ROUTES 256
#define CONFIG_ESCALATION 8

struct config_link {
	uint32_t node;                       /* [link 901] */
	char address[LIMIT_ADDRESS + 1];     /* address = tcp://192.0.2.1:5600 ; absent: it calls us */
	char profile[16];                    /* profile = ip | thin | courier (by hand: it has no address) */
};

/*
 * [node]    number = 344003      (checked against the identity)
 *           role = nsp           (cp, desk, partner)
 *           state = /var/lib/cpd (folder; this is the default)
 *           identity = ...       (default: identity/ in the state folder)
 * [store]   limit_mib = 2048
 *           folder = ...         (default: store/ in the state folder)
 * [listen]  address = tcp://0.0.0.0:5600   (absent: calls only; or systemd gives the socket)
 *           accept_any_certified = yes     (certified nodes without a [link] section may call)
 * [link N]  address = tcp://192.0.2.1:5600 (absent: it calls us)
 *           profile = ip | thin | courier  (order of the sections is preference)
 * [route]   344 = 901, 902     default = 901
 * [api]     socket = /run/cpd/api.sock (default: api.sock in the state folder)   group = cpd
 * [clock]   quality = auto | unknown | manual | ntp | gnss
 * [tuning]  time_scale = 1 (a rehearsal: retry, presence and grace timers run this much faster),
 *           retry_flash_s, retry_immediate_s, retry_priority_s, retry_routine_s, retry_max_s, reoffer_s,
 *           grace_s, reroute_s, presence_s, refusal_wait_s, copy_doubt_s, stall_s
 * [sealing] escalation = 905, 911 (nodes that a call goes to when no addressee answers: sealed parts are for them too)
 *           keep_s = 7776000 (90 days: then the key of a period is destroyed), period_s = 604800
 * [log]     level = error | warning | notice | info | debug
 *
 * Addresses are numeric: names are not looked up, the DNS is gone in a crisis.
 */
struct config {
	uint32_t number;
	enum node_role role;
	char state[256], identity[300], store[300];
	size_t store_limit_mib;
	char listen[LIMIT_ADDRESS + 1];      /* "": none */
	bool accept_any_certified;
	struct config_link *links; size_t link_count;      /* owned */
	struct relay_route *routes; size_t route_count;    /* owned */
	char api_socket[300], api_group[33]; /* group "": the daemon's own */
	char clock_quality[10];
	int64_t sealed_keep_ms, sealed_period_ms;
	uint32_t escalation[CONFIG_ESCALATION]; /* ascending; 0: no more */
	double time_scale;                   /* already applied to timers */
	struct relay_config timers;          /* only the *_ms fields are used; already divided by time_scale */
	int64_t stall_ms;                    /* 0: as the link's profile has it (daemon/relay/stall.h) */
	int log_level;                       /* LOG_ERR .. LOG_DEBUG */
};
/* On an error *out is empty and problem says where, what and the cure:
 * "cpd.conf:12: [link 901] address: \"nsp1\" is not a numeric address; write tcp://ADDRESS:PORT".
 * IO (cannot be read), USAGE (anything written wrong), NOMEM. */
MUST_CHECK enum cpd_error config_load(const char *path, struct config *out, char problem[512]);
void config_clear(struct config *config);

/* Tells each setting in which the two differ, as it is written: "[store] limit_mib", "[link 901]", "[route]".
 * A section of a link or the routes is one setting. Not [log] level, which holds at once. */
typedef void config_difference(void *context, const char *setting);
void config_compare(const struct config *a, const struct config *b, config_difference *tell, void *context);

#endif
