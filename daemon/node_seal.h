/*
 * node_seal.h: the sealed parts of a node's messages: for whom they are sealed, and opening one for a person.
 * Included by daemon/node*.c only.
 */
#ifndef CPD_NODE_SEAL_H
#define CPD_NODE_SEAL_H

#include "daemon/node_internal.h"

/* What header->sealed leads into until the header is encoded, and the content keys that this node keeps of it (seal_keep). */
struct seal_room { uint8_t bytes[LIMIT_SEALED_PARTS][LIMIT_SEALED_PART], keys[LIMIT_SEALED_PARTS * 32]; };

/* Seals what the request has for the readers that its audience is for, into *room, which the caller frees; the header has its id and
 * destinations. NOT_FOUND: nobody but this node could open it; TOO_LARGE: too many readers. *why: what to do. */
MUST_CHECK enum cpd_error seal_request(struct node *node, const struct author_request *request, struct header *header,
    struct seal_room **room, const char **why);
/* The same words under another id (node_reissue.c): each part that opens is sealed again for the readers that it had. A part that does
 * not open cannot go along; that is told. */
MUST_CHECK enum cpd_error seal_again(struct node *node, const struct header *old, struct header *header, struct seal_room **room);

/* The content keys into the turn, and the room freed; with NULL, or after an error, only that. Returns `error`, or its own. */
MUST_CHECK enum cpd_error seal_keep(struct node *node, struct turn *turn, const struct header *header, struct seal_room *take_room, enum cpd_error error,
    const struct moment *now);

/* Looks, soon, for readers of own messages that have a newer sealing key than a part was sealed for: at the start, and when the directory
 * changed. Each gets the call once more, for its new key, and for it alone (in_reply_to: the first one). */
void reseal_soon(struct node *node);
MUST_CHECK enum cpd_error reseal_decide(struct node *node, struct turn *turn, struct work *work, const struct moment *now);

MUST_CHECK enum cpd_error unseal_decide(struct node *node, struct turn *turn, struct work *work, const struct moment *now);

#endif
