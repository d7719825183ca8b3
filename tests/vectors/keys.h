/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The key pairs of tests/vectors ("ec", "rsa"), for tests, fuzzers and benchmarks, which run in the project's root. */
#ifndef TESTS_VECTORS_KEYS_H
#define TESTS_VECTORS_KEYS_H

#include "base/textfile.h"
#include "crypto/keys.h"

#include <stdio.h>
#include <stdlib.h>

/* From tests/vectors/<name>.crt and .key, for keypair_free. NULL: they are not there, or not readable. */
static inline struct keypair *vectors_load_keypair(const char *name)
{
	char path[64];
	size_t cert_len = 0, key_len = 0;
	struct keypair *k = NULL;
	snprintf(path, sizeof path, "tests/vectors/%s.crt", name);
	char *cert = textfile_read(path, &cert_len, stderr);
	snprintf(path, sizeof path, "tests/vectors/%s.key", name);
	char *key = textfile_read(path, &key_len, stderr);
	if (cert && key && keypair_new(&k, cert, cert_len, key, key_len) != ERR_OK)
		k = NULL;
	free(cert);
	free(key);
	return k;
}

#endif
