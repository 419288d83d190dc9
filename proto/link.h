/*
 * link.h: the link state machine: two neighbouring nodes pass items with hop custody over any
 * bearer (PROTOCOL.md section 7).
 *
 * Sans-I/O: frames in, frames out, time as an argument, the next deadline asked for. It never
 * stores, signs, verifies or decides; it never acknowledges by itself: an acknowledgement becomes
 * visible only through link_committed(). Called by daemon/ (over ZeroMQ) and test/sim.
 *
 * Life: link_new, then sessions one after another: link_connected ... link_disconnected. Circuit
 * serials go on across sessions as long as both store epochs stay.
 *
 * A serial is done when its item is in custody or when the sender voids it: an item that is the one
 * byte 0 (no protobuf begins so). A refused serial is voided by its sender when it has the refusal, and
 * counts as received only then: counted earlier, a refusal lost with its session would read as custody
 * in the next hello. An item that waits for its leaves (WANT) and holds up the window is voided and
 * offered again under a new serial: a new ITEM event; settle that one.
 *
 * Credit counts each byte of an item once (at its offset), whatever is sent again, so that both sides
 * stay agreed on a bearer that loses or doubles frames.
 */
#ifndef CPD_PROTO_LINK_H
#define CPD_PROTO_LINK_H

#include "proto/frame.h"

/* How a bearer behaves; config names a profile. */
struct link_profile {
	uint32_t rate_bps;         /* first guess of the bit rate; measured afterwards */
	uint32_t keepalive_ms;     /* silence after which a keepalive is sent */
	uint32_t dead_ms;          /* silence after which the session is given up */
	uint32_t retransmit_ms;    /* unacknowledged this long with nothing heard of it: send again */
};
extern const struct link_profile link_profile_ip;   /* 10 Mbit/s, 40 s, 48 s, 10 s */
extern const struct link_profile link_profile_thin; /* 1,200 bit/s, 120 s, 400 s, 60 s */
/* The same between two of which one or both live on a battery, as an NSP does: who does speaks only after 65 s, which
 * its presence each 60 s comes before, and is given up after 115 s, while it still hears within 48 s that its CP is gone.
 * Never shorter than the profile's own times. */
struct link_profile link_profile_between(const struct link_profile *profile, bool self_on_battery, bool peer_on_battery);

/* What an item is to the host; handed back in ACKED, REFUSED and RETURNED. Opaque to the link. */
struct item_ref {
	enum item_type type;
	enum precedence precedence;
	struct message_id id;      /* message; receipts: witness/epoch/counter; directory: number in sequence; leaf: message */
	uint32_t index;            /* leaf index */
	uint64_t counter;          /* enqueue counter: the row in the queue table */
};

/* The durable part: what the host stores in the same commit as the items it speaks of. */
struct link_circuit {
	uint32_t self_epoch, peer_epoch; /* valid for this pair only */
	uint64_t received;               /* every serial up to this one is settled */
	struct bitmap received_bitmap;   /* settled ones above it */
};

enum link_event_type {
	LINK_EVENT_UP,          /* hellos exchanged; data may flow. hello is the peer's */
	LINK_EVENT_ITEM,        /* one whole item arrived: settle it */
	LINK_EVENT_ACKED,       /* the peer has custody of ref */
	LINK_EVENT_REFUSED,     /* the peer refused ref with reason (retryable or final) */
	LINK_EVENT_RETURNED,    /* ref was under way when the session ended; not known to be held: queue it again */
	LINK_EVENT_PRESENCE,    /* presence.record with age */
	LINK_EVENT_WANT,        /* the peer holds these leaves of the large body of ref */
	LINK_EVENT_INTRODUCTION,/* a stranger's certificate update (only before hello, only in the introduction class) */
	LINK_EVENT_DIRECTORY,   /* the peer's directory version changed */
	LINK_EVENT_GAP,         /* serials first..last were missed; they have been asked for: log it */
	LINK_EVENT_ROLLED_BACK  /* the peer holds less than it acknowledged under the same epochs: its store was rolled back: alarm */
};
struct link_event {
	enum link_event_type type;
	struct frame_hello hello;            /* UP */
	uint64_t serial;                     /* ITEM: to be handed back; the low 48 bits are the serial on the wire, above them the session */
	enum item_type item_type;            /* ITEM */
	enum precedence precedence;          /* ITEM: as the link carried it */
	struct slice bytes;                  /* ITEM, PRESENCE, INTRODUCTION: valid until the next link_* call */
	uint32_t age_s;                      /* PRESENCE */
	struct item_ref ref;                 /* ACKED, REFUSED, RETURNED, WANT */
	enum cpd_reason reason;              /* REFUSED */
	struct slice held;                   /* WANT: bit i: leaf i held */
	uint32_t directory;                  /* DIRECTORY */
	uint64_t first, last;                /* GAP */
};

struct link_config {
	uint32_t self, peer;
	uint32_t self_epoch;
	struct link_profile profile;
	struct link_circuit circuit;         /* as last stored; all zero: none */
};

/* What this side says in its hello besides the circuit. */
struct link_greeting {
	uint32_t seen_epoch; uint64_t seen_sequence; /* highest of the peer as an origin that we hold */
	uint32_t directory;
	int64_t clock_ms; enum clock_quality clock_quality;
	uint32_t claim; uint64_t instance;   /* proto/presence.h */
};

struct link;
struct link *link_new(const struct link_config *config); /* NULL: no memory */
void link_free(struct link *link);
/* For the sessions to come. */
void link_set_profile(struct link *link, const struct link_profile *profile);

/* The bearer has a path to the peer: a hello becomes due. An open session is ended first (its items
 * come back as RETURNED or ACKED after the new hello; what the peer cannot hold is RETURNED at once).
 * The hello leaves when all that was settled is committed. */
void link_connected(struct link *link, const struct link_greeting *greeting, int64_t now_ms);
void link_disconnected(struct link *link, int64_t now_ms);
bool link_is_up(const struct link *link);

/* One bearer message. On an error the session is over: the host logs it (rate-limited) and ends the
 * bearer's. MALFORMED, TOO_LARGE, RANGE (of the frame), VERSION, PROTOCOL (credit overrun, serial out of
 * window, data before hello), NOMEM. */
MUST_CHECK enum cpd_error link_receive(struct link *link, struct slice frame, int64_t now_ms);
/* False when there is none. Drain after every link_receive, link_connected, link_disconnected, link_tick,
 * link_set_epoch. */
bool link_next_event(struct link *link, struct link_event *out);

/* The host has decided about an ITEM: reason NONE takes custody (or: it is a duplicate that needs
 * none), else a refusal. The acknowledgement or refusal leaves only after link_committed(turn or later).
 * link_circuit() includes custody at once, for the same commit; a refusal when the peer has voided the
 * serial. An item of a session before the open one is ignored: the peer offers it again. */
void link_settle(struct link *link, uint64_t serial, enum cpd_reason reason, uint64_t turn);
/* Receiver of a large body: tell the sender which leaves are on disk; the serial stays unsettled.
 * NOT_FOUND: not an unsettled item of this session; TOO_LARGE, RANGE, NOMEM. */
MUST_CHECK enum cpd_error link_want(struct link *link, uint64_t serial, const struct message_id *id, struct slice held, uint64_t turn);
void link_circuit(const struct link *link, struct link_circuit *out);
/* True when link_circuit changed since the last call of link_circuit_saved. */
bool link_circuit_is_dirty(const struct link *link);
void link_circuit_saved(struct link *link);
/* Everything settled in turns <= turn is on disk: acknowledgements may go. */
void link_committed(struct link *link, uint64_t turn);

/* May another item of this precedence be handed over now? (session up, no item of the same
 * precedence still unsent, window and credit not spent) */
bool link_can_send(const struct link *link, enum precedence precedence);
/* Items handed over of which the peer has said nothing yet: neither FLASH nor those that wait for their leaves. */
size_t link_under_way(const struct link *link);
/* Copies bytes. BUSY when link_can_send is false; TOO_LARGE, RANGE (type), MALFORMED (empty, or begins
 * with a byte 0), NOMEM. */
MUST_CHECK enum cpd_error link_send(struct link *link, const struct item_ref *ref, struct slice bytes, int64_t now_ms);
/* Presence passes without custody; dropped when the session is down; when 64 wait the oldest goes. */
void link_send_presence(struct link *link, struct slice record, uint32_t age_s);
/* Leaves before our hello, or without one; record <= LIMIT_CERTIFICATE. */
void link_send_introduction(struct link *link, struct slice record);
void link_directory_changed(struct link *link, uint32_t version);

/* The next frame for the bearer, into buf (LIMIT_FRAME); *len 0: nothing now. Strict precedence,
 * pieces of at most LINK_CHUNK_MS at the measured rate; urgent acknowledgements first. On an error
 * nothing has changed. */
MUST_CHECK enum cpd_error link_next_frame(struct link *link, uint8_t *buf, size_t *len, int64_t now_ms);
/* When link_tick must be called at the latest; INT64_MAX: never. */
int64_t link_deadline(struct link *link);
/* Keepalive, retransmission, death. *dead: the session is given up; the host ends it. */
void link_tick(struct link *link, int64_t now_ms, bool *dead);

/* For status: bits per second measured (0: not yet), last time anything was heard, items under way. */
/* heard_ms 0: nothing since this object was made. */
/* unacked_since_ms: when the first piece left of the item that waits longest for the peer's word; 0: none waits. */
struct link_figures { uint32_t rate_bps; int64_t heard_ms, unacked_since_ms; size_t unacked; size_t unacked_bytes; uint64_t sent_bytes, received_bytes, credit_stalls; uint32_t peer_directory; };
void link_figures(const struct link *link, struct link_figures *out);
/* For whoever watches that things move. waits: of this precedence an item was handed over of which the peer has said
 * nothing; is_going: the oldest of these has not left whole, so that it cannot be answered yet. answered: items of which
 * it said what becomes of them (taken, refused, its leaves wanted); taken_bytes: of items, that it says it took in; both
 * since this object was made. resend_ms: to send all that waits once more takes so long, at the measured rate or the profile's. */
struct link_progress {
	bool waits[PRECEDENCE_COUNT], is_going[PRECEDENCE_COUNT];
	uint64_t answered[PRECEDENCE_COUNT], taken_bytes;
	int64_t resend_ms;
};
void link_progress(const struct link *link, struct link_progress *out);
/* A new store epoch: circuits start again at 1; an open session must be ended by the host. */
void link_set_epoch(struct link *link, uint32_t self_epoch);

#endif
