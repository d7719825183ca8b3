/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The server context: trust, own certificate, revocation, versions, cipher suites. Built once (at start and at each reload, since
 * revocation lists loaded into a live context pile up), then shared by all loops. */
#include "crypto/tls_int.h"

#include "base/pool.h"

#include <wolfssl/wolfcrypt/error-crypt.h>

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CHAIN_DEPTH_MAX 4          /* certificates that a client may send, its own included */
#define RSA_BITS_MIN 2048
#define ECC_BITS_MIN 256
#define PEM_FILE_MAX (64u << 20)   /* bytes of a CRL file */

/* Only forward secrecy and authenticated encryption. Own order decides: the first that the client has too. */
static const struct suite { const char *name, *wolf; bool tls13; } suites[] = {
	{ "TLS_AES_256_GCM_SHA384", "TLS13-AES256-GCM-SHA384", true },
	{ "TLS_AES_128_GCM_SHA256", "TLS13-AES128-GCM-SHA256", true },
	{ "TLS_CHACHA20_POLY1305_SHA256", "TLS13-CHACHA20-POLY1305-SHA256", true },
	{ "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384", false },
	{ "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", false },
	{ "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256", false },
	{ "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", false },
	{ "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305", false },
	{ "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", false },
};
enum { SUITES = sizeof suites / sizeof suites[0], SUITE_LIST_MAX = 512 };

const char *tls_suite_name(const char *wolf_name)
{
	if (!wolf_name)
		return "";
	for (int i = 0; i < SUITES; i++)
		if (strcmp(suites[i].wolf, wolf_name) == 0)
			return suites[i].name;
	return wolf_name;
}

struct failure { char *text; size_t cap; };

PRINTF_LIKE(2, 3) static bool fail(const struct failure *f, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (f->cap)
		vsnprintf(f->text, f->cap, fmt, ap);
	va_end(ap);
	return false;
}

static bool fail_wolf(const struct failure *f, const char *key, const char *path, int code)
{
	return fail(f, "%s %s: %s (wolfSSL %d)", key, path, wolfSSL_ERR_reason_error_string((unsigned long)code), code);
}

enum err tls_init(void)
{
	if (wolfSSL_SetAllocators(pool_alloc, pool_free, pool_realloc) != 0 || wolfSSL_Init() != WOLFSSL_SUCCESS)
		return ERR_NOMEM;
	return ERR_OK;
}

void tls_cleanup(void)
{
	wolfSSL_Cleanup();
}

static bool readable(const struct failure *f, const char *key, const char *path)
{
	FILE *file = fopen(path, "re");
	if (!file)
		return fail(f, "%s %s: %s", key, path, strerror(errno));
	fclose(file);
	return true;
}

/* Appends the suites of one colon-separated list (NULL: all of that version), in their order, to list. */
static bool append_suites(const struct failure *f, char *list, const char *key, const char *wanted, bool tls13)
{
	size_t len = strlen(list);
	for (int i = 0; !wanted && i < SUITES; i++)
		if (suites[i].tls13 == tls13)
			len += (size_t)snprintf(list + len, SUITE_LIST_MAX - len, "%s%s", len ? ":" : "", suites[i].wolf);
	for (const char *p = wanted; p && *p;) {
		size_t n = strcspn(p, ":");
		int i = 0;
		while (i < SUITES && (suites[i].tls13 != tls13 || strlen(suites[i].name) != n || memcmp(p, suites[i].name, n) != 0))
			i++;
		if (i == SUITES)
			return fail(f, "%s: '%.*s' is unknown, or not allowed here (only ECDHE with AES-GCM or ChaCha20-Poly1305 is)",
			            key, (int)(n < 64 ? n : 64), p);
		if (len + strlen(suites[i].wolf) + 2 > SUITE_LIST_MAX)
			return fail(f, "%s: too long", key);
		len += (size_t)snprintf(list + len, SUITE_LIST_MAX - len, "%s%s", len ? ":" : "", suites[i].wolf);
		p += n + (p[n] == ':');
	}
	return true;
}

static bool set_protocol(WOLFSSL_CTX *w, const struct tls_options *o, const struct failure *f)
{
	char list[SUITE_LIST_MAX] = "";
	if (!append_suites(f, list, "ciphers_tls1.3", o->ciphers_tls13, true))
		return false;
	if (o->tls12 && !append_suites(f, list, "ciphers", o->ciphers, false))
		return false;
	if (o->tls12 && wolfSSL_CTX_SetMinVersion(w, WOLFSSL_TLSV1_2) != WOLFSSL_SUCCESS)
		return fail(f, "TLS 1.2 is not available");
	if (wolfSSL_CTX_set_cipher_list(w, list) != WOLFSSL_SUCCESS)
		return fail(f, "the cipher suites '%s' are not available", list);
	return true;
}

/* The whole file, NUL-terminated; the caller frees. */
static char *read_file(const struct failure *f, const char *key, const char *path)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	long size = 0;
	if (!file) {
		fail(f, "%s %s: %s", key, path, strerror(errno));
		return NULL;
	}
	if (fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0 || (unsigned long)size > PEM_FILE_MAX ||
	    fseek(file, 0, SEEK_SET) != 0)
		fail(f, "%s %s: not a readable file of at most %u bytes", key, path, PEM_FILE_MAX);
	else if (!(text = malloc((size_t)size + 1)))
		fail(f, "%s %s: out of memory", key, path);
	else if (fread(text, 1, (size_t)size, file) != (size_t)size) {
		fail(f, "%s %s: %s", key, path, strerror(errno));
		free(text);
		text = NULL;
	} else
		text[size] = '\0';
	fclose(file);
	return text;
}

/* Every certificate file of the directory; wolfSSL has loaded and judged them before. */
static bool remember_directory(struct tls_trust *t, const char *path, const struct failure *f)
{
	DIR *dir = opendir(path);
	bool good = dir != NULL;
	for (struct dirent *e; good && (e = readdir(dir));) {
		char file[4096 + sizeof e->d_name];
		const struct failure unread = { NULL, 0 };
		struct stat st;
		(void)snprintf(file, sizeof file, "%.4095s/%s", path, e->d_name);
		char *text = stat(file, &st) == 0 && S_ISREG(st.st_mode) ? read_file(&unread, "capath", file) : NULL;
		good = !text || tls_trust_add_authorities(t, text);
		free(text);
	}
	if (dir)
		closedir(dir);
	return good || fail(f, "capath %s: %s", path, dir ? "out of memory" : strerror(errno));
}

static bool remember_authorities(struct tls_trust *t, const struct tls_options *o, const struct failure *f)
{
	char *text = o->cafile ? read_file(f, "cafile", o->cafile) : NULL;
	if (o->cafile && !text)
		return false;
	bool good = !text || tls_trust_add_authorities(t, text) || fail(f, "cafile: out of memory");
	free(text);
	return good && (!o->capath || remember_directory(t, o->capath, f));
}

static bool load_trust(WOLFSSL_CTX *w, const struct tls_options *o, const struct failure *f)
{
	if (!o->cafile && !o->capath)
		return fail(f, "cafile or capath is needed: clients are known by certificates");
	if (o->cafile && !readable(f, "cafile", o->cafile))
		return false;
	int rc = wolfSSL_CTX_load_verify_locations_ex(w, o->cafile, o->capath, WOLFSSL_LOAD_FLAG_NONE);
	if (rc != WOLFSSL_SUCCESS)
		return fail_wolf(f, o->cafile ? "cafile" : "capath", o->cafile ? o->cafile : o->capath, rc);
	return true;
}

static bool load_own(WOLFSSL_CTX *w, const struct tls_options *o, const struct failure *f)
{
	if (!o->certfile || !o->keyfile)
		return fail(f, "certfile and keyfile are needed");
	if (!readable(f, "certfile", o->certfile) || !readable(f, "keyfile", o->keyfile))
		return false;
	int rc = wolfSSL_CTX_use_certificate_chain_file(w, o->certfile);
	if (rc != WOLFSSL_SUCCESS)
		return fail_wolf(f, "certfile", o->certfile, rc);
	rc = wolfSSL_CTX_use_PrivateKey_file(w, o->keyfile, WOLFSSL_FILETYPE_PEM);
	if (rc != WOLFSSL_SUCCESS)
		return fail_wolf(f, "keyfile", o->keyfile, rc);
	if (wolfSSL_CTX_check_private_key(w) != WOLFSSL_SUCCESS)
		return fail(f, "keyfile %s: does not belong to the certificate in %s", o->keyfile, o->certfile);
	return true;
}

/* Revocation is checked for every certificate of the chain; a CA without a current list fails closed. t (may be NULL) remembers
 * what is revoked. */
static bool load_revocation(WOLFSSL_CERT_MANAGER *m, struct tls_trust *t, const char *crlfile, const struct failure *f)
{
	static const char begin[] = "-----BEGIN X509 CRL-----", end[] = "-----END X509 CRL-----";
	if (!crlfile)
		return true;
	if (wolfSSL_CertManagerEnableCRL(m, WOLFSSL_CRL_CHECKALL) != WOLFSSL_SUCCESS)
		return fail(f, "crlfile: revocation is not available");
	char *text = read_file(f, "crlfile", crlfile);
	if (!text)
		return false;
	int rc = WOLFSSL_SUCCESS, lists = 0;
	for (char *p = strstr(text, begin); p && rc == WOLFSSL_SUCCESS; p = strstr(p, begin), lists++) {
		char *stop = strstr(p, end);
		if (!stop)
			break;
		stop += sizeof end - 1;
		rc = wolfSSL_CertManagerLoadCRLBuffer(m, (const unsigned char *)p, stop - p, WOLFSSL_FILETYPE_PEM);
		p = stop;
	}
	bool remembered = !t || tls_trust_add_lists(t, text);
	free(text);
	if (!remembered)
		return fail(f, "crlfile: out of memory");
	if (rc == ASN_CRL_NO_SIGNER_E)
		return fail(f, "crlfile %s: list %d is signed by an authority that is not in cafile", crlfile, lists);
	if (rc != WOLFSSL_SUCCESS)
		return fail_wolf(f, "crlfile", crlfile, rc);
	return lists > 0 || fail(f, "crlfile %s: holds no PEM revocation list", crlfile);
}

bool tls_load_authorities(WOLFSSL_CERT_MANAGER *m, const char *cafile, const char *crlfile, char *error, size_t error_len)
{
	const struct failure f = { error, error_len };
	if (!readable(&f, "cafile", cafile))
		return false;
	int rc = wolfSSL_CertManagerLoadCA(m, cafile, NULL);
	if (rc != WOLFSSL_SUCCESS)
		return fail_wolf(&f, "cafile", cafile, rc);
	return load_revocation(m, NULL, crlfile, &f);
}

/* A resumed session has no peer certificate and escapes revocation: neither tickets nor a cache. */
#ifdef HAVE_SESSION_TICKET
static bool disable_tickets(WOLFSSL_CTX *w)
{
	return wolfSSL_CTX_no_ticket_TLSv13(w) == 0 && wolfSSL_CTX_NoTicketTLSv12(w) == WOLFSSL_SUCCESS;
}
#else
static bool disable_tickets(WOLFSSL_CTX *w)
{
	(void)w;
	return true;
}
#endif

#ifndef NO_SESSION_CACHE
static void disable_cache(WOLFSSL_CTX *w)
{
	wolfSSL_CTX_set_session_cache_mode(w, WOLFSSL_SESS_CACHE_OFF);
}
#else
static void disable_cache(WOLFSSL_CTX *w)
{
	(void)w;
}
#endif

static bool set_up(WOLFSSL_CTX *w, struct tls_trust *t, const struct tls_options *o, const struct failure *f)
{
	disable_cache(w);
	wolfSSL_CTX_set_verify(w, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT, tls_conn_verify);
	wolfSSL_CTX_set_verify_depth(w, CHAIN_DEPTH_MAX);
	wolfSSL_CTX_SetIORecv(w, tls_conn_recv);
	wolfSSL_CTX_SetIOSend(w, tls_conn_send);
	if (!disable_tickets(w) || wolfSSL_CTX_mutual_auth(w, 1) != 0 || wolfSSL_CTX_SetMinRsaKey_Sz(w, RSA_BITS_MIN) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_SetMinEccKey_Sz(w, ECC_BITS_MIN) != WOLFSSL_SUCCESS)
		return fail(f, "wolfSSL lacks a needed setting");
	return set_protocol(w, o, f) && load_trust(w, o, f) && load_own(w, o, f) && remember_authorities(t, o, f) &&
	       load_revocation(wolfSSL_CTX_GetCertManager(w), t, o->crlfile, f);
}

static void free_ctx(struct tls_ctx *ctx)
{
	if (!ctx)
		return;
	wolfSSL_CTX_free(ctx->wolf);
	tls_trust_free(ctx->trust);
	free(ctx);
}

struct tls_ctx *tls_ctx_new(const struct tls_options *o, char *error, size_t error_len)
{
	const struct failure f = { error, error_len };
	struct tls_ctx *ctx = calloc(1, sizeof *ctx);
	if (ctx)
		ctx->trust = tls_trust_new();
	if (ctx && ctx->trust)
		ctx->wolf = wolfSSL_CTX_new(o->tls12 ? wolfSSLv23_server_method() : wolfTLSv1_3_server_method());
	if (!ctx || !ctx->wolf)
		fail(&f, "out of memory");
	if (!ctx || !ctx->wolf || !set_up(ctx->wolf, ctx->trust, o, &f)) {
		free_ctx(ctx);
		return NULL;
	}
	tls_trust_complete(ctx->trust);
	atomic_init(&ctx->refs, 1);
	return ctx;
}

struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx)
{
	atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
	return ctx;
}

void tls_ctx_unref(struct tls_ctx *ctx)
{
	if (!ctx || atomic_fetch_sub_explicit(&ctx->refs, 1, memory_order_acq_rel) != 1)
		return;
	free_ctx(ctx);
}
