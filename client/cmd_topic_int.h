/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of `sealmq topic` share. */
#ifndef CLIENT_CMD_TOPIC_INT_H
#define CLIENT_CMD_TOPIC_INT_H

#include "client/cli_options.h"

#include <cjson/cJSON.h>

/* "CN:read" in its two parts: the access, or NULL when none is given. */
const char *topic_split_access(const char *text, size_t *name_len);
/* {"count": …} of the options --history…; the JSON object's member "history" is left out when there is none of them. */
void topic_add_history(cJSON *command, const struct options *o, bool always);
void topic_print(const cJSON *data);      /* getTopic's data, for people */
void topic_print_json(const cJSON *data); /* NULL: {} */

/* Does what the command line says, if it is an owner's matter (mode owner): create --mode owner, and whatever concerns a key space that this identity owns on this
 * machine. False: it is the broker's alone. *status: the exit status. */
bool topic_owner_command(const char *action, const struct options *o, int *status);

#endif
