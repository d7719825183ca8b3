/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The owners' signed lists of members that came with envelopes (docs/formats.md 12.1), and what they say of a sender. One thread at a time. */
#include "client/lib_int.h"

#include "base/pool.h"
#include "crypto/memberlist.h"

#include <stdlib.h>
#include <string.h>

struct space_list {
	struct space_list *next;
	struct memberlist *list;  /* NULL: pinned by its number alone */
	uint64_t number;          /* no list of a lower one is taken */
	size_t name_len;
	char name[];              /* of the space */
};

static struct space_list *find(const struct sealmq *h, const char *name, size_t len)
{
	struct space_list *l = h->lists;
	while (l && (l->name_len != len || memcmp(l->name, name, len) != 0))
		l = l->next;
	return l;
}

static struct space_list *find_or_add(struct sealmq *h, const char *name, size_t len)
{
	struct space_list *l = find(h, name, len);
	if (l)
		return l;
	l = calloc(1, sizeof *l + len);
	if (!l)
		return NULL;
	l->name_len = len;
	memcpy(l->name, name, len);
	l->next = h->lists;
	h->lists = l;
	return l;
}

void lib_lists_free(struct sealmq *h)
{
	while (h->lists) {
		struct space_list *l = h->lists;
		h->lists = l->next;
		pool_free(l->list);
		free(l);
	}
}

/* ---- taking */

static const struct keyset_entry *newest_of(const struct keyset *set)
{
	const struct keyset_entry *newest = &set->entries[0];
	for (size_t i = 1; i < set->n; i++)
		newest = set->entries[i].epoch > newest->epoch ? &set->entries[i] : newest;
	return newest;
}

static const char *list_fault(const struct space_list *known, const struct memberlist *l, const struct keyset_entry *newest, const struct peer *signer)
{
	if (!memberlist_verify(l, signer->key, signer->fingerprint))
		return "the list of members is not signed by the issuer";
	if (l->space_len != newest->space_len || memcmp(l->space, newest->space, l->space_len) != 0)
		return "the list of members is another key space's";
	if (l->epoch != newest->epoch)
		return "the list of members is of another epoch";
	if (known && l->number < known->number)
		return "the list of members is older than the one that is known";
	if (known && known->list && l->number == known->number &&
	    (der_len(l->list) != der_len(known->list->list) || memcmp(l->list.p, known->list->list.p, der_len(l->list)) != 0))
		return "two lists of members have one number";
	return NULL;
}

enum err lib_list_check(struct sealmq *h, const struct keyset *set, const struct peer *signer, struct memberlist **out, const char **why)
{
	const struct keyset_entry *newest = newest_of(set);
	const struct space_list *known = find(h, newest->space, newest->space_len);
	struct keyring_space pinned;
	*out = NULL;
	*why = NULL;
	bool other = keyring_space(h->ring, newest->space, newest->space_len, &pinned) == ERR_OK && pinned.name_len == newest->space_len &&
	             memcmp(pinned.issuer, signer->fingerprint, sizeof signer->fingerprint) != 0;
	if (newest->mode != SEAL_OWNER || other) /* another issuer than the pinned one is refused with the keys */
		return ERR_OK;
	if (set->members_len == 0) {
		*why = known ? "the list of members has gone" : NULL;
		return known ? ERR_REFUSED : ERR_OK;
	}
	enum err e = memberlist_parse(out, set->members, set->members_len, why);
	if (e != ERR_OK)
		return e == ERR_INVALID ? ERR_REFUSED : e;
	*why = list_fault(known, *out, newest, signer);
	if (!*why && !find_or_add(h, newest->space, newest->space_len))
		e = ERR_NOMEM;
	if (!*why && e == ERR_OK)
		return ERR_OK;
	pool_free(*out);
	*out = NULL;
	return *why ? ERR_REFUSED : e;
}

void lib_list_keep(struct sealmq *h, struct memberlist *take)
{
	struct space_list *l = take ? find(h, take->space, take->space_len) : NULL;
	if (!l)
		return;
	pool_free(l->list);
	l->list = take;
	l->number = take->number;
}

/* ---- what they say */

const char *lib_list_refuses(const struct sealmq *h, const char *topic, size_t topic_len, const uint8_t fingerprint[static 32], const char *cn, uint32_t epoch, bool *gone)
{
	struct keyring_space space;
	*gone = false;
	if (keyring_space(h->ring, topic, topic_len, &space) != ERR_OK)
		return NULL;
	const struct space_list *l = find(h, space.name, space.name_len);
	if (!l || !l->list)
		return NULL;
	const struct memberlist_entry *m = memberlist_find(l->list, fingerprint, epoch);
	if (!m || memcmp(m->fingerprint, fingerprint, sizeof m->fingerprint) != 0)
		return "the sender: not on the owner's list of members for this epoch";
	if (m->cn_len != strlen(cn) || memcmp(m->cn, cn, m->cn_len) != 0)
		return "the sender: its certificate has another name than on the owner's list of members";
	*gone = m->until != 0;
	return m->access & MEMBER_WRITE ? NULL : "the sender: may only read, by the owner's list of members";
}

uint64_t lib_list_number(const struct sealmq *h, const char *space, size_t len)
{
	const struct space_list *l = find(h, space, len);
	return l ? l->number : 0;
}

enum sealmq_err sealmq_pin_list(struct sealmq *h, const char *space, uint64_t number)
{
	enum sealmq_err e = lib_enter(h);
	if (e != SEALMQ_OK || number == 0)
		return e;
	struct space_list *l = find_or_add(h, space, strlen(space));
	if (!l)
		return SEALMQ_NOMEM;
	if (l->number < number)
		l->number = number;
	return SEALMQ_OK;
}
