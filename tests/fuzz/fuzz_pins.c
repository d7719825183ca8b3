/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of the file of pins. Input: its lines but the first, which vouches for the others and is made here. Any bytes are refused with a reason, or are pins that
 * are the same when they are written and read again. */
#include "client/pins.h"

#include "base/textbytes.h"
#include "crypto/hash.h"
#include "tests/fuzz/fuzz.h"

static bool same(const struct pin *a, const struct pin *b)
{
	return strcmp(a->broker, b->broker) == 0 && strcmp(a->member, b->member) == 0 && strcmp(a->space, b->space) == 0;
}

/* What is in the file as others see it: no pin is older than it was. */
static void check_kept(const struct pins *before, const struct pins *after)
{
	for (size_t i = 0; i < before->n; i++) {
		bool kept = false;
		for (size_t k = 0; k < after->n; k++)
			kept |= same(&before->items[i], &after->items[k]) && memcmp(before->items[i].issuer, after->items[k].issuer, 32) == 0 &&
			        after->items[k].epoch >= before->items[i].epoch;
		require(kept);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char error[PINS_ERROR_MAX] = "", hex[2 * HASH_LEN + 1], *text = malloc(len + 128);
	uint8_t hash[HASH_LEN];
	struct pins read, again;
	require(text != NULL);
	hash_sha256(data, len, hash);
	*hex_put(hex, hash, HASH_LEN) = '\0';
	size_t head = (size_t)snprintf(text, 128, "{\"pins\":\"sealmq v1\",\"sha256\":\"%s\"}\n", hex);
	memcpy(text + head, data, len);
	const char *path = scratch_file(0, text, head + len);
	free(text);
	enum err e = pins_read(&read, path, error);
	require(e == ERR_OK ? error[0] == '\0' : read.n == 0 && error[0] != '\0');
	scratch_remove(0);
	if (read.n > 0) {
		e = pins_add(path, &read, error);
		require(e == ERR_OK || e == ERR_REFUSED); /* two lines of a space with different issuers */
		require(pins_read(&again, path, error) == ERR_OK);
		if (e == ERR_OK)
			check_kept(&read, &again);
		pins_free(&again);
		scratch_remove(0);
	}
	pins_free(&read);
	return 0;
}
