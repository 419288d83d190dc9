/* vectors.h: the region of the vectors, with its keys: authority, and nodes 901 (CP), 911 (desk) and 344003 (NSP). */
#ifndef CPD_TEST_FUZZ_VECTORS_H
#define CPD_TEST_FUZZ_VECTORS_H

#include "crypto/region.h"

const struct region_anchor *vector_anchor(void);
/* All three updates applied: the last revokes 344003 from 2/118 on. Lives until the end. */
struct directory *vector_directory(void);
/* A folder with that node's keys, made anew in each process; "344003". */
const char *vector_identity_folder(const char *node);
struct identity *vector_identity(const char *node);

#endif
