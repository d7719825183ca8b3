/* SPDX-License-Identifier: GPL-3.0-or-later */
/* TLS over memory: context, connection, and who the peer is. The only door to wolfSSL's SSL layer.
 * No socket is touched here: the caller puts received bytes in and takes bytes to send out. */
#ifndef CRYPTO_TLS_H
#define CRYPTO_TLS_H

#include "base/err.h"
#include "base/identity.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_RECORD_MAX 16384u       /* plain bytes in one record */
#define TLS_RECORD_OVERHEAD 64u     /* at most this many more bytes on the wire, per record */
#define TLS_FLIGHT_MAX 65536u       /* room that tls_accept needs in io->out */

/* Once, before threads start: library, allocators (base/pool). */
enum err tls_init(void) MUST_CHECK;
void tls_cleanup(void);

/* A client whose name is pinned gets in with one of its pinned keys alone. */
struct tls_pin {
	const char *cn;
	uint8_t key[32];                /* SHA-256 of the SubjectPublicKeyInfo */
};

struct tls_options {
	const char *cafile, *capath;    /* PEM; at least one */
	const char *certfile, *keyfile; /* PEM; chain in certfile */
	const char *crlfile;            /* PEM, may hold lists of several issuers; NULL: revocation is not checked */
	bool crl_expired_ok;            /* a list past its end still says who is revoked; else nobody of its issuer gets in */
	const struct tls_pin *pins;
	size_t n_pins;
	void (*warn)(void *arg, const char *text); /* what is odd in the files, and no error; NULL: nobody is told */
	void *warn_arg;
	const char *ciphers;            /* TLS 1.2 list, NULL: default (ECDHE with AES-GCM or ChaCha20 only) */
	const char *ciphers_tls13;      /* NULL: default */
	bool tls12;                     /* also accept 1.2; 1.3 always */
};

/* A server context that requires and verifies a client certificate; shared by all loops, immutable, refcounted.
 * On failure NULL, and error (error_len bytes) says which file and why, NUL-terminated. */
struct tls_ctx *tls_ctx_new(const struct tls_options *o, char *error, size_t error_len) MUST_CHECK;
struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx);
void tls_ctx_unref(struct tls_ctx *ctx);
/* Does nobody but the caller, who has a reference, have one? */
bool tls_ctx_unshared(const struct tls_ctx *ctx);

#define TLS_NAME_MAX 96 /* bytes of a name as text, its NUL included */

/* When something ends, and whose it is. */
struct tls_date {
	int64_t end_s;                  /* seconds since 1970; INT64_MAX: there is none */
	char name[TLS_NAME_MAX];        /* the CN, escaped */
};
struct tls_dates { struct tls_date own, authority, list; }; /* of several, the first to end (of one issuer's lists: the newest) */
const struct tls_dates *tls_ctx_dates(const struct tls_ctx *ctx);

/* A certificate on a revocation list. */
struct tls_revoked {
	char issuer[TLS_NAME_MAX];      /* its CN, escaped */
	uint8_t serial_len, serial[20]; /* big endian, no leading zeros; serial_len 0: longer than certificates may have */
};
/* What the lists of `now` name and those of `then` did not, each once: the first `most` of them into out. Returns how many there are in all.
 * Costs one walk over both. */
size_t tls_ctx_newly_revoked(const struct tls_ctx *then, const struct tls_ctx *now, struct tls_revoked *out, size_t most);

/* Signatures over certificates that completed handshakes have verified; a client that comes again with the same certificate saves the
 * broker a verification for each of its chain. Owned and used by one thread; contexts share it without knowing what another one has verified.
 * max: how many (116 bytes each, a little more than asked for at most). NULL when max is 0, or out of memory. */
struct tls_known *tls_known_new(size_t max) MUST_CHECK;
void tls_known_free(struct tls_known *k); /* NULL is fine */

/* Where a call reads ciphertext from and appends ciphertext to: the loop's buffers. */
struct tls_io {
	const uint8_t *in;   /* unread ciphertext; the call advances in and shrinks in_len */
	size_t in_len;
	uint8_t *out;        /* appended at out + out_len */
	size_t out_len, out_cap;
	struct tls_known *known; /* for tls_accept alone; NULL: every signature is verified */
};

/* Why a handshake or connection failed: one clear cause for the log. */
enum tls_cause {
	TLS_CAUSE_NONE = 0,
	TLS_CAUSE_EXPIRED, TLS_CAUSE_NOT_YET_VALID, TLS_CAUSE_UNKNOWN_CA, TLS_CAUSE_NO_CERTIFICATE, TLS_CAUSE_WRONG_EKU,
	TLS_CAUSE_BAD_CN, TLS_CAUSE_REVOKED, TLS_CAUSE_CRL_MISSING, TLS_CAUSE_CRL_EXPIRED, TLS_CAUSE_CA_EXPIRED, TLS_CAUSE_PIN,
	TLS_CAUSE_WEAK_KEY, TLS_CAUSE_CHAIN, TLS_CAUSE_BAD_CERTIFICATE, TLS_CAUSE_PLAINTEXT,
	TLS_CAUSE_VERSION, TLS_CAUSE_CIPHER, TLS_CAUSE_PEER_ALERT, TLS_CAUSE_NOMEM, TLS_CAUSE_PROTOCOL,
};
/* A sentence such as "certificate expired"; never NULL. */
const char *tls_cause_text(enum tls_cause c);

struct tls_conn;

/* Would the peer of c, which is up, still get in with `now`, a context made later from changed files? TLS_CAUSE_NONE (from then on it is
 * compared with that one), TLS_CAUSE_REVOKED (it or an intermediate is on a list), TLS_CAUSE_UNKNOWN_CA (its authority is gone) or
 * TLS_CAUSE_PIN. Judged from names, keys and serial numbers that the handshake left; dates and missing lists end no connection. The thread
 * that owns c. */
enum tls_cause tls_conn_recheck(struct tls_conn *c, const struct tls_ctx *now) MUST_CHECK;

enum tls_status {
	TLS_DONE = 0,
	TLS_WANT_READ,  /* io->in is used up */
	TLS_CLOSED,     /* the peer sent close_notify */
	TLS_FAILED,     /* tls_conn_cause tells; io->out may hold an alert to send */
};

struct tls_conn; /* moves between threads with its connection; one thread at a time */

struct tls_conn *tls_conn_new(struct tls_ctx *ctx) MUST_CHECK; /* NULL when out of memory; keeps a reference to ctx */
void tls_conn_free(struct tls_conn *c);

/* One step of the handshake with what io->in holds. TLS_DONE: complete, tls_conn_identity is set. io->out needs TLS_FLIGHT_MAX free. */
enum tls_status tls_accept(struct tls_conn *c, struct tls_io *io) MUST_CHECK;
/* Decrypts into buf (cap >= TLS_RECORD_MAX) until io->in is used up or less than TLS_RECORD_MAX of cap is left; *len bytes were written, whatever
 * is returned. TLS_DONE: buf is full, call again; TLS_WANT_READ: all consumed. Never writes to io->out: answers to key updates (at most 4 KiB,
 * or the connection fails) and an alert leave with the next tls_write or tls_close, in the slack of TLS_RECORD_OVERHEAD or more. */
enum tls_status tls_read(struct tls_conn *c, struct tls_io *io, uint8_t *buf, size_t cap, size_t *len) MUST_CHECK;
/* Encrypts all of buf as ceil(len / 16 KiB) records into io->out, which must have room (len + TLS_RECORD_OVERHEAD a record).
 * TLS_DONE or TLS_FAILED. */
enum tls_status tls_write(struct tls_conn *c, struct tls_io *io, const uint8_t *buf, size_t len) MUST_CHECK;
/* Appends a close_notify if the connection is up, or the alert that says why tls_read failed. */
void tls_close(struct tls_conn *c, struct tls_io *io);

/* Signatures over certificates of its handshake: taken from io->known, and verified (0 without it). */
struct tls_signatures { unsigned known, verified; };
struct tls_signatures tls_conn_signatures(const struct tls_conn *c);
enum tls_cause tls_conn_cause(const struct tls_conn *c);
/* A detail for the log ("wolfSSL -155", the bad CN's escaped text …) or "". */
const char *tls_conn_detail(const struct tls_conn *c);
/* The verified peer; borrowed; NULL before TLS_DONE of tls_accept. */
struct identity *tls_conn_identity(const struct tls_conn *c);
/* After a failed handshake: whom the certificate that was sent names, if it was readable; nothing of it was proven. Borrowed; NULL: nobody. */
const struct identity *tls_conn_claimed(const struct tls_conn *c);
/* Has a record begun that is not complete? */
bool tls_conn_partial(const struct tls_conn *c);
/* The verified peer's certificate in DER, *len bytes, once after TLS_DONE of tls_accept: the caller's, for pool_free. NULL: taken already, or out
 * of memory. */
uint8_t *tls_conn_take_leaf(struct tls_conn *c, size_t *len);
const char *tls_conn_version(const struct tls_conn *c); /* "TLSv1.3" */
const char *tls_conn_cipher(const struct tls_conn *c);

#endif
