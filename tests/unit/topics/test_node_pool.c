/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/base/suite.h"
#include "topics/node_pool_int.h"

#include <string.h>

enum { MANY = 600000 }; /* of 32 bytes: 18 MiB, so blocks of 2 MiB are used too */
static node_ref refs[MANY];

static struct node_pool open_pool(void)
{
	struct node_pool p;
	ck_assert(node_pool_init(&p));
	return p;
}

START_TEST(a_reference_leads_to_its_object_and_back)
{
	struct node_pool p = open_pool();
	for (size_t size = 1; size <= POOL_SIZE_MAX; size++) {
		node_ref ref = 0;
		uint8_t *object = node_pool_alloc(&p, size, &ref);
		ck_assert_ptr_nonnull(object);
		ck_assert_uint_ne(ref, 0);
		ck_assert_ptr_eq(node_pool_at(&p, ref), object);
		ck_assert_uint_eq(node_pool_ref(object), ref);
		ck_assert_uint_eq((uintptr_t)object % POOL_UNIT, 0);
		memset(object, (int)size, size);
		refs[size] = ref;
	}
	for (size_t size = 1; size <= POOL_SIZE_MAX; size++) {
		const uint8_t *object = node_pool_at(&p, refs[size]);
		ck_assert_uint_eq(object[0], (uint8_t)size);
		ck_assert_uint_eq(object[size - 1], (uint8_t)size);
		node_pool_free(&p, refs[size]);
	}
	ck_assert_uint_eq(p.bytes, 0);
	ck_assert_uint_eq(p.chunks, 0);
	node_pool_destroy(&p);
}
END_TEST

START_TEST(many_objects_come_and_go_in_any_order)
{
	struct node_pool p = open_pool();
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < MANY; i++) {
			uint32_t *object = node_pool_alloc(&p, 32, &refs[i]);
			ck_assert_ptr_nonnull(object);
			object[1] = i;
		}
		ck_assert_uint_eq(p.bytes, MANY * 32u);
		for (uint32_t step = 0; step < 7; step++) {
			for (uint32_t i = step; i < MANY; i += 7) {
				const uint32_t *object = node_pool_at(&p, refs[i]);
				ck_assert_uint_eq(object[1], i);
				node_pool_free(&p, refs[i]);
			}
		}
		ck_assert_uint_eq(p.bytes, 0);
		ck_assert_uint_eq(p.chunks, 0);
	}
	node_pool_destroy(&p);
}
END_TEST

START_TEST(what_was_freed_is_used_again)
{
	struct node_pool p = open_pool();
	for (uint32_t i = 0; i < 10000; i++)
		ck_assert_ptr_nonnull(node_pool_alloc(&p, 40, &refs[i]));
	uint32_t chunks = p.chunks;
	for (uint32_t i = 0; i < 10000; i += 2)
		node_pool_free(&p, refs[i]);
	for (uint32_t i = 0; i < 10000; i += 2)
		ck_assert_ptr_nonnull(node_pool_alloc(&p, 40, &refs[i]));
	ck_assert_uint_eq(p.chunks, chunks);
	node_pool_destroy(&p); /* with all that is in it */
}
END_TEST

SUITE_MAIN("node_pool", a_reference_leads_to_its_object_and_back, many_objects_come_and_go_in_any_order, what_was_freed_is_used_again)
