/* conf.c: see conf.h. */
#include "daemon/cpctl/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINKS_MAX 4      /* CPs written down for a node of which nobody said whom it calls; a person adds more */
#define PORT_DEFAULT 5600

struct conf {
	const struct certificate *own;
	const struct directory *directory;
	const uint32_t *homes;
	size_t home_count;
};

static void write_listen(FILE *out, const struct certificate *own)
{
	const char *port = strrchr(own->address, ':');

	if (own->role == ROLE_ID_CP) {
		fprintf(out, "[listen]\n# On all of this machine's addresses; the region knows it as %s.\naddress = tcp://0.0.0.0%s\n"
		    "# Every node that the region has certified may call.\naccept_any_certified = yes\n\n", own->address[0] ? own->address : "(no address)",
		    port ? port : ":5600");
		return;
	}
	fprintf(out, "# Take away the # to let others call this node (two nodes that lie near to each other).\n"
	    "# [listen]\n# address = tcp://0.0.0.0:%d\n# accept_any_certified = yes\n\n", PORT_DEFAULT);
}

/* The coördinatiepunten this node can call, nearest guess first: those of the directory with an address. Of two of
 * them the one with the higher number calls. */
_Static_assert(LINKS_MAX <= LIMIT_HOMES, "find_hubs fills as many");
static size_t find_hubs(const struct conf *conf, const struct certificate *hubs[LIMIT_HOMES])
{
	const struct certificate *own = conf->own;
	const struct directory *directory = conf->directory;
	size_t count = 0;

	for (size_t i = 0; i < conf->home_count; i++) {
		const struct certificate *home = directory_certificate(directory, conf->homes[i]);

		if (home && home->address[0] && !directory_revocation(directory, home->node, home->key_number))
			hubs[count++] = home;
	}
	if (conf->home_count)
		return count;

	for (const struct certificate *node = directory_next(directory, 0); node && count < LINKS_MAX; node = directory_next(directory, node->node))
		if (node->role == ROLE_ID_CP && node->node != own->node && (own->role != ROLE_ID_CP || node->node < own->node) &&
		    node->address[0] && !directory_revocation(directory, node->node, node->key_number))
			hubs[count++] = node;
	return count;
}

static void write_links(FILE *out, const struct conf *conf)
{
	const struct certificate *own = conf->own, *hubs[LIMIT_HOMES];
	size_t count = find_hubs(conf, hubs);

	fputs("# The nodes that this one calls, the best first. Addresses are numeric: names cannot be looked up\n"
	    "# when the network is down. profile = thin for radio and satellite.\n", out);
	for (size_t i = 0; i < count; i++)
		fprintf(out, "[link %u]\n# %s\naddress = %s\nprofile = ip\n\n", hubs[i]->node, hubs[i]->name, hubs[i]->address);
	if (!count) {
		fputs("# [link 901]\n# address = tcp://192.0.2.1:5600\n# profile = ip\n\n# Where messages go that no neighbour is named for.\n"
		    "# [route]\n# default = 901\n\n", out);
		return;
	}
	if (own->role == ROLE_ID_CP)
		return;          /* it knows of each node where it is homed */
	fputs("# Where messages go that no neighbour is named for.\n[route]\ndefault = ", out);
	for (size_t i = 0; i < count; i++)
		fprintf(out, "%s%u", i ? ", " : "", hubs[i]->node);
	fputs("\n\n", out);
}

char *conf_make(const struct certificate *own, const struct directory *directory, const char *state, const char *group,
    const uint32_t *homes, size_t home_count)
{
	const struct conf conf = { own, directory, homes, home_count };
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	fprintf(out, "# cpd.conf of %s. Made by `cpctl node install`.\n"
	    "# `cpd --check-config --config FILE` says whether it can be used.\n\n"
	    "[node]\nnumber = %u\nrole = %s\nstate = %s\n\n", own->name, own->node, node_role_name(own->role), state);
	write_listen(out, own);
	write_links(out, &conf);
	fputs("[store]\n# The most the messages may take on disk.\nlimit_mib = 2048\n\n"
	    "[api]\n# cpctl and the screens speak to cpd here. Who is in the group may.\nsocket = /run/cpd/api.sock\n", out);
	fprintf(out, "%sgroup = %s\n\n", group ? "" : "# ", group ? group : "cpd");
	fputs("[clock]\n# auto asks the system; manual for a clock that a person set.\nquality = auto\n\n"
	    "[log]\nlevel = info\n", out);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}
