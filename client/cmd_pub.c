/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq pub: publishes, plain or sealed, and does not end before each message is acknowledged. A message's plain text is kept until then: on a
 * new connection it is sent again, the same sealed bytes as long as their epoch is current, sealed anew afterwards. */
#include "client/cli_keys.h"
#include "client/cli_link.h"
#include "client/cmd.h"

#include "base/clock.h"
#include "base/textfile.h"

#include <mosquitto.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAYLOAD_MAX 268435455u   /* bytes [MQTT-2.2.3] */
#define WAIT_NOTE_MS 2000u       /* after that long without an envelope the user is told what is being waited for */

struct item {
	struct item *next;
	int mid;               /* 0: not sent on this connection */
	uint8_t *sealed;       /* NULL: not sealed yet */
	size_t sealed_len, len;
	uint64_t sent_ms, number;
	char plain[];
};

/* Which view the topic is published in. */
enum view { VIEW_UNKNOWN, VIEW_PLAIN, VIEW_SEALED };

struct pub {
	const struct options *o;
	const char *topic;
	char *keys_topic, *sealed_topic;
	struct link *link;
	struct keys *keys;
	enum view view;
	bool failed, told_waiting;
	bool sending, left_at_once;
	struct item *first, **end; /* not yet acknowledged, oldest first */
	unsigned waiting;          /* how many */
	uint64_t read, acknowledged;
	/* the source */
	bool exhausted;
	char *text;                /* the one payload, for --repeat; or the beginning of a line */
	size_t text_len, text_cap;
	int repeats_left;
	uint64_t next_repeat_ms;
};

static void fail(struct pub *p)
{
	p->failed = true;
	link_end(p->link);
}

/* ---- the queue */

static bool enqueue(struct pub *p, const char *text, size_t len)
{
	struct item *i = calloc(1, sizeof *i + len);
	if (!i) {
		complain(p->o, "out of memory");
		return false;
	}
	if (len)
		memcpy(i->plain, text, len);
	i->len = len;
	i->number = ++p->read;
	*p->end = i;
	p->end = &i->next;
	p->waiting++;
	return true;
}

static void dequeue(struct pub *p, struct item **at)
{
	struct item *i = *at;
	*at = i->next;
	if (p->end == &i->next)
		p->end = at;
	p->waiting--;
	free(i->sealed);
	free(i);
}

/* ---- where it goes */

/* False: not now, or (failed) not at all. */
static bool seal(struct pub *p, struct item *i)
{
	struct sealmq *h = keys_member(p->keys);
	if (i->sealed && !sealmq_is_current(h, p->topic, i->sealed, i->sealed_len)) {
		free(i->sealed); /* its epoch has ended */
		i->sealed = NULL;
	}
	if (i->sealed)
		return true;
	size_t cap = sealmq_sealed_size(h, i->len);
	i->sealed = malloc(cap);
	enum sealmq_err e = !i->sealed ? SEALMQ_NOMEM
	                               : sealmq_seal(h, p->topic, i->plain, i->len, p->o->sign ? SEALMQ_SIGN : 0, i->sealed, cap, &i->sealed_len);
	if (e == SEALMQ_OK)
		return true;
	free(i->sealed);
	i->sealed = NULL;
	if (e != SEALMQ_NEED_KEYS) { /* a newer envelope is on its way otherwise */
		complain(p->o, "%s: %s", p->topic, *sealmq_reason(h) ? sealmq_reason(h) : sealmq_err_text(e));
		fail(p);
	}
	return false;
}

/* False: it could not be handed to the connection. */
static bool send_item(struct pub *p, struct item *i)
{
	/* An empty retained payload clears what is retained: it has nothing to hide, and must be empty. */
	bool sealed = p->view == VIEW_SEALED && !(i->len == 0 && p->o->retain);
	if (sealed && !seal(p, i))
		return false;
	i->mid = link_publish(p->link, p->view == VIEW_SEALED ? p->sealed_topic : p->topic, sealed ? (const void *)i->sealed : i->plain,
	                      sealed ? i->sealed_len : i->len, p->o->qos, p->o->retain);
	i->sent_ms = clock_mono_ms();
	return i->mid != 0;
}

static void deny(struct pub *p, const char *why)
{
	complain(p->o, "%s: %s", p->topic, why);
	fail(p);
}

/* Finds out which view it is. */
static void choose_view(struct pub *p)
{
	if (!keys_member(p->keys) || p->topic[0] == '$') {
		p->view = VIEW_PLAIN;
		return;
	}
	switch (keys_ask(p->keys, p->link, p->keys_topic)) {
	case KEYS_ASKED:
		return;
	case KEYS_WAITING:
		if (!p->told_waiting && clock_mono_ms() - keys_asked_ms(p->keys, p->keys_topic) > WAIT_NOTE_MS) {
			p->told_waiting = true;
			complain(p->o, "%s: waiting for the key (its owner has not handed it out yet)", p->topic);
		}
		return;
	case KEYS_READY:
		p->view = VIEW_SEALED;
		return;
	case KEYS_BAD:
		deny(p, "not published: its keys were refused");
		return;
	case KEYS_DENIED:
		break;
	}
	if (keys_was_sealed(p->keys, p->topic)) /* never fall back to plain text what was to be sealed */
		deny(p, "not published: " KEYS_WAS_SEALED);
	else if (p->o->sealed)
		deny(p, "not sealed for this client, and --sealed forbids plain text");
	else
		p->view = VIEW_PLAIN;
}

/* An acknowledgement has come, or with QoS 0 the message has left. */
static void acknowledge(struct pub *p, struct item **at)
{
	const struct item *i = *at;
	p->acknowledged++;
	if (p->o->verbose)
		printf("%s %llu %s %s%zu bytes, %llu ms\n", p->o->qos ? "acknowledged" : "sent", (unsigned long long)i->number, p->topic,
		       i->sealed ? "sealed, " : "", i->len, (unsigned long long)(clock_mono_ms() - i->sent_ms));
	dequeue(p, at);
}

/* As much as the connection takes. libmosquitto may report a QoS 0 message as sent before it has told its identifier. */
static void send_queue(struct pub *p)
{
	for (struct item **at = &p->first; *at && !p->failed && !link_is_busy(p->link);) {
		struct item *i = *at;
		p->left_at_once = false;
		p->sending = i->mid == 0;
		bool good = i->mid != 0 || send_item(p, i);
		p->sending = false;
		if (p->left_at_once)
			acknowledge(p, at);
		else if (!good)
			return;
		else
			at = &i->next;
	}
}

static void send_all(struct pub *p)
{
	if (!link_is_up(p->link) || p->failed)
		return;
	if (p->view == VIEW_UNKNOWN)
		choose_view(p);
	if (p->view != VIEW_UNKNOWN)
		send_queue(p);
}

/* ---- handlers */

static void on_connected(void *ctx, bool session_present)
{
	struct pub *p = ctx;
	(void)session_present;
	p->view = VIEW_UNKNOWN;
	keys_connected(p->keys, p->link);
}

static void on_lost(void *ctx)
{
	struct pub *p = ctx;
	for (struct item *i = p->first; i; i = i->next)
		i->mid = 0;
}

static void on_subscribed(void *ctx, int mid, int n, const int *granted)
{
	struct pub *p = ctx;
	(void)keys_on_subscribed(p->keys, mid, n > 0 ? granted[0] : 128);
}

static void on_message(void *ctx, const struct mosquitto_message *m)
{
	struct pub *p = ctx;
	(void)keys_on_message(p->keys, p->link, m);
}

static void on_published(void *ctx, int mid)
{
	struct pub *p = ctx;
	struct item **at = &p->first;
	while (*at && (*at)->mid != mid)
		at = &(*at)->next;
	if (*at)
		acknowledge(p, at);
	else if (p->sending)
		p->left_at_once = true;
}

/* ---- the source */

static bool read_whole(struct pub *p, const char *path)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	if (!f) {
		complain(p->o, "%s: %s", path, strerror(errno));
		return false;
	}
	for (;;) {
		if (p->text_len == p->text_cap) {
			char *more = p->text_len > PAYLOAD_MAX ? NULL : realloc(p->text, p->text_cap = p->text_cap ? 2 * p->text_cap : 65536);
			if (!more) {
				complain(p->o, "%s: larger than a message may be (%u bytes)", path, PAYLOAD_MAX);
				break;
			}
			p->text = more;
		}
		size_t n = fread(p->text + p->text_len, 1, p->text_cap - p->text_len, f);
		p->text_len += n;
		if (n == 0) {
			bool bad = ferror(f) != 0;
			if (bad)
				complain(p->o, "%s: %s", path, strerror(errno));
			if (f != stdin)
				(void)fclose(f);
			return !bad && p->text_len <= PAYLOAD_MAX;
		}
	}
	if (f != stdin)
		(void)fclose(f);
	return false;
}

/* Takes the lines that are there. */
static bool read_lines(struct pub *p)
{
	char buf[65536];
	ssize_t n = read(STDIN_FILENO, buf, sizeof buf);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	const char *at = buf, *end = buf + n;
	for (const char *nl; (nl = memchr(at, '\n', (size_t)(end - at))) || at < end || n == 0;) {
		const char *stop = nl ? nl : end;
		size_t part = (size_t)(stop - at);
		if (p->text_len + part > p->text_cap) {
			char *more = p->text_len + part > PAYLOAD_MAX ? NULL : realloc(p->text, p->text_cap = 2 * (p->text_len + part));
			if (!more) {
				complain(p->o, "a line is longer than a message may be");
				return false;
			}
			p->text = more;
		}
		if (part)
			memcpy(p->text + p->text_len, at, part);
		p->text_len += part;
		at = nl ? nl + 1 : end;
		if (nl || (n == 0 && p->text_len > 0)) { /* the last line may lack its line feed */
			if (!enqueue(p, p->text, p->text_len))
				return false;
			p->text_len = 0;
		}
		if (!nl)
			break;
	}
	p->exhausted = n == 0;
	return true;
}

/* --repeat: the next copy, when it is time. */
static bool repeat(struct pub *p)
{
	if (clock_mono_ms() < p->next_repeat_ms)
		return true;
	p->next_repeat_ms = clock_mono_ms() + (uint64_t)(p->o->repeat_delay_s * 1000);
	if (!enqueue(p, p->text, p->text_len))
		return false;
	p->exhausted = --p->repeats_left == 0;
	return true;
}

static bool start_source(struct pub *p)
{
	const struct options *o = p->o;
	p->repeats_left = o->repeat;
	if (o->stdin_lines)
		return true;
	if (o->message) {
		p->text = strdup(o->message);
		p->text_len = p->text ? strlen(p->text) : 0;
		return p->text != NULL;
	}
	return o->null_message || read_whole(p, o->stdin_whole ? "-" : o->file);
}

/* ---- running */

static int usage_error(const struct options *o)
{
	int sources = (o->message != NULL) + (o->file != NULL) + o->stdin_lines + o->stdin_whole + o->null_message;
	const char *why = o->topics.n != 1       ? "expected one topic: -t"
	                  : sources != 1         ? "expected one of -m, -f, -l, -s, -n"
	                  : o->words.n           ? "expected options only; a payload stands behind -m"
	                  : o->plain && o->sign  ? "--sign: plain messages cannot be signed"
	                  : mosquitto_pub_topic_check(o->topics.items[0]) != MOSQ_ERR_SUCCESS ? "-t: not a topic (no '+' or '#', valid UTF-8, not empty)"
	                                         : NULL;
	if (!why)
		return EXIT_DONE;
	fprintf(stderr, "sealmq pub: %s\n", why);
	return EXIT_USAGE;
}

static int run(struct pub *p)
{
	for (;;) {
		bool room = p->waiting < (unsigned)p->o->max_inflight && !link_is_busy(p->link);
		bool lines = p->o->stdin_lines && !p->exhausted && room && link_is_up(p->link);
		if (!p->o->stdin_lines && !p->exhausted && room && link_is_up(p->link) && !repeat(p))
			fail(p);
		send_all(p);
		if (p->exhausted && p->waiting == 0)
			link_end(p->link);
		switch (link_wait(p->link, lines ? STDIN_FILENO : -1, p->o->repeat_delay_s > 0 ? 10 : -1)) {
		case LINK_FAILED: return EXIT_FAILED;
		case LINK_TIMEOUT:
			complain(p->o, "time out: %llu messages not acknowledged", (unsigned long long)p->waiting);
			return EXIT_TIMEOUT;
		case LINK_ENDED:
			if (!p->failed && (p->waiting || !p->exhausted))
				complain(p->o, "interrupted: %u messages not acknowledged", p->waiting);
			return p->failed || p->waiting || !p->exhausted ? EXIT_FAILED : EXIT_DONE;
		case LINK_READABLE:
			if (!read_lines(p))
				fail(p);
			break;
		case LINK_GO_ON: break;
		}
	}
}

static int command(struct options *o)
{
	static const struct link_handlers handlers = { .connected = on_connected, .lost = on_lost, .message = on_message, .subscribed = on_subscribed,
		                                       .published = on_published };
	struct pub p = { .o = o, .end = &p.first };
	int status = usage_error(o);
	if (status != EXIT_DONE)
		return status;
	status = EXIT_FAILED;
	p.topic = o->topics.items[0];
	if (asprintf(&p.keys_topic, "$KEYS/%s", p.topic) < 0 || asprintf(&p.sealed_topic, "$SEALED/%s", p.topic) < 0)
		return EXIT_FAILED;
	p.keys = keys_new(o);
	p.link = p.keys && start_source(&p) ? link_new(o, &handlers, &p, false) : NULL;
	if (p.link && (!o->will_topic || link_will(p.link, o->will_topic, o->will_payload, o->will_payload ? strlen(o->will_payload) : 0, o->will_qos, o->will_retain)))
		status = run(&p);
	while (p.first)
		dequeue(&p, &p.first);
	link_free(p.link);
	keys_free(p.keys);
	free(p.keys_topic);
	free(p.sealed_topic);
	free(p.text);
	return status;
}

int cmd_pub(int argc, char **argv)
{
	struct options o;
	bool help;
	if (!options_read(&o, FOR_PUB, argc, argv, &help)) {
		if (help)
			puts("usage: sealmq pub -t TOPIC {-m TEXT | -f FILE | -s | -l | -n} [OPTION]...\n"
			     "Publishes. Ends when everything is acknowledged.\n"), options_print(FOR_PUB);
		return help ? EXIT_DONE : EXIT_USAGE;
	}
	int status = command(&o);
	options_free(&o);
	return status;
}
