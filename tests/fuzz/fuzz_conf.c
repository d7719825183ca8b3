/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of the configuration parser: any bytes are either a configuration or errors, with at least one message. */
#include "conf/parse.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *messages = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&messages, &n);
	if (!f)
		return 0;
	struct conf *c = conf_parse((const char *)data, len, "fuzz.conf", f);
	if (fclose(f) != 0 || (!c && n == 0) || (c && c->n_listeners == 0))
		abort();
	free(messages);
	conf_free(c);
	return 0;
}
