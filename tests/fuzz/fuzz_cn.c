/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of our own reading of certificates: any bytes are refused, or give views that lie inside them and a CN that keeps the rules. */
#include "crypto/cert.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void inside(struct der v, const uint8_t *data, size_t len)
{
	if (v.p && (v.p < data || v.end > data + len || v.p > v.end))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct cert c;
	struct der cn;
	const char *why = NULL;
	char shown[64];
	struct identity *id = NULL;
	if (cert_parse(&c, data, len) != ERR_OK)
		return 0;
	const struct der views[] = { c.whole, c.serial, c.serial_whole, c.issuer, c.subject, c.spki, c.ski };
	for (size_t i = 0; i < sizeof views / sizeof views[0]; i++)
		inside(views[i], data, len);
	enum err e = cert_common_name(&c, &cn, &why);
	inside(cn, data, len);
	cert_escape(shown, sizeof shown, cn);
	if (strlen(shown) >= sizeof shown || (e == ERR_OK) != (why == NULL))
		abort();
	if (e != ERR_OK)
		return 0;
	if (der_empty(cn) || der_len(cn) > IDENTITY_CN_MAX || memchr(cn.p, 0, der_len(cn)) || memchr(cn.p, '+', der_len(cn)) ||
	    memchr(cn.p, '#', der_len(cn)) || memchr(cn.p, '/', der_len(cn)))
		abort();
	if (cert_identity(&c, &id, &cn, &why) != ERR_OK)
		return 0;
	if (strlen(id->cn) != id->cn_len || id->serial_len == 0 || id->serial_len > sizeof id->serial)
		abort();
	identity_unref(id);
	return 0;
}
