/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where a file is (docs/formats.md 14.2): another value after a restart of the machine, and in a copy. So what was counted in the file may be counted on only
 * while its place is the same. Any thread. */
#ifndef CLIENT_PLACE_H
#define CLIENT_PLACE_H

#include "base/err.h"

#include <stdint.h>

#define PLACE_LEN 16u
enum err place_of(int fd, uint8_t out[static PLACE_LEN]) MUST_CHECK; /* ERR_IO */

#endif
