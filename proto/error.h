/*
 * error.h: the one error type of cpd.
 *
 * What can fail locally returns enum cpd_error. What is told to a peer is enum cpd_reason
 * (types.h); reason_of_error() maps one to the other in one place. On error nothing has changed
 * and out-parameters are NULL or zero.
 */
#ifndef CPD_PROTO_ERROR_H
#define CPD_PROTO_ERROR_H

#define MUST_CHECK __attribute__((warn_unused_result))

enum cpd_error {
	CPD_OK = 0,
	CPD_ERR_NOMEM = -1,          /* memory is used up: no word on what was looked at */
	CPD_ERR_MALFORMED = -2,      /* bytes are not what the schema says */
	CPD_ERR_TOO_LARGE = -3,      /* above a bound of limits.h */
	CPD_ERR_MISSING = -4,        /* a required field is absent */
	CPD_ERR_RANGE = -5,          /* a field's value is outside its bounds */
	CPD_ERR_TEXT = -6,           /* bad UTF-8, NUL or a control character */
	CPD_ERR_VERSION = -7,        /* the other side speaks no version that we speak */
	CPD_ERR_UNKNOWN_SIGNER = -8, /* no certificate held; retry after the directory came */
	CPD_ERR_BAD_SIGNATURE = -9,
	CPD_ERR_REVOKED = -10,
	CPD_ERR_ROLE = -11,          /* the signer's role may not send this kind */
	CPD_ERR_NOT_FOUND = -12,
	CPD_ERR_EXISTS = -13,
	CPD_ERR_CONFLICT = -14,      /* same id, other content */
	CPD_ERR_FULL = -15,          /* space for this precedence is used up; retry later */
	CPD_ERR_IO = -16,            /* the operating system refused; errno says why */
	CPD_ERR_DAMAGED = -17,       /* stored bytes fail their checksum */
	CPD_ERR_STATE = -18,         /* not allowed in this state */
	CPD_ERR_SCHEMA = -19,        /* the store was written by another version */
	CPD_ERR_PROTOCOL = -20,      /* the peer broke a rule of PROTOCOL.md: close the session */
	CPD_ERR_BUSY = -21,          /* a bound is reached; retry later */
	CPD_ERR_UNKNOWN_GROUP = -22, /* a group version we do not hold; retry after the directory came */
	CPD_ERR_USAGE = -23          /* the caller's words are off */
};

/* One English sentence without a full stop; never NULL. */
const char *cpd_error_text(enum cpd_error error);

#endif
