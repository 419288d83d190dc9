/* presence.c: presence records (PROTOCOL.md section 7.5). */
#include "proto/presence.h"

#include <string.h>

#include "proto/cpd.pb-c.h"
#include "proto/wire.h"

static enum cpd_error presence_check(const struct presence *presence)
{
	if (presence->home_count > LIMIT_HOMES || presence->floor_count > LIMIT_FLOORS)
		return CPD_ERR_TOO_LARGE;
	if (presence->node == 0 || presence->epoch == 0 || presence->counter == 0)
		return CPD_ERR_RANGE;
	for (size_t i = 0; i < presence->home_count; i++) {
		if (presence->homes[i] == 0)
			return CPD_ERR_RANGE;
		for (size_t j = 0; j < i; j++)
			if (presence->homes[j] == presence->homes[i])
				return CPD_ERR_MALFORMED;
	}
	for (size_t i = 0; i < presence->floor_count; i++) {
		/* A floor in an epoch that has not begun would silence it. */
		if (presence->floors[i].epoch == 0 || presence->floors[i].epoch > presence->epoch)
			return CPD_ERR_RANGE;
		for (size_t j = 0; j < i; j++)
			if (presence->floors[j].epoch == presence->floors[i].epoch)
				return CPD_ERR_MALFORMED;
	}
	return CPD_OK;
}

static enum cpd_error presence_from_wire(const Cpd__Presence *wire, struct presence *out)
{
	if (wire->n_floors % 2)
		return CPD_ERR_MALFORMED;
	if (wire->n_homes > LIMIT_HOMES || wire->n_floors / 2 > LIMIT_FLOORS)
		return CPD_ERR_TOO_LARGE;
	out->node = wire->node;
	out->epoch = wire->epoch;
	out->counter = wire->counter;
	out->claim = wire->claim;
	out->instance = wire->instance;
	for (size_t i = 0; i < wire->n_homes; i++)
		out->homes[i] = wire->homes[i];
	out->home_count = wire->n_homes;
	for (size_t i = 0; i < wire->n_floors / 2; i++) {
		if (wire->floors[2 * i] > UINT32_MAX)
			return CPD_ERR_RANGE;
		out->floors[i] = (struct epoch_floor){ (uint32_t)wire->floors[2 * i], wire->floors[2 * i + 1] };
	}
	out->floor_count = wire->n_floors / 2;
	out->time_s = wire->time_s;
	/* A quality of a later version is not one that we may trust. */
	out->clock_quality = wire->clock_quality > CLOCK_GNSS ? CLOCK_UNKNOWN : (enum clock_quality)wire->clock_quality;
	if (wire->has_journal_number != wire->has_journal_head || (wire->has_journal_number && !wire->journal_number))
		return CPD_ERR_MALFORMED;
	if (wire->has_journal_head) {
		/* A later version may tell more of it. */
		if (wire->journal_head.len < JOURNAL_HEAD_LEN)
			return CPD_ERR_MALFORMED;
		out->journal.number = wire->journal_number;
		memcpy(out->journal.bytes, wire->journal_head.data, JOURNAL_HEAD_LEN);
	}
	return presence_check(out);
}

enum cpd_error presence_decode(struct slice signed_bytes, struct presence *out)
{
	struct arena arena;
	Cpd__Presence *wire;
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	if (signed_bytes.len > LIMIT_PRESENCE)
		return CPD_ERR_TOO_LARGE;
	arena_init(&arena, LIMIT_ARENA(signed_bytes.len));
	error = wire_unpack(&cpd__presence__descriptor, signed_bytes, &arena, &wire);
	if (!error)
		error = presence_from_wire(wire, out);
	arena_clear(&arena);
	if (error)
		memset(out, 0, sizeof(*out));
	return error;
}

enum cpd_error presence_encode(const struct presence *presence, uint8_t *buf, size_t buf_len, size_t *len)
{
	Cpd__Presence wire = CPD__PRESENCE__INIT;
	uint32_t homes[LIMIT_HOMES];
	uint64_t floors[2 * LIMIT_FLOORS];
	enum cpd_error error = presence_check(presence);

	*len = 0;
	if (!error && (unsigned)presence->clock_quality > CLOCK_GNSS)
		error = CPD_ERR_RANGE;
	if (error)
		return error;
	wire.node = presence->node;
	wire.epoch = presence->epoch;
	wire.counter = presence->counter;
	memcpy(homes, presence->homes, presence->home_count * sizeof(homes[0]));
	wire.homes = homes;
	wire.n_homes = presence->home_count;
	for (size_t i = 0; i < presence->floor_count; i++) {
		floors[2 * i] = presence->floors[i].epoch;
		floors[2 * i + 1] = presence->floors[i].floor;
	}
	wire.floors = floors;
	wire.n_floors = 2 * presence->floor_count;
	WIRE_PUT(&wire, time_s, presence->time_s);
	WIRE_PUT(&wire, clock_quality, (uint32_t)presence->clock_quality);
	WIRE_PUT(&wire, claim, presence->claim);
	WIRE_PUT(&wire, instance, presence->instance);
	if (presence->journal.number) {
		wire.has_journal_number = wire.has_journal_head = 1;
		wire.journal_number = presence->journal.number;
		wire.journal_head = (ProtobufCBinaryData){ JOURNAL_HEAD_LEN, (uint8_t *)(uintptr_t)presence->journal.bytes };
	}
	return wire_pack(&wire.base, buf, buf_len < LIMIT_PRESENCE ? buf_len : LIMIT_PRESENCE, len);
}

int claim_compare(const struct claim *a, const struct claim *b)
{
	bool both_tell = a->instance && b->instance;

	if (both_tell && a->claim != b->claim)
		return a->claim < b->claim ? -1 : 1;
	if (a->epoch != b->epoch)
		return a->epoch < b->epoch ? -1 : 1;
	if (both_tell && a->instance != b->instance)
		return a->instance < b->instance ? -1 : 1;
	return 0;
}

struct claim presence_claim(const struct presence *presence)
{
	return (struct claim){ presence->claim, presence->epoch, presence->instance };
}

int presence_compare(const struct presence *a, const struct presence *b)
{
	const struct claim left = presence_claim(a), right = presence_claim(b);
	int order = claim_compare(&left, &right);

	if (order)
		return order;
	if (a->counter != b->counter)
		return a->counter < b->counter ? -1 : 1;
	return 0;
}
