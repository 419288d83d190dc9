/* node.c: how a machine becomes a node, off-line: its keys and request, its kit, and what it is. */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "crypto/kit.h"
#include "crypto/region.h"
#include "daemon/cpctl/conf.h"
#include "daemon/cpctl/cpctl.h"
#include "daemon/cpctl/file.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/owner.h"
#include "daemon/cpctl/unseal.h"
#include "proto/text.h"

/* Where Debian's package has them. */
#define USUAL_STATE "/var/lib/cpd"
#define USUAL_CONF_DIR "/etc/cpd"
#define USUAL_CONF USUAL_CONF_DIR "/cpd.conf"

static const char *fingerprint_of(const struct identity *identity, char out[FINGERPRINT_TEXT_MAX])
{
	struct certificate own = { .node = 0 };

	identity_public_keys(identity, &own);
	return certificate_fingerprint(&own, out);
}

/* ---------------------------------------------------------------- init */

/* Keys that were never installed are as good as new: a command that was broken off is given again. */
static int open_or_create(const char *path, struct identity **out, bool *is_new)
{
	enum cpd_error error = identity_create(path, 0, out);

	*is_new = !error;
	if (error == CPD_ERR_EXISTS)
		error = identity_load(path, out, NULL);
	if (error)
		return say_crypto(path, error);
	if (!identity_anchor(*out))
		return EXIT_DONE;
	say_refused("%s holds the keys of node %u already: nothing was changed; for new keys choose an empty folder", path, identity_node(*out));
	identity_free(*out);
	*out = NULL;
	return EXIT_REFUSED;
}

int verb_node_init(struct call *call)
{
	const char *state = call->word_count ? call->words[0] : USUAL_STATE, *name = call_option(call, "name");
	char path[FILE_PATH_MAX], request_path[FILE_PATH_MAX], fingerprint[FINGERPRINT_TEXT_MAX];
	uint8_t request[LIMIT_CERTIFICATE];
	struct identity *identity = NULL;
	enum cpd_error error;
	bool is_new, is_written;
	size_t len;

	if (!*name || text_check_string(name, LIMIT_NAME, LIMIT_NAME, TEXT_ONE_LINE))
		return say_usage(call, "--name: give 1 to %d bytes of text on one line", LIMIT_NAME);
	if (!owner_make_folder(state) || !file_path(state, "identity", path) || !file_path(state, "request.cpd", request_path) ||
	    !owner_become(state))
		return EXIT_REFUSED;
	if (open_or_create(path, &identity, &is_new))
		return EXIT_REFUSED;
	error = region_make_request(identity, name, request, &len);
	fingerprint_of(identity, fingerprint);
	identity_free(identity);
	if (error)
		return say_crypto(request_path, error);
	is_written = file_write(request_path, request, len);
	if (!is_written)
		return EXIT_REFUSED;
	printf("%s\nRequest      %s\nFingerprint  %s\n"
	    "Take the request to the region on a stick, and tell the fingerprint by telephone\nor in person.\n",
	    is_new ? "Keys are made." : "The keys were there already; the request is made again.", request_path, fingerprint);
	return EXIT_DONE;
}

/* ---------------------------------------------------------------- install */

#define EMERGENCY_NOTE_MAX 256 /* bytes: time, and a name of LIMIT_NAME */

struct installation {
	const char *state, *conf, *keys;     /* conf, keys NULL: not wanted */
	const char *kit_path;
	bool is_usual;                       /* the places of the package: a cpd.conf that stands there is kept */
	bool has_copied;                     /* the identity is the copy's: it is still to be put in its place */
	const char *who;                     /* who opened it with the emergency code */
	bool is_sealed;                      /* the kit brought the keys: identity and homes are of `part` */
	struct sealed_part part;
	char identity_path[FILE_PATH_MAX], updates_path[FILE_PATH_MAX];
	struct identity *identity;
	struct kit kit;
	struct directory *directory;
};

static bool update_path(const struct installation *installation, uint32_t number, char path[FILE_PATH_MAX])
{
	char name[32];

	snprintf(name, sizeof(name), "%06u.update", number);
	return file_path(installation->updates_path, name, path);
}

/* A number has one content for ever: another one means that two copies of the authority's folder sign. */
static bool check_update(const struct installation *installation, uint32_t number, struct slice record)
{
	char path[FILE_PATH_MAX];
	uint8_t *held;
	size_t len;
	bool is_same;

	if (!update_path(installation, number, path))
		return false;
	if (!file_exists(path))
		return true;
	if (!file_read(path, LIMIT_ITEM, &held, &len))
		return false;
	is_same = len == record.len && !memcmp(held, record.data, len);
	free(held);
	if (!is_same)
		say_refused("%s is another update %u than the kit's: the region signs in two places; ask it which is right. Nothing was changed", path, number);
	return is_same;
}

/* All that may be refused is refused here, before anything is written. */
static bool read_updates(struct installation *installation)
{
	const struct kit *kit = &installation->kit;

	installation->directory = directory_new();
	if (!installation->directory) {
		say_refused("memory is used up");
		return false;
	}
	for (size_t i = 0; i < kit->update_count; i++) {
		struct directory_update update;
		enum cpd_error error = verify_directory_update(&kit->anchor, kit->updates[i], &update);
		bool is_good = !error && !directory_apply(installation->directory, &update) && check_update(installation, update.number, kit->updates[i]);

		directory_update_clear(&update);
		if (error)
			say_refused("update %zu of the kit is refused: %s", i + 1, cpd_error_text(error));
		if (!is_good)
			return false;
	}
	return true;
}

static bool check_installed(const struct installation *installation)
{
	const struct region_anchor *anchor = identity_anchor(installation->identity), *offered = &installation->kit.anchor;

	if (!anchor)
		return true;
	if (memcmp(anchor->authority_key, offered->authority_key, 32) || strcmp(anchor->network, offered->network)) {
		say_refused("this node belongs to region %s %s, the kit is of %s %s: nothing was changed; another region needs another state folder",
		    anchor->region, anchor->name, offered->region, offered->name);
		return false;
	}
	if (identity_node(installation->identity) == installation->kit.node)
		return true;
	say_refused("this is node %u, the kit is for node %u: nothing was changed", identity_node(installation->identity), installation->kit.node);
	return false;
}

static bool check_conf(struct installation *installation)
{
	if (!installation->conf || !file_exists(installation->conf))
		return true;
	if (installation->is_usual) {
		fprintf(stderr, "cpctl: %s is there already and is kept\n", installation->conf);
		installation->conf = NULL;
		return true;
	}
	say_refused("%s is there already: nothing was changed; give another name, or leave --conf out", installation->conf);
	return false;
}

/* Keys from elsewhere, for a machine that has none yet. Given again it finds them there. */
static int take_copy(struct installation *installation, struct identity *take_copy, const char *from)
{
	struct certificate held = { .node = 0 }, copied = { .node = 0 };

	if (!installation->identity) {
		installation->identity = take_copy;
		installation->has_copied = true;
		return EXIT_DONE;
	}
	identity_public_keys(installation->identity, &held);
	identity_public_keys(take_copy, &copied);
	identity_free(take_copy);
	if (!memcmp(&held, &copied, sizeof(held)))
		return EXIT_DONE;
	return say_refused("%s holds other keys than %s: nothing was changed; to take those, move that folder away first", installation->identity_path, from);
}

/* A copy of the keys, for a machine that takes the place of one that is gone. */
static int take_keys(struct installation *installation)
{
	struct identity *copy;
	enum cpd_error error = identity_load_copy(installation->keys, &copy);

	if (error == CPD_ERR_NOT_FOUND)
		return say_refused("%s holds no keys: give the copy of an identity folder", installation->keys);
	if (error)
		return say_crypto(installation->keys, error);
	return take_copy(installation, copy, installation->keys);
}

static bool check_who(const struct installation *installation)
{
	if (installation->who && *installation->who && !text_check_string(installation->who, LIMIT_NAME, LIMIT_NAME, TEXT_ONE_LINE))
		return true;
	say_refused("this is the emergency code: its use is written down, and every CP is told. Give the command again and say who you are, in at most "
	    "%d bytes: --who 'Jan de Vries, wijkteam'. Nothing was changed", LIMIT_NAME);
	return false;
}

/* A sealed kit brings its keys along, any other is of keys that are here. */
static int read_kit(struct installation *installation)
{
	struct identity *brought;
	enum cpd_error error;

	switch (unseal(installation->kit_path, &installation->kit, &installation->part)) {
	case UNSEAL_REFUSED:
		return EXIT_REFUSED;
	case UNSEAL_DONE:
		installation->is_sealed = true;
		if (installation->part.slot == KIT_SLOT_EMERGENCY && !check_who(installation))
			return EXIT_REFUSED;
		brought = installation->part.identity;
		installation->part.identity = NULL;
		return take_copy(installation, brought, installation->kit_path);
	case UNSEAL_OTHER:
		break;
	}
	if (!installation->identity)
		return say_refused("%s holds no keys: `cpctl node init` makes them, and the request for the region; or give a copy of them with --keys",
		    installation->state);
	error = kit_read(installation->kit_path, &installation->kit);
	return error ? say_crypto(installation->kit_path, error) : EXIT_DONE;
}

static int prepare(struct installation *installation)
{
	enum cpd_error error;

	if (!file_path(installation->state, "identity", installation->identity_path) || !file_path(installation->state, "updates", installation->updates_path))
		return EXIT_REFUSED;
	error = identity_load(installation->identity_path, &installation->identity, NULL);
	if (error && error != CPD_ERR_NOT_FOUND)
		return say_crypto(installation->identity_path, error);
	if (installation->keys && take_keys(installation) != EXIT_DONE)
		return EXIT_REFUSED;
	if (read_kit(installation) != EXIT_DONE)
		return EXIT_REFUSED;
	error = kit_check(&installation->kit, installation->identity);
	if (error)
		return say_crypto(installation->kit_path, error);
	if (!check_installed(installation) || !check_conf(installation) || !read_updates(installation))
		return EXIT_REFUSED;
	return EXIT_DONE;
}

static bool write_conf(const struct installation *installation)
{
	const struct certificate *own = directory_certificate(installation->directory, installation->kit.node);
	char state[PATH_MAX], *text;
	bool is_written;

	if (!installation->conf)
		return true;
	if (installation->is_usual && !file_make_folder(USUAL_CONF_DIR, 0755))
		return false;
	text = realpath(installation->state, state) ? conf_make(own, installation->directory, state, owner_group(state),
	    installation->part.homes, installation->part.home_count) : NULL;
	if (!text)
		say_refused("%s cannot be made: the path of the state folder is not found", installation->conf);
	is_written = text && file_write(installation->conf, text, strlen(text));
	free(text);
	/* Whatever root's umask is: the daemon's user reads it, and no secret is in it. */
	if (!is_written || !chmod(installation->conf, 0644))
		return is_written;
	say_refused("%s: cannot be made readable for cpd: %s", installation->conf, strerror(errno));
	return false;
}

static bool write_updates(const struct installation *installation)
{
	const struct kit *kit = &installation->kit;

	if (!file_make_folder(installation->updates_path, 0700))
		return false;
	for (size_t i = 0; i < kit->update_count; i++) {
		char path[FILE_PATH_MAX];

		/* kit_check and read_updates took them in this order: 1, 2, 3 ... */
		if (!update_path(installation, (uint32_t)i + 1, path) || (!file_exists(path) && !file_write(path, kit->updates[i].data, kit->updates[i].len)))
			return false;
	}
	return true;
}

static bool put_keys(struct installation *installation)
{
	enum cpd_error error = CPD_OK;

	/* The first code of a kit is the keys' first life; who opens with the second cannot know whether there was a first. */
	if (installation->has_copied)
		error = installation->is_sealed && installation->part.slot == KIT_SLOT_VOLUNTEER
		    ? identity_place(installation->identity, installation->identity_path) : identity_put(installation->identity, installation->identity_path);
	if (error)
		say_crypto(installation->identity_path, error);
	return !error;
}

/* Which the daemon tells every CP of, when it starts: node_emergency.h. Before the keys: no installation without it. */
static bool write_note(const struct installation *installation)
{
	char path[FILE_PATH_MAX], line[EMERGENCY_NOTE_MAX];
	time_t now = time(NULL);
	struct tm broken;
	size_t len;

	if (!installation->has_copied || installation->part.slot != KIT_SLOT_EMERGENCY)
		return true;
	if (!file_path(installation->state, "emergency-install", path) || !gmtime_r(&now, &broken))
		return false;
	len = strftime(line, sizeof(line), "%Y-%m-%d %H:%M UTC (klok van het kastje), ", &broken);
	len += (size_t)snprintf(line + len, sizeof(line) - len, "%s\n", installation->who);
	return file_write(path, line, len);
}

/* The identity last: when it says so, the node is installed, whatever broke off before. */
static int install(struct installation *installation)
{
	const struct kit *kit = &installation->kit;
	const struct certificate *own = directory_certificate(installation->directory, kit->node);
	char fingerprint[FINGERPRINT_TEXT_MAX];
	enum cpd_error error;

	if (directory_version(installation->directory) != kit->update_count)
		return say_refused("the kit's updates have a gap: ask the region to make it again with `cpctl region kit`; nothing was changed");
	/* The state is the daemon's; the configuration is who installs' own. */
	if (!owner_make_folder(installation->state) || !owner_become(installation->state) || !write_note(installation) || !put_keys(installation) ||
	    !write_updates(installation) || !owner_leave() || !write_conf(installation) || !owner_become(installation->state))
		return EXIT_REFUSED;
	error = identity_install(installation->identity, kit->node, kit->key_number, &kit->anchor);
	if (error)
		return say_crypto(installation->identity_path, error);
	printf("This is node %u %s (%s), key %u, of region %s %s; directory %u.\nRegion's fingerprint  %s\n"
	    "Compare it with the one that the region tells.\n", kit->node, own->name, node_role_name(own->role), kit->key_number, kit->anchor.region,
	    kit->anchor.name, directory_version(installation->directory), region_anchor_fingerprint(&kit->anchor, fingerprint));
	if (installation->conf)
		printf("Configuration         %s\n", installation->conf);
	if (installation->part.slot == KIT_SLOT_EMERGENCY)
		printf("The emergency code was used: when cpd starts it tells every CP. Tell the\nmunicipality by telephone too.\n");
	if (installation->is_usual)
		printf("Now start it: systemctl enable --now cpd\n");
	return EXIT_DONE;
}

int verb_node_install(struct call *call)
{
	bool is_usual = call->word_count == 1;
	struct installation installation = { .is_usual = is_usual, .state = is_usual ? USUAL_STATE : call->words[0],
		.kit_path = call->words[call->word_count - 1], .conf = call_option(call, "conf"), .keys = call_option(call, "keys"),
		.who = call_option(call, "who") };
	int status;

	if (is_usual && !installation.conf)
		installation.conf = USUAL_CONF;
	else
		installation.is_usual = false;
	status = prepare(&installation);
	if (status == EXIT_DONE)
		status = install(&installation);
	directory_free(installation.directory);
	kit_clear(&installation.kit);
	sealed_part_clear(&installation.part);
	identity_free(installation.identity);
	return status;
}

/* ---------------------------------------------------------------- show */

int verb_node_show(struct call *call)
{
	char path[FILE_PATH_MAX], fingerprint[FINGERPRINT_TEXT_MAX], region_fingerprint[FINGERPRINT_TEXT_MAX] = "";
	const struct region_anchor *anchor;
	struct identity *identity;
	enum cpd_error error;

	if (!file_path(call->words[0], "identity", path))
		return EXIT_REFUSED;
	error = identity_load(path, &identity, NULL);
	if (error)
		return error == CPD_ERR_NOT_FOUND ? say_refused("%s holds no keys: `cpctl node init` makes them", call->words[0]) : say_crypto(path, error);
	anchor = identity_anchor(identity);
	fingerprint_of(identity, fingerprint);
	if (anchor)
		region_anchor_fingerprint(anchor, region_fingerprint);
	if (call->json) {
		json_t *json = json_pack("{s:b,s:I,s:I,s:I,s:s,s:s?,s:s?,s:s?,s:s?}", "installed", anchor != NULL, "number", (json_int_t)identity_node(identity),
		    "key_number", (json_int_t)identity_key_number(identity), "epoch", (json_int_t)identity_epoch(identity), "fingerprint", fingerprint,
		    "network", anchor ? anchor->network : NULL, "region", anchor ? anchor->region : NULL, "region_name", anchor ? anchor->name : NULL,
		    "region_fingerprint", anchor ? region_fingerprint : NULL);
		print_json(json);
		json_decref(json);
	} else if (anchor) {
		printf("Node %u, key %u, epoch %u\nFingerprint  %s\nRegion %s %s, network %s\nFingerprint  %s\n", identity_node(identity),
		    identity_key_number(identity), identity_epoch(identity), fingerprint, anchor->region, anchor->name, anchor->network, region_fingerprint);
	} else {
		printf("Not installed in a region yet: take request.cpd there, then `cpctl node install`.\nFingerprint  %s\n", fingerprint);
	}
	identity_free(identity);
	return EXIT_DONE;
}
