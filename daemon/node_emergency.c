/* node_emergency.c: see node_emergency.h. */
#include "daemon/node_emergency.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/node_internal.h"
#include "proto/body.pb-c.h"
#include "proto/cpd.pb-c.h"
#include "proto/text.h"
#include "proto/wire.h"

#define NOTE_NAME "emergency-install"
#define NOTE_MAX 280

/* One line of UTF-8: when, and who said to be there. */
static bool read_note(const struct node *node, char out[NOTE_MAX + 1])
{
	char path[300];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "%s/" NOTE_NAME, node->config->state);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	len = read(fd, out, NOTE_MAX);
	close(fd);
	out[len > 0 ? len : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
	/* That it stands there is the news; what it says may be damaged. */
	if (text_check_string(out, NOTE_MAX, NOTE_MAX, TEXT_ONE_LINE))
		snprintf(out, NOTE_MAX, "?");
	return true;
}

static void reported(void *context, enum cpd_error error, const char *why, const struct message_id *id, bool existing)
{
	const struct node *node = context;
	char from[300], to[310];

	(void)existing;
	if (error) {
		log_line(LOG_ERR, "emergency-install-untold", "error=\"%s\" cure=\"tell the CP by telephone that this node was installed with its emergency code; cpd "
		    "tries again at its next start\"", why);
		return;
	}
	log_line(LOG_WARNING, "emergency-install", "msg=%u/%u/%llu text=\"this node was installed with its emergency code; every CP is told\"", id->origin, id->epoch,
	    (unsigned long long)id->sequence);
	snprintf(from, sizeof(from), "%s/" NOTE_NAME, node->config->state);
	snprintf(to, sizeof(to), "%s.told", from);
	if (rename(from, to))
		log_line(LOG_WARNING, "emergency-install-note", "file=\"%s\" error=\"%s\" cure=\"remove it\"", from, strerror(errno));
}

static void add_hubs(const struct node *node, struct author_request *request)
{
	for (const struct certificate *other = directory_next(node->directory, 0); other && request->node_count < LIMIT_DESTINATION_NODES;
	     other = directory_next(node->directory, other->node))
		if (role_find(other->role) && role_find(other->role)->hears_alarms && other->node != node->self && !directory_revocation(node->directory, other->node, other->key_number))
			request->nodes[request->node_count++] = other->node;
}

void emergency_report(struct node *node)
{
	struct author_request request = { .kind = CPD__KIND__KIND_TEXT, .has_precedence = true, .precedence = PRECEDENCE_FLASH, .mode = MODE_REAL,
		.entry_mode = ENTRY_AUTOMATIC, .closing_level = LEVEL_READ };
	Cpd__Text body = CPD__TEXT__INIT;
	char note[NOTE_MAX + 1], text[2 * NOTE_MAX + 200], subject[] = "NOODCODE GEBRUIKT";
	uint8_t bytes[sizeof(text) + 100];

	if (!read_note(node, note))
		return;
	add_hubs(node, &request);
	snprintf(text, sizeof(text), "Knooppunt %u is ge\xc3\xafnstalleerd met de noodcode uit de gesloten envelop. Opgegeven: %s. "
	    "Bel de gemeente: klopt dit? Zo niet, trek de sleutel in (cpctl region revoke).", node->self, note);
	body.text = text;
	body.subject = subject;
	if (wire_pack(&body.base, bytes, sizeof(bytes), &request.body.len))
		return;
	request.body.data = bytes;
	snprintf(request.author, sizeof(request.author), "cpd");
	request.key_len = (size_t)snprintf((char *)request.key, sizeof(request.key), "emergency-install-%u-%u", node->self, identity_key_number(node->identity));
	node_author(node, &request, reported, node);
}
