/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of crypto/tls share. Private to crypto/. */
#ifndef CRYPTO_TLS_INT_H
#define CRYPTO_TLS_INT_H

#include "crypto/tls.h"
#include "crypto/tls_trust.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <stdatomic.h>
#include <time.h>

struct tls_ctx {
	atomic_uint refs;
	struct tls_trust *trust; /* immutable after tls_ctx_new */
	struct tls_dates dates;  /* immutable after tls_ctx_new */
	uint8_t salt[16];        /* by which signatures known to this context differ from those known to another; immutable after tls_ctx_new */
	WOLFSSL_CTX *wolf; /* immutable after tls_ctx_new; wolfSSL locks what it caches in there */
};

enum {
	TLS_DETAIL_MAX = 256,
	TLS_CHAIN_MAX = 4,       /* intermediates */
};

struct tls_conn {
	WOLFSSL *ssl;
	struct tls_ctx *ctx;
	struct tls_io *io;       /* during a call only */
	struct identity *id;     /* from the verify callback; trusted once up */
	uint8_t *part;           /* an unfinished record, or a finished one being fed */
	uint8_t *backlog;        /* answers to key updates, an alert: what tls_read wants sent */
	char *detail;            /* NULL until something failed */
	uint32_t part_len, part_cap, part_fed, direct_left, backlog_len;
	struct trust_hop *above; /* of intermediates that the peer sent, from the leaf's issuer up; NULL: none */
	uint8_t *leaf;           /* DER, until it is taken */
	uint32_t leaf_len;
	struct trust_hash issuer;/* of the leaf */
	struct trust_hash key;   /* the leaf's */
	struct tls_trust *trust; /* by which it got in, or was judged last */
	struct tls_verified *verified; /* signatures to be remembered when the handshake is complete; NULL: none */
	uint8_t n_known, n_verified;   /* signatures over certificates: remembered, verified */
	uint8_t n_above;
	int verify_error;        /* what the verify callback refused */
	uint8_t cause;           /* enum tls_cause */
	bool part_whole, started, up, failed, closed, reading;
};

/* The cause behind a wolfSSL error code of a server's connection. */
enum tls_cause tls_cause_of(int wolf_error);
/* "unknown ca" and the like, for an alert's description byte; never NULL. */
const char *tls_alert_text(int description);

/* The usual name of a suite that wolfSSL calls wolf_name; "" for NULL. */
const char *tls_suite_name(const char *wolf_name);

/* Where reading files says what is wrong. */
struct tls_failure { char *text; size_t cap; };
/* Writes it; always false. */
bool tls_fail(const struct tls_failure *f, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool tls_fail_wolf(const struct tls_failure *f, const char *key, const char *path, int code);

/* Authorities, revocation lists and pins that o names: into cas, which then verifies certificates, and into trust, which is complete then.
 * past: authorities that have expired are not left out, for certificates that are judged as of an earlier time. tls_load.c. */
bool tls_load_trust(WOLFSSL_CERT_MANAGER *cas, struct tls_trust *trust, const struct tls_options *o, bool past, const struct tls_failure *f);
/* What wolfSSL takes for the time, once tls_init has told it so. */
time_t tls_load_clock(time_t *t);

/* Certificates of certfile: what is odd is told, and when the first of them ends is noted. wolfSSL has accepted the file. */
bool tls_load_own_dates(struct tls_ctx *ctx, const struct tls_options *o, const struct tls_failure *f);

/* tls_conn.c, tls_peer.c: what the context is given to call. */
int tls_conn_recv(WOLFSSL *ssl, char *buf, int size, void *arg);
int tls_conn_send(WOLFSSL *ssl, char *buf, int size, void *arg);
int tls_conn_verify(int ok, WOLFSSL_X509_STORE_CTX *store);
/* tls_signature.c: what verifies signatures from now on; then what becomes of those that a handshake has verified (k may be NULL). */
void tls_signature_use(WOLFSSL_CTX *w);
/* Is the leaf, of any version of X.509, signed by an authority of the context, and in force? */
bool tls_signature_vouches(struct tls_conn *c, const struct cert *leaf) MUST_CHECK;
void tls_signature_keep(struct tls_conn *c, struct tls_known *k);
void tls_signature_forget(struct tls_conn *c);
/* A detail of why it fails, for the log; the first one stays. */
void tls_conn_note(struct tls_conn *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
