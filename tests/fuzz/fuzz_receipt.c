/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of receipts. Input: header, payload and signature with 0xFF between, which are put into base64url here; and the same bytes as they are. */
#include "client/receipt.h"

#include "base/textbytes.h"
#include "tests/fuzz/fuzz.h"

static void check(const char *text, size_t len)
{
	struct receipt r;
	uint8_t *der = NULL;
	size_t der_bytes = 0;
	const char *why = NULL;
	enum err e = receipt_read(&r, &der, &der_bytes, text, len, &why);
	require((e == ERR_OK) == (why == NULL) && (e == ERR_OK) == (der != NULL));
	if (e != ERR_OK)
		return;
	require(r.first >= 1 && r.first <= r.last && r.last < r.known.lines && r.known.n_marks < r.known.lines && r.known.step >= 1);
	free(der);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint8_t nothing[1];
	const uint8_t *p = len > 0 ? data : nothing;
	char *text = malloc(base64_len(BASE64_URL, len) + 16), *end = text;
	require(text != NULL);
	check((const char *)p, len);
	for (int i = 0; i < 3; i++) {
		size_t n;
		const uint8_t *field = next_field(&p, &len, &n);
		end = base64_put(BASE64_URL, end, field, n);
		*end++ = i < 2 ? '.' : '\n';
	}
	check(text, (size_t)(end - text));
	free(text);
	return 0;
}
