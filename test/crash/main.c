/*
 * main.c: crash [--seeds A..B] [--images N] [--messages N] [--jobs N] [--minutes M] [--broken HOW]
 *         crash --recording FILE [--image DISK:POINT:VARIANT] [--keep FOLDER]
 *
 * A seed is one load, recorded; of its recording images are made and judged, in processes of their own: an
 * image that ends the process, or makes it stand still, is a failure like any other. --broken runs a store
 * that is wrong on purpose, and then a failure must be found. Each failure names the command that shows it again.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "daemon/log.h"
#include "test/crash/crash.h"

#define JOBS_MAX 8
#define FAILURES_MAX 16
#define SEEN_SLOTS (1u << 22)
#define IMAGE_SECONDS 20
#define FIRST_POINTS 60          /* of each disk: the making of the store, looked at closely */
#define FIRST_VARIANTS 24
#define ROUNDS_MAX 12

struct place { uint32_t disk, variant; uint64_t point; };
struct failure { struct place place; char problem[CRASH_TEXT]; };
struct shared {
	_Atomic uint64_t images, unique, in_commit, messages, failures;
	_Atomic uint64_t seen[SEEN_SLOTS];           /* contents */
	_Atomic uint64_t judged[SEEN_SLOTS];         /* contents together with what was told */
	struct place now[JOBS_MAX];
	struct failure failure[FAILURES_MAX];
};
struct pass { uint64_t seed; uint32_t round; double share; };   /* share: images at a point */
struct command {
	uint64_t first_seed, last_seed, images;
	unsigned messages, jobs;
	double minutes;
	enum broken broken;
	const char *recording, *image, *keep, *save;
};

static struct shared *shared;
static struct model models[CRASH_DISKS];
static char home[4096], work_folder[64];
static unsigned passed, failed;

static void check(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void check(bool good, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	printf(good ? "ok   " : "FAIL ");
	vprintf(format, list);
	printf("\n");
	fflush(stdout);
	va_end(list);
	passed += good;
	failed += !good;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* True the first time. */
static bool is_first(_Atomic uint64_t *slots, uint64_t hash)
{
	hash |= hash == 0;
	for (uint64_t at = hash * UINT64_C(0x9E3779B97F4A7C15) >> 42;; at++) {
		uint64_t none = 0;

		if (atomic_compare_exchange_strong(&slots[at % SEEN_SLOTS], &none, hash))
			return true;
		if (none == hash)
			return false;
	}
}

/* ---------------------------------------------------------------- one image */

static void note_failure(const struct place *place, const char *problem)
{
	const uint64_t which = atomic_fetch_add(&shared->failures, 1);

	if (which < FAILURES_MAX) {
		shared->failure[which].place = *place;
		snprintf(shared->failure[which].problem, CRASH_TEXT, "%s", problem);
	}
}

static void try_image(const struct platter *platter, const struct place *place, uint64_t seed, const char *folder, struct image *image)
{
	const struct recording *recording = &recordings[place->disk];
	struct verdict verdict;
	size_t told, given;

	image_make(platter, seed ^ place->disk, place->variant, image);
	model_bounds(&models[place->disk], platter, &told, &given);
	if (!is_first(shared->judged, image->hash[0] ^ (told + 1) * UINT64_C(0xD6E8FEB86659FD93) ^ (uint64_t)place->disk << 61))
		return;
	alarm(IMAGE_SECONDS);
	if (!image_write(image, recording, folder, place->variant % 2)) {
		note_failure(place, "the image could not be written: is the disk full?");
		return;
	}
	judge(recording, &models[place->disk], told, given, folder, place->variant % 8 == 0, &verdict);
	alarm(0);
	if (verdict.problem[0])
		note_failure(place, verdict.problem);
	atomic_fetch_add(&shared->images, 1);
	atomic_fetch_add(&shared->messages, verdict.messages);
	if (is_first(shared->seen, image->hash[1])) {
		atomic_fetch_add(&shared->unique, 1);
		atomic_fetch_add(&shared->in_commit, platter->in_commit);
	}
}

/* ---------------------------------------------------------------- all of them */

/* Points at which there is something to lose. */
static size_t points_with_pending(const struct recording *recording)
{
	size_t count = 0;

	for (size_t i = 0; i < recording->count; i++)
		count += recording->happenings[i].what == HAPPENED_WRITE || recording->happenings[i].what == HAPPENED_LENGTH;
	return count;
}

static bool is_pending(const struct platter *platter)
{
	bool is = platter->pending_count > 0;

	for (size_t i = 0; i < CRASH_FILES; i++)
		is |= platter->files[i].pending_count > 0;
	return is;
}

static uint32_t variants_at(const struct platter *platter, const struct pass *pass, uint32_t *first)
{
	struct dice dice = { pass->seed ^ (uint64_t)platter->at * UINT64_C(0xD6E8FEB86659FD93) ^ (uint64_t)pass->round << 40 };
	double wanted = pass->share;
	uint32_t count;

	*first = pass->round * 64;
	if (platter->at <= FIRST_POINTS)
		return pass->round ? 0 : FIRST_VARIANTS;
	if (!is_pending(platter) && wanted > 1)
		wanted = 1;
	count = (uint32_t)wanted + (dice_below(&dice, 1000) < (uint64_t)((wanted - (double)(uint32_t)wanted) * 1000));
	/* The plain ones come first only when there is room for all. */
	if (count < 8 && is_pending(platter))
		*first += (uint32_t)dice_below(&dice, 40);
	return count;
}

static void worker(unsigned job, const struct command *command, const struct pass *pass, const struct place *from)
{
	struct image image;
	char folder[80];

	memset(&image, 0, sizeof(image));
	snprintf(folder, sizeof(folder), "%s/image-%u", work_folder, job);
	mkdir(folder, 0700);
	for (uint32_t disk = from->disk; disk < recording_count; disk++) {
		struct platter platter;

		platter_init(&platter, &recordings[disk]);
		while (platter.at < recordings[disk].count && atomic_load(&shared->failures) < FAILURES_MAX) {
			uint32_t first, count;

			platter_step(&platter);
			if (platter.at % command->jobs != job || (disk == from->disk && platter.at < from->point))
				continue;
			count = variants_at(&platter, pass, &first);
			for (uint32_t i = 0; i < count; i++) {
				struct place *place = &shared->now[job];

				if (disk == from->disk && platter.at == from->point && first + i <= from->variant)
					continue;
				*place = (struct place){ .disk = disk, .point = platter.at, .variant = first + i };
				try_image(&platter, place, pass->seed, folder, &image);
			}
		}
		platter_clear(&platter);
	}
	image_clear(&image);
}

static pid_t spawn(unsigned job, const struct command *command, const struct pass *pass, const struct place *from)
{
	const pid_t pid = fork();

	if (pid == 0) {
		worker(job, command, pass, from);
		_exit(0);
	}
	return pid;
}

/* A worker that ends before its work does was ended by its image. */
static void run_pass(const struct command *command, const struct pass *pass)
{
	const struct place begin = { 0, 0, 0 };
	unsigned running = command->jobs;
	pid_t pids[JOBS_MAX];

	memset(shared->now, 0, sizeof(shared->now));
	for (unsigned job = 0; job < command->jobs; job++)
		pids[job] = spawn(job, command, pass, &begin);
	while (running > 0) {
		char problem[64];
		int status;
		const pid_t pid = wait(&status);

		if (pid < 0)
			break;
		for (unsigned job = 0; job < command->jobs; job++) {
			if (pids[job] != pid)
				continue;
			if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
				running--;
				continue;
			}
			if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
				snprintf(problem, sizeof(problem), "no end after %d s", IMAGE_SECONDS);
			else
				snprintf(problem, sizeof(problem), "the process ended with signal %d", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
			note_failure(&shared->now[job], problem);
			if (atomic_load(&shared->failures) < FAILURES_MAX)
				pids[job] = spawn(job, command, pass, &shared->now[job]);
			else
				running--;
		}
	}
}

/* Other variants until there are as many unique images as asked, or no new ones come. */
static void try_all(const struct command *command, uint64_t seed, uint64_t images)
{
	const uint64_t begin = atomic_load(&shared->unique);
	struct pass pass = { .seed = seed };
	size_t points = 0;

	for (size_t i = 0; i < recording_count; i++)
		points += points_with_pending(&recordings[i]);
	for (; pass.round < ROUNDS_MAX && atomic_load(&shared->failures) < FAILURES_MAX; pass.round++) {
		const uint64_t got = atomic_load(&shared->unique) - begin;

		if (got >= images)
			break;
		pass.share = (double)(images - got) / (double)(points + 1);
		run_pass(command, &pass);
	}
}

/* ---------------------------------------------------------------- one seed */

static bool make_models(void)
{
	for (size_t i = 0; i < recording_count; i++)
		if (!model_make(&models[i], &recordings[i]))
			return false;
	return true;
}

static void clear_models(void)
{
	for (size_t i = 0; i < CRASH_DISKS; i++)
		model_clear(&models[i]);
}

static void print_recording(uint64_t seed, const struct load_figures *load, double took)
{
	size_t writes = 0, syncs = 0, batches = 0, bytes = 0;

	for (size_t i = 0; i < recording_count; i++)
		for (size_t j = 0; j < recordings[i].count; j++) {
			const struct happening *one = &recordings[i].happenings[j];
			writes += one->what == HAPPENED_WRITE;
			syncs += one->what == HAPPENED_WRITTEN;
			batches += one->what == HAPPENED_SUBMIT;
			bytes += one->what == HAPPENED_WRITE ? one->len : 0;
		}
	printf("figure: seed %" PRIu64 ": %u messages authored, %u acts, %u shown; %zu turns, %zu commits, %zu writes of %.1f MB recorded in %.1f s\n",
	    seed, load->messages, load->acts, load->delivered, batches, syncs, writes, (double)bytes / 1e6, took);
}

static void print_failures(uint64_t seed, const char *recording)
{
	for (uint64_t i = 0; i < atomic_load(&shared->failures) && i < FAILURES_MAX; i++) {
		const struct failure *one = &shared->failure[i];
		printf("     store %s: %s\n     again: %s/test/crash/crash --seeds %" PRIu64 "..%" PRIu64 " --recording %s --image %u:%" PRIu64 ":%u\n",
		    recordings[one->place.disk].path, one->problem, getenv("BUILD") ? getenv("BUILD") : "build", seed, seed, recording,
		    one->place.disk, one->place.point, one->place.variant);
	}
}

static bool enter_new_folder(char out[64])
{
	snprintf(out, 64, "%s/cpd-crash-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	return mkdtemp(out) && chdir(out) == 0;
}

static void leave_folder(void)
{
	char words[100];

	if (chdir(home))
		abort();
	snprintf(words, sizeof(words), "rm -rf '%s'", work_folder);
	if (system(words))
		printf("%s was not removed\n", work_folder);
}

/* Records a load; false: told already. */
static bool record(const struct command *command, uint64_t seed)
{
	const double begin = seconds();
	struct load_figures figures;
	const char *problem, *unseen;

	record_start(load_stores, CRASH_DISKS, command->broken);
	problem = load_run(seed, command->messages, &figures);
	unseen = record_stop();
	if (problem || unseen) {
		check(false, "seed %" PRIu64 ": the load was recorded: %s", seed, problem ? problem : unseen);
		return false;
	}
	print_recording(seed, &figures, seconds() - begin);
	return true;
}

static void run_seed(const struct command *command, uint64_t seed, uint64_t images)
{
	static const char *const names[] = { "the product", "a store opened with MDB_NOSYNC", "a store opened with MDB_NOMETASYNC",
		"a store that tells a turn before its commit" };
	const uint64_t before = atomic_load(&shared->images), unique = atomic_load(&shared->unique);
	char kept[160] = "";
	double begin;
	uint64_t failures;

	if (!enter_new_folder(work_folder) || !record(command, seed)) {
		leave_folder();
		return;
	}
	begin = seconds();
	atomic_store(&shared->failures, 0);
	if (make_models())
		try_all(command, seed, images);
	else
		check(false, "seed %" PRIu64 ": the recording can be understood", seed);
	failures = atomic_load(&shared->failures);
	if ((failures && command->broken == BROKEN_NOTHING) || command->save) {
		snprintf(kept, sizeof(kept), "/tmp/cpd-crash-%" PRIu64 "-%d.recording", seed, (int)getpid());
		if (!record_save(command->save ? command->save : kept))
			printf("the recording could not be kept in %s\n", kept);
	}
	printf("figure: seed %" PRIu64 ": %" PRIu64 " images, %" PRIu64 " of them new by content, %" PRIu64 "%s failures, in %.1f s\n", seed,
	    atomic_load(&shared->images) - before, atomic_load(&shared->unique) - unique, failures, failures >= FAILURES_MAX ? " or more" : "",
	    seconds() - begin);
	if (command->broken == BROKEN_NOTHING) {
		check(failures == 0, "seed %" PRIu64 ": after a power cut at any point every turn that was told is there", seed);
		print_failures(seed, kept);
	} else {
		printf("figure: expected failure of %s: %s\n", names[command->broken], failures ? shared->failure[0].problem : "none");
		check(failures > 0, "%s is found out", names[command->broken]);
	}
	clear_models();
	leave_folder();
}

/* ---------------------------------------------------------------- one image again */

static int show_image(const struct command *command)
{
	struct place place;
	struct platter platter;
	struct image image;
	struct verdict verdict;
	size_t told, given;

	if (sscanf(command->image, "%u:%" SCNu64 ":%u", &place.disk, &place.point, &place.variant) != 3 || place.disk >= recording_count ||
	    place.point > recordings[place.disk].count) {
		fprintf(stderr, "crash: --image wants DISK:POINT:VARIANT of the recording\n");
		return 2;
	}
	memset(&image, 0, sizeof(image));
	platter_init(&platter, &recordings[place.disk]);
	while (platter.at < place.point)
		platter_step(&platter);
	image_make(&platter, command->first_seed ^ place.disk, place.variant, &image);
	model_bounds(&models[place.disk], &platter, &told, &given);
	printf("store %s at point %" PRIu64 "%s: %zu batches told, %zu given\n", recordings[place.disk].path, place.point,
	    platter.in_commit ? ", inside a commit" : "", told, given);
	if (command->keep && (mkdir(command->keep, 0700) == 0 || errno == EEXIST) && image_write(&image, &recordings[place.disk], command->keep, false))
		printf("the image is in %s\n", command->keep);
	if (!enter_new_folder(work_folder) || !image_write(&image, &recordings[place.disk], work_folder, false))
		return 1;
	judge(&recordings[place.disk], &models[place.disk], told, given, work_folder, true, &verdict);
	leave_folder();
	check(!verdict.problem[0], "%s", verdict.problem[0] ? verdict.problem : "every turn that was told is there");
	return failed ? 1 : 0;
}

/* ---------------------------------------------------------------- the command */

static bool read_command(int argc, char **argv, struct command *command)
{
	static const struct option options[] = {
		{ "seeds", required_argument, NULL, 's' }, { "images", required_argument, NULL, 'i' }, { "messages", required_argument, NULL, 'm' },
		{ "jobs", required_argument, NULL, 'j' }, { "minutes", required_argument, NULL, 't' }, { "broken", required_argument, NULL, 'b' },
		{ "recording", required_argument, NULL, 'r' }, { "image", required_argument, NULL, 'n' }, { "keep", required_argument, NULL, 'k' },
		{ "save", required_argument, NULL, 'w' }, { NULL, 0, NULL, 0 }
	};
	static const char *const breaks[] = { "nothing", "nosync", "nometasync", "early" };
	char *end = NULL;
	int option;

	*command = (struct command){ .first_seed = 1, .last_seed = 1, .images = 3000, .messages = 60, .jobs = 1, .minutes = 1e9 };
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			command->first_seed = command->last_seed = strtoull(optarg, &end, 10);
			if (strncmp(end, "..", 2) == 0)
				command->last_seed = strtoull(end + 2, &end, 10);
			break;
		case 'i': command->images = strtoull(optarg, &end, 10); break;
		case 'm': command->messages = (unsigned)strtoul(optarg, &end, 10); break;
		case 'j': command->jobs = (unsigned)strtoul(optarg, &end, 10); break;
		case 't': command->minutes = strtod(optarg, &end); break;
		case 'b':
			for (int i = 0; i < 4; i++)
				if (strcmp(optarg, breaks[i]) == 0)
					command->broken = (enum broken)i;
			end = NULL;
			break;
		case 'r': command->recording = optarg; break;
		case 'n': command->image = optarg; break;
		case 'k': command->keep = optarg; break;
		case 'w': command->save = optarg; break;
		default: return false;
		}
		if (end && *end)
			return false;
		end = NULL;
	}
	return optind == argc && command->jobs >= 1 && command->jobs <= JOBS_MAX && command->messages > 0 && !command->image == !command->recording;
}

int main(int argc, char **argv)
{
	struct command command;
	const double begin = seconds();
	uint64_t images, seeds;

	if (!read_command(argc, argv, &command)) {
		fprintf(stderr, "usage: crash [--seeds A..B] [--images N] [--messages N] [--jobs 1..%d] [--minutes M] [--broken nosync|nometasync|early] [--save FILE]\n"
		    "       crash --seeds N --recording FILE --image DISK:POINT:VARIANT [--keep FOLDER]\n", JOBS_MAX);
		return 2;
	}
	if (crypto_start() || !getcwd(home, sizeof(home)))
		return 1;
	log_start(getenv("VERBOSE") ? LOG_DEBUG : LOG_EMERG);
	if (command.recording) {
		if (!record_load(command.recording) || !make_models()) {
			fprintf(stderr, "crash: %s is no recording of this program\n", command.recording);
			return 2;
		}
		return show_image(&command);
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	seeds = command.last_seed - command.first_seed + 1;
	for (uint64_t seed = command.first_seed; seed <= command.last_seed && seconds() - begin < command.minutes * 60; seed++)
		run_seed(&command, seed, command.images / seeds * 101 / 100 + 1);
	images = atomic_load(&shared->unique);
	if (command.broken == BROKEN_NOTHING) {
		printf("figure: %" PRIu64 " images judged, %" PRIu64 " unique by content, %.0f %% of these cut inside a commit, %" PRIu64
		    " messages read back, %.0f s\n", atomic_load(&shared->images), images, images ? 100.0 * (double)atomic_load(&shared->in_commit) / (double)images : 0,
		    atomic_load(&shared->messages), seconds() - begin);
		check(images >= command.images, "as many unique images as asked: %" PRIu64 " of %" PRIu64, images, command.images);
		check(atomic_load(&shared->in_commit) * 5 >= images, "at least a fifth is cut inside a commit");
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed || !passed ? 1 : 0;
}
