/*
 * link_internal.h: what the link's own files share. Included by proto/link*.c only.
 *
 * link.c          life, sessions, hello, events, deadlines
 * link_receive.c  the peer's items: reassembly, settling, acknowledgements, credit we grant
 * link_send.c     our items: window, precedence, retransmission, the next frame
 */
#ifndef CPD_PROTO_LINK_INTERNAL_H
#define CPD_PROTO_LINK_INTERNAL_H

#include "proto/link.h"

/* Serials of a direction fit in 48 bits, so that the number of the session fits above them in what the
 * host is handed (see item_ticket). A peer that claims more is wrong: 2^48 items take centuries. */
#define SERIAL_MAX ((UINT64_C(1) << 48) - 1)
/* Of the LIMIT_UNACKED serials these last ones are for FLASH, so that bulk never blocks it. */
#define FLASH_SERIALS 16
/* What FLASH may have unacknowledged, apart from LIMIT_UNACKED_BYTES of the others. */
#define FLASH_UNACKED_BYTES (4 * LIMIT_ITEM)
/* An item that waits for its leaves holds up the window: past this span it is offered under a new serial. */
#define WANTED_SPAN (LIMIT_UNACKED / 2)
#define LOOSE_EVENTS 64       /* presence, want, gap, directory events not taken by the host: dropped beyond */
#define PRESENCE_WAITING 64
#define ACK_DELAY_MS 20       /* how long an acknowledgement may wait for company */
#define ACK_ITEMS (LIMIT_UNACKED / 16) /* so many do not wait: the peer's window is filling */

/* Credit is counted apart for FLASH. */
enum credit_class { CREDIT_BULK = 0, CREDIT_URGENT = 1, CREDIT_CLASSES = 2 };
static inline enum credit_class class_of(enum precedence precedence)
{
	return precedence == PRECEDENCE_FLASH ? CREDIT_URGENT : CREDIT_BULK;
}

/* One event for the host, with the bytes it leads into. */
struct notice {
	struct notice *next;
	struct link_event event;
	uint8_t *bytes;              /* owned; may be NULL */
	bool is_loose;
};

/* ---------------------------------------------------------------- sending */
enum outgoing_state {
	OUTGOING_STAGED,             /* no serial yet: nothing of it was sent */
	OUTGOING_DUE,                /* to be sent again from its start */
	OUTGOING_SENDING,            /* some pieces are out */
	OUTGOING_FLYING,             /* all pieces are out */
	OUTGOING_REMEMBERED          /* the session ended: the next hello tells */
};
struct outgoing {
	struct outgoing *next;       /* in `first` by serial; in `staged` as they came */
	enum outgoing_state state;
	uint64_t serial;             /* 0: staged */
	struct notice *notice;       /* owned: what becomes of it is told with this; NULL: a voided serial */
	enum item_type type;
	enum precedence precedence;
	uint8_t *bytes;              /* owned; NULL: void or remembered */
	uint32_t len, sent;
	uint32_t counted;            /* of credit: bytes sent for the first time */
	bool was_whole;              /* every piece was sent at least once: the peer may hold it */
	bool is_wanted;              /* the peer has it and asked for leaves: sending it again is useless */
	bool is_repeated;
	bool is_under_way;           /* counted in sending.under_way */
	uint64_t order;              /* of the moment its last piece left */
	int64_t sent_ms;
	int64_t begun_ms;            /* its first piece left, under whatever serial; 0: none did */
};
struct presence_out { struct presence_out *next; uint32_t age_s; size_t len; uint8_t bytes[]; };

struct sending {
	struct outgoing *first, **end; /* those with a serial */
	struct outgoing *staged;     /* those without: few, since a precedence has one unsent item */
	size_t due[PRECEDENCE_COUNT], unsent[PRECEDENCE_COUNT]; /* OUTGOING_DUE; not was_whole */
	struct outgoing *current[PRECEDENCE_COUNT]; /* begun and not finished: the receiver keeps one partial for each */
	uint64_t next;               /* serial of the next item */
	bool is_known;               /* next is known: a hello was exchanged in this process */
	uint32_t peer_epoch;         /* next and what follows hold for this epoch of the peer */
	uint64_t acked;              /* cumulative */
	uint64_t told_next;          /* next_serial of our last hello */
	uint64_t doubtful;           /* serials below may be void at the peer without its ever having had them */
	uint64_t highest_acked;      /* item (not void) with the highest serial that the peer acknowledged */
	uint64_t order;
	size_t count, under_way, unacked_bytes[CREDIT_CLASSES];
	uint64_t sent[CREDIT_CLASSES], credit[CREDIT_CLASSES], consumed;
	uint64_t answered[PRECEDENCE_COUNT], taken_bytes; /* for link_progress */
	int64_t progress_ms;         /* something new was heard about what we sent */
	bool is_stalled;             /* data waits for credit */
	uint64_t stalls;
	bool is_busy;                /* data has waited ever since busy_ms: what is consumed measures the rate */
	int64_t busy_ms;
	uint64_t busy_consumed;
	uint32_t rate_bps;           /* measured; 0: not yet */
	struct presence_out *presence;
	size_t presence_count;
	bool presence_was_last;
	uint8_t *introduction;       /* owned */
	size_t introduction_len;
	bool directory_due;
	uint32_t directory;
};

/* ---------------------------------------------------------------- receiving */
enum slot_state {
	SLOT_MISSING,                /* not here whole */
	SLOT_RAISED,                 /* the host has it and decides */
	SLOT_REFUSED,                /* decided; counts as received only when the peer voids it */
	SLOT_SETTLED                 /* custody taken, or void */
};
struct want { struct message_id id; size_t len; uint64_t turn; uint8_t held[(LIMIT_LEAVES + 7) / 8]; };
struct slot {
	uint8_t state, type, precedence; /* type 0: nothing of it was seen in this session */
	bool is_due;                 /* its refusal or want is to be told */
	uint32_t total, counted;     /* counted: of credit, up to this offset */
	enum cpd_reason reason;
	uint64_t turn;               /* SETTLED, REFUSED: visible once this turn is on disk */
	struct want *want;           /* owned; RAISED */
};
struct partial { struct notice *notice; uint64_t serial; uint32_t have; };

struct receiving {
	uint64_t committed;          /* every serial up to this one is settled and on disk */
	struct slot slots[LIMIT_UNACKED]; /* of the serials above it, by serial modulo the count */
	uint64_t seen;               /* highest serial of which something came */
	uint64_t turn;               /* on disk up to here */
	size_t uncommitted;          /* slots settled in later turns, or more */
	struct partial partials[PRECEDENCE_COUNT];
	uint64_t bytes[CREDIT_CLASSES], announced[CREDIT_CLASSES], held[CREDIT_CLASSES];
	uint32_t rate_bps;           /* measured; 0: not yet */
	int64_t arrival_since_ms, arrival_ms;
	uint64_t arrived;            /* bytes since arrival_since_ms */
	bool ack_pending, ack_now, has_data;
	size_t ack_items;            /* on disk since an acknowledgement left */
	int64_t ack_at_ms;
	bool is_dirty;
};

struct link {
	uint32_t self_epoch, peer_epoch;
	struct link_profile profile;
	struct link_greeting greeting;
	bool is_connected, hello_sent, hello_heard, is_introduced, is_given_up, keepalive_due;
	bool circuit_due;            /* the peer's hello came before ours left: its effect on `receiving` waits */
	struct frame_hello peer_hello;
	uint64_t session;            /* number of this session in this process, from 0 */
	int64_t now_ms, heard_ms, sent_ms; /* heard_ms: or when the session began, for its death */
	int64_t last_heard_ms;       /* a frame that held; 0: never */
	int64_t repeated_ms;         /* acknowledgement and credit were last told both */
	uint64_t sent_bytes, received_bytes;
	uint32_t peer_directory;
	bool deadline_is_known;      /* since the last call that could change it */
	int64_t deadline_ms;
	struct notice *events, **events_end, *given;
	size_t loose;
	struct sending tx;
	struct receiving rx;
};

/* What is about to leave; applied only when the frame was encoded. */
struct departure {
	struct frame frame;
	struct outgoing *item;       /* of which frame.data is a piece */
	uint64_t told;               /* serial whose refusal or want this is; 0: none */
};

/* link.c */
struct notice *notice_new(enum link_event_type type, size_t bytes_len); /* bytes when bytes_len > 0; NULL: no memory */
void notice_free(struct notice *notice);
void notice_push(struct link *link, struct notice *notice);
/* For events that a peer can repeat at will. Takes notice; false and freed: too many wait. */
bool notice_push_loose(struct link *link, struct notice *notice);
bool bitmap_covers(uint64_t received, const struct bitmap *bitmap, uint64_t serial);
uint64_t bitmap_highest(uint64_t received, const struct bitmap *bitmap);
uint32_t link_rate(const struct link *link);
uint32_t link_chunk(const struct link *link);

/* link_receive.c */
MUST_CHECK enum cpd_error receiving_take_data(struct link *link, const struct frame_data *data);
/* Serials that will never come are done: all below `next`, or, when it is 0, the gaps below the highest held. */
void receiving_void(struct link *link, uint64_t next);
void receiving_reset(struct link *link);      /* another pair of epochs: from 0 */
void receiving_session_end(struct link *link);
void receiving_session_begin(struct link *link);
bool receiving_is_settled_uncommitted(const struct link *link);
void receiving_view(const struct link *link, bool committed_only, uint64_t *received, struct bitmap *bitmap);
bool receiving_wants_to_tell(const struct link *link, struct departure *out); /* a refusal or want */
void receiving_told(struct link *link, uint64_t serial);
/* Refusals that the peer has not answered with a void. It never repeats an item of which it was told what
 * leaves it lacks, so nothing but us would repeat a lost refusal of that. */
void receiving_tell_again(struct link *link);
void receiving_grant(const struct link *link, struct frame_credit *out);
bool receiving_credit_is_due(const struct link *link);
void receiving_ack_sent(struct link *link);

/* link_send.c */
MUST_CHECK enum cpd_error sending_take_ack(struct link *link, uint64_t received, const struct bitmap *bitmap);
MUST_CHECK enum cpd_error sending_take_refusal(struct link *link, const struct frame_refusal *refusal);
MUST_CHECK enum cpd_error sending_take_want(struct link *link, const struct frame_want *want);
void sending_take_credit(struct link *link, const struct frame_credit *credit);
/* What the last session left under way is told by what the peer holds. */
void sending_resume(struct link *link, bool is_same_pair, uint64_t received, const struct bitmap *bitmap);
void sending_forget(struct link *link);       /* all under way comes back as RETURNED */
void sending_session_end(struct link *link);
void sending_clear(struct link *link);
int64_t sending_deadline(const struct link *link);
void sending_tick(struct link *link);
/* A piece is chosen; false: nothing may go now. */
bool sending_choose(struct link *link, struct departure *out, enum precedence lowest);
void sending_gone(struct link *link, const struct departure *departure);

#endif
