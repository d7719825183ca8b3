/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The other side of the TLS tests: a wolfSSL client over memory, and a pump that carries bytes between it and a tls_conn. */
#ifndef TESTS_UNIT_CRYPTO_TLS_PEER_H
#define TESTS_UNIT_CRYPTO_TLS_PEER_H

#include "crypto/tls.h"
#include "tests/unit/crypto/pki.h"

#include <wolfssl/ssl.h>

#include <check.h>

static _Thread_local bool tls_serving; /* during the server's calls: whose memory is it? */
static _Thread_local struct tls_known *tls_server_known; /* what the server's loop remembers */

struct wire { uint8_t *b; size_t n, cap, at; }; /* unread: b[at..n) */

static inline void wire_put(struct wire *w, const void *p, size_t n)
{
	if (n == 0)
		return;
	if (w->at == w->n)
		w->at = w->n = 0;
	if (w->n + n > w->cap) {
		w->cap = (w->n + n) * 2;
		w->b = realloc(w->b, w->cap);
		ck_assert_ptr_nonnull(w->b);
	}
	memcpy(w->b + w->n, p, n);
	w->n += n;
}

struct peer {
	WOLFSSL_CTX *ctx;
	WOLFSSL *ssl;
	struct wire to_peer, to_server;
};

static inline int peer_recv(WOLFSSL *ssl, char *buf, int size, void *arg)
{
	struct wire *w = &((struct peer *)arg)->to_peer;
	size_t n = w->n - w->at < (size_t)size ? w->n - w->at : (size_t)size;
	(void)ssl;
	if (n == 0)
		return WOLFSSL_CBIO_ERR_WANT_READ;
	memcpy(buf, w->b + w->at, n);
	w->at += n;
	return (int)n;
}

static inline int peer_send(WOLFSSL *ssl, char *buf, int size, void *arg)
{
	(void)ssl;
	wire_put(&((struct peer *)arg)->to_server, buf, (size_t)size);
	return size;
}

/* name: NAME.key and chain file (NULL: no certificate). der: a crafted certificate instead of the file. */
static inline void peer_open(struct peer *p, WOLFSSL_METHOD *method, const char *name, const char *chain, const struct bytes *der)
{
	char key[64];
	memset(p, 0, sizeof *p);
	p->ctx = wolfSSL_CTX_new(method);
	ck_assert_ptr_nonnull(p->ctx);
	ck_assert_int_eq(wolfSSL_CTX_load_verify_locations(p->ctx, pki_path("ca.crt"), NULL), WOLFSSL_SUCCESS);
	if (name) {
		snprintf(key, sizeof key, "%s.key", name);
		if (der)
			ck_assert_int_eq(wolfSSL_CTX_use_certificate_buffer(p->ctx, der->b, (long)der->n, WOLFSSL_FILETYPE_ASN1), WOLFSSL_SUCCESS);
		else
			ck_assert_int_eq(wolfSSL_CTX_use_certificate_chain_file(p->ctx, pki_path(chain)), WOLFSSL_SUCCESS);
		ck_assert_int_eq(wolfSSL_CTX_use_PrivateKey_file(p->ctx, pki_path(key), WOLFSSL_FILETYPE_PEM), WOLFSSL_SUCCESS);
	}
	wolfSSL_CTX_SetMinRsaKey_Sz(p->ctx, 1024);
	wolfSSL_CTX_SetIORecv(p->ctx, peer_recv);
	wolfSSL_CTX_SetIOSend(p->ctx, peer_send);
	p->ssl = wolfSSL_new(p->ctx);
	ck_assert_ptr_nonnull(p->ssl);
	wolfSSL_SetIOReadCtx(p->ssl, p);
	wolfSSL_SetIOWriteCtx(p->ssl, p);
}

static inline void peer_close(struct peer *p)
{
	wolfSSL_free(p->ssl);
	wolfSSL_CTX_free(p->ctx);
	free(p->to_peer.b);
	free(p->to_server.b);
	memset(p, 0, sizeof *p);
}

/* The server's half of one exchange: everything on the wire, in pieces of at most step bytes (0: all at once). */
static inline enum tls_status serve_accept(struct tls_conn *c, struct peer *p, size_t step)
{
	static _Thread_local uint8_t out[TLS_FLIGHT_MAX];
	enum tls_status s = TLS_WANT_READ;
	while (s == TLS_WANT_READ && p->to_server.at < p->to_server.n) {
		size_t left = p->to_server.n - p->to_server.at, n = step && step < left ? step : left;
		struct tls_io io = { .in = p->to_server.b + p->to_server.at, .in_len = n, .out = out, .out_cap = sizeof out, .known = tls_server_known };
		tls_serving = true;
		s = tls_accept(c, &io);
		tls_serving = false;
		if (s == TLS_WANT_READ)
			ck_assert_uint_eq(io.in_len, 0);
		p->to_server.at += n - io.in_len;
		wire_put(&p->to_peer, out, io.out_len);
	}
	return s;
}

/* Runs the handshake; what the server made of it. */
static inline enum tls_status handshake(struct tls_conn *c, struct peer *p, size_t step)
{
	enum tls_status s = TLS_WANT_READ;
	for (int round = 0; round < 20 && s == TLS_WANT_READ; round++) {
		int rc = wolfSSL_connect(p->ssl);
		int before = wolfSSL_get_error(p->ssl, rc);
		s = serve_accept(c, p, step);
		if (rc != WOLFSSL_SUCCESS && before != WOLFSSL_ERROR_WANT_READ)
			break;
	}
	if (s == TLS_DONE) /* 1.2: the server's last flight */
		ck_assert_int_eq(wolfSSL_connect(p->ssl), WOLFSSL_SUCCESS);
	return s;
}

static inline struct tls_options pki_options(void)
{
	static char ca[128], crt[128], key[128];
	strcpy(ca, pki_path("ca.crt"));
	strcpy(crt, pki_path("server.crt"));
	strcpy(key, pki_path("server.key"));
	return (struct tls_options){ .cafile = ca, .certfile = crt, .keyfile = key, .tls12 = true };
}

static inline struct tls_ctx *context(const struct tls_options *o)
{
	char error[256] = "";
	struct tls_ctx *ctx = tls_ctx_new(o, error, sizeof error);
	ck_assert_msg(ctx != NULL, "%s", error);
	return ctx;
}

#endif
