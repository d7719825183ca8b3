/* SPDX-License-Identifier: GPL-3.0-or-later */
/* main() for a fuzz target without a fuzzer: runs it on each file named. What a fuzzer once found is so tried again by
 * every `make test`, with gcc and its sanitizers. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/textfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of exactly its size, so that AddressSanitizer sees a read past the end. */
static bool replay(const char *path)
{
	size_t len;
	char *bytes = textfile_read(path, &len, stderr);
	if (!bytes)
		return false;
	uint8_t *exact = malloc(len > 0 ? len : 1);
	if (exact) {
		memcpy(exact, bytes, len);
		(void)LLVMFuzzerTestOneInput(exact, len);
	}
	free(bytes);
	free(exact);
	return exact != NULL;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!replay(argv[i]))
			return 1;
	}
	return 0;
}
