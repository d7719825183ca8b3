/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What wolfSSL keeps on the heap for a connection, counted in bytes asked for: little when idle, and nothing that a record left. */
#include "crypto/tls.h"

#include "base/pool.h"
#include "tests/unit/base/suite.h"
#include "tests/unit/crypto/tls_peer.h"

/* The tuned build needs 2,272 for TLS 1.3 and 2,490 for 1.2; Debian's own binary would need forty times as much. */
#define IDLE_MAX 2500u

static size_t live; /* bytes that the server's calls asked for and that are not yet freed */

struct block { size_t size; bool server; }; /* keeps what follows aligned to 16 */

static void *count_alloc(size_t size)
{
	struct block *b = malloc(sizeof *b + size);
	if (!b)
		return NULL;
	*b = (struct block){ size, tls_serving };
	live += tls_serving ? size : 0;
	return b + 1;
}

static void count_free(void *p)
{
	struct block *b = p;
	if (!b)
		return;
	live -= b[-1].server ? b[-1].size : 0;
	free(b - 1);
}

static void *count_realloc(void *p, size_t size)
{
	struct block *b = p;
	void *fresh = count_alloc(size);
	if (!fresh || !b)
		return fresh;
	memcpy(fresh, b, b[-1].size < size ? b[-1].size : size);
	count_free(p);
	return fresh;
}

static struct tls_ctx *ctx;
static struct tls_conn *conn;
static struct peer peer;

static void begin(WOLFSSL_METHOD *method, const char *name, const char *chain)
{
	struct tls_options o = pki_options();
	ctx = context(&o);
	peer_open(&peer, method, name, chain, NULL);
	live = 0;
	tls_serving = true;
	conn = tls_conn_new(ctx);
	tls_serving = false;
	ck_assert_int_eq(handshake(conn, &peer, 0), TLS_DONE);
}

static void end(void)
{
	tls_conn_free(conn);
	ck_assert_uint_eq(live, 0);
	tls_ctx_unref(ctx);
	peer_close(&peer);
}

/* Feeds what the peer has sent, all but the last keep bytes; returns how many plain bytes came out. */
static size_t read_but(size_t keep)
{
	static uint8_t buf[65536], out[256];
	size_t n = 0, len = peer.to_server.n - peer.to_server.at - keep;
	struct tls_io io = { .in = peer.to_server.b + peer.to_server.at, .in_len = len, .out = out, .out_cap = sizeof out };
	tls_serving = true;
	ck_assert_int_eq(tls_read(conn, &io, buf, sizeof buf, &n), TLS_WANT_READ);
	tls_serving = false;
	peer.to_server.at += len;
	return n;
}

START_TEST(an_idle_connection_is_small)
{
	static const struct { const char *name, *chain; bool tls13; } in[] = {
		{ "good", "good.crt", true }, { "rsa", "rsa.crt", true }, { "v1", "v1.crt", true }, { "good", "good.crt", false },
	};
	for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
		begin(in[i].tls13 ? wolfTLSv1_3_client_method() : wolfTLSv1_2_client_method(), in[i].name, in[i].chain);
		printf("%s, %s: %zu bytes by wolfSSL\n", tls_conn_version(conn), in[i].name, live);
		ck_assert_uint_le(live, IDLE_MAX);
		end();
	}
}
END_TEST

START_TEST(records_leave_no_buffer_behind)
{
	static uint8_t data[30000], out[32000];
	begin(wolfTLSv1_3_client_method(), "good", "good.crt");
	size_t idle = live;
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(wolfSSL_write(peer.ssl, data, sizeof data), sizeof data);
		ck_assert_uint_eq(read_but(0), sizeof data);
		ck_assert_uint_eq(live, idle);
		struct tls_io io = { .out = out, .out_cap = sizeof out };
		tls_serving = true;
		ck_assert_int_eq(tls_write(conn, &io, data, sizeof data), TLS_DONE);
		tls_serving = false;
		ck_assert_uint_eq(live, idle);
	}
	end();
}
END_TEST

/* The unfinished record waits in our block, which holds what has arrived; wolfSSL has seen nothing of it. */
START_TEST(an_unfinished_record_costs_wolfssl_nothing)
{
	static uint8_t data[16384];
	begin(wolfTLSv1_3_client_method(), "good", "good.crt");
	size_t idle = live;
	ck_assert_int_eq(wolfSSL_write(peer.ssl, data, sizeof data), sizeof data);
	size_t total = peer.to_server.n - peer.to_server.at;
	ck_assert_uint_eq(read_but(total - 5), 0);
	ck_assert_uint_eq(live, idle);
	ck_assert_uint_eq(read_but(1), 0);
	ck_assert_uint_eq(live, idle);
	ck_assert_uint_eq(read_but(0), sizeof data);
	ck_assert_uint_eq(live, idle);
	end();
}
END_TEST

int main(void)
{
	if (tls_init() != ERR_OK || wolfSSL_SetAllocators(count_alloc, count_free, count_realloc) != 0)
		return 2;
	pki_create();
	Suite *s = suite_create("tls_memory");
	TCase *t = tcase_create("all");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, an_idle_connection_is_small);
	tcase_add_test(t, records_leave_no_buffer_behind);
	tcase_add_test(t, an_unfinished_record_costs_wolfssl_nothing);
	suite_add_tcase(s, t);
	int failed = run_suite(s);
	pool_drain();
	return failed;
}
