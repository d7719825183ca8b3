/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The senders that a handle knows: certificates that its authorities have vouched for. One thread at a time. */
#include "client/lib_int.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#define CERT_MAX 65536u /* bytes */

struct peer *lib_peer(struct sealmq *h, const uint8_t fingerprint[static COSE_SENDER_LEN])
{
	struct peer *p = h->peers[fingerprint[0] % PEER_BUCKETS];
	while (p && memcmp(p->fingerprint, fingerprint, COSE_SENDER_LEN) != 0)
		p = p->next;
	return p;
}

static bool same(struct der a, struct der b)
{
	return der_equal(a, b.p, der_len(b));
}

struct peer *lib_peer_named(struct sealmq *h, struct der ski, struct der issuer, struct der serial)
{
	for (size_t i = 0; i < PEER_BUCKETS; i++)
		for (struct peer *p = h->peers[i]; p; p = p->next)
			if (der_empty(ski) ? same(p->cert.issuer, issuer) && same(p->cert.serial, serial) : same(p->cert.ski, ski))
				return p;
	return NULL;
}

enum tls_cause lib_peer_judge(struct sealmq *h, struct peer *p)
{
	uint64_t now = clock_mono_ms();
	if (p->judged_ms == 0 || now - p->judged_ms >= PEER_RECHECK_MS) {
		p->cause = trust_check(h->trust, &p->cert);
		p->judged_ms = p->cause == TLS_CAUSE_NOMEM ? 0 : now ? now : 1; /* memory that ran out says nothing of the certificate */
	}
	return p->cause;
}

void lib_peers_forget_judgement(struct sealmq *h)
{
	for (size_t i = 0; i < PEER_BUCKETS; i++)
		for (struct peer *p = h->peers[i]; p; p = p->next)
			p->judged_ms = 0;
}

static void peer_free(struct peer *p)
{
	pubkey_free(p->key);
	free(p);
}

void lib_peers_free(struct sealmq *h)
{
	for (size_t i = 0; i < PEER_BUCKETS; i++)
		while (h->peers[i]) {
			struct peer *p = h->peers[i];
			h->peers[i] = p->next;
			peer_free(p);
		}
}

/* Everything but the verdict on it. */
static enum sealmq_err read_peer(struct sealmq *h, struct peer *p, size_t len)
{
	struct der cn;
	const char *why;
	if (cert_parse(&p->cert, p->der, len) != ERR_OK)
		return lib_refuse(h, "not a certificate in DER");
	if (cert_common_name(&p->cert, &cn, &why) != ERR_OK)
		return lib_refuse(h, why);
	memcpy(p->cn, cn.p, der_len(cn));
	cert_fingerprint(&p->cert, p->fingerprint);
	enum err e = pubkey_new(&p->key, &p->cert);
	return e == ERR_INVALID ? lib_refuse(h, "the certificate's key is neither RSA of 2048 to 4096 bits nor P-256") : lib_of_err(h, e);
}

enum sealmq_err lib_peer_add(struct sealmq *h, const void *der, size_t len, struct peer **out)
{
	if (len > CERT_MAX)
		return lib_refuse(h, "the certificate is too long");
	struct peer *p = calloc(1, sizeof *p + len);
	if (!p)
		return SEALMQ_NOMEM;
	memcpy(p->der, der, len);
	enum sealmq_err e = read_peer(h, p, len);
	struct peer *known = e == SEALMQ_OK ? lib_peer(h, p->fingerprint) : NULL;
	if (e == SEALMQ_OK && !known) {
		enum tls_cause cause = lib_peer_judge(h, p);
		/* One that is revoked is kept: its messages of the past are still its own. */
		if (cause != TLS_CAUSE_NONE && cause != TLS_CAUSE_REVOKED)
			e = lib_refuse(h, tls_cause_text(cause));
	}
	if (e != SEALMQ_OK || known) {
		peer_free(p);
		*out = known;
		return e;
	}
	p->next = h->peers[p->fingerprint[0] % PEER_BUCKETS];
	h->peers[p->fingerprint[0] % PEER_BUCKETS] = p;
	*out = p;
	return SEALMQ_OK;
}

enum sealmq_err sealmq_take_cert(struct sealmq *h, const void *cert, size_t len)
{
	struct peer *p;
	enum sealmq_err e = lib_enter(h);
	return e == SEALMQ_OK ? lib_peer_add(h, cert, len, &p) : e;
}

enum sealmq_err sealmq_cert(struct sealmq *h, const uint8_t fingerprint[COSE_SENDER_LEN], const void **cert, size_t *len)
{
	enum sealmq_err e = lib_enter(h);
	struct peer *p = e == SEALMQ_OK ? lib_peer(h, fingerprint) : NULL;
	if (!p)
		return e == SEALMQ_OK ? lib_want_cert(h, fingerprint) : e;
	*cert = p->cert.whole.p;
	*len = der_len(p->cert.whole);
	return SEALMQ_OK;
}
