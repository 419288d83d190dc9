/* log and clock: one line per event whatever a value holds; a flood is counted, not written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "daemon/log.h"

static int saved_stderr = -1;
static FILE *captured;

static int capture(void **state)
{
	(void)state;
	unsetenv("JOURNAL_STREAM");
	captured = tmpfile();
	saved_stderr = dup(STDERR_FILENO);
	dup2(fileno(captured), STDERR_FILENO);
	log_start(LOG_INFO);
	return 0;
}

static int release(void **state)
{
	(void)state;
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	fclose(captured);
	return 0;
}

/* Everything written since the last call, without the time in front of the first line. */
static const char *written(void)
{
	static char text[16384];
	size_t len;
	char *space;

	rewind(captured);
	len = fread(text, 1, sizeof(text) - 1, captured);
	text[len] = '\0';
	rewind(captured);
	assert_int_equal(ftruncate(fileno(captured), 0), 0);
	lseek(STDERR_FILENO, 0, SEEK_SET);
	space = strchr(text, ' ');
	return space ? space + 1 : text;
}

static void a_line_is_event_and_keys(void **state)
{
	(void)state;
	log_line(LOG_INFO, "custody-taken", "msg=%s link=%u", "344003/2/118", 901u);
	assert_string_equal(written(), "info event=custody-taken msg=344003/2/118 link=901\n");
	log_line(LOG_WARNING, "ready", "%s", "");
	assert_string_equal(written(), "warning event=ready\n");
}

static void a_value_cannot_pass_for_another_key_or_line(void **state)
{
	(void)state;
	log_line(LOG_INFO, "x", "why=%s link=%u", "a\nevent=forged link=2\x1flink=3", 1u);
	assert_string_equal(written(), "info event=x why=\"a?event=forged link=2\" link=\"3?link=1\"\n");
	log_line(LOG_INFO, "x", "why=%s node=%u", "say \"no\" \\ event=y", 1u);
	assert_string_equal(written(), "info event=x why=\"say 'no' / event=y\" node=1\n");
	log_line(LOG_INFO, "x", "why=%s node=%u", "", 1u);
	assert_string_equal(written(), "info event=x why=\"\" node=1\n");
}

static void text_of_the_format_stands_in_quotes(void **state)
{
	(void)state;
	log_line(LOG_INFO, "x", "error=\"%s\" cure=\"write a=b there\" link=%u", "no memory", 1u);
	assert_string_equal(written(), "info event=x error=\"no memory\" cure=\"write a=b there\" link=1\n");
}

static void a_long_value_is_cut_and_the_line_still_ends(void **state)
{
	char value[4000];
	const char *line;

	(void)state;
	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	log_line(LOG_INFO, "x", "why=%s", value);
	line = written();
	assert_true(strlen(line) < 1100);
	assert_int_equal(line[strlen(line) - 1], '\n');
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void with_the_journal_nothing_goes_to_stderr(void **state)
{
	struct stat status;
	char stream[64], value[4000];

	(void)state;
	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	assert_int_equal(fstat(STDERR_FILENO, &status), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)status.st_dev, (unsigned long long)status.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_start(LOG_INFO);
	log_line(LOG_DEBUG, "test", "a=%d", 1);
	log_line(LOG_INFO, "test", "a=%d why=%s b=%s", 1, value, value);
	assert_string_equal(written(), "");
	/* inherited from a shell: another stream than ours */
	setenv("JOURNAL_STREAM", "1:1", 1);
	log_start(LOG_INFO);
	log_line(LOG_INFO, "test", "a=%d", 1);
	assert_string_equal(written(), "info event=test a=1\n");
	unsetenv("JOURNAL_STREAM");
}

static void what_is_below_the_level_is_not_written(void **state)
{
	(void)state;
	log_line(LOG_DEBUG, "x", "a=%d", 1);
	assert_string_equal(written(), "");
	log_set_level(LOG_DEBUG);
	log_line(LOG_DEBUG, "x", "a=%d", 1);
	assert_string_equal(written(), "debug event=x a=1\n");
	log_set_level(LOG_INFO);
}

static size_t lines(const char *text)
{
	size_t count = 0;

	for (; *text != '\0'; text++)
		count += *text == '\n';
	return count;
}

static void a_flood_is_counted_and_the_count_told(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++)
		log_limited(LOG_WARNING, "bad-frame", 901, 1000 + i, "why=%s", "malformed");
	assert_int_equal(lines(written()), LOG_LIMIT_LINES);
	assert_int_equal(log_dropped(), 50 - LOG_LIMIT_LINES);
	/* another link, and another event, are not silenced by it */
	log_limited(LOG_WARNING, "bad-frame", 902, 1050, "why=%s", "malformed");
	log_limited(LOG_WARNING, "cut", 901, 1050, "why=%s", "malformed");
	assert_int_equal(lines(written()), 2);
	log_limited(LOG_WARNING, "bad-frame", 901, 1000 + LOG_LIMIT_MS, "why=%s", "malformed");
	assert_string_equal(written(), "warning event=bad-frame why=malformed dropped=40\n");
	log_limited(LOG_WARNING, "bad-frame", 901, 1001 + LOG_LIMIT_MS, "why=%s", "malformed");
	assert_string_equal(written(), "warning event=bad-frame why=malformed\n");
}

static void many_links_cannot_grow_the_memory(void **state)
{
	(void)state;
	for (uint32_t link = 1; link < 2000; link++)
		log_limited(LOG_DEBUG, "x", link, link, "a=%d", 1);
	log_set_level(LOG_INFO);
	for (uint32_t link = 1; link < 2000; link++)
		log_limited(LOG_INFO, "many", link, 20000 + link, "a=%d", 1);
	assert_true(lines(written()) > 0);
}

static void custody_time_goes_on_from_what_was_stored(void **state)
{
	struct clock clock;
	struct moment first, second;

	(void)state;
	clock_start(&clock, 5000000, "gnss");
	clock_now(&clock, &first);
	clock_now(&clock, &second);
	assert_in_range(first.custody_ms, 5000000, 5001000);
	assert_true(second.custody_ms >= first.custody_ms);
	assert_int_equal(first.quality, CLOCK_GNSS);
	clock_start(&clock, 0, "manual");
	clock_now(&clock, &first);
	assert_int_equal(first.quality, CLOCK_MANUAL);
	clock_start(&clock, 0, "nonsense");
	clock_now(&clock, &first);
	assert_int_equal(first.quality, CLOCK_UNKNOWN);
	clock_start(&clock, 0, "auto");
	clock_now(&clock, &first);
	assert_true(first.quality == CLOCK_NTP || first.quality == (first.wall_ms < 0 ? CLOCK_UNKNOWN : CLOCK_MANUAL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_line_is_event_and_keys, capture, release),
		cmocka_unit_test_setup_teardown(a_value_cannot_pass_for_another_key_or_line, capture, release),
		cmocka_unit_test_setup_teardown(text_of_the_format_stands_in_quotes, capture, release),
		cmocka_unit_test_setup_teardown(a_long_value_is_cut_and_the_line_still_ends, capture, release),
		cmocka_unit_test_setup_teardown(with_the_journal_nothing_goes_to_stderr, capture, release),
		cmocka_unit_test_setup_teardown(what_is_below_the_level_is_not_written, capture, release),
		cmocka_unit_test_setup_teardown(a_flood_is_counted_and_the_count_told, capture, release),
		cmocka_unit_test_setup_teardown(many_links_cannot_grow_the_memory, capture, release),
		cmocka_unit_test(custody_time_goes_on_from_what_was_stored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
