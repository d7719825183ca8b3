/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/gate.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { AWAKE, DOZING, SLEEPING };

void futex_wait(atomic_int *word, int expected, int timeout_ms)
{
	struct timespec timeout = { timeout_ms / 1000, timeout_ms % 1000 * 1000000L };
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, timeout_ms < 0 ? NULL : &timeout, NULL, 0);
}

void futex_wake(atomic_int *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void gate_wake(struct gate *g)
{
	if (atomic_exchange(&g->state, AWAKE) != AWAKE)
		futex_wake(&g->state);
}

void gate_fed(struct gate *g, bool crowded)
{
	int state = atomic_load(&g->state);
	if (state == SLEEPING || (state == DOZING && crowded))
		gate_wake(g);
}

void gate_announce(struct gate *g, bool doze)
{
	atomic_store(&g->state, doze ? DOZING : SLEEPING);
}

void gate_sleep(struct gate *g, int timeout_ms)
{
	int state = atomic_load(&g->state);
	if (state != AWAKE)
		futex_wait(&g->state, state, timeout_ms);
}

void gate_rise(struct gate *g)
{
	atomic_store(&g->state, AWAKE);
}
