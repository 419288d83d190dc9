/*
 * api_guard.c: no caller can hold the API up: how many are connected at once, and how long each may take.
 *
 * evhttp counts no connections and its timeouts are for each byte, so a caller that sends one byte every
 * 29 s would stay for ever. Here each connection is known by its descriptor and the inode of its socket,
 * which tell for certain whether it is still the same one: evhttp does not say when it closes one. What is
 * overdue is shut, never closed: evhttp then sees its end and clears up itself.
 */
#include "daemon/api_internal.h"

#include <event2/bufferevent.h>
#include <string.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "daemon/clock.h"
#include "daemon/log.h"

#define CALLERS_MAX 64
#define DEADLINE_MS 30000        /* from one request to the end of its answer and the next request, whole */
#define ANSWER_MS 20000          /* for an order to come on disk */
#define SWEEP_S 5

struct api_caller {
	struct api *api;
	struct bufferevent *stream;   /* held until its descriptor is known */
	int fd;
	ino_t inode;
	int64_t since_ms;             /* it connected, or asked last */
	bool is_watched;              /* takes its time: who answers it (events, a backup) sees to it that it does not stand still */
	struct api_caller *next;
};

static void caller_drop(struct api *api, struct api_caller **at)
{
	struct api_caller *caller = *at;

	*at = caller->next;
	api->caller_count--;
	free(caller);
}

static bool is_there(const struct api_caller *caller)
{
	struct stat status;

	return fstat(caller->fd, &status) == 0 && status.st_ino == caller->inode;
}

static void forget_the_gone(struct api *api)
{
	for (struct api_caller **at = &api->callers; *at;) {
		if (is_there(*at))
			at = &(*at)->next;
		else
			caller_drop(api, at);
	}
}

/* Not told in JSON by evhttp: it has no request to answer. */
static void turn_away(int fd)
{
	static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
	    "{\"error\": {\"code\": \"busy\", \"message\": \"too many are connected\", \"remedy\": \"close a connection, or try again in a moment\"}}\n";

	(void)!send(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_RDWR);
}

static void answer_the_late(struct api *api, int64_t now_ms)
{
	for (struct api_pending *pending = api->pending; pending; pending = pending->next) {
		struct evhttp_request *request = pending->request;

		if (!request || now_ms - pending->since_ms < ANSWER_MS)
			continue;
		pending->request = NULL;
		api_error(request, 503, "busy", NULL, "the disk has not taken it yet; it may still come to be",
		    "look at /healthz; ask again, with the same Idempotency-Key if there was one");
	}
}

static void on_sweep(evutil_socket_t fd, short what, void *context)
{
	const int64_t now_ms = clock_boot_ms();
	struct api *api = context;
	size_t watched = 0;

	(void)fd;
	(void)what;
	answer_the_late(api, now_ms);
	forget_the_gone(api);
	for (struct api_caller *caller = api->callers; caller; caller = caller->next) {
		if (caller->is_watched)
			continue;
		watched++;
		if (now_ms - caller->since_ms < DEADLINE_MS)
			continue;
		log_limited(LOG_INFO, "api-caller-cut", 0, now_ms, "why=\"it took longer than %d s\"", DEADLINE_MS / 1000);
		shutdown(caller->fd, SHUT_RDWR);
	}
	if (!watched && !api->pending)
		event_del(api->sweep);
}

/* In the next pass of the loop: evhttp has given the stream its descriptor by then. */
static void on_connected(evutil_socket_t unused, short what, void *context)
{
	struct api_caller *caller = context;
	struct api *api = caller->api;
	const struct timeval period = { SWEEP_S, 0 };
	struct stat status;

	(void)unused;
	(void)what;
	for (struct api_caller **at = &api->connecting; *at; at = &(*at)->next)
		if (*at == caller) {
			*at = caller->next;
			break;
		}
	caller->fd = bufferevent_getfd(caller->stream);
	bufferevent_decref(caller->stream);
	if (caller->fd < 0 || fstat(caller->fd, &status) || !S_ISSOCK(status.st_mode)) {
		free(caller);
		return;
	}
	forget_the_gone(api);
	if (api->caller_count >= CALLERS_MAX) {
		turn_away(caller->fd);
		free(caller);
		return;
	}
	caller->inode = status.st_ino;
	caller->next = api->callers;
	api->callers = caller;
	api->caller_count++;
	if (!event_pending(api->sweep, EV_TIMEOUT, NULL))
		event_add(api->sweep, &period);
}

/* NULL lets evhttp make the stream itself: then nobody watches it but evhttp's own timeout. */
static struct bufferevent *on_connection(struct event_base *base, void *context)
{
	const struct timeval at_once = { 0, 0 };
	struct api *api = context;
	struct api_caller *caller = calloc(1, sizeof(*caller));
	struct bufferevent *stream = caller ? bufferevent_socket_new(base, -1, 0) : NULL;

	if (!stream) {
		free(caller);
		return NULL;
	}
	*caller = (struct api_caller){ .api = api, .stream = stream, .since_ms = clock_boot_ms(), .next = api->connecting };
	if (event_base_once(base, -1, EV_TIMEOUT, on_connected, caller, &at_once)) {
		free(caller);
		return stream;
	}
	bufferevent_incref(stream);
	api->connecting = caller;
	return stream;
}

static struct api_caller *caller_of(struct api *api, struct evhttp_request *request)
{
	struct bufferevent *stream = evhttp_connection_get_bufferevent(evhttp_request_get_connection(request));
	const int fd = bufferevent_getfd(stream);
	struct api_caller *caller = api->callers;

	/* What it sends at once may be read before on_connected comes. */
	for (struct api_caller *fresh = api->connecting; fresh; fresh = fresh->next)
		if (fresh->stream == stream)
			return fresh;
	while (caller && (caller->fd != fd || !is_there(caller)))
		caller = caller->next;
	return caller;
}

void guard_asked(struct api *api, struct evhttp_request *request)
{
	struct api_caller *caller = caller_of(api, request);

	if (!caller)
		return;
	caller->since_ms = clock_boot_ms();
	caller->is_watched = false;
}

void guard_follows(struct api *api, struct evhttp_request *request)
{
	struct api_caller *caller = caller_of(api, request);

	if (caller)
		caller->is_watched = true;
}

bool guard_open(struct api *api)
{
	api->sweep = event_new(api->base, -1, EV_PERSIST, on_sweep, api);
	evhttp_set_bevcb(api->http, on_connection, api);
	return api->sweep != NULL;
}

void guard_close(struct api *api)
{
	while (api->callers)
		caller_drop(api, &api->callers);
	/* Their events fire no more: the loop has ended. */
	while (api->connecting) {
		struct api_caller *caller = api->connecting;

		api->connecting = caller->next;
		bufferevent_decref(caller->stream);
		free(caller);
	}
	if (api->sweep)
		event_free(api->sweep);
	api->sweep = NULL;
}
