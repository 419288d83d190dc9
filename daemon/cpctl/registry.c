/* registry.c: see registry.h. */
#include "daemon/cpctl/registry.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/cpctl/arguments.h"
#include "daemon/cpctl/passphrase.h"

#define TRIES 3 /* at a passphrase, before it is no slip of the fingers */

static bool update_path(const struct registry *registry, size_t number, char path[FILE_PATH_MAX])
{
	char name[40];

	snprintf(name, sizeof(name), "updates/%06zu.update", number);
	return file_path(registry->dir, name, path);
}

/* The highest number a file in updates/ bears. */
static bool find_last(const struct registry *registry, uint64_t *last)
{
	char path[FILE_PATH_MAX];
	struct dirent *entry;
	DIR *folder;

	*last = 0;
	if (!file_path(registry->dir, "updates", path) || !file_make_folder(path, 0755))
		return false;
	folder = opendir(path);
	if (!folder) {
		say_refused("%s cannot be read", path);
		return false;
	}
	while ((entry = readdir(folder))) {
		const char *end = strchr(entry->d_name, '.');
		char digits[12];
		uint64_t number;

		if (!end || strcmp(end, ".update") || (size_t)(end - entry->d_name) >= sizeof(digits))
			continue;
		snprintf(digits, sizeof(digits), "%.*s", (int)(end - entry->d_name), entry->d_name);
		if (parse_number(digits, LIMIT_KIT_UPDATES, &number) && number > *last)
			*last = number;
	}
	closedir(folder);
	return true;
}

static bool keep(struct registry *registry, uint8_t *take_bytes, size_t len)
{
	if (registry->update_count == registry->room) {
		size_t room = registry->room ? 2 * registry->room : 64;
		struct slice *updates = realloc(registry->updates, room * sizeof(*updates));

		if (!updates) {
			free(take_bytes);
			say_refused("memory is used up");
			return false;
		}
		registry->updates = updates;
		registry->room = room;
	}
	registry->updates[registry->update_count++] = (struct slice){ take_bytes, len };
	return true;
}

static bool apply(struct registry *registry, struct slice record, const char *path)
{
	struct directory_update update;
	enum cpd_error error = verify_directory_update(&registry->anchor, record, &update);

	if (!error && update.number != registry->update_count)
		error = CPD_ERR_CONFLICT;
	if (!error)
		error = directory_apply(registry->directory, &update);
	directory_update_clear(&update);
	if (error)
		say_refused("%s is damaged or not this region's (%s): put back the copy from the backup or from a kit", path, cpd_error_text(error));
	return !error;
}

static bool load_updates(struct registry *registry)
{
	char path[FILE_PATH_MAX];
	uint64_t last;

	if (!find_last(registry, &last))
		return false;
	for (uint64_t number = 1; number <= last; number++) {
		uint8_t *bytes;
		size_t len;

		if (!update_path(registry, number, path))
			return false;
		if (!file_exists(path)) {
			say_refused("%s is missing, and later ones are there: put it back from the backup or a kit before you sign anything", path);
			return false;
		}
		if (!file_read(path, LIMIT_UPDATE_RECORD, &bytes, &len) || !keep(registry, bytes, len) ||
		    !apply(registry, registry->updates[registry->update_count - 1], path))
			return false;
	}
	return true;
}

struct authority *registry_unlock(const char *dir)
{
	struct authority *authority = NULL;
	enum cpd_error error = CPD_ERR_BAD_SIGNATURE;

	if (!authority_is_sealed(dir)) {
		error = authority_load(dir, (struct slice){ NULL, 0 }, &authority);
		if (error)
			say_crypto(dir, error);
		return authority;
	}
	for (int tries = 0; tries < TRIES && error == CPD_ERR_BAD_SIGNATURE; tries++) {
		struct passphrase passphrase;

		if (!passphrase_ask("Passphrase of the region's key", &passphrase))
			return NULL;
		error = authority_load(dir, passphrase_slice(&passphrase), &authority);
		passphrase_wipe(&passphrase);
		if (error)
			say_crypto(dir, error);
		if (passphrase_is_given())
			break;
	}
	return authority;
}

bool registry_open(struct registry *registry, const char *dir)
{
	char path[FILE_PATH_MAX];
	enum cpd_error error;

	memset(registry, 0, sizeof(*registry));
	registry->dir = dir;
	if (!file_path(dir, "region.pub", path))
		return false;
	error = region_anchor_load(path, &registry->anchor);
	if (error) {
		say_crypto(path, error);
		return false;
	}
	registry->directory = directory_new();
	if (!registry->directory)
		say_refused("memory is used up");
	if (registry->directory && file_lock(dir) && load_updates(registry))
		return true;
	registry_close(registry);
	return false;
}

void registry_close(struct registry *registry)
{
	for (size_t i = 0; i < registry->update_count; i++)
		free((void *)(uintptr_t)registry->updates[i].data);
	free(registry->updates);
	directory_free(registry->directory);
	authority_free(registry->authority);
	memset(registry, 0, sizeof(*registry));
}

/* Signed times never run back: nodes take the latest as a floor under their own clocks. */
static uint32_t signing_time_s(const struct registry *registry)
{
	int64_t now_s = (int64_t)time(NULL) - CPD_TIME_ZERO_S;
	uint32_t latest_s = directory_latest_time_s(registry->directory);

	return now_s > latest_s && now_s < UINT32_MAX ? (uint32_t)now_s : latest_s ? latest_s : 1;
}

bool registry_sign(struct registry *registry, struct directory_update *update)
{
	static uint8_t record[LIMIT_UPDATE_RECORD];
	char path[FILE_PATH_MAX];
	enum cpd_error error;
	uint8_t *copy;
	size_t len;

	if (registry->update_count == LIMIT_KIT_UPDATES) {
		say_refused("this region has signed %d updates, the most there may be: begin a new region folder", LIMIT_KIT_UPDATES);
		return false;
	}
	if (!registry->authority && !(registry->authority = registry_unlock(registry->dir)))
		return false;
	update->number = (uint32_t)registry->update_count + 1;
	update->created_s = signing_time_s(registry);
	error = region_make_update(registry->authority, update, record, &len);
	if (error) {
		say_refused("the update cannot be signed: %s", cpd_error_text(error));
		return false;
	}
	copy = malloc(len);
	if (!copy || !update_path(registry, update->number, path) || !file_write(path, record, len)) {
		free(copy);
		return false;
	}
	memcpy(copy, record, len);
	return keep(registry, copy, len) && apply(registry, registry->updates[registry->update_count - 1], path);
}

bool registry_write_kit(struct registry *registry, const struct certificate *certificate, char path[FILE_PATH_MAX])
{
	char name[40];
	enum cpd_error error;

	if (!file_path(registry->dir, "kits", path) || !file_make_folder(path, 0755))
		return false;
	snprintf(name, sizeof(name), "kits/%u.kit", certificate->node);
	if (!file_path(registry->dir, name, path))
		return false;
	error = kit_write(path, &registry->anchor, certificate->node, certificate->key_number,
	    registry->updates, registry->update_count);
	if (error)
		say_crypto(path, error);
	return !error;
}
