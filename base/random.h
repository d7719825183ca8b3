/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The operating system's generator. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>

/* Fills p with len random bytes; aborts the process if the system cannot give any. Any thread. */
void random_bytes(void *p, size_t len);

#endif
