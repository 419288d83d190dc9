/* random.c: see random.h. */
#include "test/sim/random.h"

uint64_t random_mix(uint64_t value)
{
	value += UINT64_C(0x9e3779b97f4a7c15);
	value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
	return value ^ (value >> 31);
}

void random_seed(struct sim_random *random, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		random->state[i] = random_mix(seed * 4 + (uint64_t)i + 1);
}

static uint64_t rotate(uint64_t value, int bits)
{
	return (value << bits) | (value >> (64 - bits));
}

uint64_t random_next(struct sim_random *random)
{
	uint64_t *s = random->state;
	uint64_t result = rotate(s[1] * 5, 7) * 9;
	uint64_t kept = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= kept;
	s[3] = rotate(s[3], 45);
	return result;
}

int64_t random_range(struct sim_random *random, int64_t low, int64_t high)
{
	if (high <= low)
		return low;
	return low + (int64_t)(random_next(random) % (uint64_t)(high - low + 1));
}

int64_t random_scale(struct sim_random *random, int64_t low, int64_t high)
{
	int64_t top = low;
	int64_t doublings = 0;
	while (top < high) {
		top *= 2;
		doublings++;
	}
	int64_t base = low << random_range(random, 0, doublings > 0 ? doublings - 1 : 0);
	int64_t value = random_range(random, base, base * 2);
	return value > high ? high : value;
}

bool random_chance(struct sim_random *random, unsigned percent)
{
	return random_next(random) % 100 < percent;
}
