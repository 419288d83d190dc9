/*
 * cpctl.h: what every verb of cpctl shares: a call as the person typed it, and the four ways it may end.
 *
 * A verb is one row of the table in verbs.c and one function `verb_x`. It never ends the process itself:
 * it returns an exit code. What it found goes to stdout, what is wrong and the cure to stderr.
 * Included by daemon/cpctl/ only.
 */
#ifndef CPD_CPCTL_H
#define CPD_CPCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Scripts branch on these. */
enum exit_code {
	EXIT_DONE = 0,
	EXIT_REFUSED = 1,        /* the daemon, the region or the file said no */
	EXIT_USAGE = 2,          /* the words on the command line are off */
	EXIT_UNREACHABLE = 3     /* no daemon answered */
};

#define CALL_WORDS 8         /* words after the verb; no verb takes more than 3 */
#define CALL_OPTIONS 256     /* a full situation report by flags takes about 60 */

struct option_rule {
	const char *name;        /* without "--"; NULL ends a list */
	const char *argument;    /* "DIR", as help shows it; NULL: a switch */
	const char *help;
	bool is_required, is_repeatable;
};

struct call;
struct verb {
	const char *name;        /* "send"; "region init" */
	const char *words;       /* "DIR REQUEST", as help shows them */
	size_t least, most;      /* how many words it takes */
	const char *summary;     /* one line for the list of verbs */
	const char *details;     /* more lines for --help VERB, or "" */
	const char *examples;
	const struct option_rule *options;
	bool takes_fields;       /* any other --NAME VALUE is a field of a message's body */
	int (*run)(struct call *call);
	int (*help)(struct call *call);   /* NULL: the general help of a verb */
};

struct given_option { const char *name, *value; };   /* value NULL: a switch */

/* Borrowed from argv for the whole run, but for names cut from "--name=value". */
struct call {
	const struct verb *verb;         /* NULL: help of all, or of a family */
	const char *family;              /* "region": the first word of a verb of two, when verb is NULL */
	const char *socket;
	bool json, wants_help;
	const char *words[CALL_WORDS];
	size_t word_count;
	struct given_option options[CALL_OPTIONS];
	size_t option_count;
	struct given_option fields[CALL_OPTIONS];
	size_t field_count;
};

/* The value of an option that takes one, the last when repeated; NULL: not given. */
const char *call_option(const struct call *call, const char *name);
bool call_has(const struct call *call, const char *name);
/* A whole number from 1 to `most`; absent: *out stays. False: the usage error is told. */
bool call_number(const struct call *call, const char *name, uint32_t most, uint32_t *out);

/* Each tells what is wrong on stderr (say the cure in it) and returns the exit code of its name. */
__attribute__((format(printf, 2, 3))) int say_usage(const struct call *call, const char *format, ...);
__attribute__((format(printf, 1, 2))) int say_refused(const char *format, ...);

/* region.c, node.c: without a daemon */
int verb_region_init(struct call *call);
int verb_region_enrol(struct call *call);
int verb_region_passphrase(struct call *call);
int verb_region_admit(struct call *call);
int verb_region_group(struct call *call);
int verb_region_revoke(struct call *call);
int verb_region_function(struct call *call);
int verb_function_init(struct call *call);
int verb_sign(struct call *call);
int verb_region_kit(struct call *call);
int verb_region_show(struct call *call);
int verb_node_init(struct call *call);
int verb_node_install(struct call *call);
int verb_node_show(struct call *call);
int verb_node_claim(struct call *call);   /* claim.c */
/* the others ask the daemon */
int verb_status(struct call *call);
int verb_send(struct call *call);
int help_send(struct call *call);
int verb_inbox(struct call *call);
int verb_outbox(struct call *call);
int verb_show(struct call *call);
int verb_act(struct call *call);
int verb_open(struct call *call);
int verb_trace(struct call *call);
int verb_queue(struct call *call);
int verb_queue_act(struct call *call);
int verb_watch(struct call *call);
int verb_directory(struct call *call);
int verb_directory_import(struct call *call);
int verb_backup(struct call *call);
int verb_courier_write(struct call *call);
int verb_courier_read(struct call *call);
int verb_export_journal(struct call *call);
int verb_clock(struct call *call);
/* with the daemon or without */
int verb_check(struct call *call);
int verb_doctor(struct call *call);
/* with the daemon stopped */
int verb_restore(struct call *call);

#endif
