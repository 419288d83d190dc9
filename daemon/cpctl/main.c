/*
 * main.c: cpctl's beginning and end. The command line of one node: it asks the daemon over its socket, or
 * works on a region's and a node's files without one.
 *
 * DIAGNOSTICS. Exit 0: done. 1: refused, by the daemon, the region or a file. 2: wrong usage. 3: no
 * daemon answers. What is wrong and the cure stand on stderr.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "daemon/cpctl/arguments.h"
#include "daemon/cpctl/help.h"
#include "daemon/cpctl/verbs.h"
#include "daemon/version.h"

static int run(struct call *call)
{
	int status;

	if (call->wants_help)
		return call->verb->help ? call->verb->help(call) : help_verb(call);
	if (crypto_start())
		return say_refused("libsodium cannot start, or is a build that takes weak signatures; use the distribution's libsodium");
	status = call->verb->run(call);
	/* A full disk behind a pipe must not look like success. */
	if (fflush(stdout) && status == EXIT_DONE)
		status = say_refused("the output cannot be written");
	return status;
}

int main(int argc, char **argv)
{
	static struct call call;
	const char *environment = getenv("CPD_SOCKET");

	signal(SIGPIPE, SIG_IGN);
	switch (arguments_parse(argc, argv, verbs, &call)) {
	case PARSED_USAGE:
		return EXIT_USAGE;
	case PARSED_VERSION:
		printf("cpctl %s\n", CPD_VERSION);
		return EXIT_DONE;
	case PARSED_HELP:
		if (call.family)
			help_family(call.family);
		else
			help_all();
		return EXIT_DONE;
	case PARSED_CALL:
		break;
	}
	if (!call.socket)
		call.socket = environment && *environment ? environment : SOCKET_DEFAULT;
	return run(&call);
}
