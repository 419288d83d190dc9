/*
 * fuzz.h: what the fuzz targets share. A target is one function that takes any bytes, hands them to a parser of
 * cpd, and says what must hold of the outcome (FUZZ_CHECK); the sanitizers say the rest.
 *
 * The same targets are linked twice: with libFuzzer by clang (`make fuzz`, main.c), and with a plain driver by any
 * compiler (replay.c), which runs the seeds, the committed corpus and simple damage of both in `make check`.
 */
#ifndef CPD_TEST_FUZZ_H
#define CPD_TEST_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/types.h"

/* Says what is broken, where, and ends the process: the driver keeps the input. */
#define FUZZ_CHECK(claim) ((claim) ? (void)0 : fuzz_broken(#claim, __FILE__, __LINE__))
_Noreturn void fuzz_broken(const char *claim, const char *file, int line);

/* Takes a seed; copies it. */
typedef void fuzz_add(void *context, struct slice seed);

struct fuzz_target {
	const char *name;              /* "envelope": its corpus is corpus/envelope.hex */
	size_t max_len;                /* of an input; what the parser takes, and somewhat more */
	void (*run)(struct slice input);
	void (*seeds)(fuzz_add *add, void *context);
	bool is_slow;                  /* opens stores or files: the replay damages its seeds less */
};

/* Ends with name NULL. */
extern const struct fuzz_target fuzz_targets[];
const struct fuzz_target *fuzz_find(const char *name);   /* NULL: no such target */
/* libsodium and all that targets need before the first input. */
void fuzz_start(void);

/* ---- reading an input piece by piece; past the end: zeros, or what is left */
uint64_t input_number(struct slice *input, size_t bytes);
uint32_t input_below(struct slice *input, uint32_t bound);
struct slice input_bytes(struct slice *input, size_t len);
/* Two bytes of length, and so many bytes. */
struct slice input_framed(struct slice *input);
bool is_within(struct slice outer, struct slice inner);
/* Reads every byte, so that a sanitizer sees one that is not there. */
void touch(struct slice bytes);

/* ---- seeds.c: the vectors of PROTOCOL.md, and bodies of each kind */
/* Every vector of that type, and every form that is judged, behind `prefix`. */
void seeds_of_type(const char *type, struct slice prefix, fuzz_add *add, void *context);
/* One vector, by name; NULL data: there is none. Lives until the end. */
struct slice seed_named(const char *name);
/* From the list of keys: `field` of `who` ("344003", "signing_seed"). */
void seed_key(const char *who, const char *field, uint8_t out[32]);
/* Bodies as JSON, one or more for each kind. */
struct seed_body { const char *kind, *json; };
extern const struct seed_body seed_bodies[];             /* ends with kind NULL */

/* ---- files.c: a folder of this process, and files in memory */
/* Makes a folder; in memory where the machine has that. */
void files_folder(char out[64]);
/* A path in the folder $FUZZ_FOLDER, else in one that is removed at the end. Lives until the fourth call after. */
const char *files_path(const char *name);
/* A file that has no name but "/proc/self/fd/N", with these bytes; its path, until the next call. */
const char *files_memory(struct slice bytes);
void files_write(const char *path, struct slice bytes, unsigned mode);
void files_empty(const char *path);      /* removes a folder with all in it */

#endif
