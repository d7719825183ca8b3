/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Key derivation: known answers, and who can derive what. */
#include "crypto/keytree.h"

#include "crypto/aead.h"
#include "crypto/hash.h"
#include "tests/unit/crypto/vectors.h"

static uint8_t root[32], key[32], other[32];

static enum err topic(const char *space, const char *t)
{
	return keytree_topic(root, space, strlen(space), t, strlen(t), key);
}

static enum err grant(const char *space, const char *f)
{
	return keytree_grant(root, space, strlen(space), f, strlen(f), key);
}

START_TEST(hkdf_gives_the_known_answers)
{
	/* RFC 5869 A.1: PRK, and the first 32 bytes of OKM */
	static const uint8_t ikm[22] = { 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11 };
	static const uint8_t salt[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
	static const uint8_t info[] = { 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9 };
	static const uint8_t prk[] = { 0x07, 0x77, 0x09, 0x36, 0x2c, 0x2e, 0x32, 0xdf, 0x0d, 0xdc, 0x3f, 0x0d, 0xc4, 0x7b, 0xba, 0x63,
	                               0x90, 0xb6, 0xc7, 0x3b, 0xb5, 0x0f, 0x9c, 0x31, 0x22, 0xec, 0x84, 0x4a, 0xd7, 0xc2, 0xb3, 0xe5 };
	static const uint8_t okm[] = { 0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a, 0x90, 0x43, 0x4f, 0x64, 0xd0, 0x36, 0x2f, 0x2a,
	                               0x2d, 0x2d, 0x0a, 0x90, 0xcf, 0x1a, 0x5a, 0x4c, 0x5d, 0xb0, 0x2d, 0x56, 0xec, 0xc4, 0xc5, 0xbf };
	const struct hash_part parts[] = { { info, 4 }, { info + 4, 0 }, { info + 4, 6 } };
	hkdf_extract(salt, sizeof salt, ikm, sizeof ikm, key);
	ck_assert_mem_eq(key, prk, 32);
	hkdf_expand(key, parts, 3, key);
	ck_assert_mem_eq(key, okm, 32);
}
END_TEST

START_TEST(gcm_gives_the_known_answer)
{
	/* GCM specification (McGrew, Viega), test case 16's first half: AES-256, 60 bytes, 20 bytes of associated data */
	static const uint8_t k[] = { 0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08,
	                             0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c, 0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08 };
	static const uint8_t nonce[] = { 0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88 };
	static const uint8_t plain[] = { 0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59, 0x09, 0xc5, 0xaf, 0xf5, 0x26, 0x9a,
	                                 0x86, 0xa7, 0xa9, 0x53, 0x15, 0x34, 0xf7, 0xda, 0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31, 0x8a, 0x72,
	                                 0x1c, 0x3c, 0x0c, 0x95, 0x95, 0x68, 0x09, 0x53, 0x2f, 0xcf, 0x0e, 0x24, 0x49, 0xa6, 0xb5, 0x25,
	                                 0xb1, 0x6a, 0xed, 0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39 };
	static const uint8_t aad[] = { 0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef,
	                               0xab, 0xad, 0xda, 0xd2 };
	static const uint8_t expect_tag[] = { 0x76, 0xfc, 0x6e, 0xce, 0x0f, 0x4e, 0x17, 0x68, 0xcd, 0xdf, 0x88, 0x53, 0xbb, 0x2d, 0x55, 0x1b };
	uint8_t out[sizeof plain], tag[16];
	ck_assert_int_eq(aead_seal(k, nonce, aad, sizeof aad, plain, sizeof plain, out, tag), ERR_OK);
	ck_assert_uint_eq(out[0], 0x52);
	ck_assert_uint_eq(out[59], 0x62);
	ck_assert_mem_eq(tag, expect_tag, 16);
	ck_assert_int_eq(aead_open(k, nonce, aad, sizeof aad, out, sizeof out, tag, out), ERR_OK); /* in place */
	ck_assert_mem_eq(out, plain, sizeof plain);
	tag[3] ^= 1;
	ck_assert_int_eq(aead_open(k, nonce, aad, sizeof aad, out, sizeof out, tag, out), ERR_CORRUPT);
}
END_TEST

START_TEST(the_second_implementation_derives_the_same_keys)
{
	cJSON *json = vectors_load(), *tree = cJSON_GetObjectItemCaseSensitive(json, "keytree"), *v;
	memcpy(root, hex_of(tree, "root").p, 32);
	cJSON_ArrayForEach(v, cJSON_GetObjectItemCaseSensitive(tree, "topics")) {
		ck_assert_int_eq(topic(text_of(v, "space"), text_of(v, "topic")), ERR_OK);
		ck_assert_mem_eq(key, hex_of(v, "key").p, 32);
	}
	cJSON_ArrayForEach(v, cJSON_GetObjectItemCaseSensitive(tree, "grants")) {
		const char *f = text_of(v, "filter"), *t = text_of(v, "topic");
		ck_assert_int_eq(grant(text_of(v, "space"), f), ERR_OK);
		ck_assert_mem_eq(key, hex_of(v, "key").p, 32);
		ck_assert_int_eq(keytree_topic_of_grant(key, f, strlen(f), t, strlen(t), other), ERR_OK);
		ck_assert_mem_eq(other, hex_of(v, "topic_key").p, 32);
	}
	cJSON_Delete(json);
	hex_free_all();
}
END_TEST

START_TEST(a_grant_opens_its_subtree_and_nothing_else)
{
	static const struct { const char *filter, *topic; bool opens; } in[] = {
		{ "#", "a", true }, { "#", "/", true }, { "#", "a/b/c", true }, { "#", "$SYS/x", false }, { "/#", "/a", true }, { "/#", "/", true },
		{ "/#", "a", false }, { "/#", "a/b", false }, { "a/#", "a", true }, { "a/#", "a/", true }, { "a/#", "a/b", true }, { "a/#", "ab", false },
		{ "a/#", "b", false }, { "a/#", "/a", false }, { "a", "a", true }, { "a", "a/b", false }, { "a/b/#", "a/b/c/d", true },
		{ "a/b/#", "a/c", false }, { "a/b/#", "a", false }, { "//#", "//x", true }, { "//#", "/x", false }, { "a//#", "a//", true },
	};
	for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
		const char *f = in[i].filter, *t = in[i].topic;
		ck_assert_msg(keytree_opens(f, strlen(f), t, strlen(t)) == in[i].opens, "%s %s", f, t);
		enum err e = keytree_topic_of_grant(root, f, strlen(f), t, strlen(t), key);
		ck_assert_msg((e == ERR_OK) == in[i].opens, "%s %s", f, t);
	}
}
END_TEST

START_TEST(filters_contain_each_other_as_their_keys_do)
{
	static const struct { const char *outer, *inner; bool contains; } in[] = {
		{ "#", "#", true }, { "#", "a/#", true }, { "#", "/#", true }, { "a/#", "a/#", true }, { "a/#", "a", true }, { "a/#", "a/b/#", true },
		{ "a/#", "#", false }, { "a", "a", true }, { "a", "a/#", false }, { "/#", "/a/#", true }, { "/#", "a/#", false }, { "a/b/#", "a/#", false },
		{ "a/#", "ab/#", false }, { "a/#", "+", false }, { "+", "a", false },
	};
	for (size_t i = 0; i < sizeof in / sizeof in[0]; i++)
		ck_assert_msg(keytree_contains(in[i].outer, strlen(in[i].outer), in[i].inner, strlen(in[i].inner)) == in[i].contains, "%s %s",
			      in[i].outer, in[i].inner);
}
END_TEST

START_TEST(every_way_to_a_topics_key_gives_the_same)
{
	static const char *const filters[] = { "#", "a/#", "a/b/#", "a/b//#", "a/b//c/#", "a/b//c" };
	uint8_t way[32];
	ck_assert_int_eq(topic("", "a/b//c"), ERR_OK);
	memcpy(other, key, 32);
	for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
		ck_assert_int_eq(grant("", filters[i]), ERR_OK);
		ck_assert_int_eq(keytree_topic_of_grant(key, filters[i], strlen(filters[i]), "a/b//c", 6, way), ERR_OK);
		ck_assert_mem_eq(way, other, 32);
	}
}
END_TEST

START_TEST(topics_that_look_alike_have_different_keys)
{
	static const char *const t[] = { "a", "/a", "a/", "//a", "a//", "/a/", "a/b", "ab", "a/b/", "/", "//", "b/a", "A" };
	enum { N = sizeof t / sizeof t[0] };
	uint8_t keys[N + 2][32];
	for (size_t i = 0; i < N; i++) {
		ck_assert_int_eq(topic("", t[i]), ERR_OK);
		memcpy(keys[i], key, 32);
	}
	ck_assert_int_eq(grant("", "a/#"), ERR_OK); /* a node is not its own topic's key */
	memcpy(keys[N], key, 32);
	ck_assert_int_eq(grant("", "/#"), ERR_OK);
	memcpy(keys[N + 1], key, 32);
	for (size_t i = 0; i < N + 2; i++)
		for (size_t j = 0; j < i; j++)
			ck_assert_mem_ne(keys[i], keys[j], 32);
}
END_TEST

START_TEST(what_a_space_does_not_cover_is_refused)
{
	ck_assert_int_eq(topic("a", "b"), ERR_REFUSED);
	ck_assert_int_eq(topic("a", "ab"), ERR_REFUSED);
	ck_assert_int_eq(topic("a/b", "a"), ERR_REFUSED);
	ck_assert_int_eq(grant("a", "#"), ERR_REFUSED);
	ck_assert_int_eq(grant("a", "/#"), ERR_REFUSED);
	ck_assert_int_eq(grant("a/b", "a/#"), ERR_REFUSED);
	ck_assert_int_eq(grant("a", "b/#"), ERR_REFUSED);
	ck_assert(!keytree_covers("a", 1, "ab", 2));
	ck_assert(keytree_covers("a", 1, "a/", 2));
	ck_assert(keytree_covers("", 0, "x", 1));
	ck_assert(!keytree_covers("", 0, "$SYS/x", 6));
}
END_TEST

START_TEST(malformed_topics_and_filters_are_refused)
{
	static const char *const bad[] = { "", "+", "a/+", "a/+/#", "a#", "#/a", "a/#/b", "##", "$SYS/#", "$x", "$", "a/b#" };
	char deep[600];
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		ck_assert_msg(!keytree_grantable(bad[i], strlen(bad[i])), "%s", bad[i]);
		ck_assert_int_eq(grant("", bad[i]), ERR_INVALID);
		ck_assert_int_eq(topic("", bad[i]), ERR_INVALID);
	}
	ck_assert_int_eq(topic("", "#"), ERR_INVALID);
	ck_assert_int_eq(keytree_topic(root, "", 0, "a\0b", 3, key), ERR_INVALID);
	memset(deep, '/', sizeof deep);
	ck_assert_int_eq(keytree_topic(root, "", 0, deep, KEYTREE_LEVELS_MAX - 1, key), ERR_OK); /* that many slashes: 200 levels */
	ck_assert_int_eq(keytree_topic(root, "", 0, deep, KEYTREE_LEVELS_MAX, key), ERR_INVALID);
}
END_TEST

int main(void)
{
	for (size_t i = 0; i < sizeof root; i++)
		root[i] = (uint8_t)i;
	TCase *t = tcase_create("all");
	tcase_add_test(t, hkdf_gives_the_known_answers);
	tcase_add_test(t, gcm_gives_the_known_answer);
	tcase_add_test(t, the_second_implementation_derives_the_same_keys);
	tcase_add_test(t, a_grant_opens_its_subtree_and_nothing_else);
	tcase_add_test(t, filters_contain_each_other_as_their_keys_do);
	tcase_add_test(t, every_way_to_a_topics_key_gives_the_same);
	tcase_add_test(t, topics_that_look_alike_have_different_keys);
	tcase_add_test(t, what_a_space_does_not_cover_is_refused);
	tcase_add_test(t, malformed_topics_and_filters_are_refused);
	return run_case("keytree", t);
}
