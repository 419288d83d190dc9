/*
 * planted.c: faults on purpose, one a run, so that each target of sanitize.mk is seen red before it is believed. Built as
 * cpd is. Whoever runs it must be told of the fault; without an argument it does nothing wrong.
 *
 * planted overflow|after-free|leak|shift|uninitialised|race
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile size_t nine = 9, thirty_two = 32; /* nothing here is for the compiler to see through */
static int shared;

static int overflow(void)
{
	char *block = malloc(nine);
	int seen;

	memset(block, 1, nine);
	seen = block[nine];
	free(block);
	return seen;
}

static int after_free(void)
{
	char *volatile block = calloc(1, nine);

	free(block);
	return block[nine - 1];
}

static int leak(void)
{
	char *volatile block = calloc(1, nine);
	const int seen = block[0];

	block = NULL;
	return seen;
}

static int shift(void)
{
	return 1 << thirty_two;
}

static int uninitialised(void)
{
	int *block = malloc(nine * sizeof(*block)), seen;

	seen = block[nine - 1] == 7 ? puts("seven") : 0;
	free(block);
	return seen;
}

static void *add(void *context)
{
	for (int i = 0; i < 10000; i++)
		*(int *)context += 1;
	return NULL;
}

static int race(void)
{
	pthread_t other;

	if (pthread_create(&other, NULL, add, &shared))
		abort();
	add(&shared);
	pthread_join(other, NULL);
	return shared;
}

int main(int argc, char **argv)
{
	static const struct { const char *name; int (*commit)(void); } faults[] = {
		{ "overflow", overflow }, { "after-free", after_free }, { "leak", leak }, { "shift", shift },
		{ "uninitialised", uninitialised }, { "race", race },
	};

	if (argc == 1)
		return 0;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		if (argc == 2 && strcmp(argv[1], faults[i].name) == 0) {
			printf("%s: %d\n", argv[1], faults[i].commit());
			return 0;
		}
	fprintf(stderr, "usage: planted overflow|after-free|leak|shift|uninitialised|race\n");
	return 2;
}
