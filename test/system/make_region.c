/*
 * make_region.c: a region for the system tests: an authority, identities, one signed directory, and a
 * store for each node that holds it. What cpctl does with people and sticks, in one go.
 *
 *   make_region FOLDER NUMBER:ROLE...       group 1 has every NSP, group 2 every node
 *
 * Node N gets FOLDER/N/identity and FOLDER/N/store; the signed update stands in FOLDER/update-1, and in
 * FOLDER/update-2 a second one (group 3: the first two nodes) for whoever imports it. With --bare the
 * stores are left empty.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "crypto/region.h"
#include "store/store.h"

#define NODES_MAX 32

static void must(int failed, const char *what)
{
	if (!failed)
		return;
	fprintf(stderr, "make_region: %s: %s\n", what, crypto_problem());
	exit(1);
}

static void seed_store(const char *path, const uint8_t *record, size_t len)
{
	const struct store_options options = { .path = path, .hash = crypto_digest };
	struct store_key key = store_key_number(1);
	struct store_batch *batch = store_batch_new(1);
	struct store *store;
	const char *problem = "";

	must(store_open(&options, &store, &problem), problem);
	must(!batch || store_batch_put(batch, TABLE_DIRECTORY, &key, (struct slice){ record, len }), "batch");
	must(store_commit_now(store, batch), "commit");
	store_close(store);
}

static void save(const char *folder, const char *name, const uint8_t *bytes, size_t len)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "wb");
	must(!file || fwrite(bytes, 1, len, file) != len || fclose(file), path);
}

static void save_second(const char *folder, const struct authority *authority, uint32_t *members, size_t count)
{
	static uint8_t record[LIMIT_UPDATE_RECORD];
	struct group group = { 3, 1, "later", members, count > 2 ? 2 : count };
	struct directory_update update = { .number = 2, .created_s = 2, .groups = &group, .group_count = 1 };
	size_t len;

	must(region_make_update(authority, &update, record, &len), "update 2");
	save(folder, "update-2", record, len);
}

int main(int argc, char **argv)
{
	static struct certificate certificates[NODES_MAX];
	static uint8_t record[LIMIT_UPDATE_RECORD];
	struct region_anchor names = { .network = "test", .region = "VR99", .name = "Proefregio" };
	struct identity *identities[NODES_MAX];
	uint32_t nsps[NODES_MAX], all[NODES_MAX];
	struct group groups[2] = { { 1, 1, "alle NSPs", nsps, 0 }, { 2, 1, "iedereen", all, 0 } };
	struct directory_update update = { .number = 1, .created_s = 1, .certificates = certificates, .groups = groups, .group_count = 2 };
	struct authority *authority;
	char path[512];
	bool is_bare = argc > 1 && !strcmp(argv[1], "--bare");
	int first = is_bare ? 3 : 2;
	const char *folder;
	size_t len;

	must(argc <= first || argc - first > NODES_MAX, "usage: make_region [--bare] FOLDER NUMBER:ROLE...");
	folder = argv[first - 1];
	must(crypto_start(), "crypto");
	mkdir(folder, 0700);
	snprintf(path, sizeof(path), "%s/authority", folder);
	must(authority_create(path, &names, &authority), "authority");
	for (int i = first; i < argc; i++) {
		struct certificate *certificate = &certificates[update.certificate_count];
		char *role = strchr(argv[i], ':');

		must(!role || !node_role_parse(role + 1, &certificate->role), argv[i]);
		certificate->node = (uint32_t)strtoul(argv[i], NULL, 10);
		certificate->key_number = 1;
		snprintf(certificate->name, sizeof(certificate->name), "%s %u", role + 1, certificate->node);
		snprintf(path, sizeof(path), "%s/%u", folder, certificate->node);
		mkdir(path, 0700);
		snprintf(path, sizeof(path), "%s/%u/identity", folder, certificate->node);
		must(identity_create(path, certificate->node, &identities[update.certificate_count]), path);
		identity_public_keys(identities[update.certificate_count], certificate);
		must(identity_install(identities[update.certificate_count], certificate->node, 1, authority_anchor(authority)), path);
		if (certificate->role == ROLE_ID_NSP)
			nsps[groups[0].member_count++] = certificate->node;
		all[groups[1].member_count++] = certificate->node;
		update.certificate_count++;
	}
	must(region_make_update(authority, &update, record, &len), "update");
	save(folder, "update-1", record, len);
	save_second(folder, authority, all, update.certificate_count);
	for (size_t i = 0; i < update.certificate_count; i++) {
		snprintf(path, sizeof(path), "%s/%u/store", folder, certificates[i].node);
		if (!is_bare)
			seed_store(path, record, len);
		identity_free(identities[i]);
	}
	authority_free(authority);
	return 0;
}
