/* passphrase.c: see passphrase.h. */
#include "daemon/cpctl/passphrase.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "daemon/cpctl/arguments.h"

static const char known[] = "CPD_PASSPHRASE_FILE", code[] = "CPD_CODE_FILE", fresh[] = "CPD_NEW_PASSPHRASE_FILE";

static bool is_set(const char *variable)
{
	const char *path = getenv(variable);

	return path && *path;
}

bool passphrase_is_given(void)
{
	return is_set(known);
}

void passphrase_wipe(struct passphrase *passphrase)
{
	explicit_bzero(passphrase, sizeof(*passphrase));
	munlock(passphrase, sizeof(*passphrase));
}

struct slice passphrase_slice(const struct passphrase *passphrase)
{
	return (struct slice){ (const uint8_t *)passphrase->text, passphrase->len };
}

/* Up to the end of the line or of the file. False: nothing was there, or too much. */
static bool read_line(int fd, struct passphrase *out)
{
	out->len = 0;
	for (;;) {
		char c;
		ssize_t got = read(fd, &c, 1);

		if (got < 0 && errno == EINTR)
			continue;
		/* With signals off, as below, Ctrl-C is a byte like another. */
		if (got < 0 || (got > 0 && (c == 3 || c == 4)))
			return false;
		if (!got || c == '\n' || c == '\r')
			return got || out->len;
		if (out->len == PASSPHRASE_MOST)
			return false;
		out->text[out->len++] = c;
	}
}

static bool from_file(const char *variable, struct passphrase *out)
{
	const char *path = getenv(variable);
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok = false;

	if (fd < 0 || fstat(fd, &status))
		say_refused("%s (%s): %s", path, variable, strerror(errno));
	else if (S_ISREG(status.st_mode) && status.st_mode & 077)
		say_refused("%s (%s) may be read by others: chmod 600 it, and take another passphrase if they did", path, variable);
	else if (!(ok = read_line(fd, out)))
		say_refused("%s (%s) holds no line of 1 to %d bytes", path, variable, PASSPHRASE_MOST);
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool from_terminal(const char *prompt, const char *variable, bool is_seen, struct passphrase *out)
{
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	struct termios before, silent;
	bool ok;

	if (fd < 0 || tcgetattr(fd, &before)) {
		if (fd >= 0)
			close(fd);
		say_refused("there is no terminal to type it on: do this at one, or name a file of mode 0600 in %s", variable);
		return false;
	}
	silent = before;
	/* Nothing may end us while the terminal is silent: a shell that echoes nothing is no shell. */
	silent.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ISIG);
	dprintf(fd, "%s: ", prompt);
	if (!is_seen)
		tcsetattr(fd, TCSAFLUSH, &silent);
	ok = read_line(fd, out);
	if (!is_seen) {
		tcsetattr(fd, TCSAFLUSH, &before);
		dprintf(fd, "\n");
	}
	close(fd);
	if (!ok)
		say_refused("no %s was given; nothing was changed", is_seen ? "code" : "passphrase");
	return ok;
}

static bool ask(const char *prompt, const char *variable, bool is_seen, struct passphrase *out)
{
	memset(out, 0, sizeof(*out));
	/* Without the right to lock memory it is as it is: off-line machines seldom swap. */
	(void)mlock(out, sizeof(*out));
	if (is_set(variable) ? from_file(variable, out) : from_terminal(prompt, variable, is_seen, out))
		return true;
	passphrase_wipe(out);
	return false;
}

bool passphrase_ask(const char *prompt, struct passphrase *out)
{
	return ask(prompt, known, false, out);
}

bool passphrase_code_is_given(void)
{
	return is_set(code);
}

bool passphrase_ask_code(const char *prompt, struct passphrase *out)
{
	return ask(prompt, code, true, out);
}

bool passphrase_ask_new(struct passphrase *out)
{
	struct passphrase again;
	bool same;

	if (!is_set(fresh))
		fprintf(stderr, "A passphrase seals the region's key: five words or more, that no list of quotes has.\n"
		    "Without it nobody can admit or revoke, and nobody can find it out: write it down\nand keep it in a safe, apart from the key.\n");
	if (!ask("New passphrase", fresh, false, out))
		return false;
	if (out->len < PASSPHRASE_LEAST) {
		say_refused("the passphrase is shorter than %d characters; nothing was changed", PASSPHRASE_LEAST);
		passphrase_wipe(out);
		return false;
	}
	if (is_set(fresh))
		return true;
	if (!ask("The same again", fresh, false, &again)) {
		passphrase_wipe(out);
		return false;
	}
	same = again.len == out->len && !memcmp(again.text, out->text, out->len);
	passphrase_wipe(&again);
	if (!same) {
		passphrase_wipe(out);
		say_refused("the two are not the same; nothing was changed: begin again");
	}
	return same;
}
