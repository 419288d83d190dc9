/*
 * main.c: the targets under libFuzzer; `make fuzz` runs it. By hand:
 *   build/fuzz/test/fuzz/fuzz --target=envelope [libFuzzer's own -flags] [corpus folders | files to replay]
 * (Flags with two dashes are not libFuzzer's.)
 */
#include "test/fuzz/fuzz.h"

static const struct fuzz_target *target;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char flag[] = "--target=";

	for (int i = 1; i < *argc; i++)
		if (!strncmp((*argv)[i], flag, strlen(flag)))
			target = fuzz_find((*argv)[i] + strlen(flag));
	if (!target) {
		fprintf(stderr, "fuzz: name one target with --target=NAME:");
		for (target = fuzz_targets; target->name; target++)
			fprintf(stderr, " %s", target->name);
		fprintf(stderr, "\n");
		exit(2);
	}
	fuzz_start();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size <= target->max_len)
		target->run((struct slice){ data, size });
	return 0;
}
