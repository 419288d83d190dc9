/* common.c: see fuzz.h. */
#include "test/fuzz/fuzz.h"

#include "crypto/crypto.h"

void fuzz_broken(const char *claim, const char *file, int line)
{
	fprintf(stderr, "%s:%d: broken: %s\n", file, line, claim);
	abort();
}

const struct fuzz_target *fuzz_find(const char *name)
{
	for (const struct fuzz_target *target = fuzz_targets; target->name; target++)
		if (!strcmp(target->name, name))
			return target;
	return NULL;
}

void fuzz_start(void)
{
	FUZZ_CHECK(crypto_start() == CPD_OK);
}

uint64_t input_number(struct slice *input, size_t bytes)
{
	uint64_t number = 0;

	for (; bytes; bytes--) {
		number = number << 8;
		if (!input->len)
			continue;
		number |= *input->data++;
		input->len--;
	}
	return number;
}

uint32_t input_below(struct slice *input, uint32_t bound)
{
	return (uint32_t)input_number(input, bound > 256 ? 2 : 1) % bound;
}

struct slice input_bytes(struct slice *input, size_t len)
{
	struct slice taken = { input->data, len < input->len ? len : input->len };

	input->data += taken.len;
	input->len -= taken.len;
	return taken;
}

struct slice input_framed(struct slice *input)
{
	return input_bytes(input, (size_t)input_number(input, 2));
}

bool is_within(struct slice outer, struct slice inner)
{
	return !inner.len || (inner.data >= outer.data && inner.data + inner.len <= outer.data + outer.len);
}

/* By a copy, which a sanitizer checks whole: byte by byte takes most of a run's time. */
void touch(struct slice bytes)
{
	static uint8_t sink[4096];

	while (bytes.len) {
		const size_t len = bytes.len < sizeof(sink) ? bytes.len : sizeof(sink);

		memcpy(sink, bytes.data, len);
		__asm__ volatile("" : : "r"(sink) : "memory");
		bytes.data += len;
		bytes.len -= len;
	}
}
