/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libsealmq's handle: opening, closing, and what it says about itself. */
#include "client/lib_int.h"

#include "base/clock.h"
#include "base/random.h"
#include "base/secmem.h"
#include "base/textbytes.h"
#include "base/textfile.h"
#include "base/version.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <unistd.h>

#define WINDOWS_DEFAULT 65536u
#define WANTED_MAX (TOPIC_MAX + 16u)

static once_flag once = ONCE_FLAG_INIT;

/* wolfCrypt's allocator, process-wide within the library. */
static void init_once(void)
{
	(void)!tls_init(); /* what it could not set up fails where it is used */
}

const char *sealmq_version(void)
{
	return VERSION_NUMBER;
}

const char *sealmq_err_text(enum sealmq_err e)
{
	switch (e) {
	case SEALMQ_OK: return "no error";
	case SEALMQ_NOMEM: return "out of memory";
	case SEALMQ_INVALID: return "invalid argument";
	case SEALMQ_ROOM: return "the output buffer is too small";
	case SEALMQ_FILE: return "a file cannot be used";
	case SEALMQ_FORKED: return "the handle belongs to the parent process";
	case SEALMQ_NOT_SEALED: return "not a sealed message";
	case SEALMQ_NEED_KEYS: return "no key for this topic and epoch";
	case SEALMQ_NEED_CERT: return "the sender's certificate is not known";
	case SEALMQ_REFUSED: return "refused";
	}
	return "unknown error";
}

const char *sealmq_verdict_text(enum sealmq_verdict v)
{
	switch (v) {
	case SEALMQ_LIVE: return "live";
	case SEALMQ_LATE: return "late";
	case SEALMQ_PAST: return "past";
	case SEALMQ_DUPLICATE: return "duplicate";
	case SEALMQ_REVOKED_SINCE: return "revoked-since";
	}
	return "unknown";
}

/* ---- for the other files */

enum sealmq_err lib_enter(struct sealmq *h)
{
	if (h->pid != (long)getpid())
		return SEALMQ_FORKED;
	h->reason = "";
	h->wanted[0] = '\0';
	return SEALMQ_OK;
}

enum sealmq_err lib_refuse(struct sealmq *h, const char *why)
{
	h->reason = why;
	return SEALMQ_REFUSED;
}

enum sealmq_err lib_invalid(struct sealmq *h, const char *why)
{
	h->reason = why;
	return SEALMQ_INVALID;
}

enum sealmq_err lib_want_keys(struct sealmq *h, const char *topic)
{
	snprintf(h->wanted, WANTED_MAX, "$KEYS/%s", topic);
	return SEALMQ_NEED_KEYS;
}

enum sealmq_err lib_want_cert(struct sealmq *h, const uint8_t fingerprint[static COSE_SENDER_LEN])
{
	char text[2 * COSE_SENDER_LEN + 1];
	*hex_put(text, fingerprint, COSE_SENDER_LEN) = '\0';
	snprintf(h->wanted, WANTED_MAX, "$CERTS/sha256/%s", text);
	return SEALMQ_NEED_CERT;
}

enum sealmq_err lib_of_err(struct sealmq *h, enum err e)
{
	if (e == ERR_OK)
		return SEALMQ_OK;
	if (e == ERR_NOMEM)
		return SEALMQ_NOMEM;
	return lib_refuse(h, err_text(e));
}

uint64_t lib_wall_ms(const struct sealmq *h)
{
	return h->has_clock ? clock_wall_ms() : 0;
}

/* ---- opening */

struct failure { char *text; size_t cap; };

PRINTF_LIKE(3, 4) static enum sealmq_err fail(const struct failure *f, enum sealmq_err e, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(f->text, f->cap, fmt, ap);
	va_end(ap);
	return e;
}

static enum sealmq_err read_file(const char *what, const char *path, char **text, size_t *len, const struct failure *f)
{
	char *line = NULL;
	size_t line_len = 0;
	if (!path)
		return fail(f, SEALMQ_FILE, "no %s given", what);
	FILE *messages = open_memstream(&line, &line_len);
	*text = textfile_read(path, len, messages);
	if (messages)
		(void)fclose(messages);
	if (!*text)
		fail(f, SEALMQ_FILE, "%s %.*s", what, (int)strcspn(line ? line : path, "\n"), line ? line : path);
	free(line);
	return *text ? SEALMQ_OK : SEALMQ_FILE;
}

static enum sealmq_err load_identity(struct sealmq *h, const struct sealmq_options *o, const struct failure *f)
{
	char *cert = NULL, *key = NULL;
	size_t cert_len = 0, key_len = 0;
	enum sealmq_err e = read_file("certificate", o->certfile, &cert, &cert_len, f);
	if (e == SEALMQ_OK)
		e = read_file("key", o->keyfile, &key, &key_len, f);
	enum err made = e == SEALMQ_OK ? keypair_new(&h->key, cert, cert_len, key, key_len) : ERR_OK;
	if (made == ERR_NOMEM)
		e = fail(f, SEALMQ_NOMEM, "out of memory");
	else if (made != ERR_OK)
		e = fail(f, SEALMQ_FILE, "%s, %s: expected a PEM certificate and its unencrypted key, RSA of 2048 to 4096 bits or P-256", o->certfile, o->keyfile);
	free(cert);
	if (key)
		secmem_wipe(key, key_len);
	free(key);
	return e;
}

static enum sealmq_err name_identity(struct sealmq *h, const struct sealmq_options *o, const struct failure *f)
{
	const char *why;
	struct der cn;
	if (cert_common_name(keypair_cert(h->key), &cn, &why) != ERR_OK)
		return fail(f, SEALMQ_FILE, "%s: %s", o->certfile, why);
	memcpy(h->cn, cn.p, der_len(cn)); /* at most IDENTITY_CN_MAX, the rest is zero */
	cert_fingerprint(keypair_cert(h->key), h->fingerprint);
	return SEALMQ_OK;
}

static enum sealmq_err open_parts(struct sealmq *h, const struct sealmq_options *o, const struct failure *f)
{
	char why[256];
	enum sealmq_err e = load_identity(h, o, f);
	if (e == SEALMQ_OK)
		e = name_identity(h, o, f);
	if (e != SEALMQ_OK)
		return e;
	if (!o->cafile)
		return fail(f, SEALMQ_FILE, "no cafile given: who may be trusted?");
	h->trust = trust_new(&(struct tls_options){ .cafile = o->cafile, .crlfile = o->crlfile }, why, sizeof why);
	if (!h->trust)
		return fail(f, SEALMQ_FILE, "%s", why);
	h->cafile = strdup(o->cafile);
	h->crlfile = o->crlfile ? strdup(o->crlfile) : NULL;
	h->wanted = malloc(WANTED_MAX);
	h->ring = keyring_new(h->fingerprint);
	h->replay = replay_new(o->windows_max ? o->windows_max : WINDOWS_DEFAULT);
	h->cache = secmem_alloc(CONTENT_KEYS * sizeof *h->cache);
	if (!h->cafile || (o->crlfile && !h->crlfile) || !h->wanted || !h->ring || !h->replay || !h->cache)
		return fail(f, SEALMQ_NOMEM, "out of memory");
	h->has_clock = !o->no_clock;
	random_bytes(&h->hash, sizeof h->hash);
	stream_start(&h->stream);
	return SEALMQ_OK;
}

static void destroy(struct sealmq *h)
{
	lib_peers_free(h);
	trust_free(h->trust);
	lib_lists_free(h);
	keyring_free(h->ring);
	replay_free(h->replay);
	keypair_free(h->key);
	secmem_free(h->cache);
	free(h->cafile);
	free(h->crlfile);
	free(h->wanted);
	free(h);
}

enum sealmq_err sealmq_open_member(struct sealmq **out, const struct sealmq_options *o, char *error, size_t error_len)
{
	const struct failure f = { error, error_len };
	call_once(&once, init_once);
	struct sealmq *h = calloc(1, sizeof *h);
	if (!h)
		return fail(&f, SEALMQ_NOMEM, "out of memory");
	h->pid = (long)getpid();
	h->reason = "";
	enum sealmq_err e = open_parts(h, o, &f);
	if (e == SEALMQ_OK)
		*out = h;
	else
		destroy(h);
	return e;
}

void sealmq_close(struct sealmq *h)
{
	if (h && h->pid == (long)getpid()) /* the parent's keys are not here to be wiped */
		destroy(h);
}

enum sealmq_err sealmq_reload(struct sealmq *h, char *error, size_t error_len)
{
	enum sealmq_err e = lib_enter(h);
	if (e != SEALMQ_OK)
		return e;
	struct trust *now = trust_new(&(struct tls_options){ .cafile = h->cafile, .crlfile = h->crlfile }, error, error_len);
	if (!now)
		return SEALMQ_FILE;
	trust_free(h->trust);
	h->trust = now;
	lib_peers_forget_judgement(h);
	return SEALMQ_OK;
}

/* ---- what it says */

const char *sealmq_cn(const struct sealmq *h)
{
	return h->cn;
}

void sealmq_fingerprint(const struct sealmq *h, uint8_t out[32])
{
	memcpy(out, h->fingerprint, sizeof h->fingerprint);
}

const char *sealmq_reason(const struct sealmq *h)
{
	return h->reason;
}

const char *sealmq_wanted(const struct sealmq *h)
{
	return h->wanted;
}

size_t sealmq_windows(const struct sealmq *h)
{
	return replay_windows(h->replay);
}
