/*
 * body.h: the smallest valid body of each kind that the simulated people write, with text to make it
 * longer.
 */
#ifndef CPD_SIM_BODY_H
#define CPD_SIM_BODY_H

#include "proto/message.h"

/* buf holds LIMIT_BODY. filler: about so many bytes of text more. */
void body_write(message_kind kind, uint32_t number, uint32_t filler, uint8_t *buf, size_t *len);

#endif
