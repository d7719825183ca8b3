/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A member's keys, as a list per space: a member is in few spaces, of few epochs. Owned by one client; one thread at a time. */
#include "crypto/keyring.h"

#include "base/secmem.h"
#include "crypto/hash.h"

#include <string.h>

struct grant {
	struct grant *next;        /* newest epoch first */
	struct keyset_entry entry; /* filter lies behind, space is the space's */
	char filter[];
};

struct space {
	struct space *next;
	struct grant *grants;
	uint8_t issuer[32];
	enum seal_mode mode;
	enum seal_sign sign;
	uint32_t epoch;            /* the highest seen */
	size_t name_len;
	char name[];
};

struct keyring {
	struct space *spaces;
	uint8_t own[32];
};

struct keyring *keyring_new(const uint8_t own_fingerprint[static 32])
{
	struct keyring *r = secmem_alloc(sizeof *r);
	if (r)
		memcpy(r->own, own_fingerprint, sizeof r->own);
	return r;
}

static void free_grants(struct grant *g)
{
	while (g) {
		struct grant *next = g->next;
		secmem_free(g);
		g = next;
	}
}

void keyring_free(struct keyring *r)
{
	while (r && r->spaces) {
		struct space *s = r->spaces;
		r->spaces = s->next;
		free_grants(s->grants);
		secmem_free(s);
	}
	secmem_free(r);
}

static struct space *find_space(const struct keyring *r, const char *name, size_t len)
{
	struct space *s = r->spaces;
	while (s && (s->name_len != len || memcmp(s->name, name, len) != 0))
		s = s->next;
	return s;
}

static struct space *new_space(const char *name, size_t len, const uint8_t *issuer, enum seal_mode mode, enum seal_sign sign)
{
	struct space *s = secmem_alloc(sizeof *s + len);
	if (!s)
		return NULL;
	memcpy(s->issuer, issuer, sizeof s->issuer);
	s->mode = mode;
	s->sign = sign;
	s->name_len = len;
	memcpy(s->name, name, len);
	return s;
}

enum err keyring_pin(struct keyring *r, const char *space, size_t space_len, const uint8_t issuer[static 32], enum seal_mode mode, enum seal_sign sign,
                     uint32_t epoch)
{
	struct space *s = find_space(r, space, space_len);
	if (s)
		return memcmp(s->issuer, issuer, 32) == 0 && s->mode == mode && s->sign == sign && s->epoch == epoch ? ERR_OK : ERR_EXISTS;
	s = new_space(space, space_len, issuer, mode, sign);
	if (!s)
		return ERR_NOMEM;
	s->epoch = epoch;
	s->next = r->spaces;
	r->spaces = s;
	return ERR_OK;
}

/* ---- taking */

/* A kid names one key for good, whatever space it is said to be of. The same grant again is fine. */
static const char *kid_fault(const struct keyring *r, const struct keyset_entry *e)
{
	for (const struct space *s = r->spaces; s; s = s->next)
		for (const struct grant *g = s->grants; g; g = g->next) {
			if (memcmp(g->entry.kid, e->kid, sizeof e->kid) != 0)
				continue;
			if (s->name_len != e->space_len || memcmp(s->name, e->space, e->space_len) != 0 || g->entry.epoch != e->epoch)
				return "a known key id is used for another space or epoch";
			bool same_filter = g->entry.filter_len == e->filter_len && memcmp(g->filter, e->filter, e->filter_len) == 0;
			if (same_filter && !hash_same(g->entry.key, e->key, sizeof e->key))
				return "a known key id comes with another key";
		}
	return NULL;
}

/* Whether the grant opens all that was asked for. */
static bool answers(const struct keyset_entry *e, const char *topic, size_t len)
{
	return len == 0 || keytree_contains(e->filter, e->filter_len, topic, len);
}

static const char *entry_refused(const struct keyring *r, const struct keyset_entry *e, const uint8_t *signer, const char *topic, size_t topic_len)
{
	if (memcmp(e->recipient, r->own, sizeof r->own) != 0)
		return "the keys are for somebody else";
	if (memcmp(e->issuer, signer, 32) != 0)
		return "the issuer is not the signer";
	if (!answers(e, topic, topic_len))
		return "the filter does not cover the topic asked for";
	const struct space *s = find_space(r, e->space, e->space_len);
	if (s && memcmp(s->issuer, signer, 32) != 0)
		return "the space is pinned to another issuer";
	if (s && e->epoch >= s->epoch && e->mode < s->mode)
		return "the mode has gone down";
	if (s && e->epoch >= s->epoch && e->sign < s->sign)
		return "the signature policy has gone down";
	return kid_fault(r, e);
}

/* The rules that concern the entries among themselves: one space, one key per epoch, newest not older than known. */
static const char *set_refused(const struct keyring *r, const struct keyset *set)
{
	const struct keyset_entry *first = &set->entries[0];
	uint32_t newest = 0;
	for (size_t i = 0; i < set->n; i++) {
		const struct keyset_entry *e = &set->entries[i];
		if (e->space_len != first->space_len || memcmp(e->space, first->space, e->space_len) != 0)
			return "the keys are of several spaces";
		for (size_t j = 0; j < i; j++) {
			const struct keyset_entry *o = &set->entries[j];
			if ((memcmp(o->kid, e->kid, sizeof e->kid) == 0) != (o->epoch == e->epoch))
				return "key ids and epochs do not match";
			if (o->epoch == e->epoch && o->filter_len == e->filter_len && memcmp(o->filter, e->filter, e->filter_len) == 0)
				return "an epoch comes twice";
		}
		newest = e->epoch > newest ? e->epoch : newest;
	}
	const struct space *s = find_space(r, first->space, first->space_len);
	return s && newest < s->epoch ? "the epoch has gone down" : NULL;
}

static struct grant *new_grant(const struct keyset_entry *e)
{
	struct grant *g = secmem_alloc(sizeof *g + e->filter_len);
	if (!g)
		return NULL;
	g->entry = *e;
	memcpy(g->filter, e->filter, e->filter_len);
	g->entry.filter = g->filter;
	return g;
}

static bool known(const struct space *s, const struct keyset_entry *e)
{
	const struct grant *g = s->grants;
	while (g && (memcmp(g->entry.kid, e->kid, sizeof e->kid) != 0 || g->entry.filter_len != e->filter_len ||
	             memcmp(g->filter, e->filter, e->filter_len) != 0))
		g = g->next;
	return g != NULL;
}

static void insert_grant(struct space *s, struct grant *g)
{
	struct grant **p = &s->grants;
	while (*p && (*p)->entry.epoch > g->entry.epoch)
		p = &(*p)->next;
	g->next = *p;
	*p = g;
	g->entry.space = s->name;
}

enum err keyring_take(struct keyring *r, const struct keyset *set, const uint8_t signer[static 32], const char *topic, size_t topic_len,
                      const char **why)
{
	struct grant *fresh = NULL;
	*why = set->n == 0 ? "no keys" : set_refused(r, set);
	for (size_t i = 0; i < set->n && !*why; i++)
		*why = entry_refused(r, &set->entries[i], signer, topic, topic_len);
	if (*why)
		return ERR_REFUSED;
	const struct keyset_entry *newest = &set->entries[0];
	struct space *s = find_space(r, newest->space, newest->space_len), *made = NULL;
	for (size_t i = 0; i < set->n; i++) {
		const struct keyset_entry *e = &set->entries[i];
		newest = e->epoch > newest->epoch ? e : newest;
		if (s && known(s, e))
			continue;
		struct grant *g = new_grant(e);
		if (!g) {
			free_grants(fresh);
			return ERR_NOMEM;
		}
		g->next = fresh;
		fresh = g;
	}
	if (!s && !(s = made = new_space(newest->space, newest->space_len, signer, newest->mode, newest->sign))) {
		free_grants(fresh);
		return ERR_NOMEM;
	}
	/* From here on nothing fails. */
	if (made) {
		made->next = r->spaces;
		r->spaces = made;
	}
	s->mode = newest->mode;
	s->sign = newest->sign;
	s->epoch = newest->epoch;
	while (fresh) {
		struct grant *g = fresh;
		fresh = g->next;
		insert_grant(s, g);
	}
	return ERR_OK;
}

/* ---- finding */

static const struct space *innermost(const struct keyring *r, const char *topic, size_t len)
{
	const struct space *best = NULL;
	for (const struct space *s = r->spaces; s; s = s->next)
		if (keytree_covers(s->name, s->name_len, topic, len) && (!best || s->name_len > best->name_len))
			best = s;
	return best;
}

/* Mode and sign are the epoch's own: what was published under an older one followed its rules. */
static enum err key_of(const struct space *s, const struct grant *g, const char *topic, size_t len, struct keyring_key *out)
{
	memcpy(out->issuer, s->issuer, sizeof out->issuer);
	memcpy(out->kid, g->entry.kid, sizeof out->kid);
	out->epoch = g->entry.epoch;
	out->mode = g->entry.mode;
	out->sign = g->entry.sign;
	out->not_after_s = g->entry.not_after_s;
	return keytree_topic_of_grant(g->entry.key, g->filter, g->entry.filter_len, topic, len, out->topic_key);
}

enum err keyring_find(const struct keyring *r, const char *topic, size_t topic_len, const uint8_t kid[static KEYTREE_KID_LEN], struct keyring_key *out)
{
	const struct space *own = innermost(r, topic, topic_len);
	for (const struct space *s = r->spaces; s; s = s->next)
		for (const struct grant *g = s->grants; g; g = g->next) {
			if (memcmp(g->entry.kid, kid, KEYTREE_KID_LEN) != 0 || !keytree_opens(g->filter, g->entry.filter_len, topic, topic_len))
				continue;
			return s == own ? key_of(s, g, topic, topic_len, out) : ERR_REFUSED;
		}
	return ERR_NOT_FOUND;
}

enum err keyring_current(const struct keyring *r, const char *topic, size_t topic_len, uint64_t now_s, struct keyring_key *out)
{
	const struct space *s = innermost(r, topic, topic_len);
	for (const struct grant *g = s ? s->grants : NULL; g; g = g->next) {
		if (!keytree_opens(g->filter, g->entry.filter_len, topic, topic_len))
			continue;
		if (g->entry.epoch != s->epoch || (g->entry.not_after_s != 0 && now_s > g->entry.not_after_s))
			return ERR_REFUSED; /* no key of the space's newest epoch, or it is over: a newer envelope is needed */
		return key_of(s, g, topic, topic_len, out);
	}
	return ERR_NOT_FOUND;
}

static enum err describe(const struct space *s, struct keyring_space *out)
{
	if (!s)
		return ERR_NOT_FOUND;
	*out = (struct keyring_space){ s->name, s->name_len, s->issuer, s->mode, s->sign, s->epoch, 0 };
	if (s->grants && s->grants->entry.epoch == s->epoch)
		out->not_after_s = s->grants->entry.not_after_s;
	return ERR_OK;
}

enum err keyring_space(const struct keyring *r, const char *topic, size_t topic_len, struct keyring_space *out)
{
	return describe(innermost(r, topic, topic_len), out);
}

enum err keyring_space_at(const struct keyring *r, size_t i, struct keyring_space *out)
{
	const struct space *s = r->spaces;
	while (s && i-- > 0)
		s = s->next;
	return describe(s, out);
}
