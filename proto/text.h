/*
 * text.h: is this text that may be shown, logged and printed? protobuf-c accepts any bytes as a string.
 *
 * Valid UTF-8 (no overlong form, no surrogate, nothing above U+10FFFF), no NUL, no C0 or C1 control
 * character. Never changes text. Called by the decoders of proto/ and by whoever takes text from a form.
 */
#ifndef CPD_PROTO_TEXT_H
#define CPD_PROTO_TEXT_H

#include "proto/types.h"

/* TEXT_LINES lets newline and tab through; TEXT_ONE_LINE lets none: a name in a log line must not
 * be able to start another one. */
enum text_shape { TEXT_ONE_LINE, TEXT_LINES };

/* TEXT when it is not such text, TOO_LARGE above max_bytes or max_characters. Empty text is good. */
MUST_CHECK enum cpd_error text_check(struct slice text, size_t max_bytes, size_t max_characters,
    enum text_shape shape);
/* The same for a string that ends in NUL; NULL counts as empty. */
MUST_CHECK enum cpd_error text_check_string(const char *text, size_t max_bytes, size_t max_characters,
    enum text_shape shape);
/* Number of characters (code points) of text that text_check accepted. */
size_t text_characters(struct slice text);

#endif
