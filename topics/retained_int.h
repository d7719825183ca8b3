/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef TOPICS_RETAINED_INT_H
#define TOPICS_RETAINED_INT_H

#include "topics/node_int.h"
#include "topics/retained.h"

/* A node's value: who is its message, how the number of the put that brought it. */
struct retained {
	struct tree tree;
	_Atomic(uint64_t) messages, bytes, puts; /* written under the lock */
};

static inline struct msg *retained_msg(uint64_t who) { return (struct msg *)(uintptr_t)who; }

#endif
