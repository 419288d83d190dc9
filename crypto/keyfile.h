/*
 * keyfile.h: small files that must be whole or absent: keys, epoch, anchor, kit.
 *
 * A write is a temporary file, fsync, rename, fsync of the folder: after a power cut the old content or
 * the new one stands there, never half of either. A read is bounded and refuses a secret that
 * others may read. Nothing of a file's content goes into a problem text.
 * Called only inside crypto/.
 */
#ifndef CPD_CRYPTO_KEYFILE_H
#define CPD_CRYPTO_KEYFILE_H

#include "proto/types.h"

#define KEYFILE_PATH_MAX 1024 /* folder and name; longer is refused, not cut off */

/* SECRET: for its owner only. CREDENTIAL: as systemd hands one over, perhaps by an access list, which shows as bits of
 * the group: for nobody else. PUBLIC: whatever its rights. */
enum keyfile_mode { KEYFILE_PUBLIC, KEYFILE_SECRET, KEYFILE_CREDENTIAL };

/* TOO_LARGE when "dir/name" does not fit. */
MUST_CHECK enum cpd_error keyfile_path(const char *dir, const char *name, char out[KEYFILE_PATH_MAX]);
/* Reads a whole regular file of at most `size` bytes. NOT_FOUND, IO, TOO_LARGE, STATE (a secret with
 * bits for group or others). Sets the problem. */
MUST_CHECK enum cpd_error keyfile_read(const char *path, enum keyfile_mode mode, uint8_t *buf, size_t size, size_t *len);
/* Replaces or makes the file, durably. IO: the old content may still be there, or already the new one. */
MUST_CHECK enum cpd_error keyfile_write(const char *path, enum keyfile_mode mode, const uint8_t *data, size_t len);
MUST_CHECK enum cpd_error keyfile_sync_folder(const char *dir);
/* Makes the folder (0700) when it is absent, else checks it. */
MUST_CHECK enum cpd_error keyfile_folder(const char *dir);
/* NOT_FOUND, STATE when others may write in it, or it is of another user than us or root: who may, can put other keys there. */
MUST_CHECK enum cpd_error keyfile_folder_check(const char *dir);
bool keyfile_exists(const char *path);
/* Opens and locks a folder against another process that makes keys in it. BUSY. -1 in *fd on error. */
MUST_CHECK enum cpd_error keyfile_lock(const char *dir, int *fd);
void keyfile_unlock(int fd);

/* Remembers, for this thread, what is wrong with which file and what to do (crypto_problem). */
__attribute__((format(printf, 1, 2))) void keyfile_problem(const char *format, ...);

#endif
