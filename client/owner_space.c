/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/owner_space.h"

#include "base/clock.h"
#include "base/pool.h"
#include "base/random.h"
#include "base/secmem.h"
#include "crypto/envelope.h"

#include <stdlib.h>
#include <string.h>

/* ---- the struct */

struct owner_space *owner_space_new(const char *topic, enum seal_sign sign, bool from_join)
{
	struct owner_space *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->topic = strdup(topic);
	s->epochs = secmem_alloc(KEYSET_EPOCHS_MAX * sizeof *s->epochs);
	s->sign = sign;
	s->from_join = from_join;
	if (s->topic && s->epochs && owner_turn(s) == ERR_OK)
		return s;
	owner_space_free(s);
	return NULL;
}

static void free_member(struct owner_member *m)
{
	free(m->cn);
	free(m->der);
}

void owner_space_free(struct owner_space *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_members; i++)
		free_member(&s->members[i]);
	free(s->members);
	secmem_free(s->epochs);
	pool_free(s->list);
	free(s->topic);
	free(s->settings);
	free(s);
}

const struct owner_epoch *owner_current(const struct owner_space *s)
{
	return &s->epochs[s->n_epochs - 1];
}

struct owner_member *owner_member(const struct owner_space *s, const char *cn)
{
	for (size_t i = 0; i < s->n_members; i++)
		if (s->members[i].until == 0 && strcmp(s->members[i].cn, cn) == 0)
			return &s->members[i];
	return NULL;
}

bool owner_was_member(const struct owner_space *s, const char *cn)
{
	bool was = false;
	for (size_t i = 0; i < s->n_members; i++)
		was |= s->members[i].until != 0 && strcmp(s->members[i].cn, cn) == 0;
	return was && !owner_member(s, cn);
}

/* ---- changes */

/* Those who had gone before the oldest epoch mean nothing any more. */
static void prune(struct owner_space *s)
{
	size_t kept = 0;
	for (size_t i = 0; i < s->n_members; i++) {
		if (s->members[i].until != 0 && s->members[i].until < s->epochs[0].number)
			free_member(&s->members[i]);
		else
			s->members[kept++] = s->members[i];
	}
	s->n_members = kept;
}

enum err owner_turn(struct owner_space *s)
{
	uint32_t number = s->n_epochs ? owner_current(s)->number + 1 : 1;
	if (number == 0)
		return ERR_FULL;
	if (s->n_epochs == KEYSET_EPOCHS_MAX)
		memmove(s->epochs, s->epochs + 1, --s->n_epochs * sizeof *s->epochs);
	struct owner_epoch *e = &s->epochs[s->n_epochs++];
	*e = (struct owner_epoch){ .number = number, .made_s = clock_wall_ms() / 1000 };
	random_bytes(e->kid, sizeof e->kid);
	random_bytes(e->root, sizeof e->root);
	prune(s);
	return ERR_OK;
}

static enum err set_certificate(struct owner_member *m, const void *der, size_t len)
{
	struct cert c;
	uint8_t *copy = malloc(len);
	if (!copy)
		return ERR_NOMEM;
	memcpy(copy, der, len);
	if (cert_parse(&c, copy, len) != ERR_OK) {
		free(copy);
		return ERR_INVALID;
	}
	cert_fingerprint(&c, m->fingerprint);
	free(m->der);
	m->der = copy;
	m->der_len = len;
	return ERR_OK;
}

static enum err append(struct owner_space *s, const struct owner_member *like, const void *der, size_t der_len)
{
	struct owner_member *more = realloc(s->members, (s->n_members + 1) * sizeof *more);
	if (!more)
		return ERR_NOMEM;
	s->members = more;
	struct owner_member *m = &more[s->n_members];
	*m = (struct owner_member){ .cn = strdup(like->cn), .access = like->access, .since = like->since, .pinned = like->pinned };
	enum err e = !m->cn ? ERR_NOMEM : der ? set_certificate(m, der, der_len) : ERR_OK;
	if (e == ERR_OK)
		s->n_members++;
	else
		free_member(m);
	return e;
}

/* A member's record ends with the current epoch, and another begins. */
static enum err replace(struct owner_space *s, size_t at, unsigned access, const void *der, size_t der_len)
{
	struct owner_member *old = &s->members[at];
	uint32_t now = owner_current(s)->number;
	const struct owner_member next = { .cn = old->cn, .access = access, .pinned = old->pinned, .since = s->from_join || !der ? now + 1 : 1 };
	enum err e = append(s, &next, der ? der : old->der, der ? der_len : old->der_len);
	if (e != ERR_OK)
		return e;
	s->members[at].until = now;
	return owner_turn(s);
}

static bool same_certificate(const struct owner_member *m, const void *der, size_t len)
{
	return m->der_len == len && memcmp(m->der, der, len) == 0;
}

enum err owner_put(struct owner_space *s, const char *cn, unsigned access, const void *der, size_t der_len, bool *changed)
{
	struct owner_member *m = owner_member(s, cn);
	*changed = true;
	if (!m) {
		char *name = strdup(cn);
		const struct owner_member fresh = { .cn = name, .access = access, .since = s->from_join && s->created ? owner_current(s)->number + 1 : 1 };
		enum err e = name ? append(s, &fresh, der, der_len) : ERR_NOMEM;
		free(name);
		return e == ERR_OK && fresh.since > 1 ? owner_turn(s) : e;
	}
	bool other = der && m->der && !same_certificate(m, der, der_len), loses = (m->access & MEMBER_WRITE) && !(access & MEMBER_WRITE) && m->der;
	if (other || loses)
		return replace(s, (size_t)(m - s->members), access, other ? der : NULL, der_len);
	*changed = m->access != access || (der && !m->der);
	enum err e = der && !m->der ? set_certificate(m, der, der_len) : ERR_OK;
	if (e == ERR_OK)
		m->access = access;
	return e;
}

enum err owner_drop(struct owner_space *s, const char *cn)
{
	struct owner_member *m = owner_member(s, cn);
	if (!m)
		return ERR_NOT_FOUND;
	m->until = owner_current(s)->number;
	return owner_turn(s);
}

/* ---- what goes out */


/* Whether a record that has ended says nothing that another one does not: who comes back and may see the past has been a member all along. */
static bool superseded(const struct owner_space *s, const struct owner_member *m)
{
	for (size_t i = 0; m->until != 0 && i < s->n_members; i++) {
		const struct owner_member *o = &s->members[i];
		if (o != m && o->der && o->since <= m->since && (o->until == 0 || o->until > m->until) && strcmp(o->cn, m->cn) == 0 &&
		    memcmp(o->fingerprint, m->fingerprint, sizeof m->fingerprint) == 0)
			return true;
	}
	return false;
}

enum err owner_publish(struct owner_space *s, struct keypair *own, uint64_t now_s)
{
	struct memberlist about = { .space = s->topic, .space_len = strlen(s->topic), .number = s->list_number + 1, .epoch = owner_current(s)->number, .made_s = now_s };
	struct memberlist_entry *entries = calloc(s->n_members + 1, sizeof *entries);
	size_t n = 0, len;
	uint8_t *list;
	if (!entries)
		return ERR_NOMEM;
	cert_fingerprint(keypair_cert(own), about.issuer);
	for (size_t i = 0; i < s->n_members; i++) {
		const struct owner_member *m = &s->members[i];
		if (!m->der || superseded(s, m))
			continue;
		entries[n] = (struct memberlist_entry){ .cn = m->cn, .cn_len = strlen(m->cn), .access = m->access, .since = m->since, .until = m->until };
		memcpy(entries[n++].fingerprint, m->fingerprint, sizeof m->fingerprint);
	}
	enum err e = memberlist_make(&about, entries, n, own, &list, &len);
	free(entries);
	if (e != ERR_OK)
		return e;
	pool_free(s->list);
	s->list = list;
	s->list_len = len;
	s->list_number++;
	return ERR_OK;
}

static struct keyset_entry entry_of(const struct owner_space *s, const struct owner_epoch *from, const char *filter)
{
	struct keyset_entry k = { .filter = filter, .filter_len = strlen(filter), .space = s->topic, .space_len = strlen(s->topic), .epoch = from->number,
		.mode = SEAL_OWNER, .sign = s->sign, .issued_s = from->made_s };
	memcpy(k.kid, from->kid, sizeof k.kid);
	memcpy(k.key, from->root, sizeof k.key); /* node(S) is what a grant for S/# hands over */
	return k;
}

/* Whether the certificate was a member's in that epoch. */
static bool had(const struct owner_space *s, const uint8_t *fingerprint, uint32_t epoch)
{
	for (size_t i = 0; i < s->n_members; i++) {
		const struct owner_member *m = &s->members[i];
		if (m->der && memcmp(m->fingerprint, fingerprint, 32) == 0 && m->since <= epoch && (m->until == 0 || epoch <= m->until))
			return true;
	}
	return false;
}

/* The epochs (all, or those that the recipient may have), newest first, as many as an envelope holds beside the list. */
static enum err format(const struct owner_space *s, const uint8_t issuer[static 32], const uint8_t recipient[static 32], bool all, const uint8_t *list, size_t list_len,
                       size_t max, char **json, size_t *len)
{
	size_t n = 0, topic_len = strlen(s->topic);
	struct keyset_entry *entries = secmem_alloc(KEYSET_EPOCHS_MAX * sizeof *entries);
	char *filter = malloc(topic_len + 3);
	enum err e = entries && filter ? ERR_OK : ERR_NOMEM;
	if (filter) {
		memcpy(filter, s->topic, topic_len);
		memcpy(filter + topic_len, "/#", 3);
	}
	for (size_t i = s->n_epochs; e == ERR_OK && i-- > 0;) {
		if (!all && !had(s, recipient, s->epochs[i].number))
			continue;
		entries[n] = entry_of(s, &s->epochs[i], filter);
		memcpy(entries[n].issuer, issuer, 32);
		memcpy(entries[n++].recipient, recipient, 32);
	}
	*json = NULL;
	for (*len = max + 1; e == ERR_OK && *len > max;) { /* the oldest are left out first */
		secmem_free(*json);
		*json = NULL;
		e = n > 0 ? keyset_format_with(entries, n, list, list_len, json, len) : ERR_FULL;
		n = n > 8 ? n - 8 : n - 1;
	}
	secmem_free(entries);
	free(filter);
	return e;
}

enum err owner_envelope(const struct owner_space *s, const struct owner_member *m, struct keypair *own, uint8_t **out, size_t *len)
{
	struct cert recipient;
	struct pubkey *key = NULL;
	uint8_t issuer[32];
	char *json = NULL;
	size_t json_len = 0;
	cert_fingerprint(keypair_cert(own), issuer);
	enum err e = cert_parse(&recipient, m->der, m->der_len);
	if (e == ERR_OK)
		e = pubkey_new(&key, &recipient);
	if (e == ERR_OK && pubkey_kind(key) != KEY_RSA)
		e = ERR_INVALID;
	if (e == ERR_OK)
		e = format(s, issuer, m->fingerprint, false, s->list, s->list_len, ENVELOPE_CONTENT_MAX, &json, &json_len);
	*out = e == ERR_OK ? malloc(envelope_size(keypair_cert(own), &recipient, json_len)) : NULL;
	if (e == ERR_OK)
		e = *out ? envelope_seal(own, &recipient, key, json, json_len, *out, len) : ERR_NOMEM;
	if (e != ERR_OK)
		free(*out);
	secmem_free(json);
	pubkey_free(key);
	return e;
}

enum err owner_keys(const struct owner_space *s, const uint8_t issuer[static 32], const uint8_t recipient[static 32], char **json, size_t *len)
{
	return format(s, issuer, recipient, true, NULL, 0, SIZE_MAX - 1, json, len);
}

static bool insert_epoch(struct owner_space *s, const struct keyset_entry *k)
{
	size_t at = s->n_epochs;
	while (at > 0 && s->epochs[at - 1].number >= k->epoch)
		at--;
	if (at < s->n_epochs && s->epochs[at].number == k->epoch)
		return memcmp(s->epochs[at].kid, k->kid, sizeof k->kid) == 0 && memcmp(s->epochs[at].root, k->key, sizeof k->key) == 0;
	if (s->n_epochs == KEYSET_EPOCHS_MAX) {
		if (at == 0)
			return true; /* older than all that are kept */
		memmove(s->epochs, s->epochs + 1, --s->n_epochs * sizeof *s->epochs);
		at--;
	}
	memmove(&s->epochs[at + 1], &s->epochs[at], (s->n_epochs++ - at) * sizeof *s->epochs);
	s->epochs[at] = (struct owner_epoch){ .number = k->epoch, .made_s = k->issued_s };
	memcpy(s->epochs[at].kid, k->kid, sizeof k->kid);
	memcpy(s->epochs[at].root, k->key, sizeof k->key);
	return true;
}

enum err owner_take_keys(struct owner_space *s, const void *json, size_t len, const char **why)
{
	struct keyset *set;
	size_t topic_len = strlen(s->topic);
	enum err e = keyset_parse(&set, json, len, why);
	if (e != ERR_OK)
		return e;
	*why = NULL;
	for (size_t i = 0; i < set->n && !*why; i++) {
		const struct keyset_entry *k = &set->entries[i];
		if (k->space_len != topic_len || memcmp(k->space, s->topic, topic_len) != 0 || k->mode != SEAL_OWNER || k->filter_len != topic_len + 2 ||
		    memcmp(k->filter + topic_len, "/#", 2) != 0)
			*why = "the keys are not those of this topic's owner";
		else if (!insert_epoch(s, k))
			*why = "another key of the same epoch is known";
	}
	secmem_free(set);
	return *why ? ERR_INVALID : ERR_OK;
}
