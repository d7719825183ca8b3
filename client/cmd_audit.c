/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq audit verify FILE…: is this audit log what the broker wrote, and all of it? */
#include "client/cmd.h"

#include "base/textfile.h"
#include "crypto/audit_verify.h"
#include "crypto/tls.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments {
	const char *ca, *issuer;
	bool open, help;
	char **files;
	int n_files;
};

static void usage(FILE *to)
{
	fputs("usage: sealmq audit verify FILE... --ca CA.crt [--issuer SERVER.crt] [--open]\n\n"
	      "Checks the chain and the signatures of an audit log; the files in the order in which they were written.\n"
	      "  --ca FILE      who may issue the certificate that signs (PEM)\n"
	      "  --issuer FILE  the broker's certificate (PEM): no other key may sign; without it any of the CA's for servers may\n"
	      "  --open         the last file is one that a broker still writes: its end need not be signed\n\n"
	      "Exit status: 0 the log is whole, 1 it is not (each finding is on standard output), 2 it could not be checked.\n", to);
}

/* False: said why. */
static bool parse(int argc, char **argv, struct arguments *a)
{
	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		a->help = true;
		return true;
	}
	if (argc < 2 || strcmp(argv[1], "verify") != 0) {
		usage(stderr);
		return false;
	}
	a->files = argv; /* moved to the front, over what has been read */
	for (int i = 2; i < argc; i++) {
		const char **value = strcmp(argv[i], "--ca") == 0 ? &a->ca : strcmp(argv[i], "--issuer") == 0 ? &a->issuer : NULL;
		if (value && i + 1 < argc) {
			*value = argv[++i];
		} else if (strcmp(argv[i], "--open") == 0) {
			a->open = true;
		} else if (strcmp(argv[i], "--help") == 0) {
			a->help = true;
		} else if (argv[i][0] == '-') {
			fprintf(stderr, "sealmq audit verify: %s: unknown or incomplete option\n", argv[i]);
			return false;
		} else {
			a->files[a->n_files++] = argv[i];
		}
	}
	if (!a->help && (a->n_files == 0 || !a->ca))
		fprintf(stderr, "sealmq audit verify: %s\n", a->ca ? "expected a file" : "expected --ca FILE");
	return a->help || (a->n_files > 0 && a->ca);
}

static void report(void *arg, enum audit_finding f, const char *file, uint64_t line, const char *text)
{
	(void)arg;
	if (line > 0)
		printf("%s:%" PRIu64 ": %s%s\n", file, line, f == AUDIT_NOTE ? "note: " : "", text);
	else
		printf("%s: %s%s\n", file, f == AUDIT_NOTE ? "note: " : "", text);
}

static bool verify_file(struct audit_verify *v, const char *path)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;
	if (!f) {
		fprintf(stderr, "sealmq audit verify: %s: cannot read: %s\n", path, strerror(errno));
		return false;
	}
	audit_verify_file(v, path);
	while ((n = getline(&line, &cap, f)) > 0) {
		bool whole = line[n - 1] == '\n';
		audit_verify_line(v, line, (size_t)n - whole, whole);
	}
	bool good = !ferror(f);
	if (!good)
		fprintf(stderr, "sealmq audit verify: %s: cannot read: %s\n", path, strerror(errno));
	free(line);
	(void)fclose(f);
	return good;
}

static int verify(const struct arguments *a, struct audit_verify *v)
{
	for (int i = 0; i < a->n_files; i++)
		if (!verify_file(v, a->files[i]))
			return EXIT_USAGE;
	struct audit_totals t = audit_verify_end(v);
	if (t.problems > 0) {
		printf("NOT WHOLE: %" PRIu64 " finding%s in %" PRIu64 " lines\n", t.problems, t.problems == 1 ? "" : "s", t.lines);
		return EXIT_FAILED;
	}
	printf("whole: %" PRIu64 " lines (numbers %" PRIu64 " to %" PRIu64 "), %" PRIu64 " signed checkpoints", t.lines, t.first_seq, t.last_seq,
	       t.checkpoints);
	if (t.unsigned_lines > 0)
		printf("; the last %" PRIu64 " are not signed yet", t.unsigned_lines);
	putchar('\n');
	return EXIT_DONE;
}

/* The certificate that a->issuer names, in *buf (heap); false: said why. */
static bool load_issuer(const char *path, struct cert *out, uint8_t **buf)
{
	size_t len = 0;
	char *pem = textfile_read(path, &len, stderr);
	if (!pem)
		return false;
	*buf = malloc(len);
	enum err e = *buf ? keys_cert_from_pem(out, *buf, pem, len) : ERR_NOMEM;
	free(pem);
	if (e != ERR_OK)
		fprintf(stderr, "sealmq audit verify: %s: expected a certificate in PEM\n", path);
	return e == ERR_OK;
}

int cmd_audit(int argc, char **argv)
{
	struct arguments a = { 0 };
	struct cert issuer;
	uint8_t *issuer_der = NULL;
	char error[512];
	int status = EXIT_USAGE;
	if (!parse(argc, argv, &a))
		return EXIT_USAGE;
	if (a.help) {
		usage(stdout);
		return EXIT_DONE;
	}
	if (tls_init() != ERR_OK) {
		fputs("sealmq audit verify: the crypto library cannot be initialised\n", stderr);
		return EXIT_USAGE;
	}
	struct trust *trust = trust_new(&(struct tls_options){ .cafile = a.ca }, error, sizeof error);
	if (!trust)
		fprintf(stderr, "sealmq audit verify: %s\n", error);
	if (trust && (!a.issuer || load_issuer(a.issuer, &issuer, &issuer_der))) {
		struct audit_verify_options o = { .trust = trust, .issuer = a.issuer ? &issuer : NULL, .open = a.open, .report = report };
		struct audit_verify *v = audit_verify_new(&o);
		if (v)
			status = verify(&a, v);
		audit_verify_free(v);
	}
	free(issuer_der);
	trust_free(trust);
	tls_cleanup();
	return status;
}
