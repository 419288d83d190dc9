/*
 * replay.c: the targets without libFuzzer, for `make check`: each gets its seeds, its committed corpus
 * (test/fuzz/corpus/NAME.hex, one input a line) and simple damage of both, in a process of its own.
 *
 *   replay [TARGET ...]              all of it; last line: N passed, M failed
 *   replay --one TARGET FILE         one input: what a crash left behind
 *   replay --write TARGET FOLDER     seeds and corpus as files, for libFuzzer to begin with
 *   replay --words TARGET            names of fields and values, as a dictionary for libFuzzer
 *   replay --max TARGET              the most bytes of an input
 *   replay --list                    the names of the targets
 *
 * A target that ends its process, or takes longer than its time, leaves the input in $BUILD/fuzz-found.
 */
#include "test/fuzz/fuzz.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/body.h"
#include "proto/kind.h"

#define CORPUS "test/fuzz/corpus"
#define INPUT_MAX (64 * 1024)
#define SECONDS 240
/* Inputs of a target, its damage included. */
#define DAMAGE 6000
#define DAMAGE_SLOW 60

/* Shared with the child, so that the input outlives it. */
static struct { volatile uint64_t inputs; volatile size_t len; uint8_t bytes[INPUT_MAX]; } *current;

struct inputs { struct slice *all; size_t count, size; };

static void inputs_add(void *context, struct slice seed)
{
	struct inputs *inputs = context;
	uint8_t *bytes = malloc(seed.len ? seed.len : 1);

	if (inputs->count == inputs->size) {
		inputs->size = inputs->size ? 2 * inputs->size : 64;
		inputs->all = realloc(inputs->all, inputs->size * sizeof(*inputs->all));
	}
	FUZZ_CHECK(bytes && inputs->all);
	if (seed.len)
		memcpy(bytes, seed.data, seed.len);
	inputs->all[inputs->count++] = (struct slice){ bytes, seed.len };
}

static void inputs_free(struct inputs *inputs)
{
	while (inputs->count)
		free((void *)(uintptr_t)inputs->all[--inputs->count].data);
	free(inputs->all);
}

/* A line is hex; what begins with # is a remark. */
static void add_line(struct inputs *inputs, const char *line, const char *path, unsigned number)
{
	static uint8_t bytes[INPUT_MAX];
	size_t len = 0;
	unsigned byte;

	if (*line == '#')
		return;
	for (; *line && *line != '\n'; line += 2) {
		if (sscanf(line, "%2x", &byte) != 1 || len == sizeof(bytes)) {
			fprintf(stderr, "%s:%u: is no line of hex\n", path, number);
			exit(2);
		}
		bytes[len++] = (uint8_t)byte;
	}
	inputs_add(inputs, (struct slice){ bytes, len });
}

static void inputs_of(const struct fuzz_target *target, struct inputs *inputs)
{
	static char line[2 * INPUT_MAX + 2];
	unsigned number = 0;
	char path[128];
	FILE *file;

	target->seeds(inputs_add, inputs);
	snprintf(path, sizeof(path), CORPUS "/%s.hex", target->name);
	file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file))
		add_line(inputs, line, path, ++number);
	fclose(file);
}

/* ---------------------------------------------------------------- running */

static uint64_t seed = 1;

static uint32_t chance(uint32_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed >> 33) % below;
}

/* In a block of exactly its length, so that a sanitizer sees the first byte read past it. */
static void try_one(const struct fuzz_target *target, struct slice input)
{
	uint8_t *exact;

	if (input.len > target->max_len || input.len > INPUT_MAX)
		return;
	exact = malloc(input.len ? input.len : 1);
	FUZZ_CHECK(exact);
	if (input.len) {
		memcpy(exact, input.data, input.len);
		memcpy(current->bytes, input.data, input.len);
	}
	current->len = input.len;
	target->run((struct slice){ exact, input.len });
	current->inputs++;
	free(exact);
}

/* A bit, a byte, a cut, a run of bytes out or doubled, or the end of another input. */
static size_t damage(const struct inputs *inputs, const struct slice *from, uint8_t *to)
{
	static const uint8_t bytes[] = { 0, 1, 2, 0x7f, 0x80, 0xff, '\n', ' ', '"' };
	const struct slice other = inputs->all[chance((uint32_t)inputs->count)];
	size_t len = from->len, at = len ? chance((uint32_t)len) : 0, part;

	memcpy(to, from->data, len);
	switch (len ? chance(6) : 5) {
	case 0: to[at] ^= (uint8_t)(1u << chance(8)); return len;
	case 1: to[at] = bytes[chance(sizeof(bytes))]; return len;
	case 2: return at;
	case 3:
		part = 1 + chance(8) % (uint32_t)(len - at);
		memmove(to + at, to + at + part, len - at - part);
		return len - part;
	case 4:
		part = 1 + chance(16) % (uint32_t)(len - at);
		if (len + part > INPUT_MAX)
			return len;
		memmove(to + at + part, to + at, len - at);
		return len + part;
	default:
		part = other.len ? chance((uint32_t)other.len) : 0;
		if (at + other.len - part > INPUT_MAX)
			return len;
		memcpy(to + at, other.data + part, other.len - part);
		return at + other.len - part;
	}
}

static void run_all(const struct fuzz_target *target)
{
	static uint8_t changed[INPUT_MAX], before[INPUT_MAX];
	struct inputs inputs = { .count = 0 };
	const uint32_t tries = target->is_slow ? DAMAGE_SLOW : DAMAGE;

	inputs_of(target, &inputs);
	for (size_t i = 0; i < inputs.count; i++)
		try_one(target, inputs.all[i]);
	try_one(target, (struct slice){ NULL, 0 });
	for (uint32_t i = 0; i < tries && inputs.count; i++) {
		const struct slice *from = &inputs.all[i % inputs.count];
		size_t len = damage(&inputs, from, changed);

		for (uint32_t more = chance(3); more; more--) {
			memcpy(before, changed, len);
			len = damage(&inputs, &(struct slice){ before, len }, changed);
		}
		try_one(target, (struct slice){ changed, len });
	}
	inputs_free(&inputs);
}

static void keep_input(const struct fuzz_target *target, int status)
{
	const char *build = getenv("BUILD") ? getenv("BUILD") : "build";
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/fuzz-found", build);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/fuzz-found/%s-replay", build, target->name);
	file = fopen(path, "we");
	if (file) {
		fwrite(current->bytes, 1, current->len, file);
		fclose(file);
	}
	printf("%-10s FAILED: %s %d at input %llu; again: %s/test/fuzz/replay --one %s %s\n", target->name, WIFSIGNALED(status) ? "signal" : "exit",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), (unsigned long long)current->inputs, build, target->name, path);
}

/* True: it came to its end. */
static bool run_apart(const struct fuzz_target *target)
{
	char folder[64];
	int status;
	pid_t child;

	fflush(NULL);
	/* Ours, so that nothing of a child that ended before its time stays. */
	files_folder(folder);
	setenv("FUZZ_FOLDER", folder, 1);
	current->inputs = current->len = 0;
	child = fork();
	FUZZ_CHECK(child >= 0);
	if (child == 0) {
		alarm(SECONDS);
		run_all(target);
		exit(0);
	}
	while (waitpid(child, &status, 0) != child)
		;
	files_empty(folder);
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		keep_input(target, status);
		return false;
	}
	printf("%-10s %7llu inputs\n", target->name, (unsigned long long)current->inputs);
	return true;
}

/* ---------------------------------------------------------------- other verbs */

static size_t read_input(const char *path, uint8_t out[INPUT_MAX])
{
	FILE *file = fopen(path, "rbe");
	size_t len;

	if (!file) {
		fprintf(stderr, "%s: cannot be read\n", path);
		exit(2);
	}
	len = fread(out, 1, INPUT_MAX, file);
	fclose(file);
	return len;
}

static int run_one(const struct fuzz_target *target, const char *path)
{
	static uint8_t bytes[INPUT_MAX];

	try_one(target, (struct slice){ bytes, read_input(path, bytes) });
	printf("%s: %s holds\n", target->name, path);
	return 0;
}

static int write_all(const struct fuzz_target *target, const char *folder)
{
	struct inputs inputs = { .count = 0 };
	char path[512];

	inputs_of(target, &inputs);
	for (size_t i = 0; i < inputs.count; i++) {
		snprintf(path, sizeof(path), "%s/seed-%04zu", folder, i);
		files_write(path, inputs.all[i], 0644);
	}
	inputs_free(&inputs);
	return 0;
}

static void words_of(const ProtobufCMessageDescriptor *descriptor, int depth)
{
	for (unsigned i = 0; i < descriptor->n_fields && depth < 4; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
		const ProtobufCEnumDescriptor *values = field->descriptor;

		printf("\"\\\"%s\\\":\"\n", field->name);
		if (field->type == PROTOBUF_C_TYPE_MESSAGE)
			words_of(field->descriptor, depth + 1);
		for (unsigned j = 0; field->type == PROTOBUF_C_TYPE_ENUM && j < values->n_values; j++)
			printf("\"\\\"%s\\\"\"\n", values->values[j].name);
	}
}

/* For targets that read words; the others need none. */
static int write_words(const struct fuzz_target *target)
{
	static const char *const config[] = { "[node]", "[store]", "[listen]", "[link ", "[route]", "[api]", "[clock]", "[tuning]", "[log]", "number = ",
		"role = ", "state = /", "identity = /", "limit_mib = ", "folder = /", "address = tcp://", "accept_any_certified = yes", "profile = thin",
		"profile = ip", "default = ", "socket = /", "group = ", "quality = ", "time_scale = ", "retry_flash_s = ", "grace_s = ", "level = debug" };
	static const char *const http[] = { "GET /v1/", "POST /v1/", "messages/344003/2/1", "inbox?after=", "outbox?after=", "queue?after=901/FLASH/1", "limit=", "unread=1", "link=0",
		"events", "directory", "status", "backup", "check", "self", "healthz", "metrics", "/read", "/accept", "/refuse", "/done", "/withdraw", "/hold",
		"/release", "/trace", " HTTP/1.1\\x0d\\x0a", "Content-Length: ", "Content-Type: application/json\\x0d\\x0a", "Idempotency-Key: ", "Last-Event-ID: ",
		"Transfer-Encoding: chunked\\x0d\\x0a", "Connection: close\\x0d\\x0a", "\\\"kind\\\":\\\"text\\\"", "\\\"to\\\":[901]", "\\\"group:1\\\"", "\\\"body\\\":{",
		"\\\"precedence\\\":\\\"FLASH\\\"", "\\\"lifetime_s\\\":60", "\\\"supersedes\\\":", "\\\"remark\\\":", "%2f", "&" };

	if (!strcmp(target->name, "json") || !strcmp(target->name, "http"))
		for (size_t i = 0; kind_at(i); i++)
			if (kind_at(i)->has_body)
				words_of(body_descriptor(kind_at(i)->number), 0);
	for (size_t i = 0; !strcmp(target->name, "config") && i < sizeof(config) / sizeof(config[0]); i++)
		printf("\"%s\"\n", config[i]);
	for (size_t i = 0; !strcmp(target->name, "http") && i < sizeof(http) / sizeof(http[0]); i++)
		printf("\"%s\"\n", http[i]);
	return 0;
}

static const struct fuzz_target *target_or_end(const char *name)
{
	const struct fuzz_target *target = fuzz_find(name);

	if (target)
		return target;
	fprintf(stderr, "replay: no target %s; replay --list names them\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	unsigned passed = 0, failed = 0;

	current = mmap(NULL, sizeof(*current), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	FUZZ_CHECK(current != MAP_FAILED);
	fuzz_start();
	if (argc == 4 && !strcmp(argv[1], "--one"))
		return run_one(target_or_end(argv[2]), argv[3]);
	if (argc == 4 && !strcmp(argv[1], "--write"))
		return write_all(target_or_end(argv[2]), argv[3]);
	if (argc == 3 && !strcmp(argv[1], "--words"))
		return write_words(target_or_end(argv[2]));
	if (argc == 3 && !strcmp(argv[1], "--max"))
		return printf("%zu\n", target_or_end(argv[2])->max_len) < 0;
	for (const struct fuzz_target *target = fuzz_targets; target->name; target++) {
		bool is_meant = argc == 1;

		for (int i = 1; i < argc; i++)
			is_meant = is_meant || !strcmp(argv[i], target->name);
		if (argc == 2 && !strcmp(argv[1], "--list"))
			printf("%s\n", target->name);
		else if (is_meant)
			*(run_apart(target) ? &passed : &failed) += 1;
	}
	if (argc == 2 && !strcmp(argv[1], "--list"))
		return 0;
	printf("fuzz replay: %u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
