/*
 * sim.h: a whole region in one thread: real relays and real links over a virtual network, virtual
 * disks and a virtual clock, all chance from one seed.
 *
 * world.c   time, happenings, topology        node.c   a host, with decide.c, effects.c
 * net.c     wires, frames, sessions           feed.c   a host: link events in, items out
 * plan.c    what people do, what goes wrong   check.c  what must hold after every step
 * trace.c   what happened, for the one who must find out why
 * courier.c sticks that people carry             stall.c  the watchdog of the links
 * ends.c    what authors know when all is over    twin.c   two live copies of one identity
 *
 * Never reads a clock, a file or a thread; never includes store/ or crypto/. Called by main.c.
 */
#ifndef CPD_SIM_SIM_H
#define CPD_SIM_SIM_H

#include <stdio.h>

#include "daemon/relay/relay.h"
#include "daemon/relay/stall.h"
#include "proto/tree.h"
#include "test/sim/disk.h"
#include "test/sim/figures.h"
#include "test/sim/random.h"
#include "test/sim/written.h"

#define SIM_CPS_MAX 2
#define SIM_DESKS_MAX 2
#define SIM_NSPS_MAX 20
#define SIM_FIRST_DESK 92001
#define SIM_NODES_MAX (SIM_CPS_MAX + SIM_DESKS_MAX + SIM_NSPS_MAX + 1) /* and the copy of one of them */
#define SIM_WIRES_MAX 64
#define SIM_ENDS_MAX 24          /* neighbours of one node */
#define SIM_MINUTE INT64_C(60000)
#define SIM_HOUR (60 * SIM_MINUTE)

struct world;
struct sim_node;
struct sim_fault;
struct sim_stick;

/* ---------------------------------------------------------------- network */
#define SIM_ARRIVALS 512
enum arrival_state { ARRIVAL_NONE, ARRIVAL_RAISED, ARRIVAL_COMMITTED };
struct sim_arrival { uint64_t serial, ticket; enum arrival_state state; struct message_id id; }; /* id: of a message */
struct sim_end {
	struct sim_node *node;
	struct sim_end *other;
	struct sim_wire *wire;
	int side;                        /* of the wire */
	uint32_t peer;
	struct link *link;
	bool is_told_up, was_up, is_busy;
	unsigned session;                /* voids what was scheduled for an older one */
	unsigned path;                   /* generation of the wire that the session runs over */
	unsigned refused_path;           /* over this one an older copy of the peer called: nothing of it is taken */
	/* the way from this end to the other */
	int64_t latency_ms;
	uint32_t bits_per_second;
	unsigned loss, duplicate, reorder; /* percent */
	bool is_deaf;                    /* nothing this end sends arrives */
	bool is_mute;                    /* what this end acknowledges, refuses or wants does not leave; all else does */
	bool lies, has_lied;             /* its node plays old frames again and changes what it sends, from now on; ever */
	struct sim_frame { uint8_t *bytes; size_t len; } *said; size_t said_count, said_room; /* of this session, while it lies */
	struct stall stall;
	int64_t quiet_since_ms; bool is_answered; /* for stall.c: since the last look the peer said what becomes of an item */
	/* for check.c */
	struct item_ref *under_way; size_t under_way_count, under_way_room;
	size_t flash_waiting;            /* bytes of FLASH handed to the link, not yet framed once */
	struct sim_arrival arrivals[SIM_ARRIVALS]; /* by serial */
	uint32_t peer_epoch;             /* arrivals are of the circuit with this epoch of the peer */
	int64_t starved_since[PRECEDENCE_COUNT];
	uint64_t starved_row[PRECEDENCE_COUNT];
};
struct sim_wire { struct sim_end ends[2], *plugged[2]; bool is_cut; unsigned generation; }; /* plugged: ends, or those of a copy that called last */

/* ---------------------------------------------------------------- a host */
struct sim_input {
	struct relay_event event;
	uint8_t *bytes; size_t len;      /* owned; the event's slices lead into it */
	struct relay_row *rows;          /* owned */
	struct message_id *own;          /* owned */
	struct sim_message *authored;    /* becomes known to the registry with this turn */
	int plan;                        /* index of the planned message; -1: none */
	struct sim_message *reissue;     /* to be written again under a new id; NULL: none */
	int64_t timer_due_ms;
	bool is_unknown;                 /* an item of a type that nobody knows */
};

struct sim_settled { struct sim_end *end; /* NULL: of a stick */ uint64_t serial; enum cpd_reason reason; };
struct sim_pass { struct sim_end *end; uint8_t *bytes; size_t len; uint32_t age_s; };
struct sim_batch {
	uint64_t turn;
	struct disk_batch changes;
	struct sim_settled *settled; size_t settled_count;
	struct sim_pass *passes; size_t pass_count;
	struct sim_input *asks; size_t ask_count, ask_room; /* for rows, read when this is committed */
	struct presence announce; bool has_announce;
	struct sim_message *authored[64]; size_t authored_count;
	struct sim_batch *next;
};

struct sim_meta { uint32_t epoch; struct relay_counters counters; int64_t custody_ms; };

struct sim_fired { int64_t due_ms; struct message_id id; uint64_t turn; };

struct sim_node {
	struct world *world;
	size_t index;
	uint32_t number;
	enum node_role role;
	struct directory *directory;
	struct relay_route routes[4]; size_t route_count;
	/* machine */
	bool is_on, is_full, fails_commits, is_slow;
	const struct sim_fault *doom;    /* it crashes while its next turn is being committed; NULL: it does not */
	unsigned boot;                   /* voids what was scheduled before */
	uint32_t identity_epoch;         /* stands beside the store */
	int64_t custody_base, booted_ms;
	int64_t wall_skew_ms; enum clock_quality clock;
	struct disk disk, copy; bool has_copy; int64_t copied_ms;
	struct relay_counters checked;   /* floors as last judged */
	unsigned generation, first_generation; /* of the disk: a wipe or a rollback starts the next */
	int64_t generation_ms;
	/* which copy of its identity it is; docs/decisions/0016 */
	struct sim_node *sibling;        /* the other copy; NULL: there is none */
	uint32_t claim, starts, copy_starts;
	bool fence_is_due, is_fenced;
	/* process */
	uint64_t instance; int64_t process_ms; /* instance 0: it is off. When it was started */
	struct relay *relay;
	uint64_t turn;
	struct sim_batch *waiting, *last_waiting;
	bool commit_scheduled, turn_scheduled;
	int64_t wake_ms, woken_ms;
	unsigned frozen;                 /* wakes in a row at one moment */
	uint32_t raise_to;               /* epoch to raise to as soon as nothing waits; 0: none */
	struct sim_input *inputs; size_t input_count, input_room;
	struct sim_fired *fired; size_t fired_count, fired_room;
	struct sim_end *ends[SIM_ENDS_MAX]; size_t end_count;
};

/* ---------------------------------------------------------------- happenings */
enum happening_type {
	HAPPENS_FRAME, HAPPENS_SENT, HAPPENS_CONNECT, HAPPENS_DISCONNECT, HAPPENS_TURN, HAPPENS_COMMIT, HAPPENS_WAKE,
	HAPPENS_AUTHOR, HAPPENS_OPERATE, HAPPENS_DIRECTORY, HAPPENS_FAULT, HAPPENS_FAULT_ENDS, HAPPENS_START, HAPPENS_HEAL,
	HAPPENS_NEW_EPOCH, HAPPENS_REISSUE, HAPPENS_CRASH, HAPPENS_COURIER_WRITES, HAPPENS_COURIER_READS, HAPPENS_COURIER_RETURNS,
	HAPPENS_IMAGE, HAPPENS_TWIN, HAPPENS_CALLS
};
struct happening {
	int64_t at_ms;
	uint64_t order;
	enum happening_type type;
	struct sim_node *node;
	struct sim_end *end;
	unsigned generation;             /* of boot or wire; void when it has moved on */
	int index;
	enum relay_act act;
	struct message_id id;
	uint8_t *bytes; size_t len;      /* owned */
};

struct sim_fault { enum fault_type type; size_t node, wire; int side; int64_t at_ms, lasts_ms; };

struct sim_plan {                    /* one message to be written */
	int64_t at_ms;
	size_t origin;
	message_kind kind;
	enum precedence precedence;
	uint32_t nodes[4]; size_t node_count;
	uint32_t group;
	uint32_t body_len, large_len;
	uint32_t lifetime_s;
	enum level closing_level;        /* NONE: the kind's own */
	bool supersedes_last;
	bool is_withdrawn; int64_t withdraw_after_ms;
	bool is_held;
	struct message_id id;            /* filled in when authored */
};

/* ---------------------------------------------------------------- the world */
/* Left out of a seed's plan, so that what remains of a failure is small: bit i for fault or message i. */
#define SIM_LEFT_OUT 256
struct sim_options { bool is_traced; unsigned nsps, cps, desks, couriers; uint8_t no_faults[SIM_LEFT_OUT / 8], no_plans[SIM_LEFT_OUT / 8]; };

struct trace_entry;
struct world {
	uint64_t seed;
	struct sim_options options;
	struct sim_random random;
	struct sim_figures *figures;     /* summed over seeds */
	int64_t now_ms;
	uint64_t step, order;
	struct happening *heap; size_t heap_count, heap_room;
	struct sim_node nodes[SIM_NODES_MAX]; size_t node_count;
	struct sim_node *twin; struct sim_end twin_ends[SIM_ENDS_MAX]; /* NULL: no image was made */
	struct sim_wire wires[SIM_WIRES_MAX]; size_t wire_count;
	struct sim_plan *plans; size_t plan_count;
	struct sim_fault *faults; size_t fault_count;
	struct sim_random courier_random; /* its own, so that a stick moves nothing else */
	struct sim_stick **sticks; size_t stick_count, stick_room;
	struct directory_update updates[4]; size_t update_count;
	int64_t active_ms;               /* faults and new messages until then */
	int64_t end_ms;                  /* all must be at rest then */
	int64_t grace_ms, presence_ms;
	struct link_profile profile;
	bool is_healed;
	bool counts;                     /* a commit failed, a CP lost its disk, or a disk was rolled back */
	struct sim_message *messages[1024]; size_t message_count;
	uint64_t *shown; size_t shown_count, shown_room; /* hash set: see check.c */
	struct trace_entry *trace; size_t trace_count, trace_room;
	bool is_failed;
	char failure[512];
	struct message_id failed_id;
};

/* world.c */
bool world_run(struct world *world);  /* false: an invariant broke */
void world_clear(struct world *world);
struct happening *world_schedule(struct world *world, enum happening_type type, int64_t at_ms); /* valid until the next call */
struct sim_node *world_node(struct world *world, uint32_t number);
void *sim_alloc(size_t len);          /* zeroed; never NULL */
void *sim_grow(void *array, size_t *room, size_t count, size_t size);

/* net.c */
void wire_connect(struct sim_wire *wire, int64_t soonest_ms, int64_t latest_ms);
void wire_drop(struct sim_wire *wire, int64_t told_within_ms);
void end_connect(struct sim_end *end);
void end_close(struct sim_end *end, bool reconnects); /* the host gives the session up */
void end_pump(struct sim_end *end);
void net_frame(struct happening *happening);
void schedule_frame(struct sim_end *to, int64_t at_ms, const uint8_t *bytes, size_t len);
void lie_forget(struct sim_end *end);         /* what it kept to say again */

/* node.c */
void node_boot(struct sim_node *node);      /* relay and links from the disk */
void node_stop(struct sim_node *node, bool is_crash);
void node_reissue(struct sim_node *node, const struct message_id *id);
void node_raise_epoch(struct sim_node *node, uint32_t at_least);
void node_input(struct sim_node *node, const struct sim_input *input, bool at_once);
void node_turn(struct sim_node *node);
void node_commit(struct sim_node *node);
void node_wake(struct sim_node *node);
void node_schedule_wake(struct sim_node *node);
void node_now(const struct sim_node *node, struct moment *out);
uint32_t node_epoch(const struct sim_node *node);

/* feed.c */
void end_drain(struct sim_end *end);        /* link events become inputs */
void node_fill(struct sim_node *node);      /* committed items become frames */
void feed_greeting(struct sim_end *end, struct link_greeting *out);

/* plan.c */
void plan_make(struct world *world);
bool plan_leaves_out(const uint8_t *mask, size_t index);
bool plan_author(struct sim_node *node, int index, struct sim_input *input);
bool plan_reissue(struct sim_node *node, struct sim_message *old, struct sim_input *input);
void plan_fault(struct world *world, const struct sim_fault *fault);
void plan_fault_ends(struct world *world, const struct sim_fault *fault);
void plan_doom(struct sim_node *node);
void plan_heal(struct world *world);
void plan_operate_soon(struct sim_node *node, const struct sim_message *message);

/* stall.c */
void stall_mute(uint8_t *buf, size_t *len);
void stall_watch(struct sim_end *end);        /* may close it */

/* ends.c */
void ends_count(struct world *world, const struct sim_message *message, const struct sim_outcome *outcome);

/* check.c */
struct sim_message *message_known(struct world *world, const struct message_id *id, const struct hash8 *hash); /* hash NULL: the newest */
struct sim_message *message_held(struct sim_node *node, const struct message_id *id); /* the one this disk has a record of */
void message_add(struct world *world, struct sim_message *message);
void check_change(struct sim_node *node, const struct disk_change *change);
void check_committed(struct sim_node *node, const struct disk_change *change); /* after the whole batch is applied */
void check_raised(struct sim_end *end, uint64_t serial);  /* the link has handed it to the host */
void check_arrived(struct sim_end *end, uint64_t serial, const struct message_id *id); /* it is this message */
void check_circuit(struct sim_end *end, uint32_t peer_epoch); /* a session begins: with another epoch, serials begin again */
void check_settled(struct sim_node *node, const struct sim_settled *settled);
void check_frame(struct sim_end *end, struct slice bytes);    /* it leaves */
void check_received(struct sim_end *end, struct slice bytes); /* it comes: what its sender makes void needs no commit */
void check_queue(struct sim_end *end);
void check_given(struct sim_end *end, const struct item_ref *ref, enum precedence asked);
void check_taken_back(struct sim_end *end, const struct item_ref *ref);
void check_disk_replaced(struct sim_node *node);
void check_fenced(struct sim_node *node);
void check_end(struct world *world);

/* trace.c */
#define TRACE_NODE(node) ((node) == NULL ? 0 : (node)->number)
void trace(struct world *world, const struct sim_node *node, const struct message_id *id, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void fail(struct world *world, const struct sim_node *node, const struct message_id *id, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void trace_print_failure(const struct world *world, FILE *out);
void trace_clear(struct world *world);

#endif
