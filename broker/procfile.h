/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Small files of the kernel's that hold numbers (/proc, /sys). Any thread. */
#ifndef BROKER_PROCFILE_H
#define BROKER_PROCFILE_H

#include <stdbool.h>

/* The first two numbers of the file's first line. False: there is no such file, or its line begins otherwise. */
bool procfile_two_numbers(const char *path, unsigned long *a, unsigned long *b);

#endif
