/* target_config.c: cpd.conf, and the small texts that people and files give: ids, addresses, names. */
#include "test/fuzz/targets.h"

#include <jansson.h>

#include "daemon/address.h"
#include "daemon/config.h"
#include "daemon/config_show.h"
#include "proto/kind.h"
#include "proto/text.h"

static void differs(void *context, const char *setting)
{
	(void)context;
	fprintf(stderr, "%s differs from itself\n", setting);
	FUZZ_CHECK(!"a configuration differs from itself");
}

void run_config(struct slice input)
{
	struct config config;
	char problem[512];
	json_t *json;

	memset(problem, 'x', sizeof(problem));
	if (config_load(files_memory(input), &config, problem)) {
		/* It says what is wrong; nothing is left. */
		FUZZ_CHECK(memchr(problem, 0, sizeof(problem)) && problem[0]);
		FUZZ_CHECK(!config.number && !config.links && !config.routes && !config.link_count && !config.route_count);
		return;
	}
	FUZZ_CHECK(config.number && config.role != ROLE_ID_UNKNOWN && config.identity[0] && config.store[0] && config.api_socket[0]);
	FUZZ_CHECK(config.link_count <= CONFIG_LINKS && config.route_count <= CONFIG_ROUTES && config.time_scale >= 1);
	for (int i = 0; i < PRECEDENCE_COUNT; i++)
		FUZZ_CHECK(config.timers.retry_ms[i] > 0);
	config_compare(&config, &config, differs, NULL);
	json = config_to_json(&config);
	FUZZ_CHECK(json);
	json_decref(json);
	config_clear(&config);
}

void seeds_config(fuzz_add *add, void *context)
{
	static const char *const seeds[] = {
		"[node]\nnumber = 344003\nrole = nsp\n",
		"# a remark\n[node]\nnumber = 901\nrole = cp\nstate = /srv/cpd\nidentity = /srv/id\n\n[store]\nlimit_mib = 512\nfolder = /srv/s\n[listen]\n"
		"address = tcp://[::1]:5600\naccept_any_certified = yes\n[link 344003]\n[link 902]\naddress = tcp://192.0.2.1:5600 ; beside us\n"
		"profile = thin\n[route]\n344 = 344003, 902\ndefault = 902\n[api]\nsocket = /run/cpd/api.sock\ngroup = cpd\n[clock]\nquality = gnss\n"
		"[tuning]\ntime_scale = 10.5\nretry_flash_s = 20\ngrace_s = 300\n[log]\nlevel = debug\n",
		"[node]\nnumer = 344003\n",
		"[node]\nnumber = 1\nrole = nps\n[link 1]\n",
		"[node\nnumber",
		"\xef\xbb\xbf[node]\r\nnumber = 1\r\nrole = desk\r\n",
	};

	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++)
		add(context, (struct slice){ (const uint8_t *)seeds[i], strlen(seeds[i]) });
}

/* ---------------------------------------------------------------- small texts */

static void check_id(const char *text)
{
	struct message_id id;
	char again[MESSAGE_ID_TEXT_MAX];

	/* One id has one name. */
	if (!message_id_parse(text, &id))
		FUZZ_CHECK(!strcmp(message_id_format(&id, again), text));
}

static void check_address(const char *text)
{
	struct address address;
	const char *why = NULL;

	if (address_parse(text, &address, &why))
		FUZZ_CHECK(why && *why);
	else
		FUZZ_CHECK(address.len > 0 && address.len <= sizeof(address.storage));
	(void)address_port(&address);
}

void run_names(struct slice input)
{
	char *text = malloc(input.len + 1);
	enum precedence precedence;
	enum mode mode;
	enum node_role role;
	const struct kind *kind;

	FUZZ_CHECK(text);
	if (input.len)
		memcpy(text, input.data, input.len);
	text[input.len] = '\0';
	check_id(text);
	check_address(text);
	if (precedence_parse(text, &precedence))
		FUZZ_CHECK(!strcasecmp(precedence_name(precedence), text));
	if (mode_parse(text, &mode))
		FUZZ_CHECK(!strcasecmp(mode_name(mode), text));
	if (node_role_parse(text, &role))
		FUZZ_CHECK(!strcasecmp(node_role_name(role), text));
	kind = kind_find_name(text);
	FUZZ_CHECK(!kind || !strcasecmp(kind->name, text) || !strcasecmp(kind->schema_name, text));
	/* A line is a text, and a text without lines is a line. */
	if (!text_check(input, input.len, input.len, TEXT_ONE_LINE)) {
		FUZZ_CHECK(!text_check(input, input.len, input.len, TEXT_LINES) && !memchr(input.data ? input.data : (const uint8_t *)"x", '\n', input.len));
		FUZZ_CHECK(text_characters(input) <= input.len && !text_check_string(text, input.len, input.len, TEXT_ONE_LINE));
	}
	free(text);
}

void seeds_names(fuzz_add *add, void *context)
{
	static const char *const seeds[] = { "344003/2/118", "4294967295/4294967295/18446744073709551615", "tcp://192.0.2.1:5600", "tcp://[2001:db8::1]:5600",
		"tcp://[fe80::1%eth0]:1", "FLASH", "exercise", "partner", "EmergencyCall", "emergency-call", "Co\xc3\xb6rdinatiepunt", "\xf0\x9f\x9a\x91", "een\ntwee" };

	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++)
		add(context, (struct slice){ (const uint8_t *)seeds[i], strlen(seeds[i]) });
}
