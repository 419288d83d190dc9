/*
 * enrol.c: a municipality's list of nodes becomes one sealed kit and one sheet for each, on the machine of the region's authority.
 *
 *   DIR/kits/N.sealed    the kit, for the stick       crypto/sealed_kit.h
 *   DIR/sheets/N.html    the sheet with its code, for the envelope
 *   DIR/enrolling        numbers that are being made: their keys live in memory only until their kit is written
 *
 * All certificates are signed before the first kit is made, so that every kit knows all of them. What breaks off in between
 * leaves certificates whose keys are gone: DIR/enrolling tells which, and the next run gives those nodes their next key.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/sealed_kit.h"
#include "daemon/cpctl/arguments.h"
#include "daemon/cpctl/cpctl.h"
#include "daemon/cpctl/enrol_csv.h"
#include "daemon/cpctl/progress.h"
#include "daemon/cpctl/registry.h"
#include "daemon/cpctl/sheet.h"

#define BATCH 40 /* certificates of the longest kind that fit one update */
#define NUMBERS_EACH 999 /* decision 0010: behind a municipality's code */

struct enrolment {
	struct registry registry;
	struct enrol_list list;
	uint32_t *pending;               /* owned: of a run that broke off */
	size_t pending_count, making;
	size_t faults;
};

/* ---------------------------------------------------------------- pending */

static bool pending_path(const struct enrolment *enrolment, char path[FILE_PATH_MAX])
{
	return file_path(enrolment->registry.dir, "enrolling", path);
}

static bool read_pending(struct enrolment *enrolment)
{
	char path[FILE_PATH_MAX], *at, *end;
	uint8_t *text;
	size_t len;

	if (!pending_path(enrolment, path))
		return false;
	if (!file_exists(path))
		return true;
	if (!file_read(path, 16 * ENROL_ROWS_MAX, &text, &len))
		return false;
	enrolment->pending = calloc(len + 1, sizeof(*enrolment->pending));
	for (at = (char *)text; enrolment->pending && *at; at = end + (*end == '\n')) {
		enrolment->pending[enrolment->pending_count++] = (uint32_t)strtoul(at, &end, 10);
		if (end == at)
			break;
	}
	if (!enrolment->pending || *at)
		say_refused("%s is damaged: it must hold a node number on each line. Put back the copy of this folder", path);
	free(text);
	return enrolment->pending && !*at;
}

static bool is_pending(const struct enrolment *enrolment, uint32_t node)
{
	for (size_t i = 0; i < enrolment->pending_count; i++)
		if (enrolment->pending[i] == node)
			return true;
	return false;
}

static bool write_pending(const struct enrolment *enrolment)
{
	char path[FILE_PATH_MAX], *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	bool is_written;

	if (!out)
		return false;
	/* Those of a broken run that this list does not name stay noted. */
	for (size_t i = 0; i < enrolment->pending_count; i++)
		fprintf(out, "%u\n", enrolment->pending[i]);
	for (size_t i = 0; i < enrolment->list.count; i++)
		if (enrolment->list.rows[i].identity && !is_pending(enrolment, enrolment->list.rows[i].certificate.node))
			fprintf(out, "%u\n", enrolment->list.rows[i].certificate.node);
	is_written = !fclose(out) && pending_path(enrolment, path) && file_write(path, text, len);
	free(text);
	return is_written;
}

/* All of this list are made: what is left is of other lists. */
static bool end_pending(const struct enrolment *enrolment)
{
	char path[FILE_PATH_MAX], *text = NULL;
	size_t len = 0, left = 0;
	FILE *out = open_memstream(&text, &len);
	bool is_done;

	if (!out)
		return false;
	for (size_t i = 0; i < enrolment->pending_count; i++) {
		bool is_listed = false;

		for (size_t row = 0; row < enrolment->list.count && !is_listed; row++)
			is_listed = enrolment->list.rows[row].certificate.node == enrolment->pending[i];
		left += !is_listed;
		if (!is_listed)
			fprintf(out, "%u\n", enrolment->pending[i]);
	}
	is_done = !fclose(out) && pending_path(enrolment, path) && (left ? file_write(path, text, len) : !unlink(path) || errno == ENOENT);
	free(text);
	return is_done;
}

/* ---------------------------------------------------------------- which node is which row */

#define FAULT(enrolment, row, column, ...) ((enrolment)->faults++, enrol_say(&(enrolment)->list, (row)->line, column, __VA_ARGS__))

static const struct certificate *find_by_name(const struct directory *directory, const struct certificate *wanted)
{
	for (const struct certificate *node = directory_next(directory, 0); node; node = directory_next(directory, node->node))
		if (node->role == wanted->role && !strcmp(node->name, wanted->name) && !strcmp(node->municipality, wanted->municipality))
			return node;
	return NULL;
}

static bool is_taken(const struct enrolment *enrolment, uint32_t number)
{
	if (directory_certificate(enrolment->registry.directory, number))
		return true;
	for (size_t i = 0; i < enrolment->list.count; i++)
		if (enrolment->list.rows[i].certificate.node == number)
			return true;
	return false;
}

static uint32_t free_number(const struct enrolment *enrolment, const struct certificate *certificate)
{
	bool is_nsp = certificate->role == ROLE_ID_NSP;
	uint32_t base = is_nsp ? 1000 * (uint32_t)strtoul(certificate->municipality + 2, NULL, 10)
	    : 100 * (uint32_t)strtoul(enrolment->registry.anchor.region + 2, NULL, 10);

	for (uint32_t n = 1; n <= (is_nsp ? NUMBERS_EACH : 99u); n++)
		if (!is_taken(enrolment, base + n))
			return base + n;
	return 0;
}

static void check_row(struct enrolment *enrolment, struct enrol_row *row)
{
	const struct directory *directory = enrolment->registry.directory;
	const struct certificate *held = row->certificate.node ? directory_certificate(directory, row->certificate.node) : find_by_name(directory, &row->certificate);

	if (!held)
		return;
	row->certificate.node = held->node;
	if (held->role != row->certificate.role || strcmp(held->name, row->certificate.name) || strcmp(held->municipality, row->certificate.municipality))
		FAULT(enrolment, row, "number", "node %u is %s (%s) %s already; choose a free number, or leave it empty", held->node, held->name,
		    node_role_name(held->role), held->municipality);
	else if (directory_revocation(directory, held->node, held->key_number))
		FAULT(enrolment, row, "number", "key %u of node %u is revoked: take it out of the list; `cpctl region admit --replace` gives it a new one",
		    held->key_number, held->node);
	else if (strcmp(held->address, row->certificate.address) || held->latitude_e5 != row->certificate.latitude_e5 || held->longitude_e5 != row->certificate.longitude_e5)
		enrol_say(&enrolment->list, row->line, NULL, "node %u stands with another address or place in its certificate; that is left as it is", held->node);
}

static void check_double(struct enrolment *enrolment, size_t index)
{
	const struct enrol_row *row = &enrolment->list.rows[index];

	for (size_t i = 0; i < index; i++) {
		const struct enrol_row *other = &enrolment->list.rows[i];

		if (row->certificate.node && row->certificate.node == other->certificate.node) {
			FAULT(enrolment, row, "number", "node %u stands in line %zu too", row->certificate.node, other->line);
			return;
		}
		if (row->certificate.role == other->certificate.role && !strcmp(row->certificate.name, other->certificate.name) &&
		    !strcmp(row->certificate.municipality, other->certificate.municipality)) {
			FAULT(enrolment, row, "name", "\"%s\" stands in line %zu too: two nodes of one municipality need two names", row->certificate.name, other->line);
			return;
		}
	}
}

static const struct certificate *find_home(const struct enrolment *enrolment, uint32_t number)
{
	for (size_t i = 0; i < enrolment->list.count; i++)
		if (enrolment->list.rows[i].certificate.node == number)
			return &enrolment->list.rows[i].certificate;
	return directory_certificate(enrolment->registry.directory, number);
}

static void check_homes(struct enrolment *enrolment, const struct enrol_row *row)
{
	for (size_t i = 0; i < row->home_count; i++) {
		const struct certificate *home = find_home(enrolment, row->homes[i]);

		if (!home || home->role != ROLE_ID_CP)
			FAULT(enrolment, row, "homes", "node %u is %s: admit that CP first, or put it in this list", row->homes[i], home ? "no cp" : "not known");
		else if (!home->address[0])
			FAULT(enrolment, row, "homes", "node %u has no address that can be called: give it one with `cpctl region admit`", row->homes[i]);
		else if (home->node == row->certificate.node)
			FAULT(enrolment, row, "homes", "node %u cannot call itself", home->node);
	}
}

/* Numbers, and whose keys are to be made. False: told. */
static bool settle_rows(struct enrolment *enrolment)
{
	struct enrol_list *list = &enrolment->list;

	for (size_t i = 0; i < list->count; i++)
		check_row(enrolment, &list->rows[i]);
	for (size_t i = 0; i < list->count; i++)
		check_double(enrolment, i);
	for (size_t i = 0; i < list->count; i++) {
		struct certificate *certificate = &list->rows[i].certificate;

		if (!certificate->node && !(certificate->node = free_number(enrolment, certificate)))
			FAULT(enrolment, &list->rows[i], "number", "all numbers of %s are given out", certificate->municipality[0] ? certificate->municipality : "the region");
	}
	for (size_t i = 0; i < list->count; i++)
		check_homes(enrolment, &list->rows[i]);
	if (enrolment->faults)
		say_refused("nothing was changed");
	return !enrolment->faults;
}

/* ---------------------------------------------------------------- making */

static bool kit_path(const struct enrolment *enrolment, uint32_t node, char path[FILE_PATH_MAX])
{
	char name[40];

	snprintf(name, sizeof(name), "kits/%u.sealed", node);
	return file_path(enrolment->registry.dir, name, path);
}

static bool make_keys(struct enrolment *enrolment)
{
	for (size_t i = 0; i < enrolment->list.count; i++) {
		struct enrol_row *row = &enrolment->list.rows[i];
		struct certificate *certificate = &row->certificate;
		const struct certificate *held = directory_certificate(enrolment->registry.directory, certificate->node);
		char path[FILE_PATH_MAX];
		enum cpd_error error;

		if (!kit_path(enrolment, certificate->node, path))
			return false;
		if (held && !(is_pending(enrolment, certificate->node) && !file_exists(path)))
			continue;
		error = identity_generate(&row->identity);
		if (error) {
			say_refused("keys cannot be made: %s", cpd_error_text(error));
			return false;
		}
		if (held)
			*certificate = *held;
		snprintf(certificate->region, sizeof(certificate->region), "%s", enrolment->registry.anchor.region);
		certificate->key_number = held ? held->key_number + 1 : 1;
		identity_public_keys(row->identity, certificate);
		enrolment->making++;
	}
	return true;
}

static bool sign_all(struct enrolment *enrolment)
{
	static struct certificate batch[BATCH];
	struct directory_update update = { .certificates = batch };

	for (size_t i = 0; i < enrolment->list.count; i++) {
		if (enrolment->list.rows[i].identity)
			batch[update.certificate_count++] = enrolment->list.rows[i].certificate;
		if (update.certificate_count == BATCH || (update.certificate_count && i + 1 == enrolment->list.count)) {
			if (!registry_sign(&enrolment->registry, &update))
				return false;
			update.certificate_count = 0;
		}
	}
	return true;
}

static bool write_sealed(const struct enrolment *enrolment, const struct enrol_row *row, const struct code codes[KIT_SLOTS])
{
	const struct registry *registry = &enrolment->registry;
	struct kit kit = { .anchor = registry->anchor, .node = row->certificate.node, .key_number = row->certificate.key_number,
		.updates = registry->updates, .update_count = registry->update_count };
	struct sealed_part part = { .identity = row->identity, .home_count = row->home_count };
	struct sheet sheet = { .certificate = &row->certificate, .anchor = &registry->anchor, .place = row->place, .codes = codes };
	char path[FILE_PATH_MAX];
	uint8_t *file;
	size_t len;
	enum cpd_error error;
	bool is_written;

	memcpy(part.homes, row->homes, sizeof(part.homes));
	error = sealed_kit_seal(&kit, &part, codes, kit_cost_usual, &file, &len);
	if (error) {
		say_refused("the kit of node %u cannot be made: %s", kit.node, cpd_error_text(error));
		return false;
	}
	sealed_kit_mark((struct slice){ file, len }, sheet.mark);
	/* The kit last: where it stands its sheet does too. */
	is_written = sheet_write(registry->dir, &sheet) && kit_path(enrolment, kit.node, path) && file_write(path, file, len);
	free(file);
	return is_written;
}

static bool write_kits(struct enrolment *enrolment)
{
	struct progress progress;
	size_t done = 0;
	bool is_good = true;

	progress_begin(&progress, "Sealing kits", false);
	for (size_t i = 0; is_good && i < enrolment->list.count; i++) {
		struct code codes[KIT_SLOTS];

		if (!enrolment->list.rows[i].identity)
			continue;
		for (unsigned slot = 0; slot < KIT_SLOTS; slot++)
			code_make(&codes[slot]);
		is_good = write_sealed(enrolment, &enrolment->list.rows[i], codes);
		crypto_wipe(codes, sizeof(codes));
		progress_show(&progress, ++done, enrolment->making);
	}
	progress_end(&progress);
	return is_good;
}

static int enrol(struct enrolment *enrolment)
{
	const char *dir = enrolment->registry.dir;
	char path[FILE_PATH_MAX];
	size_t before = enrolment->registry.update_count;

	if (!read_pending(enrolment) || !settle_rows(enrolment) || !make_keys(enrolment))
		return EXIT_REFUSED;
	if (!enrolment->making) {
		printf("All %zu are enrolled already; nothing was changed.\n", enrolment->list.count);
		return end_pending(enrolment) ? EXIT_DONE : EXIT_REFUSED;
	}
	if (!file_path(dir, "kits", path) || !file_make_folder(path, 0755) || !file_path(dir, "sheets", path) || !file_make_folder(path, 0700) ||
	    !write_pending(enrolment) || !sign_all(enrolment))
		return EXIT_REFUSED;
	if (!write_kits(enrolment) || !end_pending(enrolment))
		return say_refused("some kits are not made: give the same command again, it goes on with those");
	printf("%zu kit%s made, %zu %s enrolled already; directory %u.\nKits         %s/kits/NUMBER.sealed, for the sticks\n"
	    "Sheets       %s/sheets/NUMBER.html, to print\n"
	    "A sheet opens its kit: never send a stick and its sheet in one envelope. Remove\nthe sheets when they are printed.\n",
	    enrolment->making, enrolment->making == 1 ? " is" : "s are", enrolment->list.count - enrolment->making,
	    enrolment->list.count - enrolment->making == 1 ? "was" : "were", directory_version(enrolment->registry.directory), dir, dir);
	printf("Take updates/%06zu.update%s to one other node too: `cpctl directory import FILE`.\n", before + 1,
	    enrolment->registry.update_count > before + 1 ? " and those after it" : "");
	return EXIT_DONE;
}

int verb_region_enrol(struct call *call)
{
	const char *text = call_option(call, "homes");
	struct enrolment enrolment = { .pending = NULL };
	uint32_t homes[LIMIT_HOMES];
	size_t home_count = 0;
	int status = EXIT_REFUSED;

	if (text && (!enrol_parse_homes(text, homes, &home_count) || !home_count))
		return say_usage(call, "--homes: \"%s\" is not a list of at most %d numbers of CPs, each once; write 901,902", text, LIMIT_HOMES);
	/* Codes stand in what is written here. */
	umask(077);
	if (!enrol_csv_read(call->words[1], homes, home_count, &enrolment.list))
		return EXIT_REFUSED;
	if (registry_open(&enrolment.registry, call->words[0])) {
		status = enrol(&enrolment);
		registry_close(&enrolment.registry);
	}
	enrol_list_clear(&enrolment.list);
	free(enrolment.pending);
	return status;
}
