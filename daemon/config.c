#include "daemon/config.h"

#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "daemon/address.h"
#include "proto/text.h"

#define LINE_BYTES 1024

/* One reading of one file. inih calls the reader for each line and then, perhaps, the handler: so the
 * reader's count is the handler's line, and a section without any key is seen there too. */
struct reading {
	const char *path;
	FILE *file;
	struct config *config;
	char *problem;          /* 512 bytes; "" as long as nothing is wrong */
	enum cpd_error error;
	unsigned line;
	char section[64];       /* as written between the brackets */
	uint64_t given;         /* bit i: keys[i] was written (but in [link N]) */
	unsigned link_line[CONFIG_LINKS];
	unsigned route_line[CONFIG_ROUTES];
	unsigned listen_line;   /* 0: no [listen] */
	unsigned link_given;    /* the keys of the [link N] now open */
};

struct key {
	const char *section, *name;
	bool (*set)(struct reading *reading, const struct key *key, const char *value);
	size_t offset, size;    /* where in struct config */
	double min, max;
};

/* Keeps the first problem: later ones often follow from it. Always false, for `return`. */
static bool wrong_at(struct reading *reading, unsigned line, enum cpd_error error, const char *format, va_list arguments)
{
	int used;

	if (reading->error != CPD_OK)
		return false;
	reading->error = error;
	if (line > 0)
		used = snprintf(reading->problem, 512, "%s:%u: ", reading->path, line);
	else
		used = snprintf(reading->problem, 512, "%s: ", reading->path);
	if (used > 0 && used < 512)
		(void)vsnprintf(reading->problem + used, 512 - (size_t)used, format, arguments);
	return false;
}

static bool wrong(struct reading *reading, unsigned line, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool wrong(struct reading *reading, unsigned line, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	wrong_at(reading, line, CPD_ERR_USAGE, format, arguments);
	va_end(arguments);
	return false;
}

static bool fail(struct reading *reading, enum cpd_error error, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool fail(struct reading *reading, enum cpd_error error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	wrong_at(reading, 0, error, format, arguments);
	va_end(arguments);
	return false;
}

/* Letters to change, add or leave out to make a into b. */
static size_t distance(const char *a, const char *b)
{
	size_t row[65], len = strlen(b);

	if (len > 64)
		return SIZE_MAX;
	for (size_t j = 0; j <= len; j++)
		row[j] = j;
	for (size_t i = 0; a[i] != '\0'; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < len; j++) {
			size_t best = diagonal + (a[i] != b[j]);

			diagonal = row[j + 1];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (diagonal + 1 < best)
				best = diagonal + 1;
			row[j + 1] = best;
		}
	}
	return row[len];
}

/* The word that was probably meant; NULL: none is near. */
static const char *nearest(const char *word, const char *const *words, size_t count)
{
	const char *best = NULL;
	size_t best_distance = 4;

	for (size_t i = 0; i < count; i++) {
		size_t now = distance(word, words[i]);

		if (now < best_distance && now < strlen(words[i])) {
			best_distance = now;
			best = words[i];
		}
	}
	return best;
}

static void join(char *out, size_t size, const char *const *words, size_t count)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < count && used < size; i++)
		used += (size_t)snprintf(out + used, size - used, "%s%s", i == 0 ? "" : ", ", words[i]);
}

static bool wrong_word(struct reading *reading, const char *where, const char *what, const char *word,
    const char *const *words, size_t count)
{
	const char *near = nearest(word, words, count);
	char all[256];

	join(all, sizeof(all), words, count);
	if (near)
		return wrong(reading, reading->line, "%sunknown %s \"%.40s\"; did you mean \"%s\"? (%s)", where, what, word, near, all);
	return wrong(reading, reading->line, "%sunknown %s \"%.40s\"; write one of: %s", where, what, word, all);
}

/* ---------------------------------------------------------------- values */
static bool parse_u32(const char *text, uint32_t *out)
{
	uint64_t number = 0;

	if (*text == '\0' || strlen(text) > 10)
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		number = number * 10 + (uint64_t)(*text - '0');
	}
	*out = (uint32_t)number;
	return number <= UINT32_MAX;
}

/* UINT32_MAX is how a bearer is told "revoked", 0 how a stranger is: neither is a node. */
static bool parse_node(const char *text, uint32_t *out)
{
	return parse_u32(text, out) && *out > 0 && *out < UINT32_MAX;
}

static void *field(struct reading *reading, const struct key *key)
{
	return (char *)reading->config + key->offset;
}

static bool set_node_number(struct reading *reading, const struct key *key, const char *value)
{
	if (!parse_node(value, field(reading, key)))
		return wrong(reading, reading->line, "[%s] %s: \"%.40s\" is not a node number; write the number of the certificate, such as 344003",
		    key->section, key->name, value);
	return true;
}

static bool set_role(struct reading *reading, const struct key *key, const char *value)
{
	static const char *const roles[] = { "nsp", "cp", "desk", "partner" };
	static const enum node_role ids[] = { ROLE_ID_NSP, ROLE_ID_CP, ROLE_ID_DESK, ROLE_ID_PARTNER };

	for (size_t i = 0; i < 4; i++) {
		if (strcmp(value, roles[i]) == 0) {
			*(enum node_role *)field(reading, key) = ids[i];
			return true;
		}
	}
	return wrong_word(reading, "[node] role: ", "role", value, roles, 4);
}

static bool set_text(struct reading *reading, const struct key *key, const char *value)
{
	if (strlen(value) >= key->size || value[0] == '\0')
		return wrong(reading, reading->line, "[%s] %s: write 1 to %zu characters", key->section, key->name, key->size - 1);
	/* It goes into log lines and JSON, which hold nothing else. */
	if (text_check_string(value, key->size, key->size, TEXT_ONE_LINE))
		return wrong(reading, reading->line, "[%s] %s: holds bytes that are no UTF-8 or are control characters; save the file as UTF-8",
		    key->section, key->name);
	memcpy(field(reading, key), value, strlen(value) + 1);
	return true;
}

/* A path depends on nobody's working directory. */
static bool set_path(struct reading *reading, const struct key *key, const char *value)
{
	if (value[0] != '/')
		return wrong(reading, reading->line, "[%s] %s: \"%.60s\" is not an absolute path; write it from the root: /var/lib/cpd",
		    key->section, key->name, value);
	return set_text(reading, key, value);
}

static bool set_size(struct reading *reading, const struct key *key, const char *value)
{
	uint32_t number;

	if (!parse_u32(value, &number) || number < key->min || number > key->max)
		return wrong(reading, reading->line, "[%s] %s: \"%.40s\" is out of range; write a whole number from %.0f to %.0f",
		    key->section, key->name, value, key->min, key->max);
	*(size_t *)field(reading, key) = number;
	return true;
}

static bool set_seconds(struct reading *reading, const struct key *key, const char *value)
{
	uint32_t number;

	if (!parse_u32(value, &number) || number < key->min || number > key->max)
		return wrong(reading, reading->line, "[%s] %s: \"%.40s\" is out of range; write whole seconds from %.0f to %.0f",
		    key->section, key->name, value, key->min, key->max);
	*(int64_t *)field(reading, key) = (int64_t)number * 1000;
	return true;
}

static bool set_scale(struct reading *reading, const struct key *key, const char *value)
{
	char *end = NULL;
	double number = strtod(value, &end);

	if (end == value || *end != '\0' || !isfinite(number) || number < key->min || number > key->max)
		return wrong(reading, reading->line, "[%s] %s: \"%.40s\" is out of range; write a number from %.0f to %.0f (1: real time)",
		    key->section, key->name, value, key->min, key->max);
	*(double *)field(reading, key) = number;
	return true;
}

static bool set_switch(struct reading *reading, const struct key *key, const char *value)
{
	if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
		return wrong(reading, reading->line, "[%s] %s: \"%.40s\" is neither; write yes or no", key->section, key->name, value);
	*(bool *)field(reading, key) = strcmp(value, "yes") == 0;
	return true;
}

static bool check_address(struct reading *reading, const char *section, const char *name, const char *value)
{
	struct address address;
	const char *why;

	if (address_parse(value, &address, &why) != CPD_OK)
		return wrong(reading, reading->line, "[%s] %s: \"%.60s\" %s", section, name, value, why);
	if (address_port(&address) == 0)
		return wrong(reading, reading->line, "[%s] %s: \"%.60s\" has port 0; write a port from 1 to 65535, such as 5600", section, name, value);
	return true;
}

static bool set_address(struct reading *reading, const struct key *key, const char *value)
{
	return check_address(reading, key->section, key->name, value) && set_text(reading, key, value);
}

static bool set_quality(struct reading *reading, const struct key *key, const char *value)
{
	static const char *const words[] = { "auto", "unknown", "manual", "ntp", "gnss" };

	for (size_t i = 0; i < 5; i++) {
		if (strcmp(value, words[i]) == 0)
			return set_text(reading, key, value);
	}
	return wrong_word(reading, "[clock] quality: ", "quality", value, words, 5);
}

static bool set_level(struct reading *reading, const struct key *key, const char *value)
{
	static const char *const words[] = { "error", "warning", "notice", "info", "debug" };

	for (size_t i = 0; i < 5; i++) {
		if (strcmp(value, words[i]) == 0) {
			*(int *)field(reading, key) = LOG_ERR + (int)i;
			return true;
		}
	}
	return wrong_word(reading, "[log] level: ", "level", value, words, 5);
}

static int number_order(const void *a, const void *b)
{
	const uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;

	return (one > other) - (one < other);
}

static bool set_nodes(struct reading *reading, const struct key *key, const char *value)
{
	uint32_t *nodes = (uint32_t *)(void *)((char *)reading->config + key->offset);
	char copy[LINE_BYTES], *rest = copy, *word;
	size_t count = 0;

	snprintf(copy, sizeof(copy), "%s", value);
	while ((word = strsep(&rest, ","))) {
		word += strspn(word, " \t");
		word[strcspn(word, " \t")] = '\0';
		if (count == CONFIG_ESCALATION)
			return wrong(reading, reading->line, "[%s] %s: more than %d nodes; name those that answer", key->section, key->name, CONFIG_ESCALATION);
		if (!parse_node(word, &nodes[count]))
			return wrong(reading, reading->line, "[%s] %s: \"%.40s\" is not a node number; write %s = 905, 911", key->section, key->name, word, key->name);
		for (size_t i = 0; i < count; i++)
			if (nodes[i] == nodes[count])
				return wrong(reading, reading->line, "[%s] %s: %u stands there twice; keep one", key->section, key->name, nodes[i]);
		count++;
	}
	qsort(nodes, count, sizeof(*nodes), number_order);
	return true;
}

#define PLACE(member) offsetof(struct config, member), sizeof(((struct config *)0)->member)
#define SECONDS(name, member, min, max) { "tuning", name, set_seconds, PLACE(timers.member), min, max }
static const struct key keys[] = {
	{ "node", "number", set_node_number, PLACE(number), 0, 0 },
	{ "node", "role", set_role, PLACE(role), 0, 0 },
	{ "node", "state", set_path, PLACE(state), 0, 0 },
	{ "node", "identity", set_path, PLACE(identity), 0, 0 },
	{ "store", "limit_mib", set_size, PLACE(store_limit_mib), 16, 1048576 },
	{ "store", "folder", set_path, PLACE(store), 0, 0 },
	{ "listen", "address", set_address, PLACE(listen), 0, 0 },
	{ "listen", "accept_any_certified", set_switch, PLACE(accept_any_certified), 0, 0 },
	{ "api", "socket", set_path, offsetof(struct config, api_socket), 108, 0, 0 }, /* sun_path holds no more */
	{ "api", "group", set_text, PLACE(api_group), 0, 0 },
	{ "clock", "quality", set_quality, PLACE(clock_quality), 0, 0 },
	{ "tuning", "time_scale", set_scale, PLACE(time_scale), 1, 1000 },
	SECONDS("retry_flash_s", retry_ms[PRECEDENCE_FLASH], 1, 86400),
	SECONDS("retry_immediate_s", retry_ms[PRECEDENCE_IMMEDIATE], 1, 86400),
	SECONDS("retry_priority_s", retry_ms[PRECEDENCE_PRIORITY], 1, 86400),
	SECONDS("retry_routine_s", retry_ms[PRECEDENCE_ROUTINE], 1, 86400),
	SECONDS("retry_max_s", retry_max_ms, 1, 604800),
	SECONDS("reoffer_s", reoffer_ms, 1, 604800),
	SECONDS("grace_s", grace_ms, 1, 2592000),
	SECONDS("reroute_s", reroute_ms, 1, 86400),
	SECONDS("presence_s", presence_ms, 1, 86400),
	SECONDS("refusal_wait_s", refusal_wait_ms, 1, 86400),
	SECONDS("copy_doubt_s", copy_doubt_ms, 1, 86400),
	{ "tuning", "stall_s", set_seconds, PLACE(stall_ms), 2, 86400 },
	{ "sealing", "escalation", set_nodes, PLACE(escalation), 0, 0 },
	{ "sealing", "keep_s", set_seconds, PLACE(sealed_keep_ms), 1, 315360000 },
	{ "sealing", "period_s", set_seconds, PLACE(sealed_period_ms), 1, 2592000 },
	{ "log", "level", set_level, PLACE(log_level), 0, 0 },
};
#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

/* ---------------------------------------------------------------- [link N] and [route] */
static struct config_link *find_link(const struct config *config, uint32_t node)
{
	for (size_t i = 0; i < config->link_count; i++) {
		if (config->links[i].node == node)
			return &config->links[i];
	}
	return NULL;
}

static bool open_link(struct reading *reading, const char *number)
{
	struct config *config = reading->config;
	struct config_link *link;
	uint32_t node;

	if (!parse_node(number, &node))
		return wrong(reading, reading->line, "[link %.20s]: that is not a node number; write [link 901]", number);
	if (find_link(config, node))
		return wrong(reading, reading->line, "[link %u] stands here a second time (first on line %u); make them one section",
		    node, reading->link_line[find_link(config, node) - config->links]);
	if (config->link_count == CONFIG_LINKS)
		return wrong(reading, reading->line, "[link %u]: more than %d links; split the region over two nodes", node, CONFIG_LINKS);
	reading->link_line[config->link_count] = reading->line;
	reading->link_given = 0;
	link = &config->links[config->link_count++];
	link->node = node;
	memcpy(link->profile, "ip", 3);
	return true;
}

static bool set_link(struct reading *reading, const char *name, const char *value)
{
	static const char *const names[] = { "address", "profile" };
	static const char *const profiles[] = { "ip", "thin", "courier" };
	struct config_link *link = &reading->config->links[reading->config->link_count - 1];
	unsigned bit = strcmp(name, "address") == 0 ? 1 : 2;
	char where[96];

	snprintf(where, sizeof(where), "[%s] ", reading->section);
	if (strcmp(name, "address") != 0 && strcmp(name, "profile") != 0)
		return wrong_word(reading, where, "key", name, names, 2);
	if (reading->link_given & bit)
		return wrong(reading, reading->line, "%s%s is given twice; keep one", where, name);
	reading->link_given |= bit;
	if (bit == 1) {
		if (!check_address(reading, reading->section, name, value))
			return false;
		snprintf(link->address, sizeof(link->address), "%s", value);
		return true;
	}
	if (strcmp(value, "ip") != 0 && strcmp(value, "thin") != 0 && strcmp(value, "courier") != 0) {
		snprintf(where, sizeof(where), "[%s] profile: ", reading->section);
		return wrong_word(reading, where, "profile", value, profiles, 3);
	}
	snprintf(link->profile, sizeof(link->profile), "%s", value);
	return true;
}

static bool parse_via(struct reading *reading, const char *name, const char *value, struct relay_route *route)
{
	char copy[LINE_BYTES], *rest = copy, *word;

	snprintf(copy, sizeof(copy), "%s", value);
	while ((word = strsep(&rest, ","))) {
		uint32_t node;

		word += strspn(word, " \t");
		word[strcspn(word, " \t")] = '\0';
		if (!parse_node(word, &node))
			return wrong(reading, reading->line, "[route] %s: \"%.40s\" is not a neighbour's node number; write %s = 901, 902", name, word, name);
		if (route->via_count == sizeof(route->via) / sizeof(route->via[0]))
			return wrong(reading, reading->line, "[route] %s: more than %zu neighbours; keep the best ones", name, route->via_count);
		route->via[route->via_count++] = node;
	}
	return true;
}

static bool set_route(struct reading *reading, const char *name, const char *value)
{
	struct config *config = reading->config;
	const char *prefix = strcmp(name, "default") == 0 ? "" : name;
	struct relay_route route;

	memset(&route, 0, sizeof(route));
	if (strspn(name, "0123456789") != strlen(name) && prefix[0] != '\0')
		return wrong(reading, reading->line, "[route] \"%.40s\" is no prefix; write the first digits of node numbers, or default", name);
	if (strlen(prefix) >= sizeof(route.prefix))
		return wrong(reading, reading->line, "[route] \"%.40s\" is longer than any node number; write its first digits", name);
	memcpy(route.prefix, prefix, strlen(prefix));
	for (size_t i = 0; i < config->route_count; i++) {
		if (strcmp(config->routes[i].prefix, prefix) == 0)
			return wrong(reading, reading->line, "[route] %s is given twice (first on line %u); keep one", name, reading->route_line[i]);
	}
	if (config->route_count == CONFIG_ROUTES)
		return wrong(reading, reading->line, "[route]: more than %d routes; use shorter prefixes", CONFIG_ROUTES);
	if (!parse_via(reading, name, value, &route))
		return false;
	reading->route_line[config->route_count] = reading->line;
	config->routes[config->route_count++] = route;
	return true;
}

/* ---------------------------------------------------------------- lines */
static bool open_section(struct reading *reading)
{
	static const char *const sections[] = { "node", "store", "listen", "link N", "route", "api", "clock", "tuning", "sealing", "log" };
	size_t count = sizeof(sections) / sizeof(sections[0]);

	if (strncmp(reading->section, "link ", 5) == 0)
		return open_link(reading, reading->section + 5);
	for (size_t i = 0; i < count; i++) {
		if (strcmp(sections[i], reading->section) == 0 && i != 3) {
			if (strcmp(reading->section, "listen") == 0)
				reading->listen_line = reading->line;
			return true;
		}
	}
	return wrong_word(reading, "", "section", reading->section, sections, count);
}

/* inih cuts section names off silently and tells nothing of empty sections: so they are read here. */
static bool note_section(struct reading *reading, const char *line)
{
	const char *start = line + strspn(line, " \t"), *end = strchr(start, ']');
	size_t len;

	if (*start != '[' || !end)
		return true;
	len = (size_t)(end - start) - 1;
	/* inih keeps 49 bytes of a section's name: a longer one would reach the handler as another. */
	if (len >= 50)
		return wrong(reading, reading->line, "the section's name is too long; write [link 901]");
	memcpy(reading->section, start + 1, len);
	reading->section[len] = '\0';
	return open_section(reading);
}

static char *read_line(char *line, int size, void *context)
{
	struct reading *reading = context;

	if (reading->error != CPD_OK || !fgets(line, size, reading->file))
		return NULL;
	reading->line++;
	if (!strchr(line, '\n') && !feof(reading->file)) {
		wrong(reading, reading->line, "the line is longer than %d characters; split it", size - 3);
		return NULL;
	}
	return note_section(reading, line) ? line : NULL;
}

static bool wrong_key(struct reading *reading, const char *section, const char *name)
{
	const char *names[KEY_COUNT];
	size_t count = 0;
	char where[96];

	for (size_t i = 0; i < KEY_COUNT; i++) {
		if (strcmp(keys[i].section, section) == 0)
			names[count++] = keys[i].name;
	}
	snprintf(where, sizeof(where), "[%s] ", section);
	return wrong_word(reading, where, "key", name, names, count);
}

static bool take_key(struct reading *reading, const char *section, const char *name, const char *value)
{
	if (section[0] == '\0')
		return wrong(reading, reading->line, "\"%.40s\" stands before the first section; put it under [node]", name);
	if (strncmp(section, "link ", 5) == 0)
		return set_link(reading, name, value);
	if (strcmp(section, "route") == 0)
		return set_route(reading, name, value);
	for (size_t i = 0; i < KEY_COUNT; i++) {
		if (strcmp(keys[i].section, section) != 0 || strcmp(keys[i].name, name) != 0)
			continue;
		if (reading->given & (UINT64_C(1) << i))
			return wrong(reading, reading->line, "[%s] %s is given twice; keep one", section, name);
		reading->given |= UINT64_C(1) << i;
		return keys[i].set(reading, &keys[i], value);
	}
	return wrong_key(reading, section, name);
}

static int handle(void *context, const char *section, const char *name, const char *value)
{
	struct reading *reading = context;

	return reading->error == CPD_OK && take_key(reading, section, name, value);
}

/* ---------------------------------------------------------------- the whole */
static bool is_given(const struct reading *reading, const char *section, const char *name)
{
	for (size_t i = 0; i < KEY_COUNT; i++) {
		if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, name) == 0)
			return (reading->given & (UINT64_C(1) << i)) != 0;
	}
	return false;
}

static bool check_links(struct reading *reading)
{
	const struct config *config = reading->config;

	for (size_t i = 0; i < config->link_count; i++) {
		if (config->links[i].node == config->number)
			return wrong(reading, reading->link_line[i], "[link %u] is this node itself; remove it or correct [node] number", config->number);
		if (strcmp(config->links[i].profile, "courier") == 0) {
			if (config->links[i].address[0] != '\0')
				return wrong(reading, reading->link_line[i], "[link %u] goes by courier and has an address; remove one of the two", config->links[i].node);
			continue;
		}
		if (config->links[i].address[0] == '\0' && reading->listen_line == 0)
			return wrong(reading, reading->link_line[i], "[link %u] has no address, so it should call us, but there is no [listen] section; "
			    "add address = tcp://ADDRESS:PORT here, or a [listen] section", config->links[i].node);
	}
	for (size_t i = 0; i < config->route_count; i++) {
		for (size_t k = 0; k < config->routes[i].via_count; k++) {
			if (!find_link(config, config->routes[i].via[k]) && !config->accept_any_certified)
				return wrong(reading, reading->route_line[i], "[route] %s goes by %u, which is no neighbour; add [link %u]",
				    config->routes[i].prefix[0] != '\0' ? config->routes[i].prefix : "default",
				    config->routes[i].via[k], config->routes[i].via[k]);
		}
	}
	return true;
}

/* The paths that were not given stand in the state folder. */
static bool fill_paths(struct reading *reading)
{
	struct config *config = reading->config;
	int socket_len;

	if (config->identity[0] == '\0')
		snprintf(config->identity, sizeof(config->identity), "%s/identity", config->state);
	if (config->store[0] == '\0')
		snprintf(config->store, sizeof(config->store), "%s/store", config->state);
	if (config->api_socket[0] != '\0')
		return true;
	socket_len = snprintf(config->api_socket, sizeof(config->api_socket), "%s/api.sock", config->state);
	if (socket_len >= 108)
		return wrong(reading, 0, "[api] socket: the state folder's path is too long for a socket; write socket = /run/cpd/api.sock under [api]");
	return true;
}

/* What one other node may put on this disk before it must wait: a quarter of it. */
static void derive_quota(struct config *config)
{
	const int64_t quarter = (int64_t)config->store_limit_mib * 1024 * 1024 / 4;

	if (quarter > config->timers.quota_bytes)
		config->timers.quota_bytes = quarter;
}

static bool check_whole(struct reading *reading)
{
	if (!is_given(reading, "node", "number"))
		return wrong(reading, 0, "[node] number is missing; write number = NUMBER (as in the certificate) under [node]");
	if (!is_given(reading, "node", "role"))
		return wrong(reading, 0, "[node] role is missing; write role = nsp, cp, desk or partner under [node]");
	derive_quota(reading->config);
	return check_links(reading) && fill_paths(reading);
}

static void scale(struct relay_config *timers, double factor)
{
	int64_t *all[] = { &timers->retry_ms[0], &timers->retry_ms[1], &timers->retry_ms[2], &timers->retry_ms[3],
		&timers->retry_max_ms, &timers->reoffer_ms, &timers->grace_ms, &timers->reroute_ms, &timers->presence_ms,
		&timers->refusal_wait_ms, &timers->copy_doubt_ms };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		*all[i] = (int64_t)((double)*all[i] / factor);
		if (*all[i] < 1)
			*all[i] = 1;
	}
}

static bool fill_defaults(struct config *config)
{
	memset(config, 0, sizeof(*config));
	config->links = calloc(CONFIG_LINKS, sizeof(*config->links));
	config->routes = calloc(CONFIG_ROUTES, sizeof(*config->routes));
	memcpy(config->state, "/var/lib/cpd", sizeof("/var/lib/cpd"));
	config->store_limit_mib = 2048;
	memcpy(config->clock_quality, "auto", sizeof("auto"));
	config->time_scale = 1;
	config->sealed_keep_ms = INT64_C(7776000000);
	config->sealed_period_ms = 604800000;
	relay_config_init(&config->timers);
	config->log_level = LOG_INFO;
	return config->links && config->routes;
}

static void read_file(struct reading *reading)
{
	int line;

	/* The library's defaults cut lines at 200 bytes and let an indented line continue the one before. */
	ini_use_stack = false;
	ini_allow_realloc = false;
	ini_initial_alloc = LINE_BYTES;
	ini_max_line = LINE_BYTES;
	ini_allow_multiline = false;
	ini_stop_on_first_error = true;
	line = ini_parse_stream(read_line, reading, handle, reading);
	if (line == -2)
		fail(reading, CPD_ERR_NOMEM, "%s", cpd_error_text(CPD_ERR_NOMEM));
	else if (line > 0)
		wrong(reading, (unsigned)line, "neither [section] nor key = value; put # in front of a remark");
	else if (ferror(reading->file))
		fail(reading, CPD_ERR_IO, "cannot be read: %s", strerror(errno));
}

enum cpd_error config_load(const char *path, struct config *out, char problem[512])
{
	struct reading *reading = calloc(1, sizeof(*reading));
	enum cpd_error error;

	problem[0] = '\0';
	if (!reading || !fill_defaults(out)) {
		free(reading);
		config_clear(out);
		snprintf(problem, 512, "%s: %s", path, cpd_error_text(CPD_ERR_NOMEM));
		return CPD_ERR_NOMEM;
	}
	reading->path = path;
	reading->config = out;
	reading->problem = problem;
	reading->file = fopen(path, "re");
	if (!reading->file) {
		fail(reading, CPD_ERR_IO, "cannot be opened: %s; let `cpctl node install STATEDIR KIT --conf FILE` make one, or give its path with --config", strerror(errno));
	} else {
		read_file(reading);
		(void)fclose(reading->file);
	}
	if (reading->error == CPD_OK && check_whole(reading))
		scale(&out->timers, out->time_scale);
	error = reading->error;
	if (error != CPD_OK)
		config_clear(out);
	free(reading);
	return error;
}

/* ---------------------------------------------------------------- two of them */
static bool is_same_link(const struct config_link *a, const struct config_link *b)
{
	return a && b && strcmp(a->address, b->address) == 0 && strcmp(a->profile, b->profile) == 0;
}

static void compare_links(const struct config *a, const struct config *b, bool both, config_difference *tell, void *context)
{
	char setting[32];

	for (size_t i = 0; i < a->link_count; i++) {
		const struct config_link *other = find_link(b, a->links[i].node);

		/* What stands in both is told the first time only. */
		if (other ? both && !is_same_link(&a->links[i], other) : true) {
			snprintf(setting, sizeof(setting), "[link %u]", a->links[i].node);
			tell(context, setting);
		}
	}
}

static bool is_same_route(const struct relay_route *a, const struct relay_route *b)
{
	return strcmp(a->prefix, b->prefix) == 0 && a->via_count == b->via_count && memcmp(a->via, b->via, a->via_count * sizeof(a->via[0])) == 0;
}

void config_compare(const struct config *a, const struct config *b, config_difference *tell, void *context)
{
	bool same = a->route_count == b->route_count;
	char setting[64];

	for (size_t i = 0; i < KEY_COUNT; i++) {
		const struct key *key = &keys[i];

		/* Every timer was divided by the scale: the scale alone is told. */
		if (key->set == set_level || (key->set == set_seconds && a->time_scale != b->time_scale))
			continue;
		if (memcmp((const char *)a + key->offset, (const char *)b + key->offset, key->size) == 0)
			continue;
		snprintf(setting, sizeof(setting), "[%s] %s", key->section, key->name);
		tell(context, setting);
	}
	compare_links(a, b, true, tell, context);
	compare_links(b, a, false, tell, context);
	for (size_t i = 0; same && i < a->route_count; i++)
		same = is_same_route(&a->routes[i], &b->routes[i]);
	if (!same)
		tell(context, "[route]");
}

void config_clear(struct config *config)
{
	free(config->links);
	free(config->routes);
	memset(config, 0, sizeof(*config));
}
