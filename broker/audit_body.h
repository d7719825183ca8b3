/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An audit event as members of a JSON object. Pure; any thread. */
#ifndef BROKER_AUDIT_BODY_H
#define BROKER_AUDIT_BODY_H

#include "broker/audit.h"
#include "broker/audit_log.h"

/* "kind":"…","cn":"…",… ; returns the bytes. kind: its name. Texts are cut at 512 bytes; what finds no room is left out, and then the last member
 * is "cut":true. */
size_t audit_body(char out[static AUDIT_EVENT_MAX], const char *kind, const struct audit_who *who, const char *text,
                  const struct audit_pair *pairs, size_t n_pairs);

#endif
