/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What sealing costs, on one core: messages, signatures, envelopes, stored records. `make bench-formats` prints it. Keys: tests/vectors. */
#include "bench/measure.h"
#include "crypto/cose.h"
#include "crypto/envelope.h"
#include "crypto/keyset.h"
#include "crypto/record.h"

#include "base/secmem.h"
#include "tests/vectors/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char topic[] = "plant/line1/temperature";
enum { TOPIC_LEN = sizeof topic - 1 };

static struct keypair *ec, *rsa;
static uint8_t topic_key[32], content_key[32], plain[1024], out[ENVELOPE_MAX], back[ENVELOPE_MAX];
static size_t out_len, plain_len;
static struct cose_head head = { .kid = "kid-kid", .stream = "stream0", .time_ms = 1795173342000 };
static struct keypair *signer;
static char *keys_json;
static size_t keys_len;
static struct record_boot boot;

/* Runs f for half a second of CPU: calls per CPU-second. */
static double rate(void (*f)(void))
{
	double start = cpu_s(), used;
	long n = 0, batch = 1;
	do {
		for (long i = 0; i < batch; i++)
			f();
		n += batch;
		used = cpu_s() - start;
		if (used < 0.05)
			batch *= 2;
	} while (used < 0.5);
	return (double)n / used;
}

static struct keypair *load(const char *name)
{
	struct keypair *k = vectors_load_keypair(name);
	need(k != NULL);
	return k;
}

static void seal(void)
{
	head.seq++;
	need(cose_seal(&head, topic, TOPIC_LEN, content_key, plain, plain_len, signer, out, &out_len) == ERR_OK);
}

static void open_it(void)
{
	struct cose m;
	const char *why;
	need(cose_parse(&m, out, out_len, &why) == ERR_OK);
	need(!signer || cose_verify(&m, topic, TOPIC_LEN, keypair_cert(signer), keypair_public(signer), &why) == ERR_OK);
	need(cose_open(&m, topic, TOPIC_LEN, content_key, back) == ERR_OK);
}

static void messages(const char *name, struct keypair *by)
{
	static const size_t lens[] = { 64, 256, 1024 };
	uint8_t fp[32];
	signer = by;
	cert_fingerprint(keypair_cert(by ? by : ec), fp);
	memcpy(head.sender, fp, sizeof head.sender);
	cose_content_key(topic_key, topic, TOPIC_LEN, &head, content_key);
	for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
		plain_len = lens[i];
		double sealed = rate(seal), opened = rate(open_it);
		printf("%-22s %5zu B  seal %9.0f/s  open %9.0f/s  overhead %zu B\n", name, lens[i], sealed, opened, out_len - lens[i]);
	}
}

static void make_envelope(void)
{
	need(envelope_seal(ec, keypair_cert(rsa), keypair_public(rsa), keys_json, keys_len, out, &out_len) == ERR_OK);
}

/* What an envelope is made of besides: the key for its recipient, and its issuer's signature. */
static void wrap_key(void)
{
	need(keys_wrap(ec, keypair_public(rsa), topic_key, out) == ERR_OK);
}

static void sign_hash(void)
{
	size_t n;
	need(keypair_sign(ec, SIG_CMS, topic_key, out, &n) == ERR_OK);
}

static void open_envelope(void)
{
	struct envelope e;
	const char *why;
	size_t n;
	need(envelope_parse(&e, out, out_len, &why) == ERR_OK && envelope_verify(&e, keypair_cert(ec), keypair_public(ec), &why) == ERR_OK &&
	     envelope_open(&e, rsa, back, &n, &why) == ERR_OK);
}

static void store_record(void)
{
	need(record_seal(&boot, topic_key, topic, TOPIC_LEN, "head", 4, plain, 256, out) == ERR_OK);
}

static void derive(void)
{
	need(keytree_topic(topic_key, "", 0, topic, TOPIC_LEN, back) == ERR_OK);
}

int main(void)
{
	struct keyset_entry e = { .filter = topic, .filter_len = TOPIC_LEN, .space = "", .epoch = 1, .mode = SEAL_BROKER, .issued_s = 1795173342 };
	ec = load("ec");
	rsa = load("rsa");
	record_boot_init(&boot);
	need(keyset_format(&e, 1, &keys_json, &keys_len) == ERR_OK);
	messages("unsigned", NULL);
	messages("ES256", ec);
	messages("PS256 (RSA-2048)", rsa);
	double envelopes = rate(make_envelope);
	printf("envelopes, P-256 issuer, RSA-2048 recipient: %.0f/s, %zu B each; 10,000 members: %.2f s\n", envelopes, out_len, 10000 / envelopes);
	double wraps = rate(wrap_key), signs = rate(sign_hash);
	printf("of each %.1f µs: RSA-2048 OAEP %.1f, P-256 signature %.1f, all else %.1f\n", 1e6 / envelopes, 1e6 / wraps, 1e6 / signs,
	       1e6 / envelopes - 1e6 / wraps - 1e6 / signs);
	/* wrap_key and sign_hash have written to out */
	make_envelope();
	printf("envelopes verified and opened: %.0f/s\n", rate(open_envelope));
	printf("stored records of 256 B: %.0f/s\n", rate(store_record));
	printf("topic keys, three levels below the root: %.0f/s\n", rate(derive));
	secmem_free(keys_json);
	keypair_free(ec);
	keypair_free(rsa);
	return 0;
}
