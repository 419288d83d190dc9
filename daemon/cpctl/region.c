/* region.c: what the region's authority does, off-line: begin a region, admit nodes, make groups, revoke. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/cpctl/admission.h"
#include "daemon/cpctl/arguments.h"
#include "daemon/cpctl/cpctl.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/passphrase.h"
#include "daemon/cpctl/registry.h"
#include "proto/text.h"

static bool good_name(struct call *call, const char *option, const char *text)
{
	if (*text && !text_check_string(text, LIMIT_NAME, LIMIT_NAME, TEXT_ONE_LINE))
		return true;
	say_usage(call, "--%s: give 1 to %d bytes of text on one line", option, LIMIT_NAME);
	return false;
}

/* ---------------------------------------------------------------- init */

int verb_region_init(struct call *call)
{
	const char *network = call_option(call, "network"), *region = call_option(call, "region"), *name = call_option(call, "name");
	char path[FILE_PATH_MAX], fingerprint[FINGERPRINT_TEXT_MAX];
	struct region_anchor anchor = { .network = "nl" };
	struct passphrase passphrase = { .len = 0 };
	struct authority *authority;
	enum cpd_error error;

	if (!good_name(call, "name", name))
		return EXIT_USAGE;
	if (!admission_is_code(region, "VR", 2))
		return say_usage(call, "--region: \"%s\" is not a safety region's code; write it like VR09", region);
	if (network && (!*network || strlen(network) > LIMIT_NETWORK || strspn(network, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(network)))
		return say_usage(call, "--network: \"%s\" may hold a-z, 0-9 and '-', at most %d", network, LIMIT_NETWORK);
	snprintf(anchor.network, sizeof(anchor.network), "%s", network ? network : "nl");
	snprintf(anchor.region, sizeof(anchor.region), "%s", region);
	snprintf(anchor.name, sizeof(anchor.name), "%s", name);
	if (!file_path(call->words[0], "authority.key", path))
		return EXIT_REFUSED;
	if (file_exists(path))
		return say_refused("%s holds a region's key already: nothing was changed; choose another folder", call->words[0]);
	if (!call_has(call, "unsealed") && !passphrase_ask_new(&passphrase))
		return EXIT_REFUSED;
	error = authority_create(call->words[0], &anchor, passphrase_slice(&passphrase), &authority);
	passphrase_wipe(&passphrase);
	if (error == CPD_ERR_EXISTS)
		return say_refused("%s holds a region's key already: nothing was changed; choose another folder", call->words[0]);
	if (error)
		return say_crypto(call->words[0], error);
	region_anchor_fingerprint(authority_anchor(authority), fingerprint);
	authority_free(authority);
	if (!file_path(call->words[0], "updates", path) || !file_make_folder(path, 0755) ||
	    !file_path(call->words[0], "kits", path) || !file_make_folder(path, 0755))
		return EXIT_REFUSED;
	printf("Region %s %s is made in %s.\nFingerprint  %s\n%s", region, name, call->words[0], fingerprint, call_has(call, "unsealed") ?
	    "Its key lies open: who has authority.key signs for the region. For exercises and\ntests only; `cpctl region passphrase` seals it.\n" :
	    "Keep this folder off-line, with two copies, and the passphrase elsewhere: who has\nboth signs for the region.\n");
	return EXIT_DONE;
}

int verb_region_passphrase(struct call *call)
{
	const char *dir = call->words[0];
	struct passphrase passphrase;
	struct authority *authority;
	enum cpd_error error;

	if (!file_lock(dir))
		return EXIT_REFUSED;
	authority = registry_unlock(dir);
	if (!authority)
		return EXIT_REFUSED;
	if (!passphrase_ask_new(&passphrase)) {
		authority_free(authority);
		return EXIT_REFUSED;
	}
	error = authority_seal(dir, authority, passphrase_slice(&passphrase));
	passphrase_wipe(&passphrase);
	authority_free(authority);
	if (error)
		return say_crypto(dir, error);
	printf("The key in %s is sealed with the new passphrase. Copies of the folder that\nwere made before still open as they did: replace them.\n", dir);
	return EXIT_DONE;
}

/* ---------------------------------------------------------------- admit */

static bool take_degrees(struct call *call, const char *option, double most, int32_t *out)
{
	const char *text = call_option(call, option);

	if (!text || admission_degrees(text, most, out))
		return true;
	say_usage(call, "--%s: \"%s\" is not a number of degrees from -%g to %g; write 52.09083", option, text, most, most);
	return false;
}

static bool take_admission(struct call *call, struct certificate *certificate)
{
	const char *role = call_option(call, "role"), *name = call_option(call, "name"), *address = call_option(call, "address");
	const char *municipality = call_option(call, "municipality");

	if (!call_number(call, "node", UINT32_MAX, &certificate->node) || (name && !good_name(call, "name", name)) ||
	    !take_degrees(call, "lat", 90, &certificate->latitude_e5) ||
	    !take_degrees(call, "lon", 180, &certificate->longitude_e5))
		return false;
	if (address && !admission_is_address(address)) {
		say_usage(call, "--address: \"%s\" is not numeric; write tcp://192.0.2.1:5600", address);
		return false;
	}
	if (!node_role_parse(role, &certificate->role)) {
		say_usage(call, "--role: \"%s\" is not a role; it is nsp, cp, desk or partner", role);
		return false;
	}
	if (municipality && !admission_is_code(municipality, "GM", 4)) {
		say_usage(call, "--municipality: \"%s\" is not a CBS code; write it like GM0344", municipality);
		return false;
	}
	if (call_has(call, "lat") != call_has(call, "lon")) {
		say_usage(call, "--lat and --lon go together");
		return false;
	}
	if (name)
		snprintf(certificate->name, sizeof(certificate->name), "%s", name);
	snprintf(certificate->address, sizeof(certificate->address), "%s", address ? address : "");
	snprintf(certificate->municipality, sizeof(certificate->municipality), "%s", municipality ? municipality : "");
	return true;
}

static bool read_request(const char *path, struct certificate *asked)
{
	enum cpd_error error;
	uint8_t *bytes;
	size_t len;

	if (!file_read(path, LIMIT_CERTIFICATE, &bytes, &len))
		return false;
	error = region_check_request((struct slice){ bytes, len }, asked);
	free(bytes);
	if (error)
		say_refused("%s is not a whole request (%s): copy it again from the node, it is made by `cpctl node init`", path, cpd_error_text(error));
	return !error;
}

static bool same_keys(const struct certificate *a, const struct certificate *b)
{
	return !memcmp(a->signing_key, b->signing_key, 32) && !memcmp(a->sealing_key, b->sealing_key, 32) &&
	    !memcmp(a->transport_key, b->transport_key, 32);
}

static bool shares_key(const struct certificate *a, const struct certificate *b)
{
	return !memcmp(a->signing_key, b->signing_key, 32) || !memcmp(a->sealing_key, b->sealing_key, 32) ||
	    !memcmp(a->transport_key, b->transport_key, 32);
}

/* Which key number: that of the same keys, or the next. A key belongs to one node: it is its name. */
static bool choose_key_number(const struct directory *directory, struct certificate *certificate)
{
	const struct certificate *own = directory_certificate(directory, certificate->node);

	certificate->key_number = own ? own->key_number + 1 : 1;
	for (const struct certificate *node = directory_next(directory, 0); node; node = directory_next(directory, node->node)) {
		for (uint32_t key = 1; key <= node->key_number; key++) {
			const struct certificate *held = directory_certificate_key(directory, node->node, key);

			if (!held || !shares_key(held, certificate))
				continue;
			if (node->node != certificate->node || !same_keys(held, certificate)) {
				say_refused("these keys are those of node %u: a copied machine; make a request of its own with `cpctl node init` in an empty folder", node->node);
				return false;
			}
			if (directory_revocation(directory, node->node, key) || key != node->key_number) {
				say_refused("key %u of node %u is revoked or replaced: make new keys with `cpctl node init` in an empty folder", key, node->node);
				return false;
			}
			certificate->key_number = key;
		}
	}
	return true;
}

/* So that a command that was broken off can be given again. */
static bool is_held(const struct directory *directory, const struct certificate *wanted)
{
	const struct certificate *held = directory_certificate_key(directory, wanted->node, wanted->key_number);

	return held && same_keys(held, wanted) && held->role == wanted->role && !strcmp(held->name, wanted->name) &&
	    !strcmp(held->address, wanted->address) && !strcmp(held->municipality, wanted->municipality) &&
	    !strcmp(held->region, wanted->region) && held->latitude_e5 == wanted->latitude_e5 && held->longitude_e5 == wanted->longitude_e5;
}

/* A slip in --node must not put another machine in the place of one that works. */
static bool may_replace(const struct call *call, const struct directory *directory, const struct certificate *wanted)
{
	const struct certificate *held = directory_certificate(directory, wanted->node);

	if (!held || held->key_number == wanted->key_number || directory_revocation(directory, held->node, held->key_number) || call_has(call, "replace"))
		return true;
	say_refused("node %u is %s (%s), with other keys; choose a free number, or give --replace if this machine takes its place",
	    held->node, held->name, node_role_name(held->role));
	return false;
}

/* A machine that takes another's place stands where that one stood, as far as nobody says otherwise. */
static void inherit(const struct call *call, const struct directory *directory, struct certificate *certificate)
{
	const struct certificate *held = directory_certificate(directory, certificate->node);

	if (!held || !call_has(call, "replace"))
		return;
	if (!call_has(call, "address"))
		memcpy(certificate->address, held->address, sizeof(certificate->address));
	if (!call_has(call, "municipality"))
		memcpy(certificate->municipality, held->municipality, sizeof(certificate->municipality));
	if (!call_has(call, "lat")) {
		certificate->latitude_e5 = held->latitude_e5;
		certificate->longitude_e5 = held->longitude_e5;
	}
}

static int admit(const struct call *call, struct registry *registry, struct certificate *certificate)
{
	struct directory_update update = { .certificates = certificate, .certificate_count = 1 };
	char path[FILE_PATH_MAX], fingerprint[FINGERPRINT_TEXT_MAX];
	bool was_held;

	snprintf(certificate->region, sizeof(certificate->region), "%s", registry->anchor.region);
	inherit(call, registry->directory, certificate);
	if (!choose_key_number(registry->directory, certificate) || !may_replace(call, registry->directory, certificate))
		return EXIT_REFUSED;
	was_held = is_held(registry->directory, certificate);
	if ((!was_held && !registry_sign(registry, &update)) || !registry_write_kit(registry, certificate, path))
		return EXIT_REFUSED;
	printf("Node %u %s (%s) %s, key %u, directory %u.\nFingerprint  %s\nKit          %s\n"
	    "Compare the fingerprint with the one that `cpctl node show` tells at the node,\nby telephone or in person, before the kit is handed out.\n",
	    certificate->node, certificate->name, node_role_name(certificate->role), was_held ? "was admitted already" : "is admitted",
	    certificate->key_number, directory_version(registry->directory), certificate_fingerprint(certificate, fingerprint), path);
	if (!was_held)
		printf("Take updates/%06u.update to one other node too: `cpctl directory import FILE`.\n", update.number);
	return EXIT_DONE;
}

int verb_region_admit(struct call *call)
{
	struct certificate certificate;
	struct registry registry;
	uint32_t asked_node;
	int status = EXIT_REFUSED;

	/* The words first: a slip on the command line is exit 2 whatever the files are like. */
	memset(&certificate, 0, sizeof(certificate));
	if (!take_admission(call, &certificate))
		return EXIT_USAGE;
	if (!read_request(call->words[1], &certificate))
		return EXIT_REFUSED;
	asked_node = certificate.node;
	if (!take_admission(call, &certificate))
		return EXIT_USAGE;
	if (asked_node && asked_node != certificate.node)
		return say_refused("the request is of node %u, not %u: take the right file", asked_node, certificate.node);
	if (!registry_open(&registry, call->words[0]))
		return EXIT_REFUSED;
	status = admit(call, &registry, &certificate);
	registry_close(&registry);
	return status;
}

int verb_region_kit(struct call *call)
{
	const struct certificate *certificate;
	char path[FILE_PATH_MAX];
	struct registry registry;
	int status = EXIT_REFUSED;
	uint32_t node = 0;

	if (!call_number(call, "node", UINT32_MAX, &node))
		return EXIT_USAGE;
	if (!registry_open(&registry, call->words[0]))
		return EXIT_REFUSED;
	certificate = directory_certificate(registry.directory, node);
	if (!certificate)
		say_refused("node %u is not admitted; `cpctl region show %s` lists the nodes", node, call->words[0]);
	else if (registry_write_kit(&registry, certificate, path)) {
		printf("Kit          %s, directory %u\n", path, directory_version(registry.directory));
		status = EXIT_DONE;
	}
	registry_close(&registry);
	return status;
}

/* ---------------------------------------------------------------- group */

static int number_compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

/* "1,2,3" ascending without repeats. */
static bool take_members(struct call *call, uint32_t members[LIMIT_GROUP_MEMBERS], size_t *count)
{
	const char *text = call_option(call, "members");
	size_t given = 0;

	*count = 0;
	while (*text) {
		size_t len = strcspn(text, ",");
		char word[16];
		uint64_t number;

		snprintf(word, sizeof(word), "%.*s", (int)(len < 15 ? len : 15), text);
		if (!parse_number(word, UINT32_MAX, &number) || !number) {
			say_usage(call, "--members: \"%s\" is not a node number; write 344001,344002", word);
			return false;
		}
		if (given == LIMIT_GROUP_MEMBERS) {
			say_usage(call, "--members: more than %d", LIMIT_GROUP_MEMBERS);
			return false;
		}
		members[given++] = (uint32_t)number;
		text += len;
		text += *text == ',';
	}
	qsort(members, given, sizeof(members[0]), number_compare);
	for (size_t i = 0; i < given; i++)
		if (!*count || members[*count - 1] != members[i])
			members[(*count)++] = members[i];
	if (!*count)
		say_usage(call, "--members: name at least one node");
	return *count != 0;
}

static bool members_are_there(const struct directory *directory, const uint32_t *members, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct certificate *member = directory_certificate(directory, members[i]);

		if (member && !directory_revocation(directory, members[i], member->key_number))
			continue;
		say_refused("node %u is %s: admit it first, or leave it out", members[i], member ? "revoked" : "not admitted");
		return false;
	}
	return true;
}

static int make_group(struct registry *registry, struct group *group)
{
	struct directory_update update = { .groups = group, .group_count = 1 };
	const struct group *held = directory_group(registry->directory, group->number, 0);

	for (const struct group *other = directory_next_group(registry->directory, 0); other; other = directory_next_group(registry->directory, other->number))
		if (other->number != group->number && !strcasecmp(other->name, group->name))
			return say_refused("group %u bears the name \"%s\" already: choose another", other->number, other->name);
	if (!members_are_there(registry->directory, group->members, group->member_count))
		return EXIT_REFUSED;
	group->version = held ? held->version + 1 : 1;
	if (held && !strcmp(held->name, group->name) && held->member_count == group->member_count &&
	    !memcmp(held->members, group->members, group->member_count * sizeof(group->members[0]))) {
		printf("Group %u %s stands so already, version %u.\n", held->number, held->name, held->version);
		return EXIT_DONE;
	}
	if (!registry_sign(registry, &update))
		return EXIT_REFUSED;
	printf("Group %u %s has %zu member%s, version %u, directory %u.\n"
	    "Take updates/%06u.update to one node: `cpctl directory import FILE`.\n", group->number, group->name, group->member_count,
	    group->member_count == 1 ? "" : "s", group->version, directory_version(registry->directory), update.number);
	return EXIT_DONE;
}

int verb_region_group(struct call *call)
{
	static uint32_t members[LIMIT_GROUP_MEMBERS];
	struct group group = { .members = members };
	struct registry registry;
	int status;

	if (!call_number(call, "number", UINT32_MAX, &group.number) || !good_name(call, "name", call_option(call, "name")) ||
	    !take_members(call, members, &group.member_count))
		return EXIT_USAGE;
	snprintf(group.name, sizeof(group.name), "%s", call_option(call, "name"));
	if (!registry_open(&registry, call->words[0]))
		return EXIT_REFUSED;
	status = make_group(&registry, &group);
	registry_close(&registry);
	return status;
}

/* ---------------------------------------------------------------- revoke */

#define REVOKED_MAX 64  /* keys of one node in one update */

/* "1/118" */
static bool take_last(struct call *call, struct revocation *revocation)
{
	const char *text = call_option(call, "last"), *slash = text ? strchr(text, '/') : NULL;
	char epoch[12];
	uint64_t number = 0;

	if (!text)
		return true;
	if (slash && (size_t)(slash - text) < sizeof(epoch)) {
		snprintf(epoch, sizeof(epoch), "%.*s", (int)(slash - text), text);
		if (parse_number(epoch, UINT32_MAX, &number) && number && parse_number(slash + 1, UINT64_MAX, &revocation->last_sequence)) {
			revocation->last_epoch = (uint32_t)number;
			return true;
		}
	}
	say_usage(call, "--last: \"%s\" is not EPOCH/SEQUENCE; write 1/118, as in the last good message id 344003/1/118", text);
	return false;
}

/* Every key that the node ever had and that stands: whoever has the machine may have those of before, too. One line for
 * all, since epochs and sequences are of the node and not of a key. */
static size_t keys_of(const struct directory *directory, const struct revocation *wanted, uint32_t newest, struct revocation *out)
{
	size_t count = 0;

	for (uint32_t key = newest; key && count < REVOKED_MAX; key--) {
		if (key != newest && (!directory_certificate_key(directory, wanted->node, key) || directory_revocation(directory, wanted->node, key)))
			continue;
		out[count] = *wanted;
		out[count++].key_number = key;
	}
	return count;
}

static int revoke(struct call *call, struct registry *registry, const struct revocation *revocation)
{
	const struct certificate *certificate = directory_certificate(registry->directory, revocation->node);
	struct revocation revocations[REVOKED_MAX];
	struct directory_update update = { .revocations = revocations };
	const struct revocation *held;

	if (!certificate)
		return say_refused("node %u is not admitted; `cpctl region show %s` lists the nodes", revocation->node, call->words[0]);
	held = directory_revocation(registry->directory, revocation->node, certificate->key_number);
	if (held && held->last_epoch == revocation->last_epoch && held->last_sequence == revocation->last_sequence) {
		printf("Key %u of node %u is revoked so already.\n", held->key_number, held->node);
		return EXIT_DONE;
	}
	update.revocation_count = keys_of(registry->directory, revocation, certificate->key_number, revocations);
	if (!registry_sign(registry, &update))
		return EXIT_REFUSED;
	for (size_t i = 0; i < update.revocation_count; i++)
		printf("Key %u of node %u %s is revoked, directory %u.\n", revocations[i].key_number, revocation->node, certificate->name, update.number);
	if (revocation->last_epoch)
		printf("Messages after %u/%u/%llu are shown as suspect.\n", revocation->node, revocation->last_epoch, (unsigned long long)revocation->last_sequence);
	else
		printf("Nothing this node signed before is trusted any more.\n");
	printf("Take updates/%06u.update to one node that is reached: `cpctl directory import FILE`.\n", update.number);
	return EXIT_DONE;
}

int verb_region_revoke(struct call *call)
{
	const char *reason = call_option(call, "reason");
	struct revocation revocation = { .node = 0 };
	struct registry registry;
	int status;

	if (!call_number(call, "node", UINT32_MAX, &revocation.node) || (reason && !good_name(call, "reason", reason)) || !take_last(call, &revocation))
		return EXIT_USAGE;
	snprintf(revocation.reason, sizeof(revocation.reason), "%s", reason ? reason : "");
	if (!registry_open(&registry, call->words[0]))
		return EXIT_REFUSED;
	status = revoke(call, &registry, &revocation);
	registry_close(&registry);
	return status;
}

/* ---------------------------------------------------------------- show */

static json_t *region_to_json(const struct registry *registry)
{
	const struct region_anchor *anchor = &registry->anchor;
	char fingerprint[FINGERPRINT_TEXT_MAX];
	json_t *nodes = json_array(), *groups = json_array();

	for (const struct certificate *node = directory_next(registry->directory, 0); node; node = directory_next(registry->directory, node->node))
		json_array_append_new(nodes, json_pack("{s:I,s:s,s:s,s:I,s:s,s:s,s:b,s:s}", "number", (json_int_t)node->node, "name", node->name,
		    "role", node_role_name(node->role), "key_number", (json_int_t)node->key_number, "municipality", node->municipality,
		    "address", node->address, "revoked", directory_revocation(registry->directory, node->node, node->key_number) != NULL,
		    "fingerprint", certificate_fingerprint(node, fingerprint)));
	for (const struct group *group = directory_next_group(registry->directory, 0); group; group = directory_next_group(registry->directory, group->number)) {
		json_t *members = json_array();

		for (size_t i = 0; i < group->member_count; i++)
			json_array_append_new(members, json_integer(group->members[i]));
		json_array_append_new(groups, json_pack("{s:I,s:I,s:s,s:o}", "number", (json_int_t)group->number,
		    "version", (json_int_t)group->version, "name", group->name, "members", members));
	}
	return json_pack("{s:s,s:s,s:s,s:s,s:I,s:o,s:o}", "network", anchor->network, "region", anchor->region, "name", anchor->name,
	    "fingerprint", region_anchor_fingerprint(anchor, fingerprint), "version", (json_int_t)registry->update_count,
	    "nodes", nodes, "groups", groups);
}

static void print_region(const json_t *region)
{
	char name[160];
	size_t index;
	json_t *row;

	printf("Region %s %s, network %s, directory %lld\nFingerprint  %s\n\n", json_text(region, "region"), json_text(region, "name"),
	    json_text(region, "network"), (long long)json_number(region, "version"), json_text(region, "fingerprint"));
	printf("%10s  %-7s  %-30s  %3s  %s\n", "NODE", "ROLE", "NAME", "KEY", "FINGERPRINT");
	json_array_foreach(json_object_get(region, "nodes"), index, row)
		printf("%10lld  %-7s  %s  %3lld  %.14s…%s\n", (long long)json_number(row, "number"), json_text(row, "role"),
		    text_fit(json_text(row, "name"), 30, name, sizeof(name)), (long long)json_number(row, "key_number"),
		    json_text(row, "fingerprint"), json_flag(row, "revoked") ? " REVOKED" : "");
	json_array_foreach(json_object_get(region, "groups"), index, row)
		printf("%sGroup %lld %s, version %lld, %zu member%s\n", index ? "" : "\n", (long long)json_number(row, "number"),
		    text_fit(json_text(row, "name"), 0, name, sizeof(name)), (long long)json_number(row, "version"),
		    json_array_size(json_object_get(row, "members")), json_array_size(json_object_get(row, "members")) == 1 ? "" : "s");
}

int verb_region_show(struct call *call)
{
	struct registry registry;
	json_t *region;

	if (!registry_open(&registry, call->words[0]))
		return EXIT_REFUSED;
	region = region_to_json(&registry);
	registry_close(&registry);
	if (call->json)
		print_json(region);
	else
		print_region(region);
	json_decref(region);
	return EXIT_DONE;
}
