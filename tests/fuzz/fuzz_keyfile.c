/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of files of exported keys: any bytes are refused with a reason. Those with a password are only told apart: behind the head there is nothing to read
 * before a key was derived, which takes a while. */
#include "client/keyfile.h"

#include "base/secmem.h"
#include "tests/fuzz/own_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct trust *trust;
	char error[256];
	if (!trust)
		require((trust = trust_new(&(struct tls_options){ .cafile = "tests/vectors/ca.crt" }, error, sizeof error)) != NULL);
	int kind = keyfile_wants_password(data, len);
	uint8_t *content = NULL;
	size_t content_len = 0;
	const char *why = NULL;
	if (kind == 1)
		return 0;
	enum err e = keyfile_open(data, len, NULL, 0, own_key("rsa"), trust, &content, &content_len, &why);
	require(e == ERR_OK ? kind == 0 && content && content_len < len : why != NULL);
	if (e == ERR_OK)
		secmem_free(content);
	return 0;
}
