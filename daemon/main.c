/*
 * main.c: cpd's options, signals and supervision. Runs one node and its API until told to stop.
 *
 * DIAGNOSTICS. Exit 0: stopped as asked, or nothing found. 1: could not start, the store failed, or
 * the check found something. 2: wrong usage. What is wrong and the cure stand in the last line on
 * stderr or in the journal.
 */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "daemon/api.h"
#include "daemon/config.h"
#include "daemon/credentials.h"
#include "daemon/config_show.h"
#include "daemon/log.h"
#include "daemon/node.h"
#include "daemon/role/role.h"
#include "daemon/version.h"
#include "store/store.h"

#define CONFIG_DEFAULT "/etc/cpd/cpd.conf"
#define STOP_SECONDS 4    /* gone within 5 s, whatever the disk does */
/* Timers may come this much later, so that a box on a battery wakes up for several at once. */
#define TIMER_SLACK_NS 50000000ul

static const char usage_text[] =
	"usage: cpd [--config FILE]\n"
	"       cpd --check-config [--config FILE]\n"
	"       cpd --show-config [--config FILE]\n"
	"       cpd --check-store [--repair] FOLDER|FILE\n"
	"       cpd --upgrade-store FOLDER|FILE\n"
	"       cpd --downgrade-store SCHEMA FOLDER|FILE\n"
	"\n"
	"  --config FILE    read FILE (default " CONFIG_DEFAULT ")\n"
	"  --check-config   say whether the configuration can be used, and stop\n"
	"  --show-config    tell the settings in force, defaults filled in, as JSON, and stop\n"
	"  --check-store    verify every record of the store in FOLDER, or of the configuration in FILE;\n"
	"                   cpd must not be running on it\n"
	"  --repair         with --check-store: move damaged records aside and rebuild what can be rebuilt\n"
	"  --upgrade-store  bring the store to the schema of this cpd, as its start does, and stop\n"
	"  --downgrade-store SCHEMA\n"
	"                   bring the store back to an older schema, for the cpd that knows no newer one;\n"
	"                   nothing in it is lost\n"
	"  --version        tell the version, and stop\n"
	"  --help           tell this, and stop\n"
	"\n"
	"SIGTERM and SIGINT stop cpd, SIGHUP reads the log level again and logs what else changed.\n";

/* ---------------------------------------------------------------- checks */

static void report_line(void *context, const char *line)
{
	(void)context;
	printf("%s\n", line);
}

static int check_config(const char *path)
{
	struct config config;
	char problem[512];

	if (config_load(path, &config, problem)) {
		fprintf(stderr, "cpd: %s\n", problem);
		return 1;
	}
	printf("%s: node %u, %s, %zu links, %zu routes: can be used\n", path, config.number, role_find(config.role)->title,
	    config.link_count, config.route_count);
	config_clear(&config);
	return 0;
}

static int show_config(const char *path)
{
	struct config config;
	char problem[512];
	json_t *json;
	int status;

	if (config_load(path, &config, problem)) {
		fprintf(stderr, "cpd: %s\n", problem);
		return 1;
	}
	json = config_to_json(&config);
	status = json && !json_dumpf(json, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER) && putchar('\n') == '\n' ? 0 : 1;
	json_decref(json);
	config_clear(&config);
	return status;
}

/* The store's folder, told directly or by a configuration. */
static int find_store(const char *path, char out[300], size_t *limit_bytes)
{
	struct config config;
	struct stat status;
	char problem[512];

	*limit_bytes = 0;
	if (stat(path, &status)) {
		fprintf(stderr, "cpd: %s: %s\n", path, strerror(errno));
		return 1;
	}
	if (S_ISDIR(status.st_mode)) {
		snprintf(out, 300, "%s", path);
		return 0;
	}
	if (config_load(path, &config, problem)) {
		fprintf(stderr, "cpd: %s\n", problem);
		return 1;
	}
	snprintf(out, 300, "%s", config.store);
	*limit_bytes = config.store_limit_mib * 1024 * 1024;
	config_clear(&config);
	return 0;
}

/* And from here on as its owner, when root asks: a lock file of root's would keep the daemon out of its store. */
static int store_folder(const char *path, char out[300], size_t *limit_bytes)
{
	if (find_store(path, out, limit_bytes))
		return 1;
	if (credentials_become_owner(out))
		return 0;
	fprintf(stderr, "cpd: %s: cannot act as its owner: %s\n", out, strerror(errno));
	return 1;
}

static int check_store(const char *path, bool repairs)
{
	char folder[300];
	struct store_options options = { .path = folder, .hash = crypto_digest, .read_only = !repairs, .version = CPD_VERSION, .report = report_line };
	struct store_check check;
	struct store *store;
	const char *problem = "";
	uint64_t rows = 0, damaged = 0;
	enum cpd_error error;

	if (store_folder(path, folder, &options.limit_bytes))
		return 1;
	error = store_open(&options, &store, &problem);
	if (error) {
		fprintf(stderr, "cpd: %s\n", problem && *problem ? problem : cpd_error_text(error));
		return 1;
	}
	memset(&check, 0, sizeof(check));
	error = store_verify(store, repairs, report_line, NULL, &check);
	store_close(store);
	for (int i = 0; i < TABLE_COUNT; i++) {
		rows += check.rows[i];
		damaged += check.damaged[i];
	}
	printf("%s: %" PRIu64 " records, %" PRIu64 " damaged, %" PRIu64 " broken rules, %" PRIu64 " in quarantine%s\n", folder, rows, damaged,
	    check.broken_invariants, check.quarantined, repairs && (damaged || check.broken_invariants) ? "; repaired what could be" : "");
	if (error)
		fprintf(stderr, "cpd: the check did not come to its end: %s\n", cpd_error_text(error));
	return error || damaged || check.broken_invariants ? 1 : 0;
}

static void report_migration(void *context, const struct store_migration *news)
{
	(void)context;
	if (news->is_done)
		printf("schema %" PRIu64 " to %" PRIu64 ": %s\n", news->from, news->to, news->what);
}

/* For a store that was put back from a backup of an older cpd: cpd does the same at its start. */
static int upgrade_store(const char *path)
{
	char folder[300];
	struct store_options options = { .path = folder, .hash = crypto_digest, .version = CPD_VERSION, .migrated = report_migration };
	const char *problem = "";
	struct store *store;

	if (store_folder(path, folder, &options.limit_bytes))
		return 1;
	if (store_open(&options, &store, &problem)) {
		fprintf(stderr, "cpd: %s\n", problem);
		return 1;
	}
	store_close(store);
	printf("%s: schema %d\n", folder, STORE_SCHEMA);
	return 0;
}

static int downgrade_store(const char *path, const char *schema)
{
	char folder[300];
	struct store_options options = { .path = folder, .hash = crypto_digest, .version = CPD_VERSION, .migrated = report_migration };
	const char *problem = "";
	char *end;
	const unsigned long number = strtoul(schema, &end, 10);

	if (*end || end == schema) {
		fprintf(stderr, "cpd: \"%s\" is no schema; give its number, such as 1\n", schema);
		return 2;
	}
	if (store_folder(path, folder, &options.limit_bytes))
		return 1;
	if (store_downgrade(&options, number, &problem)) {
		fprintf(stderr, "cpd: %s\n", problem);
		return 1;
	}
	printf("%s: schema %lu; do not start this cpd on it again, which would bring it to schema %d\n", folder, number, STORE_SCHEMA);
	return 0;
}

/* ---------------------------------------------------------------- running */

struct daemon {
	struct event_base *base;
	struct node *node;
	const char *config_path;
	const struct config *config;      /* that it runs with */
	uint64_t watchdog_us;
	struct event *watchdog;
};

static void on_stop(evutil_socket_t number, short what, void *context)
{
	struct daemon *daemon = context;

	(void)what;
	log_line(LOG_INFO, "stopping", "signal=%d", (int)number);
	event_base_loopbreak(daemon->base);
}

static void restart_needed(void *context, const char *setting)
{
	(void)context;
	log_line(LOG_WARNING, "restart-needed", "setting=\"%s\" cure=\"it changed in the file and holds from the next start: systemctl restart cpd\"", setting);
}

static void on_hangup(evutil_socket_t number, short what, void *context)
{
	const struct daemon *daemon = context;
	struct config config;
	char problem[512];

	(void)number;
	(void)what;
	if (config_load(daemon->config_path, &config, problem)) {
		log_line(LOG_WARNING, "config-refused", "why=\"%s\" cure=\"the old settings stay\"", problem);
		return;
	}
	config_compare(daemon->config, &config, restart_needed, NULL);
	log_set_level(config.log_level);
	log_line(LOG_INFO, "log-level", "level=%d", config.log_level);
	config_clear(&config);
}

/* Petted only when the writer and the pool go on: a daemon that takes connections and commits nothing is dead. */
static void on_watchdog(evutil_socket_t fd, short what, void *context)
{
	struct daemon *daemon = context;

	(void)fd;
	(void)what;
	if (node_is_advancing(daemon->node))
		sd_notify(0, "WATCHDOG=1");
	else
		log_line(LOG_WARNING, "watchdog-held", "why=\"the writer or the verification stands still\"");
}

static bool watch_signal(struct event_base *base, int number, event_callback_fn callback, void *context, struct event **out)
{
	*out = evsignal_new(base, number, callback, context);
	return *out && !event_add(*out, NULL);
}

static bool watch(struct daemon *daemon, struct event *signals[3])
{
	struct timeval period;

	if (!watch_signal(daemon->base, SIGTERM, on_stop, daemon, &signals[0]) || !watch_signal(daemon->base, SIGINT, on_stop, daemon, &signals[1]) ||
	    !watch_signal(daemon->base, SIGHUP, on_hangup, daemon, &signals[2]))
		return false;
	if (sd_watchdog_enabled(0, &daemon->watchdog_us) <= 0)
		return true;
	daemon->watchdog_us /= 2;
	period = (struct timeval){ (time_t)(daemon->watchdog_us / 1000000), (suseconds_t)(daemon->watchdog_us % 1000000) };
	daemon->watchdog = event_new(daemon->base, -1, EV_PERSIST, on_watchdog, daemon);
	return daemon->watchdog && !event_add(daemon->watchdog, &period);
}

static int run_node(struct daemon *daemon, const struct config *config)
{
	struct event *signals[3] = { NULL, NULL, NULL };
	struct api *api = NULL;
	char problem[256] = "memory is used up";
	int status = 1;

	if (node_open(daemon->base, config, &daemon->node, problem) || api_open(daemon->base, daemon->node, config, &api, problem) ||
	    !watch(daemon, signals)) {
		log_line(LOG_ERR, "start-failed", "why=\"%s\"", problem);
		goto out;
	}
	sd_notifyf(0, "READY=1\nSTATUS=node %u", node_self(daemon->node));
	event_base_dispatch(daemon->base);
	status = node_has_failed(daemon->node) ? 1 : 0;
	sd_notify(0, "STOPPING=1");
	/* A disk that hangs must not hold up a shutdown: what is not committed was promised to nobody. */
	alarm(STOP_SECONDS);
out:
	api_close(api);
	node_close(daemon->node);
	for (int i = 0; i < 3; i++)
		if (signals[i])
			event_free(signals[i]);
	if (daemon->watchdog)
		event_free(daemon->watchdog);
	return status;
}

static int run(const char *path)
{
	struct config config;
	struct daemon daemon = { .config_path = path, .config = &config };
	const struct rlimit no_core = { 0, 0 };
	char problem[512];
	int status;

	if (config_load(path, &config, problem)) {
		fprintf(stderr, "cpd: %s\n", problem);
		return 1;
	}
	setrlimit(RLIMIT_CORE, &no_core);       /* a core would hold the keys; */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);     /* a limit of 0 does not hold where cores go through a pipe; nor may another process of this user look in */
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, SIG_DFL);
	umask(077);
	log_start(config.log_level);
	daemon.base = event_base_new();
	if (!daemon.base) {
		log_line(LOG_ERR, "start-failed", "why=\"libevent cannot start\"");
		config_clear(&config);
		return 1;
	}
	log_line(LOG_INFO, "start", "version=%s node=%u", CPD_VERSION, config.number);
	status = run_node(&daemon, &config);
	event_base_free(daemon.base);
	log_line(LOG_INFO, "stopped", "status=%d", status);
	config_clear(&config);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "check-store", no_argument, NULL, 's' }, { "repair", no_argument, NULL, 'r' },
		{ "check-config", no_argument, NULL, 'k' }, { "show-config", no_argument, NULL, 'w' }, { "upgrade-store", no_argument, NULL, 'u' },
		{ "downgrade-store", required_argument, NULL, 'd' }, { "version", no_argument, NULL, 'v' }, { "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	const char *path = CONFIG_DEFAULT, *schema = NULL;
	bool checks_store = false, checks_config = false, shows_config = false, upgrades = false, repairs = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c': path = optarg; break;
		case 's': checks_store = true; break;
		case 'r': repairs = true; break;
		case 'k': checks_config = true; break;
		case 'd': schema = optarg; break;
		case 'w': shows_config = true; break;
		case 'u': upgrades = true; break;
		case 'v': printf("cpd %s\n", CPD_VERSION); return 0;
		case 'h': fputs(usage_text, stdout); return 0;
		default: fputs(usage_text, stderr); return 2;
		}
	}
	if (argc - optind != (checks_store || upgrades || schema ? 1 : 0) || (repairs && !checks_store) || checks_store + checks_config + shows_config + upgrades + (schema != NULL) > 1) {
		fputs(usage_text, stderr);
		return 2;
	}
	if (crypto_start()) {
		fprintf(stderr, "cpd: libsodium cannot start, or is a build that takes weak signatures; use the distribution's libsodium\n");
		return 1;
	}
	if (checks_store)
		return check_store(argv[optind], repairs);
	if (shows_config)
		return show_config(path);
	if (upgrades)
		return upgrade_store(argv[optind]);
	if (schema)
		return downgrade_store(argv[optind], schema);
	return checks_config ? check_config(path) : run(path);
}
