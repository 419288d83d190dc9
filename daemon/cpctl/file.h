/*
 * file.h: files that cpctl writes must be whole or absent: temporary file, fsync, rename, fsync of the
 * folder. Reads are bounded. Every error is told on stderr with the file and the cure; functions return
 * false then. No secret passes here: keys are crypto/'s.
 */
#ifndef CPD_CPCTL_FILE_H
#define CPD_CPCTL_FILE_H

#include "proto/types.h"

#define FILE_PATH_MAX 1024

/* "dir/name"; false when it is too long. */
bool file_path(const char *dir, const char *name, char out[FILE_PATH_MAX]);
bool file_exists(const char *path);
/* Makes the folder with these rights when it is absent; its parent must be there. */
bool file_make_folder(const char *path, unsigned mode);
/* After a rename: makes the name durable that stands in the file's folder. */
bool file_sync_folder_of(const char *path);
/* Replaces or makes the file. */
bool file_write(const char *path, const void *data, size_t len);
/* The whole file, malloc'ed, with a NUL behind it; at most `most` bytes. "-" is stdin. */
bool file_read(const char *path, size_t most, uint8_t **out, size_t *len);
/* Holds a folder against another cpctl until the process ends: two must not sign the same number. */
bool file_lock(const char *dir);
/* Tells what crypto/ found wrong with the file; returns EXIT_REFUSED. */
int say_crypto(const char *path, enum cpd_error error);

#endif
