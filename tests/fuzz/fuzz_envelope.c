/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of the envelope's reader: any bytes are refused with a reason, or give views that lie inside them. */
#include "crypto/envelope.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct envelope e;
	const char *why = NULL;
	if ((envelope_parse(&e, data, len, &why) == ERR_OK) != (why == NULL))
		abort();
	if (why)
		return 0;
	const struct der views[] = { e.signed_content, e.signer.ski, e.signer.issuer, e.signer.serial, e.recipient.ski, e.recipient.issuer, e.recipient.serial,
		                     e.certificate, e.signed_attrs, e.digest, e.signature, e.wrapped_key, e.nonce, e.sealed, e.tag };
	for (size_t i = 0; i < sizeof views / sizeof views[0]; i++)
		if (views[i].p && (views[i].p < data || views[i].end > data + len || views[i].p > views[i].end))
			abort();
	if (der_len(e.nonce) != 12 || der_len(e.tag) != 16)
		abort();
	return 0;
}
