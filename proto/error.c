/* error.c: the sentences that go with enum cpd_error. */
#include "proto/error.h"

const char *cpd_error_text(enum cpd_error error)
{
	switch (error) {
	case CPD_OK: return "no error";
	case CPD_ERR_NOMEM: return "memory, or the budget for this input, is used up";
	case CPD_ERR_MALFORMED: return "the bytes are not what the schema says";
	case CPD_ERR_TOO_LARGE: return "larger than the bound for it";
	case CPD_ERR_MISSING: return "a required field is missing";
	case CPD_ERR_RANGE: return "a field's value is outside its bounds";
	case CPD_ERR_TEXT: return "text holds bad UTF-8 or a control character";
	case CPD_ERR_VERSION: return "the other side speaks no version that we speak";
	case CPD_ERR_UNKNOWN_SIGNER: return "no certificate of the signer is held yet";
	case CPD_ERR_BAD_SIGNATURE: return "the signature does not hold";
	case CPD_ERR_REVOKED: return "the signer's key is revoked";
	case CPD_ERR_ROLE: return "the signer's role may not send this kind";
	case CPD_ERR_NOT_FOUND: return "not found";
	case CPD_ERR_EXISTS: return "it exists already";
	case CPD_ERR_CONFLICT: return "the same message id stands on other content";
	case CPD_ERR_FULL: return "the space for this precedence is used up";
	case CPD_ERR_IO: return "the operating system refused";
	case CPD_ERR_DAMAGED: return "stored bytes fail their checksum";
	case CPD_ERR_STATE: return "not allowed in this state";
	case CPD_ERR_SCHEMA: return "the store was written by another version";
	case CPD_ERR_PROTOCOL: return "the peer broke a rule of the protocol";
	case CPD_ERR_BUSY: return "a bound is reached; try again later";
	case CPD_ERR_UNKNOWN_GROUP: return "this version of the group is not held yet";
	case CPD_ERR_USAGE: return "the command or call is not written as it should be";
	}
	return "unknown error";
}
