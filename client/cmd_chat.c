/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq chat: a conversation on a sealed topic. What is said is signed, and shown under the name in the certificate that verified it; who is here stands on
 * <topic>/presence/<cn>, retained, and the broker says "left" for who is lost: a will, sealed and signed beforehand. */
#include "client/chat_console.h"
#include "client/chat_people.h"
#include "client/chat_show.h"
#include "client/cli_outgoing.h"
#include "client/cli_receive.h"
#include "client/cli_safe.h"
#include "client/cmd.h"

#include "base/clock.h"
#include "base/random.h"
#include "base/textbytes.h"

#include <mosquitto.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX 20u            /* that wait to be acknowledged; a pipe is read no further then */
#define BACK_WAIT_MS 10000u      /* for a line of ours to come back, once it is acknowledged */
#define SHOWN 4096u              /* messages that are recognised when a past brings them again */
#define CLOCK_SKEW_MS 300000u    /* between this machine and the broker: so much more of the past is asked for on a new connection */
#define WAIT_NOTE_MS 2000u         /* after that long without an envelope the user is told what is being waited for */

/* On a connection, in this order. */
enum step {
	STEP_KEYS,        /* the key has been asked for */
	STEP_SUBSCRIBED,  /* messages and presence have been asked for */
	STEP_TALKING,
};

struct shown { uint8_t stream[8]; uint64_t seq; };

struct chat {
	const struct options *o;
	struct complainer complainer;
	const char *topic;
	char *keys_topic, *presence_topic, *own_topic; /* $KEYS/T; T/presence/; T/presence/<cn> */
	struct link *link;
	struct keys *keys;
	struct receive *receive;
	struct outgoing *lines, *presence;
	struct people *people;
	struct console *console;
	enum step step;
	int mids[2];                       /* of the two SUBSCRIBEs; 0: answered */
	char id[PEOPLE_ID_LEN];            /* this console */
	uint8_t *will;                     /* sealed; NULL: none yet */
	size_t will_len;
	bool failed, lost_lines, any_refused, told_waiting, listed;
	bool input_ended, said_left;
	uint64_t last_ms;                  /* wall clock of the last message; 0: none yet */
	struct shown shown[SHOWN];
	uint64_t n_shown;
};

static void fail(struct chat *c)
{
	c->failed = true;
	receive_stop(c->receive);
	link_end(c->link);
}

static void deny(struct chat *c, const char *why)
{
	complain(c->o, "%s: %s", c->topic, why);
	fail(c);
}

/* ---- showing */

static void show(struct chat *c, uint64_t time_ms, const char *what, const char *name, const void *text, size_t len)
{
	char *line = chat_line(console_is_terminal(c->console), time_ms, what, name, text, len);
	if (!line || !console_print(c->console, line))
		deny(c, line ? "standard output: a line could not be written" : "out of memory");
	free(line);
}

static uint64_t time_of(const struct received *m)
{
	return (uint64_t)m->arrived.tv_sec * 1000 + (uint64_t)m->arrived.tv_nsec / 1000000;
}

static void on_refused(void *ctx, const struct received *m, const char *why)
{
	struct chat *c = ctx;
	c->any_refused = true;
	show(c, time_of(m), "refused", "", why, strlen(why));
}

/* The list of who is here, once their past is known. */
static void show_people(struct chat *c)
{
	if (c->listed)
		return;
	c->listed = true;
	char *all = NULL;
	size_t size = 0;
	FILE *list = open_memstream(&all, &size);
	const char *name;
	for (size_t i = 0; list && (name = people_at(c->people, i)); i++) {
		if (console_is_terminal(c->console))
			fprintf(list, "%s%s", i ? ", " : "", name);
		else
			show(c, clock_wall_ms(), "here", name, "", 0);
	}
	if (list && fclose(list) == 0 && console_is_terminal(c->console))
		show(c, clock_wall_ms(), "here", all, "", 0);
	free(all);
}

/* ---- presence */

static bool announce(struct chat *c, bool here)
{
	char text[PRESENCE_LEN + 1];
	presence_text(text, here, c->id);
	return outgoing_add(c->presence, (struct outgoing_about){ .topic = c->own_topic, .retain = true }, text, PRESENCE_LEN);
}

/* The will of the connections to come. False: it is not possible now. */
static bool seal_will(struct chat *c)
{
	struct sealmq *member = keys_member(c->keys);
	char text[PRESENCE_LEN + 1], *topic = NULL;
	size_t cap = sealmq_sealed_size(member, PRESENCE_LEN);
	uint8_t *will = malloc(cap);
	presence_text(text, false, c->id);
	enum sealmq_err e = !will ? SEALMQ_NOMEM
	                          : sealmq_seal(member, c->own_topic, text, PRESENCE_LEN, SEALMQ_SIGN | SEALMQ_WILL, will, cap, &c->will_len);
	bool good = e == SEALMQ_OK && asprintf(&topic, "$SEALED/%s", c->own_topic) >= 0 && link_will(c->link, topic, will, c->will_len, 1, true);
	free(topic);
	free(c->will);
	c->will = good ? will : NULL;
	if (!good)
		free(will);
	if (!good && e != SEALMQ_NEED_KEYS)
		deny(c, *sealmq_reason(member) ? sealmq_reason(member) : sealmq_err_text(e));
	return good;
}

static bool will_is_current(struct chat *c)
{
	return c->will && sealmq_is_current(keys_member(c->keys), c->own_topic, c->will, c->will_len);
}

static void take_presence(struct chat *c, const struct received *m, const void *plain, const struct sealmq_message *sealed)
{
	const char *of = m->topic + strlen(c->presence_topic), *id;
	bool here, past = sealed->verdict == SEALMQ_PAST;
	if (sealed->verdict == SEALMQ_DUPLICATE || sealed->verdict == SEALMQ_REVOKED_SINCE)
		return;
	if (strcmp(of, sealed->sender) != 0 || !presence_read(plain, sealed->len, &here, &id)) {
		on_refused(c, m, "somebody's presence in another's name, or none at all");
		return;
	}
	/* Our own comes back behind the past, perhaps as the last of it. */
	bool behind_past = here && memcmp(id, c->id, PEOPLE_ID_LEN) == 0;
	enum people_change change = past ? people_recall(c->people, of, id, here) : people_note(c->people, of, id, here);
	if (change == PEOPLE_NOMEM)
		deny(c, "out of memory");
	else if (c->listed && change != PEOPLE_SAME)
		show(c, time_of(m), change == PEOPLE_JOINED ? "joined" : "left", of, "", 0);
	if (behind_past)
		show_people(c);
	/* Another console of ours has left, or the will of our former connection came late: what is retained must say that we are here. */
	if (!here && !past && strcmp(of, sealmq_cn(keys_member(c->keys))) == 0 && c->step == STEP_TALKING && !c->said_left && !announce(c, true))
		fail(c);
}

/* ---- messages */

/* Whether it was shown before; it is, from now on. */
static bool seen_before(struct chat *c, const struct sealmq_message *sealed)
{
	struct shown *next = &c->shown[c->n_shown % SHOWN];
	uint64_t n = c->n_shown < SHOWN ? c->n_shown : SHOWN;
	for (uint64_t i = 0; i < n; i++)
		if (c->shown[i].seq == sealed->seq && memcmp(c->shown[i].stream, sealed->stream, sizeof next->stream) == 0)
			return true;
	next->seq = sealed->seq;
	memcpy(next->stream, sealed->stream, sizeof next->stream);
	c->n_shown++;
	return false;
}

static void on_opened(void *ctx, const struct received *m, const void *plain, const struct sealmq_message *sealed)
{
	struct chat *c = ctx;
	size_t prefix = strlen(c->presence_topic);
	if (strncmp(m->topic, c->presence_topic, prefix) == 0) {
		take_presence(c, m, plain, sealed);
		return;
	}
	/* What was said just now is of now, also when the past has not all come yet and brings it. */
	bool ours = outgoing_seen(c->lines, m->payload, m->payload_len);
	c->last_ms = time_of(m);
	if (sealed->verdict == SEALMQ_DUPLICATE || seen_before(c, sealed))
		return;
	show(c, sealed->time_ms ? sealed->time_ms : time_of(m), ours ? "live" : sealmq_verdict_text(sealed->verdict), sealed->sender, plain, sealed->len);
}

/* An empty message clears what was retained: nobody said anything. */
static void on_plain(void *ctx, const struct received *m)
{
	if (m->payload_len > 0)
		on_refused(ctx, m, "it is plain text");
}

/* ---- a connection, from its beginning to talking */

static bool subscribe(struct chat *c)
{
	char *messages = NULL, *presence = NULL, since[40];
	const char *spec = c->o->history ? c->o->history : "100";
	if (c->last_ms) { /* coming back */
		snprintf(since, sizeof since, "since-%llu", (unsigned long long)(c->last_ms - CLOCK_SKEW_MS));
		spec = since;
	}
	bool good = asprintf(&messages, "$HISTORY/%s/$SEALED/%s", spec, c->topic) >= 0 && asprintf(&presence, "$SEALED/%s+", c->presence_topic) >= 0;
	c->mids[0] = good ? link_subscribe(c->link, messages, 1) : 0;
	c->mids[1] = good ? link_subscribe(c->link, presence, 1) : 0;
	free(messages);
	free(presence);
	return good;
}

/* The key is there: with it the will, for which the connection has to begin once more, then the subscriptions. */
static void go_on_with_key(struct chat *c)
{
	if (!will_is_current(c)) {
		if (seal_will(c))
			link_restart(c->link);
		return;
	}
	if (!subscribe(c))
		deny(c, "out of memory");
	c->step = STEP_SUBSCRIBED;
}

static void go_on(struct chat *c)
{
	if (!link_is_up(c->link) || c->failed)
		return;
	if (c->step != STEP_KEYS) {
		if (!will_is_current(c) && !c->said_left) /* the key has been changed: the broker would not take the old will */
			go_on_with_key(c);
		return;
	}
	switch (keys_ask(c->keys, c->link, c->keys_topic)) {
	case KEYS_ASKED: return;
	case KEYS_WAITING:
		if (!c->told_waiting && clock_mono_ms() - keys_asked_ms(c->keys, c->keys_topic) > WAIT_NOTE_MS) {
			c->told_waiting = true;
			complain(c->o, "%s: waiting for the key (its owner has not handed it out yet)", c->topic);
		}
		return;
	case KEYS_READY: go_on_with_key(c); return;
	case KEYS_BAD: deny(c, "its keys were refused"); return;
	case KEYS_DENIED: deny(c, "no conversation for this client: there is no sealed topic of that name that it is a member of"); return;
	}
}

static void on_connected(void *ctx, bool session_present)
{
	struct chat *c = ctx;
	(void)session_present;
	c->step = STEP_KEYS;
	c->listed = false;
	keys_connected(c->keys, c->link);
	go_on(c);
}

static void on_lost(void *ctx)
{
	struct chat *c = ctx;
	outgoing_lost(c->lines);
	outgoing_lost(c->presence);
	c->step = STEP_KEYS;
	if (c->will && !c->failed) /* it has been published perhaps: a second time it would be a duplicate */
		(void)seal_will(c);
}

static void on_subscribed(void *ctx, int mid, int n, const int *granted)
{
	struct chat *c = ctx;
	int code = n > 0 ? granted[0] : 128;
	if (keys_on_subscribed(c->keys, mid, code)) {
		go_on(c);
		return;
	}
	for (int i = 0; i < 2; i++) {
		if (c->mids[i] != mid)
			continue;
		c->mids[i] = 0;
		if (code > 2) {
			deny(c, "the broker refuses the subscription (a member without the right to read?)");
			return;
		}
	}
	if (c->step != STEP_SUBSCRIBED || c->mids[0] || c->mids[1])
		return;
	c->step = STEP_TALKING;
	if (!announce(c, true))
		fail(c);
}

static void on_message(void *ctx, const struct mosquitto_message *m)
{
	struct chat *c = ctx;
	if (c->failed)
		return;
	if (!keys_on_message(c->keys, c->link, m)) {
		receive_message(c->receive, c->link, m);
		return;
	}
	go_on(c);
	receive_go_on(c->receive, c->link);
}

static void on_published(void *ctx, int mid)
{
	struct chat *c = ctx;
	outgoing_published(c->lines, mid);
	outgoing_published(c->presence, mid);
}

/* A signal: what was typed and has not left is told about, and those who are here are told, too. */
static void on_interrupted(void *ctx)
{
	struct chat *c = ctx;
	c->input_ended = true;
	if (c->step != STEP_TALKING || c->said_left || !announce(c, false)) {
		link_end(c->link);
		return;
	}
	c->said_left = true;
}

/* ---- what is typed */

static void on_line(void *ctx, const char *text, size_t len)
{
	struct chat *c = ctx;
	if (!outgoing_add(c->lines, (struct outgoing_about){ .topic = c->topic, .comes_back = true }, text, len))
		fail(c);
	else if (c->step != STEP_TALKING && console_is_terminal(c->console))
		complain(c->o, "not connected: the line waits (%zu in all)", outgoing_waiting(c->lines));
}

static void on_end(void *ctx)
{
	struct chat *c = ctx;
	c->input_ended = true;
}

static void on_fault(void *ctx, const char *why)
{
	struct chat *c = ctx;
	complain(c->o, "standard input: %s", why);
	c->failed = c->input_ended = true; /* what was read before goes out first */
}

static void say(void *ctx, const char *line)
{
	struct chat *c = ctx;
	if (c->console)
		console_complain(c->console, line);
	else
		fprintf(stderr, "sealmq: %s\n", line);
}

/* ---- running */

static void send_all(struct chat *c)
{
	if (c->step != STEP_TALKING)
		return;
	if (!outgoing_send(c->presence, c->link) || !outgoing_send(c->lines, c->link))
		fail(c);
	size_t overdue = outgoing_drop_overdue(c->lines, BACK_WAIT_MS);
	if (overdue > 0) {
		c->lost_lines = true;
		complain(c->o, "%s: acknowledged, but not handed on by the broker: %zu of your lines (a member without the right to write?)", c->topic, overdue);
	}
	/* When everything is out, the others are told; then it ends. */
	if (!c->input_ended || (!c->said_left && outgoing_waiting(c->lines) > 0))
		return;
	if (!c->said_left) {
		c->said_left = announce(c, false);
		if (!c->said_left || !outgoing_send(c->presence, c->link))
			fail(c);
	} else if (outgoing_waiting(c->presence) == 0) {
		link_end(c->link);
	}
}

static int status_of(struct chat *c, enum link_event event)
{
	size_t waiting = outgoing_waiting(c->lines);
	if (waiting > 0)
		complain(c->o, "%s: %zu lines were not acknowledged", c->topic, waiting);
	if (event == LINK_TIMEOUT)
		return EXIT_TIMEOUT;
	if (event == LINK_FAILED || c->failed || waiting > 0 || c->lost_lines)
		return EXIT_FAILED;
	return c->any_refused ? EXIT_REFUSED : EXIT_DONE;
}

static int run(struct chat *c)
{
	enum link_event event;
	do {
		go_on(c);
		receive_go_on(c->receive, c->link);
		send_all(c);
		bool room = console_is_terminal(c->console) || outgoing_waiting(c->lines) < LINES_MAX;
		bool soon = receive_is_waiting(c->receive) || outgoing_waiting(c->lines) > 0;
		event = link_wait(c->link, room && !c->input_ended ? console_fd(c->console) : -1, soon ? 100 : -1);
		if (event == LINK_READABLE)
			console_read(c->console);
	} while (event == LINK_GO_ON || event == LINK_READABLE);
	return status_of(c, event);
}

static int usage_error(const struct options *o)
{
	const char *why = o->words.n != 1      ? "expected one topic: sealmq chat TOPIC"
	                  : !options_can_seal(o) ? "names come from certificates: expected --cafile, --cert and --key"
	                  : mosquitto_pub_topic_check(o->words.items[0]) != MOSQ_ERR_SUCCESS || o->words.items[0][0] == '$'
	                          ? "not a topic for a conversation (no '+' or '#', not beginning with '$', valid UTF-8, not empty)"
	                          : NULL;
	if (!why)
		return EXIT_DONE;
	fprintf(stderr, "sealmq chat: %s\n", why);
	return EXIT_USAGE;
}

static bool name_topics(struct chat *c)
{
	const char *cn = sealmq_cn(keys_member(c->keys));
	return asprintf(&c->keys_topic, "$KEYS/%s", c->topic) >= 0 && asprintf(&c->presence_topic, "%s/presence/", c->topic) >= 0 &&
	       asprintf(&c->own_topic, "%s/presence/%s", c->topic, cn) >= 0;
}

static bool open_console(struct chat *c)
{
	static const struct console_handlers handlers = { .line = on_line, .end = on_end, .fault = on_fault };
	char *prompt = NULL, *cn = safe_text(sealmq_cn(keys_member(c->keys)), strlen(sealmq_cn(keys_member(c->keys))), false);
	bool good = cn && asprintf(&prompt, "%s> ", cn) >= 0;
	c->console = good ? console_open(prompt, &handlers, c) : NULL;
	free(prompt);
	free(cn);
	return c->console != NULL;
}

static bool make_parts(struct chat *c)
{
	static const struct link_handlers handlers = { .connected = on_connected, .lost = on_lost, .message = on_message, .subscribed = on_subscribed,
		                                       .published = on_published, .interrupted = on_interrupted };
	static const struct receive_handlers judges = { .opened = on_opened, .plain = on_plain, .refused = on_refused };
	uint8_t random[PEOPLE_ID_LEN / 2];
	random_bytes(random, sizeof random);
	(void)hex_put(c->id, random, sizeof random);
	c->keys = keys_new(c->o);
	if (!c->keys)
		return false;
	c->receive = receive_new(c->o, c->keys, SEALMQ_REQUIRE_SIGNATURE, &judges, c);
	c->lines = outgoing_new(c->o, c->keys);
	c->presence = outgoing_new(c->o, c->keys);
	c->people = people_new();
	if (!c->receive || !c->lines || !c->presence || !c->people || !name_topics(c) || !open_console(c)) {
		complain(c->o, "out of memory");
		return false;
	}
	c->link = link_new(c->o, &handlers, c, false);
	return c->link != NULL;
}

static int command(struct options *o)
{
	int status = usage_error(o);
	if (status != EXIT_DONE)
		return status;
	struct chat *c = calloc(1, sizeof *c);
	if (!c) {
		complain(o, "out of memory");
		return EXIT_FAILED;
	}
	c->o = o;
	c->topic = o->words.items[0];
	c->complainer = (struct complainer){ say, c };
	o->complainer = &c->complainer;
	status = make_parts(c) ? run(c) : EXIT_FAILED;
	console_close(c->console);
	link_free(c->link);
	receive_free(c->receive);
	outgoing_free(c->lines);
	outgoing_free(c->presence);
	people_free(c->people);
	keys_free(c->keys);
	free(c->keys_topic);
	free(c->presence_topic);
	free(c->own_topic);
	free(c->will);
	free(c);
	o->complainer = NULL;
	return status;
}

int cmd_chat(int argc, char **argv)
{
	struct options o;
	bool help;
	if (!options_read(&o, FOR_CHAT, argc, argv, &help)) {
		if (help)
			puts("usage: sealmq chat TOPIC [OPTION]...\n"
			     "A conversation on a sealed topic: lines of standard input are signed and sent, what others say is verified and printed.\n"
			     "On a terminal Ctrl-D ends it; in a pipe it ends when the last line is acknowledged.\n"),
				options_print(FOR_CHAT);
		return help ? EXIT_DONE : EXIT_USAGE;
	}
	int status = command(&o);
	options_free(&o);
	return status;
}
