/* config: what is written is what is read, and every mistake is told with its line and its cure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/config.h"

#define NODE "[node]\nnumber = 344003\nrole = nsp\n" /* lines 1 to 3 */

static enum cpd_error load(const char *text, struct config *config, char problem[512])
{
	char path[] = "test-config-XXXXXX";
	int fd = mkstemp(path);
	enum cpd_error error;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	error = config_load(path, config, problem);
	unlink(path);
	return error;
}

static void everything_written_is_read(void **state)
{
	struct config config;
	char problem[512];

	(void)state;
	assert_int_equal(load("# a remark\n[node]\nnumber = 901\nrole = cp\nstate = /srv/cpd\n\n"
		"[store]\nlimit_mib = 512\n[listen]\naddress = tcp://[::1]:5600\naccept_any_certified = yes\n"
		"[link 344003]\n[link 902]\naddress = tcp://192.0.2.1:5600 ; beside us\nprofile = thin\n"
		"[route]\n344 = 344003, 902\ndefault = 902\n[api]\nsocket = /run/cpd/api.sock\ngroup = cpd\n"
		"[clock]\nquality = gnss\n[tuning]\ntime_scale = 10\nretry_flash_s = 20\n[sealing]\nescalation = 911, 905\n[log]\nlevel = debug\n",
		&config, problem), CPD_OK);
	assert_int_equal(config.number, 901);
	assert_int_equal(config.role, ROLE_ID_CP);
	assert_string_equal(config.state, "/srv/cpd");
	assert_string_equal(config.identity, "/srv/cpd/identity");
	assert_string_equal(config.store, "/srv/cpd/store");
	assert_int_equal(config.store_limit_mib, 512);
	assert_string_equal(config.listen, "tcp://[::1]:5600");
	assert_true(config.accept_any_certified);
	assert_int_equal(config.link_count, 2);
	assert_int_equal(config.links[0].node, 344003);
	assert_string_equal(config.links[0].address, "");
	assert_string_equal(config.links[0].profile, "ip");
	assert_int_equal(config.links[1].node, 902);
	assert_string_equal(config.links[1].address, "tcp://192.0.2.1:5600");
	assert_string_equal(config.links[1].profile, "thin");
	assert_int_equal(config.route_count, 2);
	assert_string_equal(config.routes[0].prefix, "344");
	assert_int_equal(config.routes[0].via_count, 2);
	assert_int_equal(config.routes[0].via[1], 902);
	assert_string_equal(config.routes[1].prefix, "");
	assert_string_equal(config.api_socket, "/run/cpd/api.sock");
	assert_string_equal(config.api_group, "cpd");
	assert_string_equal(config.clock_quality, "gnss");
	assert_int_equal(config.timers.retry_ms[PRECEDENCE_FLASH], 2000);
	assert_int_equal(config.timers.presence_ms, 6000);
	assert_int_equal(config.escalation[0], 905);
	assert_int_equal(config.escalation[1], 911);
	assert_int_equal(config.escalation[2], 0);
	assert_int_equal(config.log_level, LOG_DEBUG);
	config_clear(&config);
	config_clear(&config);
}

static void little_is_enough(void **state)
{
	struct config config;
	char problem[512];

	(void)state;
	assert_int_equal(load(NODE, &config, problem), CPD_OK);
	assert_string_equal(problem, "");
	assert_string_equal(config.state, "/var/lib/cpd");
	assert_string_equal(config.api_socket, "/var/lib/cpd/api.sock");
	assert_string_equal(config.clock_quality, "auto");
	assert_int_equal(config.store_limit_mib, 2048);
	assert_int_equal(config.timers.retry_ms[PRECEDENCE_FLASH], 30000);
	assert_false(config.accept_any_certified);
	config_clear(&config);
}

struct mistake { const char *text; unsigned line; const char *place, *cure; };

static const struct mistake mistakes[] = {
	/* the shape of the file */
	{ NODE "what is this\n", 4, "", "[section] nor key = value" },
	{ "number = 1\n" NODE, 1, "number", "under [node]" },
	{ NODE "[nodes]\n", 4, "nodes", "did you mean \"node\"" },
	{ NODE "[zzzzzzzzz]\n", 4, "zzzzzzzzz", "write one of" },
	{ NODE "\n\n[link 901\n", 6, "", "[section]" },
	{ NODE "nummer = 2\n", 4, "[node]", "did you mean \"number\"" },
	{ NODE "role = nsp\n", 4, "[node] role", "twice" },
	{ NODE "  number = 2\n", 4, "[node] number", "twice" }, /* indented: a key, not the rest of a value */
	{ NODE "[log]\nlevle = info\n", 5, "[log]", "did you mean \"level\"" },
	{ NODE "what is this\n[nodes]\n", 4, "", "[section] nor key = value" }, /* the first is told */
	/* [node] */
	{ "[node]\nrole = nsp\n", 0, "[node] number", "number = NUMBER" },
	{ "[node]\nnumber = 344003\n", 0, "[node] role", "role = nsp" },
	{ "[node]\nnumber = 0\n", 2, "[node] number", "344003" },
	{ "[node]\nnumber = 4294967295\n", 2, "[node] number", "344003" },
	{ "[node]\nnumber = 4294967296\n", 2, "[node] number", "344003" },
	{ "[node]\nnumber = -1\n", 2, "[node] number", "344003" },
	{ "[node]\nnumber = 12x\n", 2, "[node] number", "344003" },
	{ "[node]\nnumber =\n", 2, "[node] number", "344003" },
	{ "[node]\nnumber = 344003\nrole = nps\n", 3, "[node] role", "did you mean \"nsp\"" },
	{ NODE "state = var/lib\n", 4, "[node] state", "from the root" },
	{ NODE "identity = keys\n", 4, "[node] identity", "from the root" },
	/* [store], [listen], [api], [clock], [tuning], [log] */
	{ NODE "[store]\nlimit_mib = 15\n", 5, "[store] limit_mib", "from 16" },
	{ NODE "[store]\nlimit_mib = 1048577\n", 5, "[store] limit_mib", "to 1048576" },
	{ NODE "[listen]\naddress = tcp://*:5600\n", 5, "[listen] address", "tcp://0.0.0.0:5600" },
	{ NODE "[listen]\naddress = ipc:///run/x\n", 5, "[listen] address", "tcp://ADDRESS:PORT" },
	{ NODE "[listen]\naddress = tcp://127.0.0.1:0\n", 5, "[listen] address", "from 1 to 65535" },
	{ NODE "[listen]\naccept_any_certified = ja\n", 5, "[listen] accept_any_certified", "yes or no" },
	{ NODE "[api]\nsocket = api.sock\n", 5, "[api] socket", "from the root" },
	{ NODE "[api]\ngroup = abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\n", 5, "[api] group", "1 to 32" },
	{ NODE "[api]\ngroup = caf\xe9\n", 5, "[api] group", "UTF-8" },
	{ NODE "[store]\nfolder = /srv/\x1b[31m\n", 5, "[store] folder", "control characters" },
	{ NODE "[clock]\nquality = gps\n", 5, "[clock] quality", "gnss" },
	{ NODE "[tuning]\ntime_scale = 0.5\n", 5, "[tuning] time_scale", "from 1 to 1000" },
	{ NODE "[tuning]\ntime_scale = nan\n", 5, "[tuning] time_scale", "from 1 to 1000" },
	{ NODE "[tuning]\nretry_flash_s = 0\n", 5, "[tuning] retry_flash_s", "from 1 to 86400" },
	{ NODE "[tuning]\ngrace_s = 3 days\n", 5, "[tuning] grace_s", "whole seconds" },
	{ NODE "[sealing]\nescalation = 911, meldkamer\n", 5, "[sealing] escalation", "not a node number" },
	{ NODE "[sealing]\nescalation = 911, 911\n", 5, "[sealing] escalation", "stands there twice" },
	{ NODE "[sealing]\nescalation = 1,2,3,4,5,6,7,8,9\n", 5, "[sealing] escalation", "more than 8" },
	{ NODE "[log]\nlevel = infos\n", 5, "[log] level", "did you mean \"info\"" },
	/* [link N] */
	{ NODE "[link cp]\n", 4, "[link cp]", "[link 901]" },
	{ NODE "[link 901]\naddress = tcp://cp.example.nl:5600\n", 5, "[link 901] address", "names are not looked up" },
	{ NODE "[link 901]\naddress = tcp://192.0.2.1\n", 5, "[link 901] address", "tcp://ADDRESS:PORT" },
	{ NODE "[link 901]\naddress = tcp://192.0.2.1:65536\n", 5, "[link 901] address", "between 1 and 65535" },
	{ NODE "[link 901]\naddress = tcp://192.0.2.1:1\naddress = tcp://192.0.2.1:2\n", 6, "[link 901] address", "twice" },
	{ NODE "[link 901]\nprofile = satelite\n", 5, "[link 901] profile", "ip, thin, courier" },
	{ NODE "[link 901]\nprofile = courier\naddress = tcp://192.0.2.1:5600\n", 4, "[link 901] goes by courier", "remove one" },
	{ NODE "[link 901]\nadress = tcp://192.0.2.1:1\n", 5, "[link 901]", "did you mean \"address\"" },
	{ NODE "[listen]\n[link 901]\n[link 902]\n[link 901]\n", 7, "[link 901]", "line 5" },
	{ NODE "[link 901]\n", 4, "[link 901]", "[listen]" },
	{ NODE "[link 344003]\naddress = tcp://192.0.2.1:1\n", 4, "[link 344003]", "this node itself" },
	/* [route] */
	{ NODE "[route]\n344 = 901\n", 5, "[route] 344", "add [link 901]" },
	{ NODE "[route]\ndefault = cp\n", 5, "[route] default", "default = 901, 902" },
	{ NODE "[route]\ndefault = 1,2,3,4,5\n", 5, "[route] default", "more than 4" },
	{ NODE "[route]\nabc = 901\n", 5, "[route]", "first digits" },
	{ NODE "[route]\n12345678901 = 901\n", 5, "[route]", "first digits" },
	{ NODE "[route]\n344 = 901\n344 = 902\n", 6, "[route] 344", "line 5" },
};

static void every_mistake_is_told_with_its_line_and_cure(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		const struct mistake *mistake = &mistakes[i];
		char problem[512], line[24];
		struct config config;

		assert_int_equal(load(mistake->text, &config, problem), CPD_ERR_USAGE);
		if (mistake->line > 0)
			snprintf(line, sizeof(line), ":%u: ", mistake->line);
		else
			snprintf(line, sizeof(line), ": ");
		if (!strstr(problem, line) || !strstr(problem, mistake->place) || !strstr(problem, mistake->cure))
			fail_msg("mistake %zu:\n%s\nsaid: %s\nwanted: %s %s %s", i, mistake->text, problem, line, mistake->place, mistake->cure);
		assert_null(config.links);
		assert_null(config.routes);
	}
}

static void a_line_too_long_is_refused_not_cut(void **state)
{
	char *text = calloc(1, 4096), problem[512];
	struct config config;

	(void)state;
	strcpy(text, NODE "state = /");
	memset(text + strlen(text), 'x', 1500);
	assert_int_equal(load(text, &config, problem), CPD_ERR_USAGE);
	assert_non_null(strstr(problem, ":4: "));
	assert_non_null(strstr(problem, "longer than"));
	free(text);
}

static void links_are_bounded(void **state)
{
	char *text = calloc(1, 64 * 1024), problem[512];
	struct config config;
	size_t used;

	(void)state;
	used = (size_t)sprintf(text, NODE "[listen]\n");
	for (unsigned i = 0; i <= CONFIG_LINKS; i++)
		used += (size_t)sprintf(text + used, "[link %u]\n", 1000 + i);
	assert_int_equal(load(text, &config, problem), CPD_ERR_USAGE);
	assert_non_null(strstr(problem, "more than 640 links"));
	free(text);
}

static void a_route_may_go_by_a_certified_caller(void **state)
{
	struct config config;
	char problem[512];

	(void)state;
	assert_int_equal(load(NODE "[listen]\naccept_any_certified = yes\n[route]\n344 = 901\n", &config, problem), CPD_OK);
	config_clear(&config);
}

static void a_file_that_is_not_there_is_named(void **state)
{
	struct config config;
	char problem[512];

	(void)state;
	assert_int_equal(config_load("no-such-folder/cpd.conf", &config, problem), CPD_ERR_IO);
	assert_non_null(strstr(problem, "no-such-folder/cpd.conf: cannot be opened"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_written_is_read),
		cmocka_unit_test(little_is_enough),
		cmocka_unit_test(every_mistake_is_told_with_its_line_and_cure),
		cmocka_unit_test(a_line_too_long_is_refused_not_cut),
		cmocka_unit_test(links_are_bounded),
		cmocka_unit_test(a_route_may_go_by_a_certified_caller),
		cmocka_unit_test(a_file_that_is_not_there_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
