/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What tls_ctx.c, tls_conn.c and tls_cause.c share. Private to crypto/. */
#ifndef CRYPTO_TLS_INT_H
#define CRYPTO_TLS_INT_H

#include "crypto/tls.h"
#include "crypto/tls_trust.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <stdatomic.h>

struct tls_ctx {
	atomic_uint refs;
	struct tls_trust *trust; /* immutable after tls_ctx_new */
	WOLFSSL_CTX *wolf; /* immutable after tls_ctx_new; wolfSSL locks what it caches in there */
};

/* The cause behind a wolfSSL error code of a server's connection. */
enum tls_cause tls_cause_of(int wolf_error);
/* "unknown ca" and the like, for an alert's description byte; never NULL. */
const char *tls_alert_text(int description);

/* The usual name of a suite that wolfSSL calls wolf_name; "" for NULL. */
const char *tls_suite_name(const char *wolf_name);

/* Loads PEM files into a certificate manager; on failure error says which and why. */
bool tls_load_authorities(WOLFSSL_CERT_MANAGER *m, const char *cafile, const char *crlfile, char *error, size_t error_len);

/* tls_conn.c: what the context is given to call. */
int tls_conn_recv(WOLFSSL *ssl, char *buf, int size, void *arg);
int tls_conn_send(WOLFSSL *ssl, char *buf, int size, void *arg);
int tls_conn_verify(int ok, WOLFSSL_X509_STORE_CTX *store);

#endif
