/*
 * main.c: the simulator's options, its workers, and what is left of a failure when all that it does not
 * need is taken away.
 *
 * sim --seeds A..B runs them over --jobs processes; --seed N one. A seed that fails is run again with ever fewer
 * faults and messages, as long as it fails; the command printed replays what remains.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test/sim/sim.h"

#define JOBS_MAX 16
#define SHRINK_RUNS 300

struct command { uint64_t first, last; double minutes; unsigned jobs; bool shrinks, stops; struct sim_options options; };

/* Of one worker; all are added up at the end. Shared memory. */
struct tally { uint64_t seeds, failed; struct sim_figures figures; };

/* One line a fault: what authors know in the end of each recipient of messages that met it. */
static void print_ends(const struct sim_figures *figures, const char *const *faults)
{
	for (int f = 0; f <= FAULT_TYPE_COUNT; f++) {
		printf("ends, %s:", f < FAULT_TYPE_COUNT ? faults[f] : "no fault met");
		for (int level = 0; level < LEVEL_COUNT; level++)
			if (figures->ends[f][level] > 0)
				printf(" %s %llu", level_name((enum level)level), (unsigned long long)figures->ends[f][level]);
		printf("\n");
	}
}

static void print_figures(const struct sim_figures *figures)
{
	static const char *const faults[FAULT_TYPE_COUNT] = {"crash", "commit-failed", "wiped", "rolled-back", "machine-rolled-back", "copied", "cut",
		"black-hole", "one-way", "lossy", "disk-full", "slow-disk", "clock", "clock-2024", "liar", "alone", "mute"};
	static const char *const branches[BRANCH_COUNT] = {"steps", "messages", "turns", "commits", "frames", "lost", "duplicated", "reordered",
		"sessions", "dead-session", "frame-error", "gap", "peer-rolled-back", "epoch-raised", "reissued", "preempted", "partial-resume",
		"group", "large", "shown", "late", "uncommitted-lost", "commit-untold", "operated", "operate-refused", "returned", "commit-failed", "cp-burnt",
		"desk-wiped", "nsp-replaced", "disk-rolled-back", "lie", "lie-found", "versions-apart", "whole-region", "floors-kept",
		"courier-written", "courier-taken", "courier-released", "stall", "stall-mute", "stall-over", "twin", "copy-refused", "fenced", "seed-counts"};
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
	print_ends(figures, faults);
}

/* ---------------------------------------------------------------- options */

/* "3,8-11": these bits. */
static bool read_mask(const char *text, uint8_t mask[SIM_LEFT_OUT / 8])
{
	while (*text != '\0') {
		char *end;
		unsigned long first = strtoul(text, &end, 10);
		unsigned long last = *end == '-' ? strtoul(end + 1, &end, 10) : first;
		if (end == text || last >= SIM_LEFT_OUT || (*end != '\0' && *end != ','))
			return false;
		for (unsigned long i = first; i <= last; i++)
			mask[i / 8] |= (uint8_t)(1u << (i % 8));
		text = *end == ',' ? end + 1 : end;
	}
	return true;
}

static bool read_option(const char *name, const char *value, struct command *command)
{
	char *end = NULL;
	unsigned *numbers[] = {&command->options.nsps, &command->options.cps, &command->options.desks, &command->options.couriers, &command->jobs};
	static const char *const names[] = {"--nsps", "--cps", "--desks", "--couriers", "--jobs"};
	if (strcmp(name, "--without-faults") == 0)
		return read_mask(value, command->options.no_faults);
	if (strcmp(name, "--without-messages") == 0)
		return read_mask(value, command->options.no_plans);
	if (strcmp(name, "--seeds") == 0) {
		command->first = strtoull(value, &end, 10);
		if (strncmp(end, "..", 2) != 0)
			return false;
		command->last = strtoull(end + 2, &end, 10);
	} else if (strcmp(name, "--seed") == 0) {
		command->first = command->last = strtoull(value, &end, 10);
	} else if (strcmp(name, "--minutes") == 0) {
		command->minutes = strtod(value, &end);
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			*numbers[i] = (unsigned)strtoul(value, &end, 10);
	return end != NULL && end != value && *end == '\0';
}

static bool read_command(int argc, char **argv, struct command *command)
{
	*command = (struct command){.first = 1, .last = 300, .jobs = 1, .shrinks = true};
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--trace") == 0) {
			command->options.is_traced = true;
			command->shrinks = false;
		} else if (strcmp(argv[i], "--quick-fail") == 0) { /* the first failure is enough, as it is */
			command->shrinks = false;
			command->stops = true;
		} else if (i + 1 == argc || !read_option(argv[i], argv[i + 1], command)) {
			return false;
		} else {
			i++;
		}
	}
	return command->options.nsps <= SIM_NSPS_MAX && command->options.cps <= SIM_CPS_MAX && command->options.desks <= SIM_DESKS_MAX
	    && command->last >= command->first && command->jobs >= 1 && command->jobs <= JOBS_MAX;
}

/* ---------------------------------------------------------------- runs */

/* The caller clears world. */
static bool run_seed(struct world *world, uint64_t seed, const struct sim_options *options, struct sim_figures *figures)
{
	memset(world, 0, sizeof(*world));
	world->seed = seed;
	world->options = *options;
	world->figures = figures;
	return world_run(world);
}

/* Leaves out as many of `count` as the failure can do without: halves first, then ever smaller pieces. */
static void shrink_mask(uint64_t seed, struct sim_options *options, uint8_t *mask, size_t count, unsigned *runs)
{
	static struct world world;
	static struct sim_figures unused;
	if (count > SIM_LEFT_OUT)
		count = SIM_LEFT_OUT;
	for (size_t size = (count + 1) / 2; size > 0; size = size == 1 ? 0 : (size + 1) / 2) {
		for (size_t from = 0; from < count && *runs < SHRINK_RUNS; from += size) {
			uint8_t before[SIM_LEFT_OUT / 8];
			memcpy(before, mask, sizeof(before));
			for (size_t i = from; i < from + size && i < count; i++)
				mask[i / 8] |= (uint8_t)(1u << (i % 8));
			if (memcmp(before, mask, sizeof(before)) == 0)
				continue;
			++*runs;
			if (run_seed(&world, seed, options, &unused))
				memcpy(mask, before, sizeof(before)); /* it is needed */
			world_clear(&world);
		}
	}
}

static void tell_failure(struct world *world, const struct command *command)
{
	static struct sim_figures unused;
	struct sim_options options = world->options;
	size_t faults = world->fault_count;
	size_t plans = world->plan_count;
	uint64_t seed = world->seed;
	unsigned runs = 0;
	if (command->shrinks) {
		printf("seed %llu failed: %s; looking for what it can do without\n", (unsigned long long)seed, world->failure);
		fflush(stdout);
		shrink_mask(seed, &options, options.no_plans, plans, &runs);
		shrink_mask(seed, &options, options.no_faults, faults, &runs);
		world_clear(world);
		if (run_seed(world, seed, &options, &unused))
			abort(); /* a seed is a seed */
	}
	trace_print_failure(world, stdout);
	fflush(stdout);
}

static void work(const struct command *command, unsigned job, struct tally *tally)
{
	static struct world world;
	time_t started = time(NULL);
	for (uint64_t seed = command->first + job; seed <= command->last; seed += command->jobs) {
		if (command->stops && tally->failed > 0)
			break;
		if (command->minutes > 0 && difftime(time(NULL), started) > command->minutes * 60)
			break;
		tally->seeds++;
		if (!run_seed(&world, seed, &command->options, &tally->figures)) {
			tally->failed++;
			tell_failure(&world, command);
		}
		world_clear(&world);
	}
}

/* A worker that dies has failed, whatever it had counted. */
static uint64_t run_workers(const struct command *command, struct tally *tallies)
{
	uint64_t died = 0;
	if (command->jobs == 1) {
		work(command, 0, tallies);
		return 0;
	}
	for (unsigned job = 0; job < command->jobs; job++) {
		pid_t child = fork();
		if (child == 0) {
			work(command, job, &tallies[job]);
			fflush(stdout);
			_exit(0);
		}
		died += child < 0;
	}
	for (int status; wait(&status) > 0;)
		died += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
	return died;
}

static void add_up(uint64_t *sum, const uint64_t *more, size_t count)
{
	for (size_t i = 0; i < count; i++)
		sum[i] += more[i];
}

int main(int argc, char **argv)
{
	struct command command;
	if (!read_command(argc, argv, &command)) {
		fprintf(stderr, "usage: sim [--seeds A..B | --seed N] [--jobs 1..16] [--trace] [--nsps 1..20] [--cps 1..2] [--desks 1..2] [--couriers N] [--minutes M] [--quick-fail]\n"
				"           [--without-faults LIST] [--without-messages LIST]\n");
		return 2;
	}
	struct tally *tallies = mmap(NULL, JOBS_MAX * sizeof(*tallies), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (tallies == MAP_FAILED) {
		fprintf(stderr, "sim: memory is used up\n");
		return 1;
	}
	uint64_t died = run_workers(&command, tallies);
	for (unsigned job = 1; job < command.jobs; job++) {
		tallies[0].seeds += tallies[job].seeds;
		tallies[0].failed += tallies[job].failed;
		add_up(tallies[0].figures.faults, tallies[job].figures.faults, FAULT_TYPE_COUNT);
		add_up(tallies[0].figures.branches, tallies[job].figures.branches, BRANCH_COUNT);
		add_up(tallies[0].figures.journal, tallies[job].figures.journal, JOURNAL_COUNT);
		add_up(tallies[0].figures.refusals, tallies[job].figures.refusals, 64);
		for (int f = 0; f <= FAULT_TYPE_COUNT; f++)
			add_up(tallies[0].figures.ends[f], tallies[job].figures.ends[f], LEVEL_COUNT);
	}
	const struct tally *all = &tallies[0];
	print_figures(&all->figures);
	printf("figure: %llu seeds, %llu of them with a commit that failed, a CP lost or a disk rolled back; %llu whole regions\n",
	    (unsigned long long)all->seeds, (unsigned long long)all->figures.branches[BRANCH_SEED_COUNTS],
	    (unsigned long long)all->figures.branches[BRANCH_WHOLE_REGION]);
	if (died > 0)
		printf("sim: %llu workers died\n", (unsigned long long)died);
	printf("sim: %llu seeds, %llu failed\n", (unsigned long long)all->seeds, (unsigned long long)(all->failed + died));
	return all->failed + died > 0 ? 1 : 0;
}
