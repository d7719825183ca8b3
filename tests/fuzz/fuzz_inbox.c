/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of the file of what an inbox has shown: any bytes are refused with a reason, or what is marked then is known when the file is opened once more. */
#include "client/inbox_read.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint8_t hash[INBOX_HASH_LEN] = "the hash of a message";
	const uint64_t now = UINT64_C(1795702507123);
	char error[256] = "";
	const char *path = scratch_file(0, data, len);
	struct inbox_read *r = inbox_read_open(path, now, error, sizeof error);
	require(r || error[0]);
	if (r) {
		require(inbox_read_mark(r, hash, now) == ERR_OK && inbox_read_look(r, hash) == INBOX_SHOWN);
		inbox_read_close(r);
		r = inbox_read_open(path, now, error, sizeof error);
		require(r && inbox_read_look(r, hash) == INBOX_READ);
		inbox_read_close(r);
	}
	scratch_remove(0);
	return 0;
}
