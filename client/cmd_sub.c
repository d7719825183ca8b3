/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq sub: subscribes and prints, plain or sealed. For each filter the key is asked for first: a grant leads to the sealed view, a denial to the
 * plain one. Messages are handled in the order of their arrival; one whose key or sender is still unknown holds up those behind it.
 *
 * With --dedup a file says what has been printed. The broker's session is of no use then (libmosquitto acknowledges before it hands out, so a message
 * may be acknowledged and lost): each connection asks for the history from a little before the last printed message, and drops what it knows. An
 * outbox counts its messages without a gap; where one is seen all nevertheless, the whole history is asked for once before they are called lost. */
#include "client/cli_format.h"
#include "client/cli_receive.h"
#include "client/cli_will.h"
#include "client/cmd.h"
#include "client/dedup.h"
#include "client/lib_int.h"
#include "client/outbox.h"
#include "client/transcript.h"

#include "base/clock.h"
#include "base/random.h"
#include "base/textbytes.h"

#include <mosquitto.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEALED_PREFIX "$SEALED/"
#define MARGIN_MS 300000u     /* by how much the clocks of sender, broker and receiver may differ together */
#define COMMIT_EVERY_MS 20u   /* --dedup: what comes in that time is synced at once */
#define COMMIT_BYTES 1048576u /* or so much */

enum filter_state { FILTER_ASKING, FILTER_SENT, FILTER_GRANTED, FILTER_DENIED };

struct filter {
	const char *name;
	char *keys_topic;         /* NULL: it is not asked for */
	enum filter_state state;
	bool sealed;
	int mid;
};

struct sub {
	const struct options *o;
	struct link *link;
	struct keys *keys;
	struct will *will;
	struct receive *receive;
	struct transcript *transcript; /* or NULL */
	struct dedup *dedup;           /* or NULL */
	uint64_t commit_ms;            /* steady clock: when what waits in it is committed */
	bool want_all, has_all;        /* a gap was seen: the whole history is asked for; it is being read */
	char *subscribed;              /* the filter as subscribed, with --dedup */
	struct filter filters[OPTIONS_LIST_MAX];
	bool failed, done, any_refused, any_lost, was_up;
	uint64_t printed, duplicates, refused, last_ms; /* last_ms: wall clock of the last message */
};

static void fail(struct sub *s)
{
	s->failed = true;
	receive_stop(s->receive);
	link_end(s->link);
}

static void finish(struct sub *s)
{
	s->done = true;
	receive_stop(s->receive);
	link_end(s->link);
}

/* ---- subscribing */

/* The levels before the first wildcard, as the topic to ask a key for; NULL: there are none, or it is not a name for people's topics. */
static char *keys_topic_of(const char *filter)
{
	char *topic = NULL;
	size_t n = strcspn(filter, "+#");
	if (filter[n])
		n = n > 1 ? n - 1 : 0; /* the '/' before it */
	if (filter[0] == '$' || n == 0 || asprintf(&topic, "$KEYS/%.*s", (int)n, filter) < 0)
		return NULL;
	return topic;
}

/* The part of the past to ask for; NULL: none. text: room for one that is made up. */
static const char *past_of(const struct sub *s, char *text, size_t len)
{
	bool is_new;
	uint64_t since = s->dedup ? dedup_since(s->dedup, MARGIN_MS, &is_new) : s->last_ms;
	if (s->want_all)
		return "all";
	if (s->dedup ? is_new && s->o->history : !s->o->history || !s->was_up || !s->last_ms)
		return s->o->history;
	snprintf(text, len, "since-%llu", (unsigned long long)since); /* coming back: only what was missed */
	return text;
}

static void subscribe(struct sub *s, struct filter *f, bool sealed)
{
	char *whole = NULL, since[32];
	const char *spec = past_of(s, since, sizeof since);
	int n = asprintf(&whole, "%s%s%s%s%s", spec ? "$HISTORY/" : "", spec ? spec : "", spec ? "/" : "", sealed ? SEALED_PREFIX : "", f->name);
	f->sealed = sealed;
	f->mid = n < 0 ? 0 : link_subscribe(s->link, whole, s->o->qos);
	f->state = f->mid ? FILTER_SENT : f->state;
	if (s->dedup) {
		free(s->subscribed);
		s->subscribed = n < 0 ? NULL : whole;
	} else {
		free(whole);
	}
}

/* In the place of the present subscription one that brings all there is. */
static void ask_for_all(struct sub *s)
{
	if (!s->want_all || s->has_all || s->filters[0].state != FILTER_GRANTED || !s->subscribed || !link_is_up(s->link))
		return;
	if (link_unsubscribe(s->link, s->subscribed))
		subscribe(s, &s->filters[0], s->filters[0].sealed);
}

/* Goes on with a filter whose key was asked for. */
static void choose_view(struct sub *s, struct filter *f)
{
	enum keys_state state = f->keys_topic ? keys_ask(s->keys, s->link, f->keys_topic) : KEYS_DENIED;
	switch (state) {
	case KEYS_ASKED: return;
	case KEYS_WAITING:
	case KEYS_READY:
		subscribe(s, f, true);
		return;
	case KEYS_BAD: /* said already; nothing that comes could be opened */
		f->state = FILTER_DENIED;
		return;
	case KEYS_DENIED: break;
	}
	if (f->keys_topic && keys_was_sealed(s->keys, f->keys_topic + sizeof "$KEYS/" - 1)) {
		complain(s->o, "%s: " KEYS_WAS_SEALED, f->name);
		f->state = FILTER_DENIED;
		return;
	}
	if (!s->o->sealed || f->name[0] == '$') {
		subscribe(s, f, false);
		return;
	}
	complain(s->o, "%s: not sealed for this client, and --sealed forbids plain text", f->name);
	fail(s);
}

static void check_answers(struct sub *s)
{
	size_t denied = 0;
	for (size_t i = 0; i < s->o->topics.n; i++) {
		if (s->filters[i].state < FILTER_GRANTED)
			return;
		denied += s->filters[i].state == FILTER_DENIED;
	}
	if (s->o->debug) {
		puts("Subscribed");
		(void)fflush(stdout);
	}
	if (denied == s->o->topics.n && denied > 0)
		fail(s);
	else if (s->o->exit_after_suback)
		finish(s);
}

static void choose_views(struct sub *s)
{
	bool denied = false;
	enum will_state will = will_go_on(s->will);
	if (will == WILL_FAILED && !s->failed)
		fail(s);
	if (will != WILL_SET)
		return;
	for (size_t i = 0; i < s->o->topics.n && !s->failed; i++) {
		if (s->filters[i].state != FILTER_ASKING || !link_is_up(s->link))
			continue;
		choose_view(s, &s->filters[i]);
		denied |= s->filters[i].state == FILTER_DENIED;
	}
	if (denied)
		check_answers(s);
}

/* ---- judging and printing */

static void refuse(struct sub *s, const struct received *m, const char *why)
{
	s->refused++;
	s->any_refused = true;
	complain(s->o, "refused: %s: %s", m->topic, why);
}

static bool listed(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',')
		if (strncmp(p, word, n) == 0 && (p[n] == ',' || p[n] == '\0'))
			return true;
	return false;
}

static bool filtered_out(const struct sub *s, const char *topic)
{
	for (size_t i = 0; i < s->o->filter_out.n; i++) {
		bool matches = false;
		if (mosquitto_topic_matches_sub(s->o->filter_out.items[i], topic, &matches) == MOSQ_ERR_SUCCESS && matches)
			return true;
	}
	return false;
}

static bool drawn(const struct sub *s)
{
	uint32_t random;
	if (s->o->random_filter >= 100)
		return true;
	random_bytes(&random, sizeof random);
	return (double)(random % 10000) < s->o->random_filter * 100;
}

/* A message and its line, for the next commit. */
static enum err note(struct sub *s, const struct shown *m, const char *line, size_t len)
{
	uint64_t arrived_ms = (uint64_t)m->arrived.tv_sec * 1000 + (uint64_t)m->arrived.tv_nsec / 1000000;
	assert(m->sealed); /* --dedup refuses plain text */
	struct dedup_id id = { .sender = m->sealed->sender, .topic = m->topic, .seq = m->sealed->seq,
		.time_ms = m->sealed->time_ms < arrived_ms ? m->sealed->time_ms : arrived_ms };
	memcpy(id.stream, m->sealed->stream, sizeof id.stream);
	if (dedup_waiting(s->dedup) == 0)
		s->commit_ms = clock_mono_ms() + COMMIT_EVERY_MS;
	return dedup_add(s->dedup, &id, line, len);
}

static bool print_kept(struct sub *s, const struct shown *m)
{
	char *line = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&line, &len);
	bool good = to && format_print(to, s->o, m);
	good = to && fclose(to) == 0 && good && note(s, m, line, len) == ERR_OK;
	free(line);
	if (!good)
		complain(s->o, "out of memory");
	return good;
}

/* Without --output it is printed first and noted then: what a crash comes between is printed once more. */
static bool print(struct sub *s, const struct shown *m)
{
	if (s->dedup && s->o->output)
		return print_kept(s, m);
	if (!format_print(stdout, s->o, m) || fflush(stdout) != 0) {
		complain(s->o, "standard output: the message could not be written");
		return false;
	}
	return !s->dedup || note(s, m, NULL, 0) == ERR_OK;
}

static void show(struct sub *s, const struct received *m, const void *payload, size_t len, const struct sealmq_message *sealed)
{
	const struct shown shown = { m->topic, payload, len, m->qos, m->mid, m->retain, m->arrived, sealed, sealed ? sealmq_verdict_text(sealed->verdict) : "plain" };
	if (s->o->remove_retained && m->retain)
		(void)link_publish(s->link, m->whole_topic, NULL, 0, 1, true);
	if (!drawn(s))
		return;
	if (!print(s, &shown)) {
		fail(s);
		return;
	}
	s->printed++;
	if (s->o->count && s->printed >= (uint64_t)s->o->count)
		finish(s);
}

/* --dedup: whether it was not printed yet, and its turn has come. */
static bool is_due(struct sub *s, const struct received *m, const struct sealmq_message *sealed)
{
	struct dedup_id id = { .sender = sealed->sender, .topic = m->topic, .seq = sealed->seq };
	uint64_t missing;
	char stream[2 * sizeof id.stream + 1];
	if (!s->dedup)
		return true;
	memcpy(id.stream, sealed->stream, sizeof id.stream);
	switch (dedup_judge(s->dedup, &id, &missing)) {
	case DEDUP_NEW: return true;
	case DEDUP_SEEN:
		s->duplicates++;
		return false;
	case DEDUP_GAP: break;
	}
	if (!s->has_all) { /* what is dropped here comes again */
		s->want_all = true;
		return false;
	}
	s->any_lost = true;
	*hex_put(stream, id.stream, sizeof id.stream) = '\0';
	complain(s->o, "lost: %s: messages %llu to %llu of %s (stream %s): the broker does not have them any more", m->topic,
	         (unsigned long long)missing - OUTBOX_SEQ_FIRST + 1, (unsigned long long)id.seq - OUTBOX_SEQ_FIRST, sealed->sender, stream);
	return true;
}

/* What is printed stands in the transcript first. */
static bool keep(struct sub *s, const struct received *m, const struct sealmq_message *sealed)
{
	const void *cert;
	size_t len;
	if (!s->transcript)
		return true;
	enum sealmq_err known = sealmq_cert(keys_member(s->keys), sealed->fingerprint, &cert, &len);
	enum err e = known == SEALMQ_OK ? transcript_add(s->transcript, m->topic, (uint64_t)m->arrived.tv_sec * 1000 + (uint64_t)m->arrived.tv_nsec / 1000000,
	                                                 sealmq_verdict_text(sealed->verdict), cert, len, m->payload, m->payload_len)
	                                : ERR_NOT_FOUND;
	if (e == ERR_OK)
		return true;
	complain(s->o, "%s: %s", s->o->transcript, e == ERR_IO ? strerror(errno) : err_text(e));
	fail(s);
	return false;
}

/* What --max-age has against a message; NULL: nothing. */
static const char *too_old(const struct sub *s, const struct sealmq_message *sealed)
{
	uint64_t now = clock_wall_ms(), limit = (uint64_t)s->o->max_age_ms;
	if (s->o->max_age_ms < 0 || (sealed->time_ms != 0 && (now <= sealed->time_ms || now - sealed->time_ms <= limit)))
		return NULL;
	return sealed->time_ms == 0 ? "of unknown age: its sender has no clock" : "older than --max-age";
}

/* What the options say about an authentic message. */
static void on_opened(void *ctx, const struct received *m, const void *plain, const struct sealmq_message *sealed)
{
	struct sub *s = ctx;
	const char *old = too_old(s, sealed);
	if (!listed(s->o->accept, sealmq_verdict_text(sealed->verdict))) {
		if (sealed->verdict == SEALMQ_DUPLICATE)
			s->duplicates++; /* a redelivery is no error */
		else
			refuse(s, m, sealmq_verdict_text(sealed->verdict));
	} else if (old) {
		refuse(s, m, old);
	} else if (is_due(s, m, sealed) && keep(s, m, sealed)) {
		show(s, m, plain, sealed->len, sealed);
	}
}

static void on_plain(void *ctx, const struct received *m)
{
	struct sub *s = ctx;
	bool is_answer = m->topic[0] == '$'; /* $SYS and the like, from the broker itself */
	if (s->o->require_signature && !is_answer)
		refuse(s, m, "not signed: it is plain text");
	else if (s->o->sealed && !is_answer)
		refuse(s, m, "plain text");
	else if (s->o->max_age_ms >= 0 && !is_answer)
		refuse(s, m, "of unknown age: it is plain text");
	else
		show(s, m, m->payload, m->payload_len, NULL);
}

static void on_refused(void *ctx, const struct received *m, const char *why)
{
	refuse(ctx, m, why);
}

static bool on_wanted(void *ctx, const struct received *m)
{
	struct sub *s = ctx;
	if (m->retain ? !s->o->no_retained : !s->o->retained_only)
		return !filtered_out(s, m->topic);
	if (s->o->retained_only)
		finish(s);
	return false;
}

/* ---- handlers */

static void on_connected(void *ctx, bool session_present)
{
	struct sub *s = ctx;
	(void)session_present;
	keys_connected(s->keys, s->link);
	for (size_t i = 0; i < s->o->unsubscribe.n; i++)
		(void)link_unsubscribe(s->link, s->o->unsubscribe.items[i]);
	for (size_t i = 0; i < s->o->topics.n; i++)
		s->filters[i].state = FILTER_ASKING;
	s->want_all = s->want_all && !s->has_all;
	s->has_all = false;
	choose_views(s);
	s->was_up = true;
}

static void on_lost(void *ctx)
{
	struct sub *s = ctx;
	will_lost(s->will);
}

static void on_subscribed(void *ctx, int mid, int n, const int *granted)
{
	struct sub *s = ctx;
	int code = n > 0 ? granted[0] : 128;
	if (keys_on_subscribed(s->keys, mid, code)) {
		choose_views(s);
		return;
	}
	for (size_t i = 0; i < s->o->topics.n; i++) {
		struct filter *f = &s->filters[i];
		if (f->state != FILTER_SENT || f->mid != mid)
			continue;
		f->state = code > 2 ? FILTER_DENIED : FILTER_GRANTED;
		if (code > 2)
			complain(s->o, "%s: the broker refuses the subscription", f->name);
	}
	if (s->want_all && s->filters[0].state == FILTER_GRANTED) { /* what the former subscription brought comes again, in its place */
		receive_drop(s->receive);
		s->has_all = true;
	}
	check_answers(s);
}

/* An envelope may come after the view was chosen, and be refused: nothing of that filter could be opened. */
static void give_up_refused(struct sub *s)
{
	bool any = false;
	for (size_t i = 0; i < s->o->topics.n; i++) {
		struct filter *f = &s->filters[i];
		if (f->state == FILTER_ASKING || f->state == FILTER_DENIED || !f->sealed || !f->keys_topic || keys_ask(s->keys, s->link, f->keys_topic) != KEYS_BAD)
			continue;
		f->state = FILTER_DENIED;
		any = true;
	}
	if (any)
		check_answers(s);
}

static void on_message(void *ctx, const struct mosquitto_message *m)
{
	struct sub *s = ctx;
	if (s->done || s->failed)
		return;
	if (keys_on_message(s->keys, s->link, m)) {
		will_new_keys(s->will);
		give_up_refused(s);
		choose_views(s);
		receive_go_on(s->receive, s->link);
		return;
	}
	s->last_ms = clock_wall_ms();
	receive_message(s->receive, s->link, m);
}

/* ---- running */

/* Of the options: why --dedup could not keep its promise; NULL: it can. */
static const char *dedup_fault(const struct options *o)
{
	if (!o->dedup)
		return o->output ? "--output: expected --dedup, too" : NULL;
	if (o->plain || !options_can_seal(o))
		return "--dedup is for sealed topics: it needs --cafile, --cert and --key, and not --plain";
	if (o->topics.n != 1)
		return "--dedup: expected one -t";
	if (o->qos == 0)
		return "--dedup: expected -q 1 or 2";
	if (o->disable_clean_session)
		return "--dedup: not together with -c; it goes by the history, not by a session";
	if (o->no_retained || o->retained_only || o->random_filter < 100)
		return "--dedup: not together with -R, --retained-only or --random-filter";
	return NULL;
}

static int usage_error(const struct options *o)
{
	const char *fault = o->format ? format_fault(o->format) : NULL, *why = NULL;
	if (o->topics.n == 0 && o->unsubscribe.n == 0)
		why = "expected a filter: -t";
	else if (o->words.n)
		why = "expected options only; a filter stands behind -t";
	else if (o->retained_only && o->no_retained)
		why = "--retained-only and -R together leave nothing";
	if (!why && o->transcript && (o->plain || !options_can_seal(o)))
		why = "--transcript keeps sealed messages: it needs --cafile, --cert and --key, and not --plain";
	if (!why)
		why = dedup_fault(o);
	for (size_t i = 0; i < o->topics.n && !why; i++)
		if (mosquitto_sub_topic_check(o->topics.items[i]) != MOSQ_ERR_SUCCESS)
			why = "-t: not a topic filter ('+' alone in a level, '#' alone in the last, valid UTF-8, not empty)";
	if (!why && !fault)
		return EXIT_DONE;
	fprintf(stderr, "sealmq sub: %s%s\n", why ? "" : "-F: ", why ? why : fault);
	return EXIT_USAGE;
}

static int status_of(const struct sub *s, enum link_event end)
{
	if (end == LINK_FAILED || s->failed)
		return keys_any_refused(s->keys) ? EXIT_REFUSED : EXIT_FAILED;
	if (s->any_lost)
		return EXIT_LOST;
	if (end == LINK_TIMEOUT)
		return EXIT_TIMEOUT;
	return s->any_refused || keys_any_refused(s->keys) ? EXIT_REFUSED : EXIT_DONE;
}

static bool open_transcript(struct sub *s)
{
	uint8_t holder[32];
	char error[512];
	if (!s->o->transcript)
		return true;
	sealmq_fingerprint(keys_member(s->keys), holder);
	s->transcript = transcript_open(s->o->transcript, holder, clock_wall_ms(), error, sizeof error);
	if (!s->transcript)
		complain(s->o, "--transcript: %s", error);
	return s->transcript != NULL;
}

static bool open_dedup(struct sub *s)
{
	uint64_t torn;
	char error[512];
	const struct options *o = s->o;
	if (!o->dedup)
		return true;
	s->dedup = dedup_open(o->dedup, o->topics.items[0], o->output, keys_member(s->keys)->key, o->history ? 1 : clock_wall_ms(), &torn, error, sizeof error);
	if (!s->dedup)
		complain(o, "--dedup: %s", error);
	else if (torn)
		complain(o, "%s: dropped %llu bytes at its end that a crash has cut off", o->dedup, (unsigned long long)torn);
	return s->dedup != NULL;
}

static bool dedup_good(struct sub *s, enum err e)
{
	if (e == ERR_OK)
		return true;
	complain(s->o, "%s: %s", s->o->dedup, e == ERR_IO ? strerror(errno) : err_text(e));
	dedup_close(s->dedup); /* what follows comes again in the next run */
	s->dedup = NULL;
	fail(s);
	return false;
}

/* How long to wait at most. */
static int commit_due(struct sub *s)
{
	uint64_t now = clock_mono_ms();
	size_t waiting = s->dedup ? dedup_waiting(s->dedup) : 0;
	if (waiting == 0)
		return -1;
	if (now < s->commit_ms && waiting < COMMIT_BYTES)
		return (int)(s->commit_ms - now);
	(void)dedup_good(s, dedup_commit(s->dedup));
	return -1;
}

static int run(struct sub *s)
{
	enum link_event event;
	do {
		choose_views(s);
		ask_for_all(s);
		receive_go_on(s->receive, s->link);
		int due = commit_due(s);
		event = link_wait(s->link, -1, due >= 0 ? due : receive_is_waiting(s->receive) ? 100 : -1);
	} while (event == LINK_GO_ON || event == LINK_READABLE);
	if (s->dedup)
		(void)dedup_good(s, dedup_finish(s->dedup));
	if (s->o->verbose && s->duplicates)
		complain(s->o, "%llu duplicates were dropped", (unsigned long long)s->duplicates);
	return status_of(s, event);
}

static int command(struct options *o)
{
	static const struct link_handlers handlers = { .connected = on_connected, .lost = on_lost, .message = on_message, .subscribed = on_subscribed };
	static const struct receive_handlers judges = { .wanted = on_wanted, .opened = on_opened, .plain = on_plain, .refused = on_refused };
	struct sub s = { .o = o };
	int status = usage_error(o);
	if (status != EXIT_DONE)
		return status;
	status = EXIT_FAILED;
	s.keys = keys_new(o);
	o->sealed = o->sealed || o->dedup; /* only sealed messages have numbers */
	unsigned flags = (o->require_signature ? SEALMQ_REQUIRE_SIGNATURE : 0u) | (o->dedup ? SEALMQ_OWN_WINDOWS : 0u);
	s.receive = s.keys ? receive_new(o, s.keys, flags, &judges, &s) : NULL;
	for (size_t i = 0; i < o->topics.n; i++) {
		s.filters[i].name = o->topics.items[i];
		s.filters[i].keys_topic = s.keys && keys_member(s.keys) ? keys_topic_of(o->topics.items[i]) : NULL;
	}
	s.link = s.receive && open_transcript(&s) && open_dedup(&s) ? link_new(o, &handlers, &s, o->disable_clean_session) : NULL;
	s.will = s.link ? will_new(o, s.keys, s.link) : NULL;
	if (s.will)
		status = run(&s);
	will_free(s.will);
	link_free(s.link);
	receive_free(s.receive);
	keys_free(s.keys);
	transcript_close(s.transcript);
	dedup_close(s.dedup);
	free(s.subscribed);
	for (size_t i = 0; i < o->topics.n; i++)
		free(s.filters[i].keys_topic);
	return status;
}

int cmd_sub(int argc, char **argv)
{
	struct options o;
	bool help;
	if (!options_read(&o, FOR_SUB, argc, argv, &help)) {
		if (help)
			puts("usage: sealmq sub -t FILTER [OPTION]...\nPrints what is published; refused messages and why on standard error.\n"), options_print(FOR_SUB);
		return help ? EXIT_DONE : EXIT_USAGE;
	}
	int status = command(&o);
	options_free(&o);
	return status;
}
