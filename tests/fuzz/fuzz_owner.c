/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of an owner's state, as a file of the vault and an exported file hold it once they are open: any bytes are refused with a reason, or are a space that
 * can be written and read again. */
#include "client/owner_state.h"

#include "base/secmem.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint8_t own[32];
	struct owner_space *s = NULL, *again = NULL;
	uint8_t *text, *text_again;
	size_t n, n_again;
	const char *why = NULL;
	enum err e = owner_state_parse(&s, data, len, &why);
	require((e == ERR_OK) == (s != NULL) && (e == ERR_OK || why != NULL));
	if (!s)
		return 0;
	require(s->n_epochs >= 1 && s->n_epochs <= KEYSET_EPOCHS_MAX);
	for (size_t i = 1; i < s->n_epochs; i++)
		require(s->epochs[i - 1].number < s->epochs[i].number);
	require(owner_state_format(s, own, &text, &n) == ERR_OK && owner_state_parse(&again, text, n, &why) == ERR_OK);
	require(owner_state_format(again, own, &text_again, &n_again) == ERR_OK && n == n_again && memcmp(text, text_again, n) == 0);
	secmem_free(text);
	secmem_free(text_again);
	owner_space_free(s);
	owner_space_free(again);
	return 0;
}
