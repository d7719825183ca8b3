/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Checking a transcript against a receipt, with every signature in both, without a network (docs/formats.md 10.3). One thread. */
#ifndef CLIENT_PROOF_H
#define CLIENT_PROOF_H

#include "client/receipt.h"

struct proof {
	struct receipt receipt;
	char holder[256];               /* its CN, escaped for a terminal */
	struct transcript_scan scan;
	uint64_t is_signed, is_unsigned; /* messages of the receipt's range: by whom a signature proves; that a member made it, and nothing more */
	uint64_t revoked;               /* signed ones of the range whose sender's certificate is revoked now: they prove nothing by themselves */
	uint64_t beyond;                /* lines behind those that the receipt covers */
	char error[TRANSCRIPT_FAULT_MAX + 128]; /* one line: file, line, what is wrong */
};

/* Checks the receipt, then the transcript in f, which the messages call by the names given. ERR_REFUSED: the receipt is not to be believed; ERR_CORRUPT: the
 * transcript is not what the receipt is about, and error names the first line; ERR_IO, ERR_NOMEM. *out for proof_free in any case. */
enum err proof_check(struct proof *out, const char *receipt, size_t receipt_len, const char *receipt_name, FILE *f, const char *transcript_name,
                     struct trust *trust) MUST_CHECK;
/* The chain, the numbers and the signatures of a transcript alone, as it is: out->receipt is not set, its range is all. */
enum err proof_transcript(struct proof *out, FILE *f, const char *transcript_name, struct trust *trust) MUST_CHECK;
void proof_free(struct proof *p);

#endif
