/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Certificates for the tests of crypto/: real ones by the openssl command line, made once per run in a temporary directory, and
 * crafted ones (NUL in the CN, v1 with extensions, …) built here byte by byte and signed with the same CA's key. */
#ifndef TESTS_UNIT_CRYPTO_PKI_H
#define TESTS_UNIT_CRYPTO_PKI_H

#include "crypto/keys.h"
#include "tests/unit/base/folder.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char pki_dir[FOLDER_MAX];

static const char pki_script[] =
	"set -eu; cd \"$1\"; exec 2>openssl.log\n"
	"ec() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; }\n"
	"req() { openssl req -new -key $1.key -out $1.csr -subj \"$2\"; }\n"
	"ca() { ec $1; openssl req -x509 -new -key $1.key -out $1.crt -days 30 -subj \"$2\" -addext keyUsage=critical,keyCertSign,cRLSign; }\n"
	/* sign NAME ISSUER EXTENSIONS-FILE */
	"sign() { openssl x509 -req -in $1.csr -CA $2.crt -CAkey $2.key -CAcreateserial -out $1.crt -days 5 -sha256 ${3:+-extfile $3}; }\n"
	"ca ca '/CN=Test CA'; ca other '/CN=Other CA'; ca twin '/CN=Test CA'\n"
	"openssl genrsa -out rsaca.key 2048; openssl req -x509 -new -key rsaca.key -out rsaca.crt -days 30 -subj '/CN=RSA CA'\n"
	"echo 'extendedKeyUsage=clientAuth' >client.ext; echo 'extendedKeyUsage=serverAuth' >server.ext\n"
	"printf 'basicConstraints=critical,CA:TRUE\\nkeyUsage=critical,keyCertSign,cRLSign\\nsubjectKeyIdentifier=hash\\n' >inter.ext\n"
	"printf 'extendedKeyUsage=clientAuth\\nkeyUsage=critical,keyEncipherment\\nsubjectKeyIdentifier=hash\\n' >nosign.ext\n"
	"for n in server good stranger wrongeku v1 v1twin v1other v1revoked revoked inter viainter deep1 deep2 deep3 deep4 nosign imposter strangereku\n"
	"do ec $n; req $n \"/O=Acme/CN=$n\"; done\n"
	"openssl genrsa -out rsa.key 2048; req rsa /CN=rsa; openssl genrsa -out rsa1024.key 1024; req rsa1024 /CN=rsa1024\n"
	"req other /CN=stranger; sign server ca server.ext; sign good ca client.ext; sign rsa ca client.ext; sign rsa1024 ca client.ext\n"
	"ec ofrsa; req ofrsa /CN=ofrsa; sign ofrsa rsaca client.ext; cat ofrsa.crt rsaca.crt >ofrsa.pem; cat ca.crt rsaca.crt >ecrsa.pem\n"
	"sign stranger other client.ext; sign imposter twin client.ext; sign strangereku other server.ext; sign wrongeku ca server.ext; sign nosign ca nosign.ext\n"
	"sign v1 ca; sign v1twin twin; sign v1other other; sign v1revoked ca; sign revoked ca client.ext\n"
	"sign inter ca inter.ext; sign viainter inter client.ext; cat viainter.crt inter.crt >viainter.pem\n"
	"sign deep1 ca inter.ext; sign deep2 deep1 inter.ext; sign deep3 deep2 inter.ext; sign deep4 deep3 client.ext\n"
	"cat good.crt ca.crt >goodca.pem\n"
	"cat deep4.crt deep3.crt deep2.crt deep1.crt ca.crt >deep4.pem\n"
	"printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index\\ndefault_md=sha256\\ndefault_crl_days=30\\n' >crl.cnf; : >index\n"
	"crl() { openssl ca -config crl.cnf -gencrl -keyfile $1.key -cert $1.crt -out $2.crl; }\n"
	"crl inter inter; crl ca empty; for n in revoked v1revoked; do openssl ca -config crl.cnf -keyfile ca.key -cert ca.crt -revoke $n.crt; done\n"
	"crl ca ca; openssl ca -config crl.cnf -keyfile ca.key -cert ca.crt -revoke inter.crt; crl ca interrevoked\n"
	"openssl ca -config crl.cnf -gencrl -keyfile ca.key -cert ca.crt -out stale.crl -crl_lastupdate 20200101000000Z -crl_nextupdate 20200201000000Z\n"
	"cat stale.crl ca.crl >stalenew.crl; cp crl.cnf delta.cnf; printf 'crl_extensions=x\\n[x]\\n2.5.29.27=critical,DER:020101\\n' >>delta.cnf\n"
	"openssl ca -config delta.cnf -gencrl -keyfile ca.key -cert ca.crt -out delta.crl\n"
	/* by `ca`, the one command that takes dates */
	"printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index\\ndefault_md=sha256\\nnew_certs_dir=.\\nrand_serial=yes\\npolicy=p\\n[p]\\nCN=supplied\\n' >dated.cnf\n"
	"old='-batch -notext -startdate 20200101000000Z -enddate 20200201000000Z'; ec old; req old '/CN=Old CA'\n"
	"openssl ca -config dated.cnf -selfsign -keyfile old.key -in old.csr -extfile inter.ext -out old.crt $old; cat old.crt ca.crt >oldcas.pem\n"
	"ec ofold; req ofold /CN=ofold; openssl ca -config dated.cnf -keyfile old.key -cert old.crt -in ofold.csr -extfile client.ext -out ofold.crt"
	" -batch -notext -startdate 20200102000000Z -enddate 20400101000000Z\n"
	"openssl ca -config dated.cnf -keyfile ca.key -cert ca.crt -in good.csr -extfile client.ext -out ended.crt $old\n"
	"ec viagood; req viagood /CN=viagood; sign viagood good client.ext; cat viagood.crt good.crt >viagood.pem\n"
	"cat ca.crt good.crt >leafcas.pem; { cat ca.crl; head -n 5 ca.crl; echo; head -n 5 ca.crt; } >cut.pem\n"
	"for n in good rsa; do openssl pkey -in $n.key -pubout -outform DER -out $n.pub; done\n"
	"cat ca.crl inter.crl >both.crl; cp interrevoked.crl interrevoked1.crl; cat inter.crl interrevoked1.crl >interrevoked.crl; cat ca.crt inter.crt >cas.pem; for n in good nosign ca v1; do openssl x509 -in $n.crt -outform DER -out $n.der; done\n";

static inline const char *pki_path(const char *name)
{
	static char paths[8][128];
	static unsigned next;
	char *p = paths[next++ % 8];
	snprintf(p, sizeof paths[0], "%s/%s", pki_dir, name);
	return p;
}

static inline void pki_remove(void)
{
	folder_remove(pki_dir);
}

/* Ends the program when it cannot make them: no test is worth anything then. */
static inline void pki_create(void)
{
	char cmd[sizeof pki_script + 128];
	folder_make(pki_dir);
	FILE *f = fopen(pki_path("make.sh"), "we");
	if (!f || fputs(pki_script, f) == EOF || fclose(f) != 0) {
		perror(pki_dir);
		exit(2);
	}
	snprintf(cmd, sizeof cmd, "sh %s/make.sh %s >/dev/null", pki_dir, pki_dir);
	if (system(cmd) != 0) {
		snprintf(cmd, sizeof cmd, "tail -n 20 %s/openssl.log >&2", pki_dir);
		(void)!system(cmd);
		exit(2);
	}
	atexit(pki_remove);
}

static inline size_t pki_read(const char *name, uint8_t *buf, size_t cap)
{
	FILE *f = fopen(pki_path(name), "re");
	size_t n = f ? fread(buf, 1, cap, f) : 0;
	if (f)
		fclose(f);
	return n;
}

/* The key pair <name>.crt and <name>.key, for keypair_free. Also called outside of tests: ends the program when there is none. */
static inline struct keypair *pki_keypair(const char *name)
{
	uint8_t cert[8192], key[8192];
	char file[64];
	struct keypair *k = NULL;
	snprintf(file, sizeof file, "%s.crt", name);
	size_t cert_len = pki_read(file, cert, sizeof cert);
	snprintf(file, sizeof file, "%s.key", name);
	if (keypair_new(&k, cert, cert_len, key, pki_read(file, key, sizeof key)) == ERR_OK)
		return k;
	fprintf(stderr, "%s: not a key pair\n", pki_path(name));
	exit(2);
}

/* ---- crafted certificates */

struct bytes { uint8_t b[4096]; size_t n; };

static inline void put(struct bytes *o, const void *p, size_t n)
{
	if (n > sizeof o->b - o->n)
		abort();
	memcpy(o->b + o->n, p, n);
	o->n += n;
}

/* Appends tag, length, content. */
static inline void put_tlv(struct bytes *o, uint8_t tag, const void *p, size_t n)
{
	uint8_t head[4] = { tag };
	size_t h = 2;
	if (n < 0x80) {
		head[1] = (uint8_t)n;
	} else if (n < 0x100) {
		head[1] = 0x81, head[2] = (uint8_t)n, h = 3;
	} else {
		head[1] = 0x82, head[2] = (uint8_t)(n >> 8), head[3] = (uint8_t)n, h = 4;
	}
	put(o, head, h);
	put(o, p, n);
}

static inline void put_nested(struct bytes *o, uint8_t tag, const struct bytes *in)
{
	put_tlv(o, tag, in->b, in->n);
}

/* One relative distinguished name {CN = value}, appended to the content of a Name. */
static inline void put_cn(struct bytes *name, uint8_t type, const void *value, size_t len)
{
	struct bytes pair = { .n = 0 }, seq = { .n = 0 }, set = { .n = 0 };
	put_tlv(&pair, 0x06, "\x55\x04\x03", 3);
	put_tlv(&pair, type, value, len);
	put_nested(&seq, 0x30, &pair);
	put_nested(&set, 0x31, &seq);
	put(name, set.b, set.n);
}

struct craft {
	const struct bytes *names;  /* content of the subject Name */
	int version;                /* as written, 0 is v1; -1: left out */
	long from_s, to_s;          /* validity, seconds from now */
	int with_eku;               /* extensions: extendedKeyUsage clientAuth */
	const char *issuer_key;     /* file of the signing key */
};

static inline void put_time(struct bytes *o, long from_now_s)
{
	time_t t = time(NULL) + from_now_s;
	struct tm tm;
	char text[32];
	strftime(text, sizeof text, "%Y%m%d%H%M%SZ", gmtime_r(&t, &tm));
	/* UTCTime until 2049 [RFC 5280 4.1.2.5] */
	put_tlv(o, 0x17, text + 2, 13);
}

static inline void pki_ec_key(const char *file, ecc_key *key)
{
	uint8_t pem[2048], der[512];
	word32 idx = 0;
	size_t n = pki_read(file, pem, sizeof pem);
	int len = wc_KeyPemToDer(pem, (int)n, der, sizeof der, NULL);
	if (wc_ecc_init(key) != 0 || len <= 0 || wc_EccPrivateKeyDecode(der, &idx, key, (word32)len) != 0)
		abort();
}

/* A certificate issued by "Test CA" for the key in subject_key; appends its DER to out. */
static inline void pki_craft(struct bytes *out, const struct craft *c, const char *subject_key)
{
	static const uint8_t alg[] = { 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02 }; /* ecdsa-with-SHA256 */
	static const uint8_t eku[] = { 0x30, 0x15, 0x30, 0x13, 0x06, 0x03, 0x55, 0x1d, 0x25, 0x04, 0x0c, 0x30, 0x0a, 0x06, 0x08, 0x2b,
	                               0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02 };
	struct bytes tbs = { .n = 0 }, part = { .n = 0 }, cert = { .n = 0 };
	uint8_t spki[256], digest[32], sig[128];
	word32 sig_len = sizeof sig;
	ecc_key key;
	WC_RNG rng;
	if (c->version >= 0) {
		put_tlv(&part, 0x02, &(uint8_t){ (uint8_t)c->version }, 1);
		put_nested(&tbs, 0xa0, &part);
	}
	put_tlv(&tbs, 0x02, "\x11\x22\x33", 3);
	put(&tbs, alg, sizeof alg);
	part.n = 0;
	put_cn(&part, 0x0c, "Test CA", 7);
	put_nested(&tbs, 0x30, &part);
	part.n = 0;
	put_time(&part, c->from_s);
	put_time(&part, c->to_s);
	put_nested(&tbs, 0x30, &part);
	put_nested(&tbs, 0x30, c->names);
	pki_ec_key(subject_key, &key);
	int n = wc_EccPublicKeyToDer(&key, spki, sizeof spki, 1);
	wc_ecc_free(&key);
	if (n <= 0)
		abort();
	put(&tbs, spki, (size_t)n);
	if (c->with_eku)
		put_tlv(&tbs, 0xa3, eku, sizeof eku);
	put_nested(&cert, 0x30, &tbs);
	put(&cert, alg, sizeof alg);
	pki_ec_key(c->issuer_key, &key);
	if (wc_Sha256Hash(cert.b, (word32)(cert.n - sizeof alg), digest) != 0 || wc_InitRng(&rng) != 0 ||
	    wc_ecc_sign_hash(digest, sizeof digest, sig + 1, &(word32){ sizeof sig - 1 }, &rng, &key) != 0)
		abort();
	sig[0] = 0; /* unused bits of the BIT STRING */
	sig_len = 1 + 2u + sig[2];
	wc_FreeRng(&rng);
	wc_ecc_free(&key);
	put_tlv(&cert, 0x03, sig, sig_len);
	put_nested(out, 0x30, &cert);
}

#endif
