/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An owner's signed lists of members: the second implementation's are read, ours are the same bytes, and nothing else is taken for one. */
#include "crypto/memberlist.h"

#include "base/pool.h"
#include "crypto/cbor.h"
#include "crypto/tls.h"
#include "tests/unit/crypto/vectors.h"

static struct keypair *ec, *rsa;
static const char *why;

static struct keypair *signer_of(const cJSON *v)
{
	return strcmp(text_of(v, "signer"), "ec") == 0 ? ec : rsa;
}

static uint64_t number_of(const cJSON *o, const char *name)
{
	return (uint64_t)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(o, name));
}

static struct memberlist about(const cJSON *v)
{
	struct memberlist l = { .space = text_of(v, "space"), .number = number_of(v, "number"), .epoch = (uint32_t)number_of(v, "epoch"), .made_s = number_of(v, "made") };
	l.space_len = strlen(l.space);
	cert_fingerprint(keypair_cert(signer_of(v)), l.issuer);
	return l;
}

static size_t entries_of(const cJSON *v, struct memberlist_entry *out)
{
	const cJSON *m;
	size_t n = 0;
	cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(v, "members")) {
		const char *cn = text_of(m, "cn");
		out[n] = (struct memberlist_entry){ .cn = cn, .cn_len = strlen(cn), .access = (unsigned)number_of(m, "access"), .since = (uint32_t)number_of(m, "since"),
			.until = (uint32_t)number_of(m, "until") };
		memcpy(out[n++].fingerprint, hex_of(m, "fingerprint").p, 32);
	}
	return n;
}

START_TEST(lists_of_the_second_implementation_are_equal)
{
	cJSON *json = vectors_load_file("tests/vectors/owner.json"), *v;
	cJSON_ArrayForEach(v, cJSON_GetObjectItemCaseSensitive(json, "members")) {
		struct memberlist_entry entries[8];
		struct memberlist head = about(v), *theirs, *ours;
		size_t n = entries_of(v, entries), len;
		uint8_t *made;
		struct hex bytes = hex_of(v, "signed");
		ck_assert_msg(memberlist_parse(&theirs, bytes.p, bytes.len, &why) == ERR_OK, "%s", why);
		ck_assert(memberlist_verify(theirs, keypair_public(signer_of(v)), head.issuer));
		ck_assert_uint_eq(theirs->n, n);
		ck_assert_int_eq(memberlist_make(&head, entries, n, signer_of(v), &made, &len), ERR_OK);
		ck_assert_int_eq(memberlist_parse(&ours, made, len, &why), ERR_OK);
		ck_assert(memberlist_verify(ours, keypair_public(signer_of(v)), head.issuer));
		ck_assert_uint_eq(der_len(ours->list), der_len(theirs->list)); /* the signatures differ */
		ck_assert_mem_eq(ours->list.p, theirs->list.p, der_len(ours->list));
		ck_assert(ours->number == 7 && ours->epoch == 4 && ours->made_s == 1795173342 && ours->space_len == 11);
		pool_free(theirs);
		pool_free(ours);
		pool_free(made);
	}
	cJSON_Delete(json);
	hex_free_all();
}
END_TEST

static uint8_t *make(const struct memberlist_entry *entries, size_t n, size_t *len)
{
	struct memberlist head = { .space = "s", .space_len = 1, .number = 1, .epoch = 5 };
	uint8_t *out = NULL;
	cert_fingerprint(keypair_cert(ec), head.issuer);
	ck_assert_int_eq(memberlist_make(&head, entries, n, ec, &out, len), ERR_OK);
	return out;
}

START_TEST(a_sender_is_found_by_certificate_and_epoch)
{
	const struct memberlist_entry entries[] = {
		{ .cn = "ann", .cn_len = 3, .access = 3, .fingerprint = "a certificate of ann............", .since = 1, .until = 3 },
		{ .cn = "ann", .cn_len = 3, .access = 1, .fingerprint = "another certificate of ann......", .since = 4 },
	};
	size_t len;
	struct memberlist *l;
	uint8_t *bytes = make(entries, 2, &len);
	ck_assert_int_eq(memberlist_parse(&l, bytes, len, &why), ERR_OK);
	ck_assert_ptr_nonnull(memberlist_find(l, entries[0].fingerprint, 1));
	ck_assert_uint_eq(memberlist_find(l, entries[0].fingerprint, 3)->access, 3);
	ck_assert_ptr_null(memberlist_find(l, entries[0].fingerprint, 4));
	ck_assert_ptr_null(memberlist_find(l, entries[1].fingerprint, 3));
	ck_assert_uint_eq(memberlist_find(l, entries[1].fingerprint, 9)->access, 1);
	ck_assert_ptr_null(memberlist_find(l, (const uint8_t *)"somebody else...", 2));
	pool_free(l);
	pool_free(bytes);
}
END_TEST

START_TEST(changed_or_cut_lists_are_not_taken)
{
	const struct memberlist_entry entries[] = { { .cn = "ann", .cn_len = 3, .access = 3, .since = 1 }, { .cn = "bob", .cn_len = 3, .access = 3, .since = 2 } };
	size_t len;
	uint8_t fingerprint[32], *bytes = make(entries, 2, &len);
	cert_fingerprint(keypair_cert(ec), fingerprint);
	for (size_t i = 0; i < len; i++) {
		struct memberlist *l = NULL;
		ck_assert_int_eq(memberlist_parse(&l, bytes, i, &why), ERR_INVALID);
		for (unsigned bit = 0; bit < 8; bit++) {
			bytes[i] ^= (uint8_t)(1u << bit);
			if (memberlist_parse(&l, bytes, len, &why) == ERR_OK) {
				ck_assert(!memberlist_verify(l, keypair_public(ec), fingerprint));
				pool_free(l);
			}
			bytes[i] ^= (uint8_t)(1u << bit);
		}
	}
	struct memberlist *l;
	ck_assert_int_eq(memberlist_parse(&l, bytes, len, &why), ERR_OK);
	ck_assert(!memberlist_verify(l, keypair_public(rsa), fingerprint));
	cert_fingerprint(keypair_cert(rsa), fingerprint);
	ck_assert(!memberlist_verify(l, keypair_public(ec), fingerprint));
	pool_free(l);
	pool_free(bytes);
}
END_TEST

START_TEST(what_breaks_a_rule_is_not_made)
{
	const struct memberlist_entry good = { .cn = "ann", .cn_len = 3, .access = 3, .since = 2 };
	struct memberlist head = { .space = "s", .space_len = 1, .number = 1, .epoch = 5 };
	struct memberlist_entry bad[2] = { good, good };
	uint8_t *out;
	size_t len;
	ck_assert_int_eq(memberlist_make(&head, bad, 2, ec, &out, &len), ERR_INVALID); /* twice the same */
	bad[1].access = 0;
	ck_assert_int_eq(memberlist_make(&head, bad, 2, ec, &out, &len), ERR_INVALID);
	bad[1] = good, bad[1].until = 1;
	ck_assert_int_eq(memberlist_make(&head, bad, 2, ec, &out, &len), ERR_INVALID);
	bad[1] = good, bad[1].cn = "a/b";
	ck_assert_int_eq(memberlist_make(&head, bad, 2, ec, &out, &len), ERR_INVALID);
	enum { MANY = 1000 };
	struct memberlist_entry *many = calloc(MANY, sizeof *many);
	char (*names)[8] = calloc(MANY, sizeof *names);
	ck_assert(many && names);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof names[i], "d%u", i);
		many[i] = (struct memberlist_entry){ .cn = names[i], .cn_len = strlen(names[i]), .access = 3, .since = 1 };
	}
	ck_assert_int_eq(memberlist_make(&head, many, MANY, ec, &out, &len), ERR_FULL);
	ck_assert_int_eq(memberlist_make(&head, many, 900, ec, &out, &len), ERR_OK);
	pool_free(out);
	free(many);
	free(names);
}
END_TEST

static void set_up(void)
{
	ec = vectors_keypair("ec");
	rsa = vectors_keypair("rsa");
}

int main(void)
{
	if (tls_init() != ERR_OK)
		return 1;
	TCase *t = tcase_create("all");
	tcase_add_unchecked_fixture(t, set_up, NULL);
	tcase_add_test(t, lists_of_the_second_implementation_are_equal);
	tcase_add_test(t, a_sender_is_found_by_certificate_and_epoch);
	tcase_add_test(t, changed_or_cut_lists_are_not_taken);
	tcase_add_test(t, what_breaks_a_rule_is_not_made);
	int failed = run_case("memberlist", t);
	keypair_free(ec);
	keypair_free(rsa);
	tls_cleanup();
	pool_drain();
	return failed;
}
