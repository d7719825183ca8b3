/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/siphash.h"
#include "tests/unit/base/suite.h"

#include <string.h>

/* Key 00 01 .. 0f, data 00 01 .. of 0 to 63 bytes. The first table is the one of the paper's reference implementation; the
 * second was made with another implementation: openssl mac -macopt c-rounds:1 -macopt d-rounds:3 -macopt size:8 SipHash. */
static const uint64_t vectors24[64] = {
	0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
	0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
	0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
	0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5,
	0x3f2acc7f57c29bdb, 0x699ae9f52cbe4794, 0x4bc1b3f0968dd39c, 0xbb6dc91da77961bd,
	0xbed65cf21aa2ee98, 0xd0f2cbb02e3b67c7, 0x93536795e3a33e88, 0xa80c038ccd5ccec8,
	0xb8ad50c6f649af94, 0xbce192de8a85b8ea, 0x17d835b85bbb15f3, 0x2f2e6163076bcfad,
	0xde4daaaca71dc9a5, 0xa6a2506687956571, 0xad87a3535c49ef28, 0x32d892fad841c342,
	0x7127512f72f27cce, 0xa7f32346f95978e3, 0x12e0b01abb051238, 0x15e034d40fa197ae,
	0x314dffbe0815a3b4, 0x027990f029623981, 0xcadcd4e59ef40c4d, 0x9abfd8766a33735c,
	0x0e3ea96b5304a7d0, 0xad0c42d6fc585992, 0x187306c89bc215a9, 0xd4a60abcf3792b95,
	0xf935451de4f21df2, 0xa9538f0419755787, 0xdb9acddff56ca510, 0xd06c98cd5c0975eb,
	0xe612a3cb9ecba951, 0xc766e62cfcadaf96, 0xee64435a9752fe72, 0xa192d576b245165a,
	0x0a8787bf8ecb74b2, 0x81b3e73d20b49b6f, 0x7fa8220ba3b2ecea, 0x245731c13ca42499,
	0xb78dbfaf3a8d83bd, 0xea1ad565322a1a0b, 0x60e61c23a3795013, 0x6606d7e446282b93,
	0x6ca4ecb15c5f91e1, 0x9f626da15c9625f3, 0xe51b38608ef25f57, 0x958a324ceb064572,
};

static const uint64_t vectors13[64] = {
	0xabac0158050fc4dc, 0xc9f49bf37d57ca93, 0x82cb9b024dc7d44d, 0x8bf80ab8e7ddf7fb,
	0xcf75576088d38328, 0xdef9d52f49533b67, 0xc50d2b50c59f22a7, 0xd3927d989bb11140,
	0x369095118d299a8e, 0x25a48eb36c063de4, 0x79de85ee92ff097f, 0x70c118c1f94dc352,
	0x78a384b157b4d9a2, 0x306f760c1229ffa7, 0x605aa111c0f95d34, 0xd320d86d2a519956,
	0xcc4fdd1a7d908b66, 0x9cf2689063dbd80c, 0x8ffc389cb473e63e, 0xf21f9de58d297d1c,
	0xc0dc2f46a6cce040, 0xb992abfe2b45f844, 0x7ffe7b9ba320872e, 0x525a0e7fdae6c123,
	0xf464aeb267349c8c, 0x45cd5928705b0979, 0x3a3e35e3ca9913a5, 0xa91dc74e4ade3b35,
	0xfb0bed02ef6cd00d, 0x88d93cb44ab1e1f4, 0x540f11d643c5e663, 0x2370dd1f8c21d1bc,
	0x81157b6c16a7b60d, 0x4d54b9e57a8ff9bf, 0x759f12781f2a753e, 0xcea1a3bebf186b91,
	0x2cf508d3ada26206, 0xb6101c2da3c33057, 0xb3f47496ae3a36a1, 0x626b57547b108392,
	0xc1d2363299e41531, 0x667cc1923f1ad944, 0x65704ffec8138825, 0x24f280d1c28949a6,
	0xc2ca1cedfaf8876b, 0xc2164bfc9f042196, 0xa16e9c9368b1d623, 0x49fb169c8b5114fd,
	0x9f3143f8df074c46, 0xc6fdaf2412cc86b3, 0x7eaf49d10a52098f, 0x1cf313559d292f9a,
	0xc44a30dda2f41f12, 0x36fae98943a71ed0, 0x318fb34c73f0bce6, 0xa27abf3670a7e980,
	0xb4bcc0db243c6d75, 0x23f8d852fdb71513, 0x8f035f4da67d8a08, 0xd89cd0e5b7e8f148,
	0xf6f4e6bcf7a644ee, 0xaec59ad80f1837f2, 0xc3b2f6154b6694e0, 0x9d199062b7bbb3a8,
};

static const struct siphash_key vector_key = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };

/* Written from the paper's text, bit by bit, to disagree with a shared mistake. */
static uint64_t slow_rotate(uint64_t x, int bits)
{
	for (int i = 0; i < bits; i++)
		x = (x & UINT64_C(0x8000000000000000)) ? x << 1 | 1 : x << 1;
	return x;
}

static void slow_round(uint64_t v[4])
{
	v[0] += v[1]; v[1] = slow_rotate(v[1], 13); v[1] ^= v[0]; v[0] = slow_rotate(v[0], 32);
	v[2] += v[3]; v[3] = slow_rotate(v[3], 16); v[3] ^= v[2];
	v[0] += v[3]; v[3] = slow_rotate(v[3], 21); v[3] ^= v[0];
	v[2] += v[1]; v[1] = slow_rotate(v[1], 17); v[1] ^= v[2]; v[2] = slow_rotate(v[2], 32);
}

static uint64_t slow_siphash(const struct siphash_key *key, const uint8_t *data, size_t len, int c, int d)
{
	uint64_t v[4];
	const char *nothing_up_my_sleeve = "somepseudorandomlygeneratedbytes";
	for (int i = 0; i < 4; i++) {
		v[i] = 0;
		for (int b = 0; b < 8; b++)
			v[i] = v[i] * 256 + (uint8_t)nothing_up_my_sleeve[8 * i + b];
		v[i] ^= i % 2 ? key->k1 : key->k0;
	}
	uint8_t padded[1024] = { 0 };
	size_t words = len / 8 + 1;
	ck_assert_uint_le(words * 8, sizeof padded);
	memcpy(padded, data, len);
	padded[words * 8 - 1] = (uint8_t)(len % 256);
	for (size_t w = 0; w < words; w++) {
		uint64_t m = 0;
		for (size_t b = 8; b > 0; b--)
			m = m * 256 + padded[8 * w + b - 1];
		v[3] ^= m;
		for (int i = 0; i < c; i++)
			slow_round(v);
		v[0] ^= m;
	}
	v[2] ^= 0xff;
	for (int i = 0; i < d; i++)
		slow_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

START_TEST(published_vectors_hold)
{
	uint8_t data[64];
	for (size_t len = 0; len < 64; len++) {
		data[len] = (uint8_t)len;
		ck_assert_uint_eq(siphash24(&vector_key, data, len), vectors24[len]);
		ck_assert_uint_eq(siphash13(&vector_key, data, len), vectors13[len]);
	}
	ck_assert_uint_eq(siphash24(&vector_key, data, 15), 0xa129ca6149be45e5); /* the paper's appendix */
}
END_TEST

START_TEST(a_slow_implementation_agrees_at_every_length_and_alignment)
{
	uint8_t data[1000];
	struct siphash_key key = { 0x1234567890abcdef, 0xfedcba0987654321 };
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 151 + (i >> 3));
	for (size_t len = 0; len < 600; len++) {
		const uint8_t *p = data + len % 9;
		ck_assert_uint_eq(siphash24(&key, p, len), slow_siphash(&key, p, len, 2, 4));
		ck_assert_uint_eq(siphash13(&key, p, len), slow_siphash(&key, p, len, 1, 3));
		key.k0 = key.k0 * 6364136223846793005u + 1;
		key.k1 ^= key.k0 >> 7;
	}
}
END_TEST

START_TEST(no_data_needs_no_pointer)
{
	ck_assert_uint_eq(siphash24(&vector_key, NULL, 0), vectors24[0]);
}
END_TEST

START_TEST(the_process_key_is_drawn_anew)
{
	siphash_init();
	struct siphash_key first = siphash_process_key;
	siphash_init();
	ck_assert_mem_ne(&first, &siphash_process_key, sizeof first);
}
END_TEST

SUITE_MAIN("siphash", published_vectors_hold, a_slow_implementation_agrees_at_every_length_and_alignment, no_data_needs_no_pointer,
	   the_process_key_is_drawn_anew)
