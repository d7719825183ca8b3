/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of the list of members. Input: the list without its signature. Any bytes are refused with a reason, or are exactly what the writer makes of what was
 * read, in whatever order it gets the members. */
#include "crypto/memberlist.h"

#include "base/pool.h"
#include "crypto/cbor.h"
#include "tests/fuzz/own_key.h"

/* A list that was taken is written again, members last first. */
static void check(const struct memberlist *l)
{
	struct memberlist_entry *turned = calloc(l->n + 1, sizeof *turned);
	struct memberlist *again;
	uint8_t *bytes;
	size_t len;
	const char *why;
	require(turned != NULL);
	for (size_t i = 0; i < l->n; i++) {
		const struct memberlist_entry *e = &l->entries[i];
		turned[l->n - 1 - i] = *e;
		const struct memberlist_entry *found = memberlist_find(l, e->fingerprint, e->since);
		require(found && memcmp(found->fingerprint, e->fingerprint, 16) == 0 && found->since <= e->since);
	}
	enum err e = memberlist_make(l, turned, l->n, own_key("ec"), &bytes, &len);
	require(e == ERR_OK || (e == ERR_FULL && der_len(l->list) > MEMBERLIST_MAX - 100));
	if (e == ERR_OK) {
		require(memberlist_parse(&again, bytes, len, &why) == ERR_OK && der_equal(again->list, l->list.p, der_len(l->list)) && again->n == l->n);
		pool_free(again);
		pool_free(bytes);
	}
	free(turned);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t whole[MEMBERLIST_MAX + 64];
	struct memberlist *l = NULL;
	const char *why = NULL;
	if (len > MEMBERLIST_MAX)
		return 0;
	uint8_t *p = cbor_put_string(cbor_put_head(whole, CBOR_ARRAY, 2), CBOR_BYTES, data, len);
	p = cbor_put_string(p, CBOR_BYTES, "signature", 9);
	enum err e = memberlist_parse(&l, whole, (size_t)(p - whole), &why);
	require((e == ERR_OK) == (l != NULL) && (e == ERR_OK) == (why == NULL));
	if (l) {
		require(der_equal(l->list, data, len));
		check(l);
		pool_free(l);
	}
	return 0;
}
