/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq pub: publishes, plain or sealed, and does not end before each message is acknowledged. A message's plain text is kept until then: on a
 * new connection it is sent again, the same sealed bytes as long as their epoch is current, sealed anew afterwards. With --outbox it is kept in a
 * file: nothing is sent, and nothing is said to be taken, before it is on disk there. */
#include "client/cli_keys.h"
#include "client/cli_link.h"
#include "client/cli_will.h"
#include "client/cmd.h"
#include "client/lib_int.h"
#include "client/outbox.h"

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

struct item {
	struct item *next;
	int mid;               /* 0: not sent on this connection */
	uint8_t *sealed;       /* NULL: not sealed yet */
	size_t sealed_len, len;
	uint64_t sent_ms, number;
	int qos;
	bool retain;
	struct lib_place place; /* with an outbox */
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
	struct will *will;
	enum view view;
	struct outbox *outbox;     /* or NULL */
	bool failed, outbox_failed;
	bool sending, left_at_once;
	struct item *first, **end; /* not yet acknowledged, oldest first */
	unsigned waiting, in_flight; /* how many; and how many of these were sent on this connection */
	uint64_t read, acknowledged;
	uint64_t told_taken;       /* how many were said to be in the outbox, and 1 */
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

static struct item *append(struct pub *p, const void *text, size_t len)
{
	struct item *i = calloc(1, sizeof *i + len);
	if (!i) {
		complain(p->o, "out of memory");
		return NULL;
	}
	if (len)
		memcpy(i->plain, text, len);
	i->len = len;
	i->number = ++p->read;
	i->qos = p->o->qos;
	i->retain = p->o->retain;
	*p->end = i;
	p->end = &i->next;
	p->waiting++;
	return i;
}

static void dequeue(struct pub *p, struct item **at)
{
	struct item *i = *at;
	*at = i->next;
	if (p->end == &i->next)
		p->end = at;
	p->waiting--;
	p->in_flight -= i->mid != 0;
	free(i->sealed);
	free(i);
}

static bool outbox_good(struct pub *p, enum err e)
{
	if (e == ERR_OK)
		return true;
	complain(p->o, "%s: %s", p->o->outbox, e == ERR_IO ? strerror(errno) : e == ERR_FULL ? "full: it takes nothing more before all is delivered" : err_text(e));
	p->outbox_failed = true;
	return false;
}

/* One that is in the outbox. */
static const char *append_kept(void *ctx, const struct outbox_message *m)
{
	struct pub *p = ctx;
	struct item *i = append(p, m->bytes, m->len);
	if (!i)
		return "out of memory";
	p->read = i->number = m->number + 1;
	i->qos = m->qos;
	i->retain = m->retain;
	i->place = (struct lib_place){ .seq = OUTBOX_SEQ_FIRST + m->number, .time_ms = m->time_ms };
	memcpy(i->place.stream, m->stream, sizeof i->place.stream);
	return NULL;
}

static bool enqueue(struct pub *p, const char *text, size_t len)
{
	struct outbox_message m = { .bytes = (const uint8_t *)text, .len = len, .qos = (uint8_t)p->o->qos, .retain = p->o->retain };
	if (!p->outbox)
		return append(p, text, len) != NULL;
	return outbox_good(p, outbox_add(p->outbox, &m, clock_wall_ms())) && !append_kept(p, &m);
}

/* What was enqueued may be sent; with -l, whoever writes the lines is told how many are safe. */
static bool commit(struct pub *p)
{
	if (!p->outbox)
		return true;
	if (!outbox_good(p, outbox_commit(p->outbox)))
		return false;
	if (p->o->stdin_lines && p->told_taken != outbox_taken(p->outbox) + 1) {
		p->told_taken = outbox_taken(p->outbox) + 1;
		printf("taken %llu\n", (unsigned long long)outbox_taken(p->outbox));
		(void)fflush(stdout);
	}
	return true;
}

/* What former runs have left in it comes first. */
static bool open_outbox(struct pub *p)
{
	uint64_t torn;
	char error[512];
	if (!p->o->outbox)
		return true;
	p->outbox = outbox_open(p->o->outbox, p->topic, keys_member(p->keys)->key, append_kept, p, &torn, error, sizeof error);
	if (!p->outbox) {
		complain(p->o, "--outbox: %s", error);
		return false;
	}
	if (torn)
		complain(p->o, "%s: dropped %llu bytes at its end that a crash has cut off: what they were was not taken", p->o->outbox, (unsigned long long)torn);
	while (p->first && p->first->number <= outbox_first(p->outbox))
		dequeue(p, &p->first);
	p->read = outbox_taken(p->outbox);
	return commit(p);
}

/* ---- where it goes */

/* False: not now, or (failed) not at all. */
static bool seal(struct pub *p, struct item *i)
{
	struct sealmq *h = p->outbox ? keys_member(p->keys) : keys_sealer(p->keys);
	if (i->sealed && !sealmq_is_current(h, p->topic, i->sealed, i->sealed_len)) {
		free(i->sealed); /* its epoch has ended */
		i->sealed = NULL;
	}
	if (i->sealed)
		return true;
	size_t cap = sealmq_sealed_size(h, i->len);
	i->sealed = malloc(cap);
	unsigned flags = p->o->sign ? SEALMQ_SIGN : 0;
	enum sealmq_err e = !i->sealed  ? SEALMQ_NOMEM
	                    : p->outbox ? lib_seal_kept(h, p->topic, &i->place, i->plain, i->len, flags, i->sealed, cap, &i->sealed_len)
	                                : sealmq_seal(h, p->topic, i->plain, i->len, flags, i->sealed, cap, &i->sealed_len);
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
	bool sealed = p->view == VIEW_SEALED && !(i->len == 0 && i->retain);
	if (sealed && !seal(p, i))
		return false;
	i->mid = link_publish(p->link, p->view == VIEW_SEALED ? p->sealed_topic : p->topic, sealed ? (const void *)i->sealed : i->plain,
	                      sealed ? i->sealed_len : i->len, i->qos, i->retain);
	i->sent_ms = clock_mono_ms();
	p->in_flight += i->mid != 0;
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
		keys_note_waiting(p->keys, p->keys_topic, p->topic);
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
	if (p->o->verbose) {
		printf("%s %llu %s %s%zu bytes, %llu ms\n", p->o->qos ? "acknowledged" : "sent", (unsigned long long)i->number, p->topic,
		       i->sealed ? "sealed, " : "", i->len, (unsigned long long)(clock_mono_ms() - i->sent_ms));
		(void)fflush(stdout); /* who waits for it may read a pipe; main reports what could not be written */
	}
	dequeue(p, at);
	if (p->outbox && !outbox_good(p, outbox_delivered(p->outbox, p->first ? p->first->number - 1 : outbox_taken(p->outbox))))
		fail(p);
}

/* As much as the connection takes. libmosquitto may report a QoS 0 message as sent before it has told its identifier. */
static void send_queue(struct pub *p)
{
	for (struct item **at = &p->first; *at && !p->failed && !link_is_busy(p->link);) {
		struct item *i = *at;
		if (i->mid == 0 && p->in_flight >= (unsigned)p->o->max_inflight)
			return;
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
	enum will_state will = will_go_on(p->will);
	if (will == WILL_FAILED)
		fail(p);
	if (will != WILL_SET)
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
	p->in_flight = 0;
	will_lost(p->will);
}

static void on_subscribed(void *ctx, int mid, int n, const int *granted)
{
	struct pub *p = ctx;
	(void)keys_on_subscribed(p->keys, mid, n > 0 ? granted[0] : 128);
}

static void on_message(void *ctx, const struct mosquitto_message *m)
{
	struct pub *p = ctx;
	if (keys_on_message(p->keys, p->link, m))
		will_new_keys(p->will);
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
				if (p->text_len > PAYLOAD_MAX)
					complain(p->o, "%s: larger than a message may be (%u bytes)", path, PAYLOAD_MAX);
				else
					complain(p->o, "%s: out of memory", path);
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

/* Adds to the line that is being read. */
static bool gather(struct pub *p, const char *part, size_t len)
{
	if (len == 0)
		return true;
	if (p->text_len + len > p->text_cap) {
		bool fits = p->text_len + len <= PAYLOAD_MAX;
		char *more = fits ? realloc(p->text, 2 * (p->text_len + len)) : NULL;
		if (!fits)
			complain(p->o, "standard input: a line is longer than a message may be (%u bytes)", PAYLOAD_MAX);
		else if (!more)
			complain(p->o, "out of memory");
		if (!more)
			return false;
		p->text = more;
		p->text_cap = 2 * (p->text_len + len);
	}
	memcpy(p->text + p->text_len, part, len);
	p->text_len += len;
	return true;
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
		if (!gather(p, at, (size_t)(stop - at)))
			return false;
		at = nl ? nl + 1 : end;
		if (nl || (n == 0 && p->text_len > 0)) { /* the last line may lack its line feed */
			if (!enqueue(p, p->text, p->text_len))
				return false; /* NOLINT(clang-analyzer-unix.Malloc): p->text still has it */
			p->text_len = 0;
		}
		if (!nl)
			break;
	}
	p->exhausted = n == 0;
	return commit(p);
}

/* --repeat: the next copy, when it is time. */
static bool repeat(struct pub *p)
{
	if (clock_mono_ms() < p->next_repeat_ms)
		return true;
	p->next_repeat_ms = clock_mono_ms() + (uint64_t)(p->o->repeat_delay_s * 1000);
	if (!enqueue(p, p->text, p->text_len) || !commit(p))
		return false;
	p->exhausted = --p->repeats_left == 0;
	return true;
}

static int n_sources(const struct options *o)
{
	return (o->message != NULL) + (o->file != NULL) + o->stdin_lines + o->stdin_whole + o->null_message;
}

static bool start_source(struct pub *p)
{
	const struct options *o = p->o;
	p->repeats_left = o->repeat;
	p->exhausted = n_sources(o) == 0; /* what is in the outbox */
	if (o->stdin_lines || p->exhausted)
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
	int sources = n_sources(o);
	const char *why = o->topics.n != 1       ? "expected one topic: -t"
	                  : sources > 1 || (sources == 0 && !o->outbox) ? "expected one of -m, -f, -l, -s, -n"
	                  : o->words.n           ? "expected options only; a payload stands behind -m"
	                  : o->plain && o->sign  ? "--sign: plain messages cannot be signed"
	                  : o->outbox && (o->plain || !options_can_seal(o)) ? "--outbox is for sealed topics: it needs --cafile, --cert and --key, and not --plain"
	                  : o->outbox && o->qos == 0 ? "--outbox: expected -q 1 or 2, nothing acknowledges QoS 0"
	                  : mosquitto_pub_topic_check(o->topics.items[0]) != MOSQ_ERR_SUCCESS ? "-t: not a topic (no '+' or '#', valid UTF-8, not empty)"
	                                         : NULL;
	if (!why)
		return EXIT_DONE;
	fprintf(stderr, "sealmq pub: %s\n", why);
	return EXIT_USAGE;
}

/* What is not delivered is in the outbox, if there is one. */
static int unfinished(const struct pub *p, int status, const char *why)
{
	bool kept = p->outbox && !p->outbox_failed;
	if (p->waiting)
		complain(p->o, "%s%u messages not acknowledged%s", why, p->waiting, kept ? "; the outbox keeps them" : "");
	return kept && p->exhausted && status == EXIT_FAILED ? EXIT_KEPT : status;
}

/* An outbox takes what is there; otherwise no more than can be on its way. */
static bool takes_more(const struct pub *p)
{
	if (p->exhausted)
		return false;
	return p->outbox ? !outbox_is_full(p->outbox) : p->waiting < (unsigned)p->o->max_inflight && !link_is_busy(p->link) && link_is_up(p->link);
}

static int run(struct pub *p)
{
	for (;;) {
		bool more = takes_more(p), lines = more && p->o->stdin_lines;
		if (more && !lines && !p->failed && !repeat(p))
			fail(p);
		send_all(p);
		if (p->exhausted && p->waiting == 0)
			link_end(p->link);
		switch (link_wait(p->link, lines ? STDIN_FILENO : -1, p->o->repeat_delay_s > 0 ? 10 : -1)) {
		case LINK_FAILED: return unfinished(p, EXIT_FAILED, "");
		case LINK_TIMEOUT: return unfinished(p, EXIT_TIMEOUT, "time out: ");
		case LINK_ENDED:
			if (p->failed || p->waiting || !p->exhausted)
				return unfinished(p, p->failed && keys_any_refused(p->keys) ? EXIT_REFUSED : EXIT_FAILED, p->failed ? "" : "interrupted: ");
			return EXIT_DONE;
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
	o->sealed = o->sealed || o->outbox; /* what was to be sealed never leaves in plain text, in no later run */
	status = EXIT_FAILED;
	p.topic = o->topics.items[0];
	if (asprintf(&p.keys_topic, "$KEYS/%s", p.topic) < 0 || asprintf(&p.sealed_topic, "$SEALED/%s", p.topic) < 0)
		return EXIT_FAILED;
	p.keys = keys_new(o);
	p.link = p.keys && start_source(&p) && open_outbox(&p) ? link_new(o, &handlers, &p, false) : NULL;
	p.will = p.link ? will_new(o, p.keys, p.link) : NULL;
	if (p.will)
		status = run(&p);
	if (p.outbox && !p.outbox_failed && !outbox_good(&p, outbox_finish(p.outbox)))
		status = EXIT_FAILED;
	while (p.first)
		dequeue(&p, &p.first);
	will_free(p.will);
	link_free(p.link);
	outbox_close(p.outbox);
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
			puts("usage: sealmq pub -t TOPIC {-m TEXT | -f FILE | -s | -l | -n | --outbox FILE} [OPTION]...\n"
			     "Publishes. Ends when everything is acknowledged.\n"), options_print(FOR_PUB);
		return help ? EXIT_DONE : EXIT_USAGE;
	}
	int status = command(&o);
	options_free(&o);
	return status;
}
