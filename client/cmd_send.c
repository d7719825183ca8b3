/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq send: a message to one other. For it the sender owns a key space direct/<own CN>/<recipient> (docs/control.md), made here when there is none: its key
 * never is the broker's. The recipient's certificate comes from the broker, is checked against the authorities, and remembered from the first message on. */
#include "client/cli_outgoing.h"
#include "client/cmd.h"
#include "client/owner.h"
#include "client/owner_state.h"
#include "client/owner_sync.h"

#include "base/clock.h"
#include "base/textfile.h"

#include <mosquitto.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MAX_MS 30000u /* for the key that was uploaded just now */

struct send {
	const struct options *o;
	const char *to;            /* CN */
	char *topic, *keys_topic;
	struct link *link;
	struct keys *keys;
	struct outgoing *messages;
	uint64_t since_ms;         /* steady clock: since when the key is waited for; 0: it has come */
	bool failed;
};

static void deny(struct send *s, const char *why)
{
	complain(s->o, "%s: %s", s->to, why);
	s->failed = true;
	link_end(s->link);
}

/* ---- the key space */

/* The certificate that this sender has used for the recipient so far; *known: there is one. An exit status. */
static int remembered(struct owner *w, const struct send *s, uint8_t fingerprint[static 32], bool *known)
{
	char error[VAULT_ERROR_MAX];
	struct owner_space *space;
	enum err e = owner_state_load(owner_vault(w), s->topic, &space, error);
	*known = false;
	if (e == ERR_NOT_FOUND)
		return EXIT_DONE;
	if (e != ERR_OK) {
		complain(s->o, "%s", error);
		return EXIT_FAILED;
	}
	const struct owner_member *m = owner_member(space, s->to);
	*known = m && m->der;
	if (*known)
		memcpy(fingerprint, m->fingerprint, sizeof m->fingerprint);
	owner_space_free(space);
	return EXIT_DONE;
}

/* The recipient's certificate: known to the broker, vouched for, and the same as ever. */
static int find_recipient(struct owner *w, const struct send *s, uint8_t **der, size_t *len)
{
	uint8_t before[32], now[32] = { 0 };
	bool known;
	struct cert cert;
	int status = owner_fetch(w, s->to, s->to, der, len);
	if (status != EXIT_DONE)
		return status;
	if (!*der) {
		complain(s->o, "%s: unknown: the broker has no certificate of that name (it has never connected), or direct_messages is off", s->to);
		return EXIT_FAILED;
	}
	status = remembered(w, s, before, &known);
	if (status != EXIT_DONE || !known)
		return status;
	if (cert_parse(&cert, *der, *len) == ERR_OK)
		cert_fingerprint(&cert, now);
	if (memcmp(now, before, sizeof now) == 0)
		return EXIT_DONE;
	complain(s->o, "%s: has another certificate than when you wrote last; if that is right: sealmq topic admit %s %s", s->to, s->topic, s->to);
	return EXIT_REFUSED;
}

/* The space is there, and the recipient has its key. */
static int make_space(const struct send *s)
{
	struct owner *w = owner_open(s->o);
	uint8_t *der = NULL;
	size_t len = 0;
	int status = w ? find_recipient(w, s, &der, &len) : EXIT_FAILED;
	if (status == EXIT_DONE) {
		const struct der own = keypair_cert(owner_identity(w))->whole;
		const struct owner_wish members[] = { { .cn = owner_cn(w), .access = MEMBER_READ | MEMBER_WRITE, .der = own.p, .der_len = der_len(own) },
			                              { .cn = s->to, .access = MEMBER_READ, .der = der, .der_len = len } };
		const struct owner_spec spec = { .topic = s->topic, .sign = SIGN_REQUIRED, .members = members, .n_members = 2, .may_exist = true };
		status = owner_space_create(w, &spec);
		if (status == EXIT_FAILED && !owner_epoch_of(w, s->topic))
			complain(s->o, "%s: if it is yours, and its keys on this machine are lost: sealmq topic delete %s, and all that was sent goes with it", s->to, s->topic);
	}
	free(der);
	owner_close(w);
	return status;
}

/* ---- the message */

static bool add(struct send *s, const char *text, size_t len)
{
	return outgoing_add(s->messages, (struct outgoing_about){ .topic = s->topic }, text, len);
}

static bool add_lines(struct send *s, const char *text, size_t len)
{
	for (const char *end = text + len; text < end;) {
		const char *nl = memchr(text, '\n', (size_t)(end - text)), *stop = nl ? nl : end;
		if (stop > text && !add(s, text, (size_t)(stop - text)))
			return false;
		text = nl ? nl + 1 : end;
	}
	return true;
}

static bool add_messages(struct send *s)
{
	size_t len = 0;
	if (s->o->message)
		return add(s, s->o->message, strlen(s->o->message));
	char *text = textfile_read(s->o->file ? s->o->file : "/dev/stdin", &len, stderr);
	bool good = text && (s->o->stdin_lines ? add_lines(s, text, len) : add(s, text, len));
	free(text);
	return good;
}

/* ---- handlers */

static void on_connected(void *ctx, bool session_present)
{
	struct send *s = ctx;
	(void)session_present;
	keys_connected(s->keys, s->link);
	s->since_ms = clock_mono_ms();
}

static void on_lost(void *ctx)
{
	struct send *s = ctx;
	outgoing_lost(s->messages);
}

static void on_subscribed(void *ctx, int mid, int n, const int *granted)
{
	struct send *s = ctx;
	(void)keys_on_subscribed(s->keys, mid, n > 0 ? granted[0] : 128);
}

static void on_message(void *ctx, const struct mosquitto_message *m)
{
	struct send *s = ctx;
	(void)keys_on_message(s->keys, s->link, m);
}

static void on_published(void *ctx, int mid)
{
	struct send *s = ctx;
	outgoing_published(s->messages, mid);
}

/* ---- running */

static void go_on(struct send *s)
{
	if (!link_is_up(s->link) || s->failed)
		return;
	switch (keys_ask(s->keys, s->link, s->keys_topic)) {
	case KEYS_ASKED:
	case KEYS_WAITING:
		if (clock_mono_ms() - s->since_ms > WAIT_MAX_MS)
			deny(s, "not sent: the key has not come");
		return;
	case KEYS_BAD: deny(s, "not sent: the keys were refused"); return;
	case KEYS_DENIED: deny(s, "not sent: the broker gives no key"); return;
	case KEYS_READY: break;
	}
	if (!outgoing_send(s->messages, s->link))
		deny(s, "not sent");
	else if (outgoing_waiting(s->messages) == 0)
		link_end(s->link);
}

static int run(struct send *s)
{
	enum link_event event;
	do {
		go_on(s);
		event = link_wait(s->link, -1, 100);
	} while (event == LINK_GO_ON || event == LINK_READABLE);
	size_t waiting = outgoing_waiting(s->messages);
	if (waiting > 0 && !s->failed)
		complain(s->o, "%s: %zu messages were not acknowledged", s->to, waiting);
	return event == LINK_TIMEOUT ? EXIT_TIMEOUT : event == LINK_FAILED || s->failed || waiting > 0 ? EXIT_FAILED : EXIT_DONE;
}

static int send_all(struct send *s)
{
	static const struct link_handlers handlers = { .connected = on_connected, .lost = on_lost, .message = on_message, .subscribed = on_subscribed,
		                                       .published = on_published };
	s->keys = keys_new(s->o);
	s->messages = s->keys ? outgoing_new(s->o, s->keys) : NULL;
	if (!s->messages)
		return EXIT_FAILED;
	const char *own = sealmq_cn(keys_member(s->keys));
	if (strcmp(own, s->to) == 0) {
		complain(s->o, "%s: that is you", s->to);
		return EXIT_FAILED;
	}
	if (asprintf(&s->topic, "direct/%s/%s", own, s->to) < 0 || asprintf(&s->keys_topic, "$KEYS/%s", s->topic) < 0) {
		complain(s->o, "out of memory");
		return EXIT_FAILED;
	}
	int status = add_messages(s) ? make_space(s) : EXIT_FAILED;
	if (status != EXIT_DONE)
		return status;
	s->link = link_new(s->o, &handlers, s, false);
	return s->link ? run(s) : EXIT_FAILED;
}

static int usage_error(const struct options *o)
{
	int sources = (o->message != NULL) + (o->file != NULL) + o->stdin_lines + o->stdin_whole;
	const char *to = o->words.n == 1 ? o->words.items[0] : "";
	struct der cn = { (const uint8_t *)to, (const uint8_t *)to + strlen(to) };
	const char *why = o->words.n != 1         ? "expected one recipient: sealmq send CN -m TEXT"
	                  : cert_name_fault(cn)   ? "the recipient: expected the CN of its certificate"
	                  : sources != 1          ? "expected one of -m, -f, -s, -l"
	                  : !options_can_seal(o)  ? "expected --cafile, --cert and --key"
	                                          : NULL;
	if (!why)
		return EXIT_DONE;
	fprintf(stderr, "sealmq send: %s\n", why);
	return EXIT_USAGE;
}

int cmd_send(int argc, char **argv)
{
	struct options o;
	bool help;
	if (!options_read(&o, FOR_SEND, argc, argv, &help)) {
		if (help)
			puts("usage: sealmq send CN {-m TEXT | -f FILE | -s | -l} [OPTION]...\n"
			     "A message to one other, who may be away and reads it by sealmq inbox. Ends when it is acknowledged.\n"),
				options_print(FOR_SEND);
		return help ? EXIT_DONE : EXIT_USAGE;
	}
	struct send s = { .o = &o, .to = o.words.n ? o.words.items[0] : "" };
	int status = usage_error(&o);
	if (status == EXIT_DONE)
		status = send_all(&s);
	link_free(s.link);
	outgoing_free(s.messages);
	keys_free(s.keys);
	free(s.topic);
	free(s.keys_topic);
	options_free(&o);
	return status;
}
