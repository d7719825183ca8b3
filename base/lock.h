/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A mutex for writers of shared structures; what a loop reads on every packet takes none. Held for microseconds, so it spins
 * a little before it sleeps. (A wrapper because <pthread.h> is for base/ and store/ alone, and because ThreadSanitizer does not see
 * C11's mtx_t.) */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include "base/err.h"

#include <pthread.h>
#include <stdbool.h>

#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP /* glibc with _GNU_SOURCE */
#define LOCK_KIND PTHREAD_MUTEX_ADAPTIVE_NP
#else
#define LOCK_KIND PTHREAD_MUTEX_DEFAULT
#endif

struct lock { pthread_mutex_t mutex; };

/* False when the system has no memory for it. */
static inline bool lock_init(struct lock *l) MUST_CHECK;
static inline bool lock_init(struct lock *l)
{
	pthread_mutexattr_t attr;
	if (pthread_mutexattr_init(&attr) != 0)
		return false;
	(void)pthread_mutexattr_settype(&attr, LOCK_KIND);
	int rc = pthread_mutex_init(&l->mutex, &attr);
	(void)pthread_mutexattr_destroy(&attr);
	return rc == 0;
}
static inline void lock_destroy(struct lock *l) { (void)pthread_mutex_destroy(&l->mutex); }
static inline void lock_take(struct lock *l) { (void)pthread_mutex_lock(&l->mutex); }
static inline void lock_release(struct lock *l) { (void)pthread_mutex_unlock(&l->mutex); }

#endif
