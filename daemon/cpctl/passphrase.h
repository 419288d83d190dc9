/*
 * passphrase.h: asks a person for a passphrase on the terminal, unseen, or takes it from the file that CPD_PASSPHRASE_FILE
 * (a new one: CPD_NEW_PASSPHRASE_FILE) names. Never from the command line, which others can read. Called by the verbs that need the
 * region's key, and by those that open a kit.
 */
#ifndef CPD_CPCTL_PASSPHRASE_H
#define CPD_CPCTL_PASSPHRASE_H

#include "proto/types.h"

#define PASSPHRASE_LEAST 12
#define PASSPHRASE_MOST 256

struct passphrase { char text[PASSPHRASE_MOST + 2]; size_t len; };

/* Is it from a file? Then asking again gives the same. */
bool passphrase_is_given(void);
/* An existing one. False: told on stderr. */
bool passphrase_ask(const char *prompt, struct passphrase *out);
/* A new one: at least PASSPHRASE_LEAST bytes, typed twice. */
bool passphrase_ask_new(struct passphrase *out);
/* The code of a kit: seen as it is typed, once is all it is good for. From the file that CPD_CODE_FILE names, else the terminal. */
bool passphrase_ask_code(const char *prompt, struct passphrase *out);
bool passphrase_code_is_given(void);
void passphrase_wipe(struct passphrase *passphrase);
struct slice passphrase_slice(const struct passphrase *passphrase);

#endif
