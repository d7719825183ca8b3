/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Envelopes. Written back to front, so that every length is known when its header is written. wolfSSL's PKCS7 is not used: it has
 * PKCS#1 v1.5 key transport alone, and reads more than it should. Owns nothing. */
#include "crypto/envelope.h"

#include "base/pool.h"
#include "base/random.h"
#include "base/secmem.h"
#include "crypto/aead.h"
#include "crypto/hash.h"

#include <string.h>

static const uint8_t oid_data[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01 };
static const uint8_t oid_signed_data[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02 };
static const uint8_t oid_auth_enveloped[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x17 };
static const uint8_t oid_sha256[] = { 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01 };
static const uint8_t oid_oaep[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07 };
static const uint8_t oid_mgf1[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08 };
static const uint8_t oid_aes256_gcm[] = { 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2e };
static const uint8_t oid_rsa[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01 };
static const uint8_t oid_rsa_sha256[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b };
static const uint8_t oid_ecdsa_sha256[] = { 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02 };
static const uint8_t oid_content_type[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03 };
static const uint8_t oid_message_digest[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04 };

/* ---- writing */

struct writer { uint8_t *start, *p; }; /* written: p up to the buffer's end; the caller made the buffer large enough */

static void put(struct writer *w, const void *bytes, size_t len)
{
	if (len == 0)
		return;
	w->p -= len;
	memcpy(w->p, bytes, len);
}

static void put_tag_and_length(struct writer *w, unsigned tag, size_t len)
{
	if (len < 0x80) {
		*--w->p = (uint8_t)len;
	} else {
		uint8_t n = 0x80;
		for (; len > 0; len >>= 8, n++)
			*--w->p = (uint8_t)len;
		*--w->p = n;
	}
	*--w->p = (uint8_t)tag;
}

/* Puts the header of an element whose content reaches from w->p to end. */
static void put_header(struct writer *w, unsigned tag, const uint8_t *end)
{
	put_tag_and_length(w, tag, (size_t)(end - w->p));
}

static void put_element(struct writer *w, unsigned tag, const void *content, size_t len)
{
	uint8_t *end = w->p;
	put(w, content, len);
	put_header(w, tag, end);
}

static void put_version(struct writer *w, uint8_t v)
{
	put_element(w, DER_INTEGER, &v, 1);
}

/* AlgorithmIdentifier with NULL parameters or none. */
static void put_algorithm(struct writer *w, const uint8_t *oid, size_t oid_len, bool null)
{
	uint8_t *end = w->p;
	if (null)
		put_element(w, DER_NULL, NULL, 0);
	put_element(w, DER_OID, oid, oid_len);
	put_header(w, DER_SEQUENCE, end);
}

static void put_issuer_and_serial(struct writer *w, const struct cert *c)
{
	uint8_t *end = w->p;
	put(w, c->serial_whole.p, der_len(c->serial_whole));
	put(w, c->issuer.p, der_len(c->issuer));
	put_header(w, DER_SEQUENCE, end);
}

static void put_oaep(struct writer *w)
{
	uint8_t *end = w->p, *params = w->p;
	uint8_t *mgf = w->p;
	put_algorithm(w, oid_sha256, sizeof oid_sha256, true);
	put_element(w, DER_OID, oid_mgf1, sizeof oid_mgf1);
	put_header(w, DER_SEQUENCE, mgf);
	put_header(w, DER_CONTEXT_CONS(1), mgf);
	uint8_t *hash = w->p;
	put_algorithm(w, oid_sha256, sizeof oid_sha256, true);
	put_header(w, DER_CONTEXT_CONS(0), hash);
	put_header(w, DER_SEQUENCE, params);
	put_element(w, DER_OID, oid_oaep, sizeof oid_oaep);
	put_header(w, DER_SEQUENCE, end);
}

static void put_recipient(struct writer *w, const struct cert *c, const uint8_t *wrapped, size_t len)
{
	uint8_t *end = w->p;
	bool by_ski = !der_empty(c->ski);
	put_element(w, DER_OCTET_STRING, wrapped, len);
	put_oaep(w);
	if (by_ski)
		put_element(w, DER_CONTEXT(0), c->ski.p, der_len(c->ski));
	else
		put_issuer_and_serial(w, c);
	put_version(w, by_ski ? 2 : 0);
	put_header(w, DER_SEQUENCE, end);
	put_header(w, DER_SET, end);
}

/* ContentInfo { id-ct-authEnvelopedData, [0] AuthEnvelopedData } around what is sealed. */
static void put_inner(struct writer *w, const struct cert *recipient, const uint8_t *wrapped, size_t wrapped_len, const uint8_t *nonce,
                      const uint8_t *sealed, size_t len, const uint8_t *tag)
{
	uint8_t *end = w->p;
	put_element(w, DER_OCTET_STRING, tag, AEAD_TAG_LEN);
	uint8_t *info = w->p;
	put_element(w, DER_CONTEXT(0), sealed, len);
	uint8_t *alg = w->p;
	put_version(w, AEAD_TAG_LEN); /* icvlen; its default is 12 */
	put_element(w, DER_OCTET_STRING, nonce, AEAD_NONCE_LEN);
	put_header(w, DER_SEQUENCE, alg);
	put_element(w, DER_OID, oid_aes256_gcm, sizeof oid_aes256_gcm);
	put_header(w, DER_SEQUENCE, alg);
	put_element(w, DER_OID, oid_data, sizeof oid_data);
	put_header(w, DER_SEQUENCE, info);
	put_recipient(w, recipient, wrapped, wrapped_len);
	put_version(w, 0);
	put_header(w, DER_SEQUENCE, end);
	put_header(w, DER_CONTEXT_CONS(0), end);
	put_element(w, DER_OID, oid_auth_enveloped, sizeof oid_auth_enveloped);
	put_header(w, DER_SEQUENCE, end);
}

static void put_signer(struct writer *w, const struct cert *c, enum key_kind kind, const uint8_t *sig, size_t len)
{
	uint8_t *end = w->p;
	put_element(w, DER_OCTET_STRING, sig, len);
	if (kind == KEY_RSA)
		put_algorithm(w, oid_rsa_sha256, sizeof oid_rsa_sha256, true);
	else
		put_algorithm(w, oid_ecdsa_sha256, sizeof oid_ecdsa_sha256, false);
	put_algorithm(w, oid_sha256, sizeof oid_sha256, false);
	put_issuer_and_serial(w, c);
	put_version(w, 1);
	put_header(w, DER_SEQUENCE, end);
	put_header(w, DER_SET, end);
}

/* Puts what follows the signed content, or what precedes it: the content already stands at w->p in between. */
static void put_outer_head(struct writer *w, uint8_t *content_end, uint8_t *end)
{
	put_header(w, DER_OCTET_STRING, content_end);
	put_header(w, DER_CONTEXT_CONS(0), content_end);
	put_element(w, DER_OID, oid_data, sizeof oid_data);
	put_header(w, DER_SEQUENCE, content_end);
	uint8_t *digests = w->p;
	put_algorithm(w, oid_sha256, sizeof oid_sha256, false);
	put_header(w, DER_SET, digests);
	put_version(w, 1);
	put_header(w, DER_SEQUENCE, end);
	put_header(w, DER_CONTEXT_CONS(0), end);
	put_element(w, DER_OID, oid_signed_data, sizeof oid_signed_data);
	put_header(w, DER_SEQUENCE, end);
}

size_t envelope_size(const struct cert *issuer, const struct cert *recipient, size_t content_len)
{
	/* Names and the certificate, two signature-sized fields, and the headers and algorithms between them, generously. */
	return content_len + der_len(issuer->whole) + 2 * der_len(issuer->whole) + der_len(recipient->whole) + 2 * KEYS_SIGNATURE_MAX + 512;
}

/* Seals content under a fresh key, and that key under the recipient's: the inner ContentInfo, at the end of w. */
static enum err seal_inner(struct writer *w, struct keypair *rng, const struct cert *recipient, struct pubkey *key, const void *content, size_t len)
{
	uint8_t cek[AEAD_KEY_LEN], nonce[AEAD_NONCE_LEN], tag[AEAD_TAG_LEN], wrapped[KEYS_SIGNATURE_MAX];
	uint8_t *sealed = pool_alloc(len + 1);
	if (!sealed)
		return ERR_NOMEM;
	random_bytes(cek, sizeof cek);
	random_bytes(nonce, sizeof nonce);
	enum err e = aead_seal(cek, nonce, NULL, 0, content, len, sealed, tag);
	if (e == ERR_OK)
		e = keys_wrap(rng, key, cek, wrapped);
	if (e == ERR_OK)
		put_inner(w, recipient, wrapped, pubkey_size(key), nonce, sealed, len, tag);
	secmem_wipe(cek, sizeof cek);
	pool_free(sealed);
	return e;
}

enum err envelope_seal(struct keypair *issuer, const struct cert *recipient, struct pubkey *recipient_key, const void *content, size_t content_len,
                       uint8_t *out, size_t *out_len)
{
	const struct cert *own = keypair_cert(issuer);
	uint8_t hash[HASH_LEN], sig[KEYS_SIGNATURE_MAX];
	size_t sig_len;
	if (content_len > ENVELOPE_CONTENT_MAX || pubkey_kind(recipient_key) != KEY_RSA)
		return ERR_INVALID;
	size_t cap = envelope_size(own, recipient, content_len);
	uint8_t *inner = pool_alloc(cap);
	if (!inner)
		return ERR_NOMEM;
	struct writer wi = { inner, inner + cap };
	enum err e = seal_inner(&wi, issuer, recipient, recipient_key, content, content_len);
	size_t inner_len = (size_t)(inner + cap - wi.p);
	if (e == ERR_OK) {
		hash_sha256(wi.p, inner_len, hash);
		e = keypair_sign(issuer, SIG_CMS, hash, sig, &sig_len);
	}
	if (e == ERR_OK) {
		struct writer w = { out, out + cap };
		put_signer(&w, own, pubkey_kind(keypair_public(issuer)), sig, sig_len);
		put_element(&w, DER_CONTEXT_CONS(0), own->whole.p, der_len(own->whole));
		uint8_t *content_end = w.p;
		put(&w, wi.p, inner_len);
		put_outer_head(&w, content_end, out + cap);
		*out_len = (size_t)(out + cap - w.p);
		memmove(out, w.p, *out_len);
	}
	pool_free(inner);
	return e;
}

/* ---- reading */

#define OID_IS(d, oid) der_equal((d), (oid), sizeof(oid))

static bool take_version(struct der *d, uint8_t v)
{
	uint8_t found;
	return der_take_small(d, &found) && found == v;
}

/* AlgorithmIdentifier: its OID; parameters must be NULL or absent. */
static bool take_algorithm(struct der *d, struct der *oid)
{
	struct der alg, null;
	if (!der_take(d, DER_SEQUENCE, &alg) || !der_take(&alg, DER_OID, oid))
		return false;
	if (!der_empty(alg) && (!der_take(&alg, DER_NULL, &null) || !der_empty(null)))
		return false;
	return der_empty(alg);
}

static bool take_sha256(struct der *d)
{
	struct der oid;
	return take_algorithm(d, &oid) && OID_IS(oid, oid_sha256);
}

/* ContentInfo { type, [0] EXPLICIT content } */
static bool take_content_info(struct der *d, const uint8_t *type, size_t type_len, struct der *content)
{
	struct der info, oid, wrapper;
	return der_take(d, DER_SEQUENCE, &info) && der_empty(*d) && der_take(&info, DER_OID, &oid) && der_equal(oid, type, type_len) &&
	       der_take(&info, DER_CONTEXT_CONS(0), &wrapper) && der_empty(info) && der_take(&wrapper, DER_SEQUENCE, content) && der_empty(wrapper);
}

/* The version says which of the two names follows: by_ski for [0], else issuer and serial. */
static bool take_name(struct der *d, uint8_t version, uint8_t by_issuer, uint8_t by_ski, struct envelope_name *n)
{
	struct der pair, skip;
	if (version == by_ski)
		return der_take(d, DER_CONTEXT(0), &n->ski) && !der_empty(n->ski);
	return version == by_issuer && der_take(d, DER_SEQUENCE, &pair) && der_take_whole(&pair, DER_SEQUENCE, &skip, &n->issuer) &&
	       der_take_unsigned(&pair, &n->serial) && der_empty(pair);
}

static bool named(const struct envelope_name *n, const struct cert *c)
{
	if (!der_empty(n->ski))
		return der_equal(n->ski, c->ski.p, der_len(c->ski));
	return der_equal(n->issuer, c->issuer.p, der_len(c->issuer)) && der_equal(n->serial, c->serial.p, der_len(c->serial));
}

/* RSAES-OAEP-params [RFC 4055 4.1] with SHA-256 twice and the default, empty label. */
static bool take_oaep(struct der *d)
{
	struct der alg, oid, params, wrapper, mgf;
	return der_take(d, DER_SEQUENCE, &alg) && der_take(&alg, DER_OID, &oid) && OID_IS(oid, oid_oaep) && der_take(&alg, DER_SEQUENCE, &params) &&
	       der_empty(alg) && der_take(&params, DER_CONTEXT_CONS(0), &wrapper) && take_sha256(&wrapper) && der_empty(wrapper) &&
	       der_take(&params, DER_CONTEXT_CONS(1), &wrapper) && der_empty(params) && der_take(&wrapper, DER_SEQUENCE, &mgf) && der_empty(wrapper) &&
	       der_take(&mgf, DER_OID, &oid) && OID_IS(oid, oid_mgf1) && take_sha256(&mgf) && der_empty(mgf);
}

static const char *read_recipient(struct der *d, struct envelope *e)
{
	struct der set, info;
	uint8_t version = 0;
	if (!der_take(d, DER_SET, &set) || !der_take(&set, DER_SEQUENCE, &info))
		return "no key transport recipient";
	if (!der_empty(set))
		return "more than one recipient";
	if (!der_take_small(&info, &version) || !take_name(&info, version, 0, 2, &e->recipient))
		return "the recipient is not named by key identifier or issuer and serial";
	if (!take_oaep(&info))
		return "the key is not wrapped by RSAES-OAEP with SHA-256";
	if (!der_take(&info, DER_OCTET_STRING, &e->wrapped_key) || !der_empty(info))
		return "the wrapped key is malformed";
	return NULL;
}

static const char *read_sealed(struct der *d, struct envelope *e)
{
	struct der info, oid, alg, params;
	if (!der_take(d, DER_SEQUENCE, &info) || !der_take(&info, DER_OID, &oid) || !OID_IS(oid, oid_data) || !der_take(&info, DER_SEQUENCE, &alg))
		return "the encrypted content is malformed";
	if (!der_take(&alg, DER_OID, &oid) || !OID_IS(oid, oid_aes256_gcm) || !der_take(&alg, DER_SEQUENCE, &params) || !der_empty(alg))
		return "the content is not encrypted by AES-256-GCM";
	if (!der_take(&params, DER_OCTET_STRING, &e->nonce) || der_len(e->nonce) != AEAD_NONCE_LEN || !take_version(&params, AEAD_TAG_LEN) ||
	    !der_empty(params))
		return "nonce or tag length is not 12 and 16 bytes";
	if (!der_take(&info, DER_CONTEXT(0), &e->sealed) || !der_empty(info) || der_len(e->sealed) > ENVELOPE_CONTENT_MAX)
		return "the encrypted content is malformed or too long";
	return NULL;
}

static const char *read_inner(struct der d, struct envelope *e)
{
	struct der body;
	if (!take_content_info(&d, oid_auth_enveloped, sizeof oid_auth_enveloped, &body) || !take_version(&body, 0))
		return "the signed content is not AuthEnvelopedData";
	const char *why = read_recipient(&body, e);
	if (!why)
		why = read_sealed(&body, e);
	if (why)
		return why;
	if (!der_take(&body, DER_OCTET_STRING, &e->tag) || der_len(e->tag) != AEAD_TAG_LEN || !der_empty(body))
		return "the tag is malformed, or there are attributes";
	return NULL;
}

/* Attributes are a SET OF in DER's order, each type once; content type and message digest must be there [RFC 5652 11]. */
static const char *read_signed_attrs(struct der set, struct envelope *e)
{
	struct der last = der_of(NULL, 0), attr, whole, oid, values, value, type = last;
	while (!der_empty(set)) {
		if (!der_take_whole(&set, DER_SEQUENCE, &attr, &whole) || !der_take(&attr, DER_OID, &oid) || !der_take(&attr, DER_SET, &values) ||
		    !der_empty(attr))
			return "a signed attribute is malformed";
		size_t shorter = der_len(last) < der_len(whole) ? der_len(last) : der_len(whole);
		int order = shorter ? memcmp(last.p, whole.p, shorter) : -1;
		if (order > 0 || (order == 0 && der_len(last) >= der_len(whole)))
			return "the signed attributes are not in DER's order";
		last = whole;
		if (OID_IS(oid, oid_content_type) && (type.p || !der_take(&values, DER_OID, &type) || !der_empty(values)))
			return "the signed content type is malformed";
		if (!OID_IS(oid, oid_message_digest))
			continue;
		if (e->digest.p || !der_take(&values, DER_OCTET_STRING, &value) || !der_empty(values) || der_len(value) != HASH_LEN)
			return "the signed message digest is malformed";
		e->digest = value;
	}
	return !type.p || !OID_IS(type, oid_data) || !e->digest.p ? "signed attributes lack content type or message digest" : NULL;
}

static const char *read_signer(struct der *d, struct envelope *e)
{
	struct der set, info, oid;
	uint8_t version = 0;
	if (!der_take(d, DER_SET, &set) || !der_take(&set, DER_SEQUENCE, &info))
		return "no signature";
	if (!der_empty(set))
		return "more than one signature";
	if (!der_take_small(&info, &version) || !take_name(&info, version, 1, 3, &e->signer) || !take_sha256(&info))
		return "the signer or its digest algorithm is malformed";
	if (der_next_is(info, DER_CONTEXT_CONS(0))) {
		if (!der_take(&info, DER_CONTEXT_CONS(0), &e->signed_attrs))
			return "the signed attributes are malformed";
		const char *why = read_signed_attrs(e->signed_attrs, e);
		if (why)
			return why;
	}
	if (!take_algorithm(&info, &oid))
		return "the signature algorithm is malformed";
	e->signer_kind = OID_IS(oid, oid_ecdsa_sha256) ? KEY_EC : KEY_RSA;
	if (e->signer_kind == KEY_RSA && !OID_IS(oid, oid_rsa) && !OID_IS(oid, oid_rsa_sha256))
		return "the signature algorithm is neither ECDSA nor RSA with SHA-256";
	if (!der_take(&info, DER_OCTET_STRING, &e->signature) || !der_empty(info))
		return "the signature is malformed, or there are unsigned attributes";
	return NULL;
}

static const char *read_outer(struct der d, struct envelope *e)
{
	struct der body, set, info, oid, wrapper, certs, skip;
	uint8_t version = 0;
	if (!take_content_info(&d, oid_signed_data, sizeof oid_signed_data, &body) || !der_take_small(&body, &version))
		return "not SignedData in DER";
	if (!der_take(&body, DER_SET, &set) || !take_sha256(&set) || !der_empty(set))
		return "the digest algorithm is not SHA-256";
	if (!der_take(&body, DER_SEQUENCE, &info) || !der_take(&info, DER_OID, &oid) || !OID_IS(oid, oid_data) ||
	    !der_take(&info, DER_CONTEXT_CONS(0), &wrapper) || !der_empty(info) || !der_take(&wrapper, DER_OCTET_STRING, &e->signed_content) ||
	    !der_empty(wrapper))
		return "the signed content is malformed";
	if (der_next_is(body, DER_CONTEXT_CONS(0)) &&
	    (!der_take(&body, DER_CONTEXT_CONS(0), &certs) || !der_take_whole(&certs, DER_SEQUENCE, &skip, &e->certificate) || !der_empty(certs)))
		return "not exactly one certificate is sent along";
	const char *why = read_signer(&body, e);
	if (why)
		return why;
	if (!der_empty(body))
		return "something follows the signature";
	return version != (der_empty(e->signer.ski) ? 1 : 3) ? "the version does not fit the signer's name" : NULL;
}

enum err envelope_parse(struct envelope *e, const void *der, size_t len, const char **why)
{
	memset(e, 0, sizeof *e);
	*why = len > ENVELOPE_MAX ? "too long" : read_outer(der_of(der, len), e);
	if (!*why)
		*why = read_inner(e->signed_content, e);
	return *why ? ERR_INVALID : ERR_OK;
}

/* What the signature is over: the content's hash, or that of the attributes which hold it, as a SET OF [RFC 5652 5.4]. */
static bool signed_hash(const struct envelope *e, uint8_t out[static HASH_LEN])
{
	hash_sha256(e->signed_content.p, der_len(e->signed_content), out);
	if (!e->signed_attrs.p)
		return true;
	if (!der_equal(e->digest, out, HASH_LEN))
		return false;
	uint8_t header[10];
	struct writer w = { header, header + sizeof header };
	size_t len = der_len(e->signed_attrs);
	put_tag_and_length(&w, DER_SET, len);
	const struct hash_part parts[] = { { w.p, (size_t)(header + sizeof header - w.p) }, { e->signed_attrs.p, len } };
	hash_sha256_parts(parts, 2, out);
	return true;
}

enum err envelope_verify(const struct envelope *e, const struct cert *signer, struct pubkey *signer_key, const char **why)
{
	uint8_t hash[HASH_LEN];
	if (!named(&e->signer, signer))
		*why = "signed by somebody else";
	else if (!der_empty(e->certificate) && !der_equal(e->certificate, signer->whole.p, der_len(signer->whole)))
		*why = "the certificate sent along is not the signer's";
	else if (!(signer->key_usage & CERT_DIGITAL_SIGNATURE))
		*why = "the signer's certificate is not for signatures";
	else if (pubkey_kind(signer_key) != e->signer_kind || !signed_hash(e, hash) ||
	         !pubkey_verify(signer_key, SIG_CMS, hash, e->signature.p, der_len(e->signature)))
		*why = "the signature does not verify";
	else
		*why = NULL;
	return *why ? ERR_REFUSED : ERR_OK;
}

enum err envelope_open(const struct envelope *e, struct keypair *recipient, uint8_t *out, size_t *out_len, const char **why)
{
	uint8_t cek[AEAD_KEY_LEN];
	*why = "the envelope is for somebody else";
	if (!named(&e->recipient, keypair_cert(recipient)))
		return ERR_REFUSED;
	*why = "the envelope does not open";
	enum err rc = keys_unwrap(recipient, e->wrapped_key.p, der_len(e->wrapped_key), cek);
	if (rc == ERR_OK)
		rc = aead_open(cek, e->nonce.p, NULL, 0, e->sealed.p, der_len(e->sealed), e->tag.p, out);
	secmem_wipe(cek, sizeof cek);
	if (rc != ERR_OK)
		return rc;
	*why = NULL;
	*out_len = der_len(e->sealed);
	return ERR_OK;
}
