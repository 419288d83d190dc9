/* seeds.c: see fuzz.h. The vectors stand in test/vectors; read from the top of the tree. */
#include "test/fuzz/fuzz.h"

#include <jansson.h>

#define VECTORS "test/vectors/protocol.json"

const struct seed_body seed_bodies[] = {
	{ "nsp-status", "{\"phase\":\"OPEN\",\"persons\":12,\"staff_present\":3,\"staff_needed\":1,\"power\":\"BATTERY\",\"autonomy_min\":300,\"safety\":\"GREEN\","
	  "\"opened_ms\":1000,\"services\":[{\"code\":\"water\",\"colour\":\"AMBER\",\"remark\":\"bijna op\"}],\"skills\":[{\"code\":\"ehbo\",\"count\":2}],"
	  "\"supplies\":[{\"code\":\"dekens\",\"amount\":40,\"unit\":\"stuks\",\"hours_left\":6}],\"bearers\":[{\"name\":\"ip\",\"state\":\"up\",\"last_good_ms\":5,"
	  "\"queued\":1}],\"bulletin_on_wall\":\"901/1/7\",\"local\":[{\"key\":\"sleutel\",\"value\":\"bij de buren\"}],\"base_sequence\":3}" },
	{ "situation-report", "{\"number\":1,\"version\":2,\"from_ms\":1000,\"to_ms\":2000,\"people\":{\"colour\":\"GREEN\",\"text\":\"rustig\"},"
	  "\"means\":{\"colour\":\"AMBER\",\"trend\":\"WORSE\",\"text\":\"diesel\"},\"connections\":{\"colour\":\"RED\",\"text\":\"geen\",\"certainty\":\"CONFIRMED\","
	  "\"waits_for\":\"antenne\"},\"communication\":{\"colour\":\"GREEN\",\"text\":\"goed\"},\"logistics\":{\"colour\":\"GREEN\",\"text\":\"goed\"},"
	  "\"society\":{\"colour\":\"GREEN\",\"text\":\"goed\"},\"core\":\"Het is rustig\",\"bottlenecks\":[\"diesel\"],\"needs\":[\"aggregaat\"],"
	  "\"outlook\":\"koud\",\"drawn_up_by\":\"coordinator\"}" },
	{ "emergency-call", "{\"number\":41,\"services\":4,\"nature\":\"MEDICAL\",\"postcode\":\"3512JE\",\"house_number\":\"12\",\"latitude_e5\":5209250,"
	  "\"longitude_e5\":510400,\"accuracy_m\":20,\"location\":\"achterom\",\"persons\":2,\"conscious\":\"YES\",\"breathing\":\"NO\",\"equipment\":[\"VENTILATOR\",\"OXYGEN\"],"
	  "\"battery_min\":40,\"hazards\":\"hond\",\"access\":\"steeg\",\"caller_waits\":true}" },
	{ "emergency-progress", "{\"step\":\"DISPATCHED\",\"text\":\"onderweg\",\"expected_ms\":9000}" },
	{ "instruction", "{\"number\":1,\"on_behalf_of\":\"burgemeester\",\"what\":\"open\",\"why\":\"koude\",\"by_when_ms\":9000,\"required_level\":\"REQUIRED_DONE\","
	  "\"report_back_ms\":9500,\"basis\":\"Wvr\"}" },
	{ "text", "{\"text\":\"Aggregaat start niet\",\"subject\":\"stroom\",\"local\":[{\"key\":\"a\",\"value\":\"b\"}]}" },
	{ NULL, NULL },
};

static json_t *vectors(void)
{
	static json_t *root;
	json_error_t why;

	if (!root)
		root = json_load_file(VECTORS, 0, &why);
	if (!root) {
		fprintf(stderr, VECTORS ": %s; run this from the top of the tree\n", why.text);
		exit(2);
	}
	return root;
}

static size_t from_hex(const char *hex, uint8_t *out, size_t size)
{
	size_t len = 0;
	unsigned byte;

	for (; hex && sscanf(hex, "%2x", &byte) == 1 && len < size; hex += 2)
		out[len++] = (uint8_t)byte;
	return len;
}

static void add_all(const char *list, const char *type, struct slice prefix, fuzz_add *add, void *context)
{
	static uint8_t bytes[64 * 1024];
	size_t index;
	json_t *one;

	json_array_foreach(json_object_get(vectors(), list), index, one) {
		if (strcmp(json_string_value(json_object_get(one, "type")), type))
			continue;
		if (prefix.len)
			memcpy(bytes, prefix.data, prefix.len);
		add(context, (struct slice){ bytes, prefix.len +
		    from_hex(json_string_value(json_object_get(one, "hex")), bytes + prefix.len, sizeof(bytes) - prefix.len) });
	}
}

void seeds_of_type(const char *type, struct slice prefix, fuzz_add *add, void *context)
{
	add_all("vectors", type, prefix, add, context);
	add_all("judged", type, prefix, add, context);
}

struct slice seed_named(const char *name)
{
	static uint8_t *kept[32];
	static size_t count;
	size_t index;
	json_t *one;

	json_array_foreach(json_object_get(vectors(), "vectors"), index, one) {
		const char *hex = json_string_value(json_object_get(one, "hex"));
		uint8_t *bytes;

		if (strcmp(json_string_value(json_object_get(one, "name")), name))
			continue;
		FUZZ_CHECK(count < sizeof(kept) / sizeof(kept[0]));
		bytes = kept[count++] = malloc(strlen(hex) / 2 + 1);
		FUZZ_CHECK(bytes);
		return (struct slice){ bytes, from_hex(hex, bytes, strlen(hex) / 2) };
	}
	return (struct slice){ NULL, 0 };
}

void seed_key(const char *who, const char *field, uint8_t out[32])
{
	size_t index;
	json_t *one;

	json_array_foreach(json_object_get(vectors(), "keys"), index, one)
		if (!strcmp(json_string_value(json_object_get(one, "who")), who) &&
		    from_hex(json_string_value(json_object_get(one, field)), out, 32) == 32)
			return;
	FUZZ_CHECK(!"no such key in the vectors");
}
