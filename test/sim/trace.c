/* trace.c: a compact record of what happened, kept as text and printed when an invariant breaks. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "test/sim/sim.h"

struct trace_entry {
	int64_t at_ms;
	uint64_t step;
	uint32_t node;
	struct message_id id;            /* sequence 0: of no message */
	char text[88];
};

#define TRACE_ROOM 65536                 /* a ring: the newest count */

static void print_entry(const struct trace_entry *entry, FILE *out)
{
	char id[MESSAGE_ID_TEXT_MAX] = "-";
	if (entry->id.sequence != 0)
		message_id_format(&entry->id, id);
	int64_t ms = entry->at_ms;
	fprintf(out, "%4lld:%02lld:%02lld.%03lld #%-7llu %6u %-18s %s\n", (long long)(ms / SIM_HOUR), (long long)(ms / SIM_MINUTE % 60),
	    (long long)(ms / 1000 % 60), (long long)(ms % 1000), (unsigned long long)entry->step, entry->node, id, entry->text);
}

void trace(struct world *world, const struct sim_node *node, const struct message_id *id, const char *format, ...)
{
	if (world->trace == NULL) {
		world->trace_room = TRACE_ROOM;
		world->trace = sim_alloc(TRACE_ROOM * sizeof(*world->trace));
	}
	struct trace_entry *entry = &world->trace[world->trace_count++ % TRACE_ROOM];
	entry->at_ms = world->now_ms;
	entry->step = world->step;
	entry->node = TRACE_NODE(node);
	entry->id = id != NULL ? *id : (struct message_id){0, 0, 0};
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(entry->text, sizeof(entry->text), format, arguments);
	va_end(arguments);
	if (world->options.is_traced)
		print_entry(entry, stdout);
}

void fail(struct world *world, const struct sim_node *node, const struct message_id *id, const char *format, ...)
{
	if (world->is_failed)
		return; /* the first one is the cause */
	world->is_failed = true;
	world->failed_id = id != NULL ? *id : (struct message_id){0, 0, 0};
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(world->failure, sizeof(world->failure), format, arguments);
	va_end(arguments);
	trace(world, node, id, "BROKEN: %.70s", world->failure);
}

/* "3,8-11"; nothing when nothing is left out. */
static void print_mask(const char *option, const uint8_t mask[SIM_LEFT_OUT / 8], FILE *out)
{
	for (size_t i = 0; i < SIM_LEFT_OUT; i++) {
		size_t last = i;
		if (!plan_leaves_out(mask, i))
			continue;
		while (plan_leaves_out(mask, last + 1))
			last++;
		fprintf(out, last > i ? "%s%zu-%zu" : "%s%zu", option, i, last);
		option = ",";
		i = last;
	}
}

void trace_print_failure(const struct world *world, FILE *out)
{
	size_t chosen[40];
	size_t count = 0;
	size_t oldest = world->trace_count > TRACE_ROOM ? world->trace_count - TRACE_ROOM : 0;
	for (size_t i = world->trace_count; i > oldest && count < 40; i--) {
		const struct trace_entry *entry = &world->trace[(i - 1) % TRACE_ROOM];
		if (world->failed_id.sequence == 0 || message_id_equal(&entry->id, &world->failed_id))
			chosen[count++] = (i - 1) % TRACE_ROOM;
	}
	char id[MESSAGE_ID_TEXT_MAX] = "no message";
	if (world->failed_id.sequence != 0)
		message_id_format(&world->failed_id, id);
	fprintf(out, "\nseed %llu failed at step %llu, %.3f h of virtual time, about %s:\n  %s\n", (unsigned long long)world->seed,
	    (unsigned long long)world->step, (double)world->now_ms / (double)SIM_HOUR, id, world->failure);
	while (count > 0)
		print_entry(&world->trace[chosen[--count]], out);
	fprintf(out, "replay: build/test/sim/sim --seed %llu", (unsigned long long)world->seed);
	if (world->options.nsps != 0)
		fprintf(out, " --nsps %u", world->options.nsps);
	if (world->options.cps != 0)
		fprintf(out, " --cps %u", world->options.cps);
	if (world->options.desks != 0)
		fprintf(out, " --desks %u", world->options.desks);
	print_mask(" --without-faults ", world->options.no_faults, out);
	print_mask(" --without-messages ", world->options.no_plans, out);
	fprintf(out, " --trace\n");
}

void trace_clear(struct world *world)
{
	free(world->trace);
	world->trace = NULL;
}
