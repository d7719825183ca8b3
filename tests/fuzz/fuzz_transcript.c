/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of transcripts. Input: the file. Any bytes are a transcript, with a torn line perhaps, or the first line that is none is named. Since no mutation
 * finds a hash, the file is then read once more with each line's `prev` put right, and compared with what a receipt would say of it. */
#include "client/transcript_scan.h"

#include "base/textbytes.h"
#include "tests/fuzz/fuzz.h"

/* Puts the hash of the line before into each line that has a place for it. */
static void chain(char *text, size_t len)
{
	static const char name[] = "\"prev\":\"";
	uint8_t hash[HASH_LEN] = { 0 };
	for (char *line = text, *end = text + len; line < end;) {
		char *nl = memchr(line, '\n', (size_t)(end - line)), *stop = nl ? nl : end;
		char *prev = memmem(line, (size_t)(stop - line), name, sizeof name - 1);
		if (prev && stop - prev >= (ptrdiff_t)(sizeof name - 1 + 2 * HASH_LEN))
			hex_put(prev + sizeof name - 1, hash, HASH_LEN);
		hash_sha256(line, (size_t)(stop - line), hash);
		line = stop + 1;
	}
}

static const char *count(void *arg, const struct transcript_line *l)
{
	size_t *n = arg;
	++*n;
	require(l->kind == TRANSCRIPT_HEAD || l->bytes != NULL);
	return NULL;
}

static void scan(const char *text, size_t len, const struct transcript_known *known, struct transcript_scan *s)
{
	size_t seen = 0;
	FILE *f = len > 0 ? fmemopen((void *)(uintptr_t)text, len, "r") : fopen("/dev/null", "r");
	require(f != NULL);
	enum err e = transcript_scan(s, f, known, count, &seen);
	fclose(f);
	require(e == ERR_OK || e == ERR_CORRUPT);
	require(e == ERR_OK ? s->fault_line == 0 && (size_t)(s->whole_len + s->torn_len) == len && seen == s->lines : s->fault_line > 0 && s->fault[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct transcript_scan s, again;
	char *text = malloc(len + 1);
	require(text != NULL);
	memcpy(text, data, len);
	scan(text, len, NULL, &s);
	transcript_scan_free(&s);
	chain(text, len);
	scan(text, len, NULL, &s);
	if (s.fault_line == 0 && s.lines > 1) {
		struct transcript_known known = { .lines = s.lines, .step = 1 };
		memcpy(known.last, s.hash[s.lines - 1], HASH_LEN);
		while (known.n_marks < TRANSCRIPT_MARKS_MAX && known.n_marks + 1 < s.lines) {
			memcpy(known.mark[known.n_marks], s.hash[known.n_marks], HASH_LEN);
			known.n_marks++;
		}
		scan(text, len, &known, &again);
		require(again.fault_line == 0);
		transcript_scan_free(&again);
		known.mark[0][0] ^= 1;
		scan(text, len, &known, &again);
		require(again.fault_line == 1);
		transcript_scan_free(&again);
	}
	transcript_scan_free(&s);
	free(text);
	return 0;
}
