/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq receipt: signs for what a transcript is, and checks a transcript, its receipt and every signature in them. No network. */
#include "client/cli_identity.h"
#include "client/cli_options.h"
#include "client/cmd.h"
#include "client/proof.h"

#include "base/clock.h"
#include "base/textfile.h"
#include "crypto/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char usage_text[] =
	"usage: sealmq receipt make TRANSCRIPT --cert FILE --key FILE [--first N] [-o RECEIPT]\n"
	"       sealmq receipt verify RECEIPT TRANSCRIPT --cafile FILE [--crlfile FILE]\n"
	"       sealmq receipt verify TRANSCRIPT --cafile FILE [--crlfile FILE]       (chain and signatures, without a receipt)\n";

static int usage_error(const char *why)
{
	fprintf(stderr, "sealmq receipt: %s\n%s", why, usage_text);
	return EXIT_USAGE;
}

/* ---- make */

static bool write_text(const struct options *o, const char *text)
{
	FILE *f = o->output ? fopen(o->output, "we") : stdout;
	bool written = f && fputs(text, f) >= 0 && fflush(f) == 0;
	if (f && f != stdout)
		written = fclose(f) == 0 && written;
	if (!written)
		complain(o, "%s: %s", o->output ? o->output : "standard output", strerror(errno));
	return written;
}

static bool make_of(const struct options *o, const char *path, FILE *f, struct keypair *key)
{
	struct transcript_scan s;
	char *text = NULL;
	enum err e = transcript_scan(&s, f, NULL, NULL, NULL);
	if (e == ERR_CORRUPT)
		complain(o, "%s:%llu: %s", path, (unsigned long long)s.fault_line, s.fault);
	else if (e != ERR_OK)
		complain(o, "%s: %s", path, e == ERR_IO ? strerror(errno) : err_text(e));
	else if (s.messages == 0)
		complain(o, "%s: there is no message in it", path);
	else if ((e = receipt_make(&s, o->first ? (uint64_t)o->first : 1, clock_wall_ms(), key, &text)) == ERR_REFUSED)
		complain(o, "%s: is kept by another certificate than %s: its holder signs", path, o->certfile);
	else if (e != ERR_OK)
		complain(o, "--first: expected a message's number, 1 to %llu", (unsigned long long)s.messages);
	transcript_scan_free(&s);
	bool done = text && write_text(o, text);
	free(text);
	return done;
}

static int make(const struct options *o)
{
	if (o->words.n != 2)
		return usage_error("make: expected one transcript");
	if (!o->certfile || !o->keyfile)
		return usage_error("make: expected --cert and --key");
	const char *path = o->words.items[1];
	FILE *f = fopen(path, "re");
	if (!f)
		complain(o, "%s: %s", path, strerror(errno));
	struct keypair *key = f ? identity_load(o) : NULL;
	bool done = key && make_of(o, path, f, key);
	keypair_free(key);
	if (f)
		(void)fclose(f);
	return done ? EXIT_DONE : EXIT_FAILED;
}

/* ---- verify */

static void print_time(const char *before, uint64_t ms)
{
	time_t s = (time_t)(ms / 1000);
	struct tm tm;
	char text[32];
	(void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&s, &tm));
	printf("%s%s", before, text);
}

static void print(const struct proof *p, bool has_receipt)
{
	if (has_receipt) {
		printf("receipt by '%s'", p->holder);
		print_time(", made ", p->receipt.made_ms);
		printf(": messages %llu to %llu\n", (unsigned long long)p->receipt.first, (unsigned long long)p->receipt.last);
	}
	printf("%llu messages signed by their senders, all signatures good\n", (unsigned long long)p->is_signed);
	if (p->is_unsigned)
		printf("%llu not signed: they prove that a member made them, and not which one\n", (unsigned long long)p->is_unsigned);
	if (p->revoked)
		printf("%llu of the signed by certificates that are revoked now: when they were made is the holder's word\n", (unsigned long long)p->revoked);
	if (p->beyond)
		printf("lines %llu to %llu are not covered by the receipt\n", (unsigned long long)p->receipt.known.lines + 1,
		       (unsigned long long)p->receipt.known.lines + (unsigned long long)p->beyond);
}

static int verify_files(const struct options *o, const char *receipt_path, const char *path, struct trust *trust)
{
	struct proof p;
	size_t len = 0;
	char *receipt = receipt_path ? textfile_read(receipt_path, &len, stderr) : NULL;
	FILE *f = fopen(path, "re");
	if (!f)
		complain(o, "%s: %s", path, strerror(errno));
	if (!f || (receipt_path && !receipt)) {
		free(receipt);
		if (f)
			(void)fclose(f);
		return EXIT_FAILED;
	}
	enum err e = receipt ? proof_check(&p, receipt, len, receipt_path, f, path, trust) : proof_transcript(&p, f, path, trust);
	if (e == ERR_OK)
		print(&p, receipt != NULL);
	else
		complain(o, "%s", p.error);
	int status = e != ERR_OK ? EXIT_FAILED : p.revoked || p.beyond ? EXIT_REFUSED : EXIT_DONE;
	proof_free(&p);
	free(receipt);
	(void)fclose(f);
	return status;
}

static int verify(const struct options *o)
{
	char error[512];
	if (o->words.n != 2 && o->words.n != 3)
		return usage_error("verify: expected a receipt and a transcript, or a transcript");
	if (!o->cafile)
		return usage_error("verify: expected --cafile: who issues certificates");
	struct trust *trust = trust_new(&(struct tls_options){ .cafile = o->cafile, .crlfile = o->crlfile }, error, sizeof error);
	if (!trust) {
		complain(o, "%s", error);
		return EXIT_FAILED;
	}
	int status = verify_files(o, o->words.n == 3 ? o->words.items[1] : NULL, o->words.items[o->words.n - 1], trust);
	trust_free(trust);
	return status;
}

static int command(struct options *o)
{
	(void)!tls_init(); /* what it could not set up fails where it is used */
	const char *what = o->words.n > 0 ? o->words.items[0] : "";
	if (strcmp(what, "make") == 0)
		return make(o);
	if (strcmp(what, "verify") == 0)
		return verify(o);
	return usage_error("expected make or verify");
}

int cmd_receipt(int argc, char **argv)
{
	struct options o;
	bool help;
	if (!options_read(&o, FOR_RECEIPT, argc, argv, &help)) {
		if (help)
			puts(usage_text), options_print(FOR_RECEIPT);
		return help ? EXIT_DONE : EXIT_USAGE;
	}
	int status = command(&o);
	options_free(&o);
	return status;
}
