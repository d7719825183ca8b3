/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Clocks. Loops cache both once per turn. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_ms(void); /* CLOCK_MONOTONIC */
uint64_t clock_mono_us(void);
uint64_t clock_wall_ms(void); /* CLOCK_REALTIME, since 1970 */

#endif
