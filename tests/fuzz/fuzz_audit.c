/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of the audit log's reader. Input: files, with 0xFF between. Any bytes can be read to their end; a line that is taken has its members inside of it, and
 * a writer goes on behind it. */
#include "crypto/audit_verify.h"

#include "tests/fuzz/fuzz.h"

static uint64_t problems;

static void report(void *arg, enum audit_finding f, const char *file, uint64_t line, const char *text)
{
	(void)arg;
	(void)line;
	problems += f == AUDIT_PROBLEM;
	require(file && text[0]);
}

static void check_line(const char *line, size_t len)
{
	struct audit_line l;
	struct audit_chain c;
	size_t n;
	bool is = audit_line_parse(&l, line, len) == ERR_OK;
	require((audit_chain_resume(&c, line, len) == ERR_OK) == is);
	if (!is)
		return;
	require(c.seq == l.seq + 1 && l.signed_len <= len && l.kind >= line && l.kind + l.kind_len <= line + len);
	require(!l.sig || (l.sig >= line && l.sig + l.sig_len <= line + len));
	for (size_t i = 0; i < 4; i++) {
		const char *p = audit_line_member(&l, (const char *[]){ "kind", "certificate", "cert", "bytes" }[i], &n);
		require(!p || (p >= line && p + n <= line + len));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint8_t nothing[1];
	static struct trust *trust;
	char error[256];
	if (!trust)
		require((trust = trust_new(&(struct tls_options){ .cafile = "tests/vectors/ca.crt" }, error, sizeof error)) != NULL);
	struct audit_verify *v = audit_verify_new(&(struct audit_verify_options){ .trust = trust, .report = report });
	require(v != NULL);
	problems = 0;
	for (const uint8_t *p = len > 0 ? data : nothing; len > 0;) {
		size_t left;
		const char *line = (const char *)next_field(&p, &len, &left);
		audit_verify_file(v, "log");
		while (left > 0) {
			const char *nl = memchr(line, '\n', left);
			size_t n = nl ? (size_t)(nl - line) : left;
			check_line(line, n);
			audit_verify_line(v, line, n, nl != NULL);
			line += n + (nl != NULL), left -= n + (nl != NULL);
		}
	}
	audit_verify_file(v, "the end");
	require(audit_verify_end(v).problems == problems);
	audit_verify_free(v);
	return 0;
}
