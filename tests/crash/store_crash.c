/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Kills a process that writes to the store, again and again, and looks whether what is there afterwards is exactly the state after some of
 * the operations it had submitted, in their order, and no fewer than it was told were done.
 *
 *   store_crash [-n rounds] [-d strict|relaxed|off] [-p] [-s seed] [-l] DIR
 *      -p  a power cut at each kill: writes that were not synced are taken back at random
 *      -l  losses are expected (durability off, or relaxed with -p): they must occur, and the state must still be one of the past
 *
 * The writer reports on a pipe what it is about to submit and what has completed. Half the rounds end at a random moment, half at one of
 * the store's fault points. Exit status 0: as promised. */
#include "tests/crash/powercut.h"

#include "base/clock.h"
#include "base/pool.h"
#include "store/store.h"
#include "tests/unit/store/toy.h"

#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#define SESSIONS 6u
#define FILTERS 4u
#define RETAINED 4u
#define PACKETS 16u
#define QUEUE_MAX 400u
#define HISTORY_KEPT 100u
#define SUBMITTED_MAX 200000u

/* ---- the model: what the store should hold */

struct entry {
	uint32_t seq;                /* of the message; 0 in STORE_PUBREL */
	uint32_t key;                /* seq under which it was queued */
	uint8_t qos, state;
	uint16_t packet_id;
};

struct model_session {
	bool exists;
	uint8_t subscribed[FILTERS]; /* options + 1; 0: not */
	bool received[PACKETS];
	uint32_t will, n;
	struct entry queue[QUEUE_MAX];
	uint64_t records[QUEUE_MAX]; /* the writer's own view; not compared */
};

struct model {
	struct model_session sessions[SESSIONS];
	uint32_t retained[RETAINED];
	uint32_t history[HISTORY_KEPT], n_history; /* the newest last */
};

enum kind { SESSION, SUBSCRIBE, UNSUBSCRIBE, PUBLISH, SENT, RELEASED, ACKED, QOS2_DONE, WILL, DROP_WILL, END, KINDS };

struct action {
	uint32_t number;             /* counts them up in a round */
	uint8_t kind, session, extra, receivers; /* receivers: bits */
	uint8_t qos, retained, history, packet;
	uint32_t seq;                /* of the message published, or delivered */
	uint16_t packet_id;
};

struct event {
	uint32_t done;               /* 0: about to be submitted; 1: done, with result; 2: ready */
	int32_t result;
	struct action action;
};

/* By number; by packet identifier when a restart has left only that (STORE_PUBREL). */
static struct entry *find_entry(struct model_session *s, const struct action *a, uint32_t *at)
{
	for (*at = 0; *at < s->n; ++*at)
		if (s->queue[*at].key == a->seq && (a->seq || s->queue[*at].packet_id == a->packet_id))
			return &s->queue[*at];
	return NULL;
}

static void model_publish(struct model *m, const struct action *a, uint64_t record)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		struct model_session *s = &m->sessions[i];
		if (!(a->receivers >> i & 1) || !s->exists || s->n == QUEUE_MAX)
			continue;
		s->records[s->n] = record;
		s->queue[s->n++] = (struct entry){ .seq = a->seq, .key = a->seq, .qos = a->qos, .state = STORE_QUEUED };
	}
	if (a->packet)
		m->sessions[a->session].received[a->packet] = true;
	if (a->retained)
		m->retained[a->extra] = a->retained == 2 ? 0 : a->seq;
	if (a->history) {
		if (m->n_history == HISTORY_KEPT)
			memmove(m->history, m->history + 1, sizeof m->history - sizeof *m->history), m->n_history--;
		m->history[m->n_history++] = a->seq;
	}
}

static void model_apply(struct model *m, const struct action *a, uint64_t record)
{
	struct model_session *s = &m->sessions[a->session];
	uint32_t at;
	struct entry *e;
	switch ((enum kind)a->kind) {
	case SESSION:
		s->exists = true;
		break;
	case SUBSCRIBE:
		s->subscribed[a->extra] = (uint8_t)(a->qos + 1);
		break;
	case UNSUBSCRIBE:
		s->subscribed[a->extra] = 0;
		break;
	case PUBLISH:
		model_publish(m, a, record);
		break;
	case SENT:
		if ((e = find_entry(s, a, &at)))
			e->state = STORE_INFLIGHT, e->packet_id = a->packet_id;
		break;
	case RELEASED:
		if ((e = find_entry(s, a, &at)))
			e->state = STORE_PUBREL, e->seq = 0;
		break;
	case ACKED:
		if (find_entry(s, a, &at)) {
			memmove(&s->queue[at], &s->queue[at + 1], (s->n - at - 1) * sizeof *s->queue);
			memmove(&s->records[at], &s->records[at + 1], (s->n - at - 1) * sizeof *s->records);
			s->n--;
		}
		break;
	case QOS2_DONE:
		s->received[a->packet] = false;
		break;
	case WILL:
		s->will = a->seq;
		break;
	case DROP_WILL:
		s->will = 0;
		break;
	case END: {
		uint32_t will = s->will; /* is a connection's */
		memset(s, 0, sizeof *s);
		s->will = will;
		break;
	}
	case KINDS:
		break;
	}
}

static bool same_session(const struct model_session *a, const struct model_session *b)
{
	if (a->exists != b->exists || memcmp(a->subscribed, b->subscribed, sizeof a->subscribed) != 0 || a->will != b->will
	    || memcmp(a->received, b->received, sizeof a->received) != 0 || a->n != b->n)
		return false;
	for (uint32_t i = 0; i < a->n; i++)
		if (a->queue[i].seq != b->queue[i].seq || a->queue[i].qos != b->queue[i].qos || a->queue[i].state != b->queue[i].state
		    || a->queue[i].packet_id != b->queue[i].packet_id)
			return false;
	return true;
}

static bool same(const struct model *a, const struct model *b)
{
	if (memcmp(a->retained, b->retained, sizeof a->retained) != 0 || a->n_history != b->n_history
	    || memcmp(a->history, b->history, a->n_history * sizeof *a->history) != 0)
		return false;
	for (unsigned i = 0; i < SESSIONS; i++)
		if (!same_session(&a->sessions[i], &b->sessions[i]))
			return false;
	return true;
}

/* ---- messages: their number, then bytes that follow from it */

static size_t payload_size(uint32_t seq)
{
	return 4 + (seq % 17 == 0 ? seq * 2654435761u % 12000 : seq * 2654435761u % 300);
}

static uint8_t payload_byte(uint32_t seq, size_t at)
{
	return (uint8_t)(seq * 31 + at * 7);
}

static struct msg *make_message(const char *topic, uint32_t seq, bool empty)
{
	size_t len = empty ? 0 : payload_size(seq);
	struct msg_spec spec = { .topic = topic, .topic_len = strlen(topic), .publisher = "pub", .publisher_len = 3, .payload_len = len, .qos = 1,
		.time_ms = clock_wall_ms() };
	struct msg *m = msg_new(&spec);
	if (!m)
		abort();
	uint8_t *p = m->data + m->topic_len + m->publisher_len;
	for (size_t i = 0; i < len; i++)
		p[i] = i < 4 ? (uint8_t)(seq >> 8 * i) : payload_byte(seq, i);
	return m;
}

/* The number of m; 0 when its bytes are not those. */
static uint32_t read_message(const struct msg *m)
{
	const uint8_t *p = msg_payload(m);
	if (m->payload_len < 4)
		return 0;
	uint32_t seq = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
	if (m->payload_len != payload_size(seq))
		return 0;
	for (size_t i = 4; i < m->payload_len; i++)
		if (p[i] != payload_byte(seq, i))
			return 0;
	return seq;
}

/* ---- the store, and reading it into a model */

static struct toy toy = { .key = { 3, 4 } };
static const struct store_crypto toy_crypto = { .arg = &toy, .overhead = TOY_OVERHEAD, .seal = toy_seal, .open = toy_open };

struct loop {
	struct store *store;
	struct mailbox inbox;
	sem_t woken;
	size_t done;
	struct model model;
	store_session numbers[SESSIONS];
};

static void wake(void *arg)
{
	sem_post(&((struct loop *)arg)->woken);
}

static bool limits(void *arg, const uint8_t *topic, size_t len, struct store_history_limits *out)
{
	(void)arg, (void)topic, (void)len;
	*out = (struct store_history_limits){ .count = HISTORY_KEPT };
	return true;
}

/* Session i has the number 1000 n + i + 1: the test draws them itself. */
static enum err on_session(void *arg, store_session number, const char *id, size_t id_len, const char *cn, size_t cn_len, uint64_t expiry_s,
    uint64_t away_ms)
{
	(void)id, (void)id_len, (void)cn, (void)cn_len, (void)expiry_s, (void)away_ms;
	((struct loop *)arg)->model.sessions[number % 1000 - 1].exists = true;
	((struct loop *)arg)->numbers[number % 1000 - 1] = number;
	return ERR_OK;
}

static enum err on_subscription(void *arg, store_session number, const uint8_t *filter, size_t len, uint8_t options, uint32_t sub_id)
{
	(void)len, (void)sub_id;
	((struct loop *)arg)->model.sessions[number % 1000 - 1].subscribed[filter[1] - '0'] = (uint8_t)(options + 1);
	return ERR_OK;
}

static enum err on_received(void *arg, store_session number, uint16_t packet_id)
{
	((struct loop *)arg)->model.sessions[number % 1000 - 1].received[packet_id] = true;
	return ERR_OK;
}

static enum err on_retained(void *arg, struct msg *m)
{
	((struct loop *)arg)->model.retained[msg_topic(m)[1] - '0'] = read_message(m);
	return ERR_OK;
}

static enum err on_will(void *arg, uint64_t number, const char *client_id, size_t client_id_len, const uint8_t *fingerprint, struct msg *m)
{
	(void)client_id, (void)client_id_len, (void)fingerprint;
	((struct loop *)arg)->model.sessions[number - 1].will = read_message(m);
	return ERR_OK;
}

static const struct store_loader loader = { .session = on_session, .subscription = on_subscription, .qos2_received = on_received,
	.retained = on_retained, .will = on_will };

static void on_done(struct store_op *op, void *owner)
{
	(void)op;
	((struct loop *)owner)->done++;
}

static void run_op(struct loop *l, struct store_op *op)
{
	size_t want = l->done + 1;
	op->reply = &l->inbox;
	op->done = on_done;
	store_submit(l->store, op);
	while (mailbox_run(&l->inbox, l), l->done < want)
		sem_wait(&l->woken);
}

static bool read_queue(struct loop *l, unsigned i)
{
	struct model_session *s = &l->model.sessions[i];
	uint64_t after = 0;
	for (bool end = false; !end;) {
		struct store_op op = { .verb = STORE_PAGE, .u.page = { .session = l->numbers[i], .after = after, .max_entries = 50,
			.max_bytes = 100000 } };
		run_op(l, &op);
		if (op.result != ERR_OK)
			return false;
		for (uint32_t k = 0; k < op.u.page.n_entries; k++) {
			struct store_entry *e = &op.u.page.entries[k];
			after = e->record;
			uint32_t seq = e->msg ? read_message(e->msg) : 0;
			if ((e->msg && !seq) || s->n == QUEUE_MAX)
				return false;
			s->records[s->n] = e->record;
			s->queue[s->n++] = (struct entry){ .seq = seq, .key = seq, .qos = e->qos, .state = e->state, .packet_id = e->packet_id };
			msg_unref(e->msg);
		}
		end = op.u.page.end;
		pool_free(op.u.page.entries);
	}
	return true;
}

static bool read_history(struct loop *l)
{
	uint64_t after = 0;
	for (bool end = false; !end;) {
		struct store_op op = { .verb = STORE_HISTORY, .u.history = { .topic = (const uint8_t *)"h", .topic_len = 1, .after = after,
			.max_entries = 64, .max_bytes = 100000 } };
		run_op(l, &op);
		if (op.result != ERR_OK)
			return false;
		for (uint32_t k = 0; k < op.u.history.n_entries; k++) {
			if (l->model.n_history == HISTORY_KEPT)
				return false;
			l->model.history[l->model.n_history++] = read_message(op.u.history.entries[k].msg);
			msg_unref(op.u.history.entries[k].msg);
		}
		after = op.u.history.next;
		end = op.u.history.end;
		pool_free(op.u.history.entries);
	}
	return true;
}

typedef void (*fault_fn)(void *arg, enum store_fault where, const struct store_op *batch);

static bool loop_open(struct loop *l, const char *dir, int durability, fault_fn fault)
{
	char error[256];
	struct store_options o = { .dir = dir, .max_size = 256u << 20, .durability = durability, .sync_interval_ms = 30, .crypto = &toy_crypto,
		.history_limits = limits, .fault = fault };
	memset(l, 0, sizeof *l);
	sem_init(&l->woken, 0, 0);
	mailbox_init(&l->inbox, wake, l);
	l->store = store_open(&o, error, sizeof error);
	if (!l->store) {
		fprintf(stderr, "%s\n", error);
		return false;
	}
	if (store_load(l->store, &loader, l) != ERR_OK || store_start(l->store) != ERR_OK)
		return false;
	for (unsigned i = 0; i < SESSIONS; i++)
		if (l->model.sessions[i].exists && !read_queue(l, i)) {
			fprintf(stderr, "the queue of session %u cannot be read\n", i);
			return false;
		}
	return read_history(l);
}

static void loop_close(struct loop *l)
{
	store_stop(l->store);
	store_close(l->store);
	sem_destroy(&l->woken);
	pool_drain();
}

/* ---- the writer */

struct job {
	struct store_op op;
	struct action action;
	struct store_receiver receivers[SESSIONS];
	struct msg *msg;
	uint8_t filter[2];
};

static int report_fd;
static unsigned seed, outstanding;
static uint32_t kill_count;
static enum store_fault kill_where;

static unsigned dice(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static void report(uint32_t done, enum err result, const struct action *a)
{
	struct event e = { .done = done, .result = result, .action = *a };
	if (write(report_fd, &e, sizeof e) != sizeof e)
		_exit(3);
}

static void on_fault(void *arg, enum store_fault where, const struct store_op *batch)
{
	(void)arg, (void)batch;
	if (where == kill_where && kill_count && --kill_count == 0)
		raise(SIGKILL);
}

static void job_done(struct store_op *op, void *owner)
{
	struct job *j = (struct job *)op;
	struct loop *l = owner;
	report(1, op->result, &j->action);
	model_apply(&l->model, &j->action, op->u.publish.record);
	msg_unref(j->msg);
	free(j);
	outstanding--;
}

/* An entry of s in that state; -1: none. */
static int pick(const struct model_session *s, uint8_t state, uint8_t qos)
{
	for (uint32_t i = 0; i < s->n && i < 20; i++)
		if (s->queue[i].state == state && (!qos || s->queue[i].qos == qos) && dice(3) == 0)
			return (int)i;
	return -1;
}

/* What was submitted about a session and is not done must not be contradicted: one delivery action per session at a time. */
static bool busy[SESSIONS];

static bool choose_delivery(struct loop *l, struct job *j)
{
	struct action *a = &j->action;
	struct model_session *s = &l->model.sessions[a->session];
	int i;
	enum store_verb verb;
	if ((i = pick(s, STORE_PUBREL, 0)) >= 0)
		a->kind = ACKED, verb = STORE_ACKED;
	else if ((i = pick(s, STORE_INFLIGHT, 1)) >= 0)
		a->kind = ACKED, verb = STORE_ACKED;
	else if ((i = pick(s, STORE_INFLIGHT, 2)) >= 0)
		a->kind = RELEASED, verb = STORE_RELEASED;
	else if ((i = pick(s, STORE_QUEUED, 0)) >= 0)
		a->kind = SENT, verb = STORE_SENT;
	else
		return false;
	a->seq = s->queue[i].key;
	a->packet_id = s->queue[i].packet_id ? s->queue[i].packet_id : (uint16_t)(1 + dice(60000));
	j->op = (struct store_op){ .verb = verb, .u.delivery = { .session = l->numbers[a->session], .record = s->records[i],
		.packet_id = a->packet_id } };
	return true;
}

static uint32_t next_seq;

static void choose_publish(struct loop *l, struct job *j)
{
	static const char *const topics[] = { "r0", "r1", "r2", "r3" };
	struct action *a = &j->action;
	a->kind = PUBLISH;
	a->seq = next_seq++;
	a->qos = (uint8_t)(1 + dice(2));
	a->extra = (uint8_t)dice(RETAINED);
	a->retained = dice(8) == 0 ? (dice(4) == 0 ? 2 : 1) : 0;
	a->history = !a->retained && dice(5) == 0;
	for (unsigned i = 0; i < SESSIONS; i++)
		if (dice(2) && l->model.sessions[i].exists && l->model.sessions[i].n < QUEUE_MAX / 2 && !busy[i])
			a->receivers = (uint8_t)(a->receivers | 1u << i);
	uint32_t n = 0;
	for (unsigned i = 0; i < SESSIONS; i++)
		if (a->receivers >> i & 1)
			j->receivers[n++] = (struct store_receiver){ .session = l->numbers[i], .qos = a->qos };
	j->msg = make_message(a->history ? "h" : topics[a->extra], a->seq, a->retained == 2);
	if (a->retained == 2) { /* an empty message to receivers would have no number */
		a->receivers = 0;
		n = 0;
	}
	j->op = (struct store_op){ .verb = STORE_PUBLISH, .u.publish = { .msg = j->msg, .receivers = j->receivers, .n_receivers = n,
		.retained = a->retained, .history = a->history } };
	unsigned packet = 1 + dice(PACKETS - 1);
	if (l->model.sessions[a->session].exists && !l->model.sessions[a->session].received[packet] && !busy[a->session]) {
		a->packet = (uint8_t)packet;
		j->op.u.publish.publisher = l->numbers[a->session];
		j->op.u.publish.packet_id = (uint16_t)packet;
	}
}

/* Fills j with something that makes sense now; false: nothing of the kind drawn does. */
static bool choose(struct loop *l, struct job *j)
{
	struct action *a = &j->action;
	a->session = (uint8_t)dice(SESSIONS);
	struct model_session *s = &l->model.sessions[a->session];
	store_session number = l->numbers[a->session];
	unsigned what = dice(100);
	if (!s->exists) {
		if (busy[a->session])
			return false;
		number = l->numbers[a->session] = 1000 * (next_seq % 2000000) + a->session + 1;
		a->kind = SESSION;
		a->seq = next_seq++; /* never twice, in whatever process */
		j->op = (struct store_op){ .verb = STORE_SESSION_NEW, .u.session = { .number = number, .client_id = "c", .client_id_len = 1,
			.cn = "n", .cn_len = 1 } };
		busy[a->session] = true;
		return true;
	}
	if (what < 45) {
		choose_publish(l, j);
		return true;
	}
	if (busy[a->session])
		return false;
	busy[a->session] = true; /* what follows depends on what it does to the session */
	if (what < 88 && choose_delivery(l, j))
		return true;
	for (unsigned p = 1; what < 92 && p < PACKETS; p++)
		if (s->received[p] && dice(2)) {
			a->kind = QOS2_DONE;
			a->packet = (uint8_t)p;
			j->op = (struct store_op){ .verb = STORE_QOS2_DONE, .u.delivery = { .session = number, .packet_id = (uint16_t)p } };
			return true;
		}
	if (what >= 92 && what < 96) {
		a->kind = dice(3) ? SUBSCRIBE : UNSUBSCRIBE;
		a->extra = (uint8_t)dice(FILTERS);
		a->qos = (uint8_t)dice(3);
		j->filter[0] = 'f';
		j->filter[1] = (uint8_t)('0' + a->extra);
		j->op = (struct store_op){ .verb = a->kind == SUBSCRIBE ? STORE_SUBSCRIBE : STORE_UNSUBSCRIBE, .u.subscription = { .session = number,
			.filter = j->filter, .filter_len = 2, .options = a->qos } };
		return true;
	}
	if (what >= 96 && what < 99) {
		a->kind = dice(2) ? WILL : DROP_WILL;
		a->seq = next_seq++;
		j->msg = make_message("w", a->seq, false);
		j->op = (struct store_op){ .verb = a->kind == WILL ? STORE_WILL_PUT : STORE_WILL_DROP, .u.will = { .number = a->session + 1u, .msg = j->msg } };
		return true;
	}
	if (what == 99 && dice(10) == 0) {
		a->kind = END;
		j->op = (struct store_op){ .verb = STORE_SESSION_END, .u.session = { .number = number } };
		return true;
	}
	busy[a->session] = false;
	return false;
}

static void finish(struct store_op *op, void *owner)
{
	busy[((struct job *)op)->action.session] = false;
	job_done(op, owner);
}

/* DIR DURABILITY SEED FIRST-SEQ WHERE COUNT JOURNAL */
static int writer(char **args)
{
	static struct loop l;
	seed = (unsigned)atoi(args[2]);
	next_seq = (uint32_t)atoi(args[3]);
	kill_where = (enum store_fault)atoi(args[4]);
	kill_count = (uint32_t)atoi(args[5]);
	if (args[6][0]) {
		undo_fd = open(args[6], O_WRONLY | O_CREAT | O_APPEND, 0600);
		if (undo_fd < 0)
			return 3;
	}
	report_fd = 1;
	if (!loop_open(&l, args[0], atoi(args[1]), on_fault))
		return 4;
	struct action none = { 0 };
	report(2, ERR_OK, &none);
	unsigned width = 1 + dice(dice(2) ? 8 : 300);
	for (uint32_t number = 0; number < SUBMITTED_MAX;) {
		while (outstanding >= width || dice(50) == 0) {
			if (mailbox_run(&l.inbox, &l) == 0 && outstanding >= width)
				sem_wait(&l.woken);
			if (outstanding < width)
				break;
		}
		struct job *j = calloc(1, sizeof *j);
		if (!j)
			return 3;
		if (!choose(&l, j)) {
			free(j);
			if (mailbox_run(&l.inbox, &l) == 0 && outstanding)
				sem_wait(&l.woken);
			continue;
		}
		j->action.number = number++;
		j->op.reply = &l.inbox;
		j->op.done = j->action.kind == PUBLISH && !j->action.packet ? job_done : finish;
		if (j->action.packet && j->action.kind == PUBLISH)
			busy[j->action.session] = true;
		report(0, ERR_OK, &j->action);
		outstanding++;
		store_submit(l.store, &j->op);
	}
	return 0; /* the parent was too slow: no kill, which is an error there */
}

/* ---- the judge */

struct round {
	struct action *submitted;
	uint32_t n, done;
	uint32_t failed;             /* operations that did not end in ERR_OK */
};

static pid_t start_writer(char *const args[], int *from)
{
	int fds[2];
	if (pipe(fds) != 0)
		abort();
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		close(fds[0]);
		close(fds[1]);
		execv("/proc/self/exe", args);
		_exit(3);
	}
	close(fds[1]);
	*from = fds[0];
	return pid;
}

/* Takes in what the writer reports, until the end, or until kill_at_us. Returns whether the end was reached. */
static bool listen_to(int from, struct round *r, uint64_t *kill_at_us, unsigned wait_us)
{
	struct event e;
	size_t have = 0;
	for (;;) {
		uint64_t now = clock_mono_us();
		if (*kill_at_us && now >= *kill_at_us)
			return false;
		struct pollfd p = { .fd = from, .events = POLLIN };
		int ms = *kill_at_us ? (int)((*kill_at_us - now) / 1000 + 1) : 20000;
		if (poll(&p, 1, ms) == 0)
			return false;
		ssize_t n = read(from, (char *)&e + have, sizeof e - have);
		if (n <= 0)
			return true;
		have += (size_t)n;
		if (have < sizeof e)
			continue;
		have = 0;
		if (e.done == 2 && wait_us)
			*kill_at_us = clock_mono_us() + wait_us;
		else if (e.done == 0)
			r->submitted[r->n++] = e.action;
		else if (e.done == 1) {
			r->done++;
			r->failed += e.result != ERR_OK;
		}
	}
}

/* A new boot: relaxed trusts what was not synced only within one. As store/synced.c writes it: two slots of number 8, boot id 36, meta 152,
 * checksum 8. */
static void change_boot_id(const char *dir)
{
	static const struct siphash_key key = { UINT64_C(0x7365616c6d712073), UINT64_C(0x796e636564206e6f) };
	char path[512];
	uint8_t note[204];
	snprintf(path, sizeof path, "%s/synced", dir);
	int fd = open(path, O_RDWR);
	for (off_t at = 0; fd >= 0 && at <= 4096; at += 4096) {
		if (pread(fd, note, sizeof note, at) != (ssize_t)sizeof note)
			continue;
		memcpy(note + 8, "another-boot", 12);
		uint64_t sum = siphash24(&key, note, sizeof note - 8);
		for (unsigned i = 0; i < 8; i++)
			note[sizeof note - 1 - i] = (uint8_t)(sum >> 8 * i);
		if (syscall(SYS_pwrite64, fd, note, sizeof note, at) != (long)sizeof note)
			abort();
	}
	if (fd >= 0)
		close(fd);
}

struct totals {
	uint64_t done, doubtful, kept, lost, lossy_rounds;
};

/* Finds how many of the round's actions the store holds: the largest prefix that gives found. -1: none does. */
static long find_prefix(struct model *base, const struct round *r, const struct model *found)
{
	static struct model m, at_best;
	long best = -1;
	m = *base;
	for (uint32_t k = 0;; k++) {
		if (same(&m, found)) {
			best = k;
			at_best = m;
		}
		if (k == r->n)
			break;
		model_apply(&m, &r->submitted[k], 0);
	}
	if (best >= 0)
		*base = at_best;
	return best;
}

struct setup {
	const char *dir;
	int durability;
	bool power_cut, loss_expected;
	unsigned rounds;
};

static bool one_round(const struct setup *u, unsigned number, struct model *base, uint32_t *first_seq, struct totals *t)
{
	static struct loop l;
	static struct round r;
	char durability[8], seed_text[16], seq[16], where[8], count[16], journal[512] = "", data[512];
	if (!r.submitted && !(r.submitted = calloc(SUBMITTED_MAX, sizeof *r.submitted)))
		abort();
	r.n = r.done = r.failed = 0;
	bool at_fault = dice(2);
	snprintf(durability, sizeof durability, "%d", u->durability);
	snprintf(seed_text, sizeof seed_text, "%d", rand_r(&seed));
	snprintf(seq, sizeof seq, "%u", *first_seq);
	snprintf(where, sizeof where, "%u", dice(3));
	snprintf(count, sizeof count, "%u", at_fault ? 1 + dice(40) : 0);
	snprintf(data, sizeof data, "%s/data.mdb", u->dir);
	if (u->power_cut)
		snprintf(journal, sizeof journal, "%s.undo", u->dir);
	char *args[] = { (char *)(uintptr_t)"store_crash", (char *)(uintptr_t)"--writer", (char *)(uintptr_t)u->dir, durability, seed_text, seq, where,
		count, journal, NULL };
	int from;
	pid_t pid = start_writer(args, &from);
	uint64_t kill_at = 0, never = 0;
	listen_to(from, &r, &kill_at, at_fault ? 3000000 : 2000 + dice(250000));
	kill(pid, SIGKILL);
	listen_to(from, &r, &never, 0);
	close(from);
	int status;
	waitpid(pid, &status, 0);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL || r.failed) {
		fprintf(stderr, "round %u: the writer ended by itself (status %d), or %u operations failed\n", number, status, r.failed);
		return false;
	}
	for (uint32_t i = 0; i < r.n; i++)
		if (r.submitted[i].seq >= *first_seq)
			*first_seq = r.submitted[i].seq + 1;
	if (u->power_cut && access(journal, F_OK) == 0) {
		undo_apply(journal, data, dice(3) == 0 ? 100 : dice(101), &seed);
		change_boot_id(u->dir);
	}
	if (!loop_open(&l, u->dir, u->durability, NULL)) {
		fprintf(stderr, "round %u: the store does not open\n", number);
		return false;
	}
	loop_close(&l);
	long kept = find_prefix(base, &r, &l.model);
	if (kept < 0) {
		fprintf(stderr, "round %u: what the store holds is no state of the past (%u done, %u submitted)\n", number, r.done, r.n);
		return false;
	}
	FILE *out = tmpfile();
	enum err rc = store_check(u->dir, &toy_crypto, out);
	if (rc != ERR_OK) {
		char line[512];
		rewind(out);
		while (fgets(line, sizeof line, out))
			fputs(line, stderr);
		fprintf(stderr, "round %u: the check says: %s\n", number, err_text(rc));
		return false;
	}
	fclose(out);
	*base = l.model; /* with the keys as the next writer will load them */
	t->done += r.done;
	t->doubtful += r.n - r.done;
	t->kept += (uint64_t)kept > r.done ? (uint64_t)kept - r.done : 0;
	if ((uint64_t)kept < r.done) {
		t->lost += r.done - (uint64_t)kept;
		t->lossy_rounds++;
		if (!u->loss_expected)
			fprintf(stderr, "round %u: %llu acknowledged operations are lost\n", number, (unsigned long long)(r.done - (uint64_t)kept));
	}
	return true;
}

int main(int argc, char **argv)
{
	siphash_init();
	if (argc == 9 && strcmp(argv[1], "--writer") == 0)
		return writer(argv + 2);
	struct setup u = { .rounds = 20 };
	seed = 1;
	for (int c; (c = getopt(argc, argv, "n:d:ps:l")) != -1;) {
		if (c == 'n')
			u.rounds = (unsigned)atoi(optarg);
		else if (c == 'd')
			u.durability = strcmp(optarg, "off") == 0 ? STORE_OFF : strcmp(optarg, "relaxed") == 0 ? STORE_RELAXED : STORE_STRICT;
		else if (c == 'p')
			u.power_cut = true;
		else if (c == 's')
			seed = (unsigned)atoi(optarg);
		else if (c == 'l')
			u.loss_expected = true;
		else
			return 2;
	}
	if (optind + 1 != argc)
		return 2;
	u.dir = argv[optind];
	static struct model base;
	struct totals t = { 0 };
	uint32_t first_seq = 1;
	for (unsigned i = 0; i < u.rounds; i++)
		if (!one_round(&u, i, &base, &first_seq, &t))
			return 1;
	printf("store_crash: %u kills%s: %llu operations acknowledged, %llu lost in %llu rounds; of %llu in doubt %llu were kept\n", u.rounds,
	    u.power_cut ? " with power cuts" : "", (unsigned long long)t.done, (unsigned long long)t.lost, (unsigned long long)t.lossy_rounds,
	    (unsigned long long)t.doubtful, (unsigned long long)t.kept);
	return u.loss_expected ? t.lost == 0 : t.lost > 0;
}
