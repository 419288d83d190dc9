/*
 * api_events.c: live updates as server-sent events, with resume ids.
 *
 * A stream is a place in the journal. While it is at the journal's end, lines are written as they are told; one
 * that resumes, or does not keep up, is behind: then what it lacks is read from the journal, a page at a time,
 * each when the page before has left. So no reader costs more than a page of memory, and a slow one misses nothing
 * that the journal still has; of what it has no more, the reader is told.
 */
#include "daemon/api_internal.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <stdlib.h>
#include <string.h>

#define BEHIND_MAX (64 * 1024)   /* not sent yet: beyond, the rest waits in the journal */
#define PAGE_LINES 128           /* some 32 KiB */
#define BEAT_S 20
#define BEATS_STILL 3            /* a reader that took nothing in so many beats is cut off */

struct api_stream {
	struct api *api;
	struct evhttp_request *request;
	struct evhttp_connection *connection;
	uint64_t at;                 /* number of the last line written, or passed over */
	bool is_behind;
	size_t waiting;              /* bytes at the last beat */
	unsigned still;
	struct api_stream *next;
};

static void stream_news(void *context, const struct node_news *news);
static void stream_page(struct api_stream *stream);

static void stream_remove(struct api_stream *stream)
{
	struct api_stream **at = &stream->api->streams;

	node_unlisten(stream->api->node, stream_news, stream);
	while (*at != stream)
		at = &(*at)->next;
	*at = stream->next;
	if (--stream->api->stream_count == 0)
		event_del(stream->api->beat);
	free(stream);
}

static void stream_gone(struct evhttp_connection *connection, void *context)
{
	struct api_stream *stream = context;

	(void)connection;
	api_request_gone(stream->request);
	stream_remove(stream);
}

static size_t stream_backlog(const struct api_stream *stream)
{
	return evbuffer_get_length(bufferevent_get_output(evhttp_connection_get_bufferevent(stream->connection)));
}

static void stream_drained(struct evhttp_connection *connection, void *context)
{
	struct api_stream *stream = context;

	(void)connection;
	stream->still = 0;
	if (stream->is_behind)
		stream_page(stream);
}

static void stream_write(struct api_stream *stream, const char *text)
{
	struct evbuffer *buffer = evbuffer_new();

	if (!buffer)
		return;
	evbuffer_add(buffer, text, strlen(text));
	evhttp_send_reply_chunk_with_cb(stream->request, buffer, stream_drained, stream);
	evbuffer_free(buffer);
}

static void stream_event(struct api_stream *stream, uint64_t number, const char *what, json_t *take_json)
{
	char *data = take_json ? json_dumps(take_json, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
	char text[768];

	json_decref(take_json);
	if (!data)
		return;
	snprintf(text, sizeof(text), "id: %llu\nevent: %s\ndata: %s\n\n", (unsigned long long)number, what, data);
	free(data);
	stream_write(stream, text);
	stream->at = number;
}

json_t *api_news(const struct node_news *news)
{
	return json_pack("{s:I,s:o,s:s,s:o,s:I,s:I,s:s,s:s?,s:s}", "number", (json_int_t)news->number,
	    "time", json_time(news->wall_ms), "what", journal_what_name(news->what), "id", json_id(&news->id), "node", (json_int_t)news->node,
	    "link", (json_int_t)news->link, "level", level_name(news->level),
	    "reason", news->reason ? reason_name(news->reason) : NULL, "precedence", precedence_name(news->precedence));
}

static void stream_line(struct api_stream *stream, const struct node_news *news)
{
	stream_event(stream, news->number, journal_what_name(news->what), api_news(news));
}

/* from 0: the numbers themselves were set back. */
static void stream_gap(struct api_stream *stream, uint64_t from, uint64_t to)
{
	stream_event(stream, to, "gap", json_pack("{s:I,s:s,s:o,s:I,s:s}", "number", (json_int_t)to, "what", "gap",
	    "from", from ? json_integer((json_int_t)from) : json_null(), "to", (json_int_t)to, "reason", from ? "too-old" : "set-back"));
}

static void stream_news(void *context, const struct node_news *news)
{
	struct api_stream *stream = context;

	if (stream->is_behind || news->number <= stream->at)
		return;                 /* read from the journal, where it stands by now */
	if (stream_backlog(stream) > BEHIND_MAX) {
		stream->is_behind = true;
		return;
	}
	if (news->number == stream->at + 1) {
		stream_line(stream, news);
	} else {
		stream->is_behind = true;
		stream_page(stream);
	}
}

struct page { struct api_stream *stream; size_t seen; };

static bool page_line(void *context, const struct store_key *key, struct slice value)
{
	struct page *page = context;
	const uint64_t number = store_key_read_counter(key);
	struct node_news news;

	page->seen++;
	if (number > page->stream->at + 1)
		stream_gap(page->stream, page->stream->at + 1, number - 1);
	if (!node_news_decode(value, &news))
		stream_line(page->stream, &news);
	page->stream->at = number;
	return true;
}

static void stream_page(struct api_stream *stream)
{
	struct store_key from = store_key_counter(stream->at);
	struct page page = { stream, 0 };

	if (store_scan(node_store(stream->api->node), TABLE_JOURNAL, &from, 0, true, PAGE_LINES, page_line, &page, NULL) || page.seen < PAGE_LINES)
		stream->is_behind = false;
}

static void on_beat(evutil_socket_t fd, short what, void *context)
{
	struct api *api = context;

	(void)fd;
	(void)what;
	for (struct api_stream *stream = api->streams, *next; stream; stream = next) {
		const size_t backlog = stream_backlog(stream);

		next = stream->next;
		stream->still = backlog && backlog >= stream->waiting ? stream->still + 1 : 0;
		stream->waiting = backlog;
		if (stream->still >= BEATS_STILL)
			evhttp_connection_free(stream->connection);   /* stream_gone frees the stream */
		else if (!backlog)
			stream_write(stream, ": \n\n");
	}
}

/* Number of the last line of the journal; 0: there is none. */
static uint64_t newest_line(struct api *api)
{
	struct store_key none = { .len = 0 }, found;
	uint8_t *value;
	size_t len;

	if (store_seek_last(node_store(api->node), TABLE_JOURNAL, &none, &found, &value, &len) && !found.len)
		return 0;
	free(value);
	return store_key_read_counter(&found);
}

/* *after: the last line that the caller has; UINT64_MAX: it wants what comes. False: the error was sent. */
static bool read_after(struct evhttp_request *request, uint64_t *after)
{
	const char *last = evhttp_find_header(evhttp_request_get_input_headers(request), "Last-Event-ID");
	char *end = NULL;

	*after = UINT64_MAX;
	if (!api_query_number(request, "after", UINT64_MAX - 1, after))
		return false;
	if (!last)
		return true;
	errno = 0;
	*after = strtoull(last, &end, 10);
	if (*last >= '0' && *last <= '9' && !*end && !errno && *after < UINT64_MAX)
		return true;
	api_error(request, 400, "bad-field", "Last-Event-ID", "is not the id of an event", "give the last id that came, or leave it out");
	return false;
}

static void stream_begin(struct api_stream *stream, uint64_t after)
{
	const uint64_t newest = newest_line(stream->api);

	stream_write(stream, ": \n\n");
	stream->at = after < newest ? after : newest;
	if (after != UINT64_MAX && after > newest)
		stream_gap(stream, 0, newest);
	stream->is_behind = stream->at < newest;
	if (stream->is_behind)
		stream_page(stream);
}

void api_events(struct api *api, struct evhttp_request *request)
{
	const struct timeval beat = { BEAT_S, 0 };
	struct api_stream *stream;
	uint64_t after;

	if (!read_after(request, &after))
		return;
	if (!api->beat)
		api->beat = event_new(api->base, -1, EV_PERSIST, on_beat, api);
	stream = api->beat && api->stream_count < API_STREAMS ? calloc(1, sizeof(*stream)) : NULL;
	if (!stream) {
		api_error(request, 503, "busy", NULL, "too many follow already", "close one of them");
		return;
	}
	stream->api = api;
	stream->request = request;
	stream->connection = evhttp_request_get_connection(request);
	stream->next = api->streams;
	api->streams = stream;
	if (api->stream_count++ == 0)
		event_add(api->beat, &beat);
	guard_follows(api, request);
	evhttp_connection_set_timeout(stream->connection, 24 * 3600);
	evhttp_connection_set_closecb(stream->connection, stream_gone, stream);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "text/event-stream");
	evhttp_add_header(evhttp_request_get_output_headers(request), "Cache-Control", "no-store");
	evhttp_send_reply_start(request, 200, NULL);
	node_listen(api->node, stream_news, stream);
	stream_begin(stream, after);
}

void api_streams_end(struct api *api)
{
	while (api->streams) {
		struct api_stream *stream = api->streams;
		evhttp_connection_set_closecb(stream->connection, NULL, NULL);
		stream_remove(stream);
	}
	if (api->beat)
		event_free(api->beat);
	api->beat = NULL;
}
