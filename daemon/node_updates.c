/*
 * node_updates.c: directory updates that `cpctl node install`, or a stick, has put into STATE/updates/.
 *
 * Read once, at start, in the order of their names; what is held already is passed over, what is not
 * signed by the region is told and left lying. Nothing here ends the process.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"

static int is_update(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > 7 && !strcmp(entry->d_name + len - 7, ".update");
}

static enum cpd_error file_bytes(const char *path, uint8_t *buf, size_t size, size_t *len)
{
	FILE *file = fopen(path, "rbe");
	bool failed;

	if (!file)
		return CPD_ERR_IO;
	*len = fread(buf, 1, size, file);
	failed = ferror(file);
	fclose(file);
	return failed ? CPD_ERR_IO : *len == size ? CPD_ERR_TOO_LARGE : CPD_OK;
}

static enum cpd_error update_keep(struct node *node, const struct directory_update *update, struct slice record)
{
	struct store_key key = store_key_number(update->number);
	struct store_batch *batch = store_batch_new(++node->turn);
	enum cpd_error error = batch ? store_batch_put(batch, TABLE_DIRECTORY, &key, record) : CPD_ERR_NOMEM;

	if (error) {
		store_batch_free(batch);
		return error;
	}
	error = store_commit_now(node->store, batch);
	return error ? error : directory_apply(node->directory, update);
}

static void update_read(struct node *node, const char *path, uint8_t *buf, size_t size)
{
	struct directory_update update;
	size_t len = 0;
	enum cpd_error error = file_bytes(path, buf, size, &len);

	if (!error)
		error = verify_directory_update(identity_anchor(node->identity), (struct slice){ buf, len }, &update);
	if (error) {
		log_line(LOG_ERR, "update-refused", "file=\"%s\" error=\"%s\" cure=\"put the file there again as the region made it\"", path, cpd_error_text(error));
		return;
	}
	error = directory_holds(node->directory, update.number) ? CPD_ERR_EXISTS : update_keep(node, &update, (struct slice){ buf, len });
	if (!error)
		log_line(LOG_INFO, "directory-applied", "number=%u version=%u file=\"%s\"", update.number, directory_version(node->directory), path);
	else if (error != CPD_ERR_EXISTS)
		log_line(LOG_ERR, "update-not-applied", "file=\"%s\" error=\"%s\"", path, cpd_error_text(error));
	directory_update_clear(&update);
}

void load_updates(struct node *node)
{
	const size_t size = LIMIT_ITEM + 1;
	char folder[300], path[600];
	struct dirent **entries;
	uint8_t *buf = malloc(size);
	int count;

	snprintf(folder, sizeof(folder), "%s/updates", node->config->state);
	count = buf && identity_anchor(node->identity) ? scandir(folder, &entries, is_update, alphasort) : -1;
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		update_read(node, path, buf, size);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	free(buf);
}
