/* role.c: the table of roles. */
#include "daemon/role/role.h"

static const struct role roles[] = {
	{ ROLE_ID_NSP,     "nsp",     "noodsteunpunt",         true, false, false, true },
	{ ROLE_ID_CP,      "cp",      "coordinatiepunt",       false, false, true, false },
	{ ROLE_ID_DESK,    "desk",    "desk crisisorganisatie", false, true, false, false },
	{ ROLE_ID_PARTNER, "partner", "partner",               true, false, false, false },
};

const struct role *role_find(enum node_role number)
{
	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
		if (roles[i].number == number)
			return &roles[i];
	}
	return NULL;
}
