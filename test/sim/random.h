/*
 * random.h: the one source of chance in the simulator: xoshiro256** seeded by splitmix64. The same
 * seed gives the same run on every machine. Never used outside test/sim.
 */
#ifndef CPD_SIM_RANDOM_H
#define CPD_SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_random { uint64_t state[4]; };

void random_seed(struct sim_random *random, uint64_t seed);
uint64_t random_next(struct sim_random *random);
/* Uniform enough in low..high, both included. */
int64_t random_range(struct sim_random *random, int64_t low, int64_t high);
/* Spread over orders of magnitude: as many short values as long ones. low >= 1. */
int64_t random_scale(struct sim_random *random, int64_t low, int64_t high);
/* True in `percent` of 100 calls. */
bool random_chance(struct sim_random *random, unsigned percent);
/* One value from another; for hashes. */
uint64_t random_mix(uint64_t value);

#endif
