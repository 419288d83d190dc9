#include "daemon/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "proto/limits.h"

static bool parse_port(const char *text, uint16_t *out)
{
	uint32_t port = 0;

	if (*text == '\0' || strlen(text) > 5)
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		port = port * 10 + (uint32_t)(*text - '0');
	}
	if (port > UINT16_MAX)
		return false;
	*out = (uint16_t)port;
	return true;
}

static bool parse_host(const char *host, bool is_six, uint16_t port, struct address *out)
{
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	memset(out, 0, sizeof(*out));
	if (is_six) {
		if (inet_pton(AF_INET6, host, &six.sin6_addr) != 1)
			return false;
		memcpy(&out->storage, &six, sizeof(six));
		out->len = sizeof(six);
		return true;
	}
	if (inet_pton(AF_INET, host, &four.sin_addr) != 1)
		return false;
	memcpy(&out->storage, &four, sizeof(four));
	out->len = sizeof(four);
	return true;
}

enum cpd_error address_parse(const char *text, struct address *out, const char **why)
{
	char host[LIMIT_ADDRESS + 1];
	const char *start, *colon;
	uint16_t port;
	size_t len;
	bool is_six;

	memset(out, 0, sizeof(*out));
	*why = "is not an address; write tcp://ADDRESS:PORT, such as tcp://192.0.2.1:5600";
	if (strncmp(text, "tcp://", 6) != 0)
		return CPD_ERR_USAGE;
	start = text + 6;
	colon = strrchr(start, ':');
	if (!colon || colon == start || strlen(text) > LIMIT_ADDRESS)
		return CPD_ERR_USAGE;
	*why = "has no port between 1 and 65535; write tcp://ADDRESS:PORT, such as tcp://192.0.2.1:5600";
	if (!parse_port(colon + 1, &port))
		return CPD_ERR_USAGE;
	is_six = *start == '[' && colon[-1] == ']';
	if (is_six)
		start++;
	len = (size_t)(colon - start) - (is_six ? 1 : 0);
	memcpy(host, start, len);
	host[len] = '\0';
	*why = "is not a numeric address; names are not looked up: write tcp://192.0.2.1:5600 or tcp://[2001:db8::1]:5600 "
	       "(to listen everywhere: tcp://0.0.0.0:5600)";
	return parse_host(host, is_six, port, out) ? CPD_OK : CPD_ERR_USAGE;
}

uint16_t address_port(const struct address *address)
{
	struct sockaddr_in four;
	struct sockaddr_in6 six;

	if (address->storage.ss_family == AF_INET) {
		memcpy(&four, &address->storage, sizeof(four));
		return ntohs(four.sin_port);
	}
	memcpy(&six, &address->storage, sizeof(six));
	return ntohs(six.sin6_port);
}
