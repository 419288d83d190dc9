/* main.c: sim --seeds A..B | --seed N [--trace] [--nsps N] [--cps N] [--minutes M] */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "test/sim/sim.h"

struct command { uint64_t first, last; double minutes; struct sim_options options; };

static void print_figures(const struct sim_figures *figures)
{
	static const char *const faults[FAULT_TYPE_COUNT] = {"crash", "commit-failed", "wiped", "rolled-back", "machine-rolled-back", "copied", "cut",
		"black-hole", "one-way", "lossy", "disk-full", "slow-disk", "clock", "alone"};
	static const char *const branches[BRANCH_COUNT] = {"steps", "messages", "turns", "commits", "frames", "lost", "duplicated", "reordered",
		"sessions", "dead-session", "frame-error", "gap", "peer-rolled-back", "epoch-raised", "reissued", "preempted", "partial-resume",
		"group", "large", "shown", "late", "uncommitted-lost", "commit-untold", "operated", "operate-refused", "returned"};
	printf("faults:");
	for (int i = 0; i < FAULT_TYPE_COUNT; i++)
		printf(" %s %llu", faults[i], (unsigned long long)figures->faults[i]);
	printf("\nbranches:");
	for (int i = 0; i < BRANCH_COUNT; i++)
		printf(" %s %llu", branches[i], (unsigned long long)figures->branches[i]);
	printf("\njournal:");
	for (int i = 0; i < JOURNAL_COUNT; i++)
		printf(" %s %llu", journal_what_name((enum journal_what)i), (unsigned long long)figures->journal[i]);
	printf("\nrefusals:");
	for (int i = 1; i < 64; i++)
		if (figures->refusals[i] > 0)
			printf(" %s %llu", reason_name((enum cpd_reason)i), (unsigned long long)figures->refusals[i]);
	printf("\n");
}

static bool read_command(int argc, char **argv, struct command *command)
{
	*command = (struct command){.first = 1, .last = 300};
	for (int i = 1; i < argc; i++) {
		char *end = NULL;
		if (strcmp(argv[i], "--trace") == 0) {
			command->options.is_traced = true;
			continue;
		}
		if (i + 1 == argc)
			return false;
		const char *value = argv[i + 1];
		if (strcmp(argv[i], "--seeds") == 0) {
			command->first = strtoull(value, &end, 10);
			if (strncmp(end, "..", 2) != 0)
				return false;
			command->last = strtoull(end + 2, &end, 10);
		} else if (strcmp(argv[i], "--seed") == 0) {
			command->first = command->last = strtoull(value, &end, 10);
		} else if (strcmp(argv[i], "--nsps") == 0) {
			command->options.nsps = (unsigned)strtoul(value, &end, 10);
		} else if (strcmp(argv[i], "--cps") == 0) {
			command->options.cps = (unsigned)strtoul(value, &end, 10);
		} else if (strcmp(argv[i], "--minutes") == 0) {
			command->minutes = strtod(value, &end);
		}
		if (end == NULL || *end != '\0')
			return false;
		i++;
	}
	return command->options.nsps <= 12 && command->options.cps <= 4 && command->last >= command->first;
}

int main(int argc, char **argv)
{
	struct command command;
	struct sim_figures figures;
	uint64_t seeds = 0;
	uint64_t failed = 0;
	time_t started = time(NULL);
	if (!read_command(argc, argv, &command)) {
		fprintf(stderr, "usage: sim [--seeds A..B | --seed N] [--trace] [--nsps 1..12] [--cps 1..4] [--minutes M]\n");
		return 2;
	}
	memset(&figures, 0, sizeof(figures));
	for (uint64_t seed = command.first; seed <= command.last; seed++) {
		static struct world world;
		if (command.minutes > 0 && difftime(time(NULL), started) > command.minutes * 60)
			break;
		memset(&world, 0, sizeof(world));
		world.seed = seed;
		world.options = command.options;
		world.figures = &figures;
		seeds++;
		if (!world_run(&world)) {
			failed++;
			trace_print_failure(&world, stdout);
			fflush(stdout);
		}
		world_clear(&world);
	}
	print_figures(&figures);
	printf("sim: %llu seeds, %llu failed\n", (unsigned long long)seeds, (unsigned long long)failed);
	return failed > 0 ? 1 : 0;
}
