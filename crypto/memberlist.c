/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/memberlist.h"

#include "base/pool.h"
#include "crypto/cbor.h"
#include "crypto/hash.h"

#include <string.h>

static const char version[] = "sealmq members v1";
#define PURPOSE "members"
#define ENTRY_SIZE_MAX (1 + CBOR_HEAD_MAX + 1 + 34 + 2 * 5) /* and the name */
#define NAME_MAX_BYTES 65535u
#define NUMBER_MAX (UINT64_C(1) << 53)

enum { LIST_ITEMS = 7, ENTRY_ITEMS = 5, FINGERPRINT_LEN = 32 };

static int order(const struct memberlist_entry *a, const struct memberlist_entry *b)
{
	size_t n = a->cn_len < b->cn_len ? a->cn_len : b->cn_len;
	int c = memcmp(a->cn, b->cn, n);
	if (c != 0)
		return c;
	if (a->cn_len != b->cn_len)
		return a->cn_len < b->cn_len ? -1 : 1;
	if (a->since != b->since)
		return a->since < b->since ? -1 : 1;
	return memcmp(a->fingerprint, b->fingerprint, FINGERPRINT_LEN);
}

static const char *entry_fault(const struct memberlist_entry *e)
{
	if (cert_name_fault(der_of(e->cn, e->cn_len)))
		return "the name of a member is none";
	if (e->access < MEMBER_READ || e->access > (MEMBER_READ | MEMBER_WRITE))
		return "the access of a member is unknown";
	return e->since == 0 || (e->until != 0 && e->until < e->since) ? "the epochs of a member contradict each other" : NULL;
}

static void hash_of(const void *list, size_t len, uint8_t out[static HASH_LEN])
{
	const struct hash_part parts[] = { HASH_LABEL("sealmq v1 sign"), HASH_LABEL(PURPOSE), { list, len } };
	hash_sha256_parts(parts, sizeof parts / sizeof parts[0], out);
}

/* ---- making */

static uint8_t *put_entry(uint8_t *p, const struct memberlist_entry *e)
{
	p = cbor_put_head(p, CBOR_ARRAY, ENTRY_ITEMS);
	p = cbor_put_string(p, CBOR_TEXT, e->cn, e->cn_len);
	p = cbor_put_head(p, CBOR_UINT, e->access);
	p = cbor_put_string(p, CBOR_BYTES, e->fingerprint, FINGERPRINT_LEN);
	p = cbor_put_head(p, CBOR_UINT, e->since);
	return cbor_put_head(p, CBOR_UINT, e->until);
}

/* In order: each time the least of those behind the last one. Lists are short. */
static uint8_t *put_entries(uint8_t *p, const struct memberlist_entry *entries, size_t n)
{
	const struct memberlist_entry *last = NULL;
	for (size_t put = 0; put < n; put++) {
		const struct memberlist_entry *next = NULL;
		for (size_t i = 0; i < n; i++)
			if ((!last || order(&entries[i], last) > 0) && (!next || order(&entries[i], next) < 0))
				next = &entries[i];
		if (!next)
			return NULL; /* two are the same */
		p = put_entry(p, next);
		last = next;
	}
	return p;
}

static uint8_t *put_list(uint8_t *p, const struct memberlist *about, const struct memberlist_entry *entries, size_t n)
{
	p = cbor_put_head(p, CBOR_ARRAY, LIST_ITEMS);
	p = cbor_put_string(p, CBOR_TEXT, version, sizeof version - 1);
	p = cbor_put_string(p, CBOR_TEXT, about->space, about->space_len);
	p = cbor_put_head(p, CBOR_UINT, about->number);
	p = cbor_put_head(p, CBOR_UINT, about->epoch);
	p = cbor_put_head(p, CBOR_UINT, about->made_s);
	p = cbor_put_string(p, CBOR_BYTES, about->issuer, FINGERPRINT_LEN);
	p = cbor_put_head(p, CBOR_ARRAY, n);
	return put_entries(p, entries, n);
}

enum err memberlist_make(const struct memberlist *about, const struct memberlist_entry *entries, size_t n, struct keypair *issuer, uint8_t **out, size_t *len)
{
	size_t size = sizeof version + about->space_len + 8 * CBOR_HEAD_MAX + FINGERPRINT_LEN;
	uint8_t hash[HASH_LEN], sig[KEYS_SIGNATURE_MAX];
	size_t sig_len;
	if (about->space_len > NAME_MAX_BYTES || about->number > NUMBER_MAX || about->epoch == 0)
		return ERR_INVALID;
	for (size_t i = 0; i < n; i++) {
		if (entry_fault(&entries[i]))
			return ERR_INVALID;
		size += ENTRY_SIZE_MAX + entries[i].cn_len;
	}
	uint8_t *list = pool_alloc(size), *whole = pool_alloc(size + sizeof sig + 2 * CBOR_HEAD_MAX + 1);
	uint8_t *end = list && whole ? put_list(list, about, entries, n) : NULL;
	enum err e = end ? ERR_OK : list && whole ? ERR_INVALID : ERR_NOMEM;
	if (e == ERR_OK) {
		hash_of(list, (size_t)(end - list), hash);
		e = keypair_sign(issuer, SIG_COSE, hash, sig, &sig_len);
	}
	if (e == ERR_OK) {
		uint8_t *p = cbor_put_head(whole, CBOR_ARRAY, 2);
		p = cbor_put_string(p, CBOR_BYTES, list, (size_t)(end - list));
		p = cbor_put_string(p, CBOR_BYTES, sig, sig_len);
		*out = whole;
		*len = (size_t)(p - whole);
		e = *len <= MEMBERLIST_MAX ? ERR_OK : ERR_FULL;
	}
	pool_free(list);
	if (e != ERR_OK)
		pool_free(whole);
	return e;
}

/* ---- reading */

static bool take_epoch(struct der *d, uint32_t *out)
{
	uint64_t value;
	if (!cbor_take(d, CBOR_UINT, &value) || value > UINT32_MAX)
		return false;
	*out = (uint32_t)value;
	return true;
}

static const char *take_entry(struct der *d, struct memberlist_entry *e)
{
	struct der cn, fingerprint;
	uint64_t access;
	if (!cbor_take_exactly(d, CBOR_ARRAY, ENTRY_ITEMS) || !cbor_take_string(d, CBOR_TEXT, &cn) || !cbor_take(d, CBOR_UINT, &access) || access > 3 ||
	    !cbor_take_bytes(d, FINGERPRINT_LEN, &fingerprint) || !take_epoch(d, &e->since) || !take_epoch(d, &e->until))
		return "a member is not what the format says";
	e->cn = (const char *)cn.p;
	e->cn_len = der_len(cn);
	e->access = (unsigned)access;
	memcpy(e->fingerprint, fingerprint.p, FINGERPRINT_LEN);
	return entry_fault(e);
}

/* The head; d is left at the first entry, *n says how many there are. */
static bool take_head(struct der *d, struct memberlist *l, uint64_t *n)
{
	struct der text, space, issuer;
	if (!cbor_take_exactly(d, CBOR_ARRAY, LIST_ITEMS) || !cbor_take_string(d, CBOR_TEXT, &text) || !der_equal(text, version, sizeof version - 1) ||
	    !cbor_take_string(d, CBOR_TEXT, &space) || der_len(space) > NAME_MAX_BYTES || !cbor_take(d, CBOR_UINT, &l->number) || l->number > NUMBER_MAX ||
	    !take_epoch(d, &l->epoch) || l->epoch == 0 || !cbor_take(d, CBOR_UINT, &l->made_s) || !cbor_take_bytes(d, FINGERPRINT_LEN, &issuer))
		return false;
	l->space = (const char *)space.p;
	l->space_len = der_len(space);
	memcpy(l->issuer, issuer.p, FINGERPRINT_LEN);
	return cbor_take(d, CBOR_ARRAY, n);
}

static const char *take_list(struct memberlist *l, struct der d, size_t room)
{
	uint64_t n;
	if (!take_head(&d, l, &n) || n > room)
		return "the list of members is not what the format says";
	for (l->n = 0; l->n < n; l->n++) {
		struct memberlist_entry *e = &l->entries[l->n];
		const char *why = take_entry(&d, e);
		if (why)
			return why;
		if (l->n > 0 && order(e - 1, e) >= 0)
			return "the list of members is not in order";
	}
	return der_empty(d) ? NULL : "there is something behind the list of members";
}

enum err memberlist_parse(struct memberlist **out, const void *bytes, size_t len, const char **why)
{
	size_t room = len / (FINGERPRINT_LEN + 2); /* more entries do not fit into len bytes */
	*why = "the list of members is not what the format says";
	if (len > MEMBERLIST_MAX)
		return ERR_INVALID;
	struct memberlist *l = pool_alloc(sizeof *l + room * sizeof l->entries[0] + len);
	if (!l) {
		*why = "out of memory";
		return ERR_NOMEM;
	}
	memset(l, 0, sizeof *l);
	uint8_t *copy = (uint8_t *)&l->entries[room];
	memcpy(copy, bytes, len);
	struct der d = der_of(copy, len);
	if (cbor_take_exactly(&d, CBOR_ARRAY, 2) && cbor_take_string(&d, CBOR_BYTES, &l->list) && cbor_take_string(&d, CBOR_BYTES, &l->signature) && der_empty(d))
		*why = take_list(l, l->list, room);
	if (!*why) {
		*out = l;
		return ERR_OK;
	}
	pool_free(l);
	return ERR_INVALID;
}

bool memberlist_verify(const struct memberlist *l, struct pubkey *issuer, const uint8_t fingerprint[static 32])
{
	uint8_t hash[HASH_LEN];
	hash_of(l->list.p, der_len(l->list), hash);
	return memcmp(l->issuer, fingerprint, sizeof l->issuer) == 0 && pubkey_verify(issuer, SIG_COSE, hash, l->signature.p, der_len(l->signature));
}

const struct memberlist_entry *memberlist_find(const struct memberlist *l, const uint8_t fingerprint[static 16], uint32_t epoch)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct memberlist_entry *e = &l->entries[i];
		if (memcmp(e->fingerprint, fingerprint, 16) == 0 && e->since <= epoch && (e->until == 0 || epoch <= e->until))
			return e;
	}
	return NULL;
}
