/*
 * courier.c: what is owed goes by hand. The daemon makes and takes the bytes, and decides; the stick is read and written here.
 *
 * Nothing is lost by doing any of it twice, half, or in another order.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "crypto/crypto.h"
#include "daemon/cpctl/client.h"
#include "daemon/cpctl/file.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/progress.h"
#include "daemon/cpctl/stick.h"
#include "proto/limits.h"

#define PIECE (128 * 1024)
#define POLL_MS 50
#define WRITERS_MAX 256
#define SUFFIX ".courier"

/* ---------------------------------------------------------------- a job of the daemon */

/* Waits for its end. EXIT_DONE: *out is what GET /v1/courier tells of it, owned by the caller. */
static int job_wait(const struct call *call, int64_t job, const char *what, json_t **out)
{
	const struct timespec pause = { 0, POLL_MS * 1000000L };
	struct progress progress;
	int status = EXIT_DONE;

	*out = NULL;
	progress_begin(&progress, what, false);
	for (;;) {
		status = client_get(call, "/v1/courier", out);
		if (status != EXIT_DONE || json_number(*out, "job") != job || strcmp(json_text(*out, "state"), "working"))
			break;
		progress_show(&progress, (uint64_t)json_number(*out, "at"), (uint64_t)json_number(*out, "of"));
		json_decref(*out);
		*out = NULL;
		nanosleep(&pause, NULL);
	}
	progress_end(&progress);
	if (status == EXIT_DONE && json_number(*out, "job") != job)
		status = say_refused("another stick was read or written at the same time, or the daemon was started again: do this again; nothing was lost");
	if (status != EXIT_DONE) {
		json_decref(*out);
		*out = NULL;
	}
	return status;
}

static int job_begin(const struct call *call, const char *path, const char *what, json_t **out)
{
	json_t *begun;
	int status = client_post(call, path, NULL, &begun);

	*out = NULL;
	if (status != EXIT_DONE)
		return status;
	status = job_wait(call, json_number(begun, "job"), what, out);
	json_decref(begun);
	return status;
}

/* ---------------------------------------------------------------- writing */

struct bytes { uint8_t *data; size_t len; };

static bool take_bytes(void *context, const void *data, size_t len, uint64_t about)
{
	struct bytes *bytes = context;
	uint8_t *larger;

	(void)about;
	if (len > LIMIT_COURIER - bytes->len)
		return false;
	larger = realloc(bytes->data, bytes->len + len + 1);
	if (!larger)
		return false;
	memcpy(larger + bytes->len, data, len);
	bytes->data = larger;
	bytes->len += len;
	return true;
}

static int fetch(const struct call *call, const json_t *written, struct bytes *bytes)
{
	struct answer answer;
	enum outcome outcome;
	char path[64];
	int status = EXIT_DONE;

	snprintf(path, sizeof(path), "/v1/courier/file?number=%lld", (long long)json_number(written, "number"));
	outcome = client_download(call, path, take_bytes, bytes, &answer);
	if (outcome != OUTCOME_ANSWER)
		status = say_unreachable(&answer);
	else if (answer.status >= 300)
		status = say_answer(&answer);
	else if (bytes->len != (size_t)json_number(written, "bytes"))
		status = say_refused("the daemon's answer broke off: do this again");
	answer_clear(&answer);
	return status;
}

static void name_of(const json_t *written, char *out, size_t size)
{
	if (json_number(written, "to"))
		snprintf(out, size, "cpd-%lld-%lld" SUFFIX, (long long)json_number(written, "writer"), (long long)json_number(written, "to"));
	else
		snprintf(out, size, "cpd-%lld-all" SUFFIX, (long long)json_number(written, "writer"));
}

static void who(const json_t *object, const char *field, char *out, size_t size)
{
	char name[200];

	snprintf(out, size, "node %lld%s%s", (long long)json_number(object, field), *json_text(object, "name") ? " " : "",
	    text_fit(json_text(object, "name"), 0, name, sizeof(name)));
}

static const char *plural(int64_t number)
{
	return number == 1 ? "" : "s";
}

static void print_written(const char *name, const json_t *written)
{
	int64_t messages = json_number(written, "messages"), receipts = json_number(written, "receipts"), acks = json_number(written, "acknowledged");
	int64_t left = json_number(written, "left");
	char to[300];

	if (json_number(written, "to"))
		who(written, "to", to, sizeof(to));
	else
		snprintf(to, sizeof(to), "%lld nodes", (long long)json_number(written, "readers"));
	printf("Written: %s, for %s: %lld message%s, %lld receipt%s, %lld acknowledgement%s.\n", name, to, (long long)messages, plural(messages),
	    (long long)receipts, plural(receipts), (long long)acks, plural(acks));
	if (left)
		printf("%lld more did not fit: they wait here for the next file, or for a link. The most urgent went first.\n", (long long)left);
	if (json_flag(written, "fenced"))
		printf("This copy of the node is stopped (fenced): the stick carries what it had accepted before. Read the\n"
		    "stick that comes back here once, so that this copy lets it go, then on the copy that is in use.\n");
	else if (messages + receipts)
		printf("They wait here too, until word comes back that they were taken, by stick or by a link.\n");
}

/* One file for node `to`, 0: for everybody. EXIT_DONE: *out, owned by the caller, {"file", "written"}. */
static int write_one(const struct call *call, const char *dir, int64_t to, uint64_t limit, json_t **out)
{
	struct bytes bytes = { NULL, 0 };
	char path[96], name[64];
	json_t *job, *written;
	int status;

	*out = NULL;
	snprintf(path, sizeof(path), "/v1/courier/write?limit=%llu&to=%lld", (unsigned long long)limit, (long long)to);
	status = job_begin(call, path, "Gathering", &job);
	if (status != EXIT_DONE)
		return status;
	written = json_object_get(job, "written");
	if (json_object_get(job, "error"))
		status = say_refused("%s", json_text(json_object_get(job, "error"), "message"));
	else
		status = fetch(call, written, &bytes);
	if (status == EXIT_DONE) {
		name_of(written, name, sizeof(name));
		if (!stick_write(dir, name, (struct slice){ bytes.data, bytes.len }))
			status = EXIT_REFUSED;
		else
			*out = json_pack("{s:s,s:O}", "file", name, "written", written);
	}
	free(bytes.data);
	json_decref(job);
	return status;
}

static bool is_folder(const char *path)
{
	struct stat status;

	return !stat(path, &status) && S_ISDIR(status.st_mode);
}

static bool limit_of(const struct call *call, uint64_t *out)
{
	uint32_t kib = LIMIT_COURIER / 1024;

	if (!call_number(call, "limit", LIMIT_COURIER / 1024, &kib))
		return false;
	*out = (uint64_t)kib * 1024;
	if (*out >= LIMIT_COURIER_MIN)
		return true;
	say_usage(call, "--limit is below %d KiB: a message and the directory's news would not fit", LIMIT_COURIER_MIN / 1024);
	return false;
}

static void say_safe(void)
{
	printf("Safe to remove: the stick may be taken out now.\n");
}

int verb_courier_write(struct call *call)
{
	const char *dir = call->words[0];
	uint64_t limit;
	uint32_t to = 0;
	json_t *one;
	int status;

	if (!limit_of(call, &limit) || !call_number(call, "to", UINT32_MAX, &to))
		return EXIT_USAGE;
	if (!is_folder(dir))
		return say_refused("%s is no folder: give the folder where the stick is mounted, like /media/stick", dir);
	status = write_one(call, dir, to, limit, &one);
	if (status != EXIT_DONE)
		return status;
	if (!stick_sync(dir)) {
		json_decref(one);
		return EXIT_REFUSED;
	}
	if (call->json) {
		json_object_set_new(one, "safe_to_remove", json_true());
		print_json(one);
	} else {
		print_written(json_text(one, "file"), json_object_get(one, "written"));
		say_safe();
	}
	json_decref(one);
	return EXIT_DONE;
}

/* ---------------------------------------------------------------- reading */

struct reading {
	const struct call *call;
	char dir[FILE_PATH_MAX];
	json_t *files;                     /* owned: {"file", "read" or "error"} */
	int64_t writers[WRITERS_MAX]; size_t writer_count;   /* of whom something was read */
	bool is_bad;                       /* a file was refused that should not have been */
};

static bool was_read_from(const struct reading *reading, int64_t writer)
{
	for (size_t i = 0; i < reading->writer_count; i++)
		if (reading->writers[i] == writer)
			return true;
	return false;
}

static int upload(const struct call *call, const char *token, const uint8_t *bytes, size_t len)
{
	struct progress progress;
	int status = EXIT_DONE;

	progress_begin(&progress, "Reading", true);
	for (size_t at = 0; status == EXIT_DONE && at < len; at += PIECE) {
		char path[128];
		struct request request = { .method = "POST", .path = path, .type = "application/octet-stream", .body = bytes + at,
			.body_len = len - at < PIECE ? len - at : PIECE };
		struct answer answer;

		snprintf(path, sizeof(path), "/v1/courier/upload?file=%s&offset=%zu", token, at);
		if (client_ask(call, &request, &answer) != OUTCOME_ANSWER)
			status = say_unreachable(&answer);
		else if (answer.status >= 300)
			status = say_answer(&answer);
		answer_clear(&answer);
		progress_show(&progress, at, len);
	}
	progress_end(&progress);
	return status;
}

static int hand_over(const struct call *call, const uint8_t *bytes, size_t len, bool is_more, json_t **job)
{
	uint8_t random[16];
	char token[33], path[96];
	int status;

	*job = NULL;
	crypto_random(random, sizeof(random));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(token + 2 * i, 3, "%02x", random[i]);
	status = upload(call, token, bytes, len);
	if (status != EXIT_DONE)
		return status;
	snprintf(path, sizeof(path), "/v1/courier/read?file=%s&more=%d", token, is_more);
	return job_begin(call, path, "Taking in", job);
}

/* Who wrote it, as it says itself: only to know whether more of that writer was read just now. */
static int64_t writer_of(const uint8_t *bytes, size_t len)
{
	return len < 18 ? 0 : (int64_t)bytes[14] << 24 | bytes[15] << 16 | bytes[16] << 8 | bytes[17];
}

static void print_read(const char *name, const json_t *read)
{
	int64_t taken = json_number(read, "taken"), known = json_number(read, "known"), receipts = json_number(read, "receipts");
	int64_t others = json_number(read, "others"), refused = json_number(read, "refused"), later = json_number(read, "later");
	int64_t released = json_number(read, "released");
	char from[300];

	who(read, "writer", from, sizeof(from));
	printf("Read: %s, of %s%s: %lld new message%s, %lld receipt%s", name, from, json_flag(read, "read_before") ? ", read here before" : "",
	    (long long)taken, plural(taken), (long long)receipts, plural(receipts));
	if (known)
		printf(", %lld held already", (long long)known);
	printf(".\n");
	if (released)
		printf("%lld that went by stick from here %s in custody there: let go here.\n", (long long)released, released == 1 ? "is" : "are");
	if (others && json_flag(read, "fenced"))
		printf("%lld for other nodes, or for the copy of this node that is in use: this copy is stopped (fenced) and\n"
		    "takes nothing in. Read the stick there.\n", (long long)others);
	else if (others)
		printf("%lld for other nodes: carry the stick on.\n", (long long)others);
	if (refused)
		printf("%lld refused (%s): the writer hears of it.\n", (long long)refused, json_text(read, "reason"));
	if (later)
		printf("%lld not taken for now (%s): they wait with the writer, and come again.\n", (long long)later,
		    *json_text(read, "reason") ? json_text(read, "reason") : "not whole");
}

static int read_one(struct reading *reading, const char *name)
{
	char path[FILE_PATH_MAX];
	json_t *job, *error, *one;
	const char *code;
	uint8_t *bytes;
	size_t len;
	int status;

	if (!file_path(reading->dir, name, path) || !file_read(path, LIMIT_COURIER, &bytes, &len)) {
		reading->is_bad = true;
		return EXIT_DONE;
	}
	status = len ? hand_over(reading->call, bytes, len, was_read_from(reading, writer_of(bytes, len)), &job)
	    : say_refused("%s is empty: it is half a file; write it again where it came from", name);
	free(bytes);
	if (!len) {
		reading->is_bad = true;
		return EXIT_DONE;
	}
	if (status != EXIT_DONE)
		return status;
	error = json_object_get(job, "error");
	code = json_text(error, "code");
	one = json_pack("{s:s,s:O}", "file", name, error ? "error" : "read", error ? error : json_object_get(job, "read"));
	json_array_append_new(reading->files, one);
	if (!error) {
		int64_t writer = json_number(json_object_get(job, "read"), "writer");

		if (!was_read_from(reading, writer) && reading->writer_count < WRITERS_MAX)
			reading->writers[reading->writer_count++] = writer;
		if (!reading->call->json)
			print_read(name, json_object_get(job, "read"));
	} else if (!strcmp(code, "own-file") || !strcmp(code, "for-others")) {
		if (!reading->call->json && strcmp(code, "own-file"))
			printf("Not read: %s: %s.\n", name, json_text(error, "message"));
	} else {
		reading->is_bad = true;
		say_refused("%s: %s", name, json_text(error, "message"));
	}
	json_decref(job);
	return EXIT_DONE;
}

static int is_courier(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return entry->d_name[0] != '.' && len > strlen(SUFFIX) && !strcmp(entry->d_name + len - strlen(SUFFIX), SUFFIX);
}

/* The files of a folder, or the one that is named. */
static int read_all(struct reading *reading, const char *path)
{
	struct dirent **entries = NULL;
	int count, status = EXIT_DONE;

	if (!is_folder(path)) {
		const char *slash = strrchr(path, '/');

		snprintf(reading->dir, sizeof(reading->dir), "%.*s", slash ? (int)(slash - path) : 1, slash ? slash == path ? "/" : path : ".");
		if (slash == path)
			strcpy(reading->dir, "/");
		return read_one(reading, slash ? slash + 1 : path);
	}
	snprintf(reading->dir, sizeof(reading->dir), "%s", path);
	count = scandir(path, &entries, is_courier, alphasort);
	if (count < 0)
		return say_refused("%s: cannot read the folder: %s", path, strerror(errno));
	for (int i = 0; i < count; i++) {
		if (status == EXIT_DONE)
			status = read_one(reading, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	if (!count)
		status = say_refused("%s: no file whose name ends in " SUFFIX " is there: is it the right stick?", path);
	return status;
}

/* To each of whom something was read: what was taken from it, and what is owed to it. */
static int answer_all(struct reading *reading, uint64_t limit, json_t *answers)
{
	int status = EXIT_DONE;

	for (size_t i = 0; status == EXIT_DONE && i < reading->writer_count; i++) {
		json_t *one;

		status = write_one(reading->call, reading->dir, reading->writers[i], limit, &one);
		if (status != EXIT_DONE)
			break;
		if (!reading->call->json)
			print_written(json_text(one, "file"), json_object_get(one, "written"));
		json_array_append_new(answers, one);
	}
	if (status == EXIT_REFUSED && reading->writer_count)
		fprintf(stderr, "  What was read is safe here. Without the answer its writer keeps it too, and sends it\n  again: read the stick again when this is mended.\n");
	return status;
}

int verb_courier_read(struct call *call)
{
	struct reading reading = { .call = call, .files = json_array() };
	json_t *answers = json_array();
	uint64_t limit;
	int status;
	bool is_safe = false;

	if (!limit_of(call, &limit))
		return EXIT_USAGE;
	status = read_all(&reading, call->words[0]);
	if (status == EXIT_DONE)
		status = answer_all(&reading, limit, answers);
	if (status == EXIT_DONE)
		is_safe = stick_sync(reading.dir);
	if (call->json && status != EXIT_UNREACHABLE) {
		json_t *all = json_pack("{s:O,s:O,s:b}", "files", reading.files, "answers", answers, "safe_to_remove", (int)is_safe);

		print_json(all);
		json_decref(all);
	} else if (is_safe) {
		say_safe();
	}
	json_decref(reading.files);
	json_decref(answers);
	return status != EXIT_DONE ? status : reading.is_bad || !is_safe ? EXIT_REFUSED : EXIT_DONE;
}
