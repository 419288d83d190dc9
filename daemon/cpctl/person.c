/* person.c: people who release messages: their keys, the region's word on them, and their signatures. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/person.h"
#include "daemon/cpctl/arguments.h"
#include "daemon/cpctl/client.h"
#include "daemon/cpctl/output.h"
#include "daemon/cpctl/passphrase.h"
#include "daemon/cpctl/path.h"
#include "daemon/cpctl/registry.h"

static void hex_of(const uint8_t *bytes, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++)
		sprintf(out + 2 * i, "%02x", bytes[i]);
}

/* Exactly so many bytes, or, with `len` NULL, as many as *len says there is room for. */
static bool hex_read(const char *text, uint8_t *out, size_t *len)
{
	const size_t digits = strlen(text);

	if (digits % 2 || digits / 2 > *len || strspn(text, "0123456789abcdef") != digits)
		return false;
	*len = digits / 2;
	for (size_t i = 0; i < *len; i++) {
		char two[3] = { text[2 * i], text[2 * i + 1], '\0' };

		out[i] = (uint8_t)strtoul(two, NULL, 16);
	}
	return true;
}

/* ---------------------------------------------------------------- function init */

int verb_function_init(struct call *call)
{
	const char *path = call->words[0];
	struct passphrase passphrase;
	uint8_t key[32];
	char text[65];
	enum cpd_error error;

	if (crypto_start())
		return say_refused("libsodium cannot start");
	if (!passphrase_ask_new(&passphrase))
		return EXIT_REFUSED;
	error = person_create(path, passphrase_slice(&passphrase), key);
	passphrase_wipe(&passphrase);
	if (error)
		return say_refused("the key was not made: %s", *crypto_problem() ? crypto_problem() : cpd_error_text(error));
	hex_of(key, sizeof(key), text);
	if (call->json) {
		json_t *json = json_pack("{s:s,s:s}", "file", path, "key", text);

		print_json(json);
		json_decref(json);
		return EXIT_DONE;
	}
	printf("%s holds your key. Only your passphrase opens it: keep both to yourself.\n"
	    "Give this to the region, in person or by telephone: %s\n"
	    "There: cpctl region function DIR --number N --node N --function TEXT --key %s\n", path, text, text);
	return EXIT_DONE;
}

/* ---------------------------------------------------------------- region function */

static bool take_function(struct call *call, struct function_certificate *function)
{
	const char *name = call_option(call, "function"), *key = call_option(call, "key");
	size_t len = sizeof(function->signing_key);

	if (!call_number(call, "number", UINT32_MAX, &function->number))
		return false;
	function->is_revoked = call_has(call, "revoke");
	if (function->is_revoked)
		return true;
	if (!call_number(call, "node", UINT32_MAX, &function->node))
		return false;
	if (!function->node || !name || !*name || strlen(name) > LIMIT_FUNCTION || !key) {
		say_usage(call, "give --node, --function (what the person is, no name, up to %d bytes) and --key, or --revoke", LIMIT_FUNCTION);
		return false;
	}
	snprintf(function->function, sizeof(function->function), "%s", name);
	if (!hex_read(key, function->signing_key, &len) || len != sizeof(function->signing_key)) {
		say_usage(call, "--key: is not 64 hex digits; `cpctl function init` tells them");
		return false;
	}
	return true;
}

static int certify(struct registry *registry, struct function_certificate *function)
{
	const struct function_certificate *held = directory_function(registry->directory, function->number);
	struct directory_update update = { .functions = function, .function_count = 1 };

	if (function->is_revoked) {
		if (!held)
			return say_refused("this region has no function %u", function->number);
		*function = *held;
		function->is_revoked = true;
	} else {
		const struct certificate *node = directory_certificate(registry->directory, function->node);

		if (held)
			return say_refused("function %u is given already, to the %s at node %u: take the next number", held->number, held->function, held->node);
		if (!node)
			return say_refused("node %u is not admitted", function->node);
		for (held = directory_next_function(registry->directory, 0); held; held = directory_next_function(registry->directory, held->number))
			if (!memcmp(held->signing_key, function->signing_key, sizeof(held->signing_key)))
				return say_refused("that key is function %u already: one key is one person", held->number);
	}
	if (!registry_sign(registry, &update))
		return EXIT_REFUSED;
	printf("Function %u, %s at node %u, is %s, directory %u.\nTake updates/%06u.update to one node that is reached: `cpctl directory import FILE`.\n",
	    function->number, function->function, function->node, function->is_revoked ? "revoked" : "certified", update.number, update.number);
	return EXIT_DONE;
}

int verb_region_function(struct call *call)
{
	struct function_certificate function = { .number = 0 };
	struct registry registry;
	int status;

	if (!take_function(call, &function))
		return EXIT_USAGE;
	if (!registry_open(&registry, call->words[0]))
		return EXIT_REFUSED;
	status = certify(&registry, &function);
	registry_close(&registry);
	return status;
}

/* ---------------------------------------------------------------- sign */

/* The number under which the region knows this key; 0: it does not. */
static uint32_t function_of_key(const json_t *directory, const uint8_t key[32])
{
	const json_t *functions = json_object_get(directory, "functions");
	char text[65];
	size_t index;
	json_t *one;

	hex_of(key, 32, text);
	json_array_foreach((json_t *)(uintptr_t)functions, index, one)
		if (!strcmp(json_text(one, "signing_key"), text))
			return (uint32_t)json_number(one, "number");
	return 0;
}

static int sign_content(struct call *call, const char *path, const json_t *directory, struct slice content)
{
	struct passphrase passphrase;
	uint8_t key[32], signature[64];
	char text[129];
	uint32_t function;
	json_t *body, *answer;
	enum cpd_error error;
	int status;

	if (!passphrase_ask("Passphrase of your key: ", &passphrase))
		return EXIT_REFUSED;
	error = person_sign(call_option(call, "key"), passphrase_slice(&passphrase), json_text(directory, "network"), content, key, signature);
	passphrase_wipe(&passphrase);
	if (error)
		return say_refused("%s", error == CPD_ERR_BAD_SIGNATURE ? "that is not the passphrase of this key" : *crypto_problem() ? crypto_problem() : cpd_error_text(error));
	function = function_of_key(directory, key);
	if (!function)
		return say_refused("the region has certified no function with this key, or this node has not heard: `cpctl directory import FILE`");
	hex_of(signature, sizeof(signature), text);
	body = json_pack("{s:I,s:s}", "function", (json_int_t)function, "signature", text);
	status = client_post(call, path, body, &answer);
	json_decref(body);
	if (status == EXIT_DONE)
		json_decref(answer);
	return status;
}

/* What is left to sign after it: asked of the daemon, which knows. */
static int tell(const struct call *call, const char *path, const char *id)
{
	json_t *message;
	int status = client_get(call, path, &message);
	int64_t missing;

	if (status != EXIT_DONE)
		return status;
	missing = json_number(message, "releases_missing");
	if (call->json) {
		json_t *json = json_pack("{s:s,s:I}", "id", id, "missing", (json_int_t)missing);

		print_json(json);
		json_decref(json);
	} else if (missing)
		printf("%s is signed. It waits for %lld more: another person runs `cpctl sign %s`.\n", id, (long long)missing, id);
	else
		printf("%s is signed by all who must, and goes.\n", id);
	json_decref(message);
	return EXIT_DONE;
}

int verb_sign(struct call *call)
{
	static uint8_t content[LIMIT_ENVELOPE];
	size_t len = sizeof(content);
	char show[MESSAGE_PATH_MAX], sign[MESSAGE_PATH_MAX + 8];
	json_t *message, *directory = NULL;
	int status;

	if (!message_path(call, call->words[0], NULL, show))
		return EXIT_USAGE;
	if (crypto_start())
		return say_refused("libsodium cannot start");
	status = client_get(call, show, &message);
	if (status != EXIT_DONE)
		return status;
	if (!json_number(message, "releases_missing"))
		status = say_refused("nobody needs to sign %s", call->words[0]);
	else if (!hex_read(json_text(message, "signed"), content, &len) || !len)
		status = say_refused("the daemon did not tell what is to be signed");
	else
		status = client_get(call, "/v1/directory", &directory);
	if (status == EXIT_DONE && !call->json)
		printf("%s, %s: %s\n", call->words[0], json_text(message, "kind"), json_text(message, "line"));
	snprintf(sign, sizeof(sign), "%s/sign", show);
	if (status == EXIT_DONE)
		status = sign_content(call, sign, directory, (struct slice){ content, len });
	json_decref(message);
	json_decref(directory);
	return status == EXIT_DONE ? tell(call, show, call->words[0]) : status;
}
