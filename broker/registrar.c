/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/registrar.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "broker/audit.h"
#include "broker/registrar_int.h"
#include "broker/sessions.h"
#include "broker/spaces.h"
#include "crypto/hash.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_S 1 /* between looks for epochs that are old enough */

/* ---- what it sends ---- */

struct send_mail {
	struct mail mail;
	sub_handle to;
	struct msg *msg; /* one reference; NULL: only the acknowledgement */
	uint8_t qos;
	bool retain, ack;
	uint32_t serial, seq;
};

static bool wants_responses(const struct session *s)
{
	struct loop *l = s->loop;
	static const char topic[] = SPACES_RESPONSE;
	struct match *mt = match_cache_get(l->cache, (const uint8_t *)topic, sizeof topic - 1);
	for (uint32_t i = 0; mt && i < mt->n_targets; i++)
		if (mt->targets[i].handle == s->subs.handle)
			return true;
	return false;
}

static void on_send(struct mail *mail, void *owner)
{
	struct send_mail *m = (struct send_mail *)mail;
	struct loop *l = owner;
	struct session *s = sessions_get(l->sessions, m->to);
	if (s && s->conn && m->msg && (!m->ack || wants_responses(s))) {
		struct entry e = {.msg = msg_ref(m->msg)};
		e.qos = m->qos & 3U;
		e.retain = m->retain;
		session_push(s, &e, false);
	}
	if (s && s->conn && m->ack && s->conn->serial == m->serial && m->seq)
		conn_ack_ready(s->conn, m->seq - 1);
	msg_unref(m->msg);
	pool_free(m);
}

static void post(struct registrar *r, const struct send_mail *what)
{
	struct send_mail *m = pool_alloc(sizeof *m);
	if (!m) {
		log_error("out of memory: an envelope or answer is not sent");
		msg_unref(what->msg);
		return;
	}
	*m = *what;
	m->mail.run = on_send;
	mailbox_push(&r->b->loops[sub_handle_loop(m->to)]->mailbox, &m->mail);
}

void registrar_send(struct registrar *r, sub_handle to, struct msg *take_m, uint8_t qos, bool retain)
{
	struct send_mail m = {.to = to, .msg = take_m, .qos = qos > 1 ? 1 : qos, .retain = retain};
	if (take_m)
		post(r, &m);
	else
		log_error("out of memory: an envelope or answer is not sent");
}

static struct msg *message(const void *topic, size_t topic_len, const void *payload, size_t len)
{
	struct msg_spec spec = {.topic = topic, .topic_len = topic_len, .payload = payload, .payload_len = len, .time_ms = clock_wall_ms(),
	                        .qos = 1, .flags = MSG_DIRECT};
	return msg_new(&spec);
}

/* ---- waiting ---- */

static void wait_for(struct registrar *r, unsigned n)
{
	while (r->answered < n) {
		while (sem_wait(&r->answer) != 0 && errno == EINTR)
			;
		mailbox_run(&r->answers, r);
	}
	r->answered = 0;
}

static void on_stored(struct store_op *op, void *owner)
{
	(void)op;
	((struct registrar *)owner)->answered++;
}

enum err registrar_store(struct registrar *r, const char *name, const void *value, size_t len)
{
	if (!r->b->vault)
		return ERR_OK; /* nothing outlives the process */
	uint8_t *sealed = value ? vault_seal_value(r->b->vault, name, value, len, &len) : NULL;
	struct store_op op = {.reply = &r->answers, .done = on_stored, .verb = STORE_META, .u.meta = {.name = name, .value = sealed, .len = len}};
	if (value && !sealed)
		return ERR_NOMEM;
	if (r->alone) {
		op.result = store_meta_put(r->b->store, name, sealed, len);
	} else {
		store_submit(r->b->store, &op);
		wait_for(r, 1);
	}
	free(sealed);
	return op.result;
}

static enum err store_space(struct registrar *r, const struct change *c)
{
	char name[KEYSPACE_STORE_NAME];
	if (!r->b->vault)
		return ERR_OK;
	keyspace_store_name(c->next ? c->next : c->old, name);
	char *text = c->next ? keyspace_encode(c->next, r->b->vault) : NULL;
	enum err e = c->next && !text ? ERR_NOMEM : registrar_store(r, name, text, text ? strlen(text) : 0);
	free(text);
	return e;
}

/* ---- rounds ---- */

static void on_answer(struct mail *mail, void *owner)
{
	struct round *m = (struct round *)mail;
	struct registrar *r = owner;
	if (m->failed)
		log_error("out of memory: some members do not get their new envelope before they subscribe again");
	while (m->askers) {
		struct asker *a = m->askers;
		m->askers = a->next;
		a->next = r->askers;
		r->askers = a;
	}
	space_map_unref(m->map);
	pool_free(m);
	r->answered++;
}

static void free_rounds(struct round *list)
{
	while (list) {
		struct round *m = list;
		list = (struct round *)m->mail.next;
		space_map_unref(m->map);
		pool_free(m);
	}
}

/* Mails for one round, linked; NULL when out of memory. */
static struct round *make_round(struct registrar *r, struct space_map *map, const struct space *about, bool judge)
{
	struct round *list = NULL;
	for (unsigned i = 0; i < r->b->n_loops; i++) {
		struct round *m = pool_alloc(sizeof *m);
		if (!m) {
			free_rounds(list);
			return NULL;
		}
		*m = (struct round){.mail = {.next = (struct mail *)list, .run = spaces_on_round}, .answers = &r->answers, .about = about, .judge = judge};
		m->map = space_map_ref(map);
		m->back = on_answer;
		list = m;
	}
	return list;
}

static void run_round(struct registrar *r, struct round *list)
{
	if (r->alone) {
		free_rounds(list);
		return;
	}
	for (unsigned i = 0; list && i < r->b->n_loops; i++) {
		struct round *m = list;
		list = (struct round *)m->mail.next;
		mailbox_push(&r->b->loops[i]->mailbox, &m->mail); /* each comes back as an answer */
	}
	wait_for(r, r->b->n_loops);
}

/* The map with one space replaced, added (old NULL) or without it (next NULL). */
static struct space_map *changed_map(const struct space_map *map, const struct space *old, struct space *next)
{
	size_t n = space_map_count(map), k = 0;
	struct space **list = malloc((n + 1) * sizeof(struct space *));
	struct space_map *m = NULL;
	if (!list)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (space_map_at(map, i) != old)
			list[k++] = space_map_at(map, i);
	if (next)
		list[k++] = next;
	m = space_map_new(list, k);
	free(list);
	return m;
}

static void free_asker(struct asker *a)
{
	identity_unref(a->identity);
	free(a);
}

/* To those whom a round has found. */
static void send_to_askers(struct registrar *r, const struct space_map *map)
{
	while (r->askers) {
		struct asker *a = r->askers;
		r->askers = a->next;
		registrar_send_envelope(r, map, a, false);
		free_asker(a);
	}
}

/* The former space with the members of the next, if some have gone: what holds until the envelopes are made. NULL: out of memory. */
static struct space *between(const struct change *c)
{
	struct draft d;
	if (!c->cut)
		return space_ref(c->old);
	if (draft_begin(&d, c->next) != ERR_OK)
		return NULL;
	d.spec.n_epochs = c->old->spec.n_epochs;
	memcpy(d.epochs, c->old->spec.epochs, d.spec.n_epochs * sizeof d.epochs[0]);
	return draft_finish(&d);
}

/* Frozen first, envelopes next, then the new epoch: so nobody gets a message of it before the envelope. */
static enum err turn(struct registrar *r, const struct change *c, struct space_map *final)
{
	struct space *mid = between(c);
	struct space_map *map = mid ? changed_map(r->map, c->old, mid) : NULL;
	struct round *first = map ? make_round(r, map, mid, c->cut) : NULL;
	struct round *second = first ? make_round(r, final, NULL, c->members && !c->cut) : NULL;
	enum err e = second ? store_space(r, c) : ERR_NOMEM;
	if (e == ERR_OK) {
		run_round(r, first);
		send_to_askers(r, final);
		run_round(r, second);
	} else {
		free_rounds(first);
		free_rounds(second);
	}
	space_map_unref(map);
	space_unref(mid);
	return e;
}

enum err registrar_offer(struct registrar *r, const struct space *s)
{
	struct round *round = make_round(r, r->map, s, false);
	if (!round)
		return ERR_NOMEM;
	run_round(r, round);
	send_to_askers(r, r->map);
	return ERR_OK;
}

static enum err once(struct registrar *r, const struct change *c, struct space_map *final)
{
	struct round *round = make_round(r, final, NULL, true);
	enum err e = round ? store_space(r, c) : ERR_NOMEM;
	if (e == ERR_OK) {
		run_round(r, round);
		return ERR_OK;
	}
	free_rounds(round);
	return e;
}

enum err registrar_apply(struct registrar *r, const struct change *c)
{
	struct space_map *final = changed_map(r->map, c->old, c->next);
	if (!final)
		return ERR_NOMEM;
	enum err e = c->turned && c->old ? turn(r, c, final) : once(r, c, final);
	if (e != ERR_OK) {
		space_map_unref(final);
		return e;
	}
	pthread_mutex_lock(&r->b->spaces_lock);
	space_map_unref(r->b->spaces);
	r->b->spaces = space_map_ref(final);
	pthread_mutex_unlock(&r->b->spaces_lock);
	space_map_unref(r->map);
	r->map = final;
	atomic_store(&r->in_use, r->in_use || space_map_count(final) > 0);
	return ERR_OK;
}

/* ---- envelopes and certificates ---- */

static bool same_certificate(const struct space_member *m, const struct identity *id)
{
	return !m->pinned || memcmp(m->fingerprint, id->fingerprint, sizeof m->fingerprint) == 0;
}

void registrar_send_envelope(struct registrar *r, const struct space_map *map, const struct asker *a, bool retain)
{
	size_t skip = sizeof SPACES_KEYS - 1, len = 0;
	const uint8_t *der = NULL;
	const char *why = "its certificate is not known yet: it has connected before key spaces were in use";
	struct space *s = space_map_find(map, a->filter + skip, a->len - skip);
	const struct space_member *m = s ? space_member(s, a->identity->cn, a->identity->cn_len) : NULL;
	if (!m || !same_certificate(m, a->identity) || !space_current(s))
		return; /* no longer, or not yet */
	const struct known *to = directory_find(r->directory, a->identity->fingerprint);
	enum err e = ERR_NOT_FOUND;
	if (s->spec.mode == SPACE_OWNER) {
		if (!envelopes_get(r->envelopes, s->spec.id, space_epoch_number(s), a->identity->fingerprint, &der, &len))
			return; /* it comes when the owner has uploaded it */
		e = ERR_OK;
	} else if (to && r->policy->signer) {
		e = envelopes_make(r->envelopes, s, m, to, r->policy->signer, r->policy->server, &der, &len, &why);
	} else if (to) {
		why = "the server's certificate cannot sign: expected an RSA key of 2048 to 4096 bits, or P-256";
	}
	if (e == ERR_OK)
		registrar_send(r, a->handle, message(a->filter, a->len, der, len), a->qos, retain);
	else
		log_warning("audit: CN '%s': no envelope for the key space '%.*s': %s", a->identity->cn, (int)(s->spec.name_len > 200 ? 200 : s->spec.name_len),
		            s->spec.name, why);
}

/* Do both belong to one key space, as member or owner? */
static bool share_a_space(const struct registrar *r, const struct identity *a, const char *cn, size_t cn_len)
{
	for (size_t i = 0; i < space_map_count(r->map); i++) {
		const struct space *s = space_map_at(r->map, i);
		bool other = space_member(s, cn, cn_len) || (s->spec.owner_len == cn_len && memcmp(s->spec.owner, cn, cn_len) == 0);
		if (other && (space_member(s, a->cn, a->cn_len) || strcmp(s->spec.owner, a->cn) == 0))
			return true;
	}
	return false;
}

static bool belongs_somewhere(const struct registrar *r, const struct identity *a)
{
	for (size_t i = 0; i < space_map_count(r->map); i++) {
		const struct space *s = space_map_at(r->map, i);
		if (space_member(s, a->cn, a->cn_len) || strcmp(s->spec.owner, a->cn) == 0)
			return true;
	}
	return registrar_is_admin(r, a->cn);
}

/* Its own, of who shares a key space with it, and for who manages them, or may write to anybody, anybody's. */
static bool may_see(const struct registrar *r, const struct asker *a, const struct known *k)
{
	bool own = k->cn_len == a->identity->cn_len && memcmp(k->cn, a->identity->cn, k->cn_len) == 0;
	return own || share_a_space(r, a->identity, k->cn, k->cn_len) || registrar_is_admin(r, a->identity->cn) ||
	       r->policy->conf->direct_messages > 0;
}

/* An empty payload says: none that the asker may have. */
static void send_certificate(struct registrar *r, const struct asker *a)
{
	static const char by_hash[] = "sha256/";
	const char *name = (const char *)a->filter + sizeof SPACES_CERTS - 1;
	size_t len = a->len - (sizeof SPACES_CERTS - 1), skip = sizeof by_hash - 1;
	char hex[33] = "";
	uint8_t prefix[16];
	const struct known *k = NULL;
	struct der server = r->policy->signer ? keypair_cert(r->policy->signer)->whole : (struct der){0};
	if (len == skip + 32 && memcmp(name, by_hash, skip) == 0) {
		memcpy(hex, name + skip, 32);
		if (hex_read(hex, prefix, sizeof prefix)) {
			k = directory_find_prefix(r->directory, prefix);
			if (r->policy->signer && memcmp(prefix, r->policy->server, sizeof prefix) == 0 && belongs_somewhere(r, a->identity)) {
				registrar_send(r, a->handle, message(a->filter, a->len, server.p, der_len(server)), a->qos, true);
				return;
			}
		}
	} else {
		k = directory_latest(r->directory, name, len);
	}
	if (k && may_see(r, a, k))
		registrar_send(r, a->handle, message(a->filter, a->len, k->der, k->der_len), a->qos, true);
	else
		registrar_send(r, a->handle, message(a->filter, a->len, NULL, 0), a->qos, true);
}

bool registrar_is_admin(const struct registrar *r, const char *cn)
{
	const struct conf *c = r->policy->conf;
	for (size_t i = 0; i < c->n_topic_admins; i++)
		if (strcmp(c->topic_admins[i], cn) == 0)
			return true;
	return false;
}

/* ---- its mail ---- */

struct ask_mail {
	struct mail mail;
	enum registrar_question what;
	struct asker *asker;
};

static void on_ask(struct mail *mail, void *owner)
{
	struct ask_mail *m = (struct ask_mail *)mail;
	struct registrar *r = owner;
	if (!atomic_load(&r->stopping)) {
		if (m->what == ASK_KEYS)
			registrar_send_envelope(r, r->map, m->asker, true);
		else
			send_certificate(r, m->asker);
	}
	free_asker(m->asker);
	pool_free(m);
}

bool registrar_ask(struct session *s, enum registrar_question what, const uint8_t *filter, size_t len, uint8_t qos)
{
	struct registrar *r = s->loop->broker->registrar;
	struct ask_mail *m = r ? pool_alloc(sizeof *m) : NULL;
	struct asker *a = m ? registrar_asker(s, filter, len, qos) : NULL;
	if (!a) {
		pool_free(m);
		return !r;
	}
	*m = (struct ask_mail){.mail.run = on_ask, .what = what, .asker = a};
	mailbox_push(&r->inbox, &m->mail);
	return true;
}

struct command_mail {
	struct mail mail;
	sub_handle from;
	struct identity *identity; /* one reference */
	uint32_t serial, seq;      /* of the acknowledgement that waits, plus 1; 0: none does */
	size_t len;
	uint8_t payload[];
};

static void on_command(struct mail *mail, void *owner)
{
	struct command_mail *m = (struct command_mail *)mail;
	struct registrar *r = owner;
	if (!atomic_load(&r->stopping)) {
		char *text = control_run(r, m->identity, m->payload, m->len);
		const char *answer = text ? text : "{\"responses\":[{\"error\":\"out of memory\"}]}";
		struct send_mail back = {.to = m->from, .qos = 1, .ack = true, .serial = m->serial, .seq = m->seq};
		back.msg = message(SPACES_RESPONSE, sizeof SPACES_RESPONSE - 1, answer, strlen(answer));
		post(r, &back);
		free(text);
	}
	identity_unref(m->identity);
	free(m);
}

bool registrar_command(struct conn *c, const uint8_t *payload, size_t len, uint8_t qos, uint32_t seq)
{
	struct registrar *r = c->loop->broker->registrar;
	struct command_mail *m = malloc(sizeof *m + len);
	if (!m)
		return false;
	*m = (struct command_mail){.mail.run = on_command, .from = c->session->subs.handle, .identity = identity_ref(c->identity),
	                           .serial = c->serial, .seq = qos > 0 ? seq + 1 : 0, .len = len};
	if (len > 0)
		memcpy(m->payload, payload, len);
	mailbox_push(&r->inbox, &m->mail);
	return true;
}

struct certificate_mail {
	struct mail mail;
	uint8_t *der;
	size_t len;
};

struct keep_op {
	struct store_op op;
	char name[sizeof DIRECTORY_STORE_PREFIX + 64];
	uint8_t *sealed; /* owned */
};

static void free_keep_op(struct store_op *op)
{
	free(((struct keep_op *)op)->sealed);
	free(op);
}

static void certificate_name(const uint8_t *der, size_t len, char name[static sizeof DIRECTORY_STORE_PREFIX + 64])
{
	uint8_t fingerprint[32];
	hash_sha256(der, len, fingerprint);
	memcpy(name, DIRECTORY_STORE_PREFIX, sizeof DIRECTORY_STORE_PREFIX);
	hex_write(name + sizeof DIRECTORY_STORE_PREFIX - 1, fingerprint, sizeof fingerprint);
}

enum err registrar_keep_certificate(struct registrar *r, const uint8_t *der, size_t len)
{
	char name[sizeof DIRECTORY_STORE_PREFIX + 64];
	bool added = false;
	enum err e = directory_add(r->directory, der, len, &added);
	if (e != ERR_OK || !added)
		return e;
	certificate_name(der, len, name);
	e = registrar_store(r, name, der, len);
	if (e != ERR_OK)
		log_error("a member's certificate is not stored: %s", err_text(e));
	return ERR_OK;
}

static void on_certificate(struct mail *mail, void *owner)
{
	struct certificate_mail *m = (struct certificate_mail *)mail;
	struct registrar *r = owner;
	bool added = false;
	enum err e = directory_add(r->directory, m->der, m->len, &added);
	if (e != ERR_OK)
		log_error("a client's certificate is not kept: %s", err_text(e));
	struct keep_op *o = added && r->b->vault && !atomic_load(&r->stopping) ? calloc(1, sizeof *o) : NULL;
	if (o) { /* nobody waits for it: the client brings it again */
		certificate_name(m->der, m->len, o->name);
		size_t len = 0;
		o->sealed = vault_seal_value(r->b->vault, o->name, m->der, m->len, &len);
		o->op = (struct store_op){.verb = STORE_META, .free_op = free_keep_op, .u.meta = {.name = o->name, .value = o->sealed, .len = len}};
		if (o->sealed)
			store_submit(r->b->store, &o->op);
		else
			free(o);
	}
	pool_free(m->der);
	pool_free(m);
}

void registrar_certificate(struct broker *b, struct identity *id, uint8_t *take_der, size_t len)
{
	struct registrar *r = b->registrar;
	struct certificate_mail *m = take_der && r && atomic_load_explicit(&r->in_use, memory_order_relaxed) ? pool_alloc(sizeof *m) : NULL;
	(void)id;
	if (!m) {
		pool_free(take_der);
		return;
	}
	*m = (struct certificate_mail){.mail.run = on_certificate, .der = take_der, .len = len};
	mailbox_push(&r->inbox, &m->mail);
}

/* ---- rotation ---- */

static void rotate(struct registrar *r, struct space *s, const char *why)
{
	struct draft d;
	uint64_t until = clock_mono_ms() + KEYSPACE_GRACE_MS;
	enum err e = draft_begin(&d, s);
	if (e == ERR_OK)
		e = draft_turn(&d, clock_wall_ms() / 1000, until);
	struct change c = {.old = s, .next = e == ERR_OK ? draft_finish(&d) : NULL, .turned = true};
	if (c.next)
		e = registrar_apply(r, &c);
	if (c.next && e == ERR_OK) {
		audit_event(AUDIT_KEY_ROTATED, &(const struct audit_who){0}, why,
		            AUDIT_PAIRS(AUDIT_PAIR("topic", c.next->spec.name, c.next->spec.name_len), AUDIT_NUMBER("epoch", space_epoch_number(c.next))));
	} else {
		log_error("key space '%s': its epoch cannot be turned: %s", s->spec.name, err_text(e == ERR_OK ? ERR_NOMEM : e));
		atomic_store(&s->rotate_asked, false); /* the next message asks again */
	}
	space_unref(c.next);
}

struct rotate_mail {
	struct mail mail;
	uint64_t id;
};

static void on_rotate(struct mail *mail, void *owner)
{
	struct registrar *r = owner;
	uint64_t id = ((struct rotate_mail *)mail)->id;
	pool_free(mail);
	for (size_t i = 0; !atomic_load(&r->stopping) && i < space_map_count(r->map); i++) {
		struct space *s = space_map_at(r->map, i);
		if (s->spec.id == id && s->spec.rotate_count > 0 && atomic_load(&s->used) >= s->spec.rotate_count) {
			rotate(r, s, "rotateCount messages");
			return;
		}
	}
}

void registrar_rotate(struct broker *b, struct space *s)
{
	struct rotate_mail *m = pool_alloc(sizeof *m);
	if (!m) {
		atomic_store(&s->rotate_asked, false); /* the next message asks again */
		return;
	}
	*m = (struct rotate_mail){.mail.run = on_rotate, .id = s->spec.id};
	mailbox_push(&b->registrar->inbox, &m->mail);
}

static void rotate_old(struct registrar *r)
{
	uint64_t now_s = clock_wall_ms() / 1000;
	for (size_t i = 0; i < space_map_count(r->map); i++) {
		struct space *s = space_map_at(r->map, i);
		const struct space_epoch *e = space_current(s);
		if (!e || s->spec.mode != SPACE_BROKER || s->spec.rotate_age_s == 0 || e->made_s + s->spec.rotate_age_s > now_s)
			continue;
		rotate(r, s, "rotateAge");
		return; /* the list is another one now; the next look finds the next */
	}
}

/* ---- reload ---- */

struct policy_mail {
	struct mail mail;
	struct policy *policy; /* one reference */
};

static void on_policy(struct mail *mail, void *owner)
{
	struct registrar *r = owner;
	struct policy *former = r->policy;
	r->policy = ((struct policy_mail *)mail)->policy;
	pool_free(mail);
	const struct conf *c = r->policy->conf;
	if (!atomic_load(&r->stopping)) {
		declare_left(former->topics, r->policy->topics);
		r->pending = false;
		declare_all(r);
	}
	policy_unref(former);
	atomic_store(&r->in_use, c->n_topic_admins > 0 || c->direct_messages > 0 || space_map_count(r->map) > 0);
}

void registrar_follow(struct broker *b, struct policy *p)
{
	struct policy_mail *m = pool_alloc(sizeof *m);
	if (!m) {
		log_error("out of memory: key spaces go by the former configuration");
		return;
	}
	*m = (struct policy_mail){.mail.run = on_policy, .policy = policy_ref(p)};
	mailbox_push(&b->registrar->inbox, &m->mail);
}

/* ---- life ---- */

static void wake(void *arg)
{
	sem_post(arg);
}

struct loading {
	struct registrar *r;
	FILE *errors;
	enum err (*take)(struct registrar *r, const char *name, const uint8_t *value, size_t len);
};

static enum err load_value(void *arg, const char *name, const void *sealed, size_t len)
{
	const struct loading *l = arg;
	uint8_t *value = NULL;
	enum err e = vault_open_value(l->r->b->vault, name, sealed, len, &value, &len);
	if (e == ERR_OK)
		e = l->take(l->r, name, value, len);
	if (e != ERR_OK)
		(void)fprintf(l->errors, "store: value \"%s\" does not open: %s\n", name, err_text(e));
	free(value);
	return e;
}

static enum err load_space(struct registrar *r, const char *name, const uint8_t *value, size_t len)
{
	struct space *s;
	(void)name;
	enum err e = keyspace_decode(value, len, r->b->vault, &s);
	if (e != ERR_OK)
		return e;
	struct space_map *map = changed_map(r->map, NULL, s);
	space_unref(s);
	if (!map)
		return ERR_NOMEM;
	space_map_unref(r->map);
	r->map = map;
	return ERR_OK;
}

static enum err load_certificate(struct registrar *r, const char *name, const uint8_t *value, size_t len)
{
	bool added;
	(void)name;
	return directory_add(r->directory, value, len, &added);
}

/* envelope/<id>/<epoch>/<fingerprint> */
static enum err load_upload(struct registrar *r, const char *name, const uint8_t *value, size_t len)
{
	uint8_t fingerprint[32];
	const char *p = name + sizeof UPLOAD_STORE_PREFIX - 1;
	if (strlen(p) != 16 + 1 + 8 + 1 + 64 || !hex_read(p + 26, fingerprint, sizeof fingerprint))
		return ERR_CORRUPT;
	return envelopes_put(r->envelopes, strtoull(p, NULL, 16), (uint32_t)strtoul(p + 17, NULL, 16), fingerprint, value, len);
}

static enum err load_all(struct registrar *r, FILE *errors)
{
	static const struct {
		const char *prefix;
		enum err (*take)(struct registrar *r, const char *name, const uint8_t *value, size_t len);
	} kinds[] = {{KEYSPACE_STORE_PREFIX, load_space}, {DIRECTORY_STORE_PREFIX, load_certificate}, {UPLOAD_STORE_PREFIX, load_upload}};
	enum err e = ERR_OK;
	for (size_t i = 0; e == ERR_OK && r->b->vault && i < sizeof kinds / sizeof *kinds; i++) {
		struct loading l = {r, errors, kinds[i].take};
		e = store_meta_each(r->b->store, kinds[i].prefix, load_value, &l);
	}
	return e;
}

struct registrar *registrar_new(struct broker *b, FILE *errors)
{
	struct registrar *r = calloc(1, sizeof *r);
	if (!r) {
		(void)fputs("out of memory\n", errors);
		return NULL;
	}
	r->b = b;
	r->alone = true;
	r->policy = policy_ref(b->policy);
	mailbox_init(&r->inbox, wake, &r->wake);
	mailbox_init(&r->answers, wake, &r->answer);
	sem_init(&r->wake, 0, 0);
	sem_init(&r->answer, 0, 0);
	r->directory = directory_new();
	r->envelopes = envelopes_new();
	enum err e = r->directory && r->envelopes ? ERR_OK : ERR_NOMEM;
	if (e == ERR_OK)
		e = load_all(r, errors);
	if (e != ERR_OK)
		(void)fprintf(errors, "the store's key spaces cannot be loaded: %s\n", err_text(e));
	if (e != ERR_OK || !declare_fits(r->policy, r->map, errors)) {
		registrar_free(r);
		return NULL;
	}
	const struct conf *c = r->policy->conf;
	atomic_init(&r->in_use, c->n_topic_admins > 0 || c->direct_messages > 0 || space_map_count(r->map) > 0);
	b->spaces = space_map_ref(r->map);
	return r;
}

struct space_map *registrar_map(const struct registrar *r)
{
	return space_map_ref(r->map);
}

/* Waits for mail; no longer than until the next look, if there is something to look for. */
static void wait_for_mail(struct registrar *r)
{
	struct timespec until;
	bool look = r->pending;
	for (size_t i = 0; i < space_map_count(r->map); i++)
		look |= space_map_at(r->map, i)->spec.rotate_age_s > 0;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LOOK_S;
	if (look)
		(void)sem_timedwait(&r->wake, &until);
	else
		(void)sem_wait(&r->wake);
}

static void *thread_main(void *arg)
{
	struct registrar *r = arg;
	while (!atomic_load(&r->stopping)) {
		wait_for_mail(r);
		mailbox_run(&r->inbox, r);
		rotate_old(r);
		if (r->pending)
			declare_all(r);
	}
	pool_drain();
	return NULL;
}

enum err registrar_begin(struct registrar *r)
{
	declare_all(r);
	for (unsigned i = 0; i < r->b->n_loops; i++) {
		struct loop *l = r->b->loops[i];
		space_map_unref(l->spaces);
		l->spaces = space_map_count(r->map) > 0 ? space_map_ref(r->map) : NULL;
	}
	return r->pending ? ERR_IO : ERR_OK;
}

enum err registrar_start(struct registrar *r)
{
	r->alone = false;
	sigset_t all, old; /* signals go to the main thread */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r->started = pthread_create(&r->thread, NULL, thread_main, r) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r->started ? ERR_OK : ERR_NOMEM;
}

void registrar_stop(struct registrar *r)
{
	atomic_store(&r->stopping, true);
	if (!r->started)
		return;
	sem_post(&r->wake);
	pthread_join(r->thread, NULL);
	r->started = false;
}

void registrar_free(struct registrar *r)
{
	if (!r)
		return;
	atomic_store(&r->stopping, true);
	mailbox_run(&r->inbox, r); /* what came too late is freed */
	directory_free(r->directory);
	envelopes_free(r->envelopes);
	space_map_unref(r->map);
	policy_unref(r->policy);
	sem_destroy(&r->wake);
	sem_destroy(&r->answer);
	free(r);
}
