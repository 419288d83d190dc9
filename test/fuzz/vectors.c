/* vectors.c: see vectors.h. */
#include "test/fuzz/vectors.h"

#include <sys/stat.h>

#include "test/fuzz/fuzz.h"

static struct region_anchor anchor = { .network = "nl", .region = "VR09", .name = "Utrecht" };

const struct region_anchor *vector_anchor(void)
{
	if (!anchor.authority_key[0])
		seed_key("authority", "signing_key", anchor.authority_key);
	return &anchor;
}

struct directory *vector_directory(void)
{
	static const char *const names[] = { "directory-update-record", "introduction-update-record", "revocation-update-record" };
	static struct directory *directory;
	struct directory_update update;

	if (directory)
		return directory;
	directory = directory_new();
	FUZZ_CHECK(directory);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		FUZZ_CHECK(!verify_directory_update(vector_anchor(), seed_named(names[i]), &update));
		FUZZ_CHECK(!directory_apply(directory, &update));
		directory_update_clear(&update);
	}
	return directory;
}

static const struct node { const char *name, *certified; } nodes[] = { { "344003", "344003 1\n" }, { "901", "901 1\n" }, { "911", "911 1\n" } };
#define NODES (sizeof(nodes) / sizeof(nodes[0]))

static size_t index_of(const char *node)
{
	size_t index = 0;

	while (index < NODES - 1 && strcmp(nodes[index].name, node))
		index++;
	return index;
}

static void write_text(const char *folder, const char *name, const char *text)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	files_write(path, (struct slice){ (const uint8_t *)text, strlen(text) }, 0600);
}

const char *vector_identity_folder(const char *node)
{
	static const char *const files[][2] = { { "signing.key", "signing_seed" }, { "sealing.key", "sealing_secret" }, { "transport.key", "transport_secret" } };
	static char folders[NODES][128];
	char *folder = folders[index_of(node)], text[LIMIT_ANCHOR];
	uint8_t key[32];
	size_t len;

	if (folder[0])
		return folder;
	snprintf(text, sizeof(text), "identity-%s", node);
	snprintf(folder, sizeof(folders[0]), "%s", files_path(text));
	FUZZ_CHECK(!mkdir(folder, 0700));
	for (size_t i = 0; i < 3; i++) {
		seed_key(node, files[i][1], key);
		for (size_t j = 0; j < 32; j++)
			snprintf(text + 2 * j, 4, "%02x\n", key[j]);
		write_text(folder, files[i][0], text);
	}
	write_text(folder, "epoch", "2\n");
	write_text(folder, "node", nodes[index_of(node)].certified);
	FUZZ_CHECK(!region_anchor_format(vector_anchor(), text, &len));
	write_text(folder, "region.pub", text);
	return folder;
}

struct identity *vector_identity(const char *node)
{
	static struct identity *identities[NODES];
	struct identity **identity = &identities[index_of(node)];
	const char *problem;

	if (!*identity && identity_load(vector_identity_folder(node), identity, &problem)) {
		fprintf(stderr, "%s\n", problem);
		FUZZ_CHECK(!"the vectors' identity is none");
	}
	return *identity;
}
