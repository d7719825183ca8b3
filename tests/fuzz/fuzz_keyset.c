/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of the key set's reader: any bytes are refused with a reason, or give entries that can be written and read again. */
#include "crypto/keyset.h"

#include "base/secmem.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct keyset *set = NULL, *again = NULL;
	const char *why = NULL;
	char *json = NULL;
	size_t n = 0;
	enum err e = keyset_parse(&set, data, len, &why);
	if ((e == ERR_OK) != (set != NULL) || (e == ERR_INVALID) != (why != NULL))
		abort();
	if (!set)
		return 0;
	if (keyset_format(set->entries, set->n, &json, &n) != ERR_OK || keyset_parse(&again, json, n, &why) != ERR_OK || again->n != set->n)
		abort();
	for (size_t i = 0; i < set->n; i++)
		if (memcmp(set->entries[i].key, again->entries[i].key, KEYTREE_KEY_LEN) != 0 || set->entries[i].filter_len != again->entries[i].filter_len)
			abort();
	secmem_free(json);
	secmem_free(set);
	secmem_free(again);
	return 0;
}
