/*
 * sheet.h: the sheet of paper that goes with a sealed kit, in another envelope: its code, and what to do, in plain Dutch.
 * One page of A4, as HTML that needs nothing from elsewhere. Called by enrol.c.
 */
#ifndef CPD_CPCTL_SHEET_H
#define CPD_CPCTL_SHEET_H

#include "crypto/sealed_kit.h"
#include "daemon/cpctl/file.h"

struct sheet {
	const struct certificate *certificate;
	const struct region_anchor *anchor;
	const char *place;
	const struct code *codes;          /* KIT_SLOTS of them */
	char mark[SEALED_KIT_MARK_MAX];
};

/* Writes DIR/sheets/N.html, for the caller's eyes only as far as the umask says. False: told. */
bool sheet_write(const char *dir, const struct sheet *sheet);

#endif
