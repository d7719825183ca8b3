/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/cli_identity.h"

#include "base/secmem.h"
#include "base/textfile.h"

#include <stdlib.h>

struct keypair *identity_load(const struct options *o)
{
	size_t cert_len = 0, key_len = 0;
	struct keypair *k = NULL;
	if (!o->certfile || !o->keyfile) {
		complain(o, "expected --cert and --key");
		return NULL;
	}
	char *cert = textfile_read(o->certfile, &cert_len, stderr), *key = cert ? textfile_read(o->keyfile, &key_len, stderr) : NULL;
	if (key && keypair_new(&k, cert, cert_len, key, key_len) != ERR_OK)
		complain(o, "%s, %s: expected a PEM certificate and its unencrypted key, RSA of 2048 to 4096 bits or P-256", o->certfile, o->keyfile);
	if (key)
		secmem_wipe(key, key_len);
	free(cert);
	free(key);
	return k;
}
