/* SPDX-License-Identifier: GPL-3.0-or-later */
/* wolfSSL's error codes as causes that a log reader understands. Codes are mapped, not texts: those differ between versions. */
#include "crypto/tls_int.h"

#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

const char *tls_cause_text(enum tls_cause c)
{
	switch (c) {
	case TLS_CAUSE_NONE: return "no error";
	case TLS_CAUSE_EXPIRED: return "certificate expired";
	case TLS_CAUSE_NOT_YET_VALID: return "certificate not yet valid";
	case TLS_CAUSE_UNKNOWN_CA: return "certificate of an unknown CA";
	case TLS_CAUSE_NO_CERTIFICATE: return "no certificate presented";
	case TLS_CAUSE_WRONG_EKU: return "certificate not meant for TLS clients (extended key usage)";
	case TLS_CAUSE_BAD_CN: return "certificate's common name is not usable as an identity";
	case TLS_CAUSE_REVOKED: return "certificate revoked";
	case TLS_CAUSE_CRL_MISSING: return "no revocation list of the certificate's issuer";
	case TLS_CAUSE_CRL_EXPIRED: return "the revocation list of the certificate's issuer is out of date";
	case TLS_CAUSE_CA_EXPIRED: return "the certificate's CA has expired";
	case TLS_CAUSE_PIN: return "certificate's key is not one that is pinned for its name";
	case TLS_CAUSE_WEAK_KEY: return "certificate's key is too weak (less than RSA of 2048 or EC of 256 bits)";
	case TLS_CAUSE_CHAIN: return "certificate chain is longer than allowed, or one of its issuers is no CA";
	case TLS_CAUSE_BAD_CERTIFICATE: return "certificate not acceptable";
	case TLS_CAUSE_PLAINTEXT: return "plain text on a TLS port";
	case TLS_CAUSE_VERSION: return "no TLS version in common";
	case TLS_CAUSE_CIPHER: return "no cipher suite or key exchange group in common";
	case TLS_CAUSE_PEER_ALERT: return "the peer ended the handshake or connection with an alert";
	case TLS_CAUSE_NOMEM: return "out of memory";
	case TLS_CAUSE_PROTOCOL: return "TLS protocol error";
	}
	return "unknown cause";
}

enum tls_cause tls_cause_of(int wolf_error)
{
	static const struct { int code; enum tls_cause cause; } map[] = {
		{ ASN_AFTER_DATE_E, TLS_CAUSE_EXPIRED },
		{ ASN_BEFORE_DATE_E, TLS_CAUSE_NOT_YET_VALID },
		{ ASN_NO_SIGNER_E, TLS_CAUSE_UNKNOWN_CA },
		{ ASN_SELF_SIGNED_E, TLS_CAUSE_UNKNOWN_CA },
		/* A CA of the same name with another key shows as a signature that does not fit. */
		{ ASN_SIG_CONFIRM_E, TLS_CAUSE_UNKNOWN_CA },
		{ ASN_SIG_OID_E, TLS_CAUSE_UNKNOWN_CA },
		{ NO_PEER_CERT, TLS_CAUSE_NO_CERTIFICATE },
		{ EXTKEYUSE_AUTH_E, TLS_CAUSE_WRONG_EKU },
		{ CRL_CERT_REVOKED, TLS_CAUSE_REVOKED },
		{ CRL_MISSING, TLS_CAUSE_CRL_MISSING },
		{ CRL_CERT_DATE_ERR, TLS_CAUSE_CRL_EXPIRED },
		{ ASN_CRL_NO_SIGNER_E, TLS_CAUSE_CRL_MISSING },
		{ ASN_CRL_CONFIRM_E, TLS_CAUSE_CRL_MISSING },
		{ ASN_VERSION_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ ASN_PARSE_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ ASN_UNKNOWN_OID_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ ASN_SIG_OID_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ ASN_SIG_HASH_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ ASN_SIG_KEY_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ ASN_CRIT_EXT_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ ASN_NAME_INVALID_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ ASN_PATHLEN_INV_E, TLS_CAUSE_CHAIN },
		{ ASN_PATHLEN_SIZE_E, TLS_CAUSE_CHAIN },
		{ ASN_EXPECT_0_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ ASN_BITSTR_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ ASN_DATE_SZ_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ ASN_INPUT_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ KEYUSAGE_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ KEYUSE_SIGNATURE_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ KEYUSE_ENCIPHER_E, TLS_CAUSE_BAD_CERTIFICATE },
		{ MAX_CHAIN_ERROR, TLS_CAUSE_CHAIN },
		{ NOT_CA_ERROR, TLS_CAUSE_CHAIN },
		{ PEER_KEY_ERROR, TLS_CAUSE_BAD_CERTIFICATE },
		{ RSA_KEY_SIZE_E, TLS_CAUSE_WEAK_KEY },
		{ ECC_KEY_SIZE_E, TLS_CAUSE_WEAK_KEY },
		{ VERIFY_CERT_ERROR, TLS_CAUSE_BAD_CERTIFICATE },
		{ UNSUPPORTED_CERTIFICATE, TLS_CAUSE_BAD_CERTIFICATE },
		{ VERSION_ERROR, TLS_CAUSE_VERSION },
		{ UNSUPPORTED_PROTO_VERSION, TLS_CAUSE_VERSION },
		{ MATCH_SUITE_ERROR, TLS_CAUSE_CIPHER },
		{ UNSUPPORTED_SUITE, TLS_CAUSE_CIPHER },
		{ ECC_CURVE_ERROR, TLS_CAUSE_CIPHER },
		{ KEY_SHARE_ERROR, TLS_CAUSE_CIPHER },
		{ BAD_KEY_SHARE_DATA, TLS_CAUSE_CIPHER },
		{ FATAL_ERROR, TLS_CAUSE_PEER_ALERT },
		{ WOLFSSL_ERROR_ZERO_RETURN, TLS_CAUSE_PEER_ALERT }, /* close notify before the handshake's end */
		{ MEMORY_E, TLS_CAUSE_NOMEM },
		{ MEMORY_ERROR, TLS_CAUSE_NOMEM },
	};
	for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
		if (map[i].code == wolf_error)
			return map[i].cause;
	return TLS_CAUSE_PROTOCOL;
}

const char *tls_alert_text(int description)
{
	static const struct { int code; const char *text; } map[] = { /* RFC 8446 6.2 */
		{ 0, "close notify" }, { 10, "unexpected message" }, { 20, "bad record MAC" }, { 22, "record overflow" },
		{ 40, "handshake failure" }, { 42, "bad certificate" }, { 43, "unsupported certificate" },
		{ 44, "certificate revoked" }, { 45, "certificate expired" }, { 46, "certificate unknown" },
		{ 47, "illegal parameter" }, { 48, "unknown CA" }, { 49, "access denied" }, { 50, "decode error" },
		{ 51, "decrypt error" }, { 70, "protocol version" }, { 71, "insufficient security" }, { 80, "internal error" },
		{ 90, "user cancelled" }, { 100, "no renegotiation" }, { 109, "missing extension" }, { 110, "unsupported extension" },
		{ 112, "unrecognized name" }, { 116, "certificate required" }, { 120, "no application protocol" },
	};
	for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
		if (map[i].code == description)
			return map[i].text;
	return "unknown alert";
}
