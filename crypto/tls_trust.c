/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a context trusts and what it knows as revoked, kept in a form in which a live connection can be judged again after a reload
 * without its certificate: names by hash, keys by hash, serial numbers. wolfSSL has verified the lists' signatures. Written while
 * the context is made, immutable afterwards. */
#include "crypto/tls_trust.h"

#include "crypto/cert.h"
#include "crypto/hash.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/asn_public.h>

#include <stdlib.h>
#include <string.h>

#define PEM_CERT "CERTIFICATE"
#define PEM_CRL "X509 CRL"

struct trust_ca { struct trust_hash name, key; };

struct trust_revoked {
	struct trust_hash issuer;
	struct trust_serial serial;
};

struct tls_trust {
	struct trust_ca *cas;           /* sorted once complete, as the other */
	struct trust_revoked *revoked;
	size_t n_cas, n_revoked, cap_cas, cap_revoked;
};

struct tls_trust *tls_trust_new(void) { return calloc(1, sizeof(struct tls_trust)); }

void tls_trust_free(struct tls_trust *t)
{
	if (!t)
		return;
	free(t->cas);
	free(t->revoked);
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

/* Room for one more; false when out of memory. */
static bool grow(void **list, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return true;
	size_t more = *cap ? *cap * 2 : 8;
	void *p = realloc(*list, more * size);
	if (!p)
		return false;
	*list = p;
	*cap = more;
	return true;
}

static bool add_ca(struct tls_trust *t, struct der der)
{
	struct cert cert;
	void *list = t->cas;
	if (cert_parse(&cert, der.p, der_len(der)) != ERR_OK)
		return true; /* not one that clients' certificates can be judged by */
	if (!grow(&list, t->n_cas, &t->cap_cas, sizeof *t->cas))
		return false;
	t->cas = list;
	t->cas[t->n_cas++] = (struct trust_ca){ tls_trust_hash(cert.subject), tls_trust_hash(cert.spki) };
	return true;
}

/* CertificateList [RFC 5280 5.1], up to the revoked serial numbers. */
static bool add_crl(struct tls_trust *t, struct der der)
{
	struct der list, tbs, part, issuer, entries, entry, serial;
	uint8_t version;
	int64_t time_s;
	if (!der_take(&der, DER_SEQUENCE, &list) || !der_take(&list, DER_SEQUENCE, &tbs))
		return true;
	if (der_next_is(tbs, DER_INTEGER) && !der_take_small(&tbs, &version))
		return true;
	if (!der_take(&tbs, DER_SEQUENCE, &part) || !der_take_whole(&tbs, DER_SEQUENCE, &part, &issuer) || !der_take_time(&tbs, &time_s))
		return true;
	if ((der_next_is(tbs, DER_UTC_TIME) || der_next_is(tbs, DER_GENERALIZED_TIME)) && !der_take_time(&tbs, &time_s))
		return true;
	if (!der_next_is(tbs, DER_SEQUENCE) || !der_take(&tbs, DER_SEQUENCE, &entries))
		return true; /* none is revoked */
	struct trust_hash name = tls_trust_hash(issuer);
	while (der_take(&entries, DER_SEQUENCE, &entry) && der_take_unsigned(&entry, &serial)) {
		void *revoked = t->revoked;
		if (!grow(&revoked, t->n_revoked, &t->cap_revoked, sizeof *t->revoked))
			return false;
		t->revoked = revoked;
		t->revoked[t->n_revoked++] = (struct trust_revoked){ name, tls_trust_serial(serial) };
	}
	return true;
}

static bool each_pem(struct tls_trust *t, const char *text, const char *label, int type, bool (*add)(struct tls_trust *t, struct der der))
{
	char begin[40], end[40];
	(void)snprintf(begin, sizeof begin, "-----BEGIN %s-----", label);
	(void)snprintf(end, sizeof end, "-----END %s-----", label);
	for (const char *p = strstr(text, begin), *stop; p && (stop = strstr(p, end)); p = strstr(stop, begin)) {
		DerBuffer *der = NULL;
		stop += strlen(end);
		bool good = wc_PemToDer((const unsigned char *)p, stop - p, type, &der, NULL, NULL, NULL) != 0 || add(t, der_of(der->buffer, der->length));
		wc_FreeDer(&der);
		if (!good)
			return false;
	}
	return true;
}

bool tls_trust_add_authorities(struct tls_trust *t, const char *pem) { return each_pem(t, pem, PEM_CERT, CERT_TYPE, add_ca); }
bool tls_trust_add_lists(struct tls_trust *t, const char *pem) { return each_pem(t, pem, PEM_CRL, CRL_TYPE, add_crl); }

static int compare_cas(const void *a, const void *b) { return memcmp(a, b, sizeof(struct trust_ca)); }
static int compare_revoked(const void *a, const void *b) { return memcmp(a, b, sizeof(struct trust_revoked)); }

void tls_trust_complete(struct tls_trust *t)
{
	if (t->n_cas)
		qsort(t->cas, t->n_cas, sizeof *t->cas, compare_cas);
	if (t->n_revoked)
		qsort(t->revoked, t->n_revoked, sizeof *t->revoked, compare_revoked);
}

bool tls_trust_revokes(const struct tls_trust *t, const struct trust_hop *hop)
{
	struct trust_revoked wanted = { hop->issuer, hop->serial };
	return t->n_revoked && bsearch(&wanted, t->revoked, t->n_revoked, sizeof *t->revoked, compare_revoked);
}

bool tls_trust_keeps(const struct tls_trust *then, const struct tls_trust *now, const struct trust_hash *issuer)
{
	bool found = false;
	for (size_t i = 0; i < then->n_cas; i++) {
		if (memcmp(&then->cas[i].name, issuer, sizeof *issuer) != 0)
			continue;
		found = true;
		if (!now->n_cas || !bsearch(&then->cas[i], now->cas, now->n_cas, sizeof *now->cas, compare_cas))
			return false;
	}
	return found;
}
