/*
 * directory_update.c: reads, checks and writes the DirectoryUpdate of directory.h (PROTOCOL.md
 * section 9).
 */
#include "proto/directory.h"

#include <stdlib.h>
#include <string.h>

#include "proto/arena.h"
#include "proto/cpd.pb-c.h"
#include "proto/text.h"
#include "proto/wire.h"

#define LATITUDE_MAX_E5 9000000
#define LONGITUDE_MAX_E5 18000000
#define KEY_LEN 32

void directory_update_clear(struct directory_update *update)
{
	if (!update)
		return;
	for (size_t i = 0; i < update->group_count; i++)
		free(update->groups[i].members);
	free(update->certificates);
	free(update->revocations);
	free(update->groups);
	free(update->functions);
	*update = (struct directory_update){ 0 };
}

/* ---- checks, the same for what comes in and what goes out ---- */

/* "" or two capitals and this many digits: GM0344, VR09. */
static bool is_code(const char *text, const char *letters, size_t digits)
{
	if (*text == '\0')
		return true;
	if (strlen(text) != 2 + digits || strncmp(text, letters, 2) != 0)
		return false;
	return strspn(text + 2, "0123456789") == digits;
}

/* `text` stands in an array of max + 1 bytes; the caller's may lack its NUL. */
static enum cpd_error check_line(const char *text, size_t max)
{
	return text_check((struct slice){ (const uint8_t *)text, strnlen(text, max + 1) }, max, max, TEXT_ONE_LINE);
}

static int number_compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

/* One and the same number twice, or 0. The order of `numbers` stays. */
static enum cpd_error check_distinct(const uint32_t *numbers, size_t count)
{
	uint32_t *sorted;
	enum cpd_error error = CPD_OK;

	if (count == 0)
		return CPD_OK;
	sorted = malloc(count * sizeof(*sorted));
	if (!sorted)
		return CPD_ERR_NOMEM;
	memcpy(sorted, numbers, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), number_compare);
	for (size_t i = 0; i < count; i++)
		if (sorted[i] == 0 || (i > 0 && sorted[i] == sorted[i - 1]))
			error = CPD_ERR_RANGE;
	free(sorted);
	return error;
}

static enum cpd_error check_certificate(const struct certificate *certificate)
{
	enum cpd_error error;

	if (certificate->node == 0 || certificate->key_number == 0)
		return CPD_ERR_RANGE;
	if (certificate->name[0] == '\0')
		return CPD_ERR_MISSING;
	if ((error = check_line(certificate->name, LIMIT_NAME)) || (error = check_line(certificate->address, LIMIT_ADDRESS)))
		return error;
	if (!is_code(certificate->municipality, "GM", 4) || !is_code(certificate->region, "VR", 2))
		return CPD_ERR_RANGE;
	if (certificate->not_before_s && certificate->not_after_s && certificate->not_after_s <= certificate->not_before_s)
		return CPD_ERR_RANGE;
	if (certificate->latitude_e5 < -LATITUDE_MAX_E5 || certificate->latitude_e5 > LATITUDE_MAX_E5 ||
	    certificate->longitude_e5 < -LONGITUDE_MAX_E5 || certificate->longitude_e5 > LONGITUDE_MAX_E5)
		return CPD_ERR_RANGE;
	if (certificate->kind_count > sizeof(certificate->kinds) / sizeof(certificate->kinds[0]))
		return CPD_ERR_TOO_LARGE;
	return check_distinct(certificate->kinds, certificate->kind_count);
}

static enum cpd_error check_revocation(const struct revocation *revocation)
{
	if (revocation->node == 0 || revocation->key_number == 0)
		return CPD_ERR_RANGE;
	return check_line(revocation->reason, LIMIT_NAME);
}

static enum cpd_error check_group(const struct group *group)
{
	enum cpd_error error;

	if (group->number == 0 || group->version == 0)
		return CPD_ERR_RANGE;
	if (group->name[0] == '\0')
		return CPD_ERR_MISSING;
	error = check_line(group->name, LIMIT_NAME);
	if (error)
		return error;
	if (group->member_count > LIMIT_GROUP_MEMBERS)
		return CPD_ERR_TOO_LARGE;
	return check_distinct(group->members, group->member_count);
}

static enum cpd_error check_function(const struct function_certificate *function)
{
	if (function->number == 0 || function->node == 0)
		return CPD_ERR_RANGE;
	if (function->function[0] == '\0')
		return CPD_ERR_MISSING;
	return check_line(function->function, LIMIT_FUNCTION);
}

/* The two numbers that name an entry, as one. */
static int pair_compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

static bool repeats(uint64_t *pairs, size_t count)
{
	qsort(pairs, count, sizeof(*pairs), pair_compare);
	for (size_t i = 1; i < count; i++)
		if (pairs[i] == pairs[i - 1])
			return true;
	return false;
}

/* Two words on one thing within one update: there is no order to choose by. */
static enum cpd_error check_pairs(const struct directory_update *update)
{
	uint64_t pairs[LIMIT_UPDATE_ENTRIES];

	for (size_t i = 0; i < update->certificate_count; i++)
		pairs[i] = (uint64_t)update->certificates[i].node << 32 | update->certificates[i].key_number;
	if (repeats(pairs, update->certificate_count))
		return CPD_ERR_RANGE;
	for (size_t i = 0; i < update->revocation_count; i++)
		pairs[i] = (uint64_t)update->revocations[i].node << 32 | update->revocations[i].key_number;
	if (repeats(pairs, update->revocation_count))
		return CPD_ERR_RANGE;
	for (size_t i = 0; i < update->group_count; i++)
		pairs[i] = (uint64_t)update->groups[i].number << 32 | update->groups[i].version;
	if (repeats(pairs, update->group_count))
		return CPD_ERR_RANGE;
	for (size_t i = 0; i < update->function_count; i++)
		pairs[i] = update->functions[i].number;
	return repeats(pairs, update->function_count) ? CPD_ERR_RANGE : CPD_OK;
}

static bool too_many(size_t certificates, size_t revocations, size_t groups, size_t functions)
{
	return certificates > LIMIT_UPDATE_ENTRIES || revocations > LIMIT_UPDATE_ENTRIES || groups > LIMIT_UPDATE_ENTRIES ||
	    functions > LIMIT_UPDATE_ENTRIES || certificates + revocations + groups + functions > LIMIT_UPDATE_ENTRIES;
}

static enum cpd_error check_update(const struct directory_update *update)
{
	enum cpd_error error = CPD_OK;

	if (update->number == 0)
		return CPD_ERR_RANGE;
	if (too_many(update->certificate_count, update->revocation_count, update->group_count, update->function_count))
		return CPD_ERR_TOO_LARGE;
	for (size_t i = 0; !error && i < update->certificate_count; i++)
		error = check_certificate(&update->certificates[i]);
	for (size_t i = 0; !error && i < update->revocation_count; i++)
		error = check_revocation(&update->revocations[i]);
	for (size_t i = 0; !error && i < update->group_count; i++)
		error = check_group(&update->groups[i]);
	for (size_t i = 0; !error && i < update->function_count; i++)
		error = check_function(&update->functions[i]);
	return error ? error : check_pairs(update);
}

/* ---- decode ---- */

/* Copies a string that fits; `from` NULL: absent. */
static enum cpd_error copy_text(char *to, size_t size, const char *from)
{
	size_t len = from ? strlen(from) : 0;

	if (len >= size)
		return CPD_ERR_TOO_LARGE;
	if (len > 0)
		memcpy(to, from, len);
	to[len] = '\0';
	return CPD_OK;
}

static enum cpd_error copy_key(uint8_t to[KEY_LEN], const ProtobufCBinaryData *from)
{
	if (from->len != KEY_LEN)
		return CPD_ERR_RANGE;
	memcpy(to, from->data, KEY_LEN);
	return CPD_OK;
}

static enum cpd_error certificate_of_wire(const Cpd__Certificate *from, struct certificate *to)
{
	enum cpd_error error;

	to->node = from->node;
	to->role = (enum node_role)from->role;
	to->key_number = from->key_number;
	to->not_before_s = from->not_before_s;
	to->not_after_s = from->not_after_s;
	to->latitude_e5 = from->latitude_e5;
	to->longitude_e5 = from->longitude_e5;
	if (from->n_kinds > sizeof(to->kinds) / sizeof(to->kinds[0]))
		return CPD_ERR_TOO_LARGE;
	for (; to->kind_count < from->n_kinds; to->kind_count++)
		to->kinds[to->kind_count] = from->kinds[to->kind_count];
	if ((error = copy_key(to->signing_key, &from->signing_key)) ||
	    (error = copy_key(to->sealing_key, &from->sealing_key)) ||
	    (error = copy_key(to->transport_key, &from->transport_key)) ||
	    (error = copy_text(to->name, sizeof(to->name), from->name)) ||
	    (error = copy_text(to->address, sizeof(to->address), from->address)) ||
	    (error = copy_text(to->municipality, sizeof(to->municipality), from->municipality)))
		return error;
	return copy_text(to->region, sizeof(to->region), from->region);
}

static enum cpd_error revocation_of_wire(const Cpd__Revocation *from, struct revocation *to)
{
	to->node = from->node;
	to->key_number = from->key_number;
	to->last_epoch = from->last_epoch;
	to->last_sequence = from->last_sequence;
	return copy_text(to->reason, sizeof(to->reason), from->reason);
}

static enum cpd_error group_of_wire(const Cpd__Group *from, struct group *to)
{
	to->number = from->number;
	to->version = from->version;
	if (from->n_members > LIMIT_GROUP_MEMBERS)
		return CPD_ERR_TOO_LARGE;
	to->members = malloc(from->n_members ? from->n_members * sizeof(*to->members) : 1);
	if (!to->members)
		return CPD_ERR_NOMEM;
	to->member_count = from->n_members;
	if (from->n_members)
		memcpy(to->members, from->members, from->n_members * sizeof(*to->members));
	return copy_text(to->name, sizeof(to->name), from->name);
}

static enum cpd_error function_of_wire(const Cpd__FunctionCertificate *from, struct function_certificate *to)
{
	enum cpd_error error = copy_key(to->signing_key, &from->signing_key);

	to->number = from->number;
	to->node = from->node;
	to->not_after_s = from->not_after_s;
	to->is_revoked = from->revoked;
	return error ? error : copy_text(to->function, sizeof(to->function), from->function);
}

/* Fills *out; on error the caller clears it. */
static enum cpd_error update_of_wire(const Cpd__DirectoryUpdate *from, struct directory_update *out)
{
	enum cpd_error error = CPD_OK;

	out->number = from->number;
	out->created_s = from->created_s;
	if (too_many(from->n_certificates, from->n_revocations, from->n_groups, from->n_functions))
		return CPD_ERR_TOO_LARGE;
	out->certificates = calloc(from->n_certificates + 1, sizeof(*out->certificates));
	out->revocations = calloc(from->n_revocations + 1, sizeof(*out->revocations));
	out->groups = calloc(from->n_groups + 1, sizeof(*out->groups));
	out->functions = calloc(from->n_functions + 1, sizeof(*out->functions));
	if (!out->certificates || !out->revocations || !out->groups || !out->functions)
		return CPD_ERR_NOMEM;
	for (size_t i = 0; !error && i < from->n_certificates; i++)
		error = certificate_of_wire(from->certificates[i], &out->certificates[out->certificate_count++]);
	for (size_t i = 0; !error && i < from->n_revocations; i++)
		error = revocation_of_wire(from->revocations[i], &out->revocations[out->revocation_count++]);
	for (size_t i = 0; !error && i < from->n_groups; i++)
		error = group_of_wire(from->groups[i], &out->groups[out->group_count++]);
	for (size_t i = 0; !error && i < from->n_functions; i++)
		error = function_of_wire(from->functions[i], &out->functions[out->function_count++]);
	return error ? error : check_update(out);
}

enum cpd_error directory_update_decode(struct slice signed_bytes, struct directory_update *out)
{
	struct arena arena;
	Cpd__DirectoryUpdate *unpacked;
	enum cpd_error error;

	*out = (struct directory_update){ 0 };
	if (signed_bytes.len > LIMIT_DIRECTORY_UPDATE)
		return CPD_ERR_TOO_LARGE;
	/* The budget of the longest update for each: many short revocations ask more than 8 bytes a byte. */
	arena_init(&arena, LIMIT_ARENA(LIMIT_DIRECTORY_UPDATE));
	error = wire_unpack(&cpd__directory_update__descriptor, signed_bytes, &arena, &unpacked);
	if (!error)
		error = update_of_wire(unpacked, out);
	arena_clear(&arena);
	if (error)
		directory_update_clear(out);
	return error;
}

/* ---- encode ---- */

/* protobuf-c's structs want char *, and only read it. */
static char *text_of(const char *text)
{
	return (char *)(uintptr_t)text;
}

static ProtobufCBinaryData bytes_of(const uint8_t key[KEY_LEN])
{
	return wire_bytes((struct slice){ key, KEY_LEN });
}

static void certificate_to_wire(const struct certificate *from, Cpd__Certificate *to)
{
	cpd__certificate__init(to);
	to->node = from->node;
	to->role = (uint32_t)from->role;
	to->name = text_of(from->name);
	to->signing_key = bytes_of(from->signing_key);
	to->sealing_key = bytes_of(from->sealing_key);
	to->transport_key = bytes_of(from->transport_key);
	to->has_key_number = from->key_number != 1;
	to->key_number = from->key_number;
	to->has_not_before_s = from->not_before_s != 0;
	to->not_before_s = from->not_before_s;
	to->has_not_after_s = from->not_after_s != 0;
	to->not_after_s = from->not_after_s;
	to->municipality = from->municipality[0] ? text_of(from->municipality) : NULL;
	to->region = from->region[0] ? text_of(from->region) : NULL;
	to->has_latitude_e5 = to->has_longitude_e5 = from->latitude_e5 != 0 || from->longitude_e5 != 0;
	to->latitude_e5 = from->latitude_e5;
	to->longitude_e5 = from->longitude_e5;
	to->address = from->address[0] ? text_of(from->address) : NULL;
	to->n_kinds = from->kind_count;
	to->kinds = (uint32_t *)(uintptr_t)from->kinds;
}

static void revocation_to_wire(const struct revocation *from, Cpd__Revocation *to)
{
	cpd__revocation__init(to);
	to->node = from->node;
	to->has_key_number = from->key_number != 1;
	to->key_number = from->key_number;
	to->has_last_epoch = from->last_epoch != 0;
	to->last_epoch = from->last_epoch;
	to->has_last_sequence = from->last_sequence != 0;
	to->last_sequence = from->last_sequence;
	to->reason = from->reason[0] ? text_of(from->reason) : NULL;
}

static void group_to_wire(const struct group *from, Cpd__Group *to)
{
	cpd__group__init(to);
	to->number = from->number;
	to->version = from->version;
	to->name = text_of(from->name);
	to->n_members = from->member_count;
	to->members = from->members;
}

static void function_to_wire(const struct function_certificate *from, Cpd__FunctionCertificate *to)
{
	cpd__function_certificate__init(to);
	to->number = from->number;
	to->node = from->node;
	to->function = text_of(from->function);
	to->signing_key = bytes_of(from->signing_key);
	to->has_not_after_s = from->not_after_s != 0;
	to->not_after_s = from->not_after_s;
	to->has_revoked = to->revoked = from->is_revoked;
}

/* The wire structs of one update and the pointers to them. */
struct wire_update {
	Cpd__DirectoryUpdate update;
	Cpd__Certificate *certificates, **certificate_pointers;
	Cpd__Revocation *revocations, **revocation_pointers;
	Cpd__Group *groups, **group_pointers;
	Cpd__FunctionCertificate *functions, **function_pointers;
};

static void wire_update_clear(struct wire_update *wire)
{
	free(wire->certificates);
	free(wire->certificate_pointers);
	free(wire->revocations);
	free(wire->revocation_pointers);
	free(wire->groups);
	free(wire->group_pointers);
	free(wire->functions);
	free(wire->function_pointers);
}

static enum cpd_error wire_update_fill(const struct directory_update *from, struct wire_update *to)
{
	cpd__directory_update__init(&to->update);
	to->certificates = calloc(from->certificate_count + 1, sizeof(*to->certificates));
	to->certificate_pointers = calloc(from->certificate_count + 1, sizeof(*to->certificate_pointers));
	to->revocations = calloc(from->revocation_count + 1, sizeof(*to->revocations));
	to->revocation_pointers = calloc(from->revocation_count + 1, sizeof(*to->revocation_pointers));
	to->groups = calloc(from->group_count + 1, sizeof(*to->groups));
	to->group_pointers = calloc(from->group_count + 1, sizeof(*to->group_pointers));
	to->functions = calloc(from->function_count + 1, sizeof(*to->functions));
	to->function_pointers = calloc(from->function_count + 1, sizeof(*to->function_pointers));
	if (!to->functions || !to->function_pointers || !to->certificates || !to->certificate_pointers || !to->revocations || !to->revocation_pointers ||
	    !to->groups || !to->group_pointers)
		return CPD_ERR_NOMEM;
	for (size_t i = 0; i < from->certificate_count; i++) {
		certificate_to_wire(&from->certificates[i], &to->certificates[i]);
		to->certificate_pointers[i] = &to->certificates[i];
	}
	for (size_t i = 0; i < from->revocation_count; i++) {
		revocation_to_wire(&from->revocations[i], &to->revocations[i]);
		to->revocation_pointers[i] = &to->revocations[i];
	}
	for (size_t i = 0; i < from->group_count; i++) {
		group_to_wire(&from->groups[i], &to->groups[i]);
		to->group_pointers[i] = &to->groups[i];
	}
	for (size_t i = 0; i < from->function_count; i++) {
		function_to_wire(&from->functions[i], &to->functions[i]);
		to->function_pointers[i] = &to->functions[i];
	}
	to->update.n_functions = from->function_count;
	to->update.functions = to->function_pointers;
	to->update.number = from->number;
	to->update.created_s = from->created_s;
	to->update.n_certificates = from->certificate_count;
	to->update.certificates = to->certificate_pointers;
	to->update.n_revocations = from->revocation_count;
	to->update.revocations = to->revocation_pointers;
	to->update.n_groups = from->group_count;
	to->update.groups = to->group_pointers;
	return CPD_OK;
}

enum cpd_error directory_update_encode(const struct directory_update *update, uint8_t *buf, size_t *len)
{
	struct wire_update wire = { 0 };
	enum cpd_error error = check_update(update);

	*len = 0;
	if (error)
		return error;
	error = wire_update_fill(update, &wire);
	if (!error)
		error = wire_pack(&wire.update.base, buf, LIMIT_DIRECTORY_UPDATE, len);
	wire_update_clear(&wire);
	return error;
}
