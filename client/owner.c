/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/owner.h"

#include "client/cli_identity.h"
#include "client/cmd.h"
#include "client/owner_state.h"
#include "client/owner_sync.h"
#include "crypto/trust.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct owner {
	const struct options *o;
	struct keypair *key;
	struct trust *trust;
	struct vault *vault;
	struct control *control; /* NULL: not needed so far */
	uint8_t fingerprint[32];
	char cn[IDENTITY_CN_MAX + 1];
};

/* ---- the owner */

static bool load(struct owner *w)
{
	char error[VAULT_ERROR_MAX];
	const char *why;
	struct der cn;
	const struct options *o = w->o;
	if (!options_can_seal(o)) {
		complain(o, "an owner needs --cafile, --cert and --key");
		return false;
	}
	w->key = tls_init() == ERR_OK ? identity_load(o) : NULL;
	if (!w->key)
		return false;
	if (cert_common_name(keypair_cert(w->key), &cn, &why) != ERR_OK) {
		complain(o, "%s: %s", o->certfile, why);
		return false;
	}
	memcpy(w->cn, cn.p, der_len(cn)); /* at most IDENTITY_CN_MAX, the rest is zero */
	cert_fingerprint(keypair_cert(w->key), w->fingerprint);
	w->trust = trust_new(&(struct tls_options){ .cafile = o->cafile, .crlfile = o->crlfile }, error, sizeof error);
	if (w->trust)
		w->vault = vault_open(OWNER_VAULT, w->key, error);
	if (!w->vault)
		complain(o, "%s", error);
	return w->vault != NULL;
}

struct owner *owner_open(const struct options *o)
{
	struct owner *w = calloc(1, sizeof *w);
	if (!w) {
		complain(o, "out of memory");
		return NULL;
	}
	w->o = o;
	if (load(w))
		return w;
	owner_close(w);
	return NULL;
}

void owner_close(struct owner *w)
{
	if (!w)
		return;
	control_close(w->control);
	vault_close(w->vault);
	trust_free(w->trust);
	keypair_free(w->key);
	free(w);
}

struct keypair *owner_identity(struct owner *w) { return w->key; }
struct vault *owner_vault(struct owner *w) { return w->vault; }
const uint8_t *owner_fingerprint(const struct owner *w) { return w->fingerprint; }
const struct options *owner_options(const struct owner *w) { return w->o; }
struct trust *owner_trust(struct owner *w) { return w->trust; }
const char *owner_cn(const struct owner *w) { return w->cn; }

struct control *owner_control(struct owner *w)
{
	if (!w->control)
		w->control = control_open(w->o);
	return w->control;
}

/* ---- loading */

/* *s is NULL with EXIT_DONE: this identity owns no such space here. */
static int find(struct owner *w, const char *topic, struct owner_space **s)
{
	char error[VAULT_ERROR_MAX];
	*s = NULL;
	enum err e = owner_state_load(w->vault, topic, s, error);
	if (e == ERR_OK || e == ERR_NOT_FOUND)
		return EXIT_DONE;
	complain(w->o, "%s", error);
	return EXIT_FAILED;
}

/* The space, which must be there, and not on its way out; the broker must not know more of it than this machine. */
static int load_space(struct owner *w, const char *topic, struct owner_space **s)
{
	int status = find(w, topic, s);
	if (status == EXIT_DONE && !*s) {
		complain(w->o, "%s: its keys are not on this machine, or another identity's (sealmq key import brings them)", topic);
		return EXIT_FAILED;
	}
	if (status == EXIT_DONE && (*s)->deleting) {
		complain(w->o, "%s: is being deleted: sealmq topic delete completes that", topic);
		status = EXIT_FAILED;
	}
	if (status == EXIT_DONE)
		status = owner_is_current(w, *s);
	if (status != EXIT_DONE)
		owner_space_free(*s);
	return status;
}

bool owner_has(struct owner *w, const char *topic, int *status)
{
	struct owner_space *s;
	*status = find(w, topic, &s);
	bool has = *status == EXIT_DONE && s;
	owner_space_free(s);
	return has;
}

uint32_t owner_epoch_of(struct owner *w, const char *topic)
{
	struct owner_space *s;
	uint32_t epoch = find(w, topic, &s) == EXIT_DONE && s ? owner_current(s)->number : 0;
	owner_space_free(s);
	return epoch;
}

/* ---- the operations */

static int fail(struct owner *w, const char *topic, enum err e)
{
	complain(w->o, "%s: %s", topic, err_text(e));
	return EXIT_FAILED;
}

/* What is wanted, into s. Nothing has left this machine so far. */
static int put_all(struct owner *w, struct owner_space *s, const struct owner_wish *members, size_t n, bool *changed)
{
	*changed = false;
	for (size_t i = 0; i < n; i++) {
		const struct owner_wish *m = &members[i];
		const char *fault = m->der ? owner_cert_fault(w, m->cn, m->der, m->der_len) : NULL;
		bool one = false;
		if (fault) {
			complain(w->o, "'%s': %s", m->cn, fault);
			return EXIT_FAILED;
		}
		enum err e = owner_put(s, m->cn, m->access, m->der, m->der_len, &one);
		if (e != ERR_OK)
			return fail(w, s->topic, e);
		struct owner_member *now = owner_member(s, m->cn);
		one |= m->der && !now->pinned;
		now->pinned |= m->der != NULL;
		*changed |= one;
	}
	return EXIT_DONE;
}

static int begin(struct owner *w, const struct owner_spec *spec, struct owner_space **out)
{
	bool changed;
	struct owner_space *s = *out = owner_space_new(spec->topic, spec->sign, spec->from_join);
	if (!s || (spec->settings && !(s->settings = strdup(spec->settings))))
		return fail(w, spec->topic, ERR_NOMEM);
	int status = put_all(w, s, spec->members, spec->n_members, &changed);
	return status == EXIT_DONE ? owner_commit(w, s) : status;
}

int owner_space_create(struct owner *w, const struct owner_spec *spec)
{
	struct owner_space *s;
	int status = find(w, spec->topic, &s);
	if (status == EXIT_DONE && s && s->sent_epoch > 0 && !spec->may_exist) { /* else its making was interrupted, and is completed */
		complain(w->o, "%s: exists already", spec->topic);
		status = EXIT_FAILED;
	}
	if (status == EXIT_DONE && !s)
		status = begin(w, spec, &s);
	if (status == EXIT_DONE)
		status = owner_sync(w, s);
	owner_space_free(s);
	return status;
}

int owner_space_add(struct owner *w, const char *topic, const struct owner_wish *members, size_t n)
{
	struct owner_space *s;
	bool changed = false;
	int status = load_space(w, topic, &s);
	if (status != EXIT_DONE)
		return status;
	status = put_all(w, s, members, n, &changed);
	if (status == EXIT_DONE && changed)
		status = owner_commit(w, s);
	if (status == EXIT_DONE)
		status = owner_sync(w, s);
	owner_space_free(s);
	return status;
}

/* One that only the broker lists has no key: it goes without a new epoch. */
static int remove_foreign(struct owner *w, const char *topic, const char *cn)
{
	cJSON *command = control_command("removeMember", topic);
	struct control *c = owner_control(w);
	if (!c || !cJSON_AddStringToObject(command, "cn", cn)) {
		cJSON_Delete(command);
		return EXIT_FAILED;
	}
	enum control_result r = control_ask(c, command, NULL);
	if (r == CONTROL_REFUSED)
		complain(w->o, "%s", control_error(c));
	return r == CONTROL_DONE ? EXIT_DONE : r == CONTROL_TIMEOUT ? EXIT_TIMEOUT : EXIT_FAILED;
}

int owner_space_remove(struct owner *w, const char *topic, const char *cn)
{
	struct owner_space *s;
	int status = load_space(w, topic, &s);
	if (status != EXIT_DONE)
		return status;
	bool unfinished = s->sent_epoch != owner_current(s)->number; /* perhaps this very removal */
	enum err e = owner_drop(s, cn);
	if (e == ERR_OK)
		status = owner_commit(w, s);
	else if (e != ERR_NOT_FOUND)
		status = fail(w, topic, e);
	if (status == EXIT_DONE && (e == ERR_OK || (unfinished && owner_was_member(s, cn))))
		status = owner_sync(w, s);
	else if (status == EXIT_DONE)
		status = remove_foreign(w, topic, cn);
	owner_space_free(s);
	return status;
}

int owner_space_rotate(struct owner *w, const char *topic)
{
	struct owner_space *s;
	int status = load_space(w, topic, &s);
	if (status != EXIT_DONE)
		return status;
	if (s->sent_epoch == owner_current(s)->number) { /* else a turn was interrupted, and is completed */
		enum err e = owner_turn(s);
		status = e == ERR_OK ? owner_commit(w, s) : fail(w, topic, e);
	}
	if (status == EXIT_DONE)
		status = owner_sync(w, s);
	owner_space_free(s);
	return status;
}

int owner_space_delete(struct owner *w, const char *topic)
{
	struct owner_space *s;
	int status = find(w, topic, &s);
	if (status == EXIT_DONE && !s)
		return load_space(w, topic, &s);
	if (status != EXIT_DONE)
		return status;
	s->deleting = true;
	status = owner_save(w, s);
	if (status == EXIT_DONE)
		status = owner_sync(w, s);
	owner_space_free(s);
	return status;
}

/* ---- pending members */

static const cJSON *named(const cJSON *list, const char *cn)
{
	const cJSON *m;
	cJSON_ArrayForEach(m, list) {
		const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(m, "cn"));
		if (name && strcmp(name, cn) == 0)
			return m;
	}
	return NULL;
}

static unsigned access_of(const cJSON *m)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(m, "access"));
	return text && strcmp(text, "read") == 0 ? MEMBER_READ : text && strcmp(text, "write") == 0 ? MEMBER_WRITE : MEMBER_READ | MEMBER_WRITE;
}

/* Takes one into the owner's list as the broker shows it: the user has said so. */
static int admit(struct owner *w, struct owner_space *s, const char *cn)
{
	cJSON *about;
	uint8_t *der = NULL;
	size_t len;
	bool changed = false;
	int status = owner_ask_about(w, s->topic, &about);
	const cJSON *there = named(cJSON_GetObjectItemCaseSensitive(about, "members"), cn);
	if (status == EXIT_DONE && !there) {
		complain(w->o, "%s: '%s' is not a member there (sealmq topic add makes it one)", s->topic, cn);
		status = EXIT_FAILED;
	}
	if (status == EXIT_DONE)
		status = owner_fetch(w, cn, cn, &der, &len);
	if (status == EXIT_DONE && !der) {
		complain(w->o, "%s: the broker has no certificate of '%s' yet: it has not connected", s->topic, cn);
		status = EXIT_FAILED;
	}
	const struct owner_member *m = owner_member(s, cn);
	if (status == EXIT_DONE) {
		enum err e = owner_put(s, cn, m ? m->access : access_of(there), der, len, &changed);
		status = e != ERR_OK ? fail(w, s->topic, e) : changed ? owner_commit(w, s) : EXIT_DONE;
	}
	free(der);
	cJSON_Delete(about);
	return status;
}

int owner_space_admit(struct owner *w, const char *topic, const char *cn)
{
	struct owner_space *s;
	int status = load_space(w, topic, &s);
	if (status != EXIT_DONE)
		return status;
	if (cn)
		status = admit(w, s, cn);
	if (status == EXIT_DONE)
		status = owner_sync(w, s);
	owner_space_free(s);
	return status;
}

/* ---- comparing */

static void print_member(const struct owner_space *s, const cJSON *m, bool *agree)
{
	const char *cn = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(m, "cn")), *hex = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(m, "certificate"));
	const struct owner_member *own = cn ? owner_member(s, cn) : NULL;
	char ours[65] = "";
	if (!cn)
		return;
	if (!own) {
		printf("not yours    %s  is a member for the broker alone: it has no key (sealmq topic admit, or remove)\n", cn);
		*agree = false;
		return;
	}
	for (size_t i = 0; own->der && i < sizeof own->fingerprint; i++)
		snprintf(ours + 2 * i, 3, "%02x", own->fingerprint[i]);
	if (hex && own->der && strcmp(hex, ours) != 0) {
		printf("other cert.  %s  has connected with %.16s, and its key is for %.16s (sealmq topic admit replaces it)\n", cn, hex, ours);
		*agree = false;
	}
}

int owner_space_compare(struct owner *w, const char *topic, const cJSON *about, bool *agree)
{
	struct owner_space *s;
	const cJSON *m;
	*agree = true;
	int status = find(w, topic, &s);
	if (status != EXIT_DONE || !s)
		return status;
	cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(about, "members")) {
		print_member(s, m, agree);
	}
	for (size_t i = 0; i < s->n_members; i++)
		if (s->members[i].until == 0 && !named(cJSON_GetObjectItemCaseSensitive(about, "members"), s->members[i].cn)) {
			printf("missing      %s  is your member, and not the broker's\n", s->members[i].cn);
			*agree = false;
		}
	printf("own list     number %llu, epoch %u, %s\n", (unsigned long long)s->list_number, owner_current(s)->number,
	       s->sent_epoch == owner_current(s)->number && s->sent_list == s->list_number ? "handed out" : "not handed out yet (sealmq topic admit does it)");
	owner_space_free(s);
	return EXIT_DONE;
}
