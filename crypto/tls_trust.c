/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sorted tables, searched by bisection: a handshake costs the same with one revoked certificate and with 100,000. Names and keys are kept
 * by their hashes, so that a live connection can be judged without its certificate. */
#include "crypto/tls_trust.h"

#include "crypto/hash.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* An authority or a list: whose, and until when. */
struct trust_end {
	struct trust_hash name;         /* of the authority */
	int64_t end_s;                  /* INT64_MAX: it does not say */
	char shown[TLS_NAME_MAX];
};

struct trust_ca {
	struct trust_end is;
	struct trust_hash key;
	struct trust_hop own;           /* who issued it, under which number */
	bool revoked;
};

struct trust_revoked {
	struct trust_hash issuer;
	struct trust_serial serial;
};

struct trust_pin { struct trust_hash cn, key; };

/* Sorted once complete. */
struct table { void *rows; size_t n, cap; };

struct tls_trust {
	atomic_uint refs;
	struct table cas;               /* struct trust_ca */
	struct table revoked;           /* struct trust_revoked */
	struct table lists;             /* struct trust_end: one for each issuer */
	struct table pins;              /* struct trust_pin */
	bool has_lists, stale_ok;
};

struct tls_trust *tls_trust_new(void)
{
	struct tls_trust *t = calloc(1, sizeof *t);
	if (t)
		atomic_init(&t->refs, 1);
	return t;
}

struct tls_trust *tls_trust_ref(struct tls_trust *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void tls_trust_unref(struct tls_trust *t)
{
	if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(t->cas.rows);
	free(t->revoked.rows);
	free(t->lists.rows);
	free(t->pins.rows);
	free(t);
}

struct trust_hash tls_trust_hash(struct der d)
{
	struct trust_hash h;
	uint8_t whole[HASH_LEN];
	hash_sha256(d.p, der_len(d), whole);
	memcpy(h.bytes, whole, sizeof h.bytes);
	return h;
}

struct trust_serial tls_trust_serial(struct der magnitude)
{
	struct trust_serial s = { 0 };
	size_t n = der_len(magnitude);
	if (n <= sizeof s.bytes) {
		s.len = (uint8_t)n;
		memcpy(s.bytes, magnitude.p, n);
	}
	return s;
}

/* ---- filling */

static bool append(struct table *t, const void *row, size_t size)
{
	if (t->n == t->cap) {
		size_t more = t->cap ? t->cap * 2 : 8;
		void *p = realloc(t->rows, more * size);
		if (!p)
			return false;
		t->rows = p;
		t->cap = more;
	}
	memcpy((char *)t->rows + t->n++ * size, row, size);
	return true;
}

bool tls_trust_add_authority(struct tls_trust *t, const struct cert *c)
{
	struct trust_ca ca = { .is = { .name = tls_trust_hash(c->subject), .end_s = c->not_after_s }, .key = tls_trust_hash(c->spki),
		.own = { tls_trust_hash(c->issuer), tls_trust_serial(c->serial) } };
	cert_show_name(ca.is.shown, sizeof ca.is.shown, c->subject);
	return append(&t->cas, &ca, sizeof ca);
}

bool tls_trust_add_pin(struct tls_trust *t, const struct tls_pin *pin)
{
	struct trust_pin p = { .cn = tls_trust_hash(der_of(pin->cn, strlen(pin->cn))) };
	memcpy(p.key.bytes, pin->key, sizeof p.key.bytes);
	return append(&t->pins, &p, sizeof p);
}

/* Extensions of a list or of an entry. A critical one changes what the list means (of deltas, of parts, of another issuer's certificates)
 * and such a list must not be used by who does not know it [RFC 5280 5.2]. */
static bool has_critical(struct der extensions)
{
	struct der list, ext, oid;
	if (!der_take(&extensions, DER_SEQUENCE, &list))
		return true;
	while (!der_empty(list))
		if (!der_take(&list, DER_SEQUENCE, &ext) || !der_take(&ext, DER_OID, &oid) || der_next_is(ext, DER_BOOLEAN))
			return true; /* DER writes a critical of FALSE by leaving it out */
	return false;
}

static enum err add_entries(struct tls_trust *t, const struct trust_hash *issuer, struct der entries, const char **why)
{
	struct der entry, serial;
	int64_t when_s;
	while (!der_empty(entries)) {
		if (!der_take(&entries, DER_SEQUENCE, &entry) || !der_take_unsigned(&entry, &serial) || !der_take_time(&entry, &when_s)) {
			*why = "has a malformed entry";
			return ERR_INVALID;
		}
		if (!der_empty(entry) && has_critical(entry)) {
			*why = "has an entry with a critical extension, which is not supported";
			return ERR_INVALID;
		}
		struct trust_revoked r = { *issuer, tls_trust_serial(serial) };
		if (!append(&t->revoked, &r, sizeof r))
			return ERR_NOMEM;
	}
	return ERR_OK;
}

/* TBSCertList: version, algorithm, issuer, thisUpdate, nextUpdate, revokedCertificates, [0] extensions [RFC 5280 5.1]. */
enum err tls_trust_add_list(struct tls_trust *t, struct der der, int64_t *made_s, const char **why)
{
	struct der list, tbs, part, issuer, entries = { NULL, NULL };
	struct trust_end row = { .end_s = INT64_MAX };
	uint8_t version;
	*why = "is malformed";
	if (!der_take(&der, DER_SEQUENCE, &list) || !der_take(&list, DER_SEQUENCE, &tbs))
		return ERR_INVALID;
	if (der_next_is(tbs, DER_INTEGER) && !der_take_small(&tbs, &version))
		return ERR_INVALID;
	if (!der_take(&tbs, DER_SEQUENCE, &part) || !der_take_whole(&tbs, DER_SEQUENCE, &part, &issuer) || !der_take_time(&tbs, made_s))
		return ERR_INVALID;
	if ((der_next_is(tbs, DER_UTC_TIME) || der_next_is(tbs, DER_GENERALIZED_TIME)) && !der_take_time(&tbs, &row.end_s))
		return ERR_INVALID;
	if (der_next_is(tbs, DER_SEQUENCE) && !der_take(&tbs, DER_SEQUENCE, &entries))
		return ERR_INVALID;
	if (der_next_is(tbs, DER_CONTEXT_CONS(0))) {
		if (!der_take(&tbs, DER_CONTEXT_CONS(0), &part))
			return ERR_INVALID;
		if (has_critical(part)) {
			*why = "has a critical extension (it is a part or a delta of a list), which is not supported";
			return ERR_INVALID;
		}
	}
	row.name = tls_trust_hash(issuer);
	cert_show_name(row.shown, sizeof row.shown, issuer);
	if (!append(&t->lists, &row, sizeof row))
		return ERR_NOMEM;
	return add_entries(t, &row.name, entries, why);
}

/* ---- sorting and searching: every row begins with the hash that it is found by */

static int compare_hash(const void *a, const void *b) { return memcmp(a, b, sizeof(struct trust_hash)); }
static int compare_revoked(const void *a, const void *b) { return memcmp(a, b, sizeof(struct trust_revoked)); }

static int compare_lists(const void *a, const void *b)
{
	const struct trust_end *x = a, *y = b;
	int order = compare_hash(x, y);
	return order ? order : (x->end_s < y->end_s) - (x->end_s > y->end_s); /* the newest first */
}

static void sort(struct table *t, size_t size, int (*compare)(const void *a, const void *b))
{
	if (t->n)
		qsort(t->rows, t->n, size, compare);
}

/* The first of the rows with that hash, and in *n how many there are. */
static const void *find(const struct table *t, size_t size, const struct trust_hash *wanted, size_t *n)
{
	size_t low = 0, high = t->n;
	const char *rows = t->rows;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (compare_hash(rows + middle * size, wanted) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (*n = 0; low + *n < t->n && compare_hash(rows + (low + *n) * size, wanted) == 0;)
		++*n;
	return *n ? rows + low * size : NULL;
}

static const struct trust_ca *find_cas(const struct tls_trust *t, const struct trust_hash *name, size_t *n)
{
	return find(&t->cas, sizeof(struct trust_ca), name, n);
}

static bool is_revoked(const struct tls_trust *t, const struct trust_hop *hop)
{
	struct trust_revoked wanted = { hop->issuer, hop->serial };
	return t->revoked.n && bsearch(&wanted, t->revoked.rows, t->revoked.n, sizeof wanted, compare_revoked);
}

void tls_trust_complete(struct tls_trust *t, bool has_lists, bool stale_ok)
{
	t->has_lists = has_lists;
	t->stale_ok = stale_ok;
	sort(&t->cas, sizeof(struct trust_ca), compare_hash);
	sort(&t->revoked, sizeof(struct trust_revoked), compare_revoked);
	sort(&t->pins, sizeof(struct trust_pin), compare_hash);
	sort(&t->lists, sizeof(struct trust_end), compare_lists);
	struct trust_end *lists = t->lists.rows;
	size_t kept = 0;
	for (size_t i = 0; i < t->lists.n; i++)
		if (!kept || compare_hash(&lists[kept - 1], &lists[i]) != 0)
			lists[kept++] = lists[i];
	t->lists.n = kept;
	struct trust_ca *cas = t->cas.rows;
	for (size_t i = 0; i < t->cas.n; i++) /* an intermediate may be trusted by the file and revoked by its root */
		cas[i].revoked = is_revoked(t, &cas[i].own);
}

/* ---- judging */

static enum tls_cause judge_list(const struct tls_trust *t, const struct trust_hash *issuer, int64_t now_s)
{
	size_t n;
	if (!t->has_lists)
		return TLS_CAUSE_NONE;
	const struct trust_end *list = find(&t->lists, sizeof *list, issuer, &n);
	if (!list)
		return TLS_CAUSE_CRL_MISSING;
	return list->end_s < now_s && !t->stale_ok ? TLS_CAUSE_CRL_EXPIRED : TLS_CAUSE_NONE;
}

/* One good authority of the name is enough: the signature has told that it is one of them. */
static enum tls_cause judge_authority(const struct trust_ca *cas, size_t n, int64_t at_s)
{
	enum tls_cause cause = TLS_CAUSE_NONE;
	for (size_t i = 0; i < n; i++) {
		if (!cas[i].revoked && cas[i].is.end_s >= at_s)
			return TLS_CAUSE_NONE;
		cause = cas[i].revoked ? TLS_CAUSE_REVOKED : TLS_CAUSE_CA_EXPIRED;
	}
	return cause;
}

enum tls_cause tls_trust_admits(const struct tls_trust *t, const struct trust_hop *hops, size_t n, int64_t at_s, int64_t now_s)
{
	for (size_t i = 0; i < n; i++) /* of all causes the gravest */
		if (is_revoked(t, &hops[i]))
			return TLS_CAUSE_REVOKED;
	for (size_t i = 0; i < n; i++) {
		size_t n_cas;
		const struct trust_ca *cas = find_cas(t, &hops[i].issuer, &n_cas);
		enum tls_cause cause = cas ? judge_authority(cas, n_cas, at_s) : TLS_CAUSE_NONE;
		if (cause == TLS_CAUSE_NONE)
			cause = judge_list(t, &hops[i].issuer, now_s);
		if (cause != TLS_CAUSE_NONE || cas)
			return cause;
	}
	/* wolfSSL remembers an intermediate that somebody else has sent: whether that has happened must not decide. */
	return TLS_CAUSE_UNKNOWN_CA;
}

static bool still_trusted(const struct tls_trust *then, const struct tls_trust *now, const struct trust_hash *name)
{
	size_t n_then, n_now;
	const struct trust_ca *old = find_cas(then, name, &n_then), *new = find_cas(now, name, &n_now);
	for (size_t i = 0; i < n_then; i++) {
		size_t k = 0;
		while (k < n_now && compare_hash(&new[k].key, &old[i].key) != 0)
			k++;
		if (k == n_now)
			return false;
	}
	return old != NULL;
}

enum tls_cause tls_trust_still_admits(const struct tls_trust *then, const struct tls_trust *now, const struct trust_hop *hops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t n_cas;
		if (is_revoked(now, &hops[i]))
			return TLS_CAUSE_REVOKED;
		if (!still_trusted(then, now, &hops[i].issuer))
			continue;
		const struct trust_ca *cas = find_cas(now, &hops[i].issuer, &n_cas);
		return judge_authority(cas, n_cas, INT64_MIN);
	}
	return TLS_CAUSE_UNKNOWN_CA;
}

bool tls_trust_may_use(const struct tls_trust *t, const struct trust_hash *cn, const struct trust_hash *key)
{
	size_t n;
	const struct trust_pin *pins = find(&t->pins, sizeof *pins, cn, &n);
	for (size_t i = 0; i < n; i++)
		if (compare_hash(&pins[i].key, key) == 0)
			return true;
	return n == 0;
}

/* ---- dates: every row of these begins with a struct trust_end */

static struct tls_revoked show_revoked(const struct tls_trust *t, const struct trust_revoked *r)
{
	struct tls_revoked out = { .serial_len = r->serial.len };
	size_t n;
	const struct trust_end *list = find(&t->lists, sizeof(struct trust_end), &r->issuer, &n);
	if (list)
		memcpy(out.issuer, list->shown, sizeof out.issuer);
	memcpy(out.serial, r->serial.bytes, sizeof out.serial);
	return out;
}

size_t tls_trust_newly_revoked(const struct tls_trust *then, const struct tls_trust *now, struct tls_revoked *out, size_t most)
{
	const struct trust_revoked *was = then->revoked.rows, *is = now->revoked.rows;
	size_t found = 0;
	for (size_t i = 0, k = 0; i < now->revoked.n; i++) {
		if (i > 0 && compare_revoked(&is[i - 1], &is[i]) == 0)
			continue; /* on several lists of its issuer */
		while (k < then->revoked.n && compare_revoked(&was[k], &is[i]) < 0)
			k++;
		if (k < then->revoked.n && compare_revoked(&was[k], &is[i]) == 0)
			continue;
		if (found < most)
			out[found] = show_revoked(now, &is[i]);
		found++;
	}
	return found;
}

static struct tls_date earliest(const struct table *t, size_t size)
{
	struct tls_date d = { .end_s = INT64_MAX };
	for (size_t i = 0; i < t->n; i++) {
		const struct trust_end *row = (const void *)((const char *)t->rows + i * size);
		if (row->end_s < d.end_s) {
			d.end_s = row->end_s;
			memcpy(d.name, row->shown, sizeof d.name);
		}
	}
	return d;
}

struct tls_date tls_trust_authority_end(const struct tls_trust *t)
{
	return earliest(&t->cas, sizeof(struct trust_ca));
}

struct tls_date tls_trust_list_end(const struct tls_trust *t)
{
	return earliest(&t->lists, sizeof(struct trust_end));
}
