/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where a thread that consumes a ring sleeps. A producer makes the system call that wakes it only when it finds it asleep; after having done
 * something the thread dozes a while and is left alone unless the ring fills up: so a burst costs producers one wake-up.
 *
 * The consumer: gate_announce; look whether there is work; if not, gate_sleep; gate_rise. */
#ifndef BASE_GATE_H
#define BASE_GATE_H

#include <stdatomic.h>
#include <stdbool.h>

struct gate { atomic_int state; }; /* futex; zero: awake */

/* Any thread, after it has published something (seq_cst). crowded: do not let it doze. */
void gate_fed(struct gate *g, bool crowded);
/* Any thread: whatever it sleeps for, it looks again. */
void gate_wake(struct gate *g);

/* The consumer's thread. Announces that it sleeps, or dozes. Its look for work comes after that and is seq_cst, as is the announcement; a
 * producer publishes, then looks at the gate, both seq_cst. In the single order of these four one of the two looks comes last, and sees
 * what the other side did: either the work is found or the producer wakes us. */
void gate_announce(struct gate *g, bool doze);
void gate_sleep(struct gate *g, int timeout_ms); /* < 0: without end */
void gate_rise(struct gate *g);

/* A plain futex wait and wake on a word of this process. */
void futex_wait(atomic_int *word, int expected, int timeout_ms); /* < 0: without end */
void futex_wake(atomic_int *word);

#endif
