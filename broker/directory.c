/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/directory.h"

#include "base/pool.h"
#include "broker/uthash_keyed.h"
#include "crypto/cert.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX_LEN 16U /* of a fingerprint: unique enough, and what sealed messages name */

struct named;

struct entry_of {
	UT_hash_handle hh; /* by the fingerprint's first bytes */
	struct known known;
	char data[]; /* CN with a NUL, DER */
};

struct named {
	UT_hash_handle hh; /* by CN */
	const struct known *latest;
};

struct directory {
	struct entry_of *all;
	struct named *names;
};

struct directory *directory_new(void)
{
	return calloc(1, sizeof(struct directory));
}

void directory_free(struct directory *d)
{
	struct entry_of *e, *next_e;
	struct named *n, *next_n;
	if (!d)
		return;
	HASH_ITER(hh, d->names, n, next_n)
	{
		HASH_DELETE(hh, d->names, n);
		pool_free(n); /* cppcheck-suppress uninitvar ; HASH_ITER sets it */
	}
	HASH_ITER(hh, d->all, e, next_e)
	{
		HASH_DELETE(hh, d->all, e);
		pool_free(e); /* cppcheck-suppress uninitvar ; HASH_ITER sets it */
	}
	free(d);
}

const struct known *directory_find_prefix(const struct directory *d, const uint8_t prefix[static 16])
{
	struct entry_of *e;
	HASH_FIND(hh, d->all, prefix, PREFIX_LEN, e);
	return e ? &e->known : NULL;
}

const struct known *directory_find(const struct directory *d, const uint8_t fingerprint[static 32])
{
	const struct known *k = directory_find_prefix(d, fingerprint);
	return k && memcmp(k->fingerprint, fingerprint, sizeof k->fingerprint) == 0 ? k : NULL;
}

const struct known *directory_latest(const struct directory *d, const char *cn, size_t cn_len)
{
	struct named *n;
	HASH_FIND(hh, d->names, cn, cn_len, n);
	return n ? n->latest : NULL;
}

static struct entry_of *entry_new(struct der cn, const uint8_t fingerprint[static 32], const uint8_t *der, size_t len)
{
	size_t cn_len = der_len(cn);
	struct entry_of *e = pool_alloc(sizeof *e + cn_len + 1 + len);
	if (!e)
		return NULL;
	*e = (struct entry_of){0};
	memcpy(e->data, cn.p, cn_len);
	e->data[cn_len] = '\0';
	memcpy(e->data + cn_len + 1, der, len);
	e->known = (struct known){.cn = e->data, .cn_len = cn_len, .der = (const uint8_t *)e->data + cn_len + 1, .der_len = len};
	memcpy(e->known.fingerprint, fingerprint, sizeof e->known.fingerprint);
	return e;
}

static enum err set_latest(struct directory *d, const struct known *k)
{
	struct named *n;
	HASH_FIND(hh, d->names, k->cn, k->cn_len, n);
	if (!n) {
		n = pool_alloc(sizeof *n);
		if (!n)
			return ERR_NOMEM;
		*n = (struct named){0};
		HASH_ADD_KEYPTR(hh, d->names, k->cn, k->cn_len, n);
		if (!n->hh.tbl) {
			pool_free(n);
			return ERR_NOMEM;
		}
	}
	n->latest = k;
	return ERR_OK;
}

enum err directory_add(struct directory *d, const uint8_t *der, size_t len, bool *added)
{
	struct cert c;
	struct der cn;
	const char *why;
	uint8_t fingerprint[32];
	*added = false;
	if (cert_parse(&c, der, len) != ERR_OK || cert_common_name(&c, &cn, &why) != ERR_OK)
		return ERR_INVALID;
	cert_fingerprint(&c, fingerprint);
	const struct known *k = directory_find(d, fingerprint);
	if (k)
		return set_latest(d, k);
	struct entry_of *e = entry_new(cn, fingerprint, der, len);
	if (!e)
		return ERR_NOMEM;
	HASH_ADD_KEYPTR(hh, d->all, e->known.fingerprint, PREFIX_LEN, e);
	if (!e->hh.tbl) {
		pool_free(e);
		return ERR_NOMEM;
	}
	*added = true;
	return set_latest(d, &e->known);
}
