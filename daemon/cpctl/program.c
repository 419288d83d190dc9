/* program.c: see program.h. */
#include "daemon/cpctl/program.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/cpctl/cpctl.h"

#define LINE 1024
#define WORDS 12
#define CONFIG_TEXT (256 * 1024)

/* Beside cpctl itself, as in a build folder; else where packages and `make install` put it. */
static bool find_cpd(char *out, size_t size)
{
	static const char *const places[] = { "/cpd", "/../sbin/cpd", "/../bin/cpd" };
	char self[LINE];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (len > 0) {
		self[len] = '\0';
		slash = strrchr(self, '/');
		*slash = '\0';
		for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
			snprintf(out, size, "%s%s", self, places[i]);
			if (!access(out, X_OK))
				return true;
		}
	}
	snprintf(out, size, "/usr/sbin/cpd");
	return !access(out, X_OK);
}

static void give_lines(FILE *from, program_line *take, void *context)
{
	char line[LINE];

	while (fgets(line, sizeof(line), from)) {
		line[strcspn(line, "\n")] = '\0';
		take(context, line);
	}
}

static void become(const char *path, const char *const *words, int out)
{
	const char *arguments[WORDS + 2] = { "cpd" };

	for (size_t i = 0; words[i] && i < WORDS; i++)
		arguments[i + 1] = words[i];
	signal(SIGPIPE, SIG_DFL);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	execv(path, (char *const *)(uintptr_t)arguments);
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	_exit(127);
}

int program_run(const char *const *words, program_line *take, void *context)
{
	char path[LINE + 16];
	int pair[2], status;
	FILE *from;
	pid_t child;

	if (!find_cpd(path, sizeof(path))) {
		say_refused("cpd is not found beside cpctl nor in /usr/sbin: install it here");
		return -1;
	}
	if (pipe(pair)) {
		say_refused("cpd cannot be run: %s", strerror(errno));
		return -1;
	}
	fflush(NULL);
	child = fork();
	if (child == 0) {
		close(pair[0]);
		become(path, words, pair[1]);
	}
	close(pair[1]);
	from = child > 0 ? fdopen(pair[0], "r") : NULL;
	if (from) {
		give_lines(from, take, context);
		fclose(from);
	} else
		close(pair[0]);
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
		say_refused("%s was broken off, or cannot be run", path);
		return -1;
	}
	return WEXITSTATUS(status);
}

struct text { char *bytes; size_t len; };

static void collect(void *context, const char *line)
{
	struct text *text = context;
	size_t len = strlen(line);

	if (text->len + len + 2 > CONFIG_TEXT)
		return;
	memcpy(text->bytes + text->len, line, len);
	text->len += len;
	text->bytes[text->len++] = '\n';
	text->bytes[text->len] = '\0';
}

char *program_config(const char *path, char *problem, size_t size)
{
	const char *const words[] = { "--show-config", "--config", path, NULL };
	struct text text = { calloc(1, CONFIG_TEXT), 0 };
	int code;

	snprintf(problem, size, "cpd cannot be run");
	code = text.bytes ? program_run(words, collect, &text) : -1;
	if (!code)
		return text.bytes;
	if (code > 0 && text.len) {
		text.bytes[strcspn(text.bytes, "\n")] = '\0';
		snprintf(problem, size, "%s", !strncmp(text.bytes, "cpd: ", 5) ? text.bytes + 5 : text.bytes);
	}
	free(text.bytes);
	return NULL;
}
