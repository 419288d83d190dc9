/*
 * people.h: the senders of a bench: certified nodes that are no processes, their keys and their messages.
 *
 * A sender's keys are made from its number, so that every program of the bench has the same ones without a
 * file; they are worth nothing outside the region that the bench made for itself. Called by test/bench only.
 */
#ifndef CPD_BENCH_PEOPLE_H
#define CPD_BENCH_PEOPLE_H

#include "crypto/crypto.h"
#include "proto/trailer.h"

#define PEOPLE_NETWORK_MAX 64
#define PEOPLE_MESSAGE_MAX 1024  /* bytes of a made message, with its trailer */

struct person {
	uint32_t node;
	uint8_t signing_public[32], signing_secret[64];
	uint8_t sealing_public[32];
	uint8_t transport_public[32], transport_secret[32];
};
void person_make(uint32_t node, struct person *out);

/* Signs certificates for `count` senders from `first` on, as roles NSP, with the authority in `dir`, into files
 * FOLDER/000001.update ... of which the first gets the number `update`. Ends the process with a sentence when it
 * cannot. Returns how many files it wrote. */
unsigned people_certify(const char *dir, const char *folder, uint32_t first, uint32_t count, uint32_t update);

/* One signed Text of some 100 bytes to `to`. buf holds PEOPLE_MESSAGE_MAX. with_trailer: as the item that a link
 * carries, else the bare envelope. */
size_t person_message(const struct person *person, const char *network, const struct message_id *id, enum precedence precedence,
    uint32_t to, bool with_trailer, uint8_t *buf);

/* Prints what cannot be and ends the process. */
__attribute__((noreturn, format(printf, 1, 2))) void people_fail(const char *format, ...);
/* Monotonic microseconds. */
int64_t people_us(void);

#endif
