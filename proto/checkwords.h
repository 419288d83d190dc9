/*
 * checkwords.h: the 20 bits that let a listener check an EmergencyCall read over a voice channel
 * (PROTOCOL.md section 8.3). Both sides compute them from what was spoken; when the two words
 * differ, something was misheard.
 *
 * The bits are the first 20, most significant bit first, of BLAKE2b with 32 bytes out, no key, over
 * this text:
 *
 *   number|services|nature|postcode|house_number|location
 *
 *   number, services, nature: decimal, no leading zeros, as in the body ("41" for a spoken 041).
 *   postcode, house_number, location: each byte 0x20 (space) left out, a-z made A-Z, every other
 *   byte of the UTF-8 as it is; an absent field is empty. The bars always stand.
 *
 * "3512 je" and "3512JE" give the same words; "é" and "e" do not. Coordinates are not in it, so they
 * are read back digit by digit.
 *
 * Never makes words of the bits, never hashes by itself (see tree.h). Called by daemon/ when a call
 * is authored, shown or typed in from voice.
 */
#ifndef CPD_PROTO_CHECKWORDS_H
#define CPD_PROTO_CHECKWORDS_H

#include "proto/tree.h"

#define CHECK_WORD_BITS 20
#define CHECK_WORDS_MAX ((1u << CHECK_WORD_BITS) - 1)

struct spoken_call {
	uint32_t number;
	uint32_t services;             /* bits: 1 police, 2 fire, 4 ambulance */
	uint32_t nature;               /* value of Nature */
	const char *postcode;          /* UTF-8; NULL: absent */
	const char *house_number;
	const char *location;
};

/* TOO_LARGE when the text exceeds LIMIT_TEXT: the body's own bounds are far below. *bits is 0 then. */
MUST_CHECK enum cpd_error check_words_bits(const struct spoken_call *call, tree_hash *hash, uint32_t *bits);

#endif
