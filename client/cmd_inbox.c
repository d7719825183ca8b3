/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq inbox: what others have sent directly. Each sender has a key space direct/<sender>/<own CN> (docs/control.md): the broker's list names them, and
 * whose a message is the sender's signature and the issuer of the keys say. What was shown is noted (client/inbox_read). */
#include "client/chat_show.h"
#include "client/cli_pins.h"
#include "client/cli_receive.h"
#include "client/cli_safe.h"
#include "client/cmd.h"
#include "client/inbox_read.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/textbytes.h"
#include "crypto/cert.h"
#include "crypto/hash.h"

#include <cjson/cJSON.h>
#include <mosquitto.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONTROL "$CONTROL/topics/v1"
#define DIRECT "direct/"
#define QUIET_MS 1000u      /* when nothing has come for so long, all that is there has come */
#define LIST_EVERY_MS 5000u /* --follow: new senders are looked for */

enum box_state {
	BOX_NEW,        /* its key has to be asked for on this connection */
	BOX_SUBSCRIBED,
	BOX_OPEN,       /* the broker has said yes */
	BOX_CLOSED,     /* refused, and said so */
};

/* What one sender has written. */
struct box {
	struct box *next;
	enum box_state state;
	int mid;
	char *keys_topic, *from; /* from: the CN in the topic */
	char topic[];
};

struct inbox {
	const struct options *o;
	struct link *link;
	struct keys *keys;
	struct receive *receive;
	struct inbox_read *read;
	struct box *boxes;
	int response_mid;
	bool listening, listed;       /* answers come; one has come on this connection */
	bool failed, any_refused;
	uint64_t asked_ms, active_ms; /* steady clock: the last listTopics; when something has come last */
};

static void fail(struct inbox *in)
{
	in->failed = true;
	receive_stop(in->receive);
	link_end(in->link);
}

/* ---- senders */

static const char *own_cn(const struct inbox *in)
{
	return sealmq_cn(keys_member(in->keys));
}

/* "ann" of "direct/ann/<own CN>", on the heap; NULL: it is no such topic. */
static char *sender_of(const struct inbox *in, const char *topic)
{
	size_t prefix = sizeof DIRECT - 1, len = strlen(topic), own = strlen(own_cn(in));
	if (len < prefix + 1 + own + 1 || strncmp(topic, DIRECT, prefix) != 0 || topic[len - own - 1] != '/' || strcmp(topic + len - own, own_cn(in)) != 0)
		return NULL;
	size_t n = len - prefix - own - 1;
	return n > 0 && !memchr(topic + prefix, '/', n) ? strndup(topic + prefix, n) : NULL;
}

static struct box *find_box(const struct inbox *in, const char *topic)
{
	struct box *b = in->boxes;
	while (b && strcmp(b->topic, topic) != 0)
		b = b->next;
	return b;
}

static bool add_box(struct inbox *in, const char *topic)
{
	char *from = sender_of(in, topic);
	size_t size = strlen(topic) + 1;
	if (!from || find_box(in, topic)) {
		free(from);
		return true;
	}
	struct box *b = calloc(1, sizeof *b + size);
	if (!b || asprintf(&b->keys_topic, "$KEYS/%s", topic) < 0) {
		free(from);
		free(b);
		return false;
	}
	memcpy(b->topic, topic, size);
	b->from = from;
	b->next = in->boxes;
	in->boxes = b;
	return true;
}

static void ask_list(struct inbox *in)
{
	static const char command[] = "{\"commands\":[{\"command\":\"listTopics\"}]}";
	in->asked_ms = clock_mono_ms();
	(void)link_publish(in->link, CONTROL, command, sizeof command - 1, 1, false);
}

/* The answer to listTopics. */
static void take_list(struct inbox *in, const struct mosquitto_message *m)
{
	cJSON *root = cJSON_ParseWithLength(m->payload, (size_t)m->payloadlen);
	const cJSON *answer = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(root, "responses"), 0), *t;
	const cJSON *list = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(answer, "data"), "topics");
	bool good = true;
	if (!cJSON_IsArray(list)) {
		const char *error = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "error"));
		complain(in->o, "listTopics: %s", error ? error : "expected a list of topics, not what the broker has answered");
		fail(in);
	}
	cJSON_ArrayForEach(t, list) {
		const char *topic = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(t, "topic"));
		good = good && topic && add_box(in, topic);
	}
	cJSON_Delete(root);
	in->listed = true;
	if (!good) {
		complain(in->o, "out of memory");
		fail(in);
	}
}

/* What is wrong with the key space, whose keys have come; NULL: it is the sender's own, and the broker has no key. */
static const char *space_fault(struct inbox *in, const struct box *b)
{
	struct sealmq *member = keys_member(in->keys);
	struct sealmq_space space;
	struct cert cert;
	struct der cn;
	const char *why = NULL;
	const void *der;
	size_t len;
	if (sealmq_space_of(member, b->topic, &space) != SEALMQ_OK)
		return "its keys are of another topic";
	bool own = strcmp(space.name, b->topic) == 0;
	free(space.name);
	if (!own || space.mode != SEALMQ_OWNER)
		return "the broker can read it: its keys are not the sender's own";
	if (sealmq_cert(member, space.issuer, &der, &len) != SEALMQ_OK || cert_parse(&cert, der, len) != ERR_OK || cert_common_name(&cert, &cn, &why) != ERR_OK)
		return "the issuer of its keys is not known";
	return der_equal(cn, b->from, strlen(b->from)) ? NULL : "its keys are another's than the sender's";
}

static void close_box(struct inbox *in, struct box *b, const char *why)
{
	b->state = BOX_CLOSED;
	in->any_refused = true;
	complain(in->o, "%s: refused: %s", b->topic, why);
}

static void subscribe(struct inbox *in, struct box *b)
{
	const char *fault = space_fault(in, b);
	char *filter = NULL;
	if (fault) {
		close_box(in, b, fault);
		return;
	}
	b->mid = asprintf(&filter, "$HISTORY/all/$SEALED/%s", b->topic) < 0 ? 0 : link_subscribe(in->link, filter, 1);
	b->state = b->mid ? BOX_SUBSCRIBED : b->state;
	in->active_ms = clock_mono_ms();
	free(filter);
}

static void go_on(struct inbox *in)
{
	for (struct box *b = in->boxes; b && link_is_up(in->link) && !in->failed; b = b->next) {
		if (b->state != BOX_NEW)
			continue;
		switch (keys_ask(in->keys, in->link, b->keys_topic)) {
		case KEYS_ASKED:
		case KEYS_WAITING: break; /* the sender has begun, and has not handed out the key yet */
		case KEYS_READY: subscribe(in, b); break;
		case KEYS_BAD: close_box(in, b, "its keys were refused"); break;
		case KEYS_DENIED: close_box(in, b, "the broker gives no key (another certificate than the one that the sender knows?)"); break;
		}
	}
}

/* Nothing is under way any more. */
static bool is_settled(struct inbox *in)
{
	if (!in->listed || receive_is_waiting(in->receive) || clock_mono_ms() - in->active_ms < QUIET_MS)
		return false;
	for (const struct box *b = in->boxes; b; b = b->next)
		if (b->state == BOX_SUBSCRIBED || (b->state == BOX_NEW && keys_ask(in->keys, in->link, b->keys_topic) == KEYS_ASKED))
			return false;
	return true;
}

/* ---- showing */

/* On a terminal the lines of a message are rows, those after the first indented. */
static bool print_rest(const char *text, size_t len)
{
	for (const char *end = text + len; text < end;) {
		const char *nl = memchr(text, '\n', (size_t)(end - text)), *stop = nl ? nl : end;
		char *row = safe_text(text, (size_t)(stop - text), false);
		bool good = row && printf("    %s\n", row) >= 0;
		free(row);
		if (!good)
			return false;
		text = nl ? nl + 1 : end;
	}
	return true;
}

static bool print(const char *what, uint64_t time_ms, const char *name, const char *text, size_t len)
{
	bool eyes = isatty(STDOUT_FILENO) == 1;
	const char *nl = eyes && len ? memchr(text, '\n', len) : NULL;
	size_t first = nl ? (size_t)(nl - text) : len;
	char *line = chat_line(eyes, time_ms, what, name, text, first);
	bool good = line && puts(line) >= 0 && (!nl || print_rest(nl + 1, len - first - 1)) && fflush(stdout) == 0;
	free(line);
	return good;
}

static uint64_t arrival(const struct received *m)
{
	return (uint64_t)m->arrived.tv_sec * 1000 + (uint64_t)m->arrived.tv_nsec / 1000000;
}

static void on_refused(void *ctx, const struct received *m, const char *why)
{
	struct inbox *in = ctx;
	in->any_refused = true;
	complain(in->o, "refused: %s: %s", m->topic, why);
}

static void on_opened(void *ctx, const struct received *m, const void *plain, const struct sealmq_message *sealed)
{
	struct inbox *in = ctx;
	const struct box *b = find_box(in, m->topic);
	uint8_t hash[INBOX_HASH_LEN];
	hash_sha256(m->payload, m->payload_len, hash);
	enum inbox_verdict seen = inbox_read_look(in->read, hash);
	if (!b || strcmp(sealed->sender, b->from) != 0) {
		on_refused(ctx, m, "from another than the sender of that name");
		return;
	}
	if (seen == INBOX_SHOWN || (seen == INBOX_READ && !in->o->all))
		return;
	const char *what = sealed->verdict == SEALMQ_REVOKED_SINCE ? "revoked-since" : seen == INBOX_NEW ? "new" : "read";
	if (!print(what, sealed->time_ms ? sealed->time_ms : arrival(m), sealed->sender, plain, sealed->len)) {
		complain(in->o, "standard output: the message could not be written");
		fail(in);
		return;
	}
	enum err e = inbox_read_mark(in->read, hash, clock_wall_ms());
	if (e == ERR_OK)
		return;
	complain(in->o, "the file of what was shown: the message cannot be noted in it, and will be shown again: %s", e == ERR_IO ? strerror(errno) : err_text(e));
	fail(in);
}

/* ---- handlers */

static void on_connected(void *ctx, bool session_present)
{
	struct inbox *in = ctx;
	(void)session_present;
	keys_connected(in->keys, in->link);
	in->listed = in->listening = false;
	for (struct box *b = in->boxes; b; b = b->next)
		b->state = b->state == BOX_CLOSED ? BOX_CLOSED : BOX_NEW;
	in->response_mid = link_subscribe(in->link, CONTROL "/response", 1);
}

static void on_subscribed(void *ctx, int mid, int n, const int *granted)
{
	struct inbox *in = ctx;
	int code = n > 0 ? granted[0] : 128;
	in->active_ms = clock_mono_ms();
	if (keys_on_subscribed(in->keys, mid, code)) {
		go_on(in);
		return;
	}
	if (mid == in->response_mid && !in->listening) {
		in->listening = true;
		if (code > 2) {
			complain(in->o, "%s: the broker has no direct messages: expected direct_messages in its configuration", in->o->host);
			fail(in);
		} else {
			ask_list(in);
		}
		return;
	}
	for (struct box *b = in->boxes; b; b = b->next) {
		if (b->state != BOX_SUBSCRIBED || b->mid != mid)
			continue;
		b->state = BOX_OPEN;
		if (code > 2)
			close_box(in, b, "the broker refuses the subscription");
	}
}

static void on_message(void *ctx, const struct mosquitto_message *m)
{
	struct inbox *in = ctx;
	in->active_ms = clock_mono_ms();
	if (in->failed)
		return;
	if (strcmp(m->topic, CONTROL "/response") == 0)
		take_list(in, m);
	else if (!keys_on_message(in->keys, in->link, m))
		receive_message(in->receive, in->link, m);
	go_on(in);
	receive_go_on(in->receive, in->link);
}

/* ---- running */

static int run(struct inbox *in)
{
	enum link_event event;
	do {
		go_on(in);
		receive_go_on(in->receive, in->link);
		if (link_is_up(in->link) && !in->o->follow && is_settled(in))
			link_end(in->link);
		if (link_is_up(in->link) && in->o->follow && in->listed && clock_mono_ms() - in->asked_ms >= LIST_EVERY_MS)
			ask_list(in);
		event = link_wait(in->link, -1, 100);
	} while (event == LINK_GO_ON || event == LINK_READABLE);
	for (const struct box *b = in->boxes; b; b = b->next)
		if (b->state == BOX_NEW && !in->failed)
			complain(in->o, "%s: its sender has not handed out the key yet", b->topic);
	if (event == LINK_FAILED || in->failed)
		return EXIT_FAILED;
	return event == LINK_TIMEOUT ? EXIT_TIMEOUT : in->any_refused ? EXIT_REFUSED : EXIT_DONE;
}

/* Beside the pins: inbox-<of broker and CN>; the folder is made. NULL: nothing is to be remembered, or, when not *good, where is not known. */
static char *read_path(const struct inbox *in, bool *good)
{
	char *pins = cli_pins_path(in->o), *broker = cli_pins_broker(in->o), *path = NULL, name[17] = "";
	uint8_t hash[HASH_LEN];
	*good = broker && (pins || in->o->no_state);
	if (*good && pins) {
		const struct hash_part parts[] = { { broker, strlen(broker) + 1 }, { own_cn(in), strlen(own_cn(in)) } };
		hash_sha256_parts(parts, 2, hash);
		*hex_put(name, hash, 8) = '\0';
		char *slash = strrchr(pins, '/');
		*good = asprintf(&path, "%.*sinbox-%s", slash ? (int)(slash - pins) + 1 : 0, pins, name) >= 0;
		if (*good && slash && slash != pins) {
			*slash = '\0';
			(void)!durable_make_folder(pins); /* opening the file tells */
		}
	}
	free(pins);
	free(broker);
	return *good ? path : NULL;
}

static bool open_read(struct inbox *in)
{
	char error[512] = "HOME is not set: where is to be remembered what was shown? --state FILE (or --no-state: nowhere)";
	bool good;
	char *path = read_path(in, &good);
	if (good)
		in->read = inbox_read_open(path, clock_wall_ms(), error, sizeof error);
	if (!in->read)
		complain(in->o, "%s", error);
	free(path);
	return in->read != NULL;
}

static int command(struct options *o)
{
	static const struct link_handlers handlers = { .connected = on_connected, .message = on_message, .subscribed = on_subscribed };
	static const struct receive_handlers judges = { .opened = on_opened, .refused = on_refused };
	struct inbox in = { .o = o };
	if (o->words.n || !options_can_seal(o)) {
		fprintf(stderr, "sealmq inbox: %s\n", o->words.n ? "expected options only" : "names come from certificates: expected --cafile, --cert and --key");
		return EXIT_USAGE;
	}
	in.keys = keys_new(o);
	in.receive = in.keys ? receive_new(o, in.keys, SEALMQ_REQUIRE_SIGNATURE, &judges, &in) : NULL;
	in.link = in.receive && open_read(&in) ? link_new(o, &handlers, &in, false) : NULL;
	int status = in.link ? run(&in) : EXIT_FAILED;
	link_free(in.link);
	receive_free(in.receive);
	inbox_read_close(in.read);
	keys_free(in.keys);
	while (in.boxes) {
		struct box *b = in.boxes;
		in.boxes = b->next;
		free(b->keys_topic);
		free(b->from);
		free(b);
	}
	return status;
}

int cmd_inbox(int argc, char **argv)
{
	struct options o;
	bool help;
	if (!options_read(&o, FOR_INBOX, argc, argv, &help)) {
		if (help)
			puts("usage: sealmq inbox [--follow] [--all] [OPTION]...\n"
			     "Prints what others have sent directly (sealmq send) and was not shown before, oldest first for each sender.\n"),
				options_print(FOR_INBOX);
		return help ? EXIT_DONE : EXIT_USAGE;
	}
	int status = command(&o);
	options_free(&o);
	return status;
}
