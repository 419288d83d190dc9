/*
 * make_region.c: a region for the system tests: an authority, identities, a signed directory, and a
 * store for each node that holds it. What cpctl does with people and sticks, in one go.
 *
 *   make_region FOLDER NUMBER:ROLE... [+NUMBER:ROLE]
 *
 * Node N gets FOLDER/N/identity and FOLDER/N/store. Update 1 certifies every node but the one with a plus and
 * has group 1 (every NSP) and group 2 (every node); update 2 certifies the one with a plus, whose store alone
 * holds it; update 3, in no store, has group 3 (the first two nodes). All stand in FOLDER/update-N.
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

static uint8_t records[4][LIMIT_UPDATE_RECORD];
static size_t record_lens[4];

static void seed_store(const char *folder, uint32_t node, uint32_t updates)
{
	struct store_batch *batch = store_batch_new(1);
	char path[512];
	const struct store_options options = { .path = path, .hash = crypto_digest };
	struct store *store;
	const char *problem = "";

	snprintf(path, sizeof(path), "%s/%u/store", folder, node);
	must(store_open(&options, &store, &problem), problem);
	for (uint32_t i = 1; i <= updates; i++) {
		struct store_key key = store_key_number(i);
		must(!batch || store_batch_put(batch, TABLE_DIRECTORY, &key, (struct slice){ records[i], record_lens[i] }), "batch");
	}
	must(store_commit_now(store, batch), "commit");
	store_close(store);
}

static void save_update(const char *folder, const struct authority *authority, const struct directory_update *update)
{
	char path[512];
	FILE *file;

	must(region_make_update(authority, update, records[update->number], &record_lens[update->number]), "update");
	snprintf(path, sizeof(path), "%s/update-%u", folder, update->number);
	file = fopen(path, "wb");
	must(!file || fwrite(records[update->number], 1, record_lens[update->number], file) != record_lens[update->number] || fclose(file), path);
}

static void make_node(const char *folder, const struct authority *authority, const char *word, struct certificate *out)
{
	const char *role = strchr(word, ':');
	struct identity *identity;
	char path[512];

	must(!role || !node_role_parse(role + 1, &out->role), word);
	out->node = (uint32_t)strtoul(word, NULL, 10);
	out->key_number = 1;
	snprintf(out->name, sizeof(out->name), "%s %u", role + 1, out->node);
	snprintf(path, sizeof(path), "%s/%u", folder, out->node);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/%u/identity", folder, out->node);
	must(identity_create(path, out->node, &identity), path);
	identity_public_keys(identity, out);
	must(identity_install(identity, out->node, 1, authority_anchor(authority)), path);
	identity_free(identity);
}

int main(int argc, char **argv)
{
	static struct certificate certificates[NODES_MAX], newcomer;
	const struct region_anchor names = { .network = "test", .region = "VR99", .name = "Proefregio" };
	uint32_t nsps[NODES_MAX], all[NODES_MAX];
	struct group groups[2] = { { 1, 1, "alle NSPs", nsps, 0 }, { 2, 1, "iedereen", all, 0 } }, later = { 3, 1, "later", all, 2 };
	struct directory_update first = { .number = 1, .created_s = 1, .certificates = certificates, .groups = groups, .group_count = 2 };
	struct directory_update second = { .number = 2, .created_s = 2, .certificates = &newcomer, .certificate_count = 1 };
	struct directory_update third = { .number = 3, .created_s = 3, .groups = &later, .group_count = 1 };
	struct authority *authority;
	char path[512];

	must(argc < 4 || argc > NODES_MAX, "usage: make_region FOLDER NUMBER:ROLE NUMBER:ROLE... [+NUMBER:ROLE]");
	must(crypto_start(), "crypto");
	mkdir(argv[1], 0700);
	snprintf(path, sizeof(path), "%s/authority", argv[1]);
	must(authority_create(path, &names, &authority), "authority");
	for (int i = 2; i < argc; i++) {
		struct certificate *certificate = &certificates[first.certificate_count];

		if (argv[i][0] == '+') {
			make_node(argv[1], authority, argv[i] + 1, &newcomer);
			continue;
		}
		make_node(argv[1], authority, argv[i], certificate);
		if (certificate->role == ROLE_ID_NSP)
			nsps[groups[0].member_count++] = certificate->node;
		all[groups[1].member_count++] = certificate->node;
		first.certificate_count++;
	}
	save_update(argv[1], authority, &first);
	if (newcomer.node)
		save_update(argv[1], authority, &second);
	save_update(argv[1], authority, &third);
	for (size_t i = 0; i < first.certificate_count; i++)
		seed_store(argv[1], certificates[i].node, 1);
	if (newcomer.node)
		seed_store(argv[1], newcomer.node, 2);
	authority_free(authority);
	return 0;
}
