/*
 * progress.h: how far long work is, on one line of stderr that is written again; only on a terminal, and only
 * when it takes longer than half a second. Called by the verbs that copy or check a store.
 */
#ifndef CPD_CPCTL_PROGRESS_H
#define CPD_CPCTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what;                /* borrowed: "Copying" */
	bool is_wanted, is_shown, in_bytes;
	int64_t begun_ms, shown_ms;
};

void progress_begin(struct progress *progress, const char *what, bool in_bytes);
/* `of` 0: not known. An estimate may be passed: it then shows 99 %. */
void progress_show(struct progress *progress, uint64_t done, uint64_t of);
/* Takes the line away. */
void progress_end(struct progress *progress);

#endif
