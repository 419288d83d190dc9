/*
 * limits.h: every bound on what a peer, a file or a form may make us hold, with the reason.
 * A bound is part of the protocol where PROTOCOL.md names it.
 */
#ifndef CPD_PROTO_LIMITS_H
#define CPD_PROTO_LIMITS_H

/* One bearer message: ZeroMQ's MAXMSGSIZE is set to this, so a peer cannot make libzmq hold more. */
#define LIMIT_FRAME (40 * 1024)
/* One piece of an item in a Data frame: what a FLASH may have to wait for on a fast link. */
#define LIMIT_PIECE (32 * 1024)
/* The smallest piece: below this the framing costs more than the waiting. */
#define LIMIT_PIECE_MIN 256
/* One item (message with trailer, receipts, directory update, leaf): reassembled in memory, one
 * for each precedence and link. */
#define LIMIT_ITEM (24 * 1024)
/* An encoded Envelope. Larger bodies travel as leaves. */
#define LIMIT_ENVELOPE (18 * 1024)
/* Body inside an envelope; above it the header carries the root of a hash tree. */
#define LIMIT_BODY (16 * 1024)
/* A large body: an A4 map fits; a film does not. */
#define LIMIT_LARGE_BODY (8 * 1024 * 1024)
#define LIMIT_LEAF 4080          /* one LMDB overflow page with its header: no waste */
#define LIMIT_LEAVES 2057        /* ceil(LIMIT_LARGE_BODY / LIMIT_LEAF) */
#define LIMIT_TREE_DEPTH 12      /* ceil(log2(LIMIT_LEAVES)) */
/* Signatures on one message: origin, two persons, and room. Each costs a verification. */
#define LIMIT_RELEASES 4
#define LIMIT_SIGNATURES 4
/* Explicit addressees; more is a group. */
#define LIMIT_DESTINATION_NODES 64
#define LIMIT_DESTINATION_GROUPS 8
/* Members of one group; 500 NSPs on one CP with room for a merged region. */
#define LIMIT_GROUP_MEMBERS 1024
/* Recipients of one message after groups are opened. */
#define LIMIT_RECIPIENTS 1024
#define LIMIT_TRACE 24           /* hops kept in a trailer; hop limit stops before */
#define LIMIT_OFFERS 65536            /* end-to-end offers of one message in one epoch; a later epoch counts on above them */
#define LIMIT_HOPS 16
#define LIMIT_TRAILER 6144       /* the trailer's own byte budget: 1,024 explicit recipients and the trace */
/* Entries in one receipts record, so that it stays below one piece on a thin link. */
#define LIMIT_RECEIPT_ENTRIES 64
#define LIMIT_RECEIPTS 4096
#define LIMIT_REMARK 280         /* bytes of reason in words */
#define LIMIT_PRESENCE 512
#define LIMIT_HOMES 8
#define LIMIT_FLOORS 4           /* epochs whose floor a node still announces */
#define LIMIT_CERTIFICATE 1024   /* what a stranger may send us in the introduction class */
#define LIMIT_DIRECTORY_UPDATE (16 * 1024)
#define LIMIT_UPDATE_ENTRIES 512
#define LIMIT_DIRECTORY_AHEAD 64 /* updates held although their predecessors are missing */
#define LIMIT_NAME 80            /* bytes of a node's or group's name */
#define LIMIT_ADDRESS 120        /* bytes of a transport address */
#define LIMIT_FUNCTION 64        /* bytes of an author's function */
#define LIMIT_TEXT 8000          /* bytes of free text: 2,000 characters of up to 4 bytes */
#define LIMIT_TEXT_CHARACTERS 2000
#define LIMIT_LINE 280           /* characters of a core line */
#define LIMIT_LOCAL 16           /* couleur locale pairs */
#define LIMIT_LIST 32            /* services, supplies, skills, bearers */
/* Lifetime: from a minute to 30 days; a message must not outlive the crisis that made it. */
#define LIMIT_LIFETIME_MIN_S 60
#define LIMIT_LIFETIME_MAX_S (30 * 24 * 3600)
/* Arena for one protobuf-c unpack: 1 MiB of hostile input may ask 80 MiB without it. */
#define LIMIT_ARENA(wire_len) ((wire_len) * 8 + 4096)
/* Items sent on a link and not yet acknowledged: bounds memory, bitmap and what a cut repeats. */
#define LIMIT_UNACKED 256
#define LIMIT_UNACKED_BYTES (256 * 1024)
#define LIMIT_ACK_BITMAP 32      /* bytes: 256 serials above the cumulative one */
/* Credit a receiver grants ahead of what it has taken, at the most. */
#define LIMIT_CREDIT (256 * 1024)
#define LIMIT_CREDIT_URGENT (64 * 1024)
/* Queue heads held in memory for each link and precedence; the rest stays in the store. */
#define LIMIT_WINDOW 256
/* Rows of one queue that a neighbour refused for now and that wait beside its window. */
#define LIMIT_REFUSED 1024
/* A link's chunk is this much of its rate: a FLASH waits for one chunk. */
#define LINK_CHUNK_MS 500
#define LINK_VERSION 1
/* A courier file: the largest body with the paths of its leaves fits; the daemon holds it in memory, once. */
#define LIMIT_COURIER (10 * 1024 * 1024)
/* The smallest bound a person may give: any one item fits, with the directory's news before it. */
#define LIMIT_COURIER_MIN (64 * 1024)
#define LIMIT_COURIER_READERS 1024
#define LIMIT_COURIER_ITEMS 65536
/* Sealed parts of one message that are looked at, and the readers of one: each costs 53 bytes on every link. */
#define LIMIT_SEALED_PARTS 4
#define LIMIT_SEALED_READERS 64
#define LIMIT_SEALED_AUDIENCES 2   /* that this version authors for */
#define LIMIT_SEALED_CONTENT 2048  /* what is inside, before it is padded */

/*
 * What one node may use of another before it must wait (daemon/relay/quota.h); _MS: how long one more takes. Far above what an
 * NSP says in a crisis, its backlog included, and far below what would fill a store or hold up a link for others.
 */
#define LIMIT_QUOTA_MESSAGES 65536       /* new ones of an origin: days of them, after a link was down */
#define LIMIT_QUOTA_MESSAGE_MS 250
#define LIMIT_QUOTA_BYTES (64 * 1024 * 1024) /* at least; else a quarter of the store */
#define LIMIT_QUOTA_BYTES_MS (INT64_C(72) * 3600000) /* until all of it is there again */
/* Of each precedence: beyond it a message is queued lower, never refused. A taken-over node that marks all as FLASH would
 * otherwise hold up everybody's lower ones. Sixty calls for help at once, and 240 an hour, is more than one desk can take down. */
#define LIMIT_QUOTA_FLASH 64
#define LIMIT_QUOTA_FLASH_MS 15000
#define LIMIT_QUOTA_IMMEDIATE 256
#define LIMIT_QUOTA_IMMEDIATE_MS 5000
#define LIMIT_QUOTA_PRIORITY 4096
#define LIMIT_QUOTA_PRIORITY_MS 1000
/* Over one link, of what was passed on already: each is passed on once more. */
#define LIMIT_QUOTA_OFFERS 16384
#define LIMIT_QUOTA_OFFER_MS 1000
/* Receipts for what has not come here leave a record each, until its origin's floor passes it. */
#define LIMIT_QUOTA_FOREKNOWN 1024
#define LIMIT_QUOTA_FOREKNOWN_MS 10000
/* "Your id is another's": each makes us write a message again. A disk that was put back meets as many at once. */
#define LIMIT_QUOTA_CONFLICTS 64
#define LIMIT_QUOTA_CONFLICT_MS 60000
/* "You have said more than you know", in a receipt: each begins an epoch; and how far one such word leads at the most. */
#define LIMIT_QUOTA_EPOCHS 4
#define LIMIT_QUOTA_EPOCH_MS 600000
#define LIMIT_EPOCH_LEAP 1000
/* Receipts again, though the number of the offer is not new: the number is not signed. */
#define LIMIT_QUOTA_ANSWERS 16
#define LIMIT_QUOTA_ANSWER_MS 30000

#endif
