/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/envelopes.h"

#include "base/secmem.h"
#include "base/pool.h"
#include "broker/uthash_keyed.h"
#include "crypto/envelope.h"
#include "crypto/keyset.h"

#include <stdlib.h>
#include <string.h>

#define JWK_SIZE 560U  /* at most so many bytes of JSON a key, without its names */
#define MADE_BYTES_MAX (64U * 1024 * 1024) /* of remembered ones; then all are forgotten */

struct key { /* bytes alone */
	uint64_t id;
	uint8_t fingerprint[32];
};

struct item {
	UT_hash_handle hh;
	struct key key;
	uint32_t epoch, since;
	uint8_t server[32]; /* of made ones */
	size_t len;
	uint8_t der[];
};

struct upload_key {
	uint64_t id;
	uint8_t fingerprint[32];
	uint64_t epoch;
};

struct upload {
	UT_hash_handle hh;
	struct upload_key key;
	size_t len;
	uint8_t der[];
};

struct envelopes {
	struct item *made;
	size_t made_bytes;
	struct upload *uploads;
};

struct envelopes *envelopes_new(void)
{
	return calloc(1, sizeof(struct envelopes));
}

static void forget_made(struct envelopes *e)
{
	struct item *i, *next;
	HASH_ITER(hh, e->made, i, next)
	{
		HASH_DELETE(hh, e->made, i);
		pool_free(i); /* cppcheck-suppress uninitvar ; HASH_ITER sets it */
	}
	e->made_bytes = 0;
}

void envelopes_free(struct envelopes *e)
{
	struct upload *u, *next;
	if (!e)
		return;
	forget_made(e);
	HASH_ITER(hh, e->uploads, u, next)
	{
		HASH_DELETE(hh, e->uploads, u);
		pool_free(u); /* cppcheck-suppress uninitvar ; HASH_ITER sets it */
	}
	free(e);
}

/* ---- made ---- */

/* The set of keys as JSON: the epochs that the member has been granted, newest first. */
static enum err content_of(const struct space *s, const struct space_member *m, const struct known *to, const uint8_t server[static 32],
                           char **json, size_t *len)
{
	const struct space_spec *p = &s->spec;
	struct keyset_entry *entries = secmem_alloc(SPACE_EPOCHS_MAX * sizeof *entries);
	char *filter = malloc(p->name_len + 3);
	size_t n = 0;
	enum err e = entries && filter ? ERR_OK : ERR_NOMEM;
	if (filter) {
		memcpy(filter, p->name, p->name_len);
		memcpy(filter + p->name_len, "/#", 3);
	}
	size_t most = (ENVELOPE_CONTENT_MAX - 64) / (JWK_SIZE + 12 * p->name_len + 16); /* each byte of a name may be escaped as \\u00xx */
	for (size_t i = p->n_epochs; e == ERR_OK && i-- > 0 && (n < most || n == 0);) {
		const struct space_epoch *from = &p->epochs[i];
		struct keyset_entry *k = &entries[n];
		if (from->number < m->since || !from->root)
			continue;
		*k = (struct keyset_entry){.filter = filter, .filter_len = p->name_len + 2, .space = p->name, .space_len = p->name_len,
		                           .epoch = from->number, .mode = SEAL_BROKER, .sign = (enum seal_sign)p->sign, .issued_s = from->made_s};
		memcpy(k->kid, from->kid, sizeof k->kid);
		memcpy(k->issuer, server, sizeof k->issuer);
		memcpy(k->recipient, to->fingerprint, sizeof k->recipient);
		e = keytree_grant(from->root, p->name, p->name_len, filter, p->name_len + 2, k->key);
		n++;
	}
	if (e == ERR_OK)
		e = n ? keyset_format(entries, n, json, len) : ERR_INVALID;
	secmem_free(entries);
	free(filter);
	return e;
}

static enum err seal_content(const struct known *to, struct keypair *signer, const char *json, size_t len, struct item **out, const char **why)
{
	struct cert recipient;
	struct pubkey *key = NULL;
	enum err e = cert_parse(&recipient, to->der, to->der_len);
	if (e == ERR_OK)
		e = pubkey_new(&key, &recipient);
	if (e == ERR_OK && pubkey_kind(key) != KEY_RSA)
		e = ERR_INVALID;
	if (e == ERR_INVALID)
		*why = "expected an RSA key of 2048 to 4096 bits; an EC key cannot receive an envelope";
	if (e == ERR_OK) {
		size_t size = envelope_size(keypair_cert(signer), &recipient, len);
		*out = pool_alloc(sizeof **out + size);
		if (*out)
			memset(*out, 0, sizeof **out);
		e = *out ? envelope_seal(signer, &recipient, key, json, len, (*out)->der, &(*out)->len) : ERR_NOMEM;
	}
	pubkey_free(key);
	return e;
}

/* Puts i into the table, if there is memory for it there. */
static void remember(struct envelopes *e, struct item *i)
{
	HASH_ADD(hh, e->made, key, sizeof i->key, i);
	if (!i->hh.tbl)
		return;
	e->made_bytes += sizeof *i + i->len;
}

enum err envelopes_make(struct envelopes *e, const struct space *s, const struct space_member *m, const struct known *to, struct keypair *signer,
                        const uint8_t server[static 32], const uint8_t **der, size_t *len, const char **why)
{
	struct key key = {.id = s->spec.id};
	struct item *i;
	char *json = NULL;
	size_t json_len = 0;
	uint32_t epoch = space_epoch_number(s);
	memcpy(key.fingerprint, to->fingerprint, sizeof key.fingerprint);
	HASH_FIND(hh, e->made, &key, sizeof key, i);
	bool current = i && i->epoch == epoch && i->since == m->since && memcmp(i->server, server, sizeof i->server) == 0;
	if (i && !current) {
		e->made_bytes -= sizeof *i + i->len;
		HASH_DELETE(hh, e->made, i);
		pool_free(i);
	}
	*why = "out of memory";
	if (!current) {
		i = NULL;
		if (!signer) {
			*why = "the server's certificate cannot sign: expected an RSA key of 2048 to 4096 bits, or P-256";
			return ERR_INVALID;
		}
		if (e->made_bytes > MADE_BYTES_MAX)
			forget_made(e);
		enum err r = content_of(s, m, to, server, &json, &json_len);
		if (r == ERR_OK)
			r = seal_content(to, signer, json, json_len, &i, why);
		secmem_free(json);
		if (r != ERR_OK) {
			pool_free(i);
			return r;
		}
		i->key = key;
		i->epoch = epoch;
		i->since = m->since;
		memcpy(i->server, server, sizeof i->server);
		remember(e, i);
		if (!i->hh.tbl) {
			pool_free(i);
			return ERR_NOMEM;
		}
	}
	*der = i->der;
	*len = i->len;
	return ERR_OK;
}

/* ---- uploaded ---- */

static struct upload_key upload_key(uint64_t id, uint32_t epoch, const uint8_t fingerprint[static 32])
{
	struct upload_key k;
	memset(&k, 0, sizeof k);
	k.id = id;
	k.epoch = epoch;
	memcpy(k.fingerprint, fingerprint, sizeof k.fingerprint);
	return k;
}

enum err envelopes_put(struct envelopes *e, uint64_t id, uint32_t epoch, const uint8_t fingerprint[static 32], const uint8_t *der, size_t len)
{
	struct upload_key key = upload_key(id, epoch, fingerprint);
	struct upload *old, *u = pool_alloc(sizeof *u + len);
	if (!u)
		return ERR_NOMEM;
	*u = (struct upload){.key = key};
	u->len = len;
	memcpy(u->der, der, len);
	HASH_FIND(hh, e->uploads, &key, sizeof key, old);
	if (old) {
		HASH_DELETE(hh, e->uploads, old);
		pool_free(old);
	}
	HASH_ADD(hh, e->uploads, key, sizeof u->key, u);
	if (u->hh.tbl)
		return ERR_OK;
	pool_free(u);
	return ERR_NOMEM;
}

bool envelopes_get(const struct envelopes *e, uint64_t id, uint32_t epoch, const uint8_t fingerprint[static 32], const uint8_t **der, size_t *len)
{
	struct upload_key key = upload_key(id, epoch, fingerprint);
	struct upload *u;
	HASH_FIND(hh, e->uploads, &key, sizeof key, u);
	if (!u)
		return false;
	*der = u->der;
	*len = u->len;
	return true;
}

void envelopes_each(struct envelopes *e, uint64_t id, uint32_t epoch, int where,
                    void (*fn)(void *arg, uint32_t epoch, const uint8_t fingerprint[static 32], const uint8_t *der, size_t len), void *arg)
{
	for (struct upload *u = e->uploads; u; u = u->hh.next) {
		int is = u->key.epoch < epoch ? -1 : u->key.epoch > epoch;
		if (u->key.id == id && is == where)
			fn(arg, (uint32_t)u->key.epoch, u->key.fingerprint, u->der, u->len);
	}
}

void envelopes_forget(struct envelopes *e, uint64_t id, uint32_t epoch)
{
	struct upload *u, *next;
	HASH_ITER(hh, e->uploads, u, next)
	{
		if (u->key.id != id || u->key.epoch >= epoch) /* cppcheck-suppress uninitvar ; HASH_ITER sets it */
			continue;
		HASH_DELETE(hh, e->uploads, u);
		pool_free(u);
	}
}
