/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Transcripts and receipts: what was kept verifies; of whatever is done to it, the first line is named. */
#include "client/proof.h"
#include "client/transcript.h"

#include "base/textbytes.h"
#include "crypto/tls.h"
#include "base/pool.h"
#include "tests/unit/base/folder.h"
#include "tests/unit/crypto/vectors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOW UINT64_C(1795180000000) /* the certificates of tests/vectors are valid then */
enum { MESSAGES = 12, LINES_MAX = 64 };

static char dir[FOLDER_MAX], path[64], error[512];
static struct keypair *ec, *rsa;
static struct trust *trust;
static char *receipt;
static char *line[LINES_MAX]; /* of the good transcript, without line feeds */
static size_t n_lines;

static size_t seal(struct keypair *sender, bool sign, uint64_t seq, uint8_t *out)
{
	static const uint8_t key[32] = "the content key of this test....";
	uint8_t fp[32];
	size_t len;
	struct cose_head h = { .kid = "kid-kid", .stream = "stream0", .seq = seq, .time_ms = NOW + seq };
	cert_fingerprint(keypair_cert(sender), fp);
	memcpy(h.sender, fp, COSE_SENDER_LEN);
	ck_assert_int_eq(cose_seal(&h, "plant/\"x\"", 9, key, "hello", 5, sign ? sender : NULL, out, &len), ERR_OK);
	return len;
}

static enum err add(struct transcript *t, struct keypair *sender, bool sign, uint64_t seq)
{
	uint8_t sealed[2048];
	size_t n = seal(sender, sign, seq, sealed);
	struct der der = keypair_cert(sender)->whole;
	return transcript_add(t, "plant/\"x\"", NOW + seq + 1, "live", der.p, der_len(der), sealed, n);
}

static struct transcript *open_by(struct keypair *holder)
{
	uint8_t fp[32];
	cert_fingerprint(keypair_cert(holder), fp);
	return transcript_open(path, fp, NOW, error, sizeof error);
}

static char *slurp(size_t *len)
{
	return read_text(path, len);
}

static void store(const char *text, size_t len)
{
	FILE *f = fopen(path, "we");
	ck_assert(f && fwrite(text, 1, len, f) == len && fclose(f) == 0);
}

static void write_lines(char *const *list, size_t n)
{
	FILE *f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%s\n", list[i]);
	ck_assert_int_eq(fclose(f), 0);
}

/* NULL when transcript and receipt belong together; else what is said. */
static const char *verify(struct proof *p)
{
	FILE *f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	enum err e = proof_check(p, receipt, strlen(receipt), "receipt", f, "t", trust);
	fclose(f);
	proof_free(p);
	return e == ERR_OK ? NULL : p->error;
}

static void expect_line(size_t number, const char *what)
{
	struct proof p;
	const char *said = verify(&p);
	char start[32];
	snprintf(start, sizeof start, "t:%zu: ", number);
	ck_assert_msg(said && strncmp(said, start, strlen(start)) == 0, "expected %s(%s), got: %s", start, what, said ? said : "all is well");
}

START_TEST(a_transcript_is_kept_and_its_holder_signs_for_it)
{
	ec = vectors_keypair("ec");
	rsa = vectors_keypair("rsa");
	trust = trust_new(&(struct tls_options){ .cafile = "tests/vectors/ca.crt" }, error, sizeof error);
	ck_assert_msg(trust != NULL, "%s", error);
	snprintf(path, sizeof path, "%s/transcript", dir);
	struct transcript *t = open_by(ec);
	ck_assert_msg(t != NULL, "%s", error);
	for (uint64_t i = 0; i < MESSAGES; i++)
		ck_assert_int_eq(add(t, i % 3 == 0 ? rsa : ec, i % 4 != 1, i), ERR_OK);
	transcript_close(t);
	FILE *f = fopen(path, "re");
	struct transcript_scan s;
	ck_assert_int_eq(transcript_scan(&s, f, NULL, NULL, NULL), ERR_OK);
	ck_assert(s.messages == MESSAGES && s.lines == MESSAGES + 3 && s.n_senders == 2 && s.torn_len == 0);
	ck_assert_int_eq(receipt_make(&s, 2, NOW + 100, rsa, &receipt), ERR_REFUSED);
	ck_assert_int_eq(receipt_make(&s, MESSAGES + 1, NOW + 100, ec, &receipt), ERR_INVALID);
	ck_assert_int_eq(receipt_make(&s, 2, NOW + 100, ec, &receipt), ERR_OK);
	transcript_scan_free(&s);
	fclose(f);
	size_t len;
	char *text = slurp(&len);
	for (char *l = strtok(text, "\n"); l; l = strtok(NULL, "\n"))
		line[n_lines++] = strdup(l);
	free(text);
	ck_assert_uint_eq(n_lines, MESSAGES + 3);
	if (getenv("PROOF_VECTORS")) { /* a directory: how tests/vectors/proof was made */
		char file[256];
		snprintf(file, sizeof file, "%s/receipt", getenv("PROOF_VECTORS"));
		FILE *out = fopen(file, "we");
		ck_assert(out && fputs(receipt, out) >= 0 && fclose(out) == 0);
		snprintf(file, sizeof file, "%s/transcript", getenv("PROOF_VECTORS"));
		out = fopen(file, "we");
		for (size_t i = 0; i < n_lines; i++)
			ck_assert(out && fprintf(out, "%s\n", line[i]) > 0);
		ck_assert_int_eq(fclose(out), 0);
	}
}
END_TEST

START_TEST(what_was_kept_verifies)
{
	struct proof p;
	write_lines(line, n_lines);
	ck_assert_ptr_null(verify(&p));
	ck_assert(p.receipt.first == 2 && p.receipt.last == MESSAGES && p.is_unsigned == 3 && p.is_signed == MESSAGES - 1 - 3 && p.beyond == 0 && p.revoked == 0);
	struct stat st;
	ck_assert(stat(path, &st) == 0);
	FILE *f = fopen(path, "re");
	ck_assert_int_eq(proof_transcript(&p, f, "t", trust), ERR_OK);
	ck_assert(p.is_signed + p.is_unsigned == MESSAGES);
	proof_free(&p);
	fclose(f);
}
END_TEST

START_TEST(every_changed_character_names_its_line)
{
	for (size_t i = 0; i < n_lines; i++) {
		char *good = line[i];
		for (size_t at = 0; at < strlen(good); at += 1 + at / 97) {
			char *bad = strdup(good);
			bad[at] = bad[at] == 'A' ? 'B' : bad[at] == '1' ? '2' : bad[at] == 'a' ? 'b' : 'a';
			line[i] = bad;
			write_lines(line, n_lines);
			line[i] = good;
			expect_line(i + 1, good);
			free(bad);
		}
	}
}
END_TEST

START_TEST(every_dropped_line_is_named)
{
	char *list[LINES_MAX];
	for (size_t i = 0; i < n_lines; i++) {
		size_t n = 0;
		for (size_t k = 0; k < n_lines; k++)
			if (k != i)
				list[n++] = line[k];
		write_lines(list, n);
		/* What now stands in its place does not belong there; without its certificate or with the next number. */
		bool certificate = strncmp(line[i], "{\"certificate\"", 14) == 0;
		expect_line(certificate ? i : i + 1, "dropped");
	}
}
END_TEST

START_TEST(lines_out_of_order_are_named)
{
	char *list[LINES_MAX];
	for (size_t i = 1; i + 1 < n_lines; i++) {
		memcpy(list, line, sizeof list);
		list[i] = line[i + 1];
		list[i + 1] = line[i];
		write_lines(list, n_lines);
		struct proof p;
		const char *said = verify(&p);
		ck_assert_ptr_nonnull(said);
		unsigned long got = strtoul(said + 2, NULL, 10);
		ck_assert_msg(got == i + 1 || got == i, "lines %zu and %zu: %s", i + 1, i + 2, said);
	}
}
END_TEST

START_TEST(added_lines_are_named)
{
	char *list[LINES_MAX];
	struct proof p;
	for (size_t i = 1; i < n_lines; i++) { /* an old line once more */
		memcpy(list, line, i * sizeof *list);
		list[i] = line[i - 1];
		memcpy(list + i + 1, line + i, (n_lines - i) * sizeof *list);
		write_lines(list, n_lines + 1);
		expect_line(i + 1, "added");
	}
	write_lines(line, n_lines); /* behind the receipt's end, properly */
	struct transcript *t = open_by(ec);
	ck_assert(t && add(t, ec, true, 99) == ERR_OK);
	transcript_close(t);
	ck_assert_ptr_null(verify(&p));
	ck_assert_uint_eq(p.beyond, 1);
}
END_TEST

/* Who rewrites the whole chain is found out by the receipt. */
START_TEST(a_chain_made_anew_is_not_the_receipts)
{
	unlink(path);
	struct transcript *t = open_by(ec);
	for (uint64_t i = 0; i < MESSAGES; i++)
		ck_assert_int_eq(add(t, i % 3 == 0 ? rsa : ec, i % 4 != 1, i == 5 ? 77 : i), ERR_OK);
	transcript_close(t);
	expect_line(3, "RSA-PSS signatures are new each time: the first message differs");
	size_t len;
	char *text = slurp(&len);
	store(text, len - 10);
	free(text);
	expect_line(3, "torn as well");
}
END_TEST

START_TEST(the_end_must_be_there)
{
	struct proof p;
	write_lines(line, n_lines - 2);
	const char *said = verify(&p);
	ck_assert_msg(said && strstr(said, "t:14: ") && strstr(said, "dropped"), "%s", said ? said : "well");
	write_lines(line, 0);
	ck_assert_ptr_nonnull(verify(&p));
}
END_TEST

START_TEST(a_torn_line_is_cut_and_the_chain_goes_on)
{
	struct proof p;
	write_lines(line, n_lines - 1);
	FILE *f = fopen(path, "ae");
	fprintf(f, "%.40s", line[n_lines - 1]);
	fclose(f);
	struct transcript *t = open_by(ec);
	ck_assert_msg(t != NULL, "%s", error);
	ck_assert_ptr_null(open_by(ec)); /* one writer */
	ck_assert_ptr_nonnull(strstr(error, "in use"));
	ck_assert_int_eq(add(t, rsa, true, 50), ERR_OK);
	ck_assert_int_eq(add(t, ec, true, 51), ERR_OK);
	transcript_close(t);
	f = fopen(path, "re");
	ck_assert_int_eq(proof_transcript(&p, f, "t", trust), ERR_OK);
	ck_assert(p.scan.messages == MESSAGES + 1 && p.scan.n_senders == 2);
	proof_free(&p);
	fclose(f);
	ck_assert_ptr_null(open_by(rsa));
	ck_assert_ptr_nonnull(strstr(error, "another certificate"));
}
END_TEST

START_TEST(what_is_no_message_of_its_sender_is_not_kept)
{
	uint8_t sealed[2048];
	size_t n = seal(ec, true, 1, sealed);
	struct der der = keypair_cert(rsa)->whole;
	write_lines(line, n_lines);
	struct transcript *t = open_by(ec);
	ck_assert_int_eq(transcript_add(t, "x", NOW, "live", der.p, der_len(der), sealed, n), ERR_INVALID);
	ck_assert_int_eq(transcript_add(t, "x", NOW, "live", der.p, der_len(der), sealed, n - 1), ERR_INVALID);
	transcript_close(t);
	struct proof p;
	ck_assert_ptr_null(verify(&p));
}
END_TEST

START_TEST(every_changed_character_of_a_receipt_is_noticed)
{
	struct receipt r;
	uint8_t *der;
	size_t n, len = strlen(receipt);
	const char *why;
	for (size_t i = 0; i + 1 < len; i++) {
		char *bad = strdup(receipt);
		bad[i] = bad[i] == 'A' ? 'B' : 'A';
		ck_assert_msg(receipt_read(&r, &der, &n, bad, len, &why) == ERR_INVALID, "%zu", i);
		ck_assert(receipt_read(&r, &der, &n, receipt, i, &why) == ERR_INVALID);
		free(bad);
	}
	ck_assert_int_eq(receipt_read(&r, &der, &n, receipt, len, &why), ERR_OK);
	free(der);
}
END_TEST

int main(void)
{
	if (tls_init() != ERR_OK)
		return 2;
	folder_make(dir);

	TCase *t = tcase_create("all");
	tcase_add_test(t, a_transcript_is_kept_and_its_holder_signs_for_it); /* the others go on from it */
	tcase_add_test(t, what_was_kept_verifies);
	tcase_add_test(t, every_changed_character_names_its_line);
	tcase_add_test(t, every_dropped_line_is_named);
	tcase_add_test(t, lines_out_of_order_are_named);
	tcase_add_test(t, added_lines_are_named);
	tcase_add_test(t, a_chain_made_anew_is_not_the_receipts);
	tcase_add_test(t, the_end_must_be_there);
	tcase_add_test(t, a_torn_line_is_cut_and_the_chain_goes_on);
	tcase_add_test(t, what_is_no_message_of_its_sender_is_not_kept);
	tcase_add_test(t, every_changed_character_of_a_receipt_is_noticed);
	int rc = run_case("proof", t);
	folder_remove(dir);
	while (n_lines > 0)
		free(line[--n_lines]);
	free(receipt);
	keypair_free(ec);
	keypair_free(rsa);
	trust_free(trust);
	tls_cleanup();
	pool_drain();
	return rc;
}
