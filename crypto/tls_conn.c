/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One TLS connection over memory. It belongs to whichever loop owns its connection: one thread at a time.
 *
 * wolfSSL is fed whole records only. The tail of an unfinished one waits in a block that grows with what has really arrived, so a
 * peer that announces 16 KiB and sends five bytes costs five bytes, and wolfSSL keeps no buffer between calls. */
#include "crypto/tls_int.h"

#include "base/pool.h"

#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	RECORD_HEADER = 5,
	RECORD_WIRE_MAX = RECORD_HEADER + 16384 + 2048, /* TLS 1.2's limit; 1.3's is lower */
	RECORD_HANDSHAKE = 22,                          /* content type */
	BACKLOG_MAX = 4096,                             /* bytes of unsent answers; a flood of key updates ends here */
	RECORD_GROWTH_MAX = 29,                         /* TLS 1.2: header 5, nonce 8, tag 16; 1.3: 22 */
};

/* ---- ciphertext in */

static size_t record_size(const uint8_t *header)
{
	return RECORD_HEADER + ((size_t)header[3] << 8 | header[4]);
}

static bool part_append(struct tls_conn *c, size_t n)
{
	if (n > c->part_cap - c->part_len) {
		size_t cap = c->part_len + n > 2 * (size_t)c->part_cap ? c->part_len + n : 2 * (size_t)c->part_cap;
		uint8_t *p = pool_realloc(c->part, cap);
		if (!p)
			return false;
		c->part = p;
		c->part_cap = (uint32_t)cap; /* at most twice RECORD_WIRE_MAX */
	}
	memcpy(c->part + c->part_len, c->io->in, n);
	c->part_len += (uint32_t)n;
	c->io->in += n;
	c->io->in_len -= n;
	return true;
}

static void part_drop(struct tls_conn *c)
{
	pool_free(c->part);
	c->part = NULL;
	c->part_len = c->part_cap = c->part_fed = 0;
	c->part_whole = false;
}

/* Adds to the unfinished record; true when it is whole. */
static bool part_grow(struct tls_conn *c, bool *nomem)
{
	struct tls_io *io = c->io;
	if (c->part_len < RECORD_HEADER) {
		size_t want = RECORD_HEADER - c->part_len, n = want < io->in_len ? want : io->in_len;
		*nomem = !part_append(c, n);
		if (*nomem || c->part_len < RECORD_HEADER)
			return false;
	}
	size_t size = record_size(c->part);
	if (size > RECORD_WIRE_MAX)
		return true; /* the header is enough for wolfSSL to refuse it */
	size_t want = size - c->part_len, n = want < io->in_len ? want : io->in_len;
	*nomem = !part_append(c, n);
	return !*nomem && c->part_len == size;
}

/* Makes the next record available to tls_conn_recv; false when io->in does not finish one. */
static bool next_record(struct tls_conn *c, bool *nomem)
{
	struct tls_io *io = c->io;
	*nomem = false;
	if (c->part_whole || c->direct_left)
		return true;
	if (c->part_len == 0 && io->in_len >= RECORD_HEADER) {
		size_t size = record_size(io->in);
		if (size > RECORD_WIRE_MAX)
			size = RECORD_HEADER;
		if (io->in_len >= size) {
			c->direct_left = (uint32_t)size;
			return true;
		}
	}
	if (io->in_len == 0)
		return false;
	c->part_whole = part_grow(c, nomem);
	return c->part_whole;
}

int tls_conn_recv(WOLFSSL *ssl, char *buf, int size, void *arg)
{
	struct tls_conn *c = arg;
	bool nomem;
	(void)ssl;
	if (size <= 0)
		return WOLFSSL_CBIO_ERR_GENERAL;
	if (!c->io || !next_record(c, &nomem)) {
		if (c->io && nomem) {
			c->cause = TLS_CAUSE_NOMEM;
			return WOLFSSL_CBIO_ERR_GENERAL;
		}
		return WOLFSSL_CBIO_ERR_WANT_READ;
	}
	size_t n = (size_t)size;
	if (c->part_whole) {
		size_t left = c->part_len - c->part_fed;
		n = n < left ? n : left;
		memcpy(buf, c->part + c->part_fed, n);
		c->part_fed += (uint32_t)n;
		if (c->part_fed == c->part_len)
			part_drop(c);
	} else {
		n = n < c->direct_left ? n : c->direct_left;
		memcpy(buf, c->io->in, n);
		c->io->in += n;
		c->io->in_len -= n;
		c->direct_left -= (uint32_t)n;
	}
	return (int)n;
}

/* ---- ciphertext out */

static size_t room(const struct tls_io *io)
{
	return io->out_cap - io->out_len;
}

/* Takes everything, always: after a WANT_WRITE wolfSSL must be called again with the same bytes, which our callers cannot promise.
 * Output of the caller's own calls fits by contract. What reading brings forth (answers to key updates, an alert) waits for the next
 * write or close: before its next data is early enough for an answer [RFC 8446 4.6.3]. */
int tls_conn_send(WOLFSSL *ssl, char *buf, int size, void *arg)
{
	struct tls_conn *c = arg;
	(void)ssl;
	if (size < 0)
		return WOLFSSL_CBIO_ERR_GENERAL;
	size_t n = (size_t)size;
	if (c->io && !c->reading && c->backlog_len == 0 && room(c->io) >= n) {
		memcpy(c->io->out + c->io->out_len, buf, n);
		c->io->out_len += n;
		return size;
	}
	uint8_t *p = n <= BACKLOG_MAX - c->backlog_len ? pool_realloc(c->backlog, c->backlog_len + n) : NULL;
	if (!p)
		return WOLFSSL_CBIO_ERR_GENERAL;
	memcpy(p + c->backlog_len, buf, n);
	c->backlog = p;
	c->backlog_len += (uint32_t)n;
	return size;
}

static void flush_backlog(struct tls_conn *c, struct tls_io *io)
{
	if (c->backlog_len == 0 || room(io) < c->backlog_len)
		return;
	memcpy(io->out + io->out_len, c->backlog, c->backlog_len);
	io->out_len += c->backlog_len;
	pool_free(c->backlog);
	c->backlog = NULL;
	c->backlog_len = 0;
}

/* ---- failing */

void tls_conn_note(struct tls_conn *c, const char *fmt, ...)
{
	char text[TLS_DETAIL_MAX];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n < 0 || c->detail)
		return;
	size_t len = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
	c->detail = pool_alloc(len + 1);
	if (!c->detail)
		return; /* the cause alone is logged */
	memcpy(c->detail, text, len);
	c->detail[len] = '\0';
}

static enum tls_status fail_with(struct tls_conn *c, enum tls_cause cause)
{
	c->failed = true;
	c->io = NULL;
	tls_signature_forget(c);
	if (c->cause == TLS_CAUSE_NONE)
		c->cause = (uint8_t)cause;
	return TLS_FAILED;
}

static enum tls_status fail_wolf(struct tls_conn *c, int error)
{
	WOLFSSL_ALERT_HISTORY alerts;
	int code = c->verify_error ? c->verify_error : error;
	if (code == FATAL_ERROR && wolfSSL_get_alert_history(c->ssl, &alerts) == WOLFSSL_SUCCESS)
		tls_conn_note(c, "alert %d: %s", alerts.last_rx.code, tls_alert_text(alerts.last_rx.code));
	else
		tls_conn_note(c, "wolfSSL %d: %s", code, wolfSSL_ERR_reason_error_string((unsigned long)code));
	return fail_with(c, tls_cause_of(code));
}

/* ---- the interface */

struct tls_conn *tls_conn_new(struct tls_ctx *ctx)
{
	struct tls_conn *c = pool_alloc(sizeof *c);
	if (!c)
		return NULL;
	memset(c, 0, sizeof *c);
	c->ssl = wolfSSL_new(ctx->wolf);
	if (!c->ssl) {
		pool_free(c);
		return NULL;
	}
	c->ctx = tls_ctx_ref(ctx);
	c->trust = tls_trust_ref(ctx->trust);
	wolfSSL_SetIOReadCtx(c->ssl, c);
	wolfSSL_SetIOWriteCtx(c->ssl, c);
	wolfSSL_SetCertCbCtx(c->ssl, c);
	return c;
}

void tls_conn_free(struct tls_conn *c)
{
	if (!c)
		return;
	wolfSSL_free(c->ssl);
	tls_ctx_unref(c->ctx);
	tls_trust_unref(c->trust);
	identity_unref(c->id);
	pool_free(c->part);
	pool_free(c->backlog);
	pool_free(c->detail);
	pool_free(c->above);
	pool_free(c->leaf);
	tls_signature_forget(c);
	pool_free(c);
}

/* A TLS client's first byte announces a handshake record. Nothing else reaches wolfSSL. */
static bool is_plaintext(struct tls_conn *c, const struct tls_io *io)
{
	if (c->started || io->in_len == 0)
		return false;
	c->started = true;
	if (io->in[0] == RECORD_HANDSHAKE)
		return false;
	tls_conn_note(c, "first byte 0x%02x%s", io->in[0],
	           io->in[0] == 0x10 ? " (an MQTT CONNECT)" : io->in[0] >= 'A' && io->in[0] <= 'Z' ? " (HTTP?)" : "");
	return true;
}

enum tls_status tls_accept(struct tls_conn *c, struct tls_io *io)
{
	if (c->failed)
		return TLS_FAILED;
	if (c->up)
		return TLS_DONE;
	if (is_plaintext(c, io))
		return fail_with(c, TLS_CAUSE_PLAINTEXT);
	c->io = io;
	int rc = wolfSSL_accept(c->ssl);
	c->io = NULL;
	if (rc == WOLFSSL_SUCCESS) {
		if (!c->id) /* cannot happen: a certificate is required and the callback has seen it */
			return fail_with(c, TLS_CAUSE_NO_CERTIFICATE);
		c->up = true;
		tls_signature_keep(c, io->known);
		return TLS_DONE;
	}
	int error = wolfSSL_get_error(c->ssl, rc);
	if (error == WOLFSSL_ERROR_ZERO_RETURN)
		tls_conn_note(c, "alert 0: %s", tls_alert_text(0));
	return error == WOLFSSL_ERROR_WANT_READ ? TLS_WANT_READ : fail_wolf(c, error);
}

static enum tls_status read_records(struct tls_conn *c, const struct tls_io *io, uint8_t *buf, size_t cap, size_t *len)
{
	while (cap - *len >= TLS_RECORD_MAX) {
		size_t n = cap - *len < INT_MAX ? cap - *len : INT_MAX;
		int rc = wolfSSL_read(c->ssl, buf + *len, (int)n);
		if (rc > 0) {
			*len += (size_t)rc;
			continue;
		}
		int error = wolfSSL_get_error(c->ssl, rc);
		if (error == WOLFSSL_ERROR_WANT_READ)
			return TLS_WANT_READ;
		if (error != WOLFSSL_ERROR_ZERO_RETURN)
			return fail_wolf(c, error);
		c->closed = true;
		return TLS_CLOSED;
	}
	/* The buffer is full; a caller whose input is used up need not ask again. */
	return io->in_len == 0 && !c->part_whole && wolfSSL_pending(c->ssl) == 0 ? TLS_WANT_READ : TLS_DONE;
}

enum tls_status tls_read(struct tls_conn *c, struct tls_io *io, uint8_t *buf, size_t cap, size_t *len)
{
	*len = 0;
	if (c->failed)
		return TLS_FAILED;
	if (c->closed)
		return TLS_CLOSED;
	if (!c->up)
		return fail_with(c, TLS_CAUSE_PROTOCOL);
	c->io = io;
	c->reading = true;
	enum tls_status s = read_records(c, io, buf, cap, len);
	c->reading = false;
	c->io = NULL;
	return s;
}

enum tls_status tls_write(struct tls_conn *c, struct tls_io *io, const uint8_t *buf, size_t len)
{
	if (c->failed)
		return TLS_FAILED;
	if (!c->up)
		return fail_with(c, TLS_CAUSE_PROTOCOL);
	flush_backlog(c, io);
	size_t records = len / TLS_RECORD_MAX + (len % TLS_RECORD_MAX != 0);
	if (len > INT_MAX || c->backlog_len > 0 || room(io) < records * RECORD_GROWTH_MAX || room(io) - records * RECORD_GROWTH_MAX < len) {
		tls_conn_note(c, "no room for the ciphertext of %zu bytes", len);
		return fail_with(c, TLS_CAUSE_PROTOCOL);
	}
	if (len == 0)
		return TLS_DONE;
	c->io = io;
	int rc = wolfSSL_write(c->ssl, buf, (int)len);
	c->io = NULL;
	return rc == (int)len ? TLS_DONE : fail_wolf(c, wolfSSL_get_error(c->ssl, rc));
}

void tls_close(struct tls_conn *c, struct tls_io *io)
{
	if (!c->up)
		return;
	flush_backlog(c, io); /* also the alert of a failed tls_read */
	if (c->failed)
		return;
	c->io = io;
	(void)wolfSSL_shutdown(c->ssl); /* sends close_notify the first time; the peer's answer is not waited for */
	c->io = NULL;
}

struct tls_signatures tls_conn_signatures(const struct tls_conn *c)
{
	return (struct tls_signatures){ c->n_known, c->n_verified };
}

enum tls_cause tls_conn_cause(const struct tls_conn *c)
{
	return (enum tls_cause)c->cause;
}

const char *tls_conn_detail(const struct tls_conn *c)
{
	return c->detail ? c->detail : "";
}

struct identity *tls_conn_identity(const struct tls_conn *c)
{
	return c->up ? c->id : NULL;
}

const struct identity *tls_conn_claimed(const struct tls_conn *c)
{
	return c->id;
}

bool tls_conn_partial(const struct tls_conn *c)
{
	return c->part_len > 0;
}

uint8_t *tls_conn_take_leaf(struct tls_conn *c, size_t *len)
{
	uint8_t *leaf = c->up ? c->leaf : NULL;
	*len = leaf ? c->leaf_len : 0;
	if (leaf)
		c->leaf = NULL;
	return leaf;
}

const char *tls_conn_version(const struct tls_conn *c)
{
	return wolfSSL_get_version(c->ssl);
}

const char *tls_conn_cipher(const struct tls_conn *c)
{
	return tls_suite_name(wolfSSL_get_cipher_name(c->ssl));
}
