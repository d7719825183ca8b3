/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is read from PEM files: authorities and revocation lists, of a context or of a struct trust, and what the broker's own certificate
 * says. One thread, at the start and at each reload. */
#include "crypto/tls_int.h"

#include "base/clock.h"

#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define PEM_FILE_MAX (64u << 20) /* bytes */

static const char label_cert[] = "CERTIFICATE", label_list[] = "X509 CRL";

bool tls_fail(const struct tls_failure *f, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (f->cap)
		vsnprintf(f->text, f->cap, fmt, ap);
	va_end(ap);
	return false;
}

bool tls_fail_wolf(const struct tls_failure *f, const char *key, const char *path, int code)
{
	return tls_fail(f, "%s %s: %s (wolfSSL %d)", key, path, wolfSSL_ERR_reason_error_string((unsigned long)code), code);
}

PRINTF_LIKE(2, 3) static void warn(const struct tls_options *o, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	if (!o->warn)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	o->warn(o->warn_arg, text);
}

static int64_t wall_s(void) { return (int64_t)(clock_wall_ms() / 1000); }

static const char *day_of(int64_t time_s, char out[static 16])
{
	struct tm tm;
	time_t t = (time_t)time_s;
	if (!gmtime_r(&t, &tm) || !strftime(out, 16, "%Y-%m-%d", &tm))
		memcpy(out, "?", 2);
	return out;
}

/* ---- PEM */

/* The whole file, NUL-terminated; the caller frees. */
static char *read_file(const struct tls_failure *f, const char *key, const char *path)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	long size = 0;
	if (!file) {
		tls_fail(f, "%s %s: %s", key, path, strerror(errno));
		return NULL;
	}
	if (fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0 || (unsigned long)size > PEM_FILE_MAX ||
	    fseek(file, 0, SEEK_SET) != 0)
		tls_fail(f, "%s %s: not a readable file of at most %u bytes", key, path, PEM_FILE_MAX);
	else if (!(text = malloc((size_t)size + 1)))
		tls_fail(f, "%s %s: out of memory", key, path);
	else if (fread(text, 1, (size_t)size, file) != (size_t)size) {
		tls_fail(f, "%s %s: %s", key, path, errno ? strerror(errno) : "it became shorter while it was read");
		free(text);
		text = NULL;
	} else
		text[size] = '\0';
	fclose(file);
	return text;
}

struct reading {
	struct tls_ctx *ctx;               /* whose own certificate it is */
	WOLFSSL_CERT_MANAGER *cas;         /* verifies certificates */
	struct tls_trust *trust;           /* what is being filled */
	bool past;                         /* authorities whose time is over are wanted too */
	WOLFSSL_CERT_MANAGER *lists;       /* verifies revocation lists; NULL: there are none */
	const struct tls_options *o;
	const struct tls_failure *f;
	const char *key, *path;
	unsigned n;                        /* which block of the file */
	unsigned taken;                    /* in all files */
};

/* Hands over the DER of each block of that label; false when one was refused, or is cut short. */
static bool each_block(struct reading *r, const char *text, const char *label, int type, bool (*take)(struct reading *r, struct der der))
{
	char begin[40], end[40];
	(void)snprintf(begin, sizeof begin, "-----BEGIN %s-----", label);
	(void)snprintf(end, sizeof end, "-----END %s-----", label);
	r->n = 0;
	for (const char *p = strstr(text, begin), *stop; p; p = strstr(stop, begin)) {
		DerBuffer *der = NULL;
		r->n++;
		stop = strstr(p, end);
		if (!stop)
			return tls_fail(r->f, "%s %s: block %u is cut short", r->key, r->path, r->n);
		stop += strlen(end);
		int rc = wc_PemToDer((const unsigned char *)p, stop - p, type, &der, NULL, NULL, NULL);
		bool good = rc == 0 ? take(r, der_of(der->buffer, der->length))
		                    : tls_fail(r->f, "%s %s: block %u is not PEM (wolfSSL %d)", r->key, r->path, r->n, rc);
		wc_FreeDer(&der);
		if (!good)
			return false;
	}
	return true;
}

/* ---- authorities */

/* wolfSSL refuses to load what is past its end, an authority as well as a list. What a list says is still true, and what an authority signed in
 * its time was good then; what follows from their age is decided when a certificate is judged. So they are loaded as of a time of theirs. */
static _Thread_local time_t clock_s; /* 0: the real time */

time_t tls_load_clock(time_t *t)
{
	time_t now = clock_s ? clock_s : (time_t)wall_s();
	if (t)
		*t = now;
	return now;
}

/* An authority whose time is over, or has not come, is left out: it must not keep the others from being used. */
static bool is_its_time(const struct reading *r, const struct cert *c, const char *name)
{
	char day[16];
	int64_t now_s = wall_s();
	if (c->not_after_s < now_s && r->past)
		return true;
	if (c->not_after_s < now_s)
		warn(r->o, "%s %s: the CA '%s' expired on %s and is left out", r->key, r->path, name, day_of(c->not_after_s, day));
	else if (c->not_before_s > now_s)
		warn(r->o, "%s %s: the CA '%s' is valid from %s only and is left out", r->key, r->path, name, day_of(c->not_before_s, day));
	else
		return true;
	return false;
}

static bool take_authority(struct reading *r, struct der der)
{
	char name[TLS_NAME_MAX];
	struct cert c;
	if (cert_parse(&c, der.p, der_len(der)) != ERR_OK)
		return tls_fail(r->f, "%s %s: certificate %u is malformed", r->key, r->path, r->n);
	cert_show_name(name, sizeof name, c.subject);
	if (!c.is_ca)
		return tls_fail(r->f, "%s %s: certificate %u ('%s') is not a CA's", r->key, r->path, r->n, name);
	if (!is_its_time(r, &c, name))
		return true;
	if (c.not_after_s < wall_s())
		clock_s = (time_t)c.not_after_s;
	int rc = wolfSSL_CertManagerLoadCABuffer(r->cas, der.p, (long)der_len(der), WOLFSSL_FILETYPE_ASN1);
	if (rc == WOLFSSL_SUCCESS && r->lists)
		rc = wolfSSL_CertManagerLoadCABuffer(r->lists, der.p, (long)der_len(der), WOLFSSL_FILETYPE_ASN1);
	clock_s = 0;
	if (rc != WOLFSSL_SUCCESS)
		return tls_fail_wolf(r->f, r->key, r->path, rc);
	r->taken++;
	return tls_trust_add_authority(r->trust, &c) || tls_fail(r->f, "%s %s: out of memory", r->key, r->path);
}

static bool read_authorities(struct reading *r, const char *key, const char *path)
{
	char *text = read_file(r->f, key, path);
	if (!text)
		return false;
	r->key = key;
	r->path = path;
	bool good = each_block(r, text, label_cert, CERT_TYPE, take_authority);
	free(text);
	return good;
}

static bool read_directory(struct reading *r, const char *path)
{
	DIR *dir = opendir(path);
	if (!dir)
		return tls_fail(r->f, "capath %s: %s", path, strerror(errno));
	bool good = true;
	for (struct dirent *e; good && (e = readdir(dir));) {
		char file[4096 + sizeof e->d_name];
		struct stat st;
		(void)snprintf(file, sizeof file, "%.4095s/%s", path, e->d_name);
		if (stat(file, &st) == 0 && S_ISREG(st.st_mode))
			good = read_authorities(r, "capath", file);
	}
	closedir(dir);
	return good;
}

static bool load_authorities(struct reading *r)
{
	const struct tls_options *o = r->o;
	if (!o->cafile && !o->capath)
		return tls_fail(r->f, "cafile or capath is needed: clients are known by certificates");
	if ((o->cafile && !read_authorities(r, "cafile", o->cafile)) || (o->capath && !read_directory(r, o->capath)))
		return false;
	return r->taken > 0 || tls_fail(r->f, "%s %s: holds no PEM certificate of a CA that is valid now", o->cafile ? "cafile" : "capath",
	                                o->cafile ? o->cafile : o->capath);
}

/* ---- revocation lists */

static int verify_list(const struct reading *r, struct der der, int64_t made_s)
{
	clock_s = (time_t)made_s;
	int rc = wolfSSL_CertManagerLoadCRLBuffer(r->lists, der.p, (long)der_len(der), WOLFSSL_FILETYPE_ASN1);
	clock_s = 0;
	return rc;
}

static bool take_list(struct reading *r, struct der der)
{
	const char *why;
	int64_t made_s = 0;
	enum err e = tls_trust_add_list(r->trust, der, &made_s, &why);
	if (e != ERR_OK)
		return e == ERR_NOMEM ? tls_fail(r->f, "crlfile %s: out of memory", r->path)
		                      : tls_fail(r->f, "crlfile %s: list %u %s", r->path, r->n, why);
	int rc = verify_list(r, der, made_s);
	if (rc == ASN_CRL_NO_SIGNER_E)
		return tls_fail(r->f, "crlfile %s: list %u is signed by an authority that is not in cafile", r->path, r->n);
	if (rc != WOLFSSL_SUCCESS)
		return tls_fail_wolf(r->f, "crlfile", r->path, rc);
	r->taken++;
	return true;
}

static bool load_lists(struct reading *r, const char *path)
{
	if (wolfSSL_CertManagerEnableCRL(r->lists, WOLFSSL_CRL_CHECKALL) != WOLFSSL_SUCCESS)
		return tls_fail(r->f, "crlfile: revocation is not available");
	char *text = read_file(r->f, "crlfile", path);
	if (!text)
		return false;
	r->key = "crlfile";
	r->path = path;
	r->taken = 0;
	bool good = each_block(r, text, label_list, CRL_TYPE, take_list);
	free(text);
	return good && (r->taken > 0 || tls_fail(r->f, "crlfile %s: holds no PEM revocation list", path));
}

bool tls_load_trust(WOLFSSL_CERT_MANAGER *cas, struct tls_trust *trust, const struct tls_options *o, bool past, const struct tls_failure *f)
{
	struct reading r = { .cas = cas, .trust = trust, .past = past, .o = o, .f = f };
	bool good = true;
	if (o->crlfile && !(r.lists = wolfSSL_CertManagerNew()))
		return tls_fail(f, "crlfile: out of memory");
	good = load_authorities(&r) && (!r.lists || load_lists(&r, o->crlfile));
	for (size_t i = 0; good && i < o->n_pins; i++)
		good = tls_trust_add_pin(trust, &o->pins[i]) || tls_fail(f, "pin: out of memory");
	wolfSSL_CertManagerFree(r.lists); /* NULL is fine; the trust knows what the lists say */
	if (good)
		tls_trust_complete(trust, o->crlfile != NULL, o->crl_expired_ok);
	return good;
}

/* ---- the broker's own certificate */

static bool take_own(struct reading *r, struct der der)
{
	char day[16], name[TLS_NAME_MAX];
	struct cert c;
	if (cert_parse(&c, der.p, der_len(der)) != ERR_OK)
		return tls_fail(r->f, "certfile %s: certificate %u is malformed", r->path, r->n);
	cert_show_name(name, sizeof name, c.subject);
	int64_t now_s = wall_s();
	if (c.not_after_s < now_s)
		warn(r->o, "certfile %s: '%s' expired on %s: clients will refuse it", r->path, name, day_of(c.not_after_s, day));
	else if (c.not_before_s > now_s)
		warn(r->o, "certfile %s: '%s' is valid from %s only: clients will refuse it", r->path, name, day_of(c.not_before_s, day));
	if (r->n == 1 && !c.has_san)
		warn(r->o, "certfile %s: '%s' has no subjectAltName: most clients will refuse it", r->path, name);
	if (r->n == 1 && !c.for_servers)
		warn(r->o, "certfile %s: '%s' is not meant for TLS servers (extended key usage): most clients will refuse it", r->path, name);
	if (c.not_after_s < r->ctx->dates.own.end_s) {
		r->ctx->dates.own.end_s = c.not_after_s;
		memcpy(r->ctx->dates.own.name, name, sizeof name);
	}
	return true;
}

bool tls_load_own_dates(struct tls_ctx *ctx, const struct tls_options *o, const struct tls_failure *f)
{
	struct reading r = { .ctx = ctx, .o = o, .f = f, .key = "certfile", .path = o->certfile };
	char *text = read_file(f, "certfile", o->certfile);
	if (!text)
		return false;
	ctx->dates.own.end_s = INT64_MAX;
	bool good = each_block(&r, text, label_cert, CERT_TYPE, take_own);
	free(text);
	return good;
}
