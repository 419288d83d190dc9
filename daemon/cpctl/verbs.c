/* verbs.c: see verbs.h. */
#include "daemon/cpctl/verbs.h"

#define OPTION(name, argument, help) { name, argument, help, false, false }
#define REQUIRED(name, argument, help) { name, argument, help, true, false }
#define REPEATABLE(name, argument, help) { name, argument, help, false, true }
#define OPTIONS_END { NULL, NULL, NULL, false, false }

static const struct option_rule send_options[] = {
	REPEATABLE("to", "NODE|GROUP", "number or name of a node or group; again for more"),
	OPTION("precedence", "WORD", "FLASH, IMMEDIATE, PRIORITY, ROUTINE; else the kind's"),
	OPTION("mode", "WORD", "REAL, EXERCISE, TEST"),
	OPTION("lifetime", "TIME", "how long it is worth sending: 3600, 90m, 12h, 3d"),
	OPTION("reply-to", "ID", "the message this answers"),
	OPTION("supersedes", "ID", "the message this takes the place of"),
	OPTION("incident", "ID", "the message that began the incident"),
	OPTION("author", "FUNCTION", "function of who writes it, never a name"),
	OPTION("closing", "LEVEL", "DELIVERED, READ, ACCEPTED, DONE: what it is kept for"),
	OPTION("entry", "WORD", "screen, voice, paper, courier, automatic"),
	OPTION("body", "FILE", "the body as JSON; - is standard input; fields override"),
	OPTION("personal", "FILE", "emergency-call: what only addressees may read; or -"),
	OPTION("key", "TEXT", "idempotency key; the same key is the same message"),
	OPTIONS_END
};

static const struct option_rule region_init_options[] = {
	REQUIRED("region", "CODE", "safety region: VR09"),
	REQUIRED("name", "NAME", "its name: Utrecht"),
	OPTION("network", "ID", "the network all signatures are for; else nl"),
	{ "unsealed", NULL, "without a passphrase: for exercises and tests", false, false },
	OPTIONS_END
};

static const struct option_rule region_admit_options[] = {
	REQUIRED("node", "NUMBER", "the number it gets: 344003"),
	REQUIRED("role", "ROLE", "nsp, cp, desk or partner"),
	OPTION("name", "NAME", "else the name in the request"),
	OPTION("municipality", "CODE", "CBS code: GM0344"),
	OPTION("address", "ADDRESS", "where it listens: tcp://192.0.2.1:5600"),
	OPTION("lat", "DEGREES", "where it stands: 52.09083"),
	OPTION("lon", "DEGREES", "5.12222"),
	{ "replace", NULL, "other keys than the node has now: a new machine", false, false },
	OPTIONS_END
};

static const struct option_rule region_group_options[] = {
	REQUIRED("number", "NUMBER", "number of the group"),
	REQUIRED("name", "NAME", "what people call it: alle-nsp"),
	REQUIRED("members", "A,B,C", "all its nodes, not only new ones"),
	OPTIONS_END
};

static const struct option_rule region_revoke_options[] = {
	REQUIRED("node", "NUMBER", "whose newest key is revoked"),
	OPTION("last", "EPOCH/SEQUENCE", "the last message to trust; else none is trusted"),
	OPTION("reason", "TEXT", "why, on one line"),
	OPTIONS_END
};

static const struct option_rule region_enrol_options[] = { OPTION("homes", "A,B", "CPs to call, of rows that name none"), OPTIONS_END };
static const struct option_rule region_function_options[] = {
	REQUIRED("number", "NUMBER", "number of the function"),
	OPTION("node", "NUMBER", "where the person works"),
	OPTION("function", "TEXT", "what the person is; never a name"),
	OPTION("key", "HEX", "as cpctl function init told it"),
	{ "revoke", NULL, "it releases nothing any more", false, false },
	OPTIONS_END
};

static const struct option_rule sign_options[] = { REQUIRED("key", "FILE", "your own key"), OPTIONS_END };

static const struct option_rule region_kit_options[] = { REQUIRED("node", "NUMBER", "whose kit"), OPTIONS_END };
static const struct option_rule node_init_options[] = { REQUIRED("name", "NAME", "the name it asks for"), OPTIONS_END };
static const struct option_rule refuse_options[] = { REQUIRED("reason", "TEXT", "why it cannot be done, in one sentence"), OPTIONS_END };
static const struct option_rule remark_options[] = { OPTION("reason", "TEXT", "a remark for who wrote it"), OPTIONS_END };
static const struct option_rule watch_options[] = { OPTION("count", "N", "stop after N lines"), OPTIONS_END };
static const struct option_rule outbox_options[] = { OPTION("limit", "N", "the first N; else 100"), OPTIONS_END };
static const struct option_rule inbox_options[] = {
	{ "unread", NULL, "only what nobody opened yet", false, false },
	OPTION("limit", "N", "the first N, the oldest first; else 100"),
	OPTIONS_END
};
static const struct option_rule config_options[] = { OPTION("config", "FILE", "else /etc/cpd/cpd.conf"), OPTIONS_END };
static const struct option_rule restore_options[] = {
	OPTION("config", "FILE", "the node of this cpd.conf, in place of STATEDIR"),
	{ "damaged", NULL, "also when its store has findings", false, false },
	OPTIONS_END
};
static const struct option_rule courier_write_options[] = {
	OPTION("to", "NODE", "its number; else every neighbour, and whom nothing leads to"),
	OPTION("limit", "KIB", "the largest file; else 10240"),
	OPTIONS_END
};
static const struct option_rule courier_read_options[] = { OPTION("limit", "KIB", "the largest answer; else 10240"), OPTIONS_END };
static const struct option_rule node_install_options[] = { OPTION("conf", "FILE", "write a first cpd.conf there too"),
	OPTION("keys", "DIR", "the copy of an identity folder to take the keys from"),
	OPTION("who", "NAME", "with the emergency code: who you are, for the CPs"), OPTIONS_END };

const struct verb verbs[] = {
	{ "status", "", 0, 0, "this node, its links, its queues, the noodsteunpunten", "",
	  "cpctl status\nwatch -n 5 cpctl status\ncpctl status --json | jq '.links[] | select(.up | not)'", NULL, false, verb_status, NULL },
	{ "send", "KIND", 1, 1, "write a message; its id is told on stdout", "", "", send_options, true, verb_send, help_send },
	{ "inbox", "", 0, 0, "messages delivered here, the oldest first", "A * marks what nobody opened yet.",
	  "cpctl inbox --unread\ncpctl inbox --json | jq -r '.[].id'", inbox_options, false, verb_inbox, NULL },
	{ "outbox", "", 0, 0, "messages written here, and how far they came", "", "cpctl outbox --limit 20", outbox_options, false, verb_outbox, NULL },
	{ "show", "ID", 1, 1, "one message, whole", "Showing does not count as reading: `cpctl read` signs for that.",
	  "cpctl show 344003/2/118", NULL, false, verb_show, NULL },
	{ "read", "ID", 1, 1, "sign that a person has read it", "", "cpctl read 901/1/7", remark_options, false, verb_act, NULL },
	{ "open", "ID", 1, 1, "read the personal part of a message", "Puts it into the journal that somebody did. It opens only where it is meant for.",
	  "cpctl open 344003/2/118", NULL, false, verb_open, NULL },
	{ "sign", "ID", 1, 1, "release a message that waits for people's signatures",
	  "Read it first: cpctl show ID. A bulletin goes when two people have signed. Asks\nfor the passphrase of your key; a script names a file in CPD_PASSPHRASE_FILE.",
	  "cpctl sign 911/1/7 --key /media/mine/cpd.key", sign_options, false, verb_sign, NULL },
	{ "accept", "ID", 1, 1, "sign that it will be done", "", "cpctl accept 901/1/7", remark_options, false, verb_act, NULL },
	{ "refuse", "ID", 1, 1, "sign that it will not be done, and why", "",
	  "cpctl refuse 901/1/7 --reason 'geen voertuig beschikbaar'", refuse_options, false, verb_act, NULL },
	{ "done", "ID", 1, 1, "sign that it is done", "", "cpctl done 901/1/7", remark_options, false, verb_act, NULL },
	{ "withdraw", "ID", 1, 1, "take back a message that was written here", "Who has it already keeps it, and is not told in this version: tell them.",
	  "cpctl withdraw 344003/1/5 --reason 'verkeerde locatie'", remark_options, false, verb_act, NULL },
	{ "trace", "ID", 1, 1, "where a message is and what became of it", "", "cpctl trace 344003/2/118", NULL, false, verb_trace, NULL },
	{ "queue", "", 0, 0, "what waits, for each link in the order it will go", "", "cpctl queue", NULL, false, verb_queue, NULL },
	{ "queue hold", "ID", 1, 1, "keep a message here until it is released", "", "cpctl queue hold 344003/2/118", NULL, false, verb_queue_act, NULL },
	{ "queue release", "ID", 1, 1, "let a held message go", "", "cpctl queue release 344003/2/118", NULL, false, verb_queue_act, NULL },
	{ "queue withdraw", "ID", 1, 1, "take back a message that was written here", "The same as `cpctl withdraw`.",
	  "cpctl queue withdraw 344003/1/5 --reason 'verkeerde locatie'", remark_options, false, verb_queue_act, NULL },
	{ "watch", "", 0, 0, "what happens, as it happens", "Goes on after a broken connection where it was.",
	  "cpctl watch\ncpctl watch --count 1 --json", watch_options, false, verb_watch, NULL },
	{ "directory", "", 0, 0, "nodes and groups, as this node knows them", "", "cpctl directory", NULL, false, verb_directory, NULL },
	{ "directory import", "FILE", 1, 1, "take in a directory update from a stick", "The region's authority has signed it: it may come any way.",
	  "cpctl directory import /media/stick/000012.update", NULL, false, verb_directory_import, NULL },
	{ "doctor", "", 0, 0, "what is wrong here, and what to do", "Looks at configuration, keys, disk, daemon, clock and links; works also when cpd\nis down. Exit 1 when something is wrong that stops messages. Run it as root, or\nas the user that cpd runs as: others may not see the keys.",
	  "sudo cpctl doctor\ncpctl doctor --config FILE --json", config_options, false, verb_doctor, NULL },
	{ "clock", "", 0, 0, "what this node believes of the time", "Changes nothing: set a clock with `timedatectl set-time`.", "cpctl clock", NULL, false, verb_clock, NULL },
	{ "check", "[STATEDIR]", 0, 1, "prove every record of the store",
	  "Changes nothing. Asks the daemon, which goes on meanwhile; with a STATEDIR or\n--config, or when no daemon answers, looks itself: then cpd must not run on it.\nExit 1 when it finds something; `cpd --check-store --repair` mends what it can.",
	  "cpctl check\ncpctl check /var/lib/cpd", config_options, false, verb_check, NULL },
	{ "backup", "FILE", 1, 1, "copy the running node's store into a file",
	  "The node goes on meanwhile. No key is in it: keep a copy of the identity folder\nin a safe besides. An older backup of that name is replaced once the new one is\nwhole, synced and read back.",
	  "cpctl backup /media/stick/344003.backup", NULL, false, verb_backup, NULL },
	{ "restore", "FILE [STATEDIR]", 1, 2, "put a backup in place of the store, with cpd stopped",
	  "Proves the sum and checks the store in it before anything is changed; keeps the\nold store aside. cpd then begins a new epoch: no number is used twice. Run as\nroot it works as the user that the keys belong to.",
	  "systemctl stop cpd\ncpctl restore /media/stick/344003.backup --config /etc/cpd/cpd.conf\nsystemctl start cpd\n"
	  "cpctl restore 344003.backup /var/lib/cpd", restore_options, false, verb_restore, NULL },
	{ "export journal", "FILE", 1, 1, "the journal as a file, in a chain of hashes",
	  "One JSON value a line; - is standard output. Who changes or takes away a line\nshows when the chain is proved: docs/OPERATIONS.md.",
	  "cpctl export journal 901.journal", NULL, false, verb_export_journal, NULL },
	{ "courier write", "DIR", 1, 1, "put what is owed to others on a stick",
	  "The most urgent goes first, sealed for who is to take it. All of it waits here too,\nand goes by a link that comes up, until word comes back that it was taken.\nWhat stood on the stick for the same nodes is replaced.",
	  "cpctl courier write /media/stick\ncpctl courier write /media/stick --to 901 --limit 512", courier_write_options, false, verb_courier_write, NULL },
	{ "courier read", "DIR", 1, 1, "take in what a stick brings, and put the answer on it",
	  "DIR may be one file, too. Nothing of a file is taken unless all of it is right.\nThe answer tells its writer what was taken, and carries what is owed to it. A\n"
	  "stick may be read twice, late, or half written: nothing is lost or shown twice.",
	  "cpctl courier read /media/stick", courier_read_options, false, verb_courier_read, NULL },
	{ "region init", "DIR", 1, 1, "begin a region: its authority's key, in a new folder",
	  "Do this on a machine that is never on a network. Asks for a passphrase that\nseals the key; a script names a file that holds it in CPD_NEW_PASSPHRASE_FILE.",
	  "cpctl region init /media/stick/vr09 --region VR09 --name Utrecht", region_init_options, false, verb_region_init, NULL },
	{ "region passphrase", "DIR", 1, 1, "another passphrase for the region's key", "Seals a key that lay open, too. A script names files of the old and the new one\nin CPD_PASSPHRASE_FILE and CPD_NEW_PASSPHRASE_FILE.",
	  "cpctl region passphrase vr09", NULL, false, verb_region_passphrase, NULL },
	{ "region admit", "DIR REQUEST", 2, 2, "certify a node, and make the kit it is handed",
	  "Compare the fingerprint by telephone or in person before you hand out the kit.\nGiven again with the same words it makes the kit again; with other words it\n"
	  "changes the certificate; with a request of new keys, and --replace, the node\ngets its next key, and keeps its address, municipality and place where none\nis given.",
	  "cpctl region admit vr09 request.cpd --node 344003 --role nsp \\\n    --name 'NSP De Meern' --municipality GM0344\n"
	  "cpctl region admit vr09 request.cpd --node 901 --role cp \\\n    --address tcp://192.0.2.1:5600", region_admit_options, false, verb_region_admit, NULL },
	{ "region enrol", "DIR LIST", 2, 2, "a list of nodes becomes sealed kits, and a sheet each",
	  "A spreadsheet's CSV. Columns by name, in any order: name, municipality, place,\nlat, lon, role, homes (CPs to call, the best first: 901 902), address, number.\nAll but name may be left out. "
	  "The keys are made here and leave in the kit, that only\nthe sheet's code opens. Given again it goes on where it broke off.",
	  "cpctl region enrol vr09 utrecht.csv --homes 901,902", region_enrol_options, false, verb_region_enrol, NULL },
	{ "region group", "DIR", 1, 1, "make a group, or its next version",
	  "Messages go to the version that their author's node held.",
	  "cpctl region group vr09 --number 1 --name alle-nsp --members 344001,344002", region_group_options, false, verb_region_group, NULL },
	{ "region revoke", "DIR", 1, 1, "cut a node's key off: stolen, lost, or misused",
	  "Without --last nothing that the key signed is trusted; with it, what came\nlater is shown as suspect.",
	  "cpctl region revoke vr09 --node 344003 --last 1/118 --reason 'laptop gestolen'", region_revoke_options, false, verb_region_revoke, NULL },
	{ "region function", "DIR", 1, 1, "certify the key of a person who releases bulletins",
	  "One key is one person; a bulletin wants two. With --revoke the function of that\nnumber releases nothing any more, and what it had released is shown as suspect.",
	  "cpctl region function vr09 --number 1 --node 911 --function communicatie \\\n    --key 3f…\ncpctl region function vr09 --number 1 --revoke", region_function_options, false, verb_region_function, NULL },
	{ "region kit", "DIR", 1, 1, "make a node's kit again, with every update so far", "",
	  "cpctl region kit vr09 --node 344003", region_kit_options, false, verb_region_kit, NULL },
	{ "region show", "DIR", 1, 1, "the nodes, keys and groups of a region", "", "cpctl region show vr09", NULL, false, verb_region_show, NULL },
	{ "function init", "FILE", 1, 1, "make the key of a person who releases bulletins",
	  "Asks for a passphrase that seals it; a script names a file that holds it in\nCPD_NEW_PASSPHRASE_FILE. Keep the file where only you come.",
	  "cpctl function init /media/mine/cpd.key", NULL, false, verb_function_init, NULL },
	{ "node init", "[STATEDIR]", 0, 1, "make a node's keys, and the request for its region",
	  "Without a STATEDIR it is /var/lib/cpd. What root makes there is its owner's, so\nthat cpd can read its keys.",
	  "sudo cpctl node init --name 'NSP De Meern'\ncpctl node init STATEDIR --name 'NSP De Meern'", node_init_options, false, verb_node_init, NULL },
	{ "node install", "[STATEDIR] KIT", 1, 2, "make this machine the node that its region's kit says",
	  "Without a STATEDIR it is /var/lib/cpd, and /etc/cpd/cpd.conf is written where\nnone is. A sealed kit asks for the code on its sheet. Changes nothing when the\n"
	  "kit is half, damaged, or another machine's. cpd takes the updates in when it\nstarts.",
	  "sudo cpctl node install /media/stick/344003.sealed\nsudo -u cpd cpctl node install /var/lib/cpd /media/stick/344003.kit \\\n    --conf /var/lib/cpd/cpd.conf",
	  node_install_options, false, verb_node_install, NULL },
	{ "node claim", "STATEDIR", 1, 1, "make this copy the one in use, with cpd stopped",
	  "For a node that was fenced, or whose keys come from the safe; the other copy\nstops when it hears of this one.",
	  "systemctl stop cpd\ncpctl node claim /var/lib/cpd\nsystemctl start cpd", NULL, false, verb_node_claim, NULL },
	{ "node show", "STATEDIR", 1, 1, "which node this is, and the fingerprints to compare", "", "sudo -u cpd cpctl node show /var/lib/cpd", NULL, false, verb_node_show, NULL },
	{ NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, false, NULL, NULL }
};
