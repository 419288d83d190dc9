/* courier.c: see courier.h. */
#include "proto/courier.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC "cpd-courier "
#define MAGIC_LEN 14
#define ITEM_HEAD (4 + COURIER_TAG_LEN)
#define ACKS_HEAD 8
#define ACK_LEN (1 + COURIER_TAG_LEN)

static const char first_line[] = MAGIC "1\n";

/* ---------------------------------------------------------------- numbers */

static void put_number(uint8_t **at, uint64_t number, int len)
{
	for (int i = 0; i < len; i++)
		(*at)[i] = (uint8_t)(number >> (8 * (len - 1 - i)));
	*at += len;
}

static uint64_t number_at(const uint8_t *at, int len)
{
	uint64_t number = 0;

	for (int i = 0; i < len; i++)
		number = number << 8 | at[i];
	return number;
}

static bool take_bytes(struct slice *from, size_t len, struct slice *out)
{
	if (from->len < len)
		return false;
	*out = (struct slice){ from->data, len };
	from->data += len;
	from->len -= len;
	return true;
}

static bool take_number(struct slice *from, int len, uint64_t *number)
{
	struct slice bytes;

	if (!take_bytes(from, (size_t)len, &bytes))
		return false;
	*number = number_at(bytes.data, len);
	return true;
}

/* ---------------------------------------------------------------- the file */

static bool head_is_good(const struct courier_head *head)
{
	return head->writer && head->key_number && head->epoch && head->number && head->reader_count && (unsigned)head->clock_quality <= CLOCK_GNSS;
}

static bool take_head(struct slice *from, struct courier_head *head)
{
	uint64_t numbers[8];
	static const int lens[8] = { 4, 4, 4, 8, 4, 4, 1, 2 };

	for (int i = 0; i < 8; i++)
		if (!take_number(from, lens[i], &numbers[i]))
			return false;
	*head = (struct courier_head){ .writer = (uint32_t)numbers[0], .key_number = (uint32_t)numbers[1], .epoch = (uint32_t)numbers[2],
		.number = numbers[3], .directory = (uint32_t)numbers[4], .time_s = (uint32_t)numbers[5],
		.clock_quality = (enum clock_quality)numbers[6], .reader_count = (size_t)numbers[7] };
	return head_is_good(head);
}

/* Ascending by node: nobody stands there twice, and one order is the only one. */
static bool readers_are_good(struct slice readers)
{
	uint32_t before = 0;

	for (size_t at = 0; at < readers.len; at += COURIER_READER_LEN) {
		uint32_t node = (uint32_t)number_at(readers.data + at, 4);

		if (node <= before || !number_at(readers.data + at + 4, 4))
			return false;
		before = node;
	}
	return true;
}

static enum cpd_error decode(struct slice file, struct courier_file *out)
{
	struct slice rest = file, bytes;
	uint64_t len;

	if (file.len < sizeof(MAGIC) - 1 || memcmp(file.data, MAGIC, sizeof(MAGIC) - 1))
		return CPD_ERR_MALFORMED;
	if (file.len < MAGIC_LEN)
		return CPD_ERR_DAMAGED;
	if (memcmp(file.data, first_line, MAGIC_LEN))
		return CPD_ERR_VERSION;
	if (file.len > LIMIT_COURIER)
		return CPD_ERR_TOO_LARGE;
	if (!take_bytes(&rest, MAGIC_LEN, &bytes) || !take_head(&rest, &out->head) || out->head.reader_count > LIMIT_COURIER_READERS
	    || !take_bytes(&rest, out->head.reader_count * COURIER_READER_LEN, &out->readers) || !readers_are_good(out->readers)
	    || !take_bytes(&rest, COURIER_NONCE, &bytes))
		return CPD_ERR_DAMAGED;
	out->nonce = bytes.data;
	if (!take_number(&rest, 4, &len))
		return CPD_ERR_DAMAGED;
	out->bound = (struct slice){ file.data, file.len - rest.len };
	if (len < COURIER_SEAL_EXTRA || !take_bytes(&rest, (size_t)len, &out->sealed))
		return CPD_ERR_DAMAGED;
	out->over = (struct slice){ file.data, file.len - rest.len };
	if (!take_bytes(&rest, COURIER_SIGNATURE, &bytes) || rest.len)
		return CPD_ERR_DAMAGED;
	out->signature = bytes.data;
	return CPD_OK;
}

enum cpd_error courier_decode(struct slice file, struct courier_file *out)
{
	enum cpd_error error;

	memset(out, 0, sizeof(*out));
	error = decode(file, out);
	if (error)
		memset(out, 0, sizeof(*out));
	return error;
}

static const uint8_t *reader_of(const struct courier_file *file, uint32_t node)
{
	for (size_t at = 0; at < file->readers.len; at += COURIER_READER_LEN)
		if (number_at(file->readers.data + at, 4) == node)
			return file->readers.data + at;
	return NULL;
}

const uint8_t *courier_key_for(const struct courier_file *file, uint32_t node, uint32_t key_number)
{
	const uint8_t *reader = reader_of(file, node);

	return reader && number_at(reader + 4, 4) == key_number ? reader + 8 : NULL;
}

bool courier_names(const struct courier_file *file, uint32_t node)
{
	return reader_of(file, node) != NULL;
}

size_t courier_overhead(size_t readers)
{
	return COURIER_HEAD_LEN + readers * COURIER_READER_LEN + COURIER_NONCE + 4 + COURIER_SEAL_EXTRA + COURIER_SIGNATURE;
}

enum cpd_error courier_head_encode(const struct courier_head *head, uint8_t *buf)
{
	uint8_t *at = buf + MAGIC_LEN;

	if (!head_is_good(head) || head->reader_count > LIMIT_COURIER_READERS)
		return CPD_ERR_RANGE;
	memcpy(buf, first_line, MAGIC_LEN);
	put_number(&at, head->writer, 4);
	put_number(&at, head->key_number, 4);
	put_number(&at, head->epoch, 4);
	put_number(&at, head->number, 8);
	put_number(&at, head->directory, 4);
	put_number(&at, head->time_s, 4);
	put_number(&at, head->clock_quality, 1);
	put_number(&at, head->reader_count, 2);
	return CPD_OK;
}

/* ---------------------------------------------------------------- content: reading */

static struct courier_tag tag_at(const uint8_t *at)
{
	return (struct courier_tag){ .link = (uint32_t)number_at(at, 4), .counter = number_at(at + 4, 8), .type = (enum item_type)(at[12] & 15),
		.precedence = (enum precedence)(at[12] >> 4), .id = { (uint32_t)number_at(at + 13, 4), (uint32_t)number_at(at + 17, 4), number_at(at + 21, 8) },
		.retry = (uint32_t)number_at(at + 29, 4), .after_epoch = (uint32_t)number_at(at + 33, 4) };
}

/* A leaf has no row; what has one is a message or receipts. */
static bool tag_is_good(const struct courier_tag *tag, bool may_be_leaf)
{
	bool has_row = tag->type == ITEM_TYPE_MESSAGE || tag->type == ITEM_TYPE_RECEIPTS;

	return (has_row ? tag->counter != 0 : tag->type == ITEM_TYPE_LEAF && may_be_leaf && !tag->counter)
	    && (unsigned)tag->precedence < PRECEDENCE_COUNT && tag->id.origin && tag->id.epoch && tag->id.sequence;
}

static bool acks_are_good(const struct courier_part *part)
{
	for (size_t i = 0; i < part->ack_count; i++) {
		struct courier_ack ack = courier_ack_at(part, i);

		if (!tag_is_good(&ack.tag, false))
			return false;
	}
	return part->writer && part->epoch && part->ack_count;
}

/* What stands in a part of a known type. */
static bool read_part(struct courier_part *part)
{
	struct slice *bytes = &part->bytes, tag;
	uint64_t number, epoch;

	switch (part->type) {
	case COURIER_UPDATE:
		return bytes->len > 0 && bytes->len <= LIMIT_ITEM;
	case COURIER_PRESENCE:
		if (!take_number(bytes, 4, &number))
			return false;
		part->age_s = (uint32_t)number;
		return bytes->len > 0 && bytes->len <= LIMIT_PRESENCE;
	case COURIER_ACKS:
		if (!take_number(bytes, 4, &number) || !take_number(bytes, 4, &epoch) || bytes->len % ACK_LEN)
			return false;
		part->writer = (uint32_t)number;
		part->epoch = (uint32_t)epoch;
		part->ack_count = bytes->len / ACK_LEN;
		return true;
	case COURIER_ITEM:
		if (!take_number(bytes, 4, &number) || !take_bytes(bytes, COURIER_TAG_LEN, &tag))
			return false;
		part->next = (uint32_t)number;
		part->tag = tag_at(tag.data);
		return bytes->len > 0 && bytes->len <= LIMIT_ITEM;
	}
	return true;
}

static bool take_part(struct slice *content, struct courier_part *out)
{
	uint64_t type, len;

	memset(out, 0, sizeof(*out));
	if (!take_number(content, 1, &type) || !take_number(content, 4, &len) || !take_bytes(content, (size_t)len, &out->bytes))
		return false;
	out->type = type <= COURIER_ITEM ? (enum courier_part_type)type : 0;
	return read_part(out);
}

enum cpd_error courier_check(struct slice content, size_t *items)
{
	enum courier_part_type before = 0;
	struct courier_part part;
	size_t count = 0;

	if (items)
		*items = 0;
	while (content.len) {
		if (!take_part(&content, &part))
			return CPD_ERR_MALFORMED;
		if (!part.type)
			continue;
		if (part.type < before)
			return CPD_ERR_MALFORMED;
		before = part.type;
		if ((part.type == COURIER_ITEM && !tag_is_good(&part.tag, true)) || (part.type == COURIER_ACKS && !acks_are_good(&part)))
			return CPD_ERR_RANGE;
		count += part.type == COURIER_ITEM;
		if (count > LIMIT_COURIER_ITEMS)
			return CPD_ERR_TOO_LARGE;
	}
	if (items)
		*items = count;
	return CPD_OK;
}

bool courier_next(struct slice *content, struct courier_part *out)
{
	return content->len && take_part(content, out);
}

struct courier_ack courier_ack_at(const struct courier_part *part, size_t i)
{
	const uint8_t *at = part->bytes.data + i * ACK_LEN;

	return (struct courier_ack){ .reason = (enum cpd_reason)at[0], .tag = tag_at(at + 1) };
}

/* ---------------------------------------------------------------- content: making */

void courier_writer_clear(struct courier_writer *writer)
{
	free(writer->bytes);
	*writer = (struct courier_writer){ .most = writer->most };
}

/* Room for one part of this length; its head is written. */
static enum cpd_error part_begin(struct courier_writer *writer, enum courier_part_type type, size_t len, uint8_t **at)
{
	size_t whole = COURIER_PART_HEAD + len, capacity = writer->capacity ? writer->capacity : 4096;
	uint8_t *larger;

	if (whole > writer->most || writer->len > writer->most - whole)
		return CPD_ERR_FULL;
	while (capacity < writer->len + whole)
		capacity *= 2;
	if (capacity > writer->most)
		capacity = writer->most;
	if (capacity != writer->capacity) {
		larger = realloc(writer->bytes, capacity);
		if (!larger)
			return CPD_ERR_NOMEM;
		writer->bytes = larger;
		writer->capacity = capacity;
	}
	*at = writer->bytes + writer->len;
	writer->len += whole;
	put_number(at, type, 1);
	put_number(at, len, 4);
	return CPD_OK;
}

static void put_bytes(uint8_t **at, struct slice bytes)
{
	memcpy(*at, bytes.data, bytes.len);
	*at += bytes.len;
}

static void put_tag(uint8_t **at, const struct courier_tag *tag)
{
	put_number(at, tag->link, 4);
	put_number(at, tag->counter, 8);
	put_number(at, (uint64_t)tag->type | (uint64_t)tag->precedence << 4, 1);
	put_number(at, tag->id.origin, 4);
	put_number(at, tag->id.epoch, 4);
	put_number(at, tag->id.sequence, 8);
	put_number(at, tag->retry, 4);
	put_number(at, tag->after_epoch, 4);
}

enum cpd_error courier_put_update(struct courier_writer *writer, struct slice record)
{
	enum cpd_error error;
	uint8_t *at;

	if (!record.len || record.len > LIMIT_ITEM)
		return CPD_ERR_RANGE;
	error = part_begin(writer, COURIER_UPDATE, record.len, &at);
	if (!error)
		put_bytes(&at, record);
	return error;
}

enum cpd_error courier_put_presence(struct courier_writer *writer, struct slice record, uint32_t age_s)
{
	enum cpd_error error;
	uint8_t *at;

	if (!record.len || record.len > LIMIT_PRESENCE)
		return CPD_ERR_RANGE;
	error = part_begin(writer, COURIER_PRESENCE, 4 + record.len, &at);
	if (!error) {
		put_number(&at, age_s, 4);
		put_bytes(&at, record);
	}
	return error;
}

enum cpd_error courier_put_acks(struct courier_writer *writer, uint32_t node, uint32_t epoch, const struct courier_ack *acks, size_t count)
{
	enum cpd_error error;
	uint8_t *at;

	if (!node || !epoch || !count || count > LIMIT_COURIER_ITEMS)
		return CPD_ERR_RANGE;
	for (size_t i = 0; i < count; i++)
		if (!tag_is_good(&acks[i].tag, false) || (unsigned)acks[i].reason > 255)
			return CPD_ERR_RANGE;
	error = part_begin(writer, COURIER_ACKS, ACKS_HEAD + count * ACK_LEN, &at);
	if (error)
		return error;
	put_number(&at, node, 4);
	put_number(&at, epoch, 4);
	for (size_t i = 0; i < count; i++) {
		put_number(&at, acks[i].reason, 1);
		put_tag(&at, &acks[i].tag);
	}
	return CPD_OK;
}

enum cpd_error courier_put_item(struct courier_writer *writer, uint32_t next, const struct courier_tag *tag, struct slice item)
{
	enum cpd_error error;
	uint8_t *at;

	if (!item.len || item.len > LIMIT_ITEM || !tag_is_good(tag, true))
		return CPD_ERR_RANGE;
	error = part_begin(writer, COURIER_ITEM, ITEM_HEAD + item.len, &at);
	if (error)
		return error;
	put_number(&at, next, 4);
	put_tag(&at, tag);
	put_bytes(&at, item);
	return CPD_OK;
}
