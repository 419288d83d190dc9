/*
 * hungry_proto.h: the calls of proto/ that may find no memory (hungry.h).
 */
#ifndef CPD_TEST_HUNGRY_PROTO_H
#define CPD_TEST_HUNGRY_PROTO_H

#include "proto/body.h"
#include "proto/directory.h"
#include "proto/leaf.h"
#include "proto/tree.h"
#include "test/unit/hungry.h"

#define body_validate(...) HUNGRY(body_validate(__VA_ARGS__))
#define directory_new() HUNGRY_NEW(directory_new())
#define directory_apply(...) HUNGRY(directory_apply(__VA_ARGS__))
#define directory_update_decode(...) HUNGRY(directory_update_decode(__VA_ARGS__))
#define directory_update_encode(...) HUNGRY(directory_update_encode(__VA_ARGS__))
#define leaf_item_decode(...) HUNGRY(leaf_item_decode(__VA_ARGS__))
#define tree_new(...) HUNGRY(tree_new(__VA_ARGS__))
#define tree_of_body(...) HUNGRY(tree_of_body(__VA_ARGS__))

#endif
