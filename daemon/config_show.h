/* config_show.h: the settings in force, defaults filled in, as JSON for programs (cpd --show-config). No secret is among them. Called by main.c. */
#ifndef CPD_CONFIG_SHOW_H
#define CPD_CONFIG_SHOW_H

#include <jansson.h>

#include "daemon/config.h"

/* NULL: no memory. The caller's. */
json_t *config_to_json(const struct config *config);

#endif
