/* config_show.c: see config_show.h. */
#include "daemon/config_show.h"

#include "proto/directory.h"

json_t *config_to_json(const struct config *config)
{
	json_t *links = json_array();

	for (size_t i = 0; links && i < config->link_count; i++)
		json_array_append_new(links, json_pack("{s:I,s:s,s:s}", "neighbour", (json_int_t)config->links[i].node,
		    "address", config->links[i].address, "profile", config->links[i].profile));
	return json_pack("{s:I,s:s,s:s,s:s,s:s,s:I,s:s,s:b,s:s,s:s,s:s,s:f,s:I,s:o}", "number", (json_int_t)config->number,
	    "role", node_role_name(config->role), "state", config->state, "identity", config->identity, "store", config->store,
	    "store_limit_mib", (json_int_t)config->store_limit_mib, "listen", config->listen, "accept_any_certified", (int)config->accept_any_certified,
	    "api_socket", config->api_socket, "api_group", config->api_group, "clock_quality", config->clock_quality,
	    "time_scale", config->time_scale, "routes", (json_int_t)config->route_count, "links", links);
}
