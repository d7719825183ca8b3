/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of the sealed message's reader: any bytes are refused with a reason, or are exactly what the writer makes of what was read. */
#include "crypto/cose.h"

#include "crypto/cbor.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void inside(struct der v, const uint8_t *data, size_t len)
{
	if (v.p < data || v.end > data + len || v.p > v.end)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint8_t key[32];
	struct cose m;
	const char *why = NULL;
	if ((cose_parse(&m, data, len, &why) == ERR_OK) != (why == NULL))
		abort();
	if (why)
		return 0;
	inside(m.encrypt0, data, len);
	inside(m.protected, data, len);
	inside(m.ciphertext, data, len);
	inside(m.tag, data, len);
	if (m.is_signed)
		inside(m.signature, data, len);
	/* Sealing with the same head must give the same bytes up to the ciphertext. */
	size_t n = der_len(m.ciphertext), size = cose_size(&m.head, n, NULL), made = 0;
	uint8_t *out = malloc(size + n + 1);
	if (!out)
		return 0;
	memset(out + size, 0, n + 1);
	if (cose_seal(&m.head, "t", 1, key, out + size, n, NULL, out, &made) != ERR_OK || made != size || size != der_len(m.encrypt0) ||
	    memcmp(out, m.encrypt0.p, size - n - 16) != 0)
		abort();
	free(out);
	return 0;
}
