/* SPDX-License-Identifier: GPL-3.0-or-later */
/* uthash as this broker uses it: SipHash under the process's key, for strangers choose the keys, and no exit() when memory runs out
 * (the element is then not in the table: its hh.tbl is NULL). */
#ifndef BROKER_UTHASH_KEYED_H
#define BROKER_UTHASH_KEYED_H

#include "base/siphash.h"

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(keyptr, keylen, hashv)                                                                           \
	do {                                                                                                               \
		(hashv) = (unsigned)siphash13(&siphash_process_key, (keyptr), (keylen));                                       \
	} while (0)

#include <uthash.h>

#endif
