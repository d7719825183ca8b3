/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One identity belongs to all that its connection leaves behind (session, messages, audit lines), on any thread. */
#include "base/identity.h"

#include <stdlib.h>
#include <string.h>

struct identity *identity_new(const void *cn, size_t cn_len)
{
	if (cn_len > IDENTITY_CN_MAX)
		return NULL;
	struct identity *id = calloc(1, sizeof *id + cn_len + 1);
	if (!id)
		return NULL;
	atomic_init(&id->refs, 1);
	id->cn_len = (uint16_t)cn_len;
	if (cn_len > 0)
		memcpy(id->cn, cn, cn_len);
	return id;
}

struct identity *identity_ref(struct identity *id)
{
	atomic_fetch_add_explicit(&id->refs, 1, memory_order_relaxed);
	return id;
}

void identity_unref(struct identity *id)
{
	/* Release: our reads come before the free; acquire: the others' do too, for the one that frees. */
	if (id && atomic_fetch_sub_explicit(&id->refs, 1, memory_order_acq_rel) == 1)
		free(id);
}

bool identity_same(const struct identity *a, const struct identity *b)
{
	return a == b || (a->cn_len == b->cn_len && memcmp(a->cn, b->cn, a->cn_len) == 0);
}
