/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The server context: own certificate, versions, cipher suites; trust is read by tls_load.c. Built once (at the start and at each reload),
 * then shared by all loops. */
#include "crypto/tls_int.h"

#include "base/pool.h"
#include "base/random.h"

#include <wolfssl/wolfcrypt/asn_public.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN_DEPTH_MAX 4          /* certificates that a client may send, its own included */
#define RSA_BITS_MIN 2048
#define ECC_BITS_MIN 256

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

enum err tls_init(void)
{
	if (wolfSSL_SetAllocators(pool_alloc, pool_free, pool_realloc) != 0 || wolfSSL_Init() != WOLFSSL_SUCCESS ||
	    wc_SetTimeCb(tls_load_clock) != 0)
		return ERR_NOMEM;
	return ERR_OK;
}

void tls_cleanup(void)
{
	wolfSSL_Cleanup();
}

static bool readable(const struct tls_failure *f, const char *key, const char *path)
{
	FILE *file = fopen(path, "re");
	if (!file)
		return tls_fail(f, "%s %s: %s", key, path, strerror(errno));
	fclose(file);
	return true;
}

/* Appends the suites of one colon-separated list (NULL: all of that version), in their order, to list. */
static bool append_suites(const struct tls_failure *f, char *list, const char *key, const char *wanted, bool tls13)
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
			return tls_fail(f, "%s: '%.*s' is unknown, or not allowed here (only ECDHE with AES-GCM or ChaCha20-Poly1305 is)",
			            key, (int)(n < 64 ? n : 64), p);
		if (len + strlen(suites[i].wolf) + 2 > SUITE_LIST_MAX)
			return tls_fail(f, "%s: too long", key);
		len += (size_t)snprintf(list + len, SUITE_LIST_MAX - len, "%s%s", len ? ":" : "", suites[i].wolf);
		p += n + (p[n] == ':');
	}
	return true;
}

static bool set_protocol(WOLFSSL_CTX *w, const struct tls_options *o, const struct tls_failure *f)
{
	char list[SUITE_LIST_MAX] = "";
	if (!append_suites(f, list, "ciphers_tls1.3", o->ciphers_tls13, true))
		return false;
	if (o->tls12 && !append_suites(f, list, "ciphers", o->ciphers, false))
		return false;
	if (o->tls12 && wolfSSL_CTX_SetMinVersion(w, WOLFSSL_TLSV1_2) != WOLFSSL_SUCCESS)
		return tls_fail(f, "TLS 1.2 is not available");
	if (wolfSSL_CTX_set_cipher_list(w, list) != WOLFSSL_SUCCESS)
		return tls_fail(f, "the cipher suites '%s' are not available", list);
	return true;
}

static bool load_own(WOLFSSL_CTX *w, const struct tls_options *o, const struct tls_failure *f)
{
	if (!o->certfile || !o->keyfile)
		return tls_fail(f, "certfile and keyfile are needed");
	if (!readable(f, "certfile", o->certfile) || !readable(f, "keyfile", o->keyfile))
		return false;
	int rc = wolfSSL_CTX_use_certificate_chain_file(w, o->certfile);
	if (rc != WOLFSSL_SUCCESS)
		return tls_fail_wolf(f, "certfile", o->certfile, rc);
	rc = wolfSSL_CTX_use_PrivateKey_file(w, o->keyfile, WOLFSSL_FILETYPE_PEM);
	if (rc != WOLFSSL_SUCCESS)
		return tls_fail_wolf(f, "keyfile", o->keyfile, rc);
	if (wolfSSL_CTX_check_private_key(w) != WOLFSSL_SUCCESS)
		return tls_fail(f, "keyfile %s: does not belong to the certificate in %s", o->keyfile, o->certfile);
	return true;
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

static bool set_up(struct tls_ctx *ctx, const struct tls_options *o, const struct tls_failure *f)
{
	WOLFSSL_CTX *w = ctx->wolf;
	disable_cache(w);
	wolfSSL_CTX_set_verify(w, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT, tls_conn_verify);
	wolfSSL_CTX_set_verify_depth(w, CHAIN_DEPTH_MAX);
	tls_signature_use(w);
	random_bytes(ctx->salt, sizeof ctx->salt);
	wolfSSL_CTX_SetIORecv(w, tls_conn_recv);
	wolfSSL_CTX_SetIOSend(w, tls_conn_send);
	if (!disable_tickets(w) || wolfSSL_CTX_mutual_auth(w, 1) != 0 || wolfSSL_CTX_SetMinRsaKey_Sz(w, RSA_BITS_MIN) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_SetMinEccKey_Sz(w, ECC_BITS_MIN) != WOLFSSL_SUCCESS)
		return tls_fail(f, "wolfSSL lacks a needed setting");
	if (!set_protocol(w, o, f) || !load_own(w, o, f) || !tls_load_own_dates(ctx, o, f) ||
	    !tls_load_trust(wolfSSL_CTX_GetCertManager(w), ctx->trust, o, false, f))
		return false;
	ctx->dates.authority = tls_trust_authority_end(ctx->trust);
	ctx->dates.list = tls_trust_list_end(ctx->trust);
	return true;
}

static void free_ctx(struct tls_ctx *ctx)
{
	if (!ctx)
		return;
	wolfSSL_CTX_free(ctx->wolf);
	tls_trust_unref(ctx->trust);
	free(ctx);
}

struct tls_ctx *tls_ctx_new(const struct tls_options *o, char *error, size_t error_len)
{
	const struct tls_failure f = { error, error_len };
	struct tls_ctx *ctx = calloc(1, sizeof *ctx);
	if (ctx)
		ctx->trust = tls_trust_new();
	if (ctx && ctx->trust)
		ctx->wolf = wolfSSL_CTX_new(o->tls12 ? wolfSSLv23_server_method() : wolfTLSv1_3_server_method());
	if (!ctx || !ctx->wolf)
		tls_fail(&f, "out of memory");
	if (!ctx || !ctx->wolf || !set_up(ctx, o, &f)) {
		free_ctx(ctx);
		return NULL;
	}
	atomic_init(&ctx->refs, 1);
	return ctx;
}

const struct tls_dates *tls_ctx_dates(const struct tls_ctx *ctx)
{
	return &ctx->dates;
}

size_t tls_ctx_newly_revoked(const struct tls_ctx *then, const struct tls_ctx *now, struct tls_revoked *out, size_t most)
{
	return tls_trust_newly_revoked(then->trust, now->trust, out, most);
}

struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx)
{
	atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
	return ctx;
}

bool tls_ctx_unshared(const struct tls_ctx *ctx)
{
	return atomic_load_explicit(&ctx->refs, memory_order_acquire) == 1;
}

void tls_ctx_unref(struct tls_ctx *ctx)
{
	if (!ctx || atomic_fetch_sub_explicit(&ctx->refs, 1, memory_order_acq_rel) != 1)
		return;
	free_ctx(ctx);
}
