/* admission.c: see admission.h. */
#include "daemon/cpctl/admission.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cpctl/arguments.h"
#include "proto/limits.h"

bool admission_is_code(const char *text, const char *letters, size_t digits)
{
	return !strncmp(text, letters, 2) && strspn(text + 2, "0123456789") == digits && strlen(text) == 2 + digits;
}

bool admission_is_address(const char *text)
{
	char host[LIMIT_ADDRESS + 1];
	uint8_t binary[16];
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	uint64_t port;
	bool is_six;

	if (strncmp(text, "tcp://", 6) || len <= 6 || strlen(text) > LIMIT_ADDRESS || !parse_number(colon + 1, 65535, &port) || !port)
		return false;
	is_six = text[6] == '[' && text[len - 1] == ']' && len > 8;
	snprintf(host, sizeof(host), "%.*s", (int)(is_six ? len - 8 : len - 6), text + (is_six ? 7 : 6));
	return inet_pton(is_six ? AF_INET6 : AF_INET, host, binary) == 1;
}

bool admission_degrees(const char *text, double most, int32_t *out)
{
	char *end;
	double degrees = strtod(text, &end);

	if (end == text || *end || !(degrees >= -most && degrees <= most))
		return false;
	*out = (int32_t)(degrees * 1e5 + (degrees < 0 ? -0.5 : 0.5));
	return true;
}
