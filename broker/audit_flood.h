/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Events that one client can bring forth at will: of those with the same kind, text and origin the first 8 in 10 s are told one by one, the others
 * are counted and told as one. Owner loop. */
#ifndef BROKER_AUDIT_FLOOD_H
#define BROKER_AUDIT_FLOOD_H

#include "broker/audit.h"
#include "broker/loop.h"

/* As audit_event. True: it was told, and the caller may write a line of the log about it; false: it was counted. The origin is the CN, or
 * without one the address. text: at most 127 bytes are told. */
bool audit_flood(struct loop *l, enum audit_kind kind, const struct audit_who *who, const char *text, const struct audit_pair *pairs,
                 size_t n_pairs);
/* Tells what was counted. When the loop ends. */
void audit_floods_free(struct loop *l);

#endif
