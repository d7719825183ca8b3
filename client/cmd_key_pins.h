/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq key pins (space NULL) and sealmq key forget. Returns an exit status. */
#ifndef CLIENT_CMD_KEY_PINS_H
#define CLIENT_CMD_KEY_PINS_H

#include "client/cli_options.h"

int cmd_key_pins(const struct options *o, const char *space);

#endif
