/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of client.conf: any bytes are options, or are complained about. */
#include "client/cli_options.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const unsigned commands[] = { FOR_PUB, FOR_SUB, FOR_TOPIC, FOR_RECEIPT };
	static FILE *complaints;
	static char name[] = "sealmq";
	char *argv[] = { name, NULL };
	struct options o;
	bool help;
	if (!complaints) {
		require((complaints = fopen("/dev/null", "we")) != NULL);
		stderr = complaints; /* a sanitizer writes to its descriptor */
	}
	require(setenv("SEALMQ_CONFIG", scratch_file(0, data, len), 1) == 0);
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		if (!options_read(&o, commands[i], 1, argv, &help))
			continue;
		require(o.host && options_port(&o) > 0 && options_port(&o) <= 65535 && o.qos >= 0 && o.qos <= 2);
		options_free(&o);
	}
	scratch_remove(0);
	return 0;
}
