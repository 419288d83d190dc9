/* directory.c: who is who, as this node knows it; and taking in an update that came on a stick. */
#include <stdio.h>
#include <stdlib.h>

#include "crypto/region.h"
#include "daemon/cpctl/client.h"
#include "daemon/cpctl/file.h"
#include "daemon/cpctl/output.h"

static void print_directory(const json_t *directory)
{
	char name[200];
	size_t index;
	json_t *row;

	printf("Directory version %lld of region %s, network %s\n\n%10s  %-7s  %-28s  %-6s  %s\n", (long long)json_number(directory, "version"),
	    json_text(directory, "region"), json_text(directory, "network"), "NODE", "ROLE", "NAME", "PLACE", "ADDRESS");
	json_array_foreach(json_object_get(directory, "nodes"), index, row) {
		char address[160];

		text_fit(json_text(row, "address"), 0, address, sizeof(address));
		printf("%10lld  %-7s  %s  %-6s  %s%s%s\n", (long long)json_number(row, "number"), json_text(row, "role"),
		    text_fit(json_text(row, "name"), 28, name, sizeof(name)), *json_text(row, "municipality") ? json_text(row, "municipality") : "-",
		    json_flag(row, "revoked") ? "REVOKED" : "", json_flag(row, "revoked") && *address ? " " : "",
		    *address || json_flag(row, "revoked") ? address : "-");
	}
	json_array_foreach(json_object_get(directory, "groups"), index, row) {
		const json_t *members = json_object_get(row, "members");

		printf("\nGroup %lld %s, version %lld, %zu member%s:\n   ", (long long)json_number(row, "number"),
		    text_fit(json_text(row, "name"), 0, name, sizeof(name)), (long long)json_number(row, "version"), json_array_size(members),
		    json_array_size(members) == 1 ? "" : "s");
		for (size_t i = 0; i < json_array_size(members); i++)
			printf("%s%lld", i && i % 8 == 0 ? "\n    " : " ", (long long)json_integer_value(json_array_get(members, i)));
		putchar('\n');
	}
}

int verb_directory(struct call *call)
{
	json_t *directory;
	int status = client_get(call, "/v1/directory", &directory);

	if (status != EXIT_DONE)
		return status;
	if (call->json)
		print_json(directory);
	else
		print_directory(directory);
	json_decref(directory);
	return EXIT_DONE;
}

int verb_directory_import(struct call *call)
{
	struct request request = { .method = "POST", .path = "/v1/directory", .type = "application/octet-stream" };
	struct answer answer;
	uint8_t *bytes;
	int status = EXIT_DONE;

	if (!file_read(call->words[0], LIMIT_UPDATE_RECORD, &bytes, &request.body_len))
		return EXIT_REFUSED;
	request.body = bytes;
	/* Not by client_post: the bytes go as they are. An update is itself only once: giving it again is safe. */
	if (client_ask(call, &request, &answer) != OUTCOME_ANSWER)
		status = say_unreachable(&answer);
	else if (answer.status >= 300)
		status = say_answer(&answer);
	else if (call->json)
		print_json(answer.json);
	else
		printf("Taken in; the directory is at version %lld.\n", (long long)json_number(answer.json, "version"));
	answer_clear(&answer);
	free(bytes);
	return status;
}
