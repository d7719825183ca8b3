/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What libsealmq costs, on one core, through its own functions, all checks included: `make bench-formats` prints it. Keys: tests/vectors. */
#include "bench/measure.h"
#include "client/sealmq.h"

#include "base/secmem.h"
#include "crypto/envelope.h"
#include "crypto/keyset.h"
#include "tests/vectors/keys.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char topic[] = "plant/line1/temperature";
enum { RING = 65536, SEALED_MAX = 1024 + 700 };

static struct sealmq *sender, *receiver;
static uint8_t plain[1024], back[1024], (*ring)[SEALED_MAX];
static size_t plain_len, lens[RING], ring_n;
static unsigned flags;

static struct keypair *load(const char *name)
{
	struct keypair *k = vectors_load_keypair(name);
	need(k != NULL);
	return k;
}

static struct sealmq *member(void)
{
	struct sealmq *h = NULL;
	char why[256];
	const struct sealmq_options o = { .certfile = "tests/vectors/rsa.crt", .keyfile = "tests/vectors/rsa.key", .cafile = "tests/vectors/ca.crt" };
	need(sealmq_open_member(&h, &o, why, sizeof why) == SEALMQ_OK);
	return h;
}

/* The same keys for both. */
static void give_keys(void)
{
	struct keypair *ec = load("ec"), *rsa = load("rsa");
	struct keyset_entry e = { .kid = "kid-kid", .key = "a key for plant and all below", .filter = "plant/#", .filter_len = 7, .space = "plant",
		.space_len = 5, .epoch = 1, .mode = SEAL_BROKER, .sign = SIGN_OPTIONAL, .issued_s = 1 };
	static uint8_t out[ENVELOPE_MAX];
	char *json;
	size_t json_len, len;
	cert_fingerprint(keypair_cert(ec), e.issuer);
	cert_fingerprint(keypair_cert(rsa), e.recipient);
	need(keyset_format(&e, 1, &json, &json_len) == ERR_OK);
	need(envelope_seal(ec, keypair_cert(rsa), keypair_public(rsa), json, json_len, out, &len) == ERR_OK);
	need(sealmq_take_keys(sender, topic, out, len) == SEALMQ_OK && sealmq_take_keys(receiver, topic, out, len) == SEALMQ_OK);
	secmem_free(json);
	keypair_free(ec);
	keypair_free(rsa);
}

/* Seals n messages, then opens them in order: each is new to the receiver. */
static void measure(const char *name, size_t len, unsigned sign, size_t n)
{
	double sealing = 0, opening = 0;
	plain_len = len;
	flags = sign;
	for (int round = 0; round < 4; round++) {
		double start = cpu_s();
		for (ring_n = 0; ring_n < n; ring_n++)
			need(sealmq_seal(sender, topic, plain, plain_len, flags, ring[ring_n], SEALED_MAX, &lens[ring_n]) == SEALMQ_OK);
		sealing += cpu_s() - start;
		start = cpu_s();
		for (size_t i = 0; i < n; i++) {
			struct sealmq_message m;
			need(sealmq_open(receiver, topic, ring[i], lens[i], 0, back, sizeof back, &m) == SEALMQ_OK && m.verdict == SEALMQ_LIVE);
		}
		opening += cpu_s() - start;
	}
	printf("libsealmq %-18s %5zu B  seal %9.0f/s  open %9.0f/s  overhead %zu B\n", name, len, 4 * (double)n / sealing, 4 * (double)n / opening,
	       lens[n - 1] - len);
}

int main(void)
{
	static const size_t sizes[] = { 64, 256, 1024 };
	ring = malloc(sizeof *ring * RING);
	need(ring != NULL);
	sender = member();
	receiver = member();
	give_keys();
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		measure("unsigned", sizes[i], 0, RING);
	measure("PS256 (RSA-2048)", 256, SEALMQ_SIGN, 500);
	sealmq_close(sender);
	sealmq_close(receiver);
	free(ring);
	return 0;
}
