/* api_events.c: live updates as server-sent events, with resume ids. */
#include "daemon/api_internal.h"

#include <event2/bufferevent.h>
#include <stdlib.h>
#include <string.h>

#define BEHIND_MAX (64 * 1024)   /* a reader further behind is cut off; it resumes with its last id */
#define BEAT_S 20
#define REPLAY_MAX 1000          /* journal lines repeated to one that resumes, at a time */

struct api_stream {
	struct api *api;
	struct evhttp_request *request;
	struct evhttp_connection *connection;
	struct api_stream *next;
};

static void stream_news(void *context, const struct node_news *news);

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
	(void)connection;
	stream_remove(context);
}

static size_t stream_backlog(const struct api_stream *stream)
{
	return evbuffer_get_length(bufferevent_get_output(evhttp_connection_get_bufferevent(stream->connection)));
}

static bool stream_write(struct api_stream *stream, const char *text)
{
	struct evbuffer *buffer;

	if (stream_backlog(stream) > BEHIND_MAX || !(buffer = evbuffer_new())) {
		evhttp_connection_free(stream->connection);   /* stream_gone frees the stream */
		return false;
	}
	evbuffer_add(buffer, text, strlen(text));
	evhttp_send_reply_chunk(stream->request, buffer);
	evbuffer_free(buffer);
	return true;
}

static bool stream_line(struct api_stream *stream, const struct node_news *news)
{
	const char *what = journal_what_name(news->what);
	json_t *json = json_pack("{s:I,s:o,s:s,s:o,s:I,s:I,s:s,s:s?,s:s}", "number", (json_int_t)news->number,
	    "time", json_time(news->wall_ms), "what", what, "id", json_id(&news->id), "node", (json_int_t)news->node,
	    "link", (json_int_t)news->link, "level", level_name(news->level),
	    "reason", news->reason ? reason_name(news->reason) : NULL, "precedence", precedence_name(news->precedence));
	char *data = json ? json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
	char text[768];
	bool ok = true;

	json_decref(json);
	if (!data)
		return true;
	snprintf(text, sizeof(text), "id: %llu\nevent: %s\ndata: %s\n\n", (unsigned long long)news->number, what, data);
	free(data);
	ok = stream_write(stream, text);
	return ok;
}

static void stream_news(void *context, const struct node_news *news)
{
	stream_line(context, news);
}

static void on_beat(evutil_socket_t fd, short what, void *context)
{
	struct api *api = context;

	(void)fd;
	(void)what;
	for (struct api_stream *stream = api->streams, *next; stream; stream = next) {
		next = stream->next;
		stream_write(stream, ": \n\n");
	}
}

struct replay { struct node_news *lines; size_t count; };

static bool collect(void *context, const struct store_key *key, struct slice value)
{
	struct replay *replay = context;

	(void)key;
	if (!node_news_decode(value, &replay->lines[replay->count]))
		replay->count++;
	return replay->count < REPLAY_MAX;
}

static void stream_replay(struct api_stream *stream, uint64_t after)
{
	struct replay replay = { .lines = calloc(REPLAY_MAX, sizeof(struct node_news)) };
	struct store_key from = store_key_counter(after);

	if (replay.lines && !store_scan(node_store(stream->api->node), TABLE_JOURNAL, &from, 0, true, REPLAY_MAX, collect, &replay, NULL))
		for (size_t i = 0; i < replay.count; i++)
			if (!stream_line(stream, &replay.lines[i]))
				break;
	free(replay.lines);
}

void api_events(struct api *api, struct evhttp_request *request)
{
	const char *last = evhttp_find_header(evhttp_request_get_input_headers(request), "Last-Event-ID");
	struct timeval beat = { BEAT_S, 0 };
	struct api_stream *stream;
	uint64_t after = UINT64_MAX;

	if (!api_query_number(request, "after", UINT64_MAX, &after))
		return;
	if (last)
		after = strtoull(last, NULL, 10);
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
	evhttp_connection_set_timeout(stream->connection, 24 * 3600);
	evhttp_connection_set_closecb(stream->connection, stream_gone, stream);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "text/event-stream");
	evhttp_add_header(evhttp_request_get_output_headers(request), "Cache-Control", "no-store");
	evhttp_send_reply_start(request, 200, NULL);
	node_listen(api->node, stream_news, stream);
	if (stream_write(stream, ": \n\n") && after != UINT64_MAX)
		stream_replay(stream, after);
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
