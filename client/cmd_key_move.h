/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sealmq key export, backup and import: an owner's key spaces to another machine, or into a safe. Connects to nobody. */
#ifndef CLIENT_CMD_KEY_MOVE_H
#define CLIENT_CMD_KEY_MOVE_H

#include "client/cli_options.h"

/* topic NULL: all of this identity's. Return an exit status. */
int cmd_key_export(const struct options *o, const char *topic);
int cmd_key_import(const struct options *o, const char *file);

#endif
