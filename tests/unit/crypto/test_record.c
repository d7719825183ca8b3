/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stored records and the master key. */
#include "crypto/masterkey.h"
#include "crypto/record.h"

#include "tests/unit/base/folder.h"
#include "tests/unit/crypto/vectors.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t root[32] = "0123456789abcdef0123456789abcde";

START_TEST(records_of_the_second_implementation_are_equal)
{
	cJSON *json = vectors_load(), *v;
	cJSON_ArrayForEach(v, cJSON_GetObjectItemCaseSensitive(json, "records")) {
		struct hex r = hex_of(v, "root"), topic = hex_of(v, "topic"), aad = hex_of(v, "aad"), plain = hex_of(v, "plain"), expect = hex_of(v, "sealed");
		struct record_boot boot;
		uint8_t out[2048], back[2048];
		memcpy(boot.id, hex_of(v, "boot").p, 8);
		atomic_init(&boot.next, (uint64_t)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(v, "counter")));
		ck_assert_int_eq(record_seal(&boot, r.p, topic.p, topic.len, aad.p, aad.len, plain.p, plain.len, out), ERR_OK);
		ck_assert_uint_eq(expect.len, plain.len + RECORD_OVERHEAD);
		ck_assert_mem_eq(out, expect.p, expect.len);
		ck_assert_int_eq(record_open(r.p, topic.p, topic.len, aad.p, aad.len, expect.p, expect.len, back), ERR_OK);
		ck_assert_mem_eq(back, plain.p, plain.len);
	}
	cJSON_Delete(json);
	hex_free_all();
}
END_TEST

START_TEST(a_record_opens_only_as_it_was_sealed)
{
	struct record_boot boot;
	uint8_t out[5 + RECORD_OVERHEAD], back[5], bad_root[32];
	record_boot_init(&boot);
	ck_assert_int_eq(record_seal(&boot, root, "a/b", 3, "head", 4, "hello", 5, out), ERR_OK);
	ck_assert_int_eq(record_open(root, "a/b", 3, "head", 4, out, sizeof out, back), ERR_OK);
	ck_assert_mem_eq(back, "hello", 5);
	for (size_t i = 0; i < sizeof out; i++) {
		ck_assert_int_eq(record_open(root, "a/b", 3, "head", 4, out, i, back), ERR_CORRUPT); /* cut */
		for (unsigned bit = 0; bit < 8; bit++) {
			out[i] ^= (uint8_t)(1u << bit);
			ck_assert_int_eq(record_open(root, "a/b", 3, "head", 4, out, sizeof out, back), ERR_CORRUPT);
			out[i] ^= (uint8_t)(1u << bit);
		}
	}
	ck_assert_int_eq(record_open(root, "a/c", 3, "head", 4, out, sizeof out, back), ERR_CORRUPT);
	ck_assert_int_eq(record_open(root, "a/b", 3, "heat", 4, out, sizeof out, back), ERR_CORRUPT);
	ck_assert_int_eq(record_open(root, "a/b", 3, "hea", 3, out, sizeof out, back), ERR_CORRUPT);
	memcpy(bad_root, root, 32);
	bad_root[31] ^= 1;
	ck_assert_int_eq(record_open(bad_root, "a/b", 3, "head", 4, out, sizeof out, back), ERR_CORRUPT);
}
END_TEST

START_TEST(no_two_records_share_key_and_nonce)
{
	struct record_boot boot, next;
	uint8_t a[RECORD_OVERHEAD], b[RECORD_OVERHEAD], c[RECORD_OVERHEAD];
	record_boot_init(&boot);
	record_boot_init(&next); /* the next start */
	ck_assert_int_eq(record_seal(&boot, root, "t", 1, "", 0, "", 0, a), ERR_OK);
	ck_assert_int_eq(record_seal(&boot, root, "t", 1, "", 0, "", 0, b), ERR_OK); /* a retry */
	ck_assert_int_eq(record_seal(&next, root, "t", 1, "", 0, "", 0, c), ERR_OK);
	ck_assert_mem_eq(a, b, 8);
	ck_assert_mem_ne(a + 8, b + 8, 8);
	ck_assert_mem_ne(a, c, 8);
	atomic_store(&boot.next, UINT64_MAX / 2);
	ck_assert_int_eq(record_seal(&boot, root, "t", 1, "", 0, "", 0, a), ERR_FULL);
}
END_TEST

START_TEST(the_master_key_of_the_second_implementation_is_equal)
{
	cJSON *json = vectors_load(), *v = cJSON_GetObjectItemCaseSensitive(json, "master");
	struct masterkey k;
	char text[MASTERKEY_TEXT_LEN];
	uint8_t out[32], wrapped[MASTERKEY_WRAPPED_LEN];
	const char *expect = text_of(v, "text");
	ck_assert_int_eq(masterkey_parse(&k, expect, strlen(expect)), ERR_OK);
	ck_assert_mem_eq(k.key, hex_of(v, "key").p, 32);
	ck_assert_mem_eq(k.id, hex_of(v, "id").p, 8);
	ck_assert_mem_eq(k.check, hex_of(v, "check").p, 16);
	masterkey_format(&k, text);
	ck_assert_mem_eq(text, expect, sizeof text);
	struct masterkey_label l = { .space = text_of(v, "space"), .epoch = 7, .purpose = MASTERKEY_EPOCH_ROOT };
	l.space_len = strlen(l.space);
	memcpy(l.kid, hex_of(v, "kid").p, 8);
	ck_assert_int_eq(masterkey_unwrap(&k, &l, hex_of(v, "wrapped").p, out), ERR_OK);
	ck_assert_mem_eq(out, hex_of(v, "root").p, 32);
	ck_assert_int_eq(masterkey_wrap(&k, &l, out, wrapped), ERR_OK);
	memset(out, 0, sizeof out);
	ck_assert_int_eq(masterkey_unwrap(&k, &l, wrapped, out), ERR_OK);
	ck_assert_mem_eq(out, hex_of(v, "root").p, 32);
	cJSON_Delete(json);
	hex_free_all();
}
END_TEST

START_TEST(a_wrapped_root_is_bound_to_its_label_and_key)
{
	struct masterkey k, k2;
	uint8_t w[MASTERKEY_WRAPPED_LEN], out[32];
	struct masterkey_label l = { .space = "a/b", .space_len = 3, .epoch = 1, .kid = "kid4567", .purpose = MASTERKEY_EPOCH_ROOT }, m;
	masterkey_new(&k);
	masterkey_new(&k2);
	ck_assert_int_eq(masterkey_wrap(&k, &l, root, w), ERR_OK);
	ck_assert_int_eq(masterkey_unwrap(&k, &l, w, out), ERR_OK);
	ck_assert_mem_eq(out, root, 32);
	ck_assert_int_eq(masterkey_unwrap(&k2, &l, w, out), ERR_CORRUPT);
	m = l, m.space = "a/c";
	ck_assert_int_eq(masterkey_unwrap(&k, &m, w, out), ERR_CORRUPT);
	m = l, m.space_len = 2;
	ck_assert_int_eq(masterkey_unwrap(&k, &m, w, out), ERR_CORRUPT);
	m = l, m.epoch = 2;
	ck_assert_int_eq(masterkey_unwrap(&k, &m, w, out), ERR_CORRUPT);
	m = l, m.kid[7] = 1;
	ck_assert_int_eq(masterkey_unwrap(&k, &m, w, out), ERR_CORRUPT);
	m = l, m.purpose = MASTERKEY_STORE_ROOT;
	ck_assert_int_eq(masterkey_unwrap(&k, &m, w, out), ERR_CORRUPT);
	for (size_t i = 0; i < sizeof w; i++) {
		w[i] ^= 0x10;
		ck_assert_int_eq(masterkey_unwrap(&k, &l, w, out), ERR_CORRUPT);
		w[i] ^= 0x10;
	}
	m = l, m.space_len = 65536;
	ck_assert_int_eq(masterkey_wrap(&k, &m, root, w), ERR_INVALID);
}
END_TEST

START_TEST(only_the_exact_text_is_a_key_file)
{
	struct masterkey k, back;
	char text[MASTERKEY_TEXT_LEN + 1];
	masterkey_new(&k);
	masterkey_format(&k, text);
	ck_assert_int_eq(masterkey_parse(&back, text, MASTERKEY_TEXT_LEN), ERR_OK);
	ck_assert(masterkey_is(&back, k.id, k.check));
	for (size_t i = 0; i < MASTERKEY_TEXT_LEN; i++) {
		ck_assert_int_eq(masterkey_parse(&back, text, i), ERR_INVALID);
		char kept = text[i];
		text[i] = 'G'; /* no hex digit, and not in the first line */
		ck_assert_int_eq(masterkey_parse(&back, text, MASTERKEY_TEXT_LEN), ERR_INVALID);
		text[i] = kept;
	}
	text[MASTERKEY_TEXT_LEN] = '\n';
	ck_assert_int_eq(masterkey_parse(&back, text, sizeof text), ERR_INVALID);
	char *digit = &text[40]; /* one wrong digit is another key, which the check value tells */
	*digit = *digit == '0' ? '1' : '0';
	ck_assert_int_eq(masterkey_parse(&back, text, MASTERKEY_TEXT_LEN), ERR_OK);
	ck_assert(!masterkey_is(&back, k.id, k.check));
}
END_TEST

START_TEST(the_file_is_private_and_never_overwritten)
{
	char dir[FOLDER_MAX], path[64], other[64];
	struct masterkey k, l;
	struct stat st;
	folder_make(dir);
	snprintf(path, sizeof path, "%s/master.key", dir);
	snprintf(other, sizeof other, "%s/master.key.new", dir);
	ck_assert_int_eq(masterkey_load(path, &k), ERR_NOT_FOUND);
	ck_assert_int_ne(access(path, F_OK), 0); /* loading makes none */
	ck_assert_int_eq(masterkey_create(path, &k), ERR_OK);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(masterkey_load(path, &l), ERR_OK);
	ck_assert(masterkey_is(&l, k.id, k.check));
	ck_assert_int_eq(masterkey_create(path, &l), ERR_EXISTS);
	ck_assert_int_eq(masterkey_load(path, &l), ERR_OK);
	ck_assert(masterkey_is(&l, k.id, k.check));
	ck_assert_int_eq(chmod(path, 0640), 0);
	ck_assert_int_eq(masterkey_load(path, &l), ERR_REFUSED);
	ck_assert_int_eq(chmod(path, 0400), 0);
	ck_assert_int_eq(masterkey_load(path, &l), ERR_OK);
	ck_assert_int_eq(masterkey_create(other, &k), ERR_OK);
	ck_assert_int_eq(masterkey_replace(other, path), ERR_OK);
	ck_assert_int_eq(masterkey_load(path, &l), ERR_OK);
	ck_assert(masterkey_is(&l, k.id, k.check));
	ck_assert_int_eq(masterkey_load(other, &l), ERR_NOT_FOUND);
	ck_assert_int_eq(masterkey_load(dir, &l), ERR_INVALID);
	FILE *f = fopen(path, "w");
	ck_assert(f == NULL || (fputs("sealmq-master-key v1\n", f) != EOF && fclose(f) == 0));
	if (f)
		ck_assert_int_eq(masterkey_load(path, &l), ERR_INVALID);
	ck_assert_int_eq(masterkey_create("/nonexistent/master.key", &k), ERR_IO);
	folder_remove(dir);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("all");
	tcase_add_test(t, records_of_the_second_implementation_are_equal);
	tcase_add_test(t, a_record_opens_only_as_it_was_sealed);
	tcase_add_test(t, no_two_records_share_key_and_nonce);
	tcase_add_test(t, the_master_key_of_the_second_implementation_is_equal);
	tcase_add_test(t, a_wrapped_root_is_bound_to_its_label_and_key);
	tcase_add_test(t, only_the_exact_text_is_a_key_file);
	tcase_add_test(t, the_file_is_private_and_never_overwritten);
	return run_case("record", t);
}
