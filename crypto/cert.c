/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Certificate fields and the strict common name. wolfSSL's own subject accessor is not used: it cuts a CN at a NUL and
 * picks the last of two. Owns nothing; any thread. */
#include "crypto/cert.h"

#include "crypto/hash.h"

#include <string.h>

static const uint8_t oid_common_name[] = { 0x55, 0x04, 0x03 };       /* 2.5.4.3 */
static const uint8_t oid_key_usage[] = { 0x55, 0x1d, 0x0f };         /* 2.5.29.15 */
static const uint8_t oid_subject_key_id[] = { 0x55, 0x1d, 0x0e };    /* 2.5.29.14 */
static const uint8_t oid_alt_name[] = { 0x55, 0x1d, 0x11 };          /* 2.5.29.17 */
static const uint8_t oid_constraints[] = { 0x55, 0x1d, 0x13 };       /* 2.5.29.19 */
static const uint8_t oid_extended_usage[] = { 0x55, 0x1d, 0x25 };    /* 2.5.29.37 */
static const uint8_t oid_server_auth[] = { 0x2b, 6, 1, 5, 5, 7, 3, 1 };
static const uint8_t oid_any_usage[] = { 0x55, 0x1d, 0x25, 0x00 };

static bool read_subject_key_id(struct der value, struct cert *out)
{
	struct der id;
	if (out->ski.p || !der_take(&value, DER_OCTET_STRING, &id) || !der_empty(value) || der_empty(id))
		return false;
	out->ski = id;
	return true;
}

static bool read_key_usage(struct der value, struct cert *out, bool *seen)
{
	struct der bits;
	if (*seen || !der_take(&value, DER_BIT_STRING, &bits) || !der_empty(value) || der_len(bits) < 2 || bits.p[0] > 7)
		return false;
	*seen = true;
	out->key_usage = bits.p[1];
	return true;
}

/* BasicConstraints ::= SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER OPTIONAL } */
static bool read_constraints(struct der value, struct cert *out)
{
	struct der constraints, ca;
	if (!der_take(&value, DER_SEQUENCE, &constraints) || !der_empty(value))
		return false;
	if (!der_next_is(constraints, DER_BOOLEAN))
		return true;
	if (!der_take(&constraints, DER_BOOLEAN, &ca) || der_len(ca) != 1)
		return false;
	out->is_ca = *ca.p != 0;
	return true;
}

static bool read_extended_usage(struct der value, struct cert *out)
{
	struct der list, oid;
	if (!der_take(&value, DER_SEQUENCE, &list) || !der_empty(value))
		return false;
	out->for_servers = false;
	while (!der_empty(list)) {
		if (!der_take(&list, DER_OID, &oid))
			return false;
		out->names_servers |= der_equal(oid, oid_server_auth, sizeof oid_server_auth);
		if (der_equal(oid, oid_server_auth, sizeof oid_server_auth) || der_equal(oid, oid_any_usage, sizeof oid_any_usage))
			out->for_servers = true;
	}
	return true;
}

/* Extensions ::= SEQUENCE OF SEQUENCE { extnID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING } [RFC 5280 4.1] */
static bool read_extensions(struct der d, struct cert *out)
{
	struct der list, ext, oid, critical, value;
	bool key_usage_seen = false;
	if (!der_take(&d, DER_SEQUENCE, &list) || !der_empty(d) || der_empty(list))
		return false;
	while (!der_empty(list)) {
		if (!der_take(&list, DER_SEQUENCE, &ext) || !der_take(&ext, DER_OID, &oid))
			return false;
		if (der_next_is(ext, DER_BOOLEAN) && (!der_take(&ext, DER_BOOLEAN, &critical) || der_len(critical) != 1))
			return false;
		if (!der_take(&ext, DER_OCTET_STRING, &value) || !der_empty(ext))
			return false;
		if (der_equal(oid, oid_subject_key_id, sizeof oid_subject_key_id) && !read_subject_key_id(value, out))
			return false;
		if (der_equal(oid, oid_key_usage, sizeof oid_key_usage) && !read_key_usage(value, out, &key_usage_seen))
			return false;
		if (der_equal(oid, oid_constraints, sizeof oid_constraints) && !read_constraints(value, out))
			return false;
		if (der_equal(oid, oid_extended_usage, sizeof oid_extended_usage) && !read_extended_usage(value, out))
			return false;
		out->has_san |= der_equal(oid, oid_alt_name, sizeof oid_alt_name);
	}
	return true;
}

/* The trailing optional fields of a TBSCertificate: issuerUniqueID [1], subjectUniqueID [2], extensions [3]. */
static bool read_optional(struct der tbs, struct cert *out)
{
	struct der skip, ext;
	if (der_next_is(tbs, DER_CONTEXT(1)) && !der_take(&tbs, DER_CONTEXT(1), &skip))
		return false;
	if (der_next_is(tbs, DER_CONTEXT(2)) && !der_take(&tbs, DER_CONTEXT(2), &skip))
		return false;
	if (der_next_is(tbs, DER_CONTEXT_CONS(3))) {
		if (!der_take(&tbs, DER_CONTEXT_CONS(3), &ext) || !read_extensions(ext, out))
			return false;
		out->has_extensions = true;
	}
	return der_empty(tbs);
}

static bool read_version(struct der *tbs, unsigned *version)
{
	struct der v;
	uint8_t n = 0;
	*version = 1; /* DEFAULT v1, which DER leaves out; some writers do write it */
	if (!der_next_is(*tbs, DER_CONTEXT_CONS(0)))
		return true;
	if (!der_take(tbs, DER_CONTEXT_CONS(0), &v) || !der_take_small(&v, &n) || !der_empty(v) || n > 2)
		return false;
	*version = n + 1u;
	return true;
}

static bool read_tbs(struct der tbs, struct cert *out)
{
	struct der skip, validity, serial;
	if (!read_version(&tbs, &out->version))
		return false;
	serial = tbs;
	if (!der_take_unsigned(&tbs, &out->serial) || der_len(out->serial) > 20)
		return false;
	out->serial_whole = der_of(serial.p, (size_t)(tbs.p - serial.p));
	return der_take(&tbs, DER_SEQUENCE, &skip) &&                        /* signature algorithm */
	       der_take_whole(&tbs, DER_SEQUENCE, &skip, &out->issuer) &&
	       der_take(&tbs, DER_SEQUENCE, &validity) && der_take_time(&validity, &out->not_before_s) &&
	       der_take_time(&validity, &out->not_after_s) && der_empty(validity) &&
	       der_take_whole(&tbs, DER_SEQUENCE, &skip, &out->subject) &&
	       der_take_whole(&tbs, DER_SEQUENCE, &skip, &out->spki) && read_optional(tbs, out);
}

enum err cert_parse(struct cert *out, const void *der, size_t len)
{
	struct der d = der_of(der, len), cert, tbs, skip;
	memset(out, 0, sizeof *out);
	out->whole = d;
	out->key_usage = 0xff;
	out->for_servers = true;
	if (!der_take(&d, DER_SEQUENCE, &cert) || !der_empty(d) || !der_take(&cert, DER_SEQUENCE, &tbs) ||
	    !der_take(&cert, DER_SEQUENCE, &skip) || !der_take(&cert, DER_BIT_STRING, &skip) || !der_empty(cert) || !read_tbs(tbs, out))
		return ERR_INVALID;
	if (out->version < 3)
		out->is_ca = der_equal(out->issuer, out->subject.p, der_len(out->subject));
	return ERR_OK;
}

/* Decodes one UTF-8 character [RFC 3629] and returns its length in bytes, or 0: shortest form only, no surrogates. */
static size_t utf8_char(const uint8_t *p, const uint8_t *end, uint32_t *c)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : *p >= 0xe0 && *p < 0xf0 ? 3 : *p >= 0xf0 && *p < 0xf5 ? 4 : 0;
	if (n == 0 || (size_t)(end - p) < n)
		return 0;
	*c = n == 1 ? *p : *p & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (p[i] & 0x3fu);
	}
	return *c < least[n] || (*c >= 0xd800 && *c < 0xe000) || *c > 0x10ffff ? 0 : n;
}

/* NULL when the text can be an identity, else what is wrong with it. */
static const char *text_fault(struct der v, bool ascii_only)
{
	if (der_empty(v))
		return "the CN is empty";
	if (der_len(v) > IDENTITY_CN_MAX)
		return "the CN is too long";
	for (const uint8_t *p = v.p; p < v.end;) {
		uint32_t c = 0;
		size_t n = utf8_char(p, v.end, &c);
		if (n == 0)
			return "the CN is not valid UTF-8";
		if (c == 0)
			return "the CN holds a NUL";
		if (c < 0x20 || (c >= 0x7f && c < 0xa0))
			return "the CN holds a control character";
		if (c == '+' || c == '#' || c == '/')
			return "the CN holds '+', '#' or '/'";
		if (ascii_only && n > 1)
			return "the CN holds a character that its string type does not have";
		p += n;
	}
	return NULL;
}

const char *cert_name_fault(struct der v)
{
	return text_fault(v, false);
}

/* Finds the only CN among all relative distinguished names. */
static const char *find_common_name(struct der subject, unsigned *tag, struct der *cn)
{
	struct der names, set, pair, oid, value;
	bool found = false;
	if (!der_take(&subject, DER_SEQUENCE, &names))
		return "the subject is malformed";
	while (!der_empty(names)) {
		if (!der_take(&names, DER_SET, &set) || der_empty(set))
			return "the subject is malformed";
		while (!der_empty(set)) {
			unsigned type = 0;
			if (!der_take(&set, DER_SEQUENCE, &pair) || !der_take(&pair, DER_OID, &oid) ||
			    !der_take_any(&pair, &type, &value, NULL) || !der_empty(pair))
				return "the subject is malformed";
			if (!der_equal(oid, oid_common_name, sizeof oid_common_name))
				continue;
			if (found)
				return "the subject has more than one CN";
			found = true;
			*tag = type;
			*cn = value;
		}
	}
	return found ? NULL : "the subject has no CN";
}

enum err cert_common_name(const struct cert *c, struct der *cn, const char **why)
{
	unsigned tag = 0;
	*cn = der_of(NULL, 0);
	*why = find_common_name(c->subject, &tag, cn);
	if (*why)
		return ERR_INVALID;
	if (tag != DER_UTF8_STRING && tag != DER_PRINTABLE_STRING && tag != DER_IA5_STRING)
		*why = "the CN's string type is not UTF8String, PrintableString or IA5String";
	else
		*why = text_fault(*cn, tag != DER_UTF8_STRING);
	return *why ? ERR_INVALID : ERR_OK;
}

void cert_show_name(char *out, size_t cap, struct der name)
{
	unsigned tag;
	struct der cn = der_of(NULL, 0);
	(void)find_common_name(name, &tag, &cn); /* of several CNs the first is shown */
	cert_escape(out, cap, cn.p ? cn : der_of("(no CN)", 7));
}

void cert_fingerprint(const struct cert *c, uint8_t out[static 32])
{
	hash_sha256(c->whole.p, der_len(c->whole), out);
}

/* Does the SubjectPublicKeyInfo's algorithm say rsaEncryption, 1.2.840.113549.1.1.1? */
static bool is_rsa(struct der spki)
{
	static const uint8_t oid[] = { 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01 };
	size_t head = der_len(spki) < 24 ? der_len(spki) : 24; /* two headers, then the algorithm */
	return memmem(spki.p, head, oid, sizeof oid) != NULL;
}

enum err cert_identity(const struct cert *c, struct identity **out, struct der *cn, const char **why)
{
	enum err e = cert_common_name(c, cn, why);
	if (e != ERR_OK)
		return e;
	struct identity *id = identity_new(cn->p, der_len(*cn));
	if (!id)
		return ERR_NOMEM;
	id->serial_len = (uint8_t)der_len(c->serial); /* cert_parse: at most 20 */
	memcpy(id->serial, c->serial.p, id->serial_len);
	id->not_after_s = c->not_after_s;
	cert_fingerprint(c, id->fingerprint);
	id->rsa = is_rsa(c->spki);
	*out = id;
	return ERR_OK;
}

void cert_escape(char *out, size_t cap, struct der v)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;
	for (const uint8_t *p = v.p; p != v.end && n + 5 <= cap; p++) {
		if (*p >= 0x20 && *p < 0x7f && *p != '\\') {
			out[n++] = (char)*p;
			continue;
		}
		out[n++] = '\\';
		out[n++] = 'x';
		out[n++] = hex[*p >> 4];
		out[n++] = hex[*p & 15];
	}
	if (cap)
		out[n] = '\0';
}
