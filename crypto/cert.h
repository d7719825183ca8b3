/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What this project reads from an X.509 certificate by itself, strictly, from its DER. Nothing here verifies a signature: trust comes
 * from the TLS handshake or from crypto/trust. Pure; any thread. */
#ifndef CRYPTO_CERT_H
#define CRYPTO_CERT_H

#include "base/err.h"
#include "base/identity.h"
#include "crypto/der.h"

enum cert_key_usage { /* RFC 5280 4.2.1.3, as bits of the BIT STRING's first byte */
	CERT_DIGITAL_SIGNATURE = 0x80, CERT_NON_REPUDIATION = 0x40, CERT_KEY_ENCIPHERMENT = 0x20, CERT_KEY_CERT_SIGN = 0x04,
	CERT_CRL_SIGN = 0x02,
};

/* Views into the certificate's DER. */
struct cert {
	struct der whole;
	struct der serial;        /* magnitude, big endian, 1..20 bytes */
	struct der serial_whole;  /* the INTEGER with its header */
	struct der issuer;        /* Name, header included */
	struct der subject;       /* Name, header included */
	struct der spki;          /* SubjectPublicKeyInfo, header included */
	struct der ski;           /* subject key identifier; empty when absent */
	int64_t not_before_s, not_after_s; /* seconds since 1970 */
	unsigned version;         /* 1, 2 or 3 */
	unsigned key_usage;       /* bits of enum cert_key_usage; all of them when the certificate does not say */
	bool has_extensions;
	bool is_ca;               /* basicConstraints says so; X.509 v1 and v2: it is its own issuer */
	bool has_san;             /* subjectAltName */
	bool names_servers;       /* extendedKeyUsage has serverAuth */
	bool for_servers;         /* extendedKeyUsage allows it, or there is none */
};

/* Reads one certificate that fills len bytes exactly. ERR_INVALID when it is not strict DER of RFC 5280's shape. */
enum err cert_parse(struct cert *out, const void *der, size_t len) MUST_CHECK;

/* The subject's common name, if it can be an identity: exactly one CN in the whole subject, a UTF8String, PrintableString or
 * IA5String of 1..IDENTITY_CN_MAX bytes, valid UTF-8, no control character (C0, DEL, C1), none of '+', '#', '/'.
 * Otherwise ERR_INVALID; *why is a text for the log, and *cn the offending value (empty when there is none to show). */
enum err cert_common_name(const struct cert *c, struct der *cn, const char **why) MUST_CHECK;

/* A new identity from a parsed certificate (CN, serial, fingerprint, end of validity): one reference in *out.
 * ERR_INVALID as above, ERR_NOMEM. */
enum err cert_identity(const struct cert *c, struct identity **out, struct der *cn, const char **why) MUST_CHECK;

/* NULL when v can be an identity's name by the rules above (as a UTF8String), else what is wrong with it. */
const char *cert_name_fault(struct der v);

/* SHA-256 of the certificate's DER. */
void cert_fingerprint(const struct cert *c, uint8_t out[static 32]);

/* Writes the CN of a Name (header included) as cert_escape does, or "(no CN)". */
void cert_show_name(char *out, size_t cap, struct der name);

/* Writes v as text for a log, other than printable ASCII as \xNN, cut to fit; always terminated. */
void cert_escape(char *out, size_t cap, struct der v);

#endif
