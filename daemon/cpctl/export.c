/*
 * export.c: the daemon's journal as a file, one JSON value a line: a head with who made it and the signing keys of
 * the nodes, the lines, an end. For who keeps it elsewhere, or proves its chain.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/cpctl/client.h"
#include "daemon/cpctl/file.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/progress.h"

static bool put_line(FILE *out, json_t *take_json)
{
	bool ok = take_json && !json_dumpf(take_json, out, JSON_COMPACT | JSON_PRESERVE_ORDER) && fputc('\n', out) != EOF;

	json_decref(take_json);
	return ok;
}

static json_t *head_of(const json_t *directory, int64_t node)
{
	json_t *keys = json_array();
	const json_t *row;
	size_t index;

	json_array_foreach(json_object_get(directory, "nodes"), index, row)
		json_array_append_new(keys, json_pack("{s:O,s:O,s:O}", "node", json_object_get(row, "number"), "key_number",
		    json_object_get(row, "key_number"), "signing_key", json_object_get(row, "signing_key")));
	return json_pack("{s:i,s:I,s:O,s:o}", "cpd_journal", 1, "node", (json_int_t)node, "network", json_object_get(directory, "network"), "keys", keys);
}

/* Page by page to the newest line of the moment when it gets there. *lines: how many there were. */
static int write_lines(const struct call *call, FILE *out, const json_t *directory, int64_t *lines)
{
	struct progress progress;
	int status = EXIT_DONE;
	bool ok = true, more = true;
	char path[80] = "/v1/journal?limit=500";

	*lines = 0;
	progress_begin(&progress, "Reading", false);
	while (ok && more) {
		json_t *page, *row;
		size_t index;

		status = client_get(call, path, &page);
		if (status != EXIT_DONE)
			break;
		if (!*lines)
			ok = put_line(out, head_of(directory, json_number(page, "node")));
		json_array_foreach(json_object_get(page, "lines"), index, row)
			ok = ok && put_line(out, json_incref(row));
		*lines += (int64_t)json_array_size(json_object_get(page, "lines"));
		progress_show(&progress, (uint64_t)*lines, (uint64_t)json_number(page, "about"));
		more = json_is_integer(json_object_get(page, "next"));
		snprintf(path, sizeof(path), "/v1/journal?limit=500&after=%lld", (long long)json_number(page, "next"));
		json_decref(page);
	}
	progress_end(&progress);
	if (status == EXIT_DONE && (!ok || !put_line(out, json_pack("{s:I}", "end", (json_int_t)*lines)) || fflush(out)))
		status = say_refused("cannot write it: is the disk full?");
	return status;
}

int verb_export_journal(struct call *call)
{
	const char *path = call->words[0];
	const bool is_stdout = !strcmp(path, "-");
	char temporary[FILE_PATH_MAX];
	json_t *directory;
	int64_t lines;
	FILE *out;
	int status, fd;

	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.part", path) >= sizeof(temporary))
		return say_refused("the path is longer than %d bytes; choose a shorter one", FILE_PATH_MAX);
	status = client_get(call, "/v1/directory", &directory);
	if (status != EXIT_DONE)
		return status;
	if (is_stdout) {
		status = write_lines(call, stdout, directory, &lines);
		json_decref(directory);
		return status;
	}
	unlink(temporary);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	out = fd < 0 ? NULL : fdopen(fd, "w");
	status = out ? write_lines(call, out, directory, &lines) : say_refused("%s: cannot make it: is the folder there, and yours?", temporary);
	json_decref(directory);
	if (status == EXIT_DONE && (fsync(fd) || rename(temporary, path)))
		status = say_refused("%s: cannot put it in place: is the disk full?", path);
	if (out)
		fclose(out);
	if (status == EXIT_DONE && !file_sync_folder_of(path))
		status = EXIT_REFUSED;
	if (status != EXIT_DONE) {
		unlink(temporary);
		return status;
	}
	if (call->json) {
		json_t *json = json_pack("{s:s,s:I}", "file", path, "lines", (json_int_t)lines);
		print_json(json);
		json_decref(json);
	} else {
		printf("%s: %lld lines. Prove it with verify_journal.py, beside the exports of\nneighbours, which have seen how far this journal was.\n", path, (long long)lines);
	}
	return EXIT_DONE;
}
