/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Timer wheel of one loop: arming, moving and cancelling cost O(1); one tick is 64 ms.
 * A packet never touches it: a timer that fires early compares with the stored time and arms again. */
#ifndef BASE_WHEEL_H
#define BASE_WHEEL_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define WHEEL_TICK_MS 64u
#define WHEEL_FIRES 16u /* by one call: when thousands of handshakes time out at once, messages are looked at between */

struct wheel_timer {
	struct wheel_timer *next, **prev; /* owner loop; prev NULL when not armed */
	uint64_t due_ms;                  /* monotonic */
	void (*fire)(struct wheel_timer *t, void *owner);
};

struct wheel; /* owner loop */

struct wheel *wheel_new(uint64_t now_ms) MUST_CHECK;
void wheel_free(struct wheel *w); /* timers still armed are forgotten, not fired */

/* Arms or moves t to fire at the first tick at or after due_ms (at most about 49 days ahead; later is clamped and re-armed by the wheel). */
void wheel_arm(struct wheel *w, struct wheel_timer *t, uint64_t due_ms);
void wheel_cancel(struct wheel *w, struct wheel_timer *t); /* fine when not armed */
static inline bool wheel_armed(const struct wheel_timer *t) { return t->prev != 0; }

/* Fires what is due at now_ms, at most WHEEL_FIRES timers (a fired timer is disarmed first, and may arm itself or any other). */
void wheel_advance(struct wheel *w, uint64_t now_ms, void *owner);
/* Milliseconds until the next tick that may fire something, at most max_ms; 0 while something due was left. */
uint64_t wheel_next_ms(const struct wheel *w, uint64_t now_ms, uint64_t max_ms);

#endif
