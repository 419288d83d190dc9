/*
 * code.h: the code that opens a sealed kit, as a person reads it from a sheet and types it: four groups of five signs.
 *
 *   7K3MV-QWXE9-0FHTE-8VD12
 *
 * The signs are Crockford's 32 (digits and letters without I, L, O, U). Of each group four signs are chance, 20 bits, and
 * the fifth checks them: sum of (2i + 1) times sign i, plus 11 times the group's place, modulo 32, places from 0 on. So 80 bits of chance,
 * and a slip of the fingers is told with its group before the costly opening is tried. Small letters, blanks, hyphens are all one; I and L are taken for 1, O for 0.
 * Called by cpctl and crypto/sealed_kit.c.
 */
#ifndef CPD_CRYPTO_CODE_H
#define CPD_CRYPTO_CODE_H

#include "proto/types.h"

#define CODE_GROUPS 4
#define CODE_GROUP_SIGNS 5
#define CODE_SIGNS (CODE_GROUPS * CODE_GROUP_SIGNS)
#define CODE_TEXT_MAX (CODE_SIGNS + CODE_GROUPS)  /* hyphens between, NUL */

/* A secret: who makes one wipes it (crypto_wipe). */
struct code { char signs[CODE_SIGNS]; };

void code_make(struct code *out);
/* Returns out. */
const char *code_format(const struct code *code, char out[CODE_TEXT_MAX]);
/* 0: good. 1 to 4: the first group that holds a slip; CODE_GROUPS + 1: signs are missing or too many, or one is no sign of a code.
 * *out is zero unless good. */
MUST_CHECK unsigned code_parse(struct slice text, struct code *out);

#endif
