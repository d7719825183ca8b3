/* SPDX-License-Identifier: GPL-3.0-or-later */
/* When certificates and revocation lists end, and what is said about that beforehand. */
#ifndef BROKER_VALIDITY_H
#define BROKER_VALIDITY_H

#include "broker/policy.h"

#define VALIDITY_DAY_S 86400

/* How near an end is. */
enum validity {
	VALIDITY_FAR,
	VALIDITY_MONTH, /* 30 days or less */
	VALIDITY_WEEK,  /* 7 days or less */
	VALIDITY_OVER,
};

/* Seconds since 1970. Pure. */
enum validity validity_of(int64_t end_s, int64_t now_s);
/* Whole days left, rounded down: negative when it is over. Pure. */
int64_t validity_days(int64_t end_s, int64_t now_s);

/* "2026-12-01T08:00:00Z". */
#define VALIDITY_TEXT 32
const char *validity_text(int64_t time_s, char out[static VALIDITY_TEXT]);

/* What has been said about the files of each listener. Main thread. */
struct validity_watch;

struct validity_watch *validity_watch_new(size_t n_listeners) MUST_CHECK; /* NULL when out of memory */
void validity_watch_free(struct validity_watch *w);                      /* NULL is fine */

/* Logs what has come nearer to its end since the last call, and once a day what ends within a week or is over. p: the policy that holds
 * now. Returns the seconds until it has to be asked again; at most an hour, at least one. */
unsigned validity_tell(struct validity_watch *w, const struct policy *p, int64_t now_s);

#endif
